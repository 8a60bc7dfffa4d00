"""Data sets that Hugging Face's library has saved, and opens. `make real` installs it."""

import json
import os
import subprocess
import sys

import pytest

from tests.locusts import QUICK, outcomes, rows, run
from tests.real.installed import python_of
from tests.simulators import ROOT, running_simulator

MAKE = """
import datasets

rows = [{"id": i, "question": f"number {i}", "answer": "x", "max_tokens": 5 + i} for i in range(3)]
messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
data = datasets.Dataset.from_list(rows)
data.to_parquet("rows.parquet")
data.to_json("rows.jsonl")
datasets.DatasetDict({"train": data, "test": data.select([2])}).save_to_disk("saved")
talks = [{"messages": messages}, {"messages": [*messages, {"role": "user", "content": "c", "name": "d"}]}]
datasets.Dataset.from_list(talks, split="train").save_to_disk("talks")
"""
OPEN = "import json, sys; from llmlocust.load.prompts import load; print(json.dumps(list(load(sys.argv[1]))))"
ALL = [[f"number {i}", 5 + i] for i in range(3)]
A, B, C = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets")
    subprocess.run([python_of("datasets"), "-c", MAKE], cwd=path, check=True, capture_output=True)
    return path


@pytest.fixture
def environment(tmp_path):
    """Return the environment in which this interpreter also finds the library."""
    (packages,) = python_of("datasets").parent.parent.glob("lib/python*/site-packages")
    cache = {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    return {"PYTHONPATH": os.pathsep.join([str(ROOT), str(packages)]), **cache}


@pytest.mark.parametrize(
    "source, questions",
    [
        ("rows.parquet", ALL),
        ("hf:rows.parquet:train[:2]", ALL[:2]),
        ("hf:rows.jsonl", ALL),
        ("hf:saved", ALL),
        ("hf:saved:test", ALL[2:]),
        ("hf:saved:test:answer", [["x", 7]]),
        ("hf:talks", [[A], [A, B, {**C, "name": "d"}]]),
    ],
)
def test_what_the_library_saved_is_read(folder, environment, source, questions):
    child = subprocess.run(
        [sys.executable, "-c", OPEN, source],
        cwd=folder, env={**os.environ, **environment}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(child.stdout) == questions


def test_a_run_sends_the_questions_of_a_set(folder, environment, tmp_path):
    with running_simulator(step_ms=1) as simulator:
        options = ["--llm-prompts", f"hf:{folder}/saved", "--llm-force-length"]
        locust = run(tmp_path, simulator.url, *QUICK, *options, environment=environment)

    assert locust.process.returncode == 0, locust.log
    assert set(outcomes(tmp_path)) == {"ok"}
    assert {row["output_tokens"] for row in rows(tmp_path, "llm_requests.csv")} == {"5", "6", "7"}


@pytest.mark.parametrize(
    "source, message",
    [
        ("hf:talks:test", "cannot open the data set hf:talks:test: ValueError: it has only the split train"),
        ("hf:saved:dev", "no split 'dev', but train, test"),
        ("hf:saved:train:title", "no column 'title', but id, question, answer, max_tokens"),
        ("hf:some/set", "cannot open the data set hf:some/set: "),
    ],
)
def test_the_message_about_a_set_that_cannot_be_opened_is_one_line(folder, environment, tmp_path, source, message):
    source = source if source.startswith("hf:some") else source.replace("hf:", f"hf:{folder}/")
    locust = run(tmp_path, "http://127.0.0.1:9", *QUICK, "--llm-prompts", source, environment=environment)

    assert locust.process.returncode == 2
    assert "Traceback" not in locust.log
    assert message in locust.log.replace(f"{folder}/", "")
