"""`LostWorkers`: the workers that are lost now, and the levels that lack their figures. Without Locust."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from llmlocust.metrics.ledger import Ledger
from llmlocust.metrics.levels import Level
from llmlocust.plugin import console
from llmlocust.text.message import Message, message


@dataclass
class LostWorker:
    """A worker that is lost. Moments are seconds since the run began."""

    noticed: float
    may_go_on_until: float
    """The moment until which its old users may continue, in addition to the load of the other workers."""
    words: str = ""
    """A sentence that describes the loss."""
    levels: list[int] = field(default_factory=list)
    """The levels that lack its figures, or contain load of its old users."""


class LostWorkers:
    """The lost workers of a run. `stops_after`: seconds without its master after which a worker stops sending load."""

    def __init__(self, ledger: Ledger, moment: Callable[[], float], stops_after: float) -> None:
        self._ledger, self._moment, self._stops_after = ledger, moment, stops_after
        self._lost: dict[str, LostWorker] = {}

    def __contains__(self, client_id: str) -> bool:
        return client_id in self._lost

    def level_began(self, level: Level) -> None:
        """Mark a level that began if users of lost workers may still send load."""
        for worker in self._lost.values():
            if level.began < worker.may_go_on_until:
                worker.levels.append(level.index)

    def add(self, client_id: str, name: str, lacks: str, since: float, *, may_go_on: bool) -> None:
        """Add a worker, or update its description.

        `lacks`: a description of the requests that the figures lack. `since`: the moment of its last report.
        `may_go_on`: its users may continue for as long as Locust lets them.
        """
        worker = self._lost.get(client_id)
        if worker is not None:
            worker.words = loss(name, worker.noticed, lacks)
            return
        worker = LostWorker(self._moment(), since + self._stops_after if may_go_on else 0.0)
        worker.words = loss(name, worker.noticed, lacks)
        worker.levels = [level.index for level in self._ledger.levels if level.ended is None or level.ended > since]
        self._lost[client_id] = worker
        console.say(worker.words)

    def remove(self, client_id: str, words: str) -> None:
        """Remove a worker that is back, and print `words`."""
        del self._lost[client_id]
        console.say(words)

    def all(self) -> list[LostWorker]:
        """Return the workers that are lost now."""
        return list(self._lost.values())


def loss(name: str, moment: float, lacks: str) -> Message:
    """Return the sentence on a worker that was lost at a moment of the run."""
    return message(
        "Worker {name} was lost {seconds} s into the run: {lacks}.", name=name, seconds=f"{moment:.0f}", lacks=lacks
    )
