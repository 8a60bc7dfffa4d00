"""Processes and the machine, read from real processes."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import psutil
import pytest

from llmlocust.observe.sources import machine, processes
from llmlocust.observe.sources.parse import source_of
from llmlocust.observe.sources.source import SourceError
from tests.simulators import PATIENCE, wait_for

LISTENER = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(listener.getsockname()[1], flush=True)
time.sleep(600)
"""
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"])
print(child.pid, flush=True)
child.wait()
"""
BUSY = """
import threading, time
def burn():
    while True:
        sum(range(1000))
for _ in range(12):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
print("ready", flush=True)
burn()
"""


@contextmanager
def child(code, *args, executable=sys.executable):
    """Run Python code in a process group, and yield the process and the first line that it prints."""
    command = [executable, "-c", code, *map(str, args)] if "\n" in code else [executable, code, *map(str, args)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        process.stdout.close()


def samples(source):
    """Return the samples of a source by name with labels."""
    (scrape,) = source.scrape()
    lines = [line for line in scrape.text.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def of(values, name, **labels):
    parts = [f'{label}="{value}"' for label, value in labels.items()]
    return {
        key: value
        for key, value in values.items()
        if key.startswith(f"{name}{{") and all(part in key for part in parts)
    }


def pids(values):
    return {int(pid) for pid in re.findall(r'start_time_seconds{pid="(\d+)"', "\n".join(values))}


def test_a_process_has_all_metrics():
    with child(BUSY) as (process, _):
        values = samples(source_of(f"pid:{process.pid}"))

    labels = {"pid": process.pid}
    (threads,) = of(values, "llmlocust_process_threads", **labels).values()
    (memory,) = of(values, "llmlocust_process_memory_bytes", **labels, kind="rss_anon").values()
    (start,) = of(values, "llmlocust_process_start_time_seconds", **labels).values()
    (files,) = of(values, "llmlocust_process_open_files", **labels).values()
    (max_files,) = of(values, "llmlocust_process_max_files", **labels).values()
    (switches,) = of(values, "llmlocust_process_context_switches_total", **labels).values()
    (swap,) = of(values, "llmlocust_process_memory_bytes", **labels, kind="swap").values()
    assert threads == 13
    assert 1e6 < memory < 1e9
    assert abs(time.time() - start) < PATIENCE
    assert 3 <= files < max_files
    assert switches > 0
    assert swap >= 0


def test_the_busiest_thread_is_among_those_shown():
    with child(BUSY) as (process, _):
        source = source_of(f"pid:{process.pid}")
        cpu = "llmlocust_process_cpu_seconds_total"
        values = wait_for(lambda: samples(source), lambda values: sum(of(values, cpu).values()) > 1)

    threads = of(values, "llmlocust_process_thread_cpu_seconds_total", pid=process.pid)
    assert 3 <= len(threads) <= 8
    busiest = max(threads, key=threads.get)
    assert f'-{process.pid}"' in busiest  # the first thread has the number of the process
    assert threads[busiest] > 0.9


def test_context_switches_of_threads_that_end_are_kept():
    source = source_of(f"pid:{os.getpid()}")
    samples(source)
    process = source._known[os.getpid()]
    process._switches_of[10**9] = 5000  # a thread that has ended since
    before = process._switches
    samples(source)
    assert process._switches >= before


def test_children_are_included():
    with child(PARENT) as (process, child_pid):
        assert pids(samples(source_of(f"pid:{process.pid}"))) == {process.pid, int(child_pid)}


def test_a_new_child_is_found(monkeypatch):
    monkeypatch.setattr(processes, "_REFIND_SECONDS", 0.0)
    source = source_of(f"pid:{os.getpid()}")
    with child(LISTENER, 0) as (process, _):
        assert process.pid in pids(samples(source))
    assert process.pid not in pids(samples(source))


def test_a_process_is_found_by_its_port_and_again_after_a_restart():
    with child(LISTENER, 0) as (process, port):
        source = source_of(f"port:{port}")
        first = samples(source)
        assert pids(first) == {process.pid}
    with pytest.raises(SourceError, match=rf"no process is visible that listens on port {port}"):
        source.scrape()
    with child(LISTENER, port) as (process, _):
        second = samples(source)
        assert pids(second) == {process.pid}
    start = "llmlocust_process_start_time_seconds"
    assert max(of(second, start).values()) > max(of(first, start).values())


def test_a_process_is_found_by_the_name_of_its_script_and_again_after_a_restart(tmp_path):
    script = tmp_path / "toyserver"
    script.write_text(LISTENER)
    source = source_of("process:TOYserv")
    with pytest.raises(SourceError, match="no process runs whose name begins with 'TOYserv'"):
        source.scrape()
    for _ in range(2):
        with child(str(script), 0) as (process, _):
            assert pids(samples(source)) == {process.pid}


@pytest.mark.parametrize(
    "command, program",
    [
        (["/usr/bin/python3.11", "-m", "vllm.entrypoints.openai.api_server", "--port", "1"], "vllm.entrypoints.openai.api_server"),
        (["python", "/opt/bin/vllm", "serve", "x"], "vllm"),
        (["VLLM::EngineCore"], "VLLM::EngineCore"),
        (["/opt/llama-server", "-m", "vllm.gguf"], "llama-server"),
        (["tail", "-f", "vllm.log"], "tail"),
        (["python"], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_the_program_of_a_command_line_is_what_an_interpreter_runs(command, program):
    assert processes._program(command) == program


def test_our_own_processes_are_not_found_by_name():
    own = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    assert not own & {process.pid for process in processes._named("")}


def test_a_process_that_ended_is_one_line():
    with child(LISTENER, 0) as (process, _):
        source = source_of(f"pid:{process.pid}")
        source.scrape()
    with pytest.raises(SourceError, match=f"process {process.pid} has ended"):
        source.scrape()
    with pytest.raises(SourceError, match="has ended or does not exist"):
        source_of(f"pid:{2**30}").scrape()


def test_a_zombie_has_ended():
    process = subprocess.Popen([sys.executable, "-c", ""])
    wait_for(lambda: psutil.Process(process.pid).status(), lambda status: status == psutil.STATUS_ZOMBIE)
    with pytest.raises(SourceError, match="has ended"):
        source_of(f"pid:{process.pid}").scrape()
    process.wait()


def test_what_may_not_be_read_is_said_once_and_the_rest_is_reported(monkeypatch):
    def refuse(_):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "num_fds", refuse)
    source = source_of(f"pid:{os.getpid()}")
    values = samples(source)

    assert source.notice.startswith(f"pid {os.getpid()}: not readable as this user: open files.")
    assert of(values, "llmlocust_process_cpu_seconds_total", pid=os.getpid())
    assert not of(values, "llmlocust_process_open_files")


def test_without_proc_the_resident_memory_is_reported(monkeypatch):
    monkeypatch.setattr(processes, "_lines", lambda path: [])
    with child(LISTENER, 0) as (process, _):
        values = samples(source_of(f"pid:{process.pid}"))

    (memory,) = of(values, "llmlocust_process_memory_bytes").items()
    assert 'kind="rss"' in memory[0]
    assert memory[1] > 1e6


def test_a_port_of_a_container_names_the_container_source(monkeypatch):
    with child(LISTENER, 0) as (_, port):
        monkeypatch.setattr(psutil.Process, "name", lambda _: "docker-proxy")
        with pytest.raises(SourceError, match="use docker:NAME"):
            source_of(f"port:{port}").scrape()


# -- the machine


def test_the_machine_has_all_metrics():
    values = samples(source_of("machine"))

    modes = {
        mode: values[f'llmlocust_machine_cpu_seconds_total{{mode="{mode}"}}'] for mode in ("user", "system", "idle")
    }
    assert all(seconds > 0 for seconds in modes.values())
    total, available = (values[f'llmlocust_machine_memory_bytes{{kind="{kind}"}}'] for kind in ("total", "available"))
    assert 0 < available <= total
    assert values["llmlocust_machine_swap_used_bytes"] >= 0
    assert not any("guest" in name for name in values)


def test_counters_of_the_kernel_are_read(tmp_path, monkeypatch):
    (tmp_path / "net").mkdir()
    (tmp_path / "net/snmp").write_text(
        "Ip: A\nIp: 1\nTcp: RtoMin RetransSegs MaxConn\nTcp: 200 42 -1\nUdp: A\nUdp: 3\n"
    )
    (tmp_path / "net/netstat").write_text("TcpExt: A ListenOverflows ListenDrops\nTcpExt: 0 7 8\nIpExt: A\nIpExt: 1\n")
    (tmp_path / "vmstat").write_text("pgfault 5\noom_kill 3\noom_kill_x 9\n")
    monkeypatch.setattr(machine, "_PROC", tmp_path)
    values = samples(source_of("machine"))

    assert values["llmlocust_machine_retransmits_total"] == 42
    assert values["llmlocust_machine_listen_drops_total"] == 8
    assert values["llmlocust_machine_oom_kills_total"] == 3


def test_what_the_system_does_not_have_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_PROC", tmp_path)
    monkeypatch.setattr(psutil, "net_io_counters", lambda pernic: {"lo": None} if not pernic else {})
    names = {name.partition("{")[0] for name in samples(source_of("machine"))}

    assert names == {
        "llmlocust_machine_cpu_seconds_total",
        "llmlocust_machine_memory_bytes",
        "llmlocust_machine_swap_used_bytes",
    }


class Card:
    def __init__(self, bytes_sent):
        self.bytes_sent = bytes_sent


@pytest.mark.parametrize("cards, sent", [(["eth0"], 10), (["eth0", "eth1"], 30), ([], 60)])
def test_bytes_are_counted_at_network_cards(tmp_path, monkeypatch, cards, sent):
    for name in cards:
        (tmp_path / name / "device").mkdir(parents=True)
    counters = {"lo": Card(1000), "eth0": Card(10), "eth1": Card(20), "docker0": Card(30)}
    monkeypatch.setattr(machine, "_NETWORKS", tmp_path)
    monkeypatch.setattr(psutil, "net_io_counters", lambda pernic: counters)

    assert machine._sent_bytes() == sent
