"""The life of a proxy process: start, faults of the beginning, control, and the end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress

from llmlocust.faults.proxy.control import Control, UnixControl, parent_ends, read_stdin, write_stdout
from llmlocust.faults.proxy.faults import Fault
from llmlocust.faults.proxy.server import Proxy, prepare_process
from llmlocust.faults.proxy.settings import Settings

STDIN = "-"


def serve(
    settings: Settings,
    faults: Sequence[Fault] = (),
    control: str = "",
    ready: Callable[[int], None] = lambda _: None,
    parent: int = 0,
) -> None:
    """Run a proxy until SIGTERM, SIGINT, the command `stop`, or the end of its control input or of its parent.

    `control` is empty, STDIN, or the path of a Unix socket. `ready` is called with the port once the proxy listens.
    `parent` is the process id of the parent, the one at present by default; it matters only for STDIN. Raises OSError if
    an address is taken, and ValueError if standard input cannot be read.
    """
    asyncio.run(_serve(settings, faults, control, ready, parent or os.getppid()))


async def _serve(
    settings: Settings, faults: Sequence[Fault], control: str, ready: Callable[[int], None], parent: int
) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    proxy = Proxy(settings)
    commands = Control(proxy, stop.set)
    unix = UnixControl(control, commands) if control not in ("", STDIN) else None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    prepare_process()
    waits: list[asyncio.Task[object]] = [loop.create_task(stop.wait())]
    try:
        port = proxy.start()
        for fault in faults:
            proxy.set(fault)
        if unix:
            await unix.start()
        elif control == STDIN:
            reader = await read_stdin()
            _announce(proxy)
            waits += [loop.create_task(commands.converse(reader, write_stdout)), loop.create_task(parent_ends(parent))]
        ready(port)
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if unix:
            unix.stop()
        proxy.stop()
        for task in waits:
            task.cancel()


def _announce(proxy: Proxy) -> None:
    """Write the first line of a controlled proxy."""
    line = {"ok": True, "url": url_of(proxy.settings), "port": proxy.settings.port, "pid": os.getpid()}
    with suppress(BrokenPipeError):
        write_stdout(json.dumps(line).encode() + b"\n")


def url_of(settings: Settings) -> str:
    """Return the URL for clients, with the path of the server's URL."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if settings.client_tls else 'http'}://{host}:{settings.port}{settings.upstream_path}"
