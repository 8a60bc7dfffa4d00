"""Published tables of levels, as `llmlocust report --table` reads them."""

import gzip
import json
import math
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlocust.assessment.assessment import assess
from llmlocust.cli import main
from llmlocust.report.as_json import data
from llmlocust.report.html import html_in
from llmlocust.report.markdown import markdown
from llmlocust.runfiles.reading.errors import RunError
from llmlocust.runfiles.reading.published_table import load_table
from llmlocust.runfiles.reading.table_headers import meaning_of
from tests.simulators import ROOT

CASES = ROOT / "tests" / "analysis" / "cases"


def report_of(table, *args):
    """Return the JSON of the command for a table, and its standard error."""
    with TemporaryDirectory() as folder:
        out = ["--out", f"{folder}/page.html", "--json", "-"]
        result = CliRunner().invoke(main, ["report", "--table", str(table), *out, *args])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), result.stderr


def table_file(folder, text):
    path = folder / "levels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def levels_of(folder, text):
    return load_table(table_file(folder, text)).levels


def errors_of(folder, text):
    return [level.errors for level in levels_of(folder, text)]


def error_of(folder, text):
    """Return the error message of a table that cannot be read: one line."""
    with pytest.raises(RunError) as raised:
        load_table(table_file(folder, text))
    assert "\n" not in str(raised.value)
    return str(raised.value)


# -- published results


def test_llamacpp_peaks_between_8_and_12_and_falls_after():
    document, _ = report_of(CASES / "llamacpp_cpu.csv")
    verdict = document["verdict"]
    assert (verdict["saturation"]["low"], verdict["saturation"]["high"]) == (8, 12)
    assert (verdict["collapse"]["low"], verdict["collapse"]["high"]) == (12, 16)
    assert "throughput falls 7.27 → 6.83/s" in verdict["collapse"]["why"]


def test_a_think_time_of_5_s_contradicts_littles_law_for_llamacpp():
    document, stderr = report_of(CASES / "llamacpp_cpu.csv", "--think-time", "5")
    check = next(check for check in document["validity"]["checks"] if check["key"] == "think_time")
    assert not check["ok"]
    assert check["levels"] == list(range(7))
    assert "A think time of 5 s does not fit" in check["says"]
    assert "Little's law" in check["says"]
    assert "1 of 2 checks failed: think time." in stderr


def test_llamacpp_fits_no_think_time():
    document, _ = report_of(CASES / "llamacpp_cpu.csv")
    check = next(check for check in document["validity"]["checks"] if check["key"] == "think_time")
    assert check["ok"]
    assert check["levels"] == list(range(7))
    assert "leave no time at 1, 2, 4, 8, 12, 16 and 20 users between two requests" in check["says"]


def test_gradio_breaks_between_40_and_50_by_its_table():
    """Its author wrote 45 to 50; the table has no row for 45."""
    document, stderr = report_of(CASES / "gradio_gpu.csv")
    limit = document["verdict"]["slo_limit"]
    assert (limit["level_ok"], limit["level_bad"]) == (40, 50)
    assert 40 < limit["load"] < 50
    assert "p95 end to end 2.85 → 5.1 s and errors 0 % → 2.3 %" in stderr
    assert (document["verdict"]["collapse"]["low"], document["verdict"]["collapse"]["high"]) == (40, 50)


def test_vllm_grows_to_its_last_level_without_a_failure():
    document, _ = report_of(CASES / "vllm_two_gpus.csv")
    verdict = document["verdict"]
    for name in ("slo_limit", "knee", "saturation", "collapse"):
        assert not verdict[name]["reached"]
        assert "not reached up to 300 users" in verdict[name]["why"]
    assert verdict["cliffs"] == []
    assert [level["errors"] for level in document["levels"]] == [0, 0, 0, 0]
    # 43.53 requests per second of 12.62 s are 549 in flight, of 300 users
    assert [check["key"] for check in document["validity"]["checks"] if not check["ok"]] == ["littles_law"]


@pytest.mark.parametrize(
    "name, words",
    [("gradio_gpu_tuned", "(see 'variant') at the same loads"), ("cluster_rate", "no figures besides the loads")],
)
def test_tables_that_are_not_of_levels_give_a_one_line_error(name, words):
    result = CliRunner().invoke(main, ["report", "--table", str(CASES / f"{name}.csv")])
    assert result.exit_code == 2
    assert words in result.output
    assert len(result.output.strip().splitlines()) == 1


# -- reading


