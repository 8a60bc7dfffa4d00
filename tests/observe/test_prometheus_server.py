"""A Prometheus server as a source, against a server that answers as its API does."""

import json
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from llmlocust.observe.sources.parse import source_of
from llmlocust.observe.sources.source import SourceError
from tests.observe.servers import Answer, served

SECRET = "sesame-77"


def matrix(*series):
    result = [{"metric": labels, "values": values} for labels, values in series]
    return Answer(json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}))


def running(engine, *values):
    return {"__name__": "vllm:num_requests_running", "engine": engine}, [list(pair) for pair in values]


def scrapes(source):
    return [(scrape.time, scrape.text.decode()) for scrape in source.scrape()]


def query_of(request):
    return {name: values[0] for name, values in parse_qs(urlsplit(request.target).query).items()}


def test_a_selector_returns_each_sample_once_with_its_own_time():
    answers = {"/api/v1/query": matrix(running("0", (100.5, "1"), (115.5, "2")), running("1", (103.25, "7")))}
    with served(answers) as server:
        source = source_of(f"prometheus:{server.url}?query=vllm:num_requests_running")
        first = scrapes(source)
        again = scrapes(source)
        answers["/api/v1/query"] = matrix(
            running("0", (115.5, "2"), (130.5, "3")), running("1", (103.25, "7"), (118.25, "8"))
        )
        later = scrapes(source)

    assert first == [  # the newest of each series: what was before the first scrape is not the run's
        (103.25, 'vllm:num_requests_running{engine="1"} 7\n'),
        (115.5, 'vllm:num_requests_running{engine="0"} 2\n'),
    ]
    assert again == []
    assert later == [
        (118.25, 'vllm:num_requests_running{engine="1"} 8\n'),
        (130.5, 'vllm:num_requests_running{engine="0"} 3\n'),
    ]
    assert query_of(server.requests[0]) == {"query": "vllm:num_requests_running[1m]"}


def test_series_of_one_target_are_one_scrape():
    with served({"/api/v1/query": matrix(running("0", (5.5, "1")), running("1", (5.5, "NaN")))}) as server:
        ((moment, text),) = scrapes(source_of(f"prometheus:{server.url}?query=vllm:num_requests_running"))

    assert moment == 5.5
    assert text == 'vllm:num_requests_running{engine="0"} 1\nvllm:num_requests_running{engine="1"} NaN\n'


@pytest.mark.parametrize(
    "query",
    [
        "up",
        '{__name__=~"vllm:.*"}',
        'up{job="a}b",x!="c"}',
        "up{job='a'}",
        'up {le="+Inf"}',
        "up%7Bjob%3D%22a%22%7D",
        "a:b",
    ],
)
def test_what_is_a_selector_gets_a_range(query):
    with served({"/prom/api/v1/query": matrix(running("0", (1, "1")))}) as server:
        source_of(f"prometheus:{server.url}/prom?query={query}").scrape()

    assert query_of(server.requests[0])["query"].endswith("[1m]")


@pytest.mark.parametrize("query", ["sum(up)", "rate(x[1m])", "up + 1", "up offset 5m", 'up{a="b"} > 1', "up[1m]"])
def test_an_expression_is_evaluated_each_second(query):
    with served({"/api/v1/query_range": lambda _: matrix(({}, [[int(time.time()), "4.5"]]))}) as server:
        before = int(time.time())
        source = source_of(f"prometheus:{server.url}?query={query}")
        ((moment, text),) = scrapes(source)
        time.sleep(1.1)
        source.scrape()

    first, second = map(query_of, server.requests)
    assert (first["query"], first["step"]) == (query, "1")
    assert before <= int(first["start"]) <= int(first["end"]) <= time.time()
    assert int(second["start"]) == int(moment) + 1
    assert before <= moment <= time.time()
    assert text.endswith("{} 4.5\n")


def test_an_expression_without_a_name_is_named_by_its_text():
    with served({"/api/v1/query_range": matrix(({"job": 'a"\n'}, [[time.time(), "1"]]))}) as server:
        ((_, text),) = scrapes(source_of(f"prometheus:{server.url}?query=sum by (job) (rate(vllm:x_total[1m]))"))

    assert text == 'sum_by_job_rate_vllm:x_total_1m{job="a\\"\\n"} 1\n'


def test_credentials_are_sent_and_not_shown():
    with served({"/api/v1/query": matrix(running("0", (1, "1")))}) as server:
        source = source_of(f"prometheus:http://me:{SECRET}@{server.place}?tenant={SECRET}&query=up")
        source.scrape()

    assert server.requests[0].headers["authorization"].startswith("Basic ")
    assert query_of(server.requests[0]) == {"query": "up[1m]", "tenant": SECRET}
    assert source.url == f"prometheus:{server.url}?tenant&query=up"
    assert SECRET not in source.name


BAD_QUERY = '{"status":"error","errorType":"bad_data","error":"invalid parameter \\"query\\": 1:4:\\nparse error"}'


@pytest.mark.parametrize(
    "answer, words",
    [
        (Answer(BAD_QUERY, 400), 'Prometheus refuses the query: invalid parameter "query": 1:4: parse error'),
        (Answer("<html>", 404), "HTTP 404: this address has no query API"),
        (Answer("<html>"), "not JSON"),
        (Answer("[" * 100_000), "not JSON"),
        (Answer("{}", 500), "HTTP 500: not an answer of Prometheus"),
        (
            Answer('{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}'),
            "returns a scalar, not series",
        ),
        (Answer('{"status":"success","data":{"resultType":"matrix","result":[{}]}}'), "not that of Prometheus"),
        (Answer('{"status":"success","data":{"resultType":"matrix","result":null}}'), "returns no series"),
        (matrix(), "the query returns no series: check its names"),
        (matrix(({"a": "b"}, [[1, "x\ny 1"]])), "not that of Prometheus"),
    ],
)
def test_errors_are_one_line(answer, words):
    with served({"/api/v1/query": answer}) as server, pytest.raises(SourceError) as problem:
        source_of(f"prometheus:{server.url}?query=up").scrape()

    assert words in str(problem.value)
    assert "\n" not in str(problem.value)


def test_names_and_labels_from_outside_write_no_lines():
    with served({"/api/v1/query": matrix(({"__name__": "a\nb 1", 'c"d': "e\nf"}, [[1, "2"]]))}) as server:
        ((_, text),) = scrapes(source_of(f"prometheus:{server.url}?query=up"))

    assert text == 'a_b_1{c_d="e\\nf"} 2\n'
