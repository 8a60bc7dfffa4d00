"""`RunData`: the data of a run.

Tables are pandas frames with the columns and units of the files (milliseconds); levels are LevelFigures (seconds).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llmlocust.metrics import vocabulary
from llmlocust.metrics.fault_window import FaultWindow
from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.telemetry import TelemetryEvent, TelemetrySource
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import OK
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading.run_json import number, or_nan

OURS = "llmlocust"
LOCUST = "locust"
TABLE = "table"


@dataclass
class RunData:
    """The data of a run, from its files."""

    prefix: Path
    source: str
    """The origin of the files: OURS, LOCUST, or TABLE for a published table of levels."""
    levels: list[LevelFigures] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=dict)
    """The content of run.json; empty without one."""
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    """The tables of `formats.TABLES` that were read, by file name, without the levels."""
    failures: pd.DataFrame | None = None
    """Columns kind, error and count: the error messages of failed requests, most frequent first."""
    files: list[Path] = field(default_factory=list)
    sources: list[TelemetrySource] = field(default_factory=list)
    """The sources of telemetry."""
    events: list[TelemetryEvent] = field(default_factory=list)
    """The events that telemetry showed, oldest first."""
    faults: list[FaultWindow] = field(default_factory=list)
    """The faults that the run injected, or failed to inject."""
    unknown: list[str] = field(default_factory=list)
    """Sentences on what the files do not contain."""
    notes: list[str] = field(default_factory=list)
    """Sentences on faults of the files, and on how they were read in spite of them."""
    rebuilt: bool = False
    """Whether the levels were computed again from the requests: their windows are then a little short."""

    @property
    def requests(self) -> pd.DataFrame | None:
        """A row is a request."""
        return self.tables.get(formats.REQUESTS)

    @property
    def histograms(self) -> pd.DataFrame | None:
        return self.tables.get(formats.HISTOGRAMS)

    @property
    def timeline(self) -> pd.DataFrame | None:
        """A row is a second. It has those of TIMELINE_COLUMNS that are known."""
        return self.tables.get(formats.TIMELINE)

    @property
    def workers(self) -> pd.DataFrame | None:
        """A row is a second of a process."""
        return self.tables.get(formats.WORKERS)

    @property
    def telemetry(self) -> pd.DataFrame | None:
        """A row is a value that the system under test reported."""
        return self.tables.get(formats.TELEMETRY)

    def goodput(self, thresholds: Sequence[Threshold]) -> dict[int, float]:
        """Return requests per second that met every latency threshold, by level; empty if the requests are not known.

        This is the good share of the level's successful requests times its throughput, because rows may be a sample.
        """
        rows = self.successes()
        if rows is None:
            return {}
        weights = weights_of(rows)
        by_level = rows["level"]
        share = (weights * good(rows, thresholds)).groupby(by_level).sum() / weights.groupby(by_level).sum()
        shares = _of_levels(share.clip(0.0, 1.0))
        return {
            level.level: shares.get(level.level, 0.0) * level.throughput
            for level in self.levels
            if math.isfinite(level.throughput) and (level.level in shares or level.throughput == 0.0)
        }

    def successes(self) -> pd.DataFrame | None:
        """Return the rows of the requests that a level's latencies contain; None without rows."""
        if self.requests is None:
            return None
        rows = self.requests
        return rows[(rows["outcome"] == OK) & (rows["measured"] == 1) & rows["level"].notna()]

    def whole_rows(self) -> int:
        """Return the number of complete rows of requests; 0 without a file."""
        return 0 if self.requests is None else int(_is_whole(self.requests).sum())

    def rows_outside(self) -> int:
        """Return the number of request rows whose time lies before or after the run."""
        if self.requests is None:
            return 0
        sent = self.requests["sent"]
        started, ended = (or_nan(number(self.info.get(name))) for name in ("started", "ended"))
        return int(((sent < started - _BEFORE) | (sent > ended + _AFTER)).sum())

    def empty(self) -> dict[int, float]:
        """Return the share of each level's successful requests that returned no token."""
        rows = self.successes()
        return {} if rows is None else _weighted(rows, _is_empty(rows)[rows["chunks"].notna()])

    def unread(self) -> dict[int, float]:
        """Return the share of each level's successful requests for which the server counted tokens and none was found."""
        rows = self.successes()
        return {} if rows is None else _weighted(rows, _is_unread(rows)[rows["chunks"].notna()])

    def unread_fields(self) -> str:
        """Return the fields that most of these requests have their text in; empty if not known."""
        rows = self.successes()
        named = [] if rows is None else rows.loc[_is_unread(rows), "unread"].value_counts().index
        return next((fields for fields in map(str, named) if fields), "")

    def whole(self) -> bool:
        """Whether answers arrived in one piece: they have an end-to-end time, and no chunks."""
        rows = self.successes()
        if rows is None or rows.empty:
            return False
        return bool((rows["e2e"].notna() & rows["ttft"].isna() & (rows["chunks"] == 0)).mean() > 0.99)

    def busy(self) -> dict[int, float]:
        """Return the mean seconds of a successful request, by level, from its connection to the end of its response.

        The time that it waited in the load generator is left out: the server did not cause it.
        """
        rows = self.successes()
        if rows is None:
            return {}
        milliseconds = rows["duration"] + rows["connect"].fillna(0.0)
        return _weighted(rows, milliseconds.dropna() / 1000.0)

    def length_noise(self) -> dict[int, float]:
        """Return the standard error of each level's mean output tokens, as a share of the mean."""
        rows = self.successes()
        if rows is None:
            return {}
        lengths = rows[rows["output_tokens"] > 0].groupby("level")["output_tokens"]
        # a few lengths do not show their spread
        known = (lengths.std() / lengths.mean() / lengths.count() ** 0.5)[lengths.count() >= 5]
        return _of_levels(known)

    def unreachable_from(self) -> dict[int, float]:
        """Return the levels at which no connection succeeded from some second on until their end, with that second."""
        if self.requests is None:
            return {}
        rows = self.requests[~self.requests["outcome"].isin(vocabulary.NOT_THE_SERVERS)]
        ends = rows["sent"] + rows["duration"] / 1000.0
        unreachable = {level.level: _gone_from(level, rows, ends) for level in self.levels}
        return {level: seconds for level, seconds in unreachable.items() if seconds is not None}

    def outages(self) -> dict[int, tuple[float, float]]:
        """Return the levels with an outage: nothing could connect for some seconds, and requests succeeded before and, at no
        lower load, after. For each: the second of the level at which the outage began, and its length in seconds.
        """
        if self.requests is None:
            return {}
        rows = self.requests[self.requests["outcome"] != vocabulary.ABORTED]
        times = [time for time in _times_without_server(rows) if not _ends_with_the_load(*time, self.levels)]
        longest: dict[int, tuple[float, float]] = {}
        for level, outage in product([level for level in self.levels if math.isfinite(level.began)], times):
            began, ended = max(outage[0], level.began), min(outage[1], _end_of_level(level))
            if ended - began > longest.get(level.level, (0.0, 0.0))[1]:
                longest[level.level] = (began - level.began, ended - began)
        return longest

    def distributions(self, metric: str) -> dict[int, Histogram]:
        """Return the distribution of a duration in seconds, by level."""
        if self.histograms is not None and not self.histograms.empty:
            of_metric = self.histograms[self.histograms["metric"] == metric].dropna(subset=["level", "bucket", "count"])
            counts = of_metric.groupby(["level", "bucket"])["count"].sum()
            by_level: dict[int, dict[int, int]] = {}
            for (level, bucket), count in counts.items():
                by_level.setdefault(int(level), {})[int(bucket)] = int(count)
            return {level: Histogram.from_counts(buckets) for level, buckets in by_level.items()}
        if self.requests is None or metric not in self.requests:
            return {}
        rows = self.requests[(self.requests["outcome"] == OK) & (self.requests["measured"] == 1)]
        rows = rows.dropna(subset=[metric, "level"])
        return {int(level): Histogram(group[metric] / 1000.0) for level, group in rows.groupby("level")}


