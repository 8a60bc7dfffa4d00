"""The tables of a comparison: its runs, its figures, and the settings that differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmlocust.analysis.breakpoints.steps import Finding, name_of
from llmlocust.analysis.comparison.compare import (
    BETTER,
    ERRORS,
    LATENCIES,
    SAME,
    UNSURE,
    WORSE,
    Comparison,
    Difference,
)
from llmlocust.assessment.assessment import Assessment
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import RATES
from llmlocust.report.comparison.compared import Compared
from llmlocust.report.comparison.sentences import interval, signed, values
from llmlocust.report.sections import one_level
from llmlocust.report.sections.four_numbers import NUMBERS, card_number, range_of
from llmlocust.report.sections.what_was_run import FOREIGN, facts, options
from llmlocust.text import figures as words

_SIGNS = dict.fromkeys(WORSE, "✗") | dict.fromkeys(BETTER, "✓") | {SAME: "=", UNSURE: "?"}


@dataclass(frozen=True)
class Cell:
    word: str
    sign: str
    change: str
    interval: str
    values: str
    why: str
    regression: bool

    @classmethod
    def of(cls, each: Difference | None) -> Cell | None:
        if each is None:
            return None
        return cls(
            each.word,
            _SIGNS[each.word],
            signed(each, each.effect),
            interval(each),
            values(each),
            each.why,
            each.regression,
        )


@dataclass(frozen=True)
class Row:
    name: str
    cells: list[Cell | None]
    """The cell over all levels, if there is one, then one for each level."""


def table(comparison: Comparison) -> list[Row]:
    """The table of a comparison, with one row for each figure."""
    columns: list[dict[str, Difference]] = (
        [{each.name: each for each in comparison.overall}] if comparison.overall else []
    )
    columns += [{each.name: each for each in pair.differences} for pair in comparison.pairs]
    return _rows(columns)


def matrix(compared: Compared) -> list[Row]:
    """Differences over all levels, or at the only one: a row for each figure, a column for each NEW; empty for two runs."""
    told = [each.pairs[0].differences if compared.at_one_level else each.overall for each in compared.comparisons]
    columns = [{each.name: each for each in differences} for differences in told]
    return _rows(columns) if len(columns) > 1 and all(columns) else []


def _rows(columns: Sequence[Mapping[str, Difference]]) -> list[Row]:
    known = {each.name: (each.metric, each.statistic) for column in columns for each in column.values()}
    order = [*LATENCIES, *((metric, "") for metric in (*RATES, ERRORS))]
    names = sorted(known, key=lambda name: order.index(known[name]))
    return [Row(name, [Cell.of(column.get(name)) for column in columns]) for name in names]


_AT_A_GLANCE = tuple((key, statistic) for key, metric in METRICS.items() for statistic in metric.at_a_glance)


def common_load(compared: Compared) -> float | None:
    """The highest load that all runs have; None if there is none."""
    held = [{pair.load for pair in each.pairs} for each in compared.comparisons]
    return max(set.intersection(*held), default=None)


def runs_table(compared: Compared) -> tuple[list[str], list[list[tuple[str, str]]]]:
    """Heads and rows, one row for each run: the four numbers with intervals, and figures at the common load.

    For runs of one level, a row has the figures of that level.
    """
    levels = [_level_at(each, common_load(compared)) for each in compared.assessments]
    known = [key for key in _AT_A_GLANCE if any(each and each.metric(key[0])[key[1]] > 0.0 for each in levels)]
    if compared.at_one_level:
        heads = ["requests/s", "tokens/s", "errors", *(name_of(*key) for key in known)]
        return heads, [_of_level(each.levels[0], known) for each in compared.assessments]
    rows = []
    for assessment, level in zip(compared.assessments, levels, strict=True):
        best = max(
            (each.output_tokens_per_s for each in assessment.levels if each.output_tokens_per_s > 0.0), default=math.nan
        )
        rows.append([_number(finding, assessment.unit) for finding in assessment.verdict.numbers().values()])
        rows[-1].append((words.digits(best), ""))
        figures = [level.metric(metric)[statistic] if level else math.nan for metric, statistic in known]
        rows[-1] += [(words.duration(each), "") for each in figures]
    return [*NUMBERS.values(), "max tokens/s", *(name_of(*key) for key in known)], rows


def _of_level(level: LevelFigures, known: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    rates = [one_level.rate(level, each) for each in (level.throughput, level.output_tokens_per_s)]
    return [*rates, one_level.errors(level), *(one_level.latency(level, *key) for key in known)]


def _number(finding: Finding, unit: str) -> tuple[str, str]:
    has_range = finding.reached and finding.load is not None
    return card_number(finding, unit), range_of(finding) if has_range else ""


def _level_at(assessment: Assessment, load: float | None) -> LevelFigures | None:
    if load is None:
        return None
    return next(
        (each for each in assessment.comparable if math.isclose(each.load, load, rel_tol=0.005) and each.ok), None
    )


def settings(compared: Compared) -> list[tuple[str, list[str], bool]]:
    """Settings that differ: name, value in each run, and whether the value is text from a run's files."""
    told = [dict(facts(each.run, each.unit)) for each in compared.assessments]
    asked = [dict(options(each.run)) for each in compared.assessments]
    pairs = [(name, told, name in FOREIGN) for name in dict.fromkeys(name for each in told for name in each)]
    pairs += [(name, asked, True) for name in dict.fromkeys(name for each in asked for name in each)]
    rows = [(name, [each.get(name, words.UNKNOWN) for each in source], foreign) for name, source, foreign in pairs]
    # duration and start differ between any two runs
    return [
        row for row in rows if len(set(row[1])) > 1 and row[0] not in ("Started", "Duration", "Requests", "Preflight")
    ]
