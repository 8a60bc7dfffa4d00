"""Thresholds: what a level must keep to count as good, written as people say it. Pure.

    ttft.p95 < 500ms      e2e.p99 <= 2s      errors < 1%      goodput > 20/s
    ttft.p95 < 500ms ~ 1s                    gpu.utilisation < 85% ~ 95%

Two limits are two tiers: gold before the ~, tolerated behind it. What is not ours is telemetry, by its source and
name (`gpu.utilisation`, `vllm:kv_cache_usage_perc.p95`; without a statistic: its mean); of several series, such as
one for each GPU, the worst is judged.

A percentile of ttft, answer or e2e is judged with failed requests counted as infinitely slow: 95 of 100 requests
have to have their first token in time, and one that failed never had it. The other metrics, means and maxima know
successful requests only.

For goodput each request is judged by itself: it is good when it succeeded and keeps the limit of every latency
threshold, whichever percentile that threshold speaks of.

A gate is a threshold that a run has to keep to pass: at every level, or at the levels of one load.

    ttft.p95 < 500ms ~ 1s @ 100
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
from llmlocust.metrics.vocabulary import OK, QUANTILES

_NAMED = {key: metric for key, metric in METRICS.items() if metric.in_thresholds}
DURATIONS = tuple(key for key, metric in _NAMED.items() if metric.kind is Kind.LATENCY)
STATISTICS = ("mean", *QUANTILES, "max")
SHARES = tuple(key for key, metric in _NAMED.items() if metric.kind is Kind.SHARE)
RATES = tuple(key for key, metric in _NAMED.items() if metric.kind is Kind.RATE)

Parsed = TypeVar("Parsed")

GOLD, TOLERATED, FAILS, NOT_KNOWN = "gold", "tolerated", "fails", "not known"

_ALIASES = {"tokens": "output_tokens_per_s"}
_WRITTEN = {"p99.9": "p99_9", "median": "p50"} | {name: name for name in STATISTICS}
_UNITS: dict[str, float] = {"ms": 0.001, "s": 1.0, "%": 0.01, "/s": 1.0, "": 1.0}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_AT = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(?:users?|requests/s|/s)?\s*", re.IGNORECASE)
_LIMIT = r"(?P<{0}limit>[0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*(?P<{0}unit>ms|s|%|/s|)"
_SHAPE = re.compile(
    r"\s*(?P<name>[a-z_][a-z_0-9:./-]*?)\s*(?P<comparison><=|>=|<|>)\s*"
    rf"{_LIMIT.format('')}(?:\s*~\s*{_LIMIT.format('more_')})?\s*",
    re.IGNORECASE,
)
# Failed requests count as infinitely slow in these: each request has exactly one, and a failed one never came.
_FAILURES_COUNT = tuple(key for key, metric in METRICS.items() if metric.failures_count)
_OF_REQUEST = tuple(key for key, metric in METRICS.items() if metric.is_of_request)


@dataclass(frozen=True)
class Threshold:
    """One condition on a level."""

    metric: str
    statistic: str
    """Which figure of a duration: mean, p50 … p99_9, max. Empty for the others."""
    comparison: str
    limit: float
    """As written, in `unit`."""
    unit: str
    gold: Threshold | None = None
    """The stricter limit of two; this one is then the tolerated."""

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Read a threshold; ValueError, in one line with a right example, where it is none."""
        match = _SHAPE.fullmatch(text)
        if match is None and "@" in text:
            raise ValueError(
                f"threshold {text.strip()!r}: one level (@) can be named for a gate alone (--llm-threshold, llmlocust "
                f"check); here every level is judged, so leave it out"
            )
        if match is None:
            raise ValueError(
                f"cannot read the threshold {' '.join(text.split())!r}; write it like 'ttft.p95 < 500ms', "
                f"'ttft.p95 < 500ms ~ 1s' or 'errors < 1%'"
            )
        metric, statistic = _split(match["name"].lower())
        comparison, limit, unit = match["comparison"], float(match["limit"]), match["unit"].lower()
        made = cls(metric, statistic, comparison, limit, unit)
        if match["more_limit"] is not None:
            made = cls(metric, statistic, comparison, float(match["more_limit"]), match["more_unit"].lower(), made)
        if complaint := _complaint(made) or (made.gold and _complaint(made.gold)) or _tiers_complaint(made):
            raise ValueError(f"threshold {text.strip()!r}: {complaint}")
        return made

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
        """The limit in seconds, as a share, or a second."""
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
        """Whether this is of something that the server's side, or somebody else, said of itself."""
        return _is_foreign(self.metric)

    @property
    def counts_failures(self) -> bool:
        """Whether a failed request counts as infinitely slow."""
        return self.metric in _FAILURES_COUNT

    def met_by(self, value: float) -> bool:
        return _COMPARE[self.comparison](value, self.bound)

    def measured(self, figures: LevelFigures, goodput: float | None = None) -> float:
        """What the level has of this: seconds, a share, a second, or telemetry's unit. NaN where it is not known."""
        if self.is_duration:
            return _duration(figures, self.metric, self.statistic)
        if self.metric == "goodput":
            return math.nan if goodput is None else goodput
        if self.is_telemetry:
            series = [each[self.statistic or "mean"] for each in figures.telemetry.get(self.metric, ())]
            known = [each for each in series if not math.isnan(each)]
            return (max(known) if self.is_ceiling else min(known)) if known else math.nan
        return float(getattr(figures, self.metric))

    def holds(self, figures: LevelFigures, goodput: float | None = None) -> bool | None:
        """Whether the level keeps this; None where the level does not tell."""
        value = self.measured(figures, goodput)
        return None if math.isnan(value) else self.met_by(value)

    @property
    def allowed(self) -> float | None:
        """The share of requests (of gaps) that may be beyond the limit; None where it is no matter of shares."""
        if not self.is_ceiling:
            return None
        if self.metric == "errors":
            return self.bound
        return 1.0 - QUANTILES[self.statistic] if self.is_duration and self.statistic in QUANTILES else None

    def beyond(self, tally: Tally) -> tuple[int, int]:
        """How many requests (gaps) are beyond the limit, of how many; for thresholds with a share `allowed`."""
        ended = tally.requests
        failed = ended - tally.outcomes[OK]
        if self.metric == "errors":
            return failed, ended
        durations = tally.histograms.get(self.metric) or Histogram()
        failed = failed if self.counts_failures else 0
        return durations.count - durations.up_to(self.bound) + failed, durations.count + failed

    @property
    def column(self) -> str | None:
        """The column of the requests file by which one request can be judged; None where none can."""
        of_request = (self.metric, f"{self.metric}_{self.statistic}")
        return next((column for column in of_request if column in _OF_REQUEST), None)


