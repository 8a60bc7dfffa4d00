"""Two runs beside each other: level by level, figure by figure, how far apart they are, and whether noise explains it.

Pure. How each interval is made, and why so, is in docs/compare.md. Durations are seconds; a change is NEW / BASE − 1,
of shares NEW − BASE.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import NormalDist

import numpy as np

from llmlocust.analysis.breakpoints.steps import asked, name_of, noise, spread, steps_of, wilson
from llmlocust.analysis.comparison.dependence import (
    CHUNKS,
    FEWEST_CHUNKS,
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
from llmlocust.text.message import Message, clauses, enumeration, message

TOLERANCE = 0.05
"""Changes up to this are no regression, by default."""
ERROR_TOLERANCE = 0.01
"""The same of shares of errors, in shares: one request of a hundred."""
FALSE_ALARMS = 0.01
"""Chance that of two equal runs any figure at any level is called faster or slower."""
FEWEST = 20
"""Requests of which nothing is said."""
WIDEST = 5.0
"""Intervals are looked for up to this change of the logarithm: 150 times as slow."""
PRECISION = 0.001
MUCH_LONGER = 50
"""So many times nobody holds a level longer."""
ONE_LENGTH = 0.1
"""Standard deviation of the answers' lengths, as a share of their mean, up to which they are all of one length."""
BUSY = 0.9
"""Share of its time that a user without think time waits for answers, at least."""
LOCKSTEP = math.log(1.3)
"""Most that a figure is granted to differ between equal runs in lockstep: chosen, above the 17 % within which 95 % of median
TTFTs were (docs/compare.md)."""

QUEUE, ALIKE = 0.25, math.exp(0.8)
"""In lockstep users wait for each other to end where the wait for the first token is at least so much of the answer, and
their p95 is at most so many times their p5;"""
QUEUED = 0.025
"""there equal runs are granted to differ so much in the mean TTFT: within it were 95 % of 239 such levels (docs/compare.md)."""

FASTER, SLOWER, SAME, UNSURE = "faster", "slower", "same", "cannot tell"
FEWER, MORE = "fewer", "more"
WORSE = (SLOWER, MORE)
BETTER = (FASTER, FEWER)

LATENCIES = tuple((key, statistic) for key, metric in METRICS.items() for statistic in metric.compared)
"""What is compared of requests. The mean end to end is compared where percentiles are not known."""
TOKENS = "output_tokens_per_s"
ERRORS = "errors"


@dataclass(frozen=True)
class Held:
    """What one run tells of one level."""

    figures: LevelFigures
    values: Mapping[str, Values] = field(default_factory=dict)
    """By metric, of the successful requests; "errors": 0 or 1 of every request; "throughput" and "goodput": 1 (or 0,
    where it was not good) of every request that ended inside the window; "output_tokens_per_s": tokens by the second."""
    goodput: float = math.nan
    spreads: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Standard errors of ln(figure) for where single requests are not known."""
    asked: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Standard errors of ln(figure) that come of how much was asked for in the window, where that hangs on chance alone: in
    open load."""
    doubts: tuple[str, ...] = ()
    """The checks that spoil it."""

    @cached_property
    def cycle(self) -> float:
        """Seconds from one request of a user to its next, by Little's law; infinite where there are no users."""
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
        """Whether users do not think and all answers have one length. Then users who once ask together always do, and by
        which of them began together figures differ from run to run for as long as a level lasts.
        """
        lengths, durations = self.values.get("output_tokens"), self.values.get("e2e")
        if not lengths or not durations or durations.mean < BUSY * self.cycle:
            return False
        return float(lengths.value.std()) < ONE_LENGTH * lengths.mean

    @cached_property
    def queued(self) -> bool:
        """Whether all users in lockstep wait for each other. Then who waits with whom moves the mean wait little: by Little's
        law it is users / throughput, less what an answer takes.
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
        """Whether the first token is not always the first of the answer."""
        return self.figure("ttfo", "p95") != self.figure("ttft", "p95")

    def count(self, metric: str) -> int:
        known = self.values.get(metric)
        return len(known) if known else self.figures.metric(metric).count


@dataclass(frozen=True)
class Difference:
    """How a figure of NEW stands to that of BASE."""

    metric: str
    statistic: str = ""
    base: float = math.nan
    new: float = math.nan
    effect: float = math.nan
    """ln(NEW / BASE); of shares NEW − BASE."""
    low: float = -math.inf
    high: float = math.inf
    """95 % interval of the effect."""
    least: float = 0.0
    """The effect that equal runs may have anyway, towards this one."""
    z: float = 0.0
    """Of no more than that, in standard deviations of a normal distribution."""
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
        """The effect, above zero where NEW is worse."""
        return -self.effect if self.metric in RATES else self.effect

    def change(self, effect: float) -> float:
        """An effect as a share of BASE; of shares as it is."""
        if self.is_share:
            return effect
        return math.expm1(effect) if effect < 700.0 else math.inf


@dataclass(frozen=True)
class Pair:
    """One load that both runs held."""

    load: float
    base: Held
    new: Held
    differences: tuple[Difference, ...]

    @property
    def doubts(self) -> list[tuple[str, str]]:
        """Which run's check spoils it: ("BASE", "client CPU")."""
        return [(name, each) for name, side in (("BASE", self.base), ("NEW", self.new)) for each in side.doubts]


