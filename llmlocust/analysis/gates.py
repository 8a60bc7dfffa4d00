"""Whether a run passes: each gate judged at the levels that have to keep it. Pure.

The value that was measured decides, as in k6; how sure that is, is said beside it. What rests on a level that a failed
trust check marks neither passes nor fails: it cannot be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from llmlocust.analysis.breakpoints.slo import Judge, backlogs
from llmlocust.analysis.breakpoints.steps import Step, more_than, steps_of
from llmlocust.analysis.checks.check import NAMES, Check
from llmlocust.analysis.phases.phases import phases_of
from llmlocust.metrics.levels import HEADLINE, RATE, USERS, Level, LevelFigures, Tally
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import DURATIONS, FAILS, GOLD, NOT_KNOWN, RATES, TOLERATED, Gate, Threshold
from llmlocust.metrics.vocabulary import PHASES
from llmlocust.text import figures as words
from llmlocust.text.message import Message, clauses, enumeration, message, term

PASSED, FAILED, DOUBTED = "passed", "failed", "cannot be trusted"
EXIT_CODES = {PASSED: 0, FAILED: 99, DOUBTED: 98}
"""Of a run, by its worst case; a failure that can be trusted counts more than what cannot be."""

NOISE = ("requests_for_p95", "requests_for_p99")
"""Checks of how many requests there were: that is noise, and a case tells its interval."""
SPOILS: Mapping[str, Collection[str]] = {
    "event_loop_lag": (*DURATIONS, *RATES),
    "clock": DURATIONS,
    "request_rows": ("goodput",),
    "usage": ("itl", "tpot", "output_tokens_per_s"),
    **dict.fromkeys(("warm_up", "drift", "answer_length", "prefix_cache"), (*DURATIONS, *RATES)),
}
"""Checks that leave some metrics as they are, with those that they spoil."""

SURELY = 0.001
"""The chance that a level that just keeps a gate is called a breach at one look."""
_POOLED = tuple(key for key, metric in METRICS.items() if metric.values)
NO_EXCUSE = ("run_completed", "run_ended", "aborted_requests", "any_success")
"""What is missing where these fail would not have mended what was measured and broke its limit."""


@dataclass(frozen=True)
class Case:
    """One gate at one load."""

    gate: Gate
    load: float
    unit: str
    status: str
    says: str
    """What was measured, in words."""
    tier: str = NOT_KNOWN
    phase: str = ""
    """Of the plan; a load that comes in several phases is judged in each."""
    levels: tuple[int, ...] = ()
    value: float = math.nan
    """Seconds, a share, a second, or telemetry's unit; infinite where too many requests failed."""
    low: float = math.nan
    high: float = math.nan
    """95 % interval."""
    requests: int = 0
    within_noise: bool = False
    """The interval holds the limit."""
    doubts: tuple[str, ...] = ()
    """The keys of the checks for which this cannot be trusted."""

    @property
    def name(self) -> Message:
        return message("{limit} at {load}", limit=self.gate.threshold, load=self.where)

    @property
    def where(self) -> Message:
        """Its load, with the unit, and its phase of the plan."""
        load = words.with_unit(self.load, self.unit)
        if not self.phase:
            return load
        return message("{load} ({phase})", load=load, phase=term(self.phase) if self.phase in PHASES else self.phase)

    def __str__(self) -> str:
        return f"{self.name}: {self.says}"


@dataclass(frozen=True)
class Outcome:
    """All cases of a run."""

    cases: Sequence[Case]
    checks: Sequence[Check] = ()
    """Those for which some case cannot be trusted."""

    @property
    def status(self) -> str:
        found = {case.status for case in self.cases}
        return next((each for each in (FAILED, DOUBTED) if each in found), PASSED)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.status]

    @property
    def headline(self) -> str:
        total, failed, doubted = len(self.cases), len(self.of(FAILED)), len(self.of(DOUBTED))
        counts = []
        if failed:
            counts.append(message("{count} of {total} failed", count=failed, total=total))
        if doubted:
            counts.append(message("{count} of {total} cannot be trusted", count=doubted, total=total))
        return enumeration(counts) or message("all {total} passed", total=total)

    def of(self, status: str) -> list[Case]:
        return [case for case in self.cases if case.status == status]


