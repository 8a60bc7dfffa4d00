import math
import random
from collections import Counter, defaultdict

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmlocust.metrics.ledger import ROWS_A_SECOND, RUN_ROWS_A_SECOND, Ledger, rows_for_each
from llmlocust.metrics.level_rows import level_of_row, level_row
from llmlocust.metrics.levels import Level, Tally
from llmlocust.metrics.rows import REQUEST_COLUMNS, WORKER_COLUMNS
from llmlocust.metrics.vocabulary import OK
from llmlocust.stream.record import Record
from tests.metrics.records import record_of

SENT, WORKER, WEIGHT, E2E = (REQUEST_COLUMNS.index(name) for name in ("sent", "worker", "weight", "e2e"))


def through_a_message(packed: dict) -> dict:
    """Pack and unpack a report as Locust does."""
    return msgpack.loads(msgpack.dumps(packed), raw=False, strict_map_key=False)


def ledger_with(*levels: tuple[float, float | None, float | None], worker: str = "") -> Ledger:
    """Return a ledger with levels that began, were warmed up and ended at these seconds."""
    ledger = Ledger(worker)
    for began, warmed_up, ended in levels:
        ledger.begin_level(began, 10)
        if warmed_up is not None:
            ledger.end_warmup(warmed_up)
        if ended is not None:
            ledger.end_level(ended)
    return ledger


def content(tally: Tally) -> tuple[dict, dict, dict]:
    """Return all values of a tally except zeros."""
    numbers = {name: pytest.approx(n) for name, n in tally.numbers.items() if n}
    return (
        dict(tally.outcomes),
        numbers,
        {name: histogram for name, histogram in tally.histograms.items() if histogram.count},
    )


# ── levels ──


@pytest.mark.parametrize(
    "moment, index",
    [(0.0, None), (9.9, None), (10.0, 0), (19.9, 0), (20.0, 1), (29.9, 1), (30.0, None), (40.0, 2), (1e6, 2)],
)
def test_the_level_of_a_moment(moment, index):
    ledger = ledger_with((10, 12, None), (20, None, 30), (40, None, None))
    level = ledger.level_at(moment)
    assert (None if level is None else level.index) == index


def test_a_level_ends_when_the_next_begins():
    assert ledger_with((0, 1, None), (5, None, None)).levels == [
        Level(0, 10, began=0, warmed_up=1, ended=5),
        Level(1, 10, began=5),
    ]


def test_a_level_ends_only_once():
    ledger = ledger_with((0, 1, 5))
    ledger.end_level(9)
    assert ledger.levels[0].ended == 5


def test_ending_without_a_level_does_nothing():
    ledger = Ledger()
    ledger.end_level(5)
    assert ledger.levels == []


def test_the_figures_of_a_level_include_whether_it_was_reached():
    ledger = ledger_with((0, None, None))
    ledger.end_warmup(5, reached=False)
    assert ledger.figures(ledger.levels[0], 9).reached is False


# ── counts of requests ──


@pytest.mark.parametrize(
    "sent, duration, measured, ended",
    [
        (5.0, 1.0, 0, 0),  # sent and ended before the level's warm-up ended
        (5.0, 8.0, 0, 1),  # sent before, ended in the window: throughput, but no latency
        (10.0, 1.0, 1, 1),
        (15.0, 1.0, 1, 1),
        (15.0, 10.0, 1, 0),  # ended after the level: latency, but no throughput
        (19.99, 0.02, 1, 0),
        (20.0, 1.0, 0, 0),  # sent at its end: part of the next level
        (25.0, 1.0, 0, 0),
        (5.0, 30.0, 0, 0),  # sent before and ended after it
    ],
)
def test_latency_counts_by_sending_and_throughput_by_ending(sent, duration, measured, ended):
    ledger = ledger_with((0, 10, 20))
    ledger.add(record_of([duration]), sent)
    tally = ledger.tally(0)
    assert (tally.outcomes[OK], len(tally.histogram("e2e")), tally.numbers["ended_ok"]) == (measured, measured, ended)


