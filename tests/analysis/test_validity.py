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


def by_key(results):
    return {check.key: check for check in results}


def test_a_good_run_passes_all_checks():
    levels = closed_queue((4, 8, 16, 32), 64)
    facts = Facts({0: 0.2}, {0: 0.001}, rows_seen=10, rows_kept=10, sent=5, ended=5, clocks={"kernel": 5})
    assert all(check.ok for check in checks(levels, facts))


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
def test_facts_that_distort_the_numbers_fail(facts, name):
    check = by_key(checks(closed_queue((4, 8), 64), facts))[name]
    assert not check.ok
    assert check.says


def test_failed_checks_mark_their_levels():
    levels = closed_queue((4, 8), 64)
    assert by_key(checks(levels, Facts(client_cpu={1: 0.97})))["client_cpu"].levels == (1,)


@pytest.mark.parametrize(
    ("off", "share"),
    [
        ({"users": 3.0}, "25 %"),
        ({"users": 5.0}, "25 %"),
        ({"stale_share": 0.2}, "20 %"),
        ({"users": 3.9, "stale_share": 0.04}, ""),
    ],
)
def test_a_level_whose_load_was_off_the_target_is_marked_with_the_share(off, share):
    low, high = closed_queue((4, 8), 64)
    check = by_key(checks([replace(low, **off), high]))["levels_reached"]
    assert check.ok == (not share)
    assert check.levels == ((0,) if share else ())
    assert not share or check.says.startswith(f"At 4 users the load was off by up to {share}: ")


def test_too_few_requests_name_the_number_needed():
    results = by_key(checks([figures(1, 0.2, 0.1, 1.0), figures(2, 3.0, 0.1, 1.0, index=1)]))
    assert not results["requests_for_p95"].ok
    assert "73" in results["requests_for_p95"].says
    assert results["requests_for_p95"].levels == (0,)
    assert results["requests_for_p99"].ok  # only a note if no threshold has this percentile
    assert not by_key(checks([figures(1, 1.2, 0.1, 1.0)], None, [Threshold.parse("e2e.p99 < 1s")]))[
        "requests_for_p99"
    ].ok


def test_too_few_requests_doubt_only_the_levels_that_decide():
    levels = [figures(1, 0.2, 0.1, 1.0), figures(2, 3.0, 0.1, 1.0, index=1)]
    check = by_key(checks(levels, Facts(decisive={1})))["requests_for_p95"]
    assert check.ok
    assert check.levels == (0,)
    assert not by_key(checks(levels, Facts(decisive={0})))["requests_for_p95"].ok


def test_aborted_and_missed_levels():
    level = figures(4, 5.0, 0.1, 1.0)
    results = by_key(checks([replace(level, aborted=90, reached=False, counted_chunks=1.0)]))
    assert not results["aborted_requests"].ok
    assert not results["levels_reached"].ok
    assert results["token_counts"].ok
    assert "chunks" in results["token_counts"].says


def test_more_in_flight_than_users_is_impossible():
    check = by_key(checks([figures(10, 40.0, 0.1, 1.0)]))["littles_law"]
    assert not check.ok
    assert check.value == pytest.approx(4.0, rel=0.1)


def test_published_tables_that_contradict_themselves_fail():
    assert not by_key(checks(case("vllm_two_gpus")))["littles_law"].ok
    llamacpp = by_key(checks(case("llamacpp_cpu", window=120.0), Facts(think_time=5.0)))
    assert llamacpp["littles_law"].ok
    assert not llamacpp["think_time"].ok
    assert "5 s does not fit" in llamacpp["think_time"].says


def test_both_process_checks_of_one_key_are_kept_and_a_failed_check_replaces_one_that_passed():
    own = [
        Check("run", False, None, None, "one"),
        Check("run", False, None, None, "two"),
        Check("client_cpu", True, 0.1, 0.9, "ok"),
    ]
    results = checks(closed_queue((4, 8), 64), Facts(client_cpu={0: 0.99}, process_checks=own))
    assert [check.says for check in results if check.key == "run"] == ["one", "two"]
    assert not by_key(results)["client_cpu"].ok


# -- answers without tokens, answers of different lengths


