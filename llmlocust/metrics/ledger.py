"""`Ledger`: the counts of one process, and after merging the counts of the whole run.

`take` returns the new counts of a worker's ledger, and `merge` adds them to the run's ledger. A run in one process does
the same with its single ledger, so that all counts take one path. Moments are seconds since the run began, by the
monotonic clock of the counting process: the clocks of two machines need not agree.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.levels import RETRIED, USERS, Level, LevelFigures, Tally
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.rows import ON_RECORD, REQUEST_COLUMNS, WORKER_COLUMNS, request_row, rounded, values_of
from llmlocust.metrics.seconds import SECOND_COUNTS, SECOND_SUMS, Seconds
from llmlocust.metrics.sums import POOLED, Sums
from llmlocust.metrics.thresholds import Threshold, is_good
from llmlocust.metrics.timeseries import Spans
from llmlocust.metrics.vocabulary import ABORTED, OK
from llmlocust.stream.record import Record

ROWS_A_SECOND = 500
"""Maximum rows of the requests file per second and process. Of more requests, a random share is kept."""
RUN_ROWS_A_SECOND = 2000
"""Maximum rows per second of all processes together: each row costs the master about 8 µs."""

_MAX_GAUGES = 100
"""Maximum number of processes whose gauges are written every second; with more, seconds are skipped."""

_LATE = 60
"""Age in seconds at which a second is complete: processes no longer send counts of it."""
_MEASURED = "heard"
"""Key beside a second's gauges in messages: the index of the level that the process measured; -1 for none."""
_MAX_DELAY = 2
"""Maximum seconds that a message of the master takes to reach a process."""

_MAX_OF = {key: metric.longest_of for key, metric in METRICS.items() if metric.longest_of}
"""Metrics that are a request's maximum of a pooled metric, with the pooled metric."""
_FROM_DUE = {key: metric.from_due for key, metric in METRICS.items() if metric.from_due}
_OVER_TIME = tuple(key for key in ON_RECORD if METRICS[key].over_time)
_POOLED_OVER_TIME = tuple(key for key in POOLED if METRICS[key].over_time)

_SENT = REQUEST_COLUMNS.index("sent")


def rows_for_each(processes: int) -> float:
    """Return the maximum rows per second of one process, out of this number of processes."""
    return min(ROWS_A_SECOND, RUN_ROWS_A_SECOND / max(processes, 1))


