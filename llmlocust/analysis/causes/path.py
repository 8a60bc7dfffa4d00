"""Rules on the way of a request to the engine and back: front end, network, rate limit, proxy."""

from __future__ import annotations

import math

from llmlocust.analysis.causes.opinion import Opinion, Witness, goes, value_at
from llmlocust.analysis.causes.view import FAILURES, GENERATOR, TIME, WAITS_FROM, View
from llmlocust.text import figures as words
from llmlocust.text.message import message

BUSY_CORE = 0.88
"""Cores that a process or thread uses if one core limits it."""
ADDED = 0.1
"""Cores by which the CPU of a process must grow with the load. vLLM's engine core busy-loops: it uses a whole core at any
load, and that means nothing."""
FILES_FULL = 0.95
"""Open files of a process as a share of its limit."""
KNOWN = 0.85
"""Share of the requests in flight that the engine knows. Below it, many wait before it: to connect, in the front end or on
the way."""
MIN_OVERHEAD = 0.005
"""Seconds of overhead that count. vLLM's API process takes 7 ms on a quiet machine."""
CONSTANT = 0.1
"""Spread of the ages of failed requests, as a share of their median, below which a time-out ended them."""
_CPU_SECONDS = ("cpu_seconds_total", "cpu_seconds")
_NO_PROCESS = ("node_", "container_")
"""Beginnings of counters of CPU seconds that are of machines and containers."""
_ENDED_BY_OTHERS = ("http_504", "http_5xx", "reset", "truncated", "error_event")
"""Kinds of failures that a proxy's time-out may have."""


def front_end(view: View) -> Opinion:
    """The server's front end or its scheduler binds on one core, or its limit of open files or connections. vLLM
    docs/configuration/optimization.md, "CPU Resources"; vllm#11320: 98 % of the machine idle and one core full, so the CPU
    of the machine says nothing. vLLM: TTFT - queue - prefill is the front end's time. Connections that the kernel keeps in
    its backlog are unknown to the server: neither running nor waiting.
    """
    key = "front_end"
    pieces = view.pieces
    witnesses = [*_front_time(view), *_busy_core(view), *_files(view)]
    is_blocked = bool(_files(view))
    if _refuses(view):
        witnesses += _unknown_to_engine(view)
    if not witnesses:
        core = _cores(view)
        front = view.in_front_first(view.at)
        if front < 0.1 * view.client("ttft") and not core >= BUSY_CORE:
            says = message(
                "The front end adds {time} to a request at {load}.",
                time=words.duration(_shown_time(front)),
                load=view.load,
            )
            return Opinion(key, against=says)
        if math.isnan(front) and core < BUSY_CORE:
            says = value_at("process.cpu", core, view.load)
            return Opinion(key, against=says)
        return Opinion(key)
    if any(witness.family == "front time" for witness in witnesses):
        witnesses += _later_tokens(view)
    share = pieces.share("front")
    says = message("The server's front end takes the time: it handles requests and tokens on one core.")
    if _refuses(view):
        share = pieces.share("front", "network", "undivided") + view.of_failures(("connect", "reset"))
        says = message("The server accepts no more connections: requests wait before the engine knows them.")
        if is_blocked:
            says = message(
                "The server's process has as many open files as it may have: further requests wait to connect."
            )
    elif math.isnan(pieces.front):
        share = 0.5 * pieces.share("undivided", "queue") if view.value("waiting") < WAITS_FROM else 0.0
    elif any(witness.family == "process cpu" and witness.is_change for witness in witnesses):
        # a full front end also sends late, which looks like the network
        share = pieces.share("front", "network")
    return Opinion(key, says, share * (1.0 if view.effect == FAILURES and is_blocked else view.timely), witnesses)


