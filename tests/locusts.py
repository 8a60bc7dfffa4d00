"""The real `locust` command as a child process, and the files of its run."""

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

from llmlocust.text.message import from_json
from tests.fork_server import Forked, ForkServer
from tests.simulators import PATIENCE, ROOT, RunningSimulator, wait_for

RAMP = """
from llmlocust import ChatUser, SteppedRamp

class Chat(ChatUser):
    pass

class Ramp(SteppedRamp):
    pass
"""

MANUAL_RAMP = """
import math
import os
from llmlocust import ChatUser, SteppedRamp

class Chat(ChatUser):
    pass

class Ramp(SteppedRamp):
    _end_file = ""

    def _begin_phase(self, level):
        phase = super()._begin_phase(level)
        self._end_file, self._stairs.hold, self._stairs.patience = f"end{level}", math.inf, math.inf
        return phase

    def _advance(self):
        if os.path.exists(self._end_file):
            self._stairs.hold = 0.0
        super()._advance()
"""
"""Each level waits for its users, and lasts until the test ends it with `end_level`, so that slow machines do not matter."""
NO_RAMP = RAMP.partition("class Ramp")[0].replace(", SteppedRamp", "")

LATE = (
    "cpu_wait", "cpu_throttling", "client_cpu", "client_queue_time", "event_loop_lag", "token_times", "warm_up", "drift",
)  # fmt: skip
"""Checks that may fail for any run on a machine that is busy with other tests."""
DEFAULTS = {
    "LLMLOCUST_ACCEPT": ", ".join(LATE),
    "LLMLOCUST_OBSERVE": "none",  # a process of its own would make each test slower: tests/plugin/test_observing.py has it
}
"""The environment of a run, unless a test changes it."""
ACCEPTING = [f"--accept={name}" for name in LATE]
QUICK = ["--llm-levels", "2,5", "--llm-warmup", "0.5", "--llm-hold", "2", "--llm-max-tokens", "20"]
LONG = ["--llm-levels", "10", "--llm-warmup", "0", "--llm-hold", "100", "--llm-max-tokens", "2000"]
UNTIL_STOPPED = ["--llm-levels", "6", "--llm-warmup", "0", "--llm-hold", "1000", "--llm-max-tokens", "20"]
ENDLESS_ANSWERS = ["--llm-body", '{"ignore_eos": true}']


def free_port() -> int:
    """Return a free port below those that the system gives to clients, because a client could take one of these first."""
    while True:
        port = secrets.choice(range(10_000, 32_000))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def forked_workers(number: int) -> list[str]:
    """Options for a master with forked workers, at a free port: other tests may use Locust's own at the same time."""
    port = str(free_port())
    return ["--processes", str(number), "--master-bind-port", port, "--master-port", port]


@dataclass
class Locust:
    """A process of Locust, in a folder with its locustfile and the files that it writes."""

    folder: Path
    args: list[str]
    locustfile: str = RAMP
    environment: dict[str, str] = field(default_factory=dict)
    host: list[str] = field(default_factory=list)
    """Prefix of the command line, if the process runs on another host (tests.hosts)."""
    fresh: bool = False
    """Whether the process is started with the `locust` command, and not forked from a process that has imported Locust."""
    process: subprocess.Popen[str] | Forked = field(init=False)
    output: str = ""

    def __post_init__(self) -> None:
        number = len(list(self.folder.glob("log*")))
        locustfile = self.folder / f"locustfile{number}.py"
        locustfile.write_text(self.locustfile)
        self._log = (self.folder / f"log{number}").open("w+")
        args = ["-f", locustfile.name, *self.args]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **DEFAULTS, **self.environment}
        if self.fresh or self.host or "PYTHONPATH" in self.environment or not hasattr(os, "pidfd_open"):
            self.process = self._start(args, environment)
        else:
            server = ForkServer.of_this_process()
            self.process = server.start(self.folder, args, self._log.name, environment)

    def _start(self, args: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.host, sys.executable, "-m", "locust", *args],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
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

    def wait_for_log(self, words: str, patience: float = PATIENCE) -> None:
        """Wait until the output of the process contains the words."""
        wait_for(lambda: words in self.log or f"not in:\n{self.log}", lambda result: result is True, patience)

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.ends()

    def ends(self, patience: float = 2 * PATIENCE) -> int:
        return self.process.wait(patience)


def run(folder: Path, host: str, /, *args: str, **more: Any) -> Locust:
    """Do a headless run to its end, with files under the prefix `run`."""
    with Locust(folder, ["--headless", "--only-summary", "--host", host, "--csv", "run", *args], **more) as locust:
        locust.ends()
        return locust


