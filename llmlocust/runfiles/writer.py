"""Write the files of a run (`formats` describes them), so that a run that is cut off at any point can be read.

Tables that grow are appended to. The others are small. Each is rewritten to a temporary name beside it and then put in
place: a full disk or a killed process leaves the last whole version.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from llmlocust.metrics.ledger import Ledger
from llmlocust.metrics.level_rows import LEVEL_COLUMNS, level_row
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.rows import TIMELINE_COLUMNS, rounded
from llmlocust.runfiles import formats
from llmlocust.runfiles.writing import create, replacing
from llmlocust.text import media

_MAX_WAITING = 64 * 2**20
"""Maximum bytes of rows that wait while the disk is full. Further rows are lost."""
AT_ONCE = 200
"""Number of rows that are written in well under a millisecond."""

_NOT_REPORTED = {"throttled": "", "core_wait": ""}
"""Timeline cells if no process reported a figure. These figures are not available on every machine; others are 0."""


class RunFiles:
    """The files of one run. `pause` is called between pieces of rewritten files, so that users can run meanwhile."""

    def __init__(self, prefix: str, pause: Callable[[], None] = lambda: None) -> None:
        self.prefix = prefix
        self.pause = pause
        self._growing: dict[str, _Growing] = {}
        for table in formats.TABLES.values():
            if table.grows and not table.optional:
                self.append(table.name, [])

    def path(self, name: str) -> Path:
        return Path(f"{self.prefix}_{name}")

    def _make_folder(self) -> None:
        """Create the folder again if it was deleted during the run."""
        Path(self.prefix).parent.mkdir(parents=True, exist_ok=True)

    @property
    def lost_rows(self) -> int:
        """Number of rows that were lost because the disk was full for too long."""
        return sum(file.lost for file in self._growing.values())

    def append(self, name: str, rows: Iterable[list[Any]]) -> None:
        """Append rows to a table that grows. The first call for a table creates its file."""
        if name not in self._growing:
            self._make_folder()
            self._growing[name] = _Growing(self.path(name), formats.TABLES[name].columns)
        self._growing[name].append(rows)

    def rewrite(self, name: str, rows: Iterable[list[Any]]) -> None:
        """Replace a table by one with these rows."""
        self._make_folder()
        with replacing(self.path(name), newline="") as file:
            writer = csv.writer(file)
            writer.writerow(formats.TABLES[name].columns)
            remaining = iter(rows)
            while piece := list(islice(remaining, AT_ONCE)):
                writer.writerows(map(_cells, piece))
                self.pause()

    def write_levels(self, figures: Iterable[LevelFigures]) -> None:
        rows = (level_row(level) for level in figures)
        self.rewrite(formats.LEVELS, ([row[name] for name in LEVEL_COLUMNS] for row in rows))

    def write_histograms(self, ledger: Ledger) -> None:
        self.rewrite(formats.HISTOGRAMS, _histogram_rows(ledger))

    def write_timeline(self, ledger: Ledger, epoch: float) -> None:
        self.rewrite(formats.TIMELINE, _timeline_rows(ledger, epoch))

    def write_run(self, run: Mapping[str, Any]) -> None:
        self._make_folder()
        with replacing(self.path(formats.RUN)) as file:
            file.write(media.as_json(run, allow_nan=True))

    def close(self) -> None:
        """Write waiting rows and close all files. Raises OSError if the disk is full; rows written before are kept."""
        for file in self._growing.values():
            file.close()


class _Growing:
    """A CSV file that is appended to. Rows that do not fit on a full disk wait for the next call, so that no row is cut off
    or lost if space becomes free. A file that was deleted or moved is written again completely.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path = path
        self._file = os.fdopen(create(path), "r+b", buffering=0)
        self._waiting = bytearray(_as_csv([list(columns)]))
        self.lost = 0

    def append(self, rows: Iterable[list[Any]]) -> None:
        lines = _as_csv(rows)
        if len(self._waiting) < _MAX_WAITING:
            self._waiting += lines
        else:
            self.lost += lines.count(b"\r\n")
        self._write()

    def _write(self) -> None:
        if not self._is_in_place():
            self._write_again()
        while self._waiting:
            del self._waiting[: self._file.write(self._waiting) or 0]

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.lstat())
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _write_again(self) -> None:
        """Copy the content of the open file, which still exists without a name, to a new file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        copy = os.fdopen(create(self._path), "r+b", buffering=0)
        try:
            self._file.seek(0)
            shutil.copyfileobj(self._file, copy)
        except OSError:
            self._path.unlink(missing_ok=True)
            copy.close()
            self._file.seek(0, os.SEEK_END)
            raise
        self._file.close()
        self._file = copy

    def close(self) -> None:
        try:
            self._write()
        finally:
            self._file.close()


def _as_csv(rows: Iterable[list[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(map(_cells, rows))
    return text.getvalue().encode()


def _cells(row: list[Any]) -> list[Any]:
    return [media.csv_cell(cell) for cell in row]


def _histogram_rows(ledger: Ledger) -> Iterator[list[Any]]:
    for (level, name), tally in sorted(ledger.tallies.items()):
        for metric, histogram in list(tally.histograms.items()):  # more may be added during a pause
            for bucket, count in histogram.items():
                yield [level, name, metric, bucket, count]


def _timeline_rows(ledger: Ledger, epoch: float) -> Iterator[list[Any]]:
    for second, values in ledger.seconds.all():  # more may be added during a pause
        level = ledger.level_at(second + 0.5)
        chunks = values.get("chunks", 0)
        named = {
            "time": int(epoch) + second,
            "level": "" if level is None else level.index,
            "coalesced": values.get("coalesced", 0) / chunks if chunks else "",
        }
        yield [
            rounded(named.get(column, values.get(column, _NOT_REPORTED.get(column, 0)))) for column in TIMELINE_COLUMNS
        ]
