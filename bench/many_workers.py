"""A real master of 1,000 workers, over real connections: its start, its cost, and its end.

    python bench/many_workers.py [--workers 1000] [--seconds 60]

The master is `locust --master --headless` with all files. One process simulates all workers, each with its own
connection: a heartbeat every second, a report every 3 s (those of bench/merging.py: 300 streams of 100 tokens), and
answers to the master's messages. In the end, every reported request must be in the run's files. The master's CPU is
that of the seconds of the run whose reports it has answered, so a busy machine makes it slower and not cheaper. The limit
of open files (ulimit -n) must be well above the number of workers.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import locust
import merging
import psutil
import zmq
from locust.rpc import Message
from locust.stats import RequestStats

from llmlocust.metrics.ledger import rows_for_each
from llmlocust.plugin.protocol import VERSION

PREPARED = 2
"""Number of workers with prepared reports; the other workers send the same ones."""
NAME, RUN, NUMBER, GIVEN = "worker-000000", "r" * 32, 0x7ABBCCDD, 0.5
"""Placeholders in a prepared report, each of the same length as the value with which a worker replaces it."""
LOCUSTFILE = "from llmlocust import ChatUser\n\n\nclass Chat(ChatUser):\n    pass\n"
SPAWN_RATE = 50_000
EMPTY_STATS = RequestStats().total.get_stripped_report()


def main() -> None:
    options = parse()
    merging.LEVEL = 10**9  # one level
    intervals = int(options.seconds) // merging.PERIOD + 20
    reports = prepare(intervals, rows_for_each(options.workers))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = free_port()
        master = start(folder, port, options)
        workers = Workers(port, options.workers, reports)
        observed = workers.play(master)
        code = master.returncode
        run_info = json.loads((folder / "run_llm_run.json").read_text())
        if code:
            print((folder / "log").read_text()[-3000:])
    size = sum(len(report) for of_worker in reports for report in of_worker) / sum(map(len, reports))
    print(
        f"{options.workers:,} workers, {options.workers * merging.STREAMS:,} users, {size / 1e3:.0f} kB per report; exit code {code}"
    )
    print(f"all users spawned after {observed['spawned']:.1f} s; ", end="")
    print(f"then {observed['cpu']:.1%} of a core, {observed['memory']:.0f} MB at most; ", end="")
    print(f"exited {observed['end']:.1f} s after it began to stop")
    print(
        f"requests reported: {workers.sent:,}; in the files: {run_info['counts']['sent']:,}; {len(run_info['checks'])} checks failed"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    return parser.parse_args()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def prepare(intervals: int, rows: float) -> list[list[bytes]]:
    """Return the reports of each prepared worker in their order."""
    workers = [merging.SimulatedWorker(number, rows) for number in range(PREPARED)]
    return [[packed(worker, interval * merging.PERIOD) for interval in range(intervals)] for worker in workers]


def packed(worker: merging.SimulatedWorker, begun: int) -> bytes:
    message = Message.unserialize(worker.report(begun))
    piece = message.data["llm"]["pieces"][0] | {"worker": NAME, "run": RUN, "number": NUMBER}
    message.data["llm"] |= {"run": RUN, "given": GIVEN, "pieces": [piece]}
    return Message("stats", message.data, NAME).serialize()


def start(folder: Path, port: int, options: argparse.Namespace) -> subprocess.Popen:
    (folder / "locustfile.py").write_text(LOCUSTFILE)
    bind = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port]
    load = [
        "-u",
        options.workers * merging.STREAMS,
        "-r",
        SPAWN_RATE,
        "-t",
        f"{options.seconds:.0f}s",
        "--llm-preflight=false",
        "--exit-code-on-error",  # some of the simulated requests fail
        0,
    ]
    files = ["--headless", "--only-summary", "--host", "http://127.0.0.1:9", "--csv", folder / "run"]
    command = [sys.executable, "-m", "locust", "-f", "locustfile.py", *bind, "--expect-workers", options.workers]
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            list(map(str, [*command, *load, *files])), cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


class Workers:
    """All simulated workers."""

    def __init__(self, port: int, workers: int, reports: list[list[bytes]]) -> None:
        self.reports = reports
        self.workers = [Worker(number) for number in range(workers)]
        self.poller = zmq.Poller()
        self.by_socket: dict[zmq.Socket, Worker] = {}
        context = zmq.Context(io_threads=1)
        context.set(zmq.MAX_SOCKETS, 2 * workers + 100)
        for worker in self.workers:
            worker.socket = context.socket(zmq.DEALER)
            worker.socket.setsockopt(zmq.IDENTITY, worker.name.encode())
            worker.socket.connect(f"tcp://127.0.0.1:{port}")
            self.poller.register(worker.socket, zmq.POLLIN)
            self.by_socket[worker.socket] = worker
            worker.send("client_ready", locust.__version__)
        self.sent = self.answered = 0
        self.sent_in = [[sent_in(report) for report in of_worker] for of_worker in reports]

    def play(self, child: subprocess.Popen) -> dict[str, float]:
        """Simulate the workers until the master has ended, and return the observed figures of the master."""
        master = psutil.Process(child.pid)
        random.Random(1).shuffle(self.workers)
        share = merging.PERIOD / len(self.workers)
        turns = deque((time.monotonic() + number * share, worker) for number, worker in enumerate(self.workers))
        beat, observer = time.monotonic(), Observer()
        while child.poll() is None:
            self._listen()
            now = time.monotonic()
            if now >= beat:
                beat += 1.0
                observer.look(now, master, self.workers, self.answered)
                for worker in self.workers:
                    worker.send("heartbeat", merging.HEARTBEAT | {"state": worker.state})
            while turns[0][0] <= now:
                due, worker = turns.popleft()
                self._report(worker)
                turns.append((due + merging.PERIOD, worker))
        return observer.figures(time.monotonic())

    def _listen(self) -> None:
        for ready, _ in self.poller.poll(5):
            worker = self.by_socket[ready]
            self.answered += worker.receive(Message.unserialize(ready.recv()))

    def _report(self, worker: Worker) -> None:
        prepared = worker.number % PREPARED
        if not worker.running or not worker.run or worker.reported == len(self.reports[prepared]):
            return
        if worker.unconfirmed is None:
            self.sent += self.sent_in[prepared][worker.reported]
            worker.keep(self.reports[prepared][worker.reported])
        worker.socket.send(worker.unconfirmed)


class Worker:
    """One simulated worker."""

    socket: zmq.Socket

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"worker-{number:06d}"
        self.state = "ready"
        self.run = ""
        self.users = 0
        self.given = 0.0
        """The time stamp of the last spawn message."""
        self.reported = 0
        self.unconfirmed: bytes | None = None
        self.running = self.stopped = False

    def send(self, kind: str, data: Any = None) -> None:
        self.socket.send(Message(kind, data, self.name).serialize())

    def keep(self, report: bytes) -> None:
        """Keep a prepared report as this worker's next one, with the placeholders replaced."""
        self.reported += 1
        own = report.replace(NAME.encode(), self.name.encode()).replace(RUN.encode(), self.run.encode())
        own = own.replace(b"given" + as_packed_float(GIVEN), b"given" + as_packed_float(self.given))
        self.unconfirmed = own.replace(as_packed(NUMBER), as_packed(self.reported))

    def receive(self, message: Message) -> bool:
        """Handle a message of the master, and return whether it confirms a report."""
        if message.type == "ack":
            self.send("llm_hello", {"version": VERSION})
        elif message.type == "spawn":
            self.given = message.data["timestamp"]
            self._spawn(message.data["user_classes_count"])
        elif message.type == "llm":
            self._receive_ours(message.data)
        elif message.type in ("stop", "quit"):
            self._stop(message.type)
        return message.type == "llm" and message.data["what"] == "have"

    def _spawn(self, users: dict[str, int]) -> None:
        self.state, self.running, self.users = "running", True, sum(users.values())
        self.send("spawning")
        self.send("spawning_complete", {"user_classes_count": users, "user_count": self.users})

    def _receive_ours(self, data: dict[str, Any]) -> None:
        if data["what"] == "run":
            self.run = data["run"]
        elif data["what"] == "have":
            self.unconfirmed = None

    def _stop(self, kind: str) -> None:
        self.state, self.running, self.stopped, self.users = "ready", False, True, 0
        if kind == "quit":
            return
        pieces = Message.unserialize(self.unconfirmed).data["llm"]["pieces"] if self.unconfirmed else []
        empty = {"stats": [], "stats_total": EMPTY_STATS, "errors": {}, "user_classes_count": {}, "user_count": 0}
        ours = {"version": VERSION, "run": self.run, "running": False, "given": self.given, "pieces": pieces}
        self.send("stats", empty | {"llm": ours})
        self.send("client_stopped")
        self.send("client_ready", locust.__version__)


