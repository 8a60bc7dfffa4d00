"""ActiveFault: a fault that is set, with its random numbers and its counters."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Any

from llmlocust.faults.proxy.counters import FaultCounters
from llmlocust.faults.proxy.faults import Fault


@dataclass(eq=False, slots=True)
class ActiveFault:
    """A fault from the moment at which it is set; it is kept with its counters after it has been cleared."""

    id: str
    fault: Fault
    dice: random.Random
    began: float = field(default_factory=time.time)
    """Seconds since the epoch."""
    cleared: float | None = None
    counters: FaultCounters = field(default_factory=FaultCounters)

    @property
    def kind(self) -> str:
        return self.fault.kind

    def draw(self, of: str) -> bool:
        """Draw whether the fault concerns the next connection or request, and count it."""
        if self.fault.of != of or not (self.fault.is_of_all or self.dice.random() < self.fault.share):
            return False
        if of == "connections":
            self.counters.connections += 1
        else:
            self.counters.requests += 1
        return True

    def delay(self) -> float:
        """Draw the delay of a piece of data, in seconds."""
        fault = self.fault
        return fault.seconds + (self.dice.uniform(-fault.jitter, fault.jitter) if fault.jitter else 0.0)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "fault": str(self.fault),
            "began": self.began,
            "cleared": self.cleared,
            **self.counters.as_json(),
        }
