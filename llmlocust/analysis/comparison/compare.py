"""Comparison of two runs: the difference of each figure at each level, and whether noise explains it. Pure.

docs/compare.md explains each interval. Durations are seconds. A change is NEW / BASE − 1, for shares NEW − BASE.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import NormalDist

import numpy as np

from llmlocust.analysis.breakpoints.steps import name_of, noise, spread, steps_of, wilson, workload_error
from llmlocust.analysis.comparison.dependence import (
    CHUNKS,
    MIN_CHUNKS,
    Z95,
    Times,
    Values,
    normal,
    scatter,
    share,
    student,
    welch,
)
from llmlocust.metrics.levels import RATE, LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import RATES
from llmlocust.metrics.vocabulary import QUANTILES
from llmlocust.text.message import Message, clauses, enumeration, message, term

TOLERANCE = 0.05
"""Default share up to which a change is no regression."""
ERROR_TOLERANCE = 0.01
"""The same for the share of errors, as a difference: one request of a hundred."""
FALSE_ALARMS = 0.01
"""Probability that any figure at any level of two equal runs is called faster or slower."""
MIN_REQUESTS = 20
"""Minimum number of requests of a level for a comparison."""
WIDEST = 5.0
"""Largest change of the logarithm that is searched for the end of an interval: 150 times as slow."""
PRECISION = 0.001
MUCH_LONGER = 50
"""Factor. A level that would have to be longer by more is not recommended."""
ONE_LENGTH = 0.1
"""Standard deviation of the lengths of answers, as a share of their mean, up to which they count as equal."""
BUSY = 0.9
"""Minimum share of its time that a user without think time waits for answers."""
LOCKSTEP = math.log(1.3)
"""Maximum difference of a figure between equal runs in lockstep. It is chosen, above the 17 % within which 95 % of median
TTFTs were (docs/compare.md)."""
QUEUE, ALIKE = 0.25, math.exp(0.8)
"""Users in lockstep queue for each other if TTFT is at least the share QUEUE of the answer, and its p95 is at most ALIKE times
its p5."""
QUEUED = 0.025
"""Maximum difference of the mean TTFT between equal runs of such levels: 95 % of 239 levels were within it (docs/compare.md)."""

FASTER, SLOWER, SAME, UNSURE = term("faster"), term("slower"), term("same"), term("cannot tell")
FEWER, MORE = term("fewer"), term("more")
WORSE = (SLOWER, MORE)
BETTER = (FASTER, FEWER)

LATENCIES = tuple((key, statistic) for key, metric in METRICS.items() for statistic in metric.compared)
"""The compared figures of requests. The mean end to end is compared if percentiles are not known."""
TOKENS = "output_tokens_per_s"
ERRORS = "errors"


@dataclass(frozen=True)
class Held:
    """The data of one level of one run."""

    figures: LevelFigures
    values: Mapping[str, Values] = field(default_factory=dict)
    """Values of the successful requests, by metric. "errors": 0 or 1 for every request. "throughput" and "goodput": 1 for every
    request that ended inside the window (goodput: 0 if it was not good). "output_tokens_per_s": tokens of each second."""
    goodput: float = math.nan
    spreads: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Standard errors of ln(figure), which are used if single requests are not known."""
    workload_errors: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Standard errors of ln(figure) due to the random amount of work requested in the window; in open load only."""
    doubts: tuple[str, ...] = ()
    """The names of the failed checks that mark the level."""

    @cached_property
    def cycle(self) -> float:
        """Seconds from one request of a user to its next, by Little's law; infinite in open load."""
        users, requests = self.figures.users, self.figures.requests
        known = self.figures.unit == "users" and requests and users > 0.0
        return users * self.figures.window / requests if known else math.inf

    def figure(self, metric: str, statistic: str = "") -> float:
        if metric == "goodput":
            return self.goodput
        if not statistic:
            return float(getattr(self.figures, metric))
        known = self.values.get(metric)
        if not known:
            return self.figures.metric(metric)[statistic]
        return known.mean if statistic == "mean" else known.quantile(QUANTILES[statistic])

    @cached_property
    def lockstep(self) -> bool:
        """Whether users have no think time and all answers have the same length. Then users that once send together always do,
        and figures depend for the whole level on which users began together.
        """
        lengths, durations = self.values.get("output_tokens"), self.values.get("e2e")
        if not lengths or not durations or durations.mean < BUSY * self.cycle:
            return False
        return float(lengths.value.std()) < ONE_LENGTH * lengths.mean

    @cached_property
    def queued(self) -> bool:
        """Whether all users in lockstep wait for each other. Then the grouping of users hardly changes the mean wait: by
        Little's law it is users / throughput, minus the duration of an answer.
        """
        if not self.lockstep or not (waits := self.values.get("ttft")):
            return False
        long = waits.mean >= QUEUE * self.values["e2e"].mean
        return long and waits.quantile(0.95) <= ALIKE * waits.quantile(0.05)

    def times(self, values: Values) -> Times:
        cycle, answer = self.cycle, self.figure("e2e", "mean")
        return Times(values.at, self.figures.window, cycle, answer, lockstep=self.lockstep)

    @property
    def reasons(self) -> bool:
        """Whether some answers begin with reasoning, so that TTFO differs from TTFT."""
        return self.figure("ttfo", "p95") != self.figure("ttft", "p95")

    def count(self, metric: str) -> int:
        known = self.values.get(metric)
        return len(known) if known else self.figures.metric(metric).count


