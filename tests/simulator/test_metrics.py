"""The server's metrics compared with vLLM's names, and with requests whose times are known."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmlocust.simulator.settings import Settings
from llmlocust.simulator.virtual import VirtualServer
from tests.simulator.samples import kinds, samples

PLAIN = {"step_ms": 100, "step_ms_per_seq": 0, "prefill_ms_per_token": 1}


def served(*lengths: tuple[int, int], until: float = 1000.0, **settings) -> str:
    """Return the metrics after requests with these numbers of tokens, all sent at 1 s."""
    server = VirtualServer(Settings(**{**PLAIN, **settings}))
    for prompt, output in lengths:
        server.submit(1.0, prompt, output)
    list(server.advance(until))
    return server.metrics_text(until)


def test_the_names_and_types_are_those_of_vllm():
    types = kinds(served((10, 3), kv_tokens=160))
    assert {name: kind for name, kind in types.items() if kind != "histogram"} == {
        "vllm:num_requests_running": "gauge",
        "vllm:num_requests_waiting": "gauge",
        "vllm:num_requests_waiting_by_reason": "gauge",
        "vllm:kv_cache_usage_perc": "gauge",
        "vllm:cache_config_info": "gauge",
        "vllm:num_preemptions_total": "counter",
        "vllm:prefix_cache_queries_total": "counter",
        "vllm:prefix_cache_hits_total": "counter",
        "vllm:prompt_tokens_total": "counter",
        "vllm:prompt_tokens_cached_total": "counter",
        "vllm:prompt_tokens_by_source_total": "counter",
        "vllm:generation_tokens_total": "counter",
        "vllm:request_success_total": "counter",
        "vllm:admission_rejections_total": "counter",
        "process_start_time_seconds": "gauge",
        "process_cpu_seconds_total": "counter",
        "process_resident_memory_bytes": "gauge",
    }
    assert {name for name, kind in types.items() if kind == "histogram"} == {
        "vllm:iteration_tokens_total",
        "vllm:request_prompt_tokens",
        "vllm:request_generation_tokens",
        "vllm:request_num_preemptions",
        "vllm:time_to_first_token_seconds",
        "vllm:inter_token_latency_seconds",
        "vllm:request_time_per_output_token_seconds",
        "vllm:e2e_request_latency_seconds",
        "vllm:request_queue_time_seconds",
        "vllm:request_inference_time_seconds",
        "vllm:request_prefill_time_seconds",
        "vllm:request_decode_time_seconds",
    }


def test_every_family_has_a_help_line_and_the_parser_reads_all():
    text = served((10, 3), model='a "quoted" \\ name')
    assert text.count("# HELP ") == text.count("# TYPE ") == len(list(text_string_to_metric_families(text)))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.name.startswith("process_"):
                assert sample.labels["model_name"] == 'a "quoted" \\ name'
                assert sample.name.startswith("vllm:admission") or sample.labels["engine"] == "0"


def test_buckets_are_cumulative():
    for family in text_string_to_metric_families(served((10, 3), (20, 30), (500, 2))):
        buckets = [sample.value for sample in family.samples if sample.name.endswith("_bucket")]
        assert buckets == sorted(buckets)
        if buckets:
            assert buckets[-1] == next(sample.value for sample in family.samples if sample.name.endswith("_count"))


def test_times_of_one_request_are_sums():
    values = samples(served((50, 4)))
    for name, seconds in (
        ("time_to_first_token", 0.15),
        ("inter_token_latency", 0.3),
        ("request_time_per_output_token", 0.1),
        ("e2e_request_latency", 0.45),
        ("request_queue_time", 0.0),
        ("request_inference_time", 0.45),
        ("request_prefill_time", 0.15),
        ("request_decode_time", 0.3),
    ):
        assert values[f"vllm:{name}_seconds_sum"] == pytest.approx(seconds), name


def test_a_queued_request_has_a_time_in_the_queue():
    values = samples(served((0, 5), (0, 5), slots=1))
    assert values["vllm:request_queue_time_seconds_sum"] == pytest.approx(0.5)
    assert values["vllm:e2e_request_latency_seconds_sum"] == pytest.approx(0.5 + 1.0)
    assert values["vllm:request_inference_time_seconds_sum"] == pytest.approx(1.0)


def test_tokens_of_a_step_are_those_read_and_those_produced():
    values = samples(served((50, 4)))
    assert values["vllm:iteration_tokens_total_count"] == 4
    assert values["vllm:iteration_tokens_total_sum"] == 54


def test_tokens_that_are_computed_again_are_counted_with_the_step_but_not_as_prompt():
    values = samples(served((30, 18), (32, 3), kv_tokens=64))
    assert values["vllm:num_preemptions_total"] == values["vllm:request_num_preemptions_sum"] == 1
    assert (values["vllm:prompt_tokens_total"], values["vllm:generation_tokens_total"]) == (62, 21)
    assert values["vllm:iteration_tokens_total_sum"] == 62 + 21 + 33


def test_gauges_are_those_of_the_moment():
    text = served((30, 50), (30, 50), (30, 50), slots=2, kv_tokens=160, until=1.5)
    values = samples(text)
    assert (values["vllm:num_requests_running"], values["vllm:num_requests_waiting"]) == (2, 1)
    assert values["vllm:kv_cache_usage_perc"] == 0.6  # two requests of three blocks each
    assert samples(text, reason="capacity")["vllm:num_requests_waiting_by_reason"] == 1
    assert samples(text, num_gpu_blocks="10", block_size="16")["vllm:cache_config_info"] == 1


def test_refusals_of_a_full_queue_are_counted():
    text = served((1, 9), (1, 9), (1, 9), slots=1, queue_limit=0)
    assert samples(text, reason="max_num_queued_reqs")["vllm:admission_rejections_total"] == 2
    assert "vllm:cache_config_info" not in text


def test_cached_tokens_are_counted_by_their_source():
    server = VirtualServer(Settings(**PLAIN, prefix_cache=True))
    for at in (1.0, 2.0):
        server.submit(at, 40, 2, prompt="same")
    list(server.advance(9.0))
    text = server.metrics_text(9.0)
    by_source = "vllm:prompt_tokens_by_source_total"
    assert [samples(text, source=name)[by_source] for name in ("local_compute", "local_cache_hit")] == [40, 40]
    assert (samples(text)["vllm:prompt_tokens_total"], samples(text)["vllm:prompt_tokens_cached_total"]) == (80, 40)
    assert samples(text)["vllm:prefix_cache_queries_total"] == 80


def test_the_delay_of_the_front_end_is_in_the_ttft_only():
    values = samples(served((50, 4), front_end_ms=200))
    assert values["vllm:time_to_first_token_seconds_sum"] == pytest.approx(0.35)
    assert values["vllm:request_prefill_time_seconds_sum"] == pytest.approx(0.15)
    assert values["vllm:request_queue_time_seconds_sum"] == pytest.approx(0.0)
    assert values["process_cpu_seconds_total"] == pytest.approx(0.2)