class Observer:
    """Observes the master once per second."""

    def __init__(self) -> None:
        self.memory = 0.0
        self.began = self.spawned = self.ending = math.nan
        self.cpu = math.nan
        self._before = (0.0, 0)

    def look(self, now: float, master: psutil.Process, workers: list[Worker], answered: int) -> None:
        self.memory = max(self.memory, master.memory_info().rss / 2**20)
        if math.isnan(self.began) and any(worker.running for worker in workers):
            self.began = now
        if math.isnan(self.spawned) and all(worker.users == merging.STREAMS for worker in workers):
            self.spawned, self._before = now, (cpu_seconds(master), answered)
        if math.isnan(self.ending):
            if any(worker.stopped for worker in workers):
                self.ending = now
            elif now > self.spawned and answered > self._before[1]:
                seconds = (answered - self._before[1]) * merging.PERIOD / len(workers)
                self.cpu = (cpu_seconds(master) - self._before[0]) / seconds

    def figures(self, now: float) -> dict[str, float]:
        return {
            "memory": self.memory,
            "spawned": self.spawned - self.began,
            "cpu": self.cpu,
            "end": now - self.ending,
        }


def as_packed(number: int) -> bytes:
    """Return a number of 32 bits as msgpack writes it."""
    return b"\xce" + number.to_bytes(4, "big")


def as_packed_float(value: float) -> bytes:
    """Return a float as msgpack writes it."""
    return b"\xcb" + struct.pack(">d", value)


def sent_in(report: bytes) -> int:
    return int(Message.unserialize(report).data["llm"]["pieces"][0]["sent"])


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    main()
