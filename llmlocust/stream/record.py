"""`Record`: the result of one request. Everything after the socket reads Records.

docs/metrics.md has the definitions. All durations are in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from llmlocust.stream.tolerant import MAX_TOKENS, valid_count

OK = "ok"
STALL = 0.2
"""Default threshold in seconds: a longer inter-token latency is a stall."""

CUT = ("length", "max_tokens", "max_output_tokens")
"""Finish reasons of answers that reached their limit of tokens."""
_TAIL, _MAX_PIECE = 400, 100
_TOLERANCE = 0.01
"""Maximum difference in seconds between the kernel's clock and ours. The connection treats a larger one as a clock that \
was set."""
_TIMES, _ITLS, _COUNTS = (
    "times out of order",
    "inter-token latencies that do not fit the arrivals",
    "a count out of range",
)


class Merged(msgspec.Struct):
    """Consecutive ITLs of which only the sum is known: the generator was late and read their chunks together."""

    total: float
    estimates: list[float]
    """The estimates used for these ITLs: the chunks are spread evenly over the time in which they arrived."""
    exact: bool = True
    """False where `total` is only an upper bound: there is no chunk before the first one."""


class Record(msgspec.Struct):
    name: str = ""
    outcome: str = OK
    """OK, or the kind of the failure (one of ERROR_KINDS)."""
    error: str = ""
    """The error message without ids and numbers, so that equal failures have equal messages."""
    words: str = ""
    """The error message with its ids and numbers."""
    status: int = 0
    sent: float = 0.0
    """The moment of sending, on the Timeline's clock; for a request that was never sent, the moment it was asked for."""
    duration: float = 0.0
    """From `sent` until the response was complete or failed."""
    e2e: float | None = None
    """Last token-bearing delta − sent; for an answer that was not streamed, arrival of the whole body − sent."""
    ttft: float | None = None
    """First token-bearing delta − sent. None for an answer that was not streamed."""
    ttfo: float | None = None
    """First answer delta − sent."""
    tpot: float | None = None
    """(e2e − ttft) / (output tokens − tokens that had arrived at TTFT)."""
    ttft_bounds: tuple[float, float] | None = None
    """Bounds of `ttft` where the first chunk was read late and together with others; None where `ttft` is exact."""
    arrivals: list[float] = msgspec.field(default_factory=list)
    """Arrival time of each token-bearing chunk, after `sent`."""
    itls: list[float] = msgspec.field(default_factory=list)
    """Inter-token latencies (ITLs): times between consecutive arrivals."""
    stalls: int = 0
    coalesced: int = 0
    """Chunks that arrived in the same read as an earlier one."""
    coalesced_at: list[tuple[float, int]] = msgspec.field(default_factory=list)
    """For each such read: its time after `sent`, and the number of coalesced chunks."""
    merged: list[Merged] = msgspec.field(default_factory=list)
    """Those of the coalesced chunks that the generator read late: their single ITLs are not known."""
    delay: float | None = None
    """In open load, the moment of sending − the moment at which the request was due."""
    client_queue: float | None = None
    connect: float | None = None
    tls: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    inputs: int | None = None
    """Texts to embed or documents to rank that were sent; None where the answer is text."""
    token_source: str = ""
    """The source of the count of output tokens: usage, chunk_usage or chunks."""
    unread: str = ""
    """The fields of the stream that are not read, where the server counted tokens but none was seen."""
    finish: str = ""
    retry_after: float | None = None
    size: int = 0
    """Body bytes."""
    lags: list[float] = msgspec.field(default_factory=list)
    """How late each read was. The kernel's arrival times keep this out of all other durations."""
    lag_max: float | None = None
    lag_max_at: float = 0.0
    """Time of the longest of them, after `sent`."""
    clock: str = ""
    """The clock of the arrival times; empty where nothing arrived."""
    id: str = ""
    """The value of the header X-Request-Id."""
    text: str = ""
    reasoning: str = ""
    contradicts: str = ""
    """A contradiction in this record, which was bounded; empty without one."""
    right: bool | None = None
    """Whether the answer was judged right; None where it was not judged."""
    retried: tuple[str, ...] = ()
    """The outcomes of the attempts before the last one, oldest first. All else is the request as its user felt it: the last
    attempt's answer, with times after the first attempt was sent."""

    @property
    def ok(self) -> bool:
        return self.outcome == OK

    @property
    def empty(self) -> bool:
        """Whether the answer has no text, and no other content such as a tool call."""
        return self.ttfo is None and not self.text.strip()

    @property
    def cut(self) -> bool:
        """Whether the limit of tokens ended the answer."""
        return self.finish.lower() in CUT

    @property
    def repeated(self) -> bool:
        """Whether the answer ends in a text of 100 characters at most that is repeated again and again."""
        tail = self.text[-_TAIL:]
        # the repetition began where the last characters occurred before
        before = tail.rfind(tail[-_MAX_PIECE:], 0, -1)
        length = _TAIL - _MAX_PIECE - before
        return len(tail) == _TAIL and length <= _MAX_PIECE and tail.endswith(tail[:-length])

    @property
    def attempts(self) -> int:
        """Number of times that the request was sent, or that sending it failed."""
        return 1 + len(self.retried)

    @property
    def uncertain(self) -> int:
        """Number of ITLs that are not known one by one."""
        return sum(len(merged.estimates) for merged in self.merged)

    @property
    def chunks(self) -> int:
        """Number of token-bearing chunks."""
        return len(self.arrivals)