class Ledger:
    """Counts of levels, of seconds and of requests."""

    def __init__(self, worker: str = "", rows_a_second: float = ROWS_A_SECOND, reader: str = "") -> None:
        """`reader` is the name of the reader of answers of this process."""
        self.worker = worker
        self._reader = reader
        self.levels: list[Level] = []
        self.limits: Sequence[Threshold] = ()
        """Thresholds that a good request meets. Without any, good requests are not counted."""
        self.seconds = Seconds()
        """Merged counts by second. The spans are merged counts, too."""
        self.spans: Spans | None = Spans()
        """None if no charts can be shown during the run: spans are most of the memory of a long run."""
        self.in_flight: Counter[str] = Counter()
        """Merged requests in flight by request name."""
        self.sent = 0
        self.ended = 0
        self.retries = 0
        """Attempts after the first ones, which `sent` counts."""
        self.last_ended = 0.0
        """The moment at which the last request ended."""
        self.totals: Counter[str] = Counter()
        """Merged sums of SECOND_COUNTS over all seconds."""
        self.rows_seen = 0
        self.rows_kept = 0
        self._sampler = _Sampler(rows_a_second)
        self._workers: set[str] = set()
        self._gauges: list[dict[str, Any]] = []
        self.stale_share: Counter[int] = Counter()
        """Merged user-seconds by level, of processes that measured another level or none at the time."""
        self._gauged: int | None = None
        """The newest second that has gauges of this process."""
        self._means: dict[tuple[str, int], tuple[int, float, int]] = {}
        """By gauge and first second: the end of the seconds that are summed, their sum and their number."""
        self._renew()

    def _renew(self) -> None:
        self.tallies: dict[tuple[int, str], Tally] = defaultdict(Tally)
        self.new_seconds: dict[int, dict[str, float]] = defaultdict(dict)
        self.rows: list[list[Any]] = []
        self.new_sent = 0
        self.new_ended = 0
        self.new_retries = 0
        self.new_seen = 0
        self.new_in_flight: Counter[str] = Counter()
        """By request name: requests sent minus requests ended."""
        self.by_second: dict[tuple[int, str], Histogram] = defaultdict(Histogram)
        """Durations by the second and metric in which their tokens arrived, for `spans`."""
        self.clocks: Counter[str] = Counter()
        """Measured requests by the clock of their arrival times."""
        self.readers: Counter[str] = Counter()
        """Measured requests by the reader of their answers."""

    # ── levels ──

    def begin_level(self, moment: float, load: float, unit: str = USERS, phase: str = "") -> Level:
        self.end_level(moment)
        level = Level(len(self.levels), load, unit, moment, phase=phase)
        self.levels.append(level)
        return level

    def end_warmup(self, moment: float, *, reached: bool = True) -> None:
        self.levels[-1].warmed_up, self.levels[-1].reached = moment, reached

    def end_level(self, moment: float) -> None:
        """End the open level, if there is one."""
        if self.levels and self.levels[-1].ended is None:
            self.levels[-1].ended = moment

    def follow(
        self, moment: float, *, index: int, load: float, unit: str, warmed_up: bool, reached: bool, ended: bool
    ) -> None:
        """Take over the state of the run's newest level from another process, with the levels that were missed."""
        while len(self.levels) <= index:  # levels in between began and ended unnoticed
            self.begin_level(moment, load, unit)
        if warmed_up and self.levels[-1].warmed_up is None:
            self.end_warmup(moment, reached=reached)
        if ended:
            self.end_level(moment)

    def level_at(self, moment: float) -> Level | None:
        for level in reversed(self.levels):
            if level.began <= moment:
                return level if level.ended is None or moment < level.ended else None
        return None

    def _measured(self, moment: float) -> int:
        """Return the index of the level that is measured at a moment; -1 for none."""
        level = self.level_at(moment)
        return level.index if level is not None and level.measures(moment) else -1

    # ── counting ──

    def note_sent(self, moment: float, name: str) -> None:
        self.new_in_flight[name] += 1
        self.sent += 1
        self.new_sent += 1
        self._count(moment, "sent")

    def note_retry(self, moment: float) -> None:
        """Count the begin of another attempt at a request whose attempt before failed."""
        self.retries += 1
        self.new_retries += 1
        self._count(moment, "retries")

    def note_due(self, moment: float, *, dropped: bool) -> None:
        """Count a request that was due, in open load. A dropped request is never sent."""
        level = self.level_at(moment)
        if level is not None and level.measures(moment):
            numbers = self.tallies[level.index, ""].numbers  # it has no name yet
            numbers["due"] += 1
            numbers["dropped"] += dropped

    def gauges_due(self, moment: float) -> float:
        """Return the next moment for `note_gauges`: the middle of a second that has no gauges yet.

        A second must not get gauges twice, also if the call for the second before was late: they would count twice.
        """
        noted = -1 if self._gauged is None else self._gauged
        return max(math.floor(moment + 0.5), noted + 1) + 0.5

    def gauges_overdue(self, moment: float) -> bool:
        """Return whether the middle of a second without gauges has passed."""
        return moment >= (0 if self._gauged is None else self._gauged + 1) + 0.5

    def note_gauges(self, moment: float, **gauges: float) -> None:
        """Set the gauges of this second: SECOND_SUMS and SECOND_MAXIMA. Seconds that were missed get the same sums: the
        process had its users in them, too.
        """
        measured = {_MEASURED: self._measured(moment)}
        sums = {name: gauges[name] for name in SECOND_SUMS if name in gauges}
        for missed in range(int(moment) if self._gauged is None else self._gauged + 1, int(moment)):
            self.new_seconds[missed].update(sums | measured)
        self.new_seconds[int(moment)].update(gauges | measured)
        self._gauged = int(moment)

    def add(self, record: Record, sent: float, sums: Sums | None = None) -> None:
        """Count a request that is over. `sent` is the moment of the run at which it was sent; `sums` are those of the
        record, if they were begun before.
        """
        sums = sums or Sums(record)
        while sums.take():
            pass
        self.ended += 1
        self.new_ended += 1
        self.new_in_flight[record.name] -= 1
        level = self.level_at(sent)
        measured = level is not None and level.measures(sent)
        if level is not None and measured:
            _tally(self.tallies[level.index, record.name], sums, self.limits)
            if record.clock:
                self.clocks[record.clock] += 1
                self.readers[self._reader] += 1
        ended_at = sent + record.duration
        self.last_ended = max(self.last_ended, ended_at)
        self._count(ended_at, "ended")
        self._count(ended_at, "failed", record.outcome not in (OK, ABORTED))
        self._count_in_window(record, ended_at)
        self._count_tokens(record, sent)
        self._keep_by_second(sums, sent)
        _raise_to(self.new_seconds[int(ended_at)], "longest", record.duration)
        if record.lag_max is not None:
            _raise_to(self.new_seconds[int(sent + record.lag_max_at)], "client_lag", record.lag_max * 1000.0)
        self._keep_row(sums, level, measured, sent)

    def _count(self, moment: float, name: str, amount: float = 1) -> None:
        if amount:
            second = self.new_seconds[int(moment)]
            second[name] = second.get(name, 0) + amount

    def _count_in_window(self, record: Record, ended_at: float) -> None:
        level = self.level_at(ended_at)
        if level is not None and level.measures(ended_at):
            numbers = self.tallies[level.index, record.name].numbers
            numbers["ended"] += 1
            numbers["ended_ok"] += record.ok

    def _count_tokens(self, record: Record, sent: float) -> None:
        """Count tokens in the second and the window in which they arrived, whatever the outcome of the request."""
        arrivals = record.arrivals or ([record.e2e] if record.e2e is not None else [])
        if not arrivals or not record.output_tokens:
            return
        per_arrival = record.output_tokens / len(arrivals)
        first, last = sent + arrivals[0], sent + arrivals[-1]
        low = 0
        for second in range(int(first), int(last) + 1):
            high = bisect_left(arrivals, second + 1 - sent, low)
            self._count(second, "tokens", (high - low) * per_arrival)
            self._count(second, "chunks", high - low)
            low = high
        for moment, chunks in record.coalesced_at:
            self._count(sent + moment, "coalesced", chunks)
        for level in reversed(self.levels):
            if level.warmed_up is not None and level.warmed_up <= last:
                low = bisect_left(arrivals, level.warmed_up - sent)
                high = len(arrivals) if level.ended is None else bisect_left(arrivals, level.ended - sent)
                if high > low:
                    # the values of a Counter may be floats, against its annotation
                    self.tallies[level.index, record.name].numbers["tokens_in_window"] += (high - low) * per_arrival  # type: ignore[assignment]
            if level.began <= first:
                break

    def _keep_by_second(self, sums: Sums, sent: float) -> None:
        """Count durations for `spans`. All ITLs of a request count in the second at the middle of its stream: splitting them
        by second would cost as much as all other counting.
        """
        record = sums.record
        if not record.ok or record.ttft is None:
            return
        for metric in _OVER_TIME:
            if (value := getattr(record, metric)) is not None:
                self.by_second[int(sent + value), metric].add(value)
        middle = (record.ttft + (record.e2e or record.ttft)) / 2.0
        for metric in _POOLED_OVER_TIME:
            if sums.histograms[metric]:
                self.by_second[int(sent + middle), metric].merge(sums.histograms[metric])

    def _keep_row(self, sums: Sums, level: Level | None, measured: bool, sent: float) -> None:
        self.rows_seen += 1
        self.new_seen += 1
        weight = self._sampler.weight(sent)
        if weight:
            self.rows.append(request_row(sums, level, measured, sent, weight, self.worker))

    def limit_rows(self, per_second: float) -> None:
        """Set the maximum number of rows per second."""
        self._sampler.limit = per_second

    # ── merging ──

    def take(self) -> dict[str, Any]:
        """Return the counts since the last call, as plain values for a message."""
        packed = {
            "tallies": [[level, name, tally.pack()] for (level, name), tally in self.tallies.items()],
            "worker": self.worker,
            "seconds": dict(self.new_seconds),
            "by_second": [[*place, histogram.pack()] for place, histogram in self.by_second.items()],
            "in_flight": dict(self.new_in_flight),  # includes names with no change, so that the merging side knows them
            "rows": self.rows,
            "sent": self.new_sent,
            "ended": self.new_ended,
            "retries": self.new_retries,
            "last_ended": self.last_ended,
            "seen": self.new_seen,
            "clocks": dict(self.clocks),
            "readers": dict(self.readers),
        }
        self._renew()
        return packed

    def merge(self, packed: dict[str, Any]) -> None:
        """Add counts that `take` returned."""
        for level, name, tally in packed["tallies"]:
            self.tallies[level, name].merge_packed(tally)
        for number, counts in packed["seconds"].items():
            self._compare(int(number), counts)
            self.seconds.merge(int(number), counts)
            self.totals.update({name: counts[name] for name in SECOND_COUNTS if name in counts})
            if self.spans is not None:
                self.spans.touch(int(number))
            if "client_cpu" in counts:
                self._keep_gauges(int(number), packed["worker"], counts)
        if self.spans is not None:
            for second, metric, histogram in packed["by_second"]:
                self.spans.merge(second, metric, histogram)
        self.in_flight.update(packed["in_flight"])
        self.rows.extend(packed["rows"])
        self.sent += packed["sent"]
        self.ended += packed["ended"]
        self.retries += packed["retries"]
        self.last_ended = max(self.last_ended, packed["last_ended"])
        self.rows_seen += packed["seen"]
        self.clocks.update(packed["clocks"])
        self.readers.update(packed["readers"])

    def _compare(self, second: int, gauges: dict[str, float]) -> None:
        """Compare the level that a process measured with the level of the run. If the network fails, a process does not
        receive the begin or end of a level, and its requests then belong to another load.
        """
        measured = int(gauges.pop(_MEASURED, -1))
        moments = [second + 0.5 + delay for delay in range(-_MAX_DELAY, _MAX_DELAY + 1)]
        if "users" in gauges and measured not in map(self._measured, moments):
            for level in {measured, self._measured(second + 0.5)} - {-1}:
                self.stale_share[level] += gauges["users"]  # type: ignore[assignment]  # as in tokens_in_window

    def _keep_gauges(self, second: int, worker: str, gauges: dict[str, float]) -> None:
        self._workers.add(worker)
        if second % math.ceil(len(self._workers) / _MAX_GAUGES) == 0:
            self._gauges.append({"time": second, "worker": worker, **gauges})

    def take_gauges(self, epoch: float) -> list[list[Any]]:
        """Return the rows of the workers file since the last call, in the order of WORKER_COLUMNS."""
        rows, self._gauges = self._gauges, []
        for row in rows:
            level = self.level_at(row["time"] + 0.5)
            row |= {"time": int(epoch) + row["time"], "level": "" if level is None else level.index}
        return [[rounded(row.get(column, "")) for column in WORKER_COLUMNS] for row in rows]

    def take_rows(self, epoch: float, max_rows: int | None = None) -> list[list[Any]]:
        """Return the rows of requests since the last call, at most `max_rows`, with `sent` in epoch seconds."""
        rows, self.rows = self.rows[:max_rows], [] if max_rows is None else self.rows[max_rows:]
        self.rows_kept += len(rows)
        for row in rows:
            row[_SENT] = round(row[_SENT] + epoch, 6)
        return rows

    # ── reading ──

    def tally(self, level: int) -> Tally:
        """Return the tally of a level over all request names."""
        return Tally.sum(tally for (index, _), tally in self.tallies.items() if index == level)

    def figures(self, level: Level, now: float, epoch: float = 0.0) -> LevelFigures:
        users, stale_share = self.mean("users", level, now), self.stale_share[level.index]
        share = stale_share / max(stale_share, users * level.window(now)) if stale_share else 0.0
        backing_off = self.mean("backing_off", level, now) / users if users > 0.0 else math.nan
        return LevelFigures.of(level, self.tally(level.index), now, epoch, users, share, backing_off)

    def mean(self, gauge: str, level: Level, now: float) -> float:
        """Return the mean of a gauge of SECOND_SUMS over the window of a level; NaN if it is not known."""
        if level.warmed_up is None:
            return math.nan
        begin, end = math.ceil(level.warmed_up), int(now if level.ended is None else level.ended)
        until, total, count = self._means.get((gauge, begin), (begin, 0.0, 0))
        # the sum of old seconds is kept: a level may last a day, and its mean is computed every second
        kept = max(until, min(end, int(now) - _LATE))
        for second in range(until, end):
            if second == kept:
                self._means[gauge, begin] = (kept, total, count)
            value = self.seconds.value(second, gauge)
            if not math.isnan(value):
                total, count = total + value, count + 1
        return total / count if count else math.nan


