"""`llmlocust plan`: users, requests an hour, daily users and replicas, from the files of runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from llmlocust.cli.report import thresholds_of_run
from llmlocust.cli.shared import OneLine, json_option, load, parse_thresholds, say, threshold_options, write

if TYPE_CHECKING:
    from llmlocust.analysis.planning.curve import Limit
    from llmlocust.analysis.planning.plan import Plan
    from llmlocust.assessment.assessment import Assessment
    from llmlocust.metrics.thresholds import Threshold


@click.command()
@click.argument("prefixes", nargs=-1, metavar="[PREFIX]...")
@click.option("--table", default="", metavar="FILE", help="Read a table instead of a run, as llmlocust report does")
@click.option("--instances", default="", metavar="N,N,…", help="Replicas that served each PREFIX, in order: 1,2,4")
@click.option("--think", default="", metavar="TIME", help="Think time to plan for: 15s [default: the run's, or 15s]")
@click.option("--tested-think", default="", metavar="TIME", help="Think time of the run's users, if its files lack it")
@click.option("--per-user-day", default="", metavar="N", help="Requests per user and day [default: 30]")
@click.option(
    "--peak-share", default="", metavar="SHARE", help="Share of the busiest hour: 0.15 or 15% [default: 0.15]"
)
@click.option("--headroom", default="", metavar="SHARE", help="Share of each replica to keep free [default: 0.3]")
@click.option("--spare", default="", metavar="N", help="Replicas that may fail [default: 1]")
@click.option("--growth", default="", metavar="SHARE", help="Growth of the target: 0.5 or 50% [default: 0]")
@click.option(
    "--target", default="", metavar="TEXT", help='Compute replicas for "300 users", "2000 daily users", '
    '"10000 requests/hour" or "50M tokens/day" (output tokens)',
)  # fmt: skip
@threshold_options('Threshold, such as "ttft.p95 < 500ms" [default: the run\'s own]; repeatable')
@json_option
def plan(
    prefixes: tuple[str, ...],
    table: str,
    instances: str,
    think: str,
    tested_think: str,
    target: str,
    thresholds: tuple[str, ...],
    thresholds_file: str,
    json_file: str,
    **given: str,
) -> None:
    """Compute what the SLO limit of a run carries: users at once, requests an hour, and daily users.

    With --target, also how many replicas are needed. They are assumed to scale linearly, unless several PREFIXes are
    runs of different numbers of replicas: PREFIX=1 PREFIX=2 PREFIX=4. See docs/planning.md.

    \b
    llmlocust plan reports/NAME --think 15s --per-user-day 30 --peak-share 0.15 --target "2000 daily users"
    """
    if bool(prefixes) == bool(table):
        raise OneLine("give either the PREFIX of a run or a table (--table levels.csv)")
    from llmlocust.analysis.planning.target import Target
    from llmlocust.text import media

    values = {name: _number(name, text) for name, text in given.items() if text}
    values |= {"think_time": _seconds("--think", think)} if think else {}
    tested = _seconds("--tested-think", tested_think) if tested_think else None
    parsed = parse_thresholds(thresholds, thresholds_file)
    try:
        aim = Target.parse(target) if target else None
        _check(values)
    except ValueError as problem:
        raise OneLine(str(problem)) from None
    runs = {} if table else _labelled(prefixes, instances)
    assessments = {n: _assess(prefix, "", parsed) for n, prefix in runs.items()} or {1: _assess("", table, parsed)}
    from llmlocust.assessment.plans import plan_in

    limits = {count: _limit(assessment, tested) for count, assessment in assessments.items()}
    planned = plan_in(assessments, limits, values, aim)
    _require_figures(planned)
    from llmlocust.report.sections.planning import plan_data

    for line in _lines(planned):
        say(line, err=json_file == "-")
    write([(json_file, lambda: media.as_json(plan_data(planned)))] if json_file else [])


def _check(values: dict[str, float]) -> None:
    """Raise ValueError for an impossible value, before any file is read."""
    from llmlocust.analysis.planning.assumptions import assumptions

    assumptions(values)


def _assess(prefix: str, table: str, thresholds: list[Threshold]) -> Assessment:
    from llmlocust.assessment.assessment import assess

    run = load(prefix, table)
    return assess(run, thresholds or thresholds_of_run(run.info))


def _limit(assessment: Assessment, tested_think: float | None) -> Limit:
    from llmlocust.assessment.plans import limit_in

    limit = limit_in(assessment, tested_think)
    if limit is None:
        why = assessment.verdict.windows or assessment.verdict.slo_limit.why
        raise OneLine(
            f"{assessment.run.prefix}: no plan, because the SLO limit is not known ({why}); a plan needs a run with "
            "several levels and a --threshold"
        )
    return limit


def _require_figures(planned: Plan) -> None:
    for count, capacity in planned.capacities.items():
        if all(end is None for end in capacity.requests_per_hour):
            raise OneLine(
                f"no plan: the run of {count} replicas has no throughput, and no latency to compute it from"
                if count > 1
                else "no plan: the run has no throughput, and no latency to compute it from"
            )


def _labelled(prefixes: tuple[str, ...], instances: str) -> dict[int, str]:
    """Return the prefixes by their numbers of replicas: those of --instances, or those after = in PREFIX=2."""
    pairs = [_label(prefix) for prefix in prefixes]
    if instances:
        pairs = _by_instances(prefixes, instances)
    if len(pairs) > 1 and any(count is None for count, _ in pairs):
        raise OneLine("several runs need their numbers of replicas: PREFIX=1 PREFIX=2 PREFIX=4, or --instances 1,2,4")
    runs = {count or 1: prefix for count, prefix in pairs}
    if len(runs) < len(pairs):
        raise OneLine("two runs have the same number of replicas: give one run for each number")
    return runs


def _label(prefix: str) -> tuple[int | None, str]:
    match = re.fullmatch(r"(.+)=([1-9]\d{0,3})", prefix)
    if match:
        return int(match[2]), match[1]
    if re.search(r"=-?\d+$", prefix):
        raise OneLine(f"{prefix}: the number of replicas is a whole number from 1 to 9999")
    return None, prefix


def _by_instances(prefixes: tuple[str, ...], instances: str) -> list[tuple[int | None, str]]:
    counts = [count.strip() for count in instances.split(",")]
    if not all(re.fullmatch(r"[1-9]\d{0,3}", count) for count in counts):
        raise OneLine(f"--instances takes whole numbers from 1 on, such as 1,2,4: got {instances[:60]!r}")
    if len(counts) != len(prefixes):
        raise OneLine(f"--instances has {len(counts)} numbers for {len(prefixes)} PREFIXes: give one for each")
    return [(int(count), prefix) for count, prefix in zip(counts, prefixes, strict=True)]


def _number(name: str, text: str) -> float:
    """Read a number, or a share in percent. Raises OneLine."""
    match = re.fullmatch(r"([+-]?(?:\d+\.?\d*|\.\d+))\s*(%?)", text.strip())
    option = f"--{name.replace('_', '-')}"
    if not match:
        raise OneLine(f"{option} takes a number: got {text[:60]!r}")
    if match[2] and name in ("per_user_day", "spare"):
        raise OneLine(f"{option} takes a count, not a share: got {text[:60]!r}")
    return float(match[1]) / (100.0 if match[2] else 1.0)


def _seconds(option: str, text: str) -> float:
    """Read a duration such as 15s, 500ms or 2min; a number alone is seconds. Raises OneLine."""
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(ms|s|m|min|)", text.strip())
    if not match:
        raise OneLine(f"{option} takes a time such as 15s, 500ms or 2min: got {text[:60]!r}")
    return float(match[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "": 1.0}[match[2]]


def _lines(planned: Plan) -> list[str]:
    """Return the sentences and the table of assumptions, for a terminal."""
    from llmlocust.report.sections.planning import HEADS, assumed, instances, results

    lines = [*planned.says, "", *_table(["", *HEADS], results(planned)), ""]
    if rows := instances(planned):
        lines += [*_table(["replicas", *HEADS, "efficiency"], rows), ""]
    return lines + _table(["assumption", "value", "source", *HEADS], assumed(planned))


def _table(heads: list[str], rows: list[tuple[str, list[str]]]) -> list[str]:
    cells = [heads, *([name, *row] for name, row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
