"""The SLO limit: the highest load that meets every threshold. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from llmlocust.analysis.breakpoints.long_run import WAITS, LongRun
from llmlocust.analysis.breakpoints.steps import (
    ERROR_LIMIT,
    MIN_SHORTFALL,
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
from llmlocust.metrics.telemetry import in_words
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import QUANTILES
from llmlocust.text import figures as words
from llmlocust.text.message import Message, clauses, message

DERIVED_FACTOR = 3.0
"""Derived thresholds are this multiple of the lowest level's p95, and at least `Metric.derived_floor`."""
_DERIVED_FLOORS = {key: metric.derived_floor for key, metric in METRICS.items() if metric.derived_floor is not None}


def derive(steps: Sequence[Step]) -> tuple[Threshold, ...]:
    """Derive thresholds from the lowest level if none are given: three times its p95, and errors under 1 %."""
    errors = Threshold("errors", "", "<", ERROR_LIMIT * 100.0, "%")
    for metric, floor in _DERIVED_FLOORS.items():
        known = [p95 for p95 in (step.figure(metric, "p95") for step in steps) if math.isfinite(p95)]
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
    """Find the SLO limit of steps, lowest load first.

    `goodput` is that of each level, by its index. `derived`: the thresholds were derived, not given. `lost` is the load
    at which the server became unreachable, with a description. `empty` are the levels whose answers had no tokens.
    """
    texts = words.series([str(threshold) for threshold in thresholds])
    source = message("thresholds derived from the lowest level: {thresholds}", thresholds=texts) if derived else None
    growing = backlogs(steps) if unit == RATE else {}
    judge = Judge(steps, thresholds, goodput, growing, LongRun(steps, _answered(steps, growing, unit)))
    judged = [
        (step, passes) for step in steps if (passes := judge.passes(step, known=not step.among(empty))) is not None
    ]
    if not judged and all(step.among(empty) for step in steps) and steps:
        return Finding(Status.UNKNOWN, message("cannot be determined: no token of the answers was seen"))
    if not judged:
        why = message("cannot be determined: no level has figures for {thresholds}", thresholds=texts)
        return Finding(Status.UNKNOWN, _Notes(source).added_to(why))
    bad = _first_bad(judged, judge)
    without = (step.load for step in steps if step.among(empty))
    notes = _Notes(
        source,
        before=[
            *_ignored(judged[:bad], unit),
            *_differences(judged[: None if bad is None else bad + 1], judge, unit),
        ],
        after=[
            *_not_known(thresholds, steps, goodput),
            *left_out(without, unit, message("their answers were empty")),
        ],
    )
    if bad is None:
        known = [str(threshold) for threshold in thresholds if _known_at(threshold, judged[-1][0], goodput)]
        top = words.with_unit(judged[-1][0].load, unit)
        if derived and len(steps) == 1:
            why = message(
                "cannot be determined from one level ({load}) without given thresholds: a level always meets those derived from it",
                load=top,
            )
            return Finding(Status.UNKNOWN, why)
        notes = replace(notes, source=message("thresholds derived from the lowest level") if derived else None)
        why = message("not reached up to {top}: {thresholds} met", top=top, thresholds=words.series(known or [texts]))
        return Finding(Status.NOT_REACHED, notes.added_to(why))
    notes = replace(notes, before=[*_passed_again(judged, bad, unit), *notes.before])
    if lost is not None and judged[bad][0].load == lost[0]:
        return _limit_by_lost_server([step for step, _ in judged[:bad]], judged[bad][0], lost[1], unit, notes)
    return _limit_at([step for step, _ in judged], bad, judge, unit, notes)


@dataclass(frozen=True)
class _Notes:
    """Clauses that accompany a limit."""

    source: Message | None
    """The origin of the thresholds, in brackets; None if they were given."""
    before: Sequence[Message] = ()
    """Clauses before the source."""
    after: Sequence[Message] = ()
    """Clauses after the source."""

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
        why: str = message("the lowest level, {load}, already fails: {broken}", load=lowest, broken=broken)
        return Finding(Status.REACHED, notes.added_to(why), None, None, high, None, step.load, broken)
    why = message(
        "passes at {good}, fails at {bad}: {broken}",
        good=words.load(good.load),
        bad=words.with_unit(step.load, unit),
        broken=broken,
    )
    if not judge.fails_certainly(step):
        why = clauses([why, _uncertain(step)])
    crossing = judge.crossing(good, step)
    return Finding(Status.REACHED, notes.added_to(why), crossing, low, high, good.load, step.load, broken)


