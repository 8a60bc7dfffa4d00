"""Servers of language models. The sources of the names are the servers' own code, at the versions that are named here."""

from __future__ import annotations

from llmlocust.observe.rules import Engine, Labels, Rule

_ENGINE: Labels = {"server": ""}
"""The router of vLLM's production stack has the same names with a label `server`, for the requests that it sees."""

VLLM = Engine(
    "vLLM",
    # not "vllm:" alone, with which the names of the production stack's router begin, too
    signs=(
        "vllm:kv_cache_usage_perc",
        "vllm:gpu_cache_usage_perc",
        "vllm:cache_config_info",
        "vllm:prompt_tokens",
        "vllm:generation_tokens",
        "vllm:request_success",
    ),
    renames={"ray_vllm_": "vllm:", "vllm_": "vllm:"},  # Ray writes `_` for `:`, and its exporter adds `ray_`
    rules=(
        Rule("running", "gauge", ("vllm:num_requests_running",), where=_ENGINE),
        Rule("waiting", "gauge", ("vllm:num_requests_waiting",), where=_ENGINE),
        # a budget of LoRA adapters, a KV transfer or a block: the server is not full
        Rule("waiting.deferred", "gauge", ("vllm:num_requests_waiting_by_reason",), where={"reason": "deferred"}),
        # from 0 to 1, whatever the name says
        Rule("kv.usage", "gauge", ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")),
        Rule("kv.tokens", "gauge", ("vllm:cache_config_info",), product=("num_gpu_blocks", "block_size")),
        Rule("preemptions", "counter", ("vllm:num_preemptions",)),
        Rule(
            "cached_share",
            "ratio",
            ("vllm:prefix_cache_hits", "vllm:gpu_prefix_cache_hits"),
            per=("vllm:prefix_cache_queries", "vllm:gpu_prefix_cache_queries"),
            where=_ENGINE,
            per_where=_ENGINE,
        ),
        # this histogram's name ends with _total
        Rule("tokens_per_step", "histogram", ("vllm:iteration_tokens_total",)),
        Rule("steps", "counter", ("vllm:iteration_tokens_total_count",)),
        Rule("prompt_tokens", "counter", ("vllm:prompt_tokens",)),
        Rule("computed_tokens", "counter", ("vllm:prompt_tokens_by_source",), where={"source": "local_compute"}),
        Rule("generation_tokens", "counter", ("vllm:generation_tokens",)),
        # "success" counts requests that were aborted or failed, too
        Rule("finished", "counter", ("vllm:request_success",), where={"finished_reason": ("!abort", "!error")}),
        Rule("aborted", "counter", ("vllm:request_success",), where={"finished_reason": "abort"}),
        Rule("failed", "counter", ("vllm:request_success",), where={"finished_reason": "error"}),
        Rule("rejected", "counter", ("vllm:admission_rejections",)),
        Rule("server.queue", "histogram", ("vllm:request_queue_time_seconds",)),
        Rule("server.prefill", "histogram", ("vllm:request_prefill_time_seconds",)),
        Rule("server.decode", "histogram", ("vllm:request_decode_time_seconds",)),
        Rule("server.ttft", "histogram", ("vllm:time_to_first_token_seconds",)),
        # the older name is that of the ITL, not of the TPOT
        Rule("server.itl", "histogram", ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds")),
        Rule("server.tpot", "histogram", ("vllm:request_time_per_output_token_seconds",)),
        Rule("server.e2e", "histogram", ("vllm:e2e_request_latency_seconds",)),
    ),
    settings={
        "num_gpu_blocks": "vllm:cache_config_info{num_gpu_blocks}",
        "block_size": "vllm:cache_config_info{block_size}",
        "gpu_memory_utilization": "vllm:cache_config_info{gpu_memory_utilization}",
        "enable_prefix_caching": "vllm:cache_config_info{enable_prefix_caching}",
        "kv_cache_dtype": "vllm:cache_config_info{cache_dtype}",
    },
)
"""vLLM 0.33 (vllm/v1/metrics/loggers.py), the older names of V0 and of V1 until 0.9, its Rust front end, and Ray Serve. A gauge is
set when the engine reports a step, so after the load it keeps the last value until the next request."""

_STAGE: Labels = {"pp_rank": ("", "0")}
"""Each stage of a pipeline reports the same requests."""
_TOTAL: Labels = {**_STAGE, "priority": ""}
"""With priorities, the series without one is the sum of the others."""
_CACHED, _COMPUTED, _DECODED = "prefill_cache", "prefill_compute", "decode"
"""Modes of the counter of tokens that grows while requests run. The older counters grow when a request ends."""

SGLANG = Engine(
    "SGLang",
    signs=("sglang:", "sglang_loads_"),
    rules=(
        # /v1/loads is computed when it is read; the gauges are written every 40 decode steps, and when idle every 30 s
        Rule("running", "gauge", ("sglang_loads_running",)),
        Rule("running", "gauge", ("sglang:num_running_reqs",), where=_TOTAL),
        Rule("waiting", "gauge", ("sglang_loads_waiting",)),
        Rule("waiting", "gauge", ("sglang:num_queue_reqs",), where=_TOTAL),
        # grammars that are compiled; with separate prefill, handshakes and KV transfers
        Rule(
            "waiting.deferred",
            "gauge",
            (
                "sglang:num_grammar_queue_reqs",
                "sglang:num_prefill_bootstrap_queue_reqs",
                "sglang:num_prefill_inflight_queue_reqs",
                "sglang:num_decode_transfer_queue_reqs",
            ),
            where=_TOTAL,
            adds=True,
        ),
        Rule("waiting.deferred", "gauge", ("sglang:num_grammar_queue_reqs",), where=_TOTAL),
        Rule("kv.usage", "gauge", ("sglang_loads_token_usage", "sglang:token_usage")),
        Rule("kv.tokens", "gauge", ("sglang:max_total_num_tokens",), where=_STAGE),
        # SGLang's word is retraction; its gauge num_retracted_reqs is one value per process id, and no count
        Rule("preemptions", "counter", ("sglang:num_retracted_requests",), where=_STAGE),
        Rule(
            "cached_share",
            "ratio",
            ("sglang:realtime_tokens",),
            per=("sglang:realtime_tokens",),
            where={"mode": _CACHED},
            per_where={"mode": (_CACHED, _COMPUTED)},
        ),
        Rule("cached_share", "ratio", ("sglang:cached_tokens",), per=("sglang:prompt_tokens",)),
        Rule("prompt_tokens", "counter", ("sglang:realtime_tokens",), where={**_STAGE, "mode": (_CACHED, _COMPUTED)}),
        Rule("prompt_tokens", "counter", ("sglang:prompt_tokens",)),
        Rule("computed_tokens", "counter", ("sglang:realtime_tokens",), where={**_STAGE, "mode": _COMPUTED}),
        Rule("generation_tokens", "counter", ("sglang:realtime_tokens",), where={**_STAGE, "mode": _DECODED}),
        Rule("generation_tokens", "counter", ("sglang:generation_tokens",)),
        Rule("finished", "counter", ("sglang:num_requests",)),
        Rule("aborted", "counter", ("sglang:num_aborted_requests",)),
        # the answer to a request that finds the queue full
        Rule("rejected", "counter", ("sglang:http_responses",), where={"status_code": "503"}),
        Rule("server.queue", "histogram", ("sglang:queue_time_seconds",)),
        Rule(
            "server.prefill", "histogram", ("sglang:per_stage_req_latency_seconds",), where={"stage": "prefill_forward"}
        ),
        Rule(
            "server.decode", "histogram", ("sglang:per_stage_req_latency_seconds",), where={"stage": "decode_forward"}
        ),
        Rule("server.ttft", "histogram", ("sglang:time_to_first_token_seconds",)),
        Rule("server.itl", "histogram", ("sglang:inter_token_latency_seconds",)),
        # the older name is that of the TPOT: here it was never the ITL
        Rule(
            "server.tpot",
            "histogram",
            ("sglang:request_time_per_output_token_seconds", "sglang:time_per_output_token_seconds"),
        ),
        Rule("server.e2e", "histogram", ("sglang:e2e_request_latency_seconds",)),
        Rule(
            "process.cpu",
            "rate",
            ("sglang:scheduler_process_cpu_seconds", "sglang:process_cpu_seconds"),
            by=("tp_rank", "pp_rank", "dp_rank", "component"),
        ),
    ),
    updates_s=2.0,
    settings={
        "max_total_tokens": "sglang:max_total_num_tokens",
        "page_size": "sglang:page_size",
        "context_length": "sglang:context_len",
    },
)
"""SGLang 0.5.23 (observability/metrics_collector.py). `sglang:utilization` is always 0 and not used."""

TGI = Engine(
    "TGI",
    signs=("tgi_",),
    rules=(
        Rule("running", "gauge", ("tgi_batch_current_size",)),
        Rule("waiting", "gauge", ("tgi_queue_size",)),
        Rule("kv.tokens", "gauge", ("tgi_batch_max_total_tokens",)),
        Rule("steps", "counter", ("tgi_batch_inference_count",), absent_is_zero=True),
        # TGI has no counters of tokens, but the sums of its histograms of lengths, which grow when a request ends
        Rule("prompt_tokens", "counter", ("tgi_request_input_length_sum",), absent_is_zero=True),
        Rule("generation_tokens", "counter", ("tgi_request_generated_tokens_sum",), absent_is_zero=True),
        Rule("finished", "counter", ("tgi_request_success",), absent_is_zero=True),
        Rule("aborted", "counter", ("tgi_request_failure",), where={"err": "dropped"}, absent_is_zero=True),
        Rule(
            "failed",
            "counter",
            ("tgi_request_failure",),
            where={"err": ("!overloaded", "!dropped")},
            absent_is_zero=True,
        ),
        Rule("rejected", "counter", ("tgi_request_failure",), where={"err": "overloaded"}, absent_is_zero=True),
        Rule("server.queue", "histogram", ("tgi_request_queue_duration",)),
        Rule("server.tpot", "histogram", ("tgi_request_mean_time_per_token_duration",)),
        Rule("server.e2e", "histogram", ("tgi_request_duration",)),
    ),
    settings={"max_batch_total_tokens": "tgi_batch_max_total_tokens"},
)
"""Text Generation Inference 3 (router/src/server.rs, backends/v3/src). It has neither TTFT nor KV usage."""

TEI = Engine(
    "TEI",
    signs=("te_request_", "te_queue_size", "te_embed_", "te_batch_", "te_predict_"),
    rules=(
        Rule("waiting", "gauge", ("te_queue_size",)),
        Rule("tokens_per_step", "histogram", ("te_batch_next_tokens",)),
        Rule("steps", "counter", ("te_batch_next_tokens_count",), absent_is_zero=True),
        Rule("prompt_tokens", "counter", ("te_request_input_length_sum",), absent_is_zero=True),
        Rule("finished", "counter", ("te_request_success",), absent_is_zero=True),
        Rule("aborted", "counter", ("te_request_failure",), where={"err": "dropped"}, absent_is_zero=True),
        Rule(
            "failed",
            "counter",
            ("te_request_failure",),
            where={"err": ("!overloaded", "!dropped")},
            absent_is_zero=True,
        ),
        Rule("rejected", "counter", ("te_request_failure",), where={"err": "overloaded"}, absent_is_zero=True),
        Rule("server.queue", "histogram", ("te_request_queue_duration", "te_embed_queue_duration")),
        Rule("server.e2e", "histogram", ("te_request_duration", "te_embed_duration")),
    ),
)
"""Text Embeddings Inference (core/src, router/src): requests have no output tokens."""

_PROMPT = ("llamacpp:prompt_tokens", "llamacpp:prompt_tokens_cached")
"""Computed, and from the cache."""

LLAMACPP = Engine(
    "llama.cpp",
    signs=("llamacpp:", "llamacpp_slots_"),
    rules=(
        # /slots is read where the server has no /metrics
        Rule("running", "gauge", ("llamacpp:requests_processing", "llamacpp_slots_busy")),
        Rule("running.limit", "gauge", ("llamacpp_slots_total",)),
        Rule("waiting", "gauge", ("llamacpp:requests_deferred",)),
        Rule("cached_share", "ratio", _PROMPT[1:], per=_PROMPT, adds=True),
        Rule(
            "tokens_per_step",
            "ratio",
            ("llamacpp:prompt_tokens", "llamacpp:tokens_predicted"),
            per=("llamacpp:n_decode",),
            adds=True,
        ),
        Rule("steps", "counter", ("llamacpp:n_decode",)),
        Rule("prompt_tokens", "counter", _PROMPT, adds=True),
        Rule("computed_tokens", "counter", _PROMPT[:1]),
        Rule("generation_tokens", "counter", ("llamacpp:tokens_predicted",)),
        # the seconds are summed over slots, so this is the mean of one slot
        Rule("server.itl", "ratio", ("llamacpp:tokens_predicted_seconds",), per=("llamacpp:tokens_predicted",)),
    ),
    digits=6,
)
"""llama.cpp's server (tools/server/server-task.cpp). Its two gauges of tokens/s are reset by every scrape and its mean of
busy slots is that since the start, so they are not used. It writes six digits: above a million, counters jump."""

TENSORRT_LLM = Engine(
    "TensorRT-LLM",
    signs=("trtllm_",),
    rules=(
        Rule("running", "gauge", ("trtllm_num_requests_running",)),
        Rule("running.limit", "gauge", ("trtllm_max_num_active_requests",)),
        Rule("waiting", "gauge", ("trtllm_num_requests_waiting",)),
        Rule("kv.usage", "gauge", ("trtllm_kv_cache_utilization",)),
        Rule("cached_share", "ratio", ("trtllm_prompt_cached_tokens",), per=("trtllm_prompt_tokens",)),
        Rule(
            "cached_share",
            "ratio",
            ("trtllm_kv_cache_reused_blocks",),
            per=("trtllm_kv_cache_reused_blocks", "trtllm_kv_cache_missed_blocks"),
            adds=True,
        ),
        Rule("prompt_tokens", "counter", ("trtllm_prompt_tokens",)),
        Rule("generation_tokens", "counter", ("trtllm_generation_tokens",)),
        Rule("finished", "counter", ("trtllm_request_success",), where={"finished_reason": "!cancelled"}),
        Rule("aborted", "counter", ("trtllm_request_success",), where={"finished_reason": "cancelled"}),
        Rule("failed", "counter", ("trtllm_request_error",), where={"http_code": ("!429", "!503")}),
        Rule("rejected", "counter", ("trtllm_request_error",), where={"http_code": ("429", "503")}),
        Rule("server.queue", "histogram", ("trtllm_request_queue_time_seconds",)),
        Rule("server.prefill", "histogram", ("trtllm_request_prefill_time_seconds",)),
        Rule("server.decode", "histogram", ("trtllm_request_decode_time_seconds",)),
        Rule("server.ttft", "histogram", ("trtllm_time_to_first_token_seconds",)),
        Rule("server.tpot", "histogram", ("trtllm_time_per_output_token_seconds",)),
        Rule("server.e2e", "histogram", ("trtllm_e2e_request_latency_seconds",)),
    ),
    settings={
        "max_batch_size": "trtllm_max_batch_size_runtime",
        "max_num_tokens": "trtllm_max_num_tokens_runtime",
        "kv_cache_max_blocks": "trtllm_kv_cache_max_blocks",
        "tokens_per_block": "trtllm_kv_cache_tokens_per_block",
    },
)
"""TensorRT-LLM's own server, trtllm-serve (tensorrt_llm/metrics/collector.py)."""

_BLOCKS = "nv_trt_llm_kv_cache_block_metrics"
_REQUESTS = "nv_trt_llm_request_metrics"

TRITON = Engine(
    "Triton",
    signs=("nv_inference_", "nv_trt_llm_", "nv_gpu_", "nv_cpu_", "nv_energy_"),
    rules=(
        # the backend's gauges have different things under one name, which a label distinguishes: never add them up
        Rule("running", "gauge", (_REQUESTS,), where={"request_type": "scheduled"}),
        Rule("running.limit", "gauge", (_REQUESTS,), where={"request_type": "max"}),
        Rule("waiting", "gauge", (_REQUESTS,), where={"request_type": "waiting"}),
        Rule("waiting", "gauge", ("nv_inference_pending_request_count",)),
        Rule("kv.usage", "gauge", (_BLOCKS,), where={"kv_cache_block_type": "fraction"}),
        Rule("steps", "counter", ("nv_trt_llm_general_metrics",), where={"general_type": "iteration_counter"}),
        Rule("finished", "counter", ("nv_inference_request_success",), absent_is_zero=True),
        Rule(
            "aborted", "counter", ("nv_inference_request_failure",), where={"reason": "CANCELED"}, absent_is_zero=True
        ),
        # releases without reasons count every failure in one series
        Rule(
            "failed",
            "counter",
            ("nv_inference_request_failure",),
            where={"reason": ("!REJECTED", "!CANCELED")},
            absent_is_zero=True,
        ),
        Rule(
            "rejected", "counter", ("nv_inference_request_failure",), where={"reason": "REJECTED"}, absent_is_zero=True
        ),
        Rule(
            "server.queue",
            "ratio",
            ("nv_inference_queue_duration_us",),
            per=("nv_inference_request_success",),
            scale=1e-6,
        ),
        Rule("server.ttft", "histogram", ("nv_inference_first_response_histogram_ms",), scale=1e-3),
        Rule(
            "server.e2e",
            "ratio",
            ("nv_inference_request_duration_us",),
            per=("nv_inference_request_success",),
            scale=1e-6,
        ),
        Rule("gpu.utilisation", "gauge", ("nv_gpu_utilization",)),  # from 0 to 1
        Rule(
            "gpu.memory", "gauge", ("nv_gpu_memory_used_bytes",), per=("nv_gpu_memory_total_bytes",), by=("gpu_uuid",)
        ),
        Rule("gpu.power", "gauge", ("nv_gpu_power_usage",)),
        Rule("gpu.power_limit", "gauge", ("nv_gpu_power_limit",)),
        Rule("gpu.energy", "counter", ("nv_energy_consumption",)),
        Rule("cpu", "gauge", ("nv_cpu_utilization",)),
        Rule("memory", "gauge", ("nv_cpu_memory_used_bytes",), per=("nv_cpu_memory_total_bytes",)),
    ),
    updates_s=2.0,
)
"""Triton (docs/user_guide/metrics.md, core/src/metrics.cc) and its TensorRT-LLM backend. Counters of requests are per
model, so a request to an ensemble counts once for each of its members. Figures of GPUs are updated every 2 s."""

DYNAMO_WORKER = Engine(
    "Dynamo worker",
    # the front end has names of the router that begin with dynamo_component_, too
    signs=("dynamo_component_inflight_requests", "dynamo_component_requests", "dynamo_component_request_duration"),
    rules=(
        Rule("running", "gauge", ("dynamo_component_inflight_requests",), where={"dynamo_endpoint": "generate"}),
        # from 0 to 1, whatever the name says
        Rule(
            "kv.usage",
            "gauge",
            ("dynamo_component_gpu_cache_usage_percent", "dynamo_component_kvstats_gpu_cache_usage_percent"),
        ),
        Rule("finished", "counter", ("dynamo_component_requests",), where={"dynamo_endpoint": "generate"}),
        Rule("failed", "counter", ("dynamo_component_errors",), where={"dynamo_endpoint": "generate"}),
        Rule(
            "server.e2e",
            "histogram",
            ("dynamo_component_request_duration_seconds",),
            where={"dynamo_endpoint": "generate"},
        ),
    ),
)
"""A worker of NVIDIA Dynamo (docs/observability/metrics.md). It passes its engine's own metrics on, which are better."""

OLLAMA = Engine(
    "Ollama",
    signs=("ollama_",),
    rules=(
        Rule(
            "model.offloaded",
            "gauge",
            ("ollama_model_bytes",),
            per=("ollama_model_bytes",),
            where={"place": "vram"},
            per_where={"place": "all"},
            by=("model",),
            complement=True,
        ),
    ),
)
"""Ollama, of which a source of llmlocust reads /api/ps: it has no Prometheus metrics."""

GRADIO = Engine("Gradio", signs=("gradio_",), rules=(Rule("waiting", "gauge", ("gradio_queue_size",)),))
"""Gradio, of which a source of llmlocust reads the length of the queue: it has no Prometheus metrics."""

PYTHON = Engine(
    "Python process",
    signs=("python_info",),
    is_fallback=True,
    rules=(
        Rule("process.cpu", "rate", ("process_cpu_seconds",)),
        Rule("process.memory", "gauge", ("process_resident_memory_bytes",)),
        Rule("process.files", "gauge", ("process_open_fds",), per=("process_max_fds",)),
        Rule("restarts", "changes", ("process_start_time_seconds",)),
    ),
    version=("python_info", "version"),
)
"""The process of a server in Python, beside the server's own metrics. Go programs have the same `process_` names, but
those of node_exporter and its like are about the exporter and not about the server, so `python_info` is the sign."""

SERVERS = (VLLM, SGLANG, TGI, TEI, LLAMACPP, TENSORRT_LLM, TRITON, DYNAMO_WORKER, OLLAMA, GRADIO, PYTHON)
