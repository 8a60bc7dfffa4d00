import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.metrics.levels import LevelFigures, Summary, Tally
from llmlocust.metrics.telemetry import TelemetrySummary
from llmlocust.metrics.thresholds import (
    DURATIONS,
    RATES,
    STATISTICS,
    Gate,
    Threshold,
    golds,
    is_good,
    parse_gates,
    parse_toml,
    tier,
)
from llmlocust.metrics.vocabulary import ABORTED, OK


@pytest.mark.parametrize(
    "text, name, bound",
    [
        ("ttft.p95 < 500ms", "ttft.p95", 0.5),
        ("e2e.p99<2s", "e2e.p99", 2.0),
        ("  E2E.P99  <=  1.5 s ", "e2e.p99", 1.5),
        ("ttfo.p99.9 < 3s", "ttfo.p99_9", 3.0),
        ("itl.max < 200ms", "itl.max", 0.2),
        ("tpot.median < 50ms", "tpot.p50", 0.05),
        ("connect.mean < 5 ms", "connect.mean", 0.005),
        ("errors < 1%", "errors", 0.01),
        ("errors <= 0.01", "errors", 0.01),
        ("goodput > 20/s", "goodput", 20.0),
        ("throughput >= 20", "throughput", 20.0),
        ("tokens > 1e3/s", "output_tokens_per_s", 1000.0),
        ("ttft.p95 < 500ms ~ 1s", "ttft.p95", 1.0),
        ("goodput > 20/s ~ 15/s", "goodput", 15.0),
        ("GPU.utilisation < 85% ~ 95%", "gpu.utilisation", 0.95),
        ("vllm:kv_cache_usage_perc.p95 < 0.9", "vllm:kv_cache_usage_perc.p95", 0.9),
        ("server.queue.depth.p99.9 < 10", "server.queue.depth.p99_9", 10.0),
    ],
)
def test_thresholds_are_read_in_the_forms_that_users_write(text, name, bound):
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
        "ttft.p95 < 1s ~ 500ms",
        "goodput > 15/s ~ 20/s",
        "ttft.p95 < 500ms ~ 1",
        "ttft.p95 < 500ms ~",
        "tokens.p95 > 5",
        "gpu.utilisation < 5ms",
        "utilisation < 95%",
        "<script>",
    ],
)
def test_an_invalid_threshold_gives_a_one_line_error_with_an_example(text):
    with pytest.raises(ValueError) as raised:
        Threshold.parse(text)
    error_text = str(raised.value)
    assert "\n" not in error_text
    assert "'" in error_text
    assert any(sign in error_text for sign in "<>")


def test_examples_in_messages_are_right():
    for text in ("ttft < 1ms", "errors < 5", "goodput > 5ms", "nonsense"):
        with pytest.raises(ValueError) as raised:
            Threshold.parse(text)
        examples = [
            part for part in str(raised.value).split("'")[1::2] if (part != text and "." in part) or "< 1%" in part
        ]
        for example in examples:
            Threshold.parse(example)


threshold_texts = st.builds(
    lambda quantity, comparison, limits: (
        f"{quantity[0]} {comparison} " + " ~ ".join(f"{limit}{quantity[1]}" for limit in in_tiers(comparison, limits))
    ),
    st.one_of(
        st.tuples(
            st.tuples(st.sampled_from(DURATIONS), st.sampled_from(STATISTICS)).map(".".join),
            st.sampled_from(["ms", "s"]),
        ),
        st.tuples(st.sampled_from(RATES), st.sampled_from(["", "/s"])),
        st.just(("errors", "%")),
        st.tuples(st.sampled_from(["my.metric", "vllm:waiting.max"]), st.sampled_from(["", "%"])),
        st.sampled_from(
            [
                ("kv.usage", "%"),
                ("gpu.utilisation.max", "%"),
                ("waiting", ""),
                ("preemptions", "/s"),
                ("server.queue", "ms"),
            ]
        ),
    ),
    st.sampled_from(["<", "<=", ">", ">="]),
    st.lists(st.floats(0, 1e12, allow_nan=False), min_size=1, max_size=2),
)


def in_tiers(comparison, limits):
    """Return the limits as text, the stricter one first."""
    return [repr(limit) for limit in sorted(limits, reverse=comparison.startswith(">"))]


@given(threshold_texts)
def test_the_text_of_a_threshold_is_read_as_the_same_threshold(text):
    threshold = Threshold.parse(text)
    assert Threshold.parse(str(threshold)) == threshold


