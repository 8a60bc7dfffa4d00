"""The simulator as a process with real sockets."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import pairwise

import pytest

from llmlocust.simulator.settings import Settings, knobs
from tests.simulator.client import CHAT, COMPLETIONS, Reply, ask, chat, connect, read_to_end, request_bytes
from tests.simulator.samples import samples
from tests.simulators import PATIENCE, ROOT, RunningSimulator, options, running_simulator, wait_for

FAST = {"step_ms": 2, "step_ms_per_seq": 0, "prefill_ms_per_token": 0}
SLOW = {**FAST, "step_ms": 200}
LONG = {"prompt": "hi", "max_tokens": 10_000, "ignore_eos": True, "stream": True}


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningSimulator]:
    with running_simulator(**FAST) as simulator:
        yield simulator


@pytest.fixture
def simulator(shared) -> RunningSimulator:
    """Return the shared simulator, idle and without records."""
    wait_for(lambda: shared.metric("vllm:num_requests_running") == 0)
    shared.clear()
    return shared


@pytest.fixture
def crowd() -> Iterator[ExitStack]:
    """Close the connections that a test leaves open."""
    with ExitStack() as stack:
        yield stack


def start(crowd: ExitStack, port: int, body=LONG, path: str = COMPLETIONS, **headers: str) -> socket.socket:
    """Send a request and return its connection without reading the answer."""
    connection = crowd.enter_context(closing(connect(port)))
    connection.sendall(request_bytes(path, body, **headers))
    return connection


# successful requests


def test_a_streamed_chat_has_an_event_for_each_token_and_an_end(simulator):
    reply = chat(simulator.port)
    assert (reply.status, reply.complete, reply.data[-1]) == (200, True, "[DONE]")
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [choice["finish_reason"] for choice in reply.choices] == [None] * 7 + ["length"]


def test_the_same_answer_comes_in_one_piece(simulator):
    document = chat(simulator.port, stream=False).json
    assert document["choices"][0]["message"]["content"] == chat(simulator.port).text
    assert document["usage"]["completion_tokens"] == 8


def test_completions_have_their_own_format(simulator):
    body = {"prompt": "hi", "max_tokens": 8, "ignore_eos": True}
    document, streamed = (
        ask(simulator.port, COMPLETIONS, body),
        ask(simulator.port, COMPLETIONS, {**body, "stream": True}),
    )
    assert document.json["object"] == streamed.chunks[0]["object"] == "text_completion"
    assert (document.json["choices"][0]["text"], len(streamed.choices)) == (streamed.text, 8)


def test_requested_usage_comes_last(simulator):
    *others, last = chat(simulator.port, stream_options={"include_usage": True}).chunks
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 8)
    assert all(chunk["usage"] is None for chunk in others)


def test_requested_continuous_usage_comes_with_every_event(simulator):
    stream_options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = chat(simulator.port, stream_options=stream_options).chunks
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_a_share_of_the_tokens_is_reasoning(name):
    with running_simulator(**FAST, reasoning_share=0.25, reasoning_field=name) as simulator:
        reply = chat(simulator.port, stream_options={"include_usage": True})
    assert [list(choice["delta"]) for choice in reply.choices] == [[name]] * 2 + [["content"]] * 6
    assert reply.chunks[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}


def test_several_tokens_come_in_one_event_if_set():
    with running_simulator(**FAST, tokens_per_chunk=3) as simulator:
        reply = chat(simulator.port)
        (record,) = simulator.ended(1)
    assert [len(choice["delta"]["content"].split()) for choice in reply.choices] == [3, 3, 2]
    assert (record["output_tokens"], len(set(record["writes_us"]))) == (8, 3)


def test_a_connection_serves_one_request_after_another(simulator):
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=PATIENCE)
    with closing(connection):
        for _ in range(3):
            connection.request(
                "POST", CHAT, json.dumps({"messages": [{"role": "user"}], "max_tokens": 3, "stream": True})
            )
            assert connection.getresponse().read().endswith(b"data: [DONE]\n\n")
            opened = connection.sock
            connection.request("GET", "/health")
            assert connection.getresponse().read() == b""
            assert connection.sock is opened


def test_pipelined_requests_are_answered_in_order(simulator):
    stream = request_bytes(COMPLETIONS, {**LONG, "max_tokens": 5}, Connection="keep-alive")
    models = request_bytes("/v1/models", method="GET")
    with connect(simulator.port) as connection:
        connection.sendall(stream + models)
        answers = read_to_end(connection).raw.split(b"HTTP/1.1 200 OK")
    assert len(answers) == 3
    assert b"[DONE]" in answers[1]
    assert b"max_model_len" in answers[2]


@pytest.mark.parametrize("size", [1_000, 300_000, 5_000_000])
def test_a_long_prompt_is_read_completely_and_the_connection_stays_open(size):
    body = {"prompt": "x" * size, "max_tokens": 2, "ignore_eos": True}
    with (
        running_simulator(**FAST, prefill_chunk=0, max_model_len=10_000_000) as simulator,
        connect(simulator.port) as connection,
    ):
        connection.sendall(request_bytes(COMPLETIONS, body, Connection="keep-alive"))
        connection.sendall(request_bytes(COMPLETIONS, body))
        assert read_to_end(connection).raw.count(b'"prompt_tokens":%d,' % (size // 4)) == 2


def test_invalid_bytes_after_a_request_do_not_change_its_answer(simulator):
    with connect(simulator.port) as connection:
        connection.sendall(
            request_bytes(COMPLETIONS, {**LONG, "max_tokens": 5}, Connection="keep-alive") + b"nonsense\r\n"
        )
        raw = read_to_end(connection).raw
    assert b"[DONE]" in raw
    assert raw.count(b"HTTP/1.1 400 Bad Request") == 1


def test_an_offer_of_http_2_is_ignored(simulator):
    reply = ask(simulator.port, "/v1/models", method="GET", Connection="Upgrade, close", Upgrade="h2c")
    assert reply.status == 200


def test_a_client_that_expects_100_continue_receives_it(simulator):
    request = request_bytes(COMPLETIONS, {"prompt": "hi", "max_tokens": 2}, Expect="100-continue")
    head, body = request.split(b"\r\n\r\n")
    with connect(simulator.port) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_to_end(connection).status == 200


def test_a_client_of_http_1_0_gets_no_chunks(simulator):
    reply = ask(simulator.port, COMPLETIONS, {**LONG, "max_tokens": 5}, version="1.0")
    assert "transfer-encoding" not in reply.headers
    assert reply.data[-1] == "[DONE]"


def test_the_id_of_a_client_is_returned(simulator):
    assert chat(simulator.port, headers={"X_Request_Id": "mine"}).chunks[0]["id"] == "chatcmpl-mine"


def test_models_and_health_answer(simulator):
    models = json.loads(simulator.get("/v1/models"))
    assert (models["data"][0]["id"], simulator.get("/health")) == ("simulated-llm", b"")


# invalid requests, and a full server


@pytest.mark.parametrize(
    "path, method, body, status",
    [
        (CHAT, "POST", b"{", 400),
        (CHAT, "POST", {}, 400),
        (CHAT, "POST", {"messages": [{"role": "user"}], "model": "other"}, 404),
        (CHAT, "GET", None, 405),
        ("/health", "POST", None, 405),
        ("/v1/nothing", "POST", {}, 404),
        ("/", "GET", None, 404),
    ],
)
def test_bad_input_gets_openais_error(simulator, path, method, body, status):
    reply = ask(simulator.port, path, body, method)
    assert (reply.status, set(reply.json["error"])) == (status, {"message", "type", "param", "code"})


def test_a_wrong_method_gets_the_allowed_one(simulator):
    assert ask(simulator.port, CHAT, method="GET").headers["allow"] == "POST"


def test_invalid_http_gets_400(simulator):
    with connect(simulator.port) as connection:
        connection.sendall(b"good evening\r\n\r\n")
        assert read_to_end(connection).status == 400


def test_a_body_that_is_too_large_gets_413_before_it_is_sent(simulator):
    with connect(simulator.port) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n")
        assert read_to_end(connection).status == 413


def test_headers_that_are_too_large_get_431(simulator):
    with connect(simulator.port) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nX-Large: %b\r\n" % (b"x" * 100_000))
        assert read_to_end(connection).status == 431


@pytest.mark.parametrize(
    "headers, status", [({}, 401), ({"Authorization": "Bearer no"}, 401), ({"Authorization": "Bearer yes"}, 200)]
)
def test_a_set_key_is_required(headers, status):
    with running_simulator(key="yes", **FAST) as simulator:
        assert chat(simulator.port, headers=headers).status == status
        assert simulator.get("/health") == b""


def test_models_can_fail_though_chat_works():
    with running_simulator(**FAST, models_fail=True) as simulator:
        assert (ask(simulator.port, "/v1/models", method="GET").status, chat(simulator.port).status) == (500, 200)


def test_a_full_queue_gets_503_with_retry_after(crowd):
    with running_simulator(**SLOW, slots=1, queue_limit=1) as simulator:
        for _ in range(2):
            start(crowd, simulator.port)
        wait_for(lambda: simulator.metric("vllm:num_requests_waiting") == 1)
        reply = chat(simulator.port)
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert simulator.summary()["outcomes"] == {"rejected": 1, "open": 2}


def test_a_request_that_waits_too_long_gets_504(crowd):
    with running_simulator(**SLOW, slots=1, timeout_s=0.5) as simulator:
        start(crowd, simulator.port)
        wait_for(lambda: simulator.metric("vllm:num_requests_running") == 1)
        reply = chat(simulator.port)
        assert (reply.status, reply.json["error"]["type"]) == (504, "timeout")
        assert simulator.summary()["outcomes"] == {"timeout": 1, "open": 1}


def test_an_answer_in_one_piece_that_takes_too_long_gets_504():
    with running_simulator(**SLOW, timeout_s=0.5) as simulator:
        assert chat(simulator.port, stream=False).status == 504
        assert chat(simulator.port).data[-1] == "[DONE]"


def test_a_server_out_of_memory_gets_500_with_the_reason(crowd):
    with running_simulator(**SLOW, oom_at=1) as simulator:
        start(crowd, simulator.port)
        wait_for(lambda: simulator.metric("vllm:num_requests_running") == 1)
        reply = chat(simulator.port)
        assert (reply.status, "CUDA out of memory" in reply.json["error"]["message"]) == (500, True)
        assert simulator.summary()["outcomes"] == {"out_of_memory": 1, "open": 1}


def test_a_request_that_never_fits_into_memory_gets_400():
    with running_simulator(**FAST, kv_tokens=100) as simulator:
        reply = chat(simulator.port, max_tokens=200)
        assert (reply.status, reply.json["error"]["code"]) == (400, "context_length_exceeded")


def test_a_client_that_disconnects_frees_its_slot(crowd):
    with running_simulator(**FAST, slots=1) as simulator:
        first = start(crowd, simulator.port)
        assert first.recv(10)
        waiting = start(crowd, simulator.port)
        wait_for(lambda: simulator.metric("vllm:num_requests_waiting") == 1)
        first.close()
        assert waiting.recv(10)
        assert simulator.summary()["outcomes"] == {"cancelled": 1, "open": 1}


def test_the_version_is_that_of_the_metrics_and_is_no_request_of_the_truth(simulator):
    before = simulator.received()
    assert json.loads(simulator.get("/version")) == {"version": "0.33.0"}
    assert simulator.received() == before


def test_a_client_that_does_not_read_is_disconnected_and_blocks_no_others(crowd):
    with running_simulator(**{**FAST, "step_ms": 0.05}, max_model_len=1_000_000) as simulator:
        lazy = crowd.enter_context(closing(socket.socket()))
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(("127.0.0.1", simulator.port))
        big = {**LONG, "max_tokens": 900_000, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
        lazy.sendall(request_bytes(COMPLETIONS, big, X_Simulator_Fault="coalesce:50"))
        assert chat(simulator.port).complete
        wait_for(lambda: simulator.summary()["outcomes"].get("slow_client") == 1)
        assert simulator.metric("vllm:num_requests_running") == 0


# faults


def tokens(reply: Reply) -> int:
    return len(reply.choices)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault, was_reset", [("drop@5", False), ("reset@5", True)])
def test_a_broken_connection_gives_an_incomplete_body(simulator, fault, was_reset, stream):
    reply = chat(simulator.port, fault=fault, stream=stream)
    assert (reply.complete, reply.was_reset) == (False, was_reset)
    assert reply.status == 200 or not stream
    (record,) = simulator.ended(1)
    assert (record["outcome"], record["output_tokens"]) == (fault.partition("@")[0], 5 if stream else 0)


def test_a_drop_comes_after_exactly_its_number_of_tokens(simulator):
    assert [tokens(chat(simulator.port, fault=f"drop@{count}")) for count in (0, 1, 7, 8)] == [0, 1, 7, 8]


def test_a_truncated_stream_is_closed_properly_but_has_no_end_event(simulator):
    reply = chat(simulator.port, fault="truncate@5")
    assert (reply.complete, tokens(reply), "[DONE]" in reply.data) == (True, 5, False)


def test_a_truncated_answer_is_shorter_than_its_content_length(simulator):
    reply = chat(simulator.port, fault="truncate@5", stream=False)
    assert (reply.status, reply.complete) == (200, False)


def test_an_error_event_comes_with_status_200(simulator):
    reply = chat(simulator.port, fault="error_event@5")
    assert (reply.status, reply.complete, reply.data[-1]) == (200, True, "[DONE]")
    assert reply.chunks[-1]["error"]["type"] == "internal_error"


def test_an_answer_in_one_piece_has_an_error_status_instead_of_an_error_event(simulator):
    assert chat(simulator.port, fault="error_event@5", stream=False).status == 500


def test_a_stall_delays_the_rest_and_loses_nothing(simulator):
    reply = chat(simulator.port, fault="stall@3:0.4")
    (record,) = simulator.ended(1)
    writes = record["writes_us"]
    assert (reply.complete, tokens(reply)) == (True, 8)
    assert writes[3] - writes[2] >= 400_000 > writes[2]


def test_headers_are_sent_before_a_stall_of_the_first_token(simulator, crowd):
    connection = start(crowd, simulator.port, X_Simulator_Fault="stall@0:60")
    head = connection.recv(1000)
    assert head.startswith(b"HTTP/1.1 200")
    assert b"data:" not in head


def test_faults_can_be_combined(simulator):
    reply = chat(simulator.port, fault="stall@2:0.1,coalesce:3,crlf,drop@5")
    assert (tokens(reply), reply.complete, b"\r\n\r\n" in reply.body) == (5, False, True)
    assert tokens(chat(simulator.port, fault="slow_headers:0.1,drop@0")) == 0


@pytest.mark.parametrize("stream", [True, False])
def test_slow_headers_come_late_and_the_answer_with_them(simulator, stream):
    began = time.monotonic()
    reply = chat(simulator.port, fault="slow_headers:0.4", stream=stream)
    assert time.monotonic() - began >= 0.4
    assert reply.complete
    assert simulator.ended(1)[0]["outcome"] == "completed"


def test_several_tokens_are_written_at_once_if_requested(simulator):
    reply = chat(simulator.port, fault="coalesce:3")
    (record,) = simulator.ended(1)
    assert (tokens(reply), len(set(record["writes_us"]))) == (8, 3)


@pytest.mark.parametrize(
    "fault", ["no_done", "bad_json@5", "comments", "crlf", "cut:1", "cut:7", "crlf,cut:3", "close_delimited", "chunk:5"]
)
def test_an_unusual_stream_has_the_same_text(simulator, fault):
    plain, unusual = chat(simulator.port), chat(simulator.port, fault=fault)
    unusual.body = unusual.body.replace(b'data: {"id": "cut short, "choices": [\n\n', b"")
    assert (unusual.complete, unusual.text) == (True, plain.text)


def test_unusual_streams_have_the_requested_faults(simulator):
    assert "[DONE]" not in chat(simulator.port, fault="no_done").data
    assert b"cut short" in chat(simulator.port, fault="bad_json@5").body
    assert chat(simulator.port, fault="comments").body.count(b": still here\n\n") == 10
    assert chat(simulator.port, fault="crlf").body.count(b"\r\n\r\n") == 10
    assert chat(simulator.port, fault="close_delimited").headers["connection"] == "close"
    assert tokens(chat(simulator.port, fault="chunk:5")) == 2
    assert "usage" not in chat(simulator.port, fault="no_usage").chunks[-1]


@pytest.mark.parametrize(
    "fault, status, outcome", [("http:429", 429, "http"), ("oom", 500, "out_of_memory"), ("html", 200, "html")]
)
def test_a_fault_may_replace_the_answer(simulator, fault, status, outcome):
    reply = chat(simulator.port, fault=fault)
    assert (reply.status, reply.complete) == (status, True)
    assert simulator.ended(1)[0]["outcome"] == outcome


def test_an_unknown_fault_gives_an_error_with_the_known_ones(simulator):
    reply = chat(simulator.port, fault="explode")
    assert (reply.status, "known: drop@TOKENS" in reply.json["error"]["message"]) == (400, True)


def test_the_servers_fault_affects_the_same_share_of_requests_in_every_run():
    def statuses() -> list[str]:
        with running_simulator(**FAST, fault="http:500", fault_share=0.3, seed=1) as simulator:
            return [chat(simulator.port, max_tokens=1).status for _ in range(40)]

    first = statuses()
    assert 4 <= first.count(500) <= 20
    assert first == statuses()


# records and metrics of the server


def test_the_truth_agrees_with_the_clients(simulator):
    replies = {}
    for number in range(12):
        sent_ns = time.monotonic_ns()
        reply = chat(simulator.port, max_tokens=number + 1)
        replies[reply.chunks[0]["id"]] = (tokens(reply), sent_ns, time.monotonic_ns())
    records = simulator.ended(12)
    assert {record["id"]: record["output_tokens"] for record in records} == {
        id_: reply[0] for id_, reply in replies.items()
    }
    for record in records:
        _, sent_ns, ended_ns = replies[record["id"]]
        assert sent_ns <= record["received_ns"] <= record["received_ns"] + record["writes_us"][-1] * 1000 <= ended_ns
        assert record["writes_us"] == sorted(record["writes_us"])
    assert simulator.summary()["received"] == {CHAT: 12}
    assert simulator.summary()["tokens"] == sum(range(1, 13))


def test_the_truth_has_bad_requests_but_no_get_requests(simulator):
    ask(simulator.port, CHAT, b"{")
    ask(simulator.port, "/nowhere", b"")
    simulator.get("/v1/models")
    assert [(record["endpoint"], record["status"]) for record in simulator.truth()] == [(CHAT, 400), ("other", 404)]
    assert simulator.summary()["outcomes"] == {"bad_request": 2}


def test_metrics_count_requests_and_tokens():
    with running_simulator(**FAST) as simulator:
        for _ in range(3):
            chat(simulator.port)
        simulator.ended(3)
        assert simulator.metric("vllm:generation_tokens_total") == 24
        assert simulator.metric("vllm:prompt_tokens_total") == 3
        assert simulator.metric("vllm:request_success_total", 'finished_reason="length"') == 3
        assert simulator.metric("vllm:time_to_first_token_seconds_count") == 3
        assert simulator.metric("vllm:inter_token_latency_seconds_count") == 21
        assert simulator.metric("vllm:inter_token_latency_seconds_sum") == pytest.approx(21 * 0.002)
        assert simulator.metric("vllm:e2e_request_latency_seconds_bucket", 'le="+Inf"') == 3


def test_the_metrics_agree_with_the_truth(crowd):
    settings = {**FAST, "kv_tokens": 320, "slots": 8, "queue_limit": 12}
    with running_simulator(**settings) as simulator:
        streams = [
            start(crowd, simulator.port, {"prompt": "x" * 100, "max_tokens": 20 + number, "ignore_eos": True})
            for number in range(25)
        ]
        streams.append(start(crowd, simulator.port, {**LONG, "max_tokens": 600}))  # it never fits
        statuses = Counter(read_to_end(stream).status for stream in streams)
        records = simulator.ended(26)
        text = simulator.get("/metrics").decode()
    assert statuses[200] > 10
    assert (statuses[503], statuses[400]) == (25 - statuses[200], 1)
    completed = [record for record in records if record["outcome"] == "completed"]
    values = samples(text)
    assert values["vllm:generation_tokens_total"] == sum(record["output_tokens"] for record in records)
    assert values["vllm:prompt_tokens_total"] == sum(record["prompt_tokens"] for record in completed)
    assert samples(text, finished_reason="length")["vllm:request_success_total"] == len(completed) == statuses[200]
    assert values["vllm:e2e_request_latency_seconds_count"] == len(completed)
    assert values["vllm:inter_token_latency_seconds_count"] == sum(record["output_tokens"] - 1 for record in completed)
    assert values["vllm:admission_rejections_total"] == statuses[503]
    assert values["vllm:num_preemptions_total"] == values["vllm:request_num_preemptions_sum"] > 0
    # the server waits for its event loop before it writes
    written = sum(record["writes_us"][-1] for record in completed) / 1e6
    assert values["vllm:e2e_request_latency_seconds_sum"] <= written + 1e-3


def test_the_exporters_answer_on_the_same_port(crowd):
    with running_simulator(**SLOW, front_end_ms=30) as simulator:
        start(crowd, simulator.port)
        wait_for(lambda: samples(simulator.get("/exporter/metrics").decode())["DCGM_FI_DEV_GPU_UTIL"] > 0)
        text = simulator.get("/exporter/metrics").decode()
        process = samples(simulator.get("/metrics").decode())
    cpu = samples(text, groupname="front_end", mode="user")["namedprocess_namegroup_cpu_seconds_total"]
    assert cpu == process["process_cpu_seconds_total"] == pytest.approx(0.03)
    assert abs(process["process_start_time_seconds"] - time.time()) < PATIENCE


# bottlenecks


def test_above_the_rate_limit_a_request_gets_429_with_retry_after():
    with running_simulator(**FAST, rate_limit=0.01, rate_burst=2) as simulator:
        replies = [chat(simulator.port) for _ in range(3)]
        outcomes = simulator.summary()["outcomes"]
        assert simulator.metric("vllm:request_success_total", 'finished_reason="length"') == 2
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert 90 <= int(replies[2].headers["retry-after"]) <= 100
    assert replies[2].json["error"]["type"] == "rate_limit_exceeded"
    assert outcomes == {"completed": 2, "rate_limited": 1}


def test_the_proxy_cuts_off_a_stream_and_answers_504_otherwise():
    with running_simulator(**SLOW, proxy_timeout_s=0.9) as simulator:
        stream, whole = chat(simulator.port), chat(simulator.port, stream=False)
        assert (stream.status, stream.complete, tokens(stream)) == (200, False, 4)
        assert (whole.status, whole.json["error"]["code"]) == (504, "gateway_timeout")
        assert simulator.summary()["outcomes"] == {"proxy_timeout": 2}
        assert simulator.metric("vllm:request_success_total", 'finished_reason="abort"') == 2
        assert simulator.metric("vllm:num_requests_running") == 0


def test_network_and_front_end_delay_an_answer():
    with running_simulator(**FAST, network_ms=100, front_end_ms=100) as simulator:
        assert chat(simulator.port).complete
        (record,) = simulator.ended(1)
    assert 302_000 <= record["writes_us"][0] < 302_000 + PATIENCE * 1e6
    assert len(record["writes_us"]) == 8


def test_a_client_that_disconnects_on_the_way_to_the_engine_is_forgotten(crowd):
    with running_simulator(**FAST, network_ms=300) as simulator:
        start(crowd, simulator.port).close()
        wait_for(lambda: simulator.summary()["outcomes"].get("cancelled") == 1)
        assert chat(simulator.port).complete
        assert simulator.metric("vllm:generation_tokens_total") == 8


def test_a_repeated_prompt_is_found_in_the_prefix_cache():
    with running_simulator(**FAST, prefix_cache=True) as simulator:
        cached = [
            chat(simulator.port, stream=False).json["usage"]["prompt_tokens_details"]["cached_tokens"] for _ in range(2)
        ]
        assert cached == [0, 1]
        assert simulator.metric("vllm:prefix_cache_hits_total") == 1


def test_cache_usage_is_the_used_share(crowd):
    with running_simulator(**SLOW, kv_tokens=160) as simulator:
        start(crowd, simulator.port, {**LONG, "prompt": "x" * 320, "max_tokens": 70})  # a prompt of five blocks
        wait_for(lambda: simulator.metric("vllm:kv_cache_usage_perc") == 0.6)


def test_steps_do_not_drift():
    with running_simulator(**{**FAST, "step_ms": 5}) as simulator:
        chat(simulator.port, max_tokens=200)
        (record,) = simulator.ended(1)
    # a token may be late, but lateness does not accumulate: no token is early, and later tokens are on time
    due_us = [record["admitted_us"] + 5000 * number for number in range(1, 201)]
    late_us = [wrote - due for wrote, due in zip(record["writes_us"], due_us, strict=True)]
    assert min(late_us) >= -2
    assert min(late_us[100:]) < 5000


def test_throughput_is_never_above_the_capacity_and_requests_are_admitted_in_order(crowd):
    settings = {"slots": 5, "step_ms": 2, "step_ms_per_seq": 1, "prefill_ms_per_token": 0}
    with running_simulator(**settings) as simulator:
        began = time.monotonic()
        streams = [start(crowd, simulator.port, {**LONG, "max_tokens": 20}) for _ in range(30)]
        token_count = sum(tokens(read_to_end(stream)) for stream in streams)
        seconds = time.monotonic() - began
        records = simulator.ended(30)
    assert token_count == 30 * 20
    assert token_count / seconds <= Settings(**settings).capacity()
    assert [record["received_ns"] for record in records] == sorted(record["received_ns"] for record in records)
    admitted_us = [record["received_ns"] / 1000 + record["admitted_us"] for record in records]
    assert all(later - earlier > -2 for earlier, later in pairwise(admitted_us))  # times are in whole microseconds


# the process


def test_a_server_that_drains_ends_its_streams_and_refuses_new_requests(crowd):
    with running_simulator(**FAST, drain_s=60) as simulator:
        stream = start(crowd, simulator.port, LONG | {"max_tokens": 3000})
        wait_for(lambda: simulator.metric("vllm:num_requests_running") == 1)
        simulator.process.terminate()
        health = wait_for(lambda: ask(simulator.port, "/health", method="GET"), lambda reply: reply.status == 503)
        assert b"shutting down" in health.body
        assert chat(simulator.port).status == 503
        assert read_to_end(stream).data[-1] == "[DONE]"
        assert simulator.process.wait(PATIENCE) == 0


def test_the_requests_of_a_server_that_does_not_drain_are_cut(crowd):
    with running_simulator(**FAST) as simulator:
        stream = start(crowd, simulator.port, LONG)
        wait_for(lambda: simulator.metric("vllm:num_requests_running") == 1)
        simulator.process.terminate()
        assert simulator.process.wait(PATIENCE) == 0
        assert "[DONE]" not in read_to_end(stream).data


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_cleanly_even_with_open_streams(crowd, signal_number):
    with running_simulator(**FAST) as simulator:
        assert start(crowd, simulator.port).recv(10)
        simulator.process.send_signal(signal_number)
        assert simulator.process.wait(PATIENCE) == 0


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llmlocust.simulator", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_a_port_in_use_gives_a_one_line_error(simulator):
    process = simulate(*options(port=simulator.port))
    assert (process.returncode, process.stderr) == (
        2,
        f"cannot listen on 127.0.0.1:{simulator.port}: the port is taken\n",
    )


def test_an_invalid_setting_gives_a_one_line_error():
    process = simulate(*options(slots=0))
    assert (process.returncode, process.stderr.splitlines()[-1].endswith("slots must be at least 1")) == (2, True)


def test_the_port_is_passed_to_the_ready_callback():
    code = """
import os, signal
from llmlocust.simulator.server import serve
from llmlocust.simulator.settings import Settings, knobs
serve(Settings(port=0), ready=lambda port: (print(port), os.kill(os.getpid(), signal.SIGTERM)))
"""
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    line, port = process.stdout.splitlines()
    assert line == f"simulated-llm at http://127.0.0.1:{port}"


def test_the_help_names_every_setting():
    process = simulate("--help")
    assert process.returncode == 0
    assert all(knob.option in process.stdout for knob in knobs())


def test_neither_locust_nor_gevent_is_imported():
    code = "import sys, llmlocust.simulator.server; print(sorted({'locust', 'gevent'} & sys.modules.keys()))"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"
