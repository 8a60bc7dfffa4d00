"""Remedies: what to try against each cause, and what it should change. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from llmlocust.analysis.causes.cause import Cause
from llmlocust.analysis.causes.context import Context
from llmlocust.analysis.causes.engines import LOWER, SET, Option, engine_of, is_set, options_of, present_value
from llmlocust.metrics.levels import LevelFigures
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message, sentences

REMEDIES: dict[str, Message] = {
    "slots": message(
        "Let the server run more requests at once, or add a replica. Fewer requests should then wait, as the KV cache has "
        "room."
    ),
    "kv_cache": message(
        "Give the KV cache more room, send shorter prompts and answers, or add a replica. Fewer requests should then wait or "
        "be preempted; to run more at once would make it worse."
    ),
    "prefill": message(
        "Make prompts cheaper: shorter ones, the prefix cache, a larger token budget of a step, or a replica. TTFT should "
        "fall; a larger budget makes the ITL longer."
    ),
    "decode": message("Make each step faster (quantisation, a faster or second GPU): the batch itself is slow."),
    "compute": message("Use fewer or cheaper computations (quantisation), a faster or second GPU, or a replica."),
    "front_end": message(
        "Give the front end more processes or faster cores, and send larger pieces of answers. The time outside the engine "
        "should fall."
    ),
    "network": message(
        "Measure from a machine next to the server. If its times are better there, the network is the limit for your users, "
        "too."
    ),
    "rate_limit": message("Ask for a higher rate limit, or let clients wait as long as Retry-After says."),
    "proxy": message("Give the proxy in front of the server a longer timeout, or let fewer requests wait behind it."),
    "cold_start": message("Send some requests before the run, or keep a minimum number of replicas running."),
    "prefix_cache": message(
        "Give the prefix cache more room, or send requests with the same prefix to the same replica."
    ),
    "power": message("Check the cooling and the power limit of the GPU: at full clock each step takes less time."),
    "tenant": message("Measure again without other programs on the GPU."),
    "client": message("Measure again with more processes or machines (--processes, --worker)."),
    "think_time": message("Raise the number of users, or shorten their think time, to load the server more."),
    "outage": message("Find out why the server was interrupted (its log, its memory), and measure again."),
}
"""Remedies by cause."""
_FILES = message(
    "Raise the limit of open files of the server (ulimit -n) or of connections. Requests then reach the engine."
)
_PERHAPS_SLOTS = message(
    "Check whether the KV cache of the server has room. If it has, let the server run more requests at once, or add a replica."
)


def remedy(cause: Cause, context: Context, levels: Sequence[LevelFigures]) -> str:
    """Return what to try against a cause, with the options of the engine that was recognised."""
    assert cause.key is not None
    do = REMEDIES[cause.key]
    if cause.key == "front_end" and any(
        evidence.metric in ("process.files", "network.drops") for evidence in cause.evidence
    ):
        return _FILES
    if cause.key == "slots" and not any(level.reported("kv.usage") for level in levels):
        # a full KV cache makes requests wait, too
        do = _PERHAPS_SLOTS
    options = [(option, present_value(context, option, levels)) for option in options_of(context, cause.key)]
    changes = [_change(option, value) for option, value in options if not is_set(option, value)]
    if not changes:
        return do
    named = words.series(changes)
    return sentences([do, message("In {engine}: {options}.", engine=engine_of(context), options=named)])


def reason(cause: Cause) -> str:
    """Return the evidence of a cause: two of its witnesses, those that changed first."""
    return sentences([evidence.says for evidence in cause.evidence[:2]])


def _change(option: Option, value: str) -> Message:
    name = message("{option} (now {value})", option=option.name, value=value) if value else option.name
    if option.change == LOWER:
        return message("lower {option}", option=name)
    return message("set {option}", option=name) if option.change == SET else message("raise {option}", option=name)
