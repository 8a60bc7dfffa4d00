"""How many bad requests are no more than chance. Pure.

Bad requests come in bursts, because requests that wait together are late together. The counts of a baseline's buckets show
by how much more than binomial ones they scatter (the dispersion of a quasi-binomial model, McCullagh and Nelder, Generalized
Linear Models, 1989, section 4.5). A number of requests counts as that number divided by the dispersion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from llmlocust.analysis.arrays import Bools, Floats
from llmlocust.analysis.breakpoints.steps import Z95, wilson

_MAX_EXACT = 4000
"""Requests above which the normal approximation of a binomial tail is exact enough."""
_MAX_DISPERSION = 10.0


@dataclass(frozen=True)
class Noise:
    """A share of bad requests that is allowed, and the scatter of its counts."""

    allowed: float
    dispersion: float = 1.0

    def exceeds(self, bad: Floats, total: Floats, chance: float) -> Bools:
        """Return where the counts of bad requests are so high that an allowed share has at most this chance of them."""
        scaled = np.floor(np.asarray(total, dtype=float) / self.dispersion)
        counts = np.asarray(bad, dtype=float) / self.dispersion
        sizes, places = np.unique(scaled, return_inverse=True)
        limits = np.array([critical_count(int(size), self.allowed, chance) for size in sizes])
        return np.asarray(counts >= limits[places.reshape(scaled.shape)] - 1e-9)


@lru_cache(maxsize=20_000)
def critical_count(total: int, share: float, chance: float) -> float:
    """Return the smallest count that `total` draws reach or exceed with at most this probability."""
    if total <= 0:
        return math.inf
    if share >= 1.0:
        return math.inf
    mean, deviation = total * share, math.sqrt(total * share * (1.0 - share))
    if total > _MAX_EXACT:
        return math.ceil(mean + _upper_quantile(chance) * deviation + 0.5)
    tail, count = 1.0, 0
    logs = math.log(max(share, 1e-12)), math.log1p(-share)
    while tail > chance and count <= total:
        log_of_probability = (
            math.lgamma(total + 1)
            - math.lgamma(count + 1)
            - math.lgamma(total - count + 1)
            + count * logs[0]
            + (total - count) * logs[1]
        )
        tail -= math.exp(log_of_probability)
        count += 1
    return count if tail <= chance else math.inf


def _upper_quantile(chance: float) -> float:
    return NormalDist().inv_cdf(1.0 - chance)


def dispersion(bad: Floats, total: Floats) -> float:
    """Return by how much more than binomial the counts of buckets scatter (Pearson's χ² per degree of freedom); at least 1."""
    is_used = total > 0
    bad, total = bad[is_used], total[is_used]
    share = bad.sum() / total.sum() if len(total) else 0.0
    if len(total) < 5 or not 0.0 < share < 1.0:
        return 1.0
    chi_squared = float((((bad - total * share) ** 2) / (total * share * (1.0 - share))).sum())
    return min(_MAX_DISPERSION, max(1.0, chi_squared / (len(total) - 1)))


def upper_share(bad: float, total: float) -> float:
    """Return the upper end of the one-sided 95 % interval of a share."""
    return wilson(bad / total, total, Z95)[1] if total > 0 else 1.0
