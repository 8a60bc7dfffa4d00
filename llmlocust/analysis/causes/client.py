"""Rules on the measurement itself: the load generator, the think time of its users, and outages."""

from __future__ import annotations

import math

from llmlocust.analysis.causes.opinion import Opinion, Witness, goes
from llmlocust.analysis.causes.view import FAILURES, GENERATOR, View
from llmlocust.metrics.levels import USERS
from llmlocust.text import figures as words
from llmlocust.text.message import message

HALF_BUSY = 0.4
"""Share of a core from which the load generator's own queue may add time."""
MOSTLY_THINKING = 0.3
"""Share of the users with a request in flight, below which the load on the server is much lower than their number."""
SLOWER = 1.5
"""Factor by which the server's own ITL grows if its steps are slower at this load."""
FROZEN = 3.0
"""Seconds without an answer that count as a frozen server. `/metrics` of a loaded vLLM hangs for seconds, too, so the
tokens must stop as well."""
LONGER = 5.0
"""Factor by which the longest ITL of a frozen server exceeds those of the other loads."""


def client(view: View) -> Opinion:
    """The load generator itself is late: its checks fail, the server runs fewer requests than are in flight and none wait,
    and its times are shorter than ours. SGLang's docs: a queue that is often 0 means that the client is too slow.
    """
    key = "client"
    check = view.failed_check(*GENERATOR)
    if check is None and (busy := _half_busy(view)) is not None:
        says = message("The load generator seems to be late: its own delays may be part of the figures.")
        return Opinion(key, says, 1.02 * view.pieces.share("network"), [busy])
    if check is None:
        passed = view.passed_check("client_cpu", "event_loop_lag", "client_queue_time")
        return Opinion(key, against=passed.says if passed else None)
    change = _cpu_grows(view)
    witnesses = [Witness(check.key, check.says, "checks", is_change=change, of_client=True)]
    known, sent = view.value("running") + _zero(view.value("waiting")), view.in_flight
    if known < 0.7 * sent and not view.is_queueing:
        text = message(
            "Of {sent} requests in flight at {load}, the engine knows {known}.",
            sent=words.digits(sent),
            load=view.load,
            known=words.digits(known),
        )
        witnesses.append(Witness("running", text, "known requests"))
    outside = view.outside_first(view.at)
    before = view.outside_first(view.base) if view.base else math.nan
    if outside > 0.005 and outside > 1.5 * before:
        text = message(
            "TTFT at the load generator minus TTFT on the server: {before} at {low}, {after} at {load}.",
            before=words.duration(max(0.0, before)),
            low=view.low_load,
            after=words.duration(outside),
            load=view.load,
        )
        witnesses.append(Witness("ttft", text, "time outside", is_change=True))
    # where the server reports its own times, only the rest can be the load generator's
    share = view.pieces.share("network") if view.is_exposed("server.ttft") else 0.9
    # without the server's TTFT, as with llama.cpp, slower steps are the sign that the server itself is slower
    is_slower = view.value("server.itl") > SLOWER * view.lowest("server.itl")
    if view.is_queueing or (is_slower and not view.is_exposed("server.ttft")):
        share = min(share, 0.4)
    if view.effect == FAILURES and not view.is_exposed("server.ttft"):
        share = 0.3
    says = message("The load generator is late: its own delays are part of the figures.")
    return Opinion(key, says, 1.02 * share, witnesses)


def _half_busy(view: View) -> Witness | None:
    """Return that a process of the load generator has less than all of its core to spare, where times outside the server
    grow with its use and nothing else of the network changes.
    """
    cpu = max((view.context.facts.client_cpu.get(level.level, 0.0) for level in view.at.levels), default=0.0)
    resent = view.value("network.retransmits") > 1.0
    if cpu < HALF_BUSY or resent or not _cpu_grows(view) or view.pieces.share("network") < HALF_BUSY:
        return None
    text = message(
        "The busiest process of the load generator uses {share} of its core at {load}.",
        share=words.share(cpu),
        load=view.load,
    )
    return Witness("client_cpu", text, "checks", is_change=True, of_client=True)


def _cpu_grows(view: View) -> bool:
    cpu = view.context.facts.client_cpu
    if view.base is None:
        return False
    before, now = (
        max((cpu.get(level.level, math.nan) for level in step.levels), default=math.nan)
        for step in (view.base, view.at)
    )
    return now > 1.2 * before


