"""Lines of JSON out of a body that has arrived, as Ollama streams them: each line, and where it became whole."""

from __future__ import annotations

from itertools import accumulate

from llmlocust.stream.sse import BOM, LINES_OF_JSON, LOOKED_THROUGH, Event, beginning


def is_stream(content_type: str, body: bytes | bytearray) -> bool:
    """By what it says of itself, and how it begins: a document says that it is one, a page does not begin so."""
    begin = beginning(body)
    if not begin:
        return "ndjson" in content_type or "stream" in content_type
    if not begin.startswith(b"{"):
        return False
    return "application/json" not in content_type or bool(LINES_OF_JSON.search(body, 0, LOOKED_THROUGH))


def events(body: bytes, *, complete: bool = True) -> list[Event]:
    """All lines of a body that are not blank."""
    lines = body.split(b"\n")
    ends = list(accumulate(len(line) + 1 for line in lines))
    lines[0] = lines[0].removeprefix(BOM)
    found = [Event(line, end) for line, end in zip(lines, ends, strict=True) if line and not line.isspace()]
    if found and found[-1].end > len(body):  # its line never ended: there may have been more of it
        cut = found.pop()
        if complete:
            found.append(Event(cut.data, len(body), whole=False))
    return found


def end_near(body: bytearray, size: int, longest: int) -> int:
    """Where a slice of about so many bytes can end: behind a line. 0 where none ends within the longest."""
    at = body.rfind(b"\n", 0, size)
    if at < 0:
        at = body.find(b"\n", size - 1, longest)
    return at + 1
