"""A search for the highest load that meets the limit, as a state machine: it takes the results of levels and returns the
next load. Pure: no clock, no Locust, and no unit of load.

The load triples from a small one until a level violates the limit. That level and the highest that meets the limit form
the bracket, in which the search continues. A sequential probability ratio test (Wald), which may be evaluated at any
time, decides each level. A level is not decided before requests that violate the limit have had time to end, and is not
measured much longer than `longest`.

While the load grows, a level ends as soon as it seems to meet the limit. If that was chance, the next level violates the
limit, and the bracket's lower end is uncertain; then its load is measured again. An upper end that violated the limit
without certainty is also measured again. The results of a load are added up over all its levels, and requests in flight
at the end of a level are counted when they end. Finally, a longer level confirms the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from llmlocust.metrics.histogram import Histogram, bounds_of
from llmlocust.metrics.levels import Tally
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import OK, QUANTILES

MEETS, VIOLATES, OPEN = "meets", "violates", "open"

_WAITS = tuple(key for key, metric in METRICS.items() if metric.grows_with_backlog)
_SURE = math.log(19.0)
"""Log-likelihood ratio that counts as certain: an error probability of one in twenty."""
_ODDS_RATIO = 2.0
"""The test distinguishes twice from half the odds that the limit allows: closer to the limit, either answer is right."""
_MIN_REQUESTS = 3
"""Minimum requests for a decision on a level."""
_MAX_LEVELS = 3
"""After this many levels, the result of a load counts as certain."""
_LENGTHS = 1.5
"""A level is measured for at least this multiple of the mean request duration, and decided after this multiple of the \
longest duration that the limit allows."""
_MAX_EXTENSION = 2.0
"""Limit of both, as a multiple of `longest`."""
_CONFIRM = 0.5
"""Minimum duration of the confirming level, as a share of `longest`."""
_REFERENCE_SHARE = 0.6
"""Waiting times are compared with those at this share of the load or lower."""
_QUEUE_SHARE = 0.07
"""The share of the added load that must wait to count as a queue. Less may be prompts that are read together."""


@dataclass
class LoadResult:
    """The results of a load, over all its levels."""

    load: float
    tally: Tally
    seconds: float
    """Seconds for which it was measured."""
    times: int = 1

    @property
    def requests(self) -> int:
        """Number of requests that the server answered or failed."""
        return self.tally.requests

    @property
    def failed(self) -> int:
        return self.requests - self.tally.outcomes[OK]

    @property
    def throughput(self) -> float:
        return self.tally.numbers["ended_ok"] / self.seconds if self.seconds > 0.0 else 0.0

    def durations(self, metric: str) -> Histogram:
        return self.tally.histograms.get(metric) or Histogram()


class Evidence(NamedTuple):
    """The evidence of a load's requests on the limit."""

    odds: float = 0.0
    """Log-likelihood ratio of a violated limit to a met one."""
    limited_by: str = ""
    """The part of the limit that is closest to violation, as text."""
    crossing: float = math.nan
    """The limit's load as estimated from this load alone; NaN where that is not possible."""


class Judge(Protocol):
    """Judges whether a load meets the limit."""

    def judge(self, current: LoadResult, below: Sequence[LoadResult]) -> Evidence:
        """Judge a load. `below` are the lower loads that meet the limit, lowest first."""

    def slowest(self, current: LoadResult) -> float:
        """Return the seconds that a request may take and meet the limit: one that violates it ends later."""


