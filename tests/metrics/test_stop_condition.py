"""Stop conditions: their notation, and the share of errors."""

import pytest

from llmlocust.metrics.seconds import Seconds
from llmlocust.metrics.stop_condition import StopCondition


@pytest.mark.parametrize(
    ("text", "metric", "bound", "seconds"),
    [
        ("errors > 90% for 30s", "errors", 0.9, 30.0),
        ("errors>50%", "errors", 0.5, 10.0),
        ("waiting > 500 for 1m", "waiting", 500.0, 60.0),
        ("cpu > 95% for 1.5s", "cpu", 0.95, 1.5),
        ("running < 1 for 20 s", "running", 1.0, 20.0),
    ],
)
def test_conditions_are_read(text, metric, bound, seconds):
    condition = StopCondition.parse(text)
    assert (condition.threshold.metric, condition.threshold.bound, condition.seconds) == (
        metric,
        pytest.approx(bound),
        seconds,
    )


@pytest.mark.parametrize("text", ["", "errors", "errors >= 5%", "ttft.p95 > 1s", "errors < 5%", "errors > 5% for 0s"])
def test_nonsense_is_one_line(text):
    with pytest.raises(ValueError, match=r"'errors > 90% for 30s'|threshold") as error:
        StopCondition.parse(text)
    assert "\n" not in str(error.value)


def seconds_of(failed, ended=10):
    seconds = Seconds()
    for second, number in enumerate(failed):
        seconds.merge(second, {"ended": ended, "failed": number})
    return seconds


@pytest.mark.parametrize(
    ("failed", "until", "is_met"),
    [
        ([10] * 5, 5, True),
        ([10] * 4, 4, False),  # not yet five seconds
        ([0, 10, 10, 10, 10, 10], 6, True),
        ([9] * 5, 5, False),  # as many as allowed
        ([10, 10, 10, 10, 10, 0, 0], 7, False),
        ([10, 10, 10, 10, 10, 0, 0], 5, True),
    ],
)
def test_the_share_of_errors_counts_in_the_last_seconds(failed, until, is_met):
    condition = StopCondition.parse("errors > 90% for 5s")
    assert condition.too_many_errors(seconds_of(failed), until) is is_met


def test_without_an_ended_request_no_share_is_known():
    assert not StopCondition.parse("errors > 90% for 5s").too_many_errors(seconds_of([0] * 9, ended=0), 9)
