"""Control of the proxy, its command, and its end."""

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from llmlocust.faults.proxy.process import ProxyError, ProxyProcess
from tests.command import in_process
from tests.faults.servers import FOLLOWS, ask, connected, get, proxying, response, serving
from tests.simulators import PATIENCE, ROOT, wait_for


@pytest.fixture(scope="module")
def server():
    with serving() as server:
        yield server


@contextmanager
def command(*args, **options):
    """Start `llmlocust proxy`. Yield the process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlocust.cli", "proxy", *map(str, args)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def is_refused(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_fault_is_set_counted_and_cleared(server):
    with proxying(server) as proxy:
        active = proxy.set("status 503 on 100% of connections", "mine")
        assert (active["id"], active["acted"], active["cleared"]) == ("mine", 0, None)
        with connected(proxy) as client:
            assert ask(client, "/x")[0] == 503
        (counters,) = proxy.counters()["faults"]
        assert counters["acted"] == counters["connections"] == 1
        assert active["began"] <= counters["first"] == counters["last"]
        (cleared,) = proxy.clear("mine")
        assert cleared["cleared"] >= counters["last"]
        report = proxy.counters()
        assert report["faults"] == []
        assert report["cleared"] == [cleared]
        assert report["statuses"] == {"503": 1}


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda proxy: proxy.set("nonsense"), "unknown fault 'nonsense'; write one like"),
        (lambda proxy: proxy.set("latency"), "write it like 'latency 200ms"),
        (lambda proxy: (proxy.set("reset", "a"), proxy.set("reset", "a")), "the id 'a' is set already"),
        (lambda proxy: proxy.clear("none"), "no fault with the id 'none' is set"),
        (lambda proxy: proxy._ask({"command": "explode"}), "write a command as"),
        (lambda proxy: proxy._ask([]), "write a command as"),
        (lambda proxy: proxy._ask({"command": []}), "write a command as"),
        (lambda proxy: proxy._ask({"command": "set", "fault": 5}), "set takes a fault"),
        (lambda proxy: proxy._ask({"command": "clear", "id": 5}), "clear takes the id"),
    ],
)
def test_a_bad_command_is_answered_in_one_line_and_the_proxy_goes_on(server, call, words):
    with proxying(server) as proxy:
        with pytest.raises(ProxyError) as problem:
            call(proxy)
        assert words in str(problem.value)
        assert "\n" not in str(problem.value)
        assert proxy.counters()["listening"]


def test_the_proxy_ends_with_its_handle_also_with_streams_and_faults(server):
    with proxying(server, "down") as proxy:
        pass
    assert is_refused(proxy.port)
    with proxying(server, "latency 100s") as proxy, connected(proxy) as client:
        client.sendall(get("/x"))
        wait_for(lambda: proxy.counters()["waiting_bytes"])
        proxy.close()
        assert is_refused(proxy.port)
    with pytest.raises(ProxyError, match="has ended"):
        proxy.counters()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_proxy(server, number):
    with proxying(server, "latency 100s") as proxy, connected(proxy) as client:
        client.sendall(get("/x"))
        wait_for(lambda: proxy.counters()["waiting_bytes"])
        os.kill(proxy.pid, number)
        assert proxy._child.wait(PATIENCE) == 0
        assert is_refused(proxy.port)


def test_the_proxy_ends_when_its_parent_is_killed(server):
    program = f"""
import os, signal
from llmlocust.faults.proxy.process import ProxyProcess
proxy = ProxyProcess({server.url!r})
if os.fork() == 0:  # a child that keeps the pipes open
    signal.pause()
