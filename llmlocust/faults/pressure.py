"""Pressure on this machine, as a child process: `python -P -m llmlocust.faults.pressure cpu 2 0.5`, `… memory BYTES`,
`… disk BYTES FOLDER`. It ends with its standard input, and so do its own children.

stress-ng makes the pressure on memory and on whole cores where it is installed, and plain Python otherwise. For a share of a
core it is always Python: stress-ng 0.15 measures the share by the wall clock, and used 10 % instead of 50 % on a busy machine.
The file on the disk has no name, so nothing is left of it however the process ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread

_CYCLE = 0.05
"""Seconds of a cycle of busy and idle time."""
_BLOCK = 2**20


def stress_ng(kind: str, *arguments: str) -> list[str]:
    """Return the command of stress-ng for a pressure; nothing if it is not installed, or Python does it better."""
    program = shutil.which("stress-ng")
    if not program or kind not in ("cpu", "memory") or (kind == "cpu" and float(arguments[1]) < 1.0):
        return []
    if kind == "cpu":
        return [program, "--quiet", "--cpu", arguments[0]]
    return [program, "--quiet", "--vm", "1", "--vm-bytes", arguments[0], "--vm-keep"]


def _cpu(workers: str, share: str) -> None:
    command = [sys.executable, "-P", "-m", __spec__.name, "busy", share]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(int(workers))]
    for child in children:
        child.wait()


def _busy(share: str) -> None:
    """Use this share of a core: CPU time, however long that takes on a busy machine."""
    busy = _CYCLE * float(share)
    while True:
        began, until = time.monotonic(), time.thread_time() + busy
        while time.thread_time() < until:
            pass
        time.sleep(max(0.0, _CYCLE - (time.monotonic() - began)))


def _memory(size: str) -> None:
    kept = bytearray(int(size))
    pages = range(0, len(kept), 4096)
    while True:
        for place in pages:  # pages that are used stay in memory
            kept[place] = (kept[place] + 1) % 256
        time.sleep(1.0)


def _disk(size: str, folder: str) -> None:
    block, blocks = os.urandom(_BLOCK), max(1, int(size) // _BLOCK)
    with tempfile.TemporaryFile(dir=folder) as file:
        while True:
            file.seek(0)
            for _ in range(blocks):
                file.write(block)
                file.flush()
                os.fsync(file.fileno())


_input_ended = Event()

_KINDS: dict[str, Callable[..., None]] = {"cpu": _cpu, "memory": _memory, "disk": _disk, "busy": _busy}


def _end_with_input(child: subprocess.Popen[bytes] | None) -> None:
    """End this process when its input ends, which is when its parent ends."""
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    _input_ended.set()
    if child is not None:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(2.0)
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    os._exit(0)


def main(kind: str, *arguments: str) -> None:
    """Make pressure until the input ends."""
    command = stress_ng(kind, *arguments)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True) if command else None
    Thread(target=_end_with_input, args=(child,), daemon=True).start()
    if child is not None:
        code = child.wait()
        sys.exit(0 if _input_ended.is_set() else code)
    _KINDS[kind](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
