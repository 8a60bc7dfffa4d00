"""Is the result of `llmlocust compare` right for pairs of runs whose difference is known?

    python bench/comparing.py [--pairs 200] [--seed 300000]    200 equal pairs, and 200 with first tokens 10 % later
    python bench/comparing.py --real 3                         3 pairs of each kind, of real runs against the simulator

A pair is two runs of one staircase against the simulator's engine in virtual time, with the files that the plugin would
have written. Each run has its own random numbers (lengths, prompts, arrivals, think time), and measures a level for
--requests requests. The seed determines slots, speed, loads (up to 1.5 times the server's maximum), think time, and
whether all answers are cut to one length. In a pair that differs, NEW delays every first token by a tenth of its TTFT,
and the tokens that would come earlier with it. An equal pair is a false alarm if any figure, at any level or over all
levels, is called faster, slower, fewer or more. A pair that differs is detected if a figure of TTFT is called slower.
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
TTFT_FACTOR = 1.10
WARMUP_CYCLES = 3.0
CLIENT_TIME = 0.0005
"""Mean seconds from the end of an answer to its user's next request, in addition to think time."""


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
    max_tokens: int

    @property
    def kind(self) -> str:
        return (
            "open"
            if self.unit == RATE
            else ("one length, " if self.max_tokens < self.tokens else "") + "think"
            if self.think
            else (LOCKSTEP if self.max_tokens < self.tokens else "closed")
        )

    def rate(self, load: float) -> float:
        """Return the approximate requests per second at a load."""
        if self.unit == RATE:
            return min(load, self.max_rate)
        return min(self.max_rate, load / (self.busy(min(load, self.settings.slots)) + self.think))

    @property
    def max_rate(self) -> float:
        return self.settings.slots / self.busy(self.settings.slots)

    def busy(self, running: float) -> float:
        """Return the seconds for which a request runs in a batch of this size."""
        tokens = min(self.tokens, self.max_tokens)
        return running * tokens / self.settings.tokens_per_second(round(running), self.prompt, tokens)


def draw(seed: int) -> Case:
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
        max_tokens=dice.choice([1 << 30, 1 << 30, int(tokens * 0.4)]),
    )
    top = case.max_rate * (1.0 if unit == RATE else case.busy(slots) + case.think)
    shares = (0.15, 0.4, 0.7, 0.95) if unit == RATE else (0.15, 0.4, 0.7, 0.95, 1.05, 1.5)
    loads = [float(f"{top * share:.3g}") if unit == RATE else float(max(1, round(top * share))) for share in shares]
    return Case(**{**case.__dict__, "loads": tuple(sorted(set(loads)))})


def _log(dice: random.Random, low: float, high: float) -> float:
    return math.exp(dice.uniform(math.log(low), math.log(high)))


