"""Whole runs of the real Locust through plans of several phases."""

import signal
from itertools import pairwise
from statistics import median

import pytest

from tests.locusts import NO_RAMP, RAMP, Locust, distributed, due_by_worker, outcomes, rows, run, run_info
from tests.simulators import running_simulator, wait_for

PROGRESSIVE = RAMP.replace("SteppedRamp", "Progressive") + "    base, peak, surge, soak, seconds = 1, 4, 6, 2, 6\n"
OWN_PLAN = (
    RAMP.replace("SteppedRamp", "PlanPhase, SteppedRamp", 1)
    + """
    def plan(self):
        return [PlanPhase("morning", (1, 2), 1.0), PlanPhase("evening", (1,), 1.5, warmup=0.5)]
"""
)
SHORT = ["--llm-warmup", "0.5", "--llm-max-tokens", "10"]
SURGE = ["--llm-shape", "surge", "--llm-shape-seconds", "4", *SHORT]


@pytest.fixture
def simulator():
    with running_simulator(slots=50, step_ms=2) as started:
        yield started


def phases(folder):
    return [(row["phase"], float(row["load"])) for row in rows(folder, "llm_levels.csv")]


def check_windows(folder):
    """Every level was held for as long as its phase says, but for a tick of Locust's."""
    holds = [phase["hold"] for phase in run_info(folder)["plan"]["phases"] for _ in range(phase["levels"])]
    windows = [float(row["window"]) for row in rows(folder, "llm_levels.csv")]
    assert len(windows) == len(holds)
    assert all(window >= hold - 0.1 for window, hold in zip(windows, holds, strict=True))


def test_a_progressive_plan_goes_up_and_down_and_names_its_parts(simulator, tmp_path):
    locust = run(tmp_path, simulator.url, *SHORT, locustfile=PROGRESSIVE)

    assert locust.process.returncode == 0, locust.log
    expected = [("baseline", 1), ("linear", 1), ("linear", 4), ("surge", 5), ("surge", 6)]
    expected += [("recovery", 1), ("soak", 2)]
    assert phases(tmp_path) == expected
    plan = run_info(tmp_path)["plan"]
    assert plan["shape"] == "progressive"
    assert plan["levels"] == [load for _, load in expected]
    assert [(phase["name"], phase["levels"], phase["warmup"]) for phase in plan["phases"]] == [
        ("baseline", 1, 0.5),
        ("linear", 2, 0.0),
        ("surge", 2, 0.0),
        ("recovery", 1, 0.0),
        ("soak", 1, 0.5),
    ]
    check_windows(tmp_path)
    assert run_info(tmp_path)["stopped"] is False
    assert set(outcomes(tmp_path)) == {"ok"}
    assert [row["reached"] for row in rows(tmp_path, "llm_levels.csv")] == ["1"] * 7
    assert "level 5 (surge): 6 users" in locust.log


def test_an_option_makes_a_surge_of_a_rate_of_any_locustfile_over_workers(simulator, tmp_path):
    rates = ["--llm-rate", "60", "--llm-shape-base", "20.5", "--llm-arrivals", "constant"]
    with distributed(tmp_path, simulator.url, *SURGE, *rates, locustfile=NO_RAMP) as stack:
        assert stack.master.ends() == 0, stack.master.log

    assert phases(tmp_path) == [("baseline", 20.5), ("surge", 60), ("recovery", 20.5)]
    check_windows(tmp_path)
    assert {row["unit"] for row in rows(tmp_path, "llm_levels.csv")} == {"rate"}
    # a worker that hears late of a level sends less of it, but what it sends is due when it should be
    for level, rate in enumerate((20.5, 60.0, 20.5)):
        schedules = due_by_worker(tmp_path, str(level))
        assert len(schedules) == 2
        gaps = [later - earlier for due in schedules.values() for earlier, later in pairwise(due)]
        assert median(gaps) == pytest.approx(2.0 / rate, abs=0.001)


def test_a_plan_of_ones_own(simulator, tmp_path):
    locust = run(tmp_path, simulator.url, *SHORT, locustfile=OWN_PLAN)

    assert locust.process.returncode == 0, locust.log
    assert phases(tmp_path) == [("morning", 1), ("morning", 2), ("evening", 1)]
    assert run_info(tmp_path)["plan"]["shape"] == "its own"
    check_windows(tmp_path)


def test_a_plan_is_known_though_its_master_is_killed(simulator, tmp_path):
    soak = ["--llm-shape", "soak", "--llm-shape-peak", "3", "--llm-shape-seconds", "100", *SHORT]
    args = ["--headless", "--host", simulator.url, "--csv", "run", *soak]
    with Locust(tmp_path, args) as locust:
        wait_for(lambda: (tmp_path / "run_llm_levels.csv").exists() and phases(tmp_path))
        locust.stop(signal.SIGKILL)

    assert phases(tmp_path) == [("soak", 3)]
    assert run_info(tmp_path)["plan"]["phases"] == [{"name": "soak", "levels": 1, "warmup": 0.5, "hold": 100.0}]


def test_users_of_a_spike_go_again_without_a_request_cut_off(simulator, tmp_path):
    spike = ["--llm-shape", "spike", "--llm-shape-peak", "12", "--llm-shape-seconds", "5", *SHORT]
    locust = run(tmp_path, simulator.url, *spike)

    assert locust.process.returncode == 0, locust.log
    assert phases(tmp_path) == [("baseline", 1), ("spike", 12), ("recovery", 1)]
    assert set(outcomes(tmp_path)) == {"ok"}
    levels = rows(tmp_path, "llm_levels.csv")
    assert all(float(after["began"]) >= float(before["ended"]) - 0.001 for before, after in pairwise(levels))
