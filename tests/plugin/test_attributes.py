"""Attributes of a locustfile's classes: what cannot be used is refused in one line before any load, as options are."""

import json
import subprocess
import sys
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.locusts import QUICK, RAMP, Locust, free_port, run
from tests.simulators import ROOT, running_simulator, wait_for

USERS = {
    "prompts = 'nofile.jsonl'": "Chat.prompts: no prompts 'nofile.jsonl': give a file, or sets of short",
    "prompts = []": "Chat.prompts must be a file, names of sets, or a list of questions — got []",
    "prompts = 5": "Chat.prompts must be a file",
    "prompts = ['ok', 5]": "Chat.prompts must be a file",
    "prompt_tokens = 'x'": "Chat.prompt_tokens: cannot read 'x' as a number or a distribution",
    "turns = 'x'": "Chat.turns: cannot read 'x'",
    "turns = 0": "Chat.turns must be 1 or more",
    "max_tokens = 'abc'": "Chat.max_tokens: cannot read 'abc'",
    "max_tokens = [64]": "Chat.max_tokens must be text or a number — got [64]",
    "temperature = 'hot'": "Chat.temperature: cannot read 'hot'",
    "prefix_share = 80": "Chat.prefix_share must be a share from 0 to 1",
    "prefix_share = '0.5'": "Chat.prefix_share must be a number — got '0.5'",
    "prefix_tokens = -1": "Chat.prefix_tokens must be 0 tokens or more",
    "unique = 'no'": "Chat.unique must be True or False — got 'no'",
    "system = ['x']": "Chat.system must be text or a number",
    "dialect = 'nope'": "Chat: no dialect 'nope': it is one of openai-chat",
    "dialect = 5": "Chat.dialect must be the name of a dialect, or a Dialect — got 5",
    "headers = 'api-key: x'": "Chat.headers must be names with their values",
    "stream = 'yes'": "Chat.stream must be True or False",
    "timeouts = 5": "Chat.timeouts must be Timeouts(…), of seconds above 0 — got 5",
    "timeouts = llmlocust.Timeouts(total='60')": "Chat.timeouts must be Timeouts(…)",
    "timeouts = llmlocust.Timeouts(stall=0)": "Chat.timeouts must be Timeouts(…)",
    "stall = '1s'": "Chat.stall must be seconds above 0",
    "pause_after_failure = None or -1": "Chat.pause_after_failure must be 0 seconds or more",
}
SHAPES = {
    "levels = 'abc'": "Ramp.levels: levels must be whole numbers of users such as 1,2,5,10 — 'abc' is not",
    "levels = [1, 'two']": "Ramp.levels: levels must be whole numbers of users such as 1,2,5,10 — 'two' is not",
    "levels = [2.5]": "Ramp.levels: levels must be whole numbers of users",
    "levels = [0, 5]": "Ramp.levels: levels must be one or more numbers of users from 1 up",
    "levels = []": "Ramp.levels: levels must be one or more numbers of users",
    "levels = object": "Ramp.levels must be numbers such as [1, 2, 5] — got <class 'object'>",
    "arrivals, levels = 'constant', [-1]": "Ramp.levels: levels of requests a second must be numbers above 0",
    "shape = 'nope'": "Ramp.shape must be stepped, linear, spike",
    "hold = 'x'": "Ramp.hold must be a number — got 'x'",
    "hold = 0": "Ramp.hold must be above 0 seconds",
    "warmup = -1": "Ramp.warmup must be 0 seconds or more",
    "drain = float('nan')": "Ramp.drain must be 0 seconds or more",
    "requests = '200'": "Ramp.requests must be a number — got '200'",
    "requests = -1": "Ramp.requests must be a number of requests such as 200",
    "arrivals = 'never'": "Ramp.arrivals: ",
    "max_in_flight = 0": "Ramp.max_in_flight must be 1 request or more",
    "trace_speed = 0": "Ramp.trace_speed must be a number above 0",
    "peak, shape = 'x', 'spike'": "Ramp.peak must be a number",
    "surge, shape = -5, 'progressive'": "Ramp.surge must be a number above 0",
}
SEARCHES = {
    "limits = 'nonsense'": "Ramp.limits: cannot read the threshold 'nonsense'",
    "limits = ['ttft.p95 < 1s']": "Ramp.limits must be text or a number",
    "start = 0": "Ramp.start must be 1 user or more",
    "max_load = 'all'": "Ramp.max_load must be a number",
    "precision = 5": "Ramp.precision must be a share above 0",
    "longest = 0": "Ramp.longest must be above 0 seconds",
    "shortest = 'x'": "Ramp.shortest must be a number above 0",
}
RIGHT = [
    "prompts = ['a', [{'role': 'user', 'content': 'b'}]]",
    "prompts = 'short,code'",
    "max_tokens, turns, prompt_tokens, temperature = 64, '1-3', 512, 0.7",
    "timeouts = llmlocust.Timeouts(total=5)",
    "max_tokens = property(lambda self: self.undefined)",
    "headers = {'api-key': 'x'}",
    "unique, prefix_tokens, prefix_share = False, 100, 1",
]
RIGHT_SHAPES = ["levels = (1, 2.0, 5)", "levels = '1, 2'", "levels = range(1, 4)", "hold, warmup = 5, 0"]
_CHECK = """
import json, sys
import llmlocust
from locust.env import Environment
from llmlocust import ChatUser, Search, SteppedRamp
from llmlocust.plugin.session import Session
from llmlocust.plugin.startup.checks import check
from llmlocust.plugin.startup.probing import NotReady

def message_of(users, shape):
    environment = Environment(user_classes=users, shape_class=shape, host="http://127.0.0.1:9")
    environment.create_local_runner()
    environment.llmlocust = Session(environment)
    try:
        check(environment)
    except NotReady as problem:
        return str(problem)

def class_with(name, base, line):
    space = {"base": base, "llmlocust": llmlocust}
    exec(f"class {name}(base):\\n    {line}", space)
    return space[name]

users, shapes, searches = json.load(sys.stdin)
messages = {line: message_of([class_with("Chat", ChatUser, line)], None) for line in users}
messages |= {line: message_of([ChatUser], class_with("Ramp", SteppedRamp, line)()) for line in shapes}
messages |= {line: message_of([ChatUser], class_with("Ramp", Search, line)()) for line in searches}
json.dump(messages, sys.stdout)
"""


