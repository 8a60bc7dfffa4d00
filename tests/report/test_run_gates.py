"""Gates on the faults and the soaks of a run."""

import json
import math
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from faulty_run import FAULT, NEVER, THREE, FaultyRun, MadeFault
from made_telemetry import MadeTelemetry

from llmlocust.analysis.gates import DOUBTED, FAILED, PASSED
from llmlocust.assessment.assessment import assess
from llmlocust.assessment.gates import judge_run
from llmlocust.metrics.thresholds import Gate
from llmlocust.report import gates
from llmlocust.runfiles.reading.locate import load_run


@pytest.fixture
def judged(tmp_path):
    """Return a function that judges a run by gates."""

    def judge(*texts, **options):
        run = load_run(FaultyRun(**options).write(tmp_path / "x"))
        return judge_run(run, [Gate.parse(text) for text in texts])

    return judge


def statuses(result):
    return [case.status for case in result.outcome.cases]


def test_a_fault_meets_a_gate_or_not(judged):
    result = judged("recovery < 30s", "recovery < 5s", "lost < 10", "metastable = no", "depth < 50%", "impact < 1s")
    assert statuses(result) == [PASSED, FAILED, FAILED, PASSED, FAILED, PASSED]
    assert result.outcome.exit_code == 99
    recovery = result.outcome.cases[0]
    assert recovery.low < recovery.value < recovery.high
    assert str(recovery).startswith("recovery < 30s (restart): 5.9")


def test_gates_of_levels_are_judged_by_the_requests_before_the_fault(judged):
    assert statuses(judged("ttft.p95 < 500ms", "errors < 1%", "recovery < 30s")) == [PASSED, PASSED, PASSED]


def test_a_level_that_a_fault_leaves_nothing_of_fails(judged):
    result = judged("errors < 1%", faults=(MadeFault(10.5, 20.0, math.inf),))
    assert statuses(result) == [FAILED]
    assert result.outcome.cases[0].says == "not known: a fault left nothing of this level to judge"


def test_the_worst_injection_decides(judged):
    result = judged("recovery < 7s", "recovery < 9s", hold=300.0, faults=THREE)
    assert statuses(result) == [FAILED, PASSED]
    assert result.outcome.cases[0].says.endswith("the worst of 3 injections")


def test_a_service_that_did_not_recover_fails_however_long_it_was_watched(judged):
    result = judged("recovery < 10m", "recovery < 10m or unmeasured", faults=(NEVER,))
    assert statuses(result) == [FAILED, FAILED]
    assert "not recovered within 80 s" in result.outcome.cases[0].says


def test_what_was_not_measured_fails_unless_the_gate_allows_it(judged):
    void = replace(FAULT, confirmed=False)
    result = judged("recovery < 30s", "recovery < 30s or unmeasured", "amplification < 2x", faults=(void,))
    assert statuses(result) == [FAILED, PASSED, FAILED]
    assert result.outcome.cases[0].says == "not measured: the verdict is void, as the fault was not confirmed"
    assert result.outcome.cases[0].tier == "not known"


def test_one_void_injection_makes_a_gate_unmeasured(judged):
    faults = (*THREE[:2], replace(THREE[2], confirmed=False))
    result = judged(
        "recovery < 30s", "recovery < 30s or unmeasured", "recovery < 5s or unmeasured", hold=300.0, faults=faults
    )
    assert statuses(result) == [FAILED, PASSED, FAILED]  # 6 s violate 5 s, whatever the third would be


def test_a_gate_on_one_fault_applies_to_it_alone(judged):
    other = MadeFault(220.0, 230.0, 20.0, name="slow network", number="2.1")
    result = judged(
        "recovery < 10s", "recovery[restart] < 10s", "recovery[Slow Network] < 10s", hold=300.0, faults=(FAULT, other)
    )
    assert [(case.subject, case.status) for case in result.outcome.cases] == [
        ("restart", PASSED),
        ("slow network", FAILED),
        ("restart", PASSED),
        ("slow network", FAILED),
    ]


def test_a_fault_that_the_run_did_not_have_fails_and_the_others_are_named(judged):
    (case,) = judged("recovery[freeze] < 10s").outcome.cases
    assert (case.status, case.says) == (FAILED, "not measured: no such fault; there were restart")
    (case,) = judged("recovery < 10s", faults=()).outcome.cases
    assert (case.status, case.says) == (FAILED, "not measured: the run injected no fault")


def test_full_recovery_needs_a_minute_after_the_recovery(judged):
    (case,) = judged("full_recovery < 1m", hold=120.0).outcome.cases
    assert case.says == "not measured: the load ended less than 60 s after the recovery"
    (case,) = judged("full_recovery < 1m").outcome.cases
    assert case.status == PASSED


def test_a_run_that_was_cut_off_makes_a_passed_gate_invalid(tmp_path):
    run = load_run(FaultyRun().write(tmp_path / "x", ended=False))
    result = judge_run(run, [Gate.parse("recovery < 30s"), Gate.parse("lost < 10")])
    assert statuses(result) == [DOUBTED, FAILED]


def test_the_drift_of_a_soak_is_judged(judged):
    soak = {"loads": (10.0,), "hold": 600.0, "faults": (), "drift": 0.5, "telemetry": MadeTelemetry()}
    result = judged(
        "ttft.slope < 10ms/h", "ttft.slope < 2s/h", "memory.slope < 1MB/1k requests", "threads.slope < 1/h", **soak
    )
    assert statuses(result) == [FAILED, PASSED, PASSED, FAILED]
    assert result.outcome.cases[0].value == pytest.approx(0.5, rel=0.3)
    assert result.outcome.cases[3].says == "not measured: too few values"


def test_every_output_of_the_check_has_the_fault(judged):
    result = judged("recovery < 30s", "lost < 10")
    assert "  failed: lost < 10 (restart): 3" in "\n".join(gates.lines(result))
    document = json.loads(gates.as_json(result))
    assert [(case["subject"], case["load"], case["status"]) for case in document["cases"]] == [
        ("restart", None, "passed"),
        ("restart", None, "failed"),
    ]
    assert document["cases"][0]["value"] == pytest.approx(6.0, abs=0.3)  # seconds, as in the report's JSON
    assert "| restart |" in gates.markdown(result)
    cases = list(ET.fromstring(gates.junit(result)).iter("testcase"))
    assert [case.attrib["name"] for case in cases] == ["recovery < 30s (restart)", "lost < 10 (restart)"]
    assert [child.tag for child in cases[1]] == ["failure"]


def test_a_report_has_the_same_outcome_as_the_check(tmp_path):
    options = {"llm_threshold": "recovery < 30s, recovery[restart] < 5s, errors < 1%, metastable = no"}
    run = load_run(FaultyRun(info={"options": options}).write(tmp_path / "x"))
    outcome = assess(run).gates
    assert [case.status for case in outcome.cases] == [PASSED, FAILED, PASSED, PASSED]