@dataclass(frozen=True)
class Difference:
    """The difference of a figure between NEW and BASE."""

    metric: str
    statistic: str = ""
    base: float = math.nan
    new: float = math.nan
    effect: float = math.nan
    """ln(NEW / BASE); for shares NEW − BASE."""
    low: float = -math.inf
    """Lower end of the 95 % interval of the effect."""
    high: float = math.inf
    """Upper end of the interval."""
    least: float = 0.0
    """The effect that equal runs may have, with the sign of this one."""
    z: float = 0.0
    """The effect beyond `least`, in standard deviations of a normal distribution."""
    word: str = UNSURE
    why: str = ""
    regression: bool = False

    @property
    def name(self) -> str:
        return name_of(self.metric, self.statistic)

    @property
    def is_share(self) -> bool:
        return self.metric == ERRORS

    @property
    def known(self) -> bool:
        return math.isfinite(self.effect)

    @property
    def error(self) -> float:
        """Standard error of the effect."""
        return (self.high - self.low) / (2.0 * Z95)

    @property
    def worse(self) -> float:
        """The effect with a sign that is positive if NEW is worse."""
        return -self.effect if self.metric in RATES else self.effect

    def change(self, effect: float) -> float:
        """Convert an effect into a share of BASE. Effects on shares stay as they are."""
        if self.is_share:
            return effect
        return math.expm1(effect) if effect < 700.0 else math.inf


@dataclass(frozen=True)
class Pair:
    """One load that both runs have."""

    load: float
    base: Held
    new: Held
    differences: tuple[Difference, ...]

    @property
    def doubts(self) -> list[tuple[str, str]]:
        """The failed checks that mark the level, with their run: ("BASE", "client CPU")."""
        return [(name, check) for name, side in (("BASE", self.base), ("NEW", self.new)) for check in side.doubts]


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison of two runs."""

    pairs: tuple[Pair, ...]
    overall: tuple[Difference, ...]
    """Each figure over all valid levels that have it."""
    tolerance: float
    only_base: tuple[float, ...] = ()
    """Loads that only BASE has."""
    only_new: tuple[float, ...] = ()
    """Loads that only NEW has."""

    @property
    def differences(self) -> Iterator[Difference]:
        yield from self.overall
        for pair in self.pairs:
            yield from pair.differences

    @property
    def regressions(self) -> list[Difference]:
        return [difference for difference in self.differences if difference.regression]

    @property
    def doubted(self) -> list[Pair]:
        return [pair for pair in self.pairs if pair.doubts]


def compare(base: Sequence[Held], new: Sequence[Held], tolerance: float = TOLERANCE) -> Comparison:
    """Compare every figure of the loads that both runs have. If a run has a load more than once, the longest level counts."""
    bases, news = _by_load(base), _by_load(new)
    both = [(load, at) for load in bases if (at := _near(load, news)) is not None]
    raw = [(load, bases[load], news[at], _differences(bases[load], news[at])) for load, at in both]
    valid = [differences for _, one, other, differences in raw if not (one.doubts or other.doubts)]
    overall = _overall(valid, tolerance)
    proven = _proven([*overall, *(difference for differences in valid for difference in differences)])
    pairs = tuple(
        Pair(load, one, other, _judged(one, other, differences, proven, tolerance))
        for load, one, other, differences in raw
    )
    return Comparison(
        pairs,
        _worded(overall, proven, tolerance),
        tolerance,
        tuple(load for load in bases if load not in {one for one, _ in both}),
        tuple(load for load in news if load not in {other for _, other in both}),
    )


def _by_load(levels: Sequence[Held]) -> dict[float, Held]:
    by_load: dict[float, Held] = {}
    for level in sorted(levels, key=lambda held: (held.figures.load, held.figures.window)):
        if level.figures.requests:
            by_load[level.figures.load] = level
    return by_load


def _near(load: float, others: Mapping[float, Held]) -> float | None:
    """The load among others that equals a load, within rounding: loads computed from Locust's files are not whole."""
    return next((other for other in others if math.isclose(other, load, rel_tol=0.005)), None)


