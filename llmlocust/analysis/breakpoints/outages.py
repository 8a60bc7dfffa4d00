"""Outages (times in which nothing could connect): separates those that the load did not cause. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from llmlocust.metrics.levels import LevelFigures


def without_cause_in_load(levels: Sequence[LevelFigures], outages: Collection[int]) -> frozenset[int]:
    """Return the levels (by index) with an outage that the load did not cause: the same load or a higher one was
    measured without an outage.

    A server that crashes under load and restarts has outages at every level from some load on. The verdict keeps those.
    """
    highest = max((level.load for level in levels if level.level not in outages and level.ok), default=0.0)
    return frozenset(level.level for level in levels if level.level in outages and level.load <= highest)
