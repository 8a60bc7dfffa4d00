"""Load shapes for locustfiles: `SteppedRamp`, `RateRamp`, `TraceReplay` and `Search`, and the shapes whose plan is made
from a few settings (load.plans): `LinearRamp`, `Spike`, `Surge`, `Soak`, `Wave`, `Progressive`.
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
from llmlocust.load.plans import SHAPES, PlanPhase, healing
from llmlocust.load.trace_windows import NEXT, Windows
from llmlocust.metrics.levels import RATE, USERS
from llmlocust.metrics.vocabulary import HEALING
from llmlocust.plugin import console
from llmlocust.plugin.options import option
from llmlocust.plugin.run.run import Run
from llmlocust.plugin.session_interface import session_of
from llmlocust.plugin.settings import levels as option_levels
from llmlocust.plugin.settings import ramp_setting, replay_of, replay_windows, shape_setting
from llmlocust.plugin.shapes import replay_driver as replaying
from llmlocust.plugin.shapes.healing import Healing
from llmlocust.plugin.shapes.search_driver import Searching

_FASTEST_SPAWN = 100.0
_LONGER_THAN_DRAIN = 30.0
_TICK = 1.0
"""Seconds between two calls of a shape's `tick` by Locust."""


class SteppedRamp(LoadTestShape):
    """A ramp of users in levels. Each level is held for a time that begins when all of its users have started.

    With `arrivals`, levels are requests per second: open load (docs/open-load.md). Attributes that are None are taken
    from the options (`--llm-levels`, `--llm-warmup`, `--llm-hold`, `--llm-drain`, and with `--llm-rate` also
    `--llm-arrivals`). With `--llm-search` the levels are those of a `Search`, with `--llm-shape` those of another shape.
    """

    abstract: ClassVar[bool] = True

    shape: str | None = None
    """The name of the plan: stepped, or one of load.plans.SHAPES, which use the settings of a shape and not `levels`."""
    levels: Sequence[float] | None = None
    """The loads of the levels, in their order."""
    warmup: float | None = None
    """Seconds to wait after all users of a level have started before measuring."""
    hold: float | None = None
    """Seconds for which each level is measured."""
    drain: float | None = None
    """Seconds in which requests in flight may end after the last level."""
    requests: int | None = None
    """A fixed number of requests instead of `warmup` and `hold`, at one level; 0: none."""
    arrivals: str | None = None
    """The arrivals of requests in open load: constant, poisson, gamma:CV or bursts:N."""
    max_in_flight: int | None = None
    """Open load: maximum requests in flight per process."""

    def __init__(self) -> None:
        super().__init__()
        self._stairs: Staircase | None = None
        self._searching: Searching | None = None
        self._run: Run | None = None
        self._healing: Healing | None = None
        self._requests = 0
        self._phases: list[PlanPhase] = []
        """The phase of each level."""

    def run_started(self, run: Run) -> None:
        """Set up the run's plan. Called when Locust's test has started, before the users of the first level start."""
        assert self.runner is not None
        self._run = run
        self._searching = self._new_search() if self.searches() else None
        self._requests = int(self._setting("requests"))
        plan = [] if self._searching else self._plan_with_healing()
        self._phases = [phase for phase in plan for _ in phase.loads]
        self._stairs = stairs = Staircase(
            [load for phase in plan for load in phase.loads],
            warmup=plan[0].warmup if plan else 0.0,  # each phase and each level of a search sets its own times
            hold=plan[0].hold if plan else 0.0,
            # the last requests must have ended, and the workers' last reports must have arrived
            grace=self._report_delay() + 1.0,
            # a worker may have missed the end; it is stopped after this time
            drain=float(self._setting("drain")) + _LONGER_THAN_DRAIN,
        )
        if self._searching:
            self._searching.control(stairs, run)
        else:
            run.plan = self._plan_for_files(plan)
        if self._requests:
            run.assignment.count_requests(self._requests)
        if self.unit == RATE:
            run.assignment.open(self._arrivals(), int(self._setting("max_in_flight")))
        if replay := replay_of(self.runner.environment):
            self._stairs = replaying.set_up(replay, stairs, run, self.runner.environment)
        run.let_requests_end(float(self._setting("drain")))
        if getattr(self.runner.environment.parsed_options, "run_time", None):
            console.say(
                "--run-time has no effect on a ramp: its length follows from its levels (--llm-hold, --llm-levels), or from "
                "--llm-shape-seconds"
            )
        if plan and plan[-1].name == HEALING:
            self._healing = Healing(run, stairs, len(stairs.levels) - len(plan[-1].loads))
        self._advance()

    def tick(self) -> tuple[int, float] | None:
        assert self.runner is not None
        if self.runner.state == STATE_INIT or self._stairs is None:  # this tick starts the test
            try:
                first = self._first_load()
            except ValueError as problem:  # from the web form
                session_of(self.runner.environment).refuse(str(problem))
                return None
            # a trace's first window may have no requests
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
            self._searching.judge_level()
        if self._requests and self._run.assignment.all_requests_ended:
            self._stairs.hold = 0.0
        if self._healing:
            self._healing.judge(time.monotonic())
        for change in self._stairs.advance(time.monotonic(), self._active_load()):
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
            if left < _TICK:  # a window ends on time, not at Locust's next tick
                gevent.spawn_later(max(left, 0.0), self._advance_if_on)

    def _advance_if_on(self) -> None:
        if self.runner is not None and self.runner.state in (STATE_SPAWNING, STATE_RUNNING):
            self._advance()

    def _first_load(self) -> float:
        """Return the load of the first level. Raises ValueError if an option is invalid."""
        return self._new_search().search.load if self.searches() else self.planned_levels()[0]

    def _begin_phase(self, level: int) -> str:
        """Apply the times of a level's phase, and return its name. A search has its own times, and no phases."""
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
        """Return the phases of the plan. Override this for a plan of your own. Raises ValueError if a setting is invalid."""
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

    def _plan_with_healing(self) -> list[PlanPhase]:
        """Return the plan, with lower loads after it if --llm-fault-heal is given."""
        assert self.runner is not None
        environment, plan = self.runner.environment, self.plan()
        if not option(environment, "fault_heal") or self._requests or replay_of(environment) is not None:
            return plan
        return [*plan, healing(plan[-1].loads[-1], whole=self.unit == USERS)]

    def _levels(self, environment: Environment) -> Sequence[float]:
        """Return the levels of the class, checked like the option, or those of the option. Raises ValueError in one line."""
        is_rate = self.unit == RATE
        if self.levels is None:
            return option_levels(environment, is_rate=is_rate)
        own = [self.levels] if isinstance(self.levels, str | Real) else self.levels
        name = f"{type(self).__name__}.levels"
        try:
            text = ", ".join(_written(load) for load in own)
            return parse_rates(text) if is_rate else parse_levels(text)
        except TypeError:
            raise ValueError(f"{name} must be numbers such as [1, 2, 5] — got {repr(own)[:60]}") from None
        except ValueError as problem:
            raise ValueError(f"{name}: {problem}") from None

    def planned_levels(self) -> list[float]:
        """Return the loads of the plan. Raises ValueError if a setting is invalid."""
        return [load for phase in self.plan() for load in phase.loads]

    def _plan_for_files(self, plan: Sequence[PlanPhase]) -> dict[str, Any]:
        """Return the plan as the run's files contain it."""
        entries = {"unit": self.unit, "levels": [load for phase in plan for load in phase.loads]}
        if self._requests:
            return entries | {"warmup": None, "hold": None, "requests": self._requests}
        if [phase.name for phase in plan] == [""]:
            return entries | {"warmup": plan[0].warmup, "hold": plan[0].hold}
        phases = [
            {"name": phase.name, "levels": len(phase.loads), "warmup": phase.warmup, "hold": phase.hold}
            for phase in plan
        ]
        name = self.shape_name()
        return entries | {
            "warmup": None,
            "hold": None,
            "shape": name if name in SHAPES or plan[-1].name == HEALING else "its own",
            "phases": phases,
        }

    # ── open load ──

    @property
    def is_open(self) -> bool:
        """The levels are rates, independently of the options."""
        return self.arrivals is not None

    @property
    def unit(self) -> str:
        """The unit of the levels: users, or requests per second."""
        assert self.runner is not None
        environment = self.runner.environment
        is_open = self.is_open or option(environment, "rate") > 0.0 or ramp_setting(environment, "trace")
        return RATE if is_open else USERS

    def _arrivals(self) -> str:
        """Return the arrivals. Raises ValueError if they are invalid."""
        arrivals = str(self._setting("arrivals"))
        Process.parse(arrivals)
        return arrivals

    def _users_for(self, load: float) -> int:
        """Return the number of users to request from Locust.

        The users of a rate are streams: one in each process, or the numbers given by the weights of several classes.
        """
        if self.unit == USERS or not load:
            return int(load)
        assert self.runner is not None
        return max(self._processes(), 1) * _streams_per_process(self.runner.environment)

    def _processes(self) -> int:
        """Return the number of processes that run users."""
        return self.runner.worker_count if isinstance(self.runner, MasterRunner) else 1

    def _active_load(self) -> float:
        """Return the load that is reached. A rate is reached when its streams have started; until then, NaN."""
        assert self._stairs is not None
        users, target = float(self.get_current_user_count()), self._stairs.target
        if self.unit == USERS or self._stairs.state != RAMP or not target:
            return users
        return target if users >= self._users_for(target) and self._has_drained() else math.nan

    def _has_drained(self) -> bool:
        """Whether the backlog of a search's higher rate is answered. Until then, nothing is sent."""
        if not self._searching:
            return True
        assert self._run is not None
        drained = self._searching.has_drained
        self._run.assignment.pause(on=not drained)
        return drained

    def _report_delay(self) -> float:
        return WORKER_REPORT_INTERVAL if isinstance(self.runner, MasterRunner) else 0.0

    def searches(self) -> bool:
        """Whether the levels are those of a search."""
        assert self.runner is not None
        return bool(option(self.runner.environment, "search"))

    def _new_search(self) -> Searching:
        """Return a new search. Raises ValueError if a setting is invalid."""
        assert self.runner is not None
        return Searching(self, self.runner.environment, lag=1.0 + self._report_delay())

    def _setting(self, name: str) -> Any:
        own = getattr(self, name)
        assert self.runner is not None
        return option(self.runner.environment, name) if own is None else own


