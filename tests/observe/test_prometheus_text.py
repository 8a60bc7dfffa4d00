"""Endpoints in Prometheus' text format: what is sent and accepted, and what hostile servers can do."""

import gzip
import socket
import ssl
import time
import zlib
from contextlib import suppress
from threading import Thread

import pytest
import trustme

from llmlocust.observe.sources import fetching
from llmlocust.observe.sources.exposition import Exposition, from_openmetrics, merged
from llmlocust.observe.sources.prometheus_text import PrometheusText
from llmlocust.observe.sources.source import MAX_BYTES, SourceError
from tests.observe.servers import METRICS, Answer, head, scripted, served

PATIENCE = 30.0
SECRET = "sesame-77"


def text_of(url, **options):
    source = PrometheusText(url, **options)
    try:
        (scrape,) = source.scrape()
    finally:
        source.close()
    return scrape.text


def error_of(url, **options):
    with pytest.raises(SourceError) as problem:
        text_of(url, **options)
    line = str(problem.value)
    assert "\n" not in line
    return line


# -- what is requested


def test_a_url_without_a_path_gets_metrics_and_asks_for_the_text_format():
    with served(Answer()) as server:
        before = time.time()
        source = PrometheusText(server.url)
        (scrape,) = source.scrape()

    assert scrape.text == METRICS
    assert before <= scrape.time <= time.time()
    assert (source.name, source.url) == (server.place, f"{server.url}/metrics")
    assert server.requests[0].headers["accept"] == "text/plain;version=0.0.4"


def test_a_path_and_a_query_stay_and_are_named():
    with served({"/stats/all": Answer()}) as server:
        source = PrometheusText(f"{server.url}/stats/all?token={SECRET}&part=x y")
        source.scrape()

    assert server.paths() == [f"/stats/all?token={SECRET}&part=x%20y"]
    assert source.name == f"{server.place}/stats/all"
    assert source.url == f"{server.url}/stats/all?token&part"


def test_scrapes_share_a_connection():
    with served(Answer()) as server:
        source = PrometheusText(server.url)
        for _ in range(3):
            source.scrape()
        source.close()

    assert len({request.client for request in server.requests}) == 1


def test_a_connection_that_the_server_closed_meanwhile_is_opened_again():
    with served(Answer(headers={"Keep-Alive": "timeout=1"})) as server:
        source = PrometheusText(server.url)
        source.scrape()
        source._fetcher._client.sock._sock.shutdown(
            socket.SHUT_RDWR
        )  # the same as a server that closes an idle connection
        assert source.scrape()[0].text == METRICS


def test_user_and_password_of_the_url_are_sent_and_not_shown():
    with served(Answer(status=401, body="no")) as server:
        url = f"http://me:{SECRET}%40@{server.place}"
        source = PrometheusText(url)
        line = error_of(url)

    assert server.requests[0].headers["authorization"] == "Basic bWU6c2VzYW1lLTc3QA=="
    assert server.requests[0].headers["host"] == server.place
    assert SECRET not in line + source.name + source.url
    assert "LLMLOCUST_OBSERVE_HEADER" in line


@pytest.mark.parametrize("prefix", ["", "127.0.0.1 ", "PLACE "])
def test_a_header_of_the_environment_is_sent(monkeypatch, prefix):
    monkeypatch.setenv("TOKEN", SECRET)
    with served(Answer()) as server:
        monkeypatch.setenv(
            "LLMLOCUST_OBSERVE_HEADER",
            f"{prefix.replace('PLACE', server.place)}authorization: Bearer $TOKEN\nX-Team: a:b",
        )
        text_of(server.url)

    sent = server.requests[0].headers
    assert (sent["authorization"], sent["x-team"]) == (f"Bearer {SECRET}", "a:b")


def test_a_header_for_another_host_is_not_sent(monkeypatch):
    monkeypatch.setenv("LLMLOCUST_OBSERVE_HEADER", f"gpu-box:9400 Authorization: Bearer {SECRET}")
    with served(Answer()) as server:
        text_of(server.url)

    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    "value, words",
    [
        (SECRET, "must be NAME: VALUE"),
        ("Authorization:", "a value is missing"),
        ("Authorization: $NOT_SET_HERE", "needs the variable NOT_SET_HERE"),
        (f"A: {SECRET}\x07", "no header may contain"),
        (f"Content-Length: {SECRET}", "must be NAME: VALUE"),
    ],
)
def test_a_bad_header_in_the_environment_is_one_line_without_its_value(monkeypatch, value, words):
    monkeypatch.setenv("LLMLOCUST_OBSERVE_HEADER", value)
    with pytest.raises(ValueError, match=words) as problem:
        PrometheusText("http://127.0.0.1:1")
    assert SECRET not in str(problem.value)


