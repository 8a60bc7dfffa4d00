"""When requests are due in open load: they arrive at a rate, whatever the server does. Pure: a seed goes in, moments
come out.

All streams of a run compute the same process of arrivals, and each takes every n-th of them. So rates add up over
processes that never speak to each other, and together they are the process that was asked for: n streams of gamma
gaps of their own would be nearly a Poisson process again.

Each level begins a new process, in the middle of a gap as if it had always been going on: its rate is the mean from
the first moment on. The rows of a recorded trace are dealt in the same way (load.traces).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

CONSTANT, POISSON, GAMMA, BURSTS = "constant", "poisson", "gamma", "bursts"

_MOST = 1000.0
"""A scatter, or a burst, above this is taken for a slip."""


@dataclass(frozen=True)
class Process:
    """A stationary process of arrivals with a mean of one at a time unit: gamma gaps, and at each end some at once."""

    scatter: float = 1.0
    """Coefficient of variation of the gaps: 0 is constant, 1 is Poisson, above is burstier."""
    burst: int = 1
    """How many arrive at once."""

    @classmethod
    def parse(cls, text: str) -> Process:
        """From an option's text: constant, poisson, gamma:2 or bursts:10. ValueError in one line."""
        kind, _, told = text.strip().lower().partition(":")
        try:
            size = float(told) if told else math.nan
        except ValueError:
            size = -1.0
        if kind == CONSTANT and not told:
            return cls(0.0)
        if kind == POISSON and not told:
            return cls()
        if kind == GAMMA and 0.0 < size <= _MOST:
            return cls(size)
        if kind == BURSTS and 1.0 <= size <= _MOST and size.is_integer():
            return cls(0.0, int(size))
        raise ValueError(
            f"arrivals are constant, poisson, gamma:CV (0 < CV ≤ {_MOST:g}; 1 is Poisson, 2 is burstier) or bursts:N "
            f"(N at once, up to {_MOST:g}) — got {text[:40]!r}"
        )

    def gaps(self, random: Random) -> Iterator[float]:
        """Times between bursts; the first is what is left of one at a moment that is any moment."""
        if not self.scatter:
            yield random.random() * self.burst
            while True:
                yield float(self.burst)
        shape = self.scatter**-2
        # any moment lies in a long gap rather than in a short one, and anywhere in it
        yield random.random() * random.gammavariate(shape + 1.0, self.burst / shape)
        while True:
            yield random.gammavariate(shape, self.burst / shape)


class Part(NamedTuple):
    """One stream's part of the arrivals at a rate."""

    rate: float
    """Requests a second of all streams together; at 0 nothing is due."""
    arrivals: str = POISSON
    seed: int = 0
    """The same for all streams."""
    stream: int = 0
    """Which one this is,"""
    streams: int = 1
    """of so many."""

    def due(self) -> Iterator[float]:
        """When this stream's requests are due: seconds from the beginning of the process, without an end."""
        process = Process.parse(self.arrivals)
        moment, number = 0.0, 0
        for gap in process.gaps(Random(self.seed)):
            moment += gap / self.rate
            for _ in range(process.burst):
                if number % self.streams == self.stream:
                    yield moment
                number += 1
