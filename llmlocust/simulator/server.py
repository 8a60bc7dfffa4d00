"""The simulated server: the engine behind HTTP.

It is an asyncio Protocol with httptools. Any layer of a framework would cost time with each token; without one, the server
streams far more than 15,000 tokens/s from one core, even without uvloop (measured by bench/simulator.py).
"""

import asyncio
import errno
import gc
import hmac
import itertools
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qs

from llmlocust.simulator import dialects, openai, truth
from llmlocust.simulator.alarm import alarm
from llmlocust.simulator.answers import Answer, Job, Streamed, Whole
from llmlocust.simulator.connection import Connection, HttpRequest
from llmlocust.simulator.dialects import DIALECTS, GRADIO_CALL, OpenAI
from llmlocust.simulator.exposition import CONTENT_TYPE
from llmlocust.simulator.faults import HEADER as FAULT_HEADER
from llmlocust.simulator.faults import Faults
from llmlocust.simulator.faults import parse as parse_faults
from llmlocust.simulator.openai import CHAT, ApiError
from llmlocust.simulator.service import Cut, Refused, Service, Tokens
from llmlocust.simulator.settings import Settings
from llmlocust.simulator.truth import Record, Truth

KEY_VARIABLE = "LLMLOCUST_SIMULATOR_KEY"
VERSION = "0.33.0"
"""The version of vLLM whose metrics the simulator has."""
_BACKLOG = 4096
_TOKENS_AT_ONCE = 64
"""Number of tokens after which the event loop gets its turn, so that a late server still reads requests."""
_CALLS_LIMIT, _CALLS_BYTES = 1000, 64 * 1024 * 1024
"""Maximum number of Gradio calls whose events no client has fetched yet, and maximum bytes of their bodies together."""


_REFUSALS = {
    "queue_full": ("the queue is full, try again later", "queue_full", truth.REJECTED),
    "timeout": ("the request timed out before there was anything to send", "timeout", truth.TIMEOUT),
    "rate_limited": ("too many requests, try again later", "rate_limit_exceeded", truth.RATE_LIMITED),
    "proxy_timeout": ("the upstream server did not answer in time", "gateway_timeout", truth.PROXY_TIMEOUT),
}


