"""`llmlocust check`: gates for CI."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from llmlocust.cli.shared import OneLine, json_option, load, parse_all, say, threshold_options, write


@click.command()
@click.argument("prefix")
@threshold_options(
    'Threshold: "ttft.p95 < 500ms" for all levels, "ttft.p95 < 500ms @ 100" for levels of that load; repeatable',
    'Thresholds from a TOML file: ttft.p95 = "< 500ms @ 100"',
)
@click.option(
    "--accept", multiple=True, metavar="CHECK", help="Validity check that may fail, such as prefix_cache; repeatable"
)
@click.option(
    "--junit", default="", metavar="FILE", help="Write JUnit XML, one test for each threshold and level; - prints it"
)
@click.option("--markdown", default="", metavar="FILE", help="Write Markdown, too; - prints it")
@json_option
def check(
    prefix: str,
    thresholds: tuple[str, ...],
    thresholds_file: str,
    accept: tuple[str, ...],
    junit: str,
    markdown: str,
    json_file: str,
) -> None:
    """Check a run's files against thresholds.

    Exit code 0: all are met. 99: one is violated. 98: none is violated, but the measurement that one depends on is not
    valid.

    PREFIX as for the report. If GITHUB_STEP_SUMMARY names a file, as in GitHub's workflows, Markdown is appended to it.
    See docs/ci.md.

    \b
    llmlocust check reports/NAME --threshold "ttft.p95 < 1s @ 50" --threshold "errors < 1% @ 50" --junit gates.xml
    """
    from llmlocust.metrics.thresholds import Gate

    parsed = parse_all(thresholds, thresholds_file, Gate.parse)
    if not parsed:
        raise OneLine('no threshold to check: give --threshold "ttft.p95 < 500ms", or a file with --thresholds')
    from llmlocust.analysis.checks.check import accepted_keys
    from llmlocust.assessment.gates import judge_run
    from llmlocust.report import gates

    try:
        accepted_keys(accept)
    except ValueError as problem:
        raise OneLine(f"--accept: {problem}") from None
    judged = judge_run(load(prefix), list(dict.fromkeys(parsed)), accept)
    outputs = [(junit, gates.junit), (markdown, gates.markdown), (json_file, gates.as_json)]
    to_stderr = any(name == "-" for name, _ in outputs)
    for line in gates.lines(judged):
        say(line, err=to_stderr)
    write([(name, partial(render, judged)) for name, render in outputs if name])
    _add_to_summary(gates.markdown(judged))
    raise SystemExit(judged.outcome.exit_code)


def _add_to_summary(markdown: str) -> None:
    """Append to the file that GitHub shows on the page of a job, if there is one."""
    name = os.environ.get("GITHUB_STEP_SUMMARY", "")
    if not name:
        return
    try:
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(f"{markdown}\n")
    except OSError as problem:  # the summary is only a copy of the result
        say(f"cannot write {name} (GITHUB_STEP_SUMMARY): {problem.strerror}", err=True)
