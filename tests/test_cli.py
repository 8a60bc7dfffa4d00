"""The `llmlocust` command from the outside."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from threading import Thread

import pytest

from llmlocust.cli import main
from llmlocust.cli.run import _gates as gates_of
from llmlocust.cli.several import labels_of, targets_of
from tests.command import in_process, llmlocust
from tests.locusts import LATE
from tests.locusts import RAMP as LOCUSTFILE
from tests.simulators import PATIENCE, ROOT, running_simulator, served, wait_for

QUICK = ["--levels", "2,5", "--warmup", "0.5", "--hold", "2"]


@contextmanager
def in_the_foreground(command, folder):
    """Start a command in its own process group, because a terminal sends Ctrl-C to all processes in the foreground. If a shell
    runs the tests in the background, they would ignore it.
    """
    child = subprocess.Popen(
        command,
        cwd=folder,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@pytest.fixture(scope="module")
def a_run(tmp_path_factory):
    """The folder of one run of `llmlocust run`, and the ended process."""
    folder = tmp_path_factory.mktemp("run")
    with running_simulator(slots=4, step_ms=5) as simulator:
        done = llmlocust("run", simulator.url, *QUICK, "--max-tokens", "20", "--out", "reports/first", cwd=folder)
    return folder, done


def test_run_leaves_files_and_a_report_and_says_the_verdict(a_run):
    folder, done = a_run

    assert done.returncode == 0, done.stderr
    assert (folder / "reports/first/run_report.html").read_text().startswith("<!doctype html>")
    lines = done.stdout.splitlines()
    assert lines[-1] == "Report:    reports/first/run_report.html"
    assert [line.split(":")[0] for line in lines[-6:-1]] == ["Saturation", "Knee", "Collapse", "Server", "Validity"]


def test_a_second_run_does_not_write_over_the_first(a_run):
    folder, _ = a_run

    again = llmlocust("run", "http://127.0.0.1:1", "--out", "reports/first", cwd=folder)

    assert again.returncode == 2
    assert "reports/first already contains a run" in again.stderr


def test_report_prints_json_alone(a_run):
    folder, _ = a_run

    done = in_process("report", "reports/first/run", "--json", "-", "--out", "again.html", cwd=folder)

    report = json.loads(done.stdout)
    assert report["format"] == 1
    assert report["load"] == "users"
    assert [level["load"] for level in report["levels"]] == [2, 5]
    assert (folder / "again.html").exists()


def test_report_writes_markdown_beside_the_page(a_run):
    folder, _ = a_run

    in_process("report", "reports/first", "--markdown", cwd=folder)

    assert (folder / "reports/first/run_report.html").exists()
    assert (folder / "reports/first/run_report.md").read_text().startswith("# ")


def test_thresholds_are_what_the_limit_is_found_by(a_run):
    folder, _ = a_run

    done = in_process("report", "reports/first", "--threshold", "ttft.p95 < 1ms", "--json", "-", cwd=folder)

    limit = json.loads(done.stdout)["verdict"]["slo_limit"]
    assert (limit["reached"], limit["level_ok"], limit["level_bad"]) == (True, None, 2)


# -- thresholds that decide the exit code

RAMP = ["--levels", "2,8", "--warmup", "0.2", "--hold", "1.5", "--max-tokens", "40"]


@pytest.fixture(scope="module")
def small_server():
    """A server that serves two users completely, and refuses some requests of eight."""
    with running_simulator(slots=4, queue_limit=1, step_ms=5) as simulator:
        yield simulator


BUSY = ["--llm-accept", ", ".join(LATE)]
"""Accepts the checks that may fail on a busy machine."""


@pytest.mark.parametrize(
    "options, more, code, words",
    [
        (["--threshold", "errors < 1% @ 2", "--threshold", "e2e.p50 < 1ms ~ 60s @ 2"], [], 0, "Gates: all 2 passed"),
        (["--threshold", "e2e.p95 < 60s @ 2"], ["--llm-unique=false"], 98, "prefix cache"),
        (["--thresholds", "gates.toml"], ["--llm-threshold", "errors < 1% @ 2"], 99, "Gates: 1 of 3 failed"),
        ([], [], 0, "Safe up to 2 users"),
    ],
)
def test_thresholds_decide_how_a_run_exits_and_it_is_reported(small_server, tmp_path, options, more, code, words):
    (tmp_path / "gates.toml").write_text('errors = "< 1% @ 8"\n[e2e]\np95 = "< 60s @ 2"\n')
    done = llmlocust("run", small_server.url, *RAMP, "--out", "out", *options, "--", *BUSY, *more, cwd=tmp_path)

    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stdout
    assert done.stdout.splitlines()[-1] == "Report:    out/run_report.html"


@pytest.mark.parametrize(
    "texts, gates",
    [
        (("errors < 1% @ 2, errors < 1% @ 8",), ["errors < 1% @ 2", "errors < 1% @ 8"]),
        (("errors < 1%", "e2e.p50 < 1ms ~ 60s @ 2"), ["errors < 1%", "e2e.p50 < 1ms ~ 60s @ 2"]),
        ((), []),
    ],
)
def test_thresholds_of_the_command_are_gates_of_the_run(texts, gates):
    assert gates_of(texts, "").options == [f"--llm-threshold={gate}" for gate in gates]


def test_what_is_searched_for_is_no_gate(small_server, tmp_path):
    limits = ["--search", "--threshold", "errors < 1%", "--threshold", "e2e.p95 < 60s"]
    more = ["--", "--llm-search-max", "12", "--llm-search-hold", "3"]
    done = llmlocust("run", small_server.url, "--max-tokens", "20", *limits, "--out", "out", *more, cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "too many for errors" in done.stdout
    assert "Gates" not in done.stdout


def test_of_several_runs_a_broken_threshold_counts_and_all_are_run(small_server, tmp_path):
    with running_simulator(slots=16, step_ms=5) as large:
        urls = [small_server.url, large.url]
        done = llmlocust(
            "run", *urls, *RAMP, "--threshold", "errors < 1% @ 8", "--out", "both", "--", *BUSY, cwd=tmp_path
        )

    assert done.returncode == 99, done.stdout + done.stderr
    assert done.stdout.count("Gates: ") == 2
    assert f"127.0.0.1:{small_server.port}: a threshold was violated, exit code 99" in done.stderr
    assert (tmp_path / "both" / "compare.html").exists()


# -- a fixed number of requests, --short and --long, several servers or models


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory):
    """Run against three servers of which the second does not exist. Return the folder, the ended process, and the ports and
    requests of the two servers.
    """
    folder = tmp_path_factory.mktemp("several")
    how = ["--requests", "40", "--concurrency", "4", "--long", "--threshold", "ttft.p95 < 60s", "--out", "all"]
    with running_simulator(slots=4, step_ms=5) as one, running_simulator(slots=4, step_ms=5) as other:
        done = llmlocust("run", one.url, "http://127.0.0.1:1", other.url, *how, cwd=folder)
        return folder / "all", done, [one.port, other.port], [one.truth(), other.truth()]


def test_each_server_has_a_run_of_its_own_and_one_that_is_not_there_stops_no_other(three_runs):
    folder, done, (one, other), served = three_runs

    assert done.returncode == 2
    assert "nothing answers at 127.0.0.1:1" in done.stderr
    assert "127.0.0.1:1: failed, exit code 2" in done.stderr
    assert {path.name for path in folder.iterdir()} == {f"1-127.0.0.1-{one}", f"3-127.0.0.1-{other}", "compare.html"}
    for name in (f"1-127.0.0.1-{one}", f"3-127.0.0.1-{other}"):
        assert "Met every threshold at the only level" in (folder / name / "run_report.html").read_text()
    assert [len(requests) - 1 for requests in served] == [40, 40]


def test_servers_are_loaded_one_after_the_other(three_runs):
    _, _, _, (one, other) = three_runs

    assert max(request["received_ns"] for request in one) < min(request["received_ns"] for request in other)


def test_one_page_compares_what_was_measured_by_the_servers_names(three_runs):
    folder, done, (one, other), _ = three_runs

    page = (folder / "compare.html").read_text()
    assert f"127.0.0.1:{one} · 127.0.0.1:{other}" in page
    assert done.stdout.splitlines()[-1] == "Comparison: all/compare.html"


def test_long_asks_long_questions_and_wants_short_answers(three_runs):
    folder, _, (one, _), served = three_runs

    options = json.loads((folder / f"1-127.0.0.1-{one}" / "run_llm_run.json").read_text())["options"]
    assert (options["llm_prompts"], options["llm_max_tokens"]) == ("long", "100")
    assert all(request["prompt_tokens"] > 400 for request in served[0][1:])
    assert all(request["output_tokens"] <= 100 for request in served[0][1:])


def test_a_fixed_number_of_requests_is_reported_by_its_figures(tmp_path):
    with running_simulator(slots=4, step_ms=5) as simulator:
        how = ["--requests", "50", "--concurrency", "5", "--short", "--max-tokens", "10", "--out", "one"]
        done = llmlocust("run", simulator.url, *how, cwd=tmp_path)
        assert served(simulator) == 50

    assert done.returncode == 0, done.stderr
    assert "5 users: " in done.stdout
    assert "0 of 50 requests failed." in done.stdout
    assert "Knee" not in done.stdout
    options = json.loads((tmp_path / "one" / "run_llm_run.json").read_text())["options"]
    assert (options["llm_prompts"], options["llm_max_tokens"]) == ("short", "10")


def test_models_of_one_server_are_runs_of_their_own(tmp_path):
    """The simulator has one model, and the preflight fails for another one."""
    how = ["--model", "simulated-llm,nosuch", "--requests", "4", "--concurrency", "2", "--max-tokens", "5"]
    with running_simulator(slots=4, step_ms=5) as simulator:
        done = llmlocust("run", simulator.url, *how, "--out", "models", cwd=tmp_path)

    assert done.returncode == 2
    assert (tmp_path / "models" / "1-simulated-llm" / "run_report.html").exists()
    assert "nosuch: failed, exit code 2" in done.stderr
    assert "No comparison: it needs two runs that measured something." in done.stdout


def test_ctrl_c_ends_all_runs_and_keeps_what_was_measured(tmp_path):
    with running_simulator() as one, running_simulator() as other:
        command = [sys.executable, "-m", "llmlocust.cli", "run", one.url, other.url, "--hold", "300", "--out", "cut"]
        with in_the_foreground(command, tmp_path) as child:
            wait_for(lambda: len(one.truth()), lambda requests: requests > 3)
            os.killpg(child.pid, signal.SIGINT)
            code = child.wait(PATIENCE)
        assert other.truth() == []

    assert code != 0
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [f"1-127.0.0.1-{one.port}"]
    assert (tmp_path / "cut" / f"1-127.0.0.1-{one.port}" / "run_report.html").exists()


@pytest.mark.parametrize(
    "urls, models, targets, labels",
    [
        (["http://a"], [], [("http://a", "")], ["a"]),
        (["http://a:1/v1", "https://k:secret@b"], ["m"], [("http://a:1/v1", "m"), ("https://k:secret@b", "m")], ["a:1/v1", "b"]),
        (["a"], ["m,n", "o"], [("a", "m"), ("a", "n"), ("a", "o")], ["m", "n", "o"]),
        (["http://a", "http://b"], ["m", "n"], [("http://a", "m"), ("http://b", "n")], ["a m", "b n"]),
        (["http://a", "http://a"], [], [("http://a", ""), ("http://a", "")], ["a (1)", "a (2)"]),
    ],
)  # fmt: skip
def test_runs_are_of_urls_of_models_or_of_pairs(urls, models, targets, labels):
    targets_found = targets_of(tuple(urls), tuple(models))

    assert [tuple(target) for target in targets_found] == targets
    assert labels_of(targets_found) == labels


def code_and_stderr(args, folder):
    """Return a command's exit code and its stderr, to which Locust also writes if the command starts it."""
    if args[0] in ("run", "demo"):
        done = llmlocust(*args, cwd=folder)
        return done.returncode, done.stderr
    result = in_process(*args, cwd=folder)
    return result.exit_code, result.stderr


