"""One request before the load: what is wrong with it is told in one line instead of in a thousand failures."""

from __future__ import annotations

from typing import Any

import msgspec
from locust.env import Environment

from llmlocust.plugin.options import api_key, option
from llmlocust.plugin.transport import Client, Endpoint, Timeouts
from llmlocust.stream.ask import Ask
from llmlocust.stream.dialects import Dialect
from llmlocust.stream.dialects.openai import OpenAIChat
from llmlocust.stream.record import Record, read, server_words
from llmlocust.stream.timeline import Timeline

_CONNECT = 10.0
_FIRST_TOKEN = 60.0


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
        record = _try(client, dialect, Ask(prompt="Say hello.", model=model, max_tokens=_tokens(environment)))
    finally:
        client.close()
    if not record.ok:
        raise NotReady(_advice(endpoint, model, record, listed, trouble))
    if environment.parsed_options is not None:
        environment.parsed_options.llm_model = model  # travels to the workers with all options
    return {
        "model": model,
        "ttft_ms": round((record.ttft or record.e2e or 0.0) * 1000, 3),
        "models_listed": len(listed),
    }


def _tokens(environment: Environment) -> int:
    most = int(option(environment, "max_tokens"))
    return min(most, 16) if most > 0 else 16


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
