"""`Worker`: the worker's side of the messages between a worker and its master.

The worker sends new figures of its ledger in numbered pieces, with Locust's own reports. It keeps each piece, and sends
it again with every report, until the master confirms it. The master counts each piece once (plugin.cluster.master). A
network outage therefore loses nothing, and nothing is counted twice.
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
_NOT_VALID = 98


class Outbox:
    """Pieces that the master has not confirmed: one at a time, and one more when the test stops.

    New figures stay in the ledger in the meantime, where they are added up. Locust ends a worker that has received
    nothing from its master for a minute, so neither grows without limit.
    """

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []
        self._number = 0

    def add(self, piece: dict[str, Any]) -> None:
        self._number += 1
        self.kept.append({"number": self._number, **piece})

    def received(self, number: int) -> None:
        """Drop this piece and the ones before it: the master has them."""
        self.kept = [piece for piece in self.kept if piece["number"] > number]


class Worker:
    """Sends a worker's figures to the master, and handles the master's messages."""

    def __init__(self, environment: Environment, collector: Collector) -> None:
        assert isinstance(environment.runner, WorkerRunner)
        locust_patches.cache_default_options()
        self.environment, self.runner, self.collector = environment, environment.runner, collector
        self.outbox = Outbox()
        self.run = ""
        """The id of the run to which its figures belong."""
        # a worker that joins late may already have begun
        self.running = self.runner.worker_state in (STATE_SPAWNING, STATE_RUNNING)
        """Locust's test has started on this worker, and has not stopped."""
        self._given_stop_timeout = 0.0
        self._dropped = 0
        """Requests of finished runs whose figures the master has not confirmed."""
        self._obstacle = ""
        """The reason why this worker cannot take part in the run; empty if it can."""
        self._handlers: dict[str, Callable[[dict[str, Any]], None]] = {
            "run": self._start,
            "state": collector.follow,
            "have": self._received,
            "arrivals": lambda data: collector.open_load.follow(RateShare(*data["share"]), data["max_in_flight"]),
            "rows": self._replay,
            "refused": self._refused,
            "too late": lambda data: self._note_dropped(
                data["ended"], "arrived after the end of their run and are in no file"
            ),
            "stop early": lambda data: setattr(environment, "stop_timeout", data["stop_timeout"]),
        }
        collector.run_received.clear()
        self.runner.register_message("llm", self._on_message)
        events = environment.events
        events.quitting.add_listener(self._on_quitting)  # added now, it is called before the runner's own listener
        events.report_to_master.add_listener(self._on_report)
        events.test_start.add_listener(self._on_start)
        events.test_stop.add_listener(self._on_stop)
        self.runner.send_message("llm_hello", {"version": VERSION})

    # ── messages of the master ──

    def _on_message(self, environment: Environment, msg: Any) -> None:
        self._handlers[msg.data["what"]](msg.data)

    def _start(self, data: dict[str, Any]) -> None:
        if data.get("version") != VERSION:
            version = data.get("version", "of an older version")
            self._leave(
                f"the master runs llmlocust {version}, this worker {VERSION}: refused. Install the same version on both"
            )
            return
        self._given_stop_timeout = data["stop_timeout"]
        locust_patches.accept_any_spawn_message(self.runner)
        if data["run"] != self.run:
            self._drop()
            self.run = data["run"]
            self.collector.start(data["elapsed"], data["rows_a_second"], data["limits"], data["processes"])
            self.collector.refused = self._obstacle
            self._check_machine(data["users"])
        self.collector.follow(data)
        self.collector.open_load.on = self.collector.open_load.on or data["open"]
        self.collector.run_received.set()

    def _check_machine(self, users: float) -> None:
        try:
            machine_limits.check(users, 1, ())
        except ValueError as problem:
            self._cannot_run(str(problem))

    def _received(self, data: dict[str, Any]) -> None:
        self.outbox.received(data["number"])
        if data["run"] == self.run:
            self.collector.follow(data)

    def _replay(self, data: dict[str, Any]) -> None:
        """Take the rows of a trace. The trace is opened before users are spawned: the master sends them later."""
        received_ns = perf_counter_ns()
        try:
            take_rows_of(self.collector.open_load, data, received_ns)
        except ValueError as problem:
            reason = f"this worker does not have the master's trace, and sends none of its requests: {problem}"
            self.runner.log_exception("llmlocust", reason, reason)
            console.error(reason)

    def _refused(self, data: dict[str, Any]) -> None:
        self.collector.refused = data["why"]
        self.collector.run_received.set()
        if data.get("leave"):
            self._leave(data["why"])

    def _leave(self, reason: str) -> None:
        console.error(reason)
        self.environment.process_exit_code = _USAGE_ERROR
        self.runner.quit()

    # ── messages to the master ──

    def _on_report(self, client_id: str, data: dict[str, Any]) -> None:
        if self.run and not self.outbox.kept:
            self._pack()
        data["llm"] = {
            "version": VERSION,
            "run": self.run,
            "running": self.running,
            "pieces": self.outbox.kept,
            "given": self.runner.last_received_spawn_timestamp,
        }

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
            self._obstacle = ""

    def _cannot_run(self, reason: str) -> None:
        """Send nothing, and have the master end the run: the load of this worker would be missing."""
        self._obstacle = self.collector.refused = reason
        console.error(reason)
        self.runner.send_message("llm_cannot_run", {"worker": self.collector.ledger.worker, "why": reason})

    def _on_stop(self, environment: Environment) -> None:
        # before Locust's own last report, which may arrive too late
        self.collector.wait_for_users()
        self.running = False
        if self.run:
            self._pack()
        try:
            locust_patches.send_report_now(self.runner)  # Locust's figures and ours, in one report
        except RPCError:
            console.error("cannot reach the master; this worker's next report has the last figures")
        # Locust's worker sleeps for this long before it handles a message to quit
        environment.stop_timeout = 0.0

    def _on_quitting(self, environment: Environment, **kwargs: Any) -> None:
        """Stop a worker that quits on its own. Its requests in flight are recorded, and their figures sent, before it ends."""
        environment.stop_timeout = self._given_stop_timeout
        self.runner.stop()
        with gevent.Timeout(_ANSWER_WITHIN, False):
            while self.outbox.kept and self.runner.greenlet:  # without its greenlets, it would receive no answer
                gevent.sleep(0.05)
        self._drop()
        if self._dropped and environment.process_exit_code is None:
            environment.process_exit_code = _NOT_VALID

    def _drop(self) -> None:
        """Note the unconfirmed figures of a run that has ended for this worker.

        The worker still sends them, as the master may know the run.
        """
        dropped = self.collector.ledger.new_ended + sum(
            piece["ended"] for piece in self.outbox.kept if piece["run"] == self.run
        )
        if self.run and dropped:
            self._note_dropped(dropped, "are not confirmed by the master and may be in no file")

    def _note_dropped(self, requests: int, reason: str) -> None:
        self._dropped += requests
        console.error(f"the figures of {requests} requests of this worker {reason}")
