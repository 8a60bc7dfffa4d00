"""Gradio apps: a function's inputs as `{"data": […]}`, and its outputs in the same format.

`GradioCall` is the current protocol (Gradio 4 and later): the call waits in the app's queue, a second request gets its
events, and TTFT counts from the first request. `GradioRun` is the old protocol (`/run/predict`, `/api/predict`): the answer
is one document. Gradio reports no tokens: a chunk is what the function yields.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from llmlocust.stream.ask import Ask
from llmlocust.stream.delta import ANSWER, END, ERROR, Delta
from llmlocust.stream.dialects.base import Dialect, Get
from llmlocust.stream.sse import Event
from llmlocust.stream.words import first_message, has_value

PROMPT = "{prompt}"
"""Placeholder of the prompt in a function's inputs: --llm-body '{"data": ["{prompt}", 0.7]}'."""
_MAX_DEPTH = 5
"""Maximum depth of outputs: chats are lists of lists of messages of parts."""


_NOT_READABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Functions(msgspec.Struct):
    """An app's functions by name."""

    named_endpoints: dict[str, Any]


class _App(msgspec.Struct):
    """The fields of an app's /config that are used here."""

    version: str
    enable_queue: bool | None = None


class Gradio(Dialect):
    """Common base of the two protocols."""

    discovers = True
    function_prefix: ClassVar[str]
    """Path before the function's name."""

    def discover(self, get: Get) -> None:
        """Set the path to that of the app's function `chat`, or of its first function."""
        for prefix in ("/gradio_api", ""):
            try:
                functions = [*msgspec.json.decode(get(f"{prefix}/info"), type=_Functions).named_endpoints]
            except _NOT_READABLE:
                continue
            if functions:
                function = "/chat" if "/chat" in functions else functions[0]
                self.path = prefix + self.function_prefix + function
                return

    def unsupported(self, get: Get) -> str:
        """Return a message for version 3, whose queue may accept calls only over a WebSocket."""
        try:
            app = msgspec.json.decode(get("/config"), type=_App)
        except _NOT_READABLE:
            return ""
        if not (app.version.startswith("3.") and app.enable_queue):
            return ""
        return (
            f"a Gradio {app.version} app whose queue accepts calls only over a WebSocket, which is not supported: start "
            "the app with queue(api_open=True), or without a queue, and give --llm-dialect gradio-run"
        )

    def body(self, ask: Ask) -> bytes:
        text = ask.text()
        inputs = ask.extra.get("data", [PROMPT])
        data = [text if value == PROMPT else value for value in inputs]
        return msgspec.json.encode(ask.extra | {"data": data})


class _CallResponse(msgspec.Struct):
    event_id: str


class GradioCall(Gradio):
    name = "gradio"
    path = "/gradio_api/call/chat"
    function_prefix = "/call"
    cumulative = True

    def events_path(self, ask: Ask, body: bytes | bytearray) -> str | None:
        try:
            event_id = msgspec.json.decode(body, type=_CallResponse).event_id
        except _NOT_READABLE:
            return None
        # an id is one component of a path
        return f"{self.path}/{event_id}" if event_id.isascii() and event_id.isalnum() else None

    def is_answer(self, chunk: Any, deltas: Sequence[Delta]) -> bool:
        return False  # no document answers a call

    def pieces(self, deltas: list[Delta], chunk: Any, event: Event) -> None:
        kind = event.kind
        if kind in ("generating", "complete"):
            text = _first_text(chunk)
            if text:
                deltas.append(Delta(ANSWER, event.end, text))
            if kind == "complete":
                deltas.append(Delta(END, event.end, "complete"))
        elif kind == "error":
            words = first_message(chunk.get("error"), chunk) if isinstance(chunk, dict) else first_message(chunk)
            deltas.append(Delta(ERROR, event.end, words or "the app failed without a message"))


class _Outputs(msgspec.Struct):
    data: list[Any] | None = None
    error: Any = None
    detail: Any = None


class GradioRun(Gradio):
    name = "gradio-run"
    path = "/run/predict"
    function_prefix = "/run"
    chunk: ClassVar[Any] = _Outputs
    streams = False

    def is_answer(self, chunk: _Outputs, deltas: Sequence[Delta]) -> bool:
        return chunk.data is not None

    def pieces(self, deltas: list[Delta], chunk: _Outputs, event: Event) -> None:
        if chunk.data is None and (has_value(chunk.error) or has_value(chunk.detail)):
            deltas.append(
                Delta(ERROR, event.end, first_message(chunk.error, chunk.detail) or "the app failed without a message")
            )
        elif text := _first_text(chunk.data):
            deltas.append(Delta(ANSWER, event.end, text))


def _first_text(outputs: Any) -> str:
    """Return a function's answer: that of a chat in its outputs, otherwise the first output with text."""
    if not isinstance(outputs, list) or not outputs:
        return ""
    if len(outputs) == 1:  # nearly always
        return _text(outputs[0])
    for output in outputs:
        if output.__class__ is list and _is_chat(output):
            return _text(output)
    return next((text for output in outputs if (text := _text(output))), "")


_PEOPLE = ("user", "human", "system")
"""Roles of messages that are not the model's."""


def _text(output: Any, depth: int = _MAX_DEPTH) -> str:
    """Return the text of one output; of a chat, the model's answer to the last message of the user."""
    if isinstance(output, str):
        return output
    if not depth:
        return ""
    if isinstance(output, dict):
        if output.get("role") in _PEOPLE:
            return ""
        return next((text for name in ("content", "text", "value") if (text := _text(output.get(name), depth - 1))), "")
    if not isinstance(output, list) or not output:
        return ""
    if _has_roles(output):
        return "".join(_text(message, depth - 1) for message in _after_last_user(output))
    if _has_pairs(output):
        return _text(output[-1][1], depth - 1)
    if all(isinstance(part, dict) for part in output):  # parts of one message
        return "".join(_text(part, depth - 1) for part in output)
    return next((text for message in reversed(output) if (text := _text(message, depth - 1))), "")


def _is_chat(output: list[Any]) -> bool:
    """Return whether each text of an output has a speaker."""
    return bool(output) and (_has_roles(output) or _has_pairs(output))


def _has_roles(output: list[Any]) -> bool:
    return all(isinstance(message, dict) and "role" in message for message in output)


def _has_pairs(output: list[Any]) -> bool:
    """Return whether an output is a list of questions and answers, as in chats before messages had roles."""
    return all(isinstance(pair, list) and len(pair) == 2 for pair in output)


def _after_last_user(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages after the last one of a person: an answer may have several, such as a thought and a text."""
    last = max((place for place, message in enumerate(messages) if message.get("role") in _PEOPLE), default=-1)
    return messages[last + 1 :]
