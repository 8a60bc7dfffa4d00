"""Load shapes for locustfiles: `SteppedRamp`, `RateRamp`, and `Search`, which finds its levels itself."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import gevent
from locust import LoadTestShape
from locust.env import Environment
from locust.runners import STATE_INIT, STATE_RUNNING, STATE_SPAWNING, WORKER_REPORT_INTERVAL, MasterRunner

from llmlocust.load.arrivals import Process
from llmlocust.load.curves import BEGAN, DONE, ENDED, HOLD, RAMP, SETTLED, Staircase
from llmlocust.load.replays import NEXT, Windows
from llmlocust.numbers.levels import RATE, USERS
from llmlocust.plugin import console, replaying
from llmlocust.plugin.listeners import plugin_of
from llmlocust.plugin.options import levels as option_levels
from llmlocust.plugin.options import option, ramp_setting
from llmlocust.plugin.run import Run
from llmlocust.plugin.searching import Searching

_FASTEST_SPAWN = 100.0
_LONGER_THAN_DRAIN = 30.0
_TICK = 1.0
"""Locust asks a shape so often."""


class SteppedRamp(LoadTestShape):
    """Users in levels, each held for a while that starts when its users are really there.

    With `arrivals`, levels are requests a second instead: open load (docs/open-load.md). Attributes that are None are
    taken from the options (`--llm-levels`, `--llm-settle`, `--llm-hold`, `--llm-drain`, and where `--llm-rate` is
    given, `--llm-arrivals`). With `--llm-search` the levels are those of a `Search`.
    """

    abstract: ClassVar[bool] = True

    levels: Sequence[float] | None = None
    settle: float | None = None
    hold: float | None = None
    drain: float | None = None
    arrivals: str | None = None
    """How requests arrive: constant, poisson, gamma:CV or bursts:N."""
    most_in_flight: int | None = None
    """Requests that a load process lets be in flight, in open load."""

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
            self.planned_levels() if self._searching is None else (),
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
            run.plan = {"unit": self.unit, "levels": list(stairs.levels), "settle": stairs.settle, "hold": stairs.hold}
        if self.unit == RATE:
            run.open(self._arrivals(), int(self._setting("most_in_flight")))
        if replay := replaying.asked_for(run.environment):
            self._stairs = replaying.take_over(replay, stairs, run)
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
                first = self._new_search().search.load if self.searches() else self.planned_levels()[0]
            except ValueError as problem:  # from the web form
                plugin_of(self.runner.environment).refuse(str(problem))
                return None
            # nothing may be due in a trace's first window
            return self._users_for(first or 1.0), _rate(first, self.runner.worker_count)
        self._advance()
        if self._stairs.phase == DONE:
            assert self._run is not None
            self._run.through = True
            return None
        return self._users_for(self._stairs.target), _rate(self._stairs.step, self.runner.worker_count)

    def _advance(self) -> None:
        assert self._stairs is not None
        assert self._run is not None
        if self._searching:
            self._searching.look()
        for change in self._stairs.advance(time.monotonic(), self._there()):
            if change.what == BEGAN:
                self._run.begin_level(self._stairs.levels[change.level], self.unit)
                if self._searching:
                    self._searching.level_began()
                    if self.unit == RATE:
                        self._has_drained()
            elif change.what == SETTLED:
                self._run.settle_level(reached=change.reached)
            elif change.what == NEXT:
                self._run.next_level(self._stairs.levels[change.level], self.unit)
            elif change.what == ENDED:
                self._run.end_level()
        if isinstance(self._stairs, Windows) and self._stairs.phase == HOLD:
            left = self._stairs.next_change - time.monotonic()
            if left < _TICK:  # a window ends when it ends, and not at Locust's next look
                gevent.spawn_later(max(left, 0.0), self._advance_if_on)

    def _advance_if_on(self) -> None:
        if self.runner is not None and self.runner.state in (STATE_SPAWNING, STATE_RUNNING):
            self._advance()

    def planned_levels(self) -> list[float]:
        """ValueError where the options cannot be meant."""
        assert self.runner is not None
        if replay := replaying.asked_for(self.runner.environment):
            return replaying.windows_of(replay, self.runner.environment)[1]
        return list(self.levels or option_levels(self.runner.environment, is_rate=self.unit == RATE))

    # ── open load ──

    @property
    def is_open(self) -> bool:
        """Its levels are rates, whatever the options say."""
        return self.arrivals is not None

    @property
    def unit(self) -> str:
        """Of the levels: users, or requests a second."""
        assert self.runner is not None
        environment = self.runner.environment
        is_open = self.is_open or option(environment, "rate") > 0.0 or ramp_setting(environment, "trace")
        return RATE if is_open else USERS

    def _arrivals(self) -> str:
        """ValueError where they cannot be meant."""
        told = str(self._setting("arrivals"))
        Process.parse(told)
        return told

    def _users_for(self, load: float) -> int:
        """Users to ask Locust for. Those of a rate are streams: one in each process, or of several classes as many as
        their weights say.
        """
        if self.unit == USERS or not load:
            return int(load)
        assert self.runner is not None
        processes = self.runner.worker_count if isinstance(self.runner, MasterRunner) else 1
        return max(processes, 1) * _streams_a_process(self.runner.environment)

    def _there(self) -> float:
        """How much of the load is there: a rate is, as soon as its streams are; NaN: neither enough nor little enough."""
        assert self._stairs is not None
        users, target = self.get_current_user_count(), self._stairs.target
        if self.unit == USERS or self._stairs.phase != RAMP or not target:
            return users
        return target if users >= self._users_for(target) and self._has_drained() else math.nan

    def _has_drained(self) -> bool:
        """A search's rates rise and fall: nothing is sent until what a higher one left is answered."""
        if not self._searching:
            return True
        assert self._run is not None
        drained = self._searching.has_drained
        self._run.pause_arrivals(on=not drained)
        return drained

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


