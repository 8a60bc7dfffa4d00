"""The figures that the server reports, checked against ours."""

import math

import pytest

from llmlocust.analysis.checks.check import Check, Facts
from llmlocust.analysis.checks.server import server_counts, server_times
from llmlocust.metrics.levels import RATE, LevelFigures, Summary
from llmlocust.metrics.telemetry import TelemetrySummary

NO_FACTS = Facts()


def level(
    ok=400,
    finished=None,
    *,
    index=0,
    load=10.0,
    tokens=None,
    generated=None,
    aborted=math.nan,
    ttft=None,
    server=None,
    queue=None,
    bounds=None,
    **figures,
):
    """Return a level of 40 s in which `ok` requests were answered here, and the server finished `finished`.

    `bounds`: those of the requests that the server finished, if it was not scraped at the borders of the window.
    """
    finished, tokens = ok if finished is None else finished, ok * 50.0 if tokens is None else tokens
    telemetry = {
        "finished": TelemetrySummary(40, finished / 40.0, increase=finished, increase_bounds=bounds),
        "generation_tokens": TelemetrySummary(
            40,
            increase=finished * 50.0 if generated is None else generated,
            increase_bounds=bounds and (bounds[0] * 50.0, bounds[1] * 50.0),
        ),
        "aborted": TelemetrySummary(40, increase=aborted),
    }
    if server is not None:
        telemetry["server.ttft"] = TelemetrySummary(40, server)
    if queue is not None:
        telemetry["server.queue"] = TelemetrySummary(40, queue)
    metrics = {"e2e": Summary(ok, 1.0)} | ({} if ttft is None else {"ttft": Summary(ok, ttft)})
    return LevelFigures(
        index,
        load,
        window=40.0,
        requests=ok,
        ok=ok,
        throughput=ok / 40.0,
        output_tokens_per_s=tokens / 40.0,
        metrics=figures.pop("metrics", {}) | metrics,
        telemetry={key: (summary,) for key, summary in telemetry.items()},
        **figures,
    )


# -- counts


def test_without_telemetry_there_is_nothing_to_check():
    bare = LevelFigures(0, 10.0, window=40.0, requests=400, ok=400, throughput=10.0)
    assert server_counts([bare], NO_FACTS) is None
    assert server_times([bare], NO_FACTS, []) is None


@pytest.mark.parametrize("finished", [400, 390, 412])
def test_requests_in_flight_at_the_borders_are_no_difference(finished):
    check = server_counts([level(400, finished)], NO_FACTS)
    assert (check.ok, check.levels) == (True, ())
    assert check.says.startswith(
        f"The server finished {finished} requests in the measured windows, and 400 were answered"
    )


@pytest.mark.parametrize(
    ("finished", "bounds", "ok", "levels"),
    [
        (440, (400, 480), True, ()),  # all of the difference may be before or after the window
        (440, (430, 450), True, (0,)),  # at least 30 of it are inside
        (360, (320, 400), True, ()),
        (360, (350, 370), True, (0,)),
        (700, (380, 1000), True, ()),  # a source that is read every 30 s
        (700, (600, 800), False, (0,)),  # surely others' requests
        (300, (300, math.inf), True, ()),  # no answer after the end of the level
        (700, (600, math.inf), False, (0,)),
    ],
)
def test_a_difference_counts_if_the_scrapes_around_the_borders_do_not_explain_it(finished, bounds, ok, levels):
    check = server_counts([level(400, finished, bounds=bounds)], NO_FACTS)
    assert (check.ok, check.levels) == (ok, levels)


def test_other_clients_of_the_server_fail_the_check():
    check = server_counts([level(400), level(400, 700, index=1, load=20.0)], NO_FACTS)
    assert (check.ok, check.levels) == (False, (1,))
    assert check.says.startswith("At 20 users the server finished 700 requests, but 400 were answered here.")
    assert (
        "It generated 35\N{NARROW NO-BREAK SPACE}000 tokens, and 20\N{NARROW NO-BREAK SPACE}000 arrived." in check.says
    )


@pytest.mark.parametrize(
    "harmless",
    [
        level(400, 800, generated=20000.0),  # two choices per request
        level(400, 800, generated=math.nan),
        level(400, 440),  # a few requests of others
    ],
)
def test_a_server_that_only_counts_more_is_noted(harmless):
    check = server_counts([harmless], NO_FACTS)
    assert (check.ok, check.levels) == (True, (0,))
    assert "more requests than were answered here" in check.says


def test_a_server_may_count_each_text_of_a_request():
    check = server_counts([level(400, 3200, generated=0.0, tokens=0.0, inputs_per_s=80.0)], NO_FACTS)
    assert (check.ok, check.levels) == (True, ())


def test_answers_that_the_client_cut_may_be_finished_on_the_server():
    kinds = {"timeout_total": 100, "http_503": 300}
    check = server_counts([level(200, 300, error_kinds=kinds, generated=15000.0)], NO_FACTS)
    assert check.ok
    assert "finished more requests" not in check.says
    assert "those of requests that failed here" in check.says


