"""`ConstantLoad`: the time around a fault in which the load was the same. Pure.

A level of a ramp is a constant load of its own. Neighbouring levels of the same load are one, such as a baseline and the soak
that follows it. The windows of a replayed trace have different loads by nature; together they are one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from llmlocust.metrics.levels import LevelFigures


@dataclass(frozen=True)
class ConstantLoad:
    """Neighbouring levels of one load, in the order of time."""

    levels: tuple[LevelFigures, ...]
    is_replay: bool = False

    @property
    def unit(self) -> str:
        return self.levels[0].unit

    @property
    def began(self) -> float:
        """Begin of the load, with its warm-up, in epoch seconds."""
        return _begin_of(self.levels[0])

    @property
    def warmed_up(self) -> float:
        first = self.levels[0]
        return first.warmed_up if math.isfinite(first.warmed_up) else first.began

    def until(self, observed: float) -> float:
        """Return the end of the load. `observed`: the last moment that was observed, in epoch seconds."""
        last = self.levels[-1].ended
        return min(last, observed) if math.isfinite(last) else observed

    def contains(self, moment: float) -> bool:
        last = self.levels[-1].ended
        return self.began <= moment and not moment >= last


def constant_loads(levels: Sequence[LevelFigures], *, is_replay: bool = False) -> list[ConstantLoad]:
    """Return the constant loads of a run, in the order of time. Levels whose begin is not known are left out."""
    known = sorted((level for level in levels if _begin_of(level) > 0.0), key=_begin_of)
    if is_replay:
        return [ConstantLoad(tuple(known), is_replay=True)] if known else []
    loads = groupby(known, key=lambda level: (level.load, level.unit))
    return [ConstantLoad(tuple(group)) for (load, _), group in loads if load > 0.0]


def _begin_of(level: LevelFigures) -> float:
    """Return the begin of a level. Levels that were computed from their requests have only the end of their warm-up."""
    return level.began if level.began > 0.0 else level.warmed_up
