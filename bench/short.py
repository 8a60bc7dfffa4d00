"""The cost of short answers in closed load: llmlocust, compared with a plain POST of Locust's own FastHttpUser.

    python bench/short.py [--tokens 5] [--users 50] [--seconds 10] [--rounds 3]

Server and client have a core each. Both clients send the same body to the same C server, without think time, and read
the answer to its end; the plain client parses nothing. The cost is the CPU time of the client's process in the seconds
with all users, divided by its requests in them.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import truth

PLAIN = """
from locust import FastHttpUser, task

BODY = {
    "model": "simulated-llm",
    "messages": [{"role": "user", "content": "abcdef Say something about the sea, in a few words, please."}],
    "stream": True,
    "max_tokens": 5,
    "stream_options": {"include_usage": True},
}

class Plain(FastHttpUser):
    @task
    def ask(self):
        self.client.post("/v1/chat/completions", json=BODY)
"""
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth.build(folder)
        costs: dict[str, list[float]] = {"llmlocust": [], "FastHttpUser": []}
        for _ in range(options.rounds):
            for client, figures in costs.items():
                figures.append(cost(folder, client, options))
        print("| client | CPU µs a request |\n|---|---:|")
        for client, figures in costs.items():
            print(f"| {client} | {statistics.median(figures):.0f} |")
        factor = statistics.median(costs["llmlocust"]) / statistics.median(costs["FastHttpUser"])
        print(f"\nllmlocust costs {factor:.2f} times the plain POST")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=5)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def cost(folder: Path, client: str, options: argparse.Namespace) -> float:
    """Return the microseconds of CPU time of a request."""
    ramp = options.users / truth.SPAWN_RATE
    with truth.Server(folder, 1.0, tokens=options.tokens) as server:
        load = truth.headless(folder, server.host, options.users, options.seconds + 4, options.tokens)
        command = truth.locust(folder, *load)
        if client == "FastHttpUser":
            (folder / "locustfile.py").write_text(PLAIN)
            command = [word for word in command if not word.startswith("--llm")]
            del command[command.index(str(options.tokens), 5)]
        child = subprocess.Popen(
            command, preexec_fn=truth.on_core(1), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(3 + ramp)
        begin, cpu = time.monotonic_ns(), cpu_seconds(child.pid)
        time.sleep(options.seconds)
        end, cpu = time.monotonic_ns(), cpu_seconds(child.pid) - cpu
        child.wait()
    last_writes = server.served[:, 2]
    return cpu * 1e6 / int(((last_writes >= begin) & (last_writes < end)).sum())


def cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS


if __name__ == "__main__":
    main()