@pytest.mark.parametrize(
    "header, cell, metric, statistic, seconds",
    [
        ("p95", "500", "e2e", "p95", 0.5),
        ("mean", "500", "e2e", "mean", 0.5),
        ("TTFT P99 (s)", "0.5", "ttft", "p99", 0.5),
        ("ttft_mean", "35", "ttft", "mean", 0.035),
        ("avg_latency_s", "2", "e2e", "mean", 2.0),
        ("latency p99.9 [ms]", "900", "e2e", "p99_9", 0.9),
        ("median tpot", "20", "tpot", "p50", 0.02),
        ("itl_p99_us", "800", "itl", "p99", 0.0008),
    ],
)
def test_headers_define_metric_statistic_and_unit(tmp_path, header, cell, metric, statistic, seconds):
    (level,) = levels_of(tmp_path, f"users,rps,{header}\n5,2,{cell}\n")
    assert level.metric(metric)[statistic] == pytest.approx(seconds)


@pytest.mark.parametrize(
    "header, cell", [("errors", "0.02"), ("errors %", "2"), ("error_rate", "2%"), ("success_rate", "0.98")]
)
def test_errors_are_a_share(tmp_path, header, cell):
    (level,) = levels_of(tmp_path, f"users;mean;{header}\n5;100;{cell}\n")
    assert level.errors == pytest.approx(0.02)
    assert not level.counted


def test_rates_are_loads_too(tmp_path):
    level, other = levels_of(tmp_path, "rate\tp95\n10\t50\n20\t-\n")
    assert (level.unit, level.load, other.load) == ("rate", 10.0, 20.0)
    assert math.isnan(other.metric("e2e")["p95"])


def test_counts_make_intervals_and_numbers_of_requests(tmp_path):
    table = table_file(tmp_path, "users,requests,p95,errors\n1,40,300,0\n2,200,300,0.5\n")
    report = assess(load_table(table))
    assert [(level.requests, level.ok) for level in report.levels] == [(40, 40), (200, 100)]
    assert any(check.key == "requests_for_p95" for check in report.checks)


def test_an_unknown_number_of_requests_is_not_shown(tmp_path):
    report = assess(load_table(table_file(tmp_path, "users,p95,errors\n1,300,0\n2,300,0.012\n3,900,0.3\n")))
    assert "1000" not in markdown(report).replace("that of 1000 requests per level", "")
    assert {level["requests"] for level in data(report)["levels"]} == {None}
    assert not any("requests_for" in check.key or "aborted" in check.key for check in report.checks)


def test_other_columns_are_telemetry():
    document, _ = report_of(CASES / "llamacpp_cpu.csv", "--threshold", "table.cpu_percent < 80 ~ 95")
    assert [level["limits"] for level in document["levels"]] == [
        "gold",
        "not known",
        *["gold"] * 2,
        "tolerated",
        *["fails"] * 2,
    ]
    assert (document["verdict"]["slo_limit"]["level_ok"], document["verdict"]["gold"]["level_ok"]) == (12, 8)
    assert "gold up to 8 users" in document["verdict"]["slo_limit"]["why"]


def test_missing_columns_are_reported():
    document, _ = report_of(CASES / "gradio_gpu.csv")
    unknown = " ".join(document["unknown"])
    for words in (
        "How many requests each level had",
        "Time to first token",
        "Throughput: the table has no such column",
    ):
        assert words in unknown
    assert "Errors" not in unknown


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "it needs a header and a row per level"),
        ("users,mean\n", "it needs a header and a row per level"),
        ("name,p95\na,5\n", "none of its columns is a load"),
        ("rps,p95\n1,5\n", "call 'rps' rate if it is the requested load"),
        ("users,colour\n5,3\n", "no figures besides the loads"),
        ("users,mean\n5,fast\n6,7\n", "line 2: 'mean' is 'fast', which is not a number"),
        ("users,mean\n5,-3\n", "line 2: 'mean' is '-3', which is not a number of 0 or more"),
        ("users,mean\n5,inf\n", "line 2: 'mean' is 'inf', which is not a number"),
        ("users,mean\n,3\n", "no row of it has a load above zero"),
        ("users,mean\n0,3\n", "no row of it has a load above zero"),
        ("users,mean\nfew,3\nmany,4\n", "its load 'users' contains words ('few')"),
        ("request_rate,mean\ninf,3\ninf,4\n", "'request_rate' is inf"),
        ("users,requests,mean\n5,4.2,3\n", "a count is whole; call a rate rps"),
        ("users,p95,errors\n1,1,200,0\n", "line 2 has 4 cells and the header 3; put numbers that contain a comma"),
        ("users;p95;rps\n1;0,5;1.5\n", "a decimal point (1.5) and some a decimal comma (0,5)"),
        ('{"users": [1, 2]}', "it is JSON"),
        ("<!DOCTYPE html><html></html>", "a page of HTML"),
    ],
)
def test_an_invalid_table_gives_a_one_line_error(tmp_path, text, words):
    assert words in error_of(tmp_path, text)


