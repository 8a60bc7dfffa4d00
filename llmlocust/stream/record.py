"""`Record`: what one request came to. Everything after the socket reads Records.

The definitions are DESIGN's, and docs/metrics.md states them for readers. All durations are seconds.
"""

from __future__ import annotations

import msgspec

OK = "ok"
STALL = 0.2
"""A gap between tokens above this is a stall, unless told otherwise."""


class Record(msgspec.Struct):
    name: str = ""
    outcome: str = OK
    """OK, or the kind of its failure (numbers.formats.ERROR_KINDS)."""
    error: str = ""
    """What was said of the failure, without ids and numbers, so that equal failures read equal."""
    status: int = 0
    sent: float = 0.0
    """When, on the Timeline's clock; for a request that was never sent, when it was asked for."""
    duration: float = 0.0
    """From `sent` until the response was complete or failed."""
    e2e: float | None = None
    """Last token-bearing delta − sent; the whole body's arrival for an answer that was not streamed."""
    ttft: float | None = None
    """First token-bearing delta − sent. None for an answer that was not streamed: it cannot be known."""
    answer: float | None = None
    """First answer delta − sent."""
    tpot: float | None = None
    """(e2e − ttft) / (output tokens − tokens that were there at TTFT)."""
    arrivals: list[float] = msgspec.field(default_factory=list)
    """When each token-bearing chunk arrived, after `sent`."""
    gaps: list[float] = msgspec.field(default_factory=list)
    """Between neighbouring arrivals."""
    stalls: int = 0
    coalesced: int = 0
    """Chunks that came in the same read as an earlier one: their gap of zero is not the server's."""
    wait: float | None = None
    connect: float | None = None
    tls: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    token_source: str = ""
    """usage, chunk_usage or chunks: who counted the output tokens."""
    finish: str = ""
    retry_after: float | None = None
    size: int = 0
    """Body bytes."""
    lags: list[float] = msgspec.field(default_factory=list)
    """How long each read had waited for us: what the kernel's arrival times save from the numbers."""
    lag_max_at: float = 0.0
    """When the longest of them was, after `sent`."""
    clock: str = ""
    """The Timeline's; empty where nothing arrived."""
    id: str = ""
    """What was sent as X-Request-Id."""
    text: str = ""
    reasoning: str = ""

    @property
    def ok(self) -> bool:
        return self.outcome == OK

    @property
    def chunks(self) -> int:
        """Token-bearing chunks."""
        return len(self.arrivals)
