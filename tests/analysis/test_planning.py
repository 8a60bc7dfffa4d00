"""Capacity planning: the response time law, the assumptions, replicas for a target, and how replicas scale."""

import math
from dataclasses import replace

import pytest
from closed_queue import closed_queue
from hypothesis import assume, given
from hypothesis import strategies as st

from llmlocust.analysis.breakpoints.steps import Finding, Status, steps_of
from llmlocust.analysis.breakpoints.verdict import find
from llmlocust.analysis.planning.assumptions import Source, assumptions
from llmlocust.analysis.planning.capacity import Capacity, Interval, capacity_of
from llmlocust.analysis.planning.curve import Limit, Point, limit_of
from llmlocust.analysis.planning.plan import plan_of
from llmlocust.analysis.planning.replicas import replicas_for
from llmlocust.analysis.planning.scaling import Law, Scaling, fitted
from llmlocust.analysis.planning.target import Kind, Target
from llmlocust.metrics.thresholds import Threshold

RATES = st.floats(0.1, 1000.0)
TIMES = st.floats(0.01, 100.0)
NAN = math.nan


def limit(rate=2.0, response=3.0, think=5.0, *, unit="users", tokens=100.0, at_least=False) -> Limit:
    """Return a limit without an interval that obeys N = X·(R + Z)."""
    load = rate if unit == "rate" else rate * (response + think)
    point = Point(load, rate, response, tokens)
    think = None if unit == "rate" else think
    return Limit(point, point, None if at_least else point, unit, load, at_least, think, False, 0.0)


def capacity(rate, low=None, high=None) -> Capacity:
    hourly = Interval(rate * 3600.0, (low or rate) * 3600.0, (high or rate) * 3600.0)
    return Capacity(hourly, hourly, hourly, at_least=False)


def curve_of(loads, think=0.0, threshold="ttft.p95 < 500ms", slots=32):
    levels = closed_queue(loads, slots, think=think)
    verdict = find(levels, [Threshold.parse(threshold)])
    return verdict, limit_of(verdict.slo_limit, steps_of(levels), "users", {}, think)


# -- the law


@given(RATES, TIMES, st.floats(0.0, 100.0))
def test_the_users_of_the_run_come_back_with_its_own_think_time(rate, response, think):
    run = limit(rate, response, think)
    users, hourly, _, _ = vars(capacity_of(run, assumptions({"think_time": think}))).values()
    assert users.value == pytest.approx(run.value.load)
    assert users.low == pytest.approx(run.value.load)
    assert hourly.value == pytest.approx(rate * 3600.0)


@given(RATES, TIMES, st.floats(0.0, 100.0), st.floats(0.0, 100.0))
def test_more_think_time_allows_more_users_and_no_more_requests(rate, response, first, second):
    shorter, longer = sorted((first, second))
    run = limit(rate, response, 0.0)
    few, many = (capacity_of(run, assumptions({"think_time": think})) for think in (shorter, longer))
    assert few.concurrent_users.value <= many.concurrent_users.value
    assert few.requests_per_hour.value == pytest.approx(many.requests_per_hour.value)
    assert many.requests_per_hour.low <= few.requests_per_hour.low * (1.0 + 1e-9)


@given(RATES, TIMES, st.floats(0.0, 100.0), st.floats(0.0, 100.0))
def test_the_interval_contains_its_value(rate, response, tested, think):
    for figure in vars(capacity_of(limit(rate, response, tested), assumptions({"think_time": think}))).values():
        if isinstance(figure, Interval):
            assert 0.0 < figure.low <= figure.value <= figure.high


def test_daily_users_send_their_share_in_the_busiest_hour():
    assumed = assumptions({"per_user_day": 30.0, "peak_share": 0.2})
    assert capacity_of(limit(rate=2.0), assumed).daily_users.value == pytest.approx(2.0 * 3600.0 / 6.0)


def test_a_rate_is_taken_as_it_is():
    run = limit(rate=2.5, unit="rate")
    carried = capacity_of(run, assumptions({"think_time": 10.0}))
    assert carried.requests_per_hour.value == 9000.0
    assert carried.concurrent_users.value == pytest.approx(2.5 * 13.0)


