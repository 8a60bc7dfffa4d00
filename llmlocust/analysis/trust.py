"""Whether a run's numbers can be believed: each doubt is a check with a value, a limit and a sentence. Pure.

A check fails where the numbers are hurt. What only limits how far they reach is said with `ok` true.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from llmlocust.analysis import words
from llmlocust.analysis.course import CHANGE, Change, Course, change_of
from llmlocust.numbers.levels import EXACT_SHARE, HEADLINE, RANGED, RATE, USERS, LevelFigures
from llmlocust.numbers.thresholds import Threshold

CPU_LIMIT = 0.9
"""Below, one process was right and kept up with a client that does the least; from 0.96 on it was up to 17 % slower \
(docs/accuracy.md)."""
LAG_LIMIT = 0.002
LAG_SHARE = 0.05
"""Where arrival times are our own, latencies carry our lateness. An event loop that woke 2 to 4 ms late went with a \
p99 gap that was wrong by 0.7 to 1.7 ms (docs/accuracy.md); gaps so long that this is a small share of them bear more."""
GATHERED = 0.2
"""More tokens than this that came together are no chance: something gathers them, or the server sends several."""
EMPTY_LIMIT = 0.01
EMPTY_LEVEL = 0.1
"""A level with more empty answers than this says nothing of what load does to the server."""
LENGTH_LIMIT = 1.25
"""Mean lengths of answers further apart than this factor make two systems of one: requests a second and end to end \
go with the length, and the verdict calls a growth of 1.3 times the load's a cliff."""
SURELY = 2.6
"""Standard errors: one level in two hundred by chance, where each is compared with the lowest."""
ABORTED_LIMIT = 0.05
LATE = 0.005
LATE_SHARE = 0.05
"""Requests that were sent so late, in more than this share of the time to their first token, are not the load that was \
asked for, and their latency from when they were due is another."""
LITTLE_LIMIT = 0.25
THINK_FLOOR = 0.01
"""Seconds between a user's requests that the load generator's own work may take."""
PAUSE = 1.0
"""Seconds that a user of ours waits at least after a failed request."""
NO_TIME = 0.02
"""Less than this share of a user's cycle is no think time."""
LOAD_LIMIT = EXACT_SHARE
"""A level whose load was off by a larger share is another one: two runs of the same load differ by as much anyway."""
FAILURES_LIMIT = 0.01
HOLD_SLACK = 1.5
"""Seconds: levels are ended by a clock that ticks once a second."""
SHORT = 5.0
CYCLES = 2.0
"""Requests of each user that a level should hold."""
HELD_LONGER = 3.0
"""So many times longer a level that has not come to rest should be held."""
CACHED = 0.2
"""A larger share of prompt tokens from the cache makes another server of it."""
TOO_FEW_TOKENS = 0.8
"""Tokens a chunk: with fewer than this the server's count cannot be right."""
SEVERAL_TOKENS = 1.2
UNEVEN_CHUNKS = 1.5
"""Where chunks hold so many times more tokens at one level than at another, their gaps do not compare."""
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
    planned: Sequence[float] = ()
    """The loads of the plan, in its order: the level of index i is the i-th of them."""
    hold: float | None = None
    """Seconds that each level was to be measured,"""
    holds: Sequence[float] = ()
    """or where that differs, how long the level of index i was to be."""
    requests: int | None = None
    """How many the run was of, where it was of a fixed number."""
    stopped: bool | None = None
    """Whether somebody ended the run before its plan was through, where the run says so."""
    empty: Mapping[int, float] = field(default_factory=dict)
    """Share of a level's successful requests that brought no token."""
    busy: Mapping[int, float] = field(default_factory=dict)
    """Mean seconds that a user was busy with a successful request, its response read to the end, by level."""
    length_noise: Mapping[int, float] = field(default_factory=dict)
    """Standard error of a level's mean output tokens, as a share of that mean."""
    rows_seen: int | None = None
    rows_kept: int | None = None
    sent: int | None = None
    ended: int | None = None
    think_time: float | None = None
    """Mean seconds between a user's requests, where all users do alike."""
    clock: str | None = None
    courses: Mapping[int, Sequence[Course]] = field(default_factory=dict)
    """How latencies went inside each level."""
    settle: float | None = None
    """Seconds that each level was let settle."""
    cache_hits: Mapping[int, float] = field(default_factory=dict)
    """Share of a level's prompt tokens that came from the server's prefix cache, by its own counters."""
    prompts: int | None = None
    """How many different prompts were asked over and over; None where each was made unique, or nobody told. 0: not \
known how many."""
    shared: bool = False
    """Every prompt begins with the same system prompt, as the users' own would."""
    gone: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Load processes that fell silent inside a level."""
    stood_still: Mapping[int, float] = field(default_factory=dict)
    """Levels in which a load process did nothing for a while and went on then, with how many seconds that was."""
    silent: int = 0
    """Load processes that never told anything."""
    tokens_a_chunk: Mapping[int, float] = field(default_factory=dict)
    """Tokens of the server's usage for each chunk that came."""
    bare: bool = False
    """Nothing is known but a table of levels that somebody wrote."""
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
        None if facts.bare else _empty(levels, facts),
        _length(levels, facts),
        _requests(levels, "p95", facts, strict=True),
        _requests(levels, "p99", facts, strict="p99" in wanted),
        _client_cpu(facts, levels),
        _token_times(levels),
        _loop_lag(facts, levels),
        _together(levels),
        _counted_chunks(levels),
        None if facts.bare else _aborted(levels),
        _completed(levels, facts),
        _cut_off(facts),
        _sampled(facts),
        None if facts.bare else _reached(levels),
        _held_back(levels),
        _on_time(levels),
        _held(levels, facts),
        _lost(levels, facts),
        *_steady(levels, facts),
        _workers(levels, facts),
        _frozen(levels, facts),
        _prefix_cache(levels, facts),
        _usage(levels, facts),
        _clock(facts),
        _little(levels, facts),
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


