"""Arrivals are what they are called, at the rate that was asked for, over however many streams."""

import math
from itertools import islice, pairwise, takewhile
from statistics import mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.load.arrivals import Process, RateShare

KINDS = st.sampled_from(["constant", "poisson", "gamma:0.5", "gamma:2", "gamma:4", "bursts:7"])
RATES = st.floats(0.01, 5000.0)
MANY = 5000
AT_ONE_PERCENT = 1.628
"""Kolmogorov's distance × √n is above this once in a hundred."""


def intervals(part: RateShare, number: int = MANY) -> list[float]:
    return [later - earlier for earlier, later in pairwise(islice(part.due(), number + 1))]


def distance(values, distribution) -> float:
    """Kolmogorov and Smirnov's: the most that what was seen is off a distribution, as a share."""
    number = len(values)
    expected = [distribution(value) for value in sorted(values)]
    return max(max((n + 1) / number - each, each - n / number) for n, each in enumerate(expected))


def gamma_distribution(shape: float, mean: float):
    """Regularised lower incomplete gamma function of x·shape/mean, by its series."""

    def distribution(value: float) -> float:
        x = value * shape / mean
        term = total = 1.0 / shape
        n = 0
        while term > 1e-12 * total:
            n += 1
            term *= x / (shape + n)
            total += term
        return min(1.0, total * math.exp(shape * math.log(x) - x - math.lgamma(shape))) if x > 0.0 else 0.0

    return distribution


@pytest.mark.parametrize(
    "arrivals, scatter", [("poisson", 1.0), ("gamma:0.5", 0.5), ("gamma:2", 2.0), ("gamma:1.5", 1.5)]
)
@pytest.mark.parametrize("rate", [0.5, 2000.0])
def test_intervals_are_of_the_distribution_that_was_asked_for(arrivals, scatter, rate):
    found = intervals(RateShare(rate, arrivals, seed=7))
    assert distance(found, gamma_distribution(scatter**-2, 1.0 / rate)) * math.sqrt(MANY) < AT_ONE_PERCENT
    other = gamma_distribution(1.1 * scatter**-2, 1.0 / rate)
    assert distance(found, other) * math.sqrt(MANY) > AT_ONE_PERCENT, "the test would see a shape that is 10 % off"


def test_constant_arrivals_are_equally_far_apart():
    assert intervals(RateShare(8.0, "constant"), 100) == pytest.approx([0.125] * 100)


def test_bursts_come_at_once_and_equally_far_apart():
    due = list(islice(RateShare(20.0, "bursts:5").due(), 50))
    assert all(len(set(due[first : first + 5])) == 1 for first in range(0, 50, 5))
    assert [later - earlier for earlier, later in pairwise(due[::5])] == pytest.approx([0.25] * 9)


@given(KINDS, RATES, st.integers(1, 9), st.integers())
def test_streams_together_are_the_arrivals_of_one(arrivals, rate, streams, seed):
    of_one = list(islice(RateShare(rate, arrivals, seed).due(), 60))
    until = of_one[-1]
    parts = [RateShare(rate, arrivals, seed, stream, streams).due() for stream in range(streams)]
    together = sorted(due for part in parts for due in takewhile(lambda due: due <= until, part))
    assert together[:60] == of_one


@given(KINDS, RATES, st.integers())
def test_moments_only_grow_and_begin_after_zero(arrivals, rate, seed):
    due = list(islice(RateShare(rate, arrivals, seed).due(), 100))
    assert due == sorted(due)
    assert due[0] >= 0.0


@pytest.mark.parametrize("arrivals", ["constant", "poisson", "gamma:3", "bursts:10"])
def test_the_rate_holds_from_the_first_moment_on(arrivals):
    """Within short levels too, whatever the intervals: 3,000 levels of 2 s at 4 a second."""
    counts = [
        sum(1 for _ in takewhile(lambda due: due < 2.0, RateShare(4.0, arrivals, seed).due())) for seed in range(3000)
    ]
    assert abs(mean(counts) - 8.0) < 3.0 * stdev(counts) / math.sqrt(len(counts)) + 1e-9


def test_the_same_seed_brings_the_same_arrivals():
    first, again, other = (list(islice(RateShare(5.0, seed=seed).due(), 20)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("text", ["", "Poison", "gamma", "gamma:0", "gamma:-1", "gamma:x", "gamma:1e9", "bursts", "bursts:0", "bursts:2.5", "constant:3", "poisson:2", "gamma:nan"])  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_one_line(text):
    with pytest.raises(ValueError, match="arrivals are constant, poisson, gamma:CV") as refused:
        Process.parse(text)
    assert "\n" not in str(refused.value)


@given(st.text(max_size=20))
def test_no_text_breaks_the_parser(text):
    try:
        process = Process.parse(text)
    except ValueError:
        return
    assert process.scatter >= 0.0
    assert process.burst >= 1