def _tally(tally: Tally, sums: Sums, limits: Sequence[Threshold]) -> None:
    record = sums.record
    tally.outcomes[record.outcome] += 1
    if record.contradicts:
        tally.numbers["contradicting"] += 1
    if record.retried:
        tally.numbers["retries"] += len(record.retried)
        tally.numbers.update(RETRIED + kind for kind in record.retried)
    if record.outcome != OK:
        return
    numbers = tally.numbers
    for name, number in (
        ("input_tokens", record.input_tokens),
        ("inputs", record.inputs),
        ("output_tokens", record.output_tokens),
        ("chunks", record.chunks),
        ("coalesced", record.coalesced),
        ("uncertain", record.uncertain),
        ("stalls", record.stalls),
        ("counted_chunks", record.token_source == "chunks"),
        ("empty", record.empty),
        ("cut", record.cut),
        ("repeated", record.repeated),
        ("judged", record.right is not None),
        ("right", record.right),
    ):
        if number:  # most are zero
            numbers[name] += number
    values = dict(zip(ON_RECORD, values_of(record), strict=True))
    if record.delay is not None:
        values |= {key: record.delay + value for key, base in _FROM_DUE.items() if (value := values[base]) is not None}
    for metric, value in values.items():
        if value is not None:
            tally.histogram(metric).add(value)
    if limits:
        values |= {key: sums.histograms[metric].max for key, metric in _MAX_OF.items() if sums.histograms[metric]}
        known = {metric: value for metric, value in values.items() if value is not None}
        tally.numbers["good"] += is_good(known, limits)
    for metric, histogram in sums.histograms.items():
        tally.histogram(metric).merge(histogram)
    tally.note_uncertain(record)


