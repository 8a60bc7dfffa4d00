"""Messages: finished English that keeps what it was made of."""

import copy
import json
import pickle

from hypothesis import given
from hypothesis import strategies as st

from llmlocust.text.figures import sentence, series
from llmlocust.text.message import Message, capitalised, clauses, enumeration, message, sentences, term

ROSE = message("{load}: {metric} rose from {before} to {after}", load="5 users", metric="TTFT", before=1, after=2)


def rendered(text):
    """A text with brackets around each message in it."""
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


def test_joining_keeps_the_parts():
    parts = [term("a"), "b", term("c")]
    assert clauses(parts) == "a; b; c"
    assert rendered(clauses(parts)) == "[[[a]; b]; [c]]"
    assert sentences(parts) == "a b c"
    assert enumeration(parts) == "a, b, c"
    assert rendered(series(parts)) == "[[[a], b] and [c]]"
    assert series([]) == clauses([]) == ""
    assert series(parts[:1]) is parts[0]


def test_a_sentence_keeps_what_it_is_made_of():
    assert sentence(ROSE) == f"{ROSE}."
    assert rendered(sentence(term("errors"))) == "[[errors].]"
    assert sentence(term("errors")) == "Errors."
    assert sentence(term("It failed.")) == "It failed."
    assert type(sentence("plain")) is str
    assert capitalised(term("errors")).template == "errors"


def test_a_long_series_is_no_deep_one():
    depth, level = 0, [series(["a"] * 2000)]
    while level := [value for each in level if isinstance(each, Message) for value in each.values.values()]:
        depth += 1
    assert depth < 20


@given(st.dictionaries(st.sampled_from(["load", "metric", "more"]), st.text(), min_size=2))
def test_the_english_is_the_filled_template(values):
    template = " ".join(f"{{{name}}}" for name in values)
    assert str(message(template, **values)) == " ".join(values.values())
