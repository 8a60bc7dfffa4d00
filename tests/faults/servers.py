"""A server in threads that does what a test writes, and a client of plain sockets, for the tests of the proxy."""

import http.client
import json
import re
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Condition, Thread

from llmlocust.faults.proxy.process import ProxyProcess
from tests.simulators import PATIENCE, wait_for

FOLLOWS = "status 599 on 0.000001% of requests"
"""A fault that makes the proxy follow requests, and acts on none of them."""


@dataclass
class Request:
    """One request that the server received."""

    head: bytes
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        return self.head.split(b" ")[1].decode()


Behaviour = Callable[[socket.socket, Request], object]


@dataclass
class Server:
    """A server whose behaviour depends on the path. A path without a behaviour is answered with the path itself."""

    listener: socket.socket
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    ended: int = 0
    """Connections whose client has closed or reset them."""
    changed: Condition = field(default_factory=Condition)
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def run(self) -> None:
        number = 0
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                number += 1
                Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        connection.settimeout(PATIENCE)
        if self.tls:
            with suppress(OSError):
                connection = self.tls.wrap_socket(connection, server_side=True)
        with connection, suppress(OSError, ValueError, IndexError):
            reader = connection.makefile("rb")
            while request := _read(reader, number):
                self.requests.append(request)
                self.behaviours.get(request.path, answer_path)(connection, request)
        with self.changed:
            self.ended += 1


def _read(reader, number: int) -> Request | None:
    """Read a request. The body is left to the behaviour if a tab is in front of its length."""
    lines = []
    while (line := reader.readline()) not in (b"\r\n", b"\n", b""):
        lines.append(line)
    if not lines:
        return None
    head = b"".join(lines)
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    if b"chunked" in head.lower():
        body = b""
        while size := int(reader.readline(), 16):
            body += reader.read(size)
            reader.readline()
        reader.readline()
    else:
        body = reader.read(int(length[1])) if length else b""
    return Request(head, body, number)


def answer_path(connection: socket.socket, request: Request) -> None:
    body = b"" if request.head.startswith(b"HEAD") else request.path.encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.path) + body)


def token(number: int) -> bytes:
    return b"data: " + json.dumps({"token": number}).encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def stream(tokens: int, *, size: int = 0, kind: bytes = b"") -> Behaviour:
    """Return a behaviour that streams tokens as chunks, which are written in pieces of this size."""

    def behave(connection: socket.socket, _: Request) -> None:
        events = [*map(token, range(tokens)), b"data: [DONE]\n\n"]
        data = b"".join(map(chunk, events)) + chunk(b"")
        write_in_pieces(connection, STREAM_HEAD + data, size)

    return behave


def write_in_pieces(connection: socket.socket, data: bytes, size: int) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for place in range(0, len(data), size or len(data)):
        connection.sendall(data[place : place + (size or len(data))])


@contextmanager
def serving() -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        server = Server(listener)
        Thread(target=server.run, daemon=True).start()
        yield server
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxying(server: Server, *faults: str, seed: int = 0) -> Iterator[ProxyProcess]:
    with ProxyProcess(server.url, faults=faults, seed=seed) as proxy:
        yield proxy


# ── the client ──


@contextmanager
def connected(proxy: ProxyProcess) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield client


def get(path: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers, *([f"Content-Length: {len(body)}"] if body else [])]
    return "\r\n".join([*lines, "", ""]).encode() + body


def response(client: socket.socket, method: str = "GET") -> tuple[int, bytes, http.client.HTTPMessage]:
    """Read one response: its status, its body, its headers. Raises IncompleteRead with the body that arrived."""
    answer = http.client.HTTPResponse(client, method=method)
    answer.begin()
    return answer.status, answer.read(), answer.msg


def ask(client: socket.socket, path: str, *headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    client.sendall(get(path, *headers))
    return response(client)


def read_until(client: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        piece = client.recv(65536)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    return data


def read_all(client: socket.socket) -> bytes:
    data = b""
    while piece := client.recv(65536):
        data += piece
    return data


def is_silent(client: socket.socket, seconds: float = 0.3) -> bool:
    """Return whether nothing arrives in this time."""
    return not select.select([client], [], [], seconds)[0]


@contextmanager
def allowing_reset() -> Iterator[None]:
    """Let a connection end by a reset instead of an end of data."""
    with suppress(ConnectionResetError):
        yield


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def seconds_of(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def counters_of(proxy: ProxyProcess, fault_id: str) -> dict:
    report = proxy.counters()
    return next(fault for fault in [*report["faults"], *reversed(report["cleared"])] if fault["id"] == fault_id)


def wait_for_no_connections(proxy: ProxyProcess) -> None:
    wait_for(lambda: proxy.counters()["open"], lambda number: number == 0)
