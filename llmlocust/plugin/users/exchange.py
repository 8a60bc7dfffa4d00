"""`Exchange`: one request of a user and its answer, and Locust's event for it."""

from __future__ import annotations

from functools import partial
from time import perf_counter_ns, time
from typing import Any

from locust.event import Events

from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.sums import Sums
from llmlocust.plugin.generator.parse_queue import ParseQueue
from llmlocust.plugin.http.client import Client
from llmlocust.plugin.http.connection import Listener
from llmlocust.stream.ask import Ask
from llmlocust.stream.dialects import Dialect
from llmlocust.stream.reading import Reading, has_token
from llmlocust.stream.record import Record
from llmlocust.stream.timeline import Timeline

_TIMED = tuple(key for key, metric in METRICS.items() if metric.on_record and metric.percentiles)


class LLMFailure(Exception):
    """A failed request, as Locust's tables show it."""


class Exchange:
    """One request and its answer."""

    def __init__(self, dialect: Dialect, ask: Ask, name: str, stall: float, timeline: Timeline) -> None:
        self.dialect, self.ask, self.timeline = dialect, ask, timeline
        self._reading = Reading(dialect, ask=ask, name=name, stall=stall)
        self._sums: Sums | None = None

    def run(self, client: Client, parse_queue: ParseQueue, body: bytes, headers: dict[str, str]) -> None:
        """Send the request and read its answer to the end. The answer is parsed when it is this request's turn in `parse_queue`."""
        has_begun = partial(has_token, self.dialect, ask=self.ask) if self.ask.stream else None
        client.ask(self.timeline, self.dialect, self.ask, body, headers, Listener(has_begun, self._reading.take))
        parse_queue.wait(self.timeline.ended_ns)
        while self._reading.take(self.timeline):
            parse_queue.pause()
        sums = self._sums = Sums(self._reading.finish(self.timeline))
        while sums.take():
            parse_queue.pause()

    def sums(self) -> Sums:
        """Return the figures of the request; of one that was cut off, those of the part that arrived."""
        return self._sums or Sums(self._reading.finish(self.timeline))


def fire_request(events: Events, record: Record, timeline: Timeline, url: str, context: dict[str, Any]) -> None:
    """Fire Locust's own event once for a request, with its end-to-end time. `context` is that of the user."""
    seconds = record.e2e if record.ok and record.e2e is not None else record.duration
    events.request.fire(
        request_type="LLM",
        name=record.name,
        response_time=seconds * 1000.0,
        response_length=record.size,
        response=None,
        context={**context, "llm": _context(record)},
        exception=None if record.ok else LLMFailure(": ".join(filter(None, (record.outcome, record.error)))),
        start_time=_wall_time(timeline),
        url=url,
    )


def _context(record: Record) -> dict[str, Any]:
    """Return values for other listeners of Locust's event: plain values, durations in milliseconds."""
    timed = {name: getattr(record, name) for name in _TIMED}
    return {f"{name}_ms": None if value is None else value * 1000.0 for name, value in timed.items()} | {
        "outcome": record.outcome,
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
    }


def _wall_time(timeline: Timeline) -> float:
    return time() - (perf_counter_ns() - (timeline.sent_ns or timeline.requested_ns)) / 1e9
