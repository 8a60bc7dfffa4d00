import gzip
import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.load.builtin_prompts import built_in
from llmlocust.load.prompts import Prompts, limit_of, load
from llmlocust.load.rows import Limited, Talk, words_of

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
def test_a_built_in_set_has_at_least_five_different_questions(name):
    questions = built_in()[name]
    assert len(questions) == len(set(questions)) >= 5
    assert all(isinstance(question, str) and question.strip() == question != "" for question in questions)


def test_long_questions_are_longer_than_short_ones():
    sets = built_in()
    assert min(map(len, sets["long"])) > max(map(len, sets["short"]))


@pytest.mark.parametrize("source", ["short", "short,reasoning", " reasoning , short ", "short,short"])
def test_built_in_sets_are_loaded_by_their_names(source):
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
        ('[{"role": "user"} is no JSON', ['[{"role": "user"} is no JSON']),
        ("[INST] what is this? [/INST]", ["[INST] what is this? [/INST]"]),
        (json.dumps(HELLO) + "\n" + json.dumps(HELLO), [HELLO, HELLO]),
        ('{"prompt": "one"}\n\ufeff{"prompt": "two"}\n\ufeffthree', ["one", "two", "three"]),
        (json.dumps(["one", {"prompt": "two"}], indent=2), ["one", "two"]),
        (json.dumps([{"prompt": "one"}, {"prompt": "two"}]), ["one", "two"]),
        (json.dumps({"prompt": "one"}, indent=2), ["one"]),
        ("été\n你好", ["été", "你好"]),
        ("short", ["short"]),
    ],
)
def test_questions_of_a_file(file_of, content, questions):
    assert list(load(file_of(content))) == questions


@pytest.mark.parametrize(
    "content, says",
    [
        ('fine\n\n{"prompt": "cut', ":3: begins like JSON but is not valid JSON: {"),
        (
            '{"words": "one"}',
            ':1: a row needs "prompt", "messages" or another name of docs/prompts.md; this one has words',
        ),
        ('{"prompt": 5}', ":1: a row needs "),
        ('{"messages": []}', ":1: a row needs "),
        ('{"messages": ["hello"]}', ":1: a row needs "),
        ('{"messages": "hello"}', ":1: a row needs "),
        ('{"prompt": "one"}\n{"prompt": "two", "max_tokens": -1}', ":2: max_tokens is a whole number"),
        ('{"a":' * 100_000, ":1: begins like JSON but is not valid JSON: {"),
        ("", "no prompts in "),
        ("\n \n", "no prompts in "),
        (b"\xff\xfe", "no prompts in "),
        (
            "one\nété\n".encode("latin-1"),
            ":2: the text is not UTF-8, but probably Windows-1252. Save the file as UTF-8",
        ),
        (b"one\n" * 20_000 + b"\xff\n", ":20001: the text is not UTF-8"),
    ],
)
def test_an_invalid_file_gives_a_one_line_error_with_its_name(file_of, content, says):
    path = file_of(content)
    with pytest.raises(ValueError) as problem:
        load(path)
    words = str(problem.value)
    assert says in words
    assert path in words
    assert "\n" not in words
    assert len(words) < len(path) + 250


@pytest.mark.parametrize("source", ["", "nowhere.txt", "short,nosuch", "x" * 5000, "a\0b", "."])
def test_an_unknown_source_gives_an_error_with_the_names_of_the_sets(source):
    with pytest.raises(ValueError, match="give a file, or sets of short, ") as problem:
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
def test_an_array_of_conversations_in_the_format_of_sharegpt(tmp_path, indent, begin):
    entries = [{"id": "a", "conversations": TURNS}, {"conversations": []}, {"prompt": "p"}, "s", {"messages": HELLO}]
    for plain in (True, False):
        text = begin + json.dumps(entries, indent=indent, ensure_ascii=plain)
        questions = load(file_named(tmp_path, f"talks{plain}.json", text))
        # a conversation without a human message has no question
        assert list(questions) == [("one é", "two"), "p", "s", HELLO]
        assert questions[-1] == HELLO
        assert questions[1:3] == ["p", "s"]