def _uncertain(step: Step) -> Message:
    if step.counted:
        return message("only {requests}, so this is not certain", requests=step.request_count)
    return message("{requests}, so this is not certain", requests=step.request_count)


def _ignored(judged: Sequence[tuple[Step, bool]], unit: str) -> list[Message]:
    return [
        message(
            "{load} failed by no more than noise ({requests}) and the next level passed, so it is ignored",
            load=words.with_unit(step.load, unit),
            requests=step.request_count,
        )
        for step, passes in judged
        if not passes
    ]


def _first_bad(judged: Sequence[tuple[Step, bool]], judge: Judge) -> int | None:
    """The index of the first level that fails. A failure that may be noise is ignored if the next level passes."""
    for place, (step, passes) in enumerate(judged):
        next_passes = place + 1 < len(judged) and judged[place + 1][1]
        if not passes and not (next_passes and not judge.fails_certainly(step)):
            return place
    return None


def _differences(judged: Sequence[tuple[Step, bool]], judge: Judge, unit: str) -> list[Message]:
    figures = [(words.with_unit(step.load, unit), judge.differences(step)) for step, _ in judged]
    return [message("measured at {load}: {figures}", load=load, figures=text) for load, text in figures if text]


def _passed_again(judged: Sequence[tuple[Step, bool]], bad: int, unit: str) -> list[Message]:
    after = [words.load(step.load) for step, passes in judged[bad + 1 :] if passes]
    if not after:
        return []
    again = words.with_unit(judged[bad][0].load, unit)
    return [message("but {loads} passed again, so measure {load} again", loads=words.series(after), load=again)]


