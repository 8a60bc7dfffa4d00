"""Two runs beside each other, from levels whose difference is known."""

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


def held(load=10.0, *, seed=1, factor=1.0, count=1000, failed=0, doubts=(), noise=0.3, at=None, weight=1.0, **figures):
    """A level whose TTFTs are log-normal around `factor` seconds and whose e2e is ten times that."""
    dice = np.random.default_rng(seed)
    at = spread(count) if at is None else at
    value = factor * np.exp(noise * dice.standard_normal(len(at)))
    weights = np.full(len(at), weight)
    told = {
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
    return Held(LevelFigures(0, load, **(told | figures)), values, doubts=doubts)


def of(comparison, metric, statistic="", load=10.0):
    pair = next(pair for pair in comparison.pairs if pair.load == load)
    return next(each for each in pair.differences if (each.metric, each.statistic) == (metric, statistic))


# -- what is said


def test_a_tenth_slower_is_found_and_is_a_regression():
    comparison = compare([held()], [held(seed=2, factor=1.1)])

    found = of(comparison, "ttft", "p50")
    assert found.word == SLOWER
    assert found.regression
    assert found.change(found.low) < 0.1 < found.change(found.high)
    assert found.new / found.base == pytest.approx(math.exp(found.effect))
    assert found in comparison.regressions


def test_a_tenth_faster_is_no_regression():
    comparison = compare([held(noise=0.2)], [held(seed=2, factor=1 / 1.1, noise=0.2)])

    assert of(comparison, "ttft", "p50").word == FASTER
    assert comparison.regressions == []


def test_the_same_needs_an_interval_within_the_tolerance():
    many = compare([held(count=20_000)], [held(seed=2, count=20_000)])
    few = compare([held(count=100)], [held(seed=2, count=100)])

    assert of(many, "ttft", "p50").word == SAME
    assert of(few, "ttft", "p50").word == UNSURE
    assert "times as long" in of(few, "ttft", "p50").why


def test_what_is_slower_by_less_than_the_tolerance_is_no_regression():
    def judged(tolerance):
        return of(compare([held(count=20_000)], [held(seed=2, factor=1.1, count=20_000)], tolerance), "ttft", "p50")

    change = judged(0.05).change(judged(0.05).effect)
    assert (judged(0.12).word, judged(0.12).regression) == (SAME, False)
    assert (judged(change - 0.001).word, judged(change - 0.001).regression) == (SLOWER, True)
    little = judged(change + 0.001)
    assert (little.word, little.regression) == (SLOWER, False)
    assert little.why.startswith("not certainly by more than")


@pytest.mark.parametrize("new, word", [(800, SLOWER), (1250, FASTER)])
def test_of_throughput_more_is_better(new, word):
    comparison = compare([held(noise=0.05)], [held(seed=2, count=new, noise=0.05, at=spread(new) ** 1.0)])

    # requests that come like clockwork scatter by no more than one a chunk
    assert of(comparison, "throughput").word == word
    assert of(comparison, "throughput").regression == (word == SLOWER)


@pytest.mark.parametrize("before, after, word", [(0, 60, MORE), (60, 0, FEWER), (0, 0, SAME), (0, 2, SAME)])
def test_errors_are_compared_as_shares(before, after, word):
    comparison = compare([held(failed=before)], [held(seed=2, failed=after)])

    found = of(comparison, ERRORS)
    assert found.word == word
    assert found.effect == pytest.approx(after / (1000 + after) - before / (1000 + before))
    assert found.regression == (word == MORE)


def test_survivors_of_more_errors_are_not_called_faster():
    found = of(compare([held()], [held(seed=2, factor=0.5, failed=200)]), "ttft", "p50")

    assert (found.word, found.why) == (UNSURE, "more requests failed, and those that fail have no latency")


def test_levels_that_both_runs_held_are_compared():
    comparison = compare([held(1.0), held(5.0), held(20.0)], [held(5.0), held(10.0), held(20.04)])

    assert [pair.load for pair in comparison.pairs] == [5.0, 20.0]
    assert comparison.only_base == (1.0,)
    assert comparison.only_new == (10.0,)


def test_of_a_load_held_twice_the_longer_level_counts():
    short = held(window=10.0, count=30, factor=9.0)
    comparison = compare([short, held()], [held(seed=2)])

    assert of(comparison, "ttft", "p50").base == pytest.approx(1.0, rel=0.1)


def test_a_doubted_level_says_nothing_and_is_in_no_mean():
    spoiled = held(20.0, factor=3.0, seed=4, doubts=("client CPU",))
    comparison = compare([held(), held(20.0, seed=3)], [held(seed=2), spoiled])

    assert {each.word for each in comparison.pairs[1].differences} == {UNSURE}
    assert comparison.pairs[1].differences[0].why == "checks failed at this level (NEW: client CPU)"
    assert comparison.doubted == [comparison.pairs[1]]
    assert comparison.regressions == []
    assert comparison.overall == ()


def test_over_all_levels_more_is_seen_than_at_one():
    loads = [5.0, 10.0, 20.0, 40.0, 60.0]
    base = [held(load, seed=place, count=400, noise=0.5) for place, load in enumerate(loads)]
    new = [held(load, seed=50 + place, count=400, noise=0.5, factor=1.1) for place, load in enumerate(loads)]
    comparison = compare(base, new)

    overall = next(each for each in comparison.overall if (each.metric, each.statistic) == ("ttft", "mean"))
    assert overall.word == SLOWER
    assert overall.error < min(of(comparison, "ttft", "mean", load).error for load in loads)


# -- noise


def words_of(base, new):
    return [each.word for each in compare(base, new).differences]


def test_of_equal_runs_almost_none_differ():
    wrong = 0
    for seed in range(60):
        words = words_of([held(seed=2 * seed)], [held(seed=2 * seed + 1)])
        wrong += bool(set(words) - {SAME, UNSURE})
    assert wrong <= 2


def test_intervals_hold_what_is_true_as_often_as_they_say():
    held_it = 0
    for seed in range(100):
        found = of(
            compare([held(seed=2 * seed, count=300)], [held(seed=2 * seed + 1, count=300, factor=1.3)]), "ttft", "p95"
        )
        held_it += found.low <= math.log(1.3) <= found.high
    assert held_it >= 90


def waves(seed, count=1000, alike=0.95):
    """Waits that come and go: neighbours are alike."""
    dice = random.Random(seed)
    level, values = 0.0, []
    for _ in range(count):
        level = alike * level + math.sqrt(1.0 - alike**2) * dice.gauss(0.0, 1.0)
        values.append(math.exp(0.5 * level))
    return values


def in_waves(seed):
    made = held()
    return replace(made, values={"ttft": Values(spread(1000), np.array(waves(seed)), np.ones(1000))})


def test_requests_that_wait_together_count_for_fewer():
    alone = of(compare([held(noise=0.5)], [held(seed=2, noise=0.5)]), "ttft", "p50")
    together = of(compare([in_waves(1)], [in_waves(2)]), "ttft", "p50")
    assert together.error > 2.0 * alone.error

    wrong = sum(
        bool(set(words_of([in_waves(2 * seed)], [in_waves(2 * seed + 1)])) - {SAME, UNSURE}) for seed in range(40)
    )
    assert wrong <= 1


def test_a_row_that_stands_for_many_is_still_one():
    whole = of(compare([held(count=1000)], [held(seed=2, count=1000)]), "ttft", "p50")
    at = spread(1000)
    sample = of(compare([held(at=at, weight=9.0)], [held(seed=2, at=at, weight=9.0)]), "ttft", "p50")

    assert sample.error == pytest.approx(whole.error)


def of_users(seed, length):
    made = held(seed=seed, users=10.0, unit="users")
    dice = np.random.default_rng(seed)
    lengths = np.full(1000, 64.0) if length == "one" else dice.integers(20, 100, 1000).astype(float)
    answers = {
        "output_tokens": Values(spread(1000), lengths, np.ones(1000)),
        "e2e": Values(spread(1000), np.ones(1000), np.ones(1000)),
    }
    return replace(made, values=dict(made.values) | answers)


def lifted(made, factor):
    """`made` beside the same with longer waits: what is said of p50 and of the mean."""
    ttft = made.values["ttft"]
    slower = Values(ttft.at, ttft.value * factor, ttft.weight)
    comparison = compare([made], [replace(made, values=dict(made.values) | {"ttft": slower})])
    return of(comparison, "ttft", "p50").word, of(comparison, "ttft", "mean").word


def test_users_in_lockstep_are_as_few_as_they_are():
    lock, free = of_users(1, "one"), of_users(1, "many")
    assert (lock.cycle, lock.lockstep, free.lockstep) == (1.0, True, False)

    assert lifted(free, 1.15) == (SLOWER, SLOWER)
    assert lifted(lock, 1.15) == (UNSURE, UNSURE)


@pytest.mark.parametrize(("noise", "wait", "said"), [(0.1, 0.4, SLOWER), (0.1, 0.1, UNSURE), (0.4, 0.4, UNSURE)])
def test_the_mean_wait_of_a_queue_in_lockstep_is_known(noise, wait, said):
    """Where all wait about equally long: users / throughput, less what an answer takes."""
    made = of_users(1, "one")
    waits = wait * np.exp(noise * np.random.default_rng(3).standard_normal(1000))
    queue = replace(made, values=dict(made.values) | {"ttft": Values(spread(1000), waits, np.ones(1000))})

    assert lifted(queue, 1.1) == (UNSURE, said)


def test_goodput_in_lockstep_says_nothing():
    made = of_users(1, "one")
    good = Values(spread(1000), np.ones(1000), np.ones(1000))
    some = Values(spread(1000), (np.random.default_rng(4).random(1000) < 0.2).astype(float), np.ones(1000))
    base, new = (
        replace(made, goodput=each.value.sum() / WINDOW, values=dict(made.values) | {"goodput": each})
        for each in (good, some)
    )

    assert of(compare([base], [new]), "goodput").word == UNSURE
    free = [
        replace(each, values=dict(each.values) | {"output_tokens": of_users(1, "many").values["output_tokens"]})
        for each in (base, new)
    ]
    assert of(compare(free[:1], free[1:]), "goodput").word == SLOWER


# -- where single requests are not known


def figures(load, factor=1.0, **more):
    summary = Summary(
        1000,
        2.0 * factor,
        quantiles={"p50": factor, "p95": 3.0 * factor},
        intervals={"p50": (0.97 * factor, 1.03 * factor), "p95": (2.9 * factor, 3.1 * factor)},
    )
    told = {"window": 60.0, "requests": 1000, "ok": 1000, "throughput": 16.0, "users": load}
    return LevelFigures(int(load), load, metrics={"e2e": summary}, **(told | more))


def bare(levels):
    spreads = spreads_of(levels)
    return [Held(each, spreads=spreads[each.level]) for each in levels]


def test_levels_alone_are_compared_with_the_intervals_they_have():
    comparison = compare(bare([figures(1.0), figures(5.0)]), bare([figures(1.0), figures(5.0, 2.0, throughput=8.0)]))

    assert of(comparison, "e2e", "p50", 5.0).word == SLOWER
    assert of(comparison, "throughput", load=5.0).word == SLOWER
    assert of(comparison, "e2e", "p50", 1.0).effect == 0.0
    assert not any(each.metric == "ttft" for each in comparison.differences)


def test_a_mean_stands_in_where_percentiles_are_not_known():
    plain = [replace(figures(load), metrics={"e2e": Summary(1000, mean)}) for load, mean in ((5.0, 1.0), (10.0, 3.0))]
    comparison = compare(bare(plain), bare([replace(each, metrics={"e2e": Summary(1000, 9.0)}) for each in plain]))

    assert of(comparison, "e2e", "mean", 5.0).word == SLOWER
    assert TOKENS not in {each.metric for each in comparison.differences}


# -- the distributions


@pytest.mark.parametrize(
    "freedom, t, p", [(4, 4.604, 0.995), (11, 2.201, 0.975), (11, 4.437, 0.9995), (22, 3.792, 0.9995)]
)
def test_students_t_is_what_tables_say(freedom, t, p):
    assert normal(t, freedom) == pytest.approx(NormalDist().inv_cdf(p), abs=0.02)
    assert student(normal(t, freedom), freedom) == pytest.approx(t)
    assert normal(-t, freedom) == -normal(t, freedom)


def test_welch_lies_between_one_and_both():
    assert welch((1.0, 1.0), (10.0, 10.0)) == pytest.approx(20.0)
    assert welch((1.0, 1e-9), (10.0, 10.0)) == pytest.approx(10.0)


def test_newcombes_parts():
    # Newcombe 1998, table II: Wilson's interval of 56 of 70
    assert wilson(56 / 70, 70) == pytest.approx((0.6922, 0.8770), abs=2e-3)


def test_alike_neighbours_inflate():
    assert inflation(-0.5) == 1.0
    assert inflation(0.5) == pytest.approx(3.0)
    assert math.isfinite(inflation(1.0))
