"""Thousands of hostile answers: each must end in one classified outcome, after which the user can continue.

    python -m tests.fuzz --seconds 60 --seed 1

The golden streams, and answers that this module generates, are damaged in their structure and in their bytes, cut into
reads at random places, and sent over loopback to the real Client. Number n of a seed is always the same input, and the
message of a finding has the options that repeat it (`--seed 1 --first n --count 1`).
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import resource
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import brotli
import gevent
import msgspec
from gevent import socket
from gevent.event import Event

from llmlocust.metrics.ledger import Ledger
from llmlocust.metrics.vocabulary import ERROR_KINDS
from llmlocust.plugin.http import connection
from llmlocust.plugin.http import response as responses
from llmlocust.plugin.http.client import Client, Endpoint
from llmlocust.plugin.http.connection import Listener, Timeouts
from llmlocust.stream.ask import Ask
from llmlocust.stream.dialects import DIALECTS, Dialect
from llmlocust.stream.reading import Reading, has_token
from llmlocust.stream.record import Record
from llmlocust.stream.timeline import Timeline
from tests.plugin.scripted import ANSWER, CHUNKED, LENGTH, STREAM, UNTIL_CLOSE, chunked, read_request, response

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ALL_DIALECTS = [dialect() for dialect in DIALECTS]
CHAT = ALL_DIALECTS[0]
GOLDEN = [path.read_bytes() for path in sorted((Path(__file__).parent / "stream" / "golden").iterdir())]
PATIENT = Timeouts(connect=20, first_token=20, stall=20, total=20)
HASTY = Timeouts(connect=20, first_token=0.05, stall=0.05, total=0.2)
"""Time-outs for a server that stops sending and does not close the connection."""

MAX_BODY = 1 << 20
"""Limit of the body in bytes; low, so that endless answers end soon."""
AT_ONCE = (1 << 20) + (1 << 17)
"""Bytes that the native reader passes on at a time, at most."""
ENDLESS = 8 * MAX_BODY
MAX_CPU = 5.0
"""Maximum seconds of process time for one input; the slowest known inputs take a tenth of it."""
MAX_GROWTH = 300 << 20
"""Maximum growth of the process in bytes."""


# ── answers ──

WIRES = [CHUNKED, LENGTH, UNTIL_CLOSE]
HEADERS = [
    *(b"Retry-After: " + value for value in (b"1", b"9" * 500, b"-1", b"\xb2", b"1e9", b"", b"Fri, 31 Dec 1999 23:59:59 GMT")),
    *(b"Content-Length: " + value for value in (b"0", b"5", b"-1", b"9" * 30, b"18446744073709551615", b"0x10", b"5, 5", b"\xb2")),
    *(b"Transfer-Encoding: " + value for value in (b"chunked", b"gzip", b"gzip, chunked", b"chunked, gzip", b"identity", b"CHUNKED")),
    *(b"Content-Type: " + value for value in (b"text/html", b"application/json", b"text/event-stream", b"\xff\0", b"x" * 9000)),
    b"Content-Encoding: gzip", b"Connection: close", b"Connection: upgrade", b"Upgrade: h2c", b"Connection: keep-alive",
    b"Location: /\xff\xfe" + b"a" * 5000, b"X-Folded: a\r\n b", b" leading: space", b": no name", b"no colon", b"X-Nul: \0",
    b"X-Bare: a\rb", b"X-More: \r\n" * 300, b"X-Long: " + b"y" * 70_000,
]  # fmt: skip
ENCODINGS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
    b"zstd": zstd.compress,
    b"deflate, gzip": lambda body: gzip.compress(zlib.compress(body)),
}
STATUSES = [b"200 OK", b"201 Created", b"202 Soon", b"200", b"200 \xff", b"000 None", b"99 Low", b"999 High", b"204 No", b"206 Part", b"304 Not", b"307 Moved",
            b"400 Bad", b"401 Who", b"404 Not", b"413 Large", b"429 Many", b"500 Oh", b"503 Busy", b"504 Late", b"-200 OK", b"2000 OK"]  # fmt: skip
INTERIM = [response(b"", status=b"100 Continue"), response(b"Link: </>\r\n", status=b"103 Early"), response(b"Upgrade: x\r\n", status=b"101 Go")]  # fmt: skip
SIZES = [b"zz", b"-5", b"f" * 20, b"0", b"", b"5;x=y", b"5;" + b"e" * 9000, b" 5", b"5 ", b"0x5", b"+5", b"7fffffffffffffff", b"\0"]  # fmt: skip
TAILS = [
    b"",
    b"\r\n",
    b"\0noise",
    b"0\r\n\r\n",
    CHUNKED,
    LENGTH,
    b"HTTP/1.1",
    b"X-Trailer: a\r\n\r\n",
    b"0\r\nX-Trailer: a\r\n\r\n",
]
PAGES = [b"", b"<h1>Welcome</h1>", b"<head" * 500, b"<" * 3000, b"\0" * 500, b"\xff\xfe\xfa", b"null", b"[]", b"{}", b'"text"', b'{"error": {"mess',
         b"[" * 100_000, b'{"a":' * 50_000, b"data: " * 9000, b"data:\n" * 9000, b":\n" * 9000, b"\r" * 900, b"\xef\xbb\xbf" + ANSWER]  # fmt: skip
NODES = [
    b"null", b"true", b"0", b"-1", b"1.5", b"9" * 25, b"9" * 5000, b"1e999", b"-1e999", b"1E-999", b"NaN", b'""', b'"x"', b'"' + b"x" * 70_000 + b'"',
    rb'"\ud800"', rb'"\ud800x"', rb'"\udc00\ud800"', rb'"\u0000"', b'"\0"', b'"\xff"', b'"\n"', rb'"\x"', b'"unended', b"[]", b"{}", b"[[]]", b'[{"text": 5}]',
    b'[{"text": ' + b"[" * 930 + b"]" * 930 + b"}]", b"[" * 5000 + b"]" * 5000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b'{"message": {"message": 1}}',
    b'"out of memory"', b'"stop"', b'"error"', b'"abort"', b'{"text": "a"}', b"",
]  # fmt: skip

BETWEEN = [
    b'error: {"code": 500, "message": "context shift failed"}\n\n', b'{"error": {"message": "the context is full"}}\n', b"upstream timed out\n",
    b"data: : keepalive\n\n", b"data: ping\n\n", b"data: busy\n\n", b'data: "words"\n\n', b"data: null\n\n", b": ping\n\n", b"meta: 1\n", b"\xff\xfe\n",
    b'data: {"code": 503, "message": "busy"}\n\n', b'data: {"error": {"message": "", "code": 0}}\n\n', b"data: [DONE]\n\n", b"event: error\ndata: gone\n\n",
    b'data: {"choices": [{"delta": [], "finish_reason": "stop"}]}\n\n', b'data: {"choices": [{"delta": {"content": "\\ud83d"}, "x": -Infinity}]}\n\n',
    b'data: {"object": "chat.completion", "choices": [{"message": {"content": "word more!"}}]}\n\n', b'data: {"x": {"usage": {"output_tokens": "7"}}}\n\n',
]  # fmt: skip
"""Texts that servers write between the events of an answer."""
REPLACEMENTS = [
    (b"null", b'"null"'), (b"null", b'"stop"'), (b"\n\n", b"\n"), (b"data: ", b""), (b"\n\n", b"\r\n\r\n"), (b"data: ", b"\xef\xbb\xbfdata: "), (b"data: ", b" data: "),
    (b'"content"', b'"hologram"'), (b'"delta"', b'"message"'), (b'"usage"', b'"x_usage"'),
]  # fmt: skip
"""Pairs of a text in an answer and its replacement, as other servers write it."""


def wire_of(random_: random.Random) -> bytes:
    """Return a whole answer, intact or damaged."""
    wire = random_.choice(WIRES) if random_.random() < 0.2 else _generated(random_)
    if random_.random() < 0.35:
        wire = _bytewise(random_, wire)
    return wire


def _generated(random_: random.Random) -> bytes:
    body = _body(random_)
    if random_.random() < 0.25:
        body = _in_the_field(random_, body)
    content_types = [b"application/json" if body[:1] in b"{[" else b"text/event-stream"] * 6 + [
        b"application/json",
        b"text/plain",
    ]
    headers = [b"Content-Type: " + random_.choice(content_types)]
    if random_.random() < 0.06:
        name = random_.choice(list(ENCODINGS))
        body = ENCODINGS[name](body) if random_.random() < 0.9 else body
        headers.append(b"Content-Encoding: " + name)
    framing = random_.random()
    if framing < 0.5:
        headers.append(b"Transfer-Encoding: chunked")
        body = _chunks(random_, body)
    elif framing < 0.8:
        headers.append(b"Content-Length: %d" % max(0, len(body) + random_.choice((0, 0, 0, 1, -1, 9999))))
    for _ in range(random_.choice((0, 0, 0, 0, 0, 1, 2))):
        headers.insert(random_.randrange(len(headers) + 1), random_.choice(HEADERS))
    status = random_.choice(STATUSES) if random_.random() < 0.2 else b"200 OK"
    version = random_.choice((b"1.0", b"0.9", b"2", b"11.1")) if random_.random() < 0.1 else b"1.1"
    before = random_.choice(INTERIM) * random_.randint(1, 3) if random_.random() < 0.1 else b""
    tail = random_.choice(TAILS) if random_.random() < 0.2 else b""
    return before + response(b"\r\n".join(headers) + b"\r\n", body, status, version) + tail


def _in_the_field(random_: random.Random, body: bytes) -> bytes:
    """Return an answer with lines between its events, or with replaced texts."""
    if random_.random() < 0.5:
        before, after = random_.choice(REPLACEMENTS)
        body = body.replace(before, after)
    events = body.split(b"\n\n")
    for _ in range(random_.choice((0, 1, 1, 3))):
        events.insert(random_.randrange(len(events) + 1), random_.choice(BETWEEN).removesuffix(b"\n\n"))
    return b"\n\n".join(events)


def _long(random_: random.Random) -> bytes:
    """Return a stream that is parsed in slices while it arrives, with a hostile part or without."""
    begin = random_.choice(ANSWER.split(b"[DONE]")[:1] + [body.partition(b"data: [DONE]")[0] for body in GOLDEN])
    body = begin * (200_000 // len(begin))
    at = random_.randrange(len(body))
    body = body[:at] + random_.choice((b"", b"", b"\r\n", b"\xff", b"\0", b": x\n", *PAGES)) + body[at:] + ANSWER
    return response(STREAM + b"Connection: close\r\n", body)


def _chunks(random_: random.Random, body: bytes) -> bytes:
    wire = chunked(*_pieces(random_, body, random_.randint(1, 12)))
    if random_.random() < 0.15:
        at = wire.find(b"\r\n", random_.randrange(len(wire)))
        wire = wire[: at + 2] + random_.choice(SIZES) + b"\r\n" + wire[at + 2 :]
    return wire


def _body(random_: random.Random) -> bytes:
    if random_.random() < 0.15:
        return random_.choice(PAGES)
    body = random_.choice(GOLDEN)
    if random_.random() < 0.7:
        body = _with_hostile_json(random_, body)
    if random_.random() < 0.2 and body:
        lines = body.splitlines(keepends=True)
        random_.shuffle(lines) if random_.random() < 0.3 else lines.pop(random_.randrange(len(lines)))
        body = b"".join(lines)
    ending = random_.choice((b"\n", b"\n", b"\n", b"\r\n", b"\r"))
    return body if ending == b"\n" else body.replace(b"\n", ending)


def _with_hostile_json(random_: random.Random, body: bytes) -> bytes:
    """Return an answer with one value of one of its documents replaced."""
    streamed = body.startswith((b"data:", b"event:", b"id:", b":"))
    documents = [line for line in body.splitlines() if b"{" in line] if streamed else [body]
    if not documents:
        return body
    line = random_.choice(documents)
    begin = line.index(b"{") if b"{" in line else 0
    try:
        document = json.loads(line[begin:])
    except ValueError:
        return body
    holder, key = random_.choice(list(_places(document)))
    holder[key] = "the hostile one"
    changed = json.dumps(document).encode().replace(b'"the hostile one"', random_.choice(NODES))
    return body.replace(line, line[:begin] + changed)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _bytewise(random_: random.Random, wire: bytes) -> bytes:
    for _ in range(random_.randint(1, 4)):
        at, length = random_.randrange(len(wire) + 1), random_.choice((1, 1, 2, 30))
        part = wire[at : at + length]
        changed = random_.choice(
            (
                b"",
                part * 2,
                random_.randbytes(length),
                b"\0",
                b"\r\n",
                bytes(byte ^ 1 << random_.randrange(8) for byte in part),
            )
        )
        wire = wire[:at] + changed + wire[at + length :]
    return wire[: random_.randrange(len(wire) + 1)] if random_.random() < 0.3 else wire


def _pieces(random_: random.Random, data: bytes, max_pieces: int) -> list[bytes]:
    cuts = sorted(random_.randrange(len(data) + 1) for _ in range(max_pieces - 1))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def _endless() -> dict[str, tuple[bytes, bytes]]:
    """Return, by name, the first part of an endless answer, and the part that repeats."""
    stream = response(STREAM + b"Transfer-Encoding: chunked\r\n")
    plain, refusal = response(STREAM), response(b"Content-Type: text/html\r\n", status=b"500 Oh")
    token = ANSWER[: ANSWER.index(b"\n\n") + 2]
    return {
        "headers": (b"HTTP/1.1 200 OK\r\n", b"X-More: of this\r\n" * 500),
        "a header": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 9000),
        "a status line": (b"HTTP/1.1 200 ", b"O" * 9000),
        "interim answers": (b"", INTERIM[0] * 300),
        "tokens": (plain, token * 80),
        "tokens in chunks": (stream, (b"%x\r\n%s\r\n" % (len(token), token)) * 80),
        "comments": (plain, b": ping\n\n" * 1000),
        "an event's line": (plain + b"data: ", b"x" * 9000),
        "an event's lines": (plain, b"data: x\n" * 1000),
        "empty lines": (plain, b"\n" * 9000),
        "trailers": (stream + b"0\r\n", b"X-More: of this\r\n" * 500),
        "a trailer": (stream + b"0\r\nX-Long: ", b"x" * 9000),
        "an extension": (stream + b"5;", b"x" * 9000),
        "a refusal": (refusal, b"no " * 3000),
        "a page": (response(b"Content-Type: text/html\r\n"), b"<h1>" * 2000),
        "a document": (response(b"Content-Type: application/json\r\n") + b"[", b"[" * 9000),
    }  # fmt: skip


ENDLESS_ANSWERS = _endless()


@dataclass(frozen=True)
class Case:
    """The server's behaviour for one request."""

    pieces: tuple[bytes, ...]
    closes: bool = True
    """Whether the server closes the connection; otherwise it keeps it open and sends nothing more."""
    again: bytes = b""
    """Sent after the pieces, again and again, until ENDLESS bytes are sent or the client closes the connection."""
    name: str = ""
    dialect: Dialect = CHAT
    """Dialect of the user; the server's answers may have any dialect."""

    @property
    def wire(self) -> bytes:
        return b"".join(self.pieces)


