"""A report: what the files of a run say, judged, and its page. Its words, its table, Markdown and JSON have modules of
their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from llmlocust.analysis.advice import Advice, advise
from llmlocust.analysis.breakpoints.steps import Finding
from llmlocust.analysis.breakpoints.verdict import Verdict, find
from llmlocust.analysis.checks.answers import empty_levels
from llmlocust.analysis.checks.check import Check, Facts
from llmlocust.analysis.checks.cycles import think_time_of
from llmlocust.analysis.checks.trust import checks, standing
from llmlocust.analysis.gates import Outcome, judge
from llmlocust.analysis.phases.phases import AFTER, climbs, of_the_ramp
from llmlocust.analysis.phases.replay_windows import FEW_ERRORS, checks_of, of_windows
from llmlocust.load.prompts import load as load_prompts
from llmlocust.metrics.levels import RATE, USERS, LevelFigures
from llmlocust.metrics.thresholds import Threshold, golds, parse_gates, tier
from llmlocust.metrics.vocabulary import PARTS, RECOVERY
from llmlocust.report import as_json as as_data
from llmlocust.report import markdown, parts
from llmlocust.report.charts import captions as pictures
from llmlocust.report.charts.by_load import NUMBERS, Scene
from llmlocust.report.languages.translate import translated
from llmlocust.report.parts import Parts, parts_in
from llmlocust.report.sections import headline as in_words
from llmlocust.report.sections import level_table, one_level
from llmlocust.report.sections.conversations import HEADS, turns
from llmlocust.report.sections.glossary import GLOSSARY, MEANS
from llmlocust.report.sections.journeys import STEPS, Scenes, journeys
from llmlocust.report.sections.what_was_run import (
    FOREIGN,
    count,
    facts,
    is_replay,
    listed,
    mapping,
    messages,
    number,
    options,
    planned,
)
from llmlocust.report.templating import render
from llmlocust.runfiles.reading.level_series import (
    cache_hits,
    courses,
    gone,
    stood_still,
    tokens_a_chunk,
    with_telemetry,
)
from llmlocust.runfiles.reading.run_data import LOCUST, OURS, TABLE, RunFrames, parts_planned
from llmlocust.text import figures as words
from llmlocust.text import media


@dataclass
class Report:
    run: RunFrames
    verdict: Verdict
    checks: list[Check]
    goodput: Mapping[int, float]
    thresholds: Sequence[Threshold] = ()
    """Those that were asked for; `verdict.thresholds` has the derived ones where none were."""
    unknown: Sequence[str] = ()
    """Sentences: what could not be known."""
    gold: Finding | None = None
    """The limit of the gold tier, where the thresholds have two."""
    gates: Outcome | None = None
    """What the run's own gates say; None: it had none."""
    unit: str = field(init=False)
    parts: Parts = field(init=False)
    """Of its plan."""

    def __post_init__(self) -> None:
        self.unit = RATE if self.verdict.unit == RATE else USERS
        verdict = self.verdict
        self.parts = parts_in(self.run, verdict.thresholds, self.goodput, derived=verdict.derived)

    @property
    def levels(self) -> list[LevelFigures]:
        return self.run.levels

    @property
    def only_level(self) -> LevelFigures | None:
        """Of a run that has one: it says nothing of where a server breaks."""
        return one_level.only(self.levels)

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
        return [each for each in self.levels if each.part not in AFTER]

    @property
    def climbs(self) -> bool:
        """Whether there is a ramp that the four numbers can be read from."""
        return self.only_level is None and not self.verdict.windows and climbs(self.levels)

    @property
    def trusted(self) -> bool:
        return all(check.ok for check in self.checks)

    @property
    def advice(self) -> list[Advice]:
        return advise(self.levels, self.verdict, self.checks, self.goodput, counted=_requests_of(self.run) is not None)

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
        if holds != "holds" or self.gold is None:
            return holds
        return tier(self.verdict.thresholds, figures, self.goodput.get(figures.level))

    def html(self) -> str:
        return _html(self)

    def html_in(self, language: str) -> tuple[str, list[str]]:
        """The page in one of LANGUAGES, and what of it stayed English because nobody translated it."""
        return (self.html(), []) if language == "en" else translated(self.html, language)

    def markdown(self) -> str:
        return markdown.page(self)

    def data(self) -> dict[str, Any]:
        """The report as plain values, of the shape that is promised to stay. Durations in milliseconds."""
        return as_data.data(self)

    def json(self) -> str:
        return media.as_json(self.data())


