"""`Source`: the base class of the sources of telemetry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

MAX_BYTES = 16 * 2**20
"""Maximum bytes of an answer. A longer one is an error of the source."""
TIMEOUT = 5.0
"""Seconds that a scrape may take."""


class SourceError(Exception):
    """A source did not answer, or not with telemetry. The message is one line that names the reason and the remedy."""


class Scrape(NamedTuple):
    """The report of a source at a moment."""

    time: float
    """Epoch seconds at which the values were valid: the middle of the request, or the source's own time."""
    text: bytes
    """Prometheus' text format, version 0.0.4."""


class Source(ABC):
    """A source of telemetry. It is used by one thread, which a slow source may block."""

    name: str
    """Short name on pages and in the files of a run, without credentials: "127.0.0.1:8000", "gpu", "process vllm"."""
    url: str
    """The address as a user would write it, without credentials."""
    server: str = ""
    """The server that it describes, "HOST:PORT": its sources have one event for one interruption. Empty: no other source does."""
    is_beside: bool = False
    """Whether it describes the server from outside, such as its process, and also answers while the server does not."""
    version: str = ""
    """The version of the server, where its metrics do not contain it."""
    settings: Mapping[str, str] = MappingProxyType({})
    """Settings of the server that its metrics do not contain, by the name of the option."""
    notice: str = ""
    """One line about values that the source cannot read, set by a scrape that succeeds; empty if it reads everything."""

    @abstractmethod
    def scrape(self) -> list[Scrape]:
        """Return what the source reports now, oldest first; nothing if it has nothing new. Raises SourceError."""

    def close(self) -> None:  # noqa: B027  # most sources keep nothing open
        """Release connections."""
