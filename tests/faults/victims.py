"""A server with a child process, which faults stop and end: `python -m tests.faults.victims PORT [DRAIN_SECONDS]`."""

import http.server
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.simulators import PATIENCE, ROOT, wait_for


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"%d %d" % (os.getpid(), _worker.pid or 0)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command_of(port: int, drain: float = 0.0) -> str:
    """Return the shell command that starts a server."""
    return f"cd {ROOT} && exec {sys.executable} -m tests.faults.victims {port} {drain}"


def pids_at(port: int) -> list[int]:
    """Return the pids of the server and of its child; nothing if it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=0.5) as answer:
            return list(map(int, answer.read().split()))
    except OSError:
        return []


@contextmanager
def victim(drain: float = 0.0, prefix: tuple[str, ...] = ()) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Start a server. Yield its port and its process; end also a server that a fault has started in its place."""
    port = free_port()
    process = subprocess.Popen([*prefix, "/bin/sh", "-c", command_of(port, drain)], start_new_session=True)
    try:
        if not prefix:
            wait_for(lambda: pids_at(port))
        yield port, process
    finally:
        end_at(port)
        process.kill()
        process.wait()


def end_at(port: int) -> None:
    for pid in reversed(pids_at(port)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def state_of(pid: int) -> str:
    """Return the state of a process as the kernel writes it: T is stopped, Z has ended; empty if it does not exist."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _sleep() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while os.getppid() == _parent:  # it ends with its server, however that ends
        time.sleep(0.05)


if __name__ == "__main__":
    _parent = os.getpid()
    _worker = multiprocessing.get_context("fork").Process(target=_sleep)
    _worker.start()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler)

    def drain(*_: object) -> None:
        threading.Timer(float(sys.argv[2]), lambda: os._exit(0)).start()

    signal.signal(signal.SIGTERM, drain)
    threading.Timer(PATIENCE * 5, lambda: os._exit(1)).start()  # it does not outlive a test that was killed
    server.serve_forever()
