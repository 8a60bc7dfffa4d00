"""`Cause`: what limits a system at one of its numbers, with the evidence and the alternatives that the data exclude."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from llmlocust.text.message import Message, message, term

NAMES: dict[str, Message] = {
    "slots": term("limit of concurrent requests"),
    "kv_cache": term("KV cache"),
    "prefill": term("prefill"),
    "decode": term("decode"),
    "compute": term("computation"),
    "front_end": term("front end"),
    "network": term("network"),
    "rate_limit": term("rate limit"),
    "proxy": term("proxy"),
    "cold_start": term("cold start"),
    "prefix_cache": term("prefix cache"),
    "power": term("power or heat"),
    "tenant": term("another program on the GPU"),
    "client": term("load generator"),
    "think_time": term("think time"),
    "outage": term("outage"),
}
"""The causes, by key."""


class Degree(StrEnum):
    """How well the data show a cause."""

    SHOWN = "shown"
    """Two or more independent witnesses, one of them a change, at least one from the server's side; the main alternatives
    are excluded by data."""
    SUSPECTED = "suspected"
    """One witness, or the load generator's figures alone, or an alternative that the data do not exclude."""
    UNKNOWN = "unknown"


DEGREES: dict[Degree, Message] = {
    Degree.SHOWN: message("shown by the data"),
    Degree.SUSPECTED: message("suspected"),
    Degree.UNKNOWN: message("not known"),
}


@dataclass(frozen=True)
class Evidence:
    """A figure that speaks for a cause."""

    source: str
    """The source of telemetry, or the load generator."""
    metric: str
    """A key of the vocabulary of telemetry, or a metric of llmlocust."""
    says: str


@dataclass(frozen=True)
class Excluded:
    """A cause that the data exclude."""

    key: str
    says: str


@dataclass(frozen=True)
class Cause:
    """The reason why a system reaches a number or a cliff."""

    key: str | None
    """A key of NAMES; None if the cause is not known."""
    degree: Degree
    says: str
    evidence: tuple[Evidence, ...] = ()
    excluded: tuple[Excluded, ...] = ()

    @property
    def is_known(self) -> bool:
        return self.key is not None


@dataclass(frozen=True)
class Causes:
    """The causes of a verdict: those of the four numbers by name, and those of the cliffs in their order."""

    numbers: dict[str, Cause]
    cliffs: tuple[Cause, ...] = ()

    def __getitem__(self, number: str) -> Cause:
        return self.numbers[number]
