"""llama.cpp's own /completion: pieces of text, the last one with why it stopped and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from llmlocust.stream.ask import Ask
from llmlocust.stream.delta import ANSWER, END, ERROR, USAGE, Delta, Usage, said
from llmlocust.stream.dialects.base import Dialect, believable
from llmlocust.stream.sse import Event


class _Chunk(msgspec.Struct):
    """An event, a whole document, or an error."""

    content: str | None = None
    stop: bool | None = None
    stop_type: str | None = None
    stopped_limit: bool | None = None
    """What stop_type was before there was one."""
    tokens_predicted: int | None = None
    tokens_evaluated: int | None = None
    error: Any = None


class LlamaCppCompletion(Dialect):
    name = "llamacpp"
    path = "/completion"
    chunk: ClassVar[Any] = _Chunk

    def body(self, ask: Ask) -> bytes:
        fields: dict[str, Any] = {"prompt": ask.text(), "stream": ask.stream}
        if ask.max_tokens is not None:
            fields["n_predict"] = ask.max_tokens
        if ask.temperature is not None:
            fields["temperature"] = ask.temperature
        return msgspec.json.encode(fields | ask.extra)

    def is_answer(self, chunk: _Chunk, found: Sequence[Delta]) -> bool:
        return chunk.content is not None

    def pieces(self, found: list[Delta], chunk: _Chunk, event: Event) -> None:
        end = event.end
        if chunk.error is not None or event.kind == "error":
            found.append(Delta(ERROR, end, said(chunk.error) or "an error event without words"))
            return
        if chunk.content:
            found.append(Delta(ANSWER, end, chunk.content))
        if chunk.stop:
            found.append(Delta(END, end, chunk.stop_type or ("limit" if chunk.stopped_limit else "stop")))
            usage = Usage(believable(chunk.tokens_evaluated), believable(chunk.tokens_predicted))
            found.append(Delta(USAGE, end, "", usage))
