"""Bad input: one clear line, exit 2, and no load."""

from threading import Event

import pytest

from llmlocust.load.curves import DEFAULT_LEVELS as LEVELS
from tests.locusts import QUICK, free_port, outcomes, run
from tests.plugin.scripted import keeps_open, response, scripted_server
from tests.simulators import running_simulator


@pytest.fixture(scope="module")
def simulator():
    with running_simulator(step_ms=2) as started:
        yield started


DEFAULT_LEVELS = ["--llm-levels", ",".join(map(str, LEVELS))]


@pytest.mark.parametrize(
    "args, words",
    [
        (["--llm-levels", "1,two"], "levels must be whole numbers of users such as 1,2,5,10 — 'two' is not"),
        (["--llm-levels", ""], "levels must be one or more numbers"),
        (["--llm-levels", "0,5"], "levels must be one or more numbers of users from 1 up"),
        (["--llm-hold", "0"], "--llm-hold must be above 0 seconds"),
        (["--llm-warmup", "-1"], "--llm-warmup must be 0 seconds or more"),
        (["--llm-shape", "circle"], "--llm-shape must be stepped, linear, spike, surge, soak, wave, progressive — got 'circle'"),
        (["--llm-shape", "wave"], "--llm-levels needs a stepped ramp: --llm-shape wave uses --llm-shape-base"),
        (["--llm-shape", "soak", "--llm-search"], "--llm-search and --llm-shape soak cannot be combined"),
        ([*DEFAULT_LEVELS, "--llm-shape", "surge", "--llm-shape-base", "80"], "80 is above 50 (--llm-shape-base"),
        ([*DEFAULT_LEVELS, "--llm-shape", "soak", "--llm-shape-peak", "2.5"], "must be whole numbers of users"),
        ([*DEFAULT_LEVELS, "--llm-shape", "soak", "--llm-shape-seconds", "0"], "a shape must last for more than 0 seconds"),
        ([*DEFAULT_LEVELS, "--llm-shape", "soak", "--llm-threshold", "errors < 1% @ 3"], "Its levels are 50"),
        (["--llm-search-limits", "ttft < 1s"], "name the statistic of ttft"),
        (["--llm-search-limits", "goodput > 5/s"], "cannot search by 'goodput > 5/s', only by percentiles and errors"),
        (["--llm-search-start", "0"], "--llm-search-start must be 1 user or more"),
        (["--llm-search-precision", "0"], "--llm-search-precision must be a share above 0"),
        (["--llm-threshold", "speed < 5"], "there is no metric 'speed'"),
        (["--llm-threshold", "errors < 1% @ all"], "cannot read the load after @"),
        (["--llm-abort-on-breach"], "--llm-abort-on-breach needs a --llm-threshold that a running level can violate"),
        (["--llm-abort-grace", "-1"], "--llm-abort-grace must be 0 seconds or more"),
        (["--llm-junit", "nosuch/x.xml"], "--llm-junit cannot be nosuch/x.xml: the folder nosuch does not exist"),
        (["--llm-junit", "."], "--llm-junit cannot be .: it is a folder"),
        (["--llm-search", "--llm-threshold", "errors < 1%"], "such as 'errors < 1% @ 4'"),
        (["--llm-think-time", "soon"], "a think time is seconds such as 5, or 1-3"),
        (["--llm-body", "{ignore_eos"], "--llm-body must be a JSON object"),
        (["--llm-body", "[1]"], "--llm-body must be a JSON object"),
        (["--llm-prompts", "nosuchset"], "no prompts 'nosuchset': give a file, or sets of short, long"),
        (["--llm-max-tokens", "many"], "--llm-max-tokens: cannot read 'many' as a number or a distribution"),
        (["--llm-force-length", "--llm-max-tokens", "0-9"], "--llm-force-length needs a --llm-max-tokens of 1 or more"),
        (["--llm-body", '{"top_p": "uniform:1"}'], "cannot read 'uniform:1'"),
        (["--llm-turns", "0-3"], "--llm-turns must be 1 or more"),
        (["--llm-prompt-tokens", "x"], "--llm-prompt-tokens: cannot read 'x'"),
        (["--llm-tokenizer", "/no/such.json"], "--llm-tokenizer: neither a tokenizer.json nor the name of a model"),
        (["--llm-prefix-share", "80"], "--llm-prefix-share must be a share from 0 to 1"),
        (["--llm-right-answers", "nosuch"], "cannot read the right answers in nosuch"),
        (["--llm-model", "gpt-99"], "It does not list a model 'gpt-99', but simulated-llm: set --llm-model"),
        (["--host", "ftp://localhost"], "the host must be a URL such as http://localhost:8000"),
        (["--host", "http://localhost:99999"], "the host must be a URL such as http://localhost:8000"),
        (["--host", "http://localhost:1"], "nothing answers at localhost:1"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_said_in_one_line_before_any_load(simulator, tmp_path, args, words):
    simulator.clear()

    locust = run(tmp_path, simulator.url, *QUICK, *args)

    assert locust.process.returncode == 2, locust.log
    assert [line for line in locust.log.splitlines() if line.startswith("llmlocust: ") and words in line], locust.log
    assert "Traceback" not in locust.log
    assert len(simulator.truth()) <= 1


@pytest.mark.parametrize(
    "option, words",
    [
        ("first-token", "nothing within 0.3 s"),
        ("total", "nothing within 0.3 s"),
        ("connect", "no connection within 0.3 s"),
    ],
)
def test_a_first_request_has_the_time_outs_of_the_run(tmp_path, option, words):
    over = Event()

    def hangs(sock):
        over.wait(60)
        raise OSError

    # a server that never answers a TLS hello lets no connection come about
    scheme = "https" if option == "connect" else "http"
    with scripted_server(hangs, reads=hangs if scheme == "https" else None) as server:
        url = f"{scheme}://127.0.0.1:{server.port}"
        locust = run(tmp_path, url, *QUICK, "--llm-model", "m", f"--llm-timeout-{option}", "0.3")
        over.set()

    assert locust.process.returncode == 2, locust.log
    assert words in locust.log


def test_no_host_is_said_in_one_line(tmp_path):
    locust = run(tmp_path, "", *QUICK)

    assert locust.process.returncode == 2
    assert "no host: give the server's address" in locust.log


def test_a_wrong_key_is_said_in_one_line(tmp_path):
    with running_simulator(key="right") as simulator:
        locust = run(tmp_path, simulator.url, *QUICK, environment={"LLMLOCUST_API_KEY": "wrong"})

    assert locust.process.returncode == 2
    assert "set LLMLOCUST_API_KEY" in locust.log
    assert "wrong" not in locust.log.replace("'wrong", "")


def test_a_server_that_lists_no_models_is_used_all_the_same(tmp_path):
    with running_simulator(models_fail=True) as simulator:
        locust = run(tmp_path, simulator.url, *QUICK, "--llm-model", "simulated-llm")

    assert locust.process.returncode == 0, locust.log
    assert outcomes(tmp_path)["ok"] > 0


def test_a_server_that_wants_a_model_and_lists_none_is_said_in_one_line(tmp_path):
    with running_simulator(models_fail=True, fault="http:400") as simulator:
        locust = run(tmp_path, simulator.url, *QUICK)

    assert locust.process.returncode == 2
    assert "No model was named and /v1/models lists none" in locust.log


def test_a_server_that_fails_its_first_request_is_quoted(tmp_path):
    with running_simulator(fault="oom") as simulator:
        locust = run(tmp_path, simulator.url, *QUICK)

    assert locust.process.returncode == 2
    assert "answered a first request with: HTTP 500: CUDA out of memory" in locust.log


def test_a_server_that_answers_with_nests_is_quoted(tmp_path):
    nest = b'{"data": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    head = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(nest)
    with scripted_server(keeps_open(response(head, nest))) as server:
        locust = run(tmp_path, f"http://127.0.0.1:{server.port}", *QUICK)

    assert locust.process.returncode == 2
    assert "(not JSON of this protocol" in locust.log
    assert "Traceback" not in locust.log


@pytest.mark.parametrize("name", ["llm_requests.csv", "llm_levels.csv", "llm_run.json", "stats.csv"])
def test_a_folder_where_a_file_of_the_run_should_go_is_said_before_any_load(simulator, tmp_path, name):
    simulator.clear()
    (tmp_path / f"run_{name}").mkdir()

    locust = run(tmp_path, simulator.url, *QUICK)

    assert locust.process.returncode == 2, locust.log
    assert f"llmlocust: cannot write run_{name}: it is a folder. Give --csv another prefix" in locust.log
    assert "Traceback" not in locust.log
    assert simulator.truth() == []


def test_an_unused_port_is_no_server(tmp_path):
    locust = run(tmp_path, f"http://127.0.0.1:{free_port()}", *QUICK)

    assert "Is the server running, and is --host right?" in locust.log
