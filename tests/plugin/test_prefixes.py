"""A prefix belongs to one run at a time, and no run takes the place of an earlier one."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmlocust.plugin.run.prefixes import Taken, is_taken, lock, move_aside
from llmlocust.runfiles.reading.errors import RunError
from llmlocust.runfiles.reading.locate import load_run
from tests.locusts import LONG, Locust, outcomes, rows, run
from tests.report.made_run import MadeRun
from tests.simulators import ROOT, RunningSimulator, running_simulator, wait_for

BRIEF = ["--llm-levels", "1", "--llm-warmup", "0", "--llm-hold", "1", "--llm-max-tokens", "5"]
NAMES = [
    *("run_stats.csv", "run_stats_history.csv", "run_failures.csv", "run_exceptions.csv", "run_report.html"),
    *("run_llm_run.json", "run_llm_levels.csv", "run_llm_requests.csv", "run_llm_histograms.csv"),
    *("run_llm_timeline.csv", "run_llm_workers.csv"),
]


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(slots=8, step_ms=2) as started:
        yield started


def earlier_run(folder: Path) -> None:
    """Its files by name; each tells which it is."""
    for name in NAMES:
        (folder / name).write_text(f"earlier {name}")


def is_as_before(folder: Path, prefix: str = "run") -> bool:
    return all((folder / name.replace("run", prefix, 1)).read_text() == f"earlier {name}" for name in NAMES)


# ── moved aside ──


def test_a_run_that_is_moved_aside_can_still_be_reported_on(tmp_path):
    MadeRun().write(tmp_path / "run")
    before = load_run(tmp_path / "run")

    assert move_aside(f"{tmp_path}/run") == f"{tmp_path}/run.1"
    moved = load_run(tmp_path / "run.1")
    assert (moved.levels, moved.info) == (before.levels, before.info)
    assert not list(tmp_path.glob("run_*"))
    assert load_run(tmp_path).prefix == tmp_path / "run.1"


def test_a_folder_stands_for_its_newest_run_and_not_for_those_that_were_moved_aside(tmp_path):
    for _ in range(3):
        move_aside(f"{tmp_path}/run")
        MadeRun().write(tmp_path / "run")
    assert load_run(tmp_path).prefix == tmp_path / "run"

    MadeRun().write(tmp_path / "run.old")
    with pytest.raises(RunError, match="2 runs in this folder"):
        load_run(tmp_path)


def test_each_earlier_run_gets_a_number_of_its_own(tmp_path):
    for content in ("first", "second"):
        (tmp_path / "run_llm_run.json").write_text(content)
        move_aside(f"{tmp_path}/run")
    (tmp_path / "run_failures.csv").symlink_to(tmp_path / "nowhere")
    move_aside(f"{tmp_path}/run")

    moved = sorted(path.name for path in tmp_path.iterdir())
    assert moved == ["run.1_llm_run.json", "run.2_llm_run.json", "run.3_failures.csv"]
    assert (tmp_path / "run.1_llm_run.json").read_text() == "first"


def test_files_of_other_prefixes_stay(tmp_path):
    others = ["run_run2_llm_run.json", "run2_stats.csv", "run_notes.txt", "other_llm_run.json", "run"]
    for name in others:
        (tmp_path / name).touch()

    assert move_aside(f"{tmp_path}/run") == ""
    assert {path.name for path in tmp_path.iterdir()} == set(others)


def test_a_run_moves_the_earlier_one_of_its_prefix_aside(simulator, tmp_path):
    earlier_run(tmp_path)
    locust = run(tmp_path, simulator.url, *BRIEF)

    assert locust.process.returncode == 0, locust.log
    assert is_as_before(tmp_path, "run.1")
    assert "the files of an earlier run, run_*, are now run.1_*" in locust.log
    assert outcomes(tmp_path)["ok"] > 0
    assert rows(tmp_path, "stats.csv")
    assert not (tmp_path / "run_report.html").exists()
    assert not (tmp_path / "run_llm.lock").exists()


@pytest.mark.parametrize(
    "args", [["--llm-levels", "1,two"], ["--host", "http://localhost:1"], ["-H"]], ids=["option", "preflight", "Locust"]
)
def test_a_run_that_is_refused_touches_nothing_of_an_earlier_one(simulator, tmp_path, args):
    earlier_run(tmp_path)
    locust = run(tmp_path, simulator.url, *BRIEF, *args)

    assert locust.process.returncode == 2, locust.log
    assert is_as_before(tmp_path)
    assert {path.name for path in tmp_path.glob("run*")} == set(NAMES)


# ── locked ──


def test_a_second_run_of_a_prefix_is_refused_and_the_first_goes_on(simulator, tmp_path):
    with Locust(tmp_path, ["--headless", "--host", simulator.url, "--csv", "run", *LONG]) as first:
        wait_for((tmp_path / "run_llm_run.json").exists)
        second = run(tmp_path, simulator.url, *BRIEF)
        assert second.process.returncode == 2
        assert "llmlocust: another run is writing run_*: give --csv another prefix" in second.log
        assert "Traceback" not in second.log
        assert first.stop() == 0, first.log

    assert outcomes(tmp_path).total() > 0
    assert not list(tmp_path.glob("run.1_*"))


HOLDS = """
import sys
from llmlocust.plugin.run.prefixes import lock
lock(sys.argv[1])
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("ends", [signal.SIGKILL, None], ids=["killed", "well"])
def test_a_lock_ends_with_its_process(tmp_path, ends):
    prefix = str(tmp_path / "deep" / "run")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLDS, prefix], cwd=ROOT, **pipes) as owner:
        owner.stdout.readline()
        assert is_taken(prefix)
        with pytest.raises(Taken, match="another run is writing"):
            lock(prefix)
        if ends:
            owner.send_signal(ends)
        owner.stdin.close()
        owner.wait()

    assert not is_taken(prefix)
    assert list(tmp_path.glob("deep/*")) == ([tmp_path / "deep" / "run_llm.lock"] if ends else [])
    subprocess.run([sys.executable, "-c", HOLDS, prefix], cwd=ROOT, stdin=subprocess.DEVNULL, check=True)
