"""Runs beside each other: what analysis.compare needs of their files, and what it found as HTML, Markdown and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llmlocust.analysis.breakpoints.steps import Finding, name_of
from llmlocust.analysis.comparison.compare import (
    BETTER,
    ERRORS,
    FALSE_ALARMS,
    LATENCIES,
    RATES,
    SAME,
    TOKENS,
    UNSURE,
    WORSE,
    Comparison,
    Difference,
    Held,
    asked_of,
    compare,
    spreads_of,
)
from llmlocust.analysis.comparison.dependence import Values
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import FORMAT, NOT_THE_SERVERS, OK
from llmlocust.report import page
from llmlocust.report.as_json import plain, verdict_data
from llmlocust.report.charts.by_load import NUMBERS
from llmlocust.report.comparison import charts as comparing_charts
from llmlocust.report.languages.translate import translated
from llmlocust.report.markdown import in_table
from llmlocust.report.page import Report
from llmlocust.report.sections import one_level
from llmlocust.report.sections.headline import card_number, range_of, trust_line
from llmlocust.report.sections.what_was_run import FOREIGN, facts, options
from llmlocust.report.templating import render
from llmlocust.runfiles.reading.published_table import load_table
from llmlocust.runfiles.reading.run_data import RunError, RunFrames, good, load_run, names_a_run, weights_of
from llmlocust.text import figures as words
from llmlocust.text import media

MOST_RUNS = 10
_OF_THE_RUN_ALONE = (
    "run_completed",
    "answer_length",
    "any_success",
    "any_requests",
    "requests_for_p95",
    "requests_for_p99",
)
"""Checks that say nothing against a level beside the same level of another run."""
_OF_REQUESTS = ("ttft", "answer", "gap_max", "tpot", "e2e")
_SIGNS = dict.fromkeys(WORSE, "✗") | dict.fromkeys(BETTER, "✓") | {SAME: "=", UNSURE: "?"}
_MOST_NAMED = 2


@dataclass
class Compared:
    """Two to ten runs, each beside the first."""

    labels: Sequence[str]
    reports: Sequence[Report]
    comparisons: Sequence[Comparison]
    """Of each run but the first."""
    tolerance: float

    @property
    def unit(self) -> str:
        return self.reports[0].unit

    @property
    def at_one_level(self) -> bool:
        """Each run has one level: its figures are compared, and not where it breaks."""
        return all(each.only_level for each in self.reports)

    @property
    def each(self) -> Iterator[tuple[str, Comparison]]:
        """The labels of all runs but BASE, with what was found."""
        yield from zip(self.labels[1:], self.comparisons, strict=True)

    @property
    def regressed(self) -> bool:
        return any(each.regressions for each in self.comparisons)

    @property
    def doubted(self) -> bool:
        """Whether any level that is compared is one that a check spoils."""
        return any(each.doubted for each in self.comparisons)

    def html_in(self, language: str) -> tuple[str, list[str]]:
        """The page, and what of it stayed English because nobody translated it."""
        return (_html(self), []) if language == "en" else translated(lambda: _html(self), language)

    def markdown(self) -> str:
        return _markdown(self)

    def data(self) -> dict[str, Any]:
        """The same as plain values: durations in milliseconds, shares from 0 to 1; null: not known."""
        return _data(self)

    def json(self) -> str:
        return media.as_json(self.data())


def load(name: str) -> RunFrames:
    """A run's files, as `llmlocust report` finds them, or a table of levels. Raises RunError."""
    path = Path(name)
    return load_table(path) if path.is_file() and not names_a_run(path) else load_run(path)


def build(
    runs: Sequence[RunFrames], labels: Sequence[str], thresholds: Sequence[Threshold], tolerance: float
) -> Compared:
    """Compare each run with the first. All are judged by the same limits: those given, else those of the first.

    Raises RunError where two runs have no load in common.
    """
    base = page.build(runs[0], thresholds)
    limits = tuple(thresholds) or base.verdict.thresholds
    reports = [base, *(page.build(run, limits) for run in runs[1:])]
    first, *others = (held_of(each, limits) for each in reports)
    made = Compared(labels, reports, [compare(first, other, tolerance) for other in others], tolerance)
    for label, comparison in made.each:
        if not comparison.pairs:
            raise RunError(_nothing_in_common(labels[0], label, comparison, reports))
    return made


