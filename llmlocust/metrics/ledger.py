"""`Ledger`: everything that a process counts of a run, and everything that is known of it after merging.

A worker's ledger is asked for what is new (`take`), the run's own ledger takes that in (`merge`); a run in one
process does the same with itself, so that there is one way for the numbers to go. Moments are seconds since the run
began, by the counting process's own monotonic clock: nothing here depends on two machines agreeing on the time.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.levels import USERS, Level, LevelFigures, Tally
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.rows import ON_RECORD, REQUEST_COLUMNS, WORKER_COLUMNS, request_row, rounded, values_of
from llmlocust.metrics.seconds import SECOND_COUNTS, SECOND_SUMS, Seconds
from llmlocust.metrics.sums import POOLED, Sums
from llmlocust.metrics.thresholds import Threshold, is_good
from llmlocust.metrics.timeseries import Spans
from llmlocust.metrics.vocabulary import ABORTED, OK
from llmlocust.stream.record import Record

ROWS_A_SECOND = 500
"""Rows of the requests file that one process keeps in a second; of more requests, a random share is kept."""
RUN_ROWS_A_SECOND = 2000
"""Rows that all processes of a run keep together: each row costs the master some 8 µs, however many workers it has."""

_MOST_GAUGES = 100
"""So many processes are told of in every second."""

_LATE = 60
"""Seconds after which no process tells of a second any more."""
_HEARD = "heard"
"""Beside a second's gauges, on their way: which level the process measured; -1: none."""
_HEARD_WITHIN = 2
"""Seconds that a word of the master may take to a process."""

_LONGEST = {key: metric.longest_of for key, metric in METRICS.items() if metric.longest_of}
"""Metrics that are a request's largest value of a pooled metric, with that metric."""
_FROM_DUE = {key: metric.from_due for key, metric in METRICS.items() if metric.from_due}
_OVER_TIME = tuple(key for key in ON_RECORD if METRICS[key].over_time)
_POOLED_OVER_TIME = tuple(key for key in POOLED if METRICS[key].over_time)

_SENT = REQUEST_COLUMNS.index("sent")


def rows_for_each(processes: int) -> float:
    """What each of so many processes may keep."""
    return min(ROWS_A_SECOND, RUN_ROWS_A_SECOND / max(processes, 1))


