"""`Dialect`: the common base of all protocols, and the interface that each of them implements."""

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
from llmlocust.stream.usage import REPORTS_TOKENS, usage_in

_DONE = b"[DONE]"
_NOT_READABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_CUT_SHORT = "Input data was truncated"
"""msgspec's message for a document that ends too early. Inside a number, the message has the position of the end."""


class Adaptation(NamedTuple):
    """A change of requests for servers that reject the original form."""

    fields: Mapping[str, Any]
    """Fields of the Ask that are replaced."""
    words: str
    """Description of the changed request."""
    is_run_setting: bool = False
    """Whether the change is a setting of the run. It is kept even if the server rejects it with the same message."""


Get = Callable[[str], bytes]
"""Function that returns the body of the server's response to GET on a path."""


class Dialect:
    """One wire protocol: converts an `Ask` to path and body, and events and documents to `Delta`s.

    A custom dialect defines its `name`, its `path`, the type of its chunks (`chunk`), its requests (`body`) and the content
    of a chunk (`pieces`). The other members are for protocols that differ from the defaults.
    """

    name: str = ""
    """Name in options and in the files of a run."""
    path: str = ""
    """Path of requests."""
    chunk: ClassVar[Any] = Any
    """Type of a chunk of a stream, and of a whole document: a type for msgspec, such as a Struct of the relevant fields."""
    framing: ClassVar[ModuleType] = sse
    """Module that splits a stream into events: llmlocust.stream.sse, or .ndjson."""
    cumulative: ClassVar[bool] = False
    """Whether each chunk has the whole answer so far, instead of only the new part."""
    streams: ClassVar[bool] = True
    """Whether answers can be streamed. False: each answer is one document."""
    key_variable: ClassVar[str] = "OPENAI_API_KEY"
    """Environment variable of the API key, if LLMLOCUST_API_KEY is not set."""
    key_hosts: ClassVar[tuple[str, ...]] = ("openai.com",)
    """Domains of the vendor that issues this key."""
    operation: ClassVar[str] = "chat"
    """OpenTelemetry's name of the operation."""
    models_path: ClassVar[str] = "/v1/models"
    """Path of the server's list of models."""
    discovers: ClassVar[bool] = False
    """Whether `discover` gets `path` from the server."""

    _one: ClassVar[msgspec.json.Decoder[Any]]
    _all: ClassVar[msgspec.json.Decoder[Any]]

    def __init_subclass__(cls) -> None:
        cls._one = msgspec.json.Decoder(cls.chunk)
        cls._all = msgspec.json.Decoder(list[cls.chunk])  # type: ignore[name-defined]

    # ── requests ──

    def body(self, ask: Ask) -> bytes:
        """Return the request's JSON. Raises ValueError if the protocol does not support the request."""
        raise NotImplementedError

    def path_of(self, ask: Ask) -> str:
        """Return the path of this request."""
        return self.path

    def headers(self, key: str) -> dict[str, str]:
        """Return headers in addition to Content-Type and Accept. The key may be empty."""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def for_prompts(self) -> Dialect:
        """Return the dialect for the completion of plain text, which may be a protocol of its own."""
        return self

    def inputs(self, ask: Ask) -> int | None:
        """Return the number of texts to embed or of documents to rank; None for generated text."""
        return None

    def events_path(self, ask: Ask, body: bytes | bytearray) -> str | None:
        """Return the path of the answer's events, given the body of the first response. None: that response is the answer."""
        return None

    # ── before the run ──

    def discover(self, get: Get) -> None:
        """Set `path` to the server's. If the server does not give one, `path` does not change."""

    def adaptations(self, ask: Ask, limit: int) -> list[Adaptation]:
        """Return changes of requests that some servers need, in the order in which they are tried. A change that does not
        affect the body is not tried. `limit` is the run's own token limit; 0 for none.
        """
        field = "max_tokens" if ask.max_tokens_field == "max_completion_tokens" else "max_completion_tokens"
        own_limit = f"with the run's own limit of {limit} tokens" if limit else "without a limit of tokens"
        return [
            Adaptation({"max_tokens_field": field}, f"with the limit of tokens as {field}"),
            Adaptation({"usage": False}, "without stream_options, so that its tokens are counted by chunks"),
            Adaptation({"max_tokens": limit or None}, own_limit, is_run_setting=True),
        ]

    def unsupported(self, get: Get) -> str:
        """Return a message on the server and what to do, if it uses a form of the protocol that this dialect does not
        support; empty otherwise. Called after a first request has failed.
        """
        return ""

    # ── answers ──

    def pieces(self, deltas: list[Delta], chunk: Any, event: Event) -> None:
        """Add the pieces of one chunk to `deltas`, each with the event's `end`. Unknown content is skipped."""
        raise NotImplementedError

    def is_answer(self, chunk: Any, deltas: Sequence[Delta]) -> bool:
        """Return whether a whole document, with these pieces, is an answer."""
        return bool(deltas)

    def lacks(self, ask: Ask, deltas: Sequence[Delta]) -> str:
        """Return what is missing in an answer that is one document of this protocol; empty if it is complete."""
        for delta in deltas:
            if delta.kind in SOME_TOKEN or (delta.usage is not None and delta.usage.output_tokens is not None):
                return ""
        return "an empty answer: no text, and no token count"

    def framing_of(self, body: bytes | bytearray) -> ModuleType:
        """Return the framing of this stream: some gateways put the chunks of one protocol into the frames of another."""
        return sse if sse.begins(body) else self.framing

    def deltas(self, events: Sequence[Event]) -> list[Delta]:
        """Return the pieces of a streamed answer, in order. Never raises: unreadable content becomes a BAD delta."""
        deltas: list[Delta] = []
        pieces = self.pieces
        for event, chunk in zip(events, self._decoded(events), strict=True):
            if chunk.__class__ is _Odd:
                deltas += chunk.deltas
                continue
            before = len(deltas)
            try:  # inlined for speed: this runs for every token
                pieces(deltas, chunk, event)
            except Exception as problem:
                self._note_problem(deltas, event, problem)
            if len(deltas) == before or deltas[before].kind not in TOKEN_BEARING:
                self._add_from_other_fields(deltas, before, event)
        return deltas

    def document(self, body: bytes) -> list[Delta]:
        """Return the pieces of an answer in one JSON document."""
        body = body.removeprefix(BOM)
        try:
            chunk = self._document(body)
        except ValueError as problem:
            if str(problem).endswith((_CUT_SHORT, f"(byte {len(body)})")):
                # the connection was closed before the end of the document
                return []
            return [Delta(BAD, len(body), f"not JSON of this protocol: {problem}")]
        deltas: list[Delta] = []
        event = Event(body, len(body))
        try:
            self.pieces(deltas, chunk, event)
        except Exception as problem:
            self._note_problem(deltas, event, problem)
        self._add_from_other_fields(deltas, 0, event)
        if any(delta.kind in (ERROR, EMPTY) for delta in deltas):
            return deltas
        if not self.is_answer(chunk, deltas):
            return [Delta(BAD, len(body), f"a JSON document, but not an answer of {self.name}: {words.plain(body)}")]
        return deltas if any(delta.kind == END for delta in deltas) else [*deltas, Delta(END, len(body))]

    def _document(self, body: bytes) -> Any:
        try:
            return self._one.decode(body)
        except _NOT_READABLE as problem:
            try:
                return tolerant.fit(tolerant.decoded(body), self.chunk)
            except ValueError:
                raise ValueError(str(problem)) from None

    def _note_problem(self, deltas: list[Delta], event: Event, problem: Exception) -> None:
        """Add a BAD delta for an exception of a dialect, which may be a user's own. The request still counts."""
        deltas.append(Delta(BAD, event.end, f"{self.name} cannot read a chunk: {problem!r}"))

    def _add_from_other_fields(self, deltas: list[Delta], before: int, event: Event) -> None:
        """Add an error or usage that an event without tokens has outside the fields of the protocol."""
        if len(deltas) == before and (error := words.error_in(event.data)):
            deltas.append(Delta(ERROR, event.end, error))
        elif (
            b"oken" in event.data
            and all(delta.kind != USAGE for delta in deltas[before:])
            and REPORTS_TOKENS.search(event.data)
        ):
            usage = usage_in(event.data)
            if usage is not None:
                deltas.append(Delta(USAGE, event.end, "", usage))

    def _decoded(self, events: Sequence[Event]) -> Sequence[Any]:
        """Return the chunk of each event, or an _Odd for an event that is not a chunk.

        All events are decoded in one call, at a third of the cost of one call each. Events are decoded one by one only if
        one of them is not a chunk, such as a [DONE] before the end.
        """
        all_data = [event.data for event in events]
        done = [_Odd((Delta(END, events[-1].end, "[DONE]"),))] if all_data and all_data[-1] == _DONE else []
        try:
            chunks = self._all.decode(b"[" + b",".join(all_data[: len(all_data) - len(done)]) + b"]")
        except _NOT_READABLE:
            chunks = []
        together = [*chunks, *done]
        return together if len(together) == len(events) else [self._chunk_or_odd(event) for event in events]

    def _chunk_or_odd(self, event: Event) -> Any:
        data = event.data.strip()
        if data == _DONE:
            return _Odd((Delta(END, event.end, "[DONE]"),))
        if not data or data.startswith(b":"):  # keeps the connection alive, like a comment
            return _Odd(())
        try:
            return self._one.decode(data)
        except _NOT_READABLE:
            return self._tolerated(event, data)

    def _tolerated(self, event: Event, data: bytes) -> Any:
        """Return the readable part of a chunk; otherwise the server's text, which may be an error message."""
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
    """An event that is not a chunk, with its deltas."""

    deltas: tuple[Delta, ...]


