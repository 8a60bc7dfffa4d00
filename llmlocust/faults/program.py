"""The process that injects faults and always lifts them: a thread for each injection, and one that follows the run.

It reads commands from its standard input and writes messages to its standard output, a line of JSON each. When its input ends,
when its parent ends, or by a signal, it lifts every fault and ends: it is the watcher of a run that is killed.

Commands: {"do": "start", "anchor": "run", "level 100" or "phase surge", "time"}; {"do": "lift"} for all faults, after which
nothing more is injected; {"do": "finish"}.
Messages: {"ready", "proxy"} or {"error"}; {"fault"}, the fields of metrics.fault_window.FaultWindow, with messages as
text.message.to_json writes them; {"says"} for the console; {"undo": {"id", "steps"}} before a fault that would outlast this
process, {"undone": id} when it is lifted (llmlocust.faults.undo); {"done"}.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, BinaryIO

import msgspec

from llmlocust.faults.actions import Action
from llmlocust.faults.injectors import injector_of
from llmlocust.faults.injectors.injector import Context, Injector
from llmlocust.faults.life import NEVER_DUE, Life
from llmlocust.faults.schedule import Injection, PlannedFault, Schedule, anchor_of
from llmlocust.faults.undo import Step
from llmlocust.metrics.fault_window import FaultWindow
from llmlocust.text.figures import duration
from llmlocust.text.message import from_json, to_json

_LEAD = 0.5
"""Seconds before an injection at which its targets are searched."""
_PARENT_CHECK = 1.0
_JOURNAL_SECONDS = 1.0
"""Seconds that an injection waits until its undo steps are written. A parent that does not read delays it by no more."""
_END = 5.0
"""Seconds that the end waits for a lift, beyond the patience."""
_WORTH_A_LINE = 1.0
"""Seconds from the lift of a fault to the confirmation of its end, such as the start of a server, that have a line."""
LIFT, FINISH, LOST = "lift", "finish", "lost"

Make = Callable[[Action, str, Context], Injector]


class _Messages:
    """Writes messages in a thread of its own, because a parent that does not read must not delay a lift."""

    def __init__(self, out: BinaryIO, lost: Callable[[], None]) -> None:
        self._out, self._lost = out, lost
        self._lines: queue.SimpleQueue[tuple[bytes, threading.Event]] = queue.SimpleQueue()
        threading.Thread(target=self._write, daemon=True).start()

    def send(self, **document: Any) -> threading.Event:
        """Send a message. Returns an event that is set when it is written."""
        is_written = threading.Event()
        self._lines.put((msgspec.json.encode(document) + b"\n", is_written))
        return is_written

    def _write(self) -> None:
        with suppress(OSError, ValueError):
            while True:
                line, is_written = self._lines.get()
                self._out.write(line)
                self._out.flush()
                is_written.set()
        self._lost()


class Program:
    """Injects the faults of a plan, and lifts them."""

    def __init__(
        self,
        plan: Sequence[PlannedFault],
        context: Context,
        out: BinaryIO,
        *,
        patience: float,
        make: Make = injector_of,
    ) -> None:
        """`patience`: seconds in which the end of a fault must be seen after its lift."""
        self._schedule, self._context, self._patience, self._make = Schedule(plan), context, patience, make
        self._commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._messages = _Messages(out, self.lose)
        self._lives: list[tuple[Life, threading.Thread, threading.Event]] = []
        self._steps: dict[str, Sequence[Step]] = {}
        """The steps that lift the faults which are injected and would outlast this process, by id."""
        self._shown_lines: set[tuple[str, str]] = set()
        self._is_stopped = False
        self._parent = os.getppid()

    def lose(self) -> None:
        """Lift everything and end, as if the run had ended. A signal handler may call it."""
        self._commands.put({"do": LOST})

    def run(self, commands: BinaryIO, proxy: str | None) -> None:
        """Run until the command to finish, or until the input or the parent ends. `proxy`: the URL of the run's proxy."""
        threading.Thread(target=self._read_commands, args=(commands,), daemon=True).start()
        self._messages.send(ready=True, proxy=proxy)
        try:
            while self._follow(self._next_command()):
                if not self._is_stopped:
                    for injection in self._schedule.take(time.time() + _LEAD):
                        self._begin(injection)
        finally:
            self._end()

    def _read_commands(self, commands: BinaryIO) -> None:
        try:
            for line in commands:
                self._commands.put(msgspec.json.decode(line))
        finally:
            self.lose()

    def _next_command(self) -> Mapping[str, Any]:
        """Return the next command; an empty one if an injection is due before it."""
        due = None if self._is_stopped else self._schedule.next_due
        wait = _PARENT_CHECK if due is None else min(_PARENT_CHECK, max(0.0, due - _LEAD - time.time()))
        try:
            return self._commands.get(timeout=wait)
        except queue.Empty:
            return {"do": LOST if os.getppid() != self._parent else ""}

    def _follow(self, command: Mapping[str, Any]) -> bool:
        """Follow a command. Returns whether the run goes on."""
        if command["do"] == "start":
            self._schedule.start(anchor_of(command["anchor"]), float(command["time"]))
        elif command["do"] == LIFT:
            self._stop()
        return command["do"] not in (FINISH, LOST)

    # ── injections ──

    def _begin(self, injection: Injection) -> None:
        injector = self._make(injection.fault.action, injection.id, self._context)
        life = Life(injection, injector, self._report, self._journal, time.time, self._patience)
        wake = threading.Event()
        thread = threading.Thread(target=_live, args=(life, wake), daemon=True)
        self._lives = [one for one in self._lives if one[1].is_alive()]
        self._lives.append((life, thread, wake))
        thread.start()

    def _stop(self) -> None:
        self._is_stopped = True
        for life, _, wake in self._lives:
            life.stop()
            wake.set()

    def _journal(self, injection_id: str, steps: Sequence[Step] | None) -> None:
        if steps is not None and self._steps.get(injection_id) != steps:
            self._steps[injection_id] = steps
            self._messages.send(undo={"id": injection_id, "steps": steps}).wait(_JOURNAL_SECONDS)
        elif steps is None and self._steps.pop(injection_id, None) is not None:
            self._messages.send(undone=injection_id)

    def _report(self, window: FaultWindow) -> None:
        self._messages.send(fault=document_of(window))
        for key, line in _lines_of(window):
            if (window.id, key) not in self._shown_lines:
                self._shown_lines.add((window.id, key))
                self._messages.send(says=line)

    # ── the end ──

    def _end(self) -> None:
        self._stop()
        until = time.monotonic() + 2.0 * self._patience + _END
        for _, thread, _ in self._lives:
            thread.join(max(0.0, until - time.monotonic()))
        self._hand_over()
        for injection_id, planned in self._schedule.left():
            window = FaultWindow(
                planned.shown_name,
                planned.action.kind,
                None,
                None,
                id=injection_id,
                action=planned.action.shown,
                problem=NEVER_DUE,
            )
            self._messages.send(fault=document_of(window))
        self._messages.send(done=True).wait(_JOURNAL_SECONDS)

    def _hand_over(self) -> None:
        """Start a process that lifts what is not lifted yet, such as a server that must end before it starts again."""
        if not self._steps:
            return
        lines = [json.dumps({"id": injection_id, "steps": steps}) for injection_id, steps in self._steps.items()]
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "llmlocust.faults.undo"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert child.stdin is not None
        with suppress(OSError):
            child.stdin.write("\n".join(lines).encode())
            child.stdin.close()
        ids = ", ".join(self._steps)
        self._messages.send(says=f"faults {ids} are not lifted yet: process {child.pid} continues to lift them")