class RateRamp(SteppedRamp):
    """A ramp of requests per second in levels, sent when they are due, whether or not the server has answered earlier
    ones: docs/open-load.md.

    Attributes that are None are taken from the options, as in `SteppedRamp`.
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
    """The path of the trace."""
    trace_speed: float | None = None
    """The playback speed; 2 replays the trace in half the time."""
    trace_from: float | None = None
    """Seconds to skip at the beginning of the trace."""
    trace_seconds: float | None = None
    """Seconds of the trace to replay; 0: all of the rest."""


class _Shape(SteppedRamp):
    """A shape whose plan is made from a few settings.

    Settings that are None are taken from the options (`--llm-shape-base`, `--llm-shape-peak`, `--llm-shape-seconds`,
    `--llm-warmup`, `--llm-drain`). With `arrivals`, loads are requests per second.
    """

    abstract: ClassVar[bool] = True

    base: float | None = None
    """The baseline load."""
    peak: float | None = None
    """The highest load."""
    seconds: float | None = None
    """Seconds for which loads are measured in total. Reaching each load takes an additional second or two."""


class LinearRamp(_Shape):
    """A ramp from `base` up to `peak` in equal steps."""

    abstract: ClassVar[bool] = True

    shape = "linear"


class Spike(_Shape):
    """A short jump from `base` to `peak` and back, before the server reaches a steady state: for 30 %, 10 % and 60 % of
    `seconds`.
    """

    abstract: ClassVar[bool] = True

    shape = "spike"


class Surge(_Shape):
    """A jump from `base` to `peak`, held for a while, and back, to measure the recovery: for 25 %, 25 % and 50 % of
    `seconds`.
    """

    abstract: ClassVar[bool] = True

    shape = "surge"


class Soak(_Shape):
    """A constant load of `peak` for `seconds`, to detect drift."""

    abstract: ClassVar[bool] = True

    shape = "soak"


class Wave(_Shape):
    """A day in `seconds`: from `base` at night to `peak` at noon, and back."""

    abstract: ClassVar[bool] = True

    shape = "wave"


class Progressive(_Shape):
    """Several phases in one run: a baseline at `base`, a linear ramp up to `peak`, a `surge` above it, the recovery at
    `base`, and a `soak`: for 10, 35, 10, 15 and 30 % of `seconds`.
    """

    abstract: ClassVar[bool] = True

    shape = "progressive"
    surge: float | None = None
    """The load of the surge; None: 1.5 times the peak."""
    soak: float | None = None
    """The load of the soak; None: half the peak."""


class Search(SteppedRamp):
    """A search for the highest number of users, or the highest rate, that meets `limits`; without limits, for saturation:
    docs/search.md.

    Attributes that are None are taken from the options (`--llm-search-limits`, `--llm-search-start`,
    `--llm-search-max`, `--llm-search-precision`, `--llm-search-hold`, `--llm-drain`).
    """

    abstract: ClassVar[bool] = True

    limits: str | None = None
    """Thresholds, separated by commas; empty: saturation."""
    start: float | None = None
    """The first load: users, or with `arrivals` requests per second."""
    max_load: float | None = None
    """The maximum load."""
    precision: float | None = None
    """The precision of the limit, as a share of it; at least one user. Rates have as many digits as this needs."""
    shortest: float = 2.0
    """The minimum seconds for which a level is measured."""
    longest: float | None = None
    """The maximum seconds for which a level is measured, unless its requests are long."""

    def searches(self) -> bool:
        return True


def _streams_per_process(environment: Environment) -> int:
    weights = [round(user.weight) for user in environment.user_classes if not user.fixed_count]
    return sum(weights) // math.gcd(*weights) if any(weights) else 1


def _written(load: Any) -> str:
    """Return a load as text, in the form of the option."""
    if isinstance(load, Real) and math.isfinite(load) and float(load).is_integer():
        return str(int(float(load)))
    return str(load)


def _rate(step: float, processes: int) -> float:
    """Return the spawn rate that starts a level's new users within a second or two.

    Locust's master handles no messages while it spawns, and warns above 100 users per second and worker.
    """
    return min(max(step, 1.0), _FASTEST_SPAWN * max(processes, 1))
