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


def test_journeys_are_of_a_calm_level_the_one_at_the_limit_and_one_beyond(run, verdict):
    loads = {where: level.load for level, where in selected_levels(run.levels, verdict)}
    assert loads == {"calm": 10, "at the limit": 20, "beyond the limit": verdict.collapse.level_bad}


def test_journeys_are_of_the_lowest_middle_and_highest_level_if_every_level_passed(run):
    easy = find(run.levels[:3], [Threshold.parse("e2e.p95 < 1000s")])
    assert [(level.load, where) for level, where in selected_levels(run.levels[:3], easy)] == [
        (5, "the lowest level"),
        (10, "in the middle"),
        (20, "the highest level"),
    ]


def test_the_requests_are_real_ones_at_the_levels_percentiles(run, verdict):
    rows = run.requests
    for scene in journeys(rows, run.levels, verdict):
        level = next(candidate for candidate in run.levels if candidate.load == scene.load)
        journey_of = {journey.kind: journey for journey in scene.journeys}
        successes = rows[(rows["level"] == level.level) & (rows["measured"] == 1) & (rows["outcome"] == "ok")]
        typical = dict(journey_of["typical"].steps)
        # the level's percentiles come from buckets, exact to 0.8 %; a step before the first token may be left out
        assert sum(typical.values()) == pytest.approx(level.metric("e2e")["p50"], rel=0.02)
        assert (abs(successes["ttft"] / 1000 - typical["first"]) < 1e-9).any()
        assert journey_of["slow"].seconds > journey_of["typical"].seconds
        assert ("failed" in journey_of) == (level.failed > 0)


def test_a_failed_request_has_its_outcome_and_error(run, verdict):
    beyond = journeys(run.requests, run.levels, verdict)[-1]
    failed = beyond.journeys[-1]
    assert failed.kind == "failed"
    assert failed.steps[-1][0] == "failed"
    level = next(candidate for candidate in run.levels if candidate.load == beyond.load)
    kind = max(level.error_kinds, key=level.error_kinds.get)
    assert failed.error in set(run.requests.loc[run.requests["outcome"] == kind, "error"])


def test_without_request_rows_there_are_no_journeys(run, verdict):
    assert journeys(None, run.levels, verdict) == []
    assert journeys(run.requests.iloc[:0], run.levels, verdict) == []
    bare = run.requests.assign(e2e=math.nan, duration=math.nan)
    assert journeys(bare, run.levels, verdict) == []
