"""The SLO limit: the highest load at which every threshold holds. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from llmlocust.analysis.breakpoints.long_run import WAITS, LongRun
from llmlocust.analysis.breakpoints.steps import (
    ERROR_LIMIT,
    SURELY_SHORT,
    WOBBLE,
    Finding,
    Status,
    Step,
    left_out,
    mean_of,
    name_of,
    share_range,
    shortfall,
    spread,
)
from llmlocust.metrics.levels import RATE
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import QUANTILES
from llmlocust.text import figures as words
from llmlocust.text.message import Message, clauses, message

DERIVED_FACTOR = 3.0
"""Derived limits: so many times the lowest level's p95, but never below what nobody feels."""
_DERIVED_FLOORS = {key: metric.derived_floor for key, metric in METRICS.items() if metric.derived_floor is not None}


def derive(steps: Sequence[Step]) -> tuple[Threshold, ...]:
    """Limits from the lowest level, where nobody gave any: three times its p95, and errors under 1 %."""
    errors = Threshold("errors", "", "<", ERROR_LIMIT * 100.0, "%")
    for metric, floor in _DERIVED_FLOORS.items():
        known = [each for each in (step.figure(metric, "p95") for step in steps) if math.isfinite(each)]
        if known:
            seconds = max(DERIVED_FACTOR * known[0], floor)
            return Threshold(metric, "p95", "<", _two_digits(seconds * 1000.0), "ms"), errors
    return (errors,)


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


def find_slo_limit(
    steps: Sequence[Step],
    thresholds: Sequence[Threshold],
    goodput: Mapping[int, float],
    unit: str,
    *,
    derived: bool,
    lost: tuple[float, Message] | None = None,
    empty: Collection[int] = (),
) -> Finding:
    asked = words.series([str(each) for each in thresholds])
    source = message("limits derived from the lowest level: {limits}", limits=asked) if derived else None
    growing = backlogs(steps) if unit == RATE else {}
    judge = Judge(steps, thresholds, goodput, growing, LongRun(steps, _answered(steps, growing, unit)))
    judged = [(step, holds) for step in steps if (holds := judge.holds(step, known=not step.among(empty))) is not None]
    if not judged and all(step.among(empty) for step in steps) and steps:
        return Finding(Status.UNKNOWN, message("cannot be told: no token of the answers was seen"))
    if not judged:
        why = message("cannot be told: no level has figures for {limits}", limits=asked)
        return Finding(Status.UNKNOWN, _Notes(source).added_to(why))
    bad = _first_bad(judged, judge)
    without = (step.load for step in steps if step.among(empty))
    notes = _Notes(
        source,
        before=[
            *_passed_over(judged[:bad], unit),
            *_otherwise(judged[: None if bad is None else bad + 1], judge, unit),
        ],
        after=[
            *_not_known(thresholds, steps, goodput),
            *left_out(without, unit, message("their answers were empty")),
        ],
    )
    if bad is None:
        told = words.series([str(each) for each in thresholds if _known_at(each, judged[-1][0], goodput)] or [asked])
        top = words.with_unit(judged[-1][0].load, unit)
        if derived and len(steps) == 1:
            why = message("cannot be told from one level ({load}) without limits: any level keeps its own", load=top)
            return Finding(Status.UNKNOWN, why)
        notes = replace(notes, source=message("limits derived from the lowest level") if derived else None)
        why = message("not reached up to {top}: {limits} held", top=top, limits=told)
        return Finding(Status.NOT_REACHED, notes.added_to(why))
    notes = replace(notes, before=[*_held_again(judged, bad, unit), *notes.before])
    if lost is not None and judged[bad][0].load == lost[0]:
        return _limit_by_loss([each for each, _ in judged[:bad]], judged[bad][0], lost[1], unit, notes)
    return _limit_at([each for each, _ in judged], bad, judge, unit, notes)


@dataclass(frozen=True)
class _Notes:
    """What is said of a limit beside where it lies."""

    source: Message | None
    """Where the limits come from, if nobody gave them; in brackets."""
    before: Sequence[Message] = ()
    after: Sequence[Message] = ()
    """Clauses before the source, and after it."""

    def added_to(self, why: str) -> str:
        why = clauses([why, *self.before])
        if self.source is not None:
            why = message("{finding} ({source})", finding=why, source=self.source)
        return clauses([why, *self.after])


