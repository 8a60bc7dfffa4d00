"""The run: whether all that was planned was measured, and all that was sent is in its files."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmlocust.analysis.checks.check import Check, Facts, loads_of, marks, more_requests
from llmlocust.metrics.levels import EXACT_SHARE, USERS, LevelFigures
from llmlocust.text import figures as words
from llmlocust.text.message import Message, capitalised, clauses, message, sentences

LOAD_LIMIT = EXACT_SHARE
"""A level whose load was off by a larger share is another one: two runs of the same load differ by as much anyway."""
HOLD_SLACK = 1.5
"""Seconds: levels are ended by a clock that ticks once a second."""
SHORT = 5.0
CYCLES = 2.0
"""Requests of each user that a level should hold."""


def completed(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether all that was planned was measured."""
    if not facts.planned:
        if not facts.stopped:
            return None
        return Check("run_completed", False, None, None, message("The run was stopped before it was through."))
    if facts.requests and facts.stopped:
        made = sum(each.requests for each in levels)
        says: str = message("Stopped after {count} of {total} requests.", count=made, total=facts.requests)
        return Check("run_completed", False, made, facts.requests, says, marks(levels), unit="requests")
    last = max((each.level for each in levels), default=-1)
    begun = [each for each in levels if each.window > 0.0]
    cut = [each for each in begun if _cut_short(each, facts)]
    never = list(facts.planned[last + 1 :]) + [each.load for each in levels if not each.window > 0.0]
    if not (cut or never or facts.stopped):
        return Check(
            "run_completed", True, len(begun), len(facts.planned), message("Every level of the plan was measured.")
        )
    unit = levels[0].unit if levels else USERS
    whole, planned = _held_whole(levels, facts), len(facts.planned)
    parts = [message("stopped after {count} of {total} levels", count=whole, total=planned)]
    parts += [_held_in_part(each, _to_hold(each, facts) or 0.0, unit) for each in cut]
    if never:
        parts.append(message("{loads} never came", loads=words.loads(never, unit)))
    says = words.sentence(clauses(parts))
    return Check("run_completed", False, len(begun) - len(cut), planned, says, marks(cut))


def _held_in_part(figures: LevelFigures, hold: float, unit: str) -> Message:
    load, held, planned = words.with_unit(figures.load, unit), words.digits(figures.window), words.digits(hold)
    if figures.load == 1:
        return message("{load} was held {held} of {planned} s", load=load, held=held, planned=planned)
    return message("{load} were held {held} of {planned} s", load=load, held=held, planned=planned)


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
    says = message("The run did not end properly (killed, or still going): its last seconds are missing.")
    return Check("run_ended", False, None, None, says)


def request_rows(facts: Facts) -> Check | None:
    """Whether the file of requests has the rows that the run wrote, and whether every request has its row."""
    if facts.rows_seen is None or facts.rows_kept is None:
        return None
    if faults := _row_faults(facts, facts.rows_kept):
        return Check("request_rows", False, facts.rows_found, facts.rows_kept, sentences(faults))
    if facts.rows_kept >= facts.rows_seen:
        return Check("request_rows", True, facts.rows_kept, facts.rows_seen, message("Every request has its row."))
    says = message(
        "{kept} of {seen} request rows were kept (a sample); levels, percentiles and histograms count all requests, goodput is "
        "estimated from the sample.",
        kept=facts.rows_kept,
        seen=facts.rows_seen,
    )
    return Check("request_rows", True, facts.rows_kept, facts.rows_seen, says)


def _row_faults(facts: Facts, kept: int) -> list[Message]:
    """Return sentences on what is wrong with the file of requests."""
    if facts.rows_found is None:
        return []
    if kept and not facts.rows_found:
        lost = message("The file of requests is missing or has no complete row: the run wrote {kept} rows.", kept=kept)
        return [lost]
    faults = []
    if facts.rows_found < kept:
        faults.append(
            message(
                "{found} of {kept} rows that the run wrote are whole; the others are missing or torn.",
                found=facts.rows_found,
                kept=kept,
            )
        )
    elif facts.rows_found > kept and not facts.cut_off:  # a run that is cut off has no time to count its last rows
        faults.append(
            message(
                "There are {found} rows where the run wrote {kept}: some belong to another run.",
                found=facts.rows_found,
                kept=kept,
            )
        )
    if facts.rows_outside == 1:
        faults.append(message("1 row has a time before or after the run: rows of another run are among them."))
    elif facts.rows_outside:
        faults.append(
            message(
                "{count} rows have a time before or after the run: rows of another run are among them.",
                count=facts.rows_outside,
            )
        )
    if faults:
        faults.append(
            message("Goodput and the checks of single requests rest on these rows; levels and percentiles do not.")
        )
    return faults


