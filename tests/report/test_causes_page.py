"""The causes on the page, in Markdown and in JSON."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pages import english_in

from llmlocust.assessment.assessment import assess
from llmlocust.metrics.levels import LevelFigures, Summary
from llmlocust.metrics.telemetry import TelemetrySource, TelemetrySummary
from llmlocust.metrics.thresholds import Threshold
from llmlocust.report.as_json import as_json
from llmlocust.report.html import html, html_in
from llmlocust.report.markdown import markdown
from llmlocust.runfiles.reading.run_data import RunData

SLOTS = 8
SERVER = TelemetrySource(
    "server:8000", "http://server:8000/metrics", "vLLM 0.33.0", settings={"max_num_seqs": "8"}, exposes=("running",)
)


def durations(seconds):
    quantiles = {"p50": seconds, "p90": seconds, "p95": seconds, "p99": seconds}
    return Summary(600, seconds, seconds, quantiles, dict.fromkeys(quantiles, (seconds * 0.97, seconds * 1.03)))


def level(place, users):
    """Return a level of a server with 8 places, each request taking 2 s."""
    inside = min(users, SLOTS)
    throughput = inside / 2.0
    wait = (users - inside) / throughput
    gauges = {"running": inside, "running.limit": SLOTS, "waiting": users - inside, "kv.usage": 0.3}
    times = {"server.queue": wait, "server.prefill": 0.05, "server.ttft": wait + 0.05, "server.tpot": 0.02}
    return LevelFigures(
        place, float(users), users=float(users), window=60.0, requests=round(60 * throughput), ok=round(60 * throughput),
        throughput=throughput, output_tokens=98.0,
        metrics={"ttft": durations(wait + 0.05), "e2e": durations(wait + 2.0), "tpot": durations(0.02)},
        telemetry={
            key: (TelemetrySummary(60, value, value, value, value, value),) for key, value in (gauges | times).items()
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def assessment():
    levels = [level(place, users) for place, users in enumerate((2, 4, 8, 16, 32))]
    run = RunData(Path("x"), "llmlocust", levels, sources=[SERVER])
    return assess(run, [Threshold.parse("ttft.p95 < 500ms")])


def test_json_has_the_cause_of_each_number_with_its_evidence(assessment):
    verdict = json.loads(as_json(assessment))["verdict"]
    cause = verdict["slo_limit"]["cause"]
    assert (cause["key"], cause["degree"]) == ("slots", "shown")
    assert cause["says"] == "Requests wait for a place in the batch: the server runs no more than 8 at once."
    running = next(evidence for evidence in cause["evidence"] if evidence["metric"] == "running")
    assert running["source"] == "vLLM 0.33.0 (server:8000)"
    assert running["says"] == "8 requests run at 16 users; the limit is 8."
    assert {"key": "kv_cache", "says": "The KV cache is used up to 30 % at 16 users."} in cause["excluded"]
    assert verdict["collapse"]["cause"]["key"] is None
    assert verdict["collapse"]["cause"]["degree"] == "unknown"


def test_the_page_and_markdown_name_the_cause_its_evidence_and_the_excluded_alternatives(assessment):
    for text in (html(assessment).replace("\N{NO-BREAK SPACE}", " "), markdown(assessment)):
        assert "Limiting factors" in text
        assert "limit of concurrent requests" in text
        assert "shown by the data" in text
        assert "8 requests run at 16 users; the limit is 8." in text
        assert "Excluded by the data" in text


def test_the_advice_names_the_option_of_the_engine_with_its_present_value(assessment):
    text = markdown(assessment)
    assert "In vLLM: raise --max-num-seqs (now 8)." in text.replace("\\", "")


def test_a_run_by_the_owner_of_its_models_gets_the_option_of_that_server(assessment):
    run = replace(assessment.run, sources=[], info={"preflight": {"owned_by": "sglang"}})
    text = markdown(assess(run, [Threshold.parse("ttft.p95 < 500ms")])).replace("\\", "")
    assert "In SGLang: raise --max-running-requests (now 8)." in text


def test_a_run_without_a_ramp_has_no_limiting_factors(assessment):
    alone = RunData(Path("x"), "llmlocust", assessment.levels[:1])
    assert "Limiting factors" not in markdown(assess(alone))


def test_no_text_about_causes_stays_english(assessment):
    page, missing = html_in(assessment, "zh")
    assert missing == []
    assert english_in(page, ("x", "server:8000", "max-num-seqs")) == set()
