"""`LocustTable`: limits the size of Locust's table during a run."""

from __future__ import annotations

from locust.stats import RequestStats

from llmlocust.plugin.generator.collector import forget_old_seconds
from llmlocust.plugin.run.companion import Companion


class LocustTable(Companion):
    """Keeps our rows of Locust's table from growing with the length of the run."""

    def __init__(self, stats: RequestStats) -> None:
        self._stats = stats

    def tick(self, moment: float) -> None:
        forget_old_seconds(self._stats)
