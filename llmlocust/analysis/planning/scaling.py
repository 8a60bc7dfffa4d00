"""How throughput at the SLO limit grows with replicas: by assumption, or from runs of several numbers of replicas. Pure.

From one run, n replicas are assumed to carry n times as much. From several, the measured values are used, with straight
lines between them. From MIN_COUNTS numbers of replicas on, Gunther's Universal Scalability Law is fitted to them:
X(n) = a·n / (1 + s·(n − 1) + k·n·(n − 1)), with s for what replicas wait for and k for what they do for each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

MIN_COUNTS = 4
"""Minimum different numbers of replicas for a fit of the law: with fewer, it fits anything."""
MAX_REPLICAS = 10_000
PAYS = 0.5
"""A further replica pays if it adds at least this share of what the first one carries."""


class Law(NamedTuple):
    """The parameters of the Universal Scalability Law."""

    a: float
    s: float
    k: float

    def at(self, replicas: float) -> float:
        return self.a * replicas / (1.0 + self.s * (replicas - 1.0) + self.k * replicas * (replicas - 1.0))


@dataclass(frozen=True)
class Scaling:
    """Requests per second at the SLO limit by number of replicas."""

    measured: Mapping[int, float]

    @property
    def is_linear(self) -> bool:
        """Whether the growth is an assumption, because one number of replicas was measured."""
        return len(self.measured) == 1

    @property
    def highest(self) -> int:
        """The highest measured number of replicas."""
        return max(self.measured)

    @cached_property
    def law(self) -> Law | None:
        return fitted(self.measured) if len(self.measured) >= MIN_COUNTS else None

    def at(self, replicas: int) -> float:
        """Return requests per second that a number of replicas carries."""
        counts = sorted(self.measured)
        if replicas in self.measured:
            return self.measured[replicas]
        if replicas < counts[0]:
            return self.measured[counts[0]] * replicas / counts[0]
        if replicas < counts[-1]:
            return float(np.interp(replicas, counts, [self.measured[count] for count in counts]))
        return self._beyond(replicas, counts)

    def _beyond(self, replicas: int, counts: list[int]) -> float:
        """Extrapolate: by the law, scaled to pass through the last measurement, or with what the last replicas added."""
        last = counts[-1]
        if self.law is not None:
            return self.measured[last] * self.law.at(replicas) / self.law.at(last)
        before = counts[-2] if len(counts) > 1 else 0
        added = (self.measured[last] - self.measured.get(before, 0.0)) / (last - before)
        return self.measured[last] + added * (replicas - last)

    def needed(self, rate: float) -> int | None:
        """Return the smallest number of replicas that carries a rate; None if none does."""
        return _smallest(lambda replicas: self.at(replicas) >= rate * (1.0 - 1e-9))

    def efficiency(self, replicas: int) -> float:
        """Return what a replica carries on average, as a share of a replica of the smallest measured number."""
        first = min(self.measured)
        return self.at(replicas) / replicas / (self.measured[first] / first)

    def stops_paying(self) -> int | None:
        """Return the first measured number of replicas whose last ones add less than PAYS of what the first one carries."""
        counts = sorted(self.measured)
        of_one = self.measured[counts[0]] / counts[0]
        added = {
            count: (self.measured[count] - self.measured[before]) / (count - before)
            for before, count in pairwise(counts)
        }
        return next((count for count, rate in added.items() if rate < PAYS * of_one), None)


def fitted(measured: Mapping[int, float]) -> Law:
    """Fit the law to n/X, which is linear in 1/a, s/a and k/a; a negative s or k, which only noise gives, becomes 0."""
    counts = np.array(sorted(measured), dtype=float)
    rates = np.array([measured[int(count)] for count in counts])
    columns = {"a": np.ones_like(counts), "s": counts - 1.0, "k": counts * (counts - 1.0)}
    names = list(columns)
    while True:
        weighted = np.stack([columns[name] for name in names], axis=1) * (rates / counts)[:, None]
        solution, *_ = np.linalg.lstsq(weighted, np.ones_like(counts), rcond=None)
        parameters = dict(zip(names, map(float, solution), strict=True))
        negative = [name for name in ("k", "s") if parameters.get(name, 0.0) < 0.0]
        if not negative:
            a = 1.0 / parameters["a"]
            return Law(a, parameters.get("s", 0.0) * a, parameters.get("k", 0.0) * a)
        names.remove(min(negative, key=lambda name: parameters[name]))


def _smallest(is_enough: Callable[[int], bool]) -> int | None:
    """Return the smallest number from 1 on that is enough. Throughput may fall again with more, so each is tried in turn."""
    return next((replicas for replicas in range(1, MAX_REPLICAS + 1) if is_enough(replicas)), None)


def is_known(rate: float | None) -> bool:
    return rate is not None and math.isfinite(rate) and rate > 0.0
