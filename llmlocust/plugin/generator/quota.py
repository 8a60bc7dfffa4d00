"""`Quota`: the number of requests that a process may send in a run of a fixed number of requests (`--llm-requests`)."""

from __future__ import annotations

from gevent.event import Event


class Quota:
    """The quota of one process. Without a fixed number of requests it is unlimited."""

    def __init__(self) -> None:
        self._total: int | None = None
        self._taken = 0
        self._waiting = 0
        self._changed = Event()

    def set(self, total: int | None) -> None:
        """Set how many requests the process may send in the whole run. May be repeated. 0: users wait. None: unlimited."""
        self._total = total
        changed, self._changed = self._changed, Event()
        changed.set()

    def take(self) -> bool:
        """Take one request from the quota. Returns False if none is left."""
        if self._total is not None and self._taken >= self._total:
            return False
        self._taken += 1
        return True

    def wait(self) -> None:
        """Wait until the quota is set again, which may never happen."""
        self._waiting += 1
        try:
            self._changed.wait()
        finally:
            self._waiting -= 1

    @property
    def idle(self) -> int:
        """The number of users that wait because the quota is used up."""
        return self._waiting if self._total else 0
