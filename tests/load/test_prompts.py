import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.load.prompts import Limited, Prompts, Talk, built_in, limit_of, load, words_of

MARK = re.compile(r"\[[0-9a-f]{10}\] ")
HELLO = [{"role": "user", "content": "hello"}]
TALK = [{"role": "system", "content": "be brief"}, *HELLO, {"role": "assistant", "content": None, "tool_calls": []}]
PICTURE = [
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "?"}]}
]


@pytest.fixture
def file_of(tmp_path):
    def write(content: str | bytes) -> str:
        path = tmp_path / "prompts.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


# ── built in ──


@pytest.mark.parametrize("name", ["short", "long", "reasoning", "multilingual", "code"])
def test_a_set_has_many_questions_and_none_twice(name):
    questions = built_in()[name]
    assert len(questions) == len(set(questions)) >= 5
    assert all(isinstance(question, str) and question.strip() == question != "" for question in questions)


def test_long_questions_are_longer_than_short_ones():
    sets = built_in()
    assert min(map(len, sets["long"])) > max(map(len, sets["short"]))


@pytest.mark.parametrize("source", ["short", "short,reasoning", " reasoning , short ", "short,short"])
def test_sets_are_loaded_by_their_names(source):
    sets = built_in()
    assert list(load(source)) == [question for name in source.split(",") for question in sets[name.strip()]]


# ── files ──


@pytest.mark.parametrize(
    "content, questions",
    [
        ("one\ntwo\n", ["one", "two"]),
        ("one\r\n\r\n  two  ", ["one", "two"]),
        ("\ufeffone\ntwo", ["one", "two"]),
        ('{"prompt": "one"}\n\n{"prompt": "two\\nlines", "id": 5}', ["one", "two\nlines"]),
        ('\ufeff{"prompt": "one"}', ["one"]),
        ('{"prompt": "one\u2028two\x85three"}', ["one\u2028two\x85three"]),
        ('"one"\n"two \\"quoted\\""', ["one", 'two "quoted"']),
        ('"One," he said, "and two."', ['"One," he said, "and two."']),
        (json.dumps({"messages": TALK}), [TALK]),
        (json.dumps({"messages": HELLO, "prompt": "not this"}), [HELLO]),
        ("[1] what is this?", ["[1] what is this?"]),
        ("été\n你好", ["été", "你好"]),
        ("short", ["short"]),
    ],
)
def test_questions_of_a_file(file_of, content, questions):
    assert list(load(file_of(content))) == questions


