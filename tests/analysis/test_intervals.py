"""The 95 % intervals of the four numbers, also of few, uneven or failing levels."""

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


def thresholds(*texts):
    return [Threshold.parse(text) for text in texts]


def slow(*ttfts, loads=(10, 20, 40, 80), throughput=10.0):
    return [figures(n, throughput, slow_, 9.0, index=i) for i, (n, slow_) in enumerate(zip(loads, ttfts, strict=False))]


# -- the SLO limit


def test_the_interval_is_between_two_levels_if_both_are_certain():
    limit = find(slow(0.1, 0.2, 4.0, 9.0), thresholds("ttft.p50 < 1s")).slo_limit
    assert (limit.low, limit.high) == (20, 40)


def test_a_level_near_the_limit_is_inside_the_interval():
    limit = find(slow(0.1, 0.99, 4.0, 9.0), thresholds("ttft.p50 < 1s")).slo_limit
    assert (limit.level_ok, limit.low, limit.high) == (20, 10, 40)
    limit = find(slow(0.1, 0.2, 1.01, 9.0), thresholds("ttft.p50 < 1s")).slo_limit
    assert (limit.level_bad, limit.low, limit.high) == (40, 20, 80)
    assert "not certain" in limit.why


def test_an_interval_may_be_open():
    limit = find(slow(0.99, 0.995, 1.01), thresholds("ttft.p50 < 1s")).slo_limit
    assert limit.reached
    assert (limit.low, limit.high) == (None, None)


def test_an_unknown_metric_leaves_the_lower_end_open():
    levels = slow(None, None, None, None)
    levels[2:] = [replace(level, requests=level.requests + 200) for level in levels[2:]]
    limit = find(levels, thresholds("ttft.p95 < 1s", "errors < 1%")).slo_limit
    assert (limit.level_ok, limit.level_bad, limit.low) == (20, 40, None)


@settings(max_examples=60)
@given(st.lists(st.floats(0.05, 5.0), min_size=2, max_size=8), st.floats(0.1, 2.0), st.integers(2, 50))
def test_more_requests_never_widen_the_interval(ttfts, limit, more):
    loads = range(10, 10 * len(ttfts) + 1, 10)

    def interval(window):
        levels = [
            figures(n, 5.0, t, 9.0, index=i, window=window) for i, (n, t) in enumerate(zip(loads, ttfts, strict=True))
        ]
        slo_limit = find(levels, thresholds(f"ttft.p50 < {limit:.3f}s")).slo_limit
        return slo_limit.reached, slo_limit.low or 0.0, slo_limit.high or math.inf

    short, long = interval(30.0), interval(30.0 * more)
    if short[0] and long[0]:
        assert short[1] <= long[1]
        assert long[2] <= short[2]


def test_the_spread_is_larger_where_the_curve_is_steep():
    steps = steps_of(slow(0.1, 0.11, 4.0, 4.1))
    assert spread(steps, 1, "ttft", "p50") > 3 * spread(steps, 3, "ttft", "p50")


def test_errors_are_bounded_by_those_of_more_load_and_of_less():
    levels = [figures(n, 2.0, 0.1, 1.0, index=i, window=30.0) for i, n in enumerate((10, 20, 30, 40))]
    steps = steps_of(levels)
    assert share_range(steps, 0)[1] < share_range(steps, 3)[1]
    steps = steps_of([replace(level, requests=level.requests + 3) for level in levels])
    assert share_range(steps, 3)[0] > share_range(steps, 0)[0]


# -- rates


def rates(*throughputs, loads=(10, 20, 30, 40), window=30.0):
    levels = []
    for index, (load, throughput) in enumerate(zip(loads, throughputs, strict=True)):
        wait = max(0.1, (load - throughput) * window / 2 / throughput)
        level = figures(load, throughput, wait, wait + 1.0, index=index, window=window, unit="rate")
        levels.append(replace(level, requests=round(load * window), ok=round(load * window)))
    return levels


def test_a_rate_whose_backlog_grows_meets_no_threshold_of_latency():
    limit = find(rates(10.0, 20.0, 24.0, 24.0), thresholds("ttft.p50 < 30s")).slo_limit
    assert (limit.level_ok, limit.level_bad) == (20, 30)
    assert "24/s are answered, so the backlog grows as long as the test lasts" in limit.why
    assert not find(rates(10.0, 20.0, 24.0, 24.0), thresholds("errors < 1%")).slo_limit.reached