def test_answers_without_a_token_fail():
    good = figures(4, 5.0, 0.1, 1.0)
    empty = replace(figures(8, 90.0, None, 1.0, index=1), metrics={}, output_tokens=0.0)
    check = by_key(checks([good, empty]))["empty_answers"]
    assert not check.ok
    assert check.levels == (1,)
    assert "At 8 users up to 100 % of the successful requests returned no token" in check.says
    assert not by_key(checks([replace(empty, level=0)]))["empty_answers"].ok
    assert by_key(checks([good]))["empty_answers"].ok


def test_a_share_of_empty_answers_marks_its_level():
    levels = [figures(4, 5.0, 0.1, 1.0), figures(8, 9.0, 0.1, 1.0, index=1)]
    assert by_key(checks(levels, Facts(empty={0: 0.0, 1: 0.02})))["empty_answers"].levels == (1,)
    assert by_key(checks(levels, Facts(empty={0: 0.0, 1: 0.008})))["empty_answers"].ok


def test_counted_tokens_that_were_not_seen_are_no_empty_answers():
    counted = figures(4, 5.0, 0.1, 1.0)
    unread = replace(figures(8, 9.0, None, 1.0, index=1), metrics={}, output_tokens=30.0)
    facts = Facts(empty={0: 0.0, 1: 0.0}, unread={0: 0.0, 1: 1.0}, unread_fields="choices.delta.voice")
    results = by_key(checks([counted, unread], facts))
    check = results["unread_tokens"]
    assert (check.ok, check.levels, check.value) == (False, (1,), 1.0)
    assert "At 8 users the server reported token counts for up to 100 % of the successful requests" in check.says
    assert "choices.delta.voice" in check.says
    assert results["empty_answers"].ok
    assert "empty_answers" not in by_key(checks([replace(unread, level=0)], Facts(unread={0: 1.0})))


def test_unread_tokens_are_not_mentioned_if_every_token_was_seen():
    assert "unread_tokens" not in by_key(checks([figures(4, 5.0, 0.1, 1.0)], Facts(unread={0: 0.005})))


@pytest.mark.parametrize(
    "tokens, noise, ok",
    [(200, 0.01, True), (240, 0.01, True), (300, 0.01, False), (120, 0.01, False), (300, 0.2, True)],
)
def test_levels_with_answers_of_different_lengths_cannot_be_compared(tokens, noise, ok):
    levels = [
        replace(figures(4, 5.0, 0.1, 1.0), output_tokens=200.0),
        replace(figures(8, 9.0, 0.1, 1.0, index=1), output_tokens=float(tokens)),
    ]
    check = by_key(checks(levels, Facts(length_noise={0: noise, 1: noise})))["answer_length"]
    assert check.ok is ok
    assert check.levels == (() if ok else (1,))
    if not ok:
        assert f"200 tokens on average at 4 users, but {tokens} at 8 users" in check.says


def test_lengths_of_few_answers_may_differ():
    levels = [
        replace(figures(4, 0.1, 0.1, 1.0), output_tokens=200.0),
        replace(figures(8, 0.1, 0.1, 1.0, index=1), output_tokens=330.0),
    ]
    assert by_key(checks(levels))["answer_length"].ok


# -- a run that was stopped


def test_a_stopped_run_is_not_complete():
    levels = [figures(2, 2.0, 0.1, 1.0, window=5.0), figures(4, 4.0, 0.1, 1.0, index=1, window=2.2)]
    check = by_key(checks(levels, Facts(planned=(2, 4, 8), hold=5.0)))["run_completed"]
    assert not check.ok
    assert check.says == "Stopped after 1 of 3 levels; 4 users were held 2.2 of 5 s; 8 users never ran."
    assert check.levels == (1,)


def test_a_run_that_followed_its_plan_is_complete():
    levels = [figures(2, 2.0, 0.1, 1.0, window=5.01), figures(4, 4.0, 0.1, 1.0, index=1, window=4.1)]
    assert by_key(checks(levels, Facts(planned=(2, 4), hold=5.0, stopped=False)))["run_completed"].ok
    assert not by_key(checks(levels, Facts(planned=(2, 4), hold=5.0, stopped=True)))["run_completed"].ok
    assert "run_completed" not in by_key(checks(levels))
    assert not by_key(checks(levels, Facts(stopped=True)))["run_completed"].ok
    # a missing row of a level between others does not mean that the run was stopped
    assert by_key(checks([levels[0], replace(levels[1], level=2)], Facts(planned=(2, 3, 4), hold=5.0)))[
        "run_completed"
    ].ok


