"""`Searching`: a search (load.search) that controls a ramp's staircase, the run's plan and the lines on the console."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from locust.env import Environment

from llmlocust.load.curves import HOLD, Staircase
from llmlocust.load.search import MEETS, Search, Trial
from llmlocust.metrics.levels import RATE, USERS
from llmlocust.plugin import console
from llmlocust.plugin.options import option
from llmlocust.plugin.run.run import Run
from llmlocust.plugin.settings import search_judge
from llmlocust.text import figures as words

WARMUPS = 3.0
"""Warm-up of a rate, in lengths of a request. Afterwards the requests in flight grow only if there is a backlog."""


class Searching:
    """A search that selects the levels of a ramp."""

    def __init__(self, shape: Any, environment: Environment, lag: float) -> None:
        """Create the search from the shape's settings; those that are None are options.

        `lag`: maximum seconds until a level's figures arrive. Raises ValueError if a setting is invalid.
        """

        def setting(name: str, option_name: str) -> Any:
            own = getattr(shape, name, None)
            return option(environment, option_name) if own is None else own

        self.unit = shape.unit
        is_rate = self.unit == RATE
        self.limits = setting("limits", "search_limits")
        start = float(setting("start", "search_start"))
        if is_rate and getattr(shape, "start", None) is None:
            start = option(environment, "rate") or start
        precision = float(setting("precision", "search_precision"))
        max_load = float(setting("max_load", "search_max"))
        self.search = Search(
            search_judge(self.limits, min(start, max_load) if is_rate else None),
            start=start if is_rate else int(start),
            max_load=max_load if is_rate else int(max_load),
            grain=_grain(start, precision) if is_rate else 1.0,
            precision=precision,
            longest=float(setting("longest", "search_hold")),
            shortest=getattr(shape, "shortest", Search.shortest),
            lag=lag,
        )

    def control(self, stairs: Staircase, run: Run) -> None:
        """Select the levels of this staircase and the plan of this run from now on."""
        self._stairs, self._run = stairs, run
        stairs.levels = [self.search.load]
        self.level_began()
        self._update_plan()

    def level_began(self) -> None:
        self._stairs.warmup, self._stairs.hold = self.search.warmup, math.inf
        if self.unit == RATE:
            self._stairs.warmup = min(WARMUPS * self.search.warmup, self.search.longest)

    def judge_level(self) -> None:
        """Judge the present level. If the search has decided, the staircase ends it and continues with the next load."""
        level = self._run.level
        if self._stairs.state != HOLD or level is None:
            return
        if not self.search.decide(level.window(self._run.moment()), self._run.ledger.tally):
            return
        self._stairs.hold = 0.0
        self._stairs.levels = [trial.load for trial in self.search.trials]
        self._update_plan()
        console.say(search_line(self.search, self.unit))

    @property
    def has_drained(self) -> bool:
        """Whether the backlog of a higher rate is answered, so that it does not affect the result of a lower one."""
        ledger = self._run.ledger
        histograms = [ledger.tally(level.index).histogram("e2e") for level in ledger.levels]
        length = min((histogram.mean for histogram in histograms if histogram.count), default=0.0)
        usual = self.search.load * length
        return ledger.sent - ledger.ended <= usual + 3.0 * math.sqrt(usual) + 3.0

    def _update_plan(self) -> None:
        search = self.search
        self._run.plan = {
            "unit": self.unit,
            "levels": [trial.load for trial in search.trials],
            "warmup": None,
            "hold": None,
            "search": {
                "limits": self.limits,
                "start": search.start,
                "max_load": search.max_load,
                "precision": search.precision,
                "shortest": search.shortest,
                "longest": search.longest,
                "done": search.done,
                "answer": search.answer,
                "path": [{"level": index, **asdict(trial)} for index, trial in enumerate(search.trials)],
            },
        }


def _grain(start: float, precision: float) -> float:
    """Return the smallest step of a rate: the power of ten that the precision needs at the lowest rate."""
    return min(1.0, 10.0 ** math.floor(math.log10(start * precision)))


def search_line(search: Search, unit: str = USERS) -> str:
    """Return a line with the result of the level that was decided last, the present bracket and the next load."""
    trial = search.trials[-1 if search.done else -2]
    if search.done:
        return f"  search: {_result(search, trial, unit)}"
    outcome = f"{words.with_unit(trial.load, unit)} {_outcome(trial, unit)}"
    return f"  search: {outcome} · the limit is {_bracket(*trial.bracket)} · next {_next(search.trials[-1], trial)}"


def _outcome(trial: Trial, unit: str) -> str:
    probably = "" if trial.sure else "probably "
    is_one = trial.load == 1 and unit == USERS
    if trial.verdict == MEETS:
        return f"{probably}{'passes' if is_one else 'pass'}"
    return f"{'is' if is_one else 'are'} {probably}too many for {trial.limited_by}"


def _bracket(low: float | None, high: float | None) -> str:
    if high is None:
        return f"above {words.load(low or 0.0)}"
    return f"below {words.load(high)}" if low is None else f"between {words.load(low)} and {words.load(high)}"


def _next(following: Trial, trial: Trial) -> str:
    if following.confirms:
        return f"{words.load(following.load)} once more, to confirm it"
    return f"{words.load(following.load)}" + (" once more" if following.load == trial.load else "")


def _result(search: Search, trial: Trial, unit: str) -> str:
    low, high = trial.bracket
    if low is None:
        assert high is not None
        violated = next(earlier.limited_by for earlier in reversed(search.trials) if earlier.load == high)
        are = "is" if high == 1 and unit == USERS else "are"
        return f"already {words.with_unit(high, unit)} {are} too many for {violated}"
    if high is None:
        return f"the limit is not reached up to {words.with_unit(low, unit)}"
    violated = next(earlier.limited_by for earlier in reversed(search.trials) if earlier.load == high)
    return f"the limit is {words.with_unit(low, unit)}: {words.load(high)} are too many for {violated}"
