"""The check of messages that arrive at the master's port, from workers or from any other program that reaches it.

Locust's listener ends with its first exception; its master then receives nothing from any worker. Here the master ignores
a message that it cannot read or handle, and the console says so. With `--loglevel DEBUG` the log has the traceback.

Importing this module replaces Locust's server class, which Locust looks up when a master starts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
from locust.exception import RPCError, RPCReceiveError
from locust.rpc import Message, rpc
from locust.runners import MasterRunner

from llmlocust.plugin import console, locust_patches

_SAID_EVERY = 5.0
"""Seconds between two lines about ignored messages: there may be many."""
_LOCUSTS = frozenset(
    {
        *("client_ready", "client_stopped", "exception", "heartbeat", "locustfile"),
        *("logs", "quit", "spawning", "spawning_complete", "stats"),
    }
)
"""The types of Locust's own messages to its master."""
_OF_WORKERS = frozenset({"exception", "logs"})
"""The types that Locust accepts from any sender; here only from a worker."""


class _Ignored:
    """The ignored messages that no line on the console has reported yet."""

    def __init__(self) -> None:
        self._many = 0
        self._say_next = 0.0

    def add(self, why: str) -> None:
        self._many += 1
        if monotonic() >= self._say_next:
            what = "a message" if self._many == 1 else f"{self._many} messages"
            console.error(f"ignored {what} at the master's port: {why}")
            self._many, self._say_next = 0, monotonic() + _SAID_EVERY
        gevent.sleep(0)  # while messages wait, nothing else of the master would run


_ignored = _Ignored()
_log = logging.getLogger(__name__)


class CarefulServer(rpc.Server):
    """The master's end of its port."""

    def recv_from_client(self) -> tuple[str, Message]:
        """Wait for the next message that can be read. RPCError where the socket is broken."""
        while True:
            try:
                sender, message = super().recv_from_client()
            except RPCReceiveError:
                _ignored.add("it is none of Locust's")
            except RPCError:
                raise
            except Exception as problem:  # msgpack, and what Locust makes of its values, raise many kinds
                _ignored.add(_in_words(problem))
            else:
                return sender, message


locust_patches.use_server(CarefulServer)


def check_messages(runner: MasterRunner, is_worker: Callable[[str], bool]) -> None:
    """Have the master ignore messages that it cannot handle. `is_worker` says whether a sender is a worker."""

    def checked(handler: locust_patches.MessageHandler) -> locust_patches.MessageHandler:
        pass_on = guarded(handler)

        def handle(sender: str, message: Message) -> None:
            if why := _fault_of(sender, message, runner, is_worker):
                _ignored.add(why)
            else:
                pass_on(sender, message)

        return handle

    locust_patches.replace_message_handler(runner, checked)
    locust_patches.replace_report_listeners(runner.environment, guarded)


def _fault_of(sender: str, message: Message, runner: MasterRunner, is_worker: Callable[[str], bool]) -> str:
    """Why a message cannot be handled; empty where it can."""
    if message.node_id != sender:
        return "it names another sender than the one that sent it"
    known = isinstance(message.type, str) and (message.type in _LOCUSTS or message.type in runner.custom_messages)
    if not known:
        return f"no message has the type {str(message.type)[:40]!r}"
    if message.type in _OF_WORKERS and not is_worker(sender):
        return f"{sender[:40]!r} is no worker"
    return ""


def guarded(handler: Callable[..., Any]) -> Callable[..., None]:
    """Return a handler that ignores a message that raises an exception in it."""

    def handle(*args: Any, **kwargs: Any) -> None:
        try:
            handler(*args, **kwargs)
        except Exception as problem:  # which kind depends on the message
            _log.debug("ignored a message", exc_info=True)
            _ignored.add(_in_words(problem))

    return handle


def _in_words(problem: Exception) -> str:
    return " ".join(f"{type(problem).__name__}: {problem}".split())[:120]
