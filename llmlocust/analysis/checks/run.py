"""Checks of the run: whether the whole plan was measured, and every sent request is in the files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from llmlocust.analysis.breakpoints.steps import kind_name
from llmlocust.analysis.checks.check import Check, Facts, loads_of, marks, more_requests
from llmlocust.metrics.levels import EXACT_SHARE, USERS, LevelFigures
from llmlocust.text import figures as words
from llmlocust.text.message import Message, capitalised, clauses, enumeration, message, sentences

LOAD_LIMIT = EXACT_SHARE
"""Maximum deviation from the requested load, as a share: two runs of the same load differ by as much anyway."""
HOLD_SLACK = 1.5
"""Seconds that a level may be shorter than planned: the clock that ends levels ticks once per second."""
SHORT = 5.0
"""Minimum seconds of measurement for a steady level."""
CYCLES = 2.0
"""Minimum requests of each user at a steady level."""


def completed(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check that the whole plan was measured."""
    if not facts.planned:
        if not facts.stopped:
            return None
        return Check("run_completed", False, None, None, message("The run was stopped before its end."))
    if facts.requests and facts.stopped:
        requests = sum(level.requests for level in levels)
        says: str = message("Stopped after {count} of {total} requests.", count=requests, total=facts.requests)
        return Check("run_completed", False, requests, facts.requests, says, marks(levels), unit="requests")
    last = max((level.level for level in levels), default=-1)
    started = [level for level in levels if level.window > 0.0]
    cut = [level for level in started if _cut_short(level, facts)]
    missing = list(facts.planned[last + 1 :]) + [level.load for level in levels if not level.window > 0.0]
    if not (cut or missing or facts.stopped):
        return Check(
            "run_completed", True, len(started), len(facts.planned), message("Every level of the plan was measured.")
        )
    unit = levels[0].unit if levels else USERS
    complete, planned = _count_complete(levels, facts), len(facts.planned)
    parts = [message("stopped after {count} of {total} levels", count=complete, total=planned)]
    parts += [_cut_after(level, _planned_hold(level, facts) or 0.0, unit) for level in cut]
    if missing:
        parts.append(message("{loads} never ran", loads=words.loads(missing, unit)))
    says = words.sentence(clauses(parts))
    return Check("run_completed", False, len(started) - len(cut), planned, says, marks(cut))


def _cut_after(level: LevelFigures, hold: float, unit: str) -> Message:
    """Return a sentence on a level that was held for less than `hold` seconds."""
    load, held, planned = words.with_unit(level.load, unit), words.digits(level.window), words.digits(hold)
    if level.load == 1:
        return message("{load} was held {held} of {planned} s", load=load, held=held, planned=planned)
    return message("{load} were held {held} of {planned} s", load=load, held=held, planned=planned)


def _cut_short(figures: LevelFigures, facts: Facts) -> bool:
    hold = _planned_hold(figures, facts)
    # the figures of a level with a fault end before the fault
    return hold is not None and not figures.fault and figures.window < hold - HOLD_SLACK


def _planned_hold(figures: LevelFigures, facts: Facts) -> float | None:
    return facts.holds[figures.level] if figures.level < len(facts.holds) else facts.hold


def _count_complete(levels: Sequence[LevelFigures], facts: Facts) -> int:
    return sum(level.window > 0.0 and not _cut_short(level, facts) for level in levels)


def ended(facts: Facts) -> Check | None:
    """Check that the files are those of a run that ended; None if they are."""
    if not facts.cut_off:
        return None
    says = message("The run did not end properly (it was killed, or is still running): its last seconds are missing.")
    return Check("run_ended", False, None, None, says)


def request_rows(facts: Facts) -> Check | None:
    """Check that the requests file has the rows that the run wrote, and that every request has a row."""
    if facts.rows_seen is None or facts.rows_kept is None:
        return None
    if faults := _row_faults(facts, facts.rows_kept):
        return Check("request_rows", False, facts.rows_found, facts.rows_kept, sentences(faults))
    if facts.rows_kept >= facts.rows_seen:
        return Check("request_rows", True, facts.rows_kept, facts.rows_seen, message("Every request has a row."))
    says = message(
        "{kept} of {seen} request rows were kept (a sample); levels, percentiles and histograms count all requests, goodput is "
        "estimated from the sample.",
        kept=facts.rows_kept,
        seen=facts.rows_seen,
    )
    return Check("request_rows", True, facts.rows_kept, facts.rows_seen, says)


def _row_faults(facts: Facts, kept: int) -> list[Message]:
    """Return sentences on the faults of the requests file."""
    if facts.rows_found is None:
        return []
    if kept and not facts.rows_found:
        lost = message("The requests file is missing or has no complete row, but the run wrote {kept} rows.", kept=kept)
        return [lost]
    faults = []
    if facts.rows_found < kept:
        faults.append(
            message(
                "{found} of {kept} rows that the run wrote are complete; the others are missing or truncated.",
                found=facts.rows_found,
                kept=kept,
            )
        )
    elif facts.rows_found > kept and not facts.cut_off:  # a run that is cut off may not have counted its last rows
        faults.append(
            message(
                "The requests file has {found} rows, but the run wrote {kept}: some belong to another run.",
                found=facts.rows_found,
                kept=kept,
            )
        )
    if facts.rows_outside == 1:
        faults.append(message("1 row has a time before or after the run: the file contains rows of another run."))
    elif facts.rows_outside:
        faults.append(
            message(
                "{count} rows have a time before or after the run: the file contains rows of another run.",
                count=facts.rows_outside,
            )
        )
    if faults:
        faults.append(
            message("Goodput and the checks of single requests depend on these rows; levels and percentiles do not.")
        )
    return faults


