"""A connection: it sends a request and reads the response in the hub, with the kernel's arrival times.

The socket's watcher reads in the event loop's callback. A greenlet would need two switches per read; without them 300
streams are read cheaply and on time. The user's greenlet sleeps meanwhile, and is woken once: when the response has
ended, failed or timed out.
"""

from __future__ import annotations

import errno
import re
import socket as plain_socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import perf_counter_ns, time
from weakref import WeakValueDictionary

import gevent
from gevent import socket
from gevent.event import Event
from geventhttpclient._parser import HTTPParseError, HTTPResponseParser
from geventhttpclient.header import Headers
from geventhttpclient.response import HTTPResponse

from llmlocust.plugin.http.addresses import shown
from llmlocust.plugin.http.loop_polls import polls_of
from llmlocust.stream.clocks import wall_minus
from llmlocust.stream.content_encodings import Decoder, Undecodable
from llmlocust.stream.limits import MAX_DOCUMENT, TooLarge, longer
from llmlocust.stream.reading import SLICE
from llmlocust.stream.timeline import OF_READ, Poll, Timeline

_READ = 65536
_RECORD = 16384
"""Maximum bytes of a TLS record."""
_MAX_HEADER_BYTES = 65536
_MAX_BODY_BYTES = 256 << 20
"""Bytes of an answer. A stream is parsed and released while it arrives."""
_MAX_KEPT = 256 << 20
"""Bytes of memory for all answers of a process that are larger than _SMALL."""
_SMALL = 1 << 20
_TAKEN_FROM = 4 * SLICE
"""Bytes. A larger body is parsed in slices before it has ended."""
_PAUSED_AFTER = 1 << 20
"""Bytes of a body that may wait to be parsed before reading pauses: a server may send faster than we parse."""
_MAX_FIRST_TOKEN_BYTES = 65536
"""Bytes of a body that are searched for its first token. If the body is longer, the token counts as arrived."""
_NS = 1_000_000_000
_READABLE, _WRITABLE = 1, 2  # gevent's loop.io
_FIRST = 2
"""A priority of libev: sockets are read before anything else that is ready, such as sleeping greenlets."""

_MAX_CLOCK_DIFFERENCE = 10_000_000
"""Nanoseconds that a stamp may be off: the kernel may suspend a process between reading a socket and the clock."""
_SO_TIMESTAMPNS = 35
_STAMP = struct.Struct("@qq")
_large: WeakValueDictionary[int, Timeline] = WeakValueDictionary()
"""The answers of this process that are larger than _SMALL, by id. An answer is removed when its Timeline is deleted."""
_ANCILLARY = plain_socket.CMSG_SPACE(_STAMP.size)


class Failure(Exception):
    """A failed request: an error kind and a message."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True)
class Timeouts:
    """Time-outs in seconds. Each has its own error kind."""

    connect: float = 10.0
    """Name look-up, TCP and TLS together."""
    first_token: float = 120.0
    """From sending until the first token."""
    stall: float = 60.0
    """Between two reads, after the first token."""
    total: float = 600.0
    """From sending until the end."""


@dataclass(frozen=True)
class Listener:
    """The caller's functions that read the body while it arrives."""

    has_token: Callable[[bytes], bool] | None = None
    """Returns whether the body contains a token; None: it is not streamed, and only the total time-out applies."""
    take: Callable[[Timeline], bool] = lambda timeline: False
    """Parses and releases a slice of a long stream; returns False if there is no whole slice."""


