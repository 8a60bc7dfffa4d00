"""Each fault of the proxy, seen by a client with a plain socket."""

import http.client
import socket
import time
from threading import Event

import pytest

from tests.faults.servers import (
    FOLLOWS,
    STREAM_HEAD,
    allowing_reset,
    ask,
    chunk,
    connected,
    counters_of,
    get,
    is_silent,
    proxying,
    read_all,
    read_until,
    response,
    seconds_of,
    serving,
    stream,
    token,
    wait_for_no_connections,
)
from tests.simulators import PATIENCE, wait_for


@pytest.fixture(scope="module")
def server():
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def shared_proxy(server):
    with proxying(server, seed=7) as proxy:
        yield proxy


@pytest.fixture
def proxy(server, shared_proxy):
    yield shared_proxy
    shared_proxy.clear()
    server.behaviours.clear()
    server.requests.clear()


def held_stream(server, path="/held"):
    """Let the server send a token at a time, when the test says so. Returns two functions: one sends, one ends the stream."""
    ready, ends = Event(), Event()
    sockets = []

    def behave(connection, _):
        connection.sendall(STREAM_HEAD)
        sockets.append(connection)
        ready.set()
        ends.wait(PATIENCE)

    def send(number):
        assert ready.wait(PATIENCE)
        sockets[-1].sendall(chunk(token(number)))

    def end():
        sockets[-1].sendall(chunk(b""))
        ends.set()

    server.behaviours[path] = behave
    return send, end


# ── without a fault ──


def test_without_a_fault_bytes_are_forwarded_as_they_are(proxy, server):
    server.behaviours["/stream"] = stream(50, size=7)
    before = proxy.counters()
    with connected(proxy) as client:
        client.sendall(get("/stream", "Connection: close"))
        data = read_until(client, b"0\r\n\r\n")

    events = [*map(token, range(50)), b"data: [DONE]\n\n"]
    assert data == STREAM_HEAD + b"".join(map(chunk, events)) + chunk(b"")
    wait_for_no_connections(proxy)
    after = proxy.counters()
    assert after["bytes_down"] - before["bytes_down"] == len(data)
    assert after["requests"] - before["requests"] == 1
    assert after["connections"] - before["connections"] == 1


@pytest.mark.parametrize("fault", ["", "latency 1ms", "slice 64kB every 1us", FOLLOWS])
def test_a_client_that_does_not_read_stops_the_server(proxy, server, fault):
    size, block = 100_000_000, bytes(1_000_000)
    sent = []

    def behave(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(block)):
            connection.sendall(block)
            sent.append(len(block))

    server.behaviours["/large"] = behave
    if fault:
        proxy.set(fault)
    with connected(proxy) as client:
        client.sendall(get("/large"))
        read_until(client, b"HTTP")
        wait_for(lambda: (len(sent), time.sleep(0.5), len(sent)), lambda now: now[0] == now[2])
        assert sum(sent) < 40_000_000  # the buffers of the kernel, and little more
        assert proxy.counters()["waiting_bytes"] < 2_000_000
        count = 0
        while count < size - 1_000_000:
            count += len(client.recv(1_000_000))


# ── connections ──


def test_down_closes_connections_and_refuses_new_ones_until_it_is_cleared(proxy, server):
    send, _ = held_stream(server)
    with connected(proxy) as client:
        client.sendall(get("/held"))
        send(1)
        read_until(client, token(1))

        proxy.set("down", "outage")
        with allowing_reset():
            assert read_all(client) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE)
    report = proxy.counters()
    assert not report["listening"]
    assert counters_of(proxy, "outage")["connections"] >= 1
    assert counters_of(proxy, "outage")["acted"] >= 1

    proxy.clear("outage")

    assert proxy.counters()["listening"]
    with connected(proxy) as client:
        assert ask(client, "/well")[:2] == (200, b"/well")