def _limit_at(steps: Sequence[Step], bad: int, judge: Judge, unit: str, notes: _Notes) -> Finding:
    step, good = steps[bad], steps[bad - 1] if bad else None
    low, high = judge.interval(steps)
    broken = judge.broken(good, step)
    if good is None:
        lowest = words.with_unit(step.load, unit)
        why: str = message("already the lowest level, {load}, does not hold: {broken}", load=lowest, broken=broken)
        return Finding(Status.REACHED, notes.added_to(why), None, None, high, None, step.load, broken)
    why = message(
        "holds at {good}, fails at {bad}: {broken}",
        good=words.load(good.load),
        bad=words.with_unit(step.load, unit),
        broken=broken,
    )
    if not judge.fails_surely(step):
        why = clauses([why, _uncertain(step)])
    crossing = judge.crossing(good, step)
    return Finding(Status.REACHED, notes.added_to(why), crossing, low, high, good.load, step.load, broken)


def _uncertain(step: Step) -> Message:
    if step.counted:
        return message("only {requests}, so this is not certain", requests=step.many)
    return message("{requests}, so this is not certain", requests=step.many)


def _passed_over(judged: Sequence[tuple[Step, bool]], unit: str) -> list[Message]:
    return [
        message(
            "{load} failed by no more than noise ({requests}) and the next level held, so it is passed over",
            load=words.with_unit(step.load, unit),
            requests=step.many,
        )
        for step, holds in judged
        if not holds
    ]


def _first_bad(judged: Sequence[tuple[Step, bool]], judge: Judge) -> int | None:
    """The first level that fails, unless that may be noise and the next one holds."""
    for place, (step, holds) in enumerate(judged):
        next_holds = place + 1 < len(judged) and judged[place + 1][1]
        if not holds and not (next_holds and not judge.fails_surely(step)):
            return place
    return None


def _otherwise(judged: Sequence[tuple[Step, bool]], judge: Judge, unit: str) -> list[Message]:
    told = [(words.with_unit(step.load, unit), judge.otherwise(step)) for step, _ in judged]
    return [message("measured at {load}: {figures}", load=load, figures=said) for load, said in told if said]


def _held_again(judged: Sequence[tuple[Step, bool]], bad: int, unit: str) -> list[Message]:
    after = [words.load(step.load) for step, holds in judged[bad + 1 :] if holds]
    if not after:
        return []
    again = words.with_unit(judged[bad][0].load, unit)
    return [message("yet {loads} held again, so measure {load} once more", loads=words.series(after), load=again)]


