"""The reader, on sockets: whatever a server sends ends in one classified outcome, in time, and the user goes on."""

import errno
import gc
import gzip
import os
import re
import resource
import select
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import time
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Self

import brotli
import gevent.socket
import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmlocust.plugin.http import connection, loop, reader
from llmlocust.plugin.http import response as http_response
from llmlocust.plugin.http.client import Client, Endpoint
from llmlocust.plugin.http.connection import Connection, Listener, Timeouts
from llmlocust.plugin.http.failures import kind_of
from llmlocust.plugin.http.headers import Headers
from llmlocust.plugin.http.reader import VARIABLE, connection_class
from llmlocust.plugin.startup.probing import Probe
from llmlocust.stream.ask import Ask
from llmlocust.stream.content_encodings import Decoder, Undecodable
from llmlocust.stream.dialects.openai import OpenAIChat
from llmlocust.stream.limits import TooLarge
from llmlocust.stream.reading import Reading, has_token, read
from llmlocust.stream.record import Record
from llmlocust.stream.timeline import Timeline
from tests.plugin.scripted import (
    ANSWER,
    CHUNKED,
    LENGTH,
    STREAM,
    UNTIL_CLOSE,
    ScriptedServer,
    chunked,
    event,
    keeps_open,
    read_begin,
    response,
    scripted_server,
    sends,
    wait_until_read,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHAT = OpenAIChat()
PATIENT = Timeouts(connect=60, first_token=60, stall=60, total=120)


@pytest.fixture(autouse=True, params=["native", "loop"])
def reader_name(request, monkeypatch):
    if request.param == "native" and reader.Reader is None:
        pytest.skip("the native reader is not built: it needs Linux and a C compiler")
    monkeypatch.setenv(VARIABLE, request.param)
    connection_class.cache_clear()
    yield request.param
    connection_class.cache_clear()


def asks(client: Client) -> tuple[Record, Timeline]:
    timeline = Timeline()
    client.post(timeline, "/v1/chat/completions", b"{}", {}, Listener(lambda body: has_token(CHAT, body)))
    return read(timeline, CHAT, name="test"), timeline


def client_of(server: ScriptedServer, timeouts: Timeouts = PATIENT, scheme: str = "http", **more: object) -> Client:
    return Client(Endpoint(f"{scheme}://localhost:{server.port}", **more), timeouts)


def outcome_of(script: object, timeouts: Timeouts = PATIENT) -> Record:
    with scripted_server(script) as server:
        return asks(client_of(server, timeouts))[0]


@pytest.mark.parametrize("whole", [CHUNKED, LENGTH, UNTIL_CLOSE], ids=["chunked", "length", "until close"])
def test_each_framing_is_read_to_its_end(whole):
    record = outcome_of(sends(whole))

    assert (record.outcome, record.text, record.chunks) == ("ok", "word more!", 3)


@pytest.mark.parametrize("whole", [CHUNKED, LENGTH], ids=["chunked", "length"])
def test_a_connection_is_used_again_after_a_complete_answer(whole):
    with scripted_server(keeps_open(whole)) as server:
        client = client_of(server)
        records = [asks(client)[0] for _ in range(3)]

    assert [record.outcome for record in records] == ["ok"] * 3
    assert server.connections == 1
    assert [record.connect is None for record in records] == [False, True, True]


def test_a_connection_is_used_again_after_a_stream_without_done():
    body = event("a") + event("b", '"stop"')
    with scripted_server(keeps_open(response(STREAM + b"Transfer-Encoding: chunked\r\n", chunked(body)))) as server:
        client = client_of(server)
        assert [asks(client)[0].outcome for _ in range(2)] == ["ok", "ok"]

    assert server.connections == 1


def test_a_kept_connection_that_the_server_closed_meanwhile_is_not_used():
    with scripted_server(sends(CHUNKED)) as server:
        client = client_of(server)
        assert [asks(client)[0].outcome for _ in range(3)] == ["ok"] * 3

    assert server.connections == 3


HOSTILE = {
    "endless headers": (b"HTTP/1.1 200 OK\r\n" + b"X-More: of this\r\n" * 10_000, "too_large"),
    "endless line": (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 200_000, "too_large"),
    "endless trailers": (
        response(STREAM + b"Transfer-Encoding: chunked\r\n", b"0\r\n" + b"X-More: of this\r\n" * 10_000),
        "too_large",
    ),
    "endless trailers of an encoded body": (
        response(
            STREAM + b"Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n",
            b"0\r\n" + b"X-More: of this\r\n" * 10_000,
        ),
        "too_large",
    ),
    "many interim answers before two lengths": (
        response(b"", status=b"100 C") * 1500
        + response(STREAM + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", chunked(ANSWER)),
        "ok",
    ),
    "a chunk of an exabyte": (
        response(STREAM + b"Transfer-Encoding: chunked\r\n", b"%x\r\n" % 2**60 + event()),
        "truncated",
    ),
    "encoded three times": (
        response(STREAM + b"Content-Encoding: gzip, gzip, gzip\r\nConnection: close\r\n", ANSWER),
        "bad_stream",
    ),
    "endless chunk extension": (
        response(STREAM + b"Transfer-Encoding: chunked\r\n", b"5;" + b"x" * 200_000),
        "too_large",
    ),
    "endless status line": (b"HTTP/1.1 200 " + b"O" * 200_000, "too_large"),
    "bad chunk size": (response(STREAM + b"Transfer-Encoding: chunked\r\n", b"zz\r\nhello\r\n0\r\n\r\n"), "bad_stream"),
    "negative chunk size": (response(STREAM + b"Transfer-Encoding: chunked\r\n", b"-5\r\nhello\r\n"), "bad_stream"),
    "huge chunk size": (
        response(STREAM + b"Transfer-Encoding: chunked\r\n", b"f" * 20 + b"\r\nhello\r\n"),
        "bad_stream",
    ),
    "negative length": (response(STREAM + b"Content-Length: -1\r\n", ANSWER), "bad_stream"),
    "two lengths": (response(STREAM + b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello"), "bad_stream"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2p1\r\n", "bad_stream"),
    "NULs": (b"\0" * 1000, "bad_stream"),
    "nothing": (b"", "reset"),
    "half a status line": (b"HTTP/1.1 20", "reset"),
    "headers only": (response(STREAM), "truncated"),
    "invalid UTF-8": (response(STREAM + b"Connection: close\r\n", b"data: \xff\xfe\n\n" + ANSWER), "ok"),
    "an encoding that nobody knows": (
        response(STREAM + b"Content-Encoding: compress\r\nConnection: close\r\n", ANSWER),
        "bad_stream",
    ),
    "damaged gzip": (
        response(
            STREAM + b"Content-Encoding: gzip\r\nConnection: close\r\n", gzip.compress(ANSWER * 99)[:300] + b"x" * 99
        ),
        "bad_stream",
    ),
    "an HTML page": (
        response(b"Content-Type: text/html\r\nContent-Length: 20\r\n", b"<h1>Welcome</h1>    "),
        "bad_stream",
    ),
    "a redirect": (response(b"Location: /elsewhere\r\nContent-Length: 0\r\n", status=b"307 Moved"), "bad_stream"),
    "no content": (response(b"", status=b"204 No Content"), "bad_stream"),
    "a switch of protocols": (response(b"Upgrade: h2c\r\nConnection: upgrade\r\n", status=b"101 Go"), "bad_stream"),
    "only interim answers": (response(b"", status=b"100 Continue") * 3, "reset"),
    "an interim answer before": (response(b"", status=b"103 Early Hints") + CHUNKED, "ok"),
    "another answer behind": (CHUNKED + CHUNKED, "ok"),
    "noise behind": (CHUNKED + b"\0noise", "ok"),
    "both framings": (
        response(STREAM + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", chunked(ANSWER)),
        "ok",
    ),
    "both framings, chunks broken": (
        response(STREAM + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"zz\r\n" + ANSWER),
        "bad_stream",
    ),
    "length too long": (response(STREAM + b"Content-Length: 999999\r\n", event()), "truncated"),
    "length too short": (response(STREAM + b"Content-Length: 20\r\n", ANSWER), "truncated"),
    "old HTTP": (response(STREAM, ANSWER, version=b"1.0"), "ok"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_a_server_sends_ends_in_one_outcome_and_the_user_goes_on(name):
    wire, outcome = HOSTILE[name]
    answers = iter([sends(wire), sends(CHUNKED)])
    with scripted_server(lambda sock: next(answers)(sock)) as server:  # noqa: PLW0108  # another answer each time
        client = client_of(server)
        record, timeline = asks(client)
        after = asks(client)[0]

    assert record.outcome == outcome, record
    assert len(timeline.body) < 1 << 20
    assert after.outcome == "ok"
    assert server.connections == 2


def test_a_stream_that_is_read_while_it_comes_has_a_limit_too(monkeypatch):
    monkeypatch.setattr(http_response, "_MAX_BODY_BYTES", 1 << 20)
    with scripted_server(sends(response(STREAM), *[event() * 400] * 100)) as server:
        timeline, reading = Timeline(), Reading(CHAT)
        client_of(server).post(timeline, "/", b"", {}, Listener(take=reading.take))

    record = reading.finish(timeline)
    assert (record.outcome, record.words) == ("too_large", "the answer was longer than 1 MB")
    assert 1 << 20 < record.size < 2 << 20


@pytest.mark.parametrize(
    "value, seconds",
    [
        (b"7", 7.0), (b"0", 0.0), (b"1.5", 1.5), (b" 2 ", 2.0), (b"Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", None), (b"Fri, 31 Dec 99999 23:59:59 GMT", None), (b"Fri, 00 Foo 0 99:99", None),
        (b"\xb2", None), (b"9" * 500, None), (b"-1", None), (b"soon", None), (b"1.2.3", None), (b"", None), (b"1e3", None),
    ],
)  # fmt: skip
def test_retry_after_is_a_number_of_seconds_or_nothing(value, seconds):
    record = outcome_of(sends(response(b"Content-Length: 0\r\nRetry-After: " + value + b"\r\n", status=b"503 Busy")))

    assert (record.outcome, record.retry_after) == ("http_503", seconds)


@pytest.mark.parametrize(
    "headers, seconds",
    [
        ({"Retry-After": +5}, 5.0),
        ({"Retry-After": +5, "Date": 0}, 5.0),
        ({"Retry-After": -3600 + 5, "Date": -3600}, 5.0),  # the server's clock is an hour behind
        ({"Retry-After": -3600}, 0.0),
        ({"Retry-After": 5, "Date": -1e9 * 1.6}, None),
    ],
)
def test_retry_after_as_a_date_is_told_by_the_servers_clock(headers, seconds):
    now = time.time()
    lines = [f"{name}: {formatdate(now + offset, usegmt=True)}\r\n" for name, offset in headers.items()]
    head = b"Content-Length: 0\r\n" + "".join(lines).encode()
    record = outcome_of(sends(response(head, status=b"429 Many")))

    assert record.retry_after == (seconds if seconds is None else pytest.approx(seconds, abs=2.0))


def test_retry_after_in_milliseconds_is_more_exact():
    record = outcome_of(
        sends(response(b"Content-Length: 0\r\nRetry-After: 2\r\nRetry-After-Ms: 1250\r\n", status=b"429 Many"))
    )
    assert record.retry_after == 1.25


BOTH = [
    b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\ncontent-length: 99999\r\n",
    b"Content-Length: 5\r\nX-More: 1\r\ntransfer-encoding: Chunked\r\nContent-Length: 5\r\n",
]


@pytest.mark.parametrize("head", BOTH)
@pytest.mark.parametrize("before", [b"", response(b"", status=b"100 Continue")])
def test_chunks_count_where_a_length_stands_beside_them_however_the_head_is_cut(head, before):
    wire = before + response(STREAM + head, chunked(ANSWER))
    cuts = iter(range(1, len(wire) - len(ANSWER)))
    outcomes = []
    with scripted_server(lambda sock: sends(wire[: (cut := next(cuts))], wire[cut:])(sock)) as server:
        for _ in range(len(wire) - len(ANSWER) - 1):
            record, _ = asks(client_of(server))
            outcomes.append((record.outcome, record.text))
    assert set(outcomes) == {("ok", "word more!")}


# ── encoded bodies ──


def flushed(compressor: object, flush: object, parts: list[bytes]) -> list[bytes]:
    """Each part compressed so that it can be decoded when it has come."""
    return [compressor.compress(part) + flush(compressor) for part in parts]


def deflated(window: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda parts: flushed(
        zlib.compressobj(wbits=window), lambda compressor: compressor.flush(zlib.Z_SYNC_FLUSH), parts
    )


def in_brotli(parts: list[bytes]) -> list[bytes]:
    compressor = brotli.Compressor()
    return [compressor.process(part) + compressor.flush() for part in parts]


def in_zstd(parts: list[bytes]) -> list[bytes]:
    return flushed(zstd.ZstdCompressor(), lambda compressor: compressor.flush(zstd.ZstdCompressor.FLUSH_BLOCK), parts)


ENCODINGS = {
    "gzip": deflated(31),
    "x-gzip": deflated(31),
    "deflate": deflated(15),
    "br": in_brotli,
    "zstd": in_zstd,
}
ENCODED = {
    **{name: (name, encode) for name, encode in ENCODINGS.items()},
    "GZIP": ("GZIP", deflated(31)),
    "deflate without a frame": ("deflate", deflated(-15)),
    "two, one in the other": ("deflate, gzip", lambda parts: deflated(31)(deflated(15)(parts))),
    "a header that was left behind": ("gzip", list),
    "a header that was left behind, br": ("br", list),
    "identity": ("identity", list),
    "several members": ("gzip", lambda parts: [gzip.compress(part) for part in parts]),
    "several frames": ("zstd", lambda parts: [zstd.compress(part) for part in parts]),
}


@pytest.mark.parametrize("name, encode", ENCODED.values(), ids=ENCODED)
@pytest.mark.parametrize("framed", [True, False])
def test_an_encoded_stream_is_decoded_and_each_token_keeps_its_time(name, encode, framed):
    parts = encode([event("a"), event("b"), event("c", '"stop"') + b"data: [DONE]\n\n"])

    def script(sock: socket.socket) -> None:
        head = STREAM + f"Content-Encoding: {name}\r\n".encode()
        sock.sendall(response(head + (b"Transfer-Encoding: chunked\r\n" if framed else b"")))
        for part in parts:
            sock.sendall(b"%x\r\n%b\r\n" % (len(part), part) if framed else part)
            wait_until_read(sock)
        if framed:
            sock.sendall(b"0\r\n\r\n")
        raise OSError("that was all")

    with scripted_server(script) as server:
        timeline = Timeline()
        client_of(server).post(timeline, "/", b"{}", {}, Listener(lambda body: False))
    record = read(timeline, CHAT)

    assert (record.outcome, record.text, record.chunks) == ("ok", "abc", 3)
    assert record.coalesced == 0


@pytest.mark.parametrize("name", ["gzip", "br", "zstd"])
def test_an_encoded_body_has_a_limit_too(name, monkeypatch):
    monkeypatch.setattr(connection, "MAX_DOCUMENT", 1 << 20)
    monkeypatch.setattr(http_response, "MAX_DOCUMENT", 1 << 20)
    body = b"".join(ENCODINGS[name]([b"\n" * 30_000_000]))
    head = f"Content-Encoding: {name}\r\nConnection: close\r\n".encode()
    with scripted_server(sends(response(STREAM + head, body))) as server:
        record, timeline = asks(client_of(server))

    assert (record.outcome, record.words) == ("too_large", "the decoded answer was longer than 1 MB")
    assert len(timeline.body) <= 2 << 20


def test_an_encoded_refusal_has_its_words():
    body = gzip.compress(b'{"error": {"message": "no such model"}}')
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(body)
    record = outcome_of(sends(response(head, body, status=b"404 No")))
    assert record.words == "HTTP 404: no such model"


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
@given(data=st.binary(max_size=3000), cuts=st.lists(st.integers(0, 4000), max_size=6))
def test_bodies_are_decoded_however_they_are_cut(name, data, cuts):
    whole = b"".join(ENCODINGS[name]([data[:100], data[100:]]))
    into = bytearray()
    decoder = Decoder(name, into, 1 << 20)
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    for begin, end in pairwise(edges):
        decoder.take(whole[begin:end])
    assert bytes(into) == data


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
@given(data=st.binary(max_size=300))
def test_bodies_that_are_not_encoded_so_raise_nothing_else(name, data):
    into = bytearray()
    with suppress(Undecodable):
        Decoder(name, into, 1 << 20).take(data)
    assert len(into) <= (1 << 20) + (1 << 20)


@pytest.mark.parametrize("whole", [CHUNKED, LENGTH], ids=["chunked", "length"])
def test_a_connection_closed_at_any_byte_is_truncated_until_the_answer_has_ended(whole):
    seen = []
    cuts = iter(range(len(whole)))
    with scripted_server(lambda sock: sends(whole[: next(cuts)])(sock)) as server:  # noqa: PLW0108  # a cut each time
        client = client_of(server)
        seen = [asks(client)[0].outcome for _ in whole]

    head = whole.index(b"\r\n\r\n") + 4
    finished = whole.index(b'"stop"')
    assert set(seen[:head]) == {"reset"}
    assert set(seen[head : finished + 8]) == {"truncated"}
    assert set(seen[finished + 20 :]) <= {"ok", "truncated"}
    assert seen[-1] == "ok"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.one_of(
        st.binary(max_size=400),
        st.tuples(st.integers(0, len(CHUNKED)), st.binary(max_size=20), st.integers(0, 30)).map(
            lambda edit: CHUNKED[: edit[0]] + edit[1] + CHUNKED[edit[0] + edit[2] :]
        ),
    )
)
def test_noise_ends_in_an_outcome(wire):
    record = outcome_of(sends(wire))

    assert record.outcome in ("ok", "bad_stream", "truncated", "reset", "http_4xx", "http_5xx", "error_event")


def test_a_reset_is_a_reset():
    def resets(sock: socket.socket) -> None:
        sock.sendall(CHUNKED[:300])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise OSError

    assert outcome_of(resets).outcome == "reset"


@pytest.mark.parametrize(
    "before, limits, outcome",
    [
        (b"", Timeouts(first_token=0.2), "timeout_first_token"),
        (response(STREAM + b"Transfer-Encoding: chunked\r\n"), Timeouts(first_token=0.2), "timeout_first_token"),
        (
            response(STREAM + b"Transfer-Encoding: chunked\r\n", b"7\r\n: ping\n\r\n"),
            Timeouts(first_token=0.2, stall=9),
            "timeout_first_token",
        ),
        (CHUNKED[:250], Timeouts(stall=0.2), "timeout_stall"),
        (CHUNKED[:250], Timeouts(total=0.2), "timeout_total"),
    ],
    ids=["no headers", "no body", "only comments", "stall", "total"],
)
def test_each_time_out_has_its_own_kind(before, limits, outcome):
    over = Event()

    def hangs(sock: socket.socket) -> None:
        sock.sendall(before)
        over.wait(60)

    with scripted_server(hangs) as server:
        record = asks(client_of(server, limits))[0]
        over.set()

    assert record.outcome == outcome
    assert 0.2 <= record.duration < 30  # long before the server gives up


MUCH = b"x" * (16 << 20)
"""A request's body that no socket's buffers hold."""
REFUSALS = {
    "413": (response(b"Content-Length: 9\r\n", b"too large", status=b"413 Too Large"), "http_4xx", "HTTP 413: too large"),
    "401": (response(b"Connection: close\r\nContent-Length: 2\r\n", b"no", status=b"401 No"), "http_4xx", "HTTP 401: no"),
    "503": (response(b"Content-Length: 0\r\nRetry-After: 7\r\n", status=b"503 Busy"), "http_503", "HTTP 503: an empty body"),
    "an answer": (CHUNKED, "ok", ""),
}  # fmt: skip


def posts(client: Client, body: bytes) -> Record:
    timeline = Timeline()
    client.post(timeline, "/", body, {}, Listener(lambda body: has_token(CHAT, body)))
    return read(timeline, CHAT)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "limits, streams, outcome",
    [
        (Timeouts(first_token=0.2), True, "timeout_first_token"),
        (Timeouts(total=0.2), True, "timeout_total"),
        (Timeouts(first_token=0.1, total=0.2), False, "timeout_total"),
    ],
    ids=["first token", "total", "in one piece"],
)
def test_time_outs_count_while_a_server_does_not_read(authority, server_context, scheme, limits, streams, outcome):
    over = Event()

    def hangs(sock: socket.socket) -> None:
        over.wait(60)
        raise OSError

    context = server_context if scheme == "https" else None
    with scripted_server(hangs, context=context, reads=read_begin) as server:
        client = client_of(server, limits, scheme=scheme)
        if scheme == "https":
            trusting(client, authority)
        timeline = Timeline()
        client.post(timeline, "/", MUCH, {}, Listener((lambda body: False) if streams else None))
        over.set()

    assert timeline.failure == outcome
    assert (timeline.ended_ns - timeline.sent_ns) / 1e9 < 30


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("closes", [True, False], ids=["closes", "keeps open"])
@pytest.mark.parametrize("name", REFUSALS)
def test_an_answer_before_the_request_was_read_counts_by_its_status(authority, server_context, name, closes, scheme):
    wire, outcome, error = REFUSALS[name]
    over = Event()

    def answers_at_once(sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is not sent when it closes is lost
        sock.sendall(wire)
        if not closes:
            over.wait(60)
        raise OSError

    context = server_context if scheme == "https" else None
    with scripted_server(answers_at_once, context=context, reads=read_begin) as server:
        client = client_of(server, scheme=scheme)
        if scheme == "https":
            trusting(client, authority)
        records = [posts(client, MUCH) for _ in range(2)]
        over.set()

    assert {(record.outcome, record.words) for record in records} == {(outcome, error)}
    assert server.connections == 2  # the rest of the request stands in the way of another


def test_a_server_that_hangs_up_while_it_is_sent_to_is_a_reset():
    def hangs_up(sock: socket.socket) -> None:
        raise OSError

    with scripted_server(hangs_up, reads=read_begin) as server:
        assert posts(client_of(server), MUCH).outcome == "reset"


def test_arrival_times_are_the_kernels_however_late_we_read(reader_name):
    """The interpreter is blocked from the first token until 200 ms after the second was sent."""
    read_first, blocked, sent, began_ended = Event(), Event(), Event(), []

    def two_tokens(sock: socket.socket) -> None:
        sock.sendall(response(STREAM + b"Connection: close\r\n"))
        sock.sendall(event("a"))
        wait_until_read(sock)
        read_first.set()
        assert blocked.wait(60)
        began_ended.append(time.perf_counter_ns())
        sock.sendall(event("b", '"stop"'))
        began_ended.append(time.perf_counter_ns())
        sent.set()
        raise OSError

    def blocks() -> None:
        while not read_first.is_set():
            gevent.sleep(0.001)
        blocked.set()
        assert sent.wait(60)
        time.sleep(0.2)

    with scripted_server(two_tokens) as server:
        timeline = Timeline()
        blocking = gevent.spawn(blocks)
        client_of(server).post(timeline, "/", b"", {}, Listener(lambda body: True))
        blocking.get()

    if timeline.clock != "kernel":
        pytest.skip("this kernel gives no arrival times")
    arrived = next(moment for end, moment in zip(timeline.ends, timeline.times, strict=True) if end > len(event("a")))
    assert began_ended[0] - 5e6 < arrived < began_ended[1] + 5e6  # two clocks agree to so much
    assert reader_name == "native" or max(timeline.lags) > 150e6


@pytest.mark.parametrize("seconds", [3600, -3600, 0.5, -0.5])
@pytest.mark.parametrize("reader_name", ["loop"], indirect=True)  # tests/reader has the native reader's test
def test_a_wall_clock_that_is_set_while_an_answer_comes_moves_no_token(monkeypatch, seconds):
    stamp, wall_minus, ns = loop._STAMP, loop.wall_minus, int(seconds * 1e9)
    heard, began_ended = Event(), []

    class StampOfTheSetClock:
        def unpack(self, data: bytes) -> tuple[int, int]:
            whole, rest = stamp.unpack(data)
            return divmod(whole * 1_000_000_000 + rest + ns, 1_000_000_000)

    def two_tokens(sock: socket.socket) -> None:
        sock.sendall(response(STREAM + b"Connection: close\r\n"))
        sock.sendall(event("a"))
        assert heard.wait(60)
        monkeypatch.setattr(loop, "_STAMP", StampOfTheSetClock())
        monkeypatch.setattr(loop, "wall_minus", lambda: wall_minus() + ns)
        began_ended.append(time.perf_counter_ns())
        sock.sendall(event("b", '"stop"'))
        began_ended.append(time.perf_counter_ns())
        raise OSError

    def hears(body: bytes) -> bool:
        heard.set()
        return True

    with scripted_server(two_tokens) as server:
        timeline = Timeline()
        client_of(server).post(timeline, "/", b"", {}, Listener(hears))

    arrived = next(moment for end, moment in zip(timeline.ends, timeline.times, strict=True) if end > len(event("a")))
    assert began_ended[0] - 5e6 < arrived
    if timeline.clock == "kernel":  # else it is when it was read
        assert arrived < began_ended[1] + 5e6


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def server_context(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def trusting(client: Client, authority: trustme.CA) -> Client:
    authority.configure_trust(client.endpoint.context)
    return client


def test_a_stream_over_tls_is_read_with_its_times_and_kept_alive(authority, server_context):
    with scripted_server(keeps_open(CHUNKED), context=server_context) as server:
        client = trusting(client_of(server, scheme="https"), authority)
        (first, timeline), (second, _) = asks(client), asks(client)

    assert (first.outcome, first.text, second.outcome) == ("ok", "word more!", "ok")
    assert first.tls > 0
    assert second.tls is None
    assert server.connections == 1
    assert timeline.clock in ("kernel", "user")


def test_a_large_answer_over_tls_arrives_whole(authority, server_context):
    body = b"".join(event("x" * 1000) for _ in range(500)) + ANSWER
    whole = response(STREAM + b"Content-Length: %d\r\n" % len(body), body)
    with scripted_server(sends(whole), context=server_context) as server:
        record, _ = asks(trusting(client_of(server, scheme="https"), authority))

    assert (record.outcome, record.chunks) == ("ok", 503)


def test_a_large_request_over_tls_arrives_whole(authority, server_context):
    prompt = b"x" * (2 << 20)
    with scripted_server(sends(CHUNKED), context=server_context) as server:
        timeline = Timeline()
        trusting(client_of(server, scheme="https"), authority).post(timeline, "/", prompt, {})

    assert timeline.complete
    assert server.requests[0].endswith(b"\r\n\r\n" + prompt)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
def test_records_that_came_in_one_read_came_together(authority, server_context, version):
    server_context.maximum_version = version
    events = ANSWER.splitlines(keepends=True)

    def corked(sock: ssl.SSLSocket) -> None:
        with one_packet(sock):
            for part in (response(STREAM + b"Content-Length: %d\r\n" % len(ANSWER)), *events):
                sock.sendall(part)  # a record each

    with scripted_server(corked, context=server_context) as server:
        record, timeline = asks(trusting(client_of(server, scheme="https"), authority))

    assert (record.outcome, record.text, record.coalesced) == ("ok", "word more!", 2)
    assert len(timeline.times) == 1


@contextmanager
def one_packet(sock: socket.socket) -> Iterator[None]:
    """What is sent inside leaves together."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    yield
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)


def test_a_record_may_be_cut_anywhere(authority, server_context):
    """Each cut of two records, as if a read had ended there: whatever is whole comes at once, nothing is lost."""
    with secured_pair(authority, server_context) as (connection, encrypt):
        assert connection._decrypted(encrypt(b"tickets before")) == [b"tickets before"]
        cut = 1
        while cut < len(records := encrypt(b"first ") + encrypt(b"second")):
            before, behind = connection._decrypted(records[:cut]), connection._decrypted(records[cut:])
            assert before == ([b"first "] if cut >= len(records) / 2 else []), cut
            assert b"".join(before + behind) == b"first second", cut
            cut += 1
        assert cut > len(b"first second")


@contextmanager
def secured_pair(
    authority: trustme.CA, context: ssl.SSLContext
) -> Iterator[tuple[Connection, Callable[[bytes], bytes]]]:
    """A connection after its handshake, and the server's hand: what it would send for some plain bytes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)

    def serve(listener: socket.socket) -> None:
        sock = listener.accept()[0]
        with sock:
            while True:
                with suppress(ssl.SSLWantReadError):
                    server.do_handshake()
                    return
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))

    def encrypt(plain: bytes) -> bytes:
        server.write(plain)
        return outgoing.read()

    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = Thread(target=serve, args=(listener,))
        serving.start()
        connection = connection_class()(gevent.socket.create_connection(listener.getsockname()))
        connection.handshake(trusted, "localhost")
        serving.join()
    yield connection, encrypt
    connection.close()


@pytest.mark.parametrize("together", [True, False], ids=["with the answer", "behind the answer"])
def test_tls_may_end_an_answer_before_the_connection_does(authority, server_context, together):
    """`unwrap` says that TLS is over, and waits for us to say so too: the connection is still there."""

    def says_it_is_over(sock: ssl.SSLSocket) -> None:
        with one_packet(sock) if together else nullcontext():
            sock.sendall(UNTIL_CLOSE)
            sock.setblocking(False)
            with suppress(ssl.SSLWantReadError):
                sock.unwrap()
        sock.setblocking(True)
        sock.unwrap()

    with scripted_server(says_it_is_over, context=server_context) as server:
        record, _ = asks(trusting(client_of(server, scheme="https"), authority))

    assert (record.outcome, record.chunks) == ("ok", 3)


@pytest.mark.parametrize(
    "wire, outcome",
    [(UNTIL_CLOSE, "ok"), (CHUNKED, "ok"), (CHUNKED[:250], "truncated"), (b"", "reset")],
    ids=["until close", "chunked", "in the middle", "nothing"],
)
def test_a_connection_closed_without_a_word_of_tls_ends_as_its_framing_says(authority, server_context, wire, outcome):
    with scripted_server(sends(wire), context=server_context) as server:
        assert asks(trusting(client_of(server, scheme="https"), authority))[0].outcome == outcome


def says_goodbye(sock: ssl.SSLSocket) -> None:
    """End TLS, then the connection, without waiting for the same from the other side."""
    sock.setblocking(False)
    with suppress(ssl.SSLWantReadError):
        sock.unwrap()
    raise OSError


def test_a_kept_tls_connection_that_the_server_ended_is_not_used(authority, server_context):
    answered, ended = Event(), Event()

    def answers_once(sock: ssl.SSLSocket) -> None:
        sock.sendall(CHUNKED)
        assert answered.wait(60)
        try:
            says_goodbye(sock)
        finally:
            ended.set()

    with scripted_server(answers_once, context=server_context) as server:
        client = trusting(client_of(server, scheme="https"), authority)
        first = asks(client)[0]
        answered.set()
        assert ended.wait(60)
        second = asks(client)[0]

    assert (first.outcome, second.outcome) == ("ok", "ok")
    assert server.connections == 2


def test_a_kept_tls_connection_that_the_server_ends_just_when_it_is_used_is_replaced(authority, server_context):
    scripts = iter([keeps_open(CHUNKED), says_goodbye, keeps_open(CHUNKED)])
    with scripted_server(lambda sock: next(scripts)(sock), context=server_context) as server:  # noqa: PLW0108  # another each time
        client = trusting(client_of(server, scheme="https"), authority)
        outcomes = [asks(client)[0].outcome for _ in range(2)]

    assert outcomes == ["ok", "ok"]
    assert server.connections == 2


@pytest.mark.parametrize(
    "version, command, done",
    [("-tls1_2", b"r", rb"<<< .*Finished"), ("-tls1_3", b"K", rb">>> .*KeyUpdate")],
    ids=["a handshake in TLS 1.2", "new keys in TLS 1.3"],
)
def test_a_server_may_change_the_keys_in_the_middle_of_an_answer(authority, tmp_path, version, command, done):
    """The rest comes when that is done: by a handshake with us, or by telling us. Python's own servers can do neither."""
    if not shutil.which("openssl"):
        pytest.skip("this machine has no openssl command")
    pem = tmp_path / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
    begin, end = LENGTH[:250], LENGTH[250:]
    with OpenSSLServer(pem, version) as server:

        def answers() -> None:
            for _ in range(2):
                server.shows(rb"\r\n\r\n{}")
                server.types(begin)
                server.shows(rb">>> .*RecordHeader")
                server.types(command + b"\n")
                server.shows(done)
                server.types(end)

        Thread(target=answers, daemon=True).start()
        client = trusting(Client(Endpoint(f"https://localhost:{server.port}"), PATIENT), authority)
        records = [asks(client)[0] for _ in range(2)]

    assert [(record.outcome, record.chunks) for record in records] == [("ok", 3)] * 2
    assert [record.connect is None for record in records] == [False, True]


class OpenSSLServer:
    """`openssl s_server`: it sends what is typed, obeys where that begins with one of its letters, and shows the rest."""

    def __init__(self, pem: Path, version: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        command = ["openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-cert", pem, version, "-msg"]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def __enter__(self) -> Self:
        self.shows(b"ACCEPT")
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.communicate()

    def shows(self, pattern: bytes) -> None:
        """Return when it has."""
        shown = b""
        while not re.search(pattern, shown):
            part = os.read(self.child.stdout.fileno(), 65536)
            assert part, "the server is gone"
            shown += part

    def types(self, text: bytes) -> None:
        self.child.stdin.write(text)


def test_a_certificate_is_verified_unless_told_not_to(server_context):
    with scripted_server(sends(CHUNKED), context=server_context) as server:
        refused = asks(client_of(server, scheme="https"))[0]
        taken = asks(client_of(server, scheme="https", verify=False))[0]

    assert refused.outcome == "tls"
    assert "CERTIFICATE_VERIFY_FAILED" in refused.error
    assert taken.outcome == "ok"


def test_plain_http_where_tls_is_expected_is_no_tls_session():
    def answers() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            sock.recv(65536)  # until the client gives up

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=answers, daemon=True).start()
        record = asks(Client(Endpoint(f"https://127.0.0.1:{listener.getsockname()[1]}"), PATIENT))[0]

    assert record.outcome == "tls"
    assert "WRONG_VERSION" in record.error or "RECORD_LAYER" in record.error


def test_a_server_that_does_not_answer_a_tls_hello_is_no_connection():
    with scripted_server(sends(CHUNKED)) as server:
        assert asks(client_of(server, Timeouts(connect=1), scheme="https"))[0].outcome == "connect"


def test_connections_beyond_descriptor_1024_are_kept():
    filler = [socket.socket() for _ in range(1100)]
    try:
        with scripted_server(keeps_open(CHUNKED)) as server:
            client = client_of(server)
            assert [asks(client)[0].outcome for _ in range(3)] == ["ok"] * 3
        assert server.connections == 1
    finally:
        for sock in filler:
            sock.close()


def test_ipv6_addresses_are_reached():
    try:
        context = scripted_server(sends(CHUNKED), family=socket.AF_INET6)
        with context as server:
            record = asks(Client(Endpoint(f"http://[::1]:{server.port}"), PATIENT))[0]
    except OSError:
        pytest.skip("this machine has no IPv6")

    assert record.outcome == "ok"
    assert f"Host: [::1]:{server.port}".encode() in server.requests[0]


@pytest.mark.parametrize(
    "url, path",
    [
        ("http://h", "/v1/chat/completions"),
        ("http://h/", "/v1/chat/completions"),
        ("http://h/v1", "/v1/chat/completions"),
        ("http://h/v1/", "/v1/chat/completions"),
        ("http://h/some/prefix", "/some/prefix/v1/chat/completions"),
        ("http://h/some/prefix/v1", "/some/prefix/v1/chat/completions"),
        ("h:8000", "/v1/chat/completions"),
    ],
)
def test_paths_stand_below_the_host(url, path):
    assert Endpoint(url).path("/v1/chat/completions") == path


def test_a_user_and_password_in_the_url_are_sent():
    with scripted_server(sends(CHUNKED)) as server:
        asks(Client(Endpoint(f"http://me:secret@localhost:{server.port}"), PATIENT))

    assert b"Authorization: Basic bWU6c2VjcmV0\r\n" in server.requests[0]


def test_a_proxy_is_used_unless_the_host_is_excepted(monkeypatch):
    with scripted_server(sends(CHUNKED)) as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@localhost:{server.port}")
        monkeypatch.setenv("http_proxy", f"http://me:secret@localhost:{server.port}")
        monkeypatch.setenv("no_proxy", "excepted.example")
        through = asks(Client(Endpoint("http://server.example:8000"), PATIENT))[0]
        past = Endpoint("http://excepted.example:8000")

    assert through.outcome == "ok"
    assert server.requests[0].startswith(b"POST http://server.example:8000/v1/chat/completions HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in server.requests[0]
    assert past.proxy is None


def test_tls_goes_through_a_proxys_tunnel(monkeypatch, authority, server_context):
    with scripted_server(sends(CHUNKED), context=server_context) as server:

        def tunnel(sock: socket.socket) -> None:
            """One connection, both ways, by hand."""
            with socket.create_connection(("127.0.0.1", server.port)) as behind:
                sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                sides = {sock: behind, behind: sock}
                while True:
                    for side in select.select(list(sides), [], [], 60)[0]:
                        data = side.recv(65536)
                        if not data:
                            raise OSError
                        sides[side].sendall(data)

        with scripted_server(tunnel) as proxy:
            monkeypatch.setenv("https_proxy", f"http://localhost:{proxy.port}")
            record = asks(trusting(Client(Endpoint(f"https://localhost:{server.port}"), PATIENT), authority))[0]

    assert record.outcome == "ok"
    assert proxy.requests[0].startswith(f"CONNECT localhost:{server.port} HTTP/1.1\r\n".encode())


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(b"407 Who are you", "proxy"), (b"403 Not there", "proxy"), (b"503 No server", "connect")],
)
def test_a_refusal_of_the_proxy_is_its_own_unless_it_reached_no_server(monkeypatch, status, outcome):
    with scripted_server(sends(response(b"Content-Length: 0\r\n", status=status))) as proxy:
        monkeypatch.setenv("https_proxy", f"http://localhost:{proxy.port}")
        record = asks(Client(Endpoint("https://server.example"), PATIENT))[0]

    assert (record.outcome, record.error) == (outcome, f"the proxy answered '… … {status.decode()[4:]}'")


# ── whose failure it is ──


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_server_that_refuses_a_connection_fails_by_itself():
    assert asks(Client(Endpoint(f"http://127.0.0.1:{unused_port()}"), PATIENT))[0].outcome == "connect"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_down_is_not_the_server(monkeypatch, scheme):
    monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{unused_port()}")
    assert asks(Client(Endpoint(f"{scheme}://server.example"), PATIENT))[0].outcome == "proxy"


def test_a_process_without_a_file_descriptor_left_blames_itself():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with scripted_server(sends(CHUNKED)) as server:
        client = client_of(server)
        client.endpoint.host = "127.0.0.1"  # a name would need files, too
        asks(client)  # whatever gevent opens for the first time
        client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # those that are open stay so
        try:
            record = asks(client)[0]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert (record.outcome, record.error) == ("client_limit", "Too many open files (EMFILE)")


OURS = [
    (OSError(errno.EADDRNOTAVAIL, "no port"), "client_limit"),
    (OSError(errno.ENFILE, "no file"), "client_limit"),
    (OSError(errno.ENOBUFS, "no buffer"), "client_limit"),
    (OSError(errno.ENOMEM, "no memory"), "client_limit"),
    (socket.gaierror(socket.EAI_MEMORY, "no memory"), "client_limit"),
    (OSError(errno.ENETUNREACH, "no route"), "network"),
    (OSError(errno.EHOSTUNREACH, "no route"), "network"),
    (OSError(errno.ENETDOWN, "no network"), "network"),
    (PermissionError(errno.EPERM, "firewall"), "network"),
    (socket.gaierror(socket.EAI_NONAME, "no name"), "name_lookup"),
    (socket.gaierror(socket.EAI_AGAIN, "no DNS"), "name_lookup"),
    (UnicodeError("label too long"), "name_lookup"),
    (ssl.SSLCertVerificationError(1, "expired"), "tls"),
    (ssl.SSLError(1, "wrong version"), "tls"),
]
THEIRS = [
    ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
    ConnectionResetError(errno.ECONNRESET, "reset"),
    TimeoutError("no connection within 10 s"),
    TimeoutError(errno.ETIMEDOUT, "timed out"),
    ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
]


def outcome_where_connecting_raises(monkeypatch: pytest.MonkeyPatch, problem: Exception) -> str:
    def fails(address: object) -> None:
        raise problem

    monkeypatch.setattr(gevent.socket, "create_connection", fails)
    return asks(Client(Endpoint("http://127.0.0.1:1"), PATIENT))[0].outcome


@pytest.mark.parametrize(("problem", "outcome"), OURS, ids=lambda value: getattr(value, "strerror", str(value)))
def test_what_the_load_generator_or_the_way_lacks_is_no_failure_of_the_server(monkeypatch, problem, outcome):
    assert outcome_where_connecting_raises(monkeypatch, problem) == outcome


@pytest.mark.parametrize("problem", THEIRS, ids=str)
def test_what_the_server_does_to_a_connection_stays_its_failure(monkeypatch, problem):
    assert outcome_where_connecting_raises(monkeypatch, problem) == "connect"
    assert kind_of(problem, otherwise="reset") == "reset"


@pytest.mark.parametrize("problem", [problem for problem, outcome in OURS if outcome in ("network", "name_lookup")])
def test_what_is_wrong_on_the_way_to_a_proxy_is_the_proxys(problem):
    assert kind_of(problem, proxied=True) == "proxy"


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM])
def test_memory_that_lacks_while_sending_is_no_reset_of_the_server(monkeypatch, number):
    with scripted_server(keeps_open(CHUNKED)) as server:
        client = client_of(server)
        asks(client)

        def fails(self: Connection, wire: bytes) -> bool:
            raise OSError(number, "none left")

        monkeypatch.setattr(connection_class(), "_exchange", fails)
        assert asks(client)[0].outcome == "client_limit"


def test_a_server_that_wants_a_certificate_after_the_handshake_is_about_tls():
    alert = ssl.SSLError(1, "certificate required")
    alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    assert kind_of(alert, otherwise="reset") == "tls"
    alert.reason = "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
    assert kind_of(alert, otherwise="reset") == "reset"


# ── memory ──


def test_a_server_that_sends_faster_than_it_is_read_is_held_back():
    """All in whole events: nothing of it is too large."""
    many, unread = 400, []
    body = event("x" * 100_000) * many + ANSWER
    whole = response(STREAM + b"Content-Length: %d\r\n" % len(body), body)
    with scripted_server(sends(whole)) as server:
        timeline, reading = Timeline(), Reading(CHAT)

        def takes(timeline: Timeline) -> bool:
            unread.append(len(timeline.body))
            return reading.take(timeline)

        client_of(server).post(timeline, "/", b"", {}, Listener(take=takes))

    record = reading.finish(timeline)
    assert (record.outcome, record.chunks) == ("ok", many + 3)
    assert max(unread) < 3 << 20


def test_a_stream_without_a_pause_meets_its_time_out_all_the_same():
    def goes_on(sock: socket.socket) -> None:
        sock.sendall(response(STREAM))
        while True:
            sock.sendall(event() * 400)

    with scripted_server(goes_on) as server:
        timeline, reading = Timeline(), Reading(CHAT)
        client_of(server, Timeouts(total=0.3)).post(timeline, "/", b"", {}, Listener(take=reading.take))

    assert reading.finish(timeline).outcome == "timeout_total"


def test_all_answers_of_a_process_have_a_limit_together(monkeypatch):
    monkeypatch.setattr(http_response, "MAX_KEPT", 5 << 20)
    document = b'{"choices": [{"message": {"content": "' + b"x" * (3 << 20) + b'"}}]}'
    whole = response(b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(document), document)
    with scripted_server(keeps_open(whole)) as server:
        clients = [client_of(server) for _ in range(3)]
        first, kept = asks(clients[0])
        second, also_kept = asks(clients[1])
        del kept, also_kept
        third, _ = asks(clients[2])

    assert (first.outcome, third.outcome) == ("ok", "ok")
    assert second.outcome == "client_limit"
    assert second.words.startswith("the answers that this process reads at a time took more than 5 MB: use more proc")


_GZIPPED = gzip.compress(ANSWER)
LET_GO = {
    "whole": (keeps_open(CHUNKED), "ok"),
    "encoded": (
        keeps_open(response(STREAM + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(_GZIPPED), _GZIPPED)),
        "ok",
    ),
    "cut off": (sends(CHUNKED[: len(CHUNKED) // 2]), "truncated"),
    "encoded and cut off": (
        sends(response(STREAM + b"Content-Encoding: gzip\r\nContent-Length: 999\r\n", _GZIPPED[:30])),
        "truncated",
    ),
    "too large": (keeps_open(response(b"X: y\r\n" * 20_000)), "too_large"),
    "late": (keeps_open(CHUNKED[: len(CHUNKED) // 2]), "timeout_stall"),
}


@pytest.mark.parametrize(("script", "outcome"), LET_GO.values(), ids=LET_GO)
def test_nothing_of_an_answer_is_kept_when_it_is_over(script, outcome):
    """Without the collector of garbage, which a run has look rarely."""
    gc.disable()
    try:
        with scripted_server(script) as server:
            client = client_of(server, replace(PATIENT, stall=0.2))
            record, timeline = asks(client)
            gone = weakref.ref(timeline)
            del timeline
            assert gone() is None
    finally:
        gc.enable()
    assert record.outcome == outcome


BOMBS = {
    "gzip": ("gzip", lambda: gzip.compress(bytes(64 << 20))),
    "gzip in gzip": ("gzip, gzip", lambda: gzip.compress(gzip.compress(bytes(64 << 20)))),
    "empty members in gzip": ("gzip, gzip", lambda: gzip.compress(gzip.compress(b"") * 200_000)),
    "br": ("br", lambda: b"".join(in_brotli([bytes(64 << 20)]))),
    "zstd": ("zstd", lambda: zstd.compress(bytes(64 << 20))),
}
"""By name the encoding, and what makes the body: at import, every process of the tests would make all of them."""


@pytest.mark.parametrize("encoding, make_body", BOMBS.values(), ids=BOMBS)
def test_a_body_that_grows_when_it_is_decoded_has_a_limit(encoding, make_body):
    into = bytearray()
    with pytest.raises(TooLarge, match=r"the decoded answer was longer than 1 MB|too many parts"):
        Decoder(encoding, into, 1 << 20).take(make_body())
    assert len(into) < 2 << 20


# ── what is sent ──

SPLIT = "x HTTP/1.1\r\nHost: evil\r\n\r\nGET /stolen"


class Splitting(OpenAIChat):
    """A dialect of a user's own that takes its path, or that of its events, from elsewhere."""

    def __init__(self, path: str, events: str | None = None) -> None:
        self.path, self.events = path, events

    def events_path(self, ask: Ask, body: bytes | bytearray) -> str | None:
        return self.events


def requests_of(server: ScriptedServer) -> list[bytes]:
    """The first lines of all that came, and those that were smuggled into it."""
    return [line for request in server.requests for line in request.split(b"\r\n") if line.endswith(b" HTTP/1.1")]


@pytest.mark.parametrize("bad", [SPLIT, "/a b", "/a\tb", "/\x00", "/\x7f", "/\xfc", "/密", "no-slash?\r\n", ""])
@pytest.mark.parametrize("below_target", [False, True], ids=["as given", "below a found target"])
def test_a_path_from_anywhere_makes_one_request_and_no_other(bad, below_target):
    with scripted_server(keeps_open(CHUNKED)) as server:
        endpoint = Endpoint(
            f"http://localhost:{server.port}", known_targets={"/call": "/v9/call?a=b"} if below_target else {}
        )
        client, timeline = Client(endpoint, PATIENT), Timeline()
        path = f"/call/{bad}" if below_target else bad
        client.ask(timeline, Splitting("/call", path), Ask(prompt="hello"), b"{}", {})
        assert timeline.failure == ""
        client.get(timeline, bad, {})

    sent = requests_of(server)
    assert len(sent) == 2
    assert all(re.fullmatch(rb"(POST|GET) /[!-~]* HTTP/1.1", line) for line in sent)
    assert b"Host: evil" not in b"".join(server.requests).split(b"\r\n")
    assert timeline.failure == "not_sent"
    assert re.fullmatch(
        r"the path '[^\r\n]*' contains characters that are not allowed in URLs, or does not begin with /",
        timeline.detail,
    )


@pytest.mark.parametrize(
    "headers, words",
    [
        (
            {"X-A": "1\r\nX-B: SECRET"},
            "the value of the header X-A contains characters that are not allowed in headers",
        ),
        ({"X-A": "1\nX-B: SECRET"}, "the value of the header X-A contains characters that are not allowed in headers"),
        ({"X-A": "SECRET\x00"}, "the value of the header X-A contains characters that are not allowed in headers"),
        ({"X-A": "SECRET\u5bc6"}, "the value of the header X-A contains characters that are not allowed in headers"),
        ({"X-A: 1\r\nX-B": "SECRET"}, "'X-A: 1\\r\\nX-B' is not a valid header name"),
        ({"": "SECRET"}, "'' is not a valid header name"),
        ({"\xfc": "SECRET"}, "'\xfc' is not a valid header name"),
    ],
)
def test_a_header_from_anywhere_is_one_header_or_nothing_is_sent(headers, words):
    with scripted_server(keeps_open(CHUNKED)) as server:
        client, timeline = client_of(server), Timeline()
        client.post(timeline, "/", b"{}", headers)
        record = read(timeline, CHAT)
        after = asks(client)[0]

    assert (record.outcome, record.words) == ("not_sent", words)
    assert after.outcome == "ok"
    assert len(server.requests) == 1
    assert timeline.sent_ns == 0


@pytest.mark.parametrize(
    "location",
    [b"/a b", b"/\xc3\xbc", b"/a\x01b", b"//evil:1/x", b"http://[", b"/x?key=SECRET", b"http://u:SECRET@h/x"],
)
def test_where_a_server_redirects_to_is_asked_as_it_may_be(location):
    redirect = response(b"Content-Length: 0\r\nLocation: " + location + b"\r\n", status=b"307 Moved")
    answers = iter([redirect, CHUNKED])
    with scripted_server(lambda sock: keeps_open(next(answers))(sock)) as server:  # noqa: PLW0108  # another each time
        probe = Probe(Endpoint(f"http://localhost:{server.port}"), CHAT, Headers())
        attempt = probe.at("/v1/chat/completions", Ask(prompt="hello", model="m"))

    sent = requests_of(server)
    assert all(re.fullmatch(rb"POST /[!-~]* HTTP/1.1", line) for line in sent)
    assert "SECRET" not in attempt.location + attempt.words
    assert attempt.record.ok == (len(sent) == 2)
