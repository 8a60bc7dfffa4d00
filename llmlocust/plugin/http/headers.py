"""Headers of requests: the protocol's, with a key, and those that a user gives. Pure.

A user's header is a template, `NAME: VALUE`, in which `$NAME` stands for a variable of the node's environment. Templates
travel to workers. Values are made at each use, and go to the server and nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping

from llmlocust.stream.dialects import DIALECTS, Dialect

SEPARATOR = r"\n"
"""Between the headers of one text. Values may hold commas, and a field of a web page holds no line break."""
MASK = "…"
OWN_KEY = "LLMLOCUST_API_KEY"
"""The variable of a key that is meant for the server under test, not for one vendor."""

_COMMON = {
    "Content-Type": "application/json",
    "Accept": "text/event-stream, application/x-ndjson, application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "llmlocust",
}
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
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
    if not NAME.fullmatch(name):
        raise ValueError(f"--llm-header: {name[:40]!r} is not a valid header name: use letters, digits and hyphens")
    if name.lower() in _FRAMING:
        raise ValueError(f"--llm-header cannot set {name}: each request has its own")
    if not value:
        raise ValueError(
            f"--llm-header {name}: has no value. In a shell, single quotes keep $NAME as it is: '{name}: $NAME'"
        )
    return name, value


class Headers:
    """What a user's requests have beside the protocol's own headers: templates, of which the later ones win."""

    def __init__(self, *sources: Mapping[str, str], guessed_at: str | None = None) -> None:
        """ValueError in one line where a name or a template is not valid. `guessed_at` is the host whose dialect is found
        out: a vendor's key is sent there only if the host is the vendor's. None: the user named the dialect.
        """
        self._guessed_at = guessed_at
        self._templates: dict[str, tuple[str, str]] = {}
        for source in sources:
            for name, value in source.items():
                self._templates[name.lower()] = _checked(name, str(value).strip())

    def of(self, dialect: Dialect, request_id: str = "") -> dict[str, str]:
        """All headers of a request. A user's header replaces another of its name, whatever the case. ValueError in one
        line where the key or a variable cannot be used.
        """
        own = _COMMON | dialect.headers(_usable_key(self.key_variable(dialect)))
        if request_id:
            own["X-Request-Id"] = request_id
        if not self._templates:
            return own
        kept = {name: value for name, value in own.items() if name.lower() not in self._templates}
        return kept | {name: _value(name, template) for name, template in self._templates.values()}

    def key_variable(self, dialect: Dialect) -> str:
        """Return the variable that contains the key of the requests; empty where they carry no key."""
        if _in_environment(OWN_KEY):
            return OWN_KEY
        is_sent = self._guessed_at is None or _is_of(self._guessed_at, dialect.key_hosts)
        return dialect.key_variable if is_sent and _in_environment(dialect.key_variable) else ""

    def variables(self, dialect: Dialect) -> list[str]:
        """Return all variables whose values the requests carry."""
        key = self.key_variable(dialect)
        with_key = dialect.headers("key").items() - dialect.headers("").items()
        is_replaced = all(name.lower() in self._templates for name, _ in with_key)
        used = [name for _, template in self._templates.values() for name in _variables(template)]
        return list(dict.fromkeys([*([key] if key and not is_replaced else []), *used]))

    def without_values(self, text: str, of_address: Iterable[tuple[str, str]] = ()) -> str:
        """Return a server's message with the secrets masked that the request contained. `of_address` are the secrets of the
        address, with their names.
        """
        if text:
            for name, secret in sorted((*self._secrets(), *of_address), key=lambda each: len(each[1]), reverse=True):
                text = _masked(text, secret, f"[{name}]")
        return text

    def _secrets(self) -> Iterator[tuple[str, str]]:
        yield from (("key", key) for each in DIALECTS if (key := api_key(each.key_variable)))
        for name, template in self._templates.values():
            value = _VARIABLE.sub(_variable, template).strip()
            variables = map(_in_environment, _variables(template))
            yield from ((name, secret) for secret in (value, *_credentials(value), *variables) if secret)


def api_key(variable: str = "OPENAI_API_KEY") -> str:
    """The key in the environment; empty where there is none."""
    return _in_environment(OWN_KEY) or _in_environment(variable)


def _in_environment(variable: str) -> str:
    """Return a variable's value without surrounding white space: files of secrets often end with a line break."""
    return os.environ.get(variable, "").strip()


def _is_of(host: str, domains: Iterable[str]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def _usable_key(variable: str) -> str:
    key = _in_environment(variable) if variable else ""
    if not key.isascii() or not key.isprintable():
        raise ValueError(f"the key in {variable} contains characters that no key has: copy it again")
    return key


def _value(name: str, template: str) -> str:
    for variable in _variables(template):
        if not _in_environment(variable):
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
    return "$" if match["dollar"] else _in_environment(match["bare"] or match["braced"])


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
