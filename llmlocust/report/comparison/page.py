"""The page of a comparison."""

from __future__ import annotations

from llmlocust.report.comparison.charts import curves
from llmlocust.report.comparison.compared import Compared
from llmlocust.report.comparison.sentences import doubts, headlines, key, not_compared, standing, title
from llmlocust.report.comparison.tables import common_load, matrix, runs_table, settings, table
from llmlocust.report.languages.page_language import page_in
from llmlocust.report.sections.validity import validity_line
from llmlocust.report.templating import render
from llmlocust.text import figures as words


def html(compared: Compared) -> str:
    """The page: one file that needs no network."""
    heads, rows = runs_table(compared)
    at = common_load(compared)
    return render(
        "compare.html.j2",
        title=title(compared),
        headlines=headlines(compared),
        standing=standing(compared),
        heads=heads,
        runs=list(zip(compared.labels, rows, strict=True)),
        common=words.with_unit(at, compared.unit) if at is not None else "",
        limits=[str(each) for each in compared.assessments[1].thresholds],
        derived=not compared.assessments[0].thresholds,
        curves=None if compared.at_one_level else curves(compared.labels, compared.assessments),
        at_one_level=compared.at_one_level,
        matrix=matrix(compared),
        tables=[
            {
                "label": label,
                "headline": said,
                "rows": table(comparison),
                "overall": bool(comparison.overall),
                "loads": [
                    (words.load(pair.load), words.unit_of(compared.unit, pair.load), bool(pair.doubts))
                    for pair in comparison.pairs
                ],
                "only": not_compared(compared, label, comparison),
                "doubts": doubts(compared, label, comparison),
            }
            for (label, comparison), said in zip(compared.each, headlines(compared), strict=True)
        ],
        base=compared.labels[0],
        key=key(compared),
        labels=compared.labels,
        settings=settings(compared),
        validity=[
            (label, assessment.is_valid, validity_line(assessment))
            for label, assessment in zip(compared.labels, compared.assessments, strict=True)
        ],
        files=[
            (label, [each.name for each in assessment.run.files])
            for label, assessment in zip(compared.labels, compared.assessments, strict=True)
        ],
        glossary=_GLOSSARY,
    )


def html_in(compared: Compared, language: str) -> tuple[str, list[str]]:
    """The page in one of LANGUAGES, and the templates that stayed English because the catalogue lacks them."""
    return page_in(language, lambda: html(compared))


_GLOSSARY = [
    ("Change", "NEW / BASE − 1; for errors NEW − BASE, in percentage points. The 95 % interval is below it."),
    ("✗ slower, more", "Worse than BASE, by more than chance explains for this number of figures (Holm's method)."),
    ("✓ faster, fewer", "Better than BASE, by the same method."),
    ("= same", "The whole interval is within the tolerance, which rules out a larger change."),
    ("? cannot tell", "The interval is too wide to decide. More requests at a level make it narrower."),
    ("Regression", "Worse by more than the tolerance, and noise does not explain it: the command ends with exit code 99."),
    ("Over all levels", "The mean change of the levels; noisy levels have less weight."),
    ("Longest ITL", "Of each request the longest time between two of its tokens; half of the requests had less."),
]  # fmt: skip
