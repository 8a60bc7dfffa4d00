"""`Rows`: which process sends which rows of a replayed trace, and the message that tells it. Without Locust."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from llmlocust.load.traces import Deal, Replay, open_trace

_NS = 1_000_000_000
AHEAD = 2.0
"""Seconds from which on rows are assigned anew: by then, every process knows."""


class Rows:
    """The rows of a replay, as the run assigns them."""

    def __init__(self, replay: Replay, salt: str) -> None:
        self.replay, self._salt = replay, salt
        self._began: float | None = None
        self._since = 0.0
        self._is_assigned = False

    def begin(self, moment: float) -> None:
        self._began = moment

    def assign(self, moment: float) -> None:
        """Processes came or went: other processes have the rows that are due from a little later on."""
        if self._began is not None and self._is_assigned:
            self._since = moment - self._began + AHEAD
        self._is_assigned = self._began is not None

    def count(self, since: float, until: float) -> int:
        """Return the number of rows that are due between two moments of the run."""
        return 0 if self._began is None else self.replay.count(since - self._began, max(since, until) - self._began)

    def message(self, moment: float, stream: int, streams: int) -> dict[str, Any]:
        """Return the message to one process. Before the replay begins, it asks to open the trace."""
        replay = self.replay
        return {
            "trace": [replay.trace.path, replay.speed, replay.start, replay.length],
            "mark": replay.trace.mark,
            "began": None if self._began is None else moment - self._began,
            "deal": [self._since, stream, streams],
            "salt": self._salt,
        }


class Replayer(Protocol):
    """The open load of a process."""

    on: bool

    def replay(self, replay: Replay, began_ns: int | None, deal: Deal, max_in_flight: int, salt: str) -> None: ...


def take_rows_of(open_load: Replayer, message: Mapping[str, Any], came_ns: int) -> None:
    """Do what such a message asks for. ValueError in one line where the trace is not on this machine, or another one."""
    open_load.on = True
    path, *stretch = message["trace"]
    replay = Replay(open_trace(path), *stretch)
    if replay.trace.mark != message["mark"]:
        raise ValueError(f"{path} has other rows than the master's")
    began_ns = None if message["began"] is None else came_ns - int(message["began"] * _NS)
    open_load.replay(replay, began_ns, Deal(*message["deal"]), message["max_in_flight"], message["salt"])


def salt(options: Mapping[str, Any], run_id: str) -> str:
    """Return a text that a server's prefix cache knows from no run before; empty where the options want no such text."""
    return (options["llm_seed"] or run_id) if options["llm_unique"] else ""
