"""Files of recorded traces in JSON Lines or CSV: their rows, unchanged.

`load.columns` finds the names of the time and the tokens in the header or in the first rows. Numbers may have any notation
(12, 12.0, "12", 1e3). Times may also be dates.
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

_MAX_TOKENS = 10_000_000
"""Maximum tokens of a request. A larger number means that the column is something else."""
_PIECE, _ROWS = 1 << 20, 4096
"""Bytes and rows that are read at a time."""
_SAMPLE_ROWS = 20
"""Rows of JSON in which the names of columns are searched."""


@dataclass
class TraceFile:
    """The rows of a trace, in the order of the file."""

    path: str
    columns: Columns = field(default_factory=Columns)
    is_dated: bool = False
    """Whether times are dates. `times` are then seconds since 1970; otherwise they are the numbers of the file."""
    is_whole_ms: bool = False
    """Whether times are whole numbers in JSON, which are usually milliseconds."""
    times: array[float] = field(default_factory=lambda: array("d"))
    prompt_tokens: array[int] = field(default_factory=lambda: array("I"))
    output_tokens: array[int] = field(default_factory=lambda: array("I"))
    begins: array[int] = field(default_factory=lambda: array("Q"))
    """Positions of the rows in the file, if rows have block ids."""
    sizes: array[int] = field(default_factory=lambda: array("I"))
    """Sizes of the rows in bytes, if rows have block ids."""
    block_tokens: int = 0
    """Tokens of a block; 0 if rows have no block ids."""
    decoder: Any = None
    """Decoder of a JSON line. Decoded rows have `ids`."""

    def add(self, lines: Sequence[int], times: list[float], prompt_tokens: list[int], output_tokens: list[int]) -> None:
        for line, time in zip(lines, times, strict=True):
            if not 0.0 <= time < math.inf:
                raise self.wrong(line, f"a time must be 0 or more, but is {time:g}")
        for tokens in (prompt_tokens, output_tokens):
            if tokens and not (min(tokens) >= 0 and max(tokens) <= _MAX_TOKENS):
                place = next(n for n, number in enumerate(tokens) if not 0 <= number <= _MAX_TOKENS)
                raise self.wrong(lines[place], f"tokens must be from 0 to {_MAX_TOKENS}, but are {tokens[place]}")
        self.times.extend(times)
        self.prompt_tokens.extend(prompt_tokens)
        self.output_tokens.extend(output_tokens)

    def wrong(self, line: int, problem: object) -> ValueError:
        return ValueError(f"{self.path}:{line}: {problem}")


def read_trace(path: str, file: IO[bytes]) -> TraceFile:
    """Read a trace from a file at its first byte. Raises ValueError with a one-line message that names the invalid line."""
    trace, begin = TraceFile(path), file.tell()
    sample = file.read(4096).lstrip()
    file.seek(begin)
    if sample.startswith(b"["):
        raise ValueError(f"{path}: a trace in JSON has one row per line and is not an array; jq -c '.[]' converts it")
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
    """Return seconds since 1970. Dates without a time zone are in UTC, because only differences matter."""
    moments = [datetime.fromisoformat(text.replace("/", "-")) for text in texts]
    epoch = datetime(1970, 1, 1, tzinfo=UTC if moments and moments[0].tzinfo else None)
    return [(moment - epoch).total_seconds() for moment in moments]


def _number(text: str) -> float:
    """Read a number, which may have a decimal comma."""
    return float(text.replace(",", ".") if text.count(",") == 1 else text)


def _whole_number(text: str) -> int:
    number = _number(text)
    if not number.is_integer():
        raise ValueError(f"{text} is not a whole number")
    return int(number)


def _is_date(value: Any) -> bool:
    try:
        _number(str(value))
    except ValueError:
        return isinstance(value, str)
    return False


# ── JSON ──


class _JsonReader:
    """A reader of JSON lines into a trace."""

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
        """Return the line number of the first row, and up to _SAMPLE_ROWS rows before one that cannot be read."""
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
            if len(rows) == _SAMPLE_ROWS:
                break
        return first, rows

    def _add(self, texts: Sequence[bytes], number: int, begin: int) -> None:
        trace, decoded = self._trace, self._decoded(texts, number)
        rows = [row for row in decoded if row is not None]
        lines = [line for line, row in enumerate(decoded, number) if row is not None]
        tokens = [row.prompt_tokens for row in rows]
        trace.add(lines, self._times(rows, lines), tokens, [row.output_tokens for row in rows])
        self._check_blocks(lines, tokens, [len(row.ids or ()) for row in rows])
        begins = accumulate(map(len, texts), initial=begin)
        for text, row, at in zip(texts, decoded, begins, strict=False):
            if row is not None:
                trace.begins.append(at)
                trace.sizes.append(len(text))

    def _decoded(self, texts: Sequence[bytes], number: int) -> list[Any]:
        """Return the rows of lines, None for empty ones. `number` is the number of the first line."""
        decode, rows = self._trace.decoder.decode, []
        for text in texts:
            try:
                rows.append(decode(text) if not text.isspace() else None)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
                names = ", ".join(self._trace.columns.numbers)
                raise self._trace.wrong(number + len(rows), f"a row of this trace has {names}: {problem}") from None
        return rows

    def _times(self, rows: Sequence[Any], lines: Sequence[int]) -> list[float]:
        if not self._trace.is_dated:
            return [row.time for row in rows]
        try:
            return _dates([row.time for row in rows])
        except (ValueError, TypeError):
            if len(rows) > 1:
                return [time for row, line in zip(rows, lines, strict=True) for time in self._times([row], [line])]
            raise self._trace.wrong(lines[0], f"not a date: {rows[0].time[:60]!r}") from None

    def _check_blocks(self, lines: Sequence[int], tokens: Sequence[int], ids: Sequence[int]) -> None:
        wrong = self._blocks.add(tokens, ids)
        if wrong is not None:
            name = self._trace.columns.ids
            raise self._trace.wrong(
                lines[wrong],
                f"{ids[wrong]} {name} for {tokens[wrong]} tokens: no block size (16, 64, 512 or another power of two) fits "
                f"this row and those before it; remove {name} to replay the trace without them",
            )


def _decoder(columns: Columns, time: type) -> Any:
    """Return a decoder of lines. It accepts numbers in strings, and whole numbers with a decimal point."""
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
        raise ValueError(f"{trace.path}: {problem}; the first line of a CSV must have these names") from None
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
    """Add rows from line `number` on: together, or one at a time if one of them is damaged."""
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