def _front_time(view: View) -> list[Witness]:
    now = view.in_front_first(view.at) + max(0.0, _or(view.in_front_further(view.at), 0.0))
    if view.base is None:
        before = math.nan
    else:
        before = view.in_front_first(view.base) + max(0.0, _or(view.in_front_further(view.base), 0.0))
    if not now > MIN_OVERHEAD or view.pieces.share("front") < 0.1:
        return []
    if now > 1.5 * before:
        says = message(
            "Time on the server outside queue, prefill and decode: {before} at {low}, {after} at {load}.",
            before=words.duration(_shown_time(before)),
            low=view.low_load,
            after=words.duration(now),
            load=view.load,
        )
        return [Witness("server.ttft", says, "front time", is_change=True)]
    says = message(
        "Time on the server outside queue, prefill and decode: {time} at {load}.",
        time=words.duration(now),
        load=view.load,
    )
    return [Witness("server.ttft", says, "front time")]


def _later_tokens(view: View) -> list[Witness]:
    """Return that the load generator's times grow, too."""
    metric = "e2e" if view.effect == TIME else "ttft"
    before, now = view.first_client(metric), view.client(metric)
    if not now > 1.2 * before:
        return []
    return [Witness(metric, goes(metric, before, now, view.low_load, view.load), "client", True, True)]


def _cores(view: View) -> float:
    known = [view.value(key) for key in ("process.cpu", "process.thread_cpu")]
    return max((value for value in known if math.isfinite(value)), default=math.nan)


def _busy_core(view: View) -> list[Witness]:
    """Return a process or thread whose core filled up as the load grew: the busiest one, or any one of those whose series
    have their own names. A busy-looping process hides the others in a maximum.
    """
    if view.base is None:
        return []
    for key in ("process.thread_cpu", "process.cpu"):
        pairs = [(view.lowest(key), view.value(key)), *(_own_cpu(view) if key == "process.cpu" else ())]
        for before, now in pairs:
            if now >= BUSY_CORE and now - before >= ADDED:
                text = goes(key, before, now, view.low_load, view.load)
                return [Witness(key, text, "process cpu", is_change=True)]
    return []


def _own_cpu(view: View) -> list[tuple[float, float]]:
    """Return the cores that each process used at the lowest load and at this one, from counters of CPU seconds."""
    if view.base is None:
        return []
    pairs = []
    first, last = view.base.levels[0].telemetry, view.at.levels[-1].telemetry
    for name in last.keys() & first.keys():
        if name.endswith(_CPU_SECONDS) and not name.startswith(_NO_PROCESS) and len(first[name]) == len(last[name]):
            pairs += [(before.mean, now.mean) for before, now in zip(first[name], last[name], strict=True)]
    return pairs


def _files(view: View) -> list[Witness]:
    before, now = view.lowest("process.files"), view.value("process.files", None, "max")
    if not now >= FILES_FULL:
        return []
    if before < 0.8 * now:
        says = goes("process.files", before, now, view.low_load, view.load)
        return [Witness("process.files", says, "files", is_change=True)]
    return [Witness("process.files", value_at("process.files", now, view.load), "files")]


def _refuses(view: View) -> bool:
    """Whether the server accepts no more connections: its files are at their limit, or its backlog overflows."""
    return bool(_files(view)) or view.value("network.drops") > 0.0


def _unknown_to_engine(view: View) -> list[Witness]:
    """Return that the engine knows only some of the requests in flight."""
    known, sent = view.value("running") + view.value("waiting"), view.in_flight
    if not known < KNOWN * sent:
        return []
    says = message(
        "Of {sent} requests in flight at {load}, the engine knows {known}.",
        sent=words.digits(sent),
        load=view.load,
        known=words.digits(known),
    )
    before = view.base
    grows = before is not None and view.value("running", before) + _or(
        view.value("waiting", before), 0.0
    ) >= KNOWN * view.in_flight_at(before)
    return [Witness("running", says, "known requests", is_change=grows)]


