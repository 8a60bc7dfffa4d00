"""Each bottleneck in virtual time: its effect on clients, and on the metrics."""

import heapq
from collections import Counter
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.simulator.settings import Settings
from llmlocust.simulator.virtual import ClientEvent, Request, VirtualServer
from tests.simulator.samples import samples


def plain(**settings) -> Settings:
    """Return settings with steps of 100 ms for any batch, and prompts that take no time."""
    return Settings(**{"step_ms": 100, "step_ms_per_seq": 0, "prefill_ms_per_token": 0, **settings})


def server(**settings) -> VirtualServer:
    return VirtualServer(plain(**settings))


def events(server: VirtualServer, until: float = 1e9) -> list[ClientEvent]:
    return list(server.advance(until))


def one(prompt: int = 10, output: int = 3, *, streamed: bool = True, **settings) -> Request:
    """Return one request, sent at 1 s and answered."""
    virtual = server(**settings)
    request = virtual.submit(1.0, prompt, output, streamed=streamed)
    events(virtual)
    return request


def closed_loop(virtual: VirtualServer, users: int, until: float, output: int = 20, prompt: int = 10) -> list[Request]:
    """Let users send one request after another. Returns all requests that have ended."""
    ended: list[Request] = []
    due = [(0.0, user) for user in range(users)]
    while due or virtual.due < until:
        now = min(due[0][0] if due else inf, virtual.due)
        if now >= until:
            break
        for event in virtual.advance(now):
            if event.request.ended is not None and event.kind != "token":
                ended.append(event.request)
                heapq.heappush(due, (event.at + (1.0 if event.kind == "refused" else 0.0), event.request.owner))
        while due and due[0][0] <= now:
            user = heapq.heappop(due)[1]
            virtual.submit(now, prompt, output, owner=user, prompt=user)
    return ended


def ttft(requests: list[Request]) -> float:
    started = [request for request in requests if request.token_times]
    return sum(request.token_times[0] - request.sent for request in started) / len(started)


def itl(requests: list[Request]) -> float:
    intervals = [after - before for request in requests for before, after in pairwise(request.token_times)]
    return sum(intervals) / len(intervals)


# what a client sees


def test_a_stream_is_a_first_token_further_tokens_and_an_end():
    virtual = server()
    request = virtual.submit(1.0, 10, 3)
    assert [(round(event.at, 6), event.kind) for event in virtual.advance(9.0)] == [
        (1.1, "first"),
        (1.2, "token"),
        (1.3, "token"),
        (1.3, "end"),
    ]
    assert (request.status, request.outcome, request.ended) == (200, "end", pytest.approx(1.3))


def test_an_answer_in_one_piece_comes_at_its_end():
    request = one(streamed=False)
    assert (request.token_times, request.outcome) == ([pytest.approx(1.3)], "end")


@pytest.mark.parametrize(
    "settings, status",
    [({"slots": 1, "queue_limit": 0}, 503), ({"oom_at": 1}, 500), ({"kv_tokens": 16}, 400)],
)
def test_a_refused_request_has_its_status(settings, status):
    virtual = server(**settings)
    virtual.submit(1.0, 10, 3)
    refused = virtual.submit(1.05, 10, 30)
    events(virtual)
    assert (refused.status, refused.outcome, refused.ended, refused.token_times) == (status, "refused", 1.05, [])


def test_a_request_that_waits_too_long_gets_504():
    virtual = server(slots=1, timeout_s=0.5)
    virtual.submit(1.0, 10, 30)
    late = virtual.submit(1.0, 10, 3)
    events(virtual)
    assert (late.status, late.ended) == (504, 1.5)
    assert samples(virtual.metrics_text(9.0), finished_reason="abort")["vllm:request_success_total"] == 1


def test_a_client_that_disconnects_receives_nothing_more():
    virtual = server()
    request = virtual.submit(1.0, 10, 30)
    for event in virtual.advance(9.0):
        if len(event.request.token_times) == 5:
            virtual.disconnect(request, event.at)
    assert (len(request.token_times), request.outcome, virtual.due) == (5, None, inf)
    assert samples(virtual.metrics_text(9.0), finished_reason="abort")["vllm:request_success_total"] == 1


