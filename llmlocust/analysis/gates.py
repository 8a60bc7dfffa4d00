"""Gates: judges a run by each gate, at the levels that the gate applies to. Pure.

The measured value decides, as in k6. Its interval shows the certainty. If a failed validity check marks a level, a gate
neither passes nor fails there: it is not valid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from llmlocust.analysis.breakpoints.slo import Judge, backlogs
from llmlocust.analysis.breakpoints.steps import Step, more_than, steps_of
from llmlocust.analysis.checks.check import Check, name_of
from llmlocust.analysis.phases.phases import phases_of, undisturbed
from llmlocust.metrics import telemetry
from llmlocust.metrics.levels import HEADLINE, RATE, USERS, Level, LevelFigures, Tally
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import DURATIONS, FAILS, GOLD, NOT_KNOWN, RATES, TOLERATED, Gate, Threshold
from llmlocust.metrics.vocabulary import PHASES
from llmlocust.text import figures as words
from llmlocust.text.message import Message, clauses, enumeration, message, term

PASSED: str = term("passed")
FAILED: str = term("failed")
DOUBTED: str = term("not valid")
EXIT_CODES = {PASSED: 0, FAILED: 99, DOUBTED: 98}
"""The exit code of a run, by the status of its worst case. A valid failure takes precedence over an invalid case."""

NOISE = ("requests_for_p95", "requests_for_p99")
"""Checks of the number of requests. They do not make a case invalid, because its interval shows the noise."""
AFFECTED_METRICS: Mapping[str, Collection[str]] = {
    "event_loop_lag": (*DURATIONS, *RATES),
    "clock": DURATIONS,
    "request_rows": ("goodput",),
    "usage": ("itl", "tpot", "output_tokens_per_s"),
    **dict.fromkeys(("warm_up", "drift", "answer_length", "prefix_cache"), (*DURATIONS, *RATES)),
}
"""The metrics that a failed check makes invalid. Checks that are not listed make all metrics invalid."""

BREACH_ERROR = 0.001
"""Probability that a level that just meets a gate is called a breach, at one look."""
_POOLED = tuple(key for key, metric in METRICS.items() if metric.values)
NEVER_INVALIDATING = ("run_completed", "run_ended", "aborted_requests", "any_success")
"""Checks that do not make a failure invalid: the missing data could not have turned it into a pass."""


@dataclass(frozen=True)
class Case:
    """One gate at one load."""

    gate: Gate
    load: float
    unit: str
    status: str
    says: str
    """The measured value, as text."""
    tier: str = NOT_KNOWN
    phase: str = ""
    """Phase of the plan. A load that occurs in several phases is judged in each."""
    levels: tuple[int, ...] = ()
    value: float = math.nan
    """Seconds, a share, a rate per second, or telemetry's unit; infinite if too many requests failed."""
    low: float = math.nan
    """Lower end of the 95 % interval."""
    high: float = math.nan
    """Upper end of the 95 % interval."""
    requests: int = 0
    within_noise: bool = False
    """Whether the interval contains the threshold."""
    doubts: tuple[str, ...] = ()
    """The keys of the failed checks that make this case invalid."""
    subject: str = ""
    """The fault, or the part of the run, that a gate on the run is judged by. Such a case has no load."""

    @property
    def name(self) -> Message:
        if self.gate.is_of_run:
            return message("{threshold} ({subject})", threshold=self.gate.threshold, subject=self.subject)
        return message("{threshold} at {load}", threshold=self.gate.threshold, load=self.where)

    @property
    def where(self) -> str:
        """Its load, with the unit, and its phase of the plan; the subject of a gate on the run."""
        if self.gate.is_of_run:
            return self.subject
        load = words.with_unit(self.load, self.unit)
        if not self.phase:
            return load
        return message("{load} ({phase})", load=load, phase=term(self.phase) if self.phase in PHASES else self.phase)

    def __str__(self) -> str:
        return f"{self.name}: {self.says}"


@dataclass(frozen=True)
class Outcome:
    """The result of a run: all its cases."""

    cases: Sequence[Case]
    checks: Sequence[Check] = ()
    """The failed checks that make some case invalid."""

    @property
    def status(self) -> str:
        statuses = {case.status for case in self.cases}
        return next((status for status in (FAILED, DOUBTED) if status in statuses), PASSED)

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
            counts.append(message("{count} of {total} not valid", count=doubted, total=total))
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
    of_run: Callable[[Gate, Sequence[Check]], list[Case]] = lambda gate, failed: [],
) -> Outcome:
    """Judge every gate at every load that it applies to.

    `goodput` returns the requests per second that meet given thresholds, by level. `accepted` are the keys of checks that
    may fail. Windows of a replayed trace are not a ramp. `of_run` judges a gate on the whole run, with the failed checks.
    """
    failed = [check for check in checks if not check.ok and check.key not in (*NOISE, *accepted)]
    # a load gives other figures after a surge than before it
    phases: list[Sequence[LevelFigures]] = [phase.levels for phase in phases_of(levels)] or [levels]
    scopes = [_Scope(phase, gates, failed, goodput, is_ramp) for phase in phases]
    whole = _Scope(levels, gates, failed, goodput)
    cases = [
        case for gate in gates for case in (of_run(gate, failed) if gate.is_of_run else _cases(gate, scopes, whole))
    ]
    doubts = {name for case in cases for name in case.doubts}
    return Outcome(cases, [check for check in failed if check.key in doubts])