def case_of(seed: int, number: int) -> Case:
    random_ = random.Random(f"{seed} {number}")
    if random_.random() < 0.01:
        name = random_.choice(list(ENDLESS_ANSWERS))
        first, again = ENDLESS_ANSWERS[name]
        return Case((first,), again=again, name=f"endless: {name}")
    if random_.random() < 0.01:
        return Case(tuple(_pieces(random_, _long(random_), 40)), name="long")
    wire, dialect = wire_of(random_), random_.choice([CHAT] * len(ALL_DIALECTS) + ALL_DIALECTS)
    pieces = tuple(_pieces(random_, wire, random_.choice((1, 1, 2, 5, 40))))
    return Case(pieces, closes=random_.random() < 0.97, dialect=dialect)


# ── server and client ──


class Server:
    """Answers the request of a case as the case says, and the next one correctly. It uses the client's event loop, so the
    client reads each send before the next one, and a case is the same at every speed.
    """

    def __init__(self) -> None:
        self._listener = socket.socket()  # gevent has no create_server of its own
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.case: Case | None = None
        self.played = Event()
        self.is_sent = False
        """Whether all bytes of the case were sent."""
        gevent.spawn(self._accept)

    def _accept(self) -> None:
        while True:
            gevent.spawn(self._serve, self._listener.accept()[0])

    def _serve(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError), sock:
            while read_request(sock):
                case, self.case = self.case, None
                if case is None:
                    sock.sendall(CHUNKED)
                    continue
                try:
                    self._play(sock, case)
                finally:
                    self.played.set()
                if case.closes:
                    return
                sock.recv(1)  # until the client closes the connection
                return

    def _play(self, sock: socket.socket, case: Case) -> None:
        for piece in case.pieces:
            sock.sendall(piece)
            gevent.idle()  # the client reads the bytes first
        for _ in range(ENDLESS // len(case.again) if case.again else 0):
            sock.sendall(case.again)
            gevent.idle()  # the client reads the bytes first
        self.is_sent = True

    def play(self, case: Case) -> Event:
        """Play a case for the next request. The event is set when all is sent, or the client has closed the connection."""
        self.case, self.played, self.is_sent = case, Event(), False
        return self.played


def send_request(client: Client, dialect: Dialect = CHAT) -> tuple[Record, Timeline]:
    """Send a request as a user does (LLMUser.chat)."""
    ask = Ask(prompt="What is two and two?")
    timeline, reading = Timeline(), Reading(dialect, ask=ask, name="fuzz")
    listener = Listener(partial(has_token, dialect, ask=ask), reading.take)
    client.ask(timeline, dialect, ask, b"{}", {}, listener)
    return reading.finish(timeline), timeline


class Finding(AssertionError):
    """An error that a case revealed."""


def check(server: Server, endpoint: Endpoint, case: Case) -> Record:
    """Play a case to a user, and a correct answer after it. Raise Finding, or an error of the reader."""
    began = time.process_time()
    client = Client(endpoint, PATIENT if case.closes else HASTY)
    try:
        played = server.play(case)
        record, timeline = send_request(client, case.dialect)
        if not played.wait(60):
            raise Finding("the client does not read all bytes of the server")
        client.timeouts = PATIENT
        after, _ = send_request(client)
    finally:
        client.close()
    cpu = time.process_time() - began
    if record.outcome != "ok" and record.outcome not in ERROR_KINDS:
        raise Finding(f"no outcome: {record.outcome}")
    if (after.outcome, after.text, after.chunks) != ("ok", "word more!", 3):
        raise Finding(f"the next request ended with {after.outcome} {after.error} {after.text!r}")
    if case.again and server.is_sent:
        raise Finding("an endless answer was read without a limit")
    if len(timeline.body) > MAX_BODY + AT_ONCE or record.size > MAX_BODY + AT_ONCE:
        raise Finding(f"{len(timeline.body)} bytes of a body were kept, of {record.size}")
    if max(map(len, (record.error, record.words, record.finish, record.unread))) > 200:
        raise Finding(
            f"too many characters in {record.error!r}, {record.words!r}, {record.finish!r}, {record.unread!r}"
        )
    if cpu > MAX_CPU:
        raise Finding(f"it took {cpu:.1f} s of process time")
    _check_numbers(record)
    return record


def _check_twice(server: Server, endpoint: Endpoint, case: Case) -> Record:
    """Check a case, and that the same bytes in one piece have the same result, because the network decides how they are cut."""
    record = check(server, endpoint, case)
    # whether headers are too long depends on the reads in which they arrive
    if case.closes and not case.again and (len(case.wire) < 60_000 or case.name):
        whole = check(server, endpoint, Case((case.wire,), dialect=case.dialect))
        for name in ("outcome", "text", "reasoning", "chunks", "finish", "output_tokens"):
            if getattr(whole, name) != getattr(record, name):
                raise Finding(f"in pieces {record}\nas one {whole}")
    return record


def _check_numbers(record: Record) -> None:
    """Check that the numbers of a record are finite and in order, and can be counted and sent to a master."""
    if record.ttft is not None and not 0 <= record.ttft <= (record.e2e or 0.0) <= record.duration + 1.0:
        raise Finding(f"times out of order: {record.ttft} {record.e2e} {record.duration}")
    if not 0 <= (record.output_tokens or 0) <= 1 << 40 or not 0 <= (record.retry_after or 0.0) < 1e12:
        raise Finding(f"numbers out of range: {record.output_tokens} {record.retry_after}")
    ledger = Ledger()
    ledger.add(record, 0.0)
    msgspec.msgpack.encode(ledger.take())


@contextmanager
def small_bodies() -> Iterator[None]:
    """Lower the reader's limit of a body, so that an endless answer reaches it in milliseconds."""
    before = responses._MAX_BODY_BYTES, connection.MAX_DOCUMENT
    responses._MAX_BODY_BYTES = responses.MAX_DOCUMENT = connection.MAX_DOCUMENT = MAX_BODY
    try:
        yield
    finally:
        responses._MAX_BODY_BYTES, connection.MAX_DOCUMENT = before
        responses.MAX_DOCUMENT = connection.MAX_DOCUMENT


def fuzz(seed: int, first: int = 0, count: int | None = None, seconds: float | None = None) -> Counter[str]:
    """Play cases in their order, up to a number or for some seconds, and return the number of each outcome."""
    server = Server()
    endpoint = Endpoint(server.url)
    outcomes: Counter[str] = Counter()
    began, memory = time.monotonic(), _peak_memory()
    number = first
    with small_bodies():
        while (count is None or number < first + count) and (seconds is None or time.monotonic() - began < seconds):
            case = case_of(seed, number)
            try:
                outcomes[_check_twice(server, endpoint, case).outcome] += 1
            except Exception as problem:
                options = f"--seed {seed} --first {number} --count 1 {case.name}\n{case.wire[:3000]!r}"
                raise Finding(f"{type(problem).__name__}: {problem}\n{options}") from problem
            number += 1
    if _peak_memory() - memory > MAX_GROWTH:
        raise Finding(f"the process grew by {(_peak_memory() - memory) >> 20} MiB")
    return outcomes


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--count", type=int, help="number of cases")
    options = parser.parse_args()
    if options.seconds is None and options.count is None:
        options.seconds = 60.0
    began = time.monotonic()
    outcomes = fuzz(options.seed, options.first, options.count, options.seconds)
    played = sum(outcomes.values())
    print(f"{played} cases, {played / (time.monotonic() - began):.0f} per second, no finding")
    for outcome, count in outcomes.most_common():
        print(f"{count:8} {outcome}")


if __name__ == "__main__":
    main()
