"""How well and how fast the search finds the limit, on virtual servers whose limit is known (systems.py).

    python bench/searching.py [--systems 300] [--first 200000] [--capacity] [--each]

Each server is searched once, from 4 users up to its staircase's highest level, by the search that `--llm-search`
runs, with the settings that it has by default. The limit is what long runs say. A ten-level staircase of the same
server takes ten times what a level of `llmlocust run` takes, which is 5 s of settling and 30 s of measuring beside the
ramp. The times that requests need to end after the last level are in neither.

A level's requests are simulated with the load of the level before it as warm-up, or, where the load falls or stays,
with its own; where it falls, the users who leave end their requests first, and that time is counted.

The settings were chosen on the seeds below 100000, and looked at once more after those from 100000 on. Needs gcc.
"""

import argparse
import math
import statistics
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from systems import ERRORS, SPAWN, Case, _full, draw, figure, simulate

from llmlocust.load.search import Limits, Queueing, Search
from llmlocust.metrics.levels import Tally
from llmlocust.metrics.thresholds import Threshold

STAIRCASE = 10 * (SPAWN + 5.0 + 30.0)
NEAR, WITHIN, SHARE = 0.05, 0.9, 0.4
WARM_UP = 90.0
"""Also the most that a level may take."""


@dataclass
class Measured:
    """A level: its requests, on the clock of the whole search."""

    records: np.ndarray
    warmed_up: float
    ended: float = math.inf

    def tally(self, now: float) -> Tally:
        sent, first, ended, tokens, failed = self.records[:, :5].T
        come = (ended < now) & (sent >= self.warmed_up)
        counted, good = come & (sent < self.ended), failed == 0
        tally = Tally()
        tally.outcomes["ok"] = int((counted & good).sum())
        tally.outcomes["http_503"] = int((counted & ~good).sum())
        tally.numbers["ended_ok"] = int((good & (ended >= self.warmed_up) & (ended < min(now, self.ended))).sum())
        ok = counted & good
        tally.histogram("ttft").extend((first - sent)[ok])
        tally.histogram("e2e").extend((ended - sent)[ok])
        several = ok & (tokens > 1)
        tally.histogram("tpot").extend(((ended - first) / np.maximum(tokens - 1, 1))[several])
        return tally


@dataclass
class Searched:
    """A search on a virtual server."""

    case: Case
    search: Search
    now: float = 0.0
    levels: list[Measured] = field(default_factory=list)

    def run(self) -> None:
        before = 0.0
        while not self.search.done:
            load = self.search.load
            warm = before if 0.0 < before < load else load
            began = self.now
            records = simulate(self.case.system, (warm, load), WARM_UP, self.case.seed * 1000 + len(self.levels))
            records[:, [0, 1, 2]] += began - WARM_UP
            self.now += SPAWN if load > before else self._leaving() if load < before else 0.0
            self.now = math.ceil(self.now + self.search.warmup)
            level = Measured(records, self.now)
            self.levels.append(level)
            while not self.search.decide(self.now - level.warmed_up, self._tally):
                self.now += 1.0
            level.ended = self.now
            before = load

    def _tally(self, index: int) -> Tally:
        return self.levels[index].tally(self.now)

    def _leaving(self) -> float:
        """How long the users who leave take to end their requests."""
        e2e = self.levels[-1].tally(self.now).histogram("e2e")
        return e2e.quantile(0.95) if e2e.count else 0.0


def truth(case: Case, most: float, broken) -> float:
    """The highest load that is not broken; 0 where there is none."""
    if broken(1.0):
        return 0.0
    low, high = 1.0, most
    if not broken(high):
        return most
    while high - low > max(1.0, 0.01 * low):
        middle = float(round(math.sqrt(low * high) if high > 2.0 * low else (low + high) / 2.0))
        low, high = (low, middle) if broken(middle) else (middle, high)
    return (low + high) / 2.0 if high - low > 1.0 else low


def breaks_a_threshold(case: Case, load: float) -> bool:
    return not all(each.met_by(figure(case.system, load, each)) for each in case.thresholds)


def queues(case: Case, load: float) -> bool:
    """Whether most requests find all slots, or the cache, taken, or too many fail."""
    failing = figure(case.system, load, Threshold.parse("errors < 1%"))
    return _full(case.system, load) or failing > ERRORS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", type=int, default=300)
    parser.add_argument("--first", type=int, default=200_000, help="the first seed")
    parser.add_argument("--capacity", action="store_true", help="search for capacity instead of the thresholds' limit")
    parser.add_argument("--each", action="store_true", help="a line for each that went wrong or took long")
    options = parser.parse_args()
    rows = []
    seed = options.first
    while len(rows) < options.systems:
        case = draw(seed)
        seed += 1
        if not case.system.open:  # there is no open load to search by yet
            rows.append(searched(case, capacity=options.capacity, told=options.each))
    report(rows)


def searched(case: Case, *, capacity: bool, told: bool) -> tuple[str, float, float, float, bool]:
    most = case.loads[-1]
    is_broken = partial(queues if capacity else breaks_a_threshold, case)
    search = Search(Queueing() if capacity else Limits(case.thresholds), max_load=most)
    ran = Searched(case, search)
    ran.run()
    limit, found = truth(case, most, is_broken), search.answer or 0.0
    near = abs(found - limit) <= max(1.0, NEAR * limit)
    if told and (not near or ran.now > STAIRCASE * SHARE):
        path = " ".join(f"{t.load:g}:{t.held:.0f}{t.verdict[0]}{'!' * t.sure}{'c' * t.confirms}" for t in search.trials)
        print(case.seed, case.kind, *case.thresholds, f"true {limit:g} found {found:g} in {ran.now:.0f} s:", path)
    return case.kind, limit, found, ran.now, near


def report(rows: list[tuple[str, float, float, float, bool]]) -> None:
    print(
        "| servers | within 5 % or one user | median time | mean time | of the staircase's, mean | took at most 40 % |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for kind in [*sorted({row[0] for row in rows}), "all"]:
        of_kind = [row for row in rows if kind in (row[0], "all")]
        times = [row[3] for row in of_kind]
        near = statistics.mean(row[4] for row in of_kind)
        fast = statistics.mean(time <= SHARE * STAIRCASE for time in times)
        mean = statistics.mean(times)
        print(
            f"| {kind}, {len(of_kind)} | {near:.1%} | {statistics.median(times):.0f} s | {mean:.0f} s "
            f"| {mean / STAIRCASE:.1%} | {fast:.1%} |"
        )
    print(f"| required | ≥ {WITHIN:.0%} | | | ≤ {SHARE:.0%} | |")


if __name__ == "__main__":
    main()
