"""Do the validity checks mark runs that were spoiled on purpose, and no clean ones?

    python bench/spoiled.py [--runs 60] [--seed 100000]      virtual runs: 60 of each kind, and five times as many clean
    python bench/spoiled.py --real 2                         real runs against the simulator: 2 of each kind

A virtual run is a staircase of 30 s levels on a server with slots, drawn from its seed: requests, levels, seconds, workers
and counters as the plugin would have written them. A level that is spoiled has enough data for the checks: 60 requests, and
six of each user. Each kind is spoiled in several ways:

    slow generator      its process has no CPU left, or other code blocks it: tokens are read late and together
    short warm-up       the server is cold for a part of the window, at the start of the run or at each new load
    repeated prompts    on a server with a prefix cache; its counters show them, or the options of the run
    drift               the server gets slower during a level, gradually or suddenly
    worker killed       one of several workers dies during a level, with the requests that it had not reported yet

A spoiled run counts as marked if a failed check marks a spoiled level or the whole run, a clean run if any check fails.
"by its own check": the check for this kind failed.
"""

import argparse
import heapq
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import spoiled_real
from spoiled_result import CLEAN, OWN_CHECKS, Result, judge

from llmlocust.metrics.levels import RATE, USERS, Level, LevelFigures, Tally
from llmlocust.metrics.rows import TELEMETRY_COLUMNS
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading.run_data import OURS, RunData

WARMUP, HOLD, RAMP = 10.0, 30.0, 2.0
EPOCH = 1_795_000_000.0
REPORT_INTERVAL = 3.0
MARKED, FALSE_ALARMS = 0.95, 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60, help="of each kind")
    parser.add_argument("--seed", type=int, default=100_000, help="of the first run; the others follow")
    parser.add_argument("--real", type=int, default=0, metavar="N", help="real runs instead, N of each kind")
    parser.add_argument("--verbose", action="store_true", help="describe each missed run and each false alarm")
    options = parser.parse_args()
    results = spoiled_real.results(options.real) if options.real else virtual_results(options.runs, options.seed)
    table(list(results), verbose=options.verbose)


def table(results: list[Result], *, verbose: bool) -> None:
    print("| kind | runs | marked | by its own check | required |")
    print("|---|---:|---:|---:|---:|")
    spoiled = [result for result in results if result.kind != CLEAN]
    for kind in (*OWN_CHECKS, "all of these", CLEAN):
        group = [result for result in results if result.kind == kind] if kind != "all of these" else spoiled
        if group:
            own = "" if kind == CLEAN else f"{sum(result.own for result in group) / len(group):.1%}"
            required = f"≤ {FALSE_ALARMS:.0%}" if kind == CLEAN else f"≥ {MARKED:.0%}"
            print(
                f"| {kind} | {len(group)} | {sum(result.marked for result in group) / len(group):.1%} | {own} | {required} |"
            )
    for result in results if verbose else []:
        if result.marked == (result.kind == CLEAN):
            print(f"{result.kind}, {result.way}: {result.description}; failed: {', '.join(result.failed) or 'none'}")


# -- virtual runs


def virtual_results(runs: int, seed: int) -> Iterator[Result]:
    kinds = [kind for kind in OWN_CHECKS for _ in range(runs)] + [CLEAN] * (len(OWN_CHECKS) * runs)
    for number, kind in enumerate(kinds, seed):
        run = VirtualRun(number, kind)
        yield judge(kind, run.way, run.run_data(), run.spoiled, f"seed {number}, {run.description()}")


@dataclass
class System:
    slots: int
    step: float
    per_sequence: float
    prefill: float
    answer: float
    spread: float
    think: float
    open: bool
    queue: float
    """Maximum number of requests in the queue; the server refuses more."""

    def service(self, batch: float) -> float:
        return self.prefill + self.answer * (self.step + self.per_sequence * batch)

    @property
    def full_load(self) -> float:
        """Return the load that uses all slots, in users or requests per second."""
        rate = self.slots / self.service(self.slots)
        return rate if self.open else rate * (self.service(self.slots) + self.think)


@dataclass
class Request:
    sent: float
    client_queue: float
    first: float = math.nan
    ended: float = math.nan
    tokens: int = 0
    worker: int = 0
    refused: bool = False