class RateRamp(SteppedRamp):
    """Requests a second in levels, sent when they are due, whatever the server does: docs/open-load.md.

    Attributes that are None are taken from the options, as those of `SteppedRamp`.
    """

    abstract: ClassVar[bool] = True

    is_open = True


class TraceReplay(SteppedRamp):
    """Replays a recorded trace, in windows of `hold` seconds: docs/traces.md.

    Attributes that are None are taken from the options (`--llm-trace`, …).
    """

    abstract: ClassVar[bool] = True

    is_open = True
    trace: str | None = None
    """A file."""
    trace_speed: float | None = None
    """How many times as fast as it was recorded."""
    trace_from: float | None = None
    """Seconds of the trace that are left out at its beginning,"""
    trace_seconds: float | None = None
    """and how many are replayed; 0: all of the rest."""


class Search(SteppedRamp):
    """Looks for the most users, or the highest rate, that keeps `limits`, or without them for capacity: docs/search.md.

    Attributes that are None are taken from the options (`--llm-search-limits`, `--llm-search-start`,
    `--llm-search-most`, `--llm-search-precision`, `--llm-search-hold`, `--llm-drain`).
    """

    abstract: ClassVar[bool] = True

    limits: str | None = None
    """Thresholds with commas between them; empty: capacity."""
    start: float | None = None
    """Users, or with `arrivals` requests a second, to begin with,"""
    most: float | None = None
    """and to go up to."""
    precision: float | None = None
    """How near to come to the limit, as a share of it; one user is the least. Rates are as fine as that needs."""
    shortest: float = 2.0
    """Seconds for which a level is measured at least,"""
    longest: float | None = None
    """and at most, unless its requests are long."""

    def searches(self) -> bool:
        return True


def _streams_a_process(environment: Environment) -> int:
    weights = [round(each.weight) for each in environment.user_classes if not each.fixed_count]
    return sum(weights) // math.gcd(*weights) if any(weights) else 1


def _rate(step: float, processes: int) -> float:
    """Spawn a level's new users within a second or two: Locust's master is deaf while it spawns, and warns above 100
    for each worker.
    """
    return min(max(step, 1.0), _FASTEST_SPAWN * max(processes, 1))
