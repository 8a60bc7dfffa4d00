"""A judged run: the verdict and the checks, and what follows from them. Its pages are made by `llmlocust.report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llmlocust.analysis.advice import Advice, advise
from llmlocust.analysis.breakpoints.steps import Finding, Status
from llmlocust.analysis.breakpoints.verdict import Verdict, find
from llmlocust.analysis.checks.answers import empty_levels
from llmlocust.analysis.checks.check import Check, Facts
from llmlocust.analysis.checks.validity import checks, standing
from llmlocust.analysis.gates import Outcome, judge
from llmlocust.analysis.phases.phases import AFTER, climbs, of_the_ramp
from llmlocust.analysis.phases.replay_windows import FEW_ERRORS, checks_of, of_windows
from llmlocust.analysis.quality import changes
from llmlocust.assessment.facts import facts_of
from llmlocust.assessment.phases import Phases, phases_in
from llmlocust.metrics.levels import RATE, USERS, LevelFigures
from llmlocust.metrics.thresholds import Threshold, parse_gates, tier
from llmlocust.runfiles.reading.level_series import with_telemetry
from llmlocust.runfiles.reading.run_data import RunData
from llmlocust.runfiles.reading.run_json import is_replay, mapping
from llmlocust.text import figures as words
from llmlocust.text.message import Message, clauses, message


@dataclass(frozen=True)
class Assessment:
    """A run and what was judged of it. Made by `assess`."""

    run: RunData
    thresholds: Sequence[Threshold]
    """The given ones; `verdict.thresholds` has the derived ones where none were given."""
    verdict: Verdict
    facts: Facts
    """What the checks were told of the run."""
    checks: Sequence[Check]
    goodput: Mapping[int, float]
    """Requests a second that met every limit, by level; empty where the requests are not known."""
    phases: Phases
    """The phases of the run's plan."""
    gates: Outcome | None
    """The outcome of the run's own gates; None where it had none."""
    unknown: Sequence[str]
    """Sentences on what the files do not tell."""

    @property
    def unit(self) -> str:
        """Of the loads: RATE or USERS."""
        return RATE if self.verdict.unit == RATE else USERS

    @property
    def levels(self) -> list[LevelFigures]:
        return self.run.levels

    @property
    def only_level(self) -> LevelFigures | None:
        """The level of a run of one level, where it has requests. It says nothing of where a server breaks."""
        if len(self.levels) != 1:
            return None
        (level,) = self.levels
        return level if level.load > 0 and level.requests > 0 else None

    @property
    def has_limits(self) -> bool:
        """Whether limits say anything of the levels: what is derived from a level is kept by that level."""
        return self.only_level is None or not self.verdict.derived or self.verdict.slo_limit.reached

    @property
    def ramp(self) -> list[LevelFigures]:
        """Those that the four numbers rest on."""
        return of_the_ramp(self.levels)

    @property
    def comparable(self) -> list[LevelFigures]:
        """Those that show a load as it is, and not what a higher one left behind."""
        return [each for each in self.levels if each.phase not in AFTER]

    @property
    def climbs(self) -> bool:
        """Whether there is a ramp that the four numbers can be read from."""
        return self.only_level is None and not self.verdict.windows and climbs(self.levels)

    @property
    def is_valid(self) -> bool:
        return all(check.ok for check in self.checks)

    @property
    def advice(self) -> list[Advice]:
        return advise(self.levels, self.verdict, self.checks, self.goodput, counted=self.facts.requests is not None)

    @property
    def quality(self) -> list[str]:
        """Sentences on whether answers get worse under load; none for a replayed trace."""
        return [] if self.verdict.windows else [change.says(self.unit) for change in changes(self.ramp)]

    @property
    def doubted(self) -> frozenset[int]:
        """The levels that a failed check marks, by their index."""
        return frozenset(level for check in self.checks if not check.ok for level in check.levels)

    @property
    def stands(self) -> dict[str, bool]:
        """Which of the four numbers rest on no level that a failed check marks."""
        return standing(self.checks, self.verdict.rests(self.ramp))

    def meets(self, limit: Threshold, figures: LevelFigures) -> bool | None:
        """Whether a level keeps a limit; None: not known."""
        return limit.holds(figures, self.goodput.get(figures.level))

    def holds(self, figures: LevelFigures) -> str:
        """How a level stands to the limits, in a word or two."""
        told = [self.meets(each, figures) for each in self.verdict.thresholds]
        if False in told:
            return "fails"
        if figures.level in self.verdict.empty:
            return "not known"
        if not self.has_limits or not told or (None in told and True not in told):
            return words.UNKNOWN
        return "not known" if None in told else "holds"

    def tier(self, figures: LevelFigures) -> str:
        """The same, with which of two tiers it meets, where there are two."""
        holds = self.holds(figures)
        if holds != "holds" or self.verdict.gold is None:
            return holds
        return tier(self.verdict.thresholds, figures, self.goodput.get(figures.level))


