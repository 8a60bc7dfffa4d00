"""`Live`: how a run stands, as plain values that go into JSON: for the page of the web UI, and for whoever exports them.
Pure: the run is given, and says what time it is.

Moments are seconds since the run began, durations milliseconds, what is not known is None. What is given is from the
last "Reset stats" on; the files keep all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from llmlocust.analysis.breakpoints.steps import Finding
from llmlocust.analysis.breakpoints.verdict import Verdict, find
from llmlocust.analysis.checks.answers import empty_levels
from llmlocust.analysis.checks.check import Check, Facts
from llmlocust.analysis.checks.validity import checks, standing
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
"""Of what is counted by the second, what a chart shows as so much a second."""
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_OVER_TIME = tuple(key for key, metric in METRICS.items() if metric.over_time)
_PERCENTILES = tuple(f"{metric}_{name}" for metric in _OVER_TIME for name in QUANTILES)
COLUMNS = ("moment", *SECOND_SUMS, *RATES, "client_cpu", "client_lag", *_PERCENTILES)
"""Of a point of the charts; `moment` is the middle of its span."""
_OF_LEVEL = tuple(key for key, metric in METRICS.items() if metric.in_live_view)

_AGAIN = 0.5
"""Levels are worked out once in so many seconds, however many look."""
_AT_LEAST = 5.0
_VERDICT_SHARE = 100.0
"""The verdict is found anew when a level's figures have changed, every 5 s at the most, and for 1 % of the time."""
_NEWEST = 10
"""Seconds whose points are always sent: they may have been left out while they were under way."""
_AT_ONCE = 10
"""Points between two pauses: a millisecond or two. Levels, which take as long, have one each."""
_RECENT = 60
"""Seconds in which the longest request is looked for."""


class Running(Protocol):
    """A run, as far as it is looked at here."""

    ledger: Ledger
    limits: Sequence[Threshold]
    """That were given."""
    began: float
    ended: float | None
    """Epoch seconds."""
    plan: dict[str, Any] | None
    through: bool
    problems: list[str]

    @property
    def lost(self) -> Mapping[str, Sequence[int]]:
        """What was lost with load processes that are away, in words, and the levels that it spoils."""

    lag: float
    """Seconds until what happens has come into the ledger."""

    @property
    def over(self) -> float: ...

    def moment(self) -> float: ...

    @property
    def pause(self) -> Callable[[], None]: ...