# -- failures: counts, shares, percent, per second

TOTALS = ["requests", "num_requests", "num_prompts", "Total Requests", "# Samples", "Request Count", "总请求数"]
COUNTS = ["errors", "failures", "failed", "Failed requests", "# Fails", "num_failed", "error_count", "KO", "失败数"]


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("failed", COUNTS)
def test_whole_failures_beside_a_total_are_counts(tmp_path, total, failed):
    table = f"users,{total},{failed},p95\n1,100,0,900\n8,800,1,1000\n"
    assert errors_of(tmp_path, table) == [0.0, 1 / 800]


@pytest.mark.parametrize(
    "table",
    [
        "users,p95,errors\n1,900,0\n8,1000,0.025\n",
        "users,p95,errors,requests\n1,900,0,4000\n8,1000,0.025,4000\n",
        "users,p95,error_rate\n1,900,0\n8,1000,2.5\n",
        "users,p95,errors\n1,900,0\n8,1000,2.5\n",
        "users,p95,errors %\n1,900,0\n8,1000,2.5\n",
        "users,p95,error_pct\n1,900,0\n8,1000,2.5\n",
        "users,p95,Error rate (%)\n1,900,0\n8,1000,2.5\n",
        "users,p95,pct_errors\n1,900,0\n8,1000,2.5\n",
        "users,p95,errorRate\n1,900,0\n8,1000,2.5%\n",
        "users,p95,失败率\n1,900,0 %\n8,1000,2.5 %\n",
        "users;p95;errors\n1;900;0 %\n8;1000;2,5 %\n",
        "users,p95,success\n1,900,1\n8,1000,0.975\n",
        "users,p95,success_rate\n1,900,100\n8,1000,97.5\n",
        "users,p95,success %\n1,900,100\n8,1000,97.5\n",
        "users,p95,requests,ok\n1,900,400,400\n8,1000,4000,3900\n",
        "users,p95,num_prompts,completed\n1,900,400,400\n8,1000,4000,3900\n",
        "users,p95,successful_requests,failed_requests\n1,900,400,0\n8,1000,3900,100\n",
        "users,p95,OK,KO\n1,900,400,0\n8,1000,3900,100\n",
        "users,p95,Requests/s,Failures/s\n1,900,4,0\n8,1000,40,1\n",
        "users,p95,successful requests/s,errors/s\n1,900,4,0\n8,1000,39,1\n",
        "rate,p95,errors per second\n4,900,0\n40,1000,1\n",
        "users,p95,rps,duration,errors\n1,900,4,100,0\n8,1000,39,100,100\n",
        "users,p95,requests,timeouts,http_5xx\n1,900,400,0,0\n8,1000,4000,60,40\n",
        "users,p95,requests,errors,timeouts\n1,900,400,0,0\n8,1000,4000,100,60\n",
        "users,p95,error,failed %\n1,900,,0\n8,1000,out of memory,2.5\n",
        "users,p95,# requests,# fails\n1,900,400,0(0.00%)\n8,1000,4000,100(2.50%)\n",
    ],
)
def test_failures_are_read_in_the_form_they_have(tmp_path, table):
    assert errors_of(tmp_path, table) == pytest.approx([0.0, 0.025])


@pytest.mark.parametrize(
    "columns, value, words",
    [
        ("errors", 17, "of an unknown number of requests"),
        ("failed", 1, "of an unknown number of requests"),
        ("num_failed", 0.02, "a count is whole"),
        ("error_rate", 120, "neither a share of the requests nor a percentage"),
        ("errors %", 120, "more than all requests"),
        ("errors", -1, "not a number of 0 or more"),
        ("errors", "few", "'errors' contains words ('few')"),
        ("error_type", "OOM", "'error_type' contains words ('OOM')"),
        ("错误", "超时", "contains words"),
        ("err_x", 3, "the meaning of 'err_x' is not clear"),
        ("timeout_s", 60, "the meaning of 'timeout_s' is not clear"),
        ("failed_users", 3, "the meaning of 'failed_users' is not clear"),
        ("Failures/s", 3, "add a column Requests/s"),
        ("success", 97, "may be a count or percent"),
    ],
)
def test_failures_of_unclear_meaning_are_an_error(tmp_path, columns, value, words):
    assert words in error_of(tmp_path, f"users,p95,{columns}\n1,900,{value}\n8,1000,{value}\n")


