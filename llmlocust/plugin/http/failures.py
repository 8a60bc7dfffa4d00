"""Failures of requests: an error kind and a message for whatever a connection, TLS or a proxy raises. Pure."""

from __future__ import annotations

import errno
import socket
import ssl


class Failure(Exception):
    """A failed request: an error kind and a message."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class ProxyAnswer(OSError):
    """A proxy's refusal to connect to the server."""

    def __init__(self, line: str) -> None:
        super().__init__(f"the proxy answered {line!r}")
        self.status = line.split(" ")[1:2]

    @property
    def is_server_failure(self) -> bool:
        """Whether the proxy reports a failure of the server (RFC 9110, 15.6)."""
        return self.status in (["502"], ["503"], ["504"])


_KIND_OF_ERRNO = {
    errno.EADDRNOTAVAIL: "client_limit",  # every local port is in use
    errno.EADDRINUSE: "client_limit",
    errno.EMFILE: "client_limit",
    errno.ENFILE: "client_limit",
    errno.ENOBUFS: "client_limit",
    errno.ENOMEM: "client_limit",
    errno.ENETDOWN: "network",
    errno.ENETUNREACH: "network",
    errno.EHOSTDOWN: "network",
    errno.EHOSTUNREACH: "network",
    errno.EACCES: "network",  # a firewall on this machine
    errno.EPERM: "network",
    errno.EAFNOSUPPORT: "network",  # a machine without IPv6
}
_KIND_OF_LOOKUP = {socket.EAI_MEMORY: "client_limit", socket.EAI_SYSTEM: "client_limit"}
"""Error numbers of look-ups that lack files or memory on this machine."""
_SERVER_CLOSED = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
_ABOUT_CERTIFICATES = ("CERTIFICATE", "UNKNOWN_CA")


def kind_of(problem: BaseException, *, otherwise: str = "connect", proxied: bool = False) -> str:
    """Return the error kind of a failed connection: a failure of this machine, the network, the proxy or the server.

    `otherwise` is the server's kind: `connect` before the connection is established, `reset` after. `proxied` means that
    the connection to a proxy failed, or that the proxy did not connect to the server.
    """
    if isinstance(problem, socket.gaierror):
        return _KIND_OF_LOOKUP.get(problem.errno or 0, "proxy" if proxied else "name_lookup")
    if isinstance(problem, UnicodeError):  # a name that is not valid
        return "proxy" if proxied else "name_lookup"
    if isinstance(problem, ProxyAnswer):
        return otherwise if problem.is_server_failure else "proxy"
    if isinstance(problem, ssl.SSLError):
        return _kind_of_tls(problem, otherwise)
    # an errno of ssl.SSLError is one of OpenSSL's own numbers, so it is not looked up here
    kind = _KIND_OF_ERRNO.get(getattr(problem, "errno", None) or 0)
    if kind == "client_limit":
        return kind
    return "proxy" if proxied else kind or otherwise


def _kind_of_tls(problem: ssl.SSLError, otherwise: str) -> str:
    """Return `tls` if the two sides do not agree, and the server's kind if the server failed or closed the connection."""
    reason = getattr(problem, "reason", "") or ""  # only errors of OpenSSL have one
    if isinstance(problem, ssl.SSLCertVerificationError) or any(word in reason for word in _ABOUT_CERTIFICATES):
        return "tls"
    if isinstance(problem, _SERVER_CLOSED) or "INTERNAL_ERROR" in reason or "EOF" in reason or otherwise == "reset":
        return otherwise
    return "tls"


def plain_words(problem: Exception) -> str:
    """Return the message of a connection's error without its number."""
    if isinstance(problem, socket.gaierror):
        return f"the host's name is not known ({problem.strerror})"
    if isinstance(problem, ssl.SSLError):
        return f"TLS: {getattr(problem, 'reason', None) or problem}"
    if isinstance(problem, OSError) and problem.errno is not None and problem.errno in errno.errorcode:
        return f"{problem.strerror} ({errno.errorcode[problem.errno]})"
    return str(problem) or type(problem).__name__
