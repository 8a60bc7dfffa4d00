"""A comparison as Markdown and as JSON."""

from __future__ import annotations

import math
from typing import Any

from llmlocust.analysis.comparison.compare import FALSE_ALARMS, Difference
from llmlocust.metrics.thresholds import RATES
from llmlocust.report.as_json import plain, verdict_data
from llmlocust.report.comparison.compared import Compared
from llmlocust.report.comparison.sentences import doubts, headlines, key, not_compared, title
from llmlocust.report.comparison.tables import Cell, matrix, runs_table, settings, table
from llmlocust.report.markdown import in_table
from llmlocust.runfiles.formats import FORMAT
from llmlocust.text import figures as words
from llmlocust.text import media


def markdown(compared: Compared) -> str:
    lines = [
        f"# {media.markdown(title(compared))}",
        "",
        *(f"**{media.markdown(headline)}**\n" for headline in headlines(compared)),
    ]
    heads, rows = runs_table(compared)
    runs = [
        [label, *(f"{number} ({small})" if small else number for number, small in cells)]
        for label, cells in zip(compared.labels, rows, strict=True)
    ]
    lines += ["## Runs", "", *in_table(["", *heads], runs)]
    if (load := compared.common_load) is not None:
        lines += ["", f"Latencies at {words.with_unit(load, compared.unit)}, the highest load that all runs have."]
    if over_all := matrix(compared):
        lines += [
            "",
            f"## {'The level' if compared.at_one_level else 'Over all levels'}, compared with {media.markdown(compared.labels[0])}",
            "",
        ]
        lines += in_table(["", *compared.labels[1:]], [[row.name, *map(_markdown_cell, row.cells)] for row in over_all])
    for label, comparison in compared.new_runs:
        lines += ["", f"## {media.markdown(label)} compared with {media.markdown(compared.labels[0])}", ""]
        loads = [
            f"{words.with_unit(pair.load, compared.unit)}{' (not valid)' if pair.doubts else ''}"
            for pair in comparison.pairs
        ]
        columns = ["", *(["all levels"] if comparison.overall else []), *loads]
        lines += in_table(columns, [[row.name, *map(_markdown_cell, row.cells)] for row in table(comparison)])
        lines += [
            "",
            *(
                f"- {media.markdown(sentence)}"
                for sentence in (*not_compared(compared, label, comparison), *doubts(compared, label, comparison))
            ),
        ]
    if differ := settings(compared):
        lines += [
            "",
            "## Settings that differ",
            "",
            *in_table(["", *compared.labels], [[name, *map(media.markdown, values)] for name, values, _ in differ]),
        ]
    lines += ["", key(compared)]
    return media.document("\n".join(lines) + "\n")


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None:
        return words.UNKNOWN
    change = f"**{cell.change}**" if cell.regression else cell.change
    return f"{cell.sign} {change} ({cell.interval})"


def as_json(compared: Compared) -> str:
    return media.as_json(data(compared))


def data(compared: Compared) -> dict[str, Any]:
    """The comparison as plain values: durations in milliseconds, shares from 0 to 1; null: not known."""
    return {
        "format": FORMAT,
        "load": compared.unit,
        "tolerance": compared.tolerance,
        "false_alarms": FALSE_ALARMS,
        "regression": compared.regressed,
        "is_valid": not compared.doubted,
        "runs": [
            {"label": label, "verdict": verdict_data(assessment), "is_valid": assessment.is_valid}
            for label, assessment in zip(compared.labels, compared.assessments, strict=True)
        ],
        "comparisons": [
            {
                "base": compared.labels[0],
                "new": label,
                "says": headline,
                "regression": bool(comparison.regressions),
                "overall": [_difference(difference) for difference in comparison.overall],
                "levels": [
                    {
                        "load": plain(pair.load),
                        "doubts": [{"run": side, "check": check} for side, check in pair.doubts],
                        "differences": [_difference(difference) for difference in pair.differences],
                    }
                    for pair in comparison.pairs
                ],
                "only_base": [plain(load) for load in comparison.only_base],
                "only_new": [plain(load) for load in comparison.only_new],
            }
            for (label, comparison), headline in zip(compared.new_runs, headlines(compared), strict=True)
        ],
        "settings": [{"name": name, "values": values} for name, values, _ in settings(compared)],
    }


def _difference(difference: Difference) -> dict[str, Any]:
    scale = 1.0 if difference.is_share or difference.metric in RATES else 1000.0
    return {
        "metric": difference.metric,
        "statistic": difference.statistic or None,
        "base": plain(difference.base * scale),
        "new": plain(difference.new * scale),
        "change": plain(difference.change(difference.effect)),
        "low": plain(difference.change(difference.low)) if math.isfinite(difference.low) else None,
        "high": plain(difference.change(difference.high)) if math.isfinite(difference.high) else None,
        "z": plain(difference.z, 4),
        "word": difference.word,
        "why": difference.why,
        "regression": difference.regression,
    }
