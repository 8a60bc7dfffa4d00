"""Rows of cells from the bytes of a table file: compression, encoding, delimiter, Markdown. Pure.

A file that cannot be read raises ValueError, whose text is one line that says what to do.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from llmlocust.load.encodings import BOMS, decoded, encoding_of, probable_encoding

_MAX_BYTES = 64 * 2**20
"""Limit for an unpacked file. A table of levels is far smaller."""
_GZIP = b"\x1f\x8b"
_FOREIGN = {
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"%PDF": "a PDF",
    b"PAR1": "a Parquet file",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
}
_SAVE = "save its table as CSV in UTF-8"
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f]")
"""Characters that text does not contain. Bytes that decode to them are not text, or have another encoding."""
_DELIMITERS = (",", ";", "\t", "|")
_BOXES = str.maketrans(
    {**dict.fromkeys("│┃║", "|"), **dict.fromkeys("─━═┼╋╪╇┿┬┴╤╧├┤┝┥┡┩┌┐└┘╒╕╘╛┏┓┗┛┯┷┳┻╔╗╚╝╠╣╦╩╬╞╡┢┪", "-")}
)
"""Maps the lines that terminals draw around tables to the signs of a Markdown table."""
_RULE = re.compile(r"[\s|:+=-]*-{2,}[\s|:+=-]*|[\s|]*:?-+:?[\s|:-]*\|[\s|:-]*")
"""The line between the header and the rows of a Markdown table."""
_MARKUP = re.compile(r"^[*`\s]+|[*`\s]+$")


@dataclass(frozen=True)
class Grid:
    """The cells of a table. All rows are as long as the header."""

    header: list[str]
    rows: list[tuple[int, list[str]]]
    """Pairs of line number and cells."""
    delimiter: str
    tables: int = 1
    """Number of tables in the file. This is the first of them."""

    def column(self, header: str) -> list[str]:
        at = self.header.index(header)
        return [cells[at] for _, cells in self.rows]


# -- bytes to text


def decode(data: bytes) -> tuple[str, str]:
    """Return the text of a file, and the name of its encoding if that is a guess (else an empty string)."""
    data = unpacked(data)
    if what := next((what for magic, what in _FOREIGN.items() if data.startswith(magic)), ""):
        raise ValueError(f"it is {what}; {_SAVE}")
    encoding, guessed = _encoding(data)
    text = decoded(data.removeprefix(BOMS.get(encoding, b"")), encoding) if encoding else None
    if text is None or _CONTROLS.search(text):
        raise ValueError(f"not readable as text; {_SAVE}")
    return text, guessed


def unpacked(data: bytes) -> bytes:
    """Unpack data that gzip compressed; return other data as they are."""
    if not data.startswith(_GZIP):
        return data
    try:
        with gzip.open(io.BytesIO(data)) as file:
            plain = file.read(_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as problem:
        raise ValueError(f"its gzip compression is damaged ({problem}); compress it again") from None
    if len(plain) > _MAX_BYTES:
        raise ValueError("it unpacks to more than 64 MiB, which is too large for a table of levels")
    return plain


def _encoding(data: bytes) -> tuple[str, str]:
    """Return Python's name of the encoding, and its usual name if it is a guess; both are empty if not known."""
    encoding = encoding_of(data)
    if not encoding:
        name, _, encoding = probable_encoding(data)
        return encoding, name
    is_marked = data.startswith(BOMS.get(encoding, b"-"))
    return encoding, "GB18030" if encoding == "gb18030" and not is_marked else ""


# -- text to rows


def read_grid(text: str) -> Grid:
    """Read a table from a text: CSV with any usual delimiter, or the first Markdown table."""
    lines = text.translate(_BOXES).splitlines()
    if rules := [at for at in range(1, len(lines)) if _is_rule(lines, at)]:
        return replace(_grid(list(_markdown(lines, rules[0])), "|"), tables=len(rules))
    if text.lstrip().startswith("<"):
        raise ValueError(f"it is a page of HTML or XML; {_SAVE}")
    if re.match(r'\s*(?:\{\s*["}]|\[\s*[{\[\d"])', text):
        raise ValueError("it is JSON; write its figures as CSV, with a header and a row for each level")
    return _separated(text)


