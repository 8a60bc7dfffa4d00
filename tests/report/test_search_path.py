import pytest
from made_run import MadeRun
from pages import Seen

from llmlocust.assessment.assessment import assess
from llmlocust.report.charts.search_path import holds, search
from llmlocust.report.html import html, html_in
from llmlocust.runfiles.reading.locate import load_run


def tried(level, load, verdict, bracket, *, confirms=False, held=10.0):
    what = "ttft.p95 < 1s"
    told = {"level": level, "load": load, "confirms": confirms, "held": held, "verdict": verdict}
    return told | {"sure": True, "what": what, "bracket": bracket}


PATH = [
    tried(0, 5, "keeps", [5, None]),
    tried(1, 10, "keeps", [10, None]),
    tried(2, 40, "breaks", [10, 40], held=4.0),
    tried(3, 20, "open", [10, 40]),
    tried(4, 20, "keeps", [20, 40], confirms=True, held=30.0),
]
PLAN = {"unit": "users", "levels": [5, 10, 40, 20, 20], "search": {"done": True, "answer": 20, "path": PATH}}


def test_holds_follow_each_other():
    path = holds(PLAN)
    assert [(each.load, each.begin, each.end) for each in path] == [
        (5, 0, 10),
        (10, 10, 20),
        (40, 20, 24),
        (20, 24, 34),
        (20, 34, 64),
    ]
    assert (path[0].low, path[0].high) == (5, None)
    assert (path[-1].low, path[-1].high) == (20, 40)


def test_the_picture_says_what_was_found():
    made = search(PLAN, "users")
    assert made.caption == (
        "5 loads, held for 64 s in total: ✓ meets all thresholds, ✗ violates one, ? undecided. "
        "The bracket (shaded) ends at 20 to 40 users. The result is 20 users, confirmed by a last hold."
    )
    # each hold has its sign: nothing is told by colour alone
    words = "".join(Seen(made.wide).words)
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
def test_no_path_no_picture(plan):
    assert search(plan, "users") is None


def test_a_path_that_somebody_damaged_is_drawn_as_far_as_it_can_be_read():
    plan = {"search": {"answer": "x", "path": [{"load": 5, "held": 3}, {"load": 7, "held": 3, "bracket": ["a", 9, 1]}]}}
    assert [(each.load, each.low, each.high) for each in holds(plan)] == [(5, None, None), (7, None, 9)]
    assert search(plan, "rate").caption.startswith("2 loads, held for 6 s in total")


def test_the_page_of_a_search_shows_its_path_in_both_languages(tmp_path):
    run = MadeRun((5, 10, 40, 20, 20), 24, hold=10.0, warmup=2.0, told={"plan": PLAN})
    report = assess(load_run(run.write(tmp_path / "x")))
    page = html(report)
    assert page.index("The four numbers") < page.index('id="picture-search"') < page.index("What happens to a user")
    assert Seen(page).open == []
    chinese, missing = html_in(report, "zh")
    assert set(missing) <= {"time", "Clocks agree."}
    assert "上限是怎样找到的" in chinese
