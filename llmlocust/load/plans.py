"""Load plans: the phases of a run, each a sequence of loads. Pure.

A shape makes a plan from a few settings; a staircase (load.curves) plays its loads, in users or in requests per second.
A smooth curve is cut into steps, long enough for each to have figures of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmlocust.metrics.vocabulary import BASELINE, FALL, FAULTS, HEALING, LINEAR, RECOVERY, RISE, SOAK, SPIKE, SURGE

STEPPED = "stepped"
HOURS = 24
"""Maximum steps of a smooth curve: those of a wave are the hours of its day."""
STEP = 10.0
"""Minimum seconds of a step, unless the whole curve is short: tens of requests, at a few per second."""
HEALING_SHARES = (0.8, 0.6, 0.4, 0.2)
"""The loads of the phase HEALING, as shares of the load before."""
HEALING_HOLD, MAX_HEALING_HOLD = 30.0, 180.0
"""Minimum and maximum seconds of each of these loads."""
HEALING_REQUESTS = 100
"""Requests that the lowest rate of them should have: a recovery needs 50 (analysis.faults.recovery)."""
HIGHER = 1.5
"""The default load of a surge after a ramp, as a multiple of the ramp's peak."""


class PlanPhase(NamedTuple):
    """A phase of a plan. Loads are users or requests per second."""

    name: str
    loads: Sequence[float]
    hold: float
    """Seconds for which each load is measured."""
    warmup: float = 0.0
    """Seconds of warm-up of each load."""

    @property
    def seconds(self) -> float:
        """Minimum seconds of the phase: reaching a load takes a second or two more."""
        return len(self.loads) * (self.warmup + self.hold)


@dataclass(frozen=True)
class Setting:
    """The settings of a shape. Loads are users or requests per second. ValueError in one line where they are not valid."""

    base: float
    """The baseline load."""
    peak: float
    """The highest load; for a soak the only one."""
    seconds: float
    """Seconds for which all phases together are measured."""
    warmup: float = 0.0
    """Additional seconds of warm-up for the constant phases (baseline, soak)."""
    whole: bool = True
    """Whether loads are integers: users."""
    surge: float = 0.0
    """The surge of the progressive plan; 0: 1.5 times the peak."""
    soak: float = 0.0
    """The soak of the progressive plan; 0: half the peak."""
    faults: bool = False
    """Whether the progressive plan has a phase for faults."""

    def __post_init__(self) -> None:
        loads = (self.base, self.peak, self.surge or self.peak, self.soak or self.peak)
        lowest, requirement = (1.0, "1 user or more") if self.whole else (0.0, "requests a second above 0")
        if not all(lowest <= load < math.inf and load > 0.0 for load in loads):
            raise ValueError(f"the loads of a shape must be {requirement}")
        if self.whole and any(load != int(load) for load in loads):
            raise ValueError("the loads of a shape must be whole numbers of users")
        if self.base > self.peak:
            raise ValueError(f"a shape goes from its base up to its peak: {self.base:g} is above {self.peak:g}")
        if not 0.0 < self.seconds < math.inf or not 0.0 <= self.warmup < math.inf:
            raise ValueError("a shape must last for more than 0 seconds")

    def between(self, share: float) -> float:
        """Return the load at this share of the way from the base to the peak."""
        load = self.base + share * (self.peak - self.base)
        return float(round(load)) if self.whole else float(f"{load:.4g}")


def linear(setting: Setting) -> list[PlanPhase]:
    """Up from the base to the peak in equal steps."""
    return [_climb(setting, setting.seconds)]


def spike(setting: Setting) -> list[PlanPhase]:
    """Up at once, and down again before the server reaches a steady state."""
    return _up_and_down(SPIKE, setting, (0.3, 0.1, 0.6))


def surge(setting: Setting) -> list[PlanPhase]:
    """Up at once, stay there for a while, and leave time for the recovery."""
    return _up_and_down(SURGE, setting, (0.25, 0.25, 0.5))


def soak(setting: Setting) -> list[PlanPhase]:
    """One load for a long time."""
    return [PlanPhase(SOAK, (setting.peak,), setting.seconds, setting.warmup)]


def wave(setting: Setting) -> list[PlanPhase]:
    """A day: from the base at night to the peak at noon, and down again."""
    steps = max(4, _steps(setting.seconds) // 2 * 2)
    loads = [setting.between((1.0 - math.cos(2.0 * math.pi * step / steps)) / 2.0) for step in range(steps)]
    noon = steps // 2 + 1
    hold = setting.seconds / steps
    return [PlanPhase(RISE, tuple(loads[:noon]), hold), PlanPhase(FALL, tuple(loads[noon:]), hold)]


def progressive(setting: Setting) -> list[PlanPhase]:
    """All in one run: the usual load, a ramp, a surge in two steps and the recovery from it, faults if there are some, and a
    soak.
    """
    seconds, over = setting.seconds, setting.surge or _whole(HIGHER * setting.peak, setting)
    level = setting.soak or _whole(max(setting.base, setting.peak / 2.0), setting)
    steps = tuple(dict.fromkeys((_whole((setting.peak + over) / 2.0, setting), over)))
    return [
        PlanPhase(BASELINE, (setting.base,), 0.1 * seconds, setting.warmup),
        _climb(setting, 0.35 * seconds if not setting.faults else 0.25 * seconds),
        PlanPhase(SURGE, steps, 0.1 * seconds / len(steps)),
        PlanPhase(RECOVERY, (setting.base,), 0.15 * seconds),
        *([PlanPhase(FAULTS, (level,), 0.2 * seconds, setting.warmup)] if setting.faults else []),
        PlanPhase(SOAK, (level,), 0.3 * seconds if not setting.faults else 0.2 * seconds, setting.warmup),
    ]


def healing(load: float, *, whole: bool) -> PlanPhase:
    """Down in steps from a load at which the service has not recovered from a fault. `whole`: loads are users."""
    loads = [load * share for share in HEALING_SHARES]
    if whole:
        return PlanPhase(HEALING, tuple(dict.fromkeys(max(1.0, float(round(load))) for load in loads)), HEALING_HOLD)
    return PlanPhase(HEALING, tuple(loads), min(max(HEALING_HOLD, HEALING_REQUESTS / loads[-1]), MAX_HEALING_HOLD))


SHAPES: dict[str, Callable[[Setting], list[PlanPhase]]] = {
    shape.__name__: shape for shape in (linear, spike, surge, soak, wave, progressive)
}
"""The shapes by the name of the option's value, besides STEPPED, whose levels are listed."""


def _up_and_down(name: str, setting: Setting, shares: tuple[float, float, float]) -> list[PlanPhase]:
    before, meanwhile, after = (share * setting.seconds for share in shares)
    return [
        PlanPhase(BASELINE, (setting.base,), before, setting.warmup),
        PlanPhase(name, (setting.peak,), meanwhile),
        PlanPhase(RECOVERY, (setting.base,), after),
    ]


def _climb(setting: Setting, seconds: float) -> PlanPhase:
    steps = max(2, _steps(seconds))
    if setting.whole:
        steps = min(steps, int(setting.peak - setting.base) + 1)
    loads = [setting.between(step / (steps - 1)) for step in range(steps)] if steps > 1 else [setting.peak]
    return PlanPhase(LINEAR, tuple(loads), seconds / len(loads))


def _steps(seconds: float) -> int:
    return min(HOURS, int(seconds // STEP))


def _whole(load: float, setting: Setting) -> float:
    return float(round(load)) if setting.whole else load
