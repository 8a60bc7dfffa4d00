"""Whole replays of traces by the real Locust against the simulator."""

import random
import signal
import subprocess
import sys

import pytest

from tests.locusts import NO_RAMP, RAMP, Locust, distributed, outcomes, rows, run, run_info
from tests.plugin.routed import refuses, routed_server
from tests.simulators import ROOT, running_simulator, served, wait_for

SECONDS = 3.0


@pytest.fixture
def simulator():
    with running_simulator(slots=100, step_ms=1, step_ms_per_seq=0) as started:
        yield started


def write_trace(folder, seconds=SECONDS, number=60, name="trace.csv"):
    """A trace with bursts: rows of which every third comes together with the one before."""
    source, moment = random.Random(5), 0.0
    lines = []
    for place in range(number):
        moment += 0.0 if place % 3 == 2 else source.uniform(0.0, 3.0 * seconds / number)
        lines.append((round(moment, 4), source.randint(20, 900), source.randint(1, 12)))
    text = "\n".join(",".join(map(str, line)) for line in lines)
    (folder / name).write_text(f"seconds,prompt_tokens,output_tokens\n{text}\n")
    return lines


def due(folder):
    """When requests were due, seconds since the first was."""
    moments = sorted(float(row["sent"]) - float(row["delay"]) / 1000.0 for row in rows(folder, "llm_requests.csv"))
    return [moment - moments[0] for moment in moments]


def check_lengths(simulator, lines):
    """The server saw each row, of its lengths: an estimated prompt is as long as the simulator counts it, about."""
    seen = sorted(simulator.ended(len(lines) + 1)[1:], key=lambda request: request["prompt_tokens"])
    assert len(seen) == len(lines)
    assert sorted(request["output_tokens"] for request in seen) == sorted(tokens for _, _, tokens in lines)
    for request, tokens in zip(seen, sorted(tokens for _, tokens, _ in lines), strict=True):
        assert request["prompt_tokens"] == pytest.approx(tokens, rel=0.1, abs=20)


def check_windows(folder, number):
    """Nothing that was due lies between two windows, and their loads are what was due in them."""
    levels = rows(folder, "llm_levels.csv")
    assert sum(int(level["due"]) for level in levels) == number
    assert sum(int(level["requests"]) for level in levels) == number
    for level in levels:
        assert level["unit"] == "rate"
        assert int(level["due"]) == pytest.approx(float(level["load"]) * run_info(folder)["plan"]["hold"], abs=3)
    assert not run_info(folder)["checks"]
    return levels


def test_each_row_is_sent_once_when_it_is_due(simulator, tmp_path):
    lines = write_trace(tmp_path)
    args = ["--llm-trace", "trace.csv", "--llm-trace-speed", "2", "--llm-hold", "0.8"]
    locust = run(tmp_path, simulator.url, *args)

    assert locust.process.returncode == 0, locust.log
    assert "60 rows of a trace (trace.csv), at 2 times its speed" in locust.log
    assert "seconds is read as seconds (according to its name)" in locust.log
    check_lengths(simulator, lines)
    assert len(check_windows(tmp_path, 60)) > 1
    assert due(tmp_path) == pytest.approx([(moment - lines[0][0]) / 2.0 for moment, _, _ in lines], abs=0.001)
    plan = run_info(tmp_path)["plan"]
    assert plan["trace"] == {"rows": 60, "speed": 2.0, "shared": False}
    assert plan["arrivals"].startswith("60 rows of a trace")


def test_workers_share_a_trace(simulator, tmp_path):
    lines = write_trace(tmp_path)
    with distributed(tmp_path, simulator.url, "--llm-trace", "trace.csv", "--llm-hold", "2") as stack:
        assert stack.master.ends() == 0, stack.master.log

    check_lengths(simulator, lines)
    check_windows(tmp_path, 60)
    senders = [row["worker"] for row in rows(tmp_path, "llm_requests.csv")]
    assert sorted(map(senders.count, set(senders))) == [30, 30]


def numbered(folder):
    """A minute of ten rows a second, of which each asks for one token more than the one before."""
    lines = "".join(f"{place / 10.0},20,{place + 1}\n" for place in range(600))
    (folder / "trace.csv").write_text(f"seconds,prompt_tokens,output_tokens\n{lines}")


def numbers(simulator):
    """The rows that the server saw, in their order."""
    return sorted(request["planned_tokens"] - 1 for request in simulator.truth()[1:])


def test_a_worker_that_goes_leaves_what_is_still_due_to_the_others(simulator, tmp_path):
    """Until others have them, its rows are nobody's: they are missing, and none comes twice."""
    numbered(tmp_path)
    with distributed(tmp_path, simulator.url, "--llm-trace", "trace.csv") as stack:
        wait_for(lambda: served(simulator), lambda requests: requests >= 10)
        stack.workers[0].stop(signal.SIGTERM)
        stack.master.wait_for_log("1 worker sends the whole trace from now on")
        wait_for(lambda: numbers(simulator)[-21:], lambda last: last[-1] - last[0] == 20)
        stack.master.stop()

    sent = numbers(simulator)
    missing = set(range(sent[-1])) - set(sent)
    assert len(sent) == len(set(sent))
    assert missing
    assert len({row % 2 for row in missing}) == 1, "they were all of one worker"
    assert not run_info(tmp_path)["checks"], "a run that was stopped need not have sent all rows"


