import pytest

from llmlocust.simulator.settings import Settings
from llmlocust.simulator.stages import FrontEnd, Link, PrefixCache, RateLimit


def test_the_front_end_handles_one_thing_after_another():
    front_end = FrontEnd(Settings(front_end_ms=100, front_end_ms_per_token=10))
    assert [front_end.request(1.0), front_end.token(1.0), front_end.token(1.2)] == pytest.approx([1.1, 1.11, 1.21])


def test_cpu_time_is_counted_when_it_has_passed():
    front_end = FrontEnd(Settings(front_end_ms=100))
    front_end.request(1.0)
    front_end.request(1.0)
    assert [front_end.cpu_seconds(now) for now in (1.0, 1.05, 1.2, 9.0)] == pytest.approx([0.0, 0.05, 0.2, 0.2])


def test_the_link_sends_one_answer_after_another():
    link = Link(Settings(network_mbit=0.00192))  # a second for an event of 240 bytes
    assert [link.event(1.0), link.event(1.0), link.event(5.0)] == pytest.approx([2.0, 3.0, 6.0])
    assert (link.bytes, link.resent) == (720, 0)


def test_a_full_link_loses_a_share_of_the_segments():
    link = Link(Settings(network_mbit=0.00192))
    for _ in range(501):
        link.event(1.0)
    assert link.resent == 10


def test_an_answer_in_one_piece_is_smaller_than_its_stream():
    link = Link(Settings())
    link.whole(0.0, 100)
    assert 0 < link.bytes < 100 * 240 / 10


def test_a_link_without_a_limit_takes_no_time():
    assert Link(Settings(network_ms=5)).event(1.0) == 1.0


def test_the_rate_limit_lets_a_burst_pass_and_then_its_rate():
    limit = RateLimit(Settings(rate_limit=2, rate_burst=3))
    assert [limit.retry_after(10.0) for _ in range(5)] == [0, 0, 0, 1, 1]
    assert [limit.retry_after(10.0 + 0.5 * step) for step in range(1, 4)] == [0, 0, 0]
    assert limit.retry_after(11.6) == 1


def test_a_slow_rate_limit_says_when_to_come_back():
    limit = RateLimit(Settings(rate_limit=0.1))
    assert [limit.retry_after(now) for now in (100.0, 100.0, 105.0, 110.0)] == [0, 10, 5, 0]


def test_no_rate_limit_refuses_nothing():
    limit = RateLimit(Settings())
    assert {limit.retry_after(0.0) for _ in range(100)} == {0}


def test_the_prefix_cache_forgets_the_prompt_that_was_unused_for_longest():
    cache = PrefixCache(Settings(prefix_cache=True, cache_prompts=2))
    assert [cache.contains(prompt) for prompt in "abab"] == [False, False, True, True]
    assert [cache.contains(prompt) for prompt in "acab"] == [True, False, True, False]


def test_without_a_prefix_cache_no_prompt_is_known():
    cache = PrefixCache(Settings())
    assert [cache.contains("a") for _ in range(2)] == [False, False]
