"""Undo steps: what lifts a fault that outlives the process which injected it. JSON documents, so that another process can
carry them out: `python -P -m llmlocust.faults.undo` with the `undo` messages of the faults' process, a line each.

    {"command": ["docker", "unpause", "vllm"], "lifted": ["is not paused"]}      {"shell": "./mend.sh"}
    {"continue": [[PID, BEGAN]]}                       {"end": [PID, BEGAN]}, a process group of ours
    {"restart": "./serve.sh", "unless": [[PID, BEGAN]], "port": 8000, "wait": false}
    {"request": ["DELETE", URL, BODY], "insecure": false}

Each step can be carried out twice, and without the fault: `lifted` has the errors of a command that say so.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from llmlocust.faults import requests, targets
from llmlocust.faults.notation import joined
from llmlocust.faults.targets import Identity
from llmlocust.text import urls

Step = Mapping[str, Any]
_MAX_SECONDS = 120.0
"""Seconds that a command which lifts a fault may take."""


_END_SECONDS = 5.0
"""Seconds between SIGTERM and SIGKILL to a command that the fault started."""
_LOOK = 0.02


class UndoError(Exception):
    """A fault could not be lifted. The message is one line."""


def perform(steps: Iterable[Step]) -> list[subprocess.Popen[bytes]]:
    """Carry out the steps, also those after one that fails. Returns the processes that they started. Raises UndoError."""
    started, problems = [], []
    for step in steps:
        try:
            child = _CARRY_OUT[_kind(step)](step)
        except (OSError, ValueError, UndoError, requests.RequestError) as problem:
            problems.append(str(problem))
        else:
            started += [child] if child else []
    if problems:
        raise UndoError("; ".join(problems))
    return started


def shown(step: Step) -> str:
    """Return what a step does, for a dry run: the exact command where there is one."""
    return _SHOW[_kind(step)](step)


def _kind(step: Step) -> str:
    return next(key for key in step if key in _CARRY_OUT)


def _command(step: Step) -> None:
    _run(step["command"], joined(step["command"]), step.get("lifted", ()))


def _shell(step: Step) -> None:
    _run(["/bin/sh", "-c", step["shell"]], step["shell"])


def _run(command: Sequence[str], name: str, lifted: Sequence[str] = ()) -> None:
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_MAX_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UndoError(f"`{name}` did not end within {_MAX_SECONDS:.0f} s") from None
    if answer.returncode and not any(text in answer.stderr for text in lifted):
        raise UndoError(f"`{name}` failed: {targets.last_line(answer.stderr) or f'exit {answer.returncode}'}")


def _continue(step: Step) -> None:
    targets.signal_all(_identities(step["continue"]), signal.SIGCONT)


def _end(step: Step) -> None:
    """End the process group of a command that the fault started, and wait until it has ended."""
    identity = Identity(*step["end"])
    for number in (signal.SIGTERM, signal.SIGKILL):
        if identity.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(identity.pid, number)
        until = time.monotonic() + _END_SECONDS
        while identity.process is not None and time.monotonic() < until:
            time.sleep(_LOOK)


def _restart(step: Step) -> subprocess.Popen[bytes] | None:
    """Start a command that outlives this process and its terminal, unless the process that it replaces still runs. If that
    one has the signal (`wait`), wait until it ends.
    """
    until = time.monotonic() + (_MAX_SECONDS if step.get("wait") else 0.0)
    while is_running := any(identity.process for identity in _identities(step["unless"])):
        if time.monotonic() >= until:
            break
        time.sleep(_LOOK)
    if is_running and step.get("wait"):
        raise UndoError(f"the process still runs after {_MAX_SECONDS:.0f} s; then start: {step['restart']}")
    if is_running:
        return None
    if step.get("port") and targets.listeners(step["port"]):
        return None
    return subprocess.Popen(
        ["/bin/sh", "-c", step["restart"]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _request(step: Step) -> None:
    method, url, body = step["request"]
    status, _ = requests.send(method, url, body, insecure=step.get("insecure", False))
    # a toxic that does not exist any more need not be removed
    if status // 100 != 2 and not (method == "DELETE" and status == 404):
        raise UndoError(f"{method} {urls.shown(url)} was answered with HTTP {status}")


def _identities(pairs: Iterable[Sequence[Any]]) -> list[Identity]:
    return [Identity(int(pid), float(began)) for pid, began in pairs]


_CARRY_OUT: dict[str, Callable[[Step], subprocess.Popen[bytes] | None]] = {
    "command": _command,
    "shell": _shell,
    "continue": _continue,
    "end": _end,
    "restart": _restart,
    "request": _request,
}
_SHOW: dict[str, Callable[[Step], str]] = {
    "command": lambda step: joined(step["command"]),
    "shell": lambda step: str(step["shell"]),
    "continue": lambda step: "send SIGCONT to the same processes",
    "end": lambda step: "end the command if it still runs",
    "restart": lambda step: str(step["restart"]),
    "request": lambda step: f"{step['request'][0]} {urls.shown(step['request'][1])} {step['request'][2]}".rstrip(),
}


def main() -> int:
    """Carry out the steps of the messages on standard input, the newest fault first, and starts of processes last: those that
    they replace may have to continue before they can end.
    """
    lines = [json.loads(line) for line in sys.stdin if line.strip()]
    documents = [line.get("undo", line) for line in reversed(lines)]
    failed = 0
    for document in sorted(documents, key=lambda document: any("restart" in step for step in document["steps"])):
        try:
            perform(document["steps"])
        except UndoError as problem:
            failed = 1
            sys.stderr.write(f"fault {document.get('id', '')} is not lifted: {problem}\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
