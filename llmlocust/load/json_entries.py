"""Entries of a JSON document, parsed a piece of the file at a time: ShareGPT's has 670 MB.

A document is an array of entries, an object with one such array in it ({"data": […]}), or entries one behind the other.
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
"""So many bytes of a file are looked at together."""
_MANY = 100
"""Elements that make an array a long one."""

Place = tuple[int, int, int, Any]
"""Of an entry: its number, where it begins and ends in the file, and what stands there as far as it was read already."""


def entries(file: IO[bytes], path: str, is_entry: Callable[[str, Any], bool]) -> Iterator[Place]:
    """Yield the entries of a document. ValueError in one line.

    `is_entry` says by the name of a field and its first element, where it is an array, whether the object with this field
    is an entry and holds none; by "" and its first element, whether the array at the beginning of a file is.
    """
    start, scanner = file.tell(), _Scanner(file, path)
    first = scanner.peek()
    if first not in ("[", "{", '"'):
        raise ValueError(f"{path}: a .json file of prompts is an array, [...], an object with one, or JSON Lines")
    holds = first == "[" and not is_entry("", _first_element(scanner))
    holds = holds or (first == "{" and _holds_entries(scanner, is_entry))
    file.seek(start)
    scanner = _Scanner(file, path)
    if not holds:
        yield from scanner.values("")
    elif first == "[":
        yield from scanner.elements()
    else:
        yield from _of_object(scanner)
    if scanner.peek():
        raise ValueError(f"{path}: the file goes on behind the end of its entries: {scanner.rest}")


def first_element(file: IO[bytes], path: str) -> Any:
    """Return the first element of the array that a file begins with; None where it does not begin with one."""
    return _first_element(_Scanner(file, path))


def _first_element(scanner: _Scanner) -> Any:
    try:
        return scanner.take("[") and next((entry for *_, entry in scanner.values("]")), None)
    except ValueError:
        return None


class _Scanner:
    """Reads JSON from a file, and knows where in the file it is."""

    def __init__(self, file: IO[bytes], path: str) -> None:
        self._file, self.path = file, path
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._scan = json.JSONDecoder().raw_decode
        self._text, self._at, self._place = "", 0, file.tell()
        self._number = 0

    def peek(self, skipped: re.Pattern[str] = _SPACE) -> str:
        """Return the next character behind what is skipped; "" at the end of the file."""
        while True:
            end = skipped.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches nothing, too
            if end > self._at:
                self._move(end)
            if end < len(self._text):
                return self._text[end]
            if not self._more():
                return ""

    def take(self, character: str) -> bool:
        """Go behind a character, where it is the next one."""
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
                    raise ValueError(f"{self.path}: no JSON behind entry {self._number}: {self.rest}") from None
                continue
            if end + 2 >= len(self._text) and isinstance(value, int | float) and self._more():
                continue  # a number may go on, as 1 does in 1e+6
            begin = self._place
            self._move(end)
            self._number += 1
            return self._number, begin, self._place, value

    def values(self, end: str) -> Iterator[Place]:
        """Yield values up to a character, or to the end of the file."""
        while self.peek(_BETWEEN) != end:
            yield self.value()

    def elements(self) -> Iterator[Place]:
        """Yield the elements of the array that begins here, and go behind it."""
        self.take("[")
        self._number = 0
        yield from self.values("]")
        self.take("]")

    @property
    def rest(self) -> str:
        """The beginning of what comes."""
        return " ".join(self._text[self._at : self._at + 60].split())

    def _move(self, end: int) -> None:
        self._place += end - self._at if self._text.isascii() else len(self._text[self._at : end].encode())
        self._at = end

    def _more(self) -> bool:
        """Read on; a long value is tried again each time that the text has doubled."""
        data = self._file.read(max(_PIECE, len(self._text) - self._at))
        more = self._decode(data, not data)
        if data:
            self._text, self._at = self._text[self._at :] + more, 0
        return bool(data)


def _fields(scanner: _Scanner) -> Iterator[str]:
    """Yield the names of an object's fields. Whoever takes one reads its value."""
    scanner.take("{")
    while scanner.peek(_BETWEEN) not in ("}", ""):
        *_, name = scanner.value()
        if not scanner.take(":"):
            return
        yield str(name)
    scanner.take("}")


def _holds_entries(scanner: _Scanner, is_entry: Callable[[str, Any], bool]) -> bool:
    """Whether an object has an array of entries and is none itself. A long array of texts is no conversation."""
    has_array = False
    try:
        for name in _fields(scanner):
            is_array = scanner.peek() == "["
            elements = [entry for *_, entry in islice(scanner.elements(), _MANY)] if is_array else []
            first, is_long = (elements[0] if elements else None), len(elements) == _MANY
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
            raise ValueError(f"{scanner.path}: which array has the prompts, {' or '.join(arrays)}? Keep only this one")
        yield from scanner.elements()
