"""The end of a plan whose load falls until the service has recovered from a fault."""

import pytest

from llmlocust.load.curves import Staircase
from llmlocust.plugin.shapes.healing import Healing
from tests.plugin.run.fake_cluster import make_run

LOADS = [20.0, 16.0, 12.0, 8.0, 4.0]


def healing(rates, *, in_flight=5.0, level=0, fault=(30.0, 40.0)):
    """Return a Healing at the end of a level of 100 s, and its staircase. `rates`: successes per second of each second."""
    run, cluster = make_run()
    run.lag = 0.0
    run.plan = {"levels": LOADS, "phases": [{"name": "", "levels": 1}, {"name": "healing", "levels": 4}]}
    moments = [None if moment is None else run.began + moment for moment in fault]
    run.faults = [{"began": moments[0], "lifted": moments[1]}]
    for index in range(level + 1):
        cluster.advance(45.0 * index)  # the fault is in the first level
        run.begin_level(LOADS[index])
        run.end_warmup()
    for second, rate in enumerate(rates):
        after = second > 40
        counts = {"ended": 20, "failed": 20 - rate, "in_flight": in_flight if after else 5.0}
        run.ledger.seconds.merge(second, counts)
    cluster.advance(len(rates) - run.moment())
    stairs = Staircase(LOADS, warmup=0.0, hold=100.0, level=level)
    stairs._enter("hold", 0.0)
    return Healing(run, stairs, 1), stairs


@pytest.mark.parametrize(
    ("after", "in_flight", "level", "left"),
    [
        (20, 5.0, 0, [20.0]),  # recovered before the load is lowered
        (2, 5.0, 0, LOADS),  # most requests fail
        (20, 50.0, 0, LOADS),  # as many answers, with a long queue
        (16, 5.0, 1, [20.0, 16.0]),  # recovered at a lower load: as many as expected there
        (5, 5.0, 1, LOADS),
    ],
)
def test_the_load_falls_until_the_service_has_recovered(after, in_flight, level, left):
    judged, stairs = healing([20] * 30 + [0] * 10 + [after] * 60, in_flight=in_flight, level=level)
    judged.judge(99.0)
    assert stairs.levels == left
    assert judged.run.plan["levels"] == left
    assert sum(phase["levels"] for phase in judged.run.plan["phases"]) == len(left)


def test_a_level_is_judged_at_its_end_only():
    judged, stairs = healing([20] * 100)
    judged.judge(50.0)
    assert stairs.levels == LOADS


@pytest.mark.parametrize("fault", [(None, None), (30.0, None)])
def test_without_a_fault_that_is_over_the_load_does_not_fall(fault):
    judged, stairs = healing([20] * 30 + [0] * 70, fault=fault)
    judged.judge(99.0)
    assert stairs.levels == [20.0]
