"""The vocabulary of telemetry: one name for each thing that servers, GPUs and machines report, whatever the exporter.

`llmlocust.observe` translates the names of each exporter into this vocabulary. Thresholds, the report and the causes read
only it. A metric that is not in it keeps its own name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from llmlocust.text import figures as words

SUM, MAX, MEAN = "sum", "max", "mean"
"""How values of several engines, replicas, GPUs or machines become one."""

SHARE = "share"
"""The unit of a number from 0 to 1, which is shown as a percentage."""
PER_SECOND = "/s"
"""The unit of a counter, whose value is its increase per second."""


@dataclass(frozen=True)
class TelemetryMetric:
    """A metric of the vocabulary."""

    key: str
    name: str
    """Name on pages, without its unit."""
    unit: str
    """SHARE, PER_SECOND, "s", "tokens", "cores", "bytes", "W", "MHz", "°C", or empty for a number of things."""
    over: str
    """SUM, MAX or MEAN over engines, replicas, GPUs and machines."""
    is_main: bool = False
    """Whether the report's table of telemetry has a row for it."""


@dataclass(frozen=True)
class TelemetrySummary:
    """One metric of telemetry over the window of a level, in the unit of the metric; NaN for a figure that is not known."""

    samples: int = 0
    """Number of values. A value that an exporter repeats until its next update counts once. Of several sources together: the
    number of the source with the fewest."""
    mean: float = math.nan
    """A gauge: weighted by time. A counter: its increase per second. A duration: the mean of what ended in the window."""
    min: float = math.nan
    max: float = math.nan
    """Of the values of single scrapes, as all further figures."""
    p50: float = math.nan
    p95: float = math.nan
    increase: float = math.nan
    """Increase of a counter in the window; of a duration, the number of values."""
    increase_bounds: tuple[float, float] | None = None
    """A counter: the bounds of its increase. Its value at a border of the window lies between two scrapes."""
    p50_bounds: tuple[float, float] | None = None
    """A histogram: the bounds of the bucket that the percentile of all its values lies in."""
    p95_bounds: tuple[float, float] | None = None

    def __getitem__(self, statistic: str) -> float:
        """Return a statistic by its name: mean, min, max, p50, p95. NaN for another one."""
        return getattr(self, statistic) if statistic in ("mean", "min", "max", "p50", "p95") else math.nan


State: TypeAlias = Literal["ok", "failed", "not exposed"]


@dataclass(frozen=True)
class TelemetrySource:
    """A source of a run, as its files describe it."""

    name: str
    url: str
    engine: str | None = None
    """Name and version of what answered: "vLLM 0.33.0"; None if it was not recognised."""
    state: State = "ok"
    says: str = ""
    """One line: how often it answered, and why it failed."""
    settings: dict[str, str] = field(default_factory=dict)
    """Settings that it reported, by the name of the server's option."""
    exposes: tuple[str, ...] = ()
    """Keys of the vocabulary that it reported."""


@dataclass(frozen=True)
class TelemetryEvent:
    """An event that telemetry shows."""

    time: float
    """Epoch seconds."""
    kind: Literal["restart", "silent"]
    """restart: counters began anew. silent: the source did not answer."""
    source: str
    seconds: float = 0.0
    """Duration of a silence."""
    says: str = ""


