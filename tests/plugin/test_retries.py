"""Clients that retry as SDKs do: a request counts once, as its user felt it, and its attempts are counted apart."""

import re
import signal
import time
from collections import Counter
from itertools import count

import pytest

from llmlocust.analysis.faults.effects import amplification
from llmlocust.analysis.faults.requests import Requests
from llmlocust.assessment.assessment import assess
from llmlocust.report.as_json import data
from llmlocust.report.markdown import markdown
from llmlocust.runfiles.reading.locate import load_run
from tests.locusts import RAMP, Locust, aggregated, distributed, outcomes, rows, run, run_info, wait_for_level
from tests.plugin.scripted import LENGTH, keeps_open, response, scripted_server
from tests.simulators import PATIENCE, running_simulator, wait_for

QUICK = ["--llm-preflight=false", "--llm-model", "m", "--llm-warmup", "0", "--llm-max-tokens", "20"]
QUICK += ["--exit-code-on-error", "0"]
AT_ONCE = ["--llm-retry-backoff", "10ms x1"]
IMPATIENT = RAMP.replace("    pass\n", "    pause_after_failure = 0.1\n", 1)
BUSY = response(b"Content-Length: 0\r\nRetry-After-Ms: 200\r\n", status=b"503 Busy")
_ID = re.compile(rb"X-Request-Id: (\S+)")


def busy_twice_of_three(sock, numbers=None):
    sock.sendall(LENGTH if next(numbers) % 3 == 2 else BUSY)


def scripted(script):
    numbers = count()
    return scripted_server(lambda sock: script(sock, numbers))


def counted(folder):
    """Check that the files agree on the attempts, and return how many there were."""
    requests, counts = rows(folder, "llm_requests.csv"), run_info(folder)["counts"]
    attempts = sum(int(row["attempts"]) for row in requests)
    assert (counts["sent"], counts["ended"], counts["attempts"]) == (len(requests), len(requests), attempts)
    retries = sum(int(row["retries"]) for row in rows(folder, "llm_timeline.csv"))
    assert retries == attempts - len(requests)
    for level in rows(folder, "llm_levels.csv"):
        measured = [row for row in requests if row["level"] == level["level"] and row["measured"] == "1"]
        kinds = {name: int(cell) for name, cell in level.items() if name.startswith("retried_")}
        of_level = sum(int(row["attempts"]) - 1 for row in measured)
        assert int(level["retries"]) == sum(kinds.values()) == of_level
    return attempts


def test_a_request_that_is_retried_is_one_request_with_the_times_that_its_user_felt(tmp_path):
    with scripted(busy_twice_of_three) as server:
        args = [*QUICK, "--llm-requests", "3", "--llm-levels", "1", "--llm-retries", "2"]
        locust = run(tmp_path, f"http://127.0.0.1:{server.port}", *args)

    assert locust.process.returncode == 0, locust.log
    requests = rows(tmp_path, "llm_requests.csv")
    assert [(row["outcome"], row["status"], row["attempts"]) for row in requests] == [("ok", "200", "3")] * 3
    assert all(400.0 <= float(row["ttft"]) <= float(row["duration"]) for row in requests)
    assert all(400.0 <= float(row["e2e"]) <= float(row["duration"]) for row in requests)
    sent = [float(row["sent"]) for row in requests]
    ends = [float(row["sent"]) + float(row["duration"]) / 1000.0 for row in requests]
    assert all(end <= begin for end, begin in zip(ends, sent[1:], strict=False))
    assert counted(tmp_path) == len(server.requests) == 9
    assert rows(tmp_path, "llm_levels.csv")[0]["retried_http_503"] == "6"
    ids = [_ID.search(request)[1].decode() for request in server.requests]
    assert ids == [row["id"] + end for row in requests for end in ("", "-2", "-3")]
    assert (aggregated(tmp_path)["Request Count"], aggregated(tmp_path)["Failure Count"]) == ("3", "0")
    assert "3 ok · 9 attempts" in locust.log


def test_the_outcome_is_that_of_the_last_attempt_and_the_report_shows_all_of_them(tmp_path):
    with scripted(busy_twice_of_three) as server:
        args = [*QUICK, "--llm-requests", "6", "--llm-levels", "1", "--llm-retries", "1", *AT_ONCE]
        run(tmp_path, f"http://127.0.0.1:{server.port}", *args, locustfile=IMPATIENT)

    # the answers are busy, busy | right | busy, busy | right | …
    assert outcomes(tmp_path) == {"http_503": 3, "ok": 3}
    assert [row["attempts"] for row in rows(tmp_path, "llm_requests.csv")] == ["2", "1"] * 3
    assert counted(tmp_path) == len(server.requests) == 9
    assert aggregated(tmp_path)["Failure Count"] == "3"
    report = assess(load_run(tmp_path / "run"))
    (level,) = data(report)["levels"]
    assert (level["requests"], level["attempts"], level["retried"]) == (6, 9, {"http_503": 3})
    (check,) = [check for check in report.checks if check.key == "retries"]
    assert check.ok
    assert check.says == (
        "Clients made 9 attempts at 6 requests, up to 1.5 each at 1 user. Failures that were retried: "
        "3 × HTTP 503, overloaded."
    )
    assert "attempts" in markdown(report)


