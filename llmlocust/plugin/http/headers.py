"""Headers of requests: those of the protocol, with a key, and those that a user gives. Pure.

A user's header is a template, `NAME: VALUE`, in which `$NAME` is a variable of the node's environment. Templates are sent
to workers. Values are computed at each use, and are sent only to the server.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping

from llmlocust.stream.dialects import DIALECTS, Dialect

SEPARATOR = r"\n"
"""The separator of headers in one text: values may contain commas, and a field of a web page contains no line break."""
MASK = "…"
OWN_KEY = "LLMLOCUST_API_KEY"
"""The variable of the key for the server under test, whichever its vendor."""

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
"""Length from which a text may have been cut off, and the number of characters at its end that identify a cut value."""
_MAX_WORD = 8
"""Characters. Shorter values are masked only as whole words: a 1 may occur anywhere."""


def listed(text: str) -> dict[str, str]:
    """Return templates by the names of their headers, from an option's text. Raises ValueError in one line."""
    lines = text.replace(SEPARATOR, "\n").splitlines()
    return dict(_parsed(line) for line in lines if line.strip())


def names(text: str) -> str:
    """Return the text for the run's files: with names, and without values."""
    return SEPARATOR.join(f"{name}: {MASK}" for name in listed(text))


def _parsed(line: str) -> tuple[str, str]:
    name, colon, value = (part.strip() for part in line.partition(":"))
    if not colon:  # the text may be a secret, so it is not repeated
        raise ValueError("--llm-header must be NAME: VALUE, such as 'api-key: $API_KEY'; a colon is missing")
    return _checked(name, value)


def _checked(name: str, value: str) -> tuple[str, str]:
    if not NAME.fullmatch(name):
        raise ValueError(f"--llm-header: {name[:40]!r} is not a valid header name: use letters, digits and hyphens")
    if name.lower() in _FRAMING:
        raise ValueError(f"--llm-header cannot set {name}: each request has its own")
    if not value:
        raise ValueError(
            f"--llm-header {name}: the value is missing. In a shell, put it in single quotes: '{name}: $NAME'"
        )
    return name, value


class Headers:
    """Headers of a user's requests in addition to the protocol's own: templates, of which later ones replace earlier."""

    def __init__(self, *sources: Mapping[str, str], guessed_at: str | None = None) -> None:
        """`guessed_at` is the host whose dialect is detected: a vendor's key is sent there only if the host is the vendor's.
        None: the user named the dialect. Raises ValueError in one line if a name or a template is not valid.
        """
        self._guessed_at = guessed_at
        self._templates: dict[str, tuple[str, str]] = {}
        for source in sources:
            for name, value in source.items():
                self._templates[name.lower()] = _checked(name, str(value).strip())

    def of(self, dialect: Dialect, request_id: str = "") -> dict[str, str]:
        """Return all headers of a request. A user's header replaces one of the same name, in upper or lower case. Raises
        ValueError in one line if the key or a variable cannot be used.
        """
        own = _COMMON | dialect.headers(_usable_key(self.key_variable(dialect)))
        if request_id:
            own["X-Request-Id"] = request_id
        if not self._templates:
            return own
        kept = {name: value for name, value in own.items() if name.lower() not in self._templates}
        return kept | {name: _value(name, template) for name, template in self._templates.values()}

    def own(self, dialect: Dialect) -> dict[str, str]:
        """Return the headers of requests that are not the same for every server. Raises ValueError like `of`."""
        return {name: value for name, value in self.of(dialect).items() if name not in _COMMON}

    def key_variable(self, dialect: Dialect) -> str:
        """Return the variable that contains the key of the requests; empty if they carry no key."""
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
        """Return a server's message in which the secrets of the request are masked. `of_address` are the secrets of the
        address, with their names.
        """
        if text:
            secrets = (*self._secrets(), *of_address)
            for name, secret in sorted(secrets, key=lambda pair: len(pair[1]), reverse=True):
                text = _masked(text, secret, f"[{name}]")
        return text

    def _secrets(self) -> Iterator[tuple[str, str]]:
        yield from (("key", key) for dialect in DIALECTS if (key := api_key(dialect.key_variable)))
        for name, template in self._templates.values():
            value = _VARIABLE.sub(_variable, template).strip()
            variables = map(_in_environment, _variables(template))
            yield from ((name, secret) for secret in (value, *_credentials(value), *variables) if secret)


def api_key(variable: str = "OPENAI_API_KEY") -> str:
    """Return the key in the environment; empty if there is none."""
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
            f"the value of the header {name} contains a line break or other characters that no header may contain"
        )
    return value


def _variables(template: str) -> list[str]:
    names_and_dollars = (match["bare"] or match["braced"] for match in _VARIABLE.finditer(template))
    return [name for name in names_and_dollars if name]


def _variable(match: re.Match[str]) -> str:
    return "$" if match["dollar"] else _in_environment(match["bare"] or match["braced"])


def _credentials(value: str) -> list[str]:
    """Return the words of a value, without a scheme such as Bearer before them."""
    words = value.split()
    return words[1:] if len(words) > 1 and words[0].isalpha() else words


def _masked(text: str, secret: str, mask: str) -> str:
    pattern, is_cut = re.escape(secret), len(text) >= _CUT_FROM
    text = re.sub(pattern if len(secret) >= _MAX_WORD else rf"(?<!\w){pattern}(?!\w)", mask, text)
    for length in range(len(secret) - 1, _MIN_TAIL - 1, -1) if is_cut else ():
        if text.endswith(secret[:length]):
            return text[:-length] + mask
    return text
