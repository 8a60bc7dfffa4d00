"""OpenAI's chat completions and completions, as in vLLM, SGLang, llama.cpp, Ollama, TGI and hosted APIs.

Reasoning is in `reasoning_content` (DeepSeek, vLLM, SGLang, llama.cpp) or `reasoning` (OpenRouter, Ollama, newer
vLLM). Usage is in a last chunk without choices, in the last chunk with one, or in every chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from llmlocust.stream.ask import Ask
from llmlocust.stream.delta import (
    ANSWER,
    CHOICE,
    END,
    ERROR,
    REASONING,
    TOOL,
    USAGE,
    WHOLE_ANSWER,
    WHOLE_REASONING,
    WHOLE_TOOL,
    Delta,
    Usage,
)
from llmlocust.stream.dialects.base import Dialect, has_content, text_of
from llmlocust.stream.limits import MAX_CHOICES
from llmlocust.stream.sse import Event
from llmlocust.stream.tolerant import valid_count
from llmlocust.stream.words import first_message, has_value, reason


class _Details(msgspec.Struct, gc=False):
    reasoning_tokens: Any = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: Any = None
    completion_tokens: Any = None
    completion_tokens_details: _Details | None = None
    reasoning_tokens: Any = None
    """SGLang's field. Older versions always report 0."""


class _Piece(msgspec.Struct, gc=False):
    content: Any = None
    """Text, or a list of parts (Mistral's API)."""
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None
    function_call: Any = None
    """The old field for a single tool call."""
    refusal: Any = None
    thinking: Any = None
    reasoning_details: Any = None
    """OpenRouter's field. Some models have their reasoning only here."""
    audio: Any = None
    """Transcript and audio of a spoken answer."""
    images: Any = None


class _Choice(msgspec.Struct, gc=False):
    index: Any = None
    delta: _Piece | None = None
    message: _Piece | None = None
    text: Any = None
    finish_reason: Any = None
    usage: _Usage | None = None


