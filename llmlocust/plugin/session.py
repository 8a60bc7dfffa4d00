"""What hangs on Locust's events. Importing this module is what turns the plugin on.

Locust's order at the end is the reason for most of what is here: a master fires test_stop before its workers have
said their last, `quitting` runs module-level listeners after the runner's own, and a local runner still runs its
users then (locust.main.shutdown).
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

import gevent
from locust import events
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from llmlocust.load.arrivals import POISSON, Process
from llmlocust.load.plans import SHAPES
from llmlocust.metrics.levels import RATE, USERS
from llmlocust.plugin import console, options, output, webui
from llmlocust.plugin.cluster.master import Master
from llmlocust.plugin.cluster.worker import Worker
from llmlocust.plugin.gating import Gating, end_run
from llmlocust.plugin.generator.collector import Collector
from llmlocust.plugin.locust_csv import CompleteCSVFileWriter, cannot_write
from llmlocust.plugin.parent import Forks
from llmlocust.plugin.run import prefixes
from llmlocust.plugin.run.locust_cluster import cluster_of
from llmlocust.plugin.run.locust_settings import hosts_of, settings_of
from llmlocust.plugin.run.recorder import Recorder
from llmlocust.plugin.run.run import Run
from llmlocust.plugin.shapes import replay_driver as replaying
from llmlocust.plugin.startup import attributes, machine_limits, preflight
from llmlocust.plugin.views import otel
from llmlocust.plugin.views.current_run import Newest
from llmlocust.plugin.views.locust_table import LocustTable
from llmlocust.plugin.views.progress import LevelLines, Progress, say_plan
from llmlocust.runfiles.writer import RunFiles
from llmlocust.text import figures as words

USAGE_ERROR = 2
_forks = Forks()
_STOPPED = 128 + signal.SIGINT
"""The exit code that shells use for a process that Ctrl-C ended."""
_ENDS_WITHIN = 60.0
"""Seconds that a run may take to end besides those that its requests in flight have, and its users."""


class Plugin:
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
            self._ends_by = time.monotonic() + options.option(self.environment, "drain") + stop_timeout + _ENDS_WITHIN

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
            self.collector.start(limits=options.limits(self.environment))
        if self.master:
            self.master.run_begins()
        try:
            self._make_way(prefix)
            self.run, self.recorder = self._new_run(self.gating.prefix(prefix), self.preflight)
        except OSError as problem:
            raise preflight.NotReady(cannot_write(problem, prefix)) from None
        self.prefixes += [self.recorder.files.prefix] if self.recorder.files else []
        self.preflight = None  # the next run may be of another host
        self.run.begin()
        atexit.register(self.run.finish)  # where Locust is interrupted once more while it shuts down
        self.run.announce()
        shape = self.environment.shape_class
        if hasattr(shape, "run_started"):
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
                raise preflight.NotReady(str(taken)) from None
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
        runner.log_exception("llmlocust", why, why)
        if self.collector:
            self.collector.refused = why
        if isinstance(runner, MasterRunner):
            runner.send_message("llm", {"what": "refused", "why": why})


def plugin_of(environment: Environment) -> Plugin:
    """Return the plugin of an environment. RuntimeError where a script made the environment without firing events.init."""
    plugin: Plugin | None = getattr(environment, "llmlocust", None)
    if plugin is None:
        raise RuntimeError(
            "llmlocust does not know this Environment: make it with Environment(events=locust.events, …), and call "
            "locust.events.init.fire(environment=environment, runner=runner, web_ui=None) before the runner starts"
        )
    return plugin


def check(environment: Environment) -> dict[str, Any]:
    """Everything that can be known to be wrong before any load. Raises preflight.NotReady."""
    try:
        options.check(environment)
        if hasattr(environment.shape_class, "run_started"):
            attributes.check_shape(environment.shape_class, environment)
    except ValueError as problem:
        raise preflight.NotReady(str(problem)) from None
    _refuse_shapes_of_others(environment)
    _check_files(environment)
    _check_trace(environment)
    if getattr(environment.shape_class, "searches", bool)():
        _refuse_gates_of_every_level(environment)
    elif hasattr(environment.shape_class, "planned_levels"):
        _refuse_gates_of_no_level(environment, _planned(environment))
    _check_open_load(environment)
    _check_requests(environment)
    _check_machine(environment)
    ours = [user for user in environment.user_classes if hasattr(user, "speaks")]
    try:
        preflight.check_users(environment)
    except ValueError as problem:
        raise preflight.NotReady(str(problem)) from None
    for note in (*options.notes(environment), *replaying.notes(environment), *preflight.keys_notes(environment, ours)):
        console.say(note)
    if not options.option(environment, "preflight") or not ours:
        return {}
    return preflight.check(environment, ours)


def _check_files(environment: Environment) -> None:
    prefix = getattr(environment.parsed_options, "csv_prefix", None)
    for path in prefixes.obstacles(prefix) if prefix else ():
        why = "it is a folder" if path.is_dir() else "it is no file that you may write to"
        raise preflight.NotReady(f"cannot write {path}: {why}. Give --csv another prefix")


def _refuse_shapes_of_others(environment: Environment) -> None:
    """What only our own shapes can do."""
    if hasattr(environment.shape_class, "run_started"):
        return
    asked = {name: options.option(environment, name) for name in ("search", "rate", "requests", "trace")}
    asked["shape"] = options.option(environment, "shape") != options.STEPPED
    name = next((name for name, is_asked in asked.items() if is_asked), None)
    if name is not None:
        raise preflight.NotReady(f"--llm-{name} needs a ramp to steer: class Ramp(SteppedRamp) in the locustfile")


def _planned(environment: Environment) -> Sequence[float]:
    try:
        loads: Sequence[float] = environment.shape_class.planned_levels()  # type: ignore[union-attr]
    except ValueError as problem:
        raise preflight.NotReady(str(problem)) from None
    return loads


def _refuse_gates_of_every_level(environment: Environment) -> None:
    gate = next((each for each in plugin_of(environment).gating.gates if each.at is None), None)
    if gate is not None:
        raise preflight.NotReady(
            f"--llm-threshold '{gate}' is for every level, and a search goes above the limit on purpose: say at which "
            f"load, such as '{gate} @ {options.option(environment, 'search_start')}'"
        )


def _refuse_gates_of_no_level(environment: Environment, loads: Sequence[float]) -> None:
    gates = plugin_of(environment).gating.gates
    gate = next((each for each in gates if not any(map(each.is_of, loads))), None)
    if gate is not None:
        known = words.series([words.load(each) for each in loads])
        raise preflight.NotReady(f"--llm-threshold '{gate}': the ramp has no such level. Its levels are {known}")


def _check_open_load(environment: Environment) -> None:
    shape = environment.shape_class
    try:
        Process.parse(getattr(shape, "arrivals", None) or POISSON)
    except ValueError as problem:
        raise preflight.NotReady(str(problem)) from None
    if getattr(shape, "unit", USERS) == RATE:
        _refuse_other_users(environment, "send at a rate")


def _check_requests(environment: Environment) -> None:
    shape = environment.shape_class
    requests = getattr(shape, "requests", None)
    if requests is None:
        requests = options.option(environment, "requests")
    if not requests or not hasattr(shape, "run_started"):
        return
    if shape.unit == RATE or shape.searches() or shape.shape_name() in SHAPES:
        raise preflight.NotReady(
            "--llm-requests is a run of users at one level: leave out --llm-rate, --llm-search, --llm-shape and --llm-trace"
        )
    loads = shape.planned_levels()
    if len(loads) > 1:
        raise preflight.NotReady(f"--llm-requests is a run at one level, not {len(loads)}: --llm-levels {loads[-1]}")
    if requests < loads[0]:
        raise preflight.NotReady(
            f"{words.with_unit(loads[0], USERS)} cannot all ask when there are {requests} requests: "
            "give more --llm-requests, or fewer users"
        )
    _refuse_other_users(environment, "count requests")


def _check_machine(environment: Environment) -> None:
    """Check whether this machine can open the users' connections. Workers on other machines check their own."""
    processes = 1
    if isinstance(environment.runner, MasterRunner):
        processes = getattr(environment.parsed_options, "processes", None) or 0
    if processes:
        try:
            machine_limits.check(options.planned_users(environment), processes, hosts_of(environment))
        except ValueError as problem:
            raise preflight.NotReady(str(problem)) from None


