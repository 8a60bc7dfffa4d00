"""A run that a gate ends early."""

import pytest

from llmlocust.metrics.thresholds import parse_gates
from llmlocust.plugin.run.early_end import EarlyEnd
from tests.metrics.records import record_of
from tests.plugin.run.fake_cluster import make_run, played

FAILED = record_of(outcome="http_503", duration=0.1)


def gated(gates="errors < 1%", grace=10.0, plan=(2, 4)):
    run, cluster = make_run({"a": 2})
    ends = []
    run.add(EarlyEnd(parse_gates(gates), grace, lambda: ends.append(run.moment())))
    run.plan = {"levels": list(plan)} if plan else None
    run.begin()
    return run, cluster, ends


def breach(run, requests=200):
    run.merge(played(run, requests, record=FAILED), "a")


def test_a_certain_violation_ends_the_run_once_after_its_grace(capsys):
    run, cluster, ends = gated()
    run.begin_level(2)
    cluster.advance(3.0)
    run.end_warmup()
    cluster.advance(2.0)
    breach(run)
    cluster.advance(7.0)
    assert not ends
    cluster.advance(20.0)
    assert ends == [13.0]
    assert run.ended_by == "errors < 1% at 2 users"
    assert capsys.readouterr().out.rstrip().endswith(": the run ends here (--llm-abort-on-breach)")


def test_a_level_that_meets_its_gate_ends_nothing():
    run, cluster, ends = gated()
    run.begin_level(2)
    run.end_warmup()
    cluster.advance(2.0)
    run.merge(played(run, 200), "a")
    cluster.advance(20.0)
    assert not ends
    assert run.ended_by == ""


def test_a_gate_of_another_load_ends_nothing():
    run, cluster, ends = gated("errors < 1% @ 4")
    run.begin_level(2)
    run.end_warmup()
    cluster.advance(2.0)
    breach(run)
    cluster.advance(20.0)
    assert not ends


def test_requests_in_flight_may_still_pass():
    run, cluster, ends = gated("errors < 50%", grace=0.0)
    run.begin_level(2)
    run.end_warmup()
    cluster.advance(2.0)
    waiting = played(run, 200, record=FAILED)
    run.merge(waiting | {"sent": 1000}, "a")
    cluster.advance(3.0)
    assert not ends
    run.merge(played(run, 0) | {"ended": 800}, "a")
    cluster.advance(1.0)
    assert len(ends) == 1


@pytest.mark.parametrize("grace", [0.0, 10.0])
def test_the_level_before_may_still_violate_its_gate_whatever_its_length(grace):
    run, cluster, ends = gated(grace=grace)
    run.begin_level(2)
    run.end_warmup()
    cluster.advance(1.0)
    late = played(run, 200, record=FAILED)
    run.begin_level(4)
    run.merge(late, "a")
    cluster.advance(1.0)
    assert ends == [2.0]


def test_a_level_that_is_not_measured_yet_ends_nothing():
    run, cluster, ends = gated(grace=0.0)
    run.begin_level(2)
    breach(run)
    cluster.advance(5.0)
    assert not ends


def test_a_ramp_whose_last_level_is_over_ends_on_its_own():
    run, cluster, ends = gated(plan=[2])
    run.begin_level(2)
    run.end_warmup()
    cluster.advance(2.0)
    run.end_level()
    breach(run)
    cluster.advance(5.0)
    assert not ends


def test_a_run_that_is_stopping_is_not_ended_again():
    run, cluster, ends = gated(grace=0.0)
    run.begin_level(2)
    run.end_warmup()
    cluster.advance(2.0)
    cluster.is_on = False
    breach(run)
    cluster.advance(5.0)
    assert not ends


def test_users_without_a_ramp_are_ended_too():
    run, cluster, ends = gated(grace=1.0, plan=None)
    cluster.advance(2.0)
    breach(run)
    cluster.advance(2.0)
    assert len(ends) == 1
