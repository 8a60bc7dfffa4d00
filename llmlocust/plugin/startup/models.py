"""Reader of the server's list of models, in the formats that servers use. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

_LISTS = ("data", "models")
_NAMES = ("id", "model", "name")
_MAX_OWNER = 60


def listed(body: bytes) -> list[str] | None:
    """Return the names in a list of models: OpenAI's `{"data": [{"id": …}]}`, `{"models": […]}`, or a bare array, of
    objects or of names. None if the body is no such list.
    """
    document = _document(body)
    if not isinstance(document, list):
        return None
    names = [_name(entry) for entry in document]
    return [name for name in names if name] if any(names) or not names else None


def owner(body: bytes) -> str:
    """Return the owner of the first model of a list, by which servers name themselves ("vllm", "llamacpp"); empty if there
    is none.
    """
    for entry in _document(body) or ():
        text = entry.get("owned_by") if isinstance(entry, dict) else None
        if isinstance(text, str) and text.isprintable():
            return text[:_MAX_OWNER]
    return ""


def _document(body: bytes) -> list[Any] | None:
    """Return the list in a body; None if there is none."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(document, dict):
        document = next((document[name] for name in _LISTS if isinstance(document.get(name), list)), None)
    return document if isinstance(document, list) else None


def _name(entry: Any) -> str:
    if isinstance(entry, dict):
        entry = next((entry[name] for name in _NAMES if isinstance(entry.get(name), str)), "")
    return entry if isinstance(entry, str) else ""
