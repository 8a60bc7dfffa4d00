"""Proxy: listens, and keeps the connections and the faults that are set."""

from __future__ import annotations

import asyncio
import errno
import gc
import random
import resource
import socket
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any

from llmlocust.faults.proxy.active import ActiveFault
from llmlocust.faults.proxy.connections import RESET, Connection
from llmlocust.faults.proxy.faults import CONNECTIONS, Fault
from llmlocust.faults.proxy.settings import Settings, State

_BACKLOG = 4096
_ACCEPTS_AT_ONCE = 64
_PAUSE_WITHOUT_FILES = 0.1
"""Seconds without accepting when no further file can be opened."""
_MAX_CLEARED = 1000
"""Number of faults whose counters are kept after they have been cleared."""
_GC_THRESHOLD = 50_000


class Proxy:
    """A fault proxy. All methods are called in the thread of its event loop."""

    def __init__(self, settings: Settings) -> None:
        self._state = State(settings)
        self._state.note_change()
        self._cleared: list[ActiveFault] = []
        self._times_set: Counter[str] = Counter()
        self._last_id = 0
        self._connections: dict[Connection, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._listener: socket.socket | None = None

    @property
    def settings(self) -> Settings:
        """The settings, with the port once the proxy listens."""
        return self._state.settings

    # listening

    def start(self) -> int:
        """Listen, and return the port. Raises OSError."""
        self._listener = _bound(self.settings.host, self.settings.port)
        self._state.settings = self.settings.with_port(self._listener.getsockname()[1])
        self._listen()
        return self.settings.port

    def stop(self) -> None:
        """Close all sockets."""
        if self._listener:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for task in self._tasks:
            task.cancel()
        for connection in list(self._connections):
            connection.abort()

    @property
    def is_listening(self) -> bool:
        """Whether the kernel accepts connections for the proxy."""
        listener = self._listener
        return bool(listener and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))

    def _listen(self) -> None:
        assert self._listener
        self._listener.listen(_BACKLOG)
        self._loop.add_reader(self._listener, self._accept)

    def _refuse_all(self) -> None:
        """Refuse connections. A socket that does not listen keeps the port for the proxy."""
        assert self._listener
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._listener = _bound(self.settings.host, self.settings.port)

    def _accept(self) -> None:
        assert self._listener
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                accepted, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:
                if problem.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._loop.remove_reader(self._listener)
                    self._loop.call_later(_PAUSE_WITHOUT_FILES, self._resume_accepting, self._listener)
                    return
                raise
            self._begin(accepted)

    def _resume_accepting(self, listener: socket.socket) -> None:
        if listener is self._listener and self.is_listening:
            self._loop.add_reader(listener, self._accept)

    def _begin(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        self._state.counters.connections += 1
        faults = [active for active in self._state.faults if active.draw(CONNECTIONS)]
        if refusal := next((active for active in faults if active.kind == "refuse"), None):
            refusal.counters.act()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            accepted.close()
            return
        connection = Connection(self._state, faults, self._forget)
        self._connections[connection] = None
        self._state.counters.open += 1
        task = self._loop.create_task(connection.open(accepted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _forget(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        if connection in self._connections:
            del self._connections[connection]
            self._state.counters.open -= 1
            self._state.counters.bytes_up += connection.up.bytes
            self._state.counters.bytes_down += connection.down.bytes

    # faults

    def set(self, fault: Fault, fault_id: str = "") -> ActiveFault:
        """Let a fault act from now on, also on connections that are open. Raises ValueError if the id is
        that of another one.
        """
        if any(active.id == fault_id for active in self._state.faults):
            raise ValueError(f"a fault with the id {fault_id!r} is set already")
        self._last_id += 1
        text = str(fault)
        # the same fault, set again, draws other numbers; each time the same ones with the same seed
        dice = random.Random(f"{self.settings.seed} {self._times_set[text]} {text}")
        self._times_set[text] += 1
        active = ActiveFault(fault_id or f"fault-{self._last_id}", fault, dice)
        self._state.faults.append(active)
        self._state.note_change()
        if fault.kind == "down" or (fault.kind == "refuse" and fault.is_of_all):
            self._cut_off(active)
        elif fault.kind != "refuse":  # which concerns new connections
            for connection in list(self._connections):
                if active.draw(CONNECTIONS):
                    connection.add(active)
        return active

    def clear(self, fault_id: str = "") -> list[ActiveFault]:
        """Let a fault act no longer, or all faults without an id. Raises KeyError if there is none with the id."""
        cleared = [active for active in self._state.faults if fault_id in ("", active.id)]
        if fault_id and not cleared:
            raise KeyError(fault_id)
        for active in cleared:
            self._state.faults.remove(active)
            active.cleared = time.time()
        self._state.note_change()
        for active in cleared:
            for connection in list(self._connections):
                connection.remove(active)
        if self._listener and not self.is_listening and not any(map(_refuses_all, self._state.faults)):
            self._listen()
        self._cleared = [*self._cleared, *cleared][-_MAX_CLEARED:]
        return cleared

    def _cut_off(self, active: ActiveFault) -> None:
        """Refuse new connections; for `down`, close those that are open."""
        if self.is_listening:
            self._refuse_all()
        active.counters.act()
        if active.kind == "down":
            for connection in list(self._connections):
                active.counters.connections += 1
                connection.abort()

    def report(self) -> dict[str, Any]:
        """Return all counters."""
        counters = replace(
            self._state.counters,
            bytes_up=self._state.counters.bytes_up + sum(connection.up.bytes for connection in self._connections),
            bytes_down=self._state.counters.bytes_down + sum(connection.down.bytes for connection in self._connections),
        )
        return {
            "time": time.time(),
            "listening": self.is_listening,
            "waiting_bytes": sum(connection.waiting for connection in self._connections),
            **counters.as_json(),
            "last_failure": self._state.last_failure,
            "faults": [active.as_json() for active in self._state.faults],
            "cleared": [active.as_json() for active in self._cleared],
        }


def _refuses_all(active: ActiveFault) -> bool:
    return active.kind == "down" or (active.kind == "refuse" and active.fault.is_of_all)


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that has an address, but does not listen yet. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def prepare_process() -> None:
    """Allow as many open files as the system permits, and let the collection of garbage delay few tokens."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 50, 100)
