"""The faults of a run in its report: verdict, chapter, JSON, Markdown, and what the other figures make of them."""

import json
import math
import re
from dataclasses import replace

import pytest
from faulty_run import FAULT, NEVER, SLOW, THREE, FaultyRun, MadeFault
from made_telemetry import MadeTelemetry
from pages import ParsedPage

from llmlocust.assessment.assessment import assess
from llmlocust.metrics.levels import CUT, LEFT_OUT, USERS
from llmlocust.metrics.thresholds import Threshold
from llmlocust.report.as_json import data
from llmlocust.report.html import html, html_in
from llmlocust.report.markdown import markdown
from llmlocust.report.sections.headline import headline
from llmlocust.report.summary import summary
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading.locate import load_run

LIMITS = [Threshold.parse("ttft.p95 < 500ms"), Threshold.parse("errors < 1%")]
RAMP = {"loads": (10.0, 20.0, 40.0), "hold": 70.0}
IN_RAMP = MadeFault(120.0, 125.0, 4.0)


def assessment_of(folder, limits=(), leave_out=(), **options):
    return assess(load_run(FaultyRun(**options).write(folder / "x", leave_out=leave_out)), limits)


# -- what is measured


def test_a_fault_has_its_recovery_and_what_it_cost(tmp_path):
    (fault,) = data(assessment_of(tmp_path, LIMITS))["faults"]
    assert (fault["name"], fault["began"], fault["lifted"], fault["confirmed"]) == ("restart", 80.0, 90.0, True)
    assert fault["recovery"]["seconds"] == pytest.approx(6.0, abs=0.3)
    assert fault["recovery"]["low"] <= 6.0 <= fault["recovery"]["high"] + 0.1
    assert fault["outage"] == pytest.approx(16.0, abs=0.3)
    assert fault["lost"] == pytest.approx(16.0 * 20.0, rel=0.2)
    assert fault["lost"] == sum(fault["error_mix"].values())
    assert 0 < fault["cut_streams"] == fault["error_mix"]["truncated"]
    assert (fault["depth"], fault["metastable"]) == (1.0, False)
    assert (fault["load"], fault["levels"], fault["injection"], fault["injections"]) == (20, [0], 1, 1)


def test_a_service_that_stays_bad_is_censored_and_metastable(tmp_path):
    report = assessment_of(tmp_path, faults=(NEVER,))
    (fault,) = data(report)["faults"]
    assert fault["recovery"] == {"seconds": None, "low": fault["recovery"]["low"], "high": None, "censored": True}
    assert fault["metastable"] is True
    assert "Metastable: “restart” was over" in headline(report)


def test_a_fault_that_was_not_confirmed_is_void(tmp_path):
    report = assessment_of(tmp_path, faults=(replace(FAULT, confirmed=False),))
    (fault,) = data(report)["faults"]
    assert (fault["confirmed"], fault["lost"], fault["recovery"]["seconds"]) == (False, None, None)
    assert fault["says"].startswith("The verdict on “restart” is void")
    assert "is void" in headline(report)
    assert not re.search("fault-[^>]*-wide", html(report))


def test_repeated_injections_have_a_range(tmp_path):
    report = assessment_of(tmp_path, hold=300.0, faults=THREE)
    faults = data(report)["faults"]
    assert [fault["injection"] for fault in faults] == [1, 2, 3]
    assert [round(fault["recovery"]["seconds"]) for fault in faults] == [6, 3, 8]
    assert re.search(
        r"Recovered 2\.\d+ to 7\.\d+ s after “restart” was lifted, in 3 of 3 injections\.", headline(report)
    )


def test_a_range_with_an_injection_without_recovery_says_so(tmp_path):
    last = replace(THREE[2], recovers=math.inf)
    report = assessment_of(tmp_path, hold=300.0, faults=(*THREE[:2], last))
    assert "1 of 3 injections were not followed by a recovery while the load lasted" in headline(report)


