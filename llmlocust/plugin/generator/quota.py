"""A fixed number of requests (`--llm-requests`): each costs a ticket, and a process is dealt so many and no more."""

from __future__ import annotations

from gevent.event import Event


class Tickets:
    """Those of one process. Without a fixed number, requests cost none."""

    def __init__(self) -> None:
        self._dealt: int | None = None
        self._taken = 0
        self._waiting = 0
        self._more = Event()

    def deal(self, total: int | None) -> None:
        """The process may send so many in all; told as often as anybody likes. 0: its users wait. None: no number."""
        self._dealt = total
        more, self._more = self._more, Event()
        more.set()

    def take(self) -> bool:
        """One for a request that is sent now; False where none is left."""
        if self._dealt is not None and self._taken >= self._dealt:
            return False
        self._taken += 1
        return True

    def wait(self) -> None:
        """Until more are dealt, which need not be."""
        self._waiting += 1
        try:
            self._more.wait()
        finally:
            self._waiting -= 1

    @property
    def idle(self) -> int:
        """Users for whom nothing is left to ask."""
        return self._waiting if self._dealt else 0