def level(**properties):
    return LevelFigures(0, 10.0, requests=100, ok=100, throughput=5.0, **properties)


def test_a_threshold_is_met_violated_or_not_known():
    ttft = {"ttft": Summary(100, 0.3, 1.0, {"p95": 0.4})}
    assert Threshold.parse("ttft.p95 < 500ms").is_met(level(metrics=ttft)) is True
    assert Threshold.parse("ttft.p95 < 400ms").is_met(level(metrics=ttft)) is False
    assert Threshold.parse("ttft.p95 <= 400ms").is_met(level(metrics=ttft)) is True
    assert Threshold.parse("e2e.p95 < 400ms").is_met(level(metrics=ttft)) is None
    assert Threshold.parse("throughput > 4").is_met(level()) is True
    assert Threshold.parse("goodput > 4").is_met(level()) is None
    assert Threshold.parse("goodput > 4").is_met(level(), 3.0) is False


def test_failed_requests_count_as_infinitely_slow():
    quick = {"ttft": Summary(90, 0.1, 0.1, {"p50": 0.1, "p95": 0.1}, {}, {"p50": 0.1, "p95": math.inf})}
    figures = LevelFigures(0, 10.0, requests=100, ok=90, metrics=quick)
    assert Threshold.parse("ttft.p95 < 500ms").is_met(figures) is False
    assert Threshold.parse("ttft.p50 < 500ms").is_met(figures) is True


def test_a_level_without_success_meets_no_threshold_of_latency():
    figures = LevelFigures(0, 10.0, requests=5, ok=0)
    assert Threshold.parse("e2e.mean < 500ms").is_met(figures) is False
    assert Threshold.parse("tpot.p50 < 500ms").is_met(figures) is None


def test_a_request_is_good_if_it_meets_every_threshold_of_latency():
    limits = [Threshold.parse(text) for text in ("ttft.p95 < 500ms", "itl.max < 200ms", "itl.p99 < 1ms", "errors < 1%")]
    assert is_good({"ttft": 0.4, "itl_max": 0.1}, limits)
    assert is_good({"ttft": 0.4}, limits)
    assert not is_good({"ttft": 0.6}, limits)
    assert not is_good({"ttft": 0.4, "itl_max": 0.3}, limits)


# -- tiers


TTFT = Threshold.parse("ttft.p95 < 500ms ~ 1s")


@pytest.mark.parametrize("seconds, met", [(0.4, "gold"), (0.5, "tolerated"), (0.9, "tolerated"), (1.0, "fails")])
def test_a_level_meets_a_tier(seconds, met):
    figures = level(metrics={"ttft": Summary(100, seconds, seconds, {"p95": seconds})})
    assert tier([TTFT], figures) == met
    assert TTFT.is_met(figures) is (met != "fails")  # the tolerated limit is the threshold's own


def test_the_worst_threshold_decides_the_tier():
    figures = level(metrics={"ttft": Summary(100, 0.4, 0.4, {"p95": 0.4})})
    assert tier([TTFT, Threshold.parse("throughput > 4/s")], figures) == "gold"
    assert tier([TTFT, Threshold.parse("throughput > 6/s ~ 4/s")], figures) == "tolerated"
    assert tier([TTFT, Threshold.parse("throughput > 6/s")], figures) == "fails"
    assert tier([TTFT, Threshold.parse("e2e.p95 < 1s")], figures) == "not known"
    assert tier([], figures) == "not known"


def test_gold_limits_are_thresholds():
    assert [str(threshold) for threshold in golds([TTFT, Threshold.parse("errors < 1%")])] == [
        "ttft.p95 < 500ms",
        "errors < 1%",
    ]


def test_telemetry_is_judged_by_its_worst_series():
    cards = (TelemetrySummary(9, 0.5, max=0.6, p95=0.55), TelemetrySummary(9, 0.9, max=0.99, p95=0.97))
    figures = level(telemetry={"gpu.utilisation": cards})
    assert tier([Threshold.parse("gpu.utilisation < 85% ~ 95%")], figures) == "tolerated"
    assert tier([Threshold.parse("gpu.utilisation.p95 < 85% ~ 95%")], figures) == "fails"
    assert tier([Threshold.parse("gpu.utilisation.max > 50%")], figures) == "gold"
    assert tier([Threshold.parse("gpu.memory < 95%")], figures) == "not known"


