"""Causes that the report names for real engines with a known limit. `make real` installs the engines."""

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.locusts import Locust, rows, run
from tests.real.engines import DEEP, EngineProcess, llama_server, vllm

ON = {"LLMLOCUST_OBSERVE": ""}
FORCED = ["--llm-force-length", "--llm-max-tokens"]

pytestmark = pytest.mark.xdist_group("real_engines")  # they would slow each other down


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.fixture
def four_slots(folder) -> Iterator[EngineProcess]:
    with llama_server(folder, "--metrics", "-np", "4", "-c", "4096") as server:
        yield server


def cause(folder: Path, metric: str = "ttft_p50", low: int = 0) -> dict[str, Any]:
    """Return the cause of an SLO limit between the lowest and the highest load of a run, or between the level `low` and that.

    The threshold is between the values at both, so that it fits a machine that is slower or busy with other programs.
    """
    levels = [float(level[metric]) for level in rows(folder, "llm_levels.csv")]
    print(metric, levels)
    threshold = f"{metric.replace('_', '.')} < {math.sqrt(levels[low] * levels[-1]):.3f}ms"
    command = [sys.executable, "-m", "llmlocust.cli", "report", str(folder / "run"), "--json", "-"]
    report = subprocess.run(
        [*command, "--threshold", threshold], cwd=folder, check=True, capture_output=True, text=True
    )
    document = json.loads(report.stdout)
    named = document["verdict"]["slo_limit"]["cause"]
    print(threshold, json.dumps(named, indent=1))  # pytest shows it if a test fails
    if named["key"] == "client":
        pytest.skip(f"other programs use the cores: {named['evidence'][0]['says']}")
    return named


def ramp(folder: Path, server: EngineProcess, levels: str, tokens: int, *options: str, hold: float = 10.0) -> None:
    timing = ["--llm-levels", levels, "--llm-warmup", "2", "--llm-hold", str(hold)]
    locust = run(folder, server.url, *timing, *FORCED, str(tokens), *options, environment=ON)
    assert locust.process.returncode == 0, locust.log


# ── limits of the engine ──


def test_vllm_is_bound_by_its_sequences(folder, tmp_path):
    with vllm(folder, "--max-model-len", "1024", "--max-num-seqs", "2") as server:
        ramp(tmp_path, server, "1,2,4,8", 20)
    # a request that comes when a sequence ends may overtake those that wait: the median then hides the queue
    assert cause(tmp_path, "ttft_p95")["key"] == "slots"


def test_vllm_is_bound_by_its_kv_blocks(folder, tmp_path):
    options = ["--max-model-len", "512", "--max-num-seqs", "8", "--num-gpu-blocks-override", "12"]
    with vllm(folder, *options) as server:
        ramp(tmp_path, server, "1,4,8", 350, hold=17.0)
    assert cause(tmp_path, "ttft_p95")["key"] == "kv_cache"


def test_llamacpp_is_bound_by_its_slots(folder, tmp_path):
    """With 8 slots instead of 2, this server finishes 1.5 times as many requests, and TTFT does not grow."""
    (tmp_path / "hi.txt").write_text(
        "Hi\n"
    )  # the tokens of this model are letters: other prompts take most of the time
    short = ["--llm-dialect", "openai-completions", "--llm-prompts", "hi.txt"]
    with llama_server(folder, "--metrics", "-np", "2", "-c", "2048", shape=DEEP) as server:
        ramp(tmp_path, server, "1,2,4,8", 60, *short)
    assert cause(tmp_path)["key"] == "slots"


def test_llamacpp_with_enough_slots_is_bound_by_its_thread(folder, tmp_path):
    """A step takes longer with each sequence: one thread computes all of them. Nothing waits, so it is neither the slots
    nor the front end. Without the counters of a GPU, decode and computation look the same: neither is shown.
    """
    with llama_server(folder, "--metrics", "-np", "16", "-c", "8192") as server:
        ramp(tmp_path, server, "1,4,16", 60, hold=12.0)
    named = cause(tmp_path, "tpot_p50")
    assert named["key"] in ("decode", "compute")
    assert named["degree"] == "suspected"


# ── interruptions: never a capacity ──


def interrupted(folder: Path, server: EngineProcess, interruption: Any) -> None:
    """Do a run of three levels with an interruption in the second."""
    args = ["--headless", "--only-summary", "--host", server.url, "--csv", "run", *FORCED, "20"]
    args += ["--llm-levels", "2,3,4", "--llm-warmup", "1", "--llm-hold", "16"]
    with Locust(folder, args, environment=ON) as locust:
        locust.wait_for_log("level 1:")
        time.sleep(3.0)
        interruption()
        assert locust.ends() in (0, 1), locust.log


def assert_an_outage(folder: Path) -> None:
    command = [sys.executable, "-m", "llmlocust.cli", "report", str(folder / "run"), "--json", "-"]
    command += ["--threshold", "ttft.p95 < 3s", "--threshold", "errors < 1%"]
    report = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    verdict = json.loads(report.stdout)["verdict"]
    causes = {name: verdict[name]["cause"] for name in ("slo_limit", "saturation", "knee", "collapse")}
    print(json.dumps(causes, indent=1))
    # a level with an outage either has the cause outage, or is no limit at all
    for name, named in causes.items():
        if verdict[name]["high"] is not None:
            assert named["key"] == "outage", name


def test_a_server_that_is_stopped_has_no_capacity_there(four_slots, tmp_path):
    def stop() -> None:
        four_slots.signal(signal.SIGSTOP)
        time.sleep(8.0)
        four_slots.signal(signal.SIGCONT)

    interrupted(tmp_path, four_slots, stop)
    assert_an_outage(tmp_path)


def test_a_server_that_is_restarted_has_no_capacity_there(four_slots, tmp_path):
    def restart() -> None:
        four_slots.kill()
        time.sleep(2.0)
        four_slots.start()

    interrupted(tmp_path, four_slots, restart)
    assert_an_outage(tmp_path)


def test_a_limit_of_open_files_is_no_queue(folder, tmp_path):
    """The server has a slot for each request that it knows, and does not know the others: they are in the kernel's backlog."""
    short = ["--llm-dialect", "openai-completions", "--llm-prompts", "hi.txt"]
    (tmp_path / "hi.txt").write_text("Hi\n")
    with llama_server(folder, "--metrics", "-np", "64", "-c", "16384", files=40, shape=DEEP) as server:
        ramp(tmp_path, server, "4,16,64", 20, *short)
    named = cause(tmp_path, low=-2)  # with 16 users, the server knows all connections
    assert named["key"] == "front_end"
    assert "process.files" in [evidence["metric"] for evidence in named["evidence"]]
