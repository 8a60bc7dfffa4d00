"""`LostWorkers`: the workers that are lost at present, and the levels that lack their figures. Without Locust."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from llmlocust.metrics.ledger import Ledger
from llmlocust.metrics.levels import Level
from llmlocust.plugin import console


@dataclass
class LostWorker:
    """A worker that is lost. Moments are seconds since the run began."""

    noticed: float
    may_go_on_until: float
    """Until this moment it may go on with the users that it had, beside what is asked of the others."""
    words: str = ""
    levels: list[int] = field(default_factory=list)
    """The levels that it spoils."""


class LostWorkers:
    """`stops_after`: seconds without its master after which a worker stops sending load."""

    def __init__(self, ledger: Ledger, moment: Callable[[], float], stops_after: float) -> None:
        self._ledger, self._moment, self._stops_after = ledger, moment, stops_after
        self._lost: dict[str, LostWorker] = {}

    def __contains__(self, client_id: str) -> bool:
        return client_id in self._lost

    def level_began(self, level: Level) -> None:
        """A level began: lost workers that may go on with their users spoil it, too."""
        for worker in self._lost.values():
            if level.began < worker.may_go_on_until:
                worker.levels.append(level.index)

    def add(self, client_id: str, name: str, lacks: str, since: float, *, may_go_on: bool) -> None:
        """A worker has reported nothing since a moment, and the figures lack what it did; it may come back. Called again
        while it stays lost. Where it may go on with the users it had, it does so for as long as Locust lets it.
        """
        worker = self._lost.get(client_id)
        if worker is not None:
            worker.words = _words(name, worker, lacks)
            return
        worker = LostWorker(self._moment(), since + self._stops_after if may_go_on else 0.0)
        worker.words = _words(name, worker, lacks)
        worker.levels = [level.index for level in self._ledger.levels if level.ended is None or level.ended > since]
        self._lost[client_id] = worker
        console.say(worker.words)

    def remove(self, client_id: str, words: str) -> None:
        """A worker is back."""
        del self._lost[client_id]
        console.say(words)

    def all(self) -> list[LostWorker]:
        """Return those that are lost now."""
        return list(self._lost.values())


def _words(name: str, worker: LostWorker, lacks: str) -> str:
    return f"Worker {name} was lost {worker.noticed:.0f} s into the run: {lacks}."
