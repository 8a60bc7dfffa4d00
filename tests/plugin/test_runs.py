"""Whole runs of the real Locust against the simulator: every request is in the files, once, however the run ends."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmlocust.metrics.level_rows import LEVEL_COLUMNS
from llmlocust.metrics.rows import HISTOGRAM_COLUMNS, REQUEST_COLUMNS, TIMELINE_COLUMNS
from tests.locusts import (
    ENDLESS_ANSWERS,
    LONG,
    NO_RAMP,
    QUICK,
    RAMP,
    Locust,
    aggregated,
    assert_files_agree,
    distributed,
    outcomes,
    rows,
    run,
    run_info,
)
from tests.simulators import RunningSimulator, running_simulator, served, wait_for

PREFLIGHT = 1


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(slots=8, step_ms=5) as started:
        yield started


@pytest.fixture(scope="module")
def ramp(tmp_path_factory) -> Iterator[tuple[RunningSimulator, Locust, Path]]:
    """A ramp of one process to its end: its server, and its folder."""
    folder = tmp_path_factory.mktemp("ramp")
    with running_simulator(slots=8, step_ms=5) as server:
        yield server, run(folder, server.url, *QUICK), folder


def test_a_ramp_leaves_every_file_with_its_columns(ramp):
    _, locust, folder = ramp

    assert locust.process.returncode == 0, locust.log
    for name, columns in {
        "llm_requests.csv": REQUEST_COLUMNS,
        "llm_levels.csv": LEVEL_COLUMNS,
        "llm_histograms.csv": HISTOGRAM_COLUMNS,
        "llm_timeline.csv": TIMELINE_COLUMNS,
    }.items():
        assert list(rows(folder, name)[0]) == columns


def test_a_local_run_counts_what_the_server_counted(ramp):
    server, _, folder = ramp

    requests = rows(folder, "llm_requests.csv")
    truth = server.ended(len(requests) + PREFLIGHT)
    assert {f"chatcmpl-{row['id']}" for row in requests} == {request["id"] for request in truth[PREFLIGHT:]}
    assert sum(int(row["output_tokens"]) for row in requests) == sum(
        request["output_tokens"] for request in truth[PREFLIGHT:]
    )
    of_load = dict.fromkeys(("sent", "ended", "attempts"), len(requests))
    assert run_info(folder)["counts"] == of_load | {"preflight": PREFLIGHT}
    assert_files_agree(folder)


def test_levels_hold_the_users_that_were_asked_for(ramp):
    *_, folder = ramp

    levels = rows(folder, "llm_levels.csv")
    assert [float(row["load"]) for row in levels] == [2, 5]
    assert [float(row["users"]) for row in levels] == [2, 5]
    assert all(row["reached"] == "1" and float(row["window"]) >= 2 for row in levels)


def test_a_level_counts_the_requests_sent_inside_its_window(ramp):
    *_, folder = ramp

    requests = rows(folder, "llm_requests.csv")
    for level in rows(folder, "llm_levels.csv"):
        inside = [row for row in requests if float(level["warmed_up"]) <= float(row["sent"]) < float(level["ended"])]
        assert int(level["requests"]) == len(inside)
        assert {row["level"] for row in inside} == {level["level"]}


def test_locusts_own_table_ends_with_the_last_request(ramp):
    *_, folder = ramp

    requests = len(rows(folder, "llm_requests.csv"))
    assert int(aggregated(folder)["Request Count"]) == requests
    assert int(rows(folder, "stats_history.csv")[-1]["Total Request Count"]) == requests
    assert {"chat", "chat TTFT", "chat TPOT", "Aggregated"} == {row["Name"] for row in rows(folder, "stats.csv")}


def test_the_console_has_a_line_for_each_level(ramp):
    _, locust, _ = ramp

    assert "level 1: 2 users" in locust.log
    assert "level 2: 5 users" in locust.log


SLOW_TO_BEGIN = f"""{RAMP}
import time
from llmlocust.plugin.gating import Gating

