"""The report of a run, made on the spot by a child process: what makes it would hold this one's event loop."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from gevent import subprocess
from gevent.event import AsyncResult
from gevent.lock import Semaphore

_KIND = 10
"""Of the child: whatever load this machine makes comes first."""
_PATIENCE = 600.0


class NotMade(Exception):
    """The report could not be made. The text is one line that says why."""


class Reports:
    """Makes reports of runs, one at a time. Simultaneous requests for the same report share it."""

    def __init__(self) -> None:
        self._one_at_a_time = Semaphore()
        self._under_way: dict[tuple[str, str], AsyncResult] = {}
        self._folder: TemporaryDirectory[str] | None = None
        self._made = 0

    def make(self, prefix: str, lang: str) -> Path:
        """Return the page's file. It stays while the next report is made."""
        wanted = prefix, lang
        if wanted in self._under_way:
            shared: Path = self._under_way[wanted].get()
            return shared
        result = self._under_way[wanted] = AsyncResult()
        try:
            with self._one_at_a_time:
                result.set(self._make(prefix, lang))
        except BaseException as problem:  # also GreenletExit: other greenlets wait for the result
            result.set_exception(problem)
            raise
        finally:
            del self._under_way[wanted]
        made: Path = result.get()
        return made

    def _make(self, prefix: str, lang: str) -> Path:
        page = self._new_page()
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

    def _new_page(self) -> Path:
        """Return the path of the next page. The previous page stays: a request that shares it may not have opened it yet."""
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="llmlocust-report-", ignore_cleanup_errors=True)
        self._made += 1
        self._page(self._made - 2).unlink(missing_ok=True)
        return self._page(self._made)

    def _page(self, number: int) -> Path:
        assert self._folder is not None
        return Path(self._folder.name, f"report-{number}.html")
