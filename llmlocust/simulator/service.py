"""The simulated server without HTTP: the engine, the stages around it, and their metrics. Pure: time is an argument.

A request comes over the network, through the proxy with its rate limit and its time limit, and through the front end to the
engine. Each token goes back through the front end and over the network. The asyncio server carries out the events when they
are due; `virtual` reads them in virtual time.
"""

from collections import Counter, deque
from collections.abc import Hashable
from math import inf
from typing import Literal, NamedTuple, TypeAlias, cast

from llmlocust.simulator import engine
from llmlocust.simulator.calls import Call
from llmlocust.simulator.engine import Engine, Step
from llmlocust.simulator.machine import Machine
from llmlocust.simulator.metrics import Metrics, Process
from llmlocust.simulator.settings import Settings
from llmlocust.simulator.stages import FrontEnd, Link, PrefixCache, RateLimit

Refusal: TypeAlias = engine.Refusal | Literal["timeout", "rate_limited", "proxy_timeout"]
_STATUSES: dict[Refusal, int] = {
    "too_long": 400,
    "rate_limited": 429,
    "out_of_memory": 500,
    "queue_full": 503,
    "timeout": 504,
    "proxy_timeout": 504,
}


class Refused(NamedTuple):
    """The client gets an error instead of an answer."""

    due: float
    call: Call
    reason: Refusal
    retry_after: int = 1

    @property
    def status(self) -> int:
        return _STATUSES[self.reason]


class Tokens(NamedTuple):
    """The clients of these requests each get one more token. An answer in one piece is sent with its last token."""

    due: float
    calls: list[Call]


class Cut(NamedTuple):
    """The proxy closes the connection in the middle of a stream. Tokens that come after it are not sent."""

    due: float
    call: Call


Event: TypeAlias = Refused | Tokens | Cut


