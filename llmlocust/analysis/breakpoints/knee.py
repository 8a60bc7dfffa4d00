"""The knee: the load above which more load adds little throughput. Pure.

Above the knee, the elasticity of throughput, d ln X / d ln N, is less than one half. So the knee is the maximum of X / √N.
This definition needs no slope between two noisy neighbours, and works with few levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmlocust.analysis.breakpoints.steps import Z95, Finding, Status, Step, elasticity, load_word, noise, too_few
from llmlocust.text import figures as words
from llmlocust.text.message import Message, clauses, message

KNEE = 0.5
"""Elasticity d ln X / d ln N. Above this value, more load still adds more than half its share of throughput."""


def find_knee(curve: Sequence[Step], unit: str) -> Finding:
    """Find the knee of a curve of loads with known throughput."""
    if unknown := too_few(curve, unit):
        return unknown
    worth = [math.log(max(step.throughput, 1e-9)) - KNEE * math.log(step.load) for step in curve]
    best = max(range(len(curve)), key=lambda place: worth[place])
    top = words.with_unit(curve[-1].load, unit)
    if best == len(curve) - 1:
        why = message(
            "not reached up to {top}: in the last step, 10 % more {load} still gave {gain} more throughput",
            top=top,
            gain=_gain(elasticity(curve[-2], curve[-1])[0]),
            load=load_word(unit),
        )
        return Finding(Status.NOT_REACHED, why)
    if not _worse(curve, worth, len(curve) - 1, best, 1.1):
        why = message("not reached up to {top}: throughput may still grow, within noise", top=top)
        return Finding(Status.NOT_REACHED, why)
    high = curve[best + 1].load
    above = next((step.load for n, step in enumerate(curve) if n > best and _worse(curve, worth, n, best, Z95)), None)
    overall, _ = elasticity(curve[best], curve[-1])
    here = words.load(curve[best].load)
    load, effect = load_word(unit), _effect(overall)
    why = message(
        "from {from_load} to {top}, 10 % more {load} {effect}", from_load=here, top=top, load=load, effect=effect
    )
    if best == 0:
        lower = message("the knee is at or below the lowest levels; add lower ones")
        return Finding(Status.REACHED, clauses([why, lower]), None, None, above or curve[-1].load, None, high)
    before, _ = elasticity(curve[best - 1], curve[best])
    why = message("{why} (before, up to {top}, {gain})", why=why, top=here, gain=_gain(before))
    below = (step.load for n, step in enumerate(curve[:best]) if _worse(curve, worth, n, best, Z95))
    low = max(below, default=None)
    return Finding(Status.REACHED, why, _vertex(curve, worth, best), low, above, curve[best].load, high)


def _worse(curve: Sequence[Step], worth: Sequence[float], place: int, best: int, sure: float) -> bool:
    """Whether a load is worth less than the best one by more than noise."""
    return worth[best] - worth[place] > sure * noise(curve[place], curve[best])


def _vertex(curve: Sequence[Step], worth: Sequence[float], best: int) -> float:
    """Where the parabola through the best load and its neighbours is highest, on a logarithmic scale of load."""
    left, middle, right = (math.log(step.load) for step in curve[best - 1 : best + 2])
    rise = (worth[best] - worth[best - 1]) / (middle - left)
    fall = (worth[best] - worth[best + 1]) / (right - middle)
    if rise + fall <= 0.0:
        return curve[best].load
    first, second = (left + middle) / 2.0, (middle + right) / 2.0
    return math.exp(first + (second - first) * rise / (rise + fall))


def _gain(elasticity: float) -> str:
    return f"{words.digits(max(0.0, elasticity) * 10.0)} %"


def _effect(elasticity: float) -> Message:
    if elasticity < 0.01:
        return message("gives no more throughput") if elasticity > -0.05 else message("reduces throughput")
    return message("gives only {gain} more throughput", gain=_gain(elasticity))