class Ledger:
    def __init__(self, worker: str = "", rows_a_second: float = ROWS_A_SECOND) -> None:
        self.worker = worker
        self.levels: list[Level] = []
        self.limits: Sequence[Threshold] = ()
        """What a request must keep to be good; where there are none, the good are not counted."""
        self.seconds = Seconds()
        """Of what was merged; so are the spans."""
        self.spans: Spans | None = Spans()
        """None: nobody can look at charts while the run goes on. They are most of what a long run holds in memory."""
        self.in_flight: Counter[str] = Counter()
        """By request name, of what was merged."""
        self.sent = 0
        self.ended = 0
        self.last_ended = 0.0
        """The moment at which the last request ended."""
        self.totals: Counter[str] = Counter()
        """SECOND_COUNTS of all seconds, of what was merged."""
        self.rows_seen = 0
        self.rows_kept = 0
        self._sampler = _Sampler(rows_a_second)
        self._workers: set[str] = set()
        self._gauges: list[dict[str, Any]] = []
        self.stale_share: Counter[int] = Counter()
        """User-seconds by level, of what was merged: of processes that measured something else at the time."""
        self._gauged: int | None = None
        """The newest second with gauges of this process."""
        self._means: dict[tuple[str, int], tuple[int, float, int]] = {}
        """By gauge and first second: up to which second there is a sum, the sum, and of how many."""
        self._renew()

    def _renew(self) -> None:
        self.tallies: dict[tuple[int, str], Tally] = defaultdict(Tally)
        self.new_seconds: dict[int, dict[str, float]] = defaultdict(dict)
        self.rows: list[list[Any]] = []
        self.new_sent = 0
        self.new_ended = 0
        self.new_seen = 0
        self.new_in_flight: Counter[str] = Counter()
        """By request name: how many more were sent than ended."""
        self.by_second: dict[tuple[int, str], Histogram] = defaultdict(Histogram)
        """Durations by when their tokens came, for `spans`."""
        self.clocks: Counter[str] = Counter()
        """Measured requests by the clock of their arrival times."""

    # ── levels ──

    def begin_level(self, moment: float, load: float, unit: str = USERS, phase: str = "") -> Level:
        self.end_level(moment)
        level = Level(len(self.levels), load, unit, moment, phase=phase)
        self.levels.append(level)
        return level

    def end_warmup(self, moment: float, *, reached: bool = True) -> None:
        self.levels[-1].warmed_up, self.levels[-1].reached = moment, reached

    def end_level(self, moment: float) -> None:
        """Ends the open level, if there is one."""
        if self.levels and self.levels[-1].ended is None:
            self.levels[-1].ended = moment

    def follow(
        self, moment: float, *, index: int, load: float, unit: str, warmed_up: bool, reached: bool, ended: bool
    ) -> None:
        """How the newest level of the run stands elsewhere. What was missed of it is made up for now."""
        while len(self.levels) <= index:  # those in between began and ended stale_share
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
        """The index of the level that is measured; -1: none."""
        level = self.level_at(moment)
        return level.index if level is not None and level.holds(moment) else -1

    # ── counting ──

    def note_sent(self, moment: float, name: str) -> None:
        self.new_in_flight[name] += 1
        self.sent += 1
        self.new_sent += 1
        self._count(moment, "sent")

    def note_due(self, moment: float, *, dropped: bool) -> None:
        """A request was due, in open load; one that is dropped will never be sent."""
        level = self.level_at(moment)
        if level is not None and level.holds(moment):
            numbers = self.tallies[level.index, ""].numbers  # it has no name yet
            numbers["due"] += 1
            numbers["dropped"] += dropped

    def gauges_due(self, moment: float) -> float:
        """When they are to be noted next: in the middle of a second, of one that has none yet. Who was late for a second
        has noted them in the one after it, and what a process tells of a second twice would count twice.
        """
        noted = -1 if self._gauged is None else self._gauged
        return max(math.floor(moment + 0.5), noted + 1) + 0.5

    def gauges_overdue(self, moment: float) -> bool:
        """Return whether the middle of a second has passed that has no gauges yet."""
        return moment >= (0 if self._gauged is None else self._gauged + 1) + 0.5

    def note_gauges(self, moment: float, **gauges: float) -> None:
        """How things stand in this second: SECOND_SUMS and SECOND_MAXIMA. A process that is late by seconds had its
        users in those too.
        """
        heard = {_HEARD: self._measured(moment)}
        sums = {name: gauges[name] for name in SECOND_SUMS if name in gauges}
        for missed in range(int(moment) if self._gauged is None else self._gauged + 1, int(moment)):
            self.new_seconds[missed].update(sums | heard)
        self.new_seconds[int(moment)].update(gauges | heard)
        self._gauged = int(moment)

    def add(self, record: Record, sent: float, sums: Sums | None = None) -> None:
        """Count a request that is over. `sent` is when it was sent, as a moment of the run; `sums` are the record's,
        where they were begun before.
        """
        sums = sums or Sums(record)
        while sums.take():
            pass
        self.ended += 1
        self.new_ended += 1
        self.new_in_flight[record.name] -= 1
        level = self.level_at(sent)
        measured = level is not None and level.holds(sent)
        if level is not None and measured:
            _tally(self.tallies[level.index, record.name], sums, self.limits)
            if record.clock:
                self.clocks[record.clock] += 1
        over = sent + record.duration
        self.last_ended = max(self.last_ended, over)
        self._count(over, "ended")
        self._count(over, "failed", record.outcome not in (OK, ABORTED))
        self._count_in_window(record, over)
        self._count_tokens(record, sent)
        self._keep_by_second(sums, sent)
        _most(self.new_seconds[int(over)], "longest", record.duration)
        if record.lag_max is not None:
            _most(self.new_seconds[int(sent + record.lag_max_at)], "client_lag", record.lag_max * 1000.0)
        self._keep_row(sums, level, measured, sent)

    def _count(self, moment: float, what: str, amount: float = 1) -> None:
        if amount:
            second = self.new_seconds[int(moment)]
            second[what] = second.get(what, 0) + amount

    def _count_in_window(self, record: Record, over: float) -> None:
        level = self.level_at(over)
        if level is not None and level.holds(over):
            numbers = self.tallies[level.index, record.name].numbers
            numbers["ended"] += 1
            numbers["ended_ok"] += record.ok

    def _count_tokens(self, record: Record, sent: float) -> None:
        """Tokens belong to the second and the window in which they arrived, whatever became of the request."""
        arrivals = record.arrivals or ([record.e2e] if record.e2e is not None else [])
        if not arrivals or not record.output_tokens:
            return
        each = record.output_tokens / len(arrivals)
        first, last = sent + arrivals[0], sent + arrivals[-1]
        low = 0
        for second in range(int(first), int(last) + 1):
            high = bisect_left(arrivals, second + 1 - sent, low)
            self._count(second, "tokens", (high - low) * each)
            self._count(second, "chunks", high - low)
            low = high
        for moment, chunks in record.coalesced_at:
            self._count(sent + moment, "coalesced", chunks)
        for level in reversed(self.levels):
            if level.warmed_up is not None and level.warmed_up <= last:
                low = bisect_left(arrivals, level.warmed_up - sent)
                high = len(arrivals) if level.ended is None else bisect_left(arrivals, level.ended - sent)
                if high > low:
                    # Counter's values may be floats; only its annotation says otherwise
                    self.tallies[level.index, record.name].numbers["tokens_in_window"] += (high - low) * each  # type: ignore[assignment]
            if level.began <= first:
                break

    def _keep_by_second(self, sums: Sums, sent: float) -> None:
        """A request's gaps stand, all of them, in the second in the middle of its stream: to look at each of them once
        more would cost as much as all that is counted of them.
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

    def limit_rows(self, a_second: float) -> None:
        self._sampler.limit = a_second

    # ── merging ──

    def take(self) -> dict[str, Any]:
        """What was counted since the last take, as plain values for a message."""
        packed = {
            "tallies": [[level, name, tally.pack()] for (level, name), tally in self.tallies.items()],
            "worker": self.worker,
            "seconds": dict(self.new_seconds),
            "by_second": [[*place, histogram.pack()] for place, histogram in self.by_second.items()],
            "in_flight": dict(self.new_in_flight),  # includes names with no change, so that the merging side knows them
            "rows": self.rows,
            "sent": self.new_sent,
            "ended": self.new_ended,
            "last_ended": self.last_ended,
            "seen": self.new_seen,
            "clocks": dict(self.clocks),
        }
        self._renew()
        return packed

    def merge(self, packed: dict[str, Any]) -> None:
        for level, name, tally in packed["tallies"]:
            self.tallies[level, name].merge_packed(tally)
        for number, told in packed["seconds"].items():
            self._compare(int(number), told)
            self.seconds.merge(int(number), told)
            self.totals.update({what: told[what] for what in SECOND_COUNTS if what in told})
            if self.spans is not None:
                self.spans.touch(int(number))
            if "client_cpu" in told:
                self._keep_gauges(int(number), packed["worker"], told)
        if self.spans is not None:
            for second, metric, histogram in packed["by_second"]:
                self.spans.merge(second, metric, histogram)
        self.in_flight.update(packed["in_flight"])
        self.rows.extend(packed["rows"])
        self.sent += packed["sent"]
        self.ended += packed["ended"]
        self.last_ended = max(self.last_ended, packed["last_ended"])
        self.rows_seen += packed["seen"]
        self.clocks.update(packed["clocks"])

    def _compare(self, second: int, told: dict[str, float]) -> None:
        """What a process measured, with what was to be measured. A network that is cut keeps it from hearing that a
        level begins or ends, and what it sends and counts then belongs to another load.
        """
        heard = int(told.pop(_HEARD, -1))
        moments = [second + 0.5 + late for late in range(-_HEARD_WITHIN, _HEARD_WITHIN + 1)]
        if "users" in told and heard not in map(self._measured, moments):
            for level in {heard, self._measured(second + 0.5)} - {-1}:
                self.stale_share[level] += told["users"]  # type: ignore[assignment]  # as in tokens_in_window

    def _keep_gauges(self, second: int, worker: str, told: dict[str, float]) -> None:
        self._workers.add(worker)
        if second % math.ceil(len(self._workers) / _MOST_GAUGES) == 0:
            self._gauges.append({"time": second, "worker": worker, **told})

    def take_gauges(self, epoch: float) -> list[list[Any]]:
        """Rows of the workers file that came in since the last time, in the order of WORKER_COLUMNS."""
        told, self._gauges = self._gauges, []
        for each in told:
            level = self.level_at(each["time"] + 0.5)
            each |= {"time": int(epoch) + each["time"], "level": "" if level is None else level.index}
        return [[rounded(each.get(column, "")) for column in WORKER_COLUMNS] for each in told]

    def take_rows(self, epoch: float, most: int | None = None) -> list[list[Any]]:
        """The rows that came in since the last time, or the first of them, with `sent` in epoch seconds."""
        rows, self.rows = self.rows[:most], [] if most is None else self.rows[most:]
        self.rows_kept += len(rows)
        for row in rows:
            row[_SENT] = round(row[_SENT] + epoch, 6)
        return rows

    # ── reading ──

    def tally(self, level: int) -> Tally:
        """A level's tally over all request names."""
        return Tally.sum(tally for (index, _), tally in self.tallies.items() if index == level)

    def figures(self, level: Level, now: float, epoch: float = 0.0) -> LevelFigures:
        users, stale_share = self.mean("users", level, now), self.stale_share[level.index]
        share = stale_share / max(stale_share, users * level.window(now)) if stale_share else 0.0
        backing_off = self.mean("backing_off", level, now) / users if users > 0.0 else math.nan
        return LevelFigures.of(level, self.tally(level.index), now, epoch, users, share, backing_off)

    def mean(self, gauge: str, level: Level, now: float) -> float:
        """Of SECOND_SUMS, over a level's window."""
        if level.warmed_up is None:
            return math.nan
        begin, end = math.ceil(level.warmed_up), int(now if level.ended is None else level.ended)
        until, total, count = self._means.get((gauge, begin), (begin, 0.0, 0))
        # what was told long ago stays: a level may last for a day, and is asked for every second
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
    if record.outcome != OK:
        return
    tally.numbers.update(
        input_tokens=record.input_tokens or 0,
        inputs=record.inputs or 0,
        output_tokens=record.output_tokens or 0,
        chunks=record.chunks,
        coalesced=record.coalesced,
        uncertain=record.uncertain,
        stalls=record.stalls,
        counted_chunks=record.token_source == "chunks",
        empty=int(record.empty),
        cut=int(record.cut),
        repeated=int(record.repeated),
        judged=int(record.right is not None),
        right=int(record.right is True),
    )
    values = dict(zip(ON_RECORD, values_of(record), strict=True))
    if record.delay is not None:
        values |= {key: record.delay + value for key, of in _FROM_DUE.items() if (value := values[of]) is not None}
    for metric, value in values.items():
        if value is not None:
            tally.histogram(metric).add(value)
    if limits:
        values |= {key: sums.histograms[metric].most for key, metric in _LONGEST.items() if sums.histograms[metric]}
        known = {metric: value for metric, value in values.items() if value is not None}
        tally.numbers["good"] += is_good(known, limits)
    for metric, histogram in sums.histograms.items():
        tally.histogram(metric).merge(histogram)
    tally.note_uncertain(record)


