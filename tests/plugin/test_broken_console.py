"""A console that cannot be written keeps nobody from measuring, and from ending."""

import fcntl
import io
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest

from llmlocust.plugin import console
from tests.locusts import QUICK, RAMP, assert_files_agree, rows
from tests.simulators import PATIENCE, ROOT, running_simulator


class Broken(io.StringIO):
    def __init__(self, problem: Exception) -> None:
        super().__init__()
        self.problem = problem

    def write(self, text: str) -> int:
        raise self.problem


@pytest.mark.parametrize(
    "problem", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left on device"), ValueError("closed file")]
)
@pytest.mark.parametrize("say", [console.say, console.error])
def test_what_cannot_be_said_raises_nothing(monkeypatch, problem, say):
    monkeypatch.setattr(sys, "stdout", Broken(problem))
    monkeypatch.setattr(sys, "stderr", Broken(problem))
    say("level 1: 5 users")


def in_a_process_of_its_own(code: str) -> str:
    """What a piece of code prints: a test cannot import Locust itself."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


ENDING = """
from types import SimpleNamespace
from llmlocust.plugin import session as module

now = 100.0
module.time = SimpleNamespace(monotonic=lambda: now)
plugin = SimpleNamespace(environment=SimpleNamespace(parsed_options=None, stop_timeout=5.0), _ends_by=None)
is_ending = module.Session.is_ending.fget
before = is_ending(plugin)
module.Session.start_ending(plugin)
soon = is_ending(plugin)
now += 30.0 + 5.0 + 59.0  # what is in flight may take 30 s, users 5 s
module.Session.start_ending(plugin)
late = is_ending(plugin)
now += 2.0
print(before, soon, late, is_ending(plugin))
"""


def test_a_run_that_should_have_ended_long_ago_hears_signals_again():
    assert in_a_process_of_its_own(ENDING) == "False True True False\n"


@contextmanager
def locust(folder, url, stdout, **environment):
    (folder / "locustfile.py").write_text(RAMP)
    command = ["-f", "locustfile.py", "--headless", "--only-summary", "--host", url, "--csv", "run", *QUICK]
    process = subprocess.Popen(
        [sys.executable, "-m", "locust", *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def assert_all_was_kept(folder, server):
    counted = len(rows(folder, "llm_requests.csv"))
    assert counted == len(server.truth()) - 1  # the first request, before the load, has no row
    assert [row["level"] for row in rows(folder, "llm_levels.csv")] == ["0", "1"]
    assert_files_agree(folder)


@pytest.fixture
def server():
    with running_simulator(step_ms=5) as running:
        yield running


def test_a_pipe_whose_reader_goes_costs_no_row(tmp_path, server):
    with locust(tmp_path, server.url, subprocess.PIPE) as process:
        assert process.stdout.readline()
        process.stdout.close()
        process.wait(2 * PATIENCE)
    assert_all_was_kept(tmp_path, server)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")  # noqa: PTH110  # a device
def test_a_log_on_a_full_disk_costs_no_row(tmp_path, server):
    with open("/dev/full", "w") as full, locust(tmp_path, server.url, full) as process:  # noqa: PTH123  # a device
        process.wait(2 * PATIENCE)
    assert_all_was_kept(tmp_path, server)


def test_an_ascii_terminal_costs_no_row(tmp_path, server):
    with locust(tmp_path, server.url, subprocess.PIPE, PYTHONIOENCODING="ascii") as process:
        output, _ = process.communicate(timeout=2 * PATIENCE)
    assert b"level 2: 5 users ?" in output
    assert_all_was_kept(tmp_path, server)


def test_a_run_without_a_console_ends_when_it_is_told_to(tmp_path, server):
    with locust(tmp_path, server.url, subprocess.PIPE) as process:
        assert process.stdout.readline()
        process.stdout.close()
        process.send_signal(signal.SIGTERM)
        process.wait(2 * PATIENCE)


def fill(pipe):
    """Write until the pipe is full, through a description of its own: the run's stays one that blocks."""
    again = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(again, b"x")
    os.close(again)


def test_a_console_that_takes_nothing_costs_no_row(tmp_path, server):
    """Such as a stopped terminal, or a pager that shows its first page."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    try:
        with locust(tmp_path, server.url, writer) as process:
            output = b""
            while b"2 levels" not in output:
                output += os.read(reader, 4096)
            fill(writer)
            process.wait(2 * PATIENCE)
        assert_all_was_kept(tmp_path, server)
    finally:
        os.close(reader)
        os.close(writer)


WRITER = """
import os, time
from llmlocust.plugin import output

output._MAX_WAITING = 10_000
reader, end = os.pipe()
os.set_blocking(end, {blocking})
stream = open(end, "w", encoding="{encoding}")
writer = output.Writer()
console = output.Stream(stream, writer)
print("Zeichen ·", file=console, flush=True)
for number in range(20_000):
    print(f"line {{number}}", file=console)
read, end_is_printed = b"", False
os.set_blocking(reader, False)
while not read.endswith(b"the end\\n"):
    if writer._done == writer._put and not end_is_printed:
        end_is_printed = True
        print("the end", file=console)
    try:
        read += os.read(reader, 65536)
    except BlockingIOError:
        time.sleep(0.001)
lines = read.decode("{encoding}").splitlines()
missing = [line for line in lines if "missing" in line]
missed = sum(int(line.split()[1]) for line in missing)
print(lines[0], len(missing) < 100, missed + sum(line.startswith("line ") for line in lines), console.isatty(), sep="|")
"""


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize(("encoding", "dot"), [("utf-8", "·"), ("ascii", "?")])
def test_lines_that_the_console_does_not_take_in_time_are_counted(encoding, dot, blocking):
    output = in_a_process_of_its_own(WRITER.format(blocking=blocking, encoding=encoding)).strip()
    assert output == f"Zeichen {dot}|True|20000|False"
