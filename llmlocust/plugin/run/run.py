"""`Run`: one run as a whole, in the process that is Locust's master or its only one.

It says when levels begin and end, merges what the collectors send, and keeps the files and the console up to date.
"""

from __future__ import annotations

import atexit
import logging
import platform
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import gevent
from locust.env import Environment
from locust.runners import MASTER_HEARTBEAT_TIMEOUT, STATE_RUNNING, WORKER_REPORT_INTERVAL, MasterRunner

from llmlocust.load.arrivals import Part
from llmlocust.load.distributions import think_time, told_wait
from llmlocust.load.traces import Replay
from llmlocust.metrics.ledger import Ledger, rows_for_each
from llmlocust.metrics.levels import RATE, USERS, Level, LevelFigures
from llmlocust.metrics.seconds import SECOND_COUNTS
from llmlocust.plugin import console
from llmlocust.plugin.cluster.lost import Due
from llmlocust.plugin.generator.collector import Collector, forget_old_seconds
from llmlocust.plugin.generator.quota import parts
from llmlocust.plugin.http.addresses import shown
from llmlocust.plugin.options import option, written
from llmlocust.plugin.protocol import VERSION
from llmlocust.plugin.settings import limits, planned_users, replay_in_words, thresholds
from llmlocust.plugin.shapes import replay_driver as replaying
from llmlocust.runfiles import formats
from llmlocust.runfiles.writer import AT_ONCE, RunFiles
from llmlocust.stream.clocks import wall_minus

_log = logging.getLogger(__name__)

_TICK = 1.0
_LOOK = 0.05
_LEAST_REWRITE = 5.0
_MOST_REWRITE = 60.0
_REWRITE_SHARE = 100.0
"""Files that are written anew are so every 5 s, or where they get long for 1 % of the time, but at least once a minute."""


