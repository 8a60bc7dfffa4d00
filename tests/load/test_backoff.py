"""When a client's SDK tries a request again, and how long it waits before."""

import pytest

from llmlocust.load.backoff import OPENAI, TOKEN, Backoff
from llmlocust.stream.record import Record
from llmlocust.stream.timeline import Timeline

SDK = Backoff()


def test_the_default_is_that_of_the_sdk():
    assert Backoff.parse(OPENAI) == SDK


@pytest.mark.parametrize(
    ("text", "backoff"),
    [
        ("1s", Backoff(initial=1.0)),
        ("0s", Backoff(initial=0.0)),
        ("250ms x1", Backoff(initial=0.25, factor=1.0)),
        ("1 s x 3 max 60s jitter 50 %", Backoff(1.0, 3.0, 60.0, 0.5)),
        ("1S X3 retry-after 60s until token", Backoff(1.0, 3.0, max_retry_after=60.0, until=TOKEN)),
    ],
)
def test_parts_after_the_first_may_be_left_out(text, backoff):
    assert Backoff.parse(text) == backoff


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "write it like '0.5s x2 max 8s"),
        ("0.5", "write it like '0.5s x2 max 8s"),
        ("1s until end", "write it like '0.5s x2 max 8s"),
        ("1s x0.5", "the factor must be 1 or more"),
        ("10s", "the maximum of 8 s is below the first wait: write '10s x2 max 20s'"),
        ("1s jitter 101%", "the jitter must be 100 % or less"),
    ],
)
def test_a_notation_that_is_not_valid_is_refused_in_one_line(text, problem):
    with pytest.raises(ValueError, match=problem.replace("(", r"\(")) as refused:
        Backoff.parse(text)
    assert "\n" not in str(refused.value)


def test_waits_grow_to_their_maximum_and_are_shortened_by_up_to_a_quarter():
    for retries, longest in enumerate((0.5, 1.0, 2.0, 4.0, 8.0, 8.0)):
        waits = [SDK.wait(retries) for _ in range(1000)]
        assert 0.75 * longest <= min(waits) < 0.8 * longest
        assert 0.95 * longest < max(waits) <= longest
    assert 6.0 <= Backoff(factor=999_999.0).wait(1000) <= 8.0


@pytest.mark.parametrize(("retry_after", "wait"), [(0.2, 0.2), (120.0, 120.0), (0.0, 0.5), (121.0, 0.5), (None, 0.5)])
def test_a_retry_after_that_is_not_too_long_is_obeyed(retry_after, wait):
    assert Backoff(jitter=0.0).wait(0, retry_after) == wait


def failed(*, status=0, failure="", is_stream=True, ttft=None, backoff=SDK, **head):
    timeline = Timeline(status=status, failure=failure, **head)
    record = Record(outcome=failure or f"http_{status}", ttft=ttft)
    return backoff.may_retry(record, timeline, is_stream=is_stream)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 504, 599])
def test_these_statuses_are_retried(status):
    assert failed(status=status)
    assert failed(status=status, failure="truncated")
    assert not failed(status=status, should_retry="false")
    assert failed(status=status, retry_after=120.0)
    assert not failed(status=status, retry_after=121.0, should_retry="true")


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_other_statuses_are_retried_only_if_the_server_says_so(status):
    assert not failed(status=status)
    assert not failed(status=status, should_retry="True")
    assert failed(status=status, should_retry="true")


@pytest.mark.parametrize("failure", ["connect", "reset", "timeout_first_token", "timeout_total", "name_lookup", "tls"])
def test_a_stream_is_retried_until_the_sdk_has_returned_it(failure):
    assert failed(failure=failure)
    assert not failed(failure=failure, status=200)
    assert not failed(failure=failure, status=200, ttft=0.1)


def test_a_stream_may_be_retried_until_its_first_token():
    assert failed(failure="timeout_first_token", status=200, backoff=Backoff(until=TOKEN))
    assert not failed(failure="timeout_stall", status=200, ttft=0.1, backoff=Backoff(until=TOKEN))


def test_an_answer_in_one_piece_is_retried_until_it_is_complete():
    assert failed(failure="truncated", status=200, is_stream=False)


@pytest.mark.parametrize("failure", ["aborted", "not_sent", "too_large"])
def test_what_another_attempt_would_repeat_is_not_retried(failure):
    assert not failed(failure=failure)


def test_an_answer_is_not_retried_whatever_it_says():
    assert not SDK.may_retry(Record(), Timeline(status=200), is_stream=True)
    assert not SDK.may_retry(Record(outcome="error_event"), Timeline(status=200), is_stream=False)
