"""Anthropic's Messages API. A stream consists of named events: the message begins, blocks of text, thinking or tool input
begin and grow, and a last change of the message has the stop reason and the token counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from llmlocust.stream.ask import Ask, image_of, only_text
from llmlocust.stream.delta import (
    ANSWER,
    END,
    ERROR,
    REASONING,
    TOOL,
    USAGE,
    WHOLE_ANSWER,
    WHOLE_REASONING,
    WHOLE_TOOL,
    Delta,
    Usage,
)
from llmlocust.stream.dialects.base import Dialect, text_of
from llmlocust.stream.sse import Event
from llmlocust.stream.tolerant import valid_count
from llmlocust.stream.words import first_message, has_value, reason

_VERSION = "2023-06-01"
_MAX_TOKENS = 4096
"""Limit of tokens if the request has none: the protocol requires one."""
_KINDS = {"text": ANSWER, "thinking": REASONING, "redacted_thinking": REASONING, "tool_use": TOOL}


class _Usage(msgspec.Struct):
    input_tokens: Any = None
    output_tokens: Any = None
    cache_creation_input_tokens: Any = None
    cache_read_input_tokens: Any = None


class _Block(msgspec.Struct):
    """A block of content, or the new part of one."""

    type: str = ""
    text: Any = None
    thinking: Any = None
    partial_json: Any = None
    stop_reason: Any = None
    """Stop reason of the message, if that is the change."""


class _Message(msgspec.Struct):
    usage: _Usage | None = None


class _Chunk(msgspec.Struct):
    """An event, a whole message, or an error."""

    type: str = ""
    delta: _Block | None = None
    content_block: _Block | None = None
    message: _Message | str | None = None
    content: list[_Block] | None = None
    stop_reason: Any = None
    usage: _Usage | None = None
    error: Any = None


class AnthropicMessages(Dialect):
    name = "anthropic"
    path = "/v1/messages"
    chunk: ClassVar[Any] = _Chunk
    key_variable = "ANTHROPIC_API_KEY"
    key_hosts = ("anthropic.com",)

    def headers(self, key: str) -> dict[str, str]:
        return {"anthropic-version": _VERSION} | ({"x-api-key": key} if key else {})

    def body(self, ask: Ask) -> bytes:
        messages = ask.conversation()
        system = "\n\n".join(
            only_text(message.get("content")) for message in messages if message.get("role") == "system"
        )
        fields: dict[str, Any] = {
            **({"model": ask.model} if ask.model else {}),
            "max_tokens": ask.max_tokens or _MAX_TOKENS,
            "messages": [_message(message) for message in messages if message.get("role") != "system"],
        }
        if system:
            fields["system"] = system
        if ask.temperature is not None:
            fields["temperature"] = ask.temperature
        if ask.stream:
            fields["stream"] = True
        return msgspec.json.encode(fields | ask.extra)

    def pieces(self, deltas: list[Delta], chunk: _Chunk, event: Event) -> None:
        end = event.end
        if chunk.type == "content_block_delta" and chunk.delta is not None:
            _add_growth(deltas, chunk.delta, end)
        elif (chunk.error is not None and has_value(chunk.error)) or "error" in (chunk.type, event.kind):
            deltas.append(
                Delta(ERROR, end, first_message(chunk.error, chunk.message) or "an error event without a message")
            )
        elif chunk.type == "content_block_start" and chunk.content_block is not None:
            _add_block(deltas, chunk.content_block, end)
        elif chunk.type == "message_start" and isinstance(chunk.message, _Message) and chunk.message.usage:
            # its count of output tokens is that of the beginning
            deltas.append(Delta(USAGE, end, "", _usage(chunk.message.usage, output_tokens=None)))
        elif chunk.type == "message_delta":
            _add_end(deltas, reason(chunk.delta.stop_reason) if chunk.delta else "", chunk.usage, end)
        elif chunk.type == "message_stop":
            deltas.append(Delta(END, end, "[DONE]"))
        elif chunk.type == "message":
            _add_whole(deltas, chunk.content or (), end)
            _add_end(deltas, reason(chunk.stop_reason) or "[DONE]", chunk.usage, end)


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """Convert a message in OpenAI's format: images need this protocol's format."""
    content = message.get("content")
    return message | {"content": [_part(part) for part in content]} if isinstance(content, list) else message


def _part(part: dict[str, Any]) -> dict[str, Any]:
    image = image_of(part)
    if image is None:
        return part
    media_type, data, url = image
    source = {"type": "url", "url": url} if url else {"type": "base64", "media_type": media_type, "data": data}
    return {"type": "image", "source": source}


def _add_growth(deltas: list[Delta], delta: _Block, end: int) -> None:
    if delta.text:
        deltas.append(Delta(ANSWER, end, text_of(delta.text)))
    elif delta.thinking:
        deltas.append(Delta(REASONING, end, text_of(delta.thinking)))
    elif delta.partial_json:
        deltas.append(Delta(TOOL, end))


def _add_block(deltas: list[Delta], block: _Block, end: int) -> None:
    """Add a block. Its beginning has no text yet, but that of a tool call has the name, which the model generated."""
    kind = _KINDS.get(block.type.removeprefix("server_"))
    text = text_of(block.text or block.thinking)
    if kind == TOOL or block.type == "redacted_thinking" or (kind and text):
        deltas.append(Delta(kind or ANSWER, end, text))


_WHOLE = {ANSWER: WHOLE_ANSWER, REASONING: WHOLE_REASONING, TOOL: WHOLE_TOOL}


def _add_whole(deltas: list[Delta], blocks: Sequence[_Block], end: int) -> None:
    """Add the blocks of a whole message, joined by kind."""
    pieces: list[Delta] = []
    for block in blocks:
        _add_block(pieces, block, end)
    for kind, whole in _WHOLE.items():
        texts = [piece.text for piece in pieces if piece.kind == kind]
        deltas += [Delta(whole, end, "".join(texts))] if texts else []


def _add_end(deltas: list[Delta], stop_reason: str, usage: _Usage | None, end: int) -> None:
    if stop_reason:
        deltas.append(Delta(END, end, stop_reason))
    if usage is not None:
        deltas.append(Delta(USAGE, end, "", _usage(usage, valid_count(usage.output_tokens))))


def _usage(usage: _Usage, output_tokens: int | None) -> Usage:
    """Convert usage. Cached prompt tokens are counted separately, and may be reported by a later event."""
    cached = valid_count(usage.cache_read_input_tokens), valid_count(usage.cache_creation_input_tokens)
    return Usage(valid_count(usage.input_tokens), output_tokens, None, *cached)