# -- differences of a level


def _differences(base: Held, new: Held) -> tuple[Difference, ...]:
    differences = [
        _latency(base, new, metric, statistic)
        for metric, statistic in LATENCIES
        if _is_distinct(base, new, metric, statistic)
    ]
    differences += [_rate(base, new, metric) for metric in RATES]
    differences.append(_errors(base, new))
    return tuple(difference for difference in differences if difference.known)


def _is_distinct(base: Held, new: Held, metric: str, statistic: str) -> bool:
    """Whether a figure is not the same as another that is compared."""
    if metric == "ttfo":
        return base.reasons or new.reasons
    percentile = (math.isnan(side.figure(metric, "p50")) for side in (base, new))
    return (metric, statistic) != ("e2e", "mean") or any(percentile)


def _latency(base: Held, new: Held, metric: str, statistic: str) -> Difference:
    figures = base.figure(metric, statistic), new.figure(metric, statistic)
    difference = Difference(metric, statistic, *figures, effect=_log_ratio(*figures))
    if not difference.known or min(base.count(metric), new.count(metric)) < MIN_REQUESTS:
        return replace(difference, effect=math.nan)
    if base.values.get(metric) and new.values.get(metric):
        difference = replace(difference, least=_least(base, new, difference))
        chance = math.hypot(*(side.workload_errors.get((metric, statistic), 0.0) for side in (base, new)))
        if statistic == "mean":
            return _widened(_mean(base, new, difference), chance)
        test = _Ranks(base, new, metric, QUANTILES[statistic])
        low, high = (test.end(difference.effect, side) for side in (-1, 1))
        return _widened(replace(difference, low=low, high=high, z=test.z(difference.least)), chance)
    return _gaussian(difference, math.hypot(*(side.spreads.get((metric, statistic), math.nan) for side in (base, new))))


def _widened(difference: Difference, error: float) -> Difference:
    """Return a difference with a further, independent error added."""
    if not error or not difference.z:
        return difference
    low, high = (math.hypot(end - difference.effect, Z95 * error) for end in (difference.low, difference.high))
    beyond = difference.effect - difference.least
    z = math.copysign(abs(beyond) / math.hypot(beyond / difference.z, error), difference.z)
    return replace(difference, low=difference.effect - low, high=difference.effect + high, z=z)


def _log_ratio(base: float, new: float) -> float:
    return math.log(new / base) if base > 0.0 and new > 0.0 else math.nan


def _gaussian(difference: Difference, error: float, freedom: float = math.inf) -> Difference:
    """Return a difference with an interval and a z from a standard error."""
    if error == difference.effect == 0.0:  # no scatter
        return replace(difference, low=0.0, high=0.0)
    if not error > 0.0:
        return difference
    half = error * student(Z95, freedom)
    z = normal((difference.effect - difference.least) / error, freedom)
    return replace(difference, low=difference.effect - half, high=difference.effect + half, z=z)


def _least(base: Held, new: Held, difference: Difference) -> float:
    """The effect that equal runs in lockstep may have: a difference has to be larger. It is bounded by the range of values."""
    if not (base.lockstep or new.lockstep):
        return 0.0
    if _is_queue(base, new, difference):
        return math.copysign(min(QUEUED, abs(difference.effect)), difference.effect)
    ranges = [
        math.log(values.quantile(0.95) / values.quantile(0.05))
        for values in (base.values[difference.metric], new.values[difference.metric])
    ]
    return math.copysign(min(LOCKSTEP, max(ranges) / 2.0, abs(difference.effect)), difference.effect)


