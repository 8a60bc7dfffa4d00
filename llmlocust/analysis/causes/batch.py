"""Rules on the engine's batch: its places, its KV cache, and the time of its steps.

Added users wait at the station that binds. If requests wait in the engine's queue, the station is the KV cache where it is
full, and otherwise the batch. A full batch is a matter of places if a larger one would give more tokens per second, and of
prefill or decode if its steps would only take longer by as much.
"""

from __future__ import annotations

import math

from llmlocust.analysis.causes.opinion import Opinion, Witness, goes, value_at
from llmlocust.analysis.causes.view import AT_LIMIT, TIME, TPOT, TTFT, WAITS_FROM, View
from llmlocust.text import figures as words
from llmlocust.text.message import Message, message

FULL = 0.9
"""KV usage from which the cache may be full: blocks of the next request do not fit into the rest."""
CERTAINLY_NOT_FULL = 0.85
"""KV usage (its p95) below which it is not full. SGLang takes usage below 0.9 with a queue as a sign that the scheduler
admits too few requests (docs/advanced_features/hyperparameter_tuning.md)."""
OFTEN = 0.02
"""Preemptions per finished request from which they count. SGLang calls about one a minute harmless."""
STEEP = 0.5
"""Share of a step that grows with the batch, above which a larger batch gives few more tokens."""
BUSY_WITH_PROMPTS = 0.5
"""Share of the time for prompts, above which prefill binds."""
HIGH_BANDWIDTH, HIGH_TENSOR = 0.6, 0.5
"""Shares of time in which the GPU's memory and its tensor cores are active. About 0.8 is the practical maximum of the
memory (KempnerPulse, docs/classification.md, citing NVIDIA)."""


_ROUNDING = 0.05
"""Share of a request by which a mean may exceed a whole number of places."""


def queue_witnesses(view: View) -> list[Witness]:
    """Return the witnesses of a queue in the engine: its gauge, its histogram, and the first tokens that come later."""
    witnesses = []
    before, now = view.lowest("waiting"), view.value("waiting")
    if view.is_queueing:
        if before < 0.5 * now:
            says = goes("waiting", before, now, view.low_load, view.load)
            witnesses.append(Witness("waiting", says, "waiting", is_change=True))
        else:
            witnesses.append(Witness("waiting", value_at("waiting", now, view.load), "waiting"))
    before, now = view.lowest("server.queue"), view.value("server.queue")
    if now > 0.005 and now > 2.0 * before:
        says = goes("server.queue", before, now, view.low_load, view.load)
        witnesses.append(Witness("server.queue", says, "waiting", is_change=True))
    before, now = view.first_client("ttft"), view.client("ttft")
    if now > 1.5 * before:
        says = goes("ttft", before, now, view.low_load, view.load)
        witnesses.append(Witness("ttft", says, "client ttft", is_change=True, of_client=True))
    return witnesses


def slots(view: View) -> Opinion:
    """All places of the batch are taken: `running` stays at its limit while requests wait, the KV cache is not full, and
    the steps hardly get slower (vLLM `num_requests_waiting_by_reason{reason="capacity"}`; llama.cpp `requests_deferred`;
    SGLang's tuning guide: a queue with token usage below 0.9). A queue is no fault unless a threshold is violated.
    """
    key = "slots"
    if (against := _against_queue(view)) is not None:
        return Opinion(key, against=against)
    running, limit = view.value("running"), view.limit
    if view.has_room and not _is_fluctuating(view):
        says = message(
            "{running} requests run at {load}, and {limit} may.",
            running=words.digits(running),
            load=view.load,
            limit=words.digits(limit),
        )
        return Opinion(key, against=says)
    if kv_is_full(view) and _preempts(view):
        return Opinion(key, against=message("Sequences are preempted: the KV cache, not the number of places, binds."))
    witnesses = _of_places(view)
    if not view.is_exposed("running"):
        return _slots_by_client(view)
    # a larger batch ends the wait for the first token, whatever its steps cost
    cost = 0.0 if view.effect == TTFT else _or(view.batch_cost, 0.0)
    free = (1.0 - view.prefill_load(view.at)) * (1.0 - cost)
    free *= view.clock_share(view.at)
    share = view.timely * _queue_share(view) * (free if view.is_full else 0.5 * free)
    known = limit if math.isfinite(limit) else view.plateau
    says = message(
        "Requests wait for a place in the batch: the server runs no more than {count} at once.",
        # a plateau is a mean, which requests that come and go lower a little
        count=words.digits(math.ceil((known if math.isfinite(known) else running) - _ROUNDING)),
    )
    return Opinion(key, says, share if view.is_queueing else 0.0, witnesses)