def test_failed_requests_count_as_ended_but_not_in_percentiles():
    ledger = ledger_with((0, 0, 20))
    ledger.add(record_of([1.0, 2.0], outcome="truncated"), 5.0)
    tally = ledger.tally(0)
    assert (tally.outcomes, tally.numbers["ended"], tally.numbers["ended_ok"], tally.histograms) == (
        {"truncated": 1}, 1, 0, {},
    )  # fmt: skip


def test_the_known_values_of_a_successful_request_are_counted():
    ledger = ledger_with((0, 0, 20))
    record = record_of(
        [0.5, 0.6, 0.9], tokens=6, input_tokens=7, tpot=0.08, connect=0.01, client_queue=0.0, stalls=1, coalesced=1,
        tls=0.03, lags=[0.001, 0.004, 0.002], lag_max=0.004, lag_max_at=0.6,
    )  # fmt: skip
    ledger.add(record, 5.0)
    tally = ledger.tally(0)
    assert tally.numbers == Counter(
        ended=1, ended_ok=1, tokens_in_window=6, input_tokens=7, output_tokens=6, chunks=3, coalesced=1, uncertain=0, stalls=1, counted_chunks=0
    )  # fmt: skip
    assert {metric: histogram.count for metric, histogram in tally.histograms.items()} == {
        "ttft": 1, "ttfo": 1, "e2e": 1, "tpot": 1, "connect": 1, "tls": 1, "client_queue": 1, "itl": 2, "lag": 3,
    }  # fmt: skip
    assert ledger.new_seconds[5]["client_lag"] == 4.0


def test_names_are_counted_separately_and_summed_for_the_level():
    ledger = ledger_with((0, 0, 20))
    for name in ("a", "b", "b"):
        ledger.add(record_of([1.0], name=name), 5.0)
    assert {name: tally.outcomes[OK] for (_, name), tally in ledger.tallies.items()} == {"a": 1, "b": 2}
    assert ledger.tally(0).outcomes[OK] == 3


def test_a_request_that_ended_before_the_end_of_warm_up_was_known_is_not_measured():
    ledger = ledger_with((0, None, None))
    ledger.add(record_of([1.0]), 5.0)
    ledger.end_warmup(4.0)
    ledger.add(record_of([1.0]), 5.0)
    assert ledger.tally(0).outcomes == {OK: 1}


# ── tokens ──


def test_tokens_count_in_the_second_and_the_window_of_their_arrival():
    ledger = ledger_with((0, 10, 20), (20, 22, 30))
    ledger.add(record_of([0.5, 1.5, 2.2, 3.5, 4.5, 13.0], tokens=12), 18.0)
    assert {second: counts["tokens"] for second, counts in ledger.new_seconds.items() if "tokens" in counts} == {
        18: 2, 19: 2, 20: 2, 21: 2, 22: 2, 31: 2,
    }  # fmt: skip
    assert [ledger.tally(index).numbers["tokens_in_window"] for index in (0, 1)] == [4, 2]


def test_tokens_of_an_answer_in_one_piece_arrive_at_its_end():
    ledger = ledger_with((0, 0, 20))
    ledger.add(Record(name="chat", duration=3.0, e2e=2.0, output_tokens=50), 5.0)
    assert ledger.new_seconds[7]["tokens"] == ledger.tally(0).numbers["tokens_in_window"] == 50


def test_tokens_of_failed_requests_count_too():
    ledger = ledger_with((0, 0, 20))
    ledger.add(record_of([1.0, 2.0], outcome="reset"), 5.0)
    assert ledger.tally(0).numbers["tokens_in_window"] == 2


MOMENTS = st.floats(0, 100) | st.integers(0, 1000).map(lambda tenths: tenths / 10)
ARRIVALS = st.lists(st.floats(0, 20) | st.integers(0, 200).map(lambda tenths: tenths / 10), max_size=30).map(sorted)


