"""What a report shows of telemetry: the table by level, the picture over time, sources and events."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_run import EPOCH, MadeRun
from made_telemetry import MadeTelemetry
from pages import english_in

from llmlocust.analysis.breakpoints.steps import Finding, Status
from llmlocust.assessment.assessment import assess
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.telemetry import VOCABULARY, TelemetryEvent, TelemetrySource, TelemetrySummary
from llmlocust.metrics.thresholds import Threshold
from llmlocust.report.as_json import as_json
from llmlocust.report.charts.telemetry import line_of, moments_of_numbers
from llmlocust.report.html import html, html_in
from llmlocust.report.markdown import markdown
from llmlocust.report.sections.level_table import columns
from llmlocust.report.sections.telemetry import (
    brief,
    cell_of,
    event_line,
    events_shown,
    groups,
    more_events,
    not_exposed,
    source_line,
)
from llmlocust.report.summary import summary
from llmlocust.runfiles.reading.locate import load_run
from llmlocust.runfiles.reading.run_data import RunData
from llmlocust.text.message import message

WITHOUT = ("tokens_per_step", "cached_share", "server.prefill", "gpu.tensor_active")
LIMITS = ("ttft.p95 < 1s", "kv.usage < 90%", "server.queue.p95 < 500ms", "process.memory < 20e9", "waiting < 10")


def observed(folder, *, limits=LIMITS, loads=(5, 20, 60), telemetry=None, **options):
    telemetry = telemetry or MadeTelemetry(silent=(61, 69), restart=40, without=WITHOUT)
    run = MadeRun(loads, hold=20.0, warmup=4.0, telemetry=telemetry, **options).write(folder / "x")
    return assess(load_run(run), [Threshold.parse(limit) for limit in limits])


@pytest.fixture(scope="module")
def assessment(tmp_path_factory):
    return observed(tmp_path_factory.mktemp("observed"))


def rows_of(assessment):
    return {row.key: row for group in groups(assessment) for row in group.rows}


# -- the table by level


def test_a_row_for_each_exposed_main_metric(assessment):
    rows = rows_of(assessment)
    assert [str(group.name) for group in groups(assessment)] == ["server", "GPUs", "machine"]
    assert [cell.value for cell in rows["waiting"].cells][:2] == ["0", "0"]
    assert rows["kv.usage"].cells[2].value == "95 %"
    assert rows["process.memory"].cells[0].value == "12.5 GiB"
    assert rows["network.retransmits"].cells[0].value == "0/s"
    assert not {"server.prefill", "finished", "gpu.power_limit"} & rows.keys()


def test_metrics_that_no_source_exposes_are_in_one_line(assessment):
    line = "Not exposed: prompt tokens from the prefix cache, tokens per step, prefill time and tensor cores active."
    assert not_exposed(assessment) == line


def test_a_part_that_no_source_exposes_is_named_once_with_the_reason(tmp_path):
    one = observed(tmp_path, telemetry=MadeTelemetry(gpu=False, without=WITHOUT))
    says = message("it has no GPU")
    one.run.sources.append(TelemetrySource("gpus", "nvml", state="not exposed", says=says))
    assert not_exposed(one).endswith("prefill time and all metrics of GPUs. gpus: It has no GPU.")


@pytest.mark.parametrize(
    "key, summary, text",
    [
        ("waiting", None, "–"),
        ("waiting", TelemetrySummary(9, 0.0, max=0.0), "0"),
        ("waiting", TelemetrySummary(9, 2.5, max=31.0), "2.5 (max 31)"),
        ("kv.usage", TelemetrySummary(9, 0.94, max=0.9401), "94 %"),
        ("preemptions", TelemetrySummary(9, 0.0, increase=0.0), "0/s"),
        ("preemptions", TelemetrySummary(9, 1.45, increase=58.0), "1.45/s (58 in total)"),
        ("restarts", TelemetrySummary(9, 0.02, increase=1.0), "1"),
        ("server.queue", TelemetrySummary(9, 0.4, p95=0.45, p95_bounds=(0.3, 0.5)), "400 ms (p95 300 to 500 ms)"),
        ("server.queue", TelemetrySummary(9, 0.4, p95_bounds=(0.5, 2.5)), "400 ms (p95 500 ms to 2.5 s)"),
        ("server.queue", TelemetrySummary(9, 70.0, p95_bounds=(60.0, math.inf)), "70 s (p95 above 60 s)"),
        ("server.queue", TelemetrySummary(9, 0.4, p95=0.7), "400 ms (p95 700 ms)"),
        ("server.queue", TelemetrySummary(0, increase=0.0), "–"),
        ("process.cpu", TelemetrySummary(9, 1.0, max=2.5), "1 core (max 2.5 cores)"),
    ],
)
def test_zero_is_not_a_dash_and_a_percentile_has_the_bounds_of_its_bucket(key, summary, text):
    assert str(cell_of(key, summary)) == text


def test_the_verdict_names_telemetry_in_words(assessment):
    why = assessment.verdict.slo_limit.why
    assert "KV cache in use 80 % → 95 %" in why
    assert "p95 time in the server's queue 0 ms → 2.5 s" in why
    assert "requests waiting 0 → 36" in why


def test_thresholds_on_telemetry_have_the_unit_of_their_metric(assessment):
    shown = {column.head: column.cells for column in columns(assessment) if column.group == "telemetry"}
    assert shown["kv.usage"][2] == "95 %"
    assert " to " in shown["server.queue.p95"][2]
    assert shown["process.memory"] == ["12.5 GiB"] * 3
    assert shown["waiting"][0] == "0"


# -- events and sources


def test_events_have_their_time_and_level(assessment):
    lines = [event_line(event, assessment.run, "users") for event in assessment.run.events]
    assert lines == [
        "0:40, at 20 users: vllm restarted; its counters began anew.",
        "1:01, at 60 users: vllm did not answer for 8 s.",
    ]
    late = TelemetryEvent(EPOCH + 4000.0, "restart", "x")
    assert event_line(late, assessment.run, "users") == "1:06:40: x restarted; its counters began anew."
    assert event_line(late, RunData(assessment.run.prefix, "llmlocust"), "users").startswith("–: x")


def test_many_events_are_counted(assessment):
    many = [TelemetryEvent(EPOCH + second, "restart", "x") for second in range(50)]
    run = replace(assessment.run, events=many)
    assert len(events_shown(run)) == 20
    assert more_events(run) == "30 more events are in the files."
    assert more_events(assessment.run) == ""


def test_a_source_says_what_it_is_and_how_often_it_answered(assessment):
    lines = [source_line(source) for source in assessment.run.sources]
    assert lines[0] == "vLLM 0.33.0, http://gpu-1:8000/metrics: 208 of 208 scrapes answered, 4 ms each."
    assert source_line(TelemetrySource("a", "")) == "a: Answered."


# -- the page


def test_the_page_shows_telemetry_and_its_picture(assessment):
    page = html(assessment)
    for text in ("Telemetry", "Telemetry over the run", "KV cache in use", "no answer", "Solid lines"):
        assert text in page


def test_a_page_without_telemetry_does_not_mention_it(tmp_path):
    page = html(assess(load_run(MadeRun((2, 4), hold=10.0).write(tmp_path / "x"))))
    assert 'id="telemetry"' not in page


def test_a_source_that_never_answered_is_on_the_page(tmp_path):
    source = {"name": "a", "url": "http://a/metrics", "engine": None, "state": "failed", "says": "connection refused"}
    info = {"telemetry": {"sources": [source], "events": []}}
    page = html(assess(load_run(MadeRun((2, 4), hold=10.0, info=info).write(tmp_path / "x"))))
    assert "Connection refused." in page
    assert "Telemetry over the run" not in page


@pytest.mark.usefixtures("text_only_pictures")
def test_no_text_of_telemetry_stays_english(tmp_path):
    one = observed(tmp_path, telemetry=MadeTelemetry(silent=(61, 69), restart=40, failed=message("answered")))
    page, missing = html_in(one, "zh")
    names = ("deepseek-r1 <b>8b</b>", "vllm", "KV", "TCP", "GiB", "MHz", *LIMITS)
    left = {text for text in english_in(page, names) if "< " not in text}
    assert left | set(missing) <= {"time", "Clocks agree."}


# -- lines over time


def series(source, times, values, labels=""):
    cells = {"time": times, "source": source, "metric": "running", "labels": labels, "value": values}
    return pd.DataFrame(cells)


def values_of(*frames, key="running", end=20.0, points=20):
    frame = pd.concat(frames, ignore_index=True).assign(metric=key)
    return line_of(frame, key, end, points)[1]


def test_a_time_without_answers_stays_empty():
    times = [*np.arange(0.5, 8.0), *np.arange(14.5, 20.0)]
    values = values_of(series("a", times, [2.0] * len(times)))
    assert np.isnan(values[9:14]).all()
    assert (values[:8] == 2.0).all()
    assert (values[14:] == 2.0).all()


def test_a_slow_exporter_has_no_gaps_of_its_own():
    values = values_of(series("a", [0.5, 5.5, 10.5, 15.5], [1.0, 2.0, 3.0, 4.0]))
    assert not np.isnan(values).any()
    assert values[7] == 2.0


def test_a_sum_needs_all_its_series():
    always = series("a", np.arange(0.5, 20.0), [1.0] * 20)
    times = [*np.arange(0.5, 5.0), *np.arange(10.5, 15.0)]
    gone = series("b", times, [3.0] * len(times))
    values = values_of(always, gone)
    assert values[2] == 4.0
    assert np.isnan(values[7])
    assert values[18] == 1.0  # the second has ended


def test_a_maximum_and_a_mean_take_what_is_known():
    always = series("a", np.arange(0.5, 20.0), [0.2] * 20)
    early = series("b", np.arange(0.5, 5.0), [0.6] * 5)
    assert list(values_of(always, early, key="kv.usage")[[2, 18]]) == [0.6, 0.2]
    assert list(values_of(always, early, key="gpu.utilisation")[[2, 18]]) == pytest.approx([0.4, 0.2])


def test_rows_of_all_sources_are_not_added_to_those_of_one():
    one, total = (series(source, np.arange(0.5, 20.0), [value] * 20) for source, value in (("a", 2.0), ("", 5.0)))
    assert values_of(one, total)[3] == 5.0


def test_a_long_run_has_few_points():
    times = np.arange(0.5, 86400.0, 30.0)
    values = values_of(series("a", times, [1.0] * len(times)), end=86400.0, points=200)
    assert len(values) == 200
    assert not np.isnan(values).any()


# -- the four numbers on the time axis


class Numbers:
    """A verdict with one number."""

    def __init__(self, status, load):
        self.finding = Finding(status, "", load)

    def numbers(self):
        return {"knee": self.finding}


LEVELS = [LevelFigures(n, load, began=100.0 * n, ended=100.0 * n + 90.0) for n, load in enumerate((10.0, 20.0, 40.0))]


@pytest.mark.parametrize(
    "load, moment", [(None, 0.0), (5.0, 0.0), (10.0, 100.0), (15.0, 100.0), (20.0, 200.0), (40.0, 290.0)]
)
def test_a_number_is_where_the_load_rises_above_it(load, moment):
    assert moments_of_numbers(Numbers(Status.REACHED, load), LEVELS) == {"knee": moment}


def test_a_number_that_was_not_reached_is_not_marked():
    assert moments_of_numbers(Numbers(Status.NOT_REACHED, None), LEVELS) == {}
    assert moments_of_numbers(Numbers(Status.REACHED, 5.0), []) == {}


# -- JSON, Markdown and the terminal


def test_json_has_each_key_of_the_vocabulary_or_null(assessment):
    report = json.loads(as_json(assessment))
    reported = report["levels"][2]["telemetry"]
    assert list(reported) == list(VOCABULARY)
    assert reported["kv.usage"] == dict.fromkeys(("mean", "min", "max", "p50", "p95"), 0.95)
    assert reported["tokens_per_step"] is None
    tokens = report["levels"][0]["telemetry"]["generation_tokens"]
    assert tokens["mean"] == pytest.approx(tokens["increase"] / 20, rel=1e-6)
    assert reported["server.queue"]["p95_bounds"] == [2500, 5000]  # milliseconds
    assert reported["server.queue"]["mean"] > 1000.0
    sources, events = report["telemetry"]["sources"], report["telemetry"]["events"]
    assert [source["engine"] for source in sources] == ["vLLM 0.33.0", "NVIDIA H100 80GB", "llmlocust observe"]
    assert events[0] == {"time": EPOCH + 40, "kind": "restart", "source": "vllm", "seconds": 0, "says": ""}


def test_json_is_null_if_nothing_was_observed(tmp_path):
    report = json.loads(as_json(assess(load_run(MadeRun((2, 4), hold=10.0).write(tmp_path / "x")))))
    assert report["telemetry"] is None
    assert [level["telemetry"] for level in report["levels"]] == [None, None]


def test_markdown_has_the_metrics_events_and_sources(assessment):
    text = markdown(assessment)
    assert re.search(r"\| KV cache in use \| \d+ % \| 80 % \| 95 % \|", text)
    assert "- 0:40, at 20 users: vllm restarted; its counters began anew." in text
    assert "- vLLM 0.33.0, http://gpu-1:8000/metrics: 208 of 208 scrapes answered, 4 ms each." in text


def test_the_summary_has_one_line_at_the_highest_load(assessment, tmp_path):
    (line,) = [line for line in summary(assessment) if line.startswith("Server:")]
    assert line.startswith("Server:    at 60 users: 24 running, 36")
    assert line.endswith("KV cache 95 %, GPU 98 %, CPU 22 %, busiest process 1.2 cores, memory 12.5 GiB")
    bare = replace(assessment, run=replace(assessment.run, sources=[TelemetrySource("a", "", says="refused")]))
    bare.run.levels = [replace(level, telemetry={}) for level in bare.run.levels]
    assert brief(bare) == "Refused."
    bare.run.sources = []
    assert brief(bare) == ""


@pytest.mark.parametrize(
    "more, fails, says",
    [
        (1.0, False, "requests in the measured windows, and"),
        (0.33, False, "One of about 3 replicas"),
        (3.0, True, "Other clients use it"),
    ],
)
def test_the_counts_of_the_server_are_checked(tmp_path, more, fails, says):
    one = observed(tmp_path, telemetry=MadeTelemetry(more=more))
    (check,) = [check for check in one.checks if check.key == "server_counts"]
    assert check.ok is not fails
    assert says in check.says
    assert one.is_valid is not fails
