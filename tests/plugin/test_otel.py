"""--otel against a receiver of OTLP: what arrives there is what the run's files and the server tell."""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from tests.locusts import Locust, forked_workers, free_port, rows, run
from tests.simulators import running_simulator

pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry is not installed: pip install 'llmlocust[otel]'")

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

TWO_KINDS = """
from locust import task
from llmlocust import LLMUser, SteppedRamp

class Both(LLMUser):
    @task
    def chat_and_complete(self):
        self.chat(name="chat")
        self.complete(name="completion", stream=False)

class Ramp(SteppedRamp):
    pass
"""
FAILING = {"slots": 8, "step_ms": 5, "fault": "http:503", "fault_share": 0.2}
SHORT = ["--llm-levels", "3", "--llm-warmup", "0", "--llm-hold", "2", "--llm-max-tokens", "20"]


class Receiver:
    """The newest points of each process, as OTLP has them: they are cumulative."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._points: dict[tuple[Any, ...], tuple[dict[str, Any], Any]] = {}
        self.instances: dict[str, set[str]] = defaultdict(set)
        """By metric, who sent it: their `service.instance.id`."""

    @property
    def environment(self) -> dict[str, str]:
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        }

    def take(self, body: bytes) -> None:
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            resource_attributes = {
                attribute.key: value_of(attribute.value) for attribute in resource.resource.attributes
            }
            instance = resource_attributes.get("service.instance.id", "")
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self.instances[metric.name].add(instance)
                    for point in metric.histogram.data_points:
                        attributes = {attribute.key: value_of(attribute.value) for attribute in point.attributes}
                        who = (instance, point.start_time_unix_nano)
                        place = (metric.name, metric.unit, *sorted(attributes.items()), *who)
                        self._points[place] = (attributes, point)

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        return [point for place, point in self._points.items() if place[0] == name]

    def unit(self, name: str) -> set[str]:
        return {place[1] for place in self._points if place[0] == name}

    def counts(self, name: str, *attributes: str) -> Counter[Any]:
        counts: Counter[Any] = Counter()
        for values, point in self.points(name):
            counts[tuple(values.get(attribute, "") for attribute in attributes)] += point.count
        return counts

    def sums(self, name: str, attribute: str) -> dict[str, float]:
        sums: dict[str, float] = defaultdict(float)
        for values, point in self.points(name):
            sums[values[attribute]] += point.sum
        return sums


def value_of(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.take(body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_address[1])
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()


def test_every_request_is_told_once_with_the_conventions_names(tmp_path):
    with receiving() as receiver, running_simulator(model="some-model", **FAILING) as simulator:
        run(
            tmp_path,
            simulator.url,
            "--otel",
            *SHORT,
            locustfile=TWO_KINDS,
            environment=receiver.environment,
        )
        known = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "some-model"}
    known |= {"server.address": "127.0.0.1", "server.port": simulator.port}
    sent = [row for row in rows(tmp_path, "llm_requests.csv") if row["outcome"] != "aborted"]
    kind = {"chat": "chat", "completion": "text_completion"}

    duration = "gen_ai.client.operation.duration"
    assert receiver.unit(duration) == {"s"}
    assert receiver.counts(duration, "gen_ai.operation.name", "error.type") == Counter(
        (kind[row["name"]], row["outcome"].replace("ok", "")) for row in sent
    )
    assert {row["outcome"] for row in sent} == {"ok", "http_503"}
    for attributes, _ in receiver.points(duration):
        assert attributes.items() >= known.items()
    assert receiver.sums(duration, "gen_ai.operation.name")["chat"] == pytest.approx(
        sum(float(row["duration"]) for row in sent if row["name"] == "chat") / 1e3, rel=1e-3
    )

    first = "gen_ai.client.operation.time_to_first_chunk"
    assert receiver.unit(first) == {"s"}
    assert receiver.counts(first, "gen_ai.operation.name") == {("chat",): sum(bool(row["ttft"]) for row in sent)}

    usage = "gen_ai.client.token.usage"
    assert receiver.unit(usage) == {"{token}"}
    assert receiver.sums(usage, "gen_ai.token.type") == {
        "input": sum(int(row["input_tokens"] or 0) for row in sent),
        "output": sum(int(row["output_tokens"] or 0) for row in sent),
    }


def test_workers_tell_for_themselves(tmp_path):
    bind = str(free_port())
    master = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", bind, "--expect-workers", "2"]
    with receiving() as receiver, running_simulator(slots=8, step_ms=5) as simulator:
        options = ["--headless", "--host", simulator.url, "--csv", "run", *SHORT]
        worker = ["--worker", "--otel", "--master-host", "127.0.0.1", "--master-port", bind]
        with ExitStack() as stack:
            first = stack.enter_context(Locust(tmp_path, [*master, *options]))
            rest = [stack.enter_context(Locust(tmp_path, worker, environment=receiver.environment)) for _ in range(2)]
            assert [process.ends() for process in (first, *rest)] == [0, 0, 0]
    sent = [row for row in rows(tmp_path, "llm_requests.csv") if row["outcome"] != "aborted"]
    assert len({row["worker"] for row in sent}) == 2
    assert receiver.counts("gen_ai.client.operation.duration").total() == len(sent)


def test_workers_that_are_forked_are_told_apart(tmp_path):
    with receiving() as receiver, running_simulator(slots=8, step_ms=5) as simulator:
        run(tmp_path, simulator.url, *forked_workers(2), "--otel", *SHORT, environment=receiver.environment)
    sent = [row for row in rows(tmp_path, "llm_requests.csv") if row["outcome"] != "aborted"]
    workers = receiver.instances["gen_ai.client.operation.duration"]
    assert len(workers - {""}) == len({row["worker"] for row in sent}) == 2
    assert workers.isdisjoint(receiver.instances["locust.users.count"])  # which is the master's
    assert receiver.counts("gen_ai.client.operation.duration").total() == len(sent)


def test_the_buckets_are_those_of_the_conventions(monkeypatch):
    from llmlocust.plugin.http.client import Endpoint
    from llmlocust.plugin.views.otel import GenAIMetrics
    from tests.metrics.records import record_of

    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    monkeypatch.setattr("opentelemetry.metrics.get_meter", provider.get_meter)
    GenAIMetrics().record(
        record_of([0.3, 0.4], input_tokens=7), "openai-chat", "", Endpoint("https://api.example.com/v1")
    )
    metrics = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    points = {metric.name.removeprefix("gen_ai.client."): metric.data.data_points for metric in metrics}

    assert set(points) == {"operation.duration", "operation.time_to_first_chunk", "token.usage"}
    assert points["operation.duration"][0].explicit_bounds == tuple(0.01 * 2**power for power in range(14))
    assert points["token.usage"][0].explicit_bounds == tuple(4**power for power in range(14))
    attributes = points["operation.duration"][0].attributes
    assert (attributes["server.address"], attributes["server.port"]) == ("api.example.com", 443)
    assert "gen_ai.request.model" not in attributes
    assert {point.attributes["gen_ai.token.type"]: point.sum for point in points["token.usage"]} == {
        "input": 7,
        "output": 2,
    }


@pytest.mark.parametrize("is_enabled", [True, False])
def test_without_the_packages_or_the_option_nothing_is_recorded(monkeypatch, is_enabled):
    from llmlocust.plugin.views import otel

    if is_enabled:
        monkeypatch.setitem(sys.modules, "opentelemetry", None)  # importing it is an ImportError then
    assert otel.of(SimpleNamespace(parsed_options=SimpleNamespace(otel=is_enabled))) is None


@pytest.mark.parametrize(
    "environ, signals",
    [
        ({}, "metrics and traces and logs"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "console"}, "metrics"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, ""),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "grpc"}, "logs"),
        ({"OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}, ""),
    ],
)
def test_grpc_is_warned_of(environ, signals):
    from llmlocust.plugin.views.otel import _over_grpc

    assert _over_grpc(environ) == signals