def _cases(gate: Gate, scopes: Sequence[_Scope], whole: _Scope) -> list[Case]:
    return [case for scope in scopes for case in scope.cases(gate)] or [whole.missing(gate)]


@dataclass(frozen=True)
class Breach:
    """A gate that a running level certainly violates."""

    gate: Gate
    level: Level
    beyond: int
    """Requests that violate the threshold."""
    requests: int

    @property
    def name(self) -> Message:
        load = words.with_unit(self.level.load, self.level.unit)
        return message("{threshold} at {load}", threshold=self.gate.threshold, load=load)

    def __str__(self) -> str:
        threshold = self.gate.threshold
        violation = f"were above it{' or failed' if threshold.counts_failures else ''}"
        if threshold.metric == "errors":
            violation = "failed"
        return f"{self.name} is violated: {self.beyond} of {self.requests} requests {violation}"


def can_abort(gate: Gate) -> bool:
    """Whether a running level can certainly violate a gate. Pooled values cannot: they are too dependent on each other."""
    return gate.threshold.allowed is not None and gate.threshold.metric not in _POOLED


def breach(gate: Gate, level: Level, tally: Tally, in_flight: int) -> Breach | None:
    """Return the breach if a level certainly violates a gate, by the requests counted so far; None otherwise.

    The check may run once per second. Requests in flight count as successful ones. Otherwise requests that fail
    immediately would count too much.
    """
    if not (can_abort(gate) and gate.is_of(level.load)):
        return None
    beyond, requests = gate.threshold.beyond(tally)
    sure = more_than(beyond, requests + in_flight, gate.threshold.allowed or 0.0, error=BREACH_ERROR)
    return Breach(gate, level, beyond, requests) if sure else None


@dataclass(frozen=True)
class _Scope:
    """The data that gates are judged by, of one phase or of a whole run."""

    levels: Sequence[LevelFigures]
    gates: Sequence[Gate]
    failed: Sequence[Check]
    goodput: Callable[[Sequence[Threshold]], Mapping[int, float]]
    is_ramp: bool = True
    """False for a replayed trace, of which one window may answer the backlog of another."""
    _judges: dict[tuple[Threshold, ...], Judge] = field(default_factory=dict)

    @cached_property
    def steps(self) -> list[Step]:
        return steps_of(undisturbed(self.levels))

    @cached_property
    def without_figures(self) -> list[Step]:
        """Levels that ran but have no figures: no request ended, the target load was never reached, or a fault left nothing."""
        known = {level.level for step in self.steps for level in step.levels}
        return [Step(level.load, (level,)) for level in self.levels if level.level not in known and _has_run(level)]

    @cached_property
    def unit(self) -> str:
        return next((level.unit for level in self.levels), USERS)

    def cases(self, gate: Gate) -> list[Case]:
        """The cases of a gate, lowest load first."""
        cases = [self._measured(gate, step) for step in self.steps if gate.is_of(step.load)]
        cases += [self._without_figures(gate, step) for step in self.without_figures if gate.is_of(step.load)]
        return sorted(cases, key=lambda case: case.load)

    def _judge(self, load: float) -> Judge:
        """The judge of a load. Goodput depends on the thresholds of that load."""
        thresholds = tuple(gate.threshold for gate in self.gates if gate.is_of(load))
        if thresholds not in self._judges:
            good = self.goodput(thresholds) if any(limit.metric == "goodput" for limit in thresholds) else {}
            growing = backlogs(self.steps) if self.unit == RATE and self.is_ramp else {}
            self._judges[thresholds] = Judge(self.steps, thresholds, good, growing)
        return self._judges[thresholds]

    def _measured(self, gate: Gate, step: Step) -> Case:
        judge, threshold = self._judge(step.load), gate.threshold
        value = judge.value(threshold, step)
        if math.isnan(value):
            says = message("not known: this metric was not measured ({requests})", requests=step.request_count)
            return self._case(gate, step, NOT_KNOWN, says)
        tier = FAILS if judge.fails(threshold, step) else _tier(threshold, value)
        # telemetry has no interval: the samples behind its values are not known
        low, high = (math.nan, math.nan) if threshold.is_telemetry else judge.likely(threshold, step)
        noisy = not (math.isnan(low) or judge.grows(threshold, step) or any(judge.certainty(threshold, step)))
        texts = [_with_interval(threshold, _measured(threshold, value, step), (low, high), step)]
        if judge.grows(threshold, step):
            texts.append(judge.backlogs[step.load])
        if noisy:
            texts.append(message("within noise of the threshold"))
        if tier == TOLERATED and threshold.gold:
            gold = f"{threshold.gold.comparison} {threshold.gold.amount}"
            texts.append(message("gold ({threshold}) missed", threshold=gold))
        case = self._case(gate, step, tier, clauses(texts))
        return replace(case, value=value, low=low, high=high, within_noise=noisy)

    def _without_figures(self, gate: Gate, step: Step) -> Case:
        says = message("not known: the target load was never reached")
        if all(level.reached for level in step.levels):
            says = message("not known: no request of this level ended")
        if not math.isfinite(step.load):
            says = message("not known: the load of this level is not known")
        if any(level.fault for level in step.levels):
            says = message("not known: a fault left nothing of this level to judge")
        return self._case(gate, step, NOT_KNOWN, says)

    def missing(self, gate: Gate) -> Case:
        """The case of a gate whose level did not run."""
        ran = {level.load for level in self.levels if _has_run(level)}
        known = sorted(filter(math.isfinite, ran))
        says = message("no such level ran: no level did")
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
            says=clauses([says, failed_checks(doubts)]) if doubts else says,
            tier=tier,
            phase=step.levels[0].phase if step.levels else "",
            levels=tuple(level.level for level in step.levels),
            requests=step.requests,
            doubts=doubts,
        )

    def _doubts(self, gate: Gate, step: Step, tier: str) -> tuple[str, ...]:
        """The keys of the failed checks that make a case invalid."""
        keys = []
        for check in self.failed:
            if (tier == FAILS and check.key in NEVER_INVALIDATING) or not _affects(check, gate.threshold, step):
                continue
            # a check that marks no level applies to the whole run, except for levels that never ran
            whole = not check.levels and (check.key != "run_completed" or not step.levels)
            if whole or step.among(check.levels) or (check.key == "run_completed" and gate.at is None):
                keys.append(check.key)
        return tuple(dict.fromkeys(keys))


