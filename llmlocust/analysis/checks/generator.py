"""The load generator: whether it kept up, read in time, and was there from beginning to end."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmlocust.analysis import words
from llmlocust.analysis.checks.check import LEAST, Check, Facts, above, loads_of, marks
from llmlocust.numbers.levels import HEADLINE, RANGED, LevelFigures

CPU_LIMIT = 0.9
"""Below, one process was right and kept up with a client that does the least; from 0.96 on it was up to 17 % slower \
(docs/accuracy.md)."""
LAG_LIMIT = 0.002
LAG_SHARE = 0.05
"""Where arrival times are our own, latencies carry our lateness. An event loop that woke 2 to 4 ms late went with a \
p99 gap that was wrong by 0.7 to 1.7 ms (docs/accuracy.md); gaps so long that this is a small share of them bear more."""
LATE = 0.005
LATE_SHARE = 0.05
"""Requests that were sent so late, in more than this share of the time to their first token, are not the load that was \
asked for, and their latency from when they were due is another."""
_RANGED = {"ttft": "TTFT", "gap": "the gaps"}


def client_cpu(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether the load generator had processor time to spare."""
    known = {level: value for level, value in facts.client_cpu.items() if not math.isnan(value)}
    if not known:
        return None
    worst = max(known.values())
    over = above(known, levels, CPU_LIMIT)
    if worst <= CPU_LIMIT:
        says = f"The busiest load process used at most {words.share(worst)} of its core."
        return Check("client CPU", True, worst, CPU_LIMIT, says)
    where = f" at {loads_of(over)}" if over else ""
    says = (
        f"The load generator itself was full{where} ({words.share(worst)} of a core): waits there may be its own. "
        f"Use more processes or machines (--processes, --worker)."
    )
    return Check("client CPU", False, worst, CPU_LIMIT, says, marks(over))


def token_times(levels: Sequence[LevelFigures]) -> Check | None:
    """Tokens that waited for the load generator are known only together: then percentiles are ranges."""
    known = [each for each in levels if not math.isnan(each.blurred)]
    if not known:
        return None
    late = max(each.blurred for each in known)
    wide = [
        (each, metric, name) for each in known for metric in RANGED for name in HEADLINE if _is_wide(each, metric, name)
    ]
    if wide:
        over = list({each.level: each for each, _, _ in wide}.values())
        each, metric, name = max(wide, key=_width)
        says = (
            f"At {loads_of(over)} the load generator itself was late: up to {words.share(late)} of the gaps between tokens "
            f"are known only in sum, so that {name} of {_RANGED[metric]} at {loads_of([each])} is somewhere from "
            f"{words.span(*each.metric(metric).ranges[name])}. Use more processes or machines (--processes, --worker)."
        )
        return Check("token times", False, late, None, says, marks(over))
    says = "The load generator read every token in time."
    if late > 0.0:
        says = (
            f"At most {words.share(late)} of the gaps between tokens are known only in sum, because the load generator "
            f"read late: too few to move a percentile."
        )
    return Check("token times", True, late, None, says)


def _is_wide(each: LevelFigures, metric: str, name: str) -> bool:
    summary = each.metric(metric)
    # of too few values a percentile is only the greatest of them: that is another check's doubt
    return summary.count >= LEAST.get(name, 0) and summary.range_of(name) is not None


def _width(wide: tuple[LevelFigures, str, str]) -> float:
    least, most = wide[0].metric(wide[1]).ranges[wide[2]]
    return most - least