def after_retries(last: Record, failed: Sequence[Record]) -> Record:
    """Return the record of a request that was retried: its last attempt's, whose times count from the first one of `failed`."""
    first = failed[0]
    waited = last.sent - first.sent
    last.retried = tuple(attempt.outcome for attempt in failed)
    last.sent, last.delay = first.sent, first.delay
    last.client_queue, last.connect, last.tls = first.client_queue, first.connect, first.tls
    last.duration += waited
    last.lag_max_at += waited
    for name in ("e2e", "ttft", "ttfo"):
        value = getattr(last, name)
        if value is not None:
            setattr(last, name, value + waited)
    if last.ttft_bounds is not None:
        last.ttft_bounds = (last.ttft_bounds[0] + waited, last.ttft_bounds[1] + waited)
    last.arrivals = [arrival + waited for arrival in last.arrivals]
    last.coalesced_at = [(moment + waited, chunks) for moment, chunks in last.coalesced_at]
    return last


def bounded(record: Record, *, one_answer: bool = True) -> Record:
    """Return the record. Where it contradicts itself, its values are bounded and the record is marked, so that the run
    continues.

    Rules: 0 ≤ ttft ≤ ttfo ≤ e2e ≤ duration; the ITLs add up to the time between the first chunk and the last (of one
    answer; several answers have their own ITLs); no count is below zero or above MAX_TOKENS.
    """
    contradiction = _contradiction(record, one_answer=one_answer)
    if contradiction:
        record.contradicts = contradiction
        _bound_times(record, one_answer=one_answer)
        _bound_counts(record)
    return record


def _contradiction(record: Record, *, one_answer: bool) -> str:
    """Return the contradiction that exceeds the clocks' tolerance; empty without one. Plain code, as it runs per request."""
    end = record.e2e
    if end is not None:
        first = end if record.ttft is None else record.ttft
        answer = first if record.ttfo is None else record.ttfo
        # a NaN fails every comparison
        if not (
            -_TOLERANCE <= first <= answer + _TOLERANCE <= end + 2 * _TOLERANCE <= record.duration + 3 * _TOLERANCE
        ):
            return _TIMES
    elif record.duration < 0.0:
        return _TIMES
    itls, arrivals = record.itls, record.arrivals
    if itls:
        if min(itls) < -_TOLERANCE:
            return _ITLS
        between = arrivals[-1] - arrivals[0]
        if one_answer and (len(itls) != len(arrivals) - 1 or abs(sum(itls) - between) > _TOLERANCE):
            return _ITLS
    # a NaN fails every comparison
    if not (
        0 <= (record.input_tokens or 0) <= MAX_TOKENS
        and 0 <= (record.output_tokens or 0) <= MAX_TOKENS
        and 0 <= (record.reasoning_tokens or 0) <= MAX_TOKENS
    ):
        return _COUNTS
    return _COUNTS if record.stalls < 0 or record.coalesced < 0 else ""


def _bound_times(record: Record, *, one_answer: bool) -> None:
    """Move each time between sending and the end, and not before the time that it follows."""
    record.duration = max(0.0, record.duration)
    latest = 0.0
    for index, arrival in enumerate(record.arrivals):
        latest = record.arrivals[index] = _between(latest, arrival, record.duration)
    if one_answer:
        record.itls = [later - earlier for earlier, later in pairwise(record.arrivals)]
    else:
        record.itls = [_between(0.0, itl, record.duration) for itl in record.itls]
    earliest = 0.0
    for name in ("ttft", "ttfo", "e2e"):
        value = getattr(record, name)
        if value is not None:
            earliest = _between(earliest, value, record.duration)
            setattr(record, name, earliest)
    record.ttft_bounds, record.merged = None, []
    if record.tpot is not None and not 0.0 <= record.tpot <= record.duration:
        record.tpot = None


def _bound_counts(record: Record) -> None:
    for name in ("input_tokens", "output_tokens", "reasoning_tokens"):
        setattr(record, name, valid_count(getattr(record, name)))
    record.stalls, record.coalesced = max(0, record.stalls), max(0, record.coalesced)


def _between(low: float, value: float, high: float) -> float:
    """Return the value, limited to the interval; the lower end for NaN."""
    return min(max(low, high), max(low, value)) if value == value else low  # noqa: PLR0124  # NaN is not itself
