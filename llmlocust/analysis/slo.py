"""The SLO limit: the highest load at which every threshold holds. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from llmlocust.analysis import words
from llmlocust.analysis.steps import ERROR_LIMIT, Finding, Step, left_out, more_than, name_of
from llmlocust.numbers.thresholds import Threshold

DERIVED_FACTOR = 3.0
DERIVED_FLOOR = {"ttft": 0.2, "e2e": 0.5}
"""Derived limits: so many times the lowest level's p95, but never below what nobody feels."""


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


def find_slo_limit(
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
    source += left_out([step for step in steps if step.among(empty)], unit, "their answers were empty")
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
        f"; {words.with_unit(step.load, unit)} failed by no more than noise ({step.requests} requests) and the next "
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
    few = "" if _fails_surely(step, thresholds, goodput) else f"; only {step.requests} requests, so this is not certain"
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
    text = words.share if threshold.metric == "errors" else words.digits
    return f"{name} {text(after)}" if math.isnan(before) else f"{name} {text(before)} → {text(after)}"
