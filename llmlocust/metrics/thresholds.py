"""Thresholds: the conditions that a level must meet to pass, in a readable notation. Pure.

    ttft.p95 < 500ms      e2e.p99 <= 2s      errors < 1%      goodput > 20/s
    ttft.p95 < 500ms ~ 1s                    gpu.utilisation < 85% ~ 95%

Two limits are two tiers: gold before the ~, tolerated after it. Other names are telemetry: of the vocabulary (`waiting`,
`kv.usage.p95`), or the exporter's own (`vllm:kv_cache_usage_perc`), or a source and a name (`table.cpu_percent`). Without a statistic, the mean is judged. If a metric has several
series, such as one per GPU, the worst is judged.

Percentiles of ttft, ttfo and e2e count failed requests as infinitely slow: a failed request never received its first
token. Other metrics, means and maxima include successful requests only.

Goodput judges each request separately. A request is good if it succeeded and meets the limit of every latency
threshold, regardless of the threshold's percentile.

A gate is a threshold that a run must meet to pass: at every level, or at the levels of one load.

    ttft.p95 < 500ms ~ 1s @ 100

A gate can also be a condition on the whole run: on a fault, or on the drift in a soak (metrics.run_metrics).
"""

from __future__ import annotations

import math
import operator
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.levels import LevelFigures, Tally
from llmlocust.metrics.metric import METRICS, Kind
from llmlocust.metrics.run_metrics import RUN_METRICS, RunMetric, read_limit
from llmlocust.metrics.telemetry import PER_SECOND, SHARE, VOCABULARY
from llmlocust.metrics.vocabulary import OK, QUANTILES
from llmlocust.text.message import term

_NAMED = {key: metric for key, metric in METRICS.items() if metric.in_thresholds}
DURATIONS = tuple(key for key, metric in _NAMED.items() if metric.kind is Kind.LATENCY)
STATISTICS = ("mean", *QUANTILES, "max")
SHARES = tuple(key for key, metric in _NAMED.items() if metric.kind is Kind.SHARE)
RATES = tuple(key for key, metric in _NAMED.items() if metric.kind is Kind.RATE)

Parsed = TypeVar("Parsed")

PASSES, FAILS, NOT_KNOWN = term("passes"), term("fails"), term("not known")
GOLD, TOLERATED = term("gold"), term("tolerated")

_ALIASES = {"tokens": "output_tokens_per_s"}
_WRITTEN = {"p99.9": "p99_9", "median": "p50"} | {name: name for name in STATISTICS}
_UNITS: dict[str, float] = {"ms": 0.001, "s": 1.0, "%": 0.01, "/s": 1.0, "": 1.0}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
_LOAD = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(?:users?|requests/s|/s)?\s*", re.IGNORECASE)
_LIMIT = r"(?P<{0}limit>[0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*(?P<{0}unit>ms|s|%|/s|)"
_SHAPE = re.compile(
    r"\s*(?P<name>[a-z_][a-z_0-9:./-]*?)\s*(?P<comparison><=|>=|<|>)\s*"
    rf"{_LIMIT.format('')}(?:\s*~\s*{_LIMIT.format('more_')})?\s*",
    re.IGNORECASE,
)
# Failed requests count as infinitely slow in these metrics: each request has exactly one value, a failed one never gets it.
_FAILURES_COUNT = tuple(key for key, metric in METRICS.items() if metric.failures_count)
_OF_REQUEST = tuple(key for key, metric in METRICS.items() if metric.is_of_request)


