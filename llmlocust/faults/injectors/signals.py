"""Signals to a process: freeze, term and kill, with a command that starts it again."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from llmlocust.faults import requests, targets, undo
from llmlocust.faults.actions import SignalAction
from llmlocust.faults.injectors.injector import Context, Injector, InjectorError
from llmlocust.faults.targets import Identity, TargetError
from llmlocust.faults.undo import Step, UndoError
from llmlocust.text import urls
from llmlocust.text.message import Message, message


class _Signal(Injector):
    """A signal to a process that is found shortly before."""

    name: str

    def __init__(self, action: SignalAction, injection_id: str, context: Context) -> None:
        super().__init__(injection_id, context)
        self._action, self._family = action, list[Identity]()

    def check(self) -> str:
        try:
            targets.find(self._action.target)
        except TargetError as problem:
            return str(problem)
        return requests.forbidden(self._action.healthy, self.context.allow) if self._action.healthy else ""

    def describe(self) -> str:
        target = self._action.target
        with suppress(TargetError):
            process = targets.find(target).process
            if process is not None and target.by != "pid":
                return f"{self.name} to {target}, now process {process.pid} ({process.name()}){self._scope}"
        return f"{self.name} to {target}{self._scope}"

    @property
    def _scope(self) -> str:
        return " and the processes that descend from it"

    def prepare(self) -> None:
        self._family = self._find()

    def _find(self) -> list[Identity]:
        try:
            return targets.with_children(targets.find(self._action.target))
        except TargetError as problem:
            raise InjectorError(str(problem)) from None

    @property
    def _pairs(self) -> list[Sequence[float]]:
        return [list(identity) for identity in self._family]

    def _send(self, number: signal.Signals, family: Sequence[Identity]) -> None:
        if not any(identity.process for identity in family):
            raise InjectorError(f"{self._action.target} ended before the fault")
        try:
            targets.signal_all(family, number)
        except PermissionError:
            raise InjectorError(f"{self._action.target} belongs to another user: start the test as root") from None


class Freeze(_Signal):
    """SIGSTOP to a process and its descendants, until SIGCONT: connections are accepted, and nothing is answered."""

    name = "SIGSTOP"

    @property
    def steps(self) -> list[Step]:
        return [{"continue": self._pairs}]

    def inject(self) -> None:
        self._send(signal.SIGSTOP, self._family)
        if more := [one for one in targets.with_children(self._family[0]) if one not in self._family]:
            self._family += more  # they started after the search
            targets.signal_all(more, signal.SIGSTOP)

    def present(self) -> Message | None:
        alive = [identity for identity in self._family if identity.process]
        if alive and all(identity.is_stopped for identity in alive):
            return message("process {pid} was stopped", pid=self._family[0].pid)
        return None

    def gone(self) -> Message | None:
        if any(identity.is_stopped for identity in self._family):
            return None
        return message("process {pid} runs", pid=self._family[0].pid)


class End(_Signal):
    """SIGTERM to a process, or SIGKILL to it and its descendants. A command starts it again, or a supervisor does."""

    remembers = True

    def __init__(self, action: SignalAction, injection_id: str, context: Context) -> None:
        super().__init__(action, injection_id, context)
        self._number = signal.SIGTERM if action.kind == "term" else signal.SIGKILL
        self.name = self._number.name
        self.patience = action.within if action.healthy else 0.0
        self._child: subprocess.Popen[bytes] | None = None
        self._is_sent = False
        self._port = int(action.target.value) if action.target.by == "port" else 0

    @property
    def _scope(self) -> str:
        return "" if self._number == signal.SIGTERM else super()._scope

    def describe_lift(self) -> str:
        return super().describe_lift() or "wait until another process takes its place"

    @property
    def steps(self) -> list[Step]:
        if not self._action.restart:
            return []
        pairs, port = self._pairs[:1], self._port
        return [{"restart": self._action.restart, "unless": pairs, "port": port, "wait": self._is_sent}]

    def inject(self) -> None:
        self._is_sent = True
        # a server that gets SIGTERM ends its workers itself, after their requests
        self._send(self._number, self._family[:1] if self._number == signal.SIGTERM else self._family)

    def present(self) -> Message | None:
        return message("process {pid} ended", pid=self._family[0].pid) if self._has_ended() else None

    def _has_ended(self) -> bool:
        return not any(identity.process for identity in self._family)

    def can_be_lifted(self) -> bool:
        return self._has_ended() and (bool(self._action.restart) or self._successor() is not None)

    def lift(self) -> None:
        if not self._action.restart and self._successor() is None:
            raise InjectorError(f"nothing has started {self._action.target} again")
        if self._child is not None or not self._action.restart:
            return
        try:
            (self._child,) = undo.perform(self.steps) or (None,)
        except UndoError as problem:
            raise InjectorError(str(problem)) from None
        if self._child is None:
            raise InjectorError(f"{self._action.target} still runs, or another process has its port")

    def gone(self) -> Message | None:
        if url := self._action.healthy:
            if requests.is_ok(url, insecure=self.context.insecure):
                return message("{url} answers", url=urls.shown(url))
            return None
        successor = self._successor()
        if successor is not None and self._port:
            return message("process {pid} listens on port {port}", pid=successor.pid, port=self._port)
        return None if successor is None else message("process {pid} runs", pid=successor.pid)

    def _successor(self) -> Identity | None:
        """Return the process that replaces the one that ended."""
        if self._child is not None and self._child.poll():
            raise InjectorError(f"`{self._action.restart}` ended with exit code {self._child.returncode}")
        if self._child is not None and self._child.returncode is None and not self._port:
            return targets.identity_of(self._child.pid)
        with suppress(TargetError):
            replacement = targets.find(self._action.target)
            return None if replacement in self._family else replacement
        return None


def signal_injector(action: SignalAction, injection_id: str, context: Context) -> Injector:
    kind = Freeze if action.kind == "freeze" else End
    return kind(action, injection_id, context)
