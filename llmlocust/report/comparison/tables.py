"""The tables of a comparison: its runs, its figures, and the settings that differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmlocust.analysis.breakpoints.steps import Finding, name_of
from llmlocust.analysis.comparison.compare import (
    ERRORS,
    FASTER,
    FEWER,
    LATENCIES,
    MORE,
    SAME,
    SLOWER,
    UNSURE,
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
from llmlocust.text.message import message

_ALWAYS_DIFFERENT = ("Started", "Duration", "Requests", "Preflight")
"""Facts that differ between any two runs."""
_SIGNS: dict[str, str] = {SLOWER: "✗", MORE: "✗", FASTER: "✓", FEWER: "✓", SAME: "=", UNSURE: "?"}


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
    def of(cls, difference: Difference | None) -> Cell | None:
        if difference is None:
            return None
        return cls(
            difference.word,
            _SIGNS[difference.word],
            signed(difference, difference.effect),
            interval(difference),
            values(difference),
            difference.why,
            difference.regression,
        )


@dataclass(frozen=True)
class Row:
    name: str
    cells: list[Cell | None]
    """The cell over all levels, if there is one, then one for each level."""


def table(comparison: Comparison) -> list[Row]:
    """The table of a comparison, with one row for each figure."""
    columns: list[dict[str, Difference]] = [_by_name(comparison.overall)] if comparison.overall else []
    columns += [_by_name(pair.differences) for pair in comparison.pairs]
    return _rows(columns)


def matrix(compared: Compared) -> list[Row]:
    """Differences over all levels, or at the only one: a row for each figure, a column for each NEW; empty for two runs."""
    columns = [
        _by_name(comparison.pairs[0].differences if compared.at_one_level else comparison.overall)
        for comparison in compared.comparisons
    ]
    return _rows(columns) if len(columns) > 1 and all(columns) else []


def _by_name(differences: Sequence[Difference]) -> dict[str, Difference]:
    return {difference.name: difference for difference in differences}


def _rows(columns: Sequence[Mapping[str, Difference]]) -> list[Row]:
    known = {
        name: (difference.metric, difference.statistic) for column in columns for name, difference in column.items()
    }
    order = [*LATENCIES, *((metric, "") for metric in (*RATES, ERRORS))]
    names = sorted(known, key=lambda name: order.index(known[name]))
    return [Row(name, [Cell.of(column.get(name)) for column in columns]) for name in names]


_AT_A_GLANCE = tuple((key, statistic) for key, metric in METRICS.items() for statistic in metric.at_a_glance)


def runs_table(compared: Compared) -> tuple[list[str], list[list[tuple[str, str]]]]:
    """Heads and rows, one row for each run: the four numbers with intervals, and figures at the common load.

    For runs of one level, a row has the figures of that level.
    """
    at_load = [_level_at(assessment, compared.common_load) for assessment in compared.assessments]
    known = [key for key in _AT_A_GLANCE if any(level and level.metric(key[0])[key[1]] > 0.0 for level in at_load)]
    if compared.at_one_level:
        heads = [message("requests/s"), message("tokens/s"), name_of(ERRORS), *(name_of(*key) for key in known)]
        return heads, [_of_level(assessment.levels[0], known) for assessment in compared.assessments]
    rows = []
    for assessment, common in zip(compared.assessments, at_load, strict=True):
        rates = [level.output_tokens_per_s for level in assessment.levels if level.output_tokens_per_s > 0.0]
        rows.append([_number(finding, assessment.unit) for finding in assessment.verdict.numbers().values()])
        rows[-1].append((words.digits(max(rates, default=math.nan)), ""))
        figures = [common.metric(metric)[statistic] if common else math.nan for metric, statistic in known]
        rows[-1] += [(words.duration(figure), "") for figure in figures]
    return [*NUMBERS.values(), message("max tokens/s"), *(name_of(*key) for key in known)], rows


def _of_level(level: LevelFigures, known: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    rates = [one_level.rate(level, rate) for rate in (level.throughput, level.output_tokens_per_s)]
    return [*rates, one_level.errors(level), *(one_level.latency(level, *key) for key in known)]


def _number(finding: Finding, unit: str) -> tuple[str, str]:
    has_range = finding.reached and finding.load is not None
    return card_number(finding, unit), range_of(finding) if has_range else ""


def _level_at(assessment: Assessment, load: float | None) -> LevelFigures | None:
    if load is None:
        return None
    return next(
        (level for level in assessment.comparable if math.isclose(level.load, load, rel_tol=0.005) and level.ok), None
    )


def settings(compared: Compared) -> list[tuple[str, list[str], bool]]:
    """Settings that differ: name, value in each run, and whether the value is text from a run's files."""
    facts_of_runs = [dict(facts(assessment.run, assessment.unit)) for assessment in compared.assessments]
    options_of_runs = [dict(options(assessment.run)) for assessment in compared.assessments]
    rows = [(name, cells, name in FOREIGN) for name, cells in _side_by_side(facts_of_runs)]
    rows += [(name, cells, True) for name, cells in _side_by_side(options_of_runs)]
    return [row for row in rows if len(set(row[1])) > 1 and row[0] not in _ALWAYS_DIFFERENT]


def _side_by_side(settings_of_runs: Sequence[Mapping[str, str]]) -> list[tuple[str, list[str]]]:
    """The name of each setting with its values in all runs."""
    names = dict.fromkeys(name for of_run in settings_of_runs for name in of_run)
    return [(name, [of_run.get(name, words.UNKNOWN) for of_run in settings_of_runs]) for name in names]
