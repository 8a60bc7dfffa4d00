"""Rules on conditions that change while the engine does the same: the GPU's clock, other programs, caches, a cold start."""

from __future__ import annotations

import math

from llmlocust.analysis.breakpoints.steps import Step
from llmlocust.analysis.causes.opinion import Opinion, Witness, goes, shown
from llmlocust.analysis.causes.view import FAILURES, View
from llmlocust.text import figures as words
from llmlocust.text.message import message

SLOWER_CLOCK = 0.94
"""Clock under load, as a share of its highest value under load, below which it is lowered."""
THROTTLED = 0.05
LOST_CLOCK = 3.0
"""Factor of the lost share of the clock, by which it counts: a clock that is lower by a third explains everything that the
steps add."""
PLATEAU = 0.93
"""Power as a share of its limit, or of its highest value, from which it is at its maximum."""
LESS_CACHED = 0.1
"""Share of prompt tokens by which the prefix cache's hits must fall."""
MORE_COMPUTED = 1.2
"""Factor of the prompt tokens that each request has computed."""
IDLE = 0.5
"""Running requests below which the engine is idle for most of the time."""
SLOWER_STEPS = 1.15
"""Factor of the time between two tokens, with a batch of the same size."""
WARMER = 1.3
"""Factor by which a later, higher load is faster than a cold one."""


def power(view: View) -> Opinion:
    """Power or heat lowers the GPU's clock: the clock falls although the GPU is as busy, while power is at its limit or the
    GPU reports that it is throttled. Clocks also fall when the GPU is idle, so only those under load are compared.
    """
    key = "power"
    clock, full = view.value("gpu.clock"), view.full_clock
    lowest = view.value("gpu.clock", None, "min") if view.is_loaded(view.at, "min") else clock
    throttled = view.value("gpu.throttled")
    is_lower = view.is_loaded(view.at) and min(clock, lowest) < SLOWER_CLOCK * full
    is_throttled = throttled >= THROTTLED
    if not is_lower and not is_throttled:
        if math.isfinite(clock) and math.isfinite(full):
            says = message(
                "The GPU's clock is not lowered: {clock} at {load}.", clock=shown("gpu.clock", clock), load=view.load
            )
            return Opinion(key, against=says)
        return Opinion(key)
    witnesses = []
    if is_lower:
        text = message(
            "The GPU's clock is {clock} at {load}; its highest under load is {full}.",
            clock=shown("gpu.clock", min(clock, lowest)),
            load=view.load,
            full=shown("gpu.clock", full),
        )
        witnesses.append(Witness("gpu.clock", text, "gpu clock", is_change=True))
    if is_throttled:
        text = goes("gpu.throttled", view.lowest("gpu.throttled"), throttled, view.low_load, view.load)
        change = view.lowest("gpu.throttled") < 0.5 * throttled
        witnesses.append(Witness("gpu.throttled", text, "gpu throttled", is_change=change))
    watts, limit = view.value("gpu.power", None, "max"), view.value("gpu.power_limit")
    highest = max((view.value("gpu.power", step, "max") for step in view.steps), default=math.nan)
    if watts >= PLATEAU * (limit if math.isfinite(limit) else highest):
        text = message(
            "The GPU takes {power} at {load}, which is its maximum.", power=shown("gpu.power", watts), load=view.load
        )
        witnesses.append(Witness("gpu.power", text, "gpu power"))
    slower = _step_growth(view)
    before = view.before or view.base
    if slower > 1.05 and before is not None:
        metric = "server.tpot" if view.is_exposed("server.tpot") else "tpot"
        text = goes(metric, view.itl(before), view.itl(view.at), words.load(before.load), view.load)
        witnesses.append(Witness(metric, text, "itl", True, metric == "tpot"))
    lost = max(1.0 - min(clock, lowest) / full if is_lower else 0.0, _zero(throttled))
    places = ("queue", "prefill", "decode", "undivided", "clock")
    share = min(1.0, LOST_CLOCK * lost) * view.timely * view.pieces.share(*places)
    says = message("Power or heat makes the GPU lower its clock, and every step takes longer.")
    return Opinion(key, says, share, witnesses)


def _step_growth(view: View) -> float:
    before = view.before or view.base
    return view.itl(view.at) / view.itl(before) if before else math.nan


