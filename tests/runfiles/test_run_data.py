import csv
import gzip
import json
import math
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from llmlocust.assessment.assessment import assess
from llmlocust.metrics.levels import COUNTED
from llmlocust.metrics.rows import REQUEST_COLUMNS
from llmlocust.metrics.thresholds import Threshold, is_good
from llmlocust.report.as_json import as_json
from llmlocust.report.html import html_in
from llmlocust.report.markdown import markdown
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading.errors import RunError
from llmlocust.runfiles.reading.locate import load_run, names_a_run
from llmlocust.runfiles.reading.run_json import ended_by, think_time
from llmlocust.text.message import message, to_json
from tests.report.made_run import EPOCH, MadeRun
from tests.simulators import ROOT

PLAIN = ROOT / "tests" / "report" / "plain"


@pytest.fixture(scope="module")
def simulated_run():
    return MadeRun((4, 8, 30), 12, hold=30.0)


@pytest.fixture
def prefix(simulated_run, tmp_path):
    return simulated_run.write(tmp_path / "runs" / "demo")


def test_a_run_of_llmlocust_is_read_completely(prefix, simulated_run):
    run = load_run(prefix)
    assert [level.load for level in run.levels] == [4, 8, 30]
    assert len(run.requests) == len(simulated_run.rows)
    assert (run.source, run.unknown, run.notes) == ("llmlocust", [], [])
    assert {"ttft", "itl"} <= {metric for metric in COUNTED if run.distributions(metric)}
    assert run.failures["count"].sum() == sum(row["outcome"] != "ok" for row in simulated_run.rows)


def test_a_folder_or_a_file_names_the_run_too(prefix):
    for name in (prefix.parent, prefix.with_name("demo_llm_levels.csv"), str(prefix.with_name("demo_llm_run.json"))):
        assert load_run(name).prefix == prefix


def test_goodput_is_the_share_of_requests_that_met_the_thresholds(prefix, simulated_run):
    limits = [Threshold.parse("ttft.p95 < 120ms"), Threshold.parse("e2e.p99 < 2s")]
    run = load_run(prefix)
    goodput = run.goodput(limits)
    columns = ("ttft", "e2e")
    for level in run.levels:
        ok = [
            row
            for row in simulated_run.rows
            if row["level"] == level.level and row["measured"] and row["outcome"] == "ok"
        ]
        good = sum(is_good({name: row[name] / 1000 for name in columns}, limits) for row in ok)
        assert goodput[level.level] == pytest.approx(good / len(ok) * level.throughput)


