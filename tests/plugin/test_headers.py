"""Headers that a user gives: they go to the server, and nowhere else."""

import json
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

from llmlocust.assessment.assessment import assess
from llmlocust.plugin.http.client import Endpoint
from llmlocust.plugin.http.headers import Headers, listed, names
from llmlocust.report.html import html
from llmlocust.runfiles.reading.locate import load_run
from llmlocust.stream.dialects import DIALECTS, named
from tests.command import llmlocust
from tests.locusts import RAMP, Locust, free_port, outcomes, rows, run, run_info
from tests.plugin.routed import Answer, reply, routed_server
from tests.simulators import PATIENCE, wait_for
from tests.web_ui import WebUI
from tests.wire import Wire

SHORT = ["--llm-levels", "2", "--llm-warmup", "0", "--llm-hold", "1", "--llm-think-time", "0.05", "--llm-model", "m"]
SECRET, LITERAL = "sk-planted-0123456789", "planted, with a comma"
CHAT, CLAUDE = named("openai-chat"), named("anthropic")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("LLMLOCUST_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "LLMLOCUST_HEADER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TOKEN": "abc", "TEAM_1": "blue\n", "BROKEN": "a\nb", "SPOILED": "aü", "EMPTY": " "}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


# -- pure


@pytest.mark.parametrize(
    "text, templates",
    [
        ("", {}),
        ("api-key: $TOKEN", {"api-key": "$TOKEN"}),
        (" X-A :  a, b; c:d  ", {"X-A": "a, b; c:d"}),
        (r"A: 1\nB: 2, 3", {"A": "1", "B": "2, 3"}),
        ("A: 1\nB: 2\n", {"A": "1", "B": "2"}),
        ("A: 1\r\n\n B: 2", {"A": "1", "B": "2"}),
    ],
)
def test_headers_stand_in_one_text(text, templates):
    assert listed(text) == templates


@pytest.mark.parametrize(
    "text, words",
    [
        ("sk-secret", "must be NAME: VALUE"),
        (r"A: 1\nsk-secret", "must be NAME: VALUE"),
        ("api key: sk-secret", "'api key' is not a valid header name"),
        (": sk-secret", "'' is not a valid header name"),
        ("käse: sk-secret", "'käse' is not a valid header name"),
        ("content-length: 5", "cannot set content-length"),
        ("Transfer-Encoding: chunked", "cannot set Transfer-Encoding"),
        ("api-key:", "api-key: the value is missing. In a shell, put it in single quotes"),
    ],
)
def test_what_is_no_header_is_said_in_one_line_without_its_value(text, words):
    with pytest.raises(ValueError, match=r".") as problem:
        Headers(listed(text))

    assert words in str(problem.value)
    assert "secret" not in str(problem.value)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    "template, value",
    [
        ("$TOKEN", "abc"),
        ("Token ${TOKEN}", "Token abc"),
        ("${TOKEN}x$TEAM_1.", "abcxblue."),
        ("$$TOKEN costs 5$", "$TOKEN costs 5$"),
        ("a, b", "a, b"),
    ],
)
def test_variables_come_from_the_environment(template, value):
    assert Headers({"x": template}).of(CHAT)["x"] == value