def test_conversations_may_be_in_lines(tmp_path):
    path = file_named(tmp_path, "talks.jsonl", json.dumps({"conversations": TURNS}) + "\n")
    assert list(load(path)) == [Talk(("one é", "two"))]


def test_an_array_that_is_longer_than_one_read(tmp_path, monkeypatch):
    monkeypatch.setattr("llmlocust.load.json_entries._PIECE", 50)
    questions = [f"number {number} " + "é" * (number % 90 + 1) for number in range(300)]
    path = file_named(
        tmp_path, "many.json", json.dumps([{"prompt": question} for question in questions], ensure_ascii=False)
    )
    assert list(load(path)) == [question.strip() for question in questions]


def test_rows_of_a_table(tmp_path):
    table = (
        '\ufeffid,Prompt\r\n1,"two\nlines, ""quoted"" \u2028 é"\r\n2, plain \r\n\r\n3,\r\n4,' + "x" * 200_000 + "\r\n"
    )
    questions = load(file_named(tmp_path, "table.csv", table))
    assert list(questions) == ['two\nlines, "quoted" \u2028 é', "plain", "x" * 200_000]


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("x.json", '{"a": ["one"], "b": ["two"]}', "x.json: it is not clear which array has the prompts, a or b"),
        ("x.json", "", "x.json: a .json file of prompts is an array"),
        ("x.json", "[]", "no prompts in "),
        ("x.json", '[{"prompt": "one"}, {"prompt"', "x.json: invalid JSON after entry 1: {"),
        ("x.json", '["one"', "x.json: invalid JSON after entry 1: "),
        ("x.json", '["one", 5]', 'x.json:2: a row needs "prompt"'),
        ("x.csv", "words\none\n", "x.csv: a CSV of prompts has a header with a column named prompt, or question, "),
        ("x.csv", "words;id\none;1\n", "this one has words, id"),
        ("x.csv", "id,prompt\n1,a\n2,b, c\n", "x.csv:3: 3 cells under 2 names: put texts that contain ',' in quotes"),
        ("x.tsv", "id,prompt\n1,\n", "no prompts in "),
        ("x.csv", "", "x.csv: a CSV of prompts has a header"),
        ("x.csv", "prompt\n", "no prompts in "),
    ],
)
def test_an_invalid_array_or_table_gives_a_one_line_error(tmp_path, name, content, says):
    with pytest.raises(ValueError) as problem:
        load(file_named(tmp_path, name, content))
    assert says in str(problem.value)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    "name, table",
    [
        ("x.csv", "question\na, b\nc\n"),
        ("x.csv", 'id,Question\n1,"a, b"\n2,c\n'),
        ("x.csv", "text;id\na, b;1\nc;2\n"),
        ("x.csv", "id\tinput\n1\ta, b\n2\tc\n"),
        ("x.tsv", "query\tid\r\na, b\t1\r\nc\t2\r\n"),
        ("x.csv", "\n\ninstruction\na, b\nc\n"),
        ("x.csv", 'prompt,,\n"a, b",,\nc,,,,\n'),
    ],
)
def test_tables_may_have_other_names_and_delimiters(tmp_path, name, table):
    assert list(load(file_named(tmp_path, name, table))) == ["a, b", "c"]


PROMPTS = ["什么是潮汐池？请用两句话介绍一下。", "北京的秋天为什么好看？", "Why is the sky blue?"]
FORMS = {
    "x.txt": "\r\n".join(PROMPTS),
    "x.csv": "id,prompt\r\n" + "".join(f"{at},{prompt}\r\n" for at, prompt in enumerate(PROMPTS)),
    "x.json": json.dumps(PROMPTS, ensure_ascii=False),
    "x.jsonl": "\r\n".join(json.dumps({"prompt": prompt}, ensure_ascii=False) for prompt in PROMPTS),
}


