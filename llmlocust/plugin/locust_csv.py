"""Locust's own CSV files, with the second that they lose: Locust closes them without a last write.

Importing this puts the writer in place of Locust's, which looks its class up when it starts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import gevent
import locust.stats

from llmlocust.plugin import console


class CompleteCSVFileWriter(locust.stats.StatsCSVFileWriter):
    """Writes once more when asked to, and names a folder that cannot be written in one line."""

    newest: CompleteCSVFileWriter | None = None
    _complete = False
    """The files tell of a run that is over."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
        except OSError as problem:
            console.error(
                f"cannot write {problem.filename}: {problem.strerror}. Give --csv a prefix in a folder you may write to"
            )
            sys.exit(2)
        CompleteCSVFileWriter.newest = self

    def leave_as_they_are(self) -> None:
        """Locust forgets its figures when a test starts, and the files of the one before would tell of none: also where
        the new one is refused, or waits for its server's first answer.
        """
        self._stop_writing()
        self._complete = True

    def begin_anew(self, prefix: str) -> None:
        """From now on to other files: a run that is started again in the web UI does not take the place of the one
        before.
        """
        if not hasattr(self, "_writer") or prefix == self.base_filepath:
            return
        self.close_files()
        begin = super().__init__
        self._guarded(lambda: begin(self.environment, self.percentiles_to_report, prefix, self.full_history))
        self._complete = False
        if not self.exceptions_csv_filehandle.closed:
            gevent.spawn(self.stats_writer)

    def stats_writer(self) -> None:
        self._writer = gevent.getcurrent()
        self._guarded(super().stats_writer)

    def write_last(self) -> None:
        """One more round of rows, after the loop that writes one a second."""
        self._stop_writing()
        self.write_now()

    def _stop_writing(self) -> None:
        writer = getattr(self, "_writer", None)
        if writer is not None:
            writer.kill()

    def write_now(self) -> None:
        if not self._complete and hasattr(self, "_writer") and not self.stats_history_csv_filehandle.closed:
            self._guarded(self._write_rows)

    def close_files(self) -> None:
        self._guarded(super().close_files)

    def _guarded(self, write: Callable[[], None]) -> None:
        """A full disk is said in one line, and ends no run."""
        try:
            write()
        except OSError as problem:
            console.error(f"cannot write Locust's CSV files: {problem.strerror}")

    def _write_rows(self) -> None:
        self.requests_csv_filehandle.seek(self._data_start(self.requests_csv_columns))
        self._requests_data_rows(self.requests_csv_writer)
        self.requests_csv_filehandle.truncate()
        self._stats_history_data_rows(self.stats_history_csv_writer, time.time())
        self.failures_csv_filehandle.seek(self.failures_csv_data_start)
        self._failures_data_rows(self.failures_csv_writer)
        self.failures_csv_filehandle.truncate()

    @staticmethod
    def _data_start(columns: list[str]) -> int:
        return len(",".join(columns).encode()) + 2  # csv ends its lines with CR LF


locust.stats.StatsCSVFileWriter = CompleteCSVFileWriter  # type: ignore[misc]
