"""Connection: a client's connection and the one to the server that belongs to it.

Without a fault that needs single requests, the bytes of a connection are only forwarded. With one, each request that begins
from then on is followed as an Exchange; a request that is in flight already is not.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from llmlocust.faults.proxy.active import ActiveFault
from llmlocust.faults.proxy.exchanges import Exchange, first_of
from llmlocust.faults.proxy.faults import DOWNSTREAM, UPSTREAM
from llmlocust.faults.proxy.links import Link
from llmlocust.faults.proxy.messages import NotHttp
from llmlocust.faults.proxy.settings import State

_CONNECT_SECONDS = 30.0
_REQUEST = re.compile(rb"[A-Z]{3,16} \S{1,8192} HTTP/1\.[01]\r?\n")
"""The beginning of a request. Data that follows a request whose end is not known is a new one if it begins like this."""
_HOST = re.compile(rb"(?im)^host:[^\r\n]*")
RESET = struct.pack("ii", 1, 0)
"""Value of SO_LINGER with which a socket is closed by a RST."""


class Side(asyncio.Protocol):
    """One of the two TCP connections. Reading pauses while there is a reason."""

    transport: asyncio.Transport

    def __init__(
        self, receive: Callable[[bytes], None], on_eof: Callable[[], None], on_lost: Callable[[Exception | None], None]
    ) -> None:
        self._receive, self._on_eof, self._on_lost = receive, on_eof, on_lost
        self._reasons: set[str] = set()
        self.is_open = False
        self.feeder: Side | None = None
        """The side whose data is written to this one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.is_open = True
        if self._reasons:
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self._receive(data)

    def eof_received(self) -> bool:
        self._on_eof()
        return self.transport.can_write_eof()  # TLS cannot be closed in one direction

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._on_lost(exc)

    def pause_writing(self) -> None:
        if self.feeder:
            self.feeder.pause("unread")

    def resume_writing(self) -> None:
        if self.feeder:
            self.feeder.resume("unread")

    def pause(self, reason: str) -> None:
        """Stop reading until `resume` is called for each reason."""
        if not self._reasons and self.is_open:
            self.transport.pause_reading()
        self._reasons.add(reason)

    def resume(self, reason: str) -> None:
        if reason in self._reasons:
            self._reasons.remove(reason)
            if not self._reasons and self.is_open:
                self.transport.resume_reading()

    def finish(self) -> None:
        """Send the end of the data."""
        if self.is_open and self.transport.can_write_eof():
            with suppress(OSError):  # the other end has reset the connection, which is about to be noticed
                self.transport.write_eof()
        else:
            self.close()

    def close(self) -> None:
        if self.is_open:
            self.transport.close()

    def abort(self) -> None:
        if self.is_open:
            self.transport.abort()

    def reset(self) -> None:
        """Close with a RST; bytes that were not sent are lost."""
        if self.is_open:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()


