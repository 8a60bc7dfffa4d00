"""The phases of a plan as they were measured: what each came to, and which levels the four numbers may rest on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from llmlocust.analysis.breakpoints.steps import Step, mean_of
from llmlocust.analysis.phases.trend import Course, change_of
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import BASELINE, FALL, LINEAR, RECOVERY, RISE, SOAK, SPIKE, SURGE
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, term

CLIMBS = ("", LINEAR, RISE)
"""Phases in which load grows step by step, from little on."""
STEADY = ("", BASELINE, SOAK)
"""Phases whose levels are meant to stand still."""
BURSTS = (SPIKE, SURGE)
AFTER = (RECOVERY, FALL)
"""Phases that carry what a higher load left behind."""


def climbs(levels: Iterable[LevelFigures]) -> bool:
    """Whether there is a ramp that the four numbers can be read from."""
    found = {each.phase for each in levels}
    return not found or not found.isdisjoint(CLIMBS)


def of_the_ramp(levels: Sequence[LevelFigures]) -> list[LevelFigures]:
    """The levels that the four numbers rest on: on the way up, each after lower ones. After a surge or on the way down
    the same load carries what a higher one left; a surge shows how a server takes a jump; and a soak is told by itself.
    """
    ramp = [each for each in levels if each.phase in (*CLIMBS, BASELINE)]
    return ramp or [each for each in levels if each.phase not in AFTER]


@dataclass(frozen=True)
class RunPhase:
    """Neighbouring levels of one phase."""

    name: str
    levels: tuple[LevelFigures, ...]

    @property
    def whole(self) -> Step:
        """All its levels together, at its highest load."""
        return Step(max(each.load for each in self.levels), self.levels)

    @property
    def seconds(self) -> float:
        """Measured."""
        return sum(each.window for each in self.levels if each.window > 0.0)

    @property
    def loads(self) -> tuple[float, float]:
        """The lowest and the highest."""
        return min(each.load for each in self.levels), max(each.load for each in self.levels)

    def a_second(self, values: Mapping[int, float]) -> float:
        """The mean over its time of what is known by level."""
        told = ((values[each.level], each.window) for each in self.levels if each.level in values and each.window > 0.0)
        return mean_of(told)


def phases_of(levels: Sequence[LevelFigures]) -> list[RunPhase]:
    """In the order of time; none where no level names one."""
    if not any(each.phase for each in levels):
        return []
    ordered = sorted(levels, key=lambda each: each.level)
    return [RunPhase(name, tuple(found)) for name, found in groupby(ordered, key=lambda each: each.phase)]


def verdict_of(
    phase: RunPhase, limits: Sequence[Threshold], goodput: Mapping[int, float], courses: Sequence[Course]
) -> list[Message]:
    """Sentences on a spike, a surge or a soak; of other phases the four numbers and the recovery tell."""
    if phase.name not in (*BURSTS, SOAK) or not phase.whole.requests:
        return []
    at = words.with_unit(phase.whole.load, phase.levels[0].unit)
    name, kept = term(phase.name), _kept(phase, limits, goodput)
    if phase.name != SOAK:
        return [message("In the {phase} of {load}: {outcome}.", phase=name, load=at, outcome=kept)]
    lasted = span(phase.seconds)
    said = message("In the {phase} of {load} for {time}: {outcome}.", phase=name, load=at, time=lasted, outcome=kept)
    return [said, _drifted(courses)]


def _kept(phase: RunPhase, limits: Sequence[Threshold], goodput: Mapping[int, float]) -> Message:
    if not limits:
        failed = words.share(phase.whole.errors)
        return message("{share} of the requests failed; no limits were given (--threshold)", share=failed)
    told = [(each, [each.holds(level, goodput.get(level.level)) for level in phase.levels]) for each in limits]
    broken = [str(limit) for limit, found in told if False in found]
    if broken:
        return message("{limits} did not hold", limits=words.series(broken))
    unknown = [str(limit) for limit, found in told if None in found]
    if unknown:
        return message("whether {limits} held is not known", limits=words.series(unknown))
    return message("every limit held")


def _drifted(courses: Sequence[Course]) -> Message:
    if not courses:
        return message("Whether anything drifted in the soak cannot be told: it had too few requests.")
    changes = [(term(METRICS[each.metric].short), words.change(each.means[0], each.means[-1])) for each in courses]
    went = words.series([message("{metric} went {change}", metric=name, change=change) for name, change in changes])
    if any(change_of(each) is not None for each in courses):
        return message("From the beginning of the soak to its end {changes}: it did not stand still.", changes=went)
    return message("From the beginning of the soak to its end {changes}: nothing drifted.", changes=went)


def span(seconds: float) -> str:
    """60 min, 90 s."""
    minutes = seconds / 60.0
    if minutes < 2.0:
        return words.duration(round(seconds))
    return message("{minutes} min", minutes=words.digits(minutes))
