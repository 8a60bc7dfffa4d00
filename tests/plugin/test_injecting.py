"""Faults of real runs: the process that injects them, the proxy, and what is left behind."""

import os
import signal
import sys

import psutil
import pytest

from tests.locusts import (
    QUICK,
    RAMP,
    UNTIL_STOPPED,
    Locust,
    forked_workers,
    free_port,
    headless,
    rows,
    run_info,
    wait_for_level,
)
from tests.simulators import running_simulator, wait_for

OPEN = ["--llm-rate", "20", "--llm-levels", "20", "--llm-warmup", "0.5", "--llm-max-tokens", "5"]
"""Open load at 20 requests/s."""


@pytest.fixture(scope="module")
def simulator():
    with running_simulator(slots=40, step_ms=5) as started:
        yield started


def windows(folder):
    return run_info(folder)["faults"]


def is_confirmed(window):
    return None not in (window["began"], window["confirmed_began"], window["lifted"], window["confirmed_lifted"])


def injecting(locust):
    """The processes that inject faults, of a Locust process."""
    children = psutil.Process(locust.process.pid).children(recursive=True)
    return [child for child in children if "llmlocust.faults.setup" in child.cmdline()]


def wait_for_end(process):
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_outage_of_the_proxy_fails_the_requests_inside_it(simulator, tmp_path, workers):
    more = forked_workers(workers) if workers else []
    options = [*headless(simulator), *OPEN, "--llm-hold", "8", "--llm-fault", "outage = at 3s for 2s: down", *more]
    with Locust(tmp_path, options, RAMP) as locust:
        locust.ends()
    (window,) = windows(tmp_path)
    assert is_confirmed(window)
    assert (window["name"], window["kind"], window["id"]) == ("outage", "down", "1.1")
    assert window["lifted"] - window["began"] == pytest.approx(2.0, abs=0.5)
    failed = [row for row in rows(tmp_path, "llm_requests.csv") if row["outcome"] == "connect"]
    assert failed
    outcomes = {row["outcome"] for row in rows(tmp_path, "llm_requests.csv")}
    assert "ok" in outcomes
    assert run_info(tmp_path)["target"]["host"] == simulator.url  # not the proxy


def test_a_plan_in_the_locustfile_refers_to_a_level(simulator, tmp_path):
    locustfile = RAMP.replace(
        "    pass\n\nclass Ramp(SteppedRamp):\n    pass",
        "    pass\n\nclass Ramp(SteppedRamp):\n    faults = ['at level 2 + 0.5s for 0.5s: latency 100ms']",
    )
    assert "faults = " in locustfile
    with Locust(tmp_path, [*headless(simulator), *QUICK], locustfile) as locust:
        assert locust.ends() == 0, locust.log
    (window,) = windows(tmp_path)
    assert is_confirmed(window)
    level = rows(tmp_path, "llm_levels.csv")[0]
    since = window["began"] - float(level["warmed_up"])
    assert since == pytest.approx(0.5, abs=0.4)


def test_a_server_that_is_killed_starts_again_and_outlives_the_run(tmp_path):
    port = free_port()
    start = f"exec {sys.executable} -m llmlocust.cli simulate --port {port} --step-ms 5 --start-s 1"
    with running_simulator(slots=40, step_ms=5, port=port) as first:
        healthy = f"healthy http://127.0.0.1:{port}/health within 60s"
        fault = f"at 2s: kill port {port} restart '{start}' {healthy}"
        options = [*headless(first), *OPEN, "--llm-hold", "10", "--llm-fault", fault]
        with Locust(tmp_path, options, RAMP) as locust:
            locust.ends()
        assert first.process.wait() == -signal.SIGKILL
        (window,) = windows(tmp_path)
        second = next(c for c in psutil.net_connections("tcp4") if c.laddr.port == port and c.status == "LISTEN").pid
        psutil.Process(second).terminate()
        assert is_confirmed(window), window
        assert window["confirmed_lifted"] - window["lifted"] >= 1.0  # the start


