"""The phases of a run in a report."""

import csv
import json

import pytest
from made_run import MadeRun
from pages import ParsedPage

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


def assessment_of(folder, options, limits=(), leave_out=(), **more):
    return assess(load_run(MadeRun(**options, **more).write(folder / "x", leave_out=leave_out)), limits)


def test_every_phase_has_a_row_and_the_four_numbers_leave_out_phases_after_the_ramp(tmp_path):
    report = assessment_of(tmp_path, PROGRESSIVE, LIMITS)
    document = data(report)
    assert [phase["name"] for phase in document["phases"]] == ["baseline", "linear", "surge", "recovery", "soak"]
    assert [phase["levels"] for phase in document["phases"]] == [[0], [1, 2, 3], [4], [5], [6]]
    assert sum(phase["requests"] for phase in document["phases"]) == sum(level.requests for level in report.levels)
    assert document["phases"][2]["ttft_p95"] == pytest.approx(document["levels"][4]["ttft"]["p95"], rel=1e-4)
    assert [level["phase"] for level in document["levels"]] == list(PROGRESSIVE["phases"])
    assert document["verdict"]["slo_limit"]["reached"] is False  # 60 users violate it, but in the surge
    assert document["verdict"]["slo_limit"]["why"].startswith("not reached up to 20 users")
    assert "In the surge of 60 users: ttft.p95 < 1s and errors < 1% not met." in headline(report)


def test_the_p95_of_a_phase_is_that_of_all_its_requests(tmp_path):
    report = assessment_of(tmp_path, PROGRESSIVE, LIMITS)
    rows = report.run.successes()
    of_phase = rows[rows["level"].isin([1, 2, 3])]["ttft"]
    assert data(report)["phases"][1]["ttft_p95"] == pytest.approx(float(of_phase.quantile(0.95)), rel=0.03)


def test_recovery_is_when_the_queue_of_the_surge_is_empty(tmp_path):
    run = MadeRun(**SURGE)
    report = assess(load_run(run.write(tmp_path / "x")), LIMITS)
    (recovery,) = data(report)["recoveries"]
    surge_end = run.levels[2].began
    slow = [
        row["sent"] - surge_end for row in run.rows if row["level"] == 2 and (row["ttft"] or 9e9) > recovery["limit"]
    ]
    assert (recovery["after"], recovery["load"], recovery["well"]) == ("surge", 60, True)
    assert 0 < recovery["low"] <= recovery["seconds"] <= recovery["high"] < recovery["within"]
    # the last request of the queue is slow; single slow requests may come much later
    assert any(recovery["low"] <= seconds * 1000.0 + 1.0 and seconds * 1000.0 <= recovery["high"] for seconds in slow)
    assert "after the surge." in headline(report)


def test_a_run_without_a_ramp_has_phases_instead_of_the_four_numbers(tmp_path):
    report = assessment_of(tmp_path, SURGE, LIMITS)
    page, text = html(report), markdown(report)
    assert "The four numbers</h2>" not in page
    assert "Knee" not in text
    assert [line.split(":")[0] for line in summary(report)[1:4]] == ["baseline", "surge", "recovery"]
    assert "Safe up to" not in headline(report)
    assert not any(item.do.startswith("Raise the load") for item in report.advice)
    for name in SURGE["phases"]:
        assert f"| {name} |" in text
    assert ParsedPage(page).open == []


def test_a_soak_is_judged_only_by_given_thresholds(tmp_path):
    given = assessment_of(tmp_path, SOAK, LIMITS)
    assert headline(given) == "In the soak of 10 users for 2 min: every threshold was met."
    assert [
        sentence
        for sentence in given.phases.says
        if sentence.endswith("no certain change by more than a factor of 1.2.")
    ]
    derived = assessment_of(tmp_path, SOAK)
    assert "no thresholds were given (--threshold)" in headline(derived)
    assert data(derived)["verdict"]["slo_limit"]["reached"] is False


def test_phases_are_known_without_the_levels_file(tmp_path):
    report = assessment_of(tmp_path, SURGE, LIMITS, leave_out=(formats.LEVELS,))
    assert [level.phase for level in report.levels] == list(SURGE["phases"])
    assert [phase["name"] for phase in data(report)["phases"]] == list(SURGE["phases"])
    complete = assessment_of(tmp_path / "whole", SURGE, LIMITS)
    recovery, expected = (data(assessment)["recoveries"][0] for assessment in (report, complete))
    assert recovery["seconds"] == pytest.approx(expected["seconds"], abs=500.0)
    assert recovery["within"] == pytest.approx(expected["within"], abs=5000.0)


def test_a_levels_file_without_phases_has_none(tmp_path):
    prefix = MadeRun(loads=(2, 4), hold=10.0).write(tmp_path / "x")
    path = tmp_path / f"x_{formats.LEVELS}"
    with path.open(newline="") as file:
        rows = [{name: cell for name, cell in row.items() if name != "phase"} for row in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    report = assess(load_run(prefix))
    assert [level.phase for level in report.levels] == ["", ""]
    assert data(report)["phases"] == data(report)["recoveries"] == []
    assert "The phases of the run" not in html(report)


def test_a_level_that_was_cut_short_is_compared_with_the_hold_of_its_phase(tmp_path):
    report = assessment_of(tmp_path, SURGE, LIMITS, last_hold=10.0)
    check = next(candidate for candidate in report.checks if candidate.key == "run_completed")
    assert "held 10 of 40 s" in check.says
    assert check.levels == (2,)


@pytest.mark.parametrize(
    "phases", [3, [3], [{}], [{"name": "soak", "levels": -1}], [{"levels": 10**12}], [{"levels": "many"}], {"a": 1}]
)
def test_invalid_phases_in_run_json_are_ignored(tmp_path, phases):
    assert phases_planned({"phases": phases}) == []
    prefix = MadeRun(**SURGE).write(tmp_path / "x")
    path = tmp_path / f"x_{formats.RUN}"
    info = json.loads(path.read_text())
    info["plan"]["phases"] = phases
    path.write_text(json.dumps(info))
    found_phases = data(assess(load_run(prefix)))["phases"]
    assert [phase["name"] for phase in found_phases] == list(SURGE["phases"])  # from the levels file


def test_the_name_of_a_phase_is_escaped(tmp_path):
    name = "<b>$x^2$</b> & </svg>"
    report = assessment_of(tmp_path, {**SURGE, "phases": ("baseline", name, "recovery")})
    page = html(report)
    assert ParsedPage(page).open == []
    assert name not in page
    assert [phase["name"] for phase in data(report)["phases"]][1] == name
