"""The cost of telemetry: a run with three sources of 2,000 lines each, compared with the same run without telemetry.

    python bench/observing.py [STREAMS@ITL_MS] [--seconds 20]      100@10 by default; needs gcc and two cores

The C server and the three endpoints share the first core; Locust and its observing process share the second, so that
their costs add up. A third of the values changes from scrape to scrape. The errors are those of `floor.py`.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import floor
import truth

LINES = 2000
TITLES = ("telemetry", "tokens/s", "CPU of a core", "TTFT mean error ms", "p99", "ITL p50 error ms", "p99", "coalesced")


class Endpoint(BaseHTTPRequestHandler):
    """Metrics of vLLM, and other series up to LINES lines."""

    protocol_version = "HTTP/1.1"
    scrapes = count()

    def do_GET(self) -> None:
        number = next(self.scrapes)
        lines = [f"vllm:num_requests_running {number % 7}", f"vllm:generation_tokens_total {number * 100}"]
        lines += [
            f'vllm:e2e_request_latency_seconds_bucket{{model_name="m",engine="{place}",le="1"}} {number if place % 3 == 0 else place}'
            for place in range(LINES - len(lines))
        ]
        body = "\n".join([*lines, ""]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def serve(core: int, ports: "multiprocessing.Queue[int]") -> None:
    os.sched_setaffinity(0, {core})
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    ports.put(server.server_port)
    server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", nargs="?", default="100@10", metavar="STREAMS@ITL_MS")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    streams, _, itl = options.setting.partition("@")
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    endpoints = [multiprocessing.Process(target=serve, args=(truth.cores()[0], ports), daemon=True) for _ in range(3)]
    for endpoint in endpoints:
        endpoint.start()
    sources = [f"--llm-observe=http://127.0.0.1:{ports.get()}" for _ in endpoints]
    print(f"| {' | '.join(TITLES)} |\n|{'---:|' * len(TITLES)}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth.build(folder)
        for title, observed in (("none", []), ("3 sources", sources), ("none", []), ("3 sources", sources)):
            print(row(title, folder, int(streams), float(itl or 10), options.seconds, observed), flush=True)
        print(f"\n{cost(folder)}")
    for endpoint in endpoints:
        endpoint.terminate()


def row(title: str, folder: Path, streams: int, itl_ms: float, seconds: float, sources: list[str]) -> str:
    with truth.Server(folder, itl_ms) as server:
        load = truth.headless(folder, server.host, streams, seconds)
        truth.run(truth.locust(folder, *load, "--llm-observe=none", *sources), truth.on_core(1))
    result = floor.of_run(folder, streams, server)
    errors = [f"{error * 1e3:+.3f}" for error in result.errors()]
    return (
        f"| {title} | {result.tokens_per_s:,.0f} | {result.cpu:.0%} | {' | '.join(errors)} | {result.coalesced:.2%} |"
    )


def cost(folder: Path) -> str:
    """Return what the observing process of the last run cost."""
    run = json.loads((folder / "run_llm_run.json").read_text(encoding="utf-8"))
    seconds, telemetry = run["ended"] - run["started"], run["telemetry"]
    size = (folder / "run_llm_telemetry.csv").stat().st_size
    says = "; ".join(source["says"] for source in telemetry["sources"])
    return (
        f"the observing process used {telemetry['cpu_seconds'] / seconds:.2%} of a core over {seconds:.0f} s, without "
        f"its start; {size / seconds / 1000:.1f} kB/s in the file; {says}"
    )


if __name__ == "__main__":
    main()
