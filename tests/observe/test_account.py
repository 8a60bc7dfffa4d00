"""Counting what a source reports, by the windows of levels."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.observe.account import Account, percentile
from llmlocust.observe.observer import Observer
from llmlocust.observe.rules import Engine, Rule

ENGINE = Engine(
    "Toy",
    ("toy:",),
    (
        Rule("running", "gauge", ("toy:running",)),
        Rule("kv.usage", "gauge", ("toy:kv_new", "toy:kv_old")),
        Rule("memory", "gauge", ("toy:used",), per=("toy:used", "toy:free"), adds=False),
        Rule("gpu.memory", "gauge", ("toy:fb_used",), per=("toy:fb_used", "toy:fb_free"), adds=True),
        Rule("preemptions", "counter", ("toy:preempted",)),
        Rule("finished", "counter", ("toy:finished",), where={"reason": ("stop", "length")}),
        Rule("aborted", "counter", ("toy:finished",), where={"reason": "abort"}),
        Rule("failed", "counter", ("toy:failed",), absent_is_zero=True),
        Rule("cached_share", "ratio", ("toy:hits",), per=("toy:queries",)),
        Rule("cpu", "ratio", ("toy:cpu",), per=("toy:cpu",), where={"mode": "idle"}, complement=True),
        Rule("process.cpu", "rate", ("toy:process_cpu_seconds",), by=("pid",)),
        Rule("server.queue", "histogram", ("toy:queue_seconds",)),
    ),
)
SLOW = Engine("Slow", ("slow_",), (Rule("gpu.power", "gauge", ("slow_power",)),), updates_s=30.0)


def text(**metrics):
    """Return an exposition: `running=3` is toy:running, `finished__stop` has the label reason."""
    lines = ["# TYPE toy:running gauge", "# TYPE toy:hits_total counter"]
    for key, value in metrics.items():
        name, _, reason = key.partition("__")
        lines.append(f"toy:{name}" + (f'{{reason="{reason}"}}' if reason else "") + f" {value}")
    return "\n".join([*lines, ""]).encode()


def figures(account, level=0):
    return {result.rule.key: result.summary for result in account.results(level)}


def test_a_counter_in_a_window_is_interpolated_at_its_borders():
    account = Account([ENGINE])
    account.take(0.0, text(preempted_total=10))
    account.begin(0, 0.5)
    account.take(1.0, text(preempted_total=14))  # 2 of the 4 before the window
    account.take(2.0, text(preempted_total=20))
    account.end(0, 2.5)
    account.take(3.0, text(preempted_total=30))  # 5 of the 10 inside it
    summary = figures(account)["preemptions"]
    assert summary.increase == pytest.approx(2 + 6 + 5)
    assert summary.mean == pytest.approx(13 / 2)
    assert (summary.min, summary.max) == (4.0, 10.0)


@pytest.mark.parametrize(
    ("scrapes", "window", "estimate", "bounds"),
    [
        # a level that begins abruptly: all 100 may be before its begin, or after it
        ([(0.0, 0), (1.0, 100), (2.0, 600), (3.0, 600)], (0.5, 2.5), 550, (500, 600)),
        # nothing changes at the borders: the increase is exact
        ([(0.0, 7), (1.0, 7), (2.0, 607), (3.0, 607)], (0.5, 2.5), 600, (600, 600)),
        # both borders between the same scrapes
        ([(0.0, 0), (2.0, 100)], (0.5, 1.5), 50, (0, 100)),
        # the source does not answer after the end, so the counter may have any value then
        ([(0.0, 0), (1.0, 0), (2.0, 40)], (0.5, 5.0), 40, (40, math.inf)),
        # the first scrape is after the begin: the counter began at 0, at any time
        ([(1.0, 30), (2.0, 70), (3.0, 90)], (0.5, 2.5), 50, (40, 90)),
    ],
)
def test_an_increase_has_the_bounds_of_the_scrapes_around_its_borders(scrapes, window, estimate, bounds):
    account = Account([ENGINE])
    begin, end = window
    account.begin(0, begin)
    account.end(0, end)
    for moment, count in scrapes:
        account.take(moment, text(preempted_total=count))
    account.finish()
    summary = figures(account)["preemptions"]
    assert summary.increase == pytest.approx(estimate)
    assert summary.increase_bounds == bounds


@given(
    counts=st.lists(st.integers(0, 50), min_size=12, max_size=12),
    begin=st.floats(0.0, 8.0),
    length=st.floats(0.0, 3.0),
    every=st.integers(1, 3),
)
def test_the_bounds_contain_the_true_increase(counts, begin, length, every):
    """The events of each second are at its middle."""
    events = [(second + 0.5, count) for second, count in enumerate(counts)]
    account = Account([ENGINE])
    account.begin(0, begin)
    account.end(0, begin + length)
    for moment in range(0, 13, every):
        account.take(float(moment), text(preempted_total=sum(count for time, count in events if time <= moment)))
    account.finish()
    summary = figures(account)["preemptions"]
    low, high = summary.increase_bounds
    assert low <= sum(count for time, count in events if begin < time <= begin + length) <= high
    assert low - 1e-6 <= summary.increase <= high + 1e-6


def test_a_restart_neither_loses_nor_invents_increments():
    account = Account([ENGINE])
    account.begin(0, 0.0)
    account.take(0.0, text(preempted_total=100, finished_total__stop=7))
    account.take(1.0, text(preempted_total=120, finished_total__stop=9))
    taken = account.take(2.0, text(preempted_total=5, finished_total__stop=1))
    assert taken.restarted
    account.end(0, 3.0)
    account.take(3.0, text(preempted_total=8, finished_total__stop=1))
    assert figures(account)["preemptions"].increase == 20 + 5 + 3
    assert figures(account)["finished"].increase == 2 + 1
    assert account.restarts == 1


def test_a_restart_is_seen_by_the_start_time_even_if_no_counter_decreased():
    account = Account([ENGINE])
    account.begin(0, 0.0)
    account.take(0.0, text(preempted_total=2) + b"process_start_time_seconds 1000\n")
    assert account.take(1.0, text(preempted_total=5) + b"process_start_time_seconds 1234\n").restarted
    account.end(0, 1.0)
    account.take(2.0, text(preempted_total=5) + b"process_start_time_seconds 1234\n")
    assert figures(account)["preemptions"].increase == 5


@given(
    pieces=st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=6), min_size=1, max_size=4),
    other=st.integers(1, 9),
)
def test_increments_add_up_over_any_number_of_restarts(pieces, other):
    """Each piece is the life of a process: its counter begins at 0 and grows by these amounts at each scrape."""
    account, moment, expected, last = Account([ENGINE]), 0.0, 0, None
    account.begin(0, 0.0)
    for number, piece in enumerate(pieces):
        total = 0
        for amount in piece:
            total += amount
            start = f"process_start_time_seconds {1000 * (number + 1)}\n".encode()
            account.take(moment, text(preempted_total=total, finished_total__stop=other) + start)
            expected += 0 if last is None else amount
            last, moment = total, moment + 1.0
    account.end(0, moment)
    account.take(moment, text(preempted_total=last, finished_total__stop=other) + start)
    assert figures(account)["preemptions"].increase == pytest.approx(expected)


@given(
    gauges=st.lists(st.tuples(st.floats(0.1, 5.0), st.floats(0.0, 100.0)), min_size=2, max_size=20),
    begin=st.floats(0.0, 20.0),
    length=st.floats(0.5, 20.0),
)
def test_the_mean_of_a_gauge_is_weighted_by_time(gauges, begin, length):
    account, moment, steps = Account([ENGINE]), 0.0, []
    account.begin(0, begin)
    account.end(0, begin + length)
    for pause, value in gauges:
        account.take(moment, text(running=repr(value)))
        steps.append((moment, moment + pause, value))
        moment += pause
    account.take(max(moment, begin + length + 1.0), text(running=0.0))
    inside = [
        (max(0.0, min(until, begin + length) - max(since, begin)), value)
        for since, until, value in steps[:-1]  # how long the last value was valid depends on the scrape after it
    ]
    if moment < begin + length or moment - steps[-1][0] > 10.0:
        return
    since, _, value = steps[-1]
    inside.append((max(0.0, begin + length - max(since, begin)) if begin + length > since else 0.0, value))
    seconds = sum(weight for weight, _ in inside)
    if seconds > 0.0 and begin + length + 1.0 - since <= 10.0:
        mean = sum(weight * value for weight, value in inside) / seconds
        assert figures(account)["running"].mean == pytest.approx(mean)


def test_zero_and_not_exposed_are_different():
    account = Account([ENGINE])
    account.begin(0, 0.0)
    for moment in range(3):
        account.take(float(moment), text(running=0, preempted_total=0))
    account.end(0, 2.0)
    account.take(3.0, text(running=0, preempted_total=0))
    known = figures(account)
    assert known["running"].mean == 0.0
    assert known["preemptions"].increase == 0.0
    assert known["failed"].increase == 0.0  # this exporter creates it at its first event
    assert "kv.usage" not in known
    assert set(account.exposes) == {"running", "preemptions", "failed"}


def test_a_counter_that_appears_later_counts_from_zero():
    account = Account([ENGINE])
    account.begin(0, 0.0)
    account.take(0.0, text(running=1))
    account.take(1.0, text(running=1, failed_total=3))
    account.end(0, 2.0)
    account.take(2.0, text(running=1, failed_total=4))
    assert figures(account)["failed"].increase == 4


def test_ratios_are_those_of_the_window_and_not_means_of_ratios():
    account = Account([ENGINE])
    account.begin(0, 0.0)
    account.take(0.0, text(hits_total=0, queries_total=0))
    account.take(1.0, text(hits_total=9, queries_total=10))
    account.end(0, 2.0)
    account.take(2.0, text(hits_total=9, queries_total=100))
    summary = figures(account)["cached_share"]
    assert summary.mean == pytest.approx(0.09)
    assert (summary.min, summary.max) == (0.0, 0.9)


def test_the_complement_of_idle_is_busy():
    def cpu(idle, user):
        return f'toy:cpu{{mode="idle"}} {idle}\ntoy:cpu{{mode="user"}} {user}\n'.encode()

    account = Account([ENGINE])
    account.begin(0, 0.0)
    account.take(0.0, cpu(100, 100))
    account.end(0, 10.0)
    account.take(10.0, cpu(101, 109))
    assert figures(account)["cpu"].mean == pytest.approx(0.9)


def test_the_busiest_process_counts_and_one_that_was_not_seen_before_does_not():
    def cpu(**seconds):
        return "".join(f'toy:process_cpu_seconds_total{{pid="{pid}"}} {value}\n' for pid, value in seconds.items())

    account = Account([ENGINE])
    account.begin(0, 0.0)
    account.take(0.0, cpu(a=10, b=500).encode())
    account.take(1.0, cpu(a=10.9, b=500.1, c=700).encode())
    account.end(0, 2.0)
    account.take(2.0, cpu(a=11.5, b=500.2, c=700.2).encode())
    summary = figures(account)["process.cpu"]
    assert summary.mean == pytest.approx(0.75)
    assert summary.max == pytest.approx(0.9)


def test_durations_have_a_mean_and_percentiles_with_the_bounds_of_their_bucket():
    def queue(counts, total):
        buckets = "".join(f'toy:queue_seconds_bucket{{le="{le}"}} {count}\n' for le, count in counts.items())
        return f"{buckets}toy:queue_seconds_sum {total}\ntoy:queue_seconds_count {counts['+Inf']}\n".encode()

    account = Account([ENGINE])
    account.begin(0, 0.0)
    account.take(0.0, queue({"0.3": 10, "1": 10, "+Inf": 10}, 1.0))
    account.end(0, 1.0)
    account.take(1.0, queue({"0.3": 18, "1": 28, "+Inf": 30}, 11.0))
    summary = figures(account)["server.queue"]
    assert summary.mean == pytest.approx(0.5)
    assert summary.increase == 20
    assert summary.p50_bounds == (0.3, 1.0)
    assert 0.3 < summary.p50 < 1.0
    assert summary.p95_bounds == pytest.approx((1.0, 10.0))  # of 20 values with the mean 0.5
    assert summary.p95 == 1.0


def test_a_percentile_in_a_wide_bucket_is_limited_by_the_mean():
    """vLLM's first bucket of queue times ends at 0.3 s, and requests that need not wait have some microseconds."""
    value, bounds = percentile({0.3: 20.0, 0.5: 20.0, math.inf: 20.0}, 0.95, 0.00002)
    assert bounds == (0.0, pytest.approx(0.0004))
    assert value <= 0.0004
    assert percentile({0.3: 20.0, math.inf: 20.0}, 0.95, 0.0) == (0.0, (0.0, 0.0))


