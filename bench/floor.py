"""A whole run of Locust beside the floor: what a C client that does the least costs, against the same C server.

    python bench/floor.py [STREAMS@GAP_MS ...]      100@10 300@10 unless told; needs gcc and two cores

Server and client have a core each; the client is one process. Every file of a run is written. A client is right
where its p99 gap is within 1 ms of the server's and its mean TTFT within 2 ms, and keeps up where it receives at least
95 % of the floor's tokens/s.
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
    *("streams", "gap ms", "client", "tokens/s", "of the floor's", "CPU µs/token", "of a core"),
    *("TTFT mean error ms", "p99", "gap p50 error ms", "p99", "coalesced", "right", "keeps up"),
)


@dataclass
class Result:
    """What a client came to; seconds."""

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
            streams, _, gap = setting.partition("@")
            low = floor(folder, int(streams), float(gap or 10))
            print(row(setting, "floor", low, low), flush=True)
            print(row(setting, "llmlocust", locust(folder, int(streams), float(gap or 10)), low), flush=True)


def heading() -> None:
    print(f"| {' | '.join(TITLES)} |\n|{'---:|' * len(TITLES)}", flush=True)


def floor(folder: Path, streams: int, gap_ms: float) -> Result:
    requests = max(1, round(SECONDS / (truth.FIRST_AFTER + truth.TOKENS * gap_ms / 1000)))
    with truth.Server(folder, gap_ms) as server:
        began = time.time()
        command = [folder / "floor_client", server.port, streams, truth.TOKENS, requests, "kernel"]
        told = json.loads(truth.run(list(map(str, command)), truth.on_core(1)))
    ttft, gap = told["ttft"], told["itl"]
    measured = Latencies(*(ms / 1000 for ms in (ttft["mean"], ttft["p99"], gap["p50"], gap["p99"])))
    cpu = told["us_per_token"] * told["tok_s"] / 1e6
    return Result(told["tok_s"], cpu, told["coalesced"] / told["tokens"], measured, server.truth(began, time.time()))


def locust(folder: Path, streams: int, gap_ms: float, *, tls: bool = False) -> Result:
    with truth.Server(folder, gap_ms, tls=tls) as server:
        truth.run(truth.locust(folder, *truth.headless(folder, server.host, streams, SECONDS)), truth.on_core(1))
    return of_run(folder, streams, server)


def of_run(folder: Path, streams: int, server: truth.Server) -> Result:
    level, seconds = truth.level(folder), truth.steady(folder, streams)
    cpu, tokens = (sum(float(each[name]) for each in seconds) / len(seconds) for name in ("client_cpu", "tokens"))
    ttft, gap = level.metric("ttft"), level.metric("itl")
    measured = Latencies(ttft.mean, ttft["p99"], gap["p50"], gap["p99"])
    return Result(tokens, cpu, level.coalesced, measured, server.truth(level.warmed_up, level.ended))


def row(setting: str, client: str, result: Result, low: Result) -> str:
    streams, _, gap = setting.partition("@")
    cells = [
        streams,
        gap or "10",
        client,
        f"{result.tokens_per_s:,.0f}",
        f"{result.tokens_per_s / low.tokens_per_s:.1%}",
    ]
    cells += [f"{result.cpu / result.tokens_per_s * 1e6:.1f}", f"{result.cpu:.0%}"]
    cells += [f"{error * 1e3:+.2f}" for error in result.errors()]
    keeps_up = result.tokens_per_s >= KEEPS_UP * low.tokens_per_s
    cells += [f"{result.coalesced:.2%}", *("yes" if each else "no" for each in (result.right, keeps_up))]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main(sys.argv[1:] or ["100@10", "300@10"])
