"""Real runs of Locust against the simulator, spoiled on purpose, for bench/spoiled.py --real.

A run has three levels. To make the server cold or slower, other users load it for that time, and share its steps.
"""

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from spoiled_result import CLEAN, Result, judge

from llmlocust.runfiles.reading.locate import load_run

LEVELS, WARMUP, HOLD = "4,8,12", 3, 12
LENGTH = WARMUP + HOLD + 1  # a ramp acts once per second
OTHER_USERS = 24
RAMP = """
from llmlocust import ChatUser, SteppedRamp

class Chat(ChatUser):
    pass

class Ramp(SteppedRamp):
    pass
"""
BLOCKED = f"""
import time

import gevent
from locust import events

@events.test_start.add_listener
def start_blocking(environment, **kwargs):
    gevent.spawn_later({LENGTH}, block)

def block():
    while True:
        until = time.perf_counter() + 0.15
        while time.perf_counter() < until:
            pass
        gevent.sleep(0.3)
"""
SPOILED = {
    CLEAN: set(),
    "slow generator": {1, 2},
    "short warm-up": {0},
    "repeated prompts": {0, 1, 2},
    "drift": {1},
    "worker killed": {1},
}


def results(runs: int) -> Iterator[Result]:
    for _ in range(runs):
        for kind, levels in SPOILED.items():
            with tempfile.TemporaryDirectory() as folder:
                run(kind, Path(folder))
                yield judge(kind, "real", load_run(Path(folder, "run")), levels, "a real run")


def run(kind: str, folder: Path) -> None:
    cached = kind == "repeated prompts"
    options = ["--llm-unique", "false"] if cached else []
    (folder / "locustfile.py").write_text(RAMP + (BLOCKED if kind == "slow generator" else ""))
    with server(prefix_cache=cached) as simulator, ExitStack() as stack:
        if kind == "worker killed":
            workers, master = distributed(folder, simulator, stack)
        else:
            workers, master = [], stack.enter_context(locust(folder, *headless(simulator.url), *options))
        began = simulator.first_request()
        if kind == "short warm-up":
            simulator.load(began, began + WARMUP + 1 + 0.4 * HOLD, grows=False)
        elif kind == "drift":
            simulator.load(began + LENGTH + WARMUP + 1, began + 2 * LENGTH, grows=True)
        elif workers:
            time.sleep(max(0.0, began + LENGTH + WARMUP + 0.4 * HOLD - time.monotonic()))
            workers[0].kill()
        if master.wait(6 * LENGTH):
            sys.exit(f"the run failed: {(folder / 'log').read_text()[-500:]}")


def headless(url: str) -> list[str]:
    settings = {"levels": LEVELS, "warmup": WARMUP, "hold": HOLD, "max-tokens": 20}
    options = [f"--llm-{name}={value}" for name, value in settings.items()]
    body = ["--llm-body", '{"ignore_eos": true}']
    return ["--headless", "--only-summary", "--host", url, "--csv", "run", "--exit-code-on-error", "0", *options, *body]


@contextmanager
def locust(folder: Path, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "locust", "-f", "locustfile.py", *args]
    with (folder / "log").open("ab") as log:
        child = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def distributed(folder: Path, simulator: "Simulator", stack: ExitStack):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    join = ["--worker", "--master-host", "127.0.0.1", "--master-port", port]
    workers = [stack.enter_context(locust(folder, *join)) for _ in range(2)]
    lead = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--expect-workers", "2"]
    return workers, stack.enter_context(locust(folder, *lead, *headless(simulator.url)))


@contextmanager
def server(*, prefix_cache: bool) -> Iterator["Simulator"]:
    options = ["--port=0", "--slots=64", "--step-ms=15", "--step-ms-per-seq=1"]
    command = [sys.executable, "-m", "llmlocust.simulator", *options, *(["--prefix-cache"] if prefix_cache else [])]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield Simulator(child, child.stdout.readline().split()[-1])
    finally:
        child.terminate()
        child.wait()


class Simulator:
    def __init__(self, child: subprocess.Popen[str], url: str) -> None:
        self.child, self.url = child, url

    def first_request(self) -> float:
        """Wait for the first request after the preflight, and return its monotonic time."""
        while sum(json.load(urllib.request.urlopen(f"{self.url}/truth?summary=1"))["received"].values()) < 2:
            time.sleep(0.05)
        return time.monotonic()

    def load(self, begins: float, ends: float, *, grows: bool) -> None:
        """Start other users between two moments: all at the first one, or one after the other if the load grows."""
        for number in range(OTHER_USERS):
            first = begins + (ends - begins) * number / OTHER_USERS if grows else begins
            threading.Thread(target=self._keep_busy, args=(first, ends), daemon=True).start()

    def _keep_busy(self, begins: float, ends: float) -> None:
        time.sleep(max(0.0, begins - time.monotonic()))
        body = {"messages": [{"role": "user", "content": "?"}], "stream": True, "max_tokens": 9000, "ignore_eos": True}
        request = urllib.request.Request(
            f"{self.url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            while time.monotonic() < ends:
                answer.readline()