prefix = Gating.prefix

def slowly(self, csv_prefix):
    time.sleep(0.5)
    return prefix(self, csv_prefix)

Gating.prefix = slowly
"""


def test_however_long_a_run_takes_to_begin_requests_are_sent_before_they_are_received(simulator, tmp_path):
    run(tmp_path, simulator.url, *QUICK, "--llm-levels", "2", locustfile=SLOW_TO_BEGIN)

    requests = rows(tmp_path, "llm_requests.csv")
    received = {request["id"]: request["received_epoch"] for request in simulator.ended(len(requests) + PREFLIGHT)}
    took = [received[f"chatcmpl-{row['id']}"] - float(row["sent"]) for row in requests]
    assert min(took) > -0.001
    assert min(took) < 0.25


def test_a_run_without_files_ends_too(simulator, tmp_path):
    options = ["--headless", "--only-summary", "--host", simulator.url, *QUICK, "--llm-hold", "0.5"]
    with Locust(tmp_path, options) as locust:
        assert locust.ends() == 0, locust.log
    assert "level 2: 5 users" in locust.log
    assert not list(tmp_path.glob("*_llm_*"))


ALIKE = f"""{RAMP}
import os
import socket

os.getpid = lambda: 7
socket.gethostname = lambda: "box"
"""
"""As containers of one image: every process has the same id, and may have the same host name."""


@pytest.fixture(scope="module")
def by_workers(tmp_path_factory) -> Iterator[tuple[RunningSimulator, Path]]:
    """A ramp of a master and two workers to its end: its server, and its folder."""
    folder = tmp_path_factory.mktemp("workers")
    with running_simulator(slots=8, step_ms=5) as server:
        with distributed(folder, server.url, *QUICK, locustfile=ALIKE) as stack:
            assert stack.master.ends() == 0, stack.master.log
        yield server, folder


def test_master_and_workers_count_what_the_server_counted(by_workers):
    server, folder = by_workers

    requests = rows(folder, "llm_requests.csv")
    assert len(requests) == served(server)
    assert len({row["worker"] for row in requests}) == 2
    assert int(aggregated(folder)["Request Count"]) == len(requests)
    assert run_info(folder)["processes"] == 2
    assert {row["worker"] for row in rows(folder, "llm_workers.csv")} == {"box:7#0", "box:7#1"}
    assert_files_agree(folder)


def test_levels_of_workers_are_those_of_the_master(by_workers):
    _, folder = by_workers

    for level in rows(folder, "llm_levels.csv"):
        assert float(level["users"]) == float(level["load"])
        assert int(level["requests"]) > 0


def test_workers_share_the_rows_of_a_run(simulator, tmp_path):
    few_rows = f"{RAMP}\nfrom llmlocust.metrics import ledger\n\nledger.RUN_ROWS_A_SECOND = 2\n"
    with distributed(tmp_path, simulator.url, *QUICK, locustfile=few_rows) as stack:
        assert stack.master.ends() == 0, stack.master.log

    seen, kept = run_info(tmp_path)["rows"]["seen"], run_info(tmp_path)["rows"]["kept"]
    weights = [int(row["weight"]) for row in rows(tmp_path, "llm_requests.csv")]
    assert seen == served(simulator)
    assert kept == len(weights) < seen
    # of each worker's last few requests, none or one has a row
    assert abs(sum(weights) - seen) <= 2 * 2 * max(weights)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_what_is_cut_off_by_the_end_is_counted_as_aborted(simulator, tmp_path, how):
    args = ["--headless", "--only-summary", "--host", simulator.url, "--csv", "run", *LONG, *ENDLESS_ANSWERS]
    with Locust(tmp_path, args) as locust:
        wait_for(lambda: served(simulator), lambda requests: requests >= 10)
        locust.stop(how)

    assert outcomes(tmp_path)["aborted"] >= 10
    assert sum(outcomes(tmp_path).values()) == served(simulator)
    assert_files_agree(tmp_path)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_master_that_is_stopped_loses_nothing_of_its_workers(simulator, tmp_path, how):
    with distributed(tmp_path, simulator.url, *LONG, *ENDLESS_ANSWERS) as stack:
        wait_for(lambda: served(simulator), lambda requests: requests >= 10)
        stack.master.stop(how)

    assert outcomes(tmp_path)["aborted"] >= 10
    assert sum(outcomes(tmp_path).values()) == served(simulator)
    assert_files_agree(tmp_path)


INTERRUPTED = f"""{RAMP}
import os
import signal
from pathlib import Path
from locust import events

