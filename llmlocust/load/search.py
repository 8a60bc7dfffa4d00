"""A search for the highest load that a system takes, as a state machine: what levels have shown goes in, the next load
comes out. Pure: no clock, no Locust, and no unit of load.

The load grows threefold from a small one until a level breaks the limit. That level and the highest that keeps it are
the bracket, and the search closes in on the limit between them. Each level is held until a sequential probability
ratio test knows whether it keeps the limit (Wald: one may look as often as one likes). It is not decided before
requests that break the limit have had time to end, nor held much longer than `longest`.

While the load grows, a level is left as soon as it looks well. If that was luck, the next one breaks, and the bracket
then hangs on the lucky one, which is held again; so is one that broke without certainty. What a load shows is added
up over all the times that it is held, and what was in flight when a level ended is counted when it comes in. At last
the answer is held once more, for longer.
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

KEEPS, BREAKS, OPEN = "keeps", "breaks", "open"

_WAITS = tuple(key for key, metric in METRICS.items() if metric.grows_with_backlog)
_SURE = math.log(19.0)
"""A log-likelihood ratio that is so large leaves one error in twenty."""
_BETWEEN = 2.0
"""The test is between twice and half the odds that the limit allows: nearer to it, either answer is right."""
_FEWEST = 3
"""Requests without which nothing is said of a level."""
_TIMES = 3
"""A load that was held so often is taken for what it seems."""
_LENGTHS = 1.5
"""A level is held for at least so many requests' length, and not decided before so many of the slowest's,"""
_FORESEEN = 2.0
"""and where that is long, for so many times `longest` at most."""
_CONFIRM = 0.5
"""The hold that confirms the answer takes at least so much of `longest`."""
_APART = 0.6
"""Waiting is compared with that at a load so much lower, or lower still."""
_QUEUED = 0.07
"""Of the load that was added, the share that must wait to be called a queue. Less may be prompts read together."""


@dataclass
class Seen:
    """What a load has shown, all its levels together."""

    load: float
    tally: Tally
    seconds: float
    """How long it was measured."""
    times: int = 1

    @property
    def requests(self) -> int:
        """Those that the server answered or failed."""
        return self.tally.requests

    @property
    def failed(self) -> int:
        return self.requests - self.tally.outcomes[OK]

    @property
    def throughput(self) -> float:
        return self.tally.numbers["ended_ok"] / self.seconds if self.seconds > 0.0 else 0.0

    def durations(self, metric: str) -> Histogram:
        return self.tally.histograms.get(metric) or Histogram()


class Opinion(NamedTuple):
    """What a load's requests say of the limit."""

    odds: float = 0.0
    """Logarithm of how much likelier they are where the limit is broken than where it is kept."""
    what: str = ""
    """The part of the limit that is nearest to breaking, in words."""
    crossing: float = math.nan
    """Where this load alone puts the limit; NaN where it cannot."""


class Judge(Protocol):
    """Says whether a load keeps the limit that is searched for."""

    def judge(self, here: Seen, below: Sequence[Seen]) -> Opinion:
        """`below` are the lower loads that keep the limit, lowest first."""

    def slowest(self, here: Seen) -> float:
        """How many seconds a request may take and keep the limit: one that breaks it is seen later than that."""


@dataclass(frozen=True)
class Limits:
    """The limit is that every threshold holds: percentiles of durations, and the share of errors."""

    thresholds: Sequence[Threshold]
    closed: bool = True
    """The load is users: each that is added above capacity waits 1/throughput longer (Little's law)."""

    def __post_init__(self) -> None:
        for each in self.thresholds:
            if each.allowed is None:
                raise ValueError(
                    f"cannot search by '{each}', only by percentiles and errors with an upper limit, such as "
                    f"'ttft.p95 < 500ms' or 'errors < 1%'"
                )

    def judge(self, here: Seen, below: Sequence[Seen]) -> Opinion:
        return max(self._judged(threshold, here) for threshold in self.thresholds)

    def slowest(self, here: Seen) -> float:
        return max((self._allowed(each.metric, each.bound, here) for each in self.thresholds), default=0.0)

    def _allowed(self, metric: str, bound: float, here: Seen) -> float:
        if metric not in _WAITS or not here.durations(metric).count:
            return 0.0
        return bound + (0.0 if metric == "e2e" else here.durations("e2e").mean - here.durations(metric).mean)

    def _judged(self, threshold: Threshold, here: Seen) -> Opinion:
        assert threshold.allowed is not None
        odds = _odds(*threshold.beyond(here.tally), threshold.allowed)
        crossing = math.nan
        if self.closed and threshold.counts_failures:
            value = here.durations(threshold.metric).quantile(QUANTILES[threshold.statistic], here.failed)
            crossing = here.load - here.throughput * (value - threshold.bound) if math.isfinite(value) else math.nan
        return Opinion(odds, str(threshold), crossing)


