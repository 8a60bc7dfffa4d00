"""What a run has to keep (`--llm-threshold`): it may end the run early, and decides its exit code.

The judge is `llmlocust check`, run on the files once they are complete: what a run says at its end and what anybody
says of its files later is the same by construction, and nothing that judges is loaded beside the load.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import Any

import gevent
from locust import log
from locust.env import Environment

from llmlocust.analysis.gates import DOUBTED, EXIT_CODES, FAILED, PASSED
from llmlocust.metrics.thresholds import Gate, parse_gates
from llmlocust.plugin.options import listed, option
from llmlocust.plugin.run.companion import Companion
from llmlocust.plugin.run.early_end import EarlyEnd
from llmlocust.plugin.run.recorder import Recorder
from llmlocust.plugin.run.state import RunState

UNHANDLED = 2
"""Locust's own exit code where a listener or a greenlet raised."""


class Gating:
    """The gates of an environment."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def gates(self) -> list[Gate]:
        return parse_gates(option(self.environment, "threshold"))

    @property
    def decides(self) -> bool:
        """Whether there are gates and an end of this process that they decide; a web UI alone has none."""
        told = self.environment.parsed_options
        return bool(self.gates) and told is not None and bool(told.headless or told.autostart)

    def prefix(self, csv_prefix: str) -> str:
        """Where the run's files go: what judges needs some, also where nobody wants to keep them."""
        if csv_prefix or not self.decides:
            return csv_prefix
        self.folder = tempfile.TemporaryDirectory(prefix="llmlocust-")
        return f"{self.folder.name}/run"

    def companions(self) -> list[Companion]:
        """Return what ends a run early, where that is asked for."""
        if not option(self.environment, "abort_on_breach"):
            return []
        grace = option(self.environment, "abort_grace")
        return [EarlyEnd(self.gates, grace, lambda: gevent.spawn(end_run, self.environment))]

    def decide(self, run: RunState, recorder: Recorder) -> None:
        """The exit code, once the run's files are complete. Bugs, and what somebody else set it to, come first."""
        environment = self.environment
        known = environment.process_exit_code or _bugs_exit_code(environment)
        if not recorder.is_complete:
            environment.process_exit_code = known or EXIT_CODES[DOUBTED]
        elif self.decides:
            judged = self._judge(recorder)
            environment.process_exit_code = known or judged
        elif run.lost_all_workers:
            environment.process_exit_code = known or EXIT_CODES[DOUBTED]
        elif run.found_its_answer and not known:
            environment.process_exit_code = 0

    def _judge(self, recorder: Recorder) -> int:
        assert recorder.files is not None
        told = [f"--threshold={gate}" for gate in self.gates]
        told += [f"--accept={name}" for name in listed(option(self.environment, "accept"))]
        if junit := option(self.environment, "junit"):
            told.append(f"--junit={junit}")
        command = [sys.executable, "-m", "llmlocust.cli", "check", *told, "--", recorder.files.prefix]
        done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        for stream, said in ((sys.stdout, done.stdout), (sys.stderr, done.stderr)):
            stream.write(said)
        code = done.returncode
        if self.folder:
            self.folder.cleanup()
        if code in (EXIT_CODES[PASSED], EXIT_CODES[FAILED]):
            return code
        return EXIT_CODES[DOUBTED]


def end_run(environment: Environment) -> None:
    """End the run as the end of a ramp or --run-time would, but now."""
    runner, told = environment.runner, environment.parsed_options
    assert runner is not None
    if told is not None and (told.headless or told.autostart) and runner.shape_greenlet is not None:
        runner.shape_greenlet.kill(block=False)  # for its end Locust's main greenlet waits
    elif told is not None and told.headless:
        runner.quit()
    else:
        runner.stop()


def _bugs_exit_code(environment: Environment) -> int:
    """What Locust would exit with if no request had failed: those are results, exceptions of the locustfile are not."""
    runner: Any = environment.runner
    if log.unhandled_greenlet_exception:
        return UNHANDLED
    told = environment.parsed_options
    return int(told.exit_code_on_error) if runner.exceptions and told is not None else 0