VOCABULARY: dict[str, TelemetryMetric] = {
    metric.key: metric
    for metric in (
        # the engine
        TelemetryMetric("running", "requests running", "", SUM, is_main=True),
        TelemetryMetric("running.limit", "limit of requests running", "", SUM),
        TelemetryMetric("waiting", "requests waiting", "", SUM, is_main=True),
        TelemetryMetric("waiting.deferred", "requests waiting for something other than room", "", SUM),
        TelemetryMetric("kv.usage", "KV cache in use", SHARE, MAX, is_main=True),
        TelemetryMetric("kv.tokens", "tokens that fit into the KV cache", "tokens", SUM),
        TelemetryMetric("preemptions", "preemptions", PER_SECOND, SUM, is_main=True),
        TelemetryMetric("cached_share", "prompt tokens from the prefix cache", SHARE, MEAN, is_main=True),
        TelemetryMetric("tokens_per_step", "tokens per step", "tokens", MEAN, is_main=True),
        TelemetryMetric("steps", "steps", PER_SECOND, SUM),
        TelemetryMetric("prompt_tokens", "prompt tokens", PER_SECOND, SUM),
        TelemetryMetric("computed_tokens", "prompt tokens computed", PER_SECOND, SUM),
        TelemetryMetric("generation_tokens", "output tokens", PER_SECOND, SUM, is_main=True),
        TelemetryMetric("finished", "requests finished", PER_SECOND, SUM),
        TelemetryMetric("aborted", "requests aborted", PER_SECOND, SUM),
        TelemetryMetric("failed", "requests failed", PER_SECOND, SUM),
        TelemetryMetric("rejected", "requests rejected", PER_SECOND, SUM),
        TelemetryMetric("model.offloaded", "model outside GPU memory", SHARE, MAX),
        TelemetryMetric("server.queue", "time in the server's queue", "s", MEAN, is_main=True),
        TelemetryMetric("server.prefill", "prefill time", "s", MEAN, is_main=True),
        TelemetryMetric("server.decode", "decode time", "s", MEAN),
        TelemetryMetric("server.ttft", "TTFT on the server", "s", MEAN, is_main=True),
        TelemetryMetric("server.itl", "ITL on the server", "s", MEAN),
        TelemetryMetric("server.tpot", "TPOT on the server", "s", MEAN),
        TelemetryMetric("server.e2e", "end-to-end time on the server", "s", MEAN, is_main=True),
        # a proxy or router in front of it
        TelemetryMetric("proxy.in_flight", "requests in the proxy", "", SUM),
        TelemetryMetric("proxy.queued", "requests queued in the proxy", "", SUM),
        TelemetryMetric("proxy.requests", "requests through the proxy", PER_SECOND, SUM),
        TelemetryMetric("proxy.failed", "failed requests of the proxy", PER_SECOND, SUM),
        TelemetryMetric("proxy.overhead", "time added by the proxy", "s", MEAN),
        TelemetryMetric("proxy.queue", "time in the proxy's queue", "s", MEAN),
        TelemetryMetric("proxy.ttft", "TTFT at the proxy", "s", MEAN),
        TelemetryMetric("proxy.e2e", "end-to-end time at the proxy", "s", MEAN),
        # GPUs
        TelemetryMetric("gpu.utilisation", "GPU busy", SHARE, MEAN, is_main=True),
        TelemetryMetric("gpu.active", "GPU engine active", SHARE, MEAN),
        TelemetryMetric("gpu.tensor_active", "tensor cores active", SHARE, MEAN, is_main=True),
        TelemetryMetric("gpu.dram_active", "GPU memory bandwidth in use", SHARE, MEAN, is_main=True),
        TelemetryMetric("gpu.memory_busy", "GPU memory busy", SHARE, MEAN),
        TelemetryMetric("gpu.memory", "GPU memory in use", SHARE, MAX, is_main=True),
        TelemetryMetric("gpu.power", "GPU power", "W", SUM, is_main=True),
        TelemetryMetric("gpu.power_limit", "GPU power limit", "W", SUM),
        TelemetryMetric("gpu.energy", "GPU energy", "J/s", SUM),
        TelemetryMetric("gpu.clock", "GPU clock", "MHz", MEAN, is_main=True),
        TelemetryMetric("gpu.temperature", "GPU temperature", "°C", MAX),
        TelemetryMetric("gpu.throttled", "GPU throttled", SHARE, MAX, is_main=True),
        # the machine and the server's processes
        TelemetryMetric("cpu", "CPU of the machine", SHARE, MAX, is_main=True),
        TelemetryMetric("container.cpu", "CPU of the containers", "cores", SUM),
        TelemetryMetric("container.memory", "memory of the containers", SHARE, MAX),
        TelemetryMetric("cpu.throttled", "container throttled", SHARE, MAX),
        TelemetryMetric("process.cpu", "CPU of the busiest process", "cores", MAX, is_main=True),
        TelemetryMetric("process.thread_cpu", "CPU of the busiest thread", "cores", MAX),
        TelemetryMetric("process.memory", "memory of the server's processes", "bytes", SUM, is_main=True),
        TelemetryMetric("process.swap", "swap of the server's processes", "bytes", SUM),
        TelemetryMetric("process.threads", "threads of the server's processes", "", SUM),
        TelemetryMetric("process.files", "open files of the server's processes", SHARE, MAX),
        TelemetryMetric("process.switches", "context switches of the server's processes", PER_SECOND, SUM),
        TelemetryMetric("memory", "memory of the machine", SHARE, MAX, is_main=True),
        TelemetryMetric("swap", "swap of the machine", "bytes", SUM),
        TelemetryMetric("network.sent", "bytes sent", PER_SECOND, SUM),
        TelemetryMetric("network.retransmits", "TCP retransmits", PER_SECOND, SUM, is_main=True),
        TelemetryMetric("network.drops", "connections dropped by a full backlog", PER_SECOND, SUM),
        TelemetryMetric("oom_kills", "processes killed for memory", PER_SECOND, SUM),
        TelemetryMetric("restarts", "restarts", PER_SECOND, SUM, is_main=True),
    )
}
"""The metrics by key."""


def in_words(key: str, value: float) -> str:
    """Return a value of a metric with its unit; of a metric that is not in the vocabulary, as a number."""
    metric = VOCABULARY.get(key)
    return words.amount(value, metric.unit if metric else "")
