"""Snapshots for the live page, from simulated runs."""

import json

import msgspec
import pytest

from llmlocust.analysis.live import COLUMNS, Live
from tests.metrics.records import record_of
from tests.played_run import PlayedRun, answer


def column(snapshot, name: str) -> list[float | None]:
    return [point[COLUMNS.index(name)] for _, point in sorted(snapshot["points"].items())]


def test_a_snapshot_is_plain_json():
    run = PlayedRun()
    run.level(2, 5)
    snapshot = Live(run).snapshot()
    assert json.loads(msgspec.json.encode(snapshot))["levels"][0]["ttft"]["p50"] == pytest.approx(100.0, rel=0.01)
    json.dumps(snapshot, allow_nan=False)


def test_points_have_the_counts_of_their_second():
    run = PlayedRun()
    run.level(2, 4, ttft=0.1)
    run.level(4, 5, ttft=0.2)
    snapshot = Live(run).snapshot()
    assert column(snapshot, "moment") == [second + 0.5 for second in range(11)]
    assert column(snapshot, "users") == [2.0] * 5 + [4.0] * 6
    assert column(snapshot, "tokens") == pytest.approx([20.0] * 5 + [40.0] * 6)
    assert column(snapshot, "ttft_p95") == pytest.approx([100.0] * 5 + [200.0] * 6, rel=0.01)
    assert column(snapshot, "itl_p50") == pytest.approx([40.0] * 11, rel=0.01)
    assert column(snapshot, "client_cpu") == [0.2] * 11


def test_a_run_without_a_web_ui_has_points_from_the_first_snapshot_on():
    run = PlayedRun()
    run.ledger.spans = None  # as without a web UI
    run.begin(2)
    run.play(10, 2)
    live = Live(run)
    assert live.snapshot()["sent"] == 20
    run.play(5, 2)
    assert [moment for moment in column(live.snapshot(), "moment") if moment > 10] == [10.5, 11.5, 12.5, 13.5, 14.5]


def test_an_update_has_only_changed_points():
    run = PlayedRun()
    run.begin(2)
    run.play(100, 2)
    live = Live(run)
    first = live.snapshot()
    run.play(3, 2)
    update = live.snapshot(first["name"], first["changes"])
    assert len(first["points"]) == 100
    assert len(update["points"]) < 20
    assert {100, 101, 102} <= update["points"].keys()
    assert len(live.snapshot("another", first["changes"])["points"]) == 103


def test_a_second_is_shown_when_all_processes_have_reported_it():
    run = PlayedRun()
    run.lag = 4.0
    run.begin(2)
    run.play(20, 2)
    assert max(column(Live(run).snapshot(), "moment")) == 15.5


def test_a_long_request_changes_the_point_of_its_first_token():
    run = PlayedRun()
    run.begin(1)
    run.play(60, 1)
    live = Live(run)
    before = live.snapshot()
    run.worker.note_sent(5.0, "chat")
    run.worker.add(record_of([0.9, 50.0]), 5.0)
    run.play(1, 1)
    update = live.snapshot(before["name"], before["changes"])
    assert update["points"][5][COLUMNS.index("ttft_p99")] == pytest.approx(900.0, rel=0.01)
    assert update["whole_until"] < 12.0  # other requests may have been sent at the same time


def test_a_day_has_few_points_that_contain_all_requests():
    run = PlayedRun()
    run.begin(1)
    for _ in range(24 * 6):
        run.play(1, 1)
        run.at += 599.0
        run.worker.note_gauges(run.at, users=1)
    run.play(2, 1)
    snapshot = Live(run).snapshot()
    assert 300 < max(snapshot["points"]) < 600
    assert snapshot["width"] == 256
    answered = sum(ended * snapshot["width"] for ended in column(snapshot, "ended"))
    assert answered == pytest.approx(run.ledger.ended, rel=0.02)


def test_a_level_has_its_figures_and_those_of_its_names():
    run = PlayedRun()
    run.begin(2)
    run.warmup()
    run.play(10, 2, name="chat")
    run.play(10, 2, ttft=0.3, name="search")
    snapshot = Live(run).snapshot()
    (level,) = snapshot["levels"]
    assert (level["requests"], level["users"], level["in_flight"], level["errors"]) == (40, 2.0, 2.0, 0.0)
    assert [(row["name"], row["requests"]) for row in snapshot["names"]] == [("chat", 20), ("search", 20)]
    assert snapshot["names"][1]["ttft"]["p50"] == pytest.approx(300.0, rel=0.01)


