"""Levels of systems whose limits are known: users in a closed loop, slots that serve them, a queue before the slots."""

import csv
import math
import random
from pathlib import Path

from llmlocust.metrics.levels import LevelFigures, Summary

CASES = Path(__file__).parent / "cases"
GRID = (1, 2, 4, 8, 16, 32, 64, 100, 150, 200, 250, 300)


def summary(count: int, middle: float, spread: float = 0.25) -> Summary:
    """Return quantiles around a median, with intervals of the width that `count` values give."""
    tails = {"p50": 0.0, "p90": 1.2816, "p95": 1.6449, "p99": 2.3263, "p99_9": 3.0902}
    quantiles = {name: middle * math.exp(spread * normal) for name, normal in tails.items()}
    half = {name: 1.96 * spread * (1 + abs(normal)) / math.sqrt(max(1, count)) for name, normal in tails.items()}
    intervals = {
        name: (value * math.exp(-half[name]), value * math.exp(half[name])) for name, value in quantiles.items()
    }
    return Summary(count, middle * math.exp(spread**2 / 2), quantiles["p99_9"], quantiles, intervals, dict(quantiles))


def figures(load, throughput, ttft, e2e, *, index=0, window=60.0, errors=0.0, unit="users") -> LevelFigures:
    ok = round(throughput * window) if not math.isnan(throughput) else 1000
    failed = round(ok * errors / (1.0 - errors)) if errors < 1.0 else 100
    metrics = {"e2e": summary(ok, e2e)} if ok else {}
    if ttft is not None and ok:
        metrics["ttft"] = summary(ok, ttft)
    return LevelFigures(
        level=index,
        load=float(load),
        unit=unit,
        users=float(load),
        window=window,
        requests=ok + failed,
        ok=ok,
        error_kinds={"http_503": failed} if failed else {},
        throughput=throughput,
        metrics=metrics,
    )


def closed_queue(loads, slots=32, *, step=0.02, slope=0.0005, tokens=100, prefill=0.05, noise=0.0, seed=0, think=0.0):
    """N users, `slots` places in the batch; a decode step takes step + slope·batch. Users without a place wait."""
    random_ = random.Random(seed)
    levels = []
    for index, users in enumerate(loads):
        batch = min(users, slots)
        if think:
            for _ in range(200):  # the batch that thinking users leave: a fixed point
                service = prefill + tokens * (step + slope * batch)
                batch = 0.5 * batch + 0.5 * min(slots, users * service / (service + think))
        service = prefill + tokens * (step + slope * batch)
        throughput = batch / service
        wait = max(0.0, users / throughput - service - think) if batch >= slots * 0.999 else 0.0
        jitter = lambda size: math.exp(random_.gauss(0.0, size * noise))  # noqa: E731
        levels.append(figures(users, throughput * jitter(1), (prefill + wait) * jitter(3), service + wait, index=index))
    return levels


def case(name: str, window: float = 180.0) -> list[LevelFigures]:
    """Return the levels of a published table. A figure that its author did not give is not known."""
    levels = []
    with (CASES / f"{name}.csv").open() as file:
        for index, row in enumerate(csv.DictReader(file)):
            cell = {key: float(value) if value else math.nan for key, value in row.items()}
            mean, p95 = cell.get("mean", math.nan) / 1000, cell.get("p95", math.nan) / 1000
            rate = cell.get("rps", math.nan)
            ok = round(rate * window) if not math.isnan(rate) else round(window * cell["users"] / 3.0)
            errors = cell.get("errors", 0.0)
            failed = 0 if math.isnan(errors) else round(ok * errors / (1 - errors))
            metrics = {"e2e": Summary(ok, mean, quantiles={"p95": p95})}
            ttft = cell.get("ttft_mean", math.nan) / 1000
            if not math.isnan(ttft):
                metrics["ttft"] = Summary(ok, ttft)
            levels.append(
                LevelFigures(
                    level=index,
                    load=cell["users"],
                    window=window,
                    requests=ok + failed,
                    ok=ok,
                    error_kinds={"http_504": failed} if failed else {},
                    throughput=rate,
                    metrics=metrics,
                )
            )
    return levels
