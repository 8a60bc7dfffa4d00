"""The question of a row of a file or a data set, and the maximum length of its answer. Pure.

A row is a text, a list of messages, or an object with a field that has one of the names below. The request may be nested,
as in {"body": {"messages": […]}}.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeGuard, overload

import msgspec

from llmlocust.load.columns import OUTPUT_TOKENS, is_trace, listed, snake_case

Messages = list[dict[str, Any]]


class Talk(tuple[str, ...]):
    """The texts of a person in a conversation, one per turn."""

    __slots__ = ()


class Limited(NamedTuple):
    """A question whose row limits the tokens of its answer."""

    question: str | Messages | Talk
    max_tokens: int


Question = str | Messages | Talk | Limited


class Questions(Sequence[Question]):
    """The questions of a file or a data set. Each is read on access."""

    def __init__(self, count: int, read: Callable[[int], Question]) -> None:
        self._count, self._read = count, read

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Question: ...
    @overload
    def __getitem__(self, place: slice) -> list[Question]: ...
    def __getitem__(self, place: int | slice) -> Question | list[Question]:
        if isinstance(place, slice):
            return [self._read(index) for index in range(*place.indices(self._count))]
        return self._read(place)


_TALKS = ("turns", "conversations", "conversation", "dialogue", "dialog")
"""Names of conversations. The answers in them are omitted: the model gives its own."""
_SINGLE = ("prompt", "question", "instruction")
"""Names of a single question, also in data sets that have conversations beside it."""
_TEXTS = (
    "query",
    "problem",
    "user_prompt",
    "user_input",
    "text_input",
    "input_text",
    "input",
    "inputs",
    "text",
    "texts",
)
"""Further names of a single question."""
_JOINED = frozenset(("input", "inputs", "text", "texts"))
"""Names under which several texts are parts of one question. Under other names they are turns."""
MATERIAL = ("input", "context")
"""Names of the material that an instruction refers to."""
_INNER = ("body", "request", "payload", "payloads")
"""Names of fields that contain a request."""
QUESTIONS = (*_SINGLE, *_TEXTS)
"""Names of columns of questions in tables."""
_OWN = ("messages", *_SINGLE, *_TALKS, *_TEXTS)
QUESTION_NAMES = (*_OWN, *_INNER)
"""All names of a question, in order of preference."""
_LISTS = frozenset(("messages", *_TALKS))
"""Names under which a text is not a question."""
_SYSTEM = {"messages": "system", "input": "instructions"}
"""Names of a system prompt beside messages, as in the bodies of requests."""
_REQUEST_LIMITS = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "num_predict",
    "n_predict",
)
"""Names of token limits in requests."""
_UNLIMITED = frozenset(("num_predict", "n_predict"))
"""Names of _REQUESTED for which a negative number means no limit."""
LENGTHS = frozenset((*_REQUEST_LIMITS, "output_length", "output_len", *OUTPUT_TOKENS))
"""Names of the maximum tokens of an answer in rows."""
_SETTINGS = ("parameters", "sampling_params", "generation_config", "options")
"""Names of objects that contain LENGTHS."""
_WITH_LENGTHS = LENGTHS | set(_SETTINGS)
READ_NAMES = frozenset((*QUESTION_NAMES, *MATERIAL, *_SYSTEM.values(), *_WITH_LENGTHS))
"""All names that are read."""


def of_entry(entry: Any) -> Question:
    """Return the question of a row; empty if it has an empty one. Raises ValueError if it has none."""
    if isinstance(entry, str):
        return entry.strip()
    question = _question_of(entry)
    if question is None:
        raise ValueError(_needs(entry))
    return question


def is_message(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and ("role" in value or "from" in value)


def _question_of(entry: Any) -> Question | None:
    if isinstance(entry, list):
        entry = {"messages": entry}
    if not isinstance(entry, dict):
        return None
    question: Question | None = _own_question(entry)
    if question is None:
        question = _inner(entry)
    if question is None:
        named = {snake_case(str(name)): value for name, value in entry.items()}
        return None if named.keys() == entry.keys() else _question_of(named)
    if not question or isinstance(question, Limited) or _WITH_LENGTHS.isdisjoint(entry):
        return question
    return _limited(question, entry)


def _own_question(entry: dict[str, Any]) -> str | Messages | Talk | None:
    """Return the question in the first field with a known name; None if there is none."""
    for name in _OWN:
        value = entry.get(name)
        if value is None:
            continue
        question = _of_value(name, value, entry)
        if question is not None:
            return question
    return None


def _of_value(name: str, value: Any, entry: dict[str, Any]) -> str | Messages | Talk | None:
    if isinstance(value, str):
        return _of_text(name, value, entry)
    return _of_list(name, value, entry) if isinstance(value, list) else None


def _of_text(name: str, text: str, entry: dict[str, Any]) -> str | None:
    if name == "instruction":
        return "\n\n".join(
            [text, *(added for more in MATERIAL if (added := entry.get(more)) and isinstance(added, str))]
        )
    return None if name in _LISTS else text


def _of_list(name: str, values: list[Any], entry: dict[str, Any]) -> str | Messages | Talk | None:
    kinds = set(map(type, values))
    if kinds == {dict}:
        if name in _TALKS or "from" in values[0]:
            return Talk(words for turn in values if _speaker(turn) in _PEOPLE and (words := text_in(turn)))
        return _of_messages(name, values, entry) if "role" in values[0] else _of_parts(values)
    if kinds == {str} and name != "messages":
        return _of_texts(name, values)
    return Talk() if name in _TALKS and not values else None


def _of_texts(name: str, texts: list[str]) -> str | Talk:
    if len(texts) == 1:
        return texts[0]
    return "\n\n".join(texts) if name in _JOINED else Talk(texts)


def _of_messages(name: str, messages: Messages, entry: dict[str, Any]) -> Messages:
    if name == "input":
        messages = [_chat_message(message) for message in messages if is_message(message)]
    system = text_in(entry.get(_SYSTEM.get(name, "")))
    if system and not any(message.get("role") in ("system", "developer") for message in messages):
        return [{"role": "system", "content": system}, *messages]
    return messages


def _of_parts(parts: list[dict[str, Any]]) -> str | Messages | None:
    """Join the parts of one message. If some are not text, they are sent unchanged."""
    texts = [text_in(part) for part in parts]
    if all(texts):
        return "\n\n".join(texts)
    return [{"role": "user", "content": parts}] if any(texts) else None


# ── texts ──

_PEOPLE = ("human", "user", "")
"""Roles of a person. A turn without a role is a person's."""
_TEXT_FIELDS = ("value", "content", "text", "texts", "contents", "text_input", "prompt", "question")
"""Names of fields with the text of a turn."""


