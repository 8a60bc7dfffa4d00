"""Recorded traces: when requests came to a real service, how long each prompt was and how long each answer.

Known by their first line, and by the names of their columns:

    Mooncake    JSONL: {"timestamp": milliseconds, "input_length": …, "output_length": …, "hash_ids": […]}
    Azure       TIMESTAMP,ContextTokens,GeneratedTokens: dates; of 2023, 2024 and later
    BurstGPT    Timestamp,Model,Request tokens,Response tokens,…: seconds
    plain       seconds,prompt_tokens,output_tokens

What is kept in memory of a row are 16 bytes of numbers. Block ids (`hash_ids`), of which a row may have hundreds, stay in
the file until the row is due; for them another 12 bytes tell where.
"""

from __future__ import annotations

import csv
import math
import os
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

BLOCK = 512
"""Tokens for which an id of Mooncake's stands."""
_MOST_TOKENS = 10_000_000
"""No model reads more: a larger number is another column."""
_BOM = b"\xef\xbb\xbf"
_PIECE, _ROWS = 1 << 20, 4096
"""So many bytes, or rows, are looked at together."""


class Row(NamedTuple):
    """What one request of a trace asked for."""

    number: int
    """Its place in the order of time, from 0."""
    prompt_tokens: int
    output_tokens: int
    blocks: Sequence[int] = ()
    """Equal ids at the beginning of two rows stand for equal text, of BLOCK tokens each."""


@dataclass
class Trace:
    """The rows of a trace, in the order of their time."""

    path: str
    kind: str = ""
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
    file: Any = None
    """Open, where rows have blocks: whoever removes it takes nothing from a run."""

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
        return Row(number, *lengths, self._blocks(number) if self.has_blocks else ())

    def _blocks(self, number: int) -> Sequence[int]:
        # a position of its own: processes that were forked share the file's
        return _LINE.decode(os.pread(self.file.fileno(), self.sizes[number], self.begins[number])).hash_ids


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
    trace = Trace(path)
    with Path(path).open("rb") as file:
        is_json = file.read(4096).removeprefix(_BOM).lstrip().startswith(b"{")
    (_read_json if is_json else _read_csv)(trace)
    if not len(trace):
        raise ValueError(f"{path}: the trace has no rows")
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
    first = trace.moments[0]
    if first:
        trace.moments = array("d", (each - first for each in trace.moments))


def _behind(moments: Sequence[float]) -> int:
    latest, behind = -math.inf, 0
    for each in moments:
        if each < latest:
            behind += 1
        else:
            latest = each
    return behind


def _wrong(trace: Trace, line: int, problem: str) -> ValueError:
    return ValueError(f"{trace.path}:{line}: {problem}")


# ── JSONL ──


class _Line(msgspec.Struct, gc=False):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int] = []


_LINE = msgspec.json.Decoder(_Line)
_NEEDS = 'a row of a JSONL trace has numbers "timestamp" (in milliseconds), "input_length" and "output_length"'


def _read_json(trace: Trace) -> None:
    trace.kind = "Mooncake"
    number, shared = 1, False
    with Path(trace.path).open("rb") as file:
        begin = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
        file.seek(begin)
        while texts := file.readlines(_PIECE):
            found = _decoded(trace, texts, number)
            rows = [each for each in found if each is not None]
            lines = [line for line, each in enumerate(found, number) if each is not None]
            moments = [each.timestamp / 1000.0 for each in rows]
            _add(trace, lines, moments, [each.input_length for each in rows], [each.output_length for each in rows])
            shared = shared or any(each.hash_ids for each in rows)
            begins = accumulate(map(len, texts), initial=begin)
            for text, each, at in zip(texts, found, begins, strict=False):
                if each is not None:
                    trace.begins.append(at)
                    trace.sizes.append(len(text))
            begin += sum(map(len, texts))
            number += len(texts)
    if shared:
        trace.file = Path(trace.path).open("rb", buffering=0)  # noqa: SIM115  # for as long as the trace is kept
    else:
        trace.begins, trace.sizes = array("Q"), array("I")