@given(MOMENTS, ARRIVALS, st.integers(1, 500))
@example(0.1, [0.9], 1)
@example(0.7, [0.1, 0.3, 1.3], 3)
@example(5.300000000000001, [0.7, 1.7, 2.6999999999999997], 3)
def test_every_token_counts_in_exactly_one_second(sent, arrivals, tokens):
    ledger = Ledger()
    ledger.add(record_of(arrivals, tokens=tokens), sent)
    counts_by_second = {second: counts["tokens"] for second, counts in ledger.new_seconds.items() if "tokens" in counts}
    assert sum(counts_by_second.values()) == pytest.approx(tokens if arrivals else 0)
    expected = {math.floor(sent + arrival) for arrival in arrivals}
    on_a_boundary = any(abs(sent + arrival - round(sent + arrival)) < 1e-9 for arrival in arrivals)
    assert on_a_boundary or set(counts_by_second) == expected


@given(
    st.lists(st.integers(0, 400), min_size=6, max_size=6, unique=True).map(sorted),
    st.lists(
        st.tuples(st.integers(0, 4000), st.lists(st.integers(0, 1000), min_size=1, max_size=9).map(sorted)), max_size=9
    ),
)
def test_tokens_of_a_window_are_those_that_arrived_in_it(bounds, requests):
    # eighths of a second, so that sums are exact
    began, warmed_up, ended, began_2, warmed_up_2, ended_2 = (bound / 8 for bound in bounds)
    ledger = ledger_with((began, warmed_up, ended), (began_2, warmed_up_2, ended_2))
    moments = []
    for sent, arrivals in requests:
        ledger.add(record_of([arrival / 8 for arrival in arrivals]), sent / 8)
        moments += [(sent + arrival) / 8 for arrival in arrivals]
    for level in ledger.levels:
        inside = sum(level.measures(moment) for moment in moments)
        assert ledger.tally(level.index).numbers["tokens_in_window"] == pytest.approx(inside)


# ── merging ──

RECORDS = st.builds(
    record_of,
    ARRIVALS,
    name=st.sampled_from(["chat", "search"]),
    outcome=st.sampled_from([OK, OK, OK, "truncated", "aborted"]),
    tokens=st.none() | st.integers(0, 50),
    input_tokens=st.none() | st.integers(0, 50),
    connect=st.none() | st.just(0.25),
)
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.just("add"), MOMENTS, RECORDS)
    | st.tuples(st.integers(0, 2), st.just("take"))
    | st.tuples(st.integers(0, 2), st.just("sent"), MOMENTS),
    max_size=20,
)
LEVELS = [(0, 2, 30), (30, 31, 60), (70, None, 75), (80, 81, None)]


@given(STEPS)
def test_workers_reports_add_up_to_the_counts_of_one_ledger(steps):
    workers = [ledger_with(*LEVELS, worker=str(number)) for number in range(3)]
    run, single = ledger_with(*LEVELS), ledger_with(*LEVELS)
    for number, action, *arguments in steps:
        if action == "take":
            run.merge(through_a_message(workers[number].take()))
        for ledger in (workers[number], single):
            if action == "add":
                ledger.add(arguments[1], arguments[0])
            elif action == "sent":
                ledger.note_sent(arguments[0], "chat")
    for worker in workers:
        run.merge(through_a_message(worker.take()))
    assert {key: content(tally) for key, tally in run.tallies.items()} == {
        key: content(tally) for key, tally in single.tallies.items()
    }
    assert run.seconds == {second: pytest.approx(counts) for second, counts in single.new_seconds.items()}
    assert (run.sent, run.ended, run.rows_seen) == (single.sent, single.ended, single.rows_seen)
    assert rows_of(run) == rows_of(single)


def rows_of(ledger: Ledger) -> Counter:
    return Counter(tuple(row[:WORKER]) for row in ledger.rows)


@pytest.mark.parametrize("sent, clocks", [(5.0, {}), (15.0, {"user": 1}), (25.0, {})])
def test_clocks_are_those_of_measured_requests(sent, clocks):
    ledger, run = ledger_with((0, 10, 20)), Ledger()
    ledger.add(record_of([0.1], clock="user"), sent)
    run.merge(through_a_message(ledger.take()))
    assert run.clocks == clocks


