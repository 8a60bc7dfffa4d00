"""The sentences of a comparison: its figures, the headline of each run, the summary for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmlocust.analysis.comparison.compare import BETTER, SAME, UNSURE, WORSE, Comparison, Difference
from llmlocust.metrics.thresholds import RATES
from llmlocust.report.comparison.compared import Compared
from llmlocust.text import figures as words
from llmlocust.text.message import Message, enumeration, message, sentences

_MAX_NAMED = 2


def title(compared: Compared) -> Message:
    base, *others = compared.labels
    if len(others) == 1:
        return message("{new} compared with {base}", new=others[0], base=base)
    return message("{count} runs, each compared with {base}", count=len(compared.labels), base=base)


def signed(difference: Difference, effect: float) -> str:
    """An effect as text, such as +12 %, −0.4 points or 3.1 ×."""
    change = difference.change(effect)
    if math.isnan(change):
        return words.UNKNOWN
    if change >= 2.0 and not difference.is_share:
        return f"{words.digits(1.0 + change)} ×"
    percent = change * 100.0
    text = f"{abs(percent):.0f}" if abs(percent) >= 9.95 else f"{abs(percent):.1f}"
    sign = "" if float(text) == 0.0 else "+" if percent > 0.0 else "−"
    number = f"{sign}{text}"
    return message("{number} points", number=number) if difference.is_share else f"{number} %"


def interval(difference: Difference) -> str:
    """The interval of a change, such as −1.2 to 3.4 %; the unit is written once if both ends have the same."""
    low, high = (signed(difference, end) for end in (difference.low, difference.high))
    if math.isinf(difference.low) and math.isinf(difference.high):
        return message("not known")
    if math.isinf(difference.high):
        return message("{low} or more", low=low)
    if math.isinf(difference.low):
        return message("{high} or less", high=high)
    number, _, unit = low.partition(" ")
    return message("{low} to {high}", low=number if high.endswith(unit) else low, high=high)


def value(difference: Difference, figure: float) -> str:
    if math.isnan(figure):
        return words.UNKNOWN
    if difference.is_share:
        return words.share(figure)
    return words.digits(figure) if difference.metric in RATES else words.duration(figure)


def values(difference: Difference) -> str:
    """Both figures, such as 44 → 48 ms; empty for a difference over all levels, which has no figures."""
    if math.isnan(difference.base):
        return ""
    if difference.is_share or difference.metric in RATES:
        base, new = (value(difference, figure) for figure in (difference.base, difference.new))
        return message("{before} → {after}", before=base, after=new)
    return words.change(difference.base, difference.new)


def headlines(compared: Compared) -> list[str]:
    """The result of each NEW in a sentence."""
    return [
        sentences([_headline(compared, label, comparison), *_left_out(compared, comparison)])
        for label, comparison in compared.new_runs
    ]


def _headline(compared: Compared, label: str, comparison: Comparison) -> Message:
    base = compared.labels[0]
    worse = _described(comparison, WORSE, compared.unit, regressions=True)
    better = _described(comparison, BETTER, compared.unit)
    if worse and better:
        return message(
            "{new} is worse than {base} in {worse}; better in {better}.",
            new=label,
            base=base,
            worse=worse,
            better=better,
        )
    if worse:
        return message("{new} is worse than {base}: {worse}.", new=label, base=base, worse=worse)
    if better:
        return message("{new} is better than {base}: {better}.", new=label, base=base, better=better)
    if slightly_worse := _described(comparison, WORSE, compared.unit):
        return message(
            "{new} is worse than {base} by no more than the tolerance of {tolerance}: {worse}.",
            new=label,
            base=base,
            tolerance=_tolerance(compared),
            worse=slightly_worse,
        )
    return _no_difference(compared, label, comparison)


def _tolerance(compared: Compared) -> str:
    return f"{compared.tolerance * 100:.3g} %"


def _no_difference(compared: Compared, label: str, comparison: Comparison) -> Message:
    differences = list(comparison.differences)
    same = sum(difference.word == SAME for difference in differences)
    if differences and same == len(differences):
        return message(
            "{new} is the same as {base}, within {tolerance}, in all {count} figures.",
            new=label,
            base=compared.labels[0],
            tolerance=_tolerance(compared),
            count=same,
        )
    return message(
        "No difference between {new} and {base} is proven: {same} of {total} figures are the same within {tolerance}, the "
        "others are unclear.",
        new=label,
        base=compared.labels[0],
        same=same,
        total=len(differences),
        tolerance=_tolerance(compared),
    )


def _left_out(compared: Compared, comparison: Comparison) -> list[Message]:
    loads = [pair.load for pair in comparison.doubted]
    if not loads:
        return []
    return [message("Left out because checks failed: {loads}.", loads=words.loads(loads, compared.unit))]


def _described(comparison: Comparison, wanted: Sequence[str], unit: str, *, regressions: bool = False) -> str:
    """The figures that are worse (or better), the clearest first; over all levels if that is known, otherwise by level."""
    places: dict[str, list[tuple[float | None, Difference]]] = {}
    by_place: list[tuple[float | None, Difference]] = [(None, difference) for difference in comparison.overall]
    by_place += [(pair.load, difference) for pair in comparison.pairs for difference in pair.differences]
    for load, difference in by_place:
        if difference.word in wanted and (difference.regression or not regressions):
            places.setdefault(difference.name, []).append((load, difference))
    names = sorted(places, key=lambda name: -max(abs(difference.z) for _, difference in places[name]))
    # only the clearest of each metric: p50 and p95 usually agree
    first = {places[name][0][1].metric: name for name in reversed(names)}
    figures = [_of_figure(places[name], unit) for name in names if name in first.values()][:_MAX_NAMED]
    more = len(names) - len(figures)
    if more == 1:
        figures.append(message("one more figure"))
    elif more:
        figures.append(message("{count} more figures", count=more))
    return words.series(figures)


def _of_figure(places: Sequence[tuple[float | None, Difference]], unit: str) -> Message:
    """A figure with its change, such as p95 TTFT (+12 % over all levels, +8 to +16 %); otherwise at the level that differs most."""
    load, difference = places[0]
    if load is not None:
        load, difference = max(places, key=lambda place: abs(place[1].effect))
    return message(
        "{figure} ({change} {where}, {interval})",
        figure=difference.name,
        change=signed(difference, difference.effect),
        where=_where(load, len(places) - 1, unit),
        interval=interval(difference),
    )


def _where(load: float | None, more: int, unit: str) -> Message:
    """The levels that differ: all, or a load and the number of further ones."""
    if load is None:
        return message("over all levels")
    if more == 0:
        return message("at {load}", load=words.with_unit(load, unit))
    if more == 1:
        return message("at {load} and 1 more level", load=words.with_unit(load, unit))
    return message("at {load} and {count} more levels", load=words.with_unit(load, unit), count=more)


def summary(compared: Compared) -> list[str]:
    """The lines for a terminal."""
    lines = headlines(compared)
    if compared.doubted and not compared.regressed:
        lines.append("It is unknown whether the levels for which checks failed became worse.")
    return lines


def banner(compared: Compared) -> tuple[str, str, Message]:
    """The overall result: its class (good, bad or note), its mark and its sentence."""
    differences = [difference for comparison in compared.comparisons for difference in comparison.differences]
    known = sum(difference.word != UNSURE for difference in differences)
    if compared.regressed or compared.doubted:
        return "bad", "!", _not_good(compared)
    if known < len(differences) or not known:
        return "note", "?", _not_all_known(known, len(differences))
    sentence = message(
        "No regression: no figure is worse by more than {tolerance}, or noise explains it.",
        tolerance=_tolerance(compared),
    )
    return "good", "✓", sentence


def _not_good(compared: Compared) -> Message:
    if not compared.regressed:
        return message("No regression at the valid levels; checks failed for some of the levels compared.")
    return message(
        "A regression: worse by more than {tolerance}, and noise does not explain it.", tolerance=_tolerance(compared)
    )


def _not_all_known(known: int, total: int) -> Message:
    if not known:
        return message("The result is unclear: no figure is precise enough.")
    return message(
        "No regression in {known} of {total} figures; the others are not precise enough.", known=known, total=total
    )


def runs_caption(compared: Compared) -> str:
    """The caption of the table of runs: the load of its figures, and the thresholds."""
    return sentences([*_figures_at(compared), *_thresholds(compared)])


def _figures_at(compared: Compared) -> list[Message]:
    if compared.common_load is None:
        return []
    load = words.with_unit(compared.common_load, compared.unit)
    if compared.at_one_level:
        return [message("At {load}; the 95 % interval is below each figure.", load=load)]
    return [message("Latencies at {load}, the highest load that all runs have.", load=load)]


def _thresholds(compared: Compared) -> list[Message]:
    base, new = compared.assessments[:2]
    thresholds = enumeration([str(threshold) for threshold in new.thresholds])
    if not thresholds:
        return []
    if base.thresholds:
        return [message("Thresholds: {thresholds}.", thresholds=thresholds)]
    return [message("Thresholds: {thresholds}, derived from the lowest level of the first run.", thresholds=thresholds)]


def not_compared(compared: Compared, label: str, comparison: Comparison) -> list[Message]:
    """The loads that only one of two runs has."""
    alone = ((compared.labels[0], comparison.only_base), (label, comparison.only_new))
    return [
        message("Not compared, because only {run} has them: {loads}.", run=run, loads=words.loads(loads, compared.unit))
        for run, loads in alone
        if loads
    ]


def doubts(compared: Compared, label: str, comparison: Comparison) -> list[Message]:
    """The failed checks of each level that is not valid."""
    labels = {"BASE": compared.labels[0], "NEW": label}
    return [
        message(
            "{load}: {check} ({run}).", load=words.with_unit(pair.load, compared.unit), check=check, run=labels[side]
        )
        for pair in comparison.doubted
        for side, check in pair.doubts
    ]


def key(compared: Compared) -> Message:
    """The meaning of the signs."""
    return message(
        "✗ worse, ✓ better, = the same within {tolerance}, ? unclear. Beside the sign: the change with its 95 % interval.",
        tolerance=_tolerance(compared),
    )
