"""Pages in Chinese: no English is left, and only the words differ from the English page."""

import re
from pathlib import Path

import pytest
from kinds_of_runs import LIMITS, RAMP, RUNS, WORDS_OF_THE_RUN, assessment_of
from made_run import HOSTILE
from pages import SPOKEN_ATTRIBUTES, ParsedPage, english_in

from llmlocust.assessment.assessment import assess
from llmlocust.metrics.levels import LevelFigures
from llmlocust.report.html import html, html_in
from llmlocust.runfiles.reading.locate import load_run
from llmlocust.runfiles.reading.run_data import RunData

PLAIN = Path(__file__).parent / "plain"
MODEL = "deepseek-r1 <b>8b</b>"


def english_left(assessment):
    """Return the English that is left on the Chinese page, and the templates that the catalogue lacks."""
    page, missing = html_in(assessment, "zh")
    return english_in(page, (MODEL, assessment.run.prefix.name)) | set(missing)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.usefixtures("text_only_pictures")
def test_no_text_of_a_run_stays_english(tmp_path, name):
    assert english_left(assessment_of(tmp_path, **RUNS[name])) <= WORDS_OF_THE_RUN


@pytest.mark.parametrize("name", ["full", "steps", "flat"])
def test_no_text_of_a_plain_locust_test_stays_english(name):
    assert english_left(assess(load_run(PLAIN / name))) == set()


def test_no_text_of_a_run_by_rate_stays_english():
    levels = [
        LevelFigures(0, 10.0, unit="rate", window=10.0, requests=50, ok=50, throughput=5.0),
        LevelFigures(1, 20.0, unit="rate", window=10.0, requests=50, ok=0, error_kinds={"connect": 50}, throughput=0.0),
    ]
    assert english_left(assess(RunData(Path("x"), "llmlocust", levels))) == set()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    report = assessment_of(tmp_path_factory.mktemp("run"), LIMITS, **RAMP)
    return html(report), html_in(report, "zh")[0]


def test_only_the_words_of_the_pages_differ(pages):
    english, chinese = (ParsedPage(page) for page in pages)
    assert chinese.tags == english.tags
    assert chinese.headings == english.headings
    assert ("html", "lang", "zh-Hans") in chinese.attributes
    # the labels of pictures have different widths
    texts = [ParsedPage(re.sub("<svg.*?</svg>", "", page, flags=re.DOTALL)) for page in pages]
    attributes = [
        [attribute for attribute in parsed.attributes if attribute[1] not in {"lang", *SPOKEN_ATTRIBUTES}]
        for parsed in texts
    ]
    assert attributes[0] == attributes[1]
    script = [page[page.index("<script>") :] for page in pages]
    assert script[0] == script[1]


def test_words_of_the_run_are_not_translated_and_stay_escaped(pages):
    assert HOSTILE not in pages[1]
    text = "".join(ParsedPage(pages[1]).words)
    assert HOSTILE in text
    assert "deepseek-r1 <b>8b</b>" in text


@pytest.mark.parametrize("count", [1, 40])
def test_no_text_about_contradicting_requests_stays_english(count):
    level = LevelFigures(0, 10.0, window=10.0, requests=500, ok=500, throughput=50.0, contradicting=count)
    assessment = assess(RunData(Path("x"), "llmlocust", [level]))

    assert "请求的一致性" in html_in(assessment, "zh")[0]
    assert english_left(assessment) == set()
