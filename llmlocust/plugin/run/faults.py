"""`Faults`: injects the faults of a run's plan, and notes when. Without Locust.

A process of its own injects and lifts them (llmlocust.faults.program), so that it can lift them even if this process is
killed. This companion sends it the moments that the plan refers to, and takes its messages at each tick.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from llmlocust.faults.program import window_of
from llmlocust.faults.schedule import anchor_of
from llmlocust.load.curves import WARMED_UP
from llmlocust.metrics.stop_condition import StopCondition
from llmlocust.plugin import console
from llmlocust.plugin.run.companion import Companion, LevelChange
from llmlocust.plugin.run.state import RunState
from llmlocust.text.message import message

_MAX_END = 30.0
"""Seconds that the end of a run waits until all faults are lifted and confirmed to be over."""
_PATIENCE = 5.0
"""Seconds for which the process may end after that."""
_LOOK = 0.05


class InjectingProcess(Protocol):
    """The process that injects faults."""

    def send(self, command: Mapping[str, Any]) -> None:
        """Send a command. A process that has ended ignores it."""

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages that have arrived, without waiting."""

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended, and all of its messages were returned."""

    def close(self, patience: float = 0.0) -> None:
        """End the process."""


class Faults(Companion):
    """The faults of a run."""

    def __init__(
        self,
        process: InjectingProcess,
        *,
        undo: Callable[[list[Any]], None],
        end: Callable[[], None],
        stop: StopCondition | None = None,
    ) -> None:
        """`process` is ready. `undo` lifts faults of a process that was killed. `end` starts the end of the run, and returns
        at once. `stop` is the condition on which faults and run end.
        """
        self._process, self._undo, self._end, self._stop = process, undo, end, stop
        self._windows: dict[str, dict[str, Any]] = {}
        self._undos: dict[str, Any] = {}
        """How to lift the faults that act now, by their ids."""
        self._anchors: set[str] = set()
        self._beyond_since = math.nan
        """The moment since which a value of telemetry meets the stop condition; NaN if it does not."""
        self._is_lifted = self._is_done = False

    def begins(self, run: RunState) -> None:
        super().begins(run)
        run.faults = []
        self._start("run", run.began)

    def level(self, change: LevelChange) -> None:
        if change.what != WARMED_UP:
            return
        moment = self.run.began + change.moment
        self._start(anchor_of(f"level {change.level.load!r}"), moment)
        if change.level.phase:
            self._start(f"phase {change.level.phase}", moment)

    def _start(self, anchor: str, moment: float) -> None:
        """Send a moment that faults may refer to. A level or phase that occurs again is not a new one."""
        if anchor not in self._anchors:
            self._anchors.add(anchor)
            self._process.send({"do": "start", "anchor": anchor, "time": moment})

    def tick(self, moment: float) -> None:
        self._take()
        if self._process.has_ended and not self._is_done:
            self._is_done = True
            self._undo_all()
            self.run.problem(message("The process that injects faults ended too early. Its faults were lifted."))
            self._end()
        elif self.run.ended is not None:  # in the web UI, the process lives until the next run or the end of Locust
            self._lift()
        elif self._stop and not self.run.ended_by and self._must_stop(self._stop, moment):
            self._lift()
            self.run.ended_by = self._stop.text
            console.say(f"  {self._stop.text}: faults are lifted, and the run ends here (--llm-fault-stop)")
            self._end()

    def _lift(self) -> None:
        """Lift all faults, and inject no more."""
        if not self._is_lifted:
            self._is_lifted = True
            self._process.send({"do": "lift"})

    def _must_stop(self, stop: StopCondition, moment: float) -> bool:
        if not stop.threshold.is_telemetry:
            return stop.too_many_errors(self.run.ledger.seconds, int(moment - self.run.lag))
        value = self.run.telemetry_now.get(stop.threshold.metric, math.nan)
        if math.isnan(value) or stop.threshold.met_by(value):
            self._beyond_since = math.nan
        elif math.isnan(self._beyond_since):
            self._beyond_since = moment
        return moment - self._beyond_since >= stop.seconds

    def ends(self, run: RunState) -> None:
        self._process.send({"do": "finish"})
        until = run.moment() + _MAX_END
        self._take()
        while not (self._is_done or self._process.has_ended) and run.moment() < until:
            run.cluster.sleep(_LOOK)
            self._take()
        self._process.close(_PATIENCE)
        self._take()
        self._undo_all()

    def _undo_all(self) -> None:
        """Lift the faults that the process has left behind."""
        if self._undos:
            self._undo(list(self._undos.values()))
            self._undos.clear()

    def _take(self) -> None:
        for content in self._process.messages():
            self._handle(content)

    def _handle(self, content: Mapping[str, Any]) -> None:
        if "fault" in content:
            window = dict(vars(window_of(content["fault"])))  # asdict would copy messages to plain text
            self._windows[window["id"]] = window
            self.run.faults = list(self._windows.values())
        elif "undo" in content:
            self._undos[content["undo"]["id"]] = content["undo"]
        elif "undone" in content:
            self._undos.pop(content["undone"], None)
        elif "says" in content:
            console.say(content["says"])
        self._is_done = self._is_done or "done" in content
