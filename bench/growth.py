"""The growth of a master's memory with the length of a run, that of llmlocust and of Locust, by file and line.

    python bench/growth.py [--hours 1 10] [--workers 2] [--csv] [--full-history]

The master's side receives the reports of workers without a network: our ledger, its files and the answers to the live
page; Locust's statistics through its own listener, its history for charts every five seconds and, with --csv, the rows of
its CSV files every second. Locust gets a simulated clock, so nothing waits. tracemalloc compares the memory at the end
with that after 20 minutes, when the live page has reached its maximum number of spans.
"""

import argparse
import gc
import tempfile
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import locust.stats
from live import PlayedRun, one_second, shifted
from locust import event
from locust.env import Environment
from locust.stats import RequestStats, StatsCSVFileWriter, setup_distributed_stats_event_listeners, update_stats_history

from llmlocust.analysis.live import Live
from llmlocust.plugin.generator.collector import forget_old_seconds
from llmlocust.runfiles.writer import RunFiles

WARM, HOUR = 1200, 3600
INTERVAL, HISTORY, UPDATE = 3, 5, 600
"""Seconds between reports, between entries of Locust's history, and between updates of the page and the files."""
NAMES, REQUESTS = 3, 4
"""Request names, and requests per second."""
ROWS = ("", " TTFT", " TPOT")
EPOCH = 1.7e9


class Clock:
    """Replaces the module `time` in locust.stats."""

    now = EPOCH

    def time(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> Any:
        import time

        return getattr(time, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, nargs="+", default=[1, 10])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--csv", action="store_true")
    parser.add_argument("--full-history", action="store_true")
    parser.add_argument("--lines", type=int, default=8)
    options = parser.parse_args()
    for hours in options.hours:
        with tempfile.TemporaryDirectory() as folder:
            play(hours, options, Path(folder))


def play(hours: float, options: argparse.Namespace, folder: Path) -> None:
    clock = locust.stats.time = Clock()
    master, workers = Environment(events=event.Events()), [RequestStats() for _ in range(options.workers)]
    setup_distributed_stats_event_listeners(master.events, master.stats)
    runner = SimpleNamespace(stats=master.stats, user_count=10)
    master.runner = runner
    csv = StatsCSVFileWriter(master, locust.stats.PERCENTILES_TO_REPORT, str(folder / "run"), options.full_history)
    run = PlayedRun()
    live, second = Live(run), one_second(run.limits)
    files = RunFiles(str(folder / "run"))
    run.ledger.begin_level(0.0, 10)
    run.ledger.end_warmup(0.0)
    tracemalloc.start(1)
    before = None
    for now in range(int(hours * HOUR)):
        clock.now, run.at = EPOCH + now, float(now)
        for number, stats in enumerate(workers):
            work(stats)
            run.ledger.merge(shifted(now, 0, second) | {"worker": f"worker {number}"})
            if now % INTERVAL == number % INTERVAL:
                master.events.worker_report.fire(client_id=str(number), data=report(stats))
        if now % HISTORY == 0:
            update_stats_history(runner)
            forget_old_seconds(master.stats)
        if options.csv:
            csv._requests_data_rows(csv.requests_csv_writer)  # noqa: SLF001  # as its own loop does
            csv._stats_history_data_rows(csv.stats_history_csv_writer, clock.now)  # noqa: SLF001
        if now % UPDATE == 0:
            live.snapshot(live.name, run.ledger.spans.changes)
            run.ledger.take_gauges(run.began)
            levels = [run.ledger.figures(level, run.at) for level in run.ledger.levels]
            files.write_timeline(run.ledger, run.began)
            files.write_levels(levels)
        if now == WARM:
            gc.collect()
            before = tracemalloc.take_snapshot()
    run.ledger.take_gauges(run.began)
    gc.collect()
    print_growth(hours, before, tracemalloc.take_snapshot(), options.lines)
    tracemalloc.stop()
    csv.close_files()


def work(stats: RequestStats) -> None:
    """Log one second of a worker's requests in Locust's statistics."""
    for number in range(REQUESTS):
        for row in ROWS:
            if row:
                stats.entries[f"name {number % NAMES}{row}", "LLM"].log(100 + number, 0)
            else:
                stats.log_request("POST", f"name {number % NAMES}", 100 + number, 0)


def report(stats: RequestStats) -> dict[str, Any]:
    return {
        "stats": stats.serialize_stats(),
        "stats_total": stats.total.get_stripped_report(),
        "errors": stats.serialize_errors(),
        "user_count": 5,
    }


def print_growth(hours: float, before: tracemalloc.Snapshot, after: tracemalloc.Snapshot, lines: int) -> None:
    grown = after.compare_to(before, "lineno")
    sizes = {"llmlocust": 0.0, "locust": 0.0, "others": 0.0}
    for line in grown:
        parts = Path(line.traceback[0].filename).parts
        name = next((part for part in reversed(parts) if part in sizes), "others")
        sizes[name] += line.size_diff
    megabyte_per_hour = 2**20 * (hours - WARM / HOUR)
    print(
        f"\n{hours:g} h, MB per hour: "
        + ", ".join(f"{name} {size / megabyte_per_hour:.2f}" for name, size in sizes.items())
    )
    for line in grown[:lines]:
        frame = line.traceback[0]
        print(
            f"  {line.size_diff / megabyte_per_hour:6.2f}  {'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno}"
        )


if __name__ == "__main__":
    main()
