"""Data sets of questions, read with Hugging Face's library `datasets` if it is installed: from the hub or local files.

    hf:openai/gsm8k/main:test          a data set of the hub, its configuration, and a split
    hf:saved:train:question            a folder that the library saved, a split, and the column of questions
    questions.parquet                  a file of rows

The library maps its files into memory and reads rows from there, so a data set of any size needs little memory.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from llmlocust.load.rows import LENGTHS, QUESTION_NAMES, READ_NAMES, Question, Questions, of_entry

PREFIX = "hf:"
_FILES = {".parquet": "parquet", ".arrow": "arrow", ".json": "json", ".jsonl": "json", ".csv": "csv"}
"""The library's names of file formats, by suffix."""
_READ_WITHOUT_LIBRARY = (".json", ".jsonl", ".csv")
"""Suffixes of _FILES that `prompt_files` reads without the library."""
_AT_ONCE = 1000
"""Rows per batch."""
_PARTS = re.compile(r":(?![^\[]*\])")
"""Separator of the components of a name. A split may have a slice, such as train[:100]."""


def is_set(source: str) -> bool:
    """Return whether a source of prompts is read with the library."""
    suffix = Path(source).suffix.lower()
    return source.startswith(PREFIX) or (suffix in _FILES and suffix not in _READ_WITHOUT_LIBRARY)


@lru_cache(maxsize=4)
def open_set(source: str) -> Questions:
    """Open the questions of a data set. Raises ValueError with a one-line message."""
    name, split, column, *more = [*_PARTS.split(source.removeprefix(PREFIX)), "", ""][:4]
    if not name or any(more):
        raise ValueError(
            f"a Hugging Face data set is written hf:NAME, hf:NAME:SPLIT or hf:NAME:SPLIT:COLUMN — got {source[:80]!r}"
        )
    try:
        import datasets
    except ImportError:
        raise ValueError(f"{source[:80]} needs the package datasets: pip install 'llmlocust[datasets]'") from None
    datasets.disable_progress_bars()
    try:
        data = _opened(datasets, name, split)
    except Exception as problem:  # the library passes on any exception of its dependencies
        message = " ".join(f"{type(problem).__name__}: {problem}".split())[:300]
        raise ValueError(f"cannot open the data set {source[:80]}: {message}") from None
    rows = _of_split(data, source, split)
    if not any(name == column or (not column and name in QUESTION_NAMES) for name in rows.column_names):
        wanted = repr(column) if column else f"{', '.join(QUESTION_NAMES[:4])}, …"
        raise ValueError(
            f"{source[:80]}: no column {wanted}, but {', '.join(rows.column_names)[:200]}; name one: hf:NAME:SPLIT:COLUMN"
        )
    names = [name for name in rows.column_names if name == column or name in (LENGTHS if column else READ_NAMES)]
    rows = rows.select_columns(names)  # other columns are not read
    read = partial(_question, column=column)
    places = array("Q", _places(rows, source, read))
    if not places:
        raise ValueError(f"no prompts in {source[:80]}")
    return Questions(len(places), lambda place: read(rows[places[place]]))


def _opened(datasets: ModuleType, name: str, split: str) -> Any:
    path = Path(name)
    if any((path / file).is_file() for file in ("state.json", "dataset_dict.json")):
        data = datasets.load_from_disk(name)
        if split and not isinstance(data, dict) and str(data.split or split) != split:
            raise ValueError(f"it has only the split {data.split}")
        return data
    if path.is_file():
        return datasets.load_dataset(_FILES[path.suffix.lower()], data_files=name, split=split or None)
    if not path.exists() and name.count("/") == 2:
        name, _, configuration = name.rpartition("/")
        return datasets.load_dataset(name, configuration, split=split or None)
    return datasets.load_dataset(name, split=split or None)


def _of_split(data: Any, source: str, split: str) -> Any:
    """Return one split of a data set: the given one, or the one for training."""
    if not isinstance(data, dict):
        return data
    wanted = split or ("train" if "train" in data else next(iter(data)))
    if wanted not in data:
        raise ValueError(f"{source[:80]}: no split {wanted!r}, but {', '.join(data)}")
    return data[wanted]


def _places(rows: Any, source: str, read: Callable[[dict[str, Any]], Question]) -> Iterator[int]:
    """Yield the places of rows that have a question."""
    place = 0
    for batch in rows.iter(batch_size=_AT_ONCE):
        for values in zip(*batch.values(), strict=True):
            try:
                question = read(dict(zip(batch, values, strict=True)))
            except ValueError as problem:
                raise ValueError(f"{source[:80]}, row {place}: {problem}") from None
            if question:
                yield place
            place += 1


def _question(row: dict[str, Any], column: str) -> Question:
    entry = {name: _messages(value) if isinstance(value, list) else value for name, value in row.items()}
    if column:
        entry["prompt"] = entry.pop(column)
    return of_entry(entry) if any(entry.get(name) for name in QUESTION_NAMES) else ""


def _messages(values: list[Any]) -> list[Any]:
    """Return a conversation as it is sent: without the answer at its end, and without fields that are only in the table
    because other messages have them.
    """
    messages = [
        {name: field for name, field in value.items() if field is not None} if isinstance(value, dict) else value
        for value in values
    ]
    while messages and isinstance(messages[-1], dict) and messages[-1].get("role") == "assistant":
        del messages[-1]
    return messages
