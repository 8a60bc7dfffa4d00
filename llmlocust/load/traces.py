"""Recorded traces: the time of each request to a real service, and the lengths of its prompt and its answer.

A row takes 16 bytes of memory. Block ids (`hash_ids`), of which a row may have hundreds, stay in the file until the row is
due; their place in the file takes another 12 bytes.
"""

from __future__ import annotations

import math
import os
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import IO, Any, NamedTuple

from llmlocust.load.clocks import DATES, PER_SECOND, Clock, clock_of
from llmlocust.load.text_files import read_utf8
from llmlocust.load.trace_files import TraceFile, read_trace


class Row(NamedTuple):
    """One request of a trace."""

    number: int
    """Its index in the order of time, from 0."""
    prompt_tokens: int
    output_tokens: int
    blocks: Sequence[int | str] = ()
    """Two rows that begin with equal ids begin with equal text."""
    block_tokens: int = 512
    """Tokens of the text of one id."""


@dataclass
class Trace:
    """The rows of a trace, in the order of their time."""

    path: str
    time: str = ""
    """The file's name for the time."""
    clock: Clock = field(default_factory=Clock)
    """The unit of the time."""
    moments: array[float] = field(default_factory=lambda: array("d"))
    """Times in seconds; the first is 0."""
    prompt_tokens: array[int] = field(default_factory=lambda: array("I"))
    output_tokens: array[int] = field(default_factory=lambda: array("I"))
    begins: array[int] = field(default_factory=lambda: array("Q"))
    """The offset of each row in the file, for traces with blocks."""
    sizes: array[int] = field(default_factory=lambda: array("I"))
    """The bytes of each row, for traces with blocks."""
    shuffled: int = 0
    """Number of rows after a later one."""
    empty: int = 0
    """Number of rows without a token in the prompt or in the answer."""
    block_tokens: int = 0
    """Tokens of a block, for traces with blocks."""
    file: IO[bytes] | None = None
    """The open file, for traces with blocks, so that deleting it does not affect a run."""
    decoder: Any = None
    """A decoder of a line, whose result has `ids`."""

    def __len__(self) -> int:
        return len(self.moments)

    @property
    def seconds(self) -> float:
        """Seconds from the first row to the last."""
        return self.moments[-1]

    @property
    def has_blocks(self) -> bool:
        return bool(self.begins)

    @property
    def mark(self) -> int:
        """A checksum, to compare the traces of several processes."""
        mark = 0
        for column in (self.moments, self.prompt_tokens, self.output_tokens):
            mark = zlib.crc32(memoryview(column), mark)
        return mark

    def row(self, number: int) -> Row:
        """Return a row, with at least one token in the prompt and in the answer."""
        lengths = max(1, self.prompt_tokens[number]), max(1, self.output_tokens[number])
        return (
            Row(number, *lengths, self._blocks(number), self.block_tokens) if self.has_blocks else Row(number, *lengths)
        )

    def _blocks(self, number: int) -> Sequence[int | str]:
        assert self.file is not None
        # pread has its own position: forked processes share the file's
        line = os.pread(self.file.fileno(), self.sizes[number], self.begins[number])
        ids: Sequence[int | str] = self.decoder.decode(line).ids or ()
        return ids


def open_trace(path: str) -> Trace:
    """Read a trace. ValueError in one line, with the number of a wrong line."""
    try:
        status = os.stat(path)  # noqa: PTH116  # Path's own raises for a name that is too long
        return _opened(path, status.st_mtime_ns, status.st_size)
    except (OSError, UnicodeDecodeError) as problem:
        raise ValueError(f"cannot read the trace {path[:200]}: {problem}") from None


@lru_cache(maxsize=1)
def _opened(path: str, changed: int, size: int) -> Trace:
    """Read a trace once per process, and again if the file has changed."""
    return read_utf8(path, lambda file: _trace_of(read_trace(path, file), file))