def test_a_repeated_value_of_a_slow_exporter_is_not_a_new_value():
    account = Account([SLOW])
    account.begin(0, 0.0)
    for moment in range(60):
        account.take(float(moment), f"slow_power {100 if moment < 30 else 300}\n".encode())
    account.end(0, 59.5)
    account.take(60.0, b"slow_power 300\n")
    summary = figures(account)["gpu.power"]
    assert summary.samples == 1  # the update inside the window
    assert 190 < summary.mean < 210


def test_gauges_with_a_denominator_are_shares():
    account = Account([ENGINE])
    account.begin(0, 0.0)
    account.take(0.0, text(fb_used=75, fb_free=25))
    account.end(0, 1.0)
    account.take(1.0, text(fb_used=75, fb_free=25))
    assert figures(account)["gpu.memory"].mean == 0.75


def test_the_first_name_that_exists_is_used():
    account = Account([ENGINE])
    account.begin(0, 0.0)
    account.take(0.0, text(kv_old=0.5))
    account.end(0, 1.0)
    account.take(1.0, text(kv_old=0.5))
    assert figures(account)["kv.usage"].mean == 0.5


def test_a_long_pause_is_not_counted_for_gauges_and_is_for_counters():
    account = Account([ENGINE])
    account.begin(0, 0.0)
    account.take(0.0, text(running=1, preempted_total=0))
    account.take(1.0, text(running=5, preempted_total=1))
    account.take(60.0, text(running=5, preempted_total=50))
    account.end(0, 61.0)
    account.take(61.0, text(running=5, preempted_total=51))
    known = figures(account)
    assert known["running"].mean == pytest.approx((1 * 1 + 5 * 1) / 2)
    assert known["preemptions"].increase == 51


