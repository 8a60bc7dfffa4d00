"""The counting in each process that runs users: records go into its ledger, and what is new goes to the run.

A worker sends it along with Locust's own reports (plugin.cluster.worker); a process that is master and worker in one hands it
over itself.
"""

from __future__ import annotations

import gc
import os
import socket
from time import perf_counter, perf_counter_ns, process_time
from typing import Any

import gevent
from gevent.event import Event
from locust.env import Environment
from locust.stats import RequestStats

from llmlocust.load.distributions import Draws
from llmlocust.metrics.ledger import ROWS_A_SECOND, Ledger
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.sums import Sums
from llmlocust.metrics.thresholds import parse_gates, thresholds_of
from llmlocust.plugin.generator.core_time import CoreTime
from llmlocust.plugin.generator.open_load import OpenLoad
from llmlocust.plugin.generator.parse_queue import Turns
from llmlocust.plugin.generator.quota import Tickets
from llmlocust.plugin.options import option
from llmlocust.stream.record import Record

_OUR_ROWS = "LLM"
"""The type of our rows in Locust's table."""
_IN_LOCUSTS_TABLE = {key: metric.short for key, metric in METRICS.items() if metric.in_locusts_table}
_SECONDS_OF_ROWS = 60
_USERS_END_WITHIN = 10.0
_LAG_INTERVAL = 0.01
_MOST_CALLBACK_TIME = 0.001
_GARBAGE_THRESHOLDS = (50_000, 20, 100)


