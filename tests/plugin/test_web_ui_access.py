"""Who may ask the web UI, and what a request may set."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugin.offline_web_ui import STARTED, OfflineWebUI, offline_web_ui
from tests.simulators import ROOT

README = (ROOT / "README.md").read_text()
SECRET = "swordfish"
FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "http://localhost:1"},
    {"Origin": "null"},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
]


@pytest.fixture(scope="module")
def web_ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfflineWebUI]:
    """Without a login, and without keys."""
    with offline_web_ui(tmp_path_factory.mktemp("alone")) as ui:
        yield ui


@pytest.fixture(scope="module")
def with_login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfflineWebUI]:
    """Nobody is logged in."""
    with offline_web_ui(tmp_path_factory.mktemp("login"), login=True) as ui:
        yield ui


@pytest.fixture(scope="module")
def with_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfflineWebUI]:
    with offline_web_ui(tmp_path_factory.mktemp("key"), LLMLOCUST_API_KEY="sk-of-this-test") as ui:
        yield ui


def filled(rule: str) -> str:
    """A path of a route."""
    return rule.replace("<path:filename>", "live.js").replace("<name>", "llm_levels.csv").replace("<path:path>", "x.js")


# ── the login ──


def test_no_route_of_ours_answers_without_the_login(with_login):
    ours = [(rule, methods) for rule, methods, endpoint in with_login.rules if endpoint not in with_login.own]
    assert len(ours) >= 6
    for rule, methods in ours:
        assert "<" not in filled(rule), f"give {rule} a value in `filled`"
        for method in methods:
            answer = with_login.ask(method, filled(rule))
            if method == "OPTIONS":
                assert answer.status == 405, rule
            else:
                assert (answer.status, answer.headers["Location"][:6]) == (302, "/login"), f"{method} {rule}"


@pytest.mark.parametrize(
    "posted",
    [
        {"path": "/swarm", "data": {"llm_levels": "x"}},
        {"path": "/swarm", "data": {"llm_prompts": "secret.jsonl"}},
        {"path": "/swarm", "data": {"host": "http://evil.example"}},
        {"path": "/user", "json": {"user_class_name": "Chat", "headers": {}}},
    ],
)
def test_nothing_that_is_posted_is_looked_at_without_the_login(with_login, posted):
    Path(f"/proc/{with_login.process.pid}/cwd/secret.jsonl").write_text(f'{{"{SECRET}')
    answer = with_login.ask("POST", **posted)
    assert (answer.status, answer.headers["Location"][:6]) == (302, "/login")
    assert SECRET not in answer.text + answer.stderr


# ── pages of other origins ──


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_another_origin_changes_nothing_on_any_route(web_ui, headers):
    changing = [rule for rule, methods, _ in web_ui.rules if "POST" in methods]
    assert {"/swarm", "/stop", "/stats/reset", "/user"} <= set(changing)
    for path in changing:
        assert web_ui.ask("POST", path, headers=headers).status == 403
    assert web_ui.ask("DELETE", "/llm/", headers=headers).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},  # curl, a script
        {"Origin": "http://localhost"},
        {"Host": "localhost:8089", "Origin": "http://localhost:8089"},
        {"Host": "[::1]:8089", "Origin": "https://[::1]:8089"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"},
        # a proxy that rewrites Host: the browser has compared before it
        {"Host": "127.0.0.1:8089", "Origin": "https://locust.example", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=str,
)
def test_a_page_of_the_web_ui_itself_starts_a_run(web_ui, headers):
    answer = web_ui.ask("POST", "/swarm", data={"user_count": "1"}, headers=headers)
    assert answer.json["reached"] == ["user_count"]


def test_no_answer_can_be_read_by_a_page_of_another_origin(web_ui):
    for rule, methods, _ in [*web_ui.rules, ("/none", ["GET"], "")]:
        for method in methods:
            asks = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
            answer = web_ui.ask(method, filled(rule), headers=asks)
            assert not [name for name in answer.headers if name.lower().startswith("access-control-")], rule


def test_another_site_may_link_to_a_page_and_embeds_nothing(web_ui):
    for path in ("/", "/llm/", "/llm/live.json", "/llm/report", "/stats/requests", "/metrics"):
        embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
        assert web_ui.ask("GET", path, headers=embedded).status == 403
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert web_ui.ask("GET", "/llm/", headers=linked).status == 200


def test_our_pages_and_files_allow_only_what_they_need_and_all_answers_forbid_foreign_frames(web_ui):
    for rule, methods, endpoint in web_ui.rules:
        if "GET" not in methods or "report" in rule:
            continue
        headers = web_ui.ask("GET", filled(rule)).headers
        assert headers["X-Content-Type-Options"] == "nosniff", rule
        policy = headers["Content-Security-Policy"]
        assert "frame-ancestors 'self'" in policy, rule
        assert policy.startswith("default-src 'none'; script-src 'self';") == (endpoint not in web_ui.own), rule
        assert "unsafe" not in policy


# ── names ──


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8089",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example@localhost",
        "localhost@evil.example",
        "localhost,evil.example",
        "evil",
        "",
        "[evil.example]",
    ],
)
def test_under_a_foreign_name_no_route_answers(web_ui, host):
    for rule, methods, _ in web_ui.rules:
        assert web_ui.ask(methods[0], filled(rule), headers={"Host": host}).status == 403


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8089",
        "LOCALHOST.",
        "ui.localhost",
        "127.0.0.1:8089",
        "10.1.2.3",
        "[fd00::1]:8089",
        f"{socket.gethostname()}:8089",
    ],
)
def test_under_its_own_names_and_addresses_it_answers(web_ui, host):
    assert web_ui.ask("GET", "/llm/", headers={"Host": host}).status == 200


def test_an_option_names_a_proxy_and_pages_of_that_name_may_ask(tmp_path):
    with offline_web_ui(tmp_path, LLMLOCUST_WEB_HOSTS="https://locust.example, Master:8089") as proxied:
        for host in ("locust.example", "master:8089", "localhost"):
            assert proxied.ask("GET", "/llm/", headers={"Host": host}).status == 200
        assert proxied.ask("GET", "/llm/", headers={"Host": "evil.example"}).status == 403
        rewritten = {"Host": "127.0.0.1:8089", "Origin": "https://locust.example"}
        assert proxied.ask("POST", "/swarm", headers=rewritten).status == 200
        rewritten["Origin"] = "https://evil.example"
        assert proxied.ask("POST", "/swarm", headers=rewritten).status == 403


# ── files ──

FILES = ["llm_prompts", "llm_tokenizer", "llm_right_answers", "llm_thresholds", "llm_trace"]


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder above the one that Locust is started in."""
    return tmp_path_factory.mktemp("parent")


