"""`Opinion`: what a rule concludes about one cause, and the sentences on figures that all rules use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.telemetry import VOCABULARY
from llmlocust.text import figures as words
from llmlocust.text.message import Message, capitalised, message, term


@dataclass(frozen=True)
class Witness:
    """A figure that speaks for a cause."""

    metric: str
    says: str
    family: str
    """The quantity that was measured, with the side that measured it. Two witnesses of one family are not independent: two gauges of the
    same counter are one witness."""
    is_change: bool = False
    """Whether it compares levels or moments."""
    of_client: bool = False
    """Whether the load generator alone measured it."""


@dataclass(frozen=True)
class Opinion:
    """The conclusion of a rule."""

    key: str
    says: str | None = None
    """The sentence on the cause, for the case that it is named."""
    share: float = 0.0
    """Share of the effect that the cause explains, from 0 to 1: of the added time, or of the failures."""
    witnesses: Sequence[Witness] = ()
    against: str | None = None
    """Why the data exclude the cause; None if they do not."""

    @property
    def families(self) -> set[str]:
        return {witness.family for witness in self.witnesses}


def name(metric: str) -> Message:
    """Return the name of a metric of telemetry or of llmlocust."""
    if metric in VOCABULARY:
        return term(VOCABULARY[metric].name)
    return term(METRICS[metric].name if metric in METRICS else metric)


def shown(metric: str, value: float) -> str:
    """Return a value with the unit of its metric."""
    if metric == "errors":
        return words.share(value)
    return words.amount(value, VOCABULARY[metric].unit if metric in VOCABULARY else "s")


def goes(metric: str, before: float, after: float, low: str, high: str) -> Message:
    """Return a sentence on a change between two loads."""
    text = message(
        "{metric}: {before} at {low}, {after} at {high}.",
        metric=name(metric),
        before=shown(metric, before),
        after=shown(metric, after),
        low=low,
        high=high,
    )
    return capitalised(text)


def value_at(metric: str, value: float, load: str) -> Message:
    """Return a sentence on a value at a load."""
    text = message("{metric}: {value} at {load}.", metric=name(metric), value=shown(metric, value), load=load)
    return capitalised(text)