@events.worker_report.add_listener
def interrupt(client_id, data):
    if data["llm"]["pieces"] and not Path("interrupted").exists():
        Path("interrupted").touch()
        os.kill(os.getpid(), signal.SIGINT)
"""


def test_a_master_that_is_interrupted_while_it_listens_goes_on_listening(simulator, tmp_path):
    with distributed(tmp_path, simulator.url, *LONG, *ENDLESS_ANSWERS, locustfile=INTERRUPTED) as stack:
        assert stack.master.ends() == 0, stack.master.log

    assert "KeyboardInterrupt" not in stack.master.log
    assert sum(outcomes(tmp_path).values()) == served(simulator) > 0


def test_a_worker_that_is_stopped_counts_what_it_had_in_flight(simulator, tmp_path):
    with distributed(tmp_path, simulator.url, *LONG, *ENDLESS_ANSWERS, workers=1) as stack:
        wait_for(lambda: served(simulator), lambda requests: requests >= 10)
        stack.workers[0].stop(signal.SIGTERM)
        stack.master.ends()  # Locust ends a test whose last worker has gone

    assert sum(outcomes(tmp_path).values()) == served(simulator)
    assert outcomes(tmp_path)["aborted"] >= 10


def test_hundreds_of_users_that_are_stopped_at_once_are_all_counted(tmp_path):
    options = ["--headless", "--only-summary", "--csv", "run", "-u", "400", "-r", "400", "--llm-max-tokens", "2000"]
    with (
        running_simulator(slots=400, step_ms=200, step_ms_per_seq=0) as simulator,
        Locust(tmp_path, [*options, "--host", simulator.url, *ENDLESS_ANSWERS], NO_RAMP) as locust,
    ):
        wait_for(lambda: served(simulator), lambda requests: requests == 400)
        locust.stop()

    assert outcomes(tmp_path) == {"aborted": 400}
    assert_files_agree(tmp_path)


def test_a_run_without_a_ramp_takes_its_level_from_the_users(simulator, tmp_path):
    options = ["--headless", "--only-summary", "--csv", "run", "-u", "3", "-r", "3", "--llm-max-tokens", "20"]
    with Locust(tmp_path, [*options, "--host", simulator.url], NO_RAMP) as locust:
        file = tmp_path / "run_llm_levels.csv"
        wait_for(lambda: file.exists() and any(int(row["requests"]) for row in rows(tmp_path, "llm_levels.csv")))
        assert locust.stop() == 0, locust.log

    levels = rows(tmp_path, "llm_levels.csv")
    assert [float(row["load"]) for row in levels] == [3]
    assert int(levels[0]["requests"]) > 0
    assert sum(outcomes(tmp_path).values()) == served(simulator)


def test_the_last_level_does_not_lose_its_slow_requests(tmp_path):
    """Ten users on two slots: each request takes about as long as the whole level."""
    with running_simulator(slots=2, step_ms=10) as simulator:
        options = ["--llm-levels", "10", "--llm-warmup", "0", "--llm-hold", "2", "--llm-max-tokens", "60"]
        run(tmp_path, simulator.url, *options, *ENDLESS_ANSWERS)

    assert outcomes(tmp_path)["aborted"] == 0
    level = rows(tmp_path, "llm_levels.csv")[0]
    assert float(level["ttft_max"]) > 2000


def test_failures_are_counted_and_shown_and_end_no_user(tmp_path):
    with running_simulator(fault="http:503", fault_share=0.5) as simulator:
        options = ["--llm-preflight", "false", *QUICK]
        locust = run(tmp_path, simulator.url, *options)

    assert outcomes(tmp_path)["http_503"] > 0
    assert outcomes(tmp_path)["ok"] > 0
    assert "http_503" in locust.log
    levels = rows(tmp_path, "llm_levels.csv")
    assert sum(int(row["error_http_503"]) for row in levels) > 0
    assert_files_agree(tmp_path)


FAULTS = {
    "drop@5": "truncated",
    "reset@5": "reset",
    "error_event@5": "error_event",
    "oom": "out_of_memory",
    "html": "bad_stream",
    "http:429": "http_429",
    "stall@5:60": "timeout_stall",
    "slow_headers:60": "timeout_first_token",
    "no_done": "ok",
    "crlf": "ok",
    "cut:7": "ok",
    "coalesce:4": "ok",
}
# only where it is waited for: a busy machine is slow to send a first token
HASTY = {"stall@5:60": "stall=1", "slow_headers:60": "first_token=1"}
A_USER_OF_EACH_FAULT = """
from locust import task
from llmlocust import LLMUser, SteppedRamp, Timeouts

