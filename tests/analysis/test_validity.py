import math
from dataclasses import replace

import pytest
from closed_queue import case, closed_queue, figures, summary

from llmlocust.analysis.breakpoints.verdict import find
from llmlocust.analysis.checks.check import Check, Facts
from llmlocust.analysis.checks.validity import checks, valid_numbers
from llmlocust.analysis.phases.trend import Course
from llmlocust.metrics.levels import LevelFigures, Summary
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import CLIENT_KINDS


def named(found):
    return {each.key: each for each in found}


def test_a_good_run_passes_all():
    levels = closed_queue((4, 8, 16, 32), 64)
    facts = Facts({0: 0.2}, {0: 0.001}, rows_seen=10, rows_kept=10, sent=5, ended=5, clocks={"kernel": 5})
    assert all(each.ok for each in checks(levels, facts))


@pytest.mark.parametrize(
    "facts, name",
    [
        (Facts(client_cpu={1: 0.97}), "client_cpu"),
        (Facts(loop_lag={1: 0.3}, clocks={"user": 5}), "event_loop_lag"),
        (Facts(cut_off=True), "run_ended"),
        (Facts(sent=10, ended=7), "lost_requests"),
        (Facts(process_checks=[Check("run", False, None, None, "disk full")]), "run"),
    ],
)
def test_what_hurts_the_numbers_fails(facts, name):
    check = named(checks(closed_queue((4, 8), 64), facts))[name]
    assert not check.ok
    assert check.says


def test_levels_are_marked():
    levels = closed_queue((4, 8), 64)
    assert named(checks(levels, Facts(client_cpu={1: 0.97})))["client_cpu"].levels == (1,)


@pytest.mark.parametrize(
    ("off", "share"),
    [
        ({"users": 3.0}, "25 %"),
        ({"users": 5.0}, "25 %"),
        ({"stale_share": 0.2}, "20 %"),
        ({"users": 3.9, "stale_share": 0.04}, ""),
    ],
)
def test_a_level_whose_load_was_not_what_was_asked_for_is_marked_with_its_share(off, share):
    low, high = closed_queue((4, 8), 64)
    check = named(checks([replace(low, **off), high]))["levels_reached"]
    assert check.ok == (not share)
    assert check.levels == ((0,) if share else ())
    assert not share or check.says.startswith(f"At 4 users the load was off by up to {share}: ")


def test_too_few_requests_name_the_number_needed():
    found = named(checks([figures(1, 0.2, 0.1, 1.0), figures(2, 3.0, 0.1, 1.0, index=1)]))
    assert not found["requests_for_p95"].ok
    assert "73" in found["requests_for_p95"].says
    assert found["requests_for_p95"].levels == (0,)
    assert found["requests_for_p99"].ok  # only said, where no limit speaks of it
    assert not named(checks([figures(1, 1.2, 0.1, 1.0)], None, [Threshold.parse("e2e.p99 < 1s")]))[
        "requests_for_p99"
    ].ok


def test_too_few_requests_doubt_only_the_levels_that_decide():
    levels = [figures(1, 0.2, 0.1, 1.0), figures(2, 3.0, 0.1, 1.0, index=1)]
    check = named(checks(levels, Facts(decisive={1})))["requests_for_p95"]
    assert check.ok
    assert check.levels == (0,)
    assert not named(checks(levels, Facts(decisive={0})))["requests_for_p95"].ok


def test_aborted_and_missed_levels():
    one = figures(4, 5.0, 0.1, 1.0)
    found = named(checks([replace(one, aborted=90, reached=False, counted_chunks=1.0)]))
    assert not found["aborted_requests"].ok
    assert not found["levels_reached"].ok
    assert found["token_counts"].ok
    assert "chunks" in found["token_counts"].says


def test_more_in_flight_than_users_is_impossible():
    check = named(checks([figures(10, 40.0, 0.1, 1.0)]))["littles_law"]
    assert not check.ok
    assert check.value == pytest.approx(4.0, rel=0.1)