def levels_reached(levels: Sequence[LevelFigures]) -> Check | None:
    """Whether each level had the load that was asked for."""
    if not levels:
        return None
    missed = [each for each in levels if not each.reached]
    off = [each for each in levels if each.reached and _not_as_asked(each) > LOAD_LIMIT]
    if not missed and not off:
        return Check("levels_reached", True, 0, 0, message("Every level had the load that was asked for."))
    says = []
    if missed:
        says.append(
            message(
                "The load of {loads} was never there; those levels are left out of the verdict.", loads=loads_of(missed)
            )
        )
    if off:
        worst = words.share(max(map(_not_as_asked, off)))
        says.append(
            message(
                "At {loads} up to {share} of the load was not what was asked for: users were not there or too many, or their "
                "load process was cut off and had not heard that the level began or ended.",
                loads=loads_of(off),
                share=worst,
            )
        )
    return Check("levels_reached", False, len(missed) + len(off), 0, sentences(says), marks([*missed, *off]))


def _not_as_asked(level: LevelFigures) -> float:
    """A share of the load, where it is known."""
    known = [level.stale_share]
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
        parts.append(_measured_briefly(brief))
    if few:
        parts.append(
            message(
                "at {loads} there were fewer than {count} requests a user", loads=loads_of(few), count=f"{CYCLES:g}"
            )
        )
    says = message(
        "{levels}: such a level has hardly come to rest. {advice}",
        levels=clauses(parts),
        advice=words.sentence(more_requests(facts)),
    )
    marked = tuple(sorted({*marks(brief), *marks(few)}))
    return Check("level_length", True, None, None, capitalised(says), marked)


def _measured_briefly(levels: Sequence[LevelFigures]) -> Message:
    loads, short = loads_of(levels), f"{SHORT:g}"
    least = words.digits(min(each.window for each in levels))
    if len(levels) == 1 and levels[0].load == 1 and levels[0].unit == USERS:
        return message(
            "{loads} was measured for less than {short} s (shortest: {least} s)", loads=loads, short=short, least=least
        )
    return message(
        "{loads} were measured for less than {short} s (shortest: {least} s)", loads=loads, short=short, least=least
    )


def outages(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether nothing could connect for a while inside a level; None where there was no such time."""
    where = [each for each in levels if each.level in facts.outages]
    if not where:
        return None
    began, lasted = max(facts.outages.values(), key=lambda outage: outage[1])
    left_out = [each for each in where if each.level in facts.outages_left_out]
    others = [each for each in where if each.level not in facts.outages_left_out]
    says = [
        message(
            "Inside {loads} nothing could connect for up to {lasted} s, from second {began} of the level on, and then requests "
            "succeeded again.",
            loads=loads_of(where),
            lasted=words.digits(lasted),
            began=f"{began:.0f}",
        )
    ]
    if left_out:
        says.append(
            message("The verdict leaves out {loads}, as the load did not cause the outage.", loads=loads_of(left_out))
        )
    if others:
        says.append(
            message(
                "Whether the load caused the outage at {loads} is not known: every level of the same load or a higher one had an "
                "outage.",
                loads=loads_of(others),
            )
        )
    says.append(message("See what happened then (the server's log, the network, the name service), and measure again."))
    return Check("outage", False, lasted, None, sentences(says), marks(where), unit="s")


def lost_requests(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether every request that was sent is accounted for."""
    if facts.sent is None or facts.ended is None:
        return None
    lost = facts.sent - facts.ended
    if lost <= 0:
        says = message("All {count} requests that were sent are accounted for.", count=facts.sent)
        return Check("lost_requests", True, 0, 0, says)
    says = message(
        "{lost} of {sent} requests were sent and never accounted for (a lost worker, or a killed run).",
        lost=lost,
        sent=facts.sent,
    )
    return Check("lost_requests", False, lost, 0, says, marks(each for each in levels if each.level in facts.gone))
