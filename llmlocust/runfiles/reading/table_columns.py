"""Columns of a table: meaning and numbers. Pure. A wrong cell raises ValueError, whose text is one line."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from llmlocust.metrics.levels import RATE, USERS
from llmlocust.runfiles.formats import MAX_NUMBER
from llmlocust.runfiles.reading.table_cells import Cell, DecimalMark, decimal_mark, read_cell
from llmlocust.runfiles.reading.table_headers import (
    LATENCIES,
    TELEMETRY,
    TIME_UNITS,
    UNCLEAR_ERRORS,
    Meaning,
    meaning_of,
)
from llmlocust.runfiles.reading.table_text import Grid

FAILURES = ("errors", UNCLEAR_ERRORS)
OUTCOMES = (*FAILURES, "success")
"""Kinds of columns whose form (count, share or percent) `table_outcomes` decides."""
_COUNTS = (USERS, "requests")
"""Kinds of columns whose numbers are whole."""


@dataclass(frozen=True)
class Column:
    """One column: a value for each row, NaN where its cell is empty."""

    header: str
    meaning: Meaning
    values: Sequence[float]
    """In seconds, shares and requests a second; those of OUTCOMES as they were written."""
    is_percent: bool = False
    """Whether a cell has a % sign."""
    is_bare: bool = False
    """Whether neither the name nor a cell has a unit."""
    words: str = ""
    """A cell with other text than a number, because of which the column is not used; otherwise empty."""

    @property
    def kind(self) -> str:
        return self.meaning.kind

    def known(self) -> list[float]:
        return [value for value in self.values if not math.isnan(value)]

    def middle(self) -> float:
        return statistics.median(self.known()) if self.known() else math.nan

    def is_whole(self) -> bool:
        return all(value.is_integer() for value in self.known())


@dataclass(frozen=True)
class _Raw:
    """A column before its numbers are read."""

    at: int
    header: str
    meaning: Meaning
    cells: Sequence[Cell | None]
    """None for a cell with other text than a number."""

    def numbers(self) -> Iterator[str]:
        return (cell.number for cell in self.cells if cell is not None and cell.number)


def read_columns(grid: Grid) -> tuple[list[Column], DecimalMark]:
    """Return the columns that are not empty, and the decimal mark of their numbers."""
    raw = [column for at, header in enumerate(grid.header) if header and (column := _raw(grid, at, header))]
    used = [column for column in raw if column.meaning.kind != TELEMETRY]
    mark = decimal_mark(
        (number for column in used for number in column.numbers()),
        [column.numbers() for column in used if column.meaning.kind in _COUNTS or "count" in column.meaning.tags],
        european=grid.delimiter == ";",
    )
    return [_column(grid, column, mark) for column in raw], mark


def _raw(grid: Grid, at: int, header: str) -> _Raw | None:
    texts = [cells[at] for _, cells in grid.rows]
    cells = [read_cell(text) for text in texts]
    units = [cell.tags for cell in cells if cell is not None and cell.number]
    shared = frozenset.intersection(*units) if units else frozenset()
    meaning = meaning_of(header, shared - set(TIME_UNITS))
    is_empty = all(cell is not None and not cell.number for cell in cells)
    return None if is_empty and meaning.kind not in (USERS, RATE) else _Raw(at, header, meaning, cells)


def _column(grid: Grid, raw: _Raw, mark: DecimalMark) -> Column:
    numbers = [None if cell is None else mark.value(cell.number) for cell in raw.cells]
    if raw.meaning.kind == "requests" and "request" not in raw.meaning.tags and not _are_whole(numbers):
        # a "total" with fractions is not a count
        raw = replace(raw, meaning=replace(raw.meaning, kind=TELEMETRY))
    words = next((grid.rows[row][1][raw.at] for row, number in enumerate(numbers) if number is None), "")
    is_percent = any(cell is not None and "percent" in cell.tags for cell in raw.cells)
    if words and (
        raw.meaning.kind in (TELEMETRY, *FAILURES) or all(number is None or math.isnan(number) for number in numbers)
    ):
        return Column(raw.header, raw.meaning, [], is_percent, words=words)
    if raw.meaning.kind != TELEMETRY:
        _refuse_wrong(grid, raw, numbers)
    default = _default_scale(raw)
    values = [
        _scaled(raw.meaning.kind, cell, number, default)
        for cell, number in zip(raw.cells, numbers, strict=True)
        if cell is not None and number is not None
    ]
    return Column(raw.header, raw.meaning, values, is_percent, raw.meaning.scale is None and not _scales(raw))


def _are_whole(numbers: Iterable[float | None]) -> bool:
    return all(number is None or math.isnan(number) or number.is_integer() for number in numbers)


def _refuse_wrong(grid: Grid, raw: _Raw, numbers: Sequence[float | None]) -> None:
    for (line, cells), number in zip(grid.rows, numbers, strict=True):
        is_unlimited = number == math.inf and raw.meaning.kind == RATE
        if number is None or number < 0.0 or (number > MAX_NUMBER and not is_unlimited):
            raise ValueError(f"line {line}: {raw.header!r} is {cells[raw.at]!r}, which is not a number of 0 or more")
        if raw.meaning.kind == "requests" and not math.isnan(number) and not number.is_integer():
            raise ValueError(f"line {line}: {raw.header!r} is {cells[raw.at]}, and a count is whole; call a rate rps")


def _default_scale(raw: _Raw) -> float:
    """Return the factor of a cell without a unit: the header's unit, that of the other cells, or milliseconds."""
    if raw.meaning.scale is not None:
        return raw.meaning.scale
    scales = _scales(raw)
    if len(scales) == 1 and raw.meaning.kind != TELEMETRY:
        return next(iter(scales))
    return 1e-3 if raw.meaning.kind in LATENCIES else 1.0


def _scales(raw: _Raw) -> set[float]:
    return {cell.scale for cell in raw.cells if cell is not None and cell.scale is not None}


def _scaled(kind: str, cell: Cell, number: float, default: float) -> float:
    if kind in OUTCOMES:
        return number * cell.times
    return number * cell.times * (default if cell.scale is None else cell.scale)


def first(columns: Iterable[Column], kind: str, name: str = "") -> Column | None:
    """Return the column of a kind that is used; None if the table has none."""
    candidates = [
        column for column in columns if column.kind == kind and column.values and name in ("", column.meaning.name)
    ]
    return min(candidates, key=lambda column: column.meaning.rank, default=None)


def values_of(column: Column | None, rows: int) -> Sequence[float]:
    """Return the values of a column; NaN for each row if the table has no such column."""
    return [math.nan] * rows if column is None else column.values


# -- loads


def load_column(columns: Sequence[Column]) -> Column | None:
    """Return the column of the requested load, which differs between rows; None if the table has none."""
    loads = [
        column
        for column in columns
        if column.kind in (USERS, RATE) and any(0 < value < math.inf for value in column.values)
    ]
    return min(loads, key=lambda column: (len(set(column.known())) < 2, _load_rank(column)), default=None)


def _load_rank(column: Column) -> int:
    """Prefer users to rates, and rates to measured concurrency, which has fractions."""
    if column.kind == RATE:
        return 5
    if "concurrency" in column.meaning.tags and column.meaning.rank and not column.is_whole():
        return 8
    return column.meaning.rank
