"""Serves the sources of this machine as one Prometheus endpoint, for `llmlocust observe`."""

from __future__ import annotations

import hmac
import socket
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import BoundedSemaphore, Condition, Thread
from typing import Any

from llmlocust.observe.sources.exposition import merged
from llmlocust.observe.sources.source import Source, SourceError

KEY_VARIABLE = "LLMLOCUST_OBSERVE_KEY"
"""The key that clients must send, as `Authorization: Bearer KEY`, if this variable is set."""
_MIN_AGE = 0.75
"""Seconds before a source is read again. Clients that ask once a second, a little early or late, get a new value each time:
with a full second, every second request could get the value of the request before it.
"""
_READ_SECONDS = 2.0
"""Seconds that a request waits for sources. A source that takes longer is left out of this answer only."""
_IDLE_SECONDS = 30.0
_MAX_CONNECTIONS = 64


class ReadSource:
    """A source with a thread that reads it on request. A source that hangs delays no other source."""

    def __init__(self, source: Source, say: Callable[[str], None]) -> None:
        """`say` gets a line when the source begins to fail, or works again."""
        self.source = source
        self._say = say
        self._changed = Condition()
        self._is_wanted = False
        self._text, self._read_at = b"", float("-inf")
        self._problem: str | None = None
        Thread(target=self._read_on_request, daemon=True).start()

    def request(self) -> None:
        """Have the source read, unless its values are new."""
        with self._changed:
            if time.monotonic() - self._read_at >= _MIN_AGE:
                self._is_wanted = True
                self._changed.notify_all()

    def text(self, until: float) -> bytes:
        """Return the values of the source; nothing if it fails, or is not read before `until`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_wanted, max(0.0, until - time.monotonic()))
            return b"" if self._is_wanted else self._text

    def _read_on_request(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_wanted)
            text, problem = self._read()
            with self._changed:
                self._text, self._read_at, self._is_wanted = text, time.monotonic(), False
                self._changed.notify_all()
            self._report(problem or self.source.notice)

    def _read(self) -> tuple[bytes, str]:
        try:
            return b"".join(scrape.text for scrape in self.source.scrape()), ""
        except SourceError as problem:
            return b"", f"{self.source.name}: {problem}"
        except Exception as problem:  # the other sources are still served
            return b"", f"{self.source.name}: {type(problem).__name__}: {problem}"

    def _report(self, problem: str) -> None:
        if problem != self._problem and (problem or self._problem):
            self._say(problem or f"{self.source.name}: can be read again")
        self._problem = problem


class Exporter(ThreadingHTTPServer):
    """A server with one page, /metrics: the values of all sources."""

    daemon_threads, block_on_close, request_queue_size = True, False, 128

    def __init__(
        self, host: str, port: int, sources: Sequence[Source], say: Callable[[str], None], key: str = ""
    ) -> None:
        """Bind the port. Raises OSError. Clients must send `key` if it is not empty."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._free = BoundedSemaphore(_MAX_CONNECTIONS)
        self._key = key
        super().__init__((host, port), _Handler)
        self._sources = [ReadSource(source, say) for source in sources]

    def server_bind(self) -> None:
        """Bind without looking up the name of the host, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def text(self) -> bytes:
        """Return the values of all sources, which are read at the same time."""
        until = time.monotonic() + _READ_SECONDS
        for source in self._sources:
            source.request()
        return merged(source.text(until) for source in self._sources)

    def is_allowed(self, authorization: str) -> bool:
        return not self._key or hmac.compare_digest(authorization.encode(), f"Bearer {self._key}".encode())

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; close the connection if too many are open."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that closes its connection is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version, server_version, sys_version = "HTTP/1.1", "llmlocust", ""
    timeout = _IDLE_SECONDS
    server: Exporter

    def do_GET(self) -> None:
        if not self.server.is_allowed(self.headers.get("Authorization", "")):
            self._send(HTTPStatus.UNAUTHORIZED, b"a key is needed: Authorization: Bearer KEY\n")
        elif self.path.partition("?")[0] == "/metrics":
            self._send(HTTPStatus.OK, self.server.text(), "text/plain; version=0.0.4; charset=utf-8")
        else:
            self._send(HTTPStatus.NOT_FOUND, b"the metrics are at /metrics\n")

    def _send(self, status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Print nothing for a request, of which there is one a second."""
