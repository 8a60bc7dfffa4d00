"""Runs that are started and stopped from Locust's web UI, by what its form posts."""

import csv
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from tests.locusts import RAMP, Locust, free_port, outcomes, rows, run_info
from tests.simulators import PATIENCE, RunningSimulator, running_simulator, wait_for
from tests.web_ui import WebUI, running


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(slots=8, step_ms=5) as started:
        yield started


@pytest.fixture(params=[0, 2], ids=["alone", "with two workers"])
def web_ui(request, simulator, tmp_path) -> Iterator[WebUI]:
    with running(tmp_path, simulator.url, request.param, "--csv", "run") as ui:
        yield ui


@pytest.fixture
def alone(simulator, tmp_path) -> Iterator[WebUI]:
    """Without --csv."""
    with running(tmp_path, simulator.url) as ui:
        yield ui


def test_every_option_is_a_field_of_the_form_in_their_order(web_ui):
    page = web_ui.get("/")

    fields = list(json.loads(page.partition("window.templateArgs = ")[2].partition("\n")[0])["extra_options"])
    ours = [name for name in fields if name.startswith("llm_")]
    assert (ours[0], ours[-1]) == ("llm_model", "llm_preflight")

    for name in (
        "llm_model",
        "llm_levels",
        "llm_hold",
        "llm_max_tokens",
        "llm_unique",
        "llm_timeout_first_token",
        "llm_threshold",
        "llm_abort_on_breach",
        "llm_rate",
    ):
        assert name in page


def test_a_rate_can_be_asked_for_after_users(web_ui, tmp_path):
    web_ui.start(llm_levels="2")
    wait_for(lambda: (tmp_path / "run_llm_run.json").exists() and run_info(tmp_path)["ended"])
    web_ui.is_idle()
    web_ui.start(llm_rate="8", llm_levels="8,16", llm_arrivals="bursts:2")
    wait_for(lambda: (tmp_path / "run_run2_llm_run.json").exists() and run_info(tmp_path, "run_run2")["ended"])

    assert [row["unit"] for row in rows(tmp_path, "llm_levels.csv")] == ["users"]
    assert [row["load"] for row in rows(tmp_path, "llm_levels.csv", "run_run2")] == ["8", "16"]
    assert run_info(tmp_path, "run_run2")["plan"]["arrivals"] == "bursts:2"


def test_a_run_goes_through_its_levels_and_ends(web_ui, simulator, tmp_path):
    web_ui.start()
    wait_for(lambda: (tmp_path / "run_llm_run.json").exists() and run_info(tmp_path)["ended"])
    wait_for(lambda: sum(outcomes(tmp_path).values()), lambda seen: seen == run_info(tmp_path)["counts"]["sent"] > 0)

    served = simulator.received()
    assert sum(outcomes(tmp_path).values()) == served - run_info(tmp_path)["counts"]["preflight"]
    assert [row["load"] for row in rows(tmp_path, "llm_levels.csv")] == ["2", "4"]
    assert run_info(tmp_path)["stopped"] is False


def test_a_run_that_is_stopped_and_started_again_leaves_both(web_ui, simulator, tmp_path):
    web_ui.start(llm_hold="100")
    wait_for(simulator.received, lambda seen: seen > 5)
    web_ui.stop()
    web_ui.is_idle()
    wait_for(lambda: run_info(tmp_path)["stopped"])
    (tmp_path / "run_run2_stats.csv").write_text("of a process that has ended")
    web_ui.start(llm_levels="3")
    wait_for(lambda: (tmp_path / "run_run2_llm_run.json").exists() and run_info(tmp_path, "run_run2")["ended"])

    assert (tmp_path / "run_run2.1_stats.csv").read_text() == "of a process that has ended"
    assert run_info(tmp_path)["plan"]["levels"] == [2, 4]
    assert run_info(tmp_path, "run_run2")["plan"]["levels"] == [3]
    assert outcomes(tmp_path, "run_run2")["ok"] > 0
    wait_for(lambda: in_locusts_file(tmp_path, "run_run2"), lambda seen: seen == answered(tmp_path, "run_run2"))
    assert in_locusts_file(tmp_path, "run") == answered(tmp_path, "run")


