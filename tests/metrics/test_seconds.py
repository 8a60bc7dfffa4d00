"""The values of every second of a run."""

import sys

from llmlocust.metrics.seconds import Seconds


def test_counts_of_processes_add_up_and_the_worst_gauges_are_kept():
    seconds = Seconds()
    seconds.merge(3, {"sent": 2, "tokens": 1.5, "users": 4, "loop_lag": 0.2})
    seconds.merge(3, {"sent": 1, "tokens": 0.25, "users": 5, "loop_lag": 0.1, "longest": 7.0})
    assert seconds[3] == {"sent": 3, "tokens": 1.75, "users": 9, "loop_lag": 0.2, "longest": 7.0}
    assert isinstance(seconds[3]["sent"], int)  # so files have whole numbers


def test_seconds_without_a_report_are_missing():
    seconds = Seconds()
    seconds.merge(5, {"sent": 0})
    seconds.merge(2, {"ended": 1})  # a late report
    assert dict(seconds) == {2: {"ended": 1}, 5: {"sent": 0}}
    assert 3 not in seconds
    assert seconds.get(9) is None
    assert [str(seconds.value(second, "sent")) for second in (2, 5, 9)] == ["nan", "0.0", "nan"]


def test_counts_of_before_the_run_belong_to_its_first_second():
    seconds = Seconds()
    seconds.merge(-2, {"ended": 1})
    seconds.merge(0, {"ended": 1})
    assert dict(seconds) == {0: {"ended": 2}}


def test_an_hour_takes_less_than_half_a_megabyte():
    seconds = Seconds()
    for second in range(3600):
        seconds.merge(second, {"sent": 2, "ended": 2, "tokens": 90.5, "users": 4, "in_flight": 3, "client_cpu": 0.1})
    assert sum(sys.getsizeof(column) for column in seconds._columns.values()) < 2**19
