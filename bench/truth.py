"""What the whole-run benchmarks share: the C server that knows when it wrote each token, processes kept on their cores,
and Locust headless with every file of a run.

The server (truth_server.c) writes each stream's tokens on a schedule of its own, ± 20 % apart, the first after
50 ms ± 20 %, and logs when it wrote them.
"""

import csv
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np

from llmlocust.calibration.errors import Latencies
from llmlocust.metrics.level_rows import level_of_row
from llmlocust.metrics.levels import LevelFigures

HERE = Path(__file__).parent
TOKENS = 100
FIRST_AFTER = 0.050
"""Seconds from a request to its first token."""
SPAWN_RATE = 100


def build(folder: Path) -> None:
    if not shutil.which("gcc"):
        sys.exit("this needs gcc (Debian's package gcc)")
    # a socket for each stream at either end, in processes of their own
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for source in ("truth_server", "floor_client"):
        subprocess.run(["gcc", "-O2", "-o", folder / source, HERE / f"{source}.c"], check=True)


class Server:
    """The C server on the first core, while the block runs; what it served is known afterwards."""

    def __init__(self, folder: Path, gap_ms: float, *, tls: bool = False, tokens: int = TOKENS) -> None:
        self.folder, self.gap_ms, self.tokens = folder, gap_ms, tokens
        self.program = "truth_server_tls" if tls else "truth_server"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.host = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.log = self.folder / "truth.log"
        schedule = [FIRST_AFTER * 1000, self.gap_ms, 0.2]
        command = [self.folder / self.program, self.port, *schedule, self.log, self.tokens]
        self.child = subprocess.Popen(list(map(str, command)), preexec_fn=on_core(0))
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        sys.exit("the server did not start")

    def __exit__(self, *_: object) -> None:
        self.child.send_signal(signal.SIGTERM)
        self.child.wait()
        # received, first and last write in ns, tokens, connection: a row for each request
        self.served = np.loadtxt(self.log, dtype=np.int64, ndmin=2).reshape(-1, 5)
        self.gaps = np.fromfile(f"{self.log}.gaps", dtype=np.uint32).reshape(-1, 2)

    def truth(self, begin: float, end: float) -> Latencies:
        """Of the requests that it received within these epoch seconds, and that got a token."""
        begin_ms, end_ms = ((each - monotonic_began()) * 1000.0 for each in (begin, end))
        received, first = self.served[:, 0], self.served[:, 1]
        chosen = (received >= begin_ms * 1e6) & (received < end_ms * 1e6) & (first > 0)
        ttfts = (first - received)[chosen] / 1e9
        since = (self.gaps[:, 1] - int(begin_ms)) & 0xFFFFFFFF
        gaps = self.gaps[since < int(end_ms - begin_ms), 0] / 1e6
        return Latencies.of(ttfts.tolist(), gaps.tolist())


def monotonic_began() -> float:
    return time.time() - time.monotonic()


def cores(needed: int = 2) -> list[int]:
    found = sorted(os.sched_getaffinity(0))
    if len(found) < needed:
        sys.exit("this needs two cores: one for the server, one for the client")
    return found


def on_core(number: int) -> Callable[[], None]:
    """For a child that begins: stay on that core."""
    core = cores()[number]
    return lambda: os.sched_setaffinity(0, {core})


def locust(folder: Path, *arguments: Any, user: str = "    pass\n") -> list[str]:
    """A command line of Locust with users that ask one question after the other; `user` is their class's body."""
    locustfile = folder / "locustfile.py"
    locustfile.write_text(
        f"from gevent import sleep\nfrom llmlocust import ChatUser\n\n\nclass Chat(ChatUser):\n{user}"
    )
    return [sys.executable, "-m", "locust", "-f", *map(str, [locustfile, *arguments])]


def headless(folder: Path, host: str, users: int, seconds: float, tokens: int = TOKENS) -> list[Any]:
    """Options of a run that has all its users for so many seconds, and writes all its files to folder/run_*."""
    length = f"{seconds + users / SPAWN_RATE:.0f}s"
    load = ["--headless", "--only-summary", "--host", host, "-u", users, "-r", SPAWN_RATE, "-t", length]
    return [*load, "--llm-insecure", "--csv", folder / "run", "--llm-preflight=false", "--llm-max-tokens", tokens]


def run(command: list[str], prepare: Callable[[], None]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=prepare)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout


def level(folder: Path) -> LevelFigures:
    """The last level: the one with all users."""
    return level_of_row(rows(folder / "run_llm_levels.csv")[-1])


def steady(folder: Path, users: int) -> list[dict[str, str]]:
    """The timeline's whole seconds with all users there."""
    return [each for each in rows(folder / "run_llm_timeline.csv") if float(each["users"]) == users][1:-2]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
