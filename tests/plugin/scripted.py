"""A server that sends given bytes to clients in the same process.

It uses plain threads; only clients use gevent, and nothing is patched.
"""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

Script = Callable[[socket.socket], None]
"""Answers a request on a connection. An OSError closes the connection."""


@dataclass
class ScriptedServer:
    script: Script
    context: ssl.SSLContext | None = None
    family: int = socket.AF_INET
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    reads: Callable[[socket.socket], bytes] | None = None
    """Reads a request; None: `read_request`, to the end of its body."""

    def __post_init__(self) -> None:
        self.listener = socket.create_server(
            ("::1" if self.family == socket.AF_INET6 else "127.0.0.1", 0), family=self.family
        )
        self.port = self.listener.getsockname()[1]

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        self.connections += 1
        with suppress(OSError), sock:
            plain = self.context.wrap_socket(sock, server_side=True) if self.context else sock
            with plain:
                while request := (self.reads or read_request)(plain):
                    self.requests.append(request)
                    self.script(plain)


def read_begin(sock: socket.socket) -> bytes:
    """Read only the first bytes of a request."""
    return sock.recv(16)


def read_request(sock: socket.socket) -> bytes:
    """Return head and body of a request; empty at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
    )
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def sends(*parts: bytes, then_close: bool = True) -> Script:
    """Return a script that sends the parts, each in its own packet if the network does not join them."""

    def script(sock: socket.socket) -> None:
        for part in parts:
            sock.sendall(part)
        if then_close:
            raise OSError("that was all")

    return script


def keeps_open(*parts: bytes) -> Script:
    return sends(*parts, then_close=False)


@contextmanager
def scripted_server(script: Script, **more: object) -> Iterator[ScriptedServer]:
    server = ScriptedServer(script, **more)
    Thread(target=server.serve, daemon=True).start()
    try:
        yield server
    finally:
        server.listener.close()


def event(text: str = "word ", finish: str = "null") -> bytes:
    return f'data: {{"choices": [{{"index": 0, "delta": {{"content": "{text}"}}, "finish_reason": {finish}}}]}}\n\n'.encode()


ANSWER = event() + event("more") + event("!", '"stop"') + b"data: [DONE]\n\n"
STREAM = b"Content-Type: text/event-stream\r\n"


def response(head: bytes, body: bytes = b"", status: bytes = b"200 OK", version: bytes = b"1.1") -> bytes:
    return b"HTTP/" + version + b" " + status + b"\r\n" + head + b"\r\n" + body


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"


CHUNKED = response(STREAM + b"Transfer-Encoding: chunked\r\n", chunked(*ANSWER.splitlines(keepends=True)))
LENGTH = response(STREAM + b"Content-Length: %d\r\n" % len(ANSWER), ANSWER)
UNTIL_CLOSE = response(STREAM + b"Connection: close\r\n", ANSWER)


def wait_until_read(sock: socket.socket) -> None:
    """Wait until the client on this machine has read all that was sent to it. Linux."""
    ends = [f":{port:04X}" for port in (sock.getpeername()[1], sock.getsockname()[1])]
    begun = monotonic()
    while any(queue != "00000000" for queue in _unread(*ends)):
        assert monotonic() - begun < 60, "the client did not read"
        sleep(0.0005)


def _unread(local: str, remote: str) -> Iterator[str]:
    """Return the bytes that wait at the end `local` of a connection, in hexadecimal digits."""
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(local) and fields[2].endswith(remote):
                yield fields[4].partition(":")[2]
