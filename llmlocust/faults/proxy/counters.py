"""Counters of the proxy and of each fault, which confirm that a fault acts, and that it no longer does. Pure."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class FaultCounters:
    """Counts of what one fault did."""

    acted: int = 0
    """Number of times that the fault acted. Its unit depends on the kind (docs/faults.md): connections that were closed,
    refused or reset, pieces of data that were late, streams that were cut, statuses that were sent, …"""
    connections: int = 0
    """Connections that the fault was drawn for."""
    requests: int = 0
    """Requests that the fault was drawn for."""
    bytes: int = 0
    """Bytes that were delayed, slowed down or kept."""
    first: float | None = None
    """Time of the first action, in seconds since the epoch."""
    last: float | None = None

    def act(self, size: int = 0) -> None:
        """Count an action on this number of bytes."""
        now = time.time()
        if self.first is None:
            self.first = now
        self.acted, self.bytes, self.last = self.acted + 1, self.bytes + size, now

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class ProxyCounters:
    """Counts of the proxy, whatever faults are set."""

    connections: int = 0
    """Connections that were accepted, also those that a fault closed at once."""
    open: int = 0
    requests: int = 0
    """Requests whose beginning was seen. A request is seen if it begins a piece of data, as those of HTTP clients do."""
    upstream_failures: int = 0
    """Connections to the server that could not be opened. The client's connection is reset."""
    unparsed: int = 0
    """Exchanges that were forwarded without faults, because their bytes are not HTTP/1."""
    bytes_up: int = 0
    """Bytes from clients."""
    bytes_down: int = 0
    """Bytes from the server, and of answers that the proxy gave itself."""
    statuses: dict[str, int] = field(default_factory=dict)
    """Answers that the proxy gave itself, by status."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