class Run:
    def __init__(
        self, environment: Environment, collector: Collector | None, prefix: str, preflight: dict[str, Any]
    ) -> None:
        """`collector` is that of this process, where it runs users itself; a master has none."""
        self.environment = environment
        self.collector = collector
        self.id = uuid4().hex
        """What a worker's figures are of."""
        self.ledger = Ledger()
        if environment.web_ui is None:
            self.ledger.spans = None
        self.plan: dict[str, Any] | None = None
        """What a ramp of ours set out to do; without one, levels are taken from the user count."""
        self.through = False
        """The plan was gone through to its end."""
        self.limits = thresholds(environment)
        self._asked = _asked(environment)
        self._most_users = planned_users(environment)
        self.preflight = preflight
        # where users run in this process, the run's moments are the collector's: to set up a run takes a while
        self._clock = collector.began_ns / 1e9 if collector else time.perf_counter()
        self.began = self._clock + wall_minus() / 1e9
        self.ended: float | None = None
        self.problems: list[str] = []
        self.ended_by = ""
        """The gate that ended the run early, in words."""
        self.watch: Callable[[Run], None] = lambda run: None
        """Called at every tick with all that is known by then."""
        self._lost: dict[str, dict[str, Any]] = {}
        """Checks that workers failed which are away,"""
        self._lost_at: dict[str, float] = {}
        """the moment at which that was noticed,"""
        self._may_go_on: dict[str, float] = {}
        """and until which moment they may go on with the users they had."""
        self._next_write = 0.0
        self._written = -1.0
        self._arrivals, self._most_in_flight = "", 0
        self._dealt: list[str | None] = []
        self._parts: dict[str | None, tuple[float, int]] = {}
        """For each load process: the total rate that it was last sent, and the number of processes that share it."""
        self._paused = False
        self._requests = 0
        self._tickets: dict[str | None, int] = {}
        """Dealt to each load process,"""
        self._ended: Counter[str | None] = Counter()
        """and the requests of each that ended."""
        self._seed = 0
        self._rows: replaying.Rows | None = None
        self._stop_timeout: float | None = None
        self._said = 0
        self._finished = False
        runner = environment.runner
        self.processes = runner.worker_count if isinstance(runner, MasterRunner) else 1
        self._rows_a_second = rows_for_each(self.processes)
        self._reports_take = WORKER_REPORT_INTERVAL + 1.0 if isinstance(runner, MasterRunner) else 0.0
        self.lag = self._reports_take + _TICK
        """Seconds until what happens has come in here."""
        self.pause: Callable[[], None] = collector.turns.wait if collector else partial(gevent.sleep, 0)
        self.files = RunFiles(prefix, self.pause) if prefix else None
        self._write_run()
        self._failed_writes = 0
        self.lost_all_workers = False
        """The run ended because no worker was left."""
        self.has_all_files = True
        """The files contain everything that was measured; set at the end of the run."""
        self._failed_steps: set[str] = set()
        self._keeper = gevent.spawn(self._keep)
        atexit.register(self.finish)  # where Locust is interrupted once more while it shuts down

    def moment(self) -> float:
        return time.perf_counter() - self._clock

    @property
    def over(self) -> float:
        """The moment until which there is something to tell: that of its end, or now."""
        return self.moment() if self.ended is None else self.ended - self.began

    # ── levels ──

    def begin_level(self, load: float, unit: str = USERS, part: str = "") -> None:
        self._paused = False
        level = self.ledger.begin_level(self.moment(), load, unit, part)
        for client_id, lost in self._lost.items():
            if level.began < self._may_go_on[client_id]:
                lost["levels"].append(level.index)
        if self.collector:
            self.collector.level_began(load, unit)
        self.tell_state()
        self._deal()
        self._write_run()  # before any figure of the level: a file of levels without its plan cannot be read rightly

    def settle_level(self, *, reached: bool = True) -> None:
        self.ledger.settle_level(self.moment(), reached=reached)
        if self.collector:
            self.collector.level_settled(reached=reached)
        if self._requests:
            self._deal_tickets()
        self.tell_state()
        if self._rows:
            self._rows.begin(self.moment())
            self._deal()

    def next_level(self, load: float, unit: str) -> None:
        """The level ends, and at the same moment the next one begins and settles: nothing that is due lies between."""
        now = self.moment()
        self.ledger.begin_level(now, load, unit)
        self.ledger.settle_level(now)
        if self.collector:
            self.collector.level_follows(load, unit)
        self.tell_state()

    def end_level(self) -> None:
        if not self.level or self.level.ended is not None:
            return
        # a fixed number of requests is over with the last of them, and not when that is noticed
        through = self.all_requests_ended
        self.ledger.end_level(self.ledger.last_ended if through else self.moment())
        if through and self.ledger.ended < self._requests:
            self.problem(
                f"{self.ledger.ended} of {self._requests} requests were made: workers were lost or lost their users."
            )
        if self.collector:
            self.collector.level_ended()
        self.tell_state()

    @property
    def found_its_answer(self) -> bool:
        """A search came to its end, and some load keeps the limits: what it asked for above failed for a purpose."""
        search = (self.plan or {}).get("search") or {}
        return bool(search.get("done")) and search.get("answer") is not None

    @property
    def level(self) -> Level | None:
        """The newest one."""
        return self.ledger.levels[-1] if self.ledger.levels else None

    def _tell(self, what: str, client_id: str | None = None, **data: Any) -> None:
        runner = self.environment.runner
        if isinstance(runner, MasterRunner):
            runner.send_message("llm", {"what": what, **data}, client_id=client_id)

    def state(self, client_id: str | None = None) -> dict[str, Any]:
        """How things stand, for workers (Collector.follow), or for one of them."""
        level = self.level
        told = level and {
            "index": level.index,
            "load": level.load,
            "unit": level.unit,
            "settled": level.settled is not None,
            "reached": level.reached,
            "ended": level.ended is not None,
        }
        tickets = self._tickets.get(client_id, 0) if self._requests else None
        return {"level": told, "rows_a_second": self._rows_a_second, "tickets": tickets}

    def tell_state(self) -> None:
        for client_id in self.streams if self._requests else [None]:
            self._tell("state", client_id, **self.state(client_id))

    # ── a fixed number of requests ──

    def count_requests(self, requests: int) -> None:
        """The run is of so many requests, which are dealt when its level has settled."""
        self._requests = requests
        if self.collector:
            self.collector.tickets.deal(0)

    def _deal_tickets(self) -> None:
        self._tickets = parts(self._requests, {stream: self._users_of(stream) for stream in self.streams})
        if self.collector:
            self.collector.tickets.deal(self._requests)

    def _users_of(self, stream: str | None) -> int:
        runner = self.environment.runner
        return runner.user_count if stream is None else runner.clients[stream].user_count

    @property
    def all_requests_ended(self) -> bool:
        """Of a fixed number, but for those of workers that are lost, or have no users any more."""
        return bool(self._tickets) and all(map(self._has_asked_all, self._tickets))

    def _has_asked_all(self, stream: str | None) -> bool:
        if self._ended[stream] >= self._tickets[stream]:
            return True
        return stream is not None and (stream not in self.streams or not self._users_of(stream))

    # ── open load ──

    def open(self, arrivals: str, most_in_flight: int) -> None:
        """From now on levels are rates, and requests arrive so."""
        self._arrivals, self._most_in_flight = arrivals, most_in_flight

    def replay(self, replay: Replay) -> None:
        """What is due are a trace's rows: the replay begins when the first level has settled."""
        self._rows = replaying.Rows(replay, replaying.salt(self.environment, self.id))
        self._arrivals = replay_in_words(replay)

    def _open_load(self) -> dict[str, Any]:
        return {"arrivals": self._arrivals, "most_in_flight": self._most_in_flight} if self._arrivals else {}

    @property
    def streams(self) -> list[str | None]:
        """Who sends: the workers that are there, or this process."""
        runner = self.environment.runner
        if not isinstance(runner, MasterRunner):
            return [None]
        clients = runner.clients
        return sorted(each.id for each in (*clients.ready, *clients.spawning, *clients.running))

    def _deal(self) -> None:
        """Give each load process its part of the level's rate, from now on."""
        level = self.level
        if level is None or level.ended is not None or level.unit != RATE:
            return
        self._dealt, self._seed = self.streams, random.getrandbits(32)
        if self._rows:
            self._rows.deal(self.moment())
        for stream in self._dealt:
            self._give_part(stream)

    def _give_part(self, client_id: str | None) -> None:
        """To one load process its part of what is due."""
        if client_id not in self._dealt or self.level is None:
            return
        stream, streams = self._dealt.index(client_id), len(self._dealt)
        self._parts[client_id] = (0.0 if self._paused else self.level.load, streams)
        if self._rows:
            told = self._rows.told(self.moment(), stream, streams) | {"most_in_flight": self._most_in_flight}
            if self.collector:
                replaying.take_part(self.collector, told, time.perf_counter_ns())
            else:
                self._tell("rows", client_id, **told)
            return
        part = Part(0.0 if self._paused else self.level.load, self._arrivals, self._seed, stream, streams)
        if self.collector:
            self.collector.open_load.deal(part, self._most_in_flight)
        else:
            self._tell("arrivals", client_id, part=list(part), most_in_flight=self._most_in_flight)

    def due_of(self, client_id: str, since: float, until: float) -> Due | None:
        """Return what a worker had to send between two moments by the schedule; None in closed load."""
        if client_id not in self._parts:
            return None
        rate, streams = self._parts[client_id]
        if self._rows:
            return Due(self._rows.count(since, until) / streams, "its share of the trace")
        return Due(rate * max(0.0, until - since) / streams, "its share of the rate")

    def tickets_of(self, client_id: str) -> int | None:
        """Return a worker's quota in a run of a fixed number of requests; None in other runs."""
        return self._tickets.get(client_id)

    def _look_for_rows(self) -> None:
        """Whether the trace was replayed as it was."""
        if self._rows and self.through:
            due, rows = sum(tally.numbers["due"] for tally in self.ledger.tallies.values()), self._rows.replay.rows
            if due < rows:
                missing = f"{rows - due} of the trace's {rows} rows"
                self.problem(f"{missing} were never due: a load process was lost, or has no such trace.")

    def pause_arrivals(self, *, on: bool) -> None:
        """Nothing is due meanwhile."""
        if on != self._paused:
            self._paused = on
            self._deal()

    def _deal_anew(self) -> None:
        """Workers that come or go change what each of them has to send."""
        if self._dealt and self.streams and self.streams != self._dealt:
            self._deal()
            many = len(self._dealt)
            what = "trace" if self._rows else "rate"
            who = f"1 load process sends all of the {what}" if many == 1 else f"{many} load processes share the {what}"
            console.say(f"  … {who} from now on")

    def announce(self, client_id: str | None = None) -> None:
        """Tell workers, or one that came late, that the run is on and where it stands."""
        asked = {"version": VERSION, "run": self.id, "stop_timeout": self._users_stop_timeout()}
        asked |= {"open": bool(self._arrivals)}
        told = {"elapsed": self.moment(), "limits": limits(self.environment), "processes": self.processes}
        told["users"] = self._most_users / max(self.processes, 1)
        self._tell("run", client_id, **asked, **told, **self.state(client_id))
        if client_id is not None:  # it could not hear when the others were told
            self._give_part(client_id)

    def _share_rows(self) -> None:
        """Workers that come or go change what each of them may keep."""
        runner = self.environment.runner
        share = rows_for_each(runner.worker_count) if isinstance(runner, MasterRunner) else self._rows_a_second
        if share != self._rows_a_second:
            self._rows_a_second = share
            self.tell_state()

    def let_requests_end(self, seconds: float) -> None:
        """At the end of a ramp users may finish their requests, so that the last level does not lose its slow ones."""
        self._stop_timeout = self.environment.stop_timeout
        self.environment.stop_timeout = max(self._stop_timeout, seconds)

    def _users_stop_timeout(self) -> float:
        """--stop-timeout as it was given, whatever a ramp makes of it for its end."""
        return self.environment.stop_timeout if self._stop_timeout is None else self._stop_timeout

    def stop_early(self) -> None:
        """Somebody stops the test: what is in flight is cut off, unless --stop-timeout says otherwise."""
        self.environment.stop_timeout = self._users_stop_timeout()
        self._tell("stop early", stop_timeout=self.environment.stop_timeout)

    def follow_users(self) -> None:
        """Without a ramp of ours, a level is a time at which all users asked for are there."""
        runner = self.environment.runner
        if self.plan is not None or runner is None:
            return
        steady = runner.state == STATE_RUNNING and runner.user_count > 0
        open_level = self.level if self.level and self.level.ended is None else None
        if open_level and (not steady or runner.user_count != open_level.load):
            self.end_level()
            open_level = None
        if steady and not open_level:
            self.begin_level(runner.user_count)
            self.settle_level()

    # ── what comes in ──

    def merge(self, packed: dict[str, Any], client_id: str | None = None) -> None:
        """What a worker has counted, or this process."""
        if self.ended is not None:
            packed["seconds"] = _busy(packed["seconds"], self.over)
        self._ended[client_id] += packed["ended"]
        self.ledger.merge(packed)

    def worker_lost(self, client_id: str, name: str, lacks: str, since: float, *, may_go_on: bool) -> None:
        """A worker has said nothing since that moment, and the figures lack what it did; it may come back. Where it may
        go on with the users it had, it does so for as long as Locust lets it: beside what is asked of the others.
        """
        when = self._lost_at.setdefault(client_id, self.moment())
        words = f"Worker {name} was lost {when:.0f} s into the run: {lacks}."
        if client_id in self._lost:
            self._lost[client_id]["says"] = words
            return
        spoiled = [level.index for level in self.ledger.levels if level.ended is None or level.ended > since]
        self._lost[client_id] = _failed(words, spoiled)
        self._may_go_on[client_id] = since + MASTER_HEARTBEAT_TIMEOUT if may_go_on else 0.0
        console.say(words)

    def worker_found(self, client_id: str, words: str) -> None:
        del self._lost[client_id], self._lost_at[client_id]
        console.say(words)

    @property
    def lost(self) -> dict[str, Sequence[int]]:
        """What was lost with workers that are away, in words, and the levels that it spoils."""
        return {told["says"]: told["levels"] for told in self._lost.values()}

    def is_lost(self, client_id: str) -> bool:
        return client_id in self._lost

    def problem(self, words: str) -> None:
        if words not in self.problems:
            self.problems.append(words)
            console.say(words)

    # ── keeping up ──

    def _say_levels(self, reports_take: float) -> None:
        """A line for each level that ended at least so long ago that everything of it has been reported."""
        for level in self.ledger.levels[self._said :]:
            if level.ended is None or self.moment() < level.ended + reports_take:
                break
            self._said += 1
            if level.settled is not None:
                figures = self.ledger.figures(level, self.moment())
                console.say(console.level_line(figures, self.ledger.sent - self.ledger.ended))

    def _keep(self) -> None:
        while True:
            gevent.sleep(_TICK)
            self._tick()

    def _tick(self) -> None:
        """Measure first, then keep it, then say it. A step that fails keeps none of the others from being done."""
        self._try(self.follow_users)
        self._try(self._share_rows)
        self._try(self._deal_anew)
        self._try(self._collect)
        self._try(self._write_rows)
        if self.moment() >= self._next_write:
            self._try(self._write_rest)
        self._try(partial(self._say_levels, self._reports_take))
        self._try(partial(self.watch, self))
        self._try(partial(forget_old_seconds, self.environment.stats))
        self._try(partial(console.progress, self))

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:  # a defect of ours: the log has it once, and the run goes on
            name = getattr(step, "func", step).__name__
            if name not in self._failed_steps:
                self._failed_steps.add(name)
                _log.exception("%s failed; the run goes on", name)

    def _collect(self) -> None:
        if self.collector:
            self.merge(self.collector.take())

    def note_end(self) -> None:
        """The test stopped. Workers' last reports may still come and are taken in."""
        self.ended = self.began + self.moment()
        self._next_write = 0.0

    def finish(self) -> None:
        """The end: everything has come in that will."""
        if self._finished:
            return
        self._finished = True
        self.end_level()
        self._collect()
        self._look_for_rows()
        self._say_levels(0.0)
        self.ended = self.ended or self.began + self.moment()
        self._keeper.kill(block=False)
        self.pause = _go_on
        if self.files:
            self.files.pause = _go_on
        self._write_last()

    def _write_last(self) -> None:
        before = self._failed_writes
        self._write_rows()
        self._write_rest()
        self._guarded(RunFiles.close)
        lost_rows = self.files.lost_rows if self.files else 0
        self.has_all_files = self._failed_writes == before and not lost_rows
        if self.files and not self.has_all_files:
            what = f"{lost_rows} rows did not fit on the disk" if lost_rows else "the last attempt to write them failed"
            console.error(f"the files {self.files.prefix}_* are incomplete: {what}. Do not use them as they are")

    # ── files ──

    def bring_files_up_to_date(self, within: float = 20.0) -> None:
        """Wait until all that is known now is in the files. Gives up after so many seconds: a disk may be full."""
        asked = self.moment()
        with gevent.Timeout(within, False):
            while self.files and self._written < asked and not self._finished:
                self._next_write = 0.0
                gevent.sleep(_LOOK)

    def _write_rows(self) -> None:
        # whatever is taken is written before anything else can happen: a pause may be the last
        while rows := self.ledger.take_rows(self.began, AT_ONCE):
            self._guarded(partial(RunFiles.append_requests, rows=rows))
            self.pause()
        gauges = self.ledger.take_gauges(self.began)
        self._guarded(lambda files: files.append_workers(gauges))

    def _write_rest(self) -> None:
        begun = self.moment()
        self._guarded(lambda files: files.write_levels(self.figures()))
        self._guarded(lambda files: files.write_histograms(self.ledger))
        self._guarded(lambda files: files.write_timeline(self.ledger, self.began))
        self._write_run()
        self._written = begun
        rest = (self.moment() - begun) * _REWRITE_SHARE
        self._next_write = self.moment() + max(_LEAST_REWRITE, min(_MOST_REWRITE, rest))

    def _write_run(self) -> None:
        self._guarded(lambda files: files.write_run(self._told()))

    def _guarded(self, write: Any) -> None:
        """A full disk must not end a run: what is measured goes on being shown, and the next attempt may succeed."""
        if self.files is None:
            return
        try:
            write(self.files)
        except OSError as trouble:
            self._failed_writes += 1
            self.problem(f"cannot write {self.files.prefix}_*: {trouble.strerror or trouble}")

    def figures(self) -> list[LevelFigures]:
        now = self.moment()
        made = []
        for level in list(self.ledger.levels):
            made.append(self.ledger.figures(level, now, self.began))
            self.pause()
        return made

    def _told(self) -> dict[str, Any]:
        return {
            "format": formats.FORMAT,
            "llmlocust": version("llmlocust"),
            "locust": version("locust"),
            "python": platform.python_version(),
            "started": self.began,
            "ended": self.ended,
            "ended_by": self.ended_by or None,
            "stopped": None if self.plan is None or self.ended is None else not self.through,
            "target": self._asked["target"],
            "plan": self.plan and self.plan | self._open_load(),
            "options": self._asked["options"],
            "user_classes": self._asked["user_classes"],
            "clock": " and ".join(sorted(self.ledger.clocks)),
            "clocks": dict(self.ledger.clocks),
            "processes": self.processes,
            "counts": {
                "sent": self.ledger.sent,
                "ended": self.ledger.ended,
                "preflight": self.preflight.get("requests", 0),
            },
            "preflight": self.preflight,
            "rows": {"seen": self.ledger.rows_seen, "kept": self.ledger.rows_kept},
            "checks": [*map(_failed, self.problems), *self._lost.values()],
        }


