"""Exit codes of real runs, by what their gates say: a server that refuses what it cannot take, and a load above that."""

import signal
from itertools import takewhile

import pytest

from tests.command import in_process
from tests.locusts import (
    ACCEPTING,
    ENDLESS_ANSWERS,
    LATE,
    NO_RAMP,
    RAMP,
    Locust,
    distributed,
    outcomes,
    rows,
    run,
    run_info,
)
from tests.simulators import running_simulator, wait_for

FAST = ["--llm-levels", "2,8", "--llm-warmup", "0.2", "--llm-hold", "1.5", "--llm-max-tokens", "40"]
"""Requests of a fifth of a second: beside them, a slow machine's own work between two of them is no think time."""
ONE_LEVEL = [*FAST, "--llm-levels", "2"]
KEPT, BROKEN = "errors < 1% @ 2", "errors < 1% @ 8"
"""Two users get all that they ask for; of eight, some are refused."""
ABORT = ["--llm-hold", "100", "--llm-threshold", BROKEN, "--llm-abort-on-breach", "--llm-abort-grace", "0.5"]
RAISES = """
from locust import User, constant, task

class Raises(User):
    wait_time = constant(0.2)

    @task
    def fail(self):
        raise KeyError("a bug")
"""
BROKEN_LISTENER = """
from locust import events

@events.test_start.add_listener
def fail(environment, **kwargs):
    raise KeyError("a bug")
"""
OWN_CODE = """
from locust import events

@events.test_stop.add_listener
def own(environment, **kwargs):
    environment.process_exit_code = 7
"""


@pytest.fixture(scope="module")
def simulator():
    with running_simulator(slots=4, queue_limit=1, step_ms=5) as started:
        yield started


def gate_lines(text):
    """What was said of the gates."""
    lines = text.splitlines()
    begin = next(place for place, line in enumerate(lines) if line.startswith("Gates: "))
    return [lines[begin], *takewhile(lambda line: line.startswith("  "), lines[begin + 1 :])]


def test_failed_requests_above_a_gate_fail_nothing_and_no_files_are_needed(simulator, tmp_path):
    summary = tmp_path / "summary.md"
    environment = {"GITHUB_STEP_SUMMARY": str(summary), "LLMLOCUST_THRESHOLD": f"{KEPT}, e2e.p95 < 60s @ 2"}
    options = ["--headless", "--only-summary", "--host", simulator.url, *FAST, "--llm-junit", "gates.xml"]
    with Locust(tmp_path, options, environment=environment) as locust:
        assert locust.ends() == 0, locust.log

    assert "http_503" in locust.log
    assert gate_lines(locust.log)[0] == "Gates: all 2 passed"
    assert (tmp_path / "gates.xml").read_text().count("<testcase ") == 2
    assert summary.read_text().startswith("### ✅ Gates: all 2 passed")
    assert not list(tmp_path.glob("*_llm_*"))


def test_a_run_and_its_files_are_judged_alike(simulator, tmp_path):
    gates = ["--llm-threshold", KEPT, "--llm-threshold", BROKEN]
    locust = run(tmp_path, simulator.url, *FAST, *gates)
    later = in_process("check", "run", *(option.replace("--llm-", "--") for option in gates), *ACCEPTING, cwd=tmp_path)

    assert locust.process.returncode == later.exit_code == 99, locust.log
    lines = gate_lines(locust.log)
    assert gate_lines(later.stdout) == lines
    assert lines[0] == "Gates: 1 of 2 failed"
    assert [line.split(" at ")[0] for line in lines[1:3]] == ["  passed: errors < 1%", "  failed: errors < 1%"]


def test_gates_from_a_file_are_those_of_check(simulator, tmp_path):
    (tmp_path / "gates.toml").write_text('errors = "< 1% @ 8"\n[e2e]\np95 = "< 60s @ 2"\n')
    locust = run(tmp_path, simulator.url, *FAST, "--llm-threshold", KEPT, "--llm-thresholds", "gates.toml")
    (tmp_path / "moved.toml").write_bytes((tmp_path / "gates.toml").read_bytes())
    (tmp_path / "gates.toml").unlink()
    given = ["--threshold", KEPT, "--thresholds", "moved.toml", *ACCEPTING]
    later = in_process("check", "run", *given, cwd=tmp_path)

    assert locust.process.returncode == later.exit_code == 99, locust.log
    assert gate_lines(locust.log) == gate_lines(later.stdout)
    assert gate_lines(locust.log)[0] == "Gates: 1 of 3 failed"
    assert run_info(tmp_path)["options"]["llm_threshold"] == "errors < 1% @ 2, errors < 1% @ 8, e2e.p95 < 60s @ 2"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (None, "--llm-thresholds gates.toml: cannot be read (No such file or directory)"),
        (b"ttft.p95 < 1s", "--llm-thresholds gates.toml: not TOML: "),
        (b'ttft.p95 = "< fast"', "--llm-thresholds gates.toml: cannot read the threshold 'ttft.p95 < fast'"),
        (b'errors = "< 1% @ 3"', "--llm-threshold 'errors < 1% @ 3': the ramp has no such level"),
    ],
)
def test_a_file_of_gates_that_cannot_be_meant_is_one_line_before_any_load(simulator, tmp_path, written, words):
    if written:
        (tmp_path / "gates.toml").write_bytes(written)
    locust = run(tmp_path, simulator.url, *FAST, "--llm-thresholds", "gates.toml")

    assert locust.process.returncode == 2, locust.log
    assert words in locust.log
    assert "Traceback" not in locust.log
    assert not list(tmp_path.glob("*_llm_*"))


