"""HTTP as it may come: the proxy forwards it as it is, with a fault that makes it follow requests and without one."""

import http.client
import socket
from contextlib import suppress

import pytest

from llmlocust.faults.proxy.process import ProxyProcess
from tests.faults.servers import (
    FOLLOWS,
    answer_path,
    ask,
    chunk,
    connected,
    get,
    proxying,
    read_all,
    read_until,
    reset,
    response,
    serving,
    wait_for_no_connections,
    write_in_pieces,
)
from tests.simulators import wait_for


@pytest.fixture(scope="module")
def server():
    with serving() as server:
        yield server


@pytest.fixture(scope="module", params=["", FOLLOWS, "buffer until end", "cut after 1GB", "latency 1ms both"])
def shared_proxy(server, request):
    with proxying(server, *filter(None, [request.param])) as proxy:
        yield proxy


@pytest.fixture
def proxy(server, shared_proxy):
    yield shared_proxy
    server.behaviours.clear()
    server.requests.clear()


@pytest.fixture
def following(server):
    with proxying(server, FOLLOWS) as proxy:
        yield proxy
    server.behaviours.clear()
    server.requests.clear()


def test_pipelined_requests_are_answered_in_order(proxy):
    with connected(proxy) as client:
        client.sendall(b"".join(get(f"/{number}") for number in range(50)))
        data = read_until(client, b"/49")
    assert data == b"".join(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n/%d" % (len(str(n)) + 1, n) for n in range(50)
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_requests_in_odd_pieces_reach_the_server(proxy, server, size):
    body = b"".join(map(chunk, (b"a\n\n", b"\r\n", b"GET /no HTTP/1.1\r\n\r\n", b"0\r\n\r\n"))) + b"0\r\n\r\n"
    message = get("/chunked", "Transfer-Encoding: chunked", method="POST") + body
    message += get("/sized", method="POST", body=b"GET /no HTTP/1.1\r\nHost: x\r\n\r\n")
    with connected(proxy) as client:
        write_in_pieces(client, message, size)
        assert read_until(client, b"/sized").count(b"/chunked") == 1

    assert [request.body for request in server.requests] == [
        b"a\n\n\r\nGET /no HTTP/1.1\r\n\r\n0\r\n\r\n",
        b"GET /no HTTP/1.1\r\nHost: x\r\n\r\n",
    ]


@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_responses_in_odd_pieces_reach_the_client(proxy, server, size):
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n"
    raw += chunk(b"one\r\n") + b"3;name=value\r\ntwo\r\n" + b"0\r\nX-End: yes\r\n\r\n"
    server.behaviours["/odd"] = lambda connection, _: write_in_pieces(connection, raw, size)
    with connected(proxy) as client:
        for _ in range(2):
            client.sendall(get("/odd"))
            assert read_until(client, b"X-End: yes\r\n\r\n") == raw


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_responses_without_a_body_end_with_their_head(proxy, server, head):
    server.behaviours["/empty"] = lambda connection, _: connection.sendall(head)
    with connected(proxy) as client:
        client.sendall(get("/empty") + get("/next"))
        assert read_until(client, b"/next").startswith(head)


def test_the_response_to_head_has_no_body(proxy):
    with connected(proxy) as client:
        client.sendall(get("/head", method="HEAD") + get("/next"))
        data = read_until(client, b"/next")
    assert data.count(b"HTTP/1.1 200") == 2
    assert b"/head" not in data


def test_a_client_that_waits_for_100_continue_gets_it(proxy, server):
    def behave(connection, _):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = connection.recv(5, socket.MSG_WAITALL)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body)

    server.behaviours["/waits"] = behave
    with connected(proxy) as client:
        client.sendall(get("/waits", "Expect: 100-continue", "Content-Length:\t5"))  # see _read of the server
        read_until(client, b"100 Continue\r\n\r\n")
        client.sendall(b"later")
        assert read_until(client, b"later").endswith(b"Content-Length: 5\r\n\r\nlater")


def test_interim_responses_and_the_final_one_in_one_piece(proxy, server):
    raw = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    server.behaviours["/hints"] = lambda connection, _: connection.sendall(raw)
    with connected(proxy) as client:
        for _ in range(2):
            client.sendall(get("/hints"))
            assert read_until(client, b"\r\n\r\nok") == raw


def test_an_upgraded_connection_is_forwarded_in_both_directions(proxy, server):
    def behave(connection, _):
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n\x00first")
        while data := connection.recv(100):
            connection.sendall(data.upper())

    server.behaviours["/upgrade"] = behave
    with connected(proxy) as client:
        client.sendall(get("/upgrade", "Connection: Upgrade", "Upgrade: x"))
        read_until(client, b"\x00first")
        for data in (b"\x01\x02abc", b"GET / HTTP/1.1\r\n\r\nq"):
            client.sendall(data)
            assert read_until(client, data[-1:].upper()) == data.upper()