@dataclass
class VirtualRun:
    """One virtual run, spoiled according to its kind."""

    seed: int
    kind: str
    way: str = ""
    spoiled: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        while True:
            self.system = self._system()
            self.levels = self._levels()
            if self._long_levels():
                break
        self.workers = self.random.choice([1, 2, 3, 4, 8])
        self.slow: list[tuple[float, float, float, float]] = []
        """Periods in which the server is slower: begin, end, and the factors at begin and end."""
        self.cache = 0.0
        """Share of the prefill time that a cached prompt saves."""
        self.late: dict[int, float] = {}
        """Seconds by which the generator reads late, by level."""
        self.killed: tuple[int, float] | None = None
        """Number of the worker, and the moment of its death."""
        self.options: dict[str, object] = {}
        self.counters = self.random.random() < 0.3
        spoil = {
            "slow generator": self._slow_generator,
            "short warm-up": self._short_warm_up,
            "repeated prompts": self._repeated_prompts,
            "drift": self._drift,
            "worker killed": self._worker_killed,
        }
        if self.kind != CLEAN:
            spoil[self.kind]()
        self.requests = list(self._simulate())

    def description(self) -> str:
        loads = ", ".join(f"{level.load:g}" for level in self.levels)
        return f"{self.system.slots} slots, full at {self.system.full_load:.0f}, loads {loads}, spoiled {sorted(self.spoiled)}"

    # -- drawing

    def _log(self, low: float, high: float) -> float:
        return math.exp(self.random.uniform(math.log(low), math.log(high)))

    def _system(self) -> System:
        slots = round(self._log(6, 120))
        step = self._log(0.008, 0.03)
        return System(
            slots=slots,
            step=step,
            per_sequence=step * self.random.uniform(0.05, 1.2) / slots,
            prefill=self._log(0.02, 0.3),
            answer=self._log(25, 150),
            spread=self.random.uniform(0.1, 0.6),
            think=self.random.choice([0.0, self._log(0.5, 4.0)]),
            open=self.random.random() < 0.2,
            queue=self.random.choice([math.inf, math.inf, slots * self.random.uniform(0.5, 2.0)]),
        )

    def _levels(self) -> list[Level]:
        top = self._log(0.5, 2.5) * self.system.full_load
        top = top if self.system.open else min(300.0, top)
        count = self.random.randint(5, 9)
        loads = [top * (0.08 + 0.92 * (place / (count - 1)) ** self.random.uniform(1.0, 1.6)) for place in range(count)]
        loads = sorted({float(max(1, round(load))) for load in loads} if not self.system.open else set(loads))
        unit = RATE if self.system.open else USERS
        length = WARMUP + HOLD
        levels = [Level(index, load, unit, index * length, index * length + WARMUP) for index, load in enumerate(loads)]
        for level in levels:
            level.ended = level.began + length
        return levels

    def _long_levels(self) -> list[Level]:
        """Return the levels with enough requests for the checks."""
        return [level for level in self.levels if self._expected(level) >= 60 and self._cycles(level) >= 6]

    def _rate(self, level: Level) -> float:
        system = self.system
        top = system.slots / system.service(system.slots)
        if system.open:
            return min(level.load, top)
        return min(top, level.load / (system.service(min(level.load, system.slots)) + system.think))

    def _expected(self, level: Level) -> float:
        return self._rate(level) * HOLD

    def _cycles(self, level: Level) -> float:
        """Return the number of requests per user inside the window."""
        if self.system.open:
            return HOLD / self.system.service(self.system.slots)
        return self._rate(level) * HOLD / level.load

    # -- spoiling

    def _slow_generator(self) -> None:
        first = self.random.randrange(len(self.levels))
        self.way = self.random.choice(["no CPU left", "blocked"])
        late = self._log(0.05, 0.5)
        for level in self.levels[first:] if self.way == "no CPU left" else [self.levels[first]]:
            self.late[level.index] = late
            self.spoiled.add(level.index)

    def _short_warm_up(self) -> None:
        self.way = self.random.choice(["cold at the start", "cold at every load"])
        factor = self.random.uniform(1.8, 5.0)
        cold = WARMUP + HOLD * self.random.uniform(0.1, 0.45)
        chosen = self.levels if self.way == "cold at every load" else [self.random.choice(self._long_levels())]
        if self.way == "cold at the start":  # the run begins at this level
            self._begin_at(chosen[0])
            chosen = self.levels[:1]
        for level in chosen:
            end = level.began + cold
            self.slow.append((level.began, end, factor, self.random.choice([factor, 1.0 + factor / 3.0])))
            self.spoiled.add(level.index)

    def _begin_at(self, level: Level) -> None:
        self.levels = self.levels[level.index :]
        for index, later in enumerate(self.levels):
            later.index = index
            later.began, later.warmed_up, later.ended = (
                index * (WARMUP + HOLD),
                index * (WARMUP + HOLD) + WARMUP,
                (index + 1) * (WARMUP + HOLD),
            )

    def _repeated_prompts(self) -> None:
        self.way = self.random.choice(["counters", "options"])
        self.cache = self.random.uniform(0.5, 0.95)
        self.counters = self.way == "counters"
        if self.way == "options":
            self.options = {"llm_unique": False, "llm_prompts": "short"}
        self.spoiled = {level.index for level in self.levels}

    def _drift(self) -> None:
        self.way = self.random.choice(["gradual", "sudden"])
        level = self.random.choice(self._long_levels())
        factor = self.random.uniform(1.4, 3.0)
        if self.way == "gradual":
            self.slow.append((level.warmed_up or 0.0, level.ended or 0.0, 1.0, factor))
        else:
            begins = (level.warmed_up or 0.0) + HOLD * self.random.uniform(0.3, 0.7)
            self.slow.append((begins, level.ended or 0.0, factor, factor))
        self.spoiled.add(level.index)

    def _worker_killed(self) -> None:
        self.workers = self.random.choice([2, 3, 4, 8])
        level = self.random.choice(self.levels)
        moment = (level.warmed_up or 0.0) + self.random.uniform(0.0, 0.85) * HOLD
        self.killed = (self.random.randrange(self.workers), moment)
        self.way = f"one of {self.workers}"
        self.spoiled.add(level.index)

    # -- running

    def _speed(self, moment: float) -> float:
        """Return the factor by which the server is slower."""
        for begins, ends, before, after in self.slow:
            if begins <= moment < ends:
                return before + (after - before) * (moment - begins) / (ends - begins)
        return 1.0

    def _simulate(self) -> Iterator[Request]:
        slots = [0.0] * self.system.slots  # moments at which the slots become free
        in_flight: list[float] = []
        for moment, user in self._arrivals():
            while in_flight and in_flight[0] <= moment:
                heapq.heappop(in_flight)
            request = Request(moment, self.random.expovariate(1 / 2e-4), worker=user % self.workers)
            if len(in_flight) >= self.system.slots + self.system.queue:
                request.refused, request.ended = True, moment + 0.003
                self._send_next(request.ended + 1.0, user)
            else:
                self._serve(request, slots, len(in_flight))
                heapq.heappush(in_flight, request.ended)
                self._send_next(request.ended + self.system.think * self.random.uniform(0.5, 1.5), user)
            yield request

    def _arrivals(self) -> Iterator[tuple[float, int]]:
        self._next: list[tuple[float, int]] = []
        users = 0
        for level in self.levels:
            if self.system.open:
                moment = level.began + self.random.expovariate(level.load)
                while moment < (level.ended or 0.0):
                    yield moment, self.random.randrange(self.workers)
                    moment += self.random.expovariate(level.load)
                continue
            for user in range(users, int(level.load)):
                heapq.heappush(self._next, (level.began + RAMP * self.random.random(), user))
            users = int(level.load)
            while self._next and self._next[0][0] < (level.ended or 0.0):
                yield heapq.heappop(self._next)

    def _send_next(self, moment: float, user: int) -> None:
        dead = self.killed is not None and user % self.workers == self.killed[0] and moment > self.killed[1]
        if not self.system.open and not dead:
            heapq.heappush(self._next, (moment, user))

    def _serve(self, request: Request, slots: list[float], waiting: int) -> None:
        system, normal = self.system, self.random.gauss
        begins = max(request.sent, heapq.heappop(slots))
        speed = self._speed(begins)
        uncached = 1.0 - self.cache if self.random.random() < 0.9 else 1.0
        prefill = system.prefill * uncached * speed * math.exp(normal(0.0, 0.15))
        step = (system.step + system.per_sequence * min(waiting + 1, system.slots)) * speed
        request.tokens = max(2, round(system.answer * math.exp(normal(0.0, system.spread))))
        request.first = begins + prefill + step * self.random.random()
        request.ended = request.first + (request.tokens - 1) * step * math.exp(normal(0.0, 0.02))
        heapq.heappush(slots, request.ended)

    # -- writing

    def run_data(self) -> RunData:
        reported = [request for request in self.requests if self._is_reported(request)]
        rows = self._rows(reported)
        figures = [self._figures(level, rows) for level in self.levels]
        tables = {
            formats.REQUESTS: rows,
            formats.TIMELINE: self._timeline(),
            formats.WORKERS: self._worker_rows(),
        }
        if self.counters:
            tables[formats.TELEMETRY] = self._telemetry(rows)
        return RunData(Path("virtual"), OURS, figures, self._info(len(self.requests), len(reported)), tables)

    def _is_reported(self, request: Request) -> bool:
        """Whether the request's worker reported it before it died."""
        if self.killed is None or request.worker != self.killed[0]:
            return True
        return request.ended < self.killed[1] - self.killed[1] % REPORT_INTERVAL

    def _level_at(self, moment: float) -> Level | None:
        return next((level for level in self.levels if level.began <= moment < (level.ended or 0.0)), None)

    def _rows(self, requests: list[Request]) -> pd.DataFrame:
        rows = []
        for request in requests:
            level = self._level_at(request.sent)
            late = self.late.get(level.index, 0.0) if level else 0.0
            ok = not request.refused
            e2e = request.ended - request.sent + late * 0.5
            ttft = request.first - request.sent + late * self.random.random()
            rows.append(
                {
                    "level": level.index if level else math.nan,
                    "measured": int(level is not None and level.measures(request.sent)),
                    "sent": request.sent + EPOCH,
                    "outcome": "ok" if ok else "http_503",
                    "error": "" if ok else "overloaded",
                    "e2e": e2e * 1e3 if ok else math.nan,
                    "ttft": ttft * 1e3 if ok else math.nan,
                    "ttfo": ttft * 1e3 if ok else math.nan,
                    "tpot": (e2e - ttft) * 1e3 / (request.tokens - 1) if ok else math.nan,
                    "duration": e2e * 1e3 if ok else 3.0,
                    "client_queue": request.client_queue * 1e3,
                    "connect": math.nan,
                    "output_tokens": request.tokens if ok else math.nan,
                    "chunks": request.tokens if ok else 0,
                    "input_tokens": 50.0 if ok else math.nan,
                    "token_source": "usage" if ok else "",
                    "unread": "",
                    "weight": 1.0,
                    "worker": f"w{request.worker}",
                }
            )
        return pd.DataFrame(rows)

    def _figures(self, level: Level, rows: pd.DataFrame) -> LevelFigures:
        tally = Tally()
        warmed_up, ended = (EPOCH + (moment or 0.0) for moment in (level.warmed_up, level.ended))
        inside = rows[(rows["level"] == level.index) & (rows["measured"] == 1)]
        ok = inside[inside["outcome"] == "ok"]
        tally.outcomes.update(inside["outcome"].tolist())
        ends = rows["sent"] + rows["duration"] / 1e3
        done = rows[(rows["outcome"] == "ok") & (ends >= warmed_up) & (ends < ended)]
        tally.numbers.update(
            ended_ok=len(done),
            tokens_in_window=int(done["output_tokens"].sum()),
            output_tokens=int(ok["output_tokens"].sum()),
            chunks=int(ok["chunks"].sum()),
        )
        for metric in ("ttft", "ttfo", "e2e", "tpot", "client_queue"):
            tally.histogram(metric).extend((ok[metric] / 1e3).tolist())
        for tpot, tokens in zip(ok["tpot"] / 1e3, ok["output_tokens"], strict=True):
            tally.histogram("itl").add(tpot, int(tokens) - 1)
        if level.index in self.late:
            self._make_uncertain(tally, self.late[level.index])
        return LevelFigures.of(level, tally, level.ended or 0.0, EPOCH, self._users(level, ended))

    def _users(self, level: Level, ended: float) -> float:
        if self.system.open:
            return math.nan
        if self.killed is None or self.killed[1] > (level.ended or 0.0):
            return level.load
        lived = max(0.0, self.killed[1] - (level.warmed_up or 0.0)) / HOLD
        return level.load * (1.0 - (1.0 - lived) / self.workers)

    def _make_uncertain(self, tally: Tally, late: float) -> None:
        """Record the sums of some ITLs instead of the ITLs, as for tokens that arrive while the generator is busy."""
        itls = tally.histogram("itl")
        for value, count in [(value, count) for value, count in Counter(_values(itls)).items()]:
            together = max(2, min(count, round(late / max(value, 1e-4))))
            sums = int(count * self.random.uniform(0.1, 0.5)) // together
            tally.histogram(f"itl_sum_{together}").add(together * value, sums) if sums else None
            if sums:
                tally.histogram("itl_guess").add(value, sums * together)
            tally.numbers["uncertain"] += sums * together
            tally.numbers["coalesced"] += sums * (together - 1)

    def _seconds(self) -> range:
        return range(int(self.levels[-1].ended or 0.0))

    def _timeline(self) -> pd.DataFrame:
        usual = self.random.uniform(0.05, 0.75)
        rows = []
        for second in self._seconds():
            level = self._level_at(second)
            late = self.late.get(level.index, 0.0) if level else 0.0
            is_full = late and self.way == "no CPU left"
            rows.append(
                {
                    "time": EPOCH + second,
                    "level": level.index if level else math.nan,
                    "users": level.load if level else 0.0,
                    "client_cpu": self.random.uniform(0.92, 1.0) if is_full else usual * self.random.uniform(0.8, 1.15),
                    "loop_lag": (late * 1e3 if late else 1.0) * self.random.uniform(0.5, 1.5),
                }
            )
        return pd.DataFrame(rows)

    def _worker_rows(self) -> pd.DataFrame:
        rows = []
        for worker in range(self.workers):
            until = math.inf
            if self.killed is not None and self.killed[0] == worker:
                until = self.killed[1] - self.killed[1] % REPORT_INTERVAL
            rows += [
                {"time": EPOCH + second, "worker": f"w{worker}", "users": 1.0}
                for second in self._seconds()
                if second < until and self.random.random() > 0.002
            ]
        return pd.DataFrame(rows)

    def _telemetry(self, rows: pd.DataFrame) -> pd.DataFrame:
        share = 0.9 * self.cache if self.cache else self.random.uniform(0.0, 0.1)
        tokens = (
            np.searchsorted(np.sort(rows["sent"].to_numpy()), [EPOCH + second for second in self._seconds()]) * 50.0
        )
        samples = [
            {"time": EPOCH + second, "source": "server", "metric": name, "labels": "", "value": value * part}
            for name, part in (("vllm:prefix_cache_queries_total", 1.0), ("vllm:prefix_cache_hits_total", share))
            for second, value in zip(self._seconds(), tokens, strict=True)
        ]
        return pd.DataFrame(samples, columns=TELEMETRY_COLUMNS)

    def _info(self, sent: int, ended: int) -> dict[str, object]:
        think = self.system.think
        return {
            "ended": EPOCH + (self.levels[-1].ended or 0.0),
            "stopped": False,
            "plan": {
                "unit": self.levels[0].unit,
                "levels": [level.load for level in self.levels],
                "warmup": WARMUP,
                "hold": HOLD,
            },
            "options": {"llm_unique": True, **self.options},
            "user_classes": {"Chat": f"wait {0.5 * think:.3f} to {1.5 * think:.3f} s"},
            "clock": "kernel",
            "processes": self.workers,
            "counts": {"sent": sent, "ended": ended},
            "rows": {"seen": ended, "kept": ended},
        }


def _values(histogram: object) -> Iterator[float]:
    """Yield the values of a histogram, each as often as it was counted."""
    for bucket, count in histogram.items():  # type: ignore[attr-defined]
        yield from [2.0 ** (bucket // 128) * (1 + bucket % 128 / 128)] * count


if __name__ == "__main__":
    main()
