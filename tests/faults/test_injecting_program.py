"""The process that injects faults: its commands, its messages, and its end."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import ClassVar

import msgspec
import pytest

from llmlocust.faults.injectors.injector import Context, Injector, InjectorError
from llmlocust.faults.program import Program, document_of, window_of
from llmlocust.faults.schedule import parse
from llmlocust.faults.setup import check, describe, needs_proxy
from llmlocust.metrics.fault_window import FaultWindow
from llmlocust.text.message import Message, message
from tests.faults.fault_programs import carry_out, fault_program
from tests.faults.servers import serving
from tests.simulators import PATIENCE, ROOT, wait_for


class Fake(Injector):
    """An injector that notes its calls; a fault of the name `fails` cannot be lifted."""

    poll = 0.01
    calls: ClassVar = []

    def describe(self):
        return "fake"

    @property
    def steps(self):
        return [{"shell": "true"}] if self.id.startswith("1.") else []

    def inject(self):
        self.calls.append(("inject", self.id, time.time()))

    def present(self):
        return message("there")

    def lift(self):
        self.calls.append(("lift", self.id, time.time()))

    def gone(self):
        return message("away")


class Stuck(Fake):
    """An injector whose lift never works."""

    def lift(self):
        raise InjectorError("no lift")


class Running:
    """A program in this process."""

    def __init__(self, *faults, make=Fake, patience=PATIENCE):
        Fake.calls = []
        self._commands, self._messages = os.pipe(), os.pipe()
        self.seen = []
        out = os.fdopen(self._messages[1], "wb")
        plan = [parse(text) for text in faults]
        program = Program(plan, Context(), out, patience=patience, make=lambda action, key, context: make(key, context))
        self._input = os.fdopen(self._commands[0], "rb")
        self.thread = threading.Thread(target=program.run, args=(self._input, None), daemon=True)
        self.thread.start()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with os.fdopen(self._messages[0], "rb") as messages:
            for line in messages:
                self.seen.append(msgspec.json.decode(line))

    def send(self, do, **fields):
        os.write(self._commands[1], msgspec.json.encode({"do": do, **fields}) + b"\n")

    def end(self):
        """Close the input, and return the messages."""
        os.close(self._commands[1])
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        return wait_for(lambda: self.seen, lambda seen: {"done": True} in seen)


def windows_of(messages):
    return {one["fault"]["id"]: window_of(one["fault"]) for one in messages if "fault" in one}


def test_faults_are_injected_and_lifted_in_order_and_reported():
    program = Running("at 0s for 300ms: down", "at level 5 + 100ms for 100ms: reset", "at phase surge: reset")
    began = time.time()
    program.send("start", anchor="run", time=began)
    program.send("start", anchor="level 5.0", time=began)
    wait_for(lambda: [call[:2] for call in Fake.calls], lambda calls: ("lift", "1.1") in calls)
    messages = program.end()
    assert messages[0] == {"ready": True, "proxy": None}
    assert [call[:2] for call in Fake.calls] == [("inject", "1.1"), ("inject", "2.1"), ("lift", "2.1"), ("lift", "1.1")]
    windows = windows_of(messages)
    assert windows["1.1"].is_confirmed
    assert windows["1.1"].evidence == "there; away"
    assert isinstance(windows["1.1"].evidence, Message)
    assert windows["3.1"].began is None
    assert windows["3.1"].problem == "the run ended before the fault was due"
    texts = [one["says"] for one in messages if "says" in one]
    assert texts[0] == "Fault 1.1 (down): injected"
    assert any(text.startswith("Fault 1.1 (down): lifted after ") for text in texts)


def test_undo_steps_come_before_the_fault_and_are_removed_after_it():
    program = Running("at 0s for 100ms: down")
    program.send("start", anchor="run", time=time.time())
    wait_for(lambda: Fake.calls, lambda calls: len(calls) == 2)
    messages = program.end()
    keys = [next(iter(one)) for one in messages]
    assert messages[keys.index("undo")] == {"undo": {"id": "1.1", "steps": [{"shell": "true"}]}}
    assert keys.index("undo") < keys.index("fault") < keys.index("undone")


def test_a_stop_condition_lifts_all_and_injects_nothing_more():
    program = Running("at 0s: down", "at 500ms for 1s every 2s: reset")
    program.send("start", anchor="run", time=time.time())
    wait_for(lambda: Fake.calls)
    program.send("lift")
    wait_for(lambda: Fake.calls[-1][:2], lambda call: call == ("lift", "1.1"))
    program.send("start", anchor="run", time=time.time())
    program.end()
    assert [call[:2] for call in Fake.calls] == [("inject", "1.1"), ("lift", "1.1")]


def test_the_end_of_the_input_lifts_all():
    program = Running(*["at 0s: down"] * 5)
    program.send("start", anchor="run", time=time.time())
    wait_for(lambda: Fake.calls, lambda calls: len(calls) == 5)
    program.end()
    assert sorted(call[1] for call in Fake.calls[5:]) == ["1.1", "2.1", "3.1", "4.1", "5.1"]


def test_a_lift_that_fails_for_good_is_handed_to_another_process(tmp_path):
    class Handed(Stuck):
        @property
        def steps(self):
            return [{"shell": f"touch {tmp_path}/lifted"}]

    program = Running("at 0s: down", make=Handed, patience=0.1)
    program.send("start", anchor="run", time=time.time())
    wait_for(lambda: Fake.calls)
    messages = program.end()
    assert windows_of(messages)["1.1"].problem == "the fault could not be lifted: no lift"
    wait_for((tmp_path / "lifted").exists)
    assert any("continues to lift them" in one.get("says", "") for one in messages)


def test_repeated_injections_keep_their_moments():
    program = Running("at 100ms for 100ms every 200ms x3: down")
    began = time.time()
    program.send("start", anchor="run", time=began)
    wait_for(lambda: Fake.calls, lambda calls: len(calls) == 6)
    program.end()
    moments = [moment - began for what, _, moment in Fake.calls if what == "inject"]
    assert all(moment >= due for moment, due in zip(moments, (0.1, 0.3, 0.5), strict=True))


def test_a_window_is_sent_with_its_messages():
    window = FaultWindow("a", "down", 1.0, None, problem=message("the fault could not be lifted: {reason}", reason="x"))
    again = window_of(json.loads(json.dumps(document_of(window))))
    assert again == window
    assert again.problem.template == "the fault could not be lifted: {reason}"


# ── what a run asks before it begins ──


def test_only_faults_of_the_own_proxy_need_it():
    assert needs_proxy([parse("at 1s: down")])
    assert not needs_proxy([parse("at 1s: kill port 1"), parse("at 1s: down via toxiproxy http://127.0.0.1:1/a")])


def test_a_dry_run_prints_the_commands_of_each_injection_and_lift():
    plan = [
        parse("outage = at 60s for 20s every 2m x2: latency 200ms"),
        parse('at level 100 + 10s: term pid 999999999 restart "./serve.sh"'),
        parse("at phase surge for 5s: docker pause vllm"),
        parse("at 1s: docker restart vllm"),
        parse('at 1s for 2s: run "./break.sh" until "./mend.sh"'),
        parse("at 1s for 2s: reset via toxiproxy http://127.0.0.1:8474/llm"),
        parse("at 1s for 1s every 2s: reset"),
    ]
    lines = describe(plan)
    assert lines[:10] == [
        "1.1 outage, 60s after the run began: the proxy sets 'latency 200ms'",
        "1.1 outage, 80s after the run began: the proxy clears 'latency 200ms'",
        "1.2 outage, 180s after the run began: the proxy sets 'latency 200ms'",
        "1.2 outage, 200s after the run began: the proxy clears 'latency 200ms'",
        "2.1, 10s after the warm-up of level 100: SIGTERM to pid 999999999",
        "2.1, at once: ./serve.sh",
        "3.1, 0s after the warm-up of phase surge: docker pause vllm",
        "3.1, 5s after the warm-up of phase surge: docker unpause vllm",
        "4.1, 1s after the run began: docker restart vllm",
        "4.1, at once: the command starts the container again",
    ]
    assert "5.1, 3s after the run began: ./mend.sh" in lines
    assert any(
        'POST http://127.0.0.1:8474/proxies/llm/toxics {"name": "llmlocust-6.1-downstream"' in line for line in lines
    )
    assert lines[-1] == "7, then every 2s until the end of the run"


@pytest.mark.parametrize(
    "fault, words",
    [
        ("freeze pid 999999999", "process 999999999 does not exist: `ps` lists the processes"),
        ("freeze port 1", "no process is visible that listens on port 1"),
        ("kill process no-such-server", "no process has the name 'no-such-server'"),
        ("kill pid OWN", "which runs this test"),
        ("freeze pid PARENT", "which runs this test"),
        ("kill pid 1", "which runs this test"),
        ("disk 1GB in /no/such/folder", "/no/such/folder is no folder"),
        ("disk 900000GB in /tmp", "must stay free: write less"),
        ("memory 900000GB", "of memory can be used"),
        ("http POST http://93.184.216.34/x", "only with --llm-fault-allow 93.184.216.34"),
        ("down via toxiproxy http://8.8.8.8:8474/llm", "only with --llm-fault-allow 8.8.8.8"),
        ("http POST http://no-such-host.invalid/x", "is not known here: check the name"),
        ("tc no-such-device0 'tbf rate 1mbit burst 32kbit latency 1s'", ""),
        ("block port 8000 in netns no-such-namespace", ""),
    ],
)
def test_what_cannot_be_injected_is_a_line_before_the_load(fault, words):
    text = fault.replace("OWN", str(os.getpid())).replace("PARENT", str(os.getppid()))
    (problem,) = check([parse(f"at 1s: {text}")])
    assert words in problem
    assert problem.startswith("fault '")
    assert "\n" not in problem


def test_a_public_address_may_be_allowed():
    assert check([parse("at 1s: http POST http://93.184.216.34/x")], ["93.184.216.34"]) == []


# ── as a process ──


@pytest.fixture
def server():
    with serving() as server:
        yield server


def is_refused(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def port_of(url):
    return int(url.rpartition(":")[2].partition("/")[0])


def test_the_proxy_of_a_run_is_down_for_a_while_and_ends_with_it(server):
    with fault_program("outage = at 0s: down", upstream=server.url) as program:
        port = port_of(program.ready()["proxy"])
        assert not is_refused(port)
        program.start()
        window = program.wait_for(lambda window: window.confirmed_began)
        assert is_refused(port)
        assert window.began <= window.confirmed_began
        program.send("lift")
        program.wait_for(lambda window: window.is_confirmed)
        assert not is_refused(port)
        (window,) = program.finish().values()
        assert window.problem == ""
        assert (window.name, window.kind, window.action, window.id) == ("outage", "down", "down", "1.1")
        assert is_refused(port)


def test_a_fault_that_concerns_no_connection_is_not_confirmed(server):
    with fault_program("at 0s: reset", upstream=server.url, patience=0.2) as program:
        program.start()
        program.wait_for(lambda window: window.began)
        (window,) = program.finish().values()
        assert window.confirmed_began is None
        assert window.confirmed_lifted is not None
        assert window.problem == "nothing but the users showed that the fault was present"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_lifts_all(number, tmp_path):
    flag = tmp_path / "broken"
    with fault_program(f'at 0s: run "touch {flag}" until "rm {flag}" check "test -e {flag}"') as program:
        program.start()
        program.wait_for(lambda window: window.confirmed_began)
        assert flag.exists()
        os.kill(program.process.pid, number)
        assert program.process.wait(PATIENCE) == 0
        assert not flag.exists()
        assert program.windows()["1.1"].is_confirmed


def test_a_run_that_is_killed_is_outlived_until_all_is_lifted(tmp_path, server):
    flag = tmp_path / "broken"
    config = {
        "faults": [f'at 0s: run "touch {flag}" until "rm {flag}"', "at 0s: down", "at 0s: cpu 1 load 1%"],
        "upstream": server.url,
        "patience": 1.0,
    }
    program = f"""
