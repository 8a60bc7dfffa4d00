"""HTTP/1.1 over gevent sockets, which records when each byte of an answer arrived.

Locust's own clients measure the time of the headers and delay streams (`iter_lines` waits for a kilobyte). Requests
therefore use our own sockets; llhttp, in geventhttpclient, parses the framing. The bytes of an answer go into a `Timeline`
and are not parsed meanwhile, except to find out whether the first token has arrived: the time-outs depend on it.

Failures of the server are fields of the Timeline and raise nothing. Only exceptions that stop the user itself
(GreenletExit, gevent.Timeout, …) pass through.
"""

from __future__ import annotations

import re
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from time import perf_counter_ns
from urllib.parse import SplitResult, unquote
from urllib.request import getproxies, proxy_bypass

import gevent
from gevent import socket
from gevent import ssl as gevent_ssl
from gevent.pool import Group

from llmlocust.metrics.vocabulary import ABORTED
from llmlocust.plugin.http.addresses import Address
from llmlocust.plugin.http.connection import Connection, Listener, Timeouts
from llmlocust.plugin.http.failures import Failure, ProxyAnswer, kind_of, plain_words
from llmlocust.plugin.http.headers import NAME
from llmlocust.plugin.http.reader import connection_class
from llmlocust.stream.ask import Ask
from llmlocust.stream.dialects.base import Dialect
from llmlocust.stream.timeline import Timeline
from llmlocust.text.urls import shown, split

_NS = 1_000_000_000
_NO_LISTENER = Listener()
_MAX_PROXY_BYTES = 65536
_IN_USE_PER_SPARE = 8
_MAX_HEADS = 1000
"""Requests of that many users with headers of their own have their first lines in memory."""
_MIN_SECRET = 8
"""Characters. Shorter values of a query are ordinary words, such as a version, and are not masked."""


class Endpoint:
    """The server under test: a parsed host URL. All users of a process share one, with its TLS context."""

    def __init__(
        self, url: str, *, verify: bool = True, given: str = "", known_targets: Mapping[str, str] | None = None
    ) -> None:
        """`given` is the path of --llm-path; `known_targets` are those at which the server answered, by path."""
        parts = _parts_of(url)
        if parts is None or parts.scheme not in ("http", "https"):
            rule = "the host must be a URL such as http://localhost:8000"
            secret = ", with @ : / ? # in a password as %40 %3A %2F %3F %23" if "@" in url else ""
            raise ValueError(f"{rule}{secret} — got {shown(url)!r}")
        self.tls = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.tls else 80)
        self.scheme = parts.scheme
        self.address = Address(parts.path, parts.query, given)
        self._known_targets = dict(known_targets or {})
        self._targets: dict[str, str] = {}
        self._shown: dict[str, str] = {}
        self._heads: dict[tuple[str, str, tuple[tuple[str, str], ...]], bytes] = {}
        user, _, self.authority = parts.netloc.rpartition("@")
        self.secrets = tuple(_secrets(parts))
        """Secret values of the address, with their names."""
        self.authorization = f"Basic {b64encode(unquote(user).encode()).decode()}" if user else ""
        self.context = _tls_context(verify=verify) if self.tls else None
        self.proxy = _proxy_for(parts.scheme, self.host)

    def path(self, path: str) -> str:
        """Return the target of requests for a path: path and query, as a request contains them."""
        if path not in self._targets:
            self._targets[path] = self.address.target(path, self._known_targets)
        return self._targets[path]

    def set_target(self, path: str, target: str) -> None:
        """Send requests for a path to this target from now on."""
        self._known_targets[path] = target
        self._targets.clear()

    def head(self, method: str, target: str, headers: tuple[tuple[str, str], ...]) -> bytes:
        """Return the first lines of a request, with these headers. Raises Failure if one of them cannot be sent."""
        key = method, target, headers
        if key not in self._heads:
            if len(self._heads) >= _MAX_HEADS:
                self._heads.clear()
            self._heads[key] = _head(self, method, target, dict(headers))
        return self._heads[key]

    def shown_path(self, path: str) -> str:
        """Return the target of requests for a path, without secrets."""
        target = self.path(path)
        if target not in self._shown:
            self._shown[target] = shown(target)
        return self._shown[target]

    def url(self, target: str) -> str:
        """Return the complete URL of a target, without secrets."""
        return shown(f"{self.scheme}://{self.authority}{target}")


