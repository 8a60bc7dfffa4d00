"""All replacements of Locust's own code for which Locust has no hook.

They were checked against Locust 2.47.0. Each docstring names the code of Locust that uses the replaced part.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import locust.stats
from locust import argument_parser, runners
from locust.env import Environment
from locust.rpc import Message, rpc
from locust.runners import MasterRunner, WorkerNode, WorkerRunner

MessageHandler = Callable[[str, Message], None]
ReportListener = Callable[..., None]


def use_csv_writer(writer: type[locust.stats.StatsCSVFileWriter]) -> None:
    """Make Locust write its CSV files with another class: its own omits the last second. `locust.main` looks up the class
    when it starts.
    """
    locust.stats.StatsCSVFileWriter = writer  # type: ignore[misc]


def use_server(server: type[rpc.Server]) -> None:
    """Make masters listen with another class: with Locust's own, the first exception ends the listener. `MasterRunner`
    looks up the class when it is created.
    """
    rpc.Server = server  # type: ignore[misc]


def cache_default_options() -> None:
    """Cache the result of `argument_parser.default_args_dict`. `WorkerRunner.handle_message` calls it for each option of
    each message to spawn users, and it builds a parser of all options: this blocks the event loop for 0.3 s at each level,
    on a slow machine for seconds.
    """
    if not hasattr(argument_parser.default_args_dict, "cache_info"):
        argument_parser.default_args_dict = cache(argument_parser.default_args_dict)


def wait_for_silent_workers(seconds: int) -> None:
    """Make masters give up a worker after this number of seconds without a message, instead of three.
    `MasterRunner.handle_message` starts each worker's countdown with it.
    """
    runners.HEARTBEAT_LIVENESS = seconds


def replace_quit(runner: MasterRunner, quit_: Callable[[], None]) -> Callable[[], None]:
    """Replace a master's `quit`, and return Locust's own: that waits only half a second, and later reports of workers would
    be lost.
    """
    own = runner.quit
    runner.quit = quit_  # type: ignore[method-assign]
    return own


def replace_message_handler(runner: MasterRunner, wrap: Callable[[MessageHandler], MessageHandler]) -> None:
    """Wrap a master's message handler. An exception of Locust's own handler ends `MasterRunner.client_listener`, and the
    master then receives nothing from any worker.
    """
    runner.handle_message = wrap(runner.handle_message)  # type: ignore[method-assign,assignment]


def replace_report_listeners(environment: Environment, wrap: Callable[[ReportListener], ReportListener]) -> None:
    """Wrap Locust's own listeners to workers' reports. The runner and the statistics add theirs before any plugin, and
    Locust logs their exceptions as a defect.
    """
    reports = environment.events.worker_report
    reports._handlers = [  # noqa: SLF001
        wrap(handler) if handler.__module__.startswith("locust.") else handler
        for handler in reports._handlers  # noqa: SLF001
    ]


def clear_user_count(node: WorkerNode) -> None:
    """Make the master count no users for a worker. The worker may have reported some after it was given up, and the end of
    the test would wait for them.
    """
    node.user_classes_count = {}


def mark_missing(node: WorkerNode) -> None:
    """Make the master's next check of heartbeats find the worker missing."""
    node.heartbeat = -1


def forget_worker(runner: MasterRunner, client_id: str) -> bool:
    """Remove a worker from a master, as `MasterRunner.handle_message` does with one that quits. Returns False if the
    worker was unknown, or no users are distributed.
    """
    node = runner.clients.pop(client_id, None)
    dispatcher = runner._users_dispatcher  # noqa: SLF001
    if node is None or dispatcher is None:
        return False
    dispatcher.remove_worker(node)
    return True


def accept_any_spawn_message(runner: WorkerRunner) -> None:
    """Make a worker accept the next message to spawn users, of any time. `WorkerRunner.handle_message` ignores messages that
    are older than the last one by the master's clock, and the master may be another machine by now.
    """
    runner.last_received_spawn_timestamp = 0


def send_report_now(runner: WorkerRunner) -> None:
    """Send a worker's report between two regular ones. Raises RPCError if the master is unreachable."""
    runner._send_stats()  # noqa: SLF001
