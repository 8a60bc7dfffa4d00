"""What is spoken: named, one's own, or found out by asking the server. Real runs, each against one simulator."""

import pytest

from tests.locusts import QUICK, Locust, outcomes, rows, run, run_info
from tests.simulators import running_simulator

FEW_SECONDS = ["--llm-levels", "2", "--llm-warmup", "0", "--llm-hold", "1", "--llm-max-tokens", "8"]
WIRES = {
    "anthropic": "/v1/messages",
    "gradio": "/gradio_api/call/chat",
}


@pytest.fixture(scope="module")
def server():
    with running_simulator(step_ms=1) as running:
        yield running


@pytest.mark.parametrize("name", WIRES)
def test_a_run_speaks_what_is_named(server, tmp_path, name):
    server.clear()
    locust = run(tmp_path, server.url, *FEW_SECONDS, "--llm-dialect", name)

    assert locust.process.returncode == 0, locust.log
    assert set(outcomes(tmp_path)) == {"ok"}
    assert run_info(tmp_path)["target"]["dialect"] == name
    assert {request["endpoint"] for request in server.truth()} == {WIRES[name]}
    assert all(float(row["ttft"]) > 0 for row in rows(tmp_path, "llm_requests.csv"))


@pytest.mark.parametrize(
    "only, dialect",
    [("/v1/messages", "anthropic"), ("/api/chat", "ollama-chat"), ("/gradio_api", "gradio")],
)
def test_auto_finds_what_the_server_speaks(tmp_path, only, dialect):
    with running_simulator(step_ms=1, only=only) as server:
        locust = run(tmp_path, server.url, *FEW_SECONDS, "--llm-dialect", "auto")

    assert locust.process.returncode == 0, locust.log
    assert f"The run uses the dialect {dialect}, at " in locust.log
    assert run_info(tmp_path)["target"]["dialect"] == dialect
    assert run_info(tmp_path)["options"]["llm_dialect"] == dialect
    assert set(outcomes(tmp_path)) == {"ok"}


@pytest.mark.parametrize(
    "options, words",
    [
        (["--llm-dialect", "klingon"], "no dialect 'klingon': it is one of openai-chat, "),
        (["--llm-dialect", "auto", "--llm-preflight", "false"], "name a dialect"),
        (["--llm-dialect", "auto"], "did not answer a first request in any of openai-chat, "),
        (["--llm-dialect", "tgi"], "--llm-dialect auto detects"),
    ],
)
def test_what_cannot_be_spoken_is_told_in_one_line(tmp_path, options, words):
    with running_simulator(step_ms=1, only="/nothing") as server:
        locust = run(tmp_path, server.url, *QUICK, *options)

    assert locust.process.returncode == 2
    assert words in locust.log
    assert "Traceback" not in locust.log


def test_one_user_speaks_several_and_vectors_are_counted(server, tmp_path):
    several = """
from locust import task
from llmlocust import LLMUser, SteppedRamp

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}

class Several(LLMUser):
    dialect = "ollama-chat"

    @task
    def all_of_them(self):
        for record in (
            self.chat([{"role": "user", "content": [{"type": "text", "text": "What is it?"}, PICTURE]}]),
            self.complete("Once", name="text"),
            self.chat("Hello", name="claude", dialect="anthropic"),
            self.embed(["one", "two", "three"]),
            self.rerank("which?", ["one", "two"]),
        ):
            assert record.ok, record

class Ramp(SteppedRamp):
    pass
"""
    server.clear()
    locust = run(tmp_path, server.url, *FEW_SECONDS, "--llm-hold", "2", locustfile=several)

    assert locust.process.returncode == 0, locust.log
    assert "Traceback" not in locust.log
    paths = {"/api/chat", "/api/generate", "/v1/messages", "/v1/embeddings", "/v1/rerank"}
    assert {request["endpoint"] for request in server.truth()} == paths
    (level,) = rows(tmp_path, "llm_levels.csv")
    # of five requests two have inputs: three texts and two documents
    assert 0 < float(level["inputs_per_s"]) <= float(level["throughput"]) * 3
    assert float(level["input_tokens_per_s"]) > float(level["throughput"])
    vectors = [row for row in rows(tmp_path, "llm_requests.csv") if row["name"] in ("embedding", "rerank")]
    assert vectors
    assert all(row["outcome"] == "ok" and int(row["input_tokens"]) > 0 and not row["ttft"] for row in vectors)
    assert {(row["name"], row["inputs"]) for row in vectors} == {("embedding", "3"), ("rerank", "2")}
    assert {row["inputs"] for row in rows(tmp_path, "llm_requests.csv") if row not in vectors} == {""}
    assert run_info(tmp_path)["target"]["dialect"] == "ollama-chat"


def test_a_class_with_a_dialect_that_is_none_is_told_before_any_load(server, tmp_path):
    wrong = "from llmlocust import ChatUser\n\nclass Chat(ChatUser):\n    dialect = 'klingon'\n"
    locust = run(tmp_path, server.url, "-u", "1", "-t", "2s", "--llm-preflight", "false", locustfile=wrong)

    assert locust.process.returncode == 2
    assert "Chat: no dialect 'klingon': it is one of" in locust.log
    assert "Traceback" not in locust.log


TWO_CLASSES = """
from llmlocust import ChatUser, SteppedRamp

class Chat(ChatUser):
    {}

class Same(Chat):
    pass

class Claude(ChatUser):
    dialect = "anthropic"
    {}

class Ramp(SteppedRamp):
    pass
"""


def test_each_class_of_users_is_asked_for_in_its_own_dialect_and_at_its_own_host(server, tmp_path):
    server.clear()
    with running_simulator(step_ms=1) as other:
        hosts = [f"host = {simulator.url!r}" for simulator in (server, other)]
        args = ["--headless", "--only-summary", "--csv", "run", *FEW_SECONDS, "--llm-levels", "3"]
        with Locust(tmp_path, args, TWO_CLASSES.format(*hosts)) as locust:
            locust.ends()
        claude = [request["endpoint"] for request in other.truth()]

    assert locust.process.returncode == 0, locust.log
    assert run_info(tmp_path)["preflight"]["requests"] == 2
    assert run_info(tmp_path)["target"]["host"] == ", ".join(sorted((server.url, other.url)))
    assert {request["endpoint"] for request in server.truth()} == {"/v1/chat/completions"}
    assert set(claude) == {"/v1/messages"}
    assert len(claude) + len(server.truth()) == len(rows(tmp_path, "llm_requests.csv")) + 2


def test_a_class_that_the_server_does_not_answer_is_named_before_any_load(tmp_path):
    with running_simulator(step_ms=1, only="/v1/chat/completions") as server:
        locust = run(tmp_path, server.url, *FEW_SECONDS, locustfile=TWO_CLASSES.format("pass", "pass"))
        endpoints = [request["endpoint"] for request in server.truth()]

    assert locust.process.returncode == 2
    assert "Claude: 127.0.0.1" in locust.log
    assert "does not answer in anthropic at /v1/messages and /messages" in locust.log
    assert endpoints.count("/v1/chat/completions") == 1
