"""Lines on the terminal."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TextIO

from llmlocust.text import media

_last_said = 0.0


def say(line: str) -> None:
    global _last_said  # noqa: PLW0603  # one terminal, one time of its last line
    _last_said = time.monotonic()
    _write(sys.stdout, media.terminal(line))


def quiet_for() -> float:
    """Return the seconds since the last line."""
    return time.monotonic() - _last_said


def error(line: str) -> None:
    _write(sys.stderr, media.terminal(f"llmlocust: {line}"))


def _write(stream: TextIO, line: str) -> None:
    """Print a line where that is possible: a console that fails may not stop a measurement (plugin.output)."""
    with suppress(OSError, ValueError):
        print(line, file=stream, flush=True)
