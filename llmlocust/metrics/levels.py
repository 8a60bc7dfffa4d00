"""Levels of load: their times, their counts, and the figures that follow from them.

`Level` has the times, `Tally` the counts of one process (tallies merge), `LevelFigures` the result. Times are seconds
since the run began; durations are seconds.

The latencies of a level are those of requests that were sent after its warm-up and before its end. Requests that ended
later are included, because long requests would be missing otherwise. Its throughput is what arrived in that window.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.ranges import Uncertain, without
from llmlocust.metrics.telemetry import TelemetrySummary
from llmlocust.metrics.vocabulary import ABORTED, CLIENT_KINDS, ERROR_KINDS, NOT_THE_SERVERS, OK, QUANTILES
from llmlocust.stream.record import Record

RETRIED = "retried_"
"""Prefix of the counts of retried attempts, before their kind."""
USERS = "users"
RATE = "rate"

CUT, LEFT_OUT = "cut", "left out"
"""The effects of a fault on purpose on the figures of a level (LevelFigures.fault)."""

HEADLINE = ("p50", "p95", "p99")
"""Percentiles that are written with their interval, their range, and their value with failures as infinite."""
COUNTED = tuple(key for key, metric in METRICS.items() if metric.is_counted)
"""Metrics with a histogram, and with columns in the levels file."""
RANGED = tuple(key for key, metric in METRICS.items() if metric.has_ranges)
"""Metrics whose percentiles become ranges if the load generator read late."""

EXACT = 0.001
EXACT_SHARE = 0.05
"""A range that is narrower than EXACT seconds or EXACT_SHARE of its value is shown as one value. EXACT is the accuracy of \
measured ITLs (docs/accuracy.md); two runs of the same test differ by about EXACT_SHARE."""

# Additional histograms for the ranges of a metric: the estimated values, and their bounds.
_SUM, _LIMIT = "itl_sum_", "itl_limit_"
_TTFT_BOUNDS = ("ttft_guess", "ttft_lower", "ttft_upper")


@dataclass
class Level:
    """One plateau of the load."""

    index: int
    load: float
    unit: str = USERS
    began: float = 0.0
    warmed_up: float | None = None
    ended: float | None = None
    reached: bool = True
    """False if the target load was never reached."""
    phase: str = ""
    """Phase of the plan (vocabulary.PHASES) that the level belongs to; empty for none."""

    def measures(self, moment: float) -> bool:
        """Return whether a moment is inside the measured window. The window of a level that has not ended is open."""
        return self.warmed_up is not None and self.warmed_up <= moment and (self.ended is None or moment < self.ended)

    def window(self, now: float) -> float:
        """Seconds measured so far."""
        if self.warmed_up is None:
            return 0.0
        return max(0.0, (now if self.ended is None else self.ended) - self.warmed_up)


class Tally:
    """Counts of one level (and one request name) in one process, or after merging in all processes."""

    __slots__ = ("histograms", "numbers", "outcomes")

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        """Requests sent inside the window, by outcome."""
        self.numbers: Counter[str] = Counter()
        """By time of arrival: ended_ok, ended, tokens_in_window. By due time: due, dropped. Of the successful requests of \
