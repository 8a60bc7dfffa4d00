"""The causes of a verdict: each rule gives its opinion on each number and cliff, and the one that explains most is named.

A cause is *shown* if two independent witnesses speak for it, one of them a change over levels or time and one from the
server's side, if noise does not explain the difference between the loads, and if the data exclude the alternatives that would look the same. Otherwise it is *suspected*. Without
telemetry, nothing is more than suspected: a queue looks the same whatever keeps the requests waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from llmlocust.analysis.breakpoints.cliffs import Cliff
from llmlocust.analysis.breakpoints.steps import Finding, Step, kinds_of, steps_of
from llmlocust.analysis.breakpoints.verdict import Verdict
from llmlocust.analysis.causes import batch, gpu, path
from llmlocust.analysis.causes import client as client_rules
from llmlocust.analysis.causes.cause import Cause, Causes, Degree, Evidence, Excluded
from llmlocust.analysis.causes.context import Context
from llmlocust.analysis.causes.engines import missing_source
from llmlocust.analysis.causes.opinion import Opinion
from llmlocust.analysis.causes.view import (
    FAILURES,
    TIME,
    View,
    effect_of_cliff,
    effect_of_limit,
    effect_of_throughput,
    violated_at,
)
from llmlocust.metrics.levels import LevelFigures
from llmlocust.text.message import message, sentences

RULES: dict[str, Callable[[View], Opinion]] = {
    "outage": client_rules.outage,
    "client": client_rules.client,
    "rate_limit": path.rate_limit,
    "proxy": path.proxy,
    "cold_start": gpu.cold_start,
    "power": gpu.power,
    "prefix_cache": gpu.prefix_cache,
    "network": path.network,
    "front_end": path.front_end,
    "kv_cache": batch.kv_cache,
    "slots": batch.slots,
    "prefill": batch.prefill,
    "compute": batch.compute,
    "decode": batch.decode,
    "tenant": gpu.tenant,
    "think_time": client_rules.think_time,
}
"""The rules by cause. If two explain the same share, the first is named."""

RIVALS: dict[str, tuple[str, ...]] = {
    "slots": ("kv_cache", "outage"),
    "kv_cache": ("outage",),
    "prefill": ("kv_cache", "outage"),
    "decode": ("power", "outage"),
    "compute": ("power", "outage"),
    "front_end": ("outage",),
    "network": ("client", "outage"),
    "client": ("outage",),
    "rate_limit": ("outage",),
    "proxy": ("outage",),
    "power": ("outage",),
    "prefix_cache": ("outage",),
    "cold_start": ("outage",),
    "tenant": ("power", "outage"),
}
"""By cause, the alternatives that look the same: the data must exclude them, or the cause is only suspected."""

MIN_SHARE = 0.25
"""Share of the effect that a cause must explain to be named."""
CLEAR = 1.3
"""Factor by which the share of a shown cause exceeds that of the next. With less, both may bind."""


def causes_of(
    verdict: Verdict,
    levels: Sequence[LevelFigures],
    context: Context | None = None,
) -> Causes:
    """Return the causes of the four numbers and the cliffs of a ramp's levels."""
    context = context or Context()
    steps = steps_of(level for level in levels if level.level not in verdict.outages)
    numbers = {name: _of_number(name, finding, verdict, steps, context) for name, finding in verdict.numbers().items()}
    return Causes(numbers, tuple(_of_cliff(cliff, verdict, steps, context) for cliff in verdict.cliffs))


def _of_number(
    name: str,
    finding: Finding,
    verdict: Verdict,
    steps: Sequence[Step],
    context: Context,
) -> Cause:
    if not finding.reached:
        return _not_reached(steps, verdict, context)
    at = _step_at(steps, finding.level_bad)
    if at is None:
        return Cause(None, Degree.UNKNOWN, message("The levels do not show what limits the system here."))
    is_latency = name == "slo_limit"
    violated = violated_at(at, verdict.thresholds) if is_latency else None
    effect = effect_of_limit(at, violated) if is_latency else effect_of_throughput(at)
    if name == "collapse" and finding.level_bad == verdict.onset.level_bad and verdict.onset.reached:
        effect = FAILURES
    before = _step_at(steps, finding.level_ok)
    return cause_at(View(at, steps, before, verdict.unit, effect, context, is_latency, violated))


