"""Read Locust's own CSV files, of any test, as a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llmlocust.metrics import vocabulary
from llmlocust.metrics.levels import LevelFigures, Summary
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading import locust_files
from llmlocust.runfiles.reading.csv_table import read_csv
from llmlocust.runfiles.reading.errors import RunError, note_of
from llmlocust.runfiles.reading.locust_files import FAILURES, HISTORY, STATS
from llmlocust.runfiles.reading.run_data import LOCUST, RunData
from llmlocust.text.message import message

_TEXT = {"Type", "Name", "Method", "Error", "First Seen", "Last Seen"}
_QUANTILES = {"p50": "50%", "p90": "90%", "p95": "95%", "p99": "99%", "p99_9": "99.9%"}
"""Our names of quantiles, with Locust's columns of them."""
_MIN_PLATEAU = 8.0
_WARMUP = 10.0
_MAX_INTERVALS = 8


def load_locust(prefix: Path, files: dict[str, Path]) -> RunData:
    run = RunData(prefix, LOCUST, files=list(files.values()))
    if FAILURES in files:
        run.failures = _locust_failures(files[FAILURES], run.notes)
    run.unknown += [
        message(
            "Time to first token, inter-token latency, TPOT and tokens: Locust's files contain whole requests only, and for "
            "streamed answers their times may end at the first byte."
        ),
        message("The load generator's own state: its CPU, its event loop, lost requests."),
        message("Latencies of successful requests alone: Locust counts failed requests in its percentiles."),
    ]
    if HISTORY not in files:
        run.unknown.append(
            message(
                "Levels, users and the run over time: there is no {file}, so the whole test is one row.",
                file=f"{run.prefix.name}_{HISTORY}",
            )
        )
        run.levels = [_whole_test(files[STATS], run.notes)]
        return run
    history = _read_locusts(files[HISTORY], ("Timestamp", "Name", "Total Request Count"), run.notes, lines_end=True)
    names = set(history["Name"].unique())
    total = _rows_of_all(history, "Timestamp", "Total Request Count")
    total = total.drop_duplicates("Timestamp", keep="last").sort_values("Timestamp").reset_index(drop=True)
    if total.empty or total["Total Request Count"].max() <= 0:
        raise RunError(f"{files[HISTORY]}: no request in it; run the test again, longer, or see why none was sent")
    if "Total Failure Count" not in total:
        run.unknown.append(
            message("Errors: the history does not count failures, so every request is assumed to have succeeded.")
        )
    if "User Count" not in total:
        return _without_users(run, files, total)
    total = total.dropna(subset=["User Count"]).reset_index(drop=True)
    full = len(names) > 1
    spans = _plateaus(total)
    if not spans:
        spans = _intervals(total)
        run.unknown.append(
            message(
                "Levels: the number of users was never constant, so the run is divided into intervals and each interval is "
                "shown at its mean users. Hold each load for a minute to know more."
            )
        )
    else:
        run.unknown.append(
            message("When the warm-up of each level began and ended: derived from where the user count was constant.")
        )
    run.levels = [
        figures
        for index, (first, last, warmup) in enumerate(spans)
        if (figures := _of_span(total.iloc[first : last + 1], index, warmup, full=full, alone=len(spans) == 1))
    ]
    run.tables[formats.TIMELINE] = _locust_timeline(total, run.levels)
    if full:
        run.unknown.append(
            message(
                "Exact percentiles of a level: each is computed from those of Locust's 10 s windows inside it, of rounded "
                "times."
            )
        )
    elif len(run.levels) > 1:
        run.unknown.append(
            message(
                "Percentiles by level: without --csv-full-history Locust writes those of the whole test so far. Means by "
                "level are exact."
            )
        )
    if not run.levels:
        raise RunError(f"{files[HISTORY]}: too short for a level; let the test run for a minute or more")
    return run


def _read_locusts(path: Path, required: Iterable[str], notes: list[str], *, lines_end: bool = False) -> pd.DataFrame:
    """Read one of Locust's CSVs, with the columns of Locust 2."""
    return read_csv(path, required, _TEXT, notes, columns_of=locust_files.columns_of, lines_end=lines_end)


def _rows_of_all(frame: pd.DataFrame, *known: str) -> pd.DataFrame:
    """Return the rows of all requests together in which these columns are known."""
    names = frame["Name"]
    return frame[names == locust_files.total_name(set(names.unique()))].dropna(subset=list(known))


def _without_users(run: RunData, files: dict[str, Path], total: pd.DataFrame) -> RunData:
    """Read the whole test as one level: before Locust 1.0, a history has no user counts that would show levels."""
    run.unknown.append(
        message("Levels and users: the history has no user counts (Locust before 1.0), so the whole test is one row.")
    )
    run.levels = [_of_history(total)] if STATS not in files else [_whole_test(files[STATS], run.notes)]
    return run


