"""The page of a report."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from llmlocust.assessment.assessment import Assessment
from llmlocust.assessment.plans import plan_of_report
from llmlocust.metrics.vocabulary import PHASES, RECOVERY
from llmlocust.report.charts import captions
from llmlocust.report.charts import faults as faults_chart
from llmlocust.report.charts import telemetry as telemetry_chart
from llmlocust.report.charts.by_load import Scene
from llmlocust.report.languages.page_language import page_in
from llmlocust.report.sections import (
    causes,
    faults,
    four_numbers,
    headline,
    level_table,
    one_level,
    phases,
    planning,
    soaks,
    telemetry,
    validity,
)
from llmlocust.report.sections.conversations import HEADS, turns, turns_at
from llmlocust.report.sections.glossary import GLOSSARY
from llmlocust.report.sections.journeys import KINDS, STEPS, Scenes, journeys
from llmlocust.report.sections.what_was_run import FOREIGN, facts, messages, options
from llmlocust.report.templating import render
from llmlocust.runfiles.reading.run_data import TABLE
from llmlocust.text import figures as words
from llmlocust.text.message import message, term


def html(assessment: Assessment) -> str:
    """Return the page: one file that needs no network."""
    return render(
        "report.html.j2",
        climbs=assessment.climbs,
        one_level=assessment.only_level is not None,
        unit=words.unit_of(assessment.unit),
        load_unit=assessment.unit,
        gates=assessment.gates,
        plan=planning.shown(plan_of_report(assessment)),
        advice=assessment.advice,
        quality=assessment.quality,
        glossary=GLOSSARY,
        **_verdict(assessment),
        **_faults(assessment),
        **_numbers(assessment),
        **_journeys(assessment),
        **_levels(assessment),
        **_telemetry(assessment),
        **_pictures(assessment),
        **_validity(assessment),
        **_run(assessment),
    )


def html_in(assessment: Assessment, language: str) -> tuple[str, list[str]]:
    """Return the page in one of LANGUAGES, and the templates that stayed English because the catalogue lacks them."""
    return page_in(language, lambda: html(assessment))


def _verdict(assessment: Assessment) -> dict[str, Any]:
    """The headline, and the table and sentences about the phases of a plan."""
    verdict = assessment.verdict
    return {
        "title": headline.title(assessment),
        "headline": headline.headline(assessment),
        "no_ramp": words.sentence(verdict.slo_limit.why) if verdict.windows else None,
        "phases": phases.table(assessment),
        "phase_sentences": assessment.phases.says,
    }


def _faults(assessment: Assessment) -> dict[str, Any]:
    """A chapter for each fault with its pictures, and the drift of soaks."""
    return {
        "faults": [
            faults.chapter(assessment, fault) | {"pictures": faults_chart.pictures(assessment.faults, fault.reports)}
            for fault in assessment.faults.repeats
        ],
        "fault_notes": faults.notes_on_levels(assessment),
        "soaks": [soaks.shown(drift) for drift in assessment.soaks.drifts],
    }


def _numbers(assessment: Assessment) -> dict[str, Any]:
    """The four numbers, or the figures of the only level."""
    verdict, level = assessment.verdict, assessment.only_level
    return {
        "cards": one_level.cards(level) if level else four_numbers.cards(verdict, assessment.unit),
        "percentiles": one_level.percentiles(level) if level else None,
        "collapse": words.sentence(verdict.collapse.why),
        "causes": causes.causes(assessment),
        "cliffs": [
            {
                "where": message(
                    "{before} → {after}",
                    before=words.load(cliff.between[0]),
                    after=words.with_unit(cliff.between[1], assessment.unit),
                ),
                "what": message("{sentence}.", sentence=cliff.what),
                "why": words.sentence(cliff.why),
            }
            for cliff in verdict.cliffs
        ],
    }


def _journeys(assessment: Assessment) -> dict[str, Any]:
    shown = assessment.ramp if assessment.climbs else [level for level in assessment.levels if level.phase != RECOVERY]
    scenes = journeys(assessment.run.requests, shown, assessment.verdict)
    return {
        "scenes": scenes,
        "kinds": KINDS,
        "steps": {name: meaning for name, meaning in STEPS.items() if name in _steps_of(scenes)},
        "longest": _longest(scenes),
    }


def _steps_of(scenes: Iterable[Scenes]) -> set[str]:
    return {name for scene in scenes for journey in scene.journeys for name, _ in journey.steps}


def _longest(scenes: Iterable[Scenes]) -> float:
    """Seconds of the longest request that is shown: the width of the timelines."""
    return max((journey.seconds for scene in scenes for journey in scene.journeys), default=0.0)


def _levels(assessment: Assessment) -> dict[str, Any]:
    """The table of the levels, and of the turns of conversations."""
    table, verdict = level_table.columns(assessment), assessment.verdict
    doubted, conversations = assessment.doubted, turns(assessment.run, verdict)
    return {
        "limits": [str(limit) for limit in verdict.thresholds] if assessment.has_limits else [],
        "derived": verdict.derived,
        "columns": table,
        "groups": level_table.grouped(table),
        "failures_decide": words.sentence(level_table.FAILURES_DECIDE) if level_table.failures_decide(table) else "",
        "rows": [
            {
                "load": words.load(level.load) if math.isfinite(level.load) else words.UNKNOWN,
                "phase": term(level.phase) if level.phase in PHASES else level.phase,
                "known": level.phase in PHASES,
                "tier": assessment.tier(level),
                "doubted": level.level in doubted,
                "cells": [(column.cells[place], column.broken[place], column.judged[place]) for column in table],
            }
            for place, level in enumerate(assessment.levels)
        ],
        "turn_heads": HEADS,
        "turns": conversations,
        "turns_at": words.sentence(turns_at(assessment, conversations)) if conversations else "",
    }


def _telemetry(assessment: Assessment) -> dict[str, Any]:
    """The telemetry, and its picture."""
    shown = telemetry.page(assessment)
    picture = None if shown is None else telemetry_chart.telemetry(assessment.run, _scene(assessment))
    return {"telemetry": shown, "telemetry_picture": picture}


def _pictures(assessment: Assessment) -> dict[str, Any]:
    """The pictures, and the messages of failed requests beside them."""
    scene = _scene(assessment)
    return {
        "glance": captions.at_a_glance(scene) if assessment.climbs else None,
        "search": captions.search_picture(assessment.run, scene),
        "pictures": captions.pictures(assessment.run, scene),
        "failed": any(level.failed or level.unsent for level in assessment.levels),
        "messages": messages(assessment.run),
    }


def _scene(assessment: Assessment) -> Scene:
    tiers = {level.level: assessment.tier(level) for level in assessment.levels}
    return Scene(assessment.ramp, assessment.verdict, assessment.goodput, tiers, assessment.doubted)


def _validity(assessment: Assessment) -> dict[str, Any]:
    return {
        "is_valid": assessment.is_valid,
        "validity_line": validity.validity_line(assessment),
        "checks": [(check, validity.mark(check), validity.MARKS[validity.mark(check)]) for check in assessment.checks],
        "notes": assessment.run.notes,
        "unknown": assessment.unknown,
    }


def _run(assessment: Assessment) -> dict[str, Any]:
    """What was run, and how to make the page again."""
    return {
        "facts": facts(assessment.run, assessment.unit),
        "foreign": FOREIGN,
        "options": options(assessment.run),
        "files": [file.name for file in assessment.run.files],
        "again": _again(assessment),
    }


def _again(assessment: Assessment) -> str:
    limits = "".join(f' --threshold "{threshold}"' for threshold in assessment.thresholds)
    if assessment.run.source == TABLE:
        return f"llmlocust report --table {assessment.run.files[0].name}{limits}"
    return f"llmlocust report {assessment.run.prefix.name}{limits}"
