"""Gradio apps: a function's inputs as `{"data": […]}`, and its outputs in the same shape.

`GradioCall` is today's way (Gradio 4 and up): the call waits in the app's queue, its events come from a second request,
and TTFT counts from the first. `GradioRun` is the old one (`/run/predict`, `/api/predict`): one answer in one piece.
Nobody tells tokens: a chunk is what the function yielded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from llmlocust.stream.ask import Ask
from llmlocust.stream.delta import ANSWER, END, ERROR, Delta, said
from llmlocust.stream.dialects.base import Dialect
from llmlocust.stream.sse import Event

PROMPT = "{prompt}"
"""Stands for the prompt among a function's inputs: --llm-body '{"data": ["{prompt}", 0.7]}'."""
_MOST_DEEP = 5
"""Chats are lists of lists of messages of parts."""


class Gradio(Dialect):
    """What the two ways share."""

    def body(self, ask: Ask) -> bytes:
        text = ask.text()
        inputs = ask.extra.get("data", [PROMPT])
        data = [text if each == PROMPT else each for each in inputs]
        return msgspec.json.encode(ask.extra | {"data": data})


class _Called(msgspec.Struct):
    event_id: str


class GradioCall(Gradio):
    name = "gradio"
    path = "/gradio_api/call/chat"
    cumulative = True

    def events_path(self, ask: Ask, body: bytes | bytearray) -> str | None:
        try:
            event_id = msgspec.json.decode(body, type=_Called).event_id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        # what would not be one piece of a path is nobody's id
        return f"{self.path}/{event_id}" if event_id.isascii() and event_id.isalnum() else None

    def is_answer(self, chunk: Any, found: Sequence[Delta]) -> bool:
        return False  # no document answers a call

    def pieces(self, found: list[Delta], chunk: Any, event: Event) -> None:
        kind = event.kind
        if kind in ("generating", "complete"):
            text = _first_text(chunk)
            if text:
                found.append(Delta(ANSWER, event.end, text))
            if kind == "complete":
                found.append(Delta(END, event.end, "complete"))
        elif kind == "error":
            words = said(chunk.get("error"), chunk) if isinstance(chunk, dict) else said(chunk)
            found.append(Delta(ERROR, event.end, words or "the app failed without words"))


class _Outputs(msgspec.Struct):
    data: list[Any] | None = None
    error: Any = None
    detail: Any = None


class GradioRun(Gradio):
    name = "gradio-run"
    path = "/run/predict"
    chunk: ClassVar[Any] = _Outputs
    streams = False

    def is_answer(self, chunk: _Outputs, found: Sequence[Delta]) -> bool:
        return chunk.data is not None

    def pieces(self, found: list[Delta], chunk: _Outputs, event: Event) -> None:
        if chunk.data is None and (chunk.error is not None or chunk.detail is not None):
            found.append(Delta(ERROR, event.end, said(chunk.error, chunk.detail) or "the app failed without words"))
        elif text := _first_text(chunk.data):
            found.append(Delta(ANSWER, event.end, text))


def _first_text(outputs: Any) -> str:
    """A function's answer is the first of its outputs that holds text."""
    if not isinstance(outputs, list) or not outputs:
        return ""
    if isinstance(outputs[0], str) and outputs[0]:  # nearly always
        return outputs[0]
    return next((text for each in outputs if (text := _text(each))), "")


def _text(output: Any, depth: int = _MOST_DEEP) -> str:
    """The text of one output: of a chat, what was said last."""
    if isinstance(output, str):
        return output
    if depth and isinstance(output, list):
        return next((text for each in reversed(output) if (text := _text(each, depth - 1))), "")
    if depth and isinstance(output, dict):
        return next((text for name in ("content", "text", "value") if (text := _text(output.get(name), depth - 1))), "")
    return ""
