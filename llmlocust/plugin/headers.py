"""Headers of requests: the protocol's, with a key, and those that a user gives. Pure.

A user's header is a template, `NAME: VALUE`, in which `$NAME` stands for a variable of the node's environment. Templates
travel to workers. Values are made at each use, and go to the server and nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from llmlocust.stream.dialects import DIALECTS, Dialect

SEPARATOR = r"\n"
"""Between the headers of one text. Values may hold commas, and a field of a web page holds no line break."""
MASK = "…"

_COMMON = {
    "Content-Type": "application/json",
    "Accept": "text/event-stream, application/x-ndjson, application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "llmlocust",
}
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|(?P<bare>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})", re.ASCII)
_FRAMING = ("content-length", "transfer-encoding")
_CUT_FROM, _MIN_TAIL = 180, 4
"""Length from which a text may have been cut off, and how many characters at its end identify a value that was cut."""
_MAX_WORD = 8
"""Shorter values are masked as whole words only: a 1 may stand anywhere."""


def listed(text: str) -> dict[str, str]:
    """Templates by their headers' names, from an option's text. ValueError in one line."""
    lines = text.replace(SEPARATOR, "\n").splitlines()
    return dict(_parsed(line) for line in lines if line.strip())


def names(text: str) -> str:
    """The same text as files may have it: with names, and without values."""
    return SEPARATOR.join(f"{name}: {MASK}" for name in listed(text))


def _parsed(line: str) -> tuple[str, str]:
    name, colon, value = (part.strip() for part in line.partition(":"))
    if not colon:  # the text may be a secret, so it is not repeated
        raise ValueError("--llm-header wants NAME: VALUE, such as 'api-key: $API_KEY'; one of them has no colon")
    return _checked(name, value)


def _checked(name: str, value: str) -> tuple[str, str]:
    if not _NAME.fullmatch(name):
        raise ValueError(f"--llm-header: {name[:40]!r} is no name of a header, which is letters, digits and hyphens")
    if name.lower() in _FRAMING:
        raise ValueError(f"--llm-header cannot set {name}: each request has its own")
    if not value:
        raise ValueError(
            f"--llm-header {name}: has no value. In a shell, single quotes keep $NAME as it is: '{name}: $NAME'"
        )
    return name, value


class Headers:
    """What a user's requests have beside the protocol's own headers: templates, of which the later ones win."""

    def __init__(self, *sources: Mapping[str, str]) -> None:
        """ValueError in one line where a name or a template is not valid."""
        self._templates: dict[str, tuple[str, str]] = {}
        for source in sources:
            for name, value in source.items():
                self._templates[name.lower()] = _checked(name, str(value).strip())

    def of(self, dialect: Dialect, request_id: str = "") -> dict[str, str]:
        """All headers of a request. A user's header replaces another of its name, whatever the case. ValueError in one
        line where the key or a variable cannot be used.
        """
        own = _COMMON | dialect.headers(_usable_key(dialect.key_variable))
        if request_id:
            own["X-Request-Id"] = request_id
        if not self._templates:
            return own
        kept = {name: value for name, value in own.items() if name.lower() not in self._templates}
        return kept | {name: _value(name, template) for name, template in self._templates.values()}

    def without_values(self, text: str) -> str:
        """A server's words without the keys and values that it was sent, should it have repeated them."""
        if text:
            for name, secret in sorted(self._secrets(), key=lambda each: len(each[1]), reverse=True):
                text = _masked(text, secret, f"[{name}]")
        return text

    def _secrets(self) -> Iterator[tuple[str, str]]:
        yield from (("key", key) for each in DIALECTS if (key := api_key(each.key_variable)))
        for name, template in self._templates.values():
            value = _VARIABLE.sub(_variable, template).strip()
            variables = (os.environ.get(variable, "").strip() for variable in _variables(template))
            yield from ((name, secret) for secret in (value, *_credentials(value), *variables) if secret)


def api_key(variable: str = "OPENAI_API_KEY") -> str:
    """Without white space around it, which files of secrets like to end with."""
    return (os.environ.get("LLMLOCUST_API_KEY") or os.environ.get(variable) or "").strip()


def _usable_key(variable: str) -> str:
    key = api_key(variable)
    if not key.isascii() or not key.isprintable():
        raise ValueError(f"the key in LLMLOCUST_API_KEY or {variable} holds characters that no key has: copy it again")
    return key


def _value(name: str, template: str) -> str:
    for variable in _variables(template):
        if not os.environ.get(variable, "").strip():
            raise ValueError(f"the header {name} needs the variable {variable}, which is not set here: export it")
    value = _VARIABLE.sub(_variable, template).strip()
    if not value.isascii() or not value.replace("\t", " ").isprintable():
        raise ValueError(
            f"the value of the header {name} holds a line break or other characters that no header may have"
        )
    return value


def _variables(template: str) -> list[str]:
    found = (match["bare"] or match["braced"] for match in _VARIABLE.finditer(template))
    return [name for name in found if name]


def _variable(match: re.Match[str]) -> str:
    return "$" if match["dollar"] else os.environ.get(match["bare"] or match["braced"], "").strip()


def _credentials(value: str) -> list[str]:
    """The words of a value, less a scheme such as Bearer before them."""
    words = value.split()
    return words[1:] if len(words) > 1 and words[0].isalpha() else words


def _masked(text: str, secret: str, mask: str) -> str:
    pattern, is_cut = re.escape(secret), len(text) >= _CUT_FROM
    text = re.sub(pattern if len(secret) >= _MAX_WORD else rf"(?<!\w){pattern}(?!\w)", mask, text)
    for length in range(len(secret) - 1, _MIN_TAIL - 1, -1) if is_cut else ():
        if text.endswith(secret[:length]):
            return text[:-length] + mask
    return text
