"""Load shapes for locustfiles: `SteppedRamp`, and `Search`, which finds its levels itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

from locust import LoadTestShape
from locust.runners import STATE_INIT, WORKER_REPORT_INTERVAL, MasterRunner

from llmlocust.load.curves import BEGAN, DONE, ENDED, SETTLED, Staircase, parse_levels
from llmlocust.numbers.levels import USERS
from llmlocust.plugin import console
from llmlocust.plugin.listeners import plugin_of
from llmlocust.plugin.options import option
from llmlocust.plugin.run import Run
from llmlocust.plugin.searching import Searching

_FASTEST_SPAWN = 100.0
_LONGER_THAN_DRAIN = 30.0


class SteppedRamp(LoadTestShape):
    """Users in levels, each held for a while that starts when its users are really there.

    Attributes that are None are taken from the options (`--llm-levels`, `--llm-settle`, `--llm-hold`,
    `--llm-drain`). With `--llm-search` the levels are those of a `Search`.
    """

    abstract: ClassVar[bool] = True

    levels: Sequence[int] | None = None
    settle: float | None = None
    hold: float | None = None
    drain: float | None = None

    def __init__(self) -> None:
        super().__init__()
        self._stairs: Staircase | None = None
        self._searching: Searching | None = None
        self._run: Run | None = None

    def run_started(self, run: Run) -> None:
        """Locust's test started, with the users of the first level; called before any of them is."""
        self._run = run
        self._searching = self._new_search() if self.searches() else None
        self._stairs = stairs = Staircase(
            self._levels() if self._searching is None else (),
            settle=float(self._setting("settle")),
            hold=float(self._setting("hold")),
            # a level's last requests are counted where they end, and a worker's last report must have come
            grace=self._reports_take() + 1.0,
            # a worker may have missed that it is over; it is stopped then
            drain=float(self._setting("drain")) + _LONGER_THAN_DRAIN,
        )
        if self._searching:
            self._searching.take_over(stairs, run)
        else:
            run.plan = {"unit": USERS, "levels": list(stairs.levels), "settle": stairs.settle, "hold": stairs.hold}
        run.let_requests_end(float(self._setting("drain")))
        if getattr(run.environment.parsed_options, "run_time", None):
            console.say(
                "--run-time does nothing for a ramp: its length is that of its levels (--llm-hold, --llm-levels)"
            )
        self._advance()

    def tick(self) -> tuple[int, float] | None:
        assert self.runner is not None
        if self.runner.state == STATE_INIT or self._stairs is None:  # this very tick is what starts the test
            try:
                first = self._new_search().search.load if self.searches() else self._levels()[0]
            except ValueError as problem:  # from the web form
                plugin_of(self.runner.environment).refuse(str(problem))
                return None
            return int(first), _rate(first, self.runner.worker_count)
        self._advance()
        if self._stairs.phase == DONE:
            assert self._run is not None
            self._run.through = True
            return None
        return int(self._stairs.target), _rate(self._stairs.step, self.runner.worker_count)

    def _advance(self) -> None:
        assert self._stairs is not None
        assert self._run is not None
        if self._searching:
            self._searching.look()
        for change in self._stairs.advance(time.monotonic(), self.get_current_user_count()):
            if change.what == BEGAN:
                self._run.begin_level(self._stairs.levels[change.level])
                if self._searching:
                    self._searching.level_began()
            elif change.what == SETTLED:
                self._run.settle_level(reached=change.reached)
            elif change.what == ENDED:
                self._run.end_level()

    def _levels(self) -> list[int]:
        return list(self.levels or parse_levels(self._setting("levels")))

    def _reports_take(self) -> float:
        return WORKER_REPORT_INTERVAL if isinstance(self.runner, MasterRunner) else 0.0

    def searches(self) -> bool:
        """Whether the levels are those of a search."""
        assert self.runner is not None
        return bool(option(self.runner.environment, "search"))

    def _new_search(self) -> Searching:
        """ValueError where the settings cannot be meant."""
        assert self.runner is not None
        return Searching(self, self.runner.environment, lag=1.0 + self._reports_take())

    def _setting(self, name: str) -> Any:
        own = getattr(self, name)
        assert self.runner is not None
        return option(self.runner.environment, name) if own is None else own


class Search(SteppedRamp):
    """Looks for the most users that keep `limits`, or without them for capacity: docs/search.md.

    Attributes that are None are taken from the options (`--llm-search-limits`, `--llm-search-start`,
    `--llm-search-most`, `--llm-search-precision`, `--llm-search-hold`, `--llm-drain`).
    """

    abstract: ClassVar[bool] = True

    limits: str | None = None
    """Thresholds with commas between them; empty: capacity."""
    start: int | None = None
    """Users to begin with."""
    most: int | None = None
    """Users to go up to."""
    precision: float | None = None
    """How near to come to the limit, as a share of it; one user is the least."""
    shortest: float = 2.0
    """Seconds for which a level is measured at least,"""
    longest: float | None = None
    """and at most, unless its requests are long."""

    def searches(self) -> bool:
        return True


def _rate(step: float, processes: int) -> float:
    """Spawn a level's new users within a second or two: Locust's master is deaf while it spawns, and warns above 100
    for each worker.
    """
    return min(max(step, 1.0), _FASTEST_SPAWN * max(processes, 1))
