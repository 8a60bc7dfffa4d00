"""A server whose answers depend on the request. It uses plain threads; clients may be in this process or another one."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

STREAM = "".join(
    f'data: {{"choices": [{{"index": 0, "delta": {{"content": "{word}"}}, "finish_reason": {finish}}}]}}\n\n'
    for word, finish in (("one ", "null"), ("two", "null"), ("!", '"stop"'))
).encode()
MODELS = {"object": "list", "data": [{"id": "m"}]}


class Request(NamedTuple):
    method: str
    target: str
    """Path and query."""
    headers: dict[str, str]
    """Headers by lower-case name."""
    body: Any


class Answer(NamedTuple):
    status: int = 200
    kind: str = "text/event-stream"
    body: bytes = STREAM
    headers: tuple[tuple[str, str], ...] = ()


def reply(status: int, content: Any, kind: str = "application/json") -> Answer:
    return Answer(status, kind, content.encode() if isinstance(content, str) else json.dumps(content).encode())


def redirect(status: int, to: str) -> Answer:
    return Answer(status, "text/plain", b"", (("Location", to),))


OK = Answer()
NOT_FOUND = reply(404, {"detail": "Not Found"})
PAGE = reply(200, "<html><head><title>Chat</title></head><body>Welcome to our chat</body></html>", "text/html")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Any) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, body)
        self.server.requests.append(request)
        answer = self.server.answer(request)
        self.send_response(answer.status)
        for name, value in (("Content-Type", answer.kind), ("Content-Length", len(answer.body)), *answer.headers):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class RoutedServer(ThreadingHTTPServer):
    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def targets(self) -> list[str]:
        """Targets of the POST requests."""
        return [request.target for request in self.requests if request.method == "POST"]


@contextmanager
def routed_server(answer: Callable[[Request], Answer]) -> Iterator[RoutedServer]:
    with RoutedServer(answer) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


def answers_at(target: str, otherwise: Answer = NOT_FOUND, answer: Answer = OK) -> Callable[[Request], Answer]:
    """Answer requests at one target, and at the address of its list of models; reply `otherwise` at other targets."""
    base = target.partition("?")[0].rstrip("/").removesuffix("/chat/completions")

    def route(request: Request) -> Answer:
        if request.method == "GET":
            return reply(200, MODELS) if request.target.partition("?")[0] == f"{base}/models" else NOT_FOUND
        return answer if request.target == target else otherwise

    return route


def refuses(*fields, min_tokens=0, status=400, known=None):
    """Refuse requests that contain one of the fields, or a field that is not in `known`, or a token limit below
    `min_tokens`. The error names the first such field.
    """

    def answer(request):
        if request.method == "GET":
            return reply(200, MODELS)
        body = request.body
        unknown = [name for name in body if known is not None and name not in known]
        for field in (*fields, *unknown):
            if field in body:
                return reply(status, {"error": {"message": f"Unsupported parameter: '{field}'"}})
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or 1000
        if limit < min_tokens:
            return reply(status, {"error": {"message": f"The limit is {limit} tokens and must be {min_tokens}."}})
        return OK

    return answer
