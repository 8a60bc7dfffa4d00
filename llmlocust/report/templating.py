"""Rendering of templates to pages: each is one file that needs no network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from llmlocust.report.languages.catalogue import Catalogue
from llmlocust.text import figures as words
from llmlocust.text import media
from llmlocust.text.message import Message, message

_NUMBER_AND_UNIT = re.compile(r"(?<=\d) (?=(?:%|ms|s|µs|×|users?|streams?|requests/s|tokens/s)(?:\W|$))")
_CLOSE = re.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef]) (?=[\u3000-\u9fff\uff00-\uffef])")
"""Spaces between two characters of a script that has none."""
_PLACE = re.compile(r"%\((\w+)\)s")
"""A place as the i18n extension writes it."""
BEGINS, ENDS = "\ue000", "\ue001"
"""Marks around text that is already in the language of the page, until `translated` removes them."""
_language: ContextVar[Catalogue | None] = ContextVar("language", default=None)


@contextmanager
def in_language(catalogue: Catalogue) -> Iterator[None]:
    """Render messages with a catalogue. Without one, they are written in English."""
    before = _language.set(catalogue)
    try:
        yield
    finally:
        _language.reset(before)


def spoken(value: Any) -> Any:
    """Return a message in the language of the page, between marks; anything else as it is."""
    if _language.get() is None or not isinstance(value, Message):
        return value
    return f"{BEGINS}{_translated(value)}{ENDS}"


def _translated(value: Any) -> Any:
    catalogue = _language.get()
    if catalogue is None or not isinstance(value, Message):
        return value
    return tidied(catalogue.render(value))


def render(template: str, **values: Any) -> str:
    return media.document(environment(PackageLoader("llmlocust.report")).get_template(template).render(**values))


def environment(loader: BaseLoader) -> Environment:
    """Return the environment of the templates. It writes messages and {% trans %} blocks in the language of the page."""
    made = Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=spoken,
        extensions=["jinja2.ext.i18n"],
    )
    made.filters |= {"nb": unbroken, "duration": words.duration, "load": words.with_unit}
    made.globals |= {"gettext": _gettext}
    made.newstyle_gettext = True  # type: ignore[attr-defined]
    made.policies["ext.i18n.trimmed"] = True
    return made


def _gettext(template: str, **values: Any) -> Markup:
    """Return the text of a {% trans %} block. The values of its places are escaped."""
    escaped = {name: Markup.escape(_translated(value)) for name, value in values.items()}
    made = message(_PLACE.sub(r"{\1}", template).replace("%%", "%"), **escaped)
    return Markup(spoken(made))  # noqa: S704 - the template is ours, its values are escaped


def unbroken(text: str) -> str:
    """Return a text in which numbers stay on one line with their units."""
    if isinstance(text, Message):
        text = spoken(text)
    return _NUMBER_AND_UNIT.sub("\N{NO-BREAK SPACE}", text)


def tidied(text: str) -> str:
    """Return a translation without spaces between characters of a script that has none."""
    return _NUMBER_AND_UNIT.sub("\N{NO-BREAK SPACE}", _CLOSE.sub("", text))
