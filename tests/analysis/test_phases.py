"""The verdicts of phases, and the levels that the four numbers are read from."""

from dataclasses import replace

import pytest
from closed_queue import closed_queue, figures

from llmlocust.analysis.breakpoints.verdict import find
from llmlocust.analysis.phases.phases import climbs, of_the_ramp, phases_of, span, verdict_of
from llmlocust.analysis.phases.trend import Course
from llmlocust.metrics.thresholds import Threshold

LIMITS = [Threshold.parse("ttft.p95 < 1s")]
STILL = Course("ttft", 6.0, (0.1, 0.11, 0.1, 0.1, 0.11, 0.1))
DRIFTING = Course("ttft", 6.0, (0.1, 0.12, 0.14, 0.17, 0.2, 0.24))


def named(levels, *names):
    return [replace(level, level=at, phase=name) for at, (level, name) in enumerate(zip(levels, names, strict=True))]


def surged(after=0.1):
    levels = [figures(5, 5.0, 0.1, 1.0), figures(50, 20.0, 2.0, 2.5), figures(5, 5.0, after, 1.0)]
    return named(levels, "baseline", "surge", "recovery")


def test_a_run_without_a_plan_has_no_phases_and_all_its_levels_count():
    levels = closed_queue((1, 2, 4))
    assert phases_of(levels) == []
    assert of_the_ramp(levels) == levels
    assert climbs(levels)
    assert climbs([])


def test_neighbouring_levels_of_one_name_are_one_phase():
    levels = named(closed_queue((1, 2, 4, 8, 2)), "baseline", "linear", "linear", "surge", "recovery")
    assert [(phase.name, phase.loads) for phase in phases_of(levels)] == [
        ("baseline", (1, 1)),
        ("linear", (2, 4)),
        ("surge", (8, 8)),
        ("recovery", (2, 2)),
    ]
    linear = phases_of(levels)[1]
    assert linear.whole.requests == levels[1].requests + levels[2].requests
    assert linear.seconds == levels[1].window + levels[2].window
    assert linear.a_second({1: 2.0, 2: 4.0}) == pytest.approx(3.0)


def test_later_phases_do_not_change_the_verdict_of_the_ramp():
    way_up = closed_queue((1, 8, 32, 64, 128))
    odd = [figures(128, 1.0, 9.0, 9.0), figures(8, 1.0, 9.0, 9.0), figures(32, 1.0, 9.0, 9.0)]
    levels = named([*way_up, *odd], *["baseline"] + ["linear"] * 4, "surge", "recovery", "soak")
    way_up_alone, ramp = find(way_up, LIMITS), find(of_the_ramp(levels), LIMITS)
    assert climbs(levels)
    assert {name: (finding.load, finding.why) for name, finding in ramp.numbers().items()} == {
        name: (finding.load, finding.why) for name, finding in way_up_alone.numbers().items()
    }


def test_a_surge_has_no_ramp_to_read_the_four_numbers_from():
    levels = surged()
    assert not climbs(levels)
    assert [level.phase for level in of_the_ramp(levels)] == ["baseline"]
    assert not find(of_the_ramp(levels), LIMITS).slo_limit.reached


def test_a_soak_without_other_phases_is_one_level():
    levels = named([figures(40, 20.0, 2.0, 3.0, window=3600.0)], "soak")
    assert not climbs(levels)
    assert of_the_ramp(levels) == levels


@pytest.mark.parametrize(
    "limits, sentence",
    [
        (LIMITS, "In the surge of 50 users: ttft.p95 < 1s not met."),
        ([Threshold.parse("ttft.p95 < 9s")], "In the surge of 50 users: every threshold was met."),
        ([Threshold.parse("itl.p95 < 9s")], "In the surge of 50 users: whether it met itl.p95 < 9s is not known."),
        ([], "In the surge of 50 users: 0 % of the requests failed; no thresholds were given (--threshold)."),
    ],
)
def test_the_verdict_of_a_surge(limits, sentence):
    baseline, surge, recovery = phases_of(surged())
    assert verdict_of(surge, limits, {}, ()) == [sentence]
    assert verdict_of(baseline, limits, {}, ()) == verdict_of(recovery, limits, {}, ()) == []


@pytest.mark.parametrize(
    "courses, sentence",
    [
        (
            [STILL],
            "From the beginning of the soak to its end TTFT went 100 → 100 ms: no certain change by more than a factor of 1.2.",
        ),
        ([DRIFTING], "From the beginning of the soak to its end TTFT went 100 → 240 ms: the soak was not stable."),
        ([], "Whether anything drifted in the soak cannot be determined: too few requests."),
    ],
)
def test_the_verdict_of_a_soak_reports_drift(courses, sentence):
    (soak,) = phases_of(named([figures(40, 20.0, 0.1, 1.0, window=3600.0)], "soak"))
    assert verdict_of(soak, LIMITS, {}, courses) == [
        "In the soak of 40 users for 60 min: every threshold was met.",
        sentence,
    ]


def test_a_long_time_is_in_minutes():
    assert [span(seconds) for seconds in (6.004, 119.0, 120.0, 3600.0)] == ["6 s", "119 s", "2 min", "60 min"]
