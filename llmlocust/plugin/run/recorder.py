"""`Recorder`: decides when the files of a run are written, retried and finished. Without Locust."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from llmlocust.load.curves import BEGAN
from llmlocust.metrics.levels import LevelFigures
from llmlocust.plugin import console
from llmlocust.plugin.run.companion import Companion, LevelChange
from llmlocust.plugin.run.description import describe
from llmlocust.plugin.run.state import RunState
from llmlocust.runfiles import formats
from llmlocust.runfiles.writer import AT_ONCE, RunFiles
from llmlocust.text.message import message

_LOOK = 0.05
_MIN_REWRITE = 5.0
_MAX_REWRITE = 60.0
_REWRITE_SHARE = 100.0
"""Files are rewritten every 5 s. If this takes long, it takes 1 % of the time, but happens at least once a minute."""


class Recorder(Companion):
    """Writes the files of a run. Without files, it drops their rows from the ledger, which would otherwise grow."""

    def __init__(self, files: RunFiles | None, preflight: Mapping[str, Any]) -> None:
        self.files = files
        self.is_complete = False
        """The files contain all figures. Set at the end of the run."""
        self._preflight = preflight
        self._failed_writes = 0
        self._next_write = 0.0
        self._written = -1.0
        """The moment up to which the files contain all figures."""
        self._written_end: float | None = None
        """The end of the run that the files contain."""

    def begins(self, run: RunState) -> None:
        super().begins(run)
        self._write_run()

    def level(self, change: LevelChange) -> None:
        # before any figure of the level: without the plan, a file of levels cannot be read correctly
        if change.what == BEGAN:
            self._write_run()

    def tick(self, moment: float) -> None:
        try:
            self._write_rows()
        finally:
            if self.run.moment() >= self._next_write or self._written_end != self.run.ended:
                self._write_rest()

    def ends(self, run: RunState) -> None:
        before = self._failed_writes
        self._write_rows()
        self._write_rest()
        self.write(RunFiles.close)
        lost_rows = self.files.lost_rows if self.files else 0
        self.is_complete = self._failed_writes == before and not lost_rows
        if self.files and not self.is_complete:
            why = f"{lost_rows} rows did not fit on the disk" if lost_rows else "the last attempt to write them failed"
            console.error(f"the files {self.files.prefix}_* are incomplete: {why}. Do not use them as they are")

    def bring_up_to_date(self, within: float = 20.0) -> None:
        """Wait until the files contain all present figures. Gives up after `within` seconds, as a disk may be full."""
        called = self.run.moment()
        while self.files and self._written < called and not self.run.is_finished:
            if self.run.moment() >= called + within:
                return
            self._next_write = 0.0
            self.run.cluster.sleep(_LOOK)

    def _write_rows(self) -> None:
        # rows that were taken are written before the pause: the process may end in it
        while rows := self.run.ledger.take_rows(self.run.began, AT_ONCE):
            self.write(partial(RunFiles.append, name=formats.REQUESTS, rows=rows))
            self.run.pause()
        gauges = self.run.ledger.take_gauges(self.run.began)
        self.write(lambda files: files.append(formats.WORKERS, gauges))

    def _write_rest(self) -> None:
        run = self.run
        begun = run.moment()
        self.write(lambda files: files.write_levels(list(self._figures())))
        self.write(lambda files: files.write_histograms(run.ledger))
        self.write(lambda files: files.write_timeline(run.ledger, run.began))
        self._write_run()
        self._written = begun
        rest = (run.moment() - begun) * _REWRITE_SHARE
        self._next_write = run.moment() + max(_MIN_REWRITE, min(_MAX_REWRITE, rest))

    def _write_run(self) -> None:
        self.write(lambda files: files.write_run(describe(self.run, self._preflight)))
        self._written_end = self.run.ended

    def write(self, write: Callable[[RunFiles], None]) -> None:
        """Write to the files, and report an OSError. A full disk must not end a run: the next attempt may succeed."""
        if self.files is None:
            return
        try:
            write(self.files)
        except OSError as error:
            self._failed_writes += 1
            files, reason = f"{self.files.prefix}_*", error.strerror or error
            self.run.problem(message("cannot write {files}: {reason}", files=files, reason=reason))

    def _figures(self) -> Iterator[LevelFigures]:
        now = self.run.moment()
        for level in list(self.run.ledger.levels):
            yield self.run.ledger.figures(level, now, self.run.began)
            self.run.pause()