def test_counts_are_taken_only_once():
    worker, run = ledger_with((0, 0, None)), ledger_with((0, 0, None))
    worker.note_sent(1.0, "chat")
    worker.add(record_of([1.0]), 1.0)
    for _ in range(2):
        run.merge(through_a_message(worker.take()))
    assert (run.sent, run.ended, run.tally(0).outcomes[OK], len(run.rows)) == (1, 1, 1, 1)


def test_taken_counts_may_be_merged_in_the_same_process():
    ledger = ledger_with((0, 0, None))
    ledger.add(record_of([1.0]), 1.0)
    packed = ledger.take()
    assert ledger.tallies == {}
    run = ledger_with((0, 0, None))
    run.merge(packed)
    assert run.tally(0).outcomes[OK] == 1


def test_users_of_workers_add_up_and_gauges_of_the_busiest_worker_are_kept():
    run = Ledger()
    for users, lag in ((3, 5.0), (4, 9.0), (5, 1.0)):
        worker = Ledger()
        worker.note_gauges(7.5, users=users, in_flight=users - 1, client_cpu=lag / 10, loop_lag=lag)
        run.merge(through_a_message(worker.take()))
    assert run.seconds[7] == {"users": 12, "in_flight": 9, "client_cpu": 0.9, "loop_lag": 9.0}


def test_throttling_is_that_of_the_worst_worker_and_is_kept_for_each_worker():
    run = ledger_with((0, 0, None))
    for worker, throttled in (("a", 0.25), ("b", 0.5)):
        process = Ledger(worker)
        process.note_gauges(7.5, users=1, in_flight=0, client_cpu=0.1, loop_lag=1.0, throttled=throttled, core_wait=0.1)
        run.merge(through_a_message(process.take()))
    rows = [dict(zip(WORKER_COLUMNS, row, strict=True)) for row in run.take_gauges(0.0)]

    assert run.seconds[7]["throttled"] == 0.5
    assert [(row["worker"], row["throttled"], row["core_wait"]) for row in rows] == [("a", 0.25, 0.1), ("b", 0.5, 0.1)]
    assert run.mean("throttled", run.levels[0], 9.0) == 0.5


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=20))
@example([0.0, 0.6, 0.0])
def test_a_late_process_reports_every_second_once(delays):
    worker, run, now = Ledger(), Ledger(), 0.0
    for late in delays:
        due = worker.gauges_due(now)
        assert now < due <= now + 1.5
        now = due + late
        worker.note_gauges(now, users=5)
        run.merge(through_a_message(worker.take()))
    begun = int(0.5 + delays[0])
    assert {second: counts["users"] for second, counts in run.seconds.items()} == dict.fromkeys(
        range(begun, int(now) + 1), 5
    )


@pytest.mark.parametrize(
    ("noted", "moment", "overdue"),
    [
        (None, 0.4, False),
        (None, 0.5, True),
        (3.5, 3.9, False),
        (3.5, 4.4, False),
        (3.5, 4.5, True),
        (3.5, 6.1, True),
        (5.1, 5.9, False),  # late for second 4: second 5 has its gauges
        (5.1, 6.6, True),
    ],
)
def test_gauges_are_overdue_from_the_middle_of_a_second_without_any(noted, moment, overdue):
    ledger = Ledger()
    if noted is not None:
        ledger.note_gauges(noted, users=1)
    assert ledger.gauges_overdue(moment) == overdue


def test_users_of_a_level_are_the_mean_over_its_window():
    ledger = ledger_with((0, 1.5, 5.0))
    for second, users in enumerate([1, 2, 10, 20, 30, 99]):
        ledger.note_gauges(second + 0.5, users=users)
    ledger.merge(ledger.take())
    assert ledger.figures(ledger.levels[0], 9.0).users == 20


@pytest.mark.parametrize("level", [(0, None, None), (0, 1.0, 1.5), (0, 1, 3)])
def test_users_of_a_window_without_gauges_are_not_known(level):
    ledger = ledger_with(level)
    assert math.isnan(ledger.figures(ledger.levels[0], 9.0).users)


