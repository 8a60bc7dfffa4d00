"""Files of prompts, however long: what is kept in memory is where each entry begins.

Text has a question a line; JSONL {"prompt": "…"}, {"messages": [...]}, {"conversations": [...]} (ShareGPT's) or a
string a line; `.json` an array of these; `.csv` a header with a column `prompt`. Other names that sets of questions have
for it are known too (`asked`), and a row may say how long its answer is to be. All of a file is looked at when it is
opened, so that a line that cannot be meant is told before any load.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard, overload

import msgspec

Messages = list[dict[str, Any]]


class Talk(tuple[str, ...]):
    """What a person says, turn after turn."""

    __slots__ = ()


class Limited(NamedTuple):
    """A question whose row says how many tokens its answer may have."""

    question: str | Messages | Talk
    max_tokens: int


Question = str | Messages | Talk | Limited

csv.field_size_limit(1 << 30)  # a prompt of 100,000 tokens is longer than what csv takes by itself

_BOM = b"\xef\xbb\xbf"
_SPACE, _BETWEEN = re.compile(r"[\ufeff\s]*"), re.compile(r"[\s,]*")
_PIECE = 1 << 20
"""So many characters of a file are looked at together."""
_PEOPLE = ("human", "user")
"""ShareGPT's words for a person who speaks."""
_TALKS = ("conversations", "conversation")
"""What sets call a conversation whose answers are the model's to give,"""
_SINGLE = ("prompt", "question", "instruction")
"""a single question,"""
_MORE = ("input", "context")
"""and what an instruction is about."""
ASKED = ("messages", *_SINGLE, *_TALKS)
"""Names of what a row asks."""
LENGTHS = frozenset(
    (
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "max_new_tokens",
        "output_tokens",
        "output_length",
        "output_len",
    )
)
"""What rows call the tokens that their answer may have: fields of requests, and columns of traces."""


class Entries(Sequence[Question]):
    """The questions of a file, read when they are asked for."""

    def __init__(self, path: Path, begins: array[int], ends: array[int], read: Callable[[bytes], Question]) -> None:
        self._file = path.open("rb", buffering=0)
        self._begins, self._ends, self._read = begins, ends, read

    def __len__(self) -> int:
        return len(self._begins)

    @overload
    def __getitem__(self, place: int) -> Question: ...
    @overload
    def __getitem__(self, place: slice) -> list[Question]: ...
    def __getitem__(self, place: int | slice) -> Question | list[Question]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        begin = self._begins[place]
        # a position of its own: processes that were forked share the file's
        return self._read(os.pread(self._file.fileno(), self._ends[place] - begin, begin))


def open_file(source: str) -> Entries:
    """The questions of a file. ValueError in one line, with the place of what is wrong."""
    try:
        found = os.stat(source)  # noqa: PTH116  # Path's own raises nothing else
        return _opened(source, found.st_mtime_ns, found.st_size)
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise ValueError(f"cannot read the prompts in {source}: {problem}") from None


@lru_cache(maxsize=4)
def _opened(source: str, changed: int, size: int) -> Entries:
    """Once for all users of a process, and again where the file has changed."""
    path = Path(source)
    records, check, read = _kind(path)
    begins, ends = array("Q"), array("Q")
    for number, begin, end, found in records(path):
        try:
            question = check(found)
        except UnicodeDecodeError:
            raise
        except ValueError as problem:
            raise ValueError(f"{source}:{number}: {problem}") from None
        if question:
            begins.append(begin)
            ends.append(end)
    if not begins:
        raise ValueError(f"no prompts in {source}: it needs one a line")
    return Entries(path, begins, ends, read)


_Place = tuple[int, int, int, Any]
"""Of an entry: its number, where it begins and ends, and what stands there as far as it was read already."""


def _kind(path: Path) -> tuple[Callable[[Path], Iterator[_Place]], Callable[[Any], Question], Callable[..., Question]]:
    """How the entries of a file are found, how their question is made of what was found, and of their bytes alone."""
    if path.suffix.lower() == ".csv":
        of_row = _of_row(path)
        return _rows, of_row, lambda data: of_row(next(csv.reader(io.StringIO(data.decode(), newline="")), []))
    if path.suffix.lower() == ".json":
        return _elements, of_entry, lambda data: of_entry(json.loads(data))
    return _lines, _of_line, _of_line


# ── where entries are ──


def _lines(path: Path) -> Iterator[_Place]:
    with path.open("rb") as file:
        begin = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
        file.seek(begin)
        # JSON may hold line separators of other kinds, which bytes are not cut at
        for number, line in enumerate(file, 1):
            end = begin + len(line)
            yield number, begin, end, line
            begin = end