@pytest.mark.parametrize("name, text", FORMS.items())
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gbk", "gb18030"])
@pytest.mark.parametrize("is_packed", [False, True])
def test_files_in_other_encodings_have_the_same_prompts(tmp_path, name, text, encoding, is_packed):
    data = text.encode(encoding)
    path = tmp_path / (f"{name}.gz" if is_packed else name)
    path.write_bytes(gzip.compress(data, mtime=0) if is_packed else data)
    questions = load(str(path))
    path.unlink()
    assert list(questions) == PROMPTS
    assert questions[1] == PROMPTS[1]


PIECES = [
    '{"prompt": "a"}',
    "{",
    "}",
    "[",
    "]",
    '"',
    ",",
    ";",
    "\n",
    "\r\n",
    "prompt",
    "turns",
    ":",
    " ",
    "5",
    "é",
    "\ufeff",
]


@given(
    st.one_of(
        st.binary(max_size=100),
        st.lists(st.sampled_from(PIECES), max_size=30).map(lambda pieces: "".join(pieces).encode()),
    )
)
@pytest.mark.parametrize("name", ["x.txt", "x.csv", "x.tsv", "x.json", "x.jsonl"])
def test_any_file_gives_questions_or_a_one_line_error(tmp_path_factory, name, data):
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(data)
    try:
        questions = load(str(path))
    except ValueError as error:
        message = str(error)
    else:
        message = ""
        assert len(list(questions)) == len(questions) > 0
        assert all(questions)
    assert "\n" not in message


def test_gbk_after_much_ascii_is_read(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"a line\n" * 20_000 + PROMPTS[0].encode("gbk"))
    assert load(str(path))[-1] == PROMPTS[0]


def test_a_file_is_read_again_only_if_it_has_changed(tmp_path):
    path = file_named(tmp_path, "x.txt", "one\n")
    assert load(path) is load(path)
    file_named(tmp_path, "x.txt", "one\ntwo\n")
    assert list(load(path)) == ["one", "two"]


# ── conversations ──


def turns_of(question, max_turns, *others):
    prompts = Prompts([question, *others], unique=False)
    return prompts.turns(question, max_turns, random.Random(1))


def test_a_conversation_from_a_file_has_its_own_turns():
    talk = Talk(("one", "two", "three"))
    assert [turn.words for turn in turns_of(talk, 9)] == ["one", "two", "three"]
    assert [turn.messages for turn in turns_of(talk, 2)] == [
        [{"role": "user", "content": text}] for text in ("one", "two")
    ]


def test_other_questions_follow_a_single_question():
    turns = turns_of("one", 4, "two")
    assert turns[0].words == "one"
    assert len(turns) == 4
    assert {turn.words for turn in turns} <= {"one", "two"}


def test_messages_are_split_after_each_user_message_without_the_answers():
    messages = [TALK[0], *HELLO, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "and?"}]
    assert turns_of(messages, 5) == [([TALK[0], *HELLO], "hello", None), ([messages[-1]], "and?", None)]


def test_only_the_first_turn_is_marked():
    prompts = Prompts([Talk(("one", "two"))])
    (first, words, _), (second, *_) = prompts.turns(prompts.pick(random.Random(1)), 2, random.Random(1))
    assert MARK.fullmatch(first[0]["content"].removesuffix("one"))
    assert (words, second[0]["content"]) == ("one", "two")


def test_every_turn_has_the_length_of_its_row():
    rows = Limited("one", 5), Limited("two", 6)
    turns = [(turn.words, turn.max_tokens) for turn in turns_of(rows[0], 20, rows[1])]
    assert turns[0] == ("one", 5)
    assert set(turns) == {("one", 5), ("two", 6)}
    assert [turn.max_tokens for turn in turns_of(Limited(Talk(("one", "two")), 7), 5)] == [7, 7]
    assert [turn.max_tokens for turn in turns_of(Limited(HELLO, 8), 5)] == [8]


# ── lengths of rows ──


