"""Ollama's own protocols: lines of JSON. The last line is `done` and has the token counts."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar

import msgspec

from llmlocust.stream import ndjson
from llmlocust.stream.ask import Ask, image_of
from llmlocust.stream.delta import ANSWER, END, ERROR, REASONING, TOOL, USAGE, Delta, Usage
from llmlocust.stream.dialects.base import Dialect, merged, text_of
from llmlocust.stream.sse import Event
from llmlocust.stream.tolerant import valid_count
from llmlocust.stream.words import first_message, has_value, reason


class _Message(msgspec.Struct):
    content: Any = None
    thinking: Any = None
    tool_calls: Any = None


class _Chunk(msgspec.Struct):
    """A line of a stream, a whole document, or an error."""

    message: _Message | str | None = None
    response: Any = None
    thinking: Any = None
    done: Any = None
    done_reason: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    error: Any = None


class Ollama(Dialect):
    """Common base of the two protocols."""

    chunk: ClassVar[Any] = _Chunk
    framing: ClassVar[ModuleType] = ndjson

    def body(self, ask: Ask) -> bytes:
        fields: dict[str, Any] = {"model": ask.model} if ask.model else {}
        fields |= self._question(ask) | {"stream": ask.stream}
        options = {"num_predict": ask.max_tokens, "temperature": ask.temperature}
        given = {name: value for name, value in options.items() if value is not None}
        return msgspec.json.encode(merged(fields | ({"options": given} if given else {}), ask.extra))

    def _question(self, ask: Ask) -> dict[str, Any]:
        raise NotImplementedError

    def is_answer(self, chunk: _Chunk, deltas: Sequence[Delta]) -> bool:
        return chunk.done is not None

    def pieces(self, deltas: list[Delta], chunk: _Chunk, event: Event) -> None:
        end, message = event.end, chunk.message
        if chunk.error is not None and has_value(chunk.error):
            deltas.append(Delta(ERROR, end, first_message(chunk.error) or "an error without a message"))
            return
        if isinstance(message, _Message):
            if message.thinking:
                deltas.append(Delta(REASONING, end, text_of(message.thinking)))
            if message.content:
                deltas.append(Delta(ANSWER, end, text_of(message.content)))
            if message.tool_calls:
                deltas.append(Delta(TOOL, end))
        if chunk.thinking:
            deltas.append(Delta(REASONING, end, text_of(chunk.thinking)))
        if chunk.response:
            deltas.append(Delta(ANSWER, end, text_of(chunk.response)))
        if chunk.done:
            deltas.append(Delta(END, end, reason(chunk.done_reason) or "[DONE]"))
            usage = Usage(valid_count(chunk.prompt_eval_count), valid_count(chunk.eval_count))
            if usage.input_tokens is not None or usage.output_tokens is not None:
                deltas.append(Delta(USAGE, end, "", usage))


class OllamaChat(Ollama):
    name = "ollama-chat"
    path = "/api/chat"

    def _question(self, ask: Ask) -> dict[str, Any]:
        return {"messages": [_message(message) for message in ask.conversation()]}

    def for_prompts(self) -> Dialect:
        return OllamaGenerate()


class OllamaGenerate(Ollama):
    name = "ollama-generate"
    path = "/api/generate"
    operation = "text_completion"

    def _question(self, ask: Ask) -> dict[str, Any]:
        return {"prompt": ask.text()}


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """Convert a message in OpenAI's format: images are beside the text."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    images = [image for part in content if (image := image_of(part)) is not None]
    if any(url for _, _, url in images):
        raise ValueError("Ollama does not download images: give them as data:image/png;base64,… instead of a URL")
    text = "".join(str(part.get("text", "")) for part in content)
    return message | {"content": text} | ({"images": [data for _, data, _ in images]} if images else {})
