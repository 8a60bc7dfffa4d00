import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.numbers.levels import LevelFigures, Summary
from llmlocust.numbers.thresholds import DURATIONS, RATES, STATISTICS, Threshold, is_good


@pytest.mark.parametrize(
    "text, name, bound",
    [
        ("ttft.p95 < 500ms", "ttft.p95", 0.5),
        ("e2e.p99<2s", "e2e.p99", 2.0),
        ("  E2E.P99  <=  1.5 s ", "e2e.p99", 1.5),
        ("answer.p99.9 < 3s", "answer.p99_9", 3.0),
        ("gap.max < 200ms", "gap.max", 0.2),
        ("tpot.median < 50ms", "tpot.p50", 0.05),
        ("connect.mean < 5 ms", "connect.mean", 0.005),
        ("errors < 1%", "errors", 0.01),
        ("errors <= 0.01", "errors", 0.01),
        ("goodput > 20/s", "goodput", 20.0),
        ("throughput >= 20", "throughput", 20.0),
        ("tokens > 1e3/s", "output_tokens_per_s", 1000.0),
    ],
)
def test_reads_what_people_write(text, name, bound):
    threshold = Threshold.parse(text)
    assert (threshold.name, threshold.bound) == (name, pytest.approx(bound))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ttft",
        "ttft < 500ms",
        "ttft.p95 < 500",
        "ttft.p95 < 500%",
        "ttft.p42 < 500ms",
        "ttft.p95 = 500ms",
        "ttft.p95 < -1ms",
        "ttft.p95 < nan ms",
        "latency.p95 < 5s",
        "errors < 5",
        "errors < 5ms",
        "errors.p95 < 1%",
        "goodput > 20ms",
        "goodput.mean > 20/s",
        "ttft.p95 < 500ms ~ 1s",
        "<script>",
    ],
)
def test_says_in_one_line_with_an_example_what_is_wrong(text):
    with pytest.raises(ValueError) as raised:
        Threshold.parse(text)
    said = str(raised.value)
    assert "\n" not in said
    assert "'" in said
    assert any(sign in said for sign in "<>")


def test_examples_in_messages_are_right():
    for text in ("ttft < 1ms", "errors < 5", "goodput > 5ms", "nonsense"):
        with pytest.raises(ValueError) as raised:
            Threshold.parse(text)
        examples = [
            part for part in str(raised.value).split("'")[1::2] if (part != text and "." in part) or "< 1%" in part
        ]
        for example in examples:
            Threshold.parse(example)


made = st.builds(
    lambda which, comparison, limit: f"{which[0]} {comparison} {limit}{which[1]}",
    st.one_of(
        st.tuples(
            st.tuples(st.sampled_from(DURATIONS), st.sampled_from(STATISTICS)).map(".".join),
            st.sampled_from(["ms", "s"]),
        ),
        st.tuples(st.sampled_from(RATES), st.sampled_from(["", "/s"])),
        st.just(("errors", "%")),
    ),
    st.sampled_from(["<", "<=", ">", ">="]),
    st.floats(0, 1e12, allow_nan=False).map(repr),
)


@given(made)
def test_text_and_threshold_are_each_others_inverse(text):
    threshold = Threshold.parse(text)
    assert Threshold.parse(str(threshold)) == threshold


def level(**given):
    return LevelFigures(0, 10.0, requests=100, ok=100, throughput=5.0, **given)


def test_holds_fails_or_is_not_known():
    ttft = {"ttft": Summary(100, 0.3, 1.0, {"p95": 0.4})}
    assert Threshold.parse("ttft.p95 < 500ms").holds(level(metrics=ttft)) is True
    assert Threshold.parse("ttft.p95 < 400ms").holds(level(metrics=ttft)) is False
    assert Threshold.parse("ttft.p95 <= 400ms").holds(level(metrics=ttft)) is True
    assert Threshold.parse("e2e.p95 < 400ms").holds(level(metrics=ttft)) is None
    assert Threshold.parse("throughput > 4").holds(level()) is True
    assert Threshold.parse("goodput > 4").holds(level()) is None
    assert Threshold.parse("goodput > 4").holds(level(), 3.0) is False


def test_failed_requests_count_as_infinitely_slow():
    quick = {"ttft": Summary(90, 0.1, 0.1, {"p50": 0.1, "p95": 0.1}, {}, {"p50": 0.1, "p95": math.inf})}
    figures = LevelFigures(0, 10.0, requests=100, ok=90, metrics=quick)
    assert Threshold.parse("ttft.p95 < 500ms").holds(figures) is False
    assert Threshold.parse("ttft.p50 < 500ms").holds(figures) is True


def test_a_level_without_a_success_keeps_no_latency_limit():
    figures = LevelFigures(0, 10.0, requests=5, ok=0)
    assert Threshold.parse("e2e.mean < 500ms").holds(figures) is False
    assert Threshold.parse("tpot.p50 < 500ms").holds(figures) is None


def test_a_request_is_good_when_it_keeps_every_latency_limit():
    limits = [Threshold.parse(text) for text in ("ttft.p95 < 500ms", "gap.max < 200ms", "gap.p99 < 1ms", "errors < 1%")]
    assert is_good({"ttft": 0.4, "gap_max": 0.1}, limits)
    assert is_good({"ttft": 0.4}, limits)
    assert not is_good({"ttft": 0.6}, limits)
    assert not is_good({"ttft": 0.4, "gap_max": 0.3}, limits)
