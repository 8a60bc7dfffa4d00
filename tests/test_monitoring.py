"""The dashboard asks for what there is: by name, and, where Prometheus is installed, by asking it every panel's question."""

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
from tests.locusts import free_port, outcomes, told
from tests.played_run import PlayedRun
from tests.simulators import PATIENCE, ROOT, RunningSimulator, running_simulator, wait_for
from tests.web_ui import running

FOLDER = ROOT / "monitoring"
DASHBOARD = json.loads((FOLDER / "grafana/llmlocust.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUESTIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
OTEL = {"gen_ai_client_operation_duration_seconds", "gen_ai_client_operation_time_to_first_chunk_seconds"}
OTEL |= {"gen_ai_client_token_usage"}
"""As Prometheus writes the names of OpenTelemetry: with _ for the dots, and their unit."""


def names_of(question: str) -> set[str]:
    found = re.findall(r"\b(?:llmlocust_|gen_ai_client_|vllm:)\w+", question)
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in found}


def test_panels_ask_for_metrics_that_there_are():
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
    asked = {name for question in QUESTIONS for name in names_of(question)}

    assert asked - ours - servers == OTEL
    # all that there is stands on the dashboard, but for what needs no picture
    assert ours - asked == {"llmlocust_running", "llmlocust_run_started_timestamp_seconds", "llmlocust_level"} | {
        "llmlocust_measured_tokens_total"
    }


def test_every_question_is_of_the_chosen_prometheus_and_every_place_is_taken_once():
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


def test_the_services_are_given_the_files_that_there_are():
    mounts = re.findall(r"- \./(monitoring/\S+?):", (ROOT / "docker-compose.yml").read_text())
    assert len(mounts) == 3
    for mount in mounts:
        assert (ROOT / mount).exists()


# ── with Prometheus ──


class Prometheus:
    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, what: str, **more: Any) -> Any:
        with urlopen(f"http://127.0.0.1:{self.port}/{what}?{urlencode(more)}", timeout=PATIENCE) as answer:
            return answer.read().decode()

    def ready(self) -> bool:
        try:
            return "Ready" in self.ask("-/ready")
        except OSError:
            return False

    def values(self, question: str, began: float, ended: float) -> list[float]:
        """All that is known of a panel's question over a time, but for NaN."""
        question = question.replace("$__rate_interval", "10s").replace("$name", ".*")
        answer = json.loads(self.ask("api/v1/query_range", query=question, start=began, end=ended, step=1))
        assert answer["status"] == "success"
        series = answer["data"]["result"]
        return [value for each in series for _, text in each["values"] if (value := float(text)) == value]


def flags_for_otlp() -> list[str]:
    """Some distributions build Prometheus without it."""
    with_otlp = "--web.enable-otlp-receiver"
    asked = subprocess.run(["prometheus", with_otlp, "--version"], capture_output=True, check=False)
    return [with_otlp] if asked.returncode == 0 else []


@contextmanager
def prometheus(folder: Path, master: int, simulator: RunningSimulator, *flags: str) -> Iterator[Prometheus]:
    """With the configuration of the compose file."""
    told = (FOLDER / "prometheus.yml").read_text().replace("5s", "1s")
    told = told.replace("master:8089", f"127.0.0.1:{master}").replace("simulator:8000", f"127.0.0.1:{simulator.port}")
    (folder / "prometheus.yml").write_text(told)
    asked = Prometheus(free_port())
    options = ["--config.file=prometheus.yml", f"--storage.tsdb.path={folder / 'tsdb'}", *flags]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            ["prometheus", *options, f"--web.listen-address=127.0.0.1:{asked.port}"], cwd=folder, stdout=log, stderr=log
        )
        try:
            wait_for(asked.ready)
            yield asked
        finally:
            process.terminate()
            process.wait()


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed")
def test_prometheus_answers_every_panel(tmp_path, monkeypatch):
    web, flags = free_port(), flags_for_otlp()
    with (
        running_simulator(slots=2, step_ms=5, fault="http:503", fault_share=0.2) as simulator,
        prometheus(tmp_path, web, simulator, *flags) as asked,
    ):
        for name, value in otlp_to(asked.port).items():
            monkeypatch.setenv(name, value)
        with running(tmp_path, simulator.url, 0, "--csv", "run", *["--otel" for _ in flags], port=web) as ui:
            ui.start(llm_levels="1,12", llm_hold="6", llm_threshold="ttft.p50 < 200ms")
            wait_for(lambda: (tmp_path / "run_llm_run.json").exists() and told(tmp_path)["ended"])
            began, ended = told(tmp_path)["started"] - 1, told(tmp_path)["ended"] + 10
            for question in QUESTIONS:
                if flags or not names_of(question) & OTEL:
                    wait_for(
                        lambda question=question: asked.values(question, began, ended) or question,
                        lambda found: isinstance(found, list),
                    )
            over = "max_over_time(llmlocust_requests_ended_total[1m])"
            wait_for(lambda: max(asked.values(over, began, ended)), lambda seen: seen == outcomes(tmp_path).total())


def otlp_to(port: int) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{port}/api/v1/otlp/v1/metrics",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
