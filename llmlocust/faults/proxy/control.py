"""Control of a running proxy: JSON lines, over standard input and output or a Unix socket.

    {"command": "set", "fault": "latency 200ms on 10% of requests", "id": "slow"}
    {"command": "clear", "id": "slow"}          without an id: all faults
    {"command": "counters"}
    {"command": "stop"}

Each line is answered by one, in order: `{"ok": true, …}`, or `{"ok": false, "error": "…"}`.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmlocust.faults.proxy.faults import parse
from llmlocust.faults.proxy.server import Proxy

_LINE_LIMIT = 64 * 1024
_PARENT_CHECK_SECONDS = 1.0


class BadCommand(ValueError):
    """A command that cannot be read; its text has a valid example."""


class Control:
    """Carries out commands."""

    def __init__(self, proxy: Proxy, stop: Callable[[], None]) -> None:
        self._proxy, self._stop = proxy, stop
        self._commands: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "set": self._set,
            "clear": self._clear,
            "counters": lambda _: self._proxy.report(),
            "stop": self._end,
        }

    def answer(self, line: bytes) -> bytes:
        """Carry out the command of a line, and return the line that answers it."""
        try:
            reply = {"ok": True, **self._carry_out(line)}
        except (ValueError, OSError) as problem:
            reply = {"ok": False, "error": str(problem)}
        return json.dumps(reply).encode() + b"\n"

    def _carry_out(self, line: bytes) -> dict[str, Any]:
        try:
            document = json.loads(line)
        except ValueError:
            document = None
        name = document.get("command") if isinstance(document, dict) else None
        if not isinstance(name, str) or name not in self._commands:
            raise ValueError(
                'write a command as {"command": "set", "fault": "latency 200ms"}, or clear, counters, stop'
            )
        assert isinstance(document, dict)
        return self._commands[name](document)

    def _set(self, document: dict[str, Any]) -> dict[str, Any]:
        fault, fault_id = document.get("fault"), document.get("id", "")
        if not isinstance(fault, str) or not isinstance(fault_id, str):
            raise BadCommand('set takes a fault: {"command": "set", "fault": "latency 200ms", "id": "slow"}')
        return self._proxy.set(parse(fault), fault_id).as_json()

    def _clear(self, document: dict[str, Any]) -> dict[str, Any]:
        fault_id = document.get("id", "")
        if not isinstance(fault_id, str):
            raise BadCommand('clear takes the id of a fault: {"command": "clear", "id": "slow"}')
        try:
            return {"cleared": [active.as_json() for active in self._proxy.clear(fault_id)]}
        except KeyError:
            raise BadCommand(f"no fault with the id {fault_id!r} is set") from None

    def _end(self, _: dict[str, Any]) -> dict[str, Any]:
        asyncio.get_running_loop().call_soon(self._stop)
        return {}

    async def converse(self, reader: asyncio.StreamReader, write: Callable[[bytes], object]) -> None:
        """Answer lines until their end."""
        with suppress(ConnectionError):
            while line := await _line(reader):
                write(self.answer(line))


async def _line(reader: asyncio.StreamReader) -> bytes:
    """Return the next line. The end of the input, and a line that is far too long, are empty."""
    try:
        return await reader.readline()
    except ValueError:
        return b""


# ── standard input ──


async def read_stdin() -> asyncio.StreamReader:
    """Return a reader of standard input. Raises ValueError if it is no pipe, socket or terminal."""
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    try:
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    except ValueError:
        raise ValueError("commands come from standard input, which must be a pipe or a terminal") from None
    return reader


def write_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


async def parent_ends(parent: int) -> None:
    """Return when this process is no longer a child of the given one: the input may stay open in other children of it."""
    while os.getppid() == parent:  # noqa: ASYNC110 - nothing reports the end of a parent on every system
        await asyncio.sleep(_PARENT_CHECK_SECONDS)


# ── Unix socket ──


class UnixControl:
    """A Unix socket that takes commands, which only this user can open."""

    def __init__(self, path: str, control: Control) -> None:
        self._path, self._control = Path(path), control
        self._conversations: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises OSError, also if another proxy uses the path."""
        await self._remove_unused()
        mask = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._converse, str(self._path), limit=_LINE_LIMIT)
        finally:
            os.umask(mask)

    def stop(self) -> None:
        """Remove the socket, unless it is that of another proxy."""
        if not self._server:
            return
        self._server.close()
        for writer in self._conversations:
            writer.transport.abort()
        self._path.unlink(missing_ok=True)

    async def _remove_unused(self) -> None:
        """Remove the socket of a proxy that was killed. Other files stay, and listening then fails."""
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise FileExistsError(17, "a file with this name exists", str(self._path))
            try:
                _, writer = await asyncio.open_unix_connection(str(self._path))
            except ConnectionRefusedError:
                self._path.unlink()
            else:
                writer.close()
                raise FileExistsError(17, "another process listens there", str(self._path))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._conversations.add(writer)
        try:
            await self._control.converse(reader, writer.write)
        finally:
            self._conversations.discard(writer)
            writer.close()
