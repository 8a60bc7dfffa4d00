"""`Record`: what one request came to. Everything after the socket reads Records.

The definitions are DESIGN's, and docs/metrics.md states them for readers. All durations are seconds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from llmlocust.stream.delta import ANSWER, BAD, END, ERROR, REASONING, TOKEN_BEARING, TOOL, USAGE, Delta, Usage, said
from llmlocust.stream.dialects import Dialect
from llmlocust.stream.sse import NotText, events
from llmlocust.stream.timeline import Timeline

OK = "ok"
STALL = 0.2
"""A gap between tokens above this is a stall, unless told otherwise."""

_NS = 1e-9

_FAILED_FINISH = ("error", "abort")
"""Reasons to finish that vLLM and SGLang give where the engine gave the request up."""
_TELLING = 16
"""So many bytes of a body tell what it is."""


class Record(msgspec.Struct):
    name: str = ""
    outcome: str = OK
    """OK, or the kind of its failure (numbers.formats.ERROR_KINDS)."""
    error: str = ""
    """What was said of the failure, without ids and numbers, so that equal failures read equal."""
    status: int = 0
    sent: float = 0.0
    """When, on the Timeline's clock; for a request that was never sent, when it was asked for."""
    duration: float = 0.0
    """From `sent` until the response was complete or failed."""
    e2e: float | None = None
    """Last token-bearing delta − sent; the whole body's arrival for an answer that was not streamed."""
    ttft: float | None = None
    """First token-bearing delta − sent. None for an answer that was not streamed: it cannot be known."""
    answer: float | None = None
    """First answer delta − sent."""
    tpot: float | None = None
    """(e2e − ttft) / (output tokens − tokens that were there at TTFT)."""
    arrivals: list[float] = msgspec.field(default_factory=list)
    """When each token-bearing chunk arrived, after `sent`."""
    gaps: list[float] = msgspec.field(default_factory=list)
    """Between neighbouring arrivals."""
    stalls: int = 0
    coalesced: int = 0
    """Chunks that came in the same read as an earlier one: their gap of zero is not the server's."""
    wait: float | None = None
    connect: float | None = None
    tls: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    token_source: str = ""
    """usage, chunk_usage or chunks: who counted the output tokens."""
    finish: str = ""
    retry_after: float | None = None
    size: int = 0
    """Body bytes."""
    clock: str = ""
    """The Timeline's; empty where nothing arrived."""
    text: str = ""
    reasoning: str = ""

    @property
    def ok(self) -> bool:
        return self.outcome == OK

    @property
    def chunks(self) -> int:
        """Token-bearing chunks."""
        return len(self.arrivals)


def read(timeline: Timeline, dialect: Dialect, *, name: str = "", stall: float = STALL) -> Record:
    """What a request came to, from what came over the wire."""
    began = timeline.sent_ns or timeline.asked_ns
    record = Record(
        name=name,
        status=timeline.status,
        sent=began * _NS,
        duration=max(0, timeline.ended_ns - began) * _NS,
        wait=timeline.wait,
        connect=timeline.connect,
        tls=timeline.tls,
        retry_after=timeline.retry_after,
        size=len(timeline.body),
        clock=timeline.clock if timeline.times else "",
    )
    body = bytes(timeline.body)
    if timeline.status == 200:
        _read_answer(record, timeline, dialect, body, stall)
    record.outcome, record.error = _outcome(record, timeline, body)
    return record


def _read_answer(record: Record, timeline: Timeline, dialect: Dialect, body: bytes, stall: float) -> None:
    """Everything but the outcome; what went wrong inside the body is left in `error` and `outcome` for _outcome."""
    streamed = is_event_stream(timeline.content_type, body)
    if streamed:
        deltas = _stream_deltas(dialect, body, complete=timeline.complete)
    elif _is_document(timeline.content_type, body):
        deltas = dialect.document(body) if timeline.complete else []
    elif not timeline.complete and len(body) < _TELLING:
        deltas = []
    else:
        deltas = [Delta(BAD, len(body), f"HTTP 200 with {timeline.content_type or 'no content type'}: {_plain(body)}")]
    _note_end(record, deltas)
    _note_text(record, deltas)
    if streamed:
        _note_times(record, timeline, deltas, stall)
    elif timeline.times and timeline.complete:
        record.e2e = (timeline.times[-1] - timeline.sent_ns) * _NS
    _note_tokens(record, deltas)