def network(view: View) -> Opinion:
    """The network delays requests, or its bandwidth is used up: the load generator's times exceed the server's, which stay
    as they are; TCP retransmits. The load generator itself must be excluded, as its own delays look the same.
    """
    key = "network"
    overhead = view.outside_first(view.at)
    share = view.pieces.share("network")
    if math.isfinite(overhead) and share < 0.1:
        says = message(
            "The load generator measures a TTFT that is {time} longer than the server's at {load}.",
            time=words.duration(_shown_time(overhead)),
            load=view.load,
        )
        return Opinion(key, against=says)
    witnesses = []
    now, before = view.outside(view.at), view.outside(view.base) if view.base else math.nan
    if now > MIN_OVERHEAD:
        text = message(
            "Time outside the server: {time} of a request at {load}.", time=words.duration(now), load=view.load
        )
        if now > 1.5 * before:
            text = message(
                "Time outside the server: {before} of a request at {low}, {after} at {load}.",
                before=words.duration(_shown_time(before)),
                low=view.low_load,
                after=words.duration(now),
                load=view.load,
            )
        witnesses.append(Witness("server.e2e", text, "time outside", is_change=now > 1.5 * before))
    resent, earlier = view.value("network.retransmits"), view.lowest("network.retransmits")
    if resent > max(1.0, 2.0 * _or(earlier, 0.0)):
        text = goes("network.retransmits", earlier, resent, view.low_load, view.load)
        witnesses.append(Witness("network.retransmits", text, "retransmits", is_change=True))
    connect = view.client("connect")
    if connect > 0.02 and view.effect != TIME:
        witnesses.append(Witness("connect", value_at("connect", connect, view.load), "connect", of_client=True))
    if witnesses and (sent := _flat_bytes(view)) is not None:
        witnesses.append(sent)
    if view.failed_check(*GENERATOR):
        share *= 0.5  # the load generator's own delays look the same
    if _refuses(view):
        share *= 0.5  # so does the wait for a connection
    says = message("The network between the load generator and the server takes the time.")
    return Opinion(key, says, view.timely * share, witnesses)


def _flat_bytes(view: View) -> Witness | None:
    """Return that the server sends no more bytes at a higher load."""
    if not view.above or view.above[-1].load < 1.3 * view.at.load:
        return None
    top = view.above[-1]
    now, then = view.value("network.sent"), view.value("network.sent", top)
    if not (now > 0 and then < 1.1 * now):
        return None
    text = goes("network.sent", now, then, view.load, words.with_unit(top.load, view.unit))
    return Witness("network.sent", text, "bytes", is_change=True)


def rate_limit(view: View) -> Opinion:
    """A rate limit or admission control rejects requests while the server has room: HTTP 429 or 503, `rejected` rises
    (vLLM `admission_rejections_total`, TGI `err="overloaded"`). Rejected requests make the server's latencies better.
    """
    key = "rate_limit"
    kinds = ["http_429"]
    server_is_full = view.is_queueing or view.is_full
    if view.is_exposed("waiting") and not server_is_full:
        kinds.append("http_503")
    failed = view.failed(kinds)
    if failed < 0.005 and not view.increase("rejected") > 0:
        if math.isfinite(view.at.errors):
            return Opinion(key, against=message("No request was rejected at {load}.", load=view.load))
        return Opinion(key)
    before = view.failed(kinds, view.base) if view.base else math.nan
    text = message(
        "{share} of the requests were rejected at {load} (HTTP 429 or 503).", share=words.share(failed), load=view.load
    )
    grows = failed > 2.0 * before
    if grows:
        text = message(
            "{share} of the requests were rejected at {load} (HTTP 429 or 503), {before} at {low}.",
            share=words.share(failed),
            load=view.load,
            before=words.share(before),
            low=view.low_load,
        )
    witnesses = [Witness("errors", text, "client errors", is_change=grows, of_client=True)]
    if view.increase("rejected") > 0:
        witnesses.append(Witness("rejected", value_at("rejected", view.value("rejected"), view.load), "rejected"))
    if view.is_exposed("waiting") and not server_is_full:
        text = message(
            "The server has room at {load}: {running} requests run and {waiting} wait.",
            load=view.load,
            running=words.digits(view.value("running")),
            waiting=words.digits(view.value("waiting")),
        )
        witnesses.append(Witness("running", text, "running"))
    share = view.of_failures(kinds) if view.effect == FAILURES else min(1.0, failed)
    if server_is_full and view.effect == FAILURES:
        share *= 0.5  # the full server is the reason for the rejections
    says = message("A rate limit or admission control rejects requests.")
    return Opinion(key, says, share, witnesses)


