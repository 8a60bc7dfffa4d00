"""The wire: a native thread that sends requests and reads their answers, with the kernel's times. Linux only.

`Reader` is None where the extension was not built, or the system has no epoll. The thread never needs the interpreter, so
no Python code can make its times late.
"""

from __future__ import annotations

try:
    from llmlocust.wire._native import Framing, Reader
except ImportError:
    Framing = Reader = None  # type: ignore[assignment,misc]

WAKE_FRAMED, WAKE_EACH, WAKE_QUIET = 0, 1, 2
"""How a connection wakes Python: when its answer is whole by the framing of HTTP; at each read; and, for encrypted \
streams, at a record that may be the last, or when nothing has arrived for a while."""
FRAMED, WHOLE, CLOSED, CUT_OFF, UNSENT, STAMPED = 1, 2, 4, 8, 16, 32
"""Flags of what `Reader.take` returns (reader.h, `struct arrivals`)."""

__all__ = [
    "CLOSED",
    "CUT_OFF",
    "FRAMED",
    "STAMPED",
    "UNSENT",
    "WAKE_EACH",
    "WAKE_FRAMED",
    "WAKE_QUIET",
    "WHOLE",
    "Framing",
    "Reader",
]
