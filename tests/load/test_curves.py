import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.load.curves import (
    BEGAN,
    DEFAULT_LEVELS,
    DONE,
    DRAIN,
    ENDED,
    HOLD,
    RAMP,
    WARMED_UP,
    WARMUP,
    Change,
    Staircase,
    parse_levels,
)


def began(level: int) -> Change:
    return Change(BEGAN, level)


def warmed_up(level: int, *, reached: bool = True) -> Change:
    return Change(WARMED_UP, level, reached)


def ended(level: int, *, reached: bool = True) -> Change:
    return Change(ENDED, level, reached)


# Each case: a staircase, and then (now, actual load) → (changes, state, target load)
WALKS = {
    "two levels": (
        Staircase([5, 10], warmup=2, hold=3, grace=1),
        [
            (100.0, 0, [began(0)], RAMP, 5),
            (101.0, 4, [], RAMP, 5),
            (102.0, 5, [], WARMUP, 5),
            (103.0, 5, [], WARMUP, 5),
            (104.0, 5, [warmed_up(0)], HOLD, 5),
            (106.9, 5, [], HOLD, 5),
            (107.0, 5, [ended(0), began(1)], RAMP, 10),
            (108.0, 11, [], WARMUP, 10),
            (110.0, 10, [warmed_up(1)], HOLD, 10),
            (113.0, 10, [ended(1)], DRAIN, 0),
            (114.0, 3, [], DRAIN, 0),
            (115.0, 0, [], DRAIN, 0),
            (115.9, 0, [], DRAIN, 0),
            (116.0, 0, [], DONE, 0),
            (117.0, 0, [], DONE, 0),
        ],
    ),
    "no warm-up and no hold": (
        Staircase([5], warmup=0, hold=0),
        [
            (0.0, 5, [began(0), warmed_up(0)], HOLD, 5),
            (0.0, 5, [ended(0)], DRAIN, 0),
            (0.0, 0, [], DONE, 0),
        ],
    ),
    "a load that is never reached": (
        Staircase([5], warmup=2, hold=3, patience=10),
        [
            (0.0, 0, [began(0)], RAMP, 5),
            (9.9, 4, [], RAMP, 5),
            (10.0, 4, [], WARMUP, 5),
            (12.0, 5, [warmed_up(0, reached=False)], HOLD, 5),
            (15.0, 5, [ended(0, reached=False)], DRAIN, 0),
        ],
    ),
    "the next level is reached again": (
        Staircase([5, 6], warmup=0, hold=1, patience=1),
        [
            (0.0, 0, [began(0)], RAMP, 5),
            (1.0, 0, [warmed_up(0, reached=False)], HOLD, 5),
            (2.0, 0, [ended(0, reached=False), began(1)], RAMP, 6),
            (2.5, 6, [warmed_up(1)], HOLD, 6),
        ],
    ),
    "downwards": (
        Staircase([10, 5], warmup=1, hold=1),
        [
            (0.0, 10, [began(0)], WARMUP, 10),
            (1.0, 10, [warmed_up(0)], HOLD, 10),
            (2.0, 10, [ended(0), began(1)], RAMP, 5),
            (3.0, 7, [], RAMP, 5),
            (4.0, 5, [], WARMUP, 5),
            (5.0, 5, [warmed_up(1)], HOLD, 5),
        ],
    ),
    "downwards, and a user stays": (
        Staircase([10, 5], warmup=0, hold=0, patience=2),
        [
            (0.0, 10, [began(0), warmed_up(0)], HOLD, 10),
            (1.0, 10, [ended(0), began(1)], RAMP, 5),
            (2.0, 6, [], RAMP, 5),
            (3.0, 6, [warmed_up(1, reached=False)], HOLD, 5),
        ],
    ),
    "seldom called": (
        Staircase([5, 10], warmup=2, hold=3),
        [
            (0.0, 0, [began(0)], RAMP, 5),
            (500.0, 5, [], WARMUP, 5),
            (900.0, 5, [warmed_up(0)], HOLD, 5),
            (1300.0, 5, [ended(0), began(1)], RAMP, 10),
        ],
    ),
}


@pytest.mark.parametrize("stairs, walk", WALKS.values(), ids=WALKS)
def test_changes_states_and_targets_of_a_staircase(stairs, walk):
    steps = [(now, load, stairs.advance(now, load), stairs.state, stairs.target) for now, load, *_ in walk]
    assert steps == walk


@pytest.mark.parametrize("phase_at, step", [((0.0,), 5), ((0.0, 1.0, 2.0), 15), ((0.0, 1.0, 2.0, 3.0, 4.0), 15)])
def test_the_step_is_the_number_of_users_to_spawn_or_stop(phase_at, step):
    stairs = Staircase([5, 20, 15], warmup=0, hold=1)
    for now in phase_at:
        stairs.advance(now, 20)
    assert abs(stairs.step) == {0: 5, 1: 15, 2: 5}[stairs.level]


