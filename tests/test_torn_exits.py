"""However `llmlocust run` ends, it stops its load: no process of the run remains, and its files are complete."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.locusts import forked_workers, outcomes, run_info
from tests.simulators import ROOT, RunningSimulator, running_simulator, served, wait_for

MARK = "LLMLOCUST_TEST_RUN"
_AT_ONCE = 40.0
"""Seconds; less than the minute after which a worker of Locust ends without messages from its master."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(slots=8, step_ms=5) as started:
        yield started


class Command:
    """`llmlocust run` with two workers, with its own terminal or without one."""

    def __init__(self, folder: Path, simulator: RunningSimulator, *, in_terminal: bool) -> None:
        self.mark = uuid.uuid4().hex
        self.terminal, inside = os.openpty()
        options = ["--levels", "4", "--warmup", "0", "--hold", "1000", "--max-tokens", "20", "--out", str(folder)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llmlocust", "run", simulator.url, *options, "--", *forked_workers(2)],
            cwd=ROOT,
            env={**os.environ, MARK: self.mark},
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            preexec_fn=partial(fcntl.ioctl, 0, termios.TIOCSCTTY, 0) if in_terminal else None,
        )
        os.close(inside)

    def close_terminal(self) -> None:
        if self.terminal >= 0:
            os.close(self.terminal)
            self.terminal = -1

    def left(self) -> list[psutil.Process]:
        """Return the running processes of the run."""
        return [process for process in psutil.process_iter() if _environment(process).get(MARK) == self.mark]

    def end(self) -> None:
        for process in self.left():
            process.kill()
        self.process.wait()
        self.close_terminal()


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ() if process.status() != psutil.STATUS_ZOMBIE else {}
    except psutil.Error:
        return {}


@pytest.fixture
def command(request: pytest.FixtureRequest, simulator: RunningSimulator, tmp_path: Path) -> Iterator[Command]:
    simulator.clear()
    started = Command(tmp_path, simulator, in_terminal=getattr(request, "param", False))
    yield started
    started.end()


def end_with(number: int) -> Callable[[Command], Any]:
    return lambda command: command.process.send_signal(number)


def hang_up(command: Command) -> None:
    """Send SIGHUP as a shell does, to all processes of a job."""
    os.killpg(command.process.pid, signal.SIGHUP)


def kill_locust(command: Command) -> None:
    """Kill Locust's first process, which has forked the workers."""
    psutil.Process(command.process.pid).children()[0].kill()


@pytest.mark.parametrize(
    "command, ends, is_whole",
    [
        (False, end_with(signal.SIGKILL), True),
        (True, end_with(signal.SIGKILL), True),
        (False, end_with(signal.SIGTERM), True),
        (True, hang_up, True),
        (True, Command.close_terminal, True),
        (False, kill_locust, False),
    ],
    indirect=["command"],
    ids=["SIGKILL", "SIGKILL in a terminal", "SIGTERM", "hang-up", "closed terminal", "SIGKILL of Locust"],
)
def test_no_process_of_a_run_outlives_its_command(command, simulator, tmp_path, ends, is_whole):
    wait_for(lambda: len(simulator.truth()), lambda requests: requests > 20)
    assert len(command.left()) == 5  # the command, the master, two workers, and the process that observes the server
    ends(command)
    wait_for(command.left, lambda processes: not processes, _AT_ONCE)

    assert (run_info(tmp_path)["ended"] is not None) == is_whole
    if is_whole:
        assert run_info(tmp_path)["checks"] == []
        # the server also counts the preflight, and may not have recorded the last aborted requests yet
        assert outcomes(tmp_path).total() == served(simulator)


def test_locust_ends_if_its_command_is_killed_just_after_the_start(command):
    wait_for(lambda: len(command.left()), lambda processes: processes > 1)
    command.process.kill()
    wait_for(command.left, lambda processes: not processes)
