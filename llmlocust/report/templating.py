"""Rendering of templates to pages: each is one file that needs no network."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from llmlocust.report.languages.page_language import language_tag, spoken, unbroken
from llmlocust.text import figures as words
from llmlocust.text import media
from llmlocust.text.message import message

_PLACE = re.compile(r"%\((\w+)\)s")
"""A place as the i18n extension writes it."""


def render(template: str, **values: Any) -> str:
    """Return the page that a template and its values make, in the language of the page."""
    return media.document(environment(PackageLoader("llmlocust.report")).get_template(template).render(**values))


def environment(loader: BaseLoader) -> Environment:
    """Return the environment of the templates. It writes messages and {% trans %} blocks in the language of the page."""
    jinja_environment = Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=spoken,
        extensions=["jinja2.ext.i18n"],
    )
    jinja_environment.filters |= {
        "nb": lambda text: unbroken(spoken(text)),
        "duration": words.duration,
        "load": words.with_unit,
    }
    jinja_environment.globals |= {"gettext": _gettext, "language_tag": language_tag}
    jinja_environment.newstyle_gettext = True  # type: ignore[attr-defined]
    jinja_environment.policies["ext.i18n.trimmed"] = True
    return jinja_environment


def _gettext(template: str, **values: Any) -> Markup:
    """Return the text of a {% trans %} block. The values of its places are escaped."""
    escaped = {name: Markup.escape(spoken(value)) for name, value in values.items()}
    return Markup(spoken(message(template_of(template), **escaped)))  # noqa: S704 - the template is ours, its values are escaped


def template_of(text: str) -> str:
    """Return the template of a message for the text of a {% trans %} block as the i18n extension gives it."""
    return _PLACE.sub(r"{\1}", text).replace("%%", "%")
