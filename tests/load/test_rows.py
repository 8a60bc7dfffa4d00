"""Questions in rows of other tools' files and of data sets."""

import json

import pytest

from llmlocust.load.rows import LENGTHS, Limited, Talk, of_entry, text_in

HI = [{"role": "user", "content": "hi"}]
AND = [*HI, {"role": "assistant", "content": "yes?"}, {"role": "user", "content": "and?"}]
PARTS = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "u"}}]


def human_messages(*texts):
    return [{"from": "human", "value": text} for text in texts]


@pytest.mark.parametrize(
    "row, question",
    [
        # a single question
        ("  hi ", "hi"),
        ({"prompt": "hi", "answer": "yes"}, "hi"),
        ({"question": "hi", "answer": "yes"}, "hi"),
        ({"query": "hi"}, "hi"),
        ({"problem": "hi", "solution": "yes"}, "hi"),
        ({"text": "hi"}, "hi"),
        ({"text_input": "hi", "timestamp": 0}, "hi"),
        ({"input": "hi"}, "hi"),
        ({"inputs": "hi"}, "hi"),
        ({"Question": "hi", "Best Answer": "yes"}, "hi"),
        ({"userPrompt": "hi"}, "hi"),
        ({"prompt": "", "text": "not this"}, ""),
        ({"prompt": None, "text": "hi"}, "hi"),
        ({"prompt": ["hi"]}, "hi"),
        ({"texts": ["hi", "there"]}, "hi\n\nthere"),
        ({"input": ["hi", "there"]}, "hi\n\nthere"),
        ({"instruction": "Sort", "input": "b a", "output": "a b"}, "Sort\n\nb a"),
        ({"instruction": "Sort", "input": "", "context": "b a"}, "Sort\n\nb a"),
        # parts
        ({"prompt": [{"type": "text", "text": "hi"}, {"type": "text", "text": "there"}]}, "hi\n\nthere"),
        ({"prompt": PARTS}, [{"role": "user", "content": PARTS}]),
        # messages
        ({"messages": HI}, HI),
        ({"messages": HI, "prompt": "not this"}, HI),
        ({"prompt": HI}, HI),
        (HI, HI),
        ({"messages": HI, "system": "be brief"}, [{"role": "system", "content": "be brief"}, *HI]),
        ({"messages": [{"role": "user", "content": PARTS}]}, [{"role": "user", "content": PARTS}]),
        (
            {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]},
            [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        ),
        ({"input": HI, "instructions": "be brief"}, [{"role": "system", "content": "be brief"}, *HI]),
        # conversations
        ({"turns": ["one", "two"]}, Talk(("one", "two"))),
        ({"question_id": 81, "category": "writing", "turns": ["one", "two"], "reference": ["x"]}, Talk(("one", "two"))),
        ({"prompt": ["one", "two"]}, Talk(("one", "two"))),
        ({"session_id": "s", "turns": [{"text": "one"}, {"text": "two", "delay": 5}]}, Talk(("one", "two"))),
        ({"turns": [{"role": "system", "text": "be brief"}, {"texts": ["one", "1"]}]}, Talk(("one\n\n1",))),
        ({"turns": AND}, Talk(("hi", "and?"))),
        ({"conversations": human_messages("one", "two")}, Talk(("one", "two"))),
        ({"conversation": AND}, Talk(("hi", "and?"))),
        ({"messages": human_messages("one")}, Talk(("one",))),
        ({"conversations": []}, Talk()),
        # nested requests
        ({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": HI}}, HI),
        ({"custom_id": "1", "method": "POST", "url": "/v1/completions", "body": {"prompt": "hi"}}, "hi"),
        ({"custom_id": "1", "method": "POST", "url": "/v1/embeddings", "body": {"input": "hi"}}, "hi"),
        ({"request": {"messages": HI}, "response": {"id": 5}}, HI),
        ({"body": json.dumps({"messages": HI})}, HI),
        ({"payload": [{"messages": HI}]}, HI),
        ({"session_id": "s", "payloads": [{"messages": HI}]}, HI),
        ({"payloads": [{"messages": HI}, {"messages": AND}]}, Talk(("hi", "and?"))),
        ({"inputs": {"question": "hi"}, "outputs": {"answer": "yes"}}, "hi"),
    ],
)
def test_a_row_has_its_question(row, question):
    question_ = of_entry(row)
    assert question_ == question
    assert type(question_) is type(question)


@pytest.mark.parametrize(
    "row, tokens",
    [
        ({"max_tokens": 20}, 20),
        ({"max_tokens": "20"}, 20),
        ({"max_tokens": 20.0}, 20),
        ({"max_tokens": "20.0"}, 20),
        ({"max_completion_tokens": 20}, 20),
        ({"output_tokens_count": 20, "prompt_tokens_count": 5}, 20),
        ({"completion_tokens": 20, "prompt_tokens": 5}, 20),
        ({"output_length": 20, "input_length": 5}, 20),
        ({"num_output_tokens": 20}, 20),
        ({"max_tokens": None, "output_len": "", "max_new_tokens": 20}, 20),
        ({"parameters": {"max_new_tokens": 20, "temperature": 0.1}}, 20),
        ({"sampling_params": {"max_tokens": 20}}, 20),
        ({"options": {"num_predict": 20}}, 20),
        ({"options": {"num_predict": -1}}, None),
        ({"options": ["this", "or", "that"], "parameters": None}, None),
        ({"max_tokens": None}, None),
        ({"output_tokens": [5, 17, 3]}, None),
    ],
)
def test_a_row_may_set_the_length_of_its_answer(row, tokens):
    assert of_entry({"prompt": "hi", **row}) == (Limited("hi", tokens) if tokens else "hi")


@pytest.mark.parametrize(
    "row",
    [
        {"body": {"messages": HI, "max_tokens": 7}},
        {"body": {"messages": HI}, "max_tokens": 7},
        {"body": {"messages": HI, "max_tokens": 7}, "output_tokens": 99},
        {"payload": [{"messages": HI, "max_completion_tokens": 7}]},
    ],
)
def test_a_nested_request_has_its_own_length_or_that_of_the_row(row):
    assert of_entry(row) == Limited(HI, 7)


@pytest.mark.parametrize(
    "row, says",
    [
        ({"id": 1, "words": "hi"}, "this one has id, words"),
        ({}, "this one has nothing"),
        ({"prompt": 5}, "this one has no question in 'prompt': 5"),
        ({"prompt": [1, 2, 3]}, "this one has no question in 'prompt': [1, 2, 3]"),
        ({"messages": []}, "this one has no question in 'messages': []"),
        ({"messages": ["hi"]}, "this one has no question in 'messages': [\"hi\"]"),
        ({"body": {"model": "m"}}, 'this one has no question in \'body\': {"model": "m"}'),
        ({"timestamp": 0, "input_length": 5, "output_length": 6}, "output_length: a row of a trace (--llm-trace)"),
        (5, "this one is 5"),
        ([], "this one is []"),
        ({"prompt": "hi", "max_tokens": 0}, "max_tokens is a whole number of tokens, 1 or more — got '0'"),
        (
            {"body": {"prompt": "hi", "max_tokens": 1.5}},
            "max_tokens is a whole number of tokens, 1 or more — got '1.5'",
        ),
        ({"prompt": "hi", "options": {"num_predict": "many"}}, "num_predict is a whole number of tokens"),
        ({f"a key that is long {number}": number for number in range(100)}, "this one has a key that is long 0, "),
    ],
)
def test_a_row_without_a_question_gives_an_error_with_its_names(row, says):
    with pytest.raises(ValueError) as error:
        of_entry(row)
    assert says in str(error.value)
    assert len(str(error.value)) < 250


def test_a_list_of_messages_is_not_copied():
    assert of_entry({"messages": AND}) is AND


@pytest.mark.parametrize(
    "name", ["max_tokens", "output_length", "output_tokens", "completion_tokens_count", "generated_tokens"]
)
def test_names_of_answer_lengths(name):
    assert name in LENGTHS


@pytest.mark.parametrize("name", ["prompt_tokens", "input_length", "total_tokens", "output", "length"])
def test_other_names_are_no_lengths_of_answers(name):
    assert name not in LENGTHS


@pytest.mark.parametrize(
    "value, text",
    [
        (None, ""),
        (5, ""),
        ("a", "a"),
        (["a", "", {"text": "b"}], "a\n\nb"),
        ({"content": [{"text": "a"}]}, "a"),
        ({}, ""),
    ],
)
def test_the_text_of_a_value(value, text):
    assert text_in(value) == text