def _more(facts: Facts) -> str:
    """How to have more requests at a level."""
    return "Ask for more requests (--requests)" if facts.requests else "Hold the levels longer"


def _loads(levels: Iterable[LevelFigures]) -> str:
    named = list(levels)
    text = words.series([words.load(each.load) for each in named])
    return f"{text} {words.unit_of(named[0].unit, named[0].load if len(named) == 1 else 2)}" if named else text


def _marks(levels: Iterable[LevelFigures]) -> tuple[int, ...]:
    return tuple(each.level for each in levels)


def _requests(levels: Sequence[LevelFigures], statistic: str, facts: Facts, *, strict: bool) -> Check | None:
    used = [each for each in levels if each.requests and each.counted]
    if not used and any(each.requests for each in levels):
        return None
    if not used:
        return Check("any requests", False, 0, 1, "No level has a single request: there is nothing to believe.")
    used = [each for each in used if each.ok]
    if not used:
        return Check(
            "any success", False, 0, 1, "No request succeeded at any level: there are no latencies to believe."
        )
    fewest = min(each.ok for each in used)
    least, bounded = LEAST[statistic], BOUNDED[statistic]
    name = f"requests for {statistic}"
    short = [each for each in used if each.ok < least]
    if short:
        hurt = strict and any(facts.decisive is None or each.level in facts.decisive for each in short)
        says = (
            f"At {_loads(short)} fewer than {least} requests succeeded (fewest: {fewest}), so {statistic} is only the "
            f"slowest of them; {bounded} are needed for one with an interval. {_more(facts)}."
            if hurt
            else f"{statistic} at {_loads(short)} rests on fewer than {least} requests (fewest: {fewest}): read "
            f"{'p95' if fewest >= LEAST['p95'] else 'p50'} there, or {_more(facts).lower()}."
        )
        return Check(name, not hurt, fewest, least, says, _marks(short))
    few = [each for each in used if each.ok < bounded]
    says = (
        f"{statistic} at {_loads(few)} rests on fewer than {bounded} requests (fewest: {fewest}): its 95 % interval has "
        f"no upper end there."
        if few
        else f"Every level has at least {fewest} successful requests, enough for {statistic} with an interval."
    )
    return Check(name, True, fewest, least, says, _marks(few))