class _Chunk(msgspec.Struct, gc=False):
    """A chunk of a stream, a whole document, or an error."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    object: Any = None
    message: Any = None
    detail: Any = None


class OpenAI(Dialect):
    """Common base of the two protocols."""

    chunk: ClassVar[Any] = _Chunk

    def body(self, ask: Ask) -> bytes:
        fields: dict[str, Any] = {"model": ask.model} if ask.model else {}
        fields |= self._question(ask)
        if ask.max_tokens is not None:
            fields[ask.max_tokens_field] = ask.max_tokens
        if ask.temperature is not None:
            fields["temperature"] = ask.temperature
        if ask.stream:
            fields["stream"] = True
            if ask.usage:
                fields["stream_options"] = {"include_usage": True}
        return msgspec.json.encode(fields | ask.extra)

    def _question(self, ask: Ask) -> dict[str, Any]:
        raise NotImplementedError

    def is_answer(self, chunk: _Chunk, deltas: Sequence[Delta]) -> bool:
        return bool(chunk.choices)

    def pieces(self, deltas: list[Delta], chunk: _Chunk, event: Event) -> None:
        end = event.end
        if (
            event.kind == "error"
            or (chunk.error is not None and has_value(chunk.error))
            or chunk.object == "error"
            or (chunk.detail and not chunk.choices)
        ):
            words = first_message(chunk.error, chunk.message, chunk.detail)
            deltas.append(Delta(ERROR, end, words or "an error event without a message"))
            return
        usage = None if chunk.usage is None else _usage(chunk.usage)
        choices = chunk.choices or ()
        if len(choices) == 1 and not choices[0].index:
            choice = choices[0]
            if usage is None and choice.usage is not None:
                usage = _usage(choice.usage)
            _add_choice(deltas, chunk, choice, end, usage)
        else:
            for choice in choices[:MAX_CHOICES]:
                _add_one_of_choices(deltas, chunk, choice, end, usage)
        if usage is not None:
            deltas.append(Delta(USAGE, end, "", usage))


class OpenAIChat(OpenAI):
    name = "openai-chat"
    path = "/v1/chat/completions"

    def _question(self, ask: Ask) -> dict[str, Any]:
        return {"messages": ask.conversation()}

    def for_prompts(self) -> Dialect:
        return OpenAICompletions()


class OpenAICompletions(OpenAI):
    name = "openai-completions"
    path = "/v1/completions"
    operation = "text_completion"

    def _question(self, ask: Ask) -> dict[str, Any]:
        return {"prompt": ask.text()}


def _add_choice(deltas: list[Delta], chunk: _Chunk, choice: _Choice, end: int, usage: Usage | None) -> None:
    piece = choice.delta
    if piece is None and choice.message is not None:
        if _is_part(chunk):
            piece = choice.message
        else:
            _add_whole(deltas, choice.message, end, usage)
    if piece is not None:
        content, thought = piece.content, piece.reasoning_content or piece.reasoning
        if thought:
            if thought.__class__ is str:  # nearly always, as for content
                deltas.append(Delta(REASONING, end, thought, usage))
            else:
                _add_reasoning(deltas, piece, end, usage)
        if content:
            if content.__class__ is str:
                deltas.append(Delta(ANSWER, end, content, usage))
            else:
                _add_content(deltas, content, end, usage)
        if piece.tool_calls or piece.function_call:
            deltas.append(Delta(TOOL, end, "", usage))
        if not (content or thought):
            _add_other(deltas, piece, end, usage)
    elif choice.text:
        deltas.append(Delta(ANSWER, end, text_of(choice.text), usage))
    if choice.finish_reason and (finish := reason(choice.finish_reason)):
        deltas.append(Delta(END, end, finish))


def _is_part(chunk: _Chunk) -> bool:
    """Return whether a chunk with a `message`, which usually means a document, is part of a stream by its `object`."""
    return isinstance(chunk.object, str) and chunk.object.endswith("chunk")


def _add_one_of_choices(deltas: list[Delta], chunk: _Chunk, choice: _Choice, end: int, usage: Usage | None) -> None:
    before = len(deltas)
    _add_choice(deltas, chunk, choice, end, usage or _usage(choice.usage))
    if len(deltas) > before:
        deltas.insert(before, Delta(CHOICE, end, str(choice.index or 0)))
        deltas.append(Delta(CHOICE, end))


def _add_reasoning(deltas: list[Delta], piece: _Piece, end: int, usage: Usage | None) -> None:
    """Add reasoning. Servers put it into one field, or repeat it in several."""
    for place in (piece.reasoning_content, piece.reasoning, piece.thinking, piece.reasoning_details):
        if place and has_content(place):
            deltas.append(Delta(REASONING, end, text_of(place), usage))
            return


def _add_content(deltas: list[Delta], content: Any, end: int, usage: Usage | None) -> None:
    """Add parts of content: text, reasoning, audio or images."""
    for part in content if isinstance(content, list) else (content,):
        if part and has_content(part):
            kind = REASONING if isinstance(part, dict) and _is_thought(part) else ANSWER
            deltas.append(Delta(kind, end, text_of(part), usage))


def _add_other(deltas: list[Delta], piece: _Piece, end: int, usage: Usage | None) -> None:
    """Add what a piece has instead of content."""
    if piece.thinking or piece.reasoning_details:
        _add_reasoning(deltas, piece, end, usage)
    places = (piece.refusal, piece.audio, piece.images)
    deltas += [Delta(ANSWER, end, text_of(place), usage) for place in places if place and has_content(place)]


def _add_whole(deltas: list[Delta], message: _Piece, end: int, usage: Usage | None) -> None:
    """Add a whole message: that of a document, or one that repeats the whole answer at the end of a stream."""
    pieces: list[Delta] = []
    _add_reasoning(pieces, message, end, usage)
    if message.content:
        _add_content(pieces, message.content, end, usage)
    else:
        _add_other(pieces, message, end, usage)
    for kind, whole in ((REASONING, WHOLE_REASONING), (ANSWER, WHOLE_ANSWER)):
        if any(piece.kind == kind for piece in pieces):
            deltas.append(Delta(whole, end, "".join(piece.text for piece in pieces if piece.kind == kind), usage))
    if message.tool_calls or message.function_call:
        deltas.append(Delta(WHOLE_TOOL, end, "", usage))


def _is_thought(part: dict[str, Any]) -> bool:
    return str(part.get("type")).startswith(("thinking", "reasoning"))


def _usage(reported: _Usage | None) -> Usage | None:
    if reported is None:
        return None
    details = reported.completion_tokens_details
    reasoning = details.reasoning_tokens if details else reported.reasoning_tokens or None
    usage = Usage(valid_count(reported.prompt_tokens), valid_count(reported.completion_tokens), valid_count(reasoning))
    return None if usage.input_tokens is None and usage.output_tokens is None else usage
