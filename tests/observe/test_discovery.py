"""The sources of the server under test, and the line about them."""

import json
import time

import pytest

from llmlocust.observe.sources import discovery
from llmlocust.observe.sources.discovery import discovered
from tests.observe.servers import METRICS, Answer, scripted, served
from tests.observe.test_processes import LISTENER, child

SECRET = "sesame-77"
LLAMA = b"# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing 1\n"
SLOTS = Answer('[{"id":0,"is_processing":true}]', content_type="application/json")
NO_METRICS = (
    '{"error":{"code":501,"message":"This server does not support metrics endpoint.","type":"not_supported_error"}}'
)


@pytest.fixture(autouse=True)
def no_local_sources(monkeypatch):
    """Leave out the sources of this machine, except in tests of them."""
    monkeypatch.setattr(discovery, "is_loopback", lambda host: False)


def models(owner):
    return Answer(
        json.dumps({"object": "list", "data": [{"id": "m", "owned_by": owner}]}), content_type="application/json"
    )


def urls(sources):
    return [source.url for source in sources]


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/chat/completions", "/v1?key=sesame-77"])
def test_metrics_beside_the_path_are_found(path):
    with served(Answer()) as server:
        sources, line = discovered(server.url + path)
        assert urls(sources) == [f"{server.url}/metrics"]
        assert sources[0].scrape()[0].text == METRICS

    assert line == f"Telemetry: {server.url}/metrics."


@pytest.mark.parametrize("base", ["/api", "/api/v1"])
def test_metrics_below_the_path_come_before_those_of_the_gateway(base):
    with served({"/metrics": Answer(), f"{base}/metrics": Answer()}) as server:
        sources, _ = discovered(f"{server.url}/api/v1")

    assert urls(sources) == [f"{server.url}{base}/metrics"]


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        (Answer('{"version": "0.33.0"}', content_type="application/json"), "0.33.0"),
        (Answer('{"detail": "Not Found"}', status=404, content_type="application/json"), ""),
        (Answer("[1]", content_type="application/json"), ""),
        (Answer("<html>", content_type="text/html"), ""),
    ],
)
def test_the_version_of_vllm_is_beside_its_metrics(answer, version):
    with served({"/metrics": Answer(), "/version": answer}) as server:
        (source, *_), _ = discovered(server.url)
    assert source.version == version


def test_json_at_metrics_leads_to_the_prometheus_path():
    answers = {"/metrics": Answer("[]", content_type="application/json"), "/prometheus/metrics": Answer()}
    with served(answers) as server:
        assert urls(discovered(server.url)[0]) == [f"{server.url}/prometheus/metrics"]


def test_a_page_for_every_path_is_no_source():
    with served(dict.fromkeys(("/metrics", "/prometheus/metrics", "/api/ps", "/slots"), Answer("<html>"))) as server:
        sources, line = discovered(server.url)

    assert sources == []
    assert line == f"Telemetry: none. {server.place} has no /metrics; --llm-observe names other sources."


def test_slots_are_read_beside_the_metrics_of_llama_cpp():
    with served({"/metrics": Answer(LLAMA), "/slots": SLOTS}) as server:
        assert urls(discovered(f"{server.url}/v1")[0]) == [f"{server.url}/metrics", f"slots:{server.url}"]
    with served({"/metrics": Answer(), "/slots": SLOTS}) as server:
        assert urls(discovered(server.url)[0]) == [f"{server.url}/metrics"]


LOADS = Answer('{"loads": [{"dp_rank": 0, "num_running_reqs": 1, "num_waiting_reqs": 0}]}')
INFO = '{"api_key": "sesame-77", "mem_fraction_static": 0.88, "max_running_requests": null, "kv_cache_dtype": "auto", "x": {}}'


@pytest.mark.parametrize(
    ("answers", "settings"),
    [
        ({"/metrics": Answer("sglang:num_running_reqs 1\n"), "/server_info": Answer(INFO)}, {"mem_fraction_static": "0.88", "kv_cache_dtype": "auto"}),
        ({"/v1/loads": LOADS, "/get_server_info": Answer(INFO)}, {"mem_fraction_static": "0.88", "kv_cache_dtype": "auto"}),
        ({"/metrics": Answer(LLAMA), "/props": Answer('{"total_slots": 4, "chat_template": "x"}')}, {"total_slots": "4"}),
        ({"/slots": SLOTS, "/props": Answer('{"total_slots": 4}')}, {"total_slots": "4"}),
        ({"/metrics": Answer("sglang:num_running_reqs 1\n"), "/server_info": Answer("[1]")}, {}),
        ({"/metrics": Answer("sglang:num_running_reqs 1\n"), "/server_info": Answer("<html>")}, {}),
        ({"/metrics": Answer(), "/server_info": Answer(INFO)}, {}),
    ],
)  # fmt: skip
def test_settings_beside_the_metrics_are_read_and_keys_are_not(answers, settings):
    with served(answers) as server:
        (source, *_), _ = discovered(server.url)
    assert source.settings == settings


