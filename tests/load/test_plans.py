"""Plans from any settings."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.load.plans import HOURS, SHAPES, STEP, Setting, healing, linear, progressive, surge, wave
from llmlocust.metrics.vocabulary import PHASES


@st.composite
def settings(draw, whole=None):
    whole = draw(st.booleans()) if whole is None else whole
    load = st.integers(1, 500).map(float) if whole else st.floats(0.01, 500.0)
    base, peak = sorted((draw(load), draw(load)))
    seconds = draw(st.floats(0.5, 50_000.0))
    return Setting(base, peak, seconds, warmup=draw(st.sampled_from((0.0, 5.0))), whole=whole)


def total_hold(plan):
    return sum(phase.hold * len(phase.loads) for phase in plan)


@pytest.mark.parametrize("shape", SHAPES)
@given(setting=settings())
def test_a_shape_has_the_given_duration_and_loads(shape, setting):
    plan = SHAPES[shape](setting)
    loads = [load for phase in plan for load in phase.loads]
    highest = 1.5 * setting.peak + 0.5 if shape == "progressive" else setting.peak
    slack = 0.0 if setting.whole else 0.001 * highest  # rates are rounded to four digits
    assert math.isclose(total_hold(plan), setting.seconds)
    assert all(setting.base - slack <= load <= highest + slack and load > 0.0 for load in loads)
    assert all(load == int(load) for load in loads) or not setting.whole
    assert all(phase.loads and phase.hold > 0.0 and phase.name in PHASES for phase in plan)
    assert all(len(phase.loads) == 1 or phase.hold >= STEP or len(phase.loads) <= 4 for phase in plan)
    assert all(len(phase.loads) <= HOURS for phase in plan)
    assert all(phase.warmup in (0.0, setting.warmup) for phase in plan)


@given(setting=settings())
def test_a_linear_ramp_goes_up_in_equal_steps_from_end_to_end(setting):
    (phase,) = linear(setting)
    assert (phase.loads[0], phase.loads[-1]) == pytest.approx((setting.base, setting.peak), rel=0.001)
    steps = [after - before for before, after in pairwise(phase.loads)]
    if setting.whole:
        assert all(step >= 1.0 for step in steps)
    else:
        # both loads are rounded to four digits
        assert all(step == pytest.approx(steps[0], abs=0.002 * setting.peak) for step in steps)


@given(setting=settings(whole=False))
def test_a_wave_is_symmetric_and_has_its_peak_in_the_middle(setting):
    rise, fall = wave(setting)
    loads = [*rise.loads, *fall.loads, rise.loads[0]]
    assert loads == pytest.approx(loads[::-1], rel=1e-3)
    assert max(loads) == rise.loads[-1] == pytest.approx(setting.peak, rel=1e-3)
    assert sorted(rise.loads) == list(rise.loads)
    assert rise.hold == fall.hold


def test_a_surge_is_between_two_phases_of_low_load():
    before, during, after = surge(Setting(5, 50, 400.0, warmup=3.0))
    assert before == ("baseline", (5,), 100.0, 3.0)
    assert during == ("surge", (50,), 100.0, 0.0)
    assert after == ("recovery", (5,), 200.0, 0.0)


def test_the_progressive_plan_has_its_phases_in_order():
    plan = progressive(Setting(4, 40, 1000.0, warmup=5.0))
    assert [(phase.name, phase.loads[0], phase.loads[-1]) for phase in plan] == [
        ("baseline", 4, 4),
        ("linear", 4, 40),
        ("surge", 50, 60),
        ("recovery", 4, 4),
        ("soak", 20, 20),
    ]
    loads_by_phase = {phase.name: phase.loads for phase in progressive(Setting(4, 40, 1000.0, surge=90, soak=30))}
    assert (loads_by_phase["surge"], loads_by_phase["soak"]) == ((65, 90), (30,))


def test_faults_have_a_phase_before_the_soak():
    plan = progressive(Setting(4, 40, 1000.0, warmup=5.0, faults=True))
    assert [phase.name for phase in plan] == ["baseline", "linear", "surge", "recovery", "faults", "soak"]
    assert plan[-2] == ("faults", (20,), 200.0, 5.0)
    assert sum(phase.hold * len(phase.loads) for phase in plan) == pytest.approx(1000.0)


def test_the_load_falls_in_steps_to_find_where_a_service_heals():
    assert healing(20, whole=True).loads == (16, 12, 8, 4)
    assert healing(2, whole=True).loads == (2, 1)
    assert healing(50, whole=False).hold == 30.0
    assert healing(8, whole=False).hold == pytest.approx(62.5)
    assert healing(0.1, whole=False).hold == 180.0
    assert healing(0.5, whole=False).loads == pytest.approx((0.4, 0.3, 0.2, 0.1))


@pytest.mark.parametrize(
    "wrong_settings",
    [
        {"base": 0},
        {"base": 51},
        {"base": 1.5},
        {"peak": math.inf},
        {"peak": math.nan},
        {"seconds": 0},
        {"seconds": math.inf},
        {"warmup": -1},
        {"surge": -5},
        {"base": 0, "whole": False},
    ],
)
def test_invalid_settings_give_a_one_line_error(wrong_settings):
    with pytest.raises(ValueError) as error:
        Setting(**({"base": 5, "peak": 50, "seconds": 60.0} | wrong_settings))
    assert "\n" not in str(error.value)