class _Response(HTTPResponse):
    """A response that llhttp parses. Head and body go directly into a Timeline, until the end of the final response."""

    feed = HTTPResponseParser.feed  # type: ignore[assignment]  # without what HTTPResponse does about answers to HEAD
    _on_body: Callable[[bytearray], None]  # type: ignore[assignment]  # called with each piece of the body

    def __init__(self, timeline: Timeline) -> None:
        super().__init__(method="POST", headers_type=Headers)
        self._timeline = timeline
        self._on_body = timeline.body.extend  # a function in C: it is called for every token
        self._decoder: Decoder | None = None
        """The decoder of an encoded body."""
        self.encoded_bytes = 0
        """Bytes of an encoded body, before decoding."""
        self.idle_bytes = 0
        """Bytes since the last read that contained a piece of the body: headers, trailers, extensions of chunks."""
        self.body_bytes = 0
        self.begun = False
        """The headers of the final response have arrived; interim ones (1xx) do not count."""
        self.ended = False
        self.reusable = False
        """The connection may carry another request."""

    def _on_message_begin(self) -> None:
        if self.ended:  # another response, without a request
            self.reusable = False
        super()._on_message_begin()

    def _on_headers_complete(self) -> int | bool | None:
        skip_body = super()._on_headers_complete()
        status = self.get_code()
        if status >= 200 and not self.ended:
            self.begun = True
            self._note_head(status)
        return skip_body

    def _note_head(self, status: int) -> None:
        timeline = self._timeline
        timeline.status = status
        timeline.content_type = self._header("content-type").lower()
        timeline.location = self._header("location")
        if 300 <= status < 400:
            timeline.detail = f"a redirect to {shown(timeline.location) or 'nowhere'}"
        timeline.retry_after = _retry_after(self._header)
        if encodings := self._header("content-encoding"):
            decoder = Decoder(encodings, timeline.body, MAX_DOCUMENT)
            if decoder.is_needed:
                self._decoder, self._on_body = decoder, self._decode

    def _decode(self, data: bytearray) -> None:
        assert self._decoder is not None
        self.encoded_bytes += len(data)
        self._decoder.take(data)

    def release(self) -> None:
        """Release the answer. The decoder and this response refer to each other, which would keep both in memory."""
        self._on_body, self._decoder = _ignore, None

    def _header(self, name: str) -> str:
        """Return a header's value; of several with the same name, all, separated by commas."""
        value = self.get(name) or ""
        return ", ".join(value) if isinstance(value, list) else value

    def _on_message_complete(self) -> None:
        super()._on_message_complete()
        if self.begun and not self.ended:
            self.ended = True
            self._on_body = _ignore
            self.reusable = self.should_keep_alive()


def _ignore(buf: bytearray) -> None:
    """Ignore the body of a response without a request."""


