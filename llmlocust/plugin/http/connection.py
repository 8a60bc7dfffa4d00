"""One connection: a request goes out, and its response is read in the hub, at once, with the kernel's arrival times.

The socket's own watcher reads it, in the event loop's callback, instead of a greenlet that has to be switched to and
back: that is what keeps 300 streams cheap and on time. The user's greenlet sleeps meanwhile and is woken once, when
the response is over, failed or late.
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
from llmlocust.stream.timeline import OF_READ, Look, Timeline

_READ = 65536
_RECORD = 16384
"""A TLS record holds no more than that."""
_MOST_HEADER_BYTES = 65536
_MOST_BODY_BYTES = 256 << 20
"""Bytes of a stream, which is parsed and released while it arrives."""
_MOST_KEPT = 256 << 20
"""Bytes of memory that all answers of a process above _SMALL may take together."""
_SMALL = 1 << 20
_TAKEN_FROM = 4 * SLICE
"""A body above this is read in slices before it is over."""
_PAUSED_AFTER = 1 << 20
"""Bytes of a body that may wait to be parsed before reading pauses: a server may send faster than we parse."""
_FIRST_TOKEN_WITHIN = 65536
"""Bytes of a body that are looked through for its first token; behind them it is taken to have come."""
_NS = 1_000_000_000
_READABLE, _WRITABLE = 1, 2  # gevent's loop.io
_FIRST = 2
"""Of libev's priorities: sockets are read before anything else runs that has become ready, such as sleeping greenlets."""

_CLOCK_WAS_SET = 10_000_000
"""Nanoseconds that a stamp may be out of place: a process may be put aside between reading a socket and the clock."""
_SO_TIMESTAMPNS = 35
_STAMP = struct.Struct("@qq")
_large: WeakValueDictionary[int, Timeline] = WeakValueDictionary()
"""The answers of this process that are not small, by id. An answer leaves it when its Timeline is deleted."""
_ANCILLARY = plain_socket.CMSG_SPACE(_STAMP.size)


class Failure(Exception):
    """How a request ended before its time: an error kind and what is to be said."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


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


@dataclass(frozen=True)
class Listener:
    """What the one who asked wants to know of the body while it comes."""

    has_token: Callable[[bytes], bool] | None = None
    """Whether it holds a token yet; None: it is not streamed, and may take until the total time-out."""
    take: Callable[[Timeline], bool] = lambda timeline: False
    """Reads a slice of a long stream and lets it go; False where there was none to take."""


class _Response(HTTPResponse):
    """llhttp's view of a response: head and body go straight into a Timeline, up to the end of the final answer."""

    feed = HTTPResponseParser.feed  # type: ignore[assignment]  # without what HTTPResponse does about answers to HEAD
    _on_body: Callable[[bytearray], None]  # type: ignore[assignment]  # called with each piece of the body

    def __init__(self, timeline: Timeline) -> None:
        super().__init__(method="POST", headers_type=Headers)
        self._timeline = timeline
        self._on_body = timeline.body.extend  # in C all the way: it is called for every token
        self._decoder: Decoder | None = None
        """Of a body that is encoded."""
        self.encoded_bytes = 0
        """Bytes of an encoded body, before decoding."""
        self.idle_bytes = 0
        """Bytes of the last reads in a row that brought no body: headers, trailers, extensions of chunks."""
        self.body_bytes = 0
        self.begun = False
        """The final response's headers are there: interim ones (1xx) do not count."""
        self.over = False
        self.reusable = False
        """The connection may carry another request."""

    def _on_message_begin(self) -> None:
        if self.over:  # nobody asked for another answer
            self.reusable = False
        super()._on_message_begin()

    def _on_headers_complete(self) -> int | bool | None:
        skip_body = super()._on_headers_complete()
        status = self.get_code()
        if status >= 200 and not self.over:
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

    def let_go(self) -> None:
        """Release the answer. The decoder and this response refer to each other, which would keep both in memory."""
        self._on_body, self._decoder = _ignore, None

    def _header(self, name: str) -> str:
        """A header's value; of several with its name, all with commas between them."""
        value = self.get(name) or ""
        return ", ".join(value) if isinstance(value, list) else value

    def _on_message_complete(self) -> None:
        super()._on_message_complete()
        if self.begun and not self.over:
            self.over = True
            self._on_body = _ignore
            self.reusable = self.should_keep_alive()


