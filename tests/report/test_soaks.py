"""The drift of soaks: from requests and telemetry to the report."""

import pytest
from faulty_run import FaultyRun
from made_telemetry import MACHINE, MadeTelemetry

from llmlocust.assessment.assessment import assess
from llmlocust.metrics.thresholds import Threshold
from llmlocust.report.as_json import data
from llmlocust.report.html import html_in
from llmlocust.report.markdown import markdown
from llmlocust.report.summary import summary
from llmlocust.runfiles.reading.locate import load_run

SOAK = {"loads": (10.0,), "hold": 900.0, "faults": ()}
LIMITS = [Threshold.parse("ttft.p95 < 500ms")]
MB = 1e6


class Leaking(MadeTelemetry):
    """Telemetry of a server whose memory grows with time, and starts anew at a restart."""

    def __init__(self, leak=0.0, swapped=0.0, **more):
        super().__init__(**more)
        self.leak, self.swapped = leak, swapped

    def _second(self, run, second, counts):
        began = self.restart if self.restart and second >= self.restart else 0.0
        leaked = self.leak * (second - began)
        others = [row for row in super()._second(run, second, counts) if row[1] != "process.memory"]
        noise = 2 * MB * run.random.random()
        return [
            *others,
            (MACHINE, "process.memory", 1e9 + leaked * (1.0 - self.swapped) + noise),
            (MACHINE, "process.swap", leaked * self.swapped),
            (MACHINE, "process.threads", 40.0),
        ]


def drift_of(folder, limits=LIMITS, **options):
    report = assess(load_run(FaultyRun(**SOAK | options).write(folder / "x")), limits)
    return report, report.soaks.drifts


def test_a_leak_is_found_per_thousand_requests(tmp_path):
    _, (soak,) = drift_of(tmp_path, telemetry=Leaking(0.5 * MB))  # a second, at about 10 requests a second
    memory, rate = soak.drifts["memory"], soak.level.requests / soak.level.window
    assert memory.is_drifting
    assert memory.slope == pytest.approx(0.5 * MB / rate * 1000.0, rel=0.03)
    assert memory.low < memory.slope < memory.high


def test_a_leak_that_is_swapped_out_is_found_all_the_same(tmp_path):
    _, (soak,) = drift_of(tmp_path, telemetry=Leaking(0.5 * MB, swapped=1.0))
    assert soak.drifts["memory"].slope == pytest.approx(50 * MB, rel=0.05)


def test_memory_after_a_restart_is_that_of_the_new_process(tmp_path):
    _, (soak,) = drift_of(tmp_path, telemetry=Leaking(0.5 * MB, restart=300.0))
    assert soak.restarts == 1
    assert soak.drifts["memory"].slope == pytest.approx(50 * MB, rel=0.05)
    assert any("Restarts of the server: 1." in sentence for sentence in soak.says)


def test_without_a_leak_the_report_gives_the_smallest_that_it_could_have_found(tmp_path):
    report, (soak,) = drift_of(tmp_path, telemetry=Leaking())
    memory = soak.drifts["memory"]
    assert not memory.is_drifting
    assert 0.0 < memory.smallest < 5 * MB
    assert "no drift above" in memory.says
    text = markdown(report)
    assert "the smallest that this run could have found" in text
    assert "no leak" not in text.lower()
    assert "Threads of the server did not change." in text


def test_a_drift_of_the_ttft_reaches_its_threshold(tmp_path):
    report, (soak,) = drift_of(tmp_path, drift=0.4)
    ttft = soak.drifts["ttft"]
    assert ttft.low < 0.4 < ttft.high
    middle, first, last = soak.hours_to_limit("ttft")
    assert first < middle < last
    assert middle == pytest.approx((0.5 - ttft.now) / 0.4, rel=0.2)
    assert "it reaches 500 ms in" in markdown(report)
    assert soak.hours_to_limit("tpot") is None


def test_the_drift_is_in_every_output(tmp_path):
    report, _ = drift_of(tmp_path, telemetry=Leaking(0.5 * MB))
    (drift,) = data(report)["drift"]
    assert (drift["level"], drift["load"], drift["phase"], drift["restarts"]) == (0, 10, None, 0)
    assert drift["figures"]["memory"]["per"] == "1,000 requests"
    assert drift["figures"]["memory"]["is_drifting"] is True
    assert any(line.startswith("Drift:") for line in summary(report))


@pytest.mark.usefixtures("text_only_pictures")
def test_the_section_is_translated(tmp_path):
    report, _ = drift_of(tmp_path, telemetry=Leaking(0.5 * MB, restart=300.0), drift=0.4)
    page, missing = html_in(report, "zh")
    assert missing == []
    assert "漂移" in page


@pytest.mark.usefixtures("text_only_pictures")
def test_a_short_level_has_no_drift_and_a_short_soak_has(tmp_path):
    report, drifts = drift_of(tmp_path, hold=120.0)
    assert drifts == []
    assert data(report)["drift"] == []
    _, drifts = drift_of(tmp_path / "soak", hold=120.0, phases=("soak",))
    assert [soak.level.phase for soak in drifts] == ["soak"]
