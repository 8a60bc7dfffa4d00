"""Every interval contains the value beside which it is shown."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from llmlocust.analysis.breakpoints.slo import Judge
from llmlocust.analysis.breakpoints.steps import Step, share_range, steps_of, wilson
from llmlocust.analysis.breakpoints.verdict import find
from llmlocust.analysis.gates import judge
from llmlocust.analysis.phases.recovery import recovery
from llmlocust.analysis.quality import changes
from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.levels import RATE, USERS, LevelFigures, Summary
from llmlocust.metrics.thresholds import Gate, Threshold
from llmlocust.report.sections import one_level
from llmlocust.report.sections.four_numbers import range_of

GATES = (
    "errors < 5%",
    "ttft.p50 < 1s",
    "ttft.p95 < 1s",
    "e2e.p99 < 2s",
    "e2e.p50 > 100ms",
    "itl.p99 < 1s",
    "tpot.mean < 1s",
    "throughput > 5/s",
)


@st.composite
def levels(draw, *, max_levels=6, unit=None):
    """Draw levels of a run in which loads repeat, and errors may fall while the load grows."""
    unit = unit or draw(st.sampled_from((USERS, RATE)))
    run_levels = []
    for index in range(draw(st.integers(1, max_levels))):
        ok = draw(st.integers(0, 4) | st.integers(0, 400))
        failed = draw(st.integers(0, 400)) if draw(st.booleans()) else 0
        middle = draw(st.floats(0.01, 3.0))
        histogram = Histogram()
        histogram.extend(middle * (1.0 + (n * 7 % 10) / 10.0) for n in range(ok))
        summary = Summary.of(histogram, failed)
        run_levels.append(
            LevelFigures(
                index,
                draw(st.sampled_from((1.0, 5.0, 20.0, 80.0))),
                unit,
                window=30.0,
                requests=ok + failed,
                ok=ok,
                error_kinds={"http_503": failed} if failed else {},
                throughput=ok / 30.0,
                judged=ok,
                right=draw(st.floats(0.0, 1.0)),
                empty=draw(st.floats(0.0, 1.0)),
                metrics=dict.fromkeys(("ttft", "e2e", "itl", "tpot"), summary),
            )
        )
    return run_levels


def test_falling_errors_at_growing_load_keep_the_value_in_its_interval():
    rows = [(10, 61, 100), (20, 400, 1000)]
    steps = [Step(load, (_level(n, load, failed, requests),)) for n, (load, failed, requests) in enumerate(rows)]

    low, high = share_range(steps, 0)

    assert low < 0.61 < high


def test_value_and_interval_of_several_levels_of_one_load_are_of_the_same_level():
    same_load = [_level(0, 20.0, 610, 1000), _level(1, 20.0, 300, 1000)]

    (case,) = judge(same_load, [Gate.parse("errors < 50%")], [], lambda _: {}).cases

    assert case.value == 0.61
    assert case.low < 0.61 < case.high


def _level(index, load, failed, requests):
    return LevelFigures(
        index, load, window=30.0, requests=requests, ok=requests - failed, throughput=(requests - failed) / 30.0
    )


@given(st.integers(0, 5000), st.integers(1, 5000), st.floats(1.0, 4.0))
def test_a_share(count, more, z):
    low, high = wilson(count / (count + more), count + more, z)
    assert 0.0 <= low <= count / (count + more) <= high <= 1.0


@given(levels())
def test_a_share_of_errors(run):
    steps = steps_of(run)
    for position, step in enumerate(steps):
        if step.requests:
            low, high = share_range(steps, position)
            assert low <= step.errors <= high


@settings(max_examples=60)
@given(levels())
def test_a_gate(run):
    for case in judge(run, [Gate.parse(text) for text in GATES], [], lambda _: {}).cases:
        if not math.isnan(case.low):
            assert case.low <= case.value <= case.high, str(case)


@settings(max_examples=60)
@given(levels(), st.sampled_from(GATES))
def test_a_step_that_fails_is_not_certain_to_pass(run, text):
    threshold, steps = Threshold.parse(text), steps_of(run)
    judge_ = Judge(steps, [threshold], {}, {})
    for step in steps:
        passes, fails = judge_.certainty(threshold, step)
        assert not (passes and judge_.fails(threshold, step))
        assert not (fails and not judge_.fails(threshold, step))


def test_no_load_is_below_zero():
    levels = [_level(0, 1.0, 0, 1), _level(1, 20.0, 3, 25)]

    collapse = find(levels, [Threshold.parse("ttft.p95 < 1s")]).collapse

    assert collapse.reached
    assert collapse.low == 0.0


@settings(max_examples=60)
@given(levels(max_levels=8), st.sampled_from(GATES))
def test_each_of_the_four_numbers(run, text):
    for finding in find(run, [Threshold.parse(text)]).numbers().values():
        ends = [load for load in (finding.low, finding.load, finding.high) if load is not None]
        assert ends == sorted(ends), f"{range_of(finding)}: {finding}"
        assert all(load >= 0.0 for load in ends)


@given(levels(max_levels=1))
def test_the_figures_of_one_level(run):
    (level,) = run
    summary = level.metric("ttft")
    for statistic, (low, high) in summary.intervals.items():
        assert low <= summary[statistic] <= high
        assert one_level._moved(summary[statistic], low, -1.0) <= summary[statistic]
        assert one_level._moved(summary[statistic], high, 1.0) >= summary[statistic]


@given(levels(max_levels=4))
def test_a_change_of_quality(run):
    for change in changes(run):
        before, after = (getattr(level, change.kind) for level in (change.before, change.after))
        assert change.low <= after - before <= change.high


@given(
    st.lists(st.floats(0.01, 1.0), min_size=20, max_size=60), st.lists(st.floats(0.01, 3.0), min_size=10, max_size=60)
)
def test_a_recovery(before, after):
    result = recovery(("spike", 100.0, USERS), "ttft", before, [(n / 4, value) for n, value in enumerate(after)], 60.0)
    if result.seconds is not None:
        assert result.low <= result.seconds <= result.high
