"""Plans of load: the parts that a run goes through, each of them loads that are held one after the other. Pure.

A shape makes a plan from a few settings; a staircase (load.curves) plays its loads, in users or in requests a second.
What has to look smooth is cut into steps: coarse enough for each to have figures of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmlocust.metrics.vocabulary import BASELINE, FALL, LINEAR, RECOVERY, RISE, SOAK, SPIKE, SURGE

STEPPED = "stepped"
HOURS = 24
"""Most steps of what has to look smooth: a wave's are the hours of its day."""
STEP = 10.0
"""Seconds that a step is held at least, unless the whole is short: tens of requests, at some a second."""
HIGHER = 1.5
"""How far a surge after a ramp goes above it, by default."""


class PlanPart(NamedTuple):
    """A part of a plan. Seconds; loads are users or requests a second."""

    name: str
    loads: Sequence[float]
    hold: float
    """For which each load is measured,"""
    settle: float = 0.0
    """from so long after it was there."""

    @property
    def seconds(self) -> float:
        """That it takes at least: loads need a second or two more to be there."""
        return len(self.loads) * (self.settle + self.hold)


@dataclass(frozen=True)
class Setting:
    """What shapes are made from. ValueError in one line where it cannot be meant."""

    base: float
    """The load at rest,"""
    peak: float
    """and the highest; of a soak the only one. Users or requests a second."""
    seconds: float
    """For which loads are measured, all parts together."""
    settle: float = 0.0
    """Of the parts that stand still (baseline, soak), on top."""
    whole: bool = True
    """Loads are whole numbers: users."""
    surge: float = 0.0
    """Of the progressive plan; 0: 1.5 times the peak."""
    soak: float = 0.0
    """Of the progressive plan; 0: half the peak."""

    def __post_init__(self) -> None:
        loads = (self.base, self.peak, self.surge or self.peak, self.soak or self.peak)
        least, what = (1.0, "1 user or more") if self.whole else (0.0, "requests a second above 0")
        if not all(least <= each < math.inf and each > 0.0 for each in loads):
            raise ValueError(f"the loads of a shape must be {what}")
        if self.whole and any(each != int(each) for each in loads):
            raise ValueError("the loads of a shape must be whole numbers of users")
        if self.base > self.peak:
            raise ValueError(f"a shape goes from its base up to its peak: {self.base:g} is above {self.peak:g}")
        if not 0.0 < self.seconds < math.inf or not 0.0 <= self.settle < math.inf:
            raise ValueError("a shape must last for more than 0 seconds")

    def between(self, share: float) -> float:
        """A load that is so far on the way from the base to the peak."""
        load = self.base + share * (self.peak - self.base)
        return float(round(load)) if self.whole else float(f"{load:.4g}")


def linear(setting: Setting) -> list[PlanPart]:
    """Up from the base to the peak in equal steps."""
    return [_climb(setting, setting.seconds)]


def spike(setting: Setting) -> list[PlanPart]:
    """Up at once, and down again before anything has come to rest."""
    return _up_and_down(SPIKE, setting, (0.3, 0.1, 0.6))


def surge(setting: Setting) -> list[PlanPart]:
    """Up at once, to stay for a while; and the time to be well again."""
    return _up_and_down(SURGE, setting, (0.25, 0.25, 0.5))


def soak(setting: Setting) -> list[PlanPart]:
    """One load, for long."""
    return [PlanPart(SOAK, (setting.peak,), setting.seconds, setting.settle)]


def wave(setting: Setting) -> list[PlanPart]:
    """A day: from the base of its night to the peak of its noon, and down again."""
    steps = max(4, _steps(setting.seconds) // 2 * 2)
    loads = [setting.between((1.0 - math.cos(2.0 * math.pi * step / steps)) / 2.0) for step in range(steps)]
    noon = steps // 2 + 1
    hold = setting.seconds / steps
    return [PlanPart(RISE, tuple(loads[:noon]), hold), PlanPart(FALL, tuple(loads[noon:]), hold)]


def progressive(setting: Setting) -> list[PlanPart]:
    """All in one run: what is usual, how it grows, what a surge leaves behind, and what a long time does."""
    seconds, over = setting.seconds, setting.surge or _whole(HIGHER * setting.peak, setting)
    level = setting.soak or _whole(max(setting.base, setting.peak / 2.0), setting)
    return [
        PlanPart(BASELINE, (setting.base,), 0.1 * seconds, setting.settle),
        _climb(setting, 0.35 * seconds),
        PlanPart(SURGE, (over,), 0.1 * seconds),
        PlanPart(RECOVERY, (setting.base,), 0.15 * seconds),
        PlanPart(SOAK, (level,), 0.3 * seconds, setting.settle),
    ]


SHAPES: dict[str, Callable[[Setting], list[PlanPart]]] = {
    each.__name__: each for each in (linear, spike, surge, soak, wave, progressive)
}
"""By the name of the option, beside STEPPED, whose levels are told one by one."""


def _up_and_down(name: str, setting: Setting, shares: tuple[float, float, float]) -> list[PlanPart]:
    before, meanwhile, after = (share * setting.seconds for share in shares)
    return [
        PlanPart(BASELINE, (setting.base,), before, setting.settle),
        PlanPart(name, (setting.peak,), meanwhile),
        PlanPart(RECOVERY, (setting.base,), after),
    ]


def _climb(setting: Setting, seconds: float) -> PlanPart:
    steps = max(2, _steps(seconds))
    if setting.whole:
        steps = min(steps, int(setting.peak - setting.base) + 1)
    loads = [setting.between(step / (steps - 1)) for step in range(steps)] if steps > 1 else [setting.peak]
    return PlanPart(LINEAR, tuple(loads), seconds / len(loads))


def _steps(seconds: float) -> int:
    return min(HOURS, int(seconds // STEP))


def _whole(load: float, setting: Setting) -> float:
    return float(round(load)) if setting.whole else load
