"""The telemetry of a run, as its files contain it."""

import math

import pandas as pd
import pytest

from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.rows import TELEMETRY_LEVEL_COLUMNS
from llmlocust.metrics.thresholds import Threshold
from llmlocust.runfiles.reading.telemetry import events_of, sources_of, with_telemetry

LEVELS = [LevelFigures(0, 10.0), LevelFigures(1, 20.0)]


def row(level, source, metric, mean, labels="", **figures):
    cells = {"level": level, "source": source, "metric": metric, "labels": labels, "kind": "gauge", "mean": mean}
    return {**dict.fromkeys(TELEMETRY_LEVEL_COLUMNS, math.nan), **cells, **figures}


def test_a_key_of_the_vocabulary_has_the_summary_of_all_its_sources():
    frame = pd.DataFrame(
        [
            row(0, "a", "running", 3.0),
            row(0, "b", "running", 4.0),
            row(0, "", "running", 7.0, max=9.0, samples=5),
            row(1, "a", "running", 6.0),
            row(1, "a", "kv.usage", 0.5),
        ]
    )
    first, second = with_telemetry(LEVELS, frame)
    assert (first.reported("running").mean, first.reported("running").max) == (7.0, 9.0)
    assert first.reported("running").samples == 5
    assert first.reported("kv.usage") is None  # not exposed, which is not zero
    assert second.reported("running").mean == 6.0


def test_other_names_have_a_summary_per_series_and_thresholds_find_them():
    frame = pd.DataFrame(
        [
            row(0, "gpus", "Busy:share", 0.8, 'gpu="0"', max=0.85),
            row(0, "gpus", "Busy:share", 0.2, 'gpu="1"', max=0.3),
        ]
    )
    first, second = with_telemetry(LEVELS, frame)
    limit = Threshold.parse("busy:share.max < 82%")
    assert limit.measured(first) == 0.85
    assert limit.is_met(first) is False
    assert limit.is_met(second) is None


def test_bounds_of_a_percentile_may_be_open():
    frame = pd.DataFrame([row(0, "a", "server.queue", 0.5, p50_low=0.3, p50_high=0.5, p95_low=960.0)])
    summary = with_telemetry(LEVELS, frame)[0].reported("server.queue")
    assert summary.p50_bounds == (0.3, 0.5)
    assert summary.p95_bounds == (960.0, math.inf)


def test_bounds_of_an_increase_may_be_open():
    rows = [row(0, "a", "finished", 2.0, increase=60), row(1, "a", "finished", 2.0, increase=60)]
    frame = pd.DataFrame([rows[0] | {"increase_low": 50, "increase_high": 70}, rows[1] | {"increase_low": 60}])
    first, second = (level.reported("finished") for level in with_telemetry(LEVELS, frame))
    assert first.increase_bounds == (50, 70)
    assert second.increase_bounds == (60, math.inf)


def test_a_run_without_the_table_keeps_its_levels():
    assert with_telemetry(LEVELS, None) == LEVELS


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"telemetry": 3},
        {"telemetry": {"sources": 3, "events": "x"}},
        {"telemetry": {"sources": [3, None], "events": [None, {"time": "x", "kind": "restart"}, {"kind": "other"}]}},
    ],
)
def test_damaged_sources_and_events_do_no_harm(info):
    assert all(source.state == "failed" for source in sources_of(info))
    assert events_of(info) == []


def test_sources_and_events_are_read():
    source = {"name": "a", "url": "http://a/metrics", "engine": "vLLM 0.33.0", "state": "ok", "says": "9 answers"}
    events = [{"time": 20.0, "kind": "restart", "source": "a"}, {"time": 10.0, "kind": "silent", "seconds": 3}]
    info = {"telemetry": {"sources": [source | {"exposes": ["running", "nonsense"]}], "events": events}}
    (read,) = sources_of(info)
    assert (read.engine, read.state, read.exposes) == ("vLLM 0.33.0", "ok", ("running",))
    assert [event.kind for event in events_of(info)] == ["silent", "restart"]
