"""The native reader as Python sees it, on pairs of sockets."""

import errno
import fcntl
import os
import select
import socket
import termios
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from geventhttpclient._parser import HTTPParseError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmlocust.plugin.http.response import _Response
from llmlocust.stream.timeline import Timeline
from llmlocust.wire import CLOSED, FRAMED, WAKE_FRAMED, WHOLE, Reader

pytestmark = pytest.mark.skipif(
    Reader is None, reason="the native reader is not built: it needs Linux and a C compiler"
)

PATIENCE = 60.0
REQUEST = b"GET / HTTP/1.1\r\n\r\n"
ENDED = WHOLE | CLOSED


@contextmanager
def reading(most: int = 1 << 28) -> Iterator[Reader]:
    reader = Reader(most)
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def connected(reader: Reader) -> Iterator[tuple[int, socket.socket]]:
    """A connection of the reader, and the server's end."""
    ours, servers = socket.socketpair()
    ours.setblocking(False)
    with ours, servers:
        number = reader.add(ours.fileno(), False)
        yield number, servers
        reader.remove(number)


def wait_for(reader: Reader, number: int) -> None:
    """Wait until a connection wakes Python."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        select.select([reader.wakeup()], [], [], PATIENCE)
        if number in reader.ready():
            return
    raise AssertionError("the reader did not wake Python")


# ── framing: the same as a complete parser of HTTP ──

NAMES = st.sampled_from([b"X-A", b"content-type", b"Server"])
VALUES = st.sampled_from([b"", b"a", b"chunked", b"5", b" x  "])
FRAMINGS = st.sampled_from(
    [
        b"Content-Length: %d",
        b"content-length:%d ",
        b"CONTENT-LENGTH: 0%d",
        b"Transfer-Encoding: chunked",
        b"transfer-encoding:  Chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Content-Length: %d\r\nTransfer-Encoding: chunked",
        b"Content-Length: %d\r\nContent-Length: %d",
        b"Content-Length: -1",
        b"Content-Length: 5, 5",
        b"Content-Length: 99999999999999999999",
        b"Content-Encoding: gzip",
        b"Connection: close",
    ]
)
STATUSES = st.sampled_from([b"200 OK", b"200", b"204 No", b"304 Not", b"404 Not Found", b"500 ", b"101 Up", b"99 Low"])
SIZES = st.sampled_from([b"%x", b"%X", b"0%x", b"%x ;a=b", b"%x;a", b"%x\t", b"+%x", b"%xg", b""])
TRAILERS = st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: d\r\n", b"\r\n"])


@st.composite
def chunks(draw, body: bytes) -> bytes:
    parts = []
    while body:
        size = draw(st.integers(1, len(body)))
        line = draw(st.one_of(st.just(b"%x"), SIZES))
        line = line % size if b"%" in line else line
        parts.append(line + b"\r\n" + body[:size] + draw(st.sampled_from([b"\r\n"] * 9 + [b"\n", b""])))
        body = body[size:]
    return b"".join(parts) + draw(st.sampled_from([b"0", b"00", b"0;x"])) + b"\r\n" + draw(TRAILERS) + b"\r\n"


@st.composite
def responses(draw) -> bytes:
    body = draw(st.binary(max_size=60))
    fields = draw(st.lists(st.tuples(NAMES, VALUES).map(b": ".join), max_size=3))
    framing = draw(FRAMINGS)
    fields.insert(draw(st.integers(0, len(fields))), framing.replace(b"%d", b"%d" % len(body)))
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"]))
    head = b"HTTP/1.1 " + draw(STATUSES) + b"\r\n" + b"\r\n".join(fields) + b"\r\n\r\n"
    wire = interim + head + (draw(chunks(body)) if b"hunked" in framing else body)
    return wire + draw(st.sampled_from([b"", b"", b"", b"HTTP/1.1 200 OK\r\n\r\n"]))


def parsed(wire: bytes) -> tuple[int, bool]:
    """Return the length of the body in these bytes, and whether the response is complete, by llhttp."""
    timeline = Timeline()
    response = _Response(timeline)
    with suppress(HTTPParseError):
        response.feed(wire)
    return len(timeline.body), response.ended


@settings(max_examples=400, deadline=None)
@given(responses(), st.lists(st.integers(0, 300), max_size=6))
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n", list(range(1, 62)))
def test_the_reader_agrees_with_the_parser_wherever_it_knows_the_framing(wire, cuts):
    places = sorted({cut for cut in cuts if 0 < cut < len(wire)} | {len(wire)})
    data, body, flags, is_framed = b"", 0, 0, True
    with reading() as reader, connected(reader) as (number, server):
        reader.begin(number, REQUEST, 0, WAKE_FRAMED)
        for begin, end in zip([0, *places], places, strict=False):
            server.sendall(wire[begin:end])
        server.shutdown(socket.SHUT_WR)
        while is_framed and not flags & ENDED:
            wait_for(reader, number)
            arrived, ends, *_, flags = reader.take(number)
            is_framed = bool(flags & FRAMED)
            data += arrived
            body += ends[-1] if ends else 0
    if is_framed:
        assert (body, bool(flags & WHOLE)) == parsed(data)


def test_each_read_has_the_bytes_of_the_body_that_it_brought():
    parts = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n4\r\nde",
        b"f",
        b"g\r\n",
        b"0\r\n\r\n",
    ]
    with reading() as reader, connected(reader) as (number, server):
        begun = time.perf_counter_ns()
        reader.begin(number, REQUEST, 0, WAKE_FRAMED)
        for part in parts:
            server.sendall(part)
            wait_until_read(server)
        wait_for(reader, number)
        data, ends, times, lags, empties, sent, last, error, flags = reader.take(number)
    assert data == b"".join(parts)
    assert ends == [5, 6, 7]
    assert (error, flags) == (0, WHOLE | FRAMED)
    assert begun < sent <= times[0] < times[1] < times[2] <= last < time.perf_counter_ns()
    assert lags == [0, 0, 0]  # pairs of sockets have no stamps
    assert all(empty <= arrived for empty, arrived in zip(empties, times, strict=True))


def wait_until_read(server: socket.socket) -> None:
    """Wait until the other end of a pair has read all that was sent."""
    unread = array("i", [1])
    deadline = time.monotonic() + PATIENCE
    while unread[0]:
        fcntl.ioctl(server, termios.TIOCOUTQ, unread)
        assert time.monotonic() < deadline


def test_a_request_is_sent_when_it_is_due_and_not_before():
    with reading() as reader, connected(reader) as (number, server):
        due = time.perf_counter_ns() + 30_000_000
        assert reader.begin(number, REQUEST, due, WAKE_FRAMED) == 0
        assert server.recv(100) == REQUEST
        assert time.perf_counter_ns() >= due
        assert reader.take(number)[5] >= due


def test_requests_are_sent_in_the_order_in_which_they_are_due():
    with reading() as reader, connected(reader) as (late, late_server), connected(reader) as (early, early_server):
        due = time.perf_counter_ns() + 50_000_000
        reader.begin(late, REQUEST, due + 1_000_000, WAKE_FRAMED)
        reader.begin(early, REQUEST, due, WAKE_FRAMED)
        early_server.recv(100), late_server.recv(100)
        assert due <= reader.take(early)[5] < reader.take(late)[5]


def test_a_request_that_is_given_up_before_it_is_due_is_not_sent():
    with reading() as reader, connected(reader) as (number, server):
        reader.begin(number, REQUEST, time.perf_counter_ns() + 20_000_000, WAKE_FRAMED)
        reader.end(number)
        reader.begin(number, b"another", time.perf_counter_ns() + 40_000_000, WAKE_FRAMED)
        assert server.recv(100) == b"another"


def test_a_request_larger_than_the_kernel_accepts_is_sent_whole():
    request = os.urandom(3_000_000)
    with reading() as reader, connected(reader) as (number, server):
        reader.begin(number, request, 0, WAKE_FRAMED)
        received = b""
        while len(received) < len(request):
            received += server.recv(1 << 20)
        assert received == request


def test_bytes_without_a_request_keep_the_next_one_from_being_sent():
    with reading() as reader, connected(reader) as (number, server):
        server.sendall(b"early")
        deadline = time.monotonic() + PATIENCE
        while reader.begin(number, REQUEST, 0, WAKE_FRAMED) is not None and time.monotonic() < deadline:
            reader.end(number)
        assert reader.take(number)[0] == b"early"


def test_reading_pauses_when_much_is_unread_and_goes_on():
    body = os.urandom(8_000_000)
    with reading() as reader, connected(reader) as (number, server):
        server.setblocking(False)
        reader.begin(number, REQUEST, 0, WAKE_FRAMED)
        unsent = memoryview(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        received, flags, largest = b"", 0, 0
        while not flags & WHOLE:
            try:
                while unsent:
                    unsent = unsent[server.send(unsent) :]
            except BlockingIOError:
                pass
            wait_for(reader, number)
            data, *_, flags = reader.take(number)
            largest = max(largest, len(data))
            received += data
        assert received.partition(b"\r\n\r\n")[2] == body
        assert largest < 2_000_000


def test_a_limit_of_memory_fails_the_answer_that_passes_it():
    with reading(most=50_000) as reader, connected(reader) as (number, server):
        reader.begin(number, REQUEST, 0, WAKE_FRAMED)
        server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + bytes(150_000))
        wait_for(reader, number)
        data, *_, error, _ = reader.take(number)
    assert error == errno.ENOBUFS
    assert len(data) < 150_000


def test_a_forked_process_gives_the_reader_up():
    reader = Reader(1 << 20)
    child = os.fork()
    if not child:
        reader.abandon()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    with connected(reader) as (number, server):
        reader.begin(number, REQUEST, 0, WAKE_FRAMED)
        assert server.recv(100) == REQUEST
    reader.close()


def test_a_closed_reader_says_so():
    reader = Reader(1 << 20)
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        reader.ready()


@pytest.mark.parametrize("argument", [-1, 1 << 40])
def test_a_descriptor_that_does_not_exist_is_an_error(argument):
    with reading() as reader, pytest.raises((OSError, OverflowError)):
        reader.add(argument, False)
