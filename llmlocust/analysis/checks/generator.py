"""The load generator: whether it kept up, read in time, and was there from beginning to end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from llmlocust.analysis.breakpoints.steps import ERROR_LIMIT, LACKING, more_than, name_of
from llmlocust.analysis.checks.check import LEAST, Check, Facts, above, loads_of, marks
from llmlocust.metrics.levels import HEADLINE, RANGED, USERS, LevelFigures
from llmlocust.metrics.vocabulary import CLIENT_KINDS
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, sentences

CPU_LIMIT = 0.9
"""Below, one process was right and kept up with a client that does the least; from 0.96 on it was up to 17 % slower \
(docs/accuracy.md)."""
LAG_LIMIT = 0.002
LAG_SHARE = 0.05
"""Where arrival times are our own, latencies carry our lateness. An event loop that woke 2 to 4 ms late went with a \
p99 gap that was wrong by 0.7 to 1.7 ms (docs/accuracy.md); gaps so long that this is a small share of them bear more."""
THROTTLED = 0.01
CORE_WAIT = 0.1
"""Shares of the time. A CPU limit takes it in pieces of up to 0.1 s: 2.5 % of the time cost four users 9 % of their \
throughput. Other processes take it in pieces of milliseconds: 9 % cost 1 to 2 %, and 21 % cost 13 % (docs/accuracy.md)."""
QUEUED = 0.02
"""Share of a user's time: throughput is lower by as much. It was 3 % and more in runs without a core, and 0.3 % where \
50 answers of one length ended together (docs/accuracy.md)."""
OWN_TIMES = 0.001
"""Share of the measured requests. Fewer requests than this with arrival times of another clock move no p99."""
LATE = 0.005
LATE_SHARE = 0.05
"""Requests that were sent so late, in more than this share of the time to their first token, are not the load that was \
asked for, and their latency from when they were due is another."""
PAUSED = 0.05
"""Share of the users' time in pauses after failures. Above it the load is a different one: two runs of the same load \
differ by as much."""
UNSENT_LIMIT = 0.01
"""A larger share of requests that never got to the server makes the load another one."""
_UNSENT = {
    "client_limit": (
        "client_limits",
        message("the load generator had no port, file or memory left"),
        message(
            "Raise its limit of open files (ulimit -n), or use more machines: each has about 28,000 ports for a server."
        ),
    ),
    "network": (
        "network",
        message("no route led to the server"),
        message("Check the network between the load generator and the server, and whether the server's machine is up."),
    ),
    "name_lookup": (
        "name_lookup",
        message("the server's name was not found"),
        message("Repair the name service (DNS) of the load generator, or give the server's IP address as the host."),
    ),
    "proxy": (
        "proxy",
        message("the proxy gave no connection"),
        message("Check the proxy that HTTP_PROXY or HTTPS_PROXY names, or bypass it with NO_PROXY."),
    ),
    "tls": (
        "tls",
        message("no TLS session came about"),
        message(
            "Check the server's certificate, its date and its name; SSL_CERT_FILE names the file of its authority."
        ),
    ),
    "not_sent": (
        "requests_not_sent",
        message("their address or headers were not valid"),
        message(
            "Correct the host, the path or the headers in the options, or what the locustfile or its dialect makes of them."
        ),
    ),
}
"""For each of CLIENT_KINDS: the key of its check, why requests failed, and what to do."""


