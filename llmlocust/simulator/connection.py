"""One HTTP/1.1 connection: parses requests and writes answers.

httptools (llhttp) parses, because it is a small C library: a framework would cost more time per token than everything else
here. Requests that a client sends before it has its answer are queued and answered in order. Memory per client is bounded:
headers, body, queued requests, and unread answers.
"""

import asyncio
import contextlib
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote

import httptools

from llmlocust.simulator.openai import ApiError

HEADER_LIMIT, BODY_LIMIT, QUEUE_LIMIT = 64 * 1024, 32 * 1024 * 1024, 16
UNREAD_LIMIT = 1024 * 1024  # bytes that a stream's client may leave unread, in addition to the kernel's buffers
_LINGER_SECONDS = 2.0


@dataclass(slots=True)
class HttpRequest:
    """One received request."""

    method: str = ""
    path: str = ""
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    received_ns: int = 0
    keep_alive: bool = True
    takes_chunks: bool = True
    refusal: ApiError | None = None  # set if the request could not be read completely


class Connection(asyncio.Protocol):
    """Calls `handle` for each request, which answers with `respond`, or with `start`, `write` and `done`."""

    def __init__(self, handle: "Callable[[Connection, HttpRequest], None]", known: "set[Connection]") -> None:
        self._handle, self._known = handle, known
        self._parser = httptools.HttpRequestParser(self)
        self._incoming = HttpRequest()
        self._url = b""
        self._in_head, self._head_bytes = True, 0  # bytes since headers could begin
        self._queue: deque[HttpRequest] = deque()
        self._current: HttpRequest | None = None
        self._refused = False
        self._is_unread = False
        """The client has not read the previous answer. Its next request waits until it has."""
        self.on_disconnect: Callable[[bool], None] | None = (
            None  # called when the client disconnects; True: it was too slow
        )
        self.write: Callable[[bytes], None] = lambda _: None  # the transport's, looked up once and not for each token

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=UNREAD_LIMIT)
        self._socket = cast(socket.socket, transport.get_extra_info("socket"))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.write = self._transport.write
        self._known.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._known.discard(self)
        self._report_disconnect(too_slow=False)

    def pause_writing(self) -> None:
        if self.on_disconnect:  # a stream; any other answer is written once and cannot grow
            self._report_disconnect(too_slow=True)
            self._transport.abort()
        self._is_unread = True

    def resume_writing(self) -> None:
        self._is_unread = False
        self._next()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._now_ns = time.monotonic_ns()
        # the parser reports a header only when it is complete, so we count the bytes that it is given
        self._head_bytes += len(data)
        try:
            # an offer of HTTP/2 is ignored: the request itself has been reported before this is raised
            with contextlib.suppress(httptools.HttpParserUpgrade):
                self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(400, f"not HTTP: {error}")
        if self._in_head and self._head_bytes > HEADER_LIMIT:
            self._refuse(431, f"the headers are larger than {HEADER_LIMIT} bytes")
        self._next()

    # httptools' side

    def on_message_begin(self) -> None:
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._incoming.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        request, self._in_head = self._incoming, False
        path, _, request.query = self._url.decode("latin-1").partition("?")
        request.method, request.path = self._parser.get_method().decode(), unquote(path)
        request.takes_chunks = self._parser.get_http_version() != "1.0"
        if int(request.headers.get("content-length") or 0) > BODY_LIMIT:
            self._refuse(413, f"the body is larger than {BODY_LIMIT} bytes")
        elif request.headers.get("expect", "").lower() == "100-continue" and not self._current:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        self._incoming.body += body
        if len(self._incoming.body) > BODY_LIMIT:
            self._refuse(413, f"the body is larger than {BODY_LIMIT} bytes")

    def on_message_complete(self) -> None:
        request, self._incoming = self._incoming, HttpRequest()
        self._in_head, self._head_bytes = True, 0
        request.received_ns, request.keep_alive = self._now_ns, self._parser.should_keep_alive()
        size = sum(len(queued.body) for queued in (request, *self._queue))
        if len(self._queue) >= QUEUE_LIMIT or size > BODY_LIMIT:
            self._refuse(429, "too many requests queued on one connection")
        elif not self._refused:
            self._queue.append(request)

    # the server's side

    def respond(
        self,
        status: int,
        body: bytes,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        *,
        send: int | None = None,
    ) -> None:
        """Answer in one piece; with `send`, send only this many bytes of the body and close the connection."""
        if not self.alive:
            return
        self.on_disconnect = None  # the kernel delivers the rest
        length = {"Content-Length": str(len(body))}
        self.write(head(status, content_type, {**length, **(headers or {}), **self._connection()}) + body[:send])
        self.done(close=send is not None)

    def start(self, content_type: str, *, chunked: bool) -> None:
        """Begin an answer whose length is not known yet; the caller calls `write` and `done`."""
        framing = {"Transfer-Encoding": "chunked", **self._connection()} if chunked else {"Connection": "close"}
        self.write(head(200, content_type, {"Cache-Control": "no-cache", **framing}))

    def done(self, *, close: bool = False) -> None:
        """Finish the answer: close the connection if requested, or go on with the next request."""
        keep_alive = self._current is not None and self._current.keep_alive and not close
        self.on_disconnect, self._current = None, None
        if not keep_alive:
            self._close()
        elif self._queue:
            asyncio.get_running_loop().call_soon(self._next)

    def reset(self) -> None:
        """Close the connection with a RST, and drop unsent bytes."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.on_disconnect = None
        self._transport.abort()

    def abort(self) -> None:
        self._transport.abort()

    @property
    def alive(self) -> bool:
        return not self._transport.is_closing()

    def _connection(self) -> dict[str, str]:
        return {} if self._current and self._current.keep_alive else {"Connection": "close"}

    def _next(self) -> None:
        while self._queue and not self._current and not self._is_unread and self.alive:
            self._current = self._queue.popleft()
            self._handle(self, self._current)

    def _report_disconnect(self, *, too_slow: bool) -> None:
        on_disconnect, self.on_disconnect = self.on_disconnect, None
        if on_disconnect:
            on_disconnect(too_slow)

    def _refuse(self, status: int, message: str) -> None:
        """Stop reading; the refusal is answered in order like any request."""
        if self._refused:
            return
        self._refused = True
        request = self._incoming
        request.refusal, request.keep_alive, request.received_ns = ApiError(status, message), False, self._now_ns
        self._queue.append(request)

    def _close(self) -> None:
        if not self._refused:
            self._transport.close()
        elif self.alive:
            # closing with unread bytes sends a reset, and the client may then lose the answer
            self._transport.write_eof()
            asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._transport.abort)


def head(status: int, content_type: str, headers: Mapping[str, str]) -> bytes:
    """Return a status line and headers."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {_phrase(status)}\r\nContent-Type: {content_type}\r\n{lines}\r\n".encode("latin-1")


@cache
def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