def _empties(levels: Sequence[LevelFigures], facts: Facts) -> Iterable[tuple[float, LevelFigures]]:
    """The share of each level's successes that brought no token; levels that do not tell are left out."""
    timed = any(each.metric("e2e").count for each in levels)
    for each in levels:
        if not each.ok:
            continue
        known = timed or each.output_tokens == 0.0
        # who has a last token has an end-to-end time
        untimed = 1.0 - min(each.ok, each.metric("e2e").count) / each.ok if known else math.nan
        share = max((part for part in (untimed, facts.empty.get(each.level, math.nan)) if part >= 0.0), default=None)
        if share is not None:
            yield share, each


def empty_levels(levels: Sequence[LevelFigures], shares: Mapping[int, float]) -> frozenset[int]:
    """The levels that say nothing, for so many of their answers brought no token. `shares` are those of their rows."""
    return frozenset(each.level for share, each in _empties(levels, Facts(empty=shares)) if share > EMPTY_LEVEL)


def _empty(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """A server that answers 200 without a word is fast, and no success."""
    known = list(_empties(levels, facts))
    if not known:
        return None
    worst = max(share for share, _ in known)
    over = [each for share, each in known if share > EMPTY_LIMIT]
    if over:
        says = (
            f"At {_loads(over)} up to {words.share(worst)} of the successful requests brought no token: their "
            f"throughput is that of empty answers. Look at one by hand (the prompt, max tokens, the server's log)."
        )
        return Check("empty answers", False, worst, EMPTY_LIMIT, says, _marks(over))
    says = (
        "Every successful request brought tokens."
        if worst == 0.0
        else f"At most {words.share(worst)} of a level's successful requests brought no token."
    )
    return Check("empty answers", True, worst, EMPTY_LIMIT, says)


def _length(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Levels compare only where their answers are about as long."""
    told = sorted((each for each in levels if each.output_tokens > 0.0 and each.ok), key=lambda each: each.load)
    if len(told) < 2:
        return None
    base = told[0]

    def noise(each: LevelFigures) -> float:
        # lengths that are not told one by one are taken as spread as widely as their mean
        return facts.length_noise.get(each.level, 1.0 / math.sqrt(each.ok))

    def apart(each: LevelFigures) -> float:
        return min(20.0, abs(math.log(each.output_tokens) - math.log(base.output_tokens)))

    off = [
        each
        for each in told[1:]
        if apart(each) - SURELY * math.hypot(noise(each), noise(base)) > math.log(LENGTH_LIMIT)
    ]
    worst = max(told[1:], key=apart)
    factor = math.exp(apart(worst))
    if off:
        worst = max(off, key=apart)
        says = (
            f"Answers had {words.digits(base.output_tokens)} tokens on average at {_loads([base])}, but "
            f"{words.digits(worst.output_tokens)} at {_loads([worst])}: {_loads(off)} cannot be compared with the lowest "
            f"level. Fix the length (--llm-max-tokens, the same prompts), or see whether the server cuts answers short."
        )
        return Check("answer length", False, math.exp(apart(worst)), LENGTH_LIMIT, says, _marks(off))
    says = f"Answers are about as long at every level (means at most {words.digits(factor)} times apart)."
    if factor > LENGTH_LIMIT:
        says = f"Mean lengths of answers are up to {words.digits(factor)} times apart, which so few may be by chance."
    return Check("answer length", True, factor, LENGTH_LIMIT, says)


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


def _token_times(levels: Sequence[LevelFigures]) -> Check | None:
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
            f"At {_loads(over)} the load generator itself was late: up to {words.share(late)} of the gaps between tokens "
            f"are known only in sum, so that {name} of {_RANGED[metric]} at {_loads([each])} is somewhere from "
            f"{words.span(*each.metric(metric).ranges[name])}. Use more processes or machines (--processes, --worker)."
        )
        return Check("token times", False, late, None, says, _marks(over))
    says = "The load generator read every token in time."
    if late > 0.0:
        says = (
            f"At most {words.share(late)} of the gaps between tokens are known only in sum, because the load generator "
            f"read late: too few to move a percentile."
        )
    return Check("token times", True, late, None, says)


_RANGED = {"ttft": "TTFT", "gap": "the gaps"}


def _is_wide(each: LevelFigures, metric: str, name: str) -> bool:
    summary = each.metric(metric)
    # of too few values a percentile is only the greatest of them: that is another check's doubt
    return summary.count >= LEAST.get(name, 0) and summary.range_of(name) is not None


def _width(wide: tuple[LevelFigures, str, str]) -> float:
    least, most = wide[0].metric(wide[1]).ranges[wide[2]]
    return most - least


def _loop_lag(facts: Facts, levels: Sequence[LevelFigures]) -> Check | None:
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
        f"The load generator's event loop woke up to {words.duration(worst)} late at {_loads(over)}, and arrival times are "
        f"its own: latencies carry it. Use more processes or machines (--processes, --worker)."
    )
    return Check("event loop lag", False, worst, LAG_LIMIT, says, _marks(over), unit="s")


def _bearable_lag(each: LevelFigures) -> float:
    gap = each.metric("gap")["p99"]
    return LAG_LIMIT if math.isnan(gap) else max(LAG_LIMIT, LAG_SHARE * gap)


def _together(levels: Sequence[LevelFigures]) -> Check | None:
    """Tokens that came together, and did not just wait for us: the user of the server would get them so too."""
    shares = {each.level: _came_together(each) for each in levels if not math.isnan(each.coalesced)}
    if not shares:
        return None
    worst = max(shares.values())
    over = _by_level(shares, levels, GATHERED)
    if over:
        says = (
            f"At {_loads(over)} up to {words.share(worst)} of the tokens came together with an earlier one: the server "
            f"sends several at once, or something before it gathers them (a proxy that buffers?). Where it is a proxy "
            f"that users do not have, TTFT reads late and TPOT short; end to end and throughput hold."
        )
        return Check("tokens together", True, worst, GATHERED, says, _marks(over))
    says = f"At most {words.share(worst)} of the tokens came together with an earlier one."
    if worst == 0.0:
        says = "No token came together with an earlier one."
    return Check("tokens together", True, worst, GATHERED, says)


def _came_together(each: LevelFigures) -> float:
    # of n chunks that waited for us n - 1 count as coalesced and n gaps as blurred
    return max(0.0, each.coalesced - (0.0 if math.isnan(each.blurred) else each.blurred))


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


def _completed(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether all that was planned was measured."""
    told = f"stopped after {_held_whole(levels, facts)} of {len(facts.planned)} levels"
    if not facts.planned:
        if not facts.stopped:
            return None
        return Check("run completed", False, None, None, "The run was stopped before it was through.")
    if facts.requests and facts.stopped:
        made = sum(each.requests for each in levels)
        says = f"Stopped after {made} of {facts.requests} requests."
        return Check("run completed", False, made, facts.requests, says, _marks(levels), unit="requests")
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
    return Check("run completed", False, len(begun) - len(cut), len(facts.planned), _sentence(says), _marks(cut))


def _cut_short(figures: LevelFigures, facts: Facts) -> bool:
    hold = _to_hold(figures, facts)
    return hold is not None and figures.window < hold - HOLD_SLACK


def _to_hold(figures: LevelFigures, facts: Facts) -> float | None:
    return facts.holds[figures.level] if figures.level < len(facts.holds) else facts.hold


def _held_whole(levels: Sequence[LevelFigures], facts: Facts) -> int:
    return sum(each.window > 0.0 and not _cut_short(each, facts) for each in levels)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


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
    off = [each for each in levels if each.reached and _not_as_asked(each) > LOAD_LIMIT]
    if not missed and not off:
        return Check("levels reached", True, 0, 0, "Every level had the load that was asked for.")
    says = []
    if missed:
        says.append(f"The load of {_loads(missed)} was never there; those levels are left out of the verdict.")
    if off:
        worst = words.share(max(map(_not_as_asked, off)))
        says.append(
            f"At {_loads(off)} up to {worst} of the load was not what was asked for: users were not there or too many, "
            f"or their load process was cut off and had not heard that the level began or ended."
        )
    return Check("levels reached", False, len(missed) + len(off), 0, " ".join(says), _marks([*missed, *off]))


def _not_as_asked(level: LevelFigures) -> float:
    """A share of the load, where it is known."""
    known = [level.unheard]
    if level.unit == USERS and level.load > 0.0:
        known.append(abs(level.users / level.load - 1.0))
    return max((each for each in known if not math.isnan(each)), default=0.0)


def _held_back(levels: Sequence[LevelFigures]) -> Check | None:
    """A cap of requests in flight makes an open load a closed one."""
    due = [each for each in levels if each.due]
    if not due:
        return None
    capped = [each for each in due if each.held_back]
    if not capped:
        return Check("cap in flight", True, 0, 0, "Every request that was due was sent.")
    held, of = sum(each.held_back for each in capped), sum(each.due for each in capped)
    says = (
        f"At {_loads(capped)} the cap of requests in flight held back {held} of {of} requests that were due: less load "
        f"was there than was asked for. Raise it (--llm-most-in-flight), or use more load processes."
    )
    return Check("cap in flight", False, held, 0, says, _marks(capped))


def _on_time(levels: Sequence[LevelFigures]) -> Check | None:
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
        f"At {_loads(late)} requests were sent late, 1 % of them by {words.duration(worst)} or more: the load "
        f"generator does not keep up with the rate. Use more load processes (--processes)."
    )
    return Check("schedule delay", False, worst, LATE, says, _marks(late), unit="s")


def _latest(each: LevelFigures) -> float:
    """What 99 % of a level's requests must be on time by."""
    first = each.metric("ttft") if each.metric("ttft").count else each.metric("e2e")
    return max(LATE, LATE_SHARE * first["p99"])


def _held(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
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
            f"{_loads(brief)} {_were(brief)} measured for less than {SHORT:g} s (shortest: {words.digits(least)} s)"
        )
    if few:
        parts.append(f"at {_loads(few)} there were fewer than {CYCLES:g} requests a user")
    says = f"{'; '.join(parts)}: such a level has hardly come to rest. {_more(facts)}"
    return Check("level length", True, None, None, _sentence(says), tuple(sorted({*_marks(brief), *_marks(few)})))


def _were(levels: Sequence[LevelFigures]) -> str:
    return "was" if len(levels) == 1 and levels[0].load == 1 and levels[0].unit == USERS else "were"


def _lost(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    if facts.sent is None or facts.ended is None:
        return None
    lost = facts.sent - facts.ended
    if lost <= 0:
        return Check("lost requests", True, 0, 0, f"All {facts.sent} requests that were sent are accounted for.")
    says = f"{lost} of {facts.sent} requests were sent and never accounted for (a lost worker, or a killed run)."
    return Check("lost requests", False, lost, 0, says, _marks(each for each in levels if each.level in facts.gone))


def _steady(levels: Sequence[LevelFigures], facts: Facts) -> list[Check | None]:
    """Two ways not to stand still: the level's beginning differs from the rest, or it never came to rest."""
    found: dict[int, Change] = {}
    for level, courses in facts.courses.items():
        changes = [change for course in courses if (change := change_of(course)) is not None]
        if changes:
            # how fast tokens come is the server's own pace, waits are what load makes of it
            found[level] = max(changes, key=lambda each: (each.metric == "tpot", each.size))
    judged = [each for each in levels if facts.courses.get(each.level)]
    if not judged:
        return []
    changed = [(each, found[each.level]) for each in judged if each.level in found]
    waits = [each for each, change in changed if _only_waits(each, change)]
    left = [(each, change) for each, change in changed if not _only_waits(each, change)]
    return [
        _warm_up([(each, change) for each, change in left if math.isfinite(change.until)], facts),
        _drift([(each, change) for each, change in left if math.isinf(change.until)], waits, facts),
    ]


def _only_waits(each: LevelFigures, change: Change) -> bool:
    """Near its capacity, an open load has a queue that comes and goes; above, one that grows without an end."""
    return each.unit == RATE and change.metric != "tpot"


def _how(each: LevelFigures, change: Change) -> str:
    name = {"ttft": "TTFT", "tpot": "the time per token", "e2e": "the time of a request"}[change.metric]
    return f"{name} went {words.change(change.before, change.after)} inside {_loads([each])}"


_BEGINS = (
    "A fixed number of requests has its beginning in its figures: ask for more, or hold the level for a time (--hold), "
    "which begins when it has settled."
)


def _warm_up(early: Sequence[tuple[LevelFigures, Change]], facts: Facts) -> Check:
    if not early:
        says = "No level begins otherwise than it goes on: the warm-up was long enough."
        return Check("warm-up", True, 1.0, CHANGE, says)
    each, change = max(early, key=lambda pair: pair[1].size)
    longest = max(change.until for _, change in early)
    settle = f", {math.ceil((facts.settle or 0.0) + longest)} s in all" if facts.settle is not None else ""
    says = (
        f"The warm-up leaks into {_loads([each for each, _ in early])}: {_how(each, change)} and then stood still. "
        + (_BEGINS if facts.requests else f"Let levels settle {math.ceil(longest)} s longer (--settle{settle}).")
    )
    return Check("warm-up", False, math.exp(change.size), CHANGE, says, _marks(each for each, _ in early))


def _drift(late: Sequence[tuple[LevelFigures, Change]], waits: Sequence[LevelFigures], facts: Facts) -> Check:
    if late:
        each, change = max(late, key=lambda pair: pair[1].size)
        hold = math.ceil(HELD_LONGER * max(each.window for each, _ in late))
        says = (
            f"Not steady at {_loads([each for each, _ in late])}: {_how(each, change)}, and still changed at its end. "
            f"{_more(facts) if facts.requests else f'Hold such a level for {hold} s or more'}, or see what else changed "
            "meanwhile."
        )
        return Check("drift", False, math.exp(change.size), CHANGE, says, _marks(each for each, _ in late))
    if waits:
        says = (
            f"At {_loads(waits)} waits changed while the level was held, as a queue's do that comes and goes or grows: "
            f"latencies there hang on how long that was."
        )
        return Check("drift", True, None, CHANGE, says, _marks(waits))
    return Check("drift", True, 1.0, CHANGE, "Latencies stood still inside every level that is long enough to tell.")


def _workers(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    names = sorted({name for gone in facts.gone.values() for name in gone})
    if names:
        where = [each for each in levels if each.level in facts.gone]
        says = (
            f"{words.series(names[:3])}{' and others' if len(names) > 3 else ''} fell silent inside {_loads(where)}: "
            f"users and requests of {'these processes' if len(names) > 1 else 'this process'} are missing from then on."
        )
        return Check("lost workers", False, len(names), 0, says, _marks(where))
    if facts.silent:
        says = f"{facts.silent} of the load processes never told anything: their requests are missing."
        return Check("lost workers", False, facts.silent, 0, says)
    return None


def _frozen(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    where = [each for each in levels if each.level in facts.stood_still]
    if not where:
        return None
    longest = max(facts.stood_still.values())
    says = (
        f"A load process stood still for up to {words.digits(longest)} s inside {_loads(where)} (frozen, or without a "
        f"core): its users sent nothing meanwhile."
    )
    return Check("frozen workers", False, longest, None, says, _marks(where))


def _prefix_cache(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Prompts that the server had seen before cost it nothing: the run then measures the cache."""
    over = [each for each in levels if facts.cache_hits.get(each.level, 0.0) > CACHED]
    if facts.cache_hits:
        worst = max(facts.cache_hits.values())
        says = f"The server had at most {words.share(worst)} of a level's prompt tokens in its prefix cache."
        if not over:
            return Check("prefix cache", True, worst, CACHED, says)
        says = (
            f"At {_loads(over)} up to {words.share(worst)} of the prompt tokens came from the server's prefix cache: "
            f"TTFT and throughput are those of prompts that it knew."
        )
        if facts.shared:
            return Check("prefix cache", True, worst, CACHED, f"{says} The system prompt is shared.", _marks(over))
        return Check("prefix cache", False, worst, CACHED, f"{says} {_UNIQUE}", _marks(over))
    if facts.prompts is None:
        return None
    asked = [each for each in levels if each.requests]
    many = f"The same {facts.prompts} prompts" if facts.prompts else "The same prompts"
    says = (
        f"{many} were asked over and over, and whether the server has a prefix cache is not known: where it has, TTFT "
        f"and throughput are the cache's. {_UNIQUE}"
    )
    return Check("prefix cache", False, None, CACHED, says, _marks(asked))


_UNIQUE = "Ask unique prompts (--llm-unique), unless your users repeat theirs as often."


def _usage(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """The server's count of tokens against the chunks that came."""
    known = [each for each in levels if each.level in facts.tokens_a_chunk]
    if not known:
        return None
    told = facts.tokens_a_chunk
    least, most = (pick(told[each.level] for each in known) for pick in (min, max))
    few = [each for each in known if told[each.level] < TOO_FEW_TOKENS]
    if few:
        says = (
            f"At {_loads(few)} the server told {words.digits(least)} tokens for each chunk with text that came: it "
            f"counts too few, so that tokens/s and TPOT are off."
        )
        return Check("usage", False, least, TOO_FEW_TOKENS, says, _marks(few))
    if most > UNEVEN_CHUNKS * least:
        other = [each for each in known if told[each.level] > UNEVEN_CHUNKS * least]
        says = (
            f"A chunk held {words.digits(least)} tokens at one level, and up to {words.digits(most)} at {_loads(other)}: "
            f"gaps between chunks do not compare over the load."
        )
        return Check("usage", False, most, UNEVEN_CHUNKS * least, says, _marks(other))
    if most > SEVERAL_TOKENS:
        says = (
            f"The server told up to {words.digits(most)} tokens for each chunk that came: it sends several at once, or "
            f"counts some that it does not send. Gaps are between chunks."
        )
        several = [each for each in known if told[each.level] > SEVERAL_TOKENS]
        return Check("usage", True, most, SEVERAL_TOKENS, says, _marks(several))
    return Check("usage", True, most, SEVERAL_TOKENS, "The server's token counts fit the chunks that came.")


def _clock(facts: Facts) -> Check | None:
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


def standing(checks: Iterable[Check], rests: Mapping[str, Collection[int]]) -> dict[str, bool]:
    """Which numbers stand in spite of the checks that failed: those that rest on no level that one of them marks.

    `rests`: by number, the levels that it rests on. A failed check that marks no level is of the whole run, but for
    levels that never came.
    """
    failed = [each for each in checks if not each.ok and (each.levels or each.name != "run completed")]
    marked = {level for each in failed for level in each.levels}
    whole = any(not each.levels for each in failed)
    return {name: not whole and marked.isdisjoint(levels) for name, levels in rests.items()}


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


def _little(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
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
        says = (
            f"At {_loads(over)} throughput × latency is {words.digits(worst)} times the users: by Little's law these "
            f"figures are not of the same requests (more users than said, or a window that was too short)."
        )
        return Check("Little's law", False, worst, limit, says, _marks(over))
    says = "Throughput × latency never exceeds the users by more than noise, as it must be"
    return Check("Little's law", True, worst, limit, f"{says} (at most {words.digits(worst)} of them).")


def _think_time(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
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
        why = "; the load generator's own work may be what takes it" if seen > think else ""
        says = (
            f"A think time of {words.duration(think)} does not fit the figures at "
            f"{_loads(each.figures for each in wrong)}: users, throughput and the time of a request leave "
            f"{words.duration(seen) if seen >= 0.001 else 'no time'} between two requests of a user (Little's law, "
            f"N = X·(R + Z)){why}."
        )
        return Check("think time", False, worst, 1.0 + LITTLE_LIMIT, says, _marks(each.figures for each in wrong))
    says = f"Users, throughput, latency and the think time of {words.duration(think)} fit together."
    return Check("think time", True, worst, 1.0 + LITTLE_LIMIT, says)


def _think_time_left(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Nobody told a think time: which one the figures leave, for whoever knows better."""
    known = list(_cycles(levels, facts))
    if not known:
        return None
    none = [each.figures for each in known if each.between < NO_TIME * each.length]
    seen = max(0.0, sum(each.between for each in known) / len(known))
    left = f"no time at {_loads(none)}" if none else f"{words.duration(seen)} on average"
    says = (
        f"Users, throughput and latency leave {left} between two requests of a user (Little's law, N = X·(R + Z)). If "
        f"the users took another think time, these figures are not of that test; tell it (--wait) to have it checked."
    )
    return Check("think time", True, seen, None, says, _marks(none), unit="s")


def _failures_count_little(figures: LevelFigures, users: float) -> bool:
    """A user pauses after a failure: that is no think time, and must not be much of the users' time."""
    if figures.errors > FAILURES_LIMIT:
        return False
    return math.isnan(figures.window) or figures.failed * PAUSE <= 0.02 * users * figures.window


_NUMBER = r"([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,2})?)"
_WAIT = re.compile(rf"wait {_NUMBER}(?: to {_NUMBER})? s")


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