@dataclass(frozen=True)
class Threshold:
    """One condition on a level."""

    metric: str
    statistic: str
    """Statistic of a duration: mean, p50 … p99_9, max. Empty for other metrics."""
    comparison: str
    limit: float
    """As written, in `unit`."""
    unit: str
    gold: Threshold | None = None
    """The stricter limit, if the threshold has two tiers. This limit is then the tolerated one."""

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Read a threshold. Raises ValueError with a one-line message that has a valid example."""
        if read_limit(text):
            raise ValueError(
                f"threshold {text.strip()!r}: only a gate (--llm-threshold, llmlocust check) can judge a fault or a drift; here "
                f"levels are judged, so leave it out"
            )
        match = _SHAPE.fullmatch(text)
        if match is None and "@" in text:
            raise ValueError(
                f"threshold {text.strip()!r}: only a gate (--llm-threshold, llmlocust check) can apply to one level (@); here "
                f"every level is judged, so leave it out"
            )
        if match is None:
            raise ValueError(
                f"cannot read the threshold {' '.join(text.split())!r}; write it like 'ttft.p95 < 500ms', "
                f"'ttft.p95 < 500ms ~ 1s' or 'errors < 1%'"
            )
        metric, statistic = _split(match["name"].lower())
        comparison, limit, unit = match["comparison"], float(match["limit"]), match["unit"].lower()
        threshold = cls(metric, statistic, comparison, limit, unit)
        if match["more_limit"] is not None:
            tolerated, unit = float(match["more_limit"]), match["more_unit"].lower()
            threshold = cls(metric, statistic, comparison, tolerated, unit, gold=threshold)
        gold = threshold.gold
        if error := _error(threshold) or (gold and _error(gold)) or _tiers_error(threshold):
            raise ValueError(f"threshold {text.strip()!r}: {error}")
        return threshold

    def __str__(self) -> str:
        if self.gold is not None:
            return f"{self.gold} ~ {self.amount}"
        return f"{self.name} {self.comparison} {self.amount}"

    @property
    def amount(self) -> str:
        """The limit with its unit, as text."""
        short = f"{self.limit:g}"
        return f"{short if float(short) == self.limit else repr(self.limit)}{self.unit}"

    @property
    def name(self) -> str:
        return f"{self.metric}.{self.statistic}" if self.statistic else self.metric

    @property
    def bound(self) -> float:
        """The limit in seconds, as a share, or per second."""
        return self.limit * _UNITS[self.unit]

    @property
    def is_ceiling(self) -> bool:
        """Whether less is better."""
        return self.comparison.startswith("<")

    @property
    def is_duration(self) -> bool:
        return self.metric in DURATIONS

    @property
    def is_telemetry(self) -> bool:
        """Whether the metric is telemetry: reported by the server or another system, not measured here."""
        return _is_foreign(self.metric)

    @property
    def counts_failures(self) -> bool:
        """Whether a failed request counts as infinitely slow."""
        return self.metric in _FAILURES_COUNT

    def met_by(self, value: float) -> bool:
        return _COMPARE[self.comparison](value, self.bound)

    def measured(self, figures: LevelFigures, goodput: float | None = None) -> float:
        """Return the level's value in seconds, as a share, per second, or in the unit of the telemetry. NaN if not known."""
        if self.is_duration:
            return _duration(figures, self.metric, self.statistic)
        if self.metric == "goodput":
            return math.nan if goodput is None else goodput
        if self.is_telemetry:
            values = [series[self.statistic or "mean"] for series in figures.telemetry.get(self.metric, ())]
            known = [value for value in values if not math.isnan(value)]
            return (max(known) if self.is_ceiling else min(known)) if known else math.nan
        return float(getattr(figures, self.metric))

    def is_met(self, figures: LevelFigures, goodput: float | None = None) -> bool | None:
        """Return whether the level meets the threshold; None if its value is not known."""
        value = self.measured(figures, goodput)
        return None if math.isnan(value) else self.met_by(value)

    @property
    def allowed(self) -> float | None:
        """Share of requests (or of ITLs) that may be beyond the limit. None: the threshold does not limit a share."""
        if not self.is_ceiling:
            return None
        if self.metric == "errors":
            return self.bound
        return 1.0 - QUANTILES[self.statistic] if self.is_duration and self.statistic in QUANTILES else None

    def beyond(self, tally: Tally) -> tuple[int, int]:
        """Return the number of requests (or of ITLs) beyond the limit, and their total. Only for thresholds with `allowed`."""
        ended = tally.requests
        failed = ended - tally.outcomes[OK]
        if self.metric == "errors":
            return failed, ended
        durations = tally.histograms.get(self.metric) or Histogram()
        failed = failed if self.counts_failures else 0
        return durations.count - durations.up_to(self.bound) + failed, durations.count + failed

    @property
    def column(self) -> str | None:
        """Column of the requests file by which a single request is judged. None: single requests cannot be judged."""
        candidates = (self.metric, f"{self.metric}_{self.statistic}")
        return next((column for column in candidates if column in _OF_REQUEST), None)


@dataclass(frozen=True)
class RunThreshold(Threshold):
    """One condition on a run: on a fault, or on a drift. No level is judged by it."""

    fault: str = ""
    """The name of the fault that it applies to; empty: every fault."""
    or_unmeasured: bool = False
    """Whether a run in which the metric was not measured passes."""

    @classmethod
    def parse(cls, text: str) -> RunThreshold:
        """Read a condition on a run. Raises ValueError with a one-line message that has a valid example."""
        limit = read_limit(text)
        if limit is None:
            raise ValueError(f"cannot read {' '.join(text.split())!r}; write it like 'recovery < 30s'")
        return cls(
            limit.metric.key,
            "",
            limit.comparison,
            limit.limit,
            limit.unit,
            fault=limit.fault,
            or_unmeasured=limit.or_unmeasured,
        )

    def __str__(self) -> str:
        return super().__str__() + (" or unmeasured" if self.or_unmeasured else "")

    @property
    def of_run(self) -> RunMetric:
        return RUN_METRICS[self.metric]

    @property
    def name(self) -> str:
        return f"{self.metric}[{self.fault}]" if self.fault else self.metric

    @property
    def amount(self) -> str:
        return self.unit if self.comparison == "=" else super().amount

    @property
    def bound(self) -> float:
        """The limit in seconds, as a share, or in the unit of the metric."""
        return self.limit * self.of_run.units[self.unit]

    @property
    def is_telemetry(self) -> bool:
        return False