def test_refuse_refuses_new_connections_and_leaves_open_ones_alone(proxy, server):
    with connected(proxy) as client:
        assert ask(client, "/before")[1] == b"/before"
        proxy.set("refuse", "refusal")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE)
        assert ask(client, "/during")[1] == b"/during"
        proxy.clear("refusal")
    with connected(proxy) as client:
        assert ask(client, "/after")[1] == b"/after"


def test_two_faults_that_refuse_are_both_cleared_before_the_proxy_listens_again(proxy):
    proxy.set("down", "one")
    proxy.set("refuse", "two")
    proxy.clear("one")
    assert not proxy.counters()["listening"]
    proxy.clear("two")
    assert proxy.counters()["listening"]


def test_reset_resets_open_connections_and_new_ones_when_they_send(proxy, server):
    send, _ = held_stream(server)
    with connected(proxy) as client, connected(proxy) as idle:
        client.sendall(get("/held"))
        send(1)
        read_until(client, token(1))
        proxy.set("reset", "reset")
        for other in (client, idle):
            with pytest.raises(ConnectionResetError):
                read_all(other)
    with connected(proxy) as client:
        assert is_silent(client)
        client.sendall(get("/x"))
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert counters_of(proxy, "reset")["acted"] == 3
    proxy.clear()
    with connected(proxy) as client:
        assert ask(client, "/well")[1] == b"/well"


def test_a_black_hole_accepts_and_forwards_nothing_until_it_is_cleared(proxy, server):
    send, end = held_stream(server)
    with connected(proxy) as client, connected(proxy) as other:
        client.sendall(get("/held"))
        send(1)
        read_until(client, token(1))
        proxy.set("blackhole", "hole")
        send(2)
        other.sendall(get("/lost"))
        wait_for(lambda: counters_of(proxy, "hole")["acted"], lambda acted: acted >= 2)
        assert is_silent(client)
        assert is_silent(other, 0.05)
        assert "/lost" not in server.paths()
        assert proxy.counters()["waiting_bytes"] > 0

        proxy.clear("hole")

        read_until(client, token(2))
        assert response(other)[1] == b"/lost"
        assert proxy.counters()["waiting_bytes"] == 0
        end()


def test_a_black_hole_of_one_direction_lets_the_other_pass(proxy, server):
    proxy.set("blackhole downstream", "hole")
    with connected(proxy) as client:
        client.sendall(get("/arrives"))
        wait_for(server.paths, lambda paths: "/arrives" in paths)
        wait_for(lambda: counters_of(proxy, "hole")["acted"])
        assert is_silent(client, 0.1)
        proxy.clear()
        assert response(client)[1] == b"/arrives"


