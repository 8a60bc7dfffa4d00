"""The assessment of a run: the verdict, the checks and what follows from them. `llmlocust.report` makes its pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llmlocust.analysis.advice import Advice, advise
from llmlocust.analysis.breakpoints.steps import Finding, Status
from llmlocust.analysis.breakpoints.verdict import Verdict, find
from llmlocust.analysis.causes.cause import Causes
from llmlocust.analysis.causes.context import Context
from llmlocust.analysis.causes.find import causes_of
from llmlocust.analysis.checks.answers import empty_levels
from llmlocust.analysis.checks.check import Check, Facts
from llmlocust.analysis.checks.validity import checks, valid_numbers
from llmlocust.analysis.gates import Outcome, judge
from llmlocust.analysis.phases.phases import AFTER, climbs, of_the_ramp, undisturbed
from llmlocust.analysis.phases.replay_windows import FEW_ERRORS, checks_of, of_windows
from llmlocust.analysis.quality import changes
from llmlocust.assessment.facts import context_of, facts_of
from llmlocust.assessment.faults import Faults, faults_in
from llmlocust.assessment.phases import Phases, phases_in
from llmlocust.assessment.run_gates import gates_of_run
from llmlocust.assessment.soaks import Soaks
from llmlocust.assessment.without_faults import left_out, without_faults
from llmlocust.metrics.levels import LEFT_OUT, RATE, USERS, LevelFigures
from llmlocust.metrics.thresholds import FAILS, NOT_KNOWN, PASSES, Threshold, parse_gates, tier
from llmlocust.runfiles.reading.run_data import RunData
from llmlocust.runfiles.reading.run_json import is_replay, mapping
from llmlocust.text import figures as words
from llmlocust.text.message import Message, clauses, message


@dataclass(frozen=True)
class Assessment:
    """A run and its judgement. Made by `assess`."""

    run: RunData
    thresholds: Sequence[Threshold]
    """The given thresholds; without any, `verdict.thresholds` has the derived ones."""
    verdict: Verdict
    facts: Facts
    """The facts that the checks used."""
    checks: Sequence[Check]
    goodput: Mapping[int, float]
    """Requests per second that met every threshold, by level; empty if the requests are not known."""
    phases: Phases
    """The phases of the run's plan."""
    gates: Outcome | None
    """The outcome of the run's own gates; None if it had none."""
    unknown: Sequence[str]
    """Sentences on figures that the files do not contain."""
    context: Context
    """The facts that the causes used."""
    causes: Causes
    """The causes of the four numbers and of the cliffs."""
    faults: Faults
    """The faults of the run. The figures of a level with a fault are those before it."""
    soaks: Soaks
    """The drift of the levels that were held for long."""

    @property
    def unit(self) -> str:
        """The unit of the loads: RATE or USERS."""
        return RATE if self.verdict.unit == RATE else USERS

    @property
    def levels(self) -> list[LevelFigures]:
        return self.run.levels

    @property
    def only_level(self) -> LevelFigures | None:
        """The level of a run of one level with requests; None for other runs. One level does not show a breaking point."""
        if len(self.levels) != 1:
            return None
        (level,) = self.levels
        return level if level.load > 0 and level.requests > 0 else None

    @property
    def has_limits(self) -> bool:
        """Whether thresholds judge the levels: a threshold that is derived from the only level is always met there."""
        return self.only_level is None or not self.verdict.derived or self.verdict.slo_limit.reached

    @property
    def ramp(self) -> list[LevelFigures]:
        """The levels that the four numbers are based on."""
        return of_the_ramp(self.levels)

    @property
    def comparable(self) -> list[LevelFigures]:
        """The levels that do not follow a higher load, whose backlog they would carry."""
        return [level for level in undisturbed(self.levels) if level.phase not in AFTER]

    @property
    def climbs(self) -> bool:
        """Whether the run has a ramp, which the four numbers need."""
        return self.only_level is None and not self.verdict.windows and climbs(self.levels)

    @property
    def is_valid(self) -> bool:
        return all(check.ok for check in self.checks)

    @property
    def advice(self) -> list[Advice]:
        return advise(
            self.levels,
            self.verdict,
            self.checks,
            self.goodput,
            counted=self.facts.requests is not None,
            causes=self.causes,
            context=self.context,
        )

    @property
    def quality(self) -> list[str]:
        """Sentences on whether answers get worse under load; none for a replayed trace."""
        return [] if self.verdict.windows else [change.says(self.unit) for change in changes(self.ramp)]

    @property
    def doubted(self) -> frozenset[int]:
        """The indices of the levels that a failed check marks."""
        return frozenset(level for check in self.checks if not check.ok for level in check.levels)

    @property
    def valid_numbers(self) -> dict[str, bool]:
        """Whether each of the four numbers is valid: it depends on no level that a failed check marks."""
        return valid_numbers(self.checks, self.verdict.supporting_levels(self.ramp))

    def meets(self, limit: Threshold, figures: LevelFigures) -> bool | None:
        """Whether a level meets a threshold; None: not known."""
        return limit.is_met(figures, self.goodput.get(figures.level))

    def result(self, figures: LevelFigures) -> str:
        """Return the result of a level for all thresholds, in a word or two."""
        if figures.fault == LEFT_OUT:
            return NOT_KNOWN
        results = [self.meets(threshold, figures) for threshold in self.verdict.thresholds]
        if False in results:
            return FAILS
        if figures.level in self.verdict.empty:
            return NOT_KNOWN
        if not self.has_limits or not results or (None in results and True not in results):
            return words.UNKNOWN
        return NOT_KNOWN if None in results else PASSES

    def tier(self, figures: LevelFigures) -> str:
        """Return the result of a level like `result`; with a gold tier, the tier that the level meets."""
        result = self.result(figures)
        if result != PASSES or self.verdict.gold is None:
            return result
        return tier(self.verdict.thresholds, figures, self.goodput.get(figures.level))


