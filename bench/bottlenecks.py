"""Virtual servers with a known bottleneck, under a ramp of virtual users.

`draw(seed)` returns a system whose bottleneck, and whose intensity, are drawn at random. `observe` runs its ramp: users in a
closed loop, levels with a warm-up, and scrapes of the server's /metrics and of the exporters beside it once a second through
the accounts of llmlocust.observe. It returns the figures of the levels as llmlocust would have them.

A draw counts only if its bottleneck binds: without it, the level that violates the threshold would meet it, or come much
closer (`is_bound`). This depends on the simulator alone.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from llmlocust.analysis.causes.context import Context, FailureAges
from llmlocust.analysis.checks.check import Facts
from llmlocust.analysis.checks.validity import checks
from llmlocust.metrics.levels import USERS, Level, LevelFigures, Tally
from llmlocust.metrics.telemetry import VOCABULARY, TelemetrySource, TelemetrySummary
from llmlocust.metrics.thresholds import Threshold
from llmlocust.observe.engines import ENGINES
from llmlocust.observe.observer import Observer
from llmlocust.simulator.settings import Settings
from llmlocust.simulator.virtual import VirtualServer

WARMUP, WINDOW = 4.0, 16.0
EPOCH = 1.8e9
PAUSE = 1.0
SERVER, EXPORTERS = "server:8000", "server:9100"

KINDS = (
    *("slots", "kv_cache", "prefill", "decode", "front_end", "network", "rate_limit", "proxy", "client", "power"),
    *("gpu_busy", "memory_full", "harmless_queue"),
)
SHAMS = ("gpu_busy", "memory_full", "harmless_queue")
"""Systems whose telemetry looks bad, and whose thresholds are met."""


@dataclass(frozen=True)
class Client:
    """The load generator: one process that handles every request and every token on one core."""

    request_s: float = 0.0
    token_s: float = 0.0


@dataclass(frozen=True)
class Case:
    seed: int
    kind: str
    variety: str
    """The drawn variant, in a word."""
    settings: Settings
    loads: tuple[int, ...]
    prompt: float
    answer: float
    threshold: Threshold = field(default_factory=lambda: Threshold.parse("errors < 1%"))
    client: Client = field(default_factory=Client)
    think: float = 0.0
    relieved: dict[str, Any] = field(default_factory=dict)
    """Settings without the bottleneck."""

    def with_threshold(self, text: str) -> Case:
        return replace(self, threshold=Threshold.parse(text))


@dataclass
class Answer:
    """One request, as the load generator sees it."""

    sent: float
    first: float = math.nan
    last: float = math.nan
    ended: float = math.nan
    tokens: int = 0
    failure: str = ""
    itls: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Observed:
    levels: list[LevelFigures]
    context: Context


class Run:
    """A ramp of one system."""

    def __init__(self, case: Case, loads: tuple[int, ...] | None = None, *, scraped: bool = True) -> None:
        self.case, self.loads = case, loads or case.loads
        self.random = random.Random(case.seed)
        self.server = VirtualServer(case.settings, EPOCH)
        self.observer = Observer(ENGINES) if scraped else None
        self.answers: list[Answer] = []
        self.windows: list[tuple[float, float]] = []
        self.busy: list[float] = []
        self._free = self._used = 0.0
        self._due: list[tuple[float, int]] = []
        self._next_scrape = 1.0

    def run(self) -> Run:
        if self.observer:
            for source in (SERVER, EXPORTERS):
                self.observer.account(source)
            self._scrape(0.5)
        now, users = 1.0, 0
        for place, load in enumerate(self.loads):
            for user in range(users, load):
                heapq.heappush(self._due, (now + 1.5 * (user - users) / max(1, load - users), user))
            users = load
            warm, end = now + WARMUP, now + WARMUP + WINDOW
            self._until(warm)
            if self.observer:
                self.observer.begin(place, EPOCH + warm)
                self._scrape(warm)
            used = self._used
            self._until(end)
            self.busy.append((self._used - used) / WINDOW)
            if self.observer:
                self.observer.end(place, EPOCH + end)
                self._scrape(end)
            self.windows.append((warm, end))
            now = end
        self._until(now + 8.0, sends=False)
        if self.observer:
            self.observer.finish()
        return self

    def _until(self, end: float, *, sends: bool = True) -> None:
        """Advance the server, the users and the scrapes to a time, in the order of time."""
        server, due = self.server, self._due
        while True:
            send = due[0][0] if due and sends else math.inf
            scrape = self._next_scrape if self.observer else math.inf
            now = min(server.due, send, scrape)
            if now >= end:
                break
            if scrape <= now:
                self._scrape(scrape)
                self._next_scrape += 1.0
                continue
            for event in server.advance(now):
                self._receive(event)
            while due and sends and due[0][0] <= now:
                self._send(now, heapq.heappop(due)[1])
        for event in server.advance(end):
            self._receive(event)

    def _send(self, now: float, user: int) -> None:
        case = self.case
        answer = Answer(now)
        self.answers.append(answer)
        at = self._handle(now, case.client.request_s)
        if at > now:
            # the request leaves when the load generator has time for it
            heapq.heappush(self._due, (at, -1 - len(self.answers)))
            self._late = getattr(self, "_late", {})
            self._late[-1 - len(self.answers)] = (user, answer)
            return
        self._submit(now, user, answer)

    def _submit(self, now: float, user: int, answer: Answer) -> None:
        case = self.case
        prompt = max(4, round(case.prompt * math.exp(self.random.gauss(-0.05, 0.3))))
        tokens = max(2, round(case.answer * math.exp(self.random.gauss(-0.05, 0.3))))
        self.server.submit(now, prompt, tokens, owner=(user, answer))

    def _handle(self, at: float, seconds: float) -> float:
        if not seconds:
            return at
        self._used += seconds
        self._free = max(self._free, at) + seconds
        return self._free

    def _receive(self, event: Any) -> None:
        user, answer = event.request.owner
        if event.kind in ("first", "token"):
            seen = self._handle(event.at, self.case.client.token_s)
            if event.kind == "first":
                answer.first = seen
            else:
                answer.itls.append(seen - answer.last)
            answer.last = seen
            answer.tokens += 1
            return
        answer.ended = answer.last if event.kind == "end" else event.at
        pause = self.case.think
        if event.kind != "end":
            status = event.request.status
            answer.failure = {429: "http_429", 503: "http_503", 504: "http_504"}.get(status, "truncated")
            if event.kind == "refused" and status not in (429, 503, 504):
                answer.failure = "http_5xx"
            pause = max(PAUSE, float(event.request.retry_after))
        wait = self.random.expovariate(1.0 / pause) if pause and event.kind == "end" else pause
        heapq.heappush(self._due, (answer.ended + wait, user))

    def _scrape(self, at: float) -> None:
        assert self.observer
        self.observer.take(SERVER, EPOCH + at, self.server.metrics_text(at).encode())
        self.observer.take(EXPORTERS, EPOCH + at, self.server.exporter_text(at).encode())

    # ── the figures ──

    def levels(self) -> list[LevelFigures]:
        return [self._level(place, load) for place, load in enumerate(self.loads)]

    def _level(self, place: int, load: int) -> LevelFigures:
        warm, end = self.windows[place]
        level = Level(place, float(load), USERS, warm - WARMUP, warm, end)
        tally = Tally()
        for answer in self.answers:
            if warm <= answer.ended < end and not answer.failure:
                tally.numbers["ended_ok"] += 1
            if not warm <= answer.sent < end:
                continue
            if math.isnan(answer.ended) and math.isnan(answer.last):
                continue
            if answer.failure:
                tally.outcomes[answer.failure] += 1
                continue
            if math.isnan(answer.ended):
                continue
            tally.outcomes["ok"] += 1
            tally.numbers["output_tokens"] += answer.tokens
            tally.histogram("ttft").add(answer.first - answer.sent)
            tally.histogram("e2e").add(answer.ended - answer.sent)
            tally.histogram("tpot").add((answer.ended - answer.first) / max(1, answer.tokens - 1))
            tally.histogram("itl").extend(answer.itls)
        figures = LevelFigures.of(level, tally, end, EPOCH, users=float(load))
        if not self.observer:
            return figures
        telemetry: dict[str, tuple[TelemetrySummary, ...]] = {}
        together: dict[str, TelemetrySummary] = {}
        for source, row in self.observer.rows(place):
            if row.metric in VOCABULARY:
                if not source or row.metric not in telemetry:
                    telemetry[row.metric] = (row.summary,)
                if not source:
                    together[row.metric] = row.summary
            else:
                telemetry[row.metric.lower()] = (*telemetry.get(row.metric.lower(), ()), row.summary)
        telemetry |= {key: (summary,) for key, summary in together.items()}
        return replace(figures, telemetry=telemetry)

    def context(self, levels: list[LevelFigures]) -> Context:
        has_client = self.case.client != Client()
        facts = Facts(client_cpu=dict(enumerate(self.busy)) if has_client else dict.fromkeys(range(len(levels)), 0.2))
        if self.case.think:
            facts = replace(facts, think_time=self.case.think)
        exposed: dict[str, set[str]] = {SERVER: set(), EXPORTERS: set()}
        if self.observer:
            for place in range(len(levels)):
                for source, row in self.observer.rows(place):
                    if source and row.metric in VOCABULARY:
                        exposed[source].add(row.metric)
        engines = {SERVER: "vLLM 0.33.0", EXPORTERS: None}
        sources = [
            TelemetrySource(name, f"http://{name}/metrics", engines[name], exposes=tuple(sorted(keys)))
            for name, keys in exposed.items()
        ]
        ages = {}
        for place, (warm, end) in enumerate(self.windows):
            failed = [
                answer.ended - answer.sent
                for answer in self.answers
                if answer.failure not in ("", "http_429") and warm <= answer.sent < end
            ]
            if failed:
                ages[place] = FailureAges(len(failed), *map(float, np.quantile(failed, (0.05, 0.5, 0.95))))
        return Context(facts, checks(levels, facts), sources if self.observer else (), (), ages)


class LateRun(Run):
    """A run whose load generator may send late."""

    def _send(self, now: float, user: int) -> None:
        if user < 0:
            late_user, answer = self._late.pop(user)
            self._submit(now, late_user, answer)
            return
        super()._send(now, user)


def observe(case: Case) -> Observed:
    """Return the figures of a case's ramp."""
    run = LateRun(case).run()
    levels = run.levels()
    return Observed(levels, run.context(levels))