@pytest.mark.parametrize(
    "args, words",
    [
        (["report", "nosuch"], "nosuch"),
        (["report", "reports/first", "--threshold", "speed > 5"], "ttft.p95 < 500ms"),
        (["report", "reports/first", "--out", "nosuch/page.html"], "cannot write nosuch/page.html"),
        (["run", "http://127.0.0.1:1", "--out", "new"], "nothing answers at 127.0.0.1:1"),
        (["run", "http://127.0.0.1:1", "--out", "reports/first/run_stats.csv/x"], "cannot make the folder"),
        (["run", "http://127.0.0.1:1", "--levels", "some"], "levels must be whole numbers"),
        (
            ["run", "http://127.0.0.1:1", "--search", "--threshold", "e2e.p95 < 1s @ 5"],
            "only a gate (--llm-threshold, llmlocust check) can apply to one level (@)",
        ),
        (["run", "http://127.0.0.1:1", "--threshold", "e2e.p95 < 1s @ 3"], "the ramp has no such level"),
        (["run", "http://127.0.0.1:1", "--threshold", "errors < 1%, speed > 5"], "there is no metric 'speed'"),
        (["run", "http://127.0.0.1:1", "--thresholds", "nosuch.toml"], "nosuch.toml: cannot be read"),
        (["run", "http://127.0.0.1:1", "--header", "api-key"], "--llm-header must be NAME: VALUE"),
        (["run", "http://127.0.0.1:1", "--header", "api-key: $NOT_SET"], "needs the variable NOT_SET"),
        (["run", "http://127.0.0.1:1", "--path", "http://x/chat"], "--llm-path must be a path such as"),
        (["run", "http://127.0.0.1:1", "more"], "'more' is not a URL: URLs begin with http://"),
        (["run", "http://127.0.0.1:1", "--", "more"], "'more' is not an option of Locust"),
        (["run", *(f"http://127.0.0.1:{n}" for n in range(1, 12))], "11 runs are more than a page can show"),
        (["run", "http://a", "http://b", "--model", "m,n,o"], "2 URLs and 3 models"),
        (["run", "http://127.0.0.1:1", "--requests", "5"], "--requests needs --concurrency"),
        (["run", "http://127.0.0.1:1", "--requests", "5", "--concurrency", "9"], "9 users cannot share 5 requests"),
        (["run", "http://127.0.0.1:1", "--requests", "5", "--concurrency", "5", "--hold", "5"], "leave out --hold"),
        (["run", "http://127.0.0.1:1", "--concurrency", "5", "--rate", "5"], "leave out --rate"),
        (["run", "http://127.0.0.1:1", "--short", "--long"], "--short and --long are two runs"),
        (["run", "http://127.0.0.1:1", "--long", "--prompts", "code"], "leave one out"),
        (["run", "http://127.0.0.1:1", "--", "--csv", "x"], "--csv is set by `llmlocust run` itself"),
        (["run", "http://127.0.0.1:1", "--hold", "nan"], "--llm-hold must be above 0 seconds"),
        (["run", "http://127.0.0.1:1", "--levels", ""], "levels must be one or more"),
        (["run", "http://127.0.0.1:1", "--search", "--threshold", "goodput > 5/s"], "cannot search by 'goodput > 5/s'"),
        (["simulate", "--slots", "0"], "slots must be at least 1"),
        (["demo", "--levels", "x"], "levels must be whole numbers"),
        (["calibrate", "--streams", "10,x"], "--streams takes whole numbers from 1, such as 10,100"),
        (["calibrate", "--streams", "0"], "--streams takes whole numbers from 1"),
        (["calibrate", "--streams", "1", "--itl", "0"], "Invalid value for '--itl'"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(a_run, args, words):
    folder, _ = a_run

    code, stderr = code_and_stderr(args, folder)

    assert code == 2, stderr
    assert words in stderr
    assert "Traceback" not in stderr


def test_a_refused_run_leaves_nothing_behind(tmp_path):
    llmlocust("run", "http://127.0.0.1:1", "--out", "new", cwd=tmp_path)

    assert not (tmp_path / "new").exists()


def test_demo_ramps_a_server_of_its_own_and_leaves_nothing_running(tmp_path):
    done = llmlocust("demo", *QUICK, "--out", "demo", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo/run_report.html").exists()


def test_an_interrupted_run_still_gets_its_report(tmp_path):
    with running_simulator() as simulator:
        command = [sys.executable, "-m", "llmlocust.cli", "run", simulator.url, "--hold", "300", "--out", "cut"]
        with in_the_foreground(command, tmp_path) as child:
            wait_for(lambda: len(simulator.truth()), lambda requests: requests > 3)
            os.killpg(child.pid, signal.SIGINT)
            child.wait(PATIENCE)

    assert (tmp_path / "cut/run_report.html").exists()


@pytest.mark.parametrize(
    "command", [[], ["simulate"], ["run"], ["report"], ["check"], ["compare"], ["demo"], ["calibrate"], ["observe"]]
)
def test_every_command_has_help(command):
    done = in_process(*command, "--help")

    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) > 8


def test_calibrate_compares_a_run_with_the_servers_truth(tmp_path):
    done = llmlocust(
        "calibrate", "--streams", "3", "--itl", "20", "--seconds", "4", "--out", "calibration", cwd=tmp_path
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Page: calibration/calibration.html"
    assert (tmp_path / "calibration" / "calibration.html").read_text().startswith("<!doctype html>")
    document = json.loads((tmp_path / "calibration" / "calibration.json").read_text())
    assert document["verdict"]["says"] == done.stdout.splitlines()[-2]
    (point,) = document["points"]
    assert (point["streams"], point["itl"]) == (3, 20)
    assert 20 < point["true"]["ttft_mean"] < 1000
    assert point["true"]["itl_p50"] == pytest.approx(20, abs=5)
    row = next(line for line in done.stdout.splitlines() if line.startswith("| 3 | 20 |"))
    assert any(cell.strip() == f"{point['tokens_per_s']:,.0f}" for cell in row.split("|"))


LONG = "x" * 300


@pytest.mark.parametrize(
    "args, words",
    [
        (["report", LONG], "file name too long"),
        (["report", "reports/sample", "--out", f"{LONG}.html"], "file name too long"),
        (["check", LONG, "--threshold", "errors < 1%"], "file name too long"),
        (["compare", LONG, LONG], "file name too long"),
        (["run", "http://127.0.0.1:1", "--out", LONG], "file name too long"),
        (
            ["check", "reports/sample", "--threshold", "errors < 1%", "--accept", "prefix_cach"],
            "did you mean 'prefix_cache'?",
        ),
        (["simulate", "--step-ms", "nan"], "step_ms must be a number"),
        (["simulate", "--prefill-ms-per-token", "inf"], "prefill_ms_per_token must be a number"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_exit_2(args, words):
    code, stderr = code_and_stderr(args, ROOT)

    assert code == 2
    assert words in stderr.lower()
    assert "Traceback" not in stderr
    assert len([line for line in stderr.splitlines() if line.startswith("Error")]) == 1


# -- what a command loads

NOTES_MODULES = """
import atexit, os, sys

def note():
    with open(os.environ["NOTES"], "a") as file:
        print(*sys.argv[1:2], *{name.partition(".")[0] for name in sys.modules}, file=file)

atexit.register(note)
"""
"""A sitecustomize.py with which each process writes its command and its modules to a line of a file when it ends."""
WITHOUT_PAGE = """
import types

page = sys.modules["llmlocust.report.comparison.page"] = types.ModuleType("page")
page.html_in = lambda compared, language: ("", [])
"""
"""Replaces the page of a comparison by an empty one, because a comparison always writes its page."""
DRAWS = {"matplotlib", "jinja2"}


def loaded_by(folder, *args, start=NOTES_MODULES, of=""):
    """Return the packages that a command, or the command `of` that it starts, has loaded at its end."""
    (folder / "sitecustomize.py").write_text(start)
    notes = folder / "notes"
    done = subprocess.run(
        [sys.executable, "-m", "llmlocust.cli", *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "NOTES": str(notes)},
    )
    assert done.returncode in (0, 98, 99), done.stderr
    (modules,) = [line.split()[1:] for line in notes.read_text().splitlines() if line.startswith(f"{of or args[0]} ")]
    assert "pandas" in modules
    return set(modules)


def test_a_check_loads_nothing_that_draws(tmp_path):
    outputs = [f"--{name}={tmp_path / name}" for name in ("junit", "markdown", "json")]
    assert not loaded_by(tmp_path, "check", "reports/sample", "--threshold", "errors < 1% @ 50", *outputs) & DRAWS


def test_the_judge_of_a_gated_run_loads_nothing_that_draws(tmp_path):
    options = ["--levels", "2", "--warmup", "0.2", "--hold", "1.5", "--max-tokens", "20", "--out", str(tmp_path / "x")]
    with running_simulator(slots=4, step_ms=5) as simulator:
        args = ["run", simulator.url, *options, "--threshold", "errors < 50%"]
        assert not loaded_by(tmp_path, *args, of="check") & DRAWS


def test_a_comparison_loads_what_draws_for_its_page_alone(tmp_path):
    outputs = [f"--{name}={tmp_path / name}" for name in ("out", "markdown", "json")]
    args = ["compare", "reports/sample", "reports/sample", *outputs]
    assert not loaded_by(tmp_path, *args, start=NOTES_MODULES + WITHOUT_PAGE) & DRAWS


def test_a_report_loads_what_draws(tmp_path):
    assert loaded_by(tmp_path, "report", "reports/sample", "--out", str(tmp_path / "page.html")) >= DRAWS


# -- Ctrl-C


@contextmanager
def silent_server():
    """Start a server that accepts every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections = []

        def accept():
            with suppress(OSError):
                while True:
                    connections.append(listener.accept()[0])

        Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", connections


@pytest.mark.parametrize("command", ["locust", "llmlocust run"])
def test_ctrl_c_during_the_first_request_is_one_line(tmp_path, command):
    with silent_server() as (url, connections):
        line = [sys.executable, "-m", "llmlocust.cli", "run", url, "--out", "out"]
        if command == "locust":
            (tmp_path / "locustfile.py").write_text(LOCUSTFILE)
            line = [sys.executable, "-m", "locust", "--headless", "--host", url]
        with subprocess.Popen(
            line,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as child:
            wait_for(lambda: connections)
            os.killpg(child.pid, signal.SIGINT)
            output = child.communicate(timeout=2 * PATIENCE)[0]

    assert child.returncode == 130, output
    assert "llmlocust: stopped before the load began\n" in output
    assert "Traceback" not in output, output


@pytest.mark.parametrize("command", ["report", "check", "compare", "demo"])
def test_ctrl_c_during_a_command_is_one_line(command, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    for name in ("report.make_report", "check.load", "compare.make_comparison", "demo.run_and_report"):
        monkeypatch.setattr(f"llmlocust.cli.{name}", interrupt)
    args = {"compare": ["a", "b"], "check": ["a", "--threshold", "errors < 1%"], "demo": ["--out", str(tmp_path / "x")]}

    with pytest.raises(SystemExit) as ended:
        main([command, *args.get(command, ["a"])])

    assert ended.value.code == 130
    assert capsys.readouterr().err == "Error: stopped\n"
