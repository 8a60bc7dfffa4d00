"""Whether `llmlocust compare` says what is true of pairs of runs whose difference is known.

    python bench/comparing.py [--pairs 200] [--seed 300000]    equal pairs, and so many whose first tokens take 10 % longer
    python bench/comparing.py --real 3                         real runs against the simulator's own process: so many of each

A pair is two runs of one staircase, each with dice of its own (lengths, prompts, arrivals, think time), in front of the
simulator's engine in virtual time, as the plugin would have written their files; a level is held for --requests requests.
Slots, speed, loads up to 1.5 times the capacity, think time, and whether all answers are cut to one length, are drawn from
the seed. In a pair that differs NEW holds every first token, and with it the rest of its answer, back by a tenth of what
it took. An equal pair is a false alarm where any figure at any level, or over all levels, is called faster, slower, fewer
or more; a pair that differs is found where a figure of TTFT is called slower.
"""

import argparse
import heapq
import math
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import mean

import numpy as np
import pandas as pd

from llmlocust.analysis.comparison.compare import SAME, SLOWER, UNSURE, Comparison, compare
from llmlocust.assessment.assessment import assess
from llmlocust.metrics import vocabulary
from llmlocust.metrics.levels import RATE, USERS, Level, LevelFigures, Tally
from llmlocust.metrics.rows import REQUEST_COLUMNS
from llmlocust.report.comparison.compared import held_of
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading.locate import load_run
from llmlocust.runfiles.reading.run_data import OURS, RunData
from llmlocust.simulator.engine import Engine, Sequence
from llmlocust.simulator.settings import Settings

LOCKSTEP = "in lockstep"
EPOCH = 1_795_000_000.0
LATER = 1.10
SETTLED_CYCLES = 3.0
WITHIN = 0.0005
"""Seconds from the end of an answer to its user's next request, on average, besides think time."""


@dataclass(frozen=True)
class Case:
    """A server and its load, drawn from a seed."""

    seed: int
    settings: Settings
    loads: tuple[float, ...]
    unit: str
    think: float
    prompt: float
    tokens: float
    spread: float
    longest: int

    @property
    def kind(self) -> str:
        return (
            "open"
            if self.unit == RATE
            else ("one length, " if self.longest < self.tokens else "") + "think"
            if self.think
            else (LOCKSTEP if self.longest < self.tokens else "closed")
        )

    def rate(self, load: float) -> float:
        """Roughly, requests a second at a load."""
        if self.unit == RATE:
            return min(load, self.most)
        return min(self.most, load / (self.busy(min(load, self.settings.slots)) + self.think))

    @property
    def most(self) -> float:
        return self.settings.slots / self.busy(self.settings.slots)

    def busy(self, running: float) -> float:
        """Seconds that a request runs among so many."""
        tokens = min(self.tokens, self.longest)
        return running * tokens / self.settings.tokens_per_second(round(running), self.prompt, tokens)


def drawn(seed: int) -> Case:
    dice = random.Random(seed)
    slots = round(_log(dice, 8, 64))
    step = _log(dice, 8.0, 30.0)
    settings = Settings(
        slots=slots,
        step_ms=step,
        step_ms_per_seq=step * dice.uniform(0.1, 1.5) / slots,
        prefill_ms_per_token=_log(dice, 0.02, 0.4),
    )
    tokens = _log(dice, 25.0, 80.0)
    unit = RATE if dice.random() < 0.25 else USERS
    case = Case(
        seed,
        settings,
        (),
        unit,
        think=dice.choice([0.0, 0.0, _log(dice, 0.5, 5.0)]) if unit == USERS else 0.0,
        prompt=_log(dice, 30.0, 300.0),
        tokens=tokens,
        spread=dice.uniform(0.2, 0.7),
        longest=dice.choice([1 << 30, 1 << 30, int(tokens * 0.4)]),
    )
    top = case.most * (1.0 if unit == RATE else case.busy(slots) + case.think)
    shares = (0.15, 0.4, 0.7, 0.95) if unit == RATE else (0.15, 0.4, 0.7, 0.95, 1.05, 1.5)
    loads = [float(f"{top * share:.3g}") if unit == RATE else float(max(1, round(top * share))) for share in shares]
    return Case(**{**case.__dict__, "loads": tuple(sorted(set(loads)))})


