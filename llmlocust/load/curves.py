"""Load curves as state machines: they take the time and the actual load, and return the changes of level. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

DEFAULT_LEVELS = (1, 2, 5, 10, 20, 50, 100, 150, 200, 300)
DEFAULT_RATES = (10, 20, 50, 100, 200, 500, 1000, 2000, 3000)

BEGAN, WARMED_UP, ENDED = "began", "warmed_up", "ended"

RAMP, WARMUP, HOLD, DRAIN, DONE = "ramp", "warmup", "hold", "drain", "done"


class Change(NamedTuple):
    """A change of a level: began (its load is requested), warmed_up (it is measured from now on) or ended."""

    what: str
    level: int
    reached: bool = True


@dataclass
class Staircase:
    """Levels of load in sequence. Each is held for a time that starts when the actual load has reached the target.

    `advance` is called about once a second. All times are seconds, on a clock with any origin.
    """

    levels: Sequence[float]
    warmup: float
    """Warm-up: seconds from reaching the load until measuring begins. Requests that started together drift apart."""
    hold: float
    """Seconds for which a level is measured."""
    patience: float = 60.0
    """Seconds to wait for the load; afterwards the level goes on with the actual load."""
    grace: float = 0.0
    """Seconds at zero load at the end, so that the last reports arrive."""
    drain: float = math.inf
    """Maximum seconds to wait for the load to reach zero."""
    level: int = -1
    state: str = field(default=RAMP, init=False)
    since: float = field(default=math.nan, init=False)
    """The moment at which the present state began."""
    _reached: bool = field(default=True, init=False)
    _empty_since: float = field(default=math.inf, init=False)

    @property
    def target(self) -> float:
        """The load to request now."""
        return 0.0 if self.state in (DRAIN, DONE) else self.levels[max(self.level, 0)]

    @property
    def step(self) -> float:
        """The difference between the present level and the one before."""
        if self.state in (DRAIN, DONE):
            return self.levels[-1]
        return abs(self.target - (self.levels[self.level - 1] if self.level > 0 else 0.0))

    def advance(self, now: float, actual: float) -> list[Change]:
        """Advance as far as the time and the `actual` load allow. Returns the changes in order."""
        changes: list[Change] = []
        if self.level < 0:
            changes.append(self._begin(0, now))
        if self.state == RAMP and self._is_reached(now, actual):
            self._enter(WARMUP, now)
        if self.state == WARMUP and now >= self.since + self.warmup:
            self._enter(HOLD, now)
            changes.append(Change(WARMED_UP, self.level, self._reached))
        elif self.state == HOLD and now >= self.since + self.hold:
            changes.append(Change(ENDED, self.level, self._reached))
            if self.level + 1 < len(self.levels):
                changes.append(self._begin(self.level + 1, now))
            else:
                self._enter(DRAIN, now)
        if self.state == DRAIN:
            self._drain(now, actual)
        return changes

    def _begin(self, level: int, now: float) -> Change:
        self.level = level
        self._enter(RAMP, now)
        return Change(BEGAN, level)

    def _enter(self, state: str, now: float) -> None:
        self.state, self.since = state, now

    def _is_reached(self, now: float, actual: float) -> bool:
        falls = self.level > 0 and self.target < self.levels[self.level - 1]
        self._reached = actual <= self.target if falls else actual >= self.target
        return self._reached or now >= self.since + self.patience

    def _drain(self, now: float, actual: float) -> None:
        if actual > 0 and now < self.since + self.drain:
            self._empty_since = math.inf
            return
        self._empty_since = min(self._empty_since, now)
        if now >= self._empty_since + self.grace:
            self._enter(DONE, now)


def parse_levels(text: str) -> list[int]:
    """Read levels from an option's text: integers, separated by commas or spaces. ValueError in one line."""
    words = text.replace(",", " ").split()
    for word in words:
        if not re.fullmatch(r"[+-]?\d{1,9}", word):
            raise ValueError(f"levels must be whole numbers of users such as 1,2,5,10 — {word[:40]!r} is not")
    levels = [int(word) for word in words]
    if not levels or min(levels) < 1:
        raise ValueError(f"levels must be one or more numbers of users from 1 up, such as 1,2,5,10 — got {text!r}")
    return levels


def parse_rates(text: str) -> list[float]:
    """Read levels in requests per second, which need not be integers. ValueError in one line."""
    words = text.replace(",", " ").split()
    for word in words:
        if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?|\.\d{1,6}", word) or float(word) <= 0.0:
            raise ValueError(
                f"levels of requests a second must be numbers above 0 such as 0.5,10,20 — {word[:40]!r} is not"
            )
    if not words:
        raise ValueError(f"levels must be one or more numbers of requests a second, such as 10,20,50 — got {text!r}")
    return [float(word) for word in words]
