"""A whole run of Locust, compared with the floor: a C client that does only the necessary work, with the same C server.

    python bench/floor.py [STREAMS@ITL_MS ...]      100@10 300@10 by default; needs gcc and two cores

Server and client have a core each; the client is one process. The run writes all its files. A client is right if its
p99 ITL is within 1 ms of the server's and its mean TTFT within 2 ms. It keeps up if it receives at least 95 % of the
floor's tokens/s.
"""

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import truth

from llmlocust.calibration.errors import ITL_TOLERANCE, TTFT_TOLERANCE, Latencies

SECONDS = 10
KEEPS_UP = 0.95
TITLES = (
    *("streams", "ITL ms", "client", "tokens/s", "of the floor's", "CPU µs/token", "of a core"),
    *("TTFT mean error ms", "p99", "ITL p50 error ms", "p99", "coalesced", "right", "keeps up"),
)


@dataclass
class Result:
    """The figures of a client, in seconds."""

    tokens_per_s: float
    cpu: float
    """Share of a core."""
    coalesced: float
    measured: Latencies
    true: Latencies

    def errors(self) -> list[float]:
        names = ("ttft_mean", "ttft_p99", "itl_p50", "itl_p99")
        return [getattr(self.measured, name) - getattr(self.true, name) for name in names]

    @property
    def right(self) -> bool:
        ttft_mean, _, _, itl_p99 = self.errors()
        return abs(itl_p99) <= ITL_TOLERANCE and abs(ttft_mean) <= TTFT_TOLERANCE


def main(settings: list[str]) -> None:
    heading()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth.build(folder)
        for setting in settings:
            streams, _, itl = setting.partition("@")
            low = floor(folder, int(streams), float(itl or 10))
            print(row(setting, "floor", low, low), flush=True)
            print(row(setting, "llmlocust", locust(folder, int(streams), float(itl or 10)), low), flush=True)


def heading() -> None:
    print(f"| {' | '.join(TITLES)} |\n|{'---:|' * len(TITLES)}", flush=True)


def floor(folder: Path, streams: int, itl_ms: float) -> Result:
    requests = max(1, round(SECONDS / (truth.FIRST_AFTER + truth.TOKENS * itl_ms / 1000)))
    with truth.Server(folder, itl_ms) as server:
        began = time.time()
        command = [folder / "floor_client", server.port, streams, truth.TOKENS, requests, "kernel"]
        figures = json.loads(truth.run(list(map(str, command)), truth.on_core(1)))
    ttft, itl = figures["ttft"], figures["itl"]
    measured = Latencies(*(ms / 1000 for ms in (ttft["mean"], ttft["p99"], itl["p50"], itl["p99"])))
    cpu = figures["us_per_token"] * figures["tok_s"] / 1e6
    coalesced = figures["coalesced"] / figures["tokens"]
    return Result(figures["tok_s"], cpu, coalesced, measured, server.truth(began, time.time()))


def locust(folder: Path, streams: int, itl_ms: float, *, tls: bool = False) -> Result:
    with truth.Server(folder, itl_ms, tls=tls) as server:
        truth.run(truth.locust(folder, *truth.headless(folder, server.host, streams, SECONDS)), truth.on_core(1))
    return of_run(folder, streams, server)


def of_run(folder: Path, streams: int, server: truth.Server) -> Result:
    level, seconds = truth.level(folder), truth.steady(folder, streams)
    cpu, tokens = (sum(float(second[name]) for second in seconds) / len(seconds) for name in ("client_cpu", "tokens"))
    ttft, itl = level.metric("ttft"), level.metric("itl")
    measured = Latencies(ttft.mean, ttft["p99"], itl["p50"], itl["p99"])
    return Result(tokens, cpu, level.coalesced, measured, server.truth(level.warmed_up, level.ended))


def row(setting: str, client: str, result: Result, low: Result) -> str:
    streams, _, itl = setting.partition("@")
    cells = [
        streams,
        itl or "10",
        client,
        f"{result.tokens_per_s:,.0f}",
        f"{result.tokens_per_s / low.tokens_per_s:.1%}",
    ]
    cells += [f"{result.cpu / result.tokens_per_s * 1e6:.1f}", f"{result.cpu:.0%}"]
    cells += [f"{error * 1e3:+.2f}" for error in result.errors()]
    keeps_up = result.tokens_per_s >= KEEPS_UP * low.tokens_per_s
    cells += [f"{result.coalesced:.2%}", *("yes" if passed else "no" for passed in (result.right, keeps_up))]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main(sys.argv[1:] or ["100@10", "300@10"])