def event_loop_lag(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether the load generator's lateness is in the latencies."""
    known = {level: value for level, value in facts.loop_lag.items() if not math.isnan(value)}
    if not known:
        return None
    worst = max(known.values())
    says = f"The load generator's event loop woke at most {words.duration(worst)} late"
    if facts.clock == "kernel":
        says += "; arrival times are the kernel's and do not carry it."
        return Check("event loop lag", True, worst, LAG_LIMIT, says, unit="s")
    over = [each for each in levels if known.get(each.level, 0.0) > _bearable_lag(each)]
    if not over:
        return Check("event loop lag", True, worst, LAG_LIMIT, f"{says}.", unit="s")
    says = (
        f"The load generator's event loop woke up to {words.duration(worst)} late at {loads_of(over)}, and arrival times are "
        f"its own: latencies carry it. Use more processes or machines (--processes, --worker)."
    )
    return Check("event loop lag", False, worst, LAG_LIMIT, says, marks(over), unit="s")


def _bearable_lag(each: LevelFigures) -> float:
    gap = each.metric("gap")["p99"]
    return LAG_LIMIT if math.isnan(gap) else max(LAG_LIMIT, LAG_SHARE * gap)


def cap_in_flight(levels: Sequence[LevelFigures]) -> Check | None:
    """A cap of requests in flight makes an open load a closed one."""
    due = [each for each in levels if each.due]
    if not due:
        return None
    capped = [each for each in due if each.held_back]
    if not capped:
        return Check("cap in flight", True, 0, 0, "Every request that was due was sent.")
    held, of = sum(each.held_back for each in capped), sum(each.due for each in capped)
    says = (
        f"At {loads_of(capped)} the cap of requests in flight held back {held} of {of} requests that were due: less load "
        f"was there than was asked for. Raise it (--llm-most-in-flight), or use more load processes."
    )
    return Check("cap in flight", False, held, 0, says, marks(capped))


def schedule_delay(levels: Sequence[LevelFigures]) -> Check | None:
    """Whether requests were sent when they were due."""
    known = [each for each in levels if each.metric("delay").count]
    if not known:
        return None
    late = [each for each in known if each.metric("delay")["p99"] > _latest(each)]
    worst = max(each.metric("delay")["p99"] for each in late or known)
    if not late:
        says = f"Requests were sent when they were due (99 % of them within {words.duration(worst)})."
        return Check("schedule delay", True, worst, LATE, says, unit="s")
    says = (
        f"At {loads_of(late)} requests were sent late, 1 % of them by {words.duration(worst)} or more: the load "
        f"generator does not keep up with the rate. Use more load processes (--processes)."
    )
    return Check("schedule delay", False, worst, LATE, says, marks(late), unit="s")


def _latest(each: LevelFigures) -> float:
    """What 99 % of a level's requests must be on time by."""
    first = each.metric("ttft") if each.metric("ttft").count else each.metric("e2e")
    return max(LATE, LATE_SHARE * first["p99"])


def lost_workers(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether load processes fell silent, or never told anything; None: neither."""
    names = sorted({name for gone in facts.gone.values() for name in gone})
    if names:
        where = [each for each in levels if each.level in facts.gone]
        says = (
            f"{words.series(names[:3])}{' and others' if len(names) > 3 else ''} fell silent inside {loads_of(where)}: "
            f"users and requests of {'these processes' if len(names) > 1 else 'this process'} are missing from then on."
        )
        return Check("lost workers", False, len(names), 0, says, marks(where))
    if facts.silent:
        says = f"{facts.silent} of the load processes never told anything: their requests are missing."
        return Check("lost workers", False, facts.silent, 0, says)
    return None


def frozen_workers(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether a load process did nothing for a while and went on then; None: none did."""
    where = [each for each in levels if each.level in facts.stood_still]
    if not where:
        return None
    longest = max(facts.stood_still.values())
    says = (
        f"A load process stood still for up to {words.digits(longest)} s inside {loads_of(where)} (frozen, or without a "
        f"core): its users sent nothing meanwhile."
    )
    return Check("frozen workers", False, longest, None, says, marks(where))


def clock(facts: Facts) -> Check | None:
    """Whose arrival times these are, and whether all processes take them alike."""
    if facts.clock == "kernel":
        return Check("clock", True, None, None, "Arrival times are the kernel's.")
    if facts.clock == "user":
        says = "Arrival times are the load generator's own: whatever it was late is in them."
        return Check("clock", True, None, None, says)
    if facts.clock != "kernel and user":
        return None
    known = [value for value in facts.loop_lag.values() if not math.isnan(value)]
    late = max(known, default=math.inf)
    says = "Some load processes take arrival times from the kernel, others their own"
    if late <= LAG_LIMIT:
        return Check(
            "clock", True, late, LAG_LIMIT, f"{says}; these were late by {words.duration(late)} at most.", unit="s"
        )
    return Check(
        "clock", False, None if math.isinf(late) else late, LAG_LIMIT, f"{says}: they do not compare.", unit="s"
    )
