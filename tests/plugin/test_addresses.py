"""Where requests go: from what users paste as an address, or where the server turns out to answer."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.plugin.http.addresses import Address, quoted
from llmlocust.plugin.http.client import Endpoint
from llmlocust.plugin.http.headers import Headers
from llmlocust.plugin.startup.probing import Probe
from llmlocust.stream.ask import Ask
from llmlocust.stream.dialects import named
from llmlocust.text.urls import shown
from tests.command import llmlocust
from tests.locusts import Locust, distributed, outcomes, run, run_info
from tests.plugin.routed import NOT_FOUND, PAGE, STREAM, Answer, answers_at, redirect, reply, routed_server

CHAT, TEXT, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/messages"
SHORT = [
    "--llm-levels",
    "2",
    "--llm-warmup",
    "0",
    "--llm-hold",
    "1",
    "--llm-max-tokens",
    "8",
    "--llm-think-time",
    "0.05",
]
ASK = Ask(prompt="Say hello.", model="some-model", max_tokens=16)


# -- pure: what is shown

SHOWN = {
    "http://host": "http://host",
    "https://host:8000/v1": "https://host:8000/v1",
    "host:8000/v1": "host:8000/v1",
    "[::1]:8000": "[::1]:8000",
    "http://me:SECRET@host/v1": "http://host/v1",
    "me:SECRET@host:8000/v1": "host:8000/v1",
    "SECRET@host": "host",
    "http://me:SEC@RET@host/v1": "http://host/v1",
    "http://me:SEC/RET@host/v1": "http://host/v1",
    "me:SEC/RET@host": "host",
    "http://me:SEC//RET@host/v1": "http://host/v1",
    "http://me:SEC?RET@host/v1": "http://host/v1",
    "http://me:SEC#RET@host/v1": "http://host/v1",
    "//me:SECRET@host/v1": "//host/v1",
    "http://me:SEC%2FRET@host/v1": "http://host/v1",
    "http://me:SEC/RE@T@[::1]:8000/v1?a=SECRET": "http://[::1]:8000/v1?a",
    "https://host/v1?api_key=SECRET": "https://host/v1?api_key",
    "https://host/v1?api-version=2024-02-01&key=SECRET&key=SECRET#SECRET": "https://host/v1?api-version&key",
    "host?key=SECRET": "host?key",
    "/v1/chat/completions?key=SECRET": "/v1/chat/completions?key",
    "/v1/a@b?key=SECRET": "/v1/a@b?key",
    "https://host/ai/run/@cf/model@2024": "https://host/ai/run/@cf/model@2024",
    "http://ho\x1bst/\r\n": "http://ho\ufffdst/\ufffd\ufffd",
    "": "",
}


@pytest.mark.parametrize("url", SHOWN)
def test_an_address_is_shown_without_its_secrets(url):
    assert shown(url) == SHOWN[url]
    assert shown(shown(url)) == shown(url)


@given(st.text(max_size=20), st.text("ab:/?#@[]&=%", max_size=12), st.sampled_from(["http://", "https://", "//", ""]))
def test_whatever_is_given_a_password_and_a_value_are_not_shown(noise, more, scheme):
    secret = "\u5bc6"
    for url in (f"{scheme}u:{more}{secret}@host/{noise}", f"{scheme}host/{noise}?key={secret}"):
        assert secret not in shown(url), url


@pytest.mark.parametrize(
    "host",
    ["http://ho st", "http://ho\x00st", "http://[::1", "http://h:99999", "http://h:x", "", "http://",
     "http://me:SEC/RET@host", "me:SEC?RET@host", "http://ex\u3000ample", "http://h<script>", "ftp://h", "http://\u2100/"],
)  # fmt: skip
def test_what_is_no_address_is_said_in_one_line(host):
    with pytest.raises(ValueError, match=r"the host must be a URL such as http://localhost:8000") as problem:
        Endpoint(host)
    assert "\n" not in str(problem.value)
    assert "SEC" not in str(problem.value)


def test_a_name_in_other_letters_is_sent_as_the_name_service_has_it():
    endpoint = Endpoint("http://b\xfccher.example:8000/v1")
    assert (endpoint.host, endpoint.authority) == ("xn--bcher-kva.example", "xn--bcher-kva.example:8000")


@pytest.mark.parametrize("text", ["/a b", "/a\r\nX: y", "/\xfc", "/\x00?a b", '/a"<>', "/%20?a=%2F&b"])
def test_what_no_url_has_is_encoded(text):
    assert re.fullmatch("[!-~]+", quoted(text))
    assert quoted(quoted(text)) == quoted(text)


# -- pure: the order of requests


@pytest.mark.parametrize(
    "pasted, path, first",
    [
        # a host, or a base in the protocol's own version
        ("", CHAT, "/v1/chat/completions"),
        ("/", CHAT, "/v1/chat/completions"),
        ("/v1", CHAT, "/v1/chat/completions"),
        ("/v1/", CHAT, "/v1/chat/completions"),
        ("/some/prefix", CHAT, "/some/prefix/v1/chat/completions"),
        ("/openai/v1", CHAT, "/openai/v1/chat/completions"),
        ("/anthropic", MESSAGES, "/anthropic/v1/messages"),
        # a base in another version
        ("/api/paas/v4", CHAT, "/api/paas/v4/chat/completions"),
        ("/api/v3/", CHAT, "/api/v3/chat/completions"),
        ("/compatible-mode/v1", CHAT, "/compatible-mode/v1/chat/completions"),
        ("/v1beta/openai", CHAT, "/v1beta/openai/chat/completions"),
        ("/v2.1", TEXT, "/v2.1/completions"),
        ("/api/v4", MESSAGES, "/api/v4/messages"),
        ("/v2", "/v1/rerank", "/v2/rerank"),
        ("/v4", "/v1/models", "/v4/models"),
        # segments that both have
        ("/api", "/api/chat", "/api/chat"),
        ("/v1/chat", CHAT, "/v1/chat/completions"),
        ("/api/v3/chat", CHAT, "/api/v3/chat/completions"),
        ("/app/gradio_api", "/gradio_api/call/chat", "/app/gradio_api/call/chat"),
        # the whole address of the endpoint
        ("/v1/chat/completions", CHAT, "/v1/chat/completions"),
        ("/api/paas/v4/chat/completions", CHAT, "/api/paas/v4/chat/completions"),
        ("/v1/chat/completions/", CHAT, "/v1/chat/completions/"),
        ("/chat/completions", CHAT, "/chat/completions"),
        ("/api/chat", "/api/chat", "/api/chat"),
        ("/ollama/api/generate/", "/api/generate", "/ollama/api/generate/"),
        ("/v3/embeddings", "/v1/embeddings", "/v3/embeddings"),
        ("/proxy/messages", MESSAGES, "/proxy/messages"),
        # the whole address of another dialect's endpoint
        ("/v4/chat/completions", TEXT, "/v4/completions"),
        ("/v1/completions", CHAT, "/v1/chat/completions"),
        ("/api/chat", CHAT, "/v1/chat/completions"),
        ("/v1/chat/completions", MESSAGES, "/v1/messages"),
        ("/generate_stream", "/generate", "/generate"),
        ("/v4/chat/completions", "/v1/models", "/v4/models"),
    ],
)
def test_the_likeliest_target_is_asked_first(pasted, path, first):
    assert Address(pasted).joins(path)[0] == first


@pytest.mark.parametrize(
    "query, pasted, first",
    [
        ("api-version=2024-02-01", "/openai/deployments/n", "/openai/deployments/n/chat/completions?api-version=2024-02-01"),
        ("version=3", "/models", "/models/chat/completions?version=3"),
        ("team=a", "/models", "/models/v1/chat/completions?team=a"),
        ("a=b&c=d", "/v4/chat/completions", "/v4/chat/completions?a=b&c=d"),
        ("a=b", "/v4/chat/completions/", "/v4/chat/completions/?a=b"),
    ],
)  # fmt: skip
def test_a_query_is_kept_and_may_name_the_version(query, pasted, first):
    assert Address(pasted, query).joins(CHAT)[0] == first


@pytest.mark.parametrize(
    "pasted, path, others",
    [
        ("", CHAT, ["/chat/completions"]),
        ("/serving", CHAT, ["/serving/chat/completions", "/serving"]),
        ("/v1", "/api/chat", ["/api/chat", "/v1"]),
        ("/v1", CHAT, ["/chat/completions", "/v1"]),
        ("/my/llm", CHAT, ["/my/llm/chat/completions", "/my/llm"]),
        ("/rerank", "/v1/rerank", ["/v1/rerank", "/rerank/v1/rerank"]),
        ("/api/chat", CHAT, ["/chat/completions", "/api/chat"]),
    ],
)
def test_other_joins_are_known_and_none_twice(pasted, path, others):
    assert Address(pasted).joins(path)[1:] == others


@pytest.mark.parametrize(
    "pasted, given, joins",
    [
        ("", "/chat/completions", ["/chat/completions"]),
        ("/api/paas/v4", "/chat/completions", ["/api/paas/v4/chat/completions", "/api/paas/chat/completions", "/chat/completions"]),
        ("/v1", "/v2/rerank", ["/v1/v2/rerank", "/v2/rerank"]),
        ("/v1", "chat", ["/v1/chat", "/chat"]),
        ("/x/own", "/own", ["/x/own", "/own"]),
        ("", "/own/?a=b", ["/own/?a=b"]),
    ],
)  # fmt: skip
def test_a_path_that_an_option_names_keeps_its_version(pasted, given, joins):
    assert Address(pasted, "", given).joins(given)[: len(joins)] == joins


@pytest.mark.parametrize(
    "pasted, known_targets, path, target",
    [
        ("", {CHAT: "/chat/completions"}, "/v1/embeddings", "/embeddings"),
        ("/v4", {CHAT: "/v4/v1/chat/completions"}, TEXT, "/v4/v1/completions"),
        ("/v1", {CHAT: "/chat/completions"}, "/v1/rerank", "/rerank"),
        ("/my/llm", {CHAT: "/my/llm"}, TEXT, "/my/llm/v1/completions"),
        ("", {CHAT: "/v1/chat/completions/"}, "/v1/embeddings", "/v1/embeddings"),
        ("", {"/gradio_api/call/chat": "/app/call/chat?a=b"}, "/gradio_api/call/chat/id1", "/app/call/chat/id1?a=b"),
    ],
)
def test_what_was_found_for_one_path_holds_for_the_others(pasted, known_targets, path, target):
    assert Address(pasted).target(path, known_targets) == target


def test_what_no_request_line_can_hold_is_escaped():
    assert Address("/a b/ü", "q=a b").joins(CHAT)[0] == "/a%20b/%C3%BC/v1/chat/completions?q=a%20b"
    assert Address("/a%20b").joins(CHAT)[0] == "/a%20b/v1/chat/completions"


# -- what a server answers at


def find(url, dialect="openai-chat", given=""):
    spoken = named(dialect, given)
    probe = Probe(Endpoint(url, given=given), spoken, Headers())
    try:
        return probe.find(ASK)
    finally:
        probe.client.close()


@pytest.mark.parametrize(
    "base, target, otherwise",
    [
        ("", "/chat/completions", NOT_FOUND),
        ("/serving", "/serving/chat/completions", reply(404, "404 page not found", "text/plain")),
        ("/v4", "/v4/v1/chat/completions", reply(405, "<h1>405 Not Allowed</h1>", "text/html")),
        ("/v1", "/chat/completions", PAGE),
        ("/llm/own", "/llm/own", reply(200, {"code": 404, "msg": "404 NOT_FOUND", "success": False})),
        ("/api", "/api/chat/completions", redirect(302, "/login")),
        ("/api", "/api/chat/completions", reply(404, "<p>Not here. See our models</p>", "text/html")),
        ("/api", "/api/chat/completions", reply(200, {"error": "Unexpected endpoint or method. (POST /x)"})),
        ("/openai/deployments/n?api-version=1", "/openai/deployments/n/v1/chat/completions?api-version=1", NOT_FOUND),
    ],
)
def test_the_target_that_answers_is_found(base, target, otherwise):
    with routed_server(answers_at(target, otherwise)) as server:
        attempt = find(server.url + base)[-1]

    assert (attempt.record.outcome, attempt.target) == ("ok", target)
    assert server.targets[-1] == target


@pytest.mark.parametrize("pasted", ["/gradio_api/call/predict", "/app/call/predict/"])
def test_a_pasted_function_of_an_app_is_called_and_its_events_are_fetched_below_it(pasted):
    events = b'event: complete\ndata: ["Hello"]\n\n'

    def app(request):
        if request.target == pasted:
            return reply(200, {"event_id": "e1"})
        return Answer(body=events) if request.target == f"{pasted.rstrip('/')}/e1" else NOT_FOUND

    with routed_server(app) as server:
        attempt = find(server.url + pasted, "gradio")[-1]

    assert (attempt.record.outcome, attempt.record.text) == ("ok", "Hello")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("to", ["/v1/chat/completions/", "/other?a=b", "HOST/v2/chat/completions"])
def test_a_redirect_on_the_same_server_is_followed(status, to):
    with routed_server(lambda request: None) as server:
        whole = to.replace("HOST", server.url)
        target = to.replace("HOST", "")
        server.answer = answers_at(target, redirect(status, whole))
        attempt = find(server.url)[-1]

    assert (attempt.record.outcome, attempt.target, attempt.redirected) == ("ok", target, CHAT)
    assert server.targets == [CHAT, target]


@pytest.mark.parametrize(
    "to", ["https://127.0.0.1:1/v1/chat/completions", "http://other.example/v9", "//other.example/x"]
)
def test_a_redirect_to_another_server_is_not_followed_but_told(to):
    with routed_server(lambda request: redirect(307, to)) as server:
        attempts = find(server.url)

    assert not attempts[-1].record.ok
    assert attempts[0].location == (to if "://" in to else f"http:{to}")


def test_redirects_in_a_circle_come_to_an_end():
    with routed_server(lambda request: redirect(307, request.target + "/")) as server:
        attempts = find(server.url)

    assert all(attempt.is_misplaced and not attempt.location for attempt in attempts)
    assert len(server.targets) < 20


@pytest.mark.parametrize(
    "refusal",
    [
        reply(404, {"error": {"message": "The model `some-model` does not exist.", "type": "NotFoundError"}}),
        reply(404, {"error": "model 'some-model' not found, try pulling it first"}),
        reply(404, {"type": "error", "error": {"type": "not_found_error", "message": "some-model"}}),
        reply(404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}),
        reply(401, {"error": {"message": "no key"}}),
        reply(403, "Forbidden", "text/plain"),
        reply(413, {"error": "too large"}),
    ],
)
def test_a_refusal_that_is_not_about_the_address_ends_the_search_for_it(refusal):
    with routed_server(lambda request: refusal) as server:
        attempts = find(server.url + "/base")

    assert server.targets == ["/base/v1/chat/completions"]
    assert not attempts[-1].is_misplaced


@pytest.mark.parametrize(
    "name, page", [("model-a", "Cannot POST /models/model-a/v1/chat/completions"), ("", "Not Found")]
)
def test_an_address_that_names_a_model_is_no_word_about_it(name, page):
    with routed_server(answers_at("/models/model-a/chat/completions", reply(404, page, "text/html"))) as server:
        assert find(f"{server.url}/models/model-a")[-1].record.ok


# -- real runs


def asked_in_load(server):
    """Targets of the requests behind those of the preflight."""
    return set(server.targets[-5:])


@pytest.mark.parametrize(
    "base, target, words",
    [
        ("/api/paas/v4", "/api/paas/v4/chat/completions", ""),
        ("/api/v3/chat/completions?x=1", "/api/v3/chat/completions?x=1", ""),
        ("", "/chat/completions", f"does not answer at {CHAT}, but at /chat/completions: the run uses that."),
    ],
)
def test_a_whole_run_asks_where_the_server_answers(tmp_path, base, target, words):
    with routed_server(answers_at(target)) as server:
        locust = run(tmp_path, server.url + base, *SHORT)

    assert locust.process.returncode == 0, locust.log
    assert words in locust.log
    assert asked_in_load(server) == {target}
    assert set(outcomes(tmp_path)) == {"ok"}
    assert run_info(tmp_path)["target"]["model"] == "m"
    assert run_info(tmp_path)["preflight"]["path"] == target.partition("?")[0]


def test_a_whole_run_goes_where_it_is_redirected_to(tmp_path):
    with routed_server(answers_at(f"{CHAT}/", redirect(307, f"{CHAT}/"))) as server:
        locust = run(tmp_path, server.url, *SHORT, "--llm-model", "m")

    assert locust.process.returncode == 0, locust.log
    assert f"The server redirects {CHAT} to {CHAT}/: the run uses that." in locust.log
    assert asked_in_load(server) == {f"{CHAT}/"}


BOTH = """
from locust import task
from llmlocust import LLMUser, SteppedRamp

