"""The most likely moment of a change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.analysis import change_point


@pytest.mark.parametrize("before", [0, 1, 7, 50])
def test_the_change_is_after_the_bad_requests(before):
    likelihoods = change_point.log_likelihoods([True] * before + [False] * 50, 0.05, 0.5)
    assert change_point.plausible(likelihoods)[1] == before


@given(st.lists(st.booleans(), max_size=60), st.floats(0.001, 0.3), st.floats(0.35, 0.9))
def test_the_place_is_inside_its_interval(flags, usual, min_before):
    likelihoods = change_point.log_likelihoods(flags, usual, min_before)
    assert len(likelihoods) == len(flags) + 1
    assert np.isfinite(likelihoods).all()
    first, place, last = change_point.plausible(likelihoods)
    assert 0 <= first <= place <= last <= len(flags)