def assess(run: RunData, thresholds: Sequence[Threshold] = ()) -> Assessment:
    """Judge a run by thresholds; without any, by those derived from its lowest level."""
    faults = faults_in(run, thresholds)
    run = without_faults(run, faults)
    # goodput needs thresholds: the given ones, or those that the verdict derives
    goodput = run.goodput(thresholds)
    outages = {level: outage for level, outage in run.outages().items() if level not in left_out(run)}
    replayed = is_replay(run.info)
    verdict = find(
        of_the_ramp(run.levels),
        thresholds or ((FEW_ERRORS,) if replayed else ()),
        goodput,
        {level: second for level, second in run.unreachable_from().items() if level not in left_out(run)},
        _empty_levels(run),
        outages,
    )
    verdict = of_windows(verdict, run.levels, thresholds, goodput) if replayed else _with_gold_named(verdict)
    if not thresholds:
        goodput = run.goodput(verdict.thresholds)
    facts = facts_of(run, verdict, outages)
    results = checks(run.levels, facts, verdict.thresholds)
    results = checks_of(results) if replayed else results
    context = context_of(run, facts, results)
    soaks = Soaks(run, thresholds)
    return Assessment(
        run=run,
        thresholds=tuple(thresholds),
        verdict=verdict,
        facts=facts,
        checks=results,
        goodput=goodput,
        phases=phases_in(run, verdict.thresholds, goodput, derived=verdict.derived),
        gates=_gates(run, results, faults, soaks),
        unknown=[*run.unknown, *_in_one_piece(run)],
        context=context,
        causes=causes_of(verdict, of_the_ramp(run.levels), context),
        faults=faults,
        soaks=soaks,
    )


def _empty_levels(run: RunData) -> frozenset[int]:
    """Return the indices of levels whose answers contain no tokens, or none that llmlocust reads."""
    unread = run.unread()
    return empty_levels(run.levels, {level: share + unread.get(level, 0.0) for level, share in run.empty().items()})


def _with_gold_named(verdict: Verdict) -> Verdict:
    """Return the verdict with the SLO limit of the gold tier added to the sentence on the SLO limit."""
    if verdict.gold is None:
        return verdict
    limit = verdict.slo_limit
    return replace(verdict, slo_limit=replace(limit, why=clauses([limit.why, _gold(verdict.gold, verdict.unit)])))


def _gold(limit: Finding, unit: str) -> Message:
    """Return the highest load of the gold tier, in a few words."""
    if limit.status is Status.UNKNOWN:
        return message("gold is not known")
    if not limit.reached:
        return message("gold is met at every level")
    if limit.level_ok is None:
        return message("gold at no level")
    return message("gold up to {load}", load=words.with_unit(limit.level_ok, unit))


def _gates(run: RunData, results: Sequence[Check], faults: Faults, soaks: Soaks) -> Outcome | None:
    """Judge the run by its own gates, as `llmlocust check` does."""
    options = mapping(run.info.get("options"))
    try:
        gates = list(dict.fromkeys(parse_gates(str(options.get("llm_threshold") or ""))))
    except ValueError:  # written by another version
        return None
    if not gates:
        return None
    accepted = [key.strip() for key in str(options.get("llm_accept") or "").split(",")]
    of_run = gates_of_run(faults, soaks)
    is_ramp = not is_replay(run.info)
    return judge(run.levels, gates, results, run.goodput, accepted, is_ramp=is_ramp, of_run=of_run)


def _in_one_piece(run: RunData) -> list[Message]:
    """Return a sentence if the server sent whole answers although streams were requested."""
    if not run.whole() or any(level.metric("ttft").count for level in run.levels):
        return []
    if mapping(run.info.get("options")).get("llm_stream") is False:
        return []
    return [
        message(
            "Time to first token, inter-token latency and TPOT: the answers arrived in one piece although a stream was "
            "requested (unless a user class sets stream = False); the server or a proxy ignores stream: true."
        )
    ]
