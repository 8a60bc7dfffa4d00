"""Virtual LLM servers whose limits are known: drawn from a seed, loaded by a staircase, and looked at for long.

`draw(seed)` is a system with its staircase and its thresholds; `observe` what llmlocust would have counted of it with
levels of 30 s; `truth` what forty times as long a run at each load says, at any load between the levels too. The
server itself is systems.c. Needs gcc.
"""

import ctypes
import functools
import math
import random
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from llmlocust.metrics.level_rows import level_of_row, level_row
from llmlocust.metrics.levels import RATE, USERS, Level, LevelFigures, Tally
from llmlocust.metrics.thresholds import Threshold

WARMUP, WINDOW, SPAWN = 10.0, 30.0, 2.0
LONG_SETTLE, LONG = 100.0, 1200.0
PAUSE = 1.0
ERRORS = 0.01
LONGEST_LIMIT = 60.0
FEWEST = 50
"""Requests in the lowest level. Chosen so that reading the last rows of Locust's CSVs by eye finds the safe level of about
80 % of the systems (79 % on seeds below 120; with 10 requests 75 %)."""
ROOM = 2_000_000
FIELDS = ("sent", "first", "ended", "tokens", "failed", "waited")


@dataclass(frozen=True)
class System:
    """systems.c's struct of the same name, in its order."""

    step: float
    step_per_sequence: float
    step_per_waiting: float
    read_per_token: float
    slots: float
    budget: float = 4096.0
    cache: float = math.inf
    queue: float = math.inf
    patience: float = math.inf
    deadline: float = math.inf
    think: float = 0.0
    pause: float = PAUSE
    prompt: float = 200.0
    prompt_spread: float = 0.5
    answer: float = 100.0
    answer_spread: float = 0.5
    fault: float = 0.0
    open: float = 0.0

    @property
    def service(self) -> float:
        """Mean seconds in a full batch, the reading of other prompts left out."""
        return _mean_length(self.answer, self.answer_spread) * (self.step + self.step_per_sequence * self.slots)

    @property
    def capacity(self) -> float:
        """Roughly, in users or requests a second; the drawing of a staircase needs no more."""
        return self.slots / self.service * (1.0 if self.open else self.service + self.think)


@dataclass(frozen=True)
class Case:
    seed: int
    kind: str
    system: System
    loads: tuple[float, ...]
    thresholds: tuple[Threshold, ...] = ()

    @property
    def unit(self) -> str:
        return RATE if self.system.open else USERS


@dataclass(frozen=True)
class Truth:
    """Loads are places in between the levels; infinite where there is nothing up to the highest level, 0 where it is
    at or below the lowest."""

    safe: int
    """The highest level at which, and below which, every threshold holds; -1 where the lowest does not."""
    limit: float
    capacity: float
    """Users: the least number at which more than half of the requests find all slots, or the cache, taken. Requests a
    second: the least rate at which more than 2 % of them are not answered, as a backlog grows or they fail."""
    knee: float
    """From here on the elasticity of throughput stays under a half."""
    onset: float
    """The least load at which more than 1 % of the requests fail."""
    fall: float
    """From here on throughput stays more than 5 % below its best."""

    @property
    def collapse(self) -> float:
        return min(self.onset, self.fall)


# -- drawing


def draw(seed: int) -> Case:
    random_ = random.Random(seed)
    while (case := _draw(seed, random_)) is None:
        pass
    return replace(case, thresholds=_thresholds(case, random_))


def _log(random_: random.Random, low: float, high: float) -> float:
    return math.exp(random_.uniform(math.log(low), math.log(high)))


def _mean_length(median: float, spread: float) -> float:
    return median * math.exp(spread**2 / 2.0)


KINDS = {"plain": 34, "none": 20, "refusing": 12, "impatient": 12, "retrograde": 12, "first": 10}