def test_own_names_have_rows_without_buckets():
    account = Account([ENGINE])
    account.begin(0, 0.0)
    account.take(0.0, b'x 1\ny_total{a="b"} 5\nz_bucket{le="1"} 3\n')
    account.take(1.0, b'x 3\ny_total{a="b"} 9\nz_bucket{le="1"} 3\n')
    account.end(0, 2.0)
    account.take(2.0, b'x 3\ny_total{a="b"} 9\nz_bucket{le="1"} 3\n')
    rows = {row.metric: row for row in account.own_rows(0)}
    assert rows.keys() == {"x", "y_total"}
    assert rows["x"].summary.mean == pytest.approx(2.0)
    assert (rows["x"].summary.min, rows["x"].summary.max) == (1.0, 3.0)
    assert rows["y_total"].labels == 'a="b"'
    assert rows["y_total"].summary.increase == 4


def test_a_value_after_the_end_of_a_window_is_not_in_it():
    account = Account([ENGINE])
    account.begin(0, 0.0)
    for moment in (0.0, 1.0):
        account.take(moment, b"x 4\n")
    account.end(0, 2.0)
    account.take(5.0, b"x 90\n")
    (row,) = account.own_rows(0)
    assert (row.summary.mean, row.summary.min, row.summary.max) == (4.0, 4.0, 4.0)


