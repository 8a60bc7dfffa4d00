"""The cost of a master of 1,000 workers: their reports, replayed.

    python bench/merging.py [--workers 1000] [--intervals 20] [--rows 2]

A few workers are simulated, each with 300 streams of 100 tokens, and every report is packed as Locust sends it. The
master is Locust's own with the plugin. In each interval it gets the reports as if --workers workers had sent them, and
does its work of every second in between, including all files. The run's clock is set forward instead of waiting. The cost
includes heartbeats and the master's answers; it does not include receiving. A share is of one core: CPU seconds / seconds
of the run.
"""

import argparse
import gc
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from itertools import accumulate, pairwise
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import psutil
from locust import events
from locust.env import Environment
from locust.rpc import Message
from locust.runners import STATE_RUNNING, WORKER_REPORT_INTERVAL, WorkerNode
from locust.stats import setup_distributed_stats_event_listeners

from llmlocust.plugin.events import _on_init
from llmlocust.plugin.generator.collector import Collector
from llmlocust.plugin.protocol import VERSION
from llmlocust.stream.record import Record

SIMULATED = 3
"""Number of simulated workers; the reports of the others are copies of theirs."""
PERIOD = int(WORKER_REPORT_INTERVAL)
STREAMS, TOKENS, ITL, TTFT = 300, 100, 0.01, 0.05
LEVEL, WARMUP = 12, 2
"""Seconds of a level, and of its warm-up."""
RUN_STEPS, CLUSTER_STEPS, RECORDER_STEPS = ("merge",), ("send",), ("_write_rows", "_write_rest")
MASTER_STEPS = ("_confirm", "_check_workers")
STEPS = ("unpack", *RUN_STEPS, *CLUSTER_STEPS, *RECORDER_STEPS, *MASTER_STEPS, "heartbeats", "Locust's own")
HEARTBEAT = {"state": STATE_RUNNING, "current_cpu_usage": 40.0, "current_memory_usage": 10**8}
WARM = 5
"""Number of intervals after which memory is read for the first time."""


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        master = Master(str(Path(folder, "run")), options.workers)
        rows = master.run._rows_a_second if options.rows is None else options.rows  # noqa: SLF001  # as sent to workers
        thresholds = gc.get_threshold()
        workers = [SimulatedWorker(number, rows) for number in range(SIMULATED)]
        gc.unfreeze()  # workers change the settings of garbage collection; a master does not
        gc.set_threshold(*thresholds)
        memory = []
        sizes: list[int] = []
        for interval in range(options.intervals):
            begun = interval * PERIOD
            reports = [worker.report(begun) for worker in workers]
            sizes += map(len, reports)
            master.interval(begun, reports)
            memory.append(psutil.Process().memory_info().rss / 2**20)
        run = master.run
        run.finish()
        seconds = options.intervals * PERIOD
    print(f"{options.workers:,} workers, {seconds} s, {sum(sizes) / len(sizes) / 1e3:.0f} kB per report, ", end="")
    print(f"{run.ledger.rows_seen / seconds:,.0f} requests/s, {run.ledger.rows_kept / seconds:,.0f} rows/s, ", end="")
    print(
        f"memory {memory[WARM - 1]:.0f} MB after {WARM} intervals, {memory[-1]:.0f} MB at the end, {len(run.ledger.levels)} levels"
    )
    print()
    print("| step | share of a core |")
    print("|---|---:|")
    for step in STEPS:
        print(f"| {step.strip('_').replace('_', ' ')} | {master.spent[step] / seconds:.1%} |")
    print(f"| all | {sum(master.spent.values()) / seconds:.1%} |")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--intervals", type=int, default=20)
    parser.add_argument("--rows", type=float, help="rows per second that each worker keeps, instead of its share")
    return parser.parse_args()


