"""URLs that a user gives: checked, and shown without secrets. Pure."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)?//")
_KNOWN_SCHEME = re.compile(r"(https?:)?//", re.IGNORECASE)
"""Schemes that are not mistaken for a user name: in other texts with ://, the password may begin with //."""
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.%]*\]|[^\s:@/?#\[\]]*)(:\d+)?")
_HOST = re.compile(r"[\w.~-]+|[0-9a-f:.]+(%[\w.~-]+)?", re.ASCII)


def split(url: str) -> SplitResult:
    """Split a URL, in which http:// may be missing. Raises ValueError if it has no host, or the host is not valid."""
    parts = urlsplit(url if _SCHEME.match(url) else f"http://{url}")
    host = (
        (parts.hostname or "").encode("idna").decode() if not (parts.hostname or "").isascii() else parts.hostname or ""
    )
    if not _HOST.fullmatch(host):
        raise ValueError("no host")
    where = f"[{host}]" if ":" in host else host
    user, mark, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{mark}{where}" + ("" if parts.port is None else f":{parts.port}"))


def host_of(url: str) -> str:
    """Return the host of a URL; empty if the URL is not valid."""
    try:
        return split(url).hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    return host == "localhost" or host.endswith(".localhost") or host == "::1" or host.startswith("127.")


def shown(url: str) -> str:
    """Return a URL, or a path with a query, without secrets: without user and password, and with only the names of the
    query's fields. The URL need not be valid.
    """
    scheme = _KNOWN_SCHEME.match(url)
    before, rest = (scheme[0], url[scheme.end() :]) if scheme else ("", url)
    authority, rest = ("", rest) if rest.startswith("/") and not scheme else _cut(rest, "/?#")
    _, at, authority = authority.rpartition("@")
    is_cut = bool(at) and (not authority or "@" in rest)
    if is_cut or not _AUTHORITY.fullmatch(authority):  # a password that contains one of /?#
        authority, rest = _cut((authority + rest).rpartition("@")[2], "/?#")
    path, query = _cut(rest.partition("#")[0], "?")
    names = "&".join(dict.fromkeys(part.partition("=")[0] for part in query[1:].split("&")))
    return "".join(
        letter if letter.isprintable() else "\ufffd" for letter in before + authority + path + query[:1] + names
    )


def _cut(text: str, marks: str) -> tuple[str, str]:
    """Split a text before the first of these characters."""
    at = min((place for mark in marks if (place := text.find(mark)) >= 0), default=len(text))
    return text[:at], text[at:]
