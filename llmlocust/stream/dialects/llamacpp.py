"""llama.cpp's own /completion: pieces of text; the last one has the stop reason and the token counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from llmlocust.stream.ask import Ask
from llmlocust.stream.delta import ANSWER, END, ERROR, USAGE, Delta, Usage
from llmlocust.stream.dialects.base import Dialect, text_of
from llmlocust.stream.sse import Event
from llmlocust.stream.tolerant import valid_count
from llmlocust.stream.words import first_message, has_value, reason


class _Chunk(msgspec.Struct):
    """An event, a whole document, or an error."""

    content: Any = None
    stop: Any = None
    stop_type: Any = None
    stopped_limit: Any = None
    """Older servers have it instead of stop_type."""
    tokens_predicted: Any = None
    tokens_evaluated: Any = None
    error: Any = None


class LlamaCppCompletion(Dialect):
    name = "llamacpp"
    path = "/completion"
    operation = "text_completion"
    chunk: ClassVar[Any] = _Chunk

    def body(self, ask: Ask) -> bytes:
        fields: dict[str, Any] = {"prompt": ask.text(), "stream": ask.stream}
        if ask.max_tokens is not None:
            fields["n_predict"] = ask.max_tokens
        if ask.temperature is not None:
            fields["temperature"] = ask.temperature
        return msgspec.json.encode(fields | ask.extra)

    def is_answer(self, chunk: _Chunk, deltas: Sequence[Delta]) -> bool:
        return chunk.content is not None

    def pieces(self, deltas: list[Delta], chunk: _Chunk, event: Event) -> None:
        end = event.end
        if event.kind == "error" or (chunk.error is not None and has_value(chunk.error)):
            deltas.append(Delta(ERROR, end, first_message(chunk.error) or "an error event without a message"))
            return
        if chunk.content:
            deltas.append(Delta(ANSWER, end, text_of(chunk.content)))
        if chunk.stop:
            deltas.append(Delta(END, end, reason(chunk.stop_type) or ("limit" if chunk.stopped_limit else "stop")))
            usage = Usage(valid_count(chunk.tokens_evaluated), valid_count(chunk.tokens_predicted))
            deltas.append(Delta(USAGE, end, "", usage))