def _log(dice: random.Random, low: float, high: float) -> float:
    return math.exp(dice.uniform(math.log(low), math.log(high)))


class Run:
    """One run of a case in virtual time."""

    def __init__(self, case: Case, seed: str, later: float = 1.0, requests: int = 1000) -> None:
        self.case, self.later, self.requests = case, later, requests
        self.dice = random.Random(seed)
        self.engine = Engine(case.settings)
        self.asking: list[tuple[float, int]] = []
        self.asked = 0
        self.users = 0
        self.rows: list[dict[str, float]] = []
        self.seconds: Counter[int] = Counter()
        self.levels: list[Level] = []
        for load in case.loads:
            self._hold(load)
        self.asking.clear()
        self.users = 0  # who asks no more
        self._until(math.inf)

    def _hold(self, load: float) -> None:
        began = self.levels[-1].ended if self.levels else 0.0
        assert began is not None
        rate = self.case.rate(load)
        cycle = 5.0 if self.case.unit == RATE else load / rate
        level = Level(len(self.levels), load, self.case.unit, began, began + max(5.0, SETTLED_CYCLES * cycle))
        level.ended = (level.warmed_up or 0.0) + self.requests / rate
        self.levels.append(level)
        if self.case.unit == RATE:
            moment = began
            while (moment := moment + self.dice.expovariate(load)) < level.ended:
                self._ask_at(moment)
        for _ in range(self.users, int(load) if self.case.unit == USERS else 0):
            self._ask_at(began + self.dice.uniform(0.0, min(2.0, cycle)))
            self.users += 1
        self._until(level.ended)

    def _ask_at(self, moment: float) -> None:
        heapq.heappush(self.asking, (moment, self.asked))
        self.asked += 1

    def _until(self, end: float) -> None:
        while True:
            due, sent = self.engine.due, self.asking[0][0] if self.asking else math.inf
            if min(due, sent) >= end:
                return
            if due <= sent:
                self._step(due)
            else:
                heapq.heappop(self.asking)
                self._submit(sent)

    def _submit(self, sent: float) -> None:
        length = self.case.tokens * math.exp(self.case.spread * self.dice.gauss(0.0, 1.0) - self.case.spread**2 / 2.0)
        prompt = self.case.prompt * math.exp(0.4 * self.dice.gauss(0.0, 1.0))
        sequence = Sequence(max(1, round(prompt)), max(2, min(self.case.longest, round(length))), owner=[sent])
        self.engine.submit(sequence, sent)

    def _step(self, due: float) -> None:
        event = self.engine.advance(due)
        if event is None:
            return
        for sequence in event.sequences:
            times = sequence.owner
            times.append(event.due)
            self.seconds[int(event.due)] += 1
            if sequence.produced == sequence.output_tokens:
                self._over(times)

    def _over(self, times: list[float]) -> None:
        sent, first = times[0], times[0] + (times[1] - times[0]) * self.later
        times = [sent, *(max(first, each) for each in times[1:])]
        last = times[-1]
        gaps = sorted(after - before for before, after in pairwise(times[1:]))
        self.rows.append(
            {
                "sent": EPOCH + sent,
                "ttft": (first - sent) * 1e3,
                "e2e": (last - sent) * 1e3,
                "tpot": (last - first) / len(gaps) * 1e3,
                "itl_p50": gaps[(len(gaps) - 1) // 2] * 1e3,
                "itl_max": gaps[-1] * 1e3,
                "output_tokens": len(times) - 1,
            }
        )
        if self.case.unit == USERS and self.asked:
            think = self.case.think * self.dice.uniform(0.5, 1.5) + self.dice.expovariate(1.0 / WITHIN)
            if self.users:
                self._ask_at(last + think)

    def frames(self) -> RunData:
        rows = pd.DataFrame(self.rows).sort_values("sent", ignore_index=True)
        sent = rows["sent"].to_numpy() - EPOCH
        level = np.searchsorted([each.began for each in self.levels], sent, side="right") - 1
        warmed_up, ended = (
            np.array([getattr(each, name) for each in self.levels])[level] for name in ("warmed_up", "ended")
        )
        rows = rows.assign(
            level=level, measured=((sent >= warmed_up) & (sent < ended)).astype(int), name="chat", outcome=vocabulary.OK, error="",
            status=200, duration=rows["e2e"], ttfo=rows["ttft"], chunks=rows["output_tokens"], token_source="usage", stalls=0,
            client_queue=0.0, input_tokens=self.case.prompt, weight=1.0, coalesced=0, finish="stop", worker="w1",
        )  # fmt: skip
        rows = rows.assign(**{name: math.nan for name in REQUEST_COLUMNS if name not in rows})
        times = range(int(self.levels[-1].ended or 0.0) + 1)
        timeline = pd.DataFrame(
            {"time": [EPOCH + each for each in times], "tokens": [self.seconds[each] for each in times]}
        )
        timeline["level"] = np.searchsorted([each.began for each in self.levels], list(times), side="right") - 1
        timeline["users"] = [self.levels[each].load for each in timeline["level"]]
        tables = {formats.REQUESTS: rows, formats.TIMELINE: timeline}
        return RunData(Path("virtual"), OURS, [self._figures(each, rows) for each in self.levels], tables=tables)

    def _figures(self, level: Level, rows: pd.DataFrame) -> LevelFigures:
        own = rows[(rows["level"] == level.index) & (rows["measured"] == 1)]
        tally = Tally()
        tally.outcomes[vocabulary.OK] = len(own)
        over = rows["sent"] + rows["duration"] / 1e3 - EPOCH
        tally.numbers["ended_ok"] = int(((over >= level.warmed_up) & (over < level.ended)).sum())
        inside = range(math.ceil(level.warmed_up or 0.0), int(level.ended or 0.0))
        seconds = (level.ended or 0.0) - (level.warmed_up or 0.0)
        tally.numbers["tokens_in_window"] = round(sum(self.seconds[each] for each in inside) / len(inside) * seconds)
        tally.numbers["output_tokens"] = int(own["output_tokens"].sum())
        tally.numbers["chunks"] = tally.numbers["output_tokens"]
        for metric in ("ttft", "ttfo", "e2e", "tpot"):
            tally.histogram(metric).extend(own[metric] / 1e3)
        users = math.nan if level.unit == RATE else level.load
        return LevelFigures.of(level, tally, level.ended or 0.0, EPOCH, users)


@dataclass(frozen=True)
class Result:
    seed: int
    kind: str
    called: tuple[str, ...]
    """The figures called different, with their level."""
    found: bool
    words: Counter
    levels: tuple[bool, ...]
    """For each level that is not doubted: whether TTFT was called slower there."""
    doubted: int
    apart: tuple[float, ...]
    """By level, how far the median TTFTs were apart: |ln(NEW / BASE)|."""


def result(seed: int, kind: str, runs: list[RunData]) -> Result:
    comparison = compared(*runs)
    different = [(None, each) for each in comparison.overall] + [
        (p.load, each) for p in comparison.pairs for each in p.differences
    ]
    called = [(load, each) for load, each in different if each.word not in (SAME, UNSURE)]
    slower = {load for load, each in called if each.metric == "ttft" and each.word == SLOWER}
    return Result(
        seed,
        kind,
        tuple(
            f"{each.name} {each.word} by {each.change(each.effect):.1%} at {load or 'all levels'}"
            for load, each in called
        ),
        bool(slower),
        Counter(each.word for _, each in different),
        tuple(pair.load in slower for pair in comparison.pairs if not pair.doubts),
        len(comparison.doubted),
        tuple(
            abs(e.effect)
            for pair in comparison.pairs
            for e in pair.differences
            if (e.metric, e.statistic) == ("ttft", "p50")
        ),
    )


def compared(base: RunData, new: RunData) -> Comparison:
    first = assess(base)
    limits = first.verdict.thresholds
    return compare(held_of(first, limits), held_of(assess(new, limits), limits))


def virtual_pairs(seed: int, requests: int) -> list[Result]:
    """An equal pair, and one that differs, of the same BASE."""
    case = drawn(seed)
    base, *news = (
        Run(case, f"{seed} {place}", later, requests).frames() for place, later in enumerate((1.0, 1.0, LATER))
    )
    return [result(seed, case.kind, [base, new]) for new in news]


# -- real runs


REAL = {"slots": 16, "step_ms": 6.0, "step_ms_per_seq": 0.3, "answer_tokens": 24}
READS = 3.0
"""Milliseconds for a token of a prompt: most of what a first token takes."""


def real_pairs(number: int) -> Iterator[tuple[Result, Result]]:
    """As `virtual_pairs`, each run by `llmlocust run` against a simulator of its own. In NEW prompts are read slower, so
    that TTFT is about a tenth longer."""
    with tempfile.TemporaryDirectory() as folder:
        for place in range(number):
            base, *news = (
                _real(Path(folder, f"{place}-{name}"), reads)
                for name, reads in (("base", READS), ("equal", READS), ("later", READS * 1.14))
            )
            first, second = (result(place, "real", [base, new]) for new in news)
            yield first, second


def _real(folder: Path, reads: float) -> RunData:
    settings = [
        f"--{name.replace('_', '-')}={value}" for name, value in (REAL | {"prefill_ms_per_token": reads}).items()
    ]
    command = [sys.executable, "-m", "llmlocust.simulator", "--port=0", *settings]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        options = ["--levels=4,9", "--warmup=4", "--hold=45", "--max-tokens=64", f"--out={folder}"]
        try:
            subprocess.run(
                [sys.executable, "-m", "llmlocust.cli", "run", url, *options], check=True, stdout=subprocess.DEVNULL
            )
        finally:
            server.terminate()
    return load_run(folder / "run")


def table(results: list[Result], what: str) -> None:
    print(
        f"\n| {what} | pairs | {'found' if what == 'differ' else 'called different'} | required | TTFT slower, of levels | median TTFTs apart: half, 95 % of levels | figures the same | not told | levels doubted |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    others = [each for each in results if each.kind != LOCKSTEP]
    for kind in (*sorted({each.kind for each in others}), "all of these", LOCKSTEP):
        some = others if kind == "all of these" else [each for each in results if each.kind == kind]
        if not some:
            continue
        levels = [found for each in some for found in each.levels]
        words = sum((each.words for each in some), Counter())
        apart = np.quantile([value for each in some for value in each.apart] or [math.nan], [0.5, 0.95])
        required = ("≥ 95 %" if what == "differ" else "≤ 2 %") if kind == "all of these" else ""
        print(
            f"| {kind} | {len(some)} | {sum(_hit(each, what) for each in some) / len(some):.1%} | {required} | {mean(levels or [math.nan]):.1%} of "
            f"{len(levels)} | {apart[0]:.1%}, {apart[1]:.1%} | {words[SAME] / words.total():.0%} | {words[UNSURE] / words.total():.0%} | {sum(each.doubted for each in some)} |"
        )
    print()
    for each in results:
        if (what == "differ") != _hit(each, what):
            print(f"- seed {each.seed} ({each.kind}): {'; '.join(each.called[:6]) or 'nothing'}")


def _hit(each: Result, what: str) -> bool:
    return each.found if what == "differ" else bool(each.called)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=300_000)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--real", type=int, default=0, metavar="N", help="real runs instead, N pairs of each kind")
    options = parser.parse_args()
    if options.real:
        for what, some in zip(("equal", "differ"), zip(*real_pairs(options.real), strict=True), strict=True):
            table(list(some), what)
        return
    seeds = range(options.seed, options.seed + options.pairs)
    with ProcessPoolExecutor(options.processes) as pool:
        results = list(pool.map(partial(virtual_pairs, requests=options.requests), seeds))
    for what, some in zip(("equal", "differ"), zip(*results, strict=True), strict=True):
        table(list(some), what)


if __name__ == "__main__":
    main()
