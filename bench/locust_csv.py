"""Locust's PREFIX_stats_history.csv for the staircase of a virtual system, written as Locust's stats.py does it."""

import csv
from pathlib import Path

import numpy as np
import systems

EPOCH = 1_795_000_000
WINDOW = 10
SHARES = (0.5, 0.66, 0.75, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999, 1.0)
TITLES = (
    *("Timestamp", "User Count", "Type", "Name", "Requests/s", "Failures/s"),
    *(f"{share * 100:g}%" for share in SHARES),
    *("Total Request Count", "Total Failure Count", "Total Median Response Time", "Total Average Response Time"),
    *("Total Min Response Time", "Total Max Response Time", "Total Average Content Size"),
)


def write(prefix: Path, case: systems.Case, records: np.ndarray, *, full: bool) -> None:
    """Write a row per second; with `full` (--csv-full-history), also a row per name, and percentiles of the last 10 s."""
    by_end = records[np.argsort(records[:, 2])]
    ended, times = by_end[:, 2], (by_end[:, 2] - by_end[:, 0]) * 1000.0
    failed, summed, rounded = np.cumsum(by_end[:, 4] > 0), np.cumsum(times), bucketed(times)
    hold = systems.WARMUP + systems.WINDOW
    with prefix.with_name(f"{prefix.name}_stats_history.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(TITLES)
        for second in range(1, int(hold * len(case.loads)) + 1):
            users = round(case.loads[min(int((second - 0.5) // hold), len(case.loads) - 1)])
            first, last = np.searchsorted(ended, [second - WINDOW, second], side="right")
            recent = np.sort(rounded[first if full else 0 : last])
            percentiles = [
                int(recent[min(int(len(recent) * q), len(recent) - 1)]) if len(recent) else 0 for q in SHARES
            ]
            total = [last, failed[last - 1], 0, summed[last - 1] / last, 0, 0, 0] if last else [0] * 7
            for name in ("/v1/chat/completions", "Aggregated") if full else ("Aggregated",):
                rows.writerow([EPOCH + second, users, "", name, 0, 0, *percentiles, *total])


def bucketed(times: np.ndarray) -> np.ndarray:
    """Round milliseconds as Locust's bucket_response_time does: to two digits, or to integers below 100 ms."""
    step = np.select([times < 100.0, times < 1000.0, times < 10_000.0], [1.0, 10.0, 100.0], 1000.0)
    return np.round(times / step) * step
