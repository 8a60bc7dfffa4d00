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
from llmlocust.runfiles.formats import MAX_NUMBER, Table
from llmlocust.runfiles.reading.csv_table import read_csv
from llmlocust.runfiles.reading.errors import ForeignFile, RunError, note_of
from llmlocust.runfiles.reading.faults import faults_of
from llmlocust.runfiles.reading.rebuilt import rebuilt
from llmlocust.runfiles.reading.run_data import OURS, RunData, weights_of
from llmlocust.runfiles.reading.run_json import read_info, short_name
from llmlocust.runfiles.reading.telemetry import events_of, sources_of, with_telemetry
from llmlocust.text.message import message


def load_ours(prefix: Path, files: dict[str, Path]) -> RunData:
    """Read a run from llmlocust's files, by name. It has no levels if no level has a request."""
    run = RunData(prefix, OURS, files=list(files.values()))
    if formats.RUN in files:
        run.info = read_info(files[formats.RUN], run.notes)
    else:
        run.unknown.append(message("What was run (no {file}).", file=f"{prefix.name}_{formats.RUN}"))
    _read_tables(run, files)
    _find_levels(run, files)
    run.levels = with_telemetry(run.levels, run.tables.get(formats.TELEMETRY_LEVELS))
    run.sources, run.events = sources_of(run.info), events_of(run.info)
    run.faults = faults_of(run.info)
    if run.histograms is not None and not _agrees(run):
        del run.tables[formats.HISTOGRAMS]
        run.notes.append(
            message(
                "{file} does not agree with the levels (another version wrote it), so distributions are left out or drawn "
                "from the requests.",
                file=f"{prefix.name}_{formats.HISTOGRAMS}",
            )
        )
    if run.requests is None:
        run.unknown.append(message("Single requests (no requests file): goodput and the server's error messages."))
    else:
        run.failures = _failures_of(run.requests)
    if run.timeline is None:
        run.unknown.append(
            message(
                "The run second by second (no timeline file): users, requests in flight, the load generator's own load."
            )
        )
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
                message(
                    "No complete {file}: the levels were computed again from the requests.",
                    file=f"{run.prefix.name}_{formats.LEVELS}",
                )
            )


def _optional(path: Path, table: Table, notes: list[str]) -> dict[str, pd.DataFrame]:
    """Read a table that a report does not need. A damaged or an empty one is left out."""
    try:
        frame = read_csv(path, table.required, table.text, notes)
    except RunError as error:
        notes.append(note_of(error))
        return {}
    return {} if frame.empty else {table.name: frame}


def _with_columns(requests: pd.DataFrame) -> pd.DataFrame:
    """Add the columns that an earlier version did not write, and durations that begin when a request was due."""
    table = formats.TABLES[formats.REQUESTS]
    missing = [name for name in table.columns if name not in requests]
    requests = requests.assign(**{name: ("" if name in table.text else math.nan) for name in missing})
    from_due = {
        key: requests[metric.from_due] + requests["delay"] for key, metric in METRICS.items() if metric.from_due
    }
    return requests.assign(**from_due)


def _read_levels(path: Path, notes: list[str]) -> list[LevelFigures]:
    table = formats.TABLES[formats.LEVELS]
    of_file: list[str] = []
    try:
        frame = read_csv(path, table.required, table.text, of_file)
    except ForeignFile:
        raise
    except RunError as error:
        notes.append(note_of(error))
        return []
    notes.extend(of_file)
    levels, damaged = [], 0
    for row in frame.to_dict("records"):
        try:
            level = level_of_row({str(name): str(value) for name, value in row.items()})
        except (ValueError, OverflowError):
            damaged += 1
            continue
        if _is_possible(level):
            levels.append(level)
        else:
            damaged += 1
    if damaged:
        notes.append(message("{file}: {count} rows with invalid numbers are left out.", file=path.name, count=damaged))
    levels = [replace(level, phase=short_name(level.phase)) for level in levels]
    with_valid = [_with_valid_intervals(level) for level in levels]
    if with_valid != levels:
        notes.append(message("{file}: some intervals do not contain their values and are left out.", file=path.name))
    return with_valid


def _with_valid_intervals(level: LevelFigures) -> LevelFigures:
    """Return the figures without the intervals that do not contain their values."""
    metrics = {
        metric: replace(
            summary,
            intervals={
                name: (low, high)
                for name, (low, high) in summary.intervals.items()
                if not (summary[name] < low or summary[name] > high)
            },
        )
        for metric, summary in level.metrics.items()
    }
    return replace(level, metrics=metrics)


def _is_possible(level: LevelFigures) -> bool:
    """Whether a run can have counted these figures: a damaged file may have any numbers."""
    counts = (
        level.level,
        level.requests,
        level.ok,
        level.aborted,
        level.due,
        level.dropped,
        level.stalls,
        level.retries,
        *level.retried.values(),
        *level.error_kinds.values(),
    )
    times = (level.load, level.users, level.began, level.warmed_up, level.ended, level.window, level.throughput)
    shares = (level.coalesced, level.counted_chunks, level.right, level.empty, level.cut, level.repeated)
    means = (level.output_tokens_per_s, level.output_tokens, level.input_tokens)
    durations = [
        seconds
        for summary in level.metrics.values()
        for seconds in (summary.mean, summary.most, *summary.quantiles.values())
    ]
    return (
        all(0 <= count <= MAX_NUMBER for count in counts)
        and level.ok <= level.requests
        and all(math.isnan(value) or 0.0 <= value <= MAX_NUMBER for value in (*times, *means, *durations))
        and all(math.isnan(share) or 0.0 <= share <= 1.0 for share in shares)
    )


def _failures_of(requests: pd.DataFrame) -> pd.DataFrame:
    failed = requests[requests["outcome"] != OK]
    counted = weights_of(failed).groupby([failed["outcome"], failed["error"]]).sum().sort_values(ascending=False)
    frame = counted.rename("count").reset_index()
    return frame.rename(columns={"outcome": "kind"})


def _agrees(run: RunData) -> bool:
    """Whether the medians of the histograms are those of the levels file: another version may have other buckets."""
    for metric in ("ttft", "e2e"):
        histograms = run.distributions(metric)
        for level in run.levels:
            median, histogram = level.metric(metric)["p50"], histograms.get(level.level)
            if histogram and median > 0 and abs(histogram.quantile(0.5) / median - 1.0) > 0.1:
                return False
    return True
