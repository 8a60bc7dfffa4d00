"""The telemetry of a simulated run: the rows of its files, as a server, its GPU and its machine would report."""

import math
from itertools import pairwise

from llmlocust.metrics.rows import TELEMETRY_COLUMNS, TELEMETRY_LEVEL_COLUMNS
from llmlocust.metrics.telemetry import VOCABULARY
from llmlocust.text.message import to_json

ENGINE, GPU, MACHINE = "vllm", "gpu", "machine"
_BUCKETS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 20.0, math.inf)


class MadeTelemetry:
    """What the server of a MadeRun reports. Moments are seconds of the run."""

    def __init__(self, *, gpu=True, without=(), silent=None, restart=None, engine="vLLM 0.33.0", more=1.0, failed=None):
        """`gpu`: whether the GPU is observed. `without`: keys that are not exposed. `silent`: the moments between which the
        server did not answer. `restart`: the moment of a restart. `more`: the share of our requests that the server
        counts. `failed`: the sentence of a further source, which did not answer.
        """
        self.gpu, self.without, self.silent, self.restart, self.engine = gpu, set(without), silent, restart, engine
        self.more, self.failed = more, failed

    def rows(self, run, epoch):
        """Return the rows of the raw file."""
        rows = []
        for second, counts in sorted(run.seconds.items()):
            for source, key, value in self._second(run, second, counts):
                cells = (f"{epoch + second + 0.4:.3f}", source, key, "", f"{value:.6g}")
                rows.append(dict(zip(TELEMETRY_COLUMNS, cells, strict=True)))
        return rows

    def _second(self, run, second, counts):
        running = min(counts["in_flight"], run.slots)
        busy = running / run.slots
        values = []
        if not (self.silent and self.silent[0] <= second < self.silent[1]):
            values += [
                (ENGINE, "running", running),
                (ENGINE, "waiting", max(0.0, counts["in_flight"] - run.slots)),
                (ENGINE, "kv.usage", 0.02 + 0.93 * busy),
                (ENGINE, "preemptions", 0.4 if busy >= 1.0 and second % 7 == 0 else 0.0),
                (ENGINE, "generation_tokens", counts["tokens"] * self.more),
                (ENGINE, "finished", (counts["ended"] - counts["failed"]) * self.more),
                (ENGINE, "restarts", 1.0 if self.restart == second else 0.0),
            ]
        if self.gpu:
            values += [
                (GPU, "gpu.utilisation", 0.03 + 0.95 * min(1.0, 3.0 * busy)),
                (GPU, "gpu.dram_active", 0.02 + 0.6 * busy),
                (GPU, "gpu.memory", 0.92),
                (GPU, "gpu.power", 90.0 + 520.0 * busy),
                (GPU, "gpu.power_limit", 700.0),
                (GPU, "gpu.clock", 1980.0 - (160.0 if busy >= 1.0 else 0.0)),
                (GPU, "gpu.throttled", 0.3 if busy >= 1.0 and second % 3 == 0 else 0.0),
            ]
        values += [
            (MACHINE, "cpu", 0.02 + 0.2 * busy),
            (MACHINE, "process.cpu", 0.1 + 1.1 * busy),
            (MACHINE, "process.memory", 12.5 * 2**30),
            (MACHINE, "memory", 0.31),
            (MACHINE, "network.retransmits", 0.0),
        ]
        return [row for row in values if row[1] not in self.without]

    def level_rows(self, run):
        """Return the rows of the table of levels."""
        rows = []
        for level, tally in zip(run.levels, run.tallies, strict=True):
            values = {}
            for second in range(math.ceil(level.warmed_up), int(level.ended)):
                for source, key, value in self._second(run, second, run._second(second)):
                    values.setdefault((source, key), []).append(value)
            rows += [_gauge_or_counter(level, *place, series) for place, series in values.items()]
            for key, metric, offset in (("server.ttft", "ttft", -0.012), ("server.e2e", "e2e", -0.012)):
                histogram = tally.histogram(metric)
                if histogram.count and key not in self.without:
                    figures = _histogram(histogram, offset) | {"increase": histogram.count * self.more}
                    rows.append(_row(level, ENGINE, key, "histogram", **figures))
            waits = [value for place, series in values.items() if place[1] == "waiting" for value in series]
            if waits and "server.queue" not in self.without:
                mean = sum(waits) / len(waits) * 0.05
                bounds = _bucket(mean * 1.4)
                high = "" if math.isinf(bounds[1]) else bounds[1]
                figures = {"mean": mean, "p95": bounds[0], "p95_low": bounds[0], "p95_high": high}
                rows.append(_row(level, ENGINE, "server.queue", "histogram", increase=len(waits), **figures))
        return rows

    def info(self, epoch):
        """Return the entry of run.json."""
        sources = [_source(ENGINE, "http://gpu-1:8000/metrics", self.engine, "208 of 208 scrapes answered, 4 ms each")]
        if self.gpu:
            sources.append(_source(GPU, "nvml", "NVIDIA H100 80GB", "208 samples"))
        sources.append(
            _source(MACHINE, "http://gpu-1:7000/metrics", "llmlocust observe", "208 of 208 scrapes answered")
        )
        if self.failed:
            sources.append(
                _source("other", "http://gpu-2:9100/metrics", None, to_json(self.failed)) | {"state": "failed"}
            )
        events = []
        if self.silent:
            began, ended = self.silent
            event = {"time": epoch + began, "kind": "silent", "source": ENGINE, "seconds": ended - began, "says": ""}
            events.append(event)
        if self.restart:
            event = {"time": epoch + self.restart, "kind": "restart", "source": ENGINE, "seconds": 0.0, "says": ""}
            events.append(event)
        return {"sources": sources, "events": events}


def _source(name, url, engine, says):
    return {"name": name, "url": url, "engine": engine, "state": "ok", "says": says, "settings": {}, "exposes": []}


def _row(level, source, key, kind, **figures):
    cells = {"level": level.index, "source": source, "metric": key, "labels": "", "kind": kind}
    return {**dict.fromkeys(TELEMETRY_LEVEL_COLUMNS, ""), **cells, **figures}


def _gauge_or_counter(level, source, key, series):
    ordered = sorted(series)
    figures = {"samples": len(series), "mean": sum(series) / len(series), "min": ordered[0], "max": ordered[-1]}
    figures |= {"p50": ordered[len(series) // 2], "p95": ordered[int(0.95 * (len(series) - 1))]}
    if VOCABULARY[key].unit == "/s":
        return _row(level, source, key, "counter", increase=sum(series), **figures)
    return _row(level, source, key, "gauge", **figures)


def _histogram(histogram, offset):
    figures = {"mean": histogram.mean + offset}
    for name, q in (("p50", 0.5), ("p95", 0.95)):
        low, high = _bucket(histogram.quantile(q) + offset)
        figures |= {name: low, f"{name}_low": low, f"{name}_high": "" if math.isinf(high) else high}
    return figures


def _bucket(value):
    return next((low, high) for low, high in pairwise(_BUCKETS) if value <= high)
