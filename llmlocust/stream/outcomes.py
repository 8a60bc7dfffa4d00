"""The outcome of a request, and the error message for it."""

from __future__ import annotations

import re

from llmlocust.stream.record import OK, Record
from llmlocust.stream.timeline import Timeline
from llmlocust.stream.words import MAX_LENGTH, server_words


def outcome(record: Record, timeline: Timeline, body: bytes, *, ended: bool, last_words: str) -> tuple[str, str]:
    """Return the first outcome that applies, and its message. `ended`: the answer reached its end. `last_words`: text in the
    stream outside the protocol.
    """
    status, error = timeline.status, record.error
    if status >= 400:
        words = server_words(body)
        return _kind_of_refusal(status, words), f"HTTP {status}: {words}"
    if record.outcome != OK:
        return ("out_of_memory" if _out_of_memory(error) else record.outcome), error
    if record.finish == "[DONE]" and record.e2e is None and not record.output_tokens:
        # no token, no finish reason, no count: some servers end an answer like this when they abort it
        return "truncated", _with("the stream ended with [DONE] before any token", last_words)
    if ended and timeline.is_answered:
        return OK, ""
    if timeline.failure:
        return timeline.failure, _with(timeline.detail, last_words)
    if timeline.is_answered:
        some = "some" if record.chunks else "no"
        return "truncated", _with(f"the stream ended without an end after {some} tokens", last_words)
    return "bad_stream", f"HTTP {status}: {timeline.detail or 'neither an answer nor an error'}"


def _with(words: str, last_words: str) -> str:
    return f"{words}; its last words: {last_words}" if last_words else words


def _kind_of_refusal(status: int, words: str) -> str:
    if _out_of_memory(words):
        return "out_of_memory"
    if status in (429, 503, 504):
        return f"http_{status}"
    return "http_5xx" if status >= 500 else "http_4xx"


def _out_of_memory(words: str) -> bool:
    return "out of memory" in words.lower() or "outofmemory" in words.lower()


_WORD = re.compile(r"[^\s\"'(),;]+")
_DIGIT = re.compile(r"\d")
_HTTP_STATUS = re.compile(r"^(HTTP \d{3})\b(.*)$", re.DOTALL)


def without_ids(text: str) -> str:
    """Return the text with every word that contains a digit replaced by …, except a leading HTTP status. With ids and
    numbers, each failure would be a row of its own.
    """
    line = " ".join(text[:2000].split())
    status, rest = match.groups() if (match := _HTTP_STATUS.match(line)) else ("", line)
    return (status + _WORD.sub(lambda word: "…" if _DIGIT.search(word[0]) else word[0], rest))[:MAX_LENGTH].rstrip()
