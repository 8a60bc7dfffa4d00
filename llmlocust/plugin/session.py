"""`Session`: the plugin's state of an environment."""

from __future__ import annotations

import atexit
import time
from tempfile import TemporaryDirectory
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from llmlocust.plugin import console, injecting, observing
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
from llmlocust.plugin.run.telemetry import Telemetry
from llmlocust.plugin.settings import limits
from llmlocust.plugin.shapes.shapes import SteppedRamp
from llmlocust.plugin.startup.checks import USAGE_ERROR, check
from llmlocust.plugin.startup.probing import NotReady
from llmlocust.plugin.views import otel
from llmlocust.plugin.views.current_run import CurrentRun
from llmlocust.plugin.views.locust_table import LocustTable
from llmlocust.plugin.views.progress import LevelLines, Progress, say_plan
from llmlocust.runfiles.writer import RunFiles

_ENDS_WITHIN = 60.0
"""Seconds that a run may take to end, in addition to --llm-drain and Locust's stop timeout."""


class Session:
    """The plugin's state of an environment: a collector if users run in this process, a run if it is the master or the only
    process.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.is_worker = isinstance(environment.runner, WorkerRunner)
        self.is_master = isinstance(environment.runner, MasterRunner)
        self.collector = None if self.is_master else Collector(environment)
        self.otel = otel.of(environment)
        self.gating = Gating(environment)
        self.master: Master | None = None
        self.current_run = CurrentRun(environment)
        self.run: Run | None = None
        self.recorder: Recorder | None = None
        """The recorder of the current run."""
        self.runs = 0
        """Number of runs so far."""
        self.prefixes: list[str] = []
        """The prefixes of each run's files, the newest last."""
        self.preflight: dict[str, Any] | None = None
        self.refused = ""
        """The reason why the last test was refused; empty if it was not."""
        self._kept: TemporaryDirectory[str] | None = None
        self._ends_by: float | None = None
        """The monotonic time by which a run that is ending should have ended."""

    def start_ending(self) -> None:
        """Begin the end of the run, and set its deadline."""
        if self._ends_by is None:
            stop_timeout = float(getattr(self.environment, "stop_timeout", None) or 0.0)
            self._ends_by = time.monotonic() + option(self.environment, "drain") + stop_timeout + _ENDS_WITHIN

    @property
    def is_ending(self) -> bool:
        """Whether a run is ending, so that a second request to end it changes nothing. After the deadline, signals count
        again.
        """
        return self._ends_by is not None and time.monotonic() < self._ends_by

    def start_run(self) -> None:
        """Start a run for a test that starts. The master or the only process calls this. Raises NotReady."""
        if self.run:
            self.run.finish()
            if CompleteCSVFileWriter.current is not None:
                CompleteCSVFileWriter.current.leave_as_they_are()
        if self.preflight is None:
            self.preflight = check(self.environment)
        self.refused = ""
        self.runs += 1
        prefix = self._prefix()
        if prefix and self.runs > 1:  # started again from the web UI: the files of the previous runs are kept
            prefix = f"{prefix}_run{self.runs}"
        if self.collector:
            self.collector.start(limits=limits(self.environment))
        if self.master:
            self.master.run_begins()
        try:
            self._reserve_prefix(prefix)
            self.run, self.recorder = self._new_run(self.gating.prefix(prefix), self.preflight)
        except OSError as problem:
            raise NotReady(cannot_write(problem, prefix)) from None
        self.prefixes += [self.recorder.files.prefix] if self.recorder.files else []
        self.preflight = None  # the next run may use another host
        self.run.begin()
        atexit.register(self.run.finish)  # in case Locust is interrupted again while it shuts down
        self.run.announce()
        shape = self.environment.shape_class
        if isinstance(shape, SteppedRamp):
            shape.run_started(self.run)
        say_plan(self.run.plan)

    def _new_run(self, prefix: str, preflight: dict[str, Any]) -> tuple[Run, Recorder]:
        """Return a run, with its companions, and its recorder. `prefix` is that of the files; empty: no files. Raises
        OSError.
        """
        run = Run(cluster_of(self.environment, self.collector), settings_of(self.environment))
        recorder = Recorder(RunFiles(prefix, run.pause) if prefix else None, preflight)
        run.add(recorder, LevelLines(), *self.gating.companions())
        if faults := injecting.companion_of(self.environment):
            run.add(faults)
        if config := observing.config_of(self.environment):
            run.add(Telemetry(lambda: observing.start(config), recorder.write))
        run.add(LocustTable(self.environment.stats), Progress(), self.current_run)
        return run, recorder

    def _reserve_prefix(self, prefix: str) -> None:
        """Lock the prefix and rename the files of an earlier run. This follows all other checks: a run that is refused must
        not change any file.
        """
        if not prefix:
            return
        csv_writer = CompleteCSVFileWriter.current
        if csv_writer is None or self.runs > 1:  # otherwise it has been locked since Locust's start
            try:
                prefixes.lock(prefix)
            except prefixes.Taken as taken:
                raise NotReady(str(taken)) from None
        if aside := prefixes.move_aside(prefix):
            console.say(f"the files of an earlier run, {prefix}_*, are now {aside}_*")
        if csv_writer is not None:
            csv_writer.begin(prefix)

    def _prefix(self) -> str:
        """Return the prefix of the run's files. The web UI offers them for download, so without --csv a temporary folder has
        them until Locust ends.
        """
        prefix = getattr(self.environment.parsed_options, "csv_prefix", None) or ""
        if prefix or self.environment.web_ui is None:
            return str(prefix)
        if self._kept is None:
            self._kept = TemporaryDirectory(prefix="llmlocust-", ignore_cleanup_errors=True)
            console.say(
                "without --csv, the files of this run can be downloaded until Locust ends, and are then deleted"
            )
        return f"{self._kept.name}/run"

    @property
    def keeps_files(self) -> bool:
        """Whether the files remain when Locust has ended."""
        return self._kept is None

    def refuse_running_test(self, why: str) -> None:
        """Refuse the run that has just started, because a worker cannot take part in it."""
        if self.refused:
            return
        if self.run:
            self.run.problems.append(why)
        self.refuse_and_end(why)

    def refuse_and_end(self, why: str) -> None:
        """Refuse a test that has started, and end it. If Locust ends with the test, its exit code is 2."""
        self.refuse(why)
        parsed = self.environment.parsed_options
        if parsed is not None and (parsed.headless or parsed.autostart):
            self.environment.process_exit_code = USAGE_ERROR
        gevent.spawn(end_run, self.environment)

    def refuse(self, why: str) -> None:
        """Refuse the test that starts, so that it sends no requests. The web UI shows the reason in our tab and among
        Locust's exceptions.
        """
        self.refused = why
        console.error(why)
        runner = self.environment.runner
        assert runner is not None
        runner.log_exception("llmlocust", why, why)
        if self.collector:
            self.collector.refused = why
        if isinstance(runner, MasterRunner):
            runner.send_message("llm", {"what": "refused", "why": why})