def _rows(path: Path) -> Iterator[_Place]:
    """Rows of a CSV without its header. A row may have several lines; the reader takes no more of them than it needs."""
    begin = end = 0

    def lines() -> Iterator[str]:
        nonlocal end
        for line in file:
            end += len(line)
            yield line.decode()

    with path.open("rb") as file:
        reader = csv.reader(lines())
        for row in reader:
            if begin:
                yield reader.line_num, begin, end, row
            begin = end


def _elements(path: Path) -> Iterator[_Place]:
    """Elements of a JSON array, parsed a piece of the file at a time: ShareGPT's has 670 MB."""
    scan, number = json.JSONDecoder().raw_decode, 0
    with path.open(encoding="utf-8", newline="") as file:
        text = file.read(_PIECE)
        at = _SPACE.match(text).end()  # type: ignore[union-attr]  # it matches nothing, too
        if text[at : at + 1] != "[":
            raise ValueError(f"{path}: a .json file of prompts is an array, [...]; JSON lines are called .jsonl")
        at, begin = at + 1, len(text[: at + 1].encode())
        while True:
            space = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]
            at, begin = space, begin + space - at
            if text[at : at + 1] == "]":
                return
            try:
                entry, end = scan(text, at)
            except (ValueError, RecursionError):
                more = file.read(max(_PIECE, len(text)))
                if not more:
                    raise ValueError(f"{path}: no JSON behind entry {number}: {text[at : at + 60]}") from None
                text, at = text[at:] + more, 0
                continue
            number += 1
            size = len(text[at:end].encode())
            yield number, begin, begin + size, entry
            at, begin = end, begin + size


# ── what they say ──


def _of_line(data: bytes) -> Question:
    """Of a line; empty where there is none."""
    data = data.strip()
    if data[:1] not in (b"{", b'"'):
        return data.decode().strip()
    try:
        entry = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        if data.startswith(b'"'):  # a sentence may begin with a quotation
            return data.decode()
        raise ValueError(f"begins like JSON but is not: {data.decode()[:60]}") from None
    return of_entry(entry)


def of_entry(entry: Any) -> Question:
    """The question of a row; empty where nothing is asked. ValueError where it cannot be told."""
    if isinstance(entry, str):
        return entry.strip()
    question = asked(entry) if isinstance(entry, dict) else None
    if question is None:
        raise ValueError(_NEEDS)
    if LENGTHS.isdisjoint(entry) or not question:
        return question
    return _limited(question, {name: entry[name] for name in entry if name in LENGTHS})


def asked(entry: dict[str, Any]) -> str | Messages | Talk | None:
    """What a row asks, by the names that files and sets of questions have for it; None where it has none of them."""
    messages = entry.get("messages")
    if messages and _is_said(messages):
        return messages
    for name in _SINGLE:
        question = entry.get(name)
        if isinstance(question, str):
            more = [entry.get(each) for each in _MORE] if name == "instruction" else []
            return "\n\n".join([question, *(each for each in more if each and isinstance(each, str))])
        if question and _is_said(question):
            return _talk(question) if "from" in question[0] else question
    for name in _TALKS:
        said = entry.get(name)
        if _is_said(said):
            return _talk(said)
    return None


def _talk(said: list[dict[str, Any]]) -> Talk:
    return Talk(_words(each) for each in said if _speaker(each) in _PEOPLE)


def _is_said(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _speaker(said: dict[str, Any]) -> str:
    return str(said.get("from") or said.get("role"))


def _words(said: dict[str, Any]) -> str:
    return str(said.get("value") or said.get("content") or "")


def _limited(question: str | Messages | Talk, told: dict[str, Any]) -> Question:
    """With the first of the row's own lengths that says something."""
    for name, value in told.items():
        if value is None or value == "":
            continue
        try:
            tokens = float(value)
        except (TypeError, ValueError):
            tokens = 0.0
        if tokens < 1 or not tokens.is_integer():
            raise ValueError(f"{name} is a whole number of tokens, 1 or more — got {str(value)[:60]!r}")
        return Limited(question, int(tokens))
    return question


_NEEDS = 'a JSON line needs "prompt" or "messages" (or ShareGPT\'s "conversations")'


def _of_row(path: Path) -> Callable[[list[str]], Question]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = [name.strip().lower() for name in next(csv.reader(file), [])]
    place = next((header.index(name) for name in _SINGLE if name in header), None)
    if place is None:
        raise ValueError(f"{path}: a CSV of prompts has a header with a column named prompt")
    more = [header.index(name) for name in _MORE if name in header and header[place] == "instruction"]
    lengths = {name: at for at, name in enumerate(header) if name in LENGTHS}

    def of_row(row: list[str]) -> Question:
        question = row[place].strip() if len(row) > place else ""
        if not question or not (more or lengths):
            return question
        question = "\n\n".join([question, *(row[at] for at in more if at < len(row) and row[at])])
        return _limited(question, {name: row[at].strip() for name, at in lengths.items() if at < len(row)})

    return of_row
