"""The process that injects faults, as a child process of a test."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

from llmlocust.faults.program import window_of
from llmlocust.metrics.fault_window import FaultWindow
from tests.simulators import PATIENCE, ROOT, wait_for


class FaultProgram:
    """A running process: `send` a command, and read the messages so far."""

    def __init__(self, faults: list[str], **config: Any) -> None:
        self.messages: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "llmlocust.faults.setup"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        self.write({"faults": faults, **config})

    def _read(self) -> None:
        with suppress(ValueError):  # it was closed
            for line in self.process.stdout:
                self.messages.append(json.loads(line))

    def write(self, document: dict[str, Any]) -> None:
        self.process.stdin.write(json.dumps(document).encode() + b"\n")
        self.process.stdin.flush()

    def send(self, do: str, **fields: Any) -> None:
        self.write({"do": do, **fields})

    def start(self, anchor: str = "run") -> float:
        """Wait until the process is ready, and start an anchor now. Return the moment."""
        self.ready()
        moment = time.time()
        self.send("start", anchor=anchor, time=moment)
        return moment

    def ready(self) -> dict[str, Any]:
        return wait_for(lambda: self.messages[:1])[0]

    def windows(self) -> dict[str, FaultWindow]:
        """Return the newest window of each injection."""
        return {one["fault"]["id"]: window_of(one["fault"]) for one in list(self.messages) if "fault" in one}

    def undo(self) -> dict[str, Any]:
        """Return the steps that lift what is injected now, by injection."""
        steps: dict[str, Any] = {}
        for one in list(self.messages):
            if "undo" in one:
                steps[one["undo"]["id"]] = one
            steps.pop(one.get("undone"), None)
        return steps

    def wait_for(self, condition, injection: str = "1.1") -> FaultWindow:
        """Wait until the window of an injection is as a test wants it."""
        return wait_for(
            lambda: self.windows().get(injection), lambda window: window is not None and bool(condition(window))
        )

    def finish(self) -> dict[str, FaultWindow]:
        """End the run, and return the windows."""
        self.send("finish")
        assert self.process.wait(PATIENCE) == 0
        self._reader.join(PATIENCE)
        assert self.messages[-1] == {"done": True}
        assert self.undo() == {}
        return self.windows()

    def close(self) -> None:
        """End the process as a run that has ended does."""
        with suppress(OSError):
            self.process.stdin.close()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        self.process.stdout.close()


@contextmanager
def fault_program(*faults: str, **config: Any) -> Iterator[FaultProgram]:
    program = FaultProgram(list(faults), **{"patience": PATIENCE / 4} | config)
    try:
        yield program
    finally:
        program.close()


def carry_out(undo: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Carry out undo messages, as a run does whose process of faults was killed."""
    lines = "\n".join(map(json.dumps, undo.values()))
    return subprocess.run(
        [sys.executable, "-P", "-m", "llmlocust.faults.undo"],
        cwd=ROOT, input=lines, capture_output=True, text=True, check=False, env=os.environ, timeout=PATIENCE,
    )  # fmt: skip