# ── drawing ──


def draw(seed: int, kind: str | None = None) -> Case:
    """Return a system of a kind, by default one that the seed chooses, whose bottleneck binds within its ramp."""
    random_ = random.Random(seed)
    kind = kind or KINDS[seed % len(KINDS)]
    for _ in range(40):
        case = _calibrated(_DRAWS[kind](random_, seed), random_)
        if case is not None:
            return case
    raise RuntimeError(f"no system of kind {kind} for seed {seed}")


def _log(random_: random.Random, low: float, high: float) -> float:
    return math.exp(random_.uniform(math.log(low), math.log(high)))


def _ramp(random_: random.Random, top: float) -> tuple[int, ...]:
    """Return a ramp of 5 to 8 loads up to `top` users."""
    count = random_.randint(5, 8)
    low = max(1.0, top / _log(random_, 8, 30))
    if random_.random() < 0.5:
        loads = [low * (top / low) ** (n / (count - 1)) for n in range(count)]
    else:
        loads = [low + (top - low) * n / (count - 1) for n in range(count)]
    return tuple(sorted({max(1, round(load)) for load in loads}))


def _plain(random_: random.Random, **settings: Any) -> dict[str, Any]:
    """Return the settings of a server that is not bound by anything up to 400 users."""
    step = _log(random_, 8, 25)
    return {
        "step_ms": step,
        "step_ms_per_seq": step * random_.uniform(0.05, 0.3) / 100,
        "prefill_ms_per_token": 0.02,
        "slots": 400,
        "kv_tokens": 400_000,
        "prefill_chunk": random_.choice([2048, 8192]),
    } | settings


