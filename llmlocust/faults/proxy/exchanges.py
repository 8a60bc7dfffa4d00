"""Exchange: one request and its response, followed so that faults can act on single requests.

Its bytes are forwarded as they are. A request of the same connection that is sent before this exchange has ended waits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Protocol

from llmlocust.faults.proxy.active import ActiveFault
from llmlocust.faults.proxy.buffers import Buffer
from llmlocust.faults.proxy.faults import REQUESTS
from llmlocust.faults.proxy.links import Link
from llmlocust.faults.proxy.messages import NotHttp, RequestReader, ResponseReader, TokenCounter
from llmlocust.faults.proxy.settings import State

_OF_EXCHANGES = ("cut", "status", "buffer")
"""Kinds that act on each exchange of a connection for which they were drawn."""


class Channel(Protocol):
    """The connection of an exchange."""

    state: State
    faults: list[ActiveFault]
    up: Link
    down: Link

    def shape(self) -> None:
        """Note that the faults of the exchange have changed."""

    def rewritten(self, head: bytes) -> bytes:
        """Return the head of a request as the server should get it."""

    def end_exchange(self) -> None:
        """Go on with the next request."""

    def tunnel(self) -> None:
        """Follow no further requests."""

    def reset(self, active: ActiveFault) -> None: ...
    def close(self) -> None: ...
    def abort_upstream(self) -> None: ...


class Exchange:
    """Draws the faults of a request when its head is complete, and carries out those that concern HTTP."""

    def __init__(self, connection: Channel) -> None:
        self._connection = connection
        self._request = RequestReader()
        self._response: ResponseReader | None = None
        """None until the request is forwarded."""
        self._head = b""
        self.faults: list[ActiveFault] = []
        """The faults of this request, and those of its connection that act on exchanges."""
        self._status: ActiveFault | None = None
        self._cut: ActiveFault | None = None
        self._tokens: TokenCounter | None = None
        self._buffer: Buffer | None = None
        self._has_ended = False

    @property
    def kept(self) -> int:
        """Bytes that a buffer keeps."""
        return self._buffer.size if self._buffer else 0

    # the request

    def client_data(self, data: bytes) -> bytes:
        """Take data of the client, and return the data that belongs to later requests. Raises NotHttp."""
        request = self._request
        if request.complete:
            return data
        for piece in request.pieces(data):
            if self._response:
                self._connection.up.forward(piece)
            elif not self._status:
                self._head += piece
                if request.head_complete:
                    self._begin()
            if self._has_ended:  # by a fault
                return b""
        if not request.complete:
            return b""
        rest = request.rest
        if self._status:
            self._answer(self._status)
        self._end_if_complete()
        return rest

    def unsent(self) -> bytes:
        """Return the data of the client that was not forwarded because of NotHttp."""
        return self._head + self._request.rest

    def _begin(self) -> None:
        """Draw the faults. Forward the head of the request unless a fault keeps it."""
        connection, request = self._connection, self._request
        if request.method == "CONNECT":
            raise NotHttp("a tunnel")
        connection.state.counters.requests += 1
        drawn = [active for active in connection.state.faults if active.draw(REQUESTS)]
        self.faults = drawn + [active for active in connection.faults if active.kind in _OF_EXCHANGES]
        if reset := first_of(self.faults, "reset"):
            self._has_ended = True
            connection.reset(reset)
        elif status := first_of(self.faults, "status"):
            self._status, self._head = status, b""
            if request.waits:
                self._answer(status)
        else:
            self._prepare()
            connection.shape()
            connection.up.forward(connection.rewritten(self._head))
            self._head = b""

    def _prepare(self) -> None:
        """Prepare for a response."""
        self._response = ResponseReader(has_body=self._request.method != "HEAD")
        self._cut, self._tokens = first_of(self.faults, "cut"), None
        self._response.by_line = bool(self._cut)
        if active := first_of(self.faults, "buffer"):
            self._buffer = Buffer(active, self._connection.down.forward)

    def _answer(self, active: ActiveFault) -> None:
        """Answer the status of a fault. The request's body is not forwarded."""
        self._has_ended = True
        # a client that waits for 100 sends the body or not, so the next request could not be found
        closes = self._request.waits or not self._request.keeps_alive
        active.counters.act()
        status, statuses = str(active.fault.status), self._connection.state.counters.statuses
        statuses[status] = statuses.get(status, 0) + 1
        self._connection.down.forward(_response(active, has_body=self._request.method != "HEAD", closes=closes))
        self._connection.down.then(self._connection.close if closes else self._connection.end_exchange)

    # the response

    def upstream_data(self, data: bytes) -> None:
        """Take data of the server. Raises NotHttp."""
        response = self._response
        if self._has_ended:
            return
        if not response or response.complete:
            self._connection.down.forward(data)  # such as a server's 408: it belongs to no request of ours
        elif response.head_complete and not self._cut and not self._buffer:
            self._connection.down.forward(data)  # first: its parsing must not make it late
            response.feed(data)
        else:
            self._follow(response, data)
        self._end_if_complete()

    def _follow(self, response: ResponseReader, data: bytes) -> None:
        """Send data piece by piece, up to the place of a cut."""
        pieces: list[bytes] = []
        end: int | None = None
        try:
            for piece in response.pieces(data):
                if (end := self._cut_at(response, piece)) is not None:
                    pieces.append(piece[:end])
                    break
                pieces.append(piece)
        except NotHttp:
            pieces.append(response.rest)
            raise
        finally:
            self._send(b"".join(pieces))
        if end is not None:
            self._carry_out_cut()
        elif response.complete:
            self._on_response_complete(response)

    def _send(self, data: bytes) -> None:
        if self._buffer:
            self._buffer.add(data)
        else:
            self._connection.down.forward(data)

    def _on_response_complete(self, response: ResponseReader) -> None:
        rest = response.rest
        self._flush()
        if response.status == 101:
            self._connection.tunnel()
        elif response.is_interim:
            self._prepare()
            if rest:
                assert self._response
                self._follow(self._response, rest)
            return
        if rest:
            self._connection.down.forward(rest)

    def _cut_at(self, response: ResponseReader, piece: bytes) -> int | None:
        """Return the number of bytes of a piece that are still sent, if the response is cut in it."""
        if not self._cut or not response.head_complete or response.is_interim:
            return None
        fault, body = self._cut.fault, response.piece
        if fault.tokens is None:
            is_reached = response.body_bytes >= fault.size
            end = int(fault.size) - response.body_bytes + len(body)
        else:
            self._tokens = self._tokens or TokenCounter(response.headers)
            self._tokens.feed(body)
            is_reached = self._tokens.is_stream and self._tokens.tokens >= fault.tokens
            end = len(body)
        if not is_reached or (response.complete and end == len(body)):
            return None
        return end if body else len(piece)  # without a body, the piece is the end of the head

    def _carry_out_cut(self) -> None:
        assert self._cut
        self._has_ended = True
        self._cut.counters.act()
        self._flush()
        self._connection.abort_upstream()
        self._connection.down.then(self._connection.close)

    def _flush(self) -> None:
        if self._buffer:
            self._buffer.flush()

    def upstream_eof(self) -> None:
        """Send the bytes that a buffer keeps: the server sends no more."""
        self._flush()

    # the end

    def remove(self, active: ActiveFault) -> None:
        """Let a fault act no longer; a status that is due is still answered."""
        if active not in self.faults:
            return
        self.faults.remove(active)
        if active is self._cut:
            self._cut = None
        if self._buffer and active is self._buffer.active:
            self._flush()
            self._buffer = None

    def give_up(self) -> None:
        """Let no fault act any longer."""
        for active in list(self.faults):
            self.remove(active)

    def close(self) -> None:
        """Forget the data that a buffer keeps."""
        self._has_ended = True
        if self._buffer:
            self._buffer.close()

    def _end_if_complete(self) -> None:
        if self._has_ended or not self._request.complete or not self._response or not self._response.complete:
            return
        self._has_ended = True
        self._connection.down.then(self._connection.end_exchange)


def first_of(faults: Iterable[ActiveFault], kind: str) -> ActiveFault | None:
    return next((active for active in faults if active.kind == kind), None)


def _response(active: ActiveFault, *, has_body: bool, closes: bool) -> bytes:
    """Return the response of a status: an error document as OpenAI's API has it."""
    fault = active.fault
    try:
        phrase = HTTPStatus(fault.status).phrase
    except ValueError:
        phrase = "Unknown"
    error = {"message": f"{phrase} (fault of llmlocust proxy)", "type": "llmlocust_fault", "code": fault.status}
    body = json.dumps({"error": error}).encode()
    lines = [f"HTTP/1.1 {fault.status} {phrase}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    if fault.retry_after is not None:
        lines.append(f"Retry-After: {fault.retry_after}")
    if closes:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + (body if has_body else b"")
