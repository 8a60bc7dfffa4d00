"""Recorded traces: when requests came to a real service, how long each prompt was and how long each answer.

What is kept in memory of a row are 16 bytes of numbers. Block ids (`hash_ids`), of which a row may have hundreds, stay in
the file until the row is due; for them another 12 bytes tell where.
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
    """What one request of a trace asked for."""

    number: int
    """Its place in the order of time, from 0."""
    prompt_tokens: int
    output_tokens: int
    blocks: Sequence[int | str] = ()
    """Equal ids at the beginning of two rows stand for equal text."""
    block_tokens: int = 512
    """Length of the text that one id stands for."""


@dataclass
class Trace:
    """The rows of a trace, in the order of their time."""

    path: str
    time: str = ""
    """What the file calls the time,"""
    clock: Clock = field(default_factory=Clock)
    """and the unit that it is in."""
    moments: array[float] = field(default_factory=lambda: array("d"))
    """Seconds, the first at 0."""
    prompt_tokens: array[int] = field(default_factory=lambda: array("I"))
    output_tokens: array[int] = field(default_factory=lambda: array("I"))
    begins: array[int] = field(default_factory=lambda: array("Q"))
    """Where a row stands in the file, where rows have blocks,"""
    sizes: array[int] = field(default_factory=lambda: array("I"))
    """and how many bytes it has."""
    shuffled: int = 0
    """Rows that stood behind a later one."""
    empty: int = 0
    """Rows with no token in the prompt or in the answer."""
    block_tokens: int = 0
    """Of a block, where rows have blocks."""
    file: IO[bytes] | None = None
    """Open, where rows have blocks: whoever removes it takes nothing from a run."""
    decoder: Any = None
    """Of a line of it: what it makes has `ids`."""

    def __len__(self) -> int:
        return len(self.moments)

    @property
    def seconds(self) -> float:
        """From the first row to the last."""
        return self.moments[-1]

    @property
    def has_blocks(self) -> bool:
        return bool(self.begins)

    @property
    def mark(self) -> int:
        """The same in every process that has the same trace."""
        mark = 0
        for column in (self.moments, self.prompt_tokens, self.output_tokens):
            mark = zlib.crc32(memoryview(column), mark)
        return mark

    def row(self, number: int) -> Row:
        """Asks for one token at least: a request of none would be no request."""
        lengths = max(1, self.prompt_tokens[number]), max(1, self.output_tokens[number])
        return (
            Row(number, *lengths, self._blocks(number), self.block_tokens) if self.has_blocks else Row(number, *lengths)
        )

    def _blocks(self, number: int) -> Sequence[int | str]:
        assert self.file is not None
        # a position of its own: processes that were forked share the file's
        line = os.pread(self.file.fileno(), self.sizes[number], self.begins[number])
        ids: Sequence[int | str] = self.decoder.decode(line).ids or ()
        return ids


def open_trace(path: str) -> Trace:
    """A trace's rows. ValueError in one line, with the number of the line that cannot be meant."""
    try:
        found = os.stat(path)  # noqa: PTH116  # Path's own raises for a name that is too long
        return _opened(path, found.st_mtime_ns, found.st_size)
    except (OSError, UnicodeDecodeError) as problem:
        raise ValueError(f"cannot read the trace {path[:200]}: {problem}") from None


@lru_cache(maxsize=1)
def _opened(path: str, changed: int, size: int) -> Trace:
    """Once for a process, and again where the file has changed."""
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
    """Who logs requests when they end writes them in another order than they came in: a schedule has its own."""
    moments = trace.moments
    trace.shuffled = _behind(moments)
    trace.empty = sum(not (read and told) for read, told in zip(trace.prompt_tokens, trace.output_tokens, strict=True))
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
    for each in moments:
        if each < latest:
            behind += 1
        else:
            latest = each
    return behind


# ── what is replayed ──


class Deal(NamedTuple):
    """From a moment of a replay on, one stream takes every so manieth row."""

    since: float
    """Seconds since the replay began."""
    stream: int
    streams: int


@dataclass(frozen=True)
class Replay:
    """A stretch of a trace, so many times as fast as it was."""

    trace: Trace
    speed: float = 1.0
    start: float = 0.0
    """Seconds of the trace that are left out at its beginning,"""
    length: float = 0.0
    """and how many are replayed; 0: all of the rest."""

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
        """The row behind the last one."""
        return bisect_left(self.trace.moments, self.end)

    @property
    def rows(self) -> int:
        return self.last - self.first

    @property
    def seconds(self) -> float:
        """How long it takes until its last row is due, or until the end that was asked for."""
        return (min(self.end, self.trace.seconds) - self.start) / self.speed

    def due(self, row: int) -> float:
        """When a row is due, in seconds since the replay began."""
        return (self.trace.moments[row] - self.start) / self.speed

    def dealt(self, deals: Sequence[Deal], after: int = -1) -> Iterator[tuple[float, int]]:
        """When a stream's rows are due, and which they are, without those up to the row `after`.

        All streams together have each row once, where each knows of the same deals, of its own stream, before their
        moments come.
        """
        for deal, until in zip(deals, [*(deal.since for deal in deals[1:]), math.inf], strict=False):
            first = max(self._at(deal.since), after + 1)
            for row in range(first + (deal.stream - first) % deal.streams, self._at(until), deal.streams):
                yield self.due(row), row

    def count(self, since: float, until: float) -> int:
        """How many rows are due in between."""
        return self._at(until) - self._at(since)

    def _at(self, moment: float) -> int:
        """The first row that is not due before a moment."""
        return bisect_left(self.trace.moments, self.start + moment * self.speed, self.first, self.last)
