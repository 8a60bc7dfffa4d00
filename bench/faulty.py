"""Virtual LLM servers with faults, whose true recovery is known.

`draw(seed)` returns a case: a server, its load, its clients and a fault. `play(case)` returns the requests as the clients
see them, in virtual time. The clients send first attempts at given times (open load), wait up to a time-out and may retry.

The faults are: a crash and a restart, with a load time and slow first steps; a frozen process; a process with a share of
its CPU; a slow network; streams that are cut; requests that are refused; a crash with clients whose time-outs and retries
can keep the server full of work that no client waits for (a metastable retry storm).

The truth comes from a twin: the same server with the same requests and without the fault. A request is harmed if it is good
in the twin, and not good with the fault; helped in the opposite case. The service has recovered at the arrival of the last
harmed request: from then on, the fault makes no difference to its users. A few requests change sides for ever, because the
fault has shifted the steps of the engine, so a harmed request counts only if it is one of ten neighbours of which three more
are harmed than helped. No rule of the analysis uses the twin.
"""

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from llmlocust.analysis.faults.fault_report import Conditions, FaultReport, recovery_of
from llmlocust.analysis.faults.requests import Requests
from llmlocust.metrics.fault_window import FaultWindow
from llmlocust.simulator.settings import Settings
from llmlocust.simulator.virtual import ClientEvent, Request, VirtualServer

EPOCH = 1_795_000_000.0
CRASH, FREEZE, SLOW, NETWORK, CUT, REFUSE, STORM, NOTHING = (
    "crash",
    "freeze",
    "slow process",
    "slow network",
    "cut streams",
    "refused",
    "retry storm",
    "no fault",
)
KINDS = (CRASH, FREEZE, SLOW, NETWORK, CUT, REFUSE)


@dataclass(frozen=True)
class Clients:
    """The clients' own limits, and how they retry."""

    timeout: float = math.inf
    """Seconds to the first token after which an attempt ends."""
    attempts: int = 1
    backoff: float = 0.5
    """Mean seconds before the second attempt; it doubles each time."""
    disconnects: bool = True
    """Whether the server learns of a time-out. Otherwise it goes on with an answer that no client reads."""


@dataclass(frozen=True)
class Fault:
    kind: str
    began: float
    lifted: float
    load: float = 0.0
    """Seconds after the lift until the restarted server accepts connections."""
    cold: float = 0.0
    """Seconds of slow steps after that."""
    share: float = 1.0
    """Share of the requests that the fault meets, or of the CPU that remains."""
    delay: float = 0.0
    """Seconds that the network takes each way."""


@dataclass(frozen=True)
class Case:
    seed: int
    settings: Settings
    rate: float
    tokens: float
    clients: Clients
    fault: Fault
    end: float
    """Seconds from the start until the load ends."""
    utilisation: float = math.nan
    """Rate as a share of the highest rate that the server can keep up with."""

    @property
    def without_fault(self) -> "Case":
        return replace(self, fault=Fault(NOTHING, math.inf, math.inf))


@dataclass(eq=False, slots=True)
class Attempt:
    """A request as its client knows it, in seconds since the start. Its last attempt decides on the outcome."""

    due: float
    prompt: int
    output: int
    attempts: int = 0
    outcome: str = "aborted"
    first: float = math.nan
    ended: float = math.nan
    received: int = 0
    call: Request | None = None


