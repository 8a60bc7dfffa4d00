"""The master's side of what goes between it and its workers (plugin.cluster.worker), and what Locust's master needs help with.

Locust gives up a worker after three seconds of silence, and the test with the last one: a busy machine or a short cut of
the network is enough. Here it waits longer; a worker whose connection is closed is given up at once.
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
from llmlocust.plugin.cluster.inbox import check_messages, guarded
from llmlocust.plugin.cluster.lost import WorkerState
from llmlocust.plugin.protocol import VERSION
from llmlocust.plugin.run.run import Run

SILENCE = 20
"""Seconds after which a worker is given up. TCP comes back as much as 13 s after a cut of 10."""
_QUIET = 3
"""Seconds of silence after which it is asked whether the connection still stands."""
_BEHIND = 2
"""Reports: one may have crossed the message with the users on its way."""
_LAST_WORDS_WITHIN = 60.0
RETURNS_WITHIN = float(MASTER_HEARTBEAT_TIMEOUT)
"""Seconds without a message from its master after which a worker ends. Until then it may return with its figures."""
_HEARTBEAT = 1.0
_LONGEST_WITHOUT_OTHERS = 0.05


class Master:
    def __init__(self, environment: Environment, run: Callable[[], Run | None], refuse: Callable[[str], None]) -> None:
        """`run` tells of which run workers' figures are wanted; `refuse` ends one that a worker cannot take part in."""
        assert isinstance(environment.runner, MasterRunner)
        self.environment, self.runner, self._run, self._refuse = environment, environment.runner, run, refuse
        self._told: dict[str, WorkerState] = {}
        """By Locust's ids of workers, as everything here."""
        self._running: set[str] = set()
        """Those that have users of the run, or have not told all of them."""
        self._strangers: set[str] = set()
        """Those that were told to stop, because they are none of those that Locust knows."""
        self._others_due = 0.0
        self._owes_users = False
        self._without_users = 0
        self._given: dict[str, float] = {}
        """When a worker was last given users, by the time that Locust writes into its message."""
        self._closed: set[str] = set()
        """Those whose connection is closed: they are dead, and send no load."""
        self._quitting = False
        locust_patches.wait_for_silent_workers(SILENCE)
        self._quit = locust_patches.replace_quit(self.runner, self.quit)
        self._send = locust_patches.replace_send(self.runner, self._note_and_send)
        check_messages(self.runner, self._is_worker)
        self.runner.register_message("llm_hello", guarded(self._on_hello))
        self.runner.register_message("llm_cannot_run", guarded(self._on_cannot_run))
        environment.events.worker_report.add_listener(guarded(self._on_report))
        environment.events.worker_connect.add_listener(self._on_connect)
        environment.events.heartbeat_sent.add_listener(self._on_heartbeat)
        gevent.spawn(self._keep)

    def run_begins(self) -> None:
        self._told = {
            worker: WorkerState(told.name, newest=told.newest)
            for worker, told in self._told.items()
            if worker in self.runner.clients
        }
        self._running.clear()

    # ── what workers say ──

    def _is_worker(self, client_id: str) -> bool:
        return client_id in self.runner.clients or client_id in self._told

    def _on_hello(self, environment: Environment, msg: Any) -> None:
        if self._check(msg.node_id, msg.data):
            self._of(msg.node_id)
            self._on_connect(msg.node_id)

    def _on_cannot_run(self, environment: Environment, msg: Any) -> None:
        if self._is_worker(msg.node_id):
            self._refuse(f"worker {msg.data['worker']}: {msg.data['why']}")

    def _on_report(self, client_id: str, data: dict[str, Any]) -> None:
        told = data.get("llm")
        if told is None or not self._check(client_id, told):
            return
        seen = self._of(client_id)
        for piece in told["pieces"]:
            self._take(client_id, seen, piece)
        if told["pieces"]:
            self._answer(client_id, told["pieces"][-1]["number"])
        run = self._run()
        of_this_run = run is not None and told["run"] == run.id
        seen.behind = seen.behind + 1 if of_this_run and told["given"] < self._given.get(client_id, 0.0) else 0
        self._closed.discard(client_id)
        if not told["running"]:
            self._running.discard(client_id)
        elif client_id not in self.runner.clients:
            self._take_in(client_id)
        if run and client_id in run.lost_workers:
            run.lost_workers.remove(client_id, f"Worker {seen.name} is back.")
            self._owes_users = True
            if told["running"] and not self._is_on():  # what it was sent while it was away may be lost
                self.runner.server.send_to_client(Message("stop", None, client_id))
        if run and of_this_run:
            seen.heard, seen.last = True, run.moment()
            seen.alive = seen.last
        if of_this_run and told["running"]:
            self._running.add(client_id)
        elif run and not of_this_run and self._is_on():
            run.announce(client_id)
        self._let_others()

    def _on_heartbeat(self, client_id: str, timestamp: float) -> None:
        run = self._run()
        if run and client_id in self._told:
            self._told[client_id].alive = run.moment()

    def _let_others(self) -> None:
        """While messages wait, Locust's master takes one after the other, and nothing else of it would ever run: no
        file, no end of the test.
        """
        if monotonic() > self._others_due:
            gevent.sleep(0)
            self._others_due = monotonic() + _LONGEST_WITHOUT_OTHERS

    def _take_in(self, client_id: str) -> None:
        """It runs users and was given up, or is another master's: it is made one of those who wait for users."""
        if client_id not in self._strangers:
            self._strangers.add(client_id)
            self.runner.send_message("llm", {"what": "stop early", "stop_timeout": 0.0}, client_id=client_id)
            self.runner.server.send_to_client(Message("stop", None, client_id))

    def _take(self, client_id: str, seen: WorkerState, piece: dict[str, Any]) -> None:
        seen.name = piece["worker"]
        if piece["number"] <= seen.newest:
            return
        seen.newest = piece["number"]
        run = self._run()
        if run is None or piece["run"] != run.id:
            if piece["sent"] or piece["ended"]:
                console.say(f"{seen.name}: its last figures of an earlier run came too late and are in no file")
                self.runner.send_message("llm", {"what": "too late", "ended": piece["ended"]}, client_id=client_id)
            return
        seen.add(run.moment(), piece["sent"], piece["ended"])
        run.merge(piece, client_id)

    def _of(self, client_id: str) -> WorkerState:
        return self._told.setdefault(client_id, WorkerState(client_id))

    def _answer(self, client_id: str, number: int) -> None:
        run = self._run()
        state = {"run": run.id, **run.state(client_id)} if run else {"run": None}
        self.runner.send_message("llm", {"what": "have", "number": number, **state}, client_id=client_id)

    def _on_connect(self, client_id: str) -> None:
        """Locust greets a new worker before its plugins can hear anything: the run is told to who has said hello."""
        self._strangers.discard(client_id)
        run = self._run()
        if run and self._is_on() and client_id in self._told:
            run.announce(client_id)

    def _is_on(self) -> bool:
        return self.runner.state in (STATE_RUNNING, STATE_SPAWNING)

    def _check(self, client_id: str, told: dict[str, Any]) -> bool:
        """Whether a worker is of this version; another is turned away."""
        if told.get("version") == VERSION:
            return True
        theirs = told["version"] if isinstance(told.get("version"), str) else "an older version"
        why = f"worker {client_id} runs llmlocust {theirs}, the master {VERSION}: refused. Install the same on both"
        console.error(why)
        if locust_patches.forget_worker(self.runner, client_id):
            self._owes_users = True  # those that it had for a moment
        self.runner.send_message("llm", {"what": "refused", "why": why, "leave": True}, client_id=client_id)
        self.runner.server.send_to_client(Message("quit", None, client_id))  # for one that knows no "leave"
        return False

    # ── those who are silent ──

    def _keep(self) -> None:
        while True:
            gevent.sleep(1.0)
            self._look()

    def _look(self) -> None:
        self._give_up_the_dead()
        self._tell_of_the_lost()
        self._give_users_to_the_late()

    def _give_up_the_dead(self) -> None:
        for node in self.runner.clients.all:
            if node.state == STATE_MISSING:
                locust_patches.take_users_from(node)
            elif SILENCE - node.heartbeat > _QUIET and not self._is_connected(node.id):
                locust_patches.give_up(node)
                self._closed.add(node.id)

    def _is_connected(self, client_id: str) -> bool:
        """ZeroMQ drops what is for nobody, unless told to complain."""
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
        return client_id not in self._strangers if node is None else node.state == STATE_MISSING

    def _tell_of_the_lost(self) -> None:
        if self._is_on():  # who was given users may die before the first report
            began = {node.id for node in self.runner.clients.spawning + self.runner.clients.running}
            self._running |= {
                client_id for client_id, told in self._told.items() if client_id in began and not told.heard
            }
        for client_id in list(self._running):
            if self._is_lost(client_id):
                self._note_lost(client_id)

    def _note_lost(self, client_id: str) -> None:
        """Note that a worker is lost, or still lost. While it may go on with its users, the figures lack more and more requests."""
        run = self._run()
        if run is None:
            return
        told, may_go_on = self._of(client_id), client_id not in self._closed
        until = min(run.moment(), told.alive + (RETURNS_WITHIN if may_go_on else _HEARTBEAT))
        lacks = told.missing(
            until, run.assignment.due_of(client_id, told.told_until, until), run.assignment.quota_of(client_id)
        )
        run.lost_workers.add(client_id, told.name, lacks, told.last, may_go_on=may_go_on)

    def _may_tell_more(self, client_id: str) -> bool:
        run, told = self._run(), self._of(client_id)
        if run is None or not self._is_lost(client_id):
            return run is not None
        return client_id not in self._closed and run.moment() < told.alive + RETURNS_WITHIN

    def _note_and_send(self, message: Message) -> None:
        if message.type == "spawn":
            self._given[message.node_id] = message.data["timestamp"]
        self._send(message)

    def _give_users_to_the_late(self) -> None:
        """Locust forgets workers that come, or come back with the users they had, while it gives users to others: such
        a one would have none, or keep its own for ever. Nobody would have those of one that was turned away. And what
        is sent in the moment in which a connection breaks is lost.
        """
        if self.runner.state != STATE_RUNNING or not self.runner.spawning_completed:
            return
        self._without_users = self._without_users + 1 if self.runner.clients.ready else 0
        if self._owes_users or self._without_users > 2 or any(told.behind >= _BEHIND for told in self._told.values()):
            self._owes_users, self._without_users = False, 0
            for told in self._told.values():
                told.behind = 0
            self.runner.start(self.runner.target_user_count, self.runner.spawn_rate)

    # ── the end ──

    def quit(self) -> None:
        """Locust's master quits half a second after telling its workers to, and what they say later is lost. Here it
        stops them first and waits for their last reports, also for those of workers that are cut off and may return.
        """
        if not self._quitting:
            self._quitting = True
            self.runner.stop()
            self._wait_for_last_words()
            for client_id in self._running:
                self._note_lost(client_id)
            run = self._run()
            if run and self._running and not self.runner.worker_count:
                run.lost_all_workers = True
        self._quit()

    def _wait_for_last_words(self) -> None:
        away = [self._of(client_id).name for client_id in self._running if self._is_lost(client_id)]
        if any(map(self._may_tell_more, self._running)) and away:
            console.say(f"waiting for {', '.join(sorted(away))}: cut off, and may return with figures within a minute")
        with gevent.Timeout(_LAST_WORDS_WITHIN, False):
            while any(map(self._may_tell_more, self._running)):
                gevent.sleep(0.05)
