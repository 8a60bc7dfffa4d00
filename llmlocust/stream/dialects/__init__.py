"""Dialects: one wire protocol each, both ways. `Ask` → path and body; events and documents → `Delta`s.

A dialect of one's own is a class with the members of `Dialect`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from llmlocust.stream.ask import Ask
from llmlocust.stream.delta import Delta
from llmlocust.stream.sse import Event


class Dialect(Protocol):
    name: str
    """How the run's files call it."""
    path: str
    """Where requests go, below the host."""

    def body(self, ask: Ask) -> bytes:
        """The request's JSON."""
        ...

    def deltas(self, events: Sequence[Event]) -> list[Delta]:
        """Pieces of a streamed answer, in order. Nothing raises: what is not understood becomes a BAD delta."""
        ...

    def document(self, body: bytes) -> list[Delta]:
        """Pieces of an answer that came in one JSON document."""
        ...
