"""The simulated server in virtual time, as clients and scrapers see it: thousands of requests take seconds. Pure.

    server = VirtualServer(Settings(slots=8))
    server.submit(0.5, prompt_tokens=100, output_tokens=20)
    for event in server.advance(1.0):
        print(event.at, event.kind, event.request.token_times)
    print(server.metrics_text(1.0))

Times are seconds since the server's start, and never go back: submit requests and scrape in the order of time. A client that
waits for its answer calls `advance(server.due)` until its request has ended, or until it sends the next one.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from llmlocust.simulator.calls import Call
from llmlocust.simulator.service import Cut, Refused, Service
from llmlocust.simulator.settings import Settings

Kind: TypeAlias = Literal["first", "token", "end", "refused", "cut"]


@dataclass(eq=False, slots=True)
class Request(Call):
    """A request with everything that its client knows of it."""

    sent: float = 0.0
    token_times: list[float] = field(default_factory=list)
    """When the client received each token; of an answer in one piece, when it received the answer."""
    status: int = 0  # of HTTP; 0 until the client has received something
    retry_after: int = 0  # seconds, with the statuses 429 and 503
    ended: float | None = None
    outcome: Kind | None = None  # end, refused or cut
    reached: int = 0  # tokens that have reached the client, or would have if the answer were a stream


class ClientEvent(NamedTuple):
    """Something that a client receives. The last token of an answer is followed by the event `end` at the same time."""

    at: float
    kind: Kind
    request: Request


class VirtualServer:
    """A simulated server and the network to its clients."""

    def __init__(self, settings: Settings, epoch: float = 1.8e9) -> None:
        """Start at the time 0, which is `epoch` of the wall clock."""
        self._service = Service(settings, 0.0, epoch)
        self._now = 0.0

    @property
    def due(self) -> float:
        """The earliest time at which something can happen without a further request; infinity if nothing will."""
        return self._service.due

    def submit(
        self,
        at: float,
        prompt_tokens: int,
        output_tokens: int,
        *,
        streamed: bool = True,
        prompt: Hashable = None,
        owner: Any = None,
    ) -> Request:
        """Send a request at a time. Requests with an equal `prompt`, other than None, share it in the prefix cache."""
        self._go_on(at)
        cached = 0 if prompt is None else self._service.cached_tokens(prompt, prompt_tokens)
        request = Request(prompt_tokens, output_tokens, streamed, cached, owner, sent=at)
        self._service.submit(request, at)
        return request

    def disconnect(self, request: Request, at: float) -> None:
        """Close the connection of a request, without waiting for its answer."""
        self._go_on(at)
        if request.ended is None:
            request.ended = at
            self._service.end(request, at)

    def advance(self, until: float) -> Iterator[ClientEvent]:
        """Yield the things that clients receive up to a time, in order. Requests may be submitted between two events."""
        while event := self._service.advance(until):
            self._now = event.due
            if isinstance(event, Refused | Cut):
                yield from self._break_off(event)
                continue
            at = event.due
            for request in event.calls:
                assert isinstance(request, Request)
                if request.ended is None:
                    yield from self._token(request, at)

    @staticmethod
    def _token(request: Request, at: float) -> Iterator[ClientEvent]:
        request.reached += 1
        is_last = request.reached == request.output_tokens
        if request.streamed or is_last:
            request.token_times.append(at)
            request.status = 200
        if request.streamed:
            yield ClientEvent(at, "first" if request.reached == 1 else "token", request)
        if is_last and request.ended is None:  # the client may have disconnected at the token
            request.ended, request.outcome = at, "end"
            yield ClientEvent(at, "end", request)

    @staticmethod
    def _break_off(event: Refused | Cut) -> Iterator[ClientEvent]:
        request = event.call
        assert isinstance(request, Request)
        if request.ended is not None:
            return
        request.ended, request.outcome = event.due, "cut"
        if isinstance(event, Refused):
            request.outcome, request.status = "refused", event.status
            request.retry_after = event.retry_after if event.status in (429, 503) else 0
        yield ClientEvent(event.due, request.outcome, request)

    def metrics_text(self, at: float) -> str:
        """Return the server's /metrics at a time."""
        self._go_on(at)
        return self._service.metrics_text(at)

    def exporter_text(self, at: float) -> str:
        """Return the server's /exporter/metrics at a time."""
        self._go_on(at)
        return self._service.exporter_text(at)

    def _go_on(self, at: float) -> None:
        # the server has no way back to an earlier state, so the answer would be silently wrong
        if at < self._now:
            raise ValueError(f"time goes back from {self._now} s to {at} s")
        self._now = at
