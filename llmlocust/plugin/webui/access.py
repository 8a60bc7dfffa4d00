"""`Access`: checks each request to the web UI, and adds security headers to the responses.

Locust accepts any Host header and allows cross-origin reads. A page on the internet could thus start a run or read its
results through the browser of a user who can reach the web UI. `Access` protects the whole application, including
Locust's own routes and those of locustfiles.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Flask
from locust.env import Environment
from werkzeug import Request, Response

from llmlocust.plugin import options

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""The Content-Security-Policy of our own pages and files. Locust's page contains an inline script and needs a weaker one."""

_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every response that does not set them itself."""
_FOREIGN_PAGE = "A page of another origin sent this request. Allow its host with --llm-web-hosts"
_SAFE = ("GET", "HEAD", "OPTIONS")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:\d+)?", re.ASCII | re.IGNORECASE)

Headers = list[tuple[str, str]]


def guard(app: Flask, host: str | None, environment: Environment) -> None:
    """Wrap the web UI in `Access`, with the names that are known when Locust starts."""
    others = {_name_of(host) for host in options.listed(options.option(environment, "web_hosts"))}
    shown = getattr(environment.parsed_options, "web_host_display_name", None) or ""
    own = (host, _name_of(shown), socket.gethostname())
    app.wsgi_app = Access(app.wsgi_app, own, others)  # type: ignore[method-assign]  # as Flask's documentation says


class Access:
    """WSGI middleware that refuses requests with a foreign Host header or from pages of a foreign origin."""

    def __init__(self, app: WSGIApplication, own: Iterable[str | None] = (), others: Iterable[str] = ()) -> None:
        """`own` are names of this machine. `others` are names that an option allows, as hosts and as origins."""
        self._app = app
        self._others = frozenset(others) - {""}
        self._names = self._others | {"localhost"} | {name.lower() for name in own if name}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        why = self._foreign_name(request) or self._foreign_page(request)
        app = Response(f"{why}\n", 403, mimetype="text/plain") if why else self._app
        return app(environ, partial(self._start, start_response, request))

    def _start(self, start_response: StartResponse, request: Request, status: str, headers: Headers, *more: Any) -> Any:
        if not self._is_allowed_origin(request):
            headers = [header for header in headers if not header[0].lower().startswith("access-control-")]
        present = {name.lower() for name, _ in headers}
        added = [(name, value) for name, value in _HEADERS.items() if name.lower() not in present]
        return start_response(status, headers + added, *more)

    def _foreign_name(self, request: Request) -> str:
        """Return why the Host header is refused, or an empty text. With DNS rebinding, an attacker's page sends the
        attacker's name. An IP address cannot be rebound.
        """
        host = request.headers.get("Host")
        if host is None:  # no browser
            return ""
        match = _HOST.fullmatch(host)
        name = match[1].lower().rstrip(".") if match else ""
        if name in self._names or name.endswith(".localhost") or _is_address(name):
            return ""
        return f"The web UI does not answer under this name. Start Locust with --llm-web-hosts {name or 'NAME'}"

    def _foreign_page(self, request: Request) -> str:
        """Return why a page may not send this request, or an empty text."""
        if self._is_allowed_origin(request):
            return ""
        site = request.headers.get("Sec-Fetch-Site", "")
        if request.method in _SAFE:  # another site may link here, but not embed or fetch anything
            is_foreign = site == "cross-site" and request.headers.get("Sec-Fetch-Mode") != "navigate"
        elif site:  # the browser compared the origins, so a proxy that rewrites Host does no harm
            is_foreign = site not in ("same-origin", "none")
        else:
            origin = request.headers.get("Origin")
            is_foreign = origin is not None and origin.partition("://")[2] != request.headers.get("Host")
        return _FOREIGN_PAGE if is_foreign else ""

    def _is_allowed_origin(self, request: Request) -> bool:
        origin = request.headers.get("Origin")
        return origin is not None and _name_of(origin) in self._others


def _name_of(url: str) -> str:
    """Return the host name, in lower case, of a URL or of HOST:PORT; empty if it is not valid."""
    try:
        return urlsplit(url if "//" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