`outcomes`: input_tokens, inputs, output_tokens, chunks, coalesced, uncertain, stalls, counted_chunks, empty, cut, repeated, \
judged, right, good (met every threshold, if there are any). Of all requests of `outcomes`: contradicting, retries, and \
retried_KIND, the retried attempts that failed in this way."""
        self.histograms: dict[str, Histogram] = {}

    @property
    def requests(self) -> int:
        """Number of requests that the server answered or failed."""
        return self.outcomes.total() - sum(self.outcomes[kind] for kind in NOT_THE_SERVERS)

    def histogram(self, metric: str) -> Histogram:
        """Return the histogram of a metric, a new one if there is none."""
        histogram = self.histograms.get(metric)
        if histogram is None:
            histogram = self.histograms[metric] = Histogram()
        return histogram

    def note_uncertain(self, record: Record) -> None:
        """Count the bounds of times that are not known exactly, for `ranges`."""
        for merged in record.merged:
            self.histogram("itl_guess").extend(merged.estimates)
            self.histogram(f"{_SUM if merged.exact else _LIMIT}{len(merged.estimates)}").add(merged.total)
        if record.ttft is not None and record.ttft_bounds is not None:
            for metric, value in zip(_TTFT_BOUNDS, (record.ttft, *record.ttft_bounds), strict=True):
                self.histogram(metric).add(value)

    def ranges(self, metric: str) -> dict[str, tuple[float, float]]:
        """Return the ranges of the quantiles of a metric of RANGED; empty if they are exact."""
        range_at = self._itl_range() if metric == "itl" else self._ttft_range()
        return {} if range_at is None else {name: range_at(q) for name, q in QUANTILES.items()}

    def _itl_range(self) -> Callable[[float], tuple[float, float]] | None:
        estimates = self.histograms.get("itl_guess")
        if estimates is None:
            return None
        known = without(self.histogram("itl"), estimates)
        return Uncertain(known, self._groups(_SUM), self._groups(_LIMIT)).quantile

    def _ttft_range(self) -> Callable[[float], tuple[float, float]] | None:
        estimates, lower, upper = (self.histograms.get(metric) for metric in _TTFT_BOUNDS)
        if estimates is None or lower is None or upper is None:
            return None
        known = without(self.histogram("ttft"), estimates)
        low, high = Histogram.sum((known, lower)), Histogram.sum((known, upper))
        return lambda q: (low.quantile(q), high.quantile(q))

    def _groups(self, prefix: str) -> dict[int, Histogram]:
        return {
            int(name.removeprefix(prefix)): histogram
            for name, histogram in self.histograms.items()
            if name.startswith(prefix)
        }

    def merge(self, other: Tally) -> None:
        self.outcomes.update(other.outcomes)
        self.numbers.update(other.numbers)
        for metric, histogram in other.histograms.items():
            self.histogram(metric).merge(histogram)

    def without(self, other: Tally) -> Tally:
        """Return the counts since `other`, which is an earlier state of this tally."""
        newer = Tally()
        newer.outcomes, newer.numbers = self.outcomes - other.outcomes, self.numbers - other.numbers
        for metric, histogram in self.histograms.items():
            newer.histograms[metric] = without(histogram, other.histogram(metric))
        return newer

    def pack(self) -> list[Any]:
        histograms = {metric: histogram.pack() for metric, histogram in self.histograms.items()}
        return [dict(self.outcomes), dict(self.numbers), histograms]

    def merge_packed(self, packed: list[Any]) -> None:
        outcomes, numbers, histograms = packed
        self.outcomes.update(outcomes)
        self.numbers.update(numbers)
        for metric, histogram in histograms.items():
            self.histogram(metric).merge_packed(histogram)

    @classmethod
    def sum(cls, tallies: Iterable[Tally]) -> Tally:
        total = cls()
        for tally in tallies:
            total.merge(tally)
        return total


@dataclass(frozen=True)
class Summary:
    """One metric over one level, in seconds; NaN if it has no values."""

    count: int = 0
    mean: float = math.nan
    most: float = math.nan
    quantiles: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """95 % confidence intervals of the quantiles."""
    with_failures: Mapping[str, float] = field(default_factory=dict)
    """Quantiles with every failed request counted as infinitely slow."""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Lower and upper bounds of the quantiles if the load generator read late; empty if the quantiles are exact."""

    def __getitem__(self, name: str) -> float:
        """Return a statistic by its name: mean, max, p50, p95, …"""
        if name == "mean":
            return self.mean
        return self.most if name == "max" else self.quantiles.get(name, math.nan)

    def range_of(self, name: str) -> tuple[float, float] | None:
        """Return the bounds of a percentile if they are too wide for one value; None otherwise."""
        low, high = self.ranges.get(name, (math.nan, math.nan))
        return (low, high) if high - low > max(EXACT, EXACT_SHARE * high) else None

    @classmethod
    def of(
        cls, histogram: Histogram, failed: int = 0, ranges: Mapping[str, tuple[float, float]] | None = None
    ) -> Summary:
        if not histogram.count:
            return cls(with_failures=dict.fromkeys(QUANTILES, math.inf if failed else math.nan))
        return cls(
            histogram.count,
            histogram.mean,
            histogram.max,
            {name: histogram.quantile(q) for name, q in QUANTILES.items()},
            {name: histogram.interval(q) for name, q in QUANTILES.items()},
            {name: histogram.quantile(q, failed) for name, q in QUANTILES.items()},
            ranges or {},
        )