def test_an_idle_server_has_nothing_due():
    virtual = server(network_ms=5, front_end_ms=1)
    assert virtual.due == inf
    virtual.submit(1.0, 10, 3)
    events(virtual)
    assert virtual.due == inf


def test_time_does_not_go_back():
    virtual = server()
    virtual.submit(1.0, 10, 3)
    events(virtual)
    with pytest.raises(ValueError, match="goes back"):
        virtual.submit(1.2, 10, 3)
    virtual.metrics_text(2.0)
    with pytest.raises(ValueError, match="goes back"):
        virtual.submit(1.5, 10, 3)


# the front end


def test_the_front_end_delays_requests_and_tokens():
    assert one(front_end_ms=30, front_end_ms_per_token=5).token_times == pytest.approx([1.135, 1.235, 1.335])


def test_a_slow_front_end_limits_the_throughput_while_the_gpu_is_not_used():
    virtual = server(front_end_ms_per_token=10)
    requests = closed_loop(virtual, 30, 20.0)
    tokens = samples(virtual.metrics_text(20.0))["vllm:generation_tokens_total"]
    assert tokens / 20 == pytest.approx(100, rel=0.05)
    assert itl(requests) > 0.2
    front_end = samples(virtual.exporter_text(20.0), groupname="front_end", mode="user")
    assert front_end["namedprocess_namegroup_cpu_seconds_total"] == pytest.approx(20, rel=0.05)
    assert samples(virtual.metrics_text(20.0))["process_cpu_seconds_total"] == pytest.approx(20, rel=0.05)


def test_the_delay_of_the_front_end_is_not_in_the_times_of_the_engine():
    virtual = server(front_end_ms_per_token=10)
    closed_loop(virtual, 30, 20.0)
    values = samples(virtual.metrics_text(20.0))
    requests = values["vllm:e2e_request_latency_seconds_count"]
    unexplained = values["vllm:e2e_request_latency_seconds_sum"] - values["vllm:request_inference_time_seconds_sum"]
    assert unexplained / requests > 1.0
    assert values["vllm:request_queue_time_seconds_sum"] == pytest.approx(0.0)


# the network


def test_the_network_takes_its_time_each_way():
    assert one(network_ms=40).token_times == pytest.approx([1.18, 1.28, 1.38])
    virtual = server(network_ms=40, kv_tokens=16)
    refused = virtual.submit(1.0, 10, 100)
    events(virtual)
    assert refused.ended == pytest.approx(1.08)


def test_the_bandwidth_limits_tokens_and_the_server_does_not_notice():
    virtual = server(network_mbit=0.096)  # 50 tokens/s
    requests = closed_loop(virtual, 10, 60.0)
    assert sum(len(request.token_times) for request in requests) / 60 == pytest.approx(50, rel=0.1)
    assert itl(requests) > 0.14
    values = samples(virtual.metrics_text(60.0))
    assert values["vllm:inter_token_latency_seconds_sum"] == pytest.approx(
        0.1 * values["vllm:inter_token_latency_seconds_count"]
    )
    assert samples(virtual.exporter_text(60.0))["node_netstat_Tcp_RetransSegs"] > 20


def test_answers_in_one_piece_need_less_of_the_network():
    virtual = server(network_mbit=0.096)
    request = virtual.submit(1.0, 10, 20, streamed=False)
    events(virtual)
    assert request.ended == pytest.approx(3.0 + 500 * 8 / 96_000)


# the proxy


def test_above_the_rate_limit_requests_get_429_and_the_engine_no_load():
    virtual = server(rate_limit=2, rate_burst=4)
    requests = [virtual.submit(1.0 + number / 10, 10, 3) for number in range(100)]
    events(virtual)
    statuses = Counter(request.status for request in requests)
    assert statuses == {200: 4 + 19, 429: 100 - 23}
    refused = next(request for request in requests if request.status == 429)
    assert (refused.retry_after, refused.ended) == (1, refused.sent)
    assert samples(virtual.metrics_text(99.0))["vllm:request_success_total"] == 23


