"""A metric that only this module defines. It is imported before the rest of the package, in its own process."""

from llmlocust.metrics import metric
from llmlocust.stream import record


class Record(record.Record):
    """A record with an additional value."""

    toy: float | None = None


record.Record = Record
metric.METRICS["toy"] = metric.Metric(
    "toy",
    "time to the toy",
    "toy time",
    on_record=True,
    failures_count=True,
    in_live_view=True,
    in_phases=True,
    over_time=True,
    percentiles=("p50",),
    at_a_glance=("p50",),
    compared=("p95",),
    export=metric.Export("time_to_toy", (0.1, 1.0)),
    table_words="toy",
)