@dataclass(frozen=True)
class Judge:
    """Judges levels by thresholds, with the certainty of each judgement."""

    steps: Sequence[Step]
    thresholds: Sequence[Threshold]
    goodput: Mapping[int, float]
    backlogs: Mapping[float, Message]
    """Loads at which a backlog grows without end, each with a description."""
    long_run: LongRun | None = None
    """None: judge the measured figures, not estimates for a long run."""

    def passes(self, step: Step, *, known: bool = True) -> bool | None:
        """Whether a level meets every threshold; None if not known. Thresholds that no level has figures for are ignored."""
        if any(self.fails(threshold, step) for threshold in self.thresholds):
            return False
        judged = [t for t in self.thresholds if any(_known_at(t, other, self.goodput) for other in self.steps)]
        return True if known and judged and all(_known_at(t, step, self.goodput) for t in judged) else None

    def fails(self, threshold: Threshold, step: Step) -> bool:
        """Whether a threshold is not met, even if only by noise."""
        known = _known_at(threshold, step, self.goodput)
        return self.grows(threshold, step) or (known and not threshold.met_by(self._long_run_value(threshold, step)))

    def grows(self, threshold: Threshold, step: Step) -> bool:
        """Whether a growing backlog makes the threshold fail sooner or later."""
        return step.load in self.backlogs and threshold.metric in WAITS

    def value(self, threshold: Threshold, step: Step) -> float:
        """The measured value, the worst of levels of the same load; NaN if not known."""
        return _worst(threshold, step, self.goodput)

    def fails_certainly(self, step: Step) -> bool:
        """Whether some threshold is violated by more than noise."""
        return self._has_backlog(step) or any(self.certainty(threshold, step)[1] for threshold in self.thresholds)

    def interval(self, steps: Sequence[Step]) -> tuple[float | None, float | None]:
        """The 95 % interval: from the last load up to which all levels certainly pass, to the first that certainly fails.
        None means no bound.
        """
        uncertain = (n for n, s in enumerate(steps) if self._has_backlog(s) or not self._passes_certainly(s))
        first = next(uncertain, len(steps))
        low = steps[first - 1].load if first else None
        return low, next((step.load for step in steps[first:] if self.fails_certainly(step)), None)

    def broken(self, good: Step | None, bad: Step) -> str:
        """Name the thresholds that a level violates, with their figures."""
        violations = [_violation(t, good, bad, self.goodput) for t in self._failing(bad)]
        return words.series(violations + ([self.backlogs[bad.load]] if self._has_backlog(bad) else []))

    def differences(self, step: Step) -> str:
        """Describe the thresholds for which a long run would give another result than the measured figures, with the reason."""
        known = [t for t in self.thresholds if t.is_duration and _known_at(t, step, self.goodput)]
        figures = [(t, _worst(t, step, self.goodput), self._long_run_value(t, step)) for t in known]
        return words.series(
            [
                self._difference(threshold, step, measured, expected)
                for threshold, measured, expected in figures
                if threshold.met_by(measured) is not threshold.met_by(expected)
            ]
        )

    def _difference(self, threshold: Threshold, step: Step, measured: float, expected: float) -> Message:
        name = name_of(threshold.metric, threshold.statistic)
        why = self.long_run.reason(step, threshold.metric, threshold.statistic) if self.long_run else ""
        return message(
            "{metric} {measured} (about {lasting} in a long run, {reason})",
            metric=name,
            measured=words.duration(measured),
            lasting=words.duration(expected),
            reason=why,
        )

    def crossing(self, good: Step, bad: Step) -> float:
        """The load between two levels at which the first threshold is violated."""
        return min((self._crossing(t, good, bad) for t in self._failing(bad)), default=good.load)

    def _crossing(self, threshold: Threshold, good: Step, bad: Step) -> float:
        """The load at which the straight line between two levels meets the threshold; half-way if one end is not known."""
        before, after = self._long_run_value(threshold, good), self._long_run_value(threshold, bad)
        position = 0.5
        if math.isfinite(before) and math.isfinite(after) and before != after:
            position = min(1.0, max(0.0, (threshold.bound - before) / (after - before)))
        return good.load + position * (bad.load - good.load)

    def _long_run_value(self, threshold: Threshold, step: Step) -> float:
        """The value that a long run would show; without `long_run`, the measured value."""
        value = _worst(threshold, step, self.goodput)
        if self.long_run is None or not threshold.is_duration:
            return value
        return value * self.long_run.factor(step, threshold.metric, threshold.statistic)

    def _failing(self, step: Step) -> list[Threshold]:
        known = [threshold for threshold in self.thresholds if _known_at(threshold, step, self.goodput)]
        return [threshold for threshold in known if not threshold.met_by(self._long_run_value(threshold, step))]

    def _has_backlog(self, step: Step) -> bool:
        return any(self.grows(threshold, step) for threshold in self.thresholds)

    def _passes_certainly(self, step: Step) -> bool:
        return all(self.certainty(threshold, step)[0] for threshold in self.thresholds)

    def certainty(self, threshold: Threshold, step: Step) -> tuple[bool, bool]:
        """Whether a threshold is met at both ends of the 95 % interval of its value, and whether it is violated at both."""
        if not _known_at(threshold, step, self.goodput):
            return False, False
        ends = [threshold.met_by(end) for end in self.likely(threshold, step)]
        return all(ends), not any(ends)

    def likely(self, threshold: Threshold, step: Step) -> tuple[float, float]:
        """The 95 % interval of the value that a long run at the same load would show. It contains `_long_run_value`."""
        value = self._long_run_value(threshold, step)
        if threshold.metric == "errors":
            return self._share_range(threshold, step)
        if not threshold.is_duration:
            noise = math.exp(1.96 * math.hypot(1.0 / math.sqrt(max(1.0, step.ended)), WOBBLE))
            return value / noise, value * noise
        noise = math.exp(1.96 * spread(self.steps, self.steps.index(step), threshold.metric, threshold.statistic))
        low, high = value / noise, value * noise
        if step.failed and threshold.statistic in QUANTILES and threshold.metric in WAITS:
            # failed requests are infinitely slow, and their number is uncertain too
            low_share, high_share = share_range(self.steps, self.steps.index(step))
            allowed = 1.0 - QUANTILES[threshold.statistic]
            of_successes = step.figure(threshold.metric, threshold.statistic) / noise
            low = min(low, of_successes) if low_share <= allowed else low
            high = math.inf if high_share > allowed else high
        return low, high

    def _share_range(self, threshold: Threshold, step: Step) -> tuple[float, float]:
        """The interval of the share of errors. Among levels of the same load, the one with the most errors counts."""
        place, worst = self.steps.index(step), _worst(threshold, step, self.goodput)
        level = next(level for level in step.levels if level.errors == worst)
        return share_range([*self.steps[:place], Step(step.load, (level,)), *self.steps[place + 1 :]], place)