def test_a_worker_that_comes_takes_its_part_of_what_is_still_due(simulator, tmp_path):
    numbered(tmp_path)
    with distributed(tmp_path, simulator.url, "--llm-trace", "trace.csv", workers=1) as stack:
        wait_for(lambda: served(simulator), lambda requests: requests >= 10)
        stack.join(tmp_path, RAMP)
        stack.master.wait_for_log("2 workers share the trace from now on")
        shared = len(numbers(simulator)) + 50
        wait_for(lambda: served(simulator), lambda requests: requests >= shared)
        stack.master.stop()

    sent = numbers(simulator)
    assert len({row["worker"] for row in rows(tmp_path, "llm_requests.csv")}) == 2
    assert sent[:-10] == list(range(len(sent) - 10)), "the last ones may be those of one worker that was stopped later"


def test_a_stretch_is_replayed_and_no_more_without_a_ramp(simulator, tmp_path):
    lines = write_trace(tmp_path)
    stretch = ["--llm-trace-from", "1", "--llm-trace-seconds", "1.5"]
    locust = run(tmp_path, simulator.url, "--llm-trace", "trace.csv", *stretch, locustfile=NO_RAMP)

    assert locust.process.returncode == 0, locust.log
    inside = [moment for moment, _, _ in lines if 1.0 <= moment - lines[0][0] < 2.5]
    check_windows(tmp_path, len(inside))
    assert due(tmp_path) == pytest.approx([moment - inside[0] for moment in inside], abs=0.001)


def test_a_server_that_refuses_forced_lengths_is_asked_without_them(tmp_path):
    lines = write_trace(tmp_path, seconds=1.0, number=10)
    with routed_server(refuses("ignore_eos")) as server:
        locust = run(tmp_path, server.url, "--llm-trace", "trace.csv", "--llm-model", "m")

    assert "without ignore_eos and min_tokens" in locust.log
    assert outcomes(tmp_path) == {"ok": 10}
    load = [request.body for request in server.requests[-10:]]
    assert sorted(body["max_tokens"] for body in load) == sorted(tokens for _, _, tokens in lines)
    assert not any("min_tokens" in body for body in load)


def test_a_worker_without_the_trace_sends_nothing_and_says_why(simulator, tmp_path):
    (tmp_path / "other").mkdir()
    write_trace(tmp_path, seconds=1.0, number=20)
    write_trace(tmp_path / "other", seconds=1.0, number=21)
    expecting = ["--expect-workers", "2"]
    with (
        distributed(tmp_path, simulator.url, "--llm-trace", "trace.csv", *expecting, workers=1) as stack,
        Locust(tmp_path / "other", stack.workers[0].args, RAMP) as other,
    ):
        stack.master.ends()
        assert "trace.csv has other rows than the master's" in other.log

    assert served(simulator) == 10
    (check,) = run_info(tmp_path)["checks"]
    assert check["says"].startswith("10 of the trace's 20 rows were never due: a worker was lost, or does not have")


REFUSED = {
    "llm_trace_speed=0.0": "--llm-trace-speed must be a number above 0",
    "llm_trace_from=-1.0": "--llm-trace-from must be 0 seconds",
    "llm_trace_seconds=float('nan')": "--llm-trace-seconds must be 0 seconds",
    "llm_levels='1,2'": "--llm-trace and --llm-levels cannot be combined",
    "llm_rate=5.0": "--llm-trace and --llm-rate cannot be combined",
    "llm_search=True": "--llm-trace and --llm-search cannot be combined",
    "llm_prompt_tokens='5'": "--llm-trace and --llm-prompt-tokens cannot be combined",
    "llm_turns='3'": "--llm-trace and --llm-turns cannot be combined",
}
CHECK = """
from argparse import Namespace
from types import SimpleNamespace
from llmlocust.plugin.startup.option_checks import check

def refusal_of(**options):
    try:
        check(SimpleNamespace(parsed_options=Namespace(llm_trace="trace.csv", **options), shape_class=None))
    except ValueError as refused:
        return refused
"""


def test_what_does_not_go_with_a_trace_is_refused():
    """In a process of its own: Locust patches what imports it."""
    code = CHECK + "".join(f"print(refusal_of({option}))\n" for option in REFUSED)
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    for message, words in zip(child.stdout.splitlines(), REFUSED.values(), strict=True):
        assert message.startswith(words)


@pytest.mark.parametrize(
    "args, words",
    [
        (
            ["--llm-trace", "bad.csv"],
            "--llm-trace: bad.csv:2: cannot be read as a row (seconds, prompt_tokens, output_tokens): a, b, c",
        ),
        (["--llm-trace", "trace.csv", "--llm-trace-from", "1000"], "trace.csv has no row from 1000 s on: it is"),
    ],
)
def test_bad_traces_are_refused_in_one_line(tmp_path, args, words):
    write_trace(tmp_path)
    (tmp_path / "bad.csv").write_text("seconds,prompt_tokens,output_tokens\na,b,c\n")
    locust = run(tmp_path, "http://127.0.0.1:9", *args)
    assert locust.process.returncode == 2, locust.log
    assert words in locust.log
    assert "Traceback" not in locust.log