def judge(
    levels: Sequence[LevelFigures],
    gates: Sequence[Gate],
    checks: Sequence[Check],
    goodput: Callable[[Sequence[Threshold]], Mapping[int, float]],
    accepted: Collection[str] = (),
    *,
    is_ramp: bool = True,
) -> Outcome:
    """Every gate at every load that has to keep it.

    `goodput` tells requests a second that kept given thresholds, by level. `accepted` are keys of checks that may
    fail. Windows of a replayed trace are no ramp.
    """
    failed = [each for each in checks if not each.ok and each.key not in (*NOISE, *accepted)]
    # what a load shows after a surge is not what it shows before it
    phases: list[Sequence[LevelFigures]] = [phase.levels for phase in phases_of(levels)] or [levels]
    benches = [_Bench(each, gates, failed, goodput, is_ramp) for each in phases]
    cases = [case for gate in gates for case in _cases(gate, benches, _Bench(levels, gates, failed, goodput))]
    doubts = {name for case in cases for name in case.doubts}
    return Outcome(cases, [each for each in failed if each.key in doubts])


def _cases(gate: Gate, benches: Sequence[_Bench], whole: _Bench) -> list[Case]:
    return [case for bench in benches for case in bench.cases(gate)] or [whole.missing(gate)]


@dataclass(frozen=True)
class Breach:
    """A gate that a level surely breaks while it runs."""

    gate: Gate
    level: Level
    beyond: int
    requests: int

    @property
    def name(self) -> str:
        return f"{self.gate.threshold} at {words.with_unit(self.level.load, self.level.unit)}"

    def __str__(self) -> str:
        threshold = self.gate.threshold
        what = f"were above it{' or failed' if threshold.counts_failures else ''}"
        if threshold.metric == "errors":
            what = "failed"
        return f"{self.name} is broken: {self.beyond} of {self.requests} requests {what}"


def can_abort(gate: Gate) -> bool:
    """Whether a level can break a gate surely while it runs. Pooled values are too many and too much alike for that."""
    return gate.threshold.allowed is not None and gate.threshold.metric not in _POOLED


def breach(gate: Gate, level: Level, tally: Tally, in_flight: int) -> Breach | None:
    """Whether a level surely breaks a gate, by what was counted so far. One may look as often as once a second.

    What is in flight may yet be well, and is taken for it: else requests that fail at once would weigh too much.
    """
    if not (can_abort(gate) and gate.is_of(level.load)):
        return None
    beyond, requests = gate.threshold.beyond(tally)
    sure = more_than(beyond, requests + in_flight, gate.threshold.allowed or 0.0, error=SURELY)
    return Breach(gate, level, beyond, requests) if sure else None


@dataclass(frozen=True)
class _Bench:
    """What gates are judged by."""

    levels: Sequence[LevelFigures]
    gates: Sequence[Gate]
    failed: Sequence[Check]
    goodput: Callable[[Sequence[Threshold]], Mapping[int, float]]
    is_ramp: bool = True
    """What a window of a trace leaves unanswered, the next may answer."""
    _judges: dict[tuple[Threshold, ...], Judge] = field(default_factory=dict)

    @cached_property
    def steps(self) -> list[Step]:
        return steps_of(self.levels)

    @cached_property
    def silent(self) -> list[Step]:
        """Levels that ran and say nothing: nothing of them ended, or their load was never there."""
        told = {level.level for step in self.steps for level in step.levels}
        return [Step(each.load, (each,)) for each in self.levels if each.level not in told and _ran(each)]

    @cached_property
    def unit(self) -> str:
        return next((each.unit for each in self.levels), USERS)

    def cases(self, gate: Gate) -> list[Case]:
        found = [self._measured(gate, step) for step in self.steps if gate.is_of(step.load)]
        found += [self._silent(gate, step) for step in self.silent if gate.is_of(step.load)]
        return sorted(found, key=lambda case: case.load)

    def _judge(self, load: float) -> Judge:
        """Which requests are good hangs on the limits of their own load."""
        limits = tuple(each.threshold for each in self.gates if each.is_of(load))
        if limits not in self._judges:
            good = self.goodput(limits) if any(each.metric == "goodput" for each in limits) else {}
            growing = backlogs(self.steps) if self.unit == RATE and self.is_ramp else {}
            self._judges[limits] = Judge(self.steps, limits, good, growing)
        return self._judges[limits]

    def _measured(self, gate: Gate, step: Step) -> Case:
        judge, threshold = self._judge(step.load), gate.threshold
        value = judge.value(threshold, step)
        if math.isnan(value):
            says = message("not known: no figure of it was measured ({requests})", requests=step.many)
            return self._case(gate, step, NOT_KNOWN, says)
        tier = FAILS if judge.fails(threshold, step) else _tier(threshold, value)
        # what somebody else said of itself has no interval: nobody knows what it is a mean of
        low, high = (math.nan, math.nan) if threshold.is_telemetry else judge.likely(threshold, step)
        noisy = not (math.isnan(low) or judge.grows(threshold, step) or any(judge.surely(threshold, step)))
        parts = [_with_interval(threshold, _measured(threshold, value, step), (low, high), step)]
        if judge.grows(threshold, step):
            parts.append(judge.backlogs[step.load])
        if noisy:
            parts.append(message("within noise of the limit"))
        if tier == TOLERATED and threshold.gold:
            gold = f"{threshold.gold.comparison} {threshold.gold.amount}"
            parts.append(message("gold ({limit}) missed", limit=gold))
        case = self._case(gate, step, tier, clauses(parts))
        return replace(case, value=value, low=low, high=high, within_noise=noisy)

    def _silent(self, gate: Gate, step: Step) -> Case:
        says = message("not known: its load was never there")
        if all(each.reached for each in step.levels):
            says = message("not known: no request of this level ended")
        if not math.isfinite(step.load):
            says = message("not known: the load of this level is not known")
        return self._case(gate, step, NOT_KNOWN, says)

    def missing(self, gate: Gate) -> Case:
        ran = {each.load for each in self.levels if _ran(each)}
        known = sorted(filter(math.isfinite, ran))
        says = message("no such level ran: none did")
        if known:
            says = message("no such level ran: there were {loads}", loads=words.loads(known, self.unit))
        elif ran:
            says = message("no such level ran: the load of no level is known")
        return self._case(gate, Step(gate.at or 0.0, ()), NOT_KNOWN, says)

    def _case(self, gate: Gate, step: Step, tier: str, says: str) -> Case:
        doubts = self._doubts(gate, step, tier)
        passed = PASSED if tier in (GOLD, TOLERATED) else FAILED
        return Case(
            gate,
            step.load,
            self.unit,
            status=DOUBTED if doubts else passed,
            says=clauses([says, _failed_checks(doubts)]) if doubts else says,
            tier=tier,
            phase=step.levels[0].phase if step.levels else "",
            levels=tuple(each.level for each in step.levels),
            requests=step.requests,
            doubts=doubts,
        )

    def _doubts(self, gate: Gate, step: Step, tier: str) -> tuple[str, ...]:
        found = []
        for check in self.failed:
            if (tier == FAILS and check.key in NO_EXCUSE) or not _spoils(check, gate.threshold, step):
                continue
            # a check that marks no level is of the whole run, but for levels that never came
            whole = not check.levels and (check.key != "run_completed" or not step.levels)
            if whole or step.among(check.levels) or (check.key == "run_completed" and gate.at is None):
                found.append(check.key)
        return tuple(dict.fromkeys(found))


