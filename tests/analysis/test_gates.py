import math
from dataclasses import replace

import pytest
from closed_queue import figures

from llmlocust.analysis.checks.check import Check
from llmlocust.analysis.gates import DOUBTED, FAILED, PASSED, breach, can_abort, judge
from llmlocust.metrics.levels import RATE, Level, Tally
from llmlocust.metrics.telemetry import TelemetrySummary
from llmlocust.metrics.thresholds import FAILS, GOLD, NOT_KNOWN, TOLERATED, Gate, Threshold
from llmlocust.metrics.vocabulary import ABORTED, OK
from llmlocust.text import figures as words

# load, throughput, median TTFT; the p95 is 1.51 times the median
LEVELS = [
    figures(10, 8.0, 0.1, 1.0, index=0),
    figures(20, 16.0, 0.4, 1.5, index=1),
    figures(40, 18.0, 1.0, 2.5, index=2, errors=0.03),
]


def judged(*texts, levels=LEVELS, checks=(), goodput=None, accepted=()):
    return judge(levels, [Gate.parse(text) for text in texts], checks, lambda limits: goodput or {}, accepted)


def failing(name, *levels):
    return Check(name, False, None, None, "says why", levels)


def statuses(outcome):
    return [(case.load, case.status) for case in outcome.cases]


def test_a_gate_without_a_load_applies_to_every_level():
    outcome = judged("ttft.p95 < 1s")
    assert statuses(outcome) == [(10, PASSED), (20, PASSED), (40, FAILED)]
    assert (outcome.status, outcome.exit_code) == (FAILED, 99)


def test_a_gate_at_a_load_applies_to_the_levels_of_that_load():
    outcome = judged("ttft.p95 < 1s @ 20")
    assert statuses(outcome) == [(20, PASSED)]
    assert outcome.exit_code == 0


def test_levels_of_the_same_load_are_one_case_and_the_worst_counts():
    again = replace(LEVELS[1], level=3, metrics={"ttft": LEVELS[2].metrics["ttft"]})
    (case,) = judged("ttft.p95 < 1s @ 20", levels=[*LEVELS, again]).cases
    assert (case.levels, case.status) == ((1, 3), FAILED)
    assert case.requests == LEVELS[1].requests * 2


def test_a_load_that_never_ran_fails_and_the_others_are_named():
    (case,) = judged("ttft.p95 < 1s @ 30").cases
    assert case.status == FAILED
    assert str(case) == "ttft.p95 < 1s at 30 users: no such level ran: there were 10, 20 and 40 users"


def test_a_case_reports_value_interval_and_requests():
    (case,) = judged("ttft.p95 < 1s @ 20").cases
    assert case.low < case.value < case.high < 1.0
    between = f"{words.duration(case.low)} to {words.duration(case.high)}"
    assert case.says == f"603 ms (95 % interval {between}, 960 requests)"
    assert not case.within_noise


@pytest.mark.parametrize(
    ("limit", "status", "noise"),
    [("500ms", FAILED, False), ("595ms", FAILED, True), ("610ms", PASSED, True), ("800ms", PASSED, False)],
)
def test_the_value_decides_and_noise_is_reported(limit, status, noise):
    (case,) = judged(f"ttft.p95 < {limit} @ 20").cases
    assert (case.status, case.within_noise) == (status, noise)
    assert case.says.endswith("; within noise of the threshold") == noise


def test_failed_requests_count_as_infinitely_slow():
    (case,) = judged("ttft.p99 < 100s @ 40").cases
    assert math.isinf(case.value)
    assert case.status == FAILED
    assert case.says.startswith("too many failed, 3.0 % (")


def test_the_tolerated_limit_decides_and_missed_gold_is_reported():
    gold, tolerated, bad = judged("ttft.p95 < 200ms ~ 1s").cases
    assert (gold.tier, tolerated.tier, bad.tier) == (GOLD, TOLERATED, FAILS)
    assert (gold.status, tolerated.status, bad.status) == (PASSED, PASSED, FAILED)
    assert tolerated.says.endswith("; gold (< 200ms) missed")
    assert "gold" not in gold.says + bad.says


