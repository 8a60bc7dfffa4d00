"""The README agrees with the code."""

import re
import subprocess
import sys

import pytest

from llmlocust.runfiles.formats import RUN, TABLES
from tests.simulators import ROOT

README = (ROOT / "README.md").read_text()


def test_the_table_of_options_is_that_of_the_code():
    """The options are read in a child process, because Locust patches the standard library."""
    options = subprocess.run(
        [
            sys.executable,
            "-c",
            "from llmlocust.plugin.options import OPTIONS\nfor o in OPTIONS: print(f'{o.name}|{o.help}')",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    table = re.findall(r"^\| `--llm-([a-z-]+)` \|[^|]*\| (.*) \|$", README, re.MULTILINE)
    assert [f"{name}|{text}" for name, text in table] == options


def test_the_table_of_files_is_that_of_the_code():
    table = re.findall(r"^\| `PREFIX_(llm_\S+)` \| (.*) \|$", README, re.MULTILINE)
    declared = [(table_.name, table_.content) for table_ in TABLES.values() if not table_.optional]
    assert table == [*declared, (RUN, "description of the run")]


def test_the_locustfile_works(tmp_path):
    (tmp_path / "locustfile.py").write_text(re.search(r"```python\n(.*?)```", README, re.DOTALL)[1])

    listed = subprocess.run(
        [sys.executable, "-m", "locust", "-f", "locustfile.py", "--list"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "Customer" in listed


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_targets_of_links_exist(link):
    assert (ROOT / link).exists()