class Collector:
    """Moments are seconds since the run began; a worker learns when that was from the master's first message."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.began_ns = perf_counter_ns()
        self.ledger = Ledger(self._name())
        self.in_flight = 0
        self.backing_off = 0
        """Number of users that are pausing after a failed request."""
        self.turns = Turns()
        self.open_load = OpenLoad(self)
        self.tickets = Tickets()
        self.refused = ""
        """Why the run must not send anything; empty when it may."""
        self.is_told = Event()
        """Not set where a worker has not heard of the run that its requests are of."""
        self.is_told.set()
        self.processes = 1
        """Of the whole run."""
        self._draws: Draws | None = None
        self._loop_lag = 0.0
        _keep_the_loop_free()
        self._cpu = (process_time(), perf_counter())
        self._core_time = CoreTime()
        self._lag_due = perf_counter() + _LAG_INTERVAL
        self._lag_timer = gevent.get_hub().loop.timer(_LAG_INTERVAL, _LAG_INTERVAL, ref=False)
        self._lag_timer.start(self._note_lag)
        gevent.spawn(self._gauge)

    def start(
        self, elapsed: float = 0.0, rows_a_second: float = ROWS_A_SECOND, limits: str = "", processes: int = 1
    ) -> None:
        """A run began, so many seconds ago, of so many processes. `limits` are what a request must keep to be good."""
        self.began_ns = perf_counter_ns() - int(elapsed * 1e9)
        self.ledger = Ledger(self._name(), rows_a_second)
        self.ledger.limits = thresholds_of(parse_gates(limits))
        self.processes, self._draws = processes, None
        self.refused = ""
        self.tickets = Tickets()
        self.open_load.close()

    def _name(self) -> str:
        """Return a unique name: host, process id, and Locust's index of the worker, as containers may share the first two."""
        process, index = f"{socket.gethostname()}:{os.getpid()}", getattr(self.environment.runner, "worker_index", -1)
        return process if index < 0 else f"{process}#{index}"

    def moment(self, ns: int | None = None) -> float:
        return ((perf_counter_ns() if ns is None else ns) - self.began_ns) / 1e9

    @property
    def draws(self) -> Draws:
        """What this process's requests draw. Made at the first of them: a worker has no options before."""
        if self._draws is None:
            index = getattr(self.environment.runner, "worker_index", 0)
            self._draws = Draws(option(self.environment, "seed"), index, self.processes)
        return self._draws

    # ── requests ──

    def request_due(self, due_ns: int, *, dropped: bool) -> None:
        self.ledger.note_due(self.moment(due_ns), dropped=dropped)

    def request_begins(self, name: str) -> None:
        self.in_flight += 1
        self.ledger.note_sent(self.moment(), name)

    def back_off(self, seconds: float) -> None:
        """Have the calling user pause after a failed request."""
        self.backing_off += 1
        try:
            gevent.sleep(seconds)
        finally:
            self.backing_off -= 1

    def request_ended(self, sums: Sums) -> None:
        self.in_flight -= 1
        record = sums.record
        self.ledger.add(record, record.sent - self.began_ns / 1e9, sums)
        self._show_in_locusts_table(record)

    def _show_in_locusts_table(self, record: Record) -> None:
        """Rows for metrics of our own. They bypass the request event, or they would count as requests in Aggregated."""
        if record.ok:
            entries = self.environment.stats.entries
            for metric, title in _IN_LOCUSTS_TABLE.items():
                if (value := getattr(record, metric)) is not None:
                    entries[f"{record.name} {title}", _OUR_ROWS].log(value * 1000.0, 0)

    def wait_for_users(self) -> None:
        """Locust kills users without waiting for them; each has the record of its last request to make."""
        assert self.environment.runner is not None
        users = self.environment.runner.user_greenlets
        if gevent.getcurrent() not in users:  # a user's own task may have ended the test
            users.join(timeout=_USERS_END_WITHIN)

    # ── levels ──

    def level_began(self, load: float, unit: str) -> None:
        self.ledger.begin_level(self.moment(), load, unit)

    def warmup_ended(self, *, reached: bool) -> None:
        self.ledger.end_warmup(self.moment(), reached=reached)

    def level_follows(self, load: float, unit: str) -> None:
        """The next level began where the one before ended, without a warm-up."""
        now = self.moment()
        self.ledger.begin_level(now, load, unit)
        self.ledger.end_warmup(now)

    def level_ended(self) -> None:
        self._note_overdue_gauges()
        self.ledger.end_level(self.moment())

    def follow(self, told: dict[str, Any]) -> None:
        """How things stand on the master (Run.state), told as often as anybody likes."""
        self._note_overdue_gauges()
        self.ledger.limit_rows(told["rows_a_second"])
        if told["level"] is not None:
            self.ledger.follow(self.moment(), **told["level"])
        self.tickets.deal(told["tickets"])

    # ── what is new ──

    def take(self) -> dict[str, Any]:
        return self.ledger.take()

    # ── the state of this process ──

    def _note_lag(self) -> None:
        """Called by the event loop. So much later than they could be are answers read."""
        now = perf_counter()
        self._loop_lag = max(self._loop_lag, now - self._lag_due)
        self._lag_due = now + _LAG_INTERVAL
        self._lag_timer.again(self._note_lag)  # from now on: one that is late would fire twice

    def _gauge(self) -> None:
        """Once in every second of the run, in its middle."""
        while True:
            gevent.sleep(self.ledger.gauges_due(self.moment()) - self.moment())
            self._note_overdue_gauges()

    def _note_overdue_gauges(self) -> None:
        """Called where a level changes, too. Its users end after that, and a process that is late by half a second
        would have no value for the level's last second.
        """
        if not self.ledger.gauges_overdue(self.moment()):
            return
        runner = self.environment.runner
        self.ledger.note_gauges(
            self.moment(),
            users=len(runner.user_greenlets) - self.tickets.idle if runner is not None else 0,
            in_flight=self.in_flight,
            backing_off=self.backing_off,
            client_cpu=self._cpu_share(),
            loop_lag=self._loop_lag * 1000.0,
            turn_wait=self.turns.take_longest() * 1000.0,
            **self._core_time.shares(),
        )
        self._loop_lag = 0.0

    def _cpu_share(self) -> float:
        (cpu, wall), self._cpu = self._cpu, (process_time(), perf_counter())
        return (self._cpu[0] - cpu) / max(self._cpu[1] - wall, 1e-3)


def forget_old_seconds(stats: RequestStats) -> None:
    """Locust counts each row by the second for as long as it lives, and looks at the last twelve. Of our rows the rest
    goes, or they would grow with the length of the run; Locust's own are as people know them.
    """
    for (_, kind), entry in list(stats.entries.items()):
        counts = entry.num_reqs_per_sec
        if kind == _OUR_ROWS and len(counts) > 2 * _SECONDS_OF_ROWS:
            newest = max(counts)
            for second in [each for each in counts if each <= newest - _SECONDS_OF_ROWS]:
                del counts[second]


def _keep_the_loop_free() -> None:
    """Of the thieves of an event loop's time, two can be told to be quick.

    Greenlets that are ready run one after the other until gevent polls again: after a millisecond instead of five.
    Collecting garbage goes through everything that lives: what lives by now stays, and the rest is looked at rarely.
    """
    gevent.setswitchinterval(_MOST_CALLBACK_TIME)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