print(proxy.port, proxy.pid, flush=True)
signal.pause()
"""
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    port, pid = map(int, parent.stdout.readline().split())
    children = [int(child) for child in _children(parent.pid) if int(child) != pid]
    parent.kill()
    parent.wait()
    try:
        wait_for(lambda: is_refused(port))
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
        parent.stdout.close()


def _children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_a_port_that_is_taken_is_an_error(server):
    with proxying(server) as proxy, pytest.raises(ProxyError, match="in use"):
        ProxyProcess(server.url, port=proxy.port)


# ── the command ──


def test_the_command_says_where_it_listens_and_ends_by_a_signal(server):
    with command(server.url + "/v1", "--listen", 0, "--fault", "status 500") as process:
        line = process.stdout.readline()
        assert "forwards to" in line
        assert "(this machine only)" in line
        assert line.split()[0].endswith("/v1")
        port = int(line.split()[0].split(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            assert ask(client, "/x")[0] == 500
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""


def test_the_command_takes_commands_from_standard_input_and_ends_with_it(server):
    with command(server.url, "--listen", 0, "--control", "-") as process:
        first = json.loads(process.stdout.readline())
        assert first["ok"]
        for line, key in (
            ('{"command": "set", "fault": "reset"}', "id"),
            ('{"command": "counters"}', "faults"),
            ('{"command": "clear"}', "cleared"),
            ("nonsense", "error"),
        ):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            assert key in json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
        assert is_refused(first["port"])
        process.stdin = None


def test_the_command_takes_commands_on_a_unix_socket_that_only_the_user_can_open(server, tmp_path):
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as killed:  # a proxy that was killed leaves its socket
        killed.bind(str(path))
    with command(server.url, "--listen", 0, "--control", path) as process:
        process.stdout.readline()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as control:
                control.connect(str(path))
                control.sendall(b'{"command": "set", "fault": "refuse"}\n{"command": "counters"}\n')
                replies = control.makefile()
                assert json.loads(replies.readline())["ok"]
                assert not json.loads(replies.readline())["listening"]
        with command(server.url, "--listen", 0, "--control", path) as second:
            assert second.wait(PATIENCE) == 2
            assert "another process listens there" in second.stderr.read()
        assert path.exists()
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(path))
            control.sendall(b'{"command": "stop"}\n')
            assert process.wait(PATIENCE) == 0
    assert not path.exists()


def test_a_file_is_not_replaced_by_a_control_socket(server, tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with command(server.url, "--listen", 0, "--control", path) as process:
        assert process.wait(PATIENCE) == 2
        assert "a file with this name exists" in process.stderr.read()
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    "args, words",
    [
        (["http://x", "--fault", "nonsense"], "unknown fault 'nonsense'"),
        (["http://x", "--listen", "cat"], "--listen takes a port"),
        (["http://x", "--listen", "99999"], "--listen takes a port"),
        (["ftp://x"], "the scheme must be http or https"),
        (["http://me:sesame-77@x"], "give only scheme, host, port and path"),
        (["http://x?key=sesame-77"], "give only scheme, host, port and path"),
        (["http://"], "no host"),
        (["http://x", "--key", "file"], "--key needs --certificate"),
        (["http://x", "--certificate", "/no/such/file"], "cannot use the certificate"),
        (["http://x", "--listen", "192.0.2.1:0"], "cannot listen on 192.0.2.1:0"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(args, words):
    done = in_process("proxy", *args)

    assert done.exit_code == 2, done.output
    assert words in done.output
    assert "Traceback" not in done.output
    assert "sesame" not in done.output


def test_the_command_has_help():
    done = in_process("proxy", "--help")
    assert done.exit_code == 0
    assert "cut after 50 tokens" in done.output


# ── TLS ──


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@contextmanager
def tls_server(authority):
    """Serve one answer per connection over TLS: the Host header that the request has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving() as server:
        server.tls = context
        yield server


@pytest.mark.parametrize("fault", ["", FOLLOWS, "latency 10ms both", "slice 16B every 1ms"])
def test_a_server_behind_https_gets_its_own_name(authority, fault):
    with tls_server(authority) as server:
        server.behaviours["/x"] = lambda connection, request: connection.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
            % (len(request.head), request.head)
        )
        url = server.url.replace("http:", "https:")
        with ProxyProcess(url, faults=[fault] if fault else [], verify=False) as proxy, connected(proxy) as client:
            for _ in range(2):
                client.sendall(get("/x"))
                assert f"Host: {url.partition('://')[2]}".encode() in response(client)[1]


def test_the_certificate_of_the_server_is_checked(authority):
    with tls_server(authority) as server, ProxyProcess(server.url.replace("http:", "https:")) as proxy:
        with pytest.raises(ConnectionError), connected(proxy) as client:
            ask(client, "/x")
        assert "CERTIFICATE_VERIFY_FAILED" in proxy.counters()["last_failure"]


def test_clients_may_use_tls(authority, server, tmp_path):
    own = authority.issue_cert("127.0.0.1")
    own.private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    arguments = ["--listen", 0, "--certificate", tmp_path / "own.pem", "--fault", "cut after 3B"]
    with command(server.url, *arguments) as process:
        line = process.stdout.readline()
        assert line.startswith("https://")
        port = int(line.split()[0].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain:
            client = context.wrap_socket(plain, server_hostname="127.0.0.1")
            client.sendall(get("/long-path"))
            data = b""
            while piece := client.recv(1000):
                data += piece
            assert data.endswith(b"\r\n\r\n/lo")
            client.close()
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain:
            plain.sendall(get("/plain"))
            plain.recv(100)
        with context.wrap_socket(
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE), server_hostname="127.0.0.1"
        ) as client:
            client.sendall(get("/x"))
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