class Proxy:
    """The HTTP proxy of HTTP_PROXY, HTTPS_PROXY and NO_PROXY."""

    def __init__(self, url: str) -> None:
        parts = _parts_of(url)
        if parts is None or parts.scheme != "http":
            raise ValueError(f"only proxies with http:// addresses can be used, not {shown(url)!r}: set NO_PROXY")
        self.address = (parts.hostname or "", parts.port or 80)
        user = unquote(parts.netloc.rpartition("@")[0])
        self.headers = [f"Proxy-Authorization: Basic {b64encode(user.encode()).decode()}"] if user else []

    def tunnel(self, sock: socket.socket, target: str) -> None:
        """Request a connection to the target. Raises OSError if the proxy refuses."""
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *self.headers, "", ""]
        sock.sendall("\r\n".join(lines).encode("latin-1"))
        answer = b""
        while b"\r\n\r\n" not in answer:
            byte = sock.recv(1)  # the bytes after the proxy's answer belong to the tunnel
            if not byte or len(answer) > _MAX_PROXY_BYTES:
                raise OSError("the proxy gave no answer")
            answer += byte
        status = answer.split(b"\r\n", 1)[0].decode("latin-1")
        if status.split(" ")[1:2] != ["200"]:
            raise ProxyAnswer(status)


def _proxy_for(scheme: str, host: str) -> Proxy | None:
    url = getproxies().get(scheme)
    return Proxy(url) if url and not proxy_bypass(host) else None


def _secrets(parts: SplitResult) -> Iterator[tuple[str, str]]:
    if password := parts.password or parts.username:  # a token may be the user name
        yield from (("password", value) for value in {password, unquote(password)})
    for part in parts.query.split("&"):
        name, _, value = part.partition("=")
        if len(value) >= _MIN_SECRET:
            yield from ((f"?{name}", secret) for secret in {value, unquote(value)})


def _parts_of(url: str) -> SplitResult | None:
    """Return the parts of a URL; None if it is not valid."""
    try:
        return split(url)
    except ValueError:
        return None


