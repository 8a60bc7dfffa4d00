"""Writing the files of a run (`formats` says what is in them), so that a run cut off anywhere can be read.

Requests and workers are appended. The others are small and are written anew, to a name beside and then put in place: a full
disk or a killed process leaves the last whole version.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from llmlocust.metrics.ledger import Ledger
from llmlocust.metrics.level_rows import LEVEL_COLUMNS, level_row
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.rows import HISTOGRAM_COLUMNS, REQUEST_COLUMNS, TIMELINE_COLUMNS, WORKER_COLUMNS, rounded
from llmlocust.runfiles import formats
from llmlocust.runfiles.writing import create, replacing
from llmlocust.text import media

_MOST_WAITING = 64 * 2**20
"""Bytes of rows that a full disk may keep waiting; of more, rows are lost."""

AT_ONCE = 200
"""So many rows are written in well under a millisecond."""


_NOT_SEEN = {"throttled": "", "core_wait": ""}
"""What the timeline has where no process reported a figure: these are not known on every machine."""


class RunFiles:
    """`pause` is called between pieces of the files that are written anew: users who run meanwhile must not wait."""

    def __init__(self, prefix: str, pause: Callable[[], None] = lambda: None) -> None:
        self.prefix = prefix
        self.pause = pause
        self._make_folder()
        self._requests = _Growing(self.path(formats.REQUESTS), REQUEST_COLUMNS)
        self._workers = _Growing(self.path(formats.WORKERS), WORKER_COLUMNS)

    def path(self, name: str) -> Path:
        return Path(f"{self.prefix}_{name}")

    def _make_folder(self) -> None:
        """Create the folder again if it was deleted during the run."""
        Path(self.prefix).parent.mkdir(parents=True, exist_ok=True)

    @property
    def lost_rows(self) -> int:
        """Rows that were lost because the disk was full for too long."""
        return self._requests.lost + self._workers.lost

    def append_requests(self, rows: Iterable[list[Any]]) -> None:
        self._requests.append(rows)

    def append_workers(self, rows: Iterable[list[Any]]) -> None:
        self._workers.append(rows)

    def write_levels(self, figures: Iterable[LevelFigures]) -> None:
        rows = (level_row(each) for each in figures)
        self._replace(formats.LEVELS, LEVEL_COLUMNS, ([row[name] for name in LEVEL_COLUMNS] for row in rows))

    def write_histograms(self, ledger: Ledger) -> None:
        self._replace(formats.HISTOGRAMS, HISTOGRAM_COLUMNS, _histogram_rows(ledger))

    def write_timeline(self, ledger: Ledger, epoch: float) -> None:
        self._replace(formats.TIMELINE, TIMELINE_COLUMNS, _timeline_rows(ledger, epoch))

    def write_run(self, told: Mapping[str, Any]) -> None:
        self._make_folder()
        with replacing(self.path(formats.RUN)) as file:
            file.write(media.as_json(told, allow_nan=True))

    def close(self) -> None:
        """OSError where the disk is full: what was flushed before stands."""
        self._requests.close()
        self._workers.close()

    def _replace(self, name: str, columns: list[str], rows: Iterable[list[Any]]) -> None:
        self._make_folder()
        with replacing(self.path(name), newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            left = iter(rows)
            while piece := list(islice(left, AT_ONCE)):
                writer.writerows(map(_cells, piece))
                self.pause()


class _Growing:
    """A CSV that is appended to. What a full disk does not take waits for the next time, so no row is torn or lost that
    there is room for later. A file that was deleted or moved is written again completely.
    """

    def __init__(self, path: Path, columns: list[str]) -> None:
        self._path = path
        self._file = os.fdopen(create(path), "r+b", buffering=0)
        self._waiting = bytearray()
        self.lost = 0
        self.append([columns])

    def append(self, rows: Iterable[list[Any]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(map(_cells, rows))
        if len(self._waiting) < _MOST_WAITING:
            self._waiting += text.getvalue().encode()
        else:
            self.lost += text.getvalue().count("\r\n")
        self._write()

    def _write(self) -> None:
        if not self._is_there():
            self._write_again()
        while self._waiting:
            del self._waiting[: self._file.write(self._waiting) or 0]

    def _is_there(self) -> bool:
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


def _cells(row: list[Any]) -> list[Any]:
    return [media.csv_cell(cell) for cell in row]


def _histogram_rows(ledger: Ledger) -> Iterator[list[Any]]:
    for (level, name), tally in sorted(ledger.tallies.items()):
        for metric, histogram in list(tally.histograms.items()):  # pauses let more come in
            for bucket, count in histogram.items():
                yield [level, name, metric, bucket, count]


def _timeline_rows(ledger: Ledger, epoch: float) -> Iterator[list[Any]]:
    for second, seen in ledger.seconds.all():  # pauses let more come in
        level = ledger.level_at(second + 0.5)
        chunks = seen.get("chunks", 0)
        named = {
            "time": int(epoch) + second,
            "level": "" if level is None else level.index,
            "coalesced": seen.get("coalesced", 0) / chunks if chunks else "",
        }
        yield [rounded(named.get(column, seen.get(column, _NOT_SEEN.get(column, 0)))) for column in TIMELINE_COLUMNS]
