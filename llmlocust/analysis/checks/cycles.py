"""What a user of a closed loop does over and over: Little's law, and the think time between two requests."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llmlocust.analysis.checks.check import Check, Facts, loads_of, marks
from llmlocust.metrics.levels import USERS, LevelFigures
from llmlocust.text import figures as words
from llmlocust.text.message import message

LITTLE_LIMIT = 0.25
THINK_FLOOR = 0.01
"""Seconds between a user's requests that the load generator's own work may take."""
PAUSE = 1.0
"""Seconds that a user of ours waits at least after a failed request."""
NO_TIME = 0.02
"""Less than this share of a user's cycle is no think time."""
FAILURES_LIMIT = 0.01
_NUMBER = r"([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,2})?)"
_WAIT = re.compile(rf"wait {_NUMBER}(?: to {_NUMBER})? s")


@dataclass(frozen=True)
class _Cycle:
    """A closed-loop level that Little's law can be asked about."""

    figures: LevelFigures
    users: float
    response: float
    """R: seconds that a user is busy with a request."""

    @property
    def length(self) -> float:
        """N/X: seconds from one request of a user to its next."""
        return self.users / self.figures.throughput

    @property
    def between(self) -> float:
        """N/X − R: what is left of it between two requests."""
        return self.length - self.response

    @property
    def noise(self) -> float:
        """What X may be off, as a share: by chance, and as a window cuts the first and the last cycle of each user."""
        figures = self.figures
        counted = figures.throughput * figures.window if figures.window > 0 else float(figures.ok)
        edges = self.length / figures.window if figures.window > 0 else 0.0
        return 1.96 / math.sqrt(max(counted, 1.0)) + edges


def _cycles(levels: Sequence[LevelFigures], facts: Facts) -> Iterable[_Cycle]:
    for each in levels:
        users = each.load if math.isnan(each.users) else each.users
        response = facts.busy.get(each.level, each.metric("e2e").mean)
        counted = each.unit == USERS and users > 0 and each.ok >= 30 and each.errors <= 0.05
        if counted and 0.0 < each.throughput * response < math.inf:
            yield _Cycle(each, users, response)


def littles_law(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """No more requests can be in flight than there are users: X·R ≤ N."""
    known = [(each.response / each.length, each) for each in _cycles(levels, facts)]
    if not known:
        return None
    worst = max(part for part, _ in known)
    limit = 1.0 + LITTLE_LIMIT
    over = [
        each.figures for part, each in known if part > limit + each.noise and each.response - each.length > THINK_FLOOR
    ]
    if over:
        says = message(
            "At {loads} throughput × latency is {factor} times the users: by Little's law these figures are not of the same "
            "requests (more users than said, or a window that was too short).",
            loads=loads_of(over),
            factor=words.digits(worst),
        )
        return Check("littles_law", False, worst, limit, says, marks(over))
    says = message(
        "Throughput × latency never exceeds the users by more than noise, as it must be (at most {factor} of them).",
        factor=words.digits(worst),
    )
    return Check("littles_law", True, worst, limit, says)


def think_time(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """N = X (R + Z), with the think time Z that the users were said to take."""
    think = facts.think_time
    if think is None:
        return _think_time_left(levels, facts) if facts.bare else None
    known = [
        each
        for each in _cycles(levels, facts)
        if not each.figures.window <= 5.0 * think and _failures_count_little(each.figures, each.users)
    ]
    if not known:
        return None

    def off(each: _Cycle) -> bool:
        room = max(THINK_FLOOR, (LITTLE_LIMIT + each.noise) * each.length)
        # less than no time between requests is for Little's law itself to say
        return abs(max(0.0, each.between) - think) > room

    parts = [(each.response + think) / each.length for each in known]
    worst = max(parts, key=lambda part: abs(part - 1.0))
    wrong = [each for each in known if off(each)]
    if wrong:
        seen = sum(max(0.0, each.between) for each in wrong) / len(wrong)
        says = message(
            "A think time of {think} does not fit the figures at {loads}: users, throughput and the time of a request leave {seen} "
            "between two requests of a user (Little's law, N = X·(R + Z))",
            think=words.duration(think),
            loads=loads_of(each.figures for each in wrong),
            seen=words.duration(seen) if seen >= 0.001 else message("no time"),
        )
        if seen > think:
            says = message("{misfit}; the load generator's own work may be what takes it", misfit=says)
        says = words.sentence(says)
        return Check("think_time", False, worst, 1.0 + LITTLE_LIMIT, says, marks(each.figures for each in wrong))
    says = message(
        "Users, throughput, latency and the think time of {think} fit together.", think=words.duration(think)
    )
    return Check("think_time", True, worst, 1.0 + LITTLE_LIMIT, says)


def _think_time_left(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Nobody told a think time: which one the figures leave, for whoever knows better."""
    known = list(_cycles(levels, facts))
    if not known:
        return None
    none = [each.figures for each in known if each.between < NO_TIME * each.length]
    seen = max(0.0, sum(each.between for each in known) / len(known))
    left = message("{time} on average", time=words.duration(seen))
    if none:
        left = message("no time at {loads}", loads=loads_of(none))
    says = message(
        "Users, throughput and latency leave {left} between two requests of a user (Little's law, N = X·(R + Z)). If the users "
        "took another think time, these figures are not of that test; tell it (--think-time) to have it checked.",
        left=left,
    )
    return Check("think_time", True, seen, None, says, marks(none), unit="s")


def _failures_count_little(figures: LevelFigures, users: float) -> bool:
    """A user pauses after a failure: that is no think time, and must not be much of the users' time."""
    if figures.errors > FAILURES_LIMIT:
        return False
    if not math.isnan(figures.backing_off):
        return figures.backing_off <= NO_TIME
    return math.isnan(figures.window) or (figures.failed + figures.unsent) * PAUSE <= NO_TIME * users * figures.window


def think_time_of(user_classes: Mapping[str, str]) -> float | None:
    """The mean think time, where every user class tells the same: "wait 1 to 3 s" is 2."""
    means = set()
    for said in user_classes.values():
        match = _WAIT.fullmatch(str(said).strip())
        if match is None:
            return None
        low = float(match[1])
        means.add((low + float(match[2] or low)) / 2.0)
    return means.pop() if len(means) == 1 else None
