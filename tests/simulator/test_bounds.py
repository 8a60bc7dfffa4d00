"""The memory that clients can make the simulator use is bounded."""

import asyncio
import json

from llmlocust.simulator import server as module
from llmlocust.simulator.connection import BODY_LIMIT, QUEUE_LIMIT, UNREAD_LIMIT, Connection, HttpRequest
from llmlocust.simulator.dialects import GRADIO_CALL
from llmlocust.simulator.engine import MAX_WAITING, Engine, Sequence
from llmlocust.simulator.server import Simulator
from llmlocust.simulator.settings import Settings
from llmlocust.simulator.truth import COMPLETED, Record, Truth


class Socket:
    """A connected socket, with the methods that a connection uses."""

    def setsockopt(self, *_):
        pass


class Transport(asyncio.Transport):
    """The transport of a client that reads only when the test calls `read_all`."""

    def __init__(self, protocol):
        super().__init__({"socket": Socket()})
        self.protocol, self.unread, self.closing = protocol, 0, False

    def set_write_buffer_limits(self, high=None, low=None):
        self.high = high

    def write(self, data):
        self.unread += len(data)
        if self.unread > self.high:
            self.protocol.pause_writing()

    def read_all(self):
        self.unread = 0
        self.protocol.resume_writing()

    def is_closing(self):
        return self.closing


def connected(handle):
    connection = Connection(handle, set())
    transport = Transport(connection)
    connection.connection_made(transport)
    return connection, transport


GET = b"GET /truth HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_client_that_does_not_read_gets_no_further_answers():
    async def scenario():
        refusals = []

        def handle(connection, request):
            refusals.append(request.refusal)
            connection.respond(200, b"x" * (UNREAD_LIMIT + 1))

        connection, transport = connected(handle)
        for _ in range(QUEUE_LIMIT):
            connection.data_received(GET)
            await asyncio.sleep(0)
        assert len(refusals) == 1
        assert transport.unread < 2 * UNREAD_LIMIT

        transport.read_all()
        assert len(refusals) == 2

    asyncio.run(scenario())


def test_the_total_size_of_queued_bodies_is_bounded():
    async def scenario():
        refusals = []
        connection, _ = connected(lambda connection, request: refusals.append(request.refusal))
        body = b"x" * (BODY_LIMIT // 2)
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        for _ in range(4):  # the first is answered, and three are in the queue
            connection.data_received(head)
            connection.data_received(body)
        connection.done()
        await asyncio.sleep(0)
        connection.done()
        await asyncio.sleep(0)
        connection.done()
        await asyncio.sleep(0)
        assert [refusal and refusal.status for refusal in refusals] == [None, None, None, 429]

    asyncio.run(scenario())


def test_calls_whose_events_are_never_fetched_are_removed(monkeypatch):
    async def scenario():
        simulator = Simulator(Settings())
        responses = []
        connection, _ = connected(simulator.handle)
        monkeypatch.setattr(connection, "respond", lambda status, body, *_, **__: responses.append(json.loads(body)))
        for number in range(module._CALLS_LIMIT + 5):
            body = bytearray(json.dumps({"data": [f"hello {number}", []]}).encode())
            simulator.handle(connection, HttpRequest("POST", GRADIO_CALL, body=body))
        assert len(simulator._calls) == module._CALLS_LIMIT
        assert responses[-1]["event_id"] in simulator._calls
        monkeypatch.setattr(module, "_CALLS_BYTES", 100)
        simulator.handle(connection, HttpRequest("POST", GRADIO_CALL, body=body))
        assert sum(len(call.body) for call in simulator._calls.values()) <= 100
        simulator.close()

    asyncio.run(scenario())


def test_an_open_request_keeps_no_ended_ones_in_memory():
    truth = Truth(10)
    truth.begin(Record("open", "/v1/completions", 1))
    for number in range(100):
        truth.end(truth.begin(Record(str(number), "/v1/completions", 2)), COMPLETED, 3)

    assert len(list(truth.lines())) == 11
    assert truth.summary()["outcomes"] == {COMPLETED: 100, "open": 1}


def test_a_queue_without_a_set_limit_is_bounded():
    engine = Engine(Settings(slots=1))
    refusals = [engine.submit(Sequence(1, 1), 0.0) for _ in range(MAX_WAITING + 2)]
    assert refusals[-2:] == [None, "queue_full"]
