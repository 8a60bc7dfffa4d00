"""A bare table of levels, as people publish them: one row a level, read into LevelFigures with what it holds.

Times are milliseconds and errors a share from 0 to 1, unless the header says otherwise: `p95_s`, `TTFT mean (s)`,
`errors %`. Columns of other names are telemetry: `cpu_percent` is `table.cpu_percent` in a threshold. What a table does
not tell is not known, and the report says so.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmlocust.analysis import words
from llmlocust.load import distributions
from llmlocust.numbers.levels import RATE, USERS, LevelFigures, Summary
from llmlocust.report.frames import MOST, TABLE, RunError, RunFrames

_STANDS_FOR = 1000
"""So many requests a level of a table without counts is taken to have, to carry its share of errors."""
_NAMES = {
    USERS: ("users", "user_count", "concurrency", "concurrent_users", "clients", "threads", "streams", "vus"),
    RATE: ("rate", "arrival_rate", "request_rate"),
    "throughput": ("rps", "throughput", "req_per_s", "requests_per_s", "qps"),
    "output_tokens_per_s": ("tokens_per_s", "output_tokens_per_s", "tok_per_s"),
    "errors": ("errors", "error_rate", "failures", "failure_rate"),
    "success": ("success", "success_rate"),
    "requests": ("requests", "count"),
    "window": ("window", "duration", "seconds"),
}
_KINDS = {name: kind for kind, names in _NAMES.items() for name in names}
_METRICS = {"ttft": "ttft", "e2e": "e2e", "latency": "e2e", "gap": "gap", "itl": "gap", "tpot": "tpot"}
_STATISTICS = {"mean": "mean", "avg": "mean", "average": "mean", "median": "p50", "max": "max"}
_STATISTICS |= {name: name for name in ("p50", "p90", "p95", "p99", "p99_9")}
_UNITS = {"ms": 1e-3, "s": 1.0, "sec": 1.0, "seconds": 1.0, "us": 1e-6, "percent": 0.01}
_NO_NUMBER = {"", "-", "–", "—", "n/a", "na", "nan", "none", "null"}


@dataclass(frozen=True)
class _Column:
    """What a column holds, in seconds, shares and requests a second after scaling."""

    kind: str
    """One of _NAMES, a metric of _METRICS, or "telemetry"."""
    name: str
    """The statistic of a metric; else the column's own name."""
    scale: float = 1.0


_Row = Mapping[_Column, float]


def load_table(path: str | Path, think_time: str = "") -> RunFrames:
    """Read a table of levels. `think_time` is what its users took between two requests, in seconds, as `llmlocust run --wait` has
    it ("5", "1-3", "lognormal:5,3").

    Raises RunError, in one line, where it is no table of levels.
    """
    path = Path(path)
    header, lines = _lines(path)
    wordy = [at for at in range(len(header)) if _holds_words(lines, at)]
    columns = {at: _column(name) for at, name in enumerate(header) if at not in wordy and name.strip()}
    unit = _unit_of(path, header, columns.values())
    rows = [_numbers(path, number, cells, columns, header) for number, cells in lines]
    loads = [(row, _value(row, unit)) for row in rows]
    _refuse_many_systems(path, [header[at] for at in wordy if len({cells[at] for _, cells in lines}) > 1], loads)
    kept = [(row, load) for row, load in loads if load > 0.0]
    levels = [_level(index, load, unit, row) for index, (row, load) in enumerate(kept)]
    if not levels:
        raise RunError(f"{path}: no row of it has a load above zero")
    run = RunFrames(path.with_suffix(""), TABLE, levels, files=[path])
    run.unknown = list(_unknown(run.levels, [row for row, _ in kept]))
    if wordy:
        run.notes.append(f"Columns of words are not used: {', '.join(header[at] for at in wordy)}.")
    if len(levels) < len(lines):
        run.notes.append(f"{len(lines) - len(levels)} rows without a load are left out.")
    if think_time:
        run.info["user_classes"] = {"Users": _told_wait(think_time)}
    return run


def _told_wait(text: str) -> str:
    try:
        return distributions.told_wait(distributions.think_time(text))
    except ValueError as problem:
        raise RunError(f"--wait: {problem}") from None


