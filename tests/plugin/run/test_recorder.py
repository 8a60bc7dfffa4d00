"""The files of a run: when they are written, retried and finished."""

import csv
import errno
import json
from pathlib import Path

import pytest

from llmlocust.plugin.run import recorder as module
from llmlocust.plugin.run.companion import Companion
from llmlocust.plugin.run.recorder import Recorder
from llmlocust.runfiles.writer import RunFiles
from llmlocust.text.message import Message, from_json, message
from tests.metrics.records import record_of
from tests.plugin.run.fake_cluster import make_run, played


@pytest.fixture
def prefix(tmp_path):
    return str(tmp_path / "run")


class Counting(RunFiles):
    """Notes when levels are written, and simulates a full disk."""

    full = False

    def __init__(self, prefix, run, cluster, takes=0.0):
        self.moments, self.run, self.cluster, self.takes = [], run, cluster, takes
        super().__init__(prefix, run.pause)

    def write_levels(self, figures):
        self.moments.append(self.run.moment())
        self.cluster.now += self.takes
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write_levels(figures)

    def append(self, name, rows):
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(name, rows)


def recorded(prefix, takes=0.0, users=None, **settings):
    run, cluster = make_run(users or {"a": 1}, **settings)
    files = Counting(prefix, run, cluster, takes)
    recorder = Recorder(files, {"requests": 1})
    run.add(recorder)
    run.plan = {"levels": [2]}
    run.begin()
    return run, cluster, recorder, files


def info(prefix):
    return json.loads(Path(f"{prefix}_llm_run.json").read_text(), object_hook=from_json)


