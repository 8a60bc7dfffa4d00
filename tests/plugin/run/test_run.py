"""A run without Locust: levels, messages to workers, figures of workers, time."""

import subprocess
import sys

import pytest

from llmlocust.load.curves import BEGAN, ENDED, WARMED_UP
from llmlocust.metrics.levels import RATE, USERS
from llmlocust.plugin.protocol import VERSION
from llmlocust.plugin.run.companion import Companion
from tests.plugin.run.fake_cluster import make_run, played
from tests.simulators import ROOT


class Noting(Companion):
    """Notes the calls of its hooks."""

    def __init__(self):
        self.changes, self.ended, self.moments = [], 0, []

    def level(self, change):
        self.changes.append((change.what, change.level.index, change.moment))

    def tick(self, moment):
        self.moments.append(moment)

    def ends(self, run):
        self.ended += 1


MODULES = (
    "run",
    "assignment",
    "companion",
    "description",
    "early_end",
    "lost_workers",
    "recorder",
    "state",
    "trace_rows",
)


def test_a_run_and_its_modules_load_neither_locust_nor_gevent():
    statement = ", ".join(f"llmlocust.plugin.run.{module}" for module in MODULES)
    code = f"import sys, {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"locust", "gevent"} & {*child.stdout.split()}


# ── levels ──


def test_workers_receive_the_beginning_warm_up_and_end_of_a_level():
    run, cluster = make_run({"a": 0, "b": 0})
    run.begin_level(8, USERS, "surge")
    cluster.now += 2.0
    run.end_warmup(reached=False)
    cluster.now += 5.0
    run.end_level()
    run.end_level()

    states = [(sender, state["level"]) for sender, state in cluster.messages("state")]
    level = {"index": 0, "load": 8, "unit": USERS, "warmed_up": False, "reached": True, "ended": False}
    warmed_up = level | {"warmed_up": True, "reached": False}
    assert states == [(None, level), (None, warmed_up), (None, warmed_up | {"ended": True})]
    (level,) = run.ledger.levels
    assert (level.began, level.warmed_up, level.ended, level.phase) == (0.0, 2.0, 7.0, "surge")


def test_the_only_process_learns_its_levels_by_calls():
    run, cluster = make_run()
    run.begin_level(5)
    run.end_warmup()
    run.next_level(7.5, RATE)
    run.end_level()

    assert cluster.levels == [("began", 5, USERS), ("warmed_up", True), ("follows", 7.5, RATE), ("ended",)]


def test_a_level_that_follows_begins_and_warms_up_where_the_one_before_ends():
    run, cluster = make_run({"a": 1})
    noting = Noting()
    run.add(noting)
    run.begin()
    run.begin_level(1.0, RATE)
    run.end_warmup()
    cluster.now += 3.0
    run.next_level(2.0, RATE)

    assert noting.changes == [
        (BEGAN, 0, 0.0),
        (WARMED_UP, 0, 0.0),
        (ENDED, 0, 3.0),
        (BEGAN, 1, 3.0),
        (WARMED_UP, 1, 3.0),
    ]
    assert [(level.began, level.warmed_up, level.ended) for level in run.ledger.levels] == [(0, 0, 3), (3, 3, None)]


def test_without_a_plan_levels_follow_the_users():
    run, cluster = make_run({None: 3})
    run.begin()
    cluster.is_steady = False
    cluster.advance(2.0)
    assert run.level is None
    cluster.is_steady = True
    cluster.advance(3.0)
    cluster.users[None] = 5
    cluster.advance(1.0)
    cluster.is_steady = False
    cluster.advance(1.0)

    assert [(level.load, level.began, level.ended) for level in run.ledger.levels] == [(3, 3.0, 6.0), (5, 6.0, 7.0)]


def test_with_a_plan_the_user_count_makes_no_levels():
    run, cluster = make_run({None: 3})
    run.plan = {"levels": [3]}
    run.begin()
    cluster.advance(3.0)
    assert run.level is None


# ── messages to workers ──


def test_a_worker_receives_the_run_and_a_late_one_its_share_too():
    run, cluster = make_run({"a": 1, "b": 1}, limits="errors < 1%", planned_users=30.0)
    cluster.stop_timeout = 4.0
    run.let_requests_end(30.0)
    run.assignment.open("poisson", 100)
    run.announce()
    run.begin_level(10.0, RATE)
    cluster.messages("arrivals")
    cluster.now += 2.0
    run.announce("b")

    (receiver, first), (late, second) = cluster.messages("run")
    assert (receiver, late) == (None, "b")
    known = {"version": VERSION, "run": run.id, "stop_timeout": 4.0, "open": True, "limits": "errors < 1%"}
    assert first.items() >= (known | {"elapsed": 0.0, "processes": 2, "users": 15.0, "level": None}).items()
    assert second.items() >= (known | {"elapsed": 2.0}).items()
    assert second["level"]["load"] == 10.0
    assert [sender for sender, _ in cluster.messages("arrivals")] == ["b"]


