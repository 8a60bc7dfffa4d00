"""A load generator that is late: it says what it does not know. Only the event loop's reader is late, the native one is not."""

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest

from llmlocust.assessment.assessment import assess
from llmlocust.plugin.http.reader import LOOP, NATIVE, VARIABLE
from llmlocust.report.sections.level_table import columns
from llmlocust.runfiles.reading.locate import load_run
from llmlocust.wire import Reader
from tests.locusts import RAMP, rows, run, run_info
from tests.simulators import running_simulator

BLOCKED = 1
"""The level during which the event loop is blocked."""

SOCKET = 2.0
"""Milliseconds between the server's note of a time and its sending, which a busy machine adds. Tokens are 40 ms apart."""

BLOCKING = (
    RAMP
    + f"""
import json
import time

import gevent
from locust import events

from llmlocust.plugin.session_interface import session_of

@events.test_start.add_listener
def block_the_loop(environment, **kwargs):
    gevent.spawn(block, environment)

def block(environment):
    with open("blocks.json", "w") as file:
        while True:
            gevent.sleep(0.8)
            levels = session_of(environment).collector.ledger.levels
            if levels and levels[-1].index == {BLOCKED} and levels[-1].warmed_up is not None and levels[-1].ended is None:
                begin, began = time.time(), time.perf_counter()
                while time.perf_counter() < began + 0.2:
                    pass
                print(json.dumps([begin, time.time()]), file=file, flush=True)
"""
)


@pytest.fixture(scope="module")
def late_run(tmp_path_factory):
    return blocked_run(tmp_path_factory.mktemp("late"), LOOP)


@pytest.fixture(scope="module")
def native_run(tmp_path_factory):
    if Reader is None:
        pytest.skip("the native reader is not built: it needs Linux and a C compiler")
    return blocked_run(tmp_path_factory.mktemp("native"), NATIVE)


def blocked_run(folder, reader):
    """Return the run's prefix, and its levels' rows; by level, the times of the tokens of each of its streams as the server
    wrote them; when the interpreter was blocked. All in epoch seconds.
    """
    # tokens so far apart that only the block is late enough to merge them, however busy the machine is
    with running_simulator(slots=30, step_ms=40, step_ms_per_seq=0) as simulator:
        ramp = ["--llm-levels", "8,10,12", "--llm-warmup", "0.5", "--llm-hold", "6", "--llm-max-tokens", "25"]
        options = [*ramp, "--llm-body", '{"ignore_eos": true}']
        locust = run(folder, simulator.url, *options, locustfile=BLOCKING, environment={VARIABLE: reader})
        served = {answer["id"].removeprefix("chatcmpl-"): answer for answer in simulator.truth()}
    assert locust.process.returncode == 0, locust.log
    assert ("The event loop reads answers, because LLMLOCUST_READER says so" in locust.log) == (reader == LOOP)
    streams: dict[int, list[list[float]]] = {}
    for row in of_ok_requests(folder):
        answer = served[row["id"]]
        written = [answer["received_epoch"] + us / 1e6 for us in answer["writes_us"]]
        streams.setdefault(int(row["level"]), []).append(written)
    blocks = [json.loads(line) for line in Path(folder / "blocks.json").read_text().splitlines()]
    return folder / "run", rows(folder, "llm_levels.csv"), streams, blocks


def of_ok_requests(folder):
    return [row for row in rows(folder, "llm_requests.csv") if row["measured"] == "1" and row["outcome"] == "ok"]


def true_quantile(gaps, q):
    return sorted(gaps)[math.ceil(q * len(gaps)) - 1] * 1e3


def true_gaps(streams):
    return [later - earlier for written in streams for earlier, later in pairwise(written)]


def range_of(level, name):
    """The range of a percentile of the ITL; its value alone, twice, if it is known exactly."""
    lower, upper = (level[f"itl_{name}_{end}"] or level[f"itl_{name}"] for end in ("lower", "upper"))
    return float(lower), float(upper)


def test_true_percentiles_lie_in_the_ranges_given(late_run):
    _, levels, streams, blocks = late_run
    gaps = true_gaps(streams[BLOCKED])
    assert len(blocks) >= 3
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        least, most = range_of(levels[BLOCKED], name)
        assert least < most, name
        assert least - SOCKET <= true_quantile(gaps, q) <= most + SOCKET, name


def test_the_native_reader_knows_the_percentiles_while_the_interpreter_is_blocked(native_run):
    prefix, levels, streams, blocks = native_run
    assert len(blocks) >= 3
    seconds = [second for second in rows(prefix.parent, "llm_timeline.csv") if second["level"] == str(BLOCKED)]
    longest_lag = max(float(second["client_lag"] or 0) for second in seconds)
    # a busy machine may take the reader's core for longer than the 40 ms between two tokens
    assert float(levels[BLOCKED]["uncertain"]) == 0 or longest_lag > 20
    gaps = true_gaps(streams[BLOCKED])
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        least, most = range_of(levels[BLOCKED], name)
        assert least - SOCKET <= true_quantile(gaps, q) <= most + SOCKET, name


def test_a_run_names_its_readers(late_run, native_run):
    for (prefix, *_), reader in ((late_run, LOOP), (native_run, NATIVE)):
        assert set(run_info(prefix.parent)["readers"]) == {reader}
    check = next(check for check in assess(load_run(late_run[0])).checks if check.key == "clock")
    assert "The event loop read answers" in check.says


def blocked_share(streams, blocks):
    """Of the blocked level's gaps, those that the blocks alone keep anybody from knowing."""
    uncertain = 0
    for written in streams[BLOCKED]:
        for begin, end in blocks:
            together = sum(begin < moment < end for moment in written)
            # of two or more that waited, no gap is known; before the first token there is none
            uncertain += together - (written[0] > begin) if together > 1 else 0
    return uncertain / len(true_gaps(streams[BLOCKED]))


def test_the_share_that_is_not_known_is_right(late_run):
    _, levels, streams, blocks = late_run
    share = blocked_share(streams, blocks)
    assert 0.05 < share < 0.5
    # a machine that is busy with other things merges some more, in the other levels too
    busy = 2 * max(float(levels[index]["uncertain"]) for index in (0, 2)) + 0.02
    assert 0.9 * share <= float(levels[BLOCKED]["uncertain"]) <= 1.1 * share + busy


def test_every_level_has_what_is_not_known_of_its_own_requests(late_run):
    prefix, levels, *_ = late_run
    for level in levels:
        own = [row for row in of_ok_requests(prefix.parent) if row["level"] == level["level"]]
        gaps = sum(int(row["chunks"]) - 1 for row in own)
        assert float(level["uncertain"]) == pytest.approx(sum(int(row["uncertain"]) for row in own) / gaps)


def test_the_true_median_of_the_other_levels_lies_in_its_range(late_run):
    """Without blocks of the loop a level has no range, but a busy machine merges some tokens in every level."""
    _, levels, streams, _ = late_run
    for index in (0, 2):
        least, most = range_of(levels[index], "p50")
        assert least - SOCKET <= true_quantile(true_gaps(streams[index]), 0.5) <= most + SOCKET


def test_the_report_marks_the_level_and_says_what_to_do(late_run):
    prefix, *_ = late_run
    report = assess(load_run(prefix))
    check = next(check for check in report.checks if check.key == "token_times")
    assert not check.ok
    assert BLOCKED in check.levels
    assert "--processes" in check.says
    p99 = next(column for column in columns(report) if (column.group, column.head) == ("ITL", "p99"))
    assert " to " in p99.cells[BLOCKED]
