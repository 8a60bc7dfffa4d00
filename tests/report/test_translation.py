"""Pages in Chinese: no English is left, and all else is as on the English page."""

import re
from pathlib import Path

import pytest
from kinds_of_runs import LIMITS, OF_THE_RUN, RAMP, RUNS, made
from made_run import HOSTILE
from pages import SPOKEN, Seen, english_in

from llmlocust.assessment.assessment import assess
from llmlocust.metrics.levels import LevelFigures
from llmlocust.report.html import html, html_in
from llmlocust.runfiles.reading.locate import load_run
from llmlocust.runfiles.reading.run_data import RunData

PLAIN = Path(__file__).parent / "plain"
MODEL = "deepseek-r1 <b>8b</b>"


def left_of(assessment):
    """The English that is left on the page in Chinese, and the templates that the catalogue lacks."""
    page, missing = html_in(assessment, "zh")
    return english_in(page, (MODEL, assessment.run.prefix.name)) | set(missing)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.usefixtures("undrawn")
def test_nothing_of_a_run_stays_english(tmp_path, name):
    assert left_of(made(tmp_path, **RUNS[name])) <= OF_THE_RUN


@pytest.mark.parametrize("name", ["full", "steps", "flat"])
def test_nothing_of_a_plain_locust_test_stays_english(name):
    assert left_of(assess(load_run(PLAIN / name))) == set()


def test_nothing_of_a_run_by_rate_stays_english():
    levels = [
        LevelFigures(0, 10.0, unit="rate", window=10.0, requests=50, ok=50, throughput=5.0),
        LevelFigures(1, 20.0, unit="rate", window=10.0, requests=50, ok=0, error_kinds={"connect": 50}, throughput=0.0),
    ]
    assert left_of(assess(RunData(Path("x"), "llmlocust", levels))) == set()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    report = made(tmp_path_factory.mktemp("run"), LIMITS, **RAMP)
    return html(report), html_in(report, "zh")[0]


def test_the_page_is_the_same_but_for_its_words(pages):
    english, chinese = (Seen(page) for page in pages)
    assert chinese.tags == english.tags
    assert chinese.headings == english.headings
    assert ("html", "lang", "zh-Hans") in chinese.attributes
    texts = [Seen(re.sub("<svg.*?</svg>", "", page, flags=re.DOTALL)) for page in pages]  # labels have other widths
    kept = [[each for each in seen.attributes if each[1] not in {"lang", *SPOKEN}] for seen in texts]
    assert kept[0] == kept[1]
    script = [page[page.index("<script>") :] for page in pages]
    assert script[0] == script[1]


def test_words_of_the_run_are_left_and_stay_text(pages):
    assert HOSTILE not in pages[1]
    text = "".join(Seen(pages[1]).words)
    assert HOSTILE in text
    assert "deepseek-r1 <b>8b</b>" in text


@pytest.mark.parametrize("many", [1, 40])
def test_nothing_of_requests_that_contradict_themselves_stays_english(many):
    level = LevelFigures(0, 10.0, window=10.0, requests=500, ok=500, throughput=50.0, contradicting=many)
    assessment = assess(RunData(Path("x"), "llmlocust", [level]))

    assert "请求的一致性" in html_in(assessment, "zh")[0]
    assert left_of(assessment) == set()