def headless(simulator: RunningSimulator, prefix: str = "run") -> list[str]:
    return ["--headless", "--only-summary", "--host", simulator.url, "--csv", prefix]


def wait_for_level(folder: Path, level: int, seconds: float = 1.0) -> None:
    """Wait until a level has been measured for this number of seconds."""
    file = folder / "run_llm_levels.csv"
    wait_for(
        lambda: [float(row["window"] or 0) for row in (rows(folder, "llm_levels.csv") if file.exists() else ())],
        lambda windows: len(windows) > level and windows[level] >= seconds,
    )


def end_level(folder: Path, level: int) -> None:
    """End a level of a MANUAL_RAMP in this folder."""
    (folder / f"end{level}").touch()


@dataclass
class Distributed:
    """A headless master and its workers."""

    master: Locust
    workers: list[Locust]
    port: str
    """The master's port for workers."""
    stack: ExitStack

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def join(self, folder: Path, locustfile: str = RAMP, **more: Any) -> Locust:
        """Start another worker."""
        worker = Locust(folder, ["--worker", "--master-port", self.port], locustfile, **more)
        self.workers.append(self.stack.enter_context(worker))
        return worker


def distributed(
    folder: Path,
    host: str,
    /,
    *args: str,
    workers: int = 2,
    locustfile: str = RAMP,
    fresh: bool = False,
    **worker_options: Any,
) -> Distributed:
    stack, port = ExitStack(), str(free_port())
    bind = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port]
    bind += ["--expect-workers", str(max(workers, 1))]
    options = ["--headless", "--only-summary", "--host", host, "--csv", "run", *args]
    master = Locust(folder, [*bind, *options], locustfile, fresh=fresh)
    run = Distributed(stack.enter_context(master), [], port, stack)
    for _ in range(workers):
        run.join(folder, locustfile, fresh=fresh, **worker_options)
    return run


def rows(folder: Path, name: str, prefix: str = "run") -> list[dict[str, str]]:
    with (folder / f"{prefix}_{name}").open(newline="") as file:
        return list(csv.DictReader(file))


def run_info(folder: Path, prefix: str = "run") -> dict[str, Any]:
    """Return the content of run.json, with the text of its sentences."""
    return json.loads((folder / f"{prefix}_llm_run.json").read_text(), object_hook=from_json)


def outcomes(folder: Path, prefix: str = "run") -> Counter[str]:
    return Counter(row["outcome"] for row in rows(folder, "llm_requests.csv", prefix))


def aggregated(folder: Path) -> dict[str, str]:
    """The Aggregated row of Locust's own statistics file."""
    return next(row for row in rows(folder, "stats.csv") if row["Name"] == "Aggregated")


def assert_files_agree(folder: Path, prefix: str = "run") -> None:
    """Check that the files of a run with a row for every request agree: the counts of one file are recounted from others."""
    counts, requests = run_info(folder, prefix)["counts"], rows(folder, "llm_requests.csv", prefix)
    by_outcome = Counter(row["outcome"] for row in requests)
    seconds = rows(folder, "llm_timeline.csv", prefix)
    in_seconds = {name: sum(float(row[name] or 0) for row in seconds) for name in ("sent", "ended", "failed", "tokens")}
    assert in_seconds == {
        "sent": counts["sent"],
        "ended": len(requests),
        "failed": by_outcome.total() - by_outcome["ok"] - by_outcome["aborted"],
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


def ids(folder: Path, prefix: str = "run") -> list[str]:
    return [f"chatcmpl-{row['id']}" for row in rows(folder, "llm_requests.csv", prefix)]


def assert_counted_once(folder: Path, truth: list[dict], prefix: str = "run") -> None:
    """Check that the files contain each request of the simulator's truth once, except its first one, the preflight."""
    counted = ids(folder, prefix)
    assert len(counted) == len(set(counted))
    assert set(counted) == {request["id"] for request in truth[1:]}
    of_load = dict.fromkeys(("sent", "ended", "attempts"), len(counted))
    assert run_info(folder, prefix)["counts"] == of_load | {"preflight": 1}
    assert_files_agree(folder, prefix)


def due_by_worker(folder: Path, level: str = "0") -> dict[str, list[float]]:
    """Return the epoch seconds at which each process's requests of a level were due, which do not depend on delays."""
    due: dict[str, list[float]] = {}
    for row in rows(folder, "llm_requests.csv"):
        if row["level"] == level:
            due.setdefault(row["worker"], []).append(float(row["sent"]) - float(row["delay"]) / 1000.0)
    return {worker: sorted(moments) for worker, moments in due.items()}
