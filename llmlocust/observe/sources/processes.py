"""Processes of this machine, with their children: found by pid, by the port on which they listen, or by name."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil

from llmlocust.observe.sources.exposition import Exposition
from llmlocust.observe.sources.fetching import local_server
from llmlocust.observe.sources.source import Scrape, Source, SourceError
from llmlocust.text.media import one_line

_REFIND_SECONDS = 5.0
"""Seconds between two searches for new children, which read the table of all processes."""
_MAX_THREADS, _BUSIEST = 8, 3
_INTERPRETER = re.compile(r"(python|pypy|node|java|ruby)[\d.]*")
"""Programs that run a script or a module, which is the next word of the command line that is no option."""
_DOCKER_PROXY = "docker-proxy"
_KIB = 1024
_SWITCHES = re.compile(rb"ctxt_switches:\s*(\d+)")

Value = TypeVar("Value")


class Processes(Source):
    """Processes and their children. Processes that end are searched again by port or name."""

    is_beside = True

    def __init__(self, url: str, find: Callable[[], list[psutil.Process]], missing: str) -> None:
        """`find` returns the processes without their children; `missing` is the error if there are none."""
        self.url, self.name = one_line(url), one_line(url.replace(":", " ", 1))
        self._find, self._missing = find, missing
        self._roots: list[psutil.Process] = []
        self._known: dict[int, _Process] = {}
        self._due = 0.0
        """The time of the next search for children."""

    @classmethod
    def by_pid(cls, pid: int) -> Processes:
        try:
            process = psutil.Process(pid)
        except psutil.Error:
            process = None
        gone = f"process {pid} has ended or does not exist: port:PORT and process:NAME find a restarted server again"
        return cls(f"pid:{pid}", lambda: [process] if process else [], gone)

    @classmethod
    def by_port(cls, port: int) -> Processes:
        missing = (
            f"no process is visible that listens on port {port}: start llmlocust as the user of the server, or as root; "
            "for a container, use docker:NAME"
        )
        processes = cls(f"port:{port}", lambda: listeners(port), missing)
        processes.server = local_server(port)
        return processes

    @classmethod
    def by_name(cls, name: str) -> Processes:
        return cls(
            f"process:{name}",
            lambda: _named(name),
            f"no process runs whose name begins with {one_line(name)!r}: `ps` lists them",
        )

    def scrape(self) -> list[Scrape]:
        moment = time.time()
        self._refresh()
        text = Exposition()
        unreadable = {what for process in self._known.values() for what in process.add_to(text)}
        if unreadable and not self.notice:
            what = ", ".join(sorted(unreadable))
            self.notice = (
                f"{self.name}: not readable as this user: {what}. Start llmlocust as the user of the server or root"
            )
        if not (data := bytes(text)):
            self._due = 0.0
            raise SourceError(self._missing)
        return [Scrape(moment + (time.time() - moment) / 2, data)]

    def _refresh(self) -> None:
        """Search the processes if one has ended, and their children from time to time."""
        roots = [root for root in self._roots if _runs(root)]
        if not roots or len(roots) < len(self._roots):
            roots, self._due = [root for root in self._find() if _runs(root)], 0.0
        if not roots:
            self._roots, self._known = [], {}
            raise SourceError(self._missing)
        self._roots = roots
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _REFIND_SECONDS
            found_processes = {process.pid: process for process in _with_children(roots)}
            self._known = {pid: self._kept(process) for pid, process in found_processes.items()}

    def _kept(self, process: psutil.Process) -> _Process:
        known = self._known.get(process.pid)
        return known if known and known.process == process else _Process(process)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _with_children(roots: Iterable[psutil.Process]) -> Iterator[psutil.Process]:
    for root in roots:
        yield root
        try:
            yield from root.children(recursive=True)
        except psutil.Error:
            continue


def listeners(port: int) -> list[psutil.Process]:
    """Return the processes that listen on a port, as far as this user may see them. Raises SourceError for a container."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return []
    is_open = (line for line in connections if line.status == psutil.CONN_LISTEN and line.laddr and line.pid)
    found_processes = list(_processes({line.pid for line in is_open if line.laddr.port == port}))
    if any(_or(process.name, "") == _DOCKER_PROXY for process in found_processes):
        raise SourceError(f"port {port} is that of a container: use docker:NAME, with a name that `docker ps` lists")
    return found_processes


def _processes(pids: Iterable[int | None]) -> Iterator[psutil.Process]:
    for pid in pids:
        try:
            yield psutil.Process(pid)
        except psutil.Error:
            continue


def _named(name: str) -> list[psutil.Process]:
    """Return processes whose name, program, script or module begins with `name`. Our own process and those that
    started it are none of them: `name` is one of their arguments.
    """
    own = psutil.Process()
    excluded = {own.pid, *(process.pid for process in own.parents())}
    return [process for process in psutil.process_iter() if process.pid not in excluded and _is_named(process, name)]


def _is_named(process: psutil.Process, name: str) -> bool:
    if _or(process.status, psutil.STATUS_ZOMBIE) == psutil.STATUS_ZOMBIE:
        return False
    names = (_or(process.name, ""), _program(_or(process.cmdline, [])))
    return any(candidate.lower().startswith(name.lower()) for candidate in names)