@dataclass(frozen=True)
class Queueing:
    """The limit is where users begin to wait for their first token: capacity.

    By Little's law, throughput × what the wait has grown by is how many of them wait that did not at a lower load. A
    server that refuses what it cannot take does not let them wait, so errors break the limit too.
    """

    errors: float = 0.01

    def judge(self, here: Seen, below: Sequence[Seen]) -> Opinion:
        failing = Opinion(_odds(here.failed, here.requests, self.errors), f"errors < {self.errors:.0%}")
        reference = next((each for each in reversed(below) if each.load <= _APART * here.load), None)
        return failing if reference is None else max(failing, _waiting(here, reference))

    def slowest(self, here: Seen) -> float:
        return 0.0


def _waiting(here: Seen, reference: Seen) -> Opinion:
    """A test on the mean wait: between none of the load that was added waiting, and twice the share that is a queue."""
    metric = "ttft" if here.durations("ttft").count else "e2e"
    after, before = here.durations(metric), reference.durations(metric)
    if not (after.count and before.count and here.throughput):
        return Opinion(what="an empty queue")
    grown = after.mean - before.mean
    queue = 2.0 * _QUEUED * (here.load - reference.load) / here.throughput
    # a mean is never better known than to a hundredth: servers have neighbours
    noise = _variance(after) / after.count + _variance(before) / before.count + (0.01 * before.mean) ** 2
    return Opinion(queue / noise * (grown - queue / 2.0), "an empty queue", here.load - here.throughput * grown)


def _variance(histogram: Histogram) -> float:
    middles = ((sum(bounds_of(bucket)) / 2.0, count) for bucket, count in histogram.items())
    return sum(count * (middle - histogram.mean) ** 2 for middle, count in middles) / histogram.count


def _odds(over: int, trials: int, share: float) -> float:
    """Log-likelihood ratio of so many over a limit that a share may be over, between twice and half its odds; moved so
    that it is zero at just that share.
    """
    return (over - trials * share) * 2.0 * math.log(_BETWEEN)


@dataclass
class Trial:
    """One level of the search."""

    load: float
    confirms: bool = False
    """Whether this is the hold that confirms the answer."""
    held: float = 0.0
    verdict: str = OPEN
    """What the load showed by the end of this level, by all its levels so far."""
    sure: bool = False
    what: str = ""
    """The part of the limit that was nearest to breaking, or broke."""
    bracket: tuple[float | None, float | None] = (None, None)
    """The highest load that keeps the limit and the lowest that breaks it, as known after this level."""


