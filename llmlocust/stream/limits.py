"""Limits of what is read of one answer. A server under test may send anything: what goes beyond a limit ends its request,
and takes neither the memory of the process nor the time of the other requests. Pure.
"""

from __future__ import annotations

MAX_EVENT = 4 << 20
"""Bytes of one event of a stream."""
MAX_DOCUMENT = 16 << 20
"""Bytes of an answer in one piece; also bytes of a stream that have come and are not read yet."""
MAX_PIECES = 200_000
"""Pieces of one answer, a token each as a rule: the times of each are kept until the answer has ended."""
MAX_CHOICES = 1000
"""Answers in one stream."""

_SMALL = 65536
"""Bytes that are read in a few milliseconds, whatever they are."""
_MAX_LINES = 20_000
_MAX_NESTED = 50_000
_MAX_VALUES_OF_EVENT, _MAX_VALUES_OF_DOCUMENT = 1_000_000, 2_000_000
"""Vectors are long lists of numbers, and come in documents."""
_MAX_SLOW, _MAX_SLOW_NESTED = 1 << 20, 10_000


class TooLarge(ValueError):
    """What goes beyond a limit, in words."""


def check_event(data: bytes | bytearray) -> None:
    """Raise TooLarge for events that cannot be read in a moment. `data` are events, or one long event."""
    if len(data) > _SMALL:
        _check_size(data, "an event of the answer", MAX_EVENT)
        if any(_has_more(data, end, _MAX_LINES) for end in (b"\n", b"\r")):
            raise TooLarge(f"an event of the answer had more than {_MAX_LINES:,} lines")
        _check_values(data, "an event of the answer", _MAX_VALUES_OF_EVENT)


def check_document(data: bytes | bytearray) -> None:
    """Raise TooLarge for a document that cannot be read in a moment."""
    if len(data) > _SMALL:
        _check_size(data, "the answer", MAX_DOCUMENT)
        _check_values(data, "the answer", _MAX_VALUES_OF_DOCUMENT)


def _check_size(data: bytes | bytearray, what: str, size: int) -> None:
    if len(data) > size:
        raise TooLarge(longer(what, size))


def longer(what: str, size: int) -> str:
    """Words for what has more bytes than it may."""
    return f"{what} was longer than {size >> 20} MB"


def _check_values(data: bytes | bytearray, what: str, most: int) -> None:
    # an object or a list of JSON costs some hundred times as much as a character of a text
    if _is_nested(data, _MAX_NESTED):
        raise TooLarge(f"{what} had more than {_MAX_NESTED:,} objects or lists")
    if len(data) > 2 * most and data.count(b",") > most:
        raise TooLarge(f"{what} had more than {most:,} values")


def is_short(data: bytes | bytearray) -> bool:
    """Whether a slow reader may look at this: one in Python, or one that makes an object of every value."""
    return len(data) <= _SMALL or (len(data) <= _MAX_SLOW and not _is_nested(data, _MAX_SLOW_NESTED))


def _is_nested(data: bytes | bytearray, most: int) -> bool:
    return any(_has_more(data, begin, most) for begin in (b"{", b"["))


def _has_more(data: bytes | bytearray, byte: bytes, most: int) -> bool:
    """Whether a byte occurs more often than that. Counting all of them takes longer where they are few."""
    at = -1
    for _ in range(most + 1):
        at = data.find(byte, at + 1)
        if at < 0:
            return False
    return True
