"""Servers that refuse the first request: llmlocust changes the request until it is accepted, and the run uses the changes."""

import pytest

from llmlocust.plugin.http.client import Endpoint
from llmlocust.plugin.http.headers import Headers
from llmlocust.plugin.startup.probing import Probe
from llmlocust.stream.ask import Ask
from llmlocust.stream.dialects import named
from tests.locusts import QUICK, rows, run, run_info
from tests.plugin.routed import NOT_FOUND, refuses, reply, routed_server

ASK = Ask(prompt="Say hello.", model="m", max_tokens=16)
AS_COMPLETION = "with the limit of tokens as max_completion_tokens"
BY_CHUNKS = "without stream_options, so that its tokens are counted by chunks"
OWN_LIMIT = "with the run's own limit of 64 tokens"


def attempt(answer, ask=ASK, limit=64, dialect="openai-chat"):
    with routed_server(answer) as server:
        probe = Probe(
            Endpoint(server.url), named(dialect), Headers(), lambda spoken, ask: spoken.adaptations(ask, limit)
        )
        last_attempt = probe.find(ask)[-1]
        probe.client.close()
    assert probe.requests == len(server.requests) < 12
    return last_attempt


@pytest.mark.parametrize(
    "answer, ask, changes",
    [
        (refuses("max_tokens"), ASK, [AS_COMPLETION]),
        (refuses("max_tokens", status=422), ASK, [AS_COMPLETION]),
        (refuses("stream_options"), ASK, [BY_CHUNKS]),
        (refuses("max_tokens", "stream_options"), ASK, [AS_COMPLETION, BY_CHUNKS]),
        (refuses("stream_options", "max_tokens"), ASK, [BY_CHUNKS, AS_COMPLETION]),
        (refuses(min_tokens=50), ASK, [OWN_LIMIT]),
        (refuses("max_tokens", min_tokens=50), ASK, [AS_COMPLETION, OWN_LIMIT]),
        (refuses("stream_options", "max_tokens", min_tokens=50), ASK, [BY_CHUNKS, AS_COMPLETION, OWN_LIMIT]),
        (
            refuses("max_completion_tokens"),
            Ask(prompt="hi", max_tokens=16, max_tokens_field="max_completion_tokens"),
            ["with the limit of tokens as max_tokens"],
        ),
    ],
)
def test_a_server_is_asked_in_the_way_that_it_takes(answer, ask, changes):
    last_attempt = attempt(answer, ask)

    assert last_attempt.record.ok
    assert list(last_attempt.changes) == changes


@pytest.mark.parametrize(
    "limit, words", [(0, "without a limit of tokens"), (100, "with the run's own limit of 100 tokens")]
)
def test_the_runs_own_limit_is_tried(limit, words):
    assert attempt(refuses(min_tokens=60), limit=limit).changes == (words,)


@pytest.mark.parametrize("limit", [10, 16, 30])
def test_a_limit_that_is_too_small_for_the_server_is_refused_in_its_words(limit):
    ask = Ask(prompt="Say hello.", max_tokens=min(limit, 16))

    assert attempt(refuses("max_tokens", min_tokens=50), ask, limit).words.endswith(
        f"is {limit} tokens and must be 50."
    )


@pytest.mark.parametrize(
    "answer, words",
    [
        (refuses("messages"), "Unsupported parameter: 'messages'"),
        (refuses("max_tokens", "messages"), "Unsupported parameter: 'messages'"),
        (refuses("max_tokens", "max_completion_tokens", "messages"), "Unsupported parameter: 'max_completion_tokens'"),
        (refuses("messages", known=("model", "max_tokens", "stream", "stream_options")), "'messages'"),
        (lambda request: reply(400, {"error": {"message": "Your content is against the rules."}}), "against the rules"),
        (lambda request: reply(422, {"detail": [{"loc": ["body"], "msg": "bad /v1/thing 4096"}]}), "/v1/thing 4096"),
    ],
)
def test_the_refusal_that_counts_is_shown_in_the_servers_words(answer, words):
    last_attempt = attempt(answer)

    assert not last_attempt.record.ok
    assert words in last_attempt.words


