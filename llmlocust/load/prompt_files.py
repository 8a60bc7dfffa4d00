"""Files of prompts of any length: only the positions of their entries are kept in memory.

A text file has one question per line. JSONL has an object or a string per line (`load.rows`). A `.json` file is an array of
these, an object that contains an array, or lines. `.csv` and `.tsv` have a header with a column of questions. The whole
file is checked when it is opened, so an invalid line ends the run before any load. Compressed files and other encodings are
supported (`load.text_files`).
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
from llmlocust.load.rows import LENGTHS, MATERIAL, QUESTION_NAMES, QUESTIONS, Question, Questions, is_message, of_entry
from llmlocust.load.text_files import UTF8_BOM, plain_suffix, read_utf8

csv.field_size_limit(1 << 30)  # a prompt of 100,000 tokens is longer than csv's default limit

_SAMPLE = 1 << 16
_JSON_LINES = (".jsonl", ".ndjson")
_TABLES = (".csv", ".tsv")
_SPECIAL = frozenset((b"{", b'"', b"[", UTF8_BOM[:1]))
"""First bytes of lines that may be JSON or begin with a byte order mark."""
_ARRAY = re.compile(rb'\s*\[\s*[{"]')
"""Begin of an array of objects or of strings."""
_NO_DELIMITER = "\x1f"
"""A delimiter that no text contains."""


def open_file(source: str) -> Questions:
    """Open the questions of a file. Raises ValueError with a one-line message that names the line."""
    try:
        status = os.stat(source)  # noqa: PTH116  # Path.stat raises the same errors
        return _opened(source, status.st_mtime_ns, status.st_size)
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise ValueError(f"cannot read the prompts in {source}: {problem}") from None


@lru_cache(maxsize=4)
def _opened(source: str, changed: int, size: int) -> Questions:
    """Read a file once for all users of a process, and again if it has changed."""
    return read_utf8(source, lambda file: _read(source, file))


def _read(source: str, file: IO[bytes]) -> Questions:
    places, check, read = _kind(source, file)
    begins, ends = array("Q"), array("Q")
    for number, begin, end, content in places:
        try:
            question = check(content)
        except UnicodeDecodeError:
            raise
        except ValueError as problem:
            raise ValueError(f"{source}:{number}: {problem}") from None
        if question:
            begins.append(begin)
            ends.append(end)
    if not begins:
        raise ValueError(f"no prompts in {source}: a file of prompts has one per line")

    def read_at(place: int) -> Question:
        begin = begins[place]
        # pread has its own position: forked processes share that of the file
        return read(os.pread(file.fileno(), ends[place] - begin, begin))

    return Questions(len(begins), read_at)


def _kind(source: str, file: IO[bytes]) -> tuple[Iterator[Place], Callable[[Any], Question], Callable[..., Question]]:
    """Return a file's entries, a function that makes a question of their content, and one that makes it of their bytes."""
    suffix = plain_suffix(source)
    if suffix in _TABLES:
        table = _Table(source, file)
        return table.places(), table.question, table.read
    if suffix == ".json" or (suffix in _JSON_LINES and _is_document(source, file)):
        return entries(file, source, _is_entry), of_entry, lambda data: of_entry(json.loads(data))
    return _lines(file), _of_line, _of_line


def _begins(file: IO[bytes], size: int) -> bytes:
    """Return the next bytes of a file without moving its position."""
    begin = file.tell()
    data = file.read(size)
    file.seek(begin)
    return data


# ── lines ──


def _lines(file: IO[bytes]) -> Iterator[Place]:
    begin = file.tell()
    # bytes are not split at other line separators, which JSON may contain
    for number, line in enumerate(file, 1):
        end = begin + len(line)
        yield number, begin, end, line
        begin = end


def _of_line(data: bytes) -> Question:
    """Return the question of a line; empty for an empty line."""
    data = data.strip()
    if data[:1] not in _SPECIAL:
        return data.decode().strip()
    if data.startswith(UTF8_BOM):  # in a file that was joined from several
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
        raise ValueError(f"begins like JSON but is not valid JSON: {data.decode()[:60]}") from None
    return of_entry(entry)


# ── JSON ──


def _is_document(source: str, file: IO[bytes]) -> bool:
    """Return whether a file named JSON Lines is one JSON document: an array of entries, or an object on many lines."""
    begin, sample = file.tell(), _begins(file, _SAMPLE)
    if not _ARRAY.match(sample):
        return sample.split(b"\n", 1)[0].strip() == b"{"
    element = first_element(file, source)
    file.seek(begin)
    return isinstance(element, str) or (isinstance(element, dict) and not is_message(element))


def _is_entry(name: str, first: Any) -> bool:
    """Return whether an object with this field is an entry. For an array, whose name is "", `first` is its first element."""
    if isinstance(first, dict) and name in ("", "messages", "conversations"):
        return is_message(first)
    return name in QUESTION_NAMES


# ── tables ──


class _Table:
    """A CSV file with a column of questions."""

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
            self._delimiter = _NO_DELIMITER  # so that texts may contain the usual delimiters
        self._names = [snake_case(name) for name in names]
        self._place = place
        self._more = [at for at, name in enumerate(self._names) if self._is_of_use(name)]

    def _is_of_use(self, name: str) -> bool:
        """Return whether a column adds to the question or limits its answer."""
        return name in LENGTHS or (self._names[self._place] == "instruction" and name in MATERIAL)

    def places(self) -> Iterator[Place]:
        """Yield rows without the header. A row may have several lines; the reader consumes only those of the row."""
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
                f"{len(row)} cells under {len(self._names)} names: put texts that contain {self._delimiter!r} in quotes"
            )
        text = row[self._place].strip() if self._place < len(row) else ""
        if not text or not self._more:
            return text
        return of_entry({self._names[at]: row[at].strip() for at in (self._place, *self._more) if at < len(row)})

    def read(self, data: bytes) -> Question:
        return self.question(next(csv.reader(io.StringIO(data.decode(), newline=""), delimiter=self._delimiter), []))


def _question_in(names: Sequence[str]) -> int | None:
    """Return the place of the column of questions; None without one."""
    known = [snake_case(name) for name in names]
    return next((known.index(name) for name in QUESTIONS if name in known), None)
