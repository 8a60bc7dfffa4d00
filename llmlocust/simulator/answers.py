"""Answers: the engine's tokens as writes to the client, with faults.

An `Answer` is notified of its tokens, of its refusal and of its client's disconnection. It ends exactly once and reports
its outcome to the server. As with OpenAI, the headers of a stream are sent with its first token, so that its status can
still be an error until then. The event with the role is sent in one write with the headers, and each token in its own
write.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from llmlocust.simulator import truth
from llmlocust.simulator.calls import Call
from llmlocust.simulator.connection import Connection
from llmlocust.simulator.dialects import DIALECTS, SSE
from llmlocust.simulator.faults import ENDINGS, Faults
from llmlocust.simulator.openai import ApiError, Labels, Plan, Request

_NEVER, _LAST_CHUNK = 1 << 62, b"0\r\n\r\n"
_BROKEN = ApiError(500, "the engine died in the middle of this answer (simulated)", code="internal_error")
_BAD_JSON = b'{"id": "cut short, "choices": ['


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that an answer needs."""

    connection: Connection
    path: str
    request: Request
    plan: Plan
    labels: Labels
    faults: Faults
    record: truth.Record
    ended: "Callable[[Answer, str], None]"
    tokens_per_chunk: int = 1
    takes_chunks: bool = True


