from itertools import chain, repeat
from time import perf_counter_ns, time_ns

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.stream import clocks
from llmlocust.stream.clocks import wall_minus

AHEAD = 1_700_000_000_000_000_000


@pytest.mark.parametrize("reading_ns", [100, 1_000])
@given(pauses_ns=st.lists(st.integers(0, 50_000_000), max_size=30))
def test_pauses_between_two_readings_do_not_distort_the_difference(reading_ns, pauses_ns):
    """Every reading takes `reading_ns`, the first ones longer by `pauses_ns`; later the difference is correct."""
    now, delays = 0, chain(pauses_ns, repeat(0))

    def clock():
        nonlocal now
        now += reading_ns + next(delays)
        return now

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clocks, "time_ns", lambda: AHEAD + clock())
        assert wall_minus(clock) == pytest.approx(AHEAD, abs=5_000)


def test_the_best_reading_is_taken_on_a_busy_machine(monkeypatch):
    delays = chain([9_000_000, 40_000], repeat(7_000_000))
    now = 0

    def clock():
        nonlocal now
        now += next(delays)
        return now

    monkeypatch.setattr(clocks, "time_ns", lambda: AHEAD + now)
    assert abs(wall_minus(clock) - AHEAD) <= 40_000


def test_the_difference_is_that_of_the_machines_clocks():
    assert perf_counter_ns() + wall_minus() == pytest.approx(time_ns(), abs=10_000_000_000)