@dataclass(frozen=True)
class Gate:
    """A threshold that a run must meet to pass."""

    threshold: Threshold
    at: float | None = None
    """Load (users, or requests per second) of the levels that must meet it. None: every level."""

    @classmethod
    def parse(cls, text: str) -> Gate:
        """Read a threshold with or without ` @ LOAD`. Raises ValueError with a one-line message that has a valid example."""
        if read_limit(text):
            return cls(RunThreshold.parse(text))
        threshold, sign, load = text.partition("@")
        match = _LOAD.fullmatch(load)
        if sign and (match is None or not float(match[1]) > 0.0):
            raise ValueError(
                f"cannot read the load after @ in {' '.join(text.split())!r}; write the users or the rate of a level, "
                f"like 'ttft.p95 < 500ms @ 100'"
            )
        return cls(Threshold.parse(threshold), float(match[1]) if sign and match else None)

    def __str__(self) -> str:
        return str(self.threshold) if self.at is None else f"{self.threshold} @ {self.at:g}"

    @property
    def is_of_run(self) -> bool:
        """Whether the gate is a condition on the whole run. It applies to no level."""
        return isinstance(self.threshold, RunThreshold)

    def is_of(self, load: float) -> bool:
        """Whether the gate applies to levels of a load."""
        return not self.is_of_run and (self.at is None or math.isclose(self.at, load))


def parse_gates(text: str) -> list[Gate]:
    """Read gates that are separated by commas, as in an option. Raises ValueError with a one-line message."""
    return [Gate.parse(gate) for gate in text.split(",") if gate.strip()]


def thresholds_of(gates: Iterable[Gate]) -> list[Threshold]:
    """Return the thresholds of gates, to judge levels by if the user gave only gates. One per figure: the first."""
    first: dict[tuple[str, str], Threshold] = {}
    for gate in gates:
        if gate.is_of_run:
            continue
        first.setdefault((gate.threshold.metric, gate.threshold.statistic), gate.threshold)
    return list(first.values())


def tier(thresholds: Iterable[Threshold], figures: LevelFigures, goodput: float | None = None) -> str:
    """Return the tier of a level: GOLD, TOLERATED, FAILS or NOT_KNOWN. A single limit applies to both tiers."""
    thresholds = list(thresholds)
    met = [threshold.is_met(figures, goodput) for threshold in thresholds]
    if False in met:
        return FAILS
    if None in met or not met:
        return NOT_KNOWN
    return GOLD if all(threshold.is_met(figures, goodput) for threshold in golds(thresholds)) else TOLERATED


def golds(thresholds: Iterable[Threshold]) -> list[Threshold]:
    """Return the thresholds of the gold tier."""
    return [threshold.gold or threshold for threshold in thresholds]