@dataclass
class Search:
    """`look` is called about once a second while a level is held, and says whether it was decided: then there is a new
    last trial, or the search is `done`. Durations are seconds, loads whatever `judge` takes them for.
    """

    judge: Judge
    start: float = 4.0
    most: float = 300.0
    grain: float = 1.0
    """The least step of the load: one user."""
    precision: float = 0.05
    """How near the bracket's ends must come to each other, as a share of the load, where the grain allows it."""
    growth: float = 3.0
    shortest: float = 2.0
    longest: float = 15.0
    lag: float = 0.0
    """How late a level's figures come in."""
    trials: list[Trial] = field(default_factory=list, init=False)
    done: bool = field(default=False, init=False)
    answer: float | None = field(default=None, init=False)
    """The highest load that keeps the limit, once the search is done; None where the lowest already breaks it."""
    _seen: dict[float, Seen] = field(default_factory=dict, init=False)
    _opinions: dict[float, Opinion] = field(default_factory=dict, init=False)
    """Of the loads that were held, as of the last decision."""

    def __post_init__(self) -> None:
        self.trials.append(Trial(min(self.start, self.most)))

    @property
    def load(self) -> float:
        """The load to ask for now."""
        return self.trials[-1].load

    @property
    def settle(self) -> float:
        """How long the present level runs before it is measured: a request's length where half of the load is new or
        gone, and less where less has changed.
        """
        if len(self.trials) < 2:
            return 0.0
        load, before = self.load, self.trials[-2].load
        changed = min(1.0, 2.0 * abs(load - before) / max(load, before))
        return min(changed * self._expected_length(), self.longest)

    def look(self, held: float, tally_of: Callable[[int], Tally]) -> bool:
        """`held` is how long the present level has been measured; `tally_of` counts a level by its index, as of now."""
        trial = self.trials[-1]
        trial.held = held
        if held < self.shortest + self.lag:
            return False
        seen = self._gather(trial.load, tally_of)
        if not self._is_decided(trial, seen):
            return False
        for load in self._seen:  # what was in flight when they ended has come in since
            self._gather(load, tally_of)
        self._conclude(trial)
        return True

    def _gather(self, load: float, tally_of: Callable[[int], Tally]) -> Seen:
        levels = [index for index, trial in enumerate(self.trials) if trial.load == load]
        seconds = sum(self.trials[index].held for index in levels)
        if self.load == load:
            seconds -= self.lag / 2.0  # of the present level, on average so much has not been told yet
        seen = Seen(load, Tally.sum(tally_of(index) for index in levels), seconds, len(levels))
        self._seen[load] = seen
        return seen

    def _length(self, seen: Seen) -> float:
        e2e = seen.durations("e2e")
        return e2e.mean if e2e.count >= _FEWEST else self._expected_length()

    def _expected_length(self) -> float:
        """Of a request, as at the nearest load that is known, and as much longer as the load is higher: requests get no
        slower than that while throughput does not fall.
        """
        known = [each for each in self._seen.values() if each.durations("e2e").count >= _FEWEST]
        if not known:
            return 0.0
        nearest = min(known, key=lambda each: abs(math.log(each.load / self.load)))
        return nearest.durations("e2e").mean * max(1.0, self.load / nearest.load)

    def _is_decided(self, trial: Trial, seen: Seen) -> bool:
        length = self._length(seen)
        enough = self._within_reason(_LENGTHS * max(length, self.judge.slowest(seen)))
        if trial.held >= max(self.longest, enough):
            return True
        if seen.requests < _FEWEST or trial.held < self._within_reason(_LENGTHS * length):
            return False
        odds = self.judge.judge(seen, self._below(seen.load)).odds
        if odds < 0.0 and not trial.confirms and all(self._keeps(load) for load in self._opinions):
            return True  # the load still grows
        return abs(odds) >= _SURE and trial.held >= max(enough, _CONFIRM * self.longest * trial.confirms)

    def _within_reason(self, seconds: float) -> float:
        return min(seconds + self.lag, _FORESEEN * self.longest)

    # ── what is known ──

    def _below(self, load: float) -> list[Seen]:
        return [self._seen[each] for each in sorted(self._opinions) if each < load and self._keeps(each)]

    def _keeps(self, load: float) -> bool:
        """A load at which nothing ended does not keep the limit."""
        return self._seen[load].requests > 0 and self._opinions[load].odds <= 0.0

    def _is_sure(self, load: float) -> bool:
        return abs(self._opinions[load].odds) >= _SURE or self._seen[load].times >= _TIMES

    def _bracket(self) -> tuple[float | None, float | None]:
        """A load that keeps the limit above one that breaks it proves nothing: the lower one counts."""
        high = min((load for load in self._opinions if not self._keeps(load)), default=None)
        return max((load for load in self._opinions if high is None or load < high), default=None), high

    def _conclude(self, trial: Trial) -> None:
        self._opinions = {}
        for load in sorted(self._seen):
            self._opinions[load] = self.judge.judge(self._seen[load], self._below(load))
        trial.verdict = KEEPS if self._keeps(trial.load) else BREAKS
        trial.sure = self._is_sure(trial.load)
        trial.what = self._opinions[trial.load].what
        trial.bracket = self._bracket()
        following = self._next(*trial.bracket)
        if following is None:
            self.done, self.answer = True, trial.bracket[0]
        else:
            self.trials.append(following)

    # ── what to do next ──

    def _next(self, low: float | None, high: float | None) -> Trial | None:
        narrow = self._is_narrow(low, high)
        if high is not None and not self._is_sure(high) and (narrow or self._is_contradicted(high)):
            return Trial(high)
        if narrow:
            return None if low is None or self._is_confirmed(low) else Trial(low, confirms=True)
        if high is None:
            assert low is not None
            return Trial(min(self._rounded(low * self.growth), self.most))
        if low is None:
            return Trial(self._rounded(high / self.growth**2))
        return Trial(self._between(low, high))

    def _is_confirmed(self, low: float) -> bool:
        return self._is_sure(low) and any(trial.confirms and trial.load == low for trial in self.trials)

    def _is_narrow(self, low: float | None, high: float | None) -> bool:
        if high is None:
            return low is not None and low >= self.most
        if low is None:
            return high <= self.grain
        return high - low <= max(self.grain, self.precision * low) * (1.0 + 1e-9)

    def _is_contradicted(self, high: float) -> bool:
        return any(load > high and self._keeps(load) for load in self._seen)

    def _between(self, low: float, high: float) -> float:
        """Half the precision beside where the limit seems to be: below it, or above where below is known already. In the
        middle where nothing tells, where that has not brought the ends nearer, or where either half is narrow enough.
        """
        half = math.sqrt(1.0 + self.precision)
        crossing = self._opinions[high].crossing
        aim = math.sqrt(low * high)
        if low < crossing < high and high > low * half**4 and self._gets_narrower():
            aim = crossing / half if crossing / half > low * half else crossing * half
        return min(max(self._rounded(aim), low + self.grain), high - self.grain)

    def _gets_narrower(self) -> bool:
        """Whether the last level took the bracket to half of what it was, in proportion, or was the first to give one."""
        widths = [_width(trial.bracket) for trial in self.trials[-2:]]
        return len(widths) < 2 or widths[-1] <= 0.5 * widths[-2]

    def _rounded(self, load: float) -> float:
        return max(1.0, round(load / self.grain)) * self.grain


def _width(bracket: tuple[float | None, float | None]) -> float:
    low, high = bracket
    return math.inf if low is None or high is None else math.log(high / low)