@pytest.mark.parametrize(
    ("text", "example"),
    [
        ("kv.usage < 95", "kv.usage < 95%"),
        ("cpu < 80ms", "cpu < 95%"),
        ("waiting < 10%", "waiting < 10"),
        ("server.queue.p95 < 3", "server.queue.p95 < 500ms"),
        ("preemptions < 1%", "preemptions < 10/s"),
    ],
)
def test_a_threshold_on_telemetry_has_the_unit_of_its_metric(text, example):
    with pytest.raises(ValueError, match="the unit does not fit; write it like") as problem:
        Threshold.parse(text)
    assert example in str(problem.value)


def test_toml_has_the_same_names():
    text = """
    errors = "< 1%"
    ttft.p95 = "< 500ms ~ 1s"
    [gpu]
    utilisation = "< 85% ~ 95%"
    """
    expected = ["errors < 1%", "ttft.p95 < 500ms ~ 1s", "gpu.utilisation < 85% ~ 95%"]
    assert [str(threshold) for threshold in parse_toml(text)] == expected


@pytest.mark.parametrize("text", ["", "ttft.p95 = 500", "ttft.p95 <", 'speed = "> 5"', 'ttft = "< 500ms"', "[ttft]"])
def test_toml_without_thresholds_gives_a_one_line_error(text):
    with pytest.raises(ValueError) as raised:
        parse_toml(text)
    error_text = str(raised.value)
    assert "\n" not in error_text
    assert "<" in error_text


# -- gates


@pytest.mark.parametrize(
    ("text", "at", "normalised"),
    [
        ("ttft.p95 < 1s", None, "ttft.p95 < 1s"),
        ("ttft.p95 < 1s @ 100", 100.0, "ttft.p95 < 1s @ 100"),
        ("ttft.p95 < 500ms ~ 1s@100 users", 100.0, "ttft.p95 < 500ms ~ 1s @ 100"),
        (" errors<1% @ 2.5/s ", 2.5, "errors < 1% @ 2.5"),
    ],
)
def test_a_gate_may_name_the_load_of_its_levels(text, at, normalised):
    gate = Gate.parse(text)
    assert (gate.at, str(gate)) == (at, normalised)
    assert Gate.parse(str(gate)) == gate


@pytest.mark.parametrize(
    "text", ["ttft.p95 < 1s @", "ttft.p95 < 1s @ many", "ttft.p95 < 1s @ 0", "e2e.p95 < 1s @ 1 @ 2"]
)
def test_an_invalid_load_gives_a_one_line_error(text):
    with pytest.raises(
        ValueError, match=r"cannot read the load after @ in .*; write .*'ttft.p95 < 500ms @ 100'"
    ) as info:
        Gate.parse(text)
    assert "\n" not in str(info.value)


def test_a_threshold_of_all_levels_takes_no_load():
    with pytest.raises(ValueError, match="can apply to one level \\(@\\)"):
        Threshold.parse("ttft.p95 < 1s @ 100")


def test_gates_are_separated_by_commas():
    assert [str(gate) for gate in parse_gates("ttft.p95 < 1s @ 5, errors < 1%,")] == [
        "ttft.p95 < 1s @ 5",
        "errors < 1%",
    ]
    assert parse_gates("") == []


def test_toml_has_gates_too():
    (gate,) = parse_toml('ttft.p95 = "< 500ms ~ 1s @ 40"', Gate.parse)
    assert str(gate) == "ttft.p95 < 500ms ~ 1s @ 40"


@pytest.mark.parametrize(
    ("text", "counts"),
    [("ttft.p95 < 1s", (5, 13)), ("tpot.p95 < 1s", (2, 10)), ("errors < 1%", (3, 13))],
)
def test_requests_beyond_a_threshold_are_counted(text, counts):
    tally = Tally()
    tally.outcomes.update({OK: 10, "http_503": 3, ABORTED: 4, "client_limit": 5})
    for metric in ("ttft", "tpot"):
        tally.histogram(metric).extend([0.5] * 8 + [2.0] * 2)
    assert Threshold.parse(text).beyond(tally) == counts


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("ttft.p95 < 1s", 0.05),
        ("errors < 1%", 0.01),
        ("ttft.p50 > 1s", None),
        ("e2e.max < 1s", None),
        ("goodput > 1", None),
    ],
)
def test_the_allowed_share_of_requests_beyond_a_threshold(text, share):
    threshold = Threshold.parse(text)
    assert threshold.allowed == (None if share is None else pytest.approx(share))