def _ignore(buf: bytearray) -> None:
    """The body of an answer that nobody asked for."""


class Connection:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw = sock._sock  # noqa: SLF001  # gevent's own methods would wait in a greenlet
        self._raw.setblocking(False)
        self._raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _ask_for_stamps(self._raw)
        self._tls: ssl.SSLObject | None = None
        self.heard = False
        """Whether anything came since the last request was sent."""
        hub = gevent.get_hub()
        self._watcher = hub.loop.io(self._raw.fileno(), _READABLE, priority=_FIRST)
        self._writer = hub.loop.io(self._raw.fileno(), _WRITABLE)
        self._unsent = memoryview(b"")
        """Bytes that the kernel has not accepted yet."""
        self._is_cut_off = False
        """The server accepts no more of the request. Its answer is still read."""
        self._polls = polls_of(hub)
        self._awake = Event()

    def handshake(self, context: ssl.SSLContext, host: str) -> None:
        """TLS over two memory buffers, so that the socket stays ours to read, with its arrival times."""
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
        """Nothing is waiting though nothing was asked: else the server closed it, or it is out of step."""
        try:
            # Locust's own check uses select and so fails from file descriptor 1024 on
            while True:
                data = self._raw.recv(_READ)
                if self._tls is None or self._decrypted(data):  # TLS may have something of its own to say
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
        """Send, then read until the response is over. Returns whether the connection can be used again."""
        self._timeline = timeline
        self._response = _Response(timeline)
        self._head = b""
        """What has come until the head of the response was there."""
        self._is_refused = False
        """The parser does not take this head as it is."""
        self._has_token = listener.has_token
        self._take_slice = listener.take
        self._timeouts = timeouts
        self._problem: BaseException | None = None
        self.heard = False
        self._is_cut_off = self._ended = self._is_paused = False
        self._paused_from = _PAUSED_AFTER
        """How many bytes of the body may be there before reading pauses."""
        self._unweighed = 0
        try:
            self._send(timeline, wire)
            self._watcher.start(self._on_readable)
            self._wait_for_the_end()
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
            self._response.let_go()
            del self._timeline, self._response, self._has_token, self._take_slice

    def _send(self, timeline: Timeline, wire: bytes) -> None:
        if self._tls is not None:
            self._tls.write(wire)
            wire = self._outgoing.read()
        # kernel stamps are wall-clock time; this request's are told in the monotonic clock's
        self._from_wall = wall_minus()
        self._last = self._empty = perf_counter_ns()
        """When the server was heard of last, and when the socket was last known to be empty."""
        if not timeline.follows:
            timeline.sent_ns = self._last
        self._unsent = memoryview(bytes(self._unsent) + wire if self._unsent else wire)
        self._push()

    def _push(self) -> None:
        """Send as much as the kernel accepts now; the event loop sends the rest. Meanwhile the answer is read and time-outs
        apply: a server may answer before it has read the request, or never read it.
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

    def _wait_for_the_end(self) -> None:
        while not self._ended:
            deadline, kind, length = self._nearest()
            left = deadline - perf_counter_ns() / _NS
            if left <= 0:
                raise Failure(kind, f"nothing within {length:g} s")
            self._awake.clear()
            self._awake.wait(left)
            while not self._ended and perf_counter_ns() / _NS < deadline and self._take_slice(self._timeline):
                gevent.sleep(0)  # the others' bytes first
            if self._timeline.failure:  # it is too large to be read
                raise Failure(self._timeline.failure, self._timeline.detail)
            if self._is_paused and not self._ended:
                self._is_paused, self._paused_from = False, len(self._timeline.body) + _PAUSED_AFTER
                self._watcher.start(self._on_readable)

    def _nearest(self) -> tuple[float, str, float]:
        """The time-out that comes next: when, its error kind, its length."""
        limits, sent, last = self._timeouts, self._timeline.sent_ns / _NS, self._last / _NS
        total = (sent + limits.total, "timeout_total", limits.total)
        if self._has_token is not None:
            return min(total, (sent + limits.first_token, "timeout_first_token", limits.first_token))
        if self._response.begun:
            return min(total, (last + limits.stall, "timeout_stall", limits.stall))
        return total  # an answer in one piece: all of it may take its time

    # ── in the hub ──

    def _on_writable(self) -> None:
        """Called by the event loop, as `_on_readable` is."""
        try:
            self._push()
        except OSError as problem:
            self._end(Failure(kind_of(problem, otherwise="reset"), plain_words(problem)))

    def _on_readable(self) -> None:
        """Called by the event loop. Nothing may be raised here, and nothing may take long."""
        try:
            data, told, _, _ = self._raw.recvmsg(_READ, _ANCILLARY)
            now = perf_counter_ns()
            if told:
                seconds, ns = _STAMP.unpack(told[0][2])
                arrived = seconds * _NS + ns - self._from_wall
                if not self._empty - _CLOCK_WAS_SET <= arrived <= now + _CLOCK_WAS_SET:
                    arrived = self._after_a_set_clock(seconds * _NS + ns, now)
                self._timeline.clock = "kernel"
            else:
                arrived = now
            self._last = now
            if len(data) < _READ:
                self._empty = now
            look = self._polls.look
            if not look.first_read:
                look.first_read = now
            if arrived < look.first:  # noqa: PLR1730  # without a call: this is done for every token
                look.first = arrived
            for part in (data,) if self._tls is None else self._decrypted(data):
                self._take(part, arrived, now, look)
            if not self._response.over:
                return
            self._end()
        except BlockingIOError:
            return
        except OSError as problem:
            self._end(Failure(kind_of(problem, otherwise="reset"), plain_words(problem)))
        except BaseException as problem:  # the user's greenlet is where it belongs
            self._end(problem)

    def _end(self, problem: BaseException | None = None) -> None:
        self._problem = problem
        self._watcher.stop()
        self._writer.stop()
        self._ended = True
        self._awake.set()

    def _after_a_set_clock(self, stamp: int, now: int) -> int:
        """When that came which, by its stamp, came before it could or after it was read: did somebody set the clock?"""
        before, self._from_wall = self._from_wall, wall_minus()
        arrived = stamp - self._from_wall
        if abs(self._from_wall - before) < _CLOCK_WAS_SET:
            return arrived  # no: the process was put aside between reading the socket and the clock
        return arrived if self._empty <= arrived <= now else now  # yes, after the stamp

    def _decrypted(self, data: bytes) -> list[bytes]:
        """What a read brought of the plain stream: all of it as one piece, if any, and an empty one at the end."""
        assert self._tls is not None
        if not data:
            return [data]  # closed, in good order or not: what the framing says of it counts
        self._incoming.write(data)
        parts, closed = [], False
        try:
            # to be told by an exception that nothing is left costs as much as the decryption
            while self._incoming.pending and not closed:
                parts.append(self._tls.read(_RECORD))
                closed = not parts[-1]
        except ssl.SSLWantReadError:
            pass  # the rest of a record is still on its way
        if self._outgoing.pending:
            self._say_back()
        plain = b"".join(parts)
        found = [plain] if plain else []
        return [*found, b""] if closed else found

    def _say_back(self) -> None:
        """Send the messages of TLS itself, such as a change of keys, after the bytes that are not sent yet."""
        self._unsent = memoryview(bytes(self._unsent) + self._outgoing.read())
        self._push()

    def _take(self, data: bytes, arrived: int, now: int, look: Look) -> None:
        timeline = self._timeline
        before, encoded = len(timeline.body), self._response.encoded_bytes
        self.heard = self.heard or bool(data)
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
                timeline.looks.append(look)
        response = self._response
        brought = len(timeline.body) - before
        response.body_bytes += brought
        is_idle = not brought and response.encoded_bytes == encoded
        response.idle_bytes = response.idle_bytes + len(data) if is_idle else 0
        if response.idle_bytes > _MOST_HEADER_BYTES and not response.over:
            raise Failure("too_large", f"the headers of the answer were longer than {_MOST_HEADER_BYTES >> 10} KB")
        if not data and not response.over:
            raise _framing_failure(response, data, None)
        if self._has_token is not None and brought:
            self._look_for_token()
        if len(timeline.body) > _TAKEN_FROM:
            self._awake.set()  # long streams are read, and let go, while they come
            self._hold_back(len(timeline.body))
        if response.body_bytes + response.encoded_bytes > _MOST_BODY_BYTES:
            raise Failure("too_large", longer("the answer", _MOST_BODY_BYTES))
        self._unweighed += brought + OF_READ
        if self._unweighed > _SMALL:
            self._weigh()

    def _hold_back(self, unread: int) -> None:
        """Pause reading where much of the answer is not parsed yet; fail the answer where too much is not."""
        if unread > MAX_DOCUMENT:
            raise Failure("too_large", longer("the answer", MAX_DOCUMENT))
        if unread > self._paused_from and not self._response.over:
            self._watcher.stop()
            self._is_paused = True

    def _weigh(self) -> None:
        """Fail this answer if all large answers together take too much memory."""
        self._unweighed = 0
        if self._timeline.weight > _SMALL:
            _large[id(self._timeline)] = self._timeline
            if sum(each.weight for each in _large.values()) > _MOST_KEPT:
                words = f"the answers that this process reads at a time took more than {_MOST_KEPT >> 20} MB"
                raise Failure("client_limit", f"{words}: use more processes (--processes)")

    def _feed(self, data: bytes) -> None:
        """Parse what came. Of nothing, at the end of the connection, the parser knows whether that is an end."""
        response = self._response
        if not response.begun:
            self._head += data
        if self._is_refused:
            self._read_again(data)
            return
        was_over = response.over
        try:
            response.feed(data)
        except HTTPParseError as problem:
            if response.over:
                response.reusable = False
            elif response.begun or _TWO_LENGTHS not in str(problem):
                raise _framing_failure(response, data, problem) from None
            else:
                self._is_refused = True
                self._read_again(data)
        else:
            self._timeline.closed = response.over and not was_over and not data

    def _read_again(self, data: bytes) -> None:
        """Read a response whose head was refused once more, without its length, as soon as the head is there."""
        whole = _without_length(self._head)
        if not whole and data:
            return
        self._is_refused = False
        self._response = response = _Response(self._timeline)
        try:
            response.feed(whole)
        except HTTPParseError as problem:
            if not response.over:
                raise _framing_failure(response, self._head, problem) from None
        response.reusable = False  # a proxy may see the end of this response elsewhere

    def _look_for_token(self) -> None:
        timeline = self._timeline
        assert self._has_token is not None
        if (
            not timeline.is_answered
            or len(timeline.body) > _FIRST_TOKEN_WITHIN
            or self._has_token(bytes(timeline.body))
        ):
            self._has_token = None
            self._awake.set()  # another time-out counts from here on

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._sock.sendall(data)


def _ask_for_stamps(raw: plain_socket.socket) -> None:
    """Where the kernel has none to give, reads come without, and the clock is our own."""
    with suppress(OSError):
        raw.setsockopt(plain_socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def _framing_failure(response: _Response, data: bytes, problem: Exception | None) -> Failure:
    if data:
        return Failure("bad_stream", f"not HTTP: {problem.args[0] if problem and problem.args else problem}")
    if response.begun:
        return Failure("truncated", "the connection was closed in the middle of the answer")
    return Failure("reset", "the connection was closed before an answer")


_TWO_LENGTHS = "can't be present with"
"""In what the parser says of a head with Content-Length and Transfer-Encoding, in either order."""
_HEAD_ENDS = b"\r\n\r\n"
_INTERIM = re.compile(rb"HTTP/\S+ 1\d\d")
_LENGTH = re.compile(rb"\r\ncontent-length:[^\r\n]*(?=\r\n)", re.IGNORECASE)
_IN_CHUNKS = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)


def _without_length(wire: bytes) -> bytes:
    """A response without the length in its head, where chunks tell its end too: they win (RFC 9112, 6.3). Empty where
    the head is not whole.
    """
    begin, end = 0, wire.find(_HEAD_ENDS)
    while end >= 0 and _INTERIM.match(wire, begin):  # which has another response behind it
        begin, end = end + len(_HEAD_ENDS), wire.find(_HEAD_ENDS, end + len(_HEAD_ENDS))
    if end < 0:
        return b""
    head = wire[begin:end]
    if _IN_CHUNKS.search(head):
        head = _LENGTH.sub(b"", head + b"\r\n")[:-2]
    return wire[:begin] + head + wire[end:]


_SKEW = 2.0
"""Seconds: clocks further apart than this are not one clock; dates of HTTP have whole seconds."""
_LONGEST_WAIT = 1e9


def _retry_after(header: Callable[[str], str]) -> float | None:
    """Seconds after which the server wants to be asked again, which it says in seconds or as a date (RFC 9110, 10.2.3);
    None where it does not say so.
    """
    told = header("retry-after").strip()
    milliseconds = _number(header("retry-after-ms").strip())  # which some servers send besides
    if milliseconds is not None:
        return milliseconds / 1000.0
    seconds = _number(told)
    if seconds is None and (when := _date(told)) is not None:
        now = time()
        servers = _date(header("date"))
        seconds = when - (now if servers is None or abs(servers - now) <= _SKEW else servers)
        seconds = max(0.0, seconds)
    return seconds if seconds is not None and seconds < _LONGEST_WAIT else None


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{0,9})?", text) else None


def _date(text: str) -> float | None:
    """A date of HTTP, in seconds since 1970."""
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
    def is_the_servers(self) -> bool:
        """The proxy reports that it reached no server (RFC 9110, 15.6)."""
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
"""Look-ups fail with these where the look-up itself lacks files or memory."""
_SERVER_CLOSED = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
_ABOUT_CERTIFICATES = ("CERTIFICATE", "UNKNOWN_CA")


def kind_of(problem: BaseException, *, otherwise: str = "connect", proxied: bool = False) -> str:
    """Return the error kind of a failed connection: whose failure it is.

    `otherwise` is the server's part: `connect` before the connection stands, `reset` after. `proxied` means that the
    connection to a proxy failed, or that the proxy did not open the way to the server.
    """
    if isinstance(problem, socket.gaierror):
        return _KIND_OF_LOOKUP.get(problem.errno or 0, "proxy" if proxied else "name_lookup")
    if isinstance(problem, UnicodeError):  # a name that cannot be one
        return "proxy" if proxied else "name_lookup"
    if isinstance(problem, ProxyAnswer):
        return otherwise if problem.is_the_servers else "proxy"
    if isinstance(problem, ssl.SSLError):
        return _kind_of_tls(problem, otherwise)
    # an errno of ssl.SSLError is one of OpenSSL's own numbers, so it is not looked up here
    kind = _KIND_OF_ERRNO.get(getattr(problem, "errno", None) or 0)
    if kind == "client_limit":
        return kind
    return "proxy" if proxied else kind or otherwise


def _kind_of_tls(problem: ssl.SSLError, otherwise: str) -> str:
    """Return `tls` where the two sides do not agree, and the server's kind where it gave up or hung up."""
    reason = getattr(problem, "reason", "") or ""  # an error that OpenSSL did not raise has none
    if isinstance(problem, ssl.SSLCertVerificationError) or any(word in reason for word in _ABOUT_CERTIFICATES):
        return "tls"
    if isinstance(problem, _SERVER_CLOSED) or "INTERNAL_ERROR" in reason or "EOF" in reason or otherwise == "reset":
        return otherwise
    return "tls"


def plain_words(problem: Exception) -> str:
    """An OS error's words without its numbers."""
    if isinstance(problem, socket.gaierror):
        return f"the host's name is not known ({problem.strerror})"
    if isinstance(problem, ssl.SSLError):
        return f"TLS: {getattr(problem, 'reason', None) or problem}"
    if isinstance(problem, OSError) and problem.errno is not None and problem.errno in errno.errorcode:
        return f"{problem.strerror} ({errno.errorcode[problem.errno]})"
    return str(problem) or type(problem).__name__
