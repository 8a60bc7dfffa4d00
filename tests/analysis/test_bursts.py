"""The response to a surge: overshoot, time until it is steady, goodput kept, requests shed."""

import numpy as np
import pytest

from llmlocust.analysis.faults.requests import Requests
from llmlocust.analysis.phases.bursts import burst_of
from llmlocust.analysis.phases.phases import RunPhase
from llmlocust.metrics.levels import RATE, LevelFigures

EPOCH = 1_795_000_000.0


def level(index, phase, began, seconds, load, **more):
    times = {"began": EPOCH + began, "warmed_up": EPOCH + began, "ended": EPOCH + began + seconds}
    return LevelFigures(index, load, RATE, phase=phase, window=seconds, **times, **more)


def response(ttft, *, rate=20.0, goodput=(20.0, 10.0), seed=1, **more):
    """Return the response to a surge from 100 s to 200 s in which the TTFT is a function of the second of the surge."""
    random = np.random.default_rng(seed)
    due = np.arange(0.0, 200.0, 1.0 / rate)
    seconds = np.array([0.1 if at < 100.0 else ttft(at - 100.0) for at in due]) * random.lognormal(0.0, 0.1, len(due))
    requests = Requests.of(EPOCH + due, seconds + 0.3, ["ok"] * len(due), ttft=seconds)
    baseline = RunPhase("baseline", (level(0, "baseline", 0.0, 100.0, 10.0),))
    surge = RunPhase("surge", (level(1, "surge", 100.0, 100.0, 20.0, **more),))
    return burst_of(surge, baseline, requests, goodput)


@pytest.mark.parametrize("seed", range(10))
def test_a_surge_that_overshoots_and_is_steady_again(seed):
    burst = response(lambda at: 0.15 + 0.85 * max(0.0, 1.0 - at / 30.0), seed=seed)
    assert burst.overshoot == pytest.approx(9.5, rel=0.15)
    assert burst.steady_after == pytest.approx(28.0, abs=5.0)
    assert "rose to" in burst.says
    assert "it was steady after" in burst.says


@pytest.mark.parametrize("seed", range(10))
def test_a_surge_without_an_effect_is_steady_at_once(seed):
    burst = response(lambda at: 0.1, seed=seed)
    assert burst.overshoot < 1.5
    assert burst.steady_after in (0.0, 5.0)
    assert "stayed below 1.5 times that of the baseline" in burst.says


def test_a_queue_that_grows_until_the_end_is_not_steady():
    burst = response(lambda at: 0.1 + at / 10.0)
    assert (burst.steady_after, burst.is_steadiness_known) == (None, True)
    assert "it was not steady when the load ended" in burst.says


def test_what_was_kept_shed_and_dropped():
    burst = response(
        lambda at: 0.1, goodput=(9.0, 10.0), error_kinds={"http_429": 3, "http_503": 4, "reset": 5}, dropped=6
    )
    assert (burst.goodput_kept, burst.shed, burst.dropped) == (0.9, 7, 6)
    for text in ("goodput was 90 % of", "refused 7 requests", "6 due requests were not sent"):
        assert text in burst.says


def test_too_few_requests_show_nothing():
    burst = response(lambda at: 0.1, rate=0.1, goodput=(float("nan"), float("nan")))
    assert (burst.overshoot, burst.steady_after, burst.is_steadiness_known, burst.goodput_kept) == (
        None,
        None,
        False,
        None,
    )
    assert burst.says is None


def scaled_out(after, *, rate=20.0, before=15.0, later=40.0, seed=1):
    """Return the response of a service that scales out in a surge of 100 s.

    It answers `before` requests per second in the first `after` seconds of the surge, and `later` requests per second then.
    """
    random = np.random.default_rng(seed)
    base, due = np.arange(0.0, 100.0, 0.1), 100.0 + np.cumsum(random.exponential(1.0 / rate, int(rate * 100.0)))
    due = due[due < 200.0]
    ended, free = [], 100.0
    for at in due:
        free = max(at, free) + 1.0 / (before if max(at, free) < 100.0 + after else later)
        ended.append(free)
    spans = np.concatenate((np.full(len(base), 0.1), np.array(ended) - due))
    moments = EPOCH + np.concatenate((base, due))
    requests = Requests.of(moments, spans, ["ok"] * len(moments), ttft=spans)
    baseline = RunPhase("baseline", (level(0, "baseline", 0.0, 100.0, 10.0),))
    surge = RunPhase("surge", (level(1, "surge", 100.0, 100.0, rate),))
    return burst_of(surge, baseline, requests, (10.0, 10.0))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("after", [20.0, 40.0, 60.0])
def test_new_capacity_helps_from_the_peak_of_the_queue_on(after, seed):
    burst = scaled_out(after, seed=seed)
    assert burst.caught_up_after == pytest.approx(after, abs=5.0)
    assert "its queue grew for" in burst.says


@pytest.mark.parametrize("seed", range(10))
def test_without_new_capacity_nothing_helps(seed):
    assert scaled_out(1000.0, seed=seed).caught_up_after is None  # the queue grows until the end
    assert scaled_out(0.0, before=40.0, seed=seed).caught_up_after is None  # no queue