@pytest.mark.parametrize(
    "table, words",
    [
        ("users,p95,requests,errors\n1,900,50,100\n", "'errors' is 100 of 50 requests"),
        ("users,p95,requests,ok\n1,900,50,60\n", "60 requests succeeded, of 50"),
        ("users,p95,requests,completed,failed\n1,900,50,49,2\n", "49 requests succeeded and 2 failed, of 50"),
        ("users,p95,requests,errors\n1,900,50,0\n8,900,,3\n", "line 3: 'errors' is 3, of an unknown number"),
        ("users,p95,Requests/s,Failures/s\n1,900,2,3\n", "'Failures/s' is 3, of 2 requests/s"),
        ("users,p95,errors %,failure_rate\n1,900,0,0.2\n", "by 'failure_rate' 20.00%"),
        ("users,p95,requests,errors,timeouts\n1,900,100,0,5\n", "by 'timeouts' 5.00%"),
    ],
)
def test_impossible_failures_give_a_one_line_error(tmp_path, table, words):
    assert words in error_of(tmp_path, table)


@pytest.mark.parametrize(
    "table, note",
    [
        ("users,p95,requests,errors\n1,900,50,1\n", "errors is read as a count of requests"),
        ("users,p95,errors\n1,900,0.5\n", "errors is read as a share from 0 to 1"),
        ("users,p95,error_rate\n1,900,1.5\n", "error_rate is read as percent, because its numbers go up to 1.5"),
        ("users,p95,requests,timeouts\n1,900,50,1\n", "Failed requests are those of timeouts"),
        (
            "users,p95,requests,completed,failed\n1,900,50,45,2\n",
            "neither succeeded nor failed are left out (3 in all)",
        ),
        ("max_concurrency,concurrency,p95\n1,0.9,50\n", "The load is the column max_concurrency, not concurrency."),
        ("users,p95,failed %,err_x\n1,900,1,7\n", "not clear what it counts: err_x."),
        ("users,mean,latency\n1,900,50\n", "another column contains the same: latency."),
        ("users,mean,cpu,std\n1,900,50,3\n", "in thresholds such as table.cpu: cpu, std."),
        ("users,p95\n1,0.8\n2,1.9\n", "p95 is read as milliseconds; if it is in seconds, add _s"),
        ("users,p95\n1,800\n,900\n", "A row without a load is left out."),
    ],
)
def test_assumptions_are_noted_in_both_languages(tmp_path, table, note):
    report = assess(load_table(table_file(tmp_path, table)))
    assert any(note in note_ for note_ in report.run.notes)
    assert html_in(report, "zh")[1] == []


def test_a_form_from_the_header_is_no_assumption(tmp_path):
    for table in ("users,p95,requests,error_count\n1,900,50,1\n", "users,p95,error_percent\n1,900,1\n"):
        assert load_table(table_file(tmp_path, table)).notes == []


def test_an_empty_cell_of_failures_is_filled_by_another_column(tmp_path):
    table = "users,p95,requests,errors,failed %\n1,900,100,5,5\n8,900,100,,20\n"
    assert errors_of(tmp_path, table) == pytest.approx([0.05, 0.2])


def test_requests_per_second_include_failures_only_if_failures_per_second_are_given(tmp_path):
    tables = ("users,Requests/s,Failures/s\n8,40,1\n", "users,Requests/s,failed %\n8,40,2.5\n")
    assert [levels_of(tmp_path, table)[0].throughput for table in tables] == [39.0, 40.0]


def test_a_few_failures_in_a_million_are_not_rounded_to_none(tmp_path):
    (level,) = levels_of(tmp_path, "users,p95,errors %\n8,900,0.0004\n")
    assert level.failed > 0
    assert not level.counted


