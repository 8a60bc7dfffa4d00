"""The notation of faults."""

import re
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.faults.proxy.faults import BOTH, CONNECTIONS, DOWNSTREAM, KINDS, REQUESTS, UPSTREAM, Fault, parse

LATENCY = Fault("latency", direction=DOWNSTREAM, seconds=0.2)


@pytest.mark.parametrize(
    "text, fault",
    [
        ("down", Fault("down")),
        ("  Refuse  ", Fault("refuse")),
        ("refuse on 20% of connections", Fault("refuse", share=0.2)),
        ("reset", Fault("reset")),
        ("reset on 2.5 % of requests", Fault("reset", of=REQUESTS, share=0.025)),
        ("blackhole", Fault("blackhole", direction=BOTH)),
        ("black hole upstream", Fault("blackhole", direction=UPSTREAM)),
        ("latency 200ms", LATENCY),
        ("latency 200ms jitter 50ms", replace(LATENCY, jitter=0.05)),
        ("latency 200ms on 10% of requests both", replace(LATENCY, direction=BOTH, of=REQUESTS, share=0.1)),
        ("latency 200ms upstream on 10% of connections", replace(LATENCY, direction=UPSTREAM, share=0.1)),
        ("bandwidth 100kB/s", Fault("bandwidth", direction=DOWNSTREAM, size=100_000)),
        ("bandwidth 1 MiB per s", Fault("bandwidth", direction=DOWNSTREAM, size=1_048_576)),
        ("slice 16B every 5ms", Fault("slice", direction=DOWNSTREAM, size=16, seconds=0.005)),
        ("slow_close 2s", Fault("slow_close", seconds=2)),
        ("slow close 2s", Fault("slow_close", seconds=2)),
        ("cut after 50 tokens", Fault("cut", of=REQUESTS, tokens=50)),
        ("cut after 1 token", Fault("cut", of=REQUESTS, tokens=1)),
        ("cut after 4kB on 5% of connections", Fault("cut", of=CONNECTIONS, share=0.05, size=4000)),
        ("cut after 100 bytes", Fault("cut", of=REQUESTS, size=100)),
        ("status 503", Fault("status", of=REQUESTS, status=503)),
        ("status 429 retry-after 5s on 10% of requests", Fault("status", REQUESTS, 0.1, status=429, retry_after=5)),
        ("buffer until end", Fault("buffer", of=REQUESTS)),
        ("buffer until 4kB", Fault("buffer", of=REQUESTS, size=4000)),
        ("buffer until 2s", Fault("buffer", of=REQUESTS, seconds=2)),
    ],
)
def test_a_fault_is_read_from_text_and_written_as_text_that_reads_the_same(text, fault):
    assert parse(text) == fault
    assert parse(str(fault)) == fault


@pytest.mark.parametrize(
    "text",
    [
        *("", "  ", "foo", "latency", "latency 5", "latency -5ms", "latency 5ms jitter 10ms", "latency 25h", "latency 2000m"),
        *("status", "status 200", "status 600", "status 503 retry-after 1.5s", "status 503 upstream", "buffer", "buffer until"),
        *("down on 5% of connections", "down on 5% of requests", "refuse on 5% of requests", "reset upstream"),
        *("refuse on 0% of connections", "refuse on 101% of connections", "refuse on 5% of cats", "slice 16B", "slice 0B every 1s"),
        *("bandwidth 0B/s", "bandwidth 100kB", "bandwidth 0.5B/s", "cut", "cut after", "cut after 5.5B", "cut after 5.5 tokens"),
        *("cut after 10 tokens 5", "latency 1s latency 2s", "latency 1s upstream downstream", "latency ²ms", "down\nrefuse"),
        *("latency 1" + "0" * 400 + "s", "x" * 10_000),
    ],
)  # fmt: skip
def test_bad_text_is_refused_in_one_line_with_a_valid_example(text):
    with pytest.raises(ValueError, match="write") as problem:
        parse(text)

    message = str(problem.value)
    assert "\n" not in message
    assert len(message) < 600
    examples = re.findall(r"'([^']+)'", message.rpartition("write")[2])
    assert examples
    assert all(map(parse, examples))


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_value_error(text):
    with suppress(ValueError):
        parse(text)


TIMES = st.integers(1, 10**7).map(lambda number: number / 1000)
SIZES = st.integers(1, 10**9)
SHARES = st.builds(
    lambda share, of: f" on {share / 1000}% of {of}", st.integers(1, 100_000), st.sampled_from([CONNECTIONS, REQUESTS])
)
DIRECTIONS = st.sampled_from(["", " upstream", " downstream", " both"])


@given(
    st.one_of(
        st.builds("latency {}s{}{}".format, TIMES, DIRECTIONS, SHARES),
        st.builds("bandwidth {}B/s{}{}".format, SIZES, DIRECTIONS, SHARES),
        st.builds("slice {}B every {}s{}{}".format, SIZES, TIMES, DIRECTIONS, SHARES),
        st.builds("cut after {} tokens{}".format, st.integers(0, 10**6), SHARES),
        st.builds("cut after {}B{}".format, st.integers(0, 10**9), SHARES),
        st.builds("slow_close {}s{}".format, TIMES, SHARES),
        st.builds("buffer until {}s{}".format, TIMES, SHARES),
    )
)
def test_the_text_of_a_fault_reads_the_same(text):
    fault = parse(text)
    again = parse(str(fault))
    assert replace(again, share=0, seconds=0) == replace(fault, share=0, seconds=0)
    assert again.share == pytest.approx(fault.share)
    assert again.seconds == pytest.approx(fault.seconds)


def test_every_kind_has_a_text():
    assert {parse(text).kind for text in EXAMPLES} == set(KINDS)


EXAMPLES = (
    *("down", "refuse", "reset", "blackhole", "latency 1s", "bandwidth 1kB/s", "slice 1B every 1s", "slow_close 1s"),
    *("cut after 1kB", "status 500", "buffer until end"),
)