def proxy(view: View) -> Opinion:
    """A proxy in front of the server ends requests that take too long: failures at one constant age, HTTP 504, and aborted
    requests on the server (whose counter may stay 0: vllm#31503).
    """
    key = "proxy"
    failed = view.failed(_ENDED_BY_OTHERS)
    overhead = view.value("proxy.overhead")
    if failed < 0.005 and not overhead > MIN_OVERHEAD:
        if math.isfinite(view.at.errors):
            return Opinion(key, against=message("No proxy ended requests at {load}.", load=view.load))
        return Opinion(key)
    witnesses = []
    gateway = view.failed(("http_504",))
    before = view.failed(("http_504",), view.base) if view.base else math.nan
    if gateway >= 0.005:
        text = message(
            "{share} of the requests failed with HTTP 504 at {load}.", share=words.share(gateway), load=view.load
        )
        grows = gateway > 2.0 * before
        if grows:
            text = message(
                "{share} of the requests failed with HTTP 504 at {load}, {before} at {low}.",
                share=words.share(gateway),
                load=view.load,
                before=words.share(before),
                low=view.low_load,
            )
        witnesses.append(Witness("errors", text, "client errors", is_change=grows, of_client=True))
    constant = _constant_age(view)
    if constant is not None:
        text = message("Failed requests end after {time}, with hardly any spread.", time=words.duration(constant))
        witnesses.append(Witness("e2e", text, "failure ages", of_client=True))
    counted = False
    for counter in ("aborted", "proxy.failed"):
        now, then = view.value(counter), view.lowest(counter)
        if now > 2.0 * _or(then, 0.0) and now > 0:
            witnesses.append(Witness(counter, goes(counter, then, now, view.low_load, view.load), counter, True))
            counted = counted or view.increase(counter) >= 0.5 * failed * view.at.requests
    if overhead > max(MIN_OVERHEAD, 2.0 * _or(view.lowest("proxy.overhead"), 0.0)):
        text = goes("proxy.overhead", view.lowest("proxy.overhead"), overhead, view.low_load, view.load)
        witnesses.append(Witness("proxy.overhead", text, "proxy.overhead", is_change=True))
    if not witnesses:
        return Opinion(key)
    if counted and not gateway and constant is None:
        text = message("{share} of the requests were cut off at {load}.", share=words.share(failed), load=view.load)
        witnesses.append(Witness("errors", text, "client errors", of_client=True))
    kinds = _ENDED_BY_OTHERS if constant is not None or counted else ("http_504",)
    share = view.of_failures(kinds) if view.effect == FAILURES else 0.0
    if overhead > MIN_OVERHEAD and view.effect != FAILURES:
        share = min(1.0, overhead / max(view.client("ttft"), overhead))
    says = message("A proxy in front of the server ends requests that take too long.")
    if constant is not None:
        says = message("A proxy in front of the server ends requests after {time}.", time=words.duration(constant))
    if view.effect != FAILURES:
        says = message("A proxy in front of the server adds time.")
    return Opinion(key, says, share, witnesses)


def _constant_age(view: View) -> float | None:
    """Return the age at which nearly all failed requests ended; None if it differs."""
    ages = [view.context.ages[level.level] for level in view.at.levels if level.level in view.context.ages]
    for age in ages:
        if age.count >= 3 and age.median >= 0.5 and age.high - age.low <= max(CONSTANT * age.median, 0.25):
            return age.median
    return None


def _or(value: float, otherwise: float) -> float:
    return value if math.isfinite(value) else otherwise


def _shown_time(value: float) -> float:
    """Return a difference of two means to a tenth of a millisecond, not below 0."""
    return max(0.0, round(value, 4))