FORMS = {
    "errors": lambda requests, failed: failed,
    "error_rate": lambda requests, failed: failed / requests,
    "errors %": lambda requests, failed: 100 * failed / requests,
    "completed": lambda requests, failed: requests - failed,
    "success_percent": lambda requests, failed: 100 - 100 * failed / requests,
}


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(
        st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=1, max_size=6
    ),
    form=st.sampled_from(sorted(FORMS)),
    mark=st.sampled_from([",", "."]),
    delimiter=st.sampled_from([";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    compressed=st.booleans(),
)
def test_every_form_of_failures_gives_the_same_counts(
    tmp_path_factory, rows, form, mark, delimiter, encoding, compressed
):
    lines = [["users", "requests", "p95_s", form]] + [
        [str(load), str(requests), f"{load}.25", f"{FORMS[form](requests, failed):.9f}".rstrip("0").rstrip(".")]
        for load, (requests, failed) in enumerate(rows, 1)
    ]
    text = "\n".join(delimiter.join(cell.replace(".", mark) for cell in line) for line in lines)
    data = text.encode(encoding)
    path = tmp_path_factory.mktemp("form") / "levels.csv"
    path.write_bytes(gzip.compress(data) if compressed else data)
    levels = load_table(path).levels
    assert [level.requests for level in levels] == [requests for requests, _ in rows]
    assert [level.failed for level in levels] == [failed for _, failed in rows]
    assert [level.metric("e2e")["p95"] for level in levels] == [load + 0.25 for load in range(1, len(rows) + 1)]


# -- numbers


@pytest.mark.parametrize(
    "table, seconds",
    [
        ("users,p95_s,rps\n1,0.5,1\n8,1.25,2\n", [0.5, 1.25]),
        ("users;p95_s;rps\n1;0,5;1\n8;1,25;2\n", [0.5, 1.25]),
        ('users,p95_s,rps\n1,"0,5",1\n8,"1,25",2\n', [0.5, 1.25]),
        ("users\tp95_s\trps\n1\t0,5\t1\n8\t1,25\t2\n", [0.5, 1.25]),
        ("users,p95 (ms),rps\n1,500,1\n8,1'250,2\n", [0.5, 1.25]),
        ("users,p95 (ms),rps\n1,500,1\n8,1 250,2\n", [0.5, 1.25]),
        ("users;p95 (ms);rps\n1;500;1\n8;1.250,0;2\n", [0.5, 1.25]),
        ('users,p95 (ms),rps\n1,500,1\n8,"1,250.0",2\n', [0.5, 1.25]),
        ('users,p95 (ms),rps\n1,500,1.5\n8,"1,250",2\n', [0.5, 1.25]),
        ("users;p95 (ms);requests\n1;500;1.200\n8;1.250;3.400\n", [0.5, 1.25]),
        ('users,p95 (ms),requests\n1,500,"1,200"\n8,"1,250","3,400"\n', [0.5, 1.25]),
        ("users,p95\n1,500 ms\n8,1.25s\n", [0.5, 1.25]),
        ("users,p95\n1,500000 µs\n8,1.25 sec\n", [0.5, 1.25]),
        ("users,p95\n1,500000000ns\n8,0m1.25s\n", [0.5, 1.25]),
        ("users,p95 (s)\n1,500 ms\n8,1.25\n", [0.5, 1.25]),
        ("users,p95\n1,0.5 s\n8,1.25\n", [0.5, 1.25]),
        ("users,p95\n1,~500\n8,1.25e3 ± 20\n", [0.5, 1.25]),
        ("users,p95\n8 users,500\n9 users,1.25k\n", [0.5, 1.25]),
        ("users,p95\n１,５００\n8,1250\n", [0.5, 1.25]),
    ],
)
def test_numbers_are_read_in_every_notation(tmp_path, table, seconds):
    assert [level.metric("e2e")["p95"] for level in levels_of(tmp_path, table)] == pytest.approx(seconds)


@pytest.mark.parametrize(
    "table, value",
    [
        ('users,p95\n1,"1,200"\n8,"2,500"\n', 1.2),
        ("users;p95_s\n1;1,200\n8;2,500\n", 1.2),
        ("users;p95_s\n1;1.200\n8;2.500\n", 1.2),
    ],
)
def test_an_ambiguous_number_is_noted(tmp_path, table, value):
    run = load_table(table_file(tmp_path, table))
    assert run.levels[0].metric("e2e")["p95"] == pytest.approx(value)
    assert any("no other number shows which sign is the decimal mark" in note for note in run.notes)


# -- files


SIMPLE = "users,p95,rps\n1,500,2\n8,900,9\n"


@pytest.mark.parametrize(
    "data",
    [
        SIMPLE.encode("utf-8-sig"),
        SIMPLE.encode("utf-16"),
        SIMPLE.encode("utf-16-le"),
        SIMPLE.encode("utf-16-be"),
        SIMPLE.encode("utf-32"),
        gzip.compress(SIMPLE.encode(), mtime=0),
        SIMPLE.replace("\n", "\r\n"),
        SIMPLE.replace("\n", "\r"),
        SIMPLE.replace(",", ";"),
        SIMPLE.replace(",", "\t"),
        SIMPLE.replace(",", "|"),
        SIMPLE.replace(",", "   "),
        "sep=;\n" + SIMPLE.replace(",", ";"),
        "My benchmark\n\n" + SIMPLE,
        "My benchmark,,\n" + SIMPLE,
        "# made by hand\n" + SIMPLE + "# on one GPU\n",
        SIMPLE.replace("users", '"users"').replace("500", '"500"'),
        ",users,p95,rps\n0,1,500,2\n1,8,900,9\n",
        "users,p95,rps,\n1,500,2,\n8,900,9,\n",
        "| users | p95 | rps |\n|---|---:|:--|\n| 1 | 500 | 2 |\n| 8 | 900 | 9 |\n",
        "users | p95 | rps\n--- | --- | ---\n1 | 500 | 2\n**8** | `900` | 9\n\nThat was it.\n",
        "# Results\n\nA line.\n\n| users | p95 | rps |\n| - | - | - |\n| 1 | 500 | 2 |\n| 8 | 900 | 9 |\n",
        "+---+---+---+\n|users|p95|rps|\n+---+---+---+\n|1|500|2|\n|8|900|9|\n+---+---+---+\n",
        "┏━━━━┳━━━┳━━━┓\n┃ users ┃ p95 ┃ rps ┃\n┡━━━━╇━━━╇━━━┩\n│ 1 │ 500 │ 2 │\n│ 8 │ 900 │ 9 │\n└────┴───┴───┘\n",
    ],
)
def test_tables_of_many_formats_are_read(tmp_path, data):
    levels = levels_of(tmp_path, data)
    assert [(level.load, level.metric("e2e")["p95"], level.throughput) for level in levels] == [
        (1, 0.5, 2),
        (8, 0.9, 9),
    ]


@pytest.mark.parametrize(
    "text, encoding, name",
    [
        ("并发数,平均响应时间(ms),错误率\n8,500,2%\n", "gbk", "GB18030"),
        ("并发,平均延迟,失败率,吞吐量\n8,500 毫秒,2%,9\n", "gb18030", "GB18030"),
        ("users,mean (µs),errors %\n8,500000,2\n", "latin-1", "Windows-1252"),
        ("users,mean,errors %,bemerkung für später\n8,500,2,größer\n", "cp1252", "Windows-1252"),
        ("users,mean,errors %,備註\n8,500,2,在我們的測試環境裡量得\n", "big5", "Big5"),
    ],
)
def test_an_encoding_that_is_guessed_is_noted(tmp_path, text, encoding, name):
    run = load_table(table_file(tmp_path, text.encode(encoding)))
    (level,) = run.levels
    assert (level.load, level.metric("e2e").mean, level.errors) == (8, pytest.approx(0.5), pytest.approx(0.02))
    assert f"levels.csv is not UTF-8: it was read as {name}" in run.notes[0]


@pytest.mark.parametrize(
    "data, words",
    [
        (b"PK\x03\x04rest", "an Excel workbook"),
        (b"\xd0\xcf\x11\xe0rest", "an Excel workbook"),
        (b"%PDF-1.7", "a PDF"),
        (b"\x1f\x8b\x08broken", "gzip"),
        (bytes(range(256)) * 4, "not readable as text; save its table as CSV in UTF-8"),
    ],
)
def test_files_that_are_no_text_are_an_error(tmp_path, data, words):
    assert words in error_of(tmp_path, data)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(RunError, match="cannot be read"):
        load_table(tmp_path / "nosuch.csv")


def test_the_first_of_several_tables_is_read(tmp_path):
    table = "| users | p95 |\n|---|---|\n| 1 | 500 |\n"
    run = load_table(table_file(tmp_path, f"{table}\nand\n\n{table.replace('500', '900')}"))
    assert [level.metric("e2e")["p95"] for level in run.levels] == [0.5]
    assert "The file has 2 tables: the first is read." in run.notes


@pytest.mark.parametrize("name", ["full_stats", "full_stats_history", "full_failures", "full_exceptions"])
def test_a_file_of_locust_is_recognised_and_is_no_table(name):
    with pytest.raises(RunError, match="this is Locust's"):
        load_table(ROOT / "tests" / "report" / "plain" / f"{name}.csv")


# -- names of columns


@pytest.mark.parametrize(
    "header, kind, name, scale",
    [
        ("mean_ttft_ms", "ttft", "mean", 1e-3),
        ("median_ttft_ms", "ttft", "p50", 1e-3),
        ("Time to first token (ms) p95", "ttft", "p95", 1e-3),
        ("average_first_token_latency", "ttft", "mean", None),
        ("首Token延迟 P95", "ttft", "p95", None),
        ("首字时延(秒)", "ttft", "mean", 1.0),
        ("mean_itl_ms", "itl", "mean", 1e-3),
        ("Inter Token Latency p99 (ms)", "itl", "p99", 1e-3),
        ("mean_tpot_ms", "tpot", "mean", 1e-3),
        ("Time per output token p90 (s)", "tpot", "p90", 1.0),
        ("mean_e2el_ms", "e2e", "mean", 1e-3),
        ("median_e2e_latency_ms", "e2e", "p50", 1e-3),
        ("Average Response Time", "e2e", "mean", None),
        ("Request Latency p99 (s)", "e2e", "p99", 1.0),
        ("http_req_duration p(95)", "e2e", "p95", None),
        ("Avg_Time_ms", "e2e", "mean", 1e-3),
        ("Average", "e2e", "mean", None),
        ("90% Line", "e2e", "p90", None),
        ("95%ile", "e2e", "p95", None),
        ("90th percentile", "e2e", "p90", None),
        ("95th", "e2e", "p95", None),
        ("TP99", "e2e", "p99", None),
        ("99.9%", "e2e", "p99_9", None),
        ("100%", "e2e", "max", None),
        ("平均响应时间", "e2e", "mean", None),
        ("平均响应时间/ms", "e2e", "mean", 1e-3),
        ("TTFT P99/s", "ttft", "p99", 1.0),
        ("95分位响应时间", "e2e", "p95", None),
        ("中位数", "e2e", "p50", None),
        ("successful request latency p95", "e2e", "p95", None),
    ],
)
def test_columns_of_latencies_are_recognised(header, kind, name, scale):
    meaning = meaning_of(header)
    assert (meaning.kind, meaning.name, meaning.scale) == (kind, name, scale)


@pytest.mark.parametrize(
    "kind, headers",
    [
        (
            "users",
            "max_concurrency|concurrency|VUs|User Count|concurrent requests|num users|maxConcurrency|并发|并发用户数",
        ),
        ("rate", "request_rate|rate|Arrival rate (req/s)|target_rps|Target QPS|请求速率"),
        (
            "throughput",
            "request_throughput|Requests/s|Throughput|Request Throughput (per sec)|Achieved RPS|每秒请求数|吞吐量",
        ),
        (
            "output_tokens_per_s",
            "output_throughput|Output Token Throughput (tokens/sec)|tok/s|throughput_tok_s|输出吞吐",
        ),
        ("requests", "num_prompts|# requests|Request Count|# Samples|http_reqs|total_requests|请求数"),
        ("success", "completed|successful_requests|success_rate|OK|成功率"),
        ("window", "duration|benchmark_duration|Test duration (s)|seconds|时长"),
        (
            "errors",
            "failed|http_req_failed|Error %|errorRate|numerrors|failrate|timeouts|5xx|Requests Failed/s|错误率|超时",
        ),
        ("unclear errors", "error_budget|timeout_s|err_x|failover_count|error message|failed_request_latency"),
        (
            "telemetry",
            "std_ttft_ms|Min|p75|stderr|total_token_throughput|input_throughput|max_output_tokens_per_s|p95 queue|ttft_500",
        ),
        (
            "telemetry",
            "tokens_per_s_user|total_output_tokens|cache hit rate|Received KB/sec|queue_latency_ms|output_len|tpm|cpu_percent",
        ),
    ],
)
def test_columns_are_recognised(kind, headers):
    assert {header: meaning_of(header).kind for header in headers.split("|")} == dict.fromkeys(headers.split("|"), kind)


def test_results_of_vllm_are_levels(tmp_path):
    table = (
        "backend,num_prompts,request_rate,max_concurrency,max_concurrent_requests,duration,completed,failed,"
        "request_throughput,output_throughput,total_token_throughput,mean_ttft_ms,median_ttft_ms,std_ttft_ms,"
        "p99_ttft_ms,mean_tpot_ms,mean_itl_ms,mean_e2el_ms\n"
        "vllm,100,inf,1,2,110,100,0,0.9,110,200,40,39,3,60,8,9,500\n"
        "vllm,800,inf,8,9,130,798,2,6.1,760,900,70,69,5,140,10,11,800\n"
    )
    levels = levels_of(tmp_path, table)
    assert [(level.load, level.requests, level.failed) for level in levels] == [(1, 100, 0), (8, 800, 2)]
    assert [(level.throughput, level.output_tokens_per_s) for level in levels] == [(0.9, 110), (6.1, 760)]
    means = {name: levels[1].metric(name).mean for name in ("ttft", "tpot", "itl", "e2e")}
    assert means == pytest.approx({"ttft": 0.07, "tpot": 0.01, "itl": 0.011, "e2e": 0.8})


@pytest.mark.parametrize(
    "table, unit, loads",
    [
        ("max_concurrency,concurrency,mean\n1,0.9,5\n8,7.4,6\n", "users", [1, 8]),
        ("concurrency,max_concurrency,mean\n0.9,1,5\n7.4,8,6\n", "users", [1, 8]),
        ("request_rate,concurrency,mean\n1,0.9,5\n4,7.4,6\n", "rate", [1, 4]),
        ("request_rate,concurrency,mean\ninf,0.9,5\ninf,7.4,6\n", "users", [0.9, 7.4]),
        ("request_rate,max_concurrency,mean\ninf,1,5\ninf,8,6\n", "users", [1, 8]),
        ("request_rate,max_concurrency,mean\n1,256,5\n4,256,6\n", "rate", [1, 4]),
        ("request_rate,mean\n1,5\n4,6\ninf,9\n", "rate", [1, 4]),
        ("users,request_rate,mean\n1,2,5\n4,8,6\n", "users", [1, 4]),
        ("max_concurrency,users,mean\nNone,1,5\nNone,8,6\n", "users", [1, 8]),
    ],
)
def test_the_load_is_the_requested_one(tmp_path, table, unit, loads):
    assert [(level.unit, level.load) for level in levels_of(tmp_path, table)] == [(unit, load) for load in loads]


def test_results_of_jmeter_and_k6_are_levels(tmp_path):
    jmeter = (
        "Label,Threads,# Samples,Average,Median,90% Line,95% Line,99% Line,Min,Max,Error %,Throughput\n"
        "chat,1,100,500,490,600,700,900,100,1000,0.00%,2.0/sec\nchat,8,800,900,890,990,1100,1900,100,3000,1.25%,480.0/min\n"
    )
    k6 = "vus,http_reqs,http_req_duration avg,http_req_duration p(95),http_req_failed\n1,100,500ms,700ms,0.00%\n8,800,900ms,1.1s,1.25%\n"
    for table in (jmeter, k6):
        levels = levels_of(tmp_path, table)
        assert [(level.load, level.requests, level.failed) for level in levels] == [(1, 100, 0), (8, 800, 10)]
        assert [level.metric("e2e").mean for level in levels] == pytest.approx([0.5, 0.9])
        assert [level.metric("e2e")["p95"] for level in levels] == pytest.approx([0.7, 1.1])
    assert [level.throughput for level in levels_of(tmp_path, jmeter)] == [2.0, 8.0]


def test_several_summaries_of_locust_in_one_table_are_levels(tmp_path):
    table = (
        "users,Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,Min Response Time,"
        "Max Response Time,Requests/s,Failures/s,95%,99%\n"
        "1,,Aggregated,100,0,90,95,10,200,10,0,150,190\n8,,Aggregated,800,8,190,195,10,400,80,0.8,350,390\n"
    )
    levels = levels_of(tmp_path, table)
    assert [(level.load, level.errors, level.throughput) for level in levels] == [
        (1, 0, 10),
        (8, 0.01, pytest.approx(79.2)),
    ]
    assert levels[1].metric("e2e")["p95"] == pytest.approx(0.35)


@pytest.mark.parametrize(
    "args, words",
    [
        ([], "give either the PREFIX of a run or a table"),
        (["run", "--table", "x.csv"], "give either the PREFIX of a run or a table"),
        (["run", "--think-time", "5"], "--think-time needs --table"),
        (["run", "--thresholds", "nosuch.toml"], "nosuch.toml: cannot be read"),
        (["--table", str(CASES / "llamacpp_cpu.csv"), "--think-time", "long"], "a think time is seconds such as 5"),
        (["--table", str(CASES / "llamacpp_cpu.csv"), "--think-time", "3-1"], "a range goes up, such as 1-3"),
    ],
)
def test_invalid_combinations_of_options_are_an_error(args, words):
    result = CliRunner().invoke(main, ["report", *args])
    assert result.exit_code == 2
    assert words in result.output


@pytest.mark.parametrize(
    "text, words, mean",
    [
        ("5", "think time 5 s", 5.0),
        ("1-3", "think time 1 to 3 s", 2.0),
        ("uniform:1-3", "think time 1 to 3 s", 2.0),
        ("normal:5,1", "think time normal:5,1 s", None),
    ],
)
def test_think_times_have_the_form_of_run_json(text, words, mean):
    info = load_table(CASES / "llamacpp_cpu.csv", text).info
    assert info == {"user_classes": {"Users": words}, "think_times": {"Users": mean}}


def test_thresholds_from_a_file(tmp_path):
    limits = tmp_path / "limits.toml"
    limits.write_text('e2e.p95 = "< 1s ~ 2s"\n[table]\ncpu_percent = "< 80 ~ 95"\n')
    document, _ = report_of(CASES / "llamacpp_cpu.csv", "--thresholds", str(limits))
    assert document["verdict"]["thresholds"] == ["e2e.p95 < 1s ~ 2s", "table.cpu_percent < 80 ~ 95"]