def _raise_to(second: dict[str, float], name: str, value: float) -> None:
    second[name] = max(second.get(name, 0.0), value)


class _Sampler:
    """Decide which requests get a row, and the weight of the row, so that rows stay below a rate.

    Of each group of consecutive requests, one at random gets the row, with the size of the group as its weight. The
    weights of all rows add up to the number of requests, except for the last group.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._second = -1
        self._requests = 0
        self._previous_requests = 0
        """Requests in the previous second."""
        self._group = 0
        """Size of the current group of requests."""
        self._remaining = 0
        """Requests of the group that are still to come."""
        self._chosen = 0
        """Number of requests of the group after the one that gets the row."""

    def weight(self, moment: float) -> int:
        """Return the number of requests that the row of this request represents; 0 if it gets no row."""
        second = int(moment)
        if second > self._second:
            self._second, self._previous_requests, self._requests = second, self._requests, 0
        self._requests += 1
        if not self._remaining:
            self._group = self._remaining = _rounded_at_random(self._requests_per_row())
            self._chosen = random.randrange(self._group)
        self._remaining -= 1
        return self._group if self._remaining == self._chosen else 0

    def _requests_per_row(self) -> float:
        """Return the mean size of a group, from the number of requests in the previous second. If this second has more,
        groups grow with the square of the ratio, so that a burst gets at most twice the limit, but not beyond the
        requests of this second.
        """
        expected = max(self._previous_requests, self.limit)
        usual = expected / self.limit
        return max(usual, min(usual * (self._requests / expected) ** 2, self._requests))


def _rounded_at_random(mean: float) -> int:
    """Round to one of the two nearest integers at random, so that the expected value is the mean."""
    return int(mean) + (random.random() < mean % 1.0)
