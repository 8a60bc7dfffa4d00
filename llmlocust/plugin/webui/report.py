"""Reports for the web UI. A child process makes them, because the work would block this process's event loop."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from gevent import subprocess
from gevent.event import AsyncResult
from gevent.lock import Semaphore

_NICENESS = 10
"""The child's niceness: the load has priority on this machine."""
_TIMEOUT = 600.0
"""Seconds for one report."""


class ReportFailed(Exception):
    """The report was not written. The message is the reason, in one line."""


class Reports:
    """Makes reports of runs, one at a time. Simultaneous requests for the same report share it."""

    def __init__(self) -> None:
        self._one_at_a_time = Semaphore()
        self._in_progress: dict[tuple[str, str], AsyncResult] = {}
        self._folder: TemporaryDirectory[str] | None = None
        self._pages = 0

    def make(self, prefix: str, lang: str) -> Path:
        """Make the report of a run's files, and return the page's file. It exists until the report after the next one.
        Raises ReportFailed.
        """
        key = prefix, lang
        if key in self._in_progress:
            shared: Path = self._in_progress[key].get()
            return shared
        result = self._in_progress[key] = AsyncResult()
        try:
            with self._one_at_a_time:
                result.set(self._make(prefix, lang))
        except BaseException as problem:  # also GreenletExit: other greenlets wait for the result
            result.set_exception(problem)
            raise
        finally:
            del self._in_progress[key]
        page: Path = result.get()
        return page

    def _make(self, prefix: str, lang: str) -> Path:
        page = self._new_page()
        command = [sys.executable, "-m", "llmlocust", "report", prefix, "--out", str(page), "--lang", lang]
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.nice(_NICENESS),
        )
        try:
            errors = child.communicate(timeout=_TIMEOUT)[1]
        except subprocess.TimeoutExpired:
            child.kill()
            raise ReportFailed(f"the report was not made within {_TIMEOUT:.0f} s") from None
        if child.returncode:
            lines = errors.strip().splitlines() or [f"exit {child.returncode}"]
            raise ReportFailed(f"the report could not be made: {lines[-1].removeprefix('Error: ')}")
        return page

    def _new_page(self) -> Path:
        """Return the path of the next page. The previous page stays: a request that shares it may not have opened it yet."""
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="llmlocust-report-", ignore_cleanup_errors=True)
        self._pages += 1
        self._page(self._pages - 2).unlink(missing_ok=True)
        return self._page(self._pages)

    def _page(self, number: int) -> Path:
        assert self._folder is not None
        return Path(self._folder.name, f"report-{number}.html")
