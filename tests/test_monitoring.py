"""The dashboard queries existing metrics: checked by name and, if Prometheus is installed, with the query of every panel."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from llmlocust.analysis.live import Live
from llmlocust.plugin.views.prometheus import Collector
from tests.locusts import free_port, outcomes, run_info
from tests.played_run import PlayedRun
from tests.simulators import PATIENCE, ROOT, RunningSimulator, running_simulator, wait_for
from tests.web_ui import running

FOLDER = ROOT / "monitoring"
DASHBOARD = json.loads((FOLDER / "grafana/llmlocust.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
OTEL = {"gen_ai_client_operation_duration_seconds", "gen_ai_client_operation_time_to_first_chunk_seconds"}
OTEL |= {"gen_ai_client_token_usage"}
"""OpenTelemetry's metrics as Prometheus writes their names: with _ for dots, and with the unit."""


def names_of(query: str) -> set[str]:
    names = re.findall(r"\b(?:llmlocust_|gen_ai_client_|vllm:)\w+", query)
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in names}


def test_panels_query_existing_metrics():
    run = PlayedRun("ttft.p95 < 500ms")
    run.level(2, 20)
    run.level(4, 20, ttft=2.0)
    run.begin(1)
    run.warmup()
    run.play(3, 1)
    run.ledger.seconds.merge(int(run.at) - 1, {"client_lag": 0.3})
    ours = {f"{family.name}{'_total' * (family.type == 'counter')}" for family in Collector(Live(run)).collect()}
    with running_simulator() as simulator:
        servers = set(re.findall(r"^# TYPE (\S+)", simulator.get("/metrics").decode(), re.MULTILINE))
    queried = {name for query in QUERIES for name in names_of(query)}

    assert queried - ours - servers == OTEL
    # the dashboard has all metrics except those that need no chart
    assert ours - queried == {"llmlocust_running", "llmlocust_run_started_timestamp_seconds", "llmlocust_level"} | {
        "llmlocust_measured_tokens_total"
    }


def test_every_query_is_for_the_chosen_prometheus_and_panels_do_not_overlap():
    for panel in PANELS:
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_services_mount_existing_files():
    mounts = re.findall(r"- \./(monitoring/\S+?):", (ROOT / "docker-compose.yml").read_text())
    assert len(mounts) == 3
    for mount in mounts:
        assert (ROOT / mount).exists()


# ── with Prometheus ──


class Prometheus:
    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, **more: Any) -> Any:
        with urlopen(f"http://127.0.0.1:{self.port}/{path}?{urlencode(more)}", timeout=PATIENCE) as answer:
            return answer.read().decode()

    def ready(self) -> bool:
        try:
            return "Ready" in self.get("-/ready")
        except OSError:
            return False

    def values(self, query: str, began: float, ended: float) -> list[float]:
        """Return all values of a panel's query in a period, without NaN."""
        query = query.replace("$__rate_interval", "10s").replace("$name", ".*")
        answer = json.loads(self.get("api/v1/query_range", query=query, start=began, end=ended, step=1))
        assert answer["status"] == "success"
        series = answer["data"]["result"]
        return [value for line in series for _, text in line["values"] if (value := float(text)) == value]


def flags_for_otlp() -> list[str]:
    """Return the flags that enable OTLP; none for a Prometheus that is built without it."""
    with_otlp = "--web.enable-otlp-receiver"
    child = subprocess.run(["prometheus", with_otlp, "--version"], capture_output=True, check=False)
    return [with_otlp] if child.returncode == 0 else []


@contextmanager
def prometheus(folder: Path, master: int, simulator: RunningSimulator, *flags: str) -> Iterator[Prometheus]:
    """Start Prometheus with the configuration of the compose file."""
    text = (FOLDER / "prometheus.yml").read_text().replace("5s", "1s")
    text = text.replace("master:8089", f"127.0.0.1:{master}").replace("simulator:8000", f"127.0.0.1:{simulator.port}")
    (folder / "prometheus.yml").write_text(text)
    server = Prometheus(free_port())
    options = ["--config.file=prometheus.yml", f"--storage.tsdb.path={folder / 'tsdb'}", *flags]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            ["prometheus", *options, f"--web.listen-address=127.0.0.1:{server.port}"],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
        try:
            wait_for(server.ready)
            yield server
        finally:
            process.terminate()
            process.wait()


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed")
def test_prometheus_answers_every_panel(tmp_path, monkeypatch):
    web, flags = free_port(), flags_for_otlp()
    with (
        running_simulator(slots=2, step_ms=5, fault="http:503", fault_share=0.2) as simulator,
        prometheus(tmp_path, web, simulator, *flags) as server,
    ):
        for name, value in otlp_to(server.port).items():
            monkeypatch.setenv(name, value)
        with running(tmp_path, simulator.url, 0, "--csv", "run", *["--otel" for _ in flags], port=web) as ui:
            ui.start(llm_levels="1,12", llm_hold="6", llm_threshold="ttft.p50 < 200ms")
            wait_for(lambda: (tmp_path / "run_llm_run.json").exists() and run_info(tmp_path)["ended"])
            began, ended = run_info(tmp_path)["started"] - 1, run_info(tmp_path)["ended"] + 10
            for query in QUERIES:
                if flags or not names_of(query) & OTEL:
                    wait_for(
                        lambda query=query: server.values(query, began, ended) or query,
                        lambda values: isinstance(values, list),
                    )
            total = "max_over_time(llmlocust_requests_ended_total[1m])"
            wait_for(lambda: max(server.values(total, began, ended)), lambda seen: seen == outcomes(tmp_path).total())


def otlp_to(port: int) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{port}/api/v1/otlp/v1/metrics",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