def test_a_metric_that_was_not_measured_fails():
    (case,) = judged("gpu.utilisation < 90% @ 10").cases
    assert (case.status, case.tier) == (FAILED, NOT_KNOWN)
    assert case.says == "not known: this metric was not measured (480 requests)"


def test_telemetry_has_no_interval():
    level = replace(LEVELS[0], telemetry={"gpu.utilisation": (TelemetrySummary(60, 0.8), TelemetrySummary(60, 0.95))})
    (case,) = judged("gpu.utilisation < 90%", levels=[level]).cases
    assert (case.status, case.value) == (FAILED, 0.95)
    assert case.says == "95 % (480 requests)"


@pytest.mark.parametrize(
    "gate, status, says",
    [
        ("kv.usage < 95%", PASSED, "94 %"),
        ("waiting < 10", FAILED, "12"),
        ("waiting.max < 40", PASSED, "31"),
        ("server.queue.p95 < 500ms", FAILED, "1.5 s"),
        ("preemptions < 1/s", PASSED, "0/s"),
        ("process.memory < 20e9", PASSED, "12.5 GiB"),
        ("process.cpu < 4", PASSED, "2.5 cores"),
    ],
)
def test_telemetry_has_the_unit_of_its_metric(gate, status, says):
    telemetry = {
        "kv.usage": TelemetrySummary(60, 0.94),
        "waiting": TelemetrySummary(60, 12.0, max=31.0),
        "server.queue": TelemetrySummary(60, 0.4, p95=1.5),
        "preemptions": TelemetrySummary(60, 0.0, increase=0.0),
        "process.memory": TelemetrySummary(60, 12.5 * 2**30),
        "process.cpu": TelemetrySummary(60, 2.5),
    }
    level = replace(LEVELS[0], telemetry={key: (summary,) for key, summary in telemetry.items()})
    (case,) = judged(gate, levels=[level]).cases
    assert (case.status, case.says) == (status, f"{says} (480 requests)")


def test_a_level_in_which_no_request_ended_fails():
    hung = replace(LEVELS[2], requests=0, ok=0, throughput=0.0, metrics={}, error_kinds={})
    cases = judged("ttft.p95 < 1s", levels=[*LEVELS[:2], hung]).cases
    assert cases[-1].status == FAILED
    assert str(cases[-1]) == "ttft.p95 < 1s at 40 users: not known: no request of this level ended"


def test_a_level_whose_load_was_never_reached_fails():
    cases = judged("ttft.p95 < 9s", levels=[*LEVELS[:2], replace(LEVELS[2], reached=False)]).cases
    assert [case.status for case in cases] == [PASSED, PASSED, FAILED]
    assert cases[-1].says == "not known: the target load was never reached"


def test_a_rate_at_which_the_backlog_grows_meets_no_threshold_of_latency():
    levels = [figures(rate, min(rate, 10.0), 0.1, 1.0, index=n, unit=RATE) for n, rate in enumerate((5, 10, 20))]
    waits, errors = judged("ttft.p95 < 5s @ 20", "errors < 1% @ 20", levels=levels).cases
    assert waits.status == FAILED
    assert "the backlog grows" in waits.says
    assert waits.name == "ttft.p95 < 5s at 20 requests/s"
    assert not waits.within_noise
    assert errors.status == PASSED


def test_goodput_is_judged_by_the_thresholds_of_its_own_load():
    parsed_limits = []

    def goodput(limits):
        parsed_limits.append([str(limit) for limit in limits])
        return {1: 3.0}

    gates = [Gate.parse(text) for text in ("ttft.p95 < 1s @ 20", "goodput > 5/s @ 20", "ttft.p95 < 9s @ 40")]
    outcome = judge(LEVELS, gates, [], goodput)
    assert parsed_limits == [["ttft.p95 < 1s", "goodput > 5/s"]]
    assert [case.status for case in outcome.cases] == [PASSED, FAILED, PASSED]


# -- validity