@dataclass(frozen=True)
class LevelFigures:
    """The figures of one level: a row of the levels file, a point of every chart, the input of the verdict."""

    level: int
    load: float
    unit: str = USERS
    users: float = math.nan
    """Active users, on average over the window."""
    began: float = math.nan
    warmed_up: float = math.nan
    ended: float = math.nan
    """Epoch seconds, as `began` and `warmed_up`."""
    window: float = math.nan
    requests: int = 0
    """Requests sent inside the window that the server answered or failed: the sum of `ok` and `failed`."""
    due: int = 0
    """Open load: requests that were due inside the window."""
    dropped: int = 0
    """Open load: requests of `due` that were never sent, because too many were in flight."""
    ok: int = 0
    aborted: int = 0
    retries: int = 0
    """Attempts after the first ones, of the requests sent inside the window."""
    retried: Mapping[str, int] = field(default_factory=dict)
    """Failed attempts that were tried again, by kind."""
    error_kinds: Mapping[str, int] = field(default_factory=dict)
    """Failed requests by kind, including CLIENT_KINDS."""
    throughput: float = math.nan
    """Successful requests per second that ended inside the window."""
    output_tokens_per_s: float = math.nan
    output_tokens: float = math.nan
    """Mean per successful request."""
    input_tokens: float = math.nan
    input_tokens_per_s: float = math.nan
    inputs_per_s: float = math.nan
    """Texts embedded or documents ranked per second."""
    coalesced: float = math.nan
    """Share of token-bearing deltas that arrived in the same read as an earlier one."""
    uncertain: float = math.nan
    """Share of the ITLs of which only a sum is known, because the load generator read late."""
    counted_chunks: float = math.nan
    """Share of successful requests whose tokens were counted by chunks, because the server reported no usage."""
    stalls: int = 0
    contradicting: int = 0
    """Requests whose times or counts contradicted each other and were limited to possible values."""
    judged: int = 0
    """Successful requests whose answers were judged."""
    right: float = math.nan
    """Share of the judged answers that were right."""
    empty: float = math.nan
    """Share of successful requests whose answers have no text."""
    cut: float = math.nan
    """Share of successful requests whose answers ended at the token limit."""
    repeated: float = math.nan
    """Share of successful requests whose answers end in a repeated piece of text."""
    reached: bool = True
    stale_share: float = math.nan
    """Share of the users' time in which their process measured another level or none, because it had not yet received the \
begin or the end of this level."""
    backing_off: float = math.nan
    """Share of the users' time spent in pauses after failed requests."""
    metrics: Mapping[str, Summary] = field(default_factory=dict)
    telemetry: Mapping[str, tuple[TelemetrySummary, ...]] = field(default_factory=dict)
    """Telemetry by key of the vocabulary ("kv.usage"), with one summary; by other names, with one summary per series. A
    metric that is not exposed is missing."""
    counted: bool = True
    """False if the number of requests is not known: `requests` then only expresses the share of failures."""
    phase: str = ""
    """Phase of the plan (vocabulary.PHASES); empty for none."""
    fault: str = ""
    """CUT if a fault was injected during the level and its figures are those before the fault; LEFT_OUT if a fault left \
nothing of the level to judge; empty without a fault."""

    def reported(self, key: str) -> TelemetrySummary | None:
        """Return the telemetry of a metric of the vocabulary; None if it is not exposed."""
        return next(iter(self.telemetry.get(key, ())), None)

    @property
    def failed(self) -> int:
        return self.requests - self.ok

    @property
    def unsent(self) -> int:
        """Number of requests that failed before they reached the server."""
        return sum(self.error_kinds.get(kind, 0) for kind in CLIENT_KINDS)

    @property
    def attempted(self) -> int:
        """Number of requests that the users made, whatever their outcome, without aborted ones."""
        return self.requests + self.unsent

    @property
    def attempts(self) -> int:
        """Number of attempts of the clients at all requests that were sent inside the window."""
        return self.attempted + self.aborted + self.retries

    @property
    def lacks_requests(self) -> bool:
        """Whether the level was measured with users, but no user sent a request."""
        is_measured = self.unit == USERS and self.load > 0.0 and self.window > 0.0
        return is_measured and self.counted and not (self.attempted or self.aborted)

    @property
    def errors(self) -> float:
        """Share of `requests` that failed; NaN if there are none."""
        return self.failed / self.requests if self.requests else math.nan

    def metric(self, name: str) -> Summary:
        return self.metrics.get(name) or Summary()

    @classmethod
    def of(
        cls,
        level: Level,
        tally: Tally,
        now: float,
        epoch: float = 0.0,
        users: float = math.nan,
        stale_share: float = math.nan,
        backing_off: float = math.nan,
    ) -> LevelFigures:
        """Compute the figures of a level at `now`, in seconds since the run began. `epoch` is the begin of the run."""
        window = level.window(now)
        ok = tally.outcomes[OK]
        kinds = {kind: n for kind, n in tally.outcomes.items() if kind not in (OK, ABORTED) and n}
        failed = tally.requests - ok
        retried = {kind: n for kind in ERROR_KINDS if (n := tally.numbers[f"{RETRIED}{kind}"])}
        numbers = tally.numbers
        itls = tally.histogram("itl").count
        ranges = {metric: tally.ranges(metric) for metric in RANGED}
        return cls(
            level=level.index,
            load=level.load,
            unit=level.unit,
            users=users,
            stale_share=stale_share,
            backing_off=backing_off,
            began=epoch + level.began,
            warmed_up=math.nan if level.warmed_up is None else epoch + level.warmed_up,
            ended=math.nan if level.ended is None else epoch + level.ended,
            window=window,
            requests=ok + failed,
            due=numbers["due"],
            dropped=numbers["dropped"],
            ok=ok,
            aborted=tally.outcomes[ABORTED],
            retries=numbers["retries"],
            retried=retried,
            error_kinds=kinds,
            throughput=numbers["ended_ok"] / window if window else math.nan,
            output_tokens_per_s=numbers["tokens_in_window"] / window if window else math.nan,
            output_tokens=numbers["output_tokens"] / ok if ok else math.nan,
            input_tokens=numbers["input_tokens"] / ok if ok else math.nan,
            input_tokens_per_s=numbers["ended_ok"] / window * numbers["input_tokens"] / ok
            if ok and window
            else math.nan,
            inputs_per_s=numbers["ended_ok"] / window * numbers["inputs"] / ok if ok and window else math.nan,
            coalesced=numbers["coalesced"] / numbers["chunks"] if numbers["chunks"] else math.nan,
            uncertain=numbers["uncertain"] / itls if itls else math.nan,
            counted_chunks=numbers["counted_chunks"] / ok if ok else math.nan,
            stalls=numbers["stalls"],
            contradicting=numbers["contradicting"],
            judged=numbers["judged"],
            right=numbers["right"] / numbers["judged"] if numbers["judged"] else math.nan,
            empty=numbers["empty"] / ok if ok else math.nan,
            cut=numbers["cut"] / ok if ok else math.nan,
            repeated=numbers["repeated"] / ok if ok else math.nan,
            reached=level.reached,
            phase=level.phase,
            metrics={metric: Summary.of(tally.histogram(metric), failed, ranges.get(metric)) for metric in COUNTED},
        )
