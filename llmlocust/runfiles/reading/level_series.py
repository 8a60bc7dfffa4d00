"""What a run's files tell of the time inside its levels, second by second and request by request.

Tables are the run's frames, in the files' units; what comes out is in seconds and shares, by level.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd

from llmlocust.analysis.phases.phases import BURSTS, STEADY, phases_of
from llmlocust.analysis.phases.recovery import Recovery, recovery
from llmlocust.analysis.phases.trend import EACH, LEAST, SLICES, Course
from llmlocust.metrics.levels import RATE, LevelFigures, Summary
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import BASELINE, NOT_THE_SERVERS, OK, QUANTILES, RECOVERY

_SILENT = 4.0
"""Seconds without a word after which a process is gone: it reports every three."""


def with_telemetry(
    levels: Sequence[LevelFigures], telemetry: pd.DataFrame | None, thresholds: Collection[Threshold]
) -> list[LevelFigures]:
    """The levels with whatever telemetry the thresholds ask for, of their measured windows."""
    asked = {each.metric for each in thresholds if each.is_telemetry}
    if telemetry is None or not asked:
        return list(levels)
    source, metric = (telemetry[name].fillna("").str.lower() for name in ("source", "metric"))
    # a name of Prometheus has its source in itself
    name = (source + "." + metric).where(~metric.isin(asked), metric)
    rows = telemetry.assign(name=name)[name.isin(asked)].dropna(subset=["time", "value"])
    return [replace(each, telemetry={**each.telemetry, **_meanwhile(each, rows)}) for each in levels]


def _meanwhile(level: LevelFigures, rows: pd.DataFrame) -> Mapping[str, tuple[Summary, ...]]:
    inside = rows[(rows["time"] >= level.warmed_up) & (rows["time"] < level.ended)]
    found: dict[str, list[Summary]] = {}
    for (name, *_), series in inside.groupby(["name", "source", "metric", "labels"], dropna=False)["value"]:
        quantiles = {quantile: float(series.quantile(q)) for quantile, q in QUANTILES.items()}
        found.setdefault(str(name), []).append(
            Summary(len(series), float(series.mean()), float(series.max()), quantiles)
        )
    return {name: tuple(summaries) for name, summaries in found.items()}


def courses(levels: Sequence[LevelFigures], requests: pd.DataFrame | None) -> dict[int, list[Course]]:
    """How first tokens and the time per token (or, where neither is known, whole requests) went inside each level.

    First tokens go by when their request was sent, as the level's own figures do; the time per token by when the tokens
    came, whenever they were asked for, as long as all came inside the window: the next level's load is no phase of it.
    Levels that are not meant to stand still, such as a surge, are left out.
    """
    if requests is None:
        return {}
    ok = requests[requests["outcome"] == OK]
    measured, first = ok["measured"] == 1, ok["sent"] + ok["ttft"] / 1000.0
    last, answers = ok["sent"] + ok["e2e"] / 1000.0, (ok["e2e"] - ok["ttft"].fillna(0.0)) / 1000.0
    found = {}
    for each in levels:
        if each.phase not in STEADY:
            continue
        of_level = measured & (ok["level"] == each.level)
        answer = float(answers[of_level].mean()) if of_level.any() else 0.0
        # how many an open load has served at once comes and goes in about the time of an answer: no slice is shorter
        most = int(min(SLICES, each.window / answer)) if each.unit == RATE and answer > 0.0 else SLICES
        sent, came = ok["sent"][of_level], first[(first >= each.warmed_up) & (last < each.ended)]
        made = [
            _course("ttft", each, each.ended, sent, ok["ttft"], most),
            _course("tpot", each, each.ended - answer, came, ok["tpot"], most),
        ]
        if made == [None, None]:
            made = [_course("e2e", each, each.ended, sent, ok["e2e"], most)]
        found[each.level] = [course for course in made if course is not None]
    return found


def _course(
    metric: str, level: LevelFigures, until: float, when: pd.Series, milliseconds: pd.Series, most: int
) -> Course | None:
    """Of the time from the end of the level's warm-up until some moment."""
    inside = when[(when >= level.warmed_up) & (when < until)]
    seconds = milliseconds[inside.index] / 1000.0
    seconds = seconds[seconds > 0.0]
    count = min(most, len(seconds) // EACH)
    if count < LEAST:
        return None
    length = (until - level.warmed_up) / count
    place = ((inside[seconds.index] - level.warmed_up) / length).clip(0, count - 1).astype(int)
    means = np.exp(np.log(seconds).groupby(place).mean())
    # of a slice without a request nobody knows
    return Course(metric, length, tuple(map(float, means))) if len(means) == count else None


def recoveries(levels: Sequence[LevelFigures], requests: pd.DataFrame | None) -> list[Recovery]:
    """How long it took to be well again after each spike and surge that a time of rest came after, by the requests of
    the baseline.
    """
    phases = phases_of(levels)
    usual = [each.level for phase in phases if phase.name == BASELINE for each in phase.levels]
    if requests is None or not usual:
        return []
    rows = requests[requests["sent"].notna() & ~requests["outcome"].isin(NOT_THE_SERVERS)]
    before = rows[rows["level"].isin(usual) & (rows["measured"] == 1)]
    metric = "ttft" if before["ttft"].notna().any() else "e2e"
    made = []
    for burst, rest in pairwise(phases):
        # of levels that were worked out from their requests nobody knows when they began
        began, ended = max(rest.levels[0].began, burst.levels[-1].ended), rest.levels[-1].ended
        if burst.name in BURSTS and rest.name == RECOVERY and math.isfinite(began):
            after = rows[rows["level"].isin([each.level for each in rest.levels])].sort_values("sent")
            told = list(zip(after["sent"] - began, _took(after, metric), strict=True))
            within = (ended if math.isfinite(ended) else float(rows["sent"].max())) - began
            what = (burst.name, burst.whole.load, burst.levels[0].unit)
            made.append(recovery(what, metric, list(_took(before, metric)), told, within))
    return made


def _took(rows: pd.DataFrame, metric: str) -> pd.Series:
    """Seconds that each request took; infinite where it failed."""
    return (rows[metric] / 1000.0).where(rows["outcome"] == OK, math.inf).fillna(math.inf)


def gone(levels: Sequence[LevelFigures], workers: pd.DataFrame | None) -> dict[int, list[str]]:
    """The load processes that fell silent inside a level, by level."""
    if workers is None:
        return {}
    seen = workers.dropna(subset=["time"]).sort_values("time").groupby("worker")["time"]
    last = seen.max()
    over = float(last.max())
    # of many processes, each is told of in every so manieth second
    silent = max(_SILENT, 2.5 * float(seen.diff().median())) if len(workers) > len(last) else _SILENT
    found = {}
    for each in levels:
        end = min(each.ended, over) if math.isfinite(each.ended) else over
        names = [str(name) for name, time in last.items() if each.began - silent <= time < end - silent]
        if names:
            found[each.level] = names
    return found


def stood_still(levels: Sequence[LevelFigures], workers: pd.DataFrame | None) -> dict[int, float]:
    """Levels in which a load process stood still and went on later (frozen, or without a core), and for how many
    seconds at most.
    """
    found: dict[int, float] = {}
    for _, seen in () if workers is None else workers.dropna(subset=["time"]).groupby("worker")["time"]:
        times = seen.sort_values()
        pauses = times.diff()
        # of many processes, each is told of in every so manieth second
        for time, pause in zip(times, pauses, strict=True):
            if pause > max(_SILENT, 2.5 * float(pauses.median())):
                for each in levels:
                    if each.began < time and not each.ended < time - pause:
                        found[each.level] = max(found.get(each.level, 0.0), float(pause))
    return found


def cache_hits(levels: Sequence[LevelFigures], telemetry: pd.DataFrame | None) -> dict[int, float]:
    """Share of the prompt tokens that the server's prefix cache had, by level, where its counters tell."""
    if telemetry is None:
        return {}
    named = telemetry["metric"].fillna("").str.removesuffix("_total")
    shares = {}
    for each in levels:
        inside = (telemetry["time"] >= each.warmed_up) & (telemetry["time"] < each.ended)
        asked, hits = (
            _grown(telemetry[inside & named.str.endswith(f"prefix_cache_{what}")]) for what in ("queries", "hits")
        )
        if asked > 0.0:
            shares[each.level] = hits / asked
    return shares


def _grown(counters: pd.DataFrame) -> float:
    """What counters have grown by, all series together."""
    series = counters.groupby(["source", "metric", "labels"], dropna=False)["value"]
    return float((series.max() - series.min()).sum())


def tokens_a_chunk(successes: pd.DataFrame | None) -> dict[int, float]:
    """Tokens of the server's usage for each chunk that came, by level."""
    if successes is None:
        return {}
    rows = successes[(successes["token_source"] == "usage") & (successes["chunks"] > 1)]
    rows = rows[rows["output_tokens"].notna()]
    sums = rows.groupby("level")[["output_tokens", "chunks"]].sum()
    return {int(level): tokens / chunks for level, tokens, chunks in sums.itertuples()}
