"""The other protocols of the simulator: translates their requests to OpenAI's, and writes answers in their formats. Pure.

All requests are checked in one place, `openai.read`.
"""

from dataclasses import replace
from typing import Any, ClassVar

import msgspec

from llmlocust.simulator import openai
from llmlocust.simulator.openai import CHAT, COMPLETIONS, DONE, ApiError, Frames, Labels, Plan, Request, encode, text
from llmlocust.simulator.settings import Settings

SSE = "text/event-stream; charset=utf-8"
GRADIO_CALL = "/gradio_api/call/chat"
_MARK = "\N{BULLET}words\N{BULLET}"
"""The place of a token's text in an event that is encoded once."""


class Dialect:
    """The format of one answer."""

    content_type: ClassVar[str] = SSE
    chat: ClassVar[bool] = True
    """Whether answers may contain reasoning."""

    def __init__(self, request: Request, plan: Plan, labels: Labels) -> None:
        self._request, self._plan, self._labels = request, plan, labels
        self._answer, self._reasoning = (self._split(self._piece(kind, _MARK)) for kind in ("answer", "reasoning"))

    @staticmethod
    def _split(event: bytes) -> tuple[bytes, bytes]:
        before, _, after = event.partition(encode(_MARK)[1:-1])
        return before, after

    # defined by each protocol

    @classmethod
    def as_openai(cls, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body of a request in OpenAI's format."""
        return body

    @staticmethod
    def error(error: ApiError) -> bytes:
        """Return the body of an error."""
        return error.body

    def _piece(self, kind: str, words: str) -> bytes:
        """Return the event of one token, or of several together."""
        raise NotImplementedError

    def whole(self) -> bytes:
        """Return the answer in one piece."""
        raise NotImplementedError

    def role(self) -> bytes:
        """Return the events before the first token."""
        return b""

    def last(self, *, usage: bool, done: bool) -> bytes:
        """Return the events after the last token."""
        raise NotImplementedError

    def error_event(self, error: ApiError) -> bytes:
        """Return an error inside a stream."""
        return b"data: %b\n\n" % self.error(error)

    # common to all

    def tokens(self, start: int, end: int) -> bytes:
        """Return one event with the tokens from start to end, which must all be reasoning, or all answer."""
        before, after = self._reasoning if start < self._plan.reasoning_tokens else self._answer
        return before + text(self._plan, start, end) + after

    @property
    def _words(self) -> str:
        return text(self._plan, self._plan.reasoning_tokens, self._plan.output_tokens).decode()

    @property
    def _thoughts(self) -> str:
        return text(self._plan, 0, self._plan.reasoning_tokens).decode()


class OpenAI(Dialect):
    """OpenAI's protocol, whose events are encoded by `Frames`."""

    def __init__(self, request: Request, plan: Plan, labels: Labels) -> None:
        self._request, self._plan, self._labels = request, plan, labels
        self._frames = Frames(request, plan, labels)
        self.role, self.tokens = self._frames.role, self._frames.tokens  # type: ignore[method-assign]

    def whole(self) -> bytes:
        return openai.answer(self._request, self._plan, self._labels)

    def last(self, *, usage: bool, done: bool) -> bytes:
        return (self._frames.usage() if usage and self._request.include_usage else b"") + (DONE if done else b"")

    def error_event(self, error: ApiError) -> bytes:
        return openai.error_event(error) + DONE


class Named(Dialect):
    """Protocols whose events have their type as their name."""

    @staticmethod
    def _event(type_: str, **fields: Any) -> bytes:
        return b"event: %b\ndata: %b\n\n" % (type_.encode(), encode({"type": type_, **fields}))


class Anthropic(Named):
    @staticmethod
    def as_openai(body: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(body.get("max_tokens"), int):
            raise ApiError(400, "max_tokens: Field required", "max_tokens")
        system = [{"role": "system", "content": body["system"]}] if body.get("system") else []
        return body | {"messages": system + list(body.get("messages") or [])}

    @staticmethod
    def error(error: ApiError) -> bytes:
        return encode({"type": "error", "error": {"type": "api_error", "message": error.message}})

    def _piece(self, kind: str, words: str) -> bytes:
        block = int(kind == "answer" and self._plan.reasoning_tokens > 0)
        name, field = ("text_delta", "text") if kind == "answer" else ("thinking_delta", "thinking")
        return self._event("content_block_delta", index=block, delta={"type": name, field: words})

    def tokens(self, start: int, end: int) -> bytes:
        before, thoughts = b"", self._plan.reasoning_tokens
        if start == 0 and thoughts:
            before = self._event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})
        elif start == thoughts:
            before = self._event("content_block_stop", index=0) if thoughts else b""
            block = {"type": "text", "text": ""}
            before += self._event("content_block_start", index=int(thoughts > 0), content_block=block)
        return before + super().tokens(start, end)

    def _usage(self) -> dict[str, int]:
        return {"input_tokens": self._request.prompt_tokens, "output_tokens": self._plan.output_tokens}

    def _stop(self) -> str:
        return "max_tokens" if self._plan.finish_reason == "length" else "end_turn"

    def _message(self, **more: Any) -> dict[str, Any]:
        labels = self._labels
        return {"id": labels.id, "type": "message", "role": "assistant", "model": labels.model, **more}

    def role(self) -> bytes:
        usage = self._usage() | {"output_tokens": 1}
        return self._event("message_start", message=self._message(content=[], stop_reason=None, usage=usage))

    def last(self, *, usage: bool, done: bool) -> bytes:
        counted = {"usage": self._usage()} if usage else {}
        stop = self._event("content_block_stop", index=int(self._plan.reasoning_tokens > 0))
        delta = self._event("message_delta", delta={"stop_reason": self._stop(), "stop_sequence": None}, **counted)
        return stop + (delta if done or usage else b"") + (self._event("message_stop") if done else b"")

    def error_event(self, error: ApiError) -> bytes:
        return b"event: error\ndata: %b\n\n" % self.error(error)

    def whole(self) -> bytes:
        thinking = [{"type": "thinking", "thinking": self._thoughts}] if self._plan.reasoning_tokens else []
        content = [*thinking, {"type": "text", "text": self._words}]
        return encode(self._message(content=content, stop_reason=self._stop(), usage=self._usage()))


