"""A connection: it sends a request and reads the response, with the time at which each of its bytes arrived.

There are two readers, with the same results: `NativeConnection` (native.py), whose thread needs no interpreter, and
`LoopConnection` (loop.py), which reads in the event loop and is used where the native one is not available.
"""

from __future__ import annotations

import errno
import socket as plain_socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from gevent import socket

from llmlocust.plugin.http.failures import Failure, kind_of, plain_words
from llmlocust.plugin.http.response import AnswerParser
from llmlocust.stream.limits import MAX_DOCUMENT, longer
from llmlocust.stream.reading import SLICE
from llmlocust.stream.timeline import Timeline

READ = 65536
_RECORD = 16384
"""Maximum bytes of a TLS record."""
TAKEN_FROM = 4 * SLICE
"""Bytes. A larger body is parsed in slices before it has ended."""
_MAX_FIRST_TOKEN_BYTES = 65536
"""Bytes of a body that are searched for its first token. If the body is longer, the token counts as arrived."""
NS = 1_000_000_000


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


class Connection(ABC):
    """A connection to the server, or to a proxy in front of it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw: plain_socket.socket = sock._sock  # noqa: SLF001  # gevent's own methods would wait in a greenlet
        self._raw.setblocking(False)
        self._raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls: ssl.SSLObject | None = None
        self.connect: float | None = None
        """Seconds that the connection took, until a request has noted them; `tls` are those of the handshake."""
        self.tls: float | None = None
        self.has_received = False
        """Whether any bytes have arrived since the last request was sent."""

    def handshake(self, context: ssl.SSLContext, host: str) -> None:
        """Begin TLS, over two memory buffers: we still read the socket ourselves, with its arrival times."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._sock.recv(READ)
                if not data:
                    raise ConnectionResetError(errno.ECONNRESET, "closed during the TLS handshake") from None
                self._incoming.write(data)
            else:
                self._flush()
                return

    @abstractmethod
    def is_open(self) -> bool:
        """Return whether the connection can be used: nothing arrived without a request, and the server has not closed it."""

    @abstractmethod
    def close(self) -> None: ...

    # ── a request and its response ──

    def exchange(self, timeline: Timeline, wire: bytes, timeouts: Timeouts, listener: Listener) -> bool:
        """Send a request and read until the response has ended. Returns whether the connection can be used again. Raises
        Failure.
        """
        self._timeline = timeline
        self._answer = AnswerParser(timeline)
        self._has_token = listener.has_token
        self._take_slice = listener.take
        self._timeouts = timeouts
        self.has_received = False
        try:
            return self._exchange(wire)
        except OSError as problem:
            raise Failure(kind_of(problem, otherwise="reset"), plain_words(problem)) from None
        finally:
            # a kept connection, and the traceback of a failure, would otherwise keep the answer in memory
            self._answer.release()
            del self._timeline, self._answer, self._has_token, self._take_slice

    @abstractmethod
    def _exchange(self, wire: bytes) -> bool:
        """Do what `exchange` says. An OSError is a failure of the connection."""

    def _nearest(self, last_read_ns: int) -> tuple[float, str, float]:
        """Return the next time-out: its moment, error kind, and length, in seconds."""
        limits, timeline, last = self._timeouts, self._timeline, last_read_ns / NS
        sent = (timeline.sent_ns or timeline.due_ns) / NS
        total = (sent + limits.total, "timeout_total", limits.total)
        if self._has_token is not None:
            return min(total, (sent + limits.first_token, "timeout_first_token", limits.first_token))
        if self._answer.begun:
            return min(total, (last + limits.stall, "timeout_stall", limits.stall))
        return total  # an answer in one piece has only the total time-out

    def _look_for_token(self) -> bool:
        """Return whether the first token has arrived since the last call: another time-out applies from then on."""
        timeline = self._timeline
        assert self._has_token is not None
        if (
            not timeline.is_answered
            or len(timeline.body) > _MAX_FIRST_TOKEN_BYTES
            or self._has_token(bytes(timeline.body))
        ):
            self._has_token = None
            return True
        return False

    def _check_unread(self) -> int:
        """Return the bytes of the body that are not parsed yet. Raises Failure if they are too many."""
        unread = len(self._timeline.body)
        if unread > MAX_DOCUMENT:
            raise Failure("too_large", longer("the answer", MAX_DOCUMENT))
        return unread

    # ── TLS ──

    def _decrypted(self, data: bytes) -> list[bytes]:
        """Return the plain bytes of a read as one piece, if there are any, and an empty piece at the end of the stream."""
        if not data:
            return [data]  # closed, properly or not: the framing decides whether the response is complete
        assert self._tls is not None
        self._incoming.write(data)
        records, closed = self._records()
        plain = b"".join(record for _, record in records)
        pieces = [plain] if plain else []
        return [*pieces, b""] if closed else pieces

    def _records(self) -> tuple[list[tuple[int, bytes]], bool]:
        """Return the plain bytes of all complete records, each with the bytes that had not been decrypted after it, and
        whether the server has ended the stream.
        """
        assert self._tls is not None
        records: list[tuple[int, bytes]] = []
        try:
            # `pending` avoids a last read whose exception would cost as much as the decryption
            while self._incoming.pending:
                record = self._tls.read(_RECORD)
                if not record:
                    return records, True
                records.append((self._incoming.pending, record))
        except ssl.SSLWantReadError:
            pass  # the rest of a record has not arrived yet
        finally:
            if self._outgoing.pending:
                self._send_tls_messages()
        return records, False

    @abstractmethod
    def _send_tls_messages(self) -> None:
        """Send the messages of TLS itself, such as a change of keys, after the bytes that are not sent yet."""

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._sock.sendall(data)
