"""The assignment of rates, rows of a trace and quotas to processes."""

from array import array

import pytest

from llmlocust.load.arrivals import RateShare
from llmlocust.load.traces import Replay, Trace, TraceShare
from llmlocust.metrics.levels import RATE
from llmlocust.plugin.run import trace_rows
from llmlocust.plugin.run.trace_rows import AHEAD, Rows, salt, take_rows_of
from tests.plugin.run.fake_cluster import make_run, played


def shares(cluster):
    """The shares of the rate that were sent, by their receivers."""
    return {sender: RateShare(*data["share"]) for sender, data in cluster.messages("arrivals")}


# ── rates ──


@pytest.mark.parametrize("workers", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_all_workers_share_the_rate_of_a_level(workers):
    run, cluster = make_run(dict.fromkeys(workers, 1))
    run.assignment.open("constant", 50)
    run.begin_level(30.0, RATE)
    sent = cluster.messages("arrivals")

    assert [sender for sender, _ in sent] == workers
    assert {data["max_in_flight"] for _, data in sent} == {50}
    sent_shares = [RateShare(*data["share"]) for _, data in sent]
    seed = sent_shares[0].seed
    assert sent_shares == [RateShare(30.0, "constant", seed, number, len(workers)) for number in range(len(workers))]


def test_the_only_process_has_the_whole_rate():
    run, cluster = make_run()
    run.assignment.open("poisson", 50)
    run.begin_level(30.0, RATE)
    assert [(sender, share.streams) for sender, share in shares(cluster).items()] == [(None, 1)]


def test_users_have_no_rate():
    run, cluster = make_run({"a": 1})
    run.begin_level(30)
    run.assignment.follow_senders()
    assert not cluster.messages("arrivals")
    assert run.assignment.due_of("a", 0.0, 10.0) is None
    assert run.assignment.plan == {}


def test_a_worker_that_leaves_or_comes_changes_what_each_has_to_send(capsys):
    run, cluster = make_run({"a": 1, "b": 1, "c": 1})
    run.assignment.open("poisson", 50)
    run.begin_level(30.0, RATE)
    first = shares(cluster)
    run.assignment.follow_senders()
    assert not cluster.messages("arrivals")

    del cluster.users["a"]
    run.assignment.follow_senders()
    second = shares(cluster)
    assert {name: share[3:] for name, share in second.items()} == {"b": (0, 2), "c": (1, 2)}
    assert {share.seed for share in second.values()} != {share.seed for share in first.values()}

    cluster.users |= {"a": 1}
    run.assignment.follow_senders()
    assert {name: share[3:] for name, share in shares(cluster).items()} == {"a": (0, 3), "b": (1, 3), "c": (2, 3)}
    assert capsys.readouterr().out.splitlines() == [
        "  … 2 workers share the rate from now on",
        "  … 3 workers share the rate from now on",
    ]


def test_a_last_worker_has_all_of_the_rate_and_no_worker_changes_nothing(capsys):
    run, cluster = make_run({"a": 1, "b": 1})
    run.assignment.open("poisson", 50)
    run.begin_level(30.0, RATE)
    del cluster.users["b"]
    run.assignment.follow_senders()
    cluster.users.clear()
    run.assignment.follow_senders()
    assert capsys.readouterr().out == "  … 1 worker sends the whole rate from now on\n"


def test_what_a_lost_worker_had_to_send_is_its_share_of_the_rate():
    run, _ = make_run({"a": 1, "b": 1, "c": 1})
    run.assignment.open("poisson", 50)
    run.begin_level(30.0, RATE)
    due = run.assignment.due_of("b", 2.0, 6.0)
    assert (due.requests, due.source) == (40.0, "its share of the rate")
    assert run.assignment.due_of("b", 6.0, 2.0).requests == 0.0
    assert run.assignment.due_of("stranger", 2.0, 6.0) is None


def test_while_arrivals_are_paused_nothing_is_due():
    run, cluster = make_run({"a": 1})
    run.assignment.open("poisson", 50)
    run.begin_level(30.0, RATE)
    shares(cluster)
    run.assignment.pause(on=False)
    assert not shares(cluster)
    run.assignment.pause(on=True)
    assert shares(cluster)["a"].rate == 0.0
    run.begin_level(20.0, RATE)
    assert shares(cluster)["a"].rate == 20.0


def test_a_level_that_ended_is_assigned_to_no_process():
    run, cluster = make_run({"a": 1})
    run.assignment.open("poisson", 50)
    run.begin_level(30.0, RATE)
    run.end_level()
    shares(cluster)
    cluster.users["b"] = 1
    run.assignment.follow_senders()
    assert not shares(cluster)


# ── rows of a trace ──


def replay_of(seconds, path="trace.csv"):
    """A trace with one row per second."""
    return Replay(Trace(path, moments=array("d", range(seconds)), prompt_tokens=array("I", [1] * seconds)))


def test_rows_begin_after_the_warm_up_of_the_first_level():
    run, cluster = make_run({"a": 1, "b": 1})
    run.assignment.replay(Rows(replay_of(20), "salt"), "20 rows of a trace")
    run.begin_level(1.0, RATE)
    before = dict(cluster.messages("rows"))
    cluster.now += 3.0
    run.end_warmup()
    cluster.now += 1.5
    run.assignment.send_share("b")

    assert {data["began"] for data in before.values()} == {None}
    assert [data["deal"] for data in before.values()] == [[0.0, 0, 2], [0.0, 1, 2]]
    *begun, (sender, late) = cluster.messages("rows")
    assert [data["began"] for _, data in begun] == [0.0, 0.0]
    assert (sender, late["began"], late["deal"], late["salt"]) == ("b", 1.5, [0.0, 1, 2], "salt")
    assert late["trace"] == ["trace.csv", 1.0, 0.0, 0.0]
    assert run.assignment.plan == {"arrivals": "20 rows of a trace", "max_in_flight": 0}


def test_rows_are_assigned_again_from_a_moment_that_every_process_knows(capsys):
    run, cluster = make_run({"a": 1, "b": 1})
    run.assignment.replay(Rows(replay_of(20), ""), "a trace")
    run.begin_level(1.0, RATE)
    run.end_warmup()
    cluster.messages("rows")
    cluster.now += 5.0
    del cluster.users["a"]
    run.assignment.follow_senders()

    assert [(sender, data["deal"]) for sender, data in cluster.messages("rows")] == [("b", [5.0 + AHEAD, 0, 1])]
    assert "1 worker sends the whole trace" in capsys.readouterr().out
    assert run.assignment.due_of("b", 5.0, 15.0) == (10, "its share of the trace")


@pytest.mark.parametrize(("due", "words"), [(20, []), (17, ["3 of the trace's 20 rows were never due"])])
def test_a_run_that_is_through_says_which_rows_were_never_due(due, words):
    run, _ = make_run({"a": 1})
    run.assignment.replay(Rows(replay_of(20), ""), "a trace")
    run.begin_level(1.0, RATE)
    run.end_warmup()
    run.ledger.tallies[0, ""].numbers["due"] = due
    run.through = True
    run.finish()
    assert [problem.split(":")[0] for problem in run.problems] == words


class OpenLoad:
    on = False

    def replay(self, *arguments):
        self.arguments = arguments


def test_a_process_takes_its_rows_from_its_own_copy_of_the_trace(monkeypatch):
    replay = replay_of(20)
    monkeypatch.setattr(trace_rows, "open_trace", lambda path: replay.trace)
    rows = Rows(replay, "salt")
    rows.begin(10.0)
    open_load = OpenLoad()
    take_rows_of(open_load, rows.message(12.0, 1, 3) | {"max_in_flight": 9}, 50_000_000_000)
    assert open_load.arguments == (replay, 48_000_000_000, TraceShare(0.0, 1, 3), 9, "salt")


def test_a_process_with_another_trace_sends_nothing_of_it(monkeypatch):
    monkeypatch.setattr(trace_rows, "open_trace", lambda path: replay_of(19).trace)
    open_load = OpenLoad()
    with pytest.raises(ValueError, match=r"trace\.csv has other rows than the master's"):
        take_rows_of(open_load, Rows(replay_of(20), "").message(0.0, 0, 1), 0)
    assert open_load.on
    assert not hasattr(open_load, "arguments")


@pytest.mark.parametrize(
    ("seed", "unique", "expected"), [("", True, "run"), ("word", True, "word"), ("", False, ""), ("word", False, "")]
)
def test_shared_texts_are_new_in_each_run_unless_options_say_otherwise(seed, unique, expected):
    assert salt({"llm_seed": seed, "llm_unique": unique}, "run") == expected


# ── quotas ──


def test_a_fixed_number_is_assigned_by_users_after_the_warm_up():
    run, cluster = make_run({"a": 3, "b": 1})
    run.assignment.count_requests(100)
    run.begin_level(4)
    assert [(sender, data["tickets"]) for sender, data in cluster.messages("state")] == [("a", 0), ("b", 0)]
    run.end_warmup()
    assert [(sender, data["tickets"]) for sender, data in cluster.messages("state")] == [("a", 75), ("b", 25)]
    assert run.assignment.quota_of("a") == 75
    assert not run.assignment.all_requests_ended


def test_the_only_process_waits_for_its_quota():
    run, cluster = make_run({None: 2})
    run.assignment.count_requests(10)
    assert cluster.quota == 0
    run.begin_level(2)
    run.end_warmup()
    assert cluster.quota == 10


def test_without_a_fixed_number_there_is_no_quota():
    run, cluster = make_run({"a": 1})
    run.begin_level(1)
    run.end_warmup()
    assert cluster.quota is None
    assert run.assignment.quota_of("a") is None
    assert not run.assignment.all_requests_ended
    assert {data["tickets"] for _, data in cluster.messages("state")} == {None}


def test_a_fixed_number_is_over_with_its_last_request():
    run, cluster = make_run({"a": 1, "b": 1})
    run.assignment.count_requests(4)
    run.begin_level(2)
    run.end_warmup()
    cluster.now += 2.0
    run.merge(played(run, 2, worker="a"), "a")
    assert not run.assignment.all_requests_ended
    run.merge(played(run, 2, worker="b"), "b")
    assert run.assignment.all_requests_ended
    cluster.now += 5.0
    run.end_level()
    assert run.level.ended == pytest.approx(2.0)
    assert not run.problems


@pytest.mark.parametrize("lose", [lambda users: users.pop("b"), lambda users: users.update(b=0)])
def test_a_worker_that_is_lost_or_has_no_users_owes_no_more_requests(lose):
    run, cluster = make_run({"a": 1, "b": 1})
    run.assignment.count_requests(4)
    run.begin_level(2)
    run.end_warmup()
    cluster.now += 2.0
    run.merge(played(run, 2, worker="a"), "a")
    lose(cluster.users)
    assert run.assignment.all_requests_ended
    run.end_level()
    assert run.problems == ["2 of 4 requests were sent: workers were lost or lost their users."]
