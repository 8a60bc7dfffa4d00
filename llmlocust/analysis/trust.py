"""Whether a run's numbers can be believed: each doubt is a check with a value, a limit and a sentence. Pure.

A check fails where the numbers are hurt. What only limits how far they reach is said with `ok` true.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from llmlocust.analysis import words
from llmlocust.numbers.levels import USERS, LevelFigures
from llmlocust.numbers.thresholds import Threshold

CPU_LIMIT = 0.9
LAG_LIMIT = 0.05
COALESCED_LIMIT = 0.2
ABORTED_LIMIT = 0.05
LITTLE_LIMIT = 0.25
LEAST = {"p95": 20, "p99": 100}
"""Fewer successful requests than this, and the percentile is but the slowest request."""
BOUNDED = {"p95": 73, "p99": 381}
"""So many, and its 95 % interval has an upper end: n q + 1.96 √(n q (1−q)) ≤ n."""


@dataclass(frozen=True)
class Check:
    """One doubt, looked into. `value` and `limit` are shares, seconds or counts, as `says` says; None: no number."""

    name: str
    ok: bool
    value: float | None
    limit: float | None
    says: str
    levels: tuple[int, ...] = ()
    """The levels that it marks, by their index."""
    unit: str = ""
    """"s" where value and limit are durations."""


@dataclass(frozen=True)
class Facts:
    """What is known of the run beside its levels. None: not known, and not doubted."""

    client_cpu: Mapping[int, float] = field(default_factory=dict)
    """Of the busiest process, as a share of a core, by level (90th percentile of the seconds)."""
    loop_lag: Mapping[int, float] = field(default_factory=dict)
    """Seconds, by level."""
    cut_off: bool = False
    rows_seen: int | None = None
    rows_kept: int | None = None
    sent: int | None = None
    ended: int | None = None
    think_time: float | None = None
    """Mean seconds between a user's requests, where all users do alike."""
    clock: str | None = None
    own: Sequence[Check] = ()
    """What the running process checked for itself."""
    decisive: Collection[int] | None = None
    """The levels that the verdict rests on; None: all. Too few requests elsewhere are said, and doubt nothing."""


def checks(
    levels: Sequence[LevelFigures], facts: Facts | None = None, thresholds: Iterable[Threshold] = ()
) -> list[Check]:
    """Every check that the run has figures for, the failed ones first."""
    facts = facts or Facts()
    wanted = {threshold.statistic for threshold in thresholds}
    found = [
        _requests(levels, "p95", facts, strict=True),
        _requests(levels, "p99", facts, strict="p99" in wanted),
        _client_cpu(facts, levels),
        _loop_lag(facts, levels),
        _coalesced(levels),
        _counted_chunks(levels),
        _aborted(levels),
        _cut_off(facts),
        _sampled(facts),
        _reached(levels),
        _lost(facts),
        _little(levels),
        _think_time(levels, facts),
    ]
    found = list(dict.fromkeys(found))  # both percentiles have the same to say of no requests at all
    ours = _with_own([each for each in found if each is not None], facts.own)
    return sorted(ours, key=lambda each: each.ok)


def _with_own(ours: list[Check], own: Sequence[Check]) -> list[Check]:
    """The process's own checks added; where both looked at the same, the one that fails counts."""
    failed = {each.name for each in own if not each.ok}
    kept = [each for each in ours if each.name not in failed]
    names = {each.name for each in kept}
    return [*kept, *(each for each in own if each.name not in names)]


def _loads(levels: Iterable[LevelFigures]) -> str:
    named = list(levels)
    text = words.series([words.load(each.load) for each in named])
    return f"{text} {words.unit_of(named[0].unit, named[0].load if len(named) == 1 else 2)}" if named else text


def _marks(levels: Iterable[LevelFigures]) -> tuple[int, ...]:
    return tuple(each.level for each in levels)


def _requests(levels: Sequence[LevelFigures], statistic: str, facts: Facts, *, strict: bool) -> Check | None:
    used = [each for each in levels if each.requests]
    if not used:
        return Check("any requests", False, 0, 1, "No level has a single request: there is nothing to believe.")
    fewest = min(each.ok for each in used)
    least, bounded = LEAST[statistic], BOUNDED[statistic]
    name = f"requests for {statistic}"
    short = [each for each in used if each.ok < least]
    if short:
        says = (
            f"At {_loads(short)} fewer than {least} requests succeeded (fewest: {fewest}), so {statistic} is only the "
            f"slowest of them; {bounded} are needed for one with an interval. Hold the levels longer."
        )
        hurt = strict and any(facts.decisive is None or each.level in facts.decisive for each in short)
        return Check(name, not hurt, fewest, least, says, _marks(short))
    few = [each for each in used if each.ok < bounded]
    says = (
        f"At {_loads(few)} fewer than {bounded} requests succeeded (fewest: {fewest}): {statistic} has no upper end to "
        f"its 95 % interval there."
        if few
        else f"Every level has at least {fewest} successful requests, enough for {statistic} with an interval."
    )
    return Check(name, True, fewest, least, says, _marks(few))


