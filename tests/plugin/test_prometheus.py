"""What /metrics tells Prometheus: of runs that are played, and of real ones, compared with their files and the server."""

import socket
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from llmlocust.analysis.live import Live
from llmlocust.metrics.histogram import bounds_of
from llmlocust.plugin.views.prometheus import EXPORTS, Collector
from tests.locusts import MANUAL_RAMP, Locust, end_level, forked_workers, free_port, rows, run_info, wait_for_level
from tests.played_run import PlayedRun
from tests.simulators import PATIENCE, RunningSimulator, running_simulator, wait_for
from tests.web_ui import WebUI, running

Samples = dict[tuple[str, tuple[str, ...]], float]


def read(text: str) -> Samples:
    """Samples by name and labels' values, `le` last; the parser of prometheus-client refuses what is no exposition."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, tuple(sample.labels[name] for name in in_order(sample))): sample.value for sample in samples}


def in_order(sample: Sample) -> list[str]:
    return sorted(sample.labels, key=lambda label: (label == "le", label))


def ask(collector: Collector) -> Samples:
    return read(generate_latest(collector).decode())


def test_without_a_run_it_says_that_none_is_on():
    assert ask(Collector(None)) == {("llmlocust_running", ()): 0.0}


def test_a_played_run_is_told_of():
    run = PlayedRun("ttft.p95 < 500ms")
    run.level(2, 10, warmup=1)
    run.begin(4)
    run.play(1, 4)
    run.warmup()
    run.play(4, 4)
    samples = ask(Collector(Live(run)))

    assert samples["llmlocust_running", ()] == 1.0
    assert samples["llmlocust_users", ()] == 4.0
    assert samples["llmlocust_client_cpu_ratio", ()] == 0.2
    assert samples["llmlocust_client_loop_lag_seconds", ()] == pytest.approx(1e-4)
    assert samples["llmlocust_level", ()] == 1.0
    assert samples["llmlocust_level_load", ("users",)] == 4.0
    assert samples["llmlocust_level_goodput_requests_per_second", ()] == pytest.approx(4.0, rel=0.3)
    assert samples["llmlocust_requests_sent_total", ()] == samples["llmlocust_requests_ended_total", ()] == 42.0
    assert samples["llmlocust_output_tokens_total", ()] == 420.0
    assert samples["llmlocust_measured_requests_total", ("chat", "ok")] == 36.0
    assert samples["llmlocust_measured_tokens_total", ("chat", "output")] == 360.0
    # two levels, one name: their counts are added
    assert samples["llmlocust_time_to_first_token_seconds_count", ("chat",)] == 36.0
    assert samples["llmlocust_time_to_first_token_seconds_sum", ("chat",)] == pytest.approx(3.6)
    assert samples["llmlocust_time_to_first_token_seconds_bucket", ("chat", "0.08")] == 0.0
    assert samples["llmlocust_time_to_first_token_seconds_bucket", ("chat", "0.1")] == 36.0
    assert samples["llmlocust_inter_token_latency_seconds_bucket", ("chat", "+Inf")] == 36.0 * 9


def test_the_slo_limit_is_told_where_it_is_known():
    run = PlayedRun("ttft.p95 < 500ms")
    run.level(2, 30, ttft=0.1)
    live = Live(run)
    assert not [name for name, _ in ask(Collector(live)) if name == "llmlocust_slo_limit"]
    run.level(4, 30, ttft=0.1)
    run.level(8, 30, ttft=2.0)
    run.end()
    samples = ask(Collector(Live(run)))
    assert 4.0 <= samples["llmlocust_slo_limit", ("given", "users")] < 8.0
    assert samples["llmlocust_running", ()] == 0.0
    assert ("llmlocust_users", ()) not in samples


def test_names_of_requests_may_be_anything():
    run = PlayedRun()
    run.begin(1)
    run.warmup()
    run.play(2, 1, name='a "name"\nof \\ two lines')
    assert ask(Collector(Live(run)))["llmlocust_measured_requests_total", ('a "name"\nof \\ two lines', "ok")] == 2.0


def test_no_counter_ever_decreases():
    run = PlayedRun()
    collector = Collector(Live(run))
    seen = []
    for ttft in (0.3, 0.02, 1.7, 0.0004, 0.08, 0.1):
        run.begin(3)
        run.warmup()
        run.play(2, 3, ttft)
        seen.append({k: v for k, v in ask(collector).items() if k[0].endswith(("_total", "_bucket", "_count", "_sum"))})
    for before, after in pairwise(seen):
        assert {name for name, value in before.items() if after[name] < value} == set()
    assert all(counts_rise(samples) for samples in seen)


def counts_rise(samples: Samples) -> bool:
    """Of the buckets of each histogram, in their order."""
    buckets: dict[tuple[str, ...], list[float]] = {}
    for (name, labels), value in samples.items():
        if name.endswith("_bucket"):
            buckets.setdefault((name, *labels[:-1]), []).append(value)
    return bool(buckets) and all(counts == sorted(counts) for counts in buckets.values())


def test_a_registry_can_be_given_it():
    registry = CollectorRegistry()
    run = PlayedRun()
    run.level(2, 5)
    registry.register(Collector(Live(run)))
    assert registry.get_sample_value("llmlocust_requests_sent_total") == 12.0


# ── real runs ──


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(slots=8, step_ms=5, fault="http:503", fault_share=0.2) as started:
        yield started


def counts_of_files(folder: Path) -> tuple[dict[str, Counter[int]], Counter[str]]:
    """Counts by metric and bucket, and sums of the timeline."""
    histograms: dict[str, Counter[int]] = {metric: Counter() for metric in EXPORTS}
    for row in rows(folder, "llm_histograms.csv"):
        if row["metric"] in EXPORTS:
            histograms[row["metric"]][int(row["bucket"])] += int(row["count"])
    totals: Counter[str] = Counter()
    for row in rows(folder, "llm_timeline.csv"):
        totals.update({what: float(row[what]) for what in ("sent", "ended", "failed", "tokens")})  # type: ignore[dict-item]
    return histograms, totals


@pytest.mark.parametrize("workers", [0, 2], ids=["alone", "with two workers"])
def test_it_tells_what_the_files_and_the_server_tell(simulator, tmp_path, workers):
    with running(tmp_path, simulator.url, workers, "--csv", "run", locustfile=MANUAL_RAMP) as ui:
        assert read(ui.get("/metrics")) == {("llmlocust_running", ()): 0.0}
        ui.start(llm_levels="3", llm_threshold="ttft.p95 < 10s")
        wait_for(lambda: read(ui.get("/metrics")), lambda samples: samples.get(("llmlocust_users", ()), 0) > 0)
        wait_for_level(tmp_path, 0)
        end_level(tmp_path, 0)
        ends_well(ui, tmp_path)
        samples = read(ui.get("/metrics"))
        ui.get("/llm/files/llm_levels.csv")  # brings all files up to date

        histograms, totals = counts_of_files(tmp_path)
        preflight = run_info(tmp_path)["counts"]["preflight"]
        received = simulator.received()
        assert samples["llmlocust_requests_sent_total", ()] == totals["sent"] == received - preflight
        assert samples["llmlocust_requests_ended_total", ()] == totals["ended"]
        assert samples["llmlocust_requests_failed_total", ()] == totals["failed"] > 0
        assert samples["llmlocust_output_tokens_total", ()] == pytest.approx(totals["tokens"], rel=1e-4)
        measured = Counter(row["outcome"] for row in rows(tmp_path, "llm_requests.csv") if row["measured"] == "1")
        assert {key[1][1]: v for key, v in samples.items() if key[0] == "llmlocust_measured_requests_total"} == measured
        for metric, export in EXPORTS.items():
            agrees(samples, f"llmlocust_{export.name}_seconds", export.bounds, histograms[metric])


def ends_well(ui: WebUI, folder: Path) -> None:
    wait_for(lambda: (folder / "run_llm_run.json").exists() and run_info(folder)["ended"])
    ui.is_idle()
    wait_for(lambda: read(ui.get("/metrics")), lambda samples: samples["llmlocust_requests_in_flight", ("chat",)] == 0)


def agrees(samples: Samples, name: str, bounds: Iterable[float], buckets: Counter[int]) -> None:
    """Each count is that of the file; a bound that lies inside one of its buckets takes all of it."""
    assert samples[f"{name}_count", ("chat",)] == buckets.total() > 0
    assert samples[f"{name}_bucket", ("chat", "+Inf")] == buckets.total()
    for bound in bounds:
        below = sum(count for bucket, count in buckets.items() if bounds_of(bucket)[0] <= bound)
        assert samples[f"{name}_bucket", ("chat", str(bound))] == below


def test_a_run_without_the_web_ui_tells_it_on_a_port_of_its_own(simulator, tmp_path):
    port = free_port()
    args = ["--headless", "--only-summary", "--host", simulator.url, "--llm-metrics-port", str(port)]
    ramp = ["--llm-levels", "3", "--llm-warmup", "0", "--llm-hold", "100", "--llm-max-tokens", "20"]
    with Locust(tmp_path, [*args, *ramp, *forked_workers(2)]) as locust:
        wait_for(lambda: is_open(port))
        samples = wait_for(lambda: scraped(port), lambda now: now.get(("llmlocust_requests_ended_total", ()), 0) > 5)
        assert samples["llmlocust_level_load", ("users",)] == 3.0
        assert samples["llmlocust_requests_ended_total", ()] <= simulator.received()
        assert not is_open(port, "127.0.0.2")
        assert locust.stop() in (0, 1)


def test_the_port_can_be_opened_at_another_address(tmp_path):
    port = free_port()
    web = ["--web-host", "127.0.0.1", "--web-port", str(free_port()), "--host", "http://127.0.0.1:9"]
    with Locust(tmp_path, [*web, "--llm-metrics-port", str(port), "--llm-metrics-host", "0.0.0.0"]):
        wait_for(lambda: is_open(port))
        assert not sys.platform.startswith("linux") or is_open(port, "127.0.0.2")


def scraped(port: int) -> Samples:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return read(answer.read().decode())


@pytest.mark.parametrize("port", ["taken", "70000", "-1"])
def test_a_port_that_cannot_be_had_is_said_before_any_load(simulator, tmp_path, port):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1]) if port == "taken" else port
        args = ["--headless", "--host", simulator.url, f"--llm-metrics-port={port}", "--llm-levels", "2"]
        with Locust(tmp_path, args) as locust:
            assert locust.ends() == 2
    assert "--llm-metrics-port" in locust.log
    assert "Traceback" not in locust.log


WITH_LOGIN = """
from flask_login import UserMixin
from llmlocust import ChatUser
from locust import events