def test_published_tables_are_doubted_where_they_contradict_themselves():
    assert not named(checks(case("vllm_two_gpus")))["littles_law"].ok
    llamacpp = named(checks(case("llamacpp_cpu", window=120.0), Facts(think_time=5.0)))
    assert llamacpp["littles_law"].ok
    assert not llamacpp["think_time"].ok
    assert "5 s does not fit" in llamacpp["think_time"].says


def test_both_own_checks_of_one_name_are_kept_and_a_failed_one_replaces_ours():
    own = [
        Check("run", False, None, None, "one"),
        Check("run", False, None, None, "two"),
        Check("client_cpu", True, 0.1, 0.9, "ok"),
    ]
    found = checks(closed_queue((4, 8), 64), Facts(client_cpu={0: 0.99}, process_checks=own))
    assert [each.says for each in found if each.key == "run"] == ["one", "two"]
    assert not named(found)["client_cpu"].ok


# -- answers without tokens, answers of other lengths


def test_answers_without_a_token_fail():
    good = figures(4, 5.0, 0.1, 1.0)
    empty = replace(figures(8, 90.0, None, 1.0, index=1), metrics={}, output_tokens=0.0)
    check = named(checks([good, empty]))["empty_answers"]
    assert not check.ok
    assert check.levels == (1,)
    assert "At 8 users up to 100 % of the successful requests returned no token" in check.says
    assert not named(checks([replace(empty, level=0)]))["empty_answers"].ok
    assert named(checks([good]))["empty_answers"].ok


def test_a_share_of_empty_answers_is_told_by_the_rows():
    levels = [figures(4, 5.0, 0.1, 1.0), figures(8, 9.0, 0.1, 1.0, index=1)]
    assert named(checks(levels, Facts(empty={0: 0.0, 1: 0.02})))["empty_answers"].levels == (1,)
    assert named(checks(levels, Facts(empty={0: 0.0, 1: 0.008})))["empty_answers"].ok


def test_tokens_that_were_counted_and_not_seen_are_no_empty_answers():
    seen = figures(4, 5.0, 0.1, 1.0)
    unread = replace(figures(8, 9.0, None, 1.0, index=1), metrics={}, output_tokens=30.0)
    facts = Facts(empty={0: 0.0, 1: 0.0}, unread={0: 0.0, 1: 1.0}, unread_fields="choices.delta.voice")
    found = named(checks([seen, unread], facts))
    check = found["unread_tokens"]
    assert (check.ok, check.levels, check.value) == (False, (1,), 1.0)
    assert "At 8 users the server reported token counts for up to 100 % of the successful requests" in check.says
    assert "choices.delta.voice" in check.says
    assert found["empty_answers"].ok
    assert "empty_answers" not in named(checks([replace(unread, level=0)], Facts(unread={0: 1.0})))


def test_where_every_token_was_seen_nothing_is_said_of_unread_ones():
    assert "unread_tokens" not in named(checks([figures(4, 5.0, 0.1, 1.0)], Facts(unread={0: 0.005})))


@pytest.mark.parametrize(
    "tokens, noise, ok",
    [(200, 0.01, True), (240, 0.01, True), (300, 0.01, False), (120, 0.01, False), (300, 0.2, True)],
)
def test_levels_with_answers_of_another_length_cannot_be_compared(tokens, noise, ok):
    levels = [
        replace(figures(4, 5.0, 0.1, 1.0), output_tokens=200.0),
        replace(figures(8, 9.0, 0.1, 1.0, index=1), output_tokens=float(tokens)),
    ]
    check = named(checks(levels, Facts(length_noise={0: noise, 1: noise})))["answer_length"]
    assert check.ok is ok
    assert check.levels == (() if ok else (1,))
    if not ok:
        assert f"200 tokens on average at 4 users, but {tokens} at 8 users" in check.says


