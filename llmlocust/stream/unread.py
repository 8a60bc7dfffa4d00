"""The fields of a stream that are not read, for answers whose tokens the server counted but none was seen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from llmlocust.stream import tolerant
from llmlocust.stream.sse import Event
from llmlocust.stream.words import in_one_line

_MAX_EVENTS = 50
_MAX_FIELDS = 3
_MAX_DEPTH = 6
_ABOUT = frozenset(("id", "object", "model", "role", "type", "finish_reason", "system_fingerprint", "usage", "created"))
"""Fields that describe an answer and are not part of it."""


def unread_fields(events: Sequence[Event]) -> str:
    """Return the fields whose texts change from event to event, most frequent first; empty without any."""
    seen: Counter[str] = Counter()
    values: dict[str, set[str]] = defaultdict(set)
    for event in events[:_MAX_EVENTS]:
        try:
            chunk = tolerant.decoded(event.data)
        except ValueError:
            continue
        for path, text in _texts(chunk):
            seen[path] += 1
            values[path].add(text)
    changing = [path for path, times in seen.most_common() if len(values[path]) == times]
    return in_one_line(tolerant.whole_text(", ".join(changing[:_MAX_FIELDS])))


def _texts(value: Any, path: str = "", depth: int = _MAX_DEPTH) -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and value:
        yield path, value
    elif depth and isinstance(value, dict):
        for name, field in value.items():
            if name not in _ABOUT:
                yield from _texts(field, f"{path}.{name}" if path else str(name), depth - 1)
    elif depth and isinstance(value, list):
        for item in value:
            yield from _texts(item, path, depth - 1)
