"""The committed run and its report belong together (`python tools/sample.py again` makes the report anew)."""

import json

from llmlocust.assessment.assessment import assess
from llmlocust.report.as_json import as_json
from llmlocust.runfiles.reading.locate import load_run
from tests.simulators import ROOT

SAMPLE = ROOT / "reports" / "sample"


def test_the_samples_report_is_what_today_s_code_says_of_its_run():
    today = json.loads(as_json(assess(load_run(SAMPLE))))
    committed = json.loads((SAMPLE / "run_report.json").read_text())

    for name in ("levels", "verdict", "validity"):
        assert today[name] == committed[name]


def test_the_sample_found_the_servers_capacity():
    """`llmlocust demo` ramps a server of 120 slots."""
    capacity = json.loads((SAMPLE / "run_report.json").read_text())["verdict"]["saturation"]

    assert capacity["low"] <= 120 <= capacity["high"]