def _nothing_in_common(base: str, new: str, comparison: Comparison, reports: Sequence[Report]) -> str:
    told = [
        f"{label} has {words.series([words.load(load) for load in loads]) or 'no level with a request'}"
        for label, loads in ((base, comparison.only_base), (new, comparison.only_new))
    ]
    units = {each.unit for each in reports}
    why = " (one is by users, the other by requests a second)" if len(units) > 1 else ""
    return f"no load in common{why}: {', '.join(told)}; run both with the same --levels"


def labels_of(runs: Sequence[RunFrames]) -> list[str]:
    """Names that tell runs apart: the prefix, with as many of its folders as that needs. `llmlocust run` calls all of its
    runs "run", so that their folder is their name.
    """
    paths = [each.prefix.absolute() for each in runs]
    parts = [(path.parent if path.name == "run" else path).parts for path in paths]
    for many in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-many:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{each[-1]} ({place})" for place, each in enumerate(parts, 1)]  # one run beside itself


# -- what is compared


def held_of(report: Report, thresholds: Sequence[Threshold]) -> list[Held]:
    """A run's levels as they are compared. `thresholds`: which requests are good."""
    levels, doubts = report.comparable, doubts_of(report)
    spreads, asked = spreads_of(levels), asked_of(levels)
    return [
        Held(
            each,
            _values(report.run, each, thresholds),
            report.goodput.get(each.level, math.nan),
            spreads.get(each.level, {}),
            asked.get(each.level, {}),
            doubts.get(each.level, ()),
        )
        for each in levels
    ]


def doubts_of(report: Report) -> dict[int, tuple[str, ...]]:
    """The names of the failed checks that spoil each level."""
    failed = [each for each in report.checks if not each.ok and each.key not in _OF_THE_RUN_ALONE]
    return {
        level.level: tuple(each.name for each in failed if level.level in each.levels or not each.levels)
        for level in report.levels
    }


def _values(run: RunFrames, level: LevelFigures, thresholds: Sequence[Threshold]) -> Mapping[str, Values]:
    rows = run.requests
    if rows is None or run.rebuilt or not level.window > 0.0 or math.isnan(level.settled):
        return {}
    sent = rows[(rows["level"] == level.level) & (rows["measured"] == 1)]
    sent = sent[~sent["outcome"].isin(NOT_THE_SERVERS)]
    ok = sent[sent["outcome"] == OK]
    found = {metric: _of_rows(ok, ok["sent"], ok[metric] / 1000.0, level) for metric in _OF_REQUESTS}
    found["output_tokens"] = _of_rows(ok, ok["sent"], ok["output_tokens"], level)
    found[ERRORS] = _of_rows(sent, sent["sent"], (sent["outcome"] != OK).astype(float), level, least=-1.0)
    over = rows["sent"] + rows["duration"] / 1000.0
    ended = rows[(rows["outcome"] == OK) & (over >= level.settled) & (over < level.settled + level.window)]
    found["throughput"] = _of_rows(ended, over[ended.index], pd.Series(1.0, ended.index), level)
    found["goodput"] = _of_rows(ended, over[ended.index], good(ended, thresholds).astype(float), level, least=-1.0)
    if run.timeline is not None and "tokens" in run.timeline:
        found[TOKENS] = _tokens(run.timeline, level)
    return {metric: values for metric, values in found.items() if len(values)}


def _of_rows(
    rows: pd.DataFrame, when: pd.Series, value: pd.Series, level: LevelFigures, *, least: float = 0.0
) -> Values:
    """The values above `least`: a duration of zero is none."""
    known = (value > least) & when.notna()
    at = (when[known] - level.settled).to_numpy().clip(0.0, math.nextafter(level.window, 0.0))
    return Values(at, value[known].to_numpy(), weights_of(rows[known]).to_numpy())


def _tokens(timeline: pd.DataFrame, level: LevelFigures) -> Values:
    """Tokens of the whole seconds inside a level."""
    inside = (timeline["time"] >= level.settled) & (timeline["time"] + 1.0 <= level.settled + level.window)
    seconds = timeline[inside & timeline["tokens"].notna()]
    at = (seconds["time"] - level.settled).to_numpy()
    return Values(at, seconds["tokens"].to_numpy(), np.ones(len(seconds)))


# -- in words


def signed(difference: Difference, effect: float) -> str:
    """+12 %, −0.4 points, 3.1 ×."""
    change = difference.change(effect)
    if math.isnan(change):
        return words.UNKNOWN
    if change >= 2.0 and not difference.is_share:
        return f"{words.digits(1.0 + change)} ×"
    percent = change * 100.0
    text = f"{abs(percent):.0f}" if abs(percent) >= 9.95 else f"{abs(percent):.1f}"
    sign = "" if float(text) == 0.0 else "+" if percent > 0.0 else "−"
    return f"{sign}{text} {'points' if difference.is_share else '%'}"


