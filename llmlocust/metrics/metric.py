"""`Metric`: the properties of a metric, and `METRICS`, the table of all metrics. Pure.

Every list of metrics in this package is a comprehension over the table, in its order. A new metric of a request needs
one entry here and one field of the Record with its value.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The kind of quantity that a metric measures."""

    LATENCY = "latency"
    """Seconds; milliseconds in files and in JSON."""
    RATE = "rate"
    """Per second."""
    SHARE = "share"
    """From 0 to 1."""


@dataclass(frozen=True)
class Export:
    """How a latency is exported to Prometheus."""

    name: str
    """vLLM's name of the metric, without prefix and unit."""
    bounds: tuple[float, ...]
    """Upper bounds of the buckets, in seconds."""


@dataclass(frozen=True)
class Metric:
    """One metric. A latency is counted from one of four sources: `on_record`, `values`, `from_due` or `longest_of`."""

    key: str
    """Name in code and in thresholds. In the levels file it precedes the statistic in column names."""
    name: str
    """Full name, as used in sentences."""
    short: str
    """Name in tables and legends."""
    kind: Kind = Kind.LATENCY

    on_record: bool = False
    """Whether the Record and the requests file have one value per request under the key."""
    values: str = ""
    """Field of the Record with the values of a request. A level pools the values of all its requests."""
    from_due: str = ""
    """Metric to which this one adds the schedule delay, in open load."""
    longest_of: str = ""
    """Pooled metric of which this one is a request's maximum."""

    failures_count: bool = False
    """Whether a threshold on a percentile counts each failed request as infinitely slow."""
    has_ranges: bool = False
    """Whether percentiles become ranges if the load generator read late."""
    grows_with_backlog: bool = False
    """Whether a backlog makes it longer. A failed request has no value of such a latency."""
    floor: float = 0.0
    """Smallest change within a level that matters, in seconds."""
    derived_floor: float | None = None
    """Lowest threshold, in seconds, that is derived if the user gives none. None: no threshold is derived."""

    in_thresholds: bool = True
    """Whether a threshold may name it."""
    in_json: bool = True
    """Whether the levels of the JSON report have it."""
    in_live_view: bool = False
    """Whether the live snapshot has it for each level."""
    in_locusts_table: bool = False
    """Whether Locust's own table has a row of it for each request name."""
    in_phases: bool = False
    """Whether the table of a plan's phases has its p95."""
    over_time: bool = False
    """Whether the live snapshot has it for each second."""
    percentiles: tuple[str, ...] = ()
    """Statistics that the tables of levels show, in addition to those of thresholds. Empty: no table shows the metric."""
    at_a_glance: tuple[str, ...] = ()
    """Statistics that a comparison shows for each run."""
    compared: tuple[str, ...] = ()
    """Statistics that a comparison tests."""
    drawn: tuple[str, ...] = ()
    """Statistics that a comparison plots over the load."""
    noise_of: str = ""
    """Metric whose load noise also applies to this one. Empty: it has its own."""
    export: Export | None = None
    table_words: str = ""
    """Words that denote it in the tables of other tools."""

    @property
    def is_counted(self) -> bool:
        """Whether levels have a histogram of it."""
        return bool(self.on_record or self.values or self.from_due)

    @property
    def is_of_request(self) -> bool:
        """Whether a single request has a value of it, so that the request can be judged by it."""
        return bool(self.on_record or self.from_due or self.longest_of)


# vLLM's bounds, finer at the low end, so that histograms of the server and of the client can be overlaid
_TOKEN_BOUNDS = (
    *(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0),
    *(2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
_FIRST_BOUNDS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0),
    *(80.0, 160.0, 640.0, 2560.0),
)
_WHOLE_BOUNDS = (
    *(0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)

_TABLE = (
    Metric(
        "ttft",
        "time to first token",
        "TTFT",
        on_record=True,
        failures_count=True,
        has_ranges=True,
        grows_with_backlog=True,
        floor=0.005,
        derived_floor=0.2,
        in_live_view=True,
        in_locusts_table=True,
        in_phases=True,
        over_time=True,
        percentiles=("p50", "p95", "p99"),
        at_a_glance=("p50", "p95"),
        compared=("mean", "p50", "p95", "p99"),
        drawn=("p50", "p95"),
        export=Export("time_to_first_token", _FIRST_BOUNDS),
        table_words="ttft",
    ),
    Metric(
        "ttfo",
        "time to first output token",
        "TTFO",
        on_record=True,
        failures_count=True,
        grows_with_backlog=True,
        percentiles=("p95",),
        compared=("p95",),
    ),
    Metric(
        "itl",
        "inter-token latency",
        "ITL",
        values="itls",
        has_ranges=True,
        in_live_view=True,
        in_phases=True,
        over_time=True,
        percentiles=("p50", "p99"),
        drawn=("p50", "p99"),
        export=Export("inter_token_latency", _TOKEN_BOUNDS),
        table_words="gap gaps itl tbt intertoken",
    ),
    # The median ITL of a request measures the same as TPOT, but it jumps: the steps of a batch have few distinct lengths.
    Metric(
        "itl_max",
        "longest ITL of a request",
        "longest ITL",
        longest_of="itl",
        in_thresholds=False,
        in_json=False,
        compared=("p50",),
        noise_of="tpot",
    ),
    Metric(
        "tpot",
        "time per output token",
        "TPOT",
        on_record=True,
        floor=0.001,
        in_live_view=True,
        in_locusts_table=True,
        percentiles=("p50",),
        at_a_glance=("p50",),
        compared=("p50", "p95"),
        export=Export("time_per_output_token", _TOKEN_BOUNDS),
        table_words="tpot",
    ),
    Metric(
        "e2e",
        "end-to-end time",
        "end to end",
        on_record=True,
        failures_count=True,
        grows_with_backlog=True,
        floor=0.05,
        derived_floor=0.5,
        in_live_view=True,
        in_phases=True,
        percentiles=("p50", "p95", "p99"),
        at_a_glance=("p95",),
        compared=("p50", "p95", "mean"),
        drawn=("p95", "mean"),
        export=Export("e2e_request_latency", _WHOLE_BOUNDS),
        table_words="e2e e2el",
    ),
    Metric("connect", "connect time", "connect", on_record=True, in_json=False),
    Metric("tls", "TLS handshake", "TLS handshake", on_record=True, in_thresholds=False, in_json=False),
    Metric("client_queue", "client queue time", "client queue", on_record=True, in_json=False),
    Metric("delay", "schedule delay", "schedule delay", on_record=True),
    Metric(
        "ttft_due",
        "time to first token from when it was due",
        "TTFT from due",
        from_due="ttft",
        failures_count=True,
    ),
    Metric(
        "e2e_due",
        "end-to-end time from when it was due",
        "end to end from due",
        from_due="e2e",
        failures_count=True,
    ),
    Metric(
        "lag",
        "read lag of the load generator",
        "read lag",
        values="lags",
        in_thresholds=False,
        in_json=False,
        in_live_view=True,
    ),
    Metric("errors", "share of requests that failed", "errors", Kind.SHARE),
    Metric("throughput", "throughput", "throughput", Kind.RATE),
    Metric("goodput", "requests per second that meet every threshold", "goodput", Kind.RATE),
    Metric("output_tokens_per_s", "output tokens a second", "output tokens/s", Kind.RATE),
)
METRICS: dict[str, Metric] = {metric.key: metric for metric in _TABLE}
