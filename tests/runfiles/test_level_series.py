"""Series inside levels, from the files of a run."""

import json

import pandas as pd
import pytest

from llmlocust.assessment.assessment import assess
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.thresholds import Threshold
from llmlocust.report.as_json import as_json
from llmlocust.report.html import html, html_in
from llmlocust.report.markdown import markdown
from llmlocust.report.summary import summary
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading.level_series import courses, lost_workers, tokens_a_chunk
from llmlocust.runfiles.reading.locate import load_run
from tests.report.made_run import EPOCH, MadeRun

LEVELS = [
    LevelFigures(0, 4.0, began=0.0, warmed_up=5.0, ended=35.0, window=30.0),
    LevelFigures(1, 8.0, began=35.0, warmed_up=40.0, ended=70.0, window=30.0),
]


def series(metric, source, labels, values):
    return [(time, source, metric, labels, value) for time, value in values]


# -- workers


def seconds(name, until):
    return [{"time": float(second), "worker": name} for second in range(until)]


def test_a_worker_is_lost_from_the_level_of_its_last_report():
    frame = pd.DataFrame(seconds("a", 70) + seconds("b", 50) + seconds("c", 10) + seconds("d", 69))
    assert lost_workers(LEVELS, frame) == {0: ["c"], 1: ["b"]}


def test_workers_that_end_with_the_run_are_not_lost():
    assert lost_workers(LEVELS, pd.DataFrame(seconds("a", 52) + seconds("b", 50))) == {}
    assert lost_workers(LEVELS, pd.DataFrame(seconds("a", 70))) == {}
    assert lost_workers(LEVELS, None) == {}


# -- requests


def requests(*, slow_until=0.0, chunks=20.0):
    """Return one request per second of 20 tokens, 10 ms apart, or 30 ms until `slow_until`."""
    rows = []
    for second in range(70):
        itl = 30.0 if second < slow_until else 10.0 + second % 2 * 0.1
        level = int(second >= 35)
        rows.append(
            {
                "level": level,
                "measured": int(second >= LEVELS[level].warmed_up),
                "sent": float(second),
                "outcome": "ok",
                "ttft": 50.0,
                "tpot": itl,
                "e2e": 50.0 + 19 * itl,
                "duration": 50.0 + 19 * itl,
                "token_source": "usage",
                "output_tokens": 20.0,
                "chunks": chunks,
            }
        )
    return pd.DataFrame(rows)


def test_the_course_of_a_level_is_of_its_measured_window():
    first, second = courses(LEVELS, requests(slow_until=14.0)).values()
    assert [course.metric for course in first] == ["ttft", "tpot"]
    assert first[0].means == pytest.approx([0.05] * 10)
    assert first[1].means == pytest.approx([0.03] * 3 + [0.01] * 7, rel=0.02)
    assert second[1].means == pytest.approx([0.01] * 10, rel=0.02)


def test_a_level_of_few_requests_has_no_course():
    assert courses(LEVELS, requests().iloc[::2]) == {0: [], 1: []}
    assert courses(LEVELS, None) == {}


def test_answers_in_one_piece_have_a_course_too():
    (course,) = courses(LEVELS, requests().assign(ttft=float("nan"), tpot=float("nan")))[0]
    assert course.metric == "e2e"


def test_tokens_per_chunk():
    assert tokens_a_chunk(requests(chunks=5.0)) == {0: 4.0, 1: 4.0}
    assert tokens_a_chunk(requests().assign(token_source="chunks")) == {}


# -- complete runs


def with_files(folder, *, info=None, workers=()):
    prefix = MadeRun(info=info).write(folder / "run")
    if workers:
        rows = [{"time": EPOCH + row["time"], "worker": row["worker"]} for row in workers]
        pd.DataFrame(rows).to_csv(f"{prefix}_{formats.WORKERS}", index=False)
    return assess(load_run(prefix))


def failed(report):
    return {check.key: check for check in report.checks if not check.ok}


def test_a_run_that_lost_a_worker_reports_which_numbers_are_valid(tmp_path):
    last = 48 * 5
    report = with_files(tmp_path, workers=seconds("a", last) + seconds("b", 30))
    assert failed(report)["lost_workers"].levels == (0,)
    validity = json.loads(as_json(report))["validity"]
    assert validity["valid_numbers"] == {"slo_limit": False, "knee": True, "saturation": True, "collapse": True}
    line = summary(report)[-1]
    assert "This affects the SLO limit, but not the knee, saturation and collapse." in line


def test_a_worker_that_paused_marks_the_level_of_its_pause(tmp_path):
    last = 48 * 5
    paused = [row for row in seconds("b", last) if not 100 < row["time"] < 110]
    report = with_files(tmp_path, workers=seconds("a", last) + paused)

    check = failed(report)["frozen_workers"]
    assert check.value == 10
    assert check.levels == (2,)
    assert "did not run for up to 10 s" in check.says
    assert "停顿" in html_in(report, "zh")[0]


def test_a_failed_check_from_run_json_marks_the_levels_that_it_names(tmp_path):
    says = (
        "Worker a:1 was lost 12 s into the run: the figures lack at least 3 of its requests (in flight at its last "
        "report), and probably about 40 more that it sent until second 13 (estimated from the rate of its last reports)."
    )
    check = {"name": "run", "ok": False, "value": None, "limit": None, "says": says, "levels": [0]}
    report = with_files(tmp_path, info={"checks": [check]})

    assert failed(report)["run"].levels == (0,)
    assert json.loads(as_json(report))["validity"]["valid_numbers"]["knee"]
    assert says not in html_in(report, "zh")[1]


def test_a_worker_that_never_reported(tmp_path):
    report = with_files(tmp_path, workers=seconds("a", 48 * 5))
    assert "Workers that never reported: 1." in failed(report)["lost_workers"].says
    assert "This affects all four numbers." in summary(report)[-1]


@pytest.mark.parametrize(
    "prompts, words", [("short", "The same 20 prompts"), ("missing.txt", "The same prompts were sent")]
)
def test_prompts_that_were_repeated(tmp_path, prompts, words):
    report = with_files(tmp_path, info={"options": {"llm_unique": False, "llm_prompts": prompts}})
    assert words in failed(report)["prefix_cache"].says


def test_tiers_in_the_report(tmp_path):
    prefix = MadeRun().write(tmp_path / "run")
    report = assess(load_run(prefix), [Threshold.parse("ttft.p95 < 132ms ~ 1s"), Threshold.parse("errors < 5%")])
    document = json.loads(as_json(report))
    tiers = [level["limits"] for level in document["levels"]]
    assert set(tiers) == {"gold", "tolerated", "fails"}
    gold, tolerated = (document["verdict"][name]["level_ok"] for name in ("gold", "slo_limit"))
    assert gold < tolerated
    assert f"gold up to {gold} users" in document["verdict"]["slo_limit"]["why"]
    assert ">tolerated</td>" in html(report)
    assert "| tolerated |" in markdown(report)