class Service:
    """Decides what happens at which time. All times are of one clock; `epoch` is the wall time of `now`, the start."""

    def __init__(self, settings: Settings, now: float, epoch: float) -> None:
        self._settings = settings
        self._engine, self.metrics = Engine(settings), Metrics(settings)
        self._front_end, self._link = FrontEnd(settings), Link(settings)
        self._rate_limit, self._cache = RateLimit(settings), PrefixCache(settings)
        self._machine = Machine(settings, now, epoch)
        self.refusals = Counter[Refusal]()
        self._arriving: deque[tuple[float, Call]] = deque()
        """Requests on the network, and the times at which they arrive."""
        self._entering: deque[tuple[float, Call]] = deque()
        """Requests in the front end, and the times at which it has handled them."""
        self._leaving: deque[tuple[float, float, list[Call]]] = deque()
        """Tokens in the front end: the time at which it has handled them, and the end of their step."""
        self._deadlines: deque[tuple[float, Call]] = deque()
        self._tokens: deque[Tokens] = deque()
        """Tokens on the network. Those and the notices are in the order of their times."""
        self._notices: deque[Refused | Cut] = deque()

    # requests

    def cached_tokens(self, prompt: Hashable, tokens: int) -> int:
        """Return the number of a prompt's tokens that are in the prefix cache, and remember the prompt."""
        if not self._settings.prefix_cache:
            return 0
        cached = tokens if self._cache.contains(prompt) else 0
        self.metrics.cache_queries += tokens
        self.metrics.cache_hits += cached
        return cached

    def submit(self, call: Call, now: float) -> None:
        """Take a request that a client sends now. Its refusal, too, is an event."""
        self._catch_up(now)
        if self._link.delay:
            self._arriving.append((now + self._link.delay, call))
        else:
            self._arrive(now, call)

    def end(self, call: Call, now: float) -> None:
        """Forget a request: its client has disconnected, or has all that it gets. The engine aborts it if it still runs."""
        self._catch_up(now)
        self._abort(call, now)

    # events

    @property
    def due(self) -> float:
        """The time of the next event, or of something before one; infinity when nothing happens."""
        return min(self._next_change(), self._next_event())

    def advance(self, now: float) -> Event | None:
        """Return the next event up to `now`, in order; None if there are no more."""
        while True:
            change, event = self._next_change(), self._next_event()
            if change <= event and change <= now:
                self._change(change)
            elif event <= now:
                is_notice = not self._tokens or (self._notices and self._notices[0].due < self._tokens[0].due)
                return self._notices.popleft() if is_notice else self._tokens.popleft()
            else:
                return None

    def _next_event(self) -> float:
        tokens = self._tokens[0].due if self._tokens else inf
        return min(tokens, self._notices[0].due) if self._notices else tokens

    def _next_change(self) -> float:
        due = self._engine.due
        for queue in (self._leaving, self._entering, self._arriving, self._deadlines):
            if queue and queue[0][0] < due:
                due = queue[0][0]
        return due

    def _catch_up(self, now: float) -> None:
        # earlier changes come first: otherwise a late caller would find longer queues than there were
        while (due := self._next_change()) <= now:
            self._change(due)

    def _change(self, now: float) -> None:
        """Carry out the next change, which is due now. At the same time, tokens come before requests."""
        if self._engine.due <= now:
            self._engine_event(now)
        elif self._leaving and self._leaving[0][0] <= now:
            at, stepped, calls = self._leaving.popleft()
            self._leave(at, stepped, calls)
        elif self._entering and self._entering[0][0] <= now:
            self._enter(now, self._entering.popleft()[1])
        elif self._arriving and self._arriving[0][0] <= now:
            self._arrive(now, self._arriving.popleft()[1])
        else:
            self._time_out(now, self._deadlines.popleft()[1])

    # the way to the engine

    def _arrive(self, now: float, call: Call) -> None:
        call.received = now
        if call.is_ended:
            return
        if seconds := self._rate_limit.retry_after(now):
            self._refuse(now, call, "rate_limited", seconds)
            return
        if self._settings.proxy_timeout_s:
            self._deadlines.append((now + self._settings.proxy_timeout_s, call))
        if self._front_end.is_instant:
            self._enter(now, call)
        else:
            self._entering.append((self._front_end.request(now), call))

    def _enter(self, now: float, call: Call) -> None:
        if call.is_ended:
            return
        if refusal := self._engine.submit(call, now):
            self.metrics.queue_full += refusal == "queue_full"
            self._refuse(now, call, refusal)

    def _refuse(self, now: float, call: Call, reason: Refusal, retry_after: int = 1) -> None:
        call.is_ended = True
        self.refusals[reason] += 1
        self._notices.append(Refused(now + self._link.delay, call, reason, retry_after))

    def _abort(self, call: Call, now: float) -> None:
        call.is_ended = True
        if self._engine.cancel(call, now):  # False if the engine has ended it
            self.metrics.finished["abort"] += 1

    def _time_out(self, now: float, call: Call) -> None:
        if call.is_ended or call.ended_sending <= now:
            return
        self._abort(call, now)
        if call.began_sending <= now:
            self._notices.append(Cut(now + self._link.delay, call))
        else:
            self._refuse(now, call, "proxy_timeout")

    # the way back

    def _engine_event(self, now: float) -> None:
        event = self._engine.advance(now)
        if not isinstance(event, Step):
            assert event
            self.metrics.finished["abort"] += 1
            self._refuse(event.due, cast(Call, event.sequence), "timeout")
            return
        self._machine.gpu.step(event.work)
        self.metrics.step(event)
        due, calls = event.due, cast(list[Call], event.sequences)
        if not calls:
            return
        if self._front_end.is_instant:
            self._leave(due, due, calls)
        elif self._front_end.handles_singly:
            self._leaving.extend((self._front_end.token(due), due, [call]) for call in calls)
        else:
            self._leaving.append((self._front_end.token(due), due, calls))

    def _leave(self, at: float, stepped: float, calls: list[Call]) -> None:
        """Send tokens that the front end has handled."""
        link, delay, count = self._link, self._link.delay, self.metrics.token
        for call in calls:
            if call.is_ended:
                continue
            count(call, stepped, at)
            is_last = call.passed == call.output_tokens
            sent = at
            if call.streamed:
                sent = link.event(at)
            elif is_last:
                sent = link.whole(at, call.output_tokens)
            if not link.is_instant:
                # a token that is not sent alone passes those before it; the order of events stays
                newest = self._tokens[-1].due if self._tokens else 0.0
                self._tokens.append(Tokens(max(sent + delay, newest), [call]))
            if is_last:
                call.ended_sending = sent
            if call.passed == 1 if call.streamed else is_last:
                call.began_sending = sent
        if link.is_instant:
            self._tokens.append(Tokens(at + delay, calls))

    # reports

    def metrics_text(self, now: float) -> str:
        """Return the server's own metrics."""
        self._catch_up(now)
        process = Process(self._machine.started_epoch, self._front_end.cpu_seconds(now))
        return self.metrics.text(self._engine, process)

    def exporter_text(self, now: float) -> str:
        """Return the metrics of the exporters beside the server."""
        self._catch_up(now)
        cpu_seconds = self._front_end.cpu_seconds(now)
        return self._machine.text(now, self._engine.work, cpu_seconds, self._link.bytes, self._link.resent)
