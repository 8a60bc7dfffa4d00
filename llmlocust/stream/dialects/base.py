"""`Dialect`: what the protocols share, and what one of them has to say for itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import msgspec

from llmlocust.stream import sse, tolerant, words
from llmlocust.stream.ask import Ask
from llmlocust.stream.delta import BAD, EMPTY, END, ERROR, SOME_TOKEN, TOKEN_BEARING, USAGE, WORDS, Delta
from llmlocust.stream.sse import BOM, STRAY, Event
from llmlocust.stream.usage import TELLING as TELLS_TOKENS
from llmlocust.stream.usage import usage_in

_DONE = b"[DONE]"
_NOT_READABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_CUT_SHORT = "Input data was truncated"
"""What msgspec says of a document that ends too early; inside a number, that it ends there."""


class Adaptation(NamedTuple):
    """Another way to ask, for servers that refuse the first one."""

    fields: Mapping[str, Any]
    """Fields of the Ask that it replaces."""
    words: str
    """How the server is asked then."""
    is_runs: bool = False
    """The run asks so in any case: it stays also where the server refuses it in the same words."""


Get = Callable[[str], bytes]
"""A function that returns the body of the server's answer to GET on a path."""


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
    key_hosts: ClassVar[tuple[str, ...]] = ("openai.com",)
    """Domains of the vendor that gives this key."""
    operation: ClassVar[str] = "chat"
    """OpenTelemetry's name of what is asked for."""
    models_path: ClassVar[str] = "/v1/models"
    """Where servers list their models."""
    discovers: ClassVar[bool] = False
    """The server itself says what `path` is: `discover` asks it."""

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

    # ── asking before the run ──

    def discover(self, get: Get) -> None:
        """Set `path` to what the server says. Where the server says nothing, it stays as it is."""

    def adaptations(self, ask: Ask, limit: int) -> list[Adaptation]:
        """Return other ways to ask that servers are known to want, in the order in which they are tried. One that changes
        nothing in the body is not tried. `limit` is the run's own limit of tokens; 0: none.
        """
        field = "max_tokens" if ask.max_tokens_field == "max_completion_tokens" else "max_completion_tokens"
        own_limit = f"with the run's own limit of {limit} tokens" if limit else "without a limit of tokens"
        return [
            Adaptation({"max_tokens_field": field}, f"with the limit of tokens as {field}"),
            Adaptation({"usage": False}, "without stream_options, so that its tokens are counted by chunks"),
            Adaptation({"max_tokens": limit or None}, own_limit, is_runs=True),
        ]

    def unsupported(self, get: Get) -> str:
        """Return what the server is, and what to do, where it speaks a form of the protocol that this dialect does not.
        Empty: the dialect knows of no such form. It is asked after a first request has failed.
        """
        return ""

    # ── reading ──

    def pieces(self, found: list[Delta], chunk: Any, event: Event) -> None:
        """Add what one chunk brings, each with the event's `end`. What it cannot make out it leaves out."""
        raise NotImplementedError

    def is_answer(self, chunk: Any, found: Sequence[Delta]) -> bool:
        """Whether a whole document, of which these pieces were found, is an answer at all."""
        return bool(found)

    def lacks(self, ask: Ask, found: Sequence[Delta]) -> str:
        """What an answer in one piece lacks though it is one of this protocol; empty where it is whole."""
        for delta in found:
            if delta.kind in SOME_TOKEN or (delta.usage is not None and delta.usage.output_tokens is not None):
                return ""
        return "an answer with nothing in it: no text, and no count of tokens"

    def framing_of(self, body: bytes | bytearray) -> ModuleType:
        """How this stream is cut into events: some gateways put one protocol's chunks into another's frames."""
        return sse if sse.begins(body) else self.framing

    def deltas(self, events: Sequence[Event]) -> list[Delta]:
        """Pieces of a streamed answer, in order. Nothing raises: what is not understood becomes a BAD delta."""
        found: list[Delta] = []
        pieces = self.pieces
        for event, chunk in zip(events, self._decoded(events), strict=True):
            if chunk.__class__ is _Odd:
                found += chunk.deltas
                continue
            before = len(found)
            try:  # here and not in a function of its own: this is done for every token
                pieces(found, chunk, event)
            except Exception as problem:
                self._note_problem(found, event, problem)
            if len(found) == before or found[before].kind not in TOKEN_BEARING:
                self._take_the_rest(found, before, event)
        return found

    def document(self, body: bytes) -> list[Delta]:
        """Pieces of an answer that came in one JSON document."""
        body = body.removeprefix(BOM)
        try:
            chunk = self._document(body)
        except ValueError as problem:
            if str(problem).endswith((_CUT_SHORT, f"(byte {len(body)})")):
                # closing the connection was its end, and came too early
                return []
            return [Delta(BAD, len(body), f"not JSON of this protocol: {problem}")]
        found: list[Delta] = []
        event = Event(body, len(body))
        try:
            self.pieces(found, chunk, event)
        except Exception as problem:
            self._note_problem(found, event, problem)
        self._take_the_rest(found, 0, event)
        if any(delta.kind in (ERROR, EMPTY) for delta in found):
            return found
        if not self.is_answer(chunk, found):
            return [Delta(BAD, len(body), f"a JSON document, but no answer of {self.name}: {words.plain(body)}")]
        return found if any(delta.kind == END for delta in found) else [*found, Delta(END, len(body))]

    def _document(self, body: bytes) -> Any:
        try:
            return self._one.decode(body)
        except _NOT_READABLE as problem:
            try:
                return tolerant.fit(tolerant.decoded(body), self.chunk)
            except ValueError:
                raise ValueError(str(problem)) from None

    def _note_problem(self, found: list[Delta], event: Event, problem: Exception) -> None:
        """Note that a dialect, perhaps a user's own, failed; the request still counts."""
        found.append(Delta(BAD, event.end, f"{self.name} cannot read a chunk: {problem!r}"))

    def _take_the_rest(self, found: list[Delta], before: int, event: Event) -> None:
        """What an event without a token may bring where the protocol has no place for it."""
        if len(found) == before and (error := words.error_in(event.data)):
            found.append(Delta(ERROR, event.end, error))
        elif (
            b"oken" in event.data
            and all(delta.kind != USAGE for delta in found[before:])
            and TELLS_TOKENS.search(event.data)
        ):
            usage = usage_in(event.data)
            if usage is not None:
                found.append(Delta(USAGE, event.end, "", usage))

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
        data = event.data.strip()
        if data == _DONE:
            return _Odd((Delta(END, event.end, "[DONE]"),))
        if not data or data.startswith(b":"):  # it keeps a connection alive, as comments do
            return _Odd(())
        try:
            return self._one.decode(data)
        except _NOT_READABLE:
            return self._tolerated(event, data)

    def _tolerated(self, event: Event, data: bytes) -> Any:
        """A chunk as far as it can be read; else words of the server, which may say that something failed."""
        try:
            value = tolerant.decoded(data)
        except ValueError:
            return _Odd((_words_of(event, data),))
        if isinstance(value, str):
            return _Odd((_words_of(event, value.encode("utf-8", "replace")),))
        try:
            return tolerant.fit(value, self.chunk)
        except tolerant.Unfit:
            return _Odd(())


