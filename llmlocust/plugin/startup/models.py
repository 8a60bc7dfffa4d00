"""Reader of the server's list of models, in the formats that servers use. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

_LISTS = ("data", "models")
_NAMES = ("id", "model", "name")


def listed(body: bytes) -> list[str] | None:
    """Return the names in a list of models: OpenAI's `{"data": [{"id": …}]}`, `{"models": […]}`, or a bare array, of
    objects or of names. None if the body is no such list.
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(document, dict):
        document = next((document[name] for name in _LISTS if isinstance(document.get(name), list)), None)
    if not isinstance(document, list):
        return None
    names = [_name(entry) for entry in document]
    return [name for name in names if name] if any(names) or not names else None


def _name(entry: Any) -> str:
    if isinstance(entry, dict):
        entry = next((entry[name] for name in _NAMES if isinstance(entry.get(name), str)), "")
    return entry if isinstance(entry, str) else ""
