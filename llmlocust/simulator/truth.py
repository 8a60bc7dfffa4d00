"""The truth about each request: its arrival, and the time at which each of its tokens was written.

Times are nanoseconds of CLOCK_MONOTONIC, which is the same for a client on the same host. A token's time is taken right
before its bytes are handed to the kernel, so no client can receive it earlier. Tokens of one write have the same time.
"""

import math
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from llmlocust.stream.clocks import wall_minus

OPEN = "open"
COMPLETED, CANCELLED, REJECTED = "completed", "cancelled", "rejected"
TIMEOUT, OUT_OF_MEMORY, BAD_REQUEST, SLOW_CLIENT = "timeout", "out_of_memory", "bad_request", "slow_client"
RATE_LIMITED, PROXY_TIMEOUT = "rate_limited", "proxy_timeout"


class Record:
    """One request. `outcome` is one of the constants above, or the name of the fault that ended it."""

    __slots__ = (
        *("id", "endpoint", "received_ns", "admitted_ns", "ended_ns", "outcome", "status", "fault", "stream"),
        *("prompt_tokens", "planned_tokens", "writes_ns", "late_ns"),
    )

    def __init__(self, id_: str, endpoint: str, received_ns: int) -> None:
        self.id, self.endpoint, self.received_ns = id_, endpoint, received_ns
        self.admitted_ns = self.ended_ns = self.status = 0
        self.outcome, self.fault, self.stream = OPEN, "", False
        self.prompt_tokens = self.planned_tokens = 0
        self.writes_ns = array("q")  # one value per token
        self.late_ns = array("q")  # one value per write: its delay after its newest token was due

    def note_write(self, tokens: int, at_ns: int, late_ns: int) -> None:
        """Note one write and its tokens."""
        self.late_ns.append(late_ns)
        if tokens == 1:  # nearly always
            self.writes_ns.append(at_ns)
        else:
            self.writes_ns.extend((at_ns,) * tokens)

    def as_dict(self, epoch_minus_monotonic_ns: int) -> dict[str, Any]:
        received = self.received_ns
        return {
            "id": self.id,
            "endpoint": self.endpoint,
            "outcome": self.outcome,
            "status": self.status,
            "fault": self.fault,
            "stream": self.stream,
            "received_ns": received,
            "received_epoch": (received + epoch_minus_monotonic_ns) / 1e9,
            "admitted_us": (self.admitted_ns - received) // 1000 if self.admitted_ns else None,
            "ended_us": (self.ended_ns - received) // 1000 if self.ended_ns else None,
            "prompt_tokens": self.prompt_tokens,
            "planned_tokens": self.planned_tokens,
            "output_tokens": len(self.writes_ns),
            "writes_us": [(at - received) // 1000 for at in self.writes_ns],
            "late_ms": lateness(self.late_ns),
        }


def lateness(late_ns: Iterable[int]) -> dict[str, float] | None:
    """Return delays in milliseconds: mean, median, 99th percentile and maximum."""
    values = sorted(late_ns)
    if not values:
        return None
    return {
        "mean": _ms(sum(values) / len(values)),
        "p50": _ms(_percentile(values, 0.5)),
        "p99": _ms(_percentile(values, 0.99)),
        "max": _ms(values[-1]),
    }


def _percentile(ordered: Sequence[int], share: float) -> int:
    return ordered[math.ceil(share * len(ordered)) - 1]


def _ms(nanoseconds: float) -> float:
    return round(nanoseconds / 1e6, 4)


class Truth:
    """The newest requests, limited by their total number of tokens, and counts of all requests."""

    def __init__(self, token_limit: int) -> None:
        self._limit = token_limit
        self._open: dict[int, Record] = {}
        """The requests that have not ended, by id()."""
        self._ended: deque[Record] = deque()
        """The requests that have ended, in the order of their ends."""
        self._kept = self._tokens = 0
        self._outcomes, self._endpoints = Counter[str](), Counter[str]()
        self._loop_late_ns: deque[int] = deque(maxlen=100_000)
        self._epoch_minus_monotonic_ns = wall_minus(time.monotonic_ns)

    @property
    def open(self) -> int:
        """The number of requests that have not ended."""
        return len(self._open)

    def begin(self, record: Record) -> Record:
        self._open[id(record)] = record
        self._endpoints[record.endpoint] += 1
        return record

    def end(self, record: Record, outcome: str, now_ns: int) -> None:
        """Note the end of a request. Above the limit of tokens, the requests that ended first are removed."""
        record.outcome, record.ended_ns = outcome, now_ns
        if self._open.pop(id(record), None):
            self._ended.append(record)
        self._outcomes[outcome] += 1
        self._tokens += len(record.writes_ns)
        self._kept += _weight(record)
        while self._kept > self._limit and len(self._ended) > 1:
            self._kept -= _weight(self._ended.popleft())

    def note_loop_delay(self, late_ns: int) -> None:
        """Note the delay with which the server's event loop handled a step."""
        self._loop_late_ns.append(late_ns)

    def clear(self) -> None:
        """Remove all requests that have ended."""
        self._ended.clear()
        self._outcomes.clear()
        self._endpoints.clear()
        self._loop_late_ns.clear()
        self._kept = self._tokens = 0
        self._endpoints.update(record.endpoint for record in self._open.values())

    @property
    def _records(self) -> list[Record]:
        """All requests that are kept, oldest first."""
        return sorted([*self._ended, *self._open.values()], key=lambda record: record.received_ns)

    def lines(self) -> Iterator[bytes]:
        """Return one JSON object per request, oldest first. A million tokens take a second: call this after the load."""
        encode = msgspec.json.Encoder().encode
        return (encode(record.as_dict(self._epoch_minus_monotonic_ns)) + b"\n" for record in self._records)

    def summary(self) -> dict[str, Any]:
        records, open_requests = self._records, len(self._open)
        late = (delay for record in records for delay in record.late_ns)
        written = self._tokens + sum(len(record.writes_ns) for record in self._open.values())
        return {
            "received": dict(self._endpoints),
            "outcomes": dict(self._outcomes) | ({OPEN: open_requests} if open_requests else {}),
            "tokens": written,
            "requests_kept": len(records),
            "write_late_ms": lateness(late),
            "loop_late_ms": lateness(self._loop_late_ns),
            "clock": {"monotonic_ns": time.monotonic_ns(), "epoch_ns": time.time_ns()},
        }


def _weight(record: Record) -> int:
    return 1 + len(record.writes_ns)
