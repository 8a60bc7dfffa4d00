"""A run against a server that wants to exhaust the load generator: it goes on, and stays small."""

import gzip
import socket
from itertools import count
from pathlib import Path

from tests.locusts import RAMP, outcomes, run
from tests.plugin.scripted import STREAM, event, response, scripted_server

MB = 1 << 20
MOST_MEMORY = 500 * MB
WEIGHED = f"""
import resource
from pathlib import Path
from locust import events

@events.quit.add_listener
def _note_memory(**_):
    Path("peak").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
{RAMP}
"""
CHUNKS = STREAM + b"Transfer-Encoding: chunked\r\n"
DOCUMENT = b"Content-Type: application/json\r\n"


def endless(head: bytes, part: bytes, size: int = 65536):
    """Send the part again and again, in writes of about this size."""

    def script(sock: socket.socket) -> None:
        sock.sendall(head)
        repeated = part * max(1, size // len(part))
        while True:
            sock.sendall(repeated)

    return script


def once(wire: bytes):
    """Send it and keep the connection, as if more would come."""

    def script(sock: socket.socket) -> None:
        sock.sendall(wire)
        while sock.recv(65536):
            pass

    return script


def hostile_answers():
    """By name: a script of the server, and the outcome of its request. Not made at import, because it takes a second."""
    return {
        "headers": (endless(b"HTTP/1.1 200 OK\r\n", b"X-More: of this\r\n"), "too_large"),
        "a line": (endless(response(STREAM), b"x"), "bad_stream"),
        "data without a newline": (endless(response(STREAM) + b"data: ", b"x"), "too_large"),
        "events": (endless(response(STREAM), event()), "timeout_total"),
        "tiny events": (endless(response(STREAM), b'data: {"choices":[{"text":"a"}]}\n\n'), "too_large"),
        "a trickle": (endless(response(STREAM), b": \n\n", 1), "timeout_total"),
        "a gzip bomb": (
            once(response(STREAM + b"Content-Encoding: gzip\r\n", gzip.compress(bytes(200 * MB)))),
            "too_large",
        ),
        "a deep document": (endless(response(DOCUMENT), b'{"a":['), "too_large"),
        "a long document": (once(response(DOCUMENT, b'{"choices": "' + b"x" * 15 * MB)), "timeout_total"),
        "a chunk of an exabyte": (endless(response(CHUNKS) + b"%x\r\n" % 2**60, b"x"), "bad_stream"),
        "a long event": (endless(response(STREAM), b"data: " + event("x" * 3 * MB)), "timeout_total"),
    }


def test_fifty_users_of_a_hostile_server_stay_small(tmp_path):
    scripts, numbers = [script for script, _ in hostile_answers().values()], count()
    options = ["--llm-preflight=false", "--llm-model=m", "--llm-levels=50", "--llm-warmup=0", "--llm-hold=3"]
    options += ["--llm-drain=5", "--llm-timeout-total=2"]
    with scripted_server(lambda sock: scripts[next(numbers) % len(scripts)](sock)) as server:  # noqa: PLW0108  # another each time
        locust = run(tmp_path, f"http://127.0.0.1:{server.port}", *options, locustfile=WEIGHED)

    assert "Traceback" not in locust.log
    assert int(Path(tmp_path / "peak").read_text()) < MOST_MEMORY
    assert {"too_large", "timeout_total"} <= outcomes(tmp_path).keys()
    assert outcomes(tmp_path)["ok"] == 0
    assert server.connections >= 50
