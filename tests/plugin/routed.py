"""A server that answers by what it is asked, in plain threads: to clients in this process or in another."""

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


class Asked(NamedTuple):
    method: str
    target: str
    """Path and query."""
    headers: dict[str, str]
    """By their names in lower case."""
    body: Any


class Answer(NamedTuple):
    status: int = 200
    kind: str = "text/event-stream"
    body: bytes = STREAM
    headers: tuple[tuple[str, str], ...] = ()


def says(status: int, words: Any, kind: str = "application/json") -> Answer:
    return Answer(status, kind, words.encode() if isinstance(words, str) else json.dumps(words).encode())


def redirect(status: int, to: str) -> Answer:
    return Answer(status, "text/plain", b"", (("Location", to),))


OK = Answer()
NOT_FOUND = says(404, {"detail": "Not Found"})
PAGE = says(200, "<html><head><title>Chat</title></head><body>Welcome to our chat</body></html>", "text/html")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Any) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, body)
        self.server.asked.append(asked)
        answer = self.server.answer(asked)
        self.send_response(answer.status)
        for name, value in (("Content-Type", answer.kind), ("Content-Length", len(answer.body)), *answer.headers):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


class RoutedServer(ThreadingHTTPServer):
    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.asked: list[Asked] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def targets(self) -> list[str]:
        """Where requests were posted."""
        return [asked.target for asked in self.asked if asked.method == "POST"]


@contextmanager
def routed_server(answer: Callable[[Asked], Answer]) -> Iterator[RoutedServer]:
    with RoutedServer(answer) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


def answers_at(target: str, otherwise: Answer = NOT_FOUND, there: Answer = OK) -> Callable[[Asked], Answer]:
    """Answers at one target alone; a list of models is beside it."""
    base = target.partition("?")[0].rstrip("/").removesuffix("/chat/completions")

    def answer(asked: Asked) -> Answer:
        if asked.method == "GET":
            return says(200, MODELS) if asked.target.partition("?")[0] == f"{base}/models" else NOT_FOUND
        return there if asked.target == target else otherwise

    return answer


def refuses(*fields, least=0, status=400, known=None):
    """A server that names the first of these fields that it is sent, or complains of a limit that is too small; with
    `known`, it names the first field that is none of these, too.
    """

    def answer(asked):
        if asked.method == "GET":
            return says(200, MODELS)
        body = asked.body
        unknown = [name for name in body if known is not None and name not in known]
        for field in (*fields, *unknown):
            if field in body:
                return says(status, {"error": {"message": f"Unsupported parameter: '{field}'"}})
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or 1000
        if limit < least:
            return says(status, {"error": {"message": f"The limit is {limit} tokens and must be {least}."}})
        return OK

    return answer
