"""Messages: sentences of the report, and parts of sentences, that can be rendered in other languages. Pure.

A message is its finished English text. It also keeps the template and the values that the text was made of, so that a
catalogue can render it by the template (report.languages.catalogue). An f-string or `+` makes plain text of a message;
`message` and the functions below keep its structure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, overload


class Message(str):
    """An English text with the template and the values that it was made of. Values may be messages too."""

    __slots__ = ("template", "values")
    template: str
    values: Mapping[str, str]

    def __new__(cls, text: str, template: str, values: Mapping[str, str]) -> Self:
        new = super().__new__(cls, text)
        new.template, new.values = template, values
        return new

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy the text alone."""
        return str, (str(self),)


def message(template: str, /, **values: object) -> Message:
    """Return the message that a template with named places and their values make."""
    known = {name: value if isinstance(value, str) else str(value) for name, value in values.items()}
    return Message(template.format_map(known), template, known)


def term(text: str) -> Message:
    """Return a text from one of our tables, such as the name of a metric, as a message."""
    return Message(text, text, {})


def clauses(parts: Sequence[str]) -> str:
    """Return parts of a sentence with semicolons between them."""
    return _folded(parts, lambda first, then: message("{first}; {then}", first=first, then=then))


def sentences(parts: Sequence[str]) -> str:
    """Return sentences with spaces between them."""
    return _folded(parts, lambda first, then: message("{first} {then}", first=first, then=then))


def enumeration(parts: Sequence[str]) -> str:
    """Return parts with commas between them."""
    return _folded(parts, lambda first, then: message("{first}, {then}", first=first, then=then))


@overload
def capitalised(text: Message) -> Message: ...
@overload
def capitalised(text: str) -> str: ...
def capitalised(text: str) -> str:
    """Return a text with a capital letter. The template keeps its small one."""
    english = text[:1].upper() + text[1:]
    return Message(english, text.template, text.values) if isinstance(text, Message) else english


_FORM = {"text", "template", "values"}
_MAX_PARTS = 100
"""Maximum parts of a message that is read from a file. A message of ours has far fewer."""


def to_json(text: str) -> Any:
    """Return the JSON form of a message: its text, template and values. Plain text stays text."""
    if not isinstance(text, Message):
        return text
    values = {name: to_json(value) for name, value in text.values.items()}
    return {"text": str(text), "template": text.template, "values": values}


def from_json(value: dict[str, Any]) -> Any:
    """Return the message whose JSON form an object is; other objects as they are. For json.loads as `object_hook`.

    The file may be hand-made or hostile. The template is not filled in: the text is that of the file. It is plain text if
    the template or the values have other types, or there are too many.
    """
    if value.keys() != _FORM or not isinstance(value["text"], str):
        return value
    text, template, values = str(value["text"]), value["template"], value["values"]
    if not isinstance(template, str) or not isinstance(values, dict):
        return text
    if not all(isinstance(part, str) for part in values.values()):
        return text
    read = Message(text, template, values)
    return read if _parts_of(read) <= _MAX_PARTS else text


def _parts_of(text: str) -> int:
    """Return the number of messages and plain values in a text, itself included."""
    return 1 + sum(map(_parts_of, text.values.values())) if isinstance(text, Message) else 1


def _folded(parts: Sequence[str], join: Callable[[str, str], Message]) -> str:
    """Join neighbours in pairs, then the pairs: the depth of the result grows only with the logarithm of their number."""
    joined = list(parts)
    while len(joined) > 1:
        pairs = [join(first, then) for first, then in zip(joined[::2], joined[1::2], strict=False)]
        joined = [*pairs, *joined[2 * len(pairs) :]]
    return joined[0] if joined else ""