def test_levels_that_follow_at_once_share_their_border():
    account = Account([ENGINE])
    account.take(0.0, text(preempted_total=0))
    account.begin(0, 0.0)
    account.take(1.0, text(preempted_total=10))
    account.end(0, 1.5)
    account.begin(1, 1.5)
    account.take(2.0, text(preempted_total=20))
    account.end(1, 2.0)
    account.take(3.0, text(preempted_total=20))
    assert figures(account, 0)["preemptions"].increase == pytest.approx(15)
    assert figures(account, 1)["preemptions"].increase == pytest.approx(5)


@given(st.lists(st.floats(0.001, 50.0), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.95]))
def test_a_percentile_lies_between_its_bounds(values, q):
    bounds = [0.01, 0.1, 0.5, 1.0, 5.0, 10.0, math.inf]
    buckets = {bound: float(sum(value <= bound for value in values)) for bound in bounds}
    estimate, (low, high) = percentile(buckets, q, sum(values) / len(values) * (1.0 + 1e-9))
    true = sorted(values)[max(0, math.ceil(q * len(values) - 1e-9) - 1)]
    assert low <= true <= high
    assert low <= estimate <= high


def test_sources_of_one_kind_are_added_or_the_worst_counts():
    observer = Observer([ENGINE])
    for name in ("a", "b"):
        observer.account(name)
    observer.begin(0, 0.0)
    for moment in range(4):
        observer.take("a", moment + 0.0, text(running=2, kv_new=0.9, preempted_total=moment, hits_total=moment * 1))
        observer.take("b", moment + 0.5, text(running=3, kv_new=0.4, preempted_total=2 * moment))
    observer.end(0, 2.5)
    observer.take("a", 4.0, text(running=2, kv_new=0.9, preempted_total=4, hits_total=4))
    observer.take("b", 4.5, text(running=3, kv_new=0.4, preempted_total=8))
    rows = {(row.source, row.row.metric): row.row.summary for row in observer.rows(0)}
    assert rows["", "running"].mean == pytest.approx(5.0)
    assert rows["", "kv.usage"].mean == pytest.approx(0.9)
    assert rows["", "preemptions"].increase == pytest.approx(
        rows["a", "preemptions"].increase + rows["b", "preemptions"].increase
    )
    low, high = rows["", "preemptions"].increase_bounds
    assert low == rows["a", "preemptions"].increase_bounds[0] + rows["b", "preemptions"].increase_bounds[0]
    assert high == rows["a", "preemptions"].increase_bounds[1] + rows["b", "preemptions"].increase_bounds[1]
    assert observer.now(4.5)["running"] == 5.0