def test_the_baseline_of_a_fault_in_a_ramp_is_the_same_level(tmp_path):
    report = assessment_of(tmp_path, **RAMP, faults=(IN_RAMP,))
    (judged,) = report.faults.reports
    level = report.faults.run.levels[1]
    assert judged.baseline.began == pytest.approx(level.warmed_up, abs=0.01)
    assert judged.baseline.rate == pytest.approx(20.0, rel=0.2)
    assert judged.recovery.seconds == pytest.approx(4.0, abs=0.3)
    assert judged.observed == pytest.approx(level.ended - judged.fault.lifted, abs=0.5)


def test_neighbouring_levels_of_one_load_are_one_load(tmp_path):
    late = MadeFault(82.0, 85.0, 2.0)  # two seconds after the second level began
    report = assessment_of(tmp_path, loads=(20.0, 20.0), hold=70.0, phases=("baseline", "soak"), faults=(late,))
    (judged,) = report.faults.reports
    assert judged.recovery.seconds == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (MadeFault(5.0, 8.0), "injected during the warm-up"),
        (MadeFault(11.0, 14.0), "fewer than 50 requests"),
        (MadeFault(900.0, 910.0), "no load when it was injected"),
    ],
)
def test_a_fault_without_a_baseline_says_why_nothing_is_known(tmp_path, fault, reason):
    (judged,) = assessment_of(tmp_path, faults=(fault,)).faults.reports
    assert "cannot be determined" in judged.says
    assert reason in judged.says


def test_a_fault_whose_load_ended_first_has_lost_requests_and_no_recovery(tmp_path):
    report = assessment_of(tmp_path, faults=(MadeFault(150.0, 172.0, 5.0),))
    (judged,) = report.faults.reports
    assert judged.recovery.seconds is None
    assert judged.lost > 300
    assert "the load changed or ended before the fault was lifted" in judged.says


def test_without_a_requests_file_the_report_says_what_is_missing(tmp_path):
    report = assessment_of(tmp_path, LIMITS, leave_out=(formats.REQUESTS,))
    assert "The files of the run have no requests" in headline(report)
    (fault,) = data(report)["faults"]
    assert fault["recovery"]["seconds"] is None


def test_a_closed_load_says_what_it_hides(tmp_path):
    report = assessment_of(tmp_path, unit=USERS)
    assert "The load was closed: users who wait for an answer send nothing." in markdown(report)


def test_thresholds_decide_which_requests_are_good(tmp_path):
    slow = replace(FAULT, kind=SLOW)
    (strict,) = assessment_of(tmp_path, LIMITS, faults=(slow,)).faults.reports
    (loose,) = assessment_of(tmp_path, [Threshold.parse("ttft.p95 < 60s")], faults=(slow,)).faults.reports
    assert strict.depth == 1.0
    assert loose.depth < 0.1  # slow, but not above 60 s
    assert strict.lost == loose.lost == 0.0


HEALING = {"loads": (20.0, 16.0, 12.0, 8.0), "hold": 130.0, "phases": ("faults", *["healing"] * 3)}


@pytest.mark.parametrize(("heals_at", "load"), [(12.0, 12), (4.0, None)])
def test_a_metastable_service_heals_at_a_lower_load_or_not(tmp_path, heals_at, load):
    report = assessment_of(tmp_path, **HEALING, faults=(replace(NEVER, lifted=85.0, heals_at=heals_at),))
    (fault,) = data(report)["faults"]
    assert fault["metastable"] is True
    assert (fault["healing"]["tried"], fault["healing"]["load"]) == ([16, 12, 8], load)
    assert ("It healed when the load was lowered to 12 requests/s" in fault["says"]) is (load is not None)


# -- what the other figures make of a fault


def test_the_figures_of_a_level_with_a_fault_are_those_before_it(tmp_path):
    report = assessment_of(tmp_path, LIMITS)
    (level,) = report.levels
    assert level.fault == CUT
    assert level.errors == 0.0
    assert 60.0 < level.window < 70.0
    assert level.throughput == pytest.approx(20.0, rel=0.1)
    assert report.is_valid
    assert "A fault was injected at 20 requests/s: the figures there are those of the requests before it." in markdown(
        report
    )
    assert report.result(level) == "passes"