def _failed_checks(keys: Sequence[str]) -> Message:
    return message("failed checks: {checks}", checks=enumeration([NAMES.get(key, key) for key in keys]))


def _spoils(check: Check, threshold: Threshold, step: Step) -> bool:
    """Whether what a check doubts is in a metric at all."""
    if check.key == "token_times":  # it marks a level for any of its percentiles that is but a range
        return any(_is_open(threshold, each) for each in step.levels)
    return threshold.metric in SPOILS.get(check.key, (threshold.metric,))


def _is_open(threshold: Threshold, level: LevelFigures) -> bool:
    """Whether a figure is a range with the limit in it. Of what no range is told, that of any percentile is enough."""
    summary = level.metric("ttft" if threshold.metric == "ttfo" else threshold.metric)
    if threshold.statistic in HEADLINE and threshold.metric != "ttfo":
        ends = summary.range_of(threshold.statistic)
        return ends is not None and threshold.met_by(ends[0]) is not threshold.met_by(ends[1])
    return any(summary.range_of(name) is not None for name in HEADLINE)


def _ran(level: LevelFigures) -> bool:
    return level.window > 0.0 or level.requests > 0


def _tier(threshold: Threshold, value: float) -> str:
    """Of a value that keeps the threshold."""
    return GOLD if (threshold.gold or threshold).met_by(value) else TOLERATED


def _measured(threshold: Threshold, value: float, step: Step) -> str:
    if math.isinf(value):  # failed requests count as infinitely slow
        return message("too many failed, {share}", share=words.share(step.errors))
    return _text(threshold, value)


def _with_interval(threshold: Threshold, value: str, ends: tuple[float, float], step: Step) -> Message:
    """What was measured, with its interval where that is known, and how many requests it is of."""
    low, high = ends
    if not math.isfinite(low):
        return message("{value} ({requests})", value=value, requests=step.many)
    return message(
        "{value} (95 % interval {low} to {high}, {requests})",
        value=value,
        low=_text(threshold, low),
        high=_text(threshold, high),
        requests=step.many,
    )


def _text(threshold: Threshold, value: float) -> str:
    if threshold.is_duration:
        return words.duration(value)
    if threshold.metric == "errors" or threshold.unit == "%":
        return words.share(round(value, 6))  # whole requests were counted: the interval's end of none is no 1e-17
    return f"{words.digits(value)}/s" if threshold.metric in RATES else words.digits(value)
