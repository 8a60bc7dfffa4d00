"""Dialects with third-party software: a Gradio app, a proxy that translates, an inference engine.

`make real` installs each into its own environment below .real/. The tests of missing software are skipped with a message.
LLMLOCUST_REAL sets another folder.
"""

import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import gevent
import pytest

from llmlocust.plugin.http.client import Client, Endpoint
from llmlocust.plugin.http.connection import Listener, Timeouts
from llmlocust.stream.ask import Ask
from llmlocust.stream.dialects import named
from llmlocust.stream.reading import Reading, has_token
from llmlocust.stream.record import Record
from llmlocust.stream.timeline import Timeline
from tests.locusts import free_port, outcomes, run, run_info
from tests.real.installed import python_of
from tests.simulators import running_simulator, wait_for

HERE = Path(__file__).parent
KEY = "sk-of-a-test"
PATIENT = Timeouts(connect=60, first_token=60, stall=60, total=60)
SLOW_TO_START = 120.0
WORDS, BETWEEN = ("Once", " upon", " a", " time"), 0.05
"""The answer of the app in gradio_app.py, and the seconds before each word."""


@contextmanager
def running(folder: Path, url: str, *command: str | Path, **environment: str) -> Iterator[str]:
    """Start a server as a child process, and yield the URL when the server answers there."""
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment})
    try:
        wait_for(lambda: process.poll() is not None or answers(url), patience=SLOW_TO_START)
        assert process.poll() is None, (folder / "server.log").read_text()[-2000:]
        yield url
    finally:
        process.terminate()
        process.wait(60)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def send_request(url: str, name: str, path: str = "", *, key: str = "", **fields: object) -> Record:
    dialect = named(name, path)
    ask = Ask(**({"prompt": "Hello", "max_tokens": 8, "stream": dialect.streams} | fields))
    timeline, reading = Timeline(), Reading(dialect, name="test")
    client = Client(Endpoint(url), PATIENT)
    headers = {"Content-Type": "application/json"} | dialect.headers(key)
    listener = Listener(partial(has_token, dialect) if ask.stream else None, reading.take)
    try:
        client.ask(timeline, dialect, ask, dialect.body(ask), headers, listener)
    finally:
        client.close()
    return reading.finish(timeline)


# ── Gradio ──


@pytest.fixture(scope="module")
def gradio(tmp_path_factory):
    python, port = python_of("gradio"), free_port()
    url = f"http://127.0.0.1:{port}"
    command = [python, HERE / "gradio_app.py", str(port)]
    with running(tmp_path_factory.mktemp("gradio"), f"{url}/config", *command):
        yield url


def test_a_gradio_chat_streams_what_it_yields(gradio):
    record = send_request(gradio, "gradio")

    assert (record.outcome, record.error, record.text) == ("ok", "", "".join(WORDS))
    assert 1 <= record.chunks <= len(WORDS)
    # the app waits before the first word, and TTFT begins with the call
    assert record.ttft >= BETWEEN
    assert record.e2e >= len(WORDS) * BETWEEN


def test_a_wait_in_gradios_queue_counts(gradio):
    jobs = [gevent.spawn(send_request, gradio, "gradio") for _ in range(2)]
    first, second = sorted((job.get() for job in jobs), key=lambda record: record.ttft)

    assert {first.outcome, second.outcome} == {"ok"}
    assert second.ttft >= (len(WORDS) + 1) * BETWEEN  # the app serves one request at a time


@pytest.mark.parametrize(
    "name, path, outcome, text",
    [
        ("gradio", "/gradio_api/call/predict", "ok", "Echo: Hello"),
        ("gradio", "/gradio_api/call/fail", "out_of_memory", ""),
        ("gradio", "/gradio_api/call/nothing", "http_5xx", ""),
        ("gradio-run", "/gradio_api/run/predict", "ok", "Echo: Hello"),
        ("gradio-run", "/gradio_api/run/fail", "out_of_memory", ""),
        ("gradio-run", "/run/predict", "http_4xx", ""),
    ],
)
def test_gradios_answers_and_failures(gradio, name, path, outcome, text):
    record = send_request(gradio, name, path)

    assert (record.outcome, record.text) == (outcome, text), record.error
    assert bool(record.error) == (outcome != "ok")


def test_the_dialect_of_a_gradio_app_is_detected(gradio, tmp_path):
    few = ["--llm-levels", "2", "--llm-warmup", "0", "--llm-hold", "2"]
    locust = run(tmp_path, gradio, *few, "--llm-dialect", "auto")

    assert locust.process.returncode == 0, locust.log
    assert "The run uses the dialect gradio, at /gradio_api/call/chat." in locust.log
    assert set(outcomes(tmp_path)) == {"ok"}
    assert run_info(tmp_path)["target"]["dialect"] == "gradio"


# ── Gradio 3, which has no event calls ──


@pytest.fixture(scope="module")
def gradio3(tmp_path_factory):
    with _gradio3(tmp_path_factory.mktemp("gradio3")) as url:
        yield url


@contextmanager
def _gradio3(folder: Path, *queue: str) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(folder, f"{url}/config", python_of("gradio3"), HERE / "gradio3_app.py", str(port), *queue):
        yield url


@pytest.mark.parametrize(
    "path, outcome, text",
    [
        ("", "ok", "Echo: Hello"),
        ("/api/predict", "ok", "Echo: Hello"),
        ("/run/fail", "out_of_memory", ""),
        ("/run/nothing", "http_5xx", ""),
        ("/run", "http_4xx", ""),
    ],
)
def test_an_old_gradios_answers_and_failures(gradio3, path, outcome, text):
    record = send_request(gradio3, "gradio-run", path)

    assert (record.outcome, record.text) == (outcome, text), record.error
    assert record.e2e if outcome == "ok" else record.error


