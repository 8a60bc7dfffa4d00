"""`Searching`: a search (load.search) that steers a ramp's staircase, and tells the run and the console of it."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from locust.env import Environment

from llmlocust.load.curves import HOLD, Staircase
from llmlocust.load.search import KEEPS, Search, Trial
from llmlocust.metrics.levels import RATE, USERS
from llmlocust.plugin import console
from llmlocust.plugin.options import option
from llmlocust.plugin.run.run import Run
from llmlocust.plugin.settings import search_judge
from llmlocust.text import figures as words

WARMUPS = 3.0
"""Lengths of a request until what is in flight at a new rate no longer grows by itself: its backlog is looked at."""


class Searching:
    def __init__(self, shape: Any, environment: Environment, lag: float) -> None:
        """Settings are the shape's own where it has them, else options. ValueError where they cannot be meant.

        `lag` is how many seconds a level's figures may be late.
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

    def take_over(self, stairs: Staircase, run: Run) -> None:
        """From now on the levels of this staircase are those of the search."""
        self._stairs, self._run = stairs, run
        stairs.levels = [self.search.load]
        self.level_began()
        self._tell()

    def level_began(self) -> None:
        self._stairs.warmup, self._stairs.hold = self.search.warmup, math.inf
        if self.unit == RATE:
            self._stairs.warmup = min(WARMUPS * self.search.warmup, self.search.longest)

    def look(self) -> None:
        """Whether the level that is held has been decided: then the staircase ends it, and goes on where there is more
        to do.
        """
        level = self._run.level
        if self._stairs.state != HOLD or level is None:
            return
        if not self.search.look(level.window(self._run.moment()), self._run.ledger.tally):
            return
        self._stairs.hold = 0.0
        self._stairs.levels = [trial.load for trial in self.search.trials]
        self._tell()
        console.say(search_line(self.search, self.unit))

    @property
    def has_drained(self) -> bool:
        """Whether what a higher rate left unanswered is gone, so that it does not count against a lower one."""
        ledger = self._run.ledger
        lengths = [ledger.tally(level.index).histogram("e2e") for level in ledger.levels]
        length = min((each.mean for each in lengths if each.count), default=0.0)
        usual = self.search.load * length
        return ledger.sent - ledger.ended <= usual + 3.0 * math.sqrt(usual) + 3.0

    def _tell(self) -> None:
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
    """The least step of a rate: a power of ten that is as fine as the precision needs at the lowest."""
    return min(1.0, 10.0 ** math.floor(math.log10(start * precision)))


def search_line(search: Search, unit: str = USERS) -> str:
    """What the level that was decided last showed, where the limit is by now, and what comes next."""
    trial = search.trials[-1 if search.done else -2]
    if search.done:
        return f"  search: {_result(search, trial, unit)}"
    kept = "well" if trial.verdict == KEEPS else f"too many for {trial.what}"
    says = f"{words.with_unit(trial.load, unit)} {_are(trial, unit)} {kept}"
    return f"  search: {says} · the limit is {_place(*trial.bracket)} · next {_aim(search.trials[-1], trial)}"


def _are(trial: Trial, unit: str) -> str:
    one = trial.load == 1 and unit == USERS
    if not trial.sure:
        return "seems" if one else "seem"
    return "is" if one else "are"


def _place(low: float | None, high: float | None) -> str:
    if high is None:
        return f"above {words.load(low or 0.0)}"
    return f"below {words.load(high)}" if low is None else f"between {words.load(low)} and {words.load(high)}"


def _aim(following: Trial, trial: Trial) -> str:
    if following.confirms:
        return f"{words.load(following.load)} once more, to confirm it"
    return f"{words.load(following.load)}" + (" once more" if following.load == trial.load else "")


def _result(search: Search, trial: Trial, unit: str) -> str:
    low, high = trial.bracket
    if low is None:
        assert high is not None
        broken = next(each.what for each in reversed(search.trials) if each.load == high)
        return f"already {words.with_unit(high, unit)} {'is' if high == 1 and unit == USERS else 'are'} too many for {broken}"
    if high is None:
        return f"the limit is not reached up to {words.with_unit(low, unit)}"
    broken = next(each.what for each in reversed(search.trials) if each.load == high)
    return f"the limit is {words.with_unit(low, unit)}: {words.load(high)} are too many for {broken}"