@dataclass(frozen=True)
class Limits:
    """A judge of thresholds: the limit is met if every threshold is, of percentiles of durations and of errors."""

    thresholds: Sequence[Threshold]
    closed: bool = True
    """Whether the load is users: each user above saturation makes every request wait 1/throughput longer (Little's law)."""

    def __post_init__(self) -> None:
        for threshold in self.thresholds:
            if threshold.allowed is None:
                raise ValueError(
                    f"cannot search by '{threshold}', only by percentiles and errors with an upper limit, such as "
                    f"'ttft.p95 < 500ms' or 'errors < 1%'"
                )

    def judge(self, current: LoadResult, below: Sequence[LoadResult]) -> Evidence:
        return max(self._evidence_of(threshold, current) for threshold in self.thresholds)

    def slowest(self, current: LoadResult) -> float:
        allowed = (self._allowed(threshold.metric, threshold.bound, current) for threshold in self.thresholds)
        return max(allowed, default=0.0)

    def _allowed(self, metric: str, bound: float, current: LoadResult) -> float:
        if metric not in _WAITS or not current.durations(metric).count:
            return 0.0
        return bound + (0.0 if metric == "e2e" else current.durations("e2e").mean - current.durations(metric).mean)

    def _evidence_of(self, threshold: Threshold, current: LoadResult) -> Evidence:
        assert threshold.allowed is not None
        odds = _odds(*threshold.beyond(current.tally), threshold.allowed)
        crossing = math.nan
        if self.closed and threshold.counts_failures:
            value = current.durations(threshold.metric).quantile(QUANTILES[threshold.statistic], current.failed)
            crossing = (
                current.load - current.throughput * (value - threshold.bound) if math.isfinite(value) else math.nan
            )
        return Evidence(odds, str(threshold), crossing)


@dataclass(frozen=True)
class Queueing:
    """A judge of saturation: the load at which users begin to wait for their first token.

    By Little's law, throughput × the growth of the wait is the number of users that wait in addition to those at a lower
    load. If the server rejects requests instead, none of them waits. So errors violate the limit, too.
    """

    errors: float = 0.01

    def judge(self, current: LoadResult, below: Sequence[LoadResult]) -> Evidence:
        failing = Evidence(_odds(current.failed, current.requests, self.errors), f"errors < {self.errors:.0%}")
        reference = next((result for result in reversed(below) if result.load <= _REFERENCE_SHARE * current.load), None)
        return failing if reference is None else max(failing, _waiting(current, reference))

    def slowest(self, current: LoadResult) -> float:
        return 0.0


def _waiting(current: LoadResult, reference: LoadResult) -> Evidence:
    """Test the mean wait: between no waiting of the added load, and twice the share that counts as a queue."""
    metric = "ttft" if current.durations("ttft").count else "e2e"
    after, before = current.durations(metric), reference.durations(metric)
    if not (after.count and before.count and current.throughput):
        return Evidence(limited_by="an empty queue")
    grown = after.mean - before.mean
    queue = 2.0 * _QUEUE_SHARE * (current.load - reference.load) / current.throughput
    # a mean is never more precise than 1 %: other load on the server's machine changes it
    noise = _variance(after) / after.count + _variance(before) / before.count + (0.01 * before.mean) ** 2
    return Evidence(queue / noise * (grown - queue / 2.0), "an empty queue", current.load - current.throughput * grown)


def _variance(histogram: Histogram) -> float:
    middles = ((sum(bounds_of(bucket)) / 2.0, count) for bucket, count in histogram.items())
    return sum(count * (middle - histogram.mean) ** 2 for middle, count in middles) / histogram.count


def _odds(over: int, trials: int, share: float) -> float:
    """Return the log-likelihood ratio for `over` of `trials` requests beyond a limit that a share may be beyond. It compares
    twice with half the share's odds, and is shifted to be zero at exactly that share.
    """
    return (over - trials * share) * 2.0 * math.log(_ODDS_RATIO)


@dataclass
class Trial:
    """One level of the search."""

    load: float
    confirms: bool = False
    """Whether this level confirms the answer."""
    held: float = 0.0
    verdict: str = OPEN
    """The verdict on the load at the end of this level, from all its levels so far."""
    sure: bool = False
    limited_by: str = ""
    """The part of the limit that was closest to violation, or was violated."""
    bracket: tuple[float | None, float | None] = (None, None)
    """The highest load that meets the limit and the lowest that violates it, as known after this level."""