def test_short_levels_are_noted():
    results = by_key(checks([figures(2, 20.0, 0.01, 0.1, window=3.0), figures(60, 1.5, 1.0, 40.0, index=1)]))
    check = results["level_length"]
    assert check.ok
    assert check.levels == (0, 1)
    assert "2 users were measured for less than 5 s" in check.says
    assert "at 60 users each user sent fewer than 2 requests" in check.says


# -- several tokens that arrive together


def test_many_tokens_that_arrive_together_are_blamed_on_a_proxy():
    level = figures(4, 5.0, 0.1, 1.0)
    gathered = by_key(checks([replace(level, coalesced=0.9, uncertain=0.01)]))["tokens_together"]
    assert "a proxy in front of it buffers them" in gathered.says
    assert gathered.levels == (0,)
    late = by_key(checks([replace(level, coalesced=0.3, uncertain=0.29)]))["tokens_together"]
    assert "proxy" not in late.says
    assert late.levels == ()


# -- tokens that waited for the load generator


def ranged(load, uncertain, low, high, metric="itl", index=0, count=1000):
    level = figures(load, 5.0, 0.1, 1.0, index=index)
    summary = replace(
        level.metric(metric), count=count, ranges={"p50": (0.01, 0.01), "p99": (low, high), "p99_9": (0.01, 9.0)}
    )
    return replace(level, uncertain=uncertain, metrics={**level.metrics, metric: summary})


@pytest.mark.parametrize(
    "low, high, ok",
    [
        (0.012, 0.0125, True),  # half a millisecond is narrow enough
        (0.012, 0.2, False),
        (2.0, 2.05, True),  # and so is one fortieth
        (2.0, 2.5, False),
    ],
)
@pytest.mark.parametrize("metric", ["itl", "ttft"])
def test_a_level_whose_percentiles_are_wide_ranges_is_marked(metric, low, high, ok):
    levels = [ranged(4, 0.0, 0.011, 0.011, metric), ranged(8, 0.2, low, high, metric, index=1)]
    check = by_key(checks(levels))["token_times"]
    assert check.ok == ok
    assert check.value == 0.2
    assert check.levels == (() if ok else (1,))


def test_a_percentile_of_too_few_values_marks_no_level():
    assert by_key(checks([ranged(4, 0.2, 0.012, 0.2, count=99)]))["token_times"].ok


def test_the_check_of_token_times_names_ranges_and_a_remedy():
    levels = [ranged(4, 0.1, 0.012, 0.05), ranged(8, 0.2, 0.012, 0.2, index=1)]
    says = by_key(checks(levels))["token_times"].says
    assert "At 4 and 8 users" in says
    assert "up to 20 %" in says
    assert "p99 ITL at 8 users is only known to be 12 to 200 ms" in says
    assert "--processes" in says


@pytest.mark.parametrize(
    "lag, clocks, itl, ok",
    [
        (0.003, {"user": 9}, 0.012, False),
        (0.0015, {"user": 9}, 0.012, True),
        (0.003, {"user": 9}, 0.1, True),  # the lag is a small share of such an ITL
        (0.3, {"kernel": 9}, 0.012, True),
        (0.003, {"kernel": 9, "user": 9}, 0.012, False),
        (0.3, {"kernel": 4999, "user": 1}, 0.012, True),
        (0.003, {}, 0.012, False),
    ],
)
def test_a_late_loop_fails_if_it_takes_the_arrival_times(lag, clocks, itl, ok):
    level = figures(4, 5.0, 0.1, 1.0)
    summary_of_itl = replace(level.metric("itl"), quantiles={"p99": itl})
    levels = [replace(level, metrics={**level.metrics, "itl": summary_of_itl})]
    assert by_key(checks(levels, Facts(loop_lag={0: lag}, clocks=clocks)))["event_loop_lag"].ok == ok


def test_token_times_are_not_checked_without_ranges():
    assert "token_times" not in by_key(checks([figures(4, 5.0, 0.1, 1.0)]))


# -- Little's law and the think time


def test_the_time_until_the_response_is_read_belongs_to_the_request():
    # the last token comes 24 ms before the end of the response
    levels = [figures(10, 10 / 0.054, 0.01, 0.03)]
    assert not by_key(checks(levels, Facts(think_time=0.0)))["think_time"].ok
    assert by_key(checks(levels, Facts(think_time=0.0, busy={0: 0.054})))["think_time"].ok


