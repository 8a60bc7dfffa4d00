"""The time to recover, from requests whose recovery is known."""

import math
import random

import pytest

from llmlocust.analysis.phases.recovery import recovery

SURGE = ("surge", 50.0, "users")
WITHIN = 120.0


def requests(seed, slow_until, *, count=600, fast=0.1, slow=2.0, failing=0.0):
    """Return requests of two minutes as (sent, seconds): slow ones up to a moment; a share of the others fails."""
    generator = random.Random(seed)
    sent = sorted(generator.uniform(0.0, WITHIN) for _ in range(count))
    return [
        (
            at,
            math.inf
            if at >= slow_until and generator.random() < failing
            else _seconds(generator, at < slow_until, fast, slow),
        )
        for at in sent
    ]


def _seconds(generator, is_slow, fast, slow):
    return (slow if is_slow else fast) * generator.lognormvariate(0.0, 0.3)


def before(seed=1, count=200):
    return [seconds for _, seconds in requests(seed, 0.0, count=count)]


def recovery_after(after, baseline=None, metric="ttft"):
    return recovery(SURGE, metric, before() if baseline is None else baseline, after, WITHIN)


@pytest.mark.parametrize("until", [3.0, 20.0, 80.0])
def test_the_moment_is_found_from_which_requests_are_as_before(until):
    inside = 0
    for seed in range(40):
        result = recovery_after(requests(seed, until))
        assert result.seconds == pytest.approx(until, abs=3.0)
        assert result.low <= result.seconds <= result.high
        inside += result.low <= until <= result.high
    assert inside >= 34  # 95 % of 40, less chance


def test_recovery_is_when_a_shrinking_queue_is_empty():
    generator = random.Random(7)
    after = [(at / 5.0, 0.1 * generator.lognormvariate(0.0, 0.3) + max(0.0, 3.0 - at / 50.0)) for at in range(600)]
    assert recovery_after(after).seconds == pytest.approx(30.0, abs=2.0)


def test_recovery_is_immediate_without_a_queue():
    seconds = [recovery_after(requests(seed, 0.0)).seconds for seed in range(100, 140)]
    assert seconds.count(0.0) >= 38
    result = recovery_after(requests(100, 0.0))
    assert "Recovered immediately after the surge of 50 users" in str(result)
    # the moment before the first request is not known
    assert (result.low, result.high) == (0.0, requests(100, 0.0)[0][0])


@pytest.mark.parametrize("how", [{"slow_until": 500.0}, {"slow_until": 10.0, "failing": 0.3}])
def test_a_slow_end_means_no_recovery_within_the_time(how):
    result = recovery_after(requests(3, **how))
    assert result.is_known
    assert result.seconds is None
    assert result.slow > 0.2
    assert str(result).startswith("Not recovered within 120 s after the surge of 50 users: ")


def test_single_slow_requests_do_not_delay_the_recovery():
    generator = random.Random(5)
    after = [(at, 2.0 if at > 5.0 and generator.random() < 0.1 else seconds) for at, seconds in requests(5, 5.0)]
    result = recovery_after(after)
    assert result.seconds == pytest.approx(5.0, abs=1.0)
    assert 0.05 < result.slow < 0.15


def test_recovery_from_too_few_requests_is_not_known():
    few = requests(1, 30.0, count=8)
    for result in (
        recovery_after(few),
        recovery_after(requests(1, 30.0), before(count=19)),
        recovery_after(requests(1, 30.0), [math.inf] * 100),
    ):
        assert not result.is_known
        assert result.seconds is None
        assert "cannot be determined" in str(result)
