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
def made():
    return MadeRun((4, 8, 30), 12, hold=30.0)


@pytest.fixture
def prefix(made, tmp_path):
    return made.write(tmp_path / "runs" / "demo")


def test_a_run_of_ours_is_read_whole(prefix, made):
    run = load_run(prefix)
    assert [each.load for each in run.levels] == [4, 8, 30]
    assert len(run.requests) == len(made.rows)
    assert (run.source, run.unknown, run.notes) == ("llmlocust", [], [])
    assert {"ttft", "itl"} <= {metric for metric in COUNTED if run.distributions(metric)}
    assert run.failures["count"].sum() == sum(row["outcome"] != "ok" for row in made.rows)


def test_a_folder_or_a_file_names_the_run_too(prefix):
    for name in (prefix.parent, prefix.with_name("demo_llm_levels.csv"), str(prefix.with_name("demo_llm_run.json"))):
        assert load_run(name).prefix == prefix


def test_goodput_is_the_share_of_the_requests_that_kept_the_limits(prefix, made):
    limits = [Threshold.parse("ttft.p95 < 120ms"), Threshold.parse("e2e.p99 < 2s")]
    run = load_run(prefix)
    found = run.goodput(limits)
    columns = ("ttft", "e2e")
    for level in run.levels:
        ok = [row for row in made.rows if row["level"] == level.level and row["measured"] and row["outcome"] == "ok"]
        good = sum(is_good({name: row[name] / 1000 for name in columns}, limits) for row in ok)
        assert found[level.level] == pytest.approx(good / len(ok) * level.throughput)


def test_goodput_of_sampled_rows_is_never_above_throughput(prefix):
    path = prefix.with_name("demo_llm_requests.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [row | {"weight": "3.7"} for row in random.Random(3).sample(rows, len(rows) // 3)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, REQUEST_COLUMNS)
        writer.writeheader()
        writer.writerows(kept)
    run = load_run(prefix)
    assert run.goodput([]) == pytest.approx({each.level: each.throughput for each in run.levels})
    limited = run.goodput([Threshold.parse("ttft.p95 < 90ms")])
    assert 0.0 < limited[0] < run.levels[0].throughput
    assert all(limited[each.level] <= each.throughput for each in run.levels)


def test_goodput_without_limits_is_throughput(prefix):
    run = load_run(prefix)
    assert run.goodput([]) == pytest.approx({each.level: each.throughput for each in run.levels}, rel=0.03)


@pytest.mark.parametrize("also", [(), (formats.HISTOGRAMS,), (formats.HISTOGRAMS, formats.TIMELINE, formats.RUN)])
def test_levels_are_worked_out_again_from_requests(made, tmp_path, also):
    whole = load_run(made.write(tmp_path / "whole"))
    run = load_run(made.write(tmp_path / "part", leave_out=(formats.LEVELS, *also)))
    assert any("computed again" in note for note in run.notes)
    for one, other in zip(whole.levels, run.levels, strict=True):
        assert (other.requests, other.ok, other.error_kinds) == (one.requests, one.ok, one.error_kinds)
        assert other.throughput == pytest.approx(one.throughput, rel=0.15)
        assert other.metric("ttft")["p95"] == pytest.approx(one.metric("ttft")["p95"], rel=0.02)
    if formats.RUN not in also:
        assert [each.load for each in run.levels] == [4, 8, 30]


@pytest.mark.parametrize("cut", [1, 7, 40, 333])
@pytest.mark.parametrize("name", [formats.LEVELS, formats.REQUESTS, formats.HISTOGRAMS, formats.TIMELINE, formats.RUN])
def test_a_file_cut_off_anywhere_near_its_end_is_read_as_far_as_it_is_whole(prefix, name, cut):
    path = prefix.with_name(f"demo_{name}")
    path.write_bytes(path.read_bytes()[:-cut])
    run = load_run(prefix)
    assert run.notes
    assert run.levels
    assert all(each.requests < 10_000 for each in run.levels)


def test_a_run_cut_off_before_its_first_level_says_so(tmp_path):
    (tmp_path / "x_llm_requests.csv").write_text(",".join(REQUEST_COLUMNS) + "\r\n")
    with pytest.raises(RunError, match="no level of this run has a request yet"):
        load_run(tmp_path / "x")


def said_of_rows(path: Path, change: Callable[[list[str]], list[str]] | None) -> tuple[bool, str]:
    """What the check says where the lines of the file of requests were changed; None: the file was deleted."""
    requests = path.with_name(f"{path.name}_{formats.REQUESTS}")
    if change is None:
        requests.unlink()
    else:
        requests.write_text("".join(change(requests.read_text().splitlines(keepends=True))))
    check = next(each for each in assess(load_run(path)).checks if each.key == "request_rows")
    return check.ok, check.says


def cut_in_the_middle(lines: list[str]) -> list[str]:
    """As where a machine loses its power: the next row follows in the same line."""
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
def test_rows_that_are_not_those_that_the_run_wrote_fail_the_check(prefix, change, words):
    ok, said = said_of_rows(prefix, change)
    assert ok == (not words)
    assert words in said


def test_a_run_that_is_cut_off_may_have_more_rows_than_it_had_time_to_count(tmp_path):
    made = MadeRun(told={"rows": {"seen": 5, "kept": 5}})
    assert said_of_rows(made.write(tmp_path / "run", ended=False), lambda lines: lines)[0]
    assert not said_of_rows(made.write(tmp_path / "run"), lambda lines: lines)[0]


def test_rows_that_are_no_numbers_are_left_out(prefix):
    path = prefix.with_name("demo_llm_levels.csv")
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join([*lines[:2], lines[2].replace("users", "users", 1).replace("8", "eight", 1), lines[3]]) + "\n"
    )
    run = load_run(prefix)
    assert len(run.levels) == 2
    assert any("invalid numbers" in note for note in run.notes)