@dataclass(frozen=True)
class Comparison:
    pairs: tuple[Pair, ...]
    overall: tuple[Difference, ...]
    """Each figure over all levels that know it and are not doubted."""
    tolerance: float
    only_base: tuple[float, ...] = ()
    only_new: tuple[float, ...] = ()
    """Loads that one of the runs alone held."""

    @property
    def differences(self) -> Iterator[Difference]:
        yield from self.overall
        for pair in self.pairs:
            yield from pair.differences

    @property
    def regressions(self) -> list[Difference]:
        return [each for each in self.differences if each.regression]

    @property
    def doubted(self) -> list[Pair]:
        return [each for each in self.pairs if each.doubts]


def compare(base: Sequence[Held], new: Sequence[Held], tolerance: float = TOLERANCE) -> Comparison:
    """Every figure of the loads that both runs held. A run that held a load more than once is taken at its longest."""
    bases, news = _by_load(base), _by_load(new)
    both = [(load, at) for load in bases if (at := _near(load, news)) is not None]
    raw = [(load, bases[load], news[at], _differences(bases[load], news[at])) for load, at in both]
    trusted = [found for _, one, other, found in raw if not (one.doubts or other.doubts)]
    overall = _overall(trusted, tolerance)
    proven = _proven([*overall, *(each for found in trusted for each in found)])
    pairs = tuple(
        Pair(load, one, other, _judged(one, other, found, proven, tolerance)) for load, one, other, found in raw
    )
    return Comparison(
        pairs,
        _worded(overall, proven, tolerance),
        tolerance,
        tuple(load for load in bases if load not in {one for one, _ in both}),
        tuple(load for load in news if load not in {other for _, other in both}),
    )


def _by_load(levels: Sequence[Held]) -> dict[float, Held]:
    found: dict[float, Held] = {}
    for each in sorted(levels, key=lambda held: (held.figures.load, held.figures.window)):
        if each.figures.requests:
            found[each.figures.load] = each
    return found


def _near(load: float, others: Mapping[float, Held]) -> float | None:
    """Loads worked out from Locust's files are not quite whole."""
    return next((each for each in others if math.isclose(each, load, rel_tol=0.005)), None)


# -- how far apart


def _differences(base: Held, new: Held) -> tuple[Difference, ...]:
    found = [
        _latency(base, new, metric, statistic) for metric, statistic in LATENCIES if _told(base, new, metric, statistic)
    ]
    found += [_rate(base, new, metric) for metric in RATES]
    found.append(_errors(base, new))
    return tuple(each for each in found if each.known)


def _told(base: Held, new: Held, metric: str, statistic: str) -> bool:
    """Whether a figure says what no other says."""
    if metric == "ttfo":
        return base.reasons or new.reasons
    percentile = (math.isnan(side.figure(metric, "p50")) for side in (base, new))
    return (metric, statistic) != ("e2e", "mean") or any(percentile)