def _of_history(total: pd.DataFrame) -> LevelFigures:
    """Make the whole test a level, from the last row of a history, whose percentiles and rates are of the last seconds."""
    times, counts = total["Timestamp"], total["Total Request Count"]
    seconds = float(times.iloc[-1] - times.iloc[0])
    recent = {*_QUANTILES.values(), "Failures/s"}
    row = {name.removeprefix("Total "): value for name, value in total.iloc[-1].items() if name not in recent}
    row["Requests/s"] = float(counts.iloc[-1] - counts.iloc[0]) / seconds if seconds > 0 else math.nan
    return _of_totals(row)


def _plateaus(total: pd.DataFrame) -> list[tuple[int, int, float]]:
    """Return the first and last row of each time of constant users, and the seconds of its warm-up."""
    users, times = total["User Count"].to_numpy(), total["Timestamp"].to_numpy()
    spans, first = [], 0
    for row in range(1, len(users) + 1):
        if row < len(users) and users[row] == users[first]:
            continue
        lasted = float(times[row - 1] - times[first])
        if users[first] > 0 and lasted >= _MIN_PLATEAU:
            spans.append((first, row - 1, min(_WARMUP, lasted / 3.0)))
        first = row
    return spans


def _intervals(total: pd.DataFrame) -> list[tuple[int, int, float]]:
    """Divide the time with users into intervals of the same length, like `_plateaus`."""
    used = total.index[total["User Count"] > 0]
    if len(used) < 2:
        return []
    first, last = int(used[0]), int(used[-1])
    count = max(1, min(_MAX_INTERVALS, (last - first) // 5))
    edges = [first + (last - first) * number // count for number in range(count + 1)]
    return [(low, high, 0.0) for low, high in pairwise(edges) if high > low]


def _of_span(rows: pd.DataFrame, index: int, warmup: float, *, full: bool, alone: bool) -> LevelFigures | None:
    """Return a level from the differences of Locust's totals between two of its rows, which are exact."""
    began = float(rows["Timestamp"].iloc[0])
    inside = rows[rows["Timestamp"] >= began + warmup]
    first, last = inside.iloc[0], inside.iloc[-1]
    window = float(last["Timestamp"] - first["Timestamp"])
    ended = int(last["Total Request Count"] - first["Total Request Count"])
    failed = int(last.get("Total Failure Count", 0) - first.get("Total Failure Count", 0))
    if window <= 0:
        return None
    users = float(inside["User Count"].mean())
    return LevelFigures(
        level=index,
        load=round(users, 1),
        users=users,
        began=began,
        warmed_up=float(first["Timestamp"]),
        ended=float(last["Timestamp"]),
        window=window,
        requests=ended,
        ok=ended - failed,
        error_kinds={"failed": failed} if failed else {},
        throughput=(ended - failed) / window,
        metrics={"e2e": _locust_latency(inside, ended, full=full, alone=alone)} if ended > 0 else {},
    )


_PERCENTILES = {
    percent: percent / 100.0 for percent in (50.0, 66.0, 75.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.9, 99.99, 100.0)
}
_LOCUST_WINDOW = 10.0
"""With --csv-full-history, the percentiles of a row are those of this many seconds before it."""


def _locust_latency(rows: pd.DataFrame, ended: int, *, full: bool, alone: bool) -> Summary:
    totals = rows["Total Average Response Time"] * rows["Total Request Count"]
    mean = float(totals.iloc[-1] - totals.iloc[0]) / ended / 1000.0
    if full:
        return _of_windows(rows, ended, mean)
    last = rows.iloc[-1] if alone else {}
    quantiles = {name: float(last[column]) / 1000.0 for name, column in _QUANTILES.items() if column in last}
    return Summary(ended, mean, quantiles={name: value for name, value in quantiles.items() if value > 0})


def _of_windows(rows: pd.DataFrame, ended: int, mean: float) -> Summary:
    """Return the percentiles of a level from those of Locust's windows inside it, weighted by their requests."""
    # adjacent windows, back from the end, so that every second counts once
    ends = np.arange(rows["Timestamp"].iloc[-1], rows["Timestamp"].iloc[0] + _LOCUST_WINDOW - 0.5, -_LOCUST_WINDOW)
    inside = rows[rows["Timestamp"].isin(ends)]
    inside = inside if len(inside) else rows.iloc[-1:]
    columns = {column: share for percent, share in _PERCENTILES.items() if (column := f"{percent:g}%") in inside}
    values = inside[list(columns)].to_numpy(dtype=float) / 1000.0
    before = np.interp(inside["Timestamp"] - _LOCUST_WINDOW, rows["Timestamp"], rows["Total Request Count"])
    weights = np.maximum(inside["Total Request Count"].to_numpy() - before, 1.0)
    # Locust writes 0 for a window without a request
    known = (values > 0.0).all(axis=1) if columns else np.zeros(len(values), dtype=bool)
    if not known.any():
        return Summary(ended, mean)
    values, counts = values[known], weights[known]
    weights = counts / counts.sum()
    # Locust's percentile q of n times is the one after the n·q smallest; it represents the middle of its own n-th
    ranks = np.floor(np.outer(counts, list(columns.values()))).clip(max=counts[:, None] - 1.0)
    shares = (ranks + 0.5) / counts[:, None]
    # below its lowest percentile, the times of a window are assumed to be uniform from half of that percentile on
    values = np.column_stack([values[:, 0] / 2.0, values])
    shares = np.column_stack([np.zeros(len(values)), shares])
    edges = np.unique(values)
    reached = sum(
        weight * np.interp(edges, times, share, left=0.0, right=1.0)
        for weight, times, share in zip(weights, values, shares, strict=True)
    )

    def at(share: float) -> float:
        return float(np.interp(min(max(share, 0.0), 1.0), reached, edges))

    def interval(share: float) -> tuple[float, float]:
        spread = 1.96 * math.sqrt(share * (1.0 - share) / max(1, ended))
        low, high = at(share - spread), at(share + spread)
        return low - _rounding(low), high + _rounding(high)

    return Summary(
        ended,
        mean,
        quantiles={name: at(share) for name, share in vocabulary.QUANTILES.items()},
        intervals={name: interval(share) for name, share in vocabulary.QUANTILES.items()},
    )


def _rounding(seconds: float) -> float:
    """Return half of the step to which Locust rounds a response time: two digits, below 100 ms one millisecond."""
    return 0.0005 if seconds < 0.1 else 0.5 * 10.0 ** (math.floor(math.log10(seconds)) - 1.0)


def _whole_test(path: Path, notes: list[str]) -> LevelFigures:
    stats = _read_locusts(path, ("Name", "Request Count", "Failure Count"), notes)
    rows = _rows_of_all(stats, "Request Count")
    if rows.empty and len(stats) == 1:
        rows = stats.dropna(subset=["Request Count"])
    if rows.empty and len(stats):
        raise RunError(f"{path}: it has no row Aggregated, the sum of all requests; give the file as Locust wrote it")
    if rows.empty or rows["Request Count"].iloc[-1] <= 0:
        raise RunError(f"{path}: no request in it; run the test again, longer, or see why none was sent")
    return _of_totals(rows.iloc[-1].to_dict())


def _of_totals(row: Mapping[str, Any]) -> LevelFigures:
    """Make the whole test a level, from Locust's totals. Locust 0.9 has no percentiles but the median."""
    count, failed = int(row["Request Count"]), int(_number_in(row, "Failure Count", 0.0))
    if failed > count:
        raise ValueError("Locust's totals have more failures than requests")
    times = {name: _number_in(row, column) / 1000.0 for name, column in _QUANTILES.items()}
    median = _number_in(row, "Median Response Time") / 1000.0
    times["p50"] = median if math.isnan(times["p50"]) else times["p50"]
    rate = _number_in(row, "Requests/s")
    failure_rate = _number_in(row, "Failures/s")
    return LevelFigures(
        level=0,
        load=math.nan,
        requests=count,
        ok=count - failed,
        error_kinds={"failed": failed} if failed else {},
        throughput=rate * (1.0 - failed / count) if math.isnan(failure_rate) else rate - failure_rate,
        metrics={
            "e2e": Summary(
                count,
                _number_in(row, "Average Response Time") / 1000.0,
                _number_in(row, "Max Response Time") / 1000.0,
                {name: value for name, value in times.items() if not math.isnan(value)},
            )
        },
    )


def _number_in(row: Mapping[str, Any], column: str, default: float = math.nan) -> float:
    value = row.get(column, math.nan)
    return default if pd.isna(value) else float(value)


def _locust_failures(path: Path, notes: list[str]) -> pd.DataFrame | None:
    try:
        frame = _read_locusts(path, ("Name", "Error", "Occurrences"), notes)
    except RunError as error:
        notes.append(note_of(error))
        return None
    counted = frame.groupby("Error")["Occurrences"].sum().sort_values(ascending=False).reset_index()
    return counted.rename(columns={"Error": "error", "Occurrences": "count"}).assign(kind="failed")


def _locust_timeline(total: pd.DataFrame, levels: Sequence[LevelFigures]) -> pd.DataFrame:
    span = total["Timestamp"].diff()
    ended = total["Total Request Count"].diff() / span
    failed = total["Total Failure Count"].diff() / span if "Total Failure Count" in total else math.nan
    frame = pd.DataFrame({"time": total["Timestamp"], "users": total["User Count"], "ended": ended, "failed": failed})
    frame["level"] = math.nan
    for level in levels:
        frame.loc[(frame["time"] >= level.began) & (frame["time"] <= level.ended), "level"] = level.level
    return frame
