"""Runs that are killed, or whose disk is full; keys that must not be seen; and runs that go on for long."""

import shutil
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from llmlocust.assessment.assessment import assess
from llmlocust.report.html import html
from llmlocust.report.sections.headline import headline
from llmlocust.runfiles.reading.locate import load_run
from tests.disks import fill, small_disk
from tests.locusts import (
    NO_RAMP,
    QUICK,
    UNTIL_STOPPED,
    Locust,
    distributed,
    forked_workers,
    free_port,
    headless,
    outcomes,
    rows,
    run,
    run_info,
)
from tests.plugin.scripted import keeps_open, response, scripted_server
from tests.simulators import PATIENCE, RunningSimulator, running_simulator, served, wait_for
from tests.web_ui import WebUI
from tests.wire import Wire

KEY = "sk-planted-0123456789"


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(slots=8, step_ms=10) as started:
        yield started


def wait_for_requests(folder: Path) -> None:
    """Until the file of levels has some."""
    levels = folder / "run_llm_levels.csv"
    wait_for(lambda: levels.exists() and any(int(row["requests"]) > 20 for row in rows(folder, "llm_levels.csv")))


def test_what_was_measured_till_a_run_is_killed_makes_a_report(simulator, tmp_path):
    with Locust(tmp_path, [*headless(simulator), *UNTIL_STOPPED]) as locust:
        # the files that are written anew have been, with requests in them
        wait_for_requests(tmp_path)
        locust.stop(signal.SIGKILL)

    report = assess(load_run(tmp_path / "run"))
    assert "The run was cut off" in headline(report)
    assert not next(check for check in report.checks if check.key == "run_ended").ok
    assert report.levels[0].requests > 20
    # rows are appended every second: no more is missing than what came in the last of them
    ids = {f"chatcmpl-{row['id']}" for row in rows(tmp_path, "llm_requests.csv") if row["id"]}
    assert report.levels[0].requests <= len(ids) <= served(simulator)
    assert ids < {request["id"] for request in simulator.truth()}


def test_a_full_disk_ends_no_run_and_what_waits_is_written_when_there_is_room(simulator, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk), Locust(tmp_path, [*headless(simulator, "disk/run"), *UNTIL_STOPPED]) as locust:
        wait_for_requests(disk)
        filler = disk / "filler"
        fill(filler)
        locust.wait_for_log("cannot write disk/run_*: No space left on device")
        report = assess(load_run(disk / "run"))
        assert report.levels[0].requests > 0
        filler.unlink()
        seen = served(simulator)
        wait_for(lambda: len(rows(disk, "llm_requests.csv")), lambda count: count >= seen)
        locust.stop()

        shutil.copytree(disk, tmp_path / "left")
    ids = [row["id"] for row in rows(tmp_path / "left", "llm_requests.csv")]
    assert len(ids) == len(set(ids)) == served(simulator)
    assert any("No space left" in check["says"] for check in run_info(tmp_path / "left")["checks"])


def test_processes_of_one_machine_count_what_the_server_counted(simulator, tmp_path):
    with Locust(tmp_path, [*headless(simulator), *forked_workers(2), *QUICK]) as locust:
        assert locust.ends() == 0, locust.log

    assert sum(outcomes(tmp_path).values()) == served(simulator)
    assert len({row["worker"] for row in rows(tmp_path, "llm_requests.csv")}) == 2


def test_autoquit_loses_nothing(simulator, tmp_path):
    bind, web = str(free_port()), str(free_port())
    master = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", bind, "--expect-workers", "2"]
    page = ["--web-host", "127.0.0.1", "--web-port", web, "--autostart", "--autoquit", "0"]
    with ExitStack() as stack:
        locust = stack.enter_context(Locust(tmp_path, [*master, *page, *headless(simulator)[2:], *QUICK]))
        for _ in range(2):
            stack.enter_context(Locust(tmp_path, ["--worker", "--master-port", bind]))
        assert locust.ends() == 0, locust.log

    assert sum(outcomes(tmp_path).values()) == served(simulator)


