"""The assumptions of a plan about users and operation: their values, and where each is from. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from llmlocust.text import figures as words
from llmlocust.text.message import Message, term


class Source(StrEnum):
    """Where the value of an assumption is from."""

    GIVEN = "given"
    MEASURED = "measured"
    DEFAULT = "default"


SOURCES = {
    Source.GIVEN: term("given"),
    Source.MEASURED: term("measured"),
    Source.DEFAULT: term("default"),
}
NAMES = {
    "think_time": term("think time between two requests of a user"),
    "per_user_day": term("requests per user and day"),
    "peak_share": term("share of a day's requests in the busiest hour"),
    "headroom": term("head-room"),
    "spare": term("replicas that may fail"),
    "growth": term("growth"),
}
DEFAULTS = {
    "think_time": 15.0,
    "per_user_day": 30.0,
    "peak_share": 0.15,
    "headroom": 0.3,
    "spare": 1.0,
    "growth": 0.0,
}
_SHARES = ("peak_share", "headroom", "growth")


@dataclass(frozen=True)
class Assumptions:
    """The values by name, and their sources. Seconds, counts and shares."""

    values: Mapping[str, float]
    sources: Mapping[str, Source]

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def having(self, name: str, value: float) -> Assumptions:
        """Return the same assumptions with another value of one."""
        return Assumptions({**self.values, name: value}, self.sources)

    def source(self, name: str) -> Message:
        return SOURCES[self.sources[name]]

    def text(self, name: str) -> str:
        return in_words(name, self[name])


def assumptions(given: Mapping[str, float], measured_think_time: float | None = None) -> Assumptions:
    """Return the given values, the measured think time if none is given, and the defaults for the rest.

    Raises ValueError with one line for a value that is impossible.
    """
    measured = {} if measured_think_time is None else {"think_time": measured_think_time}
    sources = dict.fromkeys(DEFAULTS, Source.DEFAULT)
    sources |= dict.fromkeys(measured, Source.MEASURED) | dict.fromkeys(given, Source.GIVEN)
    values = {**DEFAULTS, **measured, **given}
    for name, (fits, what) in _POSSIBLE.items():
        if not (math.isfinite(values[name]) and fits(values[name])):
            raise ValueError(f"{what}: got {values[name]:g}")
    return Assumptions(values, sources)


def in_words(name: str, value: float) -> str:
    """Return the value of an assumption as text."""
    if name == "think_time":
        return words.duration(value)
    return words.share(value) if name in _SHARES else words.digits(value)


VARIED: Sequence[tuple[str, tuple[float, float]]] = (
    ("think_time", (0.5, 2.0)),
    ("peak_share", (2.0 / 3.0, 4.0 / 3.0)),
    ("per_user_day", (0.5, 2.0)),
)
"""The assumptions that the table of sensitivity varies, with the factors."""


def variants(base: Assumptions) -> list[tuple[str, Assumptions]]:
    """Return the assumptions with one of VARIED changed, with its name. A share stays at most 1."""
    changed = partial(_times, base)
    return [
        (name, variant)
        for name, factors in VARIED
        for factor in factors
        if (variant := changed(name, factor))[name] != base[name]
    ]


def _times(base: Assumptions, name: str, factor: float) -> Assumptions:
    value = base[name] * factor
    return base.having(name, min(1.0, value) if name in _SHARES else value)


_POSSIBLE: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "think_time": (lambda value: value >= 0.0, "a think time is a number of seconds from 0 up, such as 15s"),
    "per_user_day": (lambda value: value > 0.0, "requests per user and day are a number above 0, such as 30"),
    "peak_share": (lambda value: 0.0 < value <= 1.0, "the share of the busiest hour is above 0 and at most 1 (100%)"),
    "headroom": (lambda value: 0.0 <= value < 1.0, "head-room is a share from 0 to below 1, such as 0.3 or 30%"),
    "spare": (lambda value: value >= 0.0 and value == int(value), "replicas that may fail are a whole number, such as 1"),
    "growth": (lambda value: value > -1.0, "growth is a share, such as 0.5 or 50%"),
}  # fmt: skip
