"""What became of a request: its outcome, and the server's words for it in a form that groups."""

from __future__ import annotations

import re

import msgspec

from llmlocust.stream.delta import said
from llmlocust.stream.record import OK, Record
from llmlocust.stream.timeline import Timeline


def outcome(record: Record, timeline: Timeline, body: bytes) -> tuple[str, str]:
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
        return plain(body)
    return said(refusal.error, refusal.message, refusal.detail) or plain(body)


def plain(body: bytes) -> str:
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
