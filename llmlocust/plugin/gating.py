"""What a run has to keep (`--llm-threshold`): it may end the run early, and decides its exit code.

The judge is `llmlocust check`, run on the files once they are complete: what a run says at its end and what anybody
says of its files later is the same by construction, and nothing that judges is loaded beside the load.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import gevent
from locust import log
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING

from llmlocust.analysis.gates import DOUBTED, EXIT_CODES, FAILED, PASSED, Breach, breach
from llmlocust.metrics.levels import Level
from llmlocust.metrics.thresholds import Gate, parse_gates
from llmlocust.plugin import console
from llmlocust.plugin.options import listed, option
from llmlocust.plugin.run.run import Run

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

    def watch(self, run: Run) -> None:
        """Called about once a second: ends the run where a level surely breaks a gate."""
        if run.ended_by or not option(self.environment, "abort_on_breach") or not self._goes_on(run):
            return
        found = next(self._breaches(run), None)
        if found is None:
            return
        run.ended_by = found.name
        console.say(f"  {found}: the run ends here (--llm-abort-on-breach)")
        gevent.spawn(end_run, self.environment)

    def _goes_on(self, run: Run) -> bool:
        """Whether there is something to end early: no run that ends already, nor a ramp whose last level is over."""
        runner, level = self.environment.runner, run.level
        assert runner is not None
        if runner.state not in (STATE_RUNNING, STATE_SPAWNING) or level is None:
            return False
        return level.ended is None or run.plan is None or level.index + 1 < len(run.plan["levels"])

    def _breaches(self, run: Run) -> Iterator[Breach]:
        in_flight = run.ledger.sent - run.ledger.ended
        for level in run.ledger.levels[-2:]:  # what was in flight when a level ended may break it yet
            if self._may_be_judged(level, run):
                tally = run.ledger.tally(level.index)
                found = (breach(gate, level, tally, in_flight) for gate in self.gates)
                yield from (each for each in found if each is not None)

    def _may_be_judged(self, level: Level, run: Run) -> bool:
        over = level.settled is not None and level.ended is not None
        return over or level.window(run.moment()) >= max(1e-9, option(self.environment, "abort_grace"))

    def decide(self, run: Run) -> None:
        """The exit code, once the run's files are complete. Bugs, and what somebody else set it to, come first."""
        environment = self.environment
        known = environment.process_exit_code or _bugs_exit_code(environment)
        if not run.has_all_files:
            environment.process_exit_code = known or EXIT_CODES[DOUBTED]
        elif self.decides:
            judged = self._judge(run)
            environment.process_exit_code = known or judged
        elif run.lost_all_workers:
            environment.process_exit_code = known or EXIT_CODES[DOUBTED]
        elif run.found_its_answer and not known:
            environment.process_exit_code = 0

    def _judge(self, run: Run) -> int:
        assert run.files is not None
        told = [f"--threshold={gate}" for gate in self.gates]
        told += [f"--accept={name}" for name in listed(option(self.environment, "accept"))]
        if junit := option(self.environment, "junit"):
            told.append(f"--junit={junit}")
        command = [sys.executable, "-m", "llmlocust.cli", "check", *told, "--", run.files.prefix]
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
