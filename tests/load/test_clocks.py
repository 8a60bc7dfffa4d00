"""The unit of timestamps according to their name, size and intervals."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.load.clocks import DATES, PER_SECOND, clock_of

EPOCH = 1_700_000_000


def arrivals(rate, number=200, seed=1):
    """Return the seconds at which requests arrive, the first at 0."""
    generator, moment, moments = random.Random(seed), 0.0, []
    for _ in range(number):
        moments.append(moment)
        moment += generator.expovariate(rate)
    return moments


@pytest.mark.parametrize("rate", [0.1, 1.0, 5.0, 50.0])
@pytest.mark.parametrize("unit", PER_SECOND)
@pytest.mark.parametrize("is_whole_ms", [True, False])
def test_times_since_1970_have_their_unit_by_their_size(rate, unit, is_whole_ms):
    times = [(EPOCH + moment) * PER_SECOND[unit] // 1 for moment in arrivals(rate)]
    assert clock_of(times, "", is_whole_ms=is_whole_ms).unit == unit


@pytest.mark.parametrize("rate", [0.002, 0.1, 5.0, 500.0])
@pytest.mark.parametrize("is_whole_ms", [True, False])
def test_fractions_are_of_seconds(rate, is_whole_ms):
    assert clock_of(arrivals(rate), "", is_whole_ms=is_whole_ms).unit == "seconds"


@pytest.mark.parametrize("rate", [0.02, 0.3, 5.0, 50.0])
def test_whole_numbers_of_json_are_milliseconds(rate):
    assert clock_of([moment * 1000 // 1 for moment in arrivals(rate)], "", is_whole_ms=True).unit == "milliseconds"


@pytest.mark.parametrize("rate", [0.2, 1.0, 5.0])
def test_whole_seconds_of_json_are_recognised_by_the_rate_in_milliseconds(rate):
    clock = clock_of([moment // 1 for moment in arrivals(rate)], "", is_whole_ms=True)
    assert (clock.unit, clock.other, clock.other_speed) == ("seconds", "milliseconds", 1000)


@pytest.mark.parametrize("rate", [0.02, 0.3, 5.0, 50.0])
def test_whole_numbers_of_tables_are_seconds(rate):
    assert clock_of([moment // 1 for moment in arrivals(rate)], "", is_whole_ms=False).unit == "seconds"


@pytest.mark.parametrize("rate", [0.3, 1.0, 8.0])
def test_milliseconds_of_tables_are_recognised_by_their_intervals(rate):
    clock = clock_of([moment * 1000 // 1 for moment in arrivals(rate)], "", is_whole_ms=False)
    assert (clock.unit, clock.other, clock.other_speed) == ("milliseconds", "seconds", 0.001)


@pytest.mark.parametrize("unit", ["microseconds", "nanoseconds"])
@pytest.mark.parametrize("is_whole_ms", [True, False])
@pytest.mark.parametrize("rate", [0.3, 1.0, 8.0])
def test_smaller_units_are_recognised_by_their_intervals(unit, is_whole_ms, rate):
    times = [moment * PER_SECOND[unit] // 1 for moment in arrivals(rate)]
    assert clock_of(times, "", is_whole_ms=is_whole_ms).unit == unit


@given(st.lists(st.floats(0, 1e19), min_size=1), st.sampled_from([*PER_SECOND, DATES]), st.booleans())
def test_a_name_or_a_date_decides_for_any_values(times, named, is_whole_ms):
    clock = clock_of(times, named, is_whole_ms=is_whole_ms)
    assert (clock.unit, clock.other) == (named, "")


@given(st.lists(st.floats(0, 1e19), min_size=1), st.booleans())
def test_any_times_have_a_unit_and_a_reason(times, is_whole_ms):
    clock = clock_of(times, "", is_whole_ms=is_whole_ms)
    assert clock.unit in PER_SECOND
    assert clock.reason


@pytest.mark.parametrize(
    "times, named, speed, words",
    [
        ([0.5, 2.0], "", 1.0, "t is read as seconds (it has fractions). If it is in milliseconds, give --llm-trace-speed 1000"),
        ([0, 900], "", 2.0, "t is read as milliseconds (whole numbers in JSON). If it is in seconds, give --llm-trace-speed 0.002"),
        ([0, 9e6], "", 1.0, "t is read as microseconds (milliseconds would mean one request in 9000 s). If it is in milliseconds, "),
        ([EPOCH, EPOCH + 1], "", 1.0, "t is read as seconds (it counts from 1970)"),
        ([0, 1], "seconds", 1.0, "t is read as seconds (according to its name)"),
        ([0, 1], DATES, 1.0, "t has dates"),
    ],
)  # fmt: skip
def test_the_unit_is_reported_with_its_reason_and_a_remedy(times, named, speed, words):
    assert clock_of(times, named, is_whole_ms=True).in_words("t", speed).startswith(words)