def test_a_start_that_is_refused_leaves_locusts_figures_of_the_run_before(web_ui, tmp_path):
    web_ui.start(llm_levels="2")
    wait_for(lambda: (tmp_path / "run_llm_run.json").exists() and run_info(tmp_path)["ended"])
    web_ui.is_idle()
    wait_for(lambda: in_locusts_file(tmp_path, "run"), lambda seen: seen == answered(tmp_path, "run") > 0)
    web_ui.start(llm_model="nope")
    wait_for(lambda: web_ui.get("/exceptions")["exceptions"])
    web_ui.is_idle()

    assert in_locusts_file(tmp_path, "run") == answered(tmp_path, "run")


def test_locusts_page_hears_of_no_state_in_which_it_would_ask_no_more(web_ui):
    web_ui.start(llm_hold="100")
    wait_for(lambda: web_ui.get("/stats/requests")["state"], lambda now: now in ("spawning", "running"))
    stopping = Thread(target=web_ui.stop)
    stopping.start()
    states: set[str] = set()
    wait_for(lambda: states.add(web_ui.get("/stats/requests")["state"]) or states, lambda seen: "stopped" in seen)
    stopping.join()

    assert states <= {"spawning", "running", "stopped"}


def in_locusts_file(folder: Path, prefix: str) -> int:
    """How many requests Locust's own file tells of. It is written every second, and sent to the disk every five."""
    file = folder / f"{prefix}_stats.csv"
    with file.open(newline="") as opened:
        return sum(int(row["Request Count"]) for row in csv.DictReader(opened) if row["Name"] == "Aggregated")


def answered(folder: Path, prefix: str) -> int:
    """Those that Locust counts: not what the end of the run cut off."""
    counts = outcomes(folder, prefix)
    return counts.total() - counts["aborted"]


def test_a_reset_begins_anew_what_is_shown_and_leaves_the_files(web_ui, simulator, tmp_path):
    web_ui.start(llm_levels="2", llm_hold="100")
    before = wait_for(web_ui.live, lambda run: run and run["levels"] and run["levels"][0]["requests"] > 3)
    web_ui.post("/stats/reset")
    after = web_ui.live()
    served = simulator.received()

    assert after["name"] != before["name"]
    assert after["since"] >= before["now"]
    # none that was shown before is shown again
    assert after["levels"][0]["requests"] + before["levels"][0]["requests"] <= served
    assert all(point[0] > after["since"] - 1.0 for point in after["points"].values())
    web_ui.stop()
    wait_for(lambda: run_info(tmp_path)["stopped"])
    assert outcomes(tmp_path)["ok"] > before["levels"][0]["requests"]


def test_what_was_measured_can_be_downloaded_without_csv_files(alone):
    assert alone.get("/llm/live.json")["run"] is None
    alone.start(llm_levels="2", llm_threshold="ttft.p95 < 500ms")
    wait_for(alone.live, lambda run: run and run["ended"])

    files = alone.get("/llm/live.json")["runs"][0]["files"]
    assert {"llm_levels.csv", "llm_requests.csv", "llm_run.json"} <= set(files)
    sent = csv.DictReader(alone.get("/llm/files/llm_requests.csv").splitlines())
    assert len(list(sent)) == alone.live()["sent"]
    assert alone.get("/llm/files/llm_run.json")["options"]["llm_threshold"] == "ttft.p95 < 500ms"
    report = alone.get("/llm/report")
    assert "ttft.p95 &lt; 500ms" in report
    assert "thresholds derived" not in report

    alone.is_idle()
    alone.start(llm_levels="3", llm_threshold="ttft.p95 < 700ms")
    state = wait_for(lambda: alone.get("/llm/live.json"), lambda now: len(now["runs"]) == 2 and now["run"]["ended"])
    assert (state["runs"][0]["missing"], state["kept"]) == ([], False)
    plans = [alone.get(f"/llm/files/llm_run.json?run={number}")["plan"]["levels"] for number in (1, 2)]
    assert plans == [[2], [3]]
    assert "ttft.p95 &lt; 500ms" in alone.get("/llm/report?run=1")
    assert "ttft.p95 &lt; 700ms" in alone.get("/llm/report")