def _program(command: list[str]) -> str:
    """Return the program, script or module that a command line runs: `vllm.entrypoints.openai.api_server`."""
    words = (os.path.basename(word) for word in command if not word.startswith("-"))  # noqa: PTH119  # some are no paths
    return next((word for word in words if not _INTERPRETER.fullmatch(word)), "")


def _or(read: Callable[[], Value], otherwise: Value) -> Value:
    """Return a property of a process, or another value if it has ended or may not be read."""
    try:
        return read()
    except (psutil.Error, OSError):
        return otherwise


class _Process:
    """A process, and the counts of its threads.

    Context switches and CPU time are counters of threads: the sum falls when a thread ends. So increments are added.
    """

    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self._folder = Path(f"/proc/{process.pid}")
        self._switches = 0
        self._switches_of: dict[int, int] = {}
        self._cpu_of: dict[int, float] = {}
        self._shown_threads: set[int] = set()

    def add_to(self, text: Exposition) -> set[str]:
        """Add the values of the process to a text. Return the names of those that this user may not read."""
        unreadable: set[str] = set()
        try:
            with self.process.oneshot():
                pid, name = self.process.pid, self.process.name()
                times, start = self.process.cpu_times(), self.process.create_time()
                status, rss = self._status(), self.process.memory_info().rss
                threads = self.process.num_threads()
        except psutil.AccessDenied:
            return {"processes of other users"}
        except (psutil.Error, OSError):
            return unreadable
        labels = {"pid": pid, "name": name}
        text.add("llmlocust_process_cpu_seconds_total", round(times.user + times.system, 3), **labels)
        anonymous = status.get("RssAnon")
        kind, memory = ("rss", rss) if anonymous is None else ("rss_anon", anonymous)
        text.add("llmlocust_process_memory_bytes", memory, **labels, kind=kind)
        if "VmSwap" in status:
            text.add("llmlocust_process_memory_bytes", status["VmSwap"], **labels, kind="swap")
        text.add("llmlocust_process_threads", threads, **labels)
        text.add("llmlocust_process_start_time_seconds", start, **labels)
        self._add_files(text, labels, unreadable)
        self._add_threads(text, labels)
        return unreadable

    def _status(self) -> dict[str, int]:
        """Return the sizes of /proc/PID/status in bytes; nothing on systems without it."""
        lines = (line.split() for line in _lines(self._folder / "status"))
        return {words[0].rstrip(":"): int(words[1]) * _KIB for words in lines if len(words) == 3 and words[2] == "kB"}

    def _add_files(self, text: Exposition, labels: dict[str, object], unreadable: set[str]) -> None:
        try:
            text.add("llmlocust_process_open_files", self.process.num_fds(), **labels)
        except psutil.AccessDenied:
            unreadable.add("open files")
        except (psutil.Error, OSError):
            return
        limit = next(
            (line.split() for line in _lines(self._folder / "limits") if line.startswith("Max open files")), []
        )
        if len(limit) > 3 and limit[3].isdigit():
            text.add("llmlocust_process_max_files", int(limit[3]), **labels)

    def _add_threads(self, text: Exposition, labels: dict[str, object]) -> None:
        try:
            cpu = {thread.id: thread.user_time + thread.system_time for thread in self.process.threads()}
        except (psutil.Error, OSError):
            return
        switches = {thread: count for thread in cpu if (count := self._switches_by(thread)) is not None}
        self._switches += sum(max(0, count - self._switches_of.get(thread, 0)) for thread, count in switches.items())
        if switches:
            text.add("llmlocust_process_context_switches_total", self._switches, **labels)
        for thread in self._chosen(cpu):
            name = f"{_first_line(self._folder / 'task' / str(thread) / 'comm')}-{thread}".lstrip("-")
            text.add(
                "llmlocust_process_thread_cpu_seconds_total", round(cpu[thread], 3), pid=labels["pid"], thread=name
            )
        self._switches_of, self._cpu_of = switches, cpu

    def _switches_by(self, thread: int) -> int | None:
        """Return a thread's context switches; None if the system does not report them."""
        try:
            with open(f"{self._folder}/task/{thread}/status", "rb", buffering=0) as file:  # noqa: PTH123  # much faster
                counts = _SWITCHES.findall(file.read())
        except OSError:
            return None
        return sum(map(int, counts)) if counts else None

    def _chosen(self, cpu: dict[int, float]) -> list[int]:
        """Return the threads that used most CPU since the last time, and those shown before: a counter that comes and goes
        has no rate.
        """
        busiest = sorted(cpu, key=lambda thread: cpu[thread] - self._cpu_of.get(thread, 0.0), reverse=True)[:_BUSIEST]
        candidates = (self._shown_threads & cpu.keys()) | set(busiest)
        others = sorted(candidates - set(busiest), key=lambda thread: cpu[thread], reverse=True)
        self._shown_threads = {*busiest, *others[: _MAX_THREADS - len(busiest)]}
        return sorted(self._shown_threads)


def _lines(path: Path) -> list[str]:
    """Return the lines of a file of the kernel; none if the process has ended or the system has no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _first_line(path: Path) -> str:
    return next(iter(_lines(path)), "")