@pytest.mark.parametrize("name", ["auto", "gradio-run"])
def test_the_dialect_of_an_old_gradio_app_is_detected(gradio3, tmp_path, name):
    few = ["--llm-levels", "2", "--llm-warmup", "0", "--llm-hold", "2"]
    locust = run(tmp_path, gradio3, *few, "--llm-dialect", name)

    assert locust.process.returncode == 0, locust.log
    assert "The run uses the dialect gradio-run, at /run/predict." in locust.log
    assert set(outcomes(tmp_path)) == {"ok"}


@pytest.mark.parametrize("name", ["auto", "gradio", "gradio-run"])
def test_an_old_gradios_queue_is_refused_with_a_message(tmp_path, name):
    with _gradio3(tmp_path, "queue") as url:
        locust = run(tmp_path, url, "--llm-levels", "2", "--llm-dialect", name)

    assert locust.process.returncode == 2
    assert "whose queue accepts calls only over a WebSocket, which is not supported: start the app" in locust.log
    assert "Traceback" not in locust.log


# ── LiteLLM: its translations of the simulator's answers, and canned ones ──

CONFIGURATION = """
model_list:
  - model_name: canned
    litellm_params: {{model: openai/canned, api_key: none, mock_response: "Once upon a time"}}
  - model_name: translated
    litellm_params: {{model: together_ai/simulated-llm, api_key: none, api_base: "{url}/v1"}}
router_settings: {{disable_cooldowns: true, num_retries: 0}}
"""


@pytest.fixture(scope="module")
def litellm(tmp_path_factory):
    program, port, folder = python_of("litellm").with_name("litellm"), free_port(), tmp_path_factory.mktemp("litellm")
    url = f"http://127.0.0.1:{port}"
    command = [program, "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    with running_simulator(step_ms=2, reasoning_share=0.25) as simulator:
        (folder / "config.yaml").write_text(CONFIGURATION.format(url=simulator.url))
        ready = f"{url}/health/liveliness"
        with running(folder, ready, *command, LITELLM_MASTER_KEY=KEY, LITELLM_LOCAL_MODEL_COST_MAP="True"):
            yield url


@pytest.mark.parametrize("name", ["openai-chat", "openai-responses", "anthropic"])
def test_litellm_translates_a_stream_and_nothing_is_lost(litellm, name):
    record = send_request(litellm, name, key=KEY, model="translated")

    assert (record.outcome, record.error) == ("ok", "")
    assert (record.output_tokens, record.token_source) == (8, "usage")
    assert len((record.reasoning + record.text).split()) == 8
    assert record.reasoning
    assert 2 <= record.chunks <= 8
    assert 0 < record.ttft <= record.ttfo <= record.e2e


@pytest.mark.parametrize("name", ["openai-chat", "openai-completions", "anthropic"])
@pytest.mark.parametrize("stream", [True, False])
def test_litellms_canned_answer(litellm, name, stream):
    record = send_request(litellm, name, key=KEY, model="canned", stream=stream)

    assert (record.outcome, record.error, record.text) == ("ok", "", "Once upon a time")
    assert record.output_tokens > 0


@pytest.mark.parametrize("name", ["openai-chat", "openai-responses", "anthropic"])
@pytest.mark.parametrize("wrong", [{"model": "unknown"}, {"key": "sk-wrong", "model": "canned"}])
def test_litellms_refusals_are_classified(litellm, name, wrong):
    record = send_request(litellm, name, **({"key": KEY} | wrong))

    assert record.outcome in ("http_4xx", "http_5xx")
    assert record.error.startswith("HTTP ")
    assert "{" not in record.error  # the message in the JSON, not the JSON


# ── llama.cpp's engine with a model of random weights, behind llama-cpp-python's server ──


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    python, port, folder = python_of("llamacpp"), free_port(), tmp_path_factory.mktemp("engine")
    subprocess.run([python, HERE / "tiny_model.py", folder / "tiny.gguf"], check=True)
    url = f"http://127.0.0.1:{port}"
    served = ["--model", folder / "tiny.gguf", "--host", "127.0.0.1", "--port", str(port), "--n_ctx", "512"]
    command = [python, "-m", "llama_cpp.server", *map(str, served), "--chat_format", "llama-2", "--n_threads", "1"]
    with running(folder, f"{url}/v1/models", *command):
        yield url


@pytest.mark.parametrize("name", ["openai-chat", "openai-completions"])
def test_an_engines_tokens_are_counted(engine, name):
    extra = {"logprobs": True} if name == "openai-chat" else {}
    streamed = send_request(engine, name, model="tiny", max_tokens=30, temperature=0.0, extra=extra)
    whole = send_request(engine, name, model="tiny", max_tokens=30, temperature=0.0, stream=False)

    assert (streamed.outcome, streamed.error, streamed.finish) == ("ok", "", whole.finish)
    assert (whole.outcome, whole.token_source, whole.output_tokens) == ("ok", "usage", 30)
    # the engine reports no usage in a stream, and a token of half a character has no text
    assert streamed.token_source == "chunks"
    assert 1 <= streamed.output_tokens <= 30
    assert streamed.ttft <= streamed.e2e


def test_an_engines_refusal_is_classified(engine):
    too_long = {"model": "tiny", "prompt": "word " * 2000}
    whole = send_request(engine, "openai-chat", stream=False, **too_long)
    streamed = send_request(engine, "openai-chat", **too_long)

    assert whole.outcome in ("http_4xx", "http_5xx")
    assert "maximum context length" in whole.error
    # in a stream, it sends the status 200 before it detects the error, and then nothing
    assert (streamed.outcome, streamed.chunks) == ("truncated", 0)
