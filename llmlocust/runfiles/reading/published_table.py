"""Read a published table of levels: a row is a level.

Times are milliseconds and errors a share from 0 to 1, unless the table shows another unit: `p95_s`, `TTFT mean (s)`,
`1.2s`, `errors %`, failed requests beside all requests. `table_headers` has the names of columns, `table_outcomes` the
forms of failures. Columns with other names are telemetry: `cpu_percent` is `table.cpu_percent` in a threshold. The report
lists what the table does not contain, and what was assumed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmlocust.load import distributions
from llmlocust.metrics.levels import RATE, USERS, LevelFigures, Summary
from llmlocust.metrics.telemetry import TelemetrySummary
from llmlocust.runfiles.reading import locust_files
from llmlocust.runfiles.reading.errors import RunError
from llmlocust.runfiles.reading.run_data import TABLE, RunData
from llmlocust.runfiles.reading.table_cells import DecimalMark
from llmlocust.runfiles.reading.table_columns import OUTCOMES, Column, first, load_column, read_columns
from llmlocust.runfiles.reading.table_headers import LATENCIES, TELEMETRY
from llmlocust.runfiles.reading.table_outcomes import Outcomes, outcomes_of
from llmlocust.runfiles.reading.table_text import Grid, decode, read_grid
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message

_ASSUMED_REQUESTS = 1000
"""Requests that a level is assumed to have if the table has no counts: its share of errors needs a number."""
_MISSING = {
    "ttft": message("Time to first token: the table has no such column."),
    "e2e": message("End-to-end time: the table has no such column."),
    "throughput": message("Throughput: the table has no such column."),
}
"""Sentences on kinds of columns that a table does not have."""
_ONE_ROW = message("A row without a load is left out.")
_MIN_PLAUSIBLE = {"e2e": 0.01, "ttft": 0.001}
"""Seconds below which a time without a unit is more likely in seconds than in milliseconds."""
_FIGURES = (*LATENCIES, *OUTCOMES, "throughput", "output_tokens_per_s")
"""Kinds of columns. A table has at least one of them besides its loads."""


def load_table(path: str | Path, think_time: str = "") -> RunData:
    """Read a table of levels. `think_time`: the think time of its users in the notation of `llmlocust run --think-time`
    ("5", "1-3", "lognormal:5,3"). Raises RunError, in one line, if it is not a table of levels.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        _refuse_files_of_locust(data)
        text, encoding = decode(data)
        run = _read(path, read_grid(text))
    except OSError as problem:
        raise RunError(f"{path}: cannot be read ({problem.strerror})") from problem
    except ValueError as problem:
        raise RunError(f"{path}: {problem}") from None
    if encoding:
        note = message("{file} is not UTF-8: it was read as {encoding}.", file=path.name, encoding=encoding)
        run.notes.insert(0, note)
    if think_time:
        seconds = _think_time(think_time)
        run.info["user_classes"] = {"Users": distributions.think_time_in_words(seconds)}
        run.info["think_times"] = {"Users": seconds.mean}
    return run


def _refuse_files_of_locust(data: bytes) -> None:
    if kind := locust_files.kind_of_file(data):
        raise ValueError(locust_files.why_no_table(kind))


def _think_time(text: str) -> distributions.Distribution:
    try:
        return distributions.think_time(text)
    except ValueError as problem:
        raise RunError(f"--think-time: {problem}") from None


def _read(path: Path, grid: Grid) -> RunData:
    columns, mark = read_columns(grid)
    load = _load_of(grid, columns)
    kept = [row for row, value in enumerate(load.values) if 0.0 < value < math.inf]
    _refuse_many_systems(grid, columns, load)
    outcomes = outcomes_of(columns, [line for line, _ in grid.rows])
    table = _Table(load, columns, outcomes)
    run = RunData(
        path.with_suffix(""), TABLE, [table.level(index, row) for index, row in enumerate(kept)], files=[path]
    )
    run.unknown = list(_unknown(run.levels, columns, [outcomes.errors[row] for row in kept]))
    run.notes = [*_assumptions(columns, load, mark), *outcomes.notes, *_unused(columns)]
    if left_out := len(grid.rows) - len(kept):
        several = message("{count} rows without a load are left out.", count=left_out)
        run.notes.append(several if left_out > 1 else _ONE_ROW)
    if grid.tables > 1:
        run.notes.append(message("The file has {count} tables: the first is read.", count=grid.tables))
    return run


def _load_of(grid: Grid, columns: Sequence[Column]) -> Column:
    load = load_column(columns)
    kinds = {column.kind for column in columns}
    if load is None and not kinds & {USERS, RATE}:
        throughput = first(columns, "throughput")
        hint = f"; call {throughput.header!r} rate if it is the requested load" if throughput else ""
        raise ValueError(f"no table of levels; none of its columns is a load (users, concurrency or rate){hint}")
    text = next((column for column in columns if column.kind in (USERS, RATE) and not column.values), None)
    if load is None and text is not None:
        raise ValueError(f"its load {text.header!r} contains words ({text.words[:40]!r}); write plain numbers")
    if load is None:
        unlimited = next((column.header for column in columns if math.inf in column.values), "")
        hint = f" ({unlimited!r} is inf, which is none); add a column such as users or concurrency" if unlimited else ""
        raise ValueError(f"no row of it has a load above zero{hint}")
    if not kinds.intersection(_FIGURES):
        raise ValueError(
            f"no figures besides the loads (it has {', '.join(grid.header)}); columns such as mean, p95, ttft_p95, rps "
            f"and errors are understood"
        )
    return load


