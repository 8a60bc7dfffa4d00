"""`Companion`: what goes along with a run: its files, its gates, views of it, telemetry, faults.

A run keeps a list of companions and knows none of them. Each hook of a companion is guarded: an exception in one costs
none of the others. The log has it once, and the run goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from llmlocust.metrics.levels import Level
from llmlocust.plugin.run.state import RunState

_log = logging.getLogger(__name__)


class LevelChange(NamedTuple):
    """A level began, warmed_up or ended. Where the next level follows without a break, all three have one moment."""

    what: str
    """BEGAN, WARMED_UP or ENDED of load.curves."""
    level: Level
    moment: float
    """Seconds since the run began."""


class Companion:
    """Goes along with a run. A subclass overrides the hooks that it needs; none may block the event loop."""

    run: RunState
    """The run, from `begins` on."""

    def begins(self, run: RunState) -> None:
        """Called once, before the first level and before the workers hear of the run. The plan is not known yet."""
        self.run = run

    def level(self, change: LevelChange) -> None:
        """Called after a level has changed and the workers have been told, in the order in which companions were added."""

    def tick(self, moment: float) -> None:
        """Called every second, after what this process has counted was merged, in the order in which companions were
        added. `moment`: seconds since the run began.
        """

    def ends(self, run: RunState) -> None:
        """Called once, when everything has come in that will. Those that were added last come first, so the files, added
        first, have what the others note at the end.
        """


class Guard:
    """Calls steps. The log has the first exception of each."""

    def __init__(self) -> None:
        self._failed: set[Callable[..., None]] = set()

    def call(self, step: Callable[..., None], *arguments: Any) -> None:
        """Call a bound method."""
        try:
            step(*arguments)
        except Exception:  # a defect of ours, or of a companion: the run goes on
            if step not in self._failed:
                self._failed.add(step)
                _log.exception("%s.%s failed; the run goes on", type(step.__self__).__name__, step.__name__)  # type: ignore[attr-defined]