@dataclass(frozen=True)
class Gate:
    """A threshold that a run has to keep to pass."""

    threshold: Threshold
    at: float | None = None
    """The load (users, or requests a second) of the levels that have to keep it; None: every level."""

    @classmethod
    def parse(cls, text: str) -> Gate:
        """Read a threshold with or without ` @ LOAD`; ValueError, in one line with a right example, where it is none."""
        threshold, sign, load = text.partition("@")
        match = _AT.fullmatch(load)
        if sign and (match is None or not float(match[1]) > 0.0):
            raise ValueError(
                f"cannot read the load behind @ in {' '.join(text.split())!r}; write the users or the rate of a level, "
                f"like 'ttft.p95 < 500ms @ 100'"
            )
        return cls(Threshold.parse(threshold), float(match[1]) if sign and match else None)

    def __str__(self) -> str:
        return str(self.threshold) if self.at is None else f"{self.threshold} @ {self.at:g}"

    def is_of(self, load: float) -> bool:
        """Whether the levels of a load have to keep this."""
        return self.at is None or math.isclose(self.at, load)


def parse_gates(text: str) -> list[Gate]:
    """Gates with commas between them, as an option has them. ValueError, in one line."""
    return [Gate.parse(each) for each in text.split(",") if each.strip()]


def thresholds_of(gates: Iterable[Gate]) -> list[Threshold]:
    """What levels are held against where gates are all that was told: of several for one figure, the first."""
    first: dict[tuple[str, str], Threshold] = {}
    for gate in gates:
        first.setdefault((gate.threshold.metric, gate.threshold.statistic), gate.threshold)
    return list(first.values())


def tier(thresholds: Iterable[Threshold], figures: LevelFigures, goodput: float | None = None) -> str:
    """What a level is: GOLD, TOLERATED, FAILS or NOT_KNOWN. A threshold of one limit has it for both tiers."""
    thresholds = list(thresholds)
    held = [each.holds(figures, goodput) for each in thresholds]
    if False in held:
        return FAILS
    if None in held or not held:
        return NOT_KNOWN
    return GOLD if all(each.holds(figures, goodput) for each in golds(thresholds)) else TOLERATED


def golds(thresholds: Iterable[Threshold]) -> list[Threshold]:
    """The limits of the gold tier."""
    return [each.gold or each for each in thresholds]