def levels_reached(levels: Sequence[LevelFigures]) -> Check | None:
    """Check that each level had the requested load."""
    if not levels:
        return None
    missed = [level for level in levels if not level.reached]
    deviating = [level for level in levels if level.reached and _deviation(level) > LOAD_LIMIT]
    if not missed and not deviating:
        return Check("levels_reached", True, 0, 0, message("Every level reached the requested load."))
    deviations = []
    if missed:
        deviations.append(
            message(
                "The load of {loads} was never reached; the verdict leaves out these levels.", loads=loads_of(missed)
            )
        )
    if deviating:
        worst = words.share(max(map(_deviation, deviating)))
        deviations.append(
            message(
                "At {loads} the load was off by up to {share}: users were missing or too many, or a worker was "
                "disconnected and did not know that the level had begun or ended.",
                loads=loads_of(deviating),
                share=worst,
            )
        )
    return Check(
        "levels_reached", False, len(missed) + len(deviating), 0, sentences(deviations), marks([*missed, *deviating])
    )


def _deviation(level: LevelFigures) -> float:
    """Return the deviation of a level from its requested load, as a share; 0 if not known."""
    shares = [level.stale_share]
    if level.unit == USERS and level.load > 0.0:
        shares.append(abs(level.users / level.load - 1.0))
    return max((share for share in shares if not math.isnan(share)), default=0.0)


def level_length(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Mark levels that are too short for a steady state. The check passes: other checks show if their figures are wrong."""
    short = [level for level in levels if 0.0 < level.window < SHORT]
    few = [
        level
        for level in levels
        if level.unit == USERS
        and level.window > 0.0
        and level.ok
        and level.load > 0
        and level.requests < CYCLES * level.load
    ]
    if not short and not few:
        return None
    parts = []
    if short:
        parts.append(_measured_briefly(short))
    if few:
        parts.append(
            message("at {loads} each user sent fewer than {count} requests", loads=loads_of(few), count=f"{CYCLES:g}")
        )
    says = message(
        "{levels}: such a level may not have reached a steady state. {advice}",
        levels=clauses(parts),
        advice=words.sentence(more_requests(facts)),
    )
    marked = tuple(sorted({*marks(short), *marks(few)}))
    return Check("level_length", True, None, None, capitalised(says), marked)


def _measured_briefly(levels: Sequence[LevelFigures]) -> Message:
    loads, short = loads_of(levels), f"{SHORT:g}"
    shortest = words.digits(min(level.window for level in levels))
    if len(levels) == 1 and levels[0].load == 1 and levels[0].unit == USERS:
        return message(
            "{loads} was measured for less than {short} s (shortest: {shortest} s)",
            loads=loads,
            short=short,
            shortest=shortest,
        )
    return message(
        "{loads} were measured for less than {short} s (shortest: {shortest} s)",
        loads=loads,
        short=short,
        shortest=shortest,
    )


def outages(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check that no level had a time in which no connection succeeded; None if none had."""
    where = [level for level in levels if level.level in facts.outages]
    if not where:
        return None
    began, duration = max(facts.outages.values(), key=lambda outage: outage[1])
    left_out = [level for level in where if level.level in facts.outages_left_out]
    others = [level for level in where if level.level not in facts.outages_left_out]
    says = [
        message(
            "At {loads} no connection succeeded for up to {duration} s, from second {began} of the level on; then "
            "requests succeeded again.",
            loads=loads_of(where),
            duration=words.digits(duration),
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
    says.append(
        message(
            "Find out what happened at that time (the server's log, the network, the name service), and measure again."
        )
    )
    return Check("outage", False, duration, None, sentences(says), marks(where), unit="s")


def retries(levels: Sequence[LevelFigures]) -> Check | None:
    """Report the attempts that clients made beside their first ones. It never fails: a storm of them is a result."""
    retried = [level for level in levels if level.retries]
    if not retried:
        return None
    kinds = sum((Counter(level.retried) for level in retried), Counter[str]())
    worst = max(retried, key=_attempts_each)
    says = [
        message(
            "Clients made {attempts} attempts at {requests} requests, up to {most} each at {load}.",
            attempts=sum(level.attempts for level in retried),
            requests=sum(level.attempts - level.retries for level in retried),
            most=words.digits(_attempts_each(worst)),
            load=loads_of([worst]),
        )
    ]
    if kinds:
        counts = [message("{count} × {kind}", count=count, kind=kind_name(kind)) for kind, count in kinds.most_common()]
        says.append(message("Failures that were retried: {kinds}.", kinds=enumeration(counts)))
    return Check("retries", True, _attempts_each(worst), None, sentences(says), marks(retried))


def _attempts_each(level: LevelFigures) -> float:
    return level.attempts / max(1, level.attempts - level.retries)


def lost_requests(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check that every sent request is accounted for."""
    if facts.sent is None or facts.ended is None:
        return None
    lost = facts.sent - facts.ended
    if lost <= 0:
        says = message("All {count} sent requests are accounted for.", count=facts.sent)
        return Check("lost_requests", True, 0, 0, says)
    says = message(
        "{lost} of {sent} requests were sent and never accounted for (a lost worker, or a killed run).",
        lost=lost,
        sent=facts.sent,
    )
    return Check(
        "lost_requests", False, lost, 0, says, marks(level for level in levels if level.level in facts.lost_workers)
    )
