"""Which fields of a stream are not read, where a server counted tokens and none was seen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from llmlocust.stream import tolerant
from llmlocust.stream.sse import Event
from llmlocust.stream.words import in_one_line

_MOST_EVENTS = 50
_MOST_FIELDS = 3
_MOST_DEEP = 6
_ABOUT = frozenset(("id", "object", "model", "role", "type", "finish_reason", "system_fingerprint", "usage", "created"))
"""Fields that tell of an answer, and are none of it."""


def unread_fields(events: Sequence[Event]) -> str:
    """The fields whose texts change from event to event, most frequent first; empty where there are none."""
    seen: Counter[str] = Counter()
    values: dict[str, set[str]] = defaultdict(set)
    for event in events[:_MOST_EVENTS]:
        try:
            chunk = tolerant.decoded(event.data)
        except ValueError:
            continue
        for path, text in _texts(chunk):
            seen[path] += 1
            values[path].add(text)
    changing = [path for path, times in seen.most_common() if len(values[path]) == times]
    return in_one_line(tolerant.whole_text(", ".join(changing[:_MOST_FIELDS])))


def _texts(value: Any, path: str = "", depth: int = _MOST_DEEP) -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and value:
        yield path, value
    elif depth and isinstance(value, dict):
        for name, each in value.items():
            if name not in _ABOUT:
                yield from _texts(each, f"{path}.{name}" if path else str(name), depth - 1)
    elif depth and isinstance(value, list):
        for each in value:
            yield from _texts(each, path, depth - 1)
