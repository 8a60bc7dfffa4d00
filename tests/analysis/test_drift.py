"""Drift, from series whose slope is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlocust.analysis.drift import mann_kendall
from llmlocust.analysis.drift.drift import PER_HOUR, drift_of, latency_by_time, memory_by_requests, thinned
from llmlocust.analysis.drift.slope import block_length, slope_of, student_quantile, theil_sen

HOURS = np.linspace(0.0, 8.0, 120)


def noise(seed, correlation=0.0, count=120):
    generator = np.random.default_rng(seed)
    values, value = np.empty(count), 0.0
    for place, shock in enumerate(generator.standard_normal(count) * math.sqrt(1.0 - correlation**2)):
        value = correlation * value + shock
        values[place] = value
    return values


def test_theil_sen_ignores_outliers():
    y = 2.0 * HOURS + 1.0
    y[::10] += 1000.0
    slope, intercept = theil_sen(HOURS, y)
    assert slope == pytest.approx(2.0, rel=0.05)
    assert intercept == pytest.approx(1.0, abs=0.5)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_a_drift_of_three_times_the_smallest_is_detected(correlation):
    results = [drift_of("p95", HOURS, noise(seed, correlation), PER_HOUR) for seed in range(15)]
    assert sum(result.is_drifting for result in results) <= 2
    drifts = [
        drift_of("p95", HOURS, noise(seed + 50, correlation) - 3.0 * result.smallest * HOURS, PER_HOUR)
        for seed, result in enumerate(results)
    ]
    assert sum(drift.is_drifting and drift.slope < 0.0 for drift in drifts) >= 14


def test_a_long_warm_up_is_no_drift():
    filling = 20.0 * (1.0 - np.exp(-HOURS / 1.2))
    results = [drift_of("memory", HOURS, noise(seed, 0.5) + filling, PER_HOUR) for seed in range(10)]
    assert sum(result.is_drifting for result in results) < sum(result.slows_down for result in results)
    slow = next(result for result in results if result.slows_down)
    assert "grew at first" in slow.says


def test_the_warm_up_is_left_out():
    y = noise(2) + np.where(HOURS < 1.5, 100.0, 0.0)
    assert not drift_of("p95", HOURS, y, PER_HOUR).is_drifting


def test_time_to_a_limit():
    result = drift_of("memory", HOURS, noise(3) * 0.1 + 2.0 * HOURS, PER_HOUR)
    likely, fastest, slowest = result.to_limit(26.0)
    assert likely == pytest.approx(5.0, rel=0.05)
    assert fastest <= likely <= slowest
    assert result.to_limit(-5.0) == (None, None, None)
    flat = drift_of("memory", HOURS, noise(4), PER_HOUR)
    assert flat.to_limit(100.0)[2] is None
    assert "no drift above" in flat.says


def test_too_few_values_have_no_drift():
    assert drift_of("p95", HOURS[:24], noise(1)[:24], PER_HOUR) is None
    assert drift_of("p95", np.full(100, 1.0), np.arange(100.0), PER_HOUR) is None
    assert drift_of("p95", HOURS, np.full(120, math.nan), PER_HOUR) is None


def test_a_constant_has_no_drift():
    result = drift_of("memory", HOURS, np.full(120, 5.0), PER_HOUR)
    assert (result.slope, result.is_drifting, result.smallest) == (0.0, False, 0.0)


def test_dependent_values_have_long_blocks_and_wide_intervals():
    independent, dependent = slope_of(HOURS, noise(1)), slope_of(HOURS, noise(1, 0.9))
    assert dependent.block > independent.block
    assert dependent.error > 1.5 * independent.error
    assert dependent.correlation > 0.7


def test_mann_kendall_takes_dependent_values_for_a_trend():
    alarms = [mann_kendall.p_value(noise(seed, 0.9)) < 0.05 for seed in range(40)]
    assert sum(alarms) > 12
    alarms = [mann_kendall.p_value(noise(seed)) < 0.05 for seed in range(40)]
    assert sum(alarms) <= 6
    assert mann_kendall.p_value(np.full(20, 1.0)) == 1.0


@pytest.mark.parametrize("freedom, value", [(5.0, 2.571), (10.0, 2.228), (30.0, 2.042), (1000.0, 1.962)])
def test_students_quantile(freedom, value):
    assert student_quantile(0.975, freedom) == pytest.approx(value, abs=0.005)


def test_latency_by_time():
    due = 1e9 + np.arange(7200.0)
    hours, p95 = latency_by_time(due, np.where(due < 1e9 + 3600.0, 1.0, 2.0), 0.95, points=4)
    assert hours == pytest.approx([0.25, 0.75, 1.25, 1.75], abs=0.01)
    assert p95 == pytest.approx([1.0, 1.0, 2.0, 2.0])
    assert len(latency_by_time(np.array([]), np.array([]), 0.95)[0]) == 0


@settings(max_examples=30)
@given(st.lists(st.floats(-1e6, 1e6), min_size=25, max_size=60), st.floats(0.001, 1000.0))
def test_the_slope_scales_with_its_units(values, factor):
    x, y = np.arange(float(len(values))), np.array(values)
    slope = theil_sen(x, y)[0]
    assert theil_sen(x * factor, y)[0] == pytest.approx(slope / factor, rel=1e-6, abs=1e-6 / factor)
    assert theil_sen(x, -y)[0] == pytest.approx(-slope, rel=1e-6, abs=1e-6)
    assert 1 <= block_length(y - y.mean()) <= max(len(y) // 4, round(math.cbrt(len(y))))


@given(st.integers(1, 1000), st.integers(1, 300))
def test_thinning_keeps_the_mean_line(count, most):
    x = np.arange(float(count))
    thin_x, thin_y = thinned(x, 2.0 * x, most)
    assert len(thin_x) == min(count, most)
    assert thin_y == pytest.approx(2.0 * thin_x)


def test_a_leak_counts_by_requests_and_not_by_time():
    moments = np.arange(0.0, 7200.0, 60.0)
    # requests come in the second hour only, and each leaks 1 kB
    ended = 3600.0 + np.arange(36_000) / 10.0
    leak = np.searchsorted(ended, moments) * 1e3
    x, y = memory_by_requests(moments[::-1], leak[::-1] + noise(1), ended)
    assert x[-1] == pytest.approx(36.0, rel=0.02)
    assert drift_of("memory", x, y, "1,000 requests").slope == pytest.approx(1e6, rel=0.01)