def test_a_case_at_a_level_with_failed_checks_is_doubted():
    outcome = judged("ttft.p95 < 1s @ 10", "ttft.p95 < 1s @ 20", checks=[failing("client_cpu", 1)])
    assert statuses(outcome) == [(10, PASSED), (20, DOUBTED)]
    assert outcome.exit_code == 98
    assert outcome.cases[1].says.endswith("; failed checks: client CPU")
    assert [check.key for check in outcome.checks] == ["client_cpu"]


def test_a_valid_failure_outweighs_a_doubted_one():
    outcome = judged("ttft.p95 < 300ms", checks=[failing("client_cpu", 2)])
    assert statuses(outcome) == [(10, PASSED), (20, FAILED), (40, DOUBTED)]
    assert outcome.exit_code == 99


def test_a_failure_at_a_level_with_failed_checks_is_doubted_too():
    assert judged("ttft.p95 < 1s @ 40", checks=[failing("client_cpu", 2)]).exit_code == 98


def test_a_failed_check_without_levels_applies_to_the_whole_run():
    assert judged("ttft.p95 < 1s @ 20", checks=[failing("lost_requests")]).exit_code == 98


def test_checks_may_be_accepted():
    assert judged("ttft.p95 < 1s @ 20", checks=[failing("prefix_cache", 1)]).exit_code == 98
    assert judged("ttft.p95 < 1s @ 20", checks=[failing("prefix_cache", 1)], accepted=["prefix_cache"]).exit_code == 0


@pytest.mark.parametrize("name", ["requests_for_p95", "requests_for_p99"])
def test_too_few_requests_are_noise_and_no_doubt(name):
    assert judged("ttft.p95 < 1s @ 20", checks=[failing(name, 1)]).exit_code == 0


def test_a_stopped_run_passes_only_at_levels_that_it_measured():
    stopped = [failing("run_completed")]
    assert judged("ttft.p95 < 1s @ 20", checks=stopped).exit_code == 0
    assert judged("ttft.p95 < 9s", checks=stopped).exit_code == 98
    assert judged("ttft.p95 < 9s @ 80", checks=stopped).exit_code == 98


@pytest.mark.parametrize("name", ["run_completed", "run_ended", "aborted_requests"])
def test_a_violation_fails_a_run_that_ended_early(name):
    assert judged("ttft.p95 < 300ms", checks=[failing(name, 2)]).exit_code == 99


@pytest.mark.parametrize(
    ("gate", "check", "code"),
    [
        ("errors < 1% @ 20", "drift", 0),
        ("e2e.p95 < 9s @ 20", "drift", 98),
        ("e2e.p95 < 9s @ 20", "usage", 0),
        ("tokens > 1/s @ 20", "usage", 98),
        ("errors < 1% @ 20", "event_loop_lag", 0),
        ("errors < 1% @ 20", "empty_answers", 98),
    ],
)
def test_a_failed_check_affects_only_its_own_metrics(gate, check, code):
    levels = [replace(level, output_tokens_per_s=100.0) for level in LEVELS]
    assert judged(gate, levels=levels, checks=[failing(check, 1)]).exit_code == code


def test_only_percentiles_that_are_wide_ranges_are_doubted():
    summary = replace(LEVELS[1].metrics["ttft"], ranges={"p95": (0.60, 0.61), "p99": (0.5, 1.5)})
    levels = [LEVELS[0], replace(LEVELS[1], metrics={**LEVELS[1].metrics, "ttft": summary}), LEVELS[2]]

    def code(gate):
        return judged(gate, levels=levels, checks=[failing("token_times", 1)]).exit_code

    assert [code(f"{name} < 9s @ 20") for name in ("ttft.p95", "ttft.p99", "ttft.p90", "e2e.p99")] == [0, 0, 98, 0]
    assert code("ttft.p99 < 1s @ 20") == 98  # the threshold lies in the range


# -- during the run


def tally(ok=0, slow=0, failed=0, aborted=0):
    counts = Tally()
    counts.outcomes.update({OK: ok + slow, "http_503": failed, ABORTED: aborted})
    counts.histogram("ttft").extend([0.1] * ok + [3.0] * slow)
    return counts