def interval(difference: Difference) -> str:
    """−1.2 to 3.4 %: the unit once where both have the same."""
    low, high = (signed(difference, end) for end in (difference.low, difference.high))
    if math.isinf(difference.low) or math.isinf(difference.high):
        ends = [f"{low} or more"] if math.isfinite(difference.low) else []
        ends += [f"{high} or less"] if math.isfinite(difference.high) else []
        return "".join(ends) or "not known"
    number, _, unit = low.partition(" ")
    return f"{number if high.endswith(unit) else low} to {high}"


def value(difference: Difference, figure: float) -> str:
    if math.isnan(figure):
        return words.UNKNOWN
    if difference.is_share:
        return words.share(figure)
    return words.digits(figure) if difference.metric in RATES else words.duration(figure)


def values(difference: Difference) -> str:
    """44 → 48 ms; nothing over all levels, which have no figure in common."""
    if math.isnan(difference.base):
        return ""
    if difference.is_share or difference.metric in RATES:
        return f"{value(difference, difference.base)} → {value(difference, difference.new)}"
    return words.change(difference.base, difference.new)


def headlines(made: Compared) -> list[str]:
    """For each NEW how it stands to BASE, in a sentence."""
    return [_headline(made, label, comparison) for label, comparison in made.each]


def _headline(made: Compared, label: str, comparison: Comparison) -> str:
    base, within = made.labels[0], f"{made.tolerance * 100:.3g} %"
    worse = _described(comparison, WORSE, made.unit, regressions=True)
    better = _described(comparison, BETTER, made.unit)
    if worse and better:
        said = f"{label} is worse than {base} in {worse}; better in {better}"
    elif worse:
        said = f"{label} is worse than {base}: {worse}"
    elif better:
        said = f"{label} is better than {base}: {better}"
    elif little := _described(comparison, WORSE, made.unit):
        said = f"{label} is worse than {base} by no more than the tolerance of {within}: {little}"
    else:
        said = _no_difference(made, label, comparison, within)
    return f"{said}.{_left_out(made, comparison)}"


def _no_difference(made: Compared, label: str, comparison: Comparison, within: str) -> str:
    every = list(comparison.differences)
    same = sum(each.word == SAME for each in every)
    if every and same == len(every):
        return f"{label} is the same as {made.labels[0]}, within {within}, in all {same} figures"
    return (
        f"No difference between {label} and {made.labels[0]} is proven: {same} of {len(every)} figures are the same within "
        f"{within}, the others cannot be told"
    )


def _left_out(made: Compared, comparison: Comparison) -> str:
    doubted = [words.load(pair.load) for pair in comparison.doubted]
    if not doubted:
        return ""
    unit = words.unit_of(made.unit, comparison.doubted[0].load if len(doubted) == 1 else 2)
    return f" Left out, as checks doubt what was measured: {words.series(doubted)} {unit}."


def _described(comparison: Comparison, wanted: Sequence[str], unit: str, *, regressions: bool = False) -> str:
    """The figures that are worse (or better), the clearest first: over all levels where that is known, else where."""
    places: dict[str, list[tuple[float | None, Difference]]] = {}
    by_place = [(None, each) for each in comparison.overall]
    by_place += [(pair.load, each) for pair in comparison.pairs for each in pair.differences]
    for load, each in by_place:
        if each.word in wanted and (each.regression or not regressions):
            places.setdefault(each.name, []).append((load, each))
    names = sorted(places, key=lambda name: -max(abs(each.z) for _, each in places[name]))
    # the clearest of each metric: p50 and p95 mostly say the same
    first = {places[name][0][1].metric: name for name in reversed(names)}
    told = [_of_figure(places[name], unit) for name in names if name in first.values()][:_MOST_NAMED]
    more = len(names) - len(told)
    return words.series([*told, *([f"{more} more figures" if more > 1 else "one more figure"] if more else [])])


def _of_figure(places: Sequence[tuple[float | None, Difference]], unit: str) -> str:
    """p95 TTFT (+12 % over all levels, +8 to +16 %). Without all levels, the level where it differs most."""
    load, most = places[0]
    if load is not None:
        load, most = max(places, key=lambda each: abs(each[1].effect))
    where = "over all levels" if load is None else f"at {words.with_unit(load, unit)}"
    more = (
        ""
        if load is None or len(places) == 1
        else f" and {len(places) - 1} more {'level' if len(places) == 2 else 'levels'}"
    )
    return f"{most.name} ({signed(most, most.effect)} {where}{more}, {interval(most)})"


