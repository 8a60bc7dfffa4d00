"""What hangs on Locust's events. Importing this module is what turns the plugin on.

Locust's order at the end is the reason for most of what is here: a master fires test_stop before its workers have
said their last, `quitting` runs module-level listeners after the runner's own, and a local runner still runs its
users then (locust.main.shutdown).
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

import gevent
from locust import events
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from llmlocust.analysis import words
from llmlocust.load.arrivals import POISSON, Process
from llmlocust.numbers.levels import RATE, USERS
from llmlocust.plugin import console, options, otel, preflight, webui
from llmlocust.plugin.collector import Collector
from llmlocust.plugin.gating import Gating
from llmlocust.plugin.locust_csv import CompleteCSVFileWriter
from llmlocust.plugin.master import Master
from llmlocust.plugin.run import Run
from llmlocust.plugin.worker import Worker

USAGE_ERROR = 2


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
        self.run: Run | None = None
        self.runs = 0
        self.preflight: dict[str, Any] | None = None
        self.refused = ""
        """Why the test that somebody wanted to start was not; empty where it was."""
        self._kept: TemporaryDirectory[str] | None = None
        self.ending = False
        """A headless run is on its way out: a second request to end it changes nothing."""

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
            if CompleteCSVFileWriter.newest is not None:
                CompleteCSVFileWriter.newest.begin_anew(prefix)
        if self.collector:
            self.collector.start(limits=options.limits(self.environment))
        if self.master:
            self.master.run_begins()
        self.run = Run(self.environment, self.collector, self.gating.prefix(prefix), self.preflight)
        self.run.watch = self.gating.watch
        self.preflight = None  # the next run may be of another host
        self.run.announce()
        shape = self.environment.shape_class
        if hasattr(shape, "run_started"):
            shape.run_started(self.run)

    def _prefix(self) -> str:
        """Of the files. The web UI offers them for download, so without --csv they are kept as long as it is there."""
        asked = getattr(self.environment.parsed_options, "csv_prefix", None) or ""
        if asked or self.environment.web_ui is None:
            return str(asked)
        if self._kept is None:
            self._kept = TemporaryDirectory(prefix="llmlocust-", ignore_cleanup_errors=True)
            console.say("without --csv, the files of this run are there for download until Locust ends, and then gone")
        return f"{self._kept.name}/run"

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
    plugin: Plugin = environment.llmlocust
    return plugin


def check(environment: Environment) -> dict[str, Any]:
    """Everything that can be known to be wrong before any load. Raises preflight.NotReady."""
    try:
        options.check(environment)
    except ValueError as problem:
        raise preflight.NotReady(str(problem)) from None
    if options.option(environment, "search") and not hasattr(environment.shape_class, "run_started"):
        raise preflight.NotReady("--llm-search needs a ramp to steer: class Ramp(SteppedRamp) in the locustfile")
    if getattr(environment.shape_class, "searches", bool)():
        _refuse_gates_of_every_level(environment)
    elif hasattr(environment.shape_class, "planned_levels"):
        _refuse_gates_of_no_level(environment, environment.shape_class.planned_levels())
    _check_open_load(environment)
    ours = [user for user in environment.user_classes if hasattr(user, "speaks")]
    _check_dialects(environment, ours)
    for note in options.notes(environment):
        console.say(note)
    if not options.option(environment, "preflight") or not ours:
        return {}
    return preflight.check(environment, ours[0].speaks)


def _check_dialects(environment: Environment, ours: list[Any]) -> None:
    if options.option(environment, "dialect") == options.AUTO:
        return
    try:
        for user in ours:
            user.speaks(environment)
    except ValueError as problem:
        raise preflight.NotReady(f"{user.__name__}: {problem}") from None


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
    if options.option(environment, "rate") and not hasattr(shape, "run_started"):
        raise preflight.NotReady("--llm-rate needs a ramp to steer: class Ramp(SteppedRamp) in the locustfile")
    others = [each.__name__ for each in environment.user_classes if not hasattr(each, "run_one_task")]
    if getattr(shape, "unit", USERS) == RATE and others:
        raise preflight.NotReady(
            f"only users of llmlocust can send at a rate: make {others[0]} an LLMUser, or name the others"
        )


@events.init.add_listener
def _on_init(environment: Environment, **kwargs: Any) -> None:
    plugin = environment.llmlocust = Plugin(environment)
    if plugin.is_worker:
        assert plugin.collector is not None
        Worker(environment, plugin.collector)
        return
    if plugin.is_master:
        plugin.master = Master(environment, lambda: plugin.run)
    if environment.web_ui is not None:
        webui.add_to(environment.web_ui, plugin)
    told = environment.parsed_options
    if environment.shape_class is None:
        _add_a_shape(environment)
    if told is not None and told.headless:
        _end_well_on_signals(plugin)
    if told is not None and (told.headless or told.autostart):
        _take_host_from_users(environment)
        try:
            plugin.preflight = check(environment)
        except preflight.NotReady as problem:
            console.error(str(problem))
            sys.exit(USAGE_ERROR)


def _add_a_shape(environment: Environment) -> None:
    """--llm-search or --llm-rate with a locustfile that has none."""
    from llmlocust.plugin.shapes import Search, SteppedRamp  # which import this module

    if options.option(environment, "search"):
        environment.shape_class = Search()
    elif options.option(environment, "rate"):
        environment.shape_class = SteppedRamp()
    else:
        return
    environment.shape_class.runner = environment.runner


def _end_well_on_signals(plugin: Plugin) -> None:
    """Locust installs its handler only after a headless shape has ended, so until then SIGTERM would kill the run with
    all that it holds. It ends as by Ctrl-C instead, which Locust expects in its main greenlet. Python raises that in
    whatever runs just then: a master that it hits while it listens to its workers hears no more of them.
    """

    def interrupt() -> None:
        plugin.ending = True
        gevent.get_hub().handle_system_error(KeyboardInterrupt, KeyboardInterrupt())

    gevent.signal_handler(signal.SIGTERM, lambda: None if plugin.ending else interrupt())
    gevent.signal_handler(signal.SIGINT, interrupt)  # who presses it twice does not want to wait


def _take_host_from_users(environment: Environment) -> None:
    if not environment.host:
        environment.host = next((user.host for user in environment.user_classes if user.host), None)


@events.test_start.add_listener
def _on_test_start(environment: Environment, **kwargs: Any) -> None:
    if not hasattr(environment, "llmlocust"):  # a worker that joins late is started before Locust has fired init
        return
    plugin = plugin_of(environment)
    if plugin.is_worker:
        return
    try:
        plugin.start_run()
    except preflight.NotReady as problem:  # only from the web UI: a headless run was checked before
        plugin.refuse(str(problem))
        gevent.spawn(environment.runner.stop)


@events.test_stopping.add_listener
def _on_test_stopping(environment: Environment, **kwargs: Any) -> None:
    plugin = plugin_of(environment)
    plugin.ending = True
    if plugin.run and not plugin.is_worker:
        plugin.run.end_level()
        plugin.run.stop_early()


@events.test_stop.add_listener
def _on_test_stop(environment: Environment, **kwargs: Any) -> None:
    plugin = plugin_of(environment)
    if plugin.run and not plugin.is_worker:
        plugin.run.note_end()
    if CompleteCSVFileWriter.newest is not None:
        CompleteCSVFileWriter.newest.write_now()


@events.quitting.add_listener
def _on_quitting(environment: Environment, **kwargs: Any) -> None:
    plugin = plugin_of(environment)
    if plugin.is_worker:
        return
    if plugin.collector:
        environment.runner.quit()  # the requests in flight get their records now, and not after the files are closed
        plugin.collector.wait_for_users()
    if plugin.run:
        plugin.run.finish()
    if CompleteCSVFileWriter.newest is not None:
        CompleteCSVFileWriter.newest.write_last()
    if plugin.run:
        plugin.gating.decide(plugin.run)