LEVEL = Level(0, 20.0, warmed_up=0.0)


@pytest.mark.parametrize(
    ("gate", "counts", "in_flight", "violated"),
    [
        ("ttft.p95 < 1s", tally(ok=80, slow=20), 0, True),
        ("ttft.p95 < 1s", tally(ok=94, slow=6), 0, False),  # may be chance
        ("ttft.p95 < 1s", tally(ok=100, slow=0), 0, False),
        ("ttft.p95 < 1s", tally(ok=80, failed=20), 0, True),
        ("ttft.p95 < 1s", tally(slow=4), 4, True),
        ("ttft.p95 < 1s", tally(slow=4), 100, False),
        ("ttft.p95 < 1s", tally(), 0, False),
        ("ttft.p95 < 1s", tally(aborted=50), 0, False),
        ("ttft.p95 < 1s @ 20", tally(slow=50), 0, True),
        ("ttft.p95 < 1s @ 40", tally(slow=50), 0, False),
        ("errors < 1%", tally(ok=100, failed=8), 0, True),
        ("errors < 1%", tally(ok=100, failed=2), 0, False),
        ("errors < 1%", tally(failed=2), 300, False),
        ("ttft.mean < 1s", tally(slow=50), 0, False),
        ("goodput > 5/s", tally(slow=50), 0, False),
    ],
)
def test_a_run_ends_early_only_after_a_certain_violation(gate, counts, in_flight, violated):
    assert (breach(Gate.parse(gate), LEVEL, counts, in_flight) is not None) == violated


def test_a_breach_names_its_gate_its_level_and_its_requests():
    slow_requests = breach(Gate.parse("ttft.p95 < 1s"), LEVEL, tally(ok=80, slow=15, failed=5), 0)
    assert str(slow_requests) == "ttft.p95 < 1s at 20 users is violated: 20 of 100 requests were above it or failed"
    errors = breach(Gate.parse("errors < 1%"), LEVEL, tally(ok=80, failed=20), 0)
    assert str(errors) == "errors < 1% at 20 users is violated: 20 of 100 requests failed"


@pytest.mark.parametrize(
    ("text", "can"),
    [
        ("ttft.p95 < 1s", True),
        ("errors < 1%", True),
        ("itl.p99 < 1s", False),
        ("e2e.max < 1s", False),
        ("e2e.p50 > 1s", False),
        ("throughput > 1/s", False),
    ],
)
def test_gates_that_can_end_a_run(text, can):
    assert can_abort(Gate.parse(text)) == can


def test_a_level_that_meets_its_threshold_is_hardly_ever_ended():
    """400 levels of 400 requests, one in twenty of them slow, as many as the threshold allows. Checked after every ten."""
    import random

    generator, gate, ended = random.Random(7), Gate(Threshold.parse("ttft.p95 < 1s")), 0
    for _ in range(400):
        counts = tally()
        for _ in range(40):
            slow = sum(generator.random() < 0.05 for _ in range(10))
            counts.merge(tally(ok=10 - slow, slow=slow))
            if breach(gate, LEVEL, counts, 0):
                ended += 1
                break
    assert ended / 400 < 0.03


def test_a_load_before_and_after_a_surge_is_judged_in_each_phase():
    before, surge, after = (replace(LEVELS[at], level=at, load=load) for at, load in ((0, 10.0), (1, 40.0), (2, 10.0)))
    levels = [
        replace(level, phase=name) for level, name in ((before, "baseline"), (surge, "surge"), (after, "recovery"))
    ]
    outcome = judged("ttft.p95 < 1s", levels=levels)
    assert [(case.name, case.status, case.levels) for case in outcome.cases] == [
        ("ttft.p95 < 1s at 10 users (baseline)", PASSED, (0,)),
        ("ttft.p95 < 1s at 40 users (surge)", PASSED, (1,)),
        ("ttft.p95 < 1s at 10 users (recovery)", FAILED, (2,)),
    ]
    (missing,) = judged("ttft.p95 < 1s @ 30", levels=levels).cases
    assert "there were 10 and 40 users" in missing.says
