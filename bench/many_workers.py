"""A real master of 1,000 workers, over real connections: its start, its steady cost, its end.

    python bench/many_workers.py [--workers 1000] [--seconds 60]

The master is `locust --master --headless` with all files. The workers are played by one process that speaks for all of
them, each over a connection of its own, as llmlocust's workers do: heartbeats each second, a report each 3 s (those of
bench/merging.py: 300 streams of 100 tokens), answers to what the master says. Every request that was told of must be in
the run's files in the end. The master's CPU is told for the seconds of the run whose reports it has answered, so that a
busy machine makes it slower and not cheaper. Needs a limit of open files well above the workers (ulimit -n).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import socket
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
"""Workers whose reports are made; the others' are like theirs."""
NAME, RUN, NUMBER = "worker-000000", "r" * 32, 0x7ABBCCDD
"""What stands in a prepared report for what each worker puts there; all of it has one length."""
LOCUSTFILE = "from llmlocust import ChatUser\n\n\nclass Chat(ChatUser):\n    pass\n"
SPAWN_RATE = 50_000
NOTHING = RequestStats().total.get_stripped_report()


def main() -> None:
    options = parse()
    merging.LEVEL = 10**9  # one level
    intervals = int(options.seconds) // merging.PERIOD + 20
    reports = prepare(intervals, rows_for_each(options.workers))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = free_port()
        master = start(folder, port, options)
        crowd = Crowd(port, options.workers, reports)
        seen = crowd.play(master)
        code = master.returncode
        told = json.loads((folder / "run_llm_run.json").read_text())
        if code not in (0, 1):  # 1: some of the played requests fail
            print((folder / "log").read_text()[-3000:])
    size = sum(len(each) for per in reports for each in per) / sum(map(len, reports))
    print(
        f"{options.workers:,} workers, {options.workers * merging.STREAMS:,} users, {size / 1e3:.0f} kB a report; exit code {code}"
    )
    print(f"all users given out after {seen['spawned']:.1f} s; ", end="")
    print(f"then {seen['cpu']:.1%} of a core, {seen['memory']:.0f} MB at most; ", end="")
    print(f"ended {seen['end']:.1f} s after it began to")
    print(
        f"requests told of: {crowd.sent:,}; in the files: {told['counts']['sent']:,}; {len(told['checks'])} checks failed"
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
    """Of each prepared worker, its reports in their order."""
    players = [merging.Player(number, rows) for number in range(PREPARED)]
    return [[packed(player, each * merging.PERIOD) for each in range(intervals)] for player in players]


def packed(player: merging.Player, begun: int) -> bytes:
    message = Message.unserialize(player.report(begun))
    piece = message.data["llm"]["pieces"][0] | {"worker": NAME, "run": RUN, "number": NUMBER}
    message.data["llm"] |= {"run": RUN, "pieces": [piece]}
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
    ]
    files = ["--headless", "--only-summary", "--host", "http://127.0.0.1:9", "--csv", folder / "run"]
    command = [sys.executable, "-m", "locust", "-f", "locustfile.py", *bind, "--expect-workers", options.workers]
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            list(map(str, [*command, *load, *files])), cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


class Crowd:
    """All workers."""

    def __init__(self, port: int, workers: int, reports: list[list[bytes]]) -> None:
        self.reports = reports
        self.workers = [Played(number) for number in range(workers)]
        self.poller = zmq.Poller()
        self.of: dict[zmq.Socket, Played] = {}
        context = zmq.Context(io_threads=1)
        context.set(zmq.MAX_SOCKETS, 2 * workers + 100)
        for each in self.workers:
            each.socket = context.socket(zmq.DEALER)
            each.socket.setsockopt(zmq.IDENTITY, each.name.encode())
            each.socket.connect(f"tcp://127.0.0.1:{port}")
            self.poller.register(each.socket, zmq.POLLIN)
            self.of[each.socket] = each
            each.say("client_ready", locust.__version__)
        self.sent = self.answered = 0
        self.sent_in = [[sent_in(each) for each in per] for per in reports]

    def play(self, child: subprocess.Popen) -> dict[str, float]:
        """Until the master has ended; what was seen of it."""
        master = psutil.Process(child.pid)
        random.Random(1).shuffle(self.workers)
        share = merging.PERIOD / len(self.workers)
        turns = deque((time.monotonic() + number * share, each) for number, each in enumerate(self.workers))
        beat, seen = time.monotonic(), Seen()
        while child.poll() is None:
            self._listen()
            now = time.monotonic()
            if now >= beat:
                beat += 1.0
                seen.look(now, master, self.workers, self.answered)
                for each in self.workers:
                    each.say("heartbeat", merging.HEARTBEAT | {"state": each.state})
            while turns[0][0] <= now:
                due, worker = turns.popleft()
                self._report(worker)
                turns.append((due + merging.PERIOD, worker))
        return seen.told(time.monotonic())

    def _listen(self) -> None:
        for ready, _ in self.poller.poll(5):
            worker = self.of[ready]
            self.answered += worker.hear(Message.unserialize(ready.recv()))

    def _report(self, worker: Played) -> None:
        like = worker.number % PREPARED
        if not worker.running or not worker.run or worker.told == len(self.reports[like]):
            return
        if worker.kept is None:
            self.sent += self.sent_in[like][worker.told]
            worker.keep(self.reports[like][worker.told])
        worker.socket.send(worker.kept)


