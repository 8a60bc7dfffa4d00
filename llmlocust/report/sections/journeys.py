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
from llmlocust.text.message import Message, message, term

_CALM = 0.5
"""Maximum load of a calm level, as a share of the highest level within the SLO limit."""
_SHOWN = 0.01
"""Minimum share of a request that the steps before and after its stream need to be shown."""
_ALWAYS = ("first", "stream", "failed")

STEPS = {
    "client_queue": term("waiting for the load generator"),
    "connect": term("connecting"),
    "first": term("waiting for the first token"),
    "thinking": term("reasoning"),
    "stream": term("tokens streaming"),
    "rest": term("until the response was closed"),
    "failed": term("until it failed"),
}
KINDS = {"typical": term("typical"), "slow": term("slow"), "failed": term("failed")}


@dataclass(frozen=True)
class Journey:
    """One request of the run."""

    kind: str
    """A key of KINDS."""
    steps: tuple[tuple[str, float], ...]
    """Names of STEPS with their seconds, in the order of time."""
    says: Message
    error: str = ""
    """The error message of a failed request."""

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.steps)


@dataclass(frozen=True)
class Scenes:
    """The requests that are shown of one level."""

    load: float
    where: Message
    """The position of the level relative to the SLO limit, in words."""
    journeys: tuple[Journey, ...]


def journeys(requests: pd.DataFrame | None, levels: Sequence[LevelFigures], verdict: Verdict) -> list[Scenes]:
    """Return a typical, a slow and a failed request of each selected level, as far as it has them."""
    if requests is None:
        return []
    measured = requests[(requests["measured"] == 1) & (requests["outcome"] != ABORTED)]
    scenes = []
    for level, where in selected_levels(levels, verdict):
        shown = tuple(_of_level(measured[measured["level"] == level.level]))
        if shown:
            scenes.append(Scenes(level.load, where, shown))
    return scenes


def selected_levels(levels: Iterable[LevelFigures], verdict: Verdict) -> list[tuple[LevelFigures, Message]]:
    """Select up to three levels, lowest first: calm, at the SLO limit and beyond it; or lowest, middle and highest."""
    ordered = sorted((level for level in levels if level.requests and level.load > 0), key=lambda level: level.load)
    limit = verdict.slo_limit
    if not limit.reached:
        return _lowest_to_highest(ordered)
    good = [level for level in ordered if limit.level_ok is not None and level.load <= limit.level_ok]
    calm = [level for level in good if level.load <= _CALM * good[-1].load]
    beyond = [level for level in ordered if limit.level_bad is not None and level.load >= limit.level_bad]
    # failed requests show more than slow ones
    failing = [level for level in beyond if level.load == verdict.collapse.level_bad]
    candidates = [
        (calm[-1:], message("calm")),
        (good[-1:], message("at the limit")),
        ((failing or beyond)[:1], message("beyond the limit")),
    ]
    return [(level, where) for selected, where in candidates for level in selected]


def _lowest_to_highest(ordered: Sequence[LevelFigures]) -> list[tuple[LevelFigures, Message]]:
    """Return the lowest, the middle and the highest level, as far as they are different ones."""
    if len(ordered) < 2:
        return [(level, message("the only level")) for level in ordered]
    places = {
        0: message("the lowest level"),
        len(ordered) // 2: message("in the middle"),
        len(ordered) - 1: message("the highest level"),
    }
    return [(ordered[place], where) for place, where in sorted(places.items())]


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
    return Journey(kind, _visible(steps), _course(first, answer, whole))


def _course(first: float, answer: float, whole: float) -> Message:
    """Return the times of the first token, of the first token of the answer and of the last token, as text."""
    end = words.duration(whole)
    if not first:
        return message("the whole answer after {end}", end=end)
    begin = words.duration(first)
    if answer <= first:
        return message("first token after {begin}, the last after {end}", begin=begin, end=end)
    return message(
        "first token after {begin}, reasoning until {answer}, the last token after {end}",
        begin=begin,
        answer=words.duration(answer),
        end=end,
    )


def _failed(row: dict[str, Any]) -> Journey:
    seconds, outcome = _seconds(row, "duration"), str(row["outcome"])
    error = term(ERROR_KINDS[outcome]) if outcome in ERROR_KINDS else outcome
    says = message("{error}, after {time}", error=error, time=words.duration(seconds))
    steps = _visible([*_before(row), ("failed", seconds)])
    return Journey("failed", steps, says, str(row.get("error") or "")[:120])


def _visible(steps: Sequence[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    """Return the steps that are long enough to be shown."""
    shortest = _SHOWN * sum(seconds for _, seconds in steps)
    return tuple((name, seconds) for name, seconds in steps if seconds > (0.0 if name in _ALWAYS else shortest))