def _refuse_other_users(environment: Environment, what: str) -> None:
    others = [each.__name__ for each in environment.user_classes if not hasattr(each, "run_one_task")]
    if others:
        raise preflight.NotReady(f"only users of llmlocust can {what}: make {others[0]} an LLMUser, or name the others")


def _check_trace(environment: Environment) -> None:
    shape = environment.shape_class
    try:
        replay = replaying.asked_for(environment)
    except ValueError as problem:
        raise preflight.NotReady(f"--llm-trace: {problem}") from None
    if replay is None:
        if hasattr(shape, "trace"):
            raise preflight.NotReady(f"{type(shape).__name__} has no trace to replay: give --llm-trace FILE")
        return
    if shape.searches() or shape.shape_name() in SHAPES:
        other = "a search" if shape.searches() else "--llm-shape"
        raise preflight.NotReady(f"--llm-trace and {other} do not go together: each makes its own load")


@events.init.add_listener
def _on_init(environment: Environment, **kwargs: Any) -> None:
    _forks.are_over()
    if environment.events is not events:  # a script's own: they would tell nothing of the tests of this environment
        return
    output.never_wait()
    plugin = environment.llmlocust = Plugin(environment)
    _end_well_on_signals(plugin)
    if plugin.is_worker:
        assert plugin.collector is not None
        Worker(environment, plugin.collector)
        return
    if plugin.is_master:
        plugin.master = Master(environment, lambda: plugin.run, plugin.refuse_a_running_one)
    if environment.web_ui is not None:
        webui.add_to(environment.web_ui, plugin, plugin.newest)
    told = environment.parsed_options
    if environment.shape_class is None:
        _add_a_shape(environment)
    if told is not None and (told.headless or told.autostart):
        _take_host_from_users(environment)
        try:
            plugin.preflight = check(environment)
        except preflight.NotReady as problem:
            console.error(str(problem))
            sys.exit(USAGE_ERROR)
        except KeyboardInterrupt:
            console.error("stopped before the load began")
            sys.exit(_STOPPED)
    _serve_metrics(environment, plugin.newest)


