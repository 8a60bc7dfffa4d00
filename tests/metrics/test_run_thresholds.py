"""Gates on a whole run: their notation."""

import pytest

from llmlocust.metrics.run_metrics import RUN_METRICS
from llmlocust.metrics.thresholds import Gate, RunThreshold, Threshold, parse_gates, parse_toml, thresholds_of


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("recovery < 30s", 30.0),
        ("full_recovery<2m", 120.0),
        ("first_success <= 500 ms", 0.5),
        ("lost < 10", 10.0),
        ("cut_streams < 5", 5.0),
        ("lost_tokens < 1e3", 1000.0),
        ("slo_debt < 60s", 60.0),
        ("depth < 50%", 0.5),
        ("overshoot < 2x", 2.0),
        ("amplification < 3x", 3.0),
        ("impact > 5s", 5.0),
        ("metastable = no", 0.0),
        ("memory.slope < 1MB/1k requests", 1e6),
        ("memory.slope < 1 MiB / 1000 requests", 2.0**20),
        ("ttft.slope < 10ms/h", 0.01),
        ("files.slope < 1%/h", 0.01),
        ("Recovery[Rolling Restart] < 30S or unmeasured", 30.0),
    ],
)
def test_a_gate_on_a_run_is_read_and_written_again(text, bound):
    gate = Gate.parse(text)
    assert gate.is_of_run
    assert gate.threshold.bound == pytest.approx(bound)
    assert Gate.parse(str(gate)) == gate


@pytest.mark.parametrize("metric", RUN_METRICS.values(), ids=RUN_METRICS)
def test_the_example_of_each_metric_is_valid(metric):
    assert Gate.parse(metric.example).threshold.metric == metric.key


def test_a_gate_may_name_a_fault_and_accept_what_was_not_measured():
    threshold = Gate.parse("recovery[rolling  restart] < 30s or unmeasured").threshold
    assert (threshold.fault, threshold.or_unmeasured) == ("rolling restart", True)
    assert str(threshold) == "recovery[rolling restart] < 30s or unmeasured"
    assert threshold.name == "recovery[rolling restart]"


@pytest.mark.parametrize(
    ("text", "example"),
    [
        ("recovery > 30s", "recovery < 30s"),
        ("recovery < 30", "recovery < 30s"),
        ("recovery", "recovery < 30s"),
        ("recovery < 10s ~ 20s", "recovery < 30s"),
        ("recovery < 30s @ 10", "recovery[NAME] < 30s"),
        ("metastable < 3", "metastable = no"),
        ("metastable = yes", "metastable = no"),
        ("lost < 10s", "lost < 10"),
        ("lost < -1", "lost < 10"),
        ("depth < 0.5", "depth < 50%"),
        ("ttft.slope < 10ms", "ttft.slope < 10ms/h"),
        ("memory.slope < 1MB", "memory.slope < 1MB/1k requests"),
        ("memory.slope[restart] < 1MB/1k requests", "memory.slope < 1MB/1k requests"),
    ],
)
def test_nonsense_is_refused_in_one_line_with_an_example(text, example):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        Gate.parse(text)
    assert example in str(error.value)


def test_gates_on_a_run_judge_no_level():
    gates = parse_gates("recovery < 30s, ttft.p95 < 1s @ 20, memory.slope < 1MB/1k requests")
    assert [gate.is_of_run for gate in gates] == [True, False, True]
    assert [str(threshold) for threshold in thresholds_of(gates)] == ["ttft.p95 < 1s"]
    assert not gates[0].is_of(20.0)


def test_a_threshold_of_levels_cannot_name_a_fault():
    with pytest.raises(ValueError, match="only a gate"):
        Threshold.parse("recovery < 30s")


def test_gates_on_a_run_come_from_toml_too():
    text = 'lost = "< 10"\n"recovery[restart]" = "< 30s or unmeasured"\n[memory]\nslope = "< 1MB/1k requests"\n'
    gates = parse_toml(text, Gate.parse)
    assert [str(gate) for gate in gates] == [
        "lost < 10",
        "recovery[restart] < 30s or unmeasured",
        "memory.slope < 1MB/1k requests",
    ]
    assert all(isinstance(gate.threshold, RunThreshold) for gate in gates)