def test_lengths_of_few_answers_may_differ():
    levels = [
        replace(figures(4, 0.1, 0.1, 1.0), output_tokens=200.0),
        replace(figures(8, 0.1, 0.1, 1.0, index=1), output_tokens=330.0),
    ]
    assert named(checks(levels))["answer_length"].ok


# -- a run that was stopped


def test_a_stopped_run_is_not_complete():
    levels = [figures(2, 2.0, 0.1, 1.0, window=5.0), figures(4, 4.0, 0.1, 1.0, index=1, window=2.2)]
    check = named(checks(levels, Facts(planned=(2, 4, 8), hold=5.0)))["run_completed"]
    assert not check.ok
    assert check.says == "Stopped after 1 of 3 levels; 4 users were held 2.2 of 5 s; 8 users never ran."
    assert check.levels == (1,)


def test_a_run_through_its_plan_is_complete():
    levels = [figures(2, 2.0, 0.1, 1.0, window=5.01), figures(4, 4.0, 0.1, 1.0, index=1, window=4.1)]
    assert named(checks(levels, Facts(planned=(2, 4), hold=5.0, stopped=False)))["run_completed"].ok
    assert not named(checks(levels, Facts(planned=(2, 4), hold=5.0, stopped=True)))["run_completed"].ok
    assert "run_completed" not in named(checks(levels))
    assert not named(checks(levels, Facts(stopped=True)))["run_completed"].ok
    # a level whose row is lost between others was no stop
    assert named(checks([levels[0], replace(levels[1], level=2)], Facts(planned=(2, 3, 4), hold=5.0)))[
        "run_completed"
    ].ok


def test_short_levels_are_noted():
    found = named(checks([figures(2, 20.0, 0.01, 0.1, window=3.0), figures(60, 1.5, 1.0, 40.0, index=1)]))
    check = found["level_length"]
    assert check.ok
    assert check.levels == (0, 1)
    assert "2 users were measured for less than 5 s" in check.says
    assert "at 60 users each user sent fewer than 2 requests" in check.says


# -- tokens that something gathers


def test_many_gathered_tokens_are_somebody_elses_doing():
    one = figures(4, 5.0, 0.1, 1.0)
    gathered = named(checks([replace(one, coalesced=0.9, uncertain=0.01)]))["tokens_together"]
    assert "a proxy in front of it buffers them" in gathered.says
    assert gathered.levels == (0,)
    late = named(checks([replace(one, coalesced=0.3, uncertain=0.29)]))["tokens_together"]
    assert "proxy" not in late.says
    assert late.levels == ()


# -- tokens that waited for us


def ranged(load, uncertain, least, most, metric="itl", index=0, count=1000):
    one = figures(load, 5.0, 0.1, 1.0, index=index)
    summary = replace(
        one.metric(metric), count=count, ranges={"p50": (0.01, 0.01), "p99": (least, most), "p99_9": (0.01, 9.0)}
    )
    return replace(one, uncertain=uncertain, metrics={**one.metrics, metric: summary})


@pytest.mark.parametrize(
    "least, most, ok",
    [
        (0.012, 0.0125, True),  # half a millisecond is as good as known
        (0.012, 0.2, False),
        (2.0, 2.05, True),  # and so is a fortieth
        (2.0, 2.5, False),
    ],
)
@pytest.mark.parametrize("metric", ["itl", "ttft"])
def test_a_level_is_marked_whose_percentiles_are_ranges(metric, least, most, ok):
    levels = [ranged(4, 0.0, 0.011, 0.011, metric), ranged(8, 0.2, least, most, metric, index=1)]
    check = named(checks(levels))["token_times"]
    assert check.ok == ok
    assert check.value == 0.2
    assert check.levels == (() if ok else (1,))


def test_a_percentile_of_too_few_marks_nothing():
    assert named(checks([ranged(4, 0.2, 0.012, 0.2, count=99)]))["token_times"].ok


