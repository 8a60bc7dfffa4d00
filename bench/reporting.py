"""The time and memory of a report of a run with 1,000,000 rows of requests.

    python bench/reporting.py [--rows 1000000] [--run PREFIX]

Ten levels of users load a server that answers at once while it has free slots; then requests queue, and the server refuses
some of them. The run is invented, so nothing waits: the plugin's own Ledger counts it and its own RunFiles writes it, which
takes minutes. Then `llmlocust report` reads it in a separate process. With --run, the run is written to PREFIX and kept; an
existing run at PREFIX is used again.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path

from llmlocust.metrics.ledger import Ledger
from llmlocust.runfiles import formats
from llmlocust.runfiles.writer import RunFiles
from llmlocust.stream.record import Record

LOADS = tuple(range(100, 1001, 100))
SLOTS = 600
WARMUP, HOLD = 5, 55
TOKENS, TTFT, ITL = 20, 0.05, 0.01
EPOCH = 1_795_000_000.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--run", metavar="PREFIX")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prefix = options.run or str(Path(folder, "run"))
        rows = Path(f"{prefix}_{formats.REQUESTS}")
        if not rows.exists():
            write(prefix, options.rows)
        print("| rows | MB of rows | wall s | CPU s | peak memory MB |")
        print("|---:|---:|---:|---:|---:|")
        with rows.open("rb") as file:
            count = sum(1 for _ in file) - 1
        print(f"| {count:,} | {rows.stat().st_size / 1e6:.0f} | {' | '.join(report(prefix))} |")


def report(prefix: str) -> Iterator[str]:
    begun = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "llmlocust.cli", "report", prefix], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    yield f"{time.monotonic() - begun:.1f}"
    if status:
        sys.exit("the report failed")
    yield f"{used.ru_utime + used.ru_stime:.1f}"
    yield f"{used.ru_maxrss / 1024:.0f}"


def write(prefix: str, rows: int) -> None:
    """Write all files of a run with this number of rows."""
    # the rows of one process, which keeps all of them
    ledger, files = Ledger("host:1", rows_a_second=rows), RunFiles(prefix)
    length = len(LOADS) * (WARMUP + HOLD)
    for index, load in enumerate(LOADS):
        begun = index * (WARMUP + HOLD)
        ledger.begin_level(begun, load)
        ledger.end_warmup(begun + WARMUP)
        ledger.end_level(begun + WARMUP + HOLD)
        for second in range(begun, begun + WARMUP + HOLD):
            ledger.note_gauges(second, users=load, in_flight=load, client_cpu=0.4, loop_lag=1.2)
    dice = random.Random(1)
    share = [load / sum(LOADS) for load in LOADS]
    for index, load in enumerate(LOADS):
        for sent, record in requests(dice, index, load, round(rows * share[index])):
            ledger.note_sent(sent, "chat")
            ledger.add(record, sent)
        files.append(formats.REQUESTS, ledger.take_rows(EPOCH))
    files.write_levels(ledger.figures(level, length, EPOCH) for level in ledger.levels)
    files.write_histograms(ledger)
    files.write_timeline(ledger, EPOCH)
    files.write_run(run_info(ledger, length))
    files.close()


def requests(dice: random.Random, index: int, load: int, count: int) -> Iterator[tuple[float, Record]]:
    begun, length = index * (WARMUP + HOLD), WARMUP + HOLD
    for number in range(count):
        yield begun + length * number / count, request(dice, load)


def request(dice: random.Random, load: int) -> Record:
    name = dice.choice(("chat", "chat", "search"))
    request_id = f"{dice.getrandbits(64):016x}"
    overload = max(0.0, load / SLOTS - 1.0)
    if dice.random() < 0.02 * overload:
        error = "HTTP 503: overloaded, try again later"
        return Record(name=name, outcome="http_503", error=error, status=503, duration=0.02, id=request_id)
    queued = overload * TTFT * TOKENS * dice.random()
    step = ITL * (1.0 + min(load, SLOTS) / SLOTS)
    arrivals = list(
        accumulate(
            (step * dice.uniform(0.8, 1.2) for _ in range(TOKENS - 1)),
            initial=queued + TTFT * dice.lognormvariate(0.0, 0.3),
        )
    )
    return Record(
        name=name,
        status=200,
        duration=arrivals[-1] + 0.0003,
        e2e=arrivals[-1],
        ttft=arrivals[0],
        ttfo=arrivals[0],
        tpot=(arrivals[-1] - arrivals[0]) / (TOKENS - 1),
        arrivals=arrivals,
        itls=[later - earlier for earlier, later in pairwise(arrivals)],
        client_queue=dice.expovariate(20_000.0),
        input_tokens=dice.randrange(20, 60),
        output_tokens=TOKENS,
        token_source="usage",
        finish="length",
        lags=[dice.expovariate(5_000.0) for _ in arrivals],
        lag_max=0.001,
        lag_max_at=arrivals[0],
        clock="kernel",
        id=request_id,
    )


def run_info(ledger: Ledger, length: int) -> dict:
    counts = {"sent": ledger.sent, "ended": ledger.ended, "preflight": 1}
    return {
        "format": formats.FORMAT,
        "started": EPOCH,
        "ended": EPOCH + length,
        "stopped": False,
        "target": {"host": "http://gpu-1:8000", "model": "some-model", "dialect": "openai chat"},
        "plan": {"unit": "users", "levels": LOADS, "warmup": WARMUP, "hold": HOLD},
        "options": {"llm_max_tokens": TOKENS},
        "user_classes": {"Chat": "wait 0 s"},
        "think_times": {"Chat": 0.0},
        "clock": "kernel",
        "processes": 1,
        "counts": counts,
        "rows": {"seen": ledger.rows_seen, "kept": ledger.rows_kept},
        "checks": [],
    }


if __name__ == "__main__":
    main()