class Master:
    def __init__(self, prefix: str, workers: int) -> None:
        environment = Environment(events=events)
        self.runner = environment.create_master_runner("127.0.0.1", 0)
        self.workers = [f"worker-{number}" for number in range(workers)]
        for name in self.workers:
            self.runner.clients[name] = WorkerNode(name, STATE_RUNNING)
        self.numbers: Counter[str] = Counter()
        _on_init(environment)
        plugin = environment.llmlocust
        plugin.run, recorder = plugin._new_run(prefix, {})  # noqa: SLF001  # Locust starts no test here
        self.run = plugin.run
        self.run.plan = {}  # this script begins and ends its levels
        self.run.begin()
        self.run._stop_ticking()  # noqa: SLF001  # this script calls tick()
        self.spent: Counter[str] = Counter()
        self.master = plugin.master
        for owner, steps in (
            (self.run, RUN_STEPS),
            (self.run.cluster, CLUSTER_STEPS),
            (recorder, RECORDER_STEPS),
            (self.master, MASTER_STEPS),
        ):
            for step in steps:
                setattr(owner, step, self._timed(step, getattr(owner, step)))

    def _timed(self, step: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> None:
            begun = process_time()
            method(*args, **kwargs)
            self.spent[step] += process_time() - begun

        return timed

    def interval(self, begun: int, reports: list[bytes]) -> None:
        """Run the master for three seconds, with a third of the reports in each second."""
        for second in range(PERIOD):
            self._set_clock(begun + second)
            for name in self.workers[second::PERIOD]:
                self._receive(name, reports[hash(name) % len(reports)])
            self._heartbeats()
            # the work of every second, without waiting
            self.run.tick()
            self.master._check_workers()  # noqa: SLF001

    def _set_clock(self, moment: float) -> None:
        self.run._clock = monotonic() - moment  # noqa: SLF001  # instead of waiting
        if moment % LEVEL == 0:
            self.run.begin_level(STREAMS * len(self.workers))
        if moment % LEVEL == WARMUP:
            self.run.end_warmup()

    def _heartbeats(self) -> None:
        begun = process_time()
        for name in self.workers:
            beat = Message.unserialize(Message("heartbeat", HEARTBEAT, name).serialize())
            self.runner.handle_message(name, beat)
        self.spent["heartbeats"] += process_time() - begun

    def _receive(self, name: str, report: bytes) -> None:
        begun = process_time()
        message = Message.unserialize(report)
        unpacked = process_time()
        before = self.spent["merge"] + self.spent["_confirm"]
        self.numbers[name] += 1
        message.data["llm"]["run"] = self.run.id
        message.data["llm"]["pieces"][0] |= {"worker": name, "run": self.run.id, "number": self.numbers[name]}
        message.node_id = name
        self.runner.handle_message(name, message)
        self.spent["unpack"] += unpacked - begun
        self.spent["Locust's own"] += (
            process_time() - unpacked - (self.spent["merge"] + self.spent["_confirm"] - before)
        )


class SimulatedWorker:
    """A worker whose users each send one request after the other."""

    def __init__(self, number: int, rows: float) -> None:
        self.dice = random.Random(number)
        self.environment = Environment()
        setup_distributed_stats_event_listeners(self.environment.events, self.environment.stats)
        self.collector = Collector(self.environment)
        self.collector.start(rows_a_second=rows)
        self.ledger = self.collector.ledger
        self.requests = [(self.dice.random(), self._record()) for _ in range(STREAMS)]

    def report(self, begun: int) -> bytes:
        """Return the report about three seconds as Locust sends it."""
        for second in range(begun, begun + PERIOD):
            if second % LEVEL == 0:
                self.ledger.begin_level(second, STREAMS)
            if second % LEVEL == WARMUP:
                self.ledger.end_warmup(second)
            self.ledger.note_gauges(second, users=STREAMS, in_flight=STREAMS, client_cpu=0.4, loop_lag=1.2)
            for sent, record in sorted(self._ended(second + 1), key=end_of):
                self._count(record, sent)
        data: dict[str, Any] = {"user_classes_count": {"Chat": STREAMS}, "user_count": STREAMS}
        self.environment.events.report_to_master.fire(client_id="worker", data=data)
        piece = {"number": 0, "run": "", **self.collector.take()}
        data["llm"] = {"version": VERSION, "run": "", "running": True, "given": 0.0, "pieces": [piece]}
        return Message("stats", data, "worker").serialize()

    def _ended(self, until: float) -> Iterator[tuple[float, Record]]:
        for user in range(STREAMS):
            while end_of(self.requests[user]) < until:
                yield self.requests[user]
                self.requests[user] = end_of(self.requests[user]), self._record()

    def _record(self) -> Record:
        name = self.dice.choice(["chat", "chat", "search"])
        if self.dice.random() < 0.01:
            return Record(name=name, outcome="http_503", error="HTTP 503: overloaded", status=503, duration=0.02)
        first = TTFT * self.dice.lognormvariate(0.0, 0.3)
        arrivals = list(accumulate((self.dice.uniform(0.8, 1.2) * ITL for _ in range(TOKENS - 1)), initial=first))
        return Record(
            name=name,
            status=200,
            duration=arrivals[-1] + 0.0003,
            e2e=arrivals[-1],
            ttft=first,
            ttfo=first,
            tpot=(arrivals[-1] - first) / (TOKENS - 1),
            arrivals=arrivals,
            itls=[later - earlier for earlier, later in pairwise(arrivals)],
            client_queue=self.dice.expovariate(20_000.0),
            input_tokens=self.dice.randrange(20, 60),
            output_tokens=TOKENS,
            token_source="usage",
            finish="length",
            lags=[self.dice.expovariate(5_000.0) for _ in range(TOKENS + 2)],
            lag_max=0.001,
            lag_max_at=first,
            clock="kernel",
            id=f"{self.dice.getrandbits(64):016x}",
            size=22_500,
        )

    def _count(self, record: Record, sent: float) -> None:
        self.ledger.note_sent(sent, "chat")
        self.ledger.add(record, sent)
        self.environment.stats.log_request("LLM", record.name, record.duration * 1000.0, record.size)
        if not record.ok:
            self.environment.stats.log_error("LLM", record.name, record.error)
        self.collector._show_in_locusts_table(record)  # noqa: SLF001  # its rows are part of the report


def end_of(request: tuple[float, Record]) -> float:
    sent, record = request
    return sent + record.duration


if __name__ == "__main__":
    main()
