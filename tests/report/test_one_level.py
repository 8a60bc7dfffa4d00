"""The report of a run of one level has figures, but no breaking point."""

import random
import re

import pytest
from made_run import MadeRun

from llmlocust.assessment.assessment import assess
from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.levels import LevelFigures, Summary
from llmlocust.metrics.thresholds import Threshold
from llmlocust.report.html import html
from llmlocust.report.sections import one_level
from llmlocust.report.summary import summary
from llmlocust.runfiles.reading.locate import load_run

COUNTED = {"plan": {"unit": "users", "levels": [20], "warmup": None, "hold": None, "requests": 400}}


def assessment_of(folder, *thresholds, info=COUNTED, **options):
    options = {"loads": (20,), "slots": 24, "hold": 40.0, "warmup": 0.0} | options
    run = load_run(MadeRun(**options, info=info).write(folder / "run"))
    return assess(run, [Threshold.parse(text) for text in thresholds])


def level(values, failed=0, window=10.0):
    histogram = Histogram()
    histogram.extend(values)
    return LevelFigures(
        0,
        20.0,
        window=window,
        requests=len(values) + failed,
        ok=len(values),
        throughput=len(values) / window,
        metrics={"e2e": Summary.of(histogram)},
    )


@pytest.mark.usefixtures("text_only_pictures")
def test_the_page_of_one_level_has_figures_instead_of_the_four_numbers(tmp_path):
    page = html(assessment_of(tmp_path))

    assert "The level in figures" in page
    assert "The four numbers" not in page
    assert "The verdict in one picture" not in page
    for word in ("Throughput", "First token", "End to end", "Errors"):
        assert f"<h3>{word}</h3>" in page
    assert "Not reached up to 20\N{NO-BREAK SPACE}users" in page
    assert "No thresholds were given" in page


def test_the_pictures_need_no_second_level(tmp_path):
    page = html(assessment_of(tmp_path))

    assert "Latency against load" not in page
    assert "Tokens against load" not in page
    assert "Distributions by level" in page


@pytest.mark.usefixtures("text_only_pictures")
def test_given_thresholds_are_judged(tmp_path):
    met = assessment_of(tmp_path / "kept", "ttft.p95 < 10s")
    violated = assessment_of(tmp_path / "broken", "ttft.p95 < 1ms")

    assert summary(met)[0].startswith("Met every threshold at the only level, up to 20 users")
    assert summary(violated)[0].startswith("Not safe at 20 users: p95 TTFT")
    assert "<code>ttft.p95 &lt; 10s</code>" in html(met)


def test_the_summary_has_the_figures(tmp_path):
    report = assessment_of(tmp_path)
    lines = summary(report)

    pattern = r"20 users: .+ requests/s, .+ tokens/s, first token within .+ \(p95\), \d+ of \d+ requests failed\."
    assert re.fullmatch(pattern, lines[0])
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "Requests/s", "Output tokens/s", "TTFT", "ITL", "TPOT", "end to end", "Errors", "Validity",
    ]  # fmt: skip


def test_the_advice_is_more_requests_and_not_a_longer_hold(tmp_path):
    report = assessment_of(tmp_path, hold=2.0)

    text = " ".join([*(check.says for check in report.checks), *(item.do for item in report.advice)])
    assert "(--requests)" in text
    assert "--hold)" not in text.replace("hold the level for a time (--hold)", "")


def test_the_summary_of_a_stopped_run_has_its_number_of_requests(tmp_path):
    report = assessment_of(tmp_path, info=COUNTED | {"stopped": True})

    assert summary(report)[0].endswith(f"The run was stopped early, after {report.levels[0].requests} of 400 requests.")


@pytest.mark.parametrize(
    "ok, failed, interval", [(200, 0, "0 to 1.9 %"), (180, 20, "6.6 to 15 %"), (0, 20, "84 to 100 %")]
)
def test_errors_have_wilsons_interval(ok, failed, interval):
    assert one_level.errors(level([1.0] * ok, failed)).interval == interval


def test_intervals_contain_their_figure_and_narrow_with_more_requests():
    generator = random.Random(3)

    def width(count):
        figures = level([generator.lognormvariate(0.0, 0.5) for _ in range(count)])
        card = one_level.latency(figures, "e2e", "p95")
        low, high = (float(end.split()[0]) for end in card.interval.split(" to "))
        assert low < figures.metric("e2e")["p95"] < high
        return high / low

    assert width(100) > width(3000) > 1.1  # the standard error is at least 3 %


def test_a_percentile_of_few_requests_has_no_upper_end():
    assert one_level.latency(level([1.0 + n / 100 for n in range(200)]), "e2e", "p99").interval.endswith("or more")
    assert " to " in one_level.latency(level([1.0 + n / 400 for n in range(400)]), "e2e", "p99").interval


def test_a_level_without_success_has_its_errors():
    figures = LevelFigures(0, 5.0, window=10.0, requests=40, ok=0, error_kinds={"connect": 40}, throughput=0.0)

    assert [card["name"] for card in one_level.cards(figures)] == ["Errors"]
    assert one_level.cards(figures)[0]["number"] == "100 %"
    assert one_level.percentiles(figures) == ([], [])
