"""Facts about the time inside the levels of a run, from its seconds and its requests.

The tables are the frames of a run, in the units of its files. Results are in seconds and shares, by level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from llmlocust.analysis.phases.phases import BURSTS, STEADY, phases_of
from llmlocust.analysis.phases.recovery import Recovery, recovery
from llmlocust.analysis.phases.trend import EACH, LEAST, SLICES, Course
from llmlocust.metrics.levels import RATE, LevelFigures
from llmlocust.metrics.vocabulary import BASELINE, NOT_THE_SERVERS, OK, RECOVERY

_SILENT = 4.0
"""Seconds without a report after which a process is lost: it reports every three."""


def courses(levels: Sequence[LevelFigures], requests: pd.DataFrame | None) -> dict[int, list[Course]]:
    """Return the trends of TTFT and TPOT inside each level; of the end-to-end time if neither is known.

    A TTFT belongs to the moment at which its request was sent, like the figures of the level. A TPOT belongs to the moment
    of the first token, if all tokens of the answer arrived inside the window: later ones have the next level's load.
    Levels whose load is not meant to be steady, such as a surge, are left out.
    """
    if requests is None:
        return {}
    ok = requests[requests["outcome"] == OK]
    measured, first = ok["measured"] == 1, ok["sent"] + ok["ttft"] / 1000.0
    last, durations = ok["sent"] + ok["e2e"] / 1000.0, (ok["e2e"] - ok["ttft"].fillna(0.0)) / 1000.0
    by_level = {}
    for level in levels:
        if level.phase not in STEADY:
            continue
        of_level = measured & (ok["level"] == level.level)
        duration = float(durations[of_level].mean()) if of_level.any() else 0.0
        # the concurrency of an open load varies within about the duration of an answer: no slice is shorter
        slices = int(min(SLICES, level.window / duration)) if level.unit == RATE and duration > 0.0 else SLICES
        sent, arrived = ok["sent"][of_level], first[(first >= level.warmed_up) & (last < level.ended)]
        trends = [
            _course("ttft", level, level.ended, sent, ok["ttft"], slices),
            _course("tpot", level, level.ended - duration, arrived, ok["tpot"], slices),
        ]
        if trends == [None, None]:
            trends = [_course("e2e", level, level.ended, sent, ok["e2e"], slices)]
        by_level[level.level] = [trend for trend in trends if trend is not None]
    return by_level


def _course(
    metric: str, level: LevelFigures, until: float, moments: pd.Series, milliseconds: pd.Series, max_slices: int
) -> Course | None:
    """Return the trend from the end of the level's warm-up until a moment; None with too few requests."""
    inside = moments[(moments >= level.warmed_up) & (moments < until)]
    seconds = milliseconds[inside.index] / 1000.0
    seconds = seconds[seconds > 0.0]
    count = min(max_slices, len(seconds) // EACH)
    if count < LEAST:
        return None
    length = (until - level.warmed_up) / count
    place = ((inside[seconds.index] - level.warmed_up) / length).clip(0, count - 1).astype(int)
    means = np.exp(np.log(seconds).groupby(place).mean())
    # a slice without a request has no mean
    return Course(metric, length, tuple(map(float, means))) if len(means) == count else None


def recoveries(levels: Sequence[LevelFigures], requests: pd.DataFrame | None) -> list[Recovery]:
    """Return the time until recovery after each spike and surge that a recovery phase follows, compared with the requests
    of the baseline.
    """
    phases = phases_of(levels)
    baseline = [level.level for phase in phases if phase.name == BASELINE for level in phase.levels]
    if requests is None or not baseline:
        return []
    rows = requests[requests["sent"].notna() & ~requests["outcome"].isin(NOT_THE_SERVERS)]
    before = rows[rows["level"].isin(baseline) & (rows["measured"] == 1)]
    metric = "ttft" if before["ttft"].notna().any() else "e2e"
    results = []
    for burst, following in pairwise(phases):
        # the beginning is not finite for levels that were computed from their requests
        began, ended = max(following.levels[0].began, burst.levels[-1].ended), following.levels[-1].ended
        if burst.name in BURSTS and following.name == RECOVERY and math.isfinite(began):
            after = rows[rows["level"].isin([level.level for level in following.levels])].sort_values("sent")
            durations = list(zip(after["sent"] - began, _durations(after, metric), strict=True))
            within = (ended if math.isfinite(ended) else float(rows["sent"].max())) - began
            load = (burst.name, burst.whole.load, burst.levels[0].unit)
            results.append(recovery(load, metric, list(_durations(before, metric)), durations, within))
    return results


def _durations(rows: pd.DataFrame, metric: str) -> pd.Series:
    """Return the seconds of each request; infinite for a failed one."""
    return (rows[metric] / 1000.0).where(rows["outcome"] == OK, math.inf).fillna(math.inf)


def lost_workers(levels: Sequence[LevelFigures], workers: pd.DataFrame | None) -> dict[int, list[str]]:
    """Return the workers that stopped reporting inside a level, by level."""
    if workers is None:
        return {}
    reports = workers.dropna(subset=["time"]).sort_values("time").groupby("worker")["time"]
    last = reports.max()
    end_of_run = float(last.max())
    # with many workers, the file has only every n-th second of each
    silent = max(_SILENT, 2.5 * float(reports.diff().median())) if len(workers) > len(last) else _SILENT
    by_level = {}
    for level in levels:
        end = min(level.ended, end_of_run) if math.isfinite(level.ended) else end_of_run
        names = [str(name) for name, time in last.items() if level.began - silent <= time < end - silent]
        if names:
            by_level[level.level] = names
    return by_level


def stood_still(levels: Sequence[LevelFigures], workers: pd.DataFrame | None) -> dict[int, float]:
    """Return the longest pause in seconds in which a worker did not run (frozen, or without a core), by level."""
    longest: dict[int, float] = {}
    for _, reports in () if workers is None else workers.dropna(subset=["time"]).groupby("worker")["time"]:
        times = reports.sort_values()
        pauses = times.diff()
        # with many workers, the file has only every n-th second of each
        for time, pause in zip(times, pauses, strict=True):
            if pause > max(_SILENT, 2.5 * float(pauses.median())):
                for level in levels:
                    if level.began < time and not level.ended < time - pause:
                        longest[level.level] = max(longest.get(level.level, 0.0), float(pause))
    return longest


def tokens_a_chunk(successes: pd.DataFrame | None) -> dict[int, float]:
    """Return the tokens of the server's usage per received chunk, by level."""
    if successes is None:
        return {}
    rows = successes[(successes["token_source"] == "usage") & (successes["chunks"] > 1)]
    rows = rows[rows["output_tokens"].notna()]
    sums = rows.groupby("level")[["output_tokens", "chunks"]].sum()
    return {int(level): tokens / chunks for level, tokens, chunks in sums.itertuples()}
