"""The state of a worker, and an estimate of the requests that the figures lack where it is lost. Without Locust."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

_REPORTS = 4
_APART = 2.0
"""Minimum seconds between two reports for a rate: after a network cut, several reports arrive at once."""


class Due(NamedTuple):
    """The requests that a worker had to send by the schedule of an open load."""

    requests: float
    of: str
    """The source of the number, in words, such as "its share of the rate"."""


@dataclass
class WorkerState:
    """What a worker has reported of the run. Moments are seconds since the run began."""

    name: str
    heard: bool = False
    """The worker has reported something of this run."""
    last: float = 0.0
    """Moment of its last report."""
    alive: float = 0.0
    """Moment of its last report or heartbeat."""
    newest: int = 0
    """The number of its newest piece."""
    sent: int = 0
    ended: int = 0
    behind: int = 0
    """How many reports in a row were of users that are not the newest that the worker was assigned."""
    _reports: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_REPORTS))
    """For each of the newest reports with figures: its moment, and how many requests had been sent by then."""

    def add(self, moment: float, sent: int, ended: int) -> None:
        """Add a piece of its figures."""
        self.sent, self.ended = self.sent + sent, self.ended + ended
        if self._reports and moment - self._reports[-1][0] < _APART:
            moment = self._reports.pop()[0]
        self._reports.append((moment, self.sent))

    @property
    def told_until(self) -> float:
        """The moment up to which its requests are known."""
        return self._reports[-1][0] if self._reports else self.last

    @property
    def rate(self) -> float:
        """Requests a second according to its last reports; NaN where that is not known."""
        if len(self._reports) < 2:
            return math.nan
        (first, before), (last, after) = self._reports[0], self._reports[-1]
        return (after - before) / (last - first)

    def missing(self, until: float, due: Due | None = None, tickets: int | None = None) -> str:
        """Return words on the requests that the figures lack. `until`: the latest moment at which the worker can have sent a
        request. `due`: in open load, what it had to send from `told_until` on. `tickets`: its quota for the whole run.
        """
        known = f"the figures lack at least {self.sent - self.ended} of its requests (in flight at its last report)"
        guess = due or Due(self.rate * max(0.0, until - self.told_until), "the rate of its last reports")
        if math.isnan(guess.requests):
            return f"{known}, and those that it sent later (their number is not known)"
        likely = _two_digits(guess.requests if tickets is None else min(guess.requests, max(0, tickets - self.sent)))
        return f"{known}, and probably about {likely} more that it sent until second {until:.0f} (estimated from {guess.of})"


def _two_digits(value: float) -> int:
    """Round to two digits, as an estimate is no more precise."""
    return int(float(f"{value:.2g}"))
