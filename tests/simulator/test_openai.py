import json
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.simulator import openai
from llmlocust.simulator.openai import CHAT, COMPLETIONS, ApiError, Frames, Labels, Plan, Request
from llmlocust.simulator.settings import Settings

HI = [{"role": "user", "content": "hi"}]
LABELS = Labels("some-id", 1763600000, "simulated-llm", "reasoning_content")


def read(body, endpoint=CHAT, **settings) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return openai.read(endpoint, raw, Settings(**settings))


def events(frames: bytes) -> list[dict]:
    assert frames.endswith(b"\n\n")
    return [json.loads(event.removeprefix(b"data: ")) for event in frames.split(b"\n\n")[:-1]]


def request_for(endpoint=CHAT, **more) -> Request:
    return Request(endpoint, prompt_tokens=5, prompt_digest=b"12345678", max_tokens=3, stream=True, **more)


@pytest.mark.parametrize(
    "endpoint, body, status, param, code",
    [
        (CHAT, b"{", 400, None, "invalid_json"),
        (CHAT, b"", 400, None, "invalid_json"),
        (COMPLETIONS, b'{"prompt": "\xff"}', 400, None, "invalid_json"),
        (CHAT, [], 400, None, None),
        (CHAT, {}, 400, "messages", None),
        (CHAT, {"messages": []}, 400, "messages", None),
        (CHAT, {"messages": "hi"}, 400, "messages", None),
        (CHAT, {"messages": [{"content": "hi"}]}, 400, "messages[0]", None),
        (CHAT, {"messages": HI, "model": "other"}, 404, "model", "model_not_found"),
        (CHAT, {"messages": HI, "max_tokens": 0}, 400, "max_tokens", None),
        (CHAT, {"messages": HI, "max_tokens": "5"}, 400, "max_tokens", None),
        (CHAT, {"messages": HI, "max_tokens": True}, 400, "max_tokens", None),
        (CHAT, {"messages": HI, "max_completion_tokens": -1}, 400, "max_completion_tokens", None),
        (CHAT, {"messages": HI, "max_tokens": 32768}, 400, None, "context_length_exceeded"),
        (CHAT, {"messages": HI, "n": 2}, 400, "n", None),
        (CHAT, {"messages": HI, "stream_options": {"include_usage": True}}, 400, "stream_options", None),
        (CHAT, {"messages": HI, "stream": True, "stream_options": 1}, 400, "stream_options", None),
        (COMPLETIONS, {}, 400, "prompt", None),
        (COMPLETIONS, {"prompt": 5}, 400, "prompt", None),
        (COMPLETIONS, {"prompt": ["one", "two"]}, 400, "prompt", None),
    ],
)
def test_bad_input_gets_openais_error(endpoint, body, status, param, code):
    with pytest.raises(ApiError) as raised:
        read(body, endpoint)
    error_object = json.loads(raised.value.body)["error"]
    assert (raised.value.status, error_object["param"], error_object["code"]) == (status, param, code)
    assert error_object["message"]
    assert error_object["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "endpoint, body, prompt_tokens",
    [
        (CHAT, {"messages": [{"role": "user", "content": "x" * 40}]}, 10),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 41}]}]}, 11),
        (CHAT, {"messages": [{"role": "user", "content": None}]}, 1),
        (COMPLETIONS, {"prompt": "x" * 40}, 10),
        (COMPLETIONS, {"prompt": ["x" * 40]}, 10),
        (COMPLETIONS, {"prompt": [1, 2, 3]}, 3),
        (COMPLETIONS, {"prompt": [[1, 2, 3, 4]]}, 4),
    ],
)
def test_tokens_of_a_prompt_are_counted_by_characters_or_ids(endpoint, body, prompt_tokens):
    assert read(body, endpoint).prompt_tokens == prompt_tokens


@pytest.mark.parametrize(
    "more, limit",
    [
        ({}, 1024),
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 8}, 8),
        ({"max_tokens": 7, "max_completion_tokens": 8}, 8),
    ],
)
def test_the_requested_limit_of_tokens_is_used(more, limit):
    assert read({"messages": HI, **more}).max_tokens == limit


def test_fields_without_effect_are_accepted():
    assert read({"messages": HI, "temperature": 0.5, "tools": [], "unheard_of": {"a": 1}})


