"""OpenAI's responses. A stream is named events; the last one holds the whole response once more, with its usage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from llmlocust.stream.ask import Ask, image_of
from llmlocust.stream.delta import ANSWER, END, ERROR, REASONING, TOOL, USAGE, Delta, Usage, said
from llmlocust.stream.dialects.base import Dialect, believable
from llmlocust.stream.sse import Event

_GROWTH = {
    "response.output_text.delta": ANSWER,
    "response.refusal.delta": ANSWER,
    "response.reasoning_text.delta": REASONING,
    "response.reasoning_summary_text.delta": REASONING,
    "response.function_call_arguments.delta": TOOL,
    "response.custom_tool_call_input.delta": TOOL,
    "response.mcp_call_arguments.delta": TOOL,
}
_CALLS = ("function_call", "custom_tool_call", "mcp_call")
_ENDS = ("completed", "incomplete", "failed", "cancelled")


class _Details(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: _Details | None = None


class _Part(msgspec.Struct):
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    type: str = ""
    content: list[_Part] | None = None
    summary: list[_Part] | None = None


class _Why(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    status: str | None = None
    output: list[_Item] | None = None
    usage: _Usage | None = None
    error: Any = None
    incomplete_details: _Why | None = None


class _Chunk(_Response):
    """An event, a whole response, or an error."""

    type: str = ""
    object: str | None = None
    delta: Any = None
    item: _Item | None = None
    response: _Response | None = None
    message: str | None = None
    detail: Any = None


class OpenAIResponses(Dialect):
    name = "openai-responses"
    path = "/v1/responses"
    chunk: ClassVar[Any] = _Chunk

    def body(self, ask: Ask) -> bytes:
        fields: dict[str, Any] = {"model": ask.model} if ask.model else {}
        fields["input"] = [_message(each) for each in ask.conversation()]
        if ask.max_tokens is not None:
            fields["max_output_tokens"] = ask.max_tokens
        if ask.temperature is not None:
            fields["temperature"] = ask.temperature
        if ask.stream:
            fields["stream"] = True
        return msgspec.json.encode(fields | ask.extra)

    def is_answer(self, chunk: _Chunk, found: Sequence[Delta]) -> bool:
        return chunk.output is not None

    def pieces(self, found: list[Delta], chunk: _Chunk, event: Event) -> None:
        end = event.end
        kind = _GROWTH.get(chunk.type)
        if kind is not None:
            if chunk.delta:
                found.append(Delta(kind, end, chunk.delta if kind != TOOL and isinstance(chunk.delta, str) else ""))
        elif chunk.error is not None or chunk.type == "error" or event.kind == "error" or chunk.detail:
            words = said(chunk.error, chunk.message, chunk.detail)
            found.append(Delta(ERROR, end, words or "an error event without words"))
        elif chunk.type == "response.output_item.added" and chunk.item and chunk.item.type in _CALLS:
            found.append(Delta(TOOL, end))  # it has the tool's name, which the model wrote
        elif chunk.response is not None:
            _add_end(found, chunk.response, end)
        elif chunk.object == "response" or chunk.output is not None:
            for item in chunk.output or ():
                _add_item(found, item, end)
            _add_end(found, chunk, end)


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """A message in the shape of chat completions, with its parts as this protocol wants them."""
    content = message.get("content")
    return message | {"content": [_part(part) for part in content]} if isinstance(content, list) else message


def _part(part: dict[str, Any]) -> dict[str, Any]:
    image = image_of(part)
    if image is not None:
        media_type, data, url = image
        return {"type": "input_image", "image_url": url or f"data:{media_type};base64,{data}"}
    return part | {"type": "input_text"} if part.get("type") == "text" else part


def _add_item(found: list[Delta], item: _Item, end: int) -> None:
    """An item of a whole response."""
    parts = [*(item.summary or ()), *(item.content or ())]
    text = "".join(part.text or part.refusal or "" for part in parts)
    if item.type in _CALLS:
        found.append(Delta(TOOL, end))
    elif text:
        found.append(Delta(REASONING if item.type == "reasoning" else ANSWER, end, text))


def _add_end(found: list[Delta], response: _Response, end: int) -> None:
    """What a response says when it is over; before that it says the same of nothing."""
    if response.status not in _ENDS:
        return
    if response.error is not None or response.status in ("failed", "cancelled"):
        found.append(Delta(ERROR, end, said(response.error) or f"status: {response.status}"))
        return
    why = response.incomplete_details
    found.append(Delta(END, end, (why.reason if why else None) or response.status or ""))
    told = response.usage
    if told is not None:
        details = told.output_tokens_details
        usage = Usage(
            believable(told.input_tokens),
            believable(told.output_tokens),
            believable(details.reasoning_tokens) if details else None,
        )
        found.append(Delta(USAGE, end, "", usage))