import json, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-P", "-m", "llmlocust.faults.setup"], stdin=subprocess.PIPE, start_new_session=True)
child.stdin.write(json.dumps({config!r}).encode() + b"\\n")
child.stdin.write(json.dumps({{"do": "start", "anchor": "run", "time": time.time()}}).encode() + b"\\n")
child.stdin.flush()
print(child.pid, flush=True)
signal.pause()
"""
    run = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with run.stdout:
        pid = int(run.stdout.readline())
        port = port_of(json.loads(run.stdout.readline())["proxy"])
        wait_for(flag.exists)
        wait_for(lambda: is_refused(port))
        run.kill()
        run.wait()
        wait_for(flag.exists, lambda exists: not exists)
        wait_for(lambda: _runs(pid), lambda runs: not runs)
        assert is_refused(port)


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_run_can_undo_what_a_killed_process_has_left(tmp_path):
    flag = tmp_path / "broken"
    with fault_program(f'at 0s: run "touch {flag}" until "rm {flag}"') as program:
        program.start()
        wait_for(flag.exists)
        wait_for(program.undo)
        program.process.kill()
        program.process.wait()
        result = carry_out(program.undo())
        assert (result.returncode, result.stderr) == (0, "")
        assert not flag.exists()
        again = carry_out(program.undo())
        assert again.returncode == 1
        assert again.stderr.startswith("fault 1.1 is not lifted: `rm ")


@pytest.mark.parametrize(
    "config, words",
    [
        ({"faults": ["at 1s: explode"]}, "unknown action 'explode'"),
        ({"faults": ["at 1s: down"]}, "needs the URL of the server"),
        ({"faults": ["at 1s: down"], "upstream": "http://a?b=c"}, "give only scheme, host, port and path"),
        ({"faults": ["at 1s: down"], "upstream": "http://127.0.0.1:1", "listen": "x"}, "the address of the proxy is HOST:PORT"),
        ({"faults": ["at 1s: freeze pid 999999999"]}, "fault 'freeze pid 999999999': process 999999999 does not exist"),
        ({"faults": 5}, "Expected `array`"),
    ],
)  # fmt: skip
def test_a_process_that_cannot_begin_says_why_in_one_line(config, words):
    line = json.dumps(config) + "\n"
    command = [sys.executable, "-P", "-m", "llmlocust.faults.setup"]
    result = subprocess.run(
        command, cwd=ROOT, input=line, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    (answer,) = map(json.loads, result.stdout.splitlines())
    assert words in answer["error"]
    assert "\n" not in answer["error"]
    assert (result.returncode, result.stderr) == (2, "")
