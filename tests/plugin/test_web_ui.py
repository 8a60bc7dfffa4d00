"""Runs that are started and stopped from Locust's web UI, by what its form posts."""

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.locusts import Locust, free_port, outcomes, rows, told
from tests.simulators import RunningSimulator, running_simulator, wait_for


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(slots=8, step_ms=5) as started:
        yield started


class WebUI:
    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.address + path, timeout=10) as answer:
            body = answer.read()
        return json.loads(body) if answer.headers["Content-Type"].startswith("application/json") else body.decode()

    def answers(self) -> bool:
        try:
            self.get("/")
        except OSError:
            return False
        return True

    def start(self, **fields: str) -> None:
        quick = {"llm_levels": "2,4", "llm_settle": "0.5", "llm_hold": "2", "llm_max_tokens": "20"}
        data = urllib.parse.urlencode({"user_count": "1", "spawn_rate": "1", **quick, **fields}).encode()
        urllib.request.urlopen(self.address + "/swarm", data, timeout=30).close()

    def stop(self) -> None:
        urllib.request.urlopen(self.address + "/stop", b"", timeout=30).close()

    def is_idle(self) -> None:
        wait_for(lambda: self.get("/stats/requests")["state"], lambda now: now in ("ready", "stopped"))


@pytest.fixture(params=[0, 2], ids=["alone", "with two workers"])
def web_ui(request, simulator, tmp_path) -> Iterator[WebUI]:
    port, bind = free_port(), str(free_port())
    args = ["--web-host", "127.0.0.1", "--web-port", str(port), "--host", simulator.url, "--csv", "run"]
    with ExitStack() as stack:
        if request.param:
            args += ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", bind]
        stack.enter_context(Locust(tmp_path, args))
        for _ in range(request.param):
            stack.enter_context(Locust(tmp_path, ["--worker", "--master-port", bind]))
        ui = WebUI(port)
        wait_for(ui.answers)
        wait_for(lambda: len(ui.get("/stats/requests").get("workers", [])), lambda seen: seen == request.param)
        yield ui


def test_every_option_is_a_field_of_the_form(web_ui):
    page = web_ui.get("/")

    for name in (
        "llm_model",
        "llm_levels",
        "llm_hold",
        "llm_max_tokens",
        "llm_unique",
        "llm_timeout_first_token",
        "llm_rate",
    ):
        assert name in page


def test_a_rate_can_be_asked_for_after_users(web_ui, tmp_path):
    web_ui.start(llm_levels="2")
    wait_for(lambda: (tmp_path / "run_llm_run.json").exists() and told(tmp_path)["ended"])
    web_ui.is_idle()
    web_ui.start(llm_rate="8", llm_levels="8,16", llm_arrivals="bursts:2")
    wait_for(lambda: (tmp_path / "run_run2_llm_run.json").exists() and told(tmp_path, "run_run2")["ended"])

    assert [row["unit"] for row in rows(tmp_path, "llm_levels.csv")] == ["users"]
    assert [row["load"] for row in rows(tmp_path, "llm_levels.csv", "run_run2")] == ["8", "16"]
    assert told(tmp_path, "run_run2")["plan"]["arrivals"] == "bursts:2"


def test_a_run_goes_through_its_levels_and_ends(web_ui, simulator, tmp_path):
    web_ui.start()
    wait_for(lambda: (tmp_path / "run_llm_run.json").exists() and told(tmp_path)["ended"])
    wait_for(lambda: sum(outcomes(tmp_path).values()), lambda seen: seen == told(tmp_path)["counts"]["sent"] > 0)

    served = sum(simulator.summary()["received"].values())
    assert sum(outcomes(tmp_path).values()) == served - told(tmp_path)["counts"]["preflight"]
    assert [row["load"] for row in rows(tmp_path, "llm_levels.csv")] == ["2", "4"]
    assert told(tmp_path)["stopped"] is False


def test_a_run_that_is_stopped_and_started_again_leaves_both(web_ui, simulator, tmp_path):
    web_ui.start(llm_hold="100")
    wait_for(lambda: sum(simulator.summary()["received"].values()), lambda seen: seen > 5)
    web_ui.stop()
    web_ui.is_idle()
    wait_for(lambda: told(tmp_path)["stopped"])
    web_ui.start(llm_levels="3")
    wait_for(lambda: (tmp_path / "run_run2_llm_run.json").exists() and told(tmp_path, "run_run2")["ended"])

    assert told(tmp_path)["plan"]["levels"] == [2, 4]
    assert told(tmp_path, "run_run2")["plan"]["levels"] == [3]
    assert outcomes(tmp_path, "run_run2")["ok"] > 0


def test_a_search_is_a_box_of_the_form(web_ui, tmp_path):
    limits = {"llm_search_limits": "e2e.p95 < 60s", "llm_search_most": "5", "llm_search_hold": "4"}
    web_ui.start(llm_search="true", **limits)
    wait_for(lambda: (tmp_path / "run_llm_run.json").exists() and told(tmp_path)["ended"])

    assert told(tmp_path)["plan"]["search"]["answer"] == 5
    assert [row["load"] for row in rows(tmp_path, "llm_levels.csv")][:2] == ["4", "5"]


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"llm_model": "nope"}, "does not list a model"),
        ({"llm_levels": "x"}, "whole numbers"),
        ({"llm_search": "true", "llm_search_limits": "x"}, "cannot read the threshold"),
    ],
)
def test_a_run_that_is_refused_sends_nothing_and_says_why(web_ui, simulator, wrong, words):
    web_ui.start(**wrong)

    said = wait_for(lambda: web_ui.get("/exceptions")["exceptions"])
    assert words in said[0]["msg"]
    web_ui.is_idle()
    assert not [each for each in simulator.truth() if each["outcome"] == "completed"]