class Connection:
    """A connection to the server, or to a proxy in front of it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw = sock._sock  # noqa: SLF001  # gevent's own methods would wait in a greenlet
        self._raw.setblocking(False)
        self._raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _enable_stamps(self._raw)
        self._tls: ssl.SSLObject | None = None
        self.has_received = False
        """Whether any bytes have arrived since the last request was sent."""
        hub = gevent.get_hub()
        self._watcher = hub.loop.io(self._raw.fileno(), _READABLE, priority=_FIRST)
        self._writer = hub.loop.io(self._raw.fileno(), _WRITABLE)
        self._unsent = memoryview(b"")
        """Bytes that the kernel has not accepted yet."""
        self._is_cut_off = False
        """The server accepts no more bytes of the request. Its response is still read."""
        self._polls = polls_of(hub)
        self._awake = Event()

    def handshake(self, context: ssl.SSLContext, host: str) -> None:
        """Begin TLS, over two memory buffers: we still read the socket ourselves, with its arrival times."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._sock.recv(_READ)
                if not data:
                    raise ConnectionResetError(errno.ECONNRESET, "closed during the TLS handshake") from None
                self._incoming.write(data)
            else:
                self._flush()
                return

    def is_open(self) -> bool:
        """Return whether the connection can be used: nothing arrived without a request, and the server has not closed it."""
        try:
            # Locust's own check uses select, which fails for file descriptors from 1024 on
            while True:
                data = self._raw.recv(_READ)
                if self._tls is None or self._decrypted(data):  # TLS also sends messages of its own
                    return False
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        for watcher in (self._watcher, self._writer):
            watcher.stop()
            watcher.close()
        self._sock.close()

    # ── a request and its response ──

    def exchange(self, timeline: Timeline, wire: bytes, timeouts: Timeouts, listener: Listener) -> bool:
        """Send a request and read until the response has ended. Returns whether the connection can be used again. Raises
        Failure.
        """
        self._timeline = timeline
        self._response = _Response(timeline)
        self._head = b""
        """The bytes up to the end of the response's head."""
        self._is_refused = False
        """Whether the parser refuses this head unchanged."""
        self._has_token = listener.has_token
        self._take_slice = listener.take
        self._timeouts = timeouts
        self._problem: BaseException | None = None
        self.has_received = False
        self._is_cut_off = self._ended = self._is_paused = False
        self._paused_from = _PAUSED_AFTER
        """Bytes of the body above which reading pauses."""
        self._unchecked = 0
        try:
            self._send(timeline, wire)
            self._watcher.start(self._on_readable)
            self._wait_for_end()
            if self._problem is not None:
                raise self._problem
        except OSError as problem:
            raise Failure(kind_of(problem, otherwise="reset"), plain_words(problem)) from None
        else:
            timeline.complete = True
            return self._response.reusable and not self._unsent and not self._is_cut_off
        finally:
            self._watcher.stop()
            self._writer.stop()
            # a kept connection, and the traceback of a failure, would otherwise keep the answer in memory
            self._problem = None
            self._response.release()
            del self._timeline, self._response, self._has_token, self._take_slice

    def _send(self, timeline: Timeline, wire: bytes) -> None:
        if self._tls is not None:
            self._tls.write(wire)
            wire = self._outgoing.read()
        # kernel stamps are wall-clock times; they are converted to the monotonic clock
        self._from_wall = wall_minus()
        self._last = self._empty = perf_counter_ns()
        """The time of the last read, and the last time at which the socket was known to be empty."""
        if not timeline.follows:
            timeline.sent_ns = self._last
        self._unsent = memoryview(bytes(self._unsent) + wire if self._unsent else wire)
        self._push()

    def _push(self) -> None:
        """Send as much as the kernel accepts now; the event loop sends the rest. Meanwhile the response is read and
        time-outs apply: a server may answer before it has read the request, or never read it.
        """
        try:
            self._unsent = self._unsent[self._raw.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as problem:
            if kind_of(problem, otherwise="reset") != "reset":
                raise
            self._unsent, self._is_cut_off = memoryview(b""), True
        if self._unsent:
            self._writer.start(self._on_writable)
        else:
            self._writer.stop()

    def _wait_for_end(self) -> None:
        while not self._ended:
            deadline, kind, length = self._nearest()
            left = deadline - perf_counter_ns() / _NS
            if left <= 0:
                raise Failure(kind, f"nothing within {length:g} s")
            self._awake.clear()
            self._awake.wait(left)
            while not self._ended and perf_counter_ns() / _NS < deadline and self._take_slice(self._timeline):
                gevent.sleep(0)  # the bytes of other users come first
            if self._timeline.failure:  # the answer is too large to be parsed
                raise Failure(self._timeline.failure, self._timeline.detail)
            if self._is_paused and not self._ended:
                self._is_paused, self._paused_from = False, len(self._timeline.body) + _PAUSED_AFTER
                self._watcher.start(self._on_readable)

    def _nearest(self) -> tuple[float, str, float]:
        """Return the next time-out: its moment, error kind, and length, in seconds."""
        limits, sent, last = self._timeouts, self._timeline.sent_ns / _NS, self._last / _NS
        total = (sent + limits.total, "timeout_total", limits.total)
        if self._has_token is not None:
            return min(total, (sent + limits.first_token, "timeout_first_token", limits.first_token))
        if self._response.begun:
            return min(total, (last + limits.stall, "timeout_stall", limits.stall))
        return total  # an answer in one piece has only the total time-out

    # ── in the hub ──

    def _on_writable(self) -> None:
        """Send more of the request. The event loop calls this."""
        try:
            self._push()
        except OSError as problem:
            self._end(Failure(kind_of(problem, otherwise="reset"), plain_words(problem)))

    def _on_readable(self) -> None:
        """Read the socket. The event loop calls this, so it must raise nothing and return quickly."""
        try:
            data, stamps, _, _ = self._raw.recvmsg(_READ, _ANCILLARY)
            now = perf_counter_ns()
            if stamps:
                seconds, ns = _STAMP.unpack(stamps[0][2])
                arrived = seconds * _NS + ns - self._from_wall
                if not self._empty - _MAX_CLOCK_DIFFERENCE <= arrived <= now + _MAX_CLOCK_DIFFERENCE:
                    arrived = self._corrected_arrival(seconds * _NS + ns, now)
                self._timeline.clock = "kernel"
            else:
                arrived = now
            self._last = now
            if len(data) < _READ:
                self._empty = now
            poll = self._polls.poll
            if not poll.first_read:
                poll.first_read = now
            if arrived < poll.first:  # noqa: PLR1730  # a call would be slower, and this runs for every token
                poll.first = arrived
            for piece in (data,) if self._tls is None else self._decrypted(data):
                self._take(piece, arrived, now, poll)
            if not self._response.ended:
                return
            self._end()
        except BlockingIOError:
            return
        except OSError as problem:
            self._end(Failure(kind_of(problem, otherwise="reset"), plain_words(problem)))
        except BaseException as problem:  # it is raised in the user's greenlet
            self._end(problem)

    def _end(self, problem: BaseException | None = None) -> None:
        self._problem = problem
        self._watcher.stop()
        self._writer.stop()
        self._ended = True
        self._awake.set()

    def _corrected_arrival(self, stamp: int, now: int) -> int:
        """Return the arrival time of bytes whose stamp is too early, or later than the read. The system's clock may have
        been set.
        """
        before, self._from_wall = self._from_wall, wall_minus()
        arrived = stamp - self._from_wall
        if abs(self._from_wall - before) < _MAX_CLOCK_DIFFERENCE:
            return arrived  # the clock was not set: the process was suspended between reading the socket and the clock
        return arrived if self._empty <= arrived <= now else now  # otherwise the clock was set after the stamp

    def _decrypted(self, data: bytes) -> list[bytes]:
        """Return the plain bytes of a read as one piece, if there are any, and an empty piece at the end of the stream."""
        assert self._tls is not None
        if not data:
            return [data]  # closed, properly or not: the framing decides whether the response is complete
        self._incoming.write(data)
        records, closed = [], False
        try:
            # `pending` avoids a last read whose exception would cost as much as the decryption
            while self._incoming.pending and not closed:
                records.append(self._tls.read(_RECORD))
                closed = not records[-1]
        except ssl.SSLWantReadError:
            pass  # the rest of a record has not arrived yet
        if self._outgoing.pending:
            self._send_tls_messages()
        plain = b"".join(records)
        pieces = [plain] if plain else []
        return [*pieces, b""] if closed else pieces

    def _send_tls_messages(self) -> None:
        """Send the messages of TLS itself, such as a change of keys, after the bytes that are not sent yet."""
        self._unsent = memoryview(bytes(self._unsent) + self._outgoing.read())
        self._push()

    def _take(self, data: bytes, arrived: int, now: int, poll: Poll) -> None:
        timeline = self._timeline
        before, encoded = len(timeline.body), self._response.encoded_bytes
        self.has_received = self.has_received or bool(data)
        try:
            self._feed(data)
        except Undecodable as problem:
            raise Failure("bad_stream", str(problem)) from None
        except TooLarge as problem:
            raise Failure("too_large", str(problem)) from None
        finally:
            if len(timeline.body) > before:
                timeline.ends.append(len(timeline.body))
                timeline.times.append(arrived)
                timeline.lags.append(now - arrived)
                timeline.polls.append(poll)
        response = self._response
        new_bytes = len(timeline.body) - before
        response.body_bytes += new_bytes
        is_idle = not new_bytes and response.encoded_bytes == encoded
        response.idle_bytes = response.idle_bytes + len(data) if is_idle else 0
        if response.idle_bytes > _MAX_HEADER_BYTES and not response.ended:
            raise Failure("too_large", f"the headers of the answer were longer than {_MAX_HEADER_BYTES >> 10} KB")
        if not data and not response.ended:
            raise _framing_failure(response, data, None)
        if self._has_token is not None and new_bytes:
            self._look_for_token()
        if len(timeline.body) > _TAKEN_FROM:
            self._awake.set()  # long streams are parsed, and released, while they arrive
            self._limit_unread(len(timeline.body))
        if response.body_bytes + response.encoded_bytes > _MAX_BODY_BYTES:
            raise Failure("too_large", longer("the answer", _MAX_BODY_BYTES))
        self._unchecked += new_bytes + OF_READ
        if self._unchecked > _SMALL:
            self._check_memory()

    def _limit_unread(self, unread: int) -> None:
        """Pause reading if much of the answer is not parsed yet, and fail the answer if too much is not."""
        if unread > MAX_DOCUMENT:
            raise Failure("too_large", longer("the answer", MAX_DOCUMENT))
        if unread > self._paused_from and not self._response.ended:
            self._watcher.stop()
            self._is_paused = True

    def _check_memory(self) -> None:
        """Fail this answer if all large answers together take too much memory."""
        self._unchecked = 0
        if self._timeline.weight > _SMALL:
            _large[id(self._timeline)] = self._timeline
            if sum(timeline.weight for timeline in _large.values()) > _MAX_KEPT:
                message = f"the answers that this process reads at a time took more than {_MAX_KEPT >> 20} MB"
                raise Failure("client_limit", f"{message}: use more processes (--processes)")

    def _feed(self, data: bytes) -> None:
        """Parse the bytes of a read. No bytes mean the end of the connection: the parser decides whether the response is
        complete.
        """
        response = self._response
        if not response.begun:
            self._head += data
        if self._is_refused:
            self._read_again(data)
            return
        had_ended = response.ended
        try:
            response.feed(data)
        except HTTPParseError as problem:
            if response.ended:
                response.reusable = False
            elif response.begun or _TWO_LENGTHS not in str(problem):
                raise _framing_failure(response, data, problem) from None
            else:
                self._is_refused = True
                self._read_again(data)
        else:
            self._timeline.closed = response.ended and not had_ended and not data

    def _read_again(self, data: bytes) -> None:
        """Parse a response whose head was refused again, without its length, as soon as the head has arrived."""
        whole = _without_length(self._head)
        if not whole and data:
            return
        self._is_refused = False
        self._response = response = _Response(self._timeline)
        try:
            response.feed(whole)
        except HTTPParseError as problem:
            if not response.ended:
                raise _framing_failure(response, self._head, problem) from None
        response.reusable = False  # a proxy may disagree about the end of this response

    def _look_for_token(self) -> None:
        timeline = self._timeline
        assert self._has_token is not None
        if (
            not timeline.is_answered
            or len(timeline.body) > _MAX_FIRST_TOKEN_BYTES
            or self._has_token(bytes(timeline.body))
        ):
            self._has_token = None
            self._awake.set()  # another time-out applies from here on

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._sock.sendall(data)


def _enable_stamps(raw: plain_socket.socket) -> None:
    """Request the kernel's arrival times. Without them, the time of the read is used."""
    with suppress(OSError):
        raw.setsockopt(plain_socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def _framing_failure(response: _Response, data: bytes, problem: Exception | None) -> Failure:
    if data:
        return Failure("bad_stream", f"not HTTP: {problem.args[0] if problem and problem.args else problem}")
    if response.begun:
        return Failure("truncated", "the connection was closed in the middle of the answer")
    return Failure("reset", "the connection was closed before an answer")


_TWO_LENGTHS = "can't be present with"
"""A part of the parser's message about a head with Content-Length and Transfer-Encoding, in either order."""
_HEAD_ENDS = b"\r\n\r\n"
_INTERIM = re.compile(rb"HTTP/\S+ 1\d\d")
_LENGTH = re.compile(rb"\r\ncontent-length:[^\r\n]*(?=\r\n)", re.IGNORECASE)
_IN_CHUNKS = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)


def _without_length(wire: bytes) -> bytes:
    """Return a response without the length in its head, if chunks also mark its end: chunks have priority (RFC 9112, 6.3).
    Empty if the head is not complete.
    """
    begin, end = 0, wire.find(_HEAD_ENDS)
    while end >= 0 and _INTERIM.match(wire, begin):  # another response follows
        begin, end = end + len(_HEAD_ENDS), wire.find(_HEAD_ENDS, end + len(_HEAD_ENDS))
    if end < 0:
        return b""
    head = wire[begin:end]
    if _IN_CHUNKS.search(head):
        head = _LENGTH.sub(b"", head + b"\r\n")[:-2]
    return wire[:begin] + head + wire[end:]


_SKEW = 2.0
"""Seconds. If the server's clock differs by more, it is used for dates. Dates of HTTP have whole seconds."""
_MAX_RETRY_AFTER = 1e9


def _retry_after(header: Callable[[str], str]) -> float | None:
    """Return the server's Retry-After in seconds; the header contains seconds or a date (RFC 9110, 10.2.3). None without
    one.
    """
    value = header("retry-after").strip()
    milliseconds = _number(header("retry-after-ms").strip())  # some servers also send this
    if milliseconds is not None:
        return milliseconds / 1000.0
    seconds = _number(value)
    if seconds is None and (date := _date(value)) is not None:
        now = time()
        server_now = _date(header("date"))
        seconds = date - (now if server_now is None or abs(server_now - now) <= _SKEW else server_now)
        seconds = max(0.0, seconds)
    return seconds if seconds is not None and seconds < _MAX_RETRY_AFTER else None


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{0,9})?", text) else None


