"""`ChildProcess`: a process of ours beside the load, with JSON lines as its commands and messages."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

_READ = 65536
_PIPE = 2**20
"""Bytes of messages that may wait: the process continues while the load generator is busy."""
_MAX_LINE = 2**24


class ChildProcess:
    """A process that runs a module. Its methods do not wait for it, except `close`."""

    def __init__(self, module: str, config: object) -> None:
        """Start the process. The configuration is sent through a pipe, because it may contain credentials, and arguments
        are visible to all users of a machine.
        """
        # a process group of its own: Ctrl-C ends the run, which still needs the last messages
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._in, self._out = self._child.stdin.fileno(), self._child.stdout.fileno()
        with suppress(OSError):
            fcntl.fcntl(self._out, fcntl.F_SETPIPE_SZ, _PIPE)
        for pipe in (self._in, self._out):
            os.set_blocking(pipe, False)
        self._data = bytearray()
        self._is_closed = False
        self._write(msgspec.json.encode(config))

    def send(self, command: Mapping[str, Any]) -> None:
        """Send a command. A process that has ended ignores it."""
        self._write(msgspec.json.encode(command))

    def _write(self, line: bytes) -> None:
        # a process that does not read for 64 KiB of commands hangs, and lacks this one
        with suppress(OSError):
            os.write(self._in, line + b"\n")

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages that have arrived, without waiting."""
        self._read()
        *lines, rest = self._data.split(b"\n")
        self._data = rest if len(rest) < _MAX_LINE else bytearray()
        return [msgspec.json.decode(line) for line in lines]

    def _read(self) -> None:
        while not self._is_closed:
            try:
                data = os.read(self._out, _READ)
            except BlockingIOError:
                break
            self._is_closed = not data
            self._data += data

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended, and all of its messages were returned."""
        return self._is_closed

    def close(self, patience: float = 0.0) -> None:
        """End the input of the process, give it some seconds to end, and kill it if it has not."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with suppress(OSError):
            self._child.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(patience)
        self._child.kill()
        self._child.wait()
        self._read()  # its last messages can still be asked for
        self._is_closed = True
        with suppress(OSError):
            self._child.stdout.close()