def _by_level(values: Mapping[int, float], levels: Sequence[LevelFigures], limit: float) -> list[LevelFigures]:
    return [each for each in levels if values.get(each.level, 0.0) > limit]


def _client_cpu(facts: Facts, levels: Sequence[LevelFigures]) -> Check | None:
    known = {level: value for level, value in facts.client_cpu.items() if not math.isnan(value)}
    if not known:
        return None
    worst = max(known.values())
    over = _by_level(known, levels, CPU_LIMIT)
    if worst <= CPU_LIMIT:
        says = f"The busiest load process used at most {words.share(worst)} of its core."
        return Check("client CPU", True, worst, CPU_LIMIT, says)
    where = f" at {_loads(over)}" if over else ""
    says = (
        f"The load generator itself was full{where} ({words.share(worst)} of a core): waits there may be its own. "
        f"Use more processes or machines (--processes, --worker)."
    )
    return Check("client CPU", False, worst, CPU_LIMIT, says, _marks(over))


def _loop_lag(facts: Facts, levels: Sequence[LevelFigures]) -> Check | None:
    known = {level: value for level, value in facts.loop_lag.items() if not math.isnan(value)}
    if not known:
        return None
    worst = max(known.values())
    over = _by_level(known, levels, LAG_LIMIT)
    if worst <= LAG_LIMIT:
        says = f"The load generator's event loop woke at most {words.duration(worst)} late."
        return Check("event loop lag", True, worst, LAG_LIMIT, says, unit="s")
    kernel = facts.clock == "kernel"
    cure = "arrival times are the kernel's, so only coalesced gaps suffer" if kernel else "latencies carry it"
    where = f" at {_loads(over)}" if over else ""
    says = f"The load generator's event loop woke {words.duration(worst)} late{where}; {cure}."
    return Check("event loop lag", kernel, worst, LAG_LIMIT, says, _marks(over), unit="s")


def _coalesced(levels: Sequence[LevelFigures]) -> Check | None:
    known = [each for each in levels if not math.isnan(each.coalesced)]
    if not known:
        return None
    worst = max(each.coalesced for each in known)
    over = [each for each in known if each.coalesced > COALESCED_LIMIT]
    if over:
        says = (
            f"At {_loads(over)} up to {words.share(worst)} of the tokens came together with an earlier one: of those "
            f"gaps only the sum is known. Read TPOT rather than the gap percentiles there."
        )
        return Check("coalesced tokens", False, worst, COALESCED_LIMIT, says, _marks(over))
    says = f"At most {words.share(worst)} of the tokens came together with an earlier one."
    return Check("coalesced tokens", True, worst, COALESCED_LIMIT, says)


def _counted_chunks(levels: Sequence[LevelFigures]) -> Check | None:
    known = [each for each in levels if not math.isnan(each.counted_chunks)]
    if not known:
        return None
    worst = max(each.counted_chunks for each in known)
    if worst == 0.0:
        return Check("token counts", True, 0.0, 0.0, "Every token count is the server's own.")
    says = (
        f"For up to {words.share(worst)} of the requests the server told no usage, so chunks were counted as tokens: "
        f"tokens/s and TPOT may be off where a chunk holds several tokens."
    )
    over = [each for each in known if each.counted_chunks > 0.0]
    return Check("token counts", True, worst, 0.0, says, _marks(over))


def _aborted(levels: Sequence[LevelFigures]) -> Check | None:
    known = [(each, each.aborted / (each.requests + each.aborted)) for each in levels if each.requests + each.aborted]
    if not known:
        return None
    worst = max(part for _, part in known)
    over = [each for each, part in known if part > ABORTED_LIMIT]
    if over:
        says = (
            f"At {_loads(over)} up to {words.share(worst)} of the requests were cut off by the end of the run; they "
            f"were the long ones, so latencies read too low. Give the run time to finish (--stop-timeout)."
        )
        return Check("aborted requests", False, worst, ABORTED_LIMIT, says, _marks(over))
    says = (
        "No request was cut off by the end of the run."
        if worst == 0.0
        else (f"At most {words.share(worst)} of a level's requests were cut off by the end of the run.")
    )
    return Check("aborted requests", True, worst, ABORTED_LIMIT, says)


