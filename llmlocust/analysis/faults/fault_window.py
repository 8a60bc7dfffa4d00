"""`FaultWindow`: when a fault was injected and lifted. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FaultWindow:
    """A fault on purpose. Moments are epoch seconds; None where they are not known."""

    name: str
    kind: str
    began: float | None
    """When the injector injected the fault."""
    lifted: float | None
    """When the injector lifted it. A restart of a process lifts its crash: loading the model belongs to the recovery."""
    confirmed_began: float | None = None
    """When something other than the users showed that the fault was present."""
    confirmed_lifted: float | None = None
    """When something other than the users showed that the fault was over."""

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
