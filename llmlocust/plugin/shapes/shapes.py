"""Load shapes for locustfiles: `SteppedRamp` and `RateRamp`; `Search`, which finds its levels itself; and those whose
plan is made from a few settings (load.plans): `LinearRamp`, `Spike`, `Surge`, `Soak`, `Wave`, `Progressive`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import gevent
from locust import LoadTestShape
from locust.env import Environment
from locust.runners import STATE_INIT, STATE_RUNNING, STATE_SPAWNING, WORKER_REPORT_INTERVAL, MasterRunner

from llmlocust.load.arrivals import Process
from llmlocust.load.curves import BEGAN, DONE, ENDED, HOLD, RAMP, WARMED_UP, Staircase, parse_levels, parse_rates
from llmlocust.load.plans import SHAPES, PlanPhase
from llmlocust.load.trace_windows import NEXT, Windows
from llmlocust.metrics.levels import RATE, USERS
from llmlocust.plugin import console
from llmlocust.plugin.options import option
from llmlocust.plugin.run.run import Run
from llmlocust.plugin.session_interface import session_of
from llmlocust.plugin.settings import levels as option_levels
from llmlocust.plugin.settings import ramp_setting, replay_of, replay_windows, shape_setting
from llmlocust.plugin.shapes import replay_driver as replaying
from llmlocust.plugin.shapes.search_driver import Searching

_FASTEST_SPAWN = 100.0
_LONGER_THAN_DRAIN = 30.0
_TICK = 1.0
"""Locust asks a shape so often."""


class SteppedRamp(LoadTestShape):
    """Users in levels, each held for a while that starts when its users are really there.

    With `arrivals`, levels are requests a second instead: open load (docs/open-load.md). Attributes that are None are
    taken from the options (`--llm-levels`, `--llm-warmup`, `--llm-hold`, `--llm-drain`, and where `--llm-rate` is
    given, `--llm-arrivals`). With `--llm-search` the levels are those of a `Search`, with `--llm-shape` those of another
    shape.
    """

    abstract: ClassVar[bool] = True

    shape: str | None = None
    """Of the plan: stepped, or one of load.plans.SHAPES, which go by its settings and not by `levels`."""
    levels: Sequence[float] | None = None
    warmup: float | None = None
    hold: float | None = None
    drain: float | None = None
    requests: int | None = None
    """A fixed number of requests instead of `warmup` and `hold`, at one level; 0: none."""
    arrivals: str | None = None
    """How requests arrive: constant, poisson, gamma:CV or bursts:N."""
    max_in_flight: int | None = None
    """Requests that a load process lets be in flight, in open load."""

    def __init__(self) -> None:
        super().__init__()
        self._stairs: Staircase | None = None
        self._searching: Searching | None = None
        self._run: Run | None = None
        self._requests = 0
        self._phases: list[PlanPhase] = []
        """One for each level."""

    def run_started(self, run: Run) -> None:
        """Locust's test started, with the users of the first level; called before any of them is."""
        assert self.runner is not None
        self._run = run
        self._searching = self._new_search() if self.searches() else None
        self._requests = int(self._setting("requests"))
        plan = [] if self._searching else self.plan()
        self._phases = [phase for phase in plan for _ in phase.loads]
        self._stairs = stairs = Staircase(
            [load for phase in plan for load in phase.loads],
            warmup=plan[0].warmup if plan else 0.0,  # each phase has its own, and a search, too
            hold=plan[0].hold if plan else 0.0,
            # a level's last requests are counted where they end, and a worker's last report must have come
            grace=self._reports_take() + 1.0,
            # a worker may have missed that it is over; it is stopped then
            drain=float(self._setting("drain")) + _LONGER_THAN_DRAIN,
        )
        if self._searching:
            self._searching.take_over(stairs, run)
        else:
            run.plan = self._told(plan)
        if self._requests:
            run.assignment.count_requests(self._requests)
        if self.unit == RATE:
            run.assignment.open(self._arrivals(), int(self._setting("max_in_flight")))
        if replay := replay_of(self.runner.environment):
            self._stairs = replaying.take_over(replay, stairs, run, self.runner.environment)
        run.let_requests_end(float(self._setting("drain")))
        if getattr(self.runner.environment.parsed_options, "run_time", None):
            console.say(
                "--run-time does nothing for a ramp: its length is that of its levels (--llm-hold, --llm-levels), or "
                "--llm-shape-seconds"
            )
        self._advance()

    def tick(self) -> tuple[int, float] | None:
        assert self.runner is not None
        if self.runner.state == STATE_INIT or self._stairs is None:  # this very tick is what starts the test
            try:
                first = self._first_load()
            except ValueError as problem:  # from the web form
                session_of(self.runner.environment).refuse(str(problem))
                return None
            # nothing may be due in a trace's first window
            return self._users_for(first or 1.0), _rate(first, self._processes())
        self._advance()
        if self._stairs.state == DONE:
            assert self._run is not None
            self._run.through = True
            return None
        return self._users_for(self._stairs.target), _rate(self._stairs.step, self._processes())

    def _advance(self) -> None:
        assert self._stairs is not None
        assert self._run is not None
        if self._searching:
            self._searching.look()
        if self._requests and self._run.assignment.all_requests_ended:
            self._stairs.hold = 0.0
        for change in self._stairs.advance(time.monotonic(), self._there()):
            if change.what == BEGAN:
                phase = self._begin_phase(change.level)
                self._run.begin_level(self._stairs.levels[change.level], self.unit, phase)
                if self._searching:
                    self._searching.level_began()
                    if self.unit == RATE:
                        self._has_drained()
            elif change.what == WARMED_UP:
                self._run.end_warmup(reached=change.reached)
            elif change.what == NEXT:
                self._run.next_level(self._stairs.levels[change.level], self.unit)
            elif change.what == ENDED:
                self._run.end_level()
        if isinstance(self._stairs, Windows) and self._stairs.state == HOLD:
            left = self._stairs.next_change - time.monotonic()
            if left < _TICK:  # a window ends when it ends, and not at Locust's next look
                gevent.spawn_later(max(left, 0.0), self._advance_if_on)

    def _advance_if_on(self) -> None:
        if self.runner is not None and self.runner.state in (STATE_SPAWNING, STATE_RUNNING):
            self._advance()

    def _first_load(self) -> float:
        """ValueError where the options cannot be meant."""
        return self._new_search().search.load if self.searches() else self.planned_levels()[0]

    def _begin_phase(self, level: int) -> str:
        """The name of a level's phase, whose times are kept from now on; a search keeps its own."""
        if self._searching:
            return ""
        assert self._stairs is not None
        phase = self._phases[level]
        self._stairs.warmup, self._stairs.hold = phase.warmup, phase.hold
        return phase.name

    # ── the plan ──

    def shape_name(self) -> str:
        assert self.runner is not None
        return str(self._setting("shape")).strip()

    def plan(self) -> list[PlanPhase]:
        """The phases that it goes through; override it for a plan of your own. ValueError where the settings cannot be
        meant.
        """
        assert self.runner is not None
        name, environment = self.shape_name(), self.runner.environment
        if name in SHAPES:
            return SHAPES[name](shape_setting(self, environment, is_rate=self.unit == RATE))
        if replay := replay_of(environment):
            hold, levels = replay_windows(replay, environment)
            return [PlanPhase("", levels, hold, warmup=0.0)]
        levels = list(self._levels(environment))
        if self._setting("requests"):
            return [PlanPhase("", levels, hold=math.inf, warmup=0.0)]
        return [PlanPhase("", levels, float(self._setting("hold")), float(self._setting("warmup")))]

    def _levels(self, environment: Environment) -> Sequence[float]:
        """Return the levels of the class, checked like the option, or else those of the option. ValueError in one line."""
        is_rate = self.unit == RATE
        if self.levels is None:
            return option_levels(environment, is_rate=is_rate)
        own = [self.levels] if isinstance(self.levels, str | Real) else self.levels
        name = f"{type(self).__name__}.levels"
        try:
            text = ", ".join(_written(each) for each in own)
            return parse_rates(text) if is_rate else parse_levels(text)
        except TypeError:
            raise ValueError(f"{name} must be numbers such as [1, 2, 5] — got {repr(own)[:60]}") from None
        except ValueError as problem:
            raise ValueError(f"{name}: {problem}") from None

    def planned_levels(self) -> list[float]:
        """The loads of the plan. ValueError where its settings cannot be meant."""
        return [load for phase in self.plan() for load in phase.loads]

    def _told(self, plan: Sequence[PlanPhase]) -> dict[str, Any]:
        """Of the plan, for the run's files."""
        told = {"unit": self.unit, "levels": [load for phase in plan for load in phase.loads]}
        if self._requests:
            return told | {"warmup": None, "hold": None, "requests": self._requests}
        if [phase.name for phase in plan] == [""]:
            return told | {"warmup": plan[0].warmup, "hold": plan[0].hold}
        phases = [
            {"name": phase.name, "levels": len(phase.loads), "warmup": phase.warmup, "hold": phase.hold}
            for phase in plan
        ]
        name = self.shape_name()
        return told | {"warmup": None, "hold": None, "shape": name if name in SHAPES else "its own", "phases": phases}

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
        return max(self._processes(), 1) * _streams_a_process(self.runner.environment)

    def _processes(self) -> int:
        """How many processes run users."""
        return self.runner.worker_count if isinstance(self.runner, MasterRunner) else 1

    def _there(self) -> float:
        """How much of the load is there: a rate is, as soon as its streams are; NaN: neither enough nor little enough."""
        assert self._stairs is not None
        users, target = float(self.get_current_user_count()), self._stairs.target
        if self.unit == USERS or self._stairs.state != RAMP or not target:
            return users
        return target if users >= self._users_for(target) and self._has_drained() else math.nan

    def _has_drained(self) -> bool:
        """A search's rates rise and fall: nothing is sent until what a higher one left is answered."""
        if not self._searching:
            return True
        assert self._run is not None
        drained = self._searching.has_drained
        self._run.assignment.pause(on=not drained)
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


