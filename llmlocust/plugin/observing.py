"""Start the process that asks the sources of telemetry (llmlocust.observe)."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
from locust.env import Environment

from llmlocust.observe.setup import NONE, Config, values_of
from llmlocust.plugin.options import option
from llmlocust.plugin.run.locust_settings import hosts_of

_READ = 65536
_PIPE = 2**20
"""Bytes of messages that may wait: the process counts on while the load generator is busy."""
_MAX_LINE = 2**24


def config_of(environment: Environment) -> Config | None:
    """Return the configuration of an environment's options; None if nothing is to be observed."""
    values = values_of(option(environment, "observe"))
    if values == [NONE]:
        return None
    return Config(
        hosts=hosts_of(environment),
        observe=values,
        interval=option(environment, "observe_interval"),
        insecure=option(environment, "insecure"),
        headers=_headers_of(environment),
    )


def _headers_of(environment: Environment) -> dict[str, str]:
    """Return the headers of the first user class that differ from those of every request, such as a key."""
    users: list[Any] = [user for user in environment.user_classes if hasattr(user, "headers_of")]
    with suppress(ValueError):  # a variable is missing: the load itself reports it
        for user in users:
            own: dict[str, str] = user.headers_of(environment).own(user.resolve_dialect(environment))
            return own
    return {}


class Process:
    """The observing process, with the interface of plugin.run.telemetry.ObservingProcess."""

    def __init__(self, config: Config) -> None:
        """Start the process. The configuration is sent through a pipe, because it may contain credentials, and arguments
        are visible to all users of a machine.
        """
        # a process group of its own: Ctrl-C ends the run, which then needs the last scrape
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "llmlocust.observe.setup"],
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
        self._write(msgspec.json.encode(command))

    def _write(self, line: bytes) -> None:
        # a process that does not read for 64 KiB of commands hangs, and lacks this one
        with suppress(OSError):
            os.write(self._in, line + b"\n")

    def messages(self) -> list[dict[str, Any]]:
        while not self._is_closed:
            try:
                data = os.read(self._out, _READ)
            except BlockingIOError:
                break
            self._is_closed = not data
            self._data += data
        *lines, rest = self._data.split(b"\n")
        self._data = rest if len(rest) < _MAX_LINE else bytearray()
        return [msgspec.json.decode(line) for line in lines]

    @property
    def has_ended(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        """End the process. It has nothing to clean up."""
        with suppress(OSError):
            self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
