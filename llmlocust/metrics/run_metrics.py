"""The metrics of a whole run that gates can name: what a fault did, and how fast a figure drifted in a soak. Pure.

recovery < 30s      recovery[restart] < 30s      lost < 10      depth < 50%      overshoot < 2x      metastable = no
memory.slope < 1MB/1k requests      ttft.slope < 10ms/h      recovery < 30s or unmeasured
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from llmlocust.text import figures as words
from llmlocust.text.message import message

_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_BYTES = {"B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
_NO, NO = "no", 0.0
"""The only limit of a metric that is true or false, and its value."""


@dataclass(frozen=True)
class RunMetric:
    """A metric of a run."""

    key: str
    units: Mapping[str, float]
    """The units of a limit, each with its size."""
    example: str
    """A valid limit."""
    comparisons: tuple[str, ...] = ("<", "<=")
    is_drift: bool = False

    def text(self, value: float) -> str:
        """Return a value in words."""
        if self.units is _SECONDS:
            return words.duration(value)
        if self.units is _PER_HOUR:
            return message("{value} per hour", value=words.signed(value, words.duration))
        if self.units is _PER_1000:
            return message("{value} per 1,000 requests", value=words.signed(value, words.size))
        if self.units is _SHARE_PER_HOUR:
            return message("{value} per hour", value=words.signed(value, words.share))
        if self.units is _COUNT_PER_HOUR:
            return message("{value} per hour", value=words.signed(value, words.digits))
        if self.units is _SHARE:
            return words.share(value)
        if self.units is _FLAG:
            return message("no") if value == NO else message("yes")
        return f"{words.digits(value)}x" if self.units is _FACTOR else words.digits(value)


_COUNT, _SHARE, _FACTOR, _FLAG = {"": 1.0}, {"%": 0.01}, {"x": 1.0}, {_NO: 1.0}
_PER_HOUR = {"ms/h": 0.001, "s/h": 1.0}
_PER_1000 = {f"{unit}/1k requests": size for unit, size in _BYTES.items()}
_COUNT_PER_HOUR, _SHARE_PER_HOUR = {"/h": 1.0}, {"%/h": 0.01}
_BOTH = ("<", "<=", ">", ">=")

RUN_METRICS: dict[str, RunMetric] = {
    metric.key: metric
    for metric in (
        RunMetric("impact", _SECONDS, "impact < 5s", _BOTH),
        RunMetric("detect", _SECONDS, "detect < 5s", _BOTH),
        RunMetric("recovery", _SECONDS, "recovery < 30s"),
        RunMetric("full_recovery", _SECONDS, "full_recovery < 2m"),
        RunMetric("first_success", _SECONDS, "first_success < 10s"),
        RunMetric("outage", _SECONDS, "outage < 60s"),
        RunMetric("lost", _COUNT, "lost < 10"),
        RunMetric("cut_streams", _COUNT, "cut_streams < 5"),
        RunMetric("lost_tokens", _COUNT, "lost_tokens < 1000"),
        RunMetric("slo_debt", _SECONDS, "slo_debt < 60s"),
        RunMetric("depth", _SHARE, "depth < 50%"),
        RunMetric("overshoot", _FACTOR, "overshoot < 2x"),
        RunMetric("backlog", _COUNT, "backlog < 20"),
        RunMetric("drain", _SECONDS, "drain < 30s"),
        RunMetric("amplification", _FACTOR, "amplification < 3x"),
        RunMetric("metastable", _FLAG, "metastable = no", ("=",)),
        RunMetric("ttft.slope", _PER_HOUR, "ttft.slope < 10ms/h", is_drift=True),
        RunMetric("tpot.slope", _PER_HOUR, "tpot.slope < 1ms/h", is_drift=True),
        RunMetric("e2e.slope", _PER_HOUR, "e2e.slope < 100ms/h", is_drift=True),
        RunMetric(
            "memory.slope",
            _PER_1000,
            "memory.slope < 1MB/1k requests",
            is_drift=True,
        ),
        RunMetric("threads.slope", _COUNT_PER_HOUR, "threads.slope < 1/h", is_drift=True),
        RunMetric("files.slope", _SHARE_PER_HOUR, "files.slope < 1%/h", is_drift=True),
    )
}
"""The metrics by key. The keys of faults are the fields of analysis.faults.FaultReport."""

_NAME = re.compile(r"\s*(?P<key>[a-z_0-9]+(?:\.slope)?)\s*(?:\[(?P<fault>[^\]]*)\])?\s*(?=<|>|=|$)", re.IGNORECASE)
_LIMIT = re.compile(
    r"(?P<comparison><=|>=|<|>|=)\s*(?P<limit>[0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?|no\b)?\s*(?P<unit>.*?)\s*"
    r"(?P<unmeasured>\bor\s+unmeasured)?\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class RunLimit:
    """The parts of a gate on a metric of a run."""

    metric: RunMetric
    fault: str
    """The name of the fault that it applies to; empty: every fault."""
    comparison: str
    limit: float
    unit: str
    or_unmeasured: bool


def read_limit(text: str) -> RunLimit | None:
    """Return the parts of a gate; None if it names no metric of a run. Raises ValueError with a one-line message."""
    name = _NAME.match(text)
    metric = RUN_METRICS.get(name["key"].lower()) if name else None
    if name is None or metric is None:
        return None
    limit = _LIMIT.fullmatch(text[name.end() :])
    if "@" in text[name.end() :]:
        raise ValueError(
            f"{' '.join(text.split())!r}: a fault and a drift have no load, so leave out @; name one fault like 'recovery[NAME] < 30s'"
        )
    if limit is None or limit["limit"] is None:
        raise ValueError(f"cannot read {' '.join(text.split())!r}; write it like '{metric.example}'")
    if metric.is_drift and name["fault"] is not None:
        raise ValueError(f"{metric.key} is measured over a soak, not for a fault; write it like '{metric.example}'")
    if limit["comparison"] not in metric.comparisons:
        raise ValueError(f"{' '.join(text.split())!r} is no condition that a run should meet; write '{metric.example}'")
    unit = _unit(metric, limit["limit"], limit["unit"])
    value = NO if metric.units is _FLAG else float(limit["limit"])
    fault = " ".join((name["fault"] or "").split())
    return RunLimit(metric, fault, limit["comparison"], value, unit, limit["unmeasured"] is not None)


def _unit(metric: RunMetric, limit: str, unit: str) -> str:
    """Return the unit of a limit as in the table."""
    is_flag = metric.units is _FLAG
    written = limit.lower() if is_flag else re.sub(r"\s*/\s*", "/", " ".join(unit.split()))
    if metric.units is _PER_1000:
        written = re.sub(r"/(?:1k|1000|k)(?: requests?)?$", "/1k requests", written, flags=re.IGNORECASE)
    known = {name.lower(): name for name in metric.units}
    if written.lower() not in known or (is_flag and unit):
        raise ValueError(f"{metric.key}: the limit does not fit; write it like '{metric.example}'")
    return known[written.lower()]
