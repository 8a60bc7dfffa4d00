"""What the run knows of a worker, and what its figures lack where the worker is lost. Without Locust."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

_REPORTS = 4
_APART = 2.0
"""Seconds between two reports that a rate is taken from: after a cut, reports come all at once."""


class Due(NamedTuple):
    """What a worker had to send by the schedule of an open load."""

    requests: float
    of: str
    """What it is a share of, in words."""


@dataclass
class WorkerState:
    """What a worker has told of the run. Moments are the run's."""

    name: str
    heard: bool = False
    """It has told anything of this run."""
    last: float = 0.0
    """When that was."""
    alive: float = 0.0
    """When it gave its last sign of life."""
    newest: int = 0
    """The number of its newest piece."""
    sent: int = 0
    ended: int = 0
    behind: int = 0
    """How many reports in a row told of users that are not the newest it was given."""
    _reports: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_REPORTS))
    """Of the newest reports with figures, when they came and how many requests were sent by then."""

    def add(self, moment: float, sent: int, ended: int) -> None:
        """A piece of its figures came."""
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
        """Requests a second by its last reports; NaN: not known."""
        if len(self._reports) < 2:
            return math.nan
        (first, before), (last, after) = self._reports[0], self._reports[-1]
        return (after - before) / (last - first)

    def missing(self, until: float, due: Due | None = None, tickets: int | None = None) -> str:
        """What the figures lack, in words. `until`: when it can have sent its last request. `due`: what it had to send
        from `told_until` on, in open load. `tickets`: how many it may send in the whole run.
        """
        known = f"the figures lack at least {self.sent - self.ended} of its requests (in flight at its last report)"
        guess = due or Due(self.rate * max(0.0, until - self.told_until), "the rate of its last reports")
        if math.isnan(guess.requests):
            return f"{known}, and those that it sent later (their number is not known)"
        likely = _two_digits(guess.requests if tickets is None else min(guess.requests, max(0, tickets - self.sent)))
        return f"{known}, and probably about {likely} more that it sent until second {until:.0f} (estimated from {guess.of})"


def _two_digits(value: float) -> int:
    """No more digits than an estimate has."""
    return int(float(f"{value:.2g}"))
