"""`Dialect`: what the protocols share, and what one of them has to say for itself."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar

import msgspec

from llmlocust.stream import sse
from llmlocust.stream.ask import Ask
from llmlocust.stream.delta import BAD, END, ERROR, Delta
from llmlocust.stream.sse import Event

_DONE = b"[DONE]"
_NOT_READABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_CUT_SHORT = "Input data was truncated"
"""What msgspec says of a document that ends too early; inside a number, that it ends there."""
_MOST_TOKENS = 1 << 40
"""A server that tells of more than that tells nothing."""


class Dialect:
    """One wire protocol, both ways: `Ask` → path and body; events and documents → `Delta`s.

    A dialect of one's own says its `name`, its `path`, the `chunk` that its answers are made of, how it asks (`body`)
    and what a chunk brings (`pieces`). The rest is for protocols that are otherwise.
    """

    name: str = ""
    """How options and the run's files call it."""
    path: str = ""
    """Where requests go, below the host."""
    chunk: ClassVar[Any] = Any
    """The type of one chunk of a stream, and of a whole document; msgspec's, such as a Struct of what is of use."""
    framing: ClassVar[ModuleType] = sse
    """How a stream is cut into events: llmlocust.stream.sse, or .ndjson."""
    cumulative: ClassVar[bool] = False
    """Each chunk holds all of the answer so far, instead of what is new."""
    streams: ClassVar[bool] = True
    """False where answers only ever come in one piece."""
    key_variable: ClassVar[str] = "OPENAI_API_KEY"
    """Where its users keep their key, unless LLMLOCUST_API_KEY holds one."""

    _one: ClassVar[msgspec.json.Decoder[Any]]
    _all: ClassVar[msgspec.json.Decoder[Any]]

    def __init_subclass__(cls) -> None:
        cls._one = msgspec.json.Decoder(cls.chunk)
        cls._all = msgspec.json.Decoder(list[cls.chunk])  # type: ignore[name-defined]

    # ── asking ──

    def body(self, ask: Ask) -> bytes:
        """The request's JSON. ValueError where this protocol cannot ask so."""
        raise NotImplementedError

    def path_of(self, ask: Ask) -> str:
        """Where this request goes, below the host."""
        return self.path

    def headers(self, key: str) -> dict[str, str]:
        """What the protocol wants besides Content-Type and Accept; the key may be empty."""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def for_prompts(self) -> Dialect:
        """What is spoken to have plain text gone on with, where that is a protocol of its own."""
        return self

    def inputs(self, ask: Ask) -> int | None:
        """How many texts a request has embedded or documents ranked; None where text comes out."""
        return None

    def events_path(self, ask: Ask, body: bytes | bytearray) -> str | None:
        """Where the answer's events are fetched, after a first response with this body; None: it is the answer."""
        return None

    # ── reading ──

    def pieces(self, found: list[Delta], chunk: Any, event: Event) -> None:
        """Add what one chunk brings, each with the event's `end`. What it cannot make out it leaves out."""
        raise NotImplementedError

    def is_answer(self, chunk: Any, found: Sequence[Delta]) -> bool:
        """Whether a whole document, of which these pieces were found, is an answer at all."""
        return bool(found)

    def deltas(self, events: Sequence[Event]) -> list[Delta]:
        """Pieces of a streamed answer, in order. Nothing raises: what is not understood becomes a BAD delta."""
        found: list[Delta] = []
        for event, chunk in zip(events, self._decoded(events), strict=True):
            if isinstance(chunk, _Odd):
                found += chunk.deltas
            else:
                self._take_apart(found, chunk, event)
        return found

    def document(self, body: bytes) -> list[Delta]:
        """Pieces of an answer that came in one JSON document."""
        try:
            chunk = self._one.decode(body)
        except _NOT_READABLE as problem:
            if str(problem).endswith((_CUT_SHORT, f"(byte {len(body)})")):
                # closing the connection was its end, and came too early
                return []
            return [Delta(BAD, len(body), f"not JSON of this protocol: {problem}")]
        found: list[Delta] = []
        self._take_apart(found, chunk, Event(body, len(body)))
        if any(delta.kind == ERROR for delta in found):
            return found
        if not self.is_answer(chunk, found):
            return [Delta(BAD, len(body), f"a JSON document, but no answer of {self.name}")]
        return found if any(delta.kind == END for delta in found) else [*found, Delta(END, len(body))]

    def _take_apart(self, found: list[Delta], chunk: Any, event: Event) -> None:
        try:
            self.pieces(found, chunk, event)
        except Exception as problem:  # a dialect of somebody's own may fail, and the request still counts
            found.append(Delta(BAD, event.end, f"{self.name} cannot read a chunk: {problem!r}"))

    def _decoded(self, events: Sequence[Event]) -> Sequence[Any]:
        """Each event's chunk, or what is odd about it.

        One call decodes all, which costs a third of a call for each; only a stream that holds something odd, such as
        a [DONE] before its end, is gone through one by one.
        """
        all_data = [event.data for event in events]
        done = [_Odd((Delta(END, events[-1].end, "[DONE]"),))] if all_data and all_data[-1] == _DONE else []
        try:
            chunks = self._all.decode(b"[" + b",".join(all_data[: len(all_data) - len(done)]) + b"]")
        except _NOT_READABLE:
            chunks = []
        together = [*chunks, *done]
        return together if len(together) == len(events) else [self._chunk_or_oddity(event) for event in events]

    def _chunk_or_oddity(self, event: Event) -> Any:
        words = event.data.strip()
        if words == _DONE:
            return _Odd((Delta(END, event.end, "[DONE]"),))
        if event.kind == "error" and words:
            try:
                return self._one.decode(words)
            except _NOT_READABLE:
                return _Odd((Delta(ERROR, event.end, event.data.decode()),))
        try:
            return self._one.decode(words) if words else _Odd(())  # it keeps a connection alive, as comments do
        except _NOT_READABLE as problem:
            return _Odd((Delta(BAD, event.end, f"not a chunk of this protocol: {problem}"),))


class _Odd(msgspec.Struct):
    """An event that is no chunk, and what it comes to."""

    deltas: tuple[Delta, ...]


def believable(count: int | None) -> int | None:
    return count if count is not None and 0 <= count <= _MOST_TOKENS else None


def merged(fields: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """A body's fields with further ones, which win; objects in both, such as `options`, are put together."""
    both = {
        name: fields[name] | extra[name]
        for name in fields.keys() & extra.keys()
        if isinstance(fields[name], dict) and isinstance(extra[name], dict)
    }
    return fields | extra | both
