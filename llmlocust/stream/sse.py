"""Server-sent events out of a body that has arrived: each event's data, and where in the body it became whole.

sseclient-py is the decoder of record. Bodies made of plain `data: …` frames alone, or of frames that have an `event: …`
before it, which is what nearly every LLM server sends, take paths that are some ten times faster and give the same
events (tests/stream/test_sse.py holds that for any input). An event that never got its blank line counts only where the
response was complete.

Where the decoder differs from the standard: a byte order mark is not taken off, so that it hides the first line; a
blank line counts only where it ends as the line before it does (or is a bare LF); and the last event needs none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate

import msgspec
from sseclient import SSEClient

_BLANK = b"\n\n"
_PREFIXES = (b"data: ", b"data:")
"""What a plain event begins with."""
_NAMED = re.compile(rb"(event: ?)([^ \n][^\n]*)\n(data: ?)([^\n]*)\n\n")
_STREAM_BEGINS = (b"data:", b"event:", b"id:", b"retry:", b":")
_TELLING = 16
"""So many bytes of a body tell what it is."""
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


def is_stream(content_type: str, body: bytes | bytearray) -> bool:
    """By what it says of itself, or where it says nothing of use, by how it begins."""
    begin = bytes(body[:_TELLING]).lstrip()
    if "json" in content_type or begin.startswith(b"{"):  # some servers send an error's JSON and call it a stream
        return False
    return "event-stream" in content_type or begin.startswith(_STREAM_BEGINS)


def end_near(body: bytearray, size: int, longest: int) -> int:
    """Where a slice of about so many bytes can end: behind a blank line. 0 where none is within the longest."""
    for blank_line in (b"\n\n", b"\r\n\r\n"):
        at = body.rfind(blank_line, 0, size)
        if at < 0:
            at = body.find(blank_line, size - len(blank_line), longest)
        if at >= 0:
            return at + len(blank_line)
    return 0


def _plain(body: bytes) -> list[Event] | None:
    """The fast paths; None where the body is not plain enough for them."""
    if b"\r" in body or not is_text(body):
        return None
    if not body:
        return []
    if not body.endswith(_BLANK):
        return None
    for prefix in _PREFIXES:
        if body.startswith(prefix):
            return _unnamed(body, prefix)
    return _named(body)


def _unnamed(body: bytes, prefix: bytes) -> list[Event] | None:
    all_data = body[len(prefix) : -len(_BLANK)].split(_BLANK + prefix)
    if body.count(b"\n") != len(_BLANK) * len(all_data):  # another line somewhere
        return None
    if len(prefix) == 5 and any(data.startswith(b" ") for data in all_data):  # a space that is no part of the data
        return None
    return list(map(Event, all_data, accumulate(len(prefix) + len(data) + len(_BLANK) for data in all_data)))


def _named(body: bytes) -> list[Event] | None:
    found, end = [], 0
    for event, name, before, data in _NAMED.findall(body):
        end += len(event) + len(name) + len(before) + len(data) + 3
        found.append(Event(data, end, name.decode()))
    return found if end == len(body) else None  # else there is something that is no such frame


def is_text(body: bytes) -> bool:
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
            yield _decodable(without_cut_character(body[begin:]))


def _decodable(part: bytes) -> bytes:
    if (part.count(b"\n") + part.count(b"\r")) * len(part) > _MOST_WORK:
        raise _TooManyLines
    return part


def without_cut_character(tail: bytes) -> bytes:
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
