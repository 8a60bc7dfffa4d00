"""A worker's side of what goes between it and its master.

What is new in its ledger goes out in numbered pieces, with Locust's own reports. A piece is kept, and sent again with
every report, until the master has said that it has it; the master counts each once (plugin.cluster.master). So a network that
is cut and heals loses nothing, and nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import gevent
from locust.env import Environment
from locust.exception import RPCError
from locust.runners import STATE_RUNNING, STATE_SPAWNING, WorkerRunner

from llmlocust.load.arrivals import RateShare
from llmlocust.plugin import console, locust_patches
from llmlocust.plugin.generator.collector import Collector
from llmlocust.plugin.protocol import VERSION
from llmlocust.plugin.run.trace_rows import take_rows_of
from llmlocust.plugin.startup import attributes, machine_limits, option_checks

_ANSWER_WITHIN = 10.0
_USAGE_ERROR = 2
_DOUBTED = 98


class Outbox:
    """Pieces that the master has not said to have. One at a time, and one more when the test stops: what comes in
    meanwhile stays in the ledger, where it is added up. Locust ends a worker that has not heard of its master for a
    minute, so neither grows without end.
    """

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []
        self._number = 0

    def add(self, piece: dict[str, Any]) -> None:
        self._number += 1
        self.kept.append({"number": self._number, **piece})

    def received(self, number: int) -> None:
        """The master has this piece and those before it."""
        self.kept = [each for each in self.kept if each["number"] > number]


class Worker:
    def __init__(self, environment: Environment, collector: Collector) -> None:
        assert isinstance(environment.runner, WorkerRunner)
        locust_patches.look_options_up_once()
        self.environment, self.runner, self.collector = environment, environment.runner, collector
        self.outbox = Outbox()
        self.run = ""
        """Of which run its figures are."""
        self.running = self.runner.worker_state in (
            STATE_SPAWNING,
            STATE_RUNNING,
        )  # one that joins late may begin early
        """Between a test's start and its stop, as Locust tells of them here."""
        self._asked_stop_timeout = 0.0
        self._dropped = 0
        """Requests of finished runs whose figures the master has not confirmed."""
        self._cannot = ""
        """Why this worker cannot take part in the run; empty where it can."""
        self._handlers: dict[str, Callable[[dict[str, Any]], None]] = {
            "run": self._start,
            "state": collector.follow,
            "have": self._received,
            "arrivals": lambda told: collector.open_load.deal(RateShare(*told["share"]), told["max_in_flight"]),
            "rows": self._replay,
            "refused": self._refused,
            "too late": lambda told: self._note_dropped(
                told["ended"], "arrived after the end of their run and are in no file"
            ),
            "stop early": lambda told: setattr(environment, "stop_timeout", told["stop_timeout"]),
        }
        collector.is_told.clear()
        self.runner.register_message("llm", self._on_message)
        events = environment.events
        events.quitting.add_listener(self._on_quitting)  # added now, it is called before the runner's own listener
        events.report_to_master.add_listener(self._on_report)
        events.test_start.add_listener(self._on_start)
        events.test_stop.add_listener(self._on_stop)
        self.runner.send_message("llm_hello", {"version": VERSION})

    # ── what the master says ──

    def _on_message(self, environment: Environment, msg: Any) -> None:
        self._handlers[msg.data["what"]](msg.data)

    def _start(self, told: dict[str, Any]) -> None:
        if told.get("version") != VERSION:
            theirs = told.get("version", "of an older version")
            self._leave(f"the master runs llmlocust {theirs}, this worker {VERSION}: refused. Install the same on both")
            return
        self._asked_stop_timeout = told["stop_timeout"]
        locust_patches.take_spawn_messages_of_any_time(self.runner)
        if told["run"] != self.run:
            self._drop()
            self.run = told["run"]
            self.collector.start(told["elapsed"], told["rows_a_second"], told["limits"], told["processes"])
            self.collector.refused = self._cannot
            self._check_machine(told["users"])
        self.collector.follow(told)
        self.collector.open_load.on = self.collector.open_load.on or told["open"]
        self.collector.is_told.set()

    def _check_machine(self, users: float) -> None:
        try:
            machine_limits.check(users, 1, ())
        except ValueError as problem:
            self._cannot_run(str(problem))

    def _received(self, told: dict[str, Any]) -> None:
        self.outbox.received(told["number"])
        if told["run"] == self.run:
            self.collector.follow(told)

    def _replay(self, told: dict[str, Any]) -> None:
        """The trace is opened before users are spawned, as the master tells of them later."""
        came_ns = perf_counter_ns()
        try:
            take_rows_of(self.collector.open_load, told, came_ns)
        except ValueError as problem:
            why = f"this worker has not the master's trace, and sends nothing of it: {problem}"
            self.runner.log_exception("llmlocust", why, why)
            console.error(why)

    def _refused(self, told: dict[str, Any]) -> None:
        self.collector.refused = told["why"]
        self.collector.is_told.set()
        if told.get("leave"):
            self._leave(told["why"])

    def _leave(self, why: str) -> None:
        console.error(why)
        self.environment.process_exit_code = _USAGE_ERROR
        self.runner.quit()

    # ── what it says itself ──

    def _on_report(self, client_id: str, data: dict[str, Any]) -> None:
        if self.run and not self.outbox.kept:
            self._pack()
        told = {"version": VERSION, "run": self.run, "running": self.running, "pieces": self.outbox.kept}
        data["llm"] = told | {"given": self.runner.last_received_spawn_timestamp}

    def _pack(self) -> None:
        self.outbox.add({"run": self.run, **self.collector.take()})

    def _on_start(self, environment: Environment) -> None:
        self.running = True
        try:
            option_checks.check_values(environment)  # a file may be missing on this machine
            attributes.check_users(environment)
        except ValueError as problem:
            self._cannot_run(str(problem))
        else:
            self._cannot = ""

    def _cannot_run(self, why: str) -> None:
        """Send nothing, and have the master end the run: the load of this worker would be missing."""
        self._cannot = self.collector.refused = why
        console.error(why)
        self.runner.send_message("llm_cannot_run", {"worker": self.collector.ledger.worker, "why": why})

    def _on_stop(self, environment: Environment) -> None:
        # ahead of Locust's own last report, which may come too late
        self.collector.wait_for_users()
        self.running = False
        if self.run:
            self._pack()
        try:
            locust_patches.send_report_now(self.runner)  # Locust's own figures and ours, in one report
        except RPCError:
            console.error("cannot reach the master; its next report has the last figures")
        # Locust's worker sleeps for this long before it can be told to quit
        environment.stop_timeout = 0.0

    def _on_quitting(self, environment: Environment, **kwargs: Any) -> None:
        """A worker is stopped by itself: its requests in flight get their records before it says good-bye."""
        environment.stop_timeout = self._asked_stop_timeout
        self.runner.stop()
        with gevent.Timeout(_ANSWER_WITHIN, False):
            while self.outbox.kept and self.runner.greenlet:  # without its greenlets, no answer would be heard
                gevent.sleep(0.05)
        self._drop()
        if self._dropped and environment.process_exit_code is None:
            environment.process_exit_code = _DOUBTED

    def _drop(self) -> None:
        """Note the unconfirmed figures of a run that has ended for this worker. It still sends them: the master may know the run."""
        dropped = self.collector.ledger.new_ended + sum(
            piece["ended"] for piece in self.outbox.kept if piece["run"] == self.run
        )
        if self.run and dropped:
            self._note_dropped(dropped, "are not confirmed by the master and may be in no file")

    def _note_dropped(self, requests: int, why: str) -> None:
        self._dropped += requests
        console.error(f"the figures of {requests} requests of this worker {why}")
