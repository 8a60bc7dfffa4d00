"""Numbers as text. Durations are given in seconds, and shown in the most readable unit. A dash means "not known"."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import overload

from llmlocust.text.message import Message, capitalised, enumeration, message

UNKNOWN = "–"
MINUS = "\N{MINUS SIGN}"


def duration(seconds: float) -> str:
    """A duration with at most three digits: 85 ms, 1.25 s, 12.6 s."""
    if math.isnan(seconds):
        return UNKNOWN
    if math.isinf(seconds):
        return message("never")
    return f"{digits(seconds * 1000.0)} ms" if seconds < 0.9995 else f"{digits(seconds)} s"


def change(before: float, after: float) -> Message:
    """A change between two durations, with a common unit written once: 0.4 → 2.1 s."""
    first, second = duration(before), duration(after)
    if first.rsplit(" ", 1)[-1] == second.rsplit(" ", 1)[-1]:
        first = first.rsplit(" ", 1)[0]
    return message("{before} → {after}", before=first, after=second)


def span(low: float, high: float) -> Message:
    """A range of durations, with a common unit written once: 12 to 40 ms."""
    first, second = change(low, high).values.values()
    return message("{low} to {high}", low=first, high=second)


def share(value: float) -> str:
    """A share in percent: 0.05 %, 2.5 %, 12 %."""
    if math.isnan(value):
        return UNKNOWN
    percent = value * 100.0
    if 0.0 < percent < 0.1:
        return f"{percent:.2g} %"
    return f"{percent:.0f} %" if percent >= 10.0 or percent == 0.0 else f"{percent:.1f} %"


def digits(value: float) -> str:
    """A number with three significant digits, without trailing zeros and without an exponent."""
    if not math.isfinite(value):
        return UNKNOWN if math.isnan(value) else "∞"
    size = abs(value)
    if size >= 99.95:
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}" if size >= 9999.5 else "")
    text = f"{value:.1f}" if size >= 9.995 else f"{value:.2f}" if size >= 0.0995 else f"{value:.3g}"
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def amount(value: float, unit: str) -> str:
    """A number in the unit of its metric: "share", "s", "bytes", "/s", "cores", a unit such as "W", or empty for a count."""
    if unit == "share":
        return share(value)
    if unit == "s":
        return duration(value)
    if math.isnan(value) or unit in ("", "tokens"):  # the name of the metric has the word
        return digits(value)
    if unit == "bytes":
        return _bytes(value)
    if unit == "cores":
        return message("1 core") if value == 1.0 else message("{value} cores", value=digits(value))
    return f"{digits(value)}{unit}" if unit.startswith("/") else f"{digits(value)} {unit}"


def _bytes(value: float) -> str:
    for name, size in (("TiB", 2.0**40), ("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10)):
        if abs(value) >= size:
            return f"{digits(value / size)} {name}"
    return f"{digits(value)} B"


def size(value: float) -> str:
    """A number of bytes: 1.5 MiB."""
    return UNKNOWN if math.isnan(value) else _bytes(value)


def signed(value: float, in_words: Callable[[float], str]) -> str:
    """A change in words, with its sign: +12 ms, −1.5 MiB."""
    if not math.isfinite(value) or value == 0.0:
        return in_words(value)
    return f"{'+' if value > 0.0 else MINUS}{in_words(abs(value))}"


def load(value: float) -> str:
    """A load as it was requested: whole numbers have no decimals."""
    return f"{value:.0f}" if float(value).is_integer() else digits(value)


def with_unit(value: float, unit: str) -> Message:
    return loads([value], unit)


def loads(values: Sequence[float], unit: str) -> Message:
    """Return loads with their unit: 5, 10 and 20 users."""
    named = series([load(value) for value in values])
    if unit == "rate":
        return message("{loads} requests/s", loads=named)
    if list(values) == [1]:
        return message("{loads} user", loads=named)
    return message("{loads} users", loads=named)


def unit_of(unit: str, value: float = 2.0) -> Message:
    if unit == "rate":
        return message("requests/s")
    return message("user") if value == 1 else message("users")


def series(parts: Sequence[str]) -> str:
    """Return a, b and c."""
    if len(parts) < 2:
        return enumeration(parts)
    return message("{first} and {last}", first=enumeration(parts[:-1]), last=parts[-1])


@overload
def sentence(text: Message) -> Message: ...
@overload
def sentence(text: str) -> str: ...
def sentence(text: str) -> str:
    """Return a text with a capital letter, and a full stop if it has none."""
    text = capitalised(text)
    if text.endswith("."):
        return text
    return message("{sentence}.", sentence=text) if isinstance(text, Message) else f"{text}."
