"""One request before the load: what is wrong with it is told in one line instead of in a thousand failures."""

from __future__ import annotations

from typing import Any

import msgspec
from locust.env import Environment

from llmlocust.plugin import console
from llmlocust.plugin.connection import Timeouts
from llmlocust.plugin.options import api_key, extra_fields, option
from llmlocust.plugin.transport import Client, Endpoint
from llmlocust.stream.ask import Ask
from llmlocust.stream.dialects import Dialect
from llmlocust.stream.dialects.openai import OpenAIChat
from llmlocust.stream.record import Record, read, server_words
from llmlocust.stream.timeline import Timeline

_CONNECT = 10.0
_FIRST_TOKEN = 60.0
_TOKENS = 16

_COMPLETION = {"max_tokens_field": "max_completion_tokens"}
_ADAPTATIONS: tuple[tuple[dict[str, Any], str], ...] = (
    (_COMPLETION, "the limit of tokens is sent as max_completion_tokens."),
    ({"usage": False}, "without stream_options, so its tokens are counted by chunks."),
    (_COMPLETION | {"usage": False}, "without stream_options, and with max_completion_tokens."),
)


class NotReady(Exception):
    """Why the load must not start, in one line that says what to do."""


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


def check(environment: Environment, dialect: Dialect | None = None) -> dict[str, Any]:
    """Ask the server one question, find the model out where none was named, and say what came. Raises NotReady."""
    dialect = dialect or OpenAIChat()
    host = environment.host or ""
    if not host:
        raise NotReady("no host: give the server's address, such as --host http://localhost:8000")
    try:
        endpoint = Endpoint(host, verify=not option(environment, "insecure"))
    except ValueError as problem:
        raise NotReady(str(problem)) from None
    client = Client(endpoint, Timeouts(_CONNECT, _FIRST_TOKEN, _FIRST_TOKEN, _FIRST_TOKEN))
    try:
        listed, trouble = _listed_models(client)
        model = option(environment, "model") or (listed[0] if listed else "")
        ask = _ask(environment, model)
        record = _try(client, dialect, ask)
        if not record.ok and record.status in (400, 422):
            ask, record = _adapted(client, dialect, ask, record)
    finally:
        client.close()
    if not record.ok:
        raise NotReady(_advice(endpoint, model, record, listed, trouble))
    if environment.parsed_options is not None:  # options travel to the workers
        environment.parsed_options.llm_model = model
        environment.parsed_options.llm_usage = ask.usage
        environment.parsed_options.llm_max_tokens_field = ask.max_tokens_field
    return {
        "model": model,
        "ttft_ms": round((record.ttft or record.e2e or 0.0) * 1000, 3),
        "models_listed": len(listed),
    }


def _ask(environment: Environment, model: str) -> Ask:
    most = int(option(environment, "max_tokens"))
    return Ask(
        prompt="Say hello.",
        model=model,
        max_tokens=min(most, _TOKENS) if most > 0 else _TOKENS,
        max_tokens_field=option(environment, "max_tokens_field"),
        usage=option(environment, "usage"),
        extra=extra_fields(option(environment, "body")),
    )


def _adapted(client: Client, dialect: Dialect, ask: Ask, refused: Record) -> tuple[Ask, Record]:
    """The same without what some servers refuse; as it was where that does not help either."""
    for change, words in _ADAPTATIONS:
        changed = msgspec.structs.replace(ask, **change)
        record = _try(client, dialect, changed)
        if record.ok:
            console.say(f"The server refused a first request ({refused.error}), but takes it so: {words}")
            return changed, record
    return ask, refused


def headers() -> dict[str, str]:
    """Headers of every request; the key comes from this node's environment and goes nowhere but to the server."""
    told = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream, application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "llmlocust",
    }
    key = api_key()
    return told | ({"Authorization": f"Bearer {key}"} if key else {})


def _listed_models(client: Client) -> tuple[list[str], str]:
    """What the server lists, and where that fails, why: real servers chat well without it."""
    timeline = Timeline()
    client.get(timeline, "/v1/models", headers())
    if timeline.failure == "connect":
        endpoint = client.endpoint
        raise NotReady(
            f"nothing answers at {endpoint.host}:{endpoint.port}: {timeline.detail}. Is the server up, and is --host right?"
        )
    try:
        models = msgspec.json.decode(bytes(timeline.body), type=_Models)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [], timeline.detail or f"HTTP {timeline.status}: {server_words(bytes(timeline.body))}"
    return [model.id for model in models.data], ""


def _try(client: Client, dialect: Dialect, ask: Ask) -> Record:
    timeline = Timeline()
    client.post(timeline, dialect.path, dialect.body(ask), headers())
    return read(timeline, dialect, name="preflight")


def _advice(endpoint: Endpoint, model: str, record: Record, listed: list[str], trouble: str) -> str:
    said = f"{endpoint.authority} answered a first request with: {record.error or record.outcome}"
    if record.status in (401, 403):
        known = "The key in LLMLOCUST_API_KEY or OPENAI_API_KEY was refused" if api_key() else "It wants a key"
        return f"{said}. {known}: set LLMLOCUST_API_KEY"
    if model and listed and model not in listed:
        return f"{said}. It does not list a model {model!r}, but {', '.join(listed[:5])}: set --llm-model"
    if not model:
        return f"{said}. No model was named and /v1/models does not tell one ({trouble}): set --llm-model"
    if record.status == 404:
        return f"{said}. Is there an OpenAI-compatible API below --host? It was asked at {endpoint.path('/v1/chat/completions')}"
    return said