def _is_queue(base: Held, new: Held, difference: Difference) -> bool:
    return (difference.metric, difference.statistic) == ("ttft", "mean") and base.queued and new.queued


def _mean(base: Held, new: Held, difference: Difference) -> Difference:
    known = []
    for held in (base, new):
        values, times = held.values[difference.metric], held.times(held.values[difference.metric])
        residuals = values.weight * (values.value / values.mean - 1.0)
        if _is_queue(base, new, difference):
            variance, freedom = scatter(times.sums(residuals))
            error = math.sqrt(variance)
        else:
            error, freedom = times.error(residuals, float((residuals**2).sum()))
        known.append((error / float(values.weight.sum()), freedom))
    errors, freedoms = zip(*known, strict=True)
    return _gaussian(difference, math.hypot(*errors), welch(errors, freedoms))


class _Ranks:
    """Test whether a quantile of BASE, times a ratio, equals that of NEW.

    The test compares the shares of both sides above the quantile of their union, because the variance of a share is known,
    and that of a quantile is not.
    """

    def __init__(self, base: Held, new: Held, metric: str, q: float) -> None:
        self._sides = base.values[metric], new.values[metric]
        self._times = tuple(held.times(values) for held, values in zip((base, new), self._sides, strict=True))
        self._q = q

    def z(self, effect: float) -> float:
        """The z of the hypothesis NEW = BASE · e^effect; positive if NEW is slower than that."""
        ratio = math.exp(effect)
        border = self._border(ratio)
        places = border, border * ratio
        shares, errors, freedoms = zip(
            *(
                share(side, times, place, self._q)
                for side, times, place in zip(self._sides, self._times, places, strict=True)
            ),
            strict=True,
        )
        error = math.hypot(*errors)
        return normal((shares[0] - shares[1]) / error, welch(errors, freedoms))

    def _border(self, ratio: float) -> float:
        """The value at which the mean of both shares is q, with NEW's values divided by the ratio."""
        base, new = self._sides
        low = math.log(min(base.ends[0], new.ends[0] / ratio)) - PRECISION
        high = math.log(max(base.ends[1], new.ends[1] / ratio)) + PRECISION
        while high - low > 1e-9:
            middle = (low + high) / 2.0
            if base.share_up_to(math.exp(middle)) + new.share_up_to(math.exp(middle) * ratio) < 2.0 * self._q:
                low = middle
            else:
                high = middle
        return math.exp(high)

    def end(self, effect: float, side: int) -> float:
        """The end of the 95 % interval on one side (−1 or 1): the last effect that the test does not reject."""
        inside, step = effect, 0.02
        while not self._rejects(effect + side * step, side):
            inside, step = effect + side * step, step * 2.0
            if step > WIDEST:
                return side * math.inf
        outside = effect + side * step
        while abs(outside - inside) > PRECISION:
            middle = (inside + outside) / 2.0
            if self._rejects(middle, side):
                outside = middle
            else:
                inside = middle
        return outside

    def _rejects(self, effect: float, side: int) -> bool:
        return -side * self.z(effect) > Z95


def _rate(base: Held, new: Held, metric: str) -> Difference:
    figures = base.figure(metric), new.figure(metric)
    difference = Difference(metric, "", *figures, effect=_log_ratio(*figures))
    if not difference.known:
        return difference
    errors, freedoms = zip(*(_rate_error(side, metric) for side in (base, new)), strict=True)
    if metric == "goodput" and (base.lockstep or new.lockstep):
        # the grouping of users moves requests across a threshold: any share may be good
        difference = replace(difference, least=difference.effect)
    return _gaussian(difference, math.hypot(*errors), welch(errors, freedoms))


