"""The report in the repository agrees with its run (`python tools/sample.py again` writes the report again)."""

import json

from llmlocust.assessment.assessment import assess
from llmlocust.report.as_json import as_json
from llmlocust.runfiles.reading.locate import load_run
from tests.simulators import ROOT

SAMPLE = ROOT / "reports" / "sample"


def test_the_sample_report_agrees_with_the_current_code():
    current = json.loads(as_json(assess(load_run(SAMPLE))))
    committed = json.loads((SAMPLE / "run_report.json").read_text())

    for name in ("levels", "verdict", "validity"):
        assert current[name] == committed[name]


def test_the_saturation_of_the_sample_is_the_slots_of_its_server():
    """`llmlocust demo` ramps a server of 120 slots."""
    saturation = json.loads((SAMPLE / "run_report.json").read_text())["verdict"]["saturation"]

    assert saturation["low"] <= 120 <= saturation["high"]