def _lines(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and the rows with their line numbers; all of the header's length."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise RunError(f"{path}: cannot be read ({problem.strerror})") from problem
    except UnicodeDecodeError:
        raise RunError(f"{path}: no text; a table is a CSV with a header") from None
    head = text.strip().split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    try:
        read = [(number, cells) for number, cells in enumerate(csv.reader(text.splitlines(), delimiter=delimiter), 1)]
    except csv.Error as problem:
        raise RunError(f"{path}: no CSV ({problem})") from None
    filled = [(number, cells) for number, cells in read if any(cell.strip() for cell in cells)]
    if len(filled) < 2:
        raise RunError(f"{path}: no table of levels; it needs a header and a row a level")
    header = filled[0][1]
    return header, [(number, [*cells, *[""] * len(header)][: len(header)]) for number, cells in filled[1:]]


def _holds_words(lines: Sequence[tuple[int, list[str]]], at: int) -> bool:
    """Whether no cell of a column is a number, though some are filled."""
    filled = [cells[at] for _, cells in lines if cells[at].strip().lower() not in _NO_NUMBER]
    return bool(filled) and all(_number(cell) is None for cell in filled)


def _number(cell: str) -> float | None:
    text = cell.strip().lower()
    if text in _NO_NUMBER:
        return math.nan
    try:
        value = float(text.removesuffix("%").strip()) * (0.01 if text.endswith("%") else 1.0)
    except ValueError:
        return None
    return value if 0.0 <= value <= MOST else None


def _column(head: str) -> _Column:
    name = head.strip().lower().replace("%", " percent ").replace("/", "_per_")
    name = re.sub(r"[^a-z0-9]+", "_", name).strip("_")
    if name in _KINDS:
        return _Column(_KINDS[name], name)
    bare, _, unit = name.rpartition("_")
    scale = _UNITS.get(unit)
    if scale is not None and bare in _KINDS:
        return _Column(_KINDS[bare], bare, scale)
    parts = (bare if scale is not None else name).replace("p99_9", "p999").split("_")
    metrics, statistics = (
        [known[part] for part in parts if part in known] for known in (_METRICS, _STATISTICS | {"p999": "p99_9"})
    )
    if len(metrics) + len(statistics) == len(parts) and len(metrics) <= 1 and len(statistics) <= 1:
        # a latency without more is what most people mean by it: the mean
        return _Column((metrics or ["e2e"])[0], (statistics or ["mean"])[0], 1e-3 if scale is None else scale)
    return _Column("telemetry", name)


def _unit_of(path: Path, header: Sequence[str], columns: Iterable[_Column]) -> str:
    kinds = {each.kind for each in columns}
    unit = next((unit for unit in (USERS, RATE) if unit in kinds), None)
    if unit is None:
        raise RunError(f"{path}: no table of levels; none of its columns is a load (users, concurrency or rate)")
    if not kinds & {*_METRICS.values(), "throughput", "output_tokens_per_s", "errors", "success"}:
        raise RunError(
            f"{path}: no figures beside the loads (it has {', '.join(header)}); columns such as mean, p95, ttft_p95, "
            f"rps and errors are understood"
        )
    return unit


def _numbers(
    path: Path, number: int, cells: Sequence[str], columns: Mapping[int, _Column], header: Sequence[str]
) -> dict[_Column, float]:
    row = {}
    for at, column in columns.items():
        value = _number(cells[at])
        if value is None:
            raise RunError(f"{path}, line {number}: {header[at]!r} is {cells[at]!r}, which is no number from 0 up")
        value *= column.scale
        if column.kind in ("errors", "success") and value > 1.0:
            raise RunError(
                f"{path}, line {number}: {header[at]!r} is {cells[at]}, which is no share from 0 to 1; call the column "
                f"{column.name}_percent where it is in percent"
            )
        row[column] = value
    return row


def _value(row: _Row, kind: str, name: str | None = None) -> float:
    found = (value for column, value in row.items() if column.kind == kind and name in (None, column.name))
    return next((value for value in found if not math.isnan(value)), math.nan)


def _refuse_many_systems(path: Path, wordy: Sequence[str], loads: Sequence[tuple[_Row, float]]) -> None:
    """Rows of the same load that differ by a word are no levels of one system."""
    seen = [load for _, load in loads]
    if wordy and len({each for each in seen if not math.isnan(each)}) < len(seen):
        raise RunError(
            f"{path}: its rows are of different systems ({wordy[0]!r} tells them apart) at the same loads; a table of "
            f"levels is of one system, so give each its own"
        )


def _level(index: int, load: float, unit: str, row: _Row) -> LevelFigures:
    throughput, window = _value(row, "throughput"), _value(row, "window")
    errors = _value(row, "errors")
    if math.isnan(errors):
        errors = 1.0 - _value(row, "success")
    errors = 0.0 if math.isnan(errors) else errors
    told = _value(row, "requests")
    if math.isnan(told):
        told = throughput * window / (1.0 - errors) if errors < 1.0 else math.nan
    counted = told >= 1.0
    requests = round(told) if counted else _STANDS_FOR
    failed = round(requests * errors)
    summaries = {metric: _summary(row, metric, requests - failed) for metric in ("e2e", "ttft", "gap", "tpot")}
    return LevelFigures(
        level=index,
        load=load,
        unit=unit,
        users=load if unit == USERS else math.nan,
        window=window,
        requests=requests,
        ok=requests - failed,
        counted=counted,
        error_kinds={"failed": failed} if failed else {},
        throughput=throughput,
        output_tokens_per_s=_value(row, "output_tokens_per_s"),
        metrics={metric: made for metric, made in summaries.items() if made is not None},
        telemetry={
            f"table.{column.name}": (Summary(1, value, value),)
            for column, value in row.items()
            if column.kind == "telemetry" and not math.isnan(value)
        },
    )


def _summary(row: _Row, metric: str, ok: int) -> Summary | None:
    told = {column.name: value for column, value in row.items() if column.kind == metric and not math.isnan(value)}
    if not told and metric != "e2e":
        return None
    return Summary(ok, told.pop("mean", math.nan), told.pop("max", math.nan), told)


def _unknown(levels: Sequence[LevelFigures], rows: Sequence[_Row]) -> Iterator[str]:
    yield "How the figures were got: the load generator's own state, how long the levels were held, single requests."
    if not all(each.counted for each in levels):
        yield (
            "How many requests each level had (a column requests, or seconds, would tell): so none of its figures has an "
            f"interval, and noise is taken as that of {_STANDS_FOR} requests a level."
        )
    silent = [
        each
        for each, row in zip(levels, rows, strict=True)
        if math.isnan(_value(row, "errors")) and math.isnan(_value(row, "success"))
    ]
    if silent:
        where = "any level" if len(silent) == len(levels) else words.series([words.load(each.load) for each in silent])
        yield f"Errors at {where}: every request there is taken to have succeeded."
    for metric, name in (("ttft", "Time to first token"), ("e2e", "End to end time")):
        if not any(math.isfinite(value) for row in rows for column, value in row.items() if column.kind == metric):
            yield f"{name}: the table has no column of it."
    if all(math.isnan(each.throughput) for each in levels):
        yield "Throughput: the table has no column of it."
