"""Words, times and sizes of the notation of a fault plan. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

NUMBER = r"[0-9]{1,13}(?:\.[0-9]{1,6})?"
DURATION = rf"{NUMBER} ?(?:ms|s|m|h)"
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"b": 1, "kb": 1000, "mb": 10**6, "gb": 10**9, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_MAX_SECONDS = 30 * 86_400.0
_PARTS = re.compile(rf"({NUMBER}) ?([a-zA-Z]+)")


def seconds(text: str) -> float:
    """Return the seconds of a duration. Raises ValueError in one line."""
    match = _PARTS.fullmatch(text)
    if not match or match[2] not in _SECONDS:
        raise ValueError(f"'{text}' is no duration: write one like 500ms, 60s, 2m or 1h")
    duration = round(float(match[1]) * _SECONDS[match[2]], 6)
    if duration > _MAX_SECONDS:
        raise ValueError(f"'{text}' is longer than 30 days")
    return duration


def duration(value: float) -> str:
    """Return a duration that `seconds` reads back."""
    return f"{plain(value)}s" if value >= 1.0 or value == 0.0 or value * 1e3 % 1 else f"{plain(value * 1e3)}ms"


def size(text: str) -> int:
    """Return the bytes of a size. Raises ValueError in one line."""
    match = _PARTS.fullmatch(text)
    if not match or match[2].lower() not in _BYTES:
        raise ValueError(f"'{text}' is no size: write one like 500MB or 2GB")
    number = round(float(match[1]) * _BYTES[match[2].lower()])
    if not number:
        raise ValueError("a size must be at least one byte")
    return number


def size_text(number: int) -> str:
    """Return a size that `size` reads back."""
    unit = next(unit for unit in ("GB", "MB", "kB", "B") if number % _BYTES[unit.lower()] == 0)
    return f"{number // _BYTES[unit.lower()]}{unit}"


def plain(number: float) -> str:
    """Return a number without an exponent and without zeros at the end."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


def words_of(text: str) -> list[str]:
    """Split a text into words, of which quotes make one. Raises ValueError in one line."""
    try:
        return shlex.split(text)
    except ValueError:
        raise ValueError("a quotation mark has no second one") from None


def quoted(text: str) -> str:
    """Return a text in quotation marks, one word for `words_of`."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def word(text: str) -> str:
    """Return a text as one word for `words_of`, in quotation marks only where they are needed."""
    return text if re.fullmatch(r"[\w@%+=:,./~?&-]+", text) else quoted(text)


def joined(words: Sequence[str]) -> str:
    """Return words as a text that `words_of` splits in the same way."""
    return " ".join(map(word, words))
