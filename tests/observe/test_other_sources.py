"""GPUs with a fake NVML, containers with a fake engine on a Unix socket, and servers that report JSON."""

# ruff: noqa: N802  # the names are those of pynvml

import errno
import json
import socket
import sys
import time
from types import SimpleNamespace

import pytest

from llmlocust.observe.sources import fetching
from llmlocust.observe.sources.docker_container import DockerContainer
from llmlocust.observe.sources.nvidia import NvidiaGpus
from llmlocust.observe.sources.parse import source_of
from llmlocust.observe.sources.source import SourceError
from tests.observe.servers import Answer, served
from tests.observe.test_processes import samples

# -- NVIDIA GPUs


class NVMLError(Exception):
    pass


class FakeNvml:
    """The functions of pynvml for two GPUs. The second reports only its memory. `broken` makes every call fail."""

    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, *, reasons=0x04 | 0x01, broken="", old=False):
        self.reasons, self.broken, self.starts, self.stops = reasons, broken, 0, 0
        if old:
            self.nvmlDeviceGetCurrentClocksThrottleReasons = self.events
        else:
            self.nvmlDeviceGetCurrentClocksEventReasons = self.events

    def nvmlInit(self):
        self.starts += 1
        if self.broken:
            raise NVMLError(self.broken)

    def nvmlShutdown(self):
        self.stops += 1

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def first(self, gpu, value):
        if gpu or self.broken:
            raise NVMLError("Not Supported")
        return value

    def nvmlDeviceGetUtilizationRates(self, gpu):
        return self.first(gpu, SimpleNamespace(gpu=68, memory=31))

    def nvmlDeviceGetMemoryInfo(self, gpu):
        if self.broken:
            raise NVMLError(self.broken)
        return SimpleNamespace(used=23_800, total=24_000)

    def nvmlDeviceGetPowerUsage(self, gpu):
        return self.first(gpu, 699_123)

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu):
        return self.first(gpu, 700_000)

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu):
        return self.first(gpu, 123_456_789)

    def nvmlDeviceGetClockInfo(self, gpu, kind):
        return self.first(gpu, {1: 1410, 2: 2619}[kind])

    def nvmlDeviceGetMaxClockInfo(self, gpu, kind):
        return self.first(gpu, {1: 1980, 2: 2619}[kind])

    def nvmlDeviceGetTemperature(self, gpu, sensor):
        return self.first(gpu, 81)

    def nvmlDeviceGetName(self, gpu):
        return self.first(gpu, b"NVIDIA H200")

    def events(self, gpu):
        return self.first(gpu, self.reasons)


GPU = {
    'llmlocust_gpu_utilisation_ratio{gpu="0",name="NVIDIA H200"}': 0.68,
    'llmlocust_gpu_memory_utilisation_ratio{gpu="0"}': 0.31,
    'llmlocust_gpu_memory_bytes{gpu="0",kind="used"}': 23_800,
    'llmlocust_gpu_memory_bytes{gpu="0",kind="total"}': 24_000,
    'llmlocust_gpu_memory_bytes{gpu="1",kind="used"}': 23_800,
    'llmlocust_gpu_memory_bytes{gpu="1",kind="total"}': 24_000,
    'llmlocust_gpu_power_watts{gpu="0"}': 699.123,
    'llmlocust_gpu_power_limit_watts{gpu="0"}': 700,
    'llmlocust_gpu_energy_joules_total{gpu="0"}': 123_456.789,
    'llmlocust_gpu_clock_megahertz{gpu="0",kind="sm"}': 1410,
    'llmlocust_gpu_clock_megahertz{gpu="0",kind="memory"}': 2619,
    'llmlocust_gpu_clock_megahertz{gpu="0",kind="sm_max"}': 1980,
    'llmlocust_gpu_temperature_celsius{gpu="0"}': 81,
}


@pytest.mark.parametrize("old", [False, True])
def test_gpus_report_what_they_support(old):
    nvml = FakeNvml(old=old)
    source = NvidiaGpus(nvml)
    values = samples(source)
    samples(source)

    throttled = {name: value for name, value in values.items() if "throttled" in name}
    assert {name: value for name, value in values.items() if name not in throttled} == GPU
    assert throttled.pop('llmlocust_gpu_throttled{gpu="0",reason="sw_power_cap"}') == 1
    assert set(throttled.values()) == {0}  # an idle GPU is not throttled
    assert nvml.starts == 1


