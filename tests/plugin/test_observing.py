"""Telemetry of real runs: the observing process, its files, and what happens to it."""

import csv
import json
import os
import signal
import socket
import threading

import psutil
import pytest

from tests.locusts import (
    MANUAL_RAMP,
    QUICK,
    RAMP,
    UNTIL_STOPPED,
    Locust,
    end_level,
    headless,
    run_info,
    wait_for_level,
)
from tests.simulators import running_simulator, wait_for

ON = {"LLMLOCUST_OBSERVE": "", "LLMLOCUST_OBSERVE_INTERVAL": "0.2"}


@pytest.fixture(scope="module")
def simulator():
    with running_simulator(slots=4, step_ms=5) as started:
        yield started


def table(folder, name):
    with (folder / f"run_llm_{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def figures(folder, level, source=None):
    """The rows of a level, by metric."""
    rows = [row for row in table(folder, "telemetry_levels") if row["level"] == str(level) and not row["labels"]]
    return {row["metric"]: row for row in rows if source in (None, row["source"])}


def observers(locust):
    """The observing processes of a Locust process."""
    children = psutil.Process(locust.process.pid).children(recursive=True)
    return [child for child in children if "llmlocust.observe.setup" in child.cmdline()]


@pytest.fixture
def dead_end():
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections = []

        def accept():
            while True:
                try:
                    connections.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/metrics"
        server.shutdown(socket.SHUT_RDWR)


def test_the_server_under_test_is_observed_by_itself(simulator, tmp_path):
    with Locust(tmp_path, [*headless(simulator), *QUICK], RAMP, environment=ON) as locust:
        assert locust.ends() == 0, locust.log
    assert f"Telemetry: {simulator.url}/metrics, port:{simulator.port}, machine." in locust.log
    few, many = figures(tmp_path, 0), figures(tmp_path, 1)
    assert float(few["running"]["mean"]) <= 2.0
    assert 3.0 < float(many["running"]["max"]) <= 4.0  # the slots
    assert float(many["waiting"]["max"]) >= 1.0
    assert float(many["process.memory"]["mean"]) > 0.0
    sources = run_info(tmp_path)["telemetry"]["sources"]
    assert [source["state"] for source in sources] == ["ok"] * 3
    assert sources[0]["engine"] == "vLLM 0.33.0"
    rows = table(tmp_path, "telemetry")
    assert {"running", "kv.usage", "process.cpu", "cpu"} <= {row["metric"] for row in rows}


GATED = f"""
import gevent
{MANUAL_RAMP}

def _ask(self):
    while not os.path.exists("go") or self.sent >= 10:
        gevent.sleep(0.05)
    self.sent += 1
    self.chat()

Chat.sent, Chat.tasks = 0, [_ask]
"""
"""Users send ten requests each, after the test has created a file."""


def test_the_server_and_the_client_count_the_same_requests_and_tokens(simulator, tmp_path):
    """No request is in flight at the borders of the level, where counters are interpolated between two scrapes."""
    simulator.clear()

    def rates():
        rows = table(tmp_path, "telemetry")
        return [float(row["value"]) for row in rows if row["metric"] == "finished" and row["value"]]

    options = [*headless(simulator), "--llm-levels", "3", "--llm-max-tokens", "20", "--llm-drain", "1"]
    with Locust(tmp_path, [*options, "--llm-warmup", "0.1"], GATED, environment=ON) as locust:
        wait_for_level(tmp_path, 0, 2.0)
        (tmp_path / "go").touch()
        wait_for(simulator.truth, lambda requests: len(requests) == 31)
        wait_for(rates, lambda rates: any(rates) and not any(rates[-3:]))
        end_level(tmp_path, 0)
        assert locust.ends() == 0, locust.log
    counted = figures(tmp_path, 0)
    ended = [request for request in simulator.truth() if request["outcome"] == "completed"]
    assert len(ended) == 31  # with the request of the preflight, before the observation
    assert float(counted["finished"]["increase"]) == 30
    assert float(counted["generation_tokens"]["increase"]) == sum(request["output_tokens"] for request in ended[1:])


def test_none_observes_nothing(simulator, tmp_path):
    options = [*headless(simulator), *QUICK, "--llm-observe", "none"]
    with Locust(tmp_path, options, RAMP, environment=ON) as locust:
        locust.ends()
    assert "Telemetry" not in locust.log
    assert "telemetry" not in run_info(tmp_path)
    assert not list(tmp_path.glob("*telemetry*"))


def test_a_source_that_hangs_costs_the_run_nothing(simulator, dead_end, tmp_path):
    options = [*headless(simulator), *QUICK, "--llm-observe", dead_end]
    with Locust(tmp_path, options, RAMP, environment=ON) as locust:
        assert locust.ends() == 0, locust.log
    states = {source["url"]: source["state"] for source in run_info(tmp_path)["telemetry"]["sources"]}
    assert states.pop(dead_end) == "failed"
    assert set(states.values()) == {"ok"}
    assert float(figures(tmp_path, 1)["running"]["mean"]) > 0.0


def test_thresholds_judge_telemetry(simulator, tmp_path):
    gates = ["--llm-threshold", "waiting < 0.5 @ 2", "--llm-threshold", "waiting.max < 0.5 @ 8"]
    options = [*headless(simulator), *QUICK, "--llm-levels", "2,8", *gates]
    with Locust(tmp_path, options, RAMP, environment=ON) as locust:
        assert locust.ends() == 99, locust.log
    assert "waiting.max < 0.5" in locust.log


def test_a_restart_of_the_server_inside_a_level_is_an_event(tmp_path):
    with running_simulator(slots=4, step_ms=5) as first:
        options = [*headless(first), "--llm-levels", "3", "--llm-warmup", "0.1", "--llm-max-tokens", "5"]
        with Locust(tmp_path, options, MANUAL_RAMP, environment=ON) as locust:
            wait_for_level(tmp_path, 0, 2.0)
            first.process.kill()
            first.process.wait()
            with running_simulator(slots=4, step_ms=5, port=first.port) as second:
                # the counters of the new process pass those of the old one: only its start time is a sign
                wait_for(second.received, lambda received: received >= 50)
                wait_for(
                    lambda: run_info(tmp_path)["telemetry"]["events"],
                    lambda events: "restart" in {event["kind"] for event in events},
                )
                end_level(tmp_path, 0)
                locust.ends()
    counted = figures(tmp_path, 0, f"127.0.0.1:{first.port}")
    assert float(counted["finished"]["increase"]) > 50
    # /metrics and the process on the port both show it
    sources = [event["source"] for event in run_info(tmp_path)["telemetry"]["events"] if event["kind"] == "restart"]
    assert sources == [f"127.0.0.1:{first.port}"]


def test_the_observing_process_ends_with_a_run_that_is_killed(simulator, tmp_path):
    with Locust(tmp_path, [*headless(simulator), *UNTIL_STOPPED], RAMP, environment=ON) as locust:
        (observer,) = wait_for(lambda: observers(locust), len)
        os.kill(locust.process.pid, signal.SIGKILL)
        locust.ends()
        wait_for(lambda: not observer.is_running() or observer.status() == psutil.STATUS_ZOMBIE, bool)


def test_a_run_goes_on_if_the_observing_process_is_killed(simulator, tmp_path):
    with Locust(tmp_path, [*headless(simulator), *QUICK, "--llm-hold", "4"], RAMP, environment=ON) as locust:
        (observer,) = wait_for(lambda: observers(locust), len)
        observer.kill()
        assert locust.ends() == 0, locust.log
    assert len(table(tmp_path, "levels")) == 2


def test_workers_do_not_observe(simulator, tmp_path):
    from tests.locusts import forked_workers

    with Locust(tmp_path, [*headless(simulator), *UNTIL_STOPPED, *forked_workers(2)], RAMP, environment=ON) as locust:
        wait_for_level(tmp_path, 0, 1.0)
        assert len(observers(locust)) == 1
        locust.stop()
    assert run_info(tmp_path)["telemetry"]["sources"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nonsense", "no source of telemetry"),
        ("port:0", "port:8000"),
        ("prometheus:http://x:9090", "query"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_sent(simulator, tmp_path, value, words):
    before = simulator.received()
    with Locust(tmp_path, [*headless(simulator), *QUICK, "--llm-observe", value], RAMP) as locust:
        assert locust.ends() != 0
    (line,) = [line for line in locust.log.splitlines() if "--llm-observe" in line]
    assert words in line
    assert simulator.received() == before


def test_credentials_are_in_no_file(simulator, tmp_path):
    secret = "s3cret-pass"
    options = [
        *headless(simulator),
        *QUICK,
        "--llm-observe",
        f"http://user:{secret}@127.0.0.1:9/metrics?token={secret}",
    ]
    with Locust(tmp_path, options, RAMP, environment=ON) as locust:
        locust.ends()
    assert secret not in locust.log
    for file in tmp_path.glob("run_*"):
        assert secret not in file.read_text(errors="replace"), file.name
    assert json.dumps(run_info(tmp_path)["options"]["llm_observe"]).count("127.0.0.1:9")
