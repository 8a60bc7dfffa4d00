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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
        except OSError as problem:
            console.error(
                f"cannot write {problem.filename}: {problem.strerror}. Give --csv a prefix in a folder you may write to"
            )
            sys.exit(2)
        CompleteCSVFileWriter.newest = self

    def begin_anew(self, prefix: str) -> None:
        """From now on to other files: a run that is started again in the web UI does not take the place of the one
        before.
        """
        writer = getattr(self, "_writer", None)
        if writer is None or prefix == self.base_filepath:
            return
        writer.kill()
        self.close_files()
        begin = super().__init__
        self._guarded(lambda: begin(self.environment, self.percentiles_to_report, prefix, self.full_history))
        if not self.exceptions_csv_filehandle.closed:
            gevent.spawn(self.stats_writer)

    def stats_writer(self) -> None:
        self._writer = gevent.getcurrent()
        self._guarded(super().stats_writer)

    def write_last(self) -> None:
        """One more round of rows, after the loop that writes one a second."""
        writer = getattr(self, "_writer", None)
        if writer is not None:
            writer.kill()
        self.write_now()

    def write_now(self) -> None:
        if hasattr(self, "_writer") and not self.stats_history_csv_filehandle.closed:
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