class Responses(Named):
    @staticmethod
    def as_openai(body: dict[str, Any]) -> dict[str, Any]:
        question = body.get("input")
        messages = [{"role": "user", "content": question}] if isinstance(question, str) else question
        limit = {"max_tokens": body["max_output_tokens"]} if "max_output_tokens" in body else {}
        return body | limit | {"messages": messages}

    def _piece(self, kind: str, words: str) -> bytes:
        name = "response.output_text.delta" if kind == "answer" else "response.reasoning_text.delta"
        return self._event(name, item_id="msg_1", output_index=0, content_index=0, delta=words, logprobs=[])

    def _response(self, status: str, *, usage: bool = True) -> dict[str, Any]:
        over, cut = status != "in_progress", self._plan.finish_reason == "length"
        content = [{"type": "output_text", "text": self._words, "annotations": []}] if over else []
        thoughts = [{"type": "reasoning", "summary": [{"type": "summary_text", "text": self._thoughts}]}]
        counts = {
            "input_tokens": self._request.prompt_tokens,
            "output_tokens": self._plan.output_tokens,
            "output_tokens_details": {"reasoning_tokens": self._plan.reasoning_tokens},
        }
        return {
            "id": self._labels.id,
            "object": "response",
            "created_at": self._labels.created,
            "model": self._labels.model,
            "status": "incomplete" if over and cut else status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if over and cut else None,
            "output": [*(thoughts if self._plan.reasoning_tokens else []), {"type": "message", "content": content}]
            if over
            else [],
            "usage": counts if over and usage else None,
        }

    def role(self) -> bytes:
        return self._event("response.created", response=self._response("in_progress"))

    def last(self, *, usage: bool, done: bool) -> bytes:
        if not done:
            return b""
        response = self._response("completed", usage=usage)
        return self._event(f"response.{response['status']}", response=response)

    def error_event(self, error: ApiError) -> bytes:
        return self._event("error", code=error.code, message=error.message, param=None)

    def whole(self) -> bytes:
        return encode(self._response("completed"))


