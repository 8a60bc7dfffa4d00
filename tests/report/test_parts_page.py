"""The phases of a plan in a report."""

import csv
import json

import pytest
from made_run import MadeRun
from pages import Seen

from llmlocust.assessment.assessment import assess
from llmlocust.metrics.thresholds import Threshold
from llmlocust.report.as_json import data
from llmlocust.report.html import html
from llmlocust.report.markdown import markdown
from llmlocust.report.sections.headline import headline
from llmlocust.report.summary import summary
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading.locate import load_run
from llmlocust.runfiles.reading.run_json import phases_planned

LIMITS = [Threshold.parse("ttft.p95 < 1s"), Threshold.parse("errors < 1%")]
PROGRESSIVE = {
    "loads": (6, 6, 12, 20, 60, 6, 12),
    "phases": ("baseline", "linear", "linear", "linear", "surge", "recovery", "soak"),
    "hold": 30.0,
}
SURGE = {"loads": (6, 60, 6), "phases": ("baseline", "surge", "recovery"), "hold": 40.0}
SOAK = {"loads": (10,), "phases": ("soak",), "hold": 120.0}


def made(folder, how, limits=(), leave_out=(), **more):
    return assess(load_run(MadeRun(**how, **more).write(folder / "x", leave_out=leave_out)), limits)


def test_every_part_has_a_row_and_what_came_later_is_in_none_of_the_four_numbers(tmp_path):
    report = made(tmp_path, PROGRESSIVE, LIMITS)
    told = data(report)
    assert [phase["name"] for phase in told["phases"]] == ["baseline", "linear", "surge", "recovery", "soak"]
    assert [phase["levels"] for phase in told["phases"]] == [[0], [1, 2, 3], [4], [5], [6]]
    assert sum(phase["requests"] for phase in told["phases"]) == sum(each.requests for each in report.levels)
    assert told["phases"][2]["ttft_p95"] == pytest.approx(told["levels"][4]["ttft"]["p95"], rel=1e-4)
    assert [each["phase"] for each in told["levels"]] == list(PROGRESSIVE["phases"])
    assert told["verdict"]["slo_limit"]["reached"] is False  # 60 users break it, but in the surge
    assert told["verdict"]["slo_limit"]["why"].startswith("not reached up to 20 users")
    assert "In the surge of 60 users: ttft.p95 < 1s and errors < 1% not met." in headline(report)


def test_the_p95_of_a_part_is_that_of_all_its_requests(tmp_path):
    report = made(tmp_path, PROGRESSIVE, LIMITS)
    rows = report.run.successes()
    of_part = rows[rows["level"].isin([1, 2, 3])]["ttft"]
    assert data(report)["phases"][1]["ttft_p95"] == pytest.approx(float(of_part.quantile(0.95)), rel=0.03)


def test_the_time_to_be_well_is_when_the_queue_of_the_surge_was_gone(tmp_path):
    run = MadeRun(**SURGE)
    report = assess(load_run(run.write(tmp_path / "x")), LIMITS)
    (found,) = data(report)["recoveries"]
    over = run.levels[2].began
    slow = [row["sent"] - over for row in run.rows if row["level"] == 2 and (row["ttft"] or 9e9) > found["limit"]]
    assert (found["after"], found["load"], found["well"]) == ("surge", 60, True)
    assert 0 < found["low"] <= found["seconds"] <= found["high"] < found["within"]
    # the queue's last request is slow; a slow one now and then comes long after
    assert any(found["low"] <= each * 1000.0 + 1.0 and each * 1000.0 <= found["high"] for each in slow)
    assert "after the surge." in headline(report)


def test_a_run_without_a_ramp_tells_its_parts_and_no_four_numbers(tmp_path):
    report = made(tmp_path, SURGE, LIMITS)
    page, text = html(report), markdown(report)
    assert "The four numbers</h2>" not in page
    assert "Knee" not in text
    assert [line.split(":")[0] for line in summary(report)[1:4]] == ["baseline", "surge", "recovery"]
    assert "Safe up to" not in headline(report)
    assert not any(each.do.startswith("Raise the load") for each in report.advice)
    for name in SURGE["phases"]:
        assert f"| {name} |" in text
    assert Seen(page).open == []


def test_a_soak_is_judged_by_limits_that_were_given_and_never_by_its_own(tmp_path):
    told = made(tmp_path, SOAK, LIMITS)
    assert headline(told) == "In the soak of 10 users for 2 min: every threshold was met."
    assert [each for each in told.phases.says if each.endswith("nothing drifted.")]
    alone = made(tmp_path, SOAK)
    assert "no thresholds were given (--threshold)" in headline(alone)
    assert data(alone)["verdict"]["slo_limit"]["reached"] is False


def test_parts_survive_without_the_levels_file(tmp_path):
    report = made(tmp_path, SURGE, LIMITS, leave_out=(formats.LEVELS,))
    assert [each.phase for each in report.levels] == list(SURGE["phases"])
    assert [phase["name"] for phase in data(report)["phases"]] == list(SURGE["phases"])
    whole = made(tmp_path / "whole", SURGE, LIMITS)
    found, known = (data(each)["recoveries"][0] for each in (report, whole))
    assert found["seconds"] == pytest.approx(known["seconds"], abs=500.0)
    assert found["within"] == pytest.approx(known["within"], abs=5000.0)


def test_a_levels_file_of_before_has_no_parts(tmp_path):
    prefix = MadeRun(loads=(2, 4), hold=10.0).write(tmp_path / "x")
    path = tmp_path / f"x_{formats.LEVELS}"
    with path.open(newline="") as file:
        rows = [{name: cell for name, cell in row.items() if name != "phase"} for row in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    report = assess(load_run(prefix))
    assert [each.phase for each in report.levels] == ["", ""]
    assert data(report)["phases"] == data(report)["recoveries"] == []
    assert "The phases of the run" not in html(report)


def test_a_level_that_was_cut_short_is_held_against_the_time_of_its_own_part(tmp_path):
    report = made(tmp_path, SURGE, LIMITS, last_hold=10.0)
    check = next(each for each in report.checks if each.key == "run_completed")
    assert "held 10 of 40 s" in check.says
    assert check.levels == (2,)


@pytest.mark.parametrize(
    "phases", [3, [3], [{}], [{"name": "soak", "levels": -1}], [{"levels": 10**12}], [{"levels": "many"}], {"a": 1}]
)
def test_parts_that_make_no_sense_are_none(tmp_path, phases):
    assert phases_planned({"phases": phases}) == []
    prefix = MadeRun(**SURGE).write(tmp_path / "x")
    path = tmp_path / f"x_{formats.RUN}"
    told = json.loads(path.read_text())
    told["plan"]["phases"] = phases
    path.write_text(json.dumps(told))
    told = data(assess(load_run(prefix)))["phases"]
    assert [phase["name"] for phase in told] == list(SURGE["phases"])  # the levels file says so


def test_a_name_of_a_part_is_text_and_nothing_else(tmp_path):
    name = "<b>$x^2$</b> & </svg>"
    report = made(tmp_path, {**SURGE, "phases": ("baseline", name, "recovery")})
    page = html(report)
    assert Seen(page).open == []
    assert name not in page
    assert [phase["name"] for phase in data(report)["phases"]][1] == name
