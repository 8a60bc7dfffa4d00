"""Readers that follow one HTTP message in the bytes of a connection, without changing them.

httptools (llhttp) parses, but does not say where in the data a message ends. So it gets the data in pieces that end where
something may end: at a line feed, or at the last byte of a body of known length. After each piece, its state is exact.
"""

from __future__ import annotations

from collections.abc import Iterator

import httptools

HEAD_LIMIT = 256 * 1024


class NotHttp(Exception):
    """The bytes are no HTTP/1 message, or one with a head that is too large to wait for."""


class _Message:
    """A message, of which httptools calls the on_… methods."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        """The last value of each header, by its name in lower case."""
        self.head_complete = False
        self.complete = False
        self.body_bytes = 0
        """Bytes of the body so far, without the framing of chunks."""
        self.piece = b""
        """The bytes of the body in the last piece, which are the first bytes of that piece."""
        self._data, self._place = b"", 0
        self._head_bytes = 0
        self._left: int | None = None
        """Bytes of the body that are missing, if its length is known."""

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.head_complete = True
        length = self.headers.get("content-length", "")
        if "transfer-encoding" not in self.headers and length.isdigit():
            self._left = int(length)

    def on_body(self, body: bytes) -> None:
        self.piece += body
        self.body_bytes += len(body)
        if self._left is not None:
            self._left -= len(body)

    def on_message_complete(self) -> None:
        self.complete = True


class MessageReader(_Message):
    """Splits data into pieces, and parses each. `by_line` also splits bodies that need not be split to find their end."""

    _parser: httptools.HttpRequestParser | httptools.HttpResponseParser
    by_line = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield pieces of the data; after each, the fields describe the message up to its end. Stops at the end of the
        message, after which `rest` is the data that is left. Raises NotHttp.
        """
        self._data, self._place = data, 0
        while self._place < len(data) and not self.complete:
            end = self._end(data, self._place)
            piece = data[self._place : end]
            self.feed(piece)
            self._place = end
            yield piece

    @property
    def rest(self) -> bytes:
        """The data after the end of the message; after NotHttp, that which no piece contained."""
        return self._data[self._place :]

    def feed(self, piece: bytes) -> None:
        """Parse one piece. Raises NotHttp."""
        self.piece = b""
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self.complete = True
        except httptools.HttpParserError as problem:
            raise NotHttp(str(problem)) from None
        if not self.head_complete:
            self._head_bytes += len(piece)
            if self._head_bytes > HEAD_LIMIT:
                raise NotHttp("the head is too large")

    def _end(self, data: bytes, place: int) -> int:
        """Return the end of the piece that begins at this place."""
        if self.head_complete and not self.by_line:
            return len(data) if self._left is None else min(place + self._left, len(data))
        line_end = data.find(b"\n", place) + 1 or len(data)
        return line_end if self._left is None else min(line_end, place + self._left)


class RequestReader(MessageReader):
    """Follows a request."""

    _parser: httptools.HttpRequestParser

    def __init__(self) -> None:
        super().__init__()
        self._parser = httptools.HttpRequestParser(self)
        self.method = ""
        self.keeps_alive = False
        """Whether the connection may be used again, once the request is complete."""

    def on_headers_complete(self) -> None:
        """Split bodies of chunks: the next request may follow in the same data."""
        super().on_headers_complete()
        self.by_line = self._left is None
        self.method = self._parser.get_method().decode("latin-1")

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.keeps_alive = self._parser.should_keep_alive()

    @property
    def waits(self) -> bool:
        """Whether the client waits for a status before it sends the body."""
        return self.headers.get("expect", "").lower() == "100-continue"


class ResponseReader(MessageReader):
    """Follows a response. One to a HEAD request has no body, whatever its headers say."""

    _parser: httptools.HttpResponseParser

    def __init__(self, *, has_body: bool) -> None:
        super().__init__()
        self._has_body = has_body
        self.status = 0
        self._parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.status = self._parser.get_status_code()
        if not self._has_body:
            self.complete = True

    @property
    def is_interim(self) -> bool:
        """Whether another response to the same request follows."""
        return 100 <= self.status < 200 and self.status != 101


class TokenCounter:
    """Counts the tokens in the body of a stream: events with data (SSE), or lines (NDJSON). Other bodies, and compressed ones,
    have none.

    The event [DONE] is no token.
    """

    def __init__(self, headers: dict[str, str]) -> None:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        is_readable = headers.get("content-encoding", "identity").lower() == "identity"
        self._is_sse = kind == "text/event-stream" and is_readable
        self._is_lines = ("ndjson" in kind or "jsonl" in kind or "json-lines" in kind) and is_readable
        self.tokens = 0
        self.is_stream = self._is_sse or self._is_lines
        self._line = b""
        """The beginning of the line that has not ended yet."""
        self._has_data = False

    def feed(self, body: bytes) -> None:
        """Count in a piece of the body that has at most one line feed, at its end."""
        if len(self._line) < 64:
            self._line += body[:64]
        if not body.endswith(b"\n"):
            return
        line, self._line = self._line.strip(), b""
        if self._is_lines:
            self.tokens += bool(line)
        elif self._is_sse and not line:
            self.tokens += self._has_data
            self._has_data = False
        elif line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
            self._has_data = True
