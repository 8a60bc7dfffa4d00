"""Faults: a table of the faults that can be simulated, and their notation. Pure.

The header `X-Simulator-Fault` requests faults for one request, the setting `fault` for all: names from the table,
separated by commas, as in `crlf,cut:7,drop@5`. `@5` is a place: after five tokens, when the sixth is due. `:7` is a value.
"""

import re
from typing import NamedTuple

HEADER = "x-simulator-fault"


class Rule(NamedTuple):
    """The notation of a fault, and its effect."""

    place: bool
    value: str  # unit of the value; empty if the fault has no value
    effect: str


GRAMMAR: dict[str, Rule] = {
    # the answer ends before its time
    "drop": Rule(True, "", "closes the connection"),
    "reset": Rule(True, "", "resets the connection (RST)"),
    "truncate": Rule(True, "", "ends the body properly, without finish_reason and [DONE]"),
    "error_event": Rule(True, "", "sends an error event inside the 200, then [DONE]"),
    # the answer is late
    "stall": Rule(True, "seconds", "writes nothing for this time, then everything that is due"),
    "slow_headers": Rule(False, "seconds", "delays the headers and everything after them"),
    # the answer is complete, but in an unusual form
    "no_done": Rule(False, "", "leaves out [DONE]"),
    "no_usage": Rule(False, "", "ignores the request for usage"),
    "bad_json": Rule(True, "", "sends one more event, whose data is not JSON"),
    "comments": Rule(False, "", "sends a comment line before each event"),
    "crlf": Rule(False, "", "ends lines with CR LF"),
    "chunk": Rule(False, "tokens", "puts several tokens in one event"),
    "coalesce": Rule(False, "tokens", "writes the events of several tokens at once"),
    "cut": Rule(False, "bytes", "writes each event in pieces, a packet each"),
    "close_delimited": Rule(False, "", "ends the body by closing instead of chunks"),
    # another response instead of the answer
    "http": Rule(False, "status", "answers this status with an error body"),
    "oom": Rule(False, "", "answers 500, CUDA out of memory"),
    "html": Rule(False, "", "answers 200 with a page of HTML"),
}
ENDINGS = ("drop", "reset", "truncate", "error_event")


class Fault(NamedTuple):
    """One fault of one request: the number of tokens before it, and its value."""

    at: int = 0
    value: float = 0


Faults = dict[str, Fault]

_NOTATION = re.compile(r"(?P<name>[a-z_]+)(?:@(?P<at>\d{1,9}))?(?::(?P<value>\d{1,9}(?:\.\d{1,9})?))?")


def parse(text: str) -> Faults:
    """Parse faults in their notation. Raises ValueError with a list of the known faults."""
    return dict(_parse_one(part.strip()) for part in text.split(",") if part.strip())


def usage(name: str) -> str:
    """Return the notation of a fault, such as `stall@TOKENS:SECONDS`."""
    rule = GRAMMAR[name]
    return name + ("@TOKENS" if rule.place else "") + (f":{rule.value.upper()}" if rule.value else "")


def _parse_one(text: str) -> tuple[str, Fault]:
    match = _NOTATION.fullmatch(text)
    if not match or match["name"] not in GRAMMAR:
        raise ValueError(f"unknown fault {text!r}; known: {', '.join(map(usage, GRAMMAR))}")
    name, rule = match["name"], GRAMMAR[match["name"]]
    if rule.place != (match["at"] is not None) or bool(rule.value) != (match["value"] is not None):
        raise ValueError(f"fault {text!r} is written {usage(name)}")
    fault = Fault(int(match["at"] or 0), float(match["value"] or 0))
    _check(name, rule, fault)
    return name, fault


def _check(name: str, rule: Rule, fault: Fault) -> None:
    if rule.value in ("tokens", "bytes") and (fault.value < 1 or not fault.value.is_integer()):
        raise ValueError(f"fault {name}: {rule.value} must be a whole number from 1")
    if rule.value == "status" and not (fault.value.is_integer() and 400 <= fault.value <= 599):
        raise ValueError(f"fault {name}: status must be 400 to 599")
