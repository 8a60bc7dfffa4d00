import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.level_rows import level_of_row, level_row
from llmlocust.metrics.levels import Level, LevelFigures, Tally
from llmlocust.metrics.ranges import Uncertain, without
from llmlocust.stream.record import Merged
from tests.metrics.records import record_of

itls = st.floats(1e-4, 10.0)
groups = st.lists(st.lists(itls, min_size=1, max_size=6), max_size=8)
MAX_RATIO = 1.0 + 2 / 128
"""Maximum ratio of the ends of a range of known values: both are rounded outwards to the edge of a bucket."""


def uncertain_of(known, exact, limited):
    def by_size(lists):
        return {
            size: Histogram(sum(group) for group in lists if len(group) == size)
            for size in {len(group) for group in lists}
        }

    return Uncertain(Histogram(known), by_size(exact), by_size(limited))


def true_quantile(values, q):
    ordered = sorted(values)
    return ordered[max(1, math.ceil(q * len(ordered) - 1e-9)) - 1]


@given(st.lists(itls, max_size=30), groups, groups, st.sampled_from([0.01, 0.5, 0.9, 0.99, 0.999]))
def test_the_range_contains_the_true_quantile_of_any_itls(known, exact, limited, q):
    values = [*known, *(itl for group in (*exact, *limited) for itl in group)]
    if not values:
        return
    low, high = uncertain_of(known, exact, limited).quantile(q)
    assert low <= true_quantile(values, q) <= high


@given(st.lists(itls, min_size=1, max_size=30), st.sampled_from([0.5, 0.99]))
def test_a_quantile_of_known_values_is_known(known, q):
    low, high = uncertain_of(known, [], []).quantile(q)
    assert high <= low * MAX_RATIO


@pytest.mark.parametrize(
    "known, exact, limited, q, low, high",
    [
        ([], [[1.0, 1.0]], [], 1.0, 1.0, 2.0),  # the greater of two values whose sum is two
        ([], [[1.0, 1.0]], [], 0.5, 0.0, 1.0),  # the smaller of them
        ([], [], [[1.0, 1.0]], 1.0, 0.0, 2.0),  # the sum may also be less
        ([1.0] * 98, [[1.0, 1.0]], [], 0.5, 1.0, 1.0),
        ([1.0] * 98, [[1.0, 1.0]], [], 1.0, 1.0, 2.0),
        ([1.0] * 80, [[1.0] * 20], [], 0.99, 1.0, 10.0),  # the second greatest of 20 values whose sum is 20
        ([1.0] * 80, [[1.0] * 20], [], 0.1, 0.0, 1.0),
        ([1.0] * 80, [[1.0] * 20], [], 0.2, 1.0, 1.0),  # at least one of the twenty is not less than their mean
    ],
)
def test_a_range_is_as_wide_as_the_sums_allow(known, exact, limited, q, low, high):
    range_ = uncertain_of(known, exact, limited).quantile(q)
    assert range_[0] == pytest.approx(low, rel=0.016)
    assert range_[1] == pytest.approx(high, rel=0.016)


def test_the_range_of_no_values_is_nan():
    assert all(map(math.isnan, Uncertain(Histogram()).quantile(0.5)))


@given(st.lists(itls), st.lists(itls))
def test_without_removes_the_values_of_a_histogram(values, more):
    remaining = without(Histogram([*values, *more]), Histogram(more))
    assert (remaining.counts, remaining.count) == (Histogram(values).counts, len(values))


def test_a_level_has_ranges_if_its_tokens_waited_for_the_load_generator():
    tally = Tally()
    arrivals = [1.0, 1.1, 1.2, 1.3, 1.4]
    record = record_of(arrivals)
    late = record_of([0.5, 1.0, 1.1, 1.3, 1.5])
    late.merged = [Merged(0.7, late.itls[:1], exact=False), Merged(0.4, late.itls[2:])]
    late.ttft_bounds = (0.3, 1.0)
    for record_ in (record, late):
        tally.outcomes["ok"] += 1
        tally.numbers["uncertain"] += record_.uncertain
        tally.histogram("ttft").add(record_.ttft)
        tally.histogram("itl").extend([later - earlier for earlier, later in pairwise(record_.arrivals)])
        tally.note_uncertain(record_)
    unpacked = Tally()
    unpacked.merge_packed(tally.pack())
    figures = LevelFigures.of(Level(0, 1, warmed_up=0.0, ended=9.0), unpacked, 9.0)
    assert figures.uncertain == pytest.approx(3 / 8)
    assert figures.metric("ttft").ranges["p50"] == pytest.approx((0.3, 1.0), rel=0.01)
    assert figures.metric("ttft").ranges["p99"] == pytest.approx((1.0, 1.0), rel=0.01)
    assert figures.metric("itl").ranges["p50"] == pytest.approx((0.1, 0.1), rel=0.02)
    # the greatest of: 0.1 five times, two values whose sum is 0.4, one of at most 0.7
    assert figures.metric("itl").ranges["p99"] == pytest.approx((0.2, 0.7), rel=0.02)
    assert figures.metric("e2e").ranges == {}
    read = level_of_row(level_row(figures))
    assert read.metric("itl").ranges["p99"] == pytest.approx((0.2, 0.7), rel=0.02)
    assert read.uncertain == pytest.approx(3 / 8)


def test_a_level_without_lateness_has_no_ranges():
    tally = Tally()
    tally.histogram("itl").extend([0.1, 0.2])
    tally.histogram("ttft").add(1.0)
    figures = LevelFigures.of(Level(0, 1, warmed_up=0.0, ended=9.0), tally, 9.0)
    assert (figures.uncertain, figures.metric("itl").ranges, figures.metric("ttft").ranges) == (0.0, {}, {})
    assert level_of_row(level_row(figures)).metric("itl").ranges == {}