def assess(run: RunData, thresholds: Sequence[Threshold] = ()) -> Assessment:
    """Judge a run by thresholds; without any, by those that its lowest level gives."""
    run.levels = with_telemetry(run.levels, run.telemetry, thresholds)
    # which requests are good needs limits: the given ones, or those that the verdict derives
    goodput = run.goodput(thresholds)
    outages = run.outages()
    replayed = is_replay(run.info)
    verdict = find(
        of_the_ramp(run.levels),
        thresholds or ((FEW_ERRORS,) if replayed else ()),
        goodput,
        run.gone(),
        _empty_levels(run),
        outages,
    )
    verdict = of_windows(verdict, run.levels, thresholds, goodput) if replayed else _with_gold_named(verdict)
    if not thresholds:
        goodput = run.goodput(verdict.thresholds)
    facts = facts_of(run, verdict, outages)
    found = checks(run.levels, facts, verdict.thresholds)
    found = checks_of(found) if replayed else found
    return Assessment(
        run=run,
        thresholds=tuple(thresholds),
        verdict=verdict,
        facts=facts,
        checks=found,
        goodput=goodput,
        phases=phases_in(run, verdict.thresholds, goodput, derived=verdict.derived),
        gates=_gates(run, found),
        unknown=[*run.unknown, *_in_one_piece(run)],
    )


def _empty_levels(run: RunData) -> frozenset[int]:
    """The levels, by index, whose answers brought no token, or none that could be read."""
    unread = run.unread()
    return empty_levels(run.levels, {level: share + unread.get(level, 0.0) for level, share in run.empty().items()})


def _with_gold_named(verdict: Verdict) -> Verdict:
    """The verdict with the gold tier's limit in the sentence on the SLO limit."""
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


def _gates(run: RunData, found: Sequence[Check]) -> Outcome | None:
    """The run's own gates, judged as `llmlocust check` does."""
    told = mapping(run.info.get("options"))
    try:
        gates = list(dict.fromkeys(parse_gates(str(told.get("llm_threshold") or ""))))
    except ValueError:  # of another version
        return None
    if not gates:
        return None
    levels = with_telemetry(run.levels, run.telemetry, [each.threshold for each in gates])
    accepted = [each.strip() for each in str(told.get("llm_accept") or "").split(",")]
    return judge(levels, gates, found, run.goodput, accepted, is_ramp=not is_replay(run.info))


def _in_one_piece(run: RunData) -> list[str]:
    """Whether a server sent whole answers where streams are asked for; a user class may ask for none."""
    if not run.whole() or any(each.metric("ttft").count for each in run.levels):
        return []
    if mapping(run.info.get("options")).get("llm_stream") is False:
        return []
    said = (
        "Time to first token, gaps between tokens and TPOT: the answers came in one piece although a stream was asked "
        "for (unless a user class says stream = False); the server or something before it ignores stream: true."
    )
    return [said]
