"""Why a server shows no metrics, and the option that exposes them: one sentence for the console, by the engine's name."""

from __future__ import annotations

from collections.abc import Mapping

HINTS: Mapping[str, str] = {
    "vLLM": "vLLM serves /metrics on its API port by default; --disable-log-stats removes the engine's metrics, "
    "and Ray Serve exports them on Ray's metrics port.",
    "SGLang": "SGLang serves /metrics only with --enable-metrics; without it, llmlocust reads /v1/loads.",
    "TGI": "TGI serves /metrics on its API port by default; nothing listens on its --prometheus-port.",
    "TEI": "TEI serves /metrics on its API port by default; its gRPC build serves it on --prometheus-port (9000).",
    "llama.cpp": "llama.cpp's server serves /metrics only with --metrics and answers 501 without it; "
    "a server with several models needs /metrics?model=NAME.",
    "TensorRT-LLM": "trtllm-serve serves /prometheus/metrics only with return_perf_metrics: true in its configuration, "
    "and figures of its queue and KV cache only with enable_iter_perf_stats: true; its /metrics is JSON.",
    "Triton": "Triton serves /metrics on port 8002 unless --allow-metrics=false is set.",
    "Dynamo front end": "Dynamo's front end serves /metrics on its API port by default.",
    "Dynamo worker": "A Dynamo worker serves /metrics only on the port that DYN_SYSTEM_PORT sets; it is off by default.",
    "Ollama": "Ollama has no /metrics; llmlocust reads the loaded models from /api/ps.",
    "Gradio": "Gradio has no /metrics; llmlocust reads the length of the queue from /gradio_api/queue/status.",
    "Python process": "A server in Python shows its process only in one process: with several, prometheus_client omits it.",
    "llm-d EPP": "The endpoint picker of llm-d serves /metrics on port 9090 and requires a bearer token.",
    "LiteLLM": 'LiteLLM serves /metrics only with callbacks: ["prometheus"] in litellm_settings.',
    "vLLM router": "The router of vLLM's production stack serves /metrics on its API port by default.",
    "nginx": "nginx needs stub_status and nginx-prometheus-exporter, which serves /metrics on port 9113.",
    "nginx VTS": "nginx needs the module VTS, which serves /status/format/prometheus.",
    "DCGM exporter": "dcgm-exporter serves /metrics on port 9400 and updates it every 30 s; -c 1000 makes it every second.",
    "AMD exporter": "AMD's device-metrics-exporter serves /metrics on port 5000.",
    "node_exporter": "node_exporter serves /metrics on port 9100.",
    "cAdvisor": "cAdvisor serves /metrics on port 8080, and a kubelet serves /metrics/cadvisor.",
    "kube-state-metrics": "kube-state-metrics serves /metrics on port 8080.",
    "process-exporter": "process-exporter serves /metrics on port 9256; -threads=false removes the figures of threads.",
}
"""The sentences. Sources of llmlocust itself have none."""
