"""The rolling restart of locustfiles/rolling_restart: three replicas behind a real nginx."""

import csv
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from urllib.error import URLError
from urllib.request import urlopen

import psutil
import pytest

from tests.locusts import RAMP, Locust, free_port, run_info
from tests.simulators import ROOT, running_simulator, wait_for

FILES = ROOT / "locustfiles" / "rolling_restart"
OPEN = ["--llm-rate", "10", "--llm-levels", "10", "--llm-warmup", "0.5", "--llm-hold", "26", "--llm-max-tokens", "100"]
SIMULATE = f"exec {sys.executable} -m llmlocust.cli simulate"

pytestmark = pytest.mark.skipif(
    not shutil.which("nginx"), reason="nginx is not installed (apt-get install nginx-light)"
)


@contextmanager
def replicas(folder):
    """Three replicas and nginx in front of them, on free ports. Yields the texts of the files' ports, and their own."""
    ports = {str(8000 + number): str(free_port()) for number in range(4)}
    text = (FILES / "nginx.conf").read_text()
    (folder / "nginx.conf").write_text(re.sub(r"\b800[0-3]\b", lambda match: ports[match[0]], text))
    with ExitStack() as stack:
        for number in ("8001", "8002", "8003"):
            stack.enter_context(running_simulator(slots=40, drain_s=60, port=int(ports[number])))
        nginx = subprocess.Popen(["nginx", "-p", folder, "-c", "nginx.conf"])
        stack.callback(nginx.wait, 60)
        stack.callback(nginx.terminate)
        wait_for(lambda: is_up(f"http://127.0.0.1:{ports['8000']}/health"))
        try:
            yield ports
        finally:
            end_listeners({int(port) for port in ports.values()})


def is_up(url):
    try:
        return urlopen(url, timeout=5).status == 200
    except URLError:
        return False


def end_listeners(ports):
    """End the replicas that the run has started again."""
    for connection in psutil.net_connections("tcp4"):
        if connection.laddr.port in ports and connection.status == "LISTEN" and connection.pid:
            process = psutil.Process(connection.pid)
            if "simulate" in process.cmdline():
                process.terminate()


def plan(folder, name, ports):
    """A plan of the example, on the ports of a test, with shorter waits."""
    text = re.sub(r"\b800[0-3]\b", lambda match: ports[match[0]], (FILES / name).read_text())
    for before, after in (("30s", "4s"), ("90s", "11s"), ("150s", "18s"), ("llmlocust simulate", SIMULATE)):
        assert before in text
        text = text.replace(before, after)
    (folder / name).write_text(text.replace("--start-s 5", "--start-s 1"))
    return ["--llm-faults", name]


@pytest.mark.parametrize(("name", "are_lost"), [("drain.toml", False), ("no_drain.toml", True)])
def test_a_rolling_restart_loses_requests_only_without_drain(tmp_path, name, are_lost):
    with replicas(tmp_path) as ports:
        host = ["--headless", "--only-summary", "--host", f"http://127.0.0.1:{ports['8000']}", "--csv", "run"]
        with Locust(tmp_path, [*host, *OPEN, *plan(tmp_path, name, ports)], RAMP) as locust:
            locust.ends()
    faults = run_info(tmp_path)["faults"]
    assert [fault["name"] for fault in faults] == ["replica 1", "replica 2", "replica 3"]
    assert all(fault["confirmed_began"] and fault["confirmed_lifted"] for fault in faults), faults
    with (tmp_path / "run_llm_requests.csv").open(newline="") as file:
        outcomes = [row["outcome"] for row in csv.DictReader(file)]
    assert outcomes.count("ok") > 100
    assert ("truncated" in outcomes) == are_lost
    assert set(outcomes) <= {"ok", "aborted", "truncated"}
