"""An answer beyond a limit ends its request, and no answer blocks the event loop."""

import time

import pytest

from llmlocust.stream import reading
from llmlocust.stream.dialects import DIALECTS, named
from llmlocust.stream.limits import MAX_DOCUMENT, MAX_EVENT
from llmlocust.stream.reading import Reading
from llmlocust.stream.record import Record
from llmlocust.stream.timeline import Poll, Timeline

MB = 1 << 20
TOKEN = b'{"choices":[{"delta":{"content":"a"}}]}'
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
SSE, JSON = "text/event-stream", "application/json"
PATIENCE = 5.0
"""Maximum seconds of processor time. The reads take a fraction of it; without limits, they took minutes or gigabytes."""


def read_body(
    body: bytes, content_type: str = SSE, dialect: str = "openai-chat", read: int = MB
) -> tuple[Record, float, int]:
    """Read a body in reads of this size. Return the record, the processor time in seconds, and the maximum unread bytes."""
    timeline = Timeline(sent_ns=1, status=200, content_type=content_type)
    reader, unread, began = Reading(named(dialect)), 0, time.process_time()
    for begin in range(0, len(body), read):
        timeline.body += body[begin : begin + read]
        timeline.ends.append(len(timeline.body))
        timeline.times.append(begin + 1000)
        timeline.lags.append(1)
        timeline.polls.append(Poll(0, 0))
        while reader.take(timeline):
            pass
        unread = max(unread, len(timeline.body))
    timeline.complete, timeline.ended_ns = True, 10**12
    return reader.finish(timeline), time.process_time() - began, unread


def content(inside: bytes) -> bytes:
    return b'{"choices":[{"delta":{"content":[' + inside + b"]}}]}"


def data(*values: bytes) -> bytes:
    return b"".join(b"data: " + value + b"\n\n" for value in values)


