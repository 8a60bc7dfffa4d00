"""What anybody may send to the master's port: the run goes on, and counts what its workers did."""

import socket
from collections.abc import Iterator

import msgpack
import pytest
import zmq

from tests.locusts import QUICK, assert_counted_once, distributed, outcomes, run_info
from tests.simulators import RunningSimulator, running_simulator, wait_for_requests

NAME = "stranger"


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(slots=8, step_ms=10) as started:
        yield started


def message(kind, data, name=NAME) -> bytes:
    return msgpack.dumps((kind, data, name))


NONSENSE = [
    [],
    [b""],
    [b"\xff\xfe garbage \x00"],
    [b"\xc1"],
    [msgpack.dumps(5)],
    [msgpack.dumps("a text")],
    [msgpack.dumps({"type": "stats"})],
    [msgpack.dumps(["stats"])],
    [msgpack.dumps([1, 2, 3, 4])],
    [message("stats", {}) + b"more"],
    [message("stats", {})[:-3]],
    [msgpack.dumps(["stats", {"__datetime__": True}, NAME])],
    [message(["a", "list"], None)],
    [message({"a": 1}, None)],
    [message("no such type", {"what": 1})],
    [message("client_ready", 5)],
    [message("stats", {}, name="somebody else")],
    [message("stats", {}, name=["no", "name"])],
    [b"one", b"two", b"three"],
]
"""Frames that are no message, or a message of an unknown type."""
OF_LOCUST = ["client_stopped", "exception", "heartbeat", "locustfile", "logs", "stats", "spawning", "spawning_complete"]
OURS = [
    *({"version": 5}, {"version": "0.0"}, {"version": None}),
    *({"pieces": 5}, {"pieces": [5]}, {"pieces": [{}]}, {"pieces": [{"number": "x", "worker": []}]}),
]


def test_nonsense_on_the_masters_port_ends_no_run_and_counts_nowhere(simulator, tmp_path):
    with distributed(tmp_path, simulator.url, *QUICK) as run, zmq.Context() as context:
        wait_for_requests(simulator, 4)
        with socket.create_connection(("127.0.0.1", int(run.port))) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with context.socket(zmq.DEALER) as dealer:
            dealer.setsockopt(zmq.IDENTITY, NAME.encode())
            dealer.connect(f"tcp://127.0.0.1:{run.port}")
            for frames in NONSENSE:
                if frames:
                    dealer.send_multipart(frames)
            for kind in (*OF_LOCUST, "llm_hello", "llm_cannot_run"):
                for data in (None, 5, [], {}, {"what": "nonsense"}, *OURS):
                    dealer.send(message(kind, data))
            for told_version in ({}, {"version": "VERSION"}):
                dealer.send(message("stats", {"stats": [{}], "errors": {}, "stats_total": {}, "llm": told_version}))
            wait_for_requests(simulator, 4)
        assert run.master.ends() == 0, run.master.log

    assert_counted_once(tmp_path, simulator.truth())
    assert outcomes(tmp_path)["ok"] > 0
    assert run_info(tmp_path)["processes"] == 2
    assert "Traceback" not in run.master.log
    lines = [line for line in run.master.log.splitlines() if "at the master's port" in line]
    assert 1 <= len(lines) <= 10