def backlogs(steps: Sequence[Step]) -> dict[float, Message]:
    """Rates at which more requests arrive than are answered, each with a description. Latencies at these rates grow with the
    length of the test.
    """
    growing = [_backlog(step) for step in steps]
    # if too many requests arrive at one rate, they do at every higher one, unless the server rejects them
    first = next(
        (n for n, size in enumerate(growing) if MIN_SHORTFALL < size < math.inf and min(growing[n:]) > 1.0), None
    )
    if first is None:
        return {}
    grows = [step for step, size in zip(steps[first:], growing[first:], strict=True) if MIN_SHORTFALL < size < math.inf]
    served = mean_of((step.throughput, 1.0) for step in grows)
    growth = message("{rate}/s are answered, so the backlog grows as long as the test lasts", rate=words.digits(served))
    return {
        step.load: growth
        for place, step in enumerate(steps)
        if growing[place] < math.inf and (place >= first or step.offered > served)
    }


def _backlog(step: Step) -> float:
    """`shortfall`; infinite if requests fail: those that are rejected or time out leave no visible backlog."""
    return math.inf if step.errors > ERROR_LIMIT else shortfall(step)


def _answered(steps: Sequence[Step], growing: Collection[float], unit: str) -> float:
    """The maximum of answered requests per second, if more were sent at some rate; infinite otherwise."""
    full = unit == RATE and any(step.load in growing or step.errors > ERROR_LIMIT for step in steps)
    return max(step.throughput for step in steps) if full else math.inf


def _limit_by_lost_server(before: Sequence[Step], step: Step, loss: Message, unit: str, notes: _Notes) -> Finding:
    """The limit at the level before the server became unreachable. That level fails, but does not show where the limit lies."""
    if not before:
        why = notes.added_to(message("{loss}, the lowest level", loss=loss))
        return Finding(Status.REACHED, why, None, None, step.load, None, step.load, loss)
    good = before[-1].load
    cause = message("the server was unreachable ({loss})", loss=loss)
    why = message(
        "passes at {load}; then the server was unreachable: {loss}", load=words.with_unit(good, unit), loss=loss
    )
    return Finding(Status.REACHED, notes.added_to(why), good, good, step.load, good, step.load, cause)


def _known_at(threshold: Threshold, step: Step, goodput: Mapping[int, float]) -> bool:
    return bool(_values(threshold, step, goodput))


def _not_known(thresholds: Sequence[Threshold], steps: Sequence[Step], goodput: Mapping[int, float]) -> list[Message]:
    """Name the thresholds that could not be judged, with the loads: a reader must not take them for met."""
    notes = []
    for threshold in thresholds:
        missing = [words.load(step.load) for step in steps if not _known_at(threshold, step, goodput)]
        if missing:
            where = message("any level") if len(missing) == len(steps) else words.series(missing)
            notes.append(message("{threshold} is not known at {loads}", threshold=threshold, loads=where))
    return notes


def _values(threshold: Threshold, step: Step, goodput: Mapping[int, float]) -> list[float]:
    values = [threshold.measured(level, goodput.get(level.level)) for level in step.levels]
    return [value for value in values if not math.isnan(value)]


def _worst(threshold: Threshold, step: Step, goodput: Mapping[int, float]) -> float:
    values = _values(threshold, step, goodput)
    if not values:
        return math.nan
    return max(values) if threshold.is_ceiling else min(values)


def _violation(threshold: Threshold, good: Step | None, bad: Step, goodput: Mapping[int, float]) -> Message:
    name = name_of(threshold.metric, threshold.statistic)
    before = math.nan if good is None else _worst(threshold, good, goodput)
    after = _worst(threshold, bad, goodput)
    if math.isinf(after):
        # failed requests violated it; if successful ones violate it too, their figure says more
        after = bad.figure(threshold.metric, threshold.statistic)
        if math.isnan(after) or threshold.met_by(after):
            return message("{metric}: too many failed ({share})", metric=name, share=words.share(bad.errors))
    is_share = threshold.unit == "%" or threshold.metric == "errors"
    text = words.share if is_share else partial(in_words, threshold.metric)
    if threshold.is_duration:
        value = words.duration(after) if math.isnan(before) else words.change(before, after)
    elif math.isnan(before):
        value = text(after)
    else:
        value = message("{before} → {after}", before=text(before), after=text(after))
    return message("{metric} {value}", metric=name, value=value)
