"""`Live`: the state of a run as plain values for JSON, for the web UI and for exporters. Pure: the run gives the time.

Moments are seconds since the run began, durations are milliseconds, and unknown values are None. Values begin with the
last "Reset stats"; the files keep everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from llmlocust.analysis.breakpoints.steps import Finding
from llmlocust.analysis.breakpoints.verdict import Verdict, find
from llmlocust.analysis.checks.answers import empty_levels
from llmlocust.analysis.checks.check import RUN, Check, Facts
from llmlocust.analysis.checks.validity import checks, valid_numbers
from llmlocust.analysis.phases.phases import of_the_ramp
from llmlocust.metrics.ledger import Ledger
from llmlocust.metrics.levels import HEADLINE, Level, LevelFigures, Summary, Tally
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.seconds import SECOND_MAXIMA, SECOND_SUMS
from llmlocust.metrics.thresholds import Threshold, tier
from llmlocust.metrics.timeseries import Spans
from llmlocust.metrics.vocabulary import OK
from llmlocust.text.figures import with_unit

RATES = ("tokens", "ended", "failed")
"""Counts of each second that the charts show as rates."""
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
"""The percentiles of the charts."""
_OVER_TIME = tuple(key for key, metric in METRICS.items() if metric.over_time)
_PERCENTILES = tuple(f"{metric}_{name}" for metric in _OVER_TIME for name in QUANTILES)
REPORTED = ("running", "waiting", "kv.usage", "gpu.utilisation", "cpu", "process.cpu")
"""The metrics of telemetry that the charts show, by key of the vocabulary."""
COLUMNS = ("moment", *SECOND_SUMS, *RATES, "client_cpu", "client_lag", *_PERCENTILES, *REPORTED)
"""The values of a point of the charts. `moment` is the middle of its span."""
_OF_LEVEL = tuple(key for key, metric in METRICS.items() if metric.in_live_view)

_LEVELS_INTERVAL = 0.5
"""Seconds between two computations of the levels, for any number of viewers."""
_VERDICT_INTERVAL = 5.0
"""Minimum seconds between two computations of the verdict."""
_VERDICT_SHARE = 100.0
"""The verdict waits this multiple of the time that its last computation took, so that it uses 1 % of the time."""
_NEWEST = 10
"""Latest seconds whose points are always sent, because an earlier snapshot may have left them out as incomplete."""
_AT_ONCE = 10
"""Points between two pauses: one or two milliseconds. A level takes as long, and has one pause each."""
_RECENT = 60
"""Latest seconds that are searched for the longest request."""


class Running(Protocol):
    """A run, with the members that `Live` uses."""

    ledger: Ledger
    limits: Sequence[Threshold]
    """The given thresholds."""
    began: float
    """Epoch seconds."""
    ended: float | None
    """Epoch seconds; None while the run goes on."""
    plan: dict[str, Any] | None
    through: bool
    """Whether the plan was completed."""
    problems: list[str]

    @property
    def lost(self) -> Mapping[str, Sequence[int]]:
        """Messages about lost workers, with the levels that they make invalid."""

    lag: float
    """Seconds until an event is in the ledger."""
    telemetry_now: dict[str, float]
    """The newest values of telemetry by key of the vocabulary; empty if nothing is observed."""
    faults: list[dict[str, Any]] | None
    """The injections of faults (fields of FaultWindow); None without a plan of faults."""

    @property
    def over(self) -> float: ...

    def moment(self) -> float: ...

    @property
    def pause(self) -> Callable[[], None]: ...


class Live:
    """The state of a run since its last reset of statistics."""

    def __init__(self, run: Running, resets: int = 0) -> None:
        """Begin at the current moment of a run.

        `resets` is the number of resets in this run, including a current one. After a reset only new values are shown, and
        the ledger's spans begin again.
        """
        self.run = run
        self.resets = resets
        self._since = run.over if resets else 0.0
        self._before = {place: Tally.sum([tally]) for place, tally in run.ledger.tallies.items()} if resets else {}
        if resets or run.ledger.spans is None:
            run.ledger.spans = Spans(self._since)
        self._spans = run.ledger.spans
        self._reported = _Reported(self._spans)
        self._points: dict[int, tuple[tuple[int, int, int], list[float | None]]] = {}
        self._figures: dict[int, tuple[Any, LevelFigures, float]] = {}
        self._rows: tuple[float, list[dict[str, Any]]] = (-math.inf, [])
        self._verdict: Verdict | None = None
        self._failed: list[Check] = []
        """The failed checks of the judged levels."""
        self._supporting: dict[str, set[int]] = {}
        self._busiest: dict[tuple[int, str], float] = {}
        self._judged: list[tuple[int, int]] = []
        self._next_verdict = 0.0

    @property
    def name(self) -> str:
        """The name of this state. If it changes, clients have to forget all earlier values."""
        return f"{self.run.began:.3f}/{self.resets}"

    def snapshot(self, name: str = "", changes: int = 0, level: int | None = None) -> dict[str, Any]:
        """Return all values. Points of the charts are only those that changed since the snapshot with this name and `changes`.

        `level` is the level whose request names are included, by default the newest.
        """
        run, ledger = self.run, self.run.ledger
        known = changes if name == self.name else 0
        changed = self._spans.changes  # first, because more may arrive during a pause
        chosen = self._level(level)
        return {
            "name": self.name,
            "changes": changed,
            "began": run.began,
            "now": run.over,
            "since": self._since,
            "ended": run.ended is not None,
            "stopped": run.ended is not None and run.plan is not None and not run.through,
            "sent": ledger.sent,
            "over": ledger.ended,
            "levels_planned": len(run.plan["levels"]) if run.plan and "search" not in run.plan else None,
            "problems": list(run.problems),
            "width": self._spans.width,
            "columns": COLUMNS,
            "points": self._points_since(known),
            "whole_until": self._complete_until(),
            "telemetry": {key: _plain(value) for key, value in self.run.telemetry_now.items() if math.isfinite(value)},
            "faults": self._faults(),
            "levels": self.levels(),
            "of_level": None if chosen is None else chosen.index,
            "names": [] if chosen is None else self._names(chosen),
            **self.verdict(),
        }

    # ── telemetry ──

    def sample(self) -> None:
        """Note the newest values of telemetry, for the charts. The run calls it once per second."""
        self._reported.add(int(self.run.over), self.run.telemetry_now)

    # ── faults ──

    def _faults(self) -> list[dict[str, Any]]:
        """The injections of faults, with the moments at which they began and were lifted."""
        return [
            {
                "name": fault["name"],
                "began": self._since_run_began(fault["began"]),
                "lifted": self._since_run_began(fault["lifted"]),
                "is_confirmed": fault["confirmed_began"] is not None,
                "problem": str(fault["problem"]),
            }
            for fault in self.run.faults or ()
        ]

    def _since_run_began(self, moment: float | None) -> float | None:
        return None if moment is None else _plain(moment - self.run.began)

    # ── charts ──

    def _points_since(self, changes: int) -> dict[int, list[float | None]]:
        """The changed points by the number of their span."""
        spans, complete = self._spans, self._complete()
        width = spans.width
        wanted = set(spans.changed_since(changes))
        newest = range(complete - _NEWEST, complete)
        wanted |= {(second - spans.start) // spans.width for second in newest if second >= spans.start}
        points = {}
        for count, span in enumerate(sorted(wanted)):
            if spans.seconds(span).start < complete:
                points[span] = self._point(spans, span, complete)
            if count % _AT_ONCE == _AT_ONCE - 1:
                self.run.pause()
                if spans.width != width:
                    return {}  # spans were merged meanwhile: the next snapshot has them
        return points

    def _complete(self) -> int:
        """The first second that not every process has reported yet."""
        run = self.run
        return math.ceil(run.over) if run.ended is not None else int(run.moment() - run.lag)

    def _point(self, spans: Spans, span: int, complete: int) -> list[float | None]:
        seconds = spans.seconds(span)
        seconds = range(seconds.start, min(seconds.stop, complete))
        state = (spans.changed(span), len(seconds), spans.width)
        if span not in self._points or self._points[span][0] != state:
            self._points[span] = (state, self._new_point(spans, span, seconds))
        return self._points[span][1]

    def _new_point(self, spans: Spans, span: int, seconds: range) -> list[float | None]:
        gauges = [values for second in seconds if (values := self.run.ledger.seconds.get(second))]
        point = {"moment": (seconds.start + seconds.stop) / 2.0}
        point |= {name: _mean(values[name] for values in gauges if name in values) for name in SECOND_SUMS}
        point |= {name: sum(values.get(name, 0) for values in gauges) / len(seconds) for name in RATES}
        point |= {
            name: max((values[name] for values in gauges if name in values), default=math.nan) for name in SECOND_MAXIMA
        }
        for metric in _OVER_TIME:
            point |= {f"{metric}_{name}": _ms(spans.quantile(span, metric, q)) for name, q in QUANTILES.items()}
        point |= {key: self._reported.mean(span, key) for key in REPORTED}
        return [_plain(point[column]) for column in COLUMNS]

    def _complete_until(self) -> float:
        """The moment up to which the charts hardly change: a request is counted, with its tokens, when it has ended."""
        over, seconds = self.run.over, self.run.ledger.seconds
        if self.run.ended is not None:
            return over
        recent = range(max(0, int(over) - _RECENT), int(over) + 1)
        longest = [value for second in recent if not math.isnan(value := seconds.value(second, "longest"))]
        return max(self._since, over - max(longest) - self.run.lag) if longest else self._since

    def newest_second(self) -> dict[str, float]:
        """SECOND_SUMS and SECOND_MAXIMA of the last second that every process has reported, if known. CPU is a share of one
        core, lags are milliseconds.
        """
        return dict(self.run.ledger.seconds.get(self._complete() - 1, {}))

    # ── levels ──

    def levels(self) -> list[dict[str, Any]]:
        """The values of each level, oldest first."""
        moment = self.run.moment()
        if moment > self._rows[0] + _LEVELS_INTERVAL:
            self._rows = (moment, self._rows[1])  # a call during a pause gets the previous rows
            self._rows = (moment, [self._row(level) for level in self._levels()])
        return self._rows[1]

    def _levels(self) -> list[Level]:
        """The levels that are shown. A level that was running at a reset is measured from the reset on."""
        return [
            replace(level, warmed_up=self._since)
            if level.warmed_up is not None and level.warmed_up < self._since
            else replace(level)
            for level in self.run.ledger.levels
            if level.ended is None or level.ended > self._since
        ]

    def _level(self, index: int | None) -> Level | None:
        levels = self._levels()
        return next((level for level in levels if level.index == index), levels[-1] if levels else None)

    def _row(self, level: Level) -> dict[str, Any]:
        ledger, over = self.run.ledger, self.run.over
        figures, good = self._figures_of(level)
        return {
            "level": level.index,
            "load": level.load,
            "unit": level.unit,
            "phase": level.phase,
            "says": with_unit(level.load, level.unit) + (f", {level.phase}" if level.phase else ""),
            "began": level.began,
            "warmed_up": level.warmed_up,
            "ended": level.ended,
            "users": _plain(figures.users),
            "in_flight": _plain(ledger.mean("in_flight", level, over)),
            "tier": str(tier(self._limits(), figures, good)) if level.warmed_up is not None else None,
            **_row_of(figures, good),
        }

    def _figures_of(self, level: Level) -> tuple[LevelFigures, float]:
        """The figures and the goodput of a level. Goodput is NaN without given thresholds."""
        over, tallies = self.run.over, self._tallies(level)
        counts = sum(tally.outcomes.total() + tally.numbers.total() for tally in tallies.values())
        state = (level.warmed_up, over if level.ended is None else level.ended, counts)
        if level.index not in self._figures or self._figures[level.index][0] != state:
            tally = self._since_reset(tallies)
            figures = LevelFigures.of(level, tally, over, users=self.run.ledger.mean("users", level, over))
            self._figures[level.index] = (state, figures, self._goodput(figures, tally))
            self.run.pause()
        return self._figures[level.index][1:]

    def _tallies(self, level: Level) -> dict[tuple[int, str], Tally]:
        return {place: tally for place, tally in self.run.ledger.tallies.items() if place[0] == level.index}

    def _since_reset(self, tallies: dict[tuple[int, str], Tally]) -> Tally:
        before = self._before
        return Tally.sum(tally.without(before[place]) if place in before else tally for place, tally in tallies.items())

    def _goodput(self, figures: LevelFigures, tally: Tally) -> float:
        """Goodput as in the report: the good share of the successful requests, times their throughput."""
        if not self.run.limits or not tally.outcomes[OK]:
            return math.nan
        return tally.numbers["good"] / tally.outcomes[OK] * figures.throughput

    def _names(self, level: Level) -> list[dict[str, Any]]:
        """The values of a level for each request name."""
        ledger = self.run.ledger
        newest = level.index == ledger.levels[-1].index
        rows = []
        for (index, name), tally in sorted(self._tallies(level).items(), key=lambda item: item[0]):
            shown = self._since_reset({(index, name): tally})
            figures = LevelFigures.of(level, shown, self.run.over)
            in_flight = ledger.in_flight[name] if newest else None
            rows.append({"name": name, "in_flight": in_flight, **_row_of(figures, self._goodput(figures, shown))})
            self.run.pause()
        return rows

    # ── the verdict so far ──

    def _limits(self) -> Sequence[Threshold]:
        return self._verdict.thresholds if self._verdict else self.run.limits

    def verdict(self) -> dict[str, Any]:
        """The four numbers as far as they are known, the failed checks, and the thresholds that were judged."""
        self._judge()
        verdict, failed = self._verdict, [*self._failed, *_failures(self.run.lost)]
        valid = valid_numbers([*failed, *_failures(dict.fromkeys(self.run.problems, ()))], self._supporting)
        numbers = (
            {name: _finding(number) | {"valid": valid[name]} for name, number in verdict.numbers().items()}
            if verdict
            else None
        )
        return {
            "numbers": numbers,
            "doubts": [{"says": str(check.says), "levels": check.levels} for check in failed],
            "judged": len(self._judged),
            "limits": [_limit(threshold) for threshold in self._limits()],
            "derived": bool(verdict and verdict.derived),
        }

    def _judge(self) -> None:
        """Compute the verdict of the levels that have ended, and of which all reports have arrived."""
        run, moment = self.run, self.run.moment()
        over = [level for level in self._levels() if level.ended is not None and moment >= level.ended + run.lag]
        judged = [(figures, good) for figures, good in map(self._figures_of, over) if figures.requests]
        counts = [(figures.level, figures.requests) for figures, _ in judged]
        if counts == self._judged or moment < self._next_verdict:
            return
        goodput = {figures.level: good for figures, good in judged if math.isfinite(good)}
        self._judged = counts
        levels = [figures for figures, _ in judged]
        ramp = of_the_ramp(levels)
        self._verdict = find(ramp, run.limits, goodput, empty=empty_levels(ramp, {})) if judged else None
        self._run_checks(self._verdict, levels)
        self._next_verdict = run.moment() + max(_VERDICT_INTERVAL, (run.moment() - moment) * _VERDICT_SHARE)

    def _run_checks(self, verdict: Verdict | None, levels: Sequence[LevelFigures]) -> None:
        """Run the checks that need only figures. The report also checks single requests."""
        if verdict is None:
            self._failed, self._supporting = [], {}
            return
        facts = Facts(
            client_cpu={level.level: self._p90(level.level, "client_cpu") for level in levels},
            loop_lag={level.level: self._p90(level.level, "loop_lag") / 1000.0 for level in levels},
            turn_wait={level.level: self._p90(level.level, "turn_wait") / 1000.0 for level in levels},
            throttled={level.level: self._mean(level.level, "throttled") for level in levels},
            core_wait={level.level: self._mean(level.level, "core_wait") for level in levels},
            clocks=self.run.ledger.clocks,
            readers=self.run.ledger.readers,
            decisive=verdict.decisive(of_the_ramp(levels)),
        )
        self._failed = [check for check in checks(levels, facts, verdict.thresholds) if not check.ok]
        self._supporting = verdict.supporting_levels(of_the_ramp(levels))

    def _mean(self, index: int, gauge: str) -> float:
        """The mean of a gauge over the seconds of a level's window; NaN if none is known."""
        return self.run.ledger.mean(gauge, self.run.ledger.levels[index], self.run.moment())

    def _p90(self, index: int, gauge: str) -> float:
        """The 90th percentile of a gauge over the seconds of an ended level, as in the report; NaN if none is known."""
        if (index, gauge) not in self._busiest:
            level = self.run.ledger.levels[index]
            end = self.run.over if level.ended is None else level.ended
            values = sorted(self.run.ledger.seconds.reported(gauge, math.ceil(level.began - 0.5), math.ceil(end - 0.5)))
            self._busiest[index, gauge] = values[int(0.9 * (len(values) - 1))] if values else math.nan
            self.run.pause()
        return self._busiest[index, gauge]


