import json

from llmlocust.simulator.truth import COMPLETED, REJECTED, Record, Truth, lateness


def finished(truth: Truth, number: int, tokens: int) -> None:
    record = truth.begin(Record(str(number), "/v1/completions", 1_000_000))
    record.note_write(tokens, 3_000_000, 50_000)
    truth.end(record, COMPLETED, 4_000_000)


def ids(truth: Truth) -> list[str]:
    return [json.loads(line)["id"] for line in truth.lines()]


def test_times_of_tokens_are_microseconds_after_receipt():
    truth = Truth(100)
    finished(truth, 1, tokens=2)
    record = json.loads(next(truth.lines()))
    assert (record["writes_us"], record["ended_us"], record["late_ms"]["max"]) == ([2000, 2000], 3000, 0.05)


def test_the_oldest_requests_are_removed_but_still_counted():
    truth = Truth(token_limit=35)
    for number in range(5):
        finished(truth, number, tokens=10)
    assert ids(truth) == ["2", "3", "4"]
    assert (truth.summary()["outcomes"], truth.summary()["tokens"]) == ({COMPLETED: 5}, 50)


def test_requests_without_tokens_are_bounded_too():
    truth = Truth(token_limit=10)
    for number in range(100):
        truth.end(truth.begin(Record(str(number), "/v1/completions", 1)), REJECTED, 2)
    assert len(ids(truth)) == 10


def test_an_open_request_is_kept_when_records_are_cleared():
    truth = Truth(100)
    finished(truth, 1, tokens=3)
    truth.begin(Record("2", "/v1/completions", 1))
    truth.clear()
    assert (ids(truth), truth.summary()["outcomes"], truth.summary()["tokens"]) == (["2"], {"open": 1}, 0)


def test_lateness_is_in_milliseconds():
    assert lateness([n * 1_000_000 for n in range(1, 101)]) == {"mean": 50.5, "p50": 50, "p99": 99, "max": 100}


def test_lateness_without_writes_is_none():
    assert lateness([]) is None