def _tls_context(*, verify: bool) -> ssl.SSLContext:
    context: ssl.SSLContext = gevent_ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Client:
    """One user's connections to one endpoint, kept alive between requests."""

    def __init__(self, endpoint: Endpoint, timeouts: Timeouts | None = None) -> None:
        self.endpoint = endpoint
        self.timeouts = timeouts or Timeouts()
        self.keeps_spare = False
        """Open connections before they are needed: in open load, a request that has to wait for one would be late."""
        self._idle: list[Connection] = []
        self._in_use = 0
        self._opening = Group()
        """Greenlets that open spare connections."""

    def ask(
        self,
        timeline: Timeline,
        dialect: Dialect,
        ask: Ask,
        body: bytes,
        headers: Mapping[str, str],
        listener: Listener = _NO_LISTENER,
    ) -> None:
        """Send a request of a dialect, with its body, and fill the timeline until the answer has ended or failed."""
        self.post(timeline, dialect.path_of(ask), body, headers, listener)
        if timeline.is_answered and timeline.complete:
            path = dialect.events_path(ask, timeline.body)
            if path is not None:
                timeline.follow()
                self._request(timeline, "GET", self.endpoint.path(path), b"", headers, listener)

    def post(
        self,
        timeline: Timeline,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        listener: Listener = _NO_LISTENER,
    ) -> None:
        """Send a request and fill the timeline until the response has ended or failed."""
        self._request(timeline, "POST", self.endpoint.path(path), body, headers, listener)

    def get(self, timeline: Timeline, target: str, headers: Mapping[str, str]) -> None:
        """Fetch a target as it is, without the path of the user's address."""
        self._request(timeline, "GET", target, b"", headers, _NO_LISTENER)

    def close(self) -> None:
        self._opening.kill()
        while self._idle:
            self._idle.pop().close()

    def _request(
        self,
        timeline: Timeline,
        method: str,
        target: str,
        body: bytes,
        headers: Mapping[str, str],
        listener: Listener,
    ) -> None:
        timeline.requested_ns = timeline.requested_ns or perf_counter_ns()
        connection, keep = None, False
        self._in_use += 1
        try:
            wire = _wire(self.endpoint, method, target, body, headers)
            connection = self._idle_connection()
            if connection is not None:
                self._note_connect(timeline, connection)
                self._open_spare()
                try:
                    keep = connection.exchange(timeline, wire, self.timeouts, listener)
                except Failure as failure:
                    if failure.kind != "reset" or connection.has_received:
                        raise
                    # The server closed its kept connection just as we sent. Every client sends the request again:
                    # otherwise users whose think time equals the server's keep-alive would fail without any fault.
                    connection.close()
                    connection = None
            if connection is None:
                connection = self._connected()
                self._note_connect(timeline, connection)
                self._open_spare()
                keep = connection.exchange(timeline, wire, self.timeouts, listener)
        except Failure as failure:
            timeline.failure, timeline.detail = failure.kind, str(failure)
        except BaseException:
            # the user is being stopped, at the end of the run or of its own: the request was sent and is counted
            timeline.failure, timeline.detail = ABORTED, "stopped before it ended"
            raise
        finally:
            timeline.ended_ns = timeline.ended_ns or perf_counter_ns()
            self._in_use -= 1
            if timeline.sent_ns and not timeline.follows:
                before = (timeline.sent_ns - timeline.requested_ns) / _NS
                timeline.client_queue = max(0.0, before - (timeline.connect or 0.0) - (timeline.tls or 0.0))
            if keep and connection is not None:
                self._idle.append(connection)
            elif connection is not None:
                connection.close()

    def _idle_connection(self) -> Connection | None:
        """Return a kept connection that the server has not closed meanwhile; None without one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open():
                return connection
            connection.close()
        return None

    def _note_connect(self, timeline: Timeline, connection: Connection) -> None:
        """Note the times of a new connection for its first request."""
        if connection.connect is not None:
            timeline.connect, timeline.tls = connection.connect, connection.tls
            connection.connect = connection.tls = None

    def _open_spare(self) -> None:
        """Open another connection if too few are idle for the requests in flight."""
        if self.keeps_spare and len(self._idle) + len(self._opening) < 1 + self._in_use // _IN_USE_PER_SPARE:
            self._opening.spawn(self._add_spare)

    def _add_spare(self) -> None:
        with suppress(Failure):  # the request that needs a connection reports it
            self._idle.append(self._connected())

    def _connected(self) -> Connection:
        limit, proxy = self.timeouts.connect, self.endpoint.proxy
        is_through = proxy is None
        begun = perf_counter_ns()
        sock = None
        try:
            with gevent.Timeout(limit, TimeoutError(f"no connection within {limit:g} s")):
                sock = socket.create_connection(proxy.address if proxy else (self.endpoint.host, self.endpoint.port))
                if proxy and self.endpoint.tls:
                    proxy.tunnel(sock, f"{self.endpoint.host}:{self.endpoint.port}")
                is_through = True
                connected = perf_counter_ns()
                connection = connection_class()(sock)
                connection.connect = (connected - begun) / _NS
                if self.endpoint.context is not None:
                    connection.handshake(self.endpoint.context, self.endpoint.host)
                    connection.tls = (perf_counter_ns() - connected) / _NS
                return connection
        except (OSError, UnicodeError) as problem:
            if sock is not None:
                sock.close()
            raise Failure(kind_of(problem, proxied=not is_through), plain_words(problem)) from None


_OF_ONE_REQUEST = ("X-Request-Id",)
"""Headers of which each request has its own value."""
_TARGET = re.compile(r"/[!-~]*")
_VALUE = re.compile(r"[\t -~\xa0-\xff]*")


def _check(headers: Mapping[str, str]) -> None:
    """Refuse a header with characters that could start another request: headers may come from a server, a form or a
    locustfile. Raises Failure.
    """
    for name, value in headers.items():
        if not NAME.fullmatch(name):
            raise Failure("not_sent", f"{name[:40]!r} is not a valid header name")
        if not _VALUE.fullmatch(value):  # the value may be a secret, so it is not shown
            raise Failure(
                "not_sent", f"the value of the header {name} contains characters that are not allowed in headers"
            )


def _wire(endpoint: Endpoint, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return a request. Raises Failure if a part of it contains characters that could start another one."""
    own = {name: value for name, value in headers.items() if name in _OF_ONE_REQUEST}
    others = tuple(item for item in headers.items() if item[0] not in _OF_ONE_REQUEST)
    if method == "POST":
        own["Content-Length"] = str(len(body))
    _check(own)
    lines = "".join(f"{name}: {value}\r\n" for name, value in own.items())
    return endpoint.head(method, target, others) + lines.encode("latin-1") + b"\r\n" + body


def _head(endpoint: Endpoint, method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return the lines of a request that are the same for all requests of a user."""
    if not _TARGET.fullmatch(target):
        raise Failure(
            "not_sent",
            f"the path {shown(target)!r} contains characters that are not allowed in URLs, or does not begin with /",
        )
    _check(headers)
    own = {"Host": endpoint.authority}
    if endpoint.authorization:
        own["Authorization"] = endpoint.authorization
    named = {name.lower() for name in headers}
    lines = [f"{name}: {value}" for name, value in own.items() if name.lower() not in named]
    if endpoint.proxy and not endpoint.tls:  # in a tunnel, a request is the same as without a proxy
        target = f"http://{endpoint.authority}{target}"
        lines += endpoint.proxy.headers
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, ""]).encode("latin-1")
