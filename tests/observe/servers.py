"""Servers for the tests of sources: one that answers by path, and one that does what a test writes to its socket."""

import gzip
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import ThreadingUnixStreamServer
from threading import Thread
from typing import Any

TEXT = "text/plain; version=0.0.4; charset=utf-8"
METRICS = b'# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine="0"} 3\n'


@dataclass
class Answer:
    body: bytes | str = METRICS
    status: int = 200
    content_type: str = TEXT
    headers: dict[str, str] = field(default_factory=dict)
    is_gzipped: bool = False


@dataclass
class Request:
    target: str
    headers: dict[str, str]
    """By name in lower case."""
    client: Any
    """The address of the client, which is that of its connection."""


@dataclass
class Server:
    """A running server. `answers` are by path; a function gets the request."""

    url: str
    answers: dict[str, Answer | Callable[[Request], Answer]]
    requests: list[Request] = field(default_factory=list)

    @property
    def place(self) -> str:
        return self.url.partition("://")[2]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def paths(self) -> list[str]:
        return [request.target for request in self.requests]


def handler_of(server: Server, protocol: str = "HTTP/1.1") -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version, timeout = protocol, 60

        def do_GET(self):
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.path, headers, self.client_address)
            server.requests.append(request)
            answer = server.answers.get(self.path.partition("?")[0], Answer("not found", 404))
            answer = answer if isinstance(answer, Answer) else answer(request)
            body = answer.body.encode() if isinstance(answer.body, str) else answer.body
            body = gzip.compress(body) if answer.is_gzipped else body
            self.send_response_only(answer.status)
            own = {"Content-Type": answer.content_type, "Content-Length": str(len(body))}
            own |= {"Content-Encoding": "gzip"} if answer.is_gzipped else {}
            for name, value in {**own, **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):  # the client may not read an answer that is too long
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler


class _UnixServer(ThreadingUnixStreamServer):
    daemon_threads = True

    def get_request(self):
        request, _ = super().get_request()
        return request, ("unix", 0)


@contextmanager
def served(answers: Any, *, tls: ssl.SSLContext | None = None, unix: str = "") -> Iterator[Server]:
    """Serve answers on a free port, or on a Unix socket."""
    answers = answers if isinstance(answers, dict) else {"/metrics": answers}
    server = Server("", answers)
    if unix:
        listener = _UnixServer(unix, handler_of(server))
    else:
        listener = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(server))
        listener.daemon_threads, listener.block_on_close = True, False
        server.url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.server_address[1]}"
    if tls:
        listener.socket = tls.wrap_socket(listener.socket, server_side=True)
    thread = Thread(target=lambda: listener.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


@contextmanager
def scripted(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve with a function that gets each connection after its first request. Yield the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.recv(65536)
                behave(connection)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    Thread(target=run, args=(connection,), daemon=True).start()

        Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def head(*lines: str, status: str = "200 OK", content_type: str = TEXT) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Type: {content_type}", *lines, "", ""]).encode()
