"""The report of a run, made on the spot by a child process: what makes it would hold this one's event loop."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from gevent import subprocess
from gevent.lock import Semaphore

_KIND = 10
"""Of the child: whatever load this machine makes comes first."""
_PATIENCE = 600.0


class NotMade(Exception):
    """The report could not be made. The text is one line that says why."""


class Reports:
    def __init__(self) -> None:
        self._one_at_a_time = Semaphore()
        self._folder: TemporaryDirectory[str] | None = None

    def make(self, prefix: str, lang: str) -> Path:
        """The page's file. It stands until the next is made."""
        with self._one_at_a_time:
            if self._folder is None:
                self._folder = TemporaryDirectory(prefix="llmlocust-report-", ignore_cleanup_errors=True)
            page = Path(self._folder.name, f"report-{lang}.html")
            command = [sys.executable, "-m", "llmlocust", "report", prefix, "--out", str(page), "--lang", lang]
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: os.nice(_KIND),
            )
            try:
                said = child.communicate(timeout=_PATIENCE)[1]
            except subprocess.TimeoutExpired:
                child.kill()
                raise NotMade(f"the report was not made within {_PATIENCE:.0f} s") from None
            if child.returncode:
                lines = said.strip().splitlines() or [f"exit {child.returncode}"]
                raise NotMade(f"the report could not be made: {lines[-1].removeprefix('Error: ')}")
            return page