@dataclass(frozen=True)
class Judge:
    """Holds levels against thresholds, and knows how surely."""

    steps: Sequence[Step]
    thresholds: Sequence[Threshold]
    goodput: Mapping[int, float]
    backlogs: Mapping[float, Message]
    """Loads at which a backlog grows without end, with how that shows."""
    long_run: LongRun | None = None
    """None judges what was measured, and no more."""

    def holds(self, step: Step, *, known: bool = True) -> bool | None:
        """Whether every threshold holds; None where that is not known. What no level tells is not asked for."""
        if any(self.fails(each, step) for each in self.thresholds):
            return False
        told = [t for t in self.thresholds if any(_known_at(t, each, self.goodput) for each in self.steps)]
        return True if known and told and all(_known_at(t, step, self.goodput) for t in told) else None

    def fails(self, threshold: Threshold, step: Step) -> bool:
        """Whether a threshold does not hold, be it by no more than noise."""
        known = _known_at(threshold, step, self.goodput)
        return self.grows(threshold, step) or (known and not threshold.met_by(self._lasting(threshold, step)))

    def grows(self, threshold: Threshold, step: Step) -> bool:
        """Whether a backlog grows, so that a wait would not keep its limit for long."""
        return step.load in self.backlogs and threshold.metric in WAITS

    def value(self, threshold: Threshold, step: Step) -> float:
        """What was measured, the worst of levels of the same load; NaN where it is not known."""
        return _worst(threshold, step, self.goodput)

    def fails_surely(self, step: Step) -> bool:
        """Whether some threshold is broken by more than noise."""
        return self._breaks(step) or any(self.surely(each, step)[1] for each in self.thresholds)

    def interval(self, steps: Sequence[Step]) -> tuple[float | None, float | None]:
        """95 %: from the last load up to which all hold surely, to the first that fails surely. None is no bound."""
        doubtful = (n for n, s in enumerate(steps) if self._breaks(s) or not self._all_hold_surely(s))
        first = next(doubtful, len(steps))
        low = steps[first - 1].load if first else None
        return low, next((step.load for step in steps[first:] if self.fails_surely(step)), None)

    def broken(self, good: Step | None, bad: Step) -> str:
        """What breaks at a level, in words."""
        said = [_broken(t, good, bad, self.goodput) for t in self._failing(bad)]
        return words.series(said + ([self.backlogs[bad.load]] if self._breaks(bad) else []))

    def otherwise(self, step: Step) -> str:
        """Which thresholds a long run would hold, or break, though what was measured does not, and why; in words."""
        known = [t for t in self.thresholds if t.is_duration and _known_at(t, step, self.goodput)]
        figures = [(t, _worst(t, step, self.goodput), self._lasting(t, step)) for t in known]
        differ = [each for each in figures if each[0].met_by(each[1]) is not each[0].met_by(each[2])]
        return words.series([self._told(t, step, measured, lasting) for t, measured, lasting in differ])

    def _told(self, threshold: Threshold, step: Step, measured: float, lasting: float) -> Message:
        name = name_of(threshold.metric, threshold.statistic)
        why = self.long_run.because(step, threshold.metric, threshold.statistic) if self.long_run else ""
        return message(
            "{metric} {measured} (about {lasting} in a long run, {reason})",
            metric=name,
            measured=words.duration(measured),
            lasting=words.duration(lasting),
            reason=why,
        )

    def crossing(self, good: Step, bad: Step) -> float:
        """The load between two levels at which the first threshold breaks."""
        return min((self._crossing(t, good, bad) for t in self._failing(bad)), default=good.load)

    def _crossing(self, threshold: Threshold, good: Step, bad: Step) -> float:
        """Where the straight line between two levels meets the limit; half-way where one end is not known."""
        before, after = self._lasting(threshold, good), self._lasting(threshold, bad)
        part = 0.5
        if math.isfinite(before) and math.isfinite(after) and before != after:
            part = min(1.0, max(0.0, (threshold.bound - before) / (after - before)))
        return good.load + part * (bad.load - good.load)

    def _lasting(self, threshold: Threshold, step: Step) -> float:
        """What a long run would show of a threshold, where that is asked; else what was measured."""
        value = _worst(threshold, step, self.goodput)
        if self.long_run is None or not threshold.is_duration:
            return value
        return value * self.long_run.factor(step, threshold.metric, threshold.statistic)

    def _failing(self, step: Step) -> list[Threshold]:
        known = [each for each in self.thresholds if _known_at(each, step, self.goodput)]
        return [each for each in known if not each.met_by(self._lasting(each, step))]

    def _breaks(self, step: Step) -> bool:
        return any(self.grows(each, step) for each in self.thresholds)

    def _all_hold_surely(self, step: Step) -> bool:
        return all(self.surely(each, step)[0] for each in self.thresholds)

    def surely(self, threshold: Threshold, step: Step) -> tuple[bool, bool]:
        """Whether a threshold holds, or fails, at both ends of the 95 % interval of what was measured."""
        if not _known_at(threshold, step, self.goodput):
            return False, False
        ends = [threshold.met_by(each) for each in self.likely(threshold, step)]
        return all(ends), not any(ends)

    def likely(self, threshold: Threshold, step: Step) -> tuple[float, float]:
        """What a long run at the same load would show of a threshold, with 95 %. The interval contains `_lasting`."""
        value = self._lasting(threshold, step)
        if threshold.metric == "errors":
            return self._share_range(threshold, step)
        if not threshold.is_duration:
            noise = math.exp(1.96 * math.hypot(1.0 / math.sqrt(max(1.0, step.ended)), WOBBLE))
            return value / noise, value * noise
        noise = math.exp(1.96 * spread(self.steps, self.steps.index(step), threshold.metric, threshold.statistic))
        least, most = value / noise, value * noise
        if step.failed and threshold.statistic in QUANTILES and threshold.metric in WAITS:
            # failed requests are infinitely slow: how many there will be is not certain either
            few, many = share_range(self.steps, self.steps.index(step))
            spared = 1.0 - QUANTILES[threshold.statistic]
            of_successes = step.figure(threshold.metric, threshold.statistic) / noise
            least = min(least, of_successes) if few <= spared else least
            most = math.inf if many > spared else most
        return least, most

    def _share_range(self, threshold: Threshold, step: Step) -> tuple[float, float]:
        """Return the interval of the share of errors. Of several levels of the same load, the one with the most errors counts."""
        place, worst = self.steps.index(step), _worst(threshold, step, self.goodput)
        level = next(each for each in step.levels if each.errors == worst)
        return share_range([*self.steps[:place], Step(step.load, (level,)), *self.steps[place + 1 :]], place)


