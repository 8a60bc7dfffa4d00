from hypothesis import given
from hypothesis import strategies as st

from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.timeseries import Spans

VALUES = st.lists(st.tuples(st.integers(0, 5000), st.floats(0.001, 100.0)), min_size=1, max_size=50)


@given(VALUES)
def test_every_value_is_in_the_span_of_its_second(values):
    spans = Spans(max_spans=16)
    for second, value in values:
        spans.merge(second, "ttft", Histogram([value]).pack())
    for span in spans.changed_since(0):
        inside = Histogram([value for second, value in values if second in spans.seconds(span)])
        assert spans.quantile(span, "ttft", 0.5) == inside.quantile(0.5)
        assert spans.quantile(span, "ttft", 1.0) == inside.quantile(1.0)
    assert max(spans.changed_since(0)) < 16


def test_spans_get_longer_if_there_are_too_many():
    spans = Spans(max_spans=4)
    for second in range(4):
        spans.touch(second)
    assert (spans.width, spans.changed_since(0)) == (1, [0, 1, 2, 3])
    spans.touch(4)
    assert (spans.width, spans.changed_since(0)) == (2, [0, 1, 2])
    spans.touch(16)
    assert (spans.width, spans.seconds(2)) == (8, range(16, 24))


def test_changed_spans_are_found():
    spans = Spans()
    spans.touch(1)
    known_changes = spans.changes
    assert spans.changed_since(known_changes) == []
    spans.touch(3)
    assert spans.changed_since(known_changes) == [3]
    assert spans.changed(1) == known_changes


def test_all_spans_change_when_they_are_merged():
    spans = Spans(max_spans=2)
    spans.touch(0)
    spans.touch(1)
    known_changes = spans.changes
    spans.touch(2)
    assert spans.changed_since(known_changes) == [0, 1]


def test_values_from_before_the_start_are_not_kept():
    spans = Spans(start=10.7)
    spans.merge(9, "itl", Histogram([0.1]).pack())
    spans.merge(10, "itl", Histogram([0.2]).pack())
    assert spans.changed_since(0) == [0]
    assert spans.seconds(0) == range(10, 11)
