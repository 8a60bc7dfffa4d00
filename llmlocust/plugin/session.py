"""`Session`: what the plugin keeps for an environment."""

from __future__ import annotations

import atexit
import time
from tempfile import TemporaryDirectory
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from llmlocust.plugin import console
from llmlocust.plugin.cluster.master import Master
from llmlocust.plugin.gating import Gating, end_run
from llmlocust.plugin.generator.collector import Collector
from llmlocust.plugin.locust_csv import CompleteCSVFileWriter, cannot_write
from llmlocust.plugin.options import option
from llmlocust.plugin.run import prefixes
from llmlocust.plugin.run.locust_cluster import cluster_of
from llmlocust.plugin.run.locust_settings import settings_of
from llmlocust.plugin.run.recorder import Recorder
from llmlocust.plugin.run.run import Run
from llmlocust.plugin.settings import limits
from llmlocust.plugin.shapes.shapes import SteppedRamp
from llmlocust.plugin.startup.checks import USAGE_ERROR, check
from llmlocust.plugin.startup.probing import NotReady
from llmlocust.plugin.views import otel
from llmlocust.plugin.views.current_run import Newest
from llmlocust.plugin.views.locust_table import LocustTable
from llmlocust.plugin.views.progress import LevelLines, Progress, say_plan
from llmlocust.runfiles.writer import RunFiles

_ENDS_WITHIN = 60.0
"""Seconds that a run may take to end besides those that its requests in flight have, and its users."""


class Session:
    """What the plugin keeps for an environment: a collector where users run, a run where it is steered."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.is_worker = isinstance(environment.runner, WorkerRunner)
        self.is_master = isinstance(environment.runner, MasterRunner)
        self.collector = None if self.is_master else Collector(environment)
        self.otel = otel.of(environment)
        self.gating = Gating(environment)
        self.master: Master | None = None
        self.newest = Newest(environment)
        self.run: Run | None = None
        self.recorder: Recorder | None = None
        """Of the run."""
        self.runs = 0
        self.prefixes: list[str] = []
        """Of the files of each run, the newest last."""
        self.preflight: dict[str, Any] | None = None
        self.refused = ""
        """Why the test that somebody wanted to start was not; empty where it was."""
        self._kept: TemporaryDirectory[str] | None = None
        self._ends_by: float | None = None
        """When a run that is on its way out should have ended, by the monotonic clock."""

    def begin_to_end(self) -> None:
        """The run is on its way out, and has its time for that."""
        if self._ends_by is None:
            stop_timeout = float(getattr(self.environment, "stop_timeout", None) or 0.0)
            self._ends_by = time.monotonic() + option(self.environment, "drain") + stop_timeout + _ENDS_WITHIN

    @property
    def is_ending(self) -> bool:
        """Whether a run is on its way out, so that a second request to end it changes nothing. One that should have ended
        long ago hears signals again.
        """
        return self._ends_by is not None and time.monotonic() < self._ends_by

    def start_run(self) -> None:
        """A test starts, here on the master or the only process."""
        if self.run:
            self.run.finish()
            if CompleteCSVFileWriter.newest is not None:
                CompleteCSVFileWriter.newest.leave_as_they_are()
        if self.preflight is None:
            self.preflight = check(self.environment)
        self.refused = ""
        self.runs += 1
        prefix = self._prefix()
        if prefix and self.runs > 1:  # started again from the web UI: what was measured before stays
            prefix = f"{prefix}_run{self.runs}"
        if self.collector:
            self.collector.start(limits=limits(self.environment))
        if self.master:
            self.master.run_begins()
        try:
            self._make_way(prefix)
            self.run, self.recorder = self._new_run(self.gating.prefix(prefix), self.preflight)
        except OSError as problem:
            raise NotReady(cannot_write(problem, prefix)) from None
        self.prefixes += [self.recorder.files.prefix] if self.recorder.files else []
        self.preflight = None  # the next run may be of another host
        self.run.begin()
        atexit.register(self.run.finish)  # where Locust is interrupted once more while it shuts down
        self.run.announce()
        shape = self.environment.shape_class
        if isinstance(shape, SteppedRamp):
            shape.run_started(self.run)
        say_plan(self.run.plan)

    def _new_run(self, prefix: str, preflight: dict[str, Any]) -> tuple[Run, Recorder]:
        """A run and its companions. `prefix` is that of its files; empty: it keeps none. Raises OSError."""
        run = Run(cluster_of(self.environment, self.collector), settings_of(self.environment))
        recorder = Recorder(RunFiles(prefix, run.pause) if prefix else None, preflight)
        run.add(recorder, LevelLines(), *self.gating.companions())
        run.add(LocustTable(self.environment.stats), Progress(), self.newest)
        return run, recorder

    def _make_way(self, prefix: str) -> None:
        """Lock the prefix and move the files of an earlier run aside. Called once only the files can still prevent the run."""
        if not prefix:
            return
        locusts = CompleteCSVFileWriter.newest
        if locusts is None or self.runs > 1:  # else it is locked since Locust's start
            try:
                prefixes.lock(prefix)
            except prefixes.Taken as taken:
                raise NotReady(str(taken)) from None
        if aside := prefixes.move_aside(prefix):
            console.say(f"the files of an earlier run, {prefix}_*, are now {aside}_*")
        if locusts is not None:
            locusts.begin(prefix)

    def _prefix(self) -> str:
        """Of the files. The web UI offers them for download, so without --csv they are kept as long as it is there."""
        asked = getattr(self.environment.parsed_options, "csv_prefix", None) or ""
        if asked or self.environment.web_ui is None:
            return str(asked)
        if self._kept is None:
            self._kept = TemporaryDirectory(prefix="llmlocust-", ignore_cleanup_errors=True)
            console.say("without --csv, the files of this run are there for download until Locust ends, and then gone")
        return f"{self._kept.name}/run"

    @property
    def keeps_files(self) -> bool:
        """Whether the files are there when Locust has ended."""
        return self._kept is None

    def refuse_a_running_one(self, why: str) -> None:
        """A worker cannot take part in the run that has just started."""
        if self.refused:
            return
        if self.run:
            self.run.problems.append(why)
        self.refuse_and_end(why)

    def refuse_and_end(self, why: str) -> None:
        """Refuse a test that has started, and end it. Where Locust ends with the test, its exit code is 2."""
        self.refuse(why)
        told = self.environment.parsed_options
        if told is not None and (told.headless or told.autostart):
            self.environment.process_exit_code = USAGE_ERROR
        gevent.spawn(end_run, self.environment)

    def refuse(self, why: str) -> None:
        """The test that starts must not send anything. The web UI shows why, in our tab and among its exceptions."""
        self.refused = why
        console.error(why)
        runner = self.environment.runner
        assert runner is not None
        runner.log_exception("llmlocust", why, why)
        if self.collector:
            self.collector.refused = why
        if isinstance(runner, MasterRunner):
            runner.send_message("llm", {"what": "refused", "why": why})