def _of_places(view: View) -> list[Witness]:
    """Return the witnesses of a full batch."""
    running, limit = view.value("running"), view.limit
    witnesses = []
    if view.is_full and math.isfinite(limit):
        says = message(
            "{running} requests run at {load}; the limit is {limit}.",
            running=words.digits(running),
            load=view.load,
            limit=words.digits(limit),
        )
        witnesses.append(Witness("running", says, "running"))
    elif view.is_full:
        says = message(
            "No more than {count} requests run, at {load} and at other loads with a queue.",
            count=words.digits(view.plateau),
            load=view.load,
        )
        witnesses.append(Witness("running", says, "running", is_change=True))
    return [*witnesses, *(queue_witnesses(view) if view.is_queueing else ())]


def _slots_by_client(view: View) -> Opinion:
    """Conclude from the load generator's figures alone: first tokens come later, and the others at the same pace."""
    before, now = view.first_client("ttft"), view.client("ttft")
    itl, alone = view.itl(view.at), view.itl(view.base) if view.base else math.nan
    if view.has_telemetry or not now > 1.5 * before or not itl < 1.5 * alone:
        return Opinion("slots")
    witnesses = [
        Witness("ttft", goes("ttft", before, now, view.low_load, view.load), "client ttft", True, True),
        Witness("tpot", goes("tpot", alone, itl, view.low_load, view.load), "client tpot", True, True),
    ]
    says = message(
        "Requests wait before their first token, and the tokens after it come as fast as before: the server seems to admit no more requests at once."
    )
    share = view.timely * view.pieces.share("undivided", "queue") * (1.0 - view.prefill_load(view.at))
    return Opinion("slots", says, share, witnesses)


def kv_cache(view: View) -> Opinion:
    """The KV cache is full: usage near 1, and preemptions or a queue while places are free (vLLM docs/configuration/
    optimization.md, "Preemption"; SGLang: retractions). High usage alone is good. `running` below its limit with a full
    cache means this cause, and not the places.
    """
    key = "kv_cache"
    usage, high = view.value("kv.usage"), max(view.value("kv.usage", None, name) for name in ("mean", "p95", "max"))
    if high < CERTAINLY_NOT_FULL and not _preempts(view):
        says = message("The KV cache is used up to {share} at {load}.", share=words.share(high), load=view.load)
        return Opinion(key, against=says)
    if math.isnan(usage):
        reported = view.limit
        if view.is_full and math.isfinite(reported):
            says = message(
                "As many requests run as the server's limit of {limit} permits.", limit=words.digits(reported)
            )
            return Opinion(key, against=says)
        return Opinion(key)
    if not view.is_queueing and not _preempts(view):
        return Opinion(key, against=message("The KV cache is used well: nothing waits, and nothing is preempted."))
    if view.is_full and math.isfinite(view.limit) and not _preempts(view):
        says = message("As many requests run as the server's limit of {limit} permits.", limit=words.digits(view.limit))
        return Opinion(key, against=says)
    says = message("The KV cache is full: {share} of it is in use at {load}.", share=words.share(usage), load=view.load)
    witnesses = [Witness("kv.usage", _change_or_value(view, "kv.usage"), "kv.usage")]
    if _preempts(view):
        before, now = view.increase("preemptions", view.base) if view.base else math.nan, view.increase("preemptions")
        text = message("{count} sequences were preempted at {load}.", count=words.digits(now), load=view.load)
        if before < 0.5 * now:
            text = message(
                "{count} sequences were preempted at {load}, {before} at {low}.",
                count=words.digits(now),
                load=view.load,
                before=words.digits(before),
                low=view.low_load,
            )
        witnesses.append(Witness("preemptions", text, "preemptions", is_change=before < 0.5 * now))
        says = message(
            "The KV cache is full: {share} of it is in use at {load}, and sequences are preempted.",
            share=words.share(usage),
            load=view.load,
        )
    if view.has_room:
        text = message(
            "Requests wait although {running} run and {limit} may.",
            running=words.digits(view.value("running")),
            limit=words.digits(view.limit),
        )
        if view.is_queueing:
            witnesses.append(Witness("running", text, "running"))
    witnesses += queue_witnesses(view)
    # a preempted sequence is computed again, which makes all steps longer
    places = ("queue", "prefill", "decode", "undivided") if _preempts(view) else ("queue",)
    share = view.timely * view.pieces.share(*places)
    return Opinion(key, says, share, witnesses)


