"""Server-sent events out of a body that has arrived: each event's data, and where in the body it became whole.

sseclient-py is the decoder of record. Bodies made of plain `data: …` frames alone, which is what nearly every LLM
server sends, take a path that is some ten times faster and gives the same events (tests/stream/test_sse.py holds
that for any input). An event that never got its blank line counts only where the response was complete.

Where the decoder differs from the standard: a byte order mark is not taken off, so that it hides the first line; a
blank line counts only where it ends as the line before it does (or is a bare LF); and the last event needs none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate

import msgspec
from sseclient import SSEClient

_PREFIX, _BLANK = b"data: ", b"\n\n"
"""What a plain event begins and ends with."""
_BLANK_LINE = re.compile(rb"\n\n|\r\n\r\n|\r\r(?!\n)")
_MOST_WORK = 10**10
"""Lines × bytes of an event, such as 10,000 lines of 100 bytes: for every line the decoder copies what it has."""


class Event(msgspec.Struct, frozen=True, gc=False):
    data: bytes
    end: int
    """Offset behind the event's last byte: what brought that byte brought the event."""
    kind: str = "message"
    whole: bool = True
    """False for the last event of a body where its blank line never came: there may have been more of it."""


class NotText(ValueError):
    """The stream holds bytes that are no UTF-8, or an event of more lines than text has. `events` are those before it."""

    def __init__(self, events: list[Event], why: str = "the stream is not text") -> None:
        super().__init__(why)
        self.events = events


class _TooManyLines(Exception):
    pass


def events(body: bytes, *, complete: bool = True) -> list[Event]:
    """All events of a body. Raises `NotText` where it is not UTF-8."""
    found = _plain(body)
    if found is None:
        found = _decoded(body)
    if not complete and found and not found[-1].whole:
        found.pop()
    return found


def _plain(body: bytes) -> list[Event] | None:
    """The fast path; None where the body is not plain enough for it."""
    if b"\r" in body or not _is_text(body):
        return None
    if not body:
        return []
    if not (body.startswith(_PREFIX) and body.endswith(_BLANK)):
        return None
    all_data = body[len(_PREFIX) : -len(_BLANK)].split(_BLANK + _PREFIX)
    if body.count(b"\n") != len(_BLANK) * len(all_data):  # another line somewhere
        return None
    return list(map(Event, all_data, accumulate(len(_PREFIX) + len(data) + len(_BLANK) for data in all_data)))


def _is_text(body: bytes) -> bool:
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Source(SSEClient):
    """The decoder, telling how far into the body it has got."""

    def __init__(self, body: bytes) -> None:
        super().__init__(iter(()))
        self._body = body
        self.offset = 0
        self.whole = True

    def _read(self) -> Iterator[bytes]:
        """As the decoder's own, whose time is quadratic where comments come without a blank line between them."""
        body = self._body
        for blank_line in _BLANK_LINE.finditer(body):
            begin, self.offset = self.offset, blank_line.end()
            yield _decodable(body[begin : self.offset])
        if self.offset < len(body):
            begin, self.offset, self.whole = self.offset, len(body), False
            yield _decodable(_without_cut_character(body[begin:]))


def _decodable(part: bytes) -> bytes:
    if (part.count(b"\n") + part.count(b"\r")) * len(part) > _MOST_WORK:
        raise _TooManyLines
    return part


def _without_cut_character(tail: bytes) -> bytes:
    """A connection may be cut in the middle of a character; that is no fault of the text."""
    try:
        tail.decode()
    except UnicodeDecodeError as problem:
        if problem.reason == "unexpected end of data":
            return tail[: problem.start]
    return tail


def _decoded(body: bytes) -> list[Event]:
    source = _Source(body)
    found: list[Event] = []
    try:
        for event in source.events():
            found.append(Event(event.data.encode(), source.offset, event.event, source.whole))  # noqa: PERF401  # those before a fault stay
    except UnicodeDecodeError:
        raise NotText(found) from None
    except _TooManyLines:
        raise NotText(found, "an event of too many lines") from None
    return found
