import pytest

from llmlocust.simulator.pace import Pace
from llmlocust.simulator.settings import Settings


def pace(**settings) -> Pace:
    """Return a pace of 100 ms for any batch, and 1 ms for a token of a prompt."""
    return Pace(Settings(**{"step_ms": 100, "step_ms_per_seq": 0, "prefill_ms_per_token": 1, **settings}))


def seconds(pace: Pace, now: float = 0.0, *, running: int = 1, read: int = 0, produced: int = 1) -> float:
    work = pace.work(now, running, read, produced)
    return work.due - work.began


def test_reading_prompts_adds_to_a_step():
    assert seconds(pace(), read=50) == pytest.approx(0.15)


def test_with_a_compute_ceiling_a_large_step_takes_time_by_its_tokens():
    ceiling = pace(compute_ms_per_token=5)
    assert [seconds(ceiling, produced=count) for count in (1, 20, 40, 80)] == pytest.approx([0.1, 0.1, 0.2, 0.4])
    assert seconds(ceiling, read=100, produced=10) == pytest.approx(0.55)


def test_steps_are_slow_at_first():
    cold = pace(cold_start_s=2, cold_start_factor=3)
    assert [seconds(cold, now) for now in (10.0, 11.9, 12.1)] == pytest.approx([0.3, 0.3, 0.1])


def test_a_busy_gpu_lowers_its_clock_until_it_has_cooled():
    capped = pace(power_cap_after_s=1, power_cap_factor=0.5)
    now, clocks = 0.0, []
    for _ in range(15):
        work = capped.work(now, 1, 0, 1)
        now = work.due
        clocks.append(work.clock)
    assert clocks == [1.0] * clocks.count(1.0) + [0.5] * clocks.count(0.5)
    assert clocks.count(1.0) in (10, 11)
    assert capped.work(now + 0.1, 1, 0, 1).clock == 0.5
    assert capped.work(now + 5.0, 1, 0, 1).clock == 1.0


def test_another_tenant_takes_its_share():
    assert seconds(pace(tenant_share=0.6)) == pytest.approx(0.25)


def test_the_work_of_a_step_is_of_memory_and_of_computation():
    work = pace(compute_ms_per_token=2).work(0.0, 10, 100, 10)
    assert (work.memory_seconds, work.compute_seconds) == pytest.approx((0.1, 0.22))