def test_a_few_milliseconds_between_requests_fit_no_think_time():
    levels = [figures(10, 10 / 0.009, 0.001, 0.003)]
    assert by_key(checks(levels, Facts(think_time=0.0)))["think_time"].ok


@pytest.mark.parametrize("think", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("cycle", [0.01, 0.02, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("busy", [0.005, 0.5, 1.4])
def test_the_check_of_think_time_never_contradicts_itself(think, cycle, busy):
    check = by_key(checks([figures(10, 10 / cycle, 0.001, busy)], Facts(think_time=think)))["think_time"]
    if not check.ok:
        sentence = check.says
        assert "0 ms between" not in sentence
        assert not (think == 0.0 and "no time" in sentence)


def test_think_time_is_not_checked_at_levels_with_failures():
    levels = [figures(10, 5.0, 0.01, 0.03, errors=0.03)]
    assert "think_time" not in by_key(checks(levels, Facts(think_time=0.0)))


# -- the number of requests that a percentile needs


def test_a_note_does_not_read_as_a_failure():
    check = by_key(checks([figures(2, 1.0, 0.1, 1.0)]))["requests_for_p99"]
    assert check.ok
    assert check.says.startswith("p99 at 2 users is based on fewer than 100 requests (fewest: 60). Use p95 there")


def test_levels_without_success_name_no_slowest_requests():
    levels = [figures(n, 0.0, None, 1.0, index=i, errors=1.0) for i, n in enumerate((2, 4))]
    results = by_key(checks(levels))
    assert not results["any_success"].ok
    assert not any("slowest" in check.says for check in results.values())


def test_no_levels_at_all():
    assert {check.key: check.ok for check in checks([])} == {"any_requests": False}


# -- changes inside a level


SLOW_FIRST = Course("tpot", 3.0, (0.05, 0.049, *(0.02, 0.0201) * 4))
SLOWER = Course("tpot", 3.0, tuple(0.02 * 1.1**place for place in range(10)))
STEADY = Course("tpot", 3.0, (0.02, 0.0201) * 5)


def inside(*courses, unit="users", **facts):
    levels = [replace(level, unit=unit, window=30.0) for level in closed_queue((4, 8), 64)]
    return by_key(checks(levels, Facts(courses={0: [STEADY], 1: courses}, **facts)))


def test_a_warm_up_that_is_too_short_marks_its_level():
    results = inside(SLOW_FIRST, warmup=5.0)
    check = results["warm_up"]
    assert not check.ok
    assert check.levels == (1,)
    assert "TPOT went 49.5 → 20 ms at 8 users" in check.says
    assert "6 s longer (--warmup, 11 s in all)" in check.says
    assert results["drift"].ok


def test_drift_marks_its_level_and_advises_a_longer_hold():
    results = inside(SLOWER)
    assert not results["drift"].ok
    assert results["drift"].levels == (1,)
    assert "Hold such a level for 90 s or more" in results["drift"].says
    assert results["warm_up"].ok


def test_drifting_waits_of_an_open_load_are_reported_and_fail_nothing():
    waits = replace(SLOWER, metric="ttft")
    assert not inside(waits)["drift"].ok
    check = inside(waits, unit="rate")["drift"]
    assert check.ok
    assert check.levels == (1,)
    assert not inside(SLOWER, waits, unit="rate")["drift"].ok  # drift of TPOT fails at open loads too


def test_drift_and_warm_up_are_not_checked_without_courses():
    assert not {"drift", "warm_up"} & set(by_key(checks(closed_queue((4, 8), 64))))
    assert inside(STEADY)["drift"].ok
    assert inside(STEADY)["warm_up"].ok


# -- processes, caches, counts, clocks


def of_facts(**facts):
    return by_key(checks(closed_queue((4, 8), 64), Facts(**facts)))


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
    assert of_facts(cache_hits={0: 0.02, 1: 0.1}, prompts=20)["prefix_cache"].ok  # few hits
    shared = of_facts(cache_hits={1: 0.6}, shared=True)["prefix_cache"]
    assert shared.ok
    assert shared.levels == (1,)


def test_repeated_prompts_fail_if_the_server_reports_no_cache_hits():
    check = of_facts(prompts=20)["prefix_cache"]
    assert not check.ok
    assert check.levels == (0, 1)
    assert check.says.startswith("The same 20 prompts were sent repeatedly")
    assert of_facts(prompts=0)["prefix_cache"].says.startswith("The same prompts were")
    assert "prefix_cache" not in of_facts(prompts=None)


@pytest.mark.parametrize(
    "tokens_per_chunk, ok, marks",
    [
        ({0: 1.0, 1: 1.01}, True, ()),
        ({0: 0.5, 1: 1.0}, False, (0,)),
        ({0: 4.0, 1: 4.1}, True, (0, 1)),
        ({0: 1.0, 1: 3.0}, False, (1,)),
    ],
)
def test_reported_usage_is_compared_with_chunks(tokens_per_chunk, ok, marks):
    check = of_facts(tokens_per_chunk=tokens_per_chunk)["usage"]
    assert (check.ok, check.levels) == (ok, marks)


@pytest.mark.parametrize(
    "clocks, lag, ok, says",
    [
        ({"kernel": 5000}, 0.3, True, "come from the kernel"),
        # the check of the event loop's lag reports this lateness
        ({"user": 5000}, 0.3, True, "come from the load generator's own clock"),
        ({"kernel": 4999, "user": 1}, 0.3, True, "0.02 % of the measured requests"),
        ({"kernel": 4994, "user": 6}, 0.3, False, "0.1 % of the measured requests"),
        ({"kernel": 50, "user": 50}, 0.001, True, "at most 1 ms late"),
        ({"kernel": 50, "user": 50}, 0.3, False, "50 % of the measured requests"),
    ],
)
def test_the_clock_of_arrival_times_is_reported(clocks, lag, ok, says):
    check = of_facts(clocks=clocks, loop_lag={0: lag})["clock"]
    assert check.ok is ok
    assert says in check.says


def test_answers_that_the_event_loop_read_are_reported():
    check = of_facts(clocks={"kernel": 50}, readers={"native": 20, "loop": 30})["clock"]
    assert check.ok
    assert "native reader was not available" in check.says
    assert "native" not in of_facts(clocks={"kernel": 50}, readers={"native": 50})["clock"].says


def test_two_clocks_of_unknown_lateness_cannot_be_compared():
    assert not of_facts(clocks={"kernel": 50, "user": 50})["clock"].ok
    assert "clock" not in of_facts(clocks={})


# -- numbers that are still valid


def test_numbers_are_valid_if_none_of_their_levels_is_marked():
    supporting = {"slo_limit": {0, 1}, "knee": {2, 3}}
    assert valid_numbers([Check("drift", False, 2.0, 1.2, "", (1,))], supporting) == {"slo_limit": False, "knee": True}
    assert valid_numbers([Check("drift", True, 1.0, 1.2, "", (1,))], supporting) == {"slo_limit": True, "knee": True}
    assert valid_numbers([Check("run_ended", False, None, None, "")], supporting) == {"slo_limit": False, "knee": False}
    # levels that never ran do not make the others invalid
    assert valid_numbers([Check("run_completed", False, 3, 5, "")], supporting) == {"slo_limit": True, "knee": True}


def open_load(load, delay, ttft=0.1, index=0, **more):
    """Return a level of a rate; `delay` is the median lateness of its requests in seconds."""
    level = figures(load, load, ttft, 1.0, index=index, unit="rate")
    return replace(level, due=level.requests, metrics={**level.metrics, "delay": summary(level.ok, delay)}, **more)


def test_dropped_requests_mark_their_level():
    results = by_key(checks([open_load(10, 0.001), open_load(20, 0.001, index=1, dropped=300)]))
    assert not results["cap_in_flight"].ok
    assert results["cap_in_flight"].levels == (1,)
    assert "dropped 300 of 1200 requests" in results["cap_in_flight"].says
    assert by_key(checks([open_load(10, 0.001)]))["cap_in_flight"].ok


def test_a_level_whose_requests_were_late_is_marked():
    results = by_key(checks([open_load(10, 0.001), open_load(20, 0.01, index=1)]))
    assert not results["schedule_delay"].ok
    assert results["schedule_delay"].levels == (1,)


def test_a_delay_that_is_small_compared_with_ttft_passes():
    assert not by_key(checks([open_load(10, 0.01, ttft=0.1)]))["schedule_delay"].ok
    assert by_key(checks([open_load(10, 0.01, ttft=2.0)]))["schedule_delay"].ok


def test_closed_loads_have_no_checks_of_the_schedule():
    assert {"cap_in_flight", "schedule_delay"}.isdisjoint(by_key(checks(closed_queue((4, 8), 64))))


# -- requests that never reached the server

REMEDIES = {
    "client_limit": ("client_limits", "ulimit -n"),
    "network": ("network", "Check the network"),
    "name_lookup": ("name_lookup", "DNS"),
    "proxy": ("proxy", "HTTPS_PROXY"),
    "tls": ("tls", "certificate"),
    "not_sent": ("requests_not_sent", "headers"),
}


def with_unsent(kind, share):
    """Return two levels; this share of the second level's requests never reached the server."""
    low, high = closed_queue((4, 8), 64)
    return [low, replace(high, error_kinds={kind: round(high.requests * share / (1.0 - share))})]


def test_every_kind_of_failed_requests_has_a_remedy():
    assert set(REMEDIES) == set(CLIENT_KINDS)


@pytest.mark.parametrize("kind", CLIENT_KINDS)
def test_requests_that_never_reached_the_server_mark_their_level_and_name_a_remedy(kind):
    name, remedy = REMEDIES[kind]
    check = by_key(checks(with_unsent(kind, 0.3)))[name]

    assert not check.ok
    assert check.levels == (1,)
    assert check.value == pytest.approx(0.3, abs=0.01)
    assert check.says.startswith("At 8 users up to 30 % of the requests failed because ")
    assert remedy in check.says


def test_few_unsent_requests_pass_with_a_note_and_none_are_not_mentioned():
    check = by_key(checks(with_unsent("client_limit", 0.006)))["client_limits"]

    assert check.ok
    assert "do not count as errors" in check.says
    assert not {name for name, _ in REMEDIES.values()} & set(by_key(checks(closed_queue((4, 8), 64))))


def test_think_time_is_not_checked_if_users_pause_after_unsent_requests():
    level = figures(10, 5.0, 0.01, 0.03)
    paused = replace(level, error_kinds={"name_lookup": 100})
    assert "think_time" in by_key(checks([level], Facts(think_time=0.0)))
    assert "think_time" not in by_key(checks([paused], Facts(think_time=0.0)))


# -- a load generator without enough CPU time


def waiting(wait, ttft=0.1, e2e=1.0, index=0, throughput=40.0, mean=None, **more):
    """Return four users that wait for the load generator: `wait` is the 95th percentile, `mean` the average."""
    level = figures(4, throughput, ttft, e2e, index=index, **more)
    mean = wait if mean is None else mean
    return replace(level, metrics={**level.metrics, "client_queue": Summary(1000, mean, wait, {"p95": wait})})


@pytest.mark.parametrize(("mean", "ok"), [(0.0046, True), (0.03, False)])
def test_short_waits_after_answers_that_end_together_pass(mean, ok):
    # 50 users in lockstep of 1.43 s; their requests were sent within 15 ms, at 12 % of a core
    level = replace(waiting(0.0146, 0.03, 1.4, mean=mean), load=50.0, users=50.0, throughput=50 / 1.43)
    assert by_key(checks([level]))["client_queue_time"].ok is ok


@pytest.mark.parametrize(
    ("wait", "ttft", "e2e", "ok"),
    [
        (0.165, 0.02, 0.04, False),
        (0.008, 0.1, 1.0, False),  # 5 % of a p95 TTFT of 0.151 s are 7.5 ms
        (0.007, 0.1, 1.0, True),
        (0.004, 0.01, 1.0, True),  # a few milliseconds do not count
        (0.02, None, 0.1, False),  # without streaming, end-to-end latency counts
        (0.02, None, 1.0, True),
    ],
)
@pytest.mark.parametrize("unit", ["users", "rate"])
def test_requests_that_wait_in_the_load_generator_mark_their_level(wait, ttft, e2e, ok, unit):
    levels = [waiting(0.0001), waiting(wait, ttft, e2e, index=1, unit=unit)]
    check = by_key(checks(levels))["client_queue_time"]

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
def test_a_process_that_gets_too_little_cpu_marks_its_level(gauge, name, share, ok):
    levels = closed_queue((4, 8), 64)
    check = by_key(checks(levels, Facts(**{gauge: {0: 0.0, 1: share}})))[name]

    assert (check.ok, check.value) == (ok, share)
    assert check.levels == (() if ok else (1,))
    assert name not in by_key(checks(levels, Facts(**{gauge: {0: math.nan}})))


@pytest.mark.parametrize(
    ("lag", "cycle", "ok"), [(0.059, 0.026, False), (0.037, 0.018, False), (0.0076, 0.0167, True), (0.18, 0.46, True)]
)
def test_a_loop_that_blocks_for_longer_than_a_request_fails_for_users(lag, cycle, ok):
    levels = [figures(4, 4 / cycle, 0.005, cycle)]
    facts = Facts(loop_lag={0: lag}, clocks={"kernel": 5})
    check = by_key(checks(levels, facts))["event_loop_lag"]

    assert check.ok is ok
    assert by_key(checks([replace(levels[0], unit="rate")], facts))["event_loop_lag"].ok


def test_a_starved_load_generator_fails_several_checks():
    """Figures of a run under a CPU limit of 20 %: 24 users, 222 requests/s of 590 that were possible."""
    level = figures(24, 222.0, 0.015, 0.03, index=1)
    starved = replace(level, metrics={**level.metrics, "client_queue": Summary(level.ok, 0.05, 0.2, {"p95": 0.165})})
    facts = Facts(throttled={1: 0.49}, core_wait={1: 0.6}, loop_lag={1: 0.11}, clocks={"kernel": 5}, think_time=0.0)
    failed = {check.key for check in checks([waiting(0.0001), starved], facts) if not check.ok and 1 in check.levels}

    assert failed == {"cpu_throttling", "cpu_wait", "client_queue_time", "event_loop_lag", "think_time"}


@pytest.mark.parametrize(("contradicting", "ok"), [(1, True), (30, False)])
def test_requests_that_contradict_themselves_are_reported_and_many_mark_their_level(contradicting, ok):
    low, high = closed_queue((4, 8), 64)
    assert "request_consistency" not in by_key(checks([low, high]))
    check = by_key(checks([low, replace(high, contradicting=contradicting)]))["request_consistency"]

    assert check.ok is ok
    assert check.levels == (() if ok else (1,))


@pytest.mark.parametrize(
    ("share", "failed", "ok"),
    [
        (0.01, 0, True),  # one pause after a failure that was not measured
        (0.6, 0, False),  # Retry-After of the previous level
        (0.6, 1, False),  # one failure of many says nothing about the server
        (0.6, 200, True),  # the errors are the finding
    ],
)
def test_pauses_after_failures_mark_the_levels_whose_errors_do_not_explain_them(share, failed, ok):
    low, high = closed_queue((4, 8), 64)
    high = replace(high, requests=high.ok + failed, error_kinds={"http_503": failed}, backing_off=share)
    check = by_key(checks([low, high]))["back_off"]

    assert (check.ok, check.value) == (ok, share)
    assert check.levels == ((1,) if share > 0.05 else ())
    assert "back_off" not in by_key(checks([low, replace(high, backing_off=0.0)]))


@pytest.mark.parametrize("paused", [0.97, 0.0])
def test_a_level_in_which_no_request_was_sent_is_marked_and_named_in_the_verdict(paused):
    levels = closed_queue((4, 8, 16), 64)
    silent = LevelFigures(2, 16.0, users=16.0, window=30.0, backing_off=paused)
    check = by_key(checks([*levels[:2], silent]))["any_requests"]
    verdict = find([*levels[:2], silent])

    assert (check.ok, check.levels) == (False, (2,))
    assert ("97 % of their time" in check.says) == bool(paused)
    assert all("16 users left out, as no request was sent" in number.why for number in verdict.numbers().values())
    assert "any_requests" not in by_key(checks(levels))
    assert "any_requests" not in by_key(checks([*levels[:2], replace(silent, unit="rate")]))


@pytest.mark.parametrize(
    ("wait", "cycle", "ok"), [(0.059, 0.026, False), (0.0076, 0.0167, True), (0.18, 0.46, True), (0.004, 0.001, True)]
)
def test_answers_that_wait_longer_than_a_request_to_be_parsed_mark_their_level(wait, cycle, ok):
    levels = [figures(4, 4 / cycle, 0.005, cycle)]
    check = by_key(checks(levels, Facts(turn_wait={0: wait})))["turn_wait"]

    assert check.ok is ok
    assert check.levels == (() if ok else (0,))
