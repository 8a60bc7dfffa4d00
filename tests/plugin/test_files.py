"""The files of a run by themselves, without Locust."""

import pytest

from llmlocust.cli.shared import write
from llmlocust.metrics.ledger import Ledger
from llmlocust.runfiles import formats
from llmlocust.runfiles.writer import RunFiles

NAMES = [formats.RUN, formats.LEVELS, formats.REQUESTS, formats.HISTOGRAMS, formats.TIMELINE, formats.WORKERS]


def write_all(files: RunFiles) -> None:
    files.append(formats.REQUESTS, [["a row"]])
    files.append(formats.WORKERS, [["a row"]])
    files.write_levels([])
    files.write_histograms(Ledger())
    files.write_timeline(Ledger(), 0.0)
    files.write_run({"format": 1})


@pytest.mark.parametrize("ending", ["", ".part"])
def test_no_file_of_a_run_or_report_follows_a_planted_link(tmp_path, ending):
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_text("precious")
    folder.mkdir()
    names = [*NAMES, "report.html"]
    for name in names:
        (folder / f"run_{name}{ending}").symlink_to(victim)

    write_all(RunFiles(f"{folder}/run"))
    write([(f"{folder}/run_report.html", lambda: "a page")])

    assert victim.read_text() == "precious"
    assert not any((folder / f"run_{name}").is_symlink() for name in names)
    assert {f"run_{name}" for name in names} <= {path.name for path in folder.iterdir()}