def test_sources_together_have_as_many_samples_as_the_one_with_the_fewest():
    """A source with few values makes the values of all as few, however often the others are read."""
    observer = Observer([ENGINE])
    for name in ("often", "seldom"):
        observer.account(name)
    observer.begin(0, 0.0)
    for moment in range(21):
        observer.take("often", moment + 0.0, text(running=2, preempted_total=moment))
        if moment % 10 == 5:
            observer.take("seldom", moment + 0.5, text(running=3, preempted_total=moment))
    observer.end(0, 20.0)
    observer.take("often", 21.0, text(running=2, preempted_total=21))
    observer.take("seldom", 25.5, text(running=3, preempted_total=25))
    rows = {(row.source, row.row.metric): row.row.summary.samples for row in observer.rows(0)}
    assert (rows["often", "running"], rows["seldom", "running"], rows["", "running"]) == (20, 1, 1)
    assert rows["", "preemptions"] == rows["seldom", "preemptions"] == 2 < rows["often", "preemptions"]


def test_a_server_that_reports_a_metric_at_two_addresses_counts_once():
    rules = (
        Rule("running", "gauge", ("toy:running",)),
        Rule("running", "gauge", ("toy_slots",), is_fallback=True),
        Rule("running.limit", "gauge", ("toy_all",)),
    )
    observer = Observer([Engine("Toy", ("toy",), rules)])
    for name in ("metrics", "slots"):
        observer.account(name)
    observer.begin(0, 0.0)
    for moment in range(3):
        observer.take("metrics", float(moment), b"toy:running 3\n")
        observer.take("slots", float(moment), b"toy_slots 2\ntoy_all 4\n")
    observer.end(0, 1.5)
    observer.finish()
    rows = {(row.source, row.row.metric): row.row.summary.mean for row in observer.rows(0)}
    assert rows["", "running"] == 3
    assert (rows["slots", "running"], rows["slots", "running.limit"]) == (2, 4)
    assert observer.now(2.0)["running"] == 3


def test_a_process_that_two_sources_report_counts_once():
    python = Engine("Python", ("python_",), (Rule("process.memory", "gauge", ("python_memory",)),), is_fallback=True)
    local = Engine("local", ("local_",), (Rule("process.memory", "gauge", ("local_memory",)),))
    observer = Observer([python, local])
    for name in ("server", "process"):
        observer.account(name)
    observer.begin(0, 0.0)
    for moment in range(3):
        observer.take("server", float(moment), b"python_memory 100\n")
        observer.take("process", float(moment), b"local_memory 90\n")
    observer.end(0, 1.5)
    observer.finish()
    rows = {(row.source, row.row.metric): row.row.summary.mean for row in observer.rows(0)}
    assert rows["", "process.memory"] == 90
    assert observer.now(2.0)["process.memory"] == 90


@pytest.mark.parametrize(("tokens", "step"), [(b"999999", 0), (b"1.23457e+06", 10), (b"1.23457e+07", 100)])
def test_counters_that_an_exporter_rounds_have_a_step(tokens, step):
    account = Account([Engine("Rounding", ("toy:",), ENGINE.rules, digits=6)])
    account.take(0.0, b"toy:preempted_total " + tokens + b"\n")
    assert account.step == step
