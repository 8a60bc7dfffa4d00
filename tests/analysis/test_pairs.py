"""Pairs drawn from the simulator's engine in virtual time: a small part of bench/comparing.py, which draws hundreds."""

import pytest

from bench.comparing import virtual_pairs

SEEDS = {300_000: "closed", 310_007: "closed", 310_017: "think", 310_001: "open"}


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"{SEEDS[seed]} {seed}")
def test_equal_runs_show_no_difference_and_later_first_tokens_are_found(seed):
    equal, later = virtual_pairs(seed, requests=1000)

    assert equal.kind == SEEDS[seed]
    assert equal.called == ()
    assert later.detected, later.called
