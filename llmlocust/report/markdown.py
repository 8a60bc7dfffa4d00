"""A report as Markdown, and what others write in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from llmlocust.metrics.levels import LevelFigures
from llmlocust.report import parts
from llmlocust.report.charts.by_load import NUMBERS
from llmlocust.report.sections import one_level
from llmlocust.report.sections.conversations import HEADS, turns
from llmlocust.report.sections.headline import headline, mark, place, quality, title, trust_line, turns_at
from llmlocust.report.sections.level_table import FAILURES_DECIDE, columns, failures_decide
from llmlocust.report.sections.what_was_run import facts, messages
from llmlocust.text import figures as words
from llmlocust.text import media

if TYPE_CHECKING:
    from llmlocust.report.page import Report


def page(report: Report) -> str:
    """The whole report."""
    lines = [f"# {media.markdown(title(report))}", "", f"**{media.markdown(headline(report))}**", ""]
    lines += [f"{'✓' if report.trusted else '⚠'} {media.markdown(trust_line(report))}", ""]
    lines += _parts(report)
    if report.only_level:
        lines += _figures(report.only_level)
    elif report.climbs:
        lines += ["| | load | why |", "|---|---|---|"]
        for name, finding in report.verdict.numbers().items():
            lines.append(
                f"| **{NUMBERS[name]}** | {place(finding, report.unit)} | {media.markdown(words.sentence(finding.why))} |"
            )
    if report.verdict.cliffs:
        lines += ["", "## Cliffs", ""]
        for cliff in report.verdict.cliffs:
            low, high = (words.load(each) for each in cliff.between)
            lines.append(
                f"- {low} → {high} {words.unit_of(report.unit)}: {media.markdown(cliff.what)}. {media.markdown(cliff.why)}."
            )
    if advice := report.advice:
        lines += ["", "## What to try next", ""]
        lines += [f"- {media.markdown(each.do)} {media.markdown(each.because)}" for each in advice]
    lines += ["", "## Levels", "", *_table(report)]
    lines += [each for said in quality(report) for each in ("", media.markdown(said))]
    lines += _turns(report)
    if told := messages(report.run):
        lines += ["", "## Errors", "", "| kind | message | count |", "|---|---|---:|"]
        lines += [f"| {media.markdown(kind)} | {media.markdown_code(text)} | {count} |" for kind, text, count in told]
    lines += ["", "## Can it be believed?", ""]
    lines += [f"- {mark(each)} **{media.markdown(each.name)}**: {media.markdown(each.says)}" for each in report.checks]
    lines += ["", "## What was run", ""]
    lines += [f"- {name}: {media.markdown(value)}" for name, value in facts(report.run, report.unit)]
    if report.run.notes or report.unknown:
        lines += ["", "## What could not be known", ""]
        lines += [f"- {media.markdown(each)}" for each in (*report.run.notes, *report.unknown)]
    return media.document("\n".join(lines) + "\n")


def _figures(level: LevelFigures) -> list[str]:
    heads, rows = one_level.percentiles(level)
    told = [
        f"- {each['name']}: {each['number']}" + f" ({each['range']})" * bool(each["range"])
        for each in one_level.cards(level)
    ]
    return [*told, "", *in_table(["", *heads], [[name, *map(str, figures)] for name, figures in rows])]


def _parts(report: Report) -> list[str]:
    told = parts.table(report)
    if told is None:
        return []
    heads = ["part", words.unit_of(report.unit), "measured for", *told["heads"], "limits"]
    rows = [[row["name"], row["load"], row["time"], *row["cells"], row["limits"]] for row in told["rows"]]
    said = [f"- {media.markdown(each)}" for each in report.parts.says]
    return ["## Parts", "", *in_table(heads, rows), "", *said, *([""] if said else [])]


def _turns(report: Report) -> list[str]:
    talks = turns(report.run, report.verdict)
    if talks is None:
        return []
    table = in_table(HEADS, [(each.name, *each.cells()) for each in talks.turns])
    return ["", "## Conversations by turn", "", *table, "", f"{media.markdown(turns_at(report, talks))}."]


def _table(report: Report) -> list[str]:
    table = columns(report)
    heads = [media.markdown(f"{column.group} {column.head}") for column in table]
    named = any(each.part for each in report.levels)
    words_first = [*["part"] * named, *["limits"] * report.has_limits]
    lines = [f"| {' | '.join([words.unit_of(report.unit), *words_first, *heads])} |"]
    lines.append("|---:|" + "---|" * len(words_first) + "---:|" * len(table))
    for row, each in enumerate(report.levels):
        cells = [f"**{column.cells[row]}** ✗" if column.broken[row] else column.cells[row] for column in table]
        load = words.load(each.load) if math.isfinite(each.load) else words.UNKNOWN
        told = [*[media.markdown(each.part)] * named, *[report.tier(each)] * report.has_limits]
        lines.append(f"| {' | '.join([load, *told, *cells])} |")
    if not report.has_limits:
        return lines
    asked = words.series([f"`{each}`" for each in report.verdict.thresholds])
    source = "derived from the lowest level, as none were given" if report.verdict.derived else "as given"
    lines += ["", f"Limits: {asked} ({source})."]
    return [*lines, "", f"{FAILURES_DECIDE}."] if failures_decide(table) else lines


def in_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table of Markdown whose first column is text; cells are Markdown already, heads are not."""
    lines = [f"| {' | '.join(map(media.markdown, heads))} |", "|---|" + "---:|" * (len(heads) - 1)]
    return lines + [f"| {' | '.join((media.markdown(row[0]), *row[1:]))} |" for row in rows]