def test_a_search_is_a_box_of_the_form(web_ui, tmp_path):
    limits = {"llm_search_limits": "e2e.p95 < 60s", "llm_search_max": "5", "llm_search_hold": "4"}
    web_ui.start(llm_search="true", **limits)
    wait_for(lambda: (tmp_path / "run_llm_run.json").exists() and run_info(tmp_path)["ended"], patience=120)

    assert run_info(tmp_path)["plan"]["search"]["answer"] == 5
    assert [row["load"] for row in rows(tmp_path, "llm_levels.csv")][:2] == ["4", "5"]


def test_a_run_that_is_refused_sends_nothing_and_says_why(web_ui, simulator):
    web_ui.start(llm_model="nope")

    exceptions = wait_for(lambda: web_ui.get("/exceptions")["exceptions"])
    assert "does not list a model" in exceptions[0]["msg"]
    assert "does not list a model" in web_ui.get("/llm/live.json")["refused"]
    web_ui.is_idle()
    assert not [request for request in simulator.truth() if request["outcome"] == "completed"]


WRONG = [
    ({"llm_levels": "x"}, "whole numbers"),
    ({"llm_hold": "ten"}, "--llm-hold must be a number — got 'ten'"),
    ({"llm_max_tokens": ""}, "--llm-max-tokens: cannot read '' as a number"),
    ({"llm_threshold": "errors < 1%, x"}, "cannot read the threshold 'x'"),
    ({"llm_search": "true", "llm_search_limits": "x"}, "cannot read the threshold"),
]


def test_a_form_that_cannot_be_meant_starts_nothing_and_says_why(alone, simulator):
    for wrong, words in WRONG:
        answer = alone.start(**wrong)
        assert answer["success"] is False
        assert words in answer["message"]
    assert alone.get("/stats/requests")["state"] == "ready"
    assert simulator.truth() == []
    assert alone.start()["success"] is True  # what was posted before is forgotten
    alone.stop()


def test_a_master_without_workers_starts_nothing_and_says_why(simulator, tmp_path):
    master = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", str(free_port())]
    with running(tmp_path, simulator.url, 0, *master) as ui:
        answer = ui.start()
        assert answer["success"] is False
        assert "no worker is connected" in answer["message"]
        assert ui.get("/stats/requests")["state"] == "ready"


def test_over_a_socket_it_answers_under_its_own_names_alone(alone):
    port = int(alone.address.rpartition(":")[2])
    assert status(port, "GET /llm/ HTTP/1.1", "Host: localhost") == 200
    assert status(port, "GET /llm/ HTTP/1.0") == 200
    assert status(port, "GET /llm/ HTTP/1.1", "Host: evil.example") == 403
    assert status(port, "GET /llm/ HTTP/1.1", "Host: localhost", "Host: evil.example") == 403
    foreign = ["Host: localhost", "Content-Length: 0", "Origin: http://evil.example"]
    assert status(port, "POST /swarm HTTP/1.1", *foreign) == 403
    assert status(port, "POST /stats/reset HTTP/1.1", *foreign) == 403


def status(port: int, *lines: str) -> int:
    """What is answered to a request that is written as it stands."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as opened:
        opened.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        return int(opened.makefile("rb").readline().split()[1])


def test_a_gate_from_the_form_ends_a_run(web_ui, tmp_path):
    gate = {"llm_threshold": "e2e.p95 < 1ms", "llm_abort_on_breach": "true", "llm_abort_grace": "0.5"}
    web_ui.start(**gate, llm_hold="100")
    wait_for(lambda: (tmp_path / "run_llm_run.json").exists() and run_info(tmp_path)["ended"])
    web_ui.is_idle()

    assert run_info(tmp_path)["options"]["llm_threshold"] == gate["llm_threshold"]
    assert run_info(tmp_path)["ended_by"] == "e2e.p95 < 1ms at 2 users"


BUSY = (
    RAMP
    + """
import gevent

def work():
    while True:
        sum(range(10_000))
        gevent.sleep(0)

gevent.spawn(work)
"""
)


@pytest.mark.parametrize("role", [[], ["--master", "--master-bind-port", "0"]], ids=["alone", "master"])
def test_ctrl_c_ends_locust_whatever_greenlet_runs_just_then(tmp_path, role):
    port = free_port()
    role = [str(free_port()) if argument == "0" else argument for argument in role]
    with Locust(tmp_path, [*role, "--web-host", "127.0.0.1", "--web-port", str(port)], BUSY) as locust:
        wait_for(WebUI(port).answers)
        locust.stop()
    assert "KeyboardInterrupt" not in locust.log
