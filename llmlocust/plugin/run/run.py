"""`Run`: one run as a whole, in the process that is Locust's master or its only one.

It says when levels begin, when their warm-up ends, and when they end, and merges what the processes have counted. It knows Locust through its
`Cluster` only. What else goes along with a run are its companions.
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


class Run(RunState):
    """Begins with `begin`, ends with `finish`."""

    def __init__(self, cluster: Cluster, settings: RunSettings) -> None:
        super().__init__(cluster, settings)
        self._companions: list[Companion] = []
        self._guard = Guard()
        self._rows_a_second = rows_for_each(self.processes)
        self._stop_timeout: float | None = None
        self._stop_ticking: Callable[[], None] = lambda: None

    def add(self, *companions: Companion) -> None:
        """Have companions go along, before the run begins."""
        self._companions += companions

    def begin(self) -> None:
        """Begin: companions are told, and there is a tick every second from now on."""
        for companion in self._companions:
            self._guard.call(companion.begins, self)
        self._stop_ticking = self.cluster.repeat(TICK, self.tick)

    # ── levels ──

    def begin_level(self, load: float, unit: str = USERS, phase: str = "") -> None:
        """A level begins: its load is asked for. One that is still under way ends here."""
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
        """The level is measured from now on."""
        moment = self.moment()
        self.ledger.end_warmup(moment, reached=reached)
        self.cluster.warmup_ended(reached=reached)
        self.assignment.assign_quotas()
        self.send_state()
        self.assignment.begin_rows()
        self._changed(WARMED_UP, self.ledger.levels[-1], moment)

    def next_level(self, load: float, unit: str) -> None:
        """The level ends, and at the same moment the next one begins without a warm-up: nothing that is due lies between."""
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
        """The level ends, where one is under way."""
        level = self._open_level
        if level is None:
            return
        # a fixed number of requests is over with the last of them, and not when that is noticed
        requests, through = self.assignment.requests, self.assignment.all_requests_ended
        moment = self.ledger.last_ended if through else self.moment()
        self.ledger.end_level(moment)
        if through and self.ledger.ended < requests:
            self.problem(
                f"{self.ledger.ended} of {requests} requests were made: workers were lost or lost their users."
            )
        self.cluster.level_ended()
        self.send_state()
        self._changed(ENDED, level, moment)

    def follow_users(self) -> None:
        """Without a ramp of ours, a level is a time at which all users asked for are there."""
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
        """The level that is under way."""
        return self.level if self.level and self.level.ended is None else None

    def _changed(self, what: str, level: Level, moment: float) -> None:
        for companion in self._companions:
            self._guard.call(companion.level, LevelChange(what, level, moment))

    # ── what the processes are told ──

    def announce(self, sender: str | None = None) -> None:
        """Tell the workers, or one that came late, that the run is on and where it stands."""
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
        if sender is not None:  # it could not hear when the others were told
            self.assignment.send_share(sender)

    def state(self, sender: str | None = None) -> dict[str, Any]:
        """How things stand, for the workers (Collector.follow), or for one of them."""
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
        """Tell the workers how things stand; each has a quota of its own in a run of a fixed number of requests."""
        for sender in self.cluster.senders() if self.assignment.requests else [None]:
            self.cluster.send("state", sender, **self.state(sender))

    def _share_rows(self) -> None:
        """Workers that come or go change what each of them may keep."""
        share = rows_for_each(self.cluster.worker_count)
        if share != self._rows_a_second:
            self._rows_a_second = share
            self.send_state()

    def let_requests_end(self, seconds: float) -> None:
        """At the end of a ramp users may finish their requests, so that the last level does not lose its slow ones."""
        self._stop_timeout = self.cluster.stop_timeout
        self.cluster.stop_timeout = max(self._stop_timeout, seconds)

    def _users_stop_timeout(self) -> float:
        """--stop-timeout as it was given, whatever a ramp makes of it for its end."""
        return self.cluster.stop_timeout if self._stop_timeout is None else self._stop_timeout

    def stop_early(self) -> None:
        """The test is stopped by hand: what is in flight is cut off, unless --stop-timeout says otherwise."""
        self.cluster.stop_timeout = self._users_stop_timeout()
        self.cluster.send("stop early", stop_timeout=self.cluster.stop_timeout)

    # ── what comes in ──

    def merge(self, packed: dict[str, Any], sender: str | None = None) -> None:
        """Add what a worker has counted, or this process."""
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
        """Measure first; companions then keep and say it. A step that fails keeps none of the others from being done."""
        for step in (self.follow_users, self._share_rows, self.assignment.follow_senders, self._collect):
            self._guard.call(step)
        for companion in self._companions:
            self._guard.call(companion.tick, self.moment())

    def note_end(self) -> None:
        """The test stopped. Workers' last reports may still come and are taken in."""
        self.ended = self.began + self.moment()

    def finish(self) -> None:
        """The end: everything has come in that will."""
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
    """Less those after the end in which nothing happened: processes go on to tell how they are."""
    return {second: told for second, told in seconds.items() if int(second) <= over or told.keys() & {*SECOND_COUNTS}}