@dataclass
class World:
    """A server, its clients and its fault, in virtual time."""

    case: Case
    server: VirtualServer | None = field(init=False)
    requests: list[Attempt] = field(default_factory=list)
    pending: list[tuple[Attempt, int]] = field(default_factory=list)
    """Requests that wait in the sockets of a frozen server."""
    speed: float = 1.0
    """Share of a second that the server's clock goes on in a second."""

    def __post_init__(self) -> None:
        self.server = VirtualServer(self.case.settings, EPOCH)
        self.random = random.Random(~self.case.seed)
        self.actions: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.count = itertools.count()
        self.origin = (0.0, 0.0)
        self.now = 0.0

    # the server's clock

    def to_wall(self, moment: float) -> float:
        wall, own = self.origin
        return wall + (moment - own) / self.speed if self.speed else math.inf

    def to_server(self, wall: float) -> float:
        began, own = self.origin
        return own + (wall - began) * self.speed

    def set_speed(self, speed: float) -> None:
        self.origin, self.speed = (self.now, self.to_server(self.now)), speed
        if speed:
            for request, attempt in self.pending:
                self._submit(request, attempt)
            self.pending.clear()

    # the run

    def run(self) -> list[Attempt]:
        self._plan_load()
        self._plan_fault()
        while self.actions:
            due = self.to_wall(self.server.due) if self.server else math.inf
            if due <= self.actions[0][0]:
                if due > self.case.end:
                    break
                self.now = due
                self._serve()
                continue
            self.now, _, act, arguments = heapq.heappop(self.actions)
            if self.now > self.case.end:
                break
            act(*arguments)
        for request in self.requests:
            if math.isnan(request.ended):
                request.outcome, request.ended = "aborted", self.case.end
        return self.requests

    def at(self, moment: float, act: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self.actions, (moment, next(self.count), act, arguments))

    def _plan_load(self) -> None:
        case, generator, moment = self.case, random.Random(self.case.seed), 0.0
        while (moment := moment + generator.expovariate(case.rate)) < case.end:
            output = max(2, round(generator.gammavariate(3.0, case.tokens / 3.0)))
            request = Attempt(moment, max(8, round(generator.gammavariate(2.0, 100.0))), output)
            self.requests.append(request)
            self.at(moment, self._send, request)

    def _plan_fault(self) -> None:
        fault = self.case.fault
        if fault.kind in (CRASH, STORM):
            self.at(fault.began, self._crash)
            self.at(fault.lifted + fault.load, self._restart)
        elif fault.kind in (FREEZE, SLOW):
            self.at(fault.began, self.set_speed, 0.0 if fault.kind == FREEZE else fault.share)
            self.at(fault.lifted, self.set_speed, 1.0)

    @property
    def is_faulty(self) -> bool:
        return self.case.fault.began <= self.now < self.case.fault.lifted

    def _crash(self) -> None:
        self.server = None
        for request in self.requests:
            if request.call is not None and request.call.ended is None:
                request.call.ended = self.now
                self._fail(request, "truncated" if request.received else "reset")

    def _restart(self) -> None:
        cold = replace(self.case.settings, cold_start_s=self.case.fault.cold)
        self.server = VirtualServer(cold, EPOCH)
        self.origin = (self.now, 0.0)

    # clients

    def _send(self, request: Attempt) -> None:
        fault = self.case.fault
        request.attempts += 1
        request.outcome, request.received, request.first = "", 0, math.nan
        if math.isfinite(self.case.clients.timeout):
            self.at(self.now + self.case.clients.timeout, self._time_out, request, request.attempts)
        if self.is_faulty and fault.kind == REFUSE and self.random.random() < fault.share:
            self._fail(request, "http_503")
        elif self.is_faulty and fault.kind == NETWORK:
            self.at(self.now + fault.delay, self._arrive, request, request.attempts)
        else:
            self._arrive(request, request.attempts)

    def _arrive(self, request: Attempt, attempt: int) -> None:
        if request.outcome or attempt != request.attempts:
            return
        if self.server is None:
            self._fail(request, "connect")
        elif not self.speed:
            self.pending.append((request, attempt))
        else:
            self._submit(request, attempt)

    def _submit(self, request: Attempt, attempt: int) -> None:
        if self.case.clients.disconnects and (request.outcome or attempt != request.attempts):
            return
        moment = self.to_server(self.now)
        call = self.server.submit(
            moment, prompt_tokens=request.prompt, output_tokens=request.output, owner=(request, attempt)
        )
        if attempt == request.attempts:
            request.call = call

    def _serve(self) -> None:
        fault = self.case.fault
        for event in self.server.advance(self.server.due):
            request, attempt = event.request.owner
            if attempt == request.attempts and not request.outcome:
                if self.is_faulty and fault.kind == NETWORK:
                    self.at(self.now + fault.delay, self._receive, request, event, attempt)
                else:
                    self._receive(request, event, attempt)

    def _receive(self, request: Attempt, event: ClientEvent, attempt: int) -> None:
        if request.outcome or attempt != request.attempts:
            return
        if event.kind == "end":
            request.outcome, request.ended = "ok", self.now
        elif event.kind in ("refused", "cut"):
            self._fail(request, "http_503" if event.kind == "refused" else "truncated")
        else:
            request.received += 1
            if request.received == 1:
                request.first = self.now
            self._cut(request, event)

    def _cut(self, request: Attempt, event: ClientEvent) -> None:
        fault = self.case.fault
        if fault.kind == CUT and self.is_faulty and self.random.random() < fault.share / request.output:
            self.server.disconnect(event.request, self.to_server(self.now))
            self._fail(request, "truncated")

    def _time_out(self, request: Attempt, attempt: int) -> None:
        if request.outcome or request.received or attempt != request.attempts:
            return
        if self.case.clients.disconnects and request.call is not None and self.server is not None and self.speed:
            self.server.disconnect(request.call, self.to_server(self.now))
        self._fail(request, "timeout_first_token")

    def _fail(self, request: Attempt, outcome: str) -> None:
        clients = self.case.clients
        request.outcome, request.ended, request.call = outcome, self.now, None
        if request.attempts < clients.attempts and not request.received:
            pause = clients.backoff * 2 ** (request.attempts - 1) * self.random.uniform(0.5, 1.5)
            request.outcome, request.ended = "waits", math.nan
            self.at(self.now + pause, self._send, request)


