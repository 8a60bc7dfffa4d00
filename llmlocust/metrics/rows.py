"""Columns of a run's tables, and rows of the requests file. `level_rows` has the rows of the levels file."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from llmlocust.metrics.levels import Level
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.sums import Sums

ON_RECORD = tuple(key for key, metric in METRICS.items() if metric.on_record)
"""Metrics of which a request has at most one value."""
values_of = attrgetter(*ON_RECORD)

REQUEST_COLUMNS = [
    "level",  # the level during which it was sent; empty outside every level
    "measured",  # 1: sent after the level's warm-up and before its end, so it is in the level's figures
    "sent",
    "name",
    "outcome",  # "ok" or one of ERROR_KINDS
    "error",  # the server's error message, without ids and numbers
    "status",  # HTTP status; 0 without a response
    *ON_RECORD,
    "itl_p50",
    "itl_max",
    "stalls",
    "duration",  # until the end of the response or its failure
    "lag_max",  # the longest time that data waited to be read by the generator
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "token_source",  # usage | chunk_usage | chunks
    "chunks",  # token-bearing deltas
    "coalesced",  # chunks that arrived in the same read as an earlier one
    "uncertain",  # ITLs of which only a sum is known, because the generator read late
    "finish",  # the server's finish_reason
    "weight",  # number of requests that this row represents, if rows are sampled
    "worker",
    "id",  # the X-Request-Id header, to find the request in the server's log
    "right",  # 1 or 0 if the answer was judged
    "inputs",  # texts embedded or documents ranked; empty for generated text
    "unread",  # names of unread fields, if the server counted tokens of the answer but none was found
    "attempts",  # of the client, the first one included
]

TIMELINE_COLUMNS = [
    "time",
    "level",
    "users",
    "in_flight",
    "backing_off",  # users in a pause after a failed request
    "sent",
    "ended",
    "failed",  # requests of `ended` that failed, without those that the end of the run cut off
    "tokens",
    "client_cpu",  # share of one core, of the busiest process
    "loop_lag",  # delay of the event loop of the busiest process, ms
    "client_lag",  # the longest time that data waited to be read by its process, ms
    "turn_wait",  # the longest time that a request or an answer waited for its turn in a process, ms
    "throttled",  # share of the second in which a CPU limit (cgroup) throttled a process; the worst process
    "core_wait",  # share of the second in which a process was ready to run but had no core; the worst process
    "coalesced",  # share of token-bearing deltas that arrived in the same read as an earlier one
    "retries",  # attempts after the first ones of `sent`, in the second in which each began
]

WORKER_COLUMNS = [
    "time",
    "level",
    "worker",
    "users",
    "in_flight",
    "backing_off",
    "client_cpu",  # share of one core
    "loop_lag",
    "client_lag",
    "turn_wait",
    "throttled",  # share of the second
    "core_wait",
]
"""Gauges of each process that runs users, by second. With more than 100 processes, seconds are skipped."""

HISTOGRAM_COLUMNS = ["level", "name", "metric", "bucket", "count"]

TELEMETRY_COLUMNS = ["time", "source", "metric", "labels", "value"]
"""A metric of the vocabulary has its value (of a counter, the increase per second; of a ratio, that since the scrape \
before); another metric has the exporter's number."""

TELEMETRY_LEVEL_COLUMNS = [
    "level",
    "source",  # empty: all sources of a metric of the vocabulary
    "metric",  # a key of the vocabulary, or the exporter's own name
    "labels",
    "kind",  # gauge, counter, rate, ratio or histogram
    "samples",
    "mean",
    "min",
    "max",
    "p50",
    "p95",
    "increase",
    "increase_low",  # bounds of a counter's increase: its value at a border of the level lies between two scrapes
    "increase_high",
    "p50_low",  # bounds of the bucket of a histogram's percentile
    "p50_high",
    "p95_low",
    "p95_high",
]


def request_row(sums: Sums, level: Level | None, measured: bool, sent: float, weight: int, worker: str) -> list[Any]:
    """Return a row of the requests file in the order of REQUEST_COLUMNS. `sent` is a moment of the run here."""
    record, itls = sums.record, sums.histograms["itl"]
    return [
        "" if level is None else level.index,
        int(measured),
        sent,
        record.name,
        record.outcome,
        record.error,
        record.status,
        # inlined _ms, for speed
        *["" if value is None else round(value * 1000.0, 3) for value in values_of(record)],
        _ms(itls.quantile(0.5)) if itls else "",
        _ms(itls.max) if itls else "",
        record.stalls,
        _ms(record.duration),
        _ms(record.lag_max),
        *("" if n is None else n for n in (record.input_tokens, record.output_tokens, record.reasoning_tokens)),
        record.token_source,
        record.chunks,
        record.coalesced,
        record.uncertain,
        record.finish,
        weight,
        worker,
        record.id,
        "" if record.right is None else int(record.right),
        "" if record.inputs is None else record.inputs,
        record.unread,
        record.attempts,
    ]


def rounded(value: Any) -> Any:
    """Return a cell, rounded to three decimals if it is a float."""
    return round(value, 3) if isinstance(value, float) else value


def _ms(seconds: float | None) -> float | str:
    return "" if seconds is None else round(seconds * 1000.0, 3)