class Simulator:
    """Routes requests, and carries out the engine's events when they are due."""

    def __init__(self, settings: Settings, key: str | None = None) -> None:
        self._settings, self._key = settings, key
        self._service = Service(settings, time.monotonic(), time.time())
        self._truth = Truth(settings.truth_tokens)
        self._faults, self._dice = parse_faults(settings.fault), random.Random(settings.seed)
        self._created, self._ids = int(time.time()), itertools.count(1)
        self._calls: dict[str, HttpRequest] = {}
        """Gradio calls whose events no client has fetched yet."""
        self.connections: set[Connection] = set()
        self._is_draining, self._is_empty = False, asyncio.Event()
        self._alarm = alarm(asyncio.get_running_loop(), self._handle_events)
        hidden = [path for path in (*DIALECTS, "/gradio_api/info") if not path.startswith(settings.only)]
        self._routes: dict[str, dict[str, Callable[[Connection, HttpRequest, Record], None]]] = {
            **{path: {"POST": self._complete} for path in DIALECTS},
            GRADIO_CALL: {"POST": self._call_gradio},
            "/gradio_api/info": {"GET": self._send_functions},
            "/v1/models": {"GET": self._send_models},
            "/health": {"GET": self._send_health},
            "/version": {"GET": self._send_version},
            "/metrics": {"GET": self._send_metrics},
            "/exporter/metrics": {"GET": self._send_exporter_metrics},
            "/truth": {"GET": self._send_truth, "DELETE": self._clear_truth},
        }
        for path in hidden:
            del self._routes[path]

    def connection(self) -> Connection:
        """Return the protocol of a new connection."""
        return Connection(self.handle, self.connections)

    async def drain(self, seconds: float) -> None:
        """Refuse new requests, and wait for the end of those in flight, for some seconds at most."""
        self._is_draining = True
        if self._truth.open:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_empty.wait(), seconds)

    def close(self) -> None:
        self._alarm.close()
        for connection in list(self.connections):
            connection.abort()

    def handle(self, connection: Connection, request: HttpRequest) -> None:
        """Answer a request, or begin its stream."""
        endpoint = request.path if request.path in self._routes else "other"
        record = Record(f"{self._created:x}-{next(self._ids)}", endpoint, request.received_ns)
        try:
            route = self._route(request)
            self._check_key(request)
            route(connection, request, record)
        except ApiError as error:
            self._refuse(connection, record, error, truth.BAD_REQUEST)

    def _route(self, request: HttpRequest) -> Callable[[Connection, HttpRequest, Record], None]:
        if request.refusal:
            raise request.refusal
        call, _, event_id = request.path.rpartition("/")
        if call == GRADIO_CALL and event_id in self._calls:
            return self._send_gradio
        methods = self._routes.get(request.path)
        if not methods:
            raise ApiError(404, f"unknown path {request.path}")
        if request.method not in methods:
            message = f"{request.path} takes {' and '.join(methods)}, not {request.method}"
            raise ApiError(405, message, headers={"Allow": ", ".join(methods)})
        return methods[request.method]

    def _check_key(self, request: HttpRequest) -> None:
        key = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        is_right = not self._key or hmac.compare_digest(key.encode(), self._key.encode())
        if request.path.startswith("/v1/") and not is_right:
            raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")

    def _refuse(self, connection: Connection, record: Record, error: ApiError, outcome: str) -> None:
        record.status = error.status
        dialect = DIALECTS.get(record.endpoint, OpenAI)
        if record.endpoint in DIALECTS or record.endpoint == "other":
            self._truth.end(self._truth.begin(record), outcome, time.monotonic_ns())
        connection.respond(error.status, dialect.error(error), headers=error.headers)

    # Gradio's two requests

    def _call_gradio(self, connection: Connection, http: HttpRequest, record: Record) -> None:
        dialects.read(http.path, http.body, self._settings)
        event_id = record.id.replace("-", "")
        self._calls[event_id] = http
        while len(self._calls) > _CALLS_LIMIT or sum(len(call.body) for call in self._calls.values()) > _CALLS_BYTES:
            del self._calls[next(iter(self._calls))]
        connection.respond(200, openai.encode({"event_id": event_id}))

    def _send_gradio(self, connection: Connection, http: HttpRequest, record: Record) -> None:
        called = self._calls.pop(http.path.rpartition("/")[2])
        record.endpoint, http.path, http.body = GRADIO_CALL, GRADIO_CALL, called.body
        http.headers = called.headers | http.headers
        self._complete(connection, http, record)

    # completions

    def _complete(self, connection: Connection, http: HttpRequest, record: Record) -> None:
        faults = self._faults_of(http)
        record.fault = http.headers.get(FAULT_HEADER, self._settings.fault if faults else "")[:200]
        request = dialects.read(http.path, http.body, self._settings)
        http.body = bytearray()  # the text is not needed while the request waits
        record.stream, record.prompt_tokens = request.stream, request.prompt_tokens
        if self._is_draining:
            raise ApiError(503, "the server is shutting down")
        if refused := _refused_by_fault(faults):
            self._refuse(connection, record, *refused)
        elif "html" in faults:
            self._send_html(connection, record)
        else:
            self._begin(connection, http, request, faults, record)

    def _begin(
        self, connection: Connection, http: HttpRequest, request: openai.Request, faults: Faults, record: Record
    ) -> None:
        job = Job(
            connection=connection,
            path=http.path,
            request=request,
            plan=openai.plan(request, self._settings),
            labels=self._labels(http, request, record),
            faults=faults,
            record=record,
            ended=self._on_end,
            tokens_per_chunk=self._settings.tokens_per_chunk,
            takes_chunks=http.takes_chunks,
        )
        answer = Streamed(job) if request.stream else Whole(job)
        record.planned_tokens = job.plan.output_tokens
        self._truth.begin(record)
        self._service.submit(answer.call, time.monotonic())
        self._set_alarm()

    def _labels(self, http: HttpRequest, request: openai.Request, record: Record) -> openai.Labels:
        # as in vLLM, the id of the answer contains the client's request id
        own_id = http.headers.get("x-request-id", "")[:200] or record.id
        record.id = ("chatcmpl-" if request.endpoint == CHAT else "cmpl-") + own_id
        settings = self._settings
        cached = self._service.cached_tokens(request.prompt_digest, request.prompt_tokens)
        return openai.Labels(record.id, int(time.time()), settings.model, settings.reasoning_field, cached)

    def _faults_of(self, http: HttpRequest) -> Faults:
        if FAULT_HEADER in http.headers:
            try:
                return parse_faults(http.headers[FAULT_HEADER])
            except ValueError as error:
                raise ApiError(400, str(error), FAULT_HEADER) from None
        return self._faults if self._faults and self._dice.random() < self._settings.fault_share else {}

    def _send_html(self, connection: Connection, record: Record) -> None:
        record.status = 200
        self._truth.end(self._truth.begin(record), "html", time.monotonic_ns())
        connection.respond(200, b"<!doctype html><title>Gateway</title><h1>Welcome</h1>\n", "text/html")

    # the engine

    def _handle_events(self) -> None:
        """Handle the events that are due, up to a number of tokens."""
        now_ns, count = time.monotonic_ns(), 0
        while count < _TOKENS_AT_ONCE and (event := self._service.advance(now_ns / 1e9)):
            if isinstance(event, Tokens):
                count += len(event.calls)
                self._truth.note_loop_delay(now_ns - int(event.due * 1e9))
                for call in event.calls:
                    call.owner.token(event.due)
            elif isinstance(event, Cut):
                event.call.owner.cut_off(truth.PROXY_TIMEOUT)
            else:
                event.call.owner.refuse(*self._refusal(event))
        self._set_alarm()

    def _set_alarm(self) -> None:
        self._alarm.set(self._service.due)

    def _refusal(self, event: Refused) -> tuple[ApiError, str]:
        if event.reason == "out_of_memory":
            return _out_of_memory()
        if event.reason == "too_long":
            call = event.call
            error = openai.too_long(call.prompt_tokens, call.output_tokens, self._settings.kv_tokens)
            return error, truth.BAD_REQUEST
        message, code, outcome = _REFUSALS[event.reason]
        headers = {"Retry-After": str(event.retry_after)} if event.status in (429, 503) else {}
        return ApiError(event.status, message, code=code, headers=headers), outcome

    def _on_end(self, answer: Answer, outcome: str) -> None:
        now_ns = time.monotonic_ns()
        call, record = answer.call, answer.job.record
        self._service.end(call, now_ns / 1e9)
        self._set_alarm()
        record.admitted_ns = int((call.admitted or 0) * 1e9)
        self._truth.end(record, outcome, now_ns)
        if self._is_draining and not self._truth.open:
            self._is_empty.set()

    # information about the server

    def _send_models(self, connection: Connection, _: HttpRequest, __: Record) -> None:
        settings = self._settings
        if settings.models_fail:
            raise ApiError(500, "the list of models is not available (simulated)")
        connection.respond(200, openai.models(settings.model, self._created, settings.max_model_len))

    def _send_functions(self, connection: Connection, _: HttpRequest, __: Record) -> None:
        connection.respond(200, openai.encode({"named_endpoints": {"/chat": {}}}))

    def _send_version(self, connection: Connection, _: HttpRequest, __: Record) -> None:
        connection.respond(200, openai.encode({"version": VERSION}))

    def _send_health(self, connection: Connection, _: HttpRequest, __: Record) -> None:
        if self._is_draining:
            raise ApiError(503, "the server is shutting down")
        connection.respond(200, b"")

    def _send_metrics(self, connection: Connection, _: HttpRequest, __: Record) -> None:
        connection.respond(200, self._service.metrics_text(time.monotonic()).encode(), CONTENT_TYPE)

    def _send_exporter_metrics(self, connection: Connection, _: HttpRequest, __: Record) -> None:
        connection.respond(200, self._service.exporter_text(time.monotonic()).encode(), CONTENT_TYPE)

    def _send_truth(self, connection: Connection, http: HttpRequest, _: Record) -> None:
        if "summary" in parse_qs(http.query):
            connection.respond(200, openai.encode(self._truth.summary()))
        else:
            connection.respond(200, b"".join(self._truth.lines()), "application/x-ndjson")

    def _clear_truth(self, connection: Connection, _: HttpRequest, __: Record) -> None:
        self._truth.clear()
        connection.respond(200, b"{}")


