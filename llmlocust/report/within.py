"""What a run's files tell of the time inside its levels, second by second and request by request.

Tables are the run's frames, in the files' units; what comes out is in seconds and shares, by level.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from llmlocust.numbers.formats import QUANTILES
from llmlocust.numbers.levels import LevelFigures, Summary
from llmlocust.numbers.thresholds import Threshold


def with_telemetry(
    levels: Sequence[LevelFigures], telemetry: pd.DataFrame | None, thresholds: Collection[Threshold]
) -> list[LevelFigures]:
    """The levels with whatever telemetry the thresholds ask for, of their measured windows."""
    asked = {each.metric for each in thresholds if each.is_telemetry}
    if telemetry is None or not asked:
        return list(levels)
    source, metric = (telemetry[name].fillna("").str.lower() for name in ("source", "metric"))
    # a name of Prometheus has its source in itself
    name = (source + "." + metric).where(~metric.isin(asked), metric)
    rows = telemetry.assign(name=name)[name.isin(asked)].dropna(subset=["time", "value"])
    return [replace(each, telemetry={**each.telemetry, **_meanwhile(each, rows)}) for each in levels]


def _meanwhile(level: LevelFigures, rows: pd.DataFrame) -> Mapping[str, tuple[Summary, ...]]:
    inside = rows[(rows["time"] >= level.settled) & (rows["time"] < level.ended)]
    found: dict[str, list[Summary]] = {}
    for (name, *_), series in inside.groupby(["name", "source", "metric", "labels"], dropna=False)["value"]:
        quantiles = {quantile: float(series.quantile(q)) for quantile, q in QUANTILES.items()}
        found.setdefault(str(name), []).append(
            Summary(len(series), float(series.mean()), float(series.max()), quantiles)
        )
    return {name: tuple(summaries) for name, summaries in found.items()}
