"""The own protocol of Hugging Face's Text Generation Inference: one token per event; the last event has the whole text."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from llmlocust.stream.ask import Ask
from llmlocust.stream.delta import ANSWER, END, ERROR, USAGE, Delta, Usage
from llmlocust.stream.dialects.base import Dialect, merged
from llmlocust.stream.sse import Event
from llmlocust.stream.tolerant import valid_count
from llmlocust.stream.words import first_message, has_value, reason


class _Token(msgspec.Struct):
    text: str | None = None
    special: bool = False
    """Whether it is a special token, such as the end of the sequence: the server counts it, but it has no text."""


class _Details(msgspec.Struct):
    finish_reason: Any = None
    generated_tokens: Any = None
    input_length: Any = None


class _Chunk(msgspec.Struct):
    """An event, a whole document, or an error."""

    token: _Token | None = None
    generated_text: str | None = None
    details: _Details | None = None
    error: Any = None


class TGIGenerate(Dialect):
    name = "tgi"
    operation = "text_completion"
    path = "/generate_stream"
    chunk: ClassVar[Any] = _Chunk

    def path_of(self, ask: Ask) -> str:
        return self.path if ask.stream else self.path.removesuffix("_stream")

    def body(self, ask: Ask) -> bytes:
        parameters: dict[str, Any] = {"details": True}
        if ask.max_tokens is not None:
            parameters["max_new_tokens"] = ask.max_tokens
        if ask.temperature:  # TGI rejects 0, and is greedy without a temperature
            parameters["temperature"] = ask.temperature
        return msgspec.json.encode(merged({"inputs": ask.text(), "parameters": parameters}, ask.extra))

    def pieces(self, deltas: list[Delta], chunk: _Chunk, event: Event) -> None:
        end, token, details = event.end, chunk.token, chunk.details
        if event.kind == "error" or (chunk.error is not None and has_value(chunk.error)):
            deltas.append(Delta(ERROR, end, first_message(chunk.error) or "an error event without a message"))
            return
        text = chunk.generated_text if token is None else "" if token.special else token.text
        if text:
            deltas.append(Delta(ANSWER, end, text))
        if chunk.generated_text is not None:
            deltas.append(Delta(END, end, (reason(details.finish_reason) if details else "") or "[DONE]"))
        if details is not None:
            usage = Usage(valid_count(details.input_length), valid_count(details.generated_tokens))
            deltas.append(Delta(USAGE, end, "", usage))