def is_event_stream(content_type: str, body: bytes | bytearray) -> bool:
    """By what it says of itself, or where it says nothing of use, by how it begins."""
    begin = bytes(body[:_TELLING]).lstrip()
    if "json" in content_type or begin.startswith(b"{"):  # some servers send an error's JSON and call it a stream
        return False
    return "event-stream" in content_type or begin.startswith((b"data:", b"event:", b"id:", b"retry:", b":"))


def _is_document(content_type: str, body: bytes) -> bool:
    return "json" in content_type or body[:_TELLING].lstrip().startswith(b"{")


def _stream_deltas(dialect: Dialect, body: bytes, *, complete: bool) -> list[Delta]:
    try:
        found, fault = events(body, complete=complete), []
    except NotText as problem:
        found, fault = problem.events, [Delta(BAD, len(body), str(problem))]
    deltas = dialect.deltas(found)
    if deltas and deltas[-1].kind == BAD and not found[-1].whole and deltas[-1].end == found[-1].end:
        deltas.pop()  # the rest of it never came: that makes it cut off, not bad
    return deltas + fault


def has_token(dialect: Dialect, body: bytes) -> bool:
    """Whether a stream has brought its first token; for the transport's time-out, while there is none."""
    return any(delta.kind in TOKEN_BEARING for delta in _stream_deltas(dialect, body, complete=False))


def _note_end(record: Record, deltas: Sequence[Delta]) -> None:
    """How the answer says it ended: `finish` is empty when it did not, and the last word on errors is the first."""
    for delta in deltas:
        if delta.kind == END:
            if delta.text in _FAILED_FINISH and record.outcome == OK:
                record.outcome, record.error = "error_event", f"finish_reason: {delta.text}"
            record.finish = record.finish if record.finish not in ("", "[DONE]") else delta.text or "[DONE]"
        elif delta.kind in (ERROR, BAD) and record.outcome == OK:
            record.outcome, record.error = ("error_event" if delta.kind == ERROR else "bad_stream"), delta.text


def _note_text(record: Record, deltas: Sequence[Delta]) -> None:
    record.text = "".join([delta.text for delta in deltas if delta.kind == ANSWER])
    record.reasoning = "".join([delta.text for delta in deltas if delta.kind == REASONING])


def _note_times(record: Record, timeline: Timeline, deltas: Sequence[Delta], stall: float) -> None:
    sent, times = timeline.sent_ns, timeline.times
    chunk_end, last_read = -1, -1
    for delta in deltas:
        if delta.kind not in TOKEN_BEARING:
            continue
        if delta.end != chunk_end:  # a chunk may bring several pieces; it arrived once
            chunk_end = delta.end
            read_index = timeline.read_of(chunk_end)
            record.coalesced += read_index == last_read
            last_read = read_index
            record.arrivals.append((times[read_index] - sent) * _NS)
        if record.answer is None and delta.kind in (ANSWER, TOOL):
            record.answer = record.arrivals[-1]
    if record.arrivals:
        record.ttft, record.e2e = record.arrivals[0], record.arrivals[-1]
        record.gaps = [later - earlier for earlier, later in pairwise(record.arrivals)]
        record.stalls = sum(gap > stall for gap in record.gaps)


def _note_tokens(record: Record, deltas: Sequence[Delta]) -> None:
    told = [delta.usage for delta in deltas if delta.kind == USAGE and delta.usage is not None]
    last = told[-1] if told else Usage()
    record.input_tokens = last.input_tokens
    record.reasoning_tokens = last.reasoning_tokens
    if last.output_tokens is not None:
        record.output_tokens = last.output_tokens
        # a server that counts along has told more than once, and what it told last holds even for a cut stream
        record.token_source = "chunk_usage" if len(told) > 1 else "usage"
    elif record.chunks:
        record.output_tokens, record.token_source = record.chunks, "chunks"
    if record.ttft is None or record.e2e is None or record.output_tokens is None:
        return
    after_first = record.output_tokens - _tokens_of_first_read(deltas, record)
    if after_first > 0 and record.e2e > record.ttft:
        record.tpot = (record.e2e - record.ttft) / after_first