def test_ignore_eos_gives_exactly_the_limit():
    request = read({"messages": HI, "max_tokens": 777, "ignore_eos": True})
    plan = openai.plan(request, Settings(answer_tokens=5))
    assert (plan.output_tokens, plan.finish_reason) == (777, "length")


def test_an_answer_has_the_same_length_every_time():
    lengths = {openai.plan(read({"messages": HI}), Settings(answer_tokens=50)).output_tokens for _ in range(3)}
    assert len(lengths) == 1


def test_answers_have_the_set_mean_length():
    plans = [openai.plan(read({"messages": HI, "seed": seed}), Settings(answer_tokens=100)) for seed in range(2000)]
    assert mean(plan.output_tokens for plan in plans) == pytest.approx(100, rel=0.05)
    assert {plan.finish_reason for plan in plans} == {"stop"}


def test_a_chat_stream_begins_with_the_role():
    (event,) = events(Frames(request_for(), Plan(3, 0, "stop", 0), LABELS).role())
    assert event["object"] == "chat.completion.chunk"
    assert event["choices"][0]["delta"] == {"role": "assistant", "content": ""}


def test_a_completion_stream_has_no_role():
    assert Frames(request_for(COMPLETIONS), Plan(3, 0, "stop", 0), LABELS).role() == b""


@pytest.mark.parametrize("endpoint", [CHAT, COMPLETIONS])
def test_the_last_event_has_the_finish_reason_and_the_events_have_the_text_of_the_answer(endpoint):
    request, plan = request_for(endpoint), Plan(3, 0, "stop", 20)
    frames = Frames(request, plan, LABELS)
    choices = [events(frames.tokens(index, index + 1))[0]["choices"][0] for index in range(3)]
    text = "".join(choice["delta"]["content"] if endpoint == CHAT else choice["text"] for choice in choices)
    answer = json.loads(openai.answer(request, plan, LABELS))["choices"][0]
    assert [choice["finish_reason"] for choice in choices] == [None, None, "stop"]
    assert text == (answer["message"]["content"] if endpoint == CHAT else answer["text"])


def test_reasoning_comes_first_in_the_set_field():
    labels = Labels("id", 1, "m", "reasoning")
    frames = Frames(request_for(), Plan(3, 2, "stop", 0), labels)
    deltas = [events(frames.tokens(index, index + 1))[0]["choices"][0]["delta"] for index in range(3)]
    assert [list(delta) for delta in deltas] == [["reasoning"], ["reasoning"], ["content"]]


def test_usage_is_null_until_the_last_event():
    frames = Frames(request_for(include_usage=True), Plan(3, 1, "stop", 0), LABELS)
    last = events(frames.usage())[0]
    assert events(frames.tokens(0, 1))[0]["usage"] is None
    assert last["choices"] == []
    assert last["usage"]["completion_tokens_details"] == {"reasoning_tokens": 1}
    assert (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"], last["usage"]["total_tokens"]) == (
        5,
        3,
        8,
    )


def test_usage_is_absent_if_it_was_not_requested():
    assert "usage" not in events(Frames(request_for(), Plan(3, 0, "stop", 0), LABELS).tokens(0, 1))[0]


def test_continuous_usage_counts_up():
    frames = Frames(request_for(include_usage=True, continuous_usage=True), Plan(3, 0, "stop", 0), LABELS)
    counts = [events(frames.tokens(index, index + 1))[0]["usage"]["completion_tokens"] for index in range(3)]
    assert counts == [1, 2, 3]


@given(st.integers(0, 500), st.integers(1, 60))
def test_every_word_is_valid_json_at_any_beginning_of_the_answer(first_word, tokens):
    frames = Frames(request_for(), Plan(tokens, 0, "length", first_word), LABELS)
    assert events(frames.tokens(0, tokens))[0]["choices"][0]["delta"]["content"].startswith(" ")


def test_some_words_have_characters_of_several_bytes():
    sizes = {len(character.encode()) for word in openai.WORDS for character in word.decode()}
    assert sizes >= {1, 2, 3, 4}


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_sends_retry_after(status):
    assert openai.http_error(status).headers == {"Retry-After": "1"}
