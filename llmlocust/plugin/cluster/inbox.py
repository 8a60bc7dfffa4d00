"""Checks messages that arrive at the master's port, from workers or from any other program that reaches it.

Locust's listener ends with its first exception; its master then receives nothing from any worker. This module makes the
master ignore a message that it cannot read or handle. The console reports this, and with `--loglevel DEBUG` the log has
the traceback.

Importing this module replaces Locust's server class, which Locust looks up when a master starts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any, ClassVar

import gevent
from locust.exception import RPCError, RPCReceiveError
from locust.rpc import Message, rpc
from locust.runners import MasterRunner

from llmlocust.plugin import console, locust_patches

_REPORT_INTERVAL = 5.0
"""Seconds between two lines about ignored messages, as a port may receive many."""
_LOCUST_MESSAGES = frozenset(
    {
        *("client_ready", "client_stopped", "exception", "heartbeat", "locustfile"),
        *("logs", "quit", "spawning", "spawning_complete", "stats"),
    }
)
"""The types of Locust's messages to its master."""
_WORKER_MESSAGES = frozenset({"exception", "logs"})
"""The types that Locust accepts from any sender. llmlocust accepts them only from a worker."""


class _Ignored:
    """The ignored messages that no line on the console has reported yet."""

    def __init__(self) -> None:
        self._count = 0
        self._next_report = 0.0

    def add(self, reason: str) -> None:
        self._count += 1
        if monotonic() >= self._next_report:
            messages = "a message" if self._count == 1 else f"{self._count} messages"
            console.error(f"ignored {messages} at the master's port: {reason}")
            self._count, self._next_report = 0, monotonic() + _REPORT_INTERVAL
        gevent.sleep(0)  # otherwise nothing else in the master would run while messages wait


_ignored = _Ignored()
_log = logging.getLogger(__name__)


class CarefulServer(rpc.Server):
    """The master's server socket, which ignores messages that it cannot read, and keeps when users were last spawned."""

    spawn_times: ClassVar[dict[str, float]] = {}
    """The time stamp of the last spawn message to each worker, by its id. The class keeps it, because Locust makes a new
    server after a failure of the socket.
    """

    def send_to_client(self, msg: Message) -> None:
        """Send a message to the worker that it names. Raises RPCError if the socket is broken."""
        if msg.type == "spawn":
            self.spawn_times[msg.node_id] = msg.data["timestamp"]
        super().send_to_client(msg)

    def recv_from_client(self) -> tuple[str, Message]:
        """Wait for the next message that can be read. Raises RPCError if the socket is broken."""
        while True:
            try:
                sender, message = super().recv_from_client()
            except RPCReceiveError:
                _ignored.add("it is not a message of Locust")
            except RPCError:
                raise
            except Exception as problem:  # msgpack and Locust's own decoding raise many kinds
                _ignored.add(_description(problem))
            else:
                return sender, message


locust_patches.use_server(CarefulServer)


def check_messages(runner: MasterRunner, is_worker: Callable[[str], bool]) -> None:
    """Have the master ignore messages that it cannot handle. `is_worker` says whether a sender is a worker."""

    def checked(handler: locust_patches.MessageHandler) -> locust_patches.MessageHandler:
        forward = guarded(handler)

        def handle(sender: str, message: Message) -> None:
            if fault := _fault_of(sender, message, runner, is_worker):
                _ignored.add(fault)
            else:
                forward(sender, message)

        return handle

    locust_patches.replace_message_handler(runner, checked)
    locust_patches.replace_report_listeners(runner.environment, guarded)


def _fault_of(sender: str, message: Message, runner: MasterRunner, is_worker: Callable[[str], bool]) -> str:
    """Return why a message cannot be handled; empty if it can."""
    if message.node_id != sender:
        return "it names a sender that did not send it"
    known = isinstance(message.type, str) and (
        message.type in _LOCUST_MESSAGES or message.type in runner.custom_messages
    )
    if not known:
        return f"unknown message type {str(message.type)[:40]!r}"
    if message.type in _WORKER_MESSAGES and not is_worker(sender):
        return f"{sender[:40]!r} is not a worker"
    return ""


def guarded(handler: Callable[..., Any]) -> Callable[..., None]:
    """Return a handler that ignores a message that raises an exception in it."""

    def handle(*args: Any, **kwargs: Any) -> None:
        try:
            handler(*args, **kwargs)
        except Exception as problem:  # which kind depends on the message
            _log.debug("ignored a message", exc_info=True)
            _ignored.add(_description(problem))

    return handle


def _description(problem: Exception) -> str:
    return " ".join(f"{type(problem).__name__}: {problem}".split())[:120]
