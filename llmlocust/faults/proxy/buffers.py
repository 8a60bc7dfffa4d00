"""Buffer: keeps a response until enough of it has arrived, or a time has passed, as a proxy in front of a server may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmlocust.faults.proxy.active import ActiveFault

LIMIT = 64 * 1024 * 1024
"""Bytes that a buffer keeps at most. A larger response is sent in blocks of this size."""


class Buffer:
    """Sends its data in blocks: of the size of its fault, or once in the time of its fault, or all at the end."""

    def __init__(self, active: ActiveFault, send: Callable[[bytes], None]) -> None:
        self.active, self._send = active, send
        self._kept: list[bytes] = []
        self.size = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, data: bytes) -> None:
        fault = self.active.fault
        self.active.counters.act(len(data))
        self._kept.append(data)
        self.size += len(data)
        if self.size >= (fault.size or LIMIT):
            self.flush()
        elif fault.seconds and not self._timer:
            self._timer = asyncio.get_running_loop().call_later(fault.seconds, self.flush)

    def flush(self) -> None:
        data = b"".join(self._kept)
        self.close()
        if data:
            self._send(data)

    def close(self) -> None:
        """Forget the data."""
        self._kept.clear()
        self.size = 0
        if self._timer:
            self._timer.cancel()
            self._timer = None
