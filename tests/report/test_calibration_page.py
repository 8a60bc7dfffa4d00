"""The page of a calibration, from points whose errors are known."""

import json
import math
import re
from dataclasses import replace

import pytest
from made_calibration import POINTS, UNKNOWN, point

from llmlocust.calibration.errors import Point, verdict
from llmlocust.calibration.page import as_json, html, pictures

MACHINE = {"Measured": "today", "Processor": "<one> & only"}


def rows(page: str) -> list[str]:
    return re.findall(r"<tr>\s*<th scope=.row.*?</tr>", page, re.DOTALL)


def test_the_page_begins_with_the_verdict_and_has_a_row_for_every_load():
    page = html(POINTS[::-1], MACHINE)  # the order of measurement does not matter

    title = " ".join(re.search(r"<h1.*?</span>(.*?)</h1>", page, re.DOTALL)[1].split())
    assert title.replace("\N{NO-BREAK SPACE}", " ") == verdict(POINTS)
    assert "p99 ITL was 0.40\N{NO-BREAK SPACE}ms too long and the mean TTFT 0.80\N{NO-BREAK SPACE}ms too long" in page
    assert [re.search(r"class=.load.>(\d+)<", row)[1] for row in rows(page)] == ["10", "100", "200", "300"]
    assert [row.count("✗") for row in rows(page)] == [0, 0, 2, 2]
    assert "&lt;one&gt; &amp; only" in page


def test_errors_that_are_too_large_are_red_crosses_in_the_curve():
    only_ttft = point(25_000, 0.00099)
    only_ttft = replace(only_ttft, measured=replace(only_ttft.measured, ttft_mean=0.0521))
    curve, *_ = pictures([*POINTS, only_ttft])

    assert "Red crosses" in curve.caption
    for drawn in (curve.wide, curve.narrow):
        assert len(re.findall(r"<use [^>]*fill: var\(--s4\)", drawn)) == 2 * 2 + 1
    assert "Red crosses" not in pictures(POINTS[:2])[0].caption


@pytest.mark.parametrize(
    "points, figures",
    [
        (POINTS[:1], 3),
        ([point(1.0, -5.0), point(2.0, 5000.0)], 3),
        ([UNKNOWN, *POINTS], 3),
        ([UNKNOWN], 0),
    ],
    ids=["one", "wild", "one without an answer", "none with an answer"],
)
def test_any_points_make_a_page(points, figures):
    page = html(points, MACHINE)

    assert page.count("<figure ") == figures
    assert len(rows(page)) == len(points)
    assert "nan" not in re.sub("<[^>]*>", "", page)


def test_an_unknown_cost_has_no_picture():
    short = Point(100, 0.01, 500.0, POINTS[0].true, POINTS[0].measured, math.nan, math.nan, 0.001, 0.0)

    assert [picture.name for picture in pictures([short])] == ["error", "lateness"]


def test_json_has_milliseconds_and_null_for_unknown_figures():
    document = json.loads(as_json([*POINTS, UNKNOWN], MACHINE))

    assert document["verdict"]["says"] == verdict([*POINTS, UNKNOWN])
    assert document["machine"] == MACHINE
    second, last = document["points"][1], document["points"][-1]
    assert (second["true"]["itl_p99"], second["measured"]["itl_p99"], second["itl"]) == (12.0, 12.4, 10.0)
    assert (second["cpu_per_token"], second["lag_p99"], second["accurate"]) == (0.02, 1.5, True)
    assert (last["true"]["itl_p99"], last["cpu_per_token"], last["accurate"]) == (None, None, False)
    best = json.loads(as_json(POINTS, MACHINE))["verdict"]
    assert (best["tokens_per_s"], best["streams"]) == (10_000, 100)
