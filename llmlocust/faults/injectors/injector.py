"""`Injector`: the base class of what injects a fault, lifts it, and shows that it is present or gone."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from llmlocust.faults import undo
from llmlocust.faults.targets import last_line
from llmlocust.faults.undo import Step, UndoError
from llmlocust.text.message import Message

_MAX_SECONDS = 60.0
"""Seconds that a command which injects a fault may take."""


class InjectorError(Exception):
    """A fault cannot be injected or lifted. The message is one line that names the reason and the remedy."""


class Proxy(Protocol):
    """The run's own proxy, as ProxyProcess."""

    def set(self, fault: str, fault_id: str = "") -> dict[str, Any]: ...
    def clear(self, fault_id: str = "") -> list[dict[str, Any]]: ...
    def counters(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Context:
    """The state that the injectors of a run share."""

    tag: str = "llmlocust"
    """A name that no other run on this machine uses, for what a fault creates."""
    proxy: Proxy | None = None
    insecure: bool = False
    allow: Sequence[str] = ()
    """Hosts with a public address that a fault may touch."""


class Injector(ABC):
    """One injection of an action. One thread uses it, in this order: `prepare`, `inject`, `is_present` until it is, `lift`
    when `is_over_soon`, `is_gone` until it is. `check` and the descriptions change nothing.
    """

    poll = 0.1
    """Seconds between two looks at whether the fault is present or gone."""
    remembers = False
    """Whether `present` also works after the lift, such as by a counter that is kept."""
    patience = 0.0
    """Seconds after the lift in which the fault is seen to be gone, if they are more than usual."""

    def __init__(self, injection_id: str, context: Context) -> None:
        self.id, self.context = injection_id, context

    def check(self) -> str:
        """Return why the fault could not be injected now, in one line; empty if it could."""
        return ""

    @abstractmethod
    def describe(self) -> str:
        """Return what `inject` does, with the exact command if it is one."""

    def describe_lift(self) -> str:
        """Return what `lift` does."""
        return "; ".join(undo.shown(step) for step in self.steps)

    def prepare(self) -> None:  # noqa: B027  # most faults have nothing to find
        """Find the targets, shortly before the moment of the injection. Raises InjectorError."""

    @property
    def steps(self) -> list[Step]:
        """The steps that lift the fault, if it outlives this process; known after `prepare`, and complete after `inject`."""
        return []

    @abstractmethod
    def inject(self) -> None:
        """Inject the fault. Raises InjectorError; the fault is then lifted as if it had been injected."""

    @abstractmethod
    def present(self) -> Message | None:
        """Return what shows that the fault is present; None if nothing does yet. Raises InjectorError."""

    @property
    def present_at(self) -> float | None:
        """The moment at which the fault was first present, where it is known more exactly than by `present`."""
        return None

    def can_be_lifted(self) -> bool:
        """Whether `lift` may be called: not as long as a process that is to be started again still ends."""
        return True

    def lift(self) -> None:
        """Lift the fault. Raises InjectorError. It can be called twice."""
        try:
            undo.perform(self.steps)
        except UndoError as problem:
            raise InjectorError(str(problem)) from None

    @abstractmethod
    def gone(self) -> Message | None:
        """Return what shows that the fault is over; None if nothing does yet. Raises InjectorError."""


def output_of(command: Sequence[str]) -> str:
    """Run a command, and return its output. Raises InjectorError in one line."""
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_MAX_SECONDS, check=False
        )
    except FileNotFoundError:
        raise InjectorError(f"`{command[0]}` is not installed here") from None
    except subprocess.TimeoutExpired:
        raise InjectorError(f"`{' '.join(command)}` did not end within {_MAX_SECONDS:.0f} s") from None
    if answer.returncode:
        raise InjectorError(f"`{' '.join(command)}` failed: {last_line(answer.stderr) or f'exit {answer.returncode}'}")
    return answer.stdout
