"""Implementations of `Cluster` over Locust's runner: `LocustWorkers` and `OneProcess`."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import (
    MASTER_HEARTBEAT_TIMEOUT,
    STATE_RUNNING,
    STATE_SPAWNING,
    WORKER_REPORT_INTERVAL,
    MasterRunner,
    Runner,
)

from llmlocust.load.arrivals import RateShare
from llmlocust.plugin.generator.collector import Collector
from llmlocust.plugin.run.cluster import Cluster
from llmlocust.plugin.run.trace_rows import take_rows_of


def cluster_of(environment: Environment, collector: Collector | None) -> Cluster:
    """Return the cluster of an environment. `collector` is the one of this process, if it runs users itself."""
    runner = environment.runner
    if isinstance(runner, MasterRunner):
        return LocustWorkers(environment, runner)
    assert runner is not None
    assert collector is not None
    return OneProcess(environment, runner, collector)


class _LocustCluster(Cluster):
    """The common part of both clusters."""

    def __init__(self, environment: Environment, runner: Runner) -> None:
        self._environment, self._runner = environment, runner

    def clock(self) -> float:
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        gevent.sleep(seconds)

    def repeat(self, seconds: float, step: Callable[[], None]) -> Callable[[], None]:
        return partial(gevent.spawn(_repeat, seconds, step).kill, block=False)

    @property
    def user_count(self) -> int:
        return self._runner.user_count

    @property
    def is_on(self) -> bool:
        return self._runner.state in (STATE_RUNNING, STATE_SPAWNING)

    @property
    def is_steady(self) -> bool:
        return self._runner.state == STATE_RUNNING and self._runner.user_count > 0

    @property
    def stop_timeout(self) -> float:
        return self._environment.stop_timeout

    @stop_timeout.setter
    def stop_timeout(self, seconds: float) -> None:
        self._environment.stop_timeout = seconds


def _repeat(seconds: float, step: Callable[[], None]) -> None:
    while True:
        gevent.sleep(seconds)
        step()


class LocustWorkers(_LocustCluster):
    """The workers of a master, which runs no users."""

    report_delay = WORKER_REPORT_INTERVAL + 1.0
    lost_worker_stops_after = float(MASTER_HEARTBEAT_TIMEOUT)

    def __init__(self, environment: Environment, runner: MasterRunner) -> None:
        super().__init__(environment, runner)
        self._master = runner

    def pause(self) -> None:
        gevent.sleep(0)

    @property
    def worker_count(self) -> int:
        return self._master.worker_count

    def senders(self) -> list[str | None]:
        clients = self._master.clients
        names: list[str] = sorted(worker.id for worker in (*clients.ready, *clients.spawning, *clients.running))
        return [*names]

    def users_of(self, sender: str | None) -> int:
        assert sender is not None
        return self._master.clients[sender].user_count

    def send(self, what: str, sender: str | None = None, **data: Any) -> None:
        self._master.send_message("llm", {"what": what, **data}, client_id=sender)

    def level_began(self, load: float, unit: str) -> None:
        """Do nothing, like the following methods: workers follow the run's messages."""

    def warmup_ended(self, *, reached: bool) -> None: ...

    def level_follows(self, load: float, unit: str) -> None: ...

    def level_ended(self) -> None: ...

    def set_quota(self, total: int) -> None: ...

    def take(self) -> None:
        return None


class OneProcess(_LocustCluster):
    """The only process, which runs the users itself.

    The run's clock is the collector's clock, because setting up a run takes a while.
    """

    def __init__(self, environment: Environment, runner: Runner, collector: Collector) -> None:
        super().__init__(environment, runner)
        self._collector = collector
        self._handlers: dict[str, Callable[..., None]] = {"arrivals": self._take_rate, "rows": self._take_rows}

    @property
    def worker_count(self) -> int:
        return 1

    def run_began(self) -> float:
        return self._collector.began_ns / 1e9

    def pause(self) -> None:
        self._collector.parse_queue.wait()

    def senders(self) -> list[str | None]:
        return [None]

    def users_of(self, sender: str | None) -> int:
        return self._runner.user_count

    def send(self, what: str, sender: str | None = None, **data: Any) -> None:
        """Take this process's share of the load. Method calls deliver the other messages."""
        if handler := self._handlers.get(what):
            handler(**data)

    def _take_rate(self, share: list[Any], max_in_flight: int) -> None:
        self._collector.open_load.follow(RateShare(*share), max_in_flight)

    def _take_rows(self, **rows: Any) -> None:
        take_rows_of(self._collector.open_load, rows, time.perf_counter_ns())

    def level_began(self, load: float, unit: str) -> None:
        self._collector.level_began(load, unit)

    def warmup_ended(self, *, reached: bool) -> None:
        self._collector.warmup_ended(reached=reached)

    def level_follows(self, load: float, unit: str) -> None:
        self._collector.level_follows(load, unit)

    def level_ended(self) -> None:
        self._collector.level_ended()

    def set_quota(self, total: int) -> None:
        self._collector.quota.set(total)

    def take(self) -> dict[str, Any]:
        return self._collector.take()
