"""Files of recorded traces: their rows as they stand there, in JSON Lines or in a CSV.

What a file's first rows or its header call a time and tokens, `load.columns` finds. Numbers may be written in any way
(12, 12.0, "12", 1e3), times as dates too.
"""

from __future__ import annotations

import csv
import io
import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate, islice
from typing import IO, Any

import msgspec

from llmlocust.load.blocks import BlockSizes
from llmlocust.load.columns import Columns, columns_of, header_of, is_trace, listed

_MOST_TOKENS = 10_000_000
"""No model reads more: a larger number is another column."""
_PIECE, _ROWS = 1 << 20, 4096
"""So many bytes, or rows, are looked at together."""
_LOOKED_AT = 20
"""Rows of JSON in which keys are looked for."""


@dataclass
class TraceFile:
    """The rows of a trace, in the order of the file."""

    path: str
    columns: Columns = field(default_factory=Columns)
    is_dated: bool = False
    """Times are dates, here seconds since 1970; else they are numbers as they stand in the file."""
    is_whole_ms: bool = False
    """Times are whole numbers in JSON, which mostly has milliseconds."""
    times: array[float] = field(default_factory=lambda: array("d"))
    prompt_tokens: array[int] = field(default_factory=lambda: array("I"))
    output_tokens: array[int] = field(default_factory=lambda: array("I"))
    begins: array[int] = field(default_factory=lambda: array("Q"))
    """Where a row stands in the file, where rows have blocks,"""
    sizes: array[int] = field(default_factory=lambda: array("I"))
    """and how many bytes it has."""
    block_tokens: int = 0
    """Of a block; 0 where rows have none."""
    decoder: Any = None
    """Of a line of JSON: what it makes has `ids`."""

    def add(self, lines: Sequence[int], times: list[float], prompt_tokens: list[int], output_tokens: list[int]) -> None:
        for line, time in zip(lines, times, strict=True):
            if not 0.0 <= time < math.inf:
                raise self.wrong(line, f"a time is a number from 0 on, and not {time:g}")
        for tokens in (prompt_tokens, output_tokens):
            if tokens and not (min(tokens) >= 0 and max(tokens) <= _MOST_TOKENS):
                place = next(n for n, number in enumerate(tokens) if not 0 <= number <= _MOST_TOKENS)
                raise self.wrong(lines[place], f"tokens are from 0 to {_MOST_TOKENS}, and not {tokens[place]}")
        self.times.extend(times)
        self.prompt_tokens.extend(prompt_tokens)
        self.output_tokens.extend(output_tokens)

    def wrong(self, line: int, problem: object) -> ValueError:
        return ValueError(f"{self.path}:{line}: {problem}")


def read_trace(path: str, file: IO[bytes]) -> TraceFile:
    """Read a trace from a file that is open at its first byte. ValueError in one line with the number of a wrong line."""
    trace, begin = TraceFile(path), file.tell()
    sample = file.read(4096).lstrip()
    file.seek(begin)
    if sample.startswith(b"["):
        raise ValueError(f"{path}: a trace in JSON has a row a line and is no array: jq -c '.[]' makes lines of it")
    if sample.startswith(b"{"):
        _JsonReader(trace, file).read()
    else:
        _read_csv(trace, file, sample)
    if not trace.times:
        raise ValueError(f"{path}: the trace has no rows")
    return trace


# ── numbers and dates ──


def _floats(texts: Sequence[str]) -> list[float]:
    return [float(text) for text in texts]


def _numbers(texts: Sequence[str]) -> list[float]:
    return [_number(text) for text in texts]


def _dates(texts: Sequence[str]) -> list[float]:
    """Seconds since 1970; without a zone, in UTC: only differences count."""
    moments = [datetime.fromisoformat(text.replace("/", "-")) for text in texts]
    epoch = datetime(1970, 1, 1, tzinfo=UTC if moments and moments[0].tzinfo else None)
    return [(moment - epoch).total_seconds() for moment in moments]


def _number(text: str) -> float:
    """Read a number, whose decimals may stand behind a comma."""
    return float(text.replace(",", ".") if text.count(",") == 1 else text)


def _whole_number(text: str) -> int:
    number = _number(text)
    if not number.is_integer():
        raise ValueError(f"{text} is no whole number")
    return int(number)


def _is_date(value: Any) -> bool:
    try:
        _number(str(value))
    except ValueError:
        return isinstance(value, str)
    return False


# ── JSON ──


