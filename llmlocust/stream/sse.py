"""Server-sent events of a body: the data of each event, and the offset at which it was complete.

The format is WHATWG's (HTML, section 9.2). Nearly every LLM server sends only plain `data: …` frames, or frames with an
`event: …` line before. Faster paths parse those about ten times faster, with the same result (tests/stream/test_sse.py
compares them on any input). An event without its blank line counts only if the response was complete.

Two common violations of the format are accepted:

- A line that is neither a field nor a comment is an event of the kind STRAY. Servers write error messages like this.
- Lines of data that each contain a complete JSON object are one event each, even without a blank line between them.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import NamedTuple

import msgspec

STRAY = "stray\n"
"""The kind of an event that is a line outside the format. No event of a server has it, as names contain no line break."""
BOM = b"\xef\xbb\xbf"

_BLANK = b"\n\n"
_BLANK_LINES = (b"\n\n", b"\r\n\r\n", b"\r\r")
_BLANK_LINE_WITHIN = 1 << 18
"""Bytes. A stream with blank lines has its first one within this length."""
_PREFIXES = (b"data: ", b"data:")
"""The beginnings of a plain event."""
_NAMED = re.compile(rb"^(event: ?)([^ \n][^\n]*)\n(data: ?)([^\n]*)\n\n", re.MULTILINE)
_STREAM_BEGINS = (b"data:", b"event:", b"id:", b"retry:", b":")
_FIELD = re.compile(rb"[A-Za-z][\w-]{0,31}:")
_FORMAT_BYTES = 16
"""Bytes at the beginning of a body that show its format."""
_PADDING = 1024
"""Maximum bytes of white space before them."""
LINES_OF_JSON = re.compile(rb"}[^\S\n]*\n\s*{")
"""Occurs between two JSON lines, and never inside a document."""
SEARCHED_BYTES = 65536
_DONE = b"[DONE]"


class Event(msgspec.Struct, frozen=True, gc=False):
    data: bytes
    end: int
    """Offset after the event's last byte. The event arrived with the read that contained this byte."""
    kind: str = "message"
    whole: bool = True
    """False for the last event of a body where its blank line is missing: the event may have been cut off."""


def events(body: bytes, *, complete: bool = True) -> list[Event]:
    """Return all events of a body."""
    if body.startswith(BOM):
        events = [msgspec.structs.replace(event, end=event.end + len(BOM)) for event in _events(body[len(BOM) :])]
    else:
        events = _events(body)
    if not complete and events and not events[-1].whole and events[-1].kind != STRAY:
        events.pop()
    return events


def _events(body: bytes) -> list[Event]:
    events = _plain(body)
    return _decoded(body) if events is None else events


def begins(body: bytes | bytearray) -> bool:
    """Whether a body begins like a stream of events, regardless of its content type."""
    return beginning(body).startswith(_STREAM_BEGINS)


def beginning(body: bytes | bytearray) -> bytes:
    """Return the first bytes of a body that show its format, without leading white space and byte order mark."""
    return bytes(body[:_PADDING]).removeprefix(BOM).lstrip()[:_FORMAT_BYTES]


def is_stream(content_type: str, body: bytes | bytearray) -> bool:
    """Whether a body is a stream: by its content, and where that is not clear, by its content type."""
    begin = beginning(body)
    if begin.startswith(_STREAM_BEGINS):
        return True
    if begin[:1] in (b"{", b"["):  # some servers send an error as JSON with the content type of a stream
        return bool(LINES_OF_JSON.search(body, 0, SEARCHED_BYTES))
    return "event-stream" in content_type and (len(begin) < _FORMAT_BYTES or bool(_FIELD.match(begin)))


def end_near(body: bytearray, size: int, longest: int) -> int:
    """Return where a slice of about `size` bytes can end, which is after a blank line; 0 if none is within `longest` bytes.

    In a long stream without blank lines, each line is an event, and a slice ends after one of them.
    """
    for blank_line in _BLANK_LINES:
        at = body.rfind(blank_line, 0, size)
        if at < 0:
            at = body.find(blank_line, size - len(blank_line), longest)
        if at >= 0:
            return at + len(blank_line)
    if len(body) > _BLANK_LINE_WITHIN:
        for end in (b"}\n", b"}\r\n"):
            if (at := body.rfind(end, 0, size)) >= 0:
                return at + len(end)
    return 0


def _plain(body: bytes) -> list[Event] | None:
    """Parse a plain body on a fast path; None where the body is not plain."""
    if b"\r" in body:
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
    if body.count(b"\n") != len(_BLANK) * len(all_data):  # there is another line
        return None
    if len(prefix) == 5 and any(data.startswith(b" ") for data in all_data):  # a space that is not part of the data
        return None
    return list(map(Event, all_data, accumulate(len(prefix) + len(data) + len(_BLANK) for data in all_data)))


def _named(body: bytes) -> list[Event] | None:
    events, end = [], 0
    for event, name, before, data in _NAMED.findall(body):
        end += len(event) + len(name) + len(before) + len(data) + 3
        events.append(Event(data, end, name.decode(errors="replace")))
    return events if end == len(body) else None  # otherwise the body contains something else


class _Line(NamedTuple):
    """A line of an event's data."""

    value: bytes
    end: int
    kind: str
    """The event's name, as far as it is known at this line."""
    ended: bool


def _decoded(body: bytes) -> list[Event]:
    """Parse any body, line by line."""
    events: list[Event] = []
    lines: list[_Line] = []
    kind, end = "", 0
    for line in body.splitlines(keepends=True):
        end += len(line)
        text = line.rstrip(b"\r\n")
        # a CR at the very end, after a LF, is the first half of a line end
        ended = len(text) < len(line) and not (end == len(body) and line == b"\r" and body.endswith(b"\n\r"))
        name, _, value = text.partition(b":")
        if name == b"data":
            lines.append(_Line(value.removeprefix(b" "), end, kind, ended))
        elif name == b"event":
            kind = value.removeprefix(b" ").decode(errors="replace")
        elif not text and ended:
            events += _dispatched(lines, end, kind, whole=True)
            lines, kind = [], ""
        elif name.strip() and name not in _UNUSED and (ended or not _may_be_field(text)):
            events.append(Event(text, end, STRAY, ended))
    return events + _dispatched(lines, len(body), kind, whole=False)


_UNUSED = (b"id", b"retry")
"""Fields that are not used."""


def _may_be_field(text: bytes) -> bool:
    """Whether a line that was cut off may be the beginning of a field."""
    return any(name.startswith(text) for name in (b"data", b"event", *_UNUSED))


def _dispatched(lines: list[_Line], end: int, kind: str, *, whole: bool) -> list[Event]:
    """Return the event of these lines of data, or one event per line where each line is one."""
    if len(lines) > 1 and all(map(_is_event, lines)):
        return [Event(line.value, line.end, line.kind or "message", line.ended) for line in lines]
    return [Event(b"\n".join(line.value for line in lines), end, kind or "message", whole)] if lines else []


def _is_event(line: _Line) -> bool:
    """Whether a line of data is a complete event; for a line that was cut off, whether it may be the beginning of one."""
    value = line.value.strip()
    if not line.ended:
        return value[:1] in (b"", b"{", b"[")
    return (value.startswith(b"{") and value.endswith(b"}")) or value == _DONE
