"""Output of lines to the terminal."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TextIO

from llmlocust.text import media

_last_line_at = 0.0


def say(line: str) -> None:
    """Print a line on standard output."""
    global _last_line_at  # noqa: PLW0603  # all lines go to one terminal
    _last_line_at = time.monotonic()
    _write(sys.stdout, media.terminal(line))


def quiet_for() -> float:
    """Return the seconds since the last line."""
    return time.monotonic() - _last_line_at


def error(line: str) -> None:
    """Print a line on standard error."""
    _write(sys.stderr, media.terminal(f"llmlocust: {line}"))


def _write(stream: TextIO, line: str) -> None:
    """Print a line if possible: a failing console must not stop a measurement (plugin.output)."""
    with suppress(OSError, ValueError):
        print(line, file=stream, flush=True)