def summary(made: Compared) -> list[str]:
    """What a terminal shows."""
    lines = headlines(made)
    if made.doubted and not made.regressed:
        lines.append("Whether anything became worse is not known of the levels that checks doubt.")
    return lines


# -- the tables


@dataclass(frozen=True)
class Cell:
    word: str
    sign: str
    change: str
    interval: str
    values: str
    why: str
    regression: bool

    @classmethod
    def of(cls, each: Difference | None) -> Cell | None:
        if each is None:
            return None
        return cls(
            each.word,
            _SIGNS[each.word],
            signed(each, each.effect),
            interval(each),
            values(each),
            each.why,
            each.regression,
        )


@dataclass(frozen=True)
class Row:
    name: str
    cells: list[Cell | None]
    """Over all levels, then by level."""


def table(comparison: Comparison) -> list[Row]:
    """A figure a row."""
    columns: list[dict[str, Difference]] = (
        [{each.name: each for each in comparison.overall}] if comparison.overall else []
    )
    columns += [{each.name: each for each in pair.differences} for pair in comparison.pairs]
    return _rows(columns)


def matrix(made: Compared) -> list[Row]:
    """Over all levels, or at the only one: a figure a row, each run but BASE a column. For two runs `table` says it all."""
    told = [each.pairs[0].differences if made.at_one_level else each.overall for each in made.comparisons]
    columns = [{each.name: each for each in differences} for differences in told]
    return _rows(columns) if len(columns) > 1 and all(columns) else []


def _rows(columns: Sequence[Mapping[str, Difference]]) -> list[Row]:
    known = {each.name: (each.metric, each.statistic) for column in columns for each in column.values()}
    order = [*LATENCIES, *((metric, "") for metric in (*RATES, ERRORS))]
    names = sorted(known, key=lambda name: order.index(known[name]))
    return [Row(name, [Cell.of(column.get(name)) for column in columns]) for name in names]


_AT_A_GLANCE = (("ttft", "p50"), ("ttft", "p95"), ("tpot", "p50"), ("e2e", "p95"))


def common_load(made: Compared) -> float | None:
    """The highest load that all runs held."""
    held = [{pair.load for pair in each.pairs} for each in made.comparisons]
    return max(set.intersection(*held), default=None)


def runs_table(made: Compared) -> tuple[list[str], list[list[tuple[str, str]]]]:
    """A run a row: the four numbers with their intervals, and figures at the highest load that all of them held. Of runs
    of one level, its figures.
    """
    levels = [_level_at(each, common_load(made)) for each in made.reports]
    known = [key for key in _AT_A_GLANCE if any(each and each.metric(key[0])[key[1]] > 0.0 for each in levels)]
    if made.at_one_level:
        heads = ["requests/s", "tokens/s", "errors", *(name_of(*key) for key in known)]
        return heads, [_of_level(each.levels[0], known) for each in made.reports]
    rows = []
    for report, level in zip(made.reports, levels, strict=True):
        best = max(
            (each.output_tokens_per_s for each in report.levels if each.output_tokens_per_s > 0.0), default=math.nan
        )
        rows.append([_number(finding, report.unit) for finding in report.verdict.numbers().values()])
        rows[-1].append((words.digits(best), ""))
        figures = [level.metric(metric)[statistic] if level else math.nan for metric, statistic in known]
        rows[-1] += [(words.duration(each), "") for each in figures]
    return [*NUMBERS.values(), "most tokens/s", *(name_of(*key) for key in known)], rows


