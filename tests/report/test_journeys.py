import math

import pytest
from made_run import MadeRun

from llmlocust.analysis.breakpoints.verdict import find
from llmlocust.metrics.thresholds import Threshold
from llmlocust.report.sections.journeys import journeys, selected_levels
from llmlocust.runfiles.reading.locate import load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return load_run(MadeRun((5, 10, 20, 40, 60, 90), 24, hold=30.0).write(tmp_path_factory.mktemp("run") / "demo"))


@pytest.fixture(scope="module")
def verdict(run):
    return find(run.levels, [Threshold.parse("ttft.p95 < 1s"), Threshold.parse("errors < 1%")])


def test_a_calm_level_the_one_at_the_limit_and_one_beyond_are_told(run, verdict):
    loads = {where: level.load for level, where in selected_levels(run.levels, verdict)}
    assert loads == {"calm": 10, "at the limit": 20, "beyond the limit": verdict.collapse.level_bad}


def test_where_nothing_broke_the_lowest_the_middle_and_the_highest_are_told(run):
    easy = find(run.levels[:3], [Threshold.parse("e2e.p95 < 1000s")])
    assert [(level.load, where) for level, where in selected_levels(run.levels[:3], easy)] == [
        (5, "the lowest level"),
        (10, "in the middle"),
        (20, "the highest level"),
    ]


def test_the_requests_are_real_ones_at_the_levels_percentiles(run, verdict):
    rows = run.requests
    for scene in journeys(rows, run.levels, verdict):
        level = next(each for each in run.levels if each.load == scene.load)
        shown = {each.kind: each for each in scene.journeys}
        good = rows[(rows["level"] == level.level) & (rows["measured"] == 1) & (rows["outcome"] == "ok")]
        typical = dict(shown["typical"].steps)
        # 0.8 %: the level's percentiles come from buckets; a step before it may be left out
        assert sum(typical.values()) == pytest.approx(level.metric("e2e")["p50"], rel=0.02)
        assert (abs(good["ttft"] / 1000 - typical["first"]) < 1e-9).any()
        assert shown["slow"].seconds > shown["typical"].seconds
        assert ("failed" in shown) == (level.failed > 0)


def test_a_failed_request_says_what_became_of_it_and_what_it_was_told(run, verdict):
    beyond = journeys(run.requests, run.levels, verdict)[-1]
    failed = beyond.journeys[-1]
    assert failed.kind == "failed"
    assert failed.steps[-1][0] == "failed"
    level = next(each for each in run.levels if each.load == beyond.load)
    kind = max(level.error_kinds, key=level.error_kinds.get)
    assert failed.error in set(run.requests.loc[run.requests["outcome"] == kind, "error"])


def test_no_rows_no_journeys(run, verdict):
    assert journeys(None, run.levels, verdict) == []
    assert journeys(run.requests.iloc[:0], run.levels, verdict) == []
    bare = run.requests.assign(e2e=math.nan, duration=math.nan)
    assert journeys(bare, run.levels, verdict) == []
