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
def levels(draw, *, most=6, unit=None):
    """Levels of a run in which loads come again, and errors may fall while the load grows."""
    unit = unit or draw(st.sampled_from((USERS, RATE)))
    made = []
    for index in range(draw(st.integers(1, most))):
        ok = draw(st.integers(0, 4) | st.integers(0, 400))
        failed = draw(st.integers(0, 400)) if draw(st.booleans()) else 0
        middle = draw(st.floats(0.01, 3.0))
        histogram = Histogram()
        histogram.extend(middle * (1.0 + (n * 7 % 10) / 10.0) for n in range(ok))
        summary = Summary.of(histogram, failed)
        made.append(
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
    return made


def test_errors_that_fall_while_the_load_grows_do_not_push_the_interval_off_its_value():
    counted = [(10, 61, 100), (20, 400, 1000)]
    steps = [Step(load, (_level(n, load, bad, all_),)) for n, (load, bad, all_) in enumerate(counted)]

    low, high = share_range(steps, 0)

    assert low < 0.61 < high


def test_of_levels_of_one_load_value_and_interval_are_of_the_same():
    twice = [_level(0, 20.0, 610, 1000), _level(1, 20.0, 300, 1000)]

    (case,) = judge(twice, [Gate.parse("errors < 50%")], [], lambda _: {}).cases

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
    for place, step in enumerate(steps):
        if step.requests:
            low, high = share_range(steps, place)
            assert low <= step.errors <= high


@settings(max_examples=60)
@given(levels())
def test_a_gate(run):
    for case in judge(run, [Gate.parse(each) for each in GATES], [], lambda _: {}).cases:
        if not math.isnan(case.low):
            assert case.low <= case.value <= case.high, str(case)


@settings(max_examples=60)
@given(levels(), st.sampled_from(GATES))
def test_what_fails_does_not_surely_hold(run, text):
    threshold, steps = Threshold.parse(text), steps_of(run)
    judge_ = Judge(steps, [threshold], {}, {})
    for step in steps:
        holds, fails = judge_.certainty(threshold, step)
        assert not (holds and judge_.fails(threshold, step))
        assert not (fails and not judge_.fails(threshold, step))


def test_no_load_is_below_zero():
    few = [_level(0, 1.0, 0, 1), _level(1, 20.0, 3, 25)]

    found = find(few, [Threshold.parse("ttft.p95 < 1s")]).collapse

    assert found.reached
    assert found.low == 0.0


@settings(max_examples=60)
@given(levels(most=8), st.sampled_from(GATES))
def test_each_of_the_four_numbers(run, text):
    for finding in find(run, [Threshold.parse(text)]).numbers().values():
        ends = [each for each in (finding.low, finding.load, finding.high) if each is not None]
        assert ends == sorted(ends), f"{range_of(finding)}: {finding}"
        assert all(each >= 0.0 for each in ends)


@given(levels(most=1))
def test_the_figures_of_one_level(run):
    (level,) = run
    summary = level.metric("ttft")
    for statistic, (low, high) in summary.intervals.items():
        assert low <= summary[statistic] <= high
        assert one_level._moved(summary[statistic], low, -1.0) <= summary[statistic]
        assert one_level._moved(summary[statistic], high, 1.0) >= summary[statistic]


@given(levels(most=4))
def test_a_change_of_quality(run):
    for change in changes(run):
        before, after = (getattr(each, change.kind) for each in (change.before, change.after))
        assert change.low <= after - before <= change.high


@given(
    st.lists(st.floats(0.01, 1.0), min_size=20, max_size=60), st.lists(st.floats(0.01, 3.0), min_size=10, max_size=60)
)
def test_a_recovery(before, after):
    found = recovery(("spike", 100.0, USERS), "ttft", before, [(n / 4, each) for n, each in enumerate(after)], 60.0)
    if found.seconds is not None:
        assert found.low <= found.seconds <= found.high
