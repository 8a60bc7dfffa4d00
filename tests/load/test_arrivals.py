"""Arrivals have the given distribution and rate, over any number of streams."""

import math
from itertools import islice, pairwise, takewhile
from statistics import mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.load.arrivals import Process, RateShare

KINDS = st.sampled_from(["constant", "poisson", "gamma:0.5", "gamma:2", "gamma:4", "bursts:7"])
RATES = st.floats(0.01, 5000.0)
COUNT = 5000
AT_ONE_PERCENT = 1.628
"""Kolmogorov's distance × √n is above this value once in a hundred times."""


def intervals(share: RateShare, number: int = COUNT) -> list[float]:
    return [later - earlier for earlier, later in pairwise(islice(share.due(), number + 1))]


def distance(values, distribution) -> float:
    """Return the statistic of Kolmogorov and Smirnov: the maximum difference between values and a distribution."""
    number = len(values)
    expected = [distribution(value) for value in sorted(values)]
    return max(max((n + 1) / number - probability, probability - n / number) for n, probability in enumerate(expected))


def gamma_distribution(shape: float, mean: float):
    """Return the regularised lower incomplete gamma function of x·shape/mean, by its series."""

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
def test_intervals_have_the_given_distribution(arrivals, scatter, rate):
    values = intervals(RateShare(rate, arrivals, seed=7))
    assert distance(values, gamma_distribution(scatter**-2, 1.0 / rate)) * math.sqrt(COUNT) < AT_ONE_PERCENT
    other = gamma_distribution(1.1 * scatter**-2, 1.0 / rate)
    assert distance(values, other) * math.sqrt(COUNT) > AT_ONE_PERCENT, "the test must detect a shape that is 10 % off"


def test_constant_arrivals_have_equal_intervals():
    assert intervals(RateShare(8.0, "constant"), 100) == pytest.approx([0.125] * 100)


def test_requests_of_a_burst_are_due_together_and_bursts_have_equal_intervals():
    due = list(islice(RateShare(20.0, "bursts:5").due(), 50))
    assert all(len(set(due[first : first + 5])) == 1 for first in range(0, 50, 5))
    assert [later - earlier for earlier, later in pairwise(due[::5])] == pytest.approx([0.25] * 9)


@given(KINDS, RATES, st.integers(1, 9), st.integers())
def test_streams_together_have_the_arrivals_of_one(arrivals, rate, streams, seed):
    of_one = list(islice(RateShare(rate, arrivals, seed).due(), 60))
    until = of_one[-1]
    streams_due = [RateShare(rate, arrivals, seed, stream, streams).due() for stream in range(streams)]
    together = sorted(due for stream in streams_due for due in takewhile(lambda due: due <= until, stream))
    assert together[:60] == of_one


@given(KINDS, RATES, st.integers())
def test_due_times_increase_and_are_not_negative(arrivals, rate, seed):
    due = list(islice(RateShare(rate, arrivals, seed).due(), 100))
    assert due == sorted(due)
    assert due[0] >= 0.0


@pytest.mark.parametrize("arrivals", ["constant", "poisson", "gamma:3", "bursts:10"])
def test_the_rate_is_correct_from_the_first_moment_on(arrivals):
    """The mean of 3,000 levels of 2 s at 4 requests/s, for every distribution."""
    counts = [
        sum(1 for _ in takewhile(lambda due: due < 2.0, RateShare(4.0, arrivals, seed).due())) for seed in range(3000)
    ]
    assert abs(mean(counts) - 8.0) < 3.0 * stdev(counts) / math.sqrt(len(counts)) + 1e-9


def test_the_same_seed_gives_the_same_arrivals():
    first, again, other = (list(islice(RateShare(5.0, seed=seed).due(), 20)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("text", ["", "Poison", "gamma", "gamma:0", "gamma:-1", "gamma:x", "gamma:1e9", "bursts", "bursts:0", "bursts:2.5", "constant:3", "poisson:2", "gamma:nan"])  # fmt: skip
def test_an_invalid_text_gives_a_one_line_error(text):
    with pytest.raises(ValueError, match="arrivals are constant, poisson, gamma:CV") as error:
        Process.parse(text)
    assert "\n" not in str(error.value)


@given(st.text(max_size=20))
def test_no_text_breaks_the_parser(text):
    try:
        process = Process.parse(text)
    except ValueError:
        return
    assert process.scatter >= 0.0
    assert process.burst >= 1