class Ollama(Dialect):
    content_type = "application/x-ndjson"

    @staticmethod
    def as_openai(body: dict[str, Any]) -> dict[str, Any]:
        options = body.get("options") or {}
        limit = {"max_tokens": options["num_predict"]} if "num_predict" in options else {}
        return {"stream": True} | body | limit

    @staticmethod
    def error(error: ApiError) -> bytes:
        return encode({"error": error.message})

    def error_event(self, error: ApiError) -> bytes:
        return self.error(error) + b"\n"

    def _line(self, kind: str, words: str, **more: Any) -> dict[str, Any]:
        field = "content" if kind == "answer" else "thinking"
        text_fields: dict[str, Any] = {"message": {"role": "assistant", "content": ""} | {field: words}}
        if not self.chat:
            text_fields = {"response": words}
        return {"model": self._labels.model, "created_at": "2025-11-20T10:00:00Z", **text_fields, "done": False, **more}

    def _piece(self, kind: str, words: str) -> bytes:
        return encode(self._line(kind, words)) + b"\n"

    def _end(self, *, usage: bool = True) -> dict[str, Any]:
        counts = {"prompt_eval_count": self._request.prompt_tokens, "eval_count": self._plan.output_tokens}
        return {"done": True, "done_reason": self._plan.finish_reason} | (counts if usage else {})

    def last(self, *, usage: bool, done: bool) -> bytes:
        return encode(self._line("answer", "", **self._end(usage=usage))) + b"\n" if done else b""

    def whole(self) -> bytes:
        line = self._line("answer", self._words, **self._end())
        if self.chat and self._thoughts:
            line["message"]["thinking"] = self._thoughts
        return encode(line)


class OllamaGenerate(Ollama):
    chat = False


class TGI(Dialect):
    chat = False

    @staticmethod
    def as_openai(body: dict[str, Any]) -> dict[str, Any]:
        limit = (body.get("parameters") or {}).get("max_new_tokens")
        return {"prompt": body.get("inputs"), "stream": body.get("stream", True), "max_tokens": limit}

    @staticmethod
    def error(error: ApiError) -> bytes:
        return encode({"error": error.message, "error_type": "generation"})

    def _piece(self, kind: str, words: str) -> bytes:
        token = {"id": 1, "text": words, "logprob": -0.5, "special": False}
        return b"data:%b\n\n" % encode({"index": 1, "token": token, "generated_text": None, "details": None})

    def _details(self, *, usage: bool = True) -> dict[str, Any] | None:
        reason = "length" if self._plan.finish_reason == "length" else "eos_token"
        counts = {"generated_tokens": self._plan.output_tokens, "input_length": self._request.prompt_tokens}
        return {"finish_reason": reason, "seed": None} | (counts if usage else {})

    def last(self, *, usage: bool, done: bool) -> bytes:
        end = {"index": 1, "token": {"id": 2, "text": "</s>", "logprob": 0.0, "special": True}}
        last = end | {"generated_text": self._words, "details": self._details(usage=usage)}
        return b"data:%b\n\n" % encode(last) if done else b""

    def error_event(self, error: ApiError) -> bytes:
        return b"data:%b\n\n" % self.error(error)

    def whole(self) -> bytes:
        return encode({"generated_text": self._words, "details": self._details()})


class TGIWhole(TGI):
    @staticmethod
    def as_openai(body: dict[str, Any]) -> dict[str, Any]:
        return TGI.as_openai({"stream": False} | body)


class LlamaCpp(Dialect):
    chat = False

    @staticmethod
    def as_openai(body: dict[str, Any]) -> dict[str, Any]:
        return body | ({"max_tokens": body["n_predict"]} if body.get("n_predict", -1) != -1 else {})

    def _piece(self, kind: str, words: str) -> bytes:
        return b"data: %b\n\n" % encode({"index": 0, "content": words, "tokens": [1], "stop": False, "id_slot": 0})

    def _end(self, content: str, *, usage: bool = True) -> dict[str, Any]:
        counts = {"tokens_predicted": self._plan.output_tokens, "tokens_evaluated": self._request.prompt_tokens}
        kind = "limit" if self._plan.finish_reason == "length" else "eos"
        return {"index": 0, "content": content, "stop": True, "stop_type": kind} | (counts if usage else {})

    def last(self, *, usage: bool, done: bool) -> bytes:
        return b"data: %b\n\n" % encode(self._end("", usage=usage)) if done else b""

    def whole(self) -> bytes:
        return encode(self._end(self._words))


class Gradio(Dialect):
    """Gradio's events, each with the whole text so far."""

    chat = False

    @staticmethod
    def as_openai(body: dict[str, Any]) -> dict[str, Any]:
        data = body.get("data")
        if not isinstance(data, list) or not data:
            raise ApiError(422, "data: Field required", "data")
        return {"prompt": data[0], "stream": True}

    @staticmethod
    def error(error: ApiError) -> bytes:
        return encode({"error": error.message})

    def _piece(self, kind: str, words: str) -> bytes:
        return b""

    def tokens(self, start: int, end: int) -> bytes:
        return b'event: generating\ndata: ["%b", null]\n\n' % text(self._plan, 0, end)

    def last(self, *, usage: bool, done: bool) -> bytes:
        return b"event: complete\ndata: %b\n\n" % encode([self._words, None]) if done else b""

    def error_event(self, error: ApiError) -> bytes:
        return b"event: error\ndata: %b\n\n" % self.error(error)

    def whole(self) -> bytes:
        return encode({"data": [self._words], "is_generating": False, "duration": 0.1})


