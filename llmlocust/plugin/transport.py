"""HTTP/1.1 over gevent sockets, for one thing only: to know when each byte of an answer arrived.

Locust's own clients time the headers and hold streams back (its `iter_lines` waits for a kilobyte), so requests go
over sockets of our own; llhttp, by way of geventhttpclient, parses the framing. What comes is left in a `Timeline`
and is not looked into, but for one question asked until it is answered: has the first token come? The time-outs
hang on that.

Nothing here raises for what a server does: a failure is a field of the Timeline. Only what stops the user itself
(GreenletExit, gevent.Timeout, …) goes through.
"""

from __future__ import annotations

import errno
import re
import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter_ns
from urllib.parse import unquote, urlsplit

import gevent
from gevent import socket
from gevent import ssl as gevent_ssl
from geventhttpclient._parser import HTTPParseError
from geventhttpclient.header import Headers
from geventhttpclient.response import HTTPResponse

from llmlocust.numbers.formats import ABORTED
from llmlocust.stream.timeline import Timeline

_READ = 65536
_MOST_HEADER_BYTES = 65536
_MOST_BODY_BYTES = 256 << 20
_NS = 1_000_000_000


@dataclass(frozen=True)
class Timeouts:
    """Seconds; each has an error kind of its own."""

    connect: float = 10.0
    """Name look-up, TCP and TLS together."""
    first_token: float = 120.0
    """From sending until the first token."""
    stall: float = 60.0
    """Between two reads, once tokens flow."""
    total: float = 600.0
    """From sending until the end."""


class _Failure(Exception):
    """How a request ended before its time: an error kind and what is to be said."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class _Response(HTTPResponse):
    """llhttp's view of a response, its body going straight into a Timeline."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__(method="POST", headers_type=Headers)
        self._timeline = timeline
        self.head_bytes = 0

    def _on_body(self, buf: bytearray) -> None:
        self._timeline.body += buf

    @property
    def begun(self) -> bool:
        """Whether the final response's headers are there: interim ones (1xx) do not count."""
        return self.headers_complete and self.get_code() >= 200


class Endpoint:
    """Where requests go: a parsed host URL. One for all users of a process, so that they share its TLS context."""

    def __init__(self, url: str, *, verify: bool = True) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise ValueError(f"the host must be a URL such as http://localhost:8000 — got {without_password(url)!r}")
        self.tls = parts.scheme == "https"
        self.host = parts.hostname
        self.port = port or (443 if self.tls else 80)
        self.prefix = parts.path.rstrip("/")
        user, _, self.authority = parts.netloc.rpartition("@")
        self.authorization = f"Basic {b64encode(unquote(user).encode()).decode()}" if user else ""
        self.context = _tls_context(verify=verify) if self.tls else None

    def path(self, path: str) -> str:
        """A path below the host; a host that ends in /v1, as OpenAI's clients want it, is not given it twice."""
        first = "/" + path.lstrip("/").split("/", 1)[0]
        if self.prefix.endswith(first):
            return self.prefix.removesuffix(first) + path
        return self.prefix + path


def without_password(url: str) -> str:
    """A URL as it may be shown and written."""
    return re.sub(r"//[^/@]*@", "//", url)


def _tls_context(*, verify: bool) -> ssl.SSLContext:
    context: ssl.SSLContext = gevent_ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Client:
    """Connections of one user to one endpoint, kept alive from request to request."""

    def __init__(self, endpoint: Endpoint, timeouts: Timeouts | None = None) -> None:
        self.endpoint = endpoint
        self.timeouts = timeouts or Timeouts()
        self._idle: list[socket.socket] = []

    def post(
        self,
        timeline: Timeline,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        has_token: Callable[[bytes], bool] | None = None,
    ) -> None:
        """Send a request and fill the timeline until the response is over or failed.

        `has_token` says whether a streamed body holds a token yet; without it the answer may take until the total
        time-out.
        """
        self._request(timeline, "POST", path, body, headers, has_token)

    def get(self, timeline: Timeline, path: str, headers: Mapping[str, str]) -> None:
        self._request(timeline, "GET", path, b"", headers, None)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _request(
        self,
        timeline: Timeline,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        has_token: Callable[[bytes], bool] | None,
    ) -> None:
        timeline.asked_ns = perf_counter_ns()
        wire = _wire(self.endpoint, method, path, body, headers)
        sock = None
        keep = False
        try:
            sock = self._idle_socket() or self._connected(timeline)
            keep = self._exchange(sock, timeline, wire, has_token)
        except _Failure as failure:
            timeline.failure, timeline.detail = failure.kind, str(failure)
        except BaseException:
            # the user is being stopped, at the end of a run or of its part in it: the request was, so it is counted
            timeline.failure, timeline.detail = ABORTED, "stopped before it ended"
            raise
        finally:
            timeline.ended_ns = perf_counter_ns()
            if keep and sock is not None:
                self._idle.append(sock)
            elif sock is not None:
                sock.close()

    def _idle_socket(self) -> socket.socket | None:
        """A kept connection that the server has not closed meanwhile."""
        while self._idle:
            sock = self._idle.pop()
            if self._is_open(sock):
                return sock
            sock.close()
        return None

    def _is_open(self, sock: socket.socket) -> bool:
        """Readable though nothing was asked: closed by the server, or out of step (TLS may have its own to say)."""
        try:
            # Locust's own check uses select and so fails from file descriptor 1024 on
            waiting = sock._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)  # noqa: SLF001  # gevent's own recv would wait
        except BlockingIOError:
            return True
        except OSError:
            return False
        return bool(waiting) and self.endpoint.tls

    def _connected(self, timeline: Timeline) -> socket.socket:
        limit = self.timeouts.connect
        begun = perf_counter_ns()
        sock = None
        try:
            with gevent.Timeout(limit, TimeoutError(f"no connection within {limit:g} s")):
                sock = socket.create_connection((self.endpoint.host, self.endpoint.port))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                there = perf_counter_ns()
                timeline.connect = (there - begun) / _NS
                if self.endpoint.context is not None:
                    sock = self.endpoint.context.wrap_socket(sock, server_hostname=self.endpoint.host)
                    timeline.tls = (perf_counter_ns() - there) / _NS
                return sock
        except (OSError, UnicodeError) as problem:
            if sock is not None:
                sock.close()
            raise _Failure("connect", _plain_words(problem)) from None

    def _exchange(
        self,
        sock: socket.socket,
        timeline: Timeline,
        wire: bytes,
        has_token: Callable[[bytes], bool] | None,
    ) -> bool:
        """Send, then read until the response is over. Returns whether the connection can be used again."""
        limits = _Limits(self.timeouts, waits_for_token=has_token is not None)
        response = _Response(timeline)
        try:
            sock.settimeout(self.timeouts.stall)
            timeline.sent_ns = limits.sent = limits.last = perf_counter_ns()
            sock.sendall(wire)
            while not response.message_complete:
                sock.settimeout(limits.next())
                data = sock.recv(_READ)
                now = perf_counter_ns()
                _feed(response, timeline, data, now)
                limits.last = now
                if has_token is not None and limits.waits_for_token and timeline.body:
                    limits.waits_for_token = timeline.status == 200 and not has_token(bytes(timeline.body))
        except TimeoutError:
            kind, seconds = limits.broken()
            raise _Failure(kind, f"nothing within {seconds:g} s") from None
        except OSError as problem:
            raise _Failure("reset", _plain_words(problem)) from None
        timeline.complete = True
        return not response.should_close()


