"""The tokens per second that the simulator streams from one core, and their lateness.

    python bench/simulator.py [--streams 300] [--tokens 300] [--step-ms 30 15 10 ...] [--uvloop] [--profile FILE]

The server has one core to itself, the client another. Every stream is one connection, every token one write. A step
produces a token for every stream, so the offered rate is streams / step. The client counts events, and parses nothing.
"""

import argparse
import json
import os
import selectors
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER_CORE, CLIENT_CORE = 0, 1
ROOT = Path(__file__).parent.parent
MARK = b'"choices"'  # occurs once in every event
COLUMNS = ("offered/s", "tokens/s", "CPU", "CPU µs/token", "late p50 ms", "late p99 ms", "late max ms", "loop p99 ms")


def main() -> None:
    options = parse()
    os.sched_setaffinity(0, {CLIENT_CORE})
    print(f"{options.streams} streams of {options.tokens} tokens, a write for each token, server on one core")
    print(" | ".join(COLUMNS))
    for step_ms in options.step_ms:
        print(" | ".join(row(options, step_ms)), flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--step-ms", type=float, nargs="+", default=[30, 20, 15, 10, 6, 4, 3, 2])
    parser.add_argument("--profile", help="file for the server's cProfile statistics, which slow it down")
    parser.add_argument("--uvloop", action="store_true", help="run the server on uvloop, which must be installed")
    return parser.parse_args()


def row(options: argparse.Namespace, step_ms: float) -> Iterator[str]:
    with server(options, step_ms) as (process, port):
        cpu_before, began = cpu_seconds(process.pid), time.monotonic()
        received = stream(port, options.streams, options.tokens)
        seconds, cpu = time.monotonic() - began, cpu_seconds(process.pid) - cpu_before
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/truth?summary=1") as answer:
            truth = json.load(answer)
    assert received == truth["tokens"] == options.streams * options.tokens, (received, truth["tokens"])
    late, loop = truth["write_late_ms"], truth["loop_late_ms"]
    yield f"{options.streams / step_ms * 1e3:9,.0f}"
    yield f"{received / seconds:8,.0f}"
    yield f"{cpu / seconds:3.0%}"
    yield f"{cpu / received * 1e6:12.1f}"
    yield from (f"{value:11.2f}" for value in (late["p50"], late["p99"], late["max"], loop["p99"]))


@contextmanager
def server(options: argparse.Namespace, step_ms: float) -> Iterator[tuple[subprocess.Popen[str], int]]:
    run = ["-m", "llmlocust.simulator"]
    if options.profile:
        run = ["-m", "cProfile", "-o", options.profile, *run]
    if options.uvloop:
        run = ["-c", "import uvloop; uvloop.install(); from llmlocust.simulator.__main__ import main; main()"]
    settings = {
        "port": 0,
        "slots": options.streams,
        "step-ms": step_ms,
        "step-ms-per-seq": 0,
        "prefill-ms-per-token": 0,
    }
    arguments = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    process = subprocess.Popen(
        [sys.executable, *run, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    os.sched_setaffinity(process.pid, {SERVER_CORE})
    try:
        yield process, int(process.stdout.readline().rpartition(":")[2])
    finally:
        process.terminate()
        process.wait()


def stream(port: int, streams: int, tokens: int) -> int:
    """Request all streams at once, read each to its end, and return the number of tokens."""
    body = json.dumps({"prompt": "hi", "max_tokens": tokens, "ignore_eos": True, "stream": True}).encode()
    request = b"POST /v1/completions HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
    selector = selectors.DefaultSelector()
    for _ in range(streams):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(request % (len(body), body))
        selector.register(connection, selectors.EVENT_READ, data=bytearray())
    received = 0
    while selector.get_map():
        for key, _ in selector.select():
            data = key.fileobj.recv(65536)
            received += (key.data + data).count(MARK)
            key.data[:] = data[-(len(MARK) - 1) :]  # a read may end in the middle of a mark
            if not data:
                selector.unregister(key.fileobj)
                key.fileobj.close()
    return received


def cpu_seconds(pid: int) -> float:
    """Return the seconds of user and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
