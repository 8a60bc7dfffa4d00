"""The table of a conversation's turns in a report."""

from pathlib import Path

import pandas as pd
import pytest
from pages import english_in

from llmlocust.assessment.assessment import assess
from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.levels import LevelFigures, Summary
from llmlocust.metrics.rows import REQUEST_COLUMNS
from llmlocust.metrics.thresholds import Threshold
from llmlocust.report.html import html, html_in
from llmlocust.report.markdown import markdown
from llmlocust.report.sections.conversations import turns
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading.run_data import RunData

LIMITS = [Threshold.parse("ttft.p95 < 1s")]


def conversations(*names: str, loads=(5, 10, 40), fast=10) -> RunData:
    """Return a run. Each level has 20 requests of each name; the n-th name's TTFT is n times 50 ms, above `fast` 100 times
    that. One of its rows represents 19 requests, and one failed.
    """
    rows, buckets, levels = [], [], []
    for index, load in enumerate(loads):
        slow = 1.0 if load <= fast else 100.0
        summary = Summary(20, 0.1 * slow, 0.1 * slow, dict.fromkeys(("p50", "p95"), 0.1 * slow))
        levels.append(
            LevelFigures(
                index, load, requests=20 * len(names), ok=20 * len(names), window=30.0, throughput=float(load),
                metrics={"ttft": summary},
            )
        )  # fmt: skip
        for turn, name in enumerate(names, 1):
            common = {
                "level": index,
                "measured": 1,
                "name": name,
                "chunks": 20,
                "output_tokens": 20,
                "input_tokens": 100 * turn,
            }
            rows += [{**common, "outcome": "ok", "weight": 19}, {**common, "outcome": "http_503", "weight": 1}]
            rows += [
                {**common, "outcome": "aborted", "weight": 5},
                {**common, "outcome": "ok", "weight": 9, "measured": 0},
            ]
            for metric, seconds in (("ttft", 0.05 * turn * slow), ("itl", 0.01)):
                key = {"level": index, "name": name, "metric": metric}
                buckets += [{**key, "bucket": b, "count": c} for b, c in Histogram([seconds] * 19).counts.items()]
    requests = pd.DataFrame(rows, columns=[*REQUEST_COLUMNS, "ttft_due", "e2e_due"])
    tables = {formats.REQUESTS: requests, formats.HISTOGRAMS: pd.DataFrame(buckets)}
    return RunData(Path("x"), "llmlocust", levels, tables=tables)


def test_turns_are_of_the_levels_that_meet_the_thresholds():
    run = conversations(*(f"turn {n}" for n in range(1, 12)), "chat")
    table = turns(run, assess(run, LIMITS).verdict)
    assert table.top == 10
    assert [turn.name for turn in table.turns] == [f"turn {n}" for n in range(1, 12)]
    first, *_, last = table.turns
    assert (first.requests, first.errors, first.input_tokens, last.input_tokens) == (40, 0.05, 100, 1100)
    assert (first.ttft.quantile(0.5), last.ttft.quantile(0.5)) == (
        pytest.approx(0.05, rel=0.01),
        pytest.approx(0.55, rel=0.01),
    )
    assert first.itl.count == 2 * 19


def test_turns_are_of_the_lowest_level_if_none_passes_and_of_all_levels_if_all_pass():
    for fast, top in ((1, 5), (99, 40)):
        run = conversations("turn 1", "turn 2", fast=fast)
        assert turns(run, assess(run, LIMITS).verdict).top == top


def test_other_names_that_end_with_a_number_are_no_turns():
    for names in (("chat",), ("chat 1",), ("size 10", "size 20"), ("gpt-1", "gpt-2"), ("1", "2")):
        run = conversations(*names)
        assert turns(run, assess(run, LIMITS).verdict) is None


def test_the_pages_and_markdown_have_the_table_of_turns():
    report = assess(conversations("<b> 1", "<b> 2"), LIMITS)
    page = html(report).replace("\N{NO-BREAK SPACE}", " ")
    assert "Conversations by turn" in page
    assert "Requests at the levels up to 10 users. The input of each turn repeats the conversation so far." in page
    assert "&lt;b&gt; 2" in page
    assert english_in(html_in(report, "zh")[0]) == set()
    assert "2 | 40 | 5.0 % | 200 | 20 | 99.9 ms | 99.9 ms | 9.98 ms | 9.98 ms |" in markdown(report)
    assert "Conversations by turn" not in html(assess(conversations("chat"), LIMITS))
    lowest = assess(conversations("turn 1", "turn 2", fast=1), LIMITS)
    assert "Requests at 5 users. The input" in html(lowest).replace("\N{NO-BREAK SPACE}", " ")
    assert english_in(html_in(lowest, "zh")[0]) == set()
