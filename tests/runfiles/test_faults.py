"""The faults of run.json: what the process wrote, and files that were damaged or edited."""

from dataclasses import asdict

import pytest

from llmlocust.metrics.fault_window import FaultWindow
from llmlocust.runfiles.reading.faults import faults_of
from llmlocust.text.message import Message, message, to_json

FAULT = FaultWindow(
    "restart", "kill", 1_000.0, 1_010.0, 1_000.5, 1_010.5, "1.1", "kill 4711", message("the process was gone"), "no end"
)


def written(fault, **changes):
    return {"faults": [{name: to_json(value) for name, value in asdict(fault).items()} | changes]}


def test_a_fault_is_read_as_it_was_written():
    info = written(FAULT, evidence=FAULT.evidence)  # json.loads makes messages again (text.message.from_json)
    (fault,) = faults_of(info)
    assert fault == FAULT
    assert isinstance(fault.evidence, Message)


def test_a_run_without_a_plan_of_faults_has_none():
    assert faults_of({}) == []


@pytest.mark.parametrize("faults", [None, "down", {"name": "down"}, [None, 3, "down", [], {}, {"began": 5.0}]])
def test_entries_that_are_no_fault_are_left_out(faults):
    assert faults_of({"faults": faults}) == []


@pytest.mark.parametrize("moment", [None, "soon", True, float("nan"), float("inf"), -1.0, 0.0, 1e300, [1.0], {}])
def test_a_moment_that_is_none_is_not_known(moment):
    (fault,) = faults_of(written(FAULT, began=moment))
    assert (fault.began, fault.lifted, fault.is_confirmed) == (None, None, False)
    (fault,) = faults_of(written(FAULT, confirmed_lifted=moment))
    assert fault.began == FAULT.began
    assert not fault.is_confirmed


def test_a_fault_that_was_lifted_before_it_began_was_not_lifted():
    (fault,) = faults_of(written(FAULT, lifted=999.0))
    assert (fault.lifted, fault.is_confirmed) == (None, False)


def test_other_types_become_empty_texts_and_the_kind_names_a_fault_without_a_name():
    (fault,) = faults_of(written(FAULT, name=None, evidence=3, problem=["x"], id=1.1))
    assert (fault.name, fault.evidence, fault.problem, fault.id) == ("kill", "", "", "")


def test_a_long_name_is_shortened_to_one_line():
    (fault,) = faults_of(written(FAULT, name="a\nb" * 1000))
    assert len(fault.name) < 100
    assert "\n" not in fault.name
