"""Folders that are deleted and disks that are full: what was measured is in the files, or the exit code says that it is
not.
"""

import csv
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmlocust.metrics.rows import REQUEST_COLUMNS
from llmlocust.runfiles import formats
from llmlocust.runfiles.writer import RunFiles
from tests.disks import fill, small_disk
from tests.locusts import UNTIL_STOPPED, Locust, headless, outcomes, rows, run, run_info
from tests.simulators import RunningSimulator, running_simulator, served, wait_for


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(slots=8, step_ms=10) as started:
        yield started


def delete(path: Path) -> None:
    path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("moved"))


def put_another_in_its_place(path: Path) -> None:
    path.unlink()
    path.write_text("another")


@pytest.mark.parametrize("lose", [delete, move, put_another_in_its_place, lambda path: shutil.rmtree(path.parent)])
def test_a_file_that_is_lost_is_written_again_with_all_its_rows(tmp_path, lose):
    files = RunFiles(f"{tmp_path}/deep/run")
    path = files.path(formats.REQUESTS)
    files.append(formats.REQUESTS, [["first"]])
    lose(path)
    files.append(formats.REQUESTS, [["second"]])
    files.close()

    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [REQUEST_COLUMNS, ["first"], ["second"]]


def has_rows(folder: Path) -> bool:
    return (folder / "run_llm_requests.csv").exists() and len(rows(folder, "llm_requests.csv")) > 5


@contextmanager
def frozen(locust: Locust) -> Iterator[None]:
    """It writes nothing meanwhile."""
    locust.process.send_signal(signal.SIGSTOP)
    yield
    locust.process.send_signal(signal.SIGCONT)


def test_a_folder_that_is_deleted_is_made_again(simulator, tmp_path):
    folder = tmp_path / "deep"
    with Locust(tmp_path, [*headless(simulator, "deep/run"), *UNTIL_STOPPED]) as locust:
        wait_for(lambda: has_rows(folder))
        with frozen(locust):
            shutil.rmtree(folder)
        wait_for(lambda: has_rows(folder))
        assert locust.stop() == 0, locust.log

    assert outcomes(folder).total() == served(simulator) == run_info(folder)["rows"]["kept"]
    assert rows(folder, "llm_levels.csv")
    assert int(rows(folder, "stats.csv")[-1]["Request Count"]) == served(simulator) - outcomes(folder)["aborted"]


def test_a_folder_that_cannot_be_made_again_is_exit_code_98(simulator, tmp_path):
    folder = tmp_path / "deep"
    with Locust(tmp_path, [*headless(simulator, "deep/run"), *UNTIL_STOPPED]) as locust:
        wait_for(lambda: has_rows(folder))
        with frozen(locust):
            shutil.rmtree(folder)
            folder.write_text("in its place")
        locust.wait_for_log("cannot write deep/run_*")
        assert locust.stop() == 98, locust.log

    assert "llmlocust: the files deep/run_* are incomplete" in locust.log
    assert "Traceback" not in locust.log


def test_a_disk_that_stays_full_is_exit_code_98(simulator, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk), Locust(tmp_path, [*headless(simulator, "disk/run"), *UNTIL_STOPPED]) as locust:
        wait_for(lambda: has_rows(disk))
        fill(disk / "filler")
        locust.wait_for_log("cannot write disk/run_*: No space left on device")
        assert locust.stop() == 98, locust.log


@pytest.mark.parametrize("command", ["locust", "llmlocust"])
def test_a_disk_that_is_full_from_the_start_is_exit_code_2_and_no_load(simulator, tmp_path, command):
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk):
        (disk / "run_failures.csv").write_text("of an earlier run")
        fill(disk / "filler")
        if command == "locust":
            locust = run(tmp_path, simulator.url, *UNTIL_STOPPED, "--csv", "disk/run")
            code, output = locust.process.returncode, locust.log
        else:
            program = [sys.executable, "-m", "llmlocust", "run", simulator.url, "--out", str(disk), "--levels", "2"]
            done = subprocess.run(program, capture_output=True, text=True, check=False)
            code, output = done.returncode, done.stdout + done.stderr
        assert (disk / "run_failures.csv").read_text() == "of an earlier run"

    assert code == 2, output
    assert output.count("/run_*: No space left on device. Give --csv a prefix in a folder that has space") == 1
    assert "Traceback" not in output
    assert simulator.truth() == []
