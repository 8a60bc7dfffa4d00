"""Content encodings: decoding of bodies that a server compressed although the request asked for `identity`.

The bytes of a read are decoded at once, so that each decoded byte has the arrival time of the read that completed it.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import brotli

from llmlocust.stream.limits import TooLarge, longer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_PIECE = 1 << 16
"""Maximum bytes of one decoded piece."""
_MAX_STAGES = 2
_MAX_PIECES = 4000
"""Maximum decoded pieces of one read. An empty member of gzip has about 20 bytes."""
_PLAIN = (b"data:", b"event:", b"id:", b"retry:", b":", b"{", b"[", b"<")
"""Beginnings of bodies that are not compressed: some proxies decode a body and do not remove the header."""
_FORMAT_BYTES = 16


class Undecodable(ValueError):
    """A body cannot be decoded. The text says what to do."""


class _Stage(Protocol):
    def take(self, data: bytes) -> Iterator[bytes]:
        """Decode the next bytes, in pieces of at most _PIECE bytes."""


class Decoder:
    """Decodes a body and appends it to `into`. Undecodable where an encoding is not known or the body is damaged; TooLarge
    where the decoded body has more than `limit` bytes, or where decoding would take too long.
    """

    def __init__(self, encodings: str, into: bytearray, limit: int) -> None:
        names = [name.strip().lower() for name in encodings.split(",")]
        self._names = [name for name in names if name not in ("", "identity", "none", "utf-8")]
        if unknown := [name for name in self._names if name not in _STAGES]:
            raise Undecodable(
                f"the answer is encoded as {unknown[0]}, which is not supported: make the server or the proxy heed "
                "Accept-Encoding: identity"
            )
        if len(self._names) > _MAX_STAGES:
            raise Undecodable(f"the answer is encoded {len(self._names)} times: {', '.join(self._names[:5])}")
        self._stages = [_STAGES[name]() for name in reversed(self._names)]
        self._into = into
        self._limit = limit
        self._seen: bytes | None = b""
        """The encoded bytes, until the first of them is decoded; None afterwards."""

    @property
    def is_needed(self) -> bool:
        return bool(self._stages)

    def take(self, data: bytes | bytearray) -> None:
        """Decode the next bytes of the body."""
        data = bytes(data)
        if self._seen is not None:
            self._seen += data
        try:
            for piece in self._decoded(data):
                self._into += piece
                self._seen = None if piece else self._seen
                if len(self._into) > self._limit:
                    raise TooLarge(longer("the decoded answer", self._limit))
        except (zlib.error, brotli.error, zstd.ZstdError, EOFError) as problem:
            self._take_as_it_is(problem)

    def _decoded(self, data: bytes) -> Iterator[bytes]:
        pieces: Iterator[bytes] = iter((data,))
        for stage in self._stages:
            pieces = _through(stage, pieces, self._limit)
        return pieces

    def _take_as_it_is(self, problem: Exception) -> None:
        """Handle a header that is wrong: the body is not encoded, or it is deflated without a frame."""
        seen = self._seen
        if seen is None:
            raise Undecodable(f"the body is damaged where it is {', '.join(self._names)}: {problem}")
        if self._names == ["deflate"] and not isinstance(self._stages[0], _Raw):
            self._stages, self._seen = [_Raw()], b""
            self.take(seen)
        elif any(plain.startswith(seen[:_FORMAT_BYTES].lstrip()[: len(plain)]) for plain in _PLAIN):
            self._stages, self._seen = [], None
            self._into += seen
        else:
            raise Undecodable(f"the body is not {', '.join(self._names)}, as its header says: {problem}")


def _through(stage: _Stage, pieces: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """Decode the bytes of one read in one stage. The size and the number of the pieces are limited in each stage: even an
    empty piece takes time.
    """
    size = 0
    for count, piece in enumerate(decoded for encoded in pieces for decoded in stage.take(encoded)):
        size += len(piece)
        if size > limit or count > _MAX_PIECES:
            raise TooLarge(
                longer("the decoded answer", limit) if size > limit else "the encoded answer had too many parts"
            )
        yield piece


class _Zlib:
    """DEFLATE in a gzip or zlib frame, or in several frames one after the other."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._frame = zlib.decompressobj(window)

    def take(self, data: bytes) -> Iterator[bytes]:
        while data:
            yield self._frame.decompress(data, _PIECE)
            data = self._frame.unconsumed_tail
            if self._frame.eof:
                data = self._frame.unused_data.lstrip(b"\0")
                if data:
                    self._frame = zlib.decompressobj(self._window)


class _Raw(_Zlib):
    """DEFLATE without a frame, which some servers send as `deflate`."""

    def __init__(self) -> None:
        super().__init__(-15)


class _Brotli:
    def __init__(self) -> None:
        self._stream: Any = brotli.Decompressor()

    def take(self, data: bytes) -> Iterator[bytes]:
        yield self._stream.process(data, output_buffer_limit=_PIECE)
        while not self._stream.can_accept_more_data():
            yield self._stream.process(b"", output_buffer_limit=_PIECE)


class _Zstd:
    def __init__(self) -> None:
        self._frame = zstd.ZstdDecompressor()

    def take(self, data: bytes) -> Iterator[bytes]:
        while data or not (self._frame.needs_input or self._frame.eof):
            if self._frame.eof:
                self._frame = zstd.ZstdDecompressor()
            yield self._frame.decompress(data, _PIECE)
            data = self._frame.unused_data if self._frame.eof else b""


_STAGES: dict[str, Callable[[], _Stage]] = {
    "gzip": lambda: _Zlib(31),
    "x-gzip": lambda: _Zlib(31),
    "deflate": lambda: _Zlib(15),
    "br": _Brotli,
    "zstd": _Zstd,
}
