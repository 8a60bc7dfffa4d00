"""A run as `Live` sees it, played without Locust and without waiting."""

from typing import Any

from llmlocust.metrics.ledger import Ledger
from llmlocust.metrics.thresholds import parse_gates, thresholds_of
from llmlocust.stream.record import OK, Record
from tests.metrics.records import record_of


class PlayedRun:
    """A run whose requests take half a second, have ten tokens, and count as ended when they are reported."""

    def __init__(self, thresholds: str = "", plan: dict[str, Any] | None = None) -> None:
        self.ledger, self.worker = Ledger(), Ledger("worker")
        self.worker.limits = self.limits = thresholds_of(parse_gates(thresholds))
        self.began, self.ended = 1_700_000_000.0, None
        self.plan, self.through = plan, False
        self.problems: list[str] = []
        self.lost: dict[str, list[int]] = {}
        self.lag = 0.0
        self.telemetry_now: dict[str, float] = {}
        self.faults: list[dict[str, object]] | None = None
        self.at = 0.0

    def moment(self) -> float:
        return self.at

    @property
    def over(self) -> float:
        return self.at if self.ended is None else self.ended - self.began

    def pause(self) -> None:
        pass

    def level(
        self,
        load: float,
        seconds: int,
        ttft: float = 0.1,
        *,
        warmup: int = 1,
        rate: int = 1,
        phase: str = "",
        **more: Any,
    ) -> None:
        """Play a level to its end. Every user sends `rate` requests per second."""
        self.begin(load, phase)
        self.play(warmup, load, ttft, rate=rate, **more)
        self.warmup()
        self.play(seconds, load, ttft, rate=rate, **more)
        for ledger in (self.ledger, self.worker):
            ledger.end_level(self.at)

    def begin(self, load: float, phase: str = "") -> None:
        self.ledger.begin_level(self.at, load, phase=phase)
        self.worker.begin_level(self.at, load)  # workers do not know the phases

    def warmup(self) -> None:
        for ledger in (self.ledger, self.worker):
            ledger.end_warmup(self.at)

    def play(
        self,
        seconds: int,
        users: float,
        ttft: float = 0.1,
        *,
        rate: int = 1,
        name: str = "chat",
        cpu: float = 0.2,
        empty: bool = False,
    ) -> None:
        for _ in range(seconds):
            for number in range(int(users) * rate):
                sent = self.at + number / (users * rate) / 2.0
                self.worker.note_sent(sent, name)
                self.worker.add(EMPTY_ANSWER if empty else answer(ttft, name), sent)
            self.worker.note_gauges(self.at, users=users, in_flight=users, client_cpu=cpu, loop_lag=0.1)
            self.at += 1.0
        self.ledger.merge(self.worker.take())

    def end(self) -> None:
        self.ended = self.began + self.at
        self.through = True


EMPTY_ANSWER = Record(name="chat", outcome=OK, duration=0.1, status=200)


def answer(ttft: float, name: str = "chat") -> Record:
    arrivals = [ttft + 0.04 * number for number in range(10)]
    return record_of(arrivals, name=name, tpot=0.04)