def _speaker(turn: dict[str, Any]) -> str:
    return str(turn.get("from") or turn.get("role") or "").lower()


def text_in(value: Any) -> str:
    """Return the text of a message, of its content or of a part; "" without text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n\n".join(filter(None, map(text_in, value)))
    if isinstance(value, dict):
        for name in _TEXT_FIELDS:
            if content := value.get(name):
                return text_in(content)
    return ""


def _chat_message(message: dict[str, Any]) -> dict[str, Any]:
    """Convert a message of the Responses API to one of chat completions."""
    content = message.get("content")
    parts = [_chat_part(part) for part in content] if isinstance(content, list) else content
    return {"role": message.get("role"), "content": parts}


def _chat_part(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("input_text", "output_text"):
        return {"type": "text", "text": part.get("text", "")}
    if kind == "input_image":
        return {"type": "image_url", "image_url": {"url": part.get("image_url")}}
    return part


def words_of(question: Question) -> str:
    """Return the last question as plain text; of a talk, the first."""
    if isinstance(question, Limited):
        question = question.question
    if isinstance(question, str):
        return question
    if isinstance(question, Talk):
        return question[0]
    content = next((message.get("content") for message in reversed(question) if message.get("role") == "user"), "")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


# ── nested requests ──


def _inner(entry: dict[str, Any]) -> Question | None:
    for name in (*_INNER, *_SINGLE, *_TEXTS):
        value = entry.get(name)
        if isinstance(value, str) and name in _INNER:
            value = _parsed(value)
        requests: list[Any] = value if isinstance(value, list) and name in _INNER else [value]
        if requests and all(isinstance(request, dict) for request in requests):
            question = _of_requests(requests)
            if question is not None:
                return question
    return None


def _parsed(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _of_requests(requests: Sequence[dict[str, Any]]) -> Question | None:
    """Return the question of nested requests. Several requests are a conversation of their last questions."""
    questions = [question for request in requests if (question := _question_of(request)) is not None]
    if len(questions) < len(requests):
        return None
    first = questions[0]
    if len(questions) == 1:
        return first
    talk = Talk(map(words_of, questions))
    return Limited(talk, first.max_tokens) if isinstance(first, Limited) else talk


# ── lengths ──


def _limited(question: str | Messages | Talk, entry: dict[str, Any]) -> Question:
    """Return the question with the first valid length of its row as limit."""
    for name, value in _lengths(entry):
        if value is None or value == "" or (isinstance(value, list) and name in OUTPUT_TOKENS):
            continue  # a list contains the tokens themselves
        try:
            tokens = float(value)
        except (TypeError, ValueError):
            tokens = 0.0
        if tokens < 0 and name in _UNLIMITED:
            continue
        if tokens < 1 or not tokens.is_integer():
            raise ValueError(f"{name} is a whole number of tokens, 1 or more — got {str(value)[:60]!r}")
        return Limited(question, int(tokens))
    return question


def _lengths(entry: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    holders = (entry.get(name) for name in _SETTINGS)
    for fields in (entry, *(holder for holder in holders if isinstance(holder, dict))):
        yield from ((name, fields[name]) for name in fields if name in LENGTHS)


# ── errors ──


def _needs(entry: Any) -> str:
    """Return the error message for a row without a question."""
    return f'a row needs "prompt", "messages" or another name of docs/prompts.md; this one {_described(entry)}'


def _described(entry: Any) -> str:
    if not isinstance(entry, dict):
        return f"is {_short(entry)}"
    wrong = next((name for name in QUESTION_NAMES if name in entry), None)
    if wrong:
        return f"has no question in {wrong!r}: {_short(entry[wrong])}"
    names = f"has {listed(entry)}"
    return f"{names}: a row of a trace (--llm-trace)" if is_trace(list(map(str, entry))) else names


def _short(value: Any) -> str:
    return json.dumps(value, default=str)[:60]