@dataclass
class Search:
    """The search. `decide` is called about once a second while a level is held, and returns whether the level was decided.
    Then `trials` has a new last entry, or the search is `done`. Durations are in seconds, loads in the unit of `judge`.
    """

    judge: Judge
    start: float = 4.0
    max_load: float = 300.0
    grain: float = 1.0
    """Minimum step of the load: one user."""
    precision: float = 0.05
    """Width of the bracket at which the search ends, as a share of the load, where the grain permits it."""
    growth: float = 3.0
    shortest: float = 2.0
    longest: float = 15.0
    lag: float = 0.0
    """Delay of a level's figures in seconds."""
    trials: list[Trial] = field(default_factory=list, init=False)
    done: bool = field(default=False, init=False)
    answer: float | None = field(default=None, init=False)
    """The highest load that meets the limit, once the search is done; None where the lowest already violates it."""
    _results: dict[float, LoadResult] = field(default_factory=dict, init=False)
    _evidence: dict[float, Evidence] = field(default_factory=dict, init=False)
    """The evidence on all loads so far, as of the last decision."""

    def __post_init__(self) -> None:
        self.trials.append(Trial(min(self.start, self.max_load)))

    @property
    def load(self) -> float:
        """The load to request now."""
        return self.trials[-1].load

    @property
    def warmup(self) -> float:
        """Warm-up of the present level in seconds: the duration of a request where half of the load has changed, and less
        where less has changed.
        """
        if len(self.trials) < 2:
            return 0.0
        load, before = self.load, self.trials[-2].load
        changed = min(1.0, 2.0 * abs(load - before) / max(load, before))
        return min(changed * self._expected_length(), self.longest)

    def decide(self, held: float, tally_of: Callable[[int], Tally]) -> bool:
        """Decide the present level, if possible. `held`: seconds for which it has been measured. `tally_of`: the current
        counts of a level by its index.
        """
        trial = self.trials[-1]
        trial.held = held
        if held < self.shortest + self.lag:
            return False
        result = self._add_up(trial.load, tally_of)
        if not self._is_decided(trial, result):
            return False
        for load in self._results:  # requests that were in flight at the end of their level have ended since
            self._add_up(load, tally_of)
        self._conclude(trial)
        return True

    def _add_up(self, load: float, tally_of: Callable[[int], Tally]) -> LoadResult:
        levels = [index for index, trial in enumerate(self.trials) if trial.load == load]
        seconds = sum(self.trials[index].held for index in levels)
        if self.load == load:
            seconds -= self.lag / 2.0  # the average part of the present level that has not been reported yet
        result = LoadResult(load, Tally.sum(tally_of(index) for index in levels), seconds, len(levels))
        self._results[load] = result
        return result

    def _length(self, result: LoadResult) -> float:
        e2e = result.durations("e2e")
        return e2e.mean if e2e.count >= _MIN_REQUESTS else self._expected_length()

    def _expected_length(self) -> float:
        """Return the expected duration of a request: that at the nearest known load, times the ratio of the loads if the
        present one is higher. Requests do not get slower than that unless throughput falls.
        """
        known = [result for result in self._results.values() if result.durations("e2e").count >= _MIN_REQUESTS]
        if not known:
            return 0.0
        nearest = min(known, key=lambda result: abs(math.log(result.load / self.load)))
        return nearest.durations("e2e").mean * max(1.0, self.load / nearest.load)

    def _is_decided(self, trial: Trial, result: LoadResult) -> bool:
        length = self._length(result)
        enough = self._limited(_LENGTHS * max(length, self.judge.slowest(result)))
        if trial.held >= max(self.longest, enough):
            return True
        if result.requests < _MIN_REQUESTS or trial.held < self._limited(_LENGTHS * length):
            return False
        odds = self.judge.judge(result, self._below(result.load)).odds
        if odds < 0.0 and not trial.confirms and all(self._meets_limit(load) for load in self._evidence):
            return True  # the load still grows
        return abs(odds) >= _SURE and trial.held >= max(enough, _CONFIRM * self.longest * trial.confirms)

    def _limited(self, seconds: float) -> float:
        return min(seconds + self.lag, _MAX_EXTENSION * self.longest)

    # ── results ──

    def _below(self, load: float) -> list[LoadResult]:
        return [self._results[lower] for lower in sorted(self._evidence) if lower < load and self._meets_limit(lower)]

    def _meets_limit(self, load: float) -> bool:
        """Whether a load meets the limit. A load at which no request ended does not."""
        return self._results[load].requests > 0 and self._evidence[load].odds <= 0.0

    def _is_sure(self, load: float) -> bool:
        return abs(self._evidence[load].odds) >= _SURE or self._results[load].times >= _MAX_LEVELS

    def _bracket(self) -> tuple[float | None, float | None]:
        """Return the bracket. Loads above the lowest one that violates the limit are ignored."""
        high = min((load for load in self._evidence if not self._meets_limit(load)), default=None)
        return max((load for load in self._evidence if high is None or load < high), default=None), high

    def _conclude(self, trial: Trial) -> None:
        self._evidence = {}
        for load in sorted(self._results):
            self._evidence[load] = self.judge.judge(self._results[load], self._below(load))
        trial.verdict = MEETS if self._meets_limit(trial.load) else VIOLATES
        trial.sure = self._is_sure(trial.load)
        trial.limited_by = self._evidence[trial.load].limited_by
        trial.bracket = self._bracket()
        following = self._next(*trial.bracket)
        if following is None:
            self.done, self.answer = True, trial.bracket[0]
        else:
            self.trials.append(following)

    # ── the next level ──

    def _next(self, low: float | None, high: float | None) -> Trial | None:
        narrow = self._is_narrow(low, high)
        if high is not None and not self._is_sure(high) and (narrow or self._is_contradicted(high)):
            return Trial(high)
        if narrow:
            return None if low is None or self._is_confirmed(low) else Trial(low, confirms=True)
        if high is None:
            assert low is not None
            return Trial(min(self._rounded(low * self.growth), self.max_load))
        if low is None:
            return Trial(self._rounded(high / self.growth**2))
        return Trial(self._between(low, high))

    def _is_confirmed(self, low: float) -> bool:
        return self._is_sure(low) and any(trial.confirms and trial.load == low for trial in self.trials)

    def _is_narrow(self, low: float | None, high: float | None) -> bool:
        if high is None:
            return low is not None and low >= self.max_load
        if low is None:
            return high <= self.grain
        return high - low <= max(self.grain, self.precision * low) * (1.0 + 1e-9)

    def _is_contradicted(self, high: float) -> bool:
        return any(load > high and self._meets_limit(load) for load in self._results)

    def _between(self, low: float, high: float) -> float:
        """Return a load half the precision below the estimated limit, or above it if the load below is known already. The
        middle of the bracket without an estimate, if the last step narrowed too little, or if either half is narrow enough.
        """
        half = math.sqrt(1.0 + self.precision)
        crossing = self._evidence[high].crossing
        target = math.sqrt(low * high)
        if low < crossing < high and high > low * half**4 and self._gets_narrower():
            target = crossing / half if crossing / half > low * half else crossing * half
        return min(max(self._rounded(target), low + self.grain), high - self.grain)

    def _gets_narrower(self) -> bool:
        """Whether the last level at least halved the bracket (on a logarithmic scale), or was the first to give one."""
        widths = [_width(trial.bracket) for trial in self.trials[-2:]]
        return len(widths) < 2 or widths[-1] <= 0.5 * widths[-2]

    def _rounded(self, load: float) -> float:
        return max(1.0, round(load / self.grain)) * self.grain


def _width(bracket: tuple[float | None, float | None]) -> float:
    low, high = bracket
    return math.inf if low is None or high is None else math.log(high / low)
