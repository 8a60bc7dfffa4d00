"""One request before the load: what is wrong with it is told in one line instead of in a thousand failures."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import gevent
import msgspec
from locust.env import Environment

from llmlocust.plugin import console
from llmlocust.plugin.connection import Timeouts
from llmlocust.plugin.options import (
    AUTO,
    api_key,
    distribution,
    drawn_fields,
    extra_fields,
    forced,
    option,
    ramp_setting,
    without_key,
)
from llmlocust.plugin.transport import Client, Endpoint
from llmlocust.stream.ask import Ask
from llmlocust.stream.dialects import DIALECTS, Dialect, named
from llmlocust.stream.dialects.openai import OpenAI
from llmlocust.stream.outcomes import server_words
from llmlocust.stream.reading import read
from llmlocust.stream.record import Record
from llmlocust.stream.timeline import Timeline

_CONNECT = 10.0
_FIRST_TOKEN = 60.0
_TOKENS = 16
_TRIES = 3
_BETWEEN_TRIES = 0.5

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


class _Functions(msgspec.Struct):
    """A Gradio app's, by their names."""

    named_endpoints: dict[str, Any]


class _App(msgspec.Struct):
    """A Gradio app, as it tells of itself."""

    version: str
    enable_queue: bool | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


def check(environment: Environment, users: Sequence[Any]) -> dict[str, Any]:
    """Ask the server one question in what each class of users speaks to it, find the model out where none was named,
    and say what came. What several classes have in common is asked once.

    Where the dialect is to be found out, that comes first. Raises NotReady.
    """
    told: dict[str, Any] = {}
    asked = set()
    for user in users:
        if told and _place(environment, user) in asked:
            continue
        try:
            found = _check(environment, user)
        except NotReady as problem:
            raise NotReady(f"{user.__name__}: {problem}" if told else str(problem)) from None
        asked.add(_place(environment, user))
        told = {**told, "requests": told["requests"] + found["requests"]} if told else found
    return told


def _place(environment: Environment, user: Any) -> tuple[str, ...]:
    """What is asked, and where."""
    dialect = user.speaks(environment)
    return environment.host or user.host or "", dialect.name, dialect.path, user.model or option(environment, "model")


def _check(environment: Environment, user: Any) -> dict[str, Any]:
    host = environment.host or user.host
    if not host:
        raise NotReady("no host: give the server's address, such as --host http://localhost:8000")
    try:
        endpoint = Endpoint(host, verify=not option(environment, "insecure"))
        first = DIALECTS[0]() if option(environment, "dialect") == AUTO else user.speaks(environment)
        headers(first)
    except ValueError as problem:
        raise NotReady(str(problem)) from None
    attempt = _Attempt(endpoint, first)
    try:
        listed, trouble = attempt.models()
        common = option(environment, "model") or (listed[0] if listed else "")
        model = user.model or common
        question = _ask(environment, model)
        _settle_dialect(environment, attempt, question)
        attempt.dialect = user.speaks(environment)
        ask, record = attempt.succeed(question)
        if record.status in (400, 422) and _forces(environment) and not option(environment, "force_length"):
            ask, record = attempt.without_forced_length(question)
        if not record.ok:
            old = attempt.dialect.name.startswith("gradio") and attempt.speaks_over_a_websocket()
            raise NotReady(old or _advice(attempt, model, record, listed, trouble))
    finally:
        attempt.client.close()
    forces = ask.extra.keys() >= forced(0).keys()
    if forces:
        _say_whether_length_is_forced(attempt.dialect, ask, record)
    if environment.parsed_options is not None:  # options travel to the workers
        environment.parsed_options.llm_model = common
        environment.parsed_options.llm_usage = ask.usage
        if ramp_setting(environment, "trace"):
            environment.parsed_options.llm_force_length = forces
        environment.parsed_options.llm_max_tokens_field = ask.max_tokens_field
    return {
        "model": model,
        "ttft_ms": round((record.ttft or record.e2e or 0.0) * 1000, 3),
        "finish": record.finish,
        "models_listed": len(listed),
        "requests": attempt.requests,
    }


def _say_whether_length_is_forced(dialect: Dialect, ask: Ask, record: Record) -> None:
    if dialect.inputs(ask) is not None:
        return
    if (record.output_tokens or 0) < (ask.max_tokens or 0):
        console.say(
            f"the server ended a first answer after {record.output_tokens} of {ask.max_tokens} tokens: it does not know "
            "ignore_eos and min_tokens, so nothing forces answers to their length"
        )


