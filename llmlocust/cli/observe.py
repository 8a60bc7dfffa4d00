"""`llmlocust observe`: serve the state of this machine, for a load test on another one."""

from __future__ import annotations

import errno
import os
import signal
from threading import Event, Thread
from typing import TYPE_CHECKING

import click

from llmlocust.cli.shared import OneLine, say

if TYPE_CHECKING:
    from llmlocust.observe.serving import Exporter
    from llmlocust.observe.sources.source import Source

_ELSEWHERE = ("http", "https", "prometheus")
"""Kinds of sources that another machine can read itself."""


@click.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE]…")
@click.option("--port", type=click.IntRange(0, 65535), default=7000, show_default=True, help="Port; 0 takes a free one")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 lets other machines read, too"
)
def observe(sources: tuple[str, ...], port: int, host: str) -> None:
    """Serve the state of this machine as a Prometheus endpoint.

    Start it beside the server under test, and give its address to the load test on another machine: `--llm-observe
    http://gpu-box:7000`. It serves CPU, memory and network of the machine, its NVIDIA GPUs if it has any (extra `gpu`), and
    each SOURCE: `process:vllm`, `port:8000`, `pid:123`, `docker:NAME`, `ollama:URL`, `gradio:URL`, `slots:URL`,
    `loads:URL`. A process is served with its children.

    It listens on this machine only unless --host names another address: each client can read the values and the names of
    the processes. Over SSH, no other address is needed: `ssh -N -L 7000:127.0.0.1:7000 gpu-box`. If LLMLOCUST_OBSERVE_KEY is
    set, clients must send it: LLMLOCUST_OBSERVE_HEADER='Authorization: Bearer $KEY'.
    """
    from llmlocust.observe.serving import KEY_VARIABLE, Exporter

    served = _served(sources)
    key = os.environ.get(KEY_VARIABLE, "").strip()
    try:
        exporter = Exporter(host, port, served, lambda line: say(line, err=True), key)
    except OSError as problem:
        reason = (
            "the port is taken" if problem.errno == errno.EADDRINUSE else (problem.strerror or str(problem)).lower()
        )
        raise OneLine(f"cannot listen on {host}:{port}: {reason}") from None
    say(_line(exporter, served, needs_key=bool(key)))
    _serve(exporter)


def _served(texts: tuple[str, ...]) -> list[Source]:
    """Return the sources: the machine, its GPUs if there are any, and those that the user names. Raises OneLine."""
    from llmlocust.observe.sources.machine import Machine
    from llmlocust.observe.sources.nvidia import NvidiaGpus
    from llmlocust.observe.sources.parse import source_of
    from llmlocust.observe.sources.source import SourceError

    sources: list[Source] = [Machine(), NvidiaGpus()]
    try:
        sources[1].scrape()
    except SourceError as problem:
        if "gpu" in texts:
            raise OneLine(str(problem)) from None
        del sources[1]
    for text in texts:
        if text.partition(":")[0].lower() in _ELSEWHERE:
            raise OneLine(
                "an address with metrics needs no `llmlocust observe`: give it to the load test, --llm-observe URL"
            )
        try:
            source = source_of(text)
        except ValueError as problem:
            raise OneLine(str(problem)) from None
        if source.url not in [other.url for other in sources]:
            sources.append(source)
    return sources


def _line(exporter: Exporter, sources: list[Source], *, needs_key: bool) -> str:
    host, port = exporter.server_address[:2]
    place = f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"
    names = ", ".join(source.url for source in sources)
    key = ", to clients with the key" if needs_key else ""
    is_local = str(host).startswith("127.") or str(host) == "::1"
    remark = " (this machine only; --host 0.0.0.0 opens it to others)" if is_local else ""
    return f"http://{place}/metrics serves {names}{key}{remark}"


def _serve(exporter: Exporter) -> None:
    """Serve until SIGTERM or SIGINT. The main thread only waits for them, so that they end the command at once."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Thread(target=exporter.serve_forever, daemon=True).start()
    stop.wait()
    exporter.server_close()
