"""Words of servers and workers on a run's terminal and in its CSV files."""

import csv

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmlocust.metrics.rows import REQUEST_COLUMNS, WORKER_COLUMNS
from llmlocust.plugin import console
from llmlocust.runfiles import formats
from llmlocust.runfiles.writer import RunFiles
from llmlocust.text import media

ESCAPES = "worker \x1b]0;x\x07\x9b31m\u202e\r\nsecond line"


@pytest.mark.parametrize("write", [console.say, console.error])
def test_a_line_on_the_terminal_is_one_line_that_it_only_shows(capsys, write):
    write(ESCAPES)

    output = "".join(capsys.readouterr())
    assert media.document(output) == output
    assert output.count("\n") == 1


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters() | st.sampled_from("=+-@\t\r\x1b\ud800"), min_size=1))
def test_no_cell_of_a_file_is_a_formula(tmp_path, text):
    files = RunFiles(str(tmp_path / "run"))
    row = [text if column in ("error", "name", "worker") else -1 for column in REQUEST_COLUMNS]
    files.append(formats.REQUESTS, [row])
    files.append(formats.WORKERS, [[text, *[-1.5] * (len(WORKER_COLUMNS) - 1)]])
    files.close()

    for name in (formats.REQUESTS, formats.WORKERS):
        with files.path(name).open(newline="", encoding="utf-8") as file:
            _, cells = csv.reader(file)
        assert all(media.csv_cell(cell) == cell for cell in cells)
        assert {"-1", "-1.5"} & {*cells}
