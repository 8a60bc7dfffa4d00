"""Processes of this machine that a fault stops, ends or starts: found by pid, port, container or name, and never confused."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import NamedTuple

import psutil

from llmlocust.faults.actions import Target

_INTERPRETER = re.compile(r"(python|pypy|node|java|ruby|sh|bash)[\d.]*")
"""Programs that run a script or a module, which is the next word of the command line that is no option."""
_STAT = Path("/proc/self/stat")
_START_TIME = 19
"""Place of the start in /proc/PID/stat, after the name of the process."""


class TargetError(Exception):
    """The process of a fault cannot be used. The message is one line."""


class Identity(NamedTuple):
    """A process: the kernel gives its pid to another one when it has ended, but not with the same beginning."""

    pid: int
    began: float
    """When it started, in the unit of `_began`."""

    @property
    def process(self) -> psutil.Process | None:
        """The process, unless it has ended."""
        try:
            process = psutil.Process(self.pid)
            is_same = _began(process) == self.began
            return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None

    @property
    def is_stopped(self) -> bool:
        try:
            process = self.process
            return process is not None and process.status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False


def _began(process: psutil.Process) -> float:
    """Return when a process started: ticks since the system started, which no change of the clock affects, where /proc has
    them; otherwise epoch seconds. Raises psutil.Error.
    """
    if not _STAT.exists():
        return float(process.create_time())
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        raise psutil.NoSuchProcess(process.pid) from None
    return float(stat.rpartition(")")[2].split()[_START_TIME])


def find(target: Target) -> Identity:
    """Return the process of a target. Raises TargetError in one line."""
    process = _FIND[target.by](target.value)
    own = psutil.Process()
    if process.pid == 1 or process in (own, *own.parents()):
        raise TargetError(f"{target} is process {process.pid}, which runs this test: name another process")
    try:
        os.kill(process.pid, 0)
        return Identity(process.pid, _began(process))
    except PermissionError:
        raise TargetError(
            f"{target} is process {process.pid} of another user: start the test as that user or as root"
        ) from None
    except (OSError, psutil.Error):
        raise TargetError(f"{target} has just ended") from None


def _by_pid(value: str) -> psutil.Process:
    try:
        process = psutil.Process(int(value))
        if process.status() != psutil.STATUS_ZOMBIE:
            return process
    except psutil.Error:
        pass
    raise TargetError(f"process {value} does not exist: `ps` lists the processes")


def _by_port(value: str) -> psutil.Process:
    processes = roots(listeners(int(value)))
    if not processes:
        raise TargetError(
            f"no process is visible that listens on port {value}: start the test as the user of the server, or as root"
        )
    if any(_name(process) == "docker-proxy" for process in processes):
        raise TargetError(f"port {value} is that of a container: use container NAME, or docker kill NAME")
    return _only(processes, f"listen on port {value}")


def _by_name(value: str) -> psutil.Process:
    own = psutil.Process()
    excluded = {own.pid, *(process.pid for process in own.parents())}
    named = [one for one in psutil.process_iter() if one.pid not in excluded and value in (_name(one), _program(one))]
    processes = roots(named)
    if not processes:
        raise TargetError(f"no process has the name '{value}': `ps` lists the processes")
    return _only(processes, f"have the name '{value}'")


def _by_container(value: str) -> psutil.Process:
    command = ["docker", "inspect", "--format", "{{.State.Pid}}", value]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20.0, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise TargetError(f"docker does not answer: {problem}") from None
    pid = answer.stdout.strip()
    if answer.returncode or not pid.isdigit() or pid == "0":
        raise TargetError(
            f"container {value} does not run here: {last_line(answer.stderr) or '`docker ps` lists them'}"
        )
    return _by_pid(pid)


_FIND = {"pid": _by_pid, "port": _by_port, "process": _by_name, "container": _by_container}


def _only(processes: Sequence[psutil.Process], what: str) -> psutil.Process:
    if len(processes) > 1:
        pids = ", ".join(str(process.pid) for process in processes[:5])
        raise TargetError(f"{len(processes)} processes {what} ({pids}): name one, such as pid {processes[0].pid}")
    return processes[0]


def listeners(port: int) -> list[psutil.Process]:
    """Return the processes that listen on a port, as far as this user may see them."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return []
    pids = {
        line.pid
        for line in connections
        if line.status == psutil.CONN_LISTEN and line.laddr and line.laddr.port == port and line.pid
    }
    return [process for pid in sorted(pids) for process in _existing(pid)]


def _existing(pid: int) -> Iterator[psutil.Process]:
    with suppress(psutil.Error):
        yield psutil.Process(pid)


def roots(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Return the processes without those that descend from another one of them, such as the workers of a server."""
    pids = {process.pid for process in processes}
    return [process for process in processes if not pids & {parent.pid for parent in _parents(process)}]


def _parents(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.parents())
    except psutil.Error:
        return []


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name()) if process.status() != psutil.STATUS_ZOMBIE else ""
    except psutil.Error:
        return ""


def _program(process: psutil.Process) -> str:
    """Return the program, script or module that a process runs: `vllm.entrypoints.openai.api_server`."""
    try:
        words = [PurePath(word).name for word in process.cmdline() if not word.startswith("-")]
    except (psutil.Error, OSError):
        return ""
    return next((word for word in words if not _INTERPRETER.fullmatch(word)), "")


def identity_of(pid: int) -> Identity | None:
    """Return the identity of a process that runs."""
    try:
        process = psutil.Process(pid)
        return Identity(pid, _began(process)) if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def with_children(identity: Identity) -> list[Identity]:
    """Return a process and all processes that descend from it, as far as they run."""
    process = identity.process
    if process is None:
        return []
    family = [identity]
    with suppress(psutil.Error):
        for child in process.children(recursive=True):
            with suppress(psutil.Error):
                family.append(Identity(child.pid, _began(child)))
    return family


def signal_all(family: Iterable[Identity], number: signal.Signals) -> None:
    """Send a signal to those processes that still run. Another process with the same pid never gets it."""
    for identity in family:
        if identity.process is not None:
            with suppress(ProcessLookupError):
                os.kill(identity.pid, number)


def last_line(text: str) -> str:
    """Return the last line of a command's output, which usually has the reason of its failure."""
    return next((line.strip()[:300] for line in reversed(text.splitlines()) if line.strip()), "")
