"""The load that the SLO limit of a run carries: users at once, requests an hour, and daily users. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from llmlocust.analysis.breakpoints.steps import Z95
from llmlocust.analysis.planning.assumptions import Assumptions
from llmlocust.analysis.planning.curve import Limit, Point

HOUR = 3600.0


class Interval(NamedTuple):
    """A figure with its 95 % interval. None: not known, or no bound."""

    value: float | None
    low: float | None
    high: float | None

    def times(self, factor: float) -> Interval:
        return Interval(*(None if end is None else end * factor for end in self))


@dataclass(frozen=True)
class Capacity:
    """The load that one instance carries at its SLO limit, without head-room."""

    concurrent_users: Interval
    requests_per_hour: Interval
    daily_users: Interval
    at_least: bool

    def scaled(self, factor: float) -> Capacity:
        """Return a multiple, such as the share that head-room leaves."""
        return Capacity(
            self.concurrent_users.times(factor),
            self.requests_per_hour.times(factor),
            self.daily_users.times(factor),
            self.at_least,
        )


def capacity_of(limit: Limit, assumed: Assumptions) -> Capacity:
    """Return what a limit carries when users think as assumed: N = X·(R + Z) with X and R at the limit."""
    think = assumed["think_time"]
    value, low, high = limit.value, _for_fluctuation(limit.low, limit, think), limit.high
    if limit.at_least:
        value = low
    users = _ordered(*(_users(point, limit, think) for point in (value, low, high)))
    rates = [_rate(point, limit, think) for point in (value, low, high)]
    hourly = _ordered(*(None if rate is None else rate * HOUR for rate in rates))
    in_busiest_hour = assumed["per_user_day"] * assumed["peak_share"]
    return Capacity(users, hourly, hourly.times(1.0 / in_busiest_hour), limit.at_least)


def _for_fluctuation(point: Point | None, limit: Limit, think: float) -> Point | None:
    """Return the lower end of the limit, lowered if users think longer than those of the run.

    Users who think for long arrive at random, so the number of requests in the server, Q = X·R on average, varies like a
    binomial number, with the variance Q·Z/(R + Z). Users of the run who did not think kept it constant. So that it is not
    above the tested one more often, its mean is lower: Q′ + z·√(Q′·Z/(R + Z)) = Q + z·√(Q·Z₀/(R + Z₀)).
    """
    if point is None or limit.think is None or limit.is_open or think <= limit.think:
        return point
    rate, response = _rate(point, limit, think), point.response
    if rate is None or not rate * response > 0.0:
        return point
    inside = rate * response
    before, after = (Z95 * math.sqrt(z / (response + z)) for z in (limit.think, think))
    tested = inside + before * math.sqrt(inside)
    lower = ((math.sqrt(after * after + 4.0 * tested) - after) / 2.0) ** 2
    return replace(point, throughput=rate * lower / inside)


def _rate(point: Point | None, limit: Limit, think: float) -> float | None:
    """Return X at a point. Without a measured one, it is that of users who think as the run's did, else as assumed."""
    if point is None:
        return None
    if not math.isnan(point.throughput):
        return point.throughput
    cycle = point.response + (think if limit.think is None else limit.think)
    return None if limit.is_open or math.isnan(cycle) or cycle <= 0.0 else point.load / cycle


def _users(point: Point | None, limit: Limit, think: float) -> float | None:
    """Return N = X·(R + Z) at a point. If R is not known, it is what the run's own users, X and Z leave."""
    rate = _rate(point, limit, think)
    if point is None or rate is None:
        return None
    response = point.response
    if math.isnan(response) and not limit.is_open and limit.think is not None and rate > 0.0:
        response = max(0.0, point.load / rate - limit.think)
    users = rate * (response + think)
    return None if math.isnan(users) else users


def _ordered(value: float | None, low: float | None, high: float | None) -> Interval:
    """Return an interval that contains its value: throughput may fall where load grows."""
    if value is None:
        return Interval(None, low, high)
    known = [end for end in (value, low, high) if end is not None]
    return Interval(value, None if low is None else min(known), None if high is None else max(known))