@pytest.fixture(scope="module")
def files(parent: Path) -> Iterator[OfflineWebUI]:
    folder = parent / "started"
    (folder / "below").mkdir(parents=True)
    (parent / "outside.jsonl").write_text('{"prompt": "Hello"}\n')
    (folder / "below" / "asked.jsonl").write_text('{"prompt": "Hello"}\n')
    (folder / ".env").write_text(f"KEY={SECRET}\n")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text(f"token = {SECRET}\n")
    (folder / "link.jsonl").symlink_to(parent / "outside.jsonl")
    os.mkfifo(folder / "fifo.jsonl")
    with offline_web_ui(folder, "--llm-prompts", str(parent / "outside.jsonl")) as ui:
        yield ui


@pytest.mark.parametrize("name", FILES)
def test_the_form_names_no_file_outside_the_folder_and_none_that_is_no_regular_file(files, name):
    names = ["/etc/passwd", "../started/../outside.jsonl ", "link.jsonl", "fifo.jsonl", "below", "nowhere"]
    names += [
        ".env",
        ".git/config",
        "/proc/self/environ",
        "hf:/etc",
        "hf:openai/gsm8k",
        "openai/gsm8k",
        "\0",
        "x" * 5000,
    ]
    for path in names:
        refusal = files.start(**{name: path}).refusal
        assert "regular files below the folder" in refusal, path
        assert SECRET not in refusal
    assert files.ask("GET", "/llm/").status == 200


