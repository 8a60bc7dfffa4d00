"""The engines that are recognised: their names, the options against each cause, and where they report their figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmlocust.analysis.causes.context import Context
from llmlocust.metrics.levels import LevelFigures
from llmlocust.text import figures as words
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


RAISE, LOWER, SET = "raise", "lower", "set"
"""How an option is to be changed."""


@dataclass(frozen=True)
class Option:
    """A setting of an engine that changes what binds."""

    name: str
    """As users write it."""
    change: str = RAISE
    """RAISE, LOWER or SET."""
    settings: tuple[str, ...] = ()
    """Names under which a source may report its value."""
    telemetry: str = ""
    """Key of the vocabulary with its value."""


_MEMORY = Option("--gpu-memory-utilization", RAISE, ("gpu_memory_utilization",))
_STATIC = Option("--mem-fraction-static", RAISE, ("mem_fraction_static",))
_THREADS = Option("-t", RAISE, ("t", "threads", "n_threads"))

OPTIONS: Mapping[str, Mapping[str, tuple[Option, ...]]] = {
    "slots": {
        VLLM: (Option("--max-num-seqs", RAISE, ("max_num_seqs",), "running.limit"),),
        SGLANG: (Option("--max-running-requests", RAISE, ("max_running_requests",), "running.limit"),),
        TGI: (
            Option("--max-batch-total-tokens", RAISE, ("max_batch_total_tokens",)),
            Option("--max-batch-size", RAISE, ("max_batch_size",)),
        ),
        LLAMA_CPP: (Option("-np", RAISE, ("np", "parallel", "total_slots"), "running.limit"),),
        OLLAMA: (Option("OLLAMA_NUM_PARALLEL", RAISE, ("OLLAMA_NUM_PARALLEL",), "running.limit"),),
        TENSORRT: (Option("max_batch_size", RAISE, ("max_batch_size",), "running.limit"),),
    },
    "kv_cache": {
        VLLM: (
            _MEMORY,
            Option("--max-model-len", LOWER, ("max_model_len",)),
            Option("--kv-cache-dtype fp8", SET, ("cache_dtype", "kv_cache_dtype")),
        ),
        SGLANG: (_STATIC, Option("--kv-cache-dtype fp8_e5m2", SET, ("kv_cache_dtype",))),
        TGI: (
            Option("--max-batch-total-tokens", RAISE, ("max_batch_total_tokens",)),
            Option("--cuda-memory-fraction", RAISE, ("cuda_memory_fraction",)),
        ),
        LLAMA_CPP: (Option("-c", RAISE, ("c", "ctx_size", "n_ctx"), "kv.tokens"), Option("-ctk q8_0 -ctv q8_0", SET)),
        OLLAMA: (Option("OLLAMA_CONTEXT_LENGTH"), Option("OLLAMA_KV_CACHE_TYPE=q8_0", SET)),
        TENSORRT: (Option("free_gpu_memory_fraction", RAISE, ("free_gpu_memory_fraction",)),),
    },
    "prefill": {
        VLLM: (
            Option("--max-num-batched-tokens", RAISE, ("max_num_batched_tokens",)),
            Option("--enable-prefix-caching", SET, ("enable_prefix_caching",)),
        ),
        SGLANG: (Option("--chunked-prefill-size", RAISE, ("chunked_prefill_size",)),),
        TGI: (Option("--max-batch-prefill-tokens", RAISE, ("max_batch_prefill_tokens",)),),
        LLAMA_CPP: (Option("-ub", RAISE, ("ub", "n_ubatch")), Option("--cache-reuse", SET)),
        TENSORRT: (Option("max_num_tokens", RAISE, ("max_num_tokens",)), Option("enable_block_reuse", SET)),
    },
    "decode": {
        VLLM: (
            Option("--quantization", SET, ("quantization",)),
            Option("--tensor-parallel-size", RAISE, ("tensor_parallel_size",)),
        ),
        SGLANG: (Option("--quantization", SET, ("quantization",)), Option("--tp-size", RAISE, ("tp_size",))),
        TGI: (Option("--quantize", SET, ("quantize",)), Option("--num-shard", RAISE, ("num_shard",))),
        LLAMA_CPP: (_THREADS, Option("-ngl", RAISE)),
        OLLAMA: (Option("OLLAMA_FLASH_ATTENTION=1", SET),),
        TENSORRT: (Option("quant_config", SET), Option("tensor_parallel_size")),
    },
    "compute": {
        VLLM: (
            Option("--quantization fp8", SET, ("quantization",)),
            Option("--tensor-parallel-size", RAISE, ("tensor_parallel_size",)),
        ),
        SGLANG: (Option("--quantization fp8", SET, ("quantization",)), Option("--tp-size", RAISE, ("tp_size",))),
        TGI: (Option("--quantize", SET, ("quantize",)), Option("--num-shard", RAISE, ("num_shard",))),
        LLAMA_CPP: (_THREADS, Option("-ngl", RAISE)),
    },
    "front_end": {
        VLLM: (Option("--api-server-count", RAISE, ("api_server_count",)),),
        SGLANG: (Option("--tokenizer-worker-num", RAISE, ("tokenizer_worker_num",)),),
        TGI: (Option("--validation-workers", RAISE, ("validation_workers",)),),
        LLAMA_CPP: (Option("--threads-http"),),
    },
    "rate_limit": {
        VLLM: (Option("--max-num-queued-reqs", RAISE, ("max_num_queued_reqs",)),),
        SGLANG: (Option("--max-queued-requests", RAISE, ("max_queued_requests",)),),
        TGI: (Option("--max-concurrent-requests", RAISE, ("max_concurrent_requests",)),),
        OLLAMA: (Option("OLLAMA_MAX_QUEUE"),),
    },
    "prefix_cache": {
        VLLM: (_MEMORY,),
        SGLANG: (_STATIC, Option("--enable-hierarchical-cache", SET)),
        LLAMA_CPP: (Option("--cache-ram"),),
    },
}
"""The options by cause and engine, as these versions have them: vLLM 0.32.0 (`vllm serve --help=all`), llama.cpp b11434
(`llama-server --help`), SGLang docs/advanced_features/server_arguments.md (004813e), TGI docs/source/reference/launcher.md
(032fc4c), Ollama envconfig/config.go (000ce02), TensorRT-LLM tensorrt_llm/llmapi/llm_args.py. tests/real compares those of
vLLM and llama.cpp with the installed ones."""
_UNSET = ("", "none", "false", "0", "auto", "float16", "bfloat16", "float32", "f16")
"""Values of an option that are no choice of the user, in lower case."""

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


def present_value(context: Context, option: Option, levels: Sequence[LevelFigures]) -> str:
    """Return the present value of an option, from the settings or the telemetry of a source; otherwise an empty text."""
    settings = {name.strip("-").replace("-", "_").lower(): value for name, value in context.settings.items()}
    reported = next((settings[name.lower()] for name in option.settings if settings.get(name.lower())), "")
    values = [summary.mean for level in levels if (summary := level.reported(option.telemetry)) is not None]
    return reported or next((words.digits(value) for value in reversed(values) if value > 0), "")


def is_set(option: Option, value: str) -> bool:
    """Return whether an option that should be set is set already. `value`: its present value; empty if it is not known."""
    return option.change == SET and value.lower() not in _UNSET


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
