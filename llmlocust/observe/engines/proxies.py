"""Proxies, routers and gateways in front of servers. All of their metrics are those of a proxy: the servers count their own.

The sources of the names are the code of each program.
"""

from __future__ import annotations

from llmlocust.observe.rules import Engine, Labels, Rule

DYNAMO_FRONTEND = Engine(
    "Dynamo front end",
    signs=("dynamo_frontend_",),
    rules=(
        Rule("proxy.in_flight", "gauge", ("dynamo_frontend_inflight_requests",)),
        # not dynamo_frontend_queued_requests, which includes the prefill
        Rule("proxy.queued", "gauge", ("dynamo_frontend_router_queue_pending_requests",)),
        Rule("proxy.requests", "counter", ("dynamo_frontend_requests",)),
        Rule("proxy.failed", "counter", ("dynamo_frontend_requests",), where={"status": "error"}),
        Rule("proxy.ttft", "histogram", ("dynamo_frontend_time_to_first_token_seconds",)),
        Rule("proxy.e2e", "histogram", ("dynamo_frontend_request_duration_seconds",)),
    ),
    settings={
        "max_num_seqs": "dynamo_frontend_model_max_num_seqs",
        "max_num_batched_tokens": "dynamo_frontend_model_max_num_batched_tokens",
        "block_size": "dynamo_frontend_model_kv_cache_block_size",
        "total_kv_blocks": "dynamo_frontend_model_total_kv_blocks",
    },
)
"""The front end of NVIDIA Dynamo (lib/runtime/src/metrics/prometheus_names.rs)."""

EPP = Engine(
    "llm-d EPP",
    signs=("inference_objective_", "inference_model_", "inference_pool_", "inference_extension_"),
    rules=(
        Rule("proxy.in_flight", "gauge", ("inference_objective_running_requests", "inference_model_running_requests")),
        Rule("proxy.queued", "gauge", ("inference_extension_flow_control_queue_size",)),
        Rule("proxy.requests", "counter", ("inference_objective_request", "inference_model_request")),
        Rule("proxy.failed", "counter", ("inference_objective_request_error", "inference_model_request_error")),
        Rule("proxy.overhead", "histogram", ("inference_extension_scheduler_e2e_duration_seconds",)),
        Rule("proxy.queue", "histogram", ("inference_extension_flow_control_request_queue_duration_seconds",)),
        Rule("proxy.ttft", "histogram", ("inference_objective_request_ttft_seconds",)),
        Rule(
            "proxy.e2e",
            "histogram",
            ("inference_objective_request_duration_seconds", "inference_model_request_duration_seconds"),
        ),
    ),
    version=("inference_extension_info", "build_ref"),
)
"""The endpoint picker of llm-d and of Kubernetes' inference gateway (pkg/epp/metrics/metrics.go). The averages of its pool
are not used: an average over pods is neither their sum nor their maximum."""

LITELLM = Engine(
    "LiteLLM",
    signs=("litellm_",),
    rules=(
        Rule("proxy.in_flight", "gauge", ("litellm_in_flight_requests",)),
        Rule("proxy.requests", "counter", ("litellm_proxy_total_requests_metric",)),
        Rule("proxy.failed", "counter", ("litellm_proxy_failed_requests_metric",)),
        Rule("proxy.overhead", "histogram", ("litellm_overhead_latency_metric",)),
        Rule("proxy.queue", "histogram", ("litellm_request_queue_time_seconds",)),
        Rule("proxy.ttft", "histogram", ("litellm_llm_api_time_to_first_token_metric",)),
        Rule("proxy.e2e", "histogram", ("litellm_request_total_latency_metric",)),
    ),
)
"""LiteLLM's proxy 1.110 (litellm/integrations/prometheus.py)."""

_ROUTER: Labels = {"server": "!"}

VLLM_ROUTER = Engine(
    "vLLM router",
    signs=("vllm:current_qps", "vllm:healthy_pods", "vllm:num_incoming_requests", "vllm:routing_decisions"),
    rules=(
        # requests that the router has sent on, one series per server: not those in the server's batch
        Rule("proxy.in_flight", "gauge", ("vllm:num_requests_running",), where=_ROUTER),
        Rule("proxy.queued", "gauge", ("vllm:num_requests_waiting",), where=_ROUTER),
        Rule("proxy.requests", "counter", ("vllm:num_incoming_requests",)),
        Rule("proxy.failed", "counter", ("vllm:request_errors",), where=_ROUTER),
        Rule("proxy.e2e", "histogram", ("vllm:request_latency_seconds",), where=_ROUTER),
    ),
)
"""The router of vLLM's production stack (src/vllm_router/services/metrics_service)."""

NGINX = Engine(
    "nginx",
    signs=("nginx_connections_", "nginx_http_requests", "nginx_up"),
    rules=(
        # an idle connection is "waiting"; the request of the exporter is one that is "writing"
        Rule("proxy.in_flight", "gauge", ("nginx_connections_reading", "nginx_connections_writing"), adds=True),
        Rule("proxy.requests", "counter", ("nginx_http_requests",)),
    ),
    version=("nginx_exporter_build_info", "version"),
)
"""nginx's stub_status by nginx-prometheus-exporter: no status codes, no times."""

_CODES = ("1xx", "2xx", "3xx", "4xx", "5xx")
"""Not "total", which newer releases have beside them."""
_ALL_HOSTS: Labels = {"host": "*", "code": _CODES}

NGINX_VTS = Engine(
    "nginx VTS",
    signs=("nginx_vts_",),
    rules=(
        Rule("proxy.in_flight", "gauge", ("nginx_vts_main_connections",), where={"status": ("reading", "writing")}),
        Rule("proxy.requests", "counter", ("nginx_vts_server_requests",), where=_ALL_HOSTS),
        Rule("proxy.failed", "counter", ("nginx_vts_server_requests",), where={"host": "*", "code": "5xx"}),
        Rule(
            "proxy.e2e",
            "ratio",
            ("nginx_vts_server_request_seconds",),
            per=("nginx_vts_server_requests",),
            where={"host": "*"},
            per_where=_ALL_HOSTS,
        ),
        Rule("restarts", "changes", ("nginx_vts_start_time_seconds",)),
    ),
    version=("nginx_vts_info", "version"),
)
"""nginx with the module VTS (src/ngx_http_vhost_traffic_status_display_prometheus.h). The host "*" is the sum of all."""

PROXIES = (DYNAMO_FRONTEND, EPP, LITELLM, VLLM_ROUTER, NGINX, NGINX_VTS)
