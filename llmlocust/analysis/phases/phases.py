"""The phases of a plan as measured: the result of each, and the levels that the four numbers may use. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from llmlocust.analysis.breakpoints.steps import Step, mean_of
from llmlocust.analysis.phases.trend import Course, change_of
from llmlocust.metrics.levels import LEFT_OUT, LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import BASELINE, FALL, FAULTS, HEALING, LINEAR, RECOVERY, RISE, SOAK, SPIKE, SURGE
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, term

CLIMBS = ("", LINEAR, RISE)
"""Phases in which load grows step by step from a low one."""
STEADY = ("", BASELINE, SOAK)
"""Phases whose levels should be stable."""
BURSTS = (SPIKE, SURGE)
"""Phases that jump to a high load."""
AFTER = (RECOVERY, FALL, FAULTS, HEALING)
"""Phases that are affected by a higher load before them, or by a fault."""


def climbs(levels: Iterable[LevelFigures]) -> bool:
    """Whether levels contain a ramp, from which the four numbers can be computed."""
    names = {level.phase for level in levels}
    return not names or not names.isdisjoint(CLIMBS)


def of_the_ramp(levels: Sequence[LevelFigures]) -> list[LevelFigures]:
    """The levels that the four numbers depend on: those with growing load, each after lower ones.

    After a surge or with falling load, the effects of a higher load remain. A surge shows the response to a jump. A soak
    has its own result. A fault on purpose may leave nothing of a level.
    """
    levels = undisturbed(levels)
    ramp = [level for level in levels if level.phase in (*CLIMBS, BASELINE)]
    return ramp or [level for level in levels if level.phase not in AFTER]


def undisturbed(levels: Iterable[LevelFigures]) -> list[LevelFigures]:
    """The levels whose figures say something about the load: a fault on purpose left at least a part of them."""
    return [level for level in levels if level.fault != LEFT_OUT]


@dataclass(frozen=True)
class RunPhase:
    """Neighbouring levels of one phase."""

    name: str
    levels: tuple[LevelFigures, ...]

    @property
    def whole(self) -> Step:
        """All levels of the phase as one step, at its highest load."""
        return Step(max(level.load for level in self.levels), self.levels)

    @property
    def seconds(self) -> float:
        """Length of the measured windows."""
        return sum(level.window for level in self.levels if level.window > 0.0)

    @property
    def loads(self) -> tuple[float, float]:
        """The lowest and the highest load."""
        return min(level.load for level in self.levels), max(level.load for level in self.levels)

    def a_second(self, values: Mapping[int, float]) -> float:
        """The mean over time of a rate that is known by level."""
        return mean_of(
            (values[level.level], level.window) for level in self.levels if level.level in values and level.window > 0.0
        )


def phases_of(levels: Sequence[LevelFigures]) -> list[RunPhase]:
    """The phases of a run, in the order of time; none if no level names a phase."""
    if not any(level.phase for level in levels):
        return []
    ordered = sorted(levels, key=lambda level: level.level)
    return [RunPhase(name, tuple(group)) for name, group in groupby(ordered, key=lambda level: level.phase)]


def verdict_of(
    phase: RunPhase, thresholds: Sequence[Threshold], goodput: Mapping[int, float], courses: Sequence[Course]
) -> list[Message]:
    """Sentences on a spike, a surge or a soak. The four numbers and the recovery describe other phases."""
    if phase.name not in (*BURSTS, SOAK) or not phase.whole.requests:
        return []
    at = words.with_unit(phase.whole.load, phase.levels[0].unit)
    name, outcome = term(phase.name), _outcome(phase, thresholds, goodput)
    if phase.name != SOAK:
        return [message("In the {phase} of {load}: {outcome}.", phase=name, load=at, outcome=outcome)]
    lasted = span(phase.seconds)
    summary = message(
        "In the {phase} of {load} for {time}: {outcome}.", phase=name, load=at, time=lasted, outcome=outcome
    )
    return [summary, _drift(courses)]


def _outcome(phase: RunPhase, thresholds: Sequence[Threshold], goodput: Mapping[int, float]) -> Message:
    if not thresholds:
        failed = words.share(phase.whole.errors)
        return message("{share} of the requests failed; no thresholds were given (--threshold)", share=failed)
    results = [
        (threshold, [threshold.is_met(level, goodput.get(level.level)) for level in phase.levels])
        for threshold in thresholds
    ]
    violated = [str(threshold) for threshold, met in results if False in met]
    if violated:
        return message("{thresholds} not met", thresholds=words.series(violated))
    unknown = [str(threshold) for threshold, met in results if None in met]
    if unknown:
        return message("whether it met {thresholds} is not known", thresholds=words.series(unknown))
    return message("every threshold was met")


def _drift(courses: Sequence[Course]) -> Message:
    if not courses:
        return message("Whether anything drifted in the soak cannot be determined: too few requests.")
    changes = [
        (term(METRICS[course.metric].short), words.change(course.means[0], course.means[-1])) for course in courses
    ]
    listed = words.series([message("{metric} went {change}", metric=name, change=change) for name, change in changes])
    if any(change_of(course) is not None for course in courses):
        return message("From the beginning of the soak to its end {changes}: the soak was not stable.", changes=listed)
    return message(
        "From the beginning of the soak to its end {changes}: no certain change by more than a factor of 1.2.",
        changes=listed,
    )


def span(seconds: float) -> str:
    """A time in minutes, such as 60 min; below two minutes in seconds, such as 90 s."""
    minutes = seconds / 60.0
    if minutes < 2.0:
        return words.duration(round(seconds))
    return message("{minutes} min", minutes=words.digits(minutes))