def _of_level(level: LevelFigures, known: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    rates = [one_level.rate(level, each) for each in (level.throughput, level.output_tokens_per_s)]
    return [*rates, one_level.errors(level), *(one_level.latency(level, *key) for key in known)]


def _number(finding: Finding, unit: str) -> tuple[str, str]:
    has_range = finding.reached and finding.load is not None
    return card_number(finding, unit), range_of(finding) if has_range else ""


def _level_at(report: Report, load: float | None) -> LevelFigures | None:
    if load is None:
        return None
    return next((each for each in report.comparable if math.isclose(each.load, load, rel_tol=0.005) and each.ok), None)


def settings(made: Compared) -> list[tuple[str, list[str], bool]]:
    """What was not the same in all runs: its name, its value in each, and whether that is a name from a file."""
    told = [dict(facts(each.run, each.unit)) for each in made.reports]
    asked = [dict(options(each.run)) for each in made.reports]
    pairs = [(name, told, name in FOREIGN) for name in dict.fromkeys(name for each in told for name in each)]
    pairs += [(name, asked, True) for name in dict.fromkeys(name for each in asked for name in each)]
    rows = [(name, [each.get(name, words.UNKNOWN) for each in source], foreign) for name, source, foreign in pairs]
    # how long it took, and when, differs in any two runs
    return [
        row for row in rows if len(set(row[1])) > 1 and row[0] not in ("Started", "Lasted", "Requests", "Asked before")
    ]


def _key(made: Compared) -> str:
    within = f"{made.tolerance * 100:.3g} %"
    return (
        f"✗ worse, ✓ better, = the same within {within}, ? cannot be told. Beside it the change with its 95 % interval."
    )


# -- HTML


def _html(made: Compared) -> str:
    heads, rows = runs_table(made)
    at = common_load(made)
    return render(
        "compare.html.j2",
        title=_title(made),
        headlines=headlines(made),
        standing=_standing(made),
        heads=heads,
        runs=list(zip(made.labels, rows, strict=True)),
        common=words.with_unit(at, made.unit) if at is not None else "",
        limits=[str(each) for each in made.reports[1].thresholds],
        derived=not made.reports[0].thresholds,
        curves=None if made.at_one_level else comparing_charts.curves(made.labels, made.reports),
        at_one_level=made.at_one_level,
        matrix=matrix(made),
        tables=[
            {
                "label": label,
                "headline": said,
                "rows": table(comparison),
                "overall": bool(comparison.overall),
                "loads": [
                    (words.load(pair.load), words.unit_of(made.unit, pair.load), bool(pair.doubts))
                    for pair in comparison.pairs
                ],
                "only": _only(made, label, comparison),
                "doubts": _doubts(made, label, comparison),
            }
            for (label, comparison), said in zip(made.each, headlines(made), strict=True)
        ],
        base=made.labels[0],
        key=_key(made),
        labels=made.labels,
        settings=settings(made),
        trust=[
            (label, report.trusted, trust_line(report)) for label, report in zip(made.labels, made.reports, strict=True)
        ],
        files=[
            (label, [each.name for each in report.run.files])
            for label, report in zip(made.labels, made.reports, strict=True)
        ],
        glossary=_GLOSSARY,
    )


def _title(made: Compared) -> str:
    if len(made.labels) == 2:
        return f"{made.labels[1]} beside {made.labels[0]}"
    return f"{len(made.labels)} runs, each beside {made.labels[0]}"


def _standing(made: Compared) -> tuple[str, str, str]:
    """Good, bad, or neither, its mark, and the sentence beside it: no more is promised than is known."""
    within = f"{made.tolerance * 100:.3g} %"
    if made.regressed:
        return "bad", "!", f"A regression: worse by more than {within}, and noise does not explain it."
    if made.doubted:
        return (
            "bad",
            "!",
            "No regression where the measurement can be believed; checks doubt some of the levels compared.",
        )
    every = [each for comparison in made.comparisons for each in comparison.differences]
    known = sum(each.word != UNSURE for each in every)
    if not known:
        return "note", "?", "Whether anything became worse cannot be told: no figure is known well enough."
    if known < len(every):
        return "note", "?", f"No regression in the {known} of {len(every)} figures that can be told; the others cannot."
    return "good", "✓", f"No regression: nothing is worse by more than {within} that noise does not explain."


def _only(made: Compared, label: str, comparison: Comparison) -> list[str]:
    alone = ((made.labels[0], comparison.only_base), (label, comparison.only_new))
    return [
        f"Not compared, as {name} alone held them: {words.series([words.load(load) for load in loads])} {words.unit_of(made.unit)}."
        for name, loads in alone
        if loads
    ]


def _doubts(made: Compared, label: str, comparison: Comparison) -> list[str]:
    names = {"BASE": made.labels[0], "NEW": label}
    return [
        f"{words.with_unit(pair.load, made.unit)}: {check} ({names[side]})."
        for pair in comparison.doubted
        for side, check in pair.doubts
    ]


_GLOSSARY = [
    ("Change", "NEW / BASE − 1; of errors, NEW − BASE in points of a hundred requests. Below it its 95 % interval."),
    ("✗ slower, more", "Worse than BASE, and of so many figures none would differ so much by chance (Holm's method)."),
    ("✓ faster, fewer", "Better than BASE, in the same way."),
    ("= same", "The whole interval lies within the tolerance, so that a larger change is ruled out."),
    ("? cannot tell", "The interval is too wide for either. More requests at a level make it narrower."),
    ("Regression", "Worse by more than the tolerance, where noise does not explain it: the command ends with exit code 99."),
    ("Over all levels", "The mean change of the levels; noisy ones weigh less."),
    ("Longest gap", "Of each request the longest time between two of its tokens; half of the requests had less."),
]  # fmt: skip


# -- Markdown


def _markdown(made: Compared) -> str:
    lines = [f"# {media.markdown(_title(made))}", "", *(f"**{media.markdown(each)}**\n" for each in headlines(made))]
    heads, rows = runs_table(made)
    at = common_load(made)
    told = [
        [label, *(f"{number} ({small})" if small else number for number, small in cells)]
        for label, cells in zip(made.labels, rows, strict=True)
    ]
    lines += ["## Runs", "", *in_table(["", *heads], told)]
    if at is not None:
        lines += ["", f"Latencies at {words.with_unit(at, made.unit)}, the highest load that all of them held."]
    if over_all := matrix(made):
        lines += [
            "",
            f"## {'The level' if made.at_one_level else 'Over all levels'}, beside {media.markdown(made.labels[0])}",
            "",
        ]
        lines += in_table(["", *made.labels[1:]], [[row.name, *map(_markdown_cell, row.cells)] for row in over_all])
    for label, comparison in made.each:
        lines += ["", f"## {media.markdown(label)} beside {media.markdown(made.labels[0])}", ""]
        loads = [
            f"{words.with_unit(pair.load, made.unit)}{' (doubted)' if pair.doubts else ''}" for pair in comparison.pairs
        ]
        columns = ["", *(["all levels"] if comparison.overall else []), *loads]
        lines += in_table(columns, [[row.name, *map(_markdown_cell, row.cells)] for row in table(comparison)])
        lines += [
            "",
            *(
                f"- {media.markdown(each)}"
                for each in (*_only(made, label, comparison), *_doubts(made, label, comparison))
            ),
        ]
    if differ := settings(made):
        lines += [
            "",
            "## What differs",
            "",
            *in_table(["", *made.labels], [[name, *map(media.markdown, told)] for name, told, _ in differ]),
        ]
    lines += ["", _key(made)]
    return media.document("\n".join(lines) + "\n")


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None:
        return words.UNKNOWN
    change = f"**{cell.change}**" if cell.regression else cell.change
    return f"{cell.sign} {change} ({cell.interval})"


# -- as data


def _data(made: Compared) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "load": made.unit,
        "tolerance": made.tolerance,
        "false_alarms": FALSE_ALARMS,
        "regression": made.regressed,
        "trusted": not made.doubted,
        "runs": [
            {"label": label, "verdict": verdict_data(report), "trusted": report.trusted}
            for label, report in zip(made.labels, made.reports, strict=True)
        ],
        "comparisons": [
            {
                "base": made.labels[0],
                "new": label,
                "says": said,
                "regression": bool(comparison.regressions),
                "overall": [_difference(each) for each in comparison.overall],
                "levels": [
                    {
                        "load": plain(pair.load),
                        "doubts": [{"run": side, "check": check} for side, check in pair.doubts],
                        "differences": [_difference(each) for each in pair.differences],
                    }
                    for pair in comparison.pairs
                ],
                "only_base": [plain(load) for load in comparison.only_base],
                "only_new": [plain(load) for load in comparison.only_new],
            }
            for (label, comparison), said in zip(made.each, headlines(made), strict=True)
        ],
        "settings": [{"name": name, "values": list(told)} for name, told, _ in settings(made)],
    }


def _difference(each: Difference) -> dict[str, Any]:
    scale = 1.0 if each.is_share or each.metric in RATES else 1000.0
    return {
        "metric": each.metric,
        "statistic": each.statistic or None,
        "base": plain(each.base * scale),
        "new": plain(each.new * scale),
        "change": plain(each.change(each.effect)),
        "low": plain(each.change(each.low)) if math.isfinite(each.low) else None,
        "high": plain(each.change(each.high)) if math.isfinite(each.high) else None,
        "z": plain(each.z, 4),
        "word": each.word,
        "why": each.why,
        "regression": each.regression,
    }