def test_requests_may_end_with_a_ramp_and_are_cut_off_where_a_test_is_stopped():
    run, cluster = make_run({"a": 1})
    cluster.stop_timeout = 2.0
    run.let_requests_end(30.0)
    assert cluster.stop_timeout == 30.0
    run.stop_early()
    assert cluster.stop_timeout == 2.0
    assert cluster.messages("stop early") == [(None, {"stop_timeout": 2.0})]


def test_workers_that_come_or_go_share_the_rows_of_the_request_file():
    run, cluster = make_run({f"w{number}": 1 for number in range(100)})
    run.plan = {"levels": [100]}
    run.begin()
    run.begin_level(100)
    (_, before), *_ = cluster.messages("state")
    for number in range(50):
        del cluster.users[f"w{number}"]
    cluster.advance(1.0)
    cluster.advance(1.0)

    ((_, after),) = cluster.messages("state")
    assert after["rows_a_second"] == 2 * before["rows_a_second"]


# ── figures of workers ──


def test_reports_of_workers_add_up():
    run, cluster = make_run({"a": 1, "b": 1})
    run.begin_level(2)
    run.end_warmup()
    cluster.now += 3.0
    for worker, requests in (("a", 4), ("b", 3)):
        run.merge(played(run, requests, worker=worker), worker)

    assert (run.ledger.sent, run.ledger.ended, run.in_flight) == (7, 7, 0)
    assert run.ledger.figures(run.level, run.moment()).ok == 7


def test_seconds_after_the_end_in_which_nothing_happened_are_dropped():
    run, cluster = make_run({"a": 1})
    cluster.now += 2.0
    run.note_end()
    packed = played(run, 0) | {"seconds": {1: {"users": 1.0}, 5: {"users": 1.0}, 6: {"ended": 1.0}}}
    run.merge(packed, "a")
    assert sorted(packed["seconds"]) == [1, 6]


# ── time ──


def test_a_tick_measures_first_and_then_calls_the_companions_in_their_order():
    run, cluster = make_run({None: 1})
    order = []
    run.add(*(companion_of(name, lambda name=name: order.append((name, run.ledger.sent))) for name in ("keep", "say")))
    run.begin()
    cluster.own.note_sent(0.0, "chat")
    cluster.advance(1.0)

    assert order == [("keep", 1), ("say", 1)]
    assert run.level.load == 1


def companion_of(name, does):
    companion = type(name, (Companion,), {})()
    companion.tick = lambda moment: does()
    return companion


def test_a_run_ends_once_and_ticks_no_more():
    run, cluster = make_run({None: 1})
    first, second = Noting(), Noting()
    run.add(first, second)
    run.begin()
    cluster.advance(2.5)
    cluster.own.note_sent(2.0, "chat")
    run.note_end()
    run.finish()
    run.finish()
    cluster.advance(5.0)

    assert first.moments == [1.0, 2.0]
    assert (first.ended, second.ended) == (1, 1)
    assert run.ledger.sent == 1
    assert run.level.ended == 2.5
    assert run.ended == pytest.approx(run.began + 2.5)
    assert run.is_finished


def test_a_run_that_is_finished_pauses_no_more():
    run, cluster = make_run()
    cluster.pause_takes = 1.0
    run.pause()
    run.finish()
    run.pause()
    assert cluster.now == 1001.0


def test_a_problem_is_said_once(capsys):
    run, _ = make_run()
    run.problem("the disk is full")
    run.problem("the disk is full")
    assert run.problems == ["the disk is full"]
    assert capsys.readouterr().out == "the disk is full\n"


# ── lost workers ──


def test_a_lost_worker_marks_the_levels_that_lack_its_figures(capsys):
    run, cluster = make_run({"a": 1, "b": 1})
    for moment, load in ((0.0, 1), (10.0, 2), (20.0, 3)):
        cluster.now = 1000.0 + moment
        run.begin_level(load)
    cluster.now += 5.0
    run.lost_workers.add("a", "host:7", "12 requests", 15.0, may_go_on=True)
    run.lost_workers.add("a", "host:7", "14 requests", 15.0, may_go_on=True)
    run.begin_level(4)
    cluster.now = 1080.0
    run.begin_level(5)

    assert "a" in run.lost_workers
    assert run.lost == {"Worker host:7 was lost 25 s into the run: 14 requests.": [1, 2, 3]}
    assert capsys.readouterr().out == "Worker host:7 was lost 25 s into the run: 12 requests.\n"
    run.lost_workers.remove("a", "Worker host:7 is back.")
    assert not run.lost


def test_a_lost_worker_whose_connection_is_closed_marks_no_later_level():
    run, cluster = make_run({"a": 1})
    cluster.now += 1.0
    run.begin_level(1)
    run.lost_workers.add("a", "host:7", "all", 0.5, may_go_on=False)
    run.begin_level(2)
    assert list(run.lost.values()) == [[0]]
