import math
import random
from dataclasses import replace

import pytest
from closed_queue import GRID, case, closed_queue, figures
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlocust.analysis.breakpoints.steps import more_than
from llmlocust.analysis.breakpoints.verdict import find
from llmlocust.metrics.levels import LevelFigures, Summary
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import CLIENT_KINDS, ERROR_KINDS


def thresholds(*texts):
    return [Threshold.parse(text) for text in texts]


# -- systems whose limits are known


@pytest.mark.parametrize("slope", [0.0005, 0.005])
@pytest.mark.parametrize("slots", [32, 64, 128, 220])
def test_saturation_is_found_where_the_queue_begins(slots, slope):
    saturations = [find(closed_queue(GRID, slots, slope=slope, noise=0.03, seed=seed)).saturation for seed in range(40)]
    hits = [saturation for saturation in saturations if saturation.reached]
    assert len(hits) >= 36
    assert sum(saturation.low <= slots <= saturation.high for saturation in hits) >= len(hits) - 1
    points = sorted(saturation.load for saturation in hits)
    assert points[len(points) // 2] == pytest.approx(slots, rel=0.05)


@pytest.mark.parametrize("slope", [0.0005, 0.005])
def test_a_batch_that_slows_down_is_no_saturation(slope):
    verdicts = [find(closed_queue(GRID, 10**6, slope=slope, noise=0.03, seed=seed)) for seed in range(40)]
    assert not any(verdict.saturation.reached for verdict in verdicts)
    assert not any(verdict.slo_limit.reached for verdict in verdicts)
    assert sum(verdict.collapse.reached for verdict in verdicts) <= 1
    assert "no queue is seen" in verdicts[0].saturation.why


def test_a_system_that_still_scales_has_none_of_the_four():
    verdict = find(closed_queue(GRID, 10**6, slope=0.0))
    assert not any(finding.reached for finding in verdict.numbers().values())
    assert all("not reached up to 300 users" in finding.why for finding in verdict.numbers().values())
    assert verdict.cliffs == ()


def test_the_knee_is_where_elasticity_is_a_half():
    # X = b / (a + k b) has elasticity a / (a + k b), which is a half at b = a / k
    knee = find(closed_queue(GRID, 10**6, step=0.02, slope=0.0005, tokens=100, prefill=0.0)).knee
    assert knee.reached
    assert knee.load == pytest.approx(0.02 / 0.0005, rel=0.15)


def test_think_time_moves_saturation_as_littles_law_says():
    levels = closed_queue((5, 10, 20, 40, 60, 80, 120), 16, think=3.0, slope=0.0)
    service = 0.05 + 100 * 0.02
    saturation = find(levels).saturation
    assert saturation.low <= 16 * (service + 3.0) / service <= saturation.high


def test_saturation_of_an_open_load_is_in_requests_per_second():
    levels = [
        replace(level, unit="rate")
        for level in (
            figures(5, 5.0, 0.1, 1.0, index=0),
            figures(10, 10.0, 0.1, 1.0, index=1),
            figures(20, 14.0, 8.0, 9.0, index=2),
            figures(40, 14.1, 20.0, 21.0, index=3),
        )
    ]
    saturation = find(levels).saturation
    assert saturation.reached
    assert (saturation.level_ok, saturation.level_bad) == (10, 20)
    assert saturation.load == pytest.approx(14.05)
    assert saturation.low <= 14.05 <= saturation.high
    assert "requests/s" in saturation.why


# -- published results


def test_a_rate_is_of_conversations_if_these_arrive():
    def of_four_turns(level):
        first_turns = {"delay": Summary(level.requests)}  # the schedule times only the first turn of each
        four_turns = {"requests": 4 * level.requests, "ok": 4 * level.ok, "throughput": 4.0 * level.throughput}
        return replace(level, unit="rate", metrics={**level.metrics, **first_turns}, **four_turns)

    rows = [(5, 5.0, 0.1, 1.0), (10, 10.0, 0.1, 1.0), (20, 14.0, 8.0, 9.0), (40, 14.1, 20.0, 21.0)]
    levels = [of_four_turns(figures(*row, index=n)) for n, row in enumerate(rows)]
    verdict = find(levels, thresholds("ttft.p95 < 100s"))
    assert verdict.saturation.load == pytest.approx(14.05)
    assert "at most 14.1/s of the 20 to 40 requests/s" in verdict.saturation.why
    assert (verdict.slo_limit.level_ok, verdict.slo_limit.level_bad) == (10, 20)  # the backlog grows at that rate


def test_vllm_on_two_gpus_grows_to_its_last_level():
    verdict = find(case("vllm_two_gpus"))
    assert not any(finding.reached for finding in verdict.numbers().values())
    assert verdict.cliffs == ()


def test_llamacpp_peaks_between_8_and_12_and_falls():
    verdict = find(case("llamacpp_cpu", window=120.0))
    assert (verdict.saturation.low, verdict.saturation.high) == (8, 12)
    assert 4 <= verdict.knee.load <= verdict.knee.high <= 12
    assert verdict.collapse.reached
    assert (verdict.collapse.level_ok, verdict.collapse.level_bad) == (12, 16)
    assert verdict.collapse.low <= 12
    assert verdict.collapse.high == 16


def test_gradio_breaks_between_40_and_50():
    verdict = find(case("gradio_gpu"))
    assert (verdict.slo_limit.level_ok, verdict.slo_limit.level_bad) == (40, 50)
    assert 40 < verdict.slo_limit.load < 50
    assert verdict.collapse.high == 50
    assert verdict.cliffs[0].between == (40, 50)
    assert not verdict.saturation.reached
    assert "throughput of the levels is not known" in verdict.saturation.why


def test_a_cluster_with_cliffs_at_three_rates():
    rates = (200, 400, 790, 810, 1200, 1490, 1510, 2200, 2790, 2810)
    p95 = (0.1, 0.1, 0.12, 0.4, 0.42, 0.45, 1.4, 1.5, 1.6, 6.0)
    levels = [
        replace(figures(rate, float(rate), slow / 1.5, slow / 1.4, index=n), unit="rate")
        for n, (rate, slow) in enumerate(zip(rates, p95, strict=True))
    ]
    assert [cliff.between for cliff in find(levels).cliffs] == [(790, 810), (1490, 1510), (2790, 2810)]


# -- the service level


def test_the_crossing_is_between_the_last_good_and_the_first_bad_level():
    levels = [figures(n, n / 2, 0.1 * n, 2.0, index=i) for i, n in enumerate((1, 2, 4, 8))]
    limit = find(levels, thresholds("ttft.p50 < 600ms")).slo_limit
    assert (limit.level_ok, limit.low, limit.high, limit.level_bad) == (4, 4, 8, 8)
    assert limit.load == pytest.approx(6.0)


def test_the_first_level_may_already_fail():
    limit = find([figures(10, 5, 3.0, 4.0), figures(20, 5, 6.0, 8.0)], thresholds("ttft.p50 < 1s")).slo_limit
    assert limit.reached
    assert (limit.load, limit.low, limit.level_ok, limit.level_bad) == (None, None, None, 10)
    assert "the lowest level, " in limit.why


def test_one_bad_level_between_good_ones_is_reported():
    levels = [figures(n, n / 2, slow, 9.0, index=i) for i, (n, slow) in enumerate(((5, 0.1), (10, 2.0), (20, 0.1)))]
    limit = find(levels, thresholds("ttft.p50 < 1s")).slo_limit
    assert limit.level_bad == 10
    assert "20 passed again" in limit.why


def test_a_bad_level_within_noise_is_passed_over_and_reported():
    noisy = figures(10, 0.2, 1.05, 9.0, index=1)
    levels = [figures(5, 2.5, 0.1, 9.0), noisy, figures(20, 10, 0.1, 9.0, index=2)]
    limit = find(levels, thresholds("ttft.p50 < 1s")).slo_limit
    assert not limit.reached
    assert "no more than noise" in limit.why


def test_thresholds_without_figures_are_not_called_met():
    limit = find(case("llamacpp_cpu"), thresholds("itl.p99 < 50ms", "errors < 1%")).slo_limit
    assert not limit.reached
    assert "itl.p99 < 50ms is not known at any level" in limit.why
    assert "cannot be determined" in find(case("llamacpp_cpu"), thresholds("itl.p99 < 50ms")).slo_limit.why


def test_known_goodput_is_judged():
    levels = [figures(n, n, 0.1, 1.0, index=i) for i, n in enumerate((5, 10))]
    limit = find(levels, thresholds("goodput > 4/s"), {0: 5.0, 1: 3.0}).slo_limit
    assert (limit.level_ok, limit.level_bad) == (5, 10)


# -- collapse


def test_noise_on_a_flat_plateau_is_no_collapse():
    def plateau(seed):
        generator = random.Random(seed)
        return [figures(32 + 10 * n, generator.gauss(600, math.sqrt(600)) / 60, 0.05, 3.0, index=n) for n in range(8)]

    assert sum(find(plateau(seed)).collapse.reached for seed in range(100)) <= 6


def test_one_error_in_thirty_is_no_collapse_but_is_reported():
    levels = [figures(5, 0.5, 0.1, 1.0), replace(figures(10, 0.5, 0.1, 1.0, index=1), requests=31, ok=30)]
    collapse = find(levels).collapse
    assert not collapse.reached
    assert "1 of 31 requests may be chance" in collapse.why


@pytest.mark.parametrize(
    "count, trials, proven",
    [
        (0, 0, False),
        (1, 30, False),
        (2, 30, True),
        (1, 4, True),
        (20, 2000, False),
        (29, 2000, True),
        (900, 80000, True),
    ],
)
def test_more_than_one_percent(count, trials, proven):
    assert more_than(count, trials, 0.01) is proven


def test_errors_at_the_lowest_level_are_not_blamed_on_load():
    levels = [figures(n, n, 0.1, 1.0, index=i, errors=0.2) for i, n in enumerate((5, 10, 20))]
    collapse = find(levels).collapse
    assert collapse.reached
    assert collapse.load is None
    assert "the failures do not depend on load" in collapse.why


# -- a level without the metric, an unreachable server


def test_a_level_without_the_metric_does_not_pass():
    levels = [figures(2, 2, 0.1, 1.0), figures(4, 90.0, None, 1.0, index=1)]
    limit = find(levels, thresholds("ttft.p95 < 500ms", "errors < 1%")).slo_limit
    assert not limit.reached
    assert "not reached up to 2 users" in limit.why
    assert "ttft.p95 < 500ms is not known at 4" in limit.why
    bad = figures(8, 8, 2.0, 3.0, index=2)
    limit = find([*levels, bad], thresholds("ttft.p95 < 500ms", "errors < 1%")).slo_limit
    assert (limit.level_ok, limit.level_bad) == (2, 8)


def test_levels_of_an_unreachable_server_are_left_out_of_the_numbers():
    reachable = [figures(n, n / 2, 0.1, 1.0, index=i) for i, n in enumerate((1, 2, 4))]
    dying = replace(figures(8, 1.0, 0.1, 1.0, index=3, errors=0.8), error_kinds={"connect": 240})
    unreachable = replace(figures(16, 0.0, None, 1.0, index=4, errors=1.0), error_kinds={"connect": 100})
    verdict = find(
        [*reachable, dying, unreachable],
        thresholds("ttft.p95 < 500ms", "errors < 1%"),
        unreachable_from={3: 5.2, 4: 0.0},
    )
    assert verdict.unreachable == (8, "nothing could connect at 8 users from second 5 on")
    assert (verdict.collapse.low, verdict.collapse.high) == (4, 8)
    assert "the server was unreachable. Check its log" in verdict.collapse.why
    assert "run again from 4 users up" in verdict.collapse.why
    for finding in (verdict.saturation, verdict.knee):
        assert not finding.reached
        assert "8 and 16 users left out, as the server was unreachable" in finding.why
    assert (verdict.slo_limit.level_ok, verdict.slo_limit.level_bad) == (4, 8)
    assert "the server was unreachable" in verdict.slo_limit.cause
    assert verdict.cliffs == ()


def test_a_server_that_was_never_reachable():
    levels = [figures(n, 0.0, None, 1.0, index=i, errors=1.0) for i, n in enumerate((2, 4))]
    verdict = find(levels, unreachable_from={0: 0.0, 1: 0.0})
    assert verdict.unreachable == (2, "nothing could connect at 2 users")
    assert verdict.knee.why == "cannot be determined: no request succeeded at any level"
    assert "check that the server runs" in verdict.collapse.why


def test_levels_of_empty_answers_are_left_out():
    levels = [figures(n, n * 10.0, 0.1, 1.0, index=i) for i, n in enumerate((2, 4, 8))]
    verdict = find(levels, thresholds("ttft.p95 < 500ms"), empty={1, 2})
    assert "not reached up to 2 users" in verdict.slo_limit.why
    assert "4 and 8 users left out, as their answers were empty" in verdict.slo_limit.why
    assert verdict.saturation.why.startswith("cannot be determined from one level (2 users)")
    verdict = find(levels, empty={0, 1, 2})
    assert verdict.slo_limit.why == "cannot be determined: no token of the answers was seen"
    assert verdict.knee.why == "cannot be determined: 2, 4 and 8 users left out, as their answers were empty"


def test_one_level_without_thresholds_has_no_slo_limit():
    limit = find([figures(5, 5, 0.1, 1.0)]).slo_limit
    assert not limit.reached
    assert limit.why.startswith("cannot be determined from one level")
    assert not find([figures(5, 5, 0.1, 1.0)], thresholds("ttft.p95 < 1s")).slo_limit.why.startswith("cannot")


def test_levels_without_success_have_no_knee_and_no_saturation():
    levels = [figures(n, 0.0, None, 1.0, index=i, errors=1.0) for i, n in enumerate((2, 4, 8))]
    verdict = find(levels)
    for finding in (verdict.knee, verdict.saturation):
        assert not finding.reached
        assert finding.why == "cannot be determined: no request succeeded at any level"


# -- arbitrary levels


def test_no_levels_one_level_and_levels_without_success():
    for levels in ([], [figures(10, 5, 0.1, 1.0)], [LevelFigures(0, 10.0)], [LevelFigures(0, 10.0, requests=5, ok=0)]):
        verdict = find(levels)
        assert all(finding.why for finding in verdict.numbers().values())
        assert not verdict.saturation.reached


anything = st.floats(allow_nan=True, allow_infinity=True, width=32)
positive = st.one_of(st.just(math.nan), st.just(math.inf), st.floats(0, 1e6))


@st.composite
def level_lists(draw):
    levels = []
    for index in range(draw(st.integers(0, 8))):
        ok, failed = draw(st.integers(0, 5000)), draw(st.integers(0, 500))
        metrics = {
            metric: Summary(
                ok,
                draw(positive),
                draw(positive),
                {"p50": draw(positive), "p95": draw(positive)},
                {"p50": (draw(positive), draw(positive)), "p95": (draw(positive), draw(positive))},
                {"p95": draw(st.one_of(positive, st.just(math.inf)))},
            )
            for metric in draw(st.lists(st.sampled_from(["ttft", "e2e", "itl"]), unique=True))
        }
        levels.append(
            LevelFigures(
                level=index,
                load=draw(st.one_of(anything, st.floats(0, 1000), st.sampled_from([1.0, 5.0, 10.0]))),
                unit=draw(st.sampled_from(["users", "rate"])),
                users=draw(positive),
                window=draw(positive),
                requests=ok + failed,
                ok=ok,
                error_kinds={"http_503": failed} if failed else {},
                throughput=draw(positive),
                reached=draw(st.booleans()),
                metrics=metrics,
            )
        )
    return levels


@settings(max_examples=300)
@given(
    level_lists(),
    st.lists(st.sampled_from(["ttft.p95 < 500ms", "errors < 1%", "goodput > 2/s", "e2e.max < 3s"])),
    st.one_of(st.just([]), st.lists(st.integers(0, 8))),
)
def test_every_finding_has_a_reason_and_ordered_loads(levels, texts, unreachable):
    verdict = find(levels, thresholds(*texts), {0: 1.0}, dict.fromkeys(unreachable, 3.0))
    for finding in verdict.numbers().values():
        assert finding.why
        loads = [
            load
            for load in (finding.load, finding.low, finding.high, finding.level_ok, finding.level_bad)
            if load is not None
        ]
        assert all(math.isfinite(load) for load in loads)
        if None not in (finding.low, finding.load, finding.high):
            assert finding.low <= finding.load * (1 + 1e-9)
            assert finding.load <= finding.high * (1 + 1e-9)
        if not finding.reached:
            assert loads == []


# -- requests that never reached the server


@pytest.mark.parametrize("kind", CLIENT_KINDS)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95, 1.0])
def test_requests_that_never_reached_the_server_are_no_collapse_and_violate_no_threshold(kind, share):
    """The load generator runs out of files at 16 users, and the verdict on the server is that of the levels below."""
    levels = [figures(n, n / 2, 0.1, 1.0, index=i) for i, n in enumerate((2, 4, 8, 16))]
    lost = round(levels[3].requests * share)
    reached = levels[3].requests - lost
    remaining = (
        figures(16, reached / 60.0, 0.1, 1.0, index=3)
        if reached
        else replace(levels[3], requests=0, ok=0, throughput=0.0)
    )
    affected = replace(remaining, error_kinds={kind: lost})
    verdict = find([*levels[:3], affected], thresholds("ttft.p95 < 500ms", "errors < 1%"))

    assert not verdict.onset.reached
    assert not verdict.slo_limit.reached
    assert not verdict.collapse.reached
    assert ERROR_KINDS[kind] not in verdict.collapse.why
    assert verdict.cliffs == ()


def test_errors_of_the_server_are_reported_without_those_of_the_network():
    levels = [figures(n, n / 2, 0.1, 1.0, index=i) for i, n in enumerate((2, 4))]
    failing = figures(8, 3.0, 0.1, 1.0, index=2, errors=0.3)
    verdict = find([*levels, replace(failing, error_kinds={**failing.error_kinds, "network": 8})])

    assert "HTTP 503, overloaded" in verdict.onset.why
    assert ERROR_KINDS["network"] not in verdict.onset.why
