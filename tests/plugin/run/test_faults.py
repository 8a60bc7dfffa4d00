"""Faults as a companion of a run, with a process whose messages a test writes."""

from llmlocust.metrics.stop_condition import StopCondition
from llmlocust.plugin.run.description import describe
from llmlocust.plugin.run.faults import Faults
from tests.plugin.run.fake_cluster import make_run


class FakeProcess:
    """A process that notes its commands, and answers the last one with `done`."""

    def __init__(self, last=()):
        self.commands, self.waiting, self.last, self.has_ended, self.is_closed = [], [], list(last), False, False

    def send(self, command):
        self.commands.append(command)
        if command["do"] == "finish":
            self.waiting += [*self.last, {"done": True}]

    def messages(self):
        messages, self.waiting = self.waiting, []
        return messages

    def close(self, patience=0.0):
        self.is_closed = True


def window(fault_id="1.1", began=None, lifted=None):
    return {"fault": {"id": fault_id, "name": "outage", "kind": "down", "began": began, "lifted": lifted}}


def faulted(process, stop=None):
    """Return a run with faults, its cluster, what was undone, and the ends that were requested."""
    run, cluster = make_run()
    undone, ends = [], []
    condition = StopCondition.parse(stop) if stop else None
    run.add(Faults(process, undo=undone.extend, end=lambda: ends.append(True), stop=condition))
    run.plan = {"levels": [1, 2]}
    run.begin()
    return run, cluster, undone, ends


def test_the_process_receives_each_anchor_once_in_epoch_seconds():
    process = FakeProcess()
    run, cluster, *_ = faulted(process)
    for load, phase in ((20.0, "surge"), (0.5, "recovery"), (20.0, "surge")):
        run.begin_level(load, phase=phase)
        cluster.advance(2.0)
        run.end_warmup()
        cluster.advance(3.0)
        run.end_level()
    run.finish()
    anchors = {command["anchor"]: command["time"] - run.began for command in process.commands[:-1]}
    assert anchors == {"run": 0.0, "level 20": 2.0, "phase surge": 2.0, "level 0.5": 7.0, "phase recovery": 7.0}
    assert len(process.commands) == 6
    assert process.commands[-1] == {"do": "finish"}
    assert process.is_closed


def test_the_newest_state_of_each_injection_is_in_the_description():
    process = FakeProcess(last=[window("1.1", 5.0, 8.0)])
    run, cluster, *_ = faulted(process)
    process.waiting += [window("1.1", 5.0), window("1.2", 7.0, 9.0)]
    cluster.advance(1.0)
    run.tick()
    run.finish()
    faults = describe(run, {})["faults"]
    assert [(fault["id"], fault["began"], fault["lifted"]) for fault in faults] == [
        ("1.1", 5.0, 8.0),
        ("1.2", 7.0, 9.0),
    ]


def test_a_test_that_has_stopped_lifts_its_faults_once():
    """In the web UI, the run finishes only when the next one starts."""
    process = FakeProcess()
    run, cluster, *_ = faulted(process)
    run.note_end()
    for _ in range(3):
        cluster.advance(1.0)
    assert process.commands[1:] == [{"do": "lift"}]


def test_messages_of_an_injection_can_be_translated():
    process = FakeProcess()
    run, *_ = faulted(process)
    document = {"text": "port 80 is free", "template": "port {port} is free", "values": {"port": "80"}}
    state = window("1.1")
    state["fault"]["problem"] = document
    process.waiting.append(state)
    run.finish()
    assert run.faults[0]["problem"] == "port 80 is free"
    assert describe(run, {})["faults"][0]["problem"] == document


def test_a_process_that_ends_too_early_ends_the_run_and_its_faults_are_lifted():
    process = FakeProcess()
    run, cluster, undone, ends = faulted(process)
    process.waiting += [{"undo": {"id": "1.1"}}, {"undo": {"id": "2.1"}}, {"undone": "2.1"}]
    process.has_ended = True
    cluster.advance(1.0)
    run.tick()
    run.tick()
    assert undone == [{"id": "1.1"}]
    assert ends == [True]
    assert "ended too early" in run.problems[0]


def test_faults_that_the_process_could_not_lift_are_undone_at_the_end():
    process = FakeProcess()
    run, _, undone, _ = faulted(process)
    process.waiting += [{"undo": {"id": "1.1"}}, window("1.1", 1.0)]
    run.finish()
    assert undone == [{"id": "1.1"}]


def test_too_many_errors_lift_the_faults_and_end_the_run_once():
    process = FakeProcess()
    run, cluster, _, ends = faulted(process, "errors > 50% for 3s")
    for second in range(8):
        run.ledger.seconds.merge(second, {"ended": 10, "failed": 10 if second > 2 else 0})
    for _ in range(9):
        cluster.advance(1.0)
        run.tick()
    assert [command for command in process.commands if command["do"] == "lift"] == [{"do": "lift"}]
    assert ends == [True]
    assert run.ended_by == "errors > 50% for 3s"


def test_a_value_of_telemetry_must_be_beyond_the_limit_all_the_time():
    process = FakeProcess()
    run, cluster, _, ends = faulted(process, "waiting > 100 for 3s")
    for value in (101.0, 150.0, 99.0, 101.0, 102.0, 103.0):
        run.telemetry_now = {"waiting": value}
        cluster.advance(1.0)
        run.tick()
    assert not ends
    cluster.advance(1.0)
    run.tick()
    assert ends == [True]
