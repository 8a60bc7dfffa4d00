"""`Fetcher`: gets documents from one host over HTTP, within a time and a size, whatever the server does."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from threading import Thread
from typing import Any, NamedTuple, cast
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from llmlocust.observe.sources.exposition import quoted
from llmlocust.observe.sources.headers import headers_for
from llmlocust.observe.sources.source import MAX_BYTES, TIMEOUT, SourceError
from llmlocust.text.urls import is_loopback, shown, split

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 3
_CHUNK = 65536
_PORTS = {"http": 80, "https": 443}
_ALLOWED = "/%:@!$&'()*+,;=~?"
_GZIP_OR_ZLIB = 47
"""The argument of zlib that recognises either header."""

_Resolved = tuple[int, int, int, str, Any]
"""An address as `socket.getaddrinfo` returns it."""
Remaining = Callable[[], float]
"""Returns the seconds left for a request. Raises TimeoutError if none are left."""


class Unreachable(SourceError):
    """The server sent no complete answer."""


class Fetched(NamedTuple):
    """An answer, whatever its status."""

    status: int
    content_type: str
    server: str
    """The header `Server`."""
    body: bytes
    time: float
    """Epoch seconds of the middle of the request."""
    has_length: bool
    """Whether HTTP tells where the answer ends."""


def checked_url(url: str, example: str = "http://gpu-box:8000/metrics") -> SplitResult:
    """Split a URL with http:// or https://. Raises ValueError in one line, with a valid example and without secrets."""
    try:
        parts = split(url)
        _ = parts.port
    except ValueError:
        raise ValueError(f"{shown(url)!r} is not a valid URL: write, for example, {example}") from None
    if parts.scheme not in _PORTS or "://" not in url:
        raise ValueError(f"{shown(url)!r} is not a URL with http:// or https://: write, for example, {example}")
    return parts


def place_of(parts: SplitResult) -> str:
    """Return the host and the port of a URL, as they are written."""
    return parts.netloc.rpartition("@")[2]


def server_of(parts: SplitResult) -> str:
    """Return the server of a URL, with one name for each address of this machine."""
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    return local_server(port) if is_loopback(host) else f"{host}:{port}"


def local_server(port: int) -> str:
    """Return the server that listens on a port of this machine."""
    return f"localhost:{port}"


