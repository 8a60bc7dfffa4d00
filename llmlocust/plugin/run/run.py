"""`Run`: one run, in the process that is Locust's master or the only process.

It begins and ends levels and their warm-up, and merges the figures of the processes. It knows Locust only through its
`Cluster`. Companions do everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmlocust.load.curves import BEGAN, ENDED, WARMED_UP
from llmlocust.metrics.ledger import rows_for_each
from llmlocust.metrics.levels import USERS, Level
from llmlocust.metrics.seconds import SECOND_COUNTS
from llmlocust.plugin.protocol import VERSION
from llmlocust.plugin.run.cluster import Cluster
from llmlocust.plugin.run.companion import Companion, Guard, LevelChange
from llmlocust.plugin.run.settings import RunSettings
from llmlocust.plugin.run.state import TICK, RunState
from llmlocust.text.message import message


class Run(RunState):
    """A run. It begins with `begin` and ends with `finish`."""

    def __init__(self, cluster: Cluster, settings: RunSettings) -> None:
        super().__init__(cluster, settings)
        self._companions: list[Companion] = []
        self._guard = Guard()
        self._rows_a_second = rows_for_each(self.processes)
        self._stop_timeout: float | None = None
        self._stop_ticking: Callable[[], None] = lambda: None

    def add(self, *companions: Companion) -> None:
        """Add companions, before the run begins."""
        self._companions += companions

    def begin(self) -> None:
        """Begin the run: call the companions, and tick every second from now on."""
        for companion in self._companions:
            self._guard.call(companion.begins, self)
        self._stop_ticking = self.cluster.repeat(TICK, self.tick)

    # ── levels ──

    def begin_level(self, load: float, unit: str = USERS, phase: str = "") -> None:
        """Begin a level, and request its load. A level that is still running ends."""
        before, moment = self._open_level, self.moment()
        level = self.ledger.begin_level(moment, load, unit, phase)
        self.lost_workers.level_began(level)
        self.cluster.level_began(load, unit)
        self.send_state()
        self.assignment.begin_level()
        if before is not None:
            self._changed(ENDED, before, moment)
        self._changed(BEGAN, level, moment)

    def end_warmup(self, *, reached: bool = True) -> None:
        """End the warm-up of the level: it is measured from now on. `reached`: its load was reached."""
        moment = self.moment()
        self.ledger.end_warmup(moment, reached=reached)
        self.cluster.warmup_ended(reached=reached)
        self.assignment.assign_quotas()
        self.send_state()
        self.assignment.begin_rows()
        self._changed(WARMED_UP, self.ledger.levels[-1], moment)

    def next_level(self, load: float, unit: str) -> None:
        """End the level, and begin the next one at the same moment without a warm-up, so that no due request is between."""
        before, now = self._open_level, self.moment()
        level = self.ledger.begin_level(now, load, unit)
        self.ledger.end_warmup(now)
        self.cluster.level_follows(load, unit)
        self.send_state()
        if before is not None:
            self._changed(ENDED, before, now)
        self._changed(BEGAN, level, now)
        self._changed(WARMED_UP, level, now)

    def end_level(self) -> None:
        """End the running level, if there is one."""
        level = self._open_level
        if level is None:
            return
        # a level of a fixed number of requests ends with the last request, not when this is noticed
        requests, all_ended = self.assignment.requests, self.assignment.all_requests_ended
        moment = self.ledger.last_ended if all_ended else self.moment()
        self.ledger.end_level(moment)
        if all_ended and self.ledger.ended < requests:
            self.problem(
                message(
                    "{sent} of {requests} requests were sent: workers were lost or lost their users.",
                    sent=self.ledger.ended,
                    requests=requests,
                )
            )
        self.cluster.level_ended()
        self.send_state()
        self._changed(ENDED, level, moment)

    def follow_users(self) -> None:
        """Begin and end levels by the user count, in a run without a plan: a level lasts while all requested users run."""
        if self.plan is not None:
            return
        users, steady = self.cluster.user_count, self.cluster.is_steady
        level = self._open_level
        if level and (not steady or users != level.load):
            self.end_level()
        if steady and not self._open_level:
            self.begin_level(users)
            self.end_warmup()

    @property
    def _open_level(self) -> Level | None:
        """The running level."""
        return self.level if self.level and self.level.ended is None else None

    def _changed(self, what: str, level: Level, moment: float) -> None:
        for companion in self._companions:
            self._guard.call(companion.level, LevelChange(what, level, moment))

    # ── messages to the processes ──

    def announce(self, sender: str | None = None) -> None:
        """Send the run and its state to all workers, or to one that joined late."""
        self.cluster.send(
            "run",
            sender,
            version=VERSION,
            run=self.id,
            stop_timeout=self._users_stop_timeout(),
            open=self.assignment.is_open,
            elapsed=self.moment(),
            limits=self.settings.limits,
            processes=self.processes,
            users=self.settings.planned_users / max(self.processes, 1),
            **self.state(sender),
        )
        if sender is not None:  # it did not receive the message to the others
            self.assignment.send_share(sender)

    def state(self, sender: str | None = None) -> dict[str, Any]:
        """Return the state of the run for the workers (Collector.follow), or for one of them."""
        level, fixed = self.level, self.assignment.requests
        level_state = level and {
            "index": level.index,
            "load": level.load,
            "unit": level.unit,
            "warmed_up": level.warmed_up is not None,
            "reached": level.reached,
            "ended": level.ended is not None,
        }
        quota = (self.assignment.quota_of(sender) or 0) if fixed else None
        return {"level": level_state, "rows_a_second": self._rows_a_second, "tickets": quota}

    def send_state(self) -> None:
        """Send the state to the workers. In a run of a fixed number of requests, each worker has its own quota."""
        for sender in self.cluster.senders() if self.assignment.requests else [None]:
            self.cluster.send("state", sender, **self.state(sender))

    def _share_rows(self) -> None:
        """Send the workers their share of the rows of requests again if their number has changed."""
        share = rows_for_each(self.cluster.worker_count)
        if share != self._rows_a_second:
            self._rows_a_second = share
            self.send_state()

    def let_requests_end(self, seconds: float) -> None:
        """Set the seconds in which requests may end after a ramp; otherwise the last level would lose its slow ones."""
        self._stop_timeout = self.cluster.stop_timeout
        self.cluster.stop_timeout = max(self._stop_timeout, seconds)

    def _users_stop_timeout(self) -> float:
        """Return --stop-timeout as given, without the extension at the end of a ramp."""
        return self.cluster.stop_timeout if self._stop_timeout is None else self._stop_timeout

    def stop_early(self) -> None:
        """Prepare for a test that the user stops: requests in flight are cut off, except within --stop-timeout."""
        self.cluster.stop_timeout = self._users_stop_timeout()
        self.cluster.send("stop early", stop_timeout=self.cluster.stop_timeout)

    # ── figures from the processes ──

    def merge(self, packed: dict[str, Any], sender: str | None = None) -> None:
        """Add the figures of a worker, or of this process."""
        if self.ended is not None:
            packed["seconds"] = _busy(packed["seconds"], self.over)
        self.assignment.note_ended(sender, packed["ended"])
        self.ledger.merge(packed)

    def _collect(self) -> None:
        packed = self.cluster.take()
        if packed is not None:
            self.merge(packed)

    # ── time ──

    def tick(self) -> None:
        """Measure first, then call the companions. A step that fails affects no other step."""
        for step in (self.follow_users, self._share_rows, self.assignment.follow_senders, self._collect):
            self._guard.call(step)
        for companion in self._companions:
            self._guard.call(companion.tick, self.moment())

    def note_end(self) -> None:
        """Note that the test has stopped. The last reports of workers may still arrive, and are merged."""
        self.ended = self.began + self.moment()

    def finish(self) -> None:
        """Finish the run: all figures have arrived."""
        if self.is_finished:
            return
        self.is_finished = True
        self.end_level()
        self._collect()
        missing = self.assignment.missing_rows() if self.through else ""
        if missing:
            self.problem(missing)
        self.ended = self.ended or self.began + self.moment()
        self._stop_ticking()
        for companion in reversed(self._companions):
            self._guard.call(companion.ends, self)


def _busy(seconds: dict[int, dict[str, float]], over: float) -> dict[int, dict[str, float]]:
    """Drop seconds after the end without requests: processes continue to report their gauges."""
    return {
        second: values for second, values in seconds.items() if int(second) <= over or values.keys() & {*SECOND_COUNTS}
    }
