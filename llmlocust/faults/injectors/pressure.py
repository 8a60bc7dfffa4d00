"""Pressure on CPU, memory or disk of this machine, by a child process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from llmlocust.faults import pressure
from llmlocust.faults.actions import PressureAction
from llmlocust.faults.injectors.injector import Context, Injector, InjectorError
from llmlocust.faults.notation import joined
from llmlocust.text.figures import amount
from llmlocust.text.message import Message, message

_RESERVE = 2**30
"""Bytes of the disk, and of memory, that stay free."""
_END_SECONDS = 5.0
_SHARE = 0.5
"""The part of the requested memory that shows the pressure."""
_CPU_SECONDS, _WRITTEN = 0.3, 32 * 2**20
"""CPU seconds of the children, and bytes, that show the pressure."""


class Pressure(Injector):
    """A child process that uses CPU, memory or disk, and ends with this process."""

    def __init__(self, action: PressureAction, injection_id: str, context: Context) -> None:
        super().__init__(injection_id, context)
        self._action = action
        self._arguments = [action.kind, str(action.amount)]
        if action.kind != "memory":
            self._arguments.append(action.folder or str(action.load))
        self._child: subprocess.Popen[bytes] | None = None
        self._family: list[psutil.Process] = []

    def check(self) -> str:
        if self._action.kind == "disk":
            return _disk_problem(self._action.folder, self._action.amount)
        free = psutil.virtual_memory().available - _RESERVE
        if self._action.kind == "memory" and self._action.amount > free:
            return f"only {amount(max(0, free), 'bytes')} of memory can be used, because {amount(_RESERVE, 'bytes')} must stay free"
        return ""

    def describe(self) -> str:
        command = pressure.stress_ng(*self._arguments)
        if command:
            return joined(command)
        if self._action.kind == "disk":
            return f"a Python process writes {amount(self._action.amount, 'bytes')} with fsync to an unnamed file in {self._action.folder}, repeatedly"
        return f"a Python process makes the pressure '{self._action}', because stress-ng is not installed"

    def describe_lift(self) -> str:
        return "end that process"

    def inject(self) -> None:
        if problem := self.check():
            raise InjectorError(problem)
        command = [sys.executable, "-P", "-m", "llmlocust.faults.pressure", *self._arguments]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def present(self) -> Message | None:
        if self._child is None or self._child.poll() is not None:
            raise InjectorError("the process that makes the pressure has ended")
        with suppress(psutil.Error):
            root = psutil.Process(self._child.pid)
            self._family = [root, *root.children(recursive=True)]
        return self._evidence(sum(map(self._used, self._family)))

    def _evidence(self, value: float) -> Message | None:
        if self._action.kind == "cpu":
            return (
                message("{seconds} s of CPU time were used", seconds=f"{value:.1f}") if value > _CPU_SECONDS else None
            )
        if self._action.kind == "disk":
            is_enough = value > min(_WRITTEN, self._action.amount)
            return message("{amount} were written", amount=amount(value, "bytes")) if is_enough else None
        is_enough = value > _SHARE * self._action.amount
        return message("{amount} of memory were in use", amount=amount(value, "bytes")) if is_enough else None

    def _used(self, process: psutil.Process) -> float:
        with suppress(psutil.Error):
            if self._action.kind == "cpu":  # the first process only starts the others
                times = process.cpu_times()
                return float(times.user + times.system) if process != self._family[0] else 0.0
            if self._action.kind == "memory":
                return float(process.memory_info().rss)
            return float(process.io_counters().write_chars)
        return 0.0

    def lift(self) -> None:
        if self._child is None or self._child.stdin is None:
            return
        with suppress(OSError):
            self._child.stdin.close()
        try:
            self._child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def gone(self) -> Message | None:
        if any(_runs(process) for process in self._family):
            return None
        return message("the processes of the pressure have ended")


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _disk_problem(folder: str, size: int) -> str:
    if not Path(folder).is_dir():
        return f"{folder} is no folder"
    try:
        free = shutil.disk_usage(folder).free
    except OSError as problem:
        return f"{folder}: {problem.strerror}"
    if size > free - _RESERVE:
        return f"{folder} has {amount(free, 'bytes')} free, of which {amount(_RESERVE, 'bytes')} must stay free: write less"
    return ""
