"""Steps: the levels of a run in the order of their load, with levels of equal load taken together, and their noise. Pure.

Noise follows from counts: Poisson for throughput, binomial for errors, and intervals of order statistics for percentiles.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import NormalDist

from llmlocust.metrics.levels import EXACT_SHARE, USERS, LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.telemetry import VOCABULARY
from llmlocust.metrics.vocabulary import CLIENT_KINDS, ERROR_KINDS
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, term

ERROR_LIMIT = 0.01
"""Share of failed requests above which a level has collapsed. It is also the derived threshold of errors."""
Z95 = 1.645
"""One-sided."""
WOBBLE = 0.01
"""Minimum relative standard error of a level's throughput, because of ramps, bursts and other users of the machine."""
WORK = 0.7
"""Standard deviation of the work of a request, as a share of its mean. It follows from the lengths of answers."""
MIN_LEVEL_ERROR = 0.03
"""Minimum standard error of ln(figure): no level is known more precisely."""
MAX_SLOPE = 30.0
"""Maximum slope of a figure over load, as a power of the load."""
MIN_SHORTFALL = 3.0
"""Standard deviations of `shortfall` above which a backlog certainly grows."""
MAX_UNSENT = EXACT_SHARE
"""Share of requests that never reached the server, above which a level does not have its target load."""


class Status(StrEnum):
    """Whether a run reached one of the four numbers."""

    REACHED = "reached"
    NOT_REACHED = "not reached"
    """The number lies above the loads of the run."""
    UNKNOWN = "unknown"
    """The figures do not show where the number lies."""


@dataclass(frozen=True)
class Finding:
    """One of the four numbers. Loads are users or requests per second; None if there is none."""

    status: Status
    why: str
    load: float | None = None
    low: float | None = None
    high: float | None = None
    level_ok: float | None = None
    level_bad: float | None = None
    cause: str = ""
    """A short cause, for a headline."""

    @property
    def reached(self) -> bool:
        """Whether the number lies within the loads of the run."""
        return self.status is Status.REACHED


@dataclass(frozen=True)
class Step:
    """One load of the curve, with its level or levels."""

    load: float
    levels: tuple[LevelFigures, ...] = field(repr=False)

    @property
    def requests(self) -> int:
        return sum(level.requests for level in self.levels)

    @property
    def failed(self) -> int:
        return sum(level.failed for level in self.levels)

    @property
    def ok(self) -> int:
        return sum(level.ok for level in self.levels)

    @property
    def errors(self) -> float:
        return self.failed / self.requests if self.requests else math.nan

    @property
    def throughput(self) -> float:
        return mean_of((level.throughput, _weight(level.window)) for level in self.levels)

    @property
    def offered(self) -> float:
        """Requests per second that were due, in open load. The rate of a level is that of arrivals, and an arrival may be a
        conversation, of which only the first request has a schedule delay.
        """
        arrived = sum(level.metric("delay").count for level in self.levels)
        return self.load * (sum(level.ok for level in self.levels) / arrived if arrived else 1.0)

    @property
    def ended(self) -> float:
        """Number of requests from which the throughput was computed."""
        counted = sum(level.throughput * level.window for level in self.levels if level.window > 0)
        return counted if counted > 0 else float(self.ok)

    @property
    def counted(self) -> bool:
        """Whether the number of requests is known."""
        return all(level.counted for level in self.levels)

    @property
    def request_count(self) -> Message:
        """The number of requests, as a message."""
        if not self.counted:
            return message("the number of requests is not known")
        return message("{count} requests", count=self.requests)

    def among(self, levels: Collection[int]) -> bool:
        """Whether any of its levels is among these, by index."""
        return any(level.level in levels for level in self.levels)

    def figure(self, metric: str, statistic: str) -> float:
        return mean_of((level.metric(metric)[statistic], max(1, level.metric(metric).count)) for level in self.levels)

    def interval(self, metric: str, statistic: str) -> tuple[float, float]:
        known = [level.metric(metric).intervals.get(statistic, (math.nan, math.nan)) for level in self.levels]
        known = [(low, high) for low, high in known if not (math.isnan(low) or math.isnan(high))]
        if not known:
            return math.nan, math.nan
        return min(low for low, _ in known), max(high for _, high in known)

    def kinds(self) -> dict[str, int]:
        """The number of failed requests by kind of error, the most frequent kind first."""
        kinds: dict[str, int] = {}
        for level in self.levels:
            for kind, count in level.error_kinds.items():
                if kind not in CLIENT_KINDS:
                    kinds[kind] = kinds.get(kind, 0) + count
        return dict(sorted(kinds.items(), key=lambda item: -item[1]))