def _refuse_many_systems(grid: Grid, columns: Sequence[Column], load: Column) -> None:
    """Refuse rows of the same load that differ by a word: they are not levels of one system."""
    if len(set(load.known())) == len(load.known()):
        return
    for column in columns:
        if not column.values and len(set(grid.column(column.header))) > 1:
            raise ValueError(
                f"its rows are of different systems (see {column.header!r}) at the same loads; a table of levels is of one "
                f"system, so give each system its own table"
            )


# -- levels


@dataclass(frozen=True)
class _Table:
    """A table with known columns."""

    load: Column
    columns: Sequence[Column]
    outcomes: Outcomes

    def level(self, index: int, row: int) -> LevelFigures:
        load, throughput = self.load.values[row], self.outcomes.throughput[row]
        requests, failed, counted = self._counts(row)
        metrics = {metric: self._summary(metric, row, requests - failed) for metric in LATENCIES}
        return LevelFigures(
            level=index,
            load=load,
            unit=self.load.kind,
            users=load if self.load.kind == USERS else math.nan,
            window=self._value("window", row),
            requests=requests,
            ok=requests - failed,
            counted=counted,
            error_kinds={"failed": failed} if failed else {},
            throughput=throughput,
            output_tokens_per_s=self._value("output_tokens_per_s", row),
            metrics={metric: summary for metric, summary in metrics.items() if summary is not None},
            telemetry={
                f"table.{column.meaning.name}": (TelemetrySummary(1, column.values[row], max=column.values[row]),)
                for column in self.columns
                if column.kind == TELEMETRY and column.values and not math.isnan(column.values[row])
            },
        )

    def _value(self, kind: str, row: int) -> float:
        column = first(self.columns, kind)
        return math.nan if column is None else column.values[row]

    def _counts(self, row: int) -> tuple[int, int, bool]:
        """Return requests, failed requests, and whether they were counted; uncounted ones have the share that failed."""
        requests, errors = self.outcomes.requests[row], self.outcomes.errors[row]
        errors = 0.0 if math.isnan(errors) else errors
        if requests >= 1.0 and (errors == 0.0 or round(requests * errors)):
            return round(requests), round(requests * errors), True
        # a few failures in a million are not rounded to none
        return _ASSUMED_REQUESTS, max(round(_ASSUMED_REQUESTS * errors), int(errors > 0.0)), False

    def _summary(self, metric: str, row: int, ok: int) -> Summary | None:
        names = sorted({column.meaning.name for column in self.columns if column.kind == metric})
        columns = {name: first(self.columns, metric, name) for name in names}
        known = {name: column.values[row] for name, column in columns.items() if column}
        known = {name: value for name, value in known.items() if not math.isnan(value)}
        if not known and metric != "e2e":
            return None
        return Summary(ok, known.pop("mean", math.nan), known.pop("max", math.nan), known)


# -- notes


def _assumptions(columns: Sequence[Column], load: Column, mark: DecimalMark) -> Iterator[Message]:
    if mark.assumed:
        yield message(
            "Numbers such as {example} are read as {number}, because no other number shows which sign is the decimal mark.",
            example=mark.assumed,
            number=f"{mark.value(mark.assumed):.10g}",
        )
    if others := [column.header for column in columns if _may_be_load(column) and column is not load]:
        yield message("The load is the column {load}, not {others}.", load=load.header, others=", ".join(others))
    for column in columns:
        if column.is_bare and 0.0 < column.middle() < _MIN_PLAUSIBLE.get(column.kind, 0.0):
            yield message(
                "The column {column} is read as milliseconds; if it is in seconds, add _s to its name.",
                column=column.header,
            )


def _may_be_load(column: Column) -> bool:
    return column.kind in (USERS, RATE) and any(map(math.isfinite, column.values))


def _unused(columns: Sequence[Column]) -> Iterator[Message]:
    if doubles := [column.header for column in columns if column.values and _is_double(column, columns)]:
        yield message("Not used, because another column contains the same: {columns}.", columns=", ".join(doubles))
    if telemetry := [column for column in columns if column.values and column.kind == TELEMETRY]:
        yield message(
            "Not used, except in thresholds such as {example}: {columns}.",
            example=f"table.{telemetry[0].meaning.name}",
            columns=", ".join(column.header for column in telemetry),
        )
    if texts := [column.header for column in columns if not column.values]:
        yield message("Columns of words are not used: {columns}.", columns=", ".join(texts))


def _is_double(column: Column, columns: Sequence[Column]) -> bool:
    """Return whether another column is used in place of this one. Loads and failures have notes of their own."""
    if column.kind in (TELEMETRY, USERS, RATE, *OUTCOMES):
        return False
    return column is not first(columns, column.kind, column.meaning.name if column.kind in LATENCIES else "")


def _unknown(levels: Sequence[LevelFigures], columns: Sequence[Column], errors: Sequence[float]) -> Iterator[Message]:
    yield message(
        "How the figures were measured: the load generator's own state, how long the levels were held, single requests."
    )
    if not all(level.counted for level in levels):
        yield message(
            "How many requests each level had (a column requests, or seconds, would show it): therefore no figure has an "
            "interval, and noise is assumed to be that of {count} requests per level.",
            count=_ASSUMED_REQUESTS,
        )
    unknown = [words.load(level.load) for level, share in zip(levels, errors, strict=True) if math.isnan(share)]
    if unknown:
        where = message("any level") if len(unknown) == len(levels) else words.series(unknown)
        yield message("Errors at {loads}: every request there is assumed to have succeeded.", loads=where)
    known = {column.kind for column in columns if column.values}
    yield from (sentence for kind, sentence in _MISSING.items() if kind not in known)