def _decoded(trace: Trace, lines: list[bytes], number: int) -> list[_Line | None]:
    """What lines say, None for empty ones. `number` is that of the first."""
    decode = _LINE.decode
    found: list[_Line | None] = []
    for line in lines:
        try:
            each = decode(line) if not line.isspace() else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
            raise _wrong(trace, number + len(found), f"{_NEEDS}: {problem}") from None
        # rows without ids are of their own
        if each is not None and each.hash_ids and abs(len(each.hash_ids) + (-each.input_length // BLOCK)) > 1:
            raise _wrong(trace, number + len(found), _ids(each))
        found.append(each)
    return found


def _ids(found: _Line) -> str:
    return (
        f'"hash_ids" stand for {BLOCK} tokens each: {found.input_length} tokens have '
        f"{-(-found.input_length // BLOCK)} of them, here are {len(found.hash_ids)}"
    )


# ── CSV ──


def _seconds(texts: Sequence[str]) -> list[float]:
    return [float(text) for text in texts]


def _dates(texts: Sequence[str]) -> list[float]:
    """Seconds since 1970; without a zone, in UTC: only differences count."""
    moments = [datetime.fromisoformat(text) for text in texts]
    epoch = datetime(1970, 1, 1, tzinfo=UTC if moments and moments[0].tzinfo else None)
    return [(moment - epoch).total_seconds() for moment in moments]


_KINDS: dict[str, tuple[Callable[[Sequence[str]], list[float]], tuple[str, str, str]]] = {
    "Azure": (_dates, ("timestamp", "contexttokens", "generatedtokens")),
    "BurstGPT": (_seconds, ("timestamp", "request tokens", "response tokens")),
    "plain": (_seconds, ("seconds", "prompt_tokens", "output_tokens")),
}


def _read_csv(trace: Trace) -> None:
    with Path(trace.path).open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        try:
            moments_of, places = _columns(trace, next(reader, []))
            number = reader.line_num + 1
            while rows := list(islice(reader, _ROWS)):
                _take(trace, rows, number, moments_of, places)
                number = reader.line_num + 1
        except csv.Error as problem:
            raise _wrong(trace, reader.line_num, str(problem)) from None


def _columns(trace: Trace, header: list[str]) -> tuple[Callable[[Sequence[str]], list[float]], list[int]]:
    """How moments are read, and where a row has its own and its two lengths."""
    named = [name.strip().lower() for name in header]
    for kind, (moments_of, names) in _KINDS.items():
        if set(names) <= set(named):
            trace.kind = kind
            return moments_of, [named.index(name) for name in names]
    wanted = "; ".join(",".join(names) for _, names in _KINDS.values())
    raise ValueError(
        f"{trace.path}: no trace that is known by its first line ({','.join(header)[:60]}): a CSV has a header with "
        f"the columns {wanted}; JSONL has Mooncake's keys"
    )


def _take(
    trace: Trace,
    rows: Sequence[list[str]],
    number: int,
    moments_of: Callable[[Sequence[str]], list[float]],
    places: Sequence[int],
) -> None:
    """Rows from line `number` on: all at once, and one at a time where one of them cannot be meant."""
    when, read, told = places
    kept = [row for row in rows if row]
    try:
        numbers = (
            moments_of([row[when] for row in kept]),
            [int(row[read]) for row in kept],
            [int(row[told]) for row in kept],
        )
    except (ValueError, IndexError, TypeError):
        if len(rows) == 1:
            raise _wrong(trace, number, f"cannot be read as a row ({trace.kind}): {','.join(rows[0])[:80]}") from None
        for place, row in enumerate(rows):
            _take(trace, [row], number + place, moments_of, places)
        return
    _add(trace, [line for line, row in enumerate(rows, number) if row], *numbers)


def _add(trace: Trace, lines: list[int], moments: list[float], read: list[int], told: list[int]) -> None:
    for line, moment in zip(lines, moments, strict=True):
        if not 0.0 <= moment < math.inf:
            raise _wrong(trace, line, f"a moment is a time from 0 on, and not {moment:g} s")
    for lengths in (read, told):
        if lengths and not (min(lengths) >= 0 and max(lengths) <= _MOST_TOKENS):
            place = next(n for n, each in enumerate(lengths) if not 0 <= each <= _MOST_TOKENS)
            raise _wrong(trace, lines[place], f"tokens are from 0 to {_MOST_TOKENS}, and not {lengths[place]}")
    trace.moments.extend(moments)
    trace.prompt_tokens.extend(read)
    trace.output_tokens.extend(told)


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
