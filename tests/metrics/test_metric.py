"""The table of metrics: a metric needs only an entry, and the documentation names every metric."""

import json
import re
import subprocess
import sys

import pytest

from llmlocust.metrics.metric import METRICS
from llmlocust.stream.record import Record
from tests.simulators import ROOT

DOCUMENTED = set(re.findall(r"`([^`]+)`", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("key", METRICS)
def test_the_documentation_names_every_metric(key):
    assert DOCUMENTED & {key, f"{key}_…"}


def test_every_value_has_one_source():
    for key, metric in METRICS.items():
        assert [metric.on_record, bool(metric.values), bool(metric.from_due), bool(metric.longest_of)].count(True) <= 1
        assert not metric.on_record or hasattr(Record(), key)
        assert not metric.values or getattr(Record(), metric.values) == []
        for other in (metric.from_due, metric.longest_of, metric.noise_of):
            assert not other or other in METRICS


def test_names_of_metrics_are_unique():
    for names in ([metric.name for metric in METRICS.values()], [metric.short for metric in METRICS.values()]):
        assert len(set(names)) == len(names)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Return the values in every view of a metric that has only an entry in the table and a field of the Record."""
    code = "import runpy, tests.metrics.toy_metric; runpy.run_module('tests.metrics.toy_run', run_name='__main__')"
    arguments = [sys.executable, "-c", code, str(tmp_path_factory.mktemp("toy"))]
    child = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=ROOT)
    assert not child.returncode, child.stderr
    return json.loads(child.stdout)


def test_a_new_metric_is_counted_and_written(toy):
    assert toy["tally"] == 600
    assert toy["requests"] == [
        "500.0",
        "505.0",
        "510.0",
        "515.0",
        "520.0",
        "2000.0",
        "2020.0",
        "2040.0",
        "2060.0",
        "2080.0",
    ]
    assert [float(cell) for cell in toy["levels"]] == pytest.approx([520.0, 2080.0], rel=0.01)
    assert toy["with_failures"] == toy["levels"]
    assert "toy" in toy["histograms"]


def test_a_threshold_may_name_a_new_metric(toy):
    assert toy["threshold"] == "toy.p95 < 1s"
    assert toy["meets"] == [True, False]
    assert toy["goodput"][0] > toy["goodput"][1] == 0.0
    assert toy["good"] == [600, 0]


def test_a_new_metric_is_in_the_report(toy):
    columns = {head: cells for group, head, cells in toy["table"] if group == "toy time"}
    assert columns == {"p50": ["510 ms", "2.04 s"], "p95": ["520 ms", "2.08 s"]}
    assert toy["one_level"] == ["TTFT", "ITL", "TPOT", "end to end", "toy time"]
    assert toy["json"] == pytest.approx([510.0, 2040.0], rel=0.01)


def test_a_new_metric_is_compared(toy):
    assert "p95 toy time" in toy["comparison"]
    assert "p50 toy time" in toy["runs"]


def test_a_new_metric_is_shown_during_the_run(toy):
    assert toy["live"] == pytest.approx([510.0, 2040.0], rel=0.01)
    assert {point for point in toy["points"] if point is not None}
    assert "llmlocust_time_to_toy_seconds_count{" in toy["prometheus"]
    assert "# HELP llmlocust_time_to_toy_seconds Time to the toy of successful requests" in toy["prometheus"]


def test_a_table_of_another_tool_may_have_a_new_metric(toy):
    assert toy["published"] == pytest.approx([0.5, 0.7])
