"""Comparisons of two runs from levels whose difference is known."""

import math
import random
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from llmlocust.analysis.breakpoints.steps import wilson
from llmlocust.analysis.comparison.compare import (
    ERRORS,
    FASTER,
    FEWER,
    MORE,
    SAME,
    SLOWER,
    TOKENS,
    UNSURE,
    Held,
    compare,
    spreads_of,
)
from llmlocust.analysis.comparison.dependence import Values, inflation, normal, student, welch
from llmlocust.metrics.levels import LevelFigures, Summary

WINDOW = 100.0


def spread(count):
    return (np.arange(count) + 0.5) * WINDOW / count


def level(load=10.0, *, seed=1, factor=1.0, count=1000, failed=0, doubts=(), noise=0.3, at=None, weight=1.0, **figures):
    """A level whose TTFTs are log-normal around `factor` seconds and whose e2e is ten times that."""
    generator = np.random.default_rng(seed)
    at = spread(count) if at is None else at
    value = factor * np.exp(noise * generator.standard_normal(len(at)))
    weights = np.full(len(at), weight)
    properties = {
        "users": math.nan,
        "unit": "rate",
        "window": WINDOW,
        "requests": count + failed,
        "ok": count,
        "throughput": count / WINDOW,
    }
    errors = np.zeros(count + failed)
    errors[:: max(1, len(errors) // failed) if failed else len(errors) + 1] = 1.0
    values = {
        "ttft": Values(at, value, weights),
        "e2e": Values(at, 10.0 * value, weights),
        ERRORS: Values(spread(count + failed), errors, np.ones(count + failed)),
        "throughput": Values(at, np.ones(len(at)), weights),
    }
    return Held(LevelFigures(0, load, **(properties | figures)), values, doubts=doubts)


def of(comparison, metric, statistic="", load=10.0):
    pair = next(pair for pair in comparison.pairs if pair.load == load)
    return next(
        difference
        for difference in pair.differences
        if (difference.metric, difference.statistic) == (metric, statistic)
    )


# -- differences of one level


def test_a_tenth_slower_is_found_and_is_a_regression():
    comparison = compare([level()], [level(seed=2, factor=1.1)])

    difference = of(comparison, "ttft", "p50")
    assert difference.word == SLOWER
    assert difference.regression
    assert difference.change(difference.low) < 0.1 < difference.change(difference.high)
    assert difference.new / difference.base == pytest.approx(math.exp(difference.effect))
    assert difference in comparison.regressions


def test_a_tenth_faster_is_no_regression():
    comparison = compare([level(noise=0.2)], [level(seed=2, factor=1 / 1.1, noise=0.2)])

    assert of(comparison, "ttft", "p50").word == FASTER
    assert comparison.regressions == []


def test_the_same_needs_an_interval_within_the_tolerance():
    long = compare([level(count=20_000)], [level(seed=2, count=20_000)])
    short = compare([level(count=100)], [level(seed=2, count=100)])

    assert of(long, "ttft", "p50").word == SAME
    assert of(short, "ttft", "p50").word == UNSURE
    assert "times as long" in of(short, "ttft", "p50").why


def test_a_slowdown_within_the_tolerance_is_no_regression():
    def compared(tolerance):
        return of(compare([level(count=20_000)], [level(seed=2, factor=1.1, count=20_000)], tolerance), "ttft", "p50")

    change = compared(0.05).change(compared(0.05).effect)
    assert (compared(0.12).word, compared(0.12).regression) == (SAME, False)
    assert (compared(change - 0.001).word, compared(change - 0.001).regression) == (SLOWER, True)
    slightly = compared(change + 0.001)
    assert (slightly.word, slightly.regression) == (SLOWER, False)
    assert slightly.why.startswith("not certainly by more than")


@pytest.mark.parametrize("new, word", [(800, SLOWER), (1250, FASTER)])
def test_more_throughput_is_faster(new, word):
    comparison = compare([level(noise=0.05)], [level(seed=2, count=new, noise=0.05, at=spread(new) ** 1.0)])

    # requests at equal intervals vary by at most one per chunk
    assert of(comparison, "throughput").word == word
    assert of(comparison, "throughput").regression == (word == SLOWER)


@pytest.mark.parametrize("before, after, word", [(0, 60, MORE), (60, 0, FEWER), (0, 0, SAME), (0, 2, SAME)])
def test_errors_are_compared_as_shares(before, after, word):
    comparison = compare([level(failed=before)], [level(seed=2, failed=after)])

    difference = of(comparison, ERRORS)
    assert difference.word == word
    assert difference.effect == pytest.approx(after / (1000 + after) - before / (1000 + before))
    assert difference.regression == (word == MORE)


def test_survivors_of_more_errors_are_not_called_faster():
    difference = of(compare([level()], [level(seed=2, factor=0.5, failed=200)]), "ttft", "p50")

    assert (difference.word, difference.why) == (UNSURE, "more requests failed, and those that fail have no latency")


def test_levels_of_both_runs_are_compared():
    comparison = compare([level(1.0), level(5.0), level(20.0)], [level(5.0), level(10.0), level(20.04)])

    assert [pair.load for pair in comparison.pairs] == [5.0, 20.0]
    assert comparison.only_base == (1.0,)
    assert comparison.only_new == (10.0,)


def test_the_longer_of_two_levels_of_one_load_counts():
    shorter = level(window=10.0, count=30, factor=9.0)
    comparison = compare([shorter, level()], [level(seed=2)])

    assert of(comparison, "ttft", "p50").base == pytest.approx(1.0, rel=0.1)


def test_a_level_with_failed_checks_shows_no_difference_and_is_in_no_mean():
    doubted = level(20.0, factor=3.0, seed=4, doubts=("client CPU",))
    comparison = compare([level(), level(20.0, seed=3)], [level(seed=2), doubted])

    assert {difference.word for difference in comparison.pairs[1].differences} == {UNSURE}
    assert comparison.pairs[1].differences[0].why == "checks failed at this level (NEW: client CPU)"
    assert comparison.doubted == [comparison.pairs[1]]
    assert comparison.regressions == []
    assert comparison.overall == ()


def test_the_mean_of_all_levels_shows_more_than_one_level():
    loads = [5.0, 10.0, 20.0, 40.0, 60.0]
    base = [level(load, seed=place, count=400, noise=0.5) for place, load in enumerate(loads)]
    new = [level(load, seed=50 + place, count=400, noise=0.5, factor=1.1) for place, load in enumerate(loads)]
    comparison = compare(base, new)

    overall = next(
        difference for difference in comparison.overall if (difference.metric, difference.statistic) == ("ttft", "mean")
    )
    assert overall.word == SLOWER
    assert overall.error < min(of(comparison, "ttft", "mean", load).error for load in loads)


# -- noise


def words_of(base, new):
    return [difference.word for difference in compare(base, new).differences]


def test_of_equal_runs_almost_none_differ():
    wrong = 0
    for seed in range(60):
        words = words_of([level(seed=2 * seed)], [level(seed=2 * seed + 1)])
        wrong += bool(set(words) - {SAME, UNSURE})
    assert wrong <= 2


def test_95_percent_intervals_contain_the_true_difference():
    covered = 0
    for seed in range(100):
        difference = of(
            compare([level(seed=2 * seed, count=300)], [level(seed=2 * seed + 1, count=300, factor=1.3)]), "ttft", "p95"
        )
        covered += difference.low <= math.log(1.3) <= difference.high
    assert covered >= 90


def waves(seed, count=1000, correlation=0.95):
    """Return waits in waves: neighbours are similar."""
    generator = random.Random(seed)
    state, values = 0.0, []
    for _ in range(count):
        state = correlation * state + math.sqrt(1.0 - correlation**2) * generator.gauss(0.0, 1.0)
        values.append(math.exp(0.5 * state))
    return values


def in_waves(seed):
    example = level()
    return replace(example, values={"ttft": Values(spread(1000), np.array(waves(seed)), np.ones(1000))})


def test_correlated_requests_widen_the_interval():
    independent = of(compare([level(noise=0.5)], [level(seed=2, noise=0.5)]), "ttft", "p50")
    correlated = of(compare([in_waves(1)], [in_waves(2)]), "ttft", "p50")
    assert correlated.error > 2.0 * independent.error

    wrong = sum(
        bool(set(words_of([in_waves(2 * seed)], [in_waves(2 * seed + 1)])) - {SAME, UNSURE}) for seed in range(40)
    )
    assert wrong <= 1


def test_the_weight_of_a_sampled_row_does_not_narrow_the_interval():
    whole = of(compare([level(count=1000)], [level(seed=2, count=1000)]), "ttft", "p50")
    at = spread(1000)
    sample = of(compare([level(at=at, weight=9.0)], [level(seed=2, at=at, weight=9.0)]), "ttft", "p50")

    assert sample.error == pytest.approx(whole.error)


def of_users(seed, length):
    example = level(seed=seed, users=10.0, unit="users")
    generator = np.random.default_rng(seed)
    lengths = np.full(1000, 64.0) if length == "one" else generator.integers(20, 100, 1000).astype(float)
    answers = {
        "output_tokens": Values(spread(1000), lengths, np.ones(1000)),
        "e2e": Values(spread(1000), np.ones(1000), np.ones(1000)),
    }
    return replace(example, values=dict(example.values) | answers)


def with_longer_waits(example, factor):
    """Compare a level with the same level with longer waits. Return the words for p50 and for the mean."""
    ttft = example.values["ttft"]
    slower = Values(ttft.at, ttft.value * factor, ttft.weight)
    comparison = compare([example], [replace(example, values=dict(example.values) | {"ttft": slower})])
    return of(comparison, "ttft", "p50").word, of(comparison, "ttft", "mean").word


def test_users_in_lockstep_count_as_few_independent_requests():
    lock, free = of_users(1, "one"), of_users(1, "many")
    assert (lock.cycle, lock.lockstep, free.lockstep) == (1.0, True, False)

    assert with_longer_waits(free, 1.15) == (SLOWER, SLOWER)
    assert with_longer_waits(lock, 1.15) == (UNSURE, UNSURE)


@pytest.mark.parametrize(("noise", "wait", "mean_word"), [(0.1, 0.4, SLOWER), (0.1, 0.1, UNSURE), (0.4, 0.4, UNSURE)])
def test_the_mean_wait_of_a_long_queue_in_lockstep_is_certain(noise, wait, mean_word):
    """If all waits are about equal, the mean wait is users / throughput less the time of an answer."""
    example = of_users(1, "one")
    waits = wait * np.exp(noise * np.random.default_rng(3).standard_normal(1000))
    queue = replace(example, values=dict(example.values) | {"ttft": Values(spread(1000), waits, np.ones(1000))})

    assert with_longer_waits(queue, 1.1) == (UNSURE, mean_word)


def test_goodput_in_lockstep_is_uncertain():
    example = of_users(1, "one")
    good = Values(spread(1000), np.ones(1000), np.ones(1000))
    some = Values(spread(1000), (np.random.default_rng(4).random(1000) < 0.2).astype(float), np.ones(1000))
    base, new = (
        replace(example, goodput=values.value.sum() / WINDOW, values=dict(example.values) | {"goodput": values})
        for values in (good, some)
    )

    assert of(compare([base], [new]), "goodput").word == UNSURE
    free = [
        replace(
            run_level, values=dict(run_level.values) | {"output_tokens": of_users(1, "many").values["output_tokens"]}
        )
        for run_level in (base, new)
    ]
    assert of(compare(free[:1], free[1:]), "goodput").word == SLOWER


# -- levels without single requests


def figures(load, factor=1.0, **more):
    summary = Summary(
        1000,
        2.0 * factor,
        quantiles={"p50": factor, "p95": 3.0 * factor},
        intervals={"p50": (0.97 * factor, 1.03 * factor), "p95": (2.9 * factor, 3.1 * factor)},
    )
    properties = {"window": 60.0, "requests": 1000, "ok": 1000, "throughput": 16.0, "users": load}
    return LevelFigures(int(load), load, metrics={"e2e": summary}, **(properties | more))


def bare(levels):
    spreads = spreads_of(levels)
    return [Held(level, spreads=spreads[level.level]) for level in levels]


def test_levels_without_requests_are_compared_by_their_intervals():
    comparison = compare(bare([figures(1.0), figures(5.0)]), bare([figures(1.0), figures(5.0, 2.0, throughput=8.0)]))

    assert of(comparison, "e2e", "p50", 5.0).word == SLOWER
    assert of(comparison, "throughput", load=5.0).word == SLOWER
    assert of(comparison, "e2e", "p50", 1.0).effect == 0.0
    assert not any(difference.metric == "ttft" for difference in comparison.differences)


def test_the_mean_is_compared_if_percentiles_are_not_known():
    plain = [replace(figures(load), metrics={"e2e": Summary(1000, mean)}) for load, mean in ((5.0, 1.0), (10.0, 3.0))]
    comparison = compare(bare(plain), bare([replace(level, metrics={"e2e": Summary(1000, 9.0)}) for level in plain]))

    assert of(comparison, "e2e", "mean", 5.0).word == SLOWER
    assert TOKENS not in {difference.metric for difference in comparison.differences}


# -- the distributions


@pytest.mark.parametrize(
    "freedom, t, p", [(4, 4.604, 0.995), (11, 2.201, 0.975), (11, 4.437, 0.9995), (22, 3.792, 0.9995)]
)
def test_students_t_agrees_with_tables(freedom, t, p):
    assert normal(t, freedom) == pytest.approx(NormalDist().inv_cdf(p), abs=0.02)
    assert student(normal(t, freedom), freedom) == pytest.approx(t)
    assert normal(-t, freedom) == -normal(t, freedom)


def test_welch_freedom_is_between_that_of_one_and_of_both():
    assert welch((1.0, 1.0), (10.0, 10.0)) == pytest.approx(20.0)
    assert welch((1.0, 1e-9), (10.0, 10.0)) == pytest.approx(10.0)


def test_wilson_agrees_with_newcombe():
    # Newcombe 1998, table II: Wilson's interval of 56 of 70
    assert wilson(56 / 70, 70) == pytest.approx((0.6922, 0.8770), abs=2e-3)


def test_similar_neighbours_inflate():
    assert inflation(-0.5) == 1.0
    assert inflation(0.5) == pytest.approx(3.0)
    assert math.isfinite(inflation(1.0))