@dataclass(frozen=True)
class Played:
    """The requests of a run in the order in which they are due."""

    case: Case
    requests: list[Attempt]

    @cached_property
    def due(self) -> np.ndarray:
        return np.array([request.due for request in self.requests])

    @cached_property
    def ttft(self) -> np.ndarray:
        """Seconds from the moment at which a request was due; infinite without a complete answer."""
        values = [request.first - request.due if request.outcome == "ok" else math.inf for request in self.requests]
        return np.array(values)


def play(case: Case) -> Played:
    return Played(case, World(case).run())


# -- the truth

MARGIN = 0.25
"""Share of the limit by which a request must be slower than in the twin, to be harmed. The fault shifts the steps of the
engine, so that single requests near the limit change sides for ever."""
TAIL = 1.2
FLOOR = 0.005


def limit_of(twin: Played, slo: float) -> float:
    """Return the TTFT in seconds above which an answer is not good: the SLO, or 1.2 times the p95 without the fault."""
    p95 = float(np.quantile(twin.ttft[np.isfinite(twin.ttft)], 0.95))
    return min(slo, max(TAIL * p95, p95 + FLOOR))


def harm(played: Played, twin: Played, slo: float) -> np.ndarray:
    """Return 1 for a harmed request, -1 for a helped one, and 0 for others. Requests that the end cut off are not known."""
    limit = limit_of(twin, slo)
    is_ended = np.array([request.outcome != "aborted" for request in played.requests])
    is_harmed = (twin.ttft <= limit) & (played.ttft > np.maximum(limit, twin.ttft + MARGIN * limit))
    is_helped = (played.ttft <= limit) & (twin.ttft > np.maximum(limit, played.ttft + MARGIN * limit))
    return (is_harmed.astype(int) - is_helped) * is_ended


def recovery(played: Played, twin: Played, slo: float) -> float:
    """Return the seconds from the lift until requests are not harmed any more, for at least 10 s; infinite without that."""
    harms, fault = harm(played, twin, slo), played.case.fault
    recent = np.convolve(harms, np.ones(NEIGHBOURS))[: len(harms)]
    recovered = fault.lifted
    for due in played.due[(harms > 0) & (recent >= MIN_HARMED) & (played.due > fault.lifted)]:
        if due > recovered + QUIET:
            break
        recovered = due
    return math.inf if recovered > played.case.end - QUIET else float(recovered) - fault.lifted


NEIGHBOURS, MIN_HARMED = 10, 3
QUIET = 10.0
"""Seconds without harm that a recovery needs by its definition. Harm that comes later is a relapse."""


# -- drawing

WARMUP, BASELINE = 20.0, 150.0
"""Seconds from the start until the warm-up ends, and until the fault begins."""


def _log(generator: random.Random, low: float, high: float) -> float:
    return math.exp(generator.uniform(math.log(low), math.log(high)))


def draw(seed: int, kind: str = "") -> Case:
    """Return a case whose server can carry its load without the fault."""
    generator = random.Random(seed * 7 + 1)
    kind = kind or KINDS[seed % len(KINDS)]
    rate, slots = _log(generator, 6.0, 30.0), generator.choice([8, 16, 32])
    tokens = min(100.0, max(8.0, _log(generator, 200.0, 800.0) / rate))
    utilisation = generator.uniform(0.35, 0.7)
    step = slots * utilisation / (rate * tokens)
    settings = Settings(
        slots=slots,
        step_ms=step * 600.0,
        step_ms_per_seq=step * 300.0 / slots,
        prefill_ms_per_token=step * 100.0 / slots * tokens / 200.0,
        cold_start_factor=generator.uniform(2.0, 5.0),
    )
    seconds = _log(generator, 3.0, 60.0)
    began = BASELINE + generator.uniform(0.0, 1.0)
    fault = Fault(kind, began, began + seconds)
    clients = Clients()
    if generator.random() < 0.5:
        clients = Clients(_log(generator, 4.0, 20.0), generator.choice([1, 2, 3]), generator.uniform(0.2, 2.0))
    if kind == CRASH:
        is_cold = generator.random() < 0.6
        fault = replace(fault, load=_log(generator, 0.5, 20.0), cold=_log(generator, 2.0, 30.0) if is_cold else 0.0)
    elif kind == SLOW:
        fault = replace(fault, share=generator.uniform(0.1, 0.5))
    elif kind == NETWORK:
        fault = replace(fault, delay=_log(generator, 0.1, 2.0))
    elif kind in (CUT, REFUSE):
        fault = replace(fault, share=generator.uniform(0.3, 1.0))
    # a server that is 70 % busy needs 2.3 times the outage for its backlog
    after = 60.0 + 4.0 * seconds + fault.load + 4.0 * fault.cold
    return Case(seed, settings, rate, tokens, clients, fault, fault.lifted + after, utilisation)


