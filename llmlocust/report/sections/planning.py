"""Capacity planning, in tables and as plain values: what the SLO limit carries, and what each assumption changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmlocust.analysis.planning.assumptions import NAMES, in_words
from llmlocust.analysis.planning.capacity import Capacity, Interval
from llmlocust.analysis.planning.plan import Plan, parts, whole
from llmlocust.analysis.planning.plan import in_words as figure
from llmlocust.text import figures as words
from llmlocust.text import media
from llmlocust.text.message import Message, message, term

HEADS = (term("users at once"), term("requests an hour"), term("daily users"))
ASSUMED_HEADS = (term("value"), term("source"), *HEADS)


def shown(plan: Plan | None) -> dict[str, Any] | None:
    """Return what the page shows of a plan."""
    if plan is None:
        return None
    return {
        "says": plan.says,
        "heads": HEADS,
        "rows": [(name, [parts(interval) for interval in _figures(capacity)]) for name, capacity in _results(plan)],
        "assumed_heads": ASSUMED_HEADS,
        "assumed": assumed(plan),
    }


def results(plan: Plan) -> list[tuple[str, list[str]]]:
    """Return the rows of the load that the limit carries, without and with head-room."""
    return [(name, _cells(capacity)) for name, capacity in _results(plan)]


def _results(plan: Plan) -> list[tuple[Message, Capacity]]:
    name = message("at the highest measured level, at least") if plan.capacity.at_least else message("at the SLO limit")
    headroom = message("with {share} head-room", share=plan.assumed.text("headroom"))
    return [(name, plan.capacity), (headroom, plan.usable)][: 1 + (plan.assumed["headroom"] > 0.0)]


def assumed(plan: Plan) -> list[tuple[str, list[str]]]:
    """Return the rows of the assumptions, each followed by the effect of other values."""
    rows: list[tuple[str, list[str]]] = []
    for name, meaning in NAMES.items():
        rows.append((meaning, [plan.assumed.text(name), plan.assumed.source(name), "", "", ""]))
        rows += [
            (message("if it were"), [in_words(name, variant.value), "", *_values(variant.capacity)])
            for variant in plan.sensitivity
            if variant.name == name
        ]
    return rows


def instances(plan: Plan) -> list[tuple[str, list[str]]]:
    """Return a row for each number of replicas that was measured; none for one run."""
    scaling = plan.scaling
    if scaling is None:
        return []
    return [
        (str(count), [*_cells(capacity), words.share(scaling.efficiency(count))])
        for count, capacity in plan.capacities.items()
    ]


def _figures(capacity: Capacity) -> tuple[Interval, Interval, Interval]:
    return capacity.concurrent_users, capacity.requests_per_hour, capacity.daily_users


def _cells(capacity: Capacity) -> list[str]:
    return [figure(interval) for interval in _figures(capacity)]


def _values(capacity: Capacity) -> list[str]:
    return [words.UNKNOWN if value is None else whole(value) for value, _, _ in _figures(capacity)]


def markdown_rows(rows: Sequence[tuple[str, Sequence[str]]]) -> list[list[str]]:
    return [[name, *map(media.markdown, cells)] for name, cells in rows]


def plan_data(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain values."""
    replicas, scaling = plan.replicas, plan.scaling
    return {
        "capacity": {**_capacity(plan.capacity), "at_least": plan.capacity.at_least},
        "usable": _capacity(plan.usable),
        "replicas": None
        if replicas is None
        else {
            "target": replicas.target.text,
            "value": replicas.value,
            "low": replicas.low,
            "high": replicas.high,
            "basis": replicas.basis,
        },
        "instances": [
            {
                "replicas": count,
                **_capacity(capacity),
                "efficiency": None if scaling is None else _plain(scaling.efficiency(count)),
            }
            for count, capacity in plan.capacities.items()
        ],
        "cost": None,
        "assumptions": [
            {"name": name, "value": _plain(plan.assumed[name]), "source": plan.assumed.sources[name]} for name in NAMES
        ],
        "sensitivity": [
            {"name": variant.name, "value": _plain(variant.value), **_capacity(variant.capacity)}
            for variant in plan.sensitivity
        ],
        "says": plan.says,
    }


def _capacity(capacity: Capacity) -> dict[str, Any]:
    names = ("concurrent_users", "requests_per_hour", "daily_users")
    return {name: _interval(interval) for name, interval in zip(names, _figures(capacity), strict=True)}


def _interval(interval: Interval) -> dict[str, Any]:
    return {name: _plain(end) for name, end in interval._asdict().items()}


def _plain(value: float | None) -> float | int | None:
    if value is None:
        return None
    short = float(f"{value:.7g}")
    return int(short) if short == int(short) else short
