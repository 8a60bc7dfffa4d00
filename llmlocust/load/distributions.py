"""Random numbers for think times, lengths and sampling values, in one notation for all options.

    5                         constant
    1-3, uniform:1-3          uniform between 1 and 3
    whole:1-6                 integers, all with the same probability
    normal:256,64             mean and standard deviation; no values below zero
    lognormal:256,64          mean and standard deviation of the values (not of their logarithms)
    zipf:1.2,64-2048          integers from 64 on; the probability of the k-th is proportional to 1 / k^1.2
    file:lengths.csv          values of a file: a value and its frequency per line, or only values

A normal or lognormal distribution may have limits: `normal:256,64,16-1024`. Values beyond them are drawn again.
"""

from __future__ import annotations

import csv
import io
import math
import random
import re
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

from llmlocust.load.text_files import text_of
from llmlocust.text.message import Message, message

_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\s*-\s*({_NUMBER})")
_MAX_VALUES = 1_000_000
"""Maximum number of values of a zipf: each has an entry in a table."""
_TRIES = 1000
_MIN_WITHIN = 0.05
"""Minimum share of _TRIES draws that must lie within the limits: the others are drawn again."""
_FORMS = "5, 1-3, uniform:1-3, whole:1-6, normal:256,64, lognormal:256,64, zipf:1.2,1-100 or file:lengths.csv"


@dataclass(frozen=True)
class Distribution:
    text: str
    draw: Callable[[random.Random], float]
    low: float
    """The minimum."""
    high: float
    """The maximum."""
    even: bool = False
    """Whether the distribution is uniform."""

    @property
    def fixed(self) -> bool:
        return self.low == self.high

    @property
    def mean(self) -> float | None:
        """The mean of a constant and of a uniform distribution; None for others."""
        return (self.low + self.high) / 2.0 if self.fixed or self.even else None

    def whole(self, source: random.Random) -> int:
        return round(self.draw(source))


@cache
def parse(text: str) -> Distribution:
    """Read a distribution. ValueError in one line."""
    kind, colon, rest = text.strip().partition(":")
    make = _KINDS.get(kind)
    try:
        if colon and make is not None:
            return make(text, rest.strip())
        return _uniform(text, text.strip()) if _RANGE.fullmatch(text.strip()) else _fixed(text, text.strip())
    except _Unclear:
        raise ValueError(f"cannot read {text[:60]!r} as a number or a distribution: write {_FORMS}") from None


def think_time(text: str) -> Distribution:
    """Read a think time in seconds. ValueError in one line."""
    try:
        seconds = parse(str(text))
    except ValueError as problem:
        raise ValueError(f"a think time is seconds such as 5, or 1-3 for anything between: {problem}") from None
    if seconds.low < 0:
        raise ValueError(f"a think time is seconds such as 5, or 1-3 for anything between — got {text!r}")
    return seconds


def think_time_in_words(seconds: Distribution) -> Message:
    """Return a think time as text, for a user class in run.json."""
    if seconds.even and not seconds.fixed:
        return message("think time {low} to {high} s", low=f"{seconds.low:g}", high=f"{seconds.high:g}")
    return message("think time {seconds} s", seconds=f"{seconds.low:g}" if seconds.fixed else seconds.text)


def is_named(text: str) -> bool:
    """Whether a text begins with the name of a distribution: `uniform:…`, not `5`."""
    return text.partition(":")[0] in _KINDS and ":" in text


class _Unclear(Exception):
    """Something is missing in the text, or is not a number."""


def _number(text: str) -> float:
    if not re.fullmatch(_NUMBER, text.strip()) or not math.isfinite(float(text)):
        raise _Unclear
    return float(text)


def _range(text: str) -> tuple[float, float]:
    ends = _RANGE.fullmatch(text.strip())
    if ends is None:
        raise _Unclear
    low, high = _number(ends[1]), _number(ends[2])
    if low > high:
        raise ValueError(f"a range goes up, such as 1-3 — got {text[:60]!r}")
    return low, high


def _fixed(text: str, rest: str) -> Distribution:
    value = _number(rest)
    return Distribution(text, lambda source: value, value, value)


def _uniform(text: str, rest: str) -> Distribution:
    low, high = _range(rest)
    return Distribution(text, lambda source: source.uniform(low, high), low, high, even=True)


def _whole(text: str, rest: str) -> Distribution:
    low, high = (int(end) if end.is_integer() else None for end in _range(rest))
    if low is None or high is None:
        raise ValueError(f"the limits must be whole numbers, such as whole:1-6 — got {text[:60]!r}")
    return Distribution(text, lambda source: source.randint(low, high), low, high)