def test_a_key_is_in_no_file_no_log_no_page_and_no_message(tmp_path):
    bind, web = str(free_port()), free_port()
    key = {"OPENAI_API_KEY": KEY}
    args = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", bind, "--loglevel", "DEBUG"]
    args += ["--web-host", "127.0.0.1", "--web-port", str(web), "--csv", "run", "--html", "run.html"]
    with ExitStack() as stack:
        simulator = stack.enter_context(running_simulator(slots=8, step_ms=5, key=KEY))
        master = Locust(tmp_path, [*args, "--host", simulator.url], environment=key)
        stack.enter_context(master)
        wire = stack.enter_context(Wire(int(bind)))
        for _ in range(2):
            worker = Locust(tmp_path, ["--worker", "--master-port", wire.port, "--loglevel", "DEBUG"], environment=key)
            stack.enter_context(worker)
        ui = WebUI(web)
        wait_for(ui.answers)
        wait_for(lambda: len(ui.get("/stats/requests").get("workers", [])), lambda seen: seen == 2)
        ui.start()
        wait_for(lambda: (tmp_path / "run_llm_run.json").exists() and run_info(tmp_path)["ended"])
        pages = {path: read(ui.address + path) for path in PAGES}
        master.stop()
    (tmp_path / "report.html").write_text(html(assess(load_run(tmp_path / "run"))))

    assert outcomes(tmp_path)["ok"] > 0
    assert b"llm" in wire.traffic
    seen = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert {"run_llm_run.json", "run_stats.csv", "run.html", "report.html", "log0", "log1", "log2"} <= seen.keys()
    for name, content in {**seen, **pages, "messages": bytes(wire.traffic)}.items():
        assert KEY.encode() not in content, name


@pytest.mark.parametrize("preflight", ["true", "false"])
def test_a_key_that_the_server_says_back_is_not_repeated(tmp_path, preflight):
    """One without a digit: words that hold one are left out of errors anyway."""
    key = "sk-planted-and-said-back"
    words = f"your key {key} is not known".encode()
    refusal = response(b"Content-Length: %d\r\n" % len(words), words, status=b"401 Unauthorized")
    options = ["--llm-preflight", preflight, "--llm-levels", "1", "--llm-warmup", "0", "--llm-hold", "2"]
    with scripted_server(keeps_open(refusal)) as server:
        locust = run(tmp_path, f"http://127.0.0.1:{server.port}", *options, environment={"LLMLOCUST_API_KEY": key})

    assert key.encode() in b"".join(server.requests)
    assert "your key [key] is not known" in locust.log
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        assert key.encode() not in path.read_bytes(), path.name


PAGES = ["/", "/stats/requests", "/stats/report", "/stats/requests/csv", "/exceptions", "/tasks", "/logs"]


def read(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
        return answer.read()


FEW_ROWS = f"from llmlocust.metrics import ledger\nledger.RUN_ROWS_A_SECOND = 10\n{NO_RAMP}"


def look(node: psutil.Process) -> tuple[int, int]:
    """Bytes that the process wrote to, which are its own whoever else ends, and its open files."""
    return sum(mapping.private_dirty for mapping in node.memory_maps()), node.num_fds()


def test_a_steady_load_grows_neither_memory_nor_open_files_nor_rows_beyond_their_bound(simulator, tmp_path):
    """Half a minute of what bench/soak.py does for an hour."""
    options = ["-u", "6", "-r", "6", "--llm-max-tokens", "5"]
    # a forked process would come to own, page by page, what it shares with its parent
    with distributed(tmp_path, simulator.url, *options, workers=1, locustfile=FEW_ROWS, fresh=True) as both:
        nodes = [psutil.Process(locust.process.pid) for locust in (both.master, *both.workers)]
        seconds = tmp_path / "run_llm_timeline.csv"
        wait_for(lambda: seconds.exists() and len(rows(tmp_path, "llm_timeline.csv")), lambda now: now > 12)
        before = [look(node) for node in nodes]
        wait_for(lambda: len(rows(tmp_path, "llm_timeline.csv")), lambda now: now > 28)
        after = [look(node) for node in nodes]
        assert both.master.stop() == 0, both.master.log

    for (memory, files), (memory_after, files_after) in zip(before, after, strict=True):
        assert memory_after < memory + 2 * 2**20
        assert files_after <= files + 2
    counts = run_info(tmp_path)["rows"]
    assert counts["seen"] == served(simulator)
    assert len(rows(tmp_path, "llm_requests.csv")) == counts["kept"] < counts["seen"]
    assert counts["kept"] <= 10 * (run_info(tmp_path)["ended"] - run_info(tmp_path)["started"] + 1)