class Fetcher:
    """Gets documents from one host over one connection, which stays open.

    Every request ends after `timeout` seconds, even if the server sends a byte a second or sends without end, and reads
    MAX_BYTES at most, counted after decompression. Proxies are those of the environment.
    """

    def __init__(
        self,
        url: str,
        *,
        insecure: bool = False,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        unix_socket: str = "",
    ) -> None:
        """`headers` are sent with each request; those of the environment and the user of the URL are added. Raises
        ValueError in one line, without secrets.
        """
        parts = checked_url(url)
        self.timeout = timeout
        self.target = _quoted((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        self._origin = f"{parts.scheme}://{place_of(parts)}"
        own = {"Accept-Encoding": "gzip", "User-Agent": "llmlocust", "Host": place_of(parts)}
        from_environment = {} if unix_socket else headers_for(parts.hostname or "", parts.port)
        all_headers = _merged(own, from_environment, headers or {}, _basic(parts))
        self._headers = {name: value for name, value in all_headers.items() if name.lower() != "accept"}
        self._secrets = [*filter(None, (unquote(parts.password or ""),)), *_secrets(self._headers)]
        self._route = _Route(parts, unix_socket, insecure=insecure)
        self._deadline = 0.0
        self._client = _Client(self._route, self._remaining)

    def get(self, target: str = "", accept: str = "*/*") -> Fetched:
        """Get a document; the one of the URL if no target is given. Raises SourceError."""
        begun, begun_at = time.monotonic(), time.time()
        self._deadline = begun + self.timeout
        try:
            response, body = self._follow(target or self.target, accept)
        except SourceError:
            self.close()
            raise
        except (OSError, http.client.HTTPException, ValueError) as problem:
            self.close()
            raise Unreachable(self._reason(problem)) from None
        middle = begun_at + (time.monotonic() - begun) / 2
        content_type, server = (response.getheader(name, "") or "" for name in ("Content-Type", "Server"))
        has_length = response.chunked or response.getheader("Content-Length") is not None
        return Fetched(response.status, content_type, server, body, middle, has_length)

    def close(self) -> None:
        self._client.close()

    def quoted(self, text: str) -> str:
        """Return the beginning of a text from the server, in one line and without our credentials."""
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return quoted(text)

    def _remaining(self) -> float:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining

    def _follow(self, target: str, accept: str) -> tuple[http.client.HTTPResponse, bytes]:
        for _ in range(1 + _MAX_REDIRECTS):
            response, body = self._ask(target, accept)
            location = response.getheader("Location")
            if response.status not in _REDIRECTS or not location:
                return response, body
            target = self._on_same_host(target, location)
        raise SourceError("the server redirects again and again: give the address of the metrics themselves")

    def _on_same_host(self, target: str, location: str) -> str:
        """Return the target of a redirect. On another host, our credentials could reach a stranger."""
        parts = urlsplit(urljoin(self._origin + target, location))
        if f"{parts.scheme}://{parts.netloc}" != self._origin:
            raise SourceError(f"redirects to {quoted(shown(parts.geturl()))}, which is another host: give that address")
        return _quoted((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))

    def _ask(self, target: str, accept: str) -> tuple[http.client.HTTPResponse, bytes]:
        was_open = self._client.sock is not None
        try:
            return self._ask_once(target, accept)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            if not was_open:
                raise
            self.close()  # the server may have closed the connection since the last request
            return self._ask_once(target, accept)

    def _ask_once(self, target: str, accept: str) -> tuple[http.client.HTTPResponse, bytes]:
        headers = {**self._headers, "Accept": accept}
        if self._route.is_relayed:
            target = self._origin + target
            headers |= self._route.proxy_headers
        self._client.request("GET", target, headers=headers)
        response = self._client.getresponse()
        return response, _body(response)

    def _reason(self, problem: Exception) -> str:
        match problem:
            case ssl.SSLCertVerificationError():
                return f"the certificate is not valid ({problem.verify_message}): --llm-insecure skips the check"
            case ssl.SSLError():
                return f"TLS failed ({quoted(problem.reason or 'no reason given')}): should the URL begin with http://?"
            case socket.gaierror():
                return "the name of the host cannot be resolved: check the spelling"
            case TimeoutError():
                return f"no complete answer within {self.timeout:g} s"
            case ConnectionRefusedError():
                return "connection refused: no server listens there"
            case http.client.RemoteDisconnected():
                return "the server closed the connection without an answer"
            case http.client.IncompleteRead() | ConnectionError():
                return "the server closed the connection before the answer was complete"
            case OSError():
                return (problem.strerror or str(problem) or type(problem).__name__).lower()
            case _:
                return "the answer is not valid HTTP: does another service use this port?"


def _quoted(target: str) -> str:
    return quote(target, safe=_ALLOWED)


def _merged(*sources: Mapping[str, str]) -> dict[str, str]:
    """Merge headers. Later ones replace earlier ones of the same name, in upper or lower case."""
    headers = {name.lower(): (name, value) for source in sources for name, value in source.items()}
    return dict(headers.values())


def _basic(parts: SplitResult) -> dict[str, str]:
    """Return the header of a URL's user and password."""
    return {"Authorization": f"Basic {_encoded(parts)}"} if parts.username or parts.password else {}


def _encoded(parts: SplitResult) -> str:
    return b64encode(f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()).decode()


def _secrets(headers: Mapping[str, str]) -> list[str]:
    public = ("Accept-Encoding", "User-Agent", "Host")
    values = [value for name, value in headers.items() if name not in public]
    return [secret for value in values for secret in (value, value.rpartition(" ")[2]) if len(secret) > 3]


# ── answers ──


def _body(response: http.client.HTTPResponse) -> bytes:
    """Read a whole answer and decompress it. Raises SourceError if it is too long."""
    if (response.length or 0) > MAX_BYTES:
        raise _too_long()
    encoding = (response.getheader("Content-Encoding", "") or "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise SourceError(f"the answer is compressed with {quoted(encoding)}, which was not requested")
    inflater = zlib.decompressobj(_GZIP_OR_ZLIB) if encoding not in ("", "identity") else None
    body = bytearray()
    while data := response.read1(_CHUNK):
        room = MAX_BYTES + 1 - len(body)
        try:
            body += inflater.decompress(data, room) if inflater else data
        except zlib.error:
            raise SourceError("the answer is not what its header Content-Encoding says") from None
        if len(body) > MAX_BYTES:
            raise _too_long()
    if response.length:  # http.client reports this only for answers without a length
        raise http.client.IncompleteRead(b"")
    if inflater and body and (not inflater.eof or inflater.unused_data):
        raise SourceError("the compressed answer is not complete")
    response.close()  # the connection stays open; http.client would otherwise wait for the rest of this answer
    return bytes(body)


def _too_long() -> SourceError:
    return SourceError(f"the answer is longer than {MAX_BYTES // 2**20} MB: is it the address of a metrics endpoint?")


# ── connections ──


class _Route:
    """The way to a host: directly, through a proxy, or through a Unix socket."""

    def __init__(self, parts: SplitResult, unix_socket: str, *, insecure: bool) -> None:
        self.host, self.port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self._unix_socket = unix_socket
        self._context = _context(insecure=insecure) if parts.scheme == "https" else None
        proxy = "" if unix_socket or proxy_bypass(place_of(parts)) else getproxies().get(parts.scheme, "")
        self._proxy = _checked_proxy(proxy) if proxy else None

    @property
    def is_relayed(self) -> bool:
        """Whether a proxy reads the requests. In a tunnel, it does not."""
        return self._proxy is not None and self._context is None

    @property
    def proxy_headers(self) -> dict[str, str]:
        proxy = self._proxy
        return {"Proxy-Authorization": f"Basic {_encoded(proxy)}"} if proxy and proxy.username else {}

    def open(self, remaining: Remaining) -> _BoundedSocket:
        """Return a connection on which requests can be sent."""
        sock = self._connected(remaining)
        try:
            if self._context:
                if self._proxy:
                    self._tunnel(_BoundedSocket(sock, remaining))
                sock.settimeout(remaining())
                sock = self._context.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise
        return _BoundedSocket(sock, remaining)

    def _connected(self, remaining: Remaining) -> socket.socket:
        if self._unix_socket:
            sock = socket.socket(socket.AF_UNIX)
            return _opened(sock, self._unix_socket, remaining())
        host, port = (self._proxy.hostname or "", self._proxy.port or 80) if self._proxy else (self.host, self.port)
        problem: OSError = ConnectionRefusedError()
        addresses = _resolved(host, port, remaining)
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            seconds = remaining() / (len(addresses) - number)  # an address without an answer leaves time for the next
            try:
                return _opened(socket.socket(family, kind, protocol), address, seconds)
            except OSError as error:
                problem = error
        raise problem

    def _tunnel(self, sock: _BoundedSocket) -> None:
        place = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}", *(f"{k}: {v}" for k, v in self.proxy_headers.items())]
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = http.client.HTTPResponse(cast("socket.socket", sock), method="CONNECT")
        answer.begin()
        if answer.status != 200:
            raise SourceError(f"the proxy answered HTTP {answer.status}: set NO_PROXY if the host needs no proxy")


def _context(*, insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _checked_proxy(url: str) -> SplitResult:
    """Split the address of a proxy, in which http:// may be missing. Raises ValueError in one line."""
    try:
        parts: SplitResult | None = split(url)
    except ValueError:
        parts = None
    if parts is None or parts.scheme != "http":
        raise ValueError(f"only proxies with http:// can be used, not {shown(url)!r}: set NO_PROXY")
    return parts


def _opened(sock: socket.socket, address: Any, seconds: float) -> socket.socket:
    try:
        sock.settimeout(seconds)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _resolved(host: str, port: int, remaining: Remaining) -> list[_Resolved]:
    """Return the addresses of a host. The system's function cannot be interrupted, so a thread of its own waits for it."""
    answers: list[list[_Resolved] | OSError] = []

    def resolve() -> None:
        try:
            answers.append([*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)])
        except (OSError, UnicodeError):
            answers.append(socket.gaierror())

    thread = Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(remaining())
    if not answers:
        raise TimeoutError
    if isinstance(answers[0], OSError):
        raise answers[0]
    return answers[0]


class _Client(http.client.HTTPConnection):
    """A connection of the standard library whose socket has a deadline for the whole request, not for each read."""

    def __init__(self, route: _Route, remaining: Remaining) -> None:
        super().__init__(route.host, route.port)
        self._route, self._remaining = route, remaining

    def connect(self) -> None:
        self.sock = cast("socket.socket", self._route.open(self._remaining))


class _BoundedSocket:
    """The part of a socket that `http.client` uses. No call waits longer than the remaining time of the request."""

    def __init__(self, sock: socket.socket, remaining: Remaining) -> None:
        self._sock, self._remaining = sock, remaining

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._remaining())
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_BoundedReader(self._sock, self._remaining))

    def close(self) -> None:
        self._sock.close()


class _BoundedReader(io.RawIOBase):
    """Reads from a socket, and keeps it open until the answer is read, as the file of a socket does."""

    def __init__(self, sock: socket.socket, remaining: Remaining) -> None:
        self._sock, self._remaining = sock, remaining
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]  # a narrower type of buffer
        self._sock.settimeout(self._remaining())
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()
