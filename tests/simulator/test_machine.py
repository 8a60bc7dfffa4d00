import pytest

from llmlocust.simulator.machine import Machine
from llmlocust.simulator.pace import Pace
from llmlocust.simulator.settings import Settings
from tests.simulator.samples import kinds, samples

DCGM = "DCGM_FI_"


def plain(**settings) -> Settings:
    return Settings(**{"step_ms": 100, "step_ms_per_seq": 0, "prefill_ms_per_token": 1, **settings})


def report(settings: Settings, *steps: tuple[float, int], until: float = 10.0) -> dict[str, float]:
    """Return the samples at a time, after steps that began at given times and read numbers of prompt tokens."""
    machine, pace = Machine(settings, 0.0, 1e9), Pace(settings)
    for began, read in steps:
        machine.gpu.step(pace.work(began, 1, read, 1))
    return samples(machine.text(until, None, 2.5, 1000, 7))


def busy(read: int = 0, first: int = 90) -> list[tuple[float, int]]:
    """Return steps without a pause up to 10 s."""
    return [(step / 10, read) for step in range(first, 100)]


def test_an_idle_gpu_has_no_activity_and_a_low_clock():
    idle = report(plain())
    assert idle[f"{DCGM}DEV_GPU_UTIL"] == idle[f"{DCGM}PROF_DRAM_ACTIVE"] == 0
    assert (idle[f"{DCGM}DEV_SM_CLOCK"], idle[f"{DCGM}DEV_POWER_USAGE"]) == (345, 95)


def test_utilisation_is_100_whatever_runs():
    decoding = report(plain(), *busy())
    assert decoding[f"{DCGM}DEV_GPU_UTIL"] == 100
    assert decoding[f"{DCGM}PROF_GR_ENGINE_ACTIVE"] == pytest.approx(1)
    assert decoding[f"{DCGM}PROF_DRAM_ACTIVE"] == pytest.approx(0.8)
    assert decoding[f"{DCGM}PROF_PIPE_TENSOR_ACTIVE"] == pytest.approx(0.04)


def test_reading_prompts_is_tensor_active():
    steps = [(9.0 + step / 5, 100) for step in range(5)]  # half of each step is computation
    mixed = report(plain(), *steps)
    assert mixed[f"{DCGM}PROF_PIPE_TENSOR_ACTIVE"] == pytest.approx(0.37)
    assert mixed[f"{DCGM}PROF_DRAM_ACTIVE"] == pytest.approx(0.5)


def test_gauges_are_means_of_the_last_second():
    half = report(plain(), *busy(first=95))
    assert half[f"{DCGM}DEV_GPU_UTIL"] == 50
    assert report(plain(), *busy(), until=12.0)[f"{DCGM}DEV_GPU_UTIL"] == 0


def test_the_step_under_way_counts():
    machine, settings = Machine(plain(), 0.0, 1e9), plain()
    work = Pace(settings).work(9.9, 1, 10_000, 1)
    assert samples(machine.text(10.0, work, 0, 0, 0))[f"{DCGM}DEV_GPU_UTIL"] == 10
    assert samples(machine.text(12.0, work, 0, 0, 0))[f"{DCGM}DEV_GPU_UTIL"] == 100


def test_energy_is_the_integral_of_power():
    machine, pace = Machine(plain(), 0.0, 1e9), Pace(plain())
    joules = previous = 0.0
    for second in range(1, 6):
        for step in range(10 * (second % 2)):
            machine.gpu.step(pace.work(second - 1 + step / 10, 1, 5, 1))
        now = samples(machine.text(float(second), None, 0, 0, 0))
        joules += now[f"{DCGM}DEV_POWER_USAGE"]
        # the parser adds _total to a counter's name
        energy = now[f"{DCGM}DEV_TOTAL_ENERGY_CONSUMPTION_total"]
        assert energy > previous
        previous = energy
    assert previous / 1e3 == pytest.approx(joules, rel=0.05)


def test_a_lower_clock_comes_with_power_at_its_limit():
    # when the clock has fallen, a step takes 0.2 s
    steps = [*busy(first=50)[:20], *((7.0 + step / 5, 0) for step in range(15))]
    capped = report(plain(power_cap_after_s=1.5, power_cap_factor=0.5), *steps)
    assert (capped[f"{DCGM}DEV_SM_CLOCK"], capped[f"{DCGM}DEV_POWER_USAGE"]) == (990, pytest.approx(699, abs=1))


def test_another_tenant_is_visible_without_tokens():
    other = report(plain(tenant_share=0.5))
    assert (other[f"{DCGM}DEV_GPU_UTIL"], other[f"{DCGM}DEV_SM_CLOCK"]) == (50, 1980)
    assert other[f"{DCGM}PROF_DRAM_ACTIVE"] > 0.1
    assert other[f"{DCGM}DEV_POWER_USAGE"] > 200
    assert other[f"{DCGM}DEV_FB_USED"] > report(plain())[f"{DCGM}DEV_FB_USED"]


def test_the_memory_of_the_gpu_is_full_whatever_the_load_is():
    for steps in ([], busy()):
        memory = report(plain(), *steps)
        total = sum(memory[f"{DCGM}DEV_FB_{name}"] for name in ("USED", "FREE", "RESERVED"))
        assert memory[f"{DCGM}DEV_FB_USED"] / total > 0.9


def test_the_process_of_the_engine_uses_one_core_at_any_load():
    text = Machine(plain(), 0.0, 1e9).text(10.0, None, 2.5, 0, 0)
    cpu = "namedprocess_namegroup_cpu_seconds_total"
    assert samples(text, groupname="engine", mode="user")[cpu] == 10
    assert samples(text, groupname="front_end", mode="user")[cpu] == 2.5
    front_end = samples(text, groupname="front_end", memtype="resident")
    assert front_end["namedprocess_namegroup_memory_bytes"] > 1e9
    assert {"namedprocess_namegroup_num_threads", "namedprocess_namegroup_oldest_start_time_seconds"} <= samples(
        text
    ).keys()


def test_the_cores_of_the_machine_are_mostly_idle():
    text = Machine(plain(), 0.0, 1e9).text(10.0, None, 2.5, 0, 0)
    assert samples(text, cpu="0", mode="idle")["node_cpu_seconds_total"] == 7.5
    assert samples(text, cpu="1", mode="user")["node_cpu_seconds_total"] == 10
    assert samples(text)["node_cpu_seconds_total"] == 160
    assert samples(text)["node_memory_MemTotal_bytes"] > samples(text)["node_memory_MemAvailable_bytes"]


def test_the_types_are_those_of_the_exporters():
    types = kinds(Machine(plain(), 0.0, 1e9).text(1.0, None, 0.0, 1000, 7))
    assert types["node_netstat_Tcp_RetransSegs"] == "untyped"
    assert types["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"] == "counter"
    assert types["DCGM_FI_DEV_GPU_UTIL"] == "gauge"


def test_the_gpu_has_the_labels_of_dcgm():
    text = Machine(plain(), 0.0, 1e9).text(1.0, None, 0.0, 0, 0)
    line = next(line for line in text.splitlines() if line.startswith("DCGM_FI_DEV_GPU_UTIL{"))
    assert all(f'{label}="' in line for label in ("gpu", "UUID", "modelName", "Hostname"))
