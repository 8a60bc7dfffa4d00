"""Injectors on this machine: signals, network, pressure, and commands of programs that the tests fake."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from llmlocust.faults import pressure, targets, undo
from llmlocust.faults.actions import Target, parse
from llmlocust.faults.injectors import injector_of
from llmlocust.faults.injectors import pressure as pressure_injector
from llmlocust.faults.injectors.injector import Context, InjectorError
from llmlocust.faults.targets import Identity
from tests.faults.fake_docker import Fakes
from tests.faults.fake_toxiproxy import fake_toxiproxy
from tests.faults.fault_programs import carry_out, fault_program
from tests.faults.victims import command_of, end_at, pids_at, state_of, victim
from tests.simulators import PATIENCE, ROOT, wait_for


def new(text, **context):
    return injector_of(parse(text), "1.1", Context(f"test-{uuid.uuid4().hex[:8]}", **context))


@contextmanager
def injected(text, **context):
    """Inject a fault, wait until it is present, and lift it in any case."""
    injector = new(text, **context)
    assert injector.check() == ""
    injector.prepare()
    try:
        injector.inject()
        wait_for(injector.present)
        yield injector
    finally:
        injector.lift()
    wait_for(injector.gone)


# ── signals ──


@pytest.mark.parametrize("by", ["port", "pid", "container"])
def test_a_frozen_server_is_stopped_with_its_children_and_continues(by, tmp_path, monkeypatch):
    with victim() as (port, _):
        pids = pids_at(port)
        if by == "container":
            Fakes(tmp_path, monkeypatch).set(Running=True, Paused=False, Status="running", Pid=pids[0])
        value = {"port": port, "pid": pids[0], "container": "llm"}[by]
        with injected(f"freeze {by} {value}") as freeze:
            assert [state_of(pid) for pid in pids] == ["T", "T"]
            assert freeze.present() == f"process {pids[0]} was stopped"
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE):  # the kernel still accepts
                assert pids_at(port) == []
            assert freeze.gone() is None
        assert pids_at(port) == pids


def test_a_process_is_never_confused_with_another_one_of_the_same_pid():
    child = subprocess.Popen(["sleep", str(PATIENCE)])
    try:
        own = targets.find(Target("pid", str(child.pid)))
        other = Identity(own.pid, own.began - 1.0)
        assert own.process is not None
        assert other.process is None
        targets.signal_all([other], signal.SIGKILL)
        assert child.poll() is None
        targets.signal_all([own], signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert own.process is None
    finally:
        child.kill()
        child.wait()


def test_a_change_of_the_clock_confuses_no_process(monkeypatch):
    child = subprocess.Popen(["sleep", str(PATIENCE)])
    try:
        own = targets.find(Target("pid", str(child.pid)))
        if sys.platform == "linux":
            monkeypatch.setattr("psutil._pslinux.boot_time", lambda: 12345.0)
        assert own.process is not None
        assert targets.find(Target("pid", str(child.pid))) == own
    finally:
        child.kill()
        child.wait()


def test_a_name_must_mean_one_process(tmp_path):
    script = tmp_path / f"server-{uuid.uuid4().hex[:8]}.py"
    script.write_text("import signal\nsignal.pause()\n")
    children = [subprocess.Popen([sys.executable, "-u", script])]
    try:
        assert wait_for(lambda: _found(script.name)).pid == children[0].pid
        assert _problem(script.name[:-1]).startswith("no process has the name")
        children.append(subprocess.Popen([sys.executable, script]))
        wait_for(lambda: _problem(script.name), lambda text: "2 processes have the name" in text)
    finally:
        for child in children:
            child.kill()
            child.wait()


def _found(name):
    try:
        return targets.find(Target("process", name))
    except targets.TargetError:
        return None


def _problem(name):
    try:
        targets.find(Target("process", name))
    except targets.TargetError as problem:
        return str(problem)
    return ""


@pytest.mark.parametrize("health", [True, False])
def test_a_killed_server_is_started_again_and_outlives_the_run(health):
    with victim() as (port, process):
        before = pids_at(port)
        healthy = f" healthy http://127.0.0.1:{port}/ within 60s" if health else ""
        with fault_program(f'at 0s for 300ms: kill port {port} restart "{command_of(port)}"{healthy}') as program:
            began = program.start()
            window = program.wait_for(lambda window: window.is_confirmed)
            assert process.wait(PATIENCE) == -signal.SIGKILL
            assert state_of(before[1]) in ("", "Z")
            assert window.lifted >= began + 0.3
            says = f"http://127.0.0.1:{port}/ answers" if health else f"listens on port {port}"
            assert says in window.evidence
            assert program.finish()["1.1"].problem == ""
        after = wait_for(lambda: pids_at(port))
        assert after[0] != before[0]


def test_a_server_that_drains_is_started_again_when_it_has_ended():
    with victim(drain=1.0) as (port, _):
        with fault_program(f'at 0s: term port {port} restart "{command_of(port)}"') as program:
            began = program.start()
            window = program.wait_for(lambda window: window.is_confirmed)
            assert window.lifted - began > 0.9
            assert window.confirmed_began - began > 0.9
            program.finish()
        assert wait_for(lambda: pids_at(port))


def test_a_supervisor_may_start_the_server_again():
    with victim() as (port, process):
        supervisor = threading.Thread(target=_supervise, args=(process, port))
        supervisor.start()
        with fault_program(f"at 0s: kill port {port}") as program:
            program.start()
            window = program.wait_for(lambda window: window.is_confirmed)
            assert window.lifted >= window.confirmed_began
            program.finish()
        supervisor.join()


def _supervise(process, port):
    process.wait()
    time.sleep(0.3)
    subprocess.Popen(["/bin/sh", "-c", command_of(port)], start_new_session=True)  # the fixture ends it


def test_a_kill_that_nothing_lifts_says_so():
    with victim() as (port, _):
        with fault_program(f"at 0s: kill port {port}", patience=0.5) as program:
            program.start()
            program.wait_for(lambda window: window.confirmed_began)
            window = program.finish()["1.1"]
        assert window.lifted is None
        assert window.problem == f"the fault could not be lifted: nothing has started port {port} again"


def test_a_command_that_fails_to_start_the_server_is_a_problem():
    with victim() as (port, _):
        with fault_program(f'at 0s: kill port {port} restart "exit 7"', patience=0.5) as program:
            program.start()
            program.wait_for(lambda window: window.lifted)
            window = program.finish()["1.1"]
        assert window.confirmed_lifted is None
        assert "`exit 7` ended with exit code 7" in window.problem


def test_the_run_starts_a_killed_server_whose_injecting_process_was_killed():
    with victim() as (port, process):
        with fault_program(f'at 0s for 60s: kill port {port} restart "{command_of(port)}"') as program:
            program.start()
            program.wait_for(lambda window: window.confirmed_began)
            program.process.kill()
            program.process.wait()
            process.wait()
            assert carry_out(program.undo()).returncode == 0
        after = wait_for(lambda: pids_at(port))
        assert carry_out(program.undo()).returncode == 0  # a second time starts no second server
        assert pids_at(port) == after


def test_the_steps_of_a_fault_that_was_not_injected_change_nothing():
    with victim() as (port, _):
        pids = pids_at(port)
        for text in (f'kill port {port} restart "false"', f"freeze port {port}"):
            injector = new(text)
            injector.prepare()
            assert undo.perform(injector.steps) == []
        assert pids_at(port) == pids


def test_a_server_that_must_end_first_continues_before_it_is_started_again():
    with victim() as (port, process):
        freeze, term = new(f"freeze port {port}"), new(f'term port {port} restart "{command_of(port)}"')
        for injector in (freeze, term):
            injector.prepare()
        freeze.inject()
        term.inject()
        steps = {name: {"id": name, "steps": one.steps} for name, one in (("1.1", freeze), ("2.1", term))}
        assert carry_out(steps).returncode == 0
        process.wait()
        assert wait_for(lambda: pids_at(port))


# ── network ──

NEEDS_NETWORK = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("ip", "tc", "iptables"))),
    reason="needs root, ip, tc and iptables: Debian's packages iproute2 and iptables",
)
TBF = "tbf rate 1mbit burst 32kbit latency 400ms"


@pytest.fixture
def namespace():
    name = f"llmlocust-{uuid.uuid4().hex[:8]}"
    result = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"no network namespace can be made here: {result.stderr.strip()}")
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def connects(name, port):
    """Return whether a connection to a port in a namespace is opened, refused or times out."""
    program = (
        "import socket\n"
        f"try: socket.create_connection(('127.0.0.1', {port}), 1.0); print('opened')\n"
        "except ConnectionRefusedError: print('refused')\n"
        "except TimeoutError: print('silent')"
    )
    command = ["ip", "netns", "exec", name, sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def within(name, *command):
    return subprocess.run(["ip", "netns", "exec", name, *command], capture_output=True, text=True, check=True).stdout


@NEEDS_NETWORK
@pytest.mark.parametrize("kind, effect", [("block", "silent"), ("reject", "refused")])
def test_packets_to_a_port_are_dropped_or_rejected_and_counted(kind, effect, namespace):
    with victim(prefix=("ip", "netns", "exec", namespace)) as (port, _):
        wait_for(lambda: connects(namespace, port), lambda effect: effect == "opened")
        rules = within(namespace, "iptables-save")
        injector = new(f"{kind} port {port} in netns {namespace}")
        assert injector.check() == ""
        injector.prepare()
        injector.inject()
        assert injector.present() is None  # no packet yet
        assert connects(namespace, port) == effect
        assert injector.present().template == "the rule of the firewall counted {count} packets"
        assert injector.gone() is None
        injector.lift()
        injector.lift()
        assert injector.gone() == "the rule of the firewall is gone"
        assert connects(namespace, port) == "opened"
        kept = within(namespace, "iptables-save")
        assert [line for line in kept.splitlines() if "-A" in line] == [
            line for line in rules.splitlines() if "-A" in line
        ]


@NEEDS_NETWORK
def test_traffic_is_shaped_and_a_discipline_of_others_stays(namespace):
    text = f'tc lo "{TBF}" in netns {namespace}'
    with injected(text) as traffic:
        assert traffic.present() == "tc lists tbf on lo"
        other = new(text)
        assert "has a queueing discipline already (tbf" in other.check()
        with pytest.raises(InjectorError, match="failed: "):
            other.inject()
        other.lift()
        assert traffic.present()
    assert "tbf" not in within(namespace, "tc", "qdisc", "show")
    traffic.lift()


@NEEDS_NETWORK
@pytest.mark.parametrize("text", [f'tc lo "{TBF}"', "block port 80"])
def test_a_fault_in_a_namespace_that_was_removed_is_gone(text):
    name = f"llmlocust-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        injector = new(f"{text} in netns {name}")
        injector.prepare()
        injector.inject()
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
    injector.lift()
    assert injector.gone()


@NEEDS_NETWORK
def test_a_missing_device_or_namespace_is_a_line_before_the_load(namespace):
    assert "rate" in new(f'tc lo "tbf rate nonsense burst 32kbit latency 1s" in netns {namespace}').check()
    assert "Cannot find device" in new(f'tc eth77 "{TBF}" in netns {namespace}').check()
    assert "Cannot open network namespace" in new(f'tc lo "{TBF}" in netns no-such').check()
    assert "Cannot open network namespace" in new("block port 80 in netns no-such").check()


@pytest.mark.parametrize(
    "text, words",
    [
        (f'tc lo "{TBF}"', "`tc` is not installed here: install iproute2"),
        ("block port 80", "`iptables` is not installed here: install iptables"),
        ("docker pause llm", "`docker` is not installed here"),
        ("kubectl get pods", "`kubectl` is not installed here"),
    ],
)
def test_a_missing_tool_is_a_line_before_the_load(text, words, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert words in new(text).check()


def test_a_missing_right_is_a_line_before_the_load(monkeypatch, tmp_path):
    for tool in ("tc", "iptables"):
        (tmp_path / tool).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert new(f'tc lo "{TBF}"').check() == "`tc` needs root: start the test as root"
    assert new("block port 80").check() == "`iptables` needs root: start the test as root"


# ── pressure ──


@pytest.mark.parametrize("text", ["cpu 1", "cpu 2 load 50%", "memory 50MB", "disk 5MB in FOLDER"])
@pytest.mark.parametrize("tool", ["python", "stress-ng"])
def test_pressure_is_seen_and_leaves_nothing(text, tool, tmp_path, monkeypatch):
    monkeypatch.setattr(pressure_injector, "_RESERVE", 0)  # the machine of the tests may be full
    if tool == "python":
        monkeypatch.setenv("PATH", str(tmp_path))
    elif not shutil.which("stress-ng"):
        pytest.skip("needs stress-ng: Debian's package stress-ng")
    with injected(text.replace("FOLDER", str(tmp_path))) as injector:
        is_python = tool == "python" or "load" in text or "disk" in text
        assert ("a Python process" in injector.describe()) == is_python
        family = [psutil.Process(injector._child.pid), *psutil.Process(injector._child.pid).children(recursive=True)]
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind, arguments", [("cpu", ["2", "1.0"]), ("cpu", ["2", "0.5"]), ("memory", ["1000000"])])
def test_pressure_ends_with_its_parent(kind, arguments):
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", pressure.__name__, kind, *arguments], cwd=ROOT, stdin=subprocess.PIPE
    )
    process = psutil.Process(child.pid)
    needs_children = kind == "cpu" or bool(pressure.stress_ng(kind, *arguments))
    family = wait_for(lambda: process.children(recursive=True)) if needs_children else []
    child.stdin.close()  # as the end of the parent does
    assert child.wait(PATIENCE) == 0
    for one in family:
        wait_for(lambda one=one: one.is_running() and one.status() != psutil.STATUS_ZOMBIE, lambda runs: not runs)


def test_pressure_that_ended_by_itself_is_a_problem(monkeypatch):
    monkeypatch.setattr(pressure_injector, "_RESERVE", 0)
    injector = new("memory 1MB")
    injector.inject()
    injector._child.kill()
    injector._child.wait()
    with pytest.raises(InjectorError, match="the process that makes the pressure has ended"):
        injector.present()
    injector.lift()
    assert injector.gone()


# ── toxiproxy ──

TOXICS = {
    "latency 200ms jitter 50ms": [("latency", "downstream", 1.0, {"latency": 200, "jitter": 50})],
    "latency 200ms both on 25% of connections": [
        ("latency", "upstream", 0.25, {"latency": 200, "jitter": 0}),
        ("latency", "downstream", 0.25, {"latency": 200, "jitter": 0}),
    ],
    "bandwidth 100kB/s": [("bandwidth", "downstream", 1.0, {"rate": 100})],
    "slice 16B every 5ms": [("slicer", "downstream", 1.0, {"average_size": 16, "size_variation": 0, "delay": 5000})],
    "slow_close 2s": [("slow_close", "downstream", 1.0, {"delay": 2000})],
    "blackhole": [("timeout", "upstream", 1.0, {"timeout": 0}), ("timeout", "downstream", 1.0, {"timeout": 0})],
    "reset": [("reset_peer", "downstream", 1.0, {"timeout": 0})],
    "cut after 4kB": [("limit_data", "downstream", 1.0, {"bytes": 4000})],
}


@pytest.mark.parametrize("text, toxics", TOXICS.items())
def test_a_fault_of_toxiproxy_is_added_listed_and_removed(text, toxics):
    with fake_toxiproxy() as fake:
        with injected(f"{text} via toxiproxy {fake.url}") as injector:
            added = [(one["type"], one["stream"], one["toxicity"], one["attributes"]) for one in fake.toxics]
            assert added == toxics
            assert injector.gone() is None
        assert fake.toxics == []
        injector.lift()  # an undo after the lift


def test_toxiproxy_can_be_down():
    with fake_toxiproxy() as fake:
        with injected(f"down via toxiproxy {fake.url}"):
            assert not fake.proxy["enabled"]
            assert "disabled already" in new(f"down via toxiproxy {fake.url}").check()
        assert fake.proxy["enabled"]


def test_a_missing_toxiproxy_or_proxy_is_a_line_before_the_load():
    with fake_toxiproxy() as fake:
        assert "with HTTP 404" in new(f"down via toxiproxy {fake.url}2").check()
    assert "did not answer" in new(f"down via toxiproxy {fake.url}").check()


# ── commands ──


@pytest.mark.parametrize("verb, lift", [("pause", "unpause"), ("stop", "start"), ("kill", "start")])
def test_docker_stops_a_container_and_starts_it_again(verb, lift, tmp_path, monkeypatch):
    docker = Fakes(tmp_path, monkeypatch)
    with injected(f"docker {verb} llm") as injector:
        assert injector.present().template == "container {name} was {state}"
        assert injector.gone() is None
        assert "a fault needs one that runs" in new("docker pause llm").check()
    assert docker.calls() == [f"{verb} llm", f"{lift} llm"]
    assert injector.gone() == "container llm was running"


def test_a_restart_by_docker_is_seen_by_the_start_of_the_container(tmp_path, monkeypatch):
    docker = Fakes(tmp_path, monkeypatch)
    injector = new("docker restart llm")
    injector.prepare()
    assert injector.present() is None
    injector.inject()
    assert injector.present()
    injector.lift()
    assert docker.calls() == ["restart llm"]


def test_unpausing_a_container_that_is_not_paused_is_no_problem(tmp_path, monkeypatch):
    docker = Fakes(tmp_path, monkeypatch)
    new("docker pause llm").lift()
    assert docker.calls() == ["unpause llm"]


def test_a_container_may_be_healthy_later(tmp_path, monkeypatch):
    Fakes(tmp_path, monkeypatch)
    with victim() as (port, _):
        injector = new(f"docker stop llm healthy http://127.0.0.1:{port}/")
        assert injector.gone() == f"http://127.0.0.1:{port}/ answers"
        end_at(port)
        wait_for(injector.gone, lambda evidence: evidence is None)


def test_a_missing_container_and_a_distant_engine_are_lines_before_the_load(tmp_path, monkeypatch):
    Fakes(tmp_path, monkeypatch)
    assert "No such object: other" in new("docker pause other").check()
    assert "container other does not run here" in new("freeze container other").check()
    monkeypatch.setenv("DOCKER_HOST", "tcp://8.8.8.8:2375")
    assert "only with --llm-fault-allow 8.8.8.8" in new("docker pause llm").check()
    assert new("docker pause llm", allow=["8.8.8.8"]).check() == ""


def test_kubectl_runs_both_commands_and_a_distant_cluster_must_be_allowed(tmp_path, monkeypatch):
    kubectl = Fakes(tmp_path, monkeypatch)
    text = 'kubectl scale deploy/llm --replicas=0 until "scale deploy/llm --replicas=1"'
    injector = new(text)
    assert injector.check() == ""
    injector.prepare()
    injector.inject()
    wait_for(injector._child.poll, lambda code: code == 0)
    injector.lift()
    assert kubectl.calls() == ["scale deploy/llm --replicas=0", "scale deploy/llm --replicas=1"]
    Fakes(tmp_path, monkeypatch, server="https://8.8.8.8:6443")
    assert "only with --llm-fault-allow 8.8.8.8" in new(text).check()


def test_a_command_without_an_end_lasts_as_long_as_it_runs(tmp_path):
    gate = tmp_path / "gate"
    with fault_program(f'at 0s: run "while ! test -e {gate}; do sleep 0.05; done" check "! test -e {gate}"') as program:
        program.start()
        program.wait_for(lambda window: window.confirmed_began)
        assert program.windows()["1.1"].lifted is None
        gate.touch()
        window = program.wait_for(lambda window: window.is_confirmed)
        assert window.problem == ""


def test_a_command_without_a_check_is_not_confirmed(tmp_path):
    with fault_program('at 0s for 100ms: run "true" until "true"', patience=0.2) as program:
        program.start()
        window = program.wait_for(lambda window: window.problem)
        assert (window.confirmed_began, window.confirmed_lifted) == (None, None)
        assert window.lifted is not None
        assert window.problem.startswith("nothing but the users showed that the fault was present; nothing but")


def test_a_command_that_fails_is_a_problem():
    with fault_program('at 0s for 500ms: run "exit 3" until "true" check "true"', patience=0.2) as program:
        program.start()
        window = program.wait_for(lambda window: "failed: exit 3" in window.problem)
        assert window.confirmed_lifted is None


def test_a_command_that_still_runs_at_the_lift_is_ended():
    with injected('run "sleep 1000" until "true" check "true"') as injector:
        process = psutil.Process(injector._child.pid)
        injector._action = parse('run "sleep 1000" until "true" check "false"')
    wait_for(lambda: process.is_running() and process.status() != psutil.STATUS_ZOMBIE, lambda runs: not runs)
    injector._child.wait()


class _Faulty(BaseHTTPRequestHandler):
    """A server whose fault is set by POST, removed by DELETE, and shown by GET."""

    bodies = None

    def do_POST(self):
        type(self).bodies = self.rfile.read(int(self.headers["Content-Length"]))
        self._end(201)

    def do_DELETE(self):
        type(self).bodies = None
        self._end(204)

    def do_GET(self):
        self._end(200 if type(self).bodies is not None else 404)

    def _end(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_an_http_request_sets_a_fault_and_another_one_removes_it():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Faulty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/fault"
        with injected(f"http POST {url} body '{{\"a\": 1}}' until DELETE {url} check {url}") as injector:
            assert _Faulty.bodies == b'{"a": 1}'
            assert injector.gone() is None
        assert _Faulty.bodies is None
        with pytest.raises(InjectorError, match=r"PATCH .* was answered with HTTP 501"):
            new(f"http PATCH {url}").inject()
        server.shutdown()
