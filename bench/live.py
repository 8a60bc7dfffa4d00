"""The cost of the live page and /metrics for a master: how long a request blocks the event loop, by length of the run.

    python bench/live.py [--levels 30] [--names 5]

A simulated run fills a ledger. Then follow the first request of a page, an update of a page that asks once per second,
and the first and the second scrape of Prometheus. Times are those of one core, the best of five. `longest piece` is the
longest time for which the loop is blocked between two pauses.
"""

import argparse
import random
from collections.abc import Callable
from itertools import accumulate, pairwise
from time import perf_counter
from typing import Any

import msgspec
from prometheus_client import generate_latest

from llmlocust.analysis.live import Live
from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.ledger import Ledger
from llmlocust.metrics.thresholds import parse_gates, thresholds_of
from llmlocust.plugin.views.prometheus import Collector
from llmlocust.stream.record import OK, Record

HOLD, RATE, TOKENS = 20, 20, 100
DURATIONS = (600, 3600, 86400)
REQUESTS, NAMES = 6, 3
"""Requests per second, and their names, of a run that is simulated second by second."""


class PlayedRun:
    """A run with the attributes that Live reads."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.limits = thresholds_of(parse_gates("ttft.p95 < 1s, itl.p99 < 200ms"))
        self.began, self.ended = 1.7e9, None
        self.plan, self.through, self.problems, self.lost = None, False, [], {}
        self.lag = 1.0
        self.at = 0.0
        self.pieces: list[float] = []
        self.since = perf_counter()

    @property
    def over(self) -> float:
        return self.at

    def moment(self) -> float:
        return self.at

    def pause(self) -> None:
        now = perf_counter()
        self.pieces.append(now - self.since)
        self.since = perf_counter()


def play(run: PlayedRun, levels: int, names: int, seconds: int) -> None:
    dice = random.Random(1)
    worker = Ledger("worker")
    worker.limits = run.limits
    for load in range(1, levels + 1):
        for ledger in (worker, run.ledger):
            ledger.begin_level(run.at, load)
            ledger.end_warmup(run.at)
        for second in range(HOLD):
            for number in range(RATE):
                sent = run.at + second + number / RATE
                worker.note_sent(sent, f"name {number % names}")
                worker.add(record(dice, f"name {number % names}"), sent)
            worker.note_gauges(run.at + second, users=load, in_flight=load, client_cpu=0.5)
        run.at += HOLD
        run.ledger.merge(worker.take())
    itls = Histogram(dice.lognormvariate(-4, 0.5) for _ in range(RATE * TOKENS)).pack()
    ttfts = Histogram(dice.lognormvariate(-2, 0.5) for _ in range(RATE)).pack()
    while run.at < seconds:  # for the rest of the time, only its charts
        second = int(run.at)
        run.ledger.seconds.merge(
            second, {"users": levels, "in_flight": levels, "tokens": 2000, "ended": 20, "longest": 5.0}
        )
        run.ledger.spans.merge(second, "itl", itls)
        run.ledger.spans.merge(second, "ttft", ttfts)
        run.at += 1.0


def record(dice: random.Random, name: str) -> Record:
    first = dice.lognormvariate(-2, 0.5)
    arrivals = list(accumulate((dice.lognormvariate(-4, 0.5) for _ in range(TOKENS)), initial=first))
    itls = [after - before for before, after in pairwise(arrivals)]
    return Record(
        name=name, outcome=OK, duration=arrivals[-1], e2e=arrivals[-1], ttft=first, ttfo=first, tpot=0.02,
        arrivals=arrivals, itls=itls, output_tokens=TOKENS, token_source="usage",
    )  # fmt: skip


def one_second(limits: Any) -> dict[str, Any]:
    """Return the report of a worker about one second."""
    dice, worker = random.Random(1), Ledger("worker")
    worker.limits = limits
    worker.begin_level(0.0, 1)
    worker.end_warmup(0.0)
    for number in range(REQUESTS):
        name, sent = f"name {number % NAMES}", number / REQUESTS / 2
        worker.note_sent(sent, name)
        worker.add(record(dice, name), sent)
    worker.note_gauges(0.0, users=REQUESTS, in_flight=REQUESTS, client_cpu=0.3, loop_lag=0.2, client_lag=0.1)
    packed = worker.take()
    seconds: dict[str, float] = {}
    for counts in packed["seconds"].values():  # its requests take some seconds: all counts go to the first second
        seconds |= counts
    return packed | {"seconds": {0: seconds}, "rows": []}


def shifted(second: int, level: int, packed: dict[str, Any]) -> dict[str, Any]:
    return packed | {
        "tallies": [[level, name, tally] for _, name, tally in packed["tallies"]],
        "seconds": {second: dict(packed["seconds"][0])},
        "by_second": [[second, metric, histogram] for _, metric, histogram in packed["by_second"]],
    }


def best(run: PlayedRun, ask: Callable[[], Any]) -> tuple[float, float]:
    """Return the milliseconds of the whole request and of its longest piece, from the fastest of five requests."""
    times = []
    for _ in range(5):
        run.at += 1.0
        run.pieces, run.since = [], perf_counter()
        begun = perf_counter()
        ask()
        run.pause()
        times.append(((perf_counter() - begun) * 1000.0, max(run.pieces) * 1000.0))
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--levels", type=int, default=30)
    parser.add_argument("--names", type=int, default=5)
    options = parser.parse_args()
    print("seconds  spans  first request: ms, longest piece, kB   the next: ms, longest piece, kB", end="")
    print("   /metrics: ms, longest piece   the next: ms, longest piece, kB")
    for seconds in DURATIONS:
        run = PlayedRun()
        play(run, options.levels, options.names, seconds)
        live = Live(run)
        snapshot = live.snapshot()
        size = len(msgspec.json.encode(snapshot)) / 1000.0
        first = best(run, lambda run=run: msgspec.json.encode(Live(run).snapshot()))
        last = [snapshot]

        def update(live: Live = live, last: list[Any] = last) -> None:
            last[0] = live.snapshot(last[0]["name"], last[0]["changes"])
            msgspec.json.encode(last[0])

        updated = best(run, update)
        small = len(msgspec.json.encode(last[0])) / 1000.0
        spans = len(run.ledger.spans.changed_since(0))
        scraped = best(run, lambda live=live: generate_latest(Collector(live)))
        collector = Collector(live)
        kilobytes = len(generate_latest(collector)) / 1000.0
        next_scraped = best(run, lambda collector=collector: generate_latest(collector))
        print(
            f"{seconds:>7} {spans:>6}  {first[0]:>10.1f} {first[1]:>10.1f} {size:>12.0f} {updated[0]:>18.1f} {updated[1]:>10.1f} {small:>10.0f}"
            f" {scraped[0]:>15.1f} {scraped[1]:>10.1f} {next_scraped[0]:>18.1f} {next_scraped[1]:>10.1f} {kilobytes:>10.0f}"
        )


if __name__ == "__main__":
    main()
