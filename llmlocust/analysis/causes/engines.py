"""The engines that are recognised: their names, the options against each cause, and where they report their figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmlocust.analysis.causes.context import Context
from llmlocust.text.message import Message, message

VLLM, SGLANG, TGI, LLAMA_CPP, OLLAMA, TENSORRT = "vLLM", "SGLang", "TGI", "llama.cpp", "Ollama", "TensorRT-LLM"

_SIGNS: Mapping[str, tuple[str, ...]] = {
    VLLM: ("vllm",),
    SGLANG: ("sglang",),
    TGI: ("tgi", "text-generation-inference", "text generation inference"),
    LLAMA_CPP: ("llama.cpp", "llamacpp", "llama-cpp", "llama_cpp"),
    OLLAMA: ("ollama",),
    TENSORRT: ("tensorrt", "trtllm", "triton"),
}
"""By engine, beginnings of the names that it gives itself, in lower case: in its telemetry, or as the owner of its models
(`owned_by` of /v1/models)."""
_OWNERS = {"library": OLLAMA}
"""Owners of models that are no name of the engine: Ollama lists its models as those of a library."""


@dataclass(frozen=True)
class Option:
    """A setting of an engine that changes what binds."""

    name: str
    """As users write it."""
    settings: tuple[str, ...] = ()
    """Names under which a source may report its value."""
    telemetry: str = ""
    """Key of the vocabulary with its value."""


OPTIONS: Mapping[str, Mapping[str, tuple[Option, ...]]] = {
    "slots": {
        VLLM: (Option("--max-num-seqs", ("max_num_seqs",), "running.limit"),),
        SGLANG: (Option("--max-running-requests", ("max_running_requests",), "running.limit"),),
        TGI: (
            Option("--max-concurrent-requests", ("max_concurrent_requests",)),
            Option("--max-batch-total-tokens", ("max_batch_total_tokens",)),
        ),
        LLAMA_CPP: (Option("-np", ("np", "parallel", "total_slots"), "running.limit"),),
        OLLAMA: (Option("OLLAMA_NUM_PARALLEL", ("OLLAMA_NUM_PARALLEL",), "running.limit"),),
        TENSORRT: (Option("max_batch_size", ("max_batch_size",), "running.limit"),),
    },
    "kv_cache": {
        VLLM: (
            Option("--gpu-memory-utilization", ("gpu_memory_utilization",)),
            Option("--max-model-len", ("max_model_len",)),
            Option("--kv-cache-dtype fp8", ("cache_dtype", "kv_cache_dtype")),
        ),
        SGLANG: (
            Option("--mem-fraction-static", ("mem_fraction_static",)),
            Option("--kv-cache-dtype fp8_e5m2", ("kv_cache_dtype",)),
        ),
        TGI: (Option("--max-batch-total-tokens", ("max_batch_total_tokens",)), Option("--cuda-memory-fraction")),
        LLAMA_CPP: (Option("-c", ("c", "ctx_size", "n_ctx")), Option("--cache-type-k q8_0")),
        OLLAMA: (Option("OLLAMA_CONTEXT_LENGTH"), Option("OLLAMA_KV_CACHE_TYPE=q8_0")),
        TENSORRT: (Option("free_gpu_memory_fraction", ("free_gpu_memory_fraction",)),),
    },
    "prefill": {
        VLLM: (
            Option("--max-num-batched-tokens", ("max_num_batched_tokens",)),
            Option("--enable-prefix-caching", ("enable_prefix_caching",)),
        ),
        SGLANG: (Option("--chunked-prefill-size", ("chunked_prefill_size",)),),
        TGI: (Option("--max-batch-prefill-tokens", ("max_batch_prefill_tokens",)),),
        LLAMA_CPP: (Option("-ub", ("ub", "n_ubatch")), Option("--cache-reuse")),
        TENSORRT: (Option("max_num_tokens", ("max_num_tokens",)), Option("enable_block_reuse")),
    },
    "decode": {
        VLLM: (
            Option("--quantization", ("quantization",)),
            Option("--tensor-parallel-size", ("tensor_parallel_size",)),
        ),
        SGLANG: (Option("--quantization", ("quantization",)), Option("--tp-size", ("tp_size",))),
        TGI: (Option("--quantize", ("quantize",)), Option("--num-shard", ("num_shard",))),
        LLAMA_CPP: (Option("-ngl"), Option("-t", ("t", "threads", "n_threads"))),
        OLLAMA: (Option("OLLAMA_FLASH_ATTENTION"),),
        TENSORRT: (Option("--quantization"), Option("--tp_size")),
    },
    "compute": {
        VLLM: (
            Option("--quantization fp8", ("quantization",)),
            Option("--tensor-parallel-size", ("tensor_parallel_size",)),
        ),
        SGLANG: (Option("--quantization fp8", ("quantization",)), Option("--tp-size", ("tp_size",))),
        TGI: (Option("--quantize", ("quantize",)), Option("--num-shard", ("num_shard",))),
        LLAMA_CPP: (Option("-t", ("t", "threads", "n_threads")), Option("-ngl")),
    },
    "front_end": {
        VLLM: (Option("--api-server-count", ("api_server_count",)),),
        SGLANG: (Option("--tokenizer-worker-num", ("tokenizer_worker_num",)),),
        TGI: (Option("--validation-workers", ("validation_workers",)),),
        LLAMA_CPP: (Option("--threads-http"),),
    },
    "rate_limit": {
        VLLM: (Option("--max-num-queued-reqs", ("max_num_queued_reqs",)),),
        SGLANG: (Option("--max-queued-requests", ("max_queued_requests",)),),
        TGI: (Option("--max-concurrent-requests", ("max_concurrent_requests",)),),
        OLLAMA: (Option("OLLAMA_MAX_QUEUE"),),
    },
    "prefix_cache": {
        VLLM: (Option("--gpu-memory-utilization", ("gpu_memory_utilization",)), Option("--kv-offloading-size")),
        SGLANG: (Option("--mem-fraction-static", ("mem_fraction_static",)), Option("--enable-hierarchical-cache")),
        LLAMA_CPP: (Option("--cache-ram"),),
    },
}
"""The options by cause and engine. Sources: the engines' help texts and shared pages on tuning (vLLM docs/configuration/
optimization.md; SGLang docs/advanced_features/hyperparameter_tuning.md; TGI launcher; llama.cpp tools/server; Ollama
docs/faq.mdx; TensorRT-LLM LLM API)."""

_EXPOSES: Mapping[str, Message] = {
    VLLM: message(
        "vLLM's /metrics would tell (it is on unless --disable-log-stats is set): --llm-observe URL/metrics."
    ),
    SGLANG: message("SGLang's /metrics would tell: start it with --enable-metrics."),
    TGI: message("TGI's /metrics would tell: --llm-observe URL/metrics."),
    LLAMA_CPP: message("llama.cpp's /metrics would tell: start it with --metrics."),
    OLLAMA: message("Ollama has no /metrics; `llmlocust observe` beside the server would tell its CPU and GPU."),
    TENSORRT: message("TensorRT-LLM's /prometheus/metrics would tell: set return_perf_metrics."),
}
"""By engine, the source that would tell the cause."""


def engine_of(context: Context) -> str | None:
    """Return the engine under test: the one that its telemetry names, or else the owner of its models."""
    given = [source.engine or "" for source in context.sources] + [context.server]
    for text in given:
        lower = text.strip().lower()
        if lower in _OWNERS:
            return _OWNERS[lower]
        for engine, signs in _SIGNS.items():
            if lower.startswith(signs):
                return engine
    return None


def options_of(context: Context, key: str) -> tuple[Option, ...]:
    """Return the options of the recognised engine against a cause; none if no engine was recognised."""
    engine = engine_of(context)
    return OPTIONS.get(key, {}).get(engine, ()) if engine else ()


def present_value(context: Context, option: Option) -> str:
    """Return the present value of an option if a source reported it; otherwise an empty text."""
    settings = {name.strip("-").replace("-", "_").lower(): value for name, value in context.settings.items()}
    return next((settings[name.lower()] for name in option.settings if settings.get(name.lower())), "")


def missing_source(context: Context, key: str | None) -> Message | None:
    """Return the source that would tell the cause, or tell it with certainty; None if all are present."""
    exposed = {metric for source in context.sources if source.state == "ok" for metric in source.exposes}
    if not exposed & {"running", "waiting", "kv.usage", "server.queue"}:
        engine = engine_of(context)
        if engine is not None:
            return _EXPOSES[engine]
        return message("The server's own metrics would tell (--llm-observe URL).")
    if key is None and not any(metric.startswith("gpu.") for metric in exposed):
        return message("A GPU exporter, or `llmlocust observe` beside the server, would tell (--llm-observe URL).")
    if key is None and not exposed & {"process.cpu", "process.thread_cpu"}:
        return message("The CPU of the server's processes would tell: run `llmlocust observe` beside the server.")
    return None
