"""`Rule`: how one metric of the vocabulary is computed from the metrics that an exporter has. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["gauge", "counter", "rate", "ratio", "histogram"]
Labels: TypeAlias = Mapping[str, str | tuple[str, ...]]
"""Labels with the accepted value or values. A value that begins with `!` is excluded."""


@dataclass(frozen=True)
class Rule:
    """The computation of one metric of the vocabulary from an exposition.

    gauge: the series of `names`, over engines by the vocabulary's rule; with `per`, the sum of the series of `names`
    divided by the sum of those of `per`, at the same scrape.
    counter: the sum of counters; its value is the increase per second.
    rate: the increase of counters per second, such as CPU seconds per second: it is summarised like a gauge. With
    `by`, the series are summed by these labels first, and the vocabulary's rule applies to the sums.
    ratio: the increase of the counters `names` divided by that of the counters `per`.
    histogram: a histogram, or a pair of counters `_sum` and `_count`: `names` are without suffix.
    """

    key: str
    """The metric of the vocabulary."""
    kind: Kind
    names: tuple[str, ...]
    """Names of the exporter, newest first: the first that the exposition has is used. A counter's name is without
    `_total`; both forms are accepted."""
    per: tuple[str, ...] = ()
    """Names of the denominator. If `adds` is true, all of them are added; otherwise the first that exists is used."""
    where: Labels = field(default_factory=dict)
    """Only series of `names` with these labels count."""
    per_where: Labels = field(default_factory=dict)
    scale: float = 1.0
    """Factor from the exporter's unit to that of the vocabulary."""
    complement: bool = False
    """The value is 1 minus the ratio, such as 1 - idle / all."""
    adds: bool = False
    """All series of all `names` (and of all `per`) are added, not only those of the first name that exists."""
    by: tuple[str, ...] = ()
    over: str = ""
    """SUM, MAX or MEAN instead of the vocabulary's rule."""
    absent_is_zero: bool = False
    """The exporter creates the series at its first event: an absent series is 0 and not unknown."""


@dataclass(frozen=True)
class Engine:
    """An exporter: how it is recognised, and its rules."""

    name: str
    """Name on pages: "vLLM"."""
    signs: tuple[str, ...]
    """Beginnings of names that only this exporter uses, such as "vllm:"."""
    rules: tuple[Rule, ...]
    version: tuple[str, str] | None = None
    """Name of an info metric and the label of it with the version, if there is one."""
    updates_s: float = 0.0
    """Seconds between two updates of its values if they are longer than a second by default, as DCGM's 30 s."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings that the exposition shows, by the name of the server's option: "METRIC{label}" is the value of a label,
    "METRIC" the value of a metric."""
