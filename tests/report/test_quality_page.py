"""The quality of answers in a report: the share of right answers, and whether it falls under load."""

import csv
import math
from pathlib import Path

import pytest
from made_run import MadeRun
from pages import english_in

from llmlocust.assessment.assessment import assess
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.rows import REQUEST_COLUMNS
from llmlocust.report.as_json import data
from llmlocust.report.html import html, html_in
from llmlocust.report.markdown import markdown
from llmlocust.report.sections.level_table import columns
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading.locate import load_run
from llmlocust.runfiles.reading.run_data import RunData

FEWER = "Fewer right answers under load: 96 % at 5 users, 70 % at 40"


def report_of(*levels):
    levels_of_run = [
        LevelFigures(index, load, requests=400, ok=400, window=30.0, throughput=load * 0.8, **shares)
        for index, (load, shares) in enumerate(levels)
    ]
    return assess(RunData(Path("x"), "llmlocust", levels_of_run))


@pytest.fixture
def judged():
    flaws = {"empty": 0.0, "repeated": 0.0}
    return report_of(
        (5, {"judged": 400, "right": 0.96, "cut": 0.1, **flaws}),
        (40, {"judged": 400, "right": 0.7, "cut": 0.12, **flaws}),
    )


def test_a_page_reports_whether_answers_get_worse(judged):
    page = html(judged).replace("\N{NO-BREAK SPACE}", " ")
    assert FEWER in page
    assert "No certain sign of more answers cut at the limit of tokens under load: 10 % at 5 users, 12 % at 40" in page
    assert FEWER in markdown(judged)


def test_the_table_has_a_column_for_each_kind_of_answer_in_the_run(judged):
    cells = {column.head: column.cells for column in columns(judged) if column.group == "answers"}
    assert cells == {"right": ["96 %", "70 %"], "cut": ["10 %", "12 %"]}


def test_the_data_has_the_shares(judged):
    level = data(judged)["levels"][1]
    assert {name: level[name] for name in ("judged", "right", "cut", "empty")} == {
        "judged": 400, "right": 0.7, "cut": 0.12, "empty": 0
    }  # fmt: skip


def test_no_text_about_answers_stays_english(judged):
    flawed = report_of(
        (1, {"empty": 0.0, "repeated": 0.0, "cut": 0.2}), (9, {"empty": 0.2, "repeated": 0.2, "cut": 0.2})
    )
    for report in (judged, flawed):
        assert english_in(html_in(report, "zh")[0]) == set()


def test_a_run_without_shares_of_answers_does_not_mention_them():
    page = html(report_of((5, {}), (40, {})))
    assert "under load:" not in page
    assert not [column for column in columns(report_of((5, {}), (40, {}))) if column.group == "answers"]


def test_levels_rebuilt_from_requests_have_their_shares_of_answers(tmp_path):
    prefix = MadeRun(loads=(2, 4), slots=24, hold=10.0, warmup=2.0).write(
        tmp_path / "x", leave_out=(formats.LEVELS, formats.HISTOGRAMS)
    )
    path = tmp_path / f"x_{formats.REQUESTS}"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row |= {"right": ("1", "0", "")[number % 3], "finish": "length" if number % 2 else "stop"}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, REQUEST_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)

    for level in load_run(prefix).levels:
        of_level = [row for row in rows if row["level"] == str(level.level) and row["measured"] == "1"]
        judged = [row["right"] for row in of_level if row["right"]]
        assert level.judged == len(judged) > 0
        assert level.right == pytest.approx(judged.count("1") / len(judged))
        assert level.cut == pytest.approx(sum(row["finish"] == "length" for row in of_level) / len(of_level))
        assert math.isnan(level.empty)