class Chat(ChatUser):
    pass

class Prometheus(UserMixin):
    id = "prometheus"

@events.init.add_listener
def let_in(environment, web_ui, **kwargs):
    web_ui.app.secret_key = "of this test"
    web_ui.login_manager.user_loader(lambda name: None)
    web_ui.login_manager.request_loader(
        lambda request: Prometheus() if request.headers.get("Authorization") == "Bearer of-this-test" else None
    )
"""


def test_behind_a_login_it_is_for_whom_the_locustfile_lets_in(simulator, tmp_path):
    port = free_port()
    args = ["--web-host", "127.0.0.1", "--web-port", str(port), "--web-login", "--web-base-path", "/x"]
    request = Request(f"http://127.0.0.1:{port}/x/metrics")
    with Locust(tmp_path, [*args, "--host", simulator.url], WITH_LOGIN) as locust:
        locust.wait_for_log("Starting web interface")
        wait_for(lambda: is_open(port))
        with urlopen(request, timeout=PATIENCE) as answer:
            assert "/login" in answer.url
        request.add_header("Authorization", "Bearer of-this-test")
        with urlopen(request, timeout=PATIENCE) as answer:
            assert read(answer.read().decode()) == {("llmlocust_running", ()): 0.0}


def is_open(port: int, address: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0
