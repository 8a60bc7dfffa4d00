"""Bare tables of levels: what people publish, through `llmlocust report --table`."""

import json
import math
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner

from llmlocust.cli import main
from llmlocust.report.frames import RunError
from llmlocust.report.page import build
from llmlocust.report.tables import load_table
from tests.simulators import ROOT

CASES = ROOT / "tests" / "analysis" / "cases"


def reported(table, *args):
    """What the command says of a table, and its JSON."""
    with TemporaryDirectory() as folder:
        out = ["--out", f"{folder}/page.html", "--json", "-"]
        done = CliRunner().invoke(main, ["report", "--table", str(table), *out, *args])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), done.stderr


def written(folder, text):
    path = folder / "levels.csv"
    path.write_text(text)
    return path


def levels_of(folder, text):
    return load_table(written(folder, text)).levels


# -- what others published


def test_llamacpp_peaks_between_8_and_12_and_falls_after():
    told, _ = reported(CASES / "llamacpp_cpu.csv")
    verdict = told["verdict"]
    assert (verdict["capacity"]["low"], verdict["capacity"]["high"]) == (8, 12)
    assert (verdict["collapse"]["low"], verdict["collapse"]["high"]) == (12, 16)
    assert "throughput falls 7.27 → 6.83/s" in verdict["collapse"]["why"]


def test_llamacpp_is_caught_by_littles_law():
    told, said = reported(CASES / "llamacpp_cpu.csv", "--wait", "5")
    check = next(each for each in told["trust"]["checks"] if each["name"] == "think time")
    assert not check["ok"]
    assert check["levels"] == list(range(7))
    assert "A think time of 5 s does not fit" in check["says"]
    assert "Little's law" in check["says"]
    assert "1 of 2 checks failed (think time)" in said


def test_llamacpp_leaves_no_think_time_whoever_tells_one():
    told, _ = reported(CASES / "llamacpp_cpu.csv")
    check = next(each for each in told["trust"]["checks"] if each["name"] == "think time")
    assert check["ok"]
    assert check["levels"] == list(range(7))
    assert "leave no time at 1, 2, 4, 8, 12, 16 and 20 users between two requests" in check["says"]


def test_gradio_breaks_above_40_as_far_as_the_table_tells():
    """Its author says 45 to 50; the table has no row for 45."""
    told, said = reported(CASES / "gradio_gpu.csv")
    limit = told["verdict"]["slo_limit"]
    assert (limit["level_ok"], limit["level_bad"]) == (40, 50)
    assert 40 < limit["load"] < 50
    assert "p95 end to end 2.85 → 5.1 s and errors 0 % → 2.3 %" in said
    assert (told["verdict"]["collapse"]["low"], told["verdict"]["collapse"]["high"]) == (40, 50)


def test_vllm_grows_to_its_last_level_without_a_failure():
    told, _ = reported(CASES / "vllm_two_gpus.csv")
    verdict = told["verdict"]
    for name in ("slo_limit", "knee", "capacity", "collapse"):
        assert not verdict[name]["reached"]
        assert "not reached up to 300 users" in verdict[name]["why"]
    assert verdict["cliffs"] == []
    assert [level["errors"] for level in told["levels"]] == [0, 0, 0, 0]
    # 43.53 requests a second of 12.62 s each are 549 at once, of 300 users
    assert [each["name"] for each in told["trust"]["checks"] if not each["ok"]] == ["Little's law"]


@pytest.mark.parametrize(
    "name, words",
    [("gradio_gpu_tuned", "'variant' tells them apart"), ("cluster_rate", "no figures beside the loads")],
)
def test_tables_of_something_else_are_told_in_one_line(name, words):
    done = CliRunner().invoke(main, ["report", "--table", str(CASES / f"{name}.csv")])
    assert done.exit_code == 2
    assert words in done.output
    assert len(done.output.strip().splitlines()) == 1


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
        ("itl_p99_us", "800", "gap", "p99", 0.0008),
    ],
)
def test_headers_say_what_a_time_is(tmp_path, header, cell, metric, statistic, seconds):
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
    table = written(tmp_path, "users,requests,p95,errors\n1,40,300,0\n2,200,300,0.5\n")
    report = build(load_table(table))
    assert [(each.requests, each.ok) for each in report.levels] == [(40, 40), (200, 100)]
    assert any(each.name == "requests for p95" for each in report.checks)


