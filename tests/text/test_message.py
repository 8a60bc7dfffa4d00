"""Messages: English texts that keep their templates and values."""

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.text.figures import sentence, series
from llmlocust.text.message import (
    Message,
    capitalised,
    clauses,
    enumeration,
    from_json,
    message,
    sentences,
    term,
    to_json,
)

ROSE = message("{load}: {metric} rose from {before} to {after}", load="5 users", metric="TTFT", before=1, after=2)


def rendered(text):
    """Return a text with brackets around every message in it."""
    if not isinstance(text, Message):
        return text
    return f"[{text.template.format(**{name: rendered(value) for name, value in text.values.items()})}]"


def test_a_message_is_its_english_text():
    assert ROSE == "5 users: TTFT rose from 1 to 2"
    assert {ROSE: 1}["5 users: TTFT rose from 1 to 2"] == 1
    assert ROSE.template == "{load}: {metric} rose from {before} to {after}"
    assert ROSE.values == {"load": "5 users", "metric": "TTFT", "before": "1", "after": "2"}


def test_a_message_is_stored_as_plain_text():
    for stored in (pickle.loads(pickle.dumps(ROSE)), copy.deepcopy(ROSE), json.loads(json.dumps(ROSE))):
        assert type(stored) is str
        assert stored == ROSE


def test_values_may_have_braces():
    assert message("{name} failed", name="{x} {}") == "{x} {} failed"


def test_joined_texts_keep_their_parts():
    parts = [term("a"), "b", term("c")]
    assert clauses(parts) == "a; b; c"
    assert rendered(clauses(parts)) == "[[[a]; b]; [c]]"
    assert sentences(parts) == "a b c"
    assert enumeration(parts) == "a, b, c"
    assert rendered(series(parts)) == "[[[a], b] and [c]]"
    assert series([]) == clauses([]) == ""
    assert series(parts[:1]) is parts[0]


def test_a_sentence_keeps_its_message():
    assert sentence(ROSE) == f"{ROSE}."
    assert rendered(sentence(term("errors"))) == "[[errors].]"
    assert sentence(term("errors")) == "Errors."
    assert sentence(term("It failed.")) == "It failed."
    assert type(sentence("plain")) is str
    assert capitalised(term("errors")).template == "errors"


def test_a_long_series_is_not_deep():
    depth, level = 0, [series(["a"] * 2000)]
    while level := [value for text in level if isinstance(text, Message) for value in text.values.values()]:
        depth += 1
    assert depth < 20


@given(st.dictionaries(st.sampled_from(["load", "metric", "more"]), st.text(), min_size=2))
def test_the_english_is_the_filled_template(values):
    template = " ".join(f"{{{name}}}" for name in values)
    assert str(message(template, **values)) == " ".join(values.values())


# -- JSON

TEXTS = st.recursive(
    st.text(),
    lambda texts: st.dictionaries(st.sampled_from(["load", "metric", "more"]), texts).map(
        lambda values: message(" ".join(f"{{{name}}}" for name in values), **values)
    ),
    max_leaves=20,
)
NONSENSE = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda values: (
        st.lists(values)
        | st.dictionaries(st.text(), values)
        | st.fixed_dictionaries({"text": values, "template": values, "values": values})
        | st.fixed_dictionaries(
            {"text": st.text(), "template": st.text(), "values": st.dictionaries(st.text(), values)}
        )
    ),
)


def read(text):
    return json.loads(text, object_hook=from_json)


@given(TEXTS)
def test_a_message_is_read_as_it_was_written(text):
    copied = read(json.dumps(to_json(text)))
    assert copied == text
    assert rendered(copied) == rendered(text)


def test_a_message_in_json_has_its_text_for_other_programs():
    assert to_json("plain") == "plain"
    assert to_json(message("{load} failed", load=term("all"))) == {
        "text": "all failed",
        "template": "{load} failed",
        "values": {"load": {"text": "all", "template": "all", "values": {}}},
    }


@given(NONSENSE)
def test_any_json_is_read(value):
    read(json.dumps(value))


@pytest.mark.parametrize(
    ("template", "values"),
    [
        (5, {}),
        (None, None),
        ("{load}", ["a"]),
        ("{load}", {"load": 5}),
        ("{load}", {"load": {"text": "a"}}),
        ("{load}", {str(number): "a" for number in range(1000)}),
    ],
)
def test_a_message_of_invalid_form_is_its_text(template, values):
    text = read(json.dumps({"text": "5 users failed", "template": template, "values": values}))
    assert type(text) is str
    assert text == "5 users failed"


def test_the_text_of_a_file_is_not_formatted_from_its_template():
    text = read(json.dumps({"text": "a", "template": "{load.__class__} {0} {", "values": {"load": "b"}}))
    assert text == "a"
    assert text.template == "{load.__class__} {0} {"


def test_the_depth_of_a_message_from_a_file_is_limited():
    nested = "a"
    for _ in range(300):
        nested = {"text": "a", "template": "{a}", "values": {"a": nested}}
    depth, text = 0, read(json.dumps(nested))
    while isinstance(text, Message):
        depth, text = depth + 1, text.values["a"]
    assert depth <= 100


def test_other_objects_are_not_changed():
    for value in ({}, {"text": "a"}, {"text": "a", "template": "a", "values": {}, "more": 1}):
        assert read(json.dumps(value)) == value
