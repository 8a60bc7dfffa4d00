"""OpenAI's Responses API. A stream consists of named events; the last one repeats the whole response, with its usage."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import msgspec

from llmlocust.stream.ask import Ask, image_of
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

_CALLS = ("function_call", "custom_tool_call", "mcp_call")
_OF_CALLS = ("arguments", "input", "code")
"""Words in the type of an event that has generated input of a tool."""
_WHOLE = {ANSWER: WHOLE_ANSWER, REASONING: WHOLE_REASONING, TOOL: WHOLE_TOOL}
_ENDS = ("completed", "incomplete", "failed", "cancelled")


class _Details(msgspec.Struct):
    reasoning_tokens: Any = None


class _Usage(msgspec.Struct):
    input_tokens: Any = None
    output_tokens: Any = None
    output_tokens_details: _Details | None = None


class _Part(msgspec.Struct):
    type: Any = None
    text: Any = None
    refusal: Any = None
    transcript: Any = None


class _Item(msgspec.Struct):
    type: str = ""
    content: list[_Part] | None = None
    summary: list[_Part] | None = None


class _IncompleteDetails(msgspec.Struct):
    reason: Any = None


class _Response(msgspec.Struct):
    status: Any = None
    output: list[_Item] | None = None
    usage: _Usage | None = None
    error: Any = None
    incomplete_details: _IncompleteDetails | None = None


class _Chunk(_Response):
    """An event, a whole response, or an error."""

    type: str = ""
    object: Any = None
    delta: Any = None
    text: Any = None
    """The whole text of a finished part."""
    refusal: Any = None
    item: _Item | None = None
    part: _Part | None = None
    response: _Response | None = None
    message: Any = None
    detail: Any = None


class OpenAIResponses(Dialect):
    name = "openai-responses"
    path = "/v1/responses"
    chunk: ClassVar[Any] = _Chunk

    def body(self, ask: Ask) -> bytes:
        fields: dict[str, Any] = {"model": ask.model} if ask.model else {}
        fields["input"] = [_message(message) for message in ask.conversation()]
        if ask.max_tokens is not None:
            fields["max_output_tokens"] = ask.max_tokens
        if ask.temperature is not None:
            fields["temperature"] = ask.temperature
        if ask.stream:
            fields["stream"] = True
        return msgspec.json.encode(fields | ask.extra)

    def is_answer(self, chunk: _Chunk, deltas: Sequence[Delta]) -> bool:
        return chunk.output is not None

    def pieces(self, deltas: list[Delta], chunk: _Chunk, event: Event) -> None:
        end, name = event.end, chunk.type
        if name.endswith(".delta"):
            if chunk.delta:
                kind, text = _kind_of(name), chunk.delta
                if kind == TOOL:
                    text = ""
                elif text.__class__ is not str:
                    text = text_of(text)
                deltas.append(Delta(kind, end, text))
        elif (
            (chunk.error is not None and has_value(chunk.error))
            or "error" in (name, event.kind)
            or (chunk.detail and chunk.response is None)
        ):
            words = first_message(chunk.error, chunk.message, chunk.detail)
            deltas.append(Delta(ERROR, end, words or "an error event without a message"))
        elif name == "response.output_item.added" and chunk.item and chunk.item.type in _CALLS:
            deltas.append(Delta(TOOL, end))  # has the tool's name, which the model generated
        elif chunk.response is not None:
            _add_response(deltas, chunk.response, end)
        elif name.endswith(".done"):
            _add_whole(deltas, chunk, end)
        elif chunk.object == "response" or chunk.output is not None:
            _add_response(deltas, chunk, end)


@lru_cache(maxsize=256)
def _kind_of(name: str) -> str:
    """Return the kind of an event's content from its type, which has the name of a field before `.delta` and `.done`."""
    if "reasoning" in name:
        return REASONING
    return TOOL if any(word in name for word in _OF_CALLS) else ANSWER


def _add_whole(deltas: list[Delta], chunk: _Chunk, end: int) -> None:
    """Add a finished part or item with its whole content, which repeats earlier deltas."""
    if chunk.item is not None:
        _add_items(deltas, [chunk.item], end)
    elif text := text_of(chunk.text) or text_of(chunk.refusal) or (_text(chunk.part) if chunk.part else ""):
        kind = REASONING if chunk.part and str(chunk.part.type).startswith("reasoning") else _kind_of(chunk.type)
        deltas.append(Delta(_WHOLE[kind], end, text))


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """Convert a message in the format of chat completions: its parts need this protocol's format."""
    content = message.get("content")
    return message | {"content": [_part(part) for part in content]} if isinstance(content, list) else message


def _part(part: dict[str, Any]) -> dict[str, Any]:
    image = image_of(part)
    if image is not None:
        media_type, data, url = image
        return {"type": "input_image", "image_url": url or f"data:{media_type};base64,{data}"}
    return part | {"type": "input_text"} if part.get("type") == "text" else part


def _text(part: _Part) -> str:
    return text_of(part.text) or text_of(part.refusal) or text_of(part.transcript)


def _add_items(deltas: list[Delta], items: Sequence[_Item], end: int) -> None:
    """Add whole items: those of a response, or a finished one."""
    texts: dict[str, list[str]] = {REASONING: [], ANSWER: []}
    for item in items:
        kind = REASONING if item.type == "reasoning" else ANSWER
        texts[kind] += map(_text, [*(item.summary or ()), *(item.content or ())])
    deltas += [Delta(_WHOLE[kind], end, "".join(parts)) for kind, parts in texts.items() if any(parts)]
    if any(item.type in _CALLS for item in items):
        deltas.append(Delta(WHOLE_TOOL, end))


def _add_response(deltas: list[Delta], response: _Response, end: int) -> None:
    """Add a finished response. Earlier events repeat the response while it is still empty."""
    if response.status not in _ENDS:
        return
    if (response.error is not None and has_value(response.error)) or response.status in ("failed", "cancelled"):
        deltas.append(Delta(ERROR, end, first_message(response.error) or f"status: {response.status}"))
        return
    _add_items(deltas, response.output or (), end)
    incomplete = response.incomplete_details
    deltas.append(Delta(END, end, (reason(incomplete.reason) if incomplete else "") or str(response.status)))
    reported = response.usage
    if reported is not None:
        details = reported.output_tokens_details
        usage = Usage(
            valid_count(reported.input_tokens),
            valid_count(reported.output_tokens),
            valid_count(details.reasoning_tokens) if details else None,
        )
        deltas.append(Delta(USAGE, end, "", usage))
