"""A comparison in words: its figures, the headline of each run, the summary for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmlocust.analysis.comparison.compare import BETTER, SAME, UNSURE, WORSE, Comparison, Difference
from llmlocust.metrics.thresholds import RATES
from llmlocust.report.comparison.compared import Compared
from llmlocust.text import figures as words

_MAX_NAMED = 2


def title(compared: Compared) -> str:
    if len(compared.labels) == 2:
        return f"{compared.labels[1]} compared with {compared.labels[0]}"
    return f"{len(compared.labels)} runs, each compared with {compared.labels[0]}"


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
    return f"{sign}{text} {'points' if difference.is_share else '%'}"


def interval(difference: Difference) -> str:
    """The interval of a change, such as −1.2 to 3.4 %; the unit is written once if both ends have the same."""
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
    """Both figures, such as 44 → 48 ms; empty for a difference over all levels, which has no figures."""
    if math.isnan(difference.base):
        return ""
    if difference.is_share or difference.metric in RATES:
        return f"{value(difference, difference.base)} → {value(difference, difference.new)}"
    return words.change(difference.base, difference.new)


def headlines(compared: Compared) -> list[str]:
    """The result of each NEW in a sentence."""
    return [_headline(compared, label, comparison) for label, comparison in compared.each]


def _headline(compared: Compared, label: str, comparison: Comparison) -> str:
    base, within = compared.labels[0], f"{compared.tolerance * 100:.3g} %"
    worse = _described(comparison, WORSE, compared.unit, regressions=True)
    better = _described(comparison, BETTER, compared.unit)
    if worse and better:
        sentence = f"{label} is worse than {base} in {worse}; better in {better}"
    elif worse:
        sentence = f"{label} is worse than {base}: {worse}"
    elif better:
        sentence = f"{label} is better than {base}: {better}"
    elif little := _described(comparison, WORSE, compared.unit):
        sentence = f"{label} is worse than {base} by no more than the tolerance of {within}: {little}"
    else:
        sentence = _no_difference(compared, label, comparison, within)
    return f"{sentence}.{_left_out(compared, comparison)}"


def _no_difference(compared: Compared, label: str, comparison: Comparison, within: str) -> str:
    every = list(comparison.differences)
    same = sum(each.word == SAME for each in every)
    if every and same == len(every):
        return f"{label} is the same as {compared.labels[0]}, within {within}, in all {same} figures"
    return (
        f"No difference between {label} and {compared.labels[0]} is proven: {same} of {len(every)} figures are the same within "
        f"{within}, the others are unclear"
    )


def _left_out(compared: Compared, comparison: Comparison) -> str:
    doubted = [words.load(pair.load) for pair in comparison.doubted]
    if not doubted:
        return ""
    unit = words.unit_of(compared.unit, comparison.doubted[0].load if len(doubted) == 1 else 2)
    return f" Left out because checks failed: {words.series(doubted)} {unit}."


def _described(comparison: Comparison, wanted: Sequence[str], unit: str, *, regressions: bool = False) -> str:
    """The figures that are worse (or better), the clearest first; over all levels if that is known, otherwise by level."""
    places: dict[str, list[tuple[float | None, Difference]]] = {}
    by_place: list[tuple[float | None, Difference]] = [(None, each) for each in comparison.overall]
    by_place += [(pair.load, each) for pair in comparison.pairs for each in pair.differences]
    for load, each in by_place:
        if each.word in wanted and (each.regression or not regressions):
            places.setdefault(each.name, []).append((load, each))
    names = sorted(places, key=lambda name: -max(abs(each.z) for _, each in places[name]))
    # only the clearest of each metric: p50 and p95 usually agree
    first = {places[name][0][1].metric: name for name in reversed(names)}
    figures = [_of_figure(places[name], unit) for name in names if name in first.values()][:_MAX_NAMED]
    more = len(names) - len(figures)
    return words.series([*figures, *([f"{more} more figures" if more > 1 else "one more figure"] if more else [])])


def _of_figure(places: Sequence[tuple[float | None, Difference]], unit: str) -> str:
    """A figure with its change, such as p95 TTFT (+12 % over all levels, +8 to +16 %); otherwise at the level that differs most."""
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


def summary(compared: Compared) -> list[str]:
    """The lines for a terminal."""
    lines = headlines(compared)
    if compared.doubted and not compared.regressed:
        lines.append("It is unknown whether the levels for which checks failed became worse.")
    return lines


def standing(compared: Compared) -> tuple[str, str, str]:
    """The overall result: its class (good, bad or note), its mark and its sentence."""
    within = f"{compared.tolerance * 100:.3g} %"
    if compared.regressed:
        return "bad", "!", f"A regression: worse by more than {within}, and noise does not explain it."
    if compared.doubted:
        return (
            "bad",
            "!",
            "No regression at the valid levels; checks failed for some of the levels compared.",
        )
    every = [each for comparison in compared.comparisons for each in comparison.differences]
    known = sum(each.word != UNSURE for each in every)
    if not known:
        return "note", "?", "The result is unclear: no figure is precise enough."
    if known < len(every):
        return "note", "?", f"No regression in {known} of {len(every)} figures; the others are not precise enough."
    return "good", "✓", f"No regression: no figure is worse by more than {within}, or noise explains it."


def not_compared(compared: Compared, label: str, comparison: Comparison) -> list[str]:
    alone = ((compared.labels[0], comparison.only_base), (label, comparison.only_new))
    return [
        f"Not compared, because only {name} has them: {words.series([words.load(load) for load in loads])} {words.unit_of(compared.unit)}."
        for name, loads in alone
        if loads
    ]


def doubts(compared: Compared, label: str, comparison: Comparison) -> list[str]:
    names = {"BASE": compared.labels[0], "NEW": label}
    return [
        f"{words.with_unit(pair.load, compared.unit)}: {check} ({names[side]})."
        for pair in comparison.doubted
        for side, check in pair.doubts
    ]


def key(compared: Compared) -> str:
    within = f"{compared.tolerance * 100:.3g} %"
    return (
        f"✗ worse, ✓ better, = the same within {within}, ? unclear. Beside the sign: the change with its 95 % interval."
    )