def test_a_gate_at_a_load_that_the_ramp_never_has_is_refused_before_any_load(simulator, tmp_path):
    locust = run(tmp_path, simulator.url, *FAST, "--llm-threshold", "e2e.p95 < 60s @ 3")
    assert locust.process.returncode == 2
    assert "'e2e.p95 < 60s @ 3': the ramp has no such level. Its levels are 2 and 8" in locust.log


def test_a_gate_on_faults_applies_to_no_level_and_fails_without_a_fault(simulator, tmp_path):
    locust = run(tmp_path, simulator.url, *FAST, "--llm-threshold", "recovery < 30s, lost < 5 or unmeasured")
    assert locust.process.returncode == 99, locust.log
    assert gate_lines(locust.log)[0] == "Gates: 1 of 2 failed"
    assert "recovery < 30s (no fault): not measured: the run injected no fault" in locust.log


def test_failed_requests_without_gates_are_locusts_failures(simulator, tmp_path):
    assert run(tmp_path, simulator.url, *FAST, "--llm-levels", "8").process.returncode == 1


def test_what_cannot_be_trusted_is_98_unless_it_is_accepted(simulator, tmp_path):
    gate = "ttft.p95 < 60s"
    locust = run(tmp_path, simulator.url, *ONE_LEVEL, "--llm-threshold", gate, "--llm-unique", "false")

    assert locust.process.returncode == 98, locust.log
    assert "  prefix cache: The same" in locust.log
    accepting = ["--threshold", gate, "--accept", "prefix_cache", *ACCEPTING]
    assert in_process("check", "run", *accepting, cwd=tmp_path).exit_code == 0


def test_a_server_that_hangs_does_not_pass(simulator, tmp_path):
    hangs = ["--llm-max-tokens", "4000", *ENDLESS_ANSWERS, "--llm-drain", "0"]
    locust = run(tmp_path, simulator.url, *ONE_LEVEL, *hangs, "--llm-threshold", "errors < 1%")

    assert locust.process.returncode == 98, locust.log
    assert (
        "errors < 1% at 2 users: not known: no request of this level ended; failed checks: any requests" in locust.log
    )


@pytest.mark.parametrize(
    ("more", "code"),
    [(RAISES, 1), (BROKEN_LISTENER, 2), (OWN_CODE, 7)],
    ids=["a bug in a task", "a bug in a listener", "a code of its own"],
)
def test_what_the_locustfile_itself_fails_with_stands(simulator, tmp_path, more, code):
    gate = ["--llm-threshold", "errors < 100%", "--llm-accept", ", ".join(["think_time", *LATE])]
    locust = run(tmp_path, simulator.url, *ONE_LEVEL, *gate, locustfile=RAMP + more)

    assert locust.process.returncode == code, locust.log
    assert gate_lines(locust.log)[0] == "Gates: all 1 passed"


def test_a_worker_that_dies_is_told(tmp_path):
    options = ["--llm-levels", "2", "--llm-warmup", "0", "--llm-hold", "7", "--llm-threshold", "errors < 50%"]
    with running_simulator(slots=4, step_ms=5) as simulator, distributed(tmp_path, simulator.url, *options) as stack:
        stack.master.wait_for_log("level 1")
        wait_for(lambda: len(simulator.truth()), lambda requests: requests > 5)
        stack.workers[0].process.send_signal(signal.SIGKILL)
        assert stack.master.ends() == 98, stack.master.log
        assert "lost" in gate_lines(stack.master.log)[-1]
        assert stack.workers[1].ends() == 0


def check_aborted(folder, locust):
    assert locust.process.returncode == 99, locust.log
    assert run_info(folder)["ended_by"] == "errors < 1% at 8 users"
    assert "The run was ended by its gate errors < 1% at 8 users." in locust.log
    assert run_info(folder)["counts"]["sent"] == run_info(folder)["counts"]["ended"] == sum(outcomes(folder).values())
    assert rows(folder, "llm_levels.csv")[-1]["load"] == "8"


def test_a_sure_breach_ends_a_ramp(simulator, tmp_path):
    check_aborted(tmp_path, run(tmp_path, simulator.url, *FAST, *ABORT, "--llm-levels", "8,2"))

    assert run_info(tmp_path)["stopped"] is True
    assert len(rows(tmp_path, "llm_levels.csv")) == 1


def test_a_sure_breach_ends_users_without_a_ramp(simulator, tmp_path):
    check_aborted(tmp_path, run(tmp_path, simulator.url, *FAST, *ABORT, "-u", "8", "-r", "8", locustfile=NO_RAMP))


def test_a_sure_breach_ends_all_workers(simulator, tmp_path):
    with distributed(tmp_path, simulator.url, *FAST, *ABORT, "--llm-levels", "8,2") as stack:
        stack.master.ends()
        check_aborted(tmp_path, stack.master)
        assert [worker.ends() for worker in stack.workers] == [0, 0]


def test_what_is_in_flight_when_a_breach_ends_the_run_is_counted_as_aborted(tmp_path):
    """Four users wait for answers of 200 s, and whoever comes beyond is refused at once."""
    more = ["--llm-max-tokens", "4000", *ENDLESS_ANSWERS]
    with running_simulator(slots=4, queue_limit=0, step_ms=50) as simulator:
        check_aborted(tmp_path, run(tmp_path, simulator.url, *FAST, *ABORT, *more, "--llm-levels", "8,2"))
        cut_off = wait_for(
            lambda: {request["id"] for request in simulator.truth() if request["outcome"] == "cancelled"},
            lambda ids: len(ids) == 4,
        )

    aborted = {f"chatcmpl-{row['id']}" for row in rows(tmp_path, "llm_requests.csv") if row["outcome"] == "aborted"}
    assert cut_off <= aborted  # one that was being refused may be among them