def _draw(seed: int, random_: random.Random) -> Case | None:
    kind = random_.choices(list(KINDS), list(KINDS.values()))[0]
    slots = round(_log(random_, 6, 160))
    step = _log(random_, 0.008, 0.03)
    system = System(
        step=step,
        step_per_sequence=step * random_.uniform(0.05, 1.5) / slots,
        step_per_waiting=0.0,
        read_per_token=_log(random_, 5e-6, 4e-5),
        slots=slots,
        budget=random_.choice([2048, 4096, 8192]),
        think=random_.choice([0.0, _log(random_, 0.5, 8.0)]),
        prompt=_log(random_, 40, 600),
        prompt_spread=random_.uniform(0.2, 0.8),
        answer=_log(random_, 30, 250),
        answer_spread=random_.uniform(0.2, 0.7),
        open=float(kind in ("plain", "refusing", "impatient", "none") and random_.random() < 0.2),
    )
    system = _of_kind(kind, system, random_)
    reach = {"none": random_.uniform(0.2, 0.75), "first": random_.uniform(2.0, 6.0)}.get(kind, _log(random_, 1.15, 4))
    top = reach * min(system.capacity, 150.0 * (1 + system.think / 4.0))
    loads = _staircase(random_, top, system.capacity * 1.15 if kind == "first" and not system.fault else 0.0, system)
    if len(loads) < 5 or loads[-1] > 700 or loads[0] * WINDOW / _cycle(system) < FEWEST:
        return None
    return Case(seed, kind, system, loads)


def _of_kind(kind: str, system: System, random_: random.Random) -> System:
    if kind == "none" and random_.random() < 0.5:
        # no slots to run out of: every further sequence makes the batch slower, and that is all
        return replace(system, slots=4000, step_per_sequence=system.step * random_.uniform(0.2, 3.0) / system.slots)
    if kind == "refusing":
        return replace(system, queue=round(system.slots * random_.uniform(0.0, 1.0)))
    if kind == "impatient":
        if random_.random() < 0.5:
            return replace(system, patience=_log(random_, 1.0, 2.0 + system.service))
        return replace(system, deadline=system.service * _log(random_, 2.0, 5.0) + 1.0)
    if kind == "retrograde" and random_.random() < 0.7:
        # those who wait cost something too, as in a server that looks through its queue at each step
        return replace(system, step_per_waiting=system.step * random_.uniform(0.1, 1.0) / system.slots)
    if kind == "retrograde":
        # a cache for fewer sequences than slots: those that are thrown out have to be read, and cost, once more
        of_one = _mean_length(system.prompt, system.prompt_spread) + _mean_length(system.answer, system.answer_spread)
        return replace(
            system,
            cache=round(system.slots * of_one * random_.uniform(0.3, 0.7)),
            read_per_token=system.read_per_token * random_.uniform(4.0, 16.0),
            step_per_sequence=system.step_per_sequence * 0.3,
        )
    if kind == "first" and random_.random() < 0.3:
        return replace(system, fault=random_.uniform(0.03, 0.2))
    return system


def _cycle(system: System) -> float:
    """Seconds from request to request of one user among few; 1 where the load is a rate."""
    alone = _mean_length(system.answer, system.answer_spread) * (system.step + system.step_per_sequence)
    return 1.0 if system.open else alone + system.think


def _staircase(random_: random.Random, top: float, bottom: float, system: System) -> tuple[float, ...]:
    count = random_.randint(5, 12)
    shape = random_.choice(["even", "log", "uneven"])
    low = max(bottom, 0.0 if shape == "even" else top / _log(random_, 4.0, 40.0))
    if shape == "uneven":  # steps of which the largest may be four times the smallest
        reached = list(accumulate([0.0, *(random_.uniform(0.5, 2.0) for _ in range(count - 1))]))
        places = [each / reached[-1] for each in reached]
    else:
        places = [(n + (shape == "even")) / (count - (shape == "log")) for n in range(count)]
    loads = [low * (top / low) ** p if shape == "log" else low + (top - low) * p for p in places if top > low]
    rounded = {float(f"{each:.2g}") if system.open else float(round(each)) for each in loads}
    return tuple(sorted(each for each in rounded if each >= (0.05 if system.open else 1)))


def asking_e2e(case: Case) -> Case:
    """The same system with a limit on what any load tester knows: the p95 of whole requests."""
    return replace(case, thresholds=_thresholds(case, random.Random(-case.seed - 1), [("e2e", "p95")]))


ASKED = {("ttft", "p95"): 55, ("ttft", "p50"): 10, ("ttft", "p99"): 10, ("e2e", "p95"): 20, ("tpot", "p95"): 5}