def test_the_users_headers_replace_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("LLMLOCUST_OBSERVE_HEADER", "Authorization: Bearer old")
    with served(Answer()) as server:
        text_of(server.url, headers={"authorization": "Bearer new"})

    assert server.requests[0].headers["authorization"] == "Bearer new"


def test_a_proxy_of_the_environment_is_used(monkeypatch):
    with served({"http://gpu-box.invalid:8000/metrics": Answer()}) as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:{SECRET}@{proxy.place}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert text_of("http://gpu-box.invalid:8000") == METRICS

    assert proxy.requests[0].headers["host"] == "gpu-box.invalid:8000"
    assert proxy.requests[0].headers["proxy-authorization"].startswith("Basic ")


def test_a_proxy_that_refuses_a_tunnel_is_said(monkeypatch):
    with scripted(lambda connection: connection.sendall(head(status="403 Forbidden"))) as proxy:
        monkeypatch.setenv("https_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        assert error_of("https://gpu-box.invalid").startswith("the proxy answered HTTP 403")


def pump(source, target):
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


@pytest.mark.parametrize("header", ["", "Proxy-Agent: x"])
def test_a_tunnel_through_a_proxy_leads_to_the_server(monkeypatch, certificate, header):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with served(Answer(), tls=context) as server:

        def relay(connection):
            with socket.create_connection(("127.0.0.1", server.port)) as upstream:
                connection.sendall(head(*filter(None, [header])))
                Thread(target=pump, args=(upstream, connection), daemon=True).start()
                pump(connection, upstream)

        with scripted(relay) as proxy:
            monkeypatch.setenv("https_proxy", proxy)
            monkeypatch.setenv("no_proxy", "")
            assert text_of(f"https://gpu-box.invalid:{server.port}", insecure=True) == METRICS

    assert server.requests[0].target == "/metrics"


def test_ipv6_is_read():
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        source = PrometheusText(f"http://[::1]:{listener.getsockname()[1]}")
        Thread(target=lambda: listener.accept()[0].sendall(head(f"Content-Length: {len(METRICS)}") + METRICS)).start()
        assert source.scrape()[0].text == METRICS


def test_an_address_that_does_not_answer_leaves_time_for_the_next(monkeypatch):
    with served(Answer()) as server, socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(3)]  # the queue of the listener is full: further connections wait
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(full.getsockname())
        addresses = [full.getsockname(), ("127.0.0.1", server.port)]
        resolved = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
        monkeypatch.setattr(fetching, "_resolved", lambda *_: resolved)
        assert text_of("http://gpu-box", timeout=4.0) == METRICS
        for connection in waiting:
            connection.close()


# -- TLS


@pytest.fixture(scope="module")
def certificate():
    return trustme.CA().issue_cert("127.0.0.1")


