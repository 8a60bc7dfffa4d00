"""Listeners of Locust's events. Importing this module turns the plugin on.

Much of this module follows from Locust's order of shutdown: a master fires test_stop before its workers have sent their
last reports, `quitting` calls module-level listeners after the runner's own, and a local runner's users still run then
(locust.main.shutdown).
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import gevent
from locust import events
from locust.env import Environment

from llmlocust.load.plans import STEPPED
from llmlocust.plugin import console, injecting, output, webui
from llmlocust.plugin.cluster.master import Master
from llmlocust.plugin.cluster.worker import Worker
from llmlocust.plugin.locust_csv import CompleteCSVFileWriter
from llmlocust.plugin.options import option
from llmlocust.plugin.parent import Forks
from llmlocust.plugin.session import Session
from llmlocust.plugin.shapes.shapes import Search, SteppedRamp
from llmlocust.plugin.startup.checks import USAGE_ERROR, check
from llmlocust.plugin.startup.probing import NotReady
from llmlocust.plugin.views.current_run import CurrentRun

_forks = Forks()


_STOPPED = 128 + signal.SIGINT
"""The exit code of shells for a process that Ctrl-C ended."""


@events.init.add_listener
def _on_init(environment: Environment, **kwargs: Any) -> None:
    _forks.release()
    if environment.events is not events:  # a script's own events: our listeners would miss this environment's tests
        return
    output.never_block()
    session = Session(environment)
    environment.llmlocust = session  # type: ignore[attr-defined]  # see session_of
    _end_cleanly_on_signals(session)
    if session.is_worker:
        assert session.collector is not None
        Worker(environment, session.collector)
        return
    if session.is_master:
        session.master = Master(environment, lambda: session.run, session.refuse_running_test)
    if environment.web_ui is not None:
        webui.add_to(environment.web_ui, session, session.current_run)
    parsed = environment.parsed_options
    if environment.shape_class is None:
        _add_a_shape(environment)
    if parsed is not None and (parsed.headless or parsed.autostart):
        _take_host_from_users(environment)
        try:
            if option(environment, "fault_dry_run"):
                injecting.check(environment)
                for line in injecting.described(environment):
                    console.say(line)
                sys.exit(0)
            session.preflight = check(environment)
        except NotReady as problem:
            console.error(str(problem))
            sys.exit(USAGE_ERROR)
        except KeyboardInterrupt:
            console.error("stopped before the load began")
            sys.exit(_STOPPED)
    _serve_metrics(environment, session.current_run)


def _serve_metrics(environment: Environment, current_run: CurrentRun) -> None:
    port = option(environment, "metrics_port")
    if not port:
        return
    try:
        current_run.serve(port)
    except (OSError, OverflowError) as problem:
        why = getattr(problem, "strerror", None) or problem
        console.error(f"--llm-metrics-port {port} cannot be used: {why}. Give it a free port from 1 to 65535")
        sys.exit(USAGE_ERROR)


def _add_a_shape(environment: Environment) -> None:
    """Add a shape if --llm-search, --llm-rate, --llm-shape, --llm-requests or --llm-trace needs one."""
    if option(environment, "search"):
        environment.shape_class = Search()
    elif any(option(environment, name) for name in ("rate", "requests", "trace")) or (
        option(environment, "shape") != STEPPED
    ):
        environment.shape_class = SteppedRamp()
    else:
        return
    environment.shape_class.runner = environment.runner


def _end_cleanly_on_signals(session: Session) -> None:
    """Handle Ctrl-C, SIGTERM and a closed terminal so that a run ends with its files complete.

    Ctrl-C raises KeyboardInterrupt in Locust's main greenlet, which expects it. Python would raise it in whichever greenlet
    is running. If that is the greenlet that receives the workers' messages, it would end, and the process would continue.

    SIGTERM ends a headless run in the same way. Locust installs its own handler only after a headless shape has ended; until
    then SIGTERM would kill the process and lose its figures. A closed terminal (SIGHUP) has the same effect as SIGTERM, unless
    the process was started to ignore it (nohup).
    """

    def interrupt() -> None:
        session.start_ending()
        gevent.get_hub().handle_system_error(KeyboardInterrupt, KeyboardInterrupt())

    parsed = session.environment.parsed_options
    gevent.signal_handler(signal.SIGINT, interrupt)  # also the second time: then the user does not want to wait
    if parsed is not None and parsed.headless and not session.is_worker:
        gevent.signal_handler(signal.SIGTERM, lambda: None if session.is_ending else interrupt())
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        gevent.signal_handler(signal.SIGHUP, os.kill, os.getpid(), signal.SIGTERM)


def _take_host_from_users(environment: Environment) -> None:
    hosts = {user.host for user in environment.user_classes if user.host}
    if not environment.host and len(hosts) == 1:  # all users then use the environment's host
        (environment.host,) = hosts


def _session(environment: Environment) -> Session | None:
    session: Session | None = getattr(environment, "llmlocust", None)
    return session


@events.test_start.add_listener
def _on_test_start(environment: Environment, **kwargs: Any) -> None:
    session = _session(environment)
    if session is None or session.is_worker:  # a worker that joins late is started before Locust has fired init
        return
    try:
        session.start_run()
    except NotReady as problem:  # in the web UI; for a headless run, everything except the files was checked before
        session.refuse_and_end(str(problem))


@events.test_stopping.add_listener
def _on_test_stopping(environment: Environment, **kwargs: Any) -> None:
    session = _session(environment)
    if session is None:
        return
    session.start_ending()
    if session.run and not session.is_worker:
        session.run.end_level()
        session.run.stop_early()


@events.test_stop.add_listener
def _on_test_stop(environment: Environment, **kwargs: Any) -> None:
    session = _session(environment)
    if session is None:
        return
    if session.run and not session.is_worker:
        session.run.note_end()
    if CompleteCSVFileWriter.current is not None:
        CompleteCSVFileWriter.current.write_now()


@events.quitting.add_listener
def _on_quitting(environment: Environment, **kwargs: Any) -> None:
    session = _session(environment)
    if session is None or session.is_worker:
        return
    if session.collector and environment.runner:
        environment.runner.quit()  # requests in flight must be recorded before the files are closed
        session.collector.wait_for_users()
    if session.run:
        session.run.finish()
    if CompleteCSVFileWriter.current is not None:
        CompleteCSVFileWriter.current.write_last()
    if session.run and session.recorder:
        session.gating.decide(session.run, session.recorder)
