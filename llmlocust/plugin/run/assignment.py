"""`Assignment`: which process sends what. Rates and rows of a trace in open load; quotas in a run of a fixed number of
requests. Without Locust.
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


class Assignment:
    """`ledger` has the levels, `moment` returns seconds since the run began."""

    def __init__(self, cluster: Cluster, ledger: Ledger, moment: Callable[[], float]) -> None:
        self._cluster, self._ledger, self._moment = cluster, ledger, moment
        self.requests = 0
        """A fixed number of requests; 0: none."""
        self._quotas: dict[str | None, int] = {}
        self._ended: Counter[str | None] = Counter()
        """The requests of each process that ended."""
        self._arrivals, self._max_in_flight = "", 0
        self._rows: Rows | None = None
        self._seed = 0
        self._paused = False
        self._senders: list[str | None] = []
        """The processes that share the level's rate, in the order of their shares."""
        self._shares: dict[str | None, tuple[float, int]] = {}
        """For each process: the total rate that it was last sent, and the number of processes that share it."""

    @property
    def _level(self) -> Level | None:
        return self._ledger.levels[-1] if self._ledger.levels else None

    # ── a fixed number of requests ──

    def count_requests(self, requests: int) -> None:
        """The run is of so many requests, which are assigned after the warm-up of its level."""
        self.requests = requests
        self._cluster.set_quota(0)

    def assign_quotas(self) -> None:
        """Give each process its share of the requests; nothing where there is no fixed number."""
        if self.requests:
            users = {sender: self._cluster.users_of(sender) for sender in self._cluster.senders()}
            self._quotas = quotas(self.requests, users)
            self._cluster.set_quota(self.requests)

    def quota_of(self, sender: str | None) -> int | None:
        """Return a process's quota; None in a run without a fixed number of requests, and before they are assigned."""
        return self._quotas.get(sender)

    def note_ended(self, sender: str | None, requests: int) -> None:
        """Requests of a process ended."""
        self._ended[sender] += requests

    @property
    def all_requests_ended(self) -> bool:
        """Of a fixed number, except for those of workers that are lost or have no users any more."""
        return bool(self._quotas) and all(map(self._has_sent_all, self._quotas))

    def _has_sent_all(self, sender: str | None) -> bool:
        if self._ended[sender] >= self._quotas[sender]:
            return True
        return sender is not None and (sender not in self._cluster.senders() or not self._cluster.users_of(sender))

    # ── open load ──

    def open(self, arrivals: str, max_in_flight: int) -> None:
        """From now on levels are rates, and requests arrive so."""
        self._arrivals, self._max_in_flight = arrivals, max_in_flight

    def replay(self, rows: Rows, description: str) -> None:
        """The rows of a trace are due: the replay begins after the warm-up of the first level."""
        self._rows, self._arrivals = rows, description

    @property
    def is_open(self) -> bool:
        return bool(self._arrivals)

    @property
    def plan(self) -> dict[str, Any]:
        """What the run's plan says of the open load; empty in closed load."""
        return {"arrivals": self._arrivals, "max_in_flight": self._max_in_flight} if self.is_open else {}

    def begin_level(self) -> None:
        """A level began: requests are due, at its rate."""
        self._paused = False
        self._assign()

    def begin_rows(self) -> None:
        """The warm-up has ended: a replay begins here."""
        if self._rows:
            self._rows.begin(self._moment())
            self._assign()

    def pause(self, *, on: bool) -> None:
        """Nothing is due while it is on."""
        if on != self._paused:
            self._paused = on
            self._assign()

    def follow_senders(self) -> None:
        """Workers that come or go change what each of them has to send."""
        senders = self._cluster.senders()
        if self._senders and senders and senders != self._senders:
            self._assign()
            many, what = len(self._senders), "trace" if self._rows else "rate"
            who = f"1 load process sends all of the {what}" if many == 1 else f"{many} load processes share the {what}"
            console.say(f"  … {who} from now on")

    def _assign(self) -> None:
        """Give each process its share of the level's rate, from now on."""
        level = self._level
        if level is None or level.ended is not None or level.unit != RATE:
            return
        self._senders, self._seed = self._cluster.senders(), random.getrandbits(32)
        if self._rows:
            self._rows.assign(self._moment())
        for sender in self._senders:
            self.send_share(sender)

    def send_share(self, sender: str | None) -> None:
        """Send one process its share of what is due, where it has one."""
        if sender not in self._senders or self._level is None:
            return
        stream, streams = self._senders.index(sender), len(self._senders)
        rate = 0.0 if self._paused else self._level.load
        self._shares[sender] = (rate, streams)
        if self._rows:
            message = self._rows.message(self._moment(), stream, streams)
            self._cluster.send("rows", sender, **message, max_in_flight=self._max_in_flight)
            return
        share = RateShare(rate, self._arrivals, self._seed, stream, streams)
        self._cluster.send("arrivals", sender, share=list(share), max_in_flight=self._max_in_flight)

    def due_of(self, sender: str, since: float, until: float) -> Due | None:
        """Return what a worker had to send between two moments by the schedule; None in closed load."""
        if sender not in self._shares:
            return None
        rate, streams = self._shares[sender]
        if self._rows:
            return Due(self._rows.count(since, until) / streams, "its share of the trace")
        return Due(rate * max(0.0, until - since) / streams, "its share of the rate")

    def missing_rows(self) -> str:
        """Return, in words, which rows of the trace were never due; empty where all were. For a run that is through."""
        if not self._rows:
            return ""
        due, rows = sum(tally.numbers["due"] for tally in self._ledger.tallies.values()), self._rows.replay.rows
        if due >= rows:
            return ""
        missing = f"{rows - due} of the trace's {rows} rows"
        return f"{missing} were never due: a load process was lost, or has no such trace."


def quotas(requests: int, users: Mapping[str | None, int]) -> dict[str | None, int]:
    """Return the number of requests for each process: whole numbers in proportion to its users, which add up to all."""
    ends = [0, *accumulate(users.values())]
    shares = [requests * end // max(ends[-1], 1) for end in ends]
    return {sender: high - low for sender, (low, high) in zip(users, pairwise(shares), strict=True)}
