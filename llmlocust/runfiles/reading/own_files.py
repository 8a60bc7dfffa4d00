"""Read the files that llmlocust wrote."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd

from llmlocust.metrics.level_rows import level_of_row
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.vocabulary import OK
from llmlocust.runfiles import formats
from llmlocust.runfiles.formats import MOST, Table
from llmlocust.runfiles.reading.csv_table import read_csv
from llmlocust.runfiles.reading.errors import ForeignFile, RunError
from llmlocust.runfiles.reading.rebuilt import rebuilt
from llmlocust.runfiles.reading.run_data import OURS, RunData, weights_of
from llmlocust.runfiles.reading.run_json import read_info, short_name


def load_ours(prefix: Path, files: dict[str, Path]) -> RunData:
    """Read a run from llmlocust's files, which `files` has by name. Its levels are empty where no level has a request."""
    run = RunData(prefix, OURS, files=list(files.values()))
    if formats.RUN in files:
        run.info = read_info(files[formats.RUN], run.notes)
    else:
        run.unknown.append(f"What was run (no {prefix.name}_{formats.RUN}).")
    _read_tables(run, files)
    _find_levels(run, files)
    if run.histograms is not None and not _agrees(run):
        del run.tables[formats.HISTOGRAMS]
        run.notes.append(
            f"{prefix.name}_{formats.HISTOGRAMS} does not agree with the levels (another version wrote it), so "
            "distributions are left out or drawn from the requests."
        )
    if run.requests is None:
        run.unknown.append("Single requests (no file of them): goodput and the servers' words on errors.")
    else:
        run.failures = _failures_of(run.requests)
    if run.timeline is None:
        run.unknown.append("The run second by second (no timeline file): users, in flight, the client's own load.")
    return run


def _read_tables(run: RunData, files: dict[str, Path]) -> None:
    for name, path in files.items():
        if name in formats.TABLES and name != formats.LEVELS:
            run.tables |= _optional(path, formats.TABLES[name], run.notes)
    if run.requests is not None:
        run.tables[formats.REQUESTS] = _with_columns(run.requests)


def _find_levels(run: RunData, files: dict[str, Path]) -> None:
    """Read the levels, or compute them from the requests."""
    if formats.LEVELS in files:
        run.levels = _read_levels(files[formats.LEVELS], run.notes)
    if not run.levels and run.requests is not None and not run.requests.empty:
        run.levels = rebuilt(run)
        run.rebuilt = bool(run.levels)
        if run.levels:
            run.notes.append(
                f"No whole {run.prefix.name}_{formats.LEVELS}: the levels were worked out again from the requests."
            )


def _optional(path: Path, table: Table, notes: list[str]) -> dict[str, pd.DataFrame]:
    """Read a table that the report can do without. A broken or an empty one is left out."""
    try:
        frame = read_csv(path, table.required, table.text, notes)
    except RunError as error:
        notes.append(f"{error}.")
        return {}
    return {} if frame.empty else {table.name: frame}


def _with_columns(requests: pd.DataFrame) -> pd.DataFrame:
    """Add the columns that an earlier version did not write, and the durations from when a request was due."""
    table = formats.TABLES[formats.REQUESTS]
    missing = [name for name in table.columns if name not in requests]
    requests = requests.assign(**{name: ("" if name in table.text else math.nan) for name in missing})
    from_due = {
        key: requests[metric.from_due] + requests["delay"] for key, metric in METRICS.items() if metric.from_due
    }
    return requests.assign(**from_due)


def _read_levels(path: Path, notes: list[str]) -> list[LevelFigures]:
    table = formats.TABLES[formats.LEVELS]
    kept: list[str] = []
    try:
        frame = read_csv(path, table.required, table.text, kept)
    except ForeignFile:
        raise
    except RunError as error:
        notes.append(f"{error}.")
        return []
    notes.extend(kept)
    levels, broken = [], 0
    for row in frame.to_dict("records"):
        try:
            read = level_of_row({str(name): str(value) for name, value in row.items()})
        except (ValueError, OverflowError):
            broken += 1
            continue
        if _makes_sense(read):
            levels.append(read)
        else:
            broken += 1
    if broken:
        notes.append(f"{path.name}: {broken} rows hold what is no number and are left out.")
    levels = [replace(each, phase=short_name(each.phase)) for each in levels]
    kept_levels = [_with_own_intervals(each) for each in levels]
    if kept_levels != levels:
        notes.append(f"{path.name}: some intervals do not contain their values and are left out.")
    return kept_levels


def _with_own_intervals(read: LevelFigures) -> LevelFigures:
    """Return the figures without the intervals that belong to other values."""
    metrics = {
        metric: replace(
            summary,
            intervals={
                name: (low, high)
                for name, (low, high) in summary.intervals.items()
                if not (summary[name] < low or summary[name] > high)
            },
        )
        for metric, summary in read.metrics.items()
    }
    return replace(read, metrics=metrics)


def _makes_sense(read: LevelFigures) -> bool:
    """Whether figures can be what was counted, whatever a damaged file says."""
    counts = (
        read.level,
        read.requests,
        read.ok,
        read.aborted,
        read.due,
        read.dropped,
        read.stalls,
        *read.error_kinds.values(),
    )
    times = (read.load, read.users, read.began, read.warmed_up, read.ended, read.window, read.throughput)
    shares = (read.coalesced, read.counted_chunks, read.right, read.empty, read.cut, read.repeated)
    means = (read.output_tokens_per_s, read.output_tokens, read.input_tokens)
    durations = [value for each in read.metrics.values() for value in (each.mean, each.most, *each.quantiles.values())]
    return (
        all(0 <= each <= MOST for each in counts)
        and read.ok <= read.requests
        and all(math.isnan(each) or 0.0 <= each <= MOST for each in (*times, *means, *durations))
        and all(math.isnan(each) or 0.0 <= each <= 1.0 for each in shares)
    )


def _failures_of(requests: pd.DataFrame) -> pd.DataFrame:
    failed = requests[requests["outcome"] != OK]
    counted = weights_of(failed).groupby([failed["outcome"], failed["error"]]).sum().sort_values(ascending=False)
    frame = counted.rename("count").reset_index()
    return frame.rename(columns={"outcome": "kind"})


def _agrees(run: RunData) -> bool:
    """Whether the buckets mean what they say: medians of the levels' file and of the histograms are the same."""
    for metric in ("ttft", "e2e"):
        found = run.distributions(metric)
        for each in run.levels:
            told, histogram = each.metric(metric)["p50"], found.get(each.level)
            if histogram and told > 0 and abs(histogram.quantile(0.5) / told - 1.0) > 0.1:
                return False
    return True
