"""Sets of questions by Hugging Face's library `datasets`, where it is installed: from its hub, or files of this machine.

    hf:openai/gsm8k/main:test          a set of the hub, one of its configurations, and a split
    hf:saved:train:question            a folder that the library saved, and the column that is asked
    questions.parquet                  a file of rows

The library maps its files into memory and reads rows from there: a set of any size takes little of a process's own.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from llmlocust.load.rows import ASKED, LENGTHS, USED, Question, Questions, of_entry

PREFIX = "hf:"
_FILES = {".parquet": "parquet", ".arrow": "arrow", ".json": "json", ".jsonl": "json", ".csv": "csv"}
"""Kinds of files, as the library calls them."""
_OURS = (".json", ".jsonl", ".csv")
"""Of these, those that are read without it."""
_AT_ONCE = 1000
_PARTS = re.compile(r":(?![^\[]*\])")
"""What stands between the parts of a name; a split may be a piece of one, such as train[:100]."""


def is_set(source: str) -> bool:
    suffix = Path(source).suffix.lower()
    return source.startswith(PREFIX) or (suffix in _FILES and suffix not in _OURS)


@lru_cache(maxsize=4)
def open_set(source: str) -> Questions:
    """The questions of a set. ValueError in one line."""
    name, split, column, *more = [*_PARTS.split(source.removeprefix(PREFIX)), "", ""][:4]
    if not name or any(more):
        raise ValueError(
            f"a set of Hugging Face's is written hf:NAME, hf:NAME:SPLIT or hf:NAME:SPLIT:COLUMN — got {source[:80]!r}"
        )
    try:
        import datasets
    except ImportError:
        raise ValueError(f"{source[:80]} needs the package datasets: pip install 'llmlocust[datasets]'") from None
    datasets.disable_progress_bars()
    try:
        found = _opened(datasets, name, split)
    except Exception as problem:  # the library raises whatever the many that it rests on raise
        said = " ".join(f"{type(problem).__name__}: {problem}".split())[:300]
        raise ValueError(f"cannot open the set {source[:80]}: {said}") from None
    rows = _of_split(found, source, split)
    if not any(name == column or (not column and name in ASKED) for name in rows.column_names):
        asked = repr(column) if column else f"{', '.join(ASKED[:4])}, …"
        raise ValueError(
            f"{source[:80]}: no column {asked}, but {', '.join(rows.column_names)[:200]}; name one: hf:NAME:SPLIT:COLUMN"
        )
    names = [name for name in rows.column_names if name == column or name in (LENGTHS if column else USED)]
    rows = rows.select_columns(names)  # a row's other columns are not read
    read = partial(_question, column=column)
    places = array("Q", _places(rows, source, read))
    if not places:
        raise ValueError(f"no prompts in {source[:80]}")
    return Questions(len(places), lambda place: read(rows[places[place]]))


def _opened(datasets: ModuleType, name: str, split: str) -> Any:
    path = Path(name)
    if any((path / each).is_file() for each in ("state.json", "dataset_dict.json")):
        found = datasets.load_from_disk(name)
        if split and not isinstance(found, dict) and str(found.split or split) != split:
            raise ValueError(f"it holds the split {found.split} alone")
        return found
    if path.is_file():
        return datasets.load_dataset(_FILES[path.suffix.lower()], data_files=name, split=split or None)
    if not path.exists() and name.count("/") == 2:
        name, _, configuration = name.rpartition("/")
        return datasets.load_dataset(name, configuration, split=split or None)
    return datasets.load_dataset(name, split=split or None)


def _of_split(found: Any, source: str, split: str) -> Any:
    """One split of a set: the one that is named, else what is for training."""
    if not isinstance(found, dict):
        return found
    wanted = split or ("train" if "train" in found else next(iter(found)))
    if wanted not in found:
        raise ValueError(f"{source[:80]}: no split {wanted!r}, but {', '.join(found)}")
    return found[wanted]


def _places(rows: Any, source: str, read: Callable[[dict[str, Any]], Question]) -> Iterator[int]:
    """Which rows ask something."""
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
    told = {name: _messages(value) if isinstance(value, list) else value for name, value in row.items()}
    if column:
        told["prompt"] = told.pop(column)
    return of_entry(told) if any(told.get(name) for name in ASKED) else ""


def _messages(said: list[Any]) -> list[Any]:
    """A conversation as it is sent: without the answer that it ends with, and without the fields that its table has
    for other messages.
    """
    found = [
        {name: value for name, value in each.items() if value is not None} if isinstance(each, dict) else each
        for each in said
    ]
    while found and isinstance(found[-1], dict) and found[-1].get("role") == "assistant":
        del found[-1]
    return found
