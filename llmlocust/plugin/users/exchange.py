"""`Exchange`: one request of a user and its answer, with its retries, and Locust's event for it."""

from __future__ import annotations

from functools import partial
from time import perf_counter_ns, time
from typing import Any

import gevent
from locust.event import Events

from llmlocust.load.backoff import Backoff
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.sums import Sums
from llmlocust.metrics.vocabulary import ABORTED
from llmlocust.plugin.generator.parse_queue import ParseQueue
from llmlocust.plugin.http.client import Client
from llmlocust.plugin.http.connection import Listener
from llmlocust.stream.ask import Ask
from llmlocust.stream.dialects import Dialect
from llmlocust.stream.reading import Reading, has_token
from llmlocust.stream.record import Record, after_retries
from llmlocust.stream.timeline import Timeline

_TIMED = tuple(key for key, metric in METRICS.items() if metric.on_record and metric.percentiles)


class LLMFailure(Exception):
    """A failed request, as Locust's tables show it."""


class Exchange:
    """One request and its answer. `timeline` is that of its last attempt."""

    def __init__(self, dialect: Dialect, ask: Ask, name: str, stall: float, timeline: Timeline) -> None:
        self.dialect, self.ask = dialect, ask
        self._name, self._stall = name, stall
        self._failed: list[Record] = []
        """The attempts before the last one."""
        self._begin(timeline)

    def _begin(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self._reading = Reading(self.dialect, ask=self.ask, name=self._name, stall=self._stall)
        self._sums: Sums | None = None

    @property
    def attempts(self) -> int:
        return len(self._failed) + 1

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

    def may_retry(self, backoff: Backoff) -> bool:
        """Return whether a client's SDK would try the request again, after the last attempt."""
        assert self._sums is not None
        return backoff.may_retry(self._sums.record, self.timeline, is_stream=self.ask.stream)

    def wait(self, backoff: Backoff) -> None:
        """Wait before the next attempt. A user that is stopped meanwhile aborts its request."""
        try:
            gevent.sleep(backoff.wait(len(self._failed), self.timeline.retry_after))
        except BaseException:
            self._abort()
            raise

    def _abort(self) -> None:
        assert self._sums is not None
        record = self._sums.record
        record.outcome, record.duration = ABORTED, perf_counter_ns() / 1e9 - record.sent
        record.error = record.words = "stopped while it waited to be tried again"

    def begin_again(self) -> None:
        """Begin another attempt at the request, which failed."""
        assert self._sums is not None
        self._failed.append(self._sums.record)
        self._begin(Timeline(requested_ns=perf_counter_ns()))

    def end(self) -> Sums:
        """Return the figures of the request; of one that was cut off, those of the part that arrived."""
        sums = self._sums or Sums(self._reading.finish(self.timeline))
        if self._failed:
            after_retries(sums.record, self._failed)
        return sums


def fire_request(events: Events, record: Record, url: str, context: dict[str, Any]) -> None:
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
        start_time=time() - (perf_counter_ns() / 1e9 - record.sent),
        url=url,
    )


def _context(record: Record) -> dict[str, Any]:
    """Return values for other listeners of Locust's event: plain values, durations in milliseconds."""
    timed = {name: getattr(record, name) for name in _TIMED}
    return {f"{name}_ms": None if value is None else value * 1000.0 for name, value in timed.items()} | {
        "outcome": record.outcome,
        "attempts": record.attempts,
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
    }