def parse_toml(text: str, parse: Callable[[str], Parsed] = Threshold.parse) -> list[Parsed]:  # type: ignore[assignment]
    """Thresholds (or what else `parse` makes) from TOML with the same names: `ttft.p95 = "< 500ms ~ 1s"`. ValueError, in
    one line.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise ValueError(f'no TOML: {problem}; write lines like ttft.p95 = "< 500ms ~ 1s"') from None
    found = [parse(f"{name} {limit}") for name, limit in _leaves(table)]
    if not found:
        raise ValueError('no threshold in it; write lines like ttft.p95 = "< 500ms ~ 1s"')
    return found


def load_toml(file: str, parse: Callable[[str], Parsed] = Threshold.parse) -> list[Parsed]:  # type: ignore[assignment]
    """The same from a file. ValueError, in one line that names it."""
    try:
        return parse_toml(Path(file).read_text(encoding="utf-8"), parse)
    except OSError as problem:
        raise ValueError(f"{file}: cannot be read ({problem.strerror})") from None
    except ValueError as problem:  # also of what is no UTF-8
        raise ValueError(f"{file}: {problem}") from None


def _leaves(table: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and what they are set to: TOML makes a table of each part of a name."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        elif isinstance(value, str):
            yield f"{above}{key}", value
        else:
            complaint = f'{above}{key} is {value!r}; write it like {above}{key} = "< 500ms ~ 1s"'
            raise ValueError(complaint)  # noqa: TRY004  # it is the text that is wrong


def _split(name: str) -> tuple[str, str]:
    """A metric and its statistic: `ttft.p95` is both, `gpu.utilisation` a metric alone."""
    for written, statistic in _WRITTEN.items():
        if name.endswith(f".{written}"):
            metric = name.removesuffix(f".{written}")
            return _ALIASES.get(metric, metric), statistic
    if _is_foreign(name):
        return name, ""
    metric, _, statistic = name.partition(".")
    return _ALIASES.get(metric, metric), statistic


def _is_foreign(metric: str) -> bool:
    """Whether a metric is none of ours but has a source, or a name space of Prometheus, before its name."""
    return metric.partition(".")[0] not in (*_NAMED, *_ALIASES) and any(sign in metric for sign in ".:")


def is_good(request: Mapping[str, float], thresholds: Iterable[Threshold]) -> bool:
    """Whether a successful request (its durations in seconds, by column) keeps every latency threshold.

    What a request does not have (no ITL in an answer of one token) it cannot break.
    """
    judged = ((threshold, request.get(threshold.column or "", math.nan)) for threshold in thresholds)
    return all(math.isnan(value) or threshold.met_by(value) for threshold, value in judged)


def _complaint(made: Threshold) -> str:
    """What is wrong with one limit; empty where nothing is."""
    if made.metric in DURATIONS:
        if made.statistic not in STATISTICS:
            return f"say which figure of {made.metric} ({', '.join(STATISTICS)}), like '{made.metric}.p95 < 500ms'"
        fits = made.unit in ("ms", "s")
        return "" if fits else f"a duration needs ms or s, like '{made.name} < 500ms'"
    if made.is_telemetry:
        fits = made.unit in ("", "%")
        return "" if fits else f"telemetry is a number or a share, like '{made.name} < 95%' or '{made.name} < 10'"
    if made.metric not in SHARES + RATES:
        known = ", ".join(_NAMED)
        return (
            f"there is no metric {made.metric!r}, only {known}, and telemetry by its source and name; for example "
            f"'ttft.p95 < 500ms' or 'gpu.utilisation < 95%'"
        )
    example = f"{made.metric} {'< 1%' if made.metric in SHARES else '> 20/s'}"
    if made.statistic:
        return f"{made.metric} is one number for a level; write it like '{example}'"
    fits = made.unit in ("/s", "")
    if made.metric in SHARES:
        fits = made.unit == "%" or (made.unit == "" and made.limit < 1.0)
    return "" if fits else f"the unit does not fit; write it like '{example}'"


def _tiers_complaint(made: Threshold) -> str:
    """The first limit has to be the stricter: what is gold is tolerated too."""
    gold = made.gold
    if gold is None or (gold.bound <= made.bound if made.is_ceiling else gold.bound >= made.bound):
        return ""
    example = f"{made.name} {made.comparison} {made.amount} ~ {gold.amount}"
    return f"gold comes first and is the stricter, like '{example}'"


def _duration(figures: LevelFigures, metric: str, statistic: str) -> float:
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
