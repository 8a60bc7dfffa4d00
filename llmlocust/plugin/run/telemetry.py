"""`Telemetry`: notes what the system under test reports during a run. Without Locust.

A process of its own asks the sources and counts their answers (llmlocust.observe.program). This companion sends it the
levels, and takes its messages at each tick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeAlias

from llmlocust.load.curves import ENDED, WARMED_UP
from llmlocust.plugin import console
from llmlocust.plugin.run.companion import Companion, LevelChange
from llmlocust.plugin.run.state import RunState
from llmlocust.runfiles import formats
from llmlocust.runfiles.writer import RunFiles

_MAX_BEGIN = 6.0
"""Seconds that the load waits for the first answers of the sources, so that no request comes before them. The process
itself waits for a slow source for two."""
_MAX_END = 5.0
"""Seconds that the end of a run waits for the last messages of the observing process."""
_LOOK = 0.02
_FRESH = 5.0
"""Seconds for which the live view shows values of sources that are silent."""
_AT_ONCE = 10 * 2**20
_PER_SECOND = 40 * 2**20 / 86400
"""Bytes of rows in the file of telemetry: at once, and per second of the run. A day has 50 MB: later scrapes are then
left out evenly, while the figures by level use all of them."""
_MAX_EVENTS = 1000

Write: TypeAlias = Callable[[Callable[[RunFiles], None]], None]


class ObservingProcess(Protocol):
    """The process that asks the sources."""

    def send(self, command: Mapping[str, Any]) -> None:
        """Send a command. A process that has ended ignores it."""

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages that have arrived, without waiting."""

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended, and all of its messages were returned."""

    def close(self) -> None:
        """End the process."""


class Telemetry(Companion):
    """The telemetry of a run."""

    def __init__(self, start: Callable[[], ObservingProcess], write: Write) -> None:
        """`start` starts the process; `write` writes to the files of the run."""
        self._start, self._write = start, write
        self._sources: list[Any] = []
        self._events: list[Any] = []
        self._levels: dict[int, list[Any]] = {}
        """The rows of the table of levels, by level."""
        self._room = float(_AT_ONCE)
        """Bytes that the file of telemetry may grow now."""
        self._moment = 0.0
        self._heard = 0.0
        """The moment of the last values."""
        self._cpu: float | None = None
        """CPU seconds of the process without its start, known at the end."""
        self._is_ready = self._is_done = False

    def begins(self, run: RunState) -> None:
        super().begins(run)
        self._process = self._start()
        self._wait(_MAX_BEGIN, lambda: self._is_ready)

    def level(self, change: LevelChange) -> None:
        if change.what not in (WARMED_UP, ENDED) or change.level.warmed_up is None:
            return
        do = "begin" if change.what == WARMED_UP else "end"
        self._process.send({"do": do, "level": change.level.index, "time": self.run.began + change.moment})

    def tick(self, moment: float) -> None:
        self._room = min(float(_AT_ONCE), self._room + (moment - self._moment) * _PER_SECOND)
        self._moment = moment
        self._take()
        if moment - self._heard > _FRESH:
            self.run.telemetry_now = {}

    def ends(self, run: RunState) -> None:
        self._process.send({"do": "finish"})
        self._wait(_MAX_END, lambda: self._is_done)
        self._process.close()
        run.telemetry_now = {}

    def _wait(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Take messages until a condition is met, for some seconds at most."""
        until = self.run.moment() + seconds
        self._take()
        while not (is_over() or self._process.has_ended) and self.run.moment() < until:
            self.run.cluster.sleep(_LOOK)
            self._take()

    def _take(self) -> None:
        for message in self._process.messages():
            self._handle(message)

    def _handle(self, message: Mapping[str, Any]) -> None:
        if "rows" in message:
            self.run.telemetry_now = message["values"]
            self._heard = self.run.moment()
            self._append(message["rows"])
        elif "levels" in message:
            self._levels[message["level"]] = message["levels"]
            rows = [row for level in sorted(self._levels) for row in self._levels[level]]
            self._write(partial(RunFiles.rewrite, name=formats.TELEMETRY_LEVELS, rows=rows))
        elif "says" in message:
            console.say(message["says"])
        elif "sources" in message:
            self._sources = message["sources"]
        elif "event" in message:
            self._events = [*self._events, message["event"]][-_MAX_EVENTS:]
        self._is_ready = self._is_ready or "ready" in message
        self._is_done = self._is_done or "done" in message
        if "cpu" in message:
            self._cpu = message["cpu"]
        if self._sources:
            self.run.telemetry = {"sources": self._sources, "events": self._events, "cpu_seconds": self._cpu}

    def _append(self, rows: list[list[Any]]) -> None:
        """Append rows to the file of telemetry if they fit into its size."""
        size = sum(len(str(cell)) + 1 for row in rows for cell in row)
        if rows and size <= self._room:
            self._room -= size
            self._write(partial(RunFiles.append, name=formats.TELEMETRY, rows=rows))
