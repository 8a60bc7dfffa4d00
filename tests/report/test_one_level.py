"""The report of a run of one level: its figures, and nothing of where a server breaks."""

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


def made(folder, *thresholds, told=COUNTED, **how):
    how = {"loads": (20,), "slots": 24, "hold": 40.0, "warmup": 0.0} | how
    run = load_run(MadeRun(**how, told=told).write(folder / "run"))
    return assess(run, [Threshold.parse(each) for each in thresholds])


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


@pytest.mark.usefixtures("undrawn")
def test_its_page_has_figures_where_others_have_the_four_numbers(tmp_path):
    page = html(made(tmp_path))

    assert "The level in figures" in page
    assert "The four numbers" not in page
    assert "The verdict in one picture" not in page
    for word in ("Throughput", "First token", "End to end", "Errors"):
        assert f"<h3>{word}</h3>" in page
    assert "Not reached up to 20\N{NO-BREAK SPACE}users" in page
    assert "No thresholds were given" in page


def test_its_pictures_need_no_second_level(tmp_path):
    page = html(made(tmp_path))

    assert "Latency against load" not in page
    assert "Tokens against load" not in page
    assert "Distributions by level" in page


@pytest.mark.usefixtures("undrawn")
def test_limits_that_were_given_are_judged(tmp_path):
    kept = made(tmp_path / "kept", "ttft.p95 < 10s")
    broken = made(tmp_path / "broken", "ttft.p95 < 1ms")

    assert summary(kept)[0].startswith("Met every threshold at the only level, up to 20 users")
    assert summary(broken)[0].startswith("Not safe at 20 users: p95 TTFT")
    assert "<code>ttft.p95 &lt; 10s</code>" in html(kept)


def test_a_terminal_is_told_the_figures(tmp_path):
    report = made(tmp_path)
    told = summary(report)

    said = r"20 users: .+ requests/s, .+ tokens/s, first token within .+ \(p95\), \d+ of \d+ requests failed\."
    assert re.fullmatch(said, told[0])
    assert [line.partition(":")[0] for line in told[1:]] == [
        "Requests/s", "Output tokens/s", "TTFT", "ITL", "TPOT", "end to end", "Errors", "Validity",
    ]  # fmt: skip


def test_what_it_advises_is_more_requests_and_not_a_longer_hold(tmp_path):
    report = made(tmp_path, hold=2.0)

    said = " ".join([*(each.says for each in report.checks), *(each.do for each in report.advice)])
    assert "(--requests)" in said
    assert "--hold)" not in said.replace("hold the level for a time (--hold)", "")


def test_a_run_that_was_stopped_says_after_how_many_requests(tmp_path):
    report = made(tmp_path, told=COUNTED | {"stopped": True})

    assert summary(report)[0].endswith(f"The run was stopped early, after {report.levels[0].requests} of 400 requests.")


@pytest.mark.parametrize(
    "ok, failed, interval", [(200, 0, "0 to 1.9 %"), (180, 20, "6.6 to 15 %"), (0, 20, "84 to 100 %")]
)
def test_errors_have_wilsons_interval(ok, failed, interval):
    assert one_level.errors(level([1.0] * ok, failed)).interval == interval


def test_intervals_hold_their_figure_and_narrow_with_more_requests():
    source = random.Random(3)

    def width(many):
        figures = level([source.lognormvariate(0.0, 0.5) for _ in range(many)])
        told = one_level.latency(figures, "e2e", "p95")
        low, high = (float(each.split()[0]) for each in told.interval.split(" to "))
        assert low < figures.metric("e2e")["p95"] < high
        return high / low

    assert width(100) > width(3000) > 1.1  # never better known than 3 % of standard error


def test_a_percentile_of_few_requests_has_no_upper_end():
    assert one_level.latency(level([1.0 + n / 100 for n in range(200)]), "e2e", "p99").interval.endswith("or more")
    assert " to " in one_level.latency(level([1.0 + n / 400 for n in range(400)]), "e2e", "p99").interval


def test_a_level_without_success_has_its_errors():
    figures = LevelFigures(0, 5.0, window=10.0, requests=40, ok=0, error_kinds={"connect": 40}, throughput=0.0)

    assert [card["name"] for card in one_level.cards(figures)] == ["Errors"]
    assert one_level.cards(figures)[0]["number"] == "100 %"
    assert one_level.percentiles(figures) == ([], [])
