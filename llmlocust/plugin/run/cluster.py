"""`Cluster`: what a run needs of the processes that send its load, of their users and of time.

`locust_cluster` implements it over Locust's runner. Tests give a run a cluster of their own, with a clock that they set.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any


class Cluster(ABC):
    """The processes that send load: Locust's workers, or this process alone. A process is named by Locust's id of the
    worker; this process, where it sends load itself, is None.
    """

    report_delay = 0.0
    """Seconds after which whatever a process has measured has arrived here."""
    lost_worker_stops_after = 0.0
    """Seconds without its master after which a worker stops sending load."""
    stop_timeout: float
    """Seconds that users have to end when they are told to stop (Locust's --stop-timeout)."""

    # ── time ──

    @abstractmethod
    def clock(self) -> float:
        """Return seconds of a monotonic clock."""

    def run_began(self) -> float:
        """Return the clock's time at which the run that is being set up began."""
        return self.clock()

    @abstractmethod
    def pause(self) -> None:
        """Let what is more urgent run: users who wait for their turn, messages."""

    @abstractmethod
    def sleep(self, seconds: float) -> None: ...

    @abstractmethod
    def repeat(self, seconds: float, step: Callable[[], None]) -> Callable[[], None]:
        """Call `step` after every pause of `seconds`. Returns a function that ends it."""

    # ── processes and their users ──

    @property
    @abstractmethod
    def worker_count(self) -> int:
        """The number of processes that send load."""

    @abstractmethod
    def senders(self) -> list[str | None]:
        """Return the names of the processes that send load and are present, in a fixed order."""

    @property
    @abstractmethod
    def user_count(self) -> int: ...

    @abstractmethod
    def users_of(self, sender: str | None) -> int: ...

    @property
    @abstractmethod
    def is_on(self) -> bool:
        """Users are being started, or run."""

    @property
    @abstractmethod
    def is_steady(self) -> bool:
        """All users that were asked for run."""

    @abstractmethod
    def send(self, what: str, sender: str | None = None, **data: Any) -> None:
        """Send a message to one process; None: to all of them."""

    # ── levels and quota of this process, where it sends load itself; workers have them from the run's messages ──

    @abstractmethod
    def level_began(self, load: float, unit: str) -> None: ...

    @abstractmethod
    def warmup_ended(self, *, reached: bool) -> None: ...

    @abstractmethod
    def level_follows(self, load: float, unit: str) -> None:
        """The next level began where the one before ended, without a warm-up."""

    @abstractmethod
    def level_ended(self) -> None: ...

    @abstractmethod
    def set_quota(self, total: int) -> None:
        """Let this process send a number of requests in all."""

    @abstractmethod
    def take(self) -> dict[str, Any] | None:
        """Return what this process has counted since the last call; None where it sends no load."""