def _slots(random_: random.Random, seed: int) -> Case:
    slots = round(_log(random_, 3, 40))
    step = _log(random_, 8, 25)
    prompt, answer = _log(random_, 40, 300), _log(random_, 30, 120)
    settings = _plain(random_, step_ms=step, step_ms_per_seq=step * random_.uniform(0.02, 0.3) / slots, slots=slots) | {
        "kv_tokens": round(slots * (prompt + answer) * random_.uniform(1.7, 6.0)) + 512
    }
    settings["prefill_ms_per_token"] = 0.15 * answer * step / slots / prompt * random_.uniform(0.05, 1.0)
    loads = _ramp(random_, slots * random_.uniform(2.0, 4.0))
    relieved = {"slots": slots * 4, "kv_tokens": settings["kv_tokens"] * 4}
    return Case(seed, "slots", f"{slots} slots", Settings(**settings), loads, prompt, answer, relieved=relieved)


def _kv_cache(random_: random.Random, seed: int) -> Case:
    room = round(_log(random_, 4, 30))
    step = _log(random_, 8, 25)
    prompt, answer = _log(random_, 60, 400), _log(random_, 60, 200)
    settings = _plain(
        random_,
        step_ms=step,
        step_ms_per_seq=step * random_.uniform(0.02, 0.3) / room,
        slots=random_.choice([256, max(8, room * 3)]),
        kv_tokens=round(room * (prompt + answer)) + 64,
    )
    settings["prefill_ms_per_token"] = 0.15 * answer * step / room / prompt * random_.uniform(0.05, 1.0)
    loads = _ramp(random_, room * random_.uniform(2.0, 4.0))
    relieved = {"kv_tokens": settings["kv_tokens"] * 5}
    return Case(seed, "kv_cache", f"{room} sequences", Settings(**settings), loads, prompt, answer, relieved=relieved)


