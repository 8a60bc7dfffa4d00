"""A cluster without Locust, with a clock that a test sets, and reports of its workers."""

from collections.abc import Callable
from typing import Any

from llmlocust.metrics.ledger import Ledger
from llmlocust.plugin.run.cluster import Cluster
from llmlocust.plugin.run.run import Run
from llmlocust.plugin.run.settings import RunSettings
from llmlocust.stream.record import Record
from tests.metrics.records import record_of


class FakeCluster(Cluster):
    """Its workers and their users are `users`; `users={None: 5}` is one process that runs 5 users itself."""

    stop_timeout = 0.0
    lost_worker_stops_after = 60.0
    is_on = is_steady = True

    def __init__(self, users: dict[str | None, int] | None = None) -> None:
        self.users = {None: 1} if users is None else users
        self.now = 1000.0
        self.sent: list[tuple[str, str | None, dict[str, Any]]] = []
        """The messages to workers: kind, receiver and data."""
        self.levels: list[tuple[Any, ...]] = []
        """The level changes of this process."""
        self.quota: int | None = None
        self.own = Ledger("own")
        """The ledger of the only process."""
        self.pause_takes = 0.0
        self.steps: list[list[Any]] = []
        """The repeated steps: when each is due, its interval, and its function."""

    def clock(self) -> float:
        return self.now

    def pause(self) -> None:
        self.now += self.pause_takes

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def repeat(self, seconds: float, step: Callable[[], None]) -> Callable[[], None]:
        entry = [self.now + seconds, seconds, step]
        self.steps.append(entry)
        return lambda: self.steps.remove(entry)

    def advance(self, seconds: float) -> None:
        """Let time pass, with all steps that are due in it."""
        until = self.now + seconds
        while due := [entry for entry in self.steps if entry[0] <= until]:
            entry = min(due, key=lambda entry: entry[0])
            self.now = max(self.now, entry[0])
            entry[2]()
            entry[0] = max(self.now, entry[0]) + entry[1]
        self.now = max(self.now, until)

    @property
    def worker_count(self) -> int:
        return len(self.users)

    def senders(self) -> list[str | None]:
        return sorted(self.users, key=str)

    @property
    def user_count(self) -> int:
        return sum(self.users.values())

    def users_of(self, sender: str | None) -> int:
        return self.users[sender]

    def send(self, what: str, sender: str | None = None, **data: Any) -> None:
        self.sent.append((what, sender, data))

    def level_began(self, load: float, unit: str) -> None:
        self.levels.append(("began", load, unit))

    def warmup_ended(self, *, reached: bool) -> None:
        self.levels.append(("warmed_up", reached))

    def level_follows(self, load: float, unit: str) -> None:
        self.levels.append(("follows", load, unit))

    def level_ended(self) -> None:
        self.levels.append(("ended",))

    def set_quota(self, total: int) -> None:
        self.quota = total

    def take(self) -> dict[str, Any] | None:
        return self.own.take() if None in self.users else None

    # ── for tests ──

    def messages(self, what: str) -> list[tuple[str | None, dict[str, Any]]]:
        """The messages of a kind since the last call, with their receivers."""
        messages = [(sender, data) for kind, sender, data in self.sent if kind == what]
        self.sent = [message for message in self.sent if message[0] != what]
        return messages


def make_run(users: dict[str | None, int] | None = None, **settings: Any) -> tuple[Run, FakeCluster]:
    """A run that has not begun, and its cluster."""
    cluster = FakeCluster(users)
    return Run(cluster, RunSettings(**settings)), cluster


def played(run: Run, requests: int, *, worker: str = "w", record: Record | None = None) -> dict[str, Any]:
    """The report of a worker that has sent requests of half a second and received their answers."""
    ledger = Ledger(worker)
    for level in run.ledger.levels:
        ledger.begin_level(level.began, level.load, level.unit)
        if level.warmed_up is not None:
            ledger.end_warmup(level.warmed_up)
    for number in range(requests):
        sent = run.moment() - 0.5 - number / 1000.0
        ledger.note_sent(sent, "chat")
        ledger.add(record or record_of([0.1, 0.3, 0.5]), sent)
    return ledger.take()