def test_attempts_that_were_retried_may_be_finished_on_the_server():
    retried = {"timeout_first_token": 300, "http_503": 900}
    server = {"finished": 690, "generated": 34_500.0}
    assert not server_counts([level(400, **server)], NO_FACTS).ok
    check = server_counts([level(400, **server, retries=1200, retried=retried)], NO_FACTS)
    assert check.ok
    assert "finished more requests" not in check.says


def test_one_of_several_replicas_is_recognised():
    levels = [level(400, 130), level(800, 270, index=1, load=20.0), level(1200, 405, index=2, load=40.0)]
    check = server_counts(levels, NO_FACTS)
    assert (check.ok, check.levels) == (True, (0, 1, 2))
    assert "One of about 3 replicas seems to be observed." in check.says


def test_a_server_that_answered_only_some_of_the_requests_is_noted():
    check = server_counts([level(400, 390), level(800, 500, index=1, load=20.0)], NO_FACTS)
    assert (check.ok, check.levels) == (True, (1,))
    assert "Another replica, a cache or a proxy answered the others" in check.says


def test_requests_that_the_server_says_were_aborted_are_named():
    check = server_counts([level(400, 300, aborted=98.0), level(400, index=1, load=20.0)], NO_FACTS)
    assert "It counts 98 as aborted." in check.says


@pytest.mark.parametrize("facts", [Facts(telemetry_events={1}), Facts(lost_workers={1: ["a"]})])
def test_a_level_with_a_restart_or_a_lost_worker_is_left_out(facts):
    check = server_counts([level(400), level(400, 90, index=1, load=20.0)], facts)
    assert (check.ok, check.levels) == (True, ())
    assert server_counts([level(400, 90, index=1)], facts) is None


def test_tokens_are_compared_where_requests_agree():
    check = server_counts([level(400, tokens=20000.0, generated=26000.0)], NO_FACTS)
    assert (check.ok, check.levels) == (True, (0,))
    assert "generated more tokens than arrived" in check.says
    check = server_counts([level(400, tokens=26000.0, generated=20000.0, counted_chunks=1.0)], NO_FACTS)
    assert "generated fewer tokens than were counted here" in check.says
    assert check.says.endswith("Chunks were counted as tokens, because the server reported no usage.")


def test_a_rate_has_its_requests_in_flight_by_littles_law():
    assert server_counts([level(400, 421, unit=RATE)], NO_FACTS).levels == (0,)
    assert server_counts([level(400, 412, unit=RATE)], NO_FACTS).levels == ()


# -- times


def test_times_that_agree_are_one_sentence():
    check = server_times([level(ttft=0.5, server=0.49)], NO_FACTS, [])
    assert (check.ok, check.levels) == (True, ())
    assert check.says == "The server's own mean TTFT differs from ours by at most 10 ms."


def test_time_between_client_and_server_is_noted():
    check = server_times([level(ttft=0.1, server=0.09), level(index=1, ttft=1.5, server=1.0, queue=0.8)], NO_FACTS, [])
    assert (check.ok, check.levels) == (True, (1,))
    assert check.value == pytest.approx(0.5)
    assert check.says == (
        "At 10 users up to 500 ms of the mean TTFT lies between client and server (1.5 s here, 1 s on the server, of which "
        "800 ms in its queue). It is not known which of them takes it: the network, a proxy, or the server before its engine."
    )


def test_the_load_generator_takes_it_if_its_checks_say_so():
    late = Check("client_cpu", False, 0.99, 0.9, "", (0,))
    check = server_times([level(ttft=1.5, server=1.0)], NO_FACTS, [late])
    assert check.says.endswith("The load generator takes it, by other checks: client CPU.")
    elsewhere = Check("client_cpu", False, 0.99, 0.9, "", (7,))
    assert "not known" in server_times([level(ttft=1.5, server=1.0)], NO_FACTS, [elsewhere]).says
    retried = server_times([level(ttft=1.5, server=1.0, retries=40)], NO_FACTS, [late])
    assert retried.says.endswith("Retries take it: the times of a retried request count from its first attempt.")


def test_the_network_takes_it_if_connections_take_as_long():
    far = level(ttft=0.4, server=0.2, metrics={"connect": Summary(10, 0.18)})
    assert "The network takes it: opening a connection takes 180 ms" in server_times([far], NO_FACTS, []).says


def test_a_server_whose_times_are_longer_is_noted():
    check = server_times([level(ttft=0.2, server=0.9)], NO_FACTS, [])
    assert (check.ok, check.levels) == (True, (0,))
    assert "longer than ours" in check.says


def test_the_end_to_end_time_stands_in_for_ttft():
    one = level()
    e2e = {"server.e2e": (TelemetrySummary(40, 0.5),)}
    check = server_times([LevelFigures(0, 10.0, metrics=one.metrics, telemetry=e2e)], NO_FACTS, [])
    assert "500 ms of the mean end-to-end time" in check.says