def _serve_metrics(environment: Environment, newest: Newest) -> None:
    port = options.option(environment, "metrics_port")
    if not port:
        return
    try:
        newest.serve(port)
    except (OSError, OverflowError) as problem:
        why = getattr(problem, "strerror", None) or problem
        console.error(f"--llm-metrics-port {port} cannot be had: {why}. Give it a free port from 1 to 65535")
        sys.exit(USAGE_ERROR)


def _add_a_shape(environment: Environment) -> None:
    """--llm-search, --llm-rate, --llm-shape, --llm-requests or --llm-trace with a locustfile that has none."""
    from llmlocust.plugin.shapes.shapes import Search, SteppedRamp  # which import this module

    if options.option(environment, "search"):
        environment.shape_class = Search()
    elif any(options.option(environment, name) for name in ("rate", "requests", "trace")) or (
        options.option(environment, "shape") != options.STEPPED
    ):
        environment.shape_class = SteppedRamp()
    else:
        return
    environment.shape_class.runner = environment.runner


def _end_well_on_signals(plugin: Plugin) -> None:
    """Handle Ctrl-C, SIGTERM and a closed terminal so that a run ends with its files complete.

    Ctrl-C raises KeyboardInterrupt in Locust's main greenlet, which expects it. Python would raise it in whichever greenlet
    is running. If that is the greenlet that receives the workers' messages, it would end, and the process would continue.

    SIGTERM ends a headless run in the same way. Locust installs its own handler only after a headless shape has ended; until
    then SIGTERM would kill the process and lose its figures. A closed terminal (SIGHUP) has the same effect as SIGTERM, unless
    the process was started to ignore it (nohup).
    """

    def interrupt() -> None:
        plugin.begin_to_end()
        gevent.get_hub().handle_system_error(KeyboardInterrupt, KeyboardInterrupt())

    told = plugin.environment.parsed_options
    gevent.signal_handler(signal.SIGINT, interrupt)  # who presses it twice does not want to wait
    if told is not None and told.headless and not plugin.is_worker:
        gevent.signal_handler(signal.SIGTERM, lambda: None if plugin.is_ending else interrupt())
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        gevent.signal_handler(signal.SIGHUP, os.kill, os.getpid(), signal.SIGTERM)


def _take_host_from_users(environment: Environment) -> None:
    hosts = {user.host for user in environment.user_classes if user.host}
    if not environment.host and len(hosts) == 1:  # Locust gives an environment's host to all of them
        (environment.host,) = hosts


@events.test_start.add_listener
def _on_test_start(environment: Environment, **kwargs: Any) -> None:
    plugin: Plugin | None = getattr(environment, "llmlocust", None)
    if plugin is None or plugin.is_worker:  # a worker that joins late is started before Locust has fired init
        return
    try:
        plugin.start_run()
    except preflight.NotReady as problem:  # from the web UI; of a headless run, all but its files was checked before
        plugin.refuse_and_end(str(problem))


@events.test_stopping.add_listener
def _on_test_stopping(environment: Environment, **kwargs: Any) -> None:
    plugin: Plugin | None = getattr(environment, "llmlocust", None)
    if plugin is None:
        return
    plugin.begin_to_end()
    if plugin.run and not plugin.is_worker:
        plugin.run.end_level()
        plugin.run.stop_early()


@events.test_stop.add_listener
def _on_test_stop(environment: Environment, **kwargs: Any) -> None:
    plugin: Plugin | None = getattr(environment, "llmlocust", None)
    if plugin is None:
        return
    if plugin.run and not plugin.is_worker:
        plugin.run.note_end()
    if CompleteCSVFileWriter.newest is not None:
        CompleteCSVFileWriter.newest.write_now()


@events.quitting.add_listener
def _on_quitting(environment: Environment, **kwargs: Any) -> None:
    plugin: Plugin | None = getattr(environment, "llmlocust", None)
    if plugin is None:
        return
    if plugin.is_worker:
        return
    if plugin.collector:
        environment.runner.quit()  # the requests in flight get their records now, and not after the files are closed
        plugin.collector.wait_for_users()
    if plugin.run:
        plugin.run.finish()
    if CompleteCSVFileWriter.newest is not None:
        CompleteCSVFileWriter.newest.write_last()
    if plugin.run and plugin.recorder:
        plugin.gating.decide(plugin.run, plugin.recorder)