class _JsonReader:
    """Reads lines of JSON into a trace."""

    def __init__(self, trace: TraceFile, file: IO[bytes]) -> None:
        self._trace, self._file, self._blocks = trace, file, BlockSizes()

    def read(self) -> None:
        begin, number = self._file.tell(), 1
        while texts := self._file.readlines(_PIECE):
            if not self._trace.decoder:
                self._find_columns(texts, number)
            self._add(texts, number, begin)
            begin += sum(map(len, texts))
            number += len(texts)
        if self._blocks:
            self._trace.block_tokens = self._blocks.likely
        else:
            self._trace.begins, self._trace.sizes = array("Q"), array("I")

    def _find_columns(self, texts: Sequence[bytes], number: int) -> None:
        line, rows = self._first_rows(texts, number)
        names = dict.fromkeys(name for row in rows for name in row)
        try:
            columns = columns_of(list(names))
        except ValueError as problem:
            raise self._trace.wrong(line, problem) from None
        times = [row.get(columns.time) for row in rows]
        self._trace.columns, self._trace.is_dated = columns, _is_date(times[0])
        self._trace.is_whole_ms = not any(isinstance(time, float) for time in times)
        self._trace.decoder = _decoder(columns, str if self._trace.is_dated else float)

    def _first_rows(self, texts: Sequence[bytes], number: int) -> tuple[int, list[dict[str, Any]]]:
        """Return the number of the first row's line, and some rows up to one that cannot be read."""
        first, rows = 0, []
        for line, text in enumerate(texts, number):
            if text.isspace():
                continue
            try:
                rows.append(msgspec.json.decode(text, type=dict[str, Any]))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
                if not rows:
                    raise self._trace.wrong(line, f"a row is a JSON object: {problem}") from None
                break
            first = first or line
            if len(rows) == _LOOKED_AT:
                break
        return first, rows

    def _add(self, texts: Sequence[bytes], number: int, begin: int) -> None:
        trace, found = self._trace, self._decoded(texts, number)
        rows = [row for row in found if row is not None]
        lines = [line for line, row in enumerate(found, number) if row is not None]
        tokens = [row.prompt_tokens for row in rows]
        trace.add(lines, self._times(rows, lines), tokens, [row.output_tokens for row in rows])
        self._check_blocks(lines, tokens, [len(row.ids or ()) for row in rows])
        begins = accumulate(map(len, texts), initial=begin)
        for text, row, at in zip(texts, found, begins, strict=False):
            if row is not None:
                trace.begins.append(at)
                trace.sizes.append(len(text))

    def _decoded(self, texts: Sequence[bytes], number: int) -> list[Any]:
        """What lines say, None for empty ones. `number` is that of the first."""
        decode, found = self._trace.decoder.decode, []
        for text in texts:
            try:
                found.append(decode(text) if not text.isspace() else None)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
                names = ", ".join(self._trace.columns.numbers)
                raise self._trace.wrong(number + len(found), f"a row of this trace has {names}: {problem}") from None
        return found

    def _times(self, rows: Sequence[Any], lines: Sequence[int]) -> list[float]:
        if not self._trace.is_dated:
            return [row.time for row in rows]
        try:
            return _dates([row.time for row in rows])
        except (ValueError, TypeError):
            if len(rows) > 1:
                return [time for row, line in zip(rows, lines, strict=True) for time in self._times([row], [line])]
            raise self._trace.wrong(lines[0], f"cannot be read as a date: {rows[0].time[:60]!r}") from None

    def _check_blocks(self, lines: Sequence[int], tokens: Sequence[int], ids: Sequence[int]) -> None:
        wrong = self._blocks.add(tokens, ids)
        if wrong is not None:
            name = self._trace.columns.ids
            raise self._trace.wrong(
                lines[wrong],
                f"{ids[wrong]} {name} for {tokens[wrong]} tokens: no block of 16, 64, 512 or another power of two fits this "
                f"row and those before it; a trace without {name} can be replayed",
            )


def _decoder(columns: Columns, time: type) -> Any:
    """A decoder of lines. It takes numbers that are written as text, and others than whole ones that are whole."""
    fields: list[Any] = [
        ("time", time),
        ("prompt_tokens", int),
        ("output_tokens", int),
        ("ids", list[int | str] | None, None),
    ]
    names = {
        "time": columns.time,
        "prompt_tokens": columns.prompt_tokens,
        "output_tokens": columns.output_tokens,
        "ids": columns.ids or "hash_ids",
    }
    line = msgspec.defstruct("Line", fields, rename=names, gc=False)
    return msgspec.json.Decoder(line, strict=False)


# ── CSV ──


def _read_csv(trace: TraceFile, file: IO[bytes], sample: bytes) -> None:
    names, delimiter = header_of(sample, is_trace)
    try:
        trace.columns = columns_of(names)
    except ValueError as problem:
        raise ValueError(f"{trace.path}: {problem}; a CSV has these names in its first line") from None
    places = [names.index(name) for name in trace.columns.numbers]
    reader = csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline=""), delimiter=delimiter)
    try:
        _read_rows(trace, reader, places)
    except csv.Error as problem:
        raise trace.wrong(reader.line_num, problem) from None


def _read_rows(trace: TraceFile, reader: Any, places: Sequence[int]) -> None:
    next((row for row in reader if row), None)  # the header
    number = reader.line_num + 1
    while rows := list(islice(reader, _ROWS)):
        if not trace.times:
            trace.is_dated = _is_date(next((row[places[0]] for row in rows if len(row) > places[0]), ""))
        _take(trace, rows, number, places)
        number = reader.line_num + 1


def _take(trace: TraceFile, rows: Sequence[list[str]], number: int, places: Sequence[int]) -> None:
    """Add rows from line `number` on: all at once, or one at a time where one of them is damaged."""
    kept = [row for row in rows if row]
    for whole, floats in ((int, _floats), (_whole_number, _numbers)):
        try:
            columns = _columns_of_rows(kept, places, whole, _dates if trace.is_dated else floats)
        except (ValueError, IndexError, TypeError, OverflowError):
            continue
        trace.add([line for line, row in enumerate(rows, number) if row], *columns)
        return
    if len(rows) == 1:
        names = ", ".join(trace.columns.numbers)
        raise trace.wrong(number, f"cannot be read as a row ({names}): {listed(rows[0])}")
    for place, row in enumerate(rows):
        _take(trace, [row], number + place, places)


def _columns_of_rows(
    rows: Sequence[list[str]],
    places: Sequence[int],
    whole: Callable[[str], int],
    times: Callable[[Sequence[str]], list[float]],
) -> tuple[list[float], list[int], list[int]]:
    time, prompt, output = places
    return (
        times([row[time] for row in rows]),
        [whole(row[prompt]) for row in rows],
        [whole(row[output]) for row in rows],
    )
