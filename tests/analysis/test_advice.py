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


def advice(levels, *limits, goodput=None, check_results=None):
    verdict = find(levels, [Threshold.parse(text) for text in limits], goodput or {})
    return advise(levels, verdict, checks(levels) if check_results is None else check_results, goodput or {})


def reasons(*args, **how):
    return {item.do: item.because for item in advice(*args, **how)}


def with_itl(levels, *medians):
    """Return the levels with these median ITLs."""
    return [
        replace(level, metrics={**level.metrics, "itl": Summary(1000, itl, itl, {"p50": itl})})
        for level, itl in zip(levels, medians, strict=True)
    ]


def test_a_wide_limit_advises_levels_in_between():
    reasons_by_advice = reasons(closed_queue((8, 16, 32, 64), 32, slope=0.0), "ttft.p95 < 500ms")
    assert reasons_by_advice["Measure between: 40, 48 and 56 users."] == "The limit lies between 32 and 64 users."


def test_higher_loads_are_advised_if_every_level_passed_and_lower_ones_if_every_level_failed():
    fine = closed_queue((2, 4, 8), 32, slope=0.0)
    assert "Raise the load up to 16 users to find the limit." in reasons(fine, "ttft.p95 < 500ms")
    assert "Start lower: from 0.5 users up." in reasons(fine, "ttft.p95 < 1ms")


def test_a_queue_before_steady_steps_advises_more_places_and_slow_steps_advise_faster_ones():
    levels = closed_queue((8, 16, 32, 64, 96), 32, slope=0.0)
    steady_advice = reasons(with_itl(levels, *[0.02] * 5), "ttft.p95 < 500ms")
    # without telemetry it is not known whether the cache has room
    assert any(advised.startswith("Check whether the KV cache") for advised in steady_advice)
    assert not any(advised.startswith("Make each step faster") for advised in steady_advice)
    slow_advice = reasons(with_itl(levels, 0.02, 0.04, 0.08, 0.16, 0.24), "ttft.p95 < 500ms")
    assert not any("requests at once" in advised for advised in slow_advice)
    reason = slow_advice["Make each step faster (quantisation, a faster or second GPU): the batch itself is slow."]
    assert reason == "Time per output token: 20 ms at 8, 160 ms at 64 users."


def test_an_unknown_itl_gives_no_advice_about_the_batch():
    reasons_by_advice = reasons(closed_queue((8, 16, 32, 64, 96), 32, slope=0.0), "ttft.p95 < 500ms")
    assert not any("steps" in advised or "at once (" in advised for advised in reasons_by_advice)


def test_the_kind_of_failure_decides_the_advice_and_its_reason_has_the_count():
    levels = [figures(5, 5.0, 0.1, 1.0), figures(10, 8.0, 0.1, 1.0, index=1, errors=0.2)]
    reasons_by_advice = reasons(levels, "errors < 1%")
    assert reasons_by_advice[
        "Check how many requests the server queues: with a longer queue it rejects fewer requests, but they wait longer."
    ] == ("120 of 600 requests at 10 users: HTTP 503, overloaded.")


def test_falling_goodput_advises_admission_control():
    levels = [figures(5, 5.0, 0.1, 1.0), figures(10, 8.0, 0.1, 1.0, index=1), figures(20, 8.0, 2.0, 3.0, index=2)]
    reasons_by_advice = reasons(levels, "ttft.p95 < 1s", goodput={0: 5.0, 1: 8.0, 2: 1.0})
    assert reasons_by_advice["Admit no more than about 10 users at once, and reject the rest early."] == (
        "Requests that meet the thresholds fall from 8/s at 10 users to 1/s at 20 users."
    )
    admitted = reasons(levels, "ttft.p95 < 1s", goodput={0: 5.0, 1: 8.0, 2: 7.5})
    assert not any(item.startswith("Let in") for item in admitted)


def test_levels_too_short_for_a_percentile_advise_the_seconds_needed():
    levels = [figures(1, 1.0, 0.1, 1.0, window=10.0), figures(10, 9.0, 0.1, 1.0, index=1, window=10.0)]
    reasons_by_advice = reasons(levels, "ttft.p95 < 500ms")
    # 73 requests at one a second
    assert (
        reasons_by_advice["Hold the levels longer: 73 s (--hold)."]
        == "10 requests succeeded in 10 s at 1 user; p95 needs 73."
    )


def test_a_full_load_generator_comes_first():
    levels = closed_queue((8, 16, 32, 64), 32, slope=0.0)
    full = Check("client_cpu", ok=False, value=0.97, limit=0.9, says="", levels=(3,))
    first_item = advice(levels, "ttft.p95 < 500ms", check_results=[full])[0]
    assert first_item.because == "The busiest process used 97 % of its core."


def test_every_reason_has_a_figure():
    levels = with_itl(closed_queue((8, 16, 32, 64, 96), 32, slope=0.001), 0.02, 0.03, 0.05, 0.05, 0.05)
    advised = advice(levels, goodput={0: 1.0, 1: 2.0, 2: 3.0, 3: 0.0, 4: 0.0})
    assert len(advised) > 3
    assert all(re.search(r"\d", item.because) for item in advised)


@pytest.mark.parametrize("kind", CLIENT_KINDS)
def test_requests_that_never_reached_the_server_give_no_advice_about_the_server(kind):
    levels = closed_queue((2, 4, 8), 32, slope=0.0)
    levels[2] = replace(levels[2], error_kinds={kind: levels[2].requests})
    advised = advice(levels, "ttft.p95 < 500ms")

    assert advised[0].do.startswith("Measure again ")
    assert advised[0].because == "50 % of a level's requests never reached the server."
    assert not any(word in item.do for item in advised for word in ("backlog", "log of the server"))