def _refused_by_fault(faults: Faults) -> tuple[ApiError, str] | None:
    if "oom" in faults:
        return _out_of_memory()
    if "http" in faults:
        return openai.http_error(int(faults["http"].value)), "http"
    return None


def _out_of_memory() -> tuple[ApiError, str]:
    return ApiError(500, openai.CUDA_OUT_OF_MEMORY), truth.OUT_OF_MEMORY


def serve(settings: Settings, ready: Callable[[int], None] | None = None) -> None:
    """Run the server until SIGTERM or SIGINT. `ready` is called with the port once the server listens.

    If the environment variable LLMLOCUST_SIMULATOR_KEY is set, clients must send this API key.
    """
    _allow_many_files()
    asyncio.run(_serve(settings, ready))


async def _serve(settings: Settings, ready: Callable[[int], None] | None) -> None:
    await asyncio.sleep(settings.start_s)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    simulator = Simulator(settings, os.environ.get(KEY_VARIABLE))
    try:
        server = await loop.create_server(simulator.connection, settings.host, settings.port, backlog=_BACKLOG)
    except OSError as error:
        why = "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror or error
        print(f"cannot listen on {settings.host}:{settings.port}: {why}", file=sys.stderr)
        raise SystemExit(2) from None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    port = server.sockets[0].getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"{settings.model} at http://{host}:{port}", flush=True)
    if ready:
        ready(port)
    gc.freeze()  # these objects stay; repeated collections of them would make tokens late
    await stop.wait()
    await simulator.drain(settings.drain_s)
    server.close()
    simulator.close()


def _allow_many_files() -> None:
    """Raise the limit of open files, which is usually 1,024: each connection is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