def test_the_form_names_what_locust_was_started_with_built_in_names_and_files_below_the_folder(files, parent):
    below = "below/asked.jsonl"
    for prompts in (str(parent / "outside.jsonl"), "short", "short, reasoning", below, str(parent / "started" / below)):
        assert files.start(llm_prompts=prompts).refusal == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("llm_prompts", f'{{"prompt": "{SECRET}'),
        ("llm_prompts", f'{{"{SECRET}": 1}}\n'),
        ("llm_right_answers", f'{{"{SECRET}'),
        ("llm_thresholds", f'{SECRET} = "{SECRET}"\n'),
        ("llm_thresholds", f"[{SECRET}\n"),
        ("llm_trace", f"{SECRET},b\n1,2\n"),
        ("llm_trace", f'{{"timestamp": "{SECRET}"}}\n'),
        ("llm_tokenizer", f'{{"{SECRET}": "{SECRET}"}}'),
    ],
)
@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_no_message_to_the_web_quotes_a_file(files, parent, name, text, suffix):
    (parent / "started" / f"secret.{suffix}").write_text(text)
    answer = files.start(**{name: f"secret.{suffix}"})
    texts = [answer.text, *(files.ask("GET", path).text for path in ("/llm/live.json", "/exceptions", "/logs"))]
    assert SECRET not in "".join(texts)
    if name != "llm_prompts" or suffix == "jsonl":  # a CSV of one column is prompts, whatever stands in it
        flag = "--" + name.replace("_", "-")
        assert f"{flag}: 'secret.{suffix}' cannot be used" in answer.refusal
        assert flag in answer.stderr


def test_every_option_that_names_a_file_is_bounded():
    table = re.findall(r"^\| `--(llm-[a-z-]+)` \|[^|]*\| (.*) \|$", README, re.MULTILINE)
    reading = {
        name.replace("-", "_") for name, text in table if re.search(r"file\b|json\b|JSONL|CSV", text, re.IGNORECASE)
    }
    assert reading - {"llm_body"} == {*FILES, "llm_junit", "llm_faults"}  # the last two are fixed at the start


def test_the_form_sets_no_names_of_output_files_nor_what_holds_from_the_start(web_ui):
    names = [
        "csv_prefix",
        "html_file",
        "json_file",
        "logfile",
        "locustfile",
        "web_host",
        "headless",
        "stats_history_enabled",
    ]
    names += ["llm_junit", "llm_metrics_host", "llm_metrics_port", "llm_web_hosts", "llm_any_host", "llm_found"]
    answer = web_ui.start(**dict.fromkeys(names, "planted"), llm_hold="2", run_time="1m")
    assert answer.json["reached"] == ["llm_hold", "run_time", "spawn_rate", "user_count"]


# ── keys ──

OTHER_HOSTS = [
    "http://evil.example",
    "http://127.0.0.1:9@evil.example",
    "http://127.0.0.1:9<@evil.example",
    "http://evil.example\\@127.0.0.1:9",
    "http://127.0.0.1:10",
    "https://127.0.0.1:9",
    "evil.example",
    "//evil.example",
    "http://127.0.0.1:9.evil.example",
    "x",
    "http://[",
]


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_a_key_goes_to_no_other_host(with_key, host):
    assert "host" in with_key.start(host=host).refusal
    answer = with_key.ask("POST", "/user", json={"user_class_name": "Chat", "host": host})
    assert answer.status == 400