def steps_of(levels: Iterable[LevelFigures]) -> list[Step]:
    """The steps of levels that have figures, lowest load first. Levels whose target load was not reached, or whose requests
    did not reach the server, are left out if others remain.
    """
    useful = [level for level in levels if 1e-6 < level.load < 1e9 and _has_figures(level)]
    useful = [level for level in useful if level.reached] or useful
    useful = [level for level in useful if level.unsent <= MAX_UNSENT * level.attempted] or useful
    by_load: dict[float, list[LevelFigures]] = {}
    for level in useful:
        by_load.setdefault(level.load, []).append(level)
    return [Step(load, tuple(by_load[load])) for load in sorted(by_load)]


def _has_figures(figures: LevelFigures) -> bool:
    return figures.requests > 0 or figures.throughput > 0


def _weight(window: float) -> float:
    return window if window > 0 else 1.0


def mean_of(pairs: Iterable[tuple[float, float]]) -> float:
    """The mean of (value, weight) pairs, without those that are NaN; NaN if none remains."""
    known = [(value, weight) for value, weight in pairs if not math.isnan(value)]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else math.nan


def name_of(metric: str, statistic: str = "") -> str:
    """The name of a figure, such as p95 TTFT, mean end to end, or errors."""
    if metric in METRICS:
        name: str = term(METRICS[metric].short)
    else:  # telemetry that is not in the vocabulary has the exporter's name
        name = term(VOCABULARY[metric].name) if metric in VOCABULARY else metric
    if statistic == "mean":
        return message("mean {metric}", metric=name)
    return message("{statistic} {metric}", statistic=statistic.replace("_", "."), metric=name) if statistic else name


def spread(steps: Sequence[Step], place: int, metric: str, statistic: str) -> float:
    """Standard error of ln(figure), if the figure is an estimate for a long run at the same load.

    Order statistics treat requests as independent, but requests that wait, wait together. Windows differ in the amount of
    work requested, by about WORK / √requests of it, and so in the load at which the server is full. The steeper a figure
    grows with load, the more this moves it.
    """
    step = steps[place]
    low, high = step.interval(metric, statistic)
    sampling = math.log(high / low) / 3.92 if 0.0 < low <= high < math.inf else math.nan
    if math.isnan(sampling):
        # no interval is known for a mean, or for an extreme percentile
        sampling = 1.0 / math.sqrt(max(1.0, step.ok))
    return math.hypot(sampling, MIN_LEVEL_ERROR, workload_error(steps, place, metric, statistic))


def workload_error(steps: Sequence[Step], place: int, metric: str, statistic: str) -> float:
    """The component of `spread` that is due to the random amount of work requested in the window."""
    slopes = [_slope(steps, at, metric, statistic) for at in (place - 1, place)]
    return max(slopes) * WORK / math.sqrt(max(1, steps[place].requests))


def shortfall(step: Step) -> float:
    """Requests sent minus requests answered, in standard deviations of the number in flight."""
    window = sum(level.window for level in step.levels if level.window > 0.0)
    due = step.offered * window
    # if far fewer requests are known than were due, only those that ended were counted
    sent = float(step.requests) if step.requests > due - 3.0 * math.sqrt(due) else due
    in_flight = step.throughput * step.figure("e2e", "mean")
    return (sent - step.ended) / math.sqrt(2.0 * in_flight + 1.0 if math.isfinite(in_flight) else sent + 1.0)


def _slope(steps: Sequence[Step], place: int, metric: str, statistic: str) -> float:
    """Growth of a figure from one load to the next, as a power of the load; 0 if not known."""
    if not 0 <= place < len(steps) - 1:
        return 0.0
    first, second = (step.figure(metric, statistic) for step in steps[place : place + 2])
    if not 0.0 < first < second < math.inf:
        return 0.0
    return min(MAX_SLOPE, math.log(second / first) / math.log(steps[place + 1].load / steps[place].load))


def elasticity(first: Step, second: Step) -> tuple[float, float]:
    """The elasticity d ln X / d ln N between two loads, and its standard error from the counts."""
    span = math.log(second.load / first.load)
    grown = math.log(max(second.throughput, 1e-9) / max(first.throughput, 1e-9))
    return grown / span, noise(first, second) / span


def noise(first: Step, second: Step) -> float:
    """The standard error of ln(X2 / X1)."""
    return math.sqrt(1.0 / max(first.ended, 1.0) + 1.0 / max(second.ended, 1.0) + 2.0 * WOBBLE**2)