def test_a_response_without_a_length_ends_with_its_connection(proxy, server):
    def behave(connection, _):
        write_in_pieces(connection, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n", 9)
        connection.shutdown(socket.SHUT_RDWR)

    server.behaviours["/closes"] = behave
    with connected(proxy) as client:
        assert ask(client, "/closes")[1] == b"data: x\n\n"


def test_http_1_0_without_keep_alive(proxy, server):
    def behave(connection, _):
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nold")
        connection.shutdown(socket.SHUT_RDWR)

    server.behaviours["/old"] = behave
    with connected(proxy) as client:
        client.sendall(b"GET /old HTTP/1.0\r\n\r\n")
        assert read_all(client) == b"HTTP/1.0 200 OK\r\n\r\nold"


def test_huge_headers_are_forwarded(proxy, server):
    server.behaviours["/huge"] = lambda connection, request: connection.sendall(
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000 + b"\r\nContent-Length: 2\r\n\r\nok"
    )
    with connected(proxy) as client:
        client.sendall(get("/huge", "X: " + "z" * 1_000_000))
        assert read_until(client, b"\r\n\r\nok").count(b"y") == 1_000_000
    assert server.requests[0].head.count(b"z") == 1_000_000


def test_a_client_may_end_its_direction_and_still_get_the_answer(proxy, server):
    with connected(proxy) as client:
        client.sendall(get("/half", "Connection: close"))
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).endswith(b"/half")
    wait_for_no_connections(proxy)


def test_pipelined_requests_of_a_client_that_ends_its_direction(proxy, server):
    with connected(proxy) as client:
        client.sendall(b"".join(get(f"/{number}") for number in range(10)))
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).count(b"HTTP/1.1 200") == 10


def test_early_answers_reach_the_client_before_its_body_is_sent(proxy, server):
    server.behaviours["/early"] = lambda connection, _: connection.sendall(
        b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
    )
    with connected(proxy) as client:
        client.sendall(get("/early", "Content-Length:\t1000") + b"begin")  # see _read of the server
        read_until(client, b"413 Too Large\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),  # a TLS hello
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04",
        b"nonsense\n\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnot a chunk\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"\r\n\r\n\r\nGET /leading HTTP/1.1\r\n\r\n",
        b"CONNECT host:443 HTTP/1.1\r\nHost: host\r\n\r\n\x00\x01\x02",
    ],
    ids=range(8),
)
@pytest.mark.parametrize("size", [0, 1])
def test_bytes_that_are_not_http_are_forwarded_as_they_are(server, data, size):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        raw = type(server)(listener)
        with proxying(raw, FOLLOWS) as proxy, connected(proxy) as client:
            write_in_pieces(client, data, size)
            upstream, _ = listener.accept()
            upstream.settimeout(60)
            with upstream:
                received = b""
                while len(received) < len(data):
                    received += upstream.recv(65536)
                upstream.sendall(b"\xff\x00 also no HTTP")
                assert read_until(client, b"also no HTTP") == b"\xff\x00 also no HTTP"
            assert received == data


def test_a_response_that_is_not_http_is_forwarded_as_it_is(following, server):
    server.behaviours["/garbage"] = lambda connection, _: connection.sendall(b"SSH-2.0-server\r\n" + bytes(range(256)))
    with connected(following) as client:
        client.sendall(get("/garbage"))
        read_until(client, bytes(range(256)))
    assert following.counters()["unparsed"] == 1


@pytest.mark.parametrize("fault", ["status 503", "status 503 on 100% of connections"])
def test_pipelined_requests_all_get_the_status(server, fault):
    with proxying(server, fault) as proxy, connected(proxy) as client:
        client.sendall(b"".join(get(f"/{number}", method="POST", body=b"GET") for number in range(2000)))
        data = b""
        while data.count(b"HTTP/1.1 503") < 2000:
            data += client.recv(65536)
    assert server.paths() == []


def test_a_client_that_waits_for_100_continue_gets_the_status_at_once(server):
    with proxying(server, "status 429 retry-after 1s") as proxy, connected(proxy) as client:
        client.sendall(get("/x", "Expect: 100-continue", "Content-Length: 1000", method="POST"))
        status, _, headers = response(client)
        assert (status, headers["Connection"]) == (429, "close")
        assert read_all(client) == b""


def test_a_client_that_closes_gets_the_status_and_the_end(server):
    with proxying(server, "status 500") as proxy, connected(proxy) as client:
        client.sendall(get("/x", "Connection: close"))
        assert read_all(client).startswith(b"HTTP/1.1 500 Internal Server Error\r\n")


def test_a_cut_response_is_no_complete_one_for_an_http_client(server):
    server.behaviours["/x"] = lambda connection, _: connection.sendall(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"abcdef") + chunk(b"")
    )
    with (
        proxying(server, "cut after 6B") as proxy,
        connected(proxy) as client,
        pytest.raises(http.client.IncompleteRead),
    ):
        ask(client, "/x")
    server.behaviours.clear()


def test_clients_and_servers_that_reset_leave_no_connection(following, server):
    def behave(connection, _):
        reset(connection)
        raise ConnectionError  # ends the server's thread, whose reader keeps the socket open

    server.behaviours["/resets"] = behave
    with connected(following) as client:
        client.sendall(get("/resets"))
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""
    for message in (b"", b"GET", get("/x"), get("/x", method="POST", body=b"z" * 1000)[:-1]):
        with connected(following) as client:
            client.sendall(message)
            reset(client)
    wait_for_no_connections(following)
    with connected(following) as client:
        assert ask(client, "/well")[1] == b"/well"


def test_a_server_that_cannot_be_reached_resets_the_client(server):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with ProxyProcess(url) as proxy:
        with pytest.raises(ConnectionError), connected(proxy) as client:
            ask(client, "/x")
        report = proxy.counters()
        assert report["upstream_failures"] == 1
        assert report["last_failure"]


def test_many_connections_at_once(following, server):
    server.behaviours["/x"] = answer_path
    clients = [socket.create_connection(("127.0.0.1", following.port), timeout=60) for _ in range(300)]
    for client in clients:
        client.sendall(get("/x"))
    assert all(response(client)[1] == b"/x" for client in clients)
    for client in clients:
        client.close()
    wait_for(lambda: following.counters()["open"], lambda number: number == 0)
