"""Settings of a proxy, and its state that connections share."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from typing import Any

from llmlocust.faults.proxy.active import ActiveFault
from llmlocust.faults.proxy.counters import ProxyCounters
from llmlocust.text import urls


@dataclass(frozen=True)
class Settings:
    """The settings of a proxy."""

    upstream_host: str
    upstream_port: int
    upstream_tls: ssl.SSLContext | None = None
    upstream_path: str = ""
    """Path of the URL, which clients add themselves."""
    host: str = "127.0.0.1"
    port: int = 0
    client_tls: ssl.SSLContext | None = None
    host_header: bytes = b""
    """Value of the Host header that requests get; empty: the client's."""
    seed: int = 0

    @classmethod
    def of_url(cls, url: str, *, verify: bool = True, **others: Any) -> Settings:
        """Return settings with the server at a URL. Raises ValueError if the URL is not valid.

        Servers behind HTTPS often have several names, so they get their own in the Host header.
        """
        parts = urls.split(url)
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"{urls.shown(url)}: the scheme must be http or https")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError(
                f"{urls.shown(url)}: give only scheme, host, port and path; clients send the rest themselves"
            )
        host, is_tls = parts.hostname or "", parts.scheme == "https"
        context = None
        if is_tls:
            context = ssl.create_default_context()
            if not verify:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return cls(
            host,
            parts.port or (443 if is_tls else 80),
            context,
            parts.path.rstrip("/"),
            host_header=parts.netloc.encode("latin-1") if is_tls else b"",
            **others,
        )

    def with_port(self, port: int) -> Settings:
        return replace(self, port=port)


@dataclass
class State:
    """The state of a proxy that its connections use."""

    settings: Settings
    counters: ProxyCounters = field(default_factory=ProxyCounters)
    faults: list[ActiveFault] = field(default_factory=list)
    """The faults that are set, oldest first."""
    follows_requests: bool = False
    """Whether requests that begin now are followed."""
    last_failure: str = ""
    """Reason why the last connection to the server that failed could not be opened."""

    def note_change(self) -> None:
        """Note that the faults have changed."""
        needs = (active.fault.needs_requests for active in self.faults)
        self.follows_requests = bool(self.settings.host_header) or any(needs)

    def count_failure(self, problem: Exception) -> None:
        """Count a connection to the server that could not be opened."""
        self.counters.upstream_failures += 1
        self.last_failure = str(problem) or type(problem).__name__