def test_a_frozen_server_goes_on_when_the_run_is_killed(tmp_path):
    with running_simulator(slots=40, step_ms=5) as simulator:
        server = psutil.Process(simulator.process.pid)
        options = [*headless(simulator), *UNTIL_STOPPED, "--llm-fault", f"at 1s: freeze port {simulator.port}"]
        with Locust(tmp_path, options, RAMP) as locust:
            wait_for(server.status, lambda status: status == psutil.STATUS_STOPPED)
            (watcher,) = injecting(locust)
            os.kill(locust.process.pid, signal.SIGKILL)
            locust.ends()
            wait_for(server.status, lambda status: status != psutil.STATUS_STOPPED)
            wait_for_end(watcher)


def test_if_the_process_of_the_faults_is_killed_they_are_lifted_and_the_run_ends(tmp_path):
    with running_simulator(slots=40, step_ms=5) as simulator:
        server = psutil.Process(simulator.process.pid)
        options = [*headless(simulator), *UNTIL_STOPPED, "--llm-fault", f"at 1s: freeze port {simulator.port}"]
        with Locust(tmp_path, [*options, "--llm-drain", "1"], RAMP) as locust:
            wait_for(server.status, lambda status: status == psutil.STATUS_STOPPED)
            (watcher,) = injecting(locust)
            watcher.kill()
            locust.ends()
        assert server.status() != psutil.STATUS_STOPPED
    assert "process that injects faults ended too early" in locust.log


def test_a_run_that_is_stopped_lifts_its_faults(simulator, tmp_path):
    options = [*headless(simulator), *UNTIL_STOPPED, "--llm-fault", "at 1s: latency 50ms"]
    with Locust(tmp_path, options, RAMP) as locust:
        wait_for_level(tmp_path, 0, 0.5)
        wait_for(lambda: windows(tmp_path), lambda faults: faults and faults[0]["confirmed_began"])
        locust.stop()
    (window,) = windows(tmp_path)
    assert is_confirmed(window)


def test_too_many_errors_end_the_fault_and_the_run(simulator, tmp_path):
    stop = ["--llm-fault-stop", "errors > 50% for 2s"]
    options = [*headless(simulator), *OPEN, "--llm-hold", "1000", "--llm-fault", "at 2s: down", *stop]
    with Locust(tmp_path, options, RAMP) as locust:
        locust.ends()
    assert run_info(tmp_path)["ended_by"] == "errors > 50% for 2s"
    (window,) = windows(tmp_path)
    assert is_confirmed(window)


def test_a_dry_run_prints_the_plan_and_sends_nothing(simulator, tmp_path):
    before = simulator.received()
    options = [*headless(simulator), *QUICK, "--llm-fault", "at 2s for 1s: down", "--llm-fault-dry-run"]
    with Locust(tmp_path, options, RAMP) as locust:
        assert locust.ends() == 0, locust.log
    lines = [line for line in locust.log.splitlines() if "1.1" in line]
    assert len(lines) == 2
    assert "2s after the run began" in lines[0]
    assert simulator.received() == before
    assert not list(tmp_path.glob("run_*"))


def test_without_faults_there_is_no_process_and_no_entry(simulator, tmp_path):
    with Locust(tmp_path, [*headless(simulator), *UNTIL_STOPPED], RAMP) as locust:
        wait_for_level(tmp_path, 0, 0.5)
        assert not injecting(locust)
        locust.stop()
    assert "faults" not in run_info(tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--llm-fault", "at noon: down"], "write 'at 60s'"),
        (["--llm-fault", "at level 7 for 1s: down"], "the run has no level 7. It has the levels 2 and 5"),
        (["--llm-fault", "at phase surge for 1s: down"], "the run has no phase surge"),
        (["--llm-fault", "at 1s for 1s: freeze pid 4194304"], "4194304"),
        (["--llm-faults", "missing.toml"], "missing.toml"),
        (["--llm-fault-stop", "errors > much"], "errors > 90% for 30s"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_sent(simulator, tmp_path, options, words):
    before = simulator.received()
    with Locust(tmp_path, [*headless(simulator), *QUICK, *options], RAMP) as locust:
        assert locust.ends() == 2
    (line,) = [line for line in locust.log.splitlines() if line.startswith("llmlocust:")]
    assert words in line
    assert simulator.received() == before
