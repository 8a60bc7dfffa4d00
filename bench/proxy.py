"""The delay that the fault proxy adds to each token, and its CPU time, beside the same load without it.

    python bench/proxy.py [STREAMS@ITL_MS] [--pairs 10] [--seconds 5] [--fault TEXT] [--core 0|1]

The default load, 100@10, is 10,000 tokens/s. The C server writes the time into each token, and the C client subtracts it
from the time of arrival. Each row is a load without a proxy, through the floor (relay.c, which only forwards) and through
the proxy, one right after the other. Server and client share the first core; relay and proxy have the other, or the same
with `--core 0`. On a machine with other work, compare the proxy with the floor: both wait for the CPU alike.

`--fault "status 599 on 0.0001% of requests"` measures the cost of following requests.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import truth

from llmlocust.faults.proxy.process import ProxyProcess

MEDIAN_LIMIT, P99_LIMIT = 0.3, 1.0
"""Milliseconds that the proxy may add."""
TITLES = (
    *(
        "tokens/s",
        "median ms",
        "p99 ms",
        "floor: median",
        "p99",
        "CPU µs/token",
        "proxy: median",
        "p99",
        "CPU µs/token",
    ),
)


class Figures(NamedTuple):
    """The delay of tokens in milliseconds, and the CPU time of the process between, in microseconds per token."""

    tokens_per_s: float
    median: float
    p99: float
    cpu: float = 0.0


class Row(NamedTuple):
    direct: Figures
    floor: Figures
    proxy: Figures


def main() -> None:
    options = parsed()
    streams, _, itl = options.load.partition("@")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source in ("truth_server", "floor_client", "relay"):
            subprocess.run(["gcc", "-O2", "-DSTAMP", "-o", folder / source, truth.HERE / f"{source}.c"], check=True)
        load = Load(folder, int(streams), float(itl or 10), options.seconds, options.core)
        print(f"| {' | '.join(TITLES)} |\n|{'---:|' * len(TITLES)}", flush=True)
        rows = []
        for _ in range(options.pairs):
            rows.append(load.row(options.fault))
            print(line(rows[-1]), flush=True)
    summary(rows)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("load", nargs="?", default="100@10")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--fault", default="")
    parser.add_argument("--core", type=int, default=1)
    return parser.parse_args()


class Load:
    def __init__(self, folder: Path, streams: int, itl_ms: float, seconds: float, core: int) -> None:
        self.folder, self.streams, self.itl_ms, self.core = folder, streams, itl_ms, core
        self.requests = max(1, round(seconds / (truth.FIRST_AFTER + truth.TOKENS * itl_ms / 1000)))

    def row(self, fault: str) -> Row:
        with truth.Server(self.folder, self.itl_ms) as server:
            direct = self.measure(server.port)
            port = free_port()
            relay = subprocess.Popen([self.folder / "relay", str(port), str(server.port)])
            try:
                wait_for_port(port)
                floor = self.measure(port, relay.pid)
            finally:
                relay.kill()
                relay.wait()
            with ProxyProcess(server.host, faults=[fault] if fault else []) as proxy:
                return Row(direct, floor, self.measure(proxy.port, proxy.pid))

    def measure(self, port: int, pid: int = 0) -> Figures:
        """Return the figures of the load on a port, behind which is this process."""
        process = psutil.Process(pid or None)
        if pid:
            os.sched_setaffinity(pid, {truth.cores()[self.core]})
        before = sum(process.cpu_times()[:2])
        command = [self.folder / "floor_client", port, self.streams, truth.TOKENS, self.requests]
        result: dict[str, Any] = json.loads(truth.run(list(map(str, command)), truth.on_core(0)))
        cpu = (sum(process.cpu_times()[:2]) - before) / result["tokens"] * 1e6 if pid else 0.0
        return Figures(result["tok_s"], result["delay"]["p50"], result["delay"]["p99"], cpu)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)


def line(row: Row) -> str:
    cells = [f"{row.proxy.tokens_per_s:,.0f}", f"{row.direct.median:.3f}", f"{row.direct.p99:.3f}"]
    for figures in (row.floor, row.proxy):
        cells += [f"{figures.median:.3f}", f"{figures.p99:.3f}", f"{figures.cpu:.1f}"]
    return f"| {' | '.join(cells)} |"


def summary(rows: list[Row]) -> None:
    """Print the median of the pairs."""
    for name, limit in (("median", MEDIAN_LIMIT), ("p99", P99_LIMIT)):
        added = statistics.median(getattr(row.proxy, name) - getattr(row.direct, name) for row in rows)
        floor = statistics.median(getattr(row.floor, name) - getattr(row.direct, name) for row in rows)
        verdict = "reached" if added <= limit else "NOT reached"
        print(f"{name}: the proxy adds {added:+.3f} ms, the floor {floor:+.3f} ms; at most {limit} ms: {verdict}")
    print(f"CPU: {statistics.median(row.proxy.cpu for row in rows):.1f} µs per token")


if __name__ == "__main__":
    main()