@pytest.mark.parametrize(
    "row, question",
    [
        ({"prompt": "one", "max_tokens": 20}, ("one", 20)),
        ({"output_tokens": "30", "prompt": "one"}, ("one", 30)),
        ({"prompt": "one", "output_len": 40.0, "max_tokens": None}, ("one", 40)),
        ({"messages": HELLO, "max_completion_tokens": 5}, (HELLO, 5)),
        ({"conversations": [{"from": "human", "value": "a"}], "output_length": 6}, (("a",), 6)),
        ({"prompt": "one", "max_tokens": None, "output_len": ""}, "one"),
    ],
)
def test_a_row_may_set_the_length_of_its_answer(file_of, row, question):
    assert list(load(file_of(json.dumps(row)))) == [question]


def test_rows_of_a_table_may_set_the_length_too(tmp_path):
    questions = load(file_named(tmp_path, "x.csv", "output_tokens,prompt\n12,one\n,two\n 13.0 ,three\n9,\n"))
    assert list(questions) == [("one", 12), "two", ("three", 13)]
    assert [limit_of(question) for question in questions] == [12, None, 13]
    assert [words_of(question) for question in questions] == ["one", "two", "three"]


@pytest.mark.parametrize("length", [0, -1, 1.5, "many", [1]])
def test_an_invalid_length_is_an_error(file_of, length):
    with pytest.raises(ValueError, match=r"prompts.jsonl:1: max_tokens is a whole number of tokens, 1 or more — got "):
        load(file_of(json.dumps({"prompt": "one", "max_tokens": length})))


@pytest.mark.parametrize(
    "row, question",
    [
        ({"question": "one", "answer": "two"}, "one"),
        ({"instruction": "Sort", "input": "b a", "output": "a b"}, "Sort\n\nb a"),
        ({"instruction": "Sing", "input": "", "context": None}, "Sing"),
        ({"prompt": HELLO, "chosen": []}, HELLO),
        ({"prompt": [{"from": "human", "value": "a"}]}, ("a",)),
        ({"conversation": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, ("a",)),
    ],
)
def test_names_of_questions_in_data_sets_are_known(file_of, row, question):
    assert list(load(file_of(json.dumps(row)))) == [question]


def test_columns_of_data_sets_are_known(tmp_path):
    table = "instruction,input\nSort,b a\nSing,\n"
    assert list(load(file_named(tmp_path, "x.csv", table))) == ["Sort\n\nb a", "Sing"]


# ── the supply ──


class Supply:
    """A user that takes one prompt after another."""

    def __init__(self, *questions, seed: int = 1, **options) -> None:
        self.prompts, self.generator = Prompts(questions, **options), random.Random(seed)

    def next(self):
        return self.prompts.prepare(self.prompts.pick(self.generator), self.generator)


def test_marks_are_at_the_beginning_and_differ():
    prompts = Supply("hello")
    sent = [prompts.next() for _ in range(1000)]
    assert all(MARK.match(question) and MARK.sub("", question, count=1) == "hello" for question in sent)
    assert len(set(sent)) == 1000


def test_marks_differ_from_user_to_user():
    assert Supply("hello", seed=1).next() != Supply("hello", seed=2).next()


def test_without_marks_questions_are_not_changed():
    assert Supply(TALK, unique=False).next() is TALK


def test_every_question_is_used_in_a_random_order():
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


def test_the_mark_before_a_list_of_parts_is_a_part():
    (message,) = Supply(PICTURE).next()
    mark, *parts = message["content"]
    assert parts == PICTURE[0]["content"]
    assert mark["type"] == "text"
    assert MARK.fullmatch(mark["text"])


@pytest.mark.parametrize("content", [None, ""])
def test_a_first_message_without_text_gets_only_the_mark(content):
    (message,) = Supply([{"role": "user", "content": content}]).next()
    assert MARK.fullmatch(message["content"])


def test_marking_does_not_change_the_question():
    before = json.dumps([TALK, PICTURE])
    for messages in (TALK, PICTURE):
        Supply(messages).next()
    assert json.dumps([TALK, PICTURE]) == before


@given(st.text(), st.integers())
def test_the_mark_comes_before_any_text(text, seed):
    assert Supply(text, seed=seed).next()[13:] == text