class _Shape(SteppedRamp):
    """A plan made from a few settings. Those that are None are taken from the options (`--llm-shape-base`,
    `--llm-shape-peak`, `--llm-shape-seconds`, `--llm-warmup`, `--llm-drain`). With `arrivals`, loads are requests a
    second.
    """

    abstract: ClassVar[bool] = True

    base: float | None = None
    """The load at rest,"""
    peak: float | None = None
    """and the highest."""
    seconds: float | None = None
    """For which loads are measured, all together; until they are there takes a second or two for each."""


class LinearRamp(_Shape):
    """Up from `base` to `peak` in equal steps."""

    abstract: ClassVar[bool] = True

    shape = "linear"


class Spike(_Shape):
    """From `base` up to `peak` at once, and down again before anything has come to rest: for 30 %, 10 % and 60 % of
    `seconds`.
    """

    abstract: ClassVar[bool] = True

    shape = "spike"


class Surge(_Shape):
    """From `base` up to `peak` at once, to stay for a while, and down again to see how long it takes to be well: for
    25 %, 25 % and 50 % of `seconds`.
    """

    abstract: ClassVar[bool] = True

    shape = "surge"


class Soak(_Shape):
    """`peak`, and nothing else, for `seconds`: does anything drift?"""

    abstract: ClassVar[bool] = True

    shape = "soak"


