"""`llmlocust observe`: this machine as one Prometheus endpoint."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmlocust.observe import serving
from llmlocust.observe.serving import Exporter, ReadSource
from llmlocust.observe.sources.parse import source_of
from llmlocust.observe.sources.source import Scrape, Source, SourceError
from tests.command import in_process
from tests.simulators import PATIENCE, ROOT, wait_for


@contextmanager
def observing(*args, **environment):
    """Start the command on a free port. Yield the process, and its line."""
    command = [sys.executable, "-m", "llmlocust.cli", "observe", "--port", "0", *args]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdout.close()
        process.stderr.close()


def url_in(line):
    return re.match(r"(http://\S+)/metrics serves ", line)[1]


def families(text):
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def test_the_command_serves_the_machine_and_named_sources_as_one_endpoint():
    with observing(f"pid:{os.getpid()}", "process:nosuchserver") as (process, line):
        (scrape,) = source_of(url_in(line)).scrape()
        problem = process.stderr.readline()

    metrics = families(scrape.text)
    assert {"llmlocust_machine_memory_bytes", "llmlocust_machine_cpu_seconds", "llmlocust_process_cpu_seconds"} <= set(
        metrics
    )
    assert {sample.labels["pid"] for sample in metrics["llmlocust_process_threads"].samples} >= {str(os.getpid())}
    assert f"serves machine, pid:{os.getpid()}, process:nosuchserver (this machine only; --host 0.0.0.0" in line
    assert problem.startswith("process nosuchserver: no process runs whose name begins with 'nosuchserver'")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_while_a_client_is_connected(number):
    with observing() as (process, line):
        host, _, port = url_in(line).removeprefix("http://").rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        connection.request("GET", "/metrics")
        connection.getresponse().read()
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""


def test_a_key_is_needed_if_it_is_set(monkeypatch):
    with observing(LLMLOCUST_OBSERVE_KEY="sesame-77") as (_, line):
        with pytest.raises(SourceError, match="HTTP 401"):
            source_of(url_in(line)).scrape()
        monkeypatch.setenv("LLMLOCUST_OBSERVE_HEADER", "Authorization: Bearer sesame-77")
        assert source_of(url_in(line)).scrape()

    assert "sesame" not in line
    assert "to clients with the key" in line


@pytest.mark.parametrize(
    "args, words",
    [
        (["gpus"], "'gpus' is no source of telemetry"),
        (["http://me:sesame-77@host"], "give it to the load test, --llm-observe URL"),
        (["prometheus:http://p?query=up"], "give it to the load test"),
        (["port:x"], "such as port:8000"),
        (["--port", "70000"], "70000 is not in the range"),
        (["--host", "nosuch.invalid", "--port", "0"], "cannot listen on nosuch.invalid:0"),
        (["--host", "192.0.2.1", "--port", "0"], "cannot listen on 192.0.2.1:0"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(args, words):
    done = in_process("observe", *args)

    assert done.exit_code == 2
    assert words in done.output
    assert "Traceback" not in done.output
    assert "sesame" not in done.output


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = in_process("observe", "--port", str(listener.getsockname()[1]))
    assert done.exit_code == 2
    assert "the port is taken" in done.output


def test_the_command_has_help():
    done = in_process("observe", "--help")
    assert done.exit_code == 0
    assert "LLMLOCUST_OBSERVE_KEY" in done.output


# -- the exporter


class Counted(Source):
    """A source that counts its scrapes, and does what `behave` does."""

    def __init__(self, name, behave=lambda: None):
        self.name = self.url = name
        self.scrapes, self.behave = 0, behave

    def scrape(self):
        self.scrapes += 1
        self.behave()
        return [Scrape(time.time(), f"# TYPE {self.name} gauge\n{self.name} {self.scrapes}\n".encode())]


@contextmanager
def exporting(*sources, key=""):
    lines = []
    exporter = Exporter("127.0.0.1", 0, sources, lines.append, key)
    try:
        yield exporter, lines
    finally:
        exporter.server_close()


def test_values_are_read_again_only_when_they_are_old(monkeypatch):
    monkeypatch.setattr(serving, "_MIN_AGE", 1000.0)
    source = Counted("a")
    with exporting(source) as (exporter, _):
        assert {exporter.text() for _ in range(20)} == {b"# TYPE a gauge\na 1\n"}
        assert source.scrapes == 1
        monkeypatch.setattr(serving, "_MIN_AGE", 0.0)
        assert exporter.text() == b"# TYPE a gauge\na 2\n"


def test_a_client_that_asks_once_a_second_gets_new_values():
    assert 0.5 <= serving._MIN_AGE <= 0.9


def test_a_source_that_hangs_delays_no_other(monkeypatch):
    monkeypatch.setattr(serving, "_READ_SECONDS", 0.3)
    with exporting(Counted("a"), Counted("b", lambda: time.sleep(30))) as (exporter, _):
        begun = time.monotonic()
        assert exporter.text() == b"# TYPE a gauge\na 1\n"
        assert time.monotonic() - begun < 10


def test_a_source_that_fails_is_said_once_and_again_when_it_works(monkeypatch):
    monkeypatch.setattr(serving, "_MIN_AGE", 0.0)
    problems = [SourceError("no such process"), SourceError("no such process"), ZeroDivisionError("x"), None]

    def behave():
        if problem := problems.pop(0):
            raise problem

    with exporting(Counted("a", behave), Counted("b")) as (exporter, lines):
        texts = [exporter.text() for _ in range(4)]
        wait_for(lambda: len(lines), lambda count: count == 3)

    assert [b"# TYPE a gauge" in text for text in texts] == [False, False, False, True]
    assert all(b"# TYPE b gauge" in text for text in texts)
    assert lines == ["a: no such process", "a: ZeroDivisionError: x", "a: can be read again"]


def test_a_notice_is_said_and_the_values_are_served():
    source, lines = Counted("a"), []
    source.notice = "a: open files are not readable"
    read = ReadSource(source, lines.append)
    read.request()
    assert read.text(time.monotonic() + PATIENCE)
    wait_for(lambda: lines, lambda lines: lines == [source.notice])


def answer_of(port, request):
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(request)
        connection.settimeout(PATIENCE)
        return connection.makefile("rb").read()


@pytest.fixture(scope="module")
def port():
    with observing() as (_, line):
        yield int(url_in(line).rpartition(":")[2])


@pytest.mark.parametrize(
    "request_line, status",
    [
        (b"GET /metrics HTTP/1.1", b"200"),
        (b"GET /metrics?x=1 HTTP/1.1", b"200"),
        (b"GET / HTTP/1.1", b"404"),
        (b"GET /../etc/passwd HTTP/1.1", b"404"),
        (b"POST /metrics HTTP/1.1", b"501"),
    ],
)
def test_only_the_metrics_are_served(port, request_line, status):
    answer = answer_of(port, request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status)


def test_what_is_not_http_is_refused(port):
    assert b"Error code: 400" in answer_of(port, b"nonsense\r\n\r\n")


def test_many_open_connections_do_not_end_it(port):
    connections = [socket.create_connection(("127.0.0.1", port), PATIENCE) for _ in range(100)]
    for connection in connections:
        connection.close()
    wait_for(
        lambda: answer_of(port, b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n"),
        lambda answer: answer.startswith(b"HTTP/1.1 200"),
    )