def _most(second: dict[str, float], name: str, value: float) -> None:
    second[name] = max(second.get(name, 0.0), value)


class _Sampler:
    """How many requests a row stands for, so that rows stay below a rate; 0 for a request that gets no row.

    Of so many requests after each other, one has the row, by chance, and stands for all of them. So the weights of
    all rows add up to the requests, but for the last few.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._second = -1
        self._seen = 0
        self._seen_before = 0
        """Requests in the second before."""
        self._together = 0
        """Requests that have one row between them, how many of them are still to come, and which of those has it."""
        self._to_come = 0
        self._chosen = 0

    def weight(self, moment: float) -> int:
        second = int(moment)
        if second > self._second:
            self._second, self._seen_before, self._seen = second, self._seen, 0
        self._seen += 1
        if not self._to_come:
            self._together = self._to_come = _at_random(self._requests_a_row())
            self._chosen = random.randrange(self._together)
        self._to_come -= 1
        return self._together if self._to_come == self._chosen else 0

    def _requests_a_row(self) -> float:
        """From what the second before brought. Where this one brings more, rows get rarer with the square of it, so
        that a burst has no more than twice the limit; but not so rare that none came in the next second.
        """
        expected = max(self._seen_before, self.limit)
        usual = expected / self.limit
        return max(usual, min(usual * (self._seen / expected) ** 2, self._seen))


def _at_random(mean: float) -> int:
    """One of the two whole numbers around a mean, so that it is the mean."""
    return int(mean) + (random.random() < mean % 1.0)