def test_requests_in_flight_are_no_backlog():
    assert backlogs(steps_of(rates(9.9, 19.8, 29.8, 39.7))) == {}
    assert not find(rates(9.9, 19.8, 29.8, 39.7)).saturation.reached


def test_saturation_of_rates_is_the_highest_answered_rate():
    saturation = find(rates(10.0, 20.0, 24.0, 24.2)).saturation
    assert saturation.load == pytest.approx(24.1)
    assert saturation.low < 24 < saturation.high
    assert "at most 24.1/s of the 30 to 40 requests/s sent are answered" in saturation.why


# -- few, uneven or failing levels


def test_two_levels_have_an_slo_limit_but_no_saturation():
    verdict = find(slow(0.1, 4.0), thresholds("ttft.p50 < 1s"))
    assert (verdict.slo_limit.low, verdict.slo_limit.high) == (10, 20)
    assert find(closed_queue((10, 20), 64)).saturation.reached is False


def test_all_levels_beyond_saturation():
    saturation = find(closed_queue((60, 90, 120, 200), 32)).saturation
    assert saturation.reached
    assert (saturation.load, saturation.low) == (None, None)
    assert "from the lowest level on; add lower ones" in saturation.why


@pytest.mark.parametrize("loads", [(4, 8, 50, 56, 70, 200), (10, 30, 60, 62, 64, 100), (16, 60, 100, 120, 300)])
def test_saturation_of_uneven_levels(loads):
    saturation = find(closed_queue(loads, 56, slope=0.0)).saturation
    assert saturation.low <= 56 <= saturation.high
    assert saturation.load == pytest.approx(56, rel=0.12)


def test_the_reason_for_saturation_has_its_figures():
    saturation = find(closed_queue((10, 20, 40, 60, 80), 32)).saturation
    assert "while p50 TTFT grows" in saturation.why
    assert "between" in saturation.why
    assert saturation.why.endswith("users: requests wait")


def test_rejected_requests_do_not_hide_where_the_queue_begins():
    levels = closed_queue((10, 20, 30, 40, 50), 32, slope=0.0)
    rejecting = [replace(level, requests=level.requests * 2) for level in levels[4:]]  # rejections limit the wait there
    saturation = find([*levels[:4], replace(rejecting[0], metrics=levels[3].metrics)]).saturation
    assert (saturation.level_ok, saturation.level_bad) == (30, 40)


def test_levels_without_any_success():
    failing = [replace(level, ok=0, throughput=0.0, metrics={}) for level in slow(1.0, 1.0, loads=(160, 320))]
    failing = [replace(level, level=4 + n, error_kinds={"http_503": level.requests}) for n, level in enumerate(failing)]
    verdict = find([*slow(0.1, 0.1, 0.1, 0.1), *failing], thresholds("ttft.p95 < 1s"))
    assert (verdict.slo_limit.level_ok, verdict.slo_limit.level_bad) == (80, 160)
    assert verdict.onset.level_bad == verdict.collapse.level_bad == 160
    assert "errors 100 % at 160 users" in verdict.onset.why


def test_a_first_level_that_fails_has_no_lower_end():
    verdict = find(slow(3.0, 5.0, 9.0), thresholds("ttft.p95 < 1s"))
    assert (verdict.slo_limit.load, verdict.slo_limit.low, verdict.slo_limit.high) == (None, None, 10)


# -- the knee, and errors


def test_fewer_requests_widen_the_interval_of_the_knee():
    def levels(window):
        return [
            figures(n, x, 0.1, 1.0, index=i, window=window)
            for i, (n, x) in enumerate(((10, 10.0), (20, 16.0), (30, 19.0), (40, 20.0), (60, 21.0)))
        ]

    short, long = find(levels(10.0)).knee, find(levels(600.0)).knee
    assert (short.low or 0.0) <= long.low <= long.load <= long.high <= (short.high or math.inf)
    assert (long.low, short.low) == (10, None)


def test_the_onset_of_errors_may_come_after_the_collapse():
    levels = [
        figures(n, x, 0.1, 1.0, index=i) for i, (n, x) in enumerate(((10, 10.0), (20, 20.0), (40, 12.0), (80, 9.0)))
    ]
    levels[3] = replace(levels[3], requests=levels[3].ok + 60)
    verdict = find(levels)
    assert verdict.collapse.level_bad == 40
    assert verdict.onset.level_bad == 80
