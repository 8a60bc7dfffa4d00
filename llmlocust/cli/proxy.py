"""`llmlocust proxy`: break the connections between a load and a server on purpose."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import click

from llmlocust.cli.shared import OneLine, say

if TYPE_CHECKING:
    import ssl

    from llmlocust.faults.proxy.settings import Settings


@click.command()
@click.argument("upstream_url")
@click.option(
    "--listen", default="9000", show_default=True, metavar="[HOST:]PORT", help="Address; port 0 takes a free one"
)
@click.option("--fault", "faults", multiple=True, help="Fault that acts from the beginning; repeatable")
@click.option("--control", default="", metavar="-|PATH", help="Take commands from standard input, or a Unix socket")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the shares and of the jitter")
@click.option("--certificate", default="", metavar="FILE", help="Serve HTTPS with this certificate (PEM)")
@click.option("--key", default="", metavar="FILE", help="Key of the certificate, unless its file contains it")
@click.option("--insecure", is_flag=True, help="Do not check the certificate of the server")
def proxy(
    upstream_url: str,
    listen: str,
    faults: tuple[str, ...],
    control: str,
    seed: int,
    certificate: str,
    key: str,
    insecure: bool,
) -> None:
    """Forward to the server at UPSTREAM_URL, with faults.

    \b
    llmlocust proxy http://localhost:8000 --fault "latency 200ms jitter 50ms"
    llmlocust proxy http://localhost:8000 --fault "status 503 retry-after 5s on 10% of requests"

    \b
    down                            refuse connections, and close those that are open
    refuse                          refuse new connections
    reset                           reset connections (RST)
    blackhole                       accept connections, and forward nothing
    latency 200ms jitter 50ms       delay data
    bandwidth 100kB/s               limit each connection
    slice 16B every 5ms             write small pieces
    slow_close 2s                   delay the close of connections
    cut after 50 tokens             end responses early, also after 4kB
    status 503 retry-after 5s       answer without the server
    buffer until end                keep streams until their end, or until 4kB or 2s

    A fault may concern a share, "on 10% of requests" or "on 20% of connections", and a direction: "upstream",
    "downstream" or "both". With --control, faults are set and cleared while the proxy runs, by lines of JSON:

    \b
    {"command": "set", "fault": "down", "id": "outage"}
    {"command": "clear", "id": "outage"}
    {"command": "counters"}

    It listens on this machine only unless --listen names another address, and it speaks plain HTTP unless --certificate
    names one.
    """
    from llmlocust.faults.proxy.faults import parse
    from llmlocust.faults.proxy.running import serve, url_of
    from llmlocust.faults.proxy.settings import Settings

    host, port = _address(listen)
    try:
        settings = Settings.of_url(
            upstream_url,
            verify=not insecure,
            host=host,
            port=port,
            client_tls=_tls(certificate, key),
            seed=seed,
        )
        parsed = [parse(text) for text in faults]
    except ValueError as problem:
        raise OneLine(str(problem)) from None

    def ready(port: int) -> None:
        if control != "-":  # standard output has the answers to commands
            say(_line(url_of(settings.with_port(port)), settings, upstream_url))

    try:
        serve(settings, parsed, control, ready)
    except ValueError as problem:
        raise OneLine(str(problem)) from None
    except OSError as problem:
        reason = (
            "the port is taken" if problem.errno == errno.EADDRINUSE else (problem.strerror or str(problem)).lower()
        )
        where = str(problem.filename) if problem.filename else f"{host}:{port}"
        raise OneLine(f"cannot listen on {where}: {reason}") from None


def _address(text: str) -> tuple[str, int]:
    """Parse [HOST:]PORT. Raises OneLine."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise OneLine(f"--listen takes a port, or an address and a port, such as 9000 or 0.0.0.0:9000, not {text!r}")
    return host.strip("[]") or "127.0.0.1", int(port)


def _tls(certificate: str, key: str) -> ssl.SSLContext | None:
    """Return the TLS context of a certificate. Raises OneLine."""
    import ssl

    if not certificate:
        if key:
            raise OneLine("--key needs --certificate")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key or None)
    except (OSError, ssl.SSLError) as problem:
        raise OneLine(f"cannot use the certificate {certificate}: {problem.strerror or problem}") from None
    return context


def _line(url: str, settings: Settings, upstream_url: str) -> str:
    from llmlocust.text import urls

    is_local = urls.is_loopback(settings.host)
    remark = " (this machine only)" if is_local else " (other machines can use it, too)"
    return f"{url} forwards to {urls.shown(upstream_url)}{remark}"