EVENT = "an event of the answer"
TOO_LARGE = {
    "an endless line": (b"data: " + b"x" * 6 * MB, SSE, f"{EVENT} was longer than 4 MB"),
    "an event that ends": (data(b'"' + b"x" * 5 * MB + b'"'), SSE, f"{EVENT} was longer than 4 MB"),
    "an event of endless lines": (b"data: x\n" * (6 * MB // 8), SSE, f"{EVENT} was longer than 4 MB"),
    "an event of many lines": (b"data:\n" * 30_000 + b"\n", SSE, f"{EVENT} had more than 20,000 lines"),
    "empty comments": (b":\r" * 40_000, SSE, f"{EVENT} had more than 20,000 lines"),
    "lists": (data(content(b"[]," * MB + b"0")), SSE, f"{EVENT} had more than 50,000 objects or lists"),
    "a deep list": (data(b"[" * 3 * MB), SSE, f"{EVENT} had more than 50,000 objects or lists"),
    "a deep object": (data(b'{"a":' * (MB // 2)), SSE, f"{EVENT} had more than 50,000 objects or lists"),
    "numbers": (data(content(b"0," * (3 * MB // 2) + b"0")), SSE, f"{EVENT} had more than 1,000,000 values"),
    "an endless document": (b'{"choices":"' + b"x" * 17 * MB, JSON, "the answer was longer than 16 MB"),
    "a document of lists": (content(b"[]," * MB + b"0"), JSON, "the answer had more than 50,000 objects or lists"),
    "a document of numbers": (content(b"0," * 3 * MB + b"0"), JSON, "the answer had more than 2,000,000 values"),
}


@pytest.mark.parametrize("body, content_type, words", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_part_that_is_too_large_is_reported_and_not_read(body, content_type, words):
    record, seconds, _ = read_body(body, content_type)

    assert (record.outcome, record.words) == ("too_large", words)
    assert seconds < PATIENCE


@pytest.mark.parametrize("name", [dialect.name for dialect in DIALECTS])
def test_all_dialects_have_limits(name):
    streams = named(name).streams
    body = (b"data: " if streams else b'{"x": "') + b"x" * 17 * MB
    assert read_body(body, SSE if streams else JSON, name)[0].outcome == "too_large"


def test_lines_of_json_have_the_limit_of_an_event():
    record, _, _ = read_body(b'{"message": {"content": "' + b"x" * 6 * MB, "application/x-ndjson", "ollama-chat")
    assert (record.outcome, record.words) == ("too_large", f"{EVENT} was longer than 4 MB")


SLOW = {
    "names without data": b"event: a" * 200_000 + b"\n\n",
    "white space between braces": b'{"a":1}' + b"\n" * 60_000 + b"x",
    "a name and lines": b"event: a\n" * 19_000 + data(TOKEN),
    "choices": data(b'{"choices":[' + b'{"text":"a"},' * 49_000 + b"{}" + b" " * MB + b"]}"),
    "choices that do not fit": data(b'{"choices":[' + b'{"delta":5},' * 9_000 + b"{}" + b" " * 70_000 + b"]}"),
    "lists that are no JSON": data(content(b"[]," * 49_000 + b"NaN" + b" " * MB)),
    "a count among lists": data(b'{"x":[' + b"[]," * 49_000 + b'[]],"token_count": 5' + b" " * MB + b"}"),
    "messages between tokens": data(TOKEN, b'{"choices":[{"message":{"content":"b"}}]}') * 50_000,
    "a long text": data(content(b'"' + b"x" * (MAX_EVENT - MB) + b'"')),
}


@pytest.mark.parametrize("body", SLOW.values(), ids=SLOW)
def test_slow_bodies_are_read_in_time(body):
    record, seconds, _ = read_body(body)

    assert record.outcome in ("truncated", "bad_stream", "ok")
    assert seconds < PATIENCE


def test_answers_just_below_the_limits_are_read():
    text = b"x" * (MAX_EVENT - 1000)
    record, _, _ = read_body(data(b'{"choices":[{"delta":{"content":"' + text + b'"}}]}') + END)
    assert (record.outcome, len(record.text)) == ("ok", len(text))

    text = b"x" * (MAX_DOCUMENT - 1000)
    record, _, _ = read_body(b'{"choices":[{"message":{"content":"' + text + b'"}}]}', JSON)
    assert (record.outcome, len(record.text)) == ("ok", len(text))


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n", b"\r\n"], ids=repr)
def test_memory_of_a_long_stream_is_released_with_any_line_ends(end):
    count = 100_000
    record, _, unread = read_body((b"data: " + TOKEN + end) * count + END, read=65536)

    assert (record.outcome, record.chunks) == ("ok", count)
    assert unread < 2 * MB


def test_an_answer_of_too_many_pieces_ends(monkeypatch):
    monkeypatch.setattr(reading, "MAX_PIECES", 2000)
    record, _, _ = read_body(data(TOKEN) * 5000)
    assert (record.outcome, record.words) == ("too_large", "the answer had more than 2,000 pieces")
    assert record.chunks < 4000


def test_too_many_answers_in_a_stream_end_it():
    chunks = [b'{"choices":[{"index":%d,"delta":{"content":"a"}}]}' % number for number in range(3000)]
    record, _, _ = read_body(data(*chunks))
    assert (record.outcome, record.words) == ("too_large", "there were more than 1,000 answers in one stream")


def test_tokens_before_an_event_that_is_too_large_are_kept():
    record, _, _ = read_body(data(TOKEN) * 3 + b"data: " + b"x" * 5 * MB, read=65536)
    assert (record.outcome, record.text, record.chunks) == ("too_large", "aaa", 3)


def test_an_http_error_with_a_long_body_is_read_in_time():
    timeline = Timeline(sent_ns=1, ended_ns=2, status=500, body=bytearray(content(b"[]," * 4 * MB + b"0")))
    began = time.process_time()
    assert Reading(named("openai-chat")).finish(timeline).outcome == "http_5xx"
    assert time.process_time() - began < PATIENCE


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"message":{"content":"' + b"x " * MB + b'"}}]}',
        b'{"choices":[{"message":{"content":"' + b"x" * 17 * MB + b'"}}]}',
        b'{"error":"' + b"x" * MB + b'"}',
        b'{"choices":' + b" " * MB,
    ],
    ids=["an answer", "too long", "an error", "no JSON"],
)
def test_a_long_document_is_read_in_a_separate_step_with_the_same_result(body):
    def complete_timeline():
        return Timeline(sent_ns=1, status=200, content_type=JSON, body=bytearray(body), complete=True, ended_ns=10**9)

    reader, timeline = Reading(named("openai-chat")), complete_timeline()
    steps = [reader.take(timeline) for _ in range(2)]

    assert steps == [True, False]
    assert reader.finish(timeline) == reading.read(complete_timeline(), named("openai-chat"))


def test_a_document_is_not_read_before_it_is_complete():
    body = b'{"choices":[{"message":{"content":"' + b"x" * MB
    timeline = Timeline(sent_ns=1, status=200, content_type=JSON, body=bytearray(body))
    assert not Reading(named("openai-chat")).take(timeline)
