import math
import random

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmlocust.metrics.histogram import ZERO, Histogram, bounds_of, bucket_of
from llmlocust.metrics.vocabulary import QUANTILES

DURATIONS = st.floats(1e-9, 1e9) | st.sampled_from([0.0, 1.0, 1.015625, 2.0])
SAMPLES = st.lists(DURATIONS, max_size=60)
CLUSTERS = st.lists(st.tuples(DURATIONS, st.integers(1, 50)), min_size=1, max_size=5).map(
    lambda clusters: [value for value, times in clusters for _ in range(times)]
)
ERROR = 0.01


def through_a_message(packed: object) -> object:
    """Pack and unpack a report as Locust does."""
    return msgpack.loads(msgpack.dumps(packed), raw=False, strict_map_key=False)


def merged(*histograms: Histogram) -> Histogram:
    total = Histogram()
    for histogram in histograms:
        total.merge(histogram)
    return total


def nearest_rank(values: list[float], q: float) -> float:
    """Return the quantile by its definition: the smallest value that at least the share q of all values does not exceed."""
    return sorted(values)[max(0, math.ceil(round(q * len(values), 9)) - 1)]


@given(DURATIONS)
def test_a_value_lies_inside_its_bucket_and_the_bucket_is_narrow(value):
    low, high = bounds_of(bucket_of(value))
    assert low <= value < high or value == low == high == 0.0
    assert high - low <= ERROR * low


@given(st.lists(DURATIONS, min_size=2, max_size=2).map(sorted))
def test_buckets_keep_the_order_of_values(pair):
    assert bucket_of(pair[0]) <= bucket_of(pair[1])


@pytest.mark.parametrize("value", [0.0, -0.0, -1.0])
def test_values_that_are_not_above_zero_have_their_own_bucket(value):
    assert bucket_of(value) == ZERO


@pytest.mark.parametrize("value", [5e-324, 1e-300, 1e300])
def test_extreme_values_have_a_bucket(value):
    assert Histogram([value, value, value]).quantile(0.5) == value


@given(CLUSTERS, st.floats(0.0, 1.0) | st.sampled_from([*QUANTILES.values()]))
@example([0.5] + [1.0] * 1000 + [2.0], 0.99)  # a frequent value at the edge of its bucket
def test_quantiles_are_those_of_the_sorted_values_to_one_percent(values, q):
    assert Histogram(values).quantile(q) == pytest.approx(nearest_rank(values, q), rel=ERROR)


@given(CLUSTERS)
def test_count_sum_and_ends_are_exact(values):
    histogram = Histogram(values)
    assert (len(histogram), histogram.min, histogram.max) == (len(values), min(values), max(values))
    assert histogram.mean == pytest.approx(math.fsum(values) / len(values), rel=1e-12)
    assert (histogram.quantile(0.0), histogram.quantile(1.0)) == (min(values), max(values))


@given(CLUSTERS)
def test_quantiles_grow_with_q(values):
    quantiles = [Histogram(values).quantile(step / 20) for step in range(21)]
    assert quantiles == sorted(quantiles)


@given(SAMPLES)
def test_extending_is_adding_one_by_one(values):
    one_by_one = Histogram()
    for value in values:
        one_by_one.add(value)
    assert Histogram(values) == one_by_one


@given(DURATIONS, st.integers(1, 1000))
def test_adding_a_value_with_a_count_is_adding_it_repeatedly(value, times):
    histogram = Histogram()
    histogram.add(value, times)
    assert histogram == Histogram([value] * times)


@given(SAMPLES, SAMPLES, SAMPLES)
def test_merging_in_any_order_is_adding_all(a, b, c):
    together = Histogram(a + b + c)
    left = merged(merged(Histogram(a), Histogram(b)), Histogram(c))
    right = merged(Histogram(c), merged(Histogram(b), Histogram(a)))
    assert left == right == together


@given(SAMPLES)
def test_merging_does_not_change_the_merged_histogram(values):
    histogram, other = Histogram([1.0]), Histogram(values)
    histogram.merge(other)
    histogram.add(2.0)
    assert other == Histogram(values)


@given(SAMPLES)
def test_a_packed_histogram_is_unpacked_unchanged(values):
    unpacked = Histogram()
    unpacked.merge_packed(through_a_message(Histogram(values).pack()))
    assert unpacked == Histogram(values)
    assert unpacked.count == len(values)


@given(SAMPLES, SAMPLES)
def test_merging_a_packed_histogram_is_merging_the_histogram(values, others):
    merged, unpacked = Histogram(values), Histogram(values)
    merged.merge(Histogram(others))
    unpacked.merge_packed(through_a_message(Histogram(others).pack()))
    assert unpacked == merged
    assert unpacked.count == merged.count


@given(CLUSTERS, st.sampled_from([*QUANTILES.values()]))
def test_a_histogram_read_from_a_file_is_exact_to_one_percent(values, q):
    read_back = Histogram.from_counts(dict(Histogram(values).items()))
    assert read_back.counts == Histogram(values).counts
    assert read_back.quantile(q) == pytest.approx(nearest_rank(values, q), rel=ERROR)


def test_figures_of_an_empty_histogram_are_nan():
    empty = Histogram()
    assert all(math.isnan(value) for value in (empty.mean, empty.quantile(0.5), *empty.interval(0.5)))


@given(CLUSTERS, st.integers(0, 100), st.sampled_from([*QUANTILES.values()]))
def test_failures_are_values_beyond_all_others(values, failed, q):
    truth = nearest_rank([*values, *[math.inf] * failed], q)
    assert Histogram(values).quantile(q, failed) == pytest.approx(truth, rel=ERROR)


@pytest.mark.parametrize(
    "failed, q, value",
    [(0, 0.99, 9.9), (1, 0.99, 10.0), (2, 0.99, math.inf), (100, 0.5, 10.0), (101, 0.5, math.inf), (300, 0.25, 10.0)],
)
def test_a_hundred_values_with_failures(failed, q, value):
    assert Histogram([number / 10 for number in range(1, 101)]).quantile(q, failed) == pytest.approx(value, rel=ERROR)


def test_only_failures_are_infinitely_slow():
    assert Histogram().quantile(0.5, 3) == math.inf


@given(CLUSTERS, st.sampled_from([*QUANTILES.values()]))
def test_an_interval_contains_the_quantile_of_its_values(values, q):
    low, high = Histogram(values).interval(q)
    assert low * (1 - ERROR) <= nearest_rank(values, q) <= high * (1 + ERROR)


@pytest.mark.parametrize("q, deviations", [(0.5, 0.0), (0.95, 1.6448536)])
def test_intervals_cover_the_true_quantile(q, deviations):
    generator = random.Random(7)
    truth = math.exp(0.8 * deviations - 1.0)
    intervals = [Histogram(generator.lognormvariate(-1.0, 0.8) for _ in range(400)).interval(q) for _ in range(500)]
    covered = sum(low <= truth <= high for low, high in intervals) / len(intervals)
    assert 0.92 <= covered <= 0.99


def test_histograms_of_different_values_differ():
    assert Histogram([1.0]) != Histogram([1.001])
    assert Histogram([1.0]) != [1.0]


def test_up_to_counts_the_values_up_to_a_bound():
    histogram = Histogram([0.1, 0.2, 0.4, 0.8])

    assert [histogram.up_to(value) for value in (0.05, 0.1, 0.15, 0.3, 0.8, 9.0)] == [0, 1, 1, 2, 4, 4]
    assert Histogram().up_to(1.0) == 0
