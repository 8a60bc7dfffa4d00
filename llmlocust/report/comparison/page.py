"""The page of a comparison."""

from __future__ import annotations

from llmlocust.report.comparison.charts import curves
from llmlocust.report.comparison.compared import Compared
from llmlocust.report.comparison.sentences import (
    banner,
    doubts,
    headlines,
    key,
    not_compared,
    runs_caption,
    title,
)
from llmlocust.report.comparison.tables import matrix, runs_table, settings, table
from llmlocust.report.languages.page_language import page_in
from llmlocust.report.sections.validity import validity_line
from llmlocust.report.templating import render
from llmlocust.text import figures as words
from llmlocust.text.message import message, term


def html(compared: Compared) -> str:
    """The page: one file that needs no network."""
    heads, rows = runs_table(compared)
    return render(
        "compare.html.j2",
        title=title(compared),
        headlines=headlines(compared),
        banner=banner(compared),
        heads=heads,
        runs=list(zip(compared.labels, rows, strict=True)),
        caption=runs_caption(compared),
        curves=None if compared.at_one_level else curves(compared.labels, compared.assessments),
        at_one_level=compared.at_one_level,
        matrix=matrix(compared),
        tables=[
            {
                "label": label,
                "rows": table(comparison),
                "overall": bool(comparison.overall),
                "loads": [
                    (words.load(pair.load), words.unit_of(compared.unit, pair.load), bool(pair.doubts))
                    for pair in comparison.pairs
                ],
                "only": not_compared(compared, label, comparison),
                "doubts": doubts(compared, label, comparison),
            }
            for label, comparison in compared.new_runs
        ],
        base=compared.labels[0],
        key=key(compared),
        labels=compared.labels,
        settings=settings(compared),
        validity=[
            (label, assessment.is_valid, validity_line(assessment))
            for label, assessment in zip(compared.labels, compared.assessments, strict=True)
        ],
        glossary=_GLOSSARY,
    )


def html_in(compared: Compared, language: str) -> tuple[str, list[str]]:
    """The page in one of LANGUAGES, and the templates that stayed English because the catalogue lacks them."""
    return page_in(language, lambda: html(compared))


_GLOSSARY = [
    (term("Change"), message("NEW / BASE − 1; for errors NEW − BASE, in percentage points. The 95 % interval is below it.")),
    (term("✗ slower, more errors"), message("Worse than BASE by more than chance explains, given the number of figures compared (Holm's method).")),
    (term("✓ faster, fewer errors"), message("Better than BASE, by the same method.")),
    (term("= same"), message("The whole interval is within the tolerance, which rules out a larger change.")),
    (term("? cannot tell"), message("The interval is too wide to decide. More requests at a level make it narrower.")),
    (term("Regression"), message("Worse by more than the tolerance, and noise does not explain it: the command ends with exit code 99.")),
    (term("Over all levels"), message("The mean change of the levels; noisy levels have less weight.")),
    (term("Longest ITL"), message("The longest inter-token latency of a request. Half of the requests had a shorter one (p50).")),
]  # fmt: skip
