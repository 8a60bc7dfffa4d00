"""Anthropic's messages. A stream is named events: the message begins, blocks of text, thinking or a tool's input begin
and grow, and the message's last change tells why it stopped and how many tokens it took.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from llmlocust.stream.ask import Ask, image_of, only_text
from llmlocust.stream.delta import ANSWER, END, ERROR, REASONING, TOOL, USAGE, Delta, Usage, said
from llmlocust.stream.dialects.base import Dialect, believable
from llmlocust.stream.sse import Event

_VERSION = "2023-06-01"
_MOST_TOKENS = 4096
"""The protocol wants a limit; this stands for the server's own."""
_KINDS = {"text": ANSWER, "thinking": REASONING, "redacted_thinking": REASONING, "tool_use": TOOL}


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Block(msgspec.Struct):
    """A block of content, or what is new of one."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    """Of the message, where that is what changed."""


class _Message(msgspec.Struct):
    usage: _Usage | None = None


class _Chunk(msgspec.Struct):
    """An event, a whole message, or an error."""

    type: str = ""
    delta: _Block | None = None
    content_block: _Block | None = None
    message: _Message | str | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    error: Any = None


class AnthropicMessages(Dialect):
    name = "anthropic"
    path = "/v1/messages"
    chunk: ClassVar[Any] = _Chunk
    key_variable = "ANTHROPIC_API_KEY"

    def headers(self, key: str) -> dict[str, str]:
        return {"anthropic-version": _VERSION} | ({"x-api-key": key} if key else {})

    def body(self, ask: Ask) -> bytes:
        messages = ask.conversation()
        system = "\n\n".join(only_text(each.get("content")) for each in messages if each.get("role") == "system")
        fields: dict[str, Any] = {
            **({"model": ask.model} if ask.model else {}),
            "max_tokens": ask.max_tokens or _MOST_TOKENS,
            "messages": [_message(each) for each in messages if each.get("role") != "system"],
        }
        if system:
            fields["system"] = system
        if ask.temperature is not None:
            fields["temperature"] = ask.temperature
        if ask.stream:
            fields["stream"] = True
        return msgspec.json.encode(fields | ask.extra)

    def pieces(self, found: list[Delta], chunk: _Chunk, event: Event) -> None:
        end = event.end
        if chunk.type == "content_block_delta" and chunk.delta is not None:
            _add_growth(found, chunk.delta, end)
        elif chunk.error is not None or chunk.type == "error" or event.kind == "error":
            found.append(Delta(ERROR, end, said(chunk.error, chunk.message) or "an error event without words"))
        elif chunk.type == "content_block_start" and chunk.content_block is not None:
            _add_block(found, chunk.content_block, end)
        elif chunk.type == "message_start" and isinstance(chunk.message, _Message) and chunk.message.usage:
            # what it says of the output is of the very beginning
            found.append(Delta(USAGE, end, "", Usage(_input_tokens(chunk.message.usage))))
        elif chunk.type == "message_delta":
            _add_end(found, chunk.delta.stop_reason if chunk.delta else None, chunk.usage, end)
        elif chunk.type == "message_stop":
            found.append(Delta(END, end, "[DONE]"))
        elif chunk.type == "message":
            for block in chunk.content or ():
                _add_block(found, block, end)
            _add_end(found, chunk.stop_reason or "[DONE]", chunk.usage, end)


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """A message in OpenAI's shape, with its images as this protocol wants them."""
    content = message.get("content")
    return message | {"content": [_part(part) for part in content]} if isinstance(content, list) else message


def _part(part: dict[str, Any]) -> dict[str, Any]:
    image = image_of(part)
    if image is None:
        return part
    media_type, data, url = image
    source = {"type": "url", "url": url} if url else {"type": "base64", "media_type": media_type, "data": data}
    return {"type": "image", "source": source}


def _add_growth(found: list[Delta], delta: _Block, end: int) -> None:
    if delta.text:
        found.append(Delta(ANSWER, end, delta.text))
    elif delta.thinking:
        found.append(Delta(REASONING, end, delta.thinking))
    elif delta.partial_json:
        found.append(Delta(TOOL, end))


def _add_block(found: list[Delta], block: _Block, end: int) -> None:
    """A block's beginning has no text yet, but a tool's has its name, which the model wrote."""
    kind = _KINDS.get(block.type.removeprefix("server_"))
    text = block.text or block.thinking or ""
    if kind == TOOL or block.type == "redacted_thinking" or (kind and text):
        found.append(Delta(kind or ANSWER, end, text))


def _add_end(found: list[Delta], reason: str | None, usage: _Usage | None, end: int) -> None:
    if reason:
        found.append(Delta(END, end, reason))
    if usage is not None:
        found.append(Delta(USAGE, end, "", Usage(_input_tokens(usage), believable(usage.output_tokens))))


def _input_tokens(usage: _Usage) -> int | None:
    """All of the prompt: what the cache had is told apart."""
    told = (usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens)
    counts = [count for count in told if believable(count) is not None]
    return sum(count or 0 for count in counts) if counts else None
