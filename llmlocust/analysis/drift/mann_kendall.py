"""The plain Mann-Kendall test for a trend. Pure.

It takes the values for independent. Those of a run are not, so it finds trends that do not exist (Machida, Andrzejak, Matias
and Vicente, ISSREW 2013). bench/recovery.py uses it as the rule to beat; the analysis of a run does not.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from llmlocust.analysis.arrays import Floats


def p_value(y: Floats) -> float:
    """Return the two-sided p-value, with the correction for ties (Mann 1945, Kendall 1975)."""
    count = len(y)
    first, second = np.triu_indices(count, 1)
    score = float(np.sign(y[second] - y[first]).sum())
    _, ties = np.unique(y, return_counts=True)
    variance = (count * (count - 1) * (2 * count + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18.0
    if variance <= 0.0:
        return 1.0
    z = (score - math.copysign(1.0, score)) / math.sqrt(variance) if score else 0.0
    return 2.0 * (1.0 - NormalDist().cdf(abs(z)))