@pytest.mark.parametrize(
    "answers, kind, words",
    [
        ({"/api/ps": Answer('{"models": []}'), "/api/version": Answer('{"version": "0.9"}')}, "ollama", "Ollama has no metrics"),
        ({"/v1/loads": Answer('{"loads": [{"dp_rank": 0, "num_running_reqs": 1, "num_waiting_reqs": 0}]}'), "/v1/models": models("sglang")}, "loads", "--enable-metrics"),
        ({"/slots": SLOTS, "/metrics": Answer(NO_METRICS, 501), "/v1/models": models("llamacpp")}, "slots", "--metrics"),
        ({"/gradio_api/queue/status": Answer('{"queue_size": 0}')}, "gradio", ""),
    ],
)  # fmt: skip
def test_a_server_without_metrics_is_read_in_json(answers, kind, words):
    with served(answers) as server:
        sources, line = discovered(f"{server.url}/v1")

    assert urls(sources) == [f"{kind}:{server.url}"]
    assert line.startswith(f"Telemetry: {kind}:{server.url}.")
    assert words in line


@pytest.mark.parametrize(
    "answers, words",
    [
        ({"/v1/models": models("sglang")}, "SGLang has metrics if it is started with --enable-metrics."),
        ({"/get_server_info": Answer('{"model_path": "x"}')}, "--enable-metrics"),
        ({"/v1/models": models("llamacpp")}, "started with --metrics."),
        ({"/props": Answer('{"total_slots": 4}')}, "started with --metrics."),
        ({"/v1/models": Answer("{}", headers={"Server": "llama.cpp"})}, "started with --metrics."),
        ({"/v1/models": models("vllm")}, "vLLM has /metrics on its own port"),
        ({"/v1/models": models("tensorrt_llm")}, "return_perf_metrics: true"),
        ({"/v1/models": models(["x"])}, "has no /metrics"),
        ({"/v1/models": Answer('{"data": 3}')}, "has no /metrics"),
        ({}, "has no /metrics"),
    ],
)
def test_the_flag_of_the_server_is_named(answers, words):
    with served(answers) as server:
        sources, line = discovered(f"{server.url}/v1")

    assert sources == []
    assert line.startswith("Telemetry: none.")
    assert words in line
    assert "\n" not in line


def test_metrics_that_need_a_key_are_said():
    with served(lambda request: Answer(status=200 if "authorization" in request.headers else 401)) as server:
        sources, line = discovered(server.url)
        assert sources == []
        assert "HTTP 401" in line
        assert "LLMLOCUST_OBSERVE_HEADER" in line
        sources, _ = discovered(server.url, headers={"Authorization": f"Bearer {SECRET}"})
        assert sources[0].scrape()


def test_credentials_of_the_host_are_sent_and_not_shown():
    with served(lambda request: Answer(status=200 if "authorization" in request.headers else 401)) as server:
        sources, line = discovered(f"http://me:{SECRET}@{server.place}/v1?key={SECRET}")

    assert len(sources) == 1
    assert SECRET not in line + sources[0].url + sources[0].name


@pytest.mark.parametrize("host", ["http://", "http://ho st", "ftp://host", "http://host:x", ""])
def test_an_address_that_is_not_valid_is_one_line(host):
    sources, line = discovered(host)
    assert sources == []
    assert "is not a" in line


def test_a_bad_header_in_the_environment_is_said(monkeypatch):
    monkeypatch.setenv("LLMLOCUST_OBSERVE_HEADER", SECRET)
    sources, line = discovered("http://127.0.0.1:1")
    assert sources == []
    assert "must be NAME: VALUE" in line
    assert SECRET not in line


def test_a_server_that_hangs_ends_the_search():
    with scripted(lambda connection: time.sleep(30)) as url:
        begun = time.monotonic()
        sources, line = discovered(url, seconds=1.0)

    assert time.monotonic() - begun < 20
    assert sources == []
    assert "does not answer the search: no complete answer within" in line


def test_a_closed_port_ends_the_search():
    _, line = discovered("http://127.0.0.1:1")
    assert (
        line == "Telemetry: none. 127.0.0.1:1 does not answer the search: connection refused: no server listens there."
    )


# -- this machine


@pytest.fixture
def local(monkeypatch):
    monkeypatch.setattr(discovery, "is_loopback", lambda host: host == "127.0.0.1")


def test_on_this_machine_the_process_and_the_machine_are_sources(local):
    with child(LISTENER, 0) as (process, port):
        sources, line = discovered(f"http://127.0.0.1:{port}", seconds=0.5)
        assert urls(sources) == [f"port:{port}", "machine"]
        assert f'pid="{process.pid}"' in sources[0].scrape()[0].text.decode()

    assert line.startswith(f"Telemetry: port:{port}, machine.")


def test_a_tunnel_is_not_the_server(local, monkeypatch):
    with child(LISTENER, 0) as (_, port):
        monkeypatch.setattr("psutil.Process.name", lambda _: "ssh")
        sources, line = discovered(f"http://127.0.0.1:{port}", seconds=0.5)

    assert sources == []
    assert "run `llmlocust observe` there" in line


def test_a_container_of_this_machine_is_named(local, monkeypatch):
    with child(LISTENER, 0) as (_, port):
        monkeypatch.setattr("psutil.Process.name", lambda _: "docker-proxy")
        sources, line = discovered(f"http://127.0.0.1:{port}", seconds=0.5)

    assert urls(sources) == ["machine"]
    assert "docker:NAME" in line
