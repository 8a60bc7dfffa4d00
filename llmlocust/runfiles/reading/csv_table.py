"""Read a CSV file as a data frame. Damaged lines are left out, and a note says so."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import pandas as pd

from llmlocust.runfiles.formats import MAX_NUMBER
from llmlocust.runfiles.reading import locust_files
from llmlocust.runfiles.reading.errors import ForeignFile, RunError
from llmlocust.text.message import message


def read_csv(
    path: Path,
    required: Iterable[str],
    text: Collection[str],
    notes: list[str],
    *,
    columns_of: Callable[[list[str]], list[str]] = list,
    lines_end: bool = True,
) -> pd.DataFrame:
    """Read a CSV. `columns_of` renames its columns. The columns in `text` are read as text, the others as numbers.

    A last line without an end is dropped, because a number in it may be cut off. `lines_end` is false for files that may be
    complete without that end, as old versions of Locust write them.
    """
    data = _bytes_of(path)
    whole = data.rstrip(b"\0")
    whole = whole[: whole.rfind(b"\n") + 1]
    header = _columns_of((whole or data).split(b"\n", 1)[0])
    columns = columns_of(header)
    if missing := [name for name in required if name not in columns]:
        raise ForeignFile(
            message(
                "{path}: not a file of llmlocust or Locust, it has no column {column}",
                path=path,
                column=repr(missing[0]),
            )
        )
    if not lines_end and len(_columns_of(data[len(whole) :])) == len(columns):
        whole = data
    if len(whole) < len(data):
        notes.append(message("The last line of {file} was cut off and is left out.", file=path.name))
    frame, dropped = _parse(whole or data, columns, text, renamed=columns != header)
    if missing := [name for name in required if name not in frame]:
        raise RunError(
            message("{path}: damaged, its column {column} cannot be read", path=path, column=repr(missing[0]))
        )
    if dropped:
        notes.append(message("{file}: {count} damaged lines at its end are left out.", file=path.name, count=dropped))
    for name in frame.columns:
        if name not in text:
            numbers = pd.to_numeric(frame[name], errors="coerce").astype(float)
            frame[name] = numbers.where(numbers.abs() <= MAX_NUMBER)
    return frame


def _bytes_of(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(message("{path}: cannot be read ({reason})", path=path, reason=error.strerror)) from error
    if not data.strip(b"\0\r\n\t "):
        raise RunError(message("{path}: empty; the run wrote nothing, so run it again (or longer)", path=path))
    return locust_files.as_locust_writes(data)


def _columns_of(header: bytes) -> list[str]:
    """Return the names in a header line. A carriage return inside it does not end the line: no writer ends one so."""
    text = header.decode("utf-8-sig", "replace").replace("\r", "")
    try:
        return next(csv.reader([text]), [])
    except csv.Error:  # a NUL, or a field without an end
        return []


def _parse(
    data: bytes, columns: Sequence[str], text: Collection[str], *, renamed: bool = False
) -> tuple[pd.DataFrame, int]:
    for dropped in range(20):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", pd.errors.ParserWarning)  # lines that are too long
                frame = pd.read_csv(
                    io.BytesIO(data),
                    header=0,
                    names=list(columns) if renamed else None,
                    dtype={name: str for name in columns if name in text},
                    keep_default_na=False,
                    na_values={name: ["", "N/A"] for name in columns if name not in text},
                    encoding="utf-8",
                    encoding_errors="replace",
                    on_bad_lines="skip",
                    index_col=False,
                    low_memory=False,
                )
        except pd.errors.EmptyDataError:
            break
        except pd.errors.ParserError:  # a quoted text that was cut off before its end
            data = data[: data.rstrip(b"\r\n").rfind(b"\n") + 1]
        else:
            return frame, dropped
    return pd.DataFrame(columns=list(columns)), 20