def test_what_is_not_counted_is_shown_nowhere(tmp_path):
    report = build(load_table(written(tmp_path, "users,p95,errors\n1,300,0\n2,300,0.012\n3,900,0.3\n")))
    assert "1000" not in report.markdown().replace("as that of 1000 requests a level", "")
    assert {level["requests"] for level in report.data()["levels"]} == {None}
    assert not any("requests for" in each.name or "aborted" in each.name for each in report.checks)


def test_other_columns_are_telemetry():
    told, _ = reported(CASES / "llamacpp_cpu.csv", "--threshold", "table.cpu_percent < 80 ~ 95")
    assert [level["limits"] for level in told["levels"]] == [
        "gold",
        "not known",
        *["gold"] * 2,
        "tolerated",
        *["fails"] * 2,
    ]
    assert (told["verdict"]["slo_limit"]["level_ok"], told["verdict"]["gold"]["level_ok"]) == (12, 8)
    assert "gold up to 8 users" in told["verdict"]["slo_limit"]["why"]


def test_what_the_table_does_not_tell_is_said():
    told, _ = reported(CASES / "gradio_gpu.csv")
    unknown = " ".join(told["unknown"])
    for words in ("How many requests each level had", "Time to first token", "Throughput: the table has no column"):
        assert words in unknown
    assert "Errors" not in unknown


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "it needs a header and a row a level"),
        ("users,mean\n", "it needs a header and a row a level"),
        ("name,p95\na,5\n", "none of its columns is a load"),
        ("users,colour\n5,3\n", "no figures beside the loads"),
        ("users,mean\n5,fast\n6,7\n", "line 2: 'mean' is 'fast', which is no number"),
        ("users,mean\n5,-3\n", "no figures"),
        ("users,mean,errors\n5,3,2\n", "call the column errors_percent"),
        ("users,mean\n,3\n", "no row of it has a load above zero"),
        ("users,mean\n0,3\n", "no row of it has a load above zero"),
    ],
)
def test_a_table_that_is_none_is_told_in_one_line(tmp_path, text, words):
    with pytest.raises(RunError) as raised:
        load_table(written(tmp_path, text))
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_files_that_are_no_text(tmp_path):
    path = tmp_path / "levels.csv"
    path.write_bytes(b"\xff\xfe\x00users")
    with pytest.raises(RunError, match="no text"):
        load_table(path)
    with pytest.raises(RunError, match="cannot be read"):
        load_table(tmp_path / "nosuch.csv")


@pytest.mark.parametrize(
    "args, words",
    [
        ([], "give either a run's PREFIX or a table"),
        (["run", "--table", "x.csv"], "give either a run's PREFIX or a table"),
        (["run", "--wait", "5"], "--wait is of a table's users"),
        (["run", "--thresholds", "nosuch.toml"], "nosuch.toml: cannot be read"),
        (["--table", str(CASES / "llamacpp_cpu.csv"), "--wait", "long"], "a think time is seconds such as 5"),
        (["--table", str(CASES / "llamacpp_cpu.csv"), "--wait", "3-1"], "a range goes up, such as 1-3"),
    ],
)
def test_options_that_do_not_go_together(args, words):
    done = CliRunner().invoke(main, ["report", *args])
    assert done.exit_code == 2
    assert words in done.output


@pytest.mark.parametrize(
    "wait, told",
    [
        ("5", "wait 5 s"),
        ("1-3", "wait 1 to 3 s"),
        ("uniform:1-3", "wait 1 to 3 s"),
        ("normal:5,1", "wait normal:5,1 s"),
    ],
)
def test_think_times_are_written_as_those_of_a_run(wait, told):
    assert load_table(CASES / "llamacpp_cpu.csv", wait).info["user_classes"] == {"Users": told}


def test_thresholds_from_a_file(tmp_path):
    limits = tmp_path / "limits.toml"
    limits.write_text('e2e.p95 = "< 1s ~ 2s"\n[table]\ncpu_percent = "< 80 ~ 95"\n')
    told, _ = reported(CASES / "llamacpp_cpu.csv", "--thresholds", str(limits))
    assert told["verdict"]["thresholds"] == ["e2e.p95 < 1s ~ 2s", "table.cpu_percent < 80 ~ 95"]
