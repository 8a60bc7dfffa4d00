import warnings

import pytest
from kinds_of_runs import WORDS_OF_THE_RUN
from made_run import MadeRun
from pages import ParsedPage, english_in

from llmlocust.assessment.assessment import assess
from llmlocust.report.charts.search_path import holds, search
from llmlocust.report.html import html, html_in
from llmlocust.report.languages.catalogue import Catalogue, messages_of
from llmlocust.report.languages.page_language import in_language
from llmlocust.runfiles.reading.locate import load_run


def path_entry(level, load, verdict, bracket, *, confirms=False, held=10.0):
    entry = {"level": level, "load": load, "confirms": confirms, "held": held, "verdict": verdict}
    return entry | {"sure": True, "limited_by": "ttft.p95 < 1s", "bracket": bracket}


PATH = [
    path_entry(0, 5, "meets", [5, None]),
    path_entry(1, 10, "meets", [10, None]),
    path_entry(2, 40, "violates", [10, 40], held=4.0),
    path_entry(3, 20, "open", [10, 40]),
    path_entry(4, 20, "meets", [20, 40], confirms=True, held=30.0),
]
PLAN = {"unit": "users", "levels": [5, 10, 40, 20, 20], "search": {"done": True, "answer": 20, "path": PATH}}


def test_holds_have_consecutive_times_and_their_brackets():
    path = holds(PLAN)
    assert [(hold.load, hold.begin, hold.end) for hold in path] == [
        (5, 0, 10),
        (10, 10, 20),
        (40, 20, 24),
        (20, 24, 34),
        (20, 34, 64),
    ]
    assert (path[0].low, path[0].high) == (5, None)
    assert (path[-1].low, path[-1].high) == (20, 40)


def test_the_picture_of_a_search_has_its_result():
    picture = search(PLAN, "users")
    assert picture.caption == (
        "5 loads, held for 64 s in total: ✓ meets all thresholds, ✗ violates one, ? undecided. "
        "The bracket (shaded) ends at 20 to 40 users. The result is 20 users, confirmed by a last hold."
    )
    # each hold has its sign: colour is not the only distinction
    words = "".join(ParsedPage(picture.wide).words)
    assert (words.count("✓"), words.count("✗"), words.count("?")) == (3 + 1, 1 + 1, 1 + 1)


@pytest.mark.parametrize(
    "plan",
    [
        {},
        {"search": None},
        {"search": {"path": 3}},
        {"search": {"path": [None, "x", {"load": "many", "held": 3}, {"load": 5, "held": -1}, {"load": 0, "held": 9}]}},
    ],
)
def test_without_a_path_there_is_no_picture(plan):
    assert search(plan, "users") is None


def test_the_readable_entries_of_a_damaged_path_are_drawn():
    plan = {"search": {"answer": "x", "path": [{"load": 5, "held": 3}, {"load": 7, "held": 3, "bracket": ["a", 9, 1]}]}}
    assert [(hold.load, hold.low, hold.high) for hold in holds(plan)] == [(5, None, None), (7, None, 9)]
    assert search(plan, "rate").caption.startswith("2 loads, held for 6 s in total")


def test_the_page_of_a_search_shows_its_path_in_both_languages(tmp_path):
    run = MadeRun((5, 10, 40, 20, 20), 24, hold=10.0, warmup=2.0, info={"plan": PLAN})
    report = assess(load_run(run.write(tmp_path / "x")))
    page = html(report)
    assert page.index("The four numbers") < page.index('id="picture-search"') < page.index("What happens to a user")
    assert ParsedPage(page).open == []
    chinese, missing = html_in(report, "zh")
    assert missing == []
    assert english_in(chinese, ["deepseek-r1 <b>8b</b>"]) <= WORDS_OF_THE_RUN
    assert "上限是怎样找到的" in chinese


def test_a_picture_in_chinese_has_every_glyph():
    with in_language(Catalogue(messages_of("zh"), "zh-Hans")), warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = search(PLAN, "users")
    for drawn in (picture.wide, picture.narrow):
        assert english_in(drawn) == set()
        assert "5 个负载，共保持 64\N{NO-BREAK SPACE}s：✓ 满足所有阈值" in drawn
