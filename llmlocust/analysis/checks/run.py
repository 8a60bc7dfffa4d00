"""The run: whether all that was planned was measured, and all that was sent is in its files."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmlocust.analysis.checks.check import Check, Facts, loads_of, marks, more_requests
from llmlocust.metrics.levels import EXACT_SHARE, USERS, LevelFigures
from llmlocust.text import figures as words

LOAD_LIMIT = EXACT_SHARE
"""A level whose load was off by a larger share is another one: two runs of the same load differ by as much anyway."""
HOLD_SLACK = 1.5
"""Seconds: levels are ended by a clock that ticks once a second."""
SHORT = 5.0
CYCLES = 2.0
"""Requests of each user that a level should hold."""


def completed(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether all that was planned was measured."""
    told = f"stopped after {_held_whole(levels, facts)} of {len(facts.planned)} levels"
    if not facts.planned:
        if not facts.stopped:
            return None
        return Check("run completed", False, None, None, "The run was stopped before it was through.")
    if facts.requests and facts.stopped:
        made = sum(each.requests for each in levels)
        says = f"Stopped after {made} of {facts.requests} requests."
        return Check("run completed", False, made, facts.requests, says, marks(levels), unit="requests")
    last = max((each.level for each in levels), default=-1)
    begun = [each for each in levels if each.window > 0.0]
    cut = [each for each in begun if _cut_short(each, facts)]
    never = list(facts.planned[last + 1 :]) + [each.load for each in levels if not each.window > 0.0]
    if not (cut or never or facts.stopped):
        return Check("run completed", True, len(begun), len(facts.planned), "Every level of the plan was measured.")
    unit = levels[0].unit if levels else USERS
    parts = [
        f"{words.with_unit(each.load, unit)} {'was' if each.load == 1 else 'were'} held {words.digits(each.window)} of "
        f"{words.digits(_to_hold(each, facts) or 0.0)} s"
        for each in cut
    ]
    if never:
        named = words.series([words.load(each) for each in never])
        parts.append(f"{named} {words.unit_of(unit, never[0] if len(never) == 1 else 2)} never came")
    says = "; ".join([told, *parts])
    return Check("run completed", False, len(begun) - len(cut), len(facts.planned), words.sentence(says), marks(cut))


def _cut_short(figures: LevelFigures, facts: Facts) -> bool:
    hold = _to_hold(figures, facts)
    return hold is not None and figures.window < hold - HOLD_SLACK


def _to_hold(figures: LevelFigures, facts: Facts) -> float | None:
    return facts.holds[figures.level] if figures.level < len(facts.holds) else facts.hold


def _held_whole(levels: Sequence[LevelFigures], facts: Facts) -> int:
    return sum(each.window > 0.0 and not _cut_short(each, facts) for each in levels)


def ended(facts: Facts) -> Check | None:
    """Whether the files are those of a run that is over; None: they are."""
    if not facts.cut_off:
        return None
    says = "The run did not end properly (killed, or still going): its last seconds are missing."
    return Check("run ended", False, None, None, says)


def request_rows(facts: Facts) -> Check | None:
    """Whether the file of requests has the rows that the run wrote, and whether every request has its row."""
    if facts.rows_seen is None or facts.rows_kept is None:
        return None
    if faults := _row_faults(facts, facts.rows_kept):
        return Check("request rows", False, facts.rows_found, facts.rows_kept, " ".join(faults))
    if facts.rows_kept >= facts.rows_seen:
        return Check("request rows", True, facts.rows_kept, facts.rows_seen, "Every request has its row.")
    says = (
        f"{facts.rows_kept} of {facts.rows_seen} request rows were kept (a sample); levels, percentiles and histograms "
        f"count all requests, goodput is estimated from the sample."
    )
    return Check("request rows", True, facts.rows_kept, facts.rows_seen, says)