def _asked(environment: Environment) -> dict[str, Any]:
    """What was asked for, as a run begins: the web UI's form may ask for another before its last file is written."""
    return {
        "target": {
            "host": ", ".join(map(shown, hosts_of(environment))),
            "model": option(environment, "model"),
            "dialect": ", ".join(sorted({_dialect(user, environment) for user in environment.user_classes} - {""})),
        },
        "options": written(environment),
        "user_classes": {user.__name__: _think_time(user, environment) for user in environment.user_classes},
    }


def _failed(words: str, levels: Sequence[int] = ()) -> dict[str, Any]:
    return {"name": "run", "ok": False, "value": None, "limit": None, "says": words, "levels": list(levels)}


def _busy(seconds: dict[int, dict[str, float]], over: float) -> dict[int, dict[str, float]]:
    """Less those after the end in which nothing happened: processes go on to tell how they are."""
    return {second: told for second, told in seconds.items() if int(second) <= over or told.keys() & {*SECOND_COUNTS}}


def _go_on() -> None:
    """At the end nobody waits."""


def hosts_of(environment: Environment) -> list[str]:
    """Return where requests go: users may have hosts of their own, where none was given for all."""
    own = {user.host for user in environment.user_classes if user.host}
    return [environment.host] if environment.host else sorted(own)


def _dialect(user: type, environment: Environment) -> str:
    return user.speaks(environment).name if hasattr(user, "speaks") else ""


def _think_time(user: type, environment: Environment) -> str:
    """A class that waits as the option says has a think time that can be told; others' is code."""
    if getattr(user, "wait_time", None) is not getattr(user, "think_time_option", user):
        return "its own wait_time"
    return told_wait(think_time(option(environment, "wait")))
