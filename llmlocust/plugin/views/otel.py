"""`GenAIMetrics`: the metrics of OpenTelemetry's conventions for generative AI, for every request (--otel).

Locust sets up the providers and exporters in each process that has --otel; this module only records values. Recording one
costs about 10 µs, so each request records at most four, and no token records any: `time_per_output_chunk` is omitted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from llmlocust.plugin import console
from llmlocust.stream.record import Record

if TYPE_CHECKING:
    from locust.env import Environment

    from llmlocust.plugin.http.client import Endpoint

# bucket boundaries of the conventions
_SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
_TOKENS = [4**power for power in range(14)]

_NOT_GRPC = "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"


class GenAIMetrics:
    """The histograms. Raises ImportError if OpenTelemetry is not installed."""

    def __init__(self) -> None:
        from opentelemetry import metrics

        meter = metrics.get_meter("llmlocust", version("llmlocust"))
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "Time to receive the first chunk that has tokens.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )

    def record(self, record: Record, operation: str, model: str, endpoint: Endpoint) -> None:
        """Record a request that has ended. `error.type` is the outcome of a failed request."""
        attributes = _attributes(operation, model, endpoint.host, endpoint.port)
        if record.ok:
            self._duration.record(record.duration, attributes)
        else:
            self._duration.record(record.duration, attributes | {"error.type": record.outcome})
        if record.ttft is not None:
            self._first_chunk.record(record.ttft, attributes)
        for kind, tokens in (("input", record.input_tokens), ("output", record.output_tokens)):
            if tokens is not None:
                self._tokens.record(tokens, _with_token_type(kind, operation, model, endpoint.host, endpoint.port))


def of(environment: Environment) -> GenAIMetrics | None:
    """Return the metrics of an environment; None without --otel, or without OpenTelemetry, which Locust reports."""
    if not getattr(environment.parsed_options, "otel", False):
        return None
    try:
        metrics = GenAIMetrics()
    except ImportError:
        return None
    if signals := _over_grpc(os.environ):
        console.say(f"--otel sends its {signals} over gRPC, and no answer can be read meanwhile: {_NOT_GRPC}")
    return metrics


def _over_grpc(environ: Mapping[str, str]) -> str:
    """Return the signals that Locust exports over gRPC, such as "metrics and traces"; empty if none.

    The core of gRPC does not yield to gevent: each export blocks the event loop for as long as the receiver takes.
    """
    usual = environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    return " and ".join(
        kind.lower()
        for kind in ("METRICS", "TRACES", "LOGS")
        if "otlp" in environ.get(f"OTEL_{kind}_EXPORTER", "otlp").lower()
        and environ.get(f"OTEL_EXPORTER_OTLP_{kind}_PROTOCOL", usual).strip().lower() == "grpc"
    )


@cache
def _attributes(operation: str, model: str, host: str, port: int) -> dict[str, Any]:
    known = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "openai",  # the protocol's provider: the server's is not known
        "server.address": host,
        "server.port": port,
    }
    return known | ({"gen_ai.request.model": model} if model else {})


@cache
def _with_token_type(kind: str, *of_request: Any) -> dict[str, Any]:
    return _attributes(*of_request) | {"gen_ai.token.type": kind}