@pytest.mark.parametrize("think", [0.0, 4.0])
def test_a_closed_queue_obeys_the_law(think):
    verdict, run = curve_of((8, 16, 24, 32, 40, 48, 64, 96), think)
    assert verdict.slo_limit.reached
    assert run.deviation < 0.035  # the mean of its spread latencies is 3.2 % above the time that its users take
    users = capacity_of(run, assumptions({"think_time": think})).concurrent_users
    assert users.value == pytest.approx(verdict.slo_limit.load, rel=0.05)


def test_users_without_think_time_predict_those_with_it():
    """The SLO limit in users of one run is converted to that of another run of the same server."""
    _, run = curve_of((8, 16, 24, 28, 32, 36, 40, 48))
    thinking, _ = curve_of((64, 96, 128, 160, 192, 224, 256), think=15.0)
    users = capacity_of(run, assumptions({"think_time": 15.0})).concurrent_users
    assert users.value == pytest.approx(thinking.slo_limit.load, rel=0.1)


# -- the limit on the curve


def test_figures_between_two_levels_are_on_the_line():
    levels = closed_queue((8, 16))
    finding = Finding(Status.REACHED, "", 12.0, 8.0, 16.0, 8.0, 16.0)
    run = limit_of(finding, steps_of(levels), "users", {}, 0.0)
    assert run.value.throughput == pytest.approx((levels[0].throughput + levels[1].throughput) / 2)
    assert (run.low.throughput, run.high.throughput) == (levels[0].throughput, levels[1].throughput)


def test_a_limit_that_was_not_reached_is_at_least_the_highest_level():
    _, run = curve_of((2, 4, 8))
    assert run.at_least
    assert run.value.load == run.top == 8.0
    carried = capacity_of(run, assumptions({}))
    assert carried.at_least
    assert carried.concurrent_users.high is None
    assert plan_of({1: run}, assumptions({})).says[0].startswith("At least ")


def test_at_least_allows_for_users_who_think_longer_than_those_of_the_run():
    run = limit(think=0.0, at_least=True)
    users = capacity_of(run, assumptions({"think_time": 15.0})).concurrent_users
    assert users.value == users.low < run.value.throughput * (run.value.response + 15.0)


def test_users_are_left_out_if_the_response_time_is_not_known():
    run = limit(response=NAN, unit="rate")
    carried = plan_of({1: run}, assumptions({})).says[0]
    assert carried == "The SLO limit carries 7200 requests an hour, 1600 daily users."


def test_the_lowest_level_that_fails_gives_an_upper_bound_only():
    _, run = curve_of((64, 96), threshold="ttft.p95 < 10ms")
    carried = capacity_of(run, assumptions({}))
    assert carried.requests_per_hour.value is None
    assert carried.requests_per_hour.high > 0.0
    assert "less than" in plan_of({1: run}, assumptions({})).says[0]


def test_an_unknown_limit_gives_no_plan():
    assert limit_of(Finding(Status.UNKNOWN, ""), steps_of(closed_queue((2, 4))), "users", {}) is None


def test_a_think_time_that_is_not_known_follows_from_the_figures():
    levels = closed_queue((8, 16), think=4.0)
    finding = Finding(Status.REACHED, "", 12.0, 8.0, 16.0, 8.0, 16.0)
    run = limit_of(finding, steps_of(levels), "users", {})
    assert run.is_think_implied
    assert run.think == pytest.approx(4.0, rel=0.05)
    assert run.measured_think == run.think
    assert "cannot be checked" in plan_of({1: run}, assumptions({})).says[1]


def test_users_beyond_the_highest_level_are_said_to_follow_from_the_law():
    says = plan_of({1: limit(rate=2.0, response=3.0, think=0.0)}, assumptions({"think_time": 15.0})).says
    assert "the run had at most 6 users, with a think time of 0 s, and more users follow from N = X·(R + Z)" in says[0]
    assert "The lower ends allow for it" in says[2]


# -- assumptions


def test_each_assumption_names_its_source():
    assumed = assumptions({"peak_share": 0.2}, 4.0)
    assert (assumed["think_time"], assumed.sources["think_time"]) == (4.0, Source.MEASURED)
    assert (assumed["peak_share"], assumed.sources["peak_share"]) == (0.2, Source.GIVEN)
    assert (assumed["headroom"], assumed.sources["headroom"]) == (0.3, Source.DEFAULT)


