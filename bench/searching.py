"""The precision and speed of the search for a limit, on virtual servers whose limit is known (systems.py).

    python bench/searching.py [--systems 300] [--first 200000] [--saturation] [--each]

The search of `--llm-search`, with its default settings, searches each server once, from 4 users up to the highest level of
the server's staircase. The true limit comes from long runs. The time is compared with that of a ten-level staircase of
`llmlocust run` on the same server, where a level takes 5 s of warm-up and 30 s of measuring besides the ramp. Neither time
includes the requests that end after the last level.

The requests of a level are simulated after a warm-up at the load of the level before it, or at its own load if the load
falls or stays. If the load falls, the users that stop end their requests first, and that time is counted.

The settings were chosen on the seeds below 100000, and checked once more with seeds from 100000 on. Needs gcc.
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
"""Seconds before the level, and the maximum seconds of the level itself."""


@dataclass
class SearchedLevel:
    """A level and its requests. Times are seconds since the search began."""

    records: np.ndarray
    warmed_up: float
    ended: float = math.inf

    def tally(self, now: float) -> Tally:
        sent, first, ended, tokens, failed = self.records[:, :5].T
        complete = (ended < now) & (sent >= self.warmed_up)
        counted, good = complete & (sent < self.ended), failed == 0
        tally = Tally()
        tally.outcomes["ok"] = int((counted & good).sum())
        tally.outcomes["http_503"] = int((counted & ~good).sum())
        tally.numbers["ended_ok"] = int((good & (ended >= self.warmed_up) & (ended < min(now, self.ended))).sum())
        ok = counted & good
        tally.histogram("ttft").extend((first - sent)[ok])
        tally.histogram("e2e").extend((ended - sent)[ok])
        has_tpot = ok & (tokens > 1)
        tally.histogram("tpot").extend(((ended - first) / np.maximum(tokens - 1, 1))[has_tpot])
        return tally


@dataclass
class VirtualSearch:
    """A search on a virtual server."""

    case: Case
    search: Search
    now: float = 0.0
    levels: list[SearchedLevel] = field(default_factory=list)

    def run(self) -> None:
        before = 0.0
        while not self.search.done:
            load = self.search.load
            warmup_load = before if 0.0 < before < load else load
            began = self.now
            records = simulate(self.case.system, (warmup_load, load), WARM_UP, self.case.seed * 1000 + len(self.levels))
            records[:, [0, 1, 2]] += began - WARM_UP
            self.now += SPAWN if load > before else self._leaving() if load < before else 0.0
            self.now = math.ceil(self.now + self.search.warmup)
            level = SearchedLevel(records, self.now)
            self.levels.append(level)
            while not self.search.decide(self.now - level.warmed_up, self._tally):
                self.now += 1.0
            level.ended = self.now
            before = load

    def _tally(self, index: int) -> Tally:
        return self.levels[index].tally(self.now)

    def _leaving(self) -> float:
        """Return the seconds that the users that stop need to end their requests."""
        e2e = self.levels[-1].tally(self.now).histogram("e2e")
        return e2e.quantile(0.95) if e2e.count else 0.0


def truth(case: Case, max_load: float, fails) -> float:
    """Return the highest load that does not fail; 0 if all loads fail."""
    if fails(1.0):
        return 0.0
    low, high = 1.0, max_load
    if not fails(high):
        return max_load
    while high - low > max(1.0, 0.01 * low):
        middle = float(round(math.sqrt(low * high) if high > 2.0 * low else (low + high) / 2.0))
        low, high = (low, middle) if fails(middle) else (middle, high)
    return (low + high) / 2.0 if high - low > 1.0 else low


def breaks_a_threshold(case: Case, load: float) -> bool:
    return not all(threshold.met_by(figure(case.system, load, threshold)) for threshold in case.thresholds)


def queues(case: Case, load: float) -> bool:
    """Whether most requests find all slots, or the cache, in use, or too many requests fail."""
    failing = figure(case.system, load, Threshold.parse("errors < 1%"))
    return _full(case.system, load) or failing > ERRORS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", type=int, default=300)
    parser.add_argument("--first", type=int, default=200_000, help="the first seed")
    parser.add_argument("--saturation", action="store_true", help="search for saturation instead of the SLO limit")
    parser.add_argument("--each", action="store_true", help="print a line for each search that was wrong or slow")
    options = parser.parse_args()
    rows = []
    seed = options.first
    while len(rows) < options.systems:
        case = draw(seed)
        seed += 1
        if not case.system.open:  # the search has no open load yet
            rows.append(search_limit(case, saturation=options.saturation, verbose=options.each))
    report(rows)


def search_limit(case: Case, *, saturation: bool, verbose: bool) -> tuple[str, float, float, float, bool]:
    """Return the kind of the server, its true limit, the limit found, the seconds of the search, and whether it is right."""
    max_load = case.loads[-1]
    fails = partial(queues if saturation else breaks_a_threshold, case)
    search = Search(Queueing() if saturation else Limits(case.thresholds), max_load=max_load)
    run = VirtualSearch(case, search)
    run.run()
    limit, answer = truth(case, max_load, fails), search.answer or 0.0
    near = abs(answer - limit) <= max(1.0, NEAR * limit)
    if verbose and (not near or run.now > STAIRCASE * SHARE):
        path = " ".join(f"{t.load:g}:{t.held:.0f}{t.verdict[0]}{'!' * t.sure}{'c' * t.confirms}" for t in search.trials)
        print(case.seed, case.kind, *case.thresholds, f"true {limit:g} found {answer:g} in {run.now:.0f} s:", path)
    return case.kind, limit, answer, run.now, near


def report(rows: list[tuple[str, float, float, float, bool]]) -> None:
    print(
        "| servers | within 5 % or one user | median time | mean time | share of the staircase's, mean | took at most 40 % |"
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