class GradioRun(Gradio):
    @staticmethod
    def as_openai(body: dict[str, Any]) -> dict[str, Any]:
        return Gradio.as_openai(body) | {"stream": False}


class Embeddings(Dialect):
    """Embeddings: a request of one token in the engine, whose text is not sent."""

    chat = False
    texts: ClassVar[str] = "input"
    """The field with the texts."""

    @classmethod
    def as_openai(cls, body: dict[str, Any]) -> dict[str, Any]:
        texts = cls.given(body)
        return {"model": body.get("model"), "prompt": "\n".join(map(str, texts)), "max_tokens": 1, "n": 1}

    @classmethod
    def given(cls, body: dict[str, Any]) -> list[Any]:
        given = body.get(cls.texts)
        return given if isinstance(given, list) else [given]

    def _piece(self, kind: str, words: str) -> bytes:
        return b""

    def _counts(self) -> dict[str, int]:
        return {"prompt_tokens": self._request.prompt_tokens, "total_tokens": self._request.prompt_tokens}

    def _vectors(self) -> list[list[float]]:
        return [[0.25, -0.5]] * self._request.inputs

    def whole(self) -> bytes:
        data = [
            {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(self._vectors())
        ]
        return encode({"object": "list", "data": data, "model": self._labels.model, "usage": self._counts()})


class CohereEmbed(Embeddings):
    texts = "texts"

    def whole(self) -> bytes:
        meta = {"billed_units": {"input_tokens": self._request.prompt_tokens}}
        return encode({"embeddings": {"float": self._vectors()}, "meta": meta})


class TEIEmbed(Embeddings):
    texts = "inputs"

    def whole(self) -> bytes:
        return encode(self._vectors())


class Rerank(Embeddings):
    texts = "documents"

    @classmethod
    def as_openai(cls, body: dict[str, Any]) -> dict[str, Any]:
        documents = cls.given(body)
        if not any(documents):
            raise ApiError(400, f"{cls.texts} must not be empty", cls.texts)
        return {
            "model": body.get("model"),
            "prompt": "\n".join(map(str, [body.get("query"), *documents])),
            "max_tokens": 1,
        }

    def _ranks(self, score: str) -> list[dict[str, Any]]:
        return [{"index": index, score: 0.5} for index in range(self._request.inputs)]

    def whole(self) -> bytes:
        ranks = self._ranks("relevance_score")
        return encode({"model": self._labels.model, "results": ranks, "usage": self._counts()})


class TEIRerank(Rerank):
    texts = "texts"

    def whole(self) -> bytes:
        return encode(self._ranks("score"))


DIALECTS: dict[str, type[Dialect]] = {
    CHAT: OpenAI,
    COMPLETIONS: OpenAI,
    "/v1/responses": Responses,
    "/v1/messages": Anthropic,
    "/api/chat": Ollama,
    "/api/generate": OllamaGenerate,
    "/completion": LlamaCpp,
    "/generate_stream": TGI,
    "/generate": TGIWhole,
    "/run/predict": GradioRun,
    "/v1/embeddings": Embeddings,
    "/v1/rerank": Rerank,
    "/v2/embed": CohereEmbed,
    "/embed": TEIEmbed,
    "/rerank": TEIRerank,
    GRADIO_CALL: Gradio,
}


def read(path: str, body: bytes | bytearray, settings: Settings) -> Request:
    """Read a request's body. ApiError where it is not valid."""
    dialect = DIALECTS[path]
    if dialect is OpenAI:
        return openai.read(path, body, settings)
    try:
        fields = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is not valid JSON: {error}", code="invalid_json") from None
    known = {"model", "messages", "prompt", "max_tokens", "stream", "ignore_eos", "seed", "n"}
    translated = {
        name: value for name, value in dialect.as_openai(fields).items() if name in known and value is not None
    }
    request = openai.read(CHAT if dialect.chat else COMPLETIONS, encode(translated), settings)
    return replace(request, inputs=len(dialect.given(fields))) if issubclass(dialect, Embeddings) else request
