"""The 95 % intervals of the four numbers, and what few, uneven or bad levels may say."""

import math
from dataclasses import replace

import pytest
from closed_queue import closed_queue, figures
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlocust.analysis.breakpoints.slo import backlogs
from llmlocust.analysis.breakpoints.steps import share_range, spread, steps_of
from llmlocust.analysis.breakpoints.verdict import find
from llmlocust.metrics.thresholds import Threshold


def limits(*texts):
    return [Threshold.parse(text) for text in texts]


def slow(*ttfts, loads=(10, 20, 40, 80), throughput=10.0):
    return [figures(n, throughput, slow_, 9.0, index=i) for i, (n, slow_) in enumerate(zip(loads, ttfts, strict=False))]


# -- the SLO limit


def test_where_all_is_sure_the_interval_is_from_level_to_level():
    limit = find(slow(0.1, 0.2, 4.0, 9.0), limits("ttft.p50 < 1s")).slo_limit
    assert (limit.low, limit.high) == (20, 40)


def test_a_level_near_the_limit_is_inside_the_interval():
    limit = find(slow(0.1, 0.99, 4.0, 9.0), limits("ttft.p50 < 1s")).slo_limit
    assert (limit.level_ok, limit.low, limit.high) == (20, 10, 40)
    limit = find(slow(0.1, 0.2, 1.01, 9.0), limits("ttft.p50 < 1s")).slo_limit
    assert (limit.level_bad, limit.low, limit.high) == (40, 20, 80)
    assert "not certain" in limit.why


def test_an_interval_may_be_open():
    limit = find(slow(0.99, 0.995, 1.01), limits("ttft.p50 < 1s")).slo_limit
    assert limit.reached
    assert (limit.low, limit.high) == (None, None)


def test_what_is_not_known_leaves_the_lower_end_open():
    levels = slow(None, None, None, None)
    levels[2:] = [replace(each, requests=each.requests + 200) for each in levels[2:]]
    limit = find(levels, limits("ttft.p95 < 1s", "errors < 1%")).slo_limit
    assert (limit.level_ok, limit.level_bad, limit.low) == (20, 40, None)


@settings(max_examples=60)
@given(st.lists(st.floats(0.05, 5.0), min_size=2, max_size=8), st.floats(0.1, 2.0), st.integers(2, 50))
def test_more_requests_never_widen_it(ttfts, limit, more):
    loads = range(10, 10 * len(ttfts) + 1, 10)

    def interval(window):
        made = [
            figures(n, 5.0, t, 9.0, index=i, window=window) for i, (n, t) in enumerate(zip(loads, ttfts, strict=True))
        ]
        found = find(made, limits(f"ttft.p50 < {limit:.3f}s")).slo_limit
        return found.reached, found.low or 0.0, found.high or math.inf

    few, many = interval(30.0), interval(30.0 * more)
    if few[0] and many[0]:
        assert few[1] <= many[1]
        assert many[2] <= few[2]


def test_where_a_figure_is_steep_the_work_asked_for_makes_it_uncertain():
    steps = steps_of(slow(0.1, 0.11, 4.0, 4.1))
    assert spread(steps, 1, "ttft", "p50") > 3 * spread(steps, 3, "ttft", "p50")


def test_errors_are_bounded_by_those_of_more_load_and_of_less():
    levels = [figures(n, 2.0, 0.1, 1.0, index=i, window=30.0) for i, n in enumerate((10, 20, 30, 40))]
    steps = steps_of(levels)
    assert share_range(steps, 0)[1] < share_range(steps, 3)[1]
    steps = steps_of([replace(each, requests=each.requests + 3) for each in levels])
    assert share_range(steps, 3)[0] > share_range(steps, 0)[0]


# -- rates


def rates(*answered, loads=(10, 20, 30, 40), window=30.0):
    made = []
    for index, (load, throughput) in enumerate(zip(loads, answered, strict=True)):
        wait = max(0.1, (load - throughput) * window / 2 / throughput)
        each = figures(load, throughput, wait, wait + 1.0, index=index, window=window, unit="rate")
        made.append(replace(each, requests=round(load * window), ok=round(load * window)))
    return made


def test_a_backlog_that_grows_holds_no_limit_of_latency():
    limit = find(rates(10.0, 20.0, 24.0, 24.0), limits("ttft.p50 < 30s")).slo_limit
    assert (limit.level_ok, limit.level_bad) == (20, 30)
    assert "24/s are answered, so the backlog grows as long as the test lasts" in limit.why
    assert not find(rates(10.0, 20.0, 24.0, 24.0), limits("errors < 1%")).slo_limit.reached


