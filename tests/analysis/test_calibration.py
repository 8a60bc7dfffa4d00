"""The accuracy of measurements, from points whose errors are known."""

import math

import pytest

from llmlocust.calibration.errors import COLUMNS, Latencies, Point, head, highest_accurate, line, verdict

TRUE = Latencies(ttft_mean=0.05, ttft_p99=0.06, itl_p50=0.01, itl_p99=0.012)


def point(tokens_per_s: float, *, ttft: float = 0.0, itl: float = 0.0) -> Point:
    """A point whose mean TTFT and p99 ITL have these errors, in seconds."""
    measured = Latencies(TRUE.ttft_mean + ttft, TRUE.ttft_p99, TRUE.itl_p50, TRUE.itl_p99 + itl)
    return Point(100, 0.01, tokens_per_s, TRUE, measured, 20e-6, 0.2, 0.001, 0.0)


@pytest.mark.parametrize(
    "errors, accurate",
    [
        ({}, True),
        ({"ttft": 0.0019}, True),
        ({"ttft": 0.0021}, False),
        ({"ttft": -0.0021}, False),
        ({"itl": 0.0009}, True),
        ({"itl": 0.0011}, False),
        ({"itl": math.nan}, False),
    ],
)
def test_a_point_is_accurate_if_both_errors_are_small(errors, accurate):
    assert point(1000, **errors).is_accurate is accurate


def test_the_highest_accurate_load_is_the_one_before_the_first_inaccurate():
    points = [point(3000, itl=0.1), point(1000), point(2000), point(4000)]

    assert highest_accurate(points) is points[2]
    assert "is accurate up to 2,000 tokens/s on 100 streams" in verdict(points)


def test_the_verdict_claims_nothing_beyond_the_measured_loads():
    assert verdict([point(1000), point(2000)]).startswith("All loads were measured accurately, up to 2,000 tokens/s")
    assert verdict([point(1000, ttft=1)]).startswith("The lowest load was not measured accurately")


def test_a_point_without_requests_is_not_accurate():
    nothing = Latencies.of([], [])

    assert math.isnan(nothing.ttft_mean)
    assert not Point(1, 0.01, 0.0, nothing, nothing, 0.0, 0.0, 0.0, 0.0).is_accurate


def test_rows_have_the_columns_of_the_head():
    titles, rule = head()

    assert line(point(1000)).count("|") == titles.count("|") == rule.count("|")
    assert line(point(1000, itl=0.0005)).endswith("| 10.00 | +0.00 | 12.00 | +0.50 | 20.0 | 20% | 1.00 | 0.00% | yes |")


@pytest.mark.parametrize(
    "wrong", [{}, {"ttft": 0.0021}, {"itl": 0.0011}, {"itl": -0.0011, "ttft": 1}, {"itl": math.nan}]
)
def test_a_point_is_inaccurate_for_the_columns_whose_tolerance_is_exceeded(wrong):
    inaccurate = {column.error for column in COLUMNS if column.is_exceeded(point(1000, **wrong))}

    assert inaccurate == {{"ttft": "ttft_mean", "itl": "itl_p99"}[name] for name in wrong}


def test_unknown_figures_are_dashes():
    nothing = Latencies.of([], [])

    assert line(Point(1, 0.01, 0.0, nothing, nothing, math.nan, math.nan, math.nan, math.nan)).count("–") == 12