class _Odd(msgspec.Struct):
    """An event that is no chunk, and what it comes to."""

    deltas: tuple[Delta, ...]


_FIELD = re.compile(rb"([A-Za-z][\w-]{0,31})(?::(.*))?", re.DOTALL)


def _words_of(event: Event, data: bytes) -> Delta:
    """What an event is that holds no JSON: an error, or a text that may be one."""
    text = words.plain(data)
    if event.kind == "error":
        return Delta(ERROR, event.end, text)
    if event.kind == STRAY:
        return _words_of_a_line(event, data, text)
    if data.startswith((b"{", b"[")):
        return Delta(BAD, event.end, f"not a chunk of this protocol: {text}")
    return Delta(ERROR if event.whole and words.says_trouble(text) else WORDS, event.end, text)


def _words_of_a_line(event: Event, data: bytes, text: str) -> Delta:
    """Of a line outside the format. The standard has fields of unknown names ignored."""
    field = _FIELD.fullmatch(data)
    if not field:
        if text == words.NO_TEXT:
            return Delta(BAD, event.end, f"not a stream: {text}")
        return Delta(ERROR if event.whole else WORDS, event.end, text)
    name, value = field[1].decode(errors="replace"), field[2]
    if words.says_trouble(name):  # llama.cpp wrote errors as a field `error` until 2025
        return Delta(ERROR, event.end, words.server_words(value.strip()) if value else text)
    return Delta(WORDS, event.end, text)


_TEXTS = ("text", "content", "thinking", "reasoning", "summary", "transcript")
"""Where a part of a message has its text."""
_MOST_DEEP = 4


def text_of(value: Any, depth: int = _MOST_DEEP) -> str:
    """The text of a piece, which is a text, a part with a text, or a list of parts; empty for sounds and pictures."""
    if isinstance(value, str):
        return value
    if depth and isinstance(value, list):
        return "".join(text_of(each, depth - 1) for each in value)
    if depth and isinstance(value, dict):
        return next((text for name in _TEXTS if (text := text_of(value.get(name), depth - 1))), "")
    return ""


_ABOUT = frozenset(("type", "id", "index", "format", "role", "signature", "expires_at", "annotations", "name"))
"""Fields of a part that tell of it, and bring nothing."""


def brings(value: Any, depth: int = _MOST_DEEP) -> bool:
    """Whether a piece holds text, sound or a picture."""
    if isinstance(value, str):
        return bool(value)
    if depth and isinstance(value, list):
        return any(brings(each, depth - 1) for each in value)
    if depth and isinstance(value, dict):
        return any(brings(each, depth - 1) for name, each in value.items() if name not in _ABOUT)
    return False


def merged(fields: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """A body's fields with further ones, which win; objects in both, such as `options`, are put together."""
    both = {
        name: fields[name] | extra[name]
        for name in fields.keys() & extra.keys()
        if isinstance(fields[name], dict) and isinstance(extra[name], dict)
    }
    return fields | extra | both
