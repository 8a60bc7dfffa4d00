"""A short run of tests/fuzz.py, always the same; `python -m tests.fuzz` goes on from there."""

import pytest

from tests.fuzz import ENDLESS_ANSWERS, Case, Endpoint, Server, check, fuzz, small_bodies


def test_hostile_answers_end_in_one_outcome_and_the_user_goes_on():
    outcomes = fuzz(seed=1, count=400)

    assert sum(outcomes.values()) == 400
    assert {"ok", "bad_stream", "truncated", "reset", "error_event", "http_4xx", "http_5xx"} <= set(outcomes)


@pytest.mark.parametrize("name", ENDLESS_ANSWERS)
def test_what_has_no_end_is_given_up(name):
    first, again = ENDLESS_ANSWERS[name]
    server = Server()
    with small_bodies():
        record = check(server, Endpoint(server.url), Case((first,), again=again))

    assert record.outcome == {"a refusal": "http_5xx", "a page": "bad_stream"}.get(name, "too_large")
