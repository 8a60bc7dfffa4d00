"""The gates of a run (`--llm-threshold`): they may end the run early, and decide its exit code.

`llmlocust check` judges the files once they are complete. A run and a later check of its files therefore agree, and the
process that makes the load does not import the analysis.
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
"""Locust's own exit code if a listener or a greenlet raised an exception."""


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
        """Whether gates decide this process's exit code. In a web UI that a user controls, they do not."""
        parsed = self.environment.parsed_options
        return bool(self.gates) and parsed is not None and bool(parsed.headless or parsed.autostart)

    def prefix(self, csv_prefix: str) -> str:
        """Return the prefix of the run's files. The check needs files, so without --csv a temporary folder is used."""
        if csv_prefix or not self.decides:
            return csv_prefix
        self.folder = tempfile.TemporaryDirectory(prefix="llmlocust-")
        return f"{self.folder.name}/run"

    def companions(self) -> list[Companion]:
        """Return the companion that ends a run early, if --llm-abort-on-breach is given."""
        if not option(self.environment, "abort_on_breach"):
            return []
        grace = option(self.environment, "abort_grace")
        return [EarlyEnd(self.gates, grace, lambda: gevent.spawn(end_run, self.environment))]

    def decide(self, run: RunState, recorder: Recorder) -> None:
        """Set the exit code, once the run's files are complete. Bugs, and a code that is already set, have priority."""
        environment = self.environment
        known = environment.process_exit_code or _exit_code_of_errors(environment)
        if not recorder.is_complete:
            environment.process_exit_code = known or EXIT_CODES[DOUBTED]
        elif self.decides:
            code = self._judge(recorder)  # also prints the result, so it runs even if a code is known
            environment.process_exit_code = known or code
        elif run.lost_all_workers:
            environment.process_exit_code = known or EXIT_CODES[DOUBTED]
        elif run.found_its_answer and not known:
            environment.process_exit_code = 0

    def _judge(self, recorder: Recorder) -> int:
        assert recorder.files is not None
        arguments = [f"--threshold={gate}" for gate in self.gates]
        arguments += [f"--accept={name}" for name in listed(option(self.environment, "accept"))]
        if junit := option(self.environment, "junit"):
            arguments.append(f"--junit={junit}")
        command = [sys.executable, "-m", "llmlocust.cli", "check", *arguments, "--", recorder.files.prefix]
        done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        for stream, output in ((sys.stdout, done.stdout), (sys.stderr, done.stderr)):
            stream.write(output)
        code = done.returncode
        if self.folder:
            self.folder.cleanup()
        if code in (EXIT_CODES[PASSED], EXIT_CODES[FAILED]):
            return code
        return EXIT_CODES[DOUBTED]


def end_run(environment: Environment) -> None:
    """End the run as the end of a ramp or --run-time would, but now."""
    runner, parsed = environment.runner, environment.parsed_options
    assert runner is not None
    if parsed is not None and (parsed.headless or parsed.autostart) and runner.shape_greenlet is not None:
        runner.shape_greenlet.kill(block=False)  # Locust's main greenlet waits for its end
    elif parsed is not None and parsed.headless:
        runner.quit()
    else:
        runner.stop()


def _exit_code_of_errors(environment: Environment) -> int:
    """Return the exit code that Locust would use if no request had failed: exceptions of the locustfile are errors, failed
    requests are results.
    """
    runner: Any = environment.runner
    if log.unhandled_greenlet_exception:
        return UNHANDLED
    parsed = environment.parsed_options
    return int(parsed.exit_code_on_error) if runner.exceptions and parsed is not None else 0