def _rate_error(held: Held, metric: str) -> tuple[float, float]:
    """Relative standard error of a rate, and its degrees of freedom, from the sums of chunks of the window."""
    values = held.values.get(metric)
    if values is None or len(values) < 2 * CHUNKS:
        return held.spreads.get((metric, ""), math.nan), math.inf
    times = held.times(values)
    sums = times.sums(values.weight * values.value)
    # values per second: chunks differ by one second in length
    seconds = times.sums(np.ones(len(values))) if metric == TOKENS else np.ones(times.chunks)
    if (seconds > 0).sum() < MIN_CHUNKS or not sums.sum() > 0.0:
        return math.nan, math.inf
    variance, freedom = scatter((sums - seconds * sums.sum() / seconds.sum())[seconds > 0])
    return math.sqrt(variance) / float(sums.sum()), freedom


def _errors(base: Held, new: Held) -> Difference:
    """The difference of the shares of errors, with Newcombe's interval and the score test. The scatter between chunks of time
    gives the effective number of independent requests.
    """
    sides = base, new
    if min(side.figures.requests for side in sides) < MIN_REQUESTS:
        return Difference(ERRORS)
    shares = base.figures.errors, new.figures.errors
    counts = [side.figures.requests / _clumped(side) for side in sides]
    (low_a, high_a), (low_b, high_b) = (
        wilson(share_of_side, count) for share_of_side, count in zip(shares, counts, strict=True)
    )
    effect = shares[1] - shares[0]
    both = math.fsum(errors * count for errors, count in zip(shares, counts, strict=True)) / sum(counts)
    error = math.sqrt(both * (1.0 - both) * sum(1.0 / count for count in counts))
    return Difference(
        ERRORS,
        "",
        *shares,
        effect,
        effect - math.hypot(shares[1] - low_b, high_a - shares[0]),
        effect + math.hypot(high_b - shares[1], shares[0] - low_a),
        z=normal(effect / error, 2.0 * CHUNKS - 2.0) if error > 0.0 else 0.0,
    )


def _clumped(held: Held) -> float:
    """The variance of the share of errors between chunks, divided by that of independent failures; at least 1."""
    values = held.values.get(ERRORS)
    failed = held.figures.errors
    if values is None or not 0.0 < failed < 1.0:
        return 1.0
    variance, _ = scatter(held.times(values).sums(values.weight * (values.value - failed)))
    return max(1.0, variance / (failed * (1.0 - failed) * held.figures.requests))


# -- all levels together


def _overall(levels: Sequence[Sequence[Difference]], tolerance: float) -> list[Difference]:
    by_name: dict[tuple[str, str], list[Difference]] = {}
    for difference in (one for differences in levels for one in differences if math.isfinite(one.error)):
        by_name.setdefault((difference.metric, difference.statistic), []).append(difference)
    return [_pooled(differences, tolerance) for differences in by_name.values() if len(differences) > 1]


def _pooled(differences: Sequence[Difference], tolerance: float) -> Difference:
    """The mean effect of the levels. Noisy levels weigh less. A precision better than the tolerance adds no weight."""
    first = differences[0]
    within = ERROR_TOLERANCE if first.is_share else math.log1p(tolerance)
    weights = [1.0 / (difference.error**2 + within**2) for difference in differences]
    total = math.fsum(weights)
    effect = (
        math.fsum(weight * difference.effect for weight, difference in zip(weights, differences, strict=True)) / total
    )
    least = (
        math.fsum(weight * difference.least for weight, difference in zip(weights, differences, strict=True)) / total
    )
    error = (
        math.sqrt(
            math.fsum((weight * difference.error) ** 2 for weight, difference in zip(weights, differences, strict=True))
        )
        / total
    )
    return Difference(
        first.metric,
        first.statistic,
        effect=effect,
        low=effect - Z95 * error,
        high=effect + Z95 * error,
        least=least,
        z=(effect - least) / error if error > 0.0 else 0.0,
    )


# -- verdicts


def _proven(differences: Sequence[Difference]) -> float:
    """The minimum |z| of a proven difference, by Holm's method: a share FALSE_ALARMS of equal runs has one at all."""
    sizes = sorted((abs(difference.z) for difference in differences), reverse=True)
    for place, size in enumerate(sizes):
        needed = NormalDist().inv_cdf(1.0 - FALSE_ALARMS / (len(sizes) - place) / 2.0)
        if size < needed:
            return needed
    return 0.0


