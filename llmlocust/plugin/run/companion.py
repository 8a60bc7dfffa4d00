"""`Companion`: the base class of what accompanies a run: files, gates, views, telemetry, faults.

A run keeps a list of companions and knows none of them. Each hook of a companion is guarded: an exception in one affects
no other. It is logged once, and the run continues.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from llmlocust.metrics.levels import Level
from llmlocust.plugin.run.state import RunState

_log = logging.getLogger(__name__)


class LevelChange(NamedTuple):
    """A level began, ended its warm-up, or ended. If the next level follows without a break, all have the same moment."""

    what: str
    """BEGAN, WARMED_UP or ENDED of load.curves."""
    level: Level
    moment: float
    """Seconds since the run began."""


class Companion:
    """Accompanies a run. A subclass overrides the hooks that it needs; none of them may block the event loop."""

    run: RunState
    """The run; set by `begins`."""

    def begins(self, run: RunState) -> None:
        """Handle the beginning of a run.

        Called once, before the first level and before the workers receive the run. The plan is not known yet.
        """
        self.run = run

    def level(self, change: LevelChange) -> None:
        """Handle a level change.

        Called after the workers were notified, in the order in which companions were added.
        """

    def tick(self, moment: float) -> None:
        """Handle one second. `moment`: seconds since the run began.

        Called after the figures of this process were merged, in the order in which companions were added.
        """

    def ends(self, run: RunState) -> None:
        """Handle the end of the run.

        Called once, when all figures have arrived, in the reverse order: the files, which are added first, then contain
        the last notes of the other companions.
        """


class Guard:
    """Calls steps, and logs the first exception of each."""

    def __init__(self) -> None:
        self._failed: set[Callable[..., None]] = set()

    def call(self, step: Callable[..., None], *arguments: Any) -> None:
        """Call a bound method. An exception in it is logged, not raised."""
        try:
            step(*arguments)
        except Exception:  # a defect of ours, or of a companion: the run continues
            if step not in self._failed:
                self._failed.add(step)
                _log.exception("%s.%s failed; the run continues", type(step.__self__).__name__, step.__name__)  # type: ignore[attr-defined]