def _thresholds(
    case: Case, random_: random.Random, asked: Sequence[tuple[str, str]] = tuple(ASKED)
) -> tuple[Threshold, ...]:
    metric, statistic = random_.choices(asked, [ASKED[each] for each in asked])[0]
    probe = Threshold(metric, statistic, "<", 1.0, "s")
    # nobody asks for more than a minute, and a backlog that grows without end has no figure
    values = [value for load in case.loads if 0.0 < (value := figure(case.system, load, probe)) < LONGEST_LIMIT]
    errors = Threshold("errors", "", "<", 1.0, "%")
    if not values:
        return (errors,)
    drawn = float(f"{_log(random_, min(values) * 0.5, max(values) * 2.0) * 1000.0:.2g}")
    latency = Threshold(metric, statistic, "<", drawn, "ms")
    return (latency, errors) if random_.random() < 0.5 else (latency,)


# -- running


@functools.cache
def _library() -> ctypes.CDLL:
    made = Path(tempfile.mkdtemp(), "systems.so")
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["gcc", "-O3", "-shared", "-fPIC", "-o", made, source, "-lm"], check=True)
    library = ctypes.CDLL(str(made))
    made.unlink()
    made.parent.rmdir()
    return library


def simulate(system: System, loads: tuple[float, ...], hold: float, seed: int) -> np.ndarray:
    """The requests, one a row, FIELDS its columns; times since the first level began."""
    room = ROOM
    records = np.empty((room, len(FIELDS)))
    count = _library().simulate(
        (ctypes.c_double * 18)(*astuple(system)),
        ctypes.c_int(len(loads)),
        (ctypes.c_double * len(loads))(*loads),
        ctypes.c_double(hold),
        ctypes.c_double(SPAWN),
        ctypes.c_uint64(seed),
        records.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int(room),
    )
    return records[:count].copy()


def ramp(case: Case) -> np.ndarray:
    """The requests of the staircase itself, as a load test would see them once."""
    return simulate(case.system, case.loads, WARMUP + WINDOW, case.seed)


def observe(case: Case, records: np.ndarray | None = None) -> list[LevelFigures]:
    """What llmlocust's file of levels would hold."""
    records = ramp(case) if records is None else records
    return [_figures(records, index, load, case.unit) for index, load in enumerate(case.loads)]


def _figures(records: np.ndarray, index: int, load: float, unit: str) -> LevelFigures:
    began = index * (WARMUP + WINDOW)
    level = Level(index, load, unit, began, began + WARMUP, began + WARMUP + WINDOW)
    sent, first, ended, tokens, failed, _ = records[_sent_in(records, level.warmed_up, level.ended)].T
    good = failed == 0
    tally = Tally()
    tally.outcomes["ok"] = int(good.sum())
    for status in (500, 503, 504):
        tally.outcomes[f"http_{status}" if status != 500 else "http_5xx"] = int((failed == status).sum())
    over = (records[:, 2] >= level.warmed_up) & (records[:, 2] < level.ended) & (records[:, 4] == 0)
    tally.numbers["ended_ok"] = int(over.sum())
    tally.numbers["output_tokens"] = int(tokens[good].sum())
    tally.histogram("ttft").extend((first - sent)[good])
    tally.histogram("e2e").extend((ended - sent)[good])
    several = good & (tokens > 1)
    tally.histogram("tpot").extend(((ended - first) / np.maximum(tokens - 1, 1))[several])
    made = LevelFigures.of(level, tally, level.ended, users=math.nan if unit == RATE else load)
    return level_of_row(level_row(made))  # no more than the file keeps


def _sent_in(records: np.ndarray, begin: float, end: float) -> np.ndarray:
    return (records[:, 0] >= begin) & (records[:, 0] < end)


# -- the truth


@functools.lru_cache(maxsize=256)
def _long(system: System, load: float) -> tuple[np.ndarray, float]:
    """The requests of a long run at one load, and its throughput."""
    records = simulate(system, (load,), LONG_SETTLE + LONG, seed=0x7247 + hash((system, load)) % 2**40)
    over = (records[:, 2] >= LONG_SETTLE) & (records[:, 2] < LONG_SETTLE + LONG) & (records[:, 4] == 0)
    return records[_sent_in(records, LONG_SETTLE, LONG_SETTLE + LONG)], float(over.sum()) / LONG