# ── open load ──


def test_latency_from_the_due_time_is_counted_too():
    ledger = ledger_with((0, 2, 9))
    ledger.add(record_of([0.5, 0.9], delay=0.25), 5.0)
    ledger.add(record_of([0.5, 0.9]), 5.0)  # without a due time
    figures = ledger.figures(ledger.levels[0], 9.0)
    for metric, value in {"delay": 0.25, "ttft_due": 0.75, "e2e_due": 1.15}.items():
        assert figures.metric(metric).count == 1
        assert figures.metric(metric).mean == pytest.approx(value)
    assert figures.metric("ttft").mean == pytest.approx(0.5)


def test_due_and_dropped_requests_of_the_window_are_counted():
    ledger = ledger_with((0, 2, 9))
    for moment, dropped in ((1.0, False), (2.0, False), (5.0, True), (8.9, False), (9.0, True)):
        ledger.note_due(moment, dropped=dropped)
    figures = ledger.figures(ledger.levels[0], 9.0)
    assert (figures.due, figures.dropped) == (3, 1)


# ── rows ──


def test_a_row_has_the_known_values_of_a_request():
    ledger = ledger_with((0, 2, 9), worker="host:1")
    record = record_of(
        [0.5, 0.6, 0.9], tokens=6, input_tokens=7, reasoning_tokens=1, tpot=0.08, connect=0.0101, client_queue=0.0, delay=0.002, duration=1.0,
        tls=0.0303, lags=[0.001, 0.004, 0.002], lag_max=0.004, lag_max_at=0.6, stalls=1, coalesced=2, finish="stop", status=200, id="4711",
    )  # fmt: skip
    ledger.add(record, 5.25)
    assert dict(zip(REQUEST_COLUMNS, ledger.rows[0], strict=True)) == {
        "level": 0, "measured": 1, "sent": 5.25, "name": "chat", "outcome": "ok", "error": "", "status": 200,
        "e2e": 900.0, "ttft": 500.0, "ttfo": 500.0, "tpot": 80.0, "itl_p50": 100.0, "itl_max": 300.0, "stalls": 1,
        "duration": 1000.0, "client_queue": 0.0, "delay": 2.0, "connect": 10.1, "tls": 30.3, "lag_max": 4.0, "input_tokens": 7, "output_tokens": 6, "reasoning_tokens": 1,
        "token_source": "usage", "chunks": 3, "coalesced": 2, "uncertain": 0, "finish": "stop", "weight": 1.0, "worker": "host:1",
        "id": "4711", "right": "", "inputs": "", "unread": "", "attempts": 1,
    }  # fmt: skip


def test_attempts_are_counted_beside_requests():
    worker, whole = ledger_with((0, 0, 9)), ledger_with((0, 0, 9))
    for sent, retried in ((1.0, ()), (2.0, ("http_503",)), (3.0, ("http_503", "connect")), (20.0, ("reset",))):
        worker.note_sent(sent, "chat")
        for _ in retried:
            worker.note_retry(sent + 0.5)
        worker.add(record_of([1.0], retried=retried), sent)
    assert [row[-1] for row in worker.rows] == [1, 2, 3, 2]
    whole.merge(through_a_message(worker.take()))
    whole.merge(through_a_message(worker.take()))

    assert (whole.sent, whole.ended, whole.retries, whole.totals["retries"]) == (4, 4, 4, 4)
    assert {second: counts["retries"] for second, counts in whole.seconds.all() if "retries" in counts} == {
        2: 1,
        3: 2,
        20: 1,
    }
    figures = whole.figures(whole.levels[0], 30.0)
    assert (figures.requests, figures.attempts, figures.retries) == (3, 6, 3)
    assert figures.retried == {"http_503": 2, "connect": 1}
    assert level_of_row(level_row(figures)).retried == figures.retried