def failed_checks(keys: Sequence[str]) -> Message:
    return message("failed checks: {checks}", checks=enumeration(list(map(name_of, keys))))


def _affects(check: Check, threshold: Threshold, step: Step) -> bool:
    """Whether a failed check makes a threshold's metric invalid at a step."""
    if check.key == "token_times":  # it marks a level if any of its percentiles is only known as a range
        return any(_is_open(threshold, level) for level in step.levels)
    return threshold.metric in AFFECTED_METRICS.get(check.key, (threshold.metric,))


def _is_open(threshold: Threshold, level: LevelFigures) -> bool:
    """Whether a figure is only known as a range that contains the threshold. For a figure without a range, the range of any
    percentile is sufficient.
    """
    summary = level.metric("ttft" if threshold.metric == "ttfo" else threshold.metric)
    if threshold.statistic in HEADLINE and threshold.metric != "ttfo":
        ends = summary.range_of(threshold.statistic)
        return ends is not None and threshold.met_by(ends[0]) is not threshold.met_by(ends[1])
    return any(summary.range_of(name) is not None for name in HEADLINE)


def _has_run(level: LevelFigures) -> bool:
    return level.window > 0.0 or level.requests > 0


def _tier(threshold: Threshold, value: float) -> str:
    """The tier of a value that meets the threshold."""
    return GOLD if (threshold.gold or threshold).met_by(value) else TOLERATED


def _measured(threshold: Threshold, value: float, step: Step) -> str:
    if math.isinf(value):  # failed requests count as infinitely slow
        return message("too many failed, {share}", share=words.share(step.errors))
    return _text(threshold, value)


def _with_interval(threshold: Threshold, value: str, ends: tuple[float, float], step: Step) -> Message:
    """The measured value with its interval, if known, and its number of requests."""
    low, high = ends
    if not math.isfinite(low):
        return message("{value} ({requests})", value=value, requests=step.request_count)
    return message(
        "{value} (95 % interval {low} to {high}, {requests})",
        value=value,
        low=_text(threshold, low),
        high=_text(threshold, high),
        requests=step.request_count,
    )


def _text(threshold: Threshold, value: float) -> str:
    if threshold.is_duration:
        return words.duration(value)
    if threshold.metric == "errors" or threshold.unit == "%":
        return words.share(round(value, 6))  # requests are whole: an end of 1e-17 is 0
    if threshold.is_telemetry:
        return telemetry.in_words(threshold.metric, value)
    return f"{words.digits(value)}/s" if threshold.metric in RATES else words.digits(value)
