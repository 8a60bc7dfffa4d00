"""The moment at which a share of bad requests falls to its usual value, by maximum likelihood. Pure.

The requests before the moment are bad with one probability, those from it on with the usual one. Both are independent draws
(Hinkley and Hinkley, Inference about the change-point in a sequence of binomial variables, Biometrika 1970).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmlocust.analysis.arrays import Bools, Floats

MAX_DIFFERENCE = 1.92
"""Maximum difference of log-likelihood within the 95 % interval: half of χ² with one degree of freedom."""
_MAX_SHARE = 0.99


def log_likelihoods(is_bad: Sequence[bool] | Bools, usual: float, min_before: float) -> Floats:
    """Return the log-likelihoods of requests, if the change was at the first request, the second, … or after the last.

    `usual` is the share of bad requests after the change, `min_before` the minimum share before it.
    """
    flags = np.asarray(is_bad, dtype=float)
    counts = np.concatenate(([0.0], np.cumsum(flags)))
    places = np.arange(len(counts), dtype=float)
    shares = np.clip(counts / np.maximum(places, 1.0), min_before, _MAX_SHARE)
    rest = counts[-1] - counts
    fine = len(flags) - places - rest
    before = counts * np.log(shares) + (places - counts) * np.log1p(-shares)
    return np.asarray(before + rest * np.log(usual) + fine * np.log1p(-usual))


def plausible(likelihoods: Floats) -> tuple[int, int, int]:
    """Return the first place of the 95 % interval, the most likely place, and the last place of the interval."""
    inside = np.flatnonzero(likelihoods >= likelihoods.max() - MAX_DIFFERENCE)
    return int(inside[0]), int(np.argmax(likelihoods)), int(inside[-1])