def test_unknown_values_are_empty_cells():
    ledger = Ledger()
    ledger.add(Record(outcome="connect", error="refused", duration=0.5), 5.0)
    row = dict(zip(REQUEST_COLUMNS, ledger.rows[0], strict=True))
    assert [name for name, cell in row.items() if cell == ""] == [
        "level", "name", "ttft", "ttfo", "tpot", "e2e", "connect", "tls", "client_queue", "delay", "itl_p50", "itl_max",
        "lag_max", "input_tokens", "output_tokens", "reasoning_tokens", "token_source", "finish", "worker", "id", "right", "inputs", "unread",
    ]  # fmt: skip


@pytest.mark.parametrize("sent, level, measured", [(1.0, 0, 0), (2.0, 0, 1), (9.0, 1, 0), (11.0, 1, 1), (25.0, "", 0)])
def test_a_row_has_its_level_and_whether_it_was_measured(sent, level, measured):
    ledger = ledger_with((0, 2, 9), (9, 10, 20))
    ledger.add(record_of([1.0]), sent)
    assert ledger.rows[0][:2] == [level, measured]


def test_rows_are_taken_once_with_epoch_seconds():
    ledger = Ledger()
    ledger.add(record_of([1.0]), 5.25)
    ledger.merge({**Ledger().take(), "rows": []})
    assert [row[SENT] for row in ledger.take_rows(1_700_000_000.0)] == [1_700_000_005.25]
    assert (ledger.take_rows(1_700_000_000.0), ledger.rows_kept) == ([], 1)


def sampled(seed: int, moments: list[float], limit: float = ROWS_A_SECOND) -> Ledger:
    random.seed(seed)
    ledger = Ledger("", limit)
    record = record_of([0.1])
    for moment in moments:
        ledger.add(record, moment)
    return ledger


@pytest.mark.parametrize("rate", [10, ROWS_A_SECOND, 3 * ROWS_A_SECOND, 10 * ROWS_A_SECOND])
@pytest.mark.parametrize("in_order", [True, False])
def test_weights_of_rows_add_up_to_all_requests(rate, in_order):
    generator = random.Random(rate)
    moments = [number / rate for number in range(rate * 8)]
    if not in_order:  # requests end in a different order than they were sent
        moments.sort(key=lambda moment: moment + generator.uniform(0, 3))
    ledger = sampled(5, moments)
    assert sum(row[WEIGHT] for row in ledger.rows) == pytest.approx(len(moments), abs=10 * rate / ROWS_A_SECOND)
    assert ledger.rows_seen == len(moments)


@given(st.floats(0.1, 20), st.lists(st.integers(0, 300), max_size=8))
def test_only_the_last_row_can_represent_requests_that_never_came(limit, seconds):
    ledger = sampled(3, [second + 0.5 for second, count in enumerate(seconds) for _ in range(count)], limit)
    remaining = ledger._sampler._remaining
    represented, last_weight = sum(row[WEIGHT] for row in ledger.rows), ledger._sampler._group
    assert represented - sum(seconds) in (remaining, remaining - last_weight)


def test_the_sample_of_rows_is_fair():
    """Every third request is slow: periodic requests have equal chances of a row."""
    random.seed(9)
    ledger = Ledger("", 2)
    for number in range(60_000):
        ledger.add(record_of([0.5 if number % 3 else 1.0]), number / 300)
    slow = sum(row[WEIGHT] for row in ledger.rows if row[E2E] == 1000.0)
    assert 0.25 < slow / sum(row[WEIGHT] for row in ledger.rows) < 0.42


def test_rows_of_a_thousand_workers_stay_below_the_rate_of_the_run_and_add_up():
    random.seed(4)
    workers, record, rate, seconds = 1000, record_of([0.1]), 50, 5
    represented, rows = 0, [0] * seconds
    for _ in range(workers):
        ledger = Ledger("", rows_for_each(workers))
        for number in range(rate * seconds):
            ledger.add(record, number / rate)
        represented += sum(row[WEIGHT] for row in ledger.rows)
        for row in ledger.rows:
            rows[int(row[SENT])] += 1
    assert represented == pytest.approx(workers * rate * seconds, rel=0.02)
    # the rate of the first second is not known in advance; from the second one on the rate stays below the limit
    assert max(rows[1:]) < 1.3 * RUN_ROWS_A_SECOND
    assert rows[0] < 5 * RUN_ROWS_A_SECOND


