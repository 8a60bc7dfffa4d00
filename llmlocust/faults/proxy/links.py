"""Link: one direction of a connection. It forwards bytes at once, or late, slowly or in slices while faults say so.

A piece of data that is forwarded at once is written by the call that read it. The other pieces wait in a queue, in which
the end of the data and the end of an exchange wait, too, so that nothing overtakes anything.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from llmlocust.faults.proxy.active import ActiveFault
from llmlocust.faults.proxy.faults import BOTH

QUEUE_LIMIT = 1024 * 1024
"""Bytes that wait in a link before reading pauses."""
_QUANTUM = 0.01
"""Seconds of data that a bandwidth writes at once: a whole piece at once would arrive in bursts."""
_MAX_LAG = 0.05
"""Seconds that a slow link makes up for when the event loop was late; a longer pause is lost, as in a real link."""


Item = bytes | memoryview | Callable[[], None]
"""An entry of the queue: data, or a function that is called when all data before it is written."""


class Source(Protocol):
    """The side from which a link gets its data. Reading pauses while there is a reason to."""

    def pause(self, reason: str) -> None: ...
    def resume(self, reason: str) -> None: ...


class Shape:
    """The faults that shape the data of a link."""

    def __init__(self, faults: Iterable[ActiveFault]) -> None:
        kinds: dict[str, list[ActiveFault]] = {}
        for fault in faults:
            kinds.setdefault(fault.kind, []).append(fault)
        self.latencies = kinds.get("latency", [])
        self.blackholes = kinds.get("blackhole", [])
        self.bandwidth = min(kinds.get("bandwidth", []), key=lambda active: active.fault.size, default=None)
        self.slices = min(kinds.get("slice", []), key=lambda active: active.fault.size, default=None)

    def delay(self, size: int) -> float:
        """Count the faults that concern a piece of data which arrives now, and return its delay in seconds."""
        for fault in self.blackholes:
            fault.counters.act(size)
        delay = 0.0
        for fault in self.latencies:
            fault.counters.act(size)
            delay += fault.delay()
        return max(delay, 0.0)

    def part(self, size: int) -> tuple[int, float]:
        """Return the number of bytes to write now, and the seconds until the next may be written. Counts what acts."""
        part, pause = size, 0.0
        if self.bandwidth:
            rate = self.bandwidth.fault.size
            part = min(part, max(1, int(rate * _QUANTUM)))
        if self.slices:
            part = min(part, int(self.slices.fault.size))
            pause = self.slices.fault.seconds
            self.slices.counters.act(part)
        if self.bandwidth:
            pause = max(pause, part / rate)
            self.bandwidth.counters.act(part)
        return part, pause


_SHAPES = ("latency", "blackhole", "bandwidth", "slice")


class Link:
    """Forwards the data of a source to the transport of the other side."""

    def __init__(self, direction: str, source: Source) -> None:
        self.direction, self._source = direction, source
        self._loop = asyncio.get_running_loop()
        self._write: Callable[[bytes | memoryview], None] | None = None
        self._shape: Shape | None = None
        self._queue: deque[tuple[float, Item]] = deque()
        self._queued = 0
        self._last_due = 0.0
        self._free_at = 0.0
        """Time at which a slow link may write again."""
        self._timer: asyncio.TimerHandle | None = None
        self.bytes = 0
        """Bytes that the source sent."""

    def connect(self, transport: asyncio.WriteTransport) -> None:
        """Set the transport to which the data goes."""
        self._write = transport.write
        self._pump()

    @property
    def queued(self) -> int:
        """Bytes that wait."""
        return self._queued

    def shape(self, faults: Iterable[ActiveFault]) -> None:
        """Let these faults, and no others, shape the data from now on, also data that waits."""
        chosen = [
            fault for fault in faults if fault.kind in _SHAPES and fault.fault.direction in (self.direction, BOTH)
        ]
        had_latency = bool(self._shape and self._shape.latencies)
        self._shape = Shape(chosen) if chosen else None
        if self._shape:
            for fault in self._shape.blackholes:
                if self._queued and not fault.counters.acted:
                    fault.counters.act(self._queued)
        else:
            self._free_at = 0.0
        if had_latency and not (self._shape and self._shape.latencies):
            self.hasten()
        elif self._queue:
            self._pump()

    def hasten(self) -> None:
        """Let all that waits be due now."""
        self._queue = deque((0.0, item) for _, item in self._queue)
        self._last_due = 0.0
        if self._queue:
            self._pump()

    def forward(self, data: bytes) -> None:
        """Send data to the other side, now or when it is due."""
        self.bytes += len(data)
        if self._shape is None and not self._queue and self._write:
            self._write(data)
        else:
            self._queued += len(data)
            self._enqueue(data, self._shape.delay(len(data)) if self._shape else 0.0)

    def then(self, call: Callable[[], None], delay: float = 0.0) -> None:
        """Call a function when all data so far is written, and these seconds have passed."""
        if not self._queue and not delay and not (self._shape and self._shape.blackholes):
            call()
        else:
            self._enqueue(call, delay)

    def close(self) -> None:
        """Forget the data that waits."""
        self._queue.clear()
        self._queued = 0
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _enqueue(self, item: Item, delay: float) -> None:
        due = self._loop.time() + delay if delay else 0.0
        self._last_due = due = max(due, self._last_due)  # data keeps its order
        self._queue.append((due, item))
        if self._queued > QUEUE_LIMIT:
            self._source.pause("queue")
        if not self._timer:
            self._pump()

    def _pump(self) -> None:
        """Write the data that is due, and set a timer for the next."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while self._queue and self._write and not (self._shape and self._shape.blackholes):
            due, item = self._queue[0]
            now = self._loop.time()
            due = max(due, self._free_at)
            if due > now:
                self._timer = self._loop.call_at(due, self._pump)
                break
            self._queue.popleft()
            if callable(item):
                item()
            else:
                self._send(item, due, now)
        if self._queued <= QUEUE_LIMIT // 2:
            self._source.resume("queue")

    def _send(self, data: bytes | memoryview, due: float, now: float) -> None:
        assert self._write
        part, pause = self._shape.part(len(data)) if self._shape else (len(data), 0.0)
        if pause:
            # counted from the moment at which it was due, so that timers that are late add up to no delay
            self._free_at = max(due, now - _MAX_LAG) + pause
        if part < len(data):
            self._queue.appendleft((due, memoryview(data)[part:]))
        self._queued -= part
        self._write(data[:part])
