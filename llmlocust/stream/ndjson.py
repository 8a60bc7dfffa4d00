"""JSON lines, as Ollama streams them: the lines of a body, with the offset at which each was complete."""

from __future__ import annotations

from itertools import accumulate

from llmlocust.stream.sse import BOM, LINES_OF_JSON, SEARCHED_BYTES, Event, beginning


def is_stream(content_type: str, body: bytes | bytearray) -> bool:
    """Whether a body is a stream of JSON lines, by its content type and its beginning."""
    begin = beginning(body)
    if not begin:
        return "ndjson" in content_type or "stream" in content_type
    if not begin.startswith(b"{"):
        return False
    return "application/json" not in content_type or bool(LINES_OF_JSON.search(body, 0, SEARCHED_BYTES))


def events(body: bytes, *, complete: bool = True) -> list[Event]:
    """Return all lines of a body that are not blank."""
    lines = body.split(b"\n")
    ends = list(accumulate(len(line) + 1 for line in lines))
    lines[0] = lines[0].removeprefix(BOM)
    events = [Event(line, end) for line, end in zip(lines, ends, strict=True) if line and not line.isspace()]
    if events and events[-1].end > len(body):  # the line has no end: it may have been cut off
        cut = events.pop()
        if complete:
            events.append(Event(cut.data, len(body), whole=False))
    return events


def end_near(body: bytearray, size: int, longest: int) -> int:
    """Return where a slice of about `size` bytes can end, which is after a line; 0 if no line ends within `longest` bytes."""
    at = body.rfind(b"\n", 0, size)
    if at < 0:
        at = body.find(b"\n", size - 1, longest)
    return at + 1