def _date(text: str) -> float | None:
    """Return a date of HTTP in seconds since 1970; None if it is not valid."""
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


class ProxyAnswer(OSError):
    """A proxy's refusal to connect to the server."""

    def __init__(self, line: str) -> None:
        super().__init__(f"the proxy answered {line!r}")
        self.status = line.split(" ")[1:2]

    @property
    def is_server_failure(self) -> bool:
        """Whether the proxy reports a failure of the server (RFC 9110, 15.6)."""
        return self.status in (["502"], ["503"], ["504"])


_KIND_OF_ERRNO = {
    errno.EADDRNOTAVAIL: "client_limit",  # every local port is in use
    errno.EADDRINUSE: "client_limit",
    errno.EMFILE: "client_limit",
    errno.ENFILE: "client_limit",
    errno.ENOBUFS: "client_limit",
    errno.ENOMEM: "client_limit",
    errno.ENETDOWN: "network",
    errno.ENETUNREACH: "network",
    errno.EHOSTDOWN: "network",
    errno.EHOSTUNREACH: "network",
    errno.EACCES: "network",  # a firewall on this machine
    errno.EPERM: "network",
    errno.EAFNOSUPPORT: "network",  # a machine without IPv6
}
_KIND_OF_LOOKUP = {socket.EAI_MEMORY: "client_limit", socket.EAI_SYSTEM: "client_limit"}
"""Error numbers of look-ups that lack files or memory on this machine."""
_SERVER_CLOSED = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
_ABOUT_CERTIFICATES = ("CERTIFICATE", "UNKNOWN_CA")


