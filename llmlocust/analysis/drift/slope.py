"""The slope of a noisy series, and its standard error when neighbouring values depend on each other. Pure.

The slope is Theil's and Sen's: the median of the slopes of all pairs (Sen, JASA 1968). Its standard error is that of a moving
block bootstrap (Künsch, Annals of Statistics 1989): blocks of residuals are drawn with replacement and added to the line. The
length of a block follows Politis and White (Econometric Reviews 2004, corrected 2009).

Few blocks show too little of a strong dependence. So the standard error is never smaller than that of a first-order
autoregressive process with the residuals' own correlation, whose estimate is corrected for its bias (Kendall, Biometrika 1954).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from llmlocust.analysis.arrays import Floats

MIN_POINTS = 20
DRAWS = 400
_MAX_CORRELATION = 0.97
_SEED = 20_040


@dataclass(frozen=True)
class Slope:
    """A straight line through a series."""

    slope: float
    intercept: float
    error: float
    """Standard error of the slope."""
    correlation: float
    """Correlation of neighbouring residuals, corrected for its bias."""
    block: int
    """Values in a block of the bootstrap."""
    freedom: float
    """Degrees of freedom: about the number of independent values, less two."""

    @property
    def quantile(self) -> float:
        """The 97.5 % quantile of Student's distribution."""
        return student_quantile(0.975, self.freedom)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        width = self.quantile * self.error
        return self.slope - width, self.slope + width


def theil_sen(x: Floats, y: Floats) -> tuple[float, float]:
    """Return the slope and the intercept."""
    first, second = np.triu_indices(len(x), 1)
    runs = x[second] - x[first]
    is_used = runs > 0.0
    slope = float(np.median((y[second] - y[first])[is_used] / runs[is_used]))
    return slope, float(np.median(y - slope * x))


def slope_of(x: Floats, y: Floats, draws: int = DRAWS) -> Slope:
    """Return the slope of a series in the order of x, with at least MIN_POINTS values."""
    count = len(x)
    slope, intercept = theil_sen(x, y)
    residuals = y - intercept - slope * x
    residuals = residuals - residuals.mean()
    block = block_length(residuals)
    correlation = _correlation(residuals)
    errors = _bootstrap_error(x, residuals, block, draws), _autoregressive_error(x, residuals, correlation)
    independent = count * (1.0 - correlation) / (1.0 + correlation)
    return Slope(slope, intercept, max(errors), correlation, block, max(3.0, independent - 2.0))


def _bootstrap_error(x: Floats, residuals: Floats, block: int, draws: int) -> float:
    """Return the standard deviation of the slopes of series that are made of blocks of residuals."""
    count = len(x)
    generator = np.random.default_rng(_SEED)
    blocks = math.ceil(count / block)
    starts = generator.integers(0, count - block + 1, (draws, blocks, 1))
    places = (starts + np.arange(block)).reshape(draws, -1)[:, :count]
    series = residuals[places]
    first, second = np.triu_indices(count, 1)
    runs = x[second] - x[first]
    is_used = runs > 0.0
    first, second, runs = first[is_used], second[is_used], runs[is_used]
    slopes = [float(np.median((values[second] - values[first]) / runs)) for values in series]
    # blocks do not reach across each other, so the variance is too small by about this factor
    return float(np.std(slopes, ddof=1)) * math.sqrt(count / max(count - block, 1))


def _autoregressive_error(x: Floats, residuals: Floats, correlation: float) -> float:
    """Return the standard error of a line through an autoregressive process of first order (of least squares)."""
    centred = x - x.mean()
    weights = centred / float((centred**2).sum())
    lags = np.abs(np.subtract.outer(np.arange(len(x)), np.arange(len(x))))
    independent = len(x) * (1.0 - correlation) / (1.0 + correlation)
    variance = float(residuals.var()) * len(x) / max(len(x) - 2.0, 1.0) / max(0.2, 1.0 - 2.0 / max(independent, 2.5))
    return math.sqrt(variance * float(weights @ (correlation**lags) @ weights))


def _correlation(residuals: Floats) -> float:
    """Return the correlation of neighbours. The estimate from residuals of a line is too small by (2 + 4 r) / n."""
    count, square = len(residuals), float((residuals**2).sum())
    if square <= 0.0:
        return 0.0
    raw = float((residuals[1:] * residuals[:-1]).sum()) / square
    corrected = (raw * count + 2.0) / (count - 4.0)
    return min(_MAX_CORRELATION, max(0.0, corrected))


def block_length(residuals: Floats) -> int:
    """Return the length of blocks for the bootstrap, from the flat-top estimate of the spectrum at zero."""
    count = len(residuals)
    square = float((residuals**2).sum())
    longest = max(1, count // 4)
    if square <= 0.0:
        return max(1, round(math.cbrt(count)))
    lags = np.arange(longest + 1)
    correlations = np.array([float((residuals[lag:] * residuals[: count - lag]).sum()) / square for lag in lags])
    limit = 2.0 * math.sqrt(math.log10(count) / count)
    quiet = max(5, int(math.sqrt(math.log10(count))))
    significant = np.flatnonzero(np.abs(correlations) > limit)
    last = next(
        (int(lag) for lag in significant if not (np.abs(correlations[lag + 1 : lag + 1 + quiet]) > limit).any()), 0
    )
    bandwidth = max(1, min(2 * max(1, last), longest))
    ratios = lags[: bandwidth + 1] / bandwidth
    window = np.where(ratios <= 0.5, 1.0, 2.0 * (1.0 - ratios)) * correlations[: bandwidth + 1]
    spectrum = float(window[0] + 2.0 * window[1:].sum())
    moment = float(2.0 * (lags[1 : bandwidth + 1] * window[1:]).sum())
    if spectrum <= 0.0:
        return longest
    length = math.cbrt(1.5 * (moment / spectrum) ** 2 * count)
    return min(longest, max(round(math.cbrt(count)), math.ceil(length)))


def student_quantile(share: float, freedom: float) -> float:
    """Return a quantile of Student's distribution (Cornish and Fisher's expansion; Abramowitz and Stegun 26.7.5)."""
    z = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4.0,
        (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0,
        (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / 384.0,
    )
    return z + sum(term / freedom ** (power + 1) for power, term in enumerate(terms))
