from dataclasses import replace

import pytest
from closed_queue import case, closed_queue, figures

from llmlocust.analysis.trust import Check, Facts, checks, think_time_of
from llmlocust.numbers.thresholds import Threshold


def named(found):
    return {each.name: each for each in found}


def test_a_good_run_passes_all():
    levels = closed_queue((4, 8, 16, 32), 64)
    facts = Facts({0: 0.2}, {0: 0.001}, rows_seen=10, rows_kept=10, sent=5, ended=5, clock="kernel")
    assert all(each.ok for each in checks(levels, facts))


@pytest.mark.parametrize(
    "facts, name",
    [
        (Facts(client_cpu={1: 0.97}), "client CPU"),
        (Facts(loop_lag={1: 0.3}, clock="user"), "event loop lag"),
        (Facts(cut_off=True), "run ended"),
        (Facts(sent=10, ended=7), "lost requests"),
        (Facts(own=[Check("run", False, None, None, "disk full")]), "run"),
    ],
)
def test_what_hurts_the_numbers_fails(facts, name):
    check = named(checks(closed_queue((4, 8), 64), facts))[name]
    assert not check.ok
    assert check.says


def test_levels_are_marked():
    levels = closed_queue((4, 8), 64)
    assert named(checks(levels, Facts(client_cpu={1: 0.97})))["client CPU"].levels == (1,)


def test_too_few_requests_name_the_number_needed():
    found = named(checks([figures(1, 0.2, 0.1, 1.0), figures(2, 3.0, 0.1, 1.0, index=1)]))
    assert not found["requests for p95"].ok
    assert "73" in found["requests for p95"].says
    assert found["requests for p95"].levels == (0,)
    assert found["requests for p99"].ok  # only said, where no limit speaks of it
    assert not named(checks([figures(1, 1.2, 0.1, 1.0)], None, [Threshold.parse("e2e.p99 < 1s")]))[
        "requests for p99"
    ].ok


def test_too_few_requests_doubt_only_the_levels_that_decide():
    levels = [figures(1, 0.2, 0.1, 1.0), figures(2, 3.0, 0.1, 1.0, index=1)]
    check = named(checks(levels, Facts(decisive={1})))["requests for p95"]
    assert check.ok
    assert check.levels == (0,)
    assert not named(checks(levels, Facts(decisive={0})))["requests for p95"].ok


def test_coalesced_aborted_and_missed_levels():
    one = figures(4, 5.0, 0.1, 1.0)
    found = named(checks([replace(one, coalesced=0.5, aborted=90, reached=False, counted_chunks=1.0)]))
    assert not found["coalesced tokens"].ok
    assert not found["aborted requests"].ok
    assert not found["levels reached"].ok
    assert found["token counts"].ok
    assert "chunks" in found["token counts"].says


def test_more_in_flight_than_users_is_impossible():
    check = named(checks([figures(10, 40.0, 0.1, 1.0)]))["Little's law"]
    assert not check.ok
    assert check.value == pytest.approx(4.0, rel=0.1)


def test_published_tables_are_doubted_where_they_contradict_themselves():
    assert not named(checks(case("vllm_two_gpus")))["Little's law"].ok
    llamacpp = named(checks(case("llamacpp_cpu", window=120.0), Facts(think_time=5.0)))
    assert llamacpp["Little's law"].ok
    assert not llamacpp["think time"].ok
    assert "5 s does not fit" in llamacpp["think time"].says


def test_both_own_checks_of_one_name_are_kept_and_a_failed_one_replaces_ours():
    own = [
        Check("run", False, None, None, "one"),
        Check("run", False, None, None, "two"),
        Check("client CPU", True, 0.1, 0.9, "ok"),
    ]
    found = checks(closed_queue((4, 8), 64), Facts(client_cpu={0: 0.99}, own=own))
    assert [each.says for each in found if each.name == "run"] == ["one", "two"]
    assert not named(found)["client CPU"].ok


@pytest.mark.parametrize(
    "classes, mean",
    [
        ({"A": "wait 1 to 3 s"}, 2.0),
        ({"A": "wait 5 s", "B": "wait 5 s"}, 5.0),
        ({"A": "wait 5 s", "B": "wait 1 s"}, None),
        ({"A": "own code"}, None),
        ({}, None),
    ],
)
def test_think_time_as_it_is_told(classes, mean):
    assert think_time_of(classes) == mean


def test_no_levels_at_all():
    assert {each.name: each.ok for each in checks([])} == {"any requests": False}
