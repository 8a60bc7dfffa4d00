"""Processes of Locust that are forked from one that has imported it: a start costs half a second of a core less.

The server imports Locust and what is pure of llmlocust. All else, such as the plugin, a forked process imports itself,
in the order that its locustfile has. Locust forks in the same way for --processes.
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
    """A process of Locust; what `subprocess.Popen` has, as far as tests use it."""

    def __init__(self, server: "ForkServer", pid: int) -> None:
        self.pid, self.returncode = pid, None
        self._server, self._alive = server, os.pidfd_open(pid)

    def poll(self) -> int | None:
        return self._ends_within(0.0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ends_within(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"locust, process {self.pid}", timeout)
        return code

    def _ends_within(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._alive], [], [], seconds)[0]:
            os.close(self._alive)
            self.returncode = self._server.ask(wait=self.pid)
        return self.returncode

    def send_signal(self, how: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, how)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The process that has imported Locust. It ends with the one that started it."""

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

    def ask(self, **asked: Any) -> Any:
        self._control.write(json.dumps(asked) + "\n")
        self._control.flush()
        return json.loads(self._control.readline())

    def start(self, folder: Path, args: list[str], log: str, environment: dict[str, str]) -> Forked:
        """Locust, in a folder, with its output in a file that exists."""
        asked = {"folder": str(folder), "args": args, "log": log, "environment": environment}
        return Forked(self, self.ask(**asked))


# ── the server ──


def _serve(control: int) -> dict[str, Any] | None:
    """What a forked process has to become; None in the server itself, at its end. A file, as gevent's sockets need a hub."""
    import gevent

    for name in _PURE:
        importlib.import_module(f"llmlocust.{name}")
    gc.collect()
    gc.freeze()
    with os.fdopen(os.dup(control), "w") as answers, os.fdopen(control) as questions:
        for line in questions:
            asked = json.loads(line)
            if "wait" in asked:
                answer = os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1])
            elif not (answer := gevent.fork()):
                return asked
            answers.write(f"{answer}\n")
            answers.flush()
    return None


def _become(folder: str, args: list[str], log: str, environment: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for path, flags, places in ((os.devnull, os.O_RDONLY, [0]), (log, os.O_WRONLY, [1, 2])):
        opened = os.open(path, flags)
        for place in places:
            os.dup2(opened, place)
        os.close(opened)
    sys.argv = [str(Path(main.__file__).with_name("__main__.py")), *args]
    sys.path[0] = folder


if __name__ == "__main__":
    from locust import main

    to_become = _serve(int(sys.argv[1]))
    if to_become:
        _become(**to_become)
        main.main()