def test_goodput_of_sampled_rows_is_never_above_throughput(prefix):
    path = prefix.with_name("demo_llm_requests.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    sampled = [row | {"weight": "3.7"} for row in random.Random(3).sample(rows, len(rows) // 3)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, REQUEST_COLUMNS)
        writer.writeheader()
        writer.writerows(sampled)
    run = load_run(prefix)
    assert run.goodput([]) == pytest.approx({level.level: level.throughput for level in run.levels})
    limited = run.goodput([Threshold.parse("ttft.p95 < 90ms")])
    assert 0.0 < limited[0] < run.levels[0].throughput
    assert all(limited[level.level] <= level.throughput for level in run.levels)


def test_goodput_without_thresholds_is_throughput(prefix):
    run = load_run(prefix)
    assert run.goodput([]) == pytest.approx({level.level: level.throughput for level in run.levels}, rel=0.03)


@pytest.mark.parametrize("also", [(), (formats.HISTOGRAMS,), (formats.HISTOGRAMS, formats.TIMELINE, formats.RUN)])
def test_levels_are_computed_again_from_requests(simulated_run, tmp_path, also):
    complete = load_run(simulated_run.write(tmp_path / "whole"))
    run = load_run(simulated_run.write(tmp_path / "part", leave_out=(formats.LEVELS, *also)))
    assert any("computed again" in note for note in run.notes)
    for expected, level in zip(complete.levels, run.levels, strict=True):
        assert (level.requests, level.ok, level.error_kinds) == (expected.requests, expected.ok, expected.error_kinds)
        assert level.throughput == pytest.approx(expected.throughput, rel=0.15)
        assert level.metric("ttft")["p95"] == pytest.approx(expected.metric("ttft")["p95"], rel=0.02)
    if formats.RUN not in also:
        assert [level.load for level in run.levels] == [4, 8, 30]


@pytest.mark.parametrize("cut", [1, 7, 40, 333])
@pytest.mark.parametrize("name", [formats.LEVELS, formats.REQUESTS, formats.HISTOGRAMS, formats.TIMELINE, formats.RUN])
def test_the_complete_rows_of_a_truncated_file_are_read(prefix, name, cut):
    path = prefix.with_name(f"demo_{name}")
    path.write_bytes(path.read_bytes()[:-cut])
    run = load_run(prefix)
    assert run.notes
    assert run.levels
    assert all(level.requests < 10_000 for level in run.levels)


def test_a_run_cut_off_before_its_first_level_is_an_error(tmp_path):
    (tmp_path / "x_llm_requests.csv").write_text(",".join(REQUEST_COLUMNS) + "\r\n")
    with pytest.raises(RunError, match="no level of this run has a request yet"):
        load_run(tmp_path / "x")


def check_of_rows(path: Path, change: Callable[[list[str]], list[str]] | None) -> tuple[bool, str]:
    """Return result and text of the check after a change of the lines of the requests file; None: delete the file."""
    requests = path.with_name(f"{path.name}_{formats.REQUESTS}")
    if change is None:
        requests.unlink()
    else:
        requests.write_text("".join(change(requests.read_text().splitlines(keepends=True))))
    check = next(candidate for candidate in assess(load_run(path)).checks if candidate.key == "request_rows")
    return check.ok, check.says


def cut_in_the_middle(lines: list[str]) -> list[str]:
    """Cut a line in the middle, as after a power failure: the next row follows in the same line."""
    return [*lines[:5], lines[5][: len(lines[5]) // 2], *lines[6:]]


def a_day_earlier(line: str) -> str:
    cells = line.split(",")
    cells[REQUEST_COLUMNS.index("sent")] = str(EPOCH - 86400)
    return ",".join(cells)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda lines: lines, ""),
        (lambda lines: [*lines[:3], *lines[5:]], "the others are missing or truncated"),
        (lambda lines: lines[:1], "missing or has no complete row"),
        (None, "missing or has no complete row"),
        (cut_in_the_middle, "the others are missing or truncated"),
        (lambda lines: [*lines[:5], lines[5][:20] + "\n", *lines[6:]], "the others are missing or truncated"),
        (lambda lines: [*lines[:-1], lines[-1][:20]], "the others are missing or truncated"),
        (lambda lines: [*lines, *lines[1:4]], "some belong to another run"),
        (lambda lines: [*lines, *lines], "some belong to another run"),
        (lambda lines: [*lines[:-2], *map(a_day_earlier, lines[-2:])], "2 rows have a time before or after the run"),
        (lambda lines: [*lines, a_day_earlier(lines[-1])], "1 row has a time before or after the run"),
    ],
)
def test_rows_that_differ_from_those_of_the_run_fail_the_check(prefix, change, words):
    ok, text = check_of_rows(prefix, change)
    assert ok == (not words)
    assert words in text


def test_a_run_that_was_cut_off_may_have_more_rows_than_it_counted(tmp_path):
    unended = MadeRun(info={"rows": {"seen": 5, "kept": 5}})
    assert check_of_rows(unended.write(tmp_path / "run", ended=False), lambda lines: lines)[0]
    assert not check_of_rows(unended.write(tmp_path / "run"), lambda lines: lines)[0]


def test_rows_with_invalid_numbers_are_left_out(prefix):
    path = prefix.with_name("demo_llm_levels.csv")
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join([*lines[:2], lines[2].replace("users", "users", 1).replace("8", "eight", 1), lines[3]]) + "\n"
    )
    run = load_run(prefix)
    assert len(run.levels) == 2
    assert any("invalid numbers" in note for note in run.notes)


