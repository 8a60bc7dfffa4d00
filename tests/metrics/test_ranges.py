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
WITHIN = 1.0 + 2 / 128
"""Both ends are rounded outwards to a bucket's edge."""


def blurred_of(known, exact, limited):
    def by_size(lists):
        return {
            size: Histogram(sum(each) for each in lists if len(each) == size) for size in {len(each) for each in lists}
        }

    return Uncertain(Histogram(known), by_size(exact), by_size(limited))


def true_quantile(values, q):
    ordered = sorted(values)
    return ordered[max(1, math.ceil(q * len(ordered) - 1e-9)) - 1]


@given(st.lists(itls, max_size=30), groups, groups, st.sampled_from([0.01, 0.5, 0.9, 0.99, 0.999]))
def test_whatever_the_gaps_were_the_true_quantile_lies_in_the_range(known, exact, limited, q):
    values = [*known, *(gap for each in (*exact, *limited) for gap in each)]
    if not values:
        return
    least, most = blurred_of(known, exact, limited).quantile(q)
    assert least <= true_quantile(values, q) <= most


@given(st.lists(itls, min_size=1, max_size=30), st.sampled_from([0.5, 0.99]))
def test_a_quantile_of_known_values_is_known(known, q):
    least, most = blurred_of(known, [], []).quantile(q)
    assert most <= least * WITHIN


@pytest.mark.parametrize(
    "known, exact, limited, q, least, most",
    [
        ([], [[1.0, 1.0]], [], 1.0, 1.0, 2.0),  # the greater of two that sum to two
        ([], [[1.0, 1.0]], [], 0.5, 0.0, 1.0),  # and the lesser
        ([], [], [[1.0, 1.0]], 1.0, 0.0, 2.0),  # whose sum may also be less
        ([1.0] * 98, [[1.0, 1.0]], [], 0.5, 1.0, 1.0),
        ([1.0] * 98, [[1.0, 1.0]], [], 1.0, 1.0, 2.0),
        ([1.0] * 80, [[1.0] * 20], [], 0.99, 1.0, 10.0),  # the second greatest of 20 that sum to 20
        ([1.0] * 80, [[1.0] * 20], [], 0.1, 0.0, 1.0),
        ([1.0] * 80, [[1.0] * 20], [], 0.2, 1.0, 1.0),  # one of the twenty at least is not less than their mean
    ],
)
def test_a_range_is_as_wide_as_the_sums_allow(known, exact, limited, q, least, most):
    found = blurred_of(known, exact, limited).quantile(q)
    assert found[0] == pytest.approx(least, rel=0.016)
    assert found[1] == pytest.approx(most, rel=0.016)


def test_nothing_has_no_range():
    assert all(map(math.isnan, Uncertain(Histogram()).quantile(0.5)))


@given(st.lists(itls), st.lists(itls))
def test_without_takes_out_what_was_added(values, more):
    left = without(Histogram([*values, *more]), Histogram(more))
    assert (left.counts, left.count) == (Histogram(values).counts, len(values))


def test_a_level_has_ranges_where_its_tokens_waited_for_us():
    tally = Tally()
    arrivals = [1.0, 1.1, 1.2, 1.3, 1.4]
    record = record_of(arrivals)
    late = record_of([0.5, 1.0, 1.1, 1.3, 1.5])
    late.merged = [Merged(0.7, late.itls[:1], exact=False), Merged(0.4, late.itls[2:])]
    late.ttft_bounds = (0.3, 1.0)
    for each in (record, late):
        tally.outcomes["ok"] += 1
        tally.numbers["uncertain"] += each.uncertain
        tally.histogram("ttft").add(each.ttft)
        tally.histogram("itl").extend([later - earlier for earlier, later in pairwise(each.arrivals)])
        tally.note_uncertain(each)
    brought = Tally()
    brought.merge_packed(tally.pack())
    figures = LevelFigures.of(Level(0, 1, warmed_up=0.0, ended=9.0), brought, 9.0)
    assert figures.uncertain == pytest.approx(3 / 8)
    assert figures.metric("ttft").ranges["p50"] == pytest.approx((0.3, 1.0), rel=0.01)
    assert figures.metric("ttft").ranges["p99"] == pytest.approx((1.0, 1.0), rel=0.01)
    assert figures.metric("itl").ranges["p50"] == pytest.approx((0.1, 0.1), rel=0.02)
    # the greatest of: 0.1 five times, two that sum to 0.4, one of at most 0.7
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
