"""Arrivals in open load: the moments at which requests are due at a rate, independent of the server. Pure.

All streams of a run compute the same arrival process, and each of n streams takes every n-th arrival. So the workers need
not communicate, and their arrivals together are exactly the requested process. With n independent gamma processes, the
total would be nearly a Poisson process.

Each level begins a new process at a random moment of an interval, as if it had been running before, so that its rate is
right from the first moment on. The rows of a recorded trace are shared in the same way (load.traces).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

CONSTANT, POISSON, GAMMA, BURSTS = "constant", "poisson", "gamma", "bursts"

_MAX_SIZE = 1000.0
"""Maximum scatter or burst: a larger one is probably a typing error."""


@dataclass(frozen=True)
class Process:
    """A stationary process with a mean of one arrival per time unit: bursts of arrivals, with gamma-distributed intervals
    between them.
    """

    scatter: float = 1.0
    """Coefficient of variation of the intervals: 0 is constant, 1 is Poisson, above is burstier."""
    burst: int = 1
    """Number of simultaneous arrivals."""

    @classmethod
    def parse(cls, text: str) -> Process:
        """Read an option's text: constant, poisson, gamma:2 or bursts:10. ValueError in one line."""
        kind, _, number = text.strip().lower().partition(":")
        try:
            size = float(number) if number else math.nan
        except ValueError:
            size = -1.0
        if kind == CONSTANT and not number:
            return cls(0.0)
        if kind == POISSON and not number:
            return cls()
        if kind == GAMMA and 0.0 < size <= _MAX_SIZE:
            return cls(size)
        if kind == BURSTS and 1.0 <= size <= _MAX_SIZE and size.is_integer():
            return cls(0.0, int(size))
        raise ValueError(
            f"arrivals are constant, poisson, gamma:CV (0 < CV ≤ {_MAX_SIZE:g}; 1 is Poisson, 2 is burstier) or bursts:N "
            f"(N at once, up to {_MAX_SIZE:g}) — got {text[:40]!r}"
        )

    def intervals(self, random: Random) -> Iterator[float]:
        """Yield the times between bursts; the first is the rest of an interval at a random moment."""
        if not self.scatter:
            yield random.random() * self.burst
            while True:
                yield float(self.burst)
        shape = self.scatter**-2
        # a random moment lies more often in a long interval than in a short one, and uniformly within it
        yield random.random() * random.gammavariate(shape + 1.0, self.burst / shape)
        while True:
            yield random.gammavariate(shape, self.burst / shape)


class RateShare(NamedTuple):
    """One stream's share of the arrivals at a rate."""

    rate: float
    """Requests per second of all streams together; 0: none."""
    arrivals: str = POISSON
    seed: int = 0
    """Equal for all streams."""
    stream: int = 0
    """Index of this stream."""
    streams: int = 1
    """Number of streams."""

    def due(self) -> Iterator[float]:
        """Yield the moments at which this stream's requests are due, in seconds since the beginning; endless."""
        process = Process.parse(self.arrivals)
        moment, number = 0.0, 0
        for interval in process.intervals(Random(self.seed)):
            moment += interval / self.rate
            for _ in range(process.burst):
                if number % self.streams == self.stream:
                    yield moment
                number += 1