@pytest.mark.parametrize(("low", "high"), [("1", "2"), ("9e6", "1e7"), ("9e6", "1")])
def test_intervals_that_do_not_contain_their_value_are_left_out(prefix, low, high):
    rows = levels_file(prefix)
    with prefix.with_name("demo_llm_levels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows([rows[0] | {"ttft_p95_low": low, "ttft_p95_high": high}, *rows[1:]])

    run = load_run(prefix)

    assert "p95" not in run.levels[0].metric("ttft").intervals
    assert {"p50", "p99"} <= run.levels[0].metric("ttft").intervals.keys()
    assert "p95" in run.levels[1].metric("ttft").intervals
    assert run.notes == ["demo_llm_levels.csv: some intervals do not contain their values and are left out."]


@pytest.mark.parametrize("column", ["right", "empty", "cut", "repeated", "coalesced", "counted_chunks"])
def test_a_row_with_a_share_above_one_is_left_out(prefix, column):
    rows = levels_file(prefix)
    with prefix.with_name("demo_llm_levels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows([rows[0] | {column: "5"}, *rows[1:]])

    assert len(load_run(prefix).levels) == len(rows) - 1


def levels_file(prefix):
    with prefix.with_name("demo_llm_levels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_histograms_that_contradict_the_levels_are_not_used(prefix):
    path = prefix.with_name("demo_llm_histograms.csv")
    head, *rows = path.read_text().splitlines()
    moved = [",".join([*row.split(",")[:3], str(int(row.split(",")[3]) // 2), row.split(",")[4]]) for row in rows]
    path.write_text("\n".join([head, *moved]) + "\n")
    run = load_run(prefix)
    assert any("does not agree" in note for note in run.notes)
    levels = {level.level: level.metric("ttft")["p50"] for level in run.levels}
    drawn = {level: histogram.quantile(0.5) for level, histogram in run.distributions("ttft").items()}
    assert drawn == pytest.approx(levels, rel=0.02)


def test_a_newer_format_is_an_error_that_advises_an_upgrade(prefix):
    prefix.with_name("demo_llm_run.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(RunError, match="upgrade"):
        load_run(prefix)


# -- bad input: one clear line for every error


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def test_missing_runs_and_folders_are_an_error(tmp_path):
    with pytest.raises(RunError) as raised:
        load_run(tmp_path / "nothing")
    assert "no run has this prefix" in one_line(raised)
    with pytest.raises(RunError) as raised:
        load_run(tmp_path / "no" / "folder")
    assert "no such folder" in one_line(raised)
    with pytest.raises(RunError) as raised:
        load_run(tmp_path)
    assert "no run in this folder" in one_line(raised)


def test_an_unknown_prefix_lists_the_runs_of_the_folder(prefix, simulated_run):
    with pytest.raises(RunError, match=r"there are: .*demo"):
        load_run(prefix.with_name("dmeo"))
    simulated_run.write(prefix.with_name("second"))
    with pytest.raises(RunError, match=r"2 runs in this folder"):
        load_run(prefix.parent)


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("x_stats_history.csv", "", "empty"),
        ("x_stats_history.csv", "\n\n", "empty"),
        ("x_stats_history.csv", "timeStamp,elapsed,label\n1,2,a\n", "not a file of llmlocust or Locust"),
        (
            "x_stats_history.csv",
            "Timestamp,User Count,Type,Name,Total Request Count\n1,0,,Aggregated,0\n",
            "no request",
        ),
        ("x_stats.csv", "a;b;c\n1;2;3\n", "not a file of llmlocust or Locust"),
        ("x_stats.csv", "Type,Name,Request Count,Failure Count,Requests/s\n,Aggregated,0,0,0\n", "no request"),
        ("x_llm_levels.csv", "a,b\n1,2\n", "not a file of llmlocust or Locust"),
        ("x_llm_levels.csv", "", "no level"),
    ],
)
def test_files_that_are_no_run_are_an_error(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(RunError) as raised:
        load_run(tmp_path / "x")
    assert words in one_line(raised)


def test_a_file_of_another_tool_is_an_error(tmp_path):
    path = tmp_path / "results.jtl"
    path.write_text("timeStamp,elapsed\n1,2\n")
    with pytest.raises(RunError, match="not a file of llmlocust or Locust"):
        load_run(path)


def test_binary_data_is_an_error(tmp_path):
    (tmp_path / "x_stats_history.csv").write_bytes(bytes(range(256)) * 50)
    with pytest.raises(RunError) as raised:
        load_run(tmp_path / "x")
    one_line(raised)


@pytest.mark.parametrize("name", [formats.LEVELS, formats.REQUESTS, formats.HISTOGRAMS, formats.TIMELINE])
def test_a_carriage_return_inside_a_header_is_noted_or_an_error(prefix, name):
    path = prefix.with_name(f"demo_{name}")
    data = path.read_bytes()
    path.write_bytes(data[:9] + b"\r" + data[9:])
    try:
        run = load_run(prefix)
    except RunError as error:
        assert "\n" not in str(error)  # noqa: PT017  # an error and a result are right, a traceback is not
    else:
        assert run.notes


def damaged(generator, data):
    """Return the data with changed, removed and inserted bytes, and with invalid numbers."""
    damaged_data = bytearray(data)
    odd = (b"\r", b"\n", b'"', b"\0", b",", b"-", b"9" * 40, b"e308", b"inf", b"NaN", b"\xff\xfe", b"[", b"{", b"null")
    for _ in range(generator.choice((1, 1, 2, 5, 30))):
        place = generator.randrange(max(1, min(len(damaged_data), generator.choice((40, 400, len(damaged_data) or 1)))))
        kind = generator.randrange(5)
        if kind == 0:
            damaged_data[place : place + 1] = bytes([generator.randrange(256)])
        elif kind == 1:
            damaged_data[place : place + generator.randrange(1, 30)] = b""
        elif kind == 2:
            damaged_data[place:place] = generator.choice(odd)
        elif kind == 3:
            del damaged_data[max(1, place) :]
        elif match := re.search(rb"[0-9.]+", damaged_data[place : place + 300]):
            number = generator.choice(
                (b"-1", b"1e400", b"9" * 20, b"", b"-0.5", b"1e14", b"[]", b"true", b"1e-320", b'"a"')
            )
            damaged_data[place + match.start() : place + match.end()] = number
    return bytes(damaged_data)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_files_give_a_run_or_a_one_line_error(tmp_path, seed):
    MadeRun((2, 4, 8), 3, hold=6.0, warmup=2.0, tokens=12).write(tmp_path / "x")
    names = [formats.LEVELS, formats.REQUESTS, formats.HISTOGRAMS, formats.TIMELINE, formats.RUN]
    original = {tmp_path / f"x_{name}": (tmp_path / f"x_{name}").read_bytes() for name in names}
    generator = random.Random(seed)
    for _ in range(25):
        for path, data in original.items():
            path.write_bytes(data)
        for path in generator.sample(list(original), generator.choice((1, 1, 2))):
            path.write_bytes(damaged(generator, original[path]))
        try:
            assessment = assess(load_run(tmp_path / "x"))
        except RunError as error:
            assert "\n" not in str(error)  # noqa: PT017  # an error and a result are right, a traceback is not
        else:
            assert as_json(assessment)
            assert markdown(assessment)


# -- Locust's own files, written by Locust with a server of 6 slots and answers of 150 to 200 ms


@pytest.mark.parametrize("name", ["full", "steps"])
def test_levels_of_a_locust_test_are_found_from_the_user_count(name):
    run = load_run(PLAIN / name)
    assert [level.load for level in run.levels] == [2, 4, 8, 16, 32]
    rates = [level.throughput for level in run.levels]
    # users wait 100 ms between requests: X = N / 0.275 s without a queue, then 6 / 0.175 s
    assert rates[:3] == pytest.approx([2 / 0.275, 4 / 0.275, 8 / 0.275], rel=0.05)
    assert rates[3] == pytest.approx(6 / 0.175, rel=0.05)
    assert [level.metric("e2e").mean for level in run.levels[:3]] == pytest.approx([0.175] * 3, rel=0.05)
    assert run.levels[-1].failed > 0
    assert run.failures["count"].sum() > 0
    assert any("first token" in sentence for sentence in run.unknown)


def test_percentiles_are_known_only_from_a_full_history():
    full, steps = load_run(PLAIN / "full"), load_run(PLAIN / "steps")
    assert full.levels[3].metric("e2e")["p95"] == pytest.approx(0.42, abs=0.05)
    assert math.isnan(steps.levels[3].metric("e2e")["p95"])
    assert any("--csv-full-history" in sentence for sentence in steps.unknown)


@pytest.mark.parametrize("slow_share", [0.1, 0.3, 0.7])
def test_percentiles_of_a_level_are_combined_from_its_windows(tmp_path, slow_share):
    """In a minute, windows of uniform times up to 1 s are followed by windows of uniform times up to 4 s."""
    shares = (0.5, 0.66, 0.75, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999, 1.0)
    seconds, warmed_up = 70, 10
    slow_from = seconds - round((seconds - warmed_up) * slow_share)
    titles = [f"{share * 100:g}%" for share in shares]
    lines = [
        f"Timestamp,User Count,Name,{','.join(titles)},Total Request Count,Total Failure Count,Total Average Response Time"
    ]
    for second in range(seconds + 1):
        # the slow share of the last ten seconds
        slow = min(10, max(0, second - slow_from)) / 10

        def at(share, slow=slow):
            low, high = 0.0, 4.0
            for _ in range(40):
                middle = (low + high) / 2
                below = (1 - slow) * min(1.0, middle) + slow * middle / 4
                low, high = (middle, high) if below < share else (low, middle)
            return round(high * 1000)

        cells = ",".join(str(at(share)) for share in shares)
        lines += [f"{1000 + second},5,{name},{cells},{second * 20},0,1000" for name in ("/chat", "Aggregated")]
    (tmp_path / "x_stats_history.csv").write_text("\n".join(lines))
    (level,) = load_run(tmp_path / "x").levels
    p95 = level.metric("e2e")["p95"]
    # a window covers ten seconds, so the level's end has a slightly smaller share of slow times
    share = slow_share * (seconds - warmed_up - 5) / (seconds - warmed_up)
    assert p95 == pytest.approx(4 * (1 - 0.05 / share), rel=0.15)
    low, high = level.metric("e2e").intervals["p95"]
    assert low < p95 < high


def test_one_level_has_the_percentiles_of_the_test():
    run = load_run(PLAIN / "flat")
    assert [level.load for level in run.levels] == [3]
    assert run.levels[0].metric("e2e")["p95"] == pytest.approx(0.2, abs=0.01)


def test_without_history_the_test_is_one_level(tmp_path):
    (tmp_path / "x_stats.csv").write_bytes((PLAIN / "full_stats.csv").read_bytes())
    run = load_run(tmp_path / "x")
    assert len(run.levels) == 1
    assert math.isnan(run.levels[0].load)
    assert any("one row" in sentence for sentence in run.unknown)


def test_a_user_count_that_is_never_constant_makes_bands(tmp_path):
    lines = (PLAIN / "steps_stats_history.csv").read_text().splitlines()
    ramp = [lines[0]]
    for number, line in enumerate(lines[1:], 1):
        cells = line.split(",")
        cells[1] = str(number)
        ramp.append(",".join(cells))
    (tmp_path / "x_stats_history.csv").write_text("\n".join(ramp) + "\n")
    run = load_run(tmp_path / "x")
    assert len(run.levels) == 8
    assert any("never constant" in sentence for sentence in run.unknown)


@pytest.mark.parametrize("cut", [1, 30, 111])
def test_a_truncated_history_of_locust_is_read_and_noted(tmp_path, cut):
    data = (PLAIN / "steps_stats_history.csv").read_bytes()
    (tmp_path / "x_stats_history.csv").write_bytes(data[:-cut])
    run = load_run(tmp_path / "x")
    assert len(run.levels) == 5
    assert any("cut off" in note for note in run.notes)


# -- run.json


@pytest.mark.parametrize(
    ("times", "mean"),
    [
        ({"A": 2.0}, 2.0),
        ({"A": 0}, 0.0),
        ({"A": 5.0, "B": 5.0}, 5.0),
        ({"A": 5.0, "B": 1.0}, None),
        ({"A": 5.0, "B": None}, None),
        ({"A": None}, None),
        ({"A": "5"}, None),
        ({"A": -1.0}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_think_time_is_known_if_all_user_classes_have_the_same(times, mean):
    assert think_time({"think_times": times}) == mean


def test_sentences_of_run_json_are_read_as_messages(tmp_path):
    says = message("{rows} rows were lost", rows=5)
    gate = message("{threshold} at {load}", threshold="errors < 1%", load="4 users")
    check = {"name": "run", "ok": False, "says": to_json(says)}
    run = load_run(MadeRun(info={"checks": [check], "ended_by": to_json(gate)}).write(tmp_path / "x"))
    (check_,) = [check for check in assess(run).checks if check.key == "run"]
    for stored, text in ((says, check_.says), (gate, ended_by(run.info))):
        assert (text, text.template, text.values) == (stored, stored.template, stored.values)


# -- the same files from Locust's web UI, its old versions and spreadsheets

COLUMNS = (
    "Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,Min Response Time,Max Response Time,"
    "Average Content Size,Requests/s,Failures/s,50%,66%,75%,80%,90%,95%,98%,99%,99.9%,99.99%,100%"
)
FIGURES = "600,6,900,950.5,200,4000,812.0,10.0,0.1,900,1000,1100,1200,1500,2000,2500,3000,4000,4000,4000"
SUMMARY = f"{COLUMNS}\r\nPOST,/v1/chat,{FIGURES}\r\n,Aggregated,{FIGURES}\r\n"
FAILED = "Method,Name,Error,Occurrences,First Seen,Last Seen\r\nPOST,/v1/chat,HTTP 503,6,a,b\r\n"
RAISED = 'Count,Message,Traceback,Nodes\r\n1,boom,"line\r\nline",local\r\n'
PAGE = "<!DOCTYPE html>\n<html><head><title>Locust</title></head></html>"
DOWNLOAD = "Locust_2026-03-01-10h00_locustfile.py_http___127.0.0.1_8000"
# Locust 0.13 and 0.14: the last line has no line end
BEFORE_1 = (
    '"Type","Name","# requests","# failures","Median response time","Average response time","Min response time",'
    '"Max response time","Average Content Size","Requests/s","Requests Failed/s","50%","66%","75%","80%","90%","95%",'
    '"98%","99%","99.9%","99.99%","99.999","100%"\n'
    '"None","Aggregated",600,6,900,950,200,4000,812,10.00,0.10,'
    "900,1000,1100,1200,1500,2000,2500,3000,4000,4000,4000,4000"
)
# Locust 0.9 and 0.11
BEFORE_0_12 = (
    '"Method","Name","# requests","# failures","Median response time","Average response time","Min response time",'
    '"Max response time","Average Content Size","Requests/s"\n'
    '"GET","/",600,6,900,950,200,4000,812,10.00\n"None","Total",600,6,900,950,200,4000,812,10.00'
)
HISTORY_BEFORE_1 = (
    '"Type","Name","Timestamp","# requests","# failures","Requests/s","Requests Failed/s","Median response time",'
    '"Average response time","Min response time","Max response time","Average Content Size","50%","95%"\n'
) + "".join(
    f'"None","Aggregated","{1000 + second}",{second * 10},{second // 10},9.0,0.1,900,950,200,4000,812,1,2\n'
    for second in range(61)
)


def with_files(folder, **files):
    """Write files by their names, in which __ is a dot."""
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def has_summary_figures(run, p95=2.0):
    (level,) = run.levels
    assert (level.requests, level.failed, run.source) == (600, 6, "locust")
    assert level.throughput == pytest.approx(9.9)
    assert level.metric("e2e").mean == pytest.approx(0.95, rel=0.01)
    assert level.metric("e2e")["p50"] == 0.9
    assert level.metric("e2e")["p95"] == pytest.approx(p95, nan_ok=True)
    return True


@pytest.mark.parametrize(
    "name, argument",
    [
        (f"{DOWNLOAD}_requests.csv", f"{DOWNLOAD}_requests.csv"),
        (f"{DOWNLOAD}_requests.csv", "."),
        (f"{DOWNLOAD}_requests.csv", DOWNLOAD),
        (f"{DOWNLOAD}_requests (1).csv", f"{DOWNLOAD}_requests (1).csv"),
        (f"{DOWNLOAD}_requests (1).csv", "."),
        ("requests_1584961632.6.csv", "requests_1584961632.6.csv"),
        ("run_stats.csv", "run"),
        ("monday.csv", "monday.csv"),
        ("monday.csv", "."),
        ("monday.txt", "monday.txt"),
    ],
)
def test_the_summary_of_locust_is_read_under_any_name(tmp_path, name, argument):
    (tmp_path / name).write_text(SUMMARY)
    assert has_summary_figures(load_run(tmp_path / argument))


def test_downloads_of_one_test_belong_together(tmp_path):
    files = {f"{DOWNLOAD}_requests": SUMMARY, f"{DOWNLOAD}_failures": FAILED, f"{DOWNLOAD}_exceptions": RAISED}
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text)
    for argument in (".", DOWNLOAD, *(f"{name}.csv" for name in files)):
        run = load_run(tmp_path / argument)
        assert has_summary_figures(run)
        assert list(run.failures["error"]) == ["HTTP 503"]


def test_a_history_from_the_web_ui_has_levels(tmp_path):
    for kind, name in (("stats_history", "requests_full_history"), ("stats", "requests"), ("failures", "failures")):
        data = (PLAIN / f"full_{kind}.csv").read_bytes()
        (tmp_path / f"{DOWNLOAD}_{name}.csv").write_bytes(data)
    assert [level.load for level in load_run(tmp_path).levels] == [2, 4, 8, 16, 32]


@pytest.mark.parametrize(
    "name, text, kind",
    [
        (f"{DOWNLOAD}_failures.csv", FAILED, "list of failures"),
        (f"{DOWNLOAD}_exceptions.csv", RAISED, "list of exceptions"),
        (f"{DOWNLOAD}.html", PAGE, "HTML report"),
        ("x_failures.csv", FAILED, "list of failures"),
        ("x_distribution.csv", '"Name","# requests","50%"\n"Total",600,900', "list of percentiles"),
        ("monday.csv", RAISED, "list of exceptions"),
    ],
)
def test_a_file_of_locust_without_counts_names_the_file_to_give(tmp_path, name, text, kind):
    (tmp_path / name).write_text(text)
    for argument in (name, "."):
        with pytest.raises(RunError) as raised:
            load_run(tmp_path / argument)
        assert f"this is Locust's {kind}" in one_line(raised)
        assert "_requests.csv" in str(raised.value)


def test_several_summaries_in_a_folder_are_listed(tmp_path):
    with_files(tmp_path, one__csv=SUMMARY, two__csv=SUMMARY, three__csv=FAILED)
    with pytest.raises(RunError, match=r"2 runs in this folder, name one: .*one\.csv, .*two\.csv"):
        load_run(tmp_path)


def test_files_of_locust_name_a_run_and_tables_do_not(tmp_path):
    with_files(
        tmp_path,
        a__csv=SUMMARY,
        b__csv=FAILED,
        c__html=PAGE,
        my_requests__csv="users,p95\n1,2\n",
        d__csv="users,p95\n1,2\n",
    )
    names = [path.name for path in sorted(tmp_path.iterdir()) if names_a_run(path)]
    assert names == ["a.csv", "b.csv", "c.html"]
    with pytest.raises(RunError, match="a table of levels with --table"):
        load_run(tmp_path / "d.csv")


@pytest.mark.parametrize(
    "data",
    [
        SUMMARY.encode("utf-8-sig"),
        SUMMARY.encode("utf-16"),
        gzip.compress(SUMMARY.encode(), mtime=0),
        SUMMARY.replace(",", ";"),
        SUMMARY.replace(",", "\t").replace(".", ","),
        SUMMARY.replace(",", ";").replace(".", ",").encode("utf-16"),
        SUMMARY.replace("99.9%", "99.90%"),
        SUMMARY.rstrip(),
        SUMMARY.replace("\r\n", "\n"),
        SUMMARY.replace("Request Count", "request count").replace("Name", " Name"),
    ],
)
def test_locusts_file_saved_by_a_spreadsheet_is_read(tmp_path, data):
    with_files(tmp_path, x_stats__csv=data)
    run = load_run(tmp_path / "x")
    assert has_summary_figures(run)
    assert run.notes == []


@pytest.mark.parametrize("name", ["x_stats.csv", "x_requests.csv", "requests_1584961632.6.csv"])
def test_old_versions_of_locust_are_read(tmp_path, name):
    path = tmp_path / name
    path.write_text(BEFORE_1)
    assert has_summary_figures(load_run(path))
    path.write_text(BEFORE_0_12)
    assert has_summary_figures(load_run(path), p95=math.nan)


def test_a_history_without_users_is_one_level(tmp_path):
    with_files(tmp_path, x_stats__csv=BEFORE_1, x_stats_history__csv=HISTORY_BEFORE_1)
    complete = load_run(tmp_path / "x")
    assert has_summary_figures(complete)
    (tmp_path / "x_stats.csv").unlink()
    history_only = load_run(tmp_path / "x")
    assert has_summary_figures(history_only, p95=math.nan)
    for run in (complete, history_only):
        assert any("no user counts" in sentence for sentence in run.unknown)
        assert html_in(assess(run), "zh")[1] == []


def test_a_history_with_old_names_and_users_has_levels(tmp_path):
    text = (PLAIN / "steps_stats_history.csv").read_text()
    for new, old in (("Total Request Count", "# requests"), ("Total Failure Count", "# failures")):
        text = text.replace(new, old)
    text = text.replace("Total Average Response Time", "Average response time").replace("Aggregated", "Total")
    with_files(tmp_path, x_stats_history__csv=text)
    levels = load_run(tmp_path / "x").levels
    assert [level.load for level in levels] == [2, 4, 8, 16, 32]
    assert [level.failed for level in levels] == [level.failed for level in load_run(PLAIN / "steps").levels]


def test_more_failures_than_requests_are_an_error(tmp_path):
    with_files(tmp_path, x_stats__csv=SUMMARY.replace("600,6,", "600,601,"))
    with pytest.raises(RunError, match="more failures than requests"):
        load_run(tmp_path / "x")


def test_a_summary_without_its_last_row_is_an_error(tmp_path):
    lines = SUMMARY.splitlines()
    with_files(tmp_path, x_stats__csv="\n".join([*lines[:2], lines[1].replace("chat", "other"), ""]))
    with pytest.raises(RunError, match="no row Aggregated"):
        load_run(tmp_path / "x")


def test_client_queue_time_is_not_busy_time_of_the_server(tmp_path):
    prompt, late = (
        load_run(MadeRun((4,), 12, starved={"client_queue": wait}).write(tmp_path / str(wait) / "x")).busy()
        for wait in (0.1, 165.0)
    )
    assert late == prompt
