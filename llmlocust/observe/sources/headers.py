"""Headers for the observed endpoints, from the environment. Pure but for the environment."""

from __future__ import annotations

import os
import re

VARIABLE = "LLMLOCUST_OBSERVE_HEADER"
"""Lines `NAME: VALUE` or `HOST NAME: VALUE`. `$NAME` in a value is a variable of the environment."""

_LINE = re.compile(r"(?:(?P<host>\S*[^\s:])\s+)?(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*:(?P<value>.*)")
_REFERENCE = re.compile(r"\$(?:\$|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)
_FRAMING = ("content-length", "transfer-encoding", "connection", "accept-encoding")


def headers_for(host: str, port: int | None) -> dict[str, str]:
    """Return the headers for an endpoint. A line with a host applies to that host only, and to all of its ports unless
    the line names one. Raises ValueError in one line, which does not repeat the text: it may be a secret.
    """
    headers: dict[str, str] = {}
    for line in os.environ.get(VARIABLE, "").replace(r"\n", "\n").splitlines():
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if not match or match["name"].lower() in _FRAMING:
            raise ValueError(f"{VARIABLE} must be NAME: VALUE, such as 'Authorization: Bearer $TOKEN'")
        value = _value(match["value"].strip())
        if match["host"] is None or match["host"].lower() in _places(host, port):
            headers[match["name"]] = value
    return headers


def _places(host: str, port: int | None) -> tuple[str, str]:
    shown = f"[{host}]" if ":" in host else host
    return shown, f"{shown}:{port}"


def _value(template: str) -> str:
    value = _REFERENCE.sub(_referenced, template)
    if not value:
        raise ValueError(f"{VARIABLE}: a value is missing; in a shell, put it in single quotes: 'NAME: $TOKEN'")
    if not value.isascii() or not value.replace("\t", " ").isprintable():
        raise ValueError(f"{VARIABLE}: a value contains characters that no header may contain")
    return value


def _referenced(match: re.Match[str]) -> str:
    name = match[1] or match[2]
    if not name:
        return "$"
    value = os.environ.get(name, "").strip()
    if not value:
        raise ValueError(f"{VARIABLE} needs the variable {name}, which is not set here: export it")
    return value
