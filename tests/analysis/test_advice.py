import re
from dataclasses import replace

import pytest
from closed_queue import closed_queue, figures

from llmlocust.analysis.advice import advise
from llmlocust.analysis.breakpoints.verdict import find
from llmlocust.analysis.checks.check import Check
from llmlocust.analysis.checks.validity import checks
from llmlocust.metrics.levels import Summary
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import CLIENT_KINDS


def advice(levels, *limits, goodput=None, found=None):
    verdict = find(levels, [Threshold.parse(each) for each in limits], goodput or {})
    return advise(levels, verdict, checks(levels) if found is None else found, goodput or {})


def told(*args, **how):
    return {each.do: each.because for each in advice(*args, **how)}


def with_gaps(levels, *gaps):
    """The levels, their median gaps between tokens told too."""
    return [
        replace(each, metrics={**each.metrics, "itl": Summary(1000, gap, gap, {"p50": gap})})
        for each, gap in zip(levels, gaps, strict=True)
    ]


def test_a_limit_that_is_wide_is_to_be_narrowed_between_its_levels():
    said = told(closed_queue((8, 16, 32, 64), 32, slope=0.0), "ttft.p95 < 500ms")
    assert said["Measure between: 40, 48 and 56 users."] == "The limit lies between 32 and 64 users."


def test_where_nothing_broke_one_goes_higher_and_where_all_did_one_begins_lower():
    fine = closed_queue((2, 4, 8), 32, slope=0.0)
    assert "Raise the load up to 16 users to find the limit." in told(fine, "ttft.p95 < 500ms")
    assert "Start lower: from 0.5 users up." in told(fine, "ttft.p95 < 1ms")


def test_a_queue_before_steady_steps_asks_for_more_places_and_slow_steps_for_faster_ones():
    levels = closed_queue((8, 16, 32, 64, 96), 32, slope=0.0)
    steady = told(with_gaps(levels, *[0.02] * 5), "ttft.p95 < 500ms")
    assert any(each.startswith("Let the server run more requests at once") for each in steady)
    assert not any(each.startswith("Make each step faster") for each in steady)
    slow = told(with_gaps(levels, 0.02, 0.04, 0.08, 0.16, 0.24), "ttft.p95 < 500ms")
    assert not any(each.startswith("Let the server run more requests at once") for each in slow)
    assert slow["Make each step faster (quantisation, a faster or second GPU): the batch itself is slow."] == (
        "The median ITL goes 20 → 80 ms from 8 to 32 users, before any queue."
    )


def test_gaps_that_are_not_known_make_no_advice_about_the_batch():
    said = told(closed_queue((8, 16, 32, 64, 96), 32, slope=0.0), "ttft.p95 < 500ms")
    assert not any("steps" in each or "at once (" in each for each in said)


def test_the_kind_of_failure_decides_its_cure_and_its_count_is_told():
    levels = [figures(5, 5.0, 0.1, 1.0), figures(10, 8.0, 0.1, 1.0, index=1, errors=0.2)]
    said = told(levels, "errors < 1%")
    assert said[
        "Check how many requests the server queues: with a longer queue it rejects fewer requests, but they wait longer."
    ] == ("120 of 600 requests at 10 users: HTTP 503, overloaded.")


def test_good_answers_that_get_fewer_ask_for_admission():
    levels = [figures(5, 5.0, 0.1, 1.0), figures(10, 8.0, 0.1, 1.0, index=1), figures(20, 8.0, 2.0, 3.0, index=2)]
    said = told(levels, "ttft.p95 < 1s", goodput={0: 5.0, 1: 8.0, 2: 1.0})
    assert said["Admit no more than about 10 users at once, and reject the rest early."] == (
        "Requests that meet the thresholds fall from 8/s at 10 users to 1/s at 20 users."
    )
    kept = told(levels, "ttft.p95 < 1s", goodput={0: 5.0, 1: 8.0, 2: 7.5})
    assert not any(each.startswith("Let in") for each in kept)


def test_levels_too_short_for_a_percentile_are_told_how_long_they_need():
    levels = [figures(1, 1.0, 0.1, 1.0, window=10.0), figures(10, 9.0, 0.1, 1.0, index=1, window=10.0)]
    said = told(levels, "ttft.p95 < 500ms")
    # 73 requests at one a second
    assert said["Hold the levels longer: 73 s (--hold)."] == "10 requests succeeded in 10 s at 1 user; p95 needs 73."


def test_a_full_load_generator_comes_first():
    levels = closed_queue((8, 16, 32, 64), 32, slope=0.0)
    full = Check("client_cpu", ok=False, value=0.97, limit=0.9, says="", levels=(3,))
    first = advice(levels, "ttft.p95 < 500ms", found=[full])[0]
    assert first.because == "The busiest process used 97 % of its core."


def test_every_advice_names_a_figure():
    levels = with_gaps(closed_queue((8, 16, 32, 64, 96), 32, slope=0.001), 0.02, 0.03, 0.05, 0.05, 0.05)
    given = advice(levels, goodput={0: 1.0, 1: 2.0, 2: 3.0, 3: 0.0, 4: 0.0})
    assert len(given) > 3
    assert all(re.search(r"\d", each.because) for each in given)


@pytest.mark.parametrize("kind", CLIENT_KINDS)
def test_requests_that_never_reached_the_server_advise_nothing_about_the_server(kind):
    levels = closed_queue((2, 4, 8), 32, slope=0.0)
    levels[2] = replace(levels[2], error_kinds={kind: levels[2].requests})
    given = advice(levels, "ttft.p95 < 500ms")

    assert given[0].do.startswith("Measure again ")
    assert given[0].because == "50 % of a level's requests never reached the server."
    assert not any(word in each.do for each in given for word in ("backlog", "log of the server"))
