"""What the preflight found out lies beside the options that were given, and replaces none of them."""

from argparse import Namespace
from types import SimpleNamespace

from llmlocust.plugin.findings import findings, forget, note_target, note_values

NOTHING = {"values": {}, "targets": {}}


def environment(**options):
    return SimpleNamespace(parsed_options=Namespace(**options))


def test_what_was_found_is_noted_beside_what_was_given():
    made = environment(llm_model="", llm_usage=True)
    note_values(made, model="m", usage=True)
    note_values(made, usage=False)
    note_target(made, "http://a", "/v1/chat/completions", "/chat/completions")
    note_target(made, "http://a", "/v1/completions", "/completions")
    note_target(made, "http://b", "/v1/completions", "/b")

    assert findings(made) == {
        "values": {"model": "m", "usage": False},
        "targets": {
            "http://a": {"/v1/chat/completions": "/chat/completions", "/v1/completions": "/completions"},
            "http://b": {"/v1/completions": "/b"},
        },
    }
    assert (made.parsed_options.llm_model, made.parsed_options.llm_usage) == ("", True)


def test_a_run_begins_with_nothing_found():
    made = environment()
    assert findings(made) == NOTHING
    note_values(made, model="m")
    forget(made)
    assert findings(made) == NOTHING


def test_without_a_parser_there_is_no_place_for_it():
    made = SimpleNamespace(parsed_options=None)
    note_values(made, model="m")
    forget(made)
    assert findings(made) == NOTHING