class Live:
    def __init__(self, run: Running, resets: int = 0) -> None:
        """`resets` says how many there were in this run, with the one that is made now: from now on only what is new is
        given, and the ledger's spans begin anew.
        """
        self.run = run
        self.resets = resets
        self._since = run.over if resets else 0.0
        self._before = {place: Tally.sum([tally]) for place, tally in run.ledger.tallies.items()} if resets else {}
        if resets or run.ledger.spans is None:
            run.ledger.spans = Spans(self._since)
        self._spans = run.ledger.spans
        self._points: dict[int, tuple[tuple[int, int, int], list[float | None]]] = {}
        self._figures: dict[int, tuple[Any, LevelFigures, float]] = {}
        self._rows: tuple[float, list[dict[str, Any]]] = (-math.inf, [])
        self._verdict: Verdict | None = None
        self._failed: list[Check] = []
        """Of the levels that were judged."""
        self._rests: dict[str, set[int]] = {}
        self._busiest: dict[tuple[int, str], float] = {}
        self._judged: list[tuple[int, int]] = []
        self._judge_next = 0.0

    @property
    def name(self) -> str:
        """Changes where all that was given before is to be forgotten."""
        return f"{self.run.began:.3f}/{self.resets}"

    def snapshot(self, name: str = "", changes: int = 0, level: int | None = None) -> dict[str, Any]:
        """All of it; of the charts' points only what changed since a snapshot with this name said `changes`.

        `level` is the one whose request names are told, the newest unless given.
        """
        run, ledger = self.run, self.run.ledger
        known = changes if name == self.name else 0
        changed = self._spans.changes  # before anything else: a pause lets more come in
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
            "whole_until": self._whole_until(),
            "levels": self.levels(),
            "of_level": None if chosen is None else chosen.index,
            "names": [] if chosen is None else self._names(chosen),
            **self.verdict(),
        }

    # ── charts ──

    def _points_since(self, changes: int) -> dict[int, list[float | None]]:
        """By the number of the span."""
        spans, complete = self._spans, self._complete()
        width = spans.width
        asked = set(spans.changed_since(changes))
        newest = range(complete - _NEWEST, complete)
        asked |= {(second - spans.start) // spans.width for second in newest if second >= spans.start}
        made = {}
        for count, span in enumerate(sorted(asked)):
            if spans.seconds(span).start < complete:
                made[span] = self._point(spans, span, complete)
            if count % _AT_ONCE == _AT_ONCE - 1:
                self.run.pause()
                if spans.width != width:
                    return {}  # they were put together meanwhile: next time
        return made

    def _complete(self) -> int:
        """The first second of which not every process has told yet."""
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
        told = [found for each in seconds if (found := self.run.ledger.seconds.get(each))]
        values = {"moment": (seconds.start + seconds.stop) / 2.0}
        values |= {gauge: _mean(each[gauge] for each in told if gauge in each) for gauge in SECOND_SUMS}
        values |= {what: sum(each.get(what, 0) for each in told) / len(seconds) for what in RATES}
        values |= {
            gauge: max((each[gauge] for each in told if gauge in each), default=math.nan) for gauge in SECOND_MAXIMA
        }
        for metric in _OVER_TIME:
            values |= {f"{metric}_{name}": _ms(spans.quantile(span, metric, q)) for name, q in QUANTILES.items()}
        return [_plain(values[column]) for column in COLUMNS]

    def _whole_until(self) -> float:
        """Until when the charts will hardly change: a request is counted, with its tokens, when it has ended."""
        over, seconds = self.run.over, self.run.ledger.seconds
        if self.run.ended is not None:
            return over
        recent = range(max(0, int(over) - _RECENT), int(over) + 1)
        longest = [taken for each in recent if not math.isnan(taken := seconds.value(each, "longest"))]
        return max(self._since, over - max(longest) - self.run.lag) if longest else self._since

    def newest_second(self) -> dict[str, float]:
        """SECOND_SUMS and SECOND_MAXIMA in the last second that every process has told of; as far as they are known.
        CPU is a share of one core, lags are milliseconds.
        """
        return dict(self.run.ledger.seconds.get(self._complete() - 1, {}))

    # ── levels ──

    def levels(self) -> list[dict[str, Any]]:
        """One for each level, oldest first."""
        moment = self.run.moment()
        if moment > self._rows[0] + _AGAIN:
            self._rows = (moment, self._rows[1])  # who asks in a pause gets those of before
            self._rows = (moment, [self._row(level) for level in self._levels()])
        return self._rows[1]

    def _levels(self) -> list[Level]:
        """Those of which something is shown. One that a reset fell into is measured from there on."""
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
            "tier": tier(self._limits(), figures, good) if level.warmed_up is not None else None,
            **_row_of(figures, good),
        }

    def _figures_of(self, level: Level) -> tuple[LevelFigures, float]:
        """And the goodput: NaN where no limits are given, as which requests are good is then not known."""
        over, tallies = self.run.over, self._tallies(level)
        counts = sum(tally.outcomes.total() + tally.numbers.total() for tally in tallies.values())
        state = (level.warmed_up, over if level.ended is None else level.ended, counts)
        if level.index not in self._figures or self._figures[level.index][0] != state:
            tally = self._less_before(tallies)
            figures = LevelFigures.of(level, tally, over, users=self.run.ledger.mean("users", level, over))
            self._figures[level.index] = (state, figures, self._goodput(figures, tally))
            self.run.pause()
        return self._figures[level.index][1:]

    def _tallies(self, level: Level) -> dict[tuple[int, str], Tally]:
        return {place: tally for place, tally in self.run.ledger.tallies.items() if place[0] == level.index}

    def _less_before(self, tallies: dict[tuple[int, str], Tally]) -> Tally:
        before = self._before
        return Tally.sum(tally.without(before[place]) if place in before else tally for place, tally in tallies.items())

    def _goodput(self, figures: LevelFigures, tally: Tally) -> float:
        """As the report has it: the good share of the successful requests times their throughput."""
        if not self.run.limits or not tally.outcomes[OK]:
            return math.nan
        return tally.numbers["good"] / tally.outcomes[OK] * figures.throughput

    def _names(self, level: Level) -> list[dict[str, Any]]:
        """Of a level, one for each request name."""
        ledger = self.run.ledger
        newest = level.index == ledger.levels[-1].index
        rows = []
        for (index, name), tally in sorted(self._tallies(level).items(), key=lambda item: item[0]):
            shown = self._less_before({(index, name): tally})
            figures = LevelFigures.of(level, shown, self.run.over)
            in_flight = ledger.in_flight[name] if newest else None
            rows.append({"name": name, "in_flight": in_flight, **_row_of(figures, self._goodput(figures, shown))})
            self.run.pause()
        return rows

    # ── the verdict so far ──

    def _limits(self) -> Sequence[Threshold]:
        return self._verdict.thresholds if self._verdict else self.run.limits

    def verdict(self) -> dict[str, Any]:
        """The four numbers as far as they are known, with the loads they are at, and the limits they were judged by."""
        self._judge()
        found, failed = self._verdict, [*self._failed, *_failures(self.run.lost)]
        stands = standing([*failed, *_failures(dict.fromkeys(self.run.problems, ()))], self._rests)
        numbers = (
            {name: _finding(each) | {"stands": stands[name]} for name, each in found.numbers().items()}
            if found
            else None
        )
        return {
            "numbers": numbers,
            "doubts": [{"says": str(each.says), "levels": each.levels} for each in failed],
            "judged": len(self._judged),
            "limits": [_limit(each) for each in self._limits()],
            "derived": bool(found and found.derived),
        }

    def _judge(self) -> None:
        """Of the levels that are over, and whose reports are in."""
        run, moment = self.run, self.run.moment()
        over = [each for each in self._levels() if each.ended is not None and moment >= each.ended + run.lag]
        made = [(figures, good) for figures, good in map(self._figures_of, over) if figures.requests]
        counts = [(figures.level, figures.requests) for figures, _ in made]
        if counts == self._judged or moment < self._judge_next:
            return
        goodput = {figures.level: good for figures, good in made if math.isfinite(good)}
        self._judged = counts
        levels = [figures for figures, _ in made]
        ramp = of_the_ramp(levels)
        self._verdict = find(ramp, run.limits, goodput, empty=empty_levels(ramp, {})) if made else None
        self._doubt(self._verdict, levels)
        self._judge_next = run.moment() + max(_AT_LEAST, (run.moment() - moment) * _VERDICT_SHARE)

    def _doubt(self, verdict: Verdict | None, levels: Sequence[LevelFigures]) -> None:
        """What the figures themselves tell: checks of single requests are the report's."""
        if verdict is None:
            self._failed, self._rests = [], {}
            return
        facts = Facts(
            client_cpu={each.level: self._usual_worst(each.level, "client_cpu") for each in levels},
            loop_lag={each.level: self._usual_worst(each.level, "loop_lag") / 1000.0 for each in levels},
            turn_wait={each.level: self._usual_worst(each.level, "turn_wait") / 1000.0 for each in levels},
            throttled={each.level: self._mean(each.level, "throttled") for each in levels},
            core_wait={each.level: self._mean(each.level, "core_wait") for each in levels},
            clocks=self.run.ledger.clocks,
            decisive=verdict.decisive(of_the_ramp(levels)),
        )
        self._failed = [each for each in checks(levels, facts, verdict.thresholds) if not each.ok]
        self._rests = verdict.rests(of_the_ramp(levels))

    def _mean(self, index: int, gauge: str) -> float:
        """The mean of the seconds of a level's window; NaN where none is known."""
        return self.run.ledger.mean(gauge, self.run.ledger.levels[index], self.run.moment())

    def _usual_worst(self, index: int, gauge: str) -> float:
        """The 90th percentile of the seconds of a level that is over, as the report takes it; NaN where none is told."""
        if (index, gauge) not in self._busiest:
            level = self.run.ledger.levels[index]
            end = self.run.over if level.ended is None else level.ended
            told = sorted(self.run.ledger.seconds.told(gauge, math.ceil(level.began - 0.5), math.ceil(end - 0.5)))
            self._busiest[index, gauge] = told[int(0.9 * (len(told) - 1))] if told else math.nan
            self.run.pause()
        return self._busiest[index, gauge]