def _prefill(random_: random.Random, seed: int) -> Case:
    prompt, answer = _log(random_, 800, 4000), _log(random_, 10, 50)
    alone = _log(random_, 0.08, 0.5)
    settings = _plain(random_, prefill_ms_per_token=alone * 1000 / prompt, kv_tokens=4_000_000)
    service = alone + answer * settings["step_ms"] / 1000
    loads = _ramp(random_, service / alone * random_.uniform(2.0, 5.0) + 2)
    relieved = {"prefill_ms_per_token": settings["prefill_ms_per_token"] / 4}
    return Case(
        seed,
        "prefill",
        f"{alone * 1000:.0f} ms a prompt",
        Settings(**settings),
        loads,
        prompt,
        answer,
        relieved=relieved,
    )


def _decode(random_: random.Random, seed: int) -> Case:
    step = _log(random_, 6, 20)
    prompt, answer = _log(random_, 40, 200), _log(random_, 40, 150)
    users = round(_log(random_, 12, 80))
    settings = _plain(random_, step_ms=step, step_ms_per_seq=step * random_.uniform(2.0, 6.0) / users)
    settings["prefill_ms_per_token"] = 0.002
    if random_.random() < 0.4:  # places end after more sequences have ceased to help
        settings["slots"] = max(4, round(users * random_.uniform(0.6, 0.9)))
        settings["step_ms_per_seq"] = step * random_.uniform(5.0, 10.0) / settings["slots"]
    loads = _ramp(random_, users)
    relieved = {"step_ms_per_seq": settings["step_ms_per_seq"] / 5}
    return Case(
        seed, "decode", f"{settings['slots']} places", Settings(**settings), loads, prompt, answer, relieved=relieved
    )


def _front_end(random_: random.Random, seed: int) -> Case:
    prompt, answer = _log(random_, 40, 200), _log(random_, 20, 80)
    settings = _plain(random_)
    service = answer * settings["step_ms"] / 1000
    by_token = random_.random() < 0.5
    busy = _log(random_, 0.02, 0.2) * service
    settings |= {"front_end_ms_per_token": busy * 1000 / answer} if by_token else {"front_end_ms": busy * 1000}
    loads = _ramp(random_, service / busy * random_.uniform(1.6, 3.0) + 2)
    relieved = {"front_end_ms_per_token": 0.0, "front_end_ms": 0.0}
    variety = "per token" if by_token else "per request"
    return Case(seed, "front_end", variety, Settings(**settings), loads, prompt, answer, relieved=relieved)


def _network(random_: random.Random, seed: int) -> Case:
    prompt, answer = _log(random_, 40, 200), _log(random_, 20, 80)
    settings = _plain(random_)
    service = answer * settings["step_ms"] / 1000
    if random_.random() < 0.5:
        settings["network_ms"] = _log(random_, 60, 400)
        loads, variety = _ramp(random_, random_.uniform(15, 60)), "delay"
    else:
        users = _log(random_, 8, 40)
        settings["network_mbit"] = users * answer / service * 240 * 8 / 1e6
        loads, variety = _ramp(random_, users * random_.uniform(1.6, 3.0)), "bandwidth"
    relieved = {"network_ms": 0.0, "network_mbit": 0.0}
    return Case(seed, "network", variety, Settings(**settings), loads, prompt, answer, relieved=relieved)


