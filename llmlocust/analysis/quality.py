"""Whether answers get worse under load: fewer right ones, more that are empty, cut or repeat themselves."""

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
"""The chance to call a kind of answers worse, at whichever level, though it is not."""

KINDS = {
    "right": message("fewer right answers under load"),
    "empty": message("more answers without text under load"),
    "cut": message("more answers cut at the limit of tokens under load"),
    "repeated": message("more answers that repeat themselves under load"),
}
"""What it means that a share of a level's answers gets worse, by the field of LevelFigures."""


@dataclass(frozen=True)
class Change:
    """How the share of a kind of answers differs between the lowest level and another."""

    kind: str
    before: LevelFigures
    after: LevelFigures
    """The lowest level at which it is surely worse; where it is at none, the highest."""
    low: float
    high: float
    """The interval of the difference, after − before: 95 % for all levels together."""

    @property
    def is_worse(self) -> bool:
        return self.high < 0 if self.kind == "right" else self.low > 0

    def says(self, unit: str) -> Message:
        """A sentence. Points are percentage points."""
        what = KINDS[self.kind] if self.is_worse else message("not surely {change}", change=KINDS[self.kind])
        before, after = (words.share(getattr(each, self.kind)) for each in (self.before, self.after))
        return message(
            "{change}: {before} at {low_load}, {after} at {high_load} (by {low} to {high} points).",
            change=capitalised(what),
            before=before,
            low_load=words.with_unit(self.before.load, unit),
            after=after,
            high_load=words.load(self.after.load),
            low=f"{self.low * 100:+.1f}",
            high=f"{self.high * 100:+.1f}",
        )


def changes(levels: Sequence[LevelFigures]) -> list[Change]:
    """Of right answers, where answers were judged, and of each other kind that came at all."""
    in_order = sorted((each for each in levels if each.load > 0), key=lambda each: each.load)
    found = (_change(kind, in_order) for kind in KINDS)
    return [each for each in found if each is not None]


def _change(kind: str, levels: Sequence[LevelFigures]) -> Change | None:
    known = [each for each in levels if math.isfinite(getattr(each, kind)) and _answers(kind, each)]
    if len(known) < 2 or (kind != "right" and not any(getattr(each, kind) for each in known)):
        return None
    lowest, *others = known
    z = NormalDist().inv_cdf(1.0 - _WRONG / 2.0 / len(others))
    made = [Change(kind, lowest, each, *_difference(kind, lowest, each, z)) for each in others]
    return next((each for each in made if each.is_worse), made[-1])


def _answers(kind: str, figures: LevelFigures) -> int:
    return figures.judged if kind == "right" else figures.ok


def _difference(kind: str, before: LevelFigures, after: LevelFigures, z: float) -> tuple[float, float]:
    """Newcombe's interval for a difference of two shares, from Wilson's of each."""
    first, second = getattr(before, kind), getattr(after, kind)
    (low1, high1), (low2, high2) = (
        wilson(share, n, z) for share, n in ((first, _answers(kind, before)), (second, _answers(kind, after)))
    )
    difference = second - first
    least = difference - math.hypot(second - low2, high1 - first)
    return least, difference + math.hypot(high2 - second, first - low1)
