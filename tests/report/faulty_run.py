"""A simulated run of open load with faults, in files: a server with one slot for each request, and faults that break it."""

import math
from dataclasses import asdict, dataclass, field

from made_run import EPOCH, MadeRun

from llmlocust.metrics.fault_window import FaultWindow
from llmlocust.metrics.levels import RATE, Level, Tally
from llmlocust.metrics.rows import REQUEST_COLUMNS
from llmlocust.text.message import to_json

RESTART, SLOW = "restart", "slow"


@dataclass(frozen=True)
class MadeFault:
    """A fault of a FaultyRun, in seconds of the run."""

    began: float
    lifted: float
    recovers: float = 0.0
    """Seconds after the lift until requests are good again; infinite: never."""
    heals_at: float = 0.0
    """The load at and below which requests are good all the same."""
    kind: str = RESTART
    """RESTART: no connection, and streams that are under way are cut. SLOW: first tokens take twenty times as long."""
    name: str = "restart"
    number: str = "1.1"
    confirmed: bool = True
    problem: str = ""

    @property
    def is_bad_until(self) -> float:
        return self.lifted + self.recovers

    def window(self) -> FaultWindow:
        confirmed = self.confirmed and math.isfinite(self.lifted)
        return FaultWindow(
            name=self.name,
            kind="kill" if self.kind == RESTART else "latency",
            began=EPOCH + self.began,
            lifted=EPOCH + self.lifted if math.isfinite(self.lifted) else None,
            confirmed_began=EPOCH + self.began + 0.05 if self.confirmed else None,
            confirmed_lifted=EPOCH + self.lifted + 0.1 if confirmed else None,
            id=self.number,
            action=f"{self.name} the server",
            evidence="the process with the id 4711 was gone" if self.confirmed else "",
            problem=self.problem,
        )


FAULT = MadeFault(80.0, 90.0, 6.0)
THREE = (FAULT, MadeFault(150.0, 160.0, 3.0, number="1.2"), MadeFault(220.0, 230.0, 8.0, number="1.3"))
NEVER = MadeFault(80.0, 90.0, math.inf)


@dataclass
class FaultyRun:
    """A run whose levels are rates, held for `hold` seconds each."""

    loads: tuple[float, ...] = (20.0,)
    hold: float = 160.0
    warmup: float = 10.0
    faults: tuple[MadeFault, ...] = (MadeFault(80.0, 90.0, 6.0),)
    unit: str = RATE
    seed: int = 1
    phases: tuple[str, ...] = ()
    slots: int = 10_000
    drift: float = 0.0
    """Seconds that the TTFT grows by in an hour."""
    telemetry: object = None
    info: dict = field(default_factory=dict)
    tokens: int = 8

    def write(self, prefix, **more):
        return _Files(self).write(prefix, **more)


class _Files(MadeRun):
    def __init__(self, script):
        self.script = script
        faults = [{name: to_json(value) for name, value in asdict(fault.window()).items()} for fault in script.faults]
        super().__init__(
            script.loads,
            script.slots,
            hold=script.hold,
            warmup=script.warmup,
            seed=script.seed,
            tokens=script.tokens,
            phases=script.phases,
            telemetry=script.telemetry,
            info={"faults": faults} | script.info,
        )

    def _simulate(self):
        moment = 0.0
        for index, rate in enumerate(self.loads):
            level = Level(index, rate, self.script.unit, moment, moment + self.warmup, phase=self.phases[index])
            level.ended = level.warmed_up + self.hold
            self.levels.append(level)
            self.tallies.append(Tally())
            moment = level.ended
        for level in self.levels:
            due = level.began
            while (due := due + self.random.expovariate(level.load)) < level.ended:
                self._send(due, level.index)
        self.ended = moment + 5.0

    def _send(self, due, index):
        row = dict.fromkeys(REQUEST_COLUMNS, "")
        row |= {
            "level": index,
            "sent": due,
            "name": "chat",
            "weight": 1,
            "worker": "w1",
            "client_queue": 0.1,
            "stalls": 0,
        }
        if self.script.unit == RATE:
            row["delay"] = 0.1
        broken = next((fault for fault in self.script.faults if fault.began <= due < fault.is_bad_until), None)
        if broken and due > broken.lifted and self.levels[index].load <= broken.heals_at:
            broken = None
        if broken and broken.kind == RESTART:
            self._failed(self._bare(row), due, 0.002, "connect", "Connection refused")
            return
        first = 0.08 * self.random.lognormvariate(0, 0.2) * (20.0 if broken else 1.0) + self.script.drift * due / 3600.0
        count = max(2, round(self.tokens * self.random.lognormvariate(0, 0.3)))
        intervals = [0.03 * self.random.lognormvariate(0, 0.2) for _ in range(count - 1)]
        end = first + sum(intervals)
        cut = next(
            (fault for fault in self.script.faults if fault.kind == RESTART and due < fault.began < due + end), None
        )
        if cut:
            received = sum(first + sum(intervals[:place]) < cut.began - due for place in range(count))
            row = self._bare(row) | {"chunks": received, "ttft": first * 1000 if received else ""}
            self._failed(row, due, cut.began - due, "truncated" if received else "reset", "cut off")
            return
        row |= {
            "outcome": "ok",
            "status": 200,
            **dict.fromkeys(("e2e", "duration"), end * 1000),
            **dict.fromkeys(("ttft", "ttfo"), first * 1000),
            "tpot": sum(intervals) / (count - 1) * 1000,
            "itl_p50": sorted(intervals)[len(intervals) // 2] * 1000,
            "itl_max": max(intervals) * 1000,
            "input_tokens": 30,
            "output_tokens": count,
            "token_source": "usage",
            "chunks": count,
            "coalesced": 0,
            "finish": "stop",
        }
        self._count(row, due, end, intervals)

    def _plan(self):
        return super()._plan() | {"unit": self.script.unit}
