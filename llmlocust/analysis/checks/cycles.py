"""Checks of the cycle of a closed-loop user: Little's law, and the think time between two requests."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmlocust.analysis.checks.check import Check, Facts, loads_of, marks
from llmlocust.metrics.levels import USERS, LevelFigures
from llmlocust.text import figures as words
from llmlocust.text.message import message

LITTLE_LIMIT = 0.25
"""Tolerated deviation from Little's law, as a share, besides noise."""
THINK_FLOOR = 0.01
"""Seconds between two requests of a user that the load generator's own work may take."""
PAUSE = 1.0
"""Minimum seconds for which a user of llmlocust pauses after a failed request."""
NEGLIGIBLE = 0.02
"""Share of a user's cycle below which a time is negligible."""
FAILURES_LIMIT = 0.01
"""Maximum share of failed requests for a check of the think time."""


@dataclass(frozen=True)
class _Cycle:
    """The cycle of a user at a closed-loop level: one request, and the time until the next."""

    figures: LevelFigures
    users: float
    response: float
    """R: seconds for which a request occupies a user."""

    @property
    def length(self) -> float:
        """N/X: seconds from one request of a user to its next."""
        return self.users / self.figures.throughput

    @property
    def between(self) -> float:
        """N/X − R: seconds between two requests of a user."""
        return self.length - self.response

    @property
    def noise(self) -> float:
        """Relative error of X: by chance, and because the window cuts the first and last cycle of each user."""
        figures = self.figures
        counted = figures.throughput * figures.window if figures.window > 0 else float(figures.ok)
        edges = self.length / figures.window if figures.window > 0 else 0.0
        return 1.96 / math.sqrt(max(counted, 1.0)) + edges


def _cycles(levels: Sequence[LevelFigures], facts: Facts) -> Iterable[_Cycle]:
    """Yield the cycle of each level to which Little's law applies."""
    for level in levels:
        users = level.load if math.isnan(level.users) else level.users
        response = facts.busy.get(level.level, level.metric("e2e").mean)
        applies = level.unit == USERS and users > 0 and level.ok >= 30 and level.errors <= 0.05
        if applies and 0.0 < level.throughput * response < math.inf:
            yield _Cycle(level, users, response)


def littles_law(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check that no more requests are in flight than the number of users: X·R ≤ N."""
    ratios = [(cycle.response / cycle.length, cycle) for cycle in _cycles(levels, facts)]
    if not ratios:
        return None
    worst = max(ratio for ratio, _ in ratios)
    limit = 1.0 + LITTLE_LIMIT
    over = [
        cycle.figures
        for ratio, cycle in ratios
        if ratio > limit + cycle.noise and cycle.response - cycle.length > THINK_FLOOR
    ]
    if over:
        says = message(
            "At {loads} throughput × latency is {factor} times the number of users. By Little's law these figures "
            "cannot describe the same requests (the run had more users than stated, or its window was too short).",
            loads=loads_of(over),
            factor=words.digits(worst),
        )
        return Check("littles_law", False, worst, limit, says, marks(over))
    says = message(
        "As Little's law requires, throughput × latency does not exceed the number of users, within noise (at "
        "most {factor} times that number).",
        factor=words.digits(worst),
    )
    return Check("littles_law", True, worst, limit, says)


def think_time(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check N = X (R + Z) with the configured think time Z of the users."""
    think = facts.think_time
    if think is None:
        return _implied_think_time(levels, facts) if facts.is_table else None
    known = [
        cycle
        for cycle in _cycles(levels, facts)
        if not cycle.figures.window <= 5.0 * think and _failures_count_little(cycle.figures, cycle.users)
    ]
    if not known:
        return None

    def deviates(cycle: _Cycle) -> bool:
        tolerance = max(THINK_FLOOR, (LITTLE_LIMIT + cycle.noise) * cycle.length)
        # a negative time between requests is reported by the check of Little's law
        return abs(max(0.0, cycle.between) - think) > tolerance

    ratios = [(cycle.response + think) / cycle.length for cycle in known]
    worst = max(ratios, key=lambda ratio: abs(ratio - 1.0))
    wrong = [cycle for cycle in known if deviates(cycle)]
    if wrong:
        between = sum(max(0.0, cycle.between) for cycle in wrong) / len(wrong)
        says = message(
            "A think time of {think} does not fit the figures at {loads}: users, throughput and request time "
            "leave {seen} between two requests of a user (Little's law, N = X·(R + Z))",
            think=words.duration(think),
            loads=loads_of(cycle.figures for cycle in wrong),
            seen=words.duration(between) if between >= 0.001 else message("no time"),
        )
        if between > think:
            says = message("{misfit}; the load generator's own work may take this time", misfit=says)
        says = words.sentence(says)
        return Check("think_time", False, worst, 1.0 + LITTLE_LIMIT, says, marks(cycle.figures for cycle in wrong))
    says = message(
        "Users, throughput, latency and the think time of {think} are consistent.", think=words.duration(think)
    )
    return Check("think_time", True, worst, 1.0 + LITTLE_LIMIT, says)


def _implied_think_time(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Report the think time that the figures imply, for a run whose think time is not given."""
    known = list(_cycles(levels, facts))
    if not known:
        return None
    without = [cycle.figures for cycle in known if cycle.between < NEGLIGIBLE * cycle.length]
    between = max(0.0, sum(cycle.between for cycle in known) / len(known))
    left = message("{time} on average", time=words.duration(between))
    if without:
        left = message("no time at {loads}", loads=loads_of(without))
    says = message(
        "Users, throughput and latency leave {left} between two requests of a user (Little's law, N = X·(R + Z)). "
        "If the users had a different think time, these figures are not from that test. Set --think-time to check "
        "it.",
        left=left,
    )
    return Check("think_time", True, between, None, says, marks(without), unit="s")


def _failures_count_little(figures: LevelFigures, users: float) -> bool:
    """Whether pauses after failures, which are not think time, take only a small share of the users' time."""
    if figures.errors > FAILURES_LIMIT:
        return False
    if not math.isnan(figures.backing_off):
        return figures.backing_off <= NEGLIGIBLE
    return (
        math.isnan(figures.window) or (figures.failed + figures.unsent) * PAUSE <= NEGLIGIBLE * users * figures.window
    )
