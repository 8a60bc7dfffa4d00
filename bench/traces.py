"""Recorded traces: how long one of a million rows takes to open, and whether a replay sends every row, and when.

    python bench/traces.py open
    python bench/traces.py replay [--speed 20] [--workers 2] [--rows 6000]

`open`: a file of LINES rows of each format is made, and opened in a process of its own, as a worker does; what it held
before is told beside it. Then 1,000 rows are asked for, with their prompts.

`replay`: a made trace of the shape of Azure's conversations (5.5 requests a second in bursts, prompts of about 1,000
tokens and answers of about 20, so that one simulator can keep up) is sent to the simulator, which counts. A row of the
table is a run: rows of the trace, requests that the server saw, how late they were sent, and how far the moments at which
the server got them are from the trace's, but for what all of them have in common.
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
ASKED = 1000
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
for _ in range({ASKED}):
    row = trace.row(source.randrange(len(trace)))
    if row.blocks:
        shared_text(row, "salt", estimate, source)
    else:
        prompts.prepare(prompts.pick(source), source, row.prompt_tokens)
each = (process_time() - begun) / {ASKED} * 1e6
print(f"{{len(trace):,}} | {{opened:.1f}} | {{cpu:.1f}} | {{before:.0f}} | {{peak():.0f}} | {{each:.0f}} |")
"""


def main() -> None:
    options = parse()
    if options.what == "open":
        open_each()
    else:
        replay(options.rows, options.speed, options.workers)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["open", "replay"])
    parser.add_argument("--speed", type=float, default=20.0)
    parser.add_argument("--workers", type=int, default=0, help="0: one process")
    parser.add_argument("--rows", type=int, default=6000)
    return parser.parse_args()


# ── opening ──


def open_each() -> None:
    print("| format | MB | rows | opened in s | CPU s | peak MB before | and after | µs a prompt |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, lines in FORMATS.items():
            path = Path(folder) / name
            with path.open("w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines())
            size = path.stat().st_size / 1e6
            told = subprocess.run([sys.executable, "-c", WORKER, str(path)], capture_output=True, text=True, check=True)
            print(f"| {name} | {size:.0f} | {told.stdout.strip()}", flush=True)
            path.unlink()


def made(rows: int, answer: float) -> Iterator[tuple[float, int, int]]:
    """Seconds, tokens of the prompt and of the answer: 5.5 rows a second, of which some come together."""
    source, moment = random.Random(1), 0.0
    for _ in range(rows):
        moment += source.gammavariate(0.5, 2.0 / 5.5)
        yield moment, int(source.lognormvariate(6.5, 0.9)) + 1, int(source.lognormvariate(answer, 0.8)) + 1


def _plain() -> Iterator[str]:
    yield "seconds,prompt_tokens,output_tokens"
    yield from (f"{moment:.6f},{read},{told}" for moment, read, told in made(LINES, 5.0))


def _azure() -> Iterator[str]:
    began = datetime(2023, 11, 16, 18, 15, tzinfo=UTC)
    yield "TIMESTAMP,ContextTokens,GeneratedTokens"
    for moment, read, told in made(LINES, 5.0):
        yield f"{began + timedelta(seconds=moment):%Y-%m-%d %H:%M:%S.%f}0,{read},{told}"


def _burst() -> Iterator[str]:
    yield "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type"
    for moment, read, told in made(LINES, 5.0):
        yield f"{moment:.1f},1722ac82-0a46-4bf0-aa08-89794e7a2b3f,43,GPT-4,{read},{told},{read + told},API log"


def _mooncake() -> Iterator[str]:
    """Prompts ten times as long, as its own are, in blocks that are new but for the first."""
    newest = 0
    for moment, read, told in made(LINES, 5.0):
        many = -(-10 * read // 512)
        ids = [0, *range(newest + 1, newest + many)]
        newest += many - 1
        row = {"timestamp": int(moment * 1000), "input_length": 10 * read, "output_length": told, "hash_ids": ids}
        yield json.dumps(row)


FORMATS = {"plain.csv": _plain, "azure.csv": _azure, "burstgpt.csv": _burst, "mooncake.jsonl": _mooncake}


# ── replaying ──

SERVER = {"slots": 300, "step_ms": 5, "step_ms_per_seq": 0, "prefill_ms_per_token": 0}
TITLES = ("speed", "workers", "rows", "a second", "due", "server saw", "as long as asked", "failed")
LATE = ("delay p50 ms", "p99", "max", "server's clock off p50 ms", "p99", "max", "busiest CPU")


def replay(rows: int, speed: float, workers: int) -> None:
    lines = list(made(rows, 2.6))
    with tempfile.TemporaryDirectory() as name, running_simulator(**SERVER) as simulator:
        folder = Path(name)
        text = "".join(f"{moment:.6f},{read},{told}\n" for moment, read, told in lines)
        (folder / "trace.csv").write_text(f"seconds,prompt_tokens,output_tokens\n{text}")
        options = ["--headless", "--only-summary", "--host", simulator.url, "--csv", folder / "run"]
        load = ["--llm-trace", folder / "trace.csv", "--llm-trace-speed", speed, "--llm-preflight=false"]
        processes = ["--processes", workers] if workers else []
        truth.run(truth.locust(folder, *options, *load, "--llm-force-length", *processes), lambda: None)
        seen = simulator.truth()
        levels, requests = (truth.rows(folder / f"run_llm_{each}.csv") for each in ("levels", "requests"))
        seconds = truth.rows(folder / "run_llm_timeline.csv")
    as_long = sorted(each["planned_tokens"] for each in seen) == sorted(told for _, _, told in lines)
    delays = [float(each["delay"]) for each in requests]
    came = sorted(each["received_ns"] / 1e6 for each in seen)
    off = np.array(came) - came[0] - np.array([(moment - lines[0][0]) / speed * 1000.0 for moment, _, _ in lines])
    cells = [f"{speed:g}", workers or 1, rows, f"{rows / lines[-1][0] * speed:.0f}"]
    cells += [sum(int(each["due"]) for each in levels), len(seen), "all" if as_long else "not all"]
    cells += [sum(each["outcome"] != "ok" for each in requests), *late(delays), *late(np.abs(off - np.median(off)))]
    cells += [f"{np.quantile([float(each['client_cpu'] or 0) for each in seconds], 0.9):.0%}"]
    print(f"| {' | '.join((*TITLES, *LATE))} |\n|{'---:|' * len(TITLES + LATE)}")
    print(f"| {' | '.join(map(str, cells))} |")


def late(values: Any) -> list[str]:
    return [f"{np.quantile(values, q):.2f}" for q in (0.5, 0.99, 1.0)]


if __name__ == "__main__":
    main()
