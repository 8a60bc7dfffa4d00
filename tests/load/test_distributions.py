import random
from statistics import fmean, stdev

import pytest

from llmlocust.load.distributions import Draws, is_named, parse

COUNT = 20_000


def drawn(text, count=COUNT):
    generator = random.Random(7)
    distribution = parse(text)
    return [distribution.draw(generator) for _ in range(count)]


@pytest.mark.parametrize(
    "text, low, high",
    [("5", 5, 5), ("-1", -1, -1), ("1e-3", 0.001, 0.001), (" 1 - 3 ", 1, 3), ("uniform:-2--1", -2, -1), ("whole:1-6", 1, 6)],
)  # fmt: skip
def test_drawn_values_are_within_the_limits(text, low, high):
    values = drawn(text)
    assert (parse(text).low, parse(text).high) == (low, high)
    assert low <= min(values) <= low + (high - low) * 0.01
    assert high - (high - low) * 0.01 <= max(values) <= high
    assert fmean(values) == pytest.approx((low + high) / 2, abs=(high - low) * 0.02)


def test_whole_numbers_are_equally_frequent():
    values = drawn("whole:1-6")
    assert {type(value) for value in values} == {int}
    assert all(values.count(number) == pytest.approx(COUNT / 6, rel=0.1) for number in range(1, 7))


@pytest.mark.parametrize("text", ["normal:256,64", "lognormal:256,64", "lognormal:10,20"])
def test_mean_and_deviation_are_those_of_the_values(text):
    mean, deviation = map(float, text.partition(":")[2].split(","))
    values = drawn(text)
    assert fmean(values) == pytest.approx(mean, rel=0.05)
    assert stdev(values) == pytest.approx(deviation, rel=0.2)
    assert min(values) >= 0


def test_values_beyond_the_limits_are_drawn_again():
    values = drawn("normal:100,50,80-120")
    assert 80 < min(values) < 81
    assert 119 < max(values) < 120
    assert not {80, 120} & set(values)


def test_zipf_begins_with_the_most_frequent():
    values = drawn("zipf:1,10-19")
    counts = [values.count(10 + rank) for rank in range(10)]
    assert [count / counts[0] for count in counts] == pytest.approx([1 / rank for rank in range(1, 11)], rel=0.1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "content, shares",
    [
        ("length,count\n100,3\n200,1\n300,0\n", {100: 0.75, 200: 0.25}),
        ("100,3\n200,1\n", {100: 0.75, 200: 0.25}),
        ("5\n5\n5\n7\n\n", {5: 0.75, 7: 0.25}),
        ("tokens\n1.5\n", {1.5: 1.0}),
    ],
)
def test_a_file_has_values_and_their_frequencies(tmp_path, content, shares, encoding):
    path = tmp_path / "lengths.csv"
    path.write_text(content, encoding=encoding)
    values = drawn(f"file:{path}")
    assert {value: values.count(value) / COUNT for value in set(values)} == pytest.approx(shares, rel=0.1)


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "cannot read ''"),
        ("soon", "cannot read 'soon' as a number or a distribution: write 5, 1-3, "),
        ("nan", "cannot read 'nan'"),
        ("1-", "cannot read '1-'"),
        ("3-1", "a range goes up"),
        ("gauss:1,2", "cannot read 'gauss:1,2'"),
        ("normal:1", "cannot read 'normal:1'"),
        ("normal:1,-2", "cannot read"),
        ("normal:-100,1", "hardly ever comes within its limits"),
        ("lognormal:0,1", "the mean of a lognormal is above 0"),
        ("whole:1.5-3", "the limits must be whole numbers"),
        ("zipf:1.2", "cannot read 'zipf:1.2'"),
        ("zipf:1,1-9000000", "a million values at most"),
        ("file:/no/such", "cannot read the values in /no/such"),
    ],
)
def test_an_invalid_distribution_gives_a_one_line_error(text, says):
    with pytest.raises(ValueError) as problem:
        parse(text)
    assert says in str(problem.value)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("content", ["", "value,count\n", "1,2,3\n", "1,2\nx,3\n", "1,-2\n", "5,0\n"])
def test_a_file_without_values_gives_an_error_with_its_name(tmp_path, content):
    path = tmp_path / "lengths.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"lengths.csv: each line has a value and its frequency"):
        parse(f"file:{path}")


def test_only_named_distributions_are_recognised_among_other_texts():
    assert is_named("uniform:1-2")
    assert not any(is_named(text) for text in ("5", "1-3", "uniform", "json:1", ""))


# ── draws ──


def numbers(draws, count):
    return [draws.next().random() for _ in range(count)]


@pytest.mark.parametrize("processes", [1, 3, 10])
def test_the_draws_of_all_processes_together_are_the_sequence_of_one(processes):
    sequence = numbers(Draws("seed"), 30)
    parts = [numbers(Draws("seed", index, processes), 30 // processes) for index in range(processes)]
    assert [parts[at % processes][at // processes] for at in range(30)] == sequence
    assert len(set(sequence)) == 30


def test_processes_that_join_late_repeat_no_draws():
    earlier = set(numbers(Draws("seed"), 200))
    late = [numbers(Draws("seed", index, 2), 50) for index in (2, 3)]
    assert not earlier & {*late[0], *late[1]}
    assert not set(late[0]) & set(late[1])


def test_seeds_give_different_draws_and_no_seed_never_repeats():
    assert numbers(Draws("a"), 5) == numbers(Draws("a"), 5) != numbers(Draws("b"), 5)
    assert numbers(Draws(), 5) != numbers(Draws(), 5)


def test_a_numbered_request_draws_the_same_in_every_process():
    drawn = {Draws("seed", index, processes).of(17).random() for index, processes in ((0, 1), (0, 3), (2, 3), (5, 3))}
    assert len(drawn) == 1
    assert drawn != {Draws("seed").of(18).random()}
    assert Draws().of(17).random() != Draws().of(17).random()