def test_a_change_of_which_alone_the_server_complains_is_not_made():
    """A server of one field too many: what it says of the other name for the limit is no news."""
    known = ("model", "messages", "max_tokens", "stream")

    def answer(request):
        unknown = [name for name in request.body if name not in known]
        words = f"Unknown field {unknown[-1]}" if unknown else "The quota of this account is used up"
        return reply(400, {"error": {"message": words}})

    assert attempt(answer).words == "HTTP 400: The quota of this account is used up"


def test_what_means_nothing_in_a_dialect_is_not_tried():
    with routed_server(lambda request: reply(400, {"error": {"message": "no"}})) as server:
        probe = Probe(
            Endpoint(server.url), named("anthropic"), Headers(), lambda spoken, ask: spoken.adaptations(ask, 64)
        )
        probe.find(ASK)
        probe.client.close()

    assert [request.body["max_tokens"] for request in server.requests] == [16, 64]


def test_a_picky_server_is_asked_as_it_likes(tmp_path):
    with routed_server(refuses("max_tokens", "stream_options", min_tokens=20)) as server:
        locust = run(tmp_path, server.url, *QUICK)

    assert locust.process.returncode == 0, locust.log
    assert f"but accepts it {AS_COMPLETION}, {BY_CHUNKS} and with the run's own limit of 20 tokens." in locust.log
    load = [request.body for request in server.requests[-20:]]
    assert all(body["max_completion_tokens"] == 20 and "stream_options" not in body for body in load)
    assert {row["token_source"] for row in rows(tmp_path, "llm_requests.csv")} == {"chunks"}
    assert run_info(tmp_path)["options"]["llm_max_tokens_field"] == "max_completion_tokens"
    assert "max_tokens" in {field for request in server.requests for field in request.body or ()}


def test_the_last_refusal_is_what_a_run_that_cannot_start_says(tmp_path):
    with routed_server(refuses("max_tokens", min_tokens=4096)) as server:
        locust = run(tmp_path, server.url, *QUICK)

    assert locust.process.returncode == 2
    assert "answered a first request with: HTTP 400: The limit is 20 tokens and must be 4096" in locust.log


@pytest.mark.parametrize(
    "listed, model",
    [
        ([{"id": "a"}, {"id": "b"}], "a"),
        (["a"], "a"),
        ({"data": ["a"]}, "a"),
        ({"models": [{"name": "a", "size": 1}]}, "a"),
        ({"models": [{"model": "a", "name": "The A"}]}, "a"),
        ({"object": "list", "data": [{"id": "a"}], "models": [{"name": "b"}]}, "a"),
    ],
)
def test_the_first_model_of_a_list_in_any_shape_is_taken(listed, model):
    with routed_server(lambda request: reply(200, listed)) as server:
        probe = Probe(Endpoint(server.url), named("openai-chat"), Headers())
        assert probe.models(all_targets=True)[0][0] == model
        probe.client.close()


@pytest.mark.parametrize(
    "listed", [{}, {"data": None}, [1, 2], {"detail": "Not Found"}, "a", [{"size": 1}], {"data": {"a": 1}}]
)
def test_what_is_no_list_of_models_is_none(listed):
    with routed_server(lambda request: reply(200, listed)) as server:
        probe = Probe(Endpoint(server.url), named("openai-chat"), Headers())
        assert probe.models(all_targets=True)[0] == []
        probe.client.close()


@pytest.mark.parametrize(
    "base, at", [("", "/models"), ("/api/v4", "/api/v4/models"), ("/x/v4/chat/completions", "/x/v4/models")]
)
def test_models_are_listed_below_the_same_base(base, at):
    with routed_server(lambda request: reply(200, ["m"]) if request.target == at else NOT_FOUND) as server:
        probe = Probe(Endpoint(server.url + base), named("openai-chat"), Headers())
        assert probe.models(all_targets=True) == (["m"], "")
        probe.client.close()