def parse_toml(text: str, parse: Callable[[str], Parsed] = Threshold.parse) -> list[Parsed]:  # type: ignore[assignment]
    """Read thresholds (or what `parse` returns) from TOML, such as `ttft.p95 = "< 500ms ~ 1s"`. Raises ValueError with a
    one-line message.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise ValueError(f'not TOML: {problem}; write lines like ttft.p95 = "< 500ms ~ 1s"') from None
    thresholds = [parse(f"{name} {limit}") for name, limit in _leaves(table)]
    if not thresholds:
        raise ValueError('the file has no threshold; write lines like ttft.p95 = "< 500ms ~ 1s"')
    return thresholds


def load_toml(file: str, parse: Callable[[str], Parsed] = Threshold.parse) -> list[Parsed]:  # type: ignore[assignment]
    """Read thresholds (or what `parse` returns) from a TOML file. Raises ValueError with a one-line message that names it."""
    try:
        return parse_toml(Path(file).read_text(encoding="utf-8"), parse)
    except OSError as problem:
        raise ValueError(f"{file}: cannot be read ({problem.strerror})") from None
    except ValueError as problem:  # includes UnicodeDecodeError
        raise ValueError(f"{file}: {problem}") from None


def _leaves(table: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted names with their values: TOML makes a table of each component of a name."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        elif isinstance(value, str):
            yield f"{above}{key}", value
        else:
            error = f'{above}{key} is {value!r}; write it like {above}{key} = "< 500ms ~ 1s"'
            raise ValueError(error)  # noqa: TRY004  # the text is wrong, not a type in the code


def _split(name: str) -> tuple[str, str]:
    """Split a name into metric and statistic: `ttft.p95` has both, `gpu.utilisation` is only a metric."""
    for written, statistic in _WRITTEN.items():
        if name.endswith(f".{written}"):
            metric = name.removesuffix(f".{written}")
            return _ALIASES.get(metric, metric), statistic
    if _is_foreign(name):
        return name, ""
    metric, _, statistic = name.partition(".")
    return _ALIASES.get(metric, metric), statistic


def _is_foreign(metric: str) -> bool:
    """Whether a metric is telemetry: of the vocabulary, or with a source or a Prometheus name space before its name."""
    if metric in VOCABULARY:
        return True
    return metric.partition(".")[0] not in (*_NAMED, *_ALIASES) and any(sign in metric for sign in ".:")


def is_good(request: Mapping[str, float], thresholds: Iterable[Threshold]) -> bool:
    """Return whether a successful request (its durations in seconds, by column) meets every latency threshold.

    A value that a request does not have, such as the ITL of an answer of one token, meets its threshold.
    """
    judged = ((threshold, request.get(threshold.column or "", math.nan)) for threshold in thresholds)
    return all(math.isnan(value) or threshold.met_by(value) for threshold, value in judged)


def _error(threshold: Threshold) -> str:
    """Return the error message for one limit; empty if it is valid."""
    if threshold.metric in DURATIONS:
        if threshold.statistic not in STATISTICS:
            return f"name the statistic of {threshold.metric} ({', '.join(STATISTICS)}), like '{threshold.metric}.p95 < 500ms'"
        fits = threshold.unit in ("ms", "s")
        return "" if fits else f"a duration needs ms or s, like '{threshold.name} < 500ms'"
    if threshold.is_telemetry:
        return _telemetry_error(threshold)
    if threshold.metric not in SHARES + RATES:
        known = ", ".join(_NAMED)
        return (
            f"there is no metric {threshold.metric!r}, only {known}, and telemetry with source and name; for example "
            f"'ttft.p95 < 500ms' or 'gpu.utilisation < 95%'"
        )
    example = f"{threshold.metric} {'< 1%' if threshold.metric in SHARES else '> 20/s'}"
    if threshold.statistic:
        return f"{threshold.metric} is a single number per level; write it like '{example}'"
    fits = threshold.unit in ("/s", "")
    if threshold.metric in SHARES:
        fits = threshold.unit == "%" or (threshold.unit == "" and threshold.limit < 1.0)
    return "" if fits else f"the unit does not fit; write it like '{example}'"


def _telemetry_error(threshold: Threshold) -> str:
    name = threshold.name
    if threshold.metric not in VOCABULARY:
        fits = threshold.unit in ("", "%")
        return "" if fits else f"telemetry has a number or a share, like '{name} < 95%' or '{name} < 10'"
    units, example = _TELEMETRY_UNITS.get(VOCABULARY[threshold.metric].unit, (("",), f"{name} < 10"))
    fits = threshold.unit in units and (threshold.unit != "" or "%" not in units or threshold.limit <= 1.0)
    return "" if fits else f"the unit does not fit; write it like '{example.format(name=name)}'"


_TELEMETRY_UNITS = {
    SHARE: (("%", ""), "{name} < 95%"),
    "s": (("ms", "s"), "{name} < 500ms"),
    PER_SECOND: (("/s", ""), "{name} < 10/s"),
}
"""Units that a threshold on telemetry may have, with an example, by the unit of the metric. Others have only numbers."""


def _tiers_error(threshold: Threshold) -> str:
    """Return the error message for two tiers; empty if they are valid. The first limit, gold, must be the stricter one."""
    gold = threshold.gold
    if gold is None or (gold.bound <= threshold.bound if threshold.is_ceiling else gold.bound >= threshold.bound):
        return ""
    example = f"{threshold.name} {threshold.comparison} {threshold.amount} ~ {gold.amount}"
    return f"the first limit (gold) must be the stricter one, like '{example}'"


def _duration(figures: LevelFigures, metric: str, statistic: str) -> float:
    """Return a level's duration in seconds, with failed requests as infinitely slow if the metric counts them so."""
    summary = figures.metric(metric)
    value = summary[statistic]
    if metric not in _FAILURES_COUNT or not figures.failed:
        return value
    if not figures.ok:
        return math.inf
    if statistic not in QUANTILES or math.isnan(value):
        return value
    if figures.errors > 1.0 - QUANTILES[statistic]:
        return math.inf
    with_failures = summary.with_failures.get(statistic, math.nan)
    return value if math.isnan(with_failures) else with_failures
