"""A report ignores values of run.json that have another type than llmlocust writes."""

import json
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmlocust.assessment.assessment import assess
from llmlocust.assessment.gates import judge_run
from llmlocust.metrics.thresholds import Gate
from llmlocust.report import gates
from llmlocust.report.as_json import as_json
from llmlocust.report.markdown import markdown
from llmlocust.report.summary import summary
from llmlocust.runfiles.reading.errors import RunError
from llmlocust.runfiles.reading.locate import load_run
from llmlocust.text import media
from llmlocust.text.message import message, to_json
from tests.report.made_run import MadeRun

PHASES = [
    {"name": "surge", "levels": 1, "warmup": 1, "hold": 10},
    {"name": "recovery", "levels": 1, "warmup": 1, "hold": 10},
]
INFO = {
    "plan": {"unit": "users", "levels": [4, 30], "warmup": None, "hold": None, "shape": "surge", "phases": PHASES},
    "options": {"llm_threshold": "errors < 1%"},
    "ended_by": to_json(
        message("{threshold} at {load}", threshold="errors < 1%", load=message("{loads} users", loads=4))
    ),
    "stopped": True,
    "think_times": {"ChatUser": 1.0},
    "checks": [
        {"name": "run", "ok": False, "value": None, "limit": None, "says": to_json(message("lost")), "levels": [0]}
    ],
}
WRONG = st.sampled_from(
    [None, True, "text", -1, 1e308, float("nan"), 10**400, -(10**400), [], [1, "a", None], {}, {"a": [{}]}, "\ud800"]
)


def paths(value, path=()):
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inside:
        yield from paths(item, (*path, name))


def changed(value, path, wrong):
    if not path:
        return wrong
    first, *rest = path
    if isinstance(value, dict):
        return value | {first: changed(value[first], rest, wrong)}
    return [*value[:first], changed(value[first], rest, wrong), *value[first + 1 :]]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    return MadeRun(loads=(4, 30), slots=6, hold=8.0, info=INFO).write(tmp_path_factory.mktemp("run") / "x")


def report_and_gates(prefix, info):
    prefix.with_name("x_llm_run.json").write_text(json.dumps(info))
    report = assess(load_run(prefix), [])
    assert "".join(summary(report))
    assert media.document(markdown(report)) == markdown(report)
    as_json(report).encode()
    gates.as_json(judge_run(load_run(prefix), [Gate.parse("errors < 1%")])).encode()


@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_value_of_another_type_gives_a_report_or_a_one_line_error(prefix, data):
    file = prefix.with_name("x_llm_run.json")
    info = json.loads(file.read_text())
    path = data.draw(st.sampled_from(sorted(paths(info), key=str)))
    try:
        with suppress(RunError):  # a one-line error is right too
            report_and_gates(prefix, changed(info, path, data.draw(WRONG)))
    finally:
        file.write_text(json.dumps(info))


@pytest.mark.parametrize("path", [("started",), ("ended",), ("checks", 0, "value"), ("checks", 0, "limit")])
def test_a_number_that_is_too_large_is_ignored(prefix, path):
    file = prefix.with_name("x_llm_run.json")
    info = json.loads(file.read_text())
    try:
        report_and_gates(prefix, changed(info, path, 10**400))
    finally:
        file.write_text(json.dumps(info))
