"""The language of the page that is being made: messages are rendered in it, everything else stays as it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from llmlocust.report.languages.catalogue import LANGUAGES, Catalogue, messages_of
from llmlocust.text.message import Message

ENGLISH = "en"
_NUMBER_AND_UNIT = re.compile(
    r"(?<=\d) (?=(?:%|ms|s|µs|×|users?|streams?|requests/s|tokens/s|[KMGT]iB|W|MHz|cores?)(?:\W|$))"
)
_language: ContextVar[Catalogue | None] = ContextVar("language", default=None)


@contextmanager
def in_language(catalogue: Catalogue) -> Iterator[None]:
    """Render messages with a catalogue. Without one, they are written in English."""
    before = _language.set(catalogue)
    try:
        yield
    finally:
        _language.reset(before)


def page_in(language: str, make_page: Callable[[], str]) -> tuple[str, list[str]]:
    """Make a page in one of LANGUAGES. Also return the templates that stayed English because the catalogue lacks them."""
    if language == ENGLISH:
        return make_page(), []
    catalogue = Catalogue(messages_of(language), LANGUAGES[language])
    with in_language(catalogue):
        page = make_page()
    return page, list(dict.fromkeys(catalogue.missing))


def language_tag() -> str:
    """Return the tag of the page's language for its `lang` attribute."""
    catalogue = _language.get()
    return LANGUAGES[ENGLISH] if catalogue is None else catalogue.tag


def spoken(value: Any) -> Any:
    """Return a message in the language of the page; anything else as it is."""
    catalogue = _language.get()
    if catalogue is None or not isinstance(value, Message):
        return value
    return unbroken(catalogue.render(value))


def unbroken(text: str) -> str:
    """Return a text in which numbers stay on one line with their units."""
    return _NUMBER_AND_UNIT.sub("\N{NO-BREAK SPACE}", text)
