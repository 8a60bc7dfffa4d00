"""The accuracy of runs whose process is disturbed, with the native reader and with the event loop's.

    python bench/disturbed.py [CASE ...] [--reader native loop] [--streams 100]       all cases by default; needs gcc and two cores

- `quiet`: nothing disturbs it.
- `blocked`: a task blocks the interpreter for 200 ms of every 700.
- `busy`: another process runs on the same core all the time.
- `greedy`: one more user reads a stream of 25 MB/s.

Server and client have a core each. Users get 100 tokens, 10 ms apart (± 20 %). Errors are measured − true, in ms, of the
ordinary users' percentiles. The range of the p99 ITL is the one that the run itself gives; it gives none if it knows the
value. Stalls are ITLs of the ordinary users above 200 ms.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import truth
from floor import SECONDS

from llmlocust.metrics.histogram import Histogram

ITL_MS = 10.0
CASES = ("quiet", "blocked", "busy", "greedy")
TITLES = ("case", "reader", "tokens/s", "of a core", "TTFT mean error", "ITL p50 error", "p99", "range of the p99")
MORE_TITLES = ("coalesced", "uncertain", "stalls")

BLOCKING = """    pass


import time

import gevent
from locust import events


def block():
    while True:
        sleep(0.5)
        end = time.perf_counter() + 0.2
        while time.perf_counter() < end:
            pass


@events.test_start.add_listener
def begin(environment, **_):
    gevent.spawn(block)
"""
GREEDY = """    pass


from locust import task
from llmlocust import LLMUser


class Greedy(LLMUser):
    fixed_count = 1

    def on_start(self):
        from llmlocust.plugin.http.client import Client, Endpoint

        self._llm = Client(Endpoint("{host}"), self._llm.timeouts)

    @task
    def ask(self):
        self.chat("a question", name="greedy")
"""
FLOOD = """
import socket, sys, time

event = b'data: {"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\\n\\n' % (b" word" * 800)
block = b"%x\\r\\n%b\\r\\n" % (len(event) * 16, event * 16)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    sock, _ = listener.accept()
    try:
        while sock.recv(65536):
            sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
            begun, sent = time.perf_counter(), 0
            while sent < 200_000_000:
                sock.sendall(block)
                sent += len(block)
                time.sleep(max(0, begun + sent / 25e6 - time.perf_counter()))
            sock.sendall(b'data: [DONE]\\n\\n'.join([b"e\\r\\n", b"\\r\\n0\\r\\n\\r\\n"]))
    except OSError:
        pass
"""
"""A server whose answers arrive at 25 MB/s, for 8 s each."""


def main() -> None:
    options = parse()
    print(f"| {' | '.join((*TITLES, *MORE_TITLES))} |\n|{'---|' * 2}{'---:|' * (len(TITLES) + len(MORE_TITLES) - 2)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth.build(folder)
        for case in options.cases:
            for reader in options.reader:
                print(row(folder, case, reader, options.streams), flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES, metavar="CASE")
    parser.add_argument("--reader", nargs="+", default=["native", "loop"])
    parser.add_argument("--streams", type=int, default=100)
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"unknown: {', '.join(unknown)}. Cases are {', '.join(CASES)}")
    return options


def row(folder: Path, case: str, reader: str, streams: int) -> str:
    os.environ["LLMLOCUST_READER"] = reader
    with contextlib.ExitStack() as stack:
        user = {"blocked": BLOCKING}.get(case, "    pass\n")
        if case == "busy":
            stack.enter_context(child([sys.executable, "-c", "while True: pass"], 1))
        if case == "greedy":
            port = free_port()
            stack.enter_context(child([sys.executable, "-c", FLOOD, str(port)], 0))
            user = GREEDY.format(host=f"http://127.0.0.1:{port}")
        server = stack.enter_context(truth.Server(folder, ITL_MS))
        load = truth.headless(folder, server.host, streams + (case == "greedy"), SECONDS)
        truth.run(truth.locust(folder, *load, user=user), truth.on_core(1))
    level, seconds = truth.level(folder), truth.steady(folder, streams + (case == "greedy"))
    true, itl = server.truth(level.warmed_up, level.ended), histogram(folder, "itl")
    ordinary = [
        row for row in truth.rows(folder / "run_llm_requests.csv") if row["name"] == "chat" and row["measured"] == "1"
    ]
    tokens, cpu = (sum(float(second[name]) for second in seconds) / len(seconds) for name in ("tokens", "client_cpu"))
    errors = (
        mean_ttft(ordinary) - true.ttft_mean,
        itl.quantile(0.5) - true.itl_p50,
        itl.quantile(0.99) - true.itl_p99,
    )
    ranges = level.metric("itl").range_of("p99")
    cells = [case, reader, f"{tokens:,.0f}", f"{cpu:.0%}", *(f"{error * 1e3:+.2f}" for error in errors)]
    cells += ["–" if ranges is None else " to ".join(f"{value * 1e3:.1f}" for value in ranges)]
    cells += [f"{level.coalesced:.2%}", f"{level.uncertain:.2%}", str(sum(int(row["stalls"] or 0) for row in ordinary))]
    return f"| {' | '.join(cells)} |"


def histogram(folder: Path, metric: str) -> Histogram:
    """Return the histogram of the ordinary users' values in the last level."""
    counted = [
        row
        for row in truth.rows(folder / "run_llm_histograms.csv")
        if row["name"] == "chat" and row["metric"] == metric
    ]
    last = max(int(row["level"]) for row in counted)
    in_last = (row for row in counted if int(row["level"]) == last)
    return Histogram.from_counts({int(row["bucket"]): int(row["count"]) for row in in_last})


def mean_ttft(requests: list[dict[str, str]]) -> float:
    """Return the mean TTFT of successful requests in seconds."""
    values = [float(request["ttft"]) / 1e3 for request in requests if request["ttft"]]
    return sum(values) / len(values)


@contextlib.contextmanager
def child(command: list[str], core: int) -> Iterator[None]:
    process = subprocess.Popen(command, preexec_fn=truth.on_core(core))
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
