"""ProxyProcess: a proxy as a child process, for a program that sets faults while a test runs. Without Locust."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

_END_SECONDS = 5.0


class ProxyError(Exception):
    """The proxy could not start, refused a command, or has ended."""


class ProxyProcess:
    """A proxy in front of a server. It ends with `close`, and with this process, however that ends.

    Calls wait for the proxy's answer, a few milliseconds. They are not meant for several threads at once.
    """

    def __init__(
        self,
        upstream: str,
        *,
        faults: Sequence[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        verify: bool = True,
    ) -> None:
        """Start a proxy on a free port, or on this one, with faults that act from the beginning. Raises ProxyError.

        `verify` is whether the certificate of a server behind HTTPS is checked.
        """
        options = {"url": upstream, "faults": list(faults), "host": host, "port": port, "seed": seed, "verify": verify}
        options["parent"] = os.getpid()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "llmlocust.faults.proxy", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal ends the test, which then ends the proxy
        )
        try:
            first = self._read()
        except ProxyError:
            self.close()
            raise
        self.url: str = first["url"]
        """The URL for clients, with the path of the server's."""
        self.port: int = first["port"]
        self.pid: int = first["pid"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set(self, fault: str, fault_id: str = "") -> dict[str, Any]:
        """Let a fault act from now on. Returns its counters, and its `id`. Raises ProxyError."""
        return self._ask({"command": "set", "fault": fault, "id": fault_id})

    def clear(self, fault_id: str = "") -> list[dict[str, Any]]:
        """Let a fault act no longer, or all faults. Returns the counters of the faults. Raises ProxyError."""
        cleared: list[dict[str, Any]] = self._ask({"command": "clear", "id": fault_id})["cleared"]
        return cleared

    def counters(self) -> dict[str, Any]:
        """Return the counters of the proxy, and of all faults. Raises ProxyError."""
        return self._ask({"command": "counters"})

    def close(self) -> None:
        """End the proxy."""
        for stream in (self._child.stdin, self._child.stdout):
            if stream:
                with suppress(OSError):  # the proxy has ended already
                    stream.close()
        try:
            self._child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._child.stdin
        try:
            self._child.stdin.write(json.dumps(command).encode() + b"\n")
            self._child.stdin.flush()
        except (OSError, ValueError):
            raise ProxyError("the proxy has ended") from None
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._child.stdout
        try:
            reply: dict[str, Any] = json.loads(self._child.stdout.readline())
        except (OSError, ValueError):
            raise ProxyError("the proxy has ended") from None
        if not reply.pop("ok", False):
            raise ProxyError(reply.get("error", "the proxy gave no reason"))
        return reply