@pytest.mark.parametrize(
    "name, value",
    [
        ("think_time", -1.0),
        ("per_user_day", 0.0),
        ("peak_share", 0.0),
        ("peak_share", 1.1),
        ("headroom", 1.0),
        ("headroom", -0.1),
        ("spare", 0.5),
        ("spare", -1.0),
        ("growth", -1.0),
        ("growth", NAN),
    ],
)
def test_an_impossible_value_is_refused_in_one_line(name, value):
    with pytest.raises(ValueError, match="got ") as raised:
        assumptions({name: value})
    assert "\n" not in str(raised.value)


def test_sensitivity_changes_only_what_depends_on_the_assumption():
    plan = plan_of({1: limit()}, assumptions({}))
    base = plan.capacity
    for variant in plan.sensitivity:
        carried = variant.capacity
        assert carried.requests_per_hour.value == base.requests_per_hour.value
        if variant.name == "think_time":
            assert carried.daily_users.value == base.daily_users.value
            assert (carried.concurrent_users.value > base.concurrent_users.value) == (variant.value > 15.0)
        else:
            assert carried.concurrent_users == base.concurrent_users
            assert carried.daily_users.value != base.daily_users.value
    assert {variant.name for variant in plan.sensitivity} == {"think_time", "peak_share", "per_user_day"}


# -- targets and replicas


@pytest.mark.parametrize(
    "text, number, kind",
    [
        ("300 users", 300.0, Kind.USERS),
        ("2000 daily users", 2000.0, Kind.DAILY_USERS),
        ("10,800 requests/hour", 10_800.0, Kind.HOURLY),
        ("10k requests an hour", 10_000.0, Kind.HOURLY),
        ("50M tokens/day", 50e6, Kind.TOKENS),
        ("1.5M output tokens per day", 1.5e6, Kind.TOKENS),
    ],
)
def test_targets(text, number, kind):
    target = Target.parse(text)
    assert (target.number, target.kind) == (number, kind)


@pytest.mark.parametrize(
    "text", ["", "users", "2000", "0 users", "-5 users", "ten users", "5 users a day", "1e9 users"]
)
def test_a_target_that_cannot_be_read_gets_one_line(text):
    with pytest.raises(ValueError, match="target") as raised:
        Target.parse(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text, value",
    [
        ("7200 requests/hour", 1),  # 2 requests per second, as one replica carries
        ("7201 requests/hour", 2),
        ("16 users", 1),  # with 3 + 5 s between two requests of a user
        ("17 users", 2),
        ("1600 daily users", 1),  # each with 4.5 requests in the busiest hour
        ("1601 daily users", 2),
        ("4.8M tokens/day", 1),  # 15 % of 48,000 requests in the busiest hour
        ("4.9M tokens/day", 2),
    ],
)
def test_replicas_for_targets_of_each_kind(text, value):
    run = limit()
    assumed = assumptions({"think_time": 5.0, "headroom": 0.0, "spare": 0.0})
    replicas = replicas_for(Target.parse(text), {1: capacity_of(run, assumed)}, run, assumed)
    assert (replicas.value, replicas.low, replicas.high, replicas.basis) == (value, value, value, "linear")


def replicas(rate, capacities, **given_values):
    assumed = assumptions({"headroom": 0.0, "spare": 0.0, **given_values})
    return replicas_for(Target(rate * 3600.0, Kind.HOURLY, ""), capacities, limit(), assumed)


def test_the_interval_of_the_limit_is_that_of_the_replicas():
    result = replicas(10.0, {1: capacity(2.0, 1.5, 2.5)})
    assert (result.value, result.low, result.high) == (5, 4, 7)
    assert "this assumes linear scaling: 5 replicas carry 5 times what the measured 1 does" in result.says


def test_head_room_growth_and_spare_replicas_add_up():
    result = replicas(10.0, {1: capacity(2.0)}, headroom=0.5, growth=0.2, spare=2.0)
    assert result.value == math.ceil(10.0 * 1.2 / (2.0 * 0.5)) + 2
    assert "of which 2 may fail" in result.says