def test_slow_close_delays_the_end_and_no_data(proxy, server):
    def behave(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody")
        connection.shutdown(socket.SHUT_WR)

    server.behaviours["/closes"] = behave
    wait_for(lambda: proxy.counters()["open"] == 0)  # the fault acts on connections of earlier tests, too
    proxy.set("slow_close 700ms", "slow")
    with connected(proxy) as client:
        assert seconds_of(lambda: (client.sendall(get("/closes")), read_all(client))) >= 0.695
        assert counters_of(proxy, "slow")["acted"] == 1
    proxy.clear("slow")
    proxy.set("slow_close 1000s", "slower")
    with connected(proxy) as client:
        client.sendall(get("/closes"))
        read_until(client, b"body")
        wait_for(lambda: counters_of(proxy, "slower")["acted"])
        assert is_silent(client, 0.1)
        proxy.clear("slower")
        assert read_all(client) == b""


# ── data ──


def test_latency_delays_each_piece_of_data(proxy, server):
    send, end = held_stream(server)
    with connected(proxy) as client:
        client.sendall(get("/held"))
        send(1)
        read_until(client, token(1))
        proxy.set("latency 300ms", "late")
        began = time.monotonic()
        send(2)
        read_until(client, token(2))
        assert time.monotonic() - began > 0.29
        counters = counters_of(proxy, "late")
        assert counters["acted"] == 1
        assert counters["bytes"] == len(chunk(token(2)))
        assert counters["first"] == counters["last"]
        proxy.clear("late")
        acted = counters_of(proxy, "late")["acted"]
        send(3)
        read_until(client, token(3))
        assert counters_of(proxy, "late")["acted"] == acted
        end()


def test_data_that_waits_for_its_time_goes_at_once_when_latency_is_cleared(proxy, server):
    proxy.set("latency 1000s", "late")
    with connected(proxy) as client:
        client.sendall(get("/x"))
        wait_for(lambda: counters_of(proxy, "late")["acted"])
        proxy.clear("late")
        assert response(client)[1] == b"/x"


@pytest.mark.parametrize("direction, seconds", [("upstream", 0.2), ("downstream", 0.2), ("both", 0.4)])
def test_latency_has_a_direction(proxy, direction, seconds):
    proxy.set(f"latency 200ms {direction}")
    with connected(proxy) as client:
        assert seconds_of(lambda: ask(client, "/x")) >= seconds - 0.005


def test_jitter_keeps_the_order_of_data(proxy, server):
    server.behaviours["/stream"] = stream(200, size=11)
    proxy.set("latency 20ms jitter 20ms")
    with connected(proxy) as client:
        body = ask(client, "/stream")[1]
    assert body == b"".join(map(token, range(200))) + b"data: [DONE]\n\n"


def test_bandwidth_limits_the_rate(proxy, server):
    server.behaviours["/large"] = lambda connection, _: connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + bytes(50_000)
    )
    proxy.set("bandwidth 100kB/s", "slow")
    with connected(proxy) as client:
        seconds = seconds_of(lambda: ask(client, "/large"))
    assert seconds > 0.45
    assert counters_of(proxy, "slow")["bytes"] > 50_000