class _Reported:
    """Telemetry over time: the sum and the number of values by span of the charts, in as many spans as the charts have."""

    def __init__(self, spans: Spans) -> None:
        self._spans, self._width = spans, spans.width
        self._sums: dict[tuple[int, str], tuple[float, int]] = {}

    def add(self, second: int, values: Mapping[str, float]) -> None:
        """Add the values of a second."""
        known = {key: value for key in REPORTED if math.isfinite(value := values.get(key, math.nan))}
        span = self._spans.touch(second) if known else None
        if span is None:
            return
        self._follow()
        for key, value in known.items():
            total, count = self._sums.get((span, key), (0.0, 0))
            self._sums[span, key] = total + value, count + 1

    def mean(self, span: int, key: str) -> float:
        """Return the mean of a metric in a span; NaN if it has no value."""
        self._follow()
        total, count = self._sums.get((span, key), (0.0, 0))
        return total / count if count else math.nan

    def _follow(self) -> None:
        """Merge neighbours as often as the spans of the charts were merged."""
        while self._width < self._spans.width:
            merged: dict[tuple[int, str], tuple[float, int]] = {}
            for (span, key), (total, count) in self._sums.items():
                before = merged.get((span // 2, key), (0.0, 0))
                merged[span // 2, key] = before[0] + total, before[1] + count
            self._sums, self._width = merged, self._width * 2


def _failures(messages: Mapping[str, Sequence[int]]) -> list[Check]:
    return [Check(RUN, False, None, None, text, tuple(levels)) for text, levels in messages.items()]


def _row_of(figures: LevelFigures, good: float) -> dict[str, Any]:
    return {
        "window": _plain(figures.window),
        "requests": figures.requests,
        "errors": _plain(figures.errors),
        "error_kinds": dict(figures.error_kinds),
        "throughput": _plain(figures.throughput),
        "tokens": _plain(figures.output_tokens_per_s),
        "goodput": _plain(good),
        **{metric: _summary(figures.metric(metric)) for metric in _OF_LEVEL},
    }


def _summary(summary: Summary) -> dict[str, Any] | None:
    """The percentiles of a metric; a range for each that is uncertain because the load generator was late."""
    if not summary.count:
        return None
    percentiles: dict[str, Any] = {name: _plain(_ms(summary[name])) for name in HEADLINE}
    ranges = {name: ends for name in HEADLINE if (ends := summary.range_of(name))}
    return percentiles | {name: [_plain(_ms(end)) for end in ends] for name, ends in ranges.items()}


def _finding(finding: Finding) -> dict[str, Any]:
    places = {name: getattr(finding, name) for name in ("load", "low", "high")}
    loads = {name: None if load is None else _plain(load) for name, load in places.items()}
    return {"reached": finding.reached, "why": str(finding.why), **loads}


def _limit(threshold: Threshold) -> dict[str, Any]:
    row = {"says": str(threshold), "metric": threshold.metric, "statistic": threshold.statistic}
    if not threshold.is_duration:
        return row | {"ms": None, "gold_ms": None}
    return row | {"ms": _ms(threshold.bound), "gold_ms": _ms(threshold.gold.bound) if threshold.gold else None}


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known) if known else math.nan


def _ms(seconds: float) -> float:
    return seconds * 1000.0


def _plain(value: float) -> float | None:
    """A rounded number for JSON; None for NaN and infinity, which JSON does not have."""
    return round(value, 4) if math.isfinite(value) else None
