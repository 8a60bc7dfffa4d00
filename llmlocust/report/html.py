"""The page of a report."""

from __future__ import annotations

import math
from collections.abc import Iterable

from llmlocust.assessment.assessment import Assessment
from llmlocust.metrics.vocabulary import PARTS, RECOVERY
from llmlocust.report.charts import captions
from llmlocust.report.charts.by_load import Scene
from llmlocust.report.languages.translate import translated
from llmlocust.report.sections import four_numbers, headline, level_table, one_level, phases, trust
from llmlocust.report.sections.conversations import HEADS, turns, turns_at
from llmlocust.report.sections.glossary import GLOSSARY
from llmlocust.report.sections.journeys import STEPS, Scenes, journeys
from llmlocust.report.sections.what_was_run import FOREIGN, facts, messages, options
from llmlocust.report.templating import render
from llmlocust.runfiles.reading.run_data import TABLE
from llmlocust.text import figures as words


def html(assessment: Assessment) -> str:
    """The page in English: one file that needs no network."""
    table = level_table.columns(assessment)
    scene = _scene(assessment)
    level = assessment.only_level
    shown = assessment.ramp if assessment.climbs else [each for each in assessment.levels if each.part != RECOVERY]
    told = journeys(assessment.run.requests, shown, assessment.verdict)
    return render(
        "report.html.j2",
        title=headline.title(assessment),
        headline=headline.headline(assessment),
        climbs=assessment.climbs,
        parts=phases.table(assessment),
        parts_say=assessment.parts.says,
        cards=one_level.cards(level) if level else four_numbers.cards(assessment.verdict, assessment.unit),
        one_level=level is not None,
        percentiles=one_level.percentiles(level) if level else None,
        collapse=words.sentence(assessment.verdict.collapse.why),
        cliffs=[
            {
                "where": f"{words.load(cliff.between[0])} → {words.with_unit(cliff.between[1], assessment.unit)}",
                "what": cliff.what,
                "why": words.sentence(cliff.why),
            }
            for cliff in assessment.verdict.cliffs
        ],
        advice=assessment.advice,
        trusted=assessment.trusted,
        trust_line=trust.trust_line(assessment),
        checks=[(each, trust.mark(each), trust.MARKS[trust.mark(each)]) for each in assessment.checks],
        limits=[str(each) for each in assessment.verdict.thresholds] if assessment.has_limits else [],
        derived=assessment.verdict.derived,
        unit=words.unit_of(assessment.unit),
        load_unit=assessment.unit,
        columns=table,
        groups=level_table.grouped(table),
        failures_decide=level_table.FAILURES_DECIDE if level_table.failures_decide(table) else "",
        rows=[
            {
                "load": words.load(each.load) if math.isfinite(each.load) else words.UNKNOWN,
                "part": each.part,
                "known": each.part in PARTS,
                "holds": assessment.holds(each),
                "tier": assessment.tier(each),
                "doubted": each.level in scene.doubted,
                "cells": [(column.cells[place], column.broken[place], column.judged[place]) for column in table],
            }
            for place, each in enumerate(assessment.levels)
        ],
        quality=assessment.quality,
        turn_heads=HEADS,
        turns=(talks := turns(assessment.run, assessment.verdict)),
        turns_at=turns_at(assessment, talks) if talks else "",
        scenes=told,
        steps={name: does for name, does in STEPS.items() if name in _steps_of(told)},
        longest=_longest(told),
        glance=captions.at_a_glance(scene) if assessment.climbs else None,
        no_ramp=words.sentence(assessment.verdict.slo_limit.why) if assessment.verdict.windows else None,
        gates=assessment.gates,
        search=captions.how_it_was_found(assessment.run, scene),
        pictures=captions.pictures(assessment.run, scene),
        failed=any(each.failed or each.unsent for each in assessment.levels),
        messages=messages(assessment.run),
        facts=facts(assessment.run, assessment.unit),
        foreign=FOREIGN,
        options=options(assessment.run),
        notes=assessment.run.notes,
        unknown=assessment.unknown,
        files=[each.name for each in assessment.run.files],
        again=_again(assessment),
        glossary=GLOSSARY,
    )


def html_in(assessment: Assessment, language: str) -> tuple[str, list[str]]:
    """The page in one of LANGUAGES, and its texts that stayed English because the catalogue does not know them."""
    return (html(assessment), []) if language == "en" else translated(html(assessment), language)


def _steps_of(told: Iterable[Scenes]) -> set[str]:
    return {name for each in told for journey in each.journeys for name, _ in journey.steps}


def _longest(told: Iterable[Scenes]) -> float:
    """Seconds of the longest request that is shown: the width of the timelines."""
    return max((journey.seconds for each in told for journey in each.journeys), default=0.0)


def _scene(assessment: Assessment) -> Scene:
    standing = {each.level: assessment.tier(each) for each in assessment.levels}
    return Scene(assessment.ramp, assessment.verdict, assessment.goodput, standing, assessment.doubted)


def _again(assessment: Assessment) -> str:
    limits = "".join(f' --threshold "{each}"' for each in assessment.thresholds)
    if assessment.run.source == TABLE:
        return f"llmlocust report --table {assessment.run.files[0].name}{limits}"
    return f"llmlocust report {assessment.run.prefix.name}{limits}"
