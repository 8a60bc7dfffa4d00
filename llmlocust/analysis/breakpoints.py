"""Where a system breaks: four numbers and the cliffs between levels, from the figures of the levels. Pure.

Honest and simple. Each number names the two levels between which it lies (`low`, `high`), a point between them, and
why in one sentence; or it was not reached, up to the highest load of the run. Nothing is told from one witness where
one has been seen to fool: a server whose batch slows down makes throughput flatten without any queue, so capacity
needs a flat throughput *and* waiting that grows (or errors). Noise is that of the counts: Poisson for throughput,
binomial for errors, the order statistics' intervals for percentiles.

Seconds and shares inside; text says milliseconds where they read better.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import NormalDist

from llmlocust.analysis import words
from llmlocust.numbers.formats import ERROR_KINDS, METRICS
from llmlocust.numbers.levels import USERS, LevelFigures
from llmlocust.numbers.thresholds import Threshold

ERROR_LIMIT = 0.01
"""Errors above this are a collapse, and break the derived service level."""
KNEE = 0.5
"""Elasticity d ln X / d ln N: above, more load still buys most of its share of throughput."""
FLAT = 0.15
"""Elasticity below which throughput no longer grows."""
QUEUED = 0.3
"""Of the wait that each further user adds (1/X, by Little's law), the share that must fall before the first token to \
be called a queue; the rest may be a batch that slows down."""
DERIVED_FACTOR = 3.0
DERIVED_FLOOR = {"ttft": 0.2, "e2e": 0.5}
"""Derived limits: so many times the lowest level's p95, but never below what nobody feels."""

_Z95 = 1.645  # one-sided
_WOBBLE = 0.01  # throughput of a level is never better known than this: ramps, bursts and neighbours exist
_FALL = 0.05  # a smaller fall of throughput is no collapse, however certain
_CLIFF = 1.3  # a jump is a cliff when it exceeds the growth of the load by this
_CLIFF_FLOOR = 0.02  # and this many seconds
_NAMES = {"ttft": "TTFT", "answer": "time to answer", "e2e": "end to end", "gap": "token gap", "tpot": "TPOT"}


@dataclass(frozen=True)
class Finding:
    """One of the four numbers. Loads are users or requests a second, None where there is none."""

    reached: bool
    why: str
    load: float | None = None
    low: float | None = None
    high: float | None = None
    level_ok: float | None = None
    level_bad: float | None = None
    cause: str = ""
    """What broke, in a few words, for a headline."""


@dataclass(frozen=True)
class Cliff:
    """A jump between neighbouring levels that neither noise nor the growth of the load explains."""

    between: tuple[float, float]
    what: str
    why: str


@dataclass(frozen=True)
class Verdict:
    slo_limit: Finding
    knee: Finding
    capacity: Finding
    collapse: Finding
    cliffs: tuple[Cliff, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    """Those that were judged: the given ones, or the derived."""
    derived: bool = False
    unit: str = USERS
    gone: tuple[float, str] | None = None
    """The first load at which the server was gone, and how that showed."""
    empty: frozenset[int] = frozenset()
    """The levels, by their index, whose answers were empty: of those nothing can be said."""

    def numbers(self) -> dict[str, Finding]:
        return {name: getattr(self, name) for name in ("slo_limit", "knee", "capacity", "collapse")}


def find(
    levels: Sequence[LevelFigures],
    thresholds: Sequence[Threshold] = (),
    goodput: Mapping[int, float] | None = None,
    gone: Mapping[int, float] | None = None,
    empty: Collection[int] = (),
) -> Verdict:
    """The verdict on a run. `goodput` is that of each level, by its index, where it is known; `gone` has the levels
    in which nothing could connect any more from some second on, until their end; `empty` those whose answers brought
    no tokens. Neither says anything of what load does to a server.
    """
    unit = levels[0].unit if levels else USERS
    steps = steps_of(levels)
    judged = tuple(thresholds) or derive(steps)
    lost = _lost_server(steps, gone or {}, unit)
    there = [step for step in steps if not step.among(gone or {})]
    served = [step for step in there if not step.among(empty)]
    curve = [step for step in served if math.isfinite(step.throughput)]
    left_out = "".join(
        _left_out([step for step in steps if step.among(marked)], unit, why)
        for marked, why in ((gone or {}, "the server was gone"), (empty, "their answers were empty"))
    )
    if left_out and not curve:
        nothing = "; nothing succeeded at any level"
        said = left_out if any(step.ok for step in steps) else nothing
        knee = capacity = Finding(False, f"cannot be told: {said.removeprefix('; ')}")
    else:
        knee, capacity = (
            replace(each, why=each.why + left_out) for each in (_knee(curve, unit), _capacity(curve, unit))
        )
    return Verdict(
        slo_limit=_slo_limit(steps, judged, goodput or {}, unit, derived=not thresholds, lost=lost, empty=empty),
        knee=knee,
        capacity=capacity,
        collapse=_collapse(steps, there, curve, unit, lost),
        cliffs=tuple(_cliffs(served, unit)),
        thresholds=judged,
        derived=not thresholds,
        unit=unit,
        gone=lost,
        empty=frozenset(empty),
    )


def _left_out(steps: Sequence[Step], unit: str, why: str) -> str:
    if not steps:
        return ""
    named = words.series([words.load(each.load) for each in steps])
    return f"; {named} {words.unit_of(unit, steps[0].load if len(steps) == 1 else 2)} left out, as {why}"


def _lost_server(steps: Sequence[Step], gone: Mapping[int, float], unit: str) -> tuple[float, str] | None:
    """The first load at which the server was gone, and how that showed."""
    for step in steps:
        seconds = [gone[each.level] for each in step.levels if each.level in gone]
        if seconds:
            at = words.with_unit(step.load, unit)
            if min(seconds) < 1.0:
                return step.load, f"nothing could connect at {at}"
            return step.load, f"nothing could connect at {at} from second {min(seconds):.0f} on"
    return None


# -- steps: the levels in the order of their load, those of equal load taken together


@dataclass(frozen=True)
class Step:
    """One load of the curve: one level, or several of the same load."""

    load: float
    levels: tuple[LevelFigures, ...] = field(repr=False)

    @property
    def requests(self) -> int:
        return sum(each.requests for each in self.levels)

    @property
    def failed(self) -> int:
        return sum(each.failed for each in self.levels)

    @property
    def ok(self) -> int:
        return sum(each.ok for each in self.levels)

    @property
    def errors(self) -> float:
        return self.failed / self.requests if self.requests else math.nan

    @property
    def throughput(self) -> float:
        return _mean((each.throughput, _weight(each.window)) for each in self.levels)

    @property
    def ended(self) -> float:
        """How many requests the throughput was counted from."""
        counted = sum(each.throughput * each.window for each in self.levels if each.window > 0)
        return counted if counted > 0 else float(self.ok)

    @property
    def counted(self) -> bool:
        """Whether anybody told how many requests there were."""
        return all(each.counted for each in self.levels)

    @property
    def many(self) -> str:
        """How many requests it had, in words."""
        return f"{self.requests} requests" if self.counted else "how many requests is not told"

    def among(self, levels: Collection[int]) -> bool:
        return any(each.level in levels for each in self.levels)

    def figure(self, metric: str, statistic: str) -> float:
        return _mean((each.metric(metric)[statistic], max(1, each.metric(metric).count)) for each in self.levels)

    def interval(self, metric: str, statistic: str) -> tuple[float, float]:
        known = [each.metric(metric).intervals.get(statistic, (math.nan, math.nan)) for each in self.levels]
        known = [(low, high) for low, high in known if not (math.isnan(low) or math.isnan(high))]
        if not known:
            return math.nan, math.nan
        return min(low for low, _ in known), max(high for _, high in known)

    def kinds(self) -> dict[str, int]:
        kinds: dict[str, int] = {}
        for each in self.levels:
            for kind, count in each.error_kinds.items():
                kinds[kind] = kinds.get(kind, 0) + count
        return dict(sorted(kinds.items(), key=lambda item: -item[1]))


def steps_of(levels: Iterable[LevelFigures]) -> list[Step]:
    """The loads that say something, lowest first. Levels whose load was never there are left out if others remain."""
    useful = [each for each in levels if 1e-6 < each.load < 1e9 and _says_something(each)]
    useful = [each for each in useful if each.reached] or useful
    by_load: dict[float, list[LevelFigures]] = {}
    for each in useful:
        by_load.setdefault(each.load, []).append(each)
    return [Step(load, tuple(by_load[load])) for load in sorted(by_load)]


def _says_something(figures: LevelFigures) -> bool:
    return figures.requests > 0 or figures.throughput > 0


def _weight(window: float) -> float:
    return window if window > 0 else 1.0


def _mean(pairs: Iterable[tuple[float, float]]) -> float:
    known = [(value, weight) for value, weight in pairs if not math.isnan(value)]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else math.nan


# -- the service level


def derive(steps: Sequence[Step]) -> tuple[Threshold, ...]:
    """Limits from the lowest level, where nobody gave any: three times its p95, and errors under 1 %."""
    errors = Threshold("errors", "", "<", ERROR_LIMIT * 100.0, "%")
    for metric in ("ttft", "e2e"):
        known = [each for each in (step.figure(metric, "p95") for step in steps) if math.isfinite(each)]
        if known:
            seconds = max(DERIVED_FACTOR * known[0], DERIVED_FLOOR[metric])
            return Threshold(metric, "p95", "<", _two_digits(seconds * 1000.0), "ms"), errors
    return (errors,)


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


def _slo_limit(
    steps: Sequence[Step],
    thresholds: Sequence[Threshold],
    goodput: Mapping[int, float],
    unit: str,
    *,
    derived: bool,
    lost: tuple[float, str] | None = None,
    empty: Collection[int] = (),
) -> Finding:
    asked = words.series([str(each) for each in thresholds])
    source = f" (limits derived from the lowest level: {asked})" if derived else ""

    # what no level tells is said and left out; what only some tell is missing at the others
    told_somewhere = [t for t in thresholds if any(_known_at(t, step, goodput) for step in steps)]

    def judge(step: Step) -> bool | None:
        if any(t.holds(each, goodput.get(each.level)) is False for each in step.levels for t in thresholds):
            return False
        if step.among(empty):
            return None
        return True if told_somewhere and all(_known_at(t, step, goodput) for t in told_somewhere) else None

    judged = [(step, holds) for step in steps if (holds := judge(step)) is not None]
    if not judged and all(step.among(empty) for step in steps) and steps:
        return Finding(False, "cannot be told: the answers brought no tokens")
    if not judged:
        return Finding(False, f"cannot be told: no level has figures for {asked}{source}")
    source += _not_known(thresholds, steps, goodput)
    source += _left_out([step for step in steps if step.among(empty)], unit, "their answers were empty")
    noise = []
    bad = None
    for place, (step, holds) in enumerate(judged):
        if holds:
            continue
        if place + 1 < len(judged) and judged[place + 1][1] and not _fails_surely(step, thresholds, goodput):
            noise.append(step)
            continue
        bad = place
        break
    passed_over = "".join(
        f"; {words.with_unit(step.load, unit)} failed by no more than noise ({step.many}) and the next "
        f"level held, so it is passed over"
        for step in noise
    )
    if bad is None:
        told = words.series([str(each) for each in thresholds if _known_at(each, judged[-1][0], goodput)] or [asked])
        top = words.with_unit(judged[-1][0].load, unit)
        if derived and len(steps) == 1:
            return Finding(False, f"cannot be told from one level ({top}) without limits: any level keeps its own")
        why = f"not reached up to {top}: {told} held{passed_over}"
        return Finding(False, why + source.replace(f": {asked})", ")"))
    after = [step.load for step, holds in judged[bad + 1 :] if holds]
    again = (
        f"; yet {words.series([words.load(each) for each in after])} held again, so measure "
        f"{words.with_unit(judged[bad][0].load, unit)} once more"
        if after
        else ""
    )
    step = judged[bad][0]
    if lost is not None and step.load == lost[0]:
        return _limit_by_loss([each for each, _ in judged[:bad]], step, lost[1], unit, passed_over + again + source)
    if bad == 0:
        broken = words.series([_broken(t, None, step, goodput) for t in thresholds if _value_fails(t, step, goodput)])
        why = f"already the lowest level, {words.with_unit(step.load, unit)}, does not hold: {broken}{again}{source}"
        return Finding(True, why, None, None, step.load, None, step.load, broken)
    good = judged[bad - 1][0]
    broken = words.series([_broken(t, good, step, goodput) for t in thresholds if _value_fails(t, step, goodput)])
    few = "" if _fails_surely(step, thresholds, goodput) else f"; {_few(step)}, so this is not certain"
    crossing = min(_crossing(t, good, step, goodput) for t in thresholds if _value_fails(t, step, goodput))
    why = (
        f"holds at {words.load(good.load)}, fails at {words.with_unit(step.load, unit)}: "
        f"{broken}{few}{passed_over}{again}{source}"
    )
    return Finding(True, why, crossing, good.load, step.load, good.load, step.load, broken)


def _limit_by_loss(before: Sequence[Step], step: Step, said: str, unit: str, more: str) -> Finding:
    """The level at which the server went away is not safe, and says nothing of where the limit lies."""
    cause = f"the server was gone ({said})"
    if not before:
        return Finding(True, f"{said}, the lowest level{more}", None, None, step.load, None, step.load, said)
    good = before[-1].load
    why = f"holds at {words.with_unit(good, unit)}; then the server was gone: {said}{more}"
    return Finding(True, why, good, good, step.load, good, step.load, cause)


def _known_at(threshold: Threshold, step: Step, goodput: Mapping[int, float]) -> bool:
    return bool(_values(threshold, step, goodput))


def _not_known(thresholds: Sequence[Threshold], steps: Sequence[Step], goodput: Mapping[int, float]) -> str:
    """Which thresholds could not be judged, and where: nobody shall take them for kept."""
    said = []
    for threshold in thresholds:
        missing = [words.load(step.load) for step in steps if not _known_at(threshold, step, goodput)]
        if missing:
            where = "any level" if len(missing) == len(steps) else words.series(missing)
            said.append(f"; {threshold} is not known at {where}")
    return "".join(said)


def _values(threshold: Threshold, step: Step, goodput: Mapping[int, float]) -> list[float]:
    values = [threshold.measured(each, goodput.get(each.level)) for each in step.levels]
    return [each for each in values if not math.isnan(each)]


def _worst(threshold: Threshold, step: Step, goodput: Mapping[int, float]) -> float:
    values = _values(threshold, step, goodput)
    if not values:
        return math.nan
    return max(values) if threshold.is_ceiling else min(values)


def _value_fails(threshold: Threshold, step: Step, goodput: Mapping[int, float]) -> bool:
    value = _worst(threshold, step, goodput)
    return not math.isnan(value) and not threshold.met_by(value)


def _fails_surely(step: Step, thresholds: Sequence[Threshold], goodput: Mapping[int, float]) -> bool:
    """Whether some threshold is broken by more than noise."""
    for threshold in thresholds:
        if not _value_fails(threshold, step, goodput):
            continue
        if threshold.metric == "errors":
            surely = more_than(step.failed, step.requests, threshold.bound)
        elif threshold.is_duration:
            low, high = step.interval(threshold.metric, threshold.statistic)
            unlucky = low if threshold.is_ceiling else high
            surely = math.isnan(unlucky) or not threshold.met_by(unlucky)
        else:
            surely = True
        if surely:
            return True
    return False


def _crossing(threshold: Threshold, good: Step, bad: Step, goodput: Mapping[int, float]) -> float:
    """Where the straight line between two levels meets the limit; half-way where one end is not known."""
    before, after = _worst(threshold, good, goodput), _worst(threshold, bad, goodput)
    part = 0.5
    if math.isfinite(before) and math.isfinite(after) and before != after:
        part = min(1.0, max(0.0, (threshold.bound - before) / (after - before)))
    return good.load + part * (bad.load - good.load)


def _broken(threshold: Threshold, good: Step | None, bad: Step, goodput: Mapping[int, float]) -> str:
    name = name_of(threshold.metric, threshold.statistic)
    before = math.nan if good is None else _worst(threshold, good, goodput)
    after = _worst(threshold, bad, goodput)
    if math.isinf(after):
        # failed requests broke it; where those that succeeded break it too, their figure says more
        after = bad.figure(threshold.metric, threshold.statistic)
        if math.isnan(after) or threshold.met_by(after):
            return f"{name}: too many failed ({words.share(bad.errors)})"
    if threshold.is_duration:
        return f"{name} {words.duration(after) if math.isnan(before) else words.change(before, after)}"
    text = words.share if threshold.unit == "%" or threshold.metric == "errors" else words.digits
    return f"{name} {text(after)}" if math.isnan(before) else f"{name} {text(before)} → {text(after)}"


def name_of(metric: str, statistic: str = "") -> str:
    """p95 TTFT, mean end to end, errors."""
    plain = _NAMES.get(metric) or METRICS.get(metric) or metric.replace("output_tokens_per_s", "output tokens/s")
    return f"{statistic.replace('_', '.')} {plain}".strip()


# -- throughput: knee, capacity, collapse


def _elasticity(first: Step, second: Step) -> tuple[float, float]:
    """The elasticity d ln X / d ln N between two loads, and its standard error from the counts."""
    span = math.log(second.load / first.load)
    grown = math.log(max(second.throughput, 1e-9) / max(first.throughput, 1e-9))
    return grown / span, _noise(first, second) / span


def _noise(first: Step, second: Step) -> float:
    """The standard error of ln(X2 / X1)."""
    return math.sqrt(1.0 / max(first.ended, 1.0) + 1.0 / max(second.ended, 1.0) + 2.0 * _WOBBLE**2)


def _knee_place(curve: Sequence[Step]) -> int | None:
    """The first load after the last one from which more load still bought its share; None where that is the last."""
    last = len(curve) - 1
    buys = [place for place in range(last) if _elasticity(curve[place], _onward(curve, place))[0] >= KNEE]
    place = buys[-1] + 1 if buys else 0
    if place == last:
        return None
    value, error = _elasticity(curve[place], curve[last])
    return place if value + error < KNEE else None


def _onward(curve: Sequence[Step], place: int) -> Step:
    """The next load that is far enough above for their noise not to decide."""
    far = (step for step in curve[place + 1 :] if step.load >= 1.2 * curve[place].load)
    return next(far, curve[-1])


def _flat_from(curve: Sequence[Step]) -> int | None:
    """The first load from which the highest buys no throughput, and none between does by more than noise."""
    for place, step in enumerate(curve[:-1]):
        tail = [_elasticity(step, later) for later in curve[place + 1 :]]
        if tail[-1][0] < FLAT and all(value < FLAT + _Z95 * error for value, error in tail):
            return place
    return None


def _too_few(curve: Sequence[Step], unit: str) -> Finding | None:
    if not curve:
        return Finding(False, "cannot be told: the throughput of the levels is not known")
    if not any(step.throughput > 0.0 for step in curve):
        return Finding(False, "cannot be told: nothing succeeded at any level")
    if len(curve) == 1:
        return Finding(False, f"cannot be told from one level ({words.with_unit(curve[0].load, unit)})")
    return None


def _knee(curve: Sequence[Step], unit: str) -> Finding:
    if unknown := _too_few(curve, unit):
        return unknown
    place = _knee_place(curve)
    top = curve[-1].load
    if place is None:
        value, _ = _elasticity(curve[-2], curve[-1])
        bought = f"the last step still bought {_bought(value)} more throughput for 10 % more {_load_word(unit)}"
        if value < KNEE:
            bought = "the last step bought little, but one step within noise is no knee"
        return Finding(False, f"not reached up to {words.with_unit(top, unit)}: {bought}")
    after, _ = _elasticity(curve[place], curve[place + 1])
    overall, _ = _elasticity(curve[place], curve[-1])
    why = (
        f"from {words.load(curve[place].load)} to {words.with_unit(top, unit)}, 10 % more {_load_word(unit)} "
        f"{_buys(overall)}"
    )
    high = curve[place + 1].load
    if place == 0:
        return Finding(
            True, f"{why}; it lies at or below the lowest levels, so add lower ones", None, None, high, None, high
        )
    before, _ = _elasticity(curve[place - 1], curve[place])
    why += f" (before, up to {words.load(curve[place].load)}, {_bought(before)})"
    middles = [math.sqrt(one.load * two.load) for one, two in pairwise(curve[place - 1 : place + 2])]
    part = (before - KNEE) / (before - after) if before > KNEE > after else 0.5
    point = middles[0] * (middles[1] / middles[0]) ** part
    return Finding(True, why, point, curve[place - 1].load, high, curve[place].load, high)


def _load_word(unit: str) -> str:
    return "users" if unit == USERS else "load"


def _bought(elasticity: float) -> str:
    return f"{words.digits(max(0.0, elasticity) * 10.0)} %"


def _buys(elasticity: float) -> str:
    if elasticity < 0.01:
        return "buys no more throughput" if elasticity > -0.05 else "costs throughput"
    return f"buys only {_bought(elasticity)} more throughput"


def _capacity(curve: Sequence[Step], unit: str) -> Finding:
    if unknown := _too_few(curve, unit):
        return unknown
    top = words.with_unit(curve[-1].load, unit)
    flat = _flat_from(curve)
    if flat is None:
        return Finding(False, f"not reached up to {top}: throughput still grows")
    best = max(curve, key=lambda step: step.throughput)
    if best.throughput <= 0.0:
        return Finding(False, f"cannot be told: nothing succeeded at any level up to {top}")
    full = next(place for place, step in enumerate(curve) if _as_good(step, best))
    low = max(full - 1, 0)
    point = curve[low].load * best.throughput / max(curve[low].throughput, 1e-9)
    waiting = _waits(curve)
    if waiting is not None and waiting.metric == "ttft":
        # throughput may be flat long before anything queues, where the batch slows down: the queue tells the place
        onset = _onset(curve, waiting, unit)
        if onset == len(curve) - 1:
            waiting = None
        else:
            low = max(onset, flat - 1)
            point = _where_the_queue_begins(curve, low, waiting) if unit == USERS else point
            low = max(low - 1, 0) if unit == USERS and point < curve[low].load else low
    grows = _waiting_grows(curve, low, max(full, flat, low), waiting, unit)
    if grows is None:
        why = (
            f"not reached up to {top}: throughput is flat from {words.load(curve[flat].load)} on, but neither waiting "
            f"nor errors grow with it, so no queue is seen"
        )
        return Finding(False, why)
    high = curve[low + 1]
    why = f"throughput stays at {words.digits(best.throughput)}/s up to {top}, while {grows}"
    if unit != USERS:
        point = best.throughput
    if low == 0 and flat == 0 and full == 0 and point <= curve[0].load:
        return Finding(True, f"{why}, from the lowest level on; add lower ones", None, None, high.load, None, high.load)
    point = min(max(point, curve[low].load), high.load)
    return Finding(True, why, point, curve[low].load, high.load, curve[low].load, high.load)


@dataclass(frozen=True)
class _Waiting:
    """The figure by which waiting is seen, with its value at each load (NaN where it is not known)."""

    metric: str
    statistic: str
    values: tuple[float, ...]


def _waits(curve: Sequence[Step]) -> _Waiting | None:
    for metric, statistic in (("ttft", "p50"), ("ttft", "mean"), ("e2e", "p50"), ("e2e", "mean")):
        values = tuple(step.figure(metric, statistic) for step in curve)
        if math.isfinite(values[-1]) and sum(map(math.isfinite, values)) > len(values) / 2:
            return _Waiting(metric, statistic, values)
    return None


def _queue_between(curve: Sequence[Step], waiting: _Waiting, first: int, second: int) -> float:
    """Of the load that was added, the share that waits: X dW / dN, by Little's law. NaN where it is not known."""
    grown = waiting.values[second] - waiting.values[first]
    return grown * curve[second].throughput / (curve[second].load - curve[first].load)


def _onset(curve: Sequence[Step], waiting: _Waiting, unit: str) -> int:
    """The last load before the queue: from there on, whatever load is added waits (or most of it does)."""
    last = len(curve) - 1
    for place in range(last):
        if unit == USERS:
            tail = [_queue_between(curve, waiting, place, later) for later in range(place + 1, last + 1)]
            if all(math.isnan(share) or share >= QUEUED for share in tail):
                return place
        elif all(
            math.isnan(value) or value > 1.5 * waiting.values[place] + _CLIFF_FLOOR
            for value in waiting.values[place + 1 :]
        ):
            return place
    return last


def _where_the_queue_begins(curve: Sequence[Step], low: int, waiting: _Waiting) -> float:
    """N* = N − X·(W − W0): the load less those who wait, at the first load that queues."""
    base = waiting.values[max(low - 1, 0)]
    queued = curve[low + 1].throughput * (waiting.values[low + 1] - base)
    return curve[low + 1].load - queued if math.isfinite(queued) else math.sqrt(curve[low].load * curve[low + 1].load)


def _as_good(step: Step, best: Step) -> bool:
    """Whether a throughput is the best one, as far as their counts can tell."""
    noise = _Z95 * math.sqrt(1.0 / max(step.ended, 1.0) + 1.0 / max(best.ended, 1.0))
    return step.throughput >= best.throughput * (1.0 - min(0.1, max(0.03, noise)))


def _waiting_grows(curve: Sequence[Step], low: int, full: int, waiting: _Waiting | None, unit: str) -> str | None:
    """The second witness of capacity, in words; None where there is none."""
    first, last = curve[low], curve[-1]
    if waiting is not None:
        before, after = waiting.values[low], waiting.values[-1]
        # what a queue of this many further users has to add, by Little's law; an open load has no such bound
        queue = QUEUED * (last.load - curve[full].load) / last.throughput if unit == USERS and last.throughput else 0.0
        apart = _apart(first, last, waiting.metric, waiting.statistic)
        if after - before > max(queue, 0.5 * before, _CLIFF_FLOOR) and apart:
            said = f"{name_of(waiting.metric, waiting.statistic)} grows {words.change(before, after)}"
            alone = " (without TTFT, a queue cannot be told from a slower batch)"
            return said if waiting.metric == "ttft" else said + alone
    if more_than(last.failed, last.requests, ERROR_LIMIT) and last.errors > 2.0 * (first.errors or 0.0):
        return f"errors grow {words.share(first.errors)} → {words.share(last.errors)}"
    return None


def _apart(first: Step, second: Step, metric: str, statistic: str) -> bool:
    """Whether the second figure is above the first by more than their intervals; True where those are not known."""
    _, high = first.interval(metric, statistic)
    low, _ = second.interval(metric, statistic)
    return math.isnan(high) or math.isnan(low) or low > high


def _collapse(
    steps: Sequence[Step],
    there: Sequence[Step],
    curve: Sequence[Step],
    unit: str,
    lost: tuple[float, str] | None,
) -> Finding:
    """`there` are the steps at which there was a server, `curve` those of them whose throughput is known."""
    gone = None if lost is None else _loss(steps, lost, unit)
    found = [each for each in (_fall(curve, unit), _failing(there, unit), gone) if each is not None]
    if found:
        first = min(found, key=lambda each: each.high or math.inf)
        others = [each.why for each in found if each is not first and each.high == first.high]
        return first if not others else replace(first, why="; ".join([first.why, *others]))
    if not steps:
        return Finding(False, "cannot be told: no level has any request")
    top = steps[-1]
    why = f"not reached up to {words.with_unit(top.load, unit)}: "
    uncertain = [step for step in steps if step.errors > ERROR_LIMIT]
    if uncertain:
        step = uncertain[0]
        why += (
            f"errors were {words.share(step.errors)} at {words.with_unit(step.load, unit)}, but "
            f"{_failed_of(step)} prove no more than chance"
        )
    else:
        worst = max((step.errors for step in steps if step.requests), default=math.nan)
        why += "no errors" if worst == 0.0 else f"errors at most {words.share(worst)}"
        if math.isnan(worst):
            why += " are known"
    if len(curve) < 2:
        return Finding(False, f"{why}; whether throughput falls cannot be told")
    return Finding(False, f"{why}, throughput does not fall")


def _loss(steps: Sequence[Step], lost: tuple[float, str], unit: str) -> Finding:
    load, said = lost
    before = [step.load for step in steps if step.load < load and step.ok]
    if not before and not any(step.ok for step in steps):
        return Finding(True, f"{said}: see whether a server is there, and its address", None, None, load, None, load)
    why = f"{said}: the server was gone. See its log, whether it crashed under the load or was stopped; "
    if not before:
        return Finding(True, f"{why}then run again", None, None, load, None, load)
    why += f"then run again from {words.with_unit(before[-1], unit)} up"
    return Finding(True, why, load, before[-1], load, before[-1], load)


def _fall(curve: Sequence[Step], unit: str) -> Finding | None:
    """The first load from which throughput is below its best by more than noise, and stays there."""
    if len(curve) < 2:
        return None
    best = max(range(len(curve)), key=lambda place: curve[place].throughput)
    if curve[best].throughput <= 0.0:
        return None

    def lost(place: int) -> float:
        return 1.0 - curve[place].throughput / curve[best].throughput

    full = next(place for place, step in enumerate(curve) if _as_good(step, curve[best]))
    for place in range(best + 1, len(curve)):
        stays = all(lost(later) > _FALL for later in range(place, len(curve)))
        if stays and _fell(curve[full:place], curve[place:]):
            low, high = curve[place - 1], curve[place]
            why = (
                f"throughput falls {words.digits(curve[best].throughput)} → {words.digits(high.throughput)}/s "
                f"({words.share(lost(place))} below its best, at {words.load(curve[best].load)}) by "
                f"{words.with_unit(high.load, unit)}"
            )
            part = (_FALL - lost(place - 1)) / (lost(place) - lost(place - 1)) if lost(place) > lost(place - 1) else 0.5
            point = low.load + min(1.0, max(0.0, part)) * (high.load - low.load)
            return Finding(True, why, point, curve[best].load, high.load, curve[best].load, high.load)
    return None


def _fell(before: Sequence[Step], after: Sequence[Step]) -> bool:
    """Whether throughput fell from the plateau to what came after it, beyond noise.

    Both are pooled: the best of several equal levels is above them all by luck, and a single level proves less. The
    more levels there are to choose a fall from, the more it has to be (Bonferroni).
    """
    first, second = (
        _mean((step.throughput, step.ended / max(step.throughput, 1e-9)) for step in each) for each in (before, after)
    )
    counts = [max(1.0, sum(step.ended for step in each)) for each in (before, after)]
    noise = math.sqrt(1.0 / counts[0] + 1.0 / counts[1] + 2.0 * _WOBBLE**2)
    sure = NormalDist().inv_cdf(1.0 - 0.05 / (len(before) + len(after)))
    return first > 0.0 and -math.log(max(1e-9, second / first)) > max(_FALL, sure * noise)


def _failing(steps: Sequence[Step], unit: str) -> Finding | None:
    """The first load at which errors are above the limit by more than chance."""
    for place, step in enumerate(steps):
        if not more_than(step.failed, step.requests, ERROR_LIMIT):
            continue
        said = f"errors {words.share(step.errors)} at {words.with_unit(step.load, unit)} ({_kinds(step)})"
        if place == 0:
            why = f"{said}, the lowest level: it fails before load has anything to do with it"
            return Finding(True, why, None, None, step.load, None, step.load)
        before = steps[place - 1]
        known = 0.0 if math.isnan(before.errors) else before.errors
        part = (ERROR_LIMIT - known) / (step.errors - known) if step.errors > known else 0.5
        point = before.load + min(1.0, max(0.0, part)) * (step.load - before.load)
        return Finding(True, said, point, before.load, step.load, before.load, step.load)
    return None


def _few(step: Step) -> str:
    return f"only {step.many}" if step.counted else step.many


def _failed_of(step: Step) -> str:
    return f"{step.failed} of {step.requests} requests" if step.counted else "so few"


def _kinds(step: Step) -> str:
    if not step.counted:
        return "of which kind is not told"
    kinds = step.kinds()
    if not kinds:
        return f"{step.failed} of {step.requests}"
    return words.series([f"{count} × {ERROR_KINDS.get(kind, kind)}" for kind, count in list(kinds.items())[:2]])


def more_than(count: int, trials: int, limit: float) -> bool:
    """Whether `count` of `trials` proves a share above `limit`, one-sided at 95 % (exact binomial, or its normal
    approximation where there are many).
    """
    if not trials or count / trials <= limit:
        return False
    expected = trials * limit
    if expected > 500:
        return count - expected > _Z95 * math.sqrt(expected * (1.0 - limit))
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
    return 1.0 - below < 0.05


def wilson(count: int, trials: int) -> tuple[float, float]:
    """A 95 % interval for a share."""
    if not trials:
        return math.nan, math.nan
    z = 1.96
    share = count / trials
    middle = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return (middle - spread) / scale, (middle + spread) / scale


# -- cliffs


def _cliffs(steps: Sequence[Step], unit: str) -> Iterable[Cliff]:
    queued = False
    for before, after in pairwise(steps):
        latency = _latency_jump(before, after)
        goes_on = queued and unit == USERS and _queue_goes_on(before, after)
        queued = latency is not None
        found = [None if goes_on else latency, _error_jump(before, after)]
        jumps = [jump for jump in found if jump is not None]
        if jumps:
            what = words.series([what for what, _ in jumps])
            why = "; ".join(why for _, why in jumps)
            growth = f"for {words.digits(after.load / before.load)} × the {_load_word(unit)}"
            yield Cliff((before.load, after.load), f"{what} {growth}", why)


def _queue_goes_on(before: Step, after: Step) -> bool:
    """Whether a queue that was there before explains the growth: each further user waits 1/X more (2/X at the p95)."""
    metric = "ttft" if math.isfinite(after.figure("ttft", "p95")) else "e2e"
    grown = after.figure(metric, "p95") - before.figure(metric, "p95")
    return after.throughput > 0.0 and grown <= 2.0 * (after.load - before.load) / after.throughput


def _latency_jump(before: Step, after: Step) -> tuple[str, str] | None:
    for metric in ("ttft", "e2e"):
        first, second = before.figure(metric, "p95"), after.figure(metric, "p95")
        if not (math.isfinite(first) and math.isfinite(second)) or first <= 0.0:
            continue
        beyond = second > first * _CLIFF * after.load / before.load and second - first > _CLIFF_FLOOR
        if beyond and _apart(before, after, metric, "p95"):
            return f"p95 {_NAMES[metric]} {words.change(first, second)}", _where_it_waits(before, after, metric)
    return None


def _where_it_waits(before: Step, after: Step, metric: str) -> str:
    if metric != "ttft":
        return "each request takes longer; whether it waits or is slower cannot be told without TTFT"
    first = after.figure("ttft", "mean") - before.figure("ttft", "mean")
    whole = after.figure("e2e", "mean") - before.figure("e2e", "mean")
    if math.isnan(first) or math.isnan(whole) or whole <= 0.0:
        return "requests wait before their first token"
    part = min(1.0, max(0.0, first / whole))
    if part > 0.4:
        return f"requests queue: {words.share(part)} of the added time is before the first token"
    return f"answers get slower: only {words.share(part)} of the added time is before the first token"


def _error_jump(before: Step, after: Step) -> tuple[str, str] | None:
    if not before.requests or not after.requests:
        return None
    _, high = wilson(before.failed, before.requests)
    low, _ = wilson(after.failed, after.requests)
    grown = after.errors - before.errors
    if low <= high or grown < ERROR_LIMIT or after.errors <= before.errors * _CLIFF * after.load / before.load:
        return None
    return f"errors {words.share(before.errors)} → {words.share(after.errors)}", _kinds(after)