def _rate_limit(random_: random.Random, seed: int) -> Case:
    prompt, answer = _log(random_, 40, 200), _log(random_, 20, 80)
    settings = _plain(random_)
    service = answer * settings["step_ms"] / 1000
    users = _log(random_, 5, 40)
    settings |= {"rate_limit": users / service, "rate_burst": random_.choice([1, 5, 20])}
    loads = _ramp(random_, users * random_.uniform(1.5, 4.0))
    relieved = {"rate_limit": 0.0}
    variety = f"burst {settings['rate_burst']}"
    return Case(seed, "rate_limit", variety, Settings(**settings), loads, prompt, answer, relieved=relieved)


def _proxy(random_: random.Random, seed: int) -> Case:
    slots = round(_log(random_, 3, 30))
    prompt, answer = _log(random_, 40, 200), _log(random_, 30, 100)
    settings = _plain(random_, slots=slots)
    service = answer * settings["step_ms"] / 1000
    reach = random_.uniform(2.5, 5.0)
    settings["proxy_timeout_s"] = service * random_.uniform(1.8, 0.7 * reach)
    loads = _ramp(random_, slots * reach)
    relieved = {"proxy_timeout_s": 0.0}
    return Case(seed, "proxy", f"{slots} slots", Settings(**settings), loads, prompt, answer, relieved=relieved)


def _client(random_: random.Random, seed: int) -> Case:
    prompt, answer = _log(random_, 40, 200), _log(random_, 20, 80)
    settings = _plain(random_)
    service = answer * settings["step_ms"] / 1000
    busy = _log(random_, 0.02, 0.2) * service
    by_token = random_.random() < 0.6
    client = Client(token_s=busy / answer) if by_token else Client(request_s=busy)
    loads = _ramp(random_, service / busy * random_.uniform(1.6, 3.0) + 2)
    return Case(
        seed,
        "client",
        "per token" if by_token else "per request",
        Settings(**settings),
        loads,
        prompt,
        answer,
        client=client,
    )


def _power(random_: random.Random, seed: int) -> Case:
    step = _log(random_, 8, 20)
    prompt, answer = _log(random_, 40, 200), _log(random_, 40, 120)
    users = round(_log(random_, 8, 40))
    settings = _plain(random_, step_ms=step, step_ms_per_seq=step * random_.uniform(0.1, 0.4) / users)
    settings["power_cap_factor"] = random_.uniform(0.5, 0.8)
    loads = _ramp(random_, users)
    settings["power_cap_after_s"] = (WARMUP + WINDOW) * random_.randint(2, len(loads) - 2) + random_.uniform(-6.0, 3.0)
    relieved = {"power_cap_after_s": 0.0}
    variety = f"clock {settings['power_cap_factor']:.2f}"
    return Case(seed, "power", variety, Settings(**settings), loads, prompt, answer, relieved=relieved)


def _gpu_busy(random_: random.Random, seed: int) -> Case:
    settings = _plain(random_)
    prompt, answer = _log(random_, 40, 200), _log(random_, 30, 100)
    return Case(
        seed, "gpu_busy", "GPU 100 %", Settings(**settings), _ramp(random_, random_.uniform(20, 80)), prompt, answer
    )


def _memory_full(random_: random.Random, seed: int) -> Case:
    prompt, answer = _log(random_, 40, 200), _log(random_, 30, 100)
    users = round(_log(random_, 8, 60))
    settings = _plain(random_, kv_tokens=round(users * (prompt + answer) * random_.uniform(1.0, 1.15)) + 64)
    return Case(seed, "memory_full", "KV nearly full", Settings(**settings), _ramp(random_, users), prompt, answer)


def _harmless_queue(random_: random.Random, seed: int) -> Case:
    return replace(_slots(random_, seed), kind="harmless_queue", variety="queue", relieved={})