class Connection:
    """Forwards between a client and the server, as the faults say that were drawn for it."""

    def __init__(self, state: State, faults: list[ActiveFault], forget: Callable[[Connection], None]) -> None:
        """`forget` is called when the client's side has ended."""
        self.state, self.faults, self._forget = state, faults, forget
        self._loop = asyncio.get_running_loop()
        self.client = Side(self._on_client_data, self._on_client_eof, self._on_client_lost)
        self.upstream = Side(self._on_upstream_data, self._on_upstream_eof, self._on_upstream_lost)
        self.client.feeder, self.upstream.feeder = self.upstream, self.client
        self.up, self.down = Link(UPSTREAM, self.client), Link(DOWNSTREAM, self.upstream)
        self._exchange: Exchange | None = None
        self._ended_faults: list[ActiveFault] = []
        """Faults of the exchange that has ended, until the next one begins."""
        self._pending = b""
        """Data of the client that belongs to later requests."""
        self._is_opaque = False
        """No request of this connection can be followed any longer."""
        self._is_between = True
        """No byte has come since a place where a request begins."""
        self._eofs = 0
        self._client_has_ended = False
        self.shape()

    async def open(self, accepted: socket.socket) -> None:
        """Take a connection that was accepted, and open the one to the server."""
        settings = self.state.settings
        self.client.pause("connecting")
        try:
            await self._loop.connect_accepted_socket(lambda: self.client, accepted, ssl=settings.client_tls)
        except (OSError, asyncio.CancelledError):  # a TLS handshake that failed
            accepted.close()
            self._on_client_lost(None)
            return
        self.down.connect(self.client.transport)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._loop.create_connection(
                    lambda: self.upstream, settings.upstream_host, settings.upstream_port, ssl=settings.upstream_tls
                )
        except (OSError, TimeoutError) as problem:
            self.state.count_failure(problem)
            self.client.reset()
            return
        if not self.client.is_open:
            self.upstream.abort()
            return
        self.up.connect(self.upstream.transport)
        self.client.resume("connecting")

    # faults

    def add(self, active: ActiveFault) -> None:
        """Let a fault act on this connection from now on."""
        self.faults.append(active)
        if active.kind == "reset":
            self.reset(active)
        else:
            self.shape()

    def remove(self, active: ActiveFault) -> None:
        """Let a fault act no longer."""
        if active in self.faults:
            self.faults.remove(active)
        if active in self._ended_faults:
            self._ended_faults.remove(active)
        if active.kind == "slow_close":
            self.down.hasten()
        if self._exchange:
            self._exchange.remove(active)
        self.shape()

    def shape(self) -> None:
        """Shape both directions by the faults of the connection and of its request."""
        faults = [*self.faults, *(self._exchange.faults if self._exchange else ())]
        self.up.shape(faults)
        self.down.shape(faults)

    def reset(self, active: ActiveFault) -> None:
        """Reset the connection because of a fault."""
        active.counters.act()
        self.client.reset()
        self.upstream.abort()

    def abort(self) -> None:
        """Close both sides; bytes that were not sent are lost."""
        self.client.abort()
        self.upstream.abort()

    def close(self) -> None:
        """Close the client's side when its bytes are sent."""
        self.client.close()

    def abort_upstream(self) -> None:
        self.upstream.abort()

    @property
    def waiting(self) -> int:
        """Bytes that faults keep."""
        return self.up.queued + self.down.queued + (self._exchange.kept if self._exchange else 0)

    # data

    def _on_client_data(self, data: bytes) -> None:
        if reset := first_of(self.faults, "reset"):
            self.reset(reset)
        elif self._exchange or self._begins(data):
            self._follow(data)
        else:
            self.up.forward(data)

    def _begins(self, data: bytes) -> bool:
        """Return whether data begins a request that is to be followed. Count a request that is not."""
        if self._is_opaque:
            return False
        is_request = bool(_REQUEST.match(data))
        if self.state.follows_requests:
            return is_request or self._is_between
        self.state.counters.requests += is_request
        self._is_between = False
        return False

    def _follow(self, data: bytes) -> None:
        if not self._exchange:
            self._exchange, self._is_between, self._ended_faults = Exchange(self), False, []
        try:
            rest = self._exchange.client_data(data)
        except NotHttp:
            unsent = self._exchange.unsent()
            self._give_up()
            self.up.forward(unsent)
            return
        if rest:
            self._pending += rest
            self.client.pause("pipelined")

    def _on_upstream_data(self, data: bytes) -> None:
        if not self._exchange:
            self.down.forward(data)
            return
        try:
            self._exchange.upstream_data(data)
        except NotHttp:
            self._give_up()

    def end_exchange(self) -> None:
        """Go on with the next request."""
        # not at once: a client may have sent thousands of requests in advance
        self._loop.call_soon(self._begin_next)

    def _begin_next(self) -> None:
        if not self._exchange or not self.client.is_open:
            return
        self._ended_faults, self._exchange, self._is_between = self._exchange.faults, None, True
        self.shape()
        if pending := self._pending:
            self._pending = b""
            self._on_client_data(pending)
        if not self._pending:
            self.client.resume("pipelined")
            if self._client_has_ended:
                self.up.then(self._finish_upstream)

    def _give_up(self) -> None:
        """Forward everything from now on, without following requests: the bytes are no HTTP/1."""
        self.state.counters.unparsed += 1
        self.tunnel()

    def tunnel(self) -> None:
        """Forward everything from now on, as after an upgrade to another protocol."""
        self._is_opaque = True
        if self._exchange:
            self._exchange.give_up()
            self._exchange = None
        self.shape()
        if pending := self._pending:
            self._pending = b""
            self.up.forward(pending)
        self.client.resume("pipelined")

    def rewritten(self, head: bytes) -> bytes:
        """Return the head of a request with the server's name in its Host header, if the settings ask for that."""
        host = self.state.settings.host_header
        return _HOST.sub(b"Host: " + host, head, count=1) if host else head

    # ends

    def _on_client_eof(self) -> None:
        if self._pending:
            self._client_has_ended = True
        else:
            self.up.then(self._finish_upstream)

    def _on_upstream_eof(self) -> None:
        if self._exchange:
            self._exchange.upstream_eof()
        self.down.then(self._finish_client, self._slowness())

    def _slowness(self) -> float:
        """Return the seconds by which faults delay the close of the connection."""
        exchange = self._exchange.faults if self._exchange else self._ended_faults
        slow = first_of((*self.faults, *exchange), "slow_close")
        if not slow:
            return 0.0
        slow.counters.act()
        return slow.fault.seconds

    def _finish_upstream(self) -> None:
        self.upstream.finish()
        self._count_eof()

    def _finish_client(self) -> None:
        self.client.finish()
        self._count_eof()

    def _count_eof(self) -> None:
        self._eofs += 1
        if self._eofs == 2:
            self.client.close()
            self.upstream.close()

    def _on_client_lost(self, problem: Exception | None) -> None:
        if problem:
            self.upstream.abort()
        else:
            self.upstream.close()
        if self._exchange:
            self._exchange.close()
        self.up.close()
        self.down.close()
        self._forget(self)

    def _on_upstream_lost(self, problem: Exception | None) -> None:
        self.down.then(self.client.reset if problem else self.client.close)
