"""OpenAI's chat completions and completions, as vLLM, SGLang, llama.cpp, Ollama, TGI and hosted APIs speak them.

Reasoning comes as `reasoning_content` (DeepSeek, vLLM, SGLang, llama.cpp) or `reasoning` (OpenRouter, Ollama, newer
vLLM). Usage comes in a last chunk without choices, in the last chunk with one, or in every chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from llmlocust.stream.ask import Ask
from llmlocust.stream.delta import ANSWER, BAD, END, ERROR, REASONING, TOOL, USAGE, Delta, Usage, said
from llmlocust.stream.sse import Event

_DONE = b"[DONE]"
_NOT_READABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_CUT_SHORT = "Input data was truncated"
"""What msgspec says of a document that ends too early."""
_MOST_TOKENS = 1 << 40
"""A server that tells of more than that tells nothing."""


class _Details(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    completion_tokens_details: _Details | None = None
    reasoning_tokens: int | None = None
    """SGLang's place for it; its older versions say 0 whatever was reasoned."""


class _Piece(msgspec.Struct):
    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Any] | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    delta: _Piece | None = None
    message: _Piece | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    """A chunk of a stream, a whole document, or an error: they share their outer shape."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    object: str | None = None
    message: str | None = None
    detail: Any = None


_decode_one = msgspec.json.Decoder(_Chunk).decode
_decode_all = msgspec.json.Decoder(list[_Chunk]).decode


class OpenAI:
    """What the two protocols share."""

    name = ""
    path = ""

    def body(self, ask: Ask) -> bytes:
        fields: dict[str, Any] = {"model": ask.model} if ask.model else {}
        fields |= self._question(ask)
        if ask.max_tokens is not None:
            fields[ask.max_tokens_field] = ask.max_tokens
        if ask.temperature is not None:
            fields["temperature"] = ask.temperature
        if ask.stream:
            fields["stream"] = True
            if ask.usage:
                fields["stream_options"] = {"include_usage": True}
        return msgspec.json.encode(fields | ask.extra)

    def _question(self, ask: Ask) -> dict[str, Any]:
        raise NotImplementedError

    def deltas(self, events: Sequence[Event]) -> list[Delta]:
        found: list[Delta] = []
        for event, chunk in zip(events, _decoded(events), strict=True):
            if isinstance(chunk, _Chunk):
                _add_deltas(found, chunk, event.end, failed=event.kind == "error")
            elif chunk is None:
                found.append(Delta(END, event.end, "[DONE]"))
            else:
                failed = event.kind == "error"
                found.append(Delta(ERROR, event.end, event.data.decode()) if failed else Delta(BAD, event.end, chunk))
        return found

    def document(self, body: bytes) -> list[Delta]:
        try:
            chunk = _decode_one(body)
        except _NOT_READABLE as problem:
            if str(problem) == _CUT_SHORT:  # closing the connection was its end, and came too early
                return []
            return [Delta(BAD, len(body), f"not JSON of this protocol: {problem}")]
        found: list[Delta] = []
        _add_deltas(found, chunk, len(body))
        if any(delta.kind == ERROR for delta in found):
            return found
        if not chunk.choices:
            return [Delta(BAD, len(body), "a JSON document without choices")]
        return [*found, Delta(END, len(body), chunk.choices[0].finish_reason or "")]


class OpenAIChat(OpenAI):
    name = "openai chat"
    path = "/v1/chat/completions"

    def _question(self, ask: Ask) -> dict[str, Any]:
        return {"messages": ask.messages or [{"role": "user", "content": ask.prompt}]}


class OpenAICompletions(OpenAI):
    name = "openai completions"
    path = "/v1/completions"

    def _question(self, ask: Ask) -> dict[str, Any]:
        return {"prompt": ask.prompt or "\n\n".join(str(m.get("content", "")) for m in ask.messages or [])}


def _decoded(events: Sequence[Event]) -> Sequence[_Chunk | str | None]:
    """Each event's chunk; None for [DONE]; for what is no chunk, what is wrong with it.

    One call decodes all, which costs a third of a call for each; only a stream that holds something odd, such as a
    [DONE] before its end, is gone through one by one.
    """
    all_data = [event.data for event in events]
    done = [None] if all_data and all_data[-1] == _DONE else []
    try:
        chunks = _decode_all(b"[" + b",".join(all_data[: len(all_data) - len(done)]) + b"]")
    except _NOT_READABLE:
        chunks = []
    together = [*chunks, *done]
    return together if len(together) == len(events) else [_chunk_or_fault(data) for data in all_data]


def _chunk_or_fault(data: bytes) -> _Chunk | str | None:
    words = data.strip()
    if words == _DONE:
        return None
    try:
        return _decode_one(words) if words else _Chunk()  # data without words keeps a connection alive, as comments do
    except _NOT_READABLE as problem:
        return f"not a chunk of this protocol: {problem}"


def _add_deltas(found: list[Delta], chunk: _Chunk, end: int, *, failed: bool = False) -> None:
    if failed or chunk.error is not None or chunk.object == "error" or (chunk.detail and not chunk.choices):
        found.append(Delta(ERROR, end, _words(chunk)))
        return
    usage = _usage(chunk.usage)
    for choice in chunk.choices or ():
        piece = choice.delta or choice.message
        if piece is not None:
            if piece.reasoning_content or piece.reasoning:
                found.append(Delta(REASONING, end, piece.reasoning_content or piece.reasoning or "", usage))
            if piece.content or piece.refusal:
                found.append(Delta(ANSWER, end, _plain_text(piece.content) or piece.refusal or "", usage))
            if piece.tool_calls:
                found.append(Delta(TOOL, end, "", usage))
        elif choice.text:
            found.append(Delta(ANSWER, end, choice.text, usage))
        if choice.finish_reason:
            found.append(Delta(END, end, choice.finish_reason))
    if usage is not None:
        found.append(Delta(USAGE, end, "", usage))


def _plain_text(content: str | list[Any] | None) -> str:
    """Content is text, or a list of parts of which some are text (Mistral's API)."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content or ""


def _usage(told: _Usage | None) -> Usage | None:
    if told is None:
        return None
    details = told.completion_tokens_details
    reasoning = details.reasoning_tokens if details else told.reasoning_tokens or None
    usage = Usage(_believable(told.prompt_tokens), _believable(told.completion_tokens), _believable(reasoning))
    return None if usage.input_tokens is None and usage.output_tokens is None else usage


def _believable(count: int | None) -> int | None:
    return count if count is not None and 0 <= count <= _MOST_TOKENS else None


def _words(chunk: _Chunk) -> str:
    return said(chunk.error, chunk.message, chunk.detail) or "an error event without words"
