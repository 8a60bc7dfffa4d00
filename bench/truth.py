"""Tools of the benchmarks of whole runs: the C server that logs its tokens, processes that are pinned to cores, and headless
Locust with all files of a run.

The server (truth_server.c) writes each stream's tokens on a schedule (± 20 %), the first after 50 ms ± 20 %, and logs the
time of each.
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
    # client and server need a socket for each stream
    max_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))
    for source in ("truth_server", "floor_client"):
        subprocess.run(["gcc", "-O2", "-o", folder / source, HERE / f"{source}.c"], check=True)


class Server:
    """The C server on the first core, as a context; `served` and `itls` are set when it has ended."""

    def __init__(self, folder: Path, itl_ms: float, *, tls: bool = False, tokens: int = TOKENS) -> None:
        self.folder, self.itl_ms, self.tokens = folder, itl_ms, tokens
        self.program = "truth_server_tls" if tls else "truth_server"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.host = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.log = self.folder / "truth.log"
        schedule = [FIRST_AFTER * 1000, self.itl_ms, 0.2]
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
        # a row for each request: received, first and last write in ns, tokens, connection, arrival at the kernel in ns
        self.served = np.loadtxt(self.log, dtype=np.int64, ndmin=2).reshape(-1, 6)
        self.itls = np.fromfile(f"{self.log}.itl", dtype=np.uint32).reshape(-1, 2)

    def truth(self, begin: float, end: float) -> Latencies:
        """Return the latencies of the requests that were received between these epoch seconds and got a token."""
        begin_ms, end_ms = ((moment - monotonic_began()) * 1000.0 for moment in (begin, end))
        received, first = self.served[:, 0], self.served[:, 1]
        chosen = (received >= begin_ms * 1e6) & (received < end_ms * 1e6) & (first > 0)
        ttfts = (first - received)[chosen] / 1e9
        since = (self.itls[:, 1] - int(begin_ms)) & 0xFFFFFFFF
        itls = self.itls[since < int(end_ms - begin_ms), 0] / 1e6
        return Latencies.of(ttfts.tolist(), itls.tolist())


def monotonic_began() -> float:
    return time.time() - time.monotonic()


def cores(needed: int = 2) -> list[int]:
    available = sorted(os.sched_getaffinity(0))
    if len(available) < needed:
        sys.exit("this needs two cores: one for the server, one for the client")
    return available


def on_core(number: int) -> Callable[[], None]:
    """Return a function that pins a new child process to a core."""
    core = cores()[number]
    return lambda: os.sched_setaffinity(0, {core})


def locust(folder: Path, *arguments: Any, user: str = "    pass\n") -> list[str]:
    """Return a command line of Locust with users that each send one request after the other. `user` is the body of their
    class.
    """
    locustfile = folder / "locustfile.py"
    locustfile.write_text(
        f"from gevent import sleep\nfrom llmlocust import ChatUser\n\n\nclass Chat(ChatUser):\n{user}"
    )
    return [sys.executable, "-m", "locust", "-f", *map(str, [locustfile, *arguments])]


def headless(folder: Path, host: str, users: int, seconds: float, tokens: int = TOKENS) -> list[Any]:
    """Return the options of a run that has all users for this number of seconds, and writes its files to folder/run_*."""
    length = f"{seconds + users / SPAWN_RATE:.0f}s"
    load = ["--headless", "--only-summary", "--host", host, "-u", users, "-r", SPAWN_RATE, "-t", length]
    return [*load, "--llm-insecure", "--csv", folder / "run", "--llm-preflight=false", "--llm-max-tokens", tokens]


def run(command: list[str], prepare: Callable[[], None]) -> str:
    child = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=prepare)
    if child.returncode:
        sys.exit(child.stdout + child.stderr)
    return child.stdout


def level(folder: Path) -> LevelFigures:
    """Return the last level, which has all users."""
    return level_of_row(rows(folder / "run_llm_levels.csv")[-1])


def steady(folder: Path, users: int) -> list[dict[str, str]]:
    """Return the rows of the timeline for complete seconds with all users."""
    return [second for second in rows(folder / "run_llm_timeline.csv") if float(second["users"]) == users][1:-2]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
