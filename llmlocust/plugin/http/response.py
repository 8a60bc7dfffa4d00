"""`AnswerParser`: puts the body of a response into a `Timeline`. llhttp parses the framing, from geventhttpclient."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from time import time
from weakref import WeakValueDictionary

from geventhttpclient._parser import HTTPParseError, HTTPResponseParser
from geventhttpclient.header import Headers
from geventhttpclient.response import HTTPResponse

from llmlocust.plugin.http.failures import Failure
from llmlocust.stream.content_encodings import Decoder, Undecodable
from llmlocust.stream.limits import MAX_DOCUMENT, TooLarge, longer
from llmlocust.stream.timeline import OF_READ, Timeline
from llmlocust.text.urls import shown

_MAX_HEADER_BYTES = 65536
_MAX_BODY_BYTES = 256 << 20
"""Bytes of an answer. A stream is parsed and released while it arrives."""
MAX_KEPT = 256 << 20
"""Bytes of memory for all answers of a process that are larger than _SMALL."""
_SMALL = 1 << 20
_large: WeakValueDictionary[int, Timeline] = WeakValueDictionary()
"""The answers of this process that are larger than _SMALL, by id. An answer is removed when its Timeline is deleted."""


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
        if not 200 <= status < 300:  # each look-up costs as much as a chunk
            timeline.location = self._header("location")
            timeline.retry_after = _retry_after(self._header)
            timeline.should_retry = self._header("x-should-retry")
        if 300 <= status < 400:
            timeline.detail = f"a redirect to {shown(timeline.location) or 'nowhere'}"
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


def out_of_memory() -> Failure:
    """Return the failure of an answer for which all answers of the process leave no memory."""
    message = f"the answers that this process reads at a time took more than {MAX_KEPT >> 20} MB"
    return Failure("client_limit", f"{message}: use more processes (--processes)")


class AnswerParser:
    """Parses the bytes of one response, in any pieces, into a Timeline."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._response = _Response(timeline)
        self._head = b""
        """The bytes up to the end of the response's head."""
        self._is_refused = False
        """Whether the parser refuses this head unchanged."""
        self._unchecked = 0

    @property
    def begun(self) -> bool:
        """Whether the head of the final response has arrived."""
        return self._response.begun

    @property
    def ended(self) -> bool:
        """Whether the response has ended, by its framing."""
        return self._response.ended

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request."""
        return self._response.reusable

    def release(self) -> None:
        """Release the answer, which the decoder of an encoded body would keep in memory."""
        self._response.release()

    def take(self, data: bytes) -> int:
        """Parse a piece of the response; an empty one is the end of the connection. Returns the bytes that the body grew by.
        Raises Failure; the Timeline keeps the body up to there.
        """
        body = self._timeline.body
        before, encoded = len(body), self._response.encoded_bytes
        try:
            self._feed(data)
        except Undecodable as problem:
            raise Failure("bad_stream", str(problem)) from None
        except TooLarge as problem:
            raise Failure("too_large", str(problem)) from None
        response = self._response
        new_bytes = len(body) - before
        response.body_bytes += new_bytes
        is_idle = not new_bytes and response.encoded_bytes == encoded
        response.idle_bytes = response.idle_bytes + len(data) if is_idle else 0
        if response.idle_bytes > _MAX_HEADER_BYTES and not response.ended:
            raise Failure("too_large", f"the headers of the answer were longer than {_MAX_HEADER_BYTES >> 10} KB")
        if not data and not response.ended:
            raise _framing_failure(response, data, None)
        if response.body_bytes + response.encoded_bytes > _MAX_BODY_BYTES:
            raise Failure("too_large", longer("the answer", _MAX_BODY_BYTES))
        return new_bytes

    def check_memory(self, new_bytes: int, reads: int) -> None:
        """Raise Failure if all large answers of the process together take too much memory."""
        self._unchecked += new_bytes + OF_READ * reads
        if self._unchecked <= _SMALL:
            return
        self._unchecked = 0
        if self._timeline.weight > _SMALL:
            _large[id(self._timeline)] = self._timeline
            if sum(timeline.weight for timeline in _large.values()) > MAX_KEPT:
                raise out_of_memory()

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
