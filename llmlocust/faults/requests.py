"""HTTP requests of the injectors, and the addresses that they may go to."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence

from llmlocust.text import urls

_TIMEOUT = 5.0
_MAX_BYTES = 2**20


class RequestError(Exception):
    """A server did not answer. The message is one line."""


def send(method: str, url: str, body: str = "", *, insecure: bool = False) -> tuple[int, bytes]:
    """Send a request. Returns the status and the body. Raises RequestError without an answer.

    No proxy of the environment is used: the addresses are those of a test's own machines.
    """
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    headers = {"Content-Type": "application/json"} if body else {}
    request = urllib.request.Request(url, body.encode() or None, headers, method=method)  # noqa: S310  # http or https
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            return int(answer.status), answer.read(_MAX_BYTES)
    except urllib.error.HTTPError as answer:
        with answer:
            return int(answer.code), answer.read(_MAX_BYTES)
    except (OSError, ValueError, urllib.error.URLError) as problem:
        reason = getattr(problem, "reason", problem)
        raise RequestError(f"{urls.shown(url)} did not answer: {reason}") from None
    except Exception as problem:  # http.client has exceptions of its own for answers that are not HTTP
        raise RequestError(f"{urls.shown(url)} did not answer with HTTP: {type(problem).__name__}") from None


def is_ok(url: str, *, insecure: bool = False) -> bool:
    """Return whether a URL answers with a 2xx."""
    try:
        return send("GET", url, insecure=insecure)[0] // 100 == 2
    except RequestError:
        return False


def forbidden(url: str, allow: Sequence[str]) -> str:
    """Return why a fault must not touch a URL, in one line; empty if it may.

    This machine and private addresses are always allowed, others only by name.
    """
    host = urls.host_of(url)
    if host in allow:
        return ""
    try:
        addresses = {line[4][0] for line in socket.getaddrinfo(host, None)}
    except OSError:
        return f"the host {host!r} is not known here: check the name"
    public = sorted(str(address) for address in addresses if not _is_near(str(address)))
    if not public:
        return ""
    return f"{host} is a public address ({public[0]}): a fault may touch it only with --llm-fault-allow {host}"


def _is_near(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return parsed.is_private or parsed.is_loopback or parsed.is_link_local