class Answer:
    """The common part of answers in one piece and streams."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.call = Call(
            prompt_tokens=job.request.prompt_tokens,
            output_tokens=job.plan.output_tokens,
            streamed=job.request.stream,
            cached_tokens=job.labels.cached_tokens,
            owner=self,
            finish_reason=job.plan.finish_reason,
        )
        self._dialect = DIALECTS[job.path](job.request, job.plan, job.labels)
        self._produced = self._written = 0  # tokens that the engine has produced, and tokens that have been sent
        self._has_ended = self._is_stalled = self._is_broken = False
        # the first of several endings applies
        self._ends_at, self._ending = min((_place(job.faults, name), name) for name in ENDINGS)
        stall = job.faults.get("stall")
        self._stalls = (
            {stall.at: stall.value} if stall else {}
        )  # seconds of each stall, by the number of tokens before it
        self._writes_at = 0  # number of produced tokens at which to write
        job.connection.on_disconnect = self._on_disconnect

    def token(self, due: float) -> None:
        """Take one more token of the engine."""
        if self._has_ended or self._is_broken:
            return
        if self._produced in self._stalls:
            self._stall(self._stalls[self._produced])
        if self._produced == self._ends_at:
            self._is_broken = True
        else:
            self._produced += 1
        if not self._is_stalled:
            self._continue(due)

    def refuse(self, error: ApiError, outcome: str) -> None:
        """Send an error instead of the answer."""
        if not self._has_ended:
            self.job.record.status = error.status
            self.job.connection.respond(error.status, self._dialect.error(error), headers=error.headers)
            self._end(outcome)

    def cut_off(self, outcome: str) -> None:
        """Close the connection in the middle of the answer."""
        if not self._has_ended:
            self.job.connection.done(close=True)
            self._end(outcome)

    def _continue(self, due: float) -> None:
        """Send tokens that are due, and end the answer after the last token or at a fault."""
        if self._produced >= self._writes_at or self._is_broken:
            if self._produced > self._written:
                self._write(due)
            if self._is_broken:
                self._break_off()
            elif self._written == self.job.plan.output_tokens:
                self._finish()

    def _write(self, due: float) -> None:
        raise NotImplementedError

    def _finish(self) -> None:
        raise NotImplementedError

    def _break_off(self) -> None:
        """End with a fault, in place of the next token."""
        if self._ending == "reset":
            self.job.connection.reset()
        else:
            self.job.connection.done(close=True)
        self._end(self._ending)

    def _stall(self, seconds: float) -> None:
        """Send nothing for this number of seconds; tokens accumulate."""
        self._is_stalled = True
        asyncio.get_running_loop().call_later(seconds, self._release)

    def _release(self) -> None:
        self._is_stalled = False
        if not self._has_ended:
            self._continue(time.monotonic())

    def _note_write(self, due: float) -> None:
        now_ns = time.monotonic_ns()
        self.job.record.note_write(self._produced - self._written, now_ns, now_ns - int(due * 1e9))
        self._written = self._produced

    def _on_disconnect(self, too_slow: bool) -> None:
        self._end(truth.SLOW_CLIENT if too_slow else truth.CANCELLED)

    def _end(self, outcome: str) -> None:
        if not self._has_ended:
            self._has_ended = True
            self.job.ended(self, outcome)


class Whole(Answer):
    """An answer in one piece, sent after its last token."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._writes_at = job.plan.output_tokens
        if "slow_headers" in job.faults:
            self._stalls[job.plan.output_tokens - 1] = job.faults["slow_headers"].value

    def _write(self, due: float) -> None:
        if not self._is_broken:  # an answer that is cut off has sent none of its tokens
            self._note_write(due)

    def _finish(self) -> None:
        self.job.record.status = 200
        self.job.connection.respond(200, self._body())
        self._end(truth.COMPLETED)

    def _break_off(self) -> None:
        if self._ending == "error_event":
            self.refuse(_BROKEN, self._ending)
        elif self._ending == "truncate":
            body = self._body()
            self.job.record.status = 200
            self.job.connection.respond(200, body, send=len(body) // 2)
            self._end(self._ending)
        else:
            super()._break_off()

    def _body(self) -> bytes:
        return self._dialect.whole()


class Streamed(Answer):
    """An answer as a stream of events."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        faults = job.faults
        self._per_event = int(faults["chunk"].value) if "chunk" in faults else job.tokens_per_chunk
        self._per_write = self._per_event * (int(faults["coalesce"].value) if "coalesce" in faults else 1)
        self._chunked = job.takes_chunks and "close_delimited" not in faults
        self._is_altered = bool(faults.keys() & {"comments", "crlf", "cut"})
        self._breaks_json_at = _place(faults, "bad_json")
        if "slow_headers" in faults:
            self._stalls[0] = faults["slow_headers"].value
        self._stops = sorted((self._ends_at, *self._stalls, self._breaks_json_at, job.plan.output_tokens))
        self._next_write()

    def _stall(self, seconds: float) -> None:
        if "slow_headers" not in self.job.faults:
            self._start()  # the headers are sent before a stall at the first token
        super()._stall(seconds)

    def _write(self, due: float) -> None:
        self._start()
        start, end = self._written, self._produced
        events = self._dialect.tokens(start, end) if end - start == 1 else b"".join(self._split(start, end))
        if start <= self._breaks_json_at < end:
            sse = self._dialect.content_type == SSE
            events = (b"data: %b\n\n" if sse else b"%b\n") % _BAD_JSON + events
        self._note_write(due)
        if end == self.job.plan.output_tokens:
            self._send(events + self._last_events(), _LAST_CHUNK)
        else:
            self._next_write()
            self._send(events)

    def _finish(self) -> None:
        self.job.connection.done(close=not self._chunked)
        self._end(truth.COMPLETED)

    def _break_off(self) -> None:
        self._start()
        ending = {"error_event": self._dialect.error_event(_BROKEN), "truncate": b""}.get(self._ending)
        if ending is None:
            super()._break_off()
            return
        self._send(ending, _LAST_CHUNK)
        self.job.connection.done(close=not self._chunked)
        self._end(self._ending)

    def _start(self) -> None:
        if not self.job.record.status:
            self.job.record.status = 200
            self.job.connection.start(self._dialect.content_type, chunked=self._chunked)
            self._send(self._dialect.role())

    def _next_write(self) -> None:
        """Set the number of tokens for the next write, which never goes beyond the place of a fault."""
        stop = next((stop for stop in self._stops if stop > self._written), _NEVER)
        self._writes_at = min(self._written + self._per_write, stop)

    def _split(self, start: int, end: int) -> Iterator[bytes]:
        """Yield events with the set number of tokens; reasoning and answer are never in the same event."""
        boundary = self.job.plan.reasoning_tokens
        while start < end:
            stop = min(start + self._per_event, end, boundary if start < boundary else end)
            yield self._dialect.tokens(start, stop)
            start = stop

    def _last_events(self) -> bytes:
        faults = self.job.faults
        return self._dialect.last(usage="no_usage" not in faults, done="no_done" not in faults)

    def _send(self, events: bytes, last_chunk: bytes = b"") -> None:
        """Write events to the body."""
        if self._is_altered:
            self._send_altered(events, last_chunk)
        elif self._chunked:
            self.job.connection.write(_chunk(events) + last_chunk)
        else:
            self.job.connection.write(events)

    def _send_altered(self, events: bytes, last_chunk: bytes) -> None:
        faults = self.job.faults
        if "comments" in faults:
            events = events.replace(b"data: ", b": still here\n\ndata: ")
        if "crlf" in faults:
            events = events.replace(b"\n", b"\r\n")
        data = _chunk(events) + last_chunk if self._chunked else events
        size = int(faults["cut"].value) if "cut" in faults else len(data) or 1
        for start in range(0, len(data), size):
            self.job.connection.write(data[start : start + size])


def _chunk(data: bytes) -> bytes:
    # an empty chunk would end the body
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _place(faults: Faults, name: str) -> int:
    return faults[name].at if name in faults else _NEVER