@given(st.floats(0.5, 100.0), st.floats(0.0, 0.8), st.floats(0.0, 0.8), st.floats(0.1, 10.0))
def test_more_head_room_needs_no_fewer_replicas(rate, first, second, of_one):
    few, many = (replicas(rate, {1: capacity(of_one)}, headroom=share).value for share in sorted((first, second)))
    assert few <= many


def test_a_limit_that_was_not_reached_gives_at_most_so_many_replicas():
    run = limit(at_least=True)
    assumed = assumptions({"spare": 0.0, "headroom": 0.0})
    result = replicas_for(Target.parse("30000 requests/hour"), {1: capacity_of(run, assumed)}, run, assumed)
    assert (result.value, result.low, result.high) == (5, 1, 5)
    assert "at most 5 replicas" in result.says


def test_a_target_without_the_figures_that_it_needs_is_not_known():
    run = limit(tokens=NAN)
    plan = plan_of({1: run}, assumptions({}), Target.parse("5M tokens/day"))
    assert plan.replicas is None
    assert "a figure is missing" in plan.says[-1]


# -- scaling


def test_measured_replicas_are_used_instead_of_the_assumption():
    result = replicas(5.0, {1: capacity(2.0), 2: capacity(3.6), 4: capacity(6.0)})
    assert (result.value, result.basis) == (4, "measured")  # 3 carry 4.8, on the line between 2 and 4
    assert "from runs of 1, 2 and 4 replicas" in result.says
    assert "extrapolated" not in result.says


def test_an_extrapolation_is_said_in_the_same_sentence():
    result = replicas(8.0, {1: capacity(2.0), 2: capacity(3.6), 4: capacity(6.0)})
    assert result.value == 6  # each further replica adds 1.2
    assert "6 working replicas are extrapolated beyond 4, as the last replicas added" in result.says


def test_replicas_that_never_suffice_are_said_to():
    law = Law(2.0, 0.0, 0.1)
    result = replicas(50.0, {count: capacity(law.at(count)) for count in (1, 2, 4, 8)})
    assert result.value is None
    assert "cannot be reached" in result.says


@given(st.floats(0.5, 50.0), st.floats(0.0, 0.3), st.floats(0.0, 0.05))
def test_the_fit_finds_the_parameters_of_the_law(a, s, k):
    law = Law(a, s, k)
    fit = fitted({count: law.at(count) for count in (1, 2, 4, 8)})
    assert fit == pytest.approx(law, rel=1e-3, abs=1e-4)


@given(st.lists(st.floats(0.5, 2.0), min_size=4, max_size=4))
def test_a_fit_to_noise_has_no_negative_parameter(noise):
    fit = fitted({count: count * factor for count, factor in zip((1, 2, 4, 8), noise, strict=True)})
    assert fit.a > 0.0
    assert min(fit.s, fit.k) >= 0.0


def test_three_numbers_of_replicas_are_too_few_for_the_law():
    assert Scaling({1: 1.0, 2: 1.9, 4: 3.5}).law is None
    assert Scaling({1: 1.0, 2: 1.9, 4: 3.5, 8: 6.0}).law is not None


@given(st.dictionaries(st.integers(1, 16), st.floats(0.5, 100.0), min_size=1, max_size=5), st.floats(0.1, 200.0))
def test_the_smallest_number_that_suffices_is_found(measured, rate):
    scaling = Scaling(measured)
    count = scaling.needed(rate)
    assume(count is not None)
    assert scaling.at(count) >= rate * (1.0 - 1e-9)
    assert all(scaling.at(fewer) < rate for fewer in range(1, count))


def test_scale_out_says_its_efficiency_and_where_it_stops_paying():
    runs = {count: limit(rate=rate) for count, rate in ((1, 2.0), (2, 3.8), (4, 4.4))}
    plan = plan_of(runs, assumptions({}))
    assert plan.scaling.efficiency(2) == pytest.approx(0.95)
    assert "A replica of 2 and 4 carries 95 % and 55 % of what one of 1 carries" in plan.says[-1]
    assert "from 4 replicas on" in plan.says[-1]


def test_problems_come_first():
    plan = plan_of({1: replace(limit(), deviation=None)}, assumptions({}), problems=["The run is not valid."])
    assert plan.says[0] == "The run is not valid."
