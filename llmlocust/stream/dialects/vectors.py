"""Embeddings and rankings: requests with inputs whose answers have no tokens.

Requests differ by protocol: OpenAI, Cohere, and Hugging Face's Text Embeddings Inference (TEI). Answers of all protocols
are read by the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from llmlocust.stream.ask import Ask
from llmlocust.stream.delta import EMPTY, END, ERROR, OUTPUTS, USAGE, Delta, Usage
from llmlocust.stream.dialects.base import Dialect
from llmlocust.stream.sse import Event
from llmlocust.stream.tolerant import decoded, valid_count
from llmlocust.stream.words import first_message

_SHORT = 200
"""Bytes below which an output may be empty. Longer vectors are not parsed, because that would cost too much."""
_Raws = list[msgspec.Raw]


class _Usage(msgspec.Struct):
    prompt_tokens: Any = None
    total_tokens: Any = None


class _Billed(msgspec.Struct):
    input_tokens: Any = None


class _Meta(msgspec.Struct):
    tokens: _Billed | None = None
    billed_units: _Billed | None = None


class _Document(msgspec.Struct):
    data: _Raws | None = None
    results: _Raws | None = None
    embeddings: _Raws | dict[str, _Raws] | None = None
    """Cohere's field. With several types, each type has all vectors."""
    embedding: msgspec.Raw | None = None
    """A single vector."""
    rankings: _Raws | None = None
    usage: _Usage | None = None
    meta: _Meta | None = None
    """Cohere's token counts."""
    error: Any = None
    message: Any = None
    detail: Any = None

    def outputs(self) -> _Raws | None:
        """Return vectors or ranks from the first field that has them; None if there is none."""
        if self.embedding is not None:
            return [self.embedding]
        embeddings = self.embeddings
        if isinstance(embeddings, dict):
            embeddings = next(iter(embeddings.values()), [])
        return next(
            (field for field in (self.data, self.results, embeddings, self.rankings) if field is not None), None
        )

    def input_tokens(self) -> int | None:
        """Return the number of input tokens; None if it is not reported."""
        usage, meta = self.usage or _Usage(), self.meta or _Meta()
        billed = [counts.input_tokens for counts in (meta.tokens, meta.billed_units) if counts]
        reported = (valid_count(count) for count in (usage.prompt_tokens, usage.total_tokens, *billed))
        return next((count for count in reported if count is not None), None)


class Vectors(Dialect):
    """Common base of the protocols."""

    chunk: ClassVar[Any] = _Document | _Raws
    streams = False
    operation = "embeddings"
    of_one: ClassVar[str] = "vector"
    """Name of the output for one input."""

    def body(self, ask: Ask) -> bytes:
        fields: dict[str, Any] = {"model": ask.model} if ask.model else {}
        return msgspec.json.encode(fields | self._question(ask) | ask.extra)

    def inputs(self, ask: Ask) -> int | None:
        return len(ask.inputs) or 1

    def _question(self, ask: Ask) -> dict[str, Any]:
        raise NotImplementedError

    def is_answer(self, chunk: _Document | _Raws, deltas: Sequence[Delta]) -> bool:
        return isinstance(chunk, list) or chunk.outputs() is not None

    def lacks(self, ask: Ask, deltas: Sequence[Delta]) -> str:
        count = next((int(delta.text) for delta in deltas if delta.kind == OUTPUTS), 0)
        wanted = self._wanted(ask)
        return "" if count >= wanted else f"the answer has {count} {self.of_one}s for {wanted} inputs"

    def _wanted(self, ask: Ask) -> int:
        return self.inputs(ask) or 0

    def pieces(self, deltas: list[Delta], chunk: _Document | _Raws, event: Event) -> None:
        if isinstance(chunk, list):  # TEI's answers are only vectors or ranks
            outputs, tokens = chunk, None
        elif (listed := chunk.outputs()) is not None:
            outputs, tokens = listed, chunk.input_tokens()
        else:
            if words := first_message(chunk.error, chunk.message, chunk.detail):
                deltas.append(Delta(ERROR, event.end, words))
            return
        if any(memoryview(output).nbytes < _SHORT and _is_empty(output) for output in outputs):
            deltas.append(Delta(EMPTY, event.end, f"an empty {self.of_one}"))
        deltas.append(Delta(OUTPUTS, event.end, str(len(outputs))))
        deltas.append(Delta(USAGE, event.end, "", Usage(tokens)))
        deltas.append(Delta(END, event.end, "stop"))


def _is_empty(output: msgspec.Raw) -> bool:
    """Return whether a vector has no numbers. Ranks are short but not empty."""
    value = decoded(bytes(output))
    if isinstance(value, dict):
        value = next((value[name] for name in ("embedding", "values", "vector", "data") if name in value), True)
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return (
        value is None or value in ("", [], {}) or (isinstance(value, list) and all(number is None for number in value))
    )


class OpenAIEmbeddings(Vectors):
    name = "openai-embeddings"
    path = "/v1/embeddings"

    def _question(self, ask: Ask) -> dict[str, Any]:
        return {"input": list(ask.inputs) or [ask.text()]}


class CohereEmbed(Vectors):
    name = "cohere-embed"
    path = "/v2/embed"

    def _question(self, ask: Ask) -> dict[str, Any]:
        texts = list(ask.inputs) or [ask.text()]
        return {"texts": texts, "input_type": "search_document", "embedding_types": ["float"]}


class TEIEmbed(Vectors):
    name = "tei-embed"
    path = "/embed"

    def _question(self, ask: Ask) -> dict[str, Any]:
        return {"inputs": list(ask.inputs) or [ask.text()]}


class Rerank(Vectors):
    """Cohere's protocol, also of Jina, Together, vLLM and others."""

    name = "rerank"
    path = "/v1/rerank"
    operation = "rerank"  # OpenTelemetry's conventions have no name for it
    of_one = "rank"

    def _question(self, ask: Ask) -> dict[str, Any]:
        """Return the request. Without documents, the question is the only document, which is enough to test the server."""
        return {"query": ask.text(), "documents": list(ask.inputs) or [ask.text()]}

    def _wanted(self, ask: Ask) -> int:
        """Return the number of expected ranks: all documents, unless the request limits them."""
        limits = (ask.extra.get(name) for name in ("top_n", "top_k"))
        return min([self.inputs(ask) or 0, *(count for limit in limits if (count := valid_count(limit)) is not None)])


class TEIRerank(Rerank):
    name = "tei-rerank"
    path = "/rerank"

    def _question(self, ask: Ask) -> dict[str, Any]:
        return {"query": ask.text(), "texts": list(ask.inputs) or [ask.text()]}
