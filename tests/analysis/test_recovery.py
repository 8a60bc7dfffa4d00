"""The time to be well again, on requests whose truth is known."""

import math
import random

import pytest

from llmlocust.analysis.phases.recovery import recovery

SURGE = ("surge", 50.0, "users")
WITHIN = 120.0


def requests(seed, slow_until, *, many=600, fast=0.1, slow=2.0, failing=0.0):
    """Requests of two minutes as (sent, seconds): slow ones up to a moment; of the others a share fails."""
    source = random.Random(seed)
    sent = sorted(source.uniform(0.0, WITHIN) for _ in range(many))
    return [
        (at, math.inf if at >= slow_until and source.random() < failing else _took(source, at < slow_until, fast, slow))
        for at in sent
    ]


def _took(source, is_slow, fast, slow):
    return (slow if is_slow else fast) * source.lognormvariate(0.0, 0.3)


def before(seed=1, many=200):
    return [seconds for _, seconds in requests(seed, 0.0, many=many)]


def found(after, usual=None, metric="ttft"):
    return recovery(SURGE, metric, before() if usual is None else usual, after, WITHIN)


@pytest.mark.parametrize("until", [3.0, 20.0, 80.0])
def test_the_moment_is_found_from_which_on_requests_are_as_before(until):
    inside = 0
    for seed in range(40):
        told = found(requests(seed, until))
        assert told.seconds == pytest.approx(until, abs=3.0)
        assert told.low <= told.seconds <= told.high
        inside += told.low <= until <= told.high
    assert inside >= 34  # 95 % of 40, less chance


def test_a_queue_that_shrinks_is_over_when_it_is_gone():
    source = random.Random(7)
    after = [(at / 5.0, 0.1 * source.lognormvariate(0.0, 0.3) + max(0.0, 3.0 - at / 50.0)) for at in range(600)]
    assert found(after).seconds == pytest.approx(30.0, abs=2.0)


def test_where_nothing_was_left_behind_it_is_well_at_once():
    well = [found(requests(seed, 0.0)).seconds for seed in range(100, 140)]
    assert well.count(0.0) >= 38
    told = found(requests(100, 0.0))
    assert "Recovered immediately after the surge of 50 users" in str(told)
    assert (told.low, told.high) == (0.0, requests(100, 0.0)[0][0])  # before the first request nobody knows


@pytest.mark.parametrize("how", [{"slow_until": 500.0}, {"slow_until": 10.0, "failing": 0.3}])
def test_what_is_not_well_at_the_end_is_not_well_within_the_time(how):
    told = found(requests(3, **how))
    assert told.is_known
    assert told.seconds is None
    assert told.slow > 0.2
    assert str(told).startswith("Not recovered within 120 s after the surge of 50 users: ")


def test_a_slow_request_now_and_then_does_not_put_it_off():
    source = random.Random(5)
    after = [(at, 2.0 if at > 5.0 and source.random() < 0.1 else seconds) for at, seconds in requests(5, 5.0)]
    told = found(after)
    assert told.seconds == pytest.approx(5.0, abs=1.0)
    assert 0.05 < told.slow < 0.15


def test_too_few_requests_tell_nothing():
    few = requests(1, 30.0, many=8)
    for told in (found(few), found(requests(1, 30.0), before(many=19)), found(requests(1, 30.0), [math.inf] * 100)):
        assert not told.is_known
        assert told.seconds is None
        assert "cannot be determined" in str(told)