class Both(LLMUser):
    dialect = "openai-chat"

    @task
    def ask(self):
        assert self.chat("Hello").ok
        assert self.complete("Once").ok

class Ramp(SteppedRamp):
    pass
"""


def short_paths(request):
    """A server without versions in its paths."""
    if request.target == "/models":
        return reply(200, ["m"])
    return (
        Answer(body=STREAM.replace(b'"delta": {"content"', b'"text"').replace(b"}, ", b", "))
        if (request.target == "/completions")
        else Answer()
        if request.target == "/chat/completions"
        else NOT_FOUND
    )


def test_workers_and_other_dialects_of_a_user_go_there_too(tmp_path):
    with routed_server(short_paths) as server, distributed(tmp_path, server.url, *SHORT, locustfile=BOTH) as both:
        assert both.master.ends() == 0, both.master.log

    assert "Traceback" not in both.master.log + "".join(worker.log for worker in both.workers)
    assert set(server.targets[1:]) == {"/chat/completions", "/completions"}
    assert set(outcomes(tmp_path)) == {"ok"}


def test_without_a_preflight_the_likeliest_target_is_asked(tmp_path):
    with routed_server(answers_at("/v9/chat/completions")) as server:
        locust = run(tmp_path, f"{server.url}/v9", *SHORT, "--llm-model", "m", "--llm-preflight=false")

    assert locust.process.returncode == 0, locust.log
    assert set(server.targets) == {"/v9/chat/completions"}


@pytest.mark.parametrize(
    "base, dialect, target",
    [("/x/v1/messages", "anthropic", "/x/v1/messages"), ("", "openai-chat", "/chat/completions")],
)
def test_auto_finds_the_address_too(tmp_path, base, dialect, target):
    message = {"type": "message", "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn"}
    answer = reply(200, message) if dialect == "anthropic" else Answer()
    with routed_server(answers_at(target, answer=answer)) as server:
        locust = run(tmp_path, server.url + base, *SHORT, "--llm-model", "m", "--llm-dialect", "auto")

    assert locust.process.returncode == 0, locust.log
    assert f"The run uses the dialect {dialect}, at {target}." in locust.log
    assert run_info(tmp_path)["target"]["dialect"] == dialect
    assert asked_in_load(server) == {target}


@pytest.mark.parametrize("how", [["--path", "/own/chat"], ["--", "--llm-path", "own/chat"]])
def test_the_command_is_told_the_path(tmp_path, how):
    with routed_server(answers_at("/base/own/chat")) as server:
        few = ["--requests", "4", "--concurrency", "2", "--model", "m", "--out", "out"]
        done = llmlocust("run", f"{server.url}/base", *few, *how, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert set(server.targets) == {"/base/own/chat"}


@pytest.mark.parametrize(
    "answer, words",
    [
        (lambda request: NOT_FOUND, f"does not answer in openai-chat at {CHAT} and /chat/completions (HTTP 404: Not Found). Is --host right? --llm-path sets the path (llmlocust run: --path)"),
        (lambda request: reply(405, f"<html><title>405</title><p>Cannot POST {request.target}</p></html>", "text/html"), f"at {CHAT} and /chat/completions (HTTP 405: 405 Cannot POST {CHAT})"),
        (lambda request: PAGE, "(HTTP 200 with text/html: Welcome to our chat)"),
        (lambda request: redirect(308, f"https://127.0.0.1:1{request.target}"), f"{CHAT} redirects to https://127.0.0.1:1{CHAT}: give this as --host"),
    ],
)  # fmt: skip
def test_a_server_that_answers_nowhere_is_one_line_that_says_what_to_do(tmp_path, answer, words):
    with routed_server(answer) as server:
        locust = run(tmp_path, server.url, *SHORT, "--llm-model", "m")

    assert locust.process.returncode == 2
    assert [line for line in locust.log.splitlines() if line.startswith("llmlocust: ") and words in line], locust.log
    assert "Traceback" not in locust.log


def test_a_dialect_that_does_not_fit_the_pasted_endpoint_is_told(tmp_path):
    with routed_server(answers_at("/v1/chat/completions")) as server:
        locust = run(tmp_path, f"{server.url}/v1/messages", *SHORT, "--llm-model", "m")

    assert locust.process.returncode == 0, locust.log
    assert "To use anthropic, give --llm-dialect anthropic" in locust.log


TWO_HOSTS = """
from llmlocust import ChatUser, SteppedRamp

class One(ChatUser):
    host = {!r}

class Other(ChatUser):
    host = {!r}

class Ramp(SteppedRamp):
    pass
"""


def test_each_host_of_a_run_has_a_target_of_its_own(tmp_path):
    with (
        routed_server(answers_at("/chat/completions")) as one,
        routed_server(answers_at("/v4/chat/completions")) as other,
    ):
        args = ["--headless", "--only-summary", "--csv", "run", *SHORT, "--llm-model", "m"]
        with Locust(tmp_path, args, TWO_HOSTS.format(one.url, f"{other.url}/v4")) as locust:
            assert locust.ends() == 0, locust.log

    assert asked_in_load(one) == {"/chat/completions"}
    assert set(other.targets) == {"/v4/chat/completions"}