def _live(life: Life, wake: threading.Event) -> None:
    while (moment := life.step()) is not None:
        if wake.wait(max(0.0, min(moment - time.time(), threading.TIMEOUT_MAX))):
            wake.clear()


def _lines_of(window: FaultWindow) -> list[tuple[str, str]]:
    """Return the lines for the console, each with what it is about."""
    name = f"Fault {window.id} ({window.name})"
    lines = []
    if window.began is not None:
        lines.append(("began", f"{name}: injected"))
    if window.lifted is not None and window.outage is not None:
        lines.append(("lifted", f"{name}: lifted after {duration(window.outage)}"))
    if window.lifted is not None and window.confirmed_lifted is not None:
        lag = window.confirmed_lifted - window.lifted
        lines += [("over", f"{name}: seen to be over {duration(lag)} later")] if lag >= _WORTH_A_LINE else []
    if window.problem:
        lines.append((str(window.problem), f"{name}: {window.problem}"))
    return lines


def document_of(window: FaultWindow) -> dict[str, Any]:
    """Return a window as a JSON document."""
    return {**asdict(window), "evidence": to_json(window.evidence), "problem": to_json(window.problem)}


def window_of(document: Mapping[str, Any]) -> FaultWindow:
    """Return the window of a document that `document_of` made."""
    return FaultWindow(**json.loads(json.dumps(document), object_hook=from_json))