def test_requests_in_flight_are_counted_by_name():
    run = PlayedRun()
    run.begin(1)
    run.warmup()
    run.play(2, 1)
    for _ in range(3):
        run.worker.note_sent(run.at, "chat")
    run.play(1, 1)
    assert Live(run).snapshot()["names"][0]["in_flight"] == 3


def test_goodput_counts_requests_that_meet_every_threshold():
    run = PlayedRun("ttft.p95 < 200ms")
    run.begin(2)
    run.warmup()
    run.play(10, 1, ttft=0.1)
    run.play(10, 1, ttft=0.3)
    (level,) = Live(run).snapshot()["levels"]
    assert level["goodput"] == pytest.approx(level["throughput"] / 2.0, rel=0.01)
    assert level["tier"] == "fails"


def test_without_thresholds_goodput_is_not_known():
    run = PlayedRun()
    run.level(2, 5)
    assert Live(run).snapshot()["levels"][0]["goodput"] is None


def test_the_four_numbers_come_with_the_levels():
    run = PlayedRun("ttft.p95 < 200ms")
    live = Live(run)
    assert live.snapshot()["numbers"] is None
    run.level(4, 30)
    run.at += 10.0
    assert live.snapshot()["numbers"]["slo_limit"]["reached"] is False
    run.level(8, 30, ttft=0.5)
    run.at += 10.0
    snapshot = live.snapshot()
    assert snapshot["judged"] == 2
    assert 4.0 <= snapshot["numbers"]["slo_limit"]["load"] <= 8.0
    assert [limit["ms"] for limit in snapshot["limits"]] == [200.0]


def test_a_level_is_judged_when_its_reports_are_in():
    run = PlayedRun()
    run.lag = 4.0
    run.level(4, 30)
    live = Live(run)
    assert live.snapshot()["judged"] == 0
    run.at += 4.0
    assert live.snapshot()["judged"] == 1


def test_after_a_reset_a_snapshot_has_only_new_requests():
    run = PlayedRun()
    run.level(2, 10, ttft=0.1)
    run.begin(4)
    run.warmup()
    run.play(10, 4, ttft=0.1)
    before = Live(run).snapshot()
    live = Live(run, resets=1)
    run.play(5, 4, ttft=0.3)
    snapshot = live.snapshot(before["name"], before["changes"])
    (level,) = snapshot["levels"]
    assert (level["level"], level["requests"], level["window"]) == (1, 20, 5.0)
    assert level["ttft"]["p50"] == pytest.approx(300.0, rel=0.01)
    assert level["throughput"] == pytest.approx(4.0)
    assert min(column(snapshot, "moment")) > before["now"]
    assert run.ledger.tally(0).outcomes["ok"] == 20  # a reset does not change the data of the files


def test_a_run_that_has_ended_is_shown_to_its_last_second():
    run = PlayedRun(plan={"levels": [2]})
    run.level(2, 5)
    run.end()
    snapshot = Live(run).snapshot()
    assert (snapshot["ended"], snapshot["stopped"], snapshot["levels_planned"]) == (True, False, 1)
    assert max(column(snapshot, "moment")) == 5.5
    assert snapshot["whole_until"] == snapshot["now"]


def test_a_snapshot_may_have_the_names_of_another_level():
    run = PlayedRun()
    run.level(2, 5)
    run.level(3, 5)
    live = Live(run)
    assert live.snapshot()["of_level"] == 1
    assert live.snapshot(level=0)["of_level"] == 0
    assert live.snapshot(level=0)["names"][0]["requests"] == 10
    assert live.snapshot(level=0)["names"][0]["in_flight"] is None


def test_the_answers_of_a_played_run_are_complete():
    assert answer(0.1).e2e == pytest.approx(0.46)


def test_invalid_levels_are_shown_with_the_reason():
    run = PlayedRun("ttft.p95 < 1s")
    run.level(2, 30)
    run.level(4, 30, cpu=0.97)
    live = Live(run)
    snapshot = live.snapshot()
    assert [doubt["levels"] for doubt in snapshot["doubts"]] == [(1,)]
    assert snapshot["doubts"][0]["says"].startswith("The load generator had too little CPU at 4 users")
    assert snapshot["numbers"]["slo_limit"]["valid"] is False