def test_a_driver_that_fails_is_one_line_and_starts_anew():
    nvml = FakeNvml(broken="Driver Not\nLoaded")
    source = NvidiaGpus(nvml)
    with pytest.raises(SourceError, match=r"no NVIDIA GPU can be read \(Driver Not Loaded\)"):
        source.scrape()
    nvml.broken = ""
    samples(source)
    nvml.broken = "GPU is lost"
    with pytest.raises(SourceError, match="nvidia-smi"):
        source.scrape()
    assert nvml.stops == 1
    nvml.broken = ""
    assert samples(source)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(SourceError, match=r"pip install 'llmlocust\[gpu\]'"):
        source_of("gpu").scrape()


# -- Docker

STATS = {
    "read": "2026-11-30T12:00:00Z",
    "cpu_stats": {
        "cpu_usage": {"total_usage": 12_345_678_901},
        "throttling_data": {"periods": 10, "throttled_periods": 4, "throttled_time": 1_500_000_000},
    },
    "memory_stats": {"usage": 1_000_000, "limit": 8_000_000, "stats": {"inactive_file": 300_000}},
}


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Answers of a fake engine by container."""
    answers = {}
    with served({"/containers/vllm%2F1/stats": lambda _: answers["vllm/1"]}, unix=str(tmp_path / "s")) as server:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/s")
        answers["server"] = server
        yield answers


def test_a_container_is_read_through_the_socket(engine):
    engine["vllm/1"] = Answer(json.dumps(STATS), content_type="application/json")
    source = source_of("docker:vllm/1")

    assert samples(source) == {
        'llmlocust_container_cpu_seconds_total{name="vllm/1"}': 12.345679,
        'llmlocust_container_throttled_seconds_total{name="vllm/1"}': 1.5,
        'llmlocust_container_memory_bytes{name="vllm/1",kind="used"}': 700_000,
        'llmlocust_container_memory_bytes{name="vllm/1",kind="limit"}': 8_000_000,
    }
    assert engine["server"].requests[0].target.endswith("/stats?stream=false&one-shot=true")
    assert (source.name, source.url) == ("docker vllm/1", "docker:vllm/1")


@pytest.mark.parametrize(
    "answer, words",
    [
        (Answer('{"message":"No such container: vllm"}', 404), "there is no container 'vllm/1': `docker ps`"),
        (Answer("{}", 500), "the Docker engine answered HTTP 500"),
        (Answer("[]"), "not that of a Docker engine"),
        (Answer("hello"), "not that of a Docker engine"),
        (Answer(json.dumps({**STATS, "memory_stats": {}})), "the container 'vllm/1' does not run"),
        (Answer(json.dumps({**STATS, "cpu_stats": {}})), "not that of a Docker engine"),
    ],
)
def test_errors_of_the_engine_are_one_line(engine, answer, words):
    engine["vllm/1"] = answer
    with pytest.raises(SourceError) as problem:
        source_of("docker:vllm/1").scrape()
    assert words in str(problem.value)


def test_a_machine_without_docker_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    with pytest.raises(SourceError, match="is Docker running here"):
        source_of("docker:x").scrape()
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(f"{tmp_path}/closed")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/closed")
    with pytest.raises(SourceError, match="is Docker running"):
        source_of("docker:x").scrape()


def test_a_socket_without_permission_is_said(engine, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(fetching, "_opened", refuse)
    with pytest.raises(SourceError, match="group docker"):
        source_of("docker:vllm/1").scrape()


def test_an_engine_that_hangs_ends_the_scrape(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/s")
        listener.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/s")
        begun = time.monotonic()
        with pytest.raises(SourceError, match=r"within 0\.3 s"):
            DockerContainer("x", timeout=0.3).scrape()
    assert time.monotonic() - begun < 10


def test_an_engine_over_tcp_is_read(monkeypatch):
    with served({"/containers/x/stats": Answer(json.dumps(STATS))}) as server:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.place}")
        assert samples(source_of("docker:x"))


def test_an_engine_over_ssh_is_refused(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "ssh://me:sesame-77@host")
    with pytest.raises(ValueError, match="DOCKER_HOST") as problem:
        source_of("docker:x")
    assert "sesame" not in str(problem.value)


# -- JSON

OLLAMA = {"models": [{"name": "llama3:8b", "size": 6_000, "size_vram": 5_000}, {"name": 'q"', "size": 10}]}
LOADS = {
    "loads": [
        {"dp_rank": 0, "num_running_reqs": 5, "num_waiting_reqs": 2, "token_usage": 0.25},
        {"dp_rank": 1, "num_running_reqs": 6, "num_waiting_reqs": 0},
    ]
}
SLOTS = [{"id": 0, "is_processing": True}, {"id": 1, "is_processing": False}, {"id": 2, "is_processing": True}]
OLD_SLOTS = [{"id": 0, "state": 1}, {"id": 1, "state": 0}]


@pytest.mark.parametrize(
    "kind, path, document, expected",
    [
        (
            "ollama",
            "/api/ps",
            OLLAMA,
            {
                "ollama_models_loaded": 2,
                'ollama_model_bytes{model="llama3:8b",place="all"}': 6000,
                'ollama_model_bytes{model="llama3:8b",place="vram"}': 5000,
                'ollama_model_bytes{model="q\\"",place="all"}': 10,
                'ollama_model_bytes{model="q\\"",place="vram"}': 0,
            },
        ),
        ("ollama", "/api/ps", {"models": []}, {"ollama_models_loaded": 0}),
        ("gradio", "/gradio_api/queue/status", {"msg": "estimation", "queue_size": 7}, {"gradio_queue_size": 7}),
        ("gradio", "/queue/status", {"queue_size": 3}, {"gradio_queue_size": 3}),
        (
            "loads",
            "/v1/loads",
            LOADS,
            {
                'sglang_loads_running{dp_rank="0"}': 5,
                'sglang_loads_waiting{dp_rank="0"}': 2,
                'sglang_loads_token_usage{dp_rank="0"}': 0.25,
                'sglang_loads_running{dp_rank="1"}': 6,
                'sglang_loads_waiting{dp_rank="1"}': 0,
            },
        ),
        ("slots", "/slots", SLOTS, {"llamacpp_slots_busy": 2, "llamacpp_slots_total": 3}),
        ("slots", "/slots", OLD_SLOTS, {"llamacpp_slots_busy": 1, "llamacpp_slots_total": 2}),
    ],
)
@pytest.mark.parametrize("base", ["", "/app"])
@pytest.mark.parametrize("is_whole", [False, True])
def test_json_becomes_metrics(kind, path, document, expected, base, is_whole):
    answers = {base + path: Answer(json.dumps(document), content_type="application/json")}
    with served(answers) as server:
        source = source_of(f"{kind}:http://me:sesame-77@{server.place}{base}{path if is_whole else ''}")
        assert samples(source) == expected
        samples(source)

    assert source.name == f"{kind} {server.place}{base}"
    assert source.url == f"{kind}:{server.url}{base}"
    assert server.paths()[-2:].count(base + path) == 2  # only the path that exists is requested again


@pytest.mark.parametrize("kind", ["ollama", "gradio", "loads", "slots"])
@pytest.mark.parametrize(
    "body", ["<html>", "{}", "[1]", "null", "[" * 100_000, '{"models": 1, "queue_size": [], "loads": 2}']
)
def test_another_document_is_one_line(kind, body):
    paths = ("/api/ps", "/gradio_api/queue/status", "/v1/loads", "/slots")
    with (
        served(dict.fromkeys(paths, Answer(body))) as server,
        pytest.raises(SourceError, match="not that of"),
    ):
        source_of(f"{kind}:{server.url}").scrape()


def test_a_server_without_the_path_is_named():
    with served({}) as server:
        for kind, words in {
            "ollama": "Ollama's /api/ps",
            "slots": "--no-slots",
            "gradio": "Gradio",
            "loads": "SGLang",
        }.items():
            with pytest.raises(SourceError, match=words):
                source_of(f"{kind}:{server.url}").scrape()
