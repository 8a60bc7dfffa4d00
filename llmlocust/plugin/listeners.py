"""What hangs on Locust's events. Importing this module is what turns the plugin on.

Locust's order at the end is the reason for most of what is here: a master fires test_stop before its workers have
said their last, `quitting` runs module-level listeners after the runner's own, and a local runner still runs its
users then (locust.main.shutdown).
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import gevent
from locust import events
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, MasterRunner, WorkerRunner

from llmlocust.plugin import console, options, preflight
from llmlocust.plugin.collector import Collector, connect_worker
from llmlocust.plugin.gating import Gating
from llmlocust.plugin.locust_csv import CompleteCSVFileWriter
from llmlocust.plugin.run import Run

USAGE_ERROR = 2


class Plugin:
    """What the plugin keeps for an environment: a collector where users run, a run where it is steered."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.is_worker = isinstance(environment.runner, WorkerRunner)
        self.is_master = isinstance(environment.runner, MasterRunner)
        self.collector = None if self.is_master else Collector(environment)
        self.gating = Gating(environment)
        self.run: Run | None = None
        self.runs = 0
        self.preflight: dict[str, Any] | None = None
        self.ending = False
        """A headless run is on its way out: a second request to end it changes nothing."""

    def start_run(self) -> None:
        """A test starts, here on the master or the only process."""
        if self.run:
            self.run.finish()
        if self.preflight is None:
            self.preflight = check(self.environment)
        self.runs += 1
        prefix = getattr(self.environment.parsed_options, "csv_prefix", None) or ""
        if prefix and self.runs > 1:  # started again from the web UI: what was measured before stays
            prefix = f"{prefix}_run{self.runs}"
        if self.collector:
            self.collector.start()
        self.run = Run(self.environment, self.collector, self.gating.prefix(prefix), self.preflight)
        self.run.watch = self.gating.watch
        self.preflight = None  # the next run may be of another host
        self.run.announce()
        shape = self.environment.shape_class
        if hasattr(shape, "run_started"):
            shape.run_started(self.run)

    def refuse(self, why: str) -> None:
        """The test that starts must not send anything. The web UI shows why among its exceptions."""
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
    ours = [user for user in environment.user_classes if hasattr(user, "speaks")]
    _check_dialects(environment, ours)
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


@events.init.add_listener
def _on_init(environment: Environment, **kwargs: Any) -> None:
    plugin = environment.llmlocust = Plugin(environment)
    if plugin.is_worker:
        assert plugin.collector is not None
        connect_worker(environment, plugin.collector)
        return
    if plugin.is_master:
        _receive(environment)
    told = environment.parsed_options
    if environment.shape_class is None and options.option(environment, "search"):
        _search_without_a_ramp(environment)
    if told is not None and told.headless:
        _end_well_on_sigterm(plugin)
    if told is not None and (told.headless or told.autostart):
        _take_host_from_users(environment)
        try:
            plugin.preflight = check(environment)
        except preflight.NotReady as problem:
            console.error(str(problem))
            sys.exit(USAGE_ERROR)


def _search_without_a_ramp(environment: Environment) -> None:
    """--llm-search with a locustfile that has no shape."""
    from llmlocust.plugin.shapes import Search  # which imports this module

    environment.shape_class = Search()
    environment.shape_class.runner = environment.runner


def _end_well_on_sigterm(plugin: Plugin) -> None:
    """Locust installs its handler only after a headless shape has ended, so until then SIGTERM would kill the run with
    all that it holds. It ends as by Ctrl-C instead, which Locust expects in its main greenlet.
    """

    def interrupt() -> None:
        if plugin.ending:
            return
        plugin.ending = True
        gevent.get_hub().handle_system_error(KeyboardInterrupt, KeyboardInterrupt())

    gevent.signal_handler(signal.SIGTERM, interrupt)


def _take_host_from_users(environment: Environment) -> None:
    if not environment.host:
        environment.host = next((user.host for user in environment.user_classes if user.host), None)


def _receive(environment: Environment) -> None:
    runner = environment.runner
    assert isinstance(runner, MasterRunner)

    def merge(packed: dict[str, Any] | None) -> None:
        run = plugin_of(environment).run
        if run and packed:
            run.merge(packed)

    runner.register_message("llm_last", lambda environment, msg: merge(msg.data))
    environment.events.worker_report.add_listener(lambda client_id, data: merge(data.get("llm")))

    def on_connect(client_id: str) -> None:
        run = plugin_of(environment).run
        if run and runner.state in (STATE_RUNNING, STATE_SPAWNING):
            run.announce(client_id)

    environment.events.worker_connect.add_listener(on_connect)
    _stop_before_quit(runner)


def _stop_before_quit(runner: MasterRunner) -> None:
    """Locust's master quits half a second after telling its workers to, and what they say later is lost. Where users
    still run, it is made to stop them first, which waits for them and for their last words.
    """
    quit_at_once = runner.quit

    def quit_after_stop() -> None:
        if runner.user_count:
            runner.stop()
            with gevent.Timeout(10.0, False):
                while runner.worker_count < runner.worker_index_max and any(runner.clients.values()):
                    gevent.sleep(0.1)
        quit_at_once()

    runner.quit = quit_after_stop  # type: ignore[method-assign]


@events.test_start.add_listener
def _on_test_start(environment: Environment, **kwargs: Any) -> None:
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
