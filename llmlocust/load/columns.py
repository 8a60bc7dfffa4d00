"""Names of JSON keys and of columns for the time of a request, its prompt tokens and its output tokens.

Names follow rules instead of a list of formats: a word for the side (`prompt`, `input`, …) and a word for the measure
(`tokens`, `length`, …), in any case and with any separators. The name of a time may end with its unit.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import NamedTuple

_PROMPT = ("prompt", "input", "context", "request", "prefill", "query")
_OUTPUT = ("output", "completion", "generated", "generation", "response", "decode", "answer")
_COUNTS = ("tokens", "toks", "token_count", "tokens_count", "token_num")
_LENGTHS = ("length", "len", "seq_len", "seq_length", "sequence_length")
_NUMBERS = ("", "num_", "n_", "number_of_")

OUTPUT_TOKENS = frozenset(f"{number}{word}_{count}" for number, word, count in product(_NUMBERS, _OUTPUT, _COUNTS))
"""Names of the number of output tokens, in snake case."""

_UNITS = {
    "seconds": ("s", "sec", "secs", "second", "seconds"),
    "milliseconds": ("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"),
    "microseconds": ("us", "µs", "usec", "usecs", "micros", "microsecond", "microseconds"),
    "nanoseconds": ("ns", "nsec", "nsecs", "nanos", "nanosecond", "nanoseconds"),
}
_UNIT_OF = {name: unit for unit, names in _UNITS.items() for name in names}
_WORD = re.compile(r"[A-Z]?[a-zµ]+|[A-Z]+|[0-9]+")
_MORE = "(?:unix|epoch|utc|local|relative|offset|in|at|time|stamp|ts|date)"
_TIMES = tuple(
    re.compile(f"{_MORE}*(?:{word}){_MORE}*")
    for word in (
        "arrivals?|arrived?|arrives",
        "time|stamp|ts|date|t",
        f"requested|sent|submitted|received|(?:request|send|submit|receive|recv){_MORE}",
        "start|started|begin|created?",
    )
)
"""Patterns of names of times, in order of preference: names of the arrival of a request come first."""
_DELIMITERS = ",;\t|"
_IDS = frozenset(("hashids", "blockids", "blockhashes", "blockhashids"))


class Columns(NamedTuple):
    """The names of a trace's columns in a file."""

    time: str = ""
    unit: str = ""
    """Unit in the name of the time; "" for none."""
    prompt_tokens: str = ""
    output_tokens: str = ""
    ids: str = ""
    """Name of the block ids of the prompt; "" for none."""

    @property
    def numbers(self) -> tuple[str, str, str]:
        return self.time, self.prompt_tokens, self.output_tokens


def is_trace(names: Sequence[str]) -> bool:
    """Whether these are the names of a trace's columns."""
    try:
        columns_of(names)
    except ValueError:
        return False
    return True


def columns_of(names: Sequence[str]) -> Columns:
    """Find the columns of a trace. Raises ValueError with a one-line message on what is missing."""
    time = _time(names)
    prompt, output = _length(names, _PROMPT, "isl"), _length(names, _OUTPUT, "osl")
    missing = [needed for needed, name in zip(_NEEDED, (time, prompt, output), strict=True) if not name]
    if missing:
        raise ValueError(f"{_NEEDS}; missing: {', '.join(missing)}; found: {listed(names)}")
    return Columns(time, unit_of(time), prompt, output, next((name for name in names if _squashed(name) in _IDS), ""))


_NEEDED = ("a time", "tokens of the prompt", "tokens of the answer")
_NEEDS = (
    "a row of a trace has a time, the tokens of its prompt and the tokens of its answer, under names such as timestamp, "
    "input_length, output_length"
)


def listed(names: Iterable[object]) -> str:
    """Return names in one line, for a message."""
    return " ".join(", ".join(map(str, names)).split())[:120] or "nothing"


def header_of(sample: bytes, are_known: Callable[[list[str]], bool]) -> tuple[list[str], str]:
    """Return the names in the header of a CSV, and its delimiter: the one that gives known names, otherwise the one that
    gives the most names.
    """
    line = re.split(rb"[\r\n]", sample.lstrip(), maxsplit=1)[0].decode(errors="replace")
    headers = [(next(csv.reader([line], delimiter=delimiter), []), delimiter) for delimiter in _DELIMITERS]
    known = (header for header in headers if are_known(header[0]))
    return next(known, max(headers, key=lambda header: len(header[0])))


def unit_of(name: str) -> str:
    """Return the unit in the name of a time: milliseconds for arrivalTimeMs; "" for none."""
    return _UNIT_OF.get(_words(name)[-1], "")


def snake_case(name: str) -> str:
    """Return a name in snake case: max_tokens for "Max tokens" and maxTokens."""
    return "_".join(_words(name))


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)] or [""]


def _squashed(name: str) -> str:
    return "".join(_words(name))


def _length(names: Sequence[str], sides: Iterable[str], short: str) -> str:
    """Return the name of a number of tokens. A name with "tokens" precedes one with "length"."""
    squashed = {_squashed(name): name for name in reversed(names)}
    for measures in (_COUNTS, _LENGTHS):
        known = {_squashed("".join(parts)) for parts in product(_NUMBERS, sides, measures)}
        matching = [name for short_name, name in squashed.items() if short_name in known]
        if matching:
            return matching[-1]
    return squashed.get(short, "")


def _time(names: Sequence[str]) -> str:
    return next((name for kind in _TIMES for name in names if _is_time(name, kind)), "")


def _is_time(name: str, kind: re.Pattern[str]) -> bool:
    *words, last = _words(name)
    if last in _UNIT_OF and (words or len(last) > 1):
        last = "time"
    return bool(kind.fullmatch("".join([*words, last])))