def think_time(view: View) -> Opinion:
    """The users think for most of the time, so the load on the server was never high: N = X (R + Z). It looks like a slow
    load generator: compare with the requested concurrency.
    """
    key = "think_time"
    think = view.context.facts.think_time
    users = view.at.load
    share = view.in_flight / users if users > 0 else math.nan
    if view.unit != USERS or not think or math.isnan(share):
        return Opinion(key)
    if share > MOSTLY_THINKING:
        says = message(
            "{share} of the users have a request in flight at {load}.", share=words.share(share), load=view.load
        )
        return Opinion(key, against=says)
    text = message(
        "Users think for {think} between requests: of {users}, {count} have a request in flight.",
        think=words.duration(think),
        users=view.load,
        count=words.digits(view.in_flight),
    )
    witnesses = [Witness("throughput", text, "Little's law", of_client=True)]
    if view.value("running") < MOSTLY_THINKING * users and not view.is_queueing:
        running = goes("running", view.lowest("running"), view.value("running"), view.low_load, view.load)
        witnesses.append(
            Witness("running", running, "running", is_change=view.value("running") > view.lowest("running"))
        )
    says = message("The users think for most of the time: the load on the server was never high.")
    return Opinion(key, says, 0.0, witnesses)


def outage(view: View) -> Opinion:
    """The server was restarted, stopped or unreachable during the level. Counters that begin anew show a restart; a source
    that is silent and tokens that stop at the same time show a frozen server. Neither is a limit of the load.
    """
    key = "outage"
    witnesses = []
    levels = {level.level for level in view.at.levels}
    restarts = [event for event in view.events if event.kind == "restart"]
    if restarts:
        text = message("The server's counters began anew during {load}: it was restarted.", load=view.load)
        witnesses.append(Witness("restarts", text, "restart", is_change=True))
    elif view.increase("restarts") > 0 or view.increase("oom_kills") > 0:
        text = message("The server was restarted during {load}.", load=view.load)
        witnesses.append(Witness("restarts", text, "restart", is_change=True))
    facts = view.context.facts
    hit = [facts.outages[level] for level in levels if level in facts.outages]
    if hit:
        text = message(
            "No connection succeeded for {duration}, from second {began} of {load} on.",
            duration=words.duration(hit[0][1]),
            began=f"{hit[0][0]:.0f}",
            load=view.load,
        )
        witnesses.append(Witness("errors", text, "connections", is_change=True, of_client=True))
    elif levels & view.context.unreachable.keys():
        text = message("From some second of {load} on, no connection succeeded.", load=view.load)
        witnesses.append(Witness("errors", text, "connections", is_change=True, of_client=True))
    refused = view.failed(("connect", "reset", "truncated"))
    if restarts and not hit and refused > 0:
        text = message(
            "{share} of the requests lost their connection or got none at {load}.",
            share=words.share(refused),
            load=view.load,
        )
        witnesses.append(Witness("errors", text, "connections", is_change=True, of_client=True))
    witnesses += _frozen(view)
    if not witnesses:
        if not view.is_exposed("running") and math.isnan(view.at.errors):
            return Opinion(key)
        return Opinion(key, against=message("The server was reachable all the time at {load}.", load=view.load))
    is_sure = bool(restarts or hit or len(witnesses) > 1 or levels & view.context.unreachable.keys())
    says = message("The server was interrupted during this level. That shows no limit of the load.")
    if restarts:
        says = message("The server was restarted during this level. That shows no limit of the load.")
    return Opinion(key, says, 1.1 if is_sure else 0.2, witnesses)


def _frozen(view: View) -> list[Witness]:
    """Return the witnesses of a frozen server: the telemetry and the streams stop for the same seconds."""
    silence = max((event.seconds for event in view.events if event.kind == "silent"), default=0.0)
    longest = max((level.metric("itl").most for level in view.at.levels), default=math.nan)
    others = [level.metric("itl").most for step in view.steps if step is not view.at for level in step.levels]
    usual = max((value for value in others if math.isfinite(value)), default=math.nan)
    stopped = longest >= FROZEN and not longest < LONGER * _zero(usual)
    witnesses = []
    if stopped and (silence == 0.0 or longest >= 0.5 * silence):
        text = message(
            "The streams stopped for {time} at {load}; the longest ITL of the other loads is {usual}.",
            time=words.duration(longest),
            load=view.load,
            usual=words.duration(usual),
        )
        witnesses.append(Witness("itl", text, "streams", is_change=True, of_client=True))
    if silence >= FROZEN and witnesses:
        text = message(
            "The server's telemetry was silent for {time} during {load}.", time=words.duration(silence), load=view.load
        )
        witnesses.append(Witness("silent", text, "silence", is_change=True))
    return witnesses


def _zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0