def _trace_of(rows: TraceFile, file: IO[bytes]) -> Trace:
    named = DATES if rows.is_dated else rows.columns.unit
    clock = clock_of(rows.times, named, is_whole_ms=rows.is_whole_ms)
    trace = Trace(
        rows.path,
        rows.columns.time,
        clock,
        rows.times,
        rows.prompt_tokens,
        rows.output_tokens,
        rows.begins,
        rows.sizes,
        block_tokens=rows.block_tokens,
        file=file if rows.block_tokens else None,
        decoder=rows.decoder,
    )
    if trace.file is None:
        file.close()
    _put_in_order(trace)
    return trace


def _put_in_order(trace: Trace) -> None:
    """Sort the rows by time. A service that logs requests when they end does not log them in the order of arrival."""
    moments = trace.moments
    trace.shuffled = _behind(moments)
    lengths = zip(trace.prompt_tokens, trace.output_tokens, strict=True)
    trace.empty = sum(not (prompt and output) for prompt, output in lengths)
    if trace.shuffled:
        order = sorted(range(len(moments)), key=moments.__getitem__)
        for name in ("moments", "prompt_tokens", "output_tokens", "begins", "sizes"):
            column = getattr(trace, name)
            if column:
                setattr(trace, name, array(column.typecode, map(column.__getitem__, order)))
    first, per_second = trace.moments[0], PER_SECOND.get(trace.clock.unit, 1)
    if first or per_second != 1:
        trace.moments = array("d", ((moment - first) / per_second for moment in trace.moments))


def _behind(moments: Sequence[float]) -> int:
    latest, behind = -math.inf, 0
    for moment in moments:
        if moment < latest:
            behind += 1
        else:
            latest = moment
    return behind


# ── the replay ──


class TraceShare(NamedTuple):
    """The assignment of rows to a stream from a moment on: one of n `streams` takes every n-th row."""

    since: float
    """Seconds since the replay began."""
    stream: int
    streams: int


@dataclass(frozen=True)
class Replay:
    """A section of a trace, at a multiple of its speed."""

    trace: Trace
    speed: float = 1.0
    start: float = 0.0
    """Seconds that are left out at the beginning of the trace."""
    length: float = 0.0
    """Seconds of the trace that are replayed; 0: all of the rest."""

    def __post_init__(self) -> None:
        if self.first == self.last:
            until = f" to {self.end:g} s" if self.length else ""
            raise ValueError(
                f"{self.trace.path} has no row from {self.start:g} s on{until}: it is {self.trace.seconds:g} s long"
            )

    @property
    def end(self) -> float:
        return self.start + self.length if self.length else math.inf

    @property
    def first(self) -> int:
        return bisect_left(self.trace.moments, self.start)

    @property
    def last(self) -> int:
        """The row after the last one."""
        return bisect_left(self.trace.moments, self.end)

    @property
    def rows(self) -> int:
        return self.last - self.first

    @property
    def seconds(self) -> float:
        """Seconds until the last row is due, or until the requested end."""
        return (min(self.end, self.trace.seconds) - self.start) / self.speed

    def due(self, row: int) -> float:
        """Return when a row is due, in seconds since the replay began."""
        return (self.trace.moments[row] - self.start) / self.speed

    def assigned(self, shares: Sequence[TraceShare], after: int = -1) -> Iterator[tuple[float, int]]:
        """Yield the moment at which each row of a stream after the row `after` is due, and the row's index.

        All streams together have each row once, if each of them receives its shares before they begin.
        """
        for share, until in zip(shares, [*(share.since for share in shares[1:]), math.inf], strict=False):
            first = max(self._at(share.since), after + 1)
            for row in range(first + (share.stream - first) % share.streams, self._at(until), share.streams):
                yield self.due(row), row

    def count(self, since: float, until: float) -> int:
        """Return the number of rows that are due between two moments."""
        return self._at(until) - self._at(since)

    def _at(self, moment: float) -> int:
        """Return the first row that is not due before a moment."""
        return bisect_left(self.trace.moments, self.start + moment * self.speed, self.first, self.last)
