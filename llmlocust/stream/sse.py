"""Server-sent events out of a body that has arrived: each event's data, and where in the body it became whole.

sseclient-py is the decoder of record. Bodies made of plain `data: …` frames alone, which is what nearly every LLM
server sends, take a path that is some ten times faster and gives the same events (tests/stream/test_sse.py holds
that for any input). An event that never got its blank line counts only where the response was complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sseclient import SSEClient

_BLANK_LINES = (b"\n\n", b"\r\r", b"\r\n\r\n")


class Event(NamedTuple):
    data: bytes
    end: int
    """Offset behind the event's last byte: what brought that byte brought the event."""
    kind: str = "message"


class NotText(ValueError):
    """The stream holds bytes that are no UTF-8. `events` are those before it."""

    def __init__(self, events: list[Event]) -> None:
        super().__init__("the stream is not UTF-8")
        self.events = events


def events(body: bytes, *, complete: bool = True) -> list[Event]:
    """All events of a body. Raises `NotText` where it is not UTF-8."""
    found = _plain(body)
    if found is None:
        found = _decoded(body)
    if not complete and found and found[-1].end == len(body) and not body.endswith(_BLANK_LINES):
        found.pop()
    return found


def _plain(body: bytes) -> list[Event] | None:
    """The fast path; None where the body is not plain enough for it."""
    if b"\r" in body or not _is_text(body):
        return None
    found = []
    end = 0
    *frames, tail = body.split(b"\n\n")
    for frame in frames:
        end += len(frame) + 2
        if not frame.startswith(b"data: ") or b"\n" in frame:
            return None
        found.append(Event(frame[6:], end))
    return None if tail else found


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

    offset = 0

    def _read(self) -> Iterator[bytes]:
        for block in super()._read():  # type: ignore[misc]  # its one private name that is used here
            self.offset += len(block)
            yield block


def _decoded(body: bytes) -> list[Event]:
    source = _Source(iter([body]))
    found: list[Event] = []
    try:
        found.extend(Event(event.data.encode(), source.offset, event.event) for event in source.events())
    except UnicodeDecodeError:
        raise NotText(found) from None
    return found
