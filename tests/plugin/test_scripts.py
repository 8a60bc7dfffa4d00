"""Locust inside a Python script, and options in Locust's configuration files."""

import re
import subprocess
import sys

import pytest

from tests.locusts import QUICK, Locust
from tests.simulators import PATIENCE, ROOT, running_simulator

EXAMPLE = re.search(r"```python\n(.*?)```", (ROOT / "docs/script.md").read_text(), re.DOTALL)[1]


@pytest.fixture(scope="module")
def simulator():
    with running_simulator(step_ms=2) as started:
        yield started


def script(text, *args):
    return subprocess.run(
        [sys.executable, "-c", text, *args], capture_output=True, text=True, check=False, timeout=PATIENCE, cwd=ROOT
    )


def test_the_script_of_the_docs_runs(simulator):
    until_answered = "while not environment.stats.total.num_requests:\n    gevent.sleep(0.05)\nrunner.quit()"
    wait = "gevent.spawn_later(3.0, runner.quit)"
    assert wait in EXAMPLE

    done = script(EXAMPLE.replace(wait, until_answered), simulator.url)

    requests, failed = map(int, re.search(r"(\d+) requests, (\d+) failed", done.stdout).groups())
    assert requests > 0, done.stderr
    assert failed == 0
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "line", ["events.init.fire(environment=environment, runner=runner, web_ui=None)", ", events=events"]
)
def test_an_environment_without_our_events_gives_one_line_on_what_to_do(simulator, line):
    assert line in EXAMPLE

    done = script(EXAMPLE.replace("3.0", "1.0").replace(line, ""), simulator.url)

    assert "RuntimeError: llmlocust does not know this Environment: make it with" in done.stderr
    assert "AttributeError" not in done.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("locust.conf", 'llm-header = ["X-A: 1", "X-B: 2"]\nllm-accept = ["drift", "warm_up"]\n'),
        ("pyproject.toml", '[tool.locust]\nllm-header = ["X-A: 1", "X-B: 2"]\n'),
    ],
)
def test_a_list_in_a_configuration_file_is_an_option_given_several_times(simulator, tmp_path, name, text):
    (tmp_path / name).write_text(text)

    with Locust(
        tmp_path, ["--headless", "--host", simulator.url, *QUICK, "--llm-hold", "0.5", "--csv", "run"]
    ) as locust:
        assert locust.ends() == 0, locust.log

    assert '"llm_header": "X-A: …\\\\nX-B: …"' in (tmp_path / "run_llm_run.json").read_text()


@pytest.mark.parametrize("text", ["llm-levels = [1, 2]", 'llm-prompts = ["short", "code"]'])
def test_a_list_for_one_value_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "locust.conf").write_text(text)

    with Locust(tmp_path, ["--headless", "--host", "http://127.0.0.1:9"]) as locust:
        assert locust.ends() == 2

    assert "can't be set to a list" in locust.log
    assert "Traceback" not in locust.log


def test_a_table_for_a_body_is_refused_in_one_line(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.locust]\nllm-body = {top_p = 0.5}\n")

    with Locust(tmp_path, ["--headless", "--host", "http://127.0.0.1:9"]) as locust:
        assert locust.ends() == 2

    assert "llmlocust: --llm-body must be a JSON object" in locust.log
