"""`Record`: what one request came to. Everything after the socket reads Records.

The definitions are DESIGN's, and docs/metrics.md states them for readers. All durations are seconds.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec

from llmlocust.stream.tolerant import MAX_TOKENS, believable

OK = "ok"
STALL = 0.2
"""A gap between tokens above this is a stall, unless told otherwise."""

CUT = ("length", "max_tokens", "max_output_tokens")
"""What servers say where an answer reached its limit of tokens."""
_TAIL, _LONGEST_PIECE = 400, 100
_TOLERANCE = 0.01
"""Seconds by which the kernel's clock and ours may differ about one moment: connection.py takes no more for a clock \
that was set."""
_TIMES, _GAPS, _COUNTS = "times out of order", "gaps that are not those between the chunks", "a count out of range"


class Merged(msgspec.Struct):
    """Neighbouring gaps of which only the sum is known: their chunks waited for us, and were read together."""

    total: float
    guesses: list[float]
    """What stands for them among the gaps: the chunks spread evenly over the time in which they came."""
    exact: bool = True
    """False where even the sum is only known not to be more: before the first chunk there is no other."""


class Record(msgspec.Struct):
    name: str = ""
    outcome: str = OK
    """OK, or the kind of its failure (metrics.vocabulary.ERROR_KINDS)."""
    error: str = ""
    """What was said of the failure, without ids and numbers, so that equal failures read equal."""
    words: str = ""
    """What was said of the failure, with its ids and numbers."""
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
    ttft_bounds: tuple[float, float] | None = None
    """Between these it lies, where the first chunk was read late and together with others; None: it is exact."""
    arrivals: list[float] = msgspec.field(default_factory=list)
    """When each token-bearing chunk arrived, after `sent`."""
    gaps: list[float] = msgspec.field(default_factory=list)
    """Between neighbouring arrivals."""
    stalls: int = 0
    coalesced: int = 0
    """Chunks that came in the same read as an earlier one."""
    coalesced_at: list[tuple[float, int]] = msgspec.field(default_factory=list)
    """When, after `sent`, and how many at once."""
    merged: list[Merged] = msgspec.field(default_factory=list)
    """Of these, those that did so because we read late: what their gaps were is not known one by one."""
    delay: float | None = None
    """In open load, sent − when it was due."""
    wait: float | None = None
    connect: float | None = None
    tls: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    inputs: int | None = None
    """Texts to embed or documents to rank that were sent; None where the answer is text."""
    token_source: str = ""
    """usage, chunk_usage or chunks: who counted the output tokens."""
    unread: str = ""
    """Where the server counted tokens and none of them was seen: the fields of the stream that are not read."""
    finish: str = ""
    retry_after: float | None = None
    size: int = 0
    """Body bytes."""
    lags: list[float] = msgspec.field(default_factory=list)
    """How long each read had waited for us: what the kernel's arrival times save from the numbers."""
    lag_max: float | None = None
    lag_max_at: float = 0.0
    """When the longest of them was, after `sent`."""
    clock: str = ""
    """The Timeline's; empty where nothing arrived."""
    id: str = ""
    """What was sent as X-Request-Id."""
    text: str = ""
    reasoning: str = ""
    contradicts: str = ""
    """What in this record contradicted itself and was bounded; empty where nothing did."""
    right: bool | None = None
    """Whether somebody who judged the answer found it right; None where nobody did."""

    @property
    def ok(self) -> bool:
        return self.outcome == OK

    @property
    def empty(self) -> bool:
        """No text, and no other piece of an answer such as a call of a tool."""
        return self.answer is None and not self.text.strip()

    @property
    def cut(self) -> bool:
        """The limit of tokens ended the answer."""
        return self.finish.lower() in CUT

    @property
    def repeated(self) -> bool:
        """The answer ends in one piece, of 100 characters at most, said again and again."""
        tail = self.text[-_TAIL:]
        # where its last characters stood before, there it began again
        before = tail.rfind(tail[-_LONGEST_PIECE:], 0, -1)
        length = _TAIL - _LONGEST_PIECE - before
        return len(tail) == _TAIL and length <= _LONGEST_PIECE and tail.endswith(tail[:-length])

    @property
    def blurred(self) -> int:
        """Gaps that are not known one by one."""
        return sum(len(each.guesses) for each in self.merged)

    @property
    def chunks(self) -> int:
        """Token-bearing chunks."""
        return len(self.arrivals)


def bounded(record: Record, *, one_answer: bool = True) -> Record:
    """Return the record, put in order and marked where it contradicts itself: that must not stop a measurement.

    0 ≤ ttft ≤ answer ≤ e2e ≤ duration, gaps that add up to the time between the first chunk and the last (of one answer;
    several answers have gaps of their own), and no count below zero or beyond belief.
    """
    found = _contradiction(record, one_answer=one_answer)
    if found:
        record.contradicts = found
        _bound_times(record, one_answer=one_answer)
        _bound_counts(record)
    return record


def _contradiction(record: Record, *, one_answer: bool) -> str:
    """Return what is wrong, beyond what two clocks may differ by. Every request is looked at, so this is plain code."""
    end = record.e2e
    if end is not None:
        first = end if record.ttft is None else record.ttft
        answer = first if record.answer is None else record.answer
        # a NaN fails every comparison
        if not (
            -_TOLERANCE <= first <= answer + _TOLERANCE <= end + 2 * _TOLERANCE <= record.duration + 3 * _TOLERANCE
        ):
            return _TIMES
    elif record.duration < 0.0:
        return _TIMES
    gaps, arrivals = record.gaps, record.arrivals
    if gaps:
        if min(gaps) < -_TOLERANCE:
            return _GAPS
        between = arrivals[-1] - arrivals[0]
        if one_answer and (len(gaps) != len(arrivals) - 1 or abs(sum(gaps) - between) > _TOLERANCE):
            return _GAPS
    # a NaN fails every comparison
    if not (
        0 <= (record.input_tokens or 0) <= MAX_TOKENS
        and 0 <= (record.output_tokens or 0) <= MAX_TOKENS
        and 0 <= (record.reasoning_tokens or 0) <= MAX_TOKENS
    ):
        return _COUNTS
    return _COUNTS if record.stalls < 0 or record.coalesced < 0 else ""


def _bound_times(record: Record, *, one_answer: bool) -> None:
    """Put every time between sending and the end, none before the one that it follows."""
    record.duration = max(0.0, record.duration)
    latest = 0.0
    for index, arrival in enumerate(record.arrivals):
        latest = record.arrivals[index] = _between(latest, arrival, record.duration)
    if one_answer:
        record.gaps = [later - earlier for earlier, later in pairwise(record.arrivals)]
    else:
        record.gaps = [_between(0.0, gap, record.duration) for gap in record.gaps]
    earliest = 0.0
    for name in ("ttft", "answer", "e2e"):
        value = getattr(record, name)
        if value is not None:
            earliest = _between(earliest, value, record.duration)
            setattr(record, name, earliest)
    record.ttft_bounds, record.merged = None, []
    if record.tpot is not None and not 0.0 <= record.tpot <= record.duration:
        record.tpot = None


def _bound_counts(record: Record) -> None:
    for name in ("input_tokens", "output_tokens", "reasoning_tokens"):
        setattr(record, name, believable(getattr(record, name)))
    record.stalls, record.coalesced = max(0, record.stalls), max(0, record.coalesced)


def _between(least: float, value: float, most: float) -> float:
    """Return the value, or the end that it is beyond; the lower end of what is no number."""
    return min(max(least, most), max(least, value)) if value == value else least  # noqa: PLR0124  # NaN is not itself