@pytest.mark.parametrize(("low", "high"), [("1", "2"), ("9e6", "1e7"), ("9e6", "1")])
def test_intervals_of_other_values_are_left_out(prefix, low, high):
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
def test_a_share_above_one_is_no_number(prefix, column):
    rows = levels_file(prefix)
    with prefix.with_name("demo_llm_levels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows([rows[0] | {column: "5"}, *rows[1:]])

    assert len(load_run(prefix).levels) == len(rows) - 1


def levels_file(prefix):
    with prefix.with_name("demo_llm_levels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_histograms_of_other_buckets_are_not_believed(prefix):
    path = prefix.with_name("demo_llm_histograms.csv")
    head, *rows = path.read_text().splitlines()
    moved = [",".join([*row.split(",")[:3], str(int(row.split(",")[3]) // 2), row.split(",")[4]]) for row in rows]
    path.write_text("\n".join([head, *moved]) + "\n")
    run = load_run(prefix)
    assert any("does not agree" in note for note in run.notes)
    levels = {each.level: each.metric("ttft")["p50"] for each in run.levels}
    drawn = {level: each.quantile(0.5) for level, each in run.distributions("ttft").items()}
    assert drawn == pytest.approx(levels, rel=0.02)


def test_a_newer_format_asks_for_an_upgrade(prefix):
    prefix.with_name("demo_llm_run.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(RunError, match="upgrade"):
        load_run(prefix)


# -- bad input: one clear line each


def one_line(error):
    said = str(error.value)
    assert "\n" not in said
    assert len(said) < 400
    return said


def test_nothing_there(tmp_path):
    with pytest.raises(RunError) as raised:
        load_run(tmp_path / "nothing")
    assert "no run has this prefix" in one_line(raised)
    with pytest.raises(RunError) as raised:
        load_run(tmp_path / "no" / "folder")
    assert "no such folder" in one_line(raised)
    with pytest.raises(RunError) as raised:
        load_run(tmp_path)
    assert "no run in this folder" in one_line(raised)


def test_other_runs_are_named(prefix, made):
    with pytest.raises(RunError, match=r"there are: .*demo"):
        load_run(prefix.with_name("dmeo"))
    made.write(prefix.with_name("second"))
    with pytest.raises(RunError, match=r"2 runs in this folder"):
        load_run(prefix.parent)


@pytest.mark.parametrize(
    "name, text, said",
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
def test_files_that_are_no_run(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(RunError) as raised:
        load_run(tmp_path / "x")
    assert said in one_line(raised)


def test_a_file_of_another_tool(tmp_path):
    path = tmp_path / "results.jtl"
    path.write_text("timeStamp,elapsed\n1,2\n")
    with pytest.raises(RunError, match="not a file of llmlocust or Locust"):
        load_run(path)


def test_binary_rubbish(tmp_path):
    (tmp_path / "x_stats_history.csv").write_bytes(bytes(range(256)) * 50)
    with pytest.raises(RunError) as raised:
        load_run(tmp_path / "x")
    one_line(raised)


@pytest.mark.parametrize("name", [formats.LEVELS, formats.REQUESTS, formats.HISTOGRAMS, formats.TIMELINE])
def test_a_carriage_return_inside_a_header(prefix, name):
    path = prefix.with_name(f"demo_{name}")
    data = path.read_bytes()
    path.write_bytes(data[:9] + b"\r" + data[9:])
    try:
        run = load_run(prefix)
    except RunError as error:
        assert "\n" not in str(error)  # noqa: PT017  # either answer is right, a traceback is not
    else:
        assert run.notes


def damaged(luck, data):
    """Bytes changed, cut out, put in; numbers made into what no number of ours is."""
    made = bytearray(data)
    odd = (b"\r", b"\n", b'"', b"\0", b",", b"-", b"9" * 40, b"e308", b"inf", b"NaN", b"\xff\xfe", b"[", b"{", b"null")
    for _ in range(luck.choice((1, 1, 2, 5, 30))):
        place = luck.randrange(max(1, min(len(made), luck.choice((40, 400, len(made) or 1)))))
        what = luck.randrange(5)
        if what == 0:
            made[place : place + 1] = bytes([luck.randrange(256)])
        elif what == 1:
            made[place : place + luck.randrange(1, 30)] = b""
        elif what == 2:
            made[place:place] = luck.choice(odd)
        elif what == 3:
            del made[max(1, place) :]
        elif found := re.search(rb"[0-9.]+", made[place : place + 300]):
            number = luck.choice((b"-1", b"1e400", b"9" * 20, b"", b"-0.5", b"1e14", b"[]", b"true", b"1e-320", b'"a"'))
            made[place + found.start() : place + found.end()] = number
    return bytes(made)


@pytest.mark.parametrize("seed", range(8))
def test_damage_anywhere_is_a_run_or_one_line(tmp_path, seed):
    MadeRun((2, 4, 8), 3, hold=6.0, warmup=2.0, tokens=12).write(tmp_path / "x")
    names = [formats.LEVELS, formats.REQUESTS, formats.HISTOGRAMS, formats.TIMELINE, formats.RUN]
    whole = {tmp_path / f"x_{name}": (tmp_path / f"x_{name}").read_bytes() for name in names}
    luck = random.Random(seed)
    for _ in range(25):
        for path, data in whole.items():
            path.write_bytes(data)
        for path in luck.sample(list(whole), luck.choice((1, 1, 2))):
            path.write_bytes(damaged(luck, whole[path]))
        try:
            made = assess(load_run(tmp_path / "x"))
        except RunError as error:
            assert "\n" not in str(error)  # noqa: PT017  # either answer is right, a traceback is not
        else:
            assert as_json(made)
            assert markdown(made)


# -- Locust's own files, written by a real Locust before a server with 6 places and answers of 150 to 200 ms


@pytest.mark.parametrize("name", ["full", "steps"])
def test_levels_of_a_locust_test_are_found_from_the_user_count(name):
    run = load_run(PLAIN / name)
    assert [each.load for each in run.levels] == [2, 4, 8, 16, 32]
    rates = [each.throughput for each in run.levels]
    # users wait 100 ms between requests: X = N / 0.275 s while none queues, then 6 / 0.175 s
    assert rates[:3] == pytest.approx([2 / 0.275, 4 / 0.275, 8 / 0.275], rel=0.05)
    assert rates[3] == pytest.approx(6 / 0.175, rel=0.05)
    assert [each.metric("e2e").mean for each in run.levels[:3]] == pytest.approx([0.175] * 3, rel=0.05)
    assert run.levels[-1].failed > 0
    assert run.failures["count"].sum() > 0
    assert any("first token" in sentence for sentence in run.unknown)


def test_percentiles_are_taken_only_where_they_are_of_the_level():
    full, steps = load_run(PLAIN / "full"), load_run(PLAIN / "steps")
    assert full.levels[3].metric("e2e")["p95"] == pytest.approx(0.42, abs=0.05)
    assert math.isnan(steps.levels[3].metric("e2e")["p95"])
    assert any("--csv-full-history" in sentence for sentence in steps.unknown)


@pytest.mark.parametrize("slow_share", [0.1, 0.3, 0.7])
def test_a_levels_percentiles_are_put_together_from_its_windows(tmp_path, slow_share):
    """A minute in which windows of even times, up to 1 s, give way to windows of even times up to 4 s."""
    shares = (0.5, 0.66, 0.75, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999, 1.0)
    seconds, warmed_up = 70, 10
    slow_from = seconds - round((seconds - warmed_up) * slow_share)
    titles = [f"{share * 100:g}%" for share in shares]
    lines = [
        f"Timestamp,User Count,Name,{','.join(titles)},Total Request Count,Total Failure Count,Total Average Response Time"
    ]
    for second in range(seconds + 1):
        # the last ten seconds: so many of them slow
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
    # a window's ten seconds count from its first: of the slow ones the level's end has a little less
    share = slow_share * (seconds - warmed_up - 5) / (seconds - warmed_up)
    assert p95 == pytest.approx(4 * (1 - 0.05 / share), rel=0.15)
    low, high = level.metric("e2e").intervals["p95"]
    assert low < p95 < high


def test_one_level_has_the_whole_tests_percentiles():
    run = load_run(PLAIN / "flat")
    assert [each.load for each in run.levels] == [3]
    assert run.levels[0].metric("e2e")["p95"] == pytest.approx(0.2, abs=0.01)


def test_without_history_the_whole_test_is_one_row(tmp_path):
    (tmp_path / "x_stats.csv").write_bytes((PLAIN / "full_stats.csv").read_bytes())
    run = load_run(tmp_path / "x")
    assert len(run.levels) == 1
    assert math.isnan(run.levels[0].load)
    assert any("one row" in sentence for sentence in run.unknown)


def test_users_that_never_stand_still_make_bands(tmp_path):
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
def test_a_locust_history_that_is_cut_off(tmp_path, cut):
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


def test_sentences_of_a_run_are_messages_again(tmp_path):
    says = message("{rows} rows were lost", rows=5)
    gate = message("{threshold} at {load}", threshold="errors < 1%", load="4 users")
    check = {"name": "run", "ok": False, "says": to_json(says)}
    run = load_run(MadeRun(told={"checks": [check], "ended_by": to_json(gate)}).write(tmp_path / "x"))
    (read,) = [check for check in assess(run).checks if check.key == "run"]
    for written, text in ((says, read.says), (gate, ended_by(run.info))):
        assert (text, text.template, text.values) == (written, written.template, written.values)


# -- what Locust's web UI, its old versions and spreadsheets make of the same files

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
# Locust 0.13 and 0.14: no end to the last line
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
    """Files by their names, with __ for a dot."""
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def is_the_summary(run, p95=2.0):
    (level,) = run.levels
    assert (level.requests, level.failed, run.source) == (600, 6, "locust")
    assert level.throughput == pytest.approx(9.9)
    assert level.metric("e2e").mean == pytest.approx(0.95, rel=0.01)
    assert level.metric("e2e")["p50"] == 0.9
    assert level.metric("e2e")["p95"] == pytest.approx(p95, nan_ok=True)
    return True


@pytest.mark.parametrize(
    "name, given",
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
def test_the_summary_of_locust_is_read_under_any_name(tmp_path, name, given):
    (tmp_path / name).write_text(SUMMARY)
    assert is_the_summary(load_run(tmp_path / given))


def test_downloads_of_one_test_belong_together(tmp_path):
    files = {f"{DOWNLOAD}_requests": SUMMARY, f"{DOWNLOAD}_failures": FAILED, f"{DOWNLOAD}_exceptions": RAISED}
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text)
    for given in (".", DOWNLOAD, *(f"{name}.csv" for name in files)):
        run = load_run(tmp_path / given)
        assert is_the_summary(run)
        assert list(run.failures["error"]) == ["HTTP 503"]


def test_a_history_from_the_web_ui_has_levels(tmp_path):
    for kind, name in (("stats_history", "requests_full_history"), ("stats", "requests"), ("failures", "failures")):
        data = (PLAIN / f"full_{kind}.csv").read_bytes()
        (tmp_path / f"{DOWNLOAD}_{name}.csv").write_bytes(data)
    assert [level.load for level in load_run(tmp_path).levels] == [2, 4, 8, 16, 32]


@pytest.mark.parametrize(
    "name, text, what",
    [
        (f"{DOWNLOAD}_failures.csv", FAILED, "list of failures"),
        (f"{DOWNLOAD}_exceptions.csv", RAISED, "list of exceptions"),
        (f"{DOWNLOAD}.html", PAGE, "HTML report"),
        ("x_failures.csv", FAILED, "list of failures"),
        ("x_distribution.csv", '"Name","# requests","50%"\n"Total",600,900', "list of percentiles"),
        ("monday.csv", RAISED, "list of exceptions"),
    ],
)
def test_a_file_of_locust_without_counts_says_what_to_give_instead(tmp_path, name, text, what):
    (tmp_path / name).write_text(text)
    for given in (name, "."):
        with pytest.raises(RunError) as raised:
            load_run(tmp_path / given)
        assert f"this is Locust's {what}" in one_line(raised)
        assert "_requests.csv" in str(raised.value)


def test_several_summaries_in_a_folder_are_named(tmp_path):
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
    named = [path.name for path in sorted(tmp_path.iterdir()) if names_a_run(path)]
    assert named == ["a.csv", "b.csv", "c.html"]
    with pytest.raises(RunError, match="a table of levels with --table"):
        load_run(tmp_path / "d.csv")


@pytest.mark.parametrize(
    "data",
    [
        SUMMARY.encode("utf-8-sig"),
        SUMMARY.encode("utf-16"),
        gzip.compress(SUMMARY.encode()),
        SUMMARY.replace(",", ";"),
        SUMMARY.replace(",", "\t").replace(".", ","),
        SUMMARY.replace(",", ";").replace(".", ",").encode("utf-16"),
        SUMMARY.replace("99.9%", "99.90%"),
        SUMMARY.rstrip(),
        SUMMARY.replace("\r\n", "\n"),
        SUMMARY.replace("Request Count", "request count").replace("Name", " Name"),
    ],
)
def test_what_a_spreadsheet_made_of_locusts_file_is_read(tmp_path, data):
    with_files(tmp_path, x_stats__csv=data)
    run = load_run(tmp_path / "x")
    assert is_the_summary(run)
    assert run.notes == []


@pytest.mark.parametrize("name", ["x_stats.csv", "x_requests.csv", "requests_1584961632.6.csv"])
def test_old_versions_of_locust_are_read(tmp_path, name):
    path = tmp_path / name
    path.write_text(BEFORE_1)
    assert is_the_summary(load_run(path))
    path.write_text(BEFORE_0_12)
    assert is_the_summary(load_run(path), p95=math.nan)


def test_a_history_without_users_is_one_level(tmp_path):
    with_files(tmp_path, x_stats__csv=BEFORE_1, x_stats_history__csv=HISTORY_BEFORE_1)
    whole = load_run(tmp_path / "x")
    assert is_the_summary(whole)
    (tmp_path / "x_stats.csv").unlink()
    alone = load_run(tmp_path / "x")
    assert is_the_summary(alone, p95=math.nan)
    for run in (whole, alone):
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


def test_more_failures_than_requests_are_damage(tmp_path):
    with_files(tmp_path, x_stats__csv=SUMMARY.replace("600,6,", "600,601,"))
    with pytest.raises(RunError, match="more failures than requests"):
        load_run(tmp_path / "x")


def test_a_summary_without_its_last_row_asks_for_it(tmp_path):
    lines = SUMMARY.splitlines()
    with_files(tmp_path, x_stats__csv="\n".join([*lines[:2], lines[1].replace("chat", "other"), ""]))
    with pytest.raises(RunError, match="no row Aggregated"):
        load_run(tmp_path / "x")


def test_how_long_a_request_waited_in_the_load_generator_is_no_time_of_the_servers(tmp_path):
    prompt, late = (
        load_run(MadeRun((4,), 12, starved={"client_queue": wait}).write(tmp_path / str(wait) / "x")).busy()
        for wait in (0.1, 165.0)
    )
    assert late == prompt