@pytest.mark.parametrize("processes, rows", [(0, 500), (1, 500), (4, 500), (8, 250), (1000, 2), (4000, 0.5)])
def test_processes_share_the_runs_rows(processes, rows):
    assert rows_for_each(processes) == rows


def test_the_row_limit_can_change_during_the_run():
    random.seed(2)
    ledger = Ledger()
    for number in range(4000):
        if number == 2000:
            ledger.limit_rows(10)
        ledger.add(record_of([0.1]), number / 400)
    later_rows = [row for row in ledger.rows if row[SENT] >= 5]
    assert len(ledger.rows) - len(later_rows) == 2000
    assert 30 <= len(later_rows) <= 80
    assert sum(row[WEIGHT] for row in later_rows) == pytest.approx(2000, abs=80)


@pytest.mark.parametrize("rate", [ROWS_A_SECOND // 2, 4 * ROWS_A_SECOND, 10 * ROWS_A_SECOND])
def test_rows_stay_below_their_maximum_rate(rate):
    ledger = sampled(6, [number / rate for number in range(rate * 8)])
    seconds = defaultdict(int)
    for row in ledger.rows:
        seconds[int(row[SENT])] += 1
    assert max(seconds.values()) <= min(rate, 2 * ROWS_A_SECOND)
    assert len(ledger.rows) <= 8 * 1.3 * ROWS_A_SECOND


def test_all_rows_are_kept_below_the_rate():
    ledger = sampled(7, [number / (ROWS_A_SECOND - 1) for number in range(ROWS_A_SECOND * 4)])
    assert {row[WEIGHT] for row in ledger.rows} == {1.0}
    assert len(ledger.rows) == ledger.rows_seen


def test_after_a_burst_all_rows_are_kept_again():
    burst = [number / 10_000 for number in range(10_000)]
    calm = [1 + number / 100 for number in range(400)]
    ledger = sampled(8, burst + calm)
    assert sum(row[SENT] >= 3.0 for row in ledger.rows) == 200


STATE = {"index": 0, "load": 5, "unit": "users", "warmed_up": True, "reached": True, "ended": False}


def test_a_worker_adds_missed_levels_when_it_receives_the_state_again():
    ledger = Ledger()
    ledger.follow(1.0, **STATE | {"warmed_up": False})
    ledger.follow(2.0, **STATE)
    ledger.follow(3.0, **STATE)
    # the worker misses the end of that level and one complete level
    ledger.follow(9.0, **STATE | {"index": 2, "load": 20})
    ledger.follow(12.0, **STATE | {"index": 2, "load": 20, "ended": True})
    ledger.follow(13.0, **STATE | {"index": 2, "load": 20, "ended": True})

    spans = [(level.index, level.began, level.warmed_up, level.ended) for level in ledger.levels]
    assert spans == [(0, 1.0, 2.0, 9.0), (1, 9.0, None, 9.0), (2, 9.0, 9.0, 12.0)]
    assert ledger.level_at(8.0).index == 0
    assert ledger.level_at(10.0).index == 2
    assert ledger.level_at(12.5) is None


def test_records_that_contradict_themselves_are_counted_with_any_outcome():
    ledger = ledger_with((0, 0, None))
    for outcome in (OK, "http_503"):
        ledger.add(record_of([1.0], outcome=outcome, contradicts="times out of order"), 1.0)
    ledger.add(record_of([1.0]), 1.0)
    ledger.merge(through_a_message(ledger.take()))
    figures = ledger.figures(ledger.levels[0], 9.0)

    assert figures.contradicting == 2
    assert level_of_row(level_row(figures)).contradicting == 2


def test_a_name_without_requests_in_flight_is_known():
    process, run = Ledger("a"), Ledger()
    process.note_sent(0.1, "chat")
    process.new_in_flight["chat"] -= 1
    run.merge(process.take())

    assert dict(run.in_flight) == {"chat": 0}