@pytest.fixture(scope="module")
def messages():
    """What a start with each attribute says; of those that can be used, that nothing answers."""
    lines = [[*USERS, *RIGHT], [*SHAPES, *RIGHT_SHAPES], [*SEARCHES]]
    child = subprocess.run(
        [sys.executable, "-c", _CHECK], input=json.dumps(lines), capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


@pytest.mark.parametrize(("line", "words"), [*USERS.items(), *SHAPES.items(), *SEARCHES.items()])
def test_what_cannot_be_used_is_named(messages, line, words):
    assert messages[line].startswith(words)
    assert "\n" not in messages[line]


@pytest.mark.parametrize("line", [*RIGHT, *RIGHT_SHAPES])
def test_what_can_be_used_is_not_refused(messages, line):
    assert messages[line].startswith("nothing answers at 127.0.0.1:9")


@pytest.fixture(scope="module")
def simulator():
    with running_simulator(step_ms=2) as started:
        yield started


def with_lines(user="pass", shape="pass"):
    return RAMP.replace("pass", user, 1).replace("(SteppedRamp):\n    pass", f"(SteppedRamp):\n    {shape}")


@pytest.mark.parametrize(
    ("locustfile", "words"),
    [
        (with_lines("max_tokens = 'abc'"), "llmlocust: Chat.max_tokens: cannot read 'abc'"),
        (with_lines(shape="levels = 'abc'"), "llmlocust: Ramp.levels: levels must be whole numbers"),
        (with_lines(shape="shape = 'nope'"), "llmlocust: Ramp.shape must be stepped, linear"),
    ],
)
def test_a_headless_run_ends_with_2_before_any_load(simulator, tmp_path, locustfile, words):
    simulator.clear()

    locust = run(tmp_path, simulator.url, *QUICK, locustfile=locustfile)

    assert locust.process.returncode == 2, locust.log
    assert words in locust.log
    assert "Traceback" not in locust.log
    assert simulator.truth() == []


@pytest.mark.parametrize(
    ("options", "lines", "words"),
    [
        ([], "prompts = 'nofile.jsonl'", "Chat.prompts: no prompts 'nofile.jsonl'"),
        (["--llm-prompts", "masters.txt"], "pass", "--llm-prompts: no prompts 'masters.txt'"),
    ],
)
def test_a_worker_that_lacks_what_it_needs_has_the_master_end_the_run(simulator, tmp_path, options, lines, words):
    (tmp_path / "masters.txt").write_text("How are you?\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    port = str(free_port())
    bound = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--expect-workers", "1"]
    with (
        Locust(tmp_path, [*bound, "--headless", "--host", simulator.url, *QUICK, *options]) as master,
        Locust(elsewhere, ["--worker", "--master-port", port], with_lines(lines)) as worker,
    ):
        assert master.ends() == 2, master.log
        worker.ends()

        assert words in master.log
        assert words in worker.log
        assert "Traceback" not in worker.log, worker.log


@pytest.mark.parametrize(
    ("lines", "words"),
    [({"user": "max_tokens = 'abc'"}, "Chat.max_tokens: "), ({"shape": "levels = 'abc'"}, "Ramp.levels: ")],
)
def test_the_web_ui_refuses_the_start(simulator, tmp_path, lines, words):
    port = free_port()
    with Locust(
        tmp_path, ["--web-host", "127.0.0.1", "--web-port", str(port), "--host", simulator.url], with_lines(**lines)
    ) as locust:
        form = urlencode({"user_count": "1", "spawn_rate": "1"}).encode()
        wait_for(lambda: posted(f"http://127.0.0.1:{port}/swarm", form), bool)
        locust.wait_for_log(f"llmlocust: {words}")

        assert "Traceback" not in locust.log, locust.log


def posted(url, form):
    """Whether a form reached Locust, whatever it says to it."""
    try:
        urlopen(url, form, timeout=30).close()
    except HTTPError:
        return True
    except URLError:
        return False
    return True
