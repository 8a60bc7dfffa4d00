"""Every place where the plugin replaces something of Locust's own, because Locust has no hook for it.

All were read against Locust 2.47.0. Each says where Locust uses what is replaced.
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
    """Have Locust write its CSV files with another class: its own closes them without the last second. `locust.main`
    looks the class up when it starts.
    """
    locust.stats.StatsCSVFileWriter = writer  # type: ignore[misc]


def use_server(server: type[rpc.Server]) -> None:
    """Have masters listen with another class: the listener ends with the first exception of Locust's own. `MasterRunner`
    looks the class up when it is made.
    """
    rpc.Server = server  # type: ignore[misc]


def look_options_up_once() -> None:
    """Keep what `argument_parser.default_args_dict` returns. `WorkerRunner.handle_message` calls it for each option of each
    message to spawn users, and it builds a parser of all options: the event loop stands still for 0.3 s at each level,
    on a slow machine for seconds.
    """
    if not hasattr(argument_parser.default_args_dict, "cache_info"):
        argument_parser.default_args_dict = cache(argument_parser.default_args_dict)


def wait_for_silent_workers(seconds: int) -> None:
    """Have masters give up a worker after so many seconds of silence, instead of three. `MasterRunner.handle_message` starts
    each worker's count from there.
    """
    runners.HEARTBEAT_LIVENESS = seconds


def replace_quit(runner: MasterRunner, quit_: Callable[[], None]) -> Callable[[], None]:
    """Have a master quit in another way, and return Locust's own: that one waits for half a second only, and what workers
    say later is lost.
    """
    own = runner.quit
    runner.quit = quit_  # type: ignore[method-assign]
    return own


def replace_send(runner: MasterRunner, send: Callable[[Message], None]) -> Callable[[Message], None]:
    """Have a master send messages in another way, and return Locust's own: nothing else shows which message to spawn users
    a worker was sent last.
    """
    own: Callable[[Message], None] = runner.server.send_to_client
    runner.server.send_to_client = send
    return own


def replace_message_handler(runner: MasterRunner, made: Callable[[MessageHandler], MessageHandler]) -> None:
    """Have a master handle messages with what `made` makes of Locust's own handler. `MasterRunner.client_listener` ends with
    an exception of the handler, and the master then receives nothing from any worker.
    """
    runner.handle_message = made(runner.handle_message)  # type: ignore[method-assign,assignment]


def replace_report_listeners(environment: Environment, made: Callable[[ReportListener], ReportListener]) -> None:
    """Replace Locust's own listeners to workers' reports by what `made` makes of them. The runner and the statistics have
    added theirs before any plugin, and Locust logs what they raise as a defect.
    """
    reports = environment.events.worker_report
    reports._handlers = [  # noqa: SLF001
        made(handler) if handler.__module__.startswith("locust.") else handler
        for handler in reports._handlers  # noqa: SLF001
    ]


def take_users_from(node: WorkerNode) -> None:
    """Have the master count no users for a worker: it may have reported some after it was given up, and the end of the
    test would wait for them.
    """
    node.user_classes_count = {}


def give_up(node: WorkerNode) -> None:
    """Have the master's next look at heartbeats find the worker missing."""
    node.heartbeat = -1


def forget_worker(runner: MasterRunner, client_id: str) -> bool:
    """Have a master forget a worker, as `MasterRunner.handle_message` does with one that quits. False: it has no users."""
    node = runner.clients.pop(client_id, None)
    dispatcher = runner._users_dispatcher  # noqa: SLF001
    if node is None or dispatcher is None:
        return False
    dispatcher.remove_worker(node)
    return True


def take_spawn_messages_of_any_time(runner: WorkerRunner) -> None:
    """Have a worker follow the next message to spawn users. `WorkerRunner.handle_message` ignores those that are older than
    the last one, by the clock of the master, and that may be another machine by now.
    """
    runner.last_received_spawn_timestamp = 0


def send_report_now(runner: WorkerRunner) -> None:
    """Send a worker's report between two of the regular ones. RPCError where the master cannot be reached."""
    runner._send_stats()  # noqa: SLF001