def _is_rule(lines: Sequence[str], at: int) -> bool:
    """Return whether a line separates a header from its rows: the line before it is the first one with columns."""
    if not _RULE.fullmatch(lines[at]) or "|" not in lines[at - 1]:
        return False
    return at == 1 or "|" not in lines[at - 2] or bool(_RULE.fullmatch(lines[at - 2]))


def _markdown(lines: Sequence[str], rule: int) -> Iterator[tuple[int, list[str]]]:
    for at in range(rule - 1, len(lines)):
        if _RULE.fullmatch(lines[at]):
            continue
        if "|" not in lines[at]:
            return
        inside = lines[at].strip().removeprefix("|").removesuffix("|")
        yield at + 1, [_MARKUP.sub("", cell.replace("\\|", "|")) for cell in re.split(r"(?<!\\)\|", inside)]


def _separated(text: str) -> Grid:
    hint = re.match(r"\s*sep=(.)\s*?\n", text)  # Excel's own line about the delimiter
    candidates = hint[1] if hint else _DELIMITERS
    if hint:
        text = "\n" * hint[0].count("\n") + text[hint.end() :]
    readings = {delimiter: _cells(text, delimiter) for delimiter in candidates} | {" ": _spaced(text)}
    delimiter = max(readings, key=lambda candidate: _fits(readings[candidate]))
    return _grid(readings[delimiter], delimiter)


def _cells(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        rows = [(reader.line_num, cells) for cells in reader]
    except csv.Error as problem:
        raise ValueError(f"no CSV ({problem})") from None
    return [(number, cells) for number, cells in rows if any(cell.strip() for cell in cells)]


def _spaced(text: str) -> list[tuple[int, list[str]]]:
    """Split lines at two spaces or more: the columns of a text that are aligned."""
    lines = enumerate(text.splitlines(), 1)
    return [(number, re.split(r"\s{2,}|\t", line.strip())) for number, line in lines if line.strip()]


def _fits(rows: Sequence[tuple[int, list[str]]]) -> tuple[bool, float, int]:
    """Rate a delimiter: the first line is as wide as most lines, share of lines of that width, and the width."""
    width = _width(rows)
    if width < 2:
        return False, 0.0, 0
    return len(rows[0][1]) == width, sum(len(cells) == width for _, cells in rows) / len(rows), width


def _width(rows: Sequence[tuple[int, list[str]]]) -> int:
    counted = Counter(len(cells) for _, cells in rows)
    return counted.most_common(1)[0][0] if counted else 0


def _grid(rows: Sequence[tuple[int, list[str]]], delimiter: str) -> Grid:
    rows = [(number, cells) for number, cells in rows if any(cell.strip() for cell in cells)]
    width = _width(rows)
    if width > 1:
        rows = _without_remarks(rows, width)
    if len(rows) < 2:
        raise ValueError("no table of levels; it needs a header and a row per level")
    header = [" ".join(cell.split()) for cell in rows[0][1]]
    while not header[-1]:
        header.pop()
    return Grid(header, [(number, _of_length(cells, len(header), number)) for number, cells in rows[1:]], delimiter)


def _without_remarks(rows: Sequence[tuple[int, list[str]]], width: int) -> list[tuple[int, list[str]]]:
    """Drop titles, comments and footnotes. A header may begin with a # too: "# requests"."""
    kept: list[tuple[int, list[str]]] = []
    for number, cells in rows:
        filled = [cell.strip() for cell in cells if cell.strip()]
        is_comment = filled[0].startswith("#") and len(cells) != width
        is_alone = len(filled) == 1 and (not kept or not filled[0][0].isdigit())
        if not is_comment and not is_alone:
            kept.append((number, cells))
    return kept


def _of_length(cells: Sequence[str], length: int, number: int) -> list[str]:
    if any(cell.strip() for cell in cells[length:]):
        raise ValueError(
            f"line {number} has {len(cells)} cells and the header {length}; "
            f"put numbers that contain a comma into quotes, or use ; between the columns"
        )
    return [*(cell.strip() for cell in cells), *[""] * length][:length]