def test_requests_in_flight_are_no_backlog():
    assert backlogs(steps_of(rates(9.9, 19.8, 29.8, 39.7))) == {}
    assert not find(rates(9.9, 19.8, 29.8, 39.7)).saturation.reached


def test_capacity_of_rates_is_what_is_answered_at_best():
    capacity = find(rates(10.0, 20.0, 24.0, 24.2)).saturation
    assert capacity.load == pytest.approx(24.1)
    assert capacity.low < 24 < capacity.high
    assert "at most 24.1/s of the 30 to 40 requests/s sent are answered" in capacity.why


# -- few levels, uneven ones, bad ones


def test_from_two_levels():
    verdict = find(slow(0.1, 4.0), limits("ttft.p50 < 1s"))
    assert (verdict.slo_limit.low, verdict.slo_limit.high) == (10, 20)
    assert find(closed_queue((10, 20), 64)).saturation.reached is False


def test_all_levels_beyond_capacity():
    capacity = find(closed_queue((60, 90, 120, 200), 32)).saturation
    assert capacity.reached
    assert (capacity.load, capacity.low) == (None, None)
    assert "from the lowest level on; add lower ones" in capacity.why


@pytest.mark.parametrize("loads", [(4, 8, 50, 56, 70, 200), (10, 30, 60, 62, 64, 100), (16, 60, 100, 120, 300)])
def test_uneven_levels(loads):
    capacity = find(closed_queue(loads, 56, slope=0.0)).saturation
    assert capacity.low <= 56 <= capacity.high
    assert capacity.load == pytest.approx(56, rel=0.12)


def test_the_witnesses_have_their_figures():
    capacity = find(closed_queue((10, 20, 40, 60, 80), 32)).saturation
    assert "while p50 TTFT grows" in capacity.why
    assert "between" in capacity.why
    assert capacity.why.endswith("users: requests wait")


def test_a_refusal_does_not_hide_where_the_queue_begins():
    levels = closed_queue((10, 20, 30, 40, 50), 32, slope=0.0)
    shut = [replace(each, requests=each.requests * 2) for each in levels[4:]]  # the wait has an end there
    capacity = find([*levels[:4], replace(shut[0], metrics=levels[3].metrics)]).saturation
    assert (capacity.level_ok, capacity.level_bad) == (30, 40)


def test_levels_without_any_success():
    dead = [replace(each, ok=0, throughput=0.0, metrics={}) for each in slow(1.0, 1.0, loads=(160, 320))]
    dead = [replace(each, level=4 + n, error_kinds={"http_503": each.requests}) for n, each in enumerate(dead)]
    verdict = find([*slow(0.1, 0.1, 0.1, 0.1), *dead], limits("ttft.p95 < 1s"))
    assert (verdict.slo_limit.level_ok, verdict.slo_limit.level_bad) == (80, 160)
    assert verdict.onset.level_bad == verdict.collapse.level_bad == 160
    assert "errors 100 % at 160 users" in verdict.onset.why


def test_a_first_level_that_fails_has_no_lower_end():
    verdict = find(slow(3.0, 5.0, 9.0), limits("ttft.p95 < 1s"))
    assert (verdict.slo_limit.load, verdict.slo_limit.low, verdict.slo_limit.high) == (None, None, 10)


# -- the knee, and errors


def test_a_knee_within_noise_of_its_neighbours_says_so():
    def levels(window):
        return [
            figures(n, x, 0.1, 1.0, index=i, window=window)
            for i, (n, x) in enumerate(((10, 10.0), (20, 16.0), (30, 19.0), (40, 20.0), (60, 21.0)))
        ]

    few, many = find(levels(10.0)).knee, find(levels(600.0)).knee
    assert (few.low or 0.0) <= many.low <= many.load <= many.high <= (few.high or math.inf)
    assert (many.low, few.low) == (10, None)


def test_onset_of_errors_apart_from_a_fall():
    levels = [
        figures(n, x, 0.1, 1.0, index=i) for i, (n, x) in enumerate(((10, 10.0), (20, 20.0), (40, 12.0), (80, 9.0)))
    ]
    levels[3] = replace(levels[3], requests=levels[3].ok + 60)
    verdict = find(levels)
    assert verdict.collapse.level_bad == 40
    assert verdict.onset.level_bad == 80