def too_few(curve: Sequence[Step], unit: str) -> Finding | None:
    """Return an unknown finding if a curve has too few levels to find a number; None otherwise."""
    if not curve:
        return Finding(Status.UNKNOWN, message("cannot be determined: the throughput of the levels is not known"))
    if not any(step.throughput > 0.0 for step in curve):
        return Finding(Status.UNKNOWN, message("cannot be determined: no request succeeded at any level"))
    if len(curve) == 1:
        only = words.with_unit(curve[0].load, unit)
        return Finding(Status.UNKNOWN, message("cannot be determined from one level ({load})", load=only))
    return None


def error_of_place(step: Step) -> float:
    """Relative standard error of the load at which a server is full, due to the random amount of work of one level."""
    return math.hypot(WORK / math.sqrt(max(1, step.requests)), 0.5 * MIN_LEVEL_ERROR)


def as_good(step: Step, best: Step) -> bool:
    """Whether a throughput equals the best one within noise."""
    noise = Z95 * math.sqrt(1.0 / max(step.ended, 1.0) + 1.0 / max(best.ended, 1.0))
    return step.throughput >= best.throughput * (1.0 - min(0.1, max(0.03, noise)))


def apart(first: Step, second: Step, metric: str, statistic: str) -> bool:
    """Whether the second figure exceeds the first by more than their intervals; True if the intervals are not known."""
    _, high = first.interval(metric, statistic)
    low, _ = second.interval(metric, statistic)
    return math.isnan(high) or math.isnan(low) or low > high


def more_than(count: int, trials: int, limit: float, error: float = 0.05) -> bool:
    """Whether `count` of `trials` proves a share above `limit`, in a one-sided test with the probability `error` of a false
    alarm. The test is the exact binomial one, or its normal approximation for large counts.
    """
    if not trials or count / trials <= limit:
        return False
    expected = trials * limit
    if expected > 500:
        return count - expected > NormalDist().inv_cdf(1.0 - error) * math.sqrt(expected * (1.0 - limit))
    below = (
        math.fsum(
            math.exp(
                math.lgamma(trials + 1)
                - math.lgamma(k + 1)
                - math.lgamma(trials - k + 1)
                + k * math.log(limit)
                + (trials - k) * math.log1p(-limit)
            )
            for k in range(count)
        )
        if 0.0 < limit < 1.0
        else 1.0
    )
    return 1.0 - below < error


def wilson(share: float, trials: float, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval for a share of trials, by default of 95 %. The number of trials need not be an integer."""
    if not trials:
        return math.nan, math.nan
    middle = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # at 0 and at 1 an end equals the share, except for rounding
    return max(0.0, min(share, (middle - spread) / scale)), min(1.0, max(share, (middle + spread) / scale))


def share_range(steps: Sequence[Step], place: int) -> tuple[float, float]:
    """A 95 % interval for the share of requests that fail at a level.

    More load does not make fewer requests fail. So the levels above also bound the share from above, and the levels below
    bound it from below. A bound that excludes the level's own share is ignored: fewer requests failed at more load.
    """
    share = steps[place].errors
    if math.isnan(share):
        return 0.0, 1.0
    lows = (low for low, _ in _pooled_shares(reversed(steps[: place + 1])) if low <= share)
    highs = (high for _, high in _pooled_shares(steps[place:]) if high >= share)
    return max(lows), min(highs)


def _pooled_shares(steps: Iterable[Step]) -> Iterator[tuple[float, float]]:
    """Return the intervals of the first step's share of errors, of the first two taken together, and so on."""
    failed = requests = 0
    for step in steps:
        failed, requests = failed + step.failed, requests + step.requests
        yield wilson(failed / requests, requests, Z95)


def left_out(loads: Iterable[float], unit: str, why: Message) -> list[Message]:
    """Return a clause that names the loads that a number leaves out; empty if there are none."""
    known = sorted(set(loads))
    return [message("{loads} left out, as {reason}", loads=words.loads(known, unit), reason=why)] if known else []


def kinds_of(step: Step) -> str:
    """The two most frequent kinds of errors of a step, with their counts."""
    if not step.counted:
        return message("the kind of the errors is not known")
    kinds = step.kinds()
    if not kinds:
        return message("{failed} of {requests}", failed=step.failed, requests=step.requests)
    return words.series([_count_of(kind, count) for kind, count in list(kinds.items())[:2]])


def _count_of(kind: str, count: int) -> Message:
    return message("{count} × {kind}", count=count, kind=kind_name(kind))


def kind_name(kind: str) -> str:
    """The name of a kind of errors. Files of other tools have only one kind, "failed"."""
    if kind == "failed":
        return message("failed")
    return term(ERROR_KINDS[kind]) if kind in ERROR_KINDS else kind


def load_word(unit: str) -> Message:
    return message("users") if unit == USERS else message("load")
