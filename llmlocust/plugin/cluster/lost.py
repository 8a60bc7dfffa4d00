"""The state of a worker, and an estimate of the requests that the figures lack if it is lost. Without Locust."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from llmlocust.text.message import Message, message

_REPORTS = 4
_APART = 2.0
"""Minimum seconds between two reports that give a rate: after a network outage, several reports arrive at once."""


class Due(NamedTuple):
    """The requests that a worker had to send by the schedule of an open load."""

    requests: float
    source: Message
    """The source of the number, such as "its share of the rate"."""


@dataclass
class WorkerState:
    """The reports of a worker about the run. Moments are seconds since the run began."""

    name: str
    has_reported: bool = False
    """The worker has sent a report of this run."""
    last: float = 0.0
    """The moment of its last report."""
    alive: float = 0.0
    """The moment of its last report or heartbeat."""
    newest_piece: int = 0
    """The number of its newest piece."""
    sent: int = 0
    ended: int = 0
    behind: int = 0
    """The number of consecutive reports in which the worker did not have its newest assigned users."""
    _reports: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_REPORTS))
    """The moment of each of the newest reports with figures, and the number of requests that had been sent by then."""

    def add(self, moment: float, sent: int, ended: int) -> None:
        """Add the requests of a piece of its figures."""
        self.sent, self.ended = self.sent + sent, self.ended + ended
        if self._reports and moment - self._reports[-1][0] < _APART:
            moment = self._reports.pop()[0]
        self._reports.append((moment, self.sent))

    @property
    def known_until(self) -> float:
        """The moment up to which its requests are known."""
        return self._reports[-1][0] if self._reports else self.last

    @property
    def rate(self) -> float:
        """Requests per second in its last reports; NaN if not known."""
        if len(self._reports) < 2:
            return math.nan
        (first, before), (last, after) = self._reports[0], self._reports[-1]
        return (after - before) / (last - first)

    def missing(self, until: float, due: Due | None = None, quota: int | None = None) -> Message:
        """Describe the requests that the figures lack. `until`: the latest moment at which the worker can have sent a
        request. `due`: the requests that it had to send from `known_until` on, in open load. `quota`: its quota for the
        whole run.
        """
        in_flight = self.sent - self.ended
        by_rate = self.rate * max(0.0, until - self.known_until)
        estimate = due or Due(by_rate, message("the rate of its last reports"))
        if math.isnan(estimate.requests):
            return message(
                "the figures lack at least {in_flight} of its requests (in flight at its last report), and those that it sent "
                "later (their number is not known)",
                in_flight=in_flight,
            )
        left = math.inf if quota is None else max(0, quota - self.sent)
        return message(
            "the figures lack at least {in_flight} of its requests (in flight at its last report), and probably about {more} "
            "more that it sent until second {until} (estimated from {source})",
            in_flight=in_flight,
            more=_two_digits(min(estimate.requests, left)),
            until=f"{until:.0f}",
            source=estimate.source,
        )


def _two_digits(value: float) -> int:
    """Round to two digits, because an estimate is no more precise."""
    return int(float(f"{value:.2g}"))
