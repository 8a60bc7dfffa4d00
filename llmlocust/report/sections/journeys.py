"""Journeys: single requests of selected levels, step by step. Times are in seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from llmlocust.analysis.breakpoints.verdict import Verdict
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.vocabulary import ABORTED, ERROR_KINDS, OK
from llmlocust.text import figures as words

_CALM = 0.5
"""Maximum load of a calm level, as a share of the highest level within the SLO limit."""
_SHOWN = 0.01
"""Minimum share of a request that the steps before and after its stream need to be shown."""
_ALWAYS = ("first", "stream", "failed")

STEPS = {
    "client_queue": "waiting for the load generator",
    "connect": "connecting",
    "first": "waiting for the first token",
    "thinking": "reasoning",
    "stream": "tokens streaming",
    "rest": "until the response was closed",
    "failed": "until it failed",
}


@dataclass(frozen=True)
class Journey:
    """One request of the run."""

    kind: str
    """One of typical, slow and failed."""
    steps: tuple[tuple[str, float], ...]
    """Names of STEPS with their seconds, in the order of time."""
    says: str
    error: str = ""
    """The error message of a failed request."""

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.steps)


@dataclass(frozen=True)
class Scenes:
    """The requests that are shown of one level."""

    load: float
    where: str
    """The position of the level relative to the SLO limit, in words."""
    journeys: tuple[Journey, ...]


def journeys(requests: pd.DataFrame | None, levels: Sequence[LevelFigures], verdict: Verdict) -> list[Scenes]:
    """Return a typical, a slow and a failed request of each selected level, as far as it has them."""
    if requests is None:
        return []
    measured = requests[(requests["measured"] == 1) & (requests["outcome"] != ABORTED)]
    made = []
    for level, where in telling(levels, verdict):
        rows = measured[measured["level"] == level.level]
        shown = tuple(_of_level(rows))
        if shown:
            made.append(Scenes(level.load, where, shown))
    return made


def telling(levels: Iterable[LevelFigures], verdict: Verdict) -> list[tuple[LevelFigures, str]]:
    """Select up to three levels, lowest first: calm, at the SLO limit and beyond it; or lowest, middle and highest."""
    ordered = sorted((each for each in levels if each.requests and each.load > 0), key=lambda each: each.load)
    limit = verdict.slo_limit
    if not limit.reached:
        named = {0: "the lowest level", len(ordered) // 2: "in the middle", len(ordered) - 1: "the highest level"}
        if len(ordered) == 1:
            return [(ordered[0], "the only level")]
        return [(ordered[place], where) for place, where in sorted(named.items()) if ordered]
    good = [each for each in ordered if limit.level_ok is not None and each.load <= limit.level_ok]
    calm = [each for each in good if each.load <= _CALM * good[-1].load]
    told = [(calm[-1], "calm")] if calm else []
    if good:
        told.append((good[-1], "at the limit"))
    beyond = [each for each in ordered if limit.level_bad is not None and each.load >= limit.level_bad]
    if beyond:
        # failed requests show more than slow ones
        failing = [each for each in beyond if each.load == verdict.collapse.level_bad]
        told.append(((failing or beyond)[0], "beyond the limit"))
    return told


def _of_level(rows: pd.DataFrame) -> Iterable[Journey]:
    good = rows[rows["outcome"] == OK]
    whole = good["e2e"].fillna(good["duration"])
    ordered = good.assign(whole=whole).dropna(subset=["whole"]).sort_values("whole")
    if len(ordered):
        yield _succeeded("typical", _at(ordered, 0.5))
        yield _succeeded("slow", _at(ordered, 0.95))
    failed = rows[rows["outcome"] != OK].dropna(subset=["duration"]).sort_values("duration")
    if len(failed):
        kind = failed["weight"].fillna(1.0).groupby(failed["outcome"]).sum().idxmax()
        yield _failed(_at(failed[failed["outcome"] == kind], 0.5))


def _at(ordered: pd.DataFrame, q: float) -> dict[str, Any]:
    """Return the row at a quantile; each row counts by its weight."""
    cumulated = ordered["weight"].fillna(1.0).clip(lower=1.0).cumsum().to_numpy()
    place = int(np.searchsorted(cumulated, q * cumulated[-1]))
    return {str(name): value for name, value in ordered.iloc[place].items()}


def _before(row: dict[str, Any]) -> list[tuple[str, float]]:
    return [
        ("client_queue", _seconds(row, "client_queue")),
        ("connect", _seconds(row, "connect") + _seconds(row, "tls")),
    ]


def _seconds(row: dict[str, Any], name: str) -> float:
    value = row.get(name)
    return float(value) / 1000.0 if isinstance(value, float) and math.isfinite(value) else 0.0


def _succeeded(kind: str, row: dict[str, Any]) -> Journey:
    whole, first = row["whole"] / 1000.0, _seconds(row, "ttft")
    answer = max(first, _seconds(row, "ttfo"))
    steps = [*_before(row), ("first", first), ("thinking", answer - first)]
    steps += [("stream", whole - answer), ("rest", max(0.0, _seconds(row, "duration") - whole))]
    said = f"the whole answer after {words.duration(whole)}"
    if first:
        said = f"first token after {words.duration(first)}, the last after {words.duration(whole)}"
        if answer > first:
            said = (
                f"first token after {words.duration(first)}, reasoning until {words.duration(answer)}, the last token "
                f"after {words.duration(whole)}"
            )
    return Journey(kind, _seen(steps), said)


def _failed(row: dict[str, Any]) -> Journey:
    after = _seconds(row, "duration")
    outcome = str(row["outcome"])
    said = f"{ERROR_KINDS.get(outcome, outcome)}, after {words.duration(after)}"
    return Journey("failed", _seen([*_before(row), ("failed", after)]), said, str(row.get("error") or "")[:120])


def _seen(steps: Sequence[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    least = _SHOWN * sum(seconds for _, seconds in steps)
    return tuple((name, seconds) for name, seconds in steps if seconds > (0.0 if name in _ALWAYS else least))