def _normal(text: str, rest: str) -> Distribution:
    mean, deviation, low, high = _moments(text, rest)
    return Distribution(text, _within(text, lambda source: source.gauss(mean, deviation), low, high), low, high)


def _lognormal(text: str, rest: str) -> Distribution:
    mean, deviation, low, high = _moments(text, rest)
    if mean <= 0:
        raise ValueError(f"the mean of a lognormal is above 0 — got {text[:60]!r}")
    variance = math.log1p((deviation / mean) ** 2)
    place, width = math.log(mean) - variance / 2.0, math.sqrt(variance)
    return Distribution(text, _within(text, lambda source: source.lognormvariate(place, width), low, high), low, high)


def _moments(text: str, rest: str) -> tuple[float, float, float, float]:
    """Return mean, standard deviation, lower and upper limit."""
    parts = rest.split(",")
    if len(parts) not in (2, 3) or _number(parts[1]) < 0:
        raise _Unclear
    low, high = _range(parts[2]) if len(parts) == 3 else (0.0, math.inf)
    return _number(parts[0]), _number(parts[1]), low, high


def _within(text: str, draw: Callable[[random.Random], float], low: float, high: float) -> Callable[..., float]:
    probe = random.Random(0)
    if sum(low <= draw(probe) <= high for _ in range(_TRIES)) < _TRIES * _MIN_WITHIN:
        raise ValueError(f"{text[:60]!r} hardly ever comes within its limits, {low:g} to {high:g}")

    def drawn(source: random.Random) -> float:
        while not low <= (value := draw(source)) <= high:
            pass
        return value

    return drawn


def _zipf(text: str, rest: str) -> Distribution:
    power, _, ends = rest.partition(",")
    low, high = (round(end) for end in _range(ends))
    if high - low >= _MAX_VALUES or _number(power) < 0:
        raise ValueError(f"a zipf has a power of 0 or more, and a million values at most — got {text[:60]!r}")
    weights = ((rank + 1) ** -_number(power) for rank in range(high - low + 1))
    return _weighted(text, range(low, high + 1), list(accumulate(weights)))


def _file(text: str, rest: str) -> Distribution:
    try:
        file = io.StringIO(text_of(rest), newline="")
        rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, ValueError, csv.Error) as problem:
        raise ValueError(f"cannot read the values in {rest}: {problem}") from None
    counted = [_value_and_count(row) for row in rows]
    if counted and counted[0] is None:  # a header
        del counted[0]
    known = [pair for pair in counted if pair is not None]
    if len(known) < len(counted) or not sum(count for _, count in known):
        raise ValueError(f"{rest}: each line has a value and its frequency (512,37), or a value alone")
    known.sort()
    return _weighted(text, [value for value, _ in known], list(accumulate(count for _, count in known)))


def _value_and_count(row: Sequence[str]) -> tuple[float, float] | None:
    try:
        value, count = _number(row[0]), _number(row[1]) if len(row) > 1 else 1.0
    except _Unclear:
        return None
    return (value, count) if count >= 0 and len(row) < 3 else None


def _weighted(text: str, values: Sequence[float], until: Sequence[float]) -> Distribution:
    """Return a distribution over values. `until`: the sum of the weights up to each value."""
    last = len(values) - 1
    return Distribution(
        text,
        lambda source: values[min(bisect(until, source.random() * until[-1]), last)],
        min(values),
        max(values),
    )


_KINDS: dict[str, Callable[[str, str], Distribution]] = {
    "uniform": _uniform,
    "whole": _whole,
    "normal": _normal,
    "lognormal": _lognormal,
    "zipf": _zipf,
    "file": _file,
}


class Draws:
    """The random numbers of a run's requests, in order.

    With a seed, the n-th request of a run has its own random source, independent of the worker that sends it. Process
    `index` of n `processes` takes every n-th source, beginning with its index. Without a seed, all numbers differ between
    runs.
    """

    def __init__(self, seed: str = "", index: int = 0, processes: int = 1) -> None:
        self._seed = seed
        self._chance = random.Random()
        self._step = max(processes, 1)
        # a process that joined later has its own sequence, so that it does not repeat another's
        self._own = f"/{index}" if index >= self._step else ""
        self._next = index % self._step

    def next(self) -> random.Random:
        if not self._seed:
            return self._chance
        number, self._next = self._next, self._next + self._step
        return random.Random(f"{self._seed}{self._own}:{number}")

    def of(self, number: int) -> random.Random:
        """Return the random source of the request with this number."""
        return random.Random(f"{self._seed}:{number}") if self._seed else self._chance