@pytest.mark.parametrize(
    "template, words",
    [
        ("$NO_SUCH_THING", "the header x needs the variable NO_SUCH_THING, which is not set here"),
        ("a ${EMPTY}", "the header x needs the variable EMPTY, which is not set here"),
        ("$BROKEN", "the value of the header x contains a line break"),
        ("Token $SPOILED", "the value of the header x contains a line break or other characters"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_and_not_shown(template, words):
    with pytest.raises(ValueError, match=words) as problem:
        Headers({"x": template}).of(CHAT)

    assert not any(value in str(problem.value) for value in ("a\nb", "aü"))


def test_a_variable_is_looked_up_at_each_use(environment):
    headers = Headers({"x": "$TOKEN"})
    before = headers.of(CHAT)["x"]
    environment.setenv("TOKEN", "new")

    assert (before, headers.of(CHAT)["x"]) == ("abc", "new")


@pytest.mark.parametrize(
    "dialect, name, value",
    [
        (CHAT, "authorization", "Token t"),
        (CLAUDE, "X-API-KEY", "k"),
        (CHAT, "USER-AGENT", "a"),
        (CHAT, "x-request-id", "i"),
    ],
)
def test_a_header_wins_over_one_of_its_name_whatever_the_case(environment, dialect, name, value):
    environment.setenv("LLMLOCUST_API_KEY", "key")
    sent = Headers({name: value}).of(dialect, "own-id")

    assert [header for header in sent.items() if header[0].lower() == name.lower()] == [(name, value)]
    assert sent.keys() >= {"Content-Type", "Accept"}


def test_an_attribute_wins_over_an_option():
    assert Headers({"X-A": "1", "B": "2"}, {"x-a": "3"}).of(CHAT).items() >= {"x-a": "3", "B": "2"}.items()


@pytest.mark.parametrize(
    "templates, text, shown",
    [
        ({"api-key": "$TOKEN"}, "unknown key abc.", "unknown key [api-key]."),
        ({"api-key": "$TOKEN"}, "abcdef is no word of it", "abcdef is no word of it"),
        ({"Authorization": "Token $TOKEN"}, "Token abc, abc", "[Authorization], [Authorization]"),
        ({"Authorization": "Bearer sk-literal-1"}, "a Bearer <sk-literal-1>!", "a Bearer <[Authorization]>!"),
        ({"A": "long-secret-1", "B": "long-secret-12"}, "not long-secret-12", "not [B]"),
        ({"api-key": "planted-secret-1"}, "x" * 190 + " planted-se", "x" * 190 + " [api-key]"),
        ({}, "nothing", "nothing"),
    ],
)
def test_values_are_masked_in_a_servers_words(templates, text, shown):
    assert Headers(templates).without_values(text) == shown


def test_files_have_names_alone():
    assert names(r"api-key: sk-secret\nX-Org: $ORG") == r"api-key: …\nX-Org: …"


KEYS = {"OPENAI_API_KEY": "of-openai", "ANTHROPIC_API_KEY": "of-anthropic"}


@pytest.mark.parametrize(
    "dialect, guessed_at, key",
    [
        # the user named the dialect, so the key of its vendor is for whatever speaks it
        (CHAT, None, "of-openai"),
        (CLAUDE, None, "of-anthropic"),
        # the dialect is found out
        (CHAT, "localhost", ""),
        (CHAT, "gpu.example", ""),
        (CHAT, "api.openai.com", "of-openai"),
        (CHAT, "openai.com", "of-openai"),
        (CHAT, "notopenai.com", ""),
        (CHAT, "openai.com.evil.example", ""),
        (CHAT, "api.anthropic.com", ""),
        (CHAT, "", ""),
        (CLAUDE, "api.anthropic.com", "of-anthropic"),
        (CLAUDE, "api.openai.com", ""),
    ],
)
def test_a_vendors_key_goes_to_the_vendor_unless_the_dialect_is_named(environment, dialect, guessed_at, key):
    for name, value in KEYS.items():
        environment.setenv(name, value)
    headers = Headers(guessed_at=guessed_at)
    sent = headers.of(dialect)

    assert [value for value in KEYS.values() if value in str(sent)] == ([key] if key else [])
    assert headers.variables(dialect) == ([dialect.key_variable] if key else [])

    environment.setenv("LLMLOCUST_API_KEY", "of-this-run")
    assert "of-this-run" in str(headers.of(dialect))
    assert headers.variables(dialect) == ["LLMLOCUST_API_KEY"]


@pytest.mark.parametrize("dialect", [dialect() for dialect in DIALECTS], ids=lambda dialect: dialect.name)
def test_no_dialect_sends_a_vendors_key_to_an_unknown_host_that_it_was_found_at(environment, dialect):
    for name, value in KEYS.items():
        environment.setenv(name, value)
    assert "of-" not in str(Headers(guessed_at="gpu.example").of(dialect))


@pytest.mark.parametrize(
    "templates, variables",
    [
        ({}, ["OPENAI_API_KEY"]),
        ({"api-key": "$TOKEN"}, ["OPENAI_API_KEY", "TOKEN"]),
        ({"authorization": "Token ${TOKEN} $TEAM_1"}, ["TOKEN", "TEAM_1"]),
        ({"Authorization": "literal"}, []),
    ],
)
def test_the_variables_that_are_sent_are_known(environment, templates, variables):
    environment.setenv("OPENAI_API_KEY", "key")
    assert Headers(templates).variables(CHAT) == variables


def test_secrets_of_an_address_are_masked_in_a_servers_words():
    secrets = Endpoint("http://me:pass%2Fword@host/v1?key=planted-123&v=2").secrets
    words = "no planted-123, pass/word or pass%2Fword, me: v 2"
    assert Headers().without_values(words, secrets) == "no [?key], [password] or [password], me: v 2"


# -- real runs


def keys_line(locust):
    return [line for line in locust.log.splitlines() if line.startswith("sends ")]


@pytest.mark.parametrize(
    "more, own, sent, lines",
    [
        ([], {}, {"Bearer of-openai"}, ["sends $OPENAI_API_KEY to "]),
        (["--llm-dialect", "auto"], {}, {None}, []),
        (
            ["--llm-dialect", "auto"],
            {"LLMLOCUST_API_KEY": "of-this-run"},
            {"Bearer of-this-run"},
            ["sends $LLMLOCUST_API_KEY to "],
        ),
    ],
    ids=["a named dialect", "one that is found out", "one that is found out, with a key of its own"],
)
def test_a_run_says_which_key_it_sends_where_and_auto_sends_no_vendors_key(tmp_path, more, own, sent, lines):
    with routed_server(lambda request: Answer()) as server:
        locust = run(tmp_path, server.url, *SHORT, *more, environment={**KEYS, **own})

    assert locust.process.returncode == 0, locust.log
    assert {request.headers.get("authorization") for request in server.requests} == sent
    assert all("of-anthropic" not in str(request.headers) for request in server.requests)
    assert keys_line(locust) == [f"{line}{server.url}" for line in lines]


def test_a_key_that_auto_kept_back_is_explained(tmp_path):
    with routed_server(lambda request: reply(401, {"error": "who are you?"})) as server:
        locust = run(tmp_path, server.url, *SHORT, "--llm-dialect", "auto", environment=KEYS)

    assert locust.process.returncode == 2
    words = "It needs a key, and --llm-dialect auto sends OPENAI_API_KEY only to openai.com: name the dialect, such as"
    assert words in locust.log


def test_a_secret_that_goes_out_unencrypted_is_said_to(tmp_path):
    """To a name that is not looked up: nothing is sent."""
    options = ["--llm-preflight=false", "--llm-header", "api-key: $TOKEN", "--llm-timeout-connect", "0.1"]
    host = "http://me:SECRET@gpu.invalid:8000/v1?key=SECRET"
    locust = run(tmp_path, host, *SHORT, *options, environment={"OPENAI_API_KEY": "key"})

    place = "http://gpu.invalid:8000, not encrypted"
    assert keys_line(locust) == [f"sends $OPENAI_API_KEY, $TOKEN and the password in the address to {place}"]


PLANTED = "planted-in-an-address"
NOTES_URLS = f"""
from locust import events

@events.request.add_listener
def _note_url(url, **_):
    with open("urls", "a") as file:
        print(url, file=file)
{RAMP}
"""


@pytest.mark.parametrize("preflight", ["true", "false"])
@pytest.mark.parametrize("status", [200, 401])
def test_secrets_of_an_address_are_in_no_file_and_no_line(tmp_path, preflight, status):
    """Locust's own HTML report, which shows the host as it was given, is not part of this test."""

    def answer(request):
        return reply(status, f"no: {request.target}", "text/plain") if status == 401 else Answer()

    with routed_server(answer) as server:
        host = server.url.replace("//", f"//me:{PLANTED}@") + f"/v1?key={PLANTED}"
        options = [*SHORT, f"--llm-preflight={preflight}", "--loglevel", "DEBUG"]
        run(tmp_path, host, *options, locustfile=NOTES_URLS)
        assert all(f"key={PLANTED}" in request.target for request in server.requests)

    for path in filter(Path.is_file, tmp_path.rglob("*")):
        assert PLANTED.encode() not in path.read_bytes(), path.name
    if (tmp_path / "run_llm_run.json").exists() and rows(tmp_path, "llm_requests.csv"):
        assert run_info(tmp_path)["target"]["host"] == f"{server.url}/v1?key"
        assert (tmp_path / "urls").read_text().splitlines()[0] == "/v1/chat/completions?key"


def test_headers_of_options_and_attributes_are_sent_with_every_request(tmp_path):
    own = RAMP.replace("    pass", '    headers = {"x-team": "$TEAM_1", "X-Both": "attribute"}', 1)
    options = [
        "--llm-header",
        "Authorization: Token $TOKEN",
        "--llm-header",
        "X-Both: a, b",
        "--llm-header",
        "host: site.x",
    ]
    with routed_server(lambda request: Answer()) as server:
        locust = run(tmp_path, server.url, *SHORT, *options, locustfile=own, environment={"LLMLOCUST_API_KEY": "key"})

    assert locust.process.returncode == 0, locust.log
    sent = {
        tuple(request.headers[name] for name in ("authorization", "x-team", "x-both", "host"))
        for request in server.requests
    }
    assert sent == {("Token abc", "blue", "attribute", "site.x")}
    assert run_info(tmp_path)["options"]["llm_header"] == r"Authorization: …\nX-Both: …\nhost: …"


LOGS_IN = """
from llmlocust import ChatUser, SteppedRamp

class Chat(ChatUser):
    def on_start(self):
        self.headers = {"X-User": f"user {self.environment.runner.user_count}"}

class Ramp(SteppedRamp):
    pass
"""


def test_a_user_may_set_headers_of_its_own(tmp_path):
    with routed_server(lambda request: Answer()) as server:
        locust = run(tmp_path, server.url, *SHORT, locustfile=LOGS_IN)

    assert locust.process.returncode == 0, locust.log
    assert {request.headers["x-user"][:5] for request in server.requests[2:]} == {"user "}


@pytest.mark.parametrize("text", ["A: 1, 2\nB: $TOKEN", r"A: 1, 2\nB: $TOKEN"])
def test_the_environment_has_them_in_one_text(tmp_path, text):
    with routed_server(lambda request: Answer()) as server:
        locust = run(tmp_path, server.url, *SHORT, environment={"LLMLOCUST_HEADER": text})

    assert locust.process.returncode == 0, locust.log
    assert {(request.headers["a"], request.headers["b"]) for request in server.requests} == {("1, 2", "abc")}


def test_the_command_passes_templates_on(tmp_path):
    few = ["--requests", "4", "--concurrency", "2", "--model", "m", "--out", "out"]
    with routed_server(lambda request: Answer()) as server:
        more = ["--header", "api-key: ${TOKEN}", "--header", "X-List: a, b"]
        done = llmlocust("run", server.url, *few, *more, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert {(request.headers["api-key"], request.headers["x-list"]) for request in server.requests} == {("abc", "a, b")}


@pytest.mark.parametrize(
    "options, words",
    [
        (["--llm-header", "sk-secret"], "--llm-header must be NAME: VALUE"),
        (["--llm-header", "a: $NOT_SET"], "the header a needs the variable NOT_SET"),
        (["--llm-header", "a: $NOT_SET", "--llm-preflight=false"], "the header a needs the variable NOT_SET"),
        (["--llm-header", "a: $BROKEN"], "contains a line break"),
        (["--llm-header", "Content-Length: 3"], "cannot set Content-Length"),
    ],
)
def test_a_header_that_cannot_be_sent_is_one_line_before_any_load(tmp_path, options, words):
    with routed_server(lambda request: Answer()) as server:
        locust = run(tmp_path, server.url, *SHORT, *options)

    assert locust.process.returncode == 2
    assert [line for line in locust.log.splitlines() if line.startswith("llmlocust: ") and words in line], locust.log
    assert "secret" not in locust.log
    assert "Traceback" not in locust.log
    assert not server.requests


def test_a_worker_without_the_variable_says_so_and_ends_the_run(tmp_path):
    port = str(free_port())
    bind = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--expect-workers", "1"]
    options = [*SHORT, "--llm-hold", "300", "--llm-header", "a: $ONLY_HERE"]
    with routed_server(lambda request: Answer()) as server, ExitStack() as stack:
        args = [*bind, "--headless", "--only-summary", "--host", server.url, "--csv", "run", *options]
        master = stack.enter_context(Locust(tmp_path, args, environment={"ONLY_HERE": "x"}))
        worker = stack.enter_context(Locust(tmp_path, ["--worker", "--master-port", port]))
        assert master.ends() == 2, master.log
        worker.ends()

    line = "the header a needs the variable ONLY_HERE, which is not set here: export it"
    assert f"llmlocust: Chat: {line}" in worker.log
    assert line in master.log
    assert len(server.targets) == 1  # the preflight's
    assert "Traceback" not in master.log + worker.log


REFUSAL = reply(401, {"error": f"no: {SECRET} and {LITERAL} and plain-secret"})


@pytest.mark.parametrize("preflight", ["true", "false"])
def test_values_that_the_server_says_back_are_not_repeated(tmp_path, preflight):
    options = ["--llm-header", "A: $PLANTED", "--llm-header", f"B: {LITERAL}", "--llm-header", "C: Token plain-secret"]
    with routed_server(lambda request: REFUSAL) as server:
        more = [*options, f"--llm-preflight={preflight}"]
        locust = run(tmp_path, server.url, *SHORT, *more, environment={"PLANTED": SECRET})

    assert "no: [A] and [B] and [C]" in locust.log or preflight == "false"
    assert server.requests[0].headers["a"] == SECRET
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        content = path.read_bytes()  # Python may write its bytecode there
        assert not any(value.encode() in content for value in (SECRET, LITERAL, "plain-secret")), path.name


PAGES = ["/", "/stats/requests", "/stats/report", "/exceptions", "/tasks", "/logs", "/llm/live.json"]


def test_values_are_in_no_file_no_log_no_page_and_templates_travel(tmp_path):
    bind, web = str(free_port()), free_port()
    args = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", bind, "--loglevel", "DEBUG", *SHORT]
    args += ["--web-host", "127.0.0.1", "--web-port", str(web), "--csv", "run", "--html", "run.html"]
    args += ["--llm-header", "A: Token $PLANTED", "--llm-header", f"B: {LITERAL}"]
    planted = {"PLANTED": SECRET}
    with routed_server(lambda request: Answer()) as server, ExitStack() as stack:
        master = stack.enter_context(Locust(tmp_path, [*args, "--host", server.url], environment=planted))
        wire = stack.enter_context(Wire(int(bind)))
        worker = ["--worker", "--master-port", wire.port, "--loglevel", "DEBUG"]
        stack.enter_context(Locust(tmp_path, worker, environment=planted))
        ui = WebUI(web)
        wait_for(ui.answers)
        wait_for(lambda: len(ui.get("/stats/requests").get("workers", [])), lambda seen: seen == 1)
        ui.start()
        wait_for(lambda: (tmp_path / "run_llm_run.json").exists() and run_info(tmp_path)["ended"])
        pages = {path: read(ui.address + path) for path in PAGES}
        refused = json.loads(read(f"{ui.address}/swarm", b"user_count=1&spawn_rate=1&llm_header=A: $HOME"))
        master.stop()
    (tmp_path / "report.html").write_text(html(assess(load_run(tmp_path / "run"))))

    assert {(request.headers["a"], request.headers["b"]) for request in server.requests} == {
        (f"Token {SECRET}", LITERAL)
    }
    assert outcomes(tmp_path)["ok"] > 0
    assert "--llm-header is not a field of the form" in refused["message"]
    assert b"Token $PLANTED" in wire.traffic
    seen = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert {"run_llm_run.json", "run_stats.csv", "run.html", "report.html", "log0", "log1"} <= seen.keys()
    for name, content in {**seen, **pages}.items():
        assert SECRET.encode() not in content, name
        assert LITERAL.encode() not in content, name
    assert SECRET.encode() not in bytes(wire.traffic)


def read(address: str, posted: bytes | None = None) -> bytes:
    with urllib.request.urlopen(address, posted, timeout=PATIENCE) as answer:
        return answer.read()