def _settle_dialect(environment: Environment, attempt: _Attempt, question: Ask) -> None:
    """Find out what is left open: a Gradio app's path, and what the server speaks at all."""
    told, path = option(environment, "dialect"), option(environment, "path")
    if told != AUTO and (path or not told.startswith("gradio")):
        return
    candidates = DIALECTS if told == AUTO else [type(named(told))]
    for candidate in candidates:
        dialect = named(candidate.name, path)
        if candidate.name.startswith("gradio") and not path:
            dialect.path = attempt.gradio_path(candidate.name) or dialect.path
        if told != AUTO or attempt.understands(dialect, question):
            environment.parsed_options.llm_dialect, environment.parsed_options.llm_path = dialect.name, dialect.path
            console.say(f"The server is spoken to in {dialect.name}, at {dialect.path}.")
            return
    if why := attempt.speaks_over_a_websocket():
        raise NotReady(why)
    raise NotReady(
        f"{attempt.client.endpoint.authority} answered a first request in none of "
        f"{', '.join(each.name for each in DIALECTS)}: set --llm-dialect, and --llm-path or --llm-model where it needs them"
    )


def _ask(environment: Environment, model: str) -> Ask:
    drawn = distribution(environment, "max_tokens").whole(random.Random())
    most = min(drawn, _TOKENS) if drawn > 0 else _TOKENS
    return Ask(
        prompt="Say hello.",
        model=model,
        max_tokens=most,
        max_tokens_field=option(environment, "max_tokens_field"),
        usage=option(environment, "usage"),
        extra=(forced(most) if _forces(environment) else {})
        | drawn_fields(extra_fields(option(environment, "body")), random.Random()),
    )


def _forces(environment: Environment) -> bool:
    """A trace's answers had their lengths."""
    return bool(option(environment, "force_length") or ramp_setting(environment, "trace"))


class _Attempt:
    """First requests, counted: the server sees them, and so must whoever compares its count with ours."""

    def __init__(self, endpoint: Endpoint, dialect: Dialect) -> None:
        self.client = Client(endpoint, Timeouts(_CONNECT, _FIRST_TOKEN, _FIRST_TOKEN, _FIRST_TOKEN))
        self.dialect = dialect
        self.requests = 0

    def succeed(self, ask: Ask) -> tuple[Ask, Record]:
        """The request that got an answer; where none did, as it was asked at first, with the last failure.

        What may be bad luck is tried again: one stream that drops says nothing of a thousand.
        """
        for _ in range(_TRIES):
            record = self._send(ask)
            if record.ok:
                return ask, record
            if record.status in (400, 422) and isinstance(self.dialect, OpenAI):
                return self._adapted(ask, record)
            if 400 <= record.status < 500 and record.status != 429:
                break
            gevent.sleep(_BETWEEN_TRIES)
        return ask, record

    def without_forced_length(self, ask: Ask) -> tuple[Ask, Record]:
        """The same from a server that may refuse what a trace would like."""
        fields = {name: value for name, value in ask.extra.items() if name not in forced(0)}
        found, record = self.succeed(msgspec.structs.replace(ask, extra=fields))
        if record.ok:
            console.say(
                "The server refuses ignore_eos and min_tokens: answers end where they do, a trace's length at most"
            )
        return found, record

    def _adapted(self, ask: Ask, refused: Record) -> tuple[Ask, Record]:
        """The same without what some servers refuse."""
        for change, words in _ADAPTATIONS:
            changed = msgspec.structs.replace(ask, **change)
            record = self._send(changed)
            if record.ok:
                console.say(f"The server refused a first request ({refused.error}), but takes it so: {words}")
                return changed, record
        return ask, refused

    def _send(self, ask: Ask) -> Record:
        self.requests += 1
        timeline, dialect = Timeline(), self.dialect
        asked = ask if dialect.streams else msgspec.structs.replace(ask, stream=False)
        self.client.ask(timeline, dialect, asked, dialect.body(asked), headers(dialect))
        record = read(timeline, dialect, name="preflight")
        record.error = without_key(record.error)
        return record

    def understands(self, dialect: Dialect, question: Ask) -> bool:
        """Whether the server answers in a dialect. NotReady where it answers nobody without a key."""
        self.dialect = dialect
        record = self._send(question)
        if record.status in (400, 422) and isinstance(dialect, OpenAI):
            _, record = self._adapted(question, record)
        if record.status in (401, 403):
            raise NotReady(_advice(self, question.model, record, [], ""))
        return record.ok

    def gradio_path(self, name: str) -> str:
        """Where a Gradio app's function is called: its chat's, or its first. Empty where it does not say."""
        for prefix in ("/gradio_api", ""):
            try:
                functions = [*msgspec.json.decode(self._get(f"{prefix}/info"), type=_Functions).named_endpoints]
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            if functions:
                function = "/chat" if "/chat" in functions else functions[0]
                return prefix + ("/run" if name == "gradio-run" else "/call") + function
        return ""

    def speaks_over_a_websocket(self) -> str:
        """What to do where a Gradio app takes calls that way alone: version 3's queue does. Empty where it does not."""
        try:
            app = msgspec.json.decode(self._get("/config"), type=_App)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ""
        if not (app.version.startswith("3.") and app.enable_queue):
            return ""
        return (
            f"{self.client.endpoint.authority} is a Gradio {app.version} app whose queue takes calls over a WebSocket "
            "alone, which is not spoken here: start the app with queue(api_open=True), or without a queue, and give "
            "--llm-dialect gradio-run"
        )

    def _get(self, path: str) -> bytes:
        timeline = Timeline()
        self.client.get(timeline, path, headers(self.dialect))
        return bytes(timeline.body)

    def models(self) -> tuple[list[str], str]:
        """What the server lists, and where that fails, why: real servers chat well without it."""
        timeline = Timeline()
        self.client.get(timeline, "/v1/models", headers(self.dialect))
        if timeline.failure == "connect":
            raise NotReady(_no_connection(self.client.endpoint, timeline.detail))
        try:
            models = msgspec.json.decode(bytes(timeline.body), type=_Models)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = timeline.detail or f"HTTP {timeline.status}: {server_words(bytes(timeline.body))}"
            return [], without_key(said)
        return [model.id for model in models.data], ""