class Played:
    """One worker."""

    socket: zmq.Socket

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"worker-{number:06d}"
        self.state = "ready"
        self.run = ""
        self.users = 0
        self.told = 0
        self.kept: bytes | None = None
        self.running = self.stopped = False

    def say(self, what: str, data: Any = None) -> None:
        self.socket.send(Message(what, data, self.name).serialize())

    def keep(self, report: bytes) -> None:
        """A prepared report becomes this worker's own."""
        self.told += 1
        own = report.replace(NAME.encode(), self.name.encode()).replace(RUN.encode(), self.run.encode())
        self.kept = own.replace(as_packed(NUMBER), as_packed(self.told))

    def hear(self, message: Message) -> bool:
        """Whether it was the answer to a report."""
        if message.type == "ack":
            self.say("llm_hello", {"version": VERSION})
        elif message.type == "spawn":
            self._spawn(message.data["user_classes_count"])
        elif message.type == "llm":
            self._hear_ours(message.data)
        elif message.type in ("stop", "quit"):
            self._stop(message.type)
        return message.type == "llm" and message.data["what"] == "have"

    def _spawn(self, users: dict[str, int]) -> None:
        self.state, self.running, self.users = "running", True, sum(users.values())
        self.say("spawning")
        self.say("spawning_complete", {"user_classes_count": users, "user_count": self.users})

    def _hear_ours(self, told: dict[str, Any]) -> None:
        if told["what"] == "run":
            self.run = told["run"]
        elif told["what"] == "have":
            self.kept = None

    def _stop(self, how: str) -> None:
        self.state, self.running, self.stopped, self.users = "ready", False, True, 0
        if how == "quit":
            return
        pieces = Message.unserialize(self.kept).data["llm"]["pieces"] if self.kept else []
        nothing = {"stats": [], "stats_total": NOTHING, "errors": {}, "user_classes_count": {}, "user_count": 0}
        self.say("stats", nothing | {"llm": {"version": VERSION, "run": self.run, "running": False, "pieces": pieces}})
        self.say("client_stopped")
        self.say("client_ready", locust.__version__)


class Seen:
    """What is seen of the master, second by second."""

    def __init__(self) -> None:
        self.memory = 0.0
        self.began = self.spawned = self.ending = math.nan
        self.cpu = math.nan
        self._before = (0.0, 0)

    def look(self, now: float, master: psutil.Process, workers: list[Played], answered: int) -> None:
        self.memory = max(self.memory, master.memory_info().rss / 2**20)
        if math.isnan(self.began) and any(each.running for each in workers):
            self.began = now
        if math.isnan(self.spawned) and all(each.users == merging.STREAMS for each in workers):
            self.spawned, self._before = now, (busy(master), answered)
        if math.isnan(self.ending):
            if any(each.stopped for each in workers):
                self.ending = now
            elif now > self.spawned and answered > self._before[1]:
                done = (answered - self._before[1]) * merging.PERIOD / len(workers)
                self.cpu = (busy(master) - self._before[0]) / done

    def told(self, now: float) -> dict[str, float]:
        return {
            "memory": self.memory,
            "spawned": self.spawned - self.began,
            "cpu": self.cpu,
            "end": now - self.ending,
        }


def as_packed(number: int) -> bytes:
    """As msgpack writes a number of 32 bits."""
    return b"\xce" + number.to_bytes(4, "big")


def sent_in(report: bytes) -> int:
    return int(Message.unserialize(report).data["llm"]["pieces"][0]["sent"])


def busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    main()
