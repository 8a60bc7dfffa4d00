"""Files of prompts, however long: what is kept in memory is where each entry begins.

Text has a question a line; JSONL has an object or a string a line (`load.rows`); `.json` an array of these, an object with
an array, or lines; `.csv` and `.tsv` a header with a column of questions. The whole file is checked when it is opened, so a
line that cannot be used ends the run before any load. Files in other encodings, and compressed ones, are read too
(`load.text_files`).
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
from typing import IO, Any

import msgspec

from llmlocust.load.columns import header_of, listed, snake_case
from llmlocust.load.json_entries import Place, entries, first_element
from llmlocust.load.rows import ASKED, LENGTHS, MORE, QUESTIONS, Question, Questions, is_message, of_entry
from llmlocust.load.text_files import UTF8_BOM, plain_suffix, read_utf8

csv.field_size_limit(1 << 30)  # a prompt of 100,000 tokens is longer than what csv takes by itself

_SAMPLE = 1 << 16
_JSON_LINES = (".jsonl", ".ndjson")
_TABLES = (".csv", ".tsv")
_MARKED = frozenset((b"{", b'"', b"[", UTF8_BOM[:1]))
"""How lines begin that may be other than a text."""
_ARRAY = re.compile(rb'\s*\[\s*[{"]')
"""How an array of objects or of texts begins."""
_NO_DELIMITER = "\x1f"
"""Stands in no text."""


def open_file(source: str) -> Questions:
    """The questions of a file. ValueError in one line, with the place of what is wrong."""
    try:
        found = os.stat(source)  # noqa: PTH116  # Path's own raises nothing else
        return _opened(source, found.st_mtime_ns, found.st_size)
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise ValueError(f"cannot read the prompts in {source}: {problem}") from None


@lru_cache(maxsize=4)
def _opened(source: str, changed: int, size: int) -> Questions:
    """Once for all users of a process, and again where the file has changed."""
    return read_utf8(source, lambda file: _read(source, file))


def _read(source: str, file: IO[bytes]) -> Questions:
    places, check, read = _kind(source, file)
    begins, ends = array("Q"), array("Q")
    for number, begin, end, found in places:
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

    def read_at(place: int) -> Question:
        begin = begins[place]
        # a position of its own: processes that were forked share the file's
        return read(os.pread(file.fileno(), ends[place] - begin, begin))

    return Questions(len(begins), read_at)


def _kind(source: str, file: IO[bytes]) -> tuple[Iterator[Place], Callable[[Any], Question], Callable[..., Question]]:
    """The places of a file's entries, how their question is made of what was found there, and of their bytes alone."""
    suffix = plain_suffix(source)
    if suffix in _TABLES:
        table = _Table(source, file)
        return table.places(), table.question, table.read
    if suffix == ".json" or (suffix in _JSON_LINES and _is_document(source, file)):
        return entries(file, source, _is_entry), of_entry, lambda data: of_entry(json.loads(data))
    return _lines(file), _of_line, _of_line


def _begins(file: IO[bytes], size: int) -> bytes:
    """Return the next bytes of a file, and stay before them."""
    begin = file.tell()
    data = file.read(size)
    file.seek(begin)
    return data


# ── lines ──


def _lines(file: IO[bytes]) -> Iterator[Place]:
    begin = file.tell()
    # JSON may hold line separators of other kinds, which bytes are not cut at
    for number, line in enumerate(file, 1):
        end = begin + len(line)
        yield number, begin, end, line
        begin = end


def _of_line(data: bytes) -> Question:
    """Of a line; empty where there is none."""
    data = data.strip()
    if data[:1] not in _MARKED:
        return data.decode().strip()
    if data.startswith(UTF8_BOM):  # within a file that was put together of several
        return _of_line(data.removeprefix(UTF8_BOM))
    if data.startswith((b"{", b'"', b"[{")):
        return _of_json_line(data)
    return data.decode().strip()


def _of_json_line(data: bytes) -> Question:
    try:
        entry = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        if not data.startswith(b"{"):  # a sentence may begin with a quotation or a bracket
            return data.decode()
        raise ValueError(f"begins like JSON but is not: {data.decode()[:60]}") from None
    return of_entry(entry)


# ── JSON ──


def _is_document(source: str, file: IO[bytes]) -> bool:
    """Whether a file that is called JSON Lines is one JSON document: an array of entries, or an object of many lines."""
    begin, sample = file.tell(), _begins(file, _SAMPLE)
    if not _ARRAY.match(sample):
        return sample.split(b"\n", 1)[0].strip() == b"{"
    element = first_element(file, source)
    file.seek(begin)
    return isinstance(element, str) or (isinstance(element, dict) and not is_message(element))


def _is_entry(name: str, first: Any) -> bool:
    """Whether an object is an entry by one of its fields; and an array, whose name is "", by its first element."""
    if isinstance(first, dict) and name in ("", "messages", "conversations"):
        return is_message(first)
    return name in ASKED


# ── tables ──


class _Table:
    """A CSV whose header has a column of questions."""

    def __init__(self, source: str, file: IO[bytes]) -> None:
        self._file = file
        names, self._delimiter = header_of(_begins(file, _SAMPLE), lambda names: _question_in(names) is not None)
        place = _question_in(names)
        if place is None:
            raise ValueError(
                f"{source}: a CSV of prompts has a header with a column named prompt, or {', '.join(QUESTIONS[1:])}; "
                f"this one has {listed(names)}"
            )
        if len(names) == 1:
            self._delimiter = _NO_DELIMITER  # so that texts may hold what stands between columns elsewhere
        self._names = [snake_case(name) for name in names]
        self._place = place
        self._more = [at for at, name in enumerate(self._names) if self._is_of_use(name)]

    def _is_of_use(self, name: str) -> bool:
        """Whether it says more of the question."""
        return name in LENGTHS or (self._names[self._place] == "instruction" and name in MORE)

    def places(self) -> Iterator[Place]:
        """Yield rows without the header. A row may have several lines; the reader takes no more of them than it needs."""
        begin = end = self._file.tell()

        def lines() -> Iterator[str]:
            nonlocal end
            for line in self._file:
                end += len(line)
                yield line.decode()

        reader, is_header = csv.reader(lines(), delimiter=self._delimiter), True
        for row in reader:
            if not is_header:
                yield reader.line_num, begin, end, row
            is_header = is_header and not row
            begin = end

    def question(self, row: list[str]) -> Question:
        if any(cell.strip() for cell in row[len(self._names) :]):
            raise ValueError(
                f"{len(row)} cells under {len(self._names)} names: a text with {self._delimiter!r} in it stands in quotes"
            )
        text = row[self._place].strip() if self._place < len(row) else ""
        if not text or not self._more:
            return text
        return of_entry({self._names[at]: row[at].strip() for at in (self._place, *self._more) if at < len(row)})

    def read(self, data: bytes) -> Question:
        return self.question(next(csv.reader(io.StringIO(data.decode(), newline=""), delimiter=self._delimiter), []))


def _question_in(names: Sequence[str]) -> int | None:
    """Return the place of the column of questions."""
    known = [snake_case(name) for name in names]
    return next((known.index(name) for name in QUESTIONS if name in known), None)