@pytest.mark.parametrize(
    "content, says",
    [
        ('fine\n\n{"prompt": "cut', ":3: begins like JSON but is not: {"),
        ('{"text": "one"}', ':1: a JSON line needs "prompt" or "messages"'),
        ('{"prompt": 5}', ':1: a JSON line needs "prompt" or "messages"'),
        ('{"messages": []}', ':1: a JSON line needs "prompt" or "messages"'),
        ('{"messages": ["hello"]}', ':1: a JSON line needs "prompt" or "messages"'),
        ('{"messages": "hello"}', ':1: a JSON line needs "prompt" or "messages"'),
        ('{"a":' * 100_000, ":1: begins like JSON but is not: {"),
        ("", "no prompts in "),
        ("\n \n", "no prompts in "),
        (b"\xff\xfe", "cannot read the prompts in "),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line_that_names_it(file_of, content, says):
    path = file_of(content)
    with pytest.raises(ValueError) as problem:
        load(path)
    words = str(problem.value)
    assert says in words
    assert path in words
    assert "\n" not in words
    assert len(words) < len(path) + 250


@pytest.mark.parametrize("source", ["", "nowhere.txt", "short,nosuch", "x" * 5000, "a\0b", "."])
def test_what_is_neither_a_set_nor_a_file_is_refused_with_the_names_of_the_sets(source):
    with pytest.raises(ValueError, match="give a file, or sets out of short, ") as problem:
        load(source)
    assert len(str(problem.value)) < 250


# ── other kinds of files ──


def file_named(folder, name, content):
    path = folder / name
    path.write_text(content, newline="")
    return str(path)


TURNS = [
    {"from": "system", "value": "be brief"},
    {"from": "human", "value": "one é"},
    {"from": "gpt", "value": "?"},
    {"from": "human", "value": "two"},
]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("begin", ["", "\ufeff", " \n"])
def test_an_array_of_conversations_as_sharegpt_has_it(tmp_path, indent, begin):
    entries = [{"id": "a", "conversations": TURNS}, {"conversations": []}, {"prompt": "p"}, "s", {"messages": HELLO}]
    for plain in (True, False):
        text = begin + json.dumps(entries, indent=indent, ensure_ascii=plain)
        found = load(file_named(tmp_path, f"talks{plain}.json", text))
        assert list(found) == [("one é", "two"), "p", "s", HELLO]  # without a word of a human's there is no question
        assert found[-1] == HELLO
        assert found[1:3] == ["p", "s"]


def test_conversations_may_also_stand_in_lines(tmp_path):
    path = file_named(tmp_path, "talks.jsonl", json.dumps({"conversations": TURNS}) + "\n")
    assert list(load(path)) == [Talk(("one é", "two"))]


def test_an_array_longer_than_what_is_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("llmlocust.load.files._PIECE", 50)
    said = [f"number {number} " + "é" * (number % 90 + 1) for number in range(300)]
    path = file_named(tmp_path, "many.json", json.dumps([{"prompt": each} for each in said], ensure_ascii=False))
    assert list(load(path)) == [each.strip() for each in said]


def test_rows_of_a_table(tmp_path):
    table = (
        '\ufeffid,Prompt\r\n1,"two\nlines, ""quoted"" \u2028 é"\r\n2, plain \r\n\r\n3,\r\n4,' + "x" * 200_000 + "\r\n"
    )
    found = load(file_named(tmp_path, "table.csv", table))
    assert list(found) == ['two\nlines, "quoted" \u2028 é', "plain", "x" * 200_000]


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("x.json", '{"prompt": "one"}', "x.json: a .json file of prompts is an array, [...]"),
        ("x.json", "", "x.json: a .json file of prompts is an array"),
        ("x.json", "[]", "no prompts in "),
        ("x.json", '[{"prompt": "one"}, {"prompt"', "x.json: no JSON behind entry 1: {"),
        ("x.json", '["one"', "x.json: no JSON behind entry 1: "),
        ("x.json", '["one", 5]', 'x.json:2: a JSON line needs "prompt"'),
        ("x.csv", "words\none\n", "x.csv: a CSV of prompts has a header with a column named prompt"),
        ("x.csv", "", "x.csv: a CSV of prompts has a header"),
        ("x.csv", "prompt\n", "no prompts in "),
    ],
)
def test_what_is_wrong_with_an_array_or_a_table_is_said(tmp_path, name, content, says):
    with pytest.raises(ValueError) as problem:
        load(file_named(tmp_path, name, content))
    assert says in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_file_is_read_once_and_again_when_it_has_changed(tmp_path):
    path = file_named(tmp_path, "x.txt", "one\n")
    assert load(path) is load(path)
    file_named(tmp_path, "x.txt", "one\ntwo\n")
    assert list(load(path)) == ["one", "two"]


# ── conversations ──


def turns_of(question, most, *others):
    prompts = Prompts([question, *others], unique=False)
    return prompts.turns(question, most, random.Random(1))


def test_a_conversation_from_a_file_has_its_own_turns():
    talk = Talk(("one", "two", "three"))
    assert [turn.words for turn in turns_of(talk, 9)] == ["one", "two", "three"]
    assert [turn.said for turn in turns_of(talk, 2)] == [[{"role": "user", "content": each}] for each in ("one", "two")]


def test_after_a_single_question_others_follow():
    found = turns_of("one", 4, "two")
    assert found[0].words == "one"
    assert len(found) == 4
    assert {turn.words for turn in found} <= {"one", "two"}


def test_messages_are_cut_behind_each_of_the_users_without_the_models():
    messages = [TALK[0], *HELLO, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "and?"}]
    assert turns_of(messages, 5) == [([TALK[0], *HELLO], "hello", None), ([messages[-1]], "and?", None)]


def test_only_the_first_turn_is_marked():
    prompts = Prompts([Talk(("one", "two"))])
    (first, words, _), (second, *_) = prompts.turns(prompts.pick(random.Random(1)), 2, random.Random(1))
    assert MARK.fullmatch(first[0]["content"].removesuffix("one"))
    assert (words, second[0]["content"]) == ("one", "two")


def test_each_turn_has_the_length_of_its_own_row():
    rows = Limited("one", 5), Limited("two", 6)
    found = [(turn.words, turn.max_tokens) for turn in turns_of(rows[0], 20, rows[1])]
    assert found[0] == ("one", 5)
    assert set(found) == {("one", 5), ("two", 6)}
    assert [turn.max_tokens for turn in turns_of(Limited(Talk(("one", "two")), 7), 5)] == [7, 7]
    assert [turn.max_tokens for turn in turns_of(Limited(HELLO, 8), 5)] == [8]


# ── lengths of rows ──


