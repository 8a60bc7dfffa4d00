"""A new table of a run needs only an entry in TABLES and code that writes its rows."""

import json
import subprocess
import sys

import pytest

from llmlocust.plugin.run.prefixes import move_aside
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading.locate import load_run
from llmlocust.runfiles.writer import RunFiles
from tests.report.made_run import MadeRun
from tests.simulators import ROOT

NAME = "llm_toy.csv"
COLUMNS = ["time", "colour"]
ROWS = [[1.5, "red"], [2.0, "007"]]


def toy(*, grows: bool) -> formats.Table:
    return formats.Table(
        NAME, "a toy", COLUMNS, text=frozenset({"colour"}), required=("time",), grows=grows, optional=grows
    )


@pytest.fixture(params=[True, False], ids=["grows", "rewritten"])
def table(request, monkeypatch) -> formats.Table:
    table_ = toy(grows=request.param)
    monkeypatch.setitem(formats.TABLES, NAME, table_)
    return table_


@pytest.fixture
def prefix(table, tmp_path):
    """Write a run whose files have the table, and return its prefix."""
    path = tmp_path / "run"
    files = RunFiles(str(path))
    assert not files.path(NAME).exists()
    if table.grows:
        for row in ROWS:
            files.append(NAME, [row])
    else:
        files.rewrite(NAME, ROWS)
    files.close()
    return MadeRun().write(path)


def test_a_new_table_is_read(prefix):
    run = load_run(prefix)

    assert run.tables[NAME].to_dict("list") == {"time": [1.5, 2.0], "colour": ["red", "007"]}
    assert prefix.with_name(f"run_{NAME}") in run.files


def test_a_new_table_that_is_damaged_is_left_out_and_named(prefix):
    prefix.with_name(f"run_{NAME}").write_text("colour\nred\n")
    run = load_run(prefix)

    assert NAME not in run.tables
    assert run.levels
    assert [note for note in run.notes if NAME in note and "no column 'time'" in note]


def test_a_new_table_names_its_run(prefix):
    assert load_run(prefix.with_name(f"run_{NAME}")).prefix == prefix


def test_a_new_table_is_renamed_with_the_files_of_an_earlier_run(prefix):
    move_aside(str(prefix))

    assert prefix.with_name(f"run.1_{NAME}").exists()
    assert not list(prefix.parent.glob("run_*"))


WEB_UI = """
import json, sys
from types import SimpleNamespace
from flask import Flask
from locust.env import Environment
from tests.runfiles.test_new_table import NAME, toy
from llmlocust.runfiles import formats

formats.TABLES[NAME] = toy(grows=False)  # a file of every run, so that Locust's page offers it

from llmlocust.plugin import webui

recorder = SimpleNamespace(bring_up_to_date=lambda: None)
pages = webui.Pages(SimpleNamespace(environment=Environment(), prefixes=[sys.argv[1]], recorder=recorder), None)
arguments = {}
webui._offer(arguments)
with Flask("toy").test_request_context():
    download = pages.file(NAME)
    download.direct_passthrough = False
    print(json.dumps({"offered": arguments["extended_csv_files"], "listed": pages._files(1), "sent": download.get_data(as_text=True)}))
"""


def test_a_new_table_can_be_downloaded_from_the_web_ui(prefix):
    child = subprocess.run(
        [sys.executable, "-c", WEB_UI, str(prefix)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    output = json.loads(child.stdout.splitlines()[-1])

    assert {"href": f"./llm/files/{NAME}", "title": f"Download {NAME}"} in output["offered"]
    assert NAME in output["listed"]["files"]
    assert output["sent"] == "time,colour\r\n1.5,red\r\n2.0,007\r\n"
