"""The commands of the workflow in the docs work, run one after the other."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.locusts import LATE, free_port
from tests.simulators import PATIENCE, ROOT

WORKFLOW = (ROOT / "docs" / "ci-workflow.yml").read_text()
STEPS = dict(re.findall(r"- name: (.+)\n {8}run: \|\n((?: {10}.*\n)+)", WORKFLOW))


def command(folder: Path) -> None:
    """Create the command `llmlocust` of the workflow, which runs with this interpreter."""
    script = folder / "bin" / "llmlocust"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m llmlocust.cli "$@"\n')
    script.chmod(0o755)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: the workflow waits with it")
@pytest.mark.parametrize(("limit", "code"), [("60s", 0), ("1ms", 99)])
def test_its_commands_pass_a_good_server_and_fail_a_slow_one(tmp_path, limit, code):
    command(tmp_path)
    steps = [dedent(STEPS[name]) for name in ("Start the server", "Wait for the server", "Load test")]
    script = "".join(steps).replace("8000", str(free_port())).replace("--warmup 5 --hold 30", "--warmup 0.2 --hold 1.5")
    script = script.replace("< 1s @", f"< {limit} @")
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment["LLMLOCUST_ACCEPT"] = ", ".join(LATE)
    summary = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}

    done = subprocess.run(
        ["bash", "-e", "-c", f"trap 'kill $(jobs -p)' EXIT\n{script}"],
        cwd=tmp_path,
        env={**os.environ, **environment, **summary},
        check=False,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )

    assert done.returncode == code, done.stdout + done.stderr
    junit = (tmp_path / "reports/ci/gates.xml").read_text()
    assert junit.count("<testcase ") == 2
    assert ("<failure " in junit) == (code == 99)
    assert (tmp_path / "summary.md").read_text().startswith("### ")
    assert (tmp_path / "reports/ci/run_report.html").exists()
    assert json.loads((tmp_path / "reports/ci/run_llm_run.json").read_text())["ended"]


def test_it_uploads_the_files_of_its_commands():
    for path in ("reports/ci/gates.xml", "reports/", "server.log"):
        assert path in WORKFLOW.partition("- name: Show the gates")[2]


def test_its_token_may_do_no_more_than_its_steps_need():
    permissions = re.search(r"^permissions:.*\n((?:  .+\n)+)", WORKFLOW, re.MULTILINE)[1]
    assert dict(re.findall(r"^  ([\w-]+): (\w+)", permissions, re.MULTILINE)) == {"contents": "read", "checks": "write"}