def _latency(base: Held, new: Held, metric: str, statistic: str) -> Difference:
    figures = base.figure(metric, statistic), new.figure(metric, statistic)
    made = Difference(metric, statistic, *figures, effect=_log_ratio(*figures))
    if not made.known or min(base.count(metric), new.count(metric)) < FEWEST:
        return replace(made, effect=math.nan)
    if base.values.get(metric) and new.values.get(metric):
        made = replace(made, least=_least(base, new, made))
        chance = math.hypot(*(side.asked.get((metric, statistic), 0.0) for side in (base, new)))
        if statistic == "mean":
            return _widened(_mean(base, new, made), chance)
        test = _Ranks(base, new, metric, QUANTILES[statistic])
        low, high = (test.end(made.effect, side) for side in (-1, 1))
        return _widened(replace(made, low=low, high=high, z=test.z(made.least)), chance)
    return _gaussian(made, math.hypot(*(side.spreads.get((metric, statistic), math.nan) for side in (base, new))))


def _widened(made: Difference, error: float) -> Difference:
    """With a further, independent error."""
    if not error or not made.z:
        return made
    low, high = (math.hypot(end - made.effect, Z95 * error) for end in (made.low, made.high))
    beyond = made.effect - made.least
    z = math.copysign(abs(beyond) / math.hypot(beyond / made.z, error), made.z)
    return replace(made, low=made.effect - low, high=made.effect + high, z=z)


def _log_ratio(base: float, new: float) -> float:
    return math.log(new / base) if base > 0.0 and new > 0.0 else math.nan


def _gaussian(made: Difference, error: float, freedom: float = math.inf) -> Difference:
    """With an interval and a z from a standard error."""
    if error == made.effect == 0.0:  # nothing scatters
        return replace(made, low=0.0, high=0.0)
    if not error > 0.0:
        return made
    half = error * student(Z95, freedom)
    z = normal((made.effect - made.least) / error, freedom)
    return replace(made, low=made.effect - half, high=made.effect + half, z=z)


def _least(base: Held, new: Held, made: Difference) -> float:
    """The effect that a difference has to be larger than: what equal runs in lockstep may differ by. A figure does not leave
    the range of its values.
    """
    if not (base.lockstep or new.lockstep):
        return 0.0
    if _is_queue(base, new, made):
        return math.copysign(min(QUEUED, abs(made.effect)), made.effect)
    ranges = [
        math.log(each.quantile(0.95) / each.quantile(0.05))
        for each in (base.values[made.metric], new.values[made.metric])
    ]
    return math.copysign(min(LOCKSTEP, max(ranges) / 2.0, abs(made.effect)), made.effect)


def _is_queue(base: Held, new: Held, made: Difference) -> bool:
    return (made.metric, made.statistic) == ("ttft", "mean") and base.queued and new.queued


def _mean(base: Held, new: Held, made: Difference) -> Difference:
    known = []
    for held in (base, new):
        values, times = held.values[made.metric], held.times(held.values[made.metric])
        residuals = values.weight * (values.value / values.mean - 1.0)
        if _is_queue(base, new, made):
            variance, freedom = scatter(times.sums(residuals))
            error = math.sqrt(variance)
        else:
            error, freedom = times.error(residuals, float((residuals**2).sum()))
        known.append((error / float(values.weight.sum()), freedom))
    errors, freedoms = zip(*known, strict=True)
    return _gaussian(made, math.hypot(*errors), welch(errors, freedoms))


class _Ranks:
    """Whether a quantile of BASE, times a ratio, is that of NEW: by the shares of either that lie above where both
    together have it. Shares have a variance where a quantile has none that anybody knows.
    """

    def __init__(self, base: Held, new: Held, metric: str, q: float) -> None:
        self._sides = base.values[metric], new.values[metric]
        self._times = tuple(held.times(values) for held, values in zip((base, new), self._sides, strict=True))
        self._q = q

    def z(self, effect: float) -> float:
        """Of NEW = BASE · e^effect; above zero where NEW is slower than that."""
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
        """Where the mean of both shares is q, with NEW's values divided by the ratio."""
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
        """The end of the 95 % interval: the effects that the test does not refuse."""
        inside, step = effect, 0.02
        while not self._refuses(effect + side * step, side):
            inside, step = effect + side * step, step * 2.0
            if step > WIDEST:
                return side * math.inf
        outside = effect + side * step
        while abs(outside - inside) > PRECISION:
            middle = (inside + outside) / 2.0
            if self._refuses(middle, side):
                outside = middle
            else:
                inside = middle
        return outside

    def _refuses(self, effect: float, side: int) -> bool:
        return -side * self.z(effect) > Z95