def _no_connection(endpoint: Endpoint, detail: str) -> str:
    where = endpoint.authority
    if "CERTIFICATE" in detail:
        return f"{where} has a certificate that is not trusted ({detail}): name its authority's file in SSL_CERT_FILE, or give --llm-insecure"
    if "WRONG_VERSION" in detail or "RECORD_LAYER" in detail:
        return f"{where} does not speak TLS ({detail}): is it http:// instead of https://?"
    return f"nothing answers at {where}: {detail}. Is the server up, and is --host right?"


def headers(dialect: Dialect) -> dict[str, str]:
    """Headers of a request; the key comes from this node's environment and goes nowhere but to the server."""
    told = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream, application/x-ndjson, application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "llmlocust",
    }
    key = api_key(dialect.key_variable)
    if not key.isascii() or not key.isprintable():
        raise ValueError(
            f"the key in LLMLOCUST_API_KEY or {dialect.key_variable} holds characters that no key has: copy it again"
        )
    return told | dialect.headers(key)


def _advice(attempt: _Attempt, model: str, record: Record, listed: list[str], trouble: str) -> str:
    endpoint, dialect = attempt.client.endpoint, attempt.dialect
    variable = dialect.key_variable
    said = f"{endpoint.authority} answered a first request with: {(record.error or record.outcome).rstrip('.')}"
    if record.status in (401, 403):
        known = f"The key in LLMLOCUST_API_KEY or {variable} was refused" if api_key(variable) else "It wants a key"
        return f"{said}. {known}: set LLMLOCUST_API_KEY"
    if model and listed and model not in listed:
        return f"{said}. It does not list a model {model!r}, but {', '.join(listed[:5])}: set --llm-model"
    if not model and record.status >= 400:
        return f"{said}. No model was named and /v1/models does not tell one ({trouble}): set --llm-model"
    if record.status == 404 or 300 <= record.status < 400:
        asked = f"It was asked in {dialect.name} at {endpoint.path(dialect.path)}"
        return f"{said}. {asked}: is --host right, and --llm-dialect? --llm-dialect {AUTO} finds out"
    if record.status == 0 and not endpoint.tls:
        return f"{said}. Does it speak TLS there? Then give https://"
    return f"{said}. To start all the same, give --llm-preflight=false"