def kv_is_full(view: View) -> bool:
    """Whether the KV cache is full, and that keeps requests waiting."""
    high = max(view.value("kv.usage"), view.value("kv.usage", None, "p95"), view.value("kv.usage", None, "max"))
    return (high >= CERTAINLY_NOT_FULL and not (view.is_full and math.isfinite(view.limit))) or _preempts(view)


def _preempts(view: View) -> bool:
    finished = max(1.0, float(view.at.requests))
    return view.increase("preemptions") > max(1.0, OFTEN * finished)


def prefill(view: View) -> Opinion:
    """Prompts take the time of the steps: the time that the engine computes them, by that of a request alone and the
    throughput (utilisation law), approaches 1, and prefill times grow. vLLM docs: prefill is bound by computation, decode
    by memory; Sarathi-Serve, arXiv 2403.02310. Cached prompt tokens cost nothing, so computed tokens count. Requests that
    wait while neither places nor the cache are full wait for the token budget of a step.
    """
    key = "prefill"
    busy = view.prefill_load(view.at)
    waits = view.is_queueing and view.has_room and not kv_is_full(view) and not _is_fluctuating(view)
    if view.has_telemetry and busy < 0.2 and not waits:
        says = message(
            "Computing prompts takes about {share} of the time at {load}.", share=words.share(busy), load=view.load
        )
        return Opinion(key, against=says)
    witnesses = []
    if (
        view.is_exposed("server.prefill")
        and view.grown("server.prefill") > 0.005
        and view.value("server.prefill") > 1.5 * view.lowest("server.prefill")
    ):
        text = goes(
            "server.prefill", view.lowest("server.prefill"), view.value("server.prefill"), view.low_load, view.load
        )
        witnesses.append(Witness("server.prefill", text, "server.prefill", is_change=True))
    if busy >= BUSY_WITH_PROMPTS:
        text = message(
            "A prompt alone takes {time}; at {load} the server computes prompts {share} of the time.",
            time=words.duration(view.prefill_alone),
            load=view.load,
            share=words.share(busy),
        )
        witnesses.append(
            Witness(
                "computed_tokens", text, "prefill load", is_change=True, of_client=not view.is_exposed("server.prefill")
            )
        )
    if _is_plateau(view, "computed_tokens"):
        text = goes(
            "computed_tokens",
            view.value("computed_tokens"),
            view.value("computed_tokens", view.above[-1]),
            view.load,
            words.with_unit(view.above[-1].load, view.unit),
        )
        witnesses.append(Witness("computed_tokens", text, "computed_tokens", is_change=True))
    steps, running = view.value("tokens_per_step"), view.value("running")
    if steps > 3.0 * running:
        text = message(
            "A step has {tokens} tokens at {load}, with {running} sequences: most are tokens of prompts.",
            tokens=words.digits(steps),
            load=view.load,
            running=words.digits(running),
        )
        witnesses.append(Witness("tokens_per_step", text, "tokens_per_step"))
    if view.value("gpu.tensor_active") >= HIGH_TENSOR > view.value("gpu.dram_active"):
        witnesses.append(Witness("gpu.tensor_active", _change_or_value(view, "gpu.tensor_active"), "gpu counters"))
    if not witnesses:
        return Opinion(key)
    witnesses += [witness for witness in queue_witnesses(view) if witness.metric != "waiting" or waits]
    of_queue = 1.0 if waits else busy
    if kv_is_full(view):
        of_queue = 0.0
    pieces = view.pieces
    share = pieces.share("prefill") + of_queue * pieces.share("queue", "undivided")
    says = message("Computing prompts (prefill) takes the server's time.")
    return Opinion(key, says, view.timely * share, witnesses)


def decode(view: View) -> Opinion:
    """Each step takes longer with more sequences, as decode reads the weights and the whole KV cache from memory
    (Sarathi-Serve; KempnerPulse on DRAM activity). While tokens per second still rise, a larger batch is worth it.
    """
    key = "decode"
    cost, grown = view.batch_cost, _itl_growth(view)
    if grown < 1.15:
        says = message("The tokens of a stream come as fast at {load} as at {low}.", load=view.load, low=view.low_load)
        return Opinion(key, against=says)
    if math.isnan(cost) or cost < 0.2:
        return Opinion(key)
    return _of_steps(view, key, is_compute=False)