def test_at_the_end_the_step_is_the_last_load():
    stairs = Staircase([5, 20], warmup=0, hold=0)
    for now in range(5):
        stairs.advance(now, 20)
    assert (stairs.state, stairs.step, stairs.target) == (DRAIN, 20, 0.0)


def test_before_its_first_call_the_target_is_the_first_level():
    stairs = Staircase([5, 20], warmup=0, hold=0)
    assert (stairs.target, stairs.step, stairs.state) == (5, 5, RAMP)


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=5),
    st.floats(0, 10),
    st.floats(0, 30),
    st.floats(0, 20),
    st.floats(0, 5),
    st.lists(st.tuples(st.floats(0, 15), st.integers(-3, 3)), max_size=300),
    st.floats(-1e6, 1e9),
)
def test_levels_come_in_order_and_are_held_at_any_times_of_calls(levels, warmup, hold, patience, grace, calls, start):
    stairs = Staircase(levels, warmup, hold, patience=patience, grace=grace)
    changes: list[tuple[float, Change]] = []
    now = start
    # irregular calls at a load that may be off the target; then regular calls at the target load
    for pause, difference in [*calls, *[(1.0, 0)] * 1000]:
        now += pause
        changes += [(now, change) for change in stairs.advance(now, max(0, stairs.target + difference))]
    assert [(change.level, change.what) for _, change in changes] == [
        (level, what) for level in range(len(levels)) for what in (BEGAN, WARMED_UP, ENDED)
    ]
    moments = [moment for moment, _ in changes]
    assert moments == sorted(moments)
    for begin, measured, end in zip(moments[::3], moments[1::3], moments[2::3], strict=True):
        assert measured - begin >= warmup - 1e-6
        assert end - measured >= hold - 1e-6
    assert stairs.state == DONE


@given(st.floats(0, 100), st.floats(0.1, 20))
def test_patience_is_bounded(patience, pause):
    stairs = Staircase([5], warmup=0, hold=0, patience=patience)
    now = 0.0
    while not any(change.what == WARMED_UP for change in stairs.advance(now, 4)):
        now += pause
    assert patience <= now < patience + pause + 1e-6


def test_draining_waits_for_the_last_user_and_then_for_the_grace():
    stairs = Staircase([5], warmup=0, hold=0, grace=4)
    for now in (0.0, 1.0):
        stairs.advance(now, 5)
    phases = []
    for now, load in [(2, 5), (50, 1), (51, 0), (54.9, 0), (55, 0)]:
        stairs.advance(now, load)
        phases.append(stairs.state)
    assert phases == [DRAIN, DRAIN, DRAIN, DRAIN, DONE]


def test_a_user_that_comes_back_while_draining_restarts_the_grace():
    stairs = Staircase([5], warmup=0, hold=0, grace=4)
    for now, load in [(0, 5), (1, 5), (2, 0), (4, 1), (7.9, 0)]:
        stairs.advance(now, load)
    assert stairs.state == DRAIN


def test_the_begin_of_the_state_is_not_known_before_the_first_call():
    assert math.isnan(Staircase([5], warmup=0, hold=0).since)


# ── levels from text ──


@pytest.mark.parametrize(
    "text, levels",
    [
        ("1,2,5", [1, 2, 5]),
        (" 1  2,5 ", [1, 2, 5]),
        ("10", [10]),
        ("5, 3, 5", [5, 3, 5]),
        ("+7", [7]),
        (",1,,2,", [1, 2]),
        (",".join(map(str, DEFAULT_LEVELS)), list(DEFAULT_LEVELS)),
    ],
)
def test_levels_from_text(text, levels):
    assert parse_levels(text) == levels


@pytest.mark.parametrize(
    "text, word",
    [
        ("", "''"),
        (" , ", "' , '"),
        ("0", "'0'"),
        ("1,-2", "'1,-2'"),
        ("1,2.5", "'2.5'"),
        ("a", "'a'"),
        ("1;2", "'1;2'"),
        ("1-5", "'1-5'"),
        ("²", "'²'"),
        ("1_000", "'1_000'"),
        ("9" * 5000, "'9999"),
        ("1e3", "'1e3'"),
    ],
)
def test_an_invalid_list_of_levels_gives_a_one_line_error(text, word):
    with pytest.raises(ValueError, match="levels must be") as problem:
        parse_levels(text)
    assert word in str(problem.value)
    assert "\n" not in str(problem.value)
    assert len(str(problem.value)) < 200


@given(st.text())
def test_any_text_gives_levels_or_an_error(text):
    try:
        levels = parse_levels(text)
    except ValueError as problem:
        assert str(problem).startswith("levels must be")  # noqa: PT017  # an error is right too
    else:
        assert min(levels) >= 1
