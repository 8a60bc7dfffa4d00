"""A comparison in words: its figures, the headline of each run, the summary for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmlocust.analysis.comparison.compare import BETTER, SAME, UNSURE, WORSE, Comparison, Difference
from llmlocust.metrics.thresholds import RATES
from llmlocust.report.comparison.compared import Compared
from llmlocust.text import figures as words

_MOST_NAMED = 2


def title(compared: Compared) -> str:
    if len(compared.labels) == 2:
        return f"{compared.labels[1]} beside {compared.labels[0]}"
    return f"{len(compared.labels)} runs, each beside {compared.labels[0]}"


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


def headlines(compared: Compared) -> list[str]:
    """For each NEW how it stands to BASE, in a sentence."""
    return [_headline(compared, label, comparison) for label, comparison in compared.each]


def _headline(compared: Compared, label: str, comparison: Comparison) -> str:
    base, within = compared.labels[0], f"{compared.tolerance * 100:.3g} %"
    worse = _described(comparison, WORSE, compared.unit, regressions=True)
    better = _described(comparison, BETTER, compared.unit)
    if worse and better:
        said = f"{label} is worse than {base} in {worse}; better in {better}"
    elif worse:
        said = f"{label} is worse than {base}: {worse}"
    elif better:
        said = f"{label} is better than {base}: {better}"
    elif little := _described(comparison, WORSE, compared.unit):
        said = f"{label} is worse than {base} by no more than the tolerance of {within}: {little}"
    else:
        said = _no_difference(compared, label, comparison, within)
    return f"{said}.{_left_out(compared, comparison)}"


def _no_difference(compared: Compared, label: str, comparison: Comparison, within: str) -> str:
    every = list(comparison.differences)
    same = sum(each.word == SAME for each in every)
    if every and same == len(every):
        return f"{label} is the same as {compared.labels[0]}, within {within}, in all {same} figures"
    return (
        f"No difference between {label} and {compared.labels[0]} is proven: {same} of {len(every)} figures are the same within "
        f"{within}, the others cannot be told"
    )


def _left_out(compared: Compared, comparison: Comparison) -> str:
    doubted = [words.load(pair.load) for pair in comparison.doubted]
    if not doubted:
        return ""
    unit = words.unit_of(compared.unit, comparison.doubted[0].load if len(doubted) == 1 else 2)
    return f" Left out, as checks doubt what was measured: {words.series(doubted)} {unit}."


def _described(comparison: Comparison, wanted: Sequence[str], unit: str, *, regressions: bool = False) -> str:
    """The figures that are worse (or better), the clearest first: over all levels where that is known, else where."""
    places: dict[str, list[tuple[float | None, Difference]]] = {}
    by_place: list[tuple[float | None, Difference]] = [(None, each) for each in comparison.overall]
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


def summary(compared: Compared) -> list[str]:
    """What a terminal shows."""
    lines = headlines(compared)
    if compared.doubted and not compared.regressed:
        lines.append("Whether anything became worse is not known of the levels that checks doubt.")
    return lines


def standing(compared: Compared) -> tuple[str, str, str]:
    """Good, bad, or neither, its mark, and the sentence beside it: no more is promised than is known."""
    within = f"{compared.tolerance * 100:.3g} %"
    if compared.regressed:
        return "bad", "!", f"A regression: worse by more than {within}, and noise does not explain it."
    if compared.doubted:
        return (
            "bad",
            "!",
            "No regression where the measurement can be believed; checks doubt some of the levels compared.",
        )
    every = [each for comparison in compared.comparisons for each in comparison.differences]
    known = sum(each.word != UNSURE for each in every)
    if not known:
        return "note", "?", "Whether anything became worse cannot be told: no figure is known well enough."
    if known < len(every):
        return "note", "?", f"No regression in the {known} of {len(every)} figures that can be told; the others cannot."
    return "good", "✓", f"No regression: nothing is worse by more than {within} that noise does not explain."


def not_compared(compared: Compared, label: str, comparison: Comparison) -> list[str]:
    alone = ((compared.labels[0], comparison.only_base), (label, comparison.only_new))
    return [
        f"Not compared, as {name} alone held them: {words.series([words.load(load) for load in loads])} {words.unit_of(compared.unit)}."
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
        f"✗ worse, ✓ better, = the same within {within}, ? cannot be told. Beside it the change with its 95 % interval."
    )
