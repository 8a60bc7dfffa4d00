"""The words of a server, where servers put them; and whether they say that something failed."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llmlocust.stream import tolerant
from llmlocust.stream.limits import is_short

_NOTHING = frozenset(("", "null", "none", "nil", "undefined"))
"""Words that stand for nothing,"""
_NO_ERROR = _NOTHING | {"ok", "success", "false", "0"}
"""and those that stand for no error."""
_TROUBLE = re.compile(
    r"error|exception|fail|traceback|time[d -]*out|unavailable|overload|exceed|out of memory|abort|refus|denied|too (many|"
    r"long|large)|cannot|could not|unable|crash|错误|失败|异常|超时|繁忙|超限",
    re.IGNORECASE,
)
_SUCCEEDED = (0, 200, "0", "200")


class Refusal(msgspec.Struct):
    """Where servers put the words of an error: OpenAI, vLLM, FastAPI, gateways, and plain strings."""

    error: Any = None
    errors: Any = None
    message: Any = None
    msg: Any = None
    detail: Any = None
    error_message: Any = None
    error_msg: Any = None
    code: Any = None
    error_code: Any = None
    status: Any = None
    status_code: Any = None
    success: Any = None
    object: Any = None
    type: Any = None

    def words(self) -> str:
        """What it says first; empty where it says nothing."""
        return said(self.error, self.errors, self.message, self.msg, self.detail, self.error_message, self.error_msg)

    def is_error(self) -> bool:
        """Whether it says that something failed. A message alone does not."""
        if any(map(is_something, (self.error, self.errors, self.error_message, self.error_msg, self.error_code))):
            return True
        if "error" in (self.object, self.type):
            return True
        if not isinstance(self.message or self.msg or self.detail, str | list):
            return False
        codes = [each for each in (self.code, self.status, self.status_code) if is_something(each)]
        return self.success is False or bool(self.detail) or any(each not in _SUCCEEDED for each in codes)


_REFUSAL = msgspec.json.Decoder(Refusal)


def refusal(data: bytes) -> Refusal | None:
    """What a JSON object says of an error; None where it is no JSON object, or a very long one."""
    if not is_short(data):
        return None
    try:
        return _REFUSAL.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        found: Refusal = tolerant.fit(tolerant.decoded(data), Refusal)
    except ValueError:
        return None
    return found


def server_words(body: bytes) -> str:
    """What the body of an error says, in one line."""
    found = refusal(body)
    return (found.words() if found else "") or plain(body)


def error_in(data: bytes) -> str:
    """The words of an error that is no part of a protocol; empty where there is none."""
    if not (b"rror" in data or b'"message"' in data or b'"msg"' in data or b'"detail"' in data):
        return ""
    found = refusal(data)
    return (found.words() or "an error without words") if found and found.is_error() else ""


def is_something(value: Any) -> bool:
    """Whether a field holds anything: an object of empty fields holds nothing."""
    try:
        return _is_something(value)
    except RecursionError:
        return True


def _is_something(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_something, value.values()))
    if isinstance(value, list):
        return any(map(_is_something, value))
    return value.strip().lower() not in _NO_ERROR if isinstance(value, str) else bool(value)


def said(*places: object) -> str:
    """What the first place that says something says."""
    for place in places:
        told = (place.get("message") or place) if isinstance(place, dict) else place
        if told is not True and is_something(told):
            try:
                return tolerant.whole_text(str(told))
            except RecursionError:
                return "words that are nested too deeply"
    return ""


def says_trouble(words: str) -> bool:
    """Whether a text outside the protocol says that something failed."""
    return bool(_TROUBLE.search(words))


def reason(value: Any) -> str:
    """A reason to finish; empty for what stands for none, such as `null`, "null" and false."""
    if value.__class__ is str:
        return "" if value.strip().lower() in _NOTHING else value
    if isinstance(value, dict):
        return said(value.get("type"), value.get("reason"), value)
    return str(value) if is_something(value) else ""


def plain(body: bytes) -> str:
    """The beginning of a text in one line, without HTML's tags."""
    text = body[:2000].decode(errors="replace")
    if text.count("\ufffd") > len(text) / _MOST_BROKEN:
        return NO_TEXT
    return in_one_line(_TAGS.sub(" ", text)) or "an empty body"


_TAGS = re.compile(r"<(style|script|head)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
NO_TEXT = "bytes that are no text"
_MOST_BROKEN = 10
"""Bytes are no text where more than one character in this many cannot be decoded."""
LONGEST = 200
"""Characters of a failure's words that are kept."""


def in_one_line(text: str) -> str:
    """The beginning of a text in one line, without characters that a terminal would act on."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text[:2000])
    return " ".join(printable.split())[:LONGEST].rstrip()