def client_cpu(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether the load generator had processor time to spare."""
    known = {level: value for level, value in facts.client_cpu.items() if not math.isnan(value)}
    if not known:
        return None
    worst = max(known.values())
    over = above(known, levels, CPU_LIMIT)
    if worst <= CPU_LIMIT:
        says = message("The busiest load process used at most {share} of its core.", share=words.share(worst))
        return Check("client_cpu", True, worst, CPU_LIMIT, says)
    if over:
        says = message(
            "The load generator itself was full at {loads} ({share} of a core): waits there may be its own. Use more processes or "
            "machines (--processes, --worker).",
            loads=loads_of(over),
            share=words.share(worst),
        )
    else:
        says = message(
            "The load generator itself was full ({share} of a core): waits there may be its own. Use more processes or machines "
            "(--processes, --worker).",
            share=words.share(worst),
        )
    return Check("client_cpu", False, worst, CPU_LIMIT, says, marks(over))


def cpu_throttling(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether a CPU limit kept a load process from running."""
    found = _worst_and_over(facts.throttled, THROTTLED, levels)
    if found is None:
        return None
    worst, over = found
    if worst <= THROTTLED:
        says = message("A CPU limit kept no load process from running for long.")
        return Check("cpu_throttling", True, worst, THROTTLED, says)
    if over:
        says = message(
            "A CPU limit (a container's, or a control group's) kept a load process from running for {share} of the time at "
            "{loads}: it sent and read late. Raise the limit, or use more machines (--worker).",
            share=words.share(worst),
            loads=loads_of(over),
        )
    else:
        says = message(
            "A CPU limit (a container's, or a control group's) kept a load process from running for {share} of the time: it sent "
            "and read late. Raise the limit, or use more machines (--worker).",
            share=words.share(worst),
        )
    return Check("cpu_throttling", False, worst, THROTTLED, says, marks(over))


def cpu_wait(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether a load process was ready to run and had no core."""
    found = _worst_and_over(facts.core_wait, CORE_WAIT, levels)
    if found is None:
        return None
    worst, over = found
    if worst <= CORE_WAIT:
        says = message("Other processes kept no load process from running for long.")
        return Check("cpu_wait", True, worst, CORE_WAIT, says)
    if over:
        says = message(
            "A load process was ready to run and had no core for {share} of the time at {loads}, because of a CPU limit or of "
            "other processes: it sent and read late. Give it cores of its own, or use more machines (--worker).",
            share=words.share(worst),
            loads=loads_of(over),
        )
    else:
        says = message(
            "A load process was ready to run and had no core for {share} of the time, because of a CPU limit or of other "
            "processes: it sent and read late. Give it cores of its own, or use more machines (--worker).",
            share=words.share(worst),
        )
    return Check("cpu_wait", False, worst, CORE_WAIT, says, marks(over))


def _worst_and_over(
    shares: Mapping[int, float], limit: float, levels: Sequence[LevelFigures]
) -> tuple[float, list[LevelFigures]] | None:
    """The largest share and the levels above the limit; None where no share is known."""
    known = {level: share for level, share in shares.items() if not math.isnan(share)}
    return (max(known.values()), above(known, levels, limit)) if known else None


def client_queue_time(levels: Sequence[LevelFigures]) -> Check | None:
    """Whether requests waited in the load generator before they were sent."""
    known = [each for each in levels if each.metric("client_queue").count]
    if not known:
        return None
    late = [each for each in known if each.metric("client_queue")["p95"] > _latest(each, "p95") and _costs_load(each)]
    worst = max(each.metric("client_queue")["p95"] for each in late or known)
    if not late:
        says = message("The load generator sent 95 % of the requests within {time}.", time=words.duration(worst))
        return Check("client_queue_time", True, worst, LATE, says, unit="s")
    says = message(
        "At {loads} requests waited in the load generator before they were sent, 5 % of them for {time} or more: the load was "
        "lower than it should be, and this wait is in no latency. Use more processes or machines (--processes, --worker).",
        loads=loads_of(late),
        time=words.duration(worst),
    )
    return Check("client_queue_time", False, worst, LATE, says, marks(late), unit="s")


def _costs_load(each: LevelFigures) -> bool:
    """Whether users spend more than a little of their time waiting so: where many answers end together, each next
    request waits for those before it, and the load is what it should be.
    """
    mean = each.metric("client_queue").mean
    return math.isnan(mean) or each.unit != USERS or mean > QUEUED * _cycle(each)


def token_times(levels: Sequence[LevelFigures]) -> Check | None:
    """Tokens that waited for the load generator are known only together: then percentiles are ranges."""
    known = [each for each in levels if not math.isnan(each.uncertain)]
    if not known:
        return None
    late = max(each.uncertain for each in known)
    wide = [
        (each, metric, name) for each in known for metric in RANGED for name in HEADLINE if _is_wide(each, metric, name)
    ]
    if wide:
        over = list({each.level: each for each, _, _ in wide}.values())
        each, metric, name = max(wide, key=_width)
        says = message(
            "At {loads} the load generator itself was late: up to {share} of the gaps between tokens are known only in sum, so "
            "that {metric} at {load} is somewhere from {range}. Use more processes or machines (--processes, "
            "--worker).",
            loads=loads_of(over),
            share=words.share(late),
            metric=name_of(metric, name),
            load=loads_of([each]),
            range=words.span(*each.metric(metric).ranges[name]),
        )
        return Check("token_times", False, late, None, says, marks(over))
    says = message("The load generator read every token in time.")
    if late > 0.0:
        says = message(
            "At most {share} of the gaps between tokens are known only in sum, because the load generator read late: too few to "
            "move a percentile.",
            share=words.share(late),
        )
    return Check("token_times", True, late, None, says)


def _is_wide(each: LevelFigures, metric: str, name: str) -> bool:
    summary = each.metric(metric)
    # of too few values a percentile is only the greatest of them: that is another check's doubt
    return summary.count >= LEAST.get(name, 0) and summary.range_of(name) is not None


def _width(wide: tuple[LevelFigures, str, str]) -> float:
    least, most = wide[0].metric(wide[1]).ranges[wide[2]]
    return most - least


def event_loop_lag(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether the load generator's lateness is in the latencies, or keeps users from sending."""
    known = {level: value for level, value in facts.loop_lag.items() if not math.isnan(value)}
    if not known:
        return None
    worst = max(known.values())
    own = _own_times(facts)
    if own is not None and own <= OWN_TIMES:
        return _lag_before_sending(levels, known)
    over = [each for each in levels if known.get(each.level, 0.0) > _bearable_lag(each)]
    if not over:
        says = message("The load generator's event loop woke at most {time} late.", time=words.duration(worst))
        return Check("event_loop_lag", True, worst, LAG_LIMIT, says, unit="s")
    says = message(
        "The load generator's event loop woke up to {time} late at {loads}, and arrival times are its own: latencies carry it. "
        "Use more processes or machines (--processes, --worker).",
        time=words.duration(worst),
        loads=loads_of(over),
    )
    return Check("event_loop_lag", False, worst, LAG_LIMIT, says, marks(over), unit="s")


def _lag_before_sending(levels: Sequence[LevelFigures], lag: Mapping[int, float]) -> Check:
    """Arrival times do not carry the lag, but a user whose answer is over sends its next request after it."""
    worst = max(lag.values())
    over = _longer_than_cycles(levels, lag)
    if not over:
        says = message(
            "The load generator's event loop woke at most {time} late; arrival times are the kernel's and do not carry it.",
            time=words.duration(worst),
        )
        return Check("event_loop_lag", True, worst, None, says, unit="s")
    says = message(
        "The load generator's event loop woke up to {time} late at {loads}, which is longer than a user takes from one request "
        "to the next: the load was lower than it should be. Use more processes or machines (--processes, --worker).",
        time=words.duration(worst),
        loads=loads_of(over),
    )
    return Check("event_loop_lag", False, worst, None, says, marks(over), unit="s")


def turn_wait(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether requests and answers waited so long for their turn in the load generator that users sent less."""
    known = {level: value for level, value in facts.turn_wait.items() if not math.isnan(value)}
    if not known:
        return None
    worst = max(known.values())
    over = _longer_than_cycles(levels, known)
    if not over:
        says = message(
            "Requests and answers waited at most {time} for their turn in the load generator.",
            time=words.duration(worst),
        )
        return Check("turn_wait", True, worst, None, says, unit="s")
    says = message(
        "At {loads} requests and answers waited up to {time} for their turn in the load generator, which is longer than a user "
        "takes from one request to the next: the load was lower than it should be. Use more processes or machines "
        "(--processes, --worker).",
        loads=loads_of(over),
        time=words.duration(worst),
    )
    return Check("turn_wait", False, worst, None, says, marks(over), unit="s")


def back_off(levels: Sequence[LevelFigures]) -> Check | None:
    """Whether pauses after failures (pause_after_failure, Retry-After) made the load lower than it should be.

    At a level whose errors surely exceed the limit, the errors are the finding and explain the pauses.
    """
    shares = {each.level: each.backing_off for each in levels if not math.isnan(each.backing_off)}
    worst = max(shares.values(), default=0.0)
    if not worst > 0.0:
        return None
    over = above(shares, levels, PAUSED)
    hidden = [each for each in over if not more_than(each.failed, each.requests, ERROR_LIMIT)]
    if not over:
        says = message(
            "Users paused after failed requests for at most {share} of a level's time.", share=words.share(worst)
        )
        return Check("back_off", True, worst, PAUSED, says)
    if not hidden:
        says = message(
            "At {loads} users paused after failed requests for up to {share} of the time (Retry-After, or pause_after_failure): "
            "throughput there is that of users who wait after each failure.",
            loads=loads_of(over),
            share=words.share(worst),
        )
        return Check("back_off", True, worst, PAUSED, says, marks(over))
    worst = max(shares[each.level] for each in hidden)
    says = message(
        "At {loads} users paused after a few failed requests for up to {share} of the time (Retry-After, or "
        "pause_after_failure): the load was lower than it should be. Hold the levels longer, or see why the server asks clients "
        "to wait so long.",
        loads=loads_of(hidden),
        share=words.share(worst),
    )
    return Check("back_off", False, worst, PAUSED, says, marks(hidden))


def _longer_than_cycles(levels: Sequence[LevelFigures], delays: Mapping[int, float]) -> list[LevelFigures]:
    """Return the levels with a delay (seconds, by level) that is longer than a user takes from one request to the next."""
    return [each for each in levels if delays.get(each.level, 0.0) > max(LATE, _cycle(each))]


def _cycle(each: LevelFigures) -> float:
    """Seconds from one request of a user to its next (N / X); infinite where that is not known."""
    users = each.load if math.isnan(each.users) else each.users
    return users / each.throughput if each.unit == USERS and each.throughput > 0.0 else math.inf


def _bearable_lag(each: LevelFigures) -> float:
    gap = each.metric("itl")["p99"]
    return LAG_LIMIT if math.isnan(gap) else max(LAG_LIMIT, LAG_SHARE * gap)


def unsent_requests(levels: Sequence[LevelFigures]) -> list[Check]:
    """Return a check for each kind of requests that failed before the server had a part in them."""
    found = [_unsent_of_kind(kind, levels) for kind in CLIENT_KINDS]
    return [check for check in found if check is not None]


def _unsent_of_kind(kind: str, levels: Sequence[LevelFigures]) -> Check | None:
    shares = {each.level: each.error_kinds.get(kind, 0) / each.attempted for each in levels if each.attempted}
    worst = max(shares.values(), default=0.0)
    if not worst:
        return None
    key, why, cure = _UNSENT[kind]
    over = above(shares, levels, UNSENT_LIMIT)
    if not over:
        few = message(
            "At most {share} of a level's requests failed because {reason}; they do not count as errors.",
            share=words.share(worst),
            reason=why,
        )
        return Check(key, True, worst, UNSENT_LIMIT, few)
    out = above(shares, levels, LACKING)
    failed = message(
        "At {loads} up to {share} of the requests failed because {reason}. They do not count as errors of the server, but the "
        "load was lower than it should be.",
        loads=loads_of(over),
        share=words.share(worst),
        reason=why,
    )
    without = [message("The verdict leaves out {loads}.", loads=loads_of(out))] if out else []
    return Check(key, False, worst, UNSENT_LIMIT, sentences([failed, *without, cure]), marks(over))


def cap_in_flight(levels: Sequence[LevelFigures]) -> Check | None:
    """A cap of requests in flight makes an open load a closed one."""
    due = [each for each in levels if each.due]
    if not due:
        return None
    capped = [each for each in due if each.dropped]
    if not capped:
        return Check("cap_in_flight", True, 0, 0, message("Every request that was due was sent."))
    held, of = sum(each.dropped for each in capped), sum(each.due for each in capped)
    says = message(
        "At {loads} the cap of requests in flight dropped {held} of {due} requests that were due: less load was there than was "
        "asked for. Raise it (--llm-max-in-flight), or use more load processes.",
        loads=loads_of(capped),
        held=held,
        due=of,
    )
    return Check("cap_in_flight", False, held, 0, says, marks(capped))


def schedule_delay(levels: Sequence[LevelFigures]) -> Check | None:
    """Whether requests were sent when they were due."""
    known = [each for each in levels if each.metric("delay").count]
    if not known:
        return None
    late = [each for each in known if each.metric("delay")["p99"] > _latest(each, "p99")]
    worst = max(each.metric("delay")["p99"] for each in late or known)
    if not late:
        says = message(
            "Requests were sent when they were due (99 % of them within {time}).", time=words.duration(worst)
        )
        return Check("schedule_delay", True, worst, LATE, says, unit="s")
    says = message(
        "At {loads} requests were sent late, 1 % of them by {time} or more: the load generator does not keep up with the rate. "
        "Use more load processes (--processes).",
        loads=loads_of(late),
        time=words.duration(worst),
    )
    return Check("schedule_delay", False, worst, LATE, says, marks(late), unit="s")


def _latest(each: LevelFigures, statistic: str) -> float:
    """How late this percentile of a level's requests may be sent."""
    first = (each.metric("ttft") if each.metric("ttft").count else each.metric("e2e"))[statistic]
    return LATE if math.isnan(first) else max(LATE, LATE_SHARE * first)


def lost_workers(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether load processes fell silent, or never told anything; None: neither."""
    names = sorted({name for gone in facts.gone.values() for name in gone})
    if names:
        where = [each for each in levels if each.level in facts.gone]
        says = _fell_silent(names, loads_of(where))
        return Check("lost_workers", False, len(names), 0, says, marks(where))
    if facts.silent:
        says = message(
            "{count} of the load processes never told anything: their requests are missing.", count=facts.silent
        )
        return Check("lost_workers", False, facts.silent, 0, says)
    return None


def _fell_silent(names: Sequence[str], loads: str) -> Message:
    if len(names) == 1:
        return message(
            "{worker} fell silent inside {loads}: users and requests of this process are missing from then on.",
            worker=names[0],
            loads=loads,
        )
    named = words.series(names[:3])
    if len(names) > 3:
        named = message("{workers} and others", workers=named)
    return message(
        "{workers} fell silent inside {loads}: users and requests of these processes are missing from then on.",
        workers=named,
        loads=loads,
    )


def frozen_workers(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Whether a load process did nothing for a while and went on then; None: none did."""
    where = [each for each in levels if each.level in facts.stood_still]
    if not where:
        return None
    longest = max(facts.stood_still.values())
    says = message(
        "A load process stood still for up to {longest} s inside {loads} (frozen, or without a core): its users sent nothing "
        "meanwhile.",
        longest=words.digits(longest),
        loads=loads_of(where),
    )
    return Check("frozen_workers", False, longest, None, says, marks(where))


def _own_times(facts: Facts) -> float | None:
    """Share of the measured requests whose arrival times are the load generator's own; None: not known."""
    measured = sum(facts.clocks.values())
    return facts.clocks.get("user", 0) / measured if measured else None


def clock(facts: Facts) -> Check | None:
    """Which clock the arrival times are of, and whether those of two clocks compare."""
    own = _own_times(facts)
    if own is None:
        return None
    if own == 0.0:
        return Check("clock", True, None, None, message("Arrival times are the kernel's."))
    if own == 1.0:
        says = message("Arrival times are the load generator's own: whatever it was late is in them.")
        return Check("clock", True, None, None, says)
    share = words.share(own)
    if own <= OWN_TIMES:
        says = message(
            "{share} of the measured requests have arrival times that are the load generator's own, the others have the "
            "kernel's: too few to move a percentile.",
            share=share,
        )
        return Check("clock", True, own, OWN_TIMES, says)
    known = [value for value in facts.loop_lag.values() if not math.isnan(value)]
    if known and max(known) <= LAG_LIMIT:
        says = message(
            "{share} of the measured requests have arrival times that are the load generator's own, the others have the "
            "kernel's; its own were late by {time} at most.",
            share=share,
            time=words.duration(max(known)),
        )
        return Check("clock", True, own, OWN_TIMES, says)
    says = message(
        "{share} of the measured requests have arrival times that are the load generator's own, the others have the kernel's: "
        "the two do not compare.",
        share=share,
    )
    return Check("clock", False, own, OWN_TIMES, says)