def build(run: RunFrames, thresholds: Sequence[Threshold] = ()) -> Report:
    """Judge a run."""
    run.levels = with_telemetry(run.levels, run.telemetry, thresholds)
    # which requests are good needs limits: the given ones, or those that the verdict derives
    goodput = run.goodput(thresholds)
    unseen = run.unread()
    empty = empty_levels(run.levels, {level: share + unseen.get(level, 0.0) for level, share in run.empty().items()})
    replayed = is_replay(run.info)
    ramp = of_the_ramp(run.levels)
    gone, outages = run.gone(), run.outages()
    verdict = find(ramp, thresholds or ((FEW_ERRORS,) if replayed else ()), goodput, gone, empty, outages)
    gold = None
    if replayed:
        verdict = of_windows(verdict, run.levels, thresholds, goodput)
    elif any(each.gold for each in thresholds):
        gold = find(ramp, golds(thresholds), goodput, gone, empty, outages).slo_limit
        limit = verdict.slo_limit
        verdict = replace(verdict, slo_limit=replace(limit, why=f"{limit.why}; {in_words.gold(gold, verdict.unit)}"))
    if not thresholds:
        goodput = run.goodput(verdict.thresholds)
    found = checks(run.levels, _facts(run, verdict, outages), verdict.thresholds)
    found = checks_of(found) if replayed else found
    unknown = [*run.unknown, *_in_one_piece(run)]
    return Report(run, verdict, found, goodput, tuple(thresholds), unknown, gold, _gates(run, found))


def _gates(run: RunFrames, found: Sequence[Check]) -> Outcome | None:
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


def _in_one_piece(run: RunFrames) -> list[str]:
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


def _facts(run: RunFrames, verdict: Verdict, outages: Mapping[int, tuple[float, float]]) -> Facts:
    info = run.info
    counts, rows, classes = (mapping(info.get(name)) for name in ("counts", "rows", "user_classes"))
    return Facts(
        client_cpu=_usual_worst(run, "client_cpu"),
        loop_lag={level: value / 1000.0 for level, value in _usual_worst(run, "loop_lag").items()},
        turn_wait={level: value / 1000.0 for level, value in _usual_worst(run, "turn_wait").items()},
        throttled=_mean(run, "throttled"),
        core_wait=_mean(run, "core_wait"),
        cut_off="ended" in info and info["ended"] is None,
        planned=planned(mapping(info.get("plan"))) if run.source == OURS else (),
        hold=None if run.rebuilt else number(mapping(info.get("plan")).get("hold")),
        requests=_requests_of(run),
        holds=() if run.rebuilt else [hold for *_, hold in parts_planned(mapping(info.get("plan")))],
        stopped=info["stopped"] if isinstance(info.get("stopped"), bool) else None,
        empty=run.empty(),
        unread=run.unread(),
        unread_fields=run.unread_fields(),
        busy=run.busy(),
        courses=courses(run.levels, run.requests),
        settle=number(mapping(info.get("plan")).get("settle")),
        cache_hits=cache_hits(run.levels, run.telemetry),
        prompts=_repeated(mapping(info.get("options"))),
        shared=any(mapping(info.get("options")).get(name) for name in ("llm_system", "llm_prefix_tokens"))
        or bool(mapping(mapping(info.get("plan")).get("trace")).get("shared")),
        gone=gone(run.levels, run.workers),
        stood_still=stood_still(run.levels, run.workers),
        outages=outages,
        outages_left_out=verdict.outages,
        silent=_silent(run),
        tokens_a_chunk=tokens_a_chunk(run.successes()),
        length_noise=run.length_noise(),
        rows_seen=count(rows.get("seen")),
        rows_kept=count(rows.get("kept")),
        rows_found=run.whole_rows(),
        rows_outside=run.rows_outside(),
        sent=count(counts.get("sent")),
        ended=count(counts.get("ended")),
        think_time=think_time_of(classes) if classes else None,
        clocks=_clocks(info),
        decisive=verdict.decisive(of_the_ramp(run.levels)),
        bare=run.source == TABLE,
        whole_requests=run.source == LOCUST,
        own=[made for told in listed(info.get("checks")) if (made := _own_check(told)) is not None],
    )


def _requests_of(run: RunFrames) -> int | None:
    """The fixed number that the run was of."""
    return count(mapping(run.info.get("plan")).get("requests"))


def _repeated(told: Mapping[str, Any]) -> int | None:
    """How many prompts were asked again and again; None where each was unique, 0 where nobody can tell how many."""
    if told.get("llm_unique") is not False:
        return None
    try:
        return len(load_prompts(str(told.get("llm_prompts") or "")))
    except ValueError:  # a file that is elsewhere
        return 0


def _silent(run: RunFrames) -> int:
    processes = count(run.info.get("processes"))
    if run.workers is None or processes is None:
        return 0
    return max(0, processes - int(run.workers["worker"].nunique()))


def _usual_worst(run: RunFrames, column: str) -> dict[int, float]:
    """The 90th percentile of a level's seconds: one late second is no late level."""
    return _by_level(run, column, lambda seconds: float(seconds.quantile(0.9)))


def _mean(run: RunFrames, column: str) -> dict[int, float]:
    """The mean of a level's seconds."""
    return _by_level(run, column, lambda seconds: float(seconds.mean()))


def _by_level(run: RunFrames, column: str, figure: Callable[[pd.Series], float]) -> dict[int, float]:
    if run.timeline is None or column not in run.timeline or "level" not in run.timeline:
        return {}
    known = run.timeline.dropna(subset=["level", column])
    return {int(level): figure(seconds) for level, seconds in known.groupby("level")[column]}  # type: ignore[call-overload]


