"""A catalogue: translations of messages into one language, by their English templates."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files

from llmlocust.text.message import Message

LANGUAGES = {"en": "en", "zh": "zh-Hans"}
"""Values of --lang, with the language tag of a page."""


class Catalogue:
    """Translations by English templates. Places are named, so a translation may have them in any order."""

    def __init__(self, messages: Mapping[str, str], tag: str) -> None:
        self.messages = messages
        self.tag = tag
        """Language tag of a page."""
        self.missing: list[str] = []
        """Templates that were looked up and are missing, in order."""

    def render(self, message: Message) -> str:
        """Return a message in this language; its English, noted in `missing`, if the catalogue lacks the template.
        Plain values (numbers, names, options) stay as they are.
        """
        translation = self.messages.get(message.template)
        if translation is not None:
            values = {name: self._rendered(value) for name, value in message.values.items()}
            with suppress(KeyError):  # a message of a hand-made run.json may lack values
                return _filled(translation, values)
        self.missing.append(message.template)
        return str(message)

    def _rendered(self, value: str) -> str:
        return self.render(value) if isinstance(value, Message) else value


_PLACE = re.compile(r"\{(\w+)\}")
_WIDE = re.compile(r"[\u3000-\u9fff\uff00-\uffef]")
"""A character of a script that has no spaces between words."""


def _filled(translation: str, values: Mapping[str, str]) -> str:
    """Return a translation with its values. Around a place, a space between two wide characters is left out: the
    translation has it for values in Latin letters. Raises KeyError if a value is missing.
    """
    text = ""
    for at, piece in enumerate(_PLACE.split(translation)):
        text = _joined(text, values[piece] if at % 2 else piece)
    return text


def _joined(left: str, right: str) -> str:
    if left.endswith(" ") and _WIDE.match(left[-2:-1]) and _WIDE.match(right):
        return left[:-1] + right
    if right.startswith(" ") and _WIDE.match(left[-1:]) and _WIDE.match(right[1:]):
        return left + right[1:]
    return left + right


def messages_of(language: str) -> dict[str, str]:
    """Return the entries of the catalogue of a language, from all its files; not of English. Raises ValueError if two
    files have the same entry.
    """
    entries: dict[str, str] = {}
    for file in sorted(files("llmlocust.report").joinpath("languages", language).iterdir(), key=lambda file: file.name):
        of_file = tomllib.loads(file.read_text(encoding="utf-8"))
        if twice := entries.keys() & of_file.keys():
            raise ValueError(f"{file.name}: already in another file of the catalogue: {', '.join(sorted(twice))}")
        entries |= of_file
    return entries