class Wave(_Shape):
    """A day in `seconds`: from the `base` of its night to the `peak` of its noon, and down again."""

    abstract: ClassVar[bool] = True

    shape = "wave"


class Progressive(_Shape):
    """In one run: a baseline at `base`, a linear ramp up to `peak`, a `surge` above it, the recovery from it at `base`,
    a `soak`: for 10, 35, 10, 15 and 30 % of `seconds`.
    """

    abstract: ClassVar[bool] = True

    shape = "progressive"
    surge: float | None = None
    """Load of the surge; None: 1.5 times the peak."""
    soak: float | None = None
    """Load of the soak; None: half the peak."""


class Search(SteppedRamp):
    """Looks for the most users, or the highest rate, that keeps `limits`, or without them for saturation: docs/search.md.

    Attributes that are None are taken from the options (`--llm-search-limits`, `--llm-search-start`,
    `--llm-search-max`, `--llm-search-precision`, `--llm-search-hold`, `--llm-drain`).
    """

    abstract: ClassVar[bool] = True

    limits: str | None = None
    """Thresholds with commas between them; empty: saturation."""
    start: float | None = None
    """Users, or with `arrivals` requests a second, to begin with,"""
    max_load: float | None = None
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


def _written(load: Any) -> str:
    """Return a load as text, as the option contains it."""
    if isinstance(load, Real) and math.isfinite(load) and float(load).is_integer():
        return str(int(float(load)))
    return str(load)


def _rate(step: float, processes: int) -> float:
    """Spawn a level's new users within a second or two: Locust's master is deaf while it spawns, and warns above 100
    for each worker.
    """
    return min(max(step, 1.0), _FASTEST_SPAWN * max(processes, 1))