def test_only_the_level_with_the_fault_changes(tmp_path):
    with_fault = assessment_of(tmp_path, LIMITS, **RAMP, faults=(IN_RAMP,))
    without = assessment_of(tmp_path / "without", LIMITS, **RAMP, faults=())
    assert [level.fault for level in with_fault.levels] == ["", CUT, ""]
    assert with_fault.levels[0] == without.levels[0]
    assert with_fault.verdict.slo_limit.why.startswith("not reached up to 40 requests/s")
    assert with_fault.is_valid


def test_levels_after_a_fault_without_recovery_are_left_out(tmp_path):
    report = assessment_of(tmp_path, LIMITS, **RAMP, faults=(replace(IN_RAMP, recovers=math.inf),))
    assert [level.fault for level in report.levels] == ["", CUT, LEFT_OUT]
    assert report.verdict.slo_limit.why.startswith("not reached up to 20 requests/s")
    assert report.result(report.levels[2]) == "not known"
    assert "A fault leaves nothing of 40 requests/s to judge" in markdown(report)
    assert [check.key for check in report.checks if not check.ok] == []


def test_a_run_of_which_a_fault_leaves_nothing_has_only_the_verdict_on_the_fault(tmp_path):
    report = assessment_of(tmp_path, LIMITS, faults=(MadeFault(10.5, 20.0, math.inf),))
    assert [level.fault for level in report.levels] == [LEFT_OUT]
    assert headline(report).startswith("The recovery from “restart” cannot be determined")
    assert ParsedPage(html(report)).open == []


def test_levels_that_were_computed_from_their_requests_have_faults_too(tmp_path):
    report = assessment_of(tmp_path, hold=200.0, leave_out=(formats.LEVELS,))
    (judged,) = report.faults.reports
    assert judged.recovery.seconds == pytest.approx(6.0, abs=0.3)
    assert [level.fault for level in report.levels] == [CUT]


def test_the_same_injection_twice_in_a_damaged_file_is_reported_twice(tmp_path):
    report = assessment_of(tmp_path, faults=(FAULT, FAULT))
    assert [fault["injection"] for fault in data(report)["faults"]] == [1, 2]
    assert ParsedPage(html(report)).open == []


# -- the outputs


@pytest.mark.usefixtures("text_only_pictures")
def test_a_fault_has_a_chapter_with_a_picture(tmp_path):
    page = html(assessment_of(tmp_path, LIMITS, telemetry=MadeTelemetry()))
    words = " ".join(ParsedPage(page).words)
    assert "Fault: restart" in re.sub(r"\s+", " ", words)
    for text in ("time to recover", "lost requests", "wrong", "good requests, by due time", "requests on the server"):
        assert (text in words) is (text != "wrong")
    assert "the process with the id 4711 was gone" in words.lower()
    assert ParsedPage(page).open == []


@pytest.mark.usefixtures("text_only_pictures")
def test_a_run_without_a_fault_has_no_chapter(tmp_path):
    report = assessment_of(tmp_path, LIMITS, faults=())
    page = html(report)
    assert 'class="fault' not in page
    assert data(report)["faults"] == []
    assert "Fault" not in markdown(report)
    assert not any(line.startswith("Fault") for line in summary(report))


def test_every_output_has_the_result(tmp_path):
    report = assessment_of(tmp_path, LIMITS)
    assert any(line.startswith("Fault:") and "Recovered 5.9" in line for line in summary(report))
    text = markdown(report)
    assert "## Fault: restart" in text
    assert re.search(r"\| time to recover \| 5\.9\d s \(5\.\d+ to 6\.\d+ s\) \|", text)
    assert "| no connection |" in text
    json.dumps(data(report))


@pytest.mark.usefixtures("text_only_pictures")
@pytest.mark.parametrize("faults", [(FAULT,), (NEVER,), THREE, (replace(FAULT, confirmed=False),)])
def test_a_chapter_is_translated(tmp_path, faults):
    page, missing = html_in(assessment_of(tmp_path, hold=300.0, faults=faults), "zh")
    assert missing == []
    assert "故障：" in page


@pytest.mark.usefixtures("text_only_pictures")
def test_names_of_faults_are_escaped(tmp_path):
    hostile = replace(FAULT, name="<script>alert(1)</script> $x_y$ | `", number='"><i>')
    report = assessment_of(tmp_path, faults=(hostile,))
    assert "<script>alert" not in html(report)
    assert "<script>" not in markdown(report)
