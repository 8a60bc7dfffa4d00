"""`llmlocust report`: the page of a run, from its files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmlocust.cli.shared import (
    DEFAULT_PAGES,
    OneLine,
    Pages,
    Renderers,
    load,
    page_options,
    parse_limits,
    say,
    threshold_options,
    write_pages,
)

if TYPE_CHECKING:
    from llmlocust.metrics.thresholds import Threshold


@click.command()
@click.argument("prefix", default="")
@click.option(
    "--table", default="", metavar="FILE", help="A bare table instead: a CSV or Markdown table with a row a level"
)
@click.option("--think-time", default="", help="Think time of the table's users in seconds: 5, or 1-3")
@threshold_options(
    'Such as "ttft.p95 < 500ms", "errors < 1%", or gold and tolerated: "ttft.p95 < 500ms ~ 1s"; repeatable'
)
@page_options("PREFIX_report.html")
def report(
    prefix: str,
    table: str,
    think_time: str,
    thresholds: tuple[str, ...],
    thresholds_file: str,
    **pages: str,
) -> None:
    """Make the report of a run from its files: one HTML page that needs no network.

    PREFIX is what --csv was given, a folder with one run in it, or one of the run's files. The CSVs of any Locust
    test will do, with less to say. So will a table that somebody published: --table, with columns such as users (or
    rate), mean, p95, ttft_mean, rps and errors; times in milliseconds unless the header says otherwise (p95_s).
    """
    if bool(prefix) == bool(table):
        raise OneLine("give either a run's PREFIX or a table (--table levels.csv)")
    if think_time and not table:
        raise OneLine("--think-time is of a table's users (--table): a run tells the think time of its own")
    limits = parse_limits(thresholds, thresholds_file)
    make_report(prefix, limits, Pages(**pages), table=table, think_time=think_time)


def make_report(
    prefix: str, thresholds: list[Threshold], pages: Pages = DEFAULT_PAGES, *, table: str = "", think_time: str = ""
) -> None:
    """The page of a run, and its summary on the terminal."""
    from llmlocust.assessment.assessment import assess
    from llmlocust.report.as_json import as_json
    from llmlocust.report.html import html_in
    from llmlocust.report.markdown import markdown
    from llmlocust.report.summary import summary

    run = load(prefix, table, think_time)
    assessment = assess(run, thresholds or _of_the_run(run.info))
    html = Path(pages.out or f"{run.prefix}_report.html")
    renderers = Renderers(partial(html_in, assessment), partial(markdown, assessment), partial(as_json, assessment))
    write_pages(renderers, pages, html)
    for line in summary(assessment):
        say(line, err=pages.takes_stdout)
    say(f"Report:    {html}", err=pages.takes_stdout)


def _of_the_run(info: dict[str, Any]) -> list[Threshold]:
    """The limits that it was run with; none where they cannot be read, as those of another version."""
    from llmlocust.metrics.thresholds import parse_gates, thresholds_of

    try:
        return thresholds_of(parse_gates(str(info.get("options", {}).get("llm_threshold", ""))))
    except (AttributeError, ValueError):
        return []
