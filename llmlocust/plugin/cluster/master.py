"""`Master`: the master's side of the messages between it and its workers (plugin.cluster.worker), and corrections of
Locust's master.

Locust gives up a worker after three seconds of silence, and ends the test with the last worker: a busy machine or a short
network outage is enough. llmlocust waits longer, but gives up a worker at once if its connection is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
import zmq
from locust.env import Environment
from locust.rpc import Message
from locust.runners import MASTER_HEARTBEAT_TIMEOUT, STATE_MISSING, STATE_RUNNING, STATE_SPAWNING, MasterRunner

from llmlocust.plugin import console, locust_patches
from llmlocust.plugin.cluster.inbox import CarefulServer, check_messages, guarded
from llmlocust.plugin.cluster.lost import WorkerState
from llmlocust.plugin.protocol import VERSION
from llmlocust.plugin.run.run import Run
from llmlocust.text.message import message

MAX_SILENCE = 20
"""Seconds of silence after which a worker is given up. After an outage of 10 s, TCP takes up to 13 s to recover."""
_TEST_AFTER = 3
"""Seconds of silence after which the master tests whether the connection is still open."""
_MAX_REPORTS_BEHIND = 2
"""Number of reports without the newest users after which a worker is sent its users again. One report may have crossed \
the spawn message."""
_LAST_REPORTS_WITHIN = 60.0
RETURNS_WITHIN = float(MASTER_HEARTBEAT_TIMEOUT)
"""Seconds without a message from its master after which a worker ends. Until then it may return with its figures."""
_HEARTBEAT = 1.0
_MAX_WITHOUT_YIELD = 0.05
"""Maximum seconds for which the master handles messages before other greenlets run."""


class Master:
    """Receives workers' figures for the run, and watches for lost workers. Workers have Locust's ids here."""

    def __init__(self, environment: Environment, run: Callable[[], Run | None], refuse: Callable[[str], None]) -> None:
        """`run` returns the run whose figures the master takes. `refuse` ends a run in which a worker cannot take part."""
        assert isinstance(environment.runner, MasterRunner)
        self.environment, self.runner, self._run, self._refuse = environment, environment.runner, run, refuse
        self._states: dict[str, WorkerState] = {}
        """The state of each worker, by its id."""
        self._running: set[str] = set()
        """The workers that have users of the run, or have not reported all of their figures."""
        self._unknown_workers: set[str] = set()
        """The workers that were stopped because Locust does not know them."""
        self._next_yield = 0.0
        self._must_spawn_again = False
        self._checks_without_users = 0
        """The number of consecutive checks in which a worker had no users."""
        self._closed: set[str] = set()
        """The workers whose connection is closed: they have ended, and send no load."""
        self._quitting = False
        locust_patches.wait_for_silent_workers(MAX_SILENCE)
        self._quit = locust_patches.replace_quit(self.runner, self.quit)
        check_messages(self.runner, self._is_worker)
        self.runner.register_message("llm_hello", guarded(self._on_hello))
        self.runner.register_message("llm_cannot_run", guarded(self._on_cannot_run))
        environment.events.worker_report.add_listener(guarded(self._on_report))
        environment.events.worker_connect.add_listener(self._on_connect)
        environment.events.heartbeat_sent.add_listener(self._on_heartbeat)
        gevent.spawn(self._check_regularly)

    def run_begins(self) -> None:
        """Forget the reports of the run before."""
        self._states = {
            worker: WorkerState(state.name, newest_piece=state.newest_piece)
            for worker, state in self._states.items()
            if worker in self.runner.clients
        }
        self._running.clear()

    # ── messages of workers ──

    def _is_worker(self, client_id: str) -> bool:
        return client_id in self.runner.clients or client_id in self._states

    def _on_hello(self, environment: Environment, msg: Any) -> None:
        if self._has_our_version(msg.node_id, msg.data):
            self._state_of(msg.node_id)
            self._on_connect(msg.node_id)

    def _on_cannot_run(self, environment: Environment, msg: Any) -> None:
        if self._is_worker(msg.node_id):
            self._refuse(message("worker {worker}: {reason}", worker=msg.data["worker"], reason=msg.data["why"]))

    def _on_report(self, client_id: str, data: dict[str, Any]) -> None:
        report = data.get("llm")
        if report is None or not self._has_our_version(client_id, report):
            return
        state = self._state_of(client_id)
        for piece in report["pieces"]:
            self._take(client_id, state, piece)
        if report["pieces"]:
            self._confirm(client_id, report["pieces"][-1]["number"])
        run = self._run()
        of_this_run = run is not None and report["run"] == run.id
        is_behind = of_this_run and report["given"] < CarefulServer.spawn_times.get(client_id, 0.0)
        state.behind = state.behind + 1 if is_behind else 0
        self._closed.discard(client_id)
        if not report["running"]:
            self._running.discard(client_id)
        elif client_id not in self.runner.clients:
            self._stop_unknown_worker(client_id)
        if run and client_id in run.lost_workers:
            run.lost_workers.remove(client_id, f"Worker {state.name} is back.")
            self._must_spawn_again = True
            if report["running"] and not self._is_on():  # messages that were sent while it was disconnected may be lost
                self.runner.server.send_to_client(Message("stop", None, client_id))
        if run and of_this_run:
            state.has_reported, state.last = True, run.moment()
            state.alive = state.last
        if of_this_run and report["running"]:
            self._running.add(client_id)
        elif run and not of_this_run and self._is_on():
            run.announce(client_id)
        self._yield_if_due()

    def _on_heartbeat(self, client_id: str, timestamp: float) -> None:
        run = self._run()
        if run and client_id in self._states:
            self._states[client_id].alive = run.moment()

    def _yield_if_due(self) -> None:
        """Let other greenlets run if the last time is long ago.

        While messages wait, Locust's master handles one after the other. Otherwise it would write no file and not end
        the test.
        """
        if monotonic() > self._next_yield:
            gevent.sleep(0)
            self._next_yield = monotonic() + _MAX_WITHOUT_YIELD

    def _stop_unknown_worker(self, client_id: str) -> None:
        """Stop a worker that runs users but was given up, or belongs to another master. It then waits for users."""
        if client_id not in self._unknown_workers:
            self._unknown_workers.add(client_id)
            self.runner.send_message("llm", {"what": "stop early", "stop_timeout": 0.0}, client_id=client_id)
            self.runner.server.send_to_client(Message("stop", None, client_id))

    def _take(self, client_id: str, state: WorkerState, piece: dict[str, Any]) -> None:
        state.name = piece["worker"]
        if piece["number"] <= state.newest_piece:
            return
        state.newest_piece = piece["number"]
        run = self._run()
        if run is None or piece["run"] != run.id:
            if piece["sent"] or piece["ended"]:
                console.say(f"{state.name}: its last figures of an earlier run arrived too late and are in no file")
                self.runner.send_message("llm", {"what": "too late", "ended": piece["ended"]}, client_id=client_id)
            return
        state.add(run.moment(), piece["sent"], piece["ended"])
        run.merge(piece, client_id)

    def _state_of(self, client_id: str) -> WorkerState:
        return self._states.setdefault(client_id, WorkerState(client_id))

    def _confirm(self, client_id: str, number: int) -> None:
        """Confirm the pieces up to a number, and send the present state of the run."""
        run = self._run()
        state = {"run": run.id, **run.state(client_id)} if run else {"run": None}
        self.runner.send_message("llm", {"what": "have", "number": number, **state}, client_id=client_id)

    def _on_connect(self, client_id: str) -> None:
        """Announce the run to a worker that has sent its hello. Before that, its plugins receive no messages."""
        self._unknown_workers.discard(client_id)
        run = self._run()
        if run and self._is_on() and client_id in self._states:
            run.announce(client_id)

    def _is_on(self) -> bool:
        return self.runner.state in (STATE_RUNNING, STATE_SPAWNING)

    def _has_our_version(self, client_id: str, data: dict[str, Any]) -> bool:
        """Whether a worker runs this version of llmlocust. A worker of another version is refused."""
        if data.get("version") == VERSION:
            return True
        version = data["version"] if isinstance(data.get("version"), str) else "an older version"
        why = (
            f"worker {client_id} runs llmlocust {version}, the master {VERSION}: refused. "
            "Install the same version on both"
        )
        console.error(why)
        if locust_patches.forget_worker(self.runner, client_id):
            self._must_spawn_again = True  # the users that it had for a moment
        self.runner.send_message("llm", {"what": "refused", "why": why, "leave": True}, client_id=client_id)
        self.runner.server.send_to_client(Message("quit", None, client_id))  # for versions that do not know "leave"
        return False

    # ── silent workers ──

    def _check_regularly(self) -> None:
        while True:
            gevent.sleep(1.0)
            self._check_workers()

    def _check_workers(self) -> None:
        self._mark_disconnected()
        self._report_lost()
        self._spawn_again_if_needed()

    def _mark_disconnected(self) -> None:
        for node in self.runner.clients.all:
            if node.state == STATE_MISSING:
                locust_patches.clear_user_count(node)
            elif MAX_SILENCE - node.heartbeat > _TEST_AFTER and not self._is_connected(node.id):
                locust_patches.mark_missing(node)
                self._closed.add(node.id)

    def _is_connected(self, client_id: str) -> bool:
        """Test the connection with a heartbeat. Without ROUTER_MANDATORY, ZeroMQ drops messages without a receiver."""
        socket = self.runner.server.socket
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        try:
            socket.send_multipart([client_id.encode(), Message("heartbeat", None, client_id).serialize()], zmq.NOBLOCK)
        except zmq.ZMQError as problem:
            return problem.errno != zmq.EHOSTUNREACH
        finally:
            socket.setsockopt(zmq.ROUTER_MANDATORY, 0)
        return True

    def _is_lost(self, client_id: str) -> bool:
        node = self.runner.clients.get(client_id)
        return client_id not in self._unknown_workers if node is None else node.state == STATE_MISSING

    def _report_lost(self) -> None:
        if self._is_on():  # a worker that has users may end before its first report
            began = {node.id for node in self.runner.clients.spawning + self.runner.clients.running}
            self._running |= {
                client_id for client_id, state in self._states.items() if client_id in began and not state.has_reported
            }
        for client_id in list(self._running):
            if self._is_lost(client_id):
                self._note_lost(client_id)

    def _note_lost(self, client_id: str) -> None:
        """Note that a worker is lost, or still lost.

        While its users may continue, the number of requests that the figures lack grows.
        """
        run = self._run()
        if run is None:
            return
        state, may_go_on = self._state_of(client_id), client_id not in self._closed
        until = min(run.moment(), state.alive + (RETURNS_WITHIN if may_go_on else _HEARTBEAT))
        lacks = state.missing(
            until, run.assignment.due_of(client_id, state.known_until, until), run.assignment.quota_of(client_id)
        )
        run.lost_workers.add(client_id, state.name, lacks, state.last, may_go_on=may_go_on)

    def _may_report_more(self, client_id: str) -> bool:
        run, state = self._run(), self._state_of(client_id)
        if run is None or not self._is_lost(client_id):
            return run is not None
        return client_id not in self._closed and run.moment() < state.alive + RETURNS_WITHIN

    def _spawn_again_if_needed(self) -> None:
        """Distribute the users again if a worker missed its users.

        Locust ignores workers that connect, or return with their old users, while it spawns users on others: such a
        worker would have no users, or keep the old ones. The users of a refused worker would be missing. A spawn message
        that is sent while a connection breaks is lost.
        """
        if self.runner.state != STATE_RUNNING or not self.runner.spawning_completed:
            return
        self._checks_without_users = self._checks_without_users + 1 if self.runner.clients.ready else 0
        is_behind = any(state.behind >= _MAX_REPORTS_BEHIND for state in self._states.values())
        if self._must_spawn_again or self._checks_without_users > 2 or is_behind:
            self._must_spawn_again, self._checks_without_users = False, 0
            for state in self._states.values():
                state.behind = 0
            self.runner.start(self.runner.target_user_count, self.runner.spawn_rate)

    # ── the end ──

    def quit(self) -> None:
        """Stop the workers, wait for their last reports, and quit.

        Locust's master quits half a second after its workers, and loses reports that arrive later. This one also waits
        for workers that are disconnected and may return.
        """
        if not self._quitting:
            self._quitting = True
            self.runner.stop()
            self._wait_for_last_reports()
            for client_id in self._running:
                self._note_lost(client_id)
            run = self._run()
            if run and self._running and not self.runner.worker_count:
                run.lost_all_workers = True
        self._quit()

    def _wait_for_last_reports(self) -> None:
        disconnected = [self._state_of(client_id).name for client_id in self._running if self._is_lost(client_id)]
        if any(map(self._may_report_more, self._running)) and disconnected:
            names = ", ".join(sorted(disconnected))
            console.say(f"waiting for {names}: disconnected, and may return with figures within a minute")
        with gevent.Timeout(_LAST_REPORTS_WITHIN, False):
            while any(map(self._may_report_more, self._running)):
                gevent.sleep(0.05)
