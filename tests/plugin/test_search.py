"""Whole searches of the real Locust against a simulator whose limit is known: so many slots, and no queue."""

import pytest

from tests.locusts import NO_RAMP, RAMP, distributed, outcomes, rows, run, run_info
from tests.simulators import running_simulator

SLOTS = 6
OWN = RAMP.replace("SteppedRamp", "Search") + '    limits, start, max_load = "errors < 1%", 2, 20\n'
SHORT = ["--llm-max-tokens", "20", "--llm-search-hold", "6"]
BY_ERRORS = ["--llm-search", "--llm-search-limits", "errors < 1%", "--llm-search-max", "20", *SHORT]


@pytest.fixture
def simulator():
    with running_simulator(slots=SLOTS, queue_limit=0, step_ms=10) as started:
        yield started


def path(folder):
    return [(step["load"], step["verdict"]) for step in run_info(folder)["plan"]["search"]["path"]]


def check_found(folder, locust):
    assert locust.process.returncode == 0, locust.log  # although Locust counts what was refused
    search = run_info(folder)["plan"]["search"]
    assert search["done"] is True
    assert abs(search["answer"] - SLOTS) <= 1, search["path"]
    assert search["path"][-1]["bracket"][0] == search["answer"]
    assert run_info(folder)["stopped"] is False
    assert [float(row["load"]) for row in rows(folder, "llm_levels.csv")] == run_info(folder)["plan"]["levels"]
    assert f"search: the limit is {search['answer']:.0f} users" in locust.log


@pytest.mark.parametrize("locustfile", [RAMP, NO_RAMP], ids=["a ramp", "no ramp"])
def test_an_option_makes_a_search_of_any_locustfile(simulator, tmp_path, locustfile):
    check_found(tmp_path, run(tmp_path, simulator.url, *BY_ERRORS, locustfile=locustfile))

    assert outcomes(tmp_path)["http_503"] > 0


def test_a_class_searches_with_its_own_settings(simulator, tmp_path):
    check_found(tmp_path, run(tmp_path, simulator.url, *SHORT, locustfile=OWN))

    assert path(tmp_path)[0] == (2.0, "meets")


def test_a_search_runs_distributed(simulator, tmp_path):
    with distributed(tmp_path, simulator.url, *BY_ERRORS) as stack:
        stack.master.ends()
        check_found(tmp_path, stack.master)


def test_capacity_is_found_without_limits(tmp_path):
    with running_simulator(slots=SLOTS, step_ms=10, step_ms_per_seq=0) as simulator:
        locust = run(tmp_path, simulator.url, "--llm-search", "--llm-search-max", "40", *SHORT)

    search = run_info(tmp_path)["plan"]["search"]
    assert search["done"] is True, locust.log
    assert 4 <= search["answer"] <= 8, search["path"]
    assert "too many for an empty queue" in locust.log


def test_the_console_has_a_line_for_each_level_of_a_search(simulator, tmp_path):
    log = run(tmp_path, simulator.url, *BY_ERRORS).log

    lines = [line for line in log.splitlines() if line.startswith("  search: ")]
    assert len(lines) == len(path(tmp_path))
    assert lines[0] == "  search: 4 users probably pass · the limit is above 4 · next 12"


def _distributed(folder, url, *options):
    with distributed(folder, url, *options) as hosts:
        hosts.master.ends(240.0)
    return hosts.master


@pytest.mark.parametrize("start", [run, _distributed], ids=["alone", "with two workers"])
def test_a_rate_is_searched_for(tmp_path, start):
    """Four slots that take 0.2 s for each answer take 20 requests a second, and on a busy machine fewer."""
    with running_simulator(slots=4, step_ms=10, step_ms_per_seq=0) as simulator:
        options = ["--llm-search", "--llm-rate", "6", "--llm-search-max", "27", "--llm-search-precision", "0.5"]
        more = ["--llm-max-tokens", "20", "--llm-body", '{"ignore_eos": true}', "--llm-search-hold", "3"]
        more += ["--llm-arrivals", "constant"]
        locust = start(tmp_path, simulator.url, *options, *more)

    assert locust.process.returncode == 0, locust.log
    plan = run_info(tmp_path)["plan"]
    assert (plan["unit"], plan["search"]["done"]) == ("rate", True)
    low, high = plan["search"]["path"][-1]["bracket"]
    assert 8.0 <= low == plan["search"]["answer"] <= 22.0, plan["search"]["path"]
    assert high <= 1.5 * low or high - low <= 1.0
    assert {row["unit"] for row in rows(tmp_path, "llm_levels.csv")} == {"rate"}
    assert f"search: the limit is {plan['search']['answer']:g} requests/s" in locust.log
    assert "are too many for an empty queue" in locust.log