_FIELD = re.compile(rb"([A-Za-z][\w-]{0,31})(?::(.*))?", re.DOTALL)


def _words_of(event: Event, data: bytes) -> Delta:
    """Return the delta of an event without JSON: an error, or a text that may be one."""
    text = words.plain(data)
    if event.kind == "error":
        return Delta(ERROR, event.end, text)
    if event.kind == STRAY:
        return _words_of_line(event, data, text)
    if data.startswith((b"{", b"[")):
        return Delta(BAD, event.end, f"not a chunk of this protocol: {text}")
    return Delta(ERROR if event.whole and words.reports_failure(text) else WORDS, event.end, text)


def _words_of_line(event: Event, data: bytes, text: str) -> Delta:
    """Return the delta of a line outside the format. By the standard, fields with unknown names are ignored."""
    field = _FIELD.fullmatch(data)
    if not field:
        if text == words.NO_TEXT:
            return Delta(BAD, event.end, f"not a stream: {text}")
        return Delta(ERROR if event.whole else WORDS, event.end, text)
    name, value = field[1].decode(errors="replace"), field[2]
    if words.reports_failure(name):  # llama.cpp wrote errors as a field `error` until 2025
        return Delta(ERROR, event.end, words.server_words(value.strip()) if value else text)
    return Delta(WORDS, event.end, text)


