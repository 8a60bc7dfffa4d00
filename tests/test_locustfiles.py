"""Runs of a few seconds of every example in locustfiles/."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.locusts import aggregated, outcomes, rows, run
from tests.simulators import ROOT, RunningSimulator, running_simulator

EXAMPLES = sorted((ROOT / "locustfiles").glob("*.py"))
# requests in flight at the end may finish
FEW_SECONDS = ("--users", "3", "--spawn-rate", "3", "--run-time", "4s", "--stop-timeout", "20")
LOW_RAMPS = """
from llmlocust import RateRamp as _RateRamp, Search as _Search, SteppedRamp as _SteppedRamp, TraceReplay as _TraceReplay
from llmlocust.plugin.shapes.shapes import _Shape

for _ramp in (*_SteppedRamp.__subclasses__(), *_RateRamp.__subclasses__()):
    _ramp.levels, _ramp.warmup, _ramp.hold = (1, 3), 0.2, 1.5
for _replay in _TraceReplay.__subclasses__():
    _replay.trace_speed, _replay.hold = 8, 1
for _kind in _Shape.__subclasses__():
    for _shape in _kind.__subclasses__():
        _shape.base, _shape.peak, _shape.seconds, _shape.warmup = 1, 3, 4, 0.2
        _shape.surge = _shape.soak = None
for _search in _Search.__subclasses__():
    _search.start, _search.max_load, _search.longest = 2, 3, 2
"""


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(step_ms=2) as started:
        yield started


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_asks_and_records(simulator: RunningSimulator, tmp_path: Path, example: Path) -> None:
    for file in example.parent.glob("*.csv"):
        shutil.copy(file, tmp_path)
    locust = run(tmp_path, simulator.url, *FEW_SECONDS, locustfile=example.read_text() + LOW_RAMPS)

    assert locust.process.returncode == 0, locust.log
    of_requests = outcomes(tmp_path)
    aborted = of_requests.pop("aborted", 0)  # on a slow machine, the end of the run cuts a request off
    assert set(of_requests) == {"ok"}, locust.log
    assert int(aggregated(tmp_path)["Request Count"]) >= len(rows(tmp_path, "llm_requests.csv")) - aborted
    assert "Traceback" not in locust.log


def test_an_answer_without_text_is_shown_as_a_failure(tmp_path: Path) -> None:
    example = ROOT / "locustfiles" / "own_questions.py"
    with running_simulator(step_ms=2, reasoning_share=1.0) as simulator:  # its answers are all reasoning
        locust = run(tmp_path, simulator.url, *FEW_SECONDS, locustfile=example.read_text())

    assert locust.process.returncode == 1
    assert [failure["Name"] for failure in rows(tmp_path, "failures.csv")] == ["empty answer"], locust.log
    assert set(outcomes(tmp_path)) == {"ok"}
