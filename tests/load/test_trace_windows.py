"""Windows of a replay are consecutive, and its prompts have the lengths and shared blocks of the trace."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.load.curves import BEGAN, DONE, ENDED, HOLD, WARMED_UP
from llmlocust.load.prompts import Prompts
from llmlocust.load.tokens import estimate
from llmlocust.load.trace_windows import NEXT, Windows, shared_text, windows
from llmlocust.load.traces import Replay, Row
from tests.load.made_traces import INTERVALS, trace_of


@given(INTERVALS, st.floats(0.1, 10.0), st.floats(0.5, 500.0))
def test_windows_have_all_rows_of_a_trace(intervals, speed, hold):
    replay = Replay(trace_of(intervals), speed)
    length, rates = windows(replay, hold)
    assert sum(rates) * length == pytest.approx(replay.rows)
    assert len(rates) * length == pytest.approx(replay.seconds + 1.0)
    assert 1 <= len(rates) <= 20
    assert len(rates) in (1, 20) or abs(len(rates) - (replay.seconds + 1.0) / hold) <= 0.5 + 1e-9


def test_windows_begin_with_the_streams_and_end_at_fixed_times():
    """A late call returns all changes since the previous one and does not shift the later windows."""
    stairs = Windows([3.0, 0.0, 2.0], warmup=0.0, hold=10.0, grace=1.0, drain=60.0)
    changes = []

    def at(moment, streams):
        changes.append([(change.what, change.level) for change in stairs.advance(moment, streams)])
        return changes[-1]

    assert at(0.0, 0) == [(BEGAN, 0)]
    assert stairs.target == 1.0
    assert at(5.0, float("nan")) == []
    assert at(6.0, 1.0) == [(WARMED_UP, 0)]
    assert stairs.next_change == 16.0
    assert at(15.9, 1.0) == []
    assert at(16.7, 1.0) == [(NEXT, 1)]
    assert (stairs.next_change, stairs.target, stairs.state) == (26.0, 1.0, HOLD)
    assert at(40.0, 1.0) == [(NEXT, 2), (ENDED, 2)]
    assert stairs.target == 0.0
    at(41.0, 0.0)
    at(43.0, 0.0)
    assert stairs.state == DONE


def text_of(number, tokens, *blocks, salt="x", size=512):
    return shared_text(Row(number, tokens, 1, blocks, size), salt, estimate, random.Random(number))


def test_equal_ids_at_the_beginning_are_equal_text_at_the_beginning():
    first, second, other = text_of(0, 1500, 7, 8, 9), text_of(1, 1400, 7, 8, 10), text_of(2, 1500, 11, 8, 9)
    both = [len(prefix) for prefix in (first, second)]
    difference_at = next(place for place in range(min(both)) if first[place] != second[place])
    assert estimate(first[:difference_at]) == pytest.approx(1024, abs=12)
    assert first[:40] != other[:40]
    assert text_of(3, 800, 7, 8) == first[: len(text_of(3, 800, 7, 8))]


@pytest.mark.parametrize("size", [16, 64, 128, 256])
def test_blocks_of_any_size_are_shared_by_their_ids(size):
    ids = range(100, 110)
    complete, other = text_of(0, 10 * size, *ids, size=size), text_of(1, 10 * size, *range(200, 210), size=size)
    assert estimate(complete) == pytest.approx(10 * size, rel=0.06)
    assert complete.startswith(text_of(2, 4 * size, *ids[:4], size=size))
    assert complete[:size] != other[:size]


def test_small_blocks_of_different_ids_are_different_texts():
    assert len({text_of(0, 16, number, size=16) for number in range(2000)}) == 2000


def test_a_different_salt_gives_different_texts():
    assert text_of(0, 900, 7, 8) == text_of(5, 900, 7, 8)
    assert text_of(0, 900, 7, 8)[:40] != text_of(0, 900, 7, 8, salt="y")[:40]


@pytest.mark.parametrize("tokens, blocks", [(1, 1), (20, 1), (512, 1), (513, 2), (6758, 14), (6758, 13), (1024, 3)])
def test_a_prompt_with_blocks_has_its_length(tokens, blocks):
    assert estimate(text_of(1, tokens, *range(blocks))) == pytest.approx(tokens, rel=0.02, abs=4)


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("tokens", [5, 50, 700])
def test_a_prompt_without_blocks_has_its_length(unique, tokens):
    prompts = Prompts(["Why is the sky blue?"], unique=unique)
    sent = prompts.prepare("Why is the sky blue?", random.Random(1), tokens)
    assert estimate(sent) == pytest.approx(tokens, rel=0.02, abs=4)
