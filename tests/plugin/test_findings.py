"""What the preflight found out lies beside the options that were given, and replaces none of them."""

from argparse import Namespace
from types import SimpleNamespace

from llmlocust.plugin.findings import findings, forget, note_proxy, note_target, note_values

NOTHING = {"values": {}, "targets": {}, "proxies": {}}


def environment(**options):
    return SimpleNamespace(parsed_options=Namespace(**options))


def test_what_was_found_is_noted_beside_what_was_given():
    run_environment = environment(llm_model="", llm_usage=True)
    note_values(run_environment, model="m", usage=True)
    note_values(run_environment, usage=False)
    note_target(run_environment, "http://a", "/v1/chat/completions", "/chat/completions")
    note_target(run_environment, "http://a", "/v1/completions", "/completions")
    note_target(run_environment, "http://b", "/v1/completions", "/b")
    note_proxy(run_environment, "http://a", "http://127.0.0.1:9")

    assert findings(run_environment) == {
        "values": {"model": "m", "usage": False},
        "targets": {
            "http://a": {"/v1/chat/completions": "/chat/completions", "/v1/completions": "/completions"},
            "http://b": {"/v1/completions": "/b"},
        },
        "proxies": {"http://a": "http://127.0.0.1:9"},
    }
    assert (run_environment.parsed_options.llm_model, run_environment.parsed_options.llm_usage) == ("", True)


def test_a_run_begins_with_nothing_found():
    run_environment = environment()
    assert findings(run_environment) == NOTHING
    note_values(run_environment, model="m")
    forget(run_environment)
    assert findings(run_environment) == NOTHING


def test_without_a_parser_there_is_no_place_for_it():
    run_environment = SimpleNamespace(parsed_options=None)
    note_values(run_environment, model="m")
    forget(run_environment)
    assert findings(run_environment) == NOTHING
