"""Read a CSV file as a data frame. Damaged lines are left out, and a note says so."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import pandas as pd

from llmlocust.runfiles.formats import MOST
from llmlocust.runfiles.reading import locust_files
from llmlocust.runfiles.reading.errors import ForeignFile, RunError


def read_csv(
    path: Path,
    required: Iterable[str],
    text: Collection[str],
    notes: list[str],
    *,
    columns_of: Callable[[list[str]], list[str]] = list,
    lines_end: bool = True,
) -> pd.DataFrame:
    """Read a CSV whose columns get the names that `columns_of` gives them. The columns in `text` hold text, others numbers.

    A last line without an end is dropped: a number in it may be cut short. Old versions of Locust write whole files
    without that end: `lines_end` is false for these.
    """
    data = _bytes_of(path)
    whole = data.rstrip(b"\0")
    whole = whole[: whole.rfind(b"\n") + 1]
    header = _columns_of((whole or data).split(b"\n", 1)[0])
    columns = columns_of(header)
    missing = [each for each in required if each not in columns]
    if missing:
        raise ForeignFile(f"{path}: not a file of llmlocust or Locust, it has no column {missing[0]!r}")
    if not lines_end and len(_columns_of(data[len(whole) :])) == len(columns):
        whole = data
    if len(whole) < len(data):
        notes.append(f"The last line of {path.name} was cut off and is left out.")
    frame, dropped = _parse(whole or data, columns, text, renamed=columns != header)
    if missing := [each for each in required if each not in frame]:
        raise RunError(f"{path}: damaged, its column {missing[0]!r} cannot be read")
    if dropped:
        notes.append(f"{path.name}: {dropped} broken lines at its end are left out.")
    for name in frame.columns:
        if name not in text:
            numbers = pd.to_numeric(frame[name], errors="coerce").astype(float)
            frame[name] = numbers.where(numbers.abs() <= MOST)
    return frame


def _bytes_of(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    if not data.strip(b"\0\r\n\t "):
        raise RunError(f"{path}: empty; the run wrote nothing, so run it again (or longer)")
    return locust_files.as_locust_writes(data)


def _columns_of(header: bytes) -> list[str]:
    """The names in a header line. A carriage return inside it is no end of a line to us, as it is none to a writer."""
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
                warnings.simplefilter("ignore", pd.errors.ParserWarning)  # of lines that are too long
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
