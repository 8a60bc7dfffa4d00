"""Writer of Locust's own CSV files. It opens them when a run begins, and writes the last second, which Locust omits.

Importing this module replaces Locust's writer.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import locust.stats
from locust.env import Environment

from llmlocust.plugin import console, locust_patches
from llmlocust.plugin.run.prefixes import Taken, lock
from llmlocust.runfiles.formats import LOCUST_FILES


class CompleteCSVFileWriter(locust.stats.StatsCSVFileWriter):
    """A writer of Locust's CSV files that opens them when a run begins. Locust creates the writer before it is known
    whether there will be a run; until then the files of an earlier run stay as they are.
    """

    current: CompleteCSVFileWriter | None = None

    def __init__(
        self,
        environment: Environment,
        percentiles_to_report: list[float],
        base_filepath: str,
        full_history: bool = False,
    ) -> None:
        locust.stats.StatsCSV.__init__(self, environment, percentiles_to_report)
        self.base_filepath, self.full_history = base_filepath, full_history
        self._writer: gevent.Greenlet | None = None
        self._is_open = False
        self._complete = False
        """The files belong to a run that has ended."""
        try:
            lock(base_filepath)
        except Taken as taken:
            _end(str(taken))
        except OSError as problem:
            _end(cannot_write(problem, base_filepath))
        CompleteCSVFileWriter.current = self

    def begin(self, prefix: str) -> None:
        """Open the files of a new run, with this prefix. Raises OSError."""
        self._stop_writing()
        self.close_files()
        self._is_open = True
        try:
            super().__init__(self.environment, self.percentiles_to_report, prefix, self.full_history)
        except OSError:
            self._is_open = False
            raise
        self._complete = False
        self._writer = gevent.spawn(self._guarded, super().stats_writer)

    def leave_as_they_are(self) -> None:
        """Stop writing. Locust resets its figures when a test starts, so the previous run's files would lose theirs, even
        if the new test is refused or waits for the preflight.
        """
        self._stop_writing()
        self._complete = True

    def stats_writer(self) -> None:
        """Do nothing. Locust calls this once, but each run has its own writing greenlet (`begin`)."""

    def stats_history_file_name(self) -> str:
        """Return the file that Locust offers for download; before the first run, an empty one."""
        return super().stats_history_file_name() if self._is_open else os.devnull

    def write_last(self) -> None:
        """Write the last rows, after the greenlet that writes rows each second has stopped."""
        self._stop_writing()
        if self._is_open and not self._complete and not Path(f"{self.base_filepath}_{LOCUST_FILES[0]}").exists():
            self._guarded(self._open_again)
        self.write_now()

    def _open_again(self) -> None:
        """Create files again that were deleted. The history then contains only its last row."""
        Path(self.base_filepath).parent.mkdir(parents=True, exist_ok=True)
        self.begin(self.base_filepath)
        gevent.sleep(0)  # the writer writes the headers
        self._stop_writing()

    def _stop_writing(self) -> None:
        if self._writer is not None:
            self._writer.kill()

    def write_now(self) -> None:
        """Write rows now, unless the run has ended."""
        if self._is_open and not self._complete and not self.stats_history_csv_filehandle.closed:
            self._guarded(self._write_rows)

    def close_files(self) -> None:
        if self._is_open:
            self._guarded(super().close_files)

    def _guarded(self, write: Callable[[], None]) -> None:
        """Write, and report a failure, such as a full disk, in one line. It does not end the run."""
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
        return len(",".join(columns).encode()) + 2  # lines of the module csv end with CR LF


def cannot_write(problem: OSError, prefix: str) -> str:
    """Return the message for files of a run that cannot be written."""
    file = problem.filename or f"{prefix}_*"
    return f"cannot write {file}: {problem.strerror}. Give --csv a prefix in a folder that has space and is writable"


def _end(why: str) -> None:
    console.error(why)
    sys.exit(2)


locust_patches.use_csv_writer(CompleteCSVFileWriter)