def _rate(base: Held, new: Held, metric: str) -> Difference:
    figures = base.figure(metric), new.figure(metric)
    made = Difference(metric, "", *figures, effect=_log_ratio(*figures))
    if not made.known:
        return made
    errors, freedoms = zip(*(_rate_error(side, metric) for side in (base, new)), strict=True)
    if metric == "goodput" and (base.lockstep or new.lockstep):
        # a threshold cuts through what who waits with whom has moved: any share may be good
        made = replace(made, least=made.effect)
    return _gaussian(made, math.hypot(*errors), welch(errors, freedoms))


def _rate_error(held: Held, metric: str) -> tuple[float, float]:
    """Relative standard error of something a second, and its degrees of freedom, from the sums of chunks of the window."""
    values = held.values.get(metric)
    if values is None or len(values) < 2 * CHUNKS:
        return held.spreads.get((metric, ""), math.nan), math.inf
    times = held.times(values)
    sums = times.sums(values.weight * values.value)
    # of what is told by the second, a chunk holds now one second more, now one less
    seconds = times.sums(np.ones(len(values))) if metric == TOKENS else np.ones(times.chunks)
    if (seconds > 0).sum() < FEWEST_CHUNKS or not sums.sum() > 0.0:
        return math.nan, math.inf
    variance, freedom = scatter((sums - seconds * sums.sum() / seconds.sum())[seconds > 0])
    return math.sqrt(variance) / float(sums.sum()), freedom


def _errors(base: Held, new: Held) -> Difference:
    """Newcombe's interval of a difference of two shares, and the score test; requests count for as many independent
    ones as the scatter between chunks of time says.
    """
    sides = base, new
    if min(each.figures.requests for each in sides) < FEWEST:
        return Difference(ERRORS)
    shares = base.figures.errors, new.figures.errors
    counts = [each.figures.requests / _clumped(each) for each in sides]
    (low_a, high_a), (low_b, high_b) = (wilson(each, count) for each, count in zip(shares, counts, strict=True))
    effect = shares[1] - shares[0]
    both = math.fsum(each * count for each, count in zip(shares, counts, strict=True)) / sum(counts)
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
    """How many times as much the share of errors scatters between chunks as if each request failed by itself."""
    values = held.values.get(ERRORS)
    failed = held.figures.errors
    if values is None or not 0.0 < failed < 1.0:
        return 1.0
    variance, _ = scatter(held.times(values).sums(values.weight * (values.value - failed)))
    return max(1.0, variance / (failed * (1.0 - failed) * held.figures.requests))


# -- all levels together


def _overall(levels: Sequence[Sequence[Difference]], tolerance: float) -> list[Difference]:
    by_name: dict[tuple[str, str], list[Difference]] = {}
    for each in (difference for found in levels for difference in found if math.isfinite(difference.error)):
        by_name.setdefault((each.metric, each.statistic), []).append(each)
    return [_pooled(some, tolerance) for some in by_name.values() if len(some) > 1]


def _pooled(some: Sequence[Difference], tolerance: float) -> Difference:
    """The mean effect of the levels. Noisy ones weigh less, but none weighs more because it is known better than the
    tolerance.
    """
    first = some[0]
    within = ERROR_TOLERANCE if first.is_share else math.log1p(tolerance)
    weights = [1.0 / (each.error**2 + within**2) for each in some]
    total = math.fsum(weights)
    effect = math.fsum(weight * each.effect for weight, each in zip(weights, some, strict=True)) / total
    least = math.fsum(weight * each.least for weight, each in zip(weights, some, strict=True)) / total
    error = math.sqrt(math.fsum((weight * each.error) ** 2 for weight, each in zip(weights, some, strict=True))) / total
    return Difference(
        first.metric,
        first.statistic,
        effect=effect,
        low=effect - Z95 * error,
        high=effect + Z95 * error,
        least=least,
        z=(effect - least) / error if error > 0.0 else 0.0,
    )


# -- in a word


def _proven(differences: Sequence[Difference]) -> float:
    """The least |z| that is a difference: Holm's method, so that of equal runs FALSE_ALARMS have any at all."""
    sizes = sorted((abs(each.z) for each in differences), reverse=True)
    for place, size in enumerate(sizes):
        needed = NormalDist().inv_cdf(1.0 - FALSE_ALARMS / (len(sizes) - place) / 2.0)
        if size < needed:
            return needed
    return 0.0


