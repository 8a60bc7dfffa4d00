"""OpenAI's chat completions and completions, as vLLM, SGLang, llama.cpp, Ollama, TGI and hosted APIs speak them.

Reasoning comes as `reasoning_content` (DeepSeek, vLLM, SGLang, llama.cpp) or `reasoning` (OpenRouter, Ollama, newer
vLLM). Usage comes in a last chunk without choices, in the last chunk with one, or in every chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from llmlocust.stream.ask import Ask
from llmlocust.stream.delta import ANSWER, CHOICE, END, ERROR, REASONING, TOKEN_BEARING, TOOL, USAGE, Delta, Usage, said
from llmlocust.stream.dialects.base import Dialect, believable
from llmlocust.stream.sse import Event


class _Details(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    completion_tokens_details: _Details | None = None
    reasoning_tokens: int | None = None
    """SGLang's place for it; its older versions say 0 whatever was reasoned."""


class _Piece(msgspec.Struct):
    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Any] | None = None
    function_call: Any = None
    """What tool calls were before there could be several."""
    refusal: str | None = None


class _Choice(msgspec.Struct):
    index: Any = None
    delta: _Piece | None = None
    message: _Piece | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    """A chunk of a stream, a whole document, or an error: they share their outer shape."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    object: str | None = None
    message: str | None = None
    detail: Any = None


class OpenAI(Dialect):
    """What the two protocols share."""

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

    def is_answer(self, chunk: _Chunk, found: Sequence[Delta]) -> bool:
        return bool(chunk.choices)

    def pieces(self, found: list[Delta], chunk: _Chunk, event: Event) -> None:
        end = event.end
        if (
            event.kind == "error"
            or chunk.error is not None
            or chunk.object == "error"
            or (chunk.detail and not chunk.choices)
        ):
            found.append(Delta(ERROR, end, _words(chunk)))
            return
        usage = _usage(chunk.usage)
        choices = chunk.choices or ()
        if len(choices) == 1 and not choices[0].index:
            _add_choice(found, choices[0], end, usage)
        else:
            for choice in choices:
                _add_one_of_several(found, choice, end, usage)
        if usage is not None:
            found.append(Delta(USAGE, end, "", usage))


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

    def _question(self, ask: Ask) -> dict[str, Any]:
        return {"prompt": ask.text()}


def _add_choice(found: list[Delta], choice: _Choice, end: int, usage: Usage | None) -> None:
    piece = choice.delta or choice.message
    if piece is not None:
        if piece.reasoning_content or piece.reasoning:
            found.append(Delta(REASONING, end, piece.reasoning_content or piece.reasoning or "", usage))
        if piece.content or piece.refusal:
            found.append(Delta(ANSWER, end, _plain_text(piece.content) or piece.refusal or "", usage))
        if piece.tool_calls or piece.function_call:
            found.append(Delta(TOOL, end, "", usage))
    elif choice.text:
        found.append(Delta(ANSWER, end, choice.text, usage))
    if choice.finish_reason:
        found.append(Delta(END, end, choice.finish_reason))


def _add_one_of_several(found: list[Delta], choice: _Choice, end: int, usage: Usage | None) -> None:
    before = len(found)
    _add_choice(found, choice, end, usage)
    if len(found) > before and found[before].kind in TOKEN_BEARING:
        found.insert(before, Delta(CHOICE, end, str(choice.index or 0)))
        found.append(Delta(CHOICE, end))


def _plain_text(content: str | list[Any] | None) -> str:
    """Content is text, or a list of parts of which some are text (Mistral's API)."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content or ""


def _usage(told: _Usage | None) -> Usage | None:
    if told is None:
        return None
    details = told.completion_tokens_details
    reasoning = details.reasoning_tokens if details else told.reasoning_tokens or None
    usage = Usage(believable(told.prompt_tokens), believable(told.completion_tokens), believable(reasoning))
    return None if usage.input_tokens is None and usage.output_tokens is None else usage


def _words(chunk: _Chunk) -> str:
    return said(chunk.error, chunk.message, chunk.detail) or "an error event without words"
