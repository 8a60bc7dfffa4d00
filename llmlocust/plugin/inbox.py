"""What comes to the master's port, from workers or from anybody who reaches it.

Locust's listener ends with its first exception, and its master then hears no worker any more. Here a message that cannot
be read or handled is left out, and the console says so.

Importing this puts the server in place of Locust's, which looks its class up when a master starts.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
from locust.exception import RPCError, RPCReceiveError
from locust.rpc import Message, rpc
from locust.runners import MasterRunner

from llmlocust.plugin import console

_SAID_EVERY = 5.0
"""Seconds between two lines about messages that are left out: somebody may send many."""
_LOCUSTS = frozenset(
    {
        *("client_ready", "client_stopped", "exception", "heartbeat", "locustfile"),
        *("logs", "quit", "spawning", "spawning_complete", "stats"),
    }
)
"""The types of Locust's own messages to its master."""
_OF_WORKERS = frozenset({"exception", "logs"})
"""Those that Locust takes from any sender and that count."""


class _LeftOut:
    """The messages that were left out since the console had a line on them."""

    def __init__(self) -> None:
        self._many = 0
        self._say_next = 0.0

    def add(self, why: str) -> None:
        self._many += 1
        if monotonic() >= self._say_next:
            what = "a message" if self._many == 1 else f"{self._many} messages"
            console.error(f"left out {what} to the master's port: {why}")
            self._many, self._say_next = 0, monotonic() + _SAID_EVERY
        gevent.sleep(0)  # while messages wait, nothing else of the master would run


_left_out = _LeftOut()


class CarefulServer(rpc.Server):
    """The master's end of its port."""

    def recv_from_client(self) -> tuple[str, Message]:
        """Wait for the next message that can be read. RPCError where the socket is broken."""
        while True:
            try:
                sender, message = super().recv_from_client()
            except RPCReceiveError:
                _left_out.add("it is none of Locust's")
            except RPCError:
                raise
            except Exception as problem:  # msgpack, and what Locust makes of its values, raise many kinds
                _left_out.add(_in_words(problem))
            else:
                return sender, message


rpc.Server = CarefulServer  # type: ignore[misc]


def check_messages(runner: MasterRunner, is_worker: Callable[[str], bool]) -> None:
    """Leave out what Locust's master cannot handle. `is_worker` says whether a sender is a worker."""
    pass_on = guarded(runner.handle_message)

    def handle(sender: str, message: Message) -> None:
        if why := _fault_of(sender, message, runner, is_worker):
            _left_out.add(why)
        else:
            pass_on(sender, message)

    runner.handle_message = handle  # type: ignore[method-assign]
    reports = runner.environment.events.worker_report
    reports._handlers = [  # noqa: SLF001  # Locust has added its own, and logs what they raise as a defect
        guarded(handler) if handler.__module__.startswith("locust.") else handler
        for handler in reports._handlers  # noqa: SLF001
    ]


def _fault_of(sender: str, message: Message, runner: MasterRunner, is_worker: Callable[[str], bool]) -> str:
    """Why a message cannot be handled; empty where it can."""
    if message.node_id != sender:
        return "it does not bear the name of its sender"
    known = isinstance(message.type, str) and (message.type in _LOCUSTS or message.type in runner.custom_messages)
    if not known:
        return f"no message has the type {str(message.type)[:40]!r}"
    if message.type in _OF_WORKERS and not is_worker(sender):
        return f"{sender[:40]!r} is no worker"
    return ""


def guarded(handler: Callable[..., Any]) -> Callable[..., None]:
    """A handler that leaves out what it cannot handle."""

    def handle(*args: Any, **kwargs: Any) -> None:
        try:
            handler(*args, **kwargs)
        except Exception as problem:  # nonsense leads to many kinds
            _left_out.add(_in_words(problem))

    return handle


def _in_words(problem: Exception) -> str:
    return " ".join(f"{type(problem).__name__}: {problem}".split())[:120]