def tenant(view: View) -> Opinion:
    """Another program uses the GPU: it is busy while the engine is idle. Where it takes more at some load, steps take longer
    although they have no more sequences.
    """
    key = "tenant"
    running = view.value("running", view.steps[0]) if view.steps else math.nan
    busy, watts = view.value("gpu.dram_active", view.steps[0]), view.value("gpu.utilisation", view.steps[0])
    if running >= IDLE or math.isnan(running) or not max(_zero(busy), _zero(watts)) >= 0.9:
        return Opinion(key)
    text = message(
        "The GPU is busy {share} of the time at {load}, where the engine runs {running} requests.",
        share=words.share(max(_zero(busy), _zero(watts))),
        load=words.with_unit(view.steps[0].load, view.unit),
        running=words.digits(running),
    )
    witnesses = [Witness("gpu.utilisation", text, "gpu counters")]
    if view.base and view.has_same_batch and view.itl(view.at) > SLOWER_STEPS * view.itl(view.base):
        text = goes("tpot", view.itl(view.base), view.itl(view.at), view.low_load, view.load)
        witnesses.append(Witness("tpot", text, "itl", is_change=True, of_client=True))
    share = 0.5 * view.timely * view.pieces.share("queue", "prefill", "decode", "undivided")
    return Opinion(key, message("Another program seems to use the GPU."), share, witnesses)


def cold_start(view: View) -> Opinion:
    """The server was cold at the first load of the run: later, higher loads are faster."""
    key = "cold_start"
    first = min(view.steps, key=_began, default=None)
    if first is not view.at or not view.above or math.isnan(_began(view.at)):
        return Opinion(key)
    later = view.above[0]
    before, after = (step.figure("ttft", "p50") for step in (view.at, later))
    if math.isnan(before):
        before, after = (step.figure("e2e", "p50") for step in (view.at, later))
    if not before > WARMER * after or _began(later) < _began(view.at):
        return Opinion(key)
    high = words.with_unit(later.load, view.unit)
    witnesses = [
        Witness("ttft", goes("ttft", before, after, words.load(view.at.load), high), "client ttft", True, True)
    ]
    for metric in ("server.prefill", "server.itl", "server.tpot"):
        now, then = view.value(metric), view.value(metric, later)
        if now > WARMER * then:
            text = goes(metric, now, then, words.load(view.at.load), high)
            witnesses.append(Witness(metric, text, "server steps", is_change=True))
            break
    says = message("The server was cold: later, at a higher load, it is faster.")
    return Opinion(key, says, 0.99, witnesses)


def _began(step: Step) -> float:
    return min((level.began for level in step.levels), default=math.nan)


def prefix_cache(view: View) -> Opinion:
    """The prefix cache loses prompts: the share of cached tokens falls with the load, so each request has more tokens
    computed (vLLM `prefix_cache_hits_total`, in tokens).
    """
    key = "prefix_cache"
    before, now = view.lowest("cached_share"), view.value("cached_share")
    if math.isnan(now):
        return Opinion(key)
    ratio = view.computed_ratio(view.at)
    if not (before - now >= LESS_CACHED and ratio >= MORE_COMPUTED):
        says = message(
            "{share} of the prompt tokens come from the prefix cache at {load}.", share=words.share(now), load=view.load
        )
        return Opinion(key, against=says)
    witnesses = [
        Witness("cached_share", goes("cached_share", before, now, view.low_load, view.load), "prefix cache", True)
    ]
    if view.value("server.prefill") > 1.2 * view.lowest("server.prefill"):
        text = goes(
            "server.prefill", view.lowest("server.prefill"), view.value("server.prefill"), view.low_load, view.load
        )
        witnesses.append(Witness("server.prefill", text, "server.prefill", is_change=True))
    busy = view.prefill_load(view.at)
    pieces = view.pieces
    lost = 1.0 - 1.0 / ratio
    share = (pieces.share("prefill") + busy * pieces.share("queue", "undivided")) * min(1.0, 1.5 * lost) * 1.05
    says = message("The prefix cache loses prompts: each request has more of its prompt computed.")
    weight = view.timely if view.effect == FAILURES else 1.0
    return Opinion(key, says, weight * share, witnesses)


def _zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0