_BEFORE = 10.0
"""Seconds: a worker's beginning of the run is late by the travel time of a message."""
_AFTER = 120.0
"""Seconds: a worker that is cut off from its master continues for a minute."""


def _is_whole(requests: pd.DataFrame) -> pd.Series:
    is_known = requests["outcome"].isin([OK, *vocabulary.ERROR_KINDS])
    return is_known & requests["sent"].notna() & requests["duration"].notna()


_MIN_REFUSED = 5
_NO_SERVER = ("connect", "reset")
_UNREACHABLE = (*vocabulary.NO_CONNECTION, "reset")
_SAME_LOAD = 0.9
"""A load that is lower by no more than this factor counts as the same: windows of a replayed trace differ a little."""
_MIN_OUTAGE = 3.0
"""Seconds: a server at its limit may refuse all connections for less."""


def _gone_from(level: LevelFigures, rows: pd.DataFrame, ends: pd.Series) -> float | None:
    """Return the second of the level from which on all attempts failed to connect; None if there is none."""
    failed = level.failed
    # a server that ends also cuts off its streams
    lost = sum(level.error_kinds.get(kind, 0) for kind in (*_NO_SERVER, "truncated"))
    if not failed or lost < 0.9 * failed or math.isnan(level.began):
        return None
    inside = (ends >= level.began) & (rows["outcome"] == OK) & (rows["sent"] < _end_of_level(level))
    last = max(level.began, float(ends[inside].max())) if inside.any() else level.began
    after = rows[(rows["level"] == level.level) & (rows["sent"] > last)]
    refused = int(after["outcome"].isin(_NO_SERVER).sum())
    if refused < _MIN_REFUSED or refused < 0.9 * len(after):
        return None
    first = float(ends[(rows["level"] == level.level) & (ends > last)].min())
    return first - level.began if inside.any() else 0.0


