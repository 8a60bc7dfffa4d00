import math
import random

import pytest

from llmlocust.analysis.quality import changes
from llmlocust.metrics.levels import LevelFigures


def level(load, answers=400, **shares):
    shares_of_answers = {
        "empty": 0.0,
        "cut": 0.0,
        "repeated": 0.0,
        "judged": answers if "right" in shares else 0,
    } | shares
    return LevelFigures(int(load), load, requests=answers, ok=answers, **shares_of_answers)


def test_fewer_right_answers_are_reported_with_loads_and_difference():
    (change,) = changes([level(1, right=0.95), level(10, right=0.94), level(50, right=0.8), level(100, right=0.6)])
    assert change.is_worse
    assert (change.before.load, change.after.load) == (1, 50)
    assert change.low < -0.15 < change.high < 0
    assert change.says("users").startswith("Fewer right answers under load: 95 % at 1 user, 80 % at 50 (by −2"), (
        change.says("users")
    )


def test_a_difference_within_noise_is_not_worse():
    (change,) = changes([level(1, right=0.90), level(100, right=0.88)])
    assert not change.is_worse
    assert change.says("users").startswith(
        "No certain sign of fewer right answers under load: 90 % at 1 user, 88 % at 100"
    )


def test_better_is_not_worse():
    (right,) = changes([level(1, right=0.5), level(100, right=0.9)])
    (empty,) = changes([level(1, empty=0.5), level(100, empty=0.1)])
    assert not right.is_worse
    assert not empty.is_worse


@pytest.mark.parametrize("kind", ["empty", "cut", "repeated"])
def test_each_kind_of_bad_answer_is_compared(kind):
    (change,) = changes([level(1), level(10, **{kind: 0.2})])
    assert (change.kind, change.is_worse) == (kind, True)


def test_unknown_shares_show_no_change():
    assert changes([level(1), level(10)]) == []
    assert changes([level(1, right=0.9)]) == []
    assert changes([level(1, cut=math.nan), level(2, cut=0.5)]) == []
    assert changes([level(1, right=0.9), level(2, answers=0, right=math.nan)]) == []


def test_equal_levels_are_seldom_called_worse():
    """Ten equal levels per run: no more than 5 % of the runs show a worse level."""
    generator = random.Random(3)

    def run():
        return [
            level(load, 200, right=sum(generator.random() < 0.9 for _ in range(200)) / 200) for load in range(1, 11)
        ]

    alarms = sum(changes(run())[0].is_worse for _ in range(400))
    assert alarms <= 400 * 0.05
