"""A whole run of Locust beside the floor: what a C client that does the least costs, against the same C server.

    python bench/floor.py [STREAMS ...]          100 and 300 unless told; needs gcc and two cores

The server (truth_server.c) writes each stream's tokens on a schedule of its own, 10 ms ± 20 % apart, the first after
50 ms ± 20 %, and logs when it wrote them. Server and client have a core each. Every file of a run is written.
"""

import array
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Self

HERE = Path(__file__).parent
TOKENS = 100
SECONDS = 10


def main(streams: list[int]) -> None:
    if not shutil.which("gcc"):
        sys.exit("this needs gcc (Debian's package gcc)")
    print("| streams | client | tokens/s | CPU µs/token | TTFT mean error ms | p99 | gap p50 error ms | p99 |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source in ("truth_server", "floor_client"):
            subprocess.run(["gcc", "-O2", "-o", folder / source, HERE / f"{source}.c"], check=True)
        for number in streams:
            floor(folder, number)
            locust(folder, number)


def floor(folder: Path, streams: int) -> None:
    with Server(folder) as server:
        command = [folder / "floor_client", str(server.port), str(streams), str(TOKENS), str(SECONDS), "kernel"]
        told = json.loads(on_core(1, command).stdout)
    ttft, gap = told["ttft"], told["itl"]
    row(
        streams, "floor", told["tok_s"], told["us_per_token"], server, ttft["mean"], ttft["p99"], gap["p50"], gap["p99"]
    )


def locust(folder: Path, streams: int) -> None:
    (folder / "locustfile.py").write_text("from llmlocust import ChatUser\n\n\nclass Chat(ChatUser):\n    pass\n")
    length = SECONDS + streams / 100
    with Server(folder) as server:
        command = [sys.executable, "-m", "locust", "-f", folder / "locustfile.py", "--headless", "--only-summary"]
        command += [
            "--host",
            f"http://127.0.0.1:{server.port}",
            "-u",
            str(streams),
            "-r",
            "100",
            "-t",
            f"{length:.0f}s",
        ]
        done = on_core(1, [*command, "--csv", folder / "run", "--llm-max-tokens", str(TOKENS), "--llm-preflight=false"])
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
    level = rows(folder / "run_llm_levels.csv")[0]
    # whole seconds with all users there
    steady = [each for each in rows(folder / "run_llm_timeline.csv") if float(each["users"]) == streams][1:-2]
    cpu, tokens = (sum(float(each[name]) for each in steady) for name in ("client_cpu", "tokens"))
    figures = (float(level[name]) for name in ("ttft_mean", "ttft_p99", "gap_p50", "gap_p99"))
    row(streams, "llmlocust", tokens / len(steady), cpu / tokens * 1e6, server, *figures)


def row(streams, client, speed, cost, server, *measured) -> None:
    errors = (f"{got - true:+.2f}" for got, true in zip(measured, server.truth, strict=True))
    print(f"| {streams} | {client} | {speed:,.0f} | {cost:.1f} | {' | '.join(errors)} |", flush=True)


class Server:
    """The C server, while it runs; afterwards `truth` holds TTFT mean and p99, gap p50 and p99, in ms."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def __enter__(self) -> Self:
        self.log = self.folder / "truth.log"
        command = [self.folder / "truth_server", str(self.port), "50", "10", "0.2", self.log, str(TOKENS)]
        self.child = subprocess.Popen(command, preexec_fn=lambda: os.sched_setaffinity(0, {cores()[0]}))
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        sys.exit("the server did not start")

    def __exit__(self, *_: object) -> None:
        self.child.send_signal(signal.SIGTERM)
        self.child.wait()
        served = [line.split() for line in self.log.read_text().splitlines() if line]
        ttfts = [(int(first) - int(received)) / 1e6 for received, first, *_ in served if int(first)]
        gaps = array.array("I", Path(f"{self.log}.gaps").read_bytes())
        self.truth = (fmean(ttfts), quantile(ttfts, 0.99), quantile(gaps, 0.5) / 1e3, quantile(gaps, 0.99) / 1e3)


def on_core(number: int, command: list) -> subprocess.CompletedProcess:
    pin = lambda: os.sched_setaffinity(0, {cores()[number]})  # noqa: E731
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, preexec_fn=pin)


def cores() -> list[int]:
    found = sorted(os.sched_getaffinity(0))
    if len(found) < 2:
        sys.exit("this needs two cores: one for the server, one for the client")
    return found


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def quantile(values, q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


if __name__ == "__main__":
    main(list(map(int, sys.argv[1:])) or [100, 300])
