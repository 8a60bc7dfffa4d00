"""A trace's replay in a run (load.replays): its levels on the one side, and who sends which rows on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from locust.env import Environment

from llmlocust.load.curves import Staircase
from llmlocust.load.trace_windows import Windows
from llmlocust.load.traces import Deal, Replay, open_trace
from llmlocust.metrics.levels import RATE
from llmlocust.plugin.generator.collector import Collector
from llmlocust.plugin.options import option
from llmlocust.plugin.settings import replay_windows

if TYPE_CHECKING:
    from llmlocust.plugin.run.run import Run

_NS = 1_000_000_000
AHEAD = 2.0
"""Seconds from which on rows are dealt anew: by then, every load process knows."""


def take_over(replay: Replay, stairs: Staircase, run: Run) -> Windows:
    """The run is a replay: what its shape goes through instead of a staircase."""
    hold, levels = replay_windows(replay, run.environment)
    told = {"rows": replay.rows, "speed": replay.speed, "shared": replay.trace.has_blocks}
    run.plan = {"unit": RATE, "levels": levels, "settle": 0.0, "hold": hold, "trace": told}
    run.replay(replay)
    return Windows(levels, settle=0.0, hold=hold, grace=stairs.grace, drain=stairs.drain)


def salt(environment: Environment, run: str) -> str:
    """So that a server's prefix cache knows a run's shared texts from no run before, unless that is wanted."""
    return (option(environment, "seed") or run) if option(environment, "unique") else ""


# ── between the run and those who send ──


class Rows:
    """What a run knows of who sends which rows."""

    def __init__(self, replay: Replay, salt: str) -> None:
        self.replay, self._salt = replay, salt
        self._began: float | None = None
        self._since = 0.0
        self._is_dealt = False

    def begin(self, moment: float) -> None:
        self._began = moment

    def deal(self, moment: float) -> None:
        """Load processes came or went: others have the rows that are due from a little later on."""
        if self._began is not None and self._is_dealt:
            self._since = moment - self._began + AHEAD
        self._is_dealt = self._began is not None

    def count(self, since: float, until: float) -> int:
        """Return the number of rows that are due between two moments of the run."""
        return 0 if self._began is None else self.replay.count(since - self._began, max(since, until) - self._began)

    def told(self, moment: float, stream: int, streams: int) -> dict[str, Any]:
        """A message to one of them. Before the replay begins, it asks to open the trace."""
        replay = self.replay
        return {
            "trace": [replay.trace.path, replay.speed, replay.start, replay.length],
            "mark": replay.trace.mark,
            "began": None if self._began is None else moment - self._began,
            "deal": [self._since, stream, streams],
            "salt": self._salt,
        }


def take_part(collector: Collector, told: dict[str, Any], came_ns: int) -> None:
    """What such a message asks for. ValueError in one line where the trace is not here, or another."""
    collector.open_load.on = True
    path, *stretch = told["trace"]
    replay = Replay(open_trace(path), *stretch)
    if replay.trace.mark != told["mark"]:
        raise ValueError(f"{path} has other rows than the master's")
    began_ns = None if told["began"] is None else came_ns - int(told["began"] * _NS)
    collector.open_load.replay(replay, began_ns, Deal(*told["deal"]), told["most_in_flight"], told["salt"])