def _of_cliff(cliff: Cliff, verdict: Verdict, steps: Sequence[Step], context: Context) -> Cause:
    before, at = (_step_at(steps, load) for load in cliff.between)
    if at is None:
        return Cause(None, Degree.UNKNOWN, message("The levels do not show what limits the system here."))
    return cause_at(View(at, steps, before, verdict.unit, effect_of_cliff(cliff.kind), context, is_latency=True))


def _step_at(steps: Sequence[Step], load: float | None) -> Step | None:
    return next((step for step in steps if step.load == load), None)


def _not_reached(steps: Sequence[Step], verdict: Verdict, context: Context) -> Cause:
    """Return why no load was high enough, if the measurement itself is the reason; otherwise no cause."""
    nothing = Cause(None, Degree.UNKNOWN, message("Nothing limits the system up to the highest load of the run."))
    if not steps or not steps[-1].requests:
        return replace(nothing, says=message("No level shows what limits the system."))
    view = View(steps[-1], steps, None, verdict.unit, TIME, context)
    opinion = client_rules.think_time(view)
    if opinion.says is None or view.is_queueing or not opinion.witnesses:
        return nothing
    degree = Degree.SHOWN if len(opinion.families) > 1 else Degree.SUSPECTED
    return Cause("think_time", degree, opinion.says, _evidence(view, opinion))


def cause_at(view: View) -> Cause:
    """Return the cause of a number or a cliff."""
    opinions = [rule(view) for rule in RULES.values()]
    named = [opinion for opinion in opinions if opinion.against is None and opinion.says and opinion.witnesses]
    ranked = sorted(named, key=lambda opinion: -opinion.share)
    excluded = _excluded(opinions, ranked[0] if ranked else None)
    if not ranked or ranked[0].share < MIN_SHARE:
        return Cause(None, Degree.UNKNOWN, _unknown(view), excluded=excluded)
    best = ranked[0]
    degree = Degree.SHOWN if _is_shown(view, best, ranked[1:], opinions) else Degree.SUSPECTED
    says = best.says or ""
    if not view.has_telemetry and (source := missing_source(view.context, best.key)):
        says = sentences([says, source])
    return Cause(best.key, degree, says, _evidence(view, best), excluded)


def _is_shown(view: View, best: Opinion, others: Sequence[Opinion], opinions: Sequence[Opinion]) -> bool:
    """Whether the witnesses and the data suffice to call a cause shown."""
    of_server = any(not witness.of_client for witness in best.witnesses)
    changes = any(witness.is_change for witness in best.witnesses)
    if not of_server or not changes or len(best.families) < 2 or view.before is None:
        return False
    excluded = {opinion.key for opinion in opinions if opinion.against is not None}
    if not set(RIVALS.get(best.key, ())) <= excluded:
        return False
    if best.key == "outage":  # an interruption explains whatever else changes
        return True
    strongest = max((other.share for other in others), default=0.0)
    return view.is_beyond_noise and best.share >= CLEAR * strongest


def _evidence(view: View, opinion: Opinion) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(view.source("" if witness.of_client else witness.metric), witness.metric, witness.says)
        for witness in opinion.witnesses
    )


def _excluded(opinions: Sequence[Opinion], best: Opinion | None) -> tuple[Excluded, ...]:
    key = best.key if best else None
    return tuple(
        Excluded(opinion.key, opinion.against)
        for opinion in opinions
        if opinion.against is not None and opinion.key != key
    )


def _unknown(view: View) -> str:
    """Return that the cause is not known, and the source that would tell."""
    says = message("The data do not show what limits the system here.")
    if view.effect == FAILURES and view.at.failed:
        says = message("Requests fail ({kinds}); the data do not show why.", kinds=kinds_of(view.at))
    source = missing_source(view.context, None)
    return sentences([says, source]) if source else says


def has_causes(causes: Causes) -> bool:
    """Return whether any number or cliff has a known cause."""
    return any(cause.is_known for cause in (*causes.numbers.values(), *causes.cliffs))
