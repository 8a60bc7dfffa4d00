"""The real `locust` command as a child process, and what its run left."""

import csv
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from tests.simulators import PATIENCE, ROOT, wait_for

RAMP = """
from llmlocust import ChatUser, SteppedRamp

class Chat(ChatUser):
    pass

class Ramp(SteppedRamp):
    pass
"""

LATE = (
    "cpu_wait", "cpu_throttling", "client_cpu", "client_queue_time", "event_loop_lag", "token_times", "warm_up", "drift",
)  # fmt: skip
"""Checks that fail on a machine that is busy with other tests, whatever a run did."""
ACCEPTING = [f"--accept={name}" for name in LATE]
QUICK = ["--llm-levels", "2,5", "--llm-settle", "0.5", "--llm-hold", "2", "--llm-max-tokens", "20"]
LONG = ["--llm-levels", "10", "--llm-settle", "0", "--llm-hold", "100", "--llm-max-tokens", "2000"]
ENDLESS_ANSWERS = ["--llm-body", '{"ignore_eos": true}']


def free_port() -> int:
    """None of those that the system gives to clients: one of them might have it before anybody listens there."""
    while True:
        port = secrets.choice(range(10_000, 32_000))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Locust:
    """One process of Locust, started in a folder that holds its locustfile and takes its files."""

    folder: Path
    args: list[str]
    locustfile: str = RAMP
    environment: dict[str, str] = field(default_factory=dict)
    host: list[str] = field(default_factory=list)
    """The command that takes a process to its host, where that is not this one (tests.hosts)."""
    process: subprocess.Popen[str] = field(init=False)
    output: str = ""

    def __post_init__(self) -> None:
        number = len(list(self.folder.glob("log*")))
        locustfile = self.folder / f"locustfile{number}.py"
        locustfile.write_text(self.locustfile)
        self._log = (self.folder / f"log{number}").open("w+")
        self.process = subprocess.Popen(
            [*self.host, sys.executable, "-m", "locust", "-f", locustfile.name, *self.args],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "LLMLOCUST_ACCEPT": ", ".join(LATE), **self.environment},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()

    @property
    def log(self) -> str:
        return Path(self._log.name).read_text()

    def says(self, words: str, patience: float = PATIENCE) -> None:
        """Wait until the process has said so."""
        wait_for(lambda: words in self.log or f"not in:\n{self.log}", lambda found: found is True, patience)

    def stop(self, how: int = signal.SIGINT) -> int:
        self.process.send_signal(how)
        return self.ends()

    def ends(self, patience: float = 2 * PATIENCE) -> int:
        return self.process.wait(patience)


def run(folder: Path, host: str, /, *args: str, **more: Any) -> Locust:
    """A headless run to its end, with files under the prefix `run`."""
    with Locust(folder, ["--headless", "--only-summary", "--host", host, "--csv", "run", *args], **more) as locust:
        locust.ends()
        return locust


@dataclass
class Distributed:
    """A headless master and its workers."""

    master: Locust
    workers: list[Locust]
    port: str
    """Where workers join."""
    stack: ExitStack

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def join(self, folder: Path, locustfile: str = RAMP, **more: Any) -> Locust:
        """One more worker."""
        worker = Locust(folder, ["--worker", "--master-port", self.port], locustfile, **more)
        self.workers.append(self.stack.enter_context(worker))
        return worker


def distributed(
    folder: Path, host: str, /, *args: str, workers: int = 2, locustfile: str = RAMP, **of_workers: Any
) -> Distributed:
    stack, port = ExitStack(), str(free_port())
    bind = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port]
    bind += ["--expect-workers", str(max(workers, 1))]
    options = ["--headless", "--only-summary", "--host", host, "--csv", "run", *args]
    run = Distributed(stack.enter_context(Locust(folder, [*bind, *options], locustfile)), [], port, stack)
    for _ in range(workers):
        run.join(folder, locustfile, **of_workers)
    return run


def rows(folder: Path, name: str, prefix: str = "run") -> list[dict[str, str]]:
    with (folder / f"{prefix}_{name}").open(newline="") as file:
        return list(csv.DictReader(file))


def told(folder: Path, prefix: str = "run") -> dict[str, Any]:
    return json.loads((folder / f"{prefix}_llm_run.json").read_text())


def outcomes(folder: Path, prefix: str = "run") -> Counter[str]:
    return Counter(row["outcome"] for row in rows(folder, "llm_requests.csv", prefix))


def aggregated(folder: Path) -> dict[str, str]:
    """The Aggregated row of Locust's own statistics file."""
    return next(row for row in rows(folder, "stats.csv") if row["Name"] == "Aggregated")


def assert_files_agree(folder: Path, prefix: str = "run") -> None:
    """Of a run that kept a row of every request: what is counted in one file, counted from another."""
    counts, requests = told(folder, prefix)["counts"], rows(folder, "llm_requests.csv", prefix)
    became = Counter(row["outcome"] for row in requests)
    seconds = rows(folder, "llm_timeline.csv", prefix)
    in_seconds = {name: sum(float(row[name] or 0) for row in seconds) for name in ("sent", "ended", "failed", "tokens")}
    assert in_seconds == {
        "sent": counts["sent"],
        "ended": len(requests),
        "failed": became.total() - became["ok"] - became["aborted"],
        "tokens": pytest.approx(sum(int(row["output_tokens"] or 0) for row in requests)),
    }
    workers = Counter((row["time"], row["worker"]) for row in rows(folder, "llm_workers.csv", prefix))
    assert set(workers.values()) <= {1}
    histograms = rows(folder, "llm_histograms.csv", prefix)
    for level in rows(folder, "llm_levels.csv", prefix):
        measured = [row for row in requests if row["level"] == level["level"] and row["measured"] == "1"]
        ended = [row for row in measured if row["outcome"] != "aborted"]
        assert (len(measured), len(ended)) == (int(level["requests"]) + int(level["aborted"]), int(level["requests"]))
        assert sum(row["outcome"] == "ok" for row in ended) == int(level["ok"])
        e2e = [row for row in histograms if (row["level"], row["metric"]) == (level["level"], "e2e")]
        assert sum(int(row["count"]) for row in e2e) == int(level["e2e_count"])
