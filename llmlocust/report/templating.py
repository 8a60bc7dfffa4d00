"""Pages out of templates: one file each, that needs no network."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from llmlocust.text import figures as words
from llmlocust.text import media

_NUMBER_AND_UNIT = re.compile(r"(?<=\d) (?=(?:%|ms|s|µs|×|users?|streams?|requests/s|tokens/s)(?:\W|$))")


def render(template: str, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("llmlocust.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"nb": unbroken, "duration": words.duration, "load": words.with_unit}
    return media.document(environment.get_template(template).render(**values))


def unbroken(text: str) -> str:
    """Numbers stay on one line with their units."""
    return _NUMBER_AND_UNIT.sub("\N{NO-BREAK SPACE}", text)
