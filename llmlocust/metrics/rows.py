"""The columns of a run's tables, and the rows of its requests. `level_rows` has those of the levels."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from llmlocust.metrics.levels import Level
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.sums import Sums

ON_RECORD = tuple(key for key, metric in METRICS.items() if metric.on_record)
"""Metrics of which a request has one value, or none."""
values_of = attrgetter(*ON_RECORD)

REQUEST_COLUMNS = [
    "level",  # the level during which it was sent; empty outside every level
    "measured",  # 1: sent after the level's warm-up and before it ended, so it counts in the level's figures
    "sent",
    "name",
    "outcome",  # "ok" or one of ERROR_KINDS
    "error",  # the server's words, without ids and numbers
    "status",  # HTTP status, 0 where none came
    *ON_RECORD,
    "itl_p50",
    "itl_max",
    "stalls",
    "duration",  # until the response was read to its end, or failed
    "lag_max",  # the longest that a read had waited for the generator
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "token_source",  # usage | chunk_usage | chunks
    "chunks",  # token-bearing deltas
    "coalesced",  # of those, how many came in the same read as an earlier one
    "uncertain",  # gaps of which only the sum is known: the generator read late
    "finish",  # the server's finish_reason
    "weight",  # how many requests this row stands for, where rows are sampled
    "worker",
    "id",  # what was sent as X-Request-Id, to find the request in the server's log
    "right",  # 1 or 0 where the answer was judged
    "inputs",  # texts embedded or documents ranked; empty where text comes out
    "unread",  # of an answer whose tokens the server counted and of which none was seen: the fields that are not read
]

TIMELINE_COLUMNS = [
    "time",
    "level",
    "users",
    "in_flight",
    "backing_off",  # users that are pausing after a failed request
    "sent",
    "ended",
    "failed",  # of those, without the ones that the run itself cut off
    "tokens",
    "client_cpu",  # share of one core, of the busiest process
    "loop_lag",  # how late the busiest process's event loop woke, ms
    "client_lag",  # the longest that a read had waited for its process, ms
    "turn_wait",  # the longest time that a request or an answer waited for its turn in a process, ms
    "throttled",  # share of the second in which a CPU limit (cgroup) kept a process from running; the worst process
    "core_wait",  # share of the second in which a process was ready to run and had no core; the worst process
    "coalesced",  # share of the token-bearing deltas that came in the same read as an earlier one
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
"""How each process that runs users did, by the second; of more than 100 of them, in every so manieth second."""

HISTOGRAM_COLUMNS = ["level", "name", "metric", "bucket", "count"]

TELEMETRY_COLUMNS = ["time", "source", "metric", "labels", "value"]


def request_row(sums: Sums, level: Level | None, measured: bool, sent: float, weight: int, worker: str) -> list[Any]:
    """One row of the requests file, in the order of REQUEST_COLUMNS. `sent` is a moment of the run here."""
    record, gaps = sums.record, sums.histograms["itl"]
    return [
        "" if level is None else level.index,
        int(measured),
        sent,
        record.name,
        record.outcome,
        record.error,
        record.status,
        # as _ms, with fewer calls
        *["" if value is None else round(value * 1000.0, 3) for value in values_of(record)],
        _ms(gaps.quantile(0.5)) if gaps else "",
        _ms(gaps.most) if gaps else "",
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
    ]


def rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


def _ms(seconds: float | None) -> float | str:
    return "" if seconds is None else round(seconds * 1000.0, 3)
