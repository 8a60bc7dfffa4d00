"""Quality of answers under load: fewer right answers, or more that are empty, cut or repeat themselves. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from llmlocust.analysis.breakpoints.steps import wilson
from llmlocust.metrics.levels import LevelFigures
from llmlocust.text import figures as words
from llmlocust.text.message import Message, capitalised, message

_WRONG = 0.05
"""Probability of a false alarm for a kind of answers, over all levels."""

KINDS = {
    "right": message("fewer right answers under load"),
    "empty": message("more answers without text under load"),
    "cut": message("more answers cut at the limit of tokens under load"),
    "repeated": message("more answers that repeat themselves under load"),
}
"""The meaning of a worse share of a level's answers, by the field of LevelFigures."""


@dataclass(frozen=True)
class Change:
    """The difference of the share of a kind of answers between the lowest level and another."""

    kind: str
    before: LevelFigures
    """The lowest level."""
    after: LevelFigures
    """The lowest level at which the share is certainly worse; without one, the highest level."""
    low: float
    """Lower end of the interval of the difference, after − before: 95 % for all levels together."""
    high: float
    """Upper end of the interval."""

    @property
    def is_worse(self) -> bool:
        """Whether the share is certainly worse."""
        return self.high < 0 if self.kind == "right" else self.low > 0

    def says(self, unit: str) -> Message:
        """A sentence on the change, in percentage points."""
        what = KINDS[self.kind] if self.is_worse else message("no certain sign of {change}", change=KINDS[self.kind])
        before, after = (words.share(getattr(level, self.kind)) for level in (self.before, self.after))
        return message(
            "{change}: {before} at {low_load}, {after} at {high_load} (by {low} to {high} points).",
            change=capitalised(what),
            before=before,
            low_load=words.with_unit(self.before.load, unit),
            after=after,
            high_load=words.load(self.after.load),
            low=_signed(self.low),
            high=_signed(self.high),
        )


def _signed(share: float) -> str:
    """Return a difference in percentage points, with its sign."""
    return f"{share * 100:+.1f}".replace("-", "\N{MINUS SIGN}")


def changes(levels: Sequence[LevelFigures]) -> list[Change]:
    """The changes of right answers, if answers were judged, and of each other kind that occurred."""
    in_order = sorted((level for level in levels if level.load > 0), key=lambda level: level.load)
    candidates = (_change(kind, in_order) for kind in KINDS)
    return [change for change in candidates if change is not None]


def _change(kind: str, levels: Sequence[LevelFigures]) -> Change | None:
    known = [level for level in levels if math.isfinite(getattr(level, kind)) and _answers(kind, level)]
    if len(known) < 2 or (kind != "right" and not any(getattr(level, kind) for level in known)):
        return None
    lowest, *others = known
    z = NormalDist().inv_cdf(1.0 - _WRONG / 2.0 / len(others))
    candidates = [Change(kind, lowest, level, *_difference(kind, lowest, level, z)) for level in others]
    return next((change for change in candidates if change.is_worse), candidates[-1])


def _answers(kind: str, figures: LevelFigures) -> int:
    """Number of answers that the share is of."""
    return figures.judged if kind == "right" else figures.ok


def _difference(kind: str, before: LevelFigures, after: LevelFigures, z: float) -> tuple[float, float]:
    """Newcombe's interval for a difference of two shares, from Wilson's of each."""
    first, second = getattr(before, kind), getattr(after, kind)
    (low1, high1), (low2, high2) = (
        wilson(share, n, z) for share, n in ((first, _answers(kind, before)), (second, _answers(kind, after)))
    )
    difference = second - first
    low = difference - math.hypot(second - low2, high1 - first)
    return low, difference + math.hypot(high2 - second, first - low1)
