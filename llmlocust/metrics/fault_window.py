"""`FaultWindow`: a fault that a run injected, and when. Pure.

The process that injects faults reports it, run.json keeps it in `faults`, and the analysis computes the recovery from it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FaultWindow:
    """One injection of a fault. Moments are epoch seconds; None where they are not known or have not come yet."""

    name: str
    """The name that the plan gives, or the action."""
    kind: str
    """The first word of the action, such as down, latency or kill."""
    began: float | None
    """When the injector injected the fault."""
    lifted: float | None
    """When the injector lifted it. A restart of a process lifts its crash: loading the model belongs to the recovery."""
    confirmed_began: float | None = None
    """When something other than the users showed that the fault was present."""
    confirmed_lifted: float | None = None
    """When something other than the users showed that the fault was over."""
    id: str = ""
    """The number of the fault in the plan and that of its injection, such as 1.1; unique in a run."""
    action: str = ""
    """The action in the notation of the plan."""
    evidence: str = ""
    """The observation that confirmed the fault, such as a counter of the proxy; a message."""
    problem: str = ""
    """Why the fault could not be injected, lifted or confirmed, as a message; empty without a problem."""

    @property
    def is_confirmed(self) -> bool:
        """Whether both ends of the fault were seen. Without that, every statement on the recovery is void."""
        return self.began is not None and self.confirmed_began is not None and self.is_confirmed_lifted

    @property
    def is_confirmed_lifted(self) -> bool:
        return self.lifted is not None and self.confirmed_lifted is not None

    @property
    def outage(self) -> float | None:
        """Seconds from the injection to the lift."""
        return None if self.began is None or self.lifted is None else self.lifted - self.began
