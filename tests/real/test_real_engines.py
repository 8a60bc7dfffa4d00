"""Telemetry of runs against real engines: vLLM on the CPU and llama.cpp's server, with a tiny model.

`make real` installs them. Each run has at most a minute of load. Other programs may use the cores: the tests compare counts,
and times only where an engine's own limit decides them.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmlocust.analysis.causes.engines import LLAMA_CPP, OPTIONS, VLLM
from tests.locusts import MANUAL_RAMP, Locust, end_level, outcomes, rows, run, run_info
from tests.real.engines import VLLM_ENVIRONMENT, EngineProcess, llama_server, vllm
from tests.real.installed import python_of
from tests.simulators import wait_for

ON = {"LLMLOCUST_OBSERVE": ""}
SHORT = ["--llm-max-tokens", "20", "--llm-force-length"]
TOKENS = "llamacpp:tokens_predicted_total"
SECOND = 1.0
"""The interval of scrapes."""

pytestmark = pytest.mark.xdist_group("real_engines")  # they would slow each other down


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="module")
def two_sequences(folder) -> Iterator[EngineProcess]:
    with vllm(folder, "--max-model-len", "1024", "--max-num-seqs", "2") as server:
        yield server


@pytest.fixture(scope="module")
def few_blocks(folder) -> Iterator[EngineProcess]:
    options = ["--max-model-len", "512", "--max-num-seqs", "8", "--num-gpu-blocks-override", "12"]
    with vllm(folder, *options) as server:
        yield server


@pytest.fixture
def four_slots(folder) -> Iterator[EngineProcess]:
    with llama_server(folder, "--metrics", "-np", "4", "-c", "4096") as server:
        yield server


def observed(folder: Path, server: EngineProcess, *options: str, code: int = 0) -> Locust:
    locust = run(folder, server.url, *options, environment=ON)
    assert locust.process.returncode == code, locust.log
    return locust


def figures(folder: Path, level: int, source: str = "") -> dict[str, dict[str, float]]:
    """The rows of a level by key of the vocabulary, of one source or of all together."""
    figures_by_key = {}
    for row in rows(folder, "llm_telemetry_levels.csv"):
        if row["level"] == str(level) and not row["labels"] and (not source or row["source"] == source):
            figures_by_key[row["metric"]] = {
                name: float(row[name])
                for name in ("samples", "mean", "min", "max", "p50", "p95", "increase", "increase_low", "increase_high")
                if row[name]
            }
    return figures_by_key


def source_of(folder: Path, server: EngineProcess) -> dict[str, Any]:
    sources = run_info(folder)["telemetry"]["sources"]
    return next(source for source in sources if source["url"] == f"{server.url}/metrics")


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in run_info(folder)["telemetry"]["events"] if event["kind"] == kind]


def assert_counted(figures: dict[str, float], count: float, late: float = 0.0, early: float = 0.0) -> None:
    """Assert that a counter of the engine grew by a count. `late`: what the engine may count after the end of the level;
    `early`: what it counted in the level, and arrived before it or later.
    """
    assert figures["increase_low"] <= figures["increase"] <= figures["increase_high"]
    assert figures["increase_low"] - early <= count <= figures["increase_high"] + late


def running(folder: Path, server: EngineProcess) -> Locust:
    """Start a run with one level of 4 users that lasts until the test ends it."""
    args = ["--headless", "--only-summary", "--host", server.url, "--csv", "run", *SHORT]
    return Locust(folder, [*args, "--llm-levels", "4", "--llm-warmup", "0"], MANUAL_RAMP, environment=ON)


# ── counts ──


def test_vllm_and_the_run_count_the_same(two_sequences, tmp_path):
    before = two_sequences.counters()
    observed(tmp_path, two_sequences, "--llm-requests", "24", "--llm-levels", "4", *SHORT)
    after = two_sequences.counters()

    requests, counted = rows(tmp_path, "llm_requests.csv"), figures(tmp_path, 0)
    output, prompt = (sum(int(row[name]) for row in requests) for name in ("output_tokens", "input_tokens"))
    assert outcomes(tmp_path) == {"ok": 24}
    # vLLM may count the last request when the level has ended
    assert_counted(counted["finished"], 24, late=1)
    assert_counted(counted["generation_tokens"], output, late=20)
    assert_counted(counted["prompt_tokens"], prompt)
    assert "failed" not in counted or counted["failed"]["increase"] == 0
    # the preflight's request is before the observation
    growth = after - before
    assert growth["vllm:request_success_total"] == 24 + run_info(tmp_path)["counts"]["preflight"]
    assert 0 < growth["vllm:generation_tokens_total"] - output <= 20
    assert counted["server.e2e"]["mean"] == pytest.approx(
        sum(float(row["e2e"]) for row in requests) / len(requests) / 1000.0, rel=0.2
    )


def test_llamacpp_and_the_run_count_the_same(four_slots, tmp_path):
    before = four_slots.counters()
    observed(tmp_path, four_slots, "--llm-requests", "40", "--llm-levels", "4", *SHORT)
    after = four_slots.counters()

    requests, counted = rows(tmp_path, "llm_requests.csv"), figures(tmp_path, 0)
    output, prompt = (sum(int(row[name]) for row in requests) for name in ("output_tokens", "input_tokens"))
    assert outcomes(tmp_path) == {"ok": 40}
    assert_counted(counted["generation_tokens"], output)
    assert_counted(counted["prompt_tokens"], prompt)
    assert "finished" not in counted  # it has no such counter
    growth = after - before
    assert 0 < growth[TOKENS] - output <= 20
    assert source_of(tmp_path, four_slots)["engine"] == "llama.cpp"


def test_counts_of_the_levels_of_a_ramp_are_the_engines(four_slots, tmp_path):
    ramp = ["--llm-levels", "1,2,4,8", "--llm-warmup", "0", "--llm-hold", "8", *SHORT]
    before = four_slots.counters()
    observed(tmp_path, four_slots, *ramp)
    growth = four_slots.counters() - before

    levels = rows(tmp_path, "llm_levels.csv")
    counted = [figures(tmp_path, int(level["level"])) for level in levels]
    ours = [float(level["output_tokens_per_s"]) * float(level["window"]) for level in levels]
    # the engine counts the tokens of a request when it ends, so those of requests at the borders differ
    for level, tokens, of_server in zip(levels, ours, counted, strict=True):
        in_flight = 20 * float(level["load"])
        assert_counted(of_server["generation_tokens"], tokens, late=in_flight, early=in_flight)
    assert sum(of_server["generation_tokens"]["increase"] for of_server in counted) <= growth[TOKENS]
    # of the slots and of the queue
    assert [of_server["running"]["max"] for of_server in counted] == [1.0, 2.0, 4.0, 4.0]
    assert counted[-1]["waiting"]["max"] == 4.0
    assert max(of_server["waiting"]["max"] for of_server in counted[:2]) == 0.0
    assert all("kv.usage" not in of_server for of_server in counted)  # not exposed, and never 0


# ── the options of advice ──


def options_of(engine: str) -> set[str]:
    options = {option.name for of_cause in OPTIONS.values() for option in of_cause.get(engine, ())}
    return {word for option in options for word in option.split() if word.startswith("-")}


def missing_in(text: str, options: set[str]) -> set[str]:
    return options - set(re.findall(r"(?<![\w-])-[\w-]+", text))


def test_vllm_has_the_options_that_advice_names():
    command = [python_of("vllm").parent / "vllm", "serve", "--help=all"]
    environment = {**os.environ, **VLLM_ENVIRONMENT}
    text = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert not missing_in(text, options_of(VLLM) | {"--disable-log-stats"})


def test_llamacpp_has_the_options_that_advice_names():
    python = python_of("llama-server")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(python.parent)}
    command = [python.parent / "llama-server", "--help"]
    text = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert not missing_in(text, options_of(LLAMA_CPP) | {"--metrics"})


# ── limits of an engine ──


def test_vllm_with_two_sequences_lets_the_others_wait(two_sequences, tmp_path):
    ramp = ["--llm-levels", "1,8", "--llm-warmup", "2", "--llm-hold", "12", *SHORT]
    observed(tmp_path, two_sequences, *ramp)

    low, high = figures(tmp_path, 0), figures(tmp_path, 1)
    # vLLM counts a token at its step, so only chunks and answers on their way differ: those of two sequences
    for level, of_server in zip(rows(tmp_path, "llm_levels.csv"), (low, high), strict=True):
        tokens, ended = (float(level[name]) * float(level["window"]) for name in ("output_tokens_per_s", "throughput"))
        assert_counted(of_server["generation_tokens"], tokens, late=10, early=10)
        assert_counted(of_server["finished"], ended, late=2, early=2)
    assert (low["running"]["max"], low["waiting"]["max"]) == (1.0, 0.0)
    assert (high["running"]["max"], high["waiting"]["max"]) == (2.0, 6.0)
    assert 1.5 < high["running"]["mean"] <= 2.0
    # a load generator without a core of its own takes a moment for the next request
    assert 3.0 < high["waiting"]["mean"] <= 6.0
    assert 0.0 < high["kv.usage"]["max"] < 0.2
    assert high["preemptions"]["increase"] == 0.0
    # seven others take part in the time that a request waits
    assert high["server.queue"]["mean"] > 5.0 * low["server.queue"]["mean"]


def test_vllm_with_few_blocks_preempts(few_blocks, tmp_path):
    load = ["--llm-levels", "1,8", "--llm-warmup", "5", "--llm-hold", "25"]
    observed(tmp_path, few_blocks, *load, "--llm-max-tokens", "350", "--llm-force-length")

    low, high = figures(tmp_path, 0), figures(tmp_path, 1)
    assert low["kv.usage"]["max"] < 0.5
    assert low["preemptions"]["increase"] == 0.0
    assert high["preemptions"]["increase"] > 0.0
    assert high["kv.usage"]["max"] > 0.9
    assert high["kv.usage"]["p95"] <= 1.0
    assert high["running"]["max"] <= 8.0
    assert high["waiting"]["max"] >= 1.0
    settings = source_of(tmp_path, few_blocks)["settings"]
    assert (settings["num_gpu_blocks"], settings["block_size"]) == ("12", "128")


def test_scrapes_of_vllm_have_a_cost_that_is_shown(two_sequences, tmp_path):
    locust = observed(tmp_path, two_sequences, "--llm-levels", "2", "--llm-warmup", "0", "--llm-hold", "8", *SHORT)

    assert f"Telemetry: {two_sequences.url}/metrics, port:{two_sequences.port}, machine" in locust.log
    source = source_of(tmp_path, two_sequences)
    assert source["state"] == "ok"
    assert re.fullmatch(r"vLLM \d+\.\d+\.\d+", source["engine"])  # and not also the Python process that it describes
    # "9 of 9 requests answered, 40 ms and 50.1 kB each, 372 ms at most"
    words = source["says"].replace(",", "").split()
    answered, of, milliseconds, kilobytes = int(words[0]), int(words[2]), float(words[5]), float(words[8])
    assert answered >= 5
    assert answered == of
    assert 1.0 < milliseconds < 5000.0
    assert 10.0 < kilobytes < 200.0


# ── without metrics, and interruptions ──


def test_the_console_names_the_option_of_llamacpp_that_is_missing(folder, tmp_path):
    with llama_server(folder, "-np", "2", "-c", "1024") as server:
        locust = observed(tmp_path, server, "--llm-levels", "3", "--llm-warmup", "0", "--llm-hold", "4", *SHORT)

    (line,) = [line for line in locust.log.splitlines() if "Telemetry:" in line]
    assert f"Telemetry: slots:{server.url}, port:{server.port}, machine" in line
    assert "llama.cpp's server has metrics if it is started with --metrics." in line
    counted = figures(tmp_path, 0)
    assert counted["running"]["max"] == counted["running.limit"]["max"] == 2.0
    assert "waiting" not in counted


def test_a_restart_inside_a_level_is_an_event_and_counters_continue(four_slots, tmp_path):
    before = four_slots.counters()[TOKENS]
    with running(tmp_path, four_slots) as locust:
        wait_for(lambda: four_slots.counters()[TOKENS], lambda tokens: tokens >= before + 100)
        time.sleep(2.0 * SECOND)  # until the run has read that, too
        last = four_slots.counters()[TOKENS]
        four_slots.kill()
        time.sleep(1.0)
        four_slots.start()
        wait_for(lambda: four_slots.counters()[TOKENS], lambda tokens: tokens >= 100)
        end_level(tmp_path, 0)
        assert locust.ends() in (0, 1), locust.log
    second = four_slots.counters()[TOKENS]

    (restart,) = events(tmp_path, "restart")  # /metrics, /slots and the process on the port describe one server
    assert restart["source"] == f"127.0.0.1:{four_slots.port}"
    (level,) = rows(tmp_path, "llm_levels.csv")
    assert float(level["warmed_up"]) < restart["time"] < float(level["ended"])
    counted = figures(tmp_path, 0)["generation_tokens"]["increase"]
    # the load begins in the warm-up, requests end after the level, and tokens between a scrape and the kill are lost
    seconds = float(level["ended"]) - float(level["warmed_up"])
    tolerance = 3.0 * SECOND * (last - before + second) / seconds + 2 * 4 * 20
    assert counted == pytest.approx(last - before + second, abs=tolerance)
    assert counted > max(last - before, second)  # of both processes
    measured = float(level["output_tokens_per_s"]) * float(level["window"])
    assert counted == pytest.approx(measured, abs=tolerance)


def test_a_server_that_is_stopped_is_silent(four_slots, tmp_path):
    before = four_slots.counters()[TOKENS]
    with running(tmp_path, four_slots) as locust:
        wait_for(lambda: four_slots.counters()[TOKENS], lambda tokens: tokens >= before + 100)
        four_slots.signal(signal.SIGSTOP)
        time.sleep(8.0)
        four_slots.signal(signal.SIGCONT)
        time.sleep(2.0)
        end_level(tmp_path, 0)
        assert locust.ends() == 0, locust.log

    (silent,) = events(tmp_path, "silent")
    assert silent["source"] == f"127.0.0.1:{four_slots.port}"
    assert 5.0 <= silent["seconds"] <= 15.0
    assert not events(tmp_path, "restart")
    assert set(outcomes(tmp_path)) <= {"ok", "aborted"}