def _judged(
    base: Held, new: Held, found: Sequence[Difference], proven: float, tolerance: float
) -> tuple[Difference, ...]:
    sides = [(name, side.doubts) for name, side in (("BASE", base), ("NEW", new)) if side.doubts]
    if not sides:
        return _worded(found, proven, tolerance)
    doubts = [message("{run}: {checks}", run=name, checks=enumeration(names)) for name, names in sides]
    why = message("checks doubt the level ({doubts})", doubts=clauses(doubts))
    return tuple(replace(each, why=why) for each in found)


def _worded(found: Sequence[Difference], proven: float, tolerance: float) -> tuple[Difference, ...]:
    judged = [_word(each, proven, tolerance) for each in found]
    failed = next((each.word for each in judged if each.is_share), SAME)
    return tuple(_of_survivors(each, failed) for each in judged)


def _of_survivors(each: Difference, failed: str) -> Difference:
    """Latencies are those of successes: where more fail, who is left may be faster for it, and the other way round."""
    if each.is_share or each.metric in RATES or (failed, each.word) not in ((MORE, FASTER), (FEWER, SLOWER)):
        return each
    why = message("fewer requests failed, and those that fail have no latency")
    if failed == MORE:
        why = message("more requests failed, and those that fail have no latency")
    return replace(each, word=UNSURE, regression=False, why=why)


def _word(each: Difference, proven: float, tolerance: float) -> Difference:
    within = ERROR_TOLERANCE if each.is_share else tolerance
    low, high = each.change(each.low), each.change(each.high)
    if -within <= low and high <= within:
        return replace(each, word=SAME, why=message("within {tolerance}", tolerance=_percent(within, each)))
    if abs(each.z) < proven or each.low <= 0.0 <= each.high:
        return replace(each, word=UNSURE, why=_too_wide(each, within))
    better, worse = (FEWER, MORE) if each.is_share else (FASTER, SLOWER)
    bad = each.worse > 0.0
    change = abs(each.change(each.effect))
    beyond = bad and change > within
    why = ""
    if bad and not beyond:
        why = message("not surely by more than {tolerance}", tolerance=_percent(within, each))
    return replace(each, word=worse if bad else better, why=why, regression=beyond)


def _percent(value: float, each: Difference) -> str:
    number = f"{value * 100:.3g}"
    if not each.is_share:
        return f"{number} %"
    return message("{number} point", number=number) if number == "1" else message("{number} points", number=number)


def _too_wide(each: Difference, within: float) -> Message:
    if each.low > 0.0 or each.high < 0.0:
        return message("of so many figures one differs so much by chance")
    size = max(each.change(each.high), -each.change(each.low))
    if not math.isfinite(size):
        return message("too few requests, or too few that do not wait together")
    longer, tolerance = math.ceil((size / within) ** 2), _percent(within, each)
    if longer > MUCH_LONGER:
        return message("noise is larger than {tolerance}: no level is long enough", tolerance=tolerance)
    return message(
        "noise is larger than {tolerance}: hold the level about {longer} times as long",
        tolerance=tolerance,
        longer=longer,
    )


# -- where single requests are not known


def spreads_of(levels: Sequence[LevelFigures]) -> dict[int, dict[tuple[str, str], float]]:
    """Standard errors of ln(figure), by level, from a level's own figures alone."""
    steps = steps_of(levels)
    found: dict[int, dict[tuple[str, str], float]] = {}
    for place, step in enumerate(steps):
        errors = {(metric, statistic): spread(steps, place, metric, statistic) for metric, statistic in LATENCIES}
        errors |= dict.fromkeys(((name, "") for name in RATES), noise(step, step) / math.sqrt(2.0))
        found |= {each.level: errors for each in step.levels}
    return found


def asked_of(levels: Sequence[LevelFigures]) -> dict[int, dict[tuple[str, str], float]]:
    """For `Held.asked`, by level. A request's longest gap goes with its TPOT."""
    steps = [] if any(each.unit != RATE for each in levels) else steps_of(levels)
    found: dict[int, dict[tuple[str, str], float]] = {}
    for place, step in enumerate(steps):
        errors = {
            (metric, statistic): asked(steps, place, METRICS[metric].noise_of or metric, statistic)
            for metric, statistic in LATENCIES
        }
        found |= {each.level: errors for each in step.levels}
    return found
