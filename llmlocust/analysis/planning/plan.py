"""A plan from runs of one or more replicas: the load that they carry, the replicas for a target, sentences. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmlocust.analysis.checks.cycles import LITTLE_LIMIT
from llmlocust.analysis.planning.assumptions import DEFAULTS, Assumptions, variants
from llmlocust.analysis.planning.capacity import Capacity, Interval, capacity_of
from llmlocust.analysis.planning.curve import Limit
from llmlocust.analysis.planning.replicas import Replicas, replicas_for
from llmlocust.analysis.planning.scaling import Scaling, is_known
from llmlocust.analysis.planning.target import Target
from llmlocust.text import figures as words
from llmlocust.text.message import Message, clauses, enumeration, message


@dataclass(frozen=True)
class Variant:
    """The load that a plan carries if one assumption has another value."""

    name: str
    value: float
    capacity: Capacity


@dataclass(frozen=True)
class Plan:
    """The load that the SLO limit carries, and what follows. The first run is that of the fewest replicas."""

    limits: Mapping[int, Limit]
    """The SLO limits by number of replicas, the fewest first."""
    assumed: Assumptions
    target: Target | None
    problems: Sequence[str]
    """Sentences on why the runs are not valid."""

    @property
    def limit(self) -> Limit:
        return next(iter(self.limits.values()))

    @property
    def capacities(self) -> dict[int, Capacity]:
        return {count: capacity_of(limit, self.assumed) for count, limit in self.limits.items()}

    @property
    def capacity(self) -> Capacity:
        """The load that the run of the fewest replicas carries at its SLO limit."""
        return capacity_of(self.limit, self.assumed)

    @property
    def usable(self) -> Capacity:
        """The same with head-room."""
        return self.capacity.scaled(1.0 - self.assumed["headroom"])

    @property
    def sensitivity(self) -> list[Variant]:
        return [
            Variant(name, variant[name], capacity_of(self.limit, variant)) for name, variant in variants(self.assumed)
        ]

    @property
    def replicas(self) -> Replicas | None:
        if self.target is None:
            return None
        return replicas_for(self.target, self.capacities, self.limit, self.assumed)

    @property
    def scaling(self) -> Scaling | None:
        """How runs of several numbers of replicas scale; None for one run, or without their throughput."""
        rates = {count: capacity.requests_per_hour.value for count, capacity in self.capacities.items()}
        known = {count: rate / 3600.0 for count, rate in rates.items() if rate is not None and is_known(rate)}
        return Scaling(known) if len(known) == len(rates) > 1 else None

    @property
    def says(self) -> list[str]:
        return [words.sentence(text) for text in (*self.problems, *self._results(), *self._replicas()) if text]

    def _results(self) -> list[str]:
        results = [*_misfit(self.limit), _carried(self), *_checked(self.limit, self.assumed["think_time"])]
        return [*results, *_steadiness(self), *_by_response(self), _by_day(self), *_scales(self)]

    def _replicas(self) -> list[str]:
        replicas = self.replicas
        if replicas is not None:
            return [replicas.says]
        return (
            []
            if self.target is None
            else [message("The replicas for {target} are not known: a figure is missing.", target=self.target.in_words)]
        )


def plan_of(
    limits: Mapping[int, Limit], assumed: Assumptions, target: Target | None = None, problems: Sequence[str] = ()
) -> Plan:
    """Return the plan of runs, by their numbers of replicas."""
    return Plan(dict(sorted(limits.items())), assumed, target, problems)


def whole(value: float) -> str:
    """Return a number of users or requests, rounded down."""
    return words.digits(float(math.floor(value + 1e-9)) if value >= 10.0 else value)


def in_words(figure: Interval) -> str:
    """Return a figure with its interval, such as 43 (40 to 50)."""
    value, interval = parts(figure)
    return message("{value} ({interval})", value=value, interval=interval) if interval else value


def parts(figure: Interval) -> tuple[str, str]:
    """Return a figure and its interval as text; the interval is empty if it is not known."""
    value, low, high = (None if end is None else whole(end) for end in figure)
    if value is None:
        return (words.UNKNOWN if high is None else message("less than {value}", value=high)), ""
    if low is None or high is None or figure.low == figure.high:
        return value, ""
    return value, message("{low} to {high}", low=low, high=high)


def _think(seconds: float) -> str:
    return words.duration(seconds) if seconds > 0.0 else "0 s"


def _carried(plan: Plan) -> str:
    """Return what the limit carries, with whether it is a lower bound or goes beyond the measured users."""
    capacity, limit = plan.capacity, plan.limit
    top = words.with_unit(limit.top, limit.unit)
    if capacity.at_least:
        carried = message(
            "At least {figures}: the SLO limit was not reached up to the highest measured level, {top}",
            figures=_figures(capacity),
            top=top,
        )
    else:
        carried = message("The SLO limit carries {figures}", figures=_figures(capacity))
    return clauses([carried, *_beyond(plan, top)])


def _figures(capacity: Capacity) -> str:
    """Return the figures that are known, separated by commas."""
    hourly, daily = in_words(capacity.requests_per_hour), in_words(capacity.daily_users)
    figures = [message("{number} requests an hour", number=hourly), message("{number} daily users", number=daily)]
    users = in_words(capacity.concurrent_users)
    return enumeration(
        figures if users == words.UNKNOWN else [message("{number} users at once", number=users), *figures]
    )


def _beyond(plan: Plan, top: str) -> list[Message]:
    """Return that the users exceed those of the run, if they do: they follow from the law."""
    users, limit = plan.capacity.concurrent_users.value, plan.limit
    if users is None or limit.is_open or users <= limit.top * 1.005 or limit.think is None:
        return []
    return [
        message(
            "the run had at most {top}, with a think time of {measured}, and more users follow from N = X·(R + Z) with {think}",
            top=top,
            measured=_think(limit.think),
            think=words.duration(plan.assumed["think_time"]),
        )
    ]


def _misfit(limit: Limit) -> list[Message]:
    """Return a sentence if the law does not fit the run itself, so that no figure of the plan can be relied on."""
    if limit.deviation is None or limit.deviation <= LITTLE_LIMIT:
        return []
    return [
        message(
            "N = X·(R + Z) does not fit the run itself: at some level X·(R + Z) differs from the users by {share}. Its "
            "think time is another, or its levels were too short; the plan may be wrong.",
            share=words.share(limit.deviation),
        )
    ]


def _checked(limit: Limit, think: float) -> list[Message]:
    """Return whether the law fits the run itself, or why that is not known."""
    if limit.is_open:
        return [
            message("The load was a rate, so requests an hour need no think time; users follow from N = X·(R + Z).")
        ]
    if limit.deviation is None:
        return [_unchecked(limit, think)]
    if limit.deviation > LITTLE_LIMIT:
        return []
    return [
        message(
            "Checked on the run itself: X·(R + Z) differs from the users of its levels by at most {share}.",
            share=words.share(limit.deviation),
        )
    ]


def _unchecked(limit: Limit, think: float) -> Message:
    if limit.think is None:
        return message(
            "Neither the throughput nor the think time of the run is known, so its users are assumed to have had a think "
            "time of {think}, and N = X·(R + Z) cannot be checked.",
            think=words.duration(think),
        )
    if limit.is_think_implied:
        return message(
            "The think time of the run's users is not known. Its figures leave {think} between two requests, so "
            "N = X·(R + Z) cannot be checked.",
            think=words.duration(limit.think),
        )
    return message("N = X·(R + Z) cannot be checked: the throughput of the run is not known.")


def _steadiness(plan: Plan) -> list[Message]:
    """Return a warning if users pause longer than those of the run, because requests then come less evenly."""
    limit, think = plan.limit, plan.assumed["think_time"]
    if limit.is_open or limit.value is None or limit.think is None:
        return []
    if think <= limit.think * 1.005:
        return []
    return [
        message(
            "Users who think for {think} send requests less evenly than those of the run, who thought for {measured}. The "
            "lower ends allow for it; a test with --think-time {seconds} narrows them.",
            think=words.duration(think),
            measured=_think(limit.think),
            seconds=f"{think:g}",
        )
    ]


def _by_response(plan: Plan) -> list[Message]:
    """Return what a calculation without the response time would give."""
    think, point = plan.assumed["think_time"], plan.limit.value
    users, hourly = plan.capacity.concurrent_users.value, plan.capacity.requests_per_hour.value
    if point is None or users is None or hourly is None or math.isnan(point.response) or think <= 0.0:
        return []
    return [
        message(
            "{users} users with one request every {think} would be {naive} requests an hour if answers took no time; an "
            "answer takes {response}, so it is {hourly}.",
            users=whole(users),
            think=words.duration(think),
            naive=whole(users / think * 3600.0),
            response=words.duration(point.response),
            hourly=whole(hourly),
        )
    ]


def _by_day(plan: Plan) -> str:
    """Return what daily users assume, and what another busiest hour would give."""
    hourly, assumed = plan.capacity.requests_per_hour.value, plan.assumed
    if hourly is None:
        return ""
    share = assumed["peak_share"]
    other = 1.0 if share < 1.0 else DEFAULTS["peak_share"]
    return message(
        "Daily users send {count} requests a day, {share} of them in the busiest hour; if that were {other}, there could be "
        "{users}.",
        count=words.digits(assumed["per_user_day"]),
        share=words.share(share),
        other=words.share(other),
        users=whole(hourly / assumed["per_user_day"] / other),
    )


def _scales(plan: Plan) -> list[Message]:
    """Return the efficiency of several replicas, and where a further one stops paying."""
    scaling = plan.scaling
    if scaling is None:
        return []
    counts = list(scaling.measured)
    shares = words.series([words.share(scaling.efficiency(count)) for count in counts[1:]])
    named = words.series([str(count) for count in counts[1:]])
    texts = [
        message(
            "A replica of {counts} carries {shares} of what one of {first} carries",
            counts=named,
            shares=shares,
            first=counts[0],
        )
    ]
    stops = scaling.stops_paying()
    if stops is not None:
        texts.append(
            message(
                "from {count} replicas on, a further one adds less than half of what the first carries", count=stops
            )
        )
    return [clauses(texts)]  # type: ignore[list-item]