def test_a_lost_worker_is_shown_at_once_and_until_it_is_back():
    run = PlayedRun("ttft.p95 < 300ms")
    run.level(2, 30)
    run.level(4, 30, ttft=0.5)
    run.begin(8)
    live = Live(run)
    assert live.snapshot()["doubts"] == []
    run.lost = {"Worker a was lost.": [1, 2]}
    snapshot = live.snapshot()
    assert snapshot["doubts"] == [{"says": "Worker a was lost.", "levels": (1, 2)}]
    assert snapshot["numbers"]["slo_limit"]["valid"] is False
    run.lost = {}
    assert live.snapshot()["numbers"]["slo_limit"]["valid"] is True


def test_empty_answers_are_no_throughput():
    run = PlayedRun("ttft.p95 < 1s")
    run.level(2, 30)
    run.level(4, 30)
    run.level(8, 30, empty=True)
    snapshot = Live(run).snapshot()
    assert "returned no token" in snapshot["doubts"][0]["says"]
    assert "their answers were empty" in snapshot["numbers"]["knee"]["why"]


def test_levels_name_their_phase_and_a_surge_is_no_evidence_for_the_slo_limit():
    run = PlayedRun("ttft.p95 < 500ms")
    for load, ttft, phase in ((2, 0.1, "baseline"), (4, 0.1, "linear"), (9, 2.0, "surge"), (2, 0.1, "recovery")):
        run.level(load, 20, ttft=ttft, phase=phase)
    snapshot = Live(run).snapshot()
    assert [level["phase"] for level in snapshot["levels"]] == ["baseline", "linear", "surge", "recovery"]
    assert snapshot["levels"][2]["says"] == "9 users, surge"
    assert snapshot["levels"][2]["tier"] == "fails"
    assert snapshot["numbers"]["slo_limit"]["reached"] is False
    assert "up to 4 users" in snapshot["numbers"]["slo_limit"]["why"]


# -- telemetry


def reporting(run, live, seconds, **values):
    for _ in range(seconds):
        run.telemetry_now = {key.replace("__", "."): value for key, value in values.items()}
        run.play(1, 2)
        live.sample()


def test_points_have_the_telemetry_of_their_second():
    run = PlayedRun()
    run.begin(2)
    live = Live(run)
    reporting(run, live, 5, running=2.0, waiting=0.0, kv__usage=0.25, steps=9.0)
    run.telemetry_now = {}
    run.play(3, 2)
    live.sample()
    snapshot = live.snapshot()
    assert column(snapshot, "running") == [None, *[2.0] * 5, None, None]
    assert column(snapshot, "waiting")[1:6] == [0.0] * 5
    assert column(snapshot, "gpu.utilisation") == [None] * 8
    assert snapshot["telemetry"] == {}


def test_the_newest_values_are_plain_json():
    run = PlayedRun()
    run.begin(2)
    run.telemetry_now = {"running": 2.0, "server.ttft": float("nan")}
    snapshot = Live(run).snapshot()
    assert snapshot["telemetry"] == {"running": 2.0}
    json.dumps(snapshot, allow_nan=False)


def test_telemetry_of_a_long_run_is_averaged_with_the_points():
    run = PlayedRun()
    run.begin(2)
    live = Live(run)
    for second in range(1500):
        run.at = float(second)
        run.telemetry_now = {"running": 1.0 if second % 2 else 3.0}
        live.sample()
    run.at = 1600.0
    points = [value for value in column(live.snapshot(), "running") if value is not None]
    assert len(points) == 375
    assert set(points) == {2.0}


def test_a_reset_begins_telemetry_anew():
    run = PlayedRun()
    run.begin(2)
    live = Live(run)
    reporting(run, live, 4, running=2.0)
    live = Live(run, 1)
    reporting(run, live, 3, running=7.0)
    assert [value for value in column(live.snapshot(), "running") if value is not None] == [7.0] * 2


# -- faults


def test_faults_have_their_moments_in_the_run():
    run = PlayedRun()
    run.begin(2)
    window = {"name": "outage", "confirmed_began": run.began + 2.1, "problem": ""}
    run.faults = [window | {"began": run.began + 2.0, "lifted": None}, window | {"began": None, "lifted": None}]
    began = [fault["began"] for fault in Live(run).snapshot()["faults"]]
    assert began == [pytest.approx(2.0), None]


def test_without_a_plan_of_faults_there_are_none():
    run = PlayedRun()
    run.begin(2)
    assert Live(run).snapshot()["faults"] == []
