"""Fault: the description of one fault of the proxy, and its notation. Pure.

    down                                      latency 200ms jitter 50ms upstream
    refuse on 20% of connections              status 503 retry-after 5s on 10% of requests

A kind with its values comes first. A share and a direction may follow, in any order. The response travels downstream, the
request upstream.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

CONNECTIONS, REQUESTS = "connections", "requests"
UPSTREAM, DOWNSTREAM, BOTH = "upstream", "downstream", "both"

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_BYTES = {"b": 1, "kb": 1000, "mb": 10**6, "gb": 10**9, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_MAX_SECONDS, _MAX_BYTES, _MAX_TOKENS = 86_400.0, 10**12, 10**9

_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,9})?"
_TIME = rf"(?:{_NUMBER})\s*(?:us|ms|s|m)"
_SIZE = rf"(?:{_NUMBER})\s*(?:[kmg]i?)?b(?:ytes?)?"


@dataclass(frozen=True)
class Fault:
    """One fault. Fields that its kind does not have are zero."""

    kind: str
    of: str = CONNECTIONS
    """Whether `share` is one of connections or of requests."""
    share: float = 1.0
    """From above 0 to 1."""
    direction: str = ""
    """UPSTREAM, DOWNSTREAM or BOTH; empty for a kind without a direction."""
    seconds: float = 0.0
    """Latency, delay of a close, pause between slices, or time for which a buffer keeps a response."""
    jitter: float = 0.0
    """Maximum difference from `seconds`, which is drawn evenly for each piece of data."""
    size: float = 0.0
    """Bytes: of a slice, before a cut, of a buffer; for bandwidth, per second."""
    tokens: int | None = None
    """Tokens before a cut; None for a cut after bytes."""
    status: int = 0
    retry_after: int | None = None
    """Seconds in the Retry-After header of a status; None: no header."""

    @property
    def needs_requests(self) -> bool:
        """Whether the proxy has to follow single requests for this fault, and not only connections."""
        return self.of == REQUESTS or self.kind in ("cut", "status", "buffer")

    @property
    def is_of_all(self) -> bool:
        return self.share >= 1.0

    def __str__(self) -> str:
        """Return the notation, which `parse` reads back."""
        grammar = _GRAMMAR[self.kind]
        words = [grammar.write(self)]
        if self.direction != grammar.direction:
            words.append(self.direction)
        if self.share < 1.0 or self.of != grammar.default_of:
            words.append(f"on {_plain(self.share * 100)}% of {self.of}")
        return " ".join(words)


def parse(text: str) -> Fault:
    """Read a fault. Raises ValueError with a one-line message that has a valid example."""
    shown = " ".join(text.split())[:80]
    body, share, direction = _without_options(" ".join(text.lower().split()))
    kind = _kind_of(body)
    if not kind:
        known = ", ".join(f"'{grammar.example}'" for grammar in _GRAMMAR.values())
        raise ValueError(f"unknown fault '{shown}'; write one like {known}")
    grammar = _GRAMMAR[kind]
    try:
        return _checked(_with_options(_read(grammar, body), grammar, share, direction))
    except ValueError as problem:
        raise ValueError(f"fault '{shown}': {problem}; write it like '{grammar.example}'") from None


class _Grammar(NamedTuple):
    """The notation of one kind."""

    pattern: str
    read: Callable[[re.Match[str]], Fault]
    write: Callable[[Fault], str]
    example: str
    of: tuple[str, ...] = (CONNECTIONS, REQUESTS)
    """The things of which a share may be, the default first; empty: the fault always concerns everything."""
    direction: str = ""
    """The default; empty: the kind has no direction."""

    @property
    def default_of(self) -> str:
        return self.of[0] if self.of else CONNECTIONS


_GRAMMAR: dict[str, _Grammar] = {
    "down": _Grammar(r"down", lambda _: Fault("down"), lambda _: "down", "down", ()),
    "refuse": _Grammar(
        r"refuse", lambda _: Fault("refuse"), lambda _: "refuse", "refuse on 20% of connections", (CONNECTIONS,)
    ),
    "reset": _Grammar(r"reset", lambda _: Fault("reset"), lambda _: "reset", "reset on 10% of requests"),
    "blackhole": _Grammar(
        r"black[ _-]?hole", lambda _: Fault("blackhole"), lambda _: "blackhole", "blackhole downstream", direction=BOTH
    ),
    "latency": _Grammar(
        rf"latency (?P<time>{_TIME})(?: jitter (?P<jitter>{_TIME}))?",
        lambda match: Fault("latency", seconds=_seconds(match["time"]), jitter=_seconds(match["jitter"] or "0s")),
        lambda fault: f"latency {_time(fault.seconds)}" + (f" jitter {_time(fault.jitter)}" if fault.jitter else ""),
        "latency 200ms jitter 50ms",
        direction=DOWNSTREAM,
    ),
    "bandwidth": _Grammar(
        rf"bandwidth (?P<size>{_SIZE}) ?(?:/|per) ?s",
        lambda match: Fault("bandwidth", size=_bytes(match["size"])),
        lambda fault: f"bandwidth {_size(fault.size)}/s",
        "bandwidth 100kB/s",
        direction=DOWNSTREAM,
    ),
    "slice": _Grammar(
        rf"slice (?P<size>{_SIZE}) every (?P<time>{_TIME})",
        lambda match: Fault("slice", size=_bytes(match["size"]), seconds=_seconds(match["time"])),
        lambda fault: f"slice {_size(fault.size)} every {_time(fault.seconds)}",
        "slice 16B every 5ms",
        direction=DOWNSTREAM,
    ),
    "slow_close": _Grammar(
        rf"slow[ _-]close (?P<time>{_TIME})",
        lambda match: Fault("slow_close", seconds=_seconds(match["time"])),
        lambda fault: f"slow_close {_time(fault.seconds)}",
        "slow_close 2s",
    ),
    "cut": _Grammar(
        rf"cut after (?:(?P<tokens>[0-9]{{1,10}}) ?tokens?|(?P<size>{_SIZE}))",
        lambda match: (
            Fault("cut", tokens=int(match["tokens"])) if match["tokens"] else Fault("cut", size=_bytes(match["size"]))
        ),
        lambda fault: f"cut after {_size(fault.size) if fault.tokens is None else f'{fault.tokens} tokens'}",
        "cut after 50 tokens",
        (REQUESTS, CONNECTIONS),
    ),
    "status": _Grammar(
        rf"status (?P<status>[0-9]{{3}})(?: retry-after (?P<after>{_TIME}))?",
        lambda match: Fault("status", status=int(match["status"]), retry_after=_whole_seconds(match["after"])),
        lambda fault: f"status {fault.status}" + ("" if fault.retry_after is None else f" retry-after {fault.retry_after}s"),
        "status 503 retry-after 5s on 10% of requests",
        (REQUESTS, CONNECTIONS),
    ),
    "buffer": _Grammar(
        rf"buffer until (?:(?P<end>end)|(?P<time>{_TIME})|(?P<size>{_SIZE}))",
        lambda match: Fault(
            "buffer",
            seconds=_seconds(match["time"] or "0s"),
            size=_bytes(match["size"] or "0b"),
        ),
        lambda fault: (
            f"buffer until {_size(fault.size) if fault.size else _time(fault.seconds) if fault.seconds else 'end'}"
        ),
        "buffer until end",
        (REQUESTS, CONNECTIONS),
    ),
}  # fmt: skip
KINDS = tuple(_GRAMMAR)

_SHARE = re.compile(rf" on (?P<share>{_NUMBER}) ?% of (?P<of>requests|connections)\b")
_DIRECTION = re.compile(r" (upstream|downstream|both)\b")


def _kind_of(body: str) -> str:
    """Return the kind that a text begins with; empty for an unknown one."""
    words = re.sub(r"\b(black|slow)[ -](hole|close)\b", r"\1_\2", body).replace("black_hole", "blackhole")
    first = words.partition(" ")[0]
    return first if first in _GRAMMAR else ""


def _without_options(text: str) -> tuple[str, re.Match[str] | None, str]:
    """Split off the share and the direction. Returns the rest, the match of the share, and the direction."""
    share, direction = _SHARE.search(text), _DIRECTION.search(text)
    body = _DIRECTION.sub("", _SHARE.sub("", text, count=1), count=1)
    return body.strip(), share, direction[1] if direction else ""


def _read(grammar: _Grammar, body: str) -> Fault:
    match = re.fullmatch(grammar.pattern, body)
    if not match:
        raise ValueError("its values cannot be read")
    return grammar.read(match)


def _with_options(fault: Fault, grammar: _Grammar, share: re.Match[str] | None, direction: str) -> Fault:
    """Return a fault with its share and direction. Raises ValueError if its kind has none."""
    of = share["of"] if share else grammar.default_of
    part = float(share["share"]) / 100 if share else 1.0
    if share and of not in grammar.of:
        raise ValueError(f"it cannot be limited to a share of {of}")
    if not 0 < part <= 1:
        raise ValueError("the share must be above 0% and at most 100%")
    if direction and not grammar.direction:
        raise ValueError("it has no direction")
    return replace(fault, share=part, of=of, direction=direction or grammar.direction)


def _checked(fault: Fault) -> Fault:
    if max(fault.seconds, fault.jitter, fault.retry_after or 0) > _MAX_SECONDS:
        raise ValueError("a time must be at most 24 hours")
    if fault.size > _MAX_BYTES or (fault.tokens or 0) > _MAX_TOKENS:
        raise ValueError("the number is too large")
    if fault.kind in ("bandwidth", "slice") and fault.size < 1:
        raise ValueError("the number of bytes must be at least 1")
    if fault.kind == "status" and not 400 <= fault.status <= 599:
        raise ValueError("the status must be 400 to 599")
    if fault.jitter > fault.seconds:
        raise ValueError("the jitter must not exceed the latency")
    return fault


def _seconds(text: str) -> float:
    number, unit = _amount(text)
    return number * _SECONDS[unit]


def _whole_seconds(text: str | None) -> int | None:
    if text is None:
        return None
    seconds = _seconds(text)
    if not seconds.is_integer():
        raise ValueError("Retry-After takes whole seconds")
    return int(seconds)


def _bytes(text: str) -> float:
    number, unit = _amount(re.sub(r"ytes?$", "", text))
    if not (number * _BYTES[unit]).is_integer():
        raise ValueError("a number of bytes must be whole")
    return number * _BYTES[unit]


def _amount(text: str) -> tuple[float, str]:
    number = re.match(_NUMBER, text)
    assert number, "the pattern of the kind has a number here"
    return float(number[0]), text[number.end() :].strip()


def _time(seconds: float) -> str:
    return f"{_plain(seconds * 1000)}ms" if 0 < seconds < 1 else f"{_plain(seconds)}s"


def _size(size: float) -> str:
    for unit, factor in (("MB", 10**6), ("kB", 1000)):
        if size >= factor and (size / factor).is_integer():
            return f"{size / factor:.0f}{unit}"
    return f"{size:.0f}B"


def _plain(number: float) -> str:
    """Return a number without an exponent and without zeros at the end."""
    return f"{number:.9f}".rstrip("0").rstrip(".")
