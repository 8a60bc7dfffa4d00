"""Lines of JSON out of a body that has arrived, as Ollama streams them: each line, and where it became whole."""

from __future__ import annotations

from itertools import accumulate

from llmlocust.stream.sse import Event, NotText, is_text, without_cut_character


def is_stream(content_type: str, body: bytes | bytearray) -> bool:
    """By what it says of itself, and how it begins: a document says that it is one, a page does not begin so."""
    begin = bytes(body[:16]).lstrip()
    if not begin:
        return "ndjson" in content_type or "stream" in content_type
    if not begin.startswith(b"{"):
        return False
    return "application/json" not in content_type or b"}\n{" in body


def events(body: bytes, *, complete: bool = True) -> list[Event]:
    """All lines of a body that are not blank. Raises `NotText` where it is not UTF-8."""
    lines = body.split(b"\n")
    ends = accumulate(len(line) + 1 for line in lines)
    found = [Event(line, end) for line, end in zip(lines, ends, strict=True) if line and not line.isspace()]
    if found and found[-1].end > len(body):  # its line never ended: there may have been more of it
        cut = found.pop()
        if complete:
            found.append(Event(without_cut_character(cut.data), len(body), whole=False))
    if not is_text(body):
        bad = next((number for number, each in enumerate(found) if not is_text(each.data)), None)
        if bad is not None:
            raise NotText(found[:bad])
    return found


def end_near(body: bytearray, size: int, longest: int) -> int:
    """Where a slice of about so many bytes can end: behind a line. 0 where none ends within the longest."""
    at = body.rfind(b"\n", 0, size)
    if at < 0:
        at = body.find(b"\n", size - 1, longest)
    return at + 1
