"""The number of replicas for a target, with its interval. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from llmlocust.analysis.planning.assumptions import Assumptions
from llmlocust.analysis.planning.capacity import HOUR, Capacity
from llmlocust.analysis.planning.curve import Limit
from llmlocust.analysis.planning.scaling import MAX_REPLICAS, Scaling, is_known
from llmlocust.analysis.planning.target import Target
from llmlocust.text import figures as words
from llmlocust.text.message import Message, clauses, message

LINEAR, MEASURED = "linear", "measured"


@dataclass(frozen=True)
class Replicas:
    """Replicas for a target, those that may fail included. None: no number is known to suffice."""

    target: Target
    value: int | None
    low: int | None
    high: int | None
    basis: str
    says: str


def replicas_for(
    target: Target, capacities: Mapping[int, Capacity], limit: Limit, assumed: Assumptions
) -> Replicas | None:
    """Return the replicas for a target; None if the figures that it needs are not known.

    `capacities` has what the measured numbers of replicas carry, `limit` the SLO limit of the fewest.
    """
    point = limit.value
    if point is None:
        return None
    rate = target.needed(assumed, point.response, point.tokens) / (1.0 - assumed["headroom"])
    if math.isnan(rate):
        return None
    scalings = [_scaling(capacities, end) for end in ("value", "high", "low")]
    value, low, high = (None if scaling is None else scaling.needed(rate) for scaling in scalings)
    if scalings[0] is None:
        return None
    spare = int(assumed["spare"])
    low = 1 if scalings[1] is None else low  # without an upper bound of what a replica carries, one may suffice
    ends = [number for number in (value, low, high) if number is not None]
    low, high = min(ends, default=None), None if value is None or high is None else max(ends)
    value, low, high = (None if number is None else number + spare for number in (value, low, high))
    basis = LINEAR if scalings[0].is_linear else MEASURED
    at_least = any(capacity.at_least for capacity in capacities.values())
    says = _says(target, (value, low, high), scalings[0], spare, at_least=at_least)
    return Replicas(target, value, low, high, basis, says)


def _scaling(capacities: Mapping[int, Capacity], end: str) -> Scaling | None:
    """Return the scaling at one end of the interval of each run; None if it is not known for all."""
    rates = {count: getattr(capacity.requests_per_hour, end) for count, capacity in capacities.items()}
    if not all(map(is_known, rates.values())):
        return None
    return Scaling({count: rate / HOUR for count, rate in rates.items()})


def _says(
    target: Target, numbers: tuple[int | None, int | None, int | None], scaling: Scaling, spare: int, *, at_least: bool
) -> str:
    value, low, high = numbers
    aim = target.in_words
    if value is None:
        return message(
            "{target} cannot be reached with up to {count} replicas as they scaled in these runs.",
            target=aim,
            count=words.digits(float(MAX_REPLICAS)),
        )
    if low == high:
        interval: str = str(value)
    else:
        interval = message("{low} or more", low=low) if high is None else message("{low} to {high}", low=low, high=high)
    count: str = message("at most {count}", count=value) if at_least else str(value)
    text = message(
        "{target} need {count} replicas (95 %: {interval}), of which {spare} may fail",
        target=aim,
        count=count,
        interval=interval,
        spare=spare,
    )
    return words.sentence(clauses([text, *_basis(scaling, value - spare)]))


def _basis(scaling: Scaling, working: int) -> list[Message]:
    """Return what the number is based on. A number beyond the measured ones is said to be an extrapolation."""
    highest = scaling.highest
    if scaling.is_linear:
        if working <= highest:
            return []
        return [
            message(
                "this assumes linear scaling: {working} replicas carry {factor} times what the measured {highest} does, "
                "which no run has shown",
                working=working,
                factor=words.digits(working / highest),
                highest=highest,
            )
        ]
    measured = message(
        "from runs of {counts} replicas", counts=words.series([str(n) for n in sorted(scaling.measured)])
    )
    if working <= highest:
        return [measured]
    by = message("as the last replicas added") if scaling.law is None else message("by the Universal Scalability Law")
    return [
        measured,
        message(
            "{working} working replicas are extrapolated beyond {highest}, {by}",
            working=working,
            highest=highest,
            by=by,
        ),
    ]
