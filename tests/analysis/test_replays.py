"""The verdict of a replayed trace has no results that need a ramp."""

import pytest

from llmlocust.analysis.breakpoints.verdict import find
from llmlocust.analysis.checks.check import Check
from llmlocust.analysis.phases.replay_windows import FEW_ERRORS, checks_of, of_windows
from llmlocust.metrics.levels import LevelFigures, Summary
from llmlocust.metrics.thresholds import Threshold

LIMITS = [Threshold.parse("ttft.p95 < 1s"), Threshold.parse("errors < 1%")]


def window(number, rate, p95, failed=0):
    requests = int(rate * 10)
    ttft = Summary(requests, p95, p95, {"p95": p95}, {"p95": (0.9 * p95, 1.1 * p95)}, {"p95": p95})
    return LevelFigures(
        number, rate, unit="rate", window=10.0, requests=requests, ok=requests - failed, throughput=rate,
        error_kinds={"http_503": failed} if failed else {}, metrics={"ttft": ttft},
    )  # fmt: skip


def verdict(levels, limits):
    return of_windows(find(levels, limits or [FEW_ERRORS]), levels, limits, {})


CALM = [window(0, 10.0, 0.2), window(1, 30.0, 0.4), window(2, 20.0, 0.9)]
BUSY = [window(0, 30.0, 0.2), window(1, 10.0, 2.0), window(2, 20.0, 3.0, failed=20), window(3, 0.0, 0.1)]


@pytest.mark.parametrize(
    "levels, limits, words",
    [
        (CALM, LIMITS, "The replayed trace met its thresholds in all 3 windows: ttft.p95 < 1s and errors < 1%."),
        (CALM, [], "The replayed trace met its thresholds in all 3 windows: errors < 1%."),
        (BUSY, LIMITS, "The replayed trace violated its thresholds in 2 of 3 windows: ttft.p95 < 1s in 2 and errors < 1% in 1."),
        (CALM, [Threshold.parse("itl.p99 < 1s")], "Whether the replayed trace met its thresholds cannot be determined: no window has figures for them."),
    ],
)  # fmt: skip
def test_windows_that_meet_the_thresholds_are_counted(levels, limits, words):
    assert verdict(levels, limits).windows == words


@pytest.mark.parametrize("levels", [CALM, BUSY])
@pytest.mark.parametrize("limits", [LIMITS, []])
def test_none_of_the_four_numbers_is_determined(levels, limits):
    replayed = verdict(levels, limits)
    assert not any(finding.reached for finding in replayed.numbers().values())
    assert {finding.why.partition(":")[0] for finding in replayed.numbers().values()} == {"cannot be determined"}
    assert replayed.cliffs == ()
    assert find(BUSY, LIMITS).slo_limit.reached, "a ramp would have an SLO limit"


def test_checks_that_do_not_apply_to_traces_are_left_out():
    all_checks = [Check(name, False, 1, 1, "") for name in ("warm_up", "drift", "answer_length", "client_cpu")]
    assert [check.key for check in checks_of(all_checks)] == ["client_cpu"]