def _judged(
    base: Held, new: Held, differences: Sequence[Difference], proven: float, tolerance: float
) -> tuple[Difference, ...]:
    sides = [(name, side.doubts) for name, side in (("BASE", base), ("NEW", new)) if side.doubts]
    if not sides:
        return _worded(differences, proven, tolerance)
    doubts = [message("{run}: {checks}", run=name, checks=enumeration(names)) for name, names in sides]
    why = message("checks failed at this level ({checks})", checks=clauses(doubts))
    return tuple(replace(difference, why=why) for difference in differences)


def _worded(differences: Sequence[Difference], proven: float, tolerance: float) -> tuple[Difference, ...]:
    judged = [_word(difference, proven, tolerance) for difference in differences]
    failed = next((difference.word for difference in judged if difference.is_share), SAME)
    return tuple(_unless_errors_explain(difference, failed) for difference in judged)


def _unless_errors_explain(difference: Difference, failed: str) -> Difference:
    """A difference of latency that a change of errors may explain is not proven: failed requests have no latency."""
    if (
        difference.is_share
        or difference.metric in RATES
        or (failed, difference.word) not in ((MORE, FASTER), (FEWER, SLOWER))
    ):
        return difference
    why = message("fewer requests failed, and those that fail have no latency")
    if failed == MORE:
        why = message("more requests failed, and those that fail have no latency")
    return replace(difference, word=UNSURE, regression=False, why=why)


def _word(difference: Difference, proven: float, tolerance: float) -> Difference:
    within = ERROR_TOLERANCE if difference.is_share else tolerance
    low, high = difference.change(difference.low), difference.change(difference.high)
    if -within <= low and high <= within:
        return replace(difference, word=SAME, why=message("within {tolerance}", tolerance=_percent(within, difference)))
    if abs(difference.z) < proven or difference.low <= 0.0 <= difference.high:
        return replace(difference, word=UNSURE, why=_too_wide(difference, within))
    better, worse = (FEWER, MORE) if difference.is_share else (FASTER, SLOWER)
    bad = difference.worse > 0.0
    change = abs(difference.change(difference.effect))
    beyond = bad and change > within
    why = ""
    if bad and not beyond:
        why = message("not certainly by more than {tolerance}", tolerance=_percent(within, difference))
    return replace(difference, word=worse if bad else better, why=why, regression=beyond)


def _percent(value: float, difference: Difference) -> str:
    number = f"{value * 100:.3g}"
    if not difference.is_share:
        return f"{number} %"
    return message("{number} point", number=number) if number == "1" else message("{number} points", number=number)


def _too_wide(difference: Difference, within: float) -> Message:
    if difference.low > 0.0 or difference.high < 0.0:
        return message("among all figures compared, one may differ this much by chance")
    size = max(difference.change(difference.high), -difference.change(difference.low))
    if not math.isfinite(size):
        return message("too few requests, or too few independent ones")
    longer, tolerance = math.ceil((size / within) ** 2), _percent(within, difference)
    if longer > MUCH_LONGER:
        return message("noise is larger than {tolerance}: no level is long enough", tolerance=tolerance)
    return message(
        "noise is larger than {tolerance}: hold the level about {longer} times as long",
        tolerance=tolerance,
        longer=longer,
    )


# -- levels without data of single requests


def spreads_of(levels: Sequence[LevelFigures]) -> dict[int, dict[tuple[str, str], float]]:
    """Standard errors of ln(figure), by level, from a level's own figures alone."""
    steps = steps_of(levels)
    by_level: dict[int, dict[tuple[str, str], float]] = {}
    for place, step in enumerate(steps):
        errors = {(metric, statistic): spread(steps, place, metric, statistic) for metric, statistic in LATENCIES}
        errors |= dict.fromkeys(((name, "") for name in RATES), noise(step, step) / math.sqrt(2.0))
        by_level |= {level.level: errors for level in step.levels}
    return by_level


def workload_errors_of(levels: Sequence[LevelFigures]) -> dict[int, dict[tuple[str, str], float]]:
    """Standard errors for `Held.workload_errors`, by level. The longest ITL of a request uses the one of TPOT."""
    steps = [] if any(level.unit != RATE for level in levels) else steps_of(levels)
    by_level: dict[int, dict[tuple[str, str], float]] = {}
    for place, step in enumerate(steps):
        errors = {
            (metric, statistic): workload_error(steps, place, METRICS[metric].noise_of or metric, statistic)
            for metric, statistic in LATENCIES
        }
        by_level |= {level.level: errors for level in step.levels}
    return by_level
