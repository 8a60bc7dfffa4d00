"""The words about a lost worker, from its reports and the schedule."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.plugin.cluster.lost import Due, WorkerState


def state(*pieces: tuple[float, int, int]) -> WorkerState:
    """A worker by its pieces: moment, requests sent, requests ended."""
    worker = WorkerState("a:1", has_reported=True)
    for moment, sent, ended in pieces:
        worker.add(moment, sent, ended)
    return worker


STEADY = state((3, 90, 80), (6, 90, 90), (9, 90, 90))


@pytest.mark.parametrize(
    "worker, until, more, words",
    [
        (STEADY, 73, {}, "at least 10 of its requests (in flight at its last report), and probably about 1900 more"),
        (STEADY, 10, {}, "probably about 30 more that it sent until second 10 (estimated from the rate of its last reports)"),
        (STEADY, 8, {}, "probably about 0 more"),
        (STEADY, 73, {"quota": 300}, "probably about 30 more"),
        (STEADY, 73, {"quota": 200}, "probably about 0 more"),
        (STEADY, 73, {"due": Due(412.0, "its share of the trace")}, "about 410 more that it sent until second 73"),
        (STEADY, 73, {"due": Due(412.0, "its share of the rate")}, "(estimated from its share of the rate)"),
        (state((3, 18, 12)), 73, {}, "at least 6 of its requests (in flight at its last report), and those that"),
        (state((3, 18, 12)), 73, {"due": Due(70.0, "its share of the rate")}, "probably about 70 more"),
        (state(), 73, {}, "(their number is not known)"),
        (state((3, 90, 90), (6, 90, 90), (9, 0, 0)), 19, {}, "probably about 150 more"),
    ],
)  # fmt: skip
def test_what_the_figures_lack(worker, until, more, words):
    assert words in worker.missing(until, **more)


def test_reports_that_come_at_once_after_a_cut_make_no_rate():
    burst = state((3, 90, 90), (6, 90, 90), (26, 90, 90), (26.1, 510, 510))
    assert 25 < burst.rate < 35


@given(
    rate=st.integers(0, 500),
    users=st.integers(0, 50),
    reports=st.integers(2, 30),
    silence=st.floats(0, 60),
)
def test_of_a_steady_load_what_is_known_and_what_is_likely_are_what_was_lost(rate, users, reports, silence):
    """A worker sends at a steady rate, has its users' requests in flight, and sends on while it is away."""
    worker = state(
        *((3.0 * number, 3 * rate, 3 * rate) for number in range(1, reports)),
        (3.0 * reports, 3 * rate + users, 3 * rate),
    )
    known, likely = map(int, re.findall(r"(\d+) (?:of|more)", worker.missing(3.0 * reports + silence)))
    lost = users + rate * silence
    assert known == users
    assert known <= lost + 1e-6
    assert abs(known + likely - lost) <= 0.06 * lost + 1 + users * silence / 3
