"""The report of a fault, from requests whose recovery is known."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlocust.analysis.faults import noise
from llmlocust.analysis.faults.fault_json import fault_data
from llmlocust.analysis.faults.fault_report import Conditions, FaultReport, recoveries_of, recovery_of
from llmlocust.analysis.faults.noise import Noise, critical_count
from llmlocust.analysis.faults.recovery import RecoveryTime
from llmlocust.analysis.faults.repeats import range_of, recovery_range
from llmlocust.analysis.faults.requests import WRONG_SUCCESS, Requests
from llmlocust.metrics.fault_window import FaultWindow
from llmlocust.metrics.levels import USERS
from llmlocust.metrics.thresholds import Threshold
from tests.analysis.faulted import BEGAN, END, EPOCH, LIFTED, outage, report, requests, shares, window


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("seconds", [0.0, 5.0, 40.0])
def test_the_time_to_recover_counts_from_the_lift(seconds, slow):
    near, inside = 0, 0
    for seed in range(20):
        result = report(requests(seed, outage(LIFTED + seconds), slow=slow))
        near += result.recovery.seconds == pytest.approx(seconds, abs=1.0)
        inside += result.recovery.low <= seconds <= result.recovery.high
        assert result.metastable is False
        assert result.outage == pytest.approx(LIFTED - BEGAN + result.recovery.seconds)
    assert near == 20
    assert inside >= 17  # 95 % of 20, less chance


@pytest.mark.parametrize("rate", [3.0, 10.0, 100.0])
def test_single_bad_requests_of_the_baseline_do_not_delay_the_recovery(rate):
    for seed in range(10):
        rows = requests(seed, lambda at: 1.0 if BEGAN <= at < 130.0 else 0.03, rate=rate)
        assert report(rows).recovery.seconds == pytest.approx(10.0, abs=1.0 + 2.0 / rate)


def test_a_few_good_seconds_are_no_recovery():
    rows = requests(1, shares([(0.0, 0.0), (BEGAN, 1.0), (LIFTED, 0.0), (LIFTED + 5.0, 1.0), (LIFTED + 25.0, 0.0)]))
    result = report(rows)
    assert result.recovery.seconds == pytest.approx(25.0, abs=1.0)
    assert result.first_success == pytest.approx(0.4, abs=0.3)


def test_a_relapse_is_reported():
    rows = requests(1, shares([(0.0, 0.0), (BEGAN, 1.0), (LIFTED, 0.0), (LIFTED + 50.0, 0.8)]))
    result = report(rows)
    assert result.recovery.seconds == pytest.approx(0.0, abs=1.0)
    assert result.relapse == pytest.approx(45.0, abs=8.0)
    assert "Many requests failed again, or were slower than usual," in result.says
    assert result.metastable is None
    assert "bad again" in result.metastable_why
    assert report(requests(1, outage(LIFTED))).relapse is None


def test_a_service_that_stays_bad_is_censored():
    result = report(requests(1, outage(END)))
    assert result.recovery == RecoveryTime(None, pytest.approx(END - LIFTED, abs=1.0), None, censored=True)
    assert result.outage is None
    assert result.full_recovery.censored
    assert result.metastable is True
    assert result.says.startswith("Metastable: “down” was over")


def test_too_short_an_observation_is_censored_and_not_metastable():
    result = report(requests(1, outage(END)), end=LIFTED + 30.0)
    assert result.recovery.censored
    assert result.metastable is None
    assert "100 s are needed" in result.metastable_why
    assert result.says.startswith("Not recovered within 30 s after “down” was lifted.")


def test_nothing_is_known_if_the_load_ends_with_the_fault():
    result = report(requests(1, outage(LIFTED)), end=LIFTED + 5.0)
    assert (result.recovery.seconds, result.recovery.censored, result.metastable) == (None, False, None)
    assert "is not known" in result.says


@pytest.mark.parametrize(
    "missing", [{"confirmed_began": None}, {"confirmed_lifted": None}, {"lifted": None}, {"began": None}]
)
def test_a_fault_that_is_not_confirmed_has_no_verdict(missing):
    known = {"began": EPOCH + BEGAN, "lifted": EPOCH + LIFTED, "confirmed_began": 1.0, "confirmed_lifted": 1.0}
    fault = FaultWindow("down", "proxy", **{**known, **missing})
    result = report(requests(1, outage(LIFTED)), fault)
    assert result == FaultReport(fault, confirmed=False)
    assert "is void" in result.says


def test_a_fault_without_an_effect():
    for seed in range(10):
        result = report(requests(seed, lambda at: 0.02))
        assert (result.impact, result.slo_debt, result.depth) == (None, 0.0, 0.0)
        assert result.recovery.seconds == 0.0
        assert result.says.startswith("Users did not notice “down”.")


def test_streams_that_a_short_fault_cuts_are_lost_although_later_requests_are_as_usual():
    """A replica that is killed cuts its streams, and a balancer sends the next requests to others."""
    rows = requests(1, lambda at: 0.0)
    moment = EPOCH + BEGAN
    is_cut = (rows.due < moment) & (rows.ended > moment)
    assert is_cut.sum() >= 3
    cut = replace(
        rows,
        outcome=np.where(is_cut, "truncated", rows.outcome),
        ended=np.where(is_cut, moment + 0.01, rows.ended),
        is_cut=is_cut,
    )
    result = report(cut, window(lifted=BEGAN + 0.05))
    assert (result.impact, result.recovery.seconds) == (None, 0.0)
    assert result.detect == pytest.approx(0.01, abs=1e-3)
    assert (result.lost, result.cut_streams) == (is_cut.sum(), is_cut.sum())
    assert "“down” hit only requests that were under way" in result.says
    assert f"Lost requests: {is_cut.sum()}, cut off" in result.says


def test_impact_and_detection_count_from_the_injection():
    slow = report(requests(1, outage(LIFTED), slow=True))
    assert slow.impact == pytest.approx(0.0, abs=1.0)
    assert slow.detect is None  # slow answers are no errors
    late = report(requests(1, shares([(0.0, 0.0), (BEGAN + 8.0, 1.0), (LIFTED, 0.0)])))
    assert late.impact == pytest.approx(8.0, abs=1.0)
    assert late.detect == pytest.approx(8.0, abs=1.0)


def test_usual_errors_are_not_the_detection():
    for seed in range(10):
        rows = requests(seed, shares([(0.0, 0.02), (BEGAN + 5.0, 1.0), (LIFTED, 0.02)]))
        assert report(rows).detect == pytest.approx(5.0, abs=1.1)


def test_requests_that_wait_through_a_freeze_do_not_shorten_the_baseline():
    """A process is stopped for 30 s: all requests in flight, and those that arrive, are as long."""
    rows = requests(1, lambda at: 0.0, rate=8.0, end=240.0)
    moment, released = EPOCH + BEGAN, EPOCH + BEGAN + 30.0
    waits = (rows.due < released) & (rows.ended > moment)
    frozen = replace(rows, ended=np.where(waits, released + 0.1, rows.ended))
    frozen = replace(frozen, ttft=np.where(waits, released - rows.due, rows.ttft))
    result = report(frozen, window(lifted=BEGAN + 30.0), began=BEGAN - 12.0)
    assert result.baseline is not None
    assert result.baseline.ended == pytest.approx(moment, abs=1.0)
    assert result.impact == pytest.approx(0.0, abs=1.0)


def test_losses():
    rows = requests(1, outage(LIFTED))
    result = report(rows)
    is_lost = rows.outcome != "ok"
    assert result.lost == is_lost.sum()
    assert result.cut_streams == (rows.outcome == "truncated").sum()
    assert result.lost_tokens == 10.0 * result.cut_streams
    assert sum(result.error_mix.values()) == result.lost
    assert set(result.error_mix) == {"reset", "truncated"}


def test_a_request_that_was_under_way_at_the_injection_is_lost():
    rows = requests(1, lambda at: 0.0)
    killed = (rows.due > EPOCH + BEGAN - 0.3) & (rows.due < EPOCH + BEGAN)
    outcomes = np.where(killed, "reset", rows.outcome)
    rows = Requests.of(rows.due, np.where(killed, EPOCH + BEGAN - rows.due, 0.4), outcomes, ttft=rows.ttft)
    assert report(rows).lost == killed.sum() > 0


def test_debt_and_depth():
    result = report(requests(1, outage(LIFTED, share=0.5)))
    assert result.slo_debt == pytest.approx((0.95 - 0.5) * 20.0, rel=0.2)
    assert result.slo_debt_requests == pytest.approx(result.slo_debt * 20.0, rel=0.1)
    assert result.depth == pytest.approx(0.5, abs=0.2)
    assert report(requests(1, outage(LIFTED))).depth == 1.0


def test_overshoot_and_backlog():
    rows = requests(1, lambda at: 0.0)
    moments = rows.due - EPOCH
    # a queue of 4 s at the lift, which shrinks by 0.2 s a second
    waits = np.where((moments > BEGAN) & (moments < LIFTED), 4.0, np.maximum(0.0, 4.0 - 0.2 * (moments - LIFTED)))
    waits = np.where(moments < BEGAN, 0.0, waits)
    result = report(Requests.of(rows.due, waits + rows.e2e, rows.outcome, ttft=waits + rows.ttft))
    assert result.recovery.seconds == pytest.approx(20.0, abs=1.0)
    assert result.overshoot == pytest.approx(4.0 / result.baseline.p95, rel=0.1)
    assert result.backlog == pytest.approx(4.0 * 20.0, rel=0.25)
    assert result.drain == pytest.approx(19.0, abs=4.0)


def test_amplification_is_of_the_outage():
    rows = requests(1, outage(LIFTED), attempts=lambda at: 3.0 if BEGAN <= at < LIFTED else 1.0)
    assert report(rows).amplification == pytest.approx(3.0, abs=0.2)
    unknown = requests(1, outage(LIFTED), attempts=lambda at: math.nan)
    assert report(unknown).amplification is None


def test_full_recovery_waits_for_slow_tokens():
    rows = requests(3, outage(LIFTED))
    moments = rows.due - EPOCH
    tpot = np.where((moments >= LIFTED) & (moments < LIFTED + 30.0), 0.05, 0.02)
    result = report(Requests.of(rows.due, rows.ended - rows.due, rows.outcome, ttft=rows.ttft, tpot=tpot))
    assert result.recovery.seconds < 1.0
    # 60 s may contain 5 % of requests with slow tokens, and more by chance
    assert 24.0 < result.full_recovery.seconds <= 31.0
    assert report(rows).full_recovery.seconds == report(rows).recovery.seconds


def test_a_run_that_ends_early_has_no_full_recovery():
    result = report(requests(1, outage(LIFTED)), end=LIFTED + 40.0)
    assert result.recovery.seconds is not None
    assert result.full_recovery.censored


def test_thresholds_decide_which_requests_are_good():
    rows = requests(1, outage(LIFTED + 20.0), slow=True)
    frame = pd.DataFrame(
        {
            "sent": rows.due,
            "outcome": rows.outcome,
            "ttft": rows.ttft * 1000.0,
            "duration": (rows.ended - rows.due) * 1000.0,
            "finish": "stop",
            "chunks": 10,
            "output_tokens": 10,
        }
    )
    loose = report(Requests.of_frame(frame, [Threshold.parse("ttft.p95 < 10s")]))
    assert loose.slo_debt == 0.0
    # requests within the SLO, but slower than before, are not the service of the baseline
    assert loose.recovery.seconds == pytest.approx(20.0, abs=1.0)
    assert report(Requests.of_frame(frame)).slo_debt > 30.0


def test_a_target_that_the_baseline_misses_is_lowered():
    frame = pd.DataFrame(
        {
            "sent": [EPOCH + n / 20.0 for n in range(4800)],
            "outcome": ["reset" if 2000 <= n < 2400 or n % 5 == 0 else "ok" for n in range(4800)],
            "ttft": 100.0,
            "duration": 200.0,
        }
    )
    result = report(Requests.of_frame(frame))
    assert result.baseline.is_below_target
    assert result.baseline.target == pytest.approx(0.8, abs=0.01)
    assert result.recovery.seconds == pytest.approx(0.0, abs=0.5)
    assert result.remarks[0].startswith("Only 80 % of the baseline's requests are good; the target is 95 %.")


def test_wrong_successes_are_bad_and_have_a_kind_of_their_own():
    count = 4800
    frame = pd.DataFrame(
        {
            "sent": [EPOCH + n / 20.0 for n in range(count)],
            "outcome": "ok",
            "ttft": 100.0,
            "duration": 300.0,
            "finish": ["" if 2000 <= n < 2400 else "stop" for n in range(count)],
            "chunks": 10,
            "output_tokens": 10,
        }
    )
    result = report(Requests.of_frame(frame))
    assert result.error_mix == {WRONG_SUCCESS: 400.0}
    assert result.depth == 1.0


def test_sampled_rows_count_for_the_requests_that_they_represent():
    rows = requests(1, outage(LIFTED))
    weighted = Requests.of(
        rows.due, rows.ended - rows.due, rows.outcome, ttft=rows.ttft, weight=np.full(len(rows), 4.0)
    )
    assert report(weighted).lost == 4.0 * report(rows).lost
    assert report(weighted).recovery == report(rows).recovery


def test_requests_count_from_when_they_were_due():
    frame = pd.DataFrame(
        {"sent": [EPOCH + 5.0], "delay": [2000.0], "outcome": ["ok"], "ttft": [100.0], "duration": [300.0]}
    )
    rows = Requests.of_frame(frame, [Threshold.parse("ttft_due.p95 < 2s")])
    assert (rows.due[0], rows.ttft[0], rows.ended[0]) == (EPOCH + 3.0, pytest.approx(2.1), pytest.approx(EPOCH + 5.3))
    assert not rows.meets[0]


def test_failures_of_the_load_generator_are_left_out():
    rows = requests(1, lambda at: 0.0)
    outcomes = np.where((rows.due > EPOCH + BEGAN) & (rows.due < EPOCH + LIFTED), "not_sent", rows.outcome)
    result = report(Requests.of(rows.due, rows.ended - rows.due, outcomes, ttft=rows.ttft))
    assert (result.lost, result.impact) == (0.0, None)


def test_closed_load_says_what_it_hides():
    (remark,) = report(requests(1, outage(LIFTED)), unit=USERS).remarks
    assert remark.startswith("The load was closed")


def test_a_metastable_verdict_needs_the_load_of_the_baseline():
    rows = requests(1, outage(END))
    is_kept = (rows.due < EPOCH + LIFTED) | (np.arange(len(rows)) % 2 == 0)
    result = report(rows.where(is_kept))
    assert result.metastable is None
    assert "was not that of the baseline" in result.metastable_why


def test_a_shrinking_share_of_bad_requests_is_not_metastable():
    result = report(requests(1, lambda at: 0.0 if at < BEGAN else max(0.0, 1.0 - max(0.0, at - LIFTED) / 180.0)))
    assert result.recovery.censored
    assert result.metastable is None
    assert "getting better" in result.metastable_why


def test_repeated_faults_have_the_first_baseline_and_end_at_the_next():
    rows = requests(1, shares([(0.0, 0.0), (100.0, 1.0), (125.0, 0.0), (160.0, 1.0), (190.0, 0.0), (220.0, 1.0)]))
    faults = [window(100.0, 120.0), window(160.0, 180.0), window(220.0, 225.0)]
    reports = recoveries_of(faults[::-1], rows, Conditions(EPOCH, EPOCH + END))[::-1]
    assert [result.observed for result in reports] == [40.0, 40.0, 15.0]
    assert reports[0].recovery.seconds == pytest.approx(5.0, abs=1.0)
    assert reports[1].recovery.seconds == pytest.approx(10.0, abs=1.0)
    assert reports[2].recovery.censored
    assert reports[0].baseline == reports[1].baseline
    times = recovery_range(reports)
    assert (times.low, times.high, times.known, times.censored) == (reports[0].recovery.seconds, None, 2, 1)
    assert times.above == 15.0
    assert times.is_enough


def test_a_range():
    times = range_of([3.0, None, 1.0])
    assert (times.low, times.high, times.known) == (1.0, 3.0, 2)
    assert not times.is_enough
    assert range_of([]).low is None


@pytest.mark.parametrize("total, share, chance, count", [(10, 0.5, 0.01, 10), (10, 0.5, 0.06, 8), (20, 0.0, 0.01, 1)])
def test_critical_counts(total, share, chance, count):
    assert critical_count(total, share, chance) == count


def test_critical_counts_without_draws_or_with_certain_ones():
    assert critical_count(0, 0.5, 0.01) == critical_count(10, 1.0, 0.01) == math.inf


@given(st.integers(1, 6000), st.floats(0.001, 0.9), st.floats(0.0001, 0.2))
def test_a_critical_count_is_above_the_mean(total, share, chance):
    count = critical_count(total, share, chance)
    assert count > total * share or chance > 0.15
    assert critical_count(total, share, chance / 2.0) >= count


def test_bursts_have_a_dispersion():
    total = np.full(100, 50.0)
    assert noise.dispersion(np.random.default_rng(1).binomial(50, 0.1, 100).astype(float), total) < 1.5
    bursts = np.where(np.arange(100) % 10 == 0, 40.0, 1.0)
    assert noise.dispersion(bursts, total) > 5.0
    assert Noise(0.05, 5.0).exceeds(np.array([9.0]), np.array([100.0]), 0.05)[0] == np.False_
    assert Noise(0.05, 1.0).exceeds(np.array([11.0]), np.array([100.0]), 0.05)[0] == np.True_


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    share=st.floats(0.0, 1.0),
    until=st.floats(BEGAN, END),
    slow=st.booleans(),
    rate=st.floats(0.2, 15.0),
    end=st.floats(BEGAN, END),
)
def test_a_report_is_consistent(seed, share, until, slow, rate, end):
    result = report(requests(seed, outage(until, share), slow=slow, rate=rate), end=max(end, LIFTED))
    recovery = result.recovery
    if recovery.seconds is None:
        assert result.outage is None
    else:
        assert 0.0 <= recovery.low <= recovery.seconds <= recovery.high <= END - LIFTED
        assert result.metastable is False or (result.metastable is None and result.relapse is not None)
        assert not recovery.censored
    if result.baseline is not None:
        assert result.lost >= result.cut_streams >= 0.0
        assert 0.0 <= result.depth <= 1.0
        assert 0.0 <= result.slo_debt <= END - BEGAN + 1.0
        assert result.impact is None or 0.0 <= result.impact <= END - BEGAN
        assert result.course.total.sum() <= len(requests(seed, outage(until, share), slow=slow, rate=rate))
    assert str(result.says)


@given(st.lists(st.tuples(st.floats(0.0, 200.0), st.sampled_from(["ok", "reset", "aborted", "not_sent"])), max_size=30))
def test_few_requests_never_fail(rows):
    frame = pd.DataFrame(rows, columns=["at", "outcome"])
    frame = frame.assign(sent=frame["at"].astype(float) + EPOCH, duration=100.0, ttft=50.0)
    assert recovery_of(window(), Requests.of_frame(frame), Conditions(EPOCH, EPOCH + END)).baseline is None


def test_the_json_has_the_names_that_are_documented():
    values = json.loads(json.dumps(fault_data(report(requests(1, outage(LIFTED + 5.0))), EPOCH)))
    assert (values["name"], values["began"], values["lifted"], values["confirmed"]) == ("down", BEGAN, LIFTED, True)
    assert set(values["recovery"]) == {"seconds", "low", "high", "censored"}
    assert values["recovery"]["seconds"] == pytest.approx(5.0, abs=1.0)
    assert values.keys() >= {
        *("impact", "first_success", "lost", "cut_streams", "lost_tokens", "slo_debt", "depth", "overshoot"),
        *("metastable", "says"),
    }
    void = json.loads(json.dumps(fault_data(FaultReport(window(confirmed_began=None), confirmed=False), EPOCH)))
    assert (void["confirmed"], void["recovery"]["seconds"], void["lost"]) == (False, None, None)


def test_a_request_that_the_end_cut_off_is_bad_if_it_was_late_before():
    rows = requests(1, lambda at: 0.0)
    hangs = rows.due > EPOCH + BEGAN
    rows = Requests.of(
        rows.due,
        np.where(hangs, EPOCH + END - rows.due, rows.e2e),
        np.where(hangs, "aborted", rows.outcome),
        ttft=np.where(hangs, math.nan, rows.ttft),
    )
    result = report(rows)
    assert result.recovery.censored
    assert result.metastable is True
    assert result.depth == 1.0
    assert result.lost == 0.0  # the end of the run decided on them, not the server