def test_the_mark_says_how_late_and_what_to_do():
    levels = [ranged(4, 0.1, 0.012, 0.05), ranged(8, 0.2, 0.012, 0.2, index=1)]
    says = named(checks(levels))["token_times"].says
    assert "At 4 and 8 users" in says
    assert "up to 20 %" in says
    assert "p99 ITL at 8 users is only known to be 12 to 200 ms" in says
    assert "--processes" in says


@pytest.mark.parametrize(
    "lag, clocks, gap, ok",
    [
        (0.003, {"user": 9}, 0.012, False),
        (0.0015, {"user": 9}, 0.012, True),
        (0.003, {"user": 9}, 0.1, True),  # so small a share of such gaps
        (0.3, {"kernel": 9}, 0.012, True),
        (0.003, {"kernel": 9, "user": 9}, 0.012, False),
        (0.3, {"kernel": 4999, "user": 1}, 0.012, True),
        (0.003, {}, 0.012, False),
    ],
)
def test_a_late_loop_hurts_where_arrival_times_are_its_own(lag, clocks, gap, ok):
    one = figures(4, 5.0, 0.1, 1.0)
    gaps = replace(one.metric("itl"), quantiles={"p99": gap})
    levels = [replace(one, metrics={**one.metrics, "itl": gaps})]
    assert named(checks(levels, Facts(loop_lag={0: lag}, clocks=clocks)))["event_loop_lag"].ok == ok


def test_nothing_is_said_of_token_times_where_nothing_is_known():
    assert "token_times" not in named(checks([figures(4, 5.0, 0.1, 1.0)]))


# -- Little's law and the think time


def test_the_time_until_the_response_is_read_belongs_to_the_request():
    # the last token comes 24 ms before the end of the response
    levels = [figures(10, 10 / 0.054, 0.01, 0.03)]
    assert not named(checks(levels, Facts(think_time=0.0)))["think_time"].ok
    assert named(checks(levels, Facts(think_time=0.0, busy={0: 0.054})))["think_time"].ok


def test_a_few_milliseconds_between_requests_are_no_think_time():
    levels = [figures(10, 10 / 0.009, 0.001, 0.003)]
    assert named(checks(levels, Facts(think_time=0.0)))["think_time"].ok


