import pytest

from llmlocust.load.answer_key import load


@pytest.fixture
def answers(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text(
        '{"prompt": "Sum?", "answer": 42}\n\n'
        '{"prompt": " Capital? ", "answer": ["Canberra", "the A.C.T."]}\n'
        '{"prompt": "首都?", "answers": ["堪培拉"]}\n'
    )
    return load(str(path))


@pytest.mark.parametrize(
    "question, answer, right",
    [
        ("Sum?", "It is 42.", True),
        ("Sum?", "**42**", True),
        ("Sum?", "It is 142, or 42.5, or 4,42", False),
        ("Sum?", "", False),
        ("Capital?", "I think it is\nCANBERRA, no?", True),
        ("Capital?", "The  A.C.T. has it", True),
        ("Capital?", "Canberrans would know", False),
        ("首都?", "澳大利亚的首都是堪培拉。", True),
        ("Something else?", "42", None),
    ],
)
def test_a_right_answer_contains_the_expected_words(answers, question, answer, right):
    assert answers.judge(question, answer) is right


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030"])
def test_right_answers_may_be_in_other_encodings(tmp_path, encoding):
    path = tmp_path / "answers.jsonl"
    path.write_bytes('{"prompt": "首都是哪里？", "answer": "堪培拉"}\r\n'.encode(encoding))
    assert load(str(path)).judge("首都是哪里？", "是堪培拉。")


@pytest.mark.parametrize(
    "content, says",
    [
        ("", "no right answers in "),
        ('{"prompt": "a"}', ':1: a line of right answers needs "prompt" and "answer"'),
        ('{"prompt": "a", "answer": "b"}\n{"answer": "b"}', ":2: a line of right answers"),
        ('{"prompt": "a", "answer": [" "]}', ":1: a line of right answers"),
        ('{"prompt": "a", "answer": []}', ":1: a line of right answers"),
        ("[1]", ":1: a line of right answers"),
        ("{", ":1: a line of right answers"),
    ],
)
def test_an_invalid_file_gives_a_one_line_error(tmp_path, content, says):
    path = tmp_path / "wrong.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError) as problem:
        load(str(path))
    assert says in str(problem.value)
    assert str(path) in str(problem.value)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="cannot read the right answers in "):
        load(str(tmp_path / "nowhere"))