def requests(prefix):
    with Path(f"{prefix}_llm_requests.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_plan_is_in_the_files_before_any_figure_of_a_level(prefix):
    run, _, _, _ = recorded(prefix)
    run.plan = {"levels": [2, 4]}
    run.begin_level(2)
    assert info(prefix)["plan"] == {"levels": [2, 4]}


def test_rows_are_written_at_each_tick_and_the_rest_every_few_seconds(prefix):
    run, cluster, _, files = recorded(prefix)
    run.begin_level(2)
    run.end_warmup()
    for second in range(1, 21):
        cluster.now += 0.5
        run.merge(played(run, 2), "a")
        cluster.advance(0.5)
        assert len(requests(prefix)) == 2 * second
    assert files.moments == [1.0, 6.0, 11.0, 16.0]


@pytest.mark.parametrize(("takes", "apart"), [(0.0, 5.0), (0.03, 5.0), (0.2, 20.0), (0.5, 50.0), (10.0, 60.0)])
def test_files_are_rewritten_for_one_percent_of_the_time_but_once_a_minute(prefix, takes, apart):
    _, cluster, _, files = recorded(prefix, takes)
    cluster.advance(450.0)
    intervals = [later - earlier - takes for earlier, later in zip(files.moments, files.moments[1:], strict=False)]
    assert len(intervals) > 4
    assert all(apart - 1e-6 <= interval < apart + 1.1 for interval in intervals)
    if apart < 60.0:
        assert takes / (takes + min(intervals)) <= 0.01


def test_the_end_of_the_test_is_in_the_files_at_the_next_tick(prefix):
    run, cluster, _, files = recorded(prefix)
    cluster.advance(2.0)
    assert info(prefix)["ended"] is None
    run.note_end()
    cluster.advance(1.0)
    assert info(prefix)["ended"] == pytest.approx(run.began + 2.0)
    assert files.moments == [1.0, 3.0]


def test_a_full_disk_is_reported_once_and_tried_again(prefix, capsys):
    run, cluster, recorder, files = recorded(prefix)
    run.begin_level(2)
    run.end_warmup()
    files.full = True
    cluster.advance(12.0)
    assert run.problems == [f"cannot write {prefix}_*: No space left on device"]
    assert files.moments == [1.0, 6.0, 11.0]

    files.full = False
    cluster.advance(5.0)
    run.finish()
    assert recorder.is_complete
    assert [check["says"] for check in info(prefix)["checks"]] == run.problems
    assert capsys.readouterr().out.count("No space left on device") == 1


def test_a_disk_that_is_full_at_the_end_leaves_incomplete_files(prefix, capsys):
    run, cluster, recorder, files = recorded(prefix)
    cluster.advance(2.0)
    files.full = True
    run.finish()
    assert not recorder.is_complete
    expected = (
        f"the files {prefix}_* are incomplete: the last attempt to write them failed. Do not use them as they are"
    )
    assert expected in capsys.readouterr().err


def test_the_last_figures_are_written_once(prefix):
    run, cluster, recorder, files = recorded(prefix)
    run.begin_level(2)
    run.end_warmup()
    cluster.advance(3.0)
    run.merge(played(run, 7), "a")
    run.note_end()
    assert not recorder.is_complete
    run.finish()
    run.finish()
    assert recorder.is_complete
    assert len(requests(prefix)) == 7
    assert files.moments == [1.0, 3.0]
    assert info(prefix)["counts"] == {"sent": 7, "ended": 7, "attempts": 7, "preflight": 1}


def test_a_recorder_that_fails_in_its_rows_still_writes_the_rest(prefix, monkeypatch, caplog):
    run, cluster, recorder, files = recorded(prefix)

    def fail():
        raise RuntimeError("a defect")

    monkeypatch.setattr(recorder, "_write_rows", fail)
    cluster.advance(7.0)
    assert files.moments == [1.0, 6.0]
    assert len(caplog.records) == 1
    run.finish()
    assert not recorder.is_complete


def test_without_files_what_is_for_them_is_dropped():
    run, cluster = make_run({"a": 1})
    recorder = Recorder(None, {})
    run.add(recorder)
    run.plan = {}
    run.begin()
    run.begin_level(1)
    cluster.advance(1.0)
    run.merge(played(run, 5), "a")
    assert run.ledger.rows
    cluster.advance(1.0)
    assert not run.ledger.rows
    run.finish()
    assert recorder.is_complete


def test_files_are_brought_up_to_date(prefix):
    run, cluster, recorder, files = recorded(prefix)
    cluster.advance(2.0)
    recorder.bring_up_to_date()
    assert run.moment() <= 3.1
    assert files.moments == [1.0, 3.0]


def test_files_that_cannot_be_brought_up_to_date_are_given_up(prefix, monkeypatch):
    run, _, recorder, _ = recorded(prefix)
    monkeypatch.setattr(recorder, "_write_rest", lambda: None)
    recorder.bring_up_to_date(within=3.0)
    assert 3.0 <= run.moment() < 3.0 + 2 * module._LOOK + 0.01


def test_a_tick_measures_then_keeps_and_then_says(prefix):
    run, cluster = make_run({None: 1})
    run.add(Recorder(RunFiles(prefix), {}))
    kept = []

    class Saying(Companion):
        def tick(self, moment):
            kept.append(len(requests(prefix)))

    run.add(Saying())
    run.begin()
    cluster.own.note_sent(0.0, "chat")
    cluster.own.add(record_of([0.1, 0.2]), 0.0)
    cluster.advance(1.0)
    assert kept == [1]


# ── run.json ──


def test_a_run_describes_what_was_asked_for_and_what_is_wrong(prefix):
    options, target = {"llm_rate": 5.0}, {"host": "http://a", "model": "m", "dialect": "openai-chat"}
    run, _, _, _ = recorded(
        prefix,
        options=options,
        target=target,
        user_classes={"Chat": message("think time {seconds} s", seconds=2)},
        think_times={"Chat": 2.0},
        users={"a": 1, "b": 1},
    )
    run.assignment.open("poisson", 40)
    run.begin_level(2)
    run.lost_workers.add("a", "host:7", "all", 0.0, may_go_on=True)
    run.problem("a problem")
    run.ended_by = message("{threshold} at {load}", threshold="errors < 1%", load="2 users")
    run.finish()

    content = info(prefix)
    assert (content["options"], content["target"]) == (options, target)
    assert (content["user_classes"], content["think_times"]) == ({"Chat": "think time 2 s"}, {"Chat": 2.0})
    assert content["plan"] == {"levels": [2], "arrivals": "poisson", "max_in_flight": 40}
    assert (content["processes"], content["stopped"], content["ended_by"]) == (2, True, "errors < 1% at 2 users")
    checks = [(check["name"], check["ok"], check["says"], check["levels"]) for check in content["checks"]]
    assert checks == [
        ("run", False, "a problem", []),
        ("run", False, "Worker host:7 was lost 0 s into the run: all.", [0]),
    ]
    for sentence in (content["ended_by"], content["user_classes"]["Chat"], content["checks"][1]["says"]):
        assert isinstance(sentence, Message)


@pytest.mark.parametrize(("through", "stopped"), [(True, False), (False, True)])
def test_a_plan_was_stopped_where_it_was_not_gone_through(prefix, through, stopped):
    run, _, _, _ = recorded(prefix)
    assert info(prefix)["stopped"] is None
    run.through = through
    run.finish()
    assert info(prefix)["stopped"] is stopped
