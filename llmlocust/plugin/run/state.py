"""`RunState`: what is known of a run, for its companions, its shape and its views. Without Locust."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from llmlocust.metrics.ledger import Ledger
from llmlocust.metrics.levels import Level
from llmlocust.plugin import console
from llmlocust.plugin.run.assignment import Assignment
from llmlocust.plugin.run.cluster import Cluster
from llmlocust.plugin.run.lost_workers import LostWorkers
from llmlocust.plugin.run.settings import RunSettings
from llmlocust.stream.clocks import wall_minus

TICK = 1.0
"""Seconds between two ticks of a run."""


class RunState:
    """Moments are seconds since the run began."""

    def __init__(self, cluster: Cluster, settings: RunSettings) -> None:
        self.cluster, self.settings = cluster, settings
        self.id = uuid4().hex
        """Figures of workers name the run that they are of."""
        self.ledger = Ledger()
        self.limits = settings.thresholds
        self.plan: dict[str, Any] | None = None
        """What a ramp of ours is to do; without one, levels are taken from the user count."""
        self.through = False
        """The plan was gone through to its end."""
        self._clock = cluster.run_began()
        self.began = self._clock + wall_minus() / 1e9
        self.ended: float | None = None
        """Epoch seconds, as `began`."""
        self.problems: list[str] = []
        """What went wrong, in words."""
        self.ended_by = ""
        """The gate that ended the run early, in words."""
        self.lost_all_workers = False
        """The run ended because no worker was left."""
        self.is_finished = False
        """Everything has come in that will."""
        self.processes = cluster.worker_count
        """The number of processes that sent load as the run began."""
        self.lag = cluster.report_delay + TICK
        """Seconds until what happens has come into the ledger."""
        self.assignment = Assignment(cluster, self.ledger, self.moment)
        self.lost_workers = LostWorkers(self.ledger, self.moment, cluster.lost_worker_stops_after)

    def moment(self) -> float:
        """Return the present moment."""
        return self.cluster.clock() - self._clock

    @property
    def over(self) -> float:
        """The moment up to which there is something to show: the end of the run, or now."""
        return self.moment() if self.ended is None else self.ended - self.began

    @property
    def level(self) -> Level | None:
        """The newest level."""
        return self.ledger.levels[-1] if self.ledger.levels else None

    @property
    def in_flight(self) -> int:
        """Requests sent and not ended, as far as it has been reported."""
        return self.ledger.sent - self.ledger.ended

    @property
    def found_its_answer(self) -> bool:
        """A search came to its end, and some load keeps the limits: what it asked for above failed for a purpose."""
        search = (self.plan or {}).get("search") or {}
        return bool(search.get("done")) and search.get("answer") is not None

    @property
    def lost(self) -> dict[str, Sequence[int]]:
        """What was lost with workers that are away, in words, and the levels that it spoils."""
        return {worker.words: worker.levels for worker in self.lost_workers.all()}

    def problem(self, words: str) -> None:
        """Note a problem once, and say it."""
        if words not in self.problems:
            self.problems.append(words)
            console.say(words)

    def pause(self) -> None:
        """Let what is more urgent run, during long work. At the end of the run nothing is."""
        if not self.is_finished:
            self.cluster.pause()
