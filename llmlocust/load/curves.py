"""Curves of load as state machines: time and the load that is really there go in, what changes comes out."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

DEFAULT_LEVELS = (1, 2, 5, 10, 20, 50, 100, 150, 200, 300)
DEFAULT_RATES = (10, 20, 50, 100, 200, 500, 1000, 2000, 3000)

BEGAN, SETTLED, ENDED = "began", "settled", "ended"

RAMP, SETTLE, HOLD, DRAIN, DONE = "ramp", "settle", "hold", "drain", "done"


class Change(NamedTuple):
    """One level began (its load was asked for), settled (it is measured from now on) or ended."""

    what: str
    level: int
    reached: bool = True


@dataclass
class Staircase:
    """Levels of load, one after the other, each held for a time that starts when its load is really there.

    `advance` is called about once a second. Seconds throughout; the clock may begin anywhere.
    """

    levels: Sequence[float]
    settle: float
    """From the load being there until measuring begins: what was started together has then drifted apart."""
    hold: float
    """How long a level is measured."""
    patience: float = 60.0
    """How long to wait for a load that does not come before going on with what is there."""
    grace: float = 0.0
    """How long to stay at zero load at the end, so that the last reports arrive."""
    drain: float = math.inf
    """How long to wait at most for the load to be gone."""
    level: int = -1
    phase: str = field(default=RAMP, init=False)
    since: float = field(default=math.nan, init=False)
    """When the present phase began."""
    _reached: bool = field(default=True, init=False)
    _empty_since: float = field(default=math.inf, init=False)

    @property
    def target(self) -> float:
        """The load to ask for now."""
        return 0.0 if self.phase in (DRAIN, DONE) else self.levels[max(self.level, 0)]

    @property
    def step(self) -> float:
        """How much the present level differs from the one before."""
        if self.phase in (DRAIN, DONE):
            return self.levels[-1]
        return abs(self.target - (self.levels[self.level - 1] if self.level > 0 else 0.0))

    def advance(self, now: float, there: float) -> list[Change]:
        """Moves on as far as `now` and the load that is `there` allow; says what changed, in order."""
        changes: list[Change] = []
        if self.level < 0:
            changes.append(self._begin(0, now))
        if self.phase == RAMP and self._is_there(now, there):
            self._enter(SETTLE, now)
        if self.phase == SETTLE and now >= self.since + self.settle:
            self._enter(HOLD, now)
            changes.append(Change(SETTLED, self.level, self._reached))
        elif self.phase == HOLD and now >= self.since + self.hold:
            changes.append(Change(ENDED, self.level, self._reached))
            if self.level + 1 < len(self.levels):
                changes.append(self._begin(self.level + 1, now))
            else:
                self._enter(DRAIN, now)
        if self.phase == DRAIN:
            self._drain(now, there)
        return changes

    def _begin(self, level: int, now: float) -> Change:
        self.level = level
        self._enter(RAMP, now)
        return Change(BEGAN, level)

    def _enter(self, phase: str, now: float) -> None:
        self.phase, self.since = phase, now

    def _is_there(self, now: float, there: float) -> bool:
        falls = self.level > 0 and self.target < self.levels[self.level - 1]
        self._reached = there <= self.target if falls else there >= self.target
        return self._reached or now >= self.since + self.patience

    def _drain(self, now: float, there: float) -> None:
        if there > 0 and now < self.since + self.drain:
            self._empty_since = math.inf
            return
        self._empty_since = min(self._empty_since, now)
        if now >= self._empty_since + self.grace:
            self._enter(DONE, now)


def parse_levels(text: str) -> list[int]:
    """Levels from an option's text: whole numbers with commas or spaces between. ValueError in one line."""
    words = text.replace(",", " ").split()
    for word in words:
        if not re.fullmatch(r"[+-]?\d{1,9}", word):
            raise ValueError(f"levels must be whole numbers of users such as 1,2,5,10 — {word[:40]!r} is not")
    levels = [int(word) for word in words]
    if not levels or min(levels) < 1:
        raise ValueError(f"levels must be one or more numbers of users from 1 up, such as 1,2,5,10 — got {text!r}")
    return levels


def parse_rates(text: str) -> list[float]:
    """Levels in requests a second; parts of one may be meant. ValueError in one line."""
    words = text.replace(",", " ").split()
    for word in words:
        if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?|\.\d{1,6}", word) or float(word) <= 0.0:
            raise ValueError(
                f"levels of requests a second must be numbers above 0 such as 0.5,10,20 — {word[:40]!r} is not"
            )
    if not words:
        raise ValueError(f"levels must be one or more numbers of requests a second, such as 10,20,50 — got {text!r}")
    return [float(word) for word in words]