def draw_storm(seed: int) -> Case:
    """Return a case whose clients time out and retry, while the server goes on with answers that no client reads.

    Some of these servers never recover, because the retries keep them full; others recover, soon or late. `end` is the end of
    a test that waits for five outages and five time-outs, or up to twice as long.
    """
    generator = random.Random(seed * 7 + 3)
    rate, slots = _log(generator, 4.0, 12.0), generator.choice([4, 8, 16])
    tokens = max(6.0, _log(generator, 60.0, 150.0) / rate)
    step = slots * generator.uniform(0.4, 0.85) / (rate * tokens)
    settings = Settings(
        slots=slots,
        step_ms=step * 600.0,
        step_ms_per_seq=step * 300.0 / slots,
        prefill_ms_per_token=step * 100.0 / slots * tokens / 200.0,
        cold_start_factor=generator.uniform(2.0, 5.0),
        queue_limit=generator.choice([-1, -1, 30, 100]),
    )
    seconds, timeout = _log(generator, 5.0, 40.0), _log(generator, 2.0, 10.0)
    clients = Clients(timeout, generator.choice([1, 2, 3, 4, 6]), generator.uniform(0.2, 2.0), disconnects=False)
    fault = Fault(generator.choice([STORM, FREEZE]), BASELINE, BASELINE + seconds)
    if fault.kind == STORM:
        fault = replace(fault, load=_log(generator, 0.5, 5.0), cold=_log(generator, 5.0, 30.0))
    waited = max(60.0, 5.0 * seconds, 5.0 * timeout) * generator.uniform(1.02, 2.0)
    return Case(seed, settings, rate, tokens, clients, fault, fault.lifted + waited)


STORM_HORIZON = 300.0
"""Seconds of the same load after a test's end. A server that is still bad after that is metastable."""


def is_metastable(long: Played) -> bool:
    """Whether the service is still bad at the end of a run that goes on at the same load for STORM_HORIZON."""
    timeout, end = long.case.clients.timeout, long.case.end
    is_last = (long.due > end - 90.0) & (long.due < end - 2.0 * timeout)
    return bool((long.ttft[is_last] < timeout).mean() < 0.5)


def cut_off(long: Played, case: Case) -> Played:
    """Return the requests of a run that ends earlier. Until then, both runs are the same."""
    requests = [replace(request) for request in long.requests if request.due < case.end]
    for request in requests:
        if request.ended > case.end:
            request.outcome, request.ended = "aborted", case.end
    return Played(case, requests)


def slo_of(case: Case, twin: Played) -> float:
    """Return the threshold on TTFT in seconds; infinite for half of the cases, which have none."""
    generator = random.Random(case.seed * 11 + 2)
    p95 = float(np.quantile(twin.ttft[np.isfinite(twin.ttft)], 0.95))
    return p95 * _log(generator, 1.0, 4.0) if generator.random() < 0.5 else math.inf


def requests_of(played: Played, slo: float = math.inf) -> Requests:
    """Return the requests as the analysis gets them. A finite `slo` is a threshold on TTFT in seconds."""
    requests = played.requests
    ttft = np.array([request.first for request in requests]) - played.due
    return Requests.of(
        due=played.due,
        duration=np.array([request.ended for request in requests]) - played.due,
        outcome=[request.outcome for request in requests],
        ttft=ttft,
        tokens=[request.received for request in requests],
        attempts=[request.attempts for request in requests],
        meets=ttft <= slo if math.isfinite(slo) else None,
    )


def report_of(played: Played, slo: float = math.inf) -> FaultReport:
    """Judge the fault of a run."""
    case, fault = played.case, played.case.fault
    window = FaultWindow(fault.kind, fault.kind, fault.began, fault.lifted, fault.began, fault.lifted)
    timeout = case.clients.timeout if math.isfinite(case.clients.timeout) else 0.0
    return recovery_of(window, requests_of(played, slo), Conditions(WARMUP, case.end, timeout=timeout))