_TEXTS = ("text", "content", "thinking", "reasoning", "summary", "transcript")
"""Names of fields with the text of a message part."""
_MAX_DEPTH = 4


def text_of(value: Any, depth: int = _MAX_DEPTH) -> str:
    """Return the text of a piece: a text, a part with a text, or a list of parts; empty for audio and images."""
    if isinstance(value, str):
        return value
    if depth and isinstance(value, list):
        return "".join(text_of(part, depth - 1) for part in value)
    if depth and isinstance(value, dict):
        return next((text for name in _TEXTS if (text := text_of(value.get(name), depth - 1))), "")
    return ""


_ABOUT = frozenset(("type", "id", "index", "format", "role", "signature", "expires_at", "annotations", "name"))
"""Names of fields that describe a part and have no content."""


def has_content(value: Any, depth: int = _MAX_DEPTH) -> bool:
    """Return whether a piece has text, audio or an image."""
    if isinstance(value, str):
        return bool(value)
    if depth and isinstance(value, list):
        return any(has_content(part, depth - 1) for part in value)
    if depth and isinstance(value, dict):
        return any(has_content(part, depth - 1) for name, part in value.items() if name not in _ABOUT)
    return False


def merged(fields: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a body with `extra` ones, which take precedence. Objects in both, such as `options`, are merged."""
    both = {
        name: fields[name] | extra[name]
        for name in fields.keys() & extra.keys()
        if isinstance(fields[name], dict) and isinstance(extra[name], dict)
    }
    return fields | extra | both
