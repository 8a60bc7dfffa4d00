"""A report as Markdown, and the Markdown tables that other modules use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from llmlocust.assessment.assessment import Assessment
from llmlocust.assessment.plans import plan_of_report
from llmlocust.assessment.run_gates import name_of
from llmlocust.metrics.levels import LevelFigures
from llmlocust.report.sections import causes, faults, one_level, phases, planning, telemetry
from llmlocust.report.sections.conversations import HEADS, turns, turns_at
from llmlocust.report.sections.four_numbers import NUMBERS, place
from llmlocust.report.sections.headline import headline, title
from llmlocust.report.sections.level_table import FAILURES_DECIDE, columns, failures_decide
from llmlocust.report.sections.validity import mark, validity_line
from llmlocust.report.sections.what_was_run import facts, messages
from llmlocust.text import figures as words
from llmlocust.text import media
from llmlocust.text.message import message, sentences


def markdown(assessment: Assessment) -> str:
    """Return the report as one Markdown document."""
    lines = [f"# {media.markdown(title(assessment))}", "", f"**{media.markdown(headline(assessment))}**", ""]
    lines += [f"{'✓' if assessment.is_valid else '⚠'} {media.markdown(validity_line(assessment))}", ""]
    lines += _phases(assessment)
    lines += _faults(assessment)
    if assessment.only_level:
        lines += _figures(assessment.only_level)
    elif assessment.climbs:
        lines += ["| | load | why |", "|---|---|---|"]
        for name, finding in assessment.verdict.numbers().items():
            lines.append(
                f"| **{NUMBERS[name]}** | {place(finding, assessment.unit)} | {media.markdown(words.sentence(finding.why))} |"
            )
    if assessment.verdict.cliffs:
        lines += ["", "## Cliffs", ""]
        for cliff in assessment.verdict.cliffs:
            low, high = (words.load(load) for load in cliff.between)
            lines.append(
                f"- {low} → {high} {words.unit_of(assessment.unit)}: {media.markdown(cliff.what)}. {media.markdown(words.sentence(cliff.why))}"
            )
    lines += _causes(assessment)
    lines += _plan(assessment)
    if advice := assessment.advice:
        lines += ["", "## Next steps", ""]
        lines += [f"- {media.markdown(step.do)} {media.markdown(step.because)}" for step in advice]
    lines += ["", "## Levels", "", *_table(assessment)]
    more = [*faults.notes_on_levels(assessment), *assessment.quality]
    lines += [line for sentence in more for line in ("", media.markdown(sentence))]
    lines += _turns(assessment)
    lines += _telemetry(assessment)
    if errors := messages(assessment.run):
        lines += ["", "## Errors", "", "| kind | message | count |", "|---|---|---:|"]
        lines += [f"| {media.markdown(kind)} | {media.markdown_code(text)} | {count} |" for kind, text, count in errors]
    lines += ["", "## Is the measurement valid?", ""]
    lines += [
        f"- {mark(check)} **{media.markdown(check.name)}**: {media.markdown(check.says)}" for check in assessment.checks
    ]
    lines += ["", "## What was run", ""]
    lines += [f"- {name}: {media.markdown(value)}" for name, value in facts(assessment.run, assessment.unit)]
    if assessment.run.notes or assessment.unknown:
        lines += ["", "## Not measured", ""]
        lines += [f"- {media.markdown(note)}" for note in (*assessment.run.notes, *assessment.unknown)]
    return media.document("\n".join(lines) + "\n")


def _figures(level: LevelFigures) -> list[str]:
    heads, rows = one_level.percentiles(level)
    cards = [
        f"- {card['name']}: {card['number']}" + f" ({card['range']})" * bool(card["range"])
        for card in one_level.cards(level)
    ]
    return [*cards, "", *in_table(["", *heads], [[name, *map(str, figures)] for name, figures in rows])]


def _phases(assessment: Assessment) -> list[str]:
    table = phases.table(assessment)
    if table is None:
        return []
    heads = ["phase", words.unit_of(assessment.unit), "measured for", *table["heads"], "thresholds"]
    rows = [[row["name"], row["load"], row["time"], *row["cells"], row["limits"]] for row in table["rows"]]
    sentences = [f"- {media.markdown(sentence)}" for sentence in assessment.phases.says]
    return ["## Phases", "", *in_table(heads, rows), "", *sentences, *([""] if sentences else [])]


def _faults(assessment: Assessment) -> list[str]:
    """Return a chapter for each fault, and the drift of soaks."""
    lines: list[str] = []
    for fault in assessment.faults.repeats:
        shown = faults.chapter(assessment, fault)
        lines += [f"## Fault: {media.markdown(fault.name)}", "", media.markdown(shown["result"]), ""]
        heads = ["", *shown["heads"], *["range"] * shown["has_range"]]
        rows = [[row["name"], *map(str, row["cells"]), *[row["range"]] * shown["has_range"]] for row in shown["rows"]]
        lines += [*in_table(heads, rows), ""] if rows else []
        if shown["errors"]:
            lines += [*in_table(["lost requests", "count", "share"], shown["errors"]), ""]
        says = [sentences([when, text] if text else [when]) for when, text, _ in shown["evidence"]]
        lines += [f"- {media.markdown(line)}" for line in (*says, *shown["remarks"])]
        lines.append("")
    return lines + _drifts(assessment)


def _drifts(assessment: Assessment) -> list[str]:
    soaks = assessment.soaks.drifts
    if not soaks:
        return []
    says = [
        message("{level}: {sentence}", level=name_of(soak.level), sentence=text) for soak in soaks for text in soak.says
    ]
    return ["## Drift", "", *(f"- {media.markdown(line)}" for line in says), ""]


def _causes(assessment: Assessment) -> list[str]:
    """Return the causes of the numbers and cliffs, with the evidence."""
    shown = causes.causes(assessment)
    if not shown:
        return []
    lines = ["", "## Limiting factors", ""]
    for cause in shown:
        name = f": {media.markdown(cause.name)}" if cause.name else ""
        lines.append(f"- **{media.markdown(cause.where)}{name}** ({cause.degree}). {media.markdown(cause.says)}")
        lines += [f"  - {media.markdown(evidence.says)}" for evidence in cause.evidence]
        if cause.excluded:
            names = words.series([str(name) for name, _ in cause.excluded])
            lines.append(f"  - Excluded by the data: {media.markdown(names)}.")
    return lines


def _plan(assessment: Assessment) -> list[str]:
    """Return the section on capacity planning: what the SLO limit carries, and the assumptions."""
    plan = plan_of_report(assessment)
    if plan is None:
        return []
    results = in_table(["", *planning.HEADS], planning.markdown_rows(planning.results(plan)))
    assumed = in_table(["assumption", *planning.ASSUMED_HEADS], planning.markdown_rows(planning.assumed(plan)))
    says = [f"- {media.markdown(sentence)}" for sentence in plan.says]
    return ["", "## Capacity planning", "", *results, "", *says, "", *assumed]


def _turns(assessment: Assessment) -> list[str]:
    talks = turns(assessment.run, assessment.verdict)
    if talks is None:
        return []
    table = in_table(HEADS, [(turn.name, *turn.cells()) for turn in talks.turns])
    return ["", "## Conversations by turn", "", *table, "", f"{media.markdown(turns_at(assessment, talks))}."]


def _telemetry(assessment: Assessment) -> list[str]:
    """Return the main metrics that the server reported, with its sources and events."""
    run = assessment.run
    if not telemetry.is_observed(run):
        return []
    lines = ["", "## Telemetry", ""]
    rows = [
        [row.name, *(cell.value for cell in row.cells)] for group in telemetry.groups(assessment) for row in group.rows
    ]
    if rows:
        loads = [words.load(level.load) if math.isfinite(level.load) else words.UNKNOWN for level in assessment.levels]
        lines += [*in_table([words.unit_of(assessment.unit), *loads], rows), ""]
    if absent := telemetry.not_exposed(assessment):
        lines += [media.markdown(absent), ""]
    events = [telemetry.event_line(event, run, assessment.unit) for event in telemetry.events_shown(run)]
    lines += [f"- {media.markdown(event)}" for event in (*events, telemetry.more_events(run)) if event]
    return lines + [f"- {media.markdown(telemetry.source_line(source))}" for source in run.sources]


def _table(assessment: Assessment) -> list[str]:
    table = columns(assessment)
    heads = [media.markdown(f"{column.group} {column.head}") for column in table]
    named = any(level.phase for level in assessment.levels)
    words_first = [*["phase"] * named, *["thresholds"] * assessment.has_limits]
    lines = [f"| {' | '.join([words.unit_of(assessment.unit), *words_first, *heads])} |"]
    lines.append("|---:|" + "---|" * len(words_first) + "---:|" * len(table))
    for row, level in enumerate(assessment.levels):
        cells = [f"**{column.cells[row]}** ✗" if column.broken[row] else column.cells[row] for column in table]
        load = words.load(level.load) if math.isfinite(level.load) else words.UNKNOWN
        texts = [*[media.markdown(level.phase)] * named, *[assessment.tier(level)] * assessment.has_limits]
        lines.append(f"| {' | '.join([load, *texts, *cells])} |")
    if not assessment.has_limits:
        return lines
    thresholds = words.series([f"`{threshold}`" for threshold in assessment.verdict.thresholds])
    source = "derived from the lowest level, because none were given" if assessment.verdict.derived else "as given"
    lines += ["", f"Thresholds: {thresholds} ({source})."]
    return [*lines, "", f"{FAILURES_DECIDE}."] if failures_decide(table) else lines


def in_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table whose first column is text. Heads and first column are escaped here; other cells are not."""
    lines = [f"| {' | '.join(map(media.markdown, heads))} |", "|---|" + "---:|" * (len(heads) - 1)]
    return lines + [f"| {' | '.join((media.markdown(row[0]), *row[1:]))} |" for row in rows]
