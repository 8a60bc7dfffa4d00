"""Embeddings (OpenAI's) and rankings (Cohere's, Jina's, vLLM's): no tokens come out, inputs and their tokens go in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from llmlocust.stream.ask import Ask
from llmlocust.stream.delta import END, ERROR, USAGE, Delta, Usage, said
from llmlocust.stream.dialects.base import Dialect, believable
from llmlocust.stream.sse import Event


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Billed(msgspec.Struct):
    input_tokens: int | None = None


class _Meta(msgspec.Struct):
    tokens: _Billed | None = None


class _Document(msgspec.Struct):
    data: list[msgspec.Raw] | None = None
    """Vectors are not read: that would cost more than all else."""
    results: list[msgspec.Raw] | None = None
    usage: _Usage | None = None
    meta: _Meta | None = None
    """Where Cohere tells of tokens."""
    error: Any = None
    message: str | None = None
    detail: Any = None


class Vectors(Dialect):
    """What the two protocols share."""

    chunk: ClassVar[Any] = _Document
    streams = False

    def body(self, ask: Ask) -> bytes:
        fields: dict[str, Any] = {"model": ask.model} if ask.model else {}
        return msgspec.json.encode(fields | self._question(ask) | ask.extra)

    def inputs(self, ask: Ask) -> int | None:
        return len(ask.inputs) or 1

    def _question(self, ask: Ask) -> dict[str, Any]:
        raise NotImplementedError

    def is_answer(self, chunk: _Document, found: Sequence[Delta]) -> bool:
        return chunk.data is not None or chunk.results is not None

    def pieces(self, found: list[Delta], chunk: _Document, event: Event) -> None:
        if not self.is_answer(chunk, found):
            if words := said(chunk.error, chunk.message, chunk.detail):
                found.append(Delta(ERROR, event.end, words))
            return
        tokens = [chunk.usage.prompt_tokens, chunk.usage.total_tokens] if chunk.usage else []
        tokens += [chunk.meta.tokens.input_tokens] if chunk.meta and chunk.meta.tokens else []
        told = next((count for each in tokens if (count := believable(each)) is not None), None)
        found.append(Delta(USAGE, event.end, "", Usage(told)))
        found.append(Delta(END, event.end, "stop"))


class OpenAIEmbeddings(Vectors):
    name = "openai-embeddings"
    path = "/v1/embeddings"

    def _question(self, ask: Ask) -> dict[str, Any]:
        return {"input": list(ask.inputs) or [ask.text()]}


class Rerank(Vectors):
    name = "rerank"
    path = "/v1/rerank"

    def _question(self, ask: Ask) -> dict[str, Any]:
        """Without documents, the question ranks itself: enough to see that the server ranks."""
        return {"query": ask.text(), "documents": list(ask.inputs) or [ask.text()]}
