"""`Rows`: assigns the rows of a replayed trace to processes, and makes the messages for them. Without Locust."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from llmlocust.load.traces import Replay, TraceShare, open_trace

_NS = 1_000_000_000
AHEAD = 2.0
"""Seconds after which a new assignment of rows applies: by then, every process has received it."""


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
        """Assign the rows again, because processes joined or left. This applies `AHEAD` seconds later."""
        if self._began is not None and self._is_assigned:
            self._since = moment - self._began + AHEAD
        self._is_assigned = self._began is not None

    def count(self, since: float, until: float) -> int:
        """Return the number of rows that are due between two moments of the run."""
        return 0 if self._began is None else self.replay.count(since - self._began, max(since, until) - self._began)

    def message(self, moment: float, stream: int, streams: int) -> dict[str, Any]:
        """Return the message for one process. Before the replay begins, it makes the process open the trace."""
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

    def replay(
        self, replay: Replay, began_ns: int | None, share: TraceShare, max_in_flight: int, salt: str
    ) -> None: ...


def take_rows_of(open_load: Replayer, message: Mapping[str, Any], received_ns: int) -> None:
    """Handle a message of `Rows.message` that was received at `received_ns`.

    Raises ValueError, in one line, if this machine does not have the trace, or has a different one.
    """
    open_load.on = True
    path, *stretch = message["trace"]
    replay = Replay(open_trace(path), *stretch)
    if replay.trace.mark != message["mark"]:
        raise ValueError(f"{path} has other rows than the master's")
    began_ns = None if message["began"] is None else received_ns - int(message["began"] * _NS)
    open_load.replay(replay, began_ns, TraceShare(*message["deal"]), message["max_in_flight"], message["salt"])


def salt(options: Mapping[str, Any], run_id: str) -> str:
    """Return a text that makes prompts differ from those of earlier runs; empty if the options allow equal prompts.

    A server's prefix cache then contains none of them.
    """
    return (options["llm_seed"] or run_id) if options["llm_unique"] else ""
