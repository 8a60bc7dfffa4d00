"""`llmlocust report`: write the page of a run from its files."""

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
    parse_thresholds,
    say,
    threshold_options,
    write_pages,
)

if TYPE_CHECKING:
    from llmlocust.metrics.thresholds import Threshold


@click.command()
@click.argument("prefix", default="")
@click.option(
    "--table", default="", metavar="FILE", help="Read a table instead of a run: CSV or Markdown, one row for each level"
)
@click.option("--think-time", default="", help="Think time of the users of --table in seconds: 5, or 1-3")
@threshold_options(
    'Threshold, such as "ttft.p95 < 500ms", "errors < 1%", or gold and tolerated: "ttft.p95 < 500ms ~ 1s"; repeatable'
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
    """Write the report of a run from its files: one HTML page that needs no network.

    PREFIX is the value of --csv, a folder that contains one run, or one of the run's files. The CSVs of any Locust test
    also work, with fewer figures. --table reads a published table, with columns such as users (or rate), mean, p95,
    ttft_mean, rps and errors. Its times are milliseconds unless the header names another unit (p95_s).
    """
    if bool(prefix) == bool(table):
        raise OneLine("give either the PREFIX of a run or a table (--table levels.csv)")
    if think_time and not table:
        raise OneLine("--think-time needs --table: the files of a run contain its think time")
    parsed = parse_thresholds(thresholds, thresholds_file)
    make_report(prefix, parsed, Pages(**pages), table=table, think_time=think_time)


def make_report(
    prefix: str, thresholds: list[Threshold], pages: Pages = DEFAULT_PAGES, *, table: str = "", think_time: str = ""
) -> None:
    """Write the page of a run, and print its summary."""
    from llmlocust.assessment.assessment import assess
    from llmlocust.report.as_json import as_json
    from llmlocust.report.html import html_in
    from llmlocust.report.markdown import markdown
    from llmlocust.report.summary import summary

    run = load(prefix, table, think_time)
    assessment = assess(run, thresholds or thresholds_of_run(run.info))
    html = Path(pages.out or f"{run.prefix}_report.html")
    renderers = Renderers(partial(html_in, assessment), partial(markdown, assessment), partial(as_json, assessment))
    write_pages(renderers, pages, html)
    for line in summary(assessment):
        say(line, err=pages.takes_stdout)
    say(f"Report:    {html}", err=pages.takes_stdout)


def thresholds_of_run(info: dict[str, Any]) -> list[Threshold]:
    """The thresholds that the run was given; none if they cannot be read, as with those of another version."""
    from llmlocust.metrics.thresholds import parse_gates, thresholds_of

    try:
        return thresholds_of(parse_gates(str(info.get("options", {}).get("llm_threshold", ""))))
    except (AttributeError, ValueError):
        return []