def _row_faults(facts: Facts, kept: int) -> list[str]:
    """Return sentences on what is wrong with the file of requests."""
    if facts.rows_found is None:
        return []
    if kept and not facts.rows_found:
        return [f"The file of requests is missing or has no complete row: the run wrote {kept} rows."]
    faults = []
    if facts.rows_found < kept:
        faults.append(
            f"{facts.rows_found} of {kept} rows that the run wrote are whole; the others are missing or torn."
        )
    elif facts.rows_found > kept and not facts.cut_off:  # a run that is cut off has no time to count its last rows
        faults.append(f"There are {facts.rows_found} rows where the run wrote {kept}: some belong to another run.")
    if facts.rows_outside:
        many = "1 row has" if facts.rows_outside == 1 else f"{facts.rows_outside} rows have"
        faults.append(f"{many} a time before or after the run: rows of another run are among them.")
    if faults:
        faults.append("Goodput and the checks of single requests rest on these rows; levels and percentiles do not.")
    return faults


def levels_reached(levels: Sequence[LevelFigures]) -> Check | None:
    """Whether each level had the load that was asked for."""
    if not levels:
        return None
    missed = [each for each in levels if not each.reached]
    off = [each for each in levels if each.reached and _not_as_asked(each) > LOAD_LIMIT]
    if not missed and not off:
        return Check("levels reached", True, 0, 0, "Every level had the load that was asked for.")
    says = []
    if missed:
        says.append(f"The load of {loads_of(missed)} was never there; those levels are left out of the verdict.")
    if off:
        worst = words.share(max(map(_not_as_asked, off)))
        says.append(
            f"At {loads_of(off)} up to {worst} of the load was not what was asked for: users were not there or too many, "
            f"or their load process was cut off and had not heard that the level began or ended."
        )
    return Check("levels reached", False, len(missed) + len(off), 0, " ".join(says), marks([*missed, *off]))


def _not_as_asked(level: LevelFigures) -> float:
    """A share of the load, where it is known."""
    known = [level.unheard]
    if level.unit == USERS and level.load > 0.0:
        known.append(abs(level.users / level.load - 1.0))
    return max((each for each in known if not math.isnan(each)), default=0.0)


def level_length(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Levels too short to have come to rest: said, as what is wrong with them shows in the other checks."""
    brief = [each for each in levels if 0.0 < each.window < SHORT]
    few = [
        each
        for each in levels
        if each.unit == USERS and each.window > 0.0 and each.ok and each.load > 0 and each.requests < CYCLES * each.load
    ]
    if not brief and not few:
        return None
    parts = []
    if brief:
        least = min(each.window for each in brief)
        parts.append(
            f"{loads_of(brief)} {_were(brief)} measured for less than {SHORT:g} s (shortest: {words.digits(least)} s)"
        )
    if few:
        parts.append(f"at {loads_of(few)} there were fewer than {CYCLES:g} requests a user")
    says = f"{'; '.join(parts)}: such a level has hardly come to rest. {more_requests(facts)}"
    return Check("level length", True, None, None, words.sentence(says), tuple(sorted({*marks(brief), *marks(few)})))


def _were(levels: Sequence[LevelFigures]) -> str:
    return "was" if len(levels) == 1 and levels[0].load == 1 and levels[0].unit == USERS else "were"


def outages(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether nothing could connect for a while inside a level; None where there was no such time."""
    where = [each for each in levels if each.level in facts.outages]
    if not where:
        return None
    began, lasted = max(facts.outages.values(), key=lambda outage: outage[1])
    left_out = [each for each in where if each.level in facts.outages_left_out]
    others = [each for each in where if each.level not in facts.outages_left_out]
    says = (
        f"Inside {loads_of(where)} nothing could connect for up to {words.digits(lasted)} s, from second {began:.0f} of the "
        f"level on, and then requests succeeded again."
    )
    if left_out:
        says += f" The verdict leaves out {loads_of(left_out)}, as the load did not cause the outage."
    if others:
        says += (
            f" Whether the load caused the outage at {loads_of(others)} is not known: every level of the same load or a "
            f"higher one had an outage."
        )
    says += " See what happened then (the server's log, the network, the name service), and measure again."
    return Check("outage", False, lasted, None, says, marks(where), unit="s")


def lost_requests(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether every request that was sent is accounted for."""
    if facts.sent is None or facts.ended is None:
        return None
    lost = facts.sent - facts.ended
    if lost <= 0:
        return Check("lost requests", True, 0, 0, f"All {facts.sent} requests that were sent are accounted for.")
    says = f"{lost} of {facts.sent} requests were sent and never accounted for (a lost worker, or a killed run)."
    return Check("lost requests", False, lost, 0, says, marks(each for each in levels if each.level in facts.gone))
