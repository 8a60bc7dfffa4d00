"""`Cluster`: the processes that send a run's load, their users, and the clock, as a run needs them.

`locust_cluster` implements it over Locust's runner. Tests implement it with a clock that they set.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any


class Cluster(ABC):
    """The processes that send load: Locust's workers, or this process alone.

    The name of a worker is Locust's id; the name of this process, if it sends load itself, is None.
    """

    report_delay = 0.0
    """Maximum seconds until the figures of a process arrive here."""
    lost_worker_stops_after = 0.0
    """Seconds without its master after which a worker stops sending load."""
    stop_timeout: float
    """Seconds that users have to end when they are stopped (Locust's --stop-timeout)."""

    # ── time ──

    @abstractmethod
    def clock(self) -> float:
        """Return seconds of a monotonic clock."""

    def run_began(self) -> float:
        """Return the clock's time at which the run that is being set up began."""
        return self.clock()

    @abstractmethod
    def pause(self) -> None:
        """Let urgent work run: users that wait for their turn, and messages."""

    @abstractmethod
    def sleep(self, seconds: float) -> None: ...

    @abstractmethod
    def repeat(self, seconds: float, step: Callable[[], None]) -> Callable[[], None]:
        """Call `step` after every pause of `seconds`. Returns a function that ends the repetition."""

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
        """All requested users run."""

    @abstractmethod
    def send(self, what: str, sender: str | None = None, **data: Any) -> None:
        """Send a message of the kind `what` to one process; None: to all of them."""

    # ── levels and quota of this process, if it sends load itself; workers receive them as messages ──

    @abstractmethod
    def level_began(self, load: float, unit: str) -> None: ...

    @abstractmethod
    def warmup_ended(self, *, reached: bool) -> None: ...

    @abstractmethod
    def level_follows(self, load: float, unit: str) -> None:
        """Begin a level at the end of the one before, without a warm-up."""

    @abstractmethod
    def level_ended(self) -> None: ...

    @abstractmethod
    def set_quota(self, total: int) -> None:
        """Set how many requests this process may send in the whole run."""

    @abstractmethod
    def take(self) -> dict[str, Any] | None:
        """Return the figures of this process since the last call; None if it sends no load."""