class Ramp(SteppedRamp):
    pass
""" + "".join(
    f"""
class Meets{number}(LLMUser):
    headers = {{"x-simulator-fault": "{fault}"}}
    timeouts = Timeouts({HASTY.get(fault, "")})

    @task
    def ask(self):
        self.chat(name="{fault}")
"""
    for number, fault in enumerate(FAULTS)
)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Path:
    """The folder of a run whose users meet a fault each."""
    folder = tmp_path_factory.mktemp("faulty")
    with running_simulator(slots=len(FAULTS), step_ms=2) as server:
        options = ["--llm-levels", str(len(FAULTS)), "--llm-warmup", "0", "--llm-hold", "2", "--llm-max-tokens", "20"]
        options += ["--llm-preflight", "false", *ENDLESS_ANSWERS]
        run(folder, server.url, *options, locustfile=A_USER_OF_EACH_FAULT)
    return folder


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_server_is_called_by_its_name(faulty, fault):
    names = {row["outcome"] for row in rows(faulty, "llm_requests.csv") if row["name"] == fault}
    assert names == {FAULTS[fault]}


def test_files_of_a_run_of_faults_agree(faulty):
    assert_files_agree(faulty)


def test_llm_calls_and_ordinary_http_mix_in_one_user(simulator, tmp_path):
    mixed = """
from locust import task
from llmlocust import LLMUser, SteppedRamp

class Mixed(LLMUser):
    @task
    def both(self):
        self.client.get("/health")
        record = self.chat("How are you?", max_tokens=5)
        assert record.ok and record.text, record

class Ramp(SteppedRamp):
    pass
"""
    locust = run(tmp_path, simulator.url, *QUICK, locustfile=mixed)

    assert locust.process.returncode == 0, locust.log
    assert {"/health", "chat"} <= {row["Name"] for row in rows(tmp_path, "stats.csv")}
    assert {row["name"] for row in rows(tmp_path, "llm_requests.csv")} == {"chat"}


def test_a_key_is_sent_and_written_nowhere(tmp_path):
    with running_simulator(key="sk-planted-key") as simulator:
        locust = run(tmp_path, simulator.url, *QUICK, environment={"LLMLOCUST_API_KEY": "sk-planted-key"})

    assert outcomes(tmp_path)["ok"] > 0
    assert not [path for path in tmp_path.iterdir() if path.is_file() and "sk-planted-key" in path.read_text()]
    assert "sk-planted-key" not in locust.log
