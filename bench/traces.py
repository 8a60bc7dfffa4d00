"""Recorded traces: the time to open a million rows, and whether a replay sends every row, and at the right time.

    python bench/traces.py open
    python bench/traces.py replay [--speed 20] [--workers 2] [--rows 6000]

`open`: the script writes a file of LINES rows in each format, and opens it in a separate process, as a worker does. The
table has the memory before and after it. Then the process reads 1,000 rows, with their prompts.

`replay`: Locust sends a generated trace to the simulator, which records the requests. The trace is similar to Azure's
conversations: 5.5 requests per second in bursts, prompts of about 1,000 tokens and answers of about 20, so that one
simulator can keep up. The table has one row, for the run: rows of the trace, requests that the server received, their
delay, and the difference between the times of the server's and the trace's requests, without the median difference.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import truth

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.simulators import running_simulator

LINES = 1_000_000
PICKED = 1000
WORKER = f"""
import random, resource, sys
from time import perf_counter, process_time
import llmlocust.plugin.users.users
from llmlocust.load.prompts import Prompts, load
from llmlocust.load.trace_windows import shared_text
from llmlocust.load.tokens import estimate
from llmlocust.load.traces import open_trace

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before, begun, cpu = peak(), perf_counter(), process_time()
trace = open_trace(sys.argv[1])
opened, cpu = perf_counter() - begun, process_time() - cpu
prompts, source, begun = Prompts(load("short")), random.Random(1), process_time()
for _ in range({PICKED}):
    row = trace.row(source.randrange(len(trace)))
    if row.blocks:
        shared_text(row, "salt", estimate, source)
    else:
        prompts.prepare(prompts.pick(source), source, row.prompt_tokens)
per_prompt = (process_time() - begun) / {PICKED} * 1e6
print(f"{{len(trace):,}} | {{opened:.1f}} | {{cpu:.1f}} | {{before:.0f}} | {{peak():.0f}} | {{per_prompt:.0f}} |")
"""


def main() -> None:
    options = parse()
    if options.command == "open":
        open_formats()
    else:
        replay(options.rows, options.speed, options.workers)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["open", "replay"])
    parser.add_argument("--speed", type=float, default=20.0)
    parser.add_argument("--workers", type=int, default=0, help="0: one process")
    parser.add_argument("--rows", type=int, default=6000)
    return parser.parse_args()


# ── opening ──


def open_formats() -> None:
    print("| format | MB | rows | opened in s | CPU s | peak MB before | and after | µs per prompt |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, lines in FORMATS.items():
            path = Path(folder) / name
            with path.open("w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines())
            size = path.stat().st_size / 1e6
            child = subprocess.run(
                [sys.executable, "-c", WORKER, str(path)], capture_output=True, text=True, check=True
            )
            print(f"| {name} | {size:.0f} | {child.stdout.strip()}", flush=True)
            path.unlink()


def generated(rows: int, answer: float) -> Iterator[tuple[float, int, int]]:
    """Yield the seconds, the tokens of the prompt and the tokens of the answer of each row: 5.5 per second, in bursts."""
    source, moment = random.Random(1), 0.0
    for _ in range(rows):
        moment += source.gammavariate(0.5, 2.0 / 5.5)
        yield moment, int(source.lognormvariate(6.5, 0.9)) + 1, int(source.lognormvariate(answer, 0.8)) + 1


def _plain() -> Iterator[str]:
    yield "seconds,prompt_tokens,output_tokens"
    yield from (f"{moment:.6f},{prompt},{answer}" for moment, prompt, answer in generated(LINES, 5.0))


def _azure() -> Iterator[str]:
    began = datetime(2023, 11, 16, 18, 15, tzinfo=UTC)
    yield "TIMESTAMP,ContextTokens,GeneratedTokens"
    for moment, prompt, answer in generated(LINES, 5.0):
        yield f"{began + timedelta(seconds=moment):%Y-%m-%d %H:%M:%S.%f}0,{prompt},{answer}"


def _burst() -> Iterator[str]:
    yield "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type"
    for moment, prompt, answer in generated(LINES, 5.0):
        yield f"{moment:.1f},1722ac82-0a46-4bf0-aa08-89794e7a2b3f,43,GPT-4,{prompt},{answer},{prompt + answer},API log"


def _mooncake() -> Iterator[str]:
    """Yield rows with prompts that are ten times as long, as in Mooncake's traces. Only their first block is shared."""
    newest = 0
    for moment, prompt, answer in generated(LINES, 5.0):
        blocks = -(-10 * prompt // 512)
        ids = [0, *range(newest + 1, newest + blocks)]
        newest += blocks - 1
        row = {"timestamp": int(moment * 1000), "input_length": 10 * prompt, "output_length": answer, "hash_ids": ids}
        yield json.dumps(row)


FORMATS = {"plain.csv": _plain, "azure.csv": _azure, "burstgpt.csv": _burst, "mooncake.jsonl": _mooncake}


# ── replaying ──

SERVER = {"slots": 300, "step_ms": 5, "step_ms_per_seq": 0, "prefill_ms_per_token": 0}
TITLES = ("speed", "workers", "rows", "rows per s", "due", "received", "requested lengths", "failed")
LATE = ("delay p50 ms", "p99", "max", "server's time off p50 ms", "p99", "max", "busiest CPU")


def replay(rows: int, speed: float, workers: int) -> None:
    lines = list(generated(rows, 2.6))
    with tempfile.TemporaryDirectory() as name, running_simulator(**SERVER) as simulator:
        folder = Path(name)
        text = "".join(f"{moment:.6f},{prompt},{answer}\n" for moment, prompt, answer in lines)
        (folder / "trace.csv").write_text(f"seconds,prompt_tokens,output_tokens\n{text}")
        options = ["--headless", "--only-summary", "--host", simulator.url, "--csv", folder / "run"]
        load = ["--llm-trace", folder / "trace.csv", "--llm-trace-speed", speed, "--llm-preflight=false"]
        processes = ["--processes", workers] if workers else []
        truth.run(truth.locust(folder, *options, *load, "--llm-force-length", *processes), lambda: None)
        received = simulator.truth()
        levels, requests = (truth.rows(folder / f"run_llm_{name}.csv") for name in ("levels", "requests"))
        seconds = truth.rows(folder / "run_llm_timeline.csv")
    same_lengths = sorted(row["planned_tokens"] for row in received) == sorted(answer for _, _, answer in lines)
    delays = [float(request["delay"]) for request in requests]
    arrived = sorted(row["received_ns"] / 1e6 for row in received)
    off = np.array(arrived) - arrived[0] - np.array([(moment - lines[0][0]) / speed * 1000.0 for moment, _, _ in lines])
    cells = [f"{speed:g}", workers or 1, rows, f"{rows / lines[-1][0] * speed:.0f}"]
    cells += [sum(int(level["due"]) for level in levels), len(received), "all" if same_lengths else "not all"]
    cells += [
        sum(request["outcome"] != "ok" for request in requests),
        *quantiles(delays),
        *quantiles(np.abs(off - np.median(off))),
    ]
    cells += [f"{np.quantile([float(second['client_cpu'] or 0) for second in seconds], 0.9):.0%}"]
    print(f"| {' | '.join((*TITLES, *LATE))} |\n|{'---:|' * len(TITLES + LATE)}")
    print(f"| {' | '.join(map(str, cells))} |")


def quantiles(values: Any) -> list[str]:
    return [f"{np.quantile(values, q):.2f}" for q in (0.5, 0.99, 1.0)]


if __name__ == "__main__":
    main()
