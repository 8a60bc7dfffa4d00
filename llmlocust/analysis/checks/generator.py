"""Checks of the load generator: whether it kept up, read in time, and ran from beginning to end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from llmlocust.analysis.breakpoints.steps import ERROR_LIMIT, MAX_UNSENT, more_than, name_of
from llmlocust.analysis.checks.check import MIN_REQUESTS, Check, Facts, above, loads_of, marks
from llmlocust.metrics.levels import HEADLINE, RANGED, USERS, LevelFigures
from llmlocust.metrics.vocabulary import CLIENT_KINDS
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, sentences

CPU_LIMIT = 0.9
"""CPU of a process, as a share of a core. Below it, a process measured correctly and was as fast as a minimal client; \
from 0.96 on it was up to 17 % slower (docs/accuracy.md)."""
LAG_LIMIT = 0.002
"""Lag of the event loop in seconds. Latencies include it if arrival times come from our own clock. An event loop that \
woke 2 to 4 ms late coincided with a p99 ITL that was wrong by 0.7 to 1.7 ms (docs/accuracy.md)."""
LAG_SHARE = 0.05
"""Lag of the event loop as a share of the p99 ITL: a long ITL tolerates more lag than LAG_LIMIT."""
THROTTLED = 0.01
"""Share of the time in which a CPU limit throttles a process. It does so for up to 0.1 s at once: 2.5 % of the time \
cost four users 9 % of their throughput (docs/accuracy.md)."""
CORE_WAIT = 0.1
"""Share of the time in which a process waits for a core. Other processes take it for milliseconds at once: 9 % of the \
time cost 1 to 2 % of the throughput, 21 % cost 13 % (docs/accuracy.md)."""
QUEUED = 0.02
"""Client queue time as a share of a user's time: it lowers throughput by the same share. It was 3 % and more in runs \
without a core of their own, and 0.3 % when 50 answers of one length ended together (docs/accuracy.md)."""
OWN_TIMES = 0.001
"""Share of the measured requests. If fewer have arrival times from the process's own clock, no p99 changes."""
LATE = 0.005
"""Delay in seconds before a request is sent. With a longer delay, the load is not the requested one."""
LATE_SHARE = 0.05
"""Delay as a share of TTFT: requests with a long TTFT tolerate more delay than LATE."""
PAUSED = 0.05
"""Share of the users' time in pauses after failures. Above it, the load differs by more than two runs of the same load \
do."""
UNSENT_LIMIT = 0.01
"""Share of requests that did not reach the server. Above it, the load is not the requested one."""
_UNSENT = {
    "client_limit": (
        "client_limits",
        message("the load generator ran out of ports, files or memory"),
        message(
            "Raise its limit of open files (ulimit -n), or use more machines: each has about 28,000 ports per server."
        ),
    ),
    "network": (
        "network",
        message("the network had no route to the server"),
        message("Check the network between the load generator and the server, and whether the server's machine is up."),
    ),
    "name_lookup": (
        "name_lookup",
        message("the server's name was not found"),
        message("Repair the name service (DNS) of the load generator, or give the server's IP address as the host."),
    ),
    "proxy": (
        "proxy",
        message("the proxy did not connect"),
        message("Check the proxy that HTTP_PROXY or HTTPS_PROXY names, or bypass it with NO_PROXY."),
    ),
    "tls": (
        "tls",
        message("no TLS session was established"),
        message(
            "Check the server's certificate, its dates and its host name; SSL_CERT_FILE names the file of its "
            "authority."
        ),
    ),
    "not_sent": (
        "requests_not_sent",
        message("their address or headers were not valid"),
        message("Correct the host, the path or the headers in the options, the locustfile or its dialect."),
    ),
}
"""By kind of CLIENT_KINDS: the key of its check, the reason why requests failed, and the advice."""