def test_the_proxy_cuts_a_stream_off_and_the_engine_aborts_it():
    request = one(output=100, proxy_timeout_s=2.05)
    assert (request.outcome, request.status, len(request.token_times)) == ("cut", 200, 20)
    assert request.ended == pytest.approx(3.05)


def test_the_proxy_answers_504_if_nothing_was_sent():
    request = one(output=100, proxy_timeout_s=2.05, streamed=False)
    assert (request.outcome, request.status, request.ended) == ("refused", 504, pytest.approx(3.05))


def test_a_request_that_waits_in_the_queue_gets_504_from_the_proxy():
    virtual = server(slots=1, proxy_timeout_s=2.0)
    first, second = virtual.submit(1.0, 10, 50), virtual.submit(1.0, 10, 50)
    last = virtual.submit(2.0, 10, 5)
    events(virtual)
    assert [request.outcome for request in (first, second, last)] == ["cut", "refused", "end"]
    assert (second.status, second.ended) == (504, 3.0)
    text = virtual.metrics_text(9.0)
    assert samples(text, finished_reason="abort")["vllm:request_success_total"] == 2
    assert samples(text)["vllm:num_requests_running"] == 0


def test_the_proxy_leaves_an_answer_alone_that_ends_in_time():
    assert one(output=20, proxy_timeout_s=2.05).outcome == "end"
    assert one(output=20, proxy_timeout_s=2.05, network_ms=500).outcome == "end"


# the GPU


def test_a_compute_ceiling_keeps_throughput_constant():
    rates = []
    for users in (10, 40, 80):
        virtual = server(compute_ms_per_token=5)
        closed_loop(virtual, users, 60.0, output=50, prompt=1)
        rates.append(samples(virtual.metrics_text(60.0))["vllm:generation_tokens_total"] / 60)
        tensor = samples(virtual.exporter_text(60.0))["DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"]
    assert rates[0] == pytest.approx(100, rel=0.05)
    assert rates[1:] == pytest.approx([200, 200], rel=0.05)
    assert tensor > 0.6


def test_a_hot_gpu_gets_slower():
    request = one(output=100, power_cap_after_s=5, power_cap_factor=0.5)
    intervals = [after - before for before, after in pairwise(request.token_times)]
    assert intervals[:40] == pytest.approx([0.1] * 40)
    assert intervals[-40:] == pytest.approx([0.2] * 40)


def test_a_cold_server_is_slow_at_first():
    request = one(output=30, cold_start_s=1.0, cold_start_factor=4)
    assert request.token_times[:4] == pytest.approx([1.4, 1.8, 2.2, 2.3])


def test_another_tenant_makes_steps_longer():
    assert one(tenant_share=0.5).token_times == pytest.approx([1.2, 1.4, 1.6])


def test_the_prefix_cache_is_lost_with_many_users():
    shares = []
    for users in (8, 12):
        virtual = VirtualServer(plain(prefix_cache=True, cache_prompts=10, prefill_ms_per_token=0.1))
        closed_loop(virtual, users, 60.0, prompt=200)
        values = samples(virtual.metrics_text(60.0))
        shares.append(values["vllm:prefix_cache_hits_total"] / values["vllm:prefix_cache_queries_total"])
    assert shares[0] > 0.8
    assert shares[1] < 0.2


def test_a_full_cache_preempts_and_wastes_work():
    few, many = (server(kv_tokens=1600, prefill_ms_per_token=0.1) for _ in range(2))
    calm, full = closed_loop(few, 4, 120.0, output=200), closed_loop(many, 20, 120.0, output=200)
    preemptions = [samples(virtual.metrics_text(120.0))["vllm:num_preemptions_total"] for virtual in (few, many)]
    assert preemptions[0] == 0 < preemptions[1]
    assert itl(full) > itl(calm) * 1.05
    assert ttft(full) > ttft(calm)


# any settings and requests