def test_a_certificate_is_verified_unless_it_is_insecure(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with served(Answer(), tls=context) as server:
        assert "--llm-insecure" in error_of(server.url)
        assert text_of(server.url, insecure=True) == METRICS


def test_https_to_a_server_without_tls_names_the_scheme():
    with served(Answer()) as server:
        assert "http://" in error_of(f"https://{server.place}", insecure=True)


# -- redirects


def test_redirects_on_the_same_host_are_followed():
    answers = {"/metrics": Answer(status=307, headers={"Location": "/metrics/"}), "/metrics/": Answer()}
    with served(answers) as server:
        assert text_of(server.url) == METRICS


def test_redirects_to_another_host_are_not_followed(monkeypatch):
    monkeypatch.setenv("LLMLOCUST_OBSERVE_HEADER", f"Authorization: Bearer {SECRET}")
    with served(Answer()) as other:
        location = f"{other.url}/metrics?key={SECRET}"
        with served(Answer(status=302, headers={"Location": location})) as server:
            line = error_of(server.url)

    assert other.requests == []
    assert line.startswith(f"redirects to {other.url}/metrics?key, which is another host")


def test_redirects_in_a_circle_end():
    with served(Answer(status=302, headers={"Location": "/metrics"})) as server:
        assert "again and again" in error_of(server.url)
    assert len(server.requests) < 6


# -- what is accepted


def test_gzip_is_requested_and_decompressed():
    with served(Answer(is_gzipped=True)) as server:
        assert text_of(server.url) == METRICS
    assert server.requests[0].headers["accept-encoding"] == "gzip"


def test_an_empty_exposition_is_an_answer():
    with served(Answer(b"")) as server:
        assert text_of(server.url) == b""


def test_a_last_line_without_its_end_is_completed():
    with served(Answer(METRICS.rstrip())) as server:
        assert text_of(server.url) == METRICS


def test_a_chunked_answer_is_read():
    chunks = head("Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(METRICS), METRICS)
    with scripted(lambda connection: connection.sendall(chunks)) as url:
        assert text_of(url) == METRICS


OPENMETRICS = b"""# TYPE vllm:running gauge
# HELP vllm:running Requests.
# UNIT vllm:running requests
vllm:running{engine="0"} 3.0
# TYPE vllm:tokens counter
vllm:tokens_total{model="a # b",note="}"} 17 1700000000.5 # {trace="x"} 0.5
vllm:tokens_created 1.7e9
# TYPE vllm:build info
vllm:build_info{version="1"} 1
# TYPE other unknown
other 1 # {trace="x"} 2 1700000000
# EOF
"""


def test_openmetrics_becomes_the_text_format_with_its_colons():
    with served(Answer(OPENMETRICS, content_type="application/openmetrics-text; version=1.0.0")) as server:
        lines = text_of(server.url).decode().splitlines()

    assert lines == [
        "# TYPE vllm:running gauge",
        "# HELP vllm:running Requests.",
        'vllm:running{engine="0"} 3.0',
        "# TYPE vllm:tokens_total counter",
        'vllm:tokens_total{model="a # b",note="}"} 17 1700000000500',
        "vllm:tokens_created 1.7e9",
        "# TYPE vllm:build_info gauge",
        'vllm:build_info{version="1"} 1',
        "# TYPE other untyped",
        "other 1",
    ]


@pytest.mark.parametrize("length", [len(OPENMETRICS) - 7, 100, 0])
def test_openmetrics_that_was_cut_is_an_error(length):
    with pytest.raises(SourceError, match="# EOF"):
        from_openmetrics(OPENMETRICS[:length])


# -- what is refused

HTML = "<!doctype html><html><body>vllm:num_requests_running 3</body></html>"


@pytest.mark.parametrize(
    "answer, words",
    [
        (Answer(HTML), "HTML page"),
        (Answer("welcome", content_type="text/html"), "HTML page"),
        (Answer('[{"iter": 1}]', content_type="application/json"), "/prometheus/metrics"),
        (Answer('{"status": "ok"}'), "JSON"),
        (Answer("OK, I am alive"), "not metrics: 'OK, I am alive'"),
        (Answer("x 1\n".encode("utf-16")), "not text in UTF-8"),
        (Answer(b"\xff\xfe\x00"), "not text in UTF-8"),
        (Answer(METRICS, headers={"Content-Encoding": "gzip"}), "Content-Encoding"),
        (Answer(METRICS, headers={"Content-Encoding": "br"}), "compressed with br"),
        (Answer(gzip.compress(METRICS)[:-9], headers={"Content-Encoding": "gzip"}), "not complete"),
        (Answer("x", status=404), "HTTP 404: no metrics at this path"),
        (Answer("x", status=501), "HTTP 501: the server's metrics are switched off"),
        (Answer("x", status=500), "HTTP 500"),
        (Answer("x", status=403), "HTTP 403: access is not allowed"),
    ],
)
def test_what_is_not_telemetry_is_one_line(answer, words):
    with served(answer) as server:
        assert words in error_of(server.url)


def test_a_hint_names_the_remedy():
    with served(Answer("x", status=404)) as server:
        assert error_of(server.url, hint="start SGLang with --enable-metrics") == (
            "HTTP 404: start SGLang with --enable-metrics"
        )


def test_a_closed_port_is_said():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert error_of(f"http://127.0.0.1:{port}") == "connection refused: no server listens there"


def test_an_unknown_name_is_said(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    assert "cannot be resolved" in error_of("http://nosuch.invalid")


def test_a_name_service_that_hangs_ends_the_scrape(monkeypatch):
    monkeypatch.setattr(fetching.socket, "getaddrinfo", lambda *_, **__: time.sleep(15) or [])
    begun = time.monotonic()
    assert "within 0.3 s" in error_of("http://gpu-box.invalid", timeout=0.3)
    assert time.monotonic() - begun < 10


# -- hostile servers


def drip(connection, data=b"a"):
    while True:
        connection.sendall(data)
        time.sleep(0.05)


def endless(connection):
    connection.sendall(head("Transfer-Encoding: chunked"))
    chunk = b"x" * 65000
    while True:
        connection.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))


def bomb(connection):
    packer = zlib.compressobj(wbits=31)
    data = b"".join([packer.compress(b"x 1\n" * 2**18) for _ in range(200)]) + packer.flush()
    connection.sendall(head("Content-Encoding: gzip", f"Content-Length: {len(data)}") + data)
    drip(connection)


def too_many_headers(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500)
    drip(connection)


SLOW = {
    "hangs": lambda connection: time.sleep(20),
    "drips the status": lambda connection: drip(connection, b"H"),
    "drips a header": lambda connection: (connection.sendall(b"HTTP/1.1 200 OK\r\nA: "), drip(connection)),
    "drips the body": lambda connection: (connection.sendall(head("Content-Length: 1000000")), drip(connection)),
    "drips chunks": lambda connection: (
        connection.sendall(head("Transfer-Encoding: chunked")),
        drip(connection, b"1\r\na\r\n"),
    ),
    "drips without a length": lambda connection: (connection.sendall(head()), drip(connection)),
    "only 100 Continue": lambda connection: drip(connection, b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_slow_server_ends_the_scrape_in_time(name):
    with scripted(SLOW[name]) as url:
        begun = time.monotonic()
        assert error_of(url, timeout=0.5) == "no complete answer within 0.5 s"
        assert time.monotonic() - begun < 10


def test_a_tls_handshake_that_hangs_ends_the_scrape_in_time():
    with scripted(SLOW["hangs"]) as url:
        begun = time.monotonic()
        assert error_of(url.replace("http:", "https:"), timeout=0.5) == "no complete answer within 0.5 s"
        assert time.monotonic() - begun < 10


ENDLESS = {
    "sends without end": endless,
    "sends a gzip bomb": bomb,
    "announces 100 MB": lambda connection: (connection.sendall(head("Content-Length: 100000000")), drip(connection)),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_long_answer_is_an_error(name):
    with scripted(ENDLESS[name]) as url:
        assert error_of(url, timeout=PATIENCE).startswith(f"the answer is longer than {MAX_BYTES // 2**20} MB")


BROKEN = {
    "closes at once": (lambda connection: None, "without an answer"),
    "closes in the middle": (
        lambda connection: connection.sendall(head("Content-Length: 1000") + METRICS),
        "before the answer was complete",
    ),
    "closes in the middle of a chunk": (
        lambda connection: connection.sendall(head("Transfer-Encoding: chunked") + b"400\r\n" + METRICS),
        "before the answer was complete",
    ),
    "closes in the middle of a line": (
        lambda connection: connection.sendall(head() + METRICS[:-3]),
        "in the middle of a line",
    ),
    "is no HTTP server": (lambda connection: connection.sendall(b"SSH-2.0-OpenSSH\r\n"), "not valid HTTP"),
    "sends a bad length": (lambda connection: connection.sendall(b"HTTP/1.1 abc OK\r\n\r\n"), "not valid HTTP"),
    "sends bad chunks": (
        lambda connection: connection.sendall(head("Transfer-Encoding: chunked") + b"zz\r\n"),
        "before the answer was complete",
    ),
    "sends 500 headers": (too_many_headers, "not valid HTTP"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_an_error(name):
    behave, words = BROKEN[name]
    with scripted(behave) as url:
        assert words in error_of(url, timeout=PATIENCE)


def test_a_source_works_again_after_an_error():
    answers = {"/metrics": Answer(status=500)}
    with served(answers) as server:
        source = PrometheusText(server.url)
        with pytest.raises(SourceError):
            source.scrape()
        answers["/metrics"] = Answer()
        assert source.scrape()[0].text == METRICS


# -- writing the format


def test_an_exposition_has_a_type_by_family_and_escapes_labels():
    text = Exposition()
    text.add("a_total", 1, name='x"\\\ny')
    text.add("b", 2.5)
    text.add("a_total", 2, name="z")

    assert bytes(text).decode().splitlines() == [
        "# TYPE a_total counter",
        r'a_total{name="x\"\\\ny"} 1',
        'a_total{name="z"} 2',
        "# TYPE b gauge",
        "b 2.5",
    ]


def test_merging_repeats_no_family_and_no_series():
    first, second = Exposition(), Exposition()
    first.add("a", 1, pid=1)
    second.add("a", 2, pid=1)
    second.add("a", 3, pid=2)

    assert merged([bytes(first), bytes(second)]).decode().splitlines() == [
        "# TYPE a gauge",
        'a{pid="1"} 1',
        'a{pid="2"} 3',
    ]