def _failures(said: Mapping[str, Sequence[int]]) -> list[Check]:
    return [Check("run", False, None, None, words, tuple(levels)) for words, levels in said.items()]


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
    """Percentiles; where the load generator was late, between what they lie."""
    if not summary.count:
        return None
    made: dict[str, Any] = {name: _plain(_ms(summary[name])) for name in HEADLINE}
    unsure = {name: between for name in HEADLINE if (between := summary.range_of(name))}
    return made | {name: [_plain(_ms(end)) for end in between] for name, between in unsure.items()}


def _finding(found: Finding) -> dict[str, Any]:
    places = {name: getattr(found, name) for name in ("load", "low", "high")}
    loads = {name: None if load is None else _plain(load) for name, load in places.items()}
    return {"reached": found.reached, "why": str(found.why), **loads}


def _limit(threshold: Threshold) -> dict[str, Any]:
    made = {"says": str(threshold), "metric": threshold.metric, "statistic": threshold.statistic}
    if not threshold.is_duration:
        return made | {"ms": None, "gold_ms": None}
    return made | {"ms": _ms(threshold.bound), "gold_ms": _ms(threshold.gold.bound) if threshold.gold else None}


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else math.nan


def _ms(seconds: float) -> float:
    return seconds * 1000.0


def _plain(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return round(value, 4) if math.isfinite(value) else None
