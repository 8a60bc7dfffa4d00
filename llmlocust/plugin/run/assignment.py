"""`Assignment`: assigns requests to processes. Without Locust.

In open load it assigns shares of a rate or rows of a trace; in a run of a fixed number of requests, quotas.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from typing import Any

from llmlocust.load.arrivals import RateShare
from llmlocust.metrics.ledger import Ledger
from llmlocust.metrics.levels import RATE, Level
from llmlocust.plugin import console
from llmlocust.plugin.cluster.lost import Due
from llmlocust.plugin.run.cluster import Cluster
from llmlocust.plugin.run.trace_rows import Rows
from llmlocust.text.message import message


class Assignment:
    """The assignment of one run. `ledger` has its levels; `moment` returns seconds since it began."""

    def __init__(self, cluster: Cluster, ledger: Ledger, moment: Callable[[], float]) -> None:
        self._cluster, self._ledger, self._moment = cluster, ledger, moment
        self.requests = 0
        """The fixed number of requests; 0 in a run without one."""
        self._quotas: dict[str | None, int] = {}
        self._ended: Counter[str | None] = Counter()
        """The number of ended requests of each process."""
        self._arrivals, self._max_in_flight = "", 0
        self._rows: Rows | None = None
        self._seed = 0
        self._paused = False
        self._senders: list[str | None] = []
        """The processes that share the level's rate, in the order of their shares."""
        self._shares: dict[str | None, tuple[float, int]] = {}
        """For each process, the total rate that it was last sent, and the number of processes that share the rate."""

    @property
    def _level(self) -> Level | None:
        return self._ledger.levels[-1] if self._ledger.levels else None

    # ── a fixed number of requests ──

    def count_requests(self, requests: int) -> None:
        """Set the fixed number of requests of the run. They are assigned after the warm-up of its level."""
        self.requests = requests
        self._cluster.set_quota(0)

    def assign_quotas(self) -> None:
        """Assign its share of the requests to each process. Does nothing in a run without a fixed number of requests."""
        if self.requests:
            users = {sender: self._cluster.users_of(sender) for sender in self._cluster.senders()}
            self._quotas = quotas(self.requests, users)
            self._cluster.set_quota(self.requests)

    def quota_of(self, sender: str | None) -> int | None:
        """Return a process's quota; None in a run without a fixed number of requests, and before the assignment."""
        return self._quotas.get(sender)

    def note_ended(self, sender: str | None, requests: int) -> None:
        """Note that requests of a process ended."""
        self._ended[sender] += requests

    @property
    def all_requests_ended(self) -> bool:
        """All quotas are sent and ended, except those of workers that are lost or have no users left."""
        return bool(self._quotas) and all(map(self._has_sent_all, self._quotas))

    def _has_sent_all(self, sender: str | None) -> bool:
        if self._ended[sender] >= self._quotas[sender]:
            return True
        return sender is not None and (sender not in self._cluster.senders() or not self._cluster.users_of(sender))

    # ── open load ──

    def open(self, arrivals: str, max_in_flight: int) -> None:
        """Switch to open load: levels are rates from now on, with these arrivals."""
        self._arrivals, self._max_in_flight = arrivals, max_in_flight

    def replay(self, rows: Rows, description: str) -> None:
        """Switch to the replay of a trace. It begins after the warm-up of the first level."""
        self._rows, self._arrivals = rows, description

    @property
    def is_open(self) -> bool:
        return bool(self._arrivals)

    @property
    def plan(self) -> dict[str, Any]:
        """The entries of the run's plan for open load; empty in closed load."""
        return {"arrivals": self._arrivals, "max_in_flight": self._max_in_flight} if self.is_open else {}

    def begin_level(self) -> None:
        """Assign the rate of a level that began."""
        self._paused = False
        self._assign()

    def begin_rows(self) -> None:
        """Begin the replay, if the run has one: the warm-up has ended."""
        if self._rows:
            self._rows.begin(self._moment())
            self._assign()

    def pause(self, *, on: bool) -> None:
        """Pause or resume the arrivals."""
        if on != self._paused:
            self._paused = on
            self._assign()

    def follow_senders(self) -> None:
        """Assign the rate or the rows again if workers have joined or left."""
        senders = self._cluster.senders()
        if self._senders and senders and senders != self._senders:
            self._assign()
            count, load = len(self._senders), "trace" if self._rows else "rate"
            shares = f"1 worker sends the whole {load}" if count == 1 else f"{count} workers share the {load}"
            console.say(f"  … {shares} from now on")

    def _assign(self) -> None:
        """Send each process its share of the level's rate, or its rows."""
        level = self._level
        if level is None or level.ended is not None or level.unit != RATE:
            return
        self._senders, self._seed = self._cluster.senders(), random.getrandbits(32)
        if self._rows:
            self._rows.assign(self._moment())
        for sender in self._senders:
            self.send_share(sender)

    def send_share(self, sender: str | None) -> None:
        """Send one process its share of the rate, or its rows, if it has any."""
        if sender not in self._senders or self._level is None:
            return
        stream, streams = self._senders.index(sender), len(self._senders)
        rate = 0.0 if self._paused else self._level.load
        self._shares[sender] = (rate, streams)
        if self._rows:
            rows = self._rows.message(self._moment(), stream, streams)
            self._cluster.send("rows", sender, **rows, max_in_flight=self._max_in_flight)
            return
        share = RateShare(rate, self._arrivals, self._seed, stream, streams)
        self._cluster.send("arrivals", sender, share=list(share), max_in_flight=self._max_in_flight)

    def due_of(self, sender: str, since: float, until: float) -> Due | None:
        """Return the requests that the schedule assigned to a worker between two moments; None in closed load."""
        if sender not in self._shares:
            return None
        rate, streams = self._shares[sender]
        if self._rows:
            return Due(self._rows.count(since, until) / streams, message("its share of the trace"))
        return Due(rate * max(0.0, until - since) / streams, message("its share of the rate"))

    def missing_rows(self) -> str:
        """Describe the rows of the trace that were never due; empty if all were. For a run that is completed."""
        if not self._rows:
            return ""
        due, rows = sum(tally.numbers["due"] for tally in self._ledger.tallies.values()), self._rows.replay.rows
        if due >= rows:
            return ""
        return message(
            "{missing} of the trace's {rows} rows were never due: a worker was lost, or does not have the trace.",
            missing=rows - due,
            rows=rows,
        )


def quotas(requests: int, users: Mapping[str | None, int]) -> dict[str | None, int]:
    """Divide requests over processes in proportion to their users, in whole numbers that add up to `requests`."""
    ends = [0, *accumulate(users.values())]
    shares = [requests * end // max(ends[-1], 1) for end in ends]
    return {sender: high - low for sender, (low, high) in zip(users, pairwise(shares), strict=True)}
