from itertools import chain, repeat
from time import perf_counter_ns, time_ns

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.stream import clocks
from llmlocust.stream.clocks import wall_minus

AHEAD = 1_700_000_000_000_000_000


@pytest.mark.parametrize("of_each_reading", [100, 1_000])
@given(put_aside=st.lists(st.integers(0, 50_000_000), max_size=30))
def test_a_process_that_is_put_aside_between_two_readings_is_not_misled(of_each_reading, put_aside):
    """So many ns pass at each reading, and more before the first ones; once all is calm the difference is right."""
    now, delays = 0, chain(put_aside, repeat(0))

    def clock():
        nonlocal now
        now += of_each_reading + next(delays)
        return now

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(clocks, "time_ns", lambda: AHEAD + clock())
        assert wall_minus(clock) == pytest.approx(AHEAD, abs=5_000)


def test_of_a_machine_that_is_never_calm_the_best_is_taken(monkeypatch):
    apart = chain([9_000_000, 40_000], repeat(7_000_000))
    now = 0

    def clock():
        nonlocal now
        now += next(apart)
        return now

    monkeypatch.setattr(clocks, "time_ns", lambda: AHEAD + now)
    assert abs(wall_minus(clock) - AHEAD) <= 40_000


def test_it_is_the_machines_own_difference():
    assert perf_counter_ns() + wall_minus() == pytest.approx(time_ns(), abs=10_000_000_000)
