"""Limits of one answer. A server under test may send anything; an answer beyond a limit fails its request, and costs the
other requests neither memory nor time. Pure.
"""

from __future__ import annotations

MAX_EVENT = 4 << 20
"""Bytes of one event of a stream."""
MAX_DOCUMENT = 16 << 20
"""Bytes of an answer in one piece, and bytes of a stream that may wait to be parsed."""
MAX_PIECES = 200_000
"""Pieces of one answer, usually one token each. The times of all pieces are kept until the answer has ended."""
MAX_CHOICES = 1000
"""Answers in one stream."""

_SMALL = 65536
"""Bytes that are parsed in a few milliseconds, whatever they contain."""
_MAX_LINES = 20_000
_MAX_NESTED = 50_000
_MAX_VALUES_OF_EVENT, _MAX_VALUES_OF_DOCUMENT = 1_000_000, 2_000_000
"""Documents may contain more values: vectors are long lists of numbers."""
_MAX_SLOW, _MAX_SLOW_NESTED = 1 << 20, 10_000


class TooLarge(ValueError):
    """An answer is beyond a limit. The text says which."""


def check_event(data: bytes | bytearray) -> None:
    """Raise TooLarge for events that would take too long to parse. `data` are several events, or one long event."""
    if len(data) > _SMALL:
        _check_size(data, "an event of the answer", MAX_EVENT)
        if any(_has_more(data, end, _MAX_LINES) for end in (b"\n", b"\r")):
            raise TooLarge(f"an event of the answer had more than {_MAX_LINES:,} lines")
        _check_values(data, "an event of the answer", _MAX_VALUES_OF_EVENT)


def check_document(data: bytes | bytearray) -> None:
    """Raise TooLarge for a document that would take too long to parse."""
    if len(data) > _SMALL:
        _check_size(data, "the answer", MAX_DOCUMENT)
        _check_values(data, "the answer", _MAX_VALUES_OF_DOCUMENT)


def _check_size(data: bytes | bytearray, what: str, size: int) -> None:
    if len(data) > size:
        raise TooLarge(longer(what, size))


def longer(what: str, size: int) -> str:
    """Return the message for data of more than `size` bytes."""
    return f"{what} was longer than {size >> 20} MB"


def _check_values(data: bytes | bytearray, what: str, limit: int) -> None:
    # an object or a list of JSON costs some hundred times as much as a character of a text
    if _is_nested(data, _MAX_NESTED):
        raise TooLarge(f"{what} had more than {_MAX_NESTED:,} objects or lists")
    if len(data) > 2 * limit and data.count(b",") > limit:
        raise TooLarge(f"{what} had more than {limit:,} values")


def is_short(data: bytes | bytearray) -> bool:
    """Whether data is small enough for a slow parser: one in Python, or one that creates an object for every value."""
    return len(data) <= _SMALL or (len(data) <= _MAX_SLOW and not _is_nested(data, _MAX_SLOW_NESTED))


def _is_nested(data: bytes | bytearray, limit: int) -> bool:
    return any(_has_more(data, begin, limit) for begin in (b"{", b"["))


def _has_more(data: bytes | bytearray, byte: bytes, limit: int) -> bool:
    """Whether a byte occurs more than `limit` times. Searching stops early, unlike counting all occurrences."""
    at = -1
    for _ in range(limit + 1):
        at = data.find(byte, at + 1)
        if at < 0:
            return False
    return True
