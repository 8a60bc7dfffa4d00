import math
import random

import pytest

from llmlocust.analysis.phases.trend import LEAST, Course, change_of


def course(*means, metric="tpot"):
    return Course(metric, 3.0, means)


def noisy(means, seed=1, size=0.02):
    generator = random.Random(seed)
    return [mean * math.exp(generator.gauss(0.0, size)) for mean in means]


STEADY = [0.02] * 10


def test_a_steady_figure_has_no_change():
    assert change_of(course(*STEADY)) is None
    changes = [change_of(course(*noisy(STEADY, seed, 0.2))) for seed in range(500)]
    assert sum(change is not None for change in changes) <= 5


def test_the_end_of_a_slow_beginning_is_found():
    change = change_of(course(*noisy([0.05, 0.05, 0.05, *STEADY[3:]])))
    assert change.until == 9.0
    assert change.before == pytest.approx(0.05, rel=0.05)
    assert change.after == pytest.approx(0.02, rel=0.05)
    assert change.size == pytest.approx(math.log(2.5), rel=0.05)


@pytest.mark.parametrize(
    "means",
    [
        [0.02 * 1.08**place for place in range(10)],
        [0.02 * 0.92**place for place in range(10)],
        [*STEADY[:3], *[0.04] * 7],  # a fast beginning is no warm-up
        [*STEADY[:7], *[0.04] * 3],
    ],
)
def test_a_figure_that_never_becomes_steady_has_no_end(means):
    change = change_of(course(*noisy(means)))
    assert math.isinf(change.until)
    assert (change.after > change.before) == (means[-1] > means[0])


def test_small_changes_do_not_count_even_if_they_are_certain():
    assert change_of(course(*noisy([0.02 * 1.01**place for place in range(10)], size=0.0001))) is None
    # a factor of two, but less than a millisecond
    assert change_of(course(*noisy([0.0005] * 5 + [0.001] * 5))) is None


def test_too_few_slices_show_no_change():
    assert change_of(course(*[0.01] * 2, *[0.1] * (LEAST - 3))) is None
    assert change_of(course(*[0.01] * 3, *[0.1] * (LEAST - 3))) is not None
