"""Error messages of servers: the fields that contain them, and whether a text reports a failure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llmlocust.stream import tolerant
from llmlocust.stream.limits import is_short

_NOTHING = frozenset(("", "null", "none", "nil", "undefined"))
"""Values that mean "nothing"."""
_NO_ERROR = _NOTHING | {"ok", "success", "false", "0"}
"""Values that mean "no error"."""
_FAILURE_WORDS = re.compile(
    r"error|exception|fail|traceback|time[d -]*out|unavailable|overload|exceed|out of memory|abort|refus|denied|too (many|"
    r"long|large)|cannot|could not|unable|crash|错误|失败|异常|超时|繁忙|超限",
    re.IGNORECASE,
)
_SUCCEEDED = (0, 200, "0", "200")


class ErrorFields(msgspec.Struct):
    """The fields in which servers report an error: OpenAI, vLLM, FastAPI, gateways, and plain strings."""

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
        """Return the first message; empty without one."""
        return first_message(
            self.error, self.errors, self.message, self.msg, self.detail, self.error_message, self.error_msg
        )

    def is_error(self) -> bool:
        """Whether the object reports a failure. A message alone does not."""
        if any(map(has_value, (self.error, self.errors, self.error_message, self.error_msg, self.error_code))):
            return True
        if "error" in (self.object, self.type):
            return True
        if not isinstance(self.message or self.msg or self.detail, str | list):
            return False
        codes = [code for code in (self.code, self.status, self.status_code) if has_value(code)]
        return self.success is False or bool(self.detail) or any(code not in _SUCCEEDED for code in codes)


_ERROR_FIELDS = msgspec.json.Decoder(ErrorFields)


def error_fields(data: bytes) -> ErrorFields | None:
    """Decode the error fields of a JSON object; None where the data is not a JSON object, or a very long one."""
    if not is_short(data):
        return None
    try:
        return _ERROR_FIELDS.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        fitted: ErrorFields = tolerant.fit(tolerant.decoded(data), ErrorFields)
    except ValueError:
        return None
    return fitted


def server_words(body: bytes) -> str:
    """Return the message in an error's body, in one line."""
    fields = error_fields(body)
    return (fields.words() if fields else "") or plain(body)


def error_in(data: bytes) -> str:
    """Return the message of an error outside the protocol; empty without one."""
    if not (b"rror" in data or b'"message"' in data or b'"msg"' in data or b'"detail"' in data):
        return ""
    fields = error_fields(data)
    return (fields.words() or "an error without words") if fields and fields.is_error() else ""


def has_value(value: Any) -> bool:
    """Whether a field has a value: an object whose fields are all empty has none."""
    try:
        return _has_value(value)
    except RecursionError:
        return True


def _has_value(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_value, value.values()))
    if isinstance(value, list):
        return any(map(_has_value, value))
    return value.strip().lower() not in _NO_ERROR if isinstance(value, str) else bool(value)


def first_message(*places: object) -> str:
    """Return the message of the first of these fields that has one; empty without any."""
    for place in places:
        message = (place.get("message") or place) if isinstance(place, dict) else place
        if message is not True and has_value(message):
            try:
                return tolerant.whole_text(str(message))
            except RecursionError:
                return "an error message that is nested too deeply"
    return ""


def reports_failure(words: str) -> bool:
    """Whether a text outside the protocol reports a failure."""
    return bool(_FAILURE_WORDS.search(words))


def reason(value: Any) -> str:
    """Return a finish reason; empty for values that mean none, such as `null`, "null" and false."""
    if value.__class__ is str:
        return "" if value.strip().lower() in _NOTHING else value
    if isinstance(value, dict):
        return first_message(value.get("type"), value.get("reason"), value)
    return str(value) if has_value(value) else ""


def plain(body: bytes) -> str:
    """Return the beginning of a text in one line, without HTML tags."""
    text = body[:2000].decode(errors="replace")
    if text.count("\ufffd") > len(text) / _MAX_BROKEN:
        return NO_TEXT
    return in_one_line(_TAGS.sub(" ", text)) or "an empty body"


_TAGS = re.compile(r"<(style|script|head)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
NO_TEXT = "bytes that are not text"
_MAX_BROKEN = 10
"""Bytes are not text where more than one character in this many cannot be decoded."""
MAX_LENGTH = 200
"""Maximum characters of an error message."""


def in_one_line(text: str) -> str:
    """Return the beginning of a text in one line, without characters that a terminal would execute."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text[:2000])
    return " ".join(printable.split())[:MAX_LENGTH].rstrip()