def compute(view: View) -> Opinion:
    """Computation binds decode too: tensor cores near their plateau, memory bandwidth not (the roofline model). GPU
    utilisation of 100 % is no sign of it: it only means that some kernel ran (NVML).
    """
    key = "compute"
    tensor, dram = view.value("gpu.tensor_active"), view.value("gpu.dram_active")
    if tensor < HIGH_TENSOR:
        says = message(
            "Tensor cores are active {share} of the time at {load}.", share=words.share(tensor), load=view.load
        )
        return Opinion(key, against=says)
    if not tensor >= HIGH_TENSOR or dram >= HIGH_BANDWIDTH or _itl_growth(view) < 1.15:
        return Opinion(key)
    return _of_steps(view, key, is_compute=True)


def _of_steps(view: View, key: str, *, is_compute: bool) -> Opinion:
    """Conclude that slow steps bind."""
    if view.base is None:
        return Opinion(key)
    cost = _or(view.batch_cost, 0.0)
    dram, tensor = view.value("gpu.dram_active"), view.value("gpu.tensor_active")
    is_server = view.is_exposed("server.tpot") or view.is_exposed("server.itl")
    metric = next((key for key in ("server.tpot", "server.itl") if view.is_exposed(key)), "tpot")
    before, now = view.itl(view.base), view.itl(view.at)
    witnesses = [Witness(metric, goes(metric, before, now, view.low_load, view.load), "itl", True, not is_server)]
    if is_server and view.client("tpot") > 1.15 * view.first_client("tpot"):
        text = goes("tpot", view.first_client("tpot"), view.client("tpot"), view.low_load, view.load)
        witnesses.append(Witness("tpot", text, "client tpot", True, True))
    if view.value("running") > 1.5 * view.lowest("running"):
        text = goes("running", view.lowest("running"), view.value("running"), view.low_load, view.load)
        witnesses.append(Witness("running", text, "running", is_change=True))
    if is_compute:
        witnesses.append(Witness("gpu.tensor_active", _change_or_value(view, "gpu.tensor_active"), "gpu counters"))
    elif dram >= HIGH_BANDWIDTH and not tensor >= dram:
        witnesses.append(Witness("gpu.dram_active", _change_or_value(view, "gpu.dram_active"), "gpu counters"))
    of_queue = cost * (1.0 - view.prefill_load(view.at))
    if kv_is_full(view) or (view.effect == TTFT and view.is_queueing):
        of_queue = 0.0
    pieces = view.pieces
    share = pieces.share("decode") + of_queue * pieces.share("queue", "undivided")
    says = message("Each step of decode takes longer with more sequences in the batch.")
    if is_compute:
        says = message("Each step takes longer with more tokens in it: computation is at its maximum.")
    elif cost >= STEEP and view.effect != TPOT:
        says = message(
            "Each step of decode takes longer with more sequences in the batch, so that a larger batch gives few more tokens."
        )
    return Opinion(key, says, view.timely * share, witnesses)


# ── figures that several rules use ──


def _against_queue(view: View) -> Message | None:
    """Return why no queue in the engine explains the number; None if the data do not say so."""
    if view.value("waiting") < WAITS_FROM and view.value("waiting", None, "p95") < 1.0:
        return message("No requests wait in the server's queue at {load}.", load=view.load)
    return None


def _queue_share(view: View) -> float:
    return view.pieces.share("queue", "undivided") if view.effect != TPOT else 0.0


def _is_fluctuating(view: View) -> bool:
    """Whether requests reach the limit from time to time: with a load near it, some wait while on average places are free."""
    top = view.value("running", None, "max")
    return top >= AT_LIMIT * view.limit and view.value("running") >= 0.7 * view.limit


def _itl_growth(view: View) -> float:
    return view.itl(view.at) / view.itl(view.base) if view.base else math.nan


def _is_plateau(view: View, key: str) -> bool:
    """Whether a rate grows no more above this load, though the load does."""
    if not view.above or view.effect != TIME:
        return False
    top = view.above[-1]
    now, then = view.value(key), view.value(key, top)
    return now > 0 and then < 1.1 * now and top.load > 1.3 * view.at.load


def _change_or_value(view: View, key: str) -> Message:
    before, now = view.lowest(key), view.value(key)
    if math.isnan(before) or abs(now - before) < 0.05 * abs(now):
        return value_at(key, now, view.load)
    return goes(key, before, now, view.low_load, view.load)


def _or(value: float, otherwise: float) -> float:
    return value if math.isfinite(value) else otherwise