def figure(system: System, load: float, threshold: Threshold) -> float:
    """What a long run at a load has of a threshold; failed requests as infinitely slow, as Threshold.measured does."""
    sent, first, ended, tokens, failed, _ = _long(system, load)[0].T
    good = failed == 0
    if threshold.metric == "errors":
        return 1.0 - float(good.mean()) if len(good) else math.nan
    if threshold.metric == "tpot":
        values = ((ended - first) / np.maximum(tokens - 1, 1))[good & (tokens > 1)]
    else:
        values = np.where(good, (first if threshold.metric == "ttft" else ended) - sent, np.inf)
    share = {"p50": 0.5, "p95": 0.95, "p99": 0.99}[threshold.statistic]
    return float(np.quantile(values, share, method="inverted_cdf")) if len(values) else math.nan


def truth(case: Case) -> Truth:
    system = case.system

    def holds(load: float) -> bool:
        return all(each.met_by(figure(system, load, each)) for each in case.thresholds)

    knee, fall = _of_throughput(case)
    return Truth(
        safe=safe_level(case),
        limit=_first(case, lambda load: not holds(load)),
        capacity=_first(case, lambda load: _full(system, load)),
        knee=knee,
        onset=_first(case, lambda load: figure(system, load, Threshold.parse("errors < 1%")) > ERRORS),
        fall=fall,
    )


def safe_level(case: Case) -> int:
    """The highest level at which, and below which, every threshold holds in the long run; -1 where there is none."""
    for place, load in enumerate(case.loads):
        if not all(each.met_by(figure(case.system, load, each)) for each in case.thresholds):
            return place - 1
    return len(case.loads) - 1


def _full(system: System, load: float) -> bool:
    records, throughput = _long(system, load)
    if not len(records):
        return False
    return throughput * LONG < 0.98 * len(records) if system.open else float(records[:, 5].mean()) > 0.5


def _first(case: Case, broken: Callable[[float], bool]) -> float:
    """The least load at which something is so, between the levels by halving."""
    place = next((n for n, load in enumerate(case.loads) if broken(load)), None)
    if place is None:
        return math.inf
    if place == 0:
        return 0.0
    low, high = case.loads[place - 1], case.loads[place]
    while high - low > (0.01 * high if case.system.open else max(1.0, 0.01 * high)):
        middle = (low + high) / 2.0 if case.system.open else float((low + high) // 2)
        low, high = (low, middle) if broken(middle) else (middle, high)
    return (low + high) / 2.0


def _of_throughput(case: Case) -> tuple[float, float]:
    """The knee and the fall, from long runs at loads an eighth apart, from below the lowest level to above the highest."""
    loads, at = [], case.loads[0] / 1.4
    while at < case.loads[-1] * 1.4:
        load = at if case.system.open else float(max(1, round(at)))
        if not loads or load > loads[-1]:
            loads.append(load)
        at *= 1.125
    through = [_long(case.system, load)[1] for load in loads]
    slopes = [
        (math.sqrt(low * high), math.log(max(b, 1e-9) / max(a, 1e-9)) / math.log(high / low))
        for low, high, a, b in zip(loads, loads[2:], through, through[2:], strict=False)
    ]
    return _knee(case, slopes), _fall(case, loads, through)


def _knee(case: Case, slopes: list[tuple[float, float]]) -> float:
    buys = [n for n, (_, slope) in enumerate(slopes) if slope >= 0.5]
    if not buys:
        return 0.0
    if buys[-1] == len(slopes) - 1:
        return math.inf
    (low, before), (high, after) = slopes[buys[-1]], slopes[buys[-1] + 1]
    knee = low * (high / low) ** ((before - 0.5) / (before - after))
    return math.inf if knee > case.loads[-1] else 0.0 if knee < case.loads[0] else knee


def _fall(case: Case, loads: list[float], through: list[float]) -> float:
    best = max(through)
    peak = through.index(best)
    low = next((n for n in range(peak, len(loads)) if all(x < 0.95 * best for x in through[n:])), None)
    fall = math.inf if low is None else math.sqrt(loads[low - 1] * loads[low]) if low else 0.0
    return math.inf if fall > case.loads[-1] else 0.0 if fall < case.loads[0] else fall
