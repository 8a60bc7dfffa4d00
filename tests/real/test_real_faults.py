"""Faults of a real llama.cpp server under load: the report's times agree with what the process itself shows."""

import json
import shlex
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.locusts import Locust
from tests.real.engines import EngineProcess, llama_server
from tests.simulators import wait_for

OPEN = ["--llm-rate", "8", "--llm-levels", "8", "--llm-warmup", "2", "--llm-hold", "45", "--llm-max-tokens", "8"]
LOOK = 0.02
FAST = (64, 8)
"""The width and the blocks of a model that is far from its limit at this rate, on slow machines, too."""

pytestmark = pytest.mark.xdist_group("real_engines")  # they would slow each other down


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.fixture
def server(folder: Path) -> Iterator[EngineProcess]:
    with llama_server(folder, "--metrics", "-np", "4", "-c", "4096", shape=FAST) as started:
        yield started


@contextmanager
def watched(look: Callable[[], Any]) -> Iterator[list[tuple[float, Any]]]:
    """Note a state each time it changes, with the moment at which it was first seen."""
    states: list[tuple[float, Any]] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(LOOK):
            state = look()
            if not states or states[-1][1] != state:
                states.append((time.time(), state))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield states
    finally:
        is_over.set()
        thread.join()


def is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def fault_of(folder: Path) -> tuple[dict[str, Any], float]:
    """Return the only fault of a run's report, and the epoch second at which the run began."""
    command = [sys.executable, "-m", "llmlocust.cli", "report", "run", "--json", "-"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    (fault,) = json.loads(done.stdout)["faults"]
    print(json.dumps(fault, indent=1))  # pytest shows it if a test fails
    began = json.loads((folder / "run_llm_run.json").read_text())["started"]
    assert fault["confirmed"], fault
    return fault, began


def run_with(folder: Path, url: str, fault: str) -> None:
    host = ["--headless", "--only-summary", "--host", url, "--csv", "run"]
    with Locust(folder, [*host, *OPEN, "--llm-fault", fault]) as locust:
        locust.ends()


def test_a_kill_and_a_restart(server: EngineProcess, tmp_path: Path) -> None:
    variables = [f"{name}={value}" for name, value in server.environment.items()]
    start = shlex.join(["env", *variables, "nice", "-n", "15", *server.command])
    fault = f"at 15s: kill port {server.port} restart {shlex.quote('exec ' + start)} healthy {server.url}/health"
    with watched(lambda: is_healthy(server.url)) as states:
        run_with(tmp_path, server.url, fault)
    down, up = (moment for moment, _ in states[1:3])
    listeners = [c.pid for c in psutil.net_connections("tcp4") if c.laddr.port == server.port and c.status == "LISTEN"]
    psutil.Process(listeners[0]).terminate()
    reported, began = fault_of(tmp_path)
    assert began + reported["began"] == pytest.approx(down, abs=1.0)
    recovery = reported["recovery"]
    truth = up - (began + reported["lifted"])
    print("healthy", truth, "recovered", recovery)
    assert truth > 0.0
    assert recovery["seconds"] == pytest.approx(truth, abs=max(1.0, 0.05 * truth))
    assert reported["lost"] > 0


def test_a_freeze(server: EngineProcess, tmp_path: Path) -> None:
    process = psutil.Process(server.process.pid)
    with watched(lambda: process.status() == psutil.STATUS_STOPPED) as states:
        run_with(tmp_path, server.url, f"at 15s for 6s: freeze port {server.port}")
        wait_for(lambda: len(states) >= 3)
    frozen, released = (moment for moment, _ in states[1:3])
    reported, began = fault_of(tmp_path)
    assert began + reported["began"] == pytest.approx(frozen, abs=0.5)
    assert began + reported["lifted"] == pytest.approx(released, abs=0.5)
    # requests that arrived during the freeze wait; the last of them ends the recovery
    assert reported["impact"] == pytest.approx(0.0, abs=1.0)
    assert reported["recovery"]["seconds"] is not None
    assert reported["outage"] == pytest.approx(released - frozen + reported["recovery"]["seconds"], abs=1.0)
