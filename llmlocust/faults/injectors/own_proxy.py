"""Faults of the run's own proxy, confirmed by its counters."""

from __future__ import annotations

from typing import Any

from llmlocust.faults.actions import ProxyAction
from llmlocust.faults.injectors.injector import Context, Injector, InjectorError
from llmlocust.faults.proxy.process import ProxyError
from llmlocust.text.message import Message, message

_CLOSED = ("down", "refuse")
"""Kinds that close the listening socket."""
_KEPT = ("blackhole", "latency", "bandwidth", "slice", "buffer", "slow_close")
"""Kinds that keep data."""


class OwnProxy(Injector):
    """A fault of the run's own proxy."""

    remembers = True

    def __init__(self, action: ProxyAction, injection_id: str, context: Context) -> None:
        super().__init__(injection_id, context)
        self._fault = action.fault
        self._acted = -1
        """The counter at the last look after the lift."""
        self._first: float | None = None

    def describe(self) -> str:
        return f"the proxy sets '{self._fault}'"

    def describe_lift(self) -> str:
        return f"the proxy clears '{self._fault}'"

    def inject(self) -> None:
        self._ask("set", str(self._fault), self.id)

    def present(self) -> Message | None:
        report = self._ask("counters")
        counters = _counters(report, self.id)
        if counters is None or not counters["acted"]:
            return None
        self._first = counters["first"]
        if self._fault.kind in _CLOSED and self._fault.is_of_all:
            return message("the proxy's socket was closed")
        return message("the proxy counted {count} actions of the fault", count=counters["acted"])

    @property
    def present_at(self) -> float | None:
        return self._first

    def lift(self) -> None:
        report = self._ask("counters")
        if any(fault["id"] == self.id for fault in report["faults"]):
            self._ask("clear", self.id)

    def gone(self) -> Message | None:
        """The fault is cleared and acts no longer. Other faults that are set may still keep data, or the socket closed."""
        report = self._ask("counters")
        counters = _counters(report, self.id)
        kinds = [str(fault["fault"]).partition(" ")[0] for fault in report["faults"]]
        if counters is None or counters["cleared"] is None:
            return None
        before, self._acted = self._acted, counters["acted"]
        is_open = report["listening"] or any(kind in _CLOSED for kind in kinds)
        is_empty = not report["waiting_bytes"] or any(kind in _KEPT for kind in kinds)
        if before == self._acted and is_open and is_empty:
            return message("the proxy forwards again")
        return None

    def _ask(self, command: str, *arguments: str) -> Any:
        if self.context.proxy is None:
            raise InjectorError("the fault needs the run's proxy, which has no server: give the server's URL")
        try:
            return getattr(self.context.proxy, command)(*arguments)
        except ProxyError as problem:
            raise InjectorError(str(problem)) from None


def _counters(report: dict[str, Any], fault_id: str) -> dict[str, Any] | None:
    """Return the counters of a fault that is set, or of the last one with its id that was cleared."""
    faults = [*report["faults"], *reversed(report["cleared"])]
    return next((fault for fault in faults if fault["id"] == fault_id), None)
