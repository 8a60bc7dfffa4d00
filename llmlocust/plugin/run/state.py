"""`RunState`: the state of a run, for its companions, its shape and its views. Without Locust."""

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
    """The state of a run. Moments are seconds since the run began."""

    def __init__(self, cluster: Cluster, settings: RunSettings) -> None:
        self.cluster, self.settings = cluster, settings
        self.id = uuid4().hex
        """The id with which workers mark the figures of this run."""
        self.ledger = Ledger()
        self.limits = settings.thresholds
        self.plan: dict[str, Any] | None = None
        """The plan of a ramp of ours. Without a plan, levels follow the user count."""
        self.through = False
        """The plan was completed."""
        self._clock = cluster.run_began()
        self.began = self._clock + wall_minus() / 1e9
        self.ended: float | None = None
        """The end of the run, in epoch seconds like `began`; None while it is running."""
        self.problems: list[str] = []
        """The problems of the run, as sentences."""
        self.ended_by = ""
        """The gate that ended the run early, as text."""
        self.lost_all_workers = False
        """The run ended because no worker was left."""
        self.telemetry_now: dict[str, float] = {}
        """The newest values of telemetry by key of the vocabulary; empty if nothing is observed."""
        self.telemetry: dict[str, Any] | None = None
        """The sources and the events of telemetry, for run.json; None if nothing is observed."""
        self.faults: list[dict[str, Any]] | None = None
        """The injections of faults so far (fields of FaultWindow), for run.json; None without a plan of faults."""
        self.is_finished = False
        """All figures have arrived."""
        self.processes = cluster.worker_count
        """The number of processes that sent load when the run began."""
        self.lag = cluster.report_delay + TICK
        """Maximum seconds until an event is in the ledger."""
        self.assignment = Assignment(cluster, self.ledger, self.moment)
        self.lost_workers = LostWorkers(self.ledger, self.moment, cluster.lost_worker_stops_after)

    def moment(self) -> float:
        """Return the present moment."""
        return self.cluster.clock() - self._clock

    @property
    def over(self) -> float:
        """The end of the run, or the present moment while it is running."""
        return self.moment() if self.ended is None else self.ended - self.began

    @property
    def level(self) -> Level | None:
        """The newest level."""
        return self.ledger.levels[-1] if self.ledger.levels else None

    @property
    def in_flight(self) -> int:
        """The number of requests that are sent and not ended, as reported so far."""
        return self.ledger.sent - self.ledger.ended

    @property
    def found_its_answer(self) -> bool:
        """A search is done, and some load meets the thresholds. Its higher loads failed on purpose."""
        search = (self.plan or {}).get("search") or {}
        return bool(search.get("done")) and search.get("answer") is not None

    @property
    def lost(self) -> dict[str, Sequence[int]]:
        """A sentence for each lost worker, with the levels that lack its figures."""
        return {worker.words: worker.levels for worker in self.lost_workers.all()}

    def problem(self, words: str) -> None:
        """Note a problem once, and print it."""
        if words not in self.problems:
            self.problems.append(words)
            console.say(words)

    def pause(self) -> None:
        """Let urgent work run, during long work. At the end of the run, no work is urgent."""
        if not self.is_finished:
            self.cluster.pause()