def client_cpu(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check that the load generator had enough CPU."""
    known = {level: value for level, value in facts.client_cpu.items() if not math.isnan(value)}
    if not known:
        return None
    worst = max(known.values())
    over = above(known, levels, CPU_LIMIT)
    if worst <= CPU_LIMIT:
        says = message("The busiest process used at most {share} of its core.", share=words.share(worst))
        return Check("client_cpu", True, worst, CPU_LIMIT, says)
    if over:
        says = message(
            "The load generator had too little CPU at {loads} ({share} of a core used): latencies there may "
            "include its own delays. Use more processes or machines (--processes, --worker).",
            loads=loads_of(over),
            share=words.share(worst),
        )
    else:
        says = message(
            "The load generator had too little CPU ({share} of a core used): latencies may include its own "
            "delays. Use more processes or machines (--processes, --worker).",
            share=words.share(worst),
        )
    return Check("client_cpu", False, worst, CPU_LIMIT, says, marks(over))


def cpu_throttling(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check that no CPU limit throttled a process."""
    result = _worst_and_over(facts.throttled, THROTTLED, levels)
    if result is None:
        return None
    worst, over = result
    if worst <= THROTTLED:
        says = message("No process was throttled by a CPU limit for long.")
        return Check("cpu_throttling", True, worst, THROTTLED, says)
    if over:
        says = message(
            "A CPU limit (of a container or a control group) throttled a process for {share} of the time at "
            "{loads}, so it sent and read late. Raise the limit, or use more machines (--worker).",
            share=words.share(worst),
            loads=loads_of(over),
        )
    else:
        says = message(
            "A CPU limit (of a container or a control group) throttled a process for {share} of the time, so it "
            "sent and read late. Raise the limit, or use more machines (--worker).",
            share=words.share(worst),
        )
    return Check("cpu_throttling", False, worst, THROTTLED, says, marks(over))


def cpu_wait(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check that no process waited long for a core."""
    result = _worst_and_over(facts.core_wait, CORE_WAIT, levels)
    if result is None:
        return None
    worst, over = result
    if worst <= CORE_WAIT:
        says = message("No process waited for a CPU core for long.")
        return Check("cpu_wait", True, worst, CORE_WAIT, says)
    if over:
        says = message(
            "A process was ready to run but had no core for {share} of the time at {loads}, because of a CPU "
            "limit or other processes, so it sent and read late. Give it cores of its own, or use more machines "
            "(--worker).",
            share=words.share(worst),
            loads=loads_of(over),
        )
    else:
        says = message(
            "A process was ready to run but had no core for {share} of the time, because of a CPU limit or other "
            "processes, so it sent and read late. Give it cores of its own, or use more machines (--worker).",
            share=words.share(worst),
        )
    return Check("cpu_wait", False, worst, CORE_WAIT, says, marks(over))


def _worst_and_over(
    shares: Mapping[int, float], limit: float, levels: Sequence[LevelFigures]
) -> tuple[float, list[LevelFigures]] | None:
    """Return the largest share and the levels above the limit; None if no share is known."""
    known = {level: share for level, share in shares.items() if not math.isnan(share)}
    return (max(known.values()), above(known, levels, limit)) if known else None


def client_queue_time(levels: Sequence[LevelFigures]) -> Check | None:
    """Check that requests did not wait in the load generator before they were sent."""
    known = [level for level in levels if level.metric("client_queue").count]
    if not known:
        return None
    late = [
        level
        for level in known
        if level.metric("client_queue")["p95"] > _max_delay(level, "p95") and _lowers_load(level)
    ]
    worst = max(level.metric("client_queue")["p95"] for level in late or known)
    if not late:
        says = message("The load generator sent 95 % of the requests within {time}.", time=words.duration(worst))
        return Check("client_queue_time", True, worst, LATE, says, unit="s")
    says = message(
        "At {loads} requests waited in the load generator before they were sent, 5 % of them for {time} or more: "
        "the load was lower than it should be, and latencies do not include this wait. Use more processes or "
        "machines (--processes, --worker).",
        loads=loads_of(late),
        time=words.duration(worst),
    )
    return Check("client_queue_time", False, worst, LATE, says, marks(late), unit="s")


def _lowers_load(level: LevelFigures) -> bool:
    """Whether users spend more than QUEUED of their time in the client queue. When many answers end together, the next
    requests queue for a moment, and the load is still the requested one.
    """
    mean = level.metric("client_queue").mean
    return math.isnan(mean) or level.unit != USERS or mean > QUEUED * _cycle(level)


def token_times(levels: Sequence[LevelFigures]) -> Check | None:
    """Check that token times are known exactly. If the load generator read late, percentiles are ranges."""
    known = [level for level in levels if not math.isnan(level.uncertain)]
    if not known:
        return None
    uncertain = max(level.uncertain for level in known)
    wide = [
        (level, metric, name)
        for level in known
        for metric in RANGED
        for name in HEADLINE
        if _is_wide(level, metric, name)
    ]
    if wide:
        over = list({level.level: level for level, _, _ in wide}.values())
        level, metric, name = max(wide, key=_width)
        says = message(
            "At {loads} the load generator read late: for up to {share} of the inter-token latencies only the sum "
            "is known, so {metric} at {load} is only known to be {range}. Use more processes or machines "
            "(--processes, --worker).",
            loads=loads_of(over),
            share=words.share(uncertain),
            metric=name_of(metric, name),
            load=loads_of([level]),
            range=words.span(*level.metric(metric).ranges[name]),
        )
        return Check("token_times", False, uncertain, None, says, marks(over))
    says = message("The load generator read every token in time.")
    if uncertain > 0.0:
        says = message(
            "For at most {share} of the inter-token latencies only the sum is known, because the load generator "
            "read late. These are too few to change a percentile.",
            share=words.share(uncertain),
        )
    return Check("token_times", True, uncertain, None, says)


def _is_wide(level: LevelFigures, metric: str, name: str) -> bool:
    summary = level.metric(metric)
    # with too few values a percentile is simply the largest of them, which another check reports
    return summary.count >= MIN_REQUESTS.get(name, 0) and summary.range_of(name) is not None


def _width(wide: tuple[LevelFigures, str, str]) -> float:
    low, high = wide[0].metric(wide[1]).ranges[wide[2]]
    return high - low


def event_loop_lag(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check that the lag of the event loop neither is part of latencies nor delays the next requests."""
    known = {level: value for level, value in facts.loop_lag.items() if not math.isnan(value)}
    if not known:
        return None
    worst = max(known.values())
    own = _own_times(facts)
    if own is not None and own <= OWN_TIMES:
        return _lag_before_sending(levels, known)
    over = [level for level in levels if known.get(level.level, 0.0) > _tolerated_lag(level)]
    if not over:
        says = message("The load generator's event loop woke at most {time} late.", time=words.duration(worst))
        return Check("event_loop_lag", True, worst, LAG_LIMIT, says, unit="s")
    says = message(
        "The load generator's event loop woke up to {time} late at {loads}, and arrival times come from its own "
        "clock, so latencies include this delay. Use more processes or machines (--processes, --worker).",
        time=words.duration(worst),
        loads=loads_of(over),
    )
    return Check("event_loop_lag", False, worst, LAG_LIMIT, says, marks(over), unit="s")


def _lag_before_sending(levels: Sequence[LevelFigures], lag: Mapping[int, float]) -> Check:
    """Check the lag if arrival times come from the kernel: it then only delays the next request of a user."""
    worst = max(lag.values())
    over = _longer_than_cycles(levels, lag)
    if not over:
        says = message(
            "The load generator's event loop woke at most {time} late; arrival times come from the kernel and do "
            "not include this delay.",
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
    """Check that requests and answers did not wait for their turn in the load generator for so long that users sent less."""
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
    """Check that pauses after failures (pause_after_failure, Retry-After) did not make the load lower than it should be.

    At a level whose errors surely exceed the limit, the errors explain the pauses, and the check passes.
    """
    shares = {level.level: level.backing_off for level in levels if not math.isnan(level.backing_off)}
    worst = max(shares.values(), default=0.0)
    if not worst > 0.0:
        return None
    over = above(shares, levels, PAUSED)
    hidden = [level for level in over if not more_than(level.failed, level.requests, ERROR_LIMIT)]
    if not over:
        says = message(
            "Users paused after failed requests for at most {share} of a level's time.", share=words.share(worst)
        )
        return Check("back_off", True, worst, PAUSED, says)
    if not hidden:
        says = message(
            "At {loads} users paused after failed requests for up to {share} of the time (Retry-After, or "
            "pause_after_failure): throughput there is that of users with these pauses.",
            loads=loads_of(over),
            share=words.share(worst),
        )
        return Check("back_off", True, worst, PAUSED, says, marks(over))
    worst = max(shares[level.level] for level in hidden)
    says = message(
        "At {loads} users paused after a few failed requests for up to {share} of the time (Retry-After, or "
        "pause_after_failure): the load was lower than it should be. Hold the levels longer, or check why the "
        "server asks clients to wait so long.",
        loads=loads_of(hidden),
        share=words.share(worst),
    )
    return Check("back_off", False, worst, PAUSED, says, marks(hidden))


def _longer_than_cycles(levels: Sequence[LevelFigures], delays: Mapping[int, float]) -> list[LevelFigures]:
    """Return the levels with a delay (seconds, by level) that is longer than a user takes from one request to the next."""
    return [level for level in levels if delays.get(level.level, 0.0) > max(LATE, _cycle(level))]


def _cycle(level: LevelFigures) -> float:
    """Return the seconds from one request of a user to its next (N / X); infinite if not known."""
    users = level.load if math.isnan(level.users) else level.users
    return users / level.throughput if level.unit == USERS and level.throughput > 0.0 else math.inf


def _tolerated_lag(level: LevelFigures) -> float:
    """Return the lag of the event loop, in seconds, that a level tolerates."""
    itl = level.metric("itl")["p99"]
    return LAG_LIMIT if math.isnan(itl) else max(LAG_LIMIT, LAG_SHARE * itl)


def unsent_requests(levels: Sequence[LevelFigures]) -> list[Check]:
    """Return a check for each kind of failure before the server was reached."""
    checks = [_unsent_of_kind(kind, levels) for kind in CLIENT_KINDS]
    return [check for check in checks if check is not None]


def _unsent_of_kind(kind: str, levels: Sequence[LevelFigures]) -> Check | None:
    shares = {level.level: level.error_kinds.get(kind, 0) / level.attempted for level in levels if level.attempted}
    worst = max(shares.values(), default=0.0)
    if not worst:
        return None
    key, why, advice = _UNSENT[kind]
    over = above(shares, levels, UNSENT_LIMIT)
    if not over:
        few = message(
            "At most {share} of a level's requests failed because {reason}; they do not count as errors.",
            share=words.share(worst),
            reason=why,
        )
        return Check(key, True, worst, UNSENT_LIMIT, few)
    left_out = above(shares, levels, MAX_UNSENT)
    failed = message(
        "At {loads} up to {share} of the requests failed because {reason}. They do not count as errors of the server, but the "
        "load was lower than it should be.",
        loads=loads_of(over),
        share=words.share(worst),
        reason=why,
    )
    without = [message("The verdict leaves out {loads}.", loads=loads_of(left_out))] if left_out else []
    return Check(key, False, worst, UNSENT_LIMIT, sentences([failed, *without, advice]), marks(over))


def cap_in_flight(levels: Sequence[LevelFigures]) -> Check | None:
    """Check that the cap on requests in flight, which makes an open load a closed one, dropped nothing."""
    open_levels = [level for level in levels if level.due]
    if not open_levels:
        return None
    capped = [level for level in open_levels if level.dropped]
    if not capped:
        return Check("cap_in_flight", True, 0, 0, message("Every request that was due was sent."))
    dropped, due = sum(level.dropped for level in capped), sum(level.due for level in capped)
    says = message(
        "At {loads} the cap on requests in flight dropped {dropped} of {due} requests that were due, so the load "
        "was lower than requested. Raise the cap (--llm-max-in-flight), or use more processes.",
        loads=loads_of(capped),
        dropped=dropped,
        due=due,
    )
    return Check("cap_in_flight", False, dropped, 0, says, marks(capped))


def schedule_delay(levels: Sequence[LevelFigures]) -> Check | None:
    """Check that requests were sent when they were due."""
    known = [level for level in levels if level.metric("delay").count]
    if not known:
        return None
    late = [level for level in known if level.metric("delay")["p99"] > _max_delay(level, "p99")]
    worst = max(level.metric("delay")["p99"] for level in late or known)
    if not late:
        says = message("Requests were sent on time (99 % of them within {time}).", time=words.duration(worst))
        return Check("schedule_delay", True, worst, LATE, says, unit="s")
    says = message(
        "At {loads} requests were sent late, 1 % of them by {time} or more: the load generator does not keep up "
        "with the rate. Use more processes (--processes).",
        loads=loads_of(late),
        time=words.duration(worst),
    )
    return Check("schedule_delay", False, worst, LATE, says, marks(late), unit="s")


def _max_delay(level: LevelFigures, statistic: str) -> float:
    """Return the maximum delay, in seconds, of a percentile of a level's requests."""
    latency = (level.metric("ttft") if level.metric("ttft").count else level.metric("e2e"))[statistic]
    return LATE if math.isnan(latency) else max(LATE, LATE_SHARE * latency)


def lost_workers(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check that all workers reported until the end; None if they did."""
    names = sorted({name for lost in facts.lost_workers.values() for name in lost})
    if names:
        where = [level for level in levels if level.level in facts.lost_workers]
        says = _stopped_reporting(names, loads_of(where))
        return Check("lost_workers", False, len(names), 0, says, marks(where))
    if facts.unreported_workers:
        says = message(
            "Workers that never reported: {count}. Their requests are missing.", count=facts.unreported_workers
        )
        return Check("lost_workers", False, facts.unreported_workers, 0, says)
    return None


def _stopped_reporting(names: Sequence[str], loads: str) -> Message:
    if len(names) == 1:
        return message(
            "{worker} stopped reporting at {loads}: its users and requests are missing from then on.",
            worker=names[0],
            loads=loads,
        )
    named = words.series(names[:3])
    if len(names) > 3:
        named = message("{workers} and others", workers=named)
    return message(
        "{workers} stopped reporting at {loads}: their users and requests are missing from then on.",
        workers=named,
        loads=loads,
    )


def frozen_workers(levels: Sequence[LevelFigures], facts: Facts) -> Check | None:
    """Check that no process stopped running for a while; None if none did."""
    where = [level for level in levels if level.level in facts.frozen_workers]
    if not where:
        return None
    longest = max(facts.frozen_workers.values())
    says = message(
        "A process did not run for up to {longest} s at {loads} (it was frozen, or had no core): its users sent "
        "nothing in that time.",
        longest=words.digits(longest),
        loads=loads_of(where),
    )
    return Check("frozen_workers", False, longest, None, says, marks(where))


_READ_BY_THE_LOOP = message(
    "Arrival times come from the kernel. The event loop read answers, because the native reader was not available: it costs "
    "about a third less CPU time, and is not late when tasks block the process. It needs Linux, and a C compiler when "
    "llmlocust is installed."
)


def _own_times(facts: Facts) -> float | None:
    """Return the share of the measured requests whose arrival times come from our own clock; None if not known."""
    measured = sum(facts.clocks.values())
    return facts.clocks.get("user", 0) / measured if measured else None


def clock(facts: Facts) -> Check | None:
    """Check that arrival times come from one clock, or can be compared."""
    own = _own_times(facts)
    if own is None:
        return None
    if own == 0.0:
        says = _READ_BY_THE_LOOP if facts.readers.get("loop") else message("Arrival times come from the kernel.")
        return Check("clock", True, None, None, says)
    if own == 1.0:
        says = message("Arrival times come from the load generator's own clock, so they include its delays.")
        return Check("clock", True, None, None, says)
    share = words.share(own)
    if own <= OWN_TIMES:
        says = message(
            "{share} of the measured requests have arrival times from the load generator's own clock, the others "
            "from the kernel. These are too few to change a percentile.",
            share=share,
        )
        return Check("clock", True, own, OWN_TIMES, says)
    known = [value for value in facts.loop_lag.values() if not math.isnan(value)]
    if known and max(known) <= LAG_LIMIT:
        says = message(
            "{share} of the measured requests have arrival times from the load generator's own clock, the others "
            "from the kernel. Its own times were at most {time} late.",
            share=share,
            time=words.duration(max(known)),
        )
        return Check("clock", True, own, OWN_TIMES, says)
    says = message(
        "{share} of the measured requests have arrival times from the load generator's own clock, the others from "
        "the kernel. The two cannot be compared.",
        share=share,
    )
    return Check("clock", False, own, OWN_TIMES, says)
