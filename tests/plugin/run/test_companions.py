"""Companions of a run, written as by the author of a new source or fault."""

import logging

import pytest

from llmlocust.load.curves import BEGAN, ENDED
from llmlocust.plugin.run.companion import Companion
from tests.plugin.run.fake_cluster import make_run


class ToyTelemetry(Companion):
    """A source that notes a value each second and at each level."""

    def __init__(self, read):
        self.read, self.values = read, []

    def tick(self, moment):
        self.values.append((moment, self.read()))

    def level(self, change):
        self.values.append((change.moment, change.what))


class ToyFault(Companion):
    """A fault that begins with level 2 and ends with it; at the latest with the run."""

    def __init__(self):
        self.times = []

    def level(self, change):
        if change.level.index == 1 and change.what == BEGAN:
            self.times.append(("on", change.moment))
        elif change.level.index == 1 and change.what == ENDED:
            self.times.append(("off", change.moment))

    def ends(self, run):
        if self.times and self.times[-1][0] == "on":
            self.times.append(("off", run.over))


class Broken(Companion):
    """Fails in each of its hooks."""

    def begins(self, run):
        raise RuntimeError("begins")

    def level(self, change):
        raise RuntimeError("level")

    def tick(self, moment):
        raise RuntimeError("tick")

    def ends(self, run):
        raise RuntimeError("ends")


def play(run, cluster, levels=3):
    """Levels of 2 s of warm-up and 3 s of measuring."""
    run.plan = {"levels": [1] * levels}
    run.begin()
    for load in range(1, levels + 1):
        run.begin_level(load)
        cluster.advance(2.0)
        run.end_warmup()
        cluster.advance(3.0)
    run.end_level()
    run.note_end()
    run.finish()


def test_a_source_notes_a_value_each_second_and_at_each_level():
    run, cluster = make_run()
    telemetry = ToyTelemetry(read=lambda: "value")
    run.add(telemetry)
    play(run, cluster, levels=1)

    assert telemetry.values == [
        (0.0, "began"), (1.0, "value"), (2.0, "value"), (2.0, "warmed_up"),
        (3.0, "value"), (4.0, "value"), (5.0, "value"), (5.0, "ended"),
    ]  # fmt: skip


def test_a_fault_begins_and_ends_with_its_level():
    run, cluster = make_run()
    fault = ToyFault()
    run.add(fault)
    play(run, cluster)
    assert fault.times == [("on", 5.0), ("off", 10.0)]


def test_a_fault_ends_with_a_run_that_is_stopped_in_its_level():
    run, cluster = make_run()
    fault = ToyFault()
    run.add(fault)
    run.plan = {}
    run.begin()
    run.begin_level(1)
    run.begin_level(2)
    cluster.advance(4.0)
    run.note_end()
    run.finish()
    assert fault.times == [("on", 0.0), ("off", 4.0)]


def test_a_companion_that_fails_is_logged_once_for_each_hook_and_costs_no_other(caplog):
    run, cluster = make_run()
    before, after = ToyTelemetry(lambda: 1), ToyTelemetry(lambda: 1)
    run.add(before, Broken(), after)
    with caplog.at_level(logging.ERROR):
        play(run, cluster)

    assert before.values == after.values
    assert len(before.values) == 9 + 15
    hooks = ("begins", "level", "tick", "ends")
    assert [record.message for record in caplog.records] == [
        f"Broken.{hook} failed; the run continues" for hook in hooks
    ]
    assert [str(record.exc_info[1]) for record in caplog.records] == [*hooks]


def test_two_companions_of_one_class_are_logged_each(caplog):
    run, cluster = make_run()
    run.add(Broken(), Broken())
    run.begin()
    cluster.advance(3.0)
    assert [record.message for record in caplog.records].count("Broken.tick failed; the run continues") == 2


@pytest.mark.parametrize("step", ["follow_users", "_collect"])
def test_a_step_of_the_run_that_fails_costs_no_other(caplog, monkeypatch, step):
    run, cluster = make_run()

    class Failing(type(run)):
        pass

    def fail(self):
        raise RuntimeError(step)

    setattr(Failing, step, fail)
    fail.__name__ = step
    run.__class__ = Failing
    telemetry = ToyTelemetry(lambda: 1)
    run.add(telemetry)
    run.begin()
    cluster.advance(3.0)
    assert len([value for _, value in telemetry.values if value == 1]) == 3
    assert [record.message for record in caplog.records] == [f"Failing.{step} failed; the run continues"]


def test_companions_end_in_reverse_so_that_the_files_have_what_the_others_note():
    run, _ = make_run()
    problems = []

    class Files(Companion):
        def ends(self, run):
            problems.extend(run.problems)

    class Doubting(Companion):
        def ends(self, run):
            run.problem("a doubt")

    run.add(Files(), Doubting())
    run.finish()
    assert problems == ["a doubt"]


def test_a_companion_knows_the_run_from_its_beginning_on():
    run, _ = make_run()
    companion = Companion()
    run.add(companion)
    run.begin()
    assert companion.run is run