class _Limits:
    """Which time-out comes next, and which one it was."""

    def __init__(self, timeouts: Timeouts, *, waits_for_token: bool) -> None:
        self.timeouts = timeouts
        self.waits_for_token = waits_for_token
        self.sent = 0
        self.last = 0

    def next(self) -> float:
        """Seconds from now until the nearest; never zero, which would mean not to wait at all."""
        return max(min(deadline for deadline, _, _ in self._deadlines()) - perf_counter_ns() / _NS, 0.001)

    def broken(self) -> tuple[str, float]:
        """The error kind and length of the nearest."""
        _, kind, length = min(self._deadlines())
        return kind, length

    def _deadlines(self) -> list[tuple[float, str, float]]:
        sent, last, limits = self.sent / _NS, self.last / _NS, self.timeouts
        if self.waits_for_token:
            near = (sent + limits.first_token, "timeout_first_token", limits.first_token)
        elif self.last > self.sent:
            near = (last + limits.stall, "timeout_stall", limits.stall)
        else:  # an answer in one piece: all of it may take its time
            near = (sent + limits.total, "timeout_total", limits.total)
        return [near, (sent + limits.total, "timeout_total", limits.total)]


def _feed(response: _Response, timeline: Timeline, data: bytes, now: int) -> None:
    before = len(timeline.body)
    began = response.begun
    try:
        response.feed(data)  # of nothing, at the end of the connection: llhttp knows whether that is an end
    except HTTPParseError as problem:
        raise _Failure(*_framing_failure(response, data, problem)) from None
    finally:
        if len(timeline.body) > before:
            timeline.ends.append(len(timeline.body))
            timeline.times.append(now)
    if not began and response.begun:
        _note_head(response, timeline)
    if not data and not response.message_complete:
        raise _Failure(*_framing_failure(response, data, None))
    if not response.begun:
        response.head_bytes += len(data)
        if response.head_bytes > _MOST_HEADER_BYTES:
            raise _Failure("bad_stream", "headers without an end")
    if len(timeline.body) > _MOST_BODY_BYTES:
        raise _Failure("bad_stream", "a body without an end")


def _framing_failure(response: _Response, data: bytes, problem: Exception | None) -> tuple[str, str]:
    if data:
        return "bad_stream", f"not HTTP: {problem}"
    if response.begun:
        return "truncated", "the connection was closed in the middle of the answer"
    return "reset", "the connection was closed before an answer"


def _note_head(response: _Response, timeline: Timeline) -> None:
    timeline.status = response.get_code()
    timeline.content_type = str(response.get("content-type") or "").lower()
    wait = str(response.get("retry-after") or "")
    timeline.retry_after = float(wait) if wait.isdigit() else None


def _wire(endpoint: Endpoint, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {endpoint.path(path)} HTTP/1.1", f"Host: {endpoint.authority}"]
    if endpoint.authorization and "Authorization" not in headers:
        lines.append(f"Authorization: {endpoint.authorization}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _plain_words(problem: Exception) -> str:
    """An OS error's words without its numbers."""
    if isinstance(problem, socket.gaierror):
        return f"the host's name is not known ({problem.strerror})"
    if isinstance(problem, ssl.SSLError):
        return f"TLS: {problem.reason or problem}"
    if isinstance(problem, OSError) and problem.errno in errno.errorcode:
        return f"{problem.strerror} ({errno.errorcode[problem.errno]})"
    return str(problem) or type(problem).__name__
