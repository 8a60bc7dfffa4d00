"""`Rule`: how one metric of the vocabulary is computed from the metrics that an exporter has. Pure data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["gauge", "counter", "rate", "ratio", "histogram", "changes"]
Labels: TypeAlias = Mapping[str, str | tuple[str, ...]]
"""Labels with the accepted value or values. A value that begins with `!` is excluded; if all are, any other is accepted.
As in Prometheus, a label that a series lacks is empty: `""` accepts only series without it, `"!"` only series with it."""


@dataclass(frozen=True)
class Rule:
    """The computation of one metric of the vocabulary from an exposition.

    gauge: the series of `names`, over engines by the vocabulary's rule; with `per`, the sum of the series of `names`
    divided by the sum of those of `per`, at the same scrape.
    counter: the sum of counters; its value is the increase per second.
    rate: the increase of counters per second, such as CPU seconds per second: it is summarised like a gauge.
    ratio: the increase of the counters `names` divided by that of the counters `per`.
    histogram: a histogram, or a pair of counters `_sum` and `_count`: `names` are without suffix.
    changes: the number of changes of a gauge per second, such as of a start time. With `by`, the changes of the smallest
    value of each group: the oldest process is the server, and younger ones may come and go.

    The exposition decides and not the type that it states: several exporters state `untyped` or `gauge` for counters.
    """

    key: str
    """The metric of the vocabulary."""
    kind: Kind
    names: tuple[str, ...]
    """Names of the exporter, newest first: the first that the exposition has is used. A counter's name is without
    `_total`; both forms are accepted, and only one of them counts if the exposition has both, as Ray's has. A counter may
    be the `_sum` or the `_count` of a histogram."""
    per: tuple[str, ...] = ()
    """Names of the denominator. If `adds` is true, all of them are added; otherwise the first that exists is used."""
    where: Labels = field(default_factory=dict)
    """Only series of `names` with these labels count. A counter of which no series has them yet is 0."""
    per_where: Labels = field(default_factory=dict)
    minus: tuple[str, ...] = ()
    """Gauges that are subtracted, such as free from total. All of them are needed."""
    product: tuple[str, ...] = ()
    """Labels of an info metric whose product is the value, such as blocks and their size. Unknown if one is no number."""
    scale: float = 1.0
    """Factor from the exporter's unit to that of the vocabulary."""
    complement: bool = False
    """The value is 1 minus the ratio, such as 1 - idle / all."""
    adds: bool = False
    """All series of all `names` (and of all `per`) are added, not only those of the first name that exists. All names are
    needed: a part of a sum is no sum."""
    by: tuple[str, ...] = ()
    """Labels by which series are added first. The vocabulary's rule applies to these sums, or to their quotients."""
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
    """Several rules of one key are alternatives, best first: the first that has a value is used."""
    version: tuple[str, str] | None = None
    """Name of an info metric and the label of it with the version, if there is one."""
    updates_s: float = 0.0
    """Seconds between two updates of its values if they are longer than a second by default, as DCGM's 30 s."""
    digits: int = 0
    """Significant digits with which it writes values, if that makes an increase uncertain."""
    blank: float = math.inf
    """Values from this one on mean that there is no value."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings that the exposition shows, by the name of the server's option: "METRIC{label}" is the value of a label,
    "METRIC" the value of a metric."""
    is_fallback: bool = False
    """Its metrics are used only if no other source has them: a server and llmlocust itself may report one process."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """Other beginnings of its names, each with the beginning that signs, rules and settings have for it."""

    @property
    def exposes(self) -> frozenset[str]:
        """The metrics of the vocabulary that this exporter can have. It exposes no other, whatever its options are."""
        return frozenset(rule.key for rule in self.rules)

    def renamed(self, name: str) -> str:
        """Return the name that the rules have for a name of the exposition."""
        for beginning, instead in self.renames.items():
            if name.startswith(beginning):
                return instead + name.removeprefix(beginning)
        return name
