"""Random fault plans against a small server, a third of them killed in the middle, and what they leave behind.

    python bench/fault_plans.py [--plans 200] [--seed 1] [--parallel 2]

Each plan has one to four faults: of the proxy, signals to the server and its restart, tc and iptables in a network namespace
(as root), pressure, commands, HTTP requests. Of those that are killed, SIGKILL ends either the run or the process that
injects the faults; then the run carries out the undo steps. After each plan nothing may be left: no process, no rule, no
queueing discipline, no namespace of another name, no file, no listening socket; and the server must answer.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0
"""Seconds in which everything must be gone."""
SECONDS = 1.5
"""Length of a run."""
MARK = "LLMLOCUST_FAULT_PLAN"
"""The environment variable that marks all processes of a plan, whatever starts them."""
RUN, FAULTS = "run", "faults"


# ── the server under test ──


class Handler(BaseHTTPRequestHandler):
    """A server with a fault that POST sets and DELETE removes: a file."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._end(200)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        Path(sys.argv[3], "http").touch()
        self._end(201)

    def do_DELETE(self) -> None:
        Path(sys.argv[3], "http").unlink(missing_ok=True)
        self._end(204)

    def _end(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def serve(port: int) -> None:
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


# ── a run, as far as faults are concerned ──


def run(config: dict[str, Any]) -> None:
    """Start the process of the faults, send requests, and end after SECONDS. The last line of the output has the windows."""
    command = [sys.executable, "-P", "-m", "llmlocust.faults.setup"]
    child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    _send(child, {"faults": config["faults"], "upstream": config["upstream"], "patience": 3.0, "seed": 1})
    first = json.loads(child.stdout.readline())
    if "error" in first:
        sys.exit(first["error"])
    began = time.time()
    _send(child, {"do": "start", "anchor": "run", "time": began})
    threading.Thread(target=_load, args=(first["proxy"] or config["upstream"],), daemon=True).start()
    victims = {RUN: os.getpid(), FAULTS: child.pid}
    if config["kill"]:
        threading.Timer(config["kill_at"], os.kill, (victims[config["kill"]], signal.SIGKILL)).start()
    threading.Timer(SECONDS, _send, (child, {"do": "finish"})).start()
    windows, undo, is_done = {}, {}, False
    for line in child.stdout:
        message = json.loads(line)
        if "fault" in message:
            windows[message["fault"]["id"]] = message["fault"]
        elif "undo" in message:
            undo[message["undo"]["id"]] = message
        elif "undone" in message:
            undo.pop(message["undone"], None)
        is_done |= "done" in message
    if not is_done:
        lines = "\n".join(map(json.dumps, undo.values()))
        subprocess.run(
            [sys.executable, "-P", "-m", "llmlocust.faults.undo"], cwd=ROOT, input=lines, text=True, check=False
        )
    print(json.dumps({"began": began, "windows": windows, "proxy": first["proxy"]}))
    sys.stdout.flush()
    os._exit(0)  # the load ends with the run


def _send(child: subprocess.Popen[bytes], document: dict[str, Any]) -> None:
    with suppress(OSError, ValueError):
        child.stdin.write(json.dumps(document).encode() + b"\n")
        child.stdin.flush()


def _load(url: str) -> None:
    while True:
        with suppress(Exception):
            urllib.request.urlopen(url, timeout=0.3).close()
        time.sleep(0.01)


# ── a plan and its world ──


@dataclass
class World:
    """The server, the namespace and the folder that the faults of a plan may touch."""

    mark: str
    port: int
    folder: Path
    netns: str
    """Empty without the rights or the tools for one."""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def server(self) -> str:
        """The command that starts the server."""
        return f"exec {sys.executable} {Path(__file__).resolve()} serve {self.port} {self.folder}"

    def start_server(self) -> subprocess.Popen[bytes]:
        command = ["/bin/sh", "-c", self.server]
        return subprocess.Popen(command, env=self.environment, start_new_session=True)

    def answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(self.url, timeout=1.0) as answer:
            return bool(answer.status == 200)
        return False


@contextmanager
def world() -> Iterator[World]:
    mark = uuid.uuid4().hex[:12]
    netns = f"plan-{mark}" if _has_network() else ""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        probe.close()
        new = World(mark, port, Path(folder), netns, {**os.environ, MARK: mark})
        if netns:
            subprocess.run(["ip", "netns", "add", netns], check=True)
        server = new.start_server()
        try:
            wait_for(new.answers)
            yield new
        finally:
            for process in marked(mark):
                with suppress(psutil.Error):
                    process.kill()
            server.wait()
            if netns:
                subprocess.run(["ip", "netns", "del", netns], check=True)


def _has_network() -> bool:
    return os.geteuid() == 0 and all(map(shutil.which, ("ip", "tc", "iptables")))


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes that a plan or its world started and that still run."""
    processes = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                processes.append(process)
    return processes


def drawn_plan(dice: random.Random, place: World) -> list[str]:
    """Return a random plan, a fault each line."""
    health = f"healthy {place.url}/"
    restart = f'restart "{place.server}"'
    kinds = [
        "down",
        "refuse",
        "reset on 50% of connections",
        "blackhole",
        "latency 50ms jitter 20ms",
        "status 503 on 50% of requests",
        "slice 1B every 1ms",
        f"freeze port {place.port}",
        f"kill port {place.port} {restart} {health}",
        f"kill port {place.port} {restart}",
        f"term port {place.port} {restart}",
        f"cpu 1 load {dice.randint(5, 20)}%",
        f"disk {dice.randint(1, 5)}MB in {place.folder}",
        f'run "touch {place.folder}/run; exec sleep 100" until "rm -f {place.folder}/run" check "test -e {place.folder}/run"',
        f"http POST {place.url}/ body '{{}}' until DELETE {place.url}/",
    ]
    if psutil.virtual_memory().available > 3 * 2**30:  # a fault leaves one GiB
        kinds.append(f"memory {dice.randint(1, 20)}MB")
    if place.netns:
        kinds += [
            f"block port 80 in netns {place.netns}",
            f"reject port 80 in netns {place.netns}",
            f'tc lo "tbf rate 1mbit burst 32kbit latency 400ms" in netns {place.netns}',
        ]
    return [_timed(dice, action) for action in dice.sample(kinds, dice.randint(1, 4))]


def _timed(dice: random.Random, action: str) -> str:
    at, length = dice.randint(0, 900), dice.randint(50, 500)
    lasts = dice.random() < 0.7
    every = f" every {length + dice.randint(100, 400)}ms x{dice.randint(2, 3)}" if lasts and dice.random() < 0.3 else ""
    return f"at {at}ms" + (f" for {length}ms{every}" if lasts else "") + f": {action}"


@dataclass
class Outcome:
    """The result of a plan."""

    plan: list[str]
    kill: str
    left: list[str]
    """Lines about each thing that is left behind."""
    windows: dict[str, dict[str, Any]]
    late: list[float]
    """Seconds between the planned moment of an injection and the injection."""
    seconds: float
    """Seconds until everything was lifted, after the end of the run or the kill."""


def outcome_of(seed: int) -> Outcome:
    """Run the plan of a seed, and look at what it has left."""
    dice = random.Random(seed)
    with world() as place:
        plan = drawn_plan(dice, place)
        kill = dice.choice([RUN, FAULTS]) if seed % 3 == 0 else ""
        config = {"faults": plan, "upstream": place.url, "kill": kill, "kill_at": dice.uniform(0.05, SECONDS)}
        command = [sys.executable, str(Path(__file__).resolve()), "run", json.dumps(config)]
        result = subprocess.run(
            command, cwd=ROOT, env=place.environment, capture_output=True, text=True, check=False, timeout=5 * PATIENCE
        )
        ended = time.monotonic()
        wait_for(lambda: left_in(place), lambda left: not left, give_up=True)
        seconds, left = time.monotonic() - ended, left_in(place)
        if kill != RUN and result.returncode:
            left.append(f"the run failed: {result.stderr.strip()[-300:]}")
        report = json.loads(result.stdout) if kill != RUN and not result.returncode else {"began": 0.0, "windows": {}}
    return Outcome(plan, kill, left, report["windows"], _lateness(plan, report), seconds)


def _lateness(plan: list[str], report: dict[str, Any]) -> list[float]:
    from llmlocust.faults.schedule import injections, parse

    due = {one.id: one.due for one in injections([parse(text) for text in plan], {"run": report["began"]}, 1e12)}
    return [
        window["began"] - due[key]
        for key, window in report["windows"].items()
        if window["began"] is not None and window["problem"] == ""
    ]


def left_in(place: World) -> list[str]:
    """Return what a plan has left behind, a line each."""
    left = [] if place.answers() else ["the server does not answer"]
    for process in marked(place.mark):
        with suppress(psutil.Error):
            command = process.cmdline()
            if command[2:4] != ["serve", str(place.port)]:
                left.append(f"process {process.pid}: {' '.join(command)[:200]}")
            elif process.status() == psutil.STATUS_STOPPED:
                left.append(f"the server is stopped: process {process.pid}")
            left += [
                f"socket {line.laddr} of process {process.pid}"
                for line in process.net_connections()
                if line.status == psutil.CONN_LISTEN and line.laddr.port != place.port
            ]
    left += [f"file {path}" for path in place.folder.iterdir()]
    return [*left, *_left_in_network(place.netns)] if place.netns else left


def _left_in_network(netns: str) -> list[str]:
    rules = [line for tool in ("iptables", "ip6tables") for line in _output("ip", "netns", "exec", netns, tool, "-S")]
    disciplines = [line for line in _output("tc", "-n", netns, "qdisc", "show") if " 0: " not in line]
    return [f"rule {line}" for line in rules if line.startswith("-A")] + [f"discipline {line}" for line in disciplines]


def _output(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def wait_for(look: Callable[[], Any], is_right: Callable[[Any], bool] = bool, *, give_up: bool = False) -> None:
    until = time.monotonic() + PATIENCE
    while not is_right(look()):
        if time.monotonic() > until:
            if give_up:
                return
            raise TimeoutError(f"still {look()!r} after {PATIENCE} s")
        time.sleep(0.05)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plans", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=2)
    options = parser.parse_args()
    if not _has_network():
        print("without root, ip, tc and iptables: no faults of the network")
    before = set(_output("ip", "netns", "list")) if _has_network() else set()
    with ThreadPoolExecutor(options.parallel) as pool:
        outcomes = list(pool.map(outcome_of, range(options.seed, options.seed + options.plans)))
    bad = [outcome for outcome in outcomes if outcome.left]
    for outcome in bad:
        print(f"left by {outcome.plan}, killed: {outcome.kill or 'no'}:", *outcome.left, sep="\n  ")
    _print(outcomes, bad)
    more = set(_output("ip", "netns", "list")) - before if _has_network() else set()
    print(f"namespaces left: {len(more)}")
    return 1 if bad or more else 0


def _print(outcomes: list[Outcome], bad: list[Outcome]) -> None:
    killed = {kind: [outcome for outcome in outcomes if outcome.kill == kind] for kind in (RUN, FAULTS)}
    windows = [window for outcome in outcomes for window in outcome.windows.values() if not outcome.kill]
    begun = [window for window in windows if window["began"] is not None]
    both = [window for window in begun if window["confirmed_began"] and window["confirmed_lifted"]]
    late = sorted(1000.0 * value for outcome in outcomes if not outcome.kill for value in outcome.late)
    print(
        f"{len(outcomes)} plans, killed: {len(killed[RUN])} runs, {len(killed[FAULTS])} processes of faults; "
        f"{len(bad)} left something behind"
    )
    seconds = [outcome.seconds for outcome in outcomes if outcome.kill]
    if seconds:
        print(
            f"all was lifted after a kill within {statistics.median(seconds):.1f} s (median), {max(seconds):.1f} s (longest)"
        )
    print(f"{len(begun)} injections in plans that were not killed; confirmed at both ends: {len(both)}")
    if late:
        p95 = late[int(0.95 * (len(late) - 1))]
        print(f"late by {statistics.median(late):.1f} ms (median), {p95:.1f} ms (p95), {late[-1]:.1f} ms (largest)")


if __name__ == "__main__":
    match sys.argv[1:2]:
        case ["serve"]:
            serve(int(sys.argv[2]))
        case ["run"]:
            run(json.loads(sys.argv[2]))
        case _:
            sys.exit(main())
