"""Telemetry as a companion of a run, with a process whose messages a test writes."""

import csv

from llmlocust.plugin.run.telemetry import Telemetry
from llmlocust.runfiles import formats
from llmlocust.runfiles.writer import RunFiles
from tests.plugin.run.fake_cluster import make_run


class FakeProcess:
    """A process that notes its commands, and answers the last one with `done`."""

    def __init__(self, *, is_deaf=False):
        self.commands, self.waiting, self.is_closed, self.is_deaf = [], [{"ready": True}], False, is_deaf

    def send(self, command):
        self.commands.append(command)
        if command["do"] == "finish" and not self.is_deaf:
            self.waiting.append({"done": True, "cpu": 0.1})

    def messages(self):
        messages, self.waiting = self.waiting, []
        return messages

    @property
    def has_ended(self):
        return False

    def close(self):
        self.is_closed = True


def observed(tmp_path, process):
    """Return a run with telemetry, its cluster, and its files."""
    run, cluster = make_run()
    files = RunFiles(str(tmp_path / "run"))
    run.add(Telemetry(lambda: process, lambda write: write(files)))
    run.plan = {"levels": [1, 2]}
    run.begin()
    return run, cluster, files


def rows(files, name):
    with files.path(name).open(newline="") as file:
        return list(csv.reader(file))[1:]


def play(run, cluster, levels=2):
    for load in range(1, levels + 1):
        run.begin_level(load)
        cluster.advance(2.0)
        run.end_warmup()
        cluster.advance(3.0)
        run.end_level()


def test_the_process_receives_the_measured_windows_in_epoch_seconds(tmp_path):
    process = FakeProcess()
    run, cluster, _ = observed(tmp_path, process)
    play(run, cluster)
    run.finish()
    assert [(command["do"], command.get("level")) for command in process.commands] == [
        ("begin", 0),
        ("end", 0),
        ("begin", 1),
        ("end", 1),
        ("finish", None),
    ]
    begin, end = (command["time"] - run.began for command in process.commands[:2])
    assert end - begin == 3.0
    assert process.is_closed


def test_levels_without_a_measured_window_are_not_sent(tmp_path):
    process = FakeProcess()
    run, cluster, _ = observed(tmp_path, process)
    run.begin_level(1)
    cluster.advance(1.0)
    run.end_level()
    assert process.commands == []


def test_messages_become_files_and_the_state_of_the_run(tmp_path):
    process = FakeProcess()
    run, cluster, files = observed(tmp_path, process)
    process.waiting = [
        {"sources": [{"name": "a", "state": "ok"}]},
        {"values": {"running": 3.0}, "rows": [[1.0, "a", "running", "", 3.0]]},
        {"level": 0, "levels": [[0, "a", "running", "", "gauge", 1, 3.0, *[""] * 9]]},
        {"event": {"time": 1.0, "kind": "restart", "source": "a"}},
    ]
    cluster.advance(1.0)
    assert run.telemetry_now == {"running": 3.0}
    assert run.telemetry == {
        "sources": [{"name": "a", "state": "ok"}],
        "events": [{"time": 1.0, "kind": "restart", "source": "a"}],
        "cpu_seconds": None,
    }
    assert rows(files, formats.TELEMETRY) == [["1.0", "a", "running", "", "3.0"]]
    assert rows(files, formats.TELEMETRY_LEVELS)[0][:3] == ["0", "a", "running"]


def test_values_of_silent_sources_are_not_shown_for_long(tmp_path):
    process = FakeProcess()
    run, cluster, _ = observed(tmp_path, process)
    process.waiting = [{"values": {"running": 3.0}, "rows": []}]
    cluster.advance(3.0)
    assert run.telemetry_now == {"running": 3.0}
    cluster.advance(6.0)
    assert run.telemetry_now == {}


def test_later_rows_of_a_level_replace_earlier_ones(tmp_path):
    process = FakeProcess()
    _, cluster, files = observed(tmp_path, process)
    for value in (1.0, 2.0):
        process.waiting = [{"level": 0, "levels": [[0, "a", "running", "", "gauge", 1, value, *[""] * 9]]}]
        cluster.advance(1.0)
    assert [row[6] for row in rows(files, formats.TELEMETRY_LEVELS)] == ["2.0"]


def test_a_process_that_hangs_delays_the_end_by_seconds_only(tmp_path):
    process = FakeProcess(is_deaf=True)
    run, cluster, _ = observed(tmp_path, process)
    before = cluster.now
    run.finish()
    assert cluster.now - before < 6.0
    assert process.is_closed


def test_the_load_waits_for_the_first_answers_but_not_long(tmp_path):
    process = FakeProcess()
    process.waiting = []
    run, cluster = make_run()
    run.add(Telemetry(lambda: process, lambda write: None))
    before = cluster.now
    run.begin()
    assert 5.9 < cluster.now - before < 6.5


def test_the_file_of_a_day_has_at_most_50_mb(tmp_path):
    process = FakeProcess()
    observed(tmp_path, process)
    sizes = []
    companion = Telemetry(lambda: process, lambda write: sizes.append(len(write.keywords["rows"][0][0]) + 1))
    run, _ = make_run()
    companion.begins(run)
    for second in range(24 * 3600):
        process.waiting = [{"values": {}, "rows": [["x" * 20_000]]}]
        companion.tick(float(second))
    assert 45e6 < sum(sizes) < 55e6


def test_a_run_without_sources_has_no_telemetry(tmp_path):
    run, cluster, files = observed(tmp_path, FakeProcess())
    play(run, cluster)
    run.finish()
    assert run.telemetry is None
    assert not files.path(formats.TELEMETRY).exists()