def _cut_off(facts: Facts) -> Check | None:
    if not facts.cut_off:
        return None
    says = "The run did not end properly (killed, or still going): its last seconds are missing."
    return Check("run ended", False, None, None, says)


def _sampled(facts: Facts) -> Check | None:
    if facts.rows_seen is None or facts.rows_kept is None:
        return None
    if facts.rows_kept >= facts.rows_seen:
        return Check("request rows", True, facts.rows_kept, facts.rows_seen, "Every request has its row.")
    says = (
        f"{facts.rows_kept} of {facts.rows_seen} request rows were kept (a sample); levels, percentiles and histograms "
        f"count all requests, goodput is estimated from the sample."
    )
    return Check("request rows", True, facts.rows_kept, facts.rows_seen, says)


def _reached(levels: Sequence[LevelFigures]) -> Check | None:
    if not levels:
        return None
    missed = [each for each in levels if not each.reached]
    if not missed:
        return Check("levels reached", True, 0, 0, "Every level had the load that was asked for.")
    says = f"The load of {_loads(missed)} was never there; those levels are left out of the verdict."
    return Check("levels reached", False, len(missed), 0, says, _marks(missed))


def _lost(facts: Facts) -> Check | None:
    if facts.sent is None or facts.ended is None:
        return None
    lost = facts.sent - facts.ended
    if lost <= 0:
        return Check("lost requests", True, 0, 0, f"All {facts.sent} requests that were sent are accounted for.")
    says = f"{lost} of {facts.sent} requests were sent and never accounted for (a lost worker, or a killed run)."
    return Check("lost requests", False, lost, 0, says)


def _cycles(levels: Sequence[LevelFigures]) -> Iterable[tuple[LevelFigures, float, float]]:
    """Closed-loop levels that Little's law can be asked about, with X·R and the users that were there."""
    for each in levels:
        users = each.load if math.isnan(each.users) else each.users
        busy = each.throughput * each.metric("e2e").mean
        if each.unit == USERS and users > 0 and each.ok >= 30 and each.errors <= 0.05 and busy > 0:
            yield each, busy, users


def _little(levels: Sequence[LevelFigures]) -> Check | None:
    """No more requests can be in flight than there are users: X·R ≤ N."""
    known = [(busy / users, each) for each, busy, users in _cycles(levels)]
    if not known:
        return None
    worst = max(part for part, _ in known)
    limit = 1.0 + LITTLE_LIMIT
    over = [each for part, each in known if part > limit]
    if over:
        says = (
            f"At {_loads(over)} throughput × latency is {words.digits(worst)} times the users: by Little's law these "
            f"figures are not of the same requests (more users than said, or a window that was too short)."
        )
        return Check("Little's law", False, worst, limit, says, _marks(over))
    says = f"Throughput × latency never exceeds the users (at most {words.digits(worst)} of them), as it must be."
    return Check("Little's law", True, worst, limit, says)


def _think_time(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """N = X (R + Z), with the think time Z that the users were said to take."""
    if facts.think_time is None:
        return None
    known = [
        ((busy + each.throughput * facts.think_time) / users, each)
        for each, busy, users in _cycles(levels)
        if each.window > 5.0 * facts.think_time
    ]
    if not known:
        return None
    off = [(part, each) for part, each in known if abs(part - 1.0) > LITTLE_LIMIT]
    worst = max((part for part, _ in known), key=lambda part: abs(part - 1.0))
    if off:
        seen = [each.load / each.throughput - each.metric("e2e").mean for _, each in off]
        says = (
            f"A think time of {words.duration(facts.think_time)} does not fit the figures at "
            f"{_loads(each for _, each in off)}: users, throughput and latency there say "
            f"{words.duration(max(0.0, sum(seen) / len(seen)))} (Little's law, N = X·(R + Z))."
        )
        return Check("think time", False, worst, 1.0 + LITTLE_LIMIT, says, _marks(each for _, each in off))
    says = f"Users, throughput, latency and the think time of {words.duration(facts.think_time)} fit together."
    return Check("think time", True, worst, 1.0 + LITTLE_LIMIT, says)


_WAIT = re.compile(r"wait ([0-9.]+)(?: to ([0-9.]+))? s")


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