def backlogs(steps: Sequence[Step]) -> dict[float, Message]:
    """Rates at which more requests come than are answered, so that none of their latencies would last."""
    growing = [_backlog(step) for step in steps]
    # once too many come, they do at every higher rate, unless they are turned away
    first = next(
        (n for n, each in enumerate(growing) if SURELY_SHORT < each < math.inf and min(growing[n:]) > 1.0), None
    )
    if first is None:
        return {}
    grows = [step for step, each in zip(steps[first:], growing[first:], strict=True) if SURELY_SHORT < each < math.inf]
    served = mean_of((step.throughput, 1.0) for step in grows)
    said = message("{rate}/s are answered, so the backlog grows as long as the test lasts", rate=words.digits(served))
    return {
        step.load: said
        for place, step in enumerate(steps)
        if growing[place] < math.inf and (place >= first or step.offered > served)
    }


def _backlog(step: Step) -> float:
    """`shortfall`; infinite where requests fail: who is turned away, or gives up, leaves no backlog to be seen."""
    return math.inf if step.errors > ERROR_LIMIT else shortfall(step)


def _answered(steps: Sequence[Step], growing: Collection[float], unit: str) -> float:
    """The most requests a second that were answered, where more were sent than that; infinite where they never were."""
    full = unit == RATE and any(step.load in growing or step.errors > ERROR_LIMIT for step in steps)
    return max(step.throughput for step in steps) if full else math.inf


def _limit_by_loss(before: Sequence[Step], step: Step, said: Message, unit: str, notes: _Notes) -> Finding:
    """The level at which the server went away is not safe, and says nothing of where the limit lies."""
    if not before:
        why = notes.added_to(message("{loss}, the lowest level", loss=said))
        return Finding(Status.REACHED, why, None, None, step.load, None, step.load, said)
    good = before[-1].load
    cause = message("the server was gone ({loss})", loss=said)
    why = message("holds at {load}; then the server was gone: {loss}", load=words.with_unit(good, unit), loss=said)
    return Finding(Status.REACHED, notes.added_to(why), good, good, step.load, good, step.load, cause)


def _known_at(threshold: Threshold, step: Step, goodput: Mapping[int, float]) -> bool:
    return bool(_values(threshold, step, goodput))


def _not_known(thresholds: Sequence[Threshold], steps: Sequence[Step], goodput: Mapping[int, float]) -> list[Message]:
    """Which thresholds could not be judged, and where: nobody shall take them for kept."""
    said = []
    for threshold in thresholds:
        missing = [words.load(step.load) for step in steps if not _known_at(threshold, step, goodput)]
        if missing:
            where = message("any level") if len(missing) == len(steps) else words.series(missing)
            said.append(message("{limit} is not known at {loads}", limit=threshold, loads=where))
    return said


def _values(threshold: Threshold, step: Step, goodput: Mapping[int, float]) -> list[float]:
    values = [threshold.measured(each, goodput.get(each.level)) for each in step.levels]
    return [each for each in values if not math.isnan(each)]


def _worst(threshold: Threshold, step: Step, goodput: Mapping[int, float]) -> float:
    values = _values(threshold, step, goodput)
    if not values:
        return math.nan
    return max(values) if threshold.is_ceiling else min(values)


def _broken(threshold: Threshold, good: Step | None, bad: Step, goodput: Mapping[int, float]) -> Message:
    name = name_of(threshold.metric, threshold.statistic)
    before = math.nan if good is None else _worst(threshold, good, goodput)
    after = _worst(threshold, bad, goodput)
    if math.isinf(after):
        # failed requests broke it; where those that succeeded break it too, their figure says more
        after = bad.figure(threshold.metric, threshold.statistic)
        if math.isnan(after) or threshold.met_by(after):
            return message("{metric}: too many failed ({share})", metric=name, share=words.share(bad.errors))
    text = words.share if threshold.unit == "%" or threshold.metric == "errors" else words.digits
    if threshold.is_duration:
        value = words.duration(after) if math.isnan(before) else words.change(before, after)
    elif math.isnan(before):
        value = text(after)
    else:
        value = message("{before} → {after}", before=text(before), after=text(after))
    return message("{metric} {value}", metric=name, value=value)