@pytest.mark.parametrize("host", ["", STARTED, f"{STARTED}/", f"{STARTED}/v1", STARTED.upper()])
def test_the_host_that_locust_was_started_with_may_be_named(with_key, host):
    assert with_key.start(host=host).refusal == ""


@pytest.mark.parametrize(
    ("args", "environment"),
    [
        ([], {"ANTHROPIC_API_KEY": "sk-ant"}),
        ([], {"OPENAI_API_KEY": "sk"}),
        (["--llm-header", "api-key: $PASSWORD"], {"PASSWORD": "secret"}),
    ],
)
def test_no_key_of_any_kind_does(tmp_path, args, environment):
    with offline_web_ui(tmp_path, *args, **environment) as ui:
        assert "sent only to the host" in ui.start(host="http://evil.example").refusal


def test_no_key_of_a_worker_does(tmp_path):
    with offline_web_ui(tmp_path, master=True) as ui:
        for host, status in (("http://evil.example", 400), (STARTED, 201)):
            assert ui.ask("POST", "/user", json={"user_class_name": "Chat", "host": host}).status == status


def test_no_key_goes_to_a_server_whose_certificate_is_not_verified_unless_locust_was_started_so(with_key, tmp_path):
    assert "certificate" in with_key.start(llm_insecure="true").refusal
    assert with_key.start(llm_insecure="false").refusal == ""
    with offline_web_ui(tmp_path, "--llm-insecure", LLMLOCUST_API_KEY="sk") as ui:
        assert ui.start(llm_insecure="true").refusal == ""


def test_without_keys_or_with_the_option_any_host_may_be_named(web_ui, tmp_path):
    assert web_ui.start(host="http://other.example").refusal == ""
    assert web_ui.start(llm_insecure="true").refusal == ""
    with offline_web_ui(tmp_path, LLMLOCUST_API_KEY="sk", LLMLOCUST_ANY_HOST="true") as ui:
        assert ui.start(host="http://other.example").refusal == ""


@pytest.mark.parametrize(
    "settings",
    [{"prompts": "/etc/passwd"}, {"headers": {"X": "$HOME"}}, {"dialect": "tgi"}, {"__module__": "os"}, [], None],
)
def test_of_a_user_class_only_what_locusts_page_offers_can_be_set(web_ui, settings):
    posted = {"user_class_name": "Chat", **settings} if isinstance(settings, dict) else settings
    assert web_ui.ask("POST", "/user", json=posted).status == 400
    assert web_ui.ask("POST", "/user", json={"user_class_name": "Chat", "weight": 2}).status == 201


# ── the report ──

SHARING = """
import json, sys
import gevent
from llmlocust.plugin.webui import report

report.sys.executable = sys.argv[1]
reports = report.Reports()

def make(prefix, lang):
    try:
        return reports.make(prefix, lang).read_text()
    except report.ReportFailed as problem:
        return str(problem)

def together(*wanted):
    asking = [gevent.spawn(make, *arguments) for arguments in wanted]
    gevent.joinall(asking)
    return [greenlet.value for greenlet in asking]

print(json.dumps([together(*[("run", "en")] * 10), together(*[("run", "en"), ("run", "zh"), ("broken", "en")] * 3)]))
"""
CHILD = """#!/bin/sh
echo "$4" >> started
[ "$4" != broken ] || { echo "Error: no such run" >&2; exit 1; }
echo "$4 $8" > "$6"
"""


def test_ten_who_ask_for_a_report_at_the_same_time_share_it(tmp_path):
    child = tmp_path / "child"
    child.write_text(CHILD)
    child.chmod(0o755)
    process = subprocess.run(
        [sys.executable, "-c", SHARING, str(child)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    once, mixed = json.loads(process.stdout)
    assert once == ["run en\n"] * 10
    assert mixed == ["run en\n", "run zh\n", "the report could not be made: no such run"] * 3
    assert (tmp_path / "started").read_text().split() == ["run", "run", "run", "broken"]
