"""Estimates of a long run from levels of half a minute."""

import math

import pytest
from closed_queue import figures

from llmlocust.analysis.breakpoints.long_run import LongRun, queue_wait
from llmlocust.analysis.breakpoints.steps import steps_of
from llmlocust.analysis.breakpoints.verdict import find
from llmlocust.metrics.thresholds import Threshold


def ttfts(*seconds, throughput=10.0, errors=0.0):
    levels = [
        figures(10 * (n + 1), throughput, value, 9.0, index=n, errors=errors if n == 1 else 0.0)
        for n, value in enumerate(seconds)
    ]
    return steps_of(levels)


@pytest.mark.parametrize(
    "seconds, factor",
    [
        ((1.0, 1.0, 1.0), 1.0),
        ((1.0, 1.5, 2.0), 1.0),  # on the line
        ((1.0, 1.6, 2.0), math.sqrt(1.5 / 1.6)),
        ((1.0, 1.4, 2.0), math.sqrt(1.5 / 1.4)),
        ((0.1, 0.1, 5.0), 1.0),  # the curve bends here
        ((1.0, 9.0, 1.0), 1.0),  # too far off the line for noise
    ],
)
def test_a_figure_off_the_line_of_its_neighbours_is_moved_halfway_to_it(seconds, factor):
    steps = ttfts(*seconds)
    assert LongRun(steps).factor(steps[1], "ttft", "p50") == pytest.approx(factor)
    assert LongRun(steps).factor(steps[0], "ttft", "p50") == LongRun(steps).factor(steps[2], "ttft", "p50") == 1.0


def test_failing_levels_do_not_change_their_neighbours():
    steps = ttfts(1.0, 1.6, 2.0, errors=0.1)
    assert LongRun(steps).factor(steps[1], "ttft", "p50") == 1.0


def erlang_c(rate, answered, slots):
    """Return the probability of a wait in M/M/c by the full formula."""
    offered = slots * rate / answered
    terms = [offered**n / math.factorial(n) for n in range(slots)]
    last = offered**slots / math.factorial(slots) / (1.0 - rate / answered)
    return last / (math.fsum(terms) + last)


@pytest.mark.parametrize("slots", [8, 32, 100])
@pytest.mark.parametrize("busy", [0.86, 0.93, 0.98])
def test_the_wait_for_a_slot_is_that_of_erlang(slots, busy):
    # Erlang's waits are exponential with mean 1 / (answered - rate); `queue_wait` assumes half their variance
    answered, quantile = 20.0, 0.999
    true = 0.5 / (answered * (1.0 - busy)) * math.log(erlang_c(busy * answered, answered, slots) / (1.0 - quantile))
    assert queue_wait(busy * answered, answered, float(slots), quantile) == pytest.approx(true, rel=0.05)


def test_a_free_slot_means_no_wait():
    assert queue_wait(10.0, 20.0, 100.0, 0.95) == 0.0
    assert queue_wait(19.0, 20.0, math.nan, 0.95) == 0.0  # unknown number of slots


def test_a_rate_near_the_answered_rate_does_not_pass_although_no_queue_was_seen():
    rates = [(10, 10.0, 0.1), (15, 15.0, 0.1), (19, 19.0, 0.11), (30, 20.0, 8.0), (40, 20.0, 20.0)]
    levels = [figures(r, x, t, t + 2.0, index=n, unit="rate") for n, (r, x, t) in enumerate(rates)]
    for level in levels:
        object.__setattr__(level, "requests", round(level.load * level.window))
        object.__setattr__(level, "ok", level.requests)
    limit = find(levels, [Threshold.parse("ttft.p95 < 500ms")]).slo_limit
    assert (limit.level_ok, limit.level_bad) == (15.0, 19.0)
    assert "queues build up slowly at 95 % of the answered rate" in limit.why
    assert "long run" not in limit.cause


def test_a_judgement_that_differs_from_the_measurement_is_reported():
    levels = [figures(10 * (n + 1), 10.0, value, 9.0, index=n) for n, value in enumerate((0.40, 0.49, 0.50, 0.9))]
    limit = find(levels, [Threshold.parse("ttft.p50 < 480ms")]).slo_limit
    assert (limit.level_ok, limit.level_bad) == (20.0, 30.0)
    assert "measured at 20 users: p50 TTFT 490 ms (about 470 ms in a long run" in limit.why
    assert "long run" not in limit.cause