@pytest.mark.parametrize(
    "row, asked",
    [
        ({"prompt": "one", "max_tokens": 20}, ("one", 20)),
        ({"output_tokens": "30", "prompt": "one"}, ("one", 30)),
        ({"prompt": "one", "output_len": 40.0, "max_tokens": None}, ("one", 40)),
        ({"messages": HELLO, "max_completion_tokens": 5}, (HELLO, 5)),
        ({"conversations": [{"from": "human", "value": "a"}], "output_length": 6}, (("a",), 6)),
        ({"prompt": "one", "max_tokens": None, "output_len": ""}, "one"),
    ],
)
def test_a_row_may_say_how_long_its_answer_is_to_be(file_of, row, asked):
    assert list(load(file_of(json.dumps(row)))) == [asked]


def test_rows_of_a_table_may_say_it_too(tmp_path):
    found = load(file_named(tmp_path, "x.csv", "output_tokens,prompt\n12,one\n,two\n 13.0 ,three\n9,\n"))
    assert list(found) == [("one", 12), "two", ("three", 13)]
    assert [limit_of(each) for each in found] == [12, None, 13]
    assert [words_of(each) for each in found] == ["one", "two", "three"]


@pytest.mark.parametrize("length", [0, -1, 1.5, "many", [1]])
def test_a_length_that_is_none_is_refused(file_of, length):
    with pytest.raises(ValueError, match=r"prompts.jsonl:1: max_tokens is a whole number of tokens, 1 or more — got "):
        load(file_of(json.dumps({"prompt": "one", "max_tokens": length})))


@pytest.mark.parametrize(
    "row, asked",
    [
        ({"question": "one", "answer": "two"}, "one"),
        ({"instruction": "Sort", "input": "b a", "output": "a b"}, "Sort\n\nb a"),
        ({"instruction": "Sing", "input": "", "context": None}, "Sing"),
        ({"prompt": HELLO, "chosen": []}, HELLO),
        ({"prompt": [{"from": "human", "value": "a"}]}, ("a",)),
        ({"conversation": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, ("a",)),
    ],
)
def test_names_that_sets_of_questions_have_for_them(file_of, row, asked):
    assert list(load(file_of(json.dumps(row)))) == [asked]


def test_columns_that_sets_of_questions_have(tmp_path):
    table = "instruction,input\nSort,b a\nSing,\n"
    assert list(load(file_named(tmp_path, "x.csv", table))) == ["Sort\n\nb a", "Sing"]


# ── the supply ──


class Supply:
    """What is sent, one prompt after the other."""

    def __init__(self, *questions, seed: int = 1, **how) -> None:
        self.prompts, self.source = Prompts(questions, **how), random.Random(seed)

    def next(self):
        return self.prompts.dress(self.prompts.pick(self.source), self.source)


def test_marks_stand_first_and_differ():
    prompts = Supply("hello")
    asked = [prompts.next() for _ in range(1000)]
    assert all(MARK.match(question) and MARK.sub("", question, count=1) == "hello" for question in asked)
    assert len(set(asked)) == 1000


def test_marks_differ_from_user_to_user():
    assert Supply("hello", seed=1).next() != Supply("hello", seed=2).next()


def test_without_marks_questions_are_as_they_were():
    assert Supply(TALK, unique=False).next() is TALK


def test_every_question_comes_in_an_order_of_its_own():
    questions = [str(number) for number in range(20)]
    first, second = (
        [Supply(*questions, seed=seed, unique=False).next() for seed in range(start, start + 200)]
        for start in (0, 1000)
    )
    assert set(first) == set(questions)
    assert first != second


@pytest.mark.parametrize("messages", [HELLO, TALK])
def test_a_marked_conversation_keeps_its_shape(messages):
    first, *rest = Supply(messages).next()
    assert rest == messages[1:]
    assert first == {**messages[0], "content": first["content"]}
    assert MARK.fullmatch(first["content"].removesuffix(messages[0]["content"]))


def test_a_mark_before_a_list_of_parts_is_a_part():
    (message,) = Supply(PICTURE).next()
    mark, *parts = message["content"]
    assert parts == PICTURE[0]["content"]
    assert mark["type"] == "text"
    assert MARK.fullmatch(mark["text"])


@pytest.mark.parametrize("content", [None, ""])
def test_a_first_message_without_words_gets_the_mark_alone(content):
    (message,) = Supply([{"role": "user", "content": content}]).next()
    assert MARK.fullmatch(message["content"])


def test_marking_leaves_the_question_itself_alone():
    before = json.dumps([TALK, PICTURE])
    for messages in (TALK, PICTURE):
        Supply(messages).next()
    assert json.dumps([TALK, PICTURE]) == before


@given(st.text(), st.integers())
def test_the_mark_comes_before_any_text(text, seed):
    assert Supply(text, seed=seed).next()[13:] == text