services = st.builds(
    Settings,
    slots=st.integers(1, 4),
    step_ms=st.sampled_from([10.0, 100.0]),
    prefill_ms_per_token=st.sampled_from([0.0, 2.0]),
    kv_tokens=st.sampled_from([0, 64, 112]),
    queue_limit=st.sampled_from([-1, 2]),
    timeout_s=st.sampled_from([0.0, 0.3]),
    front_end_ms=st.sampled_from([0.0, 50.0]),
    front_end_ms_per_token=st.sampled_from([0.0, 20.0]),
    network_ms=st.sampled_from([0.0, 30.0]),
    network_mbit=st.sampled_from([0.0, 0.1]),
    rate_limit=st.sampled_from([0.0, 5.0]),
    proxy_timeout_s=st.sampled_from([0.0, 0.5]),
    tenant_share=st.sampled_from([0.0, 0.5]),
    cold_start_s=st.sampled_from([0.0, 0.5]),
    power_cap_after_s=st.sampled_from([0.0, 0.5]),
)
plans = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.003, 0.1, 1.0]),  # seconds after the request before it
        st.integers(0, 40),
        st.integers(1, 12),
        st.booleans(),
        st.none() | st.floats(0.0, 2.0),  # seconds after which the client disconnects
    ),
    max_size=20,
)


@given(services, plans)
def test_every_request_ends_once_and_events_are_in_order(settings, plan):
    virtual, log = VirtualServer(settings), []
    acts: list[tuple[float, int, int]] = []
    now = 0.0
    for index, (after, *_, leaves_after) in enumerate(plan):
        now += after
        acts.append((now, 0, index))
        if leaves_after is not None:
            acts.append((now + leaves_after, 1, index))
    requests: dict[int, Request] = {}
    for at, act, index in sorted(acts):
        log += virtual.advance(at)
        if act == 0:
            requests[index] = virtual.submit(at, *plan[index][1:3], streamed=plan[index][3])
        else:
            virtual.disconnect(requests[index], at)
    log += virtual.advance(1e9)

    assert virtual.due == inf
    assert [event.at for event in log] == sorted(event.at for event in log)
    ends = Counter(event.request for event in log if event.kind in ("end", "refused", "cut"))
    for index, request in requests.items():
        left = request.outcome is None
        assert left or ends[request] == 1
        assert not left or plan[index][4] is not None
        assert request.ended >= request.sent
        assert request.token_times == sorted(request.token_times)
        if request.outcome == "end":
            assert len(request.token_times) == (request.output_tokens if request.streamed else 1)
    values = samples(virtual.metrics_text(1e9))
    ours = Counter(request.outcome for request in requests.values())
    completed = samples(virtual.metrics_text(1e9), finished_reason="length")["vllm:request_success_total"]
    # a request may end in the engine, and not for its client
    assert ours["end"] <= completed <= len(plan)
    assert values["vllm:num_requests_running"] == values["vllm:num_requests_waiting"] == 0
    assert values["vllm:kv_cache_usage_perc"] == 0
    assert values["vllm:generation_tokens_total"] >= sum(
        len(request.token_times) if request.streamed else request.output_tokens * len(request.token_times)
        for request in requests.values()
    )


@given(services, plans, st.lists(st.floats(0, 20), max_size=20))
def test_the_times_of_polls_change_nothing(settings, plan, polls):
    def run(polls: list[float]) -> list[list[float]]:
        virtual, requests, now = VirtualServer(settings), [], 0.0
        for after, prompt, output, streamed, _ in plan:
            for poll in sorted(polls):
                if now <= poll < now + after:
                    list(virtual.advance(poll))
            now += after
            requests.append(virtual.submit(now, prompt, output, streamed=streamed))
        list(virtual.advance(1e9))
        return [request.token_times for request in requests]

    assert run([]) == run(polls)


def test_with_the_default_settings_the_server_adds_nothing_to_the_engine():
    virtual = VirtualServer(Settings(step_ms=10, step_ms_per_seq=0, prefill_ms_per_token=0))
    request = virtual.submit(0.0, 10, 100)
    events(virtual)
    assert request.token_times == pytest.approx([number / 100 for number in range(1, 101)])
