"""Outages, which are times in which nothing could connect: which of them the load did not cause. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from llmlocust.metrics.levels import LevelFigures


def without_cause_in_load(levels: Sequence[LevelFigures], outages: Collection[int]) -> frozenset[int]:
    """Return the levels (by index) with an outage that the load did not cause: the same load or a higher one was
    measured without an outage.

    A server that crashes under load and restarts has outages at every level from some load on. The verdict keeps those.
    """
    highest = max((each.load for each in levels if each.level not in outages and each.ok), default=0.0)
    return frozenset(each.level for each in levels if each.level in outages and each.load <= highest)
