"""`Collector`: adds the records of a process that runs users to its ledger, and passes new figures to the run.

A worker sends them with Locust's own reports (plugin.cluster.worker). In a run of one process, the run takes them
directly.
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
from llmlocust.plugin import console
from llmlocust.plugin.generator.core_time import CoreTime
from llmlocust.plugin.generator.open_load import LEAD_NS, OpenLoad
from llmlocust.plugin.generator.parse_queue import ParseQueue
from llmlocust.plugin.generator.quota import Quota
from llmlocust.plugin.http.reader import LOOP, reader_name, why_loop
from llmlocust.plugin.options import option
from llmlocust.stream.record import Record

_OUR_ROWS = "LLM"
"""The type of our rows in Locust's table."""
_IN_LOCUSTS_TABLE = {key: metric.short for key, metric in METRICS.items() if metric.in_locusts_table}
_SECONDS_OF_ROWS = 60
_USERS_END_WITHIN = 10.0
_LAG_INTERVAL = 0.01
_MAX_CALLBACK_TIME = 0.001
_GARBAGE_THRESHOLDS = (50_000, 20, 100)


class Collector:
    """The figures of one process. Moments are seconds since the run began; a worker receives that time from the master."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.began_ns = perf_counter_ns()
        self.reader = reader_name()
        self._is_reader_reported = False
        self.ledger = Ledger(self._name(), reader=self.reader)
        self.in_flight = 0
        self.backing_off = 0
        """Number of users that are pausing after a failed request."""
        self.parse_queue = ParseQueue(is_used=self.reader == LOOP)
        self.open_load = OpenLoad(self, 0 if self.reader == LOOP else LEAD_NS)
        self.quota = Quota()
        self.refused = ""
        """The reason why this process must not send anything; empty if it may."""
        self.run_received = Event()
        """Unset until this worker has received the run that its requests belong to."""
        self.run_received.set()
        self.processes = 1
        """The number of processes of the whole run."""
        self._draws: Draws | None = None
        self._loop_lag = 0.0
        _keep_the_loop_free()
        self._cpu = (process_time(), perf_counter())
        self._core_time = CoreTime()
        self._lag_due = perf_counter() + _LAG_INTERVAL
        self._lag_timer = gevent.get_hub().loop.timer(_LAG_INTERVAL, _LAG_INTERVAL, ref=False)
        self._lag_timer.start(self._note_lag)
        gevent.spawn(self._gauge)

    def _report_reader(self) -> None:
        """Print once that the event loop reads answers, and its cost."""
        if self.reader == LOOP and not self._is_reader_reported:
            self._is_reader_reported = True
            console.say(
                f"The event loop reads answers, because {why_loop()}: that costs more CPU time, and requests and answers are late "
                "when tasks block this process."
            )

    def start(
        self, elapsed: float = 0.0, rows_a_second: float = ROWS_A_SECOND, limits: str = "", processes: int = 1
    ) -> None:
        """Start counting for a new run.

        `elapsed`: seconds since the run began. `rows_a_second`: rows of requests to keep per second. `limits`: the
        thresholds of goodput. `processes`: the number of processes of the run.
        """
        self._report_reader()
        self.began_ns = perf_counter_ns() - int(elapsed * 1e9)
        self.ledger = Ledger(self._name(), rows_a_second, self.reader)
        self.ledger.limits = thresholds_of(parse_gates(limits))
        self.processes, self._draws = processes, None
        self.refused = ""
        self.quota = Quota()
        self.open_load.close()

    def _name(self) -> str:
        """Return a unique name: host, process id, and Locust's worker index, because containers may share the first two."""
        process, index = f"{socket.gethostname()}:{os.getpid()}", getattr(self.environment.runner, "worker_index", -1)
        return process if index < 0 else f"{process}#{index}"

    def moment(self, ns: int | None = None) -> float:
        """Return a time of perf_counter_ns, or the present, as seconds since the run began."""
        return ((perf_counter_ns() if ns is None else ns) - self.began_ns) / 1e9

    @property
    def draws(self) -> Draws:
        """The random draws of this process's requests. Created at the first use: before that, a worker has no options."""
        if self._draws is None:
            index = getattr(self.environment.runner, "worker_index", 0)
            self._draws = Draws(option(self.environment, "seed"), index, self.processes)
        return self._draws

    # ── requests ──

    def request_due(self, due_ns: int, *, dropped: bool) -> None:
        self.ledger.note_due(self.moment(due_ns), dropped=dropped)

    def request_begins(self, name: str, requested_ns: int) -> None:
        self.in_flight += 1
        self.ledger.note_sent(self.moment(requested_ns), name)

    def request_retried(self) -> None:
        self.ledger.note_retry(self.moment())

    def back_off(self, seconds: float) -> None:
        """Make the calling user pause for this number of seconds after a failed request."""
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
        """Log our own metrics. They bypass the request event, which would count them as requests in Aggregated."""
        if record.ok:
            entries = self.environment.stats.entries
            for metric, title in _IN_LOCUSTS_TABLE.items():
                if (value := getattr(record, metric)) is not None:
                    entries[f"{record.name} {title}", _OUR_ROWS].log(value * 1000.0, 0)

    def wait_for_users(self) -> None:
        """Wait until the users have ended. Locust kills them without waiting, and each still records its last request."""
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
        """Begin a level at the end of the one before, without a warm-up."""
        now = self.moment()
        self.ledger.begin_level(now, load, unit)
        self.ledger.end_warmup(now)

    def level_ended(self) -> None:
        self._note_overdue_gauges()
        self.ledger.end_level(self.moment())

    def follow(self, state: dict[str, Any]) -> None:
        """Adopt the master's state of the run (Run.state). May be repeated."""
        self._note_overdue_gauges()
        self.ledger.limit_rows(state["rows_a_second"])
        if state["level"] is not None:
            self.ledger.follow(self.moment(), **state["level"])
        self.quota.set(state["tickets"])

    # ── new figures ──

    def take(self) -> dict[str, Any]:
        """Return the figures since the last call."""
        self.open_load.ahead()
        return self.ledger.take()

    # ── the state of this process ──

    def _note_lag(self) -> None:
        """Note how late the event loop calls this: answers are read late by as much."""
        now = perf_counter()
        self._loop_lag = max(self._loop_lag, now - self._lag_due)
        self._lag_due = now + _LAG_INTERVAL
        self._lag_timer.again(self._note_lag)  # starts anew: a late timer would fire twice

    def _gauge(self) -> None:
        """Note the gauges once in every second of the run, in its middle."""
        while True:
            gevent.sleep(self.ledger.gauges_due(self.moment()) - self.moment())
            self._note_overdue_gauges()

    def _note_overdue_gauges(self) -> None:
        """Note the gauges if they are overdue.

        Also called when a level changes: its users end afterwards, and a process that is half a second late would have
        no value for the level's last second.
        """
        if not self.ledger.gauges_overdue(self.moment()):
            return
        runner = self.environment.runner
        self.ledger.note_gauges(
            self.moment(),
            users=len(runner.user_greenlets) - self.quota.idle if runner is not None else 0,
            in_flight=self.in_flight - self.open_load.ahead(),
            backing_off=self.backing_off,
            client_cpu=self._cpu_share(),
            loop_lag=self._loop_lag * 1000.0,
            turn_wait=self.parse_queue.take_longest() * 1000.0,
            **self._core_time.shares(),
        )
        self._loop_lag = 0.0

    def _cpu_share(self) -> float:
        (cpu, wall), self._cpu = self._cpu, (process_time(), perf_counter())
        return (self._cpu[0] - cpu) / max(self._cpu[1] - wall, 1e-3)


def forget_old_seconds(stats: RequestStats) -> None:
    """Drop old seconds from our rows of Locust's table.

    Locust counts each row per second and never drops a second, although it uses only the last twelve. Our rows would grow
    with the length of the run. Locust's own rows stay as they are.
    """
    for (_, kind), entry in list(stats.entries.items()):
        counts = entry.num_reqs_per_sec
        if kind == _OUR_ROWS and len(counts) > 2 * _SECONDS_OF_ROWS:
            newest = max(counts)
            for old in [second for second in counts if second <= newest - _SECONDS_OF_ROWS]:
                del counts[old]


def _keep_the_loop_free() -> None:
    """Shorten the times for which the event loop does not poll.

    Greenlets that are ready run one after the other until gevent polls again: after 1 ms instead of 5 ms. Garbage
    collection visits all objects: the present ones are excluded, and the others are visited rarely.
    """
    gevent.setswitchinterval(_MAX_CALLBACK_TIME)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
