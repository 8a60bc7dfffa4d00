"""Virtual LLM servers whose limits are known from long runs.

`draw(seed)` returns a system with its staircase of loads and its thresholds. `observe` returns the figures that llmlocust
would have counted with levels of 30 s. `truth` returns the true limits, from runs that are forty times as long, also at
loads between the levels. systems.c simulates the server. Needs gcc.
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
LONG_WARMUP, LONG = 100.0, 1200.0
PAUSE = 1.0
ERRORS = 0.01
MAX_THRESHOLD = 60.0
"""Seconds."""
MIN_REQUESTS = 50
"""Minimum number of requests in the lowest level. With this value, reading the last rows of Locust's CSVs by eye finds the
safe level of about 80 % of the systems (79 % on seeds below 120; with 10 requests 75 %).
"""
ROOM = 2_000_000
FIELDS = ("sent", "first", "ended", "tokens", "failed", "waited")


@dataclass(frozen=True)
class System:
    """The struct `system` of systems.c, with its fields in the same order."""

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
        """Return the mean seconds of a request in a full batch, without the reading of other prompts."""
        return _mean_length(self.answer, self.answer_spread) * (self.step + self.step_per_sequence * self.slots)

    @property
    def full_load(self) -> float:
        """Return the approximate load that uses all slots, in users or requests per second, for drawing a staircase."""
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
    """The true limits of a system. A load may be between two levels; it is infinite if it is above the highest level,
    and 0 if it is at or below the lowest.
    """

    safe: int
    """Index of the highest level at which, and below which, every threshold is met; -1 if the lowest level fails."""
    limit: float
    """Lowest load at which a threshold is violated."""
    saturation: float
    """With users: the lowest number at which more than half of the requests find all slots, or the cache, in use. With
    requests per second: the lowest rate at which more than 2 % are not answered, because a backlog grows or they fail.
    """
    knee: float
    """Load from which on the elasticity of throughput stays below 0.5."""
    onset: float
    """Lowest load at which more than 1 % of the requests fail."""
    fall: float
    """Load from which on throughput stays more than 5 % below its maximum."""

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
    top = reach * min(system.full_load, 150.0 * (1 + system.think / 4.0))
    loads = _staircase(random_, top, system.full_load * 1.15 if kind == "first" and not system.fault else 0.0, system)
    if len(loads) < 5 or loads[-1] > 700 or loads[0] * WINDOW / _cycle(system) < MIN_REQUESTS:
        return None
    return Case(seed, kind, system, loads)


def _of_kind(kind: str, system: System, random_: random.Random) -> System:
    if kind == "none" and random_.random() < 0.5:
        # more slots than requests: another sequence only makes the batch slower
        return replace(system, slots=4000, step_per_sequence=system.step * random_.uniform(0.2, 3.0) / system.slots)
    if kind == "refusing":
        return replace(system, queue=round(system.slots * random_.uniform(0.0, 1.0)))
    if kind == "impatient":
        if random_.random() < 0.5:
            return replace(system, patience=_log(random_, 1.0, 2.0 + system.service))
        return replace(system, deadline=system.service * _log(random_, 2.0, 5.0) + 1.0)
    if kind == "retrograde" and random_.random() < 0.7:
        # requests in the queue also take time, as in a server that searches its queue at each step
        return replace(system, step_per_waiting=system.step * random_.uniform(0.1, 1.0) / system.slots)
    if kind == "retrograde":
        # the cache has room for fewer sequences than slots: an evicted sequence has to be read again
        tokens = _mean_length(system.prompt, system.prompt_spread) + _mean_length(system.answer, system.answer_spread)
        return replace(
            system,
            cache=round(system.slots * tokens * random_.uniform(0.3, 0.7)),
            read_per_token=system.read_per_token * random_.uniform(4.0, 16.0),
            step_per_sequence=system.step_per_sequence * 0.3,
        )
    if kind == "first" and random_.random() < 0.3:
        return replace(system, fault=random_.uniform(0.03, 0.2))
    return system


def _cycle(system: System) -> float:
    """Return the seconds between two requests of a user at a low load; 1 if the load is a rate."""
    alone = _mean_length(system.answer, system.answer_spread) * (system.step + system.step_per_sequence)
    return 1.0 if system.open else alone + system.think


def _staircase(random_: random.Random, top: float, bottom: float, system: System) -> tuple[float, ...]:
    count = random_.randint(5, 12)
    shape = random_.choice(["even", "log", "uneven"])
    low = max(bottom, 0.0 if shape == "even" else top / _log(random_, 4.0, 40.0))
    if shape == "uneven":  # the largest step may be four times the smallest
        sums = list(accumulate([0.0, *(random_.uniform(0.5, 2.0) for _ in range(count - 1))]))
        places = [value / sums[-1] for value in sums]
    else:
        places = [(n + (shape == "even")) / (count - (shape == "log")) for n in range(count)]
    loads = [low * (top / low) ** p if shape == "log" else low + (top - low) * p for p in places if top > low]
    rounded = {float(f"{load:.2g}") if system.open else float(round(load)) for load in loads}
    return tuple(sorted(load for load in rounded if load >= (0.05 if system.open else 1)))


def with_e2e_threshold(case: Case) -> Case:
    """Return the same system with a threshold on a figure that every load tester has: the p95 of E2E latency."""
    return replace(case, thresholds=_thresholds(case, random.Random(-case.seed - 1), [("e2e", "p95")]))


WEIGHTS = {("ttft", "p95"): 55, ("ttft", "p50"): 10, ("ttft", "p99"): 10, ("e2e", "p95"): 20, ("tpot", "p95"): 5}
"""Relative frequencies of metrics in thresholds."""


def _thresholds(
    case: Case, random_: random.Random, figures: Sequence[tuple[str, str]] = tuple(WEIGHTS)
) -> tuple[Threshold, ...]:
    metric, statistic = random_.choices(figures, [WEIGHTS[figure_] for figure_ in figures])[0]
    probe = Threshold(metric, statistic, "<", 1.0, "s")
    # a threshold above one minute is not realistic, and with a growing backlog there is no stable value
    values = [value for load in case.loads if 0.0 < (value := figure(case.system, load, probe)) < MAX_THRESHOLD]
    errors = Threshold("errors", "", "<", 1.0, "%")
    if not values:
        return (errors,)
    value = float(f"{_log(random_, min(values) * 0.5, max(values) * 2.0) * 1000.0:.2g}")
    latency = Threshold(metric, statistic, "<", value, "ms")
    return (latency, errors) if random_.random() < 0.5 else (latency,)


# -- running


@functools.cache
def _library() -> ctypes.CDLL:
    path = Path(tempfile.mkdtemp(), "systems.so")
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["gcc", "-O3", "-shared", "-fPIC", "-o", path, source, "-lm"], check=True)
    library = ctypes.CDLL(str(path))
    path.unlink()
    path.parent.rmdir()
    return library


def simulate(system: System, loads: tuple[float, ...], hold: float, seed: int) -> np.ndarray:
    """Return the requests: one row each, with the columns FIELDS. Times are seconds since the first level began."""
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
    """Return the requests of one run of the staircase, as of a load test."""
    return simulate(case.system, case.loads, WARMUP + WINDOW, case.seed)


def observe(case: Case, records: np.ndarray | None = None) -> list[LevelFigures]:
    """Return the figures of levels that llmlocust would have written."""
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
    ended_ok = (records[:, 2] >= level.warmed_up) & (records[:, 2] < level.ended) & (records[:, 4] == 0)
    tally.numbers["ended_ok"] = int(ended_ok.sum())
    tally.numbers["output_tokens"] = int(tokens[good].sum())
    tally.histogram("ttft").extend((first - sent)[good])
    tally.histogram("e2e").extend((ended - sent)[good])
    has_tpot = good & (tokens > 1)
    tally.histogram("tpot").extend(((ended - first) / np.maximum(tokens - 1, 1))[has_tpot])
    figures = LevelFigures.of(level, tally, level.ended, users=math.nan if unit == RATE else load)
    return level_of_row(level_row(figures))  # as read from the file


def _sent_in(records: np.ndarray, begin: float, end: float) -> np.ndarray:
    return (records[:, 0] >= begin) & (records[:, 0] < end)


# -- the truth


@functools.lru_cache(maxsize=256)
def _long(system: System, load: float) -> tuple[np.ndarray, float]:
    """Return the requests of a long run at one load, and its throughput in requests per second."""
    records = simulate(system, (load,), LONG_WARMUP + LONG, seed=0x7247 + hash((system, load)) % 2**40)
    ended_ok = (records[:, 2] >= LONG_WARMUP) & (records[:, 2] < LONG_WARMUP + LONG) & (records[:, 4] == 0)
    return records[_sent_in(records, LONG_WARMUP, LONG_WARMUP + LONG)], float(ended_ok.sum()) / LONG


def figure(system: System, load: float, threshold: Threshold) -> float:
    """Return the value of a threshold's metric in a long run at a load. Failed requests count as infinitely slow, as in
    Threshold.measured.
    """
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

    def passes(load: float) -> bool:
        return all(threshold.met_by(figure(system, load, threshold)) for threshold in case.thresholds)

    knee, fall = _of_throughput(case)
    return Truth(
        safe=safe_level(case),
        limit=_first(case, lambda load: not passes(load)),
        saturation=_first(case, lambda load: _full(system, load)),
        knee=knee,
        onset=_first(case, lambda load: figure(system, load, Threshold.parse("errors < 1%")) > ERRORS),
        fall=fall,
    )


def safe_level(case: Case) -> int:
    """Return the index of the highest level at which, and below which, a long run meets every threshold; -1 if none."""
    for place, load in enumerate(case.loads):
        if not all(threshold.met_by(figure(case.system, load, threshold)) for threshold in case.thresholds):
            return place - 1
    return len(case.loads) - 1


def _full(system: System, load: float) -> bool:
    records, throughput = _long(system, load)
    if not len(records):
        return False
    return throughput * LONG < 0.98 * len(records) if system.open else float(records[:, 5].mean()) > 0.5


def _first(case: Case, is_true: Callable[[float], bool]) -> float:
    """Return the lowest load at which a condition is true. A bisection finds loads between two levels."""
    place = next((n for n, load in enumerate(case.loads) if is_true(load)), None)
    if place is None:
        return math.inf
    if place == 0:
        return 0.0
    low, high = case.loads[place - 1], case.loads[place]
    while high - low > (0.01 * high if case.system.open else max(1.0, 0.01 * high)):
        middle = (low + high) / 2.0 if case.system.open else float((low + high) // 2)
        low, high = (low, middle) if is_true(middle) else (middle, high)
    return (low + high) / 2.0


def _of_throughput(case: Case) -> tuple[float, float]:
    """Return the knee and the fall, from long runs at loads in steps of an eighth, beyond the lowest and highest level."""
    loads, next_load = [], case.loads[0] / 1.4
    while next_load < case.loads[-1] * 1.4:
        load = next_load if case.system.open else float(max(1, round(next_load)))
        if not loads or load > loads[-1]:
            loads.append(load)
        next_load *= 1.125
    throughputs = [_long(case.system, load)[1] for load in loads]
    slopes = [
        (math.sqrt(low * high), math.log(max(b, 1e-9) / max(a, 1e-9)) / math.log(high / low))
        for low, high, a, b in zip(loads, loads[2:], throughputs, throughputs[2:], strict=False)
    ]
    return _knee(case, slopes), _fall(case, loads, throughputs)


def _knee(case: Case, slopes: list[tuple[float, float]]) -> float:
    steep = [n for n, (_, slope) in enumerate(slopes) if slope >= 0.5]
    if not steep:
        return 0.0
    if steep[-1] == len(slopes) - 1:
        return math.inf
    (low, before), (high, after) = slopes[steep[-1]], slopes[steep[-1] + 1]
    knee = low * (high / low) ** ((before - 0.5) / (before - after))
    return math.inf if knee > case.loads[-1] else 0.0 if knee < case.loads[0] else knee


def _fall(case: Case, loads: list[float], throughputs: list[float]) -> float:
    best = max(throughputs)
    peak = throughputs.index(best)
    low = next((n for n in range(peak, len(loads)) if all(x < 0.95 * best for x in throughputs[n:])), None)
    fall = math.inf if low is None else math.sqrt(loads[low - 1] * loads[low]) if low else 0.0
    return math.inf if fall > case.loads[-1] else 0.0 if fall < case.loads[0] else fall