def _clocks(info: Mapping[str, Any]) -> dict[str, int]:
    """Return the measured requests by clock. Where the run did not count them, its clocks are known by name."""
    counted = {name: value for name, told in mapping(info.get("clocks")).items() if (value := count(told))}
    return counted or dict.fromkeys(filter(None, str(info.get("clock") or "").split(" and ")), 1)


def _own_check(told: Any) -> Check | None:
    if not isinstance(told, dict) or "name" not in told:
        return None
    value, limit = (number(told.get(name)) for name in ("value", "limit"))
    levels = tuple(each for each in listed(told.get("levels")) if isinstance(each, int))
    return Check(str(told["name"]), bool(told.get("ok", True)), value, limit, str(told.get("says") or ""), levels)


# -- HTML


def _html(report: Report) -> str:
    cards = [
        {
            "key": name,
            "name": NUMBERS[name],
            "means": MEANS[name],
            "number": in_words.card_number(finding, report.unit),
            "range": in_words.card_range(finding, report.unit),
            "why": words.sentence(finding.why),
            "reached": finding.reached,
        }
        for name, finding in report.verdict.numbers().items()
    ]
    table = level_table.columns(report)
    scene = _scene(report)
    level = report.only_level
    shown = report.ramp if report.climbs else [each for each in report.levels if each.part != RECOVERY]
    told = journeys(report.run.requests, shown, report.verdict)
    return render(
        "report.html.j2",
        title=in_words.title(report),
        headline=in_words.headline(report),
        climbs=report.climbs,
        parts=parts.table(report),
        parts_say=report.parts.says,
        cards=one_level.cards(level) if level else cards,
        one_level=level is not None,
        percentiles=one_level.percentiles(level) if level else None,
        collapse=words.sentence(report.verdict.collapse.why),
        cliffs=[
            {
                "where": f"{words.load(cliff.between[0])} → {words.with_unit(cliff.between[1], report.unit)}",
                "what": cliff.what,
                "why": words.sentence(cliff.why),
            }
            for cliff in report.verdict.cliffs
        ],
        advice=report.advice,
        trusted=report.trusted,
        trust_line=in_words.trust_line(report),
        checks=[(each, in_words.mark(each), in_words.MARKS[in_words.mark(each)]) for each in report.checks],
        limits=[str(each) for each in report.verdict.thresholds] if report.has_limits else [],
        derived=report.verdict.derived,
        unit=words.unit_of(report.unit),
        load_unit=report.unit,
        columns=table,
        groups=level_table.grouped(table),
        failures_decide=level_table.FAILURES_DECIDE if level_table.failures_decide(table) else "",
        rows=[
            {
                "load": words.load(each.load) if math.isfinite(each.load) else words.UNKNOWN,
                "part": each.part,
                "known": each.part in PARTS,
                "holds": report.holds(each),
                "tier": report.tier(each),
                "doubted": each.level in scene.doubted,
                "cells": [(column.cells[place], column.broken[place], column.judged[place]) for column in table],
            }
            for place, each in enumerate(report.levels)
        ],
        quality=in_words.quality(report),
        turn_heads=HEADS,
        turns=(talks := turns(report.run, report.verdict)),
        turns_at=in_words.turns_at(report, talks) if talks else "",
        scenes=told,
        steps={name: does for name, does in STEPS.items() if name in _steps_of(told)},
        longest=_longest(told),
        glance=pictures.at_a_glance(scene) if report.climbs else None,
        no_ramp=words.sentence(report.verdict.slo_limit.why) if report.verdict.windows else None,
        gates=report.gates,
        search=pictures.how_it_was_found(report.run, scene),
        pictures=pictures.pictures(report.run, scene),
        failed=any(each.failed or each.unsent for each in report.levels),
        messages=messages(report.run),
        facts=facts(report.run, report.unit),
        foreign=FOREIGN,
        options=options(report.run),
        notes=report.run.notes,
        unknown=report.unknown,
        files=[each.name for each in report.run.files],
        again=_again(report),
        glossary=GLOSSARY,
    )


def _steps_of(told: Iterable[Scenes]) -> set[str]:
    return {name for each in told for journey in each.journeys for name, _ in journey.steps}


def _longest(told: Iterable[Scenes]) -> float:
    """Seconds of the longest request that is shown: the width of the timelines."""
    return max((journey.seconds for each in told for journey in each.journeys), default=0.0)


def _scene(report: Report) -> Scene:
    standing = {each.level: report.tier(each) for each in report.levels}
    return Scene(report.ramp, report.verdict, report.goodput, standing, report.doubted)


def _again(report: Report) -> str:
    limits = "".join(f' --threshold "{each}"' for each in report.thresholds)
    if report.run.source == TABLE:
        return f"llmlocust report --table {report.run.files[0].name}{limits}"
    return f"llmlocust report {report.run.prefix.name}{limits}"
