"""Entries of a JSON document, parsed one piece of the file at a time: ShareGPT's file has 670 MB.

A document is an array of entries, an object that contains one such array ({"data": […]}), or a sequence of entries.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import IO, Any

_SPACE, _BETWEEN = re.compile(r"[\ufeff\s]*"), re.compile(r"[\ufeff\s,]*")
_PIECE = 1 << 20
"""Number of bytes that are read at a time."""
_LONG = 100
"""Number of elements from which an array is long."""

Place = tuple[int, int, int, Any]
"""An entry: its number, its begin and end in the file, and its content if it was parsed already."""


def entries(file: IO[bytes], path: str, is_entry: Callable[[str, Any], bool]) -> Iterator[Place]:
    """Yield the entries of a document. Raises ValueError with a one-line message.

    `is_entry` gets the name of a field and, if the field is an array, its first element. It returns whether the object
    with this field is itself an entry. For an array at the beginning of the file, the name is "".
    """
    start, scanner = file.tell(), _Scanner(file, path)
    first = scanner.peek()
    if first not in ("[", "{", '"'):
        raise ValueError(
            f"{path}: a .json file of prompts is an array [...], an object that contains one, or JSON Lines"
        )
    has_entries = first == "[" and not is_entry("", _first_element(scanner))
    has_entries = has_entries or (first == "{" and _contains_entries(scanner, is_entry))
    file.seek(start)
    scanner = _Scanner(file, path)
    if not has_entries:
        yield from scanner.values("")
    elif first == "[":
        yield from scanner.elements()
    else:
        yield from _of_object(scanner)
    if scanner.peek():
        raise ValueError(f"{path}: the file has more content after the end of its entries: {scanner.rest}")


def first_element(file: IO[bytes], path: str) -> Any:
    """Return the first element of the array at the beginning of a file; None if the file does not begin with an array."""
    return _first_element(_Scanner(file, path))


def _first_element(scanner: _Scanner) -> Any:
    try:
        return scanner.take("[") and next((entry for *_, entry in scanner.values("]")), None)
    except ValueError:
        return None


class _Scanner:
    """A reader of JSON values that tracks its position in the file."""

    def __init__(self, file: IO[bytes], path: str) -> None:
        self._file, self.path = file, path
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._scan = json.JSONDecoder().raw_decode
        self._text, self._at, self._place = "", 0, file.tell()
        self._number = 0

    def peek(self, skipped: re.Pattern[str] = _SPACE) -> str:
        """Return the next character after those that are skipped; "" at the end of the file."""
        while True:
            end = skipped.match(self._text, self._at).end()  # type: ignore[union-attr]  # it also matches the empty text
            if end > self._at:
                self._move(end)
            if end < len(self._text):
                return self._text[end]
            if not self._more():
                return ""

    def take(self, character: str) -> bool:
        """Skip a character if it is the next one. Returns whether it is."""
        if self.peek() != character:
            return False
        self._move(self._at + 1)
        return True

    def value(self) -> Place:
        """Read the next value."""
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except (ValueError, RecursionError):
                if not self._more():
                    raise ValueError(f"{self.path}: invalid JSON after entry {self._number}: {self.rest}") from None
                continue
            if end + 2 >= len(self._text) and isinstance(value, int | float) and self._more():
                continue  # a number may be incomplete, such as 1 of 1e+6
            begin = self._place
            self._move(end)
            self._number += 1
            return self._number, begin, self._place, value

    def values(self, end: str) -> Iterator[Place]:
        """Yield values up to a character or the end of the file."""
        while self.peek(_BETWEEN) != end:
            yield self.value()

    def elements(self) -> Iterator[Place]:
        """Yield the elements of the array that begins here, and skip its end."""
        self.take("[")
        self._number = 0
        yield from self.values("]")
        self.take("]")

    @property
    def rest(self) -> str:
        """The beginning of the remaining text, for a message."""
        return " ".join(self._text[self._at : self._at + 60].split())

    def _move(self, end: int) -> None:
        self._place += end - self._at if self._text.isascii() else len(self._text[self._at : end].encode())
        self._at = end

    def _more(self) -> bool:
        """Read more of the file. The text doubles each time, so that a long value is not parsed too often."""
        data = self._file.read(max(_PIECE, len(self._text) - self._at))
        more = self._decode(data, not data)
        if data:
            self._text, self._at = self._text[self._at :] + more, 0
        return bool(data)


def _fields(scanner: _Scanner) -> Iterator[str]:
    """Yield the names of an object's fields. The caller reads the value after each name."""
    scanner.take("{")
    while scanner.peek(_BETWEEN) not in ("}", ""):
        *_, name = scanner.value()
        if not scanner.take(":"):
            return
        yield str(name)
    scanner.take("}")


def _contains_entries(scanner: _Scanner, is_entry: Callable[[str, Any], bool]) -> bool:
    """Return whether an object contains an array of entries and is not an entry itself. A long array of texts is not a
    conversation.
    """
    has_array = False
    try:
        for name in _fields(scanner):
            is_array = scanner.peek() == "["
            elements = [entry for *_, entry in islice(scanner.elements(), _LONG)] if is_array else []
            first, is_long = (elements[0] if elements else None), len(elements) == _LONG
            if is_entry(name, first) and not (is_long and isinstance(first, str)):
                return False
            if is_long:
                return True
            has_array = has_array or is_array
            if not is_array:
                scanner.value()
    except ValueError:
        return False
    return has_array


def _of_object(scanner: _Scanner) -> Iterator[Place]:
    arrays: list[str] = []
    for name in _fields(scanner):
        if scanner.peek() != "[":
            scanner.value()
            continue
        arrays.append(name)
        if len(arrays) > 1:
            raise ValueError(
                f"{scanner.path}: it is not clear which array has the prompts, {' or '.join(arrays)}: keep only one of them"
            )
        yield from scanner.elements()
