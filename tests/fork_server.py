"""Processes of Locust that are forked from a process that has imported it, which saves half a CPU second per start.

The server imports Locust and the pure modules of llmlocust. A forked process imports the other modules, such as the plugin,
in the order of its locustfile. Locust forks in the same way for --processes.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parent.parent
_PURE = ["stream.dialects", "stream.reading", "metrics.ledger", "metrics.thresholds", "load.prompts", "load.traces"]
_PURE += ["load.search", "analysis.live", "analysis.gates"]


class Forked:
    """A process of Locust, with the part of the interface of `subprocess.Popen` that tests use."""

    def __init__(self, server: "ForkServer", pid: int) -> None:
        self.pid, self.returncode = pid, None
        self._server, self._pidfd = server, os.pidfd_open(pid)

    def poll(self) -> int | None:
        return self._ends_within(0.0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ends_within(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"locust, process {self.pid}", timeout)
        return code

    def _ends_within(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._pidfd], [], [], seconds)[0]:
            os.close(self._pidfd)
            self.returncode = self._server.request(wait=self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The process that has imported Locust. It ends with the process that started it."""

    def __init__(self) -> None:
        ours, its = socket.socketpair()
        self._control = ours.makefile("rw")
        command = [sys.executable, "-m", __name__, str(its.fileno())]
        with its:
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[its.fileno()])

    @classmethod
    @cache
    def of_this_process(cls) -> Self:
        return cls()

    def request(self, **request: Any) -> Any:
        self._control.write(json.dumps(request) + "\n")
        self._control.flush()
        return json.loads(self._control.readline())

    def start(self, folder: Path, args: list[str], log: str, environment: dict[str, str]) -> Forked:
        """Start Locust in a folder, with its output in an existing file."""
        return Forked(self, self.request(folder=str(folder), args=args, log=log, environment=environment))


# ── the server ──


def _serve(control: int) -> dict[str, Any] | None:
    """Serve requests. Return the request to start Locust in a forked process, and None in the server itself at its end.
    The socket is used as a file, because gevent's sockets need a hub.
    """
    import gevent

    for name in _PURE:
        importlib.import_module(f"llmlocust.{name}")
    gc.collect()
    gc.freeze()
    with os.fdopen(os.dup(control), "w") as answers, os.fdopen(control) as requests:
        for line in requests:
            request = json.loads(line)
            if "wait" in request:
                answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
            elif not (answer := gevent.fork()):
                return request
            answers.write(f"{answer}\n")
            answers.flush()
    return None


def _become(folder: str, args: list[str], log: str, environment: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for path, flags, targets in ((os.devnull, os.O_RDONLY, [0]), (log, os.O_WRONLY, [1, 2])):
        descriptor = os.open(path, flags)
        for target in targets:
            os.dup2(descriptor, target)
        os.close(descriptor)
    sys.argv = [str(Path(main.__file__).with_name("__main__.py")), *args]
    sys.path[0] = folder


if __name__ == "__main__":
    from locust import main

    request = _serve(int(sys.argv[1]))
    if request:
        _become(**request)
        main.main()