def test_without_retries_each_request_is_sent_once(tmp_path):
    with scripted(busy_twice_of_three) as server:
        args = [*QUICK, "--llm-requests", "6", "--llm-levels", "1"]
        run(tmp_path, f"http://127.0.0.1:{server.port}", *args, locustfile=IMPATIENT)

    assert {row["attempts"] for row in rows(tmp_path, "llm_requests.csv")} == {"1"}
    assert counted(tmp_path) == len(server.requests) == 6
    report = assess(load_run(tmp_path / "run"))
    assert "retries" not in {check.key for check in report.checks}
    assert "attempts" not in markdown(report)


def test_a_run_that_is_stopped_aborts_the_requests_that_wait_for_their_next_attempt(tmp_path):
    busy = response(b"Content-Length: 0\r\nRetry-After: 100\r\n", status=b"503 Busy")
    with scripted_server(keeps_open(busy)) as server:
        host = f"http://127.0.0.1:{server.port}"
        args = ["--headless", "--only-summary", "--csv", "run", "--host", host, *QUICK, "--llm-retries", "5"]
        with Locust(tmp_path, [*args, "--llm-levels", "3", "--llm-hold", "1000"]) as locust:
            wait_for(lambda: len(server.requests), lambda sent: sent == 3)
            wait_for_level(tmp_path, 0)  # the users have read the answers
            stopped = time.monotonic()
            locust.stop(signal.SIGINT)
            assert time.monotonic() - stopped < 90.0

    requests = rows(tmp_path, "llm_requests.csv")
    assert [(row["outcome"], row["attempts"]) for row in requests] == [("aborted", "1")] * 3
    assert {row["error"] for row in requests} == {"stopped while it waited to be tried again"}
    assert counted(tmp_path) == len(server.requests) == 3
    assert max(float(row["backing_off"]) for row in rows(tmp_path, "llm_timeline.csv")) == 0


def test_a_storm_of_retries_multiplies_the_load_and_every_attempt_is_the_servers(tmp_path):
    storm = ["--llm-levels", "24", "--llm-hold", "4", "--llm-timeout-first-token", "0.5", "--llm-retries", "3"]
    with running_simulator(slots=2, step_ms=20, model="m") as simulator:
        locust = run(tmp_path, simulator.url, *QUICK, *storm, "--llm-retry-backoff", "50ms x2 max 200ms")
        received = wait_for(simulator.received, lambda now: now >= counted(tmp_path))

    assert locust.process.returncode == 0, locust.log
    assert received == counted(tmp_path)
    run_data = load_run(tmp_path / "run")
    requests = Requests.of_frame(run_data.requests)
    assert amplification(requests, requests.due[0], requests.due[-1] + 1.0) > 2.0
    (level,) = run_data.levels
    assert set(level.retried) == {"timeout_first_token"}
    assert level.attempts > 2 * level.requests
    # a request that used up its attempts took four time-outs and the waits between them
    failed = [row for row in rows(tmp_path, "llm_requests.csv") if row["outcome"] == "timeout_first_token"]
    assert failed
    assert all(row["attempts"] == "4" and float(row["duration"]) >= 2000.0 for row in failed)


@pytest.mark.parametrize("load", ["users", "rate"])
def test_workers_and_open_load_count_the_attempts_that_the_server_counted(load, tmp_path):
    ramp = ["--llm-levels", "20", "--llm-hold", "3", "--llm-retries", "2", *AT_ONCE]
    locustfile = RAMP if load == "users" else RAMP.replace("SteppedRamp", "RateRamp")
    with running_simulator(slots=20, step_ms=2, model="m", fault="http:503", fault_share=0.6) as simulator:
        with distributed(tmp_path, simulator.url, *QUICK, *ramp, locustfile=locustfile) as both:
            assert both.master.ends() == 0, both.master.log
        received = wait_for(simulator.received, lambda now: now >= counted(tmp_path))

    assert received == counted(tmp_path)
    requests = rows(tmp_path, "llm_requests.csv")
    assert {row["attempts"] for row in requests} == {"1", "2", "3"}
    assert len({row["worker"] for row in requests}) == 2
    failed = Counter(row["attempts"] for row in requests if row["outcome"] == "http_503")
    assert set(failed) == {"3"}
    if load == "rate":
        assert all(0.0 <= float(row["delay"]) <= 1000.0 * PATIENCE for row in requests)