def _tokens_of_first_read(deltas: Sequence[Delta], record: Record) -> float:
    """Tokens that were there at TTFT: those of the first chunk, and of every chunk that came in the same read.

    Where a server counts along, by its count; else each chunk has its share of the output.
    """
    bearing = [delta for delta in deltas if delta.kind in TOKEN_BEARING]
    together = sum(moment == record.ttft for moment in record.arrivals)
    last = dict.fromkeys(delta.end for delta in bearing)
    end = list(last)[together - 1]
    told = [delta.usage.output_tokens for delta in bearing if delta.end == end and delta.usage is not None]
    if told and told[0]:
        return told[0]
    return 1 if together == 1 else together * (record.output_tokens or 0) / record.chunks


def _outcome(record: Record, timeline: Timeline, body: bytes) -> tuple[str, str]:
    """The first of these that applies says what became of the request."""
    status, said = timeline.status, record.error
    if status >= 400:
        words = server_words(body)
        return _kind_of_refusal(status, words), without_ids(f"HTTP {status}: {words}")
    if record.outcome != OK:
        return ("out_of_memory" if _out_of_memory(said) else record.outcome), without_ids(said)
    if record.finish == "[DONE]" and record.e2e is None and not record.output_tokens:
        # no token, no reason to finish, no count: some servers end so what they break off
        return "truncated", "the stream ended with [DONE] before any token"
    if record.finish and status == 200:
        return OK, ""
    if timeline.failure:
        return timeline.failure, without_ids(timeline.detail)
    if status == 200:
        return "truncated", f"the stream ended without an end after {'some' if record.chunks else 'no'} tokens"
    return "bad_stream", without_ids(f"HTTP {status}: {timeline.detail or 'neither an answer nor an error'}")


def _kind_of_refusal(status: int, words: str) -> str:
    if _out_of_memory(words):
        return "out_of_memory"
    if status in (429, 503, 504):
        return f"http_{status}"
    return "http_5xx" if status >= 500 else "http_4xx"


def _out_of_memory(words: str) -> bool:
    return "out of memory" in words.lower() or "outofmemory" in words.lower()


class _Refusal(msgspec.Struct):
    """Where servers put the words of an error: OpenAI, vLLM, FastAPI, and plain strings."""

    error: object = None
    message: object = None
    detail: object = None


def server_words(body: bytes) -> str:
    """What the body of an error response says, in one line."""
    try:
        refusal = msgspec.json.decode(body, type=_Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _plain(body)
    return said(refusal.error, refusal.message, refusal.detail) or _plain(body)


def _plain(body: bytes) -> str:
    """The beginning of a text, without HTML's tags."""
    text = re.sub(
        r"<(style|script|head)\b.*?</\1>|<[^>]*>",
        " ",
        body[:2000].decode(errors="replace"),
        flags=re.DOTALL | re.IGNORECASE,
    )
    return " ".join(text.split())[:200] or "an empty body"


_WORD = re.compile(r"[^\s\"'(),;]+")
_DIGIT = re.compile(r"\d")
_HTTP_STATUS = re.compile(r"^(HTTP \d{3})\b(.*)$", re.DOTALL)


def without_ids(text: str) -> str:
    """The text with every word that holds a digit replaced by …: ids and numbers would make each failure its own row.

    A leading HTTP status stays.
    """
    line = " ".join(text[:2000].split())
    status, rest = match.groups() if (match := _HTTP_STATUS.match(line)) else ("", line)
    return (status + _WORD.sub(lambda word: "…" if _DIGIT.search(word[0]) else word[0], rest))[:200].rstrip()