class Run:
    """One run of a case in virtual time."""

    def __init__(self, case: Case, seed: str, ttft_factor: float = 1.0, requests: int = 1000) -> None:
        self.case, self.ttft_factor, self.requests = case, ttft_factor, requests
        self.dice = random.Random(seed)
        self.engine = Engine(case.settings)
        self.pending: list[tuple[float, int]] = []
        """Heap of the moments at which requests are due, and their numbers."""
        self.scheduled = 0
        self.users = 0
        self.rows: list[dict[str, float]] = []
        self.seconds: Counter[int] = Counter()
        self.levels: list[Level] = []
        for load in case.loads:
            self._hold(load)
        self.pending.clear()
        self.users = 0  # users send no further request
        self._run_until(math.inf)

    def _hold(self, load: float) -> None:
        began = self.levels[-1].ended if self.levels else 0.0
        assert began is not None
        rate = self.case.rate(load)
        cycle = 5.0 if self.case.unit == RATE else load / rate
        level = Level(len(self.levels), load, self.case.unit, began, began + max(5.0, WARMUP_CYCLES * cycle))
        level.ended = (level.warmed_up or 0.0) + self.requests / rate
        self.levels.append(level)
        if self.case.unit == RATE:
            moment = began
            while (moment := moment + self.dice.expovariate(load)) < level.ended:
                self._send_at(moment)
        for _ in range(self.users, int(load) if self.case.unit == USERS else 0):
            self._send_at(began + self.dice.uniform(0.0, min(2.0, cycle)))
            self.users += 1
        self._run_until(level.ended)

    def _send_at(self, moment: float) -> None:
        heapq.heappush(self.pending, (moment, self.scheduled))
        self.scheduled += 1

    def _run_until(self, end: float) -> None:
        while True:
            due, sent = self.engine.due, self.pending[0][0] if self.pending else math.inf
            if min(due, sent) >= end:
                return
            if due <= sent:
                self._step(due)
            else:
                heapq.heappop(self.pending)
                self._submit(sent)

    def _submit(self, sent: float) -> None:
        length = self.case.tokens * math.exp(self.case.spread * self.dice.gauss(0.0, 1.0) - self.case.spread**2 / 2.0)
        prompt = self.case.prompt * math.exp(0.4 * self.dice.gauss(0.0, 1.0))
        sequence = Sequence(max(1, round(prompt)), max(2, min(self.case.max_tokens, round(length))), owner=[sent])
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
                self._finish(times)

    def _finish(self, times: list[float]) -> None:
        sent, first = times[0], times[0] + (times[1] - times[0]) * self.ttft_factor
        times = [sent, *(max(first, time) for time in times[1:])]
        last = times[-1]
        itls = sorted(after - before for before, after in pairwise(times[1:]))
        self.rows.append(
            {
                "sent": EPOCH + sent,
                "ttft": (first - sent) * 1e3,
                "e2e": (last - sent) * 1e3,
                "tpot": (last - first) / len(itls) * 1e3,
                "itl_p50": itls[(len(itls) - 1) // 2] * 1e3,
                "itl_max": itls[-1] * 1e3,
                "output_tokens": len(times) - 1,
            }
        )
        if self.case.unit == USERS and self.scheduled:
            think = self.case.think * self.dice.uniform(0.5, 1.5) + self.dice.expovariate(1.0 / CLIENT_TIME)
            if self.users:
                self._send_at(last + think)

    def run_data(self) -> RunData:
        rows = pd.DataFrame(self.rows).sort_values("sent", ignore_index=True)
        sent = rows["sent"].to_numpy() - EPOCH
        levels = np.searchsorted([level.began for level in self.levels], sent, side="right") - 1
        warmed_up, ended = (
            np.array([getattr(level, name) for level in self.levels])[levels] for name in ("warmed_up", "ended")
        )
        rows = rows.assign(
            level=levels, measured=((sent >= warmed_up) & (sent < ended)).astype(int), name="chat", outcome=vocabulary.OK, error="",
            status=200, duration=rows["e2e"], ttfo=rows["ttft"], chunks=rows["output_tokens"], token_source="usage", stalls=0,
            client_queue=0.0, input_tokens=self.case.prompt, weight=1.0, coalesced=0, finish="stop", worker="w1",
        )  # fmt: skip
        rows = rows.assign(**{name: math.nan for name in REQUEST_COLUMNS if name not in rows})
        times = range(int(self.levels[-1].ended or 0.0) + 1)
        timeline = pd.DataFrame(
            {"time": [EPOCH + second for second in times], "tokens": [self.seconds[second] for second in times]}
        )
        timeline["level"] = np.searchsorted([level.began for level in self.levels], list(times), side="right") - 1
        timeline["users"] = [self.levels[index].load for index in timeline["level"]]
        tables = {formats.REQUESTS: rows, formats.TIMELINE: timeline}
        return RunData(Path("virtual"), OURS, [self._figures(level, rows) for level in self.levels], tables=tables)

    def _figures(self, level: Level, rows: pd.DataFrame) -> LevelFigures:
        own = rows[(rows["level"] == level.index) & (rows["measured"] == 1)]
        tally = Tally()
        tally.outcomes[vocabulary.OK] = len(own)
        ended = rows["sent"] + rows["duration"] / 1e3 - EPOCH
        tally.numbers["ended_ok"] = int(((ended >= level.warmed_up) & (ended < level.ended)).sum())
        inside = range(math.ceil(level.warmed_up or 0.0), int(level.ended or 0.0))
        seconds = (level.ended or 0.0) - (level.warmed_up or 0.0)
        tally.numbers["tokens_in_window"] = round(
            sum(self.seconds[second] for second in inside) / len(inside) * seconds
        )
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
    detected: bool
    """Whether TTFT was called slower, at any level or over all levels."""
    words: Counter
    levels: tuple[bool, ...]
    """For each level without doubts: whether TTFT was called slower there."""
    doubted: int
    """Number of levels with doubts."""
    apart: tuple[float, ...]
    """Distance of the median TTFTs of each level: |ln(NEW / BASE)|."""


def result(seed: int, kind: str, runs: list[RunData]) -> Result:
    comparison = compared(*runs)
    differences = [(None, difference) for difference in comparison.overall] + [
        (pair.load, difference) for pair in comparison.pairs for difference in pair.differences
    ]
    called = [(load, difference) for load, difference in differences if difference.word not in (SAME, UNSURE)]
    slower = {load for load, difference in called if difference.metric == "ttft" and difference.word == SLOWER}
    return Result(
        seed,
        kind,
        tuple(
            f"{figure.name} {figure.word} by {figure.change(figure.effect):.1%} at {load or 'all levels'}"
            for load, figure in called
        ),
        bool(slower),
        Counter(difference.word for _, difference in differences),
        tuple(pair.load in slower for pair in comparison.pairs if not pair.doubts),
        len(comparison.doubted),
        tuple(
            abs(difference.effect)
            for pair in comparison.pairs
            for difference in pair.differences
            if (difference.metric, difference.statistic) == ("ttft", "p50")
        ),
    )


def compared(base: RunData, new: RunData) -> Comparison:
    assessment = assess(base)
    thresholds = assessment.verdict.thresholds
    return compare(held_of(assessment, thresholds), held_of(assess(new, thresholds), thresholds))


def virtual_pairs(seed: int, requests: int) -> list[Result]:
    """Return the results of an equal pair and of one that differs, with the same BASE."""
    case = draw(seed)
    base, *news = (
        Run(case, f"{seed} {number}", factor, requests).run_data()
        for number, factor in enumerate((1.0, 1.0, TTFT_FACTOR))
    )
    return [result(seed, case.kind, [base, new]) for new in news]


# -- real runs


REAL = {"slots": 16, "step_ms": 6.0, "step_ms_per_seq": 0.3, "answer_tokens": 24}
PREFILL_MS = 3.0
"""Milliseconds per token of a prompt: the largest part of TTFT."""


def real_pairs(number: int) -> Iterator[tuple[Result, Result]]:
    """Yield the results of an equal pair and of one that differs, of runs of `llmlocust run`, each against its own
    simulator. NEW's simulator reads prompts more slowly, so that TTFT is about a tenth longer.
    """
    with tempfile.TemporaryDirectory() as folder:
        for place in range(number):
            base, *news = (
                _real(Path(folder, f"{place}-{name}"), prefill_ms)
                for name, prefill_ms in (("base", PREFILL_MS), ("equal", PREFILL_MS), ("later", PREFILL_MS * 1.14))
            )
            equal, later = (result(place, "real", [base, new]) for new in news)
            yield equal, later


def _real(folder: Path, prefill_ms: float) -> RunData:
    settings = [
        f"--{name.replace('_', '-')}={value}" for name, value in (REAL | {"prefill_ms_per_token": prefill_ms}).items()
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


def table(results: list[Result], expected: str) -> None:
    print(
        f"\n| {expected} | pairs | {'detected' if expected == 'differ' else 'called different'} | required | levels with slower TTFT | distance of median TTFTs: p50, p95 of levels | figures equal | unsure | levels with doubts |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    others = [result for result in results if result.kind != LOCKSTEP]
    for kind in (*sorted({result.kind for result in others}), "all of these", LOCKSTEP):
        group = others if kind == "all of these" else [result for result in results if result.kind == kind]
        if not group:
            continue
        levels = [slower for result in group for slower in result.levels]
        words = sum((result.words for result in group), Counter())
        apart = np.quantile([value for result in group for value in result.apart] or [math.nan], [0.5, 0.95])
        required = ("≥ 95 %" if expected == "differ" else "≤ 2 %") if kind == "all of these" else ""
        print(
            f"| {kind} | {len(group)} | {sum(_is_counted(result, expected) for result in group) / len(group):.1%} | {required} | {mean(levels or [math.nan]):.1%} of "
            f"{len(levels)} | {apart[0]:.1%}, {apart[1]:.1%} | {words[SAME] / words.total():.0%} | {words[UNSURE] / words.total():.0%} | {sum(result.doubted for result in group)} |"
        )
    print()
    for result in results:
        if (expected == "differ") != _is_counted(result, expected):
            print(f"- seed {result.seed} ({result.kind}): {'; '.join(result.called[:6]) or 'nothing'}")


def _is_counted(result: Result, expected: str) -> bool:
    """Whether a pair that differs is detected, or an equal one is called different."""
    return result.detected if expected == "differ" else bool(result.called)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=300_000)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--real", type=int, default=0, metavar="N", help="real runs instead, N pairs of each kind")
    options = parser.parse_args()
    if options.real:
        for expected, group in zip(("equal", "differ"), zip(*real_pairs(options.real), strict=True), strict=True):
            table(list(group), expected)
        return
    seeds = range(options.seed, options.seed + options.pairs)
    with ProcessPoolExecutor(options.processes) as pool:
        results = list(pool.map(partial(virtual_pairs, requests=options.requests), seeds))
    for expected, group in zip(("equal", "differ"), zip(*results, strict=True), strict=True):
        table(list(group), expected)


if __name__ == "__main__":
    main()
