"""A catalogue: what messages say in one language, by their English templates."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files

from llmlocust.text.message import Message

LANGUAGES = {"en": "en", "zh": "zh-Hans"}
"""What --lang takes, with the name that a page tells."""


class Catalogue:
    """Translations by English templates. Places are named, so a translation may have them in any order."""

    def __init__(self, messages: Mapping[str, str]) -> None:
        self.messages = messages
        self.missing: list[str] = []
        """What was asked for and is not known, in the order of asking."""

    def render(self, message: Message) -> str:
        """Return a message in this language; its English, noted in `missing`, if the catalogue lacks the template.
        Plain values (numbers, names, options) stay as they are.
        """
        said = self.messages.get(message.template)
        if said is None:
            self.missing.append(message.template)
            return str(message)
        return said.format_map({name: self._rendered(value) for name, value in message.values.items()})

    def _rendered(self, value: str) -> str:
        return self.render(value) if isinstance(value, Message) else value


def messages_of(language: str) -> dict[str, str]:
    """Return the entries of the catalogue of one of LANGUAGES but English."""
    path = files("llmlocust.report").joinpath("languages", language, "messages.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))
