"""The status of a finding is a value: no code reads the sentence beside it."""

import pytest
from closed_queue import closed_queue

from llmlocust.analysis.breakpoints.cliffs import CliffKind
from llmlocust.analysis.breakpoints.steps import Status
from llmlocust.analysis.breakpoints.verdict import find
from llmlocust.metrics.thresholds import Threshold

LIMITS = [Threshold.parse("ttft.p95 < 500ms")]
RUNS = {
    "nothing": ([], {Status.UNKNOWN}),
    "one level": (closed_queue((4,), 64), {Status.UNKNOWN, Status.NOT_REACHED}),
    "a server with room": (closed_queue((2, 4, 8), 64, slope=0.0), {Status.NOT_REACHED}),
    "a full server": (closed_queue((4, 8, 16, 32, 64), 8), {Status.REACHED, Status.NOT_REACHED}),
}


@pytest.mark.parametrize(("levels", "statuses"), RUNS.values(), ids=RUNS)
def test_the_status_of_a_number_agrees_with_its_sentence(levels, statuses):
    numbers = find(levels, LIMITS).numbers().values()

    assert {number.status for number in numbers} == statuses
    for number in numbers:
        assert number.reached == (number.status is Status.REACHED)
        assert (number.status is Status.UNKNOWN) == number.why.startswith("cannot be determined")
        assert number.status is not Status.NOT_REACHED or number.why.startswith("not reached")


def test_the_kind_of_a_cliff_agrees_with_its_sentence():
    cliffs = find(closed_queue((4, 8, 16, 32, 64), 8), LIMITS).cliffs

    assert CliffKind.QUEUE in {cliff.kind for cliff in cliffs}
    assert all((cliff.kind is CliffKind.QUEUE) == cliff.why.startswith("requests queue") for cliff in cliffs)