_DRAWS: dict[str, Callable[[random.Random, int], Case]] = {
    "slots": _slots,
    "kv_cache": _kv_cache,
    "prefill": _prefill,
    "decode": _decode,
    "front_end": _front_end,
    "network": _network,
    "rate_limit": _rate_limit,
    "proxy": _proxy,
    "client": _client,
    "power": _power,
    "gpu_busy": _gpu_busy,
    "memory_full": _memory_full,
    "harmless_queue": _harmless_queue,
}

_FIGURES = {
    "slots": ("ttft", "e2e"),
    "kv_cache": ("ttft", "e2e"),
    "prefill": ("ttft", "e2e"),
    "decode": ("tpot", "e2e"),
    "front_end": ("ttft", "e2e"),
    "network": ("ttft", "e2e"),
    "client": ("ttft", "e2e"),
    "power": ("tpot", "e2e"),
}
"""Metrics of thresholds by kind. The others have a threshold on errors."""


def _disturbed(case: Case, random_: random.Random) -> Case:
    """Return the case with conditions beside its bottleneck that do not bind: some delay, some work of the front end, a
    little of another program on the GPU, a warm GPU, users who think. Each is drawn on its own.
    """
    service = case.answer * case.settings.step_ms / 1000
    more: dict[str, Any] = {}
    if case.kind != "network" and random_.random() < 0.5:
        more["network_ms"] = random_.uniform(0.5, 8.0)
    if case.kind not in ("front_end", "client") and random_.random() < 0.5:
        more["front_end_ms"] = random_.uniform(0.1, 0.3) * service * 1000 / max(case.loads)
    if random_.random() < 0.3:
        more["tenant_share"] = random_.uniform(0.02, 0.15)
    if case.kind != "power" and random_.random() < 0.3:
        more |= {"power_cap_after_s": random_.uniform(20.0, 100.0), "power_cap_factor": random_.uniform(0.95, 0.99)}
    think = 0.0
    if case.kind not in ("proxy", "rate_limit") and random_.random() < 0.4:
        think = service * random_.uniform(0.2, 1.5)
    loads = tuple(sorted({round(load * (1.0 + think / service)) for load in case.loads}))
    relieved = {key: value for key, value in case.relieved.items() if key not in more}
    return replace(case, settings=replace(case.settings, **more), think=think, loads=loads, relieved=relieved)


def _calibrated(case: Case, random_: random.Random) -> Case | None:
    """Return the case with a threshold that it violates from some level on because of its bottleneck; None if none does."""
    if len(case.loads) < 4:
        return None
    case = _disturbed(case, random_)
    levels = LateRun(case, scraped=False).run().levels()
    if case.kind in SHAMS:
        worst = {name: max(level.metric(name)["p95"] for level in levels) for name in ("ttft", "e2e")}
        metric = random_.choice(["ttft", "e2e"])
        return case.with_threshold(f"{metric}.p95 < {worst[metric] * random_.uniform(1.5, 4.0) * 1000:.0f}ms")
    if case.kind not in _FIGURES:
        return case if _is_violated_inside(case, levels) else None
    metric = random_.choice(_FIGURES[case.kind])
    if case.variety == "delay":
        metric = "ttft"
    values = [level.metric(metric)["p95"] for level in levels]
    if not all(math.isfinite(value) for value in values):
        return None
    bare = LateRun(_relieved(case), scraped=False).run().levels()
    free = [level.metric(metric)["p95"] for level in bare]
    # the violated level meets the threshold without the bottleneck, with a margin
    places = [n for n in range(1, len(values)) if max(values[:n]) * 1.08 < values[n] and 1.4 * free[n] < values[n]]
    if case.variety == "delay" and random_.random() < 0.5:
        places = [0]  # the delay alone violates it
    if not places:
        return None
    place = random_.choice(places)
    low = max([*values[:place], 1.15 * free[place]])
    bound = low + (values[place] - low) * random_.uniform(0.2, 0.8)
    return case.with_threshold(f"{metric}.p95 < {bound * 1000:.1f}ms")


def _is_violated_inside(case: Case, levels: list[LevelFigures]) -> bool:
    return levels[0].errors < 0.005 and any(level.errors > 0.03 for level in levels)


def _relieved(case: Case) -> Case:
    settings = replace(case.settings, **case.relieved)
    return replace(case, settings=settings, client=Client())