def _times_without_server(rows: pd.DataFrame) -> list[tuple[float, float]]:
    """Return the times (epoch seconds) between two successes in which all that ended were failed connections."""
    rows = rows.assign(end=rows["sent"] + rows["duration"] / 1000.0).dropna(subset=["end"]).sort_values("end")
    moments, is_out = rows["end"].to_numpy(), rows["outcome"].isin(_UNREACHABLE).to_numpy()
    successes = np.flatnonzero((rows["outcome"] == OK).to_numpy())
    times = []
    for place in np.flatnonzero(np.diff(moments[successes]) >= _MIN_OUTAGE):
        before, after = successes[place], successes[place + 1]
        between = np.flatnonzero(is_out[before + 1 : after]) + before + 1
        if len(between) < _MIN_REFUSED or len(between) < 0.9 * (after - before - 1):
            continue
        began, ended = float(moments[between[0]]), float(moments[between[-1]])
        if ended - began >= _MIN_OUTAGE:
            times.append((began, ended))
    return times


def _ends_with_the_load(began: float, ended: float, levels: Sequence[LevelFigures]) -> bool:
    """Whether the server answered again only at a lower load. The load may then have caused the outage."""
    before, after = (
        next((level.load for level in reversed(levels) if level.began <= moment), math.nan) for moment in (began, ended)
    )
    return after < _SAME_LOAD * before


def _end_of_level(level: LevelFigures) -> float:
    return level.ended if math.isfinite(level.ended) else math.inf


def _is_empty(rows: pd.DataFrame) -> pd.Series:
    """Select requests without a token: none was seen, and the server counted none or, for a stream, reported no count."""
    tokens = rows["output_tokens"]
    return (rows["chunks"] == 0) & ((tokens == 0) | (tokens.isna() & rows["e2e"].isna()))


def _is_unread(rows: pd.DataFrame) -> pd.Series:
    """Select requests for which the server counted tokens and none was found. Answers in one piece have an e2e time."""
    return (rows["chunks"] == 0) & (rows["output_tokens"] > 0) & rows["e2e"].isna()


def _weighted(rows: pd.DataFrame, values: pd.Series) -> dict[int, float]:
    """Return the weighted mean of the values by level."""
    weights, levels = weights_of(rows)[values.index], rows["level"][values.index]
    return _of_levels((values * weights).groupby(levels).sum() / weights.groupby(levels).sum())


def _of_levels(values: pd.Series) -> dict[int, float]:
    known = values.dropna()
    return {int(level): float(value) for level, value in zip(known.index.tolist(), known.tolist(), strict=True)}


def weights_of(rows: pd.DataFrame) -> pd.Series:
    return rows["weight"].fillna(1.0).clip(lower=1.0)


def good(requests: pd.DataFrame, thresholds: Sequence[Threshold]) -> pd.Series:
    """Return which requests of a frame are good (thresholds.is_good). An answer without a token is not."""
    good = (requests["outcome"] == OK) & ~_is_empty(requests)
    for threshold in thresholds:
        if threshold.column is not None:
            seconds = requests[threshold.column] / 1000.0
            good &= seconds.isna() | threshold.met_by(seconds)
    return good
