"""An hour at a steady load: does any process of a run grow, in memory or in open files?

    python bench/soak.py [--minutes 60] [--users 50] [--workers 2]

A simulator, a master with all its files, and workers run as real processes. At the same time, a master and workers of
plain Locust, without llmlocust, send the same load to another simulator, because Locust's own tables grow too. Every
minute, the script records the memory and the open files of each process. Memory is the pages that a process has written to
(Private_Dirty), because pages of files also become private when the last other process that maps them ends. The results
are the growth of memory after the first ten minutes (a line fitted to the values), the run's number of requests and the
simulator's, and the size of the file of requests. The load is light (one request per second and user), because the bench
measures the effect of time.
"""

import argparse
import csv
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from llmlocust.metrics.ledger import rows_for_each

MINUTE = 60.0
WARM = 10
"""Minutes after which the growth of memory is measured."""
SERVER = ["--port", "0", "--step-ms", "40", "--step-ms-per-seq", "0", "--truth-tokens", "10000"]
TOKENS = 25
OURS = "from llmlocust import ChatUser\n\n\nclass Chat(ChatUser):\n    pass\n"
PLAIN = f"""
from locust import FastHttpUser, task

BODY = {{"messages": [{{"role": "user", "content": "Hello?"}}], "stream": True, "max_tokens": {TOKENS}}}


class Chat(FastHttpUser):
    @task
    def ask(self):
        self.client.post("/v1/chat/completions", json=BODY | {{"ignore_eos": True}})
"""


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        server, host = simulator(stack)
        plain_server, plain_host = simulator(stack)
        own_options = ["--llm-max-tokens", TOKENS, "--llm-body", '{"ignore_eos": true}']
        nodes = run(stack, folder, OURS, host, options, own_options)
        plain = run(stack, folder / "plain", PLAIN, plain_host, options)
        samples = watch(nodes | {f"plain {name}": node for name, node in plain.items()})
        plain_server.terminate()
        run_info = json.loads((folder / "run_llm_run.json").read_text())
        received = sum(json.load(urllib.request.urlopen(f"{host}/truth?summary=1"))["received"].values())
        server.terminate()
        report(samples)
        print_requests(folder, run_info, received, options.workers)
        print_plain(folder / "plain")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def simulator(stack: ExitStack) -> tuple[subprocess.Popen, str]:
    command = [sys.executable, "-m", "llmlocust.simulator", *SERVER]
    child = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    return child, f"http://127.0.0.1:{child.stdout.readline().rpartition(':')[2].strip()}"


def run(
    stack: ExitStack, folder: Path, locustfile: str, host: str, options: argparse.Namespace, more: Sequence[Any] = ()
) -> dict[str, psutil.Process]:
    """Start the processes of a run, and return them by name, the master first."""
    folder.mkdir(exist_ok=True)
    (folder / "locustfile.py").write_text(locustfile)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    load = ["-u", options.users, "-r", options.users, "-t", f"{options.minutes * MINUTE:.0f}s"]
    load += more
    master = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port]
    master += ["--expect-workers", options.workers, "--headless", "--only-summary", "--host", host, "--csv", "run"]
    worker = ["--worker", "--master-port", port]
    children = {}
    for name, arguments in [
        ("master", [*master, *load]),
        *((f"worker {n + 1}", worker) for n in range(options.workers)),
    ]:
        command = [sys.executable, "-m", "locust", "-f", "locustfile.py", *map(str, arguments)]
        with (folder / f"{name}.log").open("w") as log:
            child = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        children[name] = psutil.Process(stack.enter_context(child).pid)
    return children


def watch(nodes: dict[str, psutil.Process]) -> list[dict[str, tuple[float, int]]]:
    """Return the megabytes and open files of each process, once per minute until the master has ended."""
    samples = []
    print("minute" + "".join(f" | {name} MB, files" for name in nodes), flush=True)
    begun = time.monotonic()
    while True:
        due = begun + (len(samples) + 1) * MINUTE
        if psutil.wait_procs([nodes["master"]], timeout=max(0.0, due - time.monotonic()))[0]:
            return samples
        samples.append({name: look(node) for name, node in nodes.items()})
        print(f"{len(samples):6d}" + "".join(f" | {mb:.2f}, {n}" for mb, n in samples[-1].values()), flush=True)


def look(node: psutil.Process) -> tuple[float, int]:
    return sum(region.private_dirty for region in node.memory_maps()) / 2**20, node.num_fds()


def report(samples: list[dict[str, tuple[float, int]]]) -> None:
    print("\n| process | MB after 10 minutes | MB at the end | growth between, MB/h | open files |")
    print("|---|---:|---:|---:|---:|")
    warmed_up = samples[WARM - 1 :]
    for name in warmed_up[0] if len(warmed_up) > 1 else ():
        memory = [sample[name][0] for sample in warmed_up]
        files = {sample[name][1] for sample in warmed_up}
        growth = np.polyfit(np.arange(len(memory)), memory, 1)[0] * MINUTE
        print(f"| {name} | {memory[0]:.1f} | {memory[-1]:.1f} | {growth:+.2f} | {min(files)} to {max(files)} |")


def print_requests(folder: Path, run_info: dict, received: int, workers: int) -> None:
    path = folder / "run_llm_requests.csv"
    with path.open(newline="") as file:
        weights = [int(row["weight"]) for row in csv.DictReader(file)]
    counts, seconds = run_info["counts"], run_info["ended"] - run_info["started"]
    print(f"\nsent {counts['sent']:,}, ended {counts['ended']:,}, ", end="")
    print(f"the server received {received - counts['preflight']:,}; ", end="")
    print(f"{len(weights):,} rows for {sum(weights):,} requests, {path.stat().st_size / 1e6:.1f} MB, ", end="")
    print(f"of at most {rows_for_each(workers) * workers * seconds:,.0f} rows in {seconds:,.0f} s")


def print_plain(folder: Path) -> None:
    with (folder / "run_stats.csv").open(newline="") as file:
        total = list(csv.DictReader(file))[-1]
    print(f"plain Locust: {int(total['Request Count']):,} requests, {int(total['Failure Count']):,} failed")


if __name__ == "__main__":
    main()
