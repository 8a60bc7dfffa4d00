"""Numbers and units in the cells of a table, as different countries write them. Pure.

1,234.5 and 1.234,5 and 1 234,5 and 1'234.5 are one number. The meaning of the comma in 1,234 depends on the other
numbers of the table: `decimal_mark` decides it once for all.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from llmlocust.runfiles.reading.table_headers import SCALES, unit_tags

_NO_NUMBER = {"", "-", "--", "–", "—", "n/a", "n.a.", "#n/a", "na", "nan", "none", "null", "?"}
_INFINITE = {"inf", "infinity", "+inf", "∞"}
_NUMBER = re.compile(
    r"[~≈]?\s*(?P<number>[+-]?(?:\d{1,3}(?:[ '_]\d{3})+(?![\d])(?:[.,]\d+)?|\d[\d.,]*\d|\d|[.,]\d+)(?:e[+-]?\d+)?)"
    r"\s*(?P<thousand>k(?![a-z]))?\s*(?P<unit>.*)"
)
_PLUS_MINUS = re.compile(r"\s*±.*|\s*\([^()]*%\s*\)$")
"""Text behind a number that is not part of it: "120 ± 5", "6 (1.00%)"."""
_PERIODS = re.compile(r"(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+(?:\.\d+)?)s)?")
"""Durations such as 1m30s."""
_SCALES = {**SCALES, "percent": 0.01}


@dataclass(frozen=True)
class Cell:
    """A number as it was written, and its unit."""

    number: str
    tags: frozenset[str] = frozenset()
    """Tags of the words of its unit; empty without a unit."""
    times: float = 1.0
    """1000 if a k follows the number, otherwise 1."""

    @property
    def scale(self) -> float | None:
        """Factor from the unit to seconds, per second, or a share; None without such a unit."""
        scales = [scale for tag, scale in _SCALES.items() if tag in self.tags]
        return scales[0] if scales else None


def read_cell(text: str) -> Cell | None:
    """Read a cell. An empty cell has an empty number; None: the cell contains other text than a number."""
    plain = unicodedata.normalize("NFKC", text).replace("−", "-").replace("’", "'").strip().lower()
    if plain in _NO_NUMBER:
        return Cell("")
    if plain in _INFINITE:
        return Cell("inf")
    plain = _PLUS_MINUS.sub("", plain)
    if (periods := _PERIODS.fullmatch(plain)) and sum(part is not None for part in periods.groups()) > 1:
        hours, minutes, seconds = (float(part or 0) for part in periods.groups())
        return Cell(repr(hours * 3600 + minutes * 60 + seconds), frozenset({"s"}))
    match = _NUMBER.fullmatch(plain)
    tags = unit_tags(match["unit"]) if match else None
    if match is None or tags is None:
        return None
    return Cell(match["number"], tags, 1000.0 if match["thousand"] else 1.0)


# -- decimal marks


@dataclass(frozen=True)
class DecimalMark:
    """Comma or point: the sign before the fraction in the numbers of a table."""

    mark: str = "."
    assumed: str = ""
    """A number with two readings, if no other number of the table decides between them; otherwise empty."""

    def value(self, number: str) -> float | None:
        """Return the number, NaN for an empty text, and None for other text."""
        if not number:
            return math.nan
        whole, _, fraction = number.partition(self.mark)
        group = _other(self.mark)
        if group in fraction or (group in whole and not _is_grouped(whole, group)):
            return None
        try:
            return float(re.sub(r"[ '_]", "", whole.replace(group, "")) + (f".{fraction}" if fraction else ""))
        except ValueError:
            return None


def decimal_mark(numbers: Iterable[str], counts: Iterable[Iterable[str]], *, european: bool) -> DecimalMark:
    """Decide the decimal mark of a table from all of its `numbers`, and from its columns of `counts`.

    If nothing decides, 1,234 is a fraction in a `european` file and a thousand in others. Raises ValueError if a table
    uses both marks.
    """
    numbers = list(numbers)
    votes = {mark: number for number in numbers if (mark := _vote(number))}
    if len(votes) > 1:
        raise ValueError(
            f"some of its numbers have a decimal point ({votes['.']}) and some a decimal comma ({votes[',']}); "
            f"write all in the same way"
        )
    if votes:
        return DecimalMark(next(iter(votes)))
    if mark := next((mark for column in counts if (mark := _vote_of_counts(list(column)))), ""):
        return DecimalMark(mark)
    unsure = [number for number in numbers if "," in number] or [number for number in numbers if "." in number]
    if not unsure:
        return DecimalMark()
    is_comma = "," in unsure[0]
    assumed = unsure[0] if is_comma or european else ""
    return DecimalMark("," if is_comma and european else ".", assumed)


def _other(mark: str) -> str:
    return "," if mark == "." else "."


def _is_grouped(whole: str, group: str) -> bool:
    return re.fullmatch(rf"[+-]?[1-9]\d{{0,2}}(?:{re.escape(group)}\d{{3}})+", whole) is not None


def _vote(number: str) -> str:
    """Return the only decimal mark that a number fits; empty if it fits both."""
    number = number.partition("e")[0]
    points, commas = number.count("."), number.count(",")
    if points and commas:
        return "." if number.rfind(".") > number.rfind(",") else ","
    if not points and not commas:
        return ""
    mark = "." if points else ","
    if points + commas > 1:
        return _other(mark) if _is_grouped(number, mark) else ""
    return "" if _is_grouped(number, mark) else mark


def _vote_of_counts(numbers: list[str]) -> str:
    """Return the decimal mark that makes counts whole; empty if they have no mark."""
    marked = [number for number in numbers if "." in number or "," in number]
    # a program that prints three digits after the point does so with every number, and all of them are zeros
    if not marked or (len(marked) == len(numbers) and all(number.endswith("000") for number in marked)):
        return ""
    return _other("." if "." in marked[0] else ",")