@pytest.mark.parametrize("think", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("cycle", [0.01, 0.02, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("busy", [0.005, 0.5, 1.4])
def test_the_check_of_think_time_never_contradicts_itself(think, cycle, busy):
    check = named(checks([figures(10, 10 / cycle, 0.001, busy)], Facts(think_time=think)))["think_time"]
    if not check.ok:
        said = check.says
        assert "0 ms between" not in said
        assert not (think == 0.0 and "no time" in said)


def test_failures_make_users_pause_so_such_levels_are_not_asked():
    levels = [figures(10, 5.0, 0.01, 0.03, errors=0.03)]
    assert "think_time" not in named(checks(levels, Facts(think_time=0.0)))


# -- how many requests a percentile supporting on


def test_a_note_does_not_read_as_a_failure():
    check = named(checks([figures(2, 1.0, 0.1, 1.0)]))["requests_for_p99"]
    assert check.ok
    assert check.says.startswith("p99 at 2 users is based on fewer than 100 requests (fewest: 60). Use p95 there")


def test_where_nothing_succeeded_nothing_is_the_slowest():
    levels = [figures(n, 0.0, None, 1.0, index=i, errors=1.0) for i, n in enumerate((2, 4))]
    found = named(checks(levels))
    assert not found["any_success"].ok
    assert not any("slowest" in each.says for each in found.values())


def test_no_levels_at_all():
    assert {each.key: each.ok for each in checks([])} == {"any_requests": False}


# -- what went on inside a level


SLOW_FIRST = Course("tpot", 3.0, (0.05, 0.049, *(0.02, 0.0201) * 4))
SLOWER = Course("tpot", 3.0, tuple(0.02 * 1.1**place for place in range(10)))
STEADY = Course("tpot", 3.0, (0.02, 0.0201) * 5)


def inside(*courses, unit="users", **facts):
    levels = [replace(each, unit=unit, window=30.0) for each in closed_queue((4, 8), 64)]
    return named(checks(levels, Facts(courses={0: [STEADY], 1: courses}, **facts)))


def test_a_warm_up_that_leaks_marks_its_level():
    found = inside(SLOW_FIRST, warmup=5.0)
    check = found["warm_up"]
    assert not check.ok
    assert check.levels == (1,)
    assert "TPOT went 49.5 → 20 ms at 8 users" in check.says
    assert "6 s longer (--warmup, 11 s in all)" in check.says
    assert found["drift"].ok


def test_drift_marks_its_level_and_says_how_long_to_hold():
    found = inside(SLOWER)
    assert not found["drift"].ok
    assert found["drift"].levels == (1,)
    assert "Hold such a level for 90 s or more" in found["drift"].says
    assert found["warm_up"].ok


def test_waits_in_an_open_load_are_said_and_doubt_nothing():
    waits = replace(SLOWER, metric="ttft")
    assert not inside(waits)["drift"].ok
    check = inside(waits, unit="rate")["drift"]
    assert check.ok
    assert check.levels == (1,)
    assert not inside(SLOWER, waits, unit="rate")["drift"].ok  # the server's own pace is another thing


def test_nothing_is_said_where_nothing_is_known_of_the_inside():
    assert not {"drift", "warm_up"} & set(named(checks(closed_queue((4, 8), 64))))
    assert inside(STEADY)["drift"].ok
    assert inside(STEADY)["warm_up"].ok


# -- processes, caches, counts, clocks


def of_facts(**facts):
    return named(checks(closed_queue((4, 8), 64), Facts(**facts)))


def test_a_worker_that_stops_reporting_marks_its_level():
    check = of_facts(lost_workers={1: ["host:12"]})["lost_workers"]
    assert not check.ok
    assert check.levels == (1,)
    assert "host:12 stopped reporting at 8 users" in check.says
    assert not of_facts(unreported_workers=2)["lost_workers"].ok
    assert "lost_workers" not in of_facts()


def test_prefix_cache_by_the_servers_counters():
    check = of_facts(cache_hits={0: 0.02, 1: 0.6}, prompts=20)["prefix_cache"]
    assert not check.ok
    assert check.levels == (1,)
    assert "up to 60 % of the prompt tokens" in check.says
    assert of_facts(cache_hits={0: 0.02, 1: 0.1}, prompts=20)["prefix_cache"].ok  # it has a cache, and it did not help
    shared = of_facts(cache_hits={1: 0.6}, shared=True)["prefix_cache"]
    assert shared.ok
    assert shared.levels == (1,)


def test_repeated_prompts_are_doubted_where_nobody_counts():
    check = of_facts(prompts=20)["prefix_cache"]
    assert not check.ok
    assert check.levels == (0, 1)
    assert check.says.startswith("The same 20 prompts were sent repeatedly")
    assert of_facts(prompts=0)["prefix_cache"].says.startswith("The same prompts were")
    assert "prefix_cache" not in of_facts(prompts=None)


@pytest.mark.parametrize(
    "told, ok, marks",
    [
        ({0: 1.0, 1: 1.01}, True, ()),
        ({0: 0.5, 1: 1.0}, False, (0,)),
        ({0: 4.0, 1: 4.1}, True, (0, 1)),
        ({0: 1.0, 1: 3.0}, False, (1,)),
    ],
)
def test_usage_against_chunks(told, ok, marks):
    check = of_facts(tokens_per_chunk=told)["usage"]
    assert (check.ok, check.levels) == (ok, marks)


@pytest.mark.parametrize(
    "clocks, lag, ok, says",
    [
        ({"kernel": 5000}, 0.3, True, "come from the kernel"),
        (
            {"user": 5000},
            0.3,
            True,
            "come from the load generator's own clock",
        ),  # the event loop's lag is what speaks then
        ({"kernel": 4999, "user": 1}, 0.3, True, "0.02 % of the measured requests"),
        ({"kernel": 4994, "user": 6}, 0.3, False, "0.1 % of the measured requests"),
        ({"kernel": 50, "user": 50}, 0.001, True, "at most 1 ms late"),
        ({"kernel": 50, "user": 50}, 0.3, False, "50 % of the measured requests"),
    ],
)
def test_whose_clock_it_is(clocks, lag, ok, says):
    check = of_facts(clocks=clocks, loop_lag={0: lag})["clock"]
    assert check.ok is ok
    assert says in check.says


def test_two_clocks_whose_lateness_nobody_knows_do_not_compare():
    assert not of_facts(clocks={"kernel": 50, "user": 50})["clock"].ok
    assert "clock" not in of_facts(clocks={})


# -- numbers that are still valid


def test_numbers_stand_that_rest_on_no_marked_level():
    supporting = {"slo_limit": {0, 1}, "knee": {2, 3}}
    assert valid_numbers([Check("drift", False, 2.0, 1.2, "", (1,))], supporting) == {"slo_limit": False, "knee": True}
    assert valid_numbers([Check("drift", True, 1.0, 1.2, "", (1,))], supporting) == {"slo_limit": True, "knee": True}
    assert valid_numbers([Check("run_ended", False, None, None, "")], supporting) == {"slo_limit": False, "knee": False}
    # levels that never ran spoil none that did
    assert valid_numbers([Check("run_completed", False, 3, 5, "")], supporting) == {"slo_limit": True, "knee": True}


def open_load(load, delay, ttft=0.1, index=0, **more):
    """A level of a rate; `delay` is the median of what requests were sent late."""
    level = figures(load, load, ttft, 1.0, index=index, unit="rate")
    return replace(level, due=level.requests, metrics={**level.metrics, "delay": summary(level.ok, delay)}, **more)


def test_requests_that_were_held_back_are_load_that_was_not_there():
    found = named(checks([open_load(10, 0.001), open_load(20, 0.001, index=1, dropped=300)]))
    assert not found["cap_in_flight"].ok
    assert found["cap_in_flight"].levels == (1,)
    assert "dropped 300 of 1200 requests" in found["cap_in_flight"].says
    assert named(checks([open_load(10, 0.001)]))["cap_in_flight"].ok


def test_a_level_whose_requests_were_late_is_marked():
    found = named(checks([open_load(10, 0.001), open_load(20, 0.01, index=1)]))
    assert not found["schedule_delay"].ok
    assert found["schedule_delay"].levels == (1,)


def test_lateness_that_is_little_beside_the_wait_for_the_first_token_hurts_nothing():
    assert not named(checks([open_load(10, 0.01, ttft=0.1)]))["schedule_delay"].ok
    assert named(checks([open_load(10, 0.01, ttft=2.0)]))["schedule_delay"].ok


def test_users_have_no_schedule_to_be_late_for():
    assert {"cap_in_flight", "schedule_delay"}.isdisjoint(named(checks(closed_queue((4, 8), 64))))


# -- requests that never reached the server

CURES = {
    "client_limit": ("client_limits", "ulimit -n"),
    "network": ("network", "Check the network"),
    "name_lookup": ("name_lookup", "DNS"),
    "proxy": ("proxy", "HTTPS_PROXY"),
    "tls": ("tls", "certificate"),
    "not_sent": ("requests_not_sent", "headers"),
}


def lacking(kind, share):
    """Two levels, of which the second lost so many of its requests on the way to the server."""
    low, high = closed_queue((4, 8), 64)
    return [low, replace(high, error_kinds={kind: round(high.requests * share / (1.0 - share))})]


def test_every_kind_of_them_has_a_cure():
    assert set(CURES) == set(CLIENT_KINDS)


@pytest.mark.parametrize("kind", CLIENT_KINDS)
def test_requests_that_never_reached_the_server_mark_their_level_and_say_what_to_do(kind):
    name, cure = CURES[kind]
    check = named(checks(lacking(kind, 0.3)))[name]

    assert not check.ok
    assert check.levels == (1,)
    assert check.value == pytest.approx(0.3, abs=0.01)
    assert check.says.startswith("At 8 users up to 30 % of the requests failed because ")
    assert cure in check.says


def test_a_few_of_them_are_noted_and_none_is_not_mentioned():
    check = named(checks(lacking("client_limit", 0.006)))["client_limits"]

    assert check.ok
    assert "do not count as errors" in check.says
    assert not {name for name, _ in CURES.values()} & set(named(checks(closed_queue((4, 8), 64))))


def test_users_that_pause_after_them_do_not_fit_a_think_time():
    one = figures(10, 5.0, 0.01, 0.03)
    paused = replace(one, error_kinds={"name_lookup": 100})
    assert "think_time" in named(checks([one], Facts(think_time=0.0)))
    assert "think_time" not in named(checks([paused], Facts(think_time=0.0)))


# -- a load generator that does not get its time


def waiting(wait, ttft=0.1, e2e=1.0, index=0, throughput=40.0, mean=None, **more):
    """Four users that wait so long for the load generator, by the 95th percentile and on average."""
    one = figures(4, throughput, ttft, e2e, index=index, **more)
    mean = wait if mean is None else mean
    return replace(one, metrics={**one.metrics, "client_queue": Summary(1000, mean, wait, {"p95": wait})})


@pytest.mark.parametrize(("mean", "ok"), [(0.0046, True), (0.03, False)])
def test_answers_that_end_together_cost_no_load_and_are_no_starved_generator(mean, ok):
    # 50 users in lockstep of 1.43 s; their requests were sent within 15 ms, at 12 % of a core
    level = replace(waiting(0.0146, 0.03, 1.4, mean=mean), load=50.0, users=50.0, throughput=50 / 1.43)
    assert named(checks([level]))["client_queue_time"].ok is ok


@pytest.mark.parametrize(
    ("wait", "ttft", "e2e", "ok"),
    [
        (0.165, 0.02, 0.04, False),
        (0.008, 0.1, 1.0, False),  # 5 % of a p95 TTFT of 0.151 s are 7.5 ms
        (0.007, 0.1, 1.0, True),
        (0.004, 0.01, 1.0, True),  # a few milliseconds are nothing
        (0.02, None, 0.1, False),  # nothing streams: end to end counts
        (0.02, None, 1.0, True),
    ],
)
@pytest.mark.parametrize("unit", ["users", "rate"])
def test_requests_that_wait_in_the_load_generator_mark_their_level(wait, ttft, e2e, ok, unit):
    levels = [waiting(0.0001), waiting(wait, ttft, e2e, index=1, unit=unit)]
    check = named(checks(levels))["client_queue_time"]

    assert check.ok is ok
    assert check.levels == (() if ok else (1,))
    assert ok or "waited in the load generator before they were sent" in check.says


@pytest.mark.parametrize(
    ("gauge", "name", "share", "ok"),
    [
        ("throttled", "cpu_throttling", 0.025, False),
        ("throttled", "cpu_throttling", 0.005, True),
        ("core_wait", "cpu_wait", 0.21, False),
        ("core_wait", "cpu_wait", 0.09, True),
    ],
)
def test_a_process_that_is_kept_from_running_marks_its_level(gauge, name, share, ok):
    levels = closed_queue((4, 8), 64)
    check = named(checks(levels, Facts(**{gauge: {0: 0.0, 1: share}})))[name]

    assert (check.ok, check.value) == (ok, share)
    assert check.levels == (() if ok else (1,))
    assert name not in named(checks(levels, Facts(**{gauge: {0: math.nan}})))


@pytest.mark.parametrize(
    ("lag", "cycle", "ok"), [(0.059, 0.026, False), (0.037, 0.018, False), (0.0076, 0.0167, True), (0.18, 0.46, True)]
)
def test_a_loop_that_stands_still_for_longer_than_a_request_takes_keeps_users_from_sending(lag, cycle, ok):
    levels = [figures(4, 4 / cycle, 0.005, cycle)]
    facts = Facts(loop_lag={0: lag}, clocks={"kernel": 5})
    check = named(checks(levels, facts))["event_loop_lag"]

    assert check.ok is ok
    assert named(checks([replace(levels[0], unit="rate")], facts))["event_loop_lag"].ok


def test_a_starved_generator_is_not_believed():
    """What a run under a CPU limit of 20 % showed: 24 users, 222 requests/s where 590 were possible."""
    one = figures(24, 222.0, 0.015, 0.03, index=1)
    starved = replace(one, metrics={**one.metrics, "client_queue": Summary(one.ok, 0.05, 0.2, {"p95": 0.165})})
    facts = Facts(throttled={1: 0.49}, core_wait={1: 0.6}, loop_lag={1: 0.11}, clocks={"kernel": 5}, think_time=0.0)
    failed = {check.key for check in checks([waiting(0.0001), starved], facts) if not check.ok and 1 in check.levels}

    assert failed == {"cpu_throttling", "cpu_wait", "client_queue_time", "event_loop_lag", "think_time"}


@pytest.mark.parametrize(("contradicting", "ok"), [(1, True), (30, False)])
def test_requests_that_contradict_themselves_are_said_and_many_mark_their_level(contradicting, ok):
    low, high = closed_queue((4, 8), 64)
    assert "request_consistency" not in named(checks([low, high]))
    check = named(checks([low, replace(high, contradicting=contradicting)]))["request_consistency"]

    assert check.ok is ok
    assert check.levels == (() if ok else (1,))


@pytest.mark.parametrize(
    ("share", "failed", "ok"),
    [
        (0.01, 0, True),  # one pause after a failure that was not measured
        (0.6, 0, False),  # Retry-After of the level before
        (0.6, 1, False),  # one failure in many says nothing of the server
        (0.6, 200, True),  # the errors are the finding
    ],
)
def test_pauses_after_failures_mark_the_levels_whose_errors_do_not_explain_them(share, failed, ok):
    low, high = closed_queue((4, 8), 64)
    high = replace(high, requests=high.ok + failed, error_kinds={"http_503": failed}, backing_off=share)
    check = named(checks([low, high]))["back_off"]

    assert (check.ok, check.value) == (ok, share)
    assert check.levels == ((1,) if share > 0.05 else ())
    assert "back_off" not in named(checks([low, replace(high, backing_off=0.0)]))


@pytest.mark.parametrize("paused", [0.97, 0.0])
def test_a_level_in_which_no_request_was_sent_is_marked_and_named_in_the_verdict(paused):
    levels = closed_queue((4, 8, 16), 64)
    nothing = LevelFigures(2, 16.0, users=16.0, window=30.0, backing_off=paused)
    check = named(checks([*levels[:2], nothing]))["any_requests"]
    verdict = find([*levels[:2], nothing])

    assert (check.ok, check.levels) == (False, (2,))
    assert ("97 % of their time" in check.says) == bool(paused)
    assert all("16 users left out, as no request was sent" in number.why for number in verdict.numbers().values())
    assert "any_requests" not in named(checks(levels))
    assert "any_requests" not in named(checks([*levels[:2], replace(nothing, unit="rate")]))


@pytest.mark.parametrize(
    ("wait", "cycle", "ok"), [(0.059, 0.026, False), (0.0076, 0.0167, True), (0.18, 0.46, True), (0.004, 0.001, True)]
)
def test_answers_that_wait_for_their_turn_longer_than_a_request_takes_mark_their_level(wait, cycle, ok):
    levels = [figures(4, 4 / cycle, 0.005, cycle)]
    check = named(checks(levels, Facts(turn_wait={0: wait})))["turn_wait"]

    assert check.ok is ok
    assert check.levels == (() if ok else (0,))
