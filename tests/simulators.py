"""A simulator as a child process, for tests that need a server."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PATIENCE = 120.0
"""Maximum seconds to wait for a condition; large, because a busy machine is slow."""


@dataclass(frozen=True)
class RunningSimulator:
    """A simulator that accepts connections."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as answer:
            return answer.read()

    def truth(self) -> list[dict[str, Any]]:
        """Return a document per request, oldest first; times of tokens are microseconds after `received_ns`."""
        return [json.loads(line) for line in self.get("/truth").splitlines()]

    def ended(self, requests: int) -> list[dict[str, Any]]:
        """Wait until this number of requests have ended, and return them. Clients see the last byte before the server does."""
        return wait_for(
            lambda: [request for request in self.truth() if request["outcome"] != "open"],
            lambda ended: len(ended) >= requests,
        )

    def summary(self) -> dict[str, Any]:
        return json.loads(self.get("/truth?summary=1"))

    def received(self) -> int:
        """Return the number of requests that the server received."""
        return sum(self.summary()["received"].values())

    def clear(self) -> None:
        """Forget all requests so far."""
        request = urllib.request.Request(self.url + "/truth", method="DELETE")
        urllib.request.urlopen(request, timeout=PATIENCE).close()

    def metric(self, name: str, labels: str = "") -> float:
        """Return one sample of /metrics, such as metric("vllm:num_requests_running")."""
        for line in self.get("/metrics").decode().splitlines():
            if line.startswith(name + "{") and labels in line:
                return float(line.rpartition(" ")[2])
        raise KeyError(name)


@contextmanager
def running_simulator(*, key: str | None = None, **settings: Any) -> Iterator[RunningSimulator]:
    """Start a simulator on a free port; settings are those of `llmlocust.simulator.settings.Settings`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlocust.simulator", *options(**{"port": 0} | settings)],
        cwd=ROOT,
        env={**os.environ, **({"LLMLOCUST_SIMULATOR_KEY": key} if key else {})},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line, f"the simulator did not start: exit {process.wait()}"
        yield RunningSimulator(process, int(line.rpartition(":")[2]))
    finally:
        process.terminate()
        process.wait(PATIENCE)
        process.stdout.close()


def served(simulator: RunningSimulator) -> int:
    """Return the number of requests that the server received from the load, without the preflight."""
    return simulator.received() - 1


def wait_for_requests(simulator: RunningSimulator, requests: int = 20) -> None:
    """Wait until the server has received this number of further requests."""
    until = simulator.received() + requests
    wait_for(simulator.received, lambda now: now >= until)


def options(**settings: Any) -> list[str]:
    """Return settings as options of a command line."""
    arguments = []
    for name, value in settings.items():
        if value is not False:
            arguments += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
    return arguments


def wait_for(ask: Callable[[], Any], is_right: Callable[[Any], bool] = bool, patience: float = PATIENCE) -> Any:
    """Call `ask` until its answer is right, and return the answer; AssertionError after `patience` seconds."""
    until, pause = time.monotonic() + patience, 0.01
    while not is_right(answer := ask()):
        assert time.monotonic() < until, f"still {answer!r} after {patience} s"
        time.sleep(pause)
        pause = min(1.2 * pause, 0.1)  # other processes need the CPU, too
    return answer
