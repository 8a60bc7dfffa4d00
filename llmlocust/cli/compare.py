"""`llmlocust compare`: find out which figures of runs differ, and which differences are noise."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmlocust.cli.shared import (
    DEFAULT_PAGES,
    GATE_FAILED,
    NOT_VALID,
    OneLine,
    Pages,
    Renderers,
    page_options,
    parse_thresholds,
    say,
    threshold_options,
    write_pages,
)

if TYPE_CHECKING:
    from llmlocust.metrics.thresholds import Threshold
    from llmlocust.report.comparison.compared import Compared


class _Share(click.ParamType):  # type: ignore[type-arg]  # older versions of click have no generic one
    """A share between 0 and 1, written as 5% or 0.05."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        number, percent, _ = value.strip().partition("%")
        try:
            share = float(number) / (100.0 if percent else 1.0)
        except ValueError:
            share = -1.0
        if not 0.0 < share < 1.0:
            self.fail(f"{value!r} is not a share: write 5% or 0.05", param, ctx)
        return share


@click.command()
@click.argument("base")
@click.argument("new", nargs=-1, required=True)
@click.option(
    "--label",
    "labels",
    multiple=True,
    help="Name of a run; give one for each, in their order [default: the name of its files]",
)
@click.option(
    "--tolerance",
    type=_Share(),
    default="5%",
    show_default=True,
    help="Largest change that does not matter, such as 5% or 0.05",
)
@threshold_options('Threshold for all runs, such as "ttft.p95 < 500ms"; repeatable [default: derived from BASE]')
@page_options("PREFIX_compare.html, with the prefix of the first NEW")
def compare(
    base: str,
    new: tuple[str, ...],
    labels: tuple[str, ...],
    tolerance: float,
    thresholds: tuple[str, ...],
    thresholds_file: str,
    **pages: str,
) -> None:
    """Compare one or more runs with BASE, figure by figure at each level, and report what noise does not explain.

    Name runs as for `llmlocust report`: by prefix, folder or file. The CSVs of any Locust test and tables of levels also
    work, with fewer figures. Levels that both runs have are compared; at most nine NEW with one BASE.

    Exit code 99: a regression, that is, NEW is worse by more than the tolerance and noise does not explain it. 98: no
    regression, but a level that was compared is not valid. 0: neither.

    \b
    llmlocust compare reports/monday reports/tuesday
    llmlocust compare reports/a reports/b reports/c --label vLLM --label SGLang --label TGI --markdown -
    """
    parsed = parse_thresholds(thresholds, thresholds_file)
    raise SystemExit(make_comparison([base, *new], list(labels), parsed, tolerance, Pages(**pages)))


def make_comparison(
    names: list[str], labels: list[str], thresholds: list[Threshold], tolerance: float, pages: Pages = DEFAULT_PAGES
) -> int:
    """Compare runs, write the page, and return the exit code."""
    from llmlocust.report.comparison.sentences import summary

    compared = _compare(names, labels, thresholds, tolerance)
    html = Path(pages.out or f"{compared.assessments[1].run.prefix}_compare.html")
    write_pages(_renderers(compared), pages, html)
    for line in summary(compared):
        say(line, err=pages.takes_stdout)
    say(f"Comparison: {html}", err=pages.takes_stdout)
    return GATE_FAILED if compared.regressed else NOT_VALID if compared.doubted else 0


def _compare(names: list[str], labels: list[str], thresholds: list[Threshold], tolerance: float) -> Compared:
    from llmlocust.report.comparison.compared import MAX_RUNS, compare_runs, labels_of, load
    from llmlocust.runfiles.reading.errors import RunError

    if len(names) > MAX_RUNS:
        raise OneLine(f"{len(names)} runs are more than a page can show: compare at most {MAX_RUNS}")
    if labels and len(labels) != len(names):
        raise OneLine(f"{len(labels)} labels for {len(names)} runs: give one --label for each run, BASE first, or none")
    if len(set(labels)) < len(labels):
        raise OneLine("two runs have the same --label: give each run its own")
    try:
        runs = [load(name) for name in names]
        return compare_runs(runs, labels or labels_of(runs), thresholds, tolerance)
    except RunError as problem:
        raise OneLine(str(problem)) from None


def _renderers(compared: Compared) -> Renderers:
    from llmlocust.report.comparison.outputs import as_json, markdown

    def html(language: str) -> tuple[str, list[str]]:
        from llmlocust.report.comparison.page import html_in

        return html_in(compared, language)

    return Renderers(html, partial(markdown, compared), partial(as_json, compared))