def kind_of(problem: BaseException, *, otherwise: str = "connect", proxied: bool = False) -> str:
    """Return the error kind of a failed connection: a failure of this machine, the network, the proxy or the server.

    `otherwise` is the server's kind: `connect` before the connection is established, `reset` after. `proxied` means that
    the connection to a proxy failed, or that the proxy did not connect to the server.
    """
    if isinstance(problem, socket.gaierror):
        return _KIND_OF_LOOKUP.get(problem.errno or 0, "proxy" if proxied else "name_lookup")
    if isinstance(problem, UnicodeError):  # a name that is not valid
        return "proxy" if proxied else "name_lookup"
    if isinstance(problem, ProxyAnswer):
        return otherwise if problem.is_server_failure else "proxy"
    if isinstance(problem, ssl.SSLError):
        return _kind_of_tls(problem, otherwise)
    # an errno of ssl.SSLError is one of OpenSSL's own numbers, so it is not looked up here
    kind = _KIND_OF_ERRNO.get(getattr(problem, "errno", None) or 0)
    if kind == "client_limit":
        return kind
    return "proxy" if proxied else kind or otherwise


def _kind_of_tls(problem: ssl.SSLError, otherwise: str) -> str:
    """Return `tls` if the two sides do not agree, and the server's kind if the server failed or closed the connection."""
    reason = getattr(problem, "reason", "") or ""  # only errors of OpenSSL have one
    if isinstance(problem, ssl.SSLCertVerificationError) or any(word in reason for word in _ABOUT_CERTIFICATES):
        return "tls"
    if isinstance(problem, _SERVER_CLOSED) or "INTERNAL_ERROR" in reason or "EOF" in reason or otherwise == "reset":
        return otherwise
    return "tls"


def plain_words(problem: Exception) -> str:
    """Return the message of a connection's error without its number."""
    if isinstance(problem, socket.gaierror):
        return f"the host's name is not known ({problem.strerror})"
    if isinstance(problem, ssl.SSLError):
        return f"TLS: {getattr(problem, 'reason', None) or problem}"
    if isinstance(problem, OSError) and problem.errno is not None and problem.errno in errno.errorcode:
        return f"{problem.strerror} ({errno.errorcode[problem.errno]})"
    return str(problem) or type(problem).__name__