def test_slices_arrive_one_by_one(proxy, server):
    proxy.set("slice 16B every 30ms", "slices")
    with connected(proxy) as client:
        began = time.monotonic()
        client.sendall(get("/a-path-that-is-long-enough-for-several-slices"))
        sizes = []
        while sum(sizes) < 85:
            sizes.append(len(client.recv(65536)))
        seconds = time.monotonic() - began
    acted = counters_of(proxy, "slices")["acted"]
    assert acted == -(-sum(sizes) // 16)
    assert seconds >= (acted - 1) * 0.03 - 0.055  # a late loop makes up for 50 ms
    if len(sizes) == acted:  # on a machine that is not too busy
        assert max(sizes) == 16


# ── requests ──


@pytest.mark.parametrize("size", [0, 1, 3, 50])
def test_a_cut_after_any_number_of_tokens_is_exact(proxy, server, size):
    tokens = 6
    server.behaviours["/stream"] = stream(tokens, size=size)
    for number in range(tokens + 2):
        fault = proxy.set(f"cut after {number} tokens")["id"]
        with connected(proxy) as client:
            client.sendall(get("/stream"))
            data = read_until(client, b"0\r\n\r\n") if number > tokens else read_all(client)
        events = b"".join(map(chunk, map(token, range(tokens))))
        cut = len(b"".join(chunk(token(index)) for index in range(number))) - 2 if number else 0
        if number <= tokens:
            assert data == STREAM_HEAD + events[:cut]
        assert counters_of(proxy, fault)["acted"] == (number <= tokens)
        proxy.clear()


def test_a_cut_counts_the_lines_of_json(proxy, server):
    lines = [b'{"response": "a"}\n', b'{"response": "b"}\n', b'{"done": true}\n']

    def behave(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 51\r\n\r\n")
        connection.sendall(b"".join(lines))

    server.behaviours["/lines"] = behave
    proxy.set("cut after 2 tokens")
    with connected(proxy) as client, pytest.raises(http.client.IncompleteRead) as problem:
        ask(client, "/lines")
    assert problem.value.partial == b"".join(lines[:2])


@pytest.mark.parametrize("number", [0, 1, 3, 4, 9])
def test_a_cut_after_bytes_counts_those_of_the_body(proxy, server, number):
    server.behaviours["/ten"] = lambda connection, _: connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01\n3456789"
    )
    proxy.set(f"cut after {number}B")
    with connected(proxy) as client, pytest.raises(http.client.IncompleteRead) as problem:
        ask(client, "/ten")
    assert problem.value.partial == b"01\n3456789"[:number]


def test_a_response_that_is_shorter_than_the_cut_is_complete(proxy):
    proxy.set("cut after 4kB")
    with connected(proxy) as client:
        assert [ask(client, f"/{number}")[1] for number in range(3)] == [b"/0", b"/1", b"/2"]


def test_a_cut_ends_the_connection_to_the_server(proxy, server):
    send, end = held_stream(server)
    ended = server.ended
    proxy.set("cut after 1 tokens")
    with connected(proxy) as client:
        client.sendall(get("/held"))
        send(1)
        read_all(client)
    end()
    wait_for(lambda: server.ended, lambda now: now > ended)


def test_a_status_is_answered_without_the_server_and_the_connection_is_kept(proxy, server):
    proxy.set("status 503 retry-after 5s", "overload")
    with connected(proxy) as client:
        client.sendall(get("/x", method="POST", body=b"y" * 100_000))
        status, body, headers = response(client)
        assert (status, headers["Retry-After"]) == (503, "5")
        assert b'"code": 503' in body
        client.sendall(get("/x", method="HEAD"))
        assert response(client, "HEAD")[:2] == (503, b"")
        assert server.paths() == []
        assert counters_of(proxy, "overload")["acted"] == 2
        proxy.clear()
        assert ask(client, "/well")[1] == b"/well"


def test_a_buffer_keeps_a_stream_until_its_end(proxy, server):
    send, end = held_stream(server)
    proxy.set("buffer until end", "buffer")
    with connected(proxy) as client:
        client.sendall(get("/held"))
        for number in range(3):
            send(number)
        wait_for(lambda: proxy.counters()["waiting_bytes"], lambda size: size > 3 * len(token(1)))
        assert is_silent(client, 0.1)
        end()
        assert response(client)[1] == b"".join(map(token, range(3)))
    assert counters_of(proxy, "buffer")["bytes"] > 3 * len(token(1))


def test_a_buffer_of_bytes_sends_blocks_of_at_least_its_size(proxy, server):
    send, end = held_stream(server)
    proxy.set(f"buffer until {2 * len(chunk(token(1))) + len(STREAM_HEAD)}B")
    with connected(proxy) as client:
        client.sendall(get("/held"))
        send(0)
        assert is_silent(client, 0.1)
        send(1)
        read_until(client, token(1))
        send(2)
        assert is_silent(client, 0.1)
        end()
        read_until(client, b"0\r\n\r\n")


def test_a_buffer_of_seconds_sends_once_in_this_time(proxy, server):
    send, end = held_stream(server)
    proxy.set("buffer until 300ms")
    with connected(proxy) as client:
        began = time.monotonic()
        client.sendall(get("/held"))
        send(0)
        read_until(client, token(0))
        assert time.monotonic() - began > 0.25
        end()


def test_a_buffer_sends_what_it_has_when_it_is_cleared(proxy, server):
    send, end = held_stream(server)
    proxy.set("buffer until end")
    with connected(proxy) as client:
        client.sendall(get("/held"))
        send(0)
        wait_for(lambda: proxy.counters()["waiting_bytes"])
        proxy.clear()
        read_until(client, token(0))
        send(1)
        read_until(client, token(1))
        end()


def test_a_response_that_ends_with_its_connection_leaves_the_buffer(proxy, server):
    def behave(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        connection.shutdown(socket.SHUT_RDWR)

    server.behaviours["/closes"] = behave
    proxy.set("buffer until end")
    with connected(proxy) as client:
        assert ask(client, "/closes")[1] == b"all of it"


@pytest.mark.parametrize(
    "fault, is_hit",
    [
        ("reset on 30% of requests", lambda outcome: outcome == "reset"),
        ("status 503 on 30% of requests", lambda outcome: outcome == 503),
    ],
)
def test_a_share_of_requests_is_the_same_with_the_same_seed(server, fault, is_hit):
    patterns = []
    for seed in (1, 1, 2):
        with proxying(server, fault, seed=seed) as proxy:
            outcomes = _outcomes(proxy, 60)
            counters = proxy.counters()["faults"][0]
        patterns.append([is_hit(outcome) for outcome in outcomes])
        assert sum(patterns[-1]) == counters["requests"] == counters["acted"]
        assert 5 < sum(patterns[-1]) < 35
        assert all(hit or outcome == 200 for hit, outcome in zip(patterns[-1], outcomes, strict=True))

    assert patterns[0] == patterns[1] != patterns[2]


def _outcomes(proxy, number):
    """Send requests, on one connection as long as it lasts, and return the statuses, or "reset"."""
    outcomes = []
    while len(outcomes) < number:
        with connected(proxy) as client:
            try:
                while len(outcomes) < number:
                    outcomes.append(ask(client, "/x")[0])
            except ConnectionResetError:
                outcomes.append("reset")
    return outcomes


def test_a_share_of_connections_is_the_same_with_the_same_seed(server):
    patterns = []
    for seed in (1, 1, 2):
        with proxying(server, "refuse on 50% of connections", seed=seed) as proxy:
            patterns.append([_is_refused(proxy) for _ in range(40)])
            assert proxy.counters()["faults"][0]["acted"] == sum(patterns[-1])
            assert 8 < sum(patterns[-1]) < 32
    assert patterns[0] == patterns[1] != patterns[2]


def _is_refused(proxy):
    try:
        with connected(proxy) as client:
            return ask(client, "/x")[0] != 200
    except ConnectionError:
        return True


def test_latency_of_a_share_of_requests_concerns_single_requests_of_a_connection(server):
    with proxying(server, "latency 150ms on 50% of requests", seed=3) as proxy, connected(proxy) as client:
        seconds = [seconds_of(lambda: ask(client, "/x")) for _ in range(16)]
        counters = proxy.counters()["faults"][0]
    late = sum(second >= 0.149 for second in seconds)
    assert 0 < counters["requests"] < 16
    assert late >= counters["requests"]
    assert min(seconds) < 0.149


# ── changes while streams run ──


def test_faults_change_while_streams_run_and_close_none_that_they_do_not_concern(proxy, server):
    senders = [held_stream(server, f"/held{number}") for number in range(4)]
    clients = [socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE) for _ in senders]
    for number, client in enumerate(clients):
        client.sendall(get(f"/held{number}"))
    for round_number, fault in enumerate(
        [
            *("latency 20ms", "bandwidth 100kB/s", "slice 16B every 1ms", "slow_close 5s", "blackhole"),
            *("status 503", "cut after 1 tokens", "reset on 50% of requests", "buffer until end", "refuse"),
            *("latency 20ms on 50% of connections", "refuse on 50% of connections"),
        ]
    ):
        active = proxy.set(fault)["id"]
        for send, _ in senders:
            send(round_number)
        if fault == "blackhole":
            proxy.clear(active)
        for client in clients:
            read_until(client, token(round_number)[:-2])
        if fault != "blackhole":
            proxy.clear(active)
    for (_, end), client in zip(senders, clients, strict=True):
        end()
        read_until(client, b"0\r\n\r\n")
        client.close()


def test_a_fault_of_requests_concerns_the_next_request_of_a_connection_that_is_open(proxy, server):
    with connected(proxy) as client:
        assert ask(client, "/before")[0] == 200
        proxy.set("status 500")
        assert ask(client, "/during")[0] == 500
        proxy.clear()
        assert ask(client, "/after")[0] == 200


def test_faults_act_together(proxy, server):
    server.behaviours["/stream"] = stream(5)
    proxy.set("latency 200ms upstream")
    proxy.set("latency 100ms")
    proxy.set("buffer until end")
    proxy.set("cut after 2 tokens")
    with connected(proxy) as client:
        began = time.monotonic()
        client.sendall(get("/stream"))
        assert read_all(client).endswith(token(1))
        assert time.monotonic() - began > 0.29
