"""A metric that nothing but this module knows: imported before the rest of the package, in a process of its own."""

from llmlocust.metrics import metric
from llmlocust.stream import record


class Record(record.Record):
    """A record with one more value."""

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
